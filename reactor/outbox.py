"""What a connection sends that takes more than one header and one write.

A plain message on a plain connection never comes here. There is an outbox where extensions
were agreed on, where large messages go out in fragments, where `onsent` is listened to, and
for as long as a stream is being sent:

```text
send -> room? -> pack -> write             a whole message, while nothing is being streamed
     -> waiting -> pump -> part -> write   an iterable, or a message above `fragment_size`;
                                           and whatever is sent meanwhile
```

Facts: the frames of two messages must not be mixed (RFC 6455 §5.4), so what comes meanwhile
waits. Whether there is room is asked before anything is packed, since what has gone through a
compressor has to be sent. A stream is pulled when the peer has taken what was there, so that a
download of any size holds one part and the write queue. And a generator is the user's code: it
may send, close and raise whenever it is asked, and also when it is closed.
"""

from __future__ import annotations

from collections import deque

from .errors import ProtocolError
from .loop.transport import HIGH_WATER
from .protocol.frames import BINARY, TEXT, as_bytes
from .protocol.messages import Message, as_sendable
from .protocol.packing import Packer
from .protocol.session import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from .loop.reactor import Reactor
    from .loop.tls import Tls
    from .loop.transport import Transport
    from .protocol.extensions import Codec
    from .protocol.session import Session

    # The parts of a message: opcode of the message, bytes of the part, whether it is the last.
    Parts = Iterator[tuple[int, bytes, bool]]

    class Sender(Protocol):
        """What an `Outbox` needs: the connection."""

        @property
        def is_client(self) -> bool:
            """Whether this side masks."""

        @property
        def reactor(self) -> Reactor:
            """The reactor."""

        @property
        def ready_state(self) -> State:
            """Whether it is open."""

        def has_room(self, size: int, before: int) -> bool:
            """Whether there may be `size` bytes more; if not, the policy is applied."""

        def iterable_raised(self, error: Exception) -> None:
            """The iterable of a message has raised: log it."""

        def iterable_failed(self, error: Exception) -> None:
            """It did so inside its message: fail the connection."""

        def packing_failed(self, error: ProtocolError) -> None:
            """An extension has failed: fail the connection."""

        def outbox_emptied(self, owed: bool) -> None:
            """All that waited is written; whether `ondrain` is owed."""

        def message_sent(self, message: Any) -> None:
            """The system has taken all of a message."""


# Parts that are written in one step, so that a peer which takes everything at once does not
# hold the loop.
_BUDGET = 64
# What a message that waits takes besides its payload, in bytes, so that the write queue's limit
# holds for a million of empty ones, or of generators, too.
_COST = 256
# What a frame has at least besides its payload.
_HEADER = 2

# To look up a member of an enum costs 70 ns before Python 3.12, a global 15.
_OPEN: State = State.OPEN

# What is placed where nobody is told: an empty deque has 600 bytes, for each connection.
_NOTHING: deque[tuple[int, object]] = deque()


class _Stream:
    """A message that is being sent in parts.

    Args:
        message: As it was given.
        parts: Its parts.
        size: Its bytes, or `None` if they are not known.
        compress: What its sender wishes.
    """

    __slots__ = ("begun", "compress", "message", "parts", "size")

    def __init__(
        self, message: object, parts: Parts, size: int | None, compress: bool | None
    ) -> None:
        self.message = message
        self.parts = parts
        self.size = size
        self.compress = compress
        self.begun = False


