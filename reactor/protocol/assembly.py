"""A message while it arrives: its payload in pieces, until it is whole.

Text goes to an incremental decoder, so that what is not UTF-8 is found in the piece that shows
it. A message is either put together, for `onmessage`, or handed on in the parts in which it
comes, for `onfragment`, and then nothing is kept but the bytes of a character that was cut.

Facts (1 MiB in pieces of 256 KiB, CPython 3.11): `BytesIO` hands out what was written to it as
`bytes` without a copy; a `bytearray` and `bytes` of it cost 60 us more, a list and `join` 40.
More than all copies, over 1 us for each 4 KiB, costs memory that the system gives anew. glibc
maps what is large by itself, but for what is no larger than such a block that was freed before;
and it gives the free end of its heap back when that is over twice as large as the largest of
them (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). It did so after each large message,
since one is there in pieces and whole, decoded and encoded, on some connections at a time. So
`keep_ready` frees a block of several times its size, which was never touched.
"""

from __future__ import annotations

from codecs import utf_8_decode
from io import BytesIO

from ..errors import InvalidPayload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, Union

    # What takes a whole message, or a part and whether it is the last; true stops the parser.
    Deliver = Callable[..., Union[bool, None]]

    class Assembly(Protocol):
        """A message while it arrives.

        Attributes:
            deliver: What takes it.
        """

        deliver: Deliver

        def take(self, data: bytes | bytearray, final: bool) -> bool | None:
            """Take the next piece, deliver what is to be delivered; return whether to stop."""


# Text is kept in pieces of at least so many characters, so that a message that comes byte by
# byte is not held as a million strings.
_PIECE = 4096

# How much memory is kept ready: for a few messages of the largest size that was declared.
_READY, _MOST_READY = 8, 8 * 1024 * 1024
_ready = 0


def keep_ready(length: int) -> None:
    """Have the allocator keep what messages of so many bytes need, instead of giving it back.

    Only glibc takes that from this; elsewhere it does nothing.
    """
    global _ready
    size = min(_READY * length, _MOST_READY)
    if size > _ready:
        _ready = size
        try:
            bytes(size)
        except MemoryError:
            pass  # then nothing is kept: that is slower, and no more


def not_utf8(reason: str, at: int) -> InvalidPayload:
    """Return the error for text that is none."""
    return InvalidPayload(f"text message: {reason} at byte {at} (RFC 6455 §8.1)")


class _Text:
    """What both ways to take text have in common: the decoder."""

    __slots__ = ("_at", "_undecoded", "deliver")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self._undecoded = b""
        self._at = 0

    def _decode(self, data: bytes | bytearray, final: bool) -> str:
        # "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
        # stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
        # Connection_" (RFC 6455 §8.1): in the first piece that shows it.
        undecoded = self._undecoded + data if self._undecoded else data
        try:
            text, used = utf_8_decode(undecoded, "strict", final)
        except UnicodeDecodeError as error:
            raise not_utf8(error.reason, self._at + error.start) from None
        self._at += used
        self._undecoded = rest = bytes(undecoded[used:])
        # These two can only begin a surrogate, yet CPython waits for its third byte.
        if b"\xed\xa0" <= rest < b"\xee":
            raise not_utf8("invalid continuation byte", self._at)
        return text


class WholeText(_Text):
    """A text message that is put together."""

    __slots__ = ("_pieces",)

    def __init__(self, deliver: Deliver) -> None:
        super().__init__(deliver)
        self._pieces: list[str] = []

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Decode and keep a piece; deliver the message with the last."""
        text = self._decode(data, final)
        pieces = self._pieces
        if pieces and len(pieces[-1]) < _PIECE:
            pieces[-1] += text
        elif text:
            pieces.append(text)
        if not final:
            return False
        text = "".join(pieces)
        pieces.clear()  # before the user may need as much again
        return self.deliver(text)


class TextParts(_Text):
    """A text message that is handed on in parts, cut between characters."""

    __slots__ = ()

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Hand on what is decoded, unless that is nothing."""
        text = self._decode(data, final)
        return self.deliver(text, final) if text or final else False


class WholeBinary:
    """A binary message that is put together."""

    __slots__ = ("_stored", "deliver")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self._stored = BytesIO()

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Keep a piece; deliver the message with the last."""
        self._stored.write(data)
        if not final:
            return False
        message = self._stored.getvalue()
        self._stored.close()  # where that was a copy, before the user may need as much again
        return self.deliver(message)


class BinaryParts:
    """A binary message that is handed on in parts."""

    __slots__ = ("deliver",)

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Hand on a piece, unless it is nothing."""
        return self.deliver(bytes(data), final) if data or final else False
