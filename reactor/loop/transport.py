"""A non-blocking byte stream with a write queue, over TCP or a unix socket.

Facts: a `send` of a short message costs 1.5 us and nearly always takes all of it, where asking
the selector first costs 1.7 us more, and a step. Two `send`s cost 0.7 us more than one of both.
`recv` as `bytes` is as cheap as into a shared buffer; four of 64 KiB, with a step for each,
cost 60 us more than one of 256 KiB. A socket that is closed with unread input sends RST, and
RST makes the peer throw away what it has not read yet: an answer that explains the end is lost.

So: `write` sends at once and asks for writability only when the kernel takes less than all;
between `cork` and `uncork` what is written is collected, to leave in one `send`; there is one
read for each time that the socket is ready, of 64 KiB and a header, or of more while much is to
come; and `finish` sends what is queued, then FIN, and reads and drops until the peer's FIN,
before it closes; at once only if nothing is queued, nothing is unread, and the caller knows
that nothing will come.
"""

from __future__ import annotations

import socket
import sys
from collections import deque

from .reactor import EVENT_READ, EVENT_WRITE, Pollable, Reactor
from .tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, Union

    Chunk = Union[bytes, bytearray, memoryview]

    class TransportEvents(Protocol):
        """What a `Transport` calls besides its slot `received`."""

        def drained(self) -> None:
            """The queue has fallen to the low-water mark after it was above the high one."""

        def emptied(self) -> None:
            """The queue has become empty; more may be written."""

        def gone(self, error: Exception | None) -> None:
            """The socket is closed; called once, never from inside `write`."""


# With room for the headers: a payload of 64 KiB, which many send, comes in one read.
READ_SIZE = 65 * 1024
# While a large frame comes: what is done with a piece finds it in the processor's caches.
LARGE_READ = 256 * 1024
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
# Small chunks are joined up to this size, so that one `send` takes many of them.
_JOIN_SIZE = 64 * 1024
# How long to wait for the peer's FIN when all is said, in seconds: as long as browsers wait for
# ours. The side that waits is the one that keeps TIME_WAIT.
LINGER = 2.0
# What `finish` reads and drops before it no longer waits for the peer's FIN.
_DISCARD = 4 * READ_SIZE
# What is read at most, in pieces of `READ_SIZE`, of what a peer sent before it was lost.
_LAST_READS = 16
# An embedding program may have SIGPIPE end it; without this flag each lost peer would. PyPy has
# it on Linux, but not its name.
FLAGS = getattr(socket, "MSG_NOSIGNAL", 0x4000 if sys.platform == "linux" else 0)


