"""`reactor/loop/reactor.py`: wait for sockets and timers, and call what is due."""

from __future__ import annotations

import gc
import math
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import InvalidState, Reactor
from reactor.loop import pollable as forks
from reactor.loop.reactor import EVENT_READ, EVENT_WRITE, Pollable
from reactor.loop.timers import STALL
from reactor.loop.transport import Transport
from reactor.testing import FakeClock, MemorySelector, memory_pair

from .helpers import (
    PATIENCE,
    CountingSelector,
    descriptors,
    run_python,
    status_of_child,
    turn_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PYPY = sys.implementation.name == "pypy"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    """In memory, with time that stands still."""
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        yield reactor


@pytest.fixture
def selector() -> CountingSelector:
    return CountingSelector()


@pytest.fixture
def real(selector: CountingSelector) -> Iterator[Reactor]:
    """On the system's sockets and clock."""
    with Reactor(selector=selector) as reactor:
        yield reactor


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other:
        yield one, other


def nothing(*args: object) -> None:
    """Called, and that is all."""


class Service:
    """Ends when it is told to, at once or later."""

    def __init__(self, reactor: Reactor, at_once: bool) -> None:
        self.reactor = reactor
        self.at_once = at_once
        self.calls: list[str] = []
        reactor.attach(self)

    def stop(self) -> None:
        self.calls.append("stop")
        if self.at_once:
            self.reactor.detach(self)

    def abort(self) -> None:
        self.calls.append("abort")
        self.reactor.detach(self)


# ---- a step ----


def test_sockets_come_before_timers_and_timers_before_calls(
    reactor: Reactor, clock: FakeClock
) -> None:
    one, other = memory_pair()
    order: list[str] = []
    reactor.call_soon_threadsafe(order.append, "thread")
    reactor.call_soon(order.append, "soon")
    reactor.call_later(1.0, order.append, "timer")
    reactor.register(one, EVENT_READ, lambda mask: order.append("socket"))
    other.send(b"x")
    clock.advance(2.0)
    reactor.step(0)
    assert order == ["socket", "timer", "soon", "thread"]


def test_a_timer_whose_time_comes_while_sockets_are_served_waits_for_the_next_step(
    reactor: Reactor, clock: FakeClock
) -> None:
    one, other = memory_pair()
    called: list[float] = []
    reactor.register(one, EVENT_READ, lambda mask: clock.advance(5.0))
    reactor.call_later(3.0, lambda: called.append(reactor.now))
    other.send(b"x")
    start = clock.now
    reactor.step(0)
    assert called == []
    reactor.step(0)
    assert called == [start + 5.0]


def test_what_callbacks_schedule_runs_in_the_next_step(reactor: Reactor) -> None:
    steps: list[tuple[str, int]] = []
    step = 0

    def note(name: str, fn: Callable[[], object]) -> Callable[[], None]:
        def call() -> None:
            steps.append((name, step))
            fn()

        return call

    last = note("last", lambda: None)
    ways: list[Callable[[], object]] = [
        lambda: reactor.call_soon(last),
        lambda: reactor.call_soon_threadsafe(last),
        lambda: reactor.call_later(0, last),
        lambda: reactor.call_later(-5, last),
        lambda: reactor.call_at(0, last),
    ]
    for way in ways:
        for schedule in (reactor.call_soon, reactor.call_soon_threadsafe):
            schedule(note("first", way))
        reactor.call_later(0, note("first", way))
    for _ in range(3):
        step += 1
        reactor.step(0)
    assert sorted(steps) == [("first", 1)] * 15 + [("last", 2)] * 15


@pytest.mark.parametrize("when", [-1000.0, -1.0, 0.0])
def test_a_timer_that_makes_its_like_again_holds_neither_the_loop_nor_other_timers(
    reactor: Reactor, clock: FakeClock, when: float
) -> None:
    calls: list[str] = []

    def again() -> None:
        calls.append("again")
        reactor.call_at(clock.now + when, again)

    reactor.call_later(0.0, again)
    for number in range(3):
        reactor.call_later(number * 0.1, calls.append, "other")
    clock.advance(1.0)
    reactor.step(0)
    assert calls == ["again", "other", "other", "other"]
    reactor.step(0)
    assert calls[4:] == ["again"]


def test_what_makes_its_like_again_does_not_hold_the_sockets(reactor: Reactor) -> None:
    one, other = memory_pair()
    turns: list[bytes] = []

    def soon() -> None:
        reactor.call_soon(soon)

    def foreign() -> None:
        reactor.call_soon_threadsafe(foreign)

    soon()
    foreign()
    reactor.register(one, EVENT_READ, lambda mask: turns.append(one.recv(1)))
    other.send(b"abc")
    for _ in range(3):
        reactor.step(0)
    assert turns == [b"a", b"b", b"c"]


def test_a_step_inside_a_step_raises(reactor: Reactor) -> None:
    raised: list[str] = []

    def nested(fn: Callable[[], object]) -> None:
        with pytest.raises(RuntimeError, match="from inside a step") as info:
            fn()
        raised.append(str(info.value))

    assert not reactor.stepping
    reactor.call_soon(lambda: raised.append(str(reactor.stepping)))
    for fn in (reactor.step, reactor.run, reactor.close):
        reactor.call_soon(nested, fn)
    reactor.step(0)
    assert raised == ["True"] + [
        f"{name}() is called from inside a step" for name in ("step", "run", "close")
    ]
    assert not reactor.stepping


def test_a_callback_that_raises_does_not_stop_the_loop_and_is_logged(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = memory_pair()
    called: list[int] = []

    def fails(*args: object) -> None:
        raise LookupError("a bug of the user's")

    reactor.register(one, EVENT_READ, fails)
    other.send(b"x")
    for schedule in (reactor.call_soon, reactor.call_soon_threadsafe):
        schedule(fails)
        schedule(called.append, 1)
    reactor.call_later(0, fails)
    reactor.call_later(0, called.append, 1)
    reactor.call_soon(_Failing())
    reactor.step(0)
    assert called == [1, 1, 1]
    assert caplog.text.count("LookupError: a bug of the user's") == 4
    assert caplog.text.count("fails' raised") == 4
    assert "a call of <failing> raised" in caplog.text
    assert {record.name for record in caplog.records} == {"reactor"}


class _Failing:
    """A callable without a name."""

    def __call__(self) -> None:
        raise ValueError("it fails")

    def __repr__(self) -> str:
        return "<failing>"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["socket", "timer", "soon", "foreign"])
def test_an_interrupt_leaves_the_step_and_nothing_scheduled_is_lost(
    reactor: Reactor, clock: FakeClock, where: str, error: type[BaseException]
) -> None:
    one, other = memory_pair()
    calls: list[str] = []
    interrupted: list[str] = []

    def call(name: str) -> None:
        if name == where and not interrupted:
            interrupted.append(name)
            raise error
        calls.append(name)

    def ready(mask: int) -> None:
        call("socket")
        one.recv(1)

    reactor.register(one, EVENT_READ, ready)
    other.send(b"x")
    for _ in range(2):
        reactor.call_later(0, call, "timer")
        reactor.call_soon(call, "soon")
        reactor.call_soon_threadsafe(call, "foreign")
    with pytest.raises(error):
        reactor.step(0)
    assert not reactor.stepping
    reactor.step(0)
    # A socket is reported again; of the others the one that raised has had its call.
    times = {"socket": 1, "timer": 2, "soon": 2, "foreign": 2}
    if where != "socket":
        times[where] -= 1
    assert {name: calls.count(name) for name in times} == times


def test_what_takes_a_while_is_called_in_turn_eight_in_a_step(reactor: Reactor) -> None:
    called: list[int] = []
    for number in range(20):
        reactor.call_in_turn(called.append, number)
    assert called == []
    for expected in (8, 16, 20):
        assert reactor.next_timeout() == 0
        reactor.step(0)
        assert called == list(range(expected))
    assert reactor.next_timeout() is None
    reactor.step(0)
    reactor.call_in_turn(called.append, 20)
    reactor.step(0)
    assert called == list(range(21))


@pytest.mark.parametrize("count", [1, 5, 8, 9, 30])
def test_what_calls_in_turn_add_is_for_a_later_step_and_never_more_than_eight(
    reactor: Reactor, count: int
) -> None:
    steps: list[list[tuple[int, int]]] = []

    def call(number: int, again: int) -> None:
        steps[-1].append((number, again))
        if again:
            reactor.call_in_turn(call, number, again - 1)

    for number in range(count):
        reactor.call_in_turn(call, number, 10)
    while reactor.next_timeout() == 0:
        steps.append([])
        reactor.step(0)
    assert [call for step in steps for call in step] == [
        (number, again) for again in range(10, -1, -1) for number in range(count)
    ]
    assert max(map(len, steps)) == min(count, 8)
    assert [] not in steps, "a step for nothing"


def test_a_call_in_turn_that_fails_does_not_stop_the_others(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError("not my day")

    def interrupt() -> None:
        raise KeyboardInterrupt

    reactor.call_in_turn(fail)
    reactor.call_in_turn(called.append, 1)
    reactor.call_in_turn(interrupt)
    reactor.call_in_turn(called.append, 2)
    with pytest.raises(KeyboardInterrupt):
        reactor.step(0)
    assert "not my day" in caplog.text
    assert called == [1]
    reactor.step(0)
    assert called == [1, 2]
    reactor.call_in_turn(interrupt)
    with pytest.raises(KeyboardInterrupt):
        reactor.step(0)
    assert reactor.next_timeout() is None
    reactor.call_in_turn(called.append, 3)
    reactor.step(0)
    assert called == [1, 2, 3]


def test_the_time_stands_still_within_a_step(reactor: Reactor, clock: FakeClock) -> None:
    timers = []
    start = clock.now

    def late() -> None:
        clock.advance(100.0)
        assert reactor.now == start
        timers.append(reactor.call_later(5.0, nothing))

    reactor.call_soon(late)
    reactor.step(0)
    timers.append(reactor.call_later(5.0, nothing))
    assert [timer.when - start for timer in timers] == [5.0, 105.0]


# ---- how long a step waits ----


def test_a_step_waits_no_longer_than_it_may(
    reactor: Reactor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    poll = reactor._selector.poll

    def look(timeout: float, most: int) -> list[tuple[int, int]]:
        waits.append(timeout)
        found: list[tuple[int, int]] = poll(timeout, most)
        return found

    monkeypatch.setattr(reactor._selector, "poll", look)
    reactor.step(None)
    reactor.step(2.0)
    reactor.call_later(5.0, nothing)
    reactor.step(None)
    reactor.step(2.0)
    clock.advance(4.0)
    reactor.step(2.0)
    assert waits == [-1, 2.0, 5.0, 2.0, 1.0]
    clock.advance(4.0)
    assert reactor.next_timeout() == 0.0
    reactor.step(2.0)
    assert waits[5:] == [0.0]
    assert reactor.next_timeout() is None
    for schedule in (reactor.call_soon, reactor.call_soon_threadsafe):
        schedule(nothing)
        assert reactor.next_timeout() == 0
        reactor.step(None)
        assert waits.pop() == 0


@pytest.mark.parametrize("seconds", [30 * 86400.0, 1e12, float("inf")])
def test_a_timer_of_the_far_future_does_not_break_the_wait(
    real: Reactor, selector: CountingSelector, seconds: float
) -> None:
    real.call_later(seconds, nothing)
    real.call_soon_threadsafe(nothing)
    real.step(None)
    real.call_soon_threadsafe(nothing)
    real.step(seconds)
    assert real.next_timeout() == 86400.0
    selector.before = lambda: real.call_soon_threadsafe(nothing)
    real.step(None)
    assert selector.timeouts == [0, 0, 86400.0]


def test_who_is_idle_makes_no_turns(real: Reactor, selector: CountingSelector) -> None:
    real.call_later(0.3, real.stop)
    real.run()
    assert selector.turns <= 3


def test_a_time_that_is_no_number_holds_nothing_up(reactor: Reactor) -> None:
    called: list[str] = []
    reactor.call_later(float("nan"), called.append, "nan")
    reactor.call_later(0, called.append, "other")
    reactor.step(0)
    assert sorted(called) == ["nan", "other"]


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_an_interval_has_to_be_above_zero(reactor: Reactor, interval: float) -> None:
    with pytest.raises(ValueError, match="not above zero"):
        reactor.call_every(interval, nothing)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "cancel", "move", "step"]),
            st.integers(-2, 9),
            st.integers(0, 99),
        ),
        max_size=60,
    )
)
def test_timers_are_called_as_a_sorted_list_would_have_it(
    actions: list[tuple[str, int, int]],
) -> None:
    clock = FakeClock()
    called: list[int] = []
    expected: list[int] = []
    active: dict[int, Any] = {}
    made = 0
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        for action, delay, number in [*actions, ("step", 9, 0)]:
            if action in ("cancel", "move") and active:
                active.pop(sorted(active)[number % len(active)]).cancel()
            if action in ("add", "move"):
                made += 1
                active[made] = reactor.call_later(delay, called.append, made)
            if action == "step":
                clock.advance(max(0, delay))
                due = sorted((t.when, n) for n, t in active.items() if t.when <= clock.now)
                reactor.step(0)
                expected += [n for _, n in due]
                for _, n in due:
                    assert not active.pop(n).active
            assert called == expected


