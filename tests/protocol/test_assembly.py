"""`reactor/protocol/assembly.py`: a message while it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidPayload
from reactor.protocol import assembly
from reactor.protocol.assembly import (
    BinaryParts,
    TextParts,
    WholeBinary,
    WholeText,
    keep_ready,
    not_utf8,
)

from .recorder import byte_by_byte, cut
from .streams import NOT_UTF8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reactor.protocol.frames import BytesLike

PIECES = st.lists(st.integers(0, 200), max_size=8)
KINDS = [WholeText, TextParts, WholeBinary, BinaryParts]


class Told:
    """Notes what it is given; the answers are those that it was told to give."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = iter(answers)

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return next(self.answers, None)


def feed(assembly: Any, pieces: Iterable[BytesLike]) -> list[Any]:
    """Give it pieces, the last of them as the last; return what it has answered."""
    *before, last = pieces
    return [*(assembly.take(piece, False) for piece in before), assembly.take(last, True)]


def given_to(kind: Callable[[Told], Any], pieces: Iterable[BytesLike]) -> list[tuple[Any, ...]]:
    told = Told()
    feed(kind(told), pieces)
    return told.calls


def arrays(pieces: Iterable[bytes]) -> list[bytearray]:
    """Return pieces as they come from under a mask."""
    return [bytearray(piece) for piece in pieces]


# ---- whole ----


@given(st.text(max_size=60), PIECES)
def test_text_is_put_together_from_any_pieces(text: str, places: list[int]) -> None:
    data = text.encode()
    pieces = cut(data, [min(place, len(data)) for place in places])
    assert given_to(WholeText, pieces) == [(text,)]
    assert given_to(WholeText, arrays(pieces)) == [(text,)]


@given(st.binary(max_size=200), PIECES)
def test_bytes_are_put_together_from_any_pieces(data: bytes, places: list[int]) -> None:
    pieces = cut(data, [min(place, len(data)) for place in places])
    for calls in (given_to(WholeBinary, pieces), given_to(WholeBinary, arrays(pieces))):
        assert calls == [(data,)]
        assert type(calls[0][0]) is bytes


@pytest.mark.parametrize("kind", [WholeText, WholeBinary])
def test_a_whole_message_is_delivered_with_its_last_piece_and_stops_only_then(
    kind: Callable[[Told], Any],
) -> None:
    told = Told("stop")
    assembly = kind(told)
    for piece in (b"a", b"", b"b"):
        assert not assembly.take(piece, False)
    assert told.calls == []
    assert assembly.take(b"c", True) == "stop"
    assert len(told.calls) == 1


def test_text_is_kept_in_pieces_of_bounded_size() -> None:
    assembly = WholeText(Told())
    for _ in range(10_000):
        assembly.take(b"a", False)
    assert [len(piece) for piece in assembly._pieces] == [4096, 4096, 10_000 - 2 * 4096]
    assembly.take(5000 * b"b", False)
    assembly.take(b"c", False)
    assert [len(piece) for piece in assembly._pieces[2:]] == [6808, 1]


def test_pieces_of_nothing_leave_no_object() -> None:
    assembly = WholeText(Told())
    for _ in range(10):
        assembly.take(b"", False)
        assembly.take("☃".encode()[:0], False)
    assembly.take(b"\xe2", False)
    assert assembly._pieces == []
    assembly.take(b"\x98", False)
    assembly.take(b"\x83", False)
    assert assembly._pieces == ["☃"]


@pytest.mark.parametrize("kind", [WholeText, WholeBinary])
def test_nothing_of_a_message_is_kept_while_it_is_delivered(
    kind: Callable[[Any], Any],
) -> None:
    def deliver(message: str | bytes) -> None:
        assert len(message) == 10_000
        assert whole._pieces == [] if kind is WholeText else whole._stored.closed

    whole = kind(deliver)
    whole.take(9_999 * b"a", False)
    whole.take(b"a", True)


