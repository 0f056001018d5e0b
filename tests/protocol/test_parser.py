"""`reactor/protocol/parser.py`: a byte stream -> frames, whatever its pieces."""

from __future__ import annotations

import itertools
import random
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidPayload, MessageTooBig, ProtocolError
from reactor.protocol import masking
from reactor.protocol.frames import RSV1, RSV2, RSV3
from reactor.protocol.heads import BINARY, CONTINUED, START, TEXT, WHOLE, tables
from reactor.protocol.parser import FrameParser

from .recorder import byte_by_byte, cut, cut_at_random
from .wire import KEY, header, masked, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT = 1 << 17


class Sink(FrameParser):
    """Notes its frames; those in parts are put together again."""

    def __init__(
        self,
        *,
        client: bool = False,
        room: int = LIMIT,
        stops: Callable[[int, bytes], bool] = lambda head, payload: False,
        heads: tuple[bytes, bytes] = (START, CONTINUED),
    ) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.parts = bytearray()
        self.head = -1
        self.length = 0
        self.stops = stops
        self.answer = False
        self.between, self.inside = heads
        super().__init__(masked=not client, room=room)
        self._deliver = self.delivered
        self.heads = self.between

    def note(self, head: int, payload: bytes) -> bool:
        self.frames.append((head, payload))
        return self.answer or self.stops(head, payload)

    def message(self, head: int, payload: bytes | bytearray) -> bool:
        assert self.heads is self.between
        assert self.between[head] >= WHOLE
        return self.note(head, bytes(payload))

    def delivered(self, message: str | bytes) -> bool:
        assert self.heads is self.between
        if isinstance(message, str):
            assert self.between[0x81] == TEXT
            return self.note(0x81, message.encode())
        assert self.between[0x82] == BINARY
        return self.note(0x82, message)

    def frame_too_big(self, length: int) -> ProtocolError:
        return MessageTooBig(length, self.room)

    def frame_began(self, head: int, length: int) -> None:
        assert self.head == -1
        assert self.remaining == length
        self.head, self.length = head, length
        self.heads = self.between if head >= 0x80 else self.inside

    def frame_part(self, data: bytes | bytearray) -> bool | None:
        assert data
        self.parts += data
        assert self.remaining == self.length - len(self.parts)
        return False

    def frame_ended(self) -> bool:
        head, payload = self.head, bytes(self.parts)
        assert len(payload) == self.length
        self.head = -1
        self.parts.clear()
        return self.note(head, payload)

    def control(self, head: int, payload: bytes | bytearray) -> bool:
        return self.note(head, bytes(payload))

    def take(self, pieces: Iterable[bytes]) -> list[tuple[int, bytes]]:
        """Feed all, whatever stops it on the way; return the frames."""
        for piece in pieces:
            more = self.feed(piece)
            while more:
                more = self.feed(b"")
        return self.frames


def packed(frames: list[tuple[int, bytes]], client: bool = False) -> bytes:
    keys = itertools.cycle((KEY, b"\0\0\0\0", b"\xff\x00\x80\x7f"))
    if client:
        return b"".join(unmasked(head, payload) for head, payload in frames)
    return b"".join(masked(head, payload, next(keys)) for head, payload in frames)


SIZES = (0, 1, 3, 4, 124, 125, 126, 127, 400, 65535, 65536)
FRAMES = [
    *((0x82, bytes(at * 5 & 0xFF for at in range(size))) for size in SIZES),
    (0x81, b"Hello"),
    (0x01, b"Hel"),
    (0x89, b"ping"),
    (0x00, b""),
    (0x8A, b"pong"),
    (0x00, 300 * b"l"),
    (0x80, b"o"),
    (0x02, b""),
    (0x80, b""),
    (0x88, b"\x03\xe8"),
]
ROLES = pytest.mark.parametrize("client", [False, True], ids=["server", "client"])


@ROLES
def test_frames_are_the_same_whole_and_byte_by_byte(client: bool) -> None:
    data = packed(FRAMES, client)
    assert Sink(client=client).take([data]) == FRAMES
    assert Sink(client=client).take(byte_by_byte(data)) == FRAMES


@ROLES
def test_frames_are_the_same_cut_at_every_place(client: bool) -> None:
    frames = [(head, payload) for head, payload in FRAMES if len(payload) < 1000]
    data = packed(frames, client)
    for place in range(len(data)):
        assert Sink(client=client).take(cut(data, [place])) == frames


