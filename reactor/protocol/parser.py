"""A byte stream -> frames, incrementally (RFC 6455 §5).

What a frame may begin with is a table (`heads.py`), so that every rule on RSV bits, opcodes,
order and fragmented control frames is one look-up, and is applied before any length is trusted:
first byte, mask bit, length form, limit, and only then is anything kept.

A frame that is cut by the end of the input is not put together again: its payload goes on in
the pieces in which it arrives. So nothing is scanned twice, a payload costs the same in one
piece and in a million, and invalid text is found in the piece that holds it.

Facts: nearly every frame is a whole, short message, and a call in Python costs 60 ns, a tenth
of what it takes to parse one. So what a frame means is said by a subclass, whose hooks are
called on `self`; and a short message of one frame is not even given to a hook, it is delivered.
"""

from __future__ import annotations

from operator import length_hint

from ..errors import ProtocolError
from . import masking
from .assembly import not_utf8
from .frames import MASK, MAX_CONTROL, MAX_SHORT
from .heads import BINARY, CONTROL, ILLEGAL, START, TEXT, WHOLE, why_illegal
from .masking import REPEAT, apply_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Form = tuple[int, int, int, slice]

# To parse a short frame by its second byte: its size, and how its payload is unmasked together
# with its key: what the key is multiplied by, the size of the two, rounded up, and where the
# payload is in there. What is no short frame is larger than all that can come.
_OTHER: Form = (1 << 62, 0, 0, slice(0))
_NOT_SHORT = (_OTHER,) * 256
_SHORT = tuple((2 + length, 0, 0, slice(0)) for length in range(126)) + (_OTHER,) * 130
_SHORT_MASKED = (
    (_OTHER,) * 128
    + tuple(
        (6 + length, REPEAT[(length + 7) >> 2], (length + 7) & ~3, slice(4, 4 + length))
        for length in range(126)
    )
    + (_OTHER,) * 2
)
_from_bytes = int.from_bytes
# A read of more than that can be one frame whose size takes 16 bits, but no shorter one.
_MEDIUM = 126 + 8

# Frames that one call of `feed` hands over at most, so that one peer's burst of tiny frames
# cannot hold the loop: the connection asks for the rest in the next step.
_BUDGET = 64
_RUNS = tuple(map(range, range(_BUDGET + 1)))
# What is being delivered when nothing is.
_NOTHING: Iterator[Any] = iter(())


