"""A round of calls: what is ready, what is due, what was scheduled.

Facts: a level-triggered selector forgets nothing, so whatever a round leaves undone is reported
again. A descriptor that is closed can be another socket's at once, while what was ready under
its number is still being called.

So who is unregistered in a round is not called in it any more. A round, in this order:

1. wait until a socket is ready, a timer is due, or something was scheduled;
2. note the time, once: `now`;
3. call back for each ready socket;
4. call the timers that are due, those whose time has come while the sockets were served not
   yet: what a peer has sent is read before a deadline can say that it sent nothing;
5. call what `call_soon` had collected before the round, a few of the calls of `call_in_turn`,
   and what `call_soon_threadsafe` had collected before 3.

What a callback schedules runs in the next round. A step makes one round; with a budget it may
make only a part of it, and the next step goes on where it stopped: whoever was ready has its
turn before anybody has another. Between two turns of one socket there are thus at most the
calls of one round, and so, each step making one call at least, a bounded number of steps.
"""

from __future__ import annotations

from collections import deque
from operator import length_hint
from selectors import EVENT_READ

from ..logs import logger
from .mailbox import Mailbox
from .meter import NOTABLE, Meter
from .timers import STALL, TimerQueue
from .wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Calls = deque[tuple[Callable[..., object], tuple[Any, ...]]]

_LONGEST_WAIT = 86400.0  # seconds
# How many of the calls that `call_in_turn` has collected are made in a round: some 10 ms.
_TURNS = 8
# The least budget, in seconds: a step must get somewhere.
_LEAST = 1e-6
_NEVER = float("inf")