@ROLES
@pytest.mark.parametrize("seed", range(20))
def test_frames_are_the_same_cut_at_random(client: bool, seed: int) -> None:
    data = packed(FRAMES, client)
    pieces = cut_at_random(data, random.Random(seed))
    assert Sink(client=client).take(pieces) == FRAMES


DATA_FRAMES = st.one_of(
    st.tuples(st.just(0x81), st.text(max_size=140).map(str.encode)),
    st.tuples(st.just(0x82), st.binary(max_size=140)),
)
CONTROL_FRAMES = st.tuples(st.sampled_from([0x88, 0x89, 0x8A]), st.binary(max_size=125))


@given(
    frames=st.lists(st.one_of(DATA_FRAMES, CONTROL_FRAMES), max_size=80),
    client=st.booleans(),
    chance=st.randoms(use_true_random=False),
    stop_at=st.sampled_from([0, 0x81, 0x82, 0x89]),
)
def test_frames_do_not_depend_on_how_they_come_nor_on_stops(
    frames: list[tuple[int, bytes]], client: bool, chance: random.Random, stop_at: int
) -> None:
    data = packed(frames, client)
    sink = Sink(client=client, stops=lambda head, payload: head == stop_at)
    assert sink.take(cut_at_random(data, chance)) == frames
    assert sink.feed(b"") is False


# ---- what a frame may begin with ----

LEGAL = {
    "between messages": (START, {0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A}),
    "inside a message": (CONTINUED, {0x00, 0x80, 0x88, 0x89, 0x8A}),
}


@pytest.mark.parametrize("place", LEGAL)
@pytest.mark.parametrize("head", range(256))
def test_an_illegal_first_byte_is_refused_as_soon_as_it_comes(head: int, place: str) -> None:
    heads, legal = LEGAL[place]
    sink = Sink()
    sink.heads = heads
    if head in legal:
        assert sink.feed(bytes((head,))) is False
        assert sink.frames == []
        return
    with pytest.raises(ProtocolError) as error:
        sink.feed(bytes((head,)))
    assert error.value.code == 1002
    assert "RFC 6455 §5." in error.value.reason


@pytest.mark.parametrize("head", [0x81, 0x82, 0x01, 0x02])
def test_a_message_inside_a_message_is_refused_in_whatever_piece_it_comes(head: int) -> None:
    wrong = masked(head, b"x")
    for pieces in ([masked(0x01, b"a") + wrong], [masked(0x01, b"a"), wrong]):
        with pytest.raises(ProtocolError, match="inside a fragmented message"):
            Sink().take(pieces)
    # And what begins a message is legal again behind its last fragment.
    frames = [(0x01, b"a"), (0x80, b"b"), (head, b"x")]
    assert Sink().take([packed(frames)]) == frames


@pytest.mark.parametrize(
    ("heads", "head", "why"),
    [
        (START, 0xC1, "reserved bits in first byte 0xc1, not negotiated"),
        (CONTINUED, 0xA0, "reserved bits in first byte 0xa0, not negotiated"),
        (START, 0x9A, "reserved bits in first byte 0x9a, not negotiated"),
        (START, 0x08, "fragmented control frame"),
        (CONTINUED, 0x0A, "fragmented control frame"),
        (START, 0x83, "reserved opcode 0x3"),
        (START, 0x0B, "reserved opcode 0xb"),
        (CONTINUED, 0x8F, "reserved opcode 0xf"),
        (START, 0x80, "continuation frame without a message to continue"),
        (CONTINUED, 0x81, "opcode 0x1 inside a fragmented message"),
        (CONTINUED, 0x02, "opcode 0x2 inside a fragmented message"),
    ],
)
def test_a_violation_says_what_is_wrong(heads: bytes, head: int, why: str) -> None:
    sink = Sink()
    sink.heads = heads
    with pytest.raises(ProtocolError, match=why):
        sink.feed(masked(head, b"x"))


def test_frames_before_an_illegal_one_are_handed_over() -> None:
    data = packed(FRAMES[-10:]) + b"\x83"
    for pieces in ([data], byte_by_byte(data)):
        sink = Sink()
        with pytest.raises(ProtocolError):
            sink.take(pieces)
        assert sink.frames == FRAMES[-10:]


