"""`reactor/protocol/messages.py`: messages as values."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.protocol import frames, masking, messages
from reactor.protocol.frames import Opcode
from reactor.protocol.messages import (
    BinaryMessage,
    Message,
    TextMessage,
    as_message,
    as_sendable,
)

from .wire import KEY, masked, read_frame, unmasked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESSAGES = st.one_of(st.text().map(TextMessage), st.binary().map(BinaryMessage))


# ---- what a message is ----


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("", b""),
        ("κόσμε☃😀", "κόσμε☃😀".encode()),
        (b"", b""),
        ("κόσμε☃😀".encode(), "κόσμε☃😀".encode()),
        (bytearray(b"Hello"), b"Hello"),
        (memoryview(b"abcdef")[1:3], b"bc"),
        (b"a\0\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "a\0\ud7ff\ue000\U0010ffff".encode()),
    ],
)
def test_a_text_message_is_of_a_str_or_of_bytes_that_are_utf_8(
    text: Any, payload: bytes
) -> None:
    message = TextMessage(text)
    assert (message.opcode, message.payload) == (Opcode.TEXT, payload)
    assert type(message.payload) is bytes


@pytest.mark.parametrize(
    "text",
    [
        *(b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x98"),
        *("\ud800", "a\udfff"),
    ],
)
def test_what_has_no_utf_8_is_no_text_message(text: Any) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        TextMessage(text)


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"", b""),
        (b"\xff\0", b"\xff\0"),
        (bytearray(b"Hello"), b"Hello"),
        (memoryview(b"abcdef")[1:3], b"bc"),
    ],
)
def test_a_binary_message_is_of_bytes(data: Any, payload: bytes) -> None:
    message = BinaryMessage(data)
    assert (message.opcode, message.payload) == (Opcode.BINARY, payload)
    assert type(message.payload) is bytes


WIDER = memoryview(array.array("H", [1, 2]))
GAPS = memoryview(b"abcdef")[::2]


@pytest.mark.parametrize("wrong", [None, 5, ["a"], array.array("B", b"a"), WIDER, GAPS])
@pytest.mark.parametrize("kind", [TextMessage, BinaryMessage])
def test_what_is_neither_text_nor_bytes_is_a_type_error(kind: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"not bytes, bytearray or memoryview|of bytes"):
        kind(wrong)


def test_a_binary_message_is_not_of_a_str() -> None:
    with pytest.raises(TypeError, match="str, not bytes"):
        BinaryMessage("a")  # type: ignore[arg-type]


def test_a_message_does_not_change_with_what_it_was_made_of() -> None:
    source = bytearray(b"before")
    made = [TextMessage(source), BinaryMessage(source), BinaryMessage(memoryview(source)[:6])]
    made.append(Message(Opcode.BINARY, source))
    source[:] = b"behind"
    assert {message.payload for message in made} == {b"before"}


@pytest.mark.parametrize("opcode", [opcode for opcode in range(-1, 18) if opcode not in (1, 2)])
def test_no_other_opcode_makes_a_message(opcode: int) -> None:
    # It would leave as a frame that continues nothing, or as a Close of any length.
    with pytest.raises(ValueError, match=r"opcode .*, not TEXT or BINARY \(RFC 6455 §5\.6\)"):
        Message(opcode, b"x")


def test_a_message_of_an_opcode_has_bytes_for_its_payload() -> None:
    assert Message(1, b"Hello").pack() == TextMessage("Hello").pack()
    assert Message(2, b"Hello").pack() == BinaryMessage(b"Hello").pack()
    with pytest.raises(TypeError, match="str, not bytes"):
        Message(Opcode.TEXT, "Hello")  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [TextMessage(""), BinaryMessage(b"")])
def test_an_empty_message_is_one(message: Message) -> None:
    assert message
    assert len(message) == 0


def test_the_size_of_a_message_is_that_of_its_bytes() -> None:
    assert len(TextMessage("☃")) == 3
    assert len(BinaryMessage(bytes(70_000))) == 70_000


def test_a_message_shows_its_kind_its_size_and_its_beginning() -> None:
    assert repr(TextMessage("Hello")) == "<TextMessage 5 bytes b'Hello'>"
    assert repr(BinaryMessage(bytes(32))) == f"<BinaryMessage 32 bytes {bytes(32)!r}>"
    assert repr(BinaryMessage(bytes(33))) == f"<BinaryMessage 33 bytes {bytes(32)!r}...>"


# ---- its frames ----


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70_000])
def test_a_message_is_one_frame(size: int) -> None:
    for head, message in ((0x81, TextMessage(size * "a")), (0x82, BinaryMessage(bytes(size)))):
        assert message.frame().pack() == unmasked(head, message.payload)
        assert message.pack() == unmasked(head, message.payload)


def test_a_frame_of_a_message_is_masked_if_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "new_key", lambda: KEY)
    assert TextMessage("Hello").frame(mask=True).pack() == masked(0x81, b"Hello", KEY)


def test_each_masked_frame_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes((at, 0, 0, 1)) for at in range(9, 0, -1)]
    monkeypatch.setattr(messages, "new_key", keys.pop)
    monkeypatch.setattr(frames, "new_key", keys.pop)
    message = TextMessage("Hello")
    used = [frame.masking_key for frame in message.fragment(1, mask=True)]
    used += [message.frame(mask=True).masking_key for _ in range(2)]
    assert used == [bytes((at, 0, 0, 1)) for at in range(1, 8)]


def test_a_message_in_fragments_begins_with_its_opcode_and_goes_on_without() -> None:
    packed = [frame.pack() for frame in TextMessage("Hello").fragment(2)]
    assert packed == [unmasked(0x01, b"He"), unmasked(0x00, b"ll"), unmasked(0x80, b"o")]
    assert [frame.pack() for frame in BinaryMessage(b"").fragment(1)] == [unmasked(0x82)]
    assert [frame.pack() for frame in BinaryMessage(b"ab").fragment(2)] == [
        unmasked(0x82, b"ab")
    ]


@pytest.mark.parametrize("size", [0, -1])
def test_fragments_have_at_least_one_byte(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(TextMessage("Hello").fragment(size))


@given(MESSAGES, st.integers(1, 40), st.booleans())
def test_fragments_put_together_are_the_message(
    message: Message, size: int, mask: bool
) -> None:
    parts = [read_frame(frame.pack()) for frame in message.fragment(size, mask)]
    assert b"".join(payload for _, _, payload, _ in parts) == message.payload
    assert {is_masked for _, is_masked, _, _ in parts} == {mask}
    assert all(0 < len(payload) <= size for _, _, payload, _ in parts) or not message.payload
    heads = [head for head, _, _, _ in parts]
    expected = [message.opcode, *(len(parts) - 1) * [0]]
    expected[-1] |= 0x80
    assert heads == expected


def test_a_message_is_packed_once() -> None:
    message = BinaryMessage(bytes(1000))
    assert message.pack() is message.pack()
    assert message.forms == {None: unmasked(0x82, bytes(1000))}


def test_a_message_is_masked_with_a_fresh_key_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [KEY, b"\0\0\0\1"]
    numbers = (int.from_bytes(key, "little") for key in keys)
    monkeypatch.setattr(masking.new_key, "numbers", numbers)
    message = TextMessage("Hello")
    assert message.pack(mask=True) == masked(0x81, b"Hello", KEY)
    assert message.pack(mask=True) == masked(0x81, b"Hello", b"\0\0\0\1")
    assert message.forms == {}


def test_messages_do_not_share_their_forms() -> None:
    one, other = TextMessage("one"), TextMessage("other")
    assert one.pack() == unmasked(0x81, b"one")
    assert other.forms == {}


def test_a_message_has_no_room_for_what_it_is_not() -> None:
    made: list[Any] = [TextMessage("a"), BinaryMessage(b"a"), Message(1, b"a")]
    for message in made:
        with pytest.raises(AttributeError):
            message.compressed = True


# ---- what can be sent whole ----


@pytest.mark.parametrize(
    ("given", "opcode", "payload"),
    [
        ("☃", 1, "☃".encode()),
        ("", 1, b""),
        (b"a", 2, b"a"),
        (bytearray(b"a"), 2, b"a"),
        (memoryview(b"abc")[1:], 2, b"bc"),
    ],
)
def test_str_becomes_text_and_bytes_become_binary(
    given: object, opcode: int, payload: bytes
) -> None:
    message = as_message(given)
    assert message is not None
    assert (message.opcode, message.payload) == (opcode, payload)


def test_a_message_stays_itself() -> None:
    for message in (TextMessage("a"), BinaryMessage(b"a"), Message(1, b"a")):
        assert as_message(message) is message


@pytest.mark.parametrize("other", [None, 5, ["a"], iter("a"), array.array("B", b"a"), object()])
def test_anything_else_is_not_sent_whole(other: object) -> None:
    assert as_message(other) is None


def test_what_looks_like_a_message_and_cannot_be_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        as_message("\ud800")
    for view in (WIDER, GAPS):
        with pytest.raises(TypeError, match="of bytes"):
            as_message(view)


def test_what_can_be_sent_is_whole_or_comes_in_parts() -> None:
    message = BinaryMessage(b"a")
    assert as_sendable(message) is message
    for message_like, packed in (
        ("☃", unmasked(0x81, "☃".encode())),
        (b"a", unmasked(0x82, b"a")),
    ):
        sendable = as_sendable(message_like)
        assert sendable is not None
        assert sendable.pack() == packed
    parts: list[object] = [["a"], (b"a",), iter("a"), (part for part in "a"), [], {"a"}]
    assert [as_sendable(iterable) for iterable in parts] == [None] * len(parts)


async def later() -> AsyncIterator[str]:
    yield "only to those who await it"


@pytest.mark.parametrize(
    "wrong",
    [None, 5, 1.5, {"a": 1}, {}, object(), later(), array.array("B", b"abc")],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_can_be_neither_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError, match=f"^{type(wrong).__name__}, not str, bytes-like"):
        as_sendable(wrong)


def test_what_cannot_be_sent_as_it_is_says_why() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        as_sendable("\ud800")
    with pytest.raises(TypeError, match="of bytes"):
        as_sendable(WIDER)
