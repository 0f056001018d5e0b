"""A reactor in the loop of a game.

Facts: pygame's loop is the user's own. Most games make frames: 60 times a second they take the
events that are there, and a step then costs no wake-up. Others wait for events, and pygame
watches no descriptor for them; but SDL takes events from any thread, up to 65535. One can get
lost: the queue is full, the type is blocked, the game clears it away.

So there are two ways. In a game that makes frames, `frame` makes a step; that is all. For one
that waits, a thread waits for the reactor's descriptor and its next timer, and posts an event,
upon which `handle` makes the step, in the game's own thread. The thread itself touches nothing
of the reactor. While its event is to be handled it does not look at the descriptor, which would
be ready all the time; and an event that has not come through is posted again.

Without a descriptor (`SelectSelector`, Windows) the thread posts an event each `interval`.
"""

from __future__ import annotations

import os
import selectors
import sys
from selectors import EVENT_READ
from time import monotonic

from ..loop.wakeup import Wakeup
from .guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..loop.reactor import Reactor

__all__ = ["PygameGuest"]

# Seconds until an event that could not be posted is posted again, and until one that was posted
# is looked for.
_REFUSED = 0.05
_LOST = 1.0


class PygameGuest(Guest):
    """A reactor in the loop of a game.

    In one that makes frames, with pygame or anything else:

        with PygameGuest(reactor) as guest:
            while playing:
                for event in pygame.event.get(): ...
                guest.frame()
                ...
                clock.tick(60)

    In one that waits for events:

        with PygameGuest(reactor, events=True) as guest:
            while playing:
                event = pygame.event.wait()
                if not guest.handle(event): ...

    Args:
        reactor: The one that is to run.
        events: Whether the game waits for events, and calls `handle` with each, instead of
            `frame` in each frame.
        budget: As `Guest` has it.
        interval: As `Guest` has it; without `events` it is the game that decides.

    Attributes:
        event_type: The type of the guest's events; 0 without `events`, or before `start`.

    Raises:
        RuntimeError: `events` are wished, and pygame is not imported.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        events: bool = False,
        budget: float | None = 0.004,
        interval: float = 0.01,
    ) -> None:
        super().__init__(reactor, budget=budget, interval=interval)
        if events and "pygame" not in sys.modules:
            raise RuntimeError("pygame is not imported, whose events are to be used")
        self._pygame: Any = sys.modules["pygame"] if events else None
        self._watcher: _Watcher | None = None
        self.event_type = 0

    def __enter__(self) -> PygameGuest:
        """Start it, and return it."""
        self.start()
        return self

    def frame(self) -> None:
        """Make a step, of at most the budget; to be called in each frame."""
        if self.running:
            self._timed()

    def handle(self, event: Any) -> bool:
        """Make a step if `event` is one of the guest's; return whether it is."""
        watcher = self._watcher
        if watcher is None or event.type != self.event_type:
            return False
        try:
            if watcher.is_due():
                self._timed()
            else:
                self._ready()
        finally:
            watcher.go_on()
        return True

    def stop(self) -> None:
        """Let go of the reactor, which lives on; nothing if it does not run."""
        super().stop()
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            watcher.end(forked=os.getpid() != self._process)

    # ---- what the base asks for ----

    def _settle(self) -> None:
        if self._pygame is not None:
            self.event_type = self._pygame.event.custom_type()
            self._watcher = _Watcher(self._post, self._is_posted)
        super()._settle()

    def _watch(self, fd: int, events: int) -> None:
        if self._watcher is None or self.mode != "descriptor":
            raise NotImplementedError("a socket that may be closed is nothing for a thread")
        self._watcher.watch(fd if events else None)

    def _arm(self, delay: float | None) -> None:
        if self._watcher is not None:
            self._watcher.arm(None if delay is None else monotonic() + delay)

    # ---- what the thread calls ----

    def _post(self) -> bool:
        pygame = self._pygame
        try:
            posted = pygame.event.post(pygame.event.Event(self.event_type))
        except pygame.error:
            return False  # the queue is full, or there is no display at the moment
        return bool(posted)

    def _is_posted(self) -> bool:
        try:
            return bool(self._pygame.event.peek(self.event_type, pump=False))
        except self._pygame.error:
            return False


class _Watcher:
    """A thread that waits for a descriptor and a time, and says so, once.

    Args:
        say: Called by the thread; returns whether it could be said.
        is_said: Called by the thread; whether it was said, and not heard yet.
    """

    def __init__(self, say: Callable[[], bool], is_said: Callable[[], bool]) -> None:
        import threading

        self._say = say
        self._is_said = is_said
        self._fd: int | None = None
        self._due: float | None = None
        self._ended = False
        self._heard = threading.Event()
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup.reader, EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="pygame guest", daemon=True)
        self._thread.start()

    # ---- in the thread of the game ----

    def watch(self, fd: int | None) -> None:
        """Say when `fd` is readable."""
        self._fd = fd
        self._wakeup.wake()

    def arm(self, due: float | None) -> None:
        """Say when it is this time, in seconds of `monotonic`."""
        self._due = due
        self._wakeup.wake()

    def is_due(self) -> bool:
        """Return whether it is the time that `arm` was told of, and forget that then."""
        if self._due is None or self._due > monotonic():
            return False
        self._due = None
        return True

    def go_on(self) -> None:
        """Note that what was said was heard, and done."""
        self._heard.set()

    def end(self, forked: bool) -> None:
        """End the thread; in the child of a `fork` there is none."""
        self._ended = True
        if not forked:
            self._heard.set()
            self._wakeup.wake()
            self._thread.join()
        self._selector.close()
        self._wakeup.close()

    # ---- in its own thread ----

    def _run(self) -> None:
        watched: int | None = None
        while not self._ended:
            if watched != self._fd:
                watched = self._rewatch(watched, self._fd)
            due = self._due
            timeout = None if due is None else max(0.0, due - monotonic())
            ready = {key.fd for key, _ in self._selector.select(timeout)}
            if self._wakeup.reader.fileno() in ready:
                self._wakeup.read()  # before looking again at what has been told
            due = self._due
            is_due = due is not None and due <= monotonic()
            if is_due or (watched in ready and watched == self._fd):
                self._tell()

    def _rewatch(self, before: int | None, fd: int | None) -> int | None:
        if before is not None:
            self._selector.unregister(before)
        if fd is not None:
            self._selector.register(fd, EVENT_READ)
        return fd

    def _tell(self) -> None:
        self._heard.clear()
        if self._ended:
            return  # and what `end` had set is cleared
        patience = _LOST if self._say() else _REFUSED
        while not self._heard.wait(patience):
            if not self._is_said():
                patience = _LOST if self._say() else _REFUSED
