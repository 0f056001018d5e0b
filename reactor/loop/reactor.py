"""Wait for sockets and timers, and call what is due.

Facts: `selectors` is portable; `modify` costs 1.7 us, so interest is changed only on need; some
selectors refuse to wait for 25 days. A program that has a loop already, asyncio or a window's
or a game's, cannot have a second one that waits.

So `step` is the primitive, and `run` a loop of steps; `fileno`, `next_timeout` and `step(0)`
are all that another loop needs to make them (see `reactor.guests`). What happens in a step is
in `rounds.py`.
"""

from __future__ import annotations

import selectors
from _thread import get_ident
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic

from ..errors import InvalidState
from .meter import ReactorStats, StepReport
from .pollable import Pollable, abandon_in_child
from .rounds import Rounds
from .timers import STALL, Repeating, Timer, TimerQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from _typeshed import FileDescriptorLike

    from .background import ReactorThread
    from .epoll import EpollSelector
    from .signals import SignalTrap

    Ready = Callable[[int], object]

    class Service(Protocol):
        """What a reactor stops gracefully: a server or a client."""

        def stop(self) -> None:
            """Begin to end; `Reactor.detach` this when it has ended."""

        def abort(self) -> None:
            """End at once; what there is to tell of it is told in the next step."""

    class Host(Protocol):
        """Whose loop a reactor lives in: a guest, which makes its steps there."""

        def scheduled(self) -> None:
            """Outside of a step something was scheduled: `next_timeout` may be less now."""

        def watched(self, sock: FileDescriptorLike, events: int) -> None:
            """A socket is waited for, for these events or, if 0, no more; in a step too."""


__all__ = ["EVENT_READ", "EVENT_WRITE", "Pollable", "Reactor"]


