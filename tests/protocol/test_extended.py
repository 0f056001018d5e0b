"""`reactor/protocol/extended.py`: what stands between the parser and the messages."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import platform
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidPayload, MessageTooBig, ProtocolError
from reactor.protocol.deflate import DeflateFrame, PerMessageDeflate
from reactor.protocol.extended import ExtendedSession
from reactor.protocol.extensions import encoded_room
from reactor.protocol.frames import RSV1, RSV2, RSV3, Frame, Opcode
from reactor.protocol.messages import BinaryMessage, TextMessage
from reactor.protocol.packing import Packer
from reactor.protocol.session import State

from . import streams
from .recorder import (
    Recorder,
    byte_by_byte,
    cut,
    cut_at_random,
    every_way,
    held,
    in_pieces,
    kept,
    whole,
)
from .streams import BINARY, CLOSE, GROUPS, PING, PONG, TEXT, brief, failed
from .toys import (
    Expand,
    Numbered,
    Own,
    adding,
    blocks,
    codecs,
    expanding,
    numbering,
    owning,
    pair,
    raising,
    summing,
    telling,
    xoring,
    yielding,
)
from .wire import KEY, header, masked, read_frame, unmasked

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from reactor.protocol.extensions import Codec, Extension
    from reactor.protocol.session import Session

IN_PARTS = pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
RSV1_TEXT, RSV1_BINARY = TEXT | RSV1, BINARY | RSV1


class Extended(Recorder):
    """A recorder whose session has codecs; keeps the errors."""

    session: ExtendedSession

    def __init__(self, *codecs: Codec, **options: Any) -> None:
        self.codecs: Any = codecs
        self.errors: list[ProtocolError] = []
        super().__init__(**options)

    def make(self, **options: Any) -> Session:
        return ExtendedSession(self, self.codecs, **options)

    def violated(self, error: ProtocolError) -> None:
        self.errors.append(error)
        super().violated(error)

    @property
    def messages(self) -> list[str | bytes]:
        return [event[1] for event in self.joined[0] if event[0] == "message"]

    @property
    def parts(self) -> list[str | bytes]:
        return [event[1] for event in self.events if event[0] == "part"]


def extended(*extensions: Extension, **options: Any) -> Extended:
    """Return a recorder that does not echo, with these extensions agreed on."""
    return Extended(*codecs(*extensions), **{"echo": False, **options})


def after(data: bytes, *extensions: Extension, **options: Any) -> Extended:
    recorder = extended(*extensions, **options)
    recorder.feed(data)
    return recorder


def by_steps(recorder: Extended, data: bytes) -> list[int]:
    """Feed as a connection does; return how many events there were after each call."""
    counts = []
    more = recorder.session.feed(data)
    counts.append(len(recorder.events))
    while more:
        more = recorder.session.feed(b"")
        counts.append(len(recorder.events))
    return counts


# ---- what is not coded ----

# They claim nothing and change nothing, each in its own way.
IDLE: dict[str, Callable[[], Extension]] = {
    "no hooks": lambda: telling(0),
    "no message": lambda: telling(0, begin_decode=lambda opcode, rsv: False),
    "all messages": lambda: telling(
        0, begin_decode=lambda opcode, rsv: True, decode=lambda data, final: (data,)
    ),
    "in bytes": lambda: telling(
        0, begin_decode=lambda opcode, rsv: True, decode=lambda data, final: byte_by_byte(data)
    ),
    "all frames": lambda: telling(0, decode_frame=lambda frame, limit: frame),
    "both": lambda: telling(
        0,
        begin_decode=lambda opcode, rsv: True,
        decode=lambda data, final: (data, b""),
        decode_frame=lambda frame, limit: frame,
    ),
}
UNLIMITED = [name for name in GROUPS if name != "limits"]


@IN_PARTS
@pytest.mark.parametrize("group", UNLIMITED)
@pytest.mark.parametrize("idle", IDLE)
def test_a_stream_means_the_same_where_codecs_change_nothing(
    idle: str, group: str, in_parts: bool
) -> None:
    def new() -> Extended:
        return extended(IDLE[idle](), echo=True, in_parts=in_parts, **streams.OPTIONS)

    for stream in GROUPS[group]:
        # The limit is for what is decoded: it is not passed before that.
        events = [event for event in stream.events if event != ("violated", 1009)]
        assert brief(whole(new, stream.data).joined[0]) == events, stream.name
        size = len(stream.data)
        for way, recorder in every_way(new, stream.data, range(1, size, size // 8 + 1)):
            assert brief(recorder.joined[0]) == events, f"{stream.name}, {way}"


@IN_PARTS
def test_a_message_that_is_not_coded_is_one_part(in_parts: bool) -> None:
    data = masked(TEXT, b"a") + masked(BINARY, b"b") + masked(TEXT) + masked(BINARY)
    recorder = after(data, PerMessageDeflate(), in_parts=in_parts)
    assert recorder.messages == ["a", b"b", "", b""]
    if in_parts:
        assert recorder.events[:2] == [("part", "a", True), ("part", b"b", True)]


@pytest.mark.parametrize("idle", IDLE)
def test_large_frames_are_not_told_of(idle: str) -> None:
    payload = os.urandom(200_000)
    for size in (20_000, 199_999):
        recorder = extended(IDLE[idle]())
        for piece in cut(masked(BINARY, payload), [size]):
            recorder.feed(piece)
            assert not recorder.large
        assert recorder.messages == [payload]


# ---- the order of things ----


def shifted(data: bytes, *steps: Callable[[int], int]) -> bytes:
    for step in steps:
        data = bytes(step(octet) & 0xFF for octet in data)
    return data


@IN_PARTS
@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_messages_are_decoded_in_the_reverse_of_their_order(
    in_parts: bool, client: bool
) -> None:
    # "foo, bar" stands for bar(foo(data)) (RFC 6455 §9.1).
    coded = shifted(b"Hello", lambda octet: octet + 7, lambda octet: octet ^ 0x33)
    assert coded != shifted(b"Hello", lambda octet: octet ^ 0x33, lambda octet: octet + 7)
    frame = unmasked(BINARY, coded) if client else masked(BINARY, coded)
    recorder = after(frame, adding(7), xoring(0x33), in_parts=in_parts, client=client)
    assert recorder.messages == [b"Hello"]


@IN_PARTS
def test_frames_are_decoded_in_the_reverse_of_their_order_and_before_messages(
    in_parts: bool,
) -> None:
    coded = shifted(b"Hello", lambda octet: octet + 7)
    numbered = b"\x00" + coded
    data = masked(BINARY | RSV3, numbered + bytes((sum(numbered) & 0xFF,)))
    recorder = after(data, adding(7), numbering(), summing(), in_parts=in_parts)
    assert recorder.messages == [b"Hello"]
    summed = coded + bytes((sum(coded) & 0xFF,))
    data = masked(BINARY | RSV3, b"\x00" + summed)
    recorder = after(data, adding(7), summing(), numbering(), in_parts=in_parts)
    assert recorder.messages == [b"Hello"]


def test_a_codec_of_both_kinds_has_its_part_in_both() -> None:
    asked: list[str] = []

    def toy(name: str) -> Extension:
        def note(hook: str, answer: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                asked.append(f"{name} {hook}")
                return answer(*arguments)

            return run

        both = telling(
            0,
            begin_decode=note("begin", lambda opcode, rsv: True),
            decode=note("decode", lambda data, final: (data,)),
            decode_frame=note("frame", lambda frame, limit: frame),
        )
        both.name = name
        return both

    after(masked(TEXT, b"x"), toy("one"), toy("two"))
    frames = ["two frame", "one frame"]
    assert asked[:4] == [*frames, "two begin", "one begin"]
    assert [what for what in asked if "decode" in what][:2] == ["two decode", "one decode"]


# ---- what may stand in a first byte ----

MESSAGE_BIT = telling(RSV1, begin_decode=lambda opcode, rsv: False)
FRAME_BIT = telling(RSV1, decode_frame=lambda frame, limit: frame)
HEADS = [
    # Behind what, which extension, the first byte, whether it is legal.
    (b"", MESSAGE_BIT, 0xC1, True),
    (b"", MESSAGE_BIT, 0x42, True),
    (b"", MESSAGE_BIT, 0xA1, False),
    (b"", MESSAGE_BIT, 0xD1, False),
    (b"", MESSAGE_BIT, 0xE1, False),
    (b"", MESSAGE_BIT, 0xC9, False),
    (b"", MESSAGE_BIT, 0xCA, False),
    (b"", MESSAGE_BIT, 0xC8, False),
    (b"", MESSAGE_BIT, 0xC0, False),
    (b"", MESSAGE_BIT, 0xC3, False),
    (streams.begun(TEXT), MESSAGE_BIT, 0x80, True),
    (streams.begun(TEXT), MESSAGE_BIT, 0xC0, False),
    (streams.begun(TEXT), MESSAGE_BIT, 0x40, False),
    (streams.begun(TEXT), MESSAGE_BIT, 0xC1, False),
    (masked(0x41), MESSAGE_BIT, 0xC0, False),
    (b"", FRAME_BIT, 0xC1, True),
    (b"", FRAME_BIT, 0xA1, False),
    (b"", FRAME_BIT, 0xC9, False),
    (streams.begun(TEXT), FRAME_BIT, 0xC0, True),
    (streams.begun(TEXT), FRAME_BIT, 0x40, True),
    (streams.begun(TEXT), FRAME_BIT, 0x60, False),
    (streams.begun(TEXT), FRAME_BIT, 0xC1, False),
    (streams.begun(TEXT), FRAME_BIT, 0xCA, False),
]


@IN_PARTS
@pytest.mark.parametrize(("before", "extension", "head", "legal"), HEADS)
def test_a_bit_is_legal_only_where_it_is_claimed(
    before: bytes, extension: Extension, head: int, legal: bool, in_parts: bool
) -> None:
    recorder = after(before + bytes((head,)), extension, in_parts=in_parts)
    assert (recorder.events == []) is legal
    if not legal:
        assert brief(recorder.events) == failed(1002)


@IN_PARTS
def test_after_a_message_the_next_one_begins_anew(in_parts: bool) -> None:
    deflate = PerMessageDeflate()
    data = masked(0x01, b"a") + masked(0x80, b"b") + masked(RSV1_TEXT, packed("c"))
    data += masked(0x41, packed("d")[:2]) + masked(0x80, packed("d")[2:]) + masked(TEXT, b"e")
    recorder = after(data + masked(0x80), deflate, in_parts=in_parts)
    assert recorder.messages == ["ab", "c", "d", "e"]
    assert brief(recorder.events)[-2:] == failed(1002)


@IN_PARTS
@pytest.mark.parametrize("way", ["whole", "cut", "fragments"])
def test_a_codec_is_asked_once_for_a_message_with_its_opcode_and_bits(
    in_parts: bool, way: str
) -> None:
    asked: list[tuple[int, int]] = []

    def begin(opcode: int, rsv: int) -> bool:
        asked.append((opcode, rsv))
        return False

    recorder = extended(telling(RSV1 | RSV3, begin_decode=begin), in_parts=in_parts)
    expected = []
    for opcode, rsv in itertools.product((1, 2), (0, RSV1, RSV3, RSV1 | RSV3)):
        if way == "fragments":
            data = masked(opcode | rsv, b"a") + masked(PING) + masked(0) + masked(0x80, b"b")
        else:
            data = masked(0x80 | opcode | rsv, b"ab")
        for piece in byte_by_byte(data) if way == "cut" else [data]:
            recorder.feed(piece)
        expected.append((opcode, rsv))
    assert asked == expected
    assert recorder.messages == [*4 * ["ab"], *4 * [b"ab"]]


def test_no_codec_is_asked_for_a_message_before_its_first_byte_is_legal() -> None:
    begin = telling(RSV1, begin_decode=raising(AssertionError("asked")))
    for data in (masked(0xA1), masked(0x80), masked(PING), masked(0xC9)):
        assert brief(after(data, begin).events) in (failed(1002), streams.answered(b""))


# ---- coded messages ----


def packed(message: str | bytes, level: int = 6) -> bytes:
    """Return the payload of a compressed message, by zlib itself (RFC 7692 §7.2.1)."""
    data = message.encode() if isinstance(message, str) else message
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@IN_PARTS
def test_a_compressed_message_is_the_same_in_any_pieces(in_parts: bool) -> None:
    text = "κόσμε☃😀 " * 30
    coded = packed(text)
    size = len(coded) // 3
    data = masked(RSV1_TEXT, coded) + masked(PING, b"p") + masked(0x41, coded[:size])
    data += masked(PONG, b"q") + masked(0x00, coded[size : 2 * size]) + masked(0x00)
    data += masked(0x80, coded[2 * size :]) + masked(0x42, packed(b"\xff")) + masked(0x80)
    data += masked(TEXT, b"plain") + masked(CLOSE, b"\x03\xe8")

    def new(*stop: str) -> Extended:
        return extended(PerMessageDeflate(), in_parts=in_parts, stop=stop)

    expected = [
        *[("message", text), *streams.answered(b"p"), ("pong", b"q"), ("message", text)],
        *[("message", b"\xff"), ("message", "plain"), *streams.ended(1000)],
    ]
    assert brief(whole(new, data).joined[0]) == expected
    for way, recorder in every_way(new, data):
        assert brief(recorder.joined[0]) == expected, way
    for way, recorder in every_way(lambda: new("message", "part", "ping"), data):
        assert brief(recorder.joined[0]) == expected, way


# Frames of which a read has as many bytes as they seem to be long.
SEEMING = {
    "not masked, a length that the mask's bit makes": bytes((RSV1_TEXT, 5)) + bytes(4 + 133),
    "126 in seven bits, and no length behind it": bytes((RSV1_TEXT, 0xFE)) + bytes(4 + 126),
    "127 in seven bits": bytes((RSV1_TEXT, 0xFF)) + bytes(4 + 127),
    "a short length in two bytes": bytes((RSV1_TEXT, 0xFE, 0, 9)) + bytes(4 + 9),
    "a bit that nobody claimed": masked(TEXT | RSV2, b"message"),
    "a continuation of nothing": masked(0x80, b"message"),
    "one byte more than the limit": masked(TEXT, b"m" * 151),
    "compressed, far over the limit": masked(RSV1_TEXT, b"\x00" * 2000),
}


@pytest.mark.parametrize("data", SEEMING.values(), ids=SEEMING)
def test_a_frame_that_comes_alone_is_held_to_the_rules(data: bytes) -> None:
    def new() -> Extended:
        return extended(PerMessageDeflate(), max_message=150, max_fragments=1)

    alone, cut = new(), new()
    more = alone.session.feed(data)
    assert not more
    for piece in byte_by_byte(data):
        cut.feed(piece)
    assert brief(alone.events) == brief(cut.events)
    assert [error.code for error in alone.errors] == [error.code for error in cut.errors]
    assert alone.messages == []


@pytest.mark.parametrize("size", [6, 7, 124, 125, 126, 127, 128, 65535, 65536, 65537])
@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("head", [RSV1_BINARY, BINARY], ids=["compressed", "plain"])
def test_a_frame_of_any_size_may_come_alone(head: int, client: bool, size: int) -> None:
    message = payload = b"m" * size
    if head == RSV1_BINARY:  # as one block without compression, and the header of the next
        message = b"m" * (size - 6)
        length = len(message).to_bytes(2, "little")
        payload = b"\x00" + length + bytes(each ^ 0xFF for each in length) + message + b"\x00"
    recorder = extended(PerMessageDeflate(), client=client)
    for _ in range(3):
        assert not recorder.session.feed((unmasked if client else masked)(head, payload))
    assert recorder.messages == [message] * 3


@IN_PARTS
@pytest.mark.parametrize("way", ["whole", "cut", "fragments"])
def test_what_is_not_compressed_data_fails_the_connection(in_parts: bool, way: str) -> None:
    for bad in (b"\xff" * 20, packed("a" * 1000)[:-1], packed("a")[:2]):
        data = masked(RSV1_TEXT, bad)
        if way == "fragments":
            data = masked(0x41, bad[:1]) + masked(0x80, bad[1:])
        recorder = extended(PerMessageDeflate(), in_parts=in_parts)
        for piece in byte_by_byte(data) if way == "cut" else [data]:
            recorder.feed(piece)
        assert brief(recorder.events)[-2:] == failed(1007)
        assert recorder.messages == []


@IN_PARTS
@pytest.mark.parametrize("way", ["whole", "cut", "fragments"])
def test_text_is_checked_behind_the_codecs(in_parts: bool, way: str) -> None:
    for bad in (b"ok \xff", b"ok" + streams.SNOWMAN[:2], b"\xed\xa0\x80"):
        coded = packed(bad)
        data = masked(RSV1_TEXT, coded)
        if way == "fragments":
            data = masked(0x41, coded[:2]) + masked(0x80, coded[2:])
        recorder = extended(PerMessageDeflate(), in_parts=in_parts)
        for piece in byte_by_byte(data) if way == "cut" else [data]:
            recorder.feed(piece)
        assert brief(recorder.events)[-2:] == failed(1007)
        assert isinstance(recorder.errors[0], InvalidPayload)
        # The same bytes are no fault in a binary message.
        assert after(masked(RSV1_BINARY, coded), PerMessageDeflate()).messages == [bad]


@IN_PARTS
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_pieces_of_any_size_are_one_message(in_parts: bool, piece: int) -> None:
    text = "κόσμε☃😀"
    coded = shifted(text.encode(), lambda octet: octet ^ 0x55)
    one = extended(xoring(0x55, RSV1, piece), in_parts=in_parts)
    one.feed(masked(RSV1_TEXT, coded) + masked(0x41, coded) + masked(0x80) + masked(TEXT))
    assert one.messages == [text, text, ""]
    if in_parts:
        # An empty part tells the end, and nothing else.
        assert [final for _, part, final in one.events if not part] == 3 * [True]


@IN_PARTS
def test_what_a_codec_keeps_back_comes_with_the_end(in_parts: bool) -> None:
    coded = b"dcba" + b"hgfe" + b"ji"
    for data in (
        masked(BINARY, coded),
        masked(0x02, coded[:3]) + masked(0x00) + masked(0x00, coded[3:9]) + masked(0x80, b"i"),
        masked(0x02, coded) + masked(0x80),
        masked(0x02) + masked(0x80, coded),
    ):
        for pieces in ([data], byte_by_byte(data)):
            recorder = extended(blocks(), in_parts=in_parts)
            for piece in pieces:
                recorder.feed(piece)
            assert recorder.messages == [b"abcdefghij"]


@IN_PARTS
def test_what_one_codec_keeps_back_is_asked_for_at_the_end_through_all(in_parts: bool) -> None:
    # What the last one (asked first) yields at the end goes through the others, and then these
    # are told that it is the end.
    expand = expanding(1, 1, [b"y", b"z"])
    recorder = after(masked(RSV1_BINARY, b"dcbax"), blocks(), expand, in_parts=in_parts)
    assert recorder.messages == [b"abcd" + b"zyx"]


@IN_PARTS
@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([masked(BINARY, b"abc")], [(b"abc", True)]),
        ([masked(BINARY)], [(b"", True)]),
        (cut(masked(BINARY, b"abc"), [7]), [(b"a", False), (b"bc", True)]),
        (cut(masked(BINARY, b"abc"), [3, 6]), [(b"abc", True)]),
        (cut(masked(BINARY), [5]), [(b"", True)]),
        ([masked(0x02, b"a"), masked(0x80, b"b")], [(b"a", False), (b"b", True)]),
        ([masked(0x02, b"a") + masked(0x80)], [(b"a", False), (b"", True)]),
        ([masked(0x02) + masked(0x00), masked(0x80, b"a")], [(b"a", True)]),
        (
            cut(masked(0x02, b"ab") + masked(0x80, b"cd"), [7, 15]),
            [(b"a", False), (b"b", False), (b"c", False), (b"d", True)],
        ),
    ],
)
def test_a_codec_is_given_the_parts_as_they_come_and_told_which_is_the_last(
    pieces: list[bytes], told: list[tuple[bytes, bool]], in_parts: bool
) -> None:
    given: list[tuple[bytes, bool]] = []

    def decode(data: bytes, final: bool) -> tuple[bytes]:
        assert type(data) is bytes
        given.append((data, final))
        return (data,)

    recorder = extended(
        telling(0, begin_decode=lambda opcode, rsv: True, decode=decode), in_parts=in_parts
    )
    for piece in pieces:
        recorder.feed(piece)
    assert given == told
    assert recorder.messages == [b"".join(data for data, _ in told)]


@IN_PARTS
def test_a_message_may_stand_for_nothing(in_parts: bool) -> None:
    for times in (0, 1):
        data = masked(RSV1_TEXT, b"abc") + masked(0x42, b"abc") + masked(0x80, b"abc")
        recorder = after(data, expanding(times, 0), in_parts=in_parts)
        assert recorder.messages == ["", b""]


# ---- limits ----


@pytest.mark.parametrize("way", ["whole", "cut", "fragments", "byte by byte"])
@pytest.mark.parametrize(
    ("extension", "head", "code"),
    [
        (PerMessageDeflate(), RSV1_BINARY, packed),
        (PerMessageDeflate(), BINARY, bytes),
        (DeflateFrame(), RSV1_BINARY, packed),
        (DeflateFrame(), BINARY, bytes),
        (expanding(1), RSV1_BINARY, bytes),
    ],
    ids=["message", "plain message", "frame", "plain frame", "toy"],
)
def test_the_limit_is_for_what_a_message_stands_for(
    extension: Extension, head: int, code: Callable[[bytes], bytes], way: str
) -> None:
    limit = 5000
    for payload in (bytes(limit), os.urandom(limit)):
        for size in (limit, limit + 1):
            message = (payload + b"x")[:size]
            coded = code(message)
            data = masked(head, coded)
            if way == "fragments":
                at = len(coded) // 2 if extension.name == "permessage-deflate" else 2000
                if extension.name == "deflate-frame":
                    first, last = code(message[:at]), code(message[at:])
                    data = masked(head & 0x7F, first) + masked(head & 0xF0, last)
                else:
                    data = masked(head & 0x7F, coded[:at]) + masked(0x80, coded[at:])
            places = {"whole": (), "fragments": (), "cut": (20,)}.get(way, range(len(data)))
            recorder = extended(extension, max_message=limit)
            for piece in cut(data, places):
                recorder.feed(piece)
            if size == limit:
                assert recorder.messages == [message]
            else:
                assert brief(recorder.events) == failed(1009)
                assert isinstance(recorder.errors[0], MessageTooBig)
                assert recorder.errors[0].limit == limit


def test_the_limit_counts_anew_for_each_message() -> None:
    coded = packed(bytes(300))
    data = masked(RSV1_BINARY, coded) + masked(0x42, coded[:3]) + masked(0x80, coded[3:])
    data += masked(BINARY, bytes(300)) + masked(0x02, bytes(150)) + masked(0x80, bytes(150))
    recorder = after(3 * data, PerMessageDeflate(), max_message=300)
    assert recorder.messages == 12 * [bytes(300)]
    data = masked(RSV1_BINARY, coded) + masked(0x42, coded) + masked(0x80, b"")
    recorder = after(3 * data, DeflateFrame(), max_message=300)
    assert recorder.messages == 6 * [bytes(300)]


@pytest.mark.parametrize("extension", [PerMessageDeflate(), DeflateFrame()], ids=repr)
@pytest.mark.parametrize("limit", [0, 100, 1 << 20, 1 << 40])
def test_what_is_declared_may_be_larger_by_what_encoding_adds(
    extension: Extension, limit: int
) -> None:
    for head in (RSV1_BINARY, BINARY, 0x42):
        declared = header(head, limit + (limit >> 10) + 1024) + KEY
        recorder = after(declared, extension, max_message=limit)
        assert recorder.events == []
        declared = header(head, 2 * limit + (1 << 20)) + KEY
        recorder = after(declared, extension, max_message=limit)
        assert brief(recorder.events) == failed(1009)
        assert vars(recorder.errors[0])["limit"] == limit


def test_what_encoding_adds_has_a_bound() -> None:
    most = encoded_room(500)
    bounds: list[tuple[Extension, int]] = [(DeflateFrame(), most)]
    bounds.append((PerMessageDeflate(), most + 5 * 16))
    for extension, room in bounds:
        for length in (room, room + 1):
            data = header(BINARY, length) + KEY
            recorder = after(data, extension, max_message=500, max_fragments=5)
            assert brief(recorder.events) == ([] if length == room else failed(1009))


def test_a_message_of_tiny_fragments_is_as_large_as_what_it_stands_for() -> None:
    # Each of them ends with a flush, which may be larger than what it is of.
    payload = os.urandom(3000)
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    coded = [
        compressor.compress(octet) + compressor.flush(zlib.Z_SYNC_FLUSH)
        for octet in byte_by_byte(payload)
    ]
    assert sum(map(len, coded)) > 2 * len(payload)
    data = masked(0x42, coded[0]) + b"".join(masked(0x00, part) for part in coded[1:])
    recorder = after(data + masked(0x80, b"\x00"), PerMessageDeflate(), max_message=3000)
    assert recorder.messages == [payload]


@pytest.mark.parametrize(
    "extension", [PerMessageDeflate(), DeflateFrame(), numbering()], ids=repr
)
def test_a_message_has_no_more_frames_than_it_may(extension: Extension) -> None:
    number = (bytes((at,)) for at in range(256)) if extension.name == "numbered" else None
    frames = [0x02, *3 * [0x00], 0x80, 0x02, *5 * [0x00]]
    data = b"".join(masked(head, next(number) if number else b"") for head in frames)
    recorder = after(data, extension, max_fragments=5)
    assert recorder.messages == [b""]
    assert brief(recorder.events)[-2:] == failed(1008)


def assert_let_go(codec: Expand) -> None:
    """Check that nothing holds the generator of a codec any more."""
    for _ in range(5):  # PyPy needs one for each generator around it
        gc.collect()
    assert codec.closed == 1


COUNTS_MEMORY = pytest.mark.skipif(
    platform.python_implementation() != "CPython", reason="tracemalloc is CPython's"
)


def peak(run: Callable[[], object]) -> int:
    """Return the most bytes that `run` had allocated at once."""
    import tracemalloc  # CPython's alone

    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@functools.lru_cache(None)
def bomb() -> bytes:
    """64 MiB of zeros, compressed."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(64)]
    return b"".join(parts) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


