"""`reactor/protocol/frames.py`: one frame as bytes, and as a value."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.protocol import codes, frames, masking
from reactor.protocol.codes import Opcode
from reactor.protocol.frames import (
    Frame,
    as_bytes,
    pack_apart,
    pack_frame,
    pack_header,
    pack_message,
)

from .wire import KEY, header, masked, read_frame, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = pytest.mark.parametrize(
    "length", [0, 1, 124, 125, 126, 127, 255, 256, 65535, 65536, 65537]
)


@LENGTHS
@pytest.mark.parametrize("mask_bit", [0, 0x80])
def test_a_length_takes_as_few_bytes_as_it_can(length: int, mask_bit: int) -> None:
    assert pack_header(0x82, length, mask_bit) == header(0x82, length, None, mask_bit)


def test_a_length_of_63_bits_is_written() -> None:
    assert pack_header(0x82, 2**63 - 1).hex() == "827f7fffffffffffffff"


@LENGTHS
@pytest.mark.parametrize("head", [0x81, 0x82, 0x01, 0x80, 0x8A, 0xC1])
def test_a_server_s_frame_is_header_and_payload(head: int, length: int) -> None:
    payload = bytes(at & 0xFF for at in range(length))
    assert pack_frame(head, payload, masked=False) == unmasked(head, payload)


@LENGTHS
def test_a_client_s_frame_is_masked_with_a_key_of_its_own(length: int) -> None:
    payload = bytes(at & 0xFF for at in range(length))
    one, other = (pack_frame(0x82, payload, masked=True) for _ in range(2))
    assert read_frame(one) == read_frame(other) == (0x82, True, payload, b"")
    assert len(one) == len(header(0x82, length)) + 4 + length
    begin = len(one) - length
    assert one[begin - 4 : begin] != other[begin - 4 : begin]


def test_a_client_s_frame_uses_the_supply_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking.new_key, "numbers", iter([int.from_bytes(KEY, "little")]))
    assert pack_frame(0x81, b"Hello", masked=True) == masked(0x81, b"Hello", KEY)


@pytest.mark.parametrize("is_client", [False, True])
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Hello", (0x81, b"Hello")),
        ("", (0x81, b"")),
        ("κόσμε☃😀", (0x81, "κόσμε☃😀".encode())),
        (b"Hello", (0x82, b"Hello")),
        (b"", (0x82, b"")),
        (bytearray(b"\xff\0"), (0x82, b"\xff\0")),
        (memoryview(b"abcdef")[1:3], (0x82, b"bc")),
        (300 * "x", (0x81, 300 * b"x")),
    ],
)
def test_str_goes_as_text_and_bytes_go_as_binary(
    message: Any, expected: tuple[int, bytes], is_client: bool
) -> None:
    head, is_masked, payload, rest = read_frame(pack_message(message, is_client))
    assert (head, payload) == expected
    assert is_masked == is_client
    assert not rest


@pytest.mark.parametrize("message", [None, 5, ["a"], {"a": 1}, array.array("I", [1, 2])])
def test_what_is_neither_str_nor_bytes_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError, match=type(message).__name__):
        pack_message(message, False)


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        pack_message("\ud83d", False)


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
@pytest.mark.parametrize("is_masked", [False, True])
def test_a_frame_in_two_pieces_is_the_same_frame(size: int, is_masked: bool) -> None:
    payload = bytes(range(256)) * 256 + b"x"
    first, second = pack_apart(0x82, payload[:size], is_masked)
    assert len(second) == size
    assert read_frame(first + second) == (0x82, is_masked, payload[:size], b"")
    if not is_masked:
        assert first + second == pack_frame(0x82, payload[:size], False)


def test_bytes_are_not_copied() -> None:
    data = b"some bytes"
    assert as_bytes(data) is data


@pytest.mark.parametrize(
    "view",
    [
        memoryview(array.array("I", [1, 2, 3])),
        memoryview(b"abcdef")[::2],
        memoryview(b"ab")[::-1],
    ],
    ids=["of wider items", "with steps", "backwards"],
)
def test_a_view_that_is_not_plain_bytes_is_a_type_error(view: memoryview) -> None:
    with pytest.raises(TypeError, match="contiguous and of bytes"):
        as_bytes(view)


def test_a_view_of_bytes_of_any_type_is_taken() -> None:
    assert as_bytes(memoryview(array.array("b", [-1, 1]))) == b"\xff\x01"


# ---- Frame ----

FLAGS = st.fixed_dictionaries({name: st.booleans() for name in ("fin", "rsv1", "rsv2", "rsv3")})
KEYS = st.sampled_from([b"", KEY, b"\0\0\0\0"])


@given(st.integers(0, 15), st.binary(max_size=125), FLAGS, KEYS)
def test_a_frame_packs_to_its_bytes(
    opcode: int, payload: bytes, flags: dict[str, bool], key: bytes
) -> None:
    flags["fin"] = flags["fin"] or opcode >= 8
    frame = Frame(opcode, payload, **flags, masking_key=key)
    bits = (flags["fin"], flags["rsv1"], flags["rsv2"], flags["rsv3"])
    head = sum(0x80 >> at for at, bit in enumerate(bits) if bit) + opcode
    assert frame.head == head
    assert frame.pack() == (masked(head, payload, key) if key else unmasked(head, payload))
    assert read_frame(frame.pack()) == (head, bool(key), payload, b"")


@LENGTHS
def test_a_large_frame_packs_to_its_bytes(length: int) -> None:
    payload = bytes(length)
    assert Frame(Opcode.BINARY, payload).pack() == unmasked(0x82, payload)
    assert Frame(Opcode.BINARY, payload, masking_key=KEY).pack() == masked(0x82, payload)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Frame(16), "opcode 16"),
        (lambda: Frame(-1), "opcode -1"),
        (lambda: Frame(1, b"", masking_key=b"abc"), "masking key of 3 bytes"),
        (lambda: Frame(1, b"", masking_key=b"abcde"), "masking key of 5 bytes"),
        (lambda: Frame(Opcode.PING, b"", fin=False), "fragmented control frame"),
        (lambda: Frame(0xB, b"", fin=False), "fragmented control frame"),
        (lambda: Frame(Opcode.PING, bytes(126)), "control frame of 126 bytes"),
    ],
)
def test_a_frame_that_could_not_be_sent_is_not_made(
    make: Callable[[], Frame], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        make()


@pytest.mark.parametrize("head", range(256))
def test_a_first_byte_and_a_payload_are_a_frame(head: int) -> None:
    if head & 0x88 == 0x08:
        with pytest.raises(ValueError, match="fragmented control frame"):
            Frame.of(head, b"a")
        return
    frame = Frame.of(head, b"a")
    assert (frame.head, frame.payload, frame.masking_key) == (head, b"a", b"")
    assert frame.pack() == unmasked(head, b"a")
    flags = frame.fin, frame.rsv1, frame.rsv2, frame.rsv3
    assert flags == tuple(bool(head & bit) for bit in (0x80, 0x40, 0x20, 0x10))
    assert frame.opcode == head & 0x0F


def test_a_first_byte_makes_no_control_frame_of_over_125_bytes() -> None:
    assert len(Frame.of(0x89, bytes(125)).payload) == 125
    with pytest.raises(ValueError, match="control frame of 126 bytes"):
        Frame.of(0x89, bytes(126))


@given(st.binary(max_size=40), st.integers(1, 50), FLAGS, KEYS)
def test_fragments_carry_the_message_and_its_flags(
    payload: bytes, size: int, flags: dict[str, bool], key: bytes
) -> None:
    whole = Frame(Opcode.TEXT, payload, **flags, masking_key=key)
    parts = list(whole.fragment(size))
    assert b"".join(part.payload for part in parts) == payload
    assert len(parts) == max(1, -(-len(payload) // size))
    assert all(len(part.payload) == size for part in parts[:-1])
    assert [part.opcode for part in parts] == [Opcode.TEXT] + [0] * (len(parts) - 1)
    # The message goes on after its last fragment if it went on after the frame.
    assert [part.fin for part in parts] == [False] * (len(parts) - 1) + [whole.fin]
    for part in parts[1:]:
        assert (part.rsv1, part.rsv2, part.rsv3) == (False, False, False)
    first = parts[0]
    assert (first.rsv1, first.rsv2, first.rsv3) == (whole.rsv1, whole.rsv2, whole.rsv3)
    assert first.masking_key == key
    assert {len(part.masking_key) for part in parts} == {len(key)}


def test_each_fragment_that_is_masked_has_a_key_of_its_own() -> None:
    whole = Frame(Opcode.BINARY, bytes(1000), masking_key=KEY)
    keys = [part.masking_key for part in whole.fragment(10)]
    assert keys[0] == KEY
    assert len(set(keys)) > 90  # of 100 random ones, two may be the same


def test_a_continuation_is_fragmented_into_continuations() -> None:
    parts = list(Frame(Opcode.CONTINUATION, b"abcd").fragment(2))
    assert parts == [Frame(0, b"ab", fin=False), Frame(0, b"cd")]


@pytest.mark.parametrize("size", [0, -1])
def test_fragments_have_at_least_a_byte(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(Frame(Opcode.TEXT, b"a").fragment(size))


def test_a_control_frame_is_never_fragmented() -> None:
    with pytest.raises(ValueError, match="never fragmented"):
        list(Frame(Opcode.PING, b"ab").fragment(1))


def test_frames_are_equal_when_their_bytes_are() -> None:
    frame = Frame(Opcode.TEXT, b"a", rsv1=True, masking_key=KEY)
    same = Frame(1, b"a", rsv1=True, masking_key=KEY)
    assert frame == same
    assert hash(frame) == hash(same)
    others = [
        Frame(Opcode.BINARY, b"a", rsv1=True, masking_key=KEY),
        Frame(Opcode.TEXT, b"b", rsv1=True, masking_key=KEY),
        Frame(Opcode.TEXT, b"a", masking_key=KEY),
        Frame(Opcode.TEXT, b"a", rsv1=True, fin=False, masking_key=KEY),
        Frame(Opcode.TEXT, b"a", rsv1=True),
    ]
    assert frame not in others
    assert len({frame, same, *others}) == 6


def test_a_frame_is_not_equal_to_its_bytes() -> None:
    frame = Frame(Opcode.TEXT, b"a")
    assert frame != frame.pack()


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (Frame(Opcode.TEXT, b"Hello"), "<Frame TEXT fin 5 bytes b'Hello'>"),
        (
            Frame(Opcode.CONTINUATION, b"", fin=False, rsv1=True, masking_key=KEY),
            "<Frame CONTINUATION rsv1 masked 0 bytes b''>",
        ),
        (
            Frame(Opcode.BINARY, 40 * b"a", rsv2=True, rsv3=True),
            f"<Frame BINARY fin rsv2 rsv3 40 bytes b'{32 * 'a'}'...>",
        ),
        (Frame(0xB), "<Frame opcode 0xb fin 0 bytes b''>"),
    ],
)
def test_a_frame_shows_what_it_is(frame: Frame, shown: str) -> None:
    assert repr(frame) == shown


def test_the_plain_numbers_are_those_of_the_opcodes() -> None:
    assert {name: getattr(frames, name) for name in Opcode.__members__} == Opcode.__members__


def test_opcodes_and_close_codes_are_imported_when_they_are_named() -> None:
    assert frames.Opcode is codes.Opcode
    assert frames.CloseCode is codes.CloseCode
    with pytest.raises(AttributeError, match="has no attribute 'Opcodes'"):
        frames.Opcodes  # noqa: B018


@pytest.mark.parametrize("head", [0x81, 0x82])
def test_a_header_of_the_table_is_that_of_its_size(head: int) -> None:
    table = frames.TEXT_HEADERS if head == 0x81 else frames.BINARY_HEADERS
    assert table == tuple(pack_header(head, size) for size in range(126))


@pytest.mark.parametrize("payload", ["text", None, 3, memoryview(b"12345678").cast("I")])
def test_a_payload_that_is_not_bytes_is_a_type_error(payload: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        Frame(Opcode.TEXT, payload)


def test_a_payload_is_a_copy_of_what_can_change() -> None:
    data = bytearray(b"as it was")
    frame = Frame(Opcode.BINARY, data)
    data[:] = b""
    assert frame.payload == b"as it was"
