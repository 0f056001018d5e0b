"""A session with extensions: what stands between the parser and the messages (RFC 6455 §9).

```text
parser -> (frame whole, decode_frame of each codec) -> (decode of each codec) -> assembly
```

Codecs are asked in the reverse of their order, since the last one was applied last. Facts: what
a codec yields can be a thousand times what came, and when messages are handed on in parts the
user may pause in the middle of it. So pieces are asked for one at a time, each is counted at
once, and what is left is asked for in the next `feed`; in the meantime nothing is parsed.
"""

from __future__ import annotations

from ..errors import MessageTooBig, ProtocolError
from .assembly import not_utf8
from .extensions import Codec, claims, decode_frame, encoded_room, guard, pack_own
from .frames import BINARY, CONTINUATION, RSV1, RSV2, RSV3, TEXT, Frame, as_bytes
from .heads import tables
from .session import Session, State, sendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .session import SessionEvents

_CLOSED: State = State.CLOSED
_RSV = RSV1 | RSV2 | RSV3
# Pieces that are decoded in one call of `feed`, in however many frames, so that a peer whose
# bytes become a thousand times as many does not hold the loop; a large one counts as several.
_BUDGET = 64
_PIECE = 64 * 1024
# What a part of a message can be larger by when it is encoded: a block's header, and a flush.
_FLUSH = 16


