"""What is fuzzed of the negotiation of extensions: see `targets.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor.errors import HandshakeError
from reactor.protocol import extensions, http
from reactor.protocol.deflate import DeflateFrame, PerMessageDeflate
from reactor.protocol.extensions import Codec, Extension
from reactor.protocol.frames import RSV1, RSV2, RSV3, Frame, Opcode

from .targets import Finding, Target

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

    from reactor.protocol.extensions import Params

    Found = list[tuple[str, Params]]

# ---- negotiation ----


class Toy(Extension):
    """Has `bits`, a digit, and `lazy`; an answer has no more of them than the offer."""

    def __init__(
        self, name: str, rsv: int, opcodes: Collection[int], offer: Params = ()
    ) -> None:
        self.name = name
        self.rsv = rsv
        self.opcodes = opcodes
        self.offer = dict(offer)

    def offers(self) -> Iterable[Params]:
        return [tuple(self.offer.items())]

    def agree(self, answer: Params) -> Codec:
        agreed = understood(answer)
        if agreed is None or not set(agreed) <= set(self.offer):
            raise ValueError(f"{self.name}: not an answer")
        return (ToyFrames if self.rsv == RSV3 or self.opcodes else Codec)()

    def answer(self, offer: Params) -> tuple[Params, Codec] | None:
        offered = understood(offer)
        if offered is None:
            return None
        self.offer = offered
        return tuple(offered.items()), self.agree(())


class ToyFrames(Codec):
    """Works on frames."""

    def encode_frame(self, frame: Frame) -> Frame:
        return frame


def understood(params: Params) -> dict[str, str | None] | None:
    found = dict(params)
    if len(found) < len(params) or not set(found) <= {"bits", "lazy"}:
        return None
    digit = found.get("bits", "1")
    wrong = digit is None or len(digit) != 1 or not digit.isdigit()
    return None if wrong or found.get("lazy") is not None else found


DEFLATE = PerMessageDeflate.name
SERVER_FORGETS, CLIENT_FORGETS = "server_no_context_takeover", "client_no_context_takeover"
SERVER_BITS, CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"
NUMBERS = {str(bits): bits for bits in range(8, 16)}


def toys() -> tuple[Toy, ...]:
    return (
        Toy("x-one", RSV2, (3,)),
        Toy("x-two", RSV2 | RSV3, ()),
        Toy("x-frames", RSV3, (0xB,)),
    )


def servers() -> tuple[tuple[Extension, ...], ...]:
    frames = DeflateFrame(), DeflateFrame("x-webkit-deflate-frame", max_window_bits=9)
    forgetful = PerMessageDeflate(
        server_no_context_takeover=True, client_no_context_takeover=True, threshold=0
    )
    small = PerMessageDeflate(server_max_window_bits=8, client_max_window_bits=9, level=1)
    large = PerMessageDeflate(server_max_window_bits=15, client_max_window_bits=15, mem_level=1)
    return (
        (*toys(), PerMessageDeflate(), *frames),
        (small, *toys()),
        (*frames, large),
        (forgetful,),
        toys(),
        (),
    )


def clients() -> tuple[tuple[Extension, ...], ...]:
    toy = Toy("x-one", RSV2, (3,), (("bits", "4"), ("lazy", None)))
    strict = PerMessageDeflate(server_max_window_bits=10, server_no_context_takeover=True)
    hinting = PerMessageDeflate(client_max_window_bits=9, client_no_context_takeover=True)
    return (PerMessageDeflate(), toy), (DeflateFrame(max_window_bits=8), strict), (hinting,), ()


CONFIGURATIONS = [
    (server, client) for server in range(len(servers())) for client in range(len(clients()))
]


def is_offer(params: Params) -> bool:
    """Whether an offer of permessage-deflate is one that RFC 7692 §7.1 allows."""
    offer = dict(params)
    return (
        len(offer) == len(params)
        and set(offer) <= {SERVER_FORGETS, CLIENT_FORGETS, SERVER_BITS, CLIENT_BITS}
        and offer.get(SERVER_FORGETS) is offer.get(CLIENT_FORGETS) is None
        and (SERVER_BITS not in offer or offer[SERVER_BITS] in NUMBERS)
        and (offer.get(CLIENT_BITS) is None or offer[CLIENT_BITS] in NUMBERS)
    )


def is_answer(offered: Params, params: Params) -> bool:
    """Whether it answers the offer as RFC 7692 §7.1 allows."""
    offer, answer = dict(offered), dict(params)
    limit = NUMBERS[offer.get(SERVER_BITS) or "15"]
    return (
        is_offer(params)
        and (SERVER_FORGETS in answer or SERVER_FORGETS not in offer)
        and NUMBERS[answer.get(SERVER_BITS) or "15"] <= limit
        and (CLIENT_BITS not in answer or (CLIENT_BITS in offer and bool(answer[CLIENT_BITS])))
    )


def offering(extension: Extension, offer: Params) -> Extension:
    """Return what a client is configured with whose offer this was."""
    params = dict(offer)
    if isinstance(extension, Toy):
        return Toy(extension.name, extension.rsv, extension.opcodes, offer)
    if isinstance(extension, DeflateFrame):
        bits = NUMBERS.get(params.get("max_window_bits") or "")
        forgets = "no_context_takeover" in params
        return DeflateFrame(extension.name, max_window_bits=bits, no_context_takeover=forgets)
    return PerMessageDeflate(
        server_max_window_bits=NUMBERS.get(params.get(SERVER_BITS) or ""),
        client_max_window_bits=NUMBERS.get(params.get(CLIENT_BITS) or ""),
        server_no_context_takeover=SERVER_FORGETS in params,
        client_no_context_takeover=CLIENT_FORGETS in params,
    )


def first_offer(extension: Extension) -> Params:
    (offer,) = extension.offers()
    return offer


# What tells one reason from another.
WORDS = {
    *("name", "parameter", "token", "end", "behind", "control", "offered", "twice,", "frames"),
    *("answer", "unknown", "without", "with", "answered", "accepted"),
}


def check_reason(error: Exception) -> str:
    reason = str(error)
    if len(reason) > 250 or not reason.isprintable():
        raise Finding(f"the reason is {reason[:300]!r}") from error
    return " ".join(word for word in reason.split() if word in WORDS)


def check_grammar(values: list[str]) -> Found | None:
    """Check what is read of a header; return it, or `None` for one that is malformed."""
    try:
        found = extensions.parse_extensions(values)
    except ValueError as error:
        check_reason(error)
        return None
    if found != [each for value in values for each in extensions.parse_extensions([value])]:
        raise Finding(f"{values!r} by themselves name something else")
    for way in ("{}", '"{}"'):
        again = [
            ";".join([name, *(param(way, each) for each in params)]) for name, params in found
        ]
        if extensions.parse_extensions([" ,\t,".join(again)]) != found:
            raise Finding(f"{found!r} is not {again!r}")
    return found


def param(way: str, each: tuple[str, str | None]) -> str:
    name, value = each
    if value is None:
        return name
    return f"{name} = " + way.format(value if way == "{}" else "\\" + "\\".join(value))


def check_codecs(codecs: Sequence[Codec]) -> None:
    """Check that no bit and no opcode has two owners, and that frames are coded last."""
    claims = [1 << 7 + opcode for each in codecs for opcode in each.extension.opcodes]
    claims += [each.extension.rsv for each in codecs]
    union = 0
    for claim in claims:
        if union & claim:
            raise Finding(f"{[each.extension for each in codecs]} claim the same")
        union |= claim
    order = [each.codes_frames for each in codecs]
    if order != sorted(order):
        raise Finding(f"{[each.extension for each in codecs]}: frames first")


def check_server(server: tuple[Extension, ...], values: list[str], found: Found | None) -> Any:
    try:
        value, codecs = extensions.accept_offers(server, values)
    except HandshakeError as error:
        if found is not None or error.status != 400:
            raise Finding(f"{values!r} is refused: {error}") from error
        return check_reason(error)
    answered = [(each.extension.name, list(each.params)) for each in codecs]
    if found is None or extensions.parse_extensions([value]) != answered:
        raise Finding(f"{values!r} is answered with {value!r}")
    http.Headers({"Sec-WebSocket-Extensions": value})
    check_codecs(codecs)
    for codec in codecs:
        check_answer(codec, [params for name, params in found if name == codec.extension.name])
    names = {name for name, params in found if name == DEFLATE and is_offer(params)}
    claimed = any(each.extension.rsv & RSV1 for each in codecs)
    if not claimed and not names.isdisjoint(each.name for each in server):
        raise Finding(f"an offer among {found!r} is declined")
    return value


def check_answer(codec: Codec, offers: list[Params]) -> None:
    """Check that a client accepts what a server has answered it, and understands the rest."""
    extension = codec.extension
    if extension.name == DEFLATE:
        offers = [offer for offer in offers if is_offer(offer)]
        if not offers or not is_answer(offers[0], codec.params):
            raise Finding(f"{codec.params!r} is no answer to {offers[:1]!r}")
    elif isinstance(extension, Toy):
        offers = [offer for offer in offers if understood(offer) is not None]
    else:
        offers = [offer for offer in offers if extension.answer(offer) is not None]
    client = offering(extension, offers[0])
    (other,) = agreed = extensions.accept_answer([client], [extensions.describe([codec])])
    if extensions.describe(agreed) != extensions.describe([codec]):
        raise Finding(f"{client} has agreed to {extensions.describe(agreed)}")
    if not isinstance(extension, Toy):
        check_talk(codec, other)
        check_talk(other, codec)


SAID = [b"Hello", bytes(range(256)) * 20, b"", b"Hello", b"abc" * 700 + bytes(range(256)) * 2]


def check_talk(one: Codec, other: Codec) -> None:
    """Check that what one encodes is what the other decodes."""
    for message in SAID:
        if one.codes_frames:
            frame = Frame(Opcode.BINARY, message)
            heard = other.decode_frame(one.encode_frame(frame), len(message))
            got = heard.payload if heard else b""
        else:
            rsv = one.begin_encode(Opcode.BINARY, len(message), True)
            if rsv is None or not other.begin_decode(Opcode.BINARY, rsv):
                raise Finding(f"{message[:9]!r} is not compressed")
            got = b"".join(other.decode(one.encode(message, True), True))
        if got != message:
            raise Finding(f"{one.params!r}: {message[:9]!r} comes out as {got[:9]!r}")


def check_client(client: tuple[Extension, ...], values: list[str], found: Found | None) -> Any:
    try:
        codecs = extensions.accept_answer(client, values)
    except ValueError as error:
        # Two fields are no answer, whatever they name (RFC 6455 §11.3.2).
        if found and len(values) == len(found) == 1 and found[0][0] == DEFLATE:
            for each in client:
                if each.name == DEFLATE and is_answer(first_offer(each), found[0][1]):
                    raise Finding(f"{each} refuses the answer {found!r}: {error}") from error
        return check_reason(error)
    if [(each.extension.name, list(each.params)) for each in codecs] != found:
        raise Finding(f"{values!r} is taken for {extensions.describe(codecs)!r}")
    check_codecs(codecs)
    for codec in codecs:
        if codec.extension.name == DEFLATE:
            offer = first_offer(codec.extension)
            if not is_answer(offer, codec.params):
                raise Finding(f"{codec.params!r} is accepted as an answer to {offer!r}")
    return len(codecs)


def run_extensions(data: bytes) -> Hashable:
    """The first byte chooses both sides; the rest are values, with line feeds between them."""
    options, text = (data[0], data[1:].decode("latin-1")) if data else (0, "")
    server, client = CONFIGURATIONS[options % len(CONFIGURATIONS)]
    values = text.split("\n")
    try:
        found = check_grammar(values)
        answer = check_server(servers()[server], values, found)
        return answer, check_client(clients()[client], values, found)
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"extensions raised {error!r}") from error


def extension_seeds() -> list[bytes]:
    names = f"{SERVER_FORGETS}; {CLIENT_FORGETS}"
    texts = [
        "",
        "permessage-deflate",
        f"permessage-deflate; {CLIENT_BITS}",
        f"permessage-deflate; {SERVER_BITS}=10; {CLIENT_BITS}=9",
        f'permessage-deflate; {SERVER_BITS}="8"; {names}',
        f"permessage-deflate; {names}; {SERVER_BITS}=15; {CLIENT_BITS}=15, permessage-deflate",
        f"permessage-deflate; {SERVER_BITS}=16\npermessage-deflate; {SERVER_FORGETS}",
        f"{DEFLATE}; {SERVER_FORGETS}; {SERVER_BITS}=9",
        "deflate-frame; max_window_bits=9; no_context_takeover",
        "x-webkit-deflate-frame, deflate-frame, permessage-deflate",
        "x-frames; lazy, x-one; bits=4; lazy, x-two; bits=2",
        'x-one; bits="\\4"; lazy, ,x-two\tx-one',
        "x-two, x-one\nx-one\nother; a; a=b",
        'a; b="c, d"; e=f=g, "',
    ]
    spread = range(0, len(CONFIGURATIONS), 5)
    return [
        bytes((options,)) + text.encode()
        for text in texts
        for options in (*spread, *range(len(clients())))
    ]


EXTENSION_TOKENS = [
    *(b"permessage-deflate", b"deflate-frame", b"x-one", b"x-two", b"x-frames", b"lazy"),
    *(name.encode() for name in (SERVER_FORGETS, CLIENT_FORGETS, SERVER_BITS, CLIENT_BITS)),
    *(b"max_window_bits", b"no_context_takeover", b"bits=", b"=8", b"=15", b"=16", b"=08"),
    *(b";", b"; ", b",", b", ", b"=", b'"', b'="', b"\\", b" ", b"\t", b"\n", b"\x00", b"\xff"),
]

TARGETS = {
    "extensions": Target(run_extensions, extension_seeds(), EXTENSION_TOKENS),
}