@ROLES
@pytest.mark.parametrize("head", [0x81, 0x01, 0x82, 0x88, 0x89, 0x8A])
def test_the_wrong_masking_is_refused_in_the_second_byte(client: bool, head: int) -> None:
    wrong = bytes((head, 0x80 if client else 0))
    why = "masked by a server" if client else "not masked by a client"
    with pytest.raises(ProtocolError, match=why) as error:
        Sink(client=client).feed(wrong)
    assert error.value.code == 1002
    with pytest.raises(ProtocolError, match=why):
        Sink(client=client).take([wrong + bytes(20)])


@ROLES
@pytest.mark.parametrize("head", [0x88, 0x89, 0x8A])
@pytest.mark.parametrize("second", [126, 127])
def test_a_control_frame_over_125_bytes_is_refused_in_its_second_byte(
    client: bool, head: int, second: int
) -> None:
    with pytest.raises(ProtocolError, match="control frame over 125 bytes"):
        Sink(client=client).feed(bytes((head, second if client else second | 0x80)))


# ---- what extensions claim ----


def refused(sink: Sink, good: list[tuple[int, bytes]], head: int, why: str) -> None:
    """Check that a frame is refused behind good ones, whole and in its first byte."""
    for wrong in (masked(head, b"x"), bytes((head,))):
        fresh = Sink(heads=(sink.between, sink.inside))
        with pytest.raises(ProtocolError, match=why) as error:
            fresh.take([packed(good) + wrong])
        assert error.value.code == 1002
        assert fresh.frames == good


@ROLES
def test_a_bit_of_messages_stands_on_first_frames_alone(client: bool) -> None:
    sink = Sink(client=client, heads=tables(first=RSV1))
    frames = [(0xC1, b"a"), (0x81, b"b"), (0x42, b"c"), (0x00, b"d"), (0x89, b"p"), (0x80, b"")]
    frames += [(0xC2, bytes(300)), (0x41, b""), (0x80, b"e"), (0x01, b"f"), (0x80, b"g")]
    data = packed(frames, client)
    assert sink.take([data]) == frames
    assert Sink(client=client, heads=tables(first=RSV1)).take(byte_by_byte(data)) == frames


@pytest.mark.parametrize("head", [0xC0, 0x40])
def test_a_bit_of_messages_does_not_stand_on_a_continuation(head: int) -> None:
    refused(Sink(heads=tables(first=RSV1)), [(0x41, b"a")], head, "not negotiated")


@ROLES
def test_a_bit_of_frames_stands_on_any_data_frame(client: bool) -> None:
    heads = tables(every=RSV2)
    frames = [(0xA1, b"a"), (0x01, b"b"), (0x20, b"c"), (0xA0, b"d"), (0x22, bytes(300))]
    frames += [(0x00, b""), (0x89, b"p"), (0x20, b"e"), (0x80, b"f"), (0x82, b"g")]
    data = packed(frames, client)
    assert Sink(client=client, heads=heads).take([data]) == frames
    assert Sink(client=client, heads=heads).take(byte_by_byte(data)) == frames


@pytest.mark.parametrize("head", [0xC8, 0xC9, 0xCA, 0xA9, 0x9A, 0xF8, 0x49])
def test_no_bit_stands_on_a_control_frame_of_rfc_6455(head: int) -> None:
    heads = tables(RSV1 | RSV2 | RSV3, RSV1 | RSV2 | RSV3, ((0xB, RSV1),))
    why = "reserved bits" if head & 0x80 else "fragmented control frame"
    refused(Sink(heads=heads), [], head, why)
    refused(Sink(heads=heads), [(0x41, b"a")], head, why)


@pytest.mark.parametrize(("claim", "head"), [(RSV1, 0xA1), (RSV2, 0xC1), (RSV1, 0xD2)])
def test_a_bit_beside_the_claimed_one_is_refused(claim: int, head: int) -> None:
    for heads in (tables(first=claim), tables(every=claim)):
        refused(Sink(heads=heads), [(head & 0x8F | claim, b"a")], head, "not negotiated")


@ROLES
def test_a_claimed_data_opcode_is_a_whole_frame_in_whatever_pieces(client: bool) -> None:
    heads = tables(first=RSV3, opcodes=((0x3, RSV3),))
    frames = [(0x83, b"a"), (0x81, b"b"), (0x93, b""), (0x83, bytes(70_000)), (0x01, b"c")]
    frames += [(0x80, b"d"), (0x83, bytes(126))]
    data = packed(frames, client)
    assert Sink(client=client, heads=heads).take([data]) == frames
    assert Sink(client=client, heads=heads).take(cut(data, [1, 3, 9, 30, 5000])) == frames


