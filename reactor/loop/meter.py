"""What the loop costs those who wait: its lag, and who was slow.

Facts: to read the clock takes 40 ns, to count 20, and a step with one message 4 us. Nearly
every step is done within a millisecond.

So a step counts itself, and only one that took longer than that is looked at: there is no
histogram to be kept up for the others, they are what is left of the sum. What waited for
something to end, waited at most as long as the step took; and what was due while the loop did
not run at all, as when a host program had the thread, so much longer. The longer of the two is
the step's lag.
"""

from __future__ import annotations

from ..logs import logger
from .timers import STALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A step with less lag is not looked at, in seconds: the first of the bounds.
NOTABLE = 0.001
# Lags are counted up to each of these, in seconds, and beyond the last.
LAG_BOUNDS = tuple(NOTABLE * (1 << power) for power in range(15))
# An offender is named once in so many seconds.
_AGAIN = 60.0
# How many offenders are remembered; with more, the next one may be named too early.
_OFFENDERS = 256


class StepReport:
    """What a step did.

    Attributes:
        handled: How many calls it made: for sockets, timers, and calls that were scheduled.
        deferred: How many it did not reach within its budget; timers that are due count as one.
        next_timeout: For how many seconds the next step may wait, 0 if it must not, `None` for
            any time: what `Reactor.next_timeout` returned at its end.
        overrun: For how many seconds its last call went on beyond the budget; 0 without one.
    """

    __slots__ = ("deferred", "handled", "next_timeout", "overrun")

    def __init__(
        self, handled: int, deferred: int, next_timeout: float | None, overrun: float
    ) -> None:
        self.handled = handled
        self.deferred = deferred
        self.next_timeout = next_timeout
        self.overrun = overrun

    def __repr__(self) -> str:
        """Return all of it."""
        return (
            f"StepReport(handled={self.handled}, deferred={self.deferred},"
            f" next_timeout={self.next_timeout}, overrun={self.overrun})"
        )


class ReactorStats:
    """What a reactor has done so far, and what it has in hand.

    Attributes:
        steps: How many steps it has made.
        lag: How many steps had a lag, the longest time for which something may have had to
            wait for them, of up to each of `LAG_BOUNDS`, and beyond the last.
        worst_lag: The longest lag, in seconds; 0 while none was over a millisecond.
        stalls: How often a lag was a quarter of a second or more. What a host has taken while
            no timer was due is not known, and no lag.
        sockets: How many are registered, its own wake socket included.
        timers: How many timers are active.
        calls: How many calls wait for the next step.
    """

    __slots__ = ("calls", "lag", "sockets", "stalls", "steps", "timers", "worst_lag")

    def __init__(self, meter: Meter, sockets: int, timers: int, calls: int) -> None:
        self.steps = meter.steps
        noted = meter.lags[1:]
        self.lag = (meter.steps - sum(noted), *noted)
        self.worst_lag = meter.worst
        self.stalls = meter.stalls
        self.sockets = sockets
        self.timers = timers
        self.calls = calls

    def __repr__(self) -> str:
        """Return all of it."""
        values = (f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({', '.join(values)})"


class Meter:
    """Counts the steps of a reactor, their lag, and who was slow.

    Args:
        slow: A call that takes longer is named in the log, in seconds.

    Attributes:
        slow: See the argument.
        steps: How many steps were made.
        lags: How many had a lag of up to each of `LAG_BOUNDS`; of the first, none is counted.
        worst: The longest lag, in seconds.
        stalls: How often the loop did not run for a quarter of a second or more.
        stalled: For how long that was, in seconds, all together.
        named_at: When an offender was last found, in seconds of the reactor's clock.
    """

    __slots__ = ("_named", "lags", "named_at", "slow", "stalled", "stalls", "steps", "worst")

    def __init__(self, slow: float) -> None:
        self.slow = slow
        self.steps = self.stalls = 0
        self.lags = [0] * (len(LAG_BOUNDS) + 1)
        self.worst = self.stalled = 0.0
        self.named_at = float("-inf")
        self._named: dict[str, float] = {}

    def note(self, took: float, late: float) -> float:
        """Note the lag of a step, of at least `NOTABLE` seconds.

        Args:
            took: How long it took, in seconds.
            late: For how long before it something was due.

        Returns:
            For how long the loop did not run, if that was a stall; otherwise 0.
        """
        lag = max(took, late)
        self.lags[min(int(lag / NOTABLE).bit_length(), len(LAG_BOUNDS))] += 1
        self.worst = max(self.worst, lag)
        if lag < STALL:
            return 0.0
        self.stalls += 1
        # The one came before the other.
        stall = sum(seconds for seconds in (took, late) if seconds >= STALL)
        self.stalled += stall
        return stall

    def took(self, callback: object, began: float, ended: float) -> None:
        """Name a callback in the log, if it took longer than `slow`: once a minute.

        If a part of it was named already, it was that.

        Args:
            callback: A function, an object that answers for one, or a name; see `culprit`.
            began: When it was called, in seconds of the reactor's clock.
            ended: When it returned.
        """
        if ended - began <= self.slow or self.named_at > began:
            return
        self.named_at = ended
        name = culprit(callback)
        if ended < self._named.get(name, float("-inf")) + _AGAIN:
            return
        if len(self._named) >= _OFFENDERS:
            self._named.clear()
        self._named[name] = ended
        logger().warning("%s took %.3f s, and held up everybody else", name, ended - began)


def culprit(callback: object) -> str:
    """Return the name of what a callback calls, which can be the name already.

    One of a socket is named after whom it serves: its owner's `answers_for` says who that is.
    """
    while not isinstance(callback, str):
        callback = _unwrapped(callback)
        owner = getattr(callback, "__self__", callback)
        # Of its class: an object can make up any attribute that it is asked for.
        answers_for: Callable[[Any], object] | None = getattr(type(owner), "answers_for", None)
        if answers_for is None:
            return name_of(callback)
        callback = answers_for(owner)
    return callback


def _unwrapped(callback: object) -> object:
    from functools import partial  # late: it is for the slow ones alone

    while isinstance(callback, partial):
        callback = callback.func
    return callback


def name_of(callback: object) -> str:
    """Return what a function, or whatever else can be called, is called in the log."""
    callback = _unwrapped(callback)
    name = getattr(callback, "__qualname__", None)
    if not isinstance(name, str):
        # Not its `repr`, which can be long, can raise, and may be another for each.
        callback = type(callback)
        name = callback.__qualname__
    module = getattr(callback, "__module__", None)  # none of a built-in method
    return f"{module}.{name}" if isinstance(module, str) else name
