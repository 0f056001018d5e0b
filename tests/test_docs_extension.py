"""Extensions written from docs/extensions.md alone, and the page's own, in both roles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable

import pytest

from reactor import (
    Codec,
    Extension,
    Frame,
    HandshakeError,
    MessageTooBig,
    ProtocolError,
    Reactor,
)
from reactor.loop import dialer
from reactor.loop.transport import READ_SIZE
from reactor.protocol.frames import RSV1, RSV2, RSV3
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests.recorder import BINARY, TEXT, Recorder, Visitor, masked
from tests.scripted import Net, Noting
from tests.test_docs import ROOT, modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reactor.testing import MemorySocket

PIECE = 64 * 1024


class Rot(Extension):
    """Adds a number to each byte of a message; the number is what is negotiated.

    Args:
        offered: The numbers that a client offers.
        most: The largest that a server accepts.
    """

    name = "x-rot"
    rsv = RSV2

    def __init__(self, *offered: int, most: int = 255) -> None:
        self.offered = offered
        self.most = most
        self.encoded = 0

    def offers(self) -> Iterable[Any]:
        return [[("by", str(number))] for number in self.offered]

    def agree(self, answer: Any) -> Codec:
        if list(answer) not in self.offers():
            raise ValueError(f"x-rot: {answer!r} was not offered")
        return RotCodec(int(answer[0][1]))

    def answer(self, offer: Any) -> Any:
        if len(offer) != 1 or offer[0][0] != "by" or not (offer[0][1] or "").isdecimal():
            return None
        number = int(offer[0][1])
        return (offer, RotCodec(number)) if 1 <= number <= self.most else None


class RotCodec(Codec):
    """Leaves alone what has less than four bytes, or is not to be compressed."""

    extension: Rot

    def __init__(self, number: int) -> None:
        self.key = ("x-rot", number)
        self.there = bytes((byte + number) % 256 for byte in range(256))
        self.back = bytes((byte - number) % 256 for byte in range(256))

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        if compress is False or (size is not None and size < 4):
            return None
        return RSV2

    def encode(self, data: bytes, final: bool) -> bytes:
        if data == b"not to be sent":
            raise ProtocolError(4002, "x-rot: not to be sent")
        if data == b"cannot be sent":
            raise ZeroDivisionError(data)
        self.extension.encoded += 1
        return data.translate(self.there)

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        return rsv & RSV2 != 0

    def decode(self, data: bytes, final: bool) -> Iterator[bytes]:
        data = data.translate(self.back)
        if data.startswith(b"not to be read"):
            raise ProtocolError(4001, "x-rot: not to be read")
        if data.startswith(b"cannot be read"):
            raise ZeroDivisionError(data)
        if data.startswith(b"cannot be said"):
            raise ProtocolError(1006, "x-rot: cannot be said")
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]


class Numbered(Extension):
    """Each frame begins with its number; each tenth is confirmed by a frame of its own."""

    name = "x-numbered"
    rsv = RSV3
    opcodes = (0xC,)

    def __init__(self) -> None:
        self.codecs: list[NumberedCodec] = []

    def agree(self, answer: Any) -> Codec:
        if answer:
            raise ValueError("x-numbered has no parameters")
        self.codecs.append(NumberedCodec())
        return self.codecs[-1]

    def answer(self, offer: Any) -> Any:
        return None if offer else ((), self.agree(()))


class NumberedCodec(Codec):
    sent = received = confirmed = 0

    def encode_frame(self, frame: Frame) -> Frame:
        frame.payload = self.sent.to_bytes(4, "big") + frame.payload
        frame.rsv3 = True
        self.sent += 1
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        if frame.opcode == 0xC:
            self.confirmed = int.from_bytes(frame.payload, "big")
            return None
        if not frame.rsv3 or frame.payload[:4] != self.received.to_bytes(4, "big"):
            raise ProtocolError(4003, "x-numbered: a frame is missing")
        self.received += 1
        if self.received % 10 == 0:
            self.send_frame(Frame(0xC, self.received.to_bytes(4, "big")))
        frame.payload = frame.payload[4:]
        frame.rsv3 = False
        return frame


class Doubled(Extension):
    """Not from the page: what claims the bit of `Rot`, does nothing, and takes all answers."""

    name = "x-doubled"
    rsv = RSV2

    def __init__(self, *answer: Any) -> None:
        self.given = answer

    def agree(self, answer: Any) -> Codec:
        return Codec()

    def answer(self, offer: Any) -> Any:
        return self.given, Codec()


class MemoryNet(Net):
    """One whose connections are in memory, and are cut at each `chunk` bytes.

    The client's and the server's end of each are kept in `pairs`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.reactor.close()
        self.reactor = Reactor(selector=MemorySelector(), clock=FakeClock())
        self.server: Recorder
        self.chunk = 1000
        self.pairs: list[tuple[MemorySocket, MemorySocket]] = []

        def dial(dialer: Any, *where: object) -> None:
            mine, theirs = pair = memory_pair()
            mine.chunk = theirs.chunk = self.chunk
            self.pairs.append(pair)
            self.server.accepted(theirs, ("memory", 1))  # type: ignore[arg-type]
            dialer._reactor.call_soon(dialer._connected, mine, ("memory", 2))

        monkeypatch.setattr(dialer.Dialer, "dial", dial)

    def serve(self, address: Any = None, **options: Any) -> Recorder:
        self.server = super().serve(None, **options)
        return self.server

    def uri(self, server: Any, target: str = "/", scheme: str = "ws") -> str:
        return f"{scheme}://memory{target}"