class Transport(Pollable):
    """A connected, non-blocking stream socket in a reactor.

    Args:
        reactor: Calls it when the socket is ready.
        sock: The socket, which becomes the transport's own; made non-blocking here.
        events: See the attribute.
        received: See the attribute.
        tally: See the attribute; by default one of its own.

    Attributes:
        corked: What is written is collected here, while it is not `None`; only while the
            transport is open.
        received: Called with each piece of input, never empty. A slot, so that another
            function can take over: a state is a function, not a test.
        events: Is told of what happens besides input.
        read_size: The most bytes of one read.
        buffered: Bytes that are written and not yet taken by the kernel.
        choked: Whether `buffered` has been above the high-water mark and not yet fallen to the
            low one.
        broken: Whether something that was written is lost.
        closed: Whether the socket is closed.
        finishing: Whether it ends, or has ended: what is written now is lost.
        departed: Bytes that were `buffered`, and that the kernel has taken, over all the time:
            what is written last has left when this is what `departed + buffered` was then.
        moved: Called, unless it is `None`, when the kernel has taken some of the queue.
        settled: Whether that is so now: always, here.
        tally: What is received and sent, and what is queued, is added to this.
        tls: `None`: what is sent is not encrypted here.
        progress: When the kernel last took bytes of the queue, or the queue began, in seconds
            of the reactor's clock.
    """

    settled = True
    tls: Any = None

    __slots__ = (
        "_backlog",
        "_discarded",
        "_half_close",
        "_input_ended",
        "_interest",
        "_paused",
        "_reactor",
        "broken",
        "buffered",
        "choked",
        "closed",
        "corked",
        "departed",
        "events",
        "finishing",
        "moved",
        "progress",
        "read_size",
        "received",
        "tally",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        events: TransportEvents,
        received: Callable[[bytes], object],
        tally: Tally | None = None,
    ) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._reactor = reactor
        self.events = events
        self._backlog: deque[Chunk] | None = None
        self.corked: list[Chunk] | None = None
        self._interest = 0
        self._paused = self.finishing = False
        self.received = received
        self.tally = Tally() if tally is None else tally
        self.read_size = READ_SIZE
        self.buffered = self.departed = 0
        self.broken = self.choked = self.closed = False
        self.moved: Callable[[], object] | None = None
        self.progress = reactor.now
        reactor.adopt(self, self._ready)
        self._interest = EVENT_READ

    def answers_for(self) -> object:
        """Return whom it serves, who may be to blame when that took long."""
        return self.events

    # ---- in ----

    def _ready(self, mask: int) -> None:
        # Not in the order of the mask's bits: what is queued leaves first, since an answer
        # below it may free the peer.
        if mask != EVENT_READ:
            if mask & EVENT_WRITE:
                self._flush()
            if not mask & EVENT_READ or self._paused or self.closed:
                return
        try:
            data = self.sock.recv(self.read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self.tally.bytes_received += len(data)
            # The interpreter makes the call of a local variable directly, not that of a slot.
            received = self.received
            received(data)
        else:
            self.end_of_input()

    def look(self) -> None:
        """Read what has come already, before the selector is asked."""
        if self._interest & EVENT_READ:
            self._ready(EVENT_READ)

    def end_of_input(self) -> None:
        """Nothing more will come: end; called by TLS too, whose end can come before the FIN."""
        if self.finishing and self.buffered:
            # The peer has said all it had to say, and still reads.
            self._input_ended = True
            self.pause()
        else:
            self._lost(None)

    @property
    def reading(self) -> bool:
        """Whether input is read: it is not paused."""
        return not self._paused

    def pause(self) -> None:
        """Stop reading; the peer is held up when the kernel's buffers are full."""
        self._paused = True
        self._watch(self._interest & ~EVENT_READ)

    def resume(self) -> None:
        """Go on reading."""
        self._paused = False
        if not self.closed:
            self._watch(self._interest | EVENT_READ)

    # ---- out ----

    def write(self, data: Chunk) -> bool:
        """Send `data` now, or as soon as the peer takes it. Hot.

        Returns:
            Whether the queue is below its high-water mark: if not, `drained` follows.
        """
        if self.corked is not None:
            self.corked.append(data)
            self.buffered = size = self.buffered + len(data)
            return self.spill() if size > HIGH_WATER else not self.choked
        if self.finishing:
            self.broken = True
            return False
        if self.buffered:
            return self._queue(data)
        try:
            sent = self.sock.send(data, FLAGS)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.fail(error)
            return False
        self.tally.bytes_sent += sent
        if sent == len(data):
            return True
        self.progress = self._reactor.clock()  # a handler may have taken long
        self.tally.queues[self] = None
        return self._queue(memoryview(data)[sent:])

    def cork(self) -> None:
        """Collect what is written, until `uncork`."""
        if self.corked is None and not self.finishing:
            self.corked = []

    def uncork(self) -> None:
        """Send what was collected, in one piece."""
        corked = self.corked
        self.corked = None
        if corked:
            if len(corked) == 1:
                data = corked[0]
            elif len(corked[-1]) < _JOIN_SIZE:
                data = b"".join(corked)
            else:
                self._send_apart(corked)
                return
            size = len(data)
            queued = self.buffered = self.buffered - size
            if not queued:
                # Nearly always the system takes all of it: then this is what `write` does,
                # without its call, a thirtieth of what an answer costs.
                try:
                    sent = self.sock.send(data, FLAGS)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                except OSError as error:
                    self.fail(error)
                    return
                self.tally.bytes_sent += sent
                self.departed += sent
                if sent == size:
                    return
                data = data[sent:]
            self.write(data)
            self.departed += queued + len(data) - self.buffered  # what was taken at once

    def _send_apart(self, chunks: list[Chunk]) -> None:
        """Send what was collected, but without a copy of what is large, behind the rest."""
        size = sum(map(len, chunks))
        queued = self.buffered = self.buffered - size
        large = chunks.pop()
        self.write(b"".join(chunks))
        self.write(large)
        self.departed += queued + size - self.buffered

    def flush(self) -> None:
        """Send what has been collected so far, and go on collecting."""
        if self.corked:
            self.uncork()
            self.cork()

    def spill(self) -> bool:
        """Send what was collected, since it is much; return whether that was taken."""
        self.flush()
        return self.corked is not None and not self.choked

    def _queue(self, data: Chunk) -> bool:
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(data)
        self.buffered += len(data)
        self.tally.queued += len(data)
        if self.buffered > HIGH_WATER:
            self.choked = True
        self._watch(self._interest | EVENT_WRITE)
        return not self.choked

    def _flush(self) -> None:
        backlog = self._backlog
        assert backlog is not None, "writability is waited for while there is a queue"
        try:
            while backlog:
                chunk = self._next_chunk(backlog)
                sent = self.sock.send(chunk, FLAGS)
                self.buffered -= sent
                self.departed += sent
                self.progress = self._reactor.clock()  # a handler may have taken long
                whole = sent == len(chunk)
                self.tally.queue_moved(self, sent, empty=whole and len(backlog) == 1)
                if not whole:
                    backlog[0] = memoryview(chunk)[sent:]
                    break
                backlog.popleft()
        except (BlockingIOError, InterruptedError):
            pass  # the kernel is full again: wait for the next time
        except OSError as error:
            self.fail(error)
            return
        self._flushed(not backlog)

    def _next_chunk(self, backlog: deque[Chunk]) -> Chunk:
        """Return the head of the queue, with the small chunks behind it joined to it."""
        if len(backlog) == 1 or len(backlog[0]) + len(backlog[1]) > _JOIN_SIZE:
            return backlog[0]
        chunks: list[Chunk] = []
        size = 0
        while backlog and size + len(backlog[0]) <= _JOIN_SIZE:
            size += len(backlog[0])
            chunks.append(backlog.popleft())
        joined = b"".join(chunks)
        backlog.appendleft(joined)
        return joined

    def _flushed(self, empty: bool) -> None:
        if empty:
            self._backlog = None
            self._watch(self._interest & ~EVENT_WRITE)
            if self.finishing:
                self._sent_all()
            else:
                self.events.emptied()
        if self.choked and self.buffered <= LOW_WATER:
            self.choked = False
            if not self.finishing:
                self.events.drained()
        if self.moved is not None:
            self.moved()  # last, since it may write, and end it all

    # ---- the end ----

    def finish(
        self, *, half_close: bool = True, at_once: bool = False, all_read: bool = False
    ) -> None:
        """Send what is queued, then FIN; drop input until the peer's FIN; then close.

        The caller sets the time after which it is cut short by `abort`.

        Args:
            half_close: Whether to send FIN; without it, the peer's is waited for.
            at_once: Whether the peer has nothing more to say. Then it is not waited for: with
                nothing queued and nothing unread, this closes, and calls `gone`.
            all_read: Whether nothing is unread, for all that is known: the last read got less
                than it had asked for.
        """
        if self.finishing:
            return
        self.uncork()
        self._discarded = 0
        if at_once and not self.buffered and not self.broken and self._ends_here(all_read):
            return
        self.finishing = True
        self._half_close, self._input_ended = half_close, False
        self.received = self._discard
        if self._paused:
            self.resume()
        if not self.buffered:
            self._sent_all()

    def abort(self, error: Exception | None = None) -> None:
        """Close now; what is queued is lost. `gone(error)` follows in the next step."""
        if not self.closed:
            self._reactor.release(self)
            self._reactor.call_soon(self.events.gone, error)

    def _ends_here(self, all_read: bool) -> bool:
        """Close, if there is nothing to read; return whether that was so.

        With unread input it would send RST, for which some systems throw away what they have
        not handed to the peer yet: our last words.
        """
        try:
            # To ask in vain is an exception, of 0.8 us.
            data = b"" if all_read else self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            data = b""
        except OSError as error:
            self._lost(error)
            return True
        if data:
            self.tally.bytes_received += len(data)
            self._discarded += len(data)
            return False
        self._lost(None)
        return True

    def _sent_all(self) -> None:
        if self._half_close:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self.fail(error)
        if self._input_ended:
            self._lost(None)

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > _DISCARD:
            self._lost(None)

    def fail(self, error: OSError) -> None:
        """Writing has failed: drop the queue, and read what the peer had sent, before the end.

        Args:
            error: Why; `gone` is told.
        """
        self._drop_queue()
        self.broken = self.finishing = True
        self._reactor.call_soon(self._read_rest, error)

    def _read_rest(self, error: OSError, reads: int = _LAST_READS) -> None:
        # Paused or not: nothing more will come, and nothing else be told.
        later = False
        try:
            while reads and not later:
                data = self._read_last()
                if not data:
                    break
                reads -= 1
                self.tally.bytes_received += len(data)
                self.received(data)
                later = self._reactor.out_of_time
        finally:
            if later:
                self._reactor.call_soon(self._read_rest, error, reads)
            else:
                self._lost(error)

    def _read_last(self) -> bytes:
        try:
            return self.sock.recv(READ_SIZE)
        except OSError:
            return b""  # all is read, or it was closed by what was received

    def _lost(self, error: OSError | None) -> None:
        if not self.closed:
            self._reactor.release(self)
            self.events.gone(error)

    def dispose(self) -> None:
        """Close the socket; called by the reactor."""
        self.closed = self.finishing = True
        self._interest = 0
        # It can be choked with nothing queued: in `emptied`, before `drained` is told.
        if self._backlog is not None or self.corked is not None or self.choked:
            self._drop_queue()
        self.sock.close()

    def _drop_queue(self) -> None:
        self.broken = self.broken or self.buffered > 0
        if self._backlog is not None:
            self.tally.queue_dropped(self, sum(map(len, self._backlog)))
        self._backlog = self.corked = None
        self.buffered = 0
        self.choked = False
        if not self.closed:
            self._watch(self._interest & ~EVENT_WRITE)

    def _watch(self, interest: int) -> None:
        before = self._interest
        if interest == before:
            return
        if not before:
            self._reactor.register(self.sock, interest, self._ready)
        elif not interest:
            self._reactor.unregister(self.sock)
        else:
            self._reactor.modify(self.sock, interest, self._ready)
        self._interest = interest  # last, since another thread's call is refused above


def _ended() -> Transport:
    transport: Any = Transport.__new__(Transport)
    transport.closed = transport.finishing = transport.broken = True
    transport.choked = False
    transport.buffered = transport.departed = transport.read_size = 0
    transport.corked = None
    # As `pause` and `resume` would have it.
    transport._paused = False  # noqa: SLF001
    transport._interest = 0  # noqa: SLF001
    ended: Transport = transport
    return ended


# What a connection has when its own is closed. That one has the connection, whom the log may
# still have to name; if they had each other, only the garbage collector would end them.
ENDED = _ended()
