"""`reactor/protocol/framing.py`: frames by hand, as bytes, for both roles."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from reactor.errors import InvalidState, MessageTooBig, ProtocolError
from reactor.protocol.extensions import Codec, Extension
from reactor.protocol.frames import Frame, Opcode
from reactor.protocol.framing import Framing

from .recorder import byte_by_byte, cut_at_random
from .wire import KEY, header, masked, read_frame, unmasked

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 1 << 17
ROLES = pytest.mark.parametrize("client", [False, True], ids=["server", "client"])


def framing(
    *codecs: Codec, client: bool = False, limit: int = LIMIT, sent: list[bytes] | None = None
) -> Framing:
    written = [] if sent is None else sent
    return Framing(codecs, client=client, max_frame=limit, write=written.append)


def pack(one: Framing, *frames: Any) -> bytes:
    return one.pack(one.check(frames))


def end(one: Framing) -> tuple[bool, int | None, str]:
    return one.ended, one.close_code, one.close_reason


def from_peer(client: bool, head: int, payload: bytes = b"") -> bytes:
    """A frame as the peer of a client, or of a server, sends it."""
    return unmasked(head, payload) if client else masked(head, payload)


def take(one: Framing, pieces: Iterable[bytes]) -> list[Frame]:
    """Keep each piece, and take all frames that are whole then."""
    frames = []
    for piece in pieces:
        one.keep(piece)
        while (frame := one.next()) is not None:
            frames.append(frame)
    return frames


LARGE = bytes(at * 7 & 0xFF for at in range(100_000))
HEADS = [
    (0x81, b"Hello"),
    (0x82, LARGE),
    (0x01, b"Hel"),
    (0x89, b"ping"),
    (0x00, b""),
    (0x8A, b""),
    (0x80, b"lo"),
    (0x82, b""),
]
FRAMES = [
    Frame(Opcode.TEXT, b"Hello"),
    Frame(Opcode.BINARY, LARGE),
    Frame(Opcode.TEXT, b"Hel", fin=False),
    Frame(Opcode.PING, b"ping"),
    Frame(Opcode.CONTINUATION, fin=False),
    Frame(Opcode.PONG),
    Frame(Opcode.CONTINUATION, b"lo"),
    Frame(Opcode.BINARY),
]


# ---- from the peer ----


@ROLES
def test_every_frame_comes_out_as_it_is_and_none_is_put_together(client: bool) -> None:
    data = b"".join(from_peer(client, *frame) for frame in HEADS)
    assert take(framing(client=client), [data]) == FRAMES


@ROLES
def test_frames_are_the_same_byte_by_byte_and_cut_at_random(client: bool) -> None:
    short = [(head, payload[:300]) for head, payload in HEADS]
    data = b"".join(from_peer(client, *frame) for frame in short)
    expected = take(framing(client=client), [data])
    assert len(expected) == len(HEADS)
    assert take(framing(client=client), byte_by_byte(data)) == expected
    for seed in range(20):
        pieces = cut_at_random(data, random.Random(seed))
        assert take(framing(client=client), pieces) == expected


def test_no_frame_is_parsed_before_it_is_asked_for() -> None:
    one = framing()
    one.keep(masked(0x81, b"fine") + b"\xff wrong")
    assert one.next() == Frame(Opcode.TEXT, b"fine")
    with pytest.raises(ProtocolError):
        one.next()


def test_half_a_frame_is_none_yet() -> None:
    one = framing()
    data = masked(0x82, b"x" * 300)
    one.keep(data[:100])
    assert one.next() is None
    assert one.next() is None
    one.keep(data[100:])
    assert one.next() == Frame(Opcode.BINARY, b"x" * 300)


@pytest.mark.parametrize(
    ("client", "data", "code"),
    [
        (False, unmasked(0x81, b"x"), 1002),
        (True, masked(0x81, b"x"), 1002),
        (False, masked(0xC1, b"x"), 1002),
        (False, masked(0xA2, b"x"), 1002),
        (False, masked(0x83, b"x"), 1002),
        (False, masked(0x8B, b"x"), 1002),
        (False, masked(0x80, b"x"), 1002),
        (False, masked(0x01, b"x") + masked(0x81, b"y"), 1002),
        (False, masked(0x09, b"x"), 1002),
        (False, masked(0x89, b"x" * 126), 1002),
        (False, header(0x82, 5, 16) + KEY, 1002),
        (False, header(0x82, LIMIT + 1) + KEY, 1009),
        (True, header(0x02, LIMIT + 1, mask_bit=0), 1009),
    ],
)
def test_the_peer_is_held_to_the_rules_of_framing(client: bool, data: bytes, code: int) -> None:
    with pytest.raises(ProtocolError) as error:
        take(framing(client=client), [data])
    assert error.value.code == code


def test_the_limit_is_for_a_frame_not_for_a_message() -> None:
    data = masked(0x01, b"x" * 10) + masked(0x00, b"x" * 10) + masked(0x80, b"x" * 10)
    assert len(take(framing(limit=10), [data])) == 3
    with pytest.raises(MessageTooBig) as error:
        take(framing(limit=9), [data])
    assert (error.value.size, error.value.limit) == (10, 9)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x0f\xa0bye", 4000, "bye"),
        (b"\x03\xe8\xff", 1000, "\ufffd"),
    ],
)
def test_the_stream_ends_with_the_close_of_the_peer(
    payload: bytes, code: int, reason: str
) -> None:
    one = framing()
    one.keep(masked(0x88, payload) + masked(0x81, b"more"))
    assert end(one) == (False, None, "")
    assert one.next() == Frame(Opcode.CLOSE, payload)
    assert end(one) == (True, code, reason)
    assert one.next() is None


# ---- to the peer ----


def test_a_server_does_not_mask() -> None:
    assert pack(framing(), *FRAMES) == b"".join(unmasked(*frame) for frame in HEADS)
    with pytest.raises(ValueError, match="masked frame from a server"):
        framing().check([Frame(Opcode.TEXT, b"x"), Frame(Opcode.TEXT, b"x", masking_key=KEY)])


def test_a_client_masks_with_a_key_of_its_own_or_that_of_the_frame() -> None:
    mine = Frame(Opcode.TEXT, b"Hello")
    rest = pack(framing(client=True), mine, mine, Frame(0x2, b"x" * 70_000, masking_key=KEY))
    keys = []
    for _ in range(2):
        keys.append(rest[2:6])
        head, mask, payload, rest = read_frame(rest)
        assert (head, mask, payload) == (0x81, True, b"Hello")
    assert keys[0] != keys[1]
    assert rest == masked(0x82, b"x" * 70_000)
    assert mine == Frame(Opcode.TEXT, b"Hello")


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"bytes", TypeError),
        ("text", TypeError),
    ],
)
def test_what_is_no_frame_is_refused(frame: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        framing().check([Frame(Opcode.PONG), frame])


def test_a_frame_that_was_changed_into_none_is_not_sent() -> None:
    text = Frame(Opcode.TEXT, b"")
    text.payload = "text"  # type: ignore[assignment]
    with pytest.raises(TypeError, match="str, not bytes"):
        framing().check([text])
    ping = Frame(Opcode.PING, b"x")
    ping.fin = False
    with pytest.raises(ValueError, match="fragmented control frame"):
        framing().check([ping])


def test_bytes_like_payloads_are_sent() -> None:
    frames = [Frame(Opcode.BINARY, kind(b"abc")) for kind in (bytes, bytearray, memoryview)]
    assert pack(framing(), *frames) == 3 * unmasked(0x82, b"abc")


def test_nothing_follows_our_close() -> None:
    one = framing()
    with pytest.raises(InvalidState):
        one.check([Frame(Opcode.CLOSE), Frame(Opcode.PONG)])
    assert pack(one, Frame(Opcode.PONG), Frame(Opcode.CLOSE)) == b"\x8a\x00\x88\x00"
    assert one.close_sent
    with pytest.raises(InvalidState):
        one.check([Frame(Opcode.PONG)])
    assert pack(one) == b""
    assert one.close_sent


@ROLES
def test_to_fail_is_to_send_a_close_once_and_parse_no_more(client: bool) -> None:
    one = framing(client=client)
    one.keep(from_peer(client, 0x81, b"x"))
    head, mask, payload, rest = read_frame(one.fail(ProtocolError(1002, "x" * 200)))
    assert (head, mask, payload, rest) == (0x88, client, b"\x03\xea" + b"x" * 123, b"")
    assert one.next() is None
    assert end(one) == (True, 1002, "x" * 200)
    assert one.close_sent
    assert one.fail(ProtocolError(1011, "again")) == b""


# ---- handed on ----


def test_what_was_not_asked_for_can_be_taken_back_byte_for_byte() -> None:
    one = framing()
    ping, rest = masked(0x89, b"x"), masked(0x82, b"x" * 300) + b"\x81"
    one.keep(ping + rest[:5])
    one.keep(rest[5:])
    assert one.next() == Frame(Opcode.PING, b"x")
    assert one.take_back() == rest
    assert one.take_back() == b""
    assert one.next() is None


@pytest.mark.parametrize(
    "data",
    [
        masked(0x82, b"x" * 300)[:100],
        masked(0x01, b"x"),
        masked(0x01, b"x") + masked(0x89, b"y"),
        masked(0x88, b"") + masked(0x81, b"x"),
    ],
    ids=["in a frame", "in a message", "between fragments", "behind a Close"],
)
def test_what_begins_in_the_middle_cannot_be_taken_back(data: bytes) -> None:
    one = framing()
    take(one, [data])
    with pytest.raises(InvalidState):
        one.take_back()


def test_nothing_is_taken_back_after_our_close() -> None:
    one = framing()
    pack(one, Frame(Opcode.CLOSE))
    with pytest.raises(InvalidState):
        one.take_back()


# ---- extensions ----


class Shift(Codec):
    """Adds a number to each byte of a data frame, and sets a bit."""

    def __init__(self, by: int = 1, *, rsv: int = 0, opcodes: Iterable[int] = ()) -> None:
        self.by = by
        self.seen: list[int] = []
        self.extension = Extension()
        self.extension.rsv, self.extension.opcodes = rsv, tuple(opcodes)

    def encode_frame(self, frame: Frame) -> Frame:
        frame.payload = bytes(byte * 2 + self.by & 0xFF for byte in frame.payload)
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        self.seen.append(frame.opcode)
        frame.payload = bytes((byte - self.by & 0xFF) // 2 for byte in frame.payload)
        return frame


class Deflating(Codec):
    """Claims RSV1 for messages; frames by hand pass it untouched."""

    def __init__(self) -> None:
        self.extension = Extension()
        self.extension.rsv = 0x40

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        raise AssertionError("nobody decodes a message here")


def test_hooks_are_called_in_order_and_in_reverse_and_for_data_frames_alone() -> None:
    codecs = Shift(1), Shift(7)
    mine = [Frame(1, b"\1", fin=False), Frame(Opcode.PING, b"\1"), Frame(0, b"\2")]
    data = pack(framing(*codecs, client=True), *mine)
    head, _, payload, _ = read_frame(data)
    assert (head, payload) == (0x01, bytes((((1 * 2 + 1) * 2) + 7,)))
    assert mine[0].payload == b"\1"
    assert take(framing(*codecs), [data]) == mine
    assert codecs[0].seen == [1, 0]


def test_a_frame_of_an_extension_is_for_its_own_hook_alone() -> None:
    class Own(Shift):
        def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
            super().decode_frame(frame, limit)
            assert limit == LIMIT
            return frame if frame.opcode < 3 else None

    first, own, last = Shift(), Own(opcodes=[3, 0xB]), Shift()
    one = framing(first, own, last)
    assert take(one, [masked(0x83, b"x") + masked(0x8B, b"x") + masked(0x8A)]) == [
        Frame(Opcode.PONG)
    ]
    assert (first.seen, own.seen, last.seen) == ([], [3, 0xB], [])


def test_bits_are_let_through_where_they_were_claimed() -> None:
    first = masked(0xC1, b"x"), masked(0x41, b"x"), masked(0x80, b"x")
    frames = take(framing(Deflating()), first)
    assert [frame.rsv1 for frame in frames] == [True, True, False]
    with pytest.raises(ProtocolError, match="reserved bits"):
        take(framing(Deflating()), [masked(0x01, b"x") + masked(0xC0, b"x")])
    every = take(framing(Shift(rsv=0x20)), [masked(0x21, b"x") + masked(0xA0, b"x")])
    assert [frame.rsv2 for frame in every] == [True, True]


def test_a_codec_can_send_frames_of_its_own() -> None:
    for client in (False, True):
        sent: list[bytes] = []
        codec = Shift(opcodes=[3])
        one = framing(codec, client=client, sent=sent)
        codec.send_frame(Frame(3, b"own"))
        head, mask, payload, rest = read_frame(sent[0])
        assert (head, mask, payload, rest) == (0x83, client, b"own", b"")
        pack(one, Frame(Opcode.CLOSE))
        codec.send_frame(Frame(3, b"late"))
        assert len(sent) == 1


class Faulty(Shift):
    """Does what it is told, which is wrong."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def encode_frame(self, frame: Frame) -> Frame:
        made: Frame = self.act(frame)
        return made

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        return self.encode_frame(frame)


