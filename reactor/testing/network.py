"""What lies between the sockets of a `World`: time, other pieces than were sent, loss.

Facts: TCP is a stream. It arrives later, in order, in pieces of any size, whatever was sent in
one; a full buffer is emptied by the reader, and its sender hears of that later still. Who
closes has sent FIN, unless there was something left to read: that is RST, and so is the answer
to what comes for a socket that is closed. RST makes the other side lose what it has not read.
And a cable that is cut says nothing at all.
"""

from __future__ import annotations

import re
import time
from collections import deque

from ..loop.reactor import EVENT_READ, EVENT_WRITE
from ..protocol.answer import http_date
from .memory import MemorySocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from typing import Any, Protocol

    class Course(Protocol):
        """What a route needs of its world."""

        @property
        def now(self) -> float:
            """The time, in seconds."""

        def call_at(self, when: float, fn: Callable[..., object], *args: object) -> None:
            """Call `fn(*args)` at the time `when`."""

        def arrived(self, way: str, data: bytes | None) -> None:
            """Note what has come, and by which way; `b""` for FIN, `None` for RST."""

        def work(self) -> None:
            """Let the time pass that a call of a socket takes."""


_DATE = re.compile(rb"\r\nDate: ([^\r]+)\r\n")
# Up to this size what is cut may come byte by byte.
_SHORT = 32


class Route:
    """A connection, and what lies between its ends; all but the names may be changed later.

    Args:
        course: The world.
        name: What it is called in the world's trace.
        random: Decides; its own, so that one connection does not change another's fate.
        address: Where the client is.
        latency: How long a byte takes from one end to the other, in seconds.
        jitter: What comes on top of that, at most, in seconds; a stream stays in order.
        bandwidth: Bytes in a second, each way, or `None` for any number.
        buffer: Bytes that may be on their way or wait to be read, each way.
        cuts: How often, from 0 to 1, a piece is cut, by its sender, on its way, and by its
            reader.

    Attributes:
        client: The client's end.
        server: The server's end.
        lost: Whether nothing arrives any more: set it to cut the cable.
    """

    def __init__(
        self,
        course: Course,
        name: str,
        random: Random,
        address: tuple[str, int],
        *,
        latency: float,
        jitter: float,
        bandwidth: float | None,
        buffer: int,
        cuts: float,
    ) -> None:
        self.course = course
        self.name = name
        self.random = random
        self.address = address
        self.latency = latency
        self.jitter = jitter
        self.bandwidth = bandwidth
        self.buffer = buffer
        self.cuts = cuts
        self.lost = False
        self.client = WorldSocket(self, works=False)
        self.server = WorldSocket(self, works=True)
        self.client.other, self.server.other = self.server, self.client
        self.client.out = self.server.into = Way(self, f"{name}>", self.server)
        self.server.out = self.client.into = Way(self, f"{name}<", self.client)

    def cut(self) -> bool:
        """Return whether the next piece is to be cut."""
        return self.cuts > 0 and self.random.random() < self.cuts


class Way:
    """One direction of a route.

    Args:
        route: Says what it is like.
        name: What it is called in the trace.
        target: Where it leads.

    Attributes:
        taken: Bytes that were sent, and have not been read yet as far as the sender knows.
    """

    def __init__(self, route: Route, name: str, target: WorldSocket) -> None:
        self.route = route
        self.name = name
        self.target = target
        self.taken = 0
        self._read = 0
        self._telling = False
        self._free = self._last = 0.0

    @property
    def roomy(self) -> bool:
        """Whether there is room for a third of the buffer; systems speak of none below that."""
        room = self.route.buffer - self.taken
        return room > 0 and room * 3 >= self.route.buffer

    def send(self, data: bytes | memoryview) -> int:
        """Take what there is room for, or less; return how many bytes."""
        route = self.route
        count = min(len(data), max(0, route.buffer - self.taken))
        if count > 1 and route.cut():
            count = route.random.randint(1, count)
        self.taken += count
        for piece in self._pieces(bytes(data[:count])):
            self.carry(piece)
        return count

    def _pieces(self, data: bytes) -> list[bytes]:
        route, size = self.route, len(data)
        if size < 2 or not route.cut():
            return [data] if data else []
        count = size if size <= _SHORT else 4
        cuts = sorted({route.random.randrange(1, size) for _ in range(count)})
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, size])]

    def carry(self, data: bytes | None) -> None:
        """Have `data` arrive when it has come all the way; `b""` is FIN, `None` is RST."""
        route = self.route
        begun = max(route.course.now, self._free)
        self._free = begun + len(data or b"") / (route.bandwidth or float("inf"))
        late = route.random.random() * route.jitter if route.jitter else 0.0
        self._last = max(self._last, self._free + route.latency + late)
        route.course.call_at(self._last, self._arrive, data)

    def _arrive(self, data: bytes | None) -> None:
        route, target = self.route, self.target
        if route.lost:
            return
        route.course.arrived(self.name, data)
        if data is None:
            target.fail(ConnectionResetError(104, "Connection reset by peer"))
        elif target.closed:
            if data:
                target.out.carry(None)
        elif data:
            target.inbox += data
            target.changed()
        else:
            target.input_ended = True
            target.changed()

    def read(self, count: int) -> None:
        """Note that so much was read; the sender hears of it in time."""
        route = self.route
        self._read += count
        if self.taken * 2 <= route.buffer:
            self._tell()  # nobody waits for it
        elif not self._telling:
            self._telling = True
            route.course.call_at(route.course.now + route.latency, self._tell)

    def _tell(self) -> None:
        self._telling = False
        if not self.route.lost:
            was_roomy = self.roomy
            self.taken, self._read = self.taken - self._read, 0
            source = self.target.other
            if self.roomy and not was_roomy and isinstance(source, WorldSocket):
                source.changed()