# ---- memory that is kept ready ----


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the blocks that are asked for, and of a first one that cannot be had."""
    sizes: list[int] = []

    def block(size: int) -> None:
        sizes.append(size)
        if len(sizes) == 1:
            raise MemoryError

    monkeypatch.setattr(assembly, "bytes", block, raising=False)
    monkeypatch.setattr(assembly, "_ready", 0)
    return sizes


def test_the_memory_of_a_few_messages_is_kept_ready_once_for_each_larger_size(
    asked: list[int],
) -> None:
    for length in (1000, 1000, 999, 2000, 1 << 20, 1 << 40, 1 << 62):
        keep_ready(length)
    assert asked == [8000, 16_000, 8 << 20]


# ---- in parts ----


@given(st.text(max_size=60), PIECES)
def test_parts_of_text_are_the_text_cut_between_characters(
    text: str, places: list[int]
) -> None:
    data = text.encode()
    pieces = cut(data, [min(place, len(data)) for place in places])
    calls = given_to(TextParts, arrays(pieces))
    assert "".join(part for part, _ in calls) == text
    assert [final for _, final in calls] == [False] * (len(calls) - 1) + [True]
    assert all(part for part, _ in calls[:-1])
    # Each comes as soon as it can: what is told is all of the whole characters that have come.
    told = Told()
    assembly, came = TextParts(told), b""
    for piece in pieces:
        assembly.take(piece, False)
        came += piece
        assert "".join(part for part, _ in told.calls) == came.decode(errors="ignore")


@given(st.binary(max_size=200), PIECES)
def test_parts_of_bytes_are_the_pieces(data: bytes, places: list[int]) -> None:
    pieces = cut(data, [min(place, len(data)) for place in places])
    calls = given_to(BinaryParts, arrays(pieces))
    parts = [piece for piece in pieces[:-1] if piece]
    assert calls == [*((part, False) for part in parts), (pieces[-1], True)]
    assert all(type(part) is bytes for part, _ in calls)


@pytest.mark.parametrize(("kind", "empty"), [(TextParts, ""), (BinaryParts, b"")])
def test_a_part_of_nothing_is_handed_on_only_as_the_last(
    kind: Callable[[Told], Any], empty: str | bytes
) -> None:
    assert given_to(kind, [b"", b"", b""]) == [(empty, True)]


@pytest.mark.parametrize("kind", [TextParts, BinaryParts])
def test_any_part_may_stop_the_parser(kind: Callable[[Told], Any]) -> None:
    told = Told("stop", None, "stop again")
    answers = feed(kind(told), [b"", b"a", b"b", b"", b"c"])
    assert answers == [False, "stop", None, False, "stop again"]


def test_a_part_keeps_nothing_but_a_cut_character() -> None:
    assembly = TextParts(Told())
    assembly.take(100_000 * b"a" + b"\xf0\x9f\x98", False)
    assert assembly._undecoded == b"\xf0\x9f\x98"
    assembly.take(b"\x80" + 100_000 * b"b", False)
    assert assembly._undecoded == b""


@pytest.mark.parametrize("kind", KINDS)
def test_who_takes_it_can_be_changed_in_mid_message(kind: Callable[[Told], Any]) -> None:
    first, second = Told(), Told("stop")
    assembly = kind(first)
    assembly.take(b"a", False)
    before = list(first.calls)
    assembly.deliver = second
    assert assembly.take(b"b", True) == "stop"
    assert first.calls == before
    assert len(second.calls) == 1


# ---- text that is none ----

TEXTS = pytest.mark.parametrize("kind", [WholeText, TextParts])


@TEXTS
@pytest.mark.parametrize("bad", NOT_UTF8, ids=bytes.hex)
@pytest.mark.parametrize("way", ["at once", "byte by byte", "with what follows"])
def test_bad_text_is_found_in_the_byte_that_makes_it_so(
    kind: Callable[[Told], Any], bad: bytes, way: str
) -> None:
    told = Told()
    assembly = kind(told)
    good = b"ok " + bad[:-1]
    assembly.take(good if way != "byte by byte" else b"ok ", False)
    for octet in byte_by_byte(bad[:-1]) if way == "byte by byte" else ():
        assembly.take(octet, False)
    with pytest.raises(InvalidPayload, match=r"text message: .* at byte [34] ") as error:
        assembly.take(bad[-1:] + (b" and more" if way == "with what follows" else b""), False)
    assert error.value.code == 1007
    assert not any(final for _, final in filter(lambda call: len(call) > 1, told.calls))


@TEXTS
@pytest.mark.parametrize("end", [b"\xc3", b"\xe2\x98", b"\xf0\x9f\x98", b"\xed"])
@pytest.mark.parametrize("way", ["with the last bytes", "in an empty last piece"])
def test_text_that_ends_inside_a_character_is_none(
    kind: Callable[[Told], Any], end: bytes, way: str
) -> None:
    told = Told()
    assembly = kind(told)
    assembly.take(b"ok", False)
    if way == "in an empty last piece":
        assembly.take(end, False)
        end = b""
    with pytest.raises(InvalidPayload, match="unexpected end of data at byte 2 "):
        assembly.take(end, True)
    assert [call for call in told.calls if call[-1] is True or kind is WholeText] == []


@TEXTS
def test_a_surrogate_is_refused_in_its_second_byte(kind: Callable[[Told], Any]) -> None:
    for second in range(0xA0, 0xC0):
        for pieces in ([b"a\xed", bytes((second,))], [b"a\xed" + bytes((second,))]):
            assembly = kind(Told())
            for piece in pieces[:-1]:
                assembly.take(piece, False)
            with pytest.raises(InvalidPayload, match="invalid continuation byte at byte 1 "):
                assembly.take(pieces[-1], False)
    # Its neighbours are characters.
    for octets in (b"\xed\x9f\xbf", b"\xee\x80\x80"):
        told = Told()
        feed(kind(told), byte_by_byte(octets))
        assert "".join(call[0] for call in told.calls) == octets.decode()


@TEXTS
def test_the_place_of_bad_text_is_counted_from_the_start_of_the_message(
    kind: Callable[[Told], Any],
) -> None:
    text = "snow ☃ ".encode() * 100
    for size in (1, 7, 100, 10_000):
        assembly = kind(Told())
        last = len(text) // size * size
        for at in range(0, last, size):
            assembly.take(text[at : at + size], False)
        with pytest.raises(InvalidPayload) as error:
            assembly.take(text[last:] + b"\xff", False)
        why = f"text message: invalid start byte at byte {len(text)} (RFC 6455 §8.1)"
        assert error.value.reason == why


def test_the_error_says_what_is_wrong_where_and_by_which_rule() -> None:
    error = not_utf8("invalid start byte", 7)
    assert str(error) == "text message: invalid start byte at byte 7 (RFC 6455 §8.1) (1007)"
