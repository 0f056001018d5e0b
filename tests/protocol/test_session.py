"""`reactor/protocol/session.py`: frames <-> messages, control frames, the closing handshake."""

from __future__ import annotations

import functools
import gc
import itertools
import platform
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import MessageTooBig, ProtocolError
from reactor.protocol.assembly import WholeText
from reactor.protocol.session import (
    LARGE,
    TRANSITIONS,
    Event,
    Session,
    State,
    check_close,
    cut_reason,
    sendable,
)

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
from .streams import BINARY, CLOSE, GROUPS, PING, PONG, STREAMS, TEXT, brief
from .wire import KEY, header, masked, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .streams import Stream

small = functools.partial(Recorder, **streams.OPTIONS)
NAMES = [stream.name for stream in STREAMS]
STOPS = [(), ("message",), ("ping", "pong")]

# ---- what a stream means, and that it means the same in any pieces ----


def test_each_stream_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
def test_a_stream_means_what_the_specification_says(stream: Stream) -> None:
    assert brief(whole(small, stream.data).events) == stream.events


@pytest.mark.parametrize("group", GROUPS)
def test_a_stream_means_the_same_in_any_pieces(group: str) -> None:
    for stream in GROUPS[group]:
        expected = whole(small, stream.data).outcome
        for way, recorder in every_way(small, stream.data):
            assert recorder.outcome == expected, f"{stream.name}, {way}"