class WorldSocket(MemorySocket):
    """One end of a route.

    Args:
        route: See the attribute.
        works: Whether its calls take the time that the world says.

    Attributes:
        route: Where it leads.
        onchange: Called when something has come, or there is room again; for those who have no
            selector.
    """

    out: Way
    into: Way

    def __init__(self, route: Route, works: bool) -> None:
        super().__init__()
        self.route = route
        self.onchange: Callable[[], object] | None = None
        self._works = works
        self._head: bytes | None = None
        self._sent = 0

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send as much as there is room for, or less.

        Raises:
            BlockingIOError: There is none.
            BrokenPipeError: This end was shut down.
            ConnectionResetError: The other end has closed, and said so.
        """
        self._check()
        if self._works:
            self.route.course.work()
        if self._output_ended:
            raise BrokenPipeError(32, "Broken pipe")
        count = self.out.send(self._dated(data))
        if not count and len(data):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self._sent += count
        return count

    def _dated(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return what is sent with the world's date in a response's head."""
        if self._head is None:
            self._head = bytes(data) if bytes(data[:5]) == b"HTTP/" else b""
            date = _DATE.search(self._head)
            if date is not None:
                ours = http_date(time.gmtime(self.route.course.now)).encode()
                self._head = self._head[: date.start(1)] + ours + self._head[date.end(1) :]
        head = self._head[self._sent :]
        return head + bytes(data[len(head) :]) if head else data

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes; `b""` when the other end has ended.

        Raises:
            BlockingIOError: There is nothing yet.
            ConnectionResetError: The other end has closed, and lost what we have sent.
        """
        if self._works:
            self.route.course.work()
        if len(self.inbox) > 1 and self.route.cut():
            size = min(size, self.route.random.randint(1, len(self.inbox)))
        data = super().recv(size)
        if data:
            self.into.read(len(data))
        return data

    def shutdown(self, how: int) -> None:
        """End what this end sends; what was sent before can still be read."""
        self._check()
        if not self._output_ended:
            self._output_ended = True
            self.out.carry(b"")

    def close(self) -> None:
        """Close this end: FIN, or RST if something has come that was not read."""
        if not self.closed:
            self.closed = True
            if self.failure is None:
                if self.inbox:
                    self.out.carry(None)
                elif not self._output_ended:
                    self.out.carry(b"")
            self.inbox.clear()

    def reset(self) -> None:
        """Close this end by RST: the other loses what it has not read."""
        if not self.closed:
            self.closed = True
            self.out.carry(None)

    def fail(self, error: OSError) -> None:
        """Have all further calls raise; called by the route."""
        if not self.closed and self.failure is None:
            self.inbox.clear()
            self.failure = error
            self.changed()

    def changed(self) -> None:
        """Tell whoever watches; called by the route."""
        watcher: Any = self.watcher
        if watcher is not None:
            watcher.touch(self)
        if self.onchange is not None:
            self.onchange()

    def getpeername(self) -> tuple[str, int]:
        """Return where the client is."""
        return self.route.address

    @property
    def ready(self) -> int:
        """What a selector would say: `EVENT_READ`, `EVENT_WRITE`, both or 0."""
        readable = self.inbox or self.input_ended or self.failure
        writable = self.failure or self._output_ended or self.out.roomy
        return (EVENT_READ if readable else 0) | (EVENT_WRITE if writable else 0)


class WorldListener(MemorySocket):
    """A listening socket in a world.

    Args:
        address: Where it listens.

    Attributes:
        waiting: Connections that were not accepted yet.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.waiting: deque[WorldSocket] = deque()
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        """Return where it listens."""
        return self._address

    def accept(self) -> tuple[WorldSocket, tuple[str, int]]:
        """Return the next connection, and where it comes from.

        Raises:
            BlockingIOError: There is none.
        """
        self._check()
        if not self.waiting:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        sock = self.waiting.popleft()
        return sock, sock.getpeername()

    def arrive(self, sock: WorldSocket) -> None:
        """Have a connection wait; called by the world."""
        self.waiting.append(sock)
        watcher: Any = self.watcher
        if watcher is not None:
            watcher.touch(self)

    def close(self) -> None:
        """Stop listening; those who wait are reset."""
        self.closed = True
        while self.waiting:
            self.waiting.popleft().reset()

    @property
    def ready(self) -> int:
        """`EVENT_READ` if somebody waits."""
        return EVENT_READ if self.waiting else 0
