"""Wait for sockets and timers, and call what is due.

Facts: a level-triggered selector forgets nothing, so whatever a step leaves undone is reported
again. `selectors` is portable; `modify` costs 1.7 us, so interest is changed only on need; some
selectors refuse to wait for 25 days. A descriptor that is closed can be another socket's at
once, while what was ready under its number is still being called. After `fork`, parent and
child share one epoll instance: what the child unregisters, the parent no longer sees.

So `step` is the primitive and `run` a loop of steps; who is unregistered in a step is not
called in it any more; and the reactor of a forked child is dead, and says so.

A step, in this order:

1. wait until a socket is ready, a timer is due, or something was scheduled;
2. note the time, once: `now`;
3. call back for each ready socket;
4. call the timers that are due, those whose time has come while the sockets were served not
   yet: what a peer has sent is read before a deadline can say that it sent nothing;
5. call what `call_soon` had collected before the step, a few of the calls of `call_in_turn`,
   and what `call_soon_threadsafe` had collected before 3.

What a callback schedules runs in the next step.
"""

from __future__ import annotations

import os
import selectors
from _thread import get_ident
from _weakref import ref  # `weakref` itself is a twentieth of what this package costs to import
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic

from ..errors import InvalidState
from ..logs import logger
from .timers import Repeating, Timer, TimerQueue
from .wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any, Protocol

    from _typeshed import FileDescriptorLike

    from .signals import SignalTrap

    Ready = Callable[[int], object]
    Calls = deque[tuple[Callable[..., object], tuple[Any, ...]]]

    class Service(Protocol):
        """What a reactor stops gracefully: a server or a client."""

        def stop(self) -> None:
            """Begin to end; `Reactor.detach` this when it has ended."""

        def abort(self) -> None:
            """End at once; what there is to tell of it is told in the next step."""


__all__ = ["EVENT_READ", "EVENT_WRITE", "Pollable", "Reactor"]

_LONGEST_WAIT = 86400.0  # seconds
# How many of the calls that `call_in_turn` has collected are made in a step: some 10 ms.
_TURNS = 8


class Pollable:
    """A socket that this package owns, registered with a reactor.

    The reactor knows all of them, so that the child of a `fork` can close its copies.
    """

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def dispose(self) -> None:
        """Close the socket; called by the reactor, after it is unregistered; repeatable."""
        self.sock.close()


_alive: set[ref[Reactor]] = set()


def _abandon_all() -> None:
    for known in list(_alive):
        reactor = known()
        if reactor is not None:
            reactor.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