def test_a_claimed_data_opcode_has_its_place_between_messages_and_its_limit() -> None:
    heads = tables(opcodes=((0x3, 0),))
    refused(Sink(heads=heads), [(0x01, b"a")], 0x83, r"\(RFC 6455 §5\.")
    refused(Sink(heads=heads), [], 0x84, "reserved opcode 0x4")
    with pytest.raises(MessageTooBig):
        Sink(room=10, heads=heads).take([masked(0x83, bytes(11))])


@ROLES
def test_a_claimed_control_opcode_may_come_inside_a_message(client: bool) -> None:
    heads = tables(first=RSV1, opcodes=((0xB, RSV1),))
    frames = [(0x8B, b"a"), (0x41, b"b"), (0x8B, 125 * b"c"), (0xCB, b""), (0x80, b"d")]
    data = packed(frames, client)
    assert Sink(client=client, heads=heads).take([data]) == frames
    assert Sink(client=client, heads=heads).take(byte_by_byte(data)) == frames


def test_a_claimed_control_opcode_is_short_and_needs_no_room() -> None:
    heads = tables(opcodes=((0xB, 0),))
    assert Sink(room=0, heads=heads).take([masked(0x8B, b"p")]) == [(0x8B, b"p")]
    with pytest.raises(ProtocolError, match="control frame over 125 bytes"):
        Sink(heads=heads).take([masked(0x8B, bytes(126))])


@pytest.mark.parametrize("head", [0x03, 0x0B, 0x43, 0x4B])
def test_a_claimed_opcode_is_not_fragmented(head: int) -> None:
    heads = tables(RSV1, RSV1, ((0x3, RSV1), (0xB, RSV1)))
    refused(Sink(heads=heads), [], head, r"\(RFC 6455 §5\.")
    refused(Sink(heads=heads), [(0x01, b"a")], head, r"\(RFC 6455 §5\.")


def test_what_is_out_of_order_is_called_so_where_extensions_are_too() -> None:
    heads = tables(RSV1, RSV2, ((0x3, RSV1), (0xB, RSV2)))
    refused(Sink(heads=heads), [], 0x80, "continuation frame without a message")
    refused(Sink(heads=heads), [(0x41, b"a")], 0x81, "0x1 inside a fragmented message")
    refused(Sink(heads=heads), [(0x22, b"a")], 0x02, "0x2 inside a fragmented message")


# ---- lengths ----


@ROLES
@pytest.mark.parametrize(
    ("form", "length", "why"),
    [
        (16, 0, "length 0 in 2 bytes"),
        (16, 125, "length 125 in 2 bytes"),
        (64, 0, "length 0 in 8 bytes"),
        (64, 126, "length 126 in 8 bytes"),
        (64, 65535, "length 65535 in 8 bytes"),
        (64, 1 << 63, "top bit set"),
        (64, (1 << 64) - 1, "top bit set"),
    ],
)
def test_a_length_that_is_not_minimal_or_has_its_top_bit_set_is_refused(
    client: bool, form: int, length: int, why: str
) -> None:
    wrong = header(0x82, length, form, 0 if client else 0x80)
    sink = Sink(client=client)
    assert sink.feed(wrong[:-1]) is False
    with pytest.raises(ProtocolError, match=why) as error:
        sink.feed(wrong[-1:])
    assert error.value.code == 1002


@ROLES
@pytest.mark.parametrize("room", [0, 1, 100, 124, 125, 126, 65535, 65536, 1 << 40])
@pytest.mark.parametrize("head", [0x81, 0x02])
def test_a_frame_over_its_room_is_refused_on_its_length_alone(
    client: bool, room: int, head: int
) -> None:
    mask_bit = 0 if client else 0x80
    fits, too_big = (header(head, length, None, mask_bit) for length in (room, room + 1))
    assert Sink(client=client, room=room).feed(fits) is False
    with pytest.raises(MessageTooBig) as error:
        Sink(client=client, room=room).feed(too_big)
    assert (error.value.size, error.value.limit) == (room + 1, room)


def test_a_short_whole_frame_over_its_room_is_refused_too() -> None:
    sink = Sink(room=5)
    with pytest.raises(MessageTooBig):
        sink.feed(masked(0x81, b"Hello") + masked(0x81, b"Hello!"))
    assert sink.frames == [(0x81, b"Hello")]


