"""`reactor/loop/rounds.py`: what is ready, what is due, what was scheduled; within a budget."""

from __future__ import annotations

import gc
import math
import random
import selectors
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import Reactor
from reactor.loop.reactor import EVENT_READ
from reactor.testing import FakeClock, MemorySelector, MemorySocket, memory_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MS = 0.001


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    """In memory, with time that stands still unless a call takes some."""
    with Reactor(selector=MemorySelector(), clock=clock, slow_callback=None) as reactor:
        yield reactor


class Load:
    """Sockets, timers and calls, each of which takes its time and notes that it was called."""

    def __init__(self, reactor: Reactor, clock: FakeClock) -> None:
        self.reactor = reactor
        self.clock = clock
        self.calls: list[Any] = []
        self.peers: list[MemorySocket] = []

    def take(self, name: Any, seconds: float) -> None:
        self.calls.append(name)
        self.clock.advance(seconds)

    def socket(self, name: Any, seconds: float, stays: bool = False) -> MemorySocket:
        """Register a socket that is ready, once or for as long as it is not read."""
        ours, peer = memory_pair()
        sock: Any = ours
        self.peers.append(peer)
        peer.send(b"x")

        def ready(mask: int) -> None:
            if not stays:
                ours.recv(1)
            self.take(name, seconds)

        self.reactor.register(sock, EVENT_READ, ready)
        return ours


@pytest.fixture
def load(reactor: Reactor, clock: FakeClock) -> Load:
    return Load(reactor, clock)