class Outbox:
    """What one connection sends, in order.

    Args:
        sender: The connection.
        transport: Takes the frames.
        session: Knows whether the connection is open.
        codecs: The extensions that were agreed on, in their order.
        fragment_size: Bytes above which a message goes out in fragments, or `None`.
        tells: Whether `message_sent` is to be called.

    Attributes:
        farewell: Code and reason of the Close that is to follow what waits, or `None`.
        crowded: Whether so much waits behind a stream that the peer is not to cause more of it.
        owed: Whether `ondrain` is to be told when nothing waits any more.
        tells: See the argument.
    """

    __slots__ = (
        "_fragment_size",
        "_going_on",
        "_held",
        "_looking",
        "_over",
        "_packer",
        "_placed",
        "_pulling",
        "_rest",
        "_sender",
        "_session",
        "_stream",
        "_transport",
        "_unplaced",
        "_waiting",
        "crowded",
        "farewell",
        "owed",
        "tells",
    )

    def __init__(
        self,
        sender: Sender,
        transport: Transport | Tls,
        session: Session,
        codecs: tuple[Codec, ...],
        fragment_size: int | None,
        tells: bool,
    ) -> None:
        self._sender = sender
        self._transport = transport
        self._session = session
        self._packer = Packer(codecs, sender.is_client)
        self._fragment_size = fragment_size
        self.tells = tells
        self._stream: _Stream | None = None
        self._waiting: deque[tuple[Any, Message | None, bool | None]] | None = None
        self._going_on = self._looking = self._over = self._pulling = False
        # Bytes of what waits; and those that are left of a message that leaves in fragments.
        self._held = self._rest = 0
        self.crowded = False
        # Messages that are written; and those of which it is known where they end.
        self._unplaced: list[object] = []
        self._placed = deque() if tells else _NOTHING
        self.farewell: tuple[int, str] | None = None
        self.owed = False

    @property
    def busy(self) -> bool:
        """Whether a message is being sent in parts, or waits behind one."""
        return self._stream is not None or bool(self._waiting)

    @property
    def size(self) -> int:
        """Bytes of messages that are not written yet, and what it takes to keep them."""
        return self._held + self._rest

    def send(self, message: Any, compress: bool | None) -> bool:
        """Send a message; as `Connection.send`. Hot.

        Raises:
            TypeError: It is nothing that can be sent.
            QueueFull: By the overflow policy "error".
        """
        # What is whole and waits for nothing leaves from here: no `Message` is made of it.
        kind = type(message)
        if (kind is not str and kind is not bytes) or self._stream is not None or self._waiting:
            return self._send_otherwise(message, compress)
        payload: bytes = message.encode() if kind is str else message
        longest = self._fragment_size
        if longest is not None and len(payload) > longest:
            return self._send_otherwise(message, compress)
        sender, transport = self._sender, self._transport
        if self._session.state is not _OPEN or self.farewell is not None:
            return False  # as `ready_state` says, a property that costs 0.2 us
        # Where nothing is queued there is room for anything.
        if transport.buffered and not sender.has_room(len(payload) + _HEADER, 0):
            return False
        try:
            packed = self._packer.pack_payload(1 if kind is str else 2, payload, compress)
        except BaseException as error:
            return self._not_packed(error)
        if self._over:  # a codec has ended the connection
            return False
        corked, waiting = transport.corked, transport.buffered + len(packed)
        if corked is None or waiting > HIGH_WATER:
            room = transport.write(packed)
        else:  # in a handler, this is what `write` does, without its call
            corked.append(packed)
            transport.buffered = waiting
            room = not transport.choked
        transport.tally.messages_sent += 1
        if self.tells:
            self._note(message)
        return room

    def _send_otherwise(self, message: Any, compress: bool | None) -> bool:
        whole = as_sendable(message)
        sender = self._sender
        if sender.ready_state is not _OPEN:
            return False
        size = (0 if whole is None else len(whole) + _HEADER) + (_COST if self.busy else 0)
        if size and not sender.has_room(size, self.size):
            return False
        return self.send_anyway(message, whole, compress)

    def send_anyway(self, message: Any, whole: Message | None, compress: bool | None) -> bool:
        """Send a message, whether the queue has room for it or not.

        Args:
            message: As it was given.
            whole: What `as_sendable` has made of it.
            compress: As for `send`.
        """
        busy = self.busy
        if whole is not None and not busy and not self._is_long(whole):
            return self._write_whole(message, whole, compress)
        if self._waiting is None:
            self._waiting = deque()
        # What was given is kept beside its bytes only if it is still to be told.
        given = message if self.tells or whole is None else whole
        self._waiting.append((given, whole, compress))
        self._hold(_COST + (0 if whole is None else len(whole)))
        if not busy:  # otherwise it is pumped as the peer takes what is there
            self._pump(in_step=False)
        if not self.busy:
            return self._sender.ready_state is State.OPEN and not self._transport.choked
        self.owed = True
        return False

    def _hold(self, size: int) -> None:
        self._held += size
        self.crowded = self._held > HIGH_WATER

    def _is_long(self, message: Message) -> bool:
        return self._fragment_size is not None and len(message) > self._fragment_size

    def _write_whole(self, message: object, whole: Message, compress: bool | None) -> bool:
        try:
            packed = self._packer.pack(whole, compress)
        except BaseException as error:
            return self._not_packed(error)
        if self._over:  # a codec has ended the connection
            return False
        room = self._transport.write(packed)
        self._written(message)
        return room

    # ---- streams ----

    def pump(self) -> None:
        """Write what the peer takes of what waits; the rest when it has taken that."""
        self._pump(in_step=True)

    def _pump(self, *, in_step: bool) -> None:
        # What a generator sends while it is asked waits behind it; and a step has one budget.
        if self._pulling or self._going_on:
            return
        transport = self._transport
        for _ in range(_BUDGET):
            if self._over or transport.closed or transport.broken:
                return
            if not self.busy:
                if self.owed and not in_step:
                    break  # `ondrain` is not to be called inside the user's `send`
                owed, self.owed = self.owed, False
                self._sender.outbox_emptied(owed)
                return
            if transport.choked:
                return
            if self._stream is not None:
                self._send_part(self._stream)
            else:
                assert self._waiting is not None
                self._begin(*self._waiting.popleft())
            if self._sender.reactor.out_of_time:
                break
        self._going_on = True
        self._sender.reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        self.pump()

    def _begin(self, message: Any, whole: Message | None, compress: bool | None) -> None:
        """Begin with what has waited."""
        self._hold(-_COST - (0 if whole is None else len(whole)))
        if whole is None:
            self._stream = _Stream(message, _parts_of(message), None, compress)
            return
        if self._is_long(whole):
            assert self._fragment_size is not None
            self._rest = len(whole)
            parts = _slices(whole, self._fragment_size)
            self._stream = _Stream(message, parts, len(whole), compress)
        else:
            self._write_whole(message, whole, compress)

    def _send_part(self, stream: _Stream) -> None:
        """Ask for a part and write it."""
        part = self._ask(stream)
        if self._stream is not stream:
            self._close(stream.parts)  # it has failed, or has ended the connection itself
            return
        if part is not None:
            self._write_part(stream, *part)
        if self._stream is stream and (part is None or part[2]):
            self._stream = None
            self._written(stream.message, stream.begun)

    def _ask(self, stream: _Stream) -> tuple[int, bytes, bool] | None:
        """Return the next part; `None` if there is none, or none any more."""
        self._pulling = True
        reactor = self._sender.reactor
        began = reactor.clock()
        try:
            return next(stream.parts, None)
        except Exception as error:
            self._sender.iterable_raised(error)
            self._fail(self._sender.iterable_failed, error)
            return None
        except BaseException:
            self._interrupted()
            raise
        finally:
            self._pulling = False
            reactor.took(stream.message, began, reactor.clock())

    def _write_part(self, stream: _Stream, opcode: int, data: bytes, final: bool) -> None:
        try:
            if not stream.begun:
                stream.begun = True
                self._packer.begin(opcode, stream.size, stream.compress)
            packed = self._packer.part(data, final)
        except BaseException as error:
            self._not_packed(error)
            return
        if self._over:
            return
        if stream.size is not None:
            self._rest -= len(data)
        if packed:
            self._transport.write(packed)

    # ---- the end ----

    def _fail(self, tell: Callable[[Any], object], error: Exception) -> None:
        """Send nothing more; say why in the next step, since we may be in the user's `send`."""
        self.farewell = 1011, ""
        self._sender.reactor.call_soon(tell, error)
        self.drop()

    def _not_packed(self, error: BaseException) -> bool:
        """Fail, since an extension has; or since we were interrupted, and then go on so."""
        if not isinstance(error, ProtocolError):
            self._interrupted()
            raise error
        self._fail(self._sender.packing_failed, error)
        return False

    def _interrupted(self) -> None:
        """Fail: of a message that was interrupted nobody knows what is missing."""
        self._fail(self._sender.iterable_failed, InterruptedError("interrupted"))

    def drop(self) -> None:
        """Send nothing more: the connection ends, or is to end now."""
        # First of all, since a generator that is closed can do anything.
        self._over = True
        stream, self._stream = self._stream, None
        waiting, self._waiting = self._waiting, None
        self._held = self._rest = 0
        self.crowded = False
        if stream is not None and not self._pulling:
            self._close(stream.parts)
            self._close(stream.message)  # if no part of it was asked for
        for message, _, _ in waiting or ():
            self._close(message)

    def _close(self, parts: Any) -> None:
        """Close a generator, so that what it holds, as an open file, is closed too."""
        if hasattr(parts, "throw"):
            try:
                parts.close()
            except Exception as error:
                self._sender.iterable_raised(error)

    # ---- onsent ----

    def _written(self, message: object, framed: bool = True) -> None:
        self._transport.tally.messages_sent += framed  # there may have been no part of it
        if self.tells:
            self._note(message)

    def _note(self, message: object) -> None:
        """Note that a message is written, to tell of it when the system has taken it."""
        self._unplaced.append(message)
        if self._transport.settled:
            self._place()
        self._look_later()

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._sender.reactor.call_soon(self._look)

    def _look(self) -> None:
        """Tell of what was written, now that nobody is inside a call of `send`."""
        self._looking = False
        self._place()
        self._tell_sent()

    def _place(self) -> None:
        """Note where that ends, of what leaves, which was written since the last time."""
        end = self._transport.departed + self._transport.buffered
        self._placed.extend((end, message) for message in self._unplaced)
        self._unplaced.clear()

    def _tell_sent(self) -> None:
        """Tell of what the system has taken; called by the transport when it has taken some."""
        transport, placed = self._transport, self._placed
        while placed and not transport.broken:
            if transport.buffered and placed[0][0] > transport.departed:
                transport.moved = self._tell_sent
                return
            self._sender.message_sent(placed.popleft()[1])
            if placed and self._sender.reactor.out_of_time and not transport.closed:
                self._look_later()
                break
        transport.moved = None

    def end(self) -> None:
        """Tell what is still to be told of what was sent: the connection is closed."""
        try:
            self.drop()
            self._look()
        finally:
            # An interrupt must not leave anything to be told behind `onclose`.
            self._unplaced.clear()
            self._placed.clear()


def _parts_of(message: Iterable[Any]) -> Parts:
    """Yield the parts of an iterable, of which all must be text or all binary."""
    parts: Any = iter(message)
    kind = opcode = 0
    try:
        for part in parts:
            if isinstance(part, Message):
                kind, data = part.opcode, part.payload
            elif isinstance(part, str):
                kind, data = TEXT, part.encode()
            else:
                kind, data = BINARY, as_bytes(part)
            if opcode and kind != opcode:
                raise TypeError("a message of text and binary parts")
            opcode = kind
            yield opcode, data, False
    finally:
        if hasattr(parts, "throw"):
            parts.close()
    if opcode:
        # That the last part was the last is known when there is no other.
        yield opcode, b"", True


def _slices(message: Message, size: int) -> Parts:
    payload = message.payload

    def cut(at: int) -> tuple[int, bytes, bool]:
        return message.opcode, payload[at : at + size], at + size >= len(payload)

    return map(cut, range(0, len(payload), size))