@pytest.fixture(params=["loopback", "memory"])
def world(
    request: pytest.FixtureRequest, net: Net, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Net]:
    if request.param == "loopback":
        yield net
    else:
        memory = MemoryNet(monkeypatch)
        yield memory
        memory.close()


def meet(
    world: Net, theirs: Iterable[Extension], ours: Iterable[Extension], **options: Any
) -> tuple[Noting, Recorder]:
    """Return a client that offers `ours`, and its server that speaks `theirs`; both open."""
    options.setdefault("compress", False)
    return world.meet(server={**options, "extensions": theirs}, extensions=ours, **options)


def agreed(client: Noting, server: Recorder) -> str:
    assert server.met[-1].extensions == client.extensions
    return client.extensions


def of_the_page(module: str, name: str) -> Callable[[], Extension]:
    """Return a class of the page."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(modules(ROOT / "docs" / "extensions.md")[module], namespace)
    made: Callable[[], Extension] = namespace[name]
    return made


KINDS = {
    "rot": lambda: Rot(13),
    "numbered": Numbered,
    "checksum": of_the_page("checksum", "Checksum"),
    "cover": of_the_page("cover", "Cover"),
}


@pytest.fixture(params=KINDS)
def extension(request: pytest.FixtureRequest) -> Extension:
    return KINDS[request.param]()


# ---- negotiation ----


def test_what_is_offered_and_known_is_accepted_with_its_parameter(world: Net) -> None:
    assert agreed(*meet(world, [Rot()], [Rot(13)])) == "x-rot; by=13"


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True)])
def test_what_only_one_side_knows_is_not_used(world: Net, ours: bool, theirs: bool) -> None:
    client, server = meet(world, [Rot()] * theirs, [Rot(13)] * ours)
    assert agreed(client, server) == ""
    client.send("as it is")
    world.until(server.messages)
    assert server.messages() == ["as it is"]


def test_the_first_offer_that_the_server_accepts_counts(world: Net) -> None:
    assert agreed(*meet(world, [Rot(most=20)], [Rot(200, 20, 2)])) == "x-rot; by=20"


@pytest.mark.parametrize(
    "params",
    [
        *([("by", value)] for value in ("0", "256", "x", None)),
        [("by", "1"), ("by", "1")],
        [("by", "1"), ("to", "1")],
        [("to", "1")],
        [],
    ],
    ids=str,
)
def test_an_offer_with_a_bad_parameter_is_declined(
    world: Net, params: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Rot()
    monkeypatch.setattr(wrong, "offers", lambda: [params])
    assert agreed(*meet(world, [Rot()], [wrong])) == ""


@pytest.mark.parametrize("first", ["x-rot", "x-doubled"])
def test_of_two_that_claim_a_bit_the_one_that_the_client_names_first_is_accepted(
    world: Net, first: str
) -> None:
    ours: list[Extension] = [Rot(13), Doubled()]
    ours.sort(key=lambda each: each.name != first)
    client, server = meet(world, [Rot(), Doubled()], ours)
    assert agreed(client, server).startswith(first)
    assert "," not in client.extensions


@pytest.mark.parametrize(
    "answer",
    [(("by", "14"),), (("by", None),), (), (("by", "13"), ("by", "13")), (("to", "13"),)],
    ids=str,
)
def test_the_client_fails_the_handshake_on_an_answer_to_no_offer(
    world: Net, answer: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Doubled(*answer)
    monkeypatch.setattr(theirs, "name", "x-rot")
    client = world.client(world.serve(extensions=[theirs]), extensions=[Rot(13)])
    world.ended(client)
    assert client.names() == ["onerror", "onclose"]
    assert isinstance(client.errors()[0], HandshakeError)
    assert "x-rot" in str(client.errors()[0])
    assert client.ends()[0][0] == 1006


def test_the_client_fails_the_handshake_if_two_of_one_bit_are_answered(net: Net) -> None:
    fields = "Sec-WebSocket-Extensions: x-rot; by=13, x-doubled\r\n"
    server = net.script(lambda raw: raw.send(raw.switch(fields=fields)) if raw.asked else None)
    client = net.client(server, extensions=[Rot(13), Doubled()])
    net.ended(client)
    assert isinstance(client.errors()[0], HandshakeError)
    assert "x-doubled" in str(client.errors()[0])


def test_what_an_answer_raises_is_logged_and_the_client_gets_a_500(
    net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = Rot()
    monkeypatch.setattr(theirs, "answer", lambda offer: 1 / 0)
    client = net.client(net.serve(extensions=[theirs]), extensions=[Rot(13)])
    net.ended(client)
    assert client.errors()[0].status == 500
    assert "ZeroDivisionError" in caplog.text


def test_an_extension_lives_beside_compression_and_beside_another(world: Net) -> None:
    theirs = [Numbered(), Rot()]
    client, server = meet(world, theirs, [Rot(13), Numbered()], compress=True)
    names = [element.partition(";")[0] for element in agreed(client, server).split(", ")]
    assert names == ["permessage-deflate", "x-rot", "x-numbered"]
    exchange(world, client, server, ["text " * 1000, bytes(100_000), ""])


# ---- transformation ----


def exchange(
    world: Net, client: Noting, server: Recorder, messages: list[Any], whole: Any = None
) -> None:
    """Send messages each way, and see that they come out as they were, or as `whole`."""
    for message in messages:
        client.send(message() if callable(message) else message)
        server.met[-1].send(message() if callable(message) else message)
    expected = whole or messages
    world.until(lambda: len(client.messages()) == len(server.messages()) == len(expected))
    assert client.messages() == server.messages() == expected


MESSAGES = ["text", "grüße, \N{SNOWMAN}", "", b"binary", b"", b"\0", "x", bytes(range(256))]


def test_messages_come_out_as_they_were(world: Net, extension: Extension) -> None:
    client, server = meet(world, [extension], [extension])
    assert extension.name in agreed(client, server)
    exchange(world, client, server, MESSAGES)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_messages_come_out_as_they_were_wherever_the_stream_is_cut(
    monkeypatch: pytest.MonkeyPatch, extension: Extension, chunk: int
) -> None:
    world = MemoryNet(monkeypatch)
    world.chunk = chunk
    exchange(world, *meet(world, [extension], [extension]), MESSAGES)
    world.close()


def test_a_message_above_64_kib_comes_out_as_it_was(world: Net, extension: Extension) -> None:
    client, server = meet(world, [extension], [extension])
    exchange(world, client, server, [os.urandom(300_000), "ü" * 100_000])


def test_fragments_come_out_as_one_message(world: Net, extension: Extension) -> None:
    client, server = meet(world, [extension], [extension], fragment_size=1000)
    exchange(world, client, server, ["ü" * 5000, os.urandom(100_000), b"short"])


def test_streams_come_out_as_one_message(world: Net, extension: Extension) -> None:
    def text() -> Iterator[str]:
        return (f"line {number}, \N{SNOWMAN}\n" for number in range(2000))

    def binary() -> list[bytes]:
        return [b"", bytes(range(256)) * 300, b"", b"x"]

    client, server = meet(world, [extension], [extension])
    whole = ["".join(text()), b"".join(binary()), "after"]
    exchange(world, client, server, [text, binary, "after"], whole)


def test_parts_come_out_as_they_arrive(world: Net, extension: Extension) -> None:
    parts: list[tuple[bytes, bool]] = []
    data = os.urandom(300_000)
    client, _ = meet(
        world,
        [extension],
        [extension],
        onfragment=lambda client, data, final: parts.append((data, final)),
    )
    client.send(data)
    world.until(lambda: parts and parts[-1][1])
    assert b"".join(part for part, _ in parts) == data
    assert [final for _, final in parts].count(True) == 1
    if not extension.name.endswith(("-numbered", "-cover")):  # a frame is whole for a hook
        assert max(len(part) for part, _ in parts) <= READ_SIZE
        assert len(parts) > 4


def test_control_frames_pass_between(world: Net, extension: Extension) -> None:
    client, server = meet(world, [extension], [extension], fragment_size=1000)
    server.met[-1].send(os.urandom(100_000))
    client.ping(b"now")
    world.until(lambda: ("onpong", b"now") in client.noted)


def visit(extension: Extension, offer: str) -> Visitor:
    """Return a client in memory that knows nothing of extensions, and has this accepted."""
    headers = {"Sec-WebSocket-Extensions": offer}
    visitor = Visitor.of(Recorder, headers=headers, extensions=[extension])
    assert isinstance(visitor, Visitor)
    assert f"\r\nSec-WebSocket-Extensions: {offer}\r\n".encode() in visitor.response
    return visitor


def test_what_is_on_the_wire_is_the_encoded_form_and_its_bit() -> None:
    with visit(Rot(), "x-rot; by=1") as visitor:
        visitor.deliver(masked(TEXT | RSV2, b"gdkkn".translate(bytes(range(2, 256)) + b"\0\1")))
        visitor.deliver(masked(BINARY, b"as it is"))
        assert visitor.server.messages() == ["hello", b"as it is"]
        visitor.client.send("hello")
        visitor.client.send("hello", compress=False)
        visitor.client.send("bye")
        expected = b"\xa1\5ifmmp\x81\5hello\x81\3bye"
        assert bytes(visitor.sock.inbox) == expected


def test_a_bit_that_is_not_claimed_stays_an_error() -> None:
    for head in (TEXT | RSV1, TEXT | RSV3, 0x89 | RSV2, 0x8C):
        with visit(Rot(), "x-rot; by=1") as visitor:
            visitor.deliver(masked(head, b"hello"))
            assert visitor.ends[0][0] == 1002


def test_a_message_to_many_is_encoded_once(world: Net) -> None:
    theirs = Rot()
    first, server = meet(world, [theirs], [Rot(13)])
    others = [world.client(server, extensions=[Rot(number)]) for number in (13, 13, 99)]
    world.opened(*others)
    server.broadcast("to all")
    everyone = [first, *others]
    world.until(lambda: all(client.messages() for client in everyone))
    assert [client.messages() for client in everyone] == [["to all"]] * 4
    assert theirs.encoded == 2  # once by 13, and once by 99


def test_frames_of_its_own_reach_the_codec_and_nobody_else(world: Net) -> None:
    theirs, ours = Numbered(), Numbered()
    client, server = meet(world, [theirs], [ours])
    exchange(world, client, server, [str(number) for number in range(25)])
    world.until(lambda: theirs.codecs[0].confirmed == ours.codecs[0].confirmed == 20)


# ---- failing ----


def sender_of(role: str, client: Noting, server: Recorder) -> Any:
    return client if role == "client" else server.met[-1]


ROLES = pytest.mark.parametrize("role", ["client", "server"])


@ROLES
@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("not to be read", 4001, "x-rot: not to be read"),
        ("cannot be read", 1011, "an extension failed"),
        ("cannot be said", 1011, "an extension failed"),
        ("not to be sent", 4002, "x-rot: not to be sent"),
        ("cannot be sent", 1011, "an extension failed"),
    ],
)
def test_a_codec_fails_its_connection_and_no_other(
    world: Net,
    role: str,
    message: str,
    code: int,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, server = meet(world, [Rot()], [Rot(13)])
    bystander = world.client(server, extensions=[Rot(13)], compress=False)
    world.opened(bystander)
    there = server.met[0]
    (client if role == "client" else there).send(message)
    world.until(lambda: client.ends() and server.ends())
    assert client.ends() == server.ends() == [(code, reason)]
    # Whoever has failed is told of an error, and whoever was told by a Close is not.
    failed, told = (client, server) if "sent" in message else (server, client)
    if role == "server":
        failed, told = told, failed
    assert [type(error) for error in failed.errors()] == [ProtocolError]
    assert told.errors() == []
    assert (code == 1011) == ("an extension of" in caplog.text)
    bystander.send("still here")
    world.until(server.messages)
    assert server.messages() == ["still here"]


@ROLES
def test_a_hook_for_frames_fails_the_connection_with_its_code(world: Net, role: str) -> None:
    theirs, ours = Numbered(), Numbered()
    client, server = meet(world, [theirs], [ours])
    sender = ours if role == "client" else theirs
    sender.codecs[0].sent = 7
    sender_of(role, client, server).send("out of order")
    world.until(lambda: client.ends() and server.ends())
    assert client.ends() == server.ends() == [(4003, "x-numbered: a frame is missing")]


@pytest.mark.parametrize(
    ("offer", "payload"),
    [
        ("x-checksum; algorithm=crc32", b"hello\0\0\0\0"),
        ("x-checksum; algorithm=crc32", b"hel"),
        ("x-checksum; algorithm=adler32", b"hello\x36\x10\xa6\x86"),  # its CRC-32
    ],
)
def test_the_checksum_of_the_page_sees_what_was_changed(offer: str, payload: bytes) -> None:
    with visit(KINDS["checksum"](), offer) as visitor:
        visitor.deliver(masked(TEXT | RSV2, payload))
        assert visitor.server.messages() == []
        assert visitor.ends == [(1007, "x-checksum: the message was changed on its way")]


def test_the_checksum_of_the_page_takes_what_was_not() -> None:
    with visit(KINDS["checksum"](), "x-checksum; algorithm=crc32") as visitor:
        visitor.deliver(masked(TEXT | RSV2, b"hello\x36\x10\xa6\x86"))
        assert visitor.server.messages() == ["hello"]


@pytest.mark.parametrize("payload", [b"", b"\1", b"abc\4"])
def test_the_cover_of_the_page_sees_padding_that_cannot_be(payload: bytes) -> None:
    with visit(KINDS["cover"](), "x-cover") as visitor:
        visitor.deliver(masked(TEXT | RSV3, payload))
        assert visitor.ends == [(1002, "x-cover: more padding than frame")]


def test_the_cover_of_the_page_makes_all_short_messages_the_same() -> None:
    with visit(KINDS["cover"](), "x-cover") as visitor:
        for message in ("", "yes", "no", "x" * 63):
            before = len(visitor.sock.inbox)
            visitor.client.send(message)
            sent = bytes(visitor.sock.inbox[before:])
            assert (sent[:2], sent[66:68], len(sent)) == (b"\x8b\x40", b"\x91\x40", 132)


@ROLES
def test_what_an_extension_makes_of_a_message_is_held_to_the_limit(
    world: Net, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[int] = []

    def bomb(codec: RotCodec, data: bytes, final: bool) -> Iterator[bytes]:
        while True:
            pieces.append(PIECE)
            yield bytes(PIECE)

    monkeypatch.setattr(RotCodec, "decode", bomb)
    client, server = meet(world, [Rot()], [Rot(13)], max_message=1 << 20)
    sender_of(role, client, server).send("boom")
    world.until(lambda: client.ends() and server.ends())
    assert client.ends()[0][0] == server.ends()[0][0] == 1009
    assert sum(pieces) <= (1 << 20) + PIECE
    failed = server if role == "client" else client
    assert isinstance(failed.errors()[0], MessageTooBig)