def test_a_descriptor_that_nobody_waits_for_is_passed_over(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As `epoll` reports one that was closed here, and is open in another process.
    load.socket("one", 0)
    selector = load.reactor._selector
    ready = selector.poll(0, 2)
    assert len(ready) == 1
    monkeypatch.setattr(selector, "poll", lambda timeout, most: [(1 << 30, EVENT_READ), *ready])
    load.reactor.step()
    assert load.calls == ["one"]


def test_who_has_asked_the_selector_himself_is_called() -> None:
    selector = selectors.DefaultSelector()
    came: list[bytes] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, Reactor(selector=selector) as reactor:
        selector.register(ours, EVENT_READ, lambda mask: came.append(ours.recv(1)))
        theirs.send(b"x")
        reactor.step()
    assert came == [b"x"]


def test_run_waits_from_the_end_of_a_round_to_the_next_timer_a_day_at_most(
    clock: FakeClock,
) -> None:
    waits: list[float | None] = []

    class Waited(selectors.DefaultSelector):
        def select(
            self, timeout: float | None = None
        ) -> list[tuple[selectors.SelectorKey, int]]:
            assert timeout is not None
            waits.append(timeout)
            clock.advance(timeout)
            return super().select(0)

    with Reactor(selector=Waited(), clock=clock, slow_callback=None) as reactor:
        reactor.call_later(1, clock.advance, 0.5)
        reactor.call_later(5, reactor.call_soon, reactor.call_later, -1, clock.advance, 0)
        reactor.call_later(100_000, reactor.stop)
        reactor.run()
    assert waits == [1, 3.5, 0, 0, 86400, 100_000 - 86405]


# ---- the report ----


def test_a_step_says_how_many_calls_it_made_and_when_the_next_is_due(load: Load) -> None:
    reactor = load.reactor
    assert reactor.step().handled == 0
    load.socket("socket", 0)
    reactor.call_later(0, load.take, "timer", 0)
    reactor.call_later(5, load.take, "later", 0)
    reactor.call_soon(load.take, "soon", 0)
    reactor.call_in_turn(load.take, "turn", 0)
    reactor.call_soon_threadsafe(load.take, "foreign", 0)
    report = reactor.step()
    assert load.calls == ["socket", "timer", "soon", "turn", "foreign"]
    assert (report.handled, report.deferred, report.overrun) == (5, 0, 0.0)
    assert report.next_timeout == 5


def test_without_a_budget_all_is_done_however_long_it_takes(load: Load) -> None:
    for number in range(10):
        load.socket(number, 100)
    report = load.reactor.step()
    assert (report.handled, report.deferred, report.overrun) == (10, 0, 0.0)


# ---- the budget ----


def test_after_a_call_that_ends_beyond_the_budget_no_other_is_made(load: Load) -> None:
    for number in range(5):
        load.socket(number, 2 * MS)
    report = load.reactor.step(budget=5 * MS)
    assert len(load.calls) == report.handled == 3
    assert report.deferred == 2
    assert report.overrun == pytest.approx(1 * MS)
    assert report.next_timeout == load.reactor.next_timeout() == 0
    report = load.reactor.step(budget=5 * MS)
    assert len(load.calls) == 5
    assert (report.handled, report.deferred, report.overrun) == (2, 0, 0.0)
    assert report.next_timeout is None


def test_what_was_not_reached_comes_before_what_has_had_its_turn(load: Load) -> None:
    # These are always ready: the first would be served in every step.
    for number in range(5):
        load.socket(number, 1 * MS, stays=True)
    for _ in range(10):
        load.reactor.step(budget=2 * MS)
    # Two in a step, and the fifth in a step by itself, which ends the round.
    assert load.calls == [*[0, 1, 2, 3, 4] * 3, 0, 1]


@pytest.mark.parametrize("budget", [0, -1.0, 1e-9, -math.inf, math.nan])
def test_with_next_to_no_budget_a_step_makes_one_call_of_whatever_kind(
    load: Load, budget: float
) -> None:
    reactor = load.reactor
    for kind in range(2):
        load.socket(f"socket {kind}", MS)
        reactor.call_later(0, load.take, f"timer {kind}", MS)
        reactor.call_soon(load.take, f"soon {kind}", MS)
        reactor.call_in_turn(load.take, f"turn {kind}", MS)
        reactor.call_soon_threadsafe(load.take, f"foreign {kind}", MS)
    lefts = []
    while reactor.next_timeout() == 0:
        report = reactor.step(budget=budget)
        assert report.handled == 1
        lefts.append(report.deferred)
    # Both timers are due, and count as one.
    assert lefts == [8, 7, 7, 6, 5, 4, 3, 2, 1, 0]
    assert load.calls == [
        f"{kind} {number}"
        for kind in ("socket", "timer", "soon", "turn", "foreign")
        for number in range(2)
    ]


def test_what_is_scheduled_in_a_round_waits_for_the_next_however_it_is_cut(load: Load) -> None:
    reactor = load.reactor

    def again(name: str) -> None:
        load.take(name, MS)
        reactor.call_soon(load.take, f"after {name}", MS)
        reactor.call_later(0, load.take, f"timer after {name}", MS)

    for name in ("a", "b"):
        reactor.call_soon(again, name)
    reactor.call_later(0, load.take, "timer", MS)
    while reactor.next_timeout() == 0:
        reactor.step(budget=1e-6)
    assert load.calls[:3] == ["timer", "a", "b"]
    assert load.calls[3:] == ["timer after a", "timer after b", "after a", "after b"]


def test_a_step_without_a_budget_ends_a_round_that_was_cut(load: Load) -> None:
    for number in range(5):
        load.socket(number, MS)
    load.reactor.call_soon(load.take, "soon", MS)
    load.reactor.step(budget=2 * MS)
    assert len(load.calls) == 2
    report = load.reactor.step()
    assert (report.handled, report.deferred) == (4, 0)
    assert load.calls[-1] == "soon"


def test_who_is_unregistered_between_two_parts_of_a_round_is_not_called(load: Load) -> None:
    socks: list[Any] = [load.socket(number, MS) for number in range(4)]
    load.reactor.step(budget=1.5 * MS)
    done = set(load.calls)
    gone = next(number for number in range(4) if number not in done)
    load.reactor.unregister(socks[gone])
    load.reactor.step()
    assert sorted(load.calls) == [number for number in range(4) if number != gone]
    load.peers[gone].send(b"x")
    load.reactor.register(socks[gone], EVENT_READ, lambda mask: load.take("back", 0))
    load.reactor.step()
    assert load.calls[-1] == "back"


def test_a_deadline_does_not_fire_before_its_socket_was_read(load: Load) -> None:
    reactor, clock = load.reactor, load.clock
    for number in range(20):
        load.socket(number, MS)
    reactor.call_later(5 * MS, load.take, "deadline", 0)
    clock.advance(4.5 * MS)  # its time comes while the sockets are served
    while "deadline" not in load.calls:
        reactor.step(budget=2 * MS)
    assert load.calls == [*range(20), "deadline"]


def test_time_goes_on_from_part_to_part_of_a_round(load: Load) -> None:
    seen: list[float] = []
    for number in range(3):
        load.socket(number, MS)
        load.reactor.call_soon(lambda: seen.append(load.reactor.now))
    began = load.clock.now
    while load.reactor.next_timeout() == 0:
        load.reactor.step(budget=1e-6)
        load.clock.advance(1.0)
    assert len(seen) == 3
    assert all(now > began + 1 for now in seen)
    assert load.reactor.ends is None


def test_a_call_can_see_that_the_time_is_up(load: Load) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(load.reactor.out_of_time)
        load.clock.advance(2 * MS)
        seen.append(load.reactor.out_of_time)

    load.reactor.call_soon(look)
    load.reactor.step(budget=MS)
    load.reactor.call_soon(look)
    load.reactor.step()
    assert seen == [False, True, False, False]
    assert not load.reactor.out_of_time


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


def test_an_interrupt_in_a_round_that_was_cut_loses_no_more_than_its_call(load: Load) -> None:
    reactor = load.reactor

    def interrupt() -> None:
        raise Interrupted

    for number in range(3):
        load.socket(number, MS)
    reactor.call_soon(interrupt)
    reactor.call_soon(load.take, "soon", MS)
    reactor.step(budget=1.5 * MS)
    with pytest.raises(Interrupted):
        reactor.step()
    assert reactor.ends is None
    while reactor.next_timeout() == 0:
        reactor.step()
    assert sorted(map(str, load.calls)) == ["0", "1", "2", "soon"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0.0005, 0.01))