BOMBS: list[tuple[Extension, str]] = [
    *((PerMessageDeflate(), way) for way in ("whole", "cut", "fragments")),
    (DeflateFrame(), "whole"),
]


@COUNTS_MEMORY
@pytest.mark.parametrize(("extension", "way"), BOMBS)
def test_a_compressed_bomb_fails_and_holds_little(extension: Extension, way: str) -> None:
    coded = bomb()
    assert len(coded) < 1 << 17
    data = masked(RSV1_BINARY, coded)
    if way == "fragments":
        data = masked(0x42, coded[:100]) + masked(0x80, coded[100:])
    recorder = extended(extension, max_message=1 << 20)
    pieces = cut(data, range(0, len(data), 1000) if way == "cut" else ())

    def attack() -> None:
        for piece in pieces:
            recorder.feed(piece)

    # What has been decoded, in pieces and joined, and the frame.
    assert peak(attack) < 3 << 20
    assert brief(recorder.events) == failed(1009)
    error = recorder.errors[0]
    assert isinstance(error, MessageTooBig)
    assert (1 << 20) < error.size <= (1 << 20) + (1 << 16)
    assert held(recorder.session) == 0


@COUNTS_MEMORY
def test_a_compressed_bomb_in_parts_is_handed_on_and_holds_little() -> None:
    class Counting(Extended):
        size = 0

        def fragment_received(self, data: str | bytes, final: bool) -> bool:
            self.size += len(data)
            return False

    recorder = Counting(*codecs(PerMessageDeflate()), in_parts=True, max_message=1)
    data = masked(RSV1_BINARY, bomb())
    assert peak(lambda: recorder.feed(data)) < 1 << 20
    assert recorder.size == 64 << 20
    assert recorder.events == []


