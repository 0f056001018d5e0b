"""After the opening handshake, for those who handle frames themselves: frames <-> bytes.

What a `Session` does with messages this does with frames: it owns no socket and no clock, bytes
go in by `keep`, and what is to be sent is returned. It keeps the rules of framing (RFC 6455
§5.1 to §5.5: masks, RSV bits, opcodes, order, lengths) and has the extensions' hooks for frames
called; what a message means, what is in a Close and when to answer a ping is its user's.

A frame is parsed when it is asked for, and no further than to its end. So what nobody asks for
stays as it came, to be handed on to a `Session`; and a frame that came before a violation is
delivered before it.
"""

from __future__ import annotations

from ..errors import InvalidState, MessageTooBig, ProtocolError
from .extensions import claims, decode_frame, encode_frame, encoded_room, pack_own
from .frames import BINARY, CLOSE, FIN, Frame, as_bytes, pack_frame
from .heads import tables
from .masking import new_key
from .parser import FrameParser
from .session import check_close, cut_reason, sendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .extensions import Codec


class _OneByOne(FrameParser):
    """A parser that stops behind each frame, and whose input can be taken back."""

    __slots__ = ("_found", "_head", "_inside", "_limit", "_payload", "between")

    def __init__(
        self, heads: tuple[bytes, bytes], *, masked: bool, room: int, limit: int
    ) -> None:
        super().__init__(masked=masked, room=room)
        self.between, self._inside = heads
        self.heads = self.between
        self._limit = limit
        # Of the frame that has begun, and the frame that is whole.
        self._head, self._payload = 0, bytearray()
        self._found: Frame | None = None

    def next(self) -> Frame | None:
        """Return the next frame, or `None` if it is not there yet.

        Raises:
            ProtocolError: The peer broke a rule.
        """
        self.feed(b"")
        frame, self._found = self._found, None
        return frame

    def take_back(self) -> bytes:
        """Return what is not parsed, and forget it."""
        rest = self._unparsed[self._pos :]
        self.drop()
        return rest

    def message(self, head: int, payload: bytes | bytearray) -> bool:
        """Take a whole data frame."""
        return self._whole(head, payload)

    def control(self, head: int, payload: bytes | bytearray) -> bool:
        """Take a control frame."""
        return self._whole(head, payload)

    def frame_too_big(self, length: int) -> ProtocolError:
        """Return the error for a frame that is over the limit."""
        return MessageTooBig(length, self._limit)

    def frame_began(self, head: int, length: int) -> None:
        """Begin a frame."""
        self._head = head
        self.heads = self.between if head >= FIN else self._inside

    def frame_part(self, data: bytes | bytearray) -> None:
        """Keep the next bytes of the frame that has begun."""
        self._payload += data

    def frame_ended(self) -> bool:
        """Take the end of the frame that has begun."""
        payload, self._payload = self._payload, bytearray()
        return self._whole(self._head, payload)

    def _whole(self, head: int, payload: bytes | bytearray) -> bool:
        self._found = Frame.of(head, bytes(payload))
        return True  # stop: the next one is parsed when it is asked for


