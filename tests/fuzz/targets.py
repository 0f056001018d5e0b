"""What is fuzzed, and what must hold for any input.

A target takes bytes. It raises a `Finding` if a rule is broken, and else returns a sign of what
the input did, by which a fuzzer that sees no branches can tell a new kind of input from more of
the same. The rules, for all:

- nothing raises but what is documented: never for what a peer sends once the connection is
  open, `HandshakeError` alone before that (from a proxy `ProxyError`), `ValueError` where it
  says so;
- the same bytes mean the same, however they are cut;
- no more is kept than the limits allow.
"""

from __future__ import annotations

import functools
import random
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from reactor.errors import HandshakeError
from reactor.protocol import handshake, http
from reactor.protocol.answer import http_date
from reactor.protocol.assembly import WholeBinary, WholeText
from reactor.protocol.locations import Locations
from reactor.protocol.session import State

from ..protocol.recorder import Recorder, byte_by_byte, cut_at_random
from ..protocol.streams import STREAMS
from ..protocol.wire import header, masked, unmasked
from ..rfc.rfc6455 import FRAMES, REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from reactor.protocol.session import Session


class Finding(Exception):
    """A rule is broken."""


class Target(NamedTuple):
    run: Callable[[bytes], Hashable]
    seeds: list[bytes]
    tokens: list[bytes]


def chance(data: bytes) -> random.Random:
    """Return what cuts `data` at random, and in the same places each time."""
    return random.Random(zlib.crc32(data))


# ---- a stream of frames ----

# The longest input that is fed byte by byte as well.
SINGLY = 2048
# What a cut control frame may leave in hand: the longest one, less a byte.
LEFT = 2 + 4 + 125 - 1
LIMITS = (300, 1 << 16)
FRAGMENT_LIMITS = (5, 1 << 14)
STOPS: tuple[tuple[str, ...], ...] = ((), ("message",), ("ping", "pong"), ("message", "ping"))


def new_session(options: int) -> Recorder:
    return Recorder(
        client=bool(options & 1),
        max_message=LIMITS[options >> 1 & 1],
        max_fragments=FRAGMENT_LIMITS[options >> 2 & 1],
        stop=STOPS[options >> 3 & 3],
        echo=not options & 0x20,
    )


def fed(options: int, pieces: Iterable[bytes]) -> Recorder:
    recorder = new_session(options)
    limit = LIMITS[options >> 1 & 1]
    for piece in pieces:
        try:
            recorder.feed(piece)
        except Exception as error:
            raise Finding(f"feeding raised {error!r} after {recorder.events[-3:]}") from error
        session = recorder.session
        kept = len(session._unparsed) - session._pos
        message, undecoded = held(session)
        if kept > LEFT or message > limit or undecoded > 3:
            raise Finding(f"{kept} bytes and a message of {message} are kept, limit {limit}")
    return recorder


def held(session: Session) -> tuple[int, int]:
    """Return how much of a message is kept, and how many bytes of a character."""
    assembly = session._assembly
    if isinstance(assembly, WholeText):
        return sum(map(len, assembly._pieces)), len(assembly._undecoded)
    return len(assembly._stored.getbuffer()) if isinstance(assembly, WholeBinary) else 0, 0


def check_events(recorder: Recorder, limit: int) -> None:
    """Check that messages keep to the limit, and that nothing follows the end."""
    for event in recorder.events:
        if event[0] == "message":
            message = event[1].encode() if isinstance(event[1], str) else event[1]
            if len(message) > limit:
                raise Finding(f"a message of {len(message)}, limit {limit}")
    closes = [at for at, event in enumerate(recorder.events) if event[:2] == ("sent", 0x88)]
    ends = [event for event in recorder.events if event[0] in ("closed", "violated")]
    if len(closes) > 1 or len(ends) > 1:
        raise Finding(f"{len(closes)} Close frames, {len(ends)} ends")
    if ends and recorder.events[-1] is not ends[0]:
        raise Finding(f"something follows the end: {recorder.events[-3:]}")
    if bool(ends) is not (recorder.session.state is State.CLOSED):
        raise Finding(f"state {recorder.session.state!r} after {recorder.events[-3:]}")
    if closes and any(
        event[0] in ("sent", "message") for event in recorder.events[closes[0] + 1 :]
    ):
        raise Finding(f"something is said after our Close: {recorder.events[-3:]}")