@pytest.mark.parametrize("way", ["whole", "cut", "fragments"])
def test_no_more_is_asked_for_than_up_to_the_limit(way: str) -> None:
    (codec,) = codecs(expanding(1000, 100))
    assert isinstance(codec, Expand)
    recorder = Extended(codec, max_message=550)
    data = masked(RSV1_BINARY, b"ab")
    if way == "fragments":
        data = masked(0x42, b"a") + masked(0x80, b"b")
    for piece in cut(data, [7] if way == "cut" else ()):
        recorder.feed(piece)
    assert brief(recorder.events) == failed(1009)
    assert codec.yielded == 6
    recorder.errors.clear()  # whose traceback holds on to all
    assert_let_go(codec)


# ---- in parts: stopping in the middle of what a message stands for ----


def test_a_part_stops_in_mid_message_and_the_next_feed_goes_on() -> None:
    (codec,) = codecs(expanding(3))
    assert isinstance(codec, Expand)
    recorder = Extended(codec, in_parts=True, stop=["part"], echo=False)
    data = masked(RSV1_TEXT, b"ab") + masked(PING, b"p")
    asked = []
    more = recorder.session.feed(data)
    while more:
        asked.append((codec.yielded, len(recorder.events)))
        more = recorder.session.feed(b"")
    # As many were asked for as were handed on; the end is a part of its own, which stops too.
    assert asked == [*((count, count) for count in range(1, 7)), (6, 7)]
    assert recorder.parts == [*"aaabbb", ""]
    assert brief(recorder.events)[7:] == streams.answered(b"p")