# ---- threads ----


def test_calls_of_other_threads_all_run_in_the_order_of_each(real: Reactor) -> None:
    threads, each = 8, 10_000
    seen: list[list[int]] = [[] for _ in range(threads)]
    left = threads

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            real.stop()

    def work(mine: list[int]) -> None:
        for number in range(each):
            real.call_soon_threadsafe(mine.append, number)
        real.call_soon_threadsafe(done)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in seen]
    for worker in workers:
        worker.start()
    real.run()
    for worker in workers:
        worker.join()
    assert seen == [list(range(each))] * threads


def test_each_call_of_another_thread_ends_a_wait(real: Reactor) -> None:
    # One at a time: a wake-up that is lost would leave both waiting.
    rounds = 2000
    answers: list[int] = []
    turn = threading.Semaphore(0)

    def answer(number: int) -> None:
        answers.append(number)
        turn.release()

    def work() -> None:
        for number in range(rounds):
            real.call_soon_threadsafe(answer, number)
            assert turn.acquire(timeout=PATIENCE)
        real.stop()

    worker = threading.Thread(target=work)
    worker.start()
    real.run()
    worker.join()
    assert answers == list(range(rounds))


def test_a_call_between_two_steps_shows_at_the_descriptor(real: Reactor) -> None:
    called: list[int] = []
    for number in range(3):
        assert not select.select([real.fileno()], [], [], 0)[0]
        real.call_soon_threadsafe(called.append, number)
        assert select.select([real.fileno()], [], [], 0)[0]
        real.step(0)
    assert called == [0, 1, 2]


