"""`reactor/loop/timers.py`: which call is due next."""

from __future__ import annotations

import gc
import heapq
import importlib.util
import random
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reactor import Reactor
from reactor.loop import timers
from reactor.loop.timers import SMALL, Deadline, Timer, TimerQueue
from reactor.testing import FakeClock, MemorySelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def nothing() -> None:
    """What a timer calls that is only looked at."""


class Watched:
    """Can be watched as it goes."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        yield reactor


# ---- the queue ----


def test_an_empty_queue_has_nothing_that_is_due() -> None:
    queue = TimerQueue()
    assert queue.next_when() is None
    assert queue.pop_due(float("inf"), queue.newest) is None
    assert len(queue) == 0


def test_timers_of_the_same_time_come_in_the_order_of_their_making() -> None:
    queue = TimerQueue()
    timers = [queue.add(5.0, nothing, ()) for _ in range(20)]
    assert [queue.pop_due(5.0, queue.newest) for _ in timers] == timers


def test_a_timer_is_not_due_before_its_time() -> None:
    queue = TimerQueue()
    timer = queue.add(5.0, nothing, ())
    assert queue.pop_due(4.999, queue.newest) is None
    assert queue.pop_due(5.0, queue.newest) is timer


def test_a_timer_that_was_made_since_waits() -> None:
    queue = TimerQueue()
    newest = queue.newest
    timer = queue.add(5.0, nothing, ())
    assert queue.pop_due(9.0, newest) is None
    assert queue.pop_due(9.0, queue.newest) is timer


def test_cancelling_is_allowed_any_number_of_times_and_counts_once() -> None:
    queue = TimerQueue()
    timer, other = queue.add(5.0, nothing, ()), queue.add(6.0, nothing, ())
    active = [timer.active]
    for _ in range(3):
        timer.cancel()
        active.append(timer.active)
        assert len(queue) == 1
    assert active == [True, False, False, False]
    assert queue.next_when() == other.when == 6.0


def test_what_an_interrupted_step_has_taken_out_can_be_cancelled() -> None:
    queue = TimerQueue()
    timer = queue.add(1, print, ())
    assert queue.pop_due(1, queue.newest) is timer
    timer.cancel()  # it was not called, nor retired: Ctrl-C came between
    assert (timer.active, len(queue)) == (False, 0)
    queue.add(2, print, ())
    assert len(queue) == 1


def test_cancelling_what_was_called_does_not_count(clock: FakeClock, reactor: Reactor) -> None:
    queue = TimerQueue()
    timer, other = queue.add(5.0, nothing, ()), queue.add(6.0, nothing, ())
    assert queue.pop_due(5.0, queue.newest) is timer
    timer.retire()
    timer.cancel()
    assert len(queue) == 1
    assert other.active


@pytest.mark.parametrize("how", [Timer.cancel, Timer.retire])
def test_a_timer_that_is_over_holds_neither_function_nor_arguments(how: object) -> None:
    queue = TimerQueue()
    watched = Watched()
    alive = weakref.ref(watched)
    timer = queue.add(5.0, watched.__eq__, (watched,))
    how(timer)  # type: ignore[operator]
    del watched
    gc.collect()
    assert alive() is None
    assert timer.fn() is None
    assert timer.args == ()


def test_a_hundred_thousand_cancelled_timers_are_not_kept() -> None:
    queue = TimerQueue()
    kept = queue.add(1.0, nothing, ())
    for number in range(100_000):
        queue.add(1000.0 + number, nothing, ()).cancel()
    assert len(queue.heap) <= 65
    assert queue.pop_due(1.0, queue.newest) is kept


def test_those_that_were_cancelled_first_are_not_kept_when_the_head_is_cancelled() -> None:
    queue = TimerQueue()
    later = [queue.add(1e6 + number, nothing, ()) for number in range(4999)]
    sooner = [queue.add(number, nothing, ()) for number in range(5001)]
    for timer in [*later, *sooner[:-1]]:
        timer.cancel()
    assert len(queue) == 1
    assert len(queue.heap) <= SMALL


class QueueAgainstAList(RuleBasedStateMachine):
    """The queue does what a sorted list of what is active would."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TimerQueue()
        self.now = 0.0
        self.made = 0
        self.model: list[tuple[float, int, Timer]] = []
        self.over: list[Timer] = []

    @rule(delays=st.lists(st.integers(-3, 20), min_size=1, max_size=70))
    def add(self, delays: list[int]) -> None:
        for delay in delays:
            self.made += 1
            timer = self.queue.add(self.now + delay, nothing, ())
            self.model.append((timer.when, self.made, timer))

    @rule(which=st.lists(st.integers(0, 1000), max_size=70))
    def cancel(self, which: list[int]) -> None:
        for number in which:
            if self.model:
                timer = self.model.pop(number % len(self.model))[2]
                timer.cancel()
                self.over.append(timer)

    @rule(number=st.integers(0, 1000), delay=st.integers(0, 20))
    def reschedule(self, number: int, delay: int) -> None:
        self.cancel([number])
        self.add([delay])

    @rule(number=st.integers(0, 1000))
    def cancel_what_is_over(self, number: int) -> None:
        if self.over:
            self.over[number % len(self.over)].cancel()

    @rule(seconds=st.integers(0, 10))
    def go_on(self, seconds: int) -> None:
        self.now += seconds
        called = []
        while (timer := self.queue.pop_due(self.now, self.queue.newest)) is not None:
            timer.retire()
            called.append(timer)
        due = sorted(entry for entry in self.model if entry[0] <= self.now)
        assert called == [entry[2] for entry in due]
        self.model = [entry for entry in self.model if entry[0] > self.now]
        self.over += called

    @invariant()
    def they_agree(self) -> None:
        assert len(self.queue) == len(self.model)
        assert self.queue.next_when() == min((entry[0] for entry in self.model), default=None)
        assert all(entry[2].active for entry in self.model)
        assert not any(timer.active for timer in self.over)
        assert len(self.queue.heap) <= 2 * len(self.model) + SMALL


