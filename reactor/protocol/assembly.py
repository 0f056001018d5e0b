"""A message while it arrives: its payload in pieces, until it is whole.

Text goes to an incremental decoder, so that what is not UTF-8 is found in the piece that shows
it. A message is either put together, for `onmessage`, or handed on in the parts in which it
comes, for `onfragment`, and then nothing is kept but the bytes of a character that was cut.
"""

from __future__ import annotations

from codecs import utf_8_decode

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
    """A binary message that is put together.

    Attributes:
        stored: What has come of it; a large frame is received into its place there.
    """

    __slots__ = ("deliver", "stored")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.stored = bytearray()

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Keep a piece; deliver the message with the last."""
        self.stored += data
        if not final:
            return False
        message = bytes(self.stored)
        self.stored = bytearray()  # before the user may need as much again
        return self.deliver(message)


class BinaryParts:
    """A binary message that is handed on in parts."""

    __slots__ = ("deliver",)

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver

    def take(self, data: bytes | bytearray, final: bool) -> bool | None:
        """Hand on a piece, unless it is nothing."""
        return self.deliver(bytes(data), final) if data or final else False