@pytest.mark.parametrize("stop", STOPS[1:], ids=["messages", "control frames"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_stream_means_the_same_if_it_is_stopped(group: str, stop: tuple[str, ...]) -> None:
    new = functools.partial(small, stop=stop)
    for stream in GROUPS[group]:
        expected = whole(small, stream.data).outcome
        assert whole(new, stream.data).outcome == expected, stream.name
        for way, recorder in every_way(new, stream.data, range(1, len(stream.data), 7)):
            assert recorder.outcome == expected, f"{stream.name}, {way}"


LARGE_MESSAGES: dict[str, tuple[bytes, list[Any]]] = {
    "binary": (masked(BINARY, bytes(3 * LARGE)), [bytes(3 * LARGE)]),
    "text": (masked(TEXT, "☃".encode() * LARGE), ["☃" * LARGE]),
    "just large": (masked(BINARY, 5 * bytes(range(256)) * 64), [5 * bytes(range(256)) * 64]),
    "over one room": (masked(BINARY, b"abc" * 50_000), [b"abc" * 50_000]),
    "fragments": (
        masked(0x02, 5000 * b"abcd")
        + masked(PING, b"p")
        + masked(0x00, b"e")
        + masked(0x80, 5000 * b"fghi")
        + masked(TEXT, b"after"),
        [5000 * b"abcd" + b"e" + 5000 * b"fghi", "after"],
    ),
    "several": (
        masked(BINARY, 20_001 * b"a") + masked(TEXT, b"t") + masked(BINARY, 20_002 * b"b"),
        [20_001 * b"a", "t", 20_002 * b"b"],
    ),
    "cut": (masked(BINARY, bytes(3 * LARGE))[:-1], []),
    "then a violation": (masked(BINARY, bytes(2 * LARGE)) + b"\x83", [bytes(2 * LARGE)]),
}


@pytest.mark.parametrize("name", LARGE_MESSAGES)
def test_large_frames_are_the_same_in_any_pieces(name: str) -> None:
    data, messages = LARGE_MESSAGES[name]
    new = functools.partial(Recorder, echo=False)
    expected = whole(new, data).outcome
    assert [event[1] for event in expected[0] if event[0] == "message"] == messages
    near = [*range(1, 20), *range(LARGE - 2, LARGE + 20), *range(20_000, 20_020)]
    places = sorted({*near, *(len(data) - at for at in range(1, 20))})
    for place in places:
        pieces = cut(data, [min(place, len(data))])
        assert in_pieces(new, pieces).outcome == expected
        assert kept(new, pieces).outcome == expected
    chance = random.Random(name)
    for _ in range(20):
        pieces = cut_at_random(data, chance)
        assert in_pieces(new, pieces).outcome == expected
        assert kept(new, pieces).outcome == expected


def test_a_large_text_in_one_piece_is_checked_too() -> None:
    good, wrong = 65_536 * b"a", 65_536 * b"a" + b"\xff"
    recorder = Recorder(echo=False)
    recorder.feed(masked(TEXT, good) + masked(TEXT, wrong))
    assert recorder.events[0] == ("message", good.decode())
    assert recorder.events[-1][:2] == ("violated", 1007)
    assert "at byte 65536 " in str(recorder.events[-1])


@pytest.mark.parametrize("head", [TEXT, BINARY, 0x01, 0x02])
def test_a_frame_of_128_kib_or_more_is_told_of_until_it_ends(head: int) -> None:
    for length in (LARGE - 1, LARGE, LARGE + 1):
        recorder = Recorder(echo=False)
        data = masked(head, bytes(length))
        recorder.feed(data[:-1])
        assert recorder.large is (length >= LARGE)
        recorder.feed(data[-1:])
        assert not recorder.large


# ---- the same, for any sequence of messages, fragments and control frames ----

TEXTS = st.text(max_size=60)
MESSAGES = st.one_of(TEXTS, st.binary(max_size=60), st.binary(min_size=126, max_size=140))
CONTROLS = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
# A message, where it is cut into fragments, and control frames between them.
PARTS = st.tuples(
    MESSAGES, st.lists(st.integers(0, 140), max_size=4), st.lists(CONTROLS, max_size=3)
)
ENDS = st.sampled_from(
    [
        (b"", []),
        (
            masked(CLOSE, b"\x03\xe8bye"),
            [("sent", CLOSE, b"\x03\xe8"), ("closed", 1000, "bye")],
        ),
        (masked(0x83, b"x"), streams.failed(1002)),
        (masked(TEXT, b"\xff"), streams.failed(1007)),
        (header(BINARY, 1 << 30) + KEY, streams.failed(1009)),
    ]
)


def sent(
    parts: list[tuple[Any, list[int], list[tuple[int, bytes]]]], packed: Callable[..., bytes]
) -> Iterator[tuple[bytes, list[Any]]]:
    """Yield frames and the events that each brings."""
    for message, places, controls in parts:
        raw = message.encode() if isinstance(message, str) else message
        opcode = 1 if isinstance(message, str) else 2
        pieces = cut(raw, [min(place, len(raw)) for place in places])
        waiting = list(controls)
        for at, piece in enumerate(pieces):
            fin = 0x80 if at == len(pieces) - 1 else 0
            done = [("message", message)] if fin else []
            yield packed(fin | (0 if at else opcode), piece), done
            if waiting:
                head, payload = waiting.pop()
                answer = [("sent", PONG, payload)] if head == PING else []
                kind = "ping" if head == PING else "pong"
                yield packed(head, payload), [(kind, payload), *answer]


@given(
    parts=st.lists(PARTS, max_size=8),
    end=ENDS,
    chance=st.randoms(use_true_random=False),
    stop=st.sampled_from(STOPS),
)
def test_any_conversation_means_the_same_in_any_pieces(
    parts: list[Any], end: tuple[bytes, list[Any]], chance: random.Random, stop: tuple[str, ...]
) -> None:
    keys = itertools.cycle((KEY, bytes(4), b"\x80\xff\0\x01"))
    frames = list(sent(parts, lambda head, payload: masked(head, payload, next(keys))))
    data = b"".join(frame for frame, _ in frames) + end[0]
    expected = [event for _, events in frames for event in events] + end[1]
    new = functools.partial(Recorder, max_message=4096, echo=False, stop=stop)
    one = whole(new, data)
    assert brief(one.events) == brief(expected)
    for feed in (in_pieces, kept):
        assert feed(new, cut_at_random(data, chance)).outcome == one.outcome


@given(parts=st.lists(PARTS, max_size=8), chance=st.randoms(use_true_random=False))
def test_a_client_understands_any_conversation_too(
    parts: list[Any], chance: random.Random
) -> None:
    frames = list(sent(parts, unmasked))
    data = b"".join(frame for frame, _ in frames)
    expected = [event for _, events in frames for event in events]
    new = functools.partial(Recorder, client=True, echo=False)
    assert in_pieces(new, cut_at_random(data, chance)).events == expected


@given(data=st.binary(max_size=300), chance=st.randoms(use_true_random=False))
def test_noise_raises_nothing_and_means_the_same_in_any_pieces(
    data: bytes, chance: random.Random
) -> None:
    # The first bytes are made legal, or nearly nothing would come past them.
    data = masked(0x01, data[:50]) + bytes((0x80, 0x80 | len(data) % 126)) + data
    expected = whole(small, data).outcome
    for feed in (in_pieces, kept):
        assert feed(small, cut_at_random(data, chance)).outcome == expected


@given(parts=st.lists(PARTS, max_size=6))
def test_wsproto_understands_the_same(parts: list[Any]) -> None:
    protocol = pytest.importorskip("wsproto.frame_protocol")
    frames = list(sent(parts, masked))
    data = b"".join(frame for frame, _ in frames)
    theirs: list[Any] = []
    pending: list[Any] = []
    parser = protocol.FrameProtocol(client=False, extensions=[])
    parser.receive_bytes(data)
    for frame in parser.received_frames():
        if frame.opcode in (9, 10):
            theirs.append(("ping" if frame.opcode == 9 else "pong", bytes(frame.payload)))
            continue
        pending.append(frame.payload)
        if frame.message_finished:
            joiner: Any = "" if isinstance(pending[0], str) else b""
            theirs.append(("message", joiner.join(pending)))
            pending = []
    ours = whole(lambda: Recorder(echo=False), data).events
    assert [event for event in ours if event[0] != "sent"] == theirs


# ---- failing fast ----


def utf8_is_possible(data: bytes) -> bool:
    """Return whether `data` begins some text: table 3-7 of the Unicode standard."""
    ranges = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
    lacking, low, high = 0, 0x80, 0xBF
    for octet in data:
        if lacking:
            if not low <= octet <= high:
                return False
            lacking, low, high = lacking - 1, 0x80, 0xBF
        elif octet >= 0x80:
            lacking = 1 if octet < 0xE0 else 2 if octet < 0xF0 else 3
            if not 0xC2 <= octet <= 0xF4:
                return False
            low, high = ranges.get(octet, (0x80, 0xBF))
    return True


# The first and the last byte of each range in that table.
EDGES = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")


@pytest.mark.parametrize("fragments", [False, True], ids=["inside a frame", "in fragments"])
def test_text_fails_with_the_first_byte_that_makes_it_impossible(fragments: bool) -> None:
    for tail in itertools.product(EDGES, repeat=3):
        recorder = Recorder(echo=False)
        # Neither the frame nor the message is ever whole.
        recorder.feed(b"" if fragments else header(TEXT, 5) + bytes(4))
        for size in range(4):
            octet = b"a" if size == 0 else bytes((tail[size - 1],))
            recorder.feed(masked(0 if size else 1, octet) if fragments else octet)
            if not utf8_is_possible(bytes(tail[:size])):
                assert brief(recorder.events) == streams.failed(1007)
                break
            assert recorder.events == []


@pytest.mark.parametrize("way", ["whole", "cut", "fragments"])
def test_the_place_of_bad_text_is_counted_from_the_start_of_the_message(way: str) -> None:
    text = "snow ☃ ".encode() * 1000
    recorder = Recorder()
    if way == "fragments":
        recorder.feed(masked(0x01, text[:4000]) + masked(0x00, text[4000:]))
        recorder.feed(masked(0x80, b"\xff"))
    else:
        data = masked(TEXT, text + b"\xff")
        for piece in [data] if way == "whole" else cut(data, range(0, len(data), 100)):
            recorder.feed(piece)
    why = f"text message: invalid start byte at byte {len(text)} (RFC 6455 §8.1)"
    assert recorder.events[1:] == [("violated", 1007, why, f"{why} (1007)")]


def test_a_limit_is_passed_on_the_header_alone() -> None:
    for before in (b"", masked(0x01, bytes(60)), masked(0x02, bytes(60)) + masked(0x00, b"")):
        used = 60 if before else 0
        head = 0x80 if before else TEXT
        recorder = small()
        recorder.feed(before + header(head, streams.LIMIT - used))
        assert recorder.session.state is State.OPEN
        recorder = small()
        recorder.feed(before + header(head, streams.LIMIT - used + 1))
        assert recorder.events[-1][:2] == ("violated", 1009)
        assert recorder.events[-1][2] == "message of 301 bytes or more, at most 300 allowed"


def test_the_limit_counts_anew_for_each_message() -> None:
    recorder = small(echo=False)
    halves = masked(0x02, bytes(150)) + masked(0x80, bytes(150))
    recorder.feed(3 * (masked(BINARY, bytes(300)) + halves))
    assert recorder.events == 6 * [("message", bytes(300))]


# ---- messages that are handed on in parts ----

parts = functools.partial(Recorder, in_parts=True, echo=False)
small_parts = functools.partial(small, in_parts=True)
UNLIMITED = [name for name in GROUPS if name != "limits"]
PART_STOPS: list[tuple[str, ...]] = [(), ("part",), ("ping", "pong")]


def begins_with(whole: str | bytes, start: str | bytes) -> bool:
    return not start or whole[: len(start)] == start


def same_when_joined(one: Recorder, other: Recorder) -> bool:
    """Whether both have been told the same, but for where the parts are cut."""
    (events, rest), (others, other_rest) = one.joined, other.joined
    if (events, one.session.state) != (others, other.session.state):
        return False
    if events and events[-1][0] == "violated":
        # What a piece holds before the fault is handed on only if the piece ends there.
        return begins_with(rest, other_rest) or begins_with(other_rest, rest)
    return rest == other_rest


@pytest.mark.parametrize("group", UNLIMITED)
def test_the_parts_of_a_stream_are_what_the_specification_says(group: str) -> None:
    for stream in GROUPS[group]:
        recorder = whole(small_parts, stream.data)
        # What has no limit cannot pass it, not even when it is dropped.
        events = [event for event in stream.events if event != ("violated", 1009)]
        assert brief(recorder.joined[0]) == events, stream.name


@pytest.mark.parametrize("stop", PART_STOPS, ids=["on", "parts stop", "control frames stop"])
@pytest.mark.parametrize("group", UNLIMITED)
def test_the_parts_of_a_stream_are_the_same_together_in_any_pieces(
    group: str, stop: tuple[str, ...]
) -> None:
    new = functools.partial(small_parts, stop=stop)
    for stream in GROUPS[group]:
        expected = whole(small_parts, stream.data)
        assert same_when_joined(whole(new, stream.data), expected), stream.name
        step = 7 if stop else 1
        for way, recorder in every_way(new, stream.data, range(1, len(stream.data), step)):
            assert same_when_joined(recorder, expected), f"{stream.name}, {way}"


@given(
    conversation=st.lists(PARTS, max_size=8),
    end=ENDS.filter(lambda end: end[1] != streams.failed(1009)),
    chance=st.randoms(use_true_random=False),
    stop=st.sampled_from(PART_STOPS),
)
def test_the_parts_of_any_conversation_are_the_same_together(
    conversation: list[Any],
    end: tuple[bytes, list[Any]],
    chance: random.Random,
    stop: tuple[str, ...],
) -> None:
    frames = list(sent(conversation, masked))
    data = b"".join(frame for frame, _ in frames) + end[0]
    expected = [event for _, events in frames for event in events] + end[1]
    new = functools.partial(small_parts, echo=False, stop=stop)
    for feed in (in_pieces, kept):
        recorder = feed(new, cut_at_random(data, chance))
        assert brief(recorder.joined[0]) == brief(expected)
        assert recorder.joined[1] == b""


@given(data=st.binary(max_size=300), chance=st.randoms(use_true_random=False))
def test_the_parts_of_noise_are_the_same_together(data: bytes, chance: random.Random) -> None:
    data = masked(0x01, data[:50]) + bytes((0x80, 0x80 | len(data) % 126)) + data
    expected = whole(parts, data)
    assert same_when_joined(in_pieces(parts, cut_at_random(data, chance)), expected)


def test_a_message_that_is_there_is_one_part() -> None:
    recorder = whole(parts, masked(TEXT, b"a") + masked(BINARY, b"b") + masked(TEXT))
    recorder.feed(masked(BINARY))
    ends = [("part", "a", True), ("part", b"b", True), ("part", "", True), ("part", b"", True)]
    assert recorder.events == ends


def test_each_fragment_is_a_part() -> None:
    recorder = parts()
    recorder.feed(masked(0x02, b"a") + masked(0, b"b") + masked(0) + masked(0x80, b"c"))
    recorder.feed(masked(0x01, b"d") + masked(0x80, b"e"))
    assert recorder.events == [
        *[("part", b"a", False), ("part", b"b", False), ("part", b"c", True)],
        *[("part", "d", False), ("part", "e", True)],
    ]


@pytest.mark.parametrize(("head", "kind"), [(TEXT, str), (BINARY, bytes)])
def test_a_frame_that_is_cut_is_handed_on_as_it_comes(head: int, kind: type) -> None:
    recorder = parts()
    for piece in cut(masked(head, b"abcdefgh"), [3, 6, 8, 13]):
        recorder.feed(piece)
    told = [(kind(data, "ascii") if kind is str else data) for data in (b"ab", b"cdefg", b"h")]
    assert recorder.events == [
        *[("part", told[0], False), ("part", told[1], False), ("part", told[2], True)]
    ]
    assert all(type(event[1]) is kind for event in recorder.events)


@pytest.mark.parametrize(("head", "empty"), [(0x01, ""), (0x02, b"")])
def test_an_empty_last_frame_is_an_empty_last_part(head: int, empty: str | bytes) -> None:
    recorder = whole(parts, masked(head) + masked(0) + masked(0x80))
    assert recorder.events == [("part", empty, True)]


def test_parts_of_text_are_cut_between_characters() -> None:
    text = "a☃é😀b"
    for data in (masked(TEXT, text.encode()), masked(0x01, text.encode()) + masked(0x80)):
        recorder = in_pieces(parts, byte_by_byte(data))
        told = [event[1] for event in recorder.events]
        assert [char for char in told if char] == list(text)
        assert [event[2] for event in recorder.events] == [*[False] * (len(told) - 1), True]
    assert held(recorder.session) == 0


def test_a_part_holds_back_no_more_than_a_cut_character() -> None:
    recorder = parts()
    recorder.feed(masked(0x01, b"ab" + streams.SNOWMAN[:2]))
    assert recorder.events == [("part", "ab", False)]
    assert held(recorder.session) == 2
    recorder.feed(masked(0x00, streams.SNOWMAN[2:] + b"c"))
    assert recorder.events[1:] == [("part", "☃c", False)]
    assert held(recorder.session) == 0


@pytest.mark.parametrize("bad", streams.NOT_UTF8, ids=bytes.hex)
def test_bad_text_fails_in_the_piece_that_shows_it_behind_the_parts_before(bad: bytes) -> None:
    recorder = parts()
    recorder.feed(masked(0x01, b"ok") + masked(0x00, b"fine") + masked(0x00, bad[:-1]))
    assert recorder.events == [("part", "ok", False), ("part", "fine", False)]
    recorder.feed(masked(0x00, bad[-1:]) + masked(0x80, b"never seen"))
    assert brief(recorder.events[2:]) == streams.failed(1007)


def test_text_that_ends_in_a_cut_character_has_no_last_part() -> None:
    cut_short = streams.SNOWMAN[:2]
    for end in (masked(0x80, cut_short), masked(0x00, cut_short) + masked(0x80)):
        recorder = whole(parts, masked(0x01, b"ok") + end)
        assert brief(recorder.events) == [("part", "ok", False), *streams.failed(1007)]


def test_a_part_stops_the_parser_at_once() -> None:
    recorder = parts(stop=["part"])
    data = masked(0x02, b"a") + masked(PING, b"p") + masked(0x80, b"b") + masked(BINARY, b"c")
    told = []
    more = recorder.session.feed(data)
    while more:
        told.append(len(recorder.events))
        more = recorder.session.feed(b"")
    assert told == [1, 4]
    assert [event[0] for event in recorder.events] == ["part", "ping", "sent", "part", "part"]


def test_a_part_of_a_cut_frame_stops_the_parser_at_once() -> None:
    recorder = parts(stop=["part"])
    data = masked(BINARY, bytes(20)) + masked(PING, b"p")
    assert recorder.session.feed(data[:10]) is False
    assert recorder.session.feed(data[10:]) is True
    assert recorder.events == [("part", bytes(4), False), ("part", bytes(16), True)]
    assert recorder.session.feed(b"") is False
    assert recorder.events[2:] == streams.answered(b"p")


class Closing(Recorder):
    """Closes in its first part, or in a ping."""

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        super().fragment_received(data, final)
        self.session.close(1000, "enough")
        return False

    def ping_received(self, payload: bytes) -> bool:
        self.events.append(("ping", payload))
        self.session.close(1000, "enough")
        return False


OUR_CLOSE = ("sent", CLOSE, b"\x03\xe8enough")


@pytest.mark.parametrize("way", ["whole", "cut", "byte by byte"])
@pytest.mark.parametrize(("head", "part"), [(0x01, "a"), (0x02, b"a")])
def test_after_our_close_no_part_is_handed_on(head: int, part: str | bytes, way: str) -> None:
    first, after = masked(head, b"a"), masked(0x00, b"b") + masked(0x80, b"c")
    for message in (masked(head, b"d") + after, masked(0x80 | head, b"d"), masked(0x80 | head)):
        data = first + after + message
        places = {"whole": (), "cut": (len(first),), "byte by byte": range(len(data))}[way]
        recorder = Closing(in_parts=True, echo=False)
        for piece in cut(data, places):
            recorder.feed(piece)
        assert recorder.events == [("part", part, False), OUR_CLOSE]
        recorder.feed(masked(CLOSE, b"\x03\xe8"))
        assert recorder.events[2:] == [("closed", 1000, "")]


def test_after_our_close_bad_text_in_parts_is_a_violation_all_the_same() -> None:
    recorder = Closing(in_parts=True, echo=False)
    recorder.feed(masked(0x01, b"a") + masked(0x00, b"b") + masked(0x80, b"\xff"))
    assert brief(recorder.events)[2:] == [("violated", 1007)]


def test_our_close_in_mid_message_drops_what_is_left_of_it() -> None:
    recorder = Closing(in_parts=True, echo=False)
    recorder.feed(masked(PING, b"p") + masked(0x01, b"a") + masked(0x80, b"b"))
    assert recorder.events == [("ping", b"p"), OUR_CLOSE]


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("head", [0x01, 0x02])
def test_messages_are_dropped_from_when_our_close_is_decided(head: int, in_parts: bool) -> None:
    recorder = Recorder(in_parts=in_parts, echo=False)
    recorder.feed(masked(head, b"a"))
    recorder.events.clear()
    recorder.session.mute()
    assert recorder.session.state is State.OPEN
    recorder.feed(masked(0x80, b"b") + masked(PING, b"p") + masked(TEXT, b"c"))
    recorder.feed(masked(head, b"d") + masked(0x80, b"e") + masked(BINARY, b"f"))
    assert recorder.events == streams.answered(b"p")


def test_whole_messages_are_delivered_to_whom_one_says() -> None:
    recorder = Recorder(echo=False)
    taken: list[str | bytes] = []
    recorder.feed(masked(TEXT, b"a") + masked(0x02, b"b"))
    recorder.session.deliver_to(taken.append)
    recorder.feed(masked(0x80, b"c") + masked(PING, b"p") + masked(TEXT, b"d"))
    recorder.feed(masked(0x01, b"e"))
    recorder.session.deliver_to(recorder.message_received)
    recorder.feed(masked(0x80, b"f") + masked(BINARY, b"g"))
    recorder.session.deliver_to(taken.append)
    recorder.feed(masked(TEXT, b"h"))
    assert taken == [b"bc", "d", "h"]
    told = [event for event in recorder.events if event[0] == "message"]
    assert told == [("message", "a"), ("message", "ef"), ("message", b"g")]


def test_what_may_wait_unasked_is_known_while_it_is_open() -> None:
    session = Recorder().session
    session.wait()
    assert (session.state, session.unasked) == (State.CONNECTING, -1)
    session.open(500)
    assert (session.state, session.unasked) == (State.OPEN, 500)
    session.close(1000, "")
    assert (session.state, session.unasked) == (State.CLOSING, -1)


@pytest.mark.parametrize("where", ["elsewhere", "nowhere"])
def test_messages_that_came_together_go_elsewhere_from_the_next_one_on(where: str) -> None:
    class Diverting(Recorder):
        def message_received(self, message: str | bytes) -> bool:
            super().message_received(message)
            if where == "elsewhere":
                self.session.deliver_to(taken.append)
            else:
                self.session.close(1000, "")
            return False

    taken: list[str | bytes] = []
    recorder = Diverting(echo=False)
    run = b"".join(masked(TEXT, bytes([letter])) for letter in b"abcd")
    assert recorder.session.feed(run + masked(0x8A, b"pong")) is False
    assert recorder.events[0] == ("message", "a")
    assert recorder.events[-1] == ("pong", b"pong")
    assert ("message", "b") not in recorder.events
    assert taken == (["b", "c", "d"] if where == "elsewhere" else [])


def test_messages_that_came_together_come_back_from_elsewhere() -> None:
    def take(message: str | bytes) -> None:
        taken.append(message)
        if message == "c":
            recorder.session.deliver_to(None)

    taken: list[str | bytes] = []
    recorder = Recorder(echo=False)
    recorder.session.deliver_to(take)
    run = b"".join(masked(TEXT, bytes([letter])) for letter in b"abcdef")
    recorder.feed(run)
    assert taken == ["a", "b", "c"]
    assert recorder.events == [("message", letter) for letter in "def"]


def test_parts_stay_with_those_who_take_parts() -> None:
    recorder = parts()
    recorder.feed(masked(0x02, b"a"))
    recorder.session.deliver_to(recorder.message_received)
    recorder.feed(masked(0x80, b"b") + masked(TEXT, b"c"))
    recorder.feed(masked(0x01, b"d") + masked(0x80, b"e"))
    assert [event[0] for event in recorder.events] == 5 * ["part"]


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("begun", [b"", masked(0x02, b"a")], ids=["between", "inside"])
def test_what_is_dropped_after_our_close_is_delivered_to_nobody(
    in_parts: bool, begun: bytes
) -> None:
    recorder = Recorder(in_parts=in_parts, echo=False)
    recorder.feed(begun)
    recorder.session.close(1000, "")
    recorder.events.clear()
    recorder.session.deliver_to(recorder.message_received)
    recorder.feed((masked(0x80, b"b") if begun else b"") + masked(TEXT, b"c"))
    assert recorder.events == []


class Aborting(Recorder):
    """Ends without a word: in the part or the ping, whose number it is."""

    def __init__(self, number: int, stop: bool) -> None:
        super().__init__(in_parts=True, echo=False)
        self.number = number
        self.stops = stop

    def told(self) -> bool:
        if len(self.events) < self.number:
            return False
        self.session.eof()
        return self.stops

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        super().fragment_received(data, final)
        return self.told()

    def ping_received(self, payload: bytes) -> bool:
        self.events.append(("ping", payload))
        return self.told()


@pytest.mark.parametrize("way", ["whole", "cut", "kept"])
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("head", [0x01, 0x02])
def test_the_end_from_inside_a_part_or_a_ping_is_the_end(
    head: int, number: int, way: str
) -> None:
    frames = [masked(head, b"a"), masked(PING, b"b"), masked(0x00, b"cd"), masked(0x80, b"e")]
    frames.append(masked(TEXT, b"f"))
    pieces = {"whole": [b"".join(frames)], "cut": frames, "kept": frames}[way]
    recorder = Aborting(number, stop=True)
    for piece in pieces:
        if way == "kept":
            recorder.session.keep(piece)
        else:
            recorder.feed(piece)
    recorder.feed(b"")
    assert len(recorder.events) == number
    assert recorder.session.state is State.CLOSED
    assert held(recorder.session) == 0
    recorder.session.eof()
    recorder.feed(masked(0x80, b"never seen"))
    assert len(recorder.events) == number


@pytest.mark.parametrize("cut_at", [8, 15, 20])
def test_the_end_from_inside_a_part_of_a_cut_frame_is_the_end(cut_at: int) -> None:
    # Even if whoever ends it there forgets to say that the parser is to stop.
    data = masked(BINARY, bytes(20))
    recorder = Aborting(1, stop=False)
    for piece in cut(data, [cut_at]):
        recorder.feed(piece)
    assert recorder.events == [("part", bytes(cut_at - 6), False)]
    assert held(recorder.session) == 0


def test_control_frames_stand_between_parts_where_they_came() -> None:
    recorder = parts()
    recorder.feed(masked(0x01, b"a") + masked(PING, b"p") + masked(0x00, b"b"))
    recorder.feed(masked(PONG, b"q") + masked(0x80) + masked(CLOSE))
    assert brief(recorder.events) == [
        ("part", "a", False),
        *streams.answered(b"p"),
        ("part", "b", False),
        ("pong", b"q"),
        ("part", "", True),
        *streams.ended(1005),
    ]


def test_the_limits_are_not_for_messages_in_parts() -> None:
    for stream in streams.LIMITS:
        recorder = whole(small_parts, stream.data)
        assert not recorder.events or brief(recorder.events)[-1] != ("violated", 1009)
    recorder = small_parts(echo=False)
    recorder.feed(masked(BINARY, bytes(2 * streams.LIMIT)))
    recorder.feed(masked(0x02, bytes(streams.LIMIT)))
    for _ in range(10 * streams.FRAGMENTS):
        recorder.feed(masked(0x00, bytes(streams.LIMIT)) + masked(0x00))
    recorder.feed(masked(0x80) + masked(TEXT, 2 * streams.LIMIT * b"a"))
    big, small = 2 * streams.LIMIT, (1 + 10 * streams.FRAGMENTS) * streams.LIMIT
    sizes = [len(event[1]) for event in recorder.joined[0]]
    assert sizes == [big, small, big]


@pytest.mark.parametrize("length", [1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("head", [TEXT, BINARY, 0x01, 0x02])
def test_of_a_huge_message_in_parts_nothing_is_kept(head: int, length: int) -> None:
    recorder = parts()
    recorder.feed(header(head, length) + bytes(4))
    for size in range(1, 20):
        recorder.feed(1000 * b"a")
        assert len(recorder.joined[1]) == 1000 * size
        assert held(recorder.session) == 0


def test_a_length_that_no_frame_has_is_refused_in_parts_too() -> None:
    recorder = whole(parts, header(BINARY, 1 << 63) + KEY)
    assert brief(recorder.events) == streams.failed(1002)


@pytest.mark.parametrize("head", [BINARY, 0x02])
def test_large_frames_are_not_told_of_in_parts(head: int) -> None:
    recorder = parts()
    data = masked(head, bytes(3 * LARGE))
    for piece in cut(data, range(100, len(data), LARGE)):
        assert not recorder.large
        recorder.feed(piece)
    assert not recorder.large
    assert len(recorder.events) == 4


# ---- states ----


def test_the_table_of_states_says_what_each_event_does() -> None:
    ends = (Event.CLOSE_RECEIVED, Event.VIOLATION, Event.EOF)
    table = {(State.OPEN, Event.CLOSE_SENT): State.CLOSING}
    for end in ends:
        table[State.OPEN, end] = table[State.CLOSING, end] = State.CLOSED
    assert table == TRANSITIONS


def test_the_states_have_the_numbers_of_the_whatwg() -> None:
    names = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]
    assert {state.name: int(state) for state in State} == dict(zip(names, range(4)))


def test_what_is_no_transition_is_refused() -> None:
    session = Recorder().session
    session.close(1000, "")
    with pytest.raises(KeyError):
        session.close(1000, "")
    assert session.state is State.CLOSING


def test_a_session_closes_once() -> None:
    recorder = Recorder()
    session = recorder.session
    states = [session.state]
    session.close(4000, "done")
    states.append(session.state)
    recorder.feed(masked(CLOSE, b"\x0f\xa0"))
    states.append(session.state)
    assert states == [State.OPEN, State.CLOSING, State.CLOSED]
    session.eof()
    session.eof()
    assert recorder.events == [("sent", CLOSE, b"\x0f\xa0done"), ("closed", 4000, "")]


@pytest.mark.parametrize("reason", [b"bye", b""])
def test_a_close_is_answered_with_its_code_and_its_reason(reason: bytes) -> None:
    payload = b"\x03\xe8" + reason
    recorder = whole(Recorder, masked(CLOSE, payload))
    assert recorder.events == [("sent", CLOSE, payload), ("closed", 1000, reason.decode())]


@pytest.mark.parametrize("ours", [False, True])
def test_the_end_of_input_ends_a_session_without_a_word(ours: bool) -> None:
    recorder = Recorder()
    if ours:
        recorder.session.close(1000, "")
    recorder.events.clear()
    recorder.session.eof()
    assert recorder.session.state is State.CLOSED
    recorder.feed(masked(TEXT, b"never seen") + masked(CLOSE))
    assert recorder.events == []


def test_a_closed_session_asks_for_nothing_more() -> None:
    recorder = Recorder()
    data = masked(CLOSE) + 100 * masked(TEXT, b"never seen")
    assert recorder.session.feed(data) is False
    assert recorder.session.feed(data) is False
    assert recorder.session._unparsed == b""
    assert brief(recorder.events) == streams.ended(1005)


@pytest.mark.parametrize("head", [0x01, 0x02])
def test_a_closed_session_holds_no_half_message(head: int) -> None:
    recorder = Recorder()
    recorder.feed(masked(head, 5000 * b"a"))
    assert held(recorder.session) >= 5000
    recorder.session.eof()
    assert held(recorder.session) == 0


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
def test_a_closed_session_holds_nothing_that_was_not_parsed(in_parts: bool) -> None:
    recorder = Recorder(stop=["message", "part"], echo=False, in_parts=in_parts)
    assert recorder.session.feed(masked(TEXT, b"a") + 100 * masked(BINARY, bytes(100))) is True
    recorder.session.keep(1000 * b"b")
    assert held(recorder.session) > 11_000
    recorder.session.eof()
    assert held(recorder.session) == 0


def test_a_message_that_ends_the_session_is_the_last() -> None:
    class Ending(Recorder):
        def message_received(self, message: str | bytes) -> bool:
            super().message_received(message)
            self.session.eof()
            return True

    for first in (masked(TEXT, b"a"), masked(0x02, b"a") + masked(0x80, b"b")):
        recorder = Ending(echo=False)
        assert recorder.session.feed(first + masked(TEXT, b"c")) is False
        recorder.feed(masked(TEXT, b"d"))
        assert len(recorder.events) == 1


def test_a_violation_of_our_own_finding_fails_the_session() -> None:
    recorder = Recorder()
    recorder.session.fail(ProtocolError(1008, 200 * "é"))
    assert recorder.session.state is State.CLOSED
    assert recorder.events[0] == ("sent", CLOSE, b"\x03\xf0" + 61 * "é".encode())
    assert recorder.events[1][:3] == ("violated", 1008, 200 * "é")


def test_the_error_of_a_message_that_is_too_big_has_its_sizes() -> None:
    class Failing(Recorder):
        error: ProtocolError | None = None

        def violated(self, error: ProtocolError) -> None:
            self.error = error

    recorder = Failing(max_message=100)
    recorder.feed(masked(0x02, bytes(70)) + header(0x80, 1 << 40))
    error = recorder.error
    assert isinstance(error, MessageTooBig)
    assert (error.size, error.limit) == (70 + (1 << 40), 100)


# ---- to the peer ----


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_what_a_session_says_is_framed_for_its_role(client: bool) -> None:
    # The recorder reads the frames, and checks that a client masks and a server does not.
    recorder = Recorder(client=client)
    session = recorder.session
    session.ping(b"are you there")
    session.pong(bytearray(b"I am"))
    recorder.write(session.pack("text"))
    recorder.write(session.pack(memoryview(b"binary")))
    session.close(1000, "adiós")
    assert recorder.events == [
        ("sent", PING, b"are you there"),
        ("sent", PONG, b"I am"),
        ("sent", TEXT, b"text"),
        ("sent", BINARY, b"binary"),
        ("sent", CLOSE, b"\x03\xe8" + "adiós".encode()),
    ]


def test_a_client_answers_and_fails_masked() -> None:
    recorder = Recorder(client=True)
    recorder.feed(unmasked(PING, b"p") + unmasked(TEXT, b"a") + masked(TEXT, b"b"))
    expected = [*streams.answered(b"p"), *streams.echoed("a"), *streams.failed(1002)]
    assert brief(recorder.events) == expected


@pytest.mark.parametrize("say", ["ping", "pong"])
def test_a_control_payload_has_at_most_125_bytes(say: str) -> None:
    recorder = Recorder()
    getattr(recorder.session, say)(bytes(125))
    with pytest.raises(ValueError, match="126 bytes, at most 125"):
        getattr(recorder.session, say)(bytes(126))
    with pytest.raises(TypeError):
        getattr(recorder.session, say)("text")
    assert len(recorder.events) == 1


MAY_BE_SENT = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


def test_exactly_the_codes_of_the_registry_may_be_sent() -> None:
    for code in range(-1, 65537):
        if code in MAY_BE_SENT:
            assert check_close(code, "") == code.to_bytes(2, "big")
        else:
            with pytest.raises(ValueError, match=f"close code {code} "):
                check_close(code, "")


@pytest.mark.parametrize(
    ("code", "reason", "error", "why"),
    [
        (None, "", TypeError, "close code of type NoneType"),
        ("1000", "", TypeError, "close code of type str"),
        (1000, b"bye", TypeError, "close reason of type bytes"),
        (True, "", ValueError, "close code True"),
        (1000, 124 * "r", ValueError, "close reason of 124 bytes, at most 123"),
        (1000, 62 * "é", ValueError, "close reason of 124 bytes, at most 123"),
        (1000, "\ud83d", ValueError, "surrogates"),
    ],
)
def test_a_close_that_must_not_be_sent_is_refused(
    code: Any, reason: Any, error: type[Exception], why: str
) -> None:
    recorder = Recorder()
    with pytest.raises(error, match=why):
        recorder.session.close(code, reason)
    assert recorder.events == []
    assert recorder.session.state is State.OPEN


def test_an_error_that_can_be_sent_is_sent_as_it_is() -> None:
    for error in (ProtocolError(1002, "no"), ProtocolError(4999, 200 * "é")):
        assert sendable(error) is error


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 5000, -1, "1002", None, 1e3])
def test_an_error_whose_code_must_not_be_sent_is_an_internal_one(code: Any) -> None:
    error = ProtocolError(code, "no")
    assert (sendable(error).code, sendable(error).reason) == (1011, "an extension failed")
    assert sendable(error).__cause__ is error


@pytest.mark.parametrize("reason", [b"no", None, "\ud800"])
def test_an_error_whose_reason_cannot_be_sent_is_an_internal_one(reason: Any) -> None:
    assert sendable(ProtocolError(1002, reason)).code == 1011


@given(st.text(max_size=200))
def test_a_reason_is_cut_between_characters(reason: str) -> None:
    short = cut_reason(reason)
    assert reason.startswith(short)
    assert len(short.encode()) <= 123
    if short != reason:
        assert len(reason[: len(short) + 1].encode()) > 123


# ---- bounds ----

COUNTS_MEMORY = pytest.mark.skipif(
    platform.python_implementation() != "CPython", reason="tracemalloc is CPython's"
)


def pieces_of(session: Session) -> list[Any]:
    """Return the objects in which the message that has begun is kept."""
    assembly = session._assembly
    return assembly._pieces if isinstance(assembly, WholeText) else [held(session)]


class Silent(Recorder):
    """Counts messages and control frames, and keeps none."""

    count = 0
    size = 0

    def message_received(self, message: str | bytes) -> bool:
        self.count += 1
        self.size = len(message)
        return False

    def ping_received(self, payload: bytes) -> bool:
        self.count += 1
        return False

    def pong_received(self, payload: bytes) -> bool:
        return self.ping_received(payload)


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


@pytest.mark.parametrize("length", [1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("head", [TEXT, BINARY, 0x01, 0x02])
def test_a_huge_length_costs_nothing_but_what_came(head: int, length: int) -> None:
    # Even if the limit allows it: what is declared is not what is held.
    recorder = Silent(max_message=length)
    recorder.feed(header(head, length) + bytes(4))
    for _ in range(10):
        recorder.feed(1000 * b"a")
    assert held(recorder.session) == 10_000
    assert recorder.events == []


@COUNTS_MEMORY
def test_a_huge_length_allocates_nothing() -> None:
    def attack() -> None:
        for head in (TEXT, BINARY):
            recorder = Silent()
            recorder.feed(header(head, 1 << 62) + KEY + b"a")
            assert recorder.events[-1][:2] == ("violated", 1009)

    attack()
    assert peak(attack) < 64 * 1024


def test_100_000_tiny_frames_cost_no_memory() -> None:
    recorder = Silent()
    frames = (masked(TEXT), masked(BINARY, b"b"), masked(PING), masked(PONG, b"p"))
    data = 25_000 * b"".join(frames)

    def attack() -> None:
        more, calls = recorder.session.feed(data), 1
        while more:
            more, calls = recorder.session.feed(b""), calls + 1
        assert calls == -(-100_000 // 64)

    if platform.python_implementation() == "CPython":
        assert peak(attack) < 64 * 1024
    else:
        attack()
    assert recorder.count == 100_000
    assert held(recorder.session) == 0


@pytest.mark.parametrize("head", [0x01, 0x02])
def test_tiny_fragments_leave_no_object_each(head: int) -> None:
    recorder = Silent(max_fragments=20_000)

    def attack() -> None:
        recorder.feed(masked(head, b"a"))
        for _ in range(9_999):
            recorder.feed(masked(0x00, b"b") + masked(0x00))
        assert 1 <= len(pieces_of(recorder.session)) <= 3
        recorder.feed(masked(0x80))

    if platform.python_implementation() == "CPython":
        assert peak(attack) < 100 * 1024
    else:
        attack()
    assert (recorder.count, recorder.size) == (1, 10_000)


def test_text_that_comes_byte_by_byte_is_joined_in_pieces_of_bounded_size() -> None:
    recorder = Silent()
    recorder.feed(header(TEXT, 20_000) + bytes(4))
    for _ in range(19_999):
        recorder.feed(b"a")
    # Fewer would be copied whole for each byte, more would be an object for each.
    sizes = [len(piece) for piece in pieces_of(recorder.session)]
    assert sizes == [4096, 4096, 4096, 4096, 19_999 - 4 * 4096]


def work(head: int, size: int) -> int:
    """Return how many calls a message takes that comes byte by byte."""
    recorder = Silent(max_message=size)
    data = masked(head, bytes(size), bytes(4))
    feed = recorder.session.feed
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for at in range(len(data)):
            feed(data[at : at + 1])
    finally:
        sys.setprofile(None)
    assert (recorder.count, recorder.size) == (1, size)
    return count


@pytest.mark.parametrize("head", [TEXT, BINARY])
def test_twice_the_message_byte_by_byte_is_twice_the_work(head: int) -> None:
    assert work(head, 32 * 1024) <= 2.05 * work(head, 16 * 1024)


@COUNTS_MEMORY
@pytest.mark.parametrize("head", [TEXT, BINARY])
def test_a_message_byte_by_byte_is_held_once_and_copied_once(head: int) -> None:
    size = 64 * 1024
    data = masked(head, bytes(size), bytes(4))
    recorder = Silent(max_message=size)

    def attack() -> None:
        for at in range(len(data)):
            recorder.session.feed(data[at : at + 1])

    # Twice: what has come, and the message made of it; an eighth that a bytearray grows ahead.
    assert peak(attack) < 2.3 * size
    assert (recorder.count, recorder.size) == (1, size)


def test_nothing_of_a_large_message_is_kept_after_it() -> None:
    for head in (TEXT, BINARY, 0x01, 0x02):
        recorder = Silent()
        data = masked(head, bytes(1 << 20), bytes(4)) + (b"" if head & 0x80 else masked(0x80))
        for piece in cut(data, range(1000, len(data), 60_000)):
            recorder.feed(piece)
        assert recorder.count == 1
        assert held(recorder.session) == 0


@pytest.mark.parametrize("head", [TEXT, BINARY])
def test_a_mebibyte_byte_by_byte_is_one_message(head: int) -> None:
    size = 1 << 20
    recorder = Silent(max_message=size)
    feed = recorder.session.feed
    feed(header(head, size) + bytes(4))
    for _ in range(size - 1):
        feed(b"a")
    assert size - 1 <= held(recorder.session)
    feed(b"a")
    assert (recorder.count, recorder.size) == (1, size)
    assert held(recorder.session) == 0


def test_whoever_stops_at_each_message_has_few_parsed_more_than_once() -> None:
    parsed = 0

    class Counting(Session):
        def _run(self, *args: Any) -> Any:
            nonlocal parsed
            run = super()._run(*args)
            parsed += len(run[1])
            return run

    class Stopping(Recorder):
        def make(self, **options: Any) -> Session:
            return Counting(self, **options)

    recorder = Stopping(stop=["message"], echo=False)
    recorder.feed(masked(TEXT, b"one") * 500)
    assert recorder.events == [("message", "one")] * 500
    assert parsed == 64 + 499
    recorder.stop = frozenset()
    recorder.feed(masked(TEXT, b"two") * 500)
    assert recorder.events[500:] == [("message", "two")] * 500
    assert parsed == 64 + 499 + 500


# ---- the end of all ----


@pytest.mark.parametrize("closed", [False, True])
def test_a_session_that_lets_go_is_closed_and_holds_nobody(closed: bool) -> None:
    recorder = Recorder()
    session = recorder.session
    if closed:
        recorder.feed(masked(0x88, b""))
    session.let_go()
    assert session.state is State.CLOSED
    assert not session.feed(masked(0x81, b"x"))
    referents = gc.get_referents(session)
    assert recorder not in referents
    assert not any(getattr(it, "__self__", None) is recorder for it in referents)