class Reactor:
    """A single-threaded event loop over `selectors`.

    All methods but `call_soon_threadsafe` and `stop` belong to the thread that runs it, and
    raise `RuntimeError` in another while it makes a step. What a function that it calls raises
    is logged and does not stop it, but for `KeyboardInterrupt`, `SystemExit` and the like.

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
        self._soon: Calls = deque()
        self._foreign: Calls = deque()
        self._turns: Calls = deque()
        self._ready: list[tuple[selectors.SelectorKey, int]] = []
        self._stale: set[int] = set()
        self._pollables: set[Pollable] = set()
        self._services: dict[Service, None] = {}
        self._signals: SignalTrap | None = None
        self._stepping = self._stopping = self._closed = self._forked = False
        self._thread = get_ident()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup.reader, EVENT_READ, self._woke)
        _alive.add(ref(self, _alive.discard))

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
        if self._stepping or self._closed:
            self._check_idle("step")
        try:
            self._thread = get_ident()
            self._stepping = True
            self._turn(timeout)
        finally:
            self._stepping = False

    def _turn(self, timeout: float | None) -> None:
        # Each `if` spares a call in nearly all steps: together 0.5 us of 1.2.
        stale = self._stale
        if stale:
            stale.clear()
        try:
            soon, turns, newest = len(self._soon), len(self._turns), self._timers.newest
            due = self._timers.next_when()
            self._ready = ready = self._selector.select(self._wait(timeout, due))
            foreign = len(self._foreign)
            self.now = now = self._clock()
            for key, mask in ready:
                if stale and key.fd in stale:
                    continue
                try:
                    key.data(mask)
                except Exception:
                    self._report(key.data)
            if due is not None and due <= now:
                self._call_due(now, newest)
            if soon:
                self._call_all(self._soon, soon)
            if turns:
                self._call_all(self._turns, min(turns, _TURNS))
            if foreign:
                self._call_all(self._foreign, foreign)
        finally:
            self._stepping = False  # in both places, since an interrupt can come in either
            self._ready = []

    def run(self) -> None:
        """Make steps until `stop` is called.

        In the main thread, SIGINT and SIGTERM stop gracefully: what `attach` has named is told
        to stop, and `run` returns when all of it has ended; a second signal ends it at once.
        It raises what `step` does.
        """
        # Imported late: those who only call step() need no signals.
        from .signals import SignalTrap

        self._check_idle("run")
        self._stopping = False
        self._wakeup.read()  # a signal that came too late for the last run is not this one's
        with SignalTrap(self._wakeup.writer, self._interrupted) as self._signals:
            while not self._stopping:
                self.step()

    def stop(self) -> None:
        """Have `run` return after the step that it is in; from any thread.

        It means the `run` that has begun; `call_soon_threadsafe(stop)` also means the next.
        """
        self._stopping = True
        self._wakeup.wake()

    def shutdown(self) -> None:
        """Stop gracefully: tell each service to stop, and `stop` when the last has ended."""
        for service in list(self._services):
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
        """Close the services, all sockets of this package and the selector; repeatable.

        From inside a step, or by another thread during one, it raises `RuntimeError`.
        """
        self._check_thread()
        if self._stepping:
            raise RuntimeError("close() is called from inside a step")
        for service in list(self._services):
            service.abort()
        for service in list(self._services):
            self.drain(service)
        # Nothing of it is skipped the second time: an interrupt may have ended the first.
        self._closed = True
        for pollable in list(self._pollables):
            self.release(pollable)
        self._let_go()

    def _let_go(self) -> None:
        self._selector.close()
        self._wakeup.close()
        self._timers = TimerQueue()
        self._soon.clear()
        self._foreign.clear()
        self._turns.clear()

    def drain(self, service: Service) -> None:
        """Make steps until `service`, which has been aborted, has been told so and has ended.

        An interrupt can have cut off the last of the calls that tell it: then it has not.
        """
        while service in self._services and not self._closed:
            self.step(0)
            if self.next_timeout() != 0:
                return

    def abandon(self) -> None:
        """In a forked child: close its copies, unregister nothing, go no further in a step."""
        self._closed = self._forked = True
        self._stepping = False
        for pollable in self._pollables:
            pollable.dispose()
        self._pollables.clear()
        self._services.clear()
        self._ready.clear()
        self._let_go()
        if self._signals is not None:
            self._signals.restore()  # the child must not live on when it is told to end

    def __enter__(self) -> Reactor:
        """Return the reactor."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when a step has something to do.

        Raises:
            AttributeError: The selector has none (`SelectSelector`).
        """
        return self._selector.fileno()  # type: ignore[attr-defined, no-any-return]

    def next_timeout(self) -> float | None:
        """Return for how many seconds a step may wait at most; `None` for any time."""
        return self._wait(None, self._timers.next_when())

    # ---- calls ----

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the next step, after its sockets and timers."""
        self._check_thread()
        self._soon.append((fn, args))

    def call_in_turn(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` soon, with at most 7 others in a step: for what takes a while."""
        self._check_thread()
        self._turns.append((fn, args))

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, `delay` seconds from now.

        It is counted from `now`, the start of this step, or from the call if no step is being
        made. Zero or less means the next step, after its sockets. The timer's `cancel()` is
        allowed at any time and any number of times.
        """
        now = self.now if self._stepping else self._clock()
        return self.call_at(now + delay, fn, *args)

    def call_at(self, when: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, at the time `when`, in seconds of the reactor's clock.

        A time that is past means the next step.
        """
        self._check_thread()
        # One made in this step for a time long past would stand before those that are due.
        return self._timers.add(max(self.now, when), fn, args)

    def call_every(
        self, interval: float, fn: Callable[..., object], *args: object
    ) -> Repeating:
        """Call `fn(*args)` every `interval` seconds, for the first time after one of them.

        The times do not drift; calls that were missed because the loop did not run are made as
        one. What one call raises does not end them; the `cancel()` of what is returned does.

        Raises:
            ValueError: The interval is not above zero.
        """
        if not interval > 0:
            raise ValueError(f"interval of {interval} seconds, not above zero")
        return Repeating(self, interval, fn, args)

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the reactor's thread, soon; from any thread, never blocks.

        The calls of one thread run in their order.

        Raises:
            RuntimeError: After a `fork`.
            InvalidState: The reactor is closed.
        """
        self._check_process()
        self._foreign.append((fn, args))
        self._wakeup.wake()

    # ---- sockets ----

    def register(self, sock: FileDescriptorLike, events: int, callback: Ready) -> None:
        """Call `callback(mask)` whenever `sock` is ready.

        Args:
            sock: A socket of the caller's, non-blocking.
            events: `EVENT_READ`, `EVENT_WRITE` or both.
            callback: Called with what is ready of `events`.

        Raises:
            KeyError: It is registered already.
            ValueError: The events or the socket are not such.
        """
        self._check_usable()
        self._selector.register(sock, events, callback)

    def modify(self, sock: FileDescriptorLike, events: int, callback: Ready) -> None:
        """Change what `register` was told of `sock`; `KeyError` if it was told nothing."""
        self._check_usable()
        before = self._selector.get_key(sock)
        after = self._selector.modify(sock, events, callback)
        if before.data != callback or before.events & ~events:
            self._stale.add(after.fd)

    def unregister(self, sock: FileDescriptorLike) -> None:
        """Forget `sock`, before it is closed; `KeyError` if it is not registered."""
        self._check_usable()
        self._stale.add(self._selector.unregister(sock).fd)

    def adopt(self, pollable: Pollable) -> None:
        """Own `pollable` until it is released: `close` and a forked child close its socket."""
        self._check_thread()
        self._pollables.add(pollable)

    def release(self, pollable: Pollable) -> None:
        """Unregister and close a socket that `adopt` was told of: the one place that does.

        The order matters: a descriptor that is closed first can be another socket's by the
        time it is unregistered.
        """
        self._check_thread()
        if pollable not in self._pollables:
            return
        try:
            self._stale.add(self._selector.unregister(pollable.sock).fd)
        except (KeyError, ValueError):
            pass  # a paused socket is not registered; one closed behind our back has no number
        pollable.dispose()
        self._pollables.discard(pollable)

    # ---- inside ----

    def _wait(self, timeout: float | None, due: float | None) -> float | None:
        if self._soon or self._foreign or self._turns:
            return 0
        if timeout is None or timeout > _LONGEST_WAIT:
            timeout = None if timeout is None and due is None else _LONGEST_WAIT
        if due is not None:
            left = due - self._clock()
            if timeout is None or left < timeout:
                return max(0.0, left)
        return timeout

    def _call(self, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            fn(*args)
        except Exception:
            self._report(fn)

    def _report(self, fn: Callable[..., object]) -> None:
        logger().exception("a call of %r raised", getattr(fn, "__qualname__", fn))

    def _call_due(self, now: float, newest: int) -> None:
        # The queue is looked up each time: a fork in a call leaves the child another one.
        while (timer := self._timers.pop_due(now, newest)) is not None:
            fn, args = timer.fn, timer.args
            timer.retire()
            self._call(fn, args)

    def _call_all(self, calls: Calls, count: int) -> None:
        while count and calls:
            count -= 1
            self._call(*calls.popleft())

    def _woke(self, mask: int) -> None:
        numbers = self._wakeup.read()
        if self._signals is not None:
            self._signals.received(numbers)

    def _interrupted(self, again: bool) -> None:
        (self.stop if again else self.shutdown)()

    def _check_process(self) -> None:
        if self._forked:
            raise RuntimeError("the reactor is used after a fork; make a new one in the child")
        if self._closed:
            raise InvalidState("the reactor is closed")

    def _check_idle(self, name: str) -> None:
        self._check_usable()
        if self._stepping:
            raise RuntimeError(f"{name}() is called from inside a step")

    def _check_usable(self) -> None:
        self._check_process()
        self._check_thread()

    def _check_thread(self) -> None:
        if self._stepping and get_ident() != self._thread:
            raise RuntimeError(
                "the reactor is used from a thread other than its own, which may call"
                " call_soon_threadsafe and stop only"
            )