def test_control_frames_need_no_room() -> None:
    assert Sink(room=0).take([masked(0x89, 125 * b"p")]) == [(0x89, 125 * b"p")]


def test_an_illegal_first_byte_counts_before_its_length() -> None:
    for length in (1 << 40, (1 << 64) - 1):
        with pytest.raises(ProtocolError, match="reserved opcode"):
            Sink(room=10).feed(header(0x83, length, 64))


# ---- runs of messages ----

RUN = [(0x81, b"one"), (0x82, b"two"), (0x81, 200 * b"3"), (0x82, 40_000 * b"4")]


@ROLES
@pytest.mark.parametrize("before", range(len(RUN) + 1))
def test_what_a_run_of_messages_had_still_to_deliver_can_be_recalled(
    client: bool, before: int
) -> None:
    def recall(head: int, payload: bytes) -> bool:
        if len(sink.frames) == before + 1:
            sink.recall()  # it comes again
        return False

    sink = Sink(client=client, stops=recall)
    everything = [(0x8A, b"first"), *RUN, (0x8A, b"last")]
    assert sink.take([packed(everything, client)]) == everything


@ROLES
def test_a_run_that_is_stopped_goes_on_behind_the_last_message(client: bool) -> None:
    sink = Sink(client=client, stops=lambda head, payload: True)
    data = packed([*RUN, (0x8A, b"last")], client)
    assert [sink.feed(data), *(sink.feed(b"") for _ in RUN)] == [True] * len(RUN) + [False]
    assert sink.frames == [*RUN, (0x8A, b"last")]


def test_a_run_that_is_interrupted_keeps_nothing() -> None:
    def interrupt(head: int, payload: bytes) -> bool:
        raise KeyboardInterrupt

    sink = Sink(stops=interrupt)
    with pytest.raises(KeyboardInterrupt):
        sink.feed(packed(RUN))
    assert list(sink._coming) == []


def test_messages_of_a_run_come_before_the_error_behind_them() -> None:
    sink = Sink()
    with pytest.raises(InvalidPayload):
        sink.feed(packed([*RUN, (0x81, b"\xff"), (0x81, b"never")]))
    assert sink.frames == RUN


def test_a_frame_of_an_extension_that_comes_alone_is_whole() -> None:
    for payload in (b"short", 200 * b"l", 40_000 * b"m"):
        sink = Sink(heads=tables(RSV1))
        assert sink.take([masked(0xC1, payload)]) == [(0xC1, payload)]


# ---- budget and stops ----

TINY = masked(0x81, b"x")


