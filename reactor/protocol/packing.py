"""Messages -> frames, where it takes more than one header: extensions, fragments, streams.

A message without extensions is framed by `Connection.send`, and comes nowhere near this. Facts:
what has gone through a compressor that remembers it must be sent, and in that order, so this
is called for what leaves now, and not for what may have to wait; and a message that goes to a
thousand connections is encoded once where nothing depends on who gets it.
"""

from __future__ import annotations

from .extensions import encode_frame, guard
from .frames import FIN, Frame, Opcode, as_bytes, pack_frame
from .masking import new_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .extensions import Codec
    from .messages import Message


class Packer:
    """What frames the messages of one connection.

    Args:
        codecs: The extensions that were agreed on, in their order.
        masked: Whether to mask, as "a client MUST" (RFC 6455 §5.1).
    """

    __slots__ = ("_encoders", "_form", "_frame_codecs", "_head", "_masked", "_message_codecs")

    def __init__(self, codecs: Sequence[Codec], masked: bool) -> None:
        self._masked = masked
        self._message_codecs = tuple(codec for codec in codecs if codec.codes_messages)
        self._frame_codecs = tuple(codec for codec in codecs if codec.codes_frames)
        keys = tuple((codec.extension.name, codec.key) for codec in codecs)
        alone = masked or any(key is None for _, key in keys)
        # What the bytes of a message depend on, besides the message; `None` if there is more.
        self._form = None if alone else keys
        # Of the message that has begun.
        self._head = 0
        self._encoders: tuple[Codec, ...] = ()

    def pack(self, message: Message, compress: bool | None) -> bytes:
        """Return a message as one frame.

        Args:
            message: Keeps its form, if that is the same for other connections.
            compress: What its sender wishes; `None` leaves it to the extensions.

        Raises:
            ProtocolError: An extension has failed.
        """
        if self._form is None:
            return self._pack(message, compress)
        form = self._form, compress
        packed = message.forms.get(form)
        if packed is None:
            packed = message.forms[form] = self._pack(message, compress)
        return packed

    def _pack(self, message: Message, compress: bool | None) -> bytes:
        codecs = self._message_codecs
        if len(codecs) == 1 and not self._frame_codecs:
            return guard(self._pack_by, codecs[0], message, compress)  # type: ignore[no-any-return]
        self.begin(message.opcode, len(message.payload), compress)
        if not (self._encoders or self._frame_codecs or self._masked):
            return message.pack()
        return self.part(message.payload, True)

    def _pack_by(self, codec: Codec, message: Message, compress: bool | None) -> bytes:
        """Do what `begin` and `part` do, with one call for six, where there is one codec."""
        payload = message.payload
        rsv = _begun(codec, message.opcode, len(payload), compress)
        if rsv is None:
            return message.pack(self._masked)
        return pack_frame(
            FIN | rsv | message.opcode, _encoded(codec, payload, True), self._masked
        )

    def begin(self, opcode: int, size: int | None, compress: bool | None) -> None:
        """Begin a message.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`.
            size: Its bytes, or `None` if they are not known yet.
            compress: As for `pack`.

        Raises:
            ProtocolError: An extension has failed.
        """
        encoders = []
        self._head = opcode
        for codec in self._message_codecs:
            rsv = guard(_begun, codec, opcode, size, compress)
            if rsv is not None:
                self._head |= rsv
                encoders.append(codec)
        self._encoders = tuple(encoders)

    def part(self, data: bytes, final: bool) -> bytes:
        """Return the next part of the message that has begun, as a frame.

        Args:
            data: The part.
            final: Whether it is the last.

        Returns:
            The frame; `b""` if the extensions have kept the part for later.

        Raises:
            ProtocolError: An extension has failed.
        """
        had = bool(data)
        for codec in self._encoders:
            data = guard(_encoded, codec, data, final)
        if had and not data and not final:
            return b""
        head, self._head = self._head | (FIN if final else 0), int(Opcode.CONTINUATION)
        if self._frame_codecs:
            return self._encode_frame(head, data)
        return pack_frame(head, data, self._masked)

    def _encode_frame(self, head: int, data: bytes) -> bytes:
        frame = encode_frame(self._frame_codecs, Frame.of(head, data))
        frame.masking_key = new_key() if self._masked else b""
        return frame.pack()


def _begun(codec: Codec, opcode: int, size: int | None, compress: bool | None) -> int | None:
    rsv = codec.begin_encode(opcode, size, compress)
    # With any other bits it would leave as another frame.
    if rsv is not None and (isinstance(rsv, bool) or rsv & ~codec.extension.rsv):
        raise ValueError(f"{codec.extension.name} set {rsv!r}, not bits of its own")
    return rsv


def _encoded(codec: Codec, data: bytes, final: bool) -> bytes:
    return as_bytes(codec.encode(data, final))
