"""Streams that a client may send, and what a session must make of each (RFC 6455 §5 to §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .wire import KEY, header, masked

if TYPE_CHECKING:
    from typing import Any

    from .recorder import Event

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x81, 0x82, 0x80, 0x88, 0x89, 0x8A
UNFINISHED = 0x7F  # and this: the same opcode without FIN
LIMIT, FRAGMENTS = 300, 5


class Stream(NamedTuple):
    name: str
    data: bytes
    events: list[Event]


def echoed(*messages: str | bytes) -> list[Event]:
    events: list[Event] = []
    for message in messages:
        if isinstance(message, str):
            events += [("message", message), ("sent", TEXT, message.encode())]
        else:
            events += [("message", message), ("sent", BINARY, message)]
    return events


def answered(payload: bytes) -> list[Event]:
    return [("ping", payload), ("sent", PONG, payload)]


def ended(code: int, reason: str = "") -> list[Event]:
    return [("close sent", None if code == 1005 else code), ("closed", code, reason)]


def failed(code: int) -> list[Event]:
    return [("close sent", code), ("violated", code)]


def brief(events: list[Event]) -> list[Event]:
    """Return the events without the words in which a violation is explained."""

    def shorten(event: Event) -> Event:
        if event[:2] == ("sent", CLOSE):
            payload: bytes = event[2]
            return "close sent", int.from_bytes(payload[:2], "big") if payload else None
        return event[:2] if event[0] == "violated" else event

    return [shorten(event) for event in events]


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return masked(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def begun(head: int, payload: bytes = b"") -> bytes:
    """Return the first frame of a message in fragments."""
    return masked(head & UNFINISHED, payload)


def more(payload: bytes = b"") -> bytes:
    return masked(CONTINUATION & UNFINISHED, payload)


def last(payload: bytes = b"") -> bytes:
    return masked(CONTINUATION, payload)


def declared(head: int, length: int, form: int | None = None) -> bytes:
    """Return the header of a frame, and not a byte of its payload."""
    return header(head, length, form) + KEY


SNOWMAN = "☃".encode()
AFTER = masked(TEXT, b"never seen") + close(1000)

MESSAGES = [
    Stream("nothing", b"", []),
    Stream("a text", masked(TEXT, b"Hello"), echoed("Hello")),
    Stream("an empty text", masked(TEXT), echoed("")),
    Stream("an empty binary message", masked(BINARY), echoed(b"")),
    Stream("every byte", masked(BINARY, bytes(range(256))), echoed(bytes(range(256)))),
    Stream("a key of zeros", masked(TEXT, b"Hello", bytes(4)), echoed("Hello")),
    Stream("a frame of 125", masked(TEXT, 125 * b"a"), echoed(125 * "a")),
    Stream("a frame of 126", masked(TEXT, 126 * b"a"), echoed(126 * "a")),
    Stream("as much as the limit", masked(BINARY, LIMIT * b"b"), echoed(LIMIT * b"b")),
    Stream("text beyond ASCII", masked(TEXT, "κόσμε☃😀".encode()), echoed("κόσμε☃😀")),
    Stream(
        "several messages",
        masked(TEXT, b"a") + masked(BINARY, b"b") + masked(TEXT, b"c"),
        echoed("a", b"b", "c"),
    ),
    Stream(
        "text in fragments",
        begun(TEXT, b"Hel") + more(b"l") + last(b"o"),
        echoed("Hello"),
    ),
    Stream(
        "binary in fragments",
        begun(BINARY, b"\xff\xfe") + more() + last(b"\xfd"),
        echoed(b"\xff\xfe\xfd"),
    ),
    Stream("empty fragments", begun(TEXT) + more() + more() + last(), echoed("")),
    Stream("empty binary fragments", begun(BINARY) + more() + last(), echoed(b"")),
    Stream(
        "a character cut by fragments",
        begun(TEXT, SNOWMAN[:1]) + more(SNOWMAN[1:2]) + last(SNOWMAN[2:]),
        echoed("☃"),
    ),
    Stream(
        "as much as the limit, in fragments, and a message after it",
        begun(TEXT, 100 * b"a") + more(100 * b"b") + last(100 * b"c") + masked(TEXT, b"d"),
        echoed(100 * "a" + 100 * "b" + 100 * "c", "d"),
    ),
    Stream(
        "as many fragments as allowed, twice",
        2 * (begun(TEXT, b"a") + 3 * more(b"b") + last(b"c")),
        echoed("abbbc", "abbbc"),
    ),
    Stream(
        "a message in fragments after one whole, and one whole after it",
        masked(TEXT, b"a") + begun(BINARY, b"b") + last(b"c") + masked(TEXT, b"d"),
        echoed("a", b"bc", "d"),
    ),
    Stream("only the start of a message", begun(TEXT, b"Hel") + more(b"l"), []),
    Stream("only the start of a frame", masked(TEXT, b"Hello")[:-1], []),
    Stream("only the start of a header", declared(BINARY, 200)[:3], []),
]

CONTROL = [
    Stream("a ping", masked(PING), answered(b"")),
    Stream("a ping of 125", masked(PING, 125 * b"p"), answered(125 * b"p")),
    Stream("a pong that nobody asked for", masked(PONG, b"p"), [("pong", b"p")]),
    Stream(
        "control frames between fragments",
        begun(TEXT, b"H") + masked(PING, b"1") + more(b"i") + masked(PONG, b"2") + last(b"!"),
        [*answered(b"1"), ("pong", b"2"), *echoed("Hi!")],
    ),
    Stream(
        "a ping inside a cut character",
        begun(TEXT, SNOWMAN[:2]) + masked(PING, b"\xff") + last(SNOWMAN[2:]),
        [*answered(b"\xff"), *echoed("☃")],
    ),
    Stream(
        "a close between fragments",
        begun(BINARY, b"a") + close(1000) + last(b"b"),
        ended(1000),
    ),
    Stream("a close without a code", close() + AFTER, ended(1005)),
    Stream(
        "a close with a reason",
        close(1001, "adiós".encode()) + AFTER,
        ended(1001, "adiós"),
    ),
    Stream(
        "a close with the longest reason",
        close(1000, 123 * b"r") + AFTER,
        ended(1000, 123 * "r"),
    ),
    Stream("a close, then garbage", close(1000) + b"\xff\xff\xff", ended(1000)),
    Stream(
        "a message, then a close",
        masked(TEXT, b"last words") + close(1000),
        [*echoed("last words"), *ended(1000)],
    ),
]

CODES = [
    *(
        Stream(f"a close with code {code}", close(code) + AFTER, ended(code))
        for code in (
            *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014),
            *(3000, 3999, 4000, 4999),
        )
    ),
    *(
        Stream(
            f"a close with code {code}, which nobody sends", close(code) + AFTER, failed(1002)
        )
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Stream("a close of one byte", masked(CLOSE, b"\x03") + AFTER, failed(1002)),
    Stream("a reason that is not UTF-8", close(1000, b"\xff") + AFTER, failed(1007)),
    Stream("a reason that is cut", close(1000, SNOWMAN[:2]) + AFTER, failed(1007)),
]

GRAMMAR = [
    *(
        Stream(f"first byte {head:#04x}", masked(head, b"x") + AFTER, failed(1002))
        for head in range(256)
        if head not in (0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A)
    ),
    *(
        Stream(
            f"first byte {head:#04x} inside a message",
            begun(TEXT, b"a") + masked(head, b"x") + AFTER,
            failed(1002),
        )
        for head in (0x01, 0x02, 0x81, 0x82, 0x03, 0x83, 0xC0, 0x40, 0x20, 0x10, 0x08, 0x09)
    ),
    *(
        Stream(f"unmasked, first byte {head:#04x}", bytes((head, 1)) + b"x", failed(1002))
        for head in (0x01, 0x81, 0x82, 0x88, 0x89, 0x8A)
    ),
    *(
        Stream(
            f"control frame {head:#04x} of {length} bytes",
            declared(head, length) + AFTER,
            failed(1002),
        )
        for head in (CLOSE, PING, PONG)
        for length in (126, 65536)
    ),
    *(
        Stream(
            f"a length of {length} in {form} bits", declared(TEXT, length, form), failed(1002)
        )
        for length, form in ((0, 16), (5, 16), (125, 16), (5, 64), (200, 64), (65535, 64))
    ),
    *(
        Stream(f"a length of {length:#x}", declared(BINARY, length, 64), failed(1002))
        for length in (1 << 63, (1 << 64) - 1, (1 << 63) + 5)
    ),
    *(
        Stream(
            f"{head:#04x} with 1 TiB declared is refused for its opcode",
            declared(head, 1 << 40),
            failed(1002),
        )
        for head in (0x83, 0x87, 0x8B, 0x8F)
    ),
    Stream(
        "replies leave before the close that tells of a violation",
        masked(TEXT, b"a") + masked(PING, b"p") + masked(0x83, b"x") + AFTER,
        [*echoed("a"), *answered(b"p"), *failed(1002)],
    ),
]

LIMITS = [
    Stream("one byte over the limit", declared(BINARY, LIMIT + 1), failed(1009)),
    Stream(
        "a short frame over what is left",
        begun(TEXT, 200 * b"a") + declared(0, 101),
        failed(1009),
    ),
    Stream("a length of 2^62", declared(TEXT, 1 << 62), failed(1009)),
    Stream("a length of 2^63 - 1", declared(BINARY, (1 << 63) - 1), failed(1009)),
    Stream(
        "fragments that pass the limit together",
        begun(BINARY, 150 * b"a") + more(150 * b"b") + declared(0x80, 1),
        failed(1009),
    ),
    Stream(
        "a length of 2^63 - 1 after a part of a message",
        begun(BINARY, 150 * b"a") + declared(0x80, (1 << 63) - 1),
        failed(1009),
    ),
    Stream(
        "a fragment too many",
        begun(TEXT, b"a") + (FRAGMENTS - 1) * more(b"b") + more(b"c") + AFTER,
        failed(1008),
    ),
    Stream(
        "an empty fragment too many",
        begun(TEXT) + (FRAGMENTS - 1) * more() + last() + AFTER,
        failed(1008),
    ),
    Stream(
        "control frames are not fragments",
        begun(TEXT) + 2 * FRAGMENTS * masked(PONG) + last(),
        [*(2 * FRAGMENTS * [("pong", b"")]), *echoed("")],
    ),
]

# Table 3-7 of the Unicode standard (section 3.9) leaves these out: each is wrong from its last
# byte on, and not before.
NOT_UTF8 = [
    *(b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xf5", b"\xff", b"\xfe"),
    *(b"\xc2A", b"\xe0\x9f", b"\xed\xa0", b"\xed\xbf", b"\xf0\x8f", b"\xf4\x90", b"\xf1\xc0"),
    *(b"\xe2\x98A", b"\xf0\x9f\x98A", b"\xf0\x9fA", b"\xe2A"),
]

UTF8 = [
    *(
        Stream(f"text {bad.hex()}", masked(TEXT, b"ok " + bad + b" ok") + AFTER, failed(1007))
        for bad in NOT_UTF8
    ),
    *(
        Stream(
            f"text {bad.hex()} cut by fragments",
            begun(TEXT, b"ok " + bad[:-1]) + more(bad[-1:] + b"ok") + AFTER,
            failed(1007),
        )
        for bad in NOT_UTF8
    ),
    *(
        Stream(
            f"text that ends in {cut.hex()}", masked(TEXT, b"ok" + cut) + AFTER, failed(1007)
        )
        for cut in (b"\xc2", b"\xe2\x98", b"\xf0\x9f\x98")
    ),
    Stream(
        "fragments that end in a cut character",
        begun(TEXT, b"ok") + last(SNOWMAN[:2]) + AFTER,
        failed(1007),
    ),
    Stream(
        "an answer, then bad text",
        masked(TEXT, b"a") + masked(TEXT, b"\xff"),
        [*echoed("a"), *failed(1007)],
    ),
]

OUR_CLOSE: list[Event] = [("message", "close"), ("close sent", 1000)]

CLOSING = [
    Stream(
        "messages after our close are dropped",
        masked(TEXT, b"close") + masked(TEXT, b"a") + begun(BINARY, b"b") + last(b"c"),
        OUR_CLOSE,
    ),
    Stream(
        "pings after our close are not answered",
        masked(TEXT, b"close") + masked(PING, b"p"),
        OUR_CLOSE,
    ),
    Stream(
        "the peer's close after ours is not answered",
        masked(TEXT, b"close") + masked(TEXT, b"a") + close(1000, b"ok") + AFTER,
        [*OUR_CLOSE, ("closed", 1000, "ok")],
    ),
    Stream(
        "a violation after our close brings no second one",
        masked(TEXT, b"close") + masked(0x83, b"x") + AFTER,
        [*OUR_CLOSE, ("violated", 1002)],
    ),
    Stream(
        "bad text after our close is a violation all the same",
        masked(TEXT, b"close") + masked(TEXT, b"\xff") + AFTER,
        [*OUR_CLOSE, ("violated", 1007)],
    ),
    Stream(
        "too much after our close is a violation all the same",
        masked(TEXT, b"close") + declared(TEXT, LIMIT + 1),
        [*OUR_CLOSE, ("violated", 1009)],
    ),
]

STOPS = [
    Stream(
        "what follows a message that stops the parser",
        masked(TEXT, b"stop") + masked(PING, b"p") + masked(TEXT, b"a") + close(1000),
        [*echoed("stop"), *answered(b"p"), *echoed("a"), *ended(1000)],
    ),
    Stream(
        "fragments that stop the parser",
        begun(TEXT, b"st") + last(b"op") + masked(TEXT, b"stop") + masked(TEXT, b"a"),
        echoed("stop", "stop", "a"),
    ),
]

GROUPS = {
    "messages": MESSAGES,
    "control frames": CONTROL,
    "close codes": CODES,
    "grammar": GRAMMAR,
    "limits": LIMITS,
    "text": UTF8,
    "after our close": CLOSING,
    "stops": STOPS,
}
STREAMS = [stream for group in GROUPS.values() for stream in group]

OPTIONS: dict[str, Any] = {"max_message": LIMIT, "max_fragments": FRAGMENTS}