def test_a_call_after_one_that_ended_a_wait_shows_at_the_descriptor(
    real: Reactor, selector: CountingSelector
) -> None:
    called: list[int] = []
    selector.before = lambda: real.call_soon_threadsafe(called.append, 1)
    real.step(None)
    selector.before = lambda: None
    assert not select.select([real.fileno()], [], [], 0)[0]
    real.call_soon_threadsafe(called.append, 2)
    assert select.select([real.fileno()], [], [], 0)[0]
    real.step(0)
    assert called == [1, 2]


def test_a_call_made_during_the_wait_runs_in_that_step(
    real: Reactor, selector: CountingSelector
) -> None:
    called: list[int] = []
    selector.before = lambda: real.call_soon_threadsafe(called.append, 1)
    real.step(None)
    assert called == [1]


def test_a_stop_just_before_the_wait_ends_it(real: Reactor, selector: CountingSelector) -> None:
    def before() -> None:
        if selector.turns == 2:
            real.stop()  # as another thread does, between the look at the flag and the wait

    selector.before = before
    selector.turns = 0
    real.call_soon(nothing)
    real.run()
    assert selector.turns == 2


def test_stop_from_another_thread_ends_run(real: Reactor) -> None:
    for _ in range(200):
        running = threading.Event()
        real.call_soon(running.set)

        def stop(running: threading.Event = running) -> None:
            assert running.wait(PATIENCE)
            real.stop()

        worker = threading.Thread(target=stop)
        worker.start()
        real.run()
        worker.join()


def test_stop_means_the_run_that_has_begun_and_a_scheduled_stop_the_next(
    real: Reactor, selector: CountingSelector
) -> None:
    real.stop()
    real.call_soon_threadsafe(real.stop)
    real.run()
    assert selector.turns == 1


def test_use_from_another_thread_raises_during_a_step(reactor: Reactor) -> None:
    one, _ = memory_pair()
    sock: Any = one
    pollable = Pollable(sock)
    reactor.register(one, EVENT_READ, nothing)
    reactor.adopt(pollable)
    timer, repeated = reactor.call_later(1, nothing), reactor.call_every(1, nothing)
    uses: list[Callable[[], object]] = [
        timer.cancel,
        repeated.cancel,
        reactor.shutdown,
        lambda: reactor.attach(None),  # type: ignore[arg-type]
        lambda: reactor.step(0),
        lambda: reactor.next_timeout(),
        lambda: reactor.interests(),
        lambda: reactor.run(),
        lambda: reactor.close(),
        lambda: reactor.call_soon(nothing),
        lambda: reactor.call_later(1, nothing),
        lambda: reactor.call_at(1, nothing),
        lambda: reactor.call_every(1, nothing),
        lambda: reactor.register(one, EVENT_READ, nothing),
        lambda: reactor.modify(one, EVENT_READ, nothing),
        lambda: reactor.unregister(one),
        lambda: reactor.adopt(pollable),
        lambda: reactor.release(pollable),
    ]
    raised: list[str] = []

    def use_all() -> None:
        for use in uses:
            with pytest.raises(RuntimeError) as info:
                use()
            raised.append(str(info.value))

    def in_thread() -> None:
        worker = threading.Thread(target=use_all)
        worker.start()
        worker.join()

    reactor.call_soon(in_thread)
    reactor.step(0)
    assert len(raised) == len(uses)
    assert set(raised) == {
        "the reactor is used from a thread other than its own, which may call"
        " call_soon_threadsafe, send_threadsafe and stop only"
    }
    assert not one.closed
    assert timer.active
    assert repeated.active
    timer.cancel()
    repeated.cancel()
    assert reactor.next_timeout() is None
    reactor.release(pollable)


