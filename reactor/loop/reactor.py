"""Wait for sockets and timers, and call what is due.

Facts: a level-triggered selector forgets nothing, so whatever a step leaves undone is reported
again. `selectors` is portable; `modify` costs 1.7 us, so interest is changed only on need. A
selector that waits is not ended by a signal whose handler only sets a flag (PEP 475), nor by
another thread, but by a byte on a socket that it watches. After `fork`, parent and child share
one epoll instance: what the child unregisters, the parent no longer sees.

So `step` is the primitive and `run` a loop of steps; there is one wake socket, for threads and
signals; and the reactor of a forked child is dead, and says so.

A step, in this order:

1. wait until a socket is ready, a timer is due, or something was scheduled;
2. note the time, once: `now`;
3. call back for each ready socket;
4. call the timers that are due, those whose time has come while the sockets were served not
   yet: what a peer has sent is read before a deadline can say that it sent nothing;
5. call what `call_soon` and `call_soon_threadsafe` had collected before the step.

What a callback schedules runs in the next step.
"""

from __future__ import annotations

import os
import selectors
import socket
from _thread import get_ident
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from weakref import WeakSet

from ..errors import InvalidState
from ..logs import logger
from .timers import Repeating, Timer, TimerQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol

    from .signals import SignalTrap

    class Service(Protocol):
        """What a reactor stops gracefully: a server or a client."""

        def stop(self) -> None:
            """Begin to end; `Reactor.detach` this when it has ended."""

        def close(self) -> None:
            """End at once."""

    class HasFileno(Protocol):
        """A socket, or whatever a selector takes."""

        def fileno(self) -> int:
            """Return the descriptor."""


__all__ = ["EVENT_READ", "EVENT_WRITE", "Pollable", "Reactor"]


class Pollable:
    """A socket that this package owns, registered with a reactor.

    The reactor knows all of them, so that the child of a `fork` can close its copies.
    """

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def dispose(self) -> None:
        """Close the socket; called by the reactor, once, after it is unregistered."""
        self.sock.close()


_alive: WeakSet[Reactor] = WeakSet()


def _abandon_all() -> None:
    for reactor in list(_alive):
        reactor.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