def test_what_comes_while_it_is_stopped_waits_its_turn() -> None:
    recorder = extended(expanding(3), in_parts=True, stop=["part"])
    data = masked(RSV1_BINARY, b"a") + masked(BINARY, b"z") + masked(CLOSE, b"\x03\xe8")
    session = recorder.session
    assert session.feed(data[:8]) is True
    assert recorder.parts == [b"a"]
    session.keep(data[8:10])
    assert recorder.parts == [b"a"]
    assert session.feed(data[10:12]) is True
    assert recorder.parts == [b"a", b"a"]
    session.keep(data[12:])
    recorder.feed(b"")
    assert recorder.parts == [b"a", b"a", b"a", b"", b"z"]
    assert brief(recorder.events)[5:] == streams.ended(1000)


@pytest.mark.parametrize("way", ["whole", "cut", "byte by byte", "fragments"])
@pytest.mark.parametrize("stop", [(), ("part",), ("part", "ping", "pong")], ids=repr)
def test_a_stop_changes_nothing_but_when(way: str, stop: tuple[str, ...]) -> None:
    coded = packed("κόσμε☃😀" * 50_000)
    data = masked(RSV1_TEXT, coded)
    if way == "fragments":
        data = masked(0x41, coded[:100]) + masked(PING, b"p") + masked(0x00, coded[100:])
        data += masked(PONG, b"q") + masked(0x80)
    data += masked(TEXT, b"after") + masked(PING, b"r") + masked(0x83)
    places = {"whole": (), "fragments": (), "cut": (5, 100, 400)}.get(way, range(len(data)))
    pieces = cut(data, places)
    expected = extended(PerMessageDeflate(), in_parts=True)
    expected.feed(data)
    assert expected.messages == ["κόσμε☃😀" * 50_000, "after"]
    for feed in (in_pieces, kept):
        new = functools.partial(extended, PerMessageDeflate(), in_parts=True, stop=stop)
        assert feed(new, pieces).joined == expected.joined


def test_the_last_piece_may_be_where_it_stops() -> None:
    for frames in (
        masked(RSV1_BINARY, b"a"),
        masked(0x42, b"a") + masked(0x80),
        masked(0x42) + masked(0x80, b"a"),
    ):
        recorder = extended(expanding(1), in_parts=True, stop=["part"])
        counts = by_steps(recorder, frames + masked(BINARY, b"b"))
        assert counts[:3] == [1, 2, 3]
        told = [("part", b"a", False), ("part", b"", True), ("part", b"b", True)]
        assert recorder.events == told


def test_a_fragment_that_stops_is_gone_on_with_before_the_next() -> None:
    recorder = extended(expanding(2), in_parts=True, stop=["part"])
    data = masked(0x42, b"a") + masked(0x00, b"b") + masked(PING) + masked(0x80, b"c")
    assert by_steps(recorder, data) == [1, 2, 3, 4, 7, 8, 9, 9]
    assert [event[0] for event in recorder.events] == [
        *4 * ["part"],
        *["ping", "sent"],
        *3 * ["part"],
    ]
    assert recorder.messages == [b"aabbcc"]


def test_one_feed_hands_on_64_pieces_at_most() -> None:
    recorder = extended(expanding(1000), in_parts=True)
    counts = by_steps(recorder, masked(RSV1_BINARY, b"a") + masked(PING, b"p"))
    assert [other - one for one, other in zip([0, *counts], counts)] == [*15 * [64], 40 + 3]


@pytest.mark.parametrize("extension", [expanding(50), expanding(50, 1 << 10)], ids=repr)
@pytest.mark.parametrize("way", ["messages", "fragments"])
def test_one_feed_hands_on_64_pieces_at_most_in_however_many_frames(
    extension: Extension, way: str
) -> None:
    recorder = extended(extension, in_parts=True)
    data = masked(RSV1_BINARY, b"a")
    if way == "fragments":
        data = masked(0x42, b"a") + masked(0x00, b"b") + masked(0x00, b"c") + masked(0x80, b"d")
    counts = by_steps(recorder, 30 * data)
    assert len(recorder.messages) == 30
    for one, other in zip([0, *counts], counts):
        assert other - one <= 64 + 64  # and the ends of messages, which cost nothing


@pytest.mark.parametrize("way", ["messages", "frames", "fragments"])
def test_one_feed_decodes_little_more_than_4_mib_of_whole_messages(way: str) -> None:
    sizes = []
    coded = packed(bytes(1 << 20))
    data = masked(RSV1_BINARY, coded)
    if way == "fragments":
        data = masked(0x42, coded) + masked(0x80)
    extension = DeflateFrame() if way == "frames" else PerMessageDeflate()
    recorder = extended(extension, max_message=1 << 20)
    more = recorder.session.feed(50 * data)
    while more:
        sizes.append(sum(map(len, recorder.messages)))
        recorder.events.clear()
        more = recorder.session.feed(b"")
    assert sum(sizes) + sum(map(len, recorder.messages)) == 50 << 20
    assert max(sizes) <= 5 << 20


