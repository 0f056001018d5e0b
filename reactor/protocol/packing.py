"""Messages -> frames, where it takes more than one header: extensions, fragments, streams.

A message without extensions is framed by `Connection.send`, and comes nowhere near this. Facts:
what has gone through a compressor that remembers it must be sent, and in that order, so this
is called for what leaves now, and not for what may have to wait; and a message that goes to a
thousand connections is encoded once where nothing depends on who gets it.
"""

from __future__ import annotations

from struct import Struct

from ..errors import ProtocolError
from .extensions import encode_frame, guard
from .frames import CONTINUATION, FIN, MAX_SHORT, Frame, as_bytes, pack_frame
from .masking import new_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .extensions import Codec
    from .messages import Message

_header = Struct(">BBH").pack  # 70 ns; 140 by `bytes`


class Packer:
    """What frames the messages of one connection.

    Args:
        codecs: The extensions that were agreed on, in their order.
        masked: Whether to mask, as "a client MUST" (RFC 6455 §5.1).
    """

    __slots__ = (
        "_codec",
        "_encoders",
        "_foreign",
        "_form",
        "_frame_codecs",
        "_head",
        "_masked",
        "_message_codecs",
    )

    def __init__(self, codecs: Sequence[Codec], masked: bool) -> None:
        self._masked = masked
        self._message_codecs = tuple(codec for codec in codecs if codec.codes_messages)
        self._frame_codecs = tuple(codec for codec in codecs if codec.codes_frames)
        # The only one, if it codes messages and nothing else: nearly always. And the bits that
        # are not its own.
        alone = len(self._message_codecs) == 1 and not self._frame_codecs
        self._codec = self._message_codecs[0] if alone else None
        self._foreign = ~self._codec.extension.rsv if self._codec is not None else 0
        keys = tuple((codec.extension.name, codec.key) for codec in codecs)
        single = masked or any(key is None for _, key in keys)
        # What the bytes of a message depend on, besides the message; `None` if there is more.
        self._form = None if single else keys
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
        return self.pack_payload(message.opcode, message.payload, compress, message)

    def pack_payload(
        self,
        opcode: int,
        payload: bytes,
        compress: bool | None,
        message: Message | None = None,
    ) -> bytes:
        """Return a whole message as one frame. Hot: one call for six of `begin` and `part`.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`.
            payload: All of it.
            compress: As for `pack`.
            message: The message, if it goes to others, too: it keeps its plain form.

        Raises:
            ProtocolError: An extension has failed.
        """
        codec = self._codec
        if codec is None:
            self.begin(opcode, len(payload), compress)
            if self._encoders or self._frame_codecs:
                return self.part(payload, True)
        else:
            try:
                encoded = codec.encode_whole(opcode, payload, compress)
                if encoded is not None:
                    rsv, data = encoded
                    if rsv & self._foreign or rsv is False:
                        raise _not_its_own(codec, rsv)
                    if type(data) is not bytes:
                        data = as_bytes(data)
                    size, head = len(data), FIN | rsv | opcode
                    if MAX_SHORT < size < 0x10000 and not self._masked:  # as `pack_frame`
                        return _header(head, 126, size) + data
                    return pack_frame(head, data, self._masked)
            except ProtocolError:
                raise
            except Exception as error:
                raise ProtocolError(1011, "an extension failed") from error
        if message is not None:
            return message.pack(self._masked)
        return pack_frame(FIN | opcode, payload, self._masked)

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
        head, self._head = self._head | (FIN if final else 0), CONTINUATION
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
        raise _not_its_own(codec, rsv)
    return rsv


def _not_its_own(codec: Codec, rsv: int) -> ValueError:
    return ValueError(f"{codec.extension.name} set {rsv!r}, not bits of its own")


def _encoded(codec: Codec, data: bytes, final: bool) -> bytes:
    return as_bytes(codec.encode(data, final))