def run_parser(data: bytes) -> Hashable:
    """The first byte chooses role, limits and stops; the rest is the stream."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    one = fed(options, [stream])
    check_events(one, LIMITS[options >> 1 & 1])
    cuts = chance(data)
    ways = [cut_at_random(stream, cuts), cut_at_random(stream, cuts)]
    if len(stream) <= SINGLY:
        ways.append(byte_by_byte(stream))
    for pieces in ways:
        other = fed(options, pieces)
        if other.outcome != one.outcome:
            sizes = [len(piece) for piece in pieces[:40]]
            raise Finding(
                f"pieces of {sizes}:\n  {other.events[-3:]}\nwhole:\n  {one.events[-3:]}"
            )
    return tuple(sign(event) for event in one.events[-6:])


def sign(event: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what kind of event it is, without its data."""
    if event[0] == "violated":
        return event[0], event[1], "".join(filter(str.isalpha, event[2]))
    return event[0], event[1] if event[0] in ("sent", "closed") else type(event[1])


def parser_seeds() -> list[bytes]:
    server, client = b"\x00", b"\x01"
    large = (
        masked(0x02, bytes(range(256)) * 80) + masked(0x89, b"p") + masked(0x80, bytes(17_000))
    )
    return [
        *(server + stream.data for stream in STREAMS),
        *(client + bytes.fromhex(digits) for _, digits, _ in FRAMES if len(digits) < 1000),
        server + masked(0x02, bytes(150)) + masked(0x00, bytes(150)) + masked(0x80, b"over"),
        client + unmasked(0x01, b"Hel") + unmasked(0x89) + unmasked(0x80, b"lo"),
        b"\x02" + large,
        b"\x0e" + 70 * masked(0x81, b"x") + masked(0x88, b"\x03\xe8"),
        b"\x1e" + masked(0x81, b"stop", bytes(4)) + 3 * masked(0x89, b"p", bytes(4)),
    ]


PARSER_TOKENS = [
    *(masked(head, b"", bytes(4)) for head in (0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89)),
    *(header(head, 130) + bytes(4) for head in (0x81, 0x02, 0x80)),
    *(unmasked(head) for head in (0x81, 0x01, 0x80, 0x8A)),
    *(masked(0x88, code.to_bytes(2, "big"), bytes(4)) for code in (1000, 1005, 3000, 5000)),
    masked(0x81, b"close", bytes(4)),
    masked(0x81, b"stop", bytes(4)),
    *(b"\xed\xa0", b"\xf4\x90", b"\xe2\x98\x83", b"\xf0\x9f\x98\x80", b"\xff"),
    *(b"\xfe\x00\x7e", b"\xff\x00\x00\x00\x00\x00\x01\x00\x00", b"\xff\x80"),
]

# ---- the head of a request ----

POLICIES = (
    handshake.ServerPolicy(["chat", "superchat"]),
    handshake.ServerPolicy(origins=["http://example.com", "https://example.com:8443"]),
    handshake.ServerPolicy(origins=None, locations=["/chat", "/chat/{room}", "/{a}/{b}"]),
)
# The reader says what it sees first, and of two faults that is not the same for a head in one
# piece and one in many: which of these three answers them is left open.
UNREADABLE = (400, 414, 431)
# For the same reason the fault of a head that is cut may be said now or later: so it is ended.
END = b"\r\n\r\n"


def answer(policy: handshake.ServerPolicy, head: bytes) -> tuple[Any, ...]:
    """Do with a head what a server does, and check the response."""
    request = handshake.Request(head)
    handshake.check_framing(request)
    if not handshake.wants_upgrade(request):
        raise policy.refuse(request)
    policy.check(request)
    subprotocol = policy.subprotocol(request)
    response = handshake.accept(request, subprotocol, http.Headers())
    check_response(101, response)
    fields = list(request.headers.items())
    query = sorted(request.query.items())
    return request.method, request.path, query, sorted(request.params), subprotocol, fields


def check_response(status: int, response: bytes) -> None:
    """Check that nothing of the request has got into the response's grammar."""
    head, empty_line, _ = response.partition(b"\r\n\r\n")
    first, headers = http.parse_head(head)
    if not empty_line or not first.startswith(f"HTTP/1.1 {status} ") or len(headers) > 8:
        raise Finding(f"response {response!r}")