def test_nobody_waits_for_more_steps_than_a_round_can_have(
    seed: int, sockets: int, budget: float
) -> None:
    random_ = random.Random(seed)
    clock = FakeClock()
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        load = Load(reactor, clock)
        longest = 2 * MS
        for number in range(sockets):
            load.socket(number, random_.uniform(0, longest), stays=True)
        last = dict.fromkeys(range(sockets), 0)
        most = 0
        for step in range(1, 200):
            made = len(load.calls)
            before = clock.now
            reactor.step(budget=budget)
            assert clock.now - before < budget + longest
            for number in load.calls[made:]:
                most = max(most, step - last[number])
                last[number] = step
        # Each step but the last of a round uses up its budget.
        assert most <= math.ceil(sockets * longest / budget) + 2


# ---- lag ----


def test_steps_are_counted_by_their_lag(load: Load) -> None:
    reactor = load.reactor
    for seconds in (0, 0.0005, 0.0015, 0.003, 0.1):
        reactor.call_soon(load.take, seconds, seconds)
        reactor.step()
    stats = reactor.stats()
    assert stats.steps == sum(stats.lag) == 5
    assert stats.lag[:3] == (2, 1, 1)
    assert stats.worst_lag == pytest.approx(0.1)
    assert stats.stalls == 0


def test_a_timer_that_is_late_since_nobody_made_steps_is_a_lag(load: Load) -> None:
    load.reactor.call_later(1, load.take, "timer", 0)
    load.reactor.step()
    load.clock.advance(1.2)
    load.reactor.step()
    assert load.reactor.stats().worst_lag == pytest.approx(0.2)


def test_a_stall_is_told_in_the_step_after(load: Load) -> None:
    reactor = load.reactor
    told: list[float] = []
    reactor.onstall = told.append
    reactor.call_soon(load.take, "slow", 0.24)
    reactor.step()
    reactor.step()
    assert told == []
    reactor.call_soon(load.take, "slow", 2.0)
    reactor.step()
    assert told == []
    assert reactor.next_timeout() == 0
    reactor.step()
    assert told == [pytest.approx(2.0)]
    reactor.call_later(1, load.take, "timer", 0)
    load.clock.advance(61)
    reactor.step()
    reactor.step()
    assert told == [pytest.approx(2.0), pytest.approx(60.0)]
    reactor.step()
    assert len(told) == reactor.stats().stalls == 2