class Rounds:
    """What a `Reactor` is on the inside: it makes rounds of calls; its base.

    Args:
        selector: What waits for the sockets.
        clock: Returns the time in seconds.
        slow: A call that takes longer is named in the log, in seconds.
    """

    # More than 29 attributes in an object's dictionary make each of them slow to look up.
    __slots__ = (
        "_callbacks",
        "_deferred",
        "_ended",
        "_left",
        "_made",
        "_mailbox",
        "_meter",
        "_overrun",
        "_ready",
        "_running",
        "_selector",
        "_soon",
        "_stale",
        "_stepping",
        "_stopping",
        "_timers",
        "_turns",
        "_wakeup",
        "clock",
        "ends",
        "heard",
        "now",
        "slow",
    )

    # Called with the seconds that a step took, or a timer was late, a quarter of one or more,
    # in the step after: a method of a subclass, or a function that is set.
    onstall: Callable[[float], object] | None = None

    def __init__(self, selector: Any, clock: Callable[[], float], slow: float | None) -> None:
        self._selector = selector
        self.clock = clock
        self.now = self.heard = self._ended = clock()
        self.ends: float | None = None
        self.slow = _NEVER if slow is None else slow
        self._meter = Meter(self.slow)
        self._timers = TimerQueue()
        self._soon: Calls = deque()
        self._turns: Calls = deque()
        self._wakeup = Wakeup()
        self._mailbox = Mailbox(self._wakeup)
        # Who waits for a socket, by its descriptor.
        self._callbacks: dict[int, Callable[[int], object]] = {}
        self._ready: list[tuple[int, int]] = []
        # Descriptors that were unregistered in this round.
        self._stale: set[int] = set()
        # What a budget has cut off: sockets, newest timer, and three counts of calls.
        self._left: tuple[Iterator[Any], int, int, int, int] | None = None
        self._overrun, self._deferred, self._made = 0.0, 0, 0
        self._stepping = self._running = self._stopping = False

    def _turn(self, timeout: float | None, budget: float | None) -> int:
        """Make a round, or a part of one, and in `run` one after the other. Hot.

        It is long for that reason: each `if` spares a call in nearly all rounds, each local
        variable a look-up.

        Returns:
            How many sockets the last round served.
        """
        clock, stale, meter, callbacks = self.clock, self._stale, self._meter, self._callbacks
        selector, timers, cells = self._selector, self._timers, self._mailbox.cells
        all_soon, all_turns, heap = self._soon, self._turns, timers.heap
        poll, slow, ends, at = selector.poll, meter.slow, _NEVER, -_NEVER
        try:
            while True:
                late = 0.0
                if self._left is None:
                    if stale:
                        stale.clear()
                    soon, turns, newest = len(all_soon), len(all_turns), timers.newest
                    due = heap[0][0] if heap else None
                    # Nearly always a timer of some connection is what ends the wait, and the
                    # time is that at which the last round has ended.
                    if (
                        due is None
                        or due <= at
                        or (wait := due - at) > _LONGEST_WAIT
                        or soon
                        or turns
                        or cells
                    ):
                        patience = self._wait(timeout, due)
                        wait = -1 if patience is None else patience
                    self._ready = found = poll(wait, len(callbacks))
                    foreign = len(cells)
                    self.now = self.heard = began = at = clock()
                    ready, served = found if budget is None else iter(found), len(found)
                    if due is not None and due <= began:
                        late = began - max(due, self._ended)
                    else:
                        due = None
                else:
                    ready, newest, soon, turns, foreign = self._left
                    served = length_hint(ready)
                    self.now = due = began = at = clock()
                    late = began - self._ended  # who was left over has waited
                if budget is not None:
                    # In this order: what is not a number is the least.
                    self.ends = ends = began + max(_LEAST, budget)
                for fd, bits in ready:
                    if stale and fd in stale:
                        continue
                    try:
                        callback = callbacks[fd]
                    except KeyError:
                        callback = self._unknown(fd)
                    try:
                        callback(bits if bits == EVENT_READ else selector.events(fd, bits))
                    except Exception:
                        self._report(callback)
                    last, at = at, clock()
                    if at - last > slow:
                        meter.took(callback, last, at)
                        at = clock()  # what it takes to log that is not the next one's fault
                    if at >= ends:
                        break
                if due is not None and at < ends:
                    at = self._call_due(newest, at, ends)
                if soon and at < ends:
                    soon, at = self._call_all(all_soon, soon, at, ends)
                if turns and at < ends:
                    turns, at = self._call_all(all_turns, min(turns, _TURNS), at, ends)
                if foreign and at < ends:
                    foreign, at = self._call_foreign(foreign, at, ends)
                if budget is not None:
                    self._overrun = max(0.0, at - ends)
                    served -= self._carry_over(ready, newest, soon, turns, foreign)
                elif self._left is not None:
                    self._left = None
                meter.steps += 1
                if at - began > NOTABLE or late > NOTABLE:
                    self._note(at - began, late)
                self._ended = at
                if not self._running or self._stopping:
                    return served
                callback = _nobody  # who has ended is not to live on until somebody is ready
        except BaseException:
            self._left = None  # what was ready is found again, what was scheduled is there
            self._running = False
            raise
        finally:
            self._stepping = self._running  # here too, since an interrupt can come in either
            self.ends = None
            if self._left is None:
                self._ready = []

    def _unknown(self, fd: int) -> Callable[[int], object]:
        """Return what to call for a descriptor of which nothing was noted.

        An interrupt can have come before it was; or its owner has asked the selector himself;
        or it was closed here, and is open in another process: then nobody waits for it.
        """
        try:
            callback: Callable[[int], object] = self._selector.get_map()[fd].data
        except (KeyError, ValueError):
            return _nobody
        return callback

    @property
    def out_of_time(self) -> bool:
        """Whether this step has a budget, and has used it up."""
        return self.ends is not None and self.clock() >= self.ends

    @property
    def awake(self) -> float:
        """The time of this step, in seconds, by a clock that stands still in stalls."""
        return self.now - self._meter.stalled

    @property
    def stalled(self) -> float:
        """For how long the loop did not run so far, in seconds, this step included."""
        took = self.clock() - self.now if self._stepping else 0.0
        return self._meter.stalled + (took if took >= STALL else 0.0)

    def _carry_over(
        self, ready: Iterator[Any], newest: int, soon: int, turns: int, foreign: int
    ) -> int:
        """Note what of a round is left for the next step; return how many sockets."""
        sockets = length_hint(ready)
        due = self._timers.is_due(self.heard, newest)
        self._deferred = sockets + due + soon + turns + foreign
        self._left = (ready, newest, soon, turns, foreign) if self._deferred else None
        return sockets

    def _note(self, took: float, late: float) -> None:
        stall = self._meter.note(took, late)
        if stall and self.onstall is not None:
            self._soon.append((self.onstall, (stall,)))

    def _wait(self, timeout: float | None, due: float | None) -> float | None:
        if timeout == 0 or self._soon or self._mailbox.cells or self._turns:
            return 0
        if timeout is None or timeout > _LONGEST_WAIT:
            timeout = None if timeout is None and due is None else _LONGEST_WAIT
        if due is not None:
            left = due - self.clock()
            if timeout is None or left < timeout:
                return max(0.0, left)
        return timeout

    def _call(self, fn: Callable[..., object], args: tuple[object, ...], at: float) -> float:
        """Make a call at the time `at`; return the time after it."""
        self._made += 1
        try:
            fn(*args)
        except Exception:
            self._report(fn)
        now = self.clock()
        if now - at > self._meter.slow:
            self._meter.took(fn, at, now)
            now = self.clock()
        return now

    def _report(self, fn: Callable[..., object]) -> None:
        logger().exception("a call of %r raised", getattr(fn, "__qualname__", fn))

    # Each of these makes calls until none is left, or the time is past `ends`.

    def _call_due(self, newest: int, at: float, ends: float) -> float:
        # The queue is looked up each time: a fork in a call leaves the child another one.
        while at < ends:
            timer = self._timers.pop_due(self.heard, newest)
            if timer is None:
                break
            fn, args = timer.fn, timer.args
            timer.retire()
            at = self._call(fn, args, at)
        return at

    def _call_all(self, calls: Calls, count: int, at: float, ends: float) -> tuple[int, float]:
        while count and calls and at < ends:
            count -= 1
            at = self._call(*calls.popleft(), at)
        return count, at

    def _call_foreign(self, count: int, at: float, ends: float = _NEVER) -> tuple[int, float]:
        while count and at < ends:
            count -= 1
            call = self._mailbox.take()
            if call is not None:
                at = self._call(*call, at)
        return count, at


def _nobody(mask: int) -> None:
    """What is called where nobody waits."""