def boom(frame: Frame) -> Frame:
    raise ZeroDivisionError


def refuse(frame: Frame) -> Frame:
    raise ProtocolError(1007, "not what it says")


def grow(frame: Frame) -> Frame:
    frame.payload = bytes(LIMIT + 1)
    return frame


def spoil(frame: Frame) -> Any:
    return frame.payload


@pytest.mark.parametrize(
    ("act", "code"), [(boom, 1011), (refuse, 1007), (grow, 1009), (spoil, 1011)]
)
def test_a_hook_that_fails_on_the_way_in_fails_the_connection(act: Any, code: int) -> None:
    with pytest.raises(ProtocolError) as error:
        take(framing(Faulty(act)), [masked(0x81, b"x")])
    assert error.value.code == code


@pytest.mark.parametrize(
    ("act", "code"), [(boom, 1011), (refuse, 1007), (lambda frame: None, 1011)]
)
def test_a_hook_that_fails_on_the_way_out_fails_the_connection(act: Any, code: int) -> None:
    one = framing(Faulty(act))
    with pytest.raises(ProtocolError) as error:
        pack(one, Frame(Opcode.TEXT, b"x"))
    assert error.value.code == code


def test_a_frame_may_grow_by_what_encoding_adds_if_it_comes_out_within_the_limit() -> None:
    class Shorten(Shift):
        def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
            frame.payload = frame.payload[:limit]
            return frame

    one = framing(Shorten(), limit=1000)
    [frame] = take(one, [masked(0x82, b"x" * 1500)])
    assert len(frame.payload) == 1000


def test_what_was_sent_in_part_cannot_be_handed_over() -> None:
    sender = framing()
    pack(sender, Frame(Opcode.TEXT, b"half", fin=False), Frame(Opcode.PING))
    with pytest.raises(InvalidState, match="sent in part"):
        sender.take_back()
    pack(sender, Frame(Opcode.CONTINUATION, b""))
    assert sender.take_back() == b""