class Ending(Extended):
    """Does something in the part that has this number."""

    def __init__(self, number: int, what: Callable[[Ending], object], **options: Any) -> None:
        super().__init__(*codecs(expanding(100)), in_parts=True, echo=False, **options)
        self.number = number
        self.what = what

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        stop = super().fragment_received(data, final)
        if len(self.parts) == self.number:
            self.what(self)
        return stop


PLACES = pytest.mark.parametrize("number", [1, 63, 64, 65, 100, 101, 102, 200])
STOPS = pytest.mark.parametrize("stop", [(), ("part",)], ids=["on", "stopping"])
MESSAGE = masked(0x41, b"a") + masked(0x00, b"b") + masked(0x80, b"c")


@PLACES
@STOPS
def test_the_end_from_inside_a_piece_is_the_end(number: int, stop: tuple[str, ...]) -> None:
    recorder = Ending(number, lambda one: one.session.eof(), stop=stop)
    recorder.feed(MESSAGE + masked(PING, b"p"))
    assert len(recorder.events) == number
    assert recorder.session.state is State.CLOSED
    assert recorder.session._rest is None
    assert held(recorder.session) == 0
    (codec,) = recorder.codecs
    assert codec.yielded == number
    recorder.feed(MESSAGE)
    recorder.session.eof()
    assert len(recorder.events) == number


@PLACES
@STOPS
def test_our_close_from_inside_a_piece_drops_the_others(
    number: int, stop: tuple[str, ...]
) -> None:
    recorder = Ending(number, lambda one: one.session.close(1000, ""), stop=stop)
    recorder.feed(MESSAGE + masked(RSV1_TEXT, b"d") + masked(PING, b"p"))
    assert len(recorder.parts) == number
    assert recorder.events[number:] == [("sent", CLOSE, b"\x03\xe8")]
    recorder.feed(masked(CLOSE, b"\x03\xe8"))
    assert recorder.events[number + 1 :] == [("closed", 1000, "")]


@PLACES
@STOPS
def test_what_is_muted_in_a_piece_drops_the_others(number: int, stop: tuple[str, ...]) -> None:
    recorder = Ending(number, lambda one: one.session.mute(), stop=stop)
    recorder.feed(MESSAGE + masked(RSV1_TEXT, b"d") + masked(PING, b"p"))
    assert recorder.events[number:] == streams.answered(b"p")


@PLACES
@STOPS
def test_a_fault_of_ours_from_inside_a_piece_is_the_end(
    number: int, stop: tuple[str, ...]
) -> None:
    fault = ProtocolError(1011, "ours")
    recorder = Ending(number, lambda one: one.session.fail(fault), stop=stop)
    recorder.feed(MESSAGE + masked(PING, b"p"))
    assert brief(recorder.events[number:]) == failed(1011)


def test_a_session_that_ends_while_it_is_stopped_holds_nothing() -> None:
    (codec,) = codecs(expanding(100))
    assert isinstance(codec, Expand)
    recorder = Extended(codec, in_parts=True, stop=["part"])
    recorder.session.feed(masked(RSV1_BINARY, b"ab") + masked(BINARY, bytes(1000)))
    assert held(recorder.session) > 1000
    recorder.session.eof()
    assert_let_go(codec)
    assert held(recorder.session) == 0
    assert recorder.session.feed(b"") is False
    assert recorder.session.feed(masked(BINARY, b"never seen")) is False
    assert recorder.parts == [b"a"]


def test_our_close_while_it_is_stopped_drops_the_rest() -> None:
    recorder = extended(expanding(100), in_parts=True, stop=["part"])
    recorder.session.feed(masked(RSV1_BINARY, b"ab") + masked(CLOSE, b"\x03\xe8"))
    recorder.session.close(1000, "")
    recorder.feed(b"")
    assert brief(recorder.events) == [
        ("part", b"a", False),
        ("close sent", 1000),
        ("closed", 1000, ""),
    ]


@pytest.mark.parametrize("after_our_close", [False, True])
def test_a_fault_in_what_is_left_is_a_fault(after_our_close: bool) -> None:
    late = telling(
        RSV1,
        begin_decode=lambda opcode, rsv: True,
        decode=yielding(b"a", b"b", b"\xff", b"never seen"),
    )
    recorder = extended(late, in_parts=True, stop=["part"])
    assert recorder.session.feed(masked(RSV1_TEXT, b"x") + masked(TEXT, b"y")) is True
    if after_our_close:
        recorder.session.close(1000, "")
    else:
        assert recorder.session.feed(b"") is True
    assert recorder.session.feed(masked(TEXT, b"z")) is False
    end = [("violated", 1007)] if after_our_close else failed(1007)
    assert brief(recorder.events)[2:] == end
    assert held(recorder.session) == 0


def test_a_stopped_session_may_be_fed_nothing_any_number_of_times() -> None:
    recorder = extended(PerMessageDeflate(), in_parts=True, stop=["part"])
    recorder.session.feed(masked(RSV1_BINARY, packed(bytes(300_000))))
    for _ in range(20):
        recorder.session.feed(b"")
    assert recorder.session.feed(b"") is False
    assert recorder.messages == [bytes(300_000)]


# ---- frames ----


@IN_PARTS
@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_a_frame_is_whole_when_its_hook_is_given_it(in_parts: bool, client: bool) -> None:
    seen: list[Frame] = []

    def note(frame: Frame, limit: int) -> Frame:
        seen.append(Frame.of(frame.head, frame.payload))
        assert limit == 500
        assert frame.masking_key == b""
        assert type(frame.payload) is bytes
        return frame

    frames = [(0x41, b"ab"), (0x00, b""), (0xC0, b"c")]
    frames += [(0x82, bytes(200)), (0xC2, b""), (0x81, b"d")]
    form = unmasked if client else masked
    data = b"".join(form(head, payload) for head, payload in frames)
    for pieces in ([data], byte_by_byte(data), cut(data, [1, 3, 40])):
        seen.clear()
        recorder = extended(
            telling(RSV1, decode_frame=note), in_parts=in_parts, client=client, max_message=500
        )
        for piece in pieces:
            recorder.feed(piece)
        assert seen == [Frame.of(*frame) for frame in frames]
        assert recorder.messages == ["abc", bytes(200), b"", "d"]


@IN_PARTS
@pytest.mark.parametrize("extension", [numbering(), summing()], ids=repr)
def test_messages_are_the_same_in_any_pieces_of_their_frames(
    extension: Extension, in_parts: bool
) -> None:
    packer = Packer(codecs(extension), masked=True)
    data = packer.pack(TextMessage("κόσμε"), None) + masked(PING, b"p")
    packer.begin(Opcode.TEXT, None, None)
    data += packer.part("☃".encode()[:2], False) + masked(PONG, b"q")
    data += packer.part("☃".encode()[2:], False) + packer.part(b"", False)
    data += packer.part(b"!", True) + packer.pack(BinaryMessage(b""), None)
    # What comes behind has no number and no sum.
    data += masked(BINARY, b"\xff")
    expected = [
        *[("message", "κόσμε"), *streams.answered(b"p"), ("pong", b"q"), ("message", "☃!")],
        *[("message", b""), *failed(3001 if extension.name == "numbered" else 3002)],
    ]

    def new(*stop: str) -> Extended:
        return extended(extension, in_parts=in_parts, stop=stop)

    assert brief(whole(new, data).joined[0]) == expected
    for way, recorder in every_way(new, data):
        assert brief(recorder.joined[0]) == expected, way
    for way, recorder in every_way(lambda: new("message", "part", "ping", "pong"), data):
        assert brief(recorder.joined[0]) == expected, way


@IN_PARTS
def test_a_frame_that_is_swallowed_was_never_there(in_parts: bool) -> None:
    def swallow(frame: Frame, limit: int) -> Frame | None:
        return None if frame.payload == b"mine" else frame

    mine = [masked(head, b"mine") for head in (0x81, 0x02, 0x82)]
    data = b"".join(mine) + masked(0x01, b"a") + masked(0x80, b"mine") + masked(0x00, b"mine")
    data += masked(PING, b"p") + masked(0x80, b"b") + mine[0] + masked(BINARY, b"c")
    for pieces in ([data], byte_by_byte(data)):
        recorder = extended(telling(0, decode_frame=swallow), in_parts=in_parts)
        for piece in pieces:
            recorder.feed(piece)
        assert recorder.messages == ["ab", b"c"]
        assert brief(recorder.joined[0])[0] == ("ping", b"p")
    # A message that never began has no continuation.
    data = mine[1] + masked(0x80)
    recorder = after(data, telling(0, decode_frame=swallow), in_parts=in_parts)
    assert brief(recorder.events) == failed(1002)