class ExtendedSession(Session):
    """A session whose messages and frames go through codecs on their way in.

    Args:
        events: See `Session`.
        codecs: Those that were agreed on, in their order.
        client: See `Session`.
        max_message: The limit, for what a message stands for; a frame may have as much, and
            what encoding can add to that.
        max_fragments: See `Session`.
        in_parts: See `Session`.
    """

    __slots__ = (
        "_codec",
        "_decoders",
        "_frame_codecs",
        "_gathered",
        "_head",
        "_heads",
        "_left",
        "_max_frame",
        "_message_codecs",
        "_opcodes",
        "_rest",
        "_size",
    )

    def __init__(
        self,
        events: SessionEvents,
        codecs: Sequence[Codec],
        *,
        client: bool,
        max_message: int,
        max_fragments: int,
        in_parts: bool = False,
    ) -> None:
        super().__init__(
            events,
            client=client,
            max_message=max_message,
            max_fragments=max_fragments,
            in_parts=in_parts,
        )
        last_first = tuple(reversed(codecs))
        self._frame_codecs = tuple(codec for codec in last_first if codec.codes_frames)
        self._message_codecs = tuple(codec for codec in last_first if codec.codes_messages)
        # The only one, if it decodes whole messages and nothing else does: nearly always.
        alone = len(self._message_codecs) == 1 and not (self._frame_codecs or in_parts)
        self._codec = self._message_codecs[0] if alone else None
        claimed = claims(codecs)
        self._opcodes = dict(claimed[2])
        self._heads = tables(*claimed)
        self.heads = self._heads[0]
        self._max_frame = max_message
        if not in_parts or self._frame_codecs:
            # A frame is whole in memory for a hook, even if its message never is.
            self._room = encoded_room(max_message)
            if not self._frame_codecs:
                self._room += max_fragments * _FLUSH
            self.room = self._room
        # Of the message and the frame that have begun.
        self._decoders: tuple[Codec, ...] = ()
        self._size = 0
        self._head = 0
        self._gathered: bytearray | None = None
        # What is still to be asked for, and whether the message ends with it.
        self._rest: tuple[Iterator[bytes], bool] | None = None
        self._left = _BUDGET  # of this `feed`
        for codec in codecs:
            codec.send_frame = self.send_frame

    def send_frame(self, frame: Frame) -> None:
        """Send a frame of a codec's own; called by it."""
        if self.state is State.OPEN:
            self._events.write(pack_own(frame, self._frame_codecs, self.client))

    # ---- from the parser ----

    def feed(self, data: bytes) -> bool:
        """Take the next bytes from the peer, once what was left of a message is handed on."""
        self._left = _BUDGET
        try:
            if self._rest is not None and self._waits():
                self.keep(data)
                return True
            # Parts can be left of what the parser has handed over to the last byte.
            return Session.feed(self, data) or self._rest is not None
        except BaseException:
            # What was interrupted is lost, and a codec that remembers is out of step.
            if self.state is not _CLOSED:
                self.fail(ProtocolError(1011, "interrupted"))
            raise

    def _waits(self) -> bool:
        """Hand on what was left; return whether what comes now has to wait behind it."""
        assert self._rest is not None
        pieces, final = self._rest
        self._rest = None
        try:
            stop = self._hand_on(pieces, final)
        except ProtocolError as error:
            self.fail(error)
        return self.state is not _CLOSED and bool(stop)

    def message(self, head: int, payload: bytes | bytearray) -> bool | None:
        """Take a message of one whole frame. Hot; called by the parser."""
        codec = self._codec
        decoded: bytes | Iterable[bytes] | None
        if codec is not None:
            try:
                decoded = codec.decode_whole(head & 0x0F, head & _RSV, bytes(payload))
            except ProtocolError:
                raise
            except Exception as error:
                raise ProtocolError(1011, "an extension failed") from error
        elif self._frame_codecs:
            return self._decode_frame(head, payload)
        elif self._in_parts:
            self._begin(head, len(payload))
            return self._decode(bytes(payload), True)
        else:
            decoders = self._decoders_of(head)
            decoded = _decoded(decoders, bytes(payload), True) if decoders else None
        if isinstance(decoded, bytes):
            # As `_count` says, without its call: what comes at once is one piece.
            self._left -= 1
            payload = decoded
            if len(payload) > self._max_message:
                raise MessageTooBig(len(payload), self._max_message)
        else:
            payload = self._joined(decoded, payload)
        if self.state is _CLOSED:
            return True  # by a hook
        # As `Session.message`, without its call.
        deliver = self._deliver
        if head & 0x0F == TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(error.reason, error.start) from None
            stop = deliver(text)
        else:
            stop = deliver(bytes(payload))
        return stop or self._left <= 0 or self.state is _CLOSED

    def _joined(
        self, decoded: Iterable[bytes] | None, payload: bytes | bytearray
    ) -> bytes | bytearray:
        """Return what a message stands for: itself, if it was not decoded."""
        self._size = 0
        if decoded is None:
            self._count(payload)
            return payload
        pieces = []
        for piece in _checked(decoded):
            self._count(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def frame_too_big(self, length: int) -> ProtocolError:
        """Return the error for a frame that no message within the limit can have."""
        used = self._room - self.room
        return MessageTooBig(used + length, self._max_frame)

    def frame_began(self, head: int, length: int) -> None:
        """Begin a frame; called by the parser."""
        if self._frame_codecs:
            self._head, self._gathered = head, bytearray()
        else:
            self._begin(head, length)

    def frame_part(self, data: bytes | bytearray) -> bool | None:
        """Take the next bytes of a frame; called by the parser."""
        if self._gathered is not None:
            self._gathered += data
            return False
        return self._decode(bytes(data), self._final and not self.remaining)

    def frame_ended(self) -> bool | None:
        """Take the end of a frame; called by the parser."""
        if self._gathered is not None:
            payload, self._gathered = self._gathered, None
            return self._decode_frame(self._head, payload)
        if self._rest is not None:
            return True
        if not self._final or self._assembly is None:
            return False
        return self._decode(b"", True)

    def control(self, head: int, payload: bytes | bytearray) -> bool | None:
        """Take a control frame, which may be an extension's; called by the parser."""
        if head & 0x0F in self._opcodes:
            return self._decode_frame(head, payload)
        return super().control(head, payload)

    # ---- frames ----

    def _decode_frame(self, head: int, payload: bytes | bytearray) -> bool | None:
        came = Frame.of(head, bytes(payload))
        frame = decode_frame(self._frame_codecs, came, self._max_frame)
        if frame is None or self.state is _CLOSED:
            return self.state is _CLOSED
        continues = frame.opcode == CONTINUATION
        if frame.opcode > BINARY or continues is (self._assembly is None):
            raise ProtocolError(1011, f"an extension made a frame of opcode {frame.opcode:#x}")
        self._begin(frame.head, len(frame.payload))
        return self._decode(frame.payload, frame.fin)

    # ---- messages ----

    def _begin(self, head: int, length: int) -> None:
        super().frame_began(head & ~_RSV, length)
        if head & 0x0F != CONTINUATION:
            self._size = 0
            self._decoders = self._decoders_of(head)
        if self._frame_codecs:
            self.room = self._room  # of each frame: what they stand for is counted

    def _decoders_of(self, head: int) -> tuple[Codec, ...]:
        opcode, rsv = head & 0x0F, head & _RSV
        codecs = self._message_codecs
        if len(codecs) == 1:  # nearly always; a generator would cost 0.5 us
            return codecs if guard(codecs[0].begin_decode, opcode, rsv) else ()
        return tuple(codec for codec in codecs if guard(codec.begin_decode, opcode, rsv))

    def _decode(self, data: bytes, final: bool) -> bool | None:
        if self.state is _CLOSED:
            return True  # by a hook
        if self._decoders:
            return self._hand_on(_decoded(self._decoders, data, final), final)
        self._count(data)
        return self._take(data, final) or self._is_enough()

    def _hand_on(self, pieces: Iterator[bytes], final: bool) -> bool | None:
        """Give the assembly what is asked for, until it says to stop or the budget is used."""
        stop: bool | None = False
        while not stop:
            piece = next(pieces, None)
            if self.state is _CLOSED:
                return True  # by a hook
            if piece is None:
                return (final and self._take(b"", True)) or self._is_enough()
            self._count(piece)
            stop = self._take(piece, False) or (self._in_parts and self._is_enough())
        if self.state is not _CLOSED:
            self._rest = pieces, final
        return True

    def _count(self, piece: bytes | bytearray) -> None:
        self._size += len(piece)
        self._left -= len(piece) // _PIECE or 1
        if self._size > self._max_message:
            raise MessageTooBig(self._size, self._max_message)

    def _is_enough(self) -> bool:
        return self._left <= 0 or self.state is _CLOSED

    def _say_large(self, begun: bool) -> None:
        """Do not: what comes may be small for what it stands for."""

    # ---- the end ----

    def fail(self, error: ProtocolError) -> None:
        """Fail the connection, unless a hook has ended it."""
        if self.state is not _CLOSED:
            super().fail(sendable(error))

    def _move(self, event: int) -> None:
        super()._move(event)
        if self.state is _CLOSED:
            self._rest = self._gathered = None


def _decoded(codecs: Sequence[Codec], data: bytes, final: bool) -> Iterator[bytes]:
    """Return what `data` stands for, after all of the codecs."""
    pieces = _pieces(codecs[0], data, final)
    return pieces if len(codecs) == 1 else _decoded_further(codecs[1:], pieces, final)


def _decoded_further(
    codecs: Sequence[Codec], pieces: Iterator[bytes], final: bool
) -> Iterator[bytes]:
    for piece in pieces:
        yield from _decoded(codecs, piece, False)
    if final:
        yield from _decoded(codecs, b"", True)


def _pieces(codec: Codec, data: bytes, final: bool) -> Iterator[bytes]:
    """Return what `data` stands for, after one of them."""
    return _checked(guard(codec.decode, data, final))


def _checked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a codec has decoded."""
    try:
        for piece in pieces:
            yield as_bytes(piece)
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(1011, "an extension failed") from error
