"""What all guests share: when the host's loop calls, and for what it is asked to call again.

```text
host's loop                    Guest                                Reactor
what is watched is ready ----> _ready ---+
the timer is due ------------> _timed ---+--> step(0, budget) ----> the handlers
                               _schedule <-- when the step is over, or
     _arm(delay) <-------------+         <-- scheduled(): by a call from outside a step
     _watch(fd, events) <--------------- <-- watched(): sockets, where there is no descriptor
```

Facts: an epoll, a kqueue is a descriptor itself, readable as long as one of those that it
watches is ready; a host that is level-triggered forgets none of that. What a selector cannot
see is the timers, and the calls that were collected. A `select` has no descriptor, and a loop
on Windows may watch no socket either.

So the host watches the one descriptor and has one timer, which is armed anew only when the time
of the first thing to do has changed; while there is nothing to do, nothing is called. There are
three ways, of which `start` takes the first that is possible:

- `"descriptor"`: the host watches that of the selector. Everywhere but on Windows.
- `"sockets"`: the selector has none (`SelectSelector`, Windows), or the host cannot watch it:
  each of the sockets is watched, and the reactor says which and for what.
- `"ticks"`: the host can watch nothing at all: a step is made every `interval` seconds, needed
  or not. Tk and asyncio's `ProactorEventLoop`, both on Windows.

A host must get its turn. So there is one step, of `budget` seconds, for each round of its loop:
a step that left something over asks for a timer of 0 seconds, and until that is due nothing
else makes one, as the host would otherwise wait for a step per socket.

A handler can run the host's loop inside itself, as a modal dialog does. There can be no step
then, and what is ready stays so: until that step is over nothing is watched.
"""

from __future__ import annotations

import os
from _thread import get_ident
from selectors import EVENT_READ
from time import monotonic

from ..errors import InvalidState
from ..loop.pollable import Pollable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..loop.reactor import Reactor

# When a step is due that is to come behind what else the host has to do.
NEXT = 0.0
# How far the time may move, in seconds, without the host's timer being armed anew: the clock
# goes on between two looks at it.
_SLACK = 0.0001