class Reactor:
    """A single-threaded event loop over `selectors`.

    All methods but `call_soon_threadsafe` and `stop` belong to the thread that runs it.

    Args:
        selector: What waits for the sockets; by default the system's best.
        clock: Returns the time in seconds and never goes back; by default `time.monotonic`.

    Attributes:
        now: The time at which the sockets of this step were ready, in seconds of the clock.
    """

    def __init__(
        self,
        *,
        selector: selectors.BaseSelector | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._selector = selectors.DefaultSelector() if selector is None else selector
        self._clock = clock
        self.now = clock()
        self._timers = TimerQueue()
        self._soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._foreign: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._pollables: set[Pollable] = set()
        self._services: dict[Service, None] = {}
        self._signals: SignalTrap | None = None
        self._stepping = self._stopping = self._closed = self._forked = self._woken = False
        self._thread = get_ident()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for sock in (self._wake_reader, self._wake_writer):
            sock.setblocking(False)
        self._selector.register(self._wake_reader, EVENT_READ, self._woke)
        _alive.add(self)

    # ---- running ----

    def step(self, timeout: float | None = None) -> None:
        """Wait for something to do, do all that is ready, and return.

        Args:
            timeout: The longest wait in seconds; 0 does not wait, `None` waits as long as it
                takes. Timers and scheduled calls end the wait in time.

        Raises:
            RuntimeError: It is called from inside a step, or after a `fork`.
            InvalidState: The reactor is closed.
        """
        self._check_usable()
        if self._stepping:
            raise RuntimeError("step() is called from inside a step")
        self._thread = get_ident()
        self._stepping = True
        # Before the look at what other threads have scheduled: what comes later wakes again.
        self._woken = False
        try:
            soon, newest = len(self._soon), self._timers.newest
            ready = self._selector.select(self._wait(timeout))
            self.now = now = self._clock()
            for key, mask in ready:
                try:
                    key.data(mask)
                except Exception:
                    self._report(key.data)
            while True:
                timer = self._timers.pop_due(now, newest)
                if timer is None:
                    break
                fn, args = timer.fn, timer.args
                timer.retire()
                self._call(fn, args)
            for _ in range(soon):
                self._call(*self._soon.popleft())
            if self._foreign:
                self._run_foreign()
        finally:
            self._stepping = False

    def run(self) -> None:
        """Make steps until `stop` is called.

        In the main thread, SIGINT and SIGTERM stop gracefully: what `attach` has named is told
        to stop, and `run` returns when all of it has ended; a second signal ends it at once.

        Raises:
            RuntimeError: It is called from inside a step, or after a `fork`.
            InvalidState: The reactor is closed.
        """
        # Imported late: those who only call step() need no signals.
        from .signals import SignalTrap

        self._check_usable()
        if self._stepping:
            raise RuntimeError("run() is called from inside a step")
        self._stopping = False
        with SignalTrap(self._wake_writer, self._interrupted) as self._signals:
            while not self._stopping:
                self.step()

    def stop(self) -> None:
        """Have `run` return after the step that it is in; from any thread."""
        self._stopping = True
        self._wake()

    def shutdown(self) -> None:
        """Stop gracefully: tell each service to stop, and `stop` when the last has ended."""
        services = list(self._services)
        for service in services:
            service.stop()
        if not self._services:
            self.stop()

    def attach(self, service: Service) -> None:
        """Have `shutdown` stop `service` too."""
        self._services[service] = None

    def detach(self, service: Service) -> None:
        """Note that `service` has ended; the last one to end ends `run`."""
        if service in self._services:
            del self._services[service]
            if not self._services:
                self.stop()

    @property
    def stepping(self) -> bool:
        """Whether a step is being made."""
        return self._stepping

    @property
    def closed(self) -> bool:
        """Whether it is closed, or was left behind by a `fork`."""
        return self._closed

    def close(self) -> None:
        """Close the services, all sockets of this package and the selector.

        Allowed any number of times.

        Raises:
            RuntimeError: It is called from inside a step.
        """
        if self._stepping:
            raise RuntimeError("close() is called from inside a step")
        for service in list(self._services):
            service.close()
        if self._closed:
            return
        self._closed = True
        for pollable in list(self._pollables):
            self.release(pollable)
        self._let_go()

    def _let_go(self) -> None:
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        self._soon.clear()
        self._foreign.clear()

    def abandon(self) -> None:
        """In the child of a fork: close its copies of the descriptors, unregister nothing."""
        self._closed = self._forked = True
        for pollable in self._pollables:
            pollable.dispose()
        self._pollables.clear()
        self._let_go()

    def __enter__(self) -> Reactor:
        """Return the reactor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when a step has something to do.

        Raises:
            AttributeError: The selector has none (`SelectSelector`).
        """
        number: int = self._selector.fileno()  # type: ignore[attr-defined]
        return number

    def next_timeout(self) -> float | None:
        """Return for how many seconds a step may wait at most; `None` for any time."""
        return self._wait(None)

    # ---- calls ----

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the next step, after its sockets and timers.

        Args:
            fn: What it raises is logged and does not stop the loop.
            *args: Its arguments.
        """
        self._soon.append((fn, args))

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, `delay` seconds from now.

        Args:
            delay: Seconds from `now`, the start of this step, or from the call if no step is
                being made. Zero or less means the next step, after its sockets.
            fn: What it raises is logged and does not stop the loop.
            *args: Its arguments.

        Returns:
            The timer; `timer.cancel()` is allowed at any time and any number of times.
        """
        now = self.now if self._stepping else self._clock()
        return self._timers.add(now + delay, fn, args)

    def call_at(self, when: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, at the time `when`, in seconds of the reactor's clock.

        Args:
            when: The time; one that is past means the next step.
            fn: What it raises is logged and does not stop the loop.
            *args: Its arguments.

        Returns:
            The timer.
        """
        return self._timers.add(when, fn, args)

    def call_every(
        self, interval: float, fn: Callable[..., object], *args: object
    ) -> Repeating:
        """Call `fn(*args)` every `interval` seconds, for the first time after one of them.

        Args:
            interval: Seconds, more than zero. The times do not drift; calls that were missed
                because the loop did not run are made as one.
            fn: What it raises is logged, does not stop the loop and does not end the calls.
            *args: Its arguments.

        Returns:
            An object whose `cancel()` ends the calls.

        Raises:
            ValueError: The interval is not above zero.
        """
        if interval <= 0:
            raise ValueError(f"interval of {interval} seconds, not above zero")
        return Repeating(self, interval, fn, args)

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the reactor's thread, soon; from any thread, never blocks.

        Args:
            fn: What it raises is logged. The calls of one thread run in their order.
            *args: Its arguments.

        Raises:
            RuntimeError: After a `fork`.
            InvalidState: The reactor is closed.
        """
        self._check_process()
        self._foreign.append((fn, args))
        self._wake()

    # ---- sockets ----

    def register(self, sock: HasFileno, events: int, callback: Callable[[int], object]) -> None:
        """Call `callback(mask)` whenever `sock` is ready.

        Args:
            sock: A socket of the caller's, non-blocking.
            events: `EVENT_READ`, `EVENT_WRITE` or both.
            callback: Called with what is ready of `events`; what it raises is logged.

        Raises:
            KeyError: It is registered already.
            ValueError: The events or the socket are not such.
            RuntimeError: From a thread other than the reactor's.
        """
        self._check_usable()
        self._selector.register(sock, events, callback)

    def modify(self, sock: HasFileno, events: int, callback: Callable[[int], object]) -> None:
        """Change what `register` was told of `sock`.

        Raises:
            KeyError: It is not registered.
            ValueError: The events are not such.
            RuntimeError: From a thread other than the reactor's.
        """
        self._check_usable()
        self._selector.modify(sock, events, callback)

    def unregister(self, sock: HasFileno) -> None:
        """Forget `sock`, which is to be done before it is closed.

        Raises:
            KeyError: It is not registered.
            RuntimeError: From a thread other than the reactor's.
        """
        self._check_usable()
        self._selector.unregister(sock)

    def adopt(self, pollable: Pollable) -> None:
        """Own `pollable` until it is released: `close` and a forked child close its socket."""
        self._pollables.add(pollable)

    def release(self, pollable: Pollable) -> None:
        """Unregister and close a socket that `adopt` was told of: the one place that does.

        The order matters: a descriptor that is closed first can be another socket's by the
        time it is unregistered.
        """
        if pollable not in self._pollables:
            return
        self._pollables.remove(pollable)
        try:
            self._selector.unregister(pollable.sock)
        except (KeyError, ValueError):
            pass  # a paused socket is not registered; one closed behind our back has no number
        pollable.dispose()

    # ---- inside ----

    def _wait(self, timeout: float | None) -> float | None:
        if self._soon or self._foreign:
            return 0
        when = self._timers.next_when()
        if when is None:
            return timeout
        left = max(0.0, when - self._clock())
        return left if timeout is None else min(left, timeout)

    def _call(self, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            fn(*args)
        except Exception:
            self._report(fn)

    def _report(self, fn: Callable[..., object]) -> None:
        logger().exception("a call of %r raised", getattr(fn, "__qualname__", fn))

    def _run_foreign(self) -> None:
        for _ in range(len(self._foreign)):
            self._call(*self._foreign.popleft())

    def _wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:
            pass  # full of earlier wake-ups, which serve as well
        except OSError:
            self._check_process()
            raise

    def _woke(self, mask: int) -> None:
        try:
            numbers = self._wake_reader.recv(4096)
        except BlockingIOError:
            return
        if self._signals is not None:
            self._signals.received(numbers)

    def _interrupted(self, again: bool) -> None:
        if again:
            self.stop()
        else:
            self.shutdown()

    def _check_process(self) -> None:
        if self._forked:
            raise RuntimeError("the reactor is used after a fork; make a new one in the child")
        if self._closed:
            raise InvalidState("the reactor is closed")

    def _check_usable(self) -> None:
        self._check_process()
        if self._stepping and get_ident() != self._thread:
            raise RuntimeError(
                "the reactor is used from a thread other than its own; call_soon_threadsafe"
                " and stop are the only methods for others"
            )