@pytest.mark.parametrize("frame", [TINY, masked(0x8A, b"p"), masked(0x82, 130 * b"b")])
@pytest.mark.parametrize("count", [63, 64, 65, 128, 200])
def test_one_call_hands_over_at_most_64_frames(frame: bytes, count: int) -> None:
    sink = Sink()
    more = sink.feed(count * frame)
    handed = [len(sink.frames)]
    while more:
        more = sink.feed(b"")
        handed.append(len(sink.frames) - sum(handed))
    assert handed == [64] * (count // 64) + [count % 64] * bool(count % 64)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_cut_frame_behind_the_budget_waits_for_its_rest(size: int) -> None:
    sink = Sink()
    # A single byte is not worth another call.
    assert sink.feed(64 * TINY + TINY[:size]) is (size > 1)
    assert sink.feed(b"") is False
    assert sink.feed(TINY[size:]) is False
    assert len(sink.frames) == 65


@pytest.mark.parametrize(
    "frame",
    [
        masked(0x82, b"stop"),
        masked(0x01, b"stop"),
        masked(0x89, b"stop"),
        masked(0x82, bytes(200)),
    ],
    ids=["a message", "a fragment", "a control frame", "a longer message"],
)
def test_the_sink_stops_the_parser_at_once(frame: bytes) -> None:
    tail = masked(0x8A, b"1") + masked(0x8A, b"2")
    for place in range(len(frame) + 1):
        sink = Sink(stops=lambda head, payload: head != 0x8A)
        stops = [sink.feed(piece) for piece in cut(frame + tail, [place])]
        # The stop falls into whichever call has the frame's last byte.
        if place < len(frame):
            assert stops == [False, True]
            assert len(sink.frames) == 1
        assert sink.feed(b"") is False
        assert [payload for _, payload in sink.frames[1:]] == [b"1", b"2"]


class Parting(Sink):
    """Says to stop at each part of a frame, and not at its end."""

    def __init__(self) -> None:
        super().__init__(stops=lambda head, payload: False)
        self.ends: list[int] = []

    def frame_part(self, data: bytes | bytearray) -> bool:
        super().frame_part(data)
        return True

    def frame_ended(self) -> bool:
        self.ends.append(len(self.parts))
        return super().frame_ended()


@pytest.mark.parametrize("frame", [masked(0x01, b"stop"), masked(0x82, bytes(200))])
def test_a_part_of_a_frame_stops_the_parser_too(frame: bytes) -> None:
    tail = masked(0x8A, b"1") + masked(0x8A, b"2")
    head = len(frame) - (4 if len(frame) < 20 else 200)
    for place in range(head + 1, len(frame)):
        sink = Parting()
        # Nothing is in hand: the part took it all.
        assert sink.feed(frame[:place]) is False
        assert sink.remaining == len(frame) - place
        # Here its rest has come, and is told to be the end, and what is behind it waits.
        assert sink.feed(frame[place:] + tail) is True
        assert sink.ends == [len(frame) - head]
        assert len(sink.frames) == 1
        assert sink.feed(b"") is False
        assert [payload for _, payload in sink.frames[1:]] == [b"1", b"2"]


def test_a_fragment_in_one_piece_stops_the_parser_by_its_part() -> None:
    sink = Parting()
    two = masked(0x01, b"a") + masked(0x00, b"b")
    assert sink.feed(two + masked(0x80)) is True
    assert sink.frames == [(0x01, b"a")]
    assert sink.feed(b"") is True
    assert sink.frames == [(0x01, b"a"), (0x00, b"b")]
    # The last one is empty: there is no part of it, and so no stop.
    assert sink.feed(b"") is False
    assert sink.frames[2:] == [(0x80, b"")]


def test_the_rest_of_a_frame_is_in_hand_after_a_stop_and_not_lost() -> None:
    sink = Parting()
    frame = masked(0x82, bytes(range(200)))
    assert sink.feed(frame[:50]) is False
    sink.keep(frame[50:90])
    assert sink.feed(frame[90:] + TINY) is True
    assert sink.frames == [(0x82, bytes(range(200)))]
    assert sink.feed(b"") is False
    assert sink.frames[1:] == [(0x81, b"x")]


def test_a_stop_with_nothing_in_hand_leaves_nothing_to_do() -> None:
    sink = Sink(stops=lambda head, payload: True)
    assert sink.feed(TINY) is False
    assert sink.feed(masked(0x01, b"a")) is False
    assert sink.feed(masked(0x89)[:-1]) is False
    assert sink.feed(masked(0x89)[-1:]) is False
    assert len(sink.frames) == 3


def test_a_stop_before_a_single_illegal_byte_does_not_look_at_it() -> None:
    sink = Sink(stops=lambda head, payload: True)
    assert sink.feed(TINY + b"\xff") is True
    with pytest.raises(ProtocolError):
        sink.feed(b"")


def test_bytes_after_a_stop_go_behind_those_in_hand() -> None:
    sink = Sink(stops=lambda head, payload: payload == b"stop")
    assert sink.feed(masked(0x82, b"stop") + masked(0x82, b"a") + TINY[:3]) is True
    assert sink.feed(TINY[3:] + masked(0x82, b"b")) is False
    assert [payload for _, payload in sink.frames] == [b"stop", b"a", b"x", b"b"]


def test_kept_bytes_are_parsed_with_the_next_call() -> None:
    data = packed(FRAMES[-10:])
    for place in range(len(data) + 1):
        sink = Sink()
        for piece in cut(data, [place // 2, place]):
            sink.keep(piece)
        assert sink.frames == []
        assert sink.take([b""]) == FRAMES[-10:]


def test_bytes_may_be_kept_after_a_stop() -> None:
    sink = Sink(stops=lambda head, payload: payload == b"stop")
    assert sink.feed(masked(0x82, b"stop") + TINY + TINY[:2]) is True
    sink.keep(TINY[2:] + TINY[:4])
    sink.keep(TINY[4:])
    assert sink.feed(b"") is False
    assert len(sink.frames) == 4


def test_dropped_bytes_are_not_parsed() -> None:
    sink = Sink(stops=lambda head, payload: True)
    assert sink.feed(TINY + b"\xff\xff") is True
    sink.drop()
    assert sink.feed(b"") is False
    assert sink.feed(TINY) is False
    assert len(sink.frames) == 1


def test_text_that_is_not_utf8_is_refused_where_it_is_delivered() -> None:
    for size, before in itertools.product((1, 200), (b"", TINY)):
        sink = Sink()
        wrong = masked(0x81, bytes(size - 1) + b"\xff")
        with pytest.raises(InvalidPayload, match=f"at byte {size - 1} "):
            sink.feed(before + wrong)
        assert sink.frames == [(0x81, b"x")] * bool(before)


def test_a_subclass_may_end_instead_of_raising() -> None:
    class Ending(Sink):
        def fail(self, error: ProtocolError) -> None:
            self.drop()
            self.frames.append((error.code, b""))

    for wrong, code in (b"\x83" + TINY, 1002), (masked(0x81, b"\xff"), 1007):
        for before in b"", TINY:
            sink = Ending()
            assert sink.feed(before) is False
            assert sink.feed(wrong) is False
            assert sink.ended
            assert sink.feed(TINY) is False
            assert sink.frames == [(0x81, b"x")] * bool(before) + [(code, b"")]
            sink = Ending()
            assert sink.feed(before + wrong) is False
            assert sink.frames == [(0x81, b"x")] * bool(before) + [(code, b"")]


def test_an_exception_from_the_sink_does_not_make_the_next_bytes_be_skipped() -> None:
    def stops(head: int, payload: bytes) -> bool:
        if payload == b"raise":
            raise KeyboardInterrupt
        return True

    sink = Sink(stops=stops)
    assert sink.feed(TINY + masked(0x81, b"raise")) is True
    with pytest.raises(KeyboardInterrupt):
        sink.feed(b"")
    assert sink.feed(TINY + TINY) is True
    assert sink.feed(b"") is False
    assert [payload for _, payload in sink.frames] == [b"x", b"raise", b"x", b"x"]


# ---- work and memory ----


def calls(run: Callable[[], object]) -> int:
    """Return how many functions `run` calls, of Python and of C."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("kind", ["one frame", "tiny frames"])
def test_work_grows_as_the_input_does(kind: str, piece: int) -> None:
    def work(size: int) -> int:
        data = masked(0x82, bytes(size)) if kind == "one frame" else size // 8 * TINY
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        sink = Sink()
        return calls(lambda: sink.take(pieces))

    once, twice = work(20_000), work(40_000)
    assert twice <= 2.1 * once


def test_no_more_is_carried_from_call_to_call_than_a_control_frame() -> None:
    sink = Sink()
    for byte in byte_by_byte(packed(FRAMES)):
        assert sink.feed(byte) is False
        assert len(sink._unparsed) < 2 + 4 + 125
    assert sink.frames == FRAMES


def test_what_is_in_hand_after_a_stop_is_not_copied_until_it_is_parsed() -> None:
    data = 10_000 * TINY
    sink = Sink()
    more = sink.feed(data)
    while more:
        assert sink._unparsed is data
        more = sink.feed(b"")
    assert len(sink.frames) == 10_000
    assert sink._unparsed == b""


def test_the_start_of_a_header_does_not_keep_the_input_it_came_in() -> None:
    sink = Sink()
    data = masked(0x82, bytes(60_000)) + masked(0x82, bytes(200))[:5]
    assert sink.feed(data) is False
    assert sink._unparsed == data[-5:]


@pytest.mark.parametrize("client", [False, True])
def test_a_compiled_function_unmasks_frames_of_all_sizes(client: bool) -> None:
    calls: list[int] = []

    def compiled(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
        calls.append(len(data))
        return bytes(octet ^ key[at & 3] for at, octet in enumerate(bytes(data)))

    sizes = [0, 1, 41, 42, 500, 30_000]
    frame = unmasked if client else masked
    masking.use(compiled)
    try:
        calls.clear()
        sink = Sink(client=client)
        for size in sizes:
            sink.feed(frame(0x82, b"abc" * size)[: size + 14])
            sink.feed(frame(0x82, b"abc" * size)[size + 14 :])
            sink.feed(frame(0x82, b"abc" * size))
    finally:
        masking.use(None)
    assert sink.frames == [(0x82, b"abc" * size) for size in sizes for _ in range(2)]
    assert bool(calls) is not client
