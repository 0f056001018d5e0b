"""Which call is due next.

Facts: a heap's push and pop cost 0.3 us among ten thousand; taking an entry out of its middle
is linear. Most timers of a network program are cancelled or moved before they fire.

So a cancelled timer stays in the heap until its time comes, and the heap is made anew when more
than half of it is cancelled: cancelling is a flag, and memory stays within twice what is alive.
The queue is told the time, it has no clock.
"""

from __future__ import annotations

try:  # `heapq` itself is twice as much to import
    from _heapq import heapify, heappop, heappush
except ImportError:
    from heapq import heapify, heappop, heappush

# A timer that is called so much later than it was due was held up by our own loop, in seconds:
# that time was nobody else's to use.
STALL = 0.25
# How many calls that were missed a burst makes in a step: with one it would never catch up
# where a host makes a step for each tick, with all of them the others would wait.
_IN_A_STEP = 8
# Below this size a heap is not worth making anew.
SMALL = 64
# More intervals than these are not told apart: so many of the shortest ones are infinity.
_MANY = 2.0**53

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Calls(Protocol):
        """What a `Repeating` needs of the reactor."""

        now: float
        clock: Callable[[], float]

        @property
        def out_of_time(self) -> bool:
            """Whether this step has a budget, and has used it up."""

        @property
        def stalled(self) -> float:
            """For how long the loop did not run so far, in seconds."""

        def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
            """Call `fn(*args)` once, `delay` seconds from now."""

        def call_at(self, when: float, fn: Callable[..., object], *args: object) -> Timer:
            """Call `fn(*args)` once, at the time `when`."""


class Timer:
    """A call that is due at some time; made by `Reactor.call_later` and its kin.

    Attributes:
        fn: What is called.
        args: What with.
        queue: Where it waits, or `None` if it is over.
        when: The time at which it is due, in seconds of the reactor's clock.
    """

    __slots__ = ("args", "fn", "queue", "when")

    def __init__(
        self,
        queue: TimerQueue,
        when: float,
        fn: Callable[..., object],
        args: tuple[object, ...],
    ) -> None:
        self.queue: TimerQueue | None = queue
        self.when = when
        self.fn = fn
        self.args = args

    @property
    def active(self) -> bool:
        """Whether it is still to be called."""
        return self.queue is not None

    def cancel(self) -> None:
        """Do not call it; allowed at any time and any number of times.

        Raises:
            RuntimeError: It is another thread than the reactor's that says so.
        """
        queue = self.queue
        if queue is not None:
            queue.check()
            # What `retire` does, and nearly always there is no more: calls cost most of this.
            self.queue = None
            self.fn = _nothing
            self.args = ()
            heap = queue.heap
            if not heap:
                return  # it was taken out by a step that was then interrupted
            if heap[0][2] is self:
                heappop(heap)
                if not queue.cancelled:
                    return
                queue.uncover()
            else:
                queue.cancelled += 1
            if queue.cancelled * 2 > len(heap) > SMALL:
                queue.renew()

    def retire(self) -> None:
        """Let go of the function and its arguments; called by the queue."""
        self.queue = None
        self.fn = _nothing
        self.args = ()


def _nothing() -> None:
    """What a timer calls that is over; and what a queue that anyone may use asks."""


class TimerQueue:
    """Timers in the order of their time, and of their making where that is equal.

    Args:
        check: Called before a timer is cancelled; raises if this thread must not.

    Attributes:
        heap: When each is due, its number, and itself; the first is always active, so that a
            step sees when the next one is due without a call.
        newest: The number of the timer that was made last.
        cancelled: How many in the heap are not active; counted by the timers.
    """

    __slots__ = ("cancelled", "check", "heap", "newest")

    def __init__(self, check: Callable[[], object] = _nothing) -> None:
        self.check = check
        self.heap: list[tuple[float, int, Timer]] = []
        self.newest = 0
        self.cancelled = 0

    def __len__(self) -> int:
        """Return how many timers are active."""
        return len(self.heap) - self.cancelled

    def add(self, when: float, fn: Callable[..., object], args: tuple[object, ...]) -> Timer:
        """Return a new timer that is due at `when`, in seconds."""
        timer = Timer(self, when, fn, args)
        self.newest += 1
        heappush(self.heap, (when, self.newest, timer))
        return timer

    def next_when(self) -> float | None:
        """Return when the next active timer is due, in seconds, or `None`."""
        return self.heap[0][0] if self.heap else None

    def pop_due(self, now: float, newest: int) -> Timer | None:
        """Take out the next active timer that is due.

        Args:
            now: The time, in seconds.
            newest: What `newest` was when the step began: timers made since then must wait,
                so that one with no delay that makes its like again does not hold the loop.
        """
        if not self.is_due(now, newest):
            return None
        timer = heappop(self.heap)[2]
        self.uncover()
        return timer

    def is_due(self, now: float, newest: int) -> bool:
        """Return whether `pop_due` would find one."""
        heap = self.heap
        return bool(heap) and heap[0][0] <= now and heap[0][1] <= newest

    def renew(self) -> None:
        """Make the heap anew of the active timers; called by one that is not any more."""
        heap = self.heap
        heap[:] = [entry for entry in heap if entry[2].queue is not None]
        heapify(heap)
        self.cancelled = 0

    def uncover(self) -> None:
        """Have an active timer at the head, if there is one."""
        heap = self.heap
        while heap and heap[0][2].queue is None:
            heappop(heap)
            self.cancelled -= 1