def test_a_host_that_stands_still_while_nothing_is_due_is_known_by_a_timer_alone(
    load: Load,
) -> None:
    reactor = load.reactor
    told: list[float] = []
    reactor.onstall = told.append
    for known in ([], [pytest.approx(59.9)]):
        load.socket("a message that waits", 0)
        load.clock.advance(60)
        for _ in range(3):
            reactor.step()
        assert told == known
        reactor.call_every(0.1, int)
    assert load.calls == ["a message that waits"] * 2


def test_what_was_late_for_a_slow_call_is_not_a_second_stall(load: Load) -> None:
    reactor = load.reactor
    told: list[float] = []
    reactor.onstall = told.append
    reactor.call_later(1, load.take, "timer", 0)
    reactor.call_soon(load.take, "slow", 60.0)
    for _ in range(4):
        reactor.step()
    assert told == [pytest.approx(60.0)]


def test_a_stall_in_the_middle_of_a_round_is_one_too(load: Load) -> None:
    reactor = load.reactor
    told: list[float] = []
    reactor.onstall = told.append
    for number in range(3):
        reactor.call_soon(load.take, number, 3 * MS)
    assert reactor.step(budget=2 * MS).deferred == 2
    load.clock.advance(60.0)
    reactor.step(budget=1.0)
    reactor.step()
    assert told == [pytest.approx(60.0)]
    assert reactor.stats().stalls == 1
    assert reactor.stats().worst_lag == pytest.approx(60.0)


def test_the_clock_that_is_awake_stands_still_in_stalls(load: Load) -> None:
    reactor = load.reactor
    began = reactor.awake
    for seconds in (0.1, 60.0, 0.2):
        reactor.call_soon(load.take, "call", seconds)
        reactor.step()
    reactor.step()
    assert reactor.awake == pytest.approx(began + 0.3)
    assert reactor.stalled == pytest.approx(60.0)
    seen: list[float] = []
    for seconds in (0.1, 5.0):
        reactor.call_soon(load.take, "call", seconds)
        reactor.call_soon(lambda: seen.append(reactor.stalled))
        reactor.step()
    assert seen == [pytest.approx(60.0), pytest.approx(65.0)]
    assert reactor.stalled == pytest.approx(65.0)


def test_a_subclass_may_be_told_of_stalls() -> None:
    told: list[float] = []

    class Told(Reactor):
        def onstall(self, seconds: float) -> None:
            told.append(seconds)

    clock = FakeClock()
    with Told(selector=MemorySelector(), clock=clock) as reactor:
        reactor.call_soon(clock.advance, 1.0)
        reactor.step()
        reactor.step()
    assert told == [pytest.approx(1.0)]


# ---- slow calls ----


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.split(" took ")[0] for message in caplog.messages]