class Framing:
    """One side of an open WebSocket, frame by frame.

    Args:
        codecs: The extensions that were agreed on, in their order.
        client: Whether this side is the client: it masks, and accepts unmasked frames only.
        max_frame: The most bytes that the payload of a frame may have.
        write: Called with the bytes of a frame that a codec sends by itself.

    Attributes:
        ended: Whether no frame will come any more: the peer's Close has, or it broke a rule.
        close_code: The code of the peer's Close, 1005 for one without; or that of its fault; or
            `None`.
        close_reason: The reason that goes with it.
        close_sent: Whether our Close is among what was packed.
    """

    __slots__ = (
        "_client",
        "_frame_codecs",
        "_limit",
        "_parser",
        "_sending",
        "_write",
        "close_code",
        "close_reason",
        "close_sent",
        "ended",
    )

    def __init__(
        self,
        codecs: Sequence[Codec] = (),
        *,
        client: bool,
        max_frame: int,
        write: Callable[[bytes], object],
    ) -> None:
        self._client = client
        self._write = write
        self._limit = max_frame
        self._frame_codecs = tuple(codec for codec in codecs if codec.codes_frames)
        for codec in codecs:
            codec.send_frame = self._send_frame
        room = encoded_room(max_frame) if self._frame_codecs else max_frame
        heads = tables(*claims(codecs))
        self._parser = _OneByOne(heads, masked=not client, room=room, limit=max_frame)
        self.close_code: int | None = None
        self.close_reason = ""
        self.close_sent = self.ended = False
        # Whether our next data frame has to be a continuation.
        self._sending = False

    # ---- from the peer ----

    def keep(self, data: bytes) -> None:
        """Keep the next bytes from the peer."""
        self._parser.keep(data)

    def next(self) -> Frame | None:
        """Return the next frame, or `None` if there is none yet or there will be none.

        It carries no masking key: the mask has done its duty.

        Raises:
            ProtocolError: The peer broke a rule, or an extension has failed: see `fail`.
        """
        while not self.ended:
            frame = self._parser.next()
            if frame is None:
                return None
            decoded = decode_frame(reversed(self._frame_codecs), frame, self._limit)
            if decoded is not None:
                self._note_close(decoded)
                return decoded
        return None

    def _note_close(self, frame: Frame) -> None:
        if frame.opcode == CLOSE:
            # "If this Close control frame contains no status code, _The WebSocket Connection
            # Close Code_ is considered to be 1005" (RFC 6455 §7.1.5).
            code, reason = frame.payload[:2], frame.payload[2:]
            self.close_code = int.from_bytes(code, "big") if len(code) == 2 else 1005
            self.close_reason = reason.decode("utf-8", "replace")
            self.ended = True

    def take_back(self) -> bytes:
        """Return what has come and was not asked for, to be parsed by somebody else.

        Raises:
            InvalidState: It would begin in the middle of a message, or behind a Close.
        """
        if self.ended or self.close_sent:
            raise InvalidState("the closing handshake has begun")
        if self._parser.remaining or self._parser.heads is not self._parser.between:
            raise InvalidState("a message has been received in part")
        if self._sending:
            raise InvalidState("a message has been sent in part")
        return self._parser.take_back()

    # ---- to the peer ----

    def check(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return copies of the user's frames for `pack`, with the keys that they will have.

        Raises:
            InvalidState: One of them is behind our Close.
            TypeError: One is no `Frame`, or its payload is not bytes-like.
            ValueError: One is masked by a server, or is none that `Frame` allows.
        """
        checked, close_sent = [], self.close_sent
        for frame in frames:
            # "The application MUST NOT send any more data frames after sending a Close frame"
            # (RFC 6455 §5.5.1); nor is there any other that would make sense.
            if close_sent:
                raise InvalidState("a frame behind our Close (RFC 6455 §5.5.1)")
            checked.append(self._checked(frame))
            close_sent = frame.opcode == CLOSE
        return checked

    def pack(self, checked: Sequence[Frame]) -> bytes:
        """Return the bytes of what `check` has returned; they have to be sent.

        Raises:
            ProtocolError: An extension has failed: see `fail`.
        """
        packed = b"".join(map(self._pack, checked))
        if checked:
            self.close_sent = checked[-1].opcode == CLOSE
        for frame in checked:
            if frame.opcode <= BINARY:
                self._sending = not frame.fin
        return packed

    def _checked(self, frame: Frame) -> Frame:
        """Return a copy of a frame, with the key that it will have."""
        if not isinstance(frame, Frame):
            raise TypeError(f"{type(frame).__name__}, not a Frame")
        # "A server MUST NOT mask any frames that it sends to the client", "A client MUST mask
        # all frames that it sends to the server" (RFC 6455 §5.1).
        if frame.masking_key and not self._client:
            raise ValueError("a masked frame from a server (RFC 6455 §5.1)")
        return Frame(
            frame.opcode,
            as_bytes(frame.payload),
            fin=frame.fin,
            rsv1=frame.rsv1,
            rsv2=frame.rsv2,
            rsv3=frame.rsv3,
            masking_key=frame.masking_key or (new_key() if self._client else b""),
        )

    def _pack(self, frame: Frame) -> bytes:
        if frame.opcode > BINARY:
            return frame.pack()
        key = frame.masking_key
        frame = encode_frame(self._frame_codecs, frame)
        frame.masking_key = key
        return frame.pack()

    def _send_frame(self, frame: Frame) -> None:
        """Send a frame of a codec's own; called by it."""
        if not self.close_sent:
            self._write(pack_own(frame, self._frame_codecs, self._client))

    def fail(self, error: ProtocolError) -> bytes:
        """Fail the connection (RFC 6455 §7.1.7): nothing more is parsed.

        Args:
            error: Its code and reason are those of the end, and go to the peer.

        Returns:
            Our Close, to be sent; `b""` if it was sent before.
        """
        error = sendable(error)
        self.close_code, self.close_reason = error.code, error.reason
        self.ended = True
        self._parser.drop()
        if self.close_sent:
            return b""
        self.close_sent = True
        payload = check_close(error.code, cut_reason(error.reason))
        return pack_frame(FIN | CLOSE, payload, self._client)