def test_between_steps_another_thread_may_take_over(real: Reactor) -> None:
    real.step(0)
    seen: list[int] = []

    def work() -> None:
        real.call_soon(seen.append, threading.get_ident())
        real.run()

    worker = threading.Thread(target=work)
    worker.start()
    real.call_soon_threadsafe(real.stop)
    worker.join(PATIENCE)
    assert seen == [worker.ident]


def test_a_call_or_stop_that_races_with_close_never_hangs() -> None:
    for _ in range(30):
        reactor = Reactor()
        begun = threading.Event()
        outcome: list[Exception] = []

        def work(
            reactor: Reactor = reactor,
            begun: threading.Event = begun,
            outcome: list[Exception] = outcome,
        ) -> None:
            begun.set()
            try:
                while True:
                    reactor.call_soon_threadsafe(nothing)
                    reactor.stop()
            except Exception as raised:
                outcome.append(raised)

        worker = threading.Thread(target=work)
        worker.start()
        assert begun.wait(PATIENCE)
        reactor.step(0)
        reactor.close()
        worker.join(PATIENCE)
        assert [str(error) for error in outcome] == ["the reactor is closed"]
        assert type(outcome[0]) is InvalidState
        reactor.stop()


# ---- sockets ----


def test_a_registered_socket_is_called_with_what_is_ready(
    real: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    masks: list[int] = []
    real.register(one, EVENT_READ, masks.append)
    real.step(0)
    assert masks == []
    other.send(b"x")
    real.step(None)
    assert masks == [EVENT_READ]
    real.modify(one, EVENT_READ | EVENT_WRITE, masks.append)
    real.step(None)
    assert masks == [EVENT_READ, EVENT_READ | EVENT_WRITE]
    real.unregister(one)
    real.step(0)
    assert len(masks) == 2


def test_what_cannot_be_registered_raises(
    real: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    with pytest.raises(KeyError):
        real.modify(one, EVENT_READ, nothing)
    with pytest.raises(KeyError):
        real.unregister(one)
    with pytest.raises(ValueError, match=r"[Ee]vent"):
        real.register(one, 0, nothing)
    real.register(one, EVENT_READ, nothing)
    with pytest.raises(KeyError):
        real.register(one, EVENT_READ, nothing)
    other.close()
    with pytest.raises(ValueError, match=r"-1|[Ii]nvalid"):
        real.register(other, EVENT_READ, nothing)


def both_ready(real: Reactor, action: Callable[[socket.socket], object]) -> list[int]:
    """Have two sockets ready in one step; the one called first does `action` to the other."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def ready(number: int) -> Callable[[int], None]:
        def call(mask: int) -> None:
            called.append(number)
            pairs[number][0].recv(1)
            if len(called) == 1:
                action(pairs[1 - number][0])

        return call

    for number, (mine, theirs) in enumerate(pairs):
        mine.setblocking(False)
        real.register(mine, EVENT_READ, ready(number))
        theirs.send(b"x")
    turn_until(real, lambda: called)
    first = list(called)
    for mine, theirs in pairs:
        if mine.fileno() >= 0:
            real.unregister(mine)
        mine.close()
        theirs.close()
    return first


def test_who_is_unregistered_by_an_earlier_callback_is_not_called(real: Reactor) -> None:
    def close(sock: socket.socket) -> None:
        real.unregister(sock)
        sock.close()

    assert len(both_ready(real, close)) == 1


def test_a_new_socket_under_the_number_of_a_closed_one_gets_nothing_of_its(
    real: Reactor,
) -> None:
    called: list[int] = []
    new: list[socket.socket] = []

    def replace(sock: socket.socket) -> None:
        number = sock.fileno()
        real.unregister(sock)
        sock.close()
        new.extend(socket.socketpair())
        assert number in [sock.fileno() for sock in new]
        for sock in new:
            real.register(sock, EVENT_READ, called.append)

    assert len(both_ready(real, replace)) == 1
    real.step(0)
    assert called == []
    new[0].send(b"x")
    real.step(None)
    assert called == [EVENT_READ]
    for sock in new:
        real.unregister(sock)
        sock.close()


def test_who_is_changed_by_an_earlier_callback_is_not_called_as_before(real: Reactor) -> None:
    called: list[int] = []
    first = both_ready(real, lambda sock: real.modify(sock, EVENT_READ, called.append))
    assert len(first) == 1
    assert len(both_ready(real, lambda sock: real.modify(sock, EVENT_WRITE, nothing))) == 1


def test_a_change_that_asks_for_more_does_not_delay_what_is_ready(real: Reactor) -> None:
    def widen(sock: socket.socket) -> None:
        before = real._selector.get_key(sock)
        real.modify(sock, EVENT_READ | EVENT_WRITE, before.data)

    assert len(both_ready(real, widen)) == 2


def test_nothing_of_a_batch_is_kept_alive_after_it(real: Reactor) -> None:
    class Watched(Pollable):
        __slots__ = ("__weakref__",)

        def ready(self, mask: int) -> None:
            real.release(self)

    sock, other = socket.socketpair()
    watched = Watched(sock)
    alive = weakref.ref(watched)
    real.adopt(watched)
    real.register(sock, EVENT_READ, watched.ready)
    other.close()
    turn_until(real, lambda: sock.fileno() < 0)
    del watched
    gc.collect()
    assert alive() is None


def test_what_is_released_is_unregistered_and_closed_once(
    real: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    for registered in (True, False):
        mine, theirs = socket.socketpair()
        pollable = Pollable(mine)
        real.adopt(pollable)
        if registered:
            real.register(mine, EVENT_READ, nothing)
        for _ in range(2):
            real.release(pollable)
            assert mine.fileno() == -1
        assert len(real._selector.get_map()) == 1
        theirs.close()


def test_what_is_adopted_can_be_registered_with_it(real: Reactor) -> None:
    mine, theirs = socket.socketpair()
    masks: list[int] = []
    real.adopt(Pollable(mine), masks.append)
    theirs.send(b"x")
    real.step(5)
    assert masks == [EVENT_READ]
    theirs.close()


def test_what_is_adopted_and_cannot_be_registered_is_closed(real: Reactor) -> None:
    mine, theirs = socket.socketpair()
    real.register(mine, EVENT_READ, nothing)
    pollable = Pollable(mine)
    with pytest.raises(KeyError):
        real.adopt(pollable, nothing)
    assert mine.fileno() == -1
    assert pollable not in real._pollables
    theirs.close()


def test_a_call_within_a_call_is_counted_timed_and_guarded_by_itself(
    reactor: Reactor, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def slow() -> None:
        clock.advance(1.0)
        raise ValueError("no")

    done: list[str] = []

    def outer() -> None:
        reactor.call_now(slow)
        done.append("went on")

    reactor.call_soon(outer)
    assert reactor.step(0).handled == 2
    assert done == ["went on"]
    raised, named = (record.getMessage() for record in caplog.records)
    assert "slow' raised" in raised
    assert "slow took 1.000 s" in named


def test_what_was_closed_behind_our_back_is_released_all_the_same(real: Reactor) -> None:
    for registered in (True, False):
        mine, theirs = socket.socketpair()
        pollable = Pollable(mine)
        real.adopt(pollable)
        if registered:
            real.register(mine, EVENT_READ, nothing)
        mine.close()
        theirs.close()
        real.release(pollable)
        assert len(real._selector.get_map()) == 1
        real.step(0)


def test_the_descriptor_is_readable_when_there_is_something_to_do(
    real: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    real.register(one, EVENT_READ, lambda mask: one.recv(9))
    assert not select.select([real.fileno()], [], [], 0)[0]
    other.send(b"x")
    assert select.select([real.fileno()], [], [], PATIENCE)[0]
    real.step(0)
    assert not select.select([real.fileno()], [], [], 0)[0]


def test_the_selector_is_the_best_that_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with Reactor() as reactor:
        assert reactor.fileno() >= 0 or not sys.platform.startswith("linux")
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    with Reactor() as reactor:
        assert type(reactor._selector.selector) is selectors.SelectSelector


def test_a_selector_without_a_descriptor_says_so() -> None:
    with Reactor(selector=selectors.SelectSelector()) as reactor:
        with pytest.raises(AttributeError, match=r"SelectSelector.*fileno"):
            reactor.fileno()
        called: list[int] = []
        reactor.call_soon_threadsafe(called.append, 1)
        reactor.step(None)
        assert called == [1]


# ---- the end ----


def test_close_frees_every_descriptor_and_may_be_called_again() -> None:
    before = descriptors()
    reactor = Reactor()
    mine, theirs = socket.socketpair()
    reactor.adopt(Pollable(mine))
    reactor.register(mine, EVENT_READ, nothing)
    reactor.call_soon(nothing)
    reactor.call_later(1, nothing)
    assert not reactor.closed
    for _ in range(2):
        reactor.close()
        assert reactor.closed
    theirs.close()
    assert descriptors() == before


def test_what_was_scheduled_is_let_go_at_the_end() -> None:
    class Watched:
        def call(self) -> None:
            """Never called."""

    watched = Watched()
    alive = weakref.ref(watched)
    reactor = Reactor()
    timer = reactor.call_later(1, watched.call)
    reactor.call_soon(watched.call)
    reactor.call_in_turn(watched.call)
    reactor.call_soon_threadsafe(watched.call)
    reactor.close()
    timer.cancel()
    del watched
    gc.collect()
    assert alive() is None


def test_a_closed_reactor_says_so(pair: tuple[socket.socket, socket.socket]) -> None:
    reactor = Reactor()
    reactor.close()
    uses: list[Callable[[], object]] = [
        lambda: reactor.step(0),
        lambda: reactor.run(),
        lambda: reactor.call_soon_threadsafe(nothing),
        lambda: reactor.register(pair[0], EVENT_READ, nothing),
        lambda: reactor.modify(pair[0], EVENT_READ, nothing),
        lambda: reactor.unregister(pair[0]),
    ]
    for use in uses:
        with pytest.raises(InvalidState, match="the reactor is closed"):
            use()
    reactor.stop()


class _Interrupting(Pollable):
    """Interrupts the first close, before or after the socket is closed."""

    __slots__ = ("late", "times")

    def __init__(self, sock: socket.socket, late: bool) -> None:
        super().__init__(sock)
        self.late = late
        self.times = 0

    def dispose(self) -> None:
        self.times += 1
        if self.late:
            super().dispose()
        if self.times == 1:
            raise KeyboardInterrupt
        super().dispose()


@pytest.mark.parametrize("late", [False, True])
def test_a_close_that_is_interrupted_can_be_finished(late: bool) -> None:
    before = descriptors()
    reactor = Reactor()
    ends = []
    for _ in range(3):
        mine, theirs = socket.socketpair()
        ends.append(theirs)
        reactor.adopt(_Interrupting(mine, late))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            reactor.close()
    reactor.close()
    for end in ends:
        end.close()
    assert descriptors() == before


class _Tracer:
    """Raises KeyboardInterrupt at the n-th line that runs in this wing."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: Any, event: str, arg: object) -> Any:
        folder = os.path.dirname(forks.__file__)
        return self.trace if frame.f_code.co_filename.startswith(folder) else None

    def trace(self, frame: Any, event: str, arg: object) -> Any:
        if event == "line":
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return self.trace


class _Echo:
    """Sends back what comes."""

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self.transport = Transport(reactor, sock, self, self.received)

    def received(self, data: bytes) -> None:
        self.transport.cork()
        self.transport.write(data)
        self.transport.uncork()

    def drained(self) -> None:
        """Nothing waits for it."""

    def emptied(self) -> None:
        """Nothing waits for it."""

    def gone(self, error: Exception | None) -> None:
        """Nothing waits for it."""


def test_an_interrupt_at_any_line_leaves_everything_closable() -> None:
    before = descriptors()
    tracing = sys.gettrace()
    line = 0
    interrupted = True
    while interrupted:
        line += 1
        reactor = Reactor()
        mine, theirs = socket.socketpair()
        theirs.send(b"hello")
        tracer = _Tracer(line)
        interrupted = False
        sys.settrace(tracer)
        try:
            echo = _Echo(reactor, mine)
            reactor.call_later(0, nothing)
            reactor.call_in_turn(nothing)
            reactor.step(0)
            reactor.step(0)
            echo.transport.finish()
            reactor.close()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(tracing)
        reactor.close()
        mine.close()  # it is the test's own when the interrupt came before it was adopted
        theirs.close()
        assert descriptors() == before, f"after an interrupt at line {line}"
    assert line > 100


# ---- services ----


def test_shutdown_stops_all_services_and_run_returns_with_the_last(real: Reactor) -> None:
    quick, slow = Service(real, True), Service(real, False)
    real.call_soon(real.shutdown)
    seen: list[list[str]] = []

    def end() -> None:
        seen.append(quick.calls + slow.calls)
        real.detach(slow)

    real.call_soon(real.call_soon, end)  # in the step after that
    real.run()
    assert seen == [["stop", "stop"]]
    real.detach(slow)


def test_shutdown_without_services_ends_run(real: Reactor) -> None:
    real.call_soon(real.shutdown)
    real.run()


def test_close_closes_the_services(reactor: Reactor) -> None:
    one, other = Service(reactor, True), Service(reactor, False)
    reactor.close()
    reactor.close()
    assert one.calls == other.calls == ["abort"]


class _Late(Service):
    """Ends some steps after it was told to, when it has told everybody; or never."""

    def __init__(self, reactor: Reactor, steps: int) -> None:
        super().__init__(reactor, False)
        self.steps = steps
        self.at_end: Callable[[], object] = lambda: None

    def abort(self) -> None:
        self.calls.append("abort")
        self._go_on(self.steps)

    def _go_on(self, steps: int) -> None:
        self.calls.append(f"{steps}")
        if steps > 0:
            self.reactor.call_soon(self._go_on, steps - 1)
        elif self.steps > 0:
            self.at_end()
            self.reactor.detach(self)


def test_close_has_every_service_tell_of_its_end_before_it_closes_anything(
    reactor: Reactor,
) -> None:
    mine, _ = memory_pair()
    held: Any = mine
    reactor.adopt(Pollable(held))
    services = [_Late(reactor, steps) for steps in (1, 3, 2)]
    closed_at: list[bool] = []
    services[1].at_end = lambda: closed_at.append(mine.closed)
    reactor.close()
    assert closed_at == [False]
    assert [service.calls[-1] for service in services] == ["0"] * 3
    assert [service.calls.count("abort") for service in services] == [1] * 3
    assert mine.closed


def test_close_does_not_wait_for_a_service_that_never_ends(reactor: Reactor) -> None:
    never = _Late(reactor, 0)
    reactor.close()
    assert never.calls == ["abort", "0"]
    assert reactor.closed


def test_drain_makes_steps_until_the_service_has_ended_and_no_further(
    reactor: Reactor,
) -> None:
    service, other = _Late(reactor, 2), _Late(reactor, 9)
    service.abort()
    other.abort()
    reactor.drain(service)
    assert service.calls[-1] == "0"
    assert other.calls[-1] == "7"
    reactor.drain(service)
    assert other.calls[-1] == "7"


def test_drain_ends_with_the_reactor(reactor: Reactor) -> None:
    service = _Late(reactor, 1 << 30)
    service.abort()
    reactor.call_soon(reactor.abandon)
    reactor.drain(service)
    assert reactor.closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_gracefully_and_a_second_one_at_once(
    real: Reactor, number: signal.Signals
) -> None:
    service = Service(real, False)
    seen: list[list[str]] = []

    def again() -> None:
        if service.calls:
            seen.append(list(service.calls))
            os.kill(os.getpid(), number)
        else:  # one that comes before the first is read is another case
            real.call_soon(again)

    real.call_soon(os.kill, os.getpid(), number)
    real.call_soon(again)
    real.run()
    assert seen == [["stop"]]
    assert service.calls == ["stop"]


def test_a_signal_that_came_too_late_does_not_end_the_next_run(real: Reactor) -> None:
    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real.stop()

    real.call_soon(end)
    real.run()
    turned: list[int] = []
    real.call_later(0.02, turned.append, 1)
    real.call_later(0.04, real.stop)
    real.run()
    assert turned == [1]


# ---- fork ----


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@needs_fork
def test_after_a_fork_the_parent_goes_on_and_the_child_has_nothing(
    real: Reactor, selector: CountingSelector
) -> None:
    mine, theirs = socket.socketpair()
    echo = _Echo(real, mine)
    numbers = [mine.fileno(), real.fileno()]
    numbers += [real._wakeup.reader.fileno(), real._wakeup.writer.fileno()]

    def child() -> None:
        assert not any(map(is_open, numbers))
        uses: list[Callable[[], object]] = [
            lambda: real.step(0),
            lambda: real.run(),
            lambda: real.call_soon_threadsafe(nothing),
            lambda: real.register(theirs, EVENT_READ, nothing),
        ]
        for use in uses:
            with pytest.raises(RuntimeError, match="after a fork; make a new one"):
                use()
        assert real.closed
        assert not echo.transport.write(b"from the child")
        real.stop()
        real.close()
        with Reactor() as another:
            another.call_soon_threadsafe(another.stop)
            another.run()

    assert status_of_child(child) == 0
    theirs.settimeout(PATIENCE)
    for message in (b"still", b"here"):
        theirs.send(message)
        real.step(None)
        assert theirs.recv(99) == message
    echo.transport.abort()
    theirs.close()


@needs_fork
def test_a_fork_inside_a_step_ends_the_step_in_the_child(real: Reactor) -> None:
    calls: list[str] = []
    status: list[int] = []
    in_child: list[bool] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def fork(mask: int) -> None:
        pairs[0][0].recv(1)
        pairs[1][0].recv(1)
        if status or in_child:
            return
        number = os.fork()
        if number == 0:
            in_child.append(True)
            return
        status.append(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))

    for mine, theirs in pairs:
        mine.setblocking(False)
        real.register(mine, EVENT_READ, fork)
        theirs.send(b"x")
    real.call_later(0, calls.append, "timer")
    real.call_soon(calls.append, "soon")
    real.call_soon_threadsafe(calls.append, "foreign")
    try:
        real.step(None)
        if in_child:
            assert not real.stepping
            assert calls == []
            with pytest.raises(RuntimeError, match="after a fork"):
                real.step(0)
    except BaseException:
        if in_child:
            os._exit(1)
        raise
    if in_child:
        os._exit(0)
    assert status == [0]
    assert calls == ["timer", "soon", "foreign"]
    for mine, theirs in pairs:
        real.unregister(mine)
        mine.close()
        theirs.close()


@needs_fork
def test_a_fork_by_another_thread_leaves_the_child_a_reactor_that_can_be_closed() -> None:
    source = """
import os, threading, warnings
from reactor import Reactor
warnings.simplefilter("ignore", DeprecationWarning)  # of fork among threads, which is the case
reactor = Reactor()
statuses = []
def fork():
    number = os.fork()
    if number == 0:
        status = 1
        try:
            reactor.close()
            assert reactor.closed and not reactor.stepping
            status = 0
        finally:
            os._exit(status)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    reactor.stop()
worker = threading.Thread(target=fork)
reactor.call_soon(worker.start)
reactor.run()
worker.join()
reactor.close()
print(statuses)
"""
    done = run_python(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0]\n", "")


def test_a_reactor_that_was_abandoned_is_closed_and_calls_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What runs in the child of a fork, here in this process.
    before = descriptors()
    reactor = Reactor()
    # One that nobody holds any more may still be known.
    monkeypatch.setattr(forks, "_alive", {lambda: reactor, lambda: None})
    mine, theirs = socket.socketpair()
    echo = _Echo(reactor, mine)
    service = Service(reactor, False)
    calls: list[str] = []
    theirs.send(b"x")
    reactor.call_later(0, forks._abandon_all)
    reactor.call_later(0, calls.append, "timer")
    reactor.call_soon(calls.append, "soon")
    reactor.call_soon_threadsafe(calls.append, "foreign")
    with pytest.raises(RuntimeError, match="after a fork"):
        reactor.run()
    reactor.close()
    assert calls == service.calls == []
    assert echo.transport.closed
    at_rest = Reactor()
    at_rest.abandon()
    assert at_rest.closed
    theirs.close()
    assert descriptors() == before


# ---- time ----


def test_the_default_clock_is_monotonic(real: Reactor) -> None:
    start = time.monotonic()
    when = real.call_later(0.02, real.stop).when
    real.run()
    assert start <= when - 0.02 <= real.now <= time.monotonic()
    assert real.now >= when


# ---- in the loop of another ----


class Host:
    """Notes what a reactor tells its guest."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.log: list[Any] = []
        reactor.host = self

    def scheduled(self) -> None:
        assert not self.reactor.stepping
        self.log.append("scheduled")

    def watched(self, sock: Any, events: int) -> None:
        self.log.append((sock, events))

    def take(self) -> list[Any]:
        log, self.log = self.log, []
        return log


def test_a_host_is_told_of_what_is_scheduled_outside_of_steps(reactor: Reactor) -> None:
    host = Host(reactor)
    for schedule in (
        lambda: reactor.call_soon(nothing),
        lambda: reactor.call_in_turn(nothing),
        lambda: reactor.call_later(5, nothing),
        lambda: reactor.call_at(5000, nothing),
        lambda: reactor.call_every(50, nothing),
    ):
        schedule()
        assert host.take() == ["scheduled"]

    def schedule_two() -> None:
        reactor.call_soon(nothing)
        reactor.call_later(1, nothing)

    reactor.call_soon(schedule_two)
    host.take()
    # Once for all that was scheduled inside: it can be the host that makes a step by itself.
    reactor.step()
    assert host.take() == ["scheduled"]
    reactor.call_soon(reactor.stop)
    host.take()
    reactor.run()
    assert host.take() == ["scheduled"]
    reactor.host = None
    reactor.call_soon(nothing)
    assert host.take() == []


@pytest.mark.parametrize("run", [Reactor.step, Reactor.run])
def test_a_host_is_told_of_what_an_interrupt_has_left_over(
    reactor: Reactor, run: Callable[[Reactor], object]
) -> None:
    def interrupt() -> None:
        reactor.call_soon(nothing)
        raise KeyboardInterrupt

    reactor.call_soon(interrupt)
    host = Host(reactor)
    with pytest.raises(KeyboardInterrupt):
        run(reactor)
    assert host.take() == ["scheduled"]
    assert reactor.next_timeout() == 0


def test_a_host_is_told_of_each_change_of_what_is_waited_for(reactor: Reactor) -> None:
    host = Host(reactor)
    sock: Any = memory_pair()[0]
    reactor.register(sock, EVENT_READ, nothing)
    reactor.modify(sock, EVENT_READ | EVENT_WRITE, nothing)
    assert (sock, 3) in reactor.interests()
    reactor.unregister(sock)
    assert host.take() == [(sock, 1), (sock, 3), (sock, 0)]
    pollable = Pollable(sock)
    reactor.adopt(pollable)
    reactor.register(sock, EVENT_WRITE, nothing)
    reactor.release(pollable)
    assert host.take() == [(sock, 2), (sock, 0)]
    assert [events for _, events in reactor.interests()] == [1], "its own wake socket"


def test_a_closed_reactor_waits_for_nothing() -> None:
    reactor = Reactor()
    reactor.close()
    assert reactor.interests() == []
    assert reactor.next_timeout() is None
    assert reactor.stats().sockets == 0
    with pytest.raises(ValueError, match="closed"):
        reactor.fileno()


def test_a_host_that_raises_keeps_no_socket_open(reactor: Reactor) -> None:
    host: Any = Host(reactor)
    sock: Any = memory_pair()[0]
    pollable = Pollable(sock)
    reactor.adopt(pollable)
    reactor.register(sock, EVENT_READ, nothing)

    def watched(sock: Any, events: int) -> None:
        raise LookupError("the window is gone")

    host.watched = watched
    with pytest.raises(LookupError):
        reactor.release(pollable)
    assert sock.closed
    assert [events for _, events in reactor.interests()] == [1], "its own wake socket"
    reactor.release(pollable)


def test_what_a_closed_reactor_has_left_over_is_not_kept(
    reactor: Reactor, clock: FakeClock
) -> None:
    sock: Any = memory_pair()[0]
    sock.other.send(b"x")
    reactor.register(sock, EVENT_READ, lambda mask: clock.advance(1))
    kept = [weakref.ref(sock)]
    for _ in range(2):
        reactor.call_soon(clock.advance, 1)
    assert reactor.step(budget=0.5).deferred == 2
    reactor.close()
    assert reactor.next_timeout() is None
    del sock
    gc.collect()
    assert kept[0]() is None


def test_as_a_guest_it_gets_no_thread_of_its_own(reactor: Reactor) -> None:
    Host(reactor)
    with pytest.raises(InvalidState, match="has a host: <"):
        reactor.run_in_thread()
    reactor.host = None
    with reactor.run_in_thread() as thread:
        assert thread.alive


def test_as_a_guest_it_is_guarded_between_steps_too(reactor: Reactor) -> None:
    errors: list[str] = []

    def work() -> None:
        for use in (
            lambda: reactor.call_soon(nothing),
            lambda: reactor.call_later(1, nothing),
            lambda: reactor.step(),
        ):
            try:
                use()
            except RuntimeError as error:
                errors.append(str(error))

    for host in (None, Host(reactor)):
        reactor.host, reactor.thread = host, threading.get_ident()
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert len(errors) == 3 * (host is not None)
    assert reactor.thread == threading.get_ident()


# ---- what it has done, and has in hand ----


def test_it_says_what_it_has_in_hand(reactor: Reactor) -> None:
    reactor.call_soon(nothing)
    reactor.call_in_turn(nothing)
    reactor.call_soon_threadsafe(nothing)
    reactor.call_later(5, nothing)
    reactor.call_later(6, nothing).cancel()
    stats = reactor.stats()
    assert (stats.steps, stats.sockets, stats.timers, stats.calls) == (0, 1, 1, 3)
    reactor.step()
    stats = reactor.stats()
    assert (stats.steps, stats.timers, stats.calls) == (1, 1, 0)
    reactor.close()
    assert reactor.stats().sockets == 0


def test_unless_it_is_told_otherwise_it_names_what_takes_as_long_as_a_stall() -> None:
    # In a process of its own, without what conftest.py has changed.
    source = "from reactor import Reactor\nwith Reactor() as reactor: print(reactor.slow)"
    assert run_python(source).stdout == f"{STALL}\n"
    with Reactor(slow_callback=None) as reactor:
        assert reactor.slow == math.inf


def test_what_calls_another_reports_the_slow_one(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    reactor.took(nothing, 1.0, 1.05)
    reactor.took(nothing, 1.0, 2.5)
    assert [message.split(" took ")[0] for message in caplog.messages] == [
        f"{__name__}.nothing"
    ]


# ---- threads, at the end ----


def test_what_was_accepted_of_other_threads_is_called_in_close() -> None:
    reactor = Reactor()
    calls: list[Any] = []

    def late() -> None:
        calls.append("first")
        assert reactor.stepping
        with pytest.raises(InvalidState):
            reactor.call_soon_threadsafe(calls.append, "too late")

    reactor.call_soon_threadsafe(late)
    reactor.call_soon_threadsafe(calls.append, "second")
    reactor.close()
    assert calls == ["first", "second"]
    assert not reactor.stepping
    with pytest.raises(InvalidState, match="the reactor is closed"):
        reactor.call_soon_threadsafe(nothing)


def test_an_interrupt_in_a_call_of_close_leaves_it_closable() -> None:
    reactor = Reactor()
    calls: list[Any] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    reactor.call_soon_threadsafe(interrupt)
    reactor.call_soon_threadsafe(calls.append, "second")
    with pytest.raises(KeyboardInterrupt):
        reactor.close()
    reactor.close()
    assert calls == ["second"]


def test_it_runs_in_a_thread_of_its_own() -> None:
    reactor = Reactor()
    names: list[str] = []
    with reactor.run_in_thread("mine") as handle:
        handle.call(lambda: names.append(threading.current_thread().name))
        with pytest.raises(RuntimeError, match="a thread other than its own"):
            reactor.call_soon(nothing)
    assert names == ["mine"]
    assert reactor.closed
    with pytest.raises(InvalidState):
        reactor.run_in_thread()


# ---- a budget ----


def test_a_step_with_a_budget_says_what_it_has_left(reactor: Reactor, clock: FakeClock) -> None:
    for _ in range(3):
        reactor.call_soon(clock.advance, 1.0)
    report = reactor.step(budget=1.5)
    assert (report.handled, report.deferred, report.overrun) == (2, 1, 0.5)
    assert report.next_timeout == reactor.next_timeout() == 0
    report = reactor.step(budget=1.5)
    assert (report.handled, report.deferred, report.overrun) == (1, 0, 0.0)
    assert report.next_timeout is reactor.next_timeout() is None


class Sized(selectors.SelectSelector):
    """A selector that is false while nobody is registered."""

    def __len__(self) -> int:
        return len(self.get_map())


def test_a_selector_that_is_false_is_used() -> None:
    selector = Sized()
    with Reactor(selector=selector):
        assert len(selector) == 1, "who wakes it up"


def test_a_closed_reactor_lets_go_of_who_was_registered() -> None:
    class Watcher:
        def ready(self, mask: int) -> None: ...

    ours, theirs = socket.socketpair()
    with ours, theirs, Reactor() as reactor:
        watcher = Watcher()
        alive = weakref.ref(watcher)
        reactor.register(ours, EVENT_READ, watcher.ready)
        del watcher
        reactor.close()
        gc.collect()
        assert alive() is None