def test_slow_calls_of_all_kinds_are_named(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    def by_timer() -> None:
        clock.advance(0.2)

    def by_call() -> None:
        clock.advance(0.2)

    def by_thread() -> None:
        clock.advance(0.2)

    def by_socket(mask: int) -> None:
        clock.advance(0.2)

    def quick() -> None:
        clock.advance(0.0625)

    with Reactor(selector=MemorySelector(), clock=clock, slow_callback=0.125) as reactor:
        sock: Any
        sock, peer = memory_pair()
        peer.send(b"x")
        reactor.register(sock, EVENT_READ, by_socket)
        reactor.call_later(0, by_timer)
        reactor.call_soon(quick)
        reactor.call_soon(by_call)
        reactor.call_soon_threadsafe(by_thread)
        assert reactor.slow == 0.125
        reactor.step()
        reactor.step()
    prefix = f"{__name__}.test_slow_calls_of_all_kinds_are_named.<locals>."
    expected = [prefix + name for name in ("by_socket", "by_timer", "by_call", "by_thread")]
    assert named(caplog) == expected


def test_a_slow_call_in_close_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    reactor = Reactor(selector=MemorySelector(), clock=clock)
    reactor.call_soon_threadsafe(clock.advance, 5.0)
    reactor.close()
    assert named(caplog) == ["reactor.testing.clock.FakeClock.advance"]


# ---- real sockets ----


def test_a_real_step_keeps_its_budget() -> None:
    busy: list[Callable[[], object]] = []
    with Reactor() as reactor:
        pairs = [socket.socketpair() for _ in range(50)]
        for ours, theirs in pairs:
            theirs.send(b"x")

            def spin(mask: int) -> None:
                end = reactor.clock() + MS
                while reactor.clock() < end:
                    busy.clear()

            reactor.register(ours, EVENT_READ, spin)
        steps = 0
        report = reactor.step(budget=5 * MS)
        while report.deferred:
            steps += 1
            report = reactor.step(budget=5 * MS)
            assert report.handled <= 5
        assert steps >= 9
        for ours, theirs in pairs:
            reactor.unregister(ours)
            ours.close()
            theirs.close()


def test_what_a_call_of_any_kind_raises_is_logged_and_the_others_are_made(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("no")

    reactor = load.reactor
    sock: Any
    sock, peer = memory_pair()
    peer.send(b"x")
    reactor.register(sock, EVENT_READ, fail)
    load.socket("socket", 0)
    reactor.call_later(0, fail)
    reactor.call_later(0, load.take, "timer", 0)
    reactor.call_soon(fail)
    reactor.call_soon(load.take, "soon", 0)
    reactor.call_soon_threadsafe(fail)
    reactor.call_soon_threadsafe(load.take, "foreign", 0)
    reactor.step()
    assert load.calls == ["socket", "timer", "soon", "foreign"]
    assert len(caplog.records) == 4


def test_what_ends_a_wait_is_what_is_scheduled_or_due(load: Load) -> None:
    waits: list[float | None] = []

    class Noting(MemorySelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            waits.append(timeout)
            return super().select(timeout)

    with Reactor(selector=Noting(), clock=load.clock) as reactor:
        for timeout in (0, 2.0, None, 1e9):
            reactor.step(timeout)
        reactor.call_later(5, len, ())
        for timeout in (0, 2.0, None, 1e9):
            reactor.step(timeout)
        reactor.call_soon(len, ())
        reactor.step(None)
        load.clock.advance(100)
        reactor.step(None)
    assert waits[:10] == [0, 2.0, None, 86400.0, 0, 2.0, 5.0, 5.0, 0, 0.0]


def test_a_call_that_was_taken_back_is_passed_over(load: Load) -> None:
    reactor = load.reactor
    for name in ("a", "b", "c"):
        reactor.call_soon_threadsafe(load.take, name, 0)
    reactor._mailbox.cells[1].pop()
    report = reactor.step()
    assert load.calls == ["a", "c"]
    assert report.handled == 2


def test_of_what_takes_turns_eight_go_in_a_round_however_it_is_cut(load: Load) -> None:
    for number in range(20):
        load.reactor.call_in_turn(load.take, number, MS)
    counts = []
    while load.reactor.next_timeout() == 0:
        counts.append(load.reactor.step(budget=3.5 * MS).handled)
    assert load.calls == list(range(20))
    assert max(counts) <= 4
    for number in range(20):
        load.reactor.call_in_turn(load.take, number, MS)
    assert [load.reactor.step().handled for _ in range(3)] == [8, 8, 4]


def test_who_was_called_last_is_held_by_nobody_while_run_waits(reactor: Reactor) -> None:
    ours, peer = memory_pair()
    sock: Any = ours

    class Owner:
        def ready(self, mask: int) -> None:
            reactor.unregister(sock)
            reactor.call_later(0, look)

    def look() -> None:
        gc.collect()
        alive.append(known() is not None)
        reactor.stop()

    owner, alive = Owner(), list[bool]()
    known = weakref.ref(owner)
    reactor.register(sock, EVENT_READ, owner.ready)
    del owner
    peer.send(b"x")
    reactor.run()
    assert alive == [False]