class Repeating:
    """A call that comes again and again; made by `Reactor.call_every`.

    It is due at multiples of the interval from its start: no drift, and no sum of roundings.

    Args:
        calls: The reactor.
        interval: Seconds.
        fn: What to call.
        args: What with.
        catch_up: What becomes of calls that were missed; see `Reactor.call_every`.

    Raises:
        ValueError: There is no such way to catch up.
    """

    __slots__ = (
        "_args",
        "_calls",
        "_catch_up",
        "_count",
        "_fn",
        "_interval",
        "_start",
        "_timer",
    )

    def __init__(
        self,
        calls: Calls,
        interval: float,
        fn: Callable[..., object],
        args: tuple[object, ...],
        catch_up: str = "skip",
    ) -> None:
        if catch_up not in ("skip", "burst", "slip"):
            raise ValueError(f'catch_up={catch_up!r}, not "skip", "burst" or "slip"')
        self._calls = calls
        self._interval = interval
        self._fn = fn
        self._args = args
        self._catch_up = catch_up
        self._timer = calls.call_later(interval, self._due)
        self._start = self._timer.when - interval
        self._count = 1  # of the intervals from the start to the call that is next

    def _due(self) -> None:
        missed = self._missed()
        if self._catch_up == "slip" and missed:
            self._start, self._count = self._calls.now, 0
        elif self._catch_up == "skip":
            self._count += missed
        self._call()
        if self._catch_up == "burst":
            for _ in range(min(missed, _IN_A_STEP - 1)):
                if self._calls.out_of_time or not self._timer.active:
                    break
                self._timer.cancel()
                self._call()

    def _call(self) -> None:
        self._count += 1
        # Before the call, so that the call may cancel, and may raise. A time that is past means
        # the next step.
        when = self._start + self._count * self._interval
        self._timer = self._calls.call_at(when, self._due)
        self._fn(*self._args)

    def _missed(self) -> int:
        """Return how many whole intervals the call that is made now is late by."""
        late = self._calls.now - (self._start + self._count * self._interval)
        return max(0, int(min(late // self._interval, _MANY)))

    @property
    def active(self) -> bool:
        """Whether it is still to be called."""
        return self._timer.active

    def cancel(self) -> None:
        """Do not call it again; allowed at any time and any number of times."""
        self._timer.cancel()

    def answers_for(self) -> object:
        """Return what it calls, which is to blame when that took long."""
        return self._fn


class Deadline:
    """A call that is due when something has not happened in time.

    It is counted from now, and not from the start of a step, whose calls may have taken long.
    If it was our own loop that did not run meanwhile, the time is given once more.

    Args:
        calls: The reactor.
        delay: The time, in seconds.
        fn: What to call, without arguments.
    """

    __slots__ = ("_calls", "_delay", "_fn", "_forgiven", "_stalled", "_timer")

    def __init__(self, calls: Calls, delay: float, fn: Callable[[], object]) -> None:
        self._calls = calls
        self._delay = delay
        self._fn = fn
        self._forgiven = False
        self._stalled = calls.stalled
        self._timer = calls.call_at(calls.clock() + delay, self._due)

    @property
    def when(self) -> float:
        """When it is due, in seconds of the reactor's clock."""
        return self._timer.when

    @property
    def active(self) -> bool:
        """Whether it is still to be called."""
        return self._timer.active

    def _due(self) -> None:
        # A stall before this one is over, and has taken of the time as well.
        late = self._calls.now - self._timer.when
        held_up = late >= STALL or self._calls.stalled >= self._stalled + STALL
        if held_up and not self._forgiven:
            self._forgiven = True
            self._timer = self._calls.call_later(self._delay, self._due)
        else:
            self._fn()

    def cancel(self) -> None:
        """Do not call it; allowed at any time and any number of times."""
        self._timer.cancel()
        self._fn = _nothing  # which may hold whoever holds this

    def give_away(self) -> Timer:
        """Return the timer, for another use of it; this is over without it."""
        self._fn = _nothing
        return self._timer