@IN_PARTS
def test_a_hook_may_return_another_frame(in_parts: bool) -> None:
    other = telling(
        0, decode_frame=lambda frame, limit: Frame(2, b"other", fin=False, rsv2=True)
    )
    recorder = after(masked(TEXT, b"a"), other, in_parts=in_parts)
    assert recorder.joined == (([], b"other") if in_parts else ([], b""))
    assert held(recorder.session) == (0 if in_parts else 5)
    again = telling(0, decode_frame=lambda frame, limit: Frame(frame.opcode, b"whole"))
    recorder = after(masked(0x01, b"a") + masked(TEXT, b"b"), again, in_parts=in_parts)
    assert recorder.messages == ["whole", "whole"]


MADE = [0x0, 0x3, 0x7, 0x8, 0x9, 0xA, 0xB, 0xF]


@IN_PARTS
@pytest.mark.parametrize("opcode", MADE)
def test_between_messages_a_hook_can_make_only_a_frame_that_begins_one(
    opcode: int, in_parts: bool
) -> None:
    make = telling(0, decode_frame=lambda frame, limit: Frame(opcode, b"x"))
    recorder = after(masked(TEXT, b"a") + masked(TEXT, b"b"), make, in_parts=in_parts)
    assert brief(recorder.events) == failed(1011)
    assert recorder.errors[0].reason == f"an extension made a frame of opcode {opcode:#x}"


@IN_PARTS
@pytest.mark.parametrize("opcode", [0x1, 0x2, *MADE[1:]])
def test_inside_a_message_a_hook_can_make_only_a_frame_that_goes_on(
    opcode: int, in_parts: bool
) -> None:
    make = telling(
        0, decode_frame=lambda frame, limit: frame if frame.opcode else Frame(opcode, b"x")
    )
    data = masked(0x02, b"a") + masked(0x80, b"b") + masked(TEXT, b"c")
    recorder = after(data, make, in_parts=in_parts)
    assert brief(recorder.events)[-2:] == failed(1011)
    assert recorder.messages == []


NONSENSE: list[Any] = ["frame", b"frame", 5, True, (), object()]


@IN_PARTS
@pytest.mark.parametrize("made", NONSENSE, ids=repr)
def test_what_a_hook_makes_of_a_frame_is_a_frame_or_nothing(made: Any, in_parts: bool) -> None:
    make = telling(0, decode_frame=lambda frame, limit: made)
    for data in (masked(TEXT, b"a"), masked(0x02, b"a"), masked(TEXT, b"a")[:-1] + b"bc"):
        recorder = after(data, make, in_parts=in_parts)
        assert brief(recorder.events)[:2] == failed(1011)


WRONG_FIELDS = [
    *(("payload", wrong) for wrong in ("text", None, 5, [1], memoryview(b"abcd").cast("I"))),
    *(("opcode", wrong) for wrong in (16, -1, None, "1", 0x42)),
]


def changed(**fields: Any) -> Callable[[Frame, int], Frame]:
    """Return a hook that sets attributes of a frame."""

    def change(frame: Frame, limit: int = 0) -> Frame:
        for name, value in fields.items():
            setattr(frame, name, value)
        return frame

    return change


@IN_PARTS
@pytest.mark.parametrize(("name", "wrong"), WRONG_FIELDS)
def test_a_frame_that_a_hook_has_spoilt_is_its_fault(
    name: str, wrong: Any, in_parts: bool
) -> None:
    spoil = telling(0, decode_frame=changed(**{name: wrong}))
    recorder = after(masked(BINARY, b"a"), spoil, in_parts=in_parts)
    assert brief(recorder.events) == failed(1011)
    assert recorder.errors[0].__cause__ is not None


@IN_PARTS
def test_a_payload_of_a_hook_may_be_bytes_like(in_parts: bool) -> None:
    for made in (bytearray(b"made"), memoryview(b"made")):
        make = telling(0, decode_frame=changed(payload=made))
        assert after(masked(TEXT, b"a"), make, in_parts=in_parts).messages == ["made"]
        assert after(masked(BINARY, b"a"), make, in_parts=in_parts).messages == [b"made"]


@IN_PARTS
def test_a_hook_that_does_not_heed_the_limit_is_held_to_it(in_parts: bool) -> None:
    for size in (500, 501):
        make = telling(0, decode_frame=changed(payload=bytes(size)))
        recorder = after(masked(BINARY, b"a"), make, max_message=500, in_parts=in_parts)
        if size == 500:
            assert recorder.messages == [bytes(500)]
        else:
            assert brief(recorder.events) == failed(1009)


def test_in_parts_the_limit_is_for_each_frame_that_has_a_hook() -> None:
    recorder = extended(DeflateFrame(), in_parts=True, max_message=500, max_fragments=5)
    data = masked(0x42, packed(bytes(500))) + 20 * masked(0x40, packed(bytes(500)))
    recorder.feed(data + masked(0x80))
    assert recorder.messages == [bytes(21 * 500)]
    recorder.feed(masked(0x02, b"a") + masked(0xC0, packed(bytes(501))))
    assert brief(recorder.events)[-2:] == failed(1009)
    error = recorder.errors[0]
    assert isinstance(error, MessageTooBig)
    assert error.limit == 500


def test_in_parts_a_frame_that_has_a_hook_is_refused_on_its_header() -> None:
    data = header(BINARY, 1 << 20) + KEY
    recorder = after(data, DeflateFrame(), in_parts=True, max_message=500)
    assert brief(recorder.events) == failed(1009)
    error = recorder.errors[0]
    assert isinstance(error, MessageTooBig)
    assert (error.size, error.limit) == (1 << 20, 500)
    # Without hooks for frames, none is kept: there is nothing to limit.
    recorder = after(header(BINARY, 1 << 62) + KEY, PerMessageDeflate(), in_parts=True)
    assert recorder.events == []


@IN_PARTS
def test_of_a_frame_no_more_is_held_than_what_came(in_parts: bool) -> None:
    recorder = extended(numbering(), in_parts=in_parts, max_message=1 << 40)
    recorder.feed(header(BINARY, 1 << 40) + KEY)
    for _ in range(10):
        recorder.feed(bytes(1000))
    assert recorder.session._gathered is not None
    assert len(recorder.session._gathered) == 10_000
    recorder.session.eof()
    assert recorder.session._gathered is None


# ---- opcodes of an extension's own ----


@IN_PARTS
def test_claimed_opcodes_are_their_extension_s(in_parts: bool) -> None:
    (codec,) = codecs(owning())
    assert isinstance(codec, Own)
    data = masked(0x83, b"mwhole") + masked(0x83, b"x") + masked(0x8B, b"y")
    data += masked(0x01, b"a") + masked(0x8B, b"between") + masked(0x80, b"b")
    for pieces in ([data], byte_by_byte(data)):
        codec.noted.clear()
        recorder = Extended(codec, in_parts=in_parts, echo=False)
        for piece in pieces:
            recorder.feed(piece)
        assert recorder.messages == [b"whole", "ab"]
        assert codec.noted == [(0x3, b"x"), (0xB, b"y"), (0xB, b"between")]


@pytest.mark.parametrize(
    ("before", "head", "legal"),
    [
        (b"", 0x83, True),
        (b"", 0x8B, True),
        (b"", 0x03, False),
        (b"", 0x0B, False),
        (b"", 0x84, False),
        (b"", 0x8C, False),
        (streams.begun(TEXT), 0x8B, True),
        (streams.begun(TEXT), 0x83, False),
        (b"", 0xC3, False),
        (b"", 0xCB, False),
    ],
)
def test_a_claimed_opcode_is_legal_where_its_kind_is(
    before: bytes, head: int, legal: bool
) -> None:
    recorder = after(before + bytes((head,)), owning())
    assert brief(recorder.events) == ([] if legal else failed(1002))


@IN_PARTS
@pytest.mark.parametrize("order", [0, 1])
def test_a_codec_is_not_shown_another_s_own_frames(order: int, in_parts: bool) -> None:
    extensions = [numbering(), owning()] if order else [owning(), numbering()]
    server = codecs(*extensions)
    number, own = server if order else reversed(server)
    assert isinstance(number, Numbered)
    assert isinstance(own, Own)
    recorder = Extended(*server, in_parts=in_parts, echo=False)
    recorder.feed(masked(0x8B, b"a") + masked(0x83, b"b") + masked(TEXT, b"\x00c"))
    assert recorder.messages == ["c"]
    assert own.noted == [(0xB, b"a"), (0x3, b"b")]
    assert number.received == 1


def test_a_frame_that_is_made_a_message_s_is_shown_to_those_before() -> None:
    # On its way out it was numbered, and then made a frame 0x3.
    recorder = after(masked(0x83, b"m\x00a") + masked(0x83, b"m\x01b"), numbering(), owning())
    assert recorder.messages == [b"a", b"b"]