class Guest:
    """A reactor in the loop of somebody else, its host; the base of all guests.

    A subclass says how this host watches and waits, with `_watch` and `_arm`, and has it call
    `_ready` and `_timed`. The guest belongs to the thread of the host's loop. It is a context
    manager, and stops by itself when its reactor is closed.

    What is raised out of a step, such as `KeyboardInterrupt`, goes on to the host; the guest
    lives. In the child of a `fork` it does nothing any more, as its reactor.

    Args:
        reactor: The one that is to run.
        budget: How long a step may take, in seconds, before the host has its turn; a single
            handler can take longer. `None` for as long as it takes.
        interval: The time between two steps in seconds, where there are only ticks.

    Attributes:
        reactor: The one that it runs.
        mode: `"descriptor"`, `"sockets"` or `"ticks"`, as the module says; `""` before `start`.
        wakeups: How often the host has called.

    Raises:
        TypeError: What is to run is no reactor, as when a server is given, which has one.
        ValueError: The budget or the interval is not above zero.
    """

    def __init__(
        self, reactor: Reactor, *, budget: float | None = 0.004, interval: float = 0.01
    ) -> None:
        if not hasattr(reactor, "interests"):
            of = ": it is its `reactor` that runs" if hasattr(reactor, "reactor") else ""
            raise TypeError(f"{type(reactor).__name__}, not a Reactor{of}")
        for name, seconds in (("budget", budget), ("interval", interval)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} of {seconds} seconds, not above zero")
        self.reactor = reactor
        self.mode = ""
        self.wakeups = 0
        self._budget = budget
        self._interval = interval
        self._running = self._held = False
        self._process = 0
        self._ending: _Ending | None = None
        self._watched: dict[Any, int] = {}  # the descriptors of what the host watches
        self._due: float | None = None  # when the host's timer is due: `monotonic`, or NEXT

    # ---- what the user calls ----

    @property
    def running(self) -> bool:
        """Whether it has been started, and not been stopped."""
        return self._running

    def start(self) -> None:
        """Have the host run the reactor from now on; nothing if it does already.

        Raises:
            InvalidState: The reactor is closed, or has another guest.
        """
        if self._running:
            return
        if self.reactor.closed:
            raise InvalidState("the reactor is closed, or was left behind by a fork")
        host = self.reactor.host
        if isinstance(host, Guest) and host.is_orphan():
            self.reactor.thread = get_ident()  # whatever thread that loop ran in
            host.stop()
        if self.reactor.host is not None:
            raise InvalidState(f"the reactor has a guest: {self.reactor.host!r}")
        self._process = os.getpid()
        self._ending = _Ending(self)
        self.reactor.adopt(self._ending)
        self.reactor.thread = get_ident()  # it may have been made in another
        self._running, self.reactor.host = True, self
        try:
            self._settle()
            # What the rest of a step schedules is not told.
            self._schedule(0 if self.reactor.stepping else self.reactor.next_timeout())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Have the host forget the reactor, which lives on; nothing if it does not run.

        It is allowed at any time, inside a handler too, but by the reactor's thread alone.
        """
        if not self._running:
            return
        if not self.reactor.closed:  # which any thread of a forked child may have come to
            self.reactor.check_thread()
        self._running = self._held = False
        self.reactor.host = None
        if os.getpid() == self._process:  # a child's copy of the host's epoll is its parent's
            self._unwatch_all()
            self._due = None
            self._arm(None)
        ending, self._ending = self._ending, None
        if ending is not None:
            self.reactor.release(ending)

    def __enter__(self) -> Guest:
        """Start it, and return it."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.stop()

    # ---- what the reactor calls ----

    def scheduled(self) -> None:
        """Something was scheduled, or a step is over; called by the reactor."""
        if self._held or self._due != NEXT:
            self._schedule(self.reactor.next_timeout())

    def watched(self, sock: Any, events: int) -> None:
        """A socket is registered for these events, 0 for none; called by the reactor."""
        if self.mode == "sockets" and not self._held:
            self._follow(sock, events)

    def is_orphan(self) -> bool:
        """Return whether the host's loop is no more, and this was not stopped."""
        return False

    def closed(self) -> None:
        """The reactor is being closed, or was left behind by a `fork`; called by it."""
        self._ending = None
        self.stop()

    # ---- what the host calls ----

    def _ready(self) -> None:
        """Something that is watched is ready."""
        self.wakeups += 1
        if not self._running or self._due == NEXT:
            return  # too late; or too early, since that is to come behind the host's others
        if self.reactor.stepping:
            self._hold()
        elif self.mode == "sockets":
            self._due = NEXT  # once, for all that are ready
            self._arm(0)
        else:
            self._step()

    def _timed(self) -> None:
        """The timer is due, which means that it is not armed any more."""
        self.wakeups += 1
        self._due = None
        if not self._running:
            return  # too late
        if self.reactor.stepping:
            self._hold()
        else:
            self._step()

    # ---- what a subclass does ----

    def _watch(self, fd: int, events: int) -> None:
        """Call `_ready` whenever `fd` is ready, which must be level-triggered.

        It must neither be called from in here, nor by another thread.

        Args:
            fd: A descriptor or, on Windows, a socket's handle.
            events: `EVENT_READ`, `EVENT_WRITE` or both, instead of what it was before; 0 to
                watch it no more, also if its socket is closed already.

        Raises:
            NotImplementedError: This host cannot.
            OSError: It cannot watch this one.
        """
        raise NotImplementedError

    def _arm(self, delay: float | None) -> None:
        """Call `_timed` once, after `delay` seconds; instead of any call that is still to come.

        Args:
            delay: Not below 0. If the host's unit is coarser, it is rounded up, or there would
                be a call too many. 0 means behind all else that the host has to do now, but
                before it waits; what is watched may be ready all the time meanwhile, and must
                not keep this back. `None` means never.
        """
        raise NotImplementedError

    # ---- inside ----

    def _step(self) -> None:
        timeout: float | None = 0  # after an interrupt: whatever there is
        try:
            timeout = self.reactor.step(0, self._budget).next_timeout
        finally:
            if self._running:  # a handler may have stopped it
                self._schedule(timeout)

    def _settle(self) -> None:
        """Find out what the host can watch."""
        try:
            self.reactor.fileno()
            modes = ["descriptor", "sockets"]
        except AttributeError:
            modes = ["sockets"]
        for self.mode in modes:
            try:
                self._watch_all()
            except (NotImplementedError, OSError):
                self._unwatch_all()
            else:
                return
        self.mode = "ticks"

    def _watch_all(self) -> None:
        if self.mode == "descriptor":
            self._follow(self.reactor, EVENT_READ)
        elif self.mode == "sockets":
            for sock, events in self.reactor.interests():
                self._follow(sock, events)

    def _unwatch_all(self) -> None:
        for sock in list(self._watched):
            self._follow(sock, 0)

    def _follow(self, sock: Any, events: int) -> None:
        """Watch what has a descriptor, or is one."""
        if events:
            fd = sock if isinstance(sock, int) else sock.fileno()
            self._watch(fd, events)
            self._watched[sock] = fd
        elif sock in self._watched:
            # Closed behind our back, it would not tell its number any more.
            self._watch(self._watched.pop(sock), 0)

    def _hold(self) -> None:
        """Watch nothing until the step is over inside which the host's loop runs."""
        if not self._held:
            self._held = True
            self._unwatch_all()
        if self._due is not None:
            self._due = None
            self._arm(None)

    def _schedule(self, timeout: float | None) -> None:
        """Have the host's timer due when there is something to do, after `timeout` seconds."""
        if self._held:
            self._held = False
            self._watch_all()
        if self.mode == "ticks":
            timeout = self._interval if timeout is None else min(timeout, self._interval)
        before, due = self._due, None
        if timeout is not None:
            due = NEXT if timeout <= 0 else monotonic() + timeout
            if before is not None and self.mode == "ticks":
                due = min(before, due)  # what is scheduled often must not put it off
        if due == before or (due and before and abs(due - before) < _SLACK):
            return
        self._due = due
        self._arm(timeout)

    def __repr__(self) -> str:
        """Return mode and reactor."""
        state = self.mode if self._running else "stopped"
        return f"<{type(self).__name__} {state} of {self.reactor!r}>"


class _Ending(Pollable):
    """What the reactor releases when it is closed, before its descriptor is.

    Nobody else tells; and a descriptor that is closed can be another socket's at once, which
    the host would watch for us.
    """

    __slots__ = ("_guest",)

    sock: Any

    def __init__(self, guest: Guest) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # none that is registered
        self._guest = guest

    def dispose(self) -> None:
        """Stop the guest."""
        self._guest.closed()