def read_head(policy: handshake.ServerPolicy, pieces: list[bytes]) -> tuple[Any, ...]:
    """Return what becomes of a request: what is answered, and the bytes behind its head."""
    reader = http.HeadReader()
    try:
        for at, piece in enumerate((*pieces, END)):
            found = reader.feed(piece)
            if found is not None:
                return answer(policy, found[0]), found[1] + b"".join(pieces[at + 1 :])
            if len(reader._buffer) > http.MAX_HEAD + len(END) - 1:
                raise Finding(f"{len(reader._buffer)} bytes of a head are kept")
    except HandshakeError as error:
        date = http_date((2026, 1, 2, 3, 4, 5, 4))
        check_response(error.status, handshake.rejection(error).pack(date))
        status = "unreadable" if error.status in UNREADABLE else error.status
        return "refused", status, "".join(filter(str.isalpha, error.reason))
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"a head raised {error!r}") from error
    raise Finding("a head has an end that is not found")


def run_head(data: bytes) -> Hashable:
    """The first byte chooses the policy; the rest is what the client sends."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    policy = POLICIES[options % len(POLICIES)]
    one = read_head(policy, [stream])
    cuts = chance(data)
    ways = [cut_at_random(stream, cuts), cut_at_random(stream, cuts)]
    if len(stream) <= SINGLY:
        ways.append(byte_by_byte(stream))
    for pieces in ways:
        other = read_head(policy, pieces)
        if other[:2] != one[:2]:
            raise Finding(
                f"pieces of {[len(piece) for piece in pieces[:40]]}: {other}\nwhole: {one}"
            )
    return (*one[:2], one[2][:12]) if one[0] == "refused" else len(one[1])


def head_seeds() -> list[bytes]:
    field = b"Sec-WebSocket-Version: 13\r\n"
    changed = [
        REQUEST,
        REQUEST + masked(0x81, b"at once"),
        REQUEST.replace(field, b"Sec-WebSocket-Version: 8\r\n"),
        REQUEST.replace(field, field + b"Content-Length: 5\r\n"),
        REQUEST.replace(field, field + b"Cookie: a=1; b=2\r\n" * 99),
        REQUEST.replace(field, field + b"X: " + 8185 * b"y" + b"\r\n"),
        REQUEST.replace(b"/chat ", b"/chat/a%2fb/?q=%41&x=+&y ").replace(b".com", b".com:8080"),
        REQUEST.replace(b"/chat ", b"/caf%c3%a9/%e2%82%ac?%f0%9f%8c%8d ").replace(
            b"Host", b"A: b\r\nHost"
        ),
        REQUEST.replace(b"Host: server.example.com", b"Host: [::1]:80"),
        REQUEST.replace(b"http://example.com", b"https://example.com:8443"),
        REQUEST.replace(b"/chat ", b"http://server.example.com/chat "),
        b"GET / HTTP/1.0\r\n\r\n",
        b"HEAD /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /" + 8300 * b"a",
        b"GET / HTTP/1.1\r\n" + 101 * b"A: b\r\n" + b"\r\n",
        b"GET / HTTP/1.1\r\n" + 3 * (b"A: " + 5457 * b"b" + b"\r\n") + b"\r\n",
    ]
    return [bytes((options,)) + head for head in changed for options in range(len(POLICIES))]


HEAD_TOKENS = [
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b": ",
        b",",
        b";",
        b'"',
        b"\\",
        b"\t",
        b"\x00",
        b"\xff",
    ),
    *(b"Host: ", b"Origin: http://", b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n"),
    *(b"GET ", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"%2f", b"%ff", b"%", b"?a=b&", b"[::1]"),
    *(b":65535", b":65536", b"Sec-WebSocket-Protocol: ", b"Content-Length: 0\r\n"),
]

# ---- the grammar of header fields ----


def check_list(text: str) -> Hashable:
    try:
        found = http.split_list([text, text])
    except HandshakeError as error:
        return error.status
    if not all(map(http.is_token, found)) or found != 2 * found[: len(found) // 2]:
        raise Finding(f"list {found!r}")
    return min(len(found), 5)


def check_authority(text: str) -> Hashable:
    try:
        host, port = http.parse_authority(text)
    except ValueError:
        return None
    if not host or (port is not None and not 0 <= port <= 65535):
        raise Finding(f"authority {host!r} {port!r}")
    again = host if port is None else f"{host}:{port}"
    if http.parse_authority(again) != (host, port):
        raise Finding(f"authority {again!r} is another one")
    return host[:1] == "[", port is None


def check_quoting(text: str) -> Hashable:
    quoted = "".join(f"%{octet:02x}" for octet in text.encode())
    if http.unquote(quoted) != text or http.unquote(text.replace("%", "%25")) != text:
        raise Finding("what was percent-encoded is decoded to something else")
    decoded = http.unquote(text)
    return decoded == text, "\N{REPLACEMENT CHARACTER}" in decoded


def check_query(text: str) -> Hashable:
    parameters = http.parse_query(text)
    if len(parameters) > text.count("&") + 1:
        raise Finding(f"{len(parameters)} parameters in {text!r}")
    return min(len(parameters), 5)


def check_field(text: str) -> Hashable:
    """What a user may set as a field comes out again as that field, and as no other."""
    name, _, value = text.partition(":")
    try:
        headers = http.Headers([(name, value)])
    except ValueError:
        return None
    first, parsed = http.parse_head(b"GET / HTTP/1.1\r\n" + headers.pack()[:-2])
    if first != "GET / HTTP/1.1" or list(parsed.items()) != [(name, value)]:
        raise Finding(f"{name!r}: {value!r} came out as {parsed!r}")
    return bool(value)


def check_location(text: str) -> Hashable:
    pattern, _, path = text.partition(" ")
    try:
        locations = Locations({pattern: "it"})
    except ValueError:
        return None
    found = locations.find(path)
    if "{" not in pattern and "%" not in path and (found is not None) != (pattern == path):
        raise Finding(f"location {pattern!r}, path {path!r}: {found}")
    return found is not None, len(found[0]) if found else 0


def check_origin(text: str) -> Hashable:
    try:
        policy = handshake.ServerPolicy(origins=[text])
    except ValueError:
        return None
    request = REQUEST[:-4].replace(b"http://example.com", text.encode("latin-1"))
    asked = handshake.Request(request)
    handshake.check_framing(asked)
    policy.check(asked)
    return True


GRAMMAR: tuple[Callable[[str], Hashable], ...] = (
    check_list,
    check_authority,
    check_quoting,
    check_query,
    check_field,
    check_location,
    check_origin,
)


def run_grammar(data: bytes) -> Hashable:
    """The first byte chooses the rule; the rest is its text."""
    options, text = (data[0], data[1:].decode("latin-1")) if data else (0, "")
    check = GRAMMAR[options % len(GRAMMAR)]
    try:
        return check.__name__, check(text)
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{check.__name__} raised {error!r}") from error


def grammar_seeds() -> list[bytes]:
    texts = [
        *(
            b"a, b ,c",
            b",,a,",
            b"a b",
            b"example.com:80",
            b"[::1]:8080",
            b"[::1",
            b"a:",
            b"a:99999",
        ),
        *(b"a%20b%zz%", b"a=1&b=two+words&a=%41&&=", b"X-Name: value", b"X-Name:value"),
        *(b"/chat/{room} /chat/den", b"/a/{b}/{b} /a/b/c", b"/ /", b"https://example.com:8443"),
        *(b"http://EXAMPLE.com", b"null", b"file://", b"name:tab\tinside", b"\xe9:\xff"),
    ]
    return [bytes((rule,)) + text for rule in range(len(GRAMMAR)) for text in texts]


GRAMMAR_TOKENS = [
    *(
        b"://",
        b"{a}",
        b"/",
        b" ",
        b"%",
        b"%41",
        b"%c3",
        b"&",
        b"=",
        b"+",
        b":",
        b",",
        b"[",
        b"]",
    ),
    *(b"\t", b"\r\n", b"\x7f", b"\xa0", b"http", b"https", b"65535", b"\x85", b"\xb2", b"."),
]


@functools.cache
def targets() -> dict[str, Target]:
    # These need what stands above.
    from . import client_targets, deflate_targets, extension_targets

    return {
        "parser": Target(run_parser, parser_seeds(), PARSER_TOKENS),
        "head": Target(run_head, head_seeds(), HEAD_TOKENS),
        "grammar": Target(run_grammar, grammar_seeds(), GRAMMAR_TOKENS),
        **client_targets.TARGETS,
        **extension_targets.TARGETS,
        **deflate_targets.TARGETS,
    }