TestTheQueueAgainstAList = QueueAgainstAList.TestCase
TestTheQueueAgainstAList.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)


# ---- repeated calls ----


def test_repeated_calls_do_not_drift(clock: FakeClock, reactor: Reactor) -> None:
    times: list[float] = []
    start = clock.now
    repeating = reactor.call_every(10.0, lambda: times.append(clock.now - start))
    for late in (10.5, 9.25, 10.25, 10.0):  # at 10.5, 19.75, 30, 40
        clock.advance(late)
        reactor.step(0)
    assert times == [10.5, 30.0, 40.0]
    assert reactor.next_timeout() == 10.0
    repeating.cancel()


def test_calls_that_were_missed_are_made_as_one(clock: FakeClock, reactor: Reactor) -> None:
    calls: list[int] = []
    reactor.call_every(10.0, calls.append, 1)
    clock.advance(57.0)
    reactor.step(0)
    reactor.step(0)
    assert calls == [1]
    assert reactor.next_timeout() == 3.0


def test_a_repeated_call_may_cancel_itself(clock: FakeClock, reactor: Reactor) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        assert repeating.active
        repeating.cancel()

    repeating = reactor.call_every(1.0, call)
    for _ in range(3):
        clock.advance(1.0)
        reactor.step(0)
    assert calls == [1]
    assert not repeating.active
    assert reactor.next_timeout() is None
    repeating.cancel()