@IN_PARTS
def test_a_frame_between_fragments_may_be_one(in_parts: bool) -> None:
    def decode(frame: Frame, limit: int) -> Frame:
        return Frame(0, frame.payload, fin=False) if frame.opcode == 0xB else frame

    data = masked(0x01, b"a") + masked(0x8B, b"b") + masked(PING) + masked(0x80, b"c")
    recorder = after(data, telling(0, (0xB,), decode_frame=decode), in_parts=in_parts)
    assert recorder.messages == ["abc"]


# ---- frames that an extension sends ----


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_a_codec_sends_frames_masked_by_a_client_alone(client: bool) -> None:
    codec = codecs(owning())[0]
    recorder = Extended(codec, client=client)
    frame = Frame(0xB, b"mine")
    codec.send_frame(frame)
    codec.send_frame(frame)
    codec.send_frame(Frame(0x3, b"", rsv1=True, masking_key=b"" if client else KEY))
    # The recorder checks the mask.
    assert recorder.events == [*2 * [("sent", 0x8B, b"mine")], ("sent", 0xC3, b"")]


def test_each_frame_that_a_codec_sends_has_a_fresh_key() -> None:
    class Raw(Extended):
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data[2:6]

    recorder = Raw(*codecs(owning()), client=True)
    frame = Frame(0xB)
    for _ in range(20):
        recorder.codecs[0].send_frame(frame)
    keys = {recorder.written[at : at + 4] for at in range(0, 80, 4)}
    assert len(keys) > 18  # of random ones, two may be the same


def test_a_codec_sends_nothing_when_the_session_is_not_open() -> None:
    for end in ("close", "eof"):
        codec = codecs(owning())[0]
        recorder = Extended(codec)
        getattr(recorder.session, end)(*((1000, "") if end == "close" else ()))
        recorder.events.clear()
        codec.send_frame(Frame(0xB, b"mine"))
        assert recorder.events == []
    recorder.session.state = State.CONNECTING
    codec.send_frame(Frame(0xB, b"mine"))
    assert recorder.events == []


def test_a_codec_may_answer_a_frame_of_its_own() -> None:
    (codec,) = codecs(owning())
    recorder = Extended(codec, echo=False)

    def answer(frame: Frame, limit: int) -> None:
        codec.send_frame(Frame(0xB, b"re: " + frame.payload))

    vars(codec)["decode_frame"] = answer
    recorder.feed(masked(0x8B, b"a") + masked(0x8B, b"c"))
    assert recorder.events == [("sent", 0x8B, b"re: " + payload) for payload in (b"a", b"c")]


# ---- codecs that fail ----

ALWAYS: Any = {"begin_decode": lambda opcode, rsv: True}
FAILING: dict[str, Callable[[BaseException], Extension]] = {
    "begin_decode": lambda error: telling(RSV1, begin_decode=raising(error)),
    "decode": lambda error: telling(RSV1, **ALWAYS, decode=raising(error)),
    "a later piece": lambda error: telling(
        RSV1, **ALWAYS, decode=yielding(b"ok", b"ok", error=error)
    ),
    "decode_frame": lambda error: telling(RSV1, decode_frame=raising(error)),
}
WAYS: dict[str, list[bytes]] = {
    "whole": [masked(RSV1_TEXT, b"abcd")],
    "cut": cut(masked(RSV1_TEXT, b"abcd"), [8]),
    "fragments": [masked(0x41, b"ab") + masked(0x80, b"cd")],
    "an empty last frame": [masked(0x41) + masked(0x80)],
}


@IN_PARTS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", FAILING)
@pytest.mark.parametrize(
    "error",
    [ProtocolError(4001, "no"), InvalidPayload("no"), MessageTooBig(7, 6)],
    ids=lambda error: type(error).__name__,
)
def test_a_codec_fails_the_connection_with_its_code(
    error: ProtocolError, where: str, way: str, in_parts: bool
) -> None:
    recorder = extended(FAILING[where](error), in_parts=in_parts, stop=["part"])
    for piece in WAYS[way]:
        recorder.feed(piece)
    assert brief(recorder.events)[-2:] == failed(error.code)
    assert recorder.errors == [error]
    assert recorder.messages == []
    assert recorder.session.state is State.CLOSED
    recorder.feed(masked(TEXT, b"never seen"))
    assert len(recorder.errors) == 1


UNSENDABLE: list[BaseException] = [
    *(ProtocolError(code, "no") for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 99999)),
    ProtocolError("no", "no"),  # type: ignore[arg-type]
    ProtocolError(1002, b"no"),  # type: ignore[arg-type]
    ProtocolError(1002, "\ud800"),
]
FAULTS: list[BaseException] = [ValueError("fault"), KeyError(), StopIteration(), zlib.error()]


@IN_PARTS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", FAILING)
@pytest.mark.parametrize("error", [*FAULTS, *UNSENDABLE], ids=repr)
def test_a_fault_of_a_codec_is_an_internal_error(
    error: BaseException, where: str, way: str, in_parts: bool
) -> None:
    recorder = extended(FAILING[where](error), in_parts=in_parts, stop=["part"])
    for piece in WAYS[way]:
        recorder.feed(piece)
    assert brief(recorder.events)[-2:] == failed(1011)
    cause = recorder.errors[0].__cause__
    # In a generator, Python itself makes something else of this one.
    assert cause is error or (isinstance(error, StopIteration) and where == "a later piece")
    assert recorder.errors[0].reason == "an extension failed"
    assert recorder.messages == []


