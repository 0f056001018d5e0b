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
from .extensions import Codec, claims, decode_frame, encoded_room, guard, pack_own
from .frames import RSV1, RSV2, RSV3, Frame, Opcode, as_bytes
from .parser import tables
from .session import Session, State, sendable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        "_decoders",
        "_frame",
        "_frame_codecs",
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
        claimed = claims(codecs)
        self._opcodes = dict(claimed[2])
        self._heads = tables(*claimed)
        self._parser.heads = self._heads[0]
        self._max_frame = max_message
        if not in_parts or self._frame_codecs:
            # A frame is whole in memory for a hook, even if its message never is.
            self._room = encoded_room(max_message)
            if not self._frame_codecs:
                self._room += max_fragments * _FLUSH
            self._parser.room = self._room
        # Of the message and the frame that have begun.
        self._decoders: tuple[Codec, ...] = ()
        self._size = 0
        self._head = 0
        self._frame: bytearray | None = None
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
        try:
            return self._feed(data)
        except BaseException:
            # What was interrupted is lost, and a codec that remembers is out of step.
            if self.state is not _CLOSED:
                self.fail(ProtocolError(1011, "interrupted"))
            raise

    def _feed(self, data: bytes) -> bool:
        self._left = _BUDGET
        if self._rest is not None:
            pieces, final = self._rest
            self._rest = None
            try:
                stop = self._hand_on(pieces, final)
            except ProtocolError as error:
                self.fail(error)
                return False
            if stop and self.state is not _CLOSED:
                self._parser.keep(data)
                return True
        # Parts can be left of what the parser has handed over to the last byte.
        return super().feed(data) or self._rest is not None

    def message(self, head: int, payload: bytes | bytearray) -> bool | None:
        """Take a message of one whole frame. Hot; called by the parser."""
        if self._frame_codecs:
            return self._decode_frame(head, payload)
        if self._in_parts:
            self._begin(head, len(payload))
            return self._decode(bytes(payload), True)
        self._size = 0
        decoders = self._decoders_of(head)
        if decoders:
            pieces = []
            for piece in _decoded(decoders, bytes(payload), True):
                self._count(piece)
                pieces.append(piece)
            payload = b"".join(pieces)
        else:
            self._count(payload)
        if self.state is _CLOSED:
            return True  # by a hook
        return super().message(head & ~_RSV, payload) or self._is_enough()

    def frame_too_big(self, length: int) -> ProtocolError:
        """Return the error for a frame that no message within the limit can have."""
        used = self._room - self._parser.room
        return MessageTooBig(used + length, self._max_frame)

    def frame_began(self, head: int, length: int) -> None:
        """Begin a frame; called by the parser."""
        if self._frame_codecs:
            self._head, self._frame = head, bytearray()
        else:
            self._begin(head, length)

    def frame_part(self, data: bytes | bytearray) -> bool | None:
        """Take the next bytes of a frame; called by the parser."""
        if self._frame is not None:
            self._frame += data
            return False
        return self._decode(bytes(data), self._final and not self._parser.remaining)

    def frame_ended(self) -> bool | None:
        """Take the end of a frame; called by the parser."""
        if self._frame is not None:
            payload, self._frame = self._frame, None
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
        continues = frame.opcode == Opcode.CONTINUATION
        if frame.opcode > Opcode.BINARY or continues is (self._assembly is None):
            raise ProtocolError(1011, f"an extension made a frame of opcode {frame.opcode:#x}")
        self._begin(frame.head, len(frame.payload))
        return self._decode(frame.payload, frame.fin)

    # ---- messages ----

    def _begin(self, head: int, length: int) -> None:
        super().frame_began(head & ~_RSV, length)
        if head & 0x0F != Opcode.CONTINUATION:
            self._size = 0
            self._decoders = self._decoders_of(head)
        if self._frame_codecs:
            self._parser.room = self._room  # of each frame: what they stand for is counted

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

    def _receive_in_place(self, begun: bool) -> None:
        """Do not: what comes is not yet the message."""

    # ---- the end ----

    def fail(self, error: ProtocolError) -> None:
        """Fail the connection, unless a hook has ended it."""
        if self.state is not _CLOSED:
            super().fail(sendable(error))

    def _move(self, event: int) -> None:
        super()._move(event)
        if self.state is _CLOSED:
            self._rest = self._frame = None


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
    """Yield what `data` stands for, after one of them."""
    try:
        for piece in codec.decode(data, final):
            yield as_bytes(piece)
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(1011, "an extension failed") from error