def test_a_repeated_call_that_raises_comes_again(
    clock: FakeClock, reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise LookupError("this time too")

    reactor.call_every(1.0, call)
    for _ in range(3):
        clock.advance(1.0)
        reactor.step(0)
    assert calls == [1, 1, 1]
    assert caplog.text.count("LookupError: this time too") == 3


# ---- calls that come again, late ----


WAYS = ["skip", "burst", "slip"]


class Ticks:
    """A `call_every`, and a loop that wakes up when it is due, or later."""

    def __init__(self, reactor: Reactor, clock: FakeClock, interval: float, way: str) -> None:
        self.reactor = reactor
        self.clock = clock
        self.calls: list[float] = []
        self.start = clock.now
        self.repeating = reactor.call_every(interval, self.tick, catch_up=way)

    def tick(self) -> None:
        self.calls.append(self.reactor.now - self.start)

    def run(self, until: float, late: Callable[[], float] = lambda: 0.0) -> None:
        while True:
            wait = self.reactor.next_timeout()
            if wait is None or self.clock.now - self.start + wait > until:
                break
            self.clock.advance(wait + late())
            self.reactor.step()
        self.clock.advance(max(0.0, until - (self.clock.now - self.start)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("minutes", "lateness"), [(60, 0.004), (1, 0.0)], ids=["up to 4 ms late", "punctual"]
)
def test_in_an_hour_of_ticks_none_is_lost_and_they_do_not_drift(
    reactor: Reactor, clock: FakeClock, way: str, minutes: int, lateness: float
) -> None:
    random_ = random.Random(1)
    tick = 1 / 60
    ticks = Ticks(reactor, clock, tick, way)
    ticks.run(60.0 * minutes + tick / 2, lambda: random_.uniform(0, lateness))
    count = 3600 * minutes
    assert len(ticks.calls) == count
    for number, when in enumerate(ticks.calls[-100:], count - 99):
        assert -1e-6 <= when - number * tick <= lateness + 1e-6


def stalled(reactor: Reactor, clock: FakeClock, way: str) -> list[float]:
    """The ticks from a stall of a second on, after ten seconds of ten each."""
    ticks = Ticks(reactor, clock, 0.1, way)
    ticks.run(10.05)
    assert len(ticks.calls) == 100
    clock.advance(1.0)
    reactor.step()
    ticks.run(11.75)
    return ticks.calls[100:]


def test_after_a_stall_of_a_second_skip_makes_one_and_keeps_its_times(
    reactor: Reactor, clock: FakeClock
) -> None:
    expected = [11.05, 11.1, 11.2, 11.3, 11.4, 11.5, 11.6, 11.7]
    assert stalled(reactor, clock, "skip") == pytest.approx(expected)


def test_after_a_stall_of_a_second_burst_makes_all_and_keeps_its_times(
    reactor: Reactor, clock: FakeClock
) -> None:
    expected = [*[11.05] * 10, 11.1, 11.2, 11.3, 11.4, 11.5, 11.6, 11.7]
    assert stalled(reactor, clock, "burst") == pytest.approx(expected)


def test_after_a_stall_of_a_second_slip_makes_one_and_moves_its_times(
    reactor: Reactor, clock: FakeClock
) -> None:
    expected = [11.05, 11.15, 11.25, 11.35, 11.45, 11.55, 11.65, 11.75]
    assert stalled(reactor, clock, "slip") == pytest.approx(expected, abs=1e-6)


def test_a_burst_makes_eight_calls_in_a_step_so_that_the_others_have_their_turn(
    reactor: Reactor, clock: FakeClock
) -> None:
    ticks = Ticks(reactor, clock, 0.1, "burst")
    clock.advance(2.05)
    for count in (8, 16, 20, 20):
        reactor.step()
        assert len(ticks.calls) == count


def test_a_burst_makes_no_more_calls_than_the_budget_has_room_for(
    reactor: Reactor, clock: FakeClock
) -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(clock.now)
        clock.advance(0.001)

    reactor.call_every(0.1, call, catch_up="burst")
    clock.advance(1.05)
    for count in (3, 6, 9, 10, 10):
        assert reactor.step(0, budget=0.0025).overrun <= 0.001
        assert len(calls) == count


def test_a_burst_catches_up_in_a_host_that_makes_a_step_for_each_tick(
    reactor: Reactor, clock: FakeClock
) -> None:
    ticks = Ticks(reactor, clock, 1 / 60, "burst")
    clock.advance(1.0)
    for _ in range(60):
        clock.advance(1 / 60)
        reactor.step(0, budget=0.002)
    assert 119 <= len(ticks.calls) <= 120


def test_a_call_can_cancel_the_rest_of_its_burst(reactor: Reactor, clock: FakeClock) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) == 3:
            repeating.cancel()

    repeating = reactor.call_every(0.1, call, catch_up="burst")
    clock.advance(1.05)
    for _ in range(3):
        reactor.step()
    assert len(calls) == 3
    assert reactor.next_timeout() is None


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_comes_again_can_cancel_itself(
    reactor: Reactor, clock: FakeClock, way: str
) -> None:
    ticks = Ticks(reactor, clock, 0.1, way)
    reactor.call_later(0.35, ticks.repeating.cancel)
    ticks.run(5.0)
    assert len(ticks.calls) == 3
    assert not ticks.repeating.active


@pytest.mark.parametrize("catch_up", ["skip", "burst", "slip"])
@pytest.mark.parametrize("interval", [5e-324, 1e-300, 1e-9])
def test_however_short_the_interval_there_are_calls_in_each_step(
    reactor: Reactor, clock: FakeClock, interval: float, catch_up: str
) -> None:
    calls: list[float] = []
    repeated = reactor.call_every(interval, lambda: calls.append(clock.now), catch_up=catch_up)
    for number in range(1, 6):
        clock.advance(0.1)
        reactor.step()
        assert number <= len(calls) <= 8 * number
    assert repeated.active


def test_a_slow_call_that_comes_again_is_named(
    reactor: Reactor, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def slow() -> None:
        clock.advance(1.0)

    reactor.call_every(1.0, slow)
    clock.advance(1.0)
    reactor.step()
    prefix = f"{__name__}.test_a_slow_call_that_comes_again_is_named.<locals>"
    assert [text.split(" took ")[0] for text in caplog.messages] == [f"{prefix}.slow"]


def test_there_is_no_fourth_way_to_catch_up(reactor: Reactor) -> None:
    with pytest.raises(ValueError, match="catch_up='later', not"):
        reactor.call_every(1, nothing, catch_up="later")
    assert reactor.next_timeout() is None


# ---- deadlines ----


def test_a_deadline_is_called_when_its_time_has_come(
    reactor: Reactor, clock: FakeClock
) -> None:
    calls: list[float] = []
    Deadline(reactor, 10, lambda: calls.append(clock.now - 1000))
    for _ in range(30):
        clock.advance(1)
        reactor.step()
    assert calls == [10]


def test_a_loop_that_was_held_up_gives_the_time_once_more(
    reactor: Reactor, clock: FakeClock
) -> None:
    calls: list[float] = []
    Deadline(reactor, 10, lambda: calls.append(clock.now - 1000))
    for seconds in (60, 9, 60):
        clock.advance(seconds)
        reactor.step()
    assert calls == [129]


def test_a_stall_in_the_middle_takes_of_the_time_too(
    reactor: Reactor, clock: FakeClock
) -> None:
    calls: list[float] = []
    Deadline(reactor, 10, lambda: calls.append(clock.now - 1000))
    for _ in range(2):
        reactor.call_soon(clock.advance, 4.9)
        reactor.step()
    for _ in range(30):
        clock.advance(0.5)
        reactor.step()
    assert calls == [pytest.approx(20.3)]


def test_a_call_that_took_long_before_it_set_a_deadline_is_no_excuse(
    reactor: Reactor, clock: FakeClock
) -> None:
    calls: list[float] = []

    def take_long(after: float) -> None:
        clock.advance(5)
        Deadline(reactor, 10, lambda: calls.append(clock.now - 1000))
        clock.advance(after)

    for after in (0, 5):
        reactor.call_soon(take_long, after)
        reactor.step()
        for _ in range(50):
            clock.advance(0.5)
            reactor.step()
    # The second has lost half of its time to what came after it was set.
    assert calls == [15, pytest.approx(30 + 5 + 10 + 10, abs=0.5)]


def test_a_deadline_that_is_cancelled_is_not_called(reactor: Reactor, clock: FakeClock) -> None:
    calls: list[float] = []
    for late in (0, 60):
        deadline = Deadline(reactor, 10, lambda: calls.append(clock.now - 1000))
        assert (deadline.when, deadline.active) == (clock.now + 10, True)
        clock.advance(late)
        reactor.step()
        for _ in range(2):
            deadline.cancel()
        assert not deadline.active
        clock.advance(100)
        reactor.step()
    assert calls == []
    assert reactor.next_timeout() is None


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(**vars(heapq))])
def test_a_queue_is_the_same_by_either_module(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, "_heapq", module)
    spec = importlib.util.spec_from_file_location("reactor.loop.timers_again", timers.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.heappush is heapq.heappush


def test_the_timer_of_a_deadline_can_be_given_away(reactor: Reactor, clock: FakeClock) -> None:
    watched = Watched()
    alive = weakref.ref(watched)
    calls: list[str] = []
    deadline = Deadline(reactor, 10, watched.__repr__)
    timer = deadline.give_away()
    del watched
    gc.collect()
    assert alive() is None, "its function is let go"
    assert (timer.active, timer.when) == (True, clock.now + 10)
    timer.fn = lambda: calls.append("another")
    clock.advance(10)
    reactor.step()
    assert calls == ["another"]
    clock.advance(100)
    reactor.step()
    assert calls == ["another"]