@IN_PARTS
@pytest.mark.parametrize("where", FAILING)
def test_what_was_interrupted_is_lost_and_so_is_the_connection(
    where: str, in_parts: bool
) -> None:
    # The rest of the input is lost, and a codec that remembers would be out of step.
    recorder = extended(FAILING[where](KeyboardInterrupt()), in_parts=in_parts)
    with pytest.raises(KeyboardInterrupt):
        recorder.feed(masked(RSV1_TEXT, b"ab") + masked(TEXT, b"c"))
    assert brief(recorder.events)[-2:] == failed(1011)
    assert recorder.errors[0].reason == "interrupted"
    assert recorder.errors[0].__cause__ is None
    recorder.feed(masked(TEXT, b"never seen"))
    assert len(recorder.errors) == 1
    assert held(recorder.session) == 0


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("number", [1, 2, 65, 101])
def test_an_interrupt_in_a_part_gets_through_and_is_the_end(number: int, ends: bool) -> None:
    def interrupt(one: Ending) -> None:
        if ends:
            one.session.eof()
        raise KeyboardInterrupt

    recorder = Ending(number, interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorder.feed(MESSAGE + masked(PING, b"p"))
    assert brief(recorder.events[number:]) == ([] if ends else failed(1011))
    assert recorder.session.state is State.CLOSED
    assert recorder.session._rest is None


def test_an_interrupt_behind_the_end_changes_nothing() -> None:
    recorder = extended(xoring(1))

    def end_and_interrupt(message: Any) -> bool:
        recorder.session.eof()
        raise KeyboardInterrupt

    recorder.session.deliver_to(end_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorder.feed(masked(TEXT, b"ab"))
    assert recorder.errors == []
    assert recorder.session.state is State.CLOSED


PIECES: list[Any] = [None, 5, "text", [b"a"], object(), memoryview(b"abcd").cast("I")]


@IN_PARTS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("beside", [(), (xoring(1),)], ids=["alone", "in front of another"])
@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_pieces_that_are_no_bytes_are_a_fault_of_the_codec(
    piece: Any, beside: Any, way: str, in_parts: bool
) -> None:
    strange = telling(RSV1, **ALWAYS, decode=yielding(b"ok", piece))
    recorder = extended(*beside, strange, in_parts=in_parts, stop=["part"])
    for part in WAYS[way]:
        recorder.feed(part)
    assert brief(recorder.events)[-2:] == failed(1011)
    assert isinstance(recorder.errors[0].__cause__, TypeError)


@IN_PARTS
@pytest.mark.parametrize("nothing", [None, 5, object()], ids=repr)
def test_what_is_not_iterable_is_a_fault_of_the_codec(nothing: Any, in_parts: bool) -> None:
    strange = telling(RSV1, **ALWAYS, decode=lambda data, final: nothing)
    recorder = after(masked(RSV1_TEXT, b"a"), strange, in_parts=in_parts)
    assert brief(recorder.events) == failed(1011)
    assert isinstance(recorder.errors[0].__cause__, TypeError)


@IN_PARTS
def test_pieces_may_be_bytes_like(in_parts: bool) -> None:
    for piece in (bytearray(b"abcd"), memoryview(b"xabcd")[1:]):
        lenient = telling(RSV1, **ALWAYS, decode=yielding(piece))
        recorder = after(masked(RSV1_BINARY, b"x"), lenient, in_parts=in_parts)
        assert recorder.messages == [b"abcd"]
        assert all(type(message) is bytes for message in recorder.messages + recorder.parts)


@pytest.mark.parametrize(
    "where", ["begin_decode", "begin_decode, for nothing", "decode", "decode_frame"]
)
@pytest.mark.parametrize("fails", [False, True])
@IN_PARTS
def test_a_hook_that_ends_the_session_has_ended_it(
    where: str, fails: bool, in_parts: bool
) -> None:
    sessions: list[Any] = []

    def end(*arguments: Any) -> Any:
        sessions[0].eof()
        if fails:
            raise ProtocolError(1002, "and fails")
        return arguments[0] if where == "decode_frame" else (b"x", b"y")

    hooks: Any = {where: end} if where != "decode" else {**ALWAYS, "decode": end}
    if where == "begin_decode":
        hooks["decode"] = lambda data, final: (data,)
    elif where == "begin_decode, for nothing":
        hooks = {"begin_decode": lambda *asked: end() and False}
    for pieces in WAYS.values():
        recorder = extended(telling(RSV1, **hooks), in_parts=in_parts)
        sessions[:] = [recorder.session]
        for piece in pieces:
            recorder.feed(piece)
        recorder.feed(masked(TEXT, b"never seen"))
        assert recorder.events == []
        assert recorder.session.state is State.CLOSED
        assert recorder.session._assembly is None


@pytest.mark.parametrize("head", [0x83, 0x8B])
def test_a_swallowed_frame_that_ends_the_session_is_the_last(head: int) -> None:
    (codec,) = codecs(owning())
    recorder = Extended(codec, echo=False)
    shown: list[Frame] = []

    def end(frame: Frame, limit: int) -> None:
        shown.append(frame)
        recorder.session.eof()

    vars(codec)["decode_frame"] = end
    recorder.session.feed(masked(head) + masked(PING) + masked(TEXT, b"never seen"))
    assert recorder.events == []
    assert shown == [Frame.of(head, b"")]


class Last(Extended):
    """Ends with its first message, and forgets to say that the parser is to stop."""

    def message_received(self, message: str | bytes) -> bool:
        super().message_received(message)
        self.session.eof()
        return False

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        super().fragment_received(data, final)
        self.session.eof()
        return False


@IN_PARTS
@pytest.mark.parametrize("extension", [PerMessageDeflate(), DeflateFrame()], ids=repr)
def test_a_message_that_ends_the_session_is_the_last(
    extension: Extension, in_parts: bool
) -> None:
    for first in (masked(TEXT, b"a"), masked(RSV1_TEXT, packed("a"))):
        recorder = Last(*codecs(extension), in_parts=in_parts, echo=False)
        recorder.feed(first + masked(TEXT, b"b") + masked(PING))
        assert [event[1] for event in recorder.events] == ["a"]


# ---- messages of any kind, through any codecs, in any pieces ----

SETS: dict[str, Callable[[], list[Extension]]] = {
    "nothing": lambda: [],
    "compressed": lambda: [PerMessageDeflate(threshold=0)],
    "forgetful": lambda: [
        PerMessageDeflate(
            server_no_context_takeover=True, client_no_context_takeover=True, threshold=30
        )
    ],
    "frames": lambda: [DeflateFrame(threshold=0)],
    "small pieces": lambda: [adding(3, RSV1, 1), xoring(0x55, RSV2, 3)],
    "kept back": lambda: [blocks(), adding(200, RSV1), summing()],
    "all of them": lambda: [
        *[PerMessageDeflate(threshold=10), blocks(), xoring(0x0F)],
        *[numbering(), summing(), owning()],
    ],
    "own first": lambda: [adding(1), owning(), DeflateFrame(threshold=3), numbering()],
}
MESSAGES = st.one_of(
    st.text(max_size=40).filter(lambda text: text != "close"),  # which a recorder answers
    st.binary(max_size=40),
    st.integers(0, 300).map(lambda size: bytes(size)),
    st.integers(0, 300).map(lambda size: "☃a" * size),
)
SENT = st.lists(
    st.tuples(
        MESSAGES,
        # Whole, or cut here; and an own frame between the parts.
        st.one_of(st.none(), st.lists(st.integers(0, 300), max_size=4)),
        st.sampled_from([None, True, False]),
        st.booleans(),
    ),
    max_size=8,
)


def wire_of(packer: Packer, sent: Iterable[Any], ping: Callable[[], bytes]) -> bytes:
    """Return what a packer makes of messages, with pings between their parts."""
    data = []
    for message, places, compress, pings in sent:
        text = isinstance(message, str)
        value: Any = TextMessage(message) if text else BinaryMessage(message)
        if places is None:
            data.append(packer.pack(value, compress))
            continue
        packer.begin(value.opcode, None if pings else len(value), compress)
        *parts, last = cut(value.payload, [min(at, len(value)) for at in places])
        for part in parts:
            data.append(packer.part(part, False))
            if pings:
                data.append(ping())
        data.append(packer.part(last, True))
    return b"".join(data)


@pytest.mark.parametrize("name", SETS)
@given(
    sent=SENT,
    chance=st.randoms(use_true_random=False),
    to_client=st.booleans(),
    in_parts=st.booleans(),
    stop=st.sampled_from([(), ("message", "part"), ("ping",)]),
)
def test_any_messages_come_through_any_codecs_in_any_pieces(
    name: str,
    sent: Any,
    chance: random.Random,
    to_client: bool,
    in_parts: bool,
    stop: tuple[str, ...],
) -> None:
    ours, theirs = pair(*SETS[name]())
    if to_client:
        ours, theirs = theirs, ours
    packer = Packer(theirs, masked=not to_client)
    own = [codec for codec in theirs if isinstance(codec, Own)]
    collected: list[bytes] = []
    for codec in theirs:
        codec.send_frame = lambda frame: collected.append(frame.pack())

    def ping() -> bytes:
        # A ping, and with it a frame of the extension's own.
        for codec in own:
            codec.send_frame(Frame(0xB, b"own", masking_key=b"" if to_client else KEY))
        between = b"".join(collected) + (unmasked(PING) if to_client else masked(PING))
        collected.clear()
        return between

    data = wire_of(packer, sent, ping)
    feed = chance.choice([in_pieces, kept])
    recorder = feed(
        lambda: Extended(*ours, client=to_client, in_parts=in_parts, stop=stop, echo=False),
        cut_at_random(data, chance),
    )
    assert isinstance(recorder, Extended)
    assert recorder.errors == []
    assert recorder.messages == [message for message, *_ in sent]
    assert recorder.joined[1] == b""
    assert held(recorder.session) == 0


@given(
    data=st.binary(max_size=300),
    chance=st.randoms(use_true_random=False),
    name=st.sampled_from(list(SETS)),
    in_parts=st.booleans(),
)
def test_noise_raises_nothing_and_means_the_same_in_any_pieces(
    data: bytes, chance: random.Random, name: str, in_parts: bool
) -> None:
    data = masked(0x01, data[:50]) + bytes((0x80, 0x80 | len(data) % 126)) + data
    extensions = SETS[name]()
    new = functools.partial(extended, *extensions, in_parts=in_parts, max_message=1000)
    expected = new()
    expected.feed(data)
    again = in_pieces(new, cut_at_random(data, chance))
    assert again.joined[0] == expected.joined[0]
    assert again.session.state == expected.session.state


def work(extension: Extension, head: int, payload: bytes) -> int:
    """Return how many calls a message takes that comes byte by byte."""
    recorder = extended(extension)
    data = masked(head, payload, bytes(4))
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for at in range(len(data)):
            recorder.session.feed(data[at : at + 1])
    finally:
        sys.setprofile(None)
    assert len(recorder.messages) == 1
    return count


@pytest.mark.parametrize(
    ("extension", "head"),
    [(PerMessageDeflate(), RSV1_BINARY), (DeflateFrame(), RSV1_BINARY), (expanding(1), BINARY)],
    ids=["message", "frame", "plain"],
)
def test_twice_the_message_byte_by_byte_is_twice_the_work(
    extension: Extension, head: int
) -> None:
    one, other = (packed(bytes(size), level=0) for size in (5000, 10_000))
    assert work(extension, head, other) <= 2.1 * work(extension, head, one)


def test_the_tables_of_heads_are_made_once_for_each_set_of_claims() -> None:
    first = extended(numbering(), summing()).session
    second = extended(summing(), numbering(), client=True).session
    assert first._heads[0] is second._heads[0]
    assert first._heads[0] is not extended(numbering()).session._heads[0]


def test_a_server_and_a_client_read_what_each_other_s_codecs_send() -> None:
    server, client = pair(owning(), PerMessageDeflate(threshold=0))
    data = Packer(server, masked=False).pack(TextMessage("☃"), None)
    head, is_masked, _, rest = read_frame(data)
    assert (head, is_masked, rest) == (RSV1_TEXT, False, b"")
    recorder = Extended(*client, client=True)
    recorder.feed(data)
    assert recorder.messages == ["☃"]