class FrameParser:
    """Cut a byte stream into frames (RFC 6455 §5.2); what they mean is a subclass's.

    Args:
        masked: Whether frames must be masked (we are the server) or must not be.
        room: See the attribute.

    Attributes:
        ended: Whether nothing more will be parsed.
        fed: How many bytes the last `feed` was given, unless that was one message alone.
        heads: What the next frame may begin with: a table of `heads.py`; set by the subclass.
        room: Bytes that the next data frame may have: what the message's limit leaves; set by
            the subclass.
        remaining: Bytes of payload that the frame which has begun still lacks.
        recalled: Messages that are parsed again instead of being delivered where they were.
    """

    __slots__ = (
        "_coming",
        "_deliver",
        "_key",
        "_mask_bit",
        "_most",
        "_pos",
        "_unparsed",
        "ended",
        "fed",
        "heads",
        "recalled",
        "remaining",
        "room",
    )

    def __init__(self, *, masked: bool, room: int) -> None:
        self._mask_bit = MASK if masked else 0
        self._coming = _NOTHING
        # What the next run may have. Whoever stops at each message, as `recv()` does, would
        # have 64 parsed for each: so it is one behind a stop, and then twice as many each time.
        self._most = _BUDGET
        self.recalled = 0
        self._unparsed = b""
        self._pos = 0
        self._key = b""
        self.ended = False
        self.fed = 0
        self.heads = START
        self.room = room
        self.remaining = 0

    if TYPE_CHECKING:
        # What a subclass has. What returns true stops the parser, which keeps what it has not
        # parsed: closing or pausing from inside a callback takes effect at once.

        # Takes a message of one frame, of a kind `TEXT` or `BINARY`: `str` or `bytes`.
        _deliver: Callable[..., bool | None]

        def message(self, head: int, payload: bytes | bytearray) -> bool | None:
            """Take any other whole, unfragmented data frame."""

        def frame_too_big(self, length: int) -> ProtocolError:
            """Return what to raise for a data frame that has more than `room`."""

        def frame_began(self, head: int, length: int) -> None:
            """Note that a data frame begins: a fragment, or one that is not yet whole."""

        def frame_part(self, data: bytes | bytearray) -> bool | None:
            """Take the next bytes of the payload of the frame that has begun."""

        def frame_ended(self) -> bool | None:
            """Note that the frame that has begun is whole."""

        def control(self, head: int, payload: bytes | bytearray) -> bool | None:
            """Take a whole control frame."""

    def deliver_all(self, messages: Iterator[Any]) -> bool | None:
        """Deliver several messages; a subclass may do it faster.

        Args:
            messages: They; what is left of it was not delivered.

        Returns:
            Whether to stop.
        """
        for message in messages:
            deliver = self._deliver
            if deliver(message):
                return True
        return False

    def fail(self, error: ProtocolError) -> object:
        """Raise what the peer has done wrong; a subclass may end instead."""
        raise error

    def feed(self, data: bytes) -> bool:
        """Parse what `data` and the rest of earlier calls hold. Hot.

        Args:
            data: The next bytes of the stream; `b""` to go on after a stop.

        Returns:
            Whether it stopped with bytes in hand: at its budget, or because a hook said so.

        Raises:
            ProtocolError: The peer broke a rule, and `fail` raises; nothing may be fed after
                that.
        """
        size, masked = len(data), self._mask_bit
        if (
            size < 2
            or (kind := self.heads[data[0]]) < WHOLE
            or self._unparsed
            or self.remaining
            or self.ended
        ):
            return self._feed(data)
        # Nearly every read is one message below 64 KiB, and nothing else. What follows is what
        # `_feed` does with it, without its loop: a tenth of what an echo costs.
        form = (_SHORT_MASKED if masked else _SHORT)[data[1]]
        payload: bytes | bytearray
        try:
            if form[0] == size and self.room >= MAX_SHORT and masking.short is None:
                if masked:
                    _, repeat, width, part = form
                    both = _from_bytes(data[2:], "little")
                    both ^= (both & 0xFFFFFFFF) * repeat
                    payload = both.to_bytes(width, "little")[part]
                else:
                    payload = data[2:]
            elif (
                data[1] == masked + 126
                and size > _MEDIUM
                and (length := data[2] << 8 | data[3]) == size - (8 if masked else 4)
                and length <= self.room
            ):
                payload = apply_mask(data[8:], data[4:8]) if masked else data[4:]
            else:
                return self._feed(data)
            if kind == TEXT:
                try:
                    text = payload.decode()
                except UnicodeDecodeError as error:
                    raise not_utf8(error.reason, error.start) from None
                deliver = self._deliver
                deliver(text)
            elif kind == BINARY:
                deliver = self._deliver
                deliver(bytes(payload))
            else:
                self.message(data[0], payload)
        except ProtocolError as error:
            self.fail(error)
        return False

    def _feed(self, data: bytes) -> bool:
        """Parse what there is, run by run. Hot."""
        self.fed = len(data)
        if self.ended:
            return False
        pos = 0
        if self._unparsed:
            if data:
                data = self._unparsed[self._pos :] + data
            else:
                data, pos = self._unparsed, self._pos
            self._unparsed, self._pos = b"", 0
        size, left = len(data), _BUDGET
        stop: bool | None = False
        try:
            if self.remaining:
                pos, stop = self._go_on(data, pos, size)
            while pos < size and not stop:
                if not left and pos + 1 < size:
                    stop = True
                    break
                begin = pos
                most = min(left, self._most)
                pos, messages, other = self._run(data, pos, size, most)
                if messages:
                    stop, unread = self._hand_over(messages)
                    left -= len(messages) - unread
                    if unread:
                        pos = self._behind(data, begin, len(messages) - unread)
                    if unread or stop or len(messages) == most:
                        continue
                if other is None:
                    if pos == size:
                        break
                    begin = pos
                    pos, stop = self._frame(data, pos, size)  # one byte can be illegal
                    if pos == begin:
                        break
                elif isinstance(other, ProtocolError):
                    raise other
                else:
                    pos, kind, head, payload = other
                    take = self.control if kind == CONTROL else self.message
                    stop = take(head, payload)
                left -= 1
        except ProtocolError as error:
            self.fail(error)
            return False
        if pos == size or self.ended:
            return False
        if stop:
            self._unparsed, self._pos = data, pos
        else:  # the start of a header or of a control frame: do not keep the rest for it
            self._unparsed = data[pos:]
        return bool(stop)

    def _run(self, data: bytes, pos: int, size: int, most: int) -> tuple[int, list[Any], Any]:
        """Parse a run of whole messages that are delivered as they are. Hot.

        Args:
            data: Holds them.
            pos: Where they begin.
            size: Bytes of `data`.
            most: The most messages.

        Returns:
            Where the run ended, its messages, and what ended it: the error, or another whole
            frame as its end, its kind, its first byte and its payload; or `None` for the end of
            the input, for `most`, and for what takes a closer look, by `_frame`.
        """
        messages: list[Any] = []
        masked, compiled, last = self._mask_bit, masking.short, size - 1
        heads, room, forms = self.heads, self.room, _SHORT_MASKED if masked else _SHORT
        short = forms if room >= MAX_SHORT else _NOT_SHORT
        by_hand = masked and compiled is None
        payload: bytes | bytearray
        for _ in _RUNS[most]:
            if pos >= last:
                break
            kind = heads[data[pos]]
            whole, repeat, width, part = short[data[pos + 1]]
            end = pos + whole
            # Nearly every message is a short, whole frame. This branch is what `_frame` does,
            # without its calls: 0.5 us instead of 0.9 (tests/bench/frames.py).
            if end <= size and kind >= CONTROL:
                if by_hand:
                    # The key and the payload as one integer, so that one slice and one
                    # conversion serve both.
                    both = _from_bytes(data[pos + 2 : end], "little")
                    both ^= (both & 0xFFFFFFFF) * repeat
                    payload = both.to_bytes(width, "little")[part]
                elif compiled is None or not masked:
                    payload = data[pos + 2 : end]
                else:
                    payload = compiled(data[pos + 6 : end], data[pos + 2 : pos + 6])
            # The same for those below 64 KiB: 2.0 us for 1 KiB instead of 2.4.
            elif (
                data[pos + 1] == masked + 126
                and kind >= WHOLE
                and pos + 8 <= size
                and 126 <= (length := data[pos + 2] << 8 | data[pos + 3]) <= room
                and (end := pos + (8 if masked else 4) + length) <= size
            ):
                payload = data[end - length : end]
                if masked:
                    payload = apply_mask(payload, data[pos + 4 : pos + 8])
            else:
                break
            if kind == TEXT:
                try:
                    text = payload.decode()
                except UnicodeDecodeError as error:
                    return pos, messages, not_utf8(error.reason, error.start)
                messages.append(text)
            elif kind == BINARY:
                messages.append(bytes(payload))
            else:
                return pos, messages, (end, kind, data[pos], payload)
            pos = end
        return pos, messages, None

    def _hand_over(self, messages: list[Any]) -> tuple[bool | None, int]:
        """Deliver messages; return whether to stop, and how many are left of them."""
        self.recalled = unread = 0
        if len(messages) == 1:
            deliver = self._deliver
            stop = deliver(messages[0])
        else:
            self._coming = coming = iter(messages)
            try:
                stop = self.deliver_all(coming) or self.ended
            finally:
                self._coming = _NOTHING  # which holds no message that was not delivered
            unread = length_hint(coming) + self.recalled
        if unread:
            self._most = 1
        elif self._most < _BUDGET and not stop:
            self._most *= 2
        return stop, unread

    def recall(self) -> None:
        """Parse again what is being delivered, and was not yet: it goes elsewhere."""
        self.recalled += length_hint(self._coming)
        for _ in self._coming:
            pass

    def _behind(self, data: bytes, pos: int, count: int) -> int:
        """Return where so many messages of a run end that begins at `pos`."""
        for _ in range(count):
            length, begin = self._length(data, pos, len(data), WHOLE)
            pos = begin + length
        return pos

    def keep(self, data: bytes) -> None:
        """Keep the next bytes of the stream for a later `feed`."""
        self._unparsed = self._unparsed[self._pos :] + data
        self._pos = 0

    def drop(self) -> None:
        """Drop what is kept: nothing more will be parsed."""
        self.recall()
        self._unparsed, self._pos = b"", 0
        self.ended = True

    def _frame(self, data: bytes, pos: int, size: int) -> tuple[int, bool | None]:
        """Parse one frame of any kind; return where it ended (`pos`: cut), and the stop."""
        head = data[pos]
        kind = self.heads[head]
        if kind == ILLEGAL:
            raise ProtocolError(1002, why_illegal(head, self.heads))
        length, begin = self._length(data, pos, size, kind)
        if begin > size or (kind == CONTROL and begin + length > size):
            return pos, False
        key = data[begin - 4 : begin] if self._mask_bit else b""
        end = begin + length
        if kind == CONTROL or (kind >= WHOLE and end <= size):
            payload = self._unmasked(data[begin:end], key)
            if kind == CONTROL:
                return end, self.control(head, payload)
            return end, self.message(head, payload)
        self.remaining, self._key = length, key
        self.frame_began(head, length)
        return self._go_on(data, begin, size)

    def _length(self, data: bytes, pos: int, size: int, kind: int) -> tuple[int, int]:
        """Return the frame's length and where its payload begins, beyond `size` if cut."""
        if size - pos < 2:
            return 0, size + 1
        second = data[pos + 1]
        # "a server MUST close the connection upon receiving a frame that is not masked", "a
        # client MUST close a connection if it detects a masked frame" (RFC 6455 §5.1).
        if second & MASK != self._mask_bit:
            raise ProtocolError(1002, f"frame {_MASKED[bool(second & MASK)]} (RFC 6455 §5.1)")
        length = second & 0x7F
        if kind == CONTROL and length > MAX_CONTROL:
            raise ProtocolError(1002, "control frame over 125 bytes (RFC 6455 §5.5)")
        begin = pos + 2
        if length >= 126:
            begin += 2 if length == 126 else 8
            if begin > size:
                return 0, begin
            length = _extended_length(data[pos + 2 : begin])
        if kind != CONTROL and length > self.room:
            raise self.frame_too_big(length)
        return length, begin + 4 if self._mask_bit else begin

    def _go_on(self, data: bytes, pos: int, size: int) -> tuple[int, bool | None]:
        """Hand over what `data` holds of the frame that has begun."""
        end = min(size, pos + self.remaining)
        stop: bool | None = False
        if end > pos:
            part = self._unmasked(data[pos:end], self._key)
            self._advance(end - pos)
            stop = self.frame_part(part)
        return end, self._ended() or stop

    def _unmasked(self, payload: bytes, key: bytes) -> bytes | bytearray:
        return apply_mask(payload, key) if key else payload

    def _advance(self, count: int) -> None:
        self.remaining -= count
        turn = count & 3
        if turn and self._key:
            self._key = self._key[turn:] + self._key[:turn]

    def _ended(self) -> bool | None:
        """Say so if the frame that has begun is whole; return whether to stop."""
        if self.remaining:
            return False
        self._key = b""
        return self.frame_ended()


_MASKED = {True: "masked by a server", False: "not masked by a client"}


def _extended_length(field: bytes) -> int:
    """Return the length in the 2 or 8 bytes of `field`, which must need them."""
    length = int.from_bytes(field, "big")
    # "the most significant bit MUST be 0" (RFC 6455 §5.2)
    if length >> 63:
        raise ProtocolError(1002, "frame length with its top bit set (RFC 6455 §5.2)")
    # "the minimal number of bytes MUST be used to encode the length" (RFC 6455 §5.2)
    if length < (126 if len(field) == 2 else 0x10000):
        raise ProtocolError(1002, f"length {length} in {len(field)} bytes (RFC 6455 §5.2)")
    return length