class Reactor(Rounds):
    """A single-threaded event loop over `selectors`.

    All methods but `call_soon_threadsafe` and `stop` belong to the thread that runs it, and
    raise `RuntimeError` in another while it makes a step, and as long as it is a guest. What a
    function that it calls raises is logged and does not stop it, but for `KeyboardInterrupt`,
    `SystemExit` and the like.

    Args:
        selector: What waits for the sockets; by default the system's best.
        clock: Returns the time in seconds and never goes back; by default `time.monotonic`.
        slow_callback: A call that takes longer is named in the log, once a minute, in seconds;
            `None` for never. 0.25: with less, a busy machine's other programs are named too.

    Attributes:
        now: The time at which this step began, after its wait, in seconds of the clock.
        heard: When it was last asked which sockets are ready: earlier than `now` in a step that
            goes on with what another has left.
        clock: See the argument.
        ends: When the budget of this step ends, in seconds of the clock; `None` without one.
        host: The guest that this is run by, if it is: told of what it must know of.
        slow: A call that takes longer is named in the log, in seconds.
        onstall: Called, unless it is `None`, with the seconds, a quarter of one or more, that a
            step took or a timer was late; in the step after. To be set, or a method of a
            subclass. A stall in which no timer was due is not known; one that takes as long
            itself is a stall too.
        thread: The number of the thread that runs it.
    """

    def __init__(
        self,
        *,
        selector: selectors.BaseSelector | None = None,
        clock: Callable[[], float] = monotonic,
        slow_callback: float | None = STALL,
    ) -> None:
        super().__init__(_polled(selector), clock, slow_callback)
        self.host: Host | None = None
        self.thread = get_ident()
        self._timers = TimerQueue(self.check_thread)
        self._pollables: set[Pollable] = set()
        self._services: dict[Service, None] = {}
        self._signals: SignalTrap | None = None
        self._closed = self._forked = False
        reader = self._selector.register(self._wakeup.reader, EVENT_READ, self._woke)
        self._callbacks[reader.fd] = self._woke
        abandon_in_child(self)

    # ---- running ----

    def step(self, timeout: float | None = 0, budget: float | None = None) -> StepReport:
        """Do what is ready, and return.

        Args:
            timeout: The longest wait for something to be ready, in seconds; 0, the default,
                does not wait, `None` waits as long as it takes. Timers and scheduled calls end
                the wait in time.
            budget: How long it may then take, in seconds: after a call that ends later, no
                other is made. What was not reached comes first in the next step. With 0 or
                less, one call is made, or a few more if they take less than a microsecond. By
                default there is no limit.

        Returns:
            What it did, and what it left.

        Raises:
            RuntimeError: It is called from inside a step, by another thread than its guest's,
                or after a `fork`.
            InvalidState: The reactor is closed.
        """
        if self._stepping or self._closed or self.host is not None:
            self._check_idle("step")
        made = self._made
        try:
            self.thread = get_ident()
            self._stepping = True
            served = self._turn(timeout, budget)
        finally:
            self._stepping = False
            self._tell_host()  # it may have been the host's own code, not its guest
        handled = served + self._made - made
        if budget is None:
            return StepReport(handled, 0, self.next_timeout(), 0.0)
        return StepReport(handled, self._deferred, self.next_timeout(), self._overrun)

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
            try:
                self.thread = get_ident()
                self._running = self._stepping = True
                while not self._stopping:
                    self._turn(None, None)
                    if self._forked:
                        self._check_process()
            finally:
                self._running = self._stepping = False
                self._tell_host()

    def run_in_thread(self, name: str = "reactor", *, daemon: bool = True) -> ReactorThread:
        """Run in a thread of its own, for a program that has no loop.

        Args:
            name: The thread's.
            daemon: Whether the program may end while it runs.

        Returns:
            What the other threads have of it, which stops it as a context manager.

        Raises:
            RuntimeError: It is running, or left behind by a `fork`.
            InvalidState: It is closed, or a guest in another loop.
        """
        from .background import ReactorThread

        self._check_idle("run_in_thread")
        if self.host is not None:
            raise InvalidState(f"run_in_thread() of a reactor that has a host: {self.host!r}")
        return ReactorThread(self, name, daemon)

    def stop(self) -> None:
        """Have `run` return after the step that it is in; from any thread.

        It means the `run` that has begun; `call_soon_threadsafe(stop)` also means the next.
        """
        self._stopping = True
        self._wakeup.wake()

    def shutdown(self) -> None:
        """Stop gracefully: tell each service to stop, and `stop` when the last has ended."""
        self.check_thread()
        for service in list(self._services):
            service.stop()
        if not self._services:
            self.stop()

    def attach(self, service: Service) -> None:
        """Have `shutdown` stop `service` too."""
        self.check_thread()
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

        What `call_soon_threadsafe` has accepted is still called. From inside a step, or by
        another thread during one, it raises `RuntimeError`.
        """
        self.check_thread()
        if self._stepping:
            raise RuntimeError("close() is called from inside a step")
        for service in list(self._services):
            service.abort()
        for service in list(self._services):
            self.drain(service)
        # Nothing of it is skipped the second time: an interrupt may have ended the first.
        self._closed = True
        self._mailbox.close()
        try:
            self._empty_mailbox()
        finally:
            self._stepping = False  # in both places, since an interrupt can come in either
        for pollable in list(self._pollables):
            self.release(pollable)
        self._let_go()

    def _empty_mailbox(self) -> None:
        try:
            self._stepping = True
            self._call_foreign(len(self._mailbox.cells), self.clock())
        finally:
            self._stepping = False

    def _let_go(self) -> None:
        self._left = None
        self._ready = []
        self._selector.close()
        self._callbacks.clear()
        self._wakeup.close()
        self._timers = TimerQueue()
        self._soon.clear()
        self._turns.clear()
        self._mailbox.cells.clear()

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
        self._stepping = self._running = False
        self._mailbox.close()
        for pollable in self._pollables:
            pollable.dispose()
        self._pollables.clear()
        self._services.clear()
        self._ready.clear()
        self._left = self.host = None
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
        """Return a descriptor that is readable when there is something for a step to do.

        For what is done at some time, or was left over, there is `next_timeout`.

        Raises:
            AttributeError: The selector has none (`SelectSelector`).
            ValueError: The reactor is closed.
        """
        return self._selector.fileno()  # type: ignore[no-any-return]

    def next_timeout(self) -> float | None:
        """Return for how many seconds a step may wait at most; `None` for any time.

        0 if something was left over, or scheduled for the next step.
        """
        self.check_thread()
        if self._left is not None:
            return 0
        return self._wait(None, self._timers.next_when())

    def interests(self) -> list[tuple[FileDescriptorLike, int]]:
        """Return what is waited for, each with its events; nothing once it is closed."""
        self.check_thread()
        if self._closed:
            return []
        return [(key.fileobj, key.events) for key in self._selector.get_map().values()]

    def stats(self) -> ReactorStats:
        """Return what was done so far, and what is in hand; it costs a few microseconds."""
        calls = len(self._soon) + len(self._turns) + len(self._mailbox.cells)
        sockets = 0 if self._closed else len(self._selector.get_map())
        return ReactorStats(self._meter, sockets, len(self._timers), calls)

    def took(self, callback: object, began: float, ended: float) -> None:
        """Name a callback in the log if it took longer than `slow_callback`.

        Args:
            callback: A function, or what answers for one by a method `answers_for`.
            began: When it was called, in seconds of the clock.
            ended: When it returned.
        """
        self._meter.took(callback, began, ended)

    # ---- calls ----

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the next step, after its sockets and timers."""
        if get_ident() != self.thread:
            self.check_thread()
        self._soon.append((fn, args))
        if self.host is not None:
            self._tell_host()

    def call_now(self, fn: Callable[[], object]) -> None:
        """Call `fn()` at once, but as one of this step's calls: timed and guarded by itself."""
        self._call(fn, (), self.clock())

    def call_in_turn(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` soon, with at most 7 others in a step: for what takes a while."""
        self.check_thread()
        self._turns.append((fn, args))
        if self.host is not None:
            self._tell_host()

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, `delay` seconds from now.

        It is counted from `now`, the start of this step, or from the call if no step is being
        made. Zero or less means the next step, after its sockets. The timer's `cancel()` is
        allowed at any time and any number of times.
        """
        now = self.now if self._stepping else self.clock()
        return self.call_at(now + delay, fn, *args)

    def call_at(self, when: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call `fn(*args)` once, at the time `when`, in seconds of the reactor's clock.

        A time that is past means the next step.
        """
        if get_ident() != self.thread:
            self.check_thread()
        # One made in this step for a time long past would stand before those that are due.
        timer = self._timers.add(max(self.now, when), fn, args)
        if self.host is not None:
            self._tell_host()
        return timer

    def call_every(
        self,
        interval: float,
        fn: Callable[..., object],
        *args: object,
        catch_up: str = "skip",
    ) -> Repeating:
        """Call `fn(*args)` every `interval` seconds, for the first time after one of them.

        The times do not drift: a call that is late by less than an interval moves none of the
        next. What one call raises does not end them; the `cancel()` of what is returned does.

        Args:
            interval: Seconds.
            fn: What to call.
            *args: What with.
            catch_up: What becomes of the calls that were missed, because the loop did not run
                for longer. `"skip"`, the default: one is made at once, the others are left
                out, and the next comes at its old time. `"burst"`: all of them are made, up to
                eight in a step, as far as its budget goes: as many as there were intervals.
                `"slip"`: one is made at once, and the next an interval after it: the times
                move.

        Raises:
            ValueError: The interval is not above zero, or `catch_up` none of the three.
        """
        if not interval > 0:
            raise ValueError(f"interval of {interval} seconds, not above zero")
        return Repeating(self, interval, fn, args, catch_up)

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the reactor's thread, soon; from any thread, never blocks.

        The calls of one thread run in their order. One that is accepted is made, if need be
        while the reactor is closed.

        Raises:
            RuntimeError: After a `fork`.
            InvalidState: The reactor is closed: the call will not be made.
        """
        self._check_process()
        self._mailbox.put(fn, args)

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
        if self._closed or get_ident() != self.thread:
            self._check_usable()
        self._callbacks[self._selector.register(sock, events, callback).fd] = callback
        if self.host is not None:
            self.host.watched(sock, events)

    def modify(self, sock: FileDescriptorLike, events: int, callback: Ready) -> None:
        """Change what `register` was told of `sock`; `KeyError` if it was told nothing."""
        self._check_usable()
        before = self._selector.get_key(sock)
        after = self._selector.modify(sock, events, callback)
        self._callbacks[after.fd] = callback
        if before.data != callback or before.events & ~events:
            self._stale.add(after.fd)
        if self.host is not None:
            self.host.watched(sock, events)

    def unregister(self, sock: FileDescriptorLike) -> None:
        """Forget `sock`, before it is closed; `KeyError` if it is not registered."""
        self._check_usable()
        self._forget(sock)
        if self.host is not None:
            self.host.watched(sock, 0)

    def _forget(self, sock: FileDescriptorLike) -> None:
        fd = self._selector.unregister(sock).fd
        del self._callbacks[fd]
        self._stale.add(fd)

    def adopt(self, pollable: Pollable, readable: Ready | None = None) -> None:
        """Own `pollable` until it is released: `close` and a forked child close its socket.

        Args:
            pollable: It.
            readable: What to call when there is something to read; by default nothing is
                registered. If it cannot be, the socket is closed.
        """
        if get_ident() != self.thread:
            self.check_thread()
        self._pollables.add(pollable)
        if readable is not None:
            try:
                self.register(pollable.sock, EVENT_READ, readable)
            except BaseException:
                self.release(pollable)  # as when the system's selector takes no more
                raise

    def release(self, pollable: Pollable) -> None:
        """Unregister and close a socket that `adopt` was told of: the one place that does.

        The order matters: a descriptor that is closed first can be another socket's by the
        time it is unregistered.
        """
        if get_ident() != self.thread:
            self.check_thread()
        if pollable not in self._pollables:
            return
        try:
            # What `_forget` does, without its call.
            fd = self._selector.unregister(pollable.sock).fd
            del self._callbacks[fd]
            self._stale.add(fd)
            if self.host is not None:
                self.host.watched(pollable.sock, 0)
        except (KeyError, ValueError):
            pass  # a paused socket is not registered; one closed behind our back has no number
        finally:
            # Also if the host raises: nobody else would close it.
            pollable.dispose()
            self._pollables.discard(pollable)

    # ---- inside ----

    def _tell_host(self) -> None:
        if self.host is not None and not self._stepping:
            self.host.scheduled()

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
        if self._closed:
            self._check_process()
        if get_ident() != self.thread:
            self.check_thread()

    def check_thread(self) -> None:
        """Raise `RuntimeError` in a thread that must not use the reactor, nor what is in it."""
        if get_ident() != self.thread and (self._stepping or self.host is not None):
            raise RuntimeError(
                "the reactor is used from a thread other than its own, which may call"
                " call_soon_threadsafe, send_threadsafe and stop only"
            )


def _polled(selector: selectors.BaseSelector | None) -> EpollSelector | Polled:
    # By its name, since most systems have no such class.
    if selector is None and selectors.DefaultSelector.__name__ == "EpollSelector":
        from .epoll import EpollSelector

        return EpollSelector()
    return Polled(selectors.DefaultSelector() if selector is None else selector)


class Polled:
    """Any selector, with the two methods that `EpollSelector` has for a step."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Return which descriptors are ready, each with its events: all of them."""
        found = self.selector.select(None if timeout < 0 else timeout)
        return [(key.fd, events) for key, events in found]

    def events(self, fd: int, events: int) -> int:
        """Return what the events that `poll` has returned mean: themselves."""
        return events

    def __getattr__(self, name: str) -> Any:
        """Return what the selector has."""
        return getattr(self.selector, name)
