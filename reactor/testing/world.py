"""A world for tests: servers, clients and a network, on a clock that jumps.

```python
>>> from reactor import Server
>>> from reactor.testing import World
>>> class Echo(Server):
...     def onmessage(self, client, message):
...         client.send(message)
>>> with World(seed=7, latency=(0.01, 0.2)) as world:
...     server = world.server(Echo, ping_interval=20, ping_timeout=20)
...     alice, bob = world.connect(server), world.connect(server)
...     alice.send("hello")
...     world.until(lambda: alice.received)
...     bob.vanish()  # nobody is told: no byte arrives any more
...     world.run(3600)
...     print(alice.received, len(server.clients), world.now - world.began > 3600)
['hello'] 1 True

```

Time jumps from one thing that happens to the next, so an hour takes as long as what happens in
it. What is random, the delays and where the streams are cut, is drawn from the seed: two runs
with one seed are equal, byte for byte, and `digest` proves it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from heapq import heappop, heappush
from random import Random

from ..loop.reactor import Reactor
from ..server import Server
from .clock import FakeClock
from .memory import MemorySelector
from .network import Route, WorldListener
from .visitor import Visitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar, Union, overload

    from ..protocol.extensions import Extension

    S = TypeVar("S", bound=Server)
    V = TypeVar("V", bound="Visitor")
    Range = Union[float, tuple[float, float]]

# What arrived last, for whoever looks for what went wrong.
_RECENT = 64
_LEAST = 1e-9  # of what must not be 0


def _check(least: float, **limits: Range) -> None:
    """Raise `ValueError` if one of these is below `least`, or a range that is none."""
    for name, given in limits.items():
        low, high = given if isinstance(given, tuple) else (given, given)
        if not least <= low <= high or (name == "cuts" and high > 1):
            raise ValueError(f"{name}={given!r}, which cannot be")


class WorldSelector(MemorySelector):
    """A selector whose waiting is the world's going on.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        # Those that may be ready; nobody looks at the others.
        self._touched: dict[Any, None] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch `fileobj`; as `MemorySelector`."""
        key = super().register(fileobj, events, data)
        self.touch(fileobj)
        return key

    def touch(self, fileobj: Any) -> None:
        """Note that `fileobj` may have become ready; called by it."""
        self._touched[fileobj] = None

    def ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now."""
        found = []
        for sock in list(self._touched):
            key = self._keys.get(sock)
            mask = sock.ready & key.events if key and hasattr(sock, "ready") else 0
            if key and mask:
                found.append((key, mask))
            else:
                del self._touched[sock]
        return found

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, let the world go on until something happens."""
        found = self.ready()
        if not found and timeout != 0:
            self._world.wait(timeout)
            found = self.ready()
        return self._world.shuffled(found)


class World:
    """Servers, clients and a network between them; as a context manager, closed at the end.

    A range, as `(0.01, 0.2)`, is what is drawn from for each connection; see `Route` for what
    the network can do.

    Args:
        seed: Of all that is random.
        latency: From one end to the other, in seconds.
        jitter: What comes on top for each piece, at most, in seconds.
        bandwidth: Bytes in a second, or `None` for any number.
        buffers: Bytes that the systems of both sides keep, each way.
        cuts: How often a piece is cut, from 0 to 1.
        work: How long a call of a server's socket takes, in seconds: without it all is done
            in no time, and no `budget` is ever used up.
        budget: What a step is given: see `Reactor.step`.
        start: The first time, in seconds.

    Attributes:
        seed: The seed.
        random: Drawn from for each connection, and for whatever a test likes.
        clock: The clock of all.
        began: The first time.
        reactor: Where the servers live; `new_reactor` makes others.
        budget: See the argument.
        onstep: Called with the reactor after each of its steps, unless it is `None`: for what
            must hold at any time.
        recent: What arrived last: time, way, bytes, or `None` for RST.

    Raises:
        ValueError: One of the numbers cannot be: a time below 0, a bandwidth or a buffer of 0,
            `cuts` above 1, a range that ends before it begins.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency: Range = (0.005, 0.05),
        jitter: Range = 0.01,
        bandwidth: Range | None = None,
        buffers: Range = (16 * 1024, 256 * 1024),
        cuts: float = 0.2,
        work: float = 0.0,
        budget: float | None = None,
        start: float = 1000.0,
    ) -> None:
        _check(0, latency=latency, jitter=jitter, work=work, cuts=cuts)
        _check(_LEAST, bandwidth=1 if bandwidth is None else bandwidth, buffers=buffers)
        self.seed = seed
        self.random = Random(seed)
        self._order = Random(seed)
        self.clock = FakeClock(start)
        self.began = start
        self.budget = budget
        self.onstep: Callable[[Reactor], object] | None = None
        self.recent: deque[tuple[float, str, bytes | None]] = deque(maxlen=_RECENT)
        self._ranges = latency, jitter, bandwidth, buffers
        self._cuts = cuts
        self._work = work
        self._digest = hashlib.sha256()
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = self._routes = 0
        self._moment: float | None = None
        self._listening: dict[Any, WorldListener] = {}
        self._reactors: list[tuple[Reactor, WorldSelector]] = []
        self.reactor = self.new_reactor()

    def __repr__(self) -> str:
        """Return the seed and the time."""
        return f"<World seed={self.seed} {self.now - self.began:.6f} s old>"

    @property
    def now(self) -> float:
        """The time, in seconds; for what happens while the loop is held up, its own."""
        return self.clock.now if self._moment is None else self._moment

    @property
    def digest(self) -> str:
        """A hash of all that has arrived: when, where and what."""
        return self._digest.hexdigest()

    # ---- who is in it ----

    def new_reactor(self) -> Reactor:
        """Return another reactor, which makes its steps when the world goes on."""
        selector = WorldSelector(self)
        reactor = Reactor(selector=selector, clock=self.clock)
        self._reactors.append((reactor, selector))
        return reactor

    def listen(self) -> Any:
        """Return a listening socket, as `Server([world.listen()], ...)` takes it."""
        listener = WorldListener(("world", 1 + len(self._listening)))
        self._listening[listener.getsockname()] = listener
        return listener

    if TYPE_CHECKING:

        @overload
        def server(self, **options: Any) -> Server: ...
        @overload
        def server(self, kind: Callable[..., S], **options: Any) -> S: ...

    def server(self, kind: Callable[..., Any] = Server, **options: Any) -> Any:
        """Return a new server that can be reached in this world.

        Args:
            kind: Its class.
            **options: Its options; its `reactor` is the world's, unless there is another.
        """
        options.setdefault("reactor", self.reactor)
        return kind([self.listen()], **options)

    if TYPE_CHECKING:

        @overload
        def connect(
            self,
            server: Server,
            target: str = ...,
            headers: Mapping[str, str] | None = ...,
            *,
            extensions: Iterable[Extension] = ...,
            request: bytes | None = ...,
        ) -> Visitor: ...
        @overload
        def connect(
            self,
            server: Server,
            target: str = ...,
            headers: Mapping[str, str] | None = ...,
            *,
            kind: Callable[..., V],
            extensions: Iterable[Extension] = ...,
            request: bytes | None = ...,
        ) -> V: ...

    def connect(
        self,
        server: Server,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        kind: Callable[..., Any] = Visitor,
        extensions: Iterable[Extension] = (),
        request: bytes | None = None,
    ) -> Any:
        """Return a new client, which connects to a server of this world.

        Args:
            server: The server.
            target: The path that it asks for.
            headers: Further fields of its request.
            kind: Its class, with the arguments of `Visitor`.
            extensions: Those that it offers.
            request: What it sends instead of a request, as `b""`.

        Raises:
            ValueError: The server is not of this world.
        """
        listener = next(filter(None, map(self._listening.get, server.addresses)), None)
        if listener is None:
            raise ValueError(f"{type(server).__name__}() listens nowhere in this world")
        latency, jitter, bandwidth, buffers = map(self._drawn, self._ranges)
        self._routes += 1
        number = self._routes
        route = Route(
            self,
            str(number),
            Random(self.random.getrandbits(64)),
            (f"10.0.{number >> 8 & 255}.{number & 255}", 40000 + number % 20000),
            latency=latency,
            jitter=jitter,
            bandwidth=bandwidth or None,
            buffer=max(1, int(buffers)),
            cuts=self._cuts,
        )
        visitor = kind(self, route, extensions)
        route.client.onchange = visitor.changed
        visitor.write(visitor.request(target, headers or {}) if request is None else request)
        self.call_later(route.latency, self._knock, visitor, listener)
        return visitor

    def _drawn(self, limits: Any) -> float:
        if isinstance(limits, tuple):
            return self.random.uniform(*limits)
        return limits or 0.0

    def _knock(self, visitor: Visitor, listener: WorldListener) -> None:
        route = visitor.route
        if route.lost or visitor.ended is not None:
            return  # its request for a connection never came, or came for nobody
        if listener.closed:
            error = ConnectionRefusedError(111, "Connection refused")
            self.call_later(route.latency, route.client.fail, error)
        else:
            listener.arrive(route.server)
            self.call_later(route.latency, visitor.connected)

    # ---- going on ----

    def call_at(self, when: float, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` at the time `when`, between the reactors' steps."""
        self._count += 1
        heappush(self._events, (when, self._count, fn, args))

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in so many seconds, between the reactors' steps."""
        self.call_at(self.now + delay, fn, *args)

    def run(self, seconds: float) -> None:
        """Go on for so many seconds."""
        end = self.clock.now + seconds
        while self._go_on(end):
            pass

    def until(self, come_about: Callable[[], object], seconds: float = 60.0) -> None:
        """Go on until `come_about()` is true.

        Raises:
            TimeoutError: It is not, after so many seconds.
        """
        end = self.clock.now + seconds
        while not come_about():
            if not self._go_on(end) and not come_about():
                raise TimeoutError(f"it did not come to that in {seconds:g} s of {self!r}")

    def stall(self, seconds: float) -> None:
        """Hold up the loop: called by a handler, it takes so long."""
        self.clock.advance(seconds)

    def close(self) -> None:
        """Close the reactors, and all that is in them; nothing happens any more."""
        for reactor, _ in self._reactors:
            reactor.close()
        self._events.clear()

    def __enter__(self) -> World:
        """Return the world."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def wait(self, timeout: float | None) -> None:
        """Go on until something happens, for so many seconds at most; called by a selector.

        Raises:
            RuntimeError: Nothing will ever happen.
        """
        end = None if timeout is None else self.clock.now + timeout
        if not self._catch_up() and not self._step():
            when = self._next()
            if when is None and end is None:
                raise RuntimeError(f"nothing will ever happen any more in {self!r}")
            self._jump(min(moment for moment in (when, end) if moment is not None))
            self._catch_up()

    def shuffled(self, found: list[Any]) -> list[Any]:
        """Return what is ready in some order, as systems do; called by a selector."""
        if len(found) > 1:
            self._order.shuffle(found)
        return found

    def arrived(self, way: str, data: bytes | None) -> None:
        """Note what has come; called by the routes."""
        self._digest.update(f"{self.now!r} {way} {-1 if data is None else len(data)} ".encode())
        self._digest.update(data or b"")
        self.recent.append((self.now, way, data))

    def work(self) -> None:
        """Let the time pass that a call of a socket takes; called by the sockets."""
        if self._work:
            self.clock.advance(self._work)

    def _go_on(self, end: float) -> bool:
        """Have the next thing happen; return whether there was one until `end`."""
        if self._catch_up() or self._step():
            return True
        when = self._next()
        self._jump(end if when is None else min(when, end))
        return when is not None and when <= end

    def _step(self) -> bool:
        """Have each reactor that has something to do make a step; return whether one had."""
        stepped = False
        for reactor, selector in self._reactors:
            if reactor.closed or reactor.stepping:
                continue
            if reactor.next_timeout() == 0 or selector.ready():
                stepped = True
                if self.budget is None:
                    reactor.step(0)
                else:
                    reactor.step(0, self.budget)
                if self.onstep is not None:
                    self.onstep(reactor)
        return stepped

    def _next(self) -> float | None:
        """Return when something happens next, or `None` for never."""
        when = self._events[0][0] if self._events else None
        for reactor, _ in self._reactors:
            wait = None if reactor.closed or reactor.stepping else reactor.next_timeout()
            if wait is not None and (when is None or self.clock.now + wait < when):
                when = self.clock.now + wait
        return when

    def _jump(self, when: float) -> None:
        self.clock.advance(max(0.0, when - self.clock.now))

    def _catch_up(self) -> bool:
        """Have all happen whose time has come, each at its own; return whether it was any."""
        events = self._events
        if not events or events[0][0] > self.clock.now:
            return False
        try:
            while events and events[0][0] <= self.clock.now:
                self._moment, _, fn, args = heappop(events)
                fn(*args)
        finally:
            self._moment = None
        return True
