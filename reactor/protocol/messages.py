"""Messages as values, for sending.

A text message is a `str` and a binary one `bytes`, and that is what is received. These classes
are for what those two cannot say: that bytes are UTF-8 already, and that one message goes to
many, so that it is framed once, and compressed once where nothing depends on who gets it.
"""

from __future__ import annotations

from .frames import BINARY, FIN, TEXT, Frame, as_bytes, pack_frame
from .masking import new_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .frames import BytesLike

_OPCODES = frozenset((TEXT, BINARY))


class Message:
    """A message to be sent: what it is, and its payload.

    It can be sent any number of times, to any number of connections.

    Args:
        opcode: `Opcode.TEXT` or `Opcode.BINARY`.
        payload: What it carries, bytes-like; text as UTF-8, which only `TextMessage` checks.

    Raises:
        TypeError: The payload is not bytes-like.
        ValueError: The opcode is another one.

    Attributes:
        opcode: What it is.
        payload: What it carries.
        forms: How it was framed, by what that depends on; kept by whoever sends it.
    """

    __slots__ = ("forms", "opcode", "payload")

    def __init__(self, opcode: int, payload: BytesLike) -> None:
        # Any other would leave as what is no message, as a Close of any length.
        if opcode not in _OPCODES:
            raise ValueError(f"opcode {opcode:#x}, not TEXT or BINARY (RFC 6455 §5.6)")
        self.opcode = opcode
        self.payload = as_bytes(payload)
        self.forms: dict[Any, bytes] = {}

    def frame(self, mask: bool = False) -> Frame:
        """Return the message as one frame, not compressed.

        Args:
            mask: Whether to mask it, as a client must (RFC 6455 §5.3).
        """
        return Frame(self.opcode, self.payload, masking_key=new_key() if mask else b"")

    def fragment(self, size: int, mask: bool = False) -> Iterator[Frame]:
        """Yield the message as frames of at most `size` bytes (RFC 6455 §5.4).

        Args:
            size: Bytes of payload in a frame; at least 1.
            mask: Whether to mask them.

        Raises:
            ValueError: The size is less than 1; with the first.
        """
        return self.frame(mask).fragment(size)

    def pack(self, mask: bool = False) -> bytes:
        """Return the message as the bytes of one frame, not compressed; made once.

        Args:
            mask: Whether to mask it, with a fresh key each time.
        """
        if mask:
            return pack_frame(FIN | self.opcode, self.payload, True)
        packed = self.forms.get(None)
        if packed is None:
            packed = self.forms[None] = pack_frame(FIN | self.opcode, self.payload, False)
        return packed

    def __len__(self) -> int:
        """Return the bytes of the payload."""
        return len(self.payload)

    def __bool__(self) -> bool:
        """Return true: an empty message is one."""
        return True

    def __repr__(self) -> str:
        """Return the size and the first 32 bytes."""
        shown = f"{self.payload[:32]!r}{'...' if len(self.payload) > 32 else ''}"
        return f"<{type(self).__name__} {len(self.payload)} bytes {shown}>"


class TextMessage(Message):
    """A text message, from a `str` or from bytes that are its UTF-8 already.

    Args:
        text: A `str`; or bytes-like, as a JSON encoder makes them.

    Raises:
        TypeError: It is neither.
        ValueError: The bytes are not UTF-8 (RFC 6455 §8.1), or the `str` holds a surrogate.
    """

    __slots__ = ()

    def __init__(self, text: str | BytesLike) -> None:
        if isinstance(text, str):
            payload = text.encode()
        else:
            payload = as_bytes(text)
            payload.decode()
        super().__init__(TEXT, payload)


class BinaryMessage(Message):
    """A binary message.

    Args:
        data: Bytes-like.

    Raises:
        TypeError: It is not.
    """

    __slots__ = ()

    def __init__(self, data: BytesLike) -> None:
        super().__init__(BINARY, data)


def as_message(message: object) -> Message | None:
    """Return what can be sent whole as a `Message`, and `None` for anything else.

    Args:
        message: `str`, bytes-like, or a `Message` already.

    Raises:
        TypeError: It is a view of other items than bytes.
        ValueError: It is a `str` that holds a surrogate, which has no UTF-8.
    """
    if isinstance(message, Message):
        return message
    if isinstance(message, str):
        return TextMessage(message)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return BinaryMessage(message)
    return None


def as_sendable(message: object) -> Message | None:
    """Return what can be sent whole as a `Message`, and `None` for an iterable of parts.

    Raises:
        TypeError: It is neither.
        ValueError: It is a `str` that holds a surrogate, which has no UTF-8.
    """
    whole = as_message(message)
    if whole is None and not _has_parts(message):
        kind = type(message).__name__
        raise TypeError(f"{kind}, not str, bytes-like, a Message or an iterable of parts")
    return whole


def _has_parts(message: Any) -> bool:
    # A mapping is a mistake, as of JSON that was not encoded: its keys are not the message. So
    # is an `array`: its items are numbers.
    if not hasattr(message, "__iter__") or hasattr(message, "keys"):
        return False
    try:
        memoryview(message)
    except TypeError:
        return True
    return False
