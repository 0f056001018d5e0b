"""Calls from other threads: a call that was accepted is made, in its order, whatever happens.

What threads do to each other is tried in two ways: as it comes, in storms of calls; and line by
line, by stopping one of them at each line of the package and letting the other go on there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import InvalidState, Reactor
from reactor.loop.background import ReactorThread

from .helpers import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from reactor.loop.meter import StepReport

PACKAGE = str(ROOT / "reactor") + os.sep


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


@pytest.fixture
def hectic() -> Iterator[None]:
    """Have threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Wire:
    """The end of a wake socket that is written to; notes what is sent."""

    def __init__(self, reactor: Reactor) -> None:
        self.sock = reactor._wakeup.writer
        self.sent: list[bytes] = []
        wakeup: Any = reactor._wakeup
        wakeup.writer = self

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return self.sock.send(data)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.sock.close()


class Caller(threading.Thread):
    """Makes so many calls, until one is refused, and notes what becomes of the others."""

    def __init__(self, reactor: Reactor, count: int, start: threading.Barrier) -> None:
        super().__init__()
        self.reactor, self.count, self.barrier = reactor, count, start
        self.accepted = 0
        self.made: list[int] = []
        self.start()

    def run(self) -> None:
        self.barrier.wait(PATIENCE)
        while self.accepted != self.count:
            try:
                self.reactor.call_soon_threadsafe(self.made.append, self.accepted)
            except InvalidState:
                return
            self.accepted += 1

    def check(self) -> None:
        """See that what was made is what was accepted, in its order."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it has blocked"
        assert self.made == list(range(self.accepted))


def storm(reactor: Reactor, threads: int, count: int) -> list[Caller]:
    """Start threads that call all at once, when one more waits for their barrier."""
    start = threading.Barrier(threads + 1)
    return [Caller(reactor, count, start) for _ in range(threads)]


# ---- storms ----


@pytest.mark.slow
def test_eight_times_a_hundred_thousand_calls_are_made_in_the_order_of_each_thread() -> None:
    reactor = Reactor()
    wire = Wire(reactor)
    callers = storm(reactor, 8, 100_000)

    def all_in() -> None:
        for caller in callers:
            caller.join(PATIENCE)
        reactor.call_soon_threadsafe(reactor.stop)

    waiter = threading.Thread(target=all_in)
    waiter.start()
    callers[0].barrier.wait(PATIENCE)
    reactor.run()
    waiter.join(PATIENCE)
    for caller in callers:
        caller.check()
        assert caller.accepted == 100_000
    # One byte ends one wait, or one of each thread, when all look at once whether there is one;
    # what calls while that is under way needs none.
    assert 1 <= len(wire.sent) <= 8 * (reactor.stats().steps + 1)
    assert len(wire.sent) < 80_000
    reactor.close()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_of_eight_times_a_hundred_thousand_none_is_lost_by_close_in_the_middle(
    share: float,
) -> None:
    reactor = Reactor()
    callers = storm(reactor, 8, 100_000)
    callers[0].barrier.wait(PATIENCE)
    while sum(caller.accepted for caller in callers) < share * 800_000:
        reactor.step(0.001)
    reactor.close()
    for caller in callers:
        caller.check()
    assert share * 800_000 <= sum(len(caller.made) for caller in callers) <= 800_000


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.usefixtures("hectic")
def test_close_in_a_storm_makes_what_was_accepted_and_refuses_the_rest(steps: int) -> None:
    for _ in range(40):
        reactor = Reactor()
        callers = storm(reactor, 4, 1000)
        callers[0].barrier.wait(PATIENCE)
        for _ in range(steps):
            reactor.step(0.001)
        reactor.close()
        for caller in callers:
            caller.check()


@pytest.mark.usefixtures("hectic")
def test_the_end_of_its_thread_in_a_storm_loses_nothing() -> None:
    for _ in range(30):
        reactor = Reactor()
        handle = ReactorThread(reactor)
        callers = storm(reactor, 4, 1000)
        callers[0].barrier.wait(PATIENCE)
        handle.call(int)
        handle.stop(PATIENCE)
        for caller in callers:
            caller.check()


@pytest.mark.usefixtures("hectic")
def test_an_interrupt_in_a_storm_loses_nothing_when_close_is_called_again() -> None:
    for _ in range(20):
        reactor = Reactor()
        interrupts = 3

        def interrupt() -> None:
            raise KeyboardInterrupt

        callers = storm(reactor, 3, 300)
        for _ in range(interrupts):
            reactor.call_soon_threadsafe(interrupt)
        callers[0].barrier.wait(PATIENCE)
        for _ in range(interrupts):
            with pytest.raises(KeyboardInterrupt):
                reactor.close()
        reactor.close()
        for caller in callers:
            caller.check()


# ---- piling up ----


def test_calls_pile_up_without_blocking_while_nobody_makes_them(reactor: Reactor) -> None:
    wire = Wire(reactor)
    callers = storm(reactor, 3, 100_000)
    callers[0].barrier.wait(PATIENCE)
    for caller in callers:
        caller.join(PATIENCE)
        assert caller.accepted == 100_000
        assert caller.made == []
    assert 1 <= len(wire.sent) <= 3
    reactor.step(0)
    for caller in callers:
        caller.check()
    assert reactor.stats().steps == 1


def test_calls_pile_up_without_blocking_behind_a_wake_socket_that_is_full(
    reactor: Reactor,
) -> None:
    sock = reactor._wakeup.writer
    with contextlib.suppress(BlockingIOError):
        while sock.send(bytes(4096)):  # as from signals, thousands of them
            pass
    (caller,) = storm(reactor, 1, 1000)
    caller.barrier.wait(PATIENCE)
    caller.join(PATIENCE)
    assert caller.accepted == 1000
    reactor.step(PATIENCE)
    caller.check()


def test_what_has_piled_up_is_made_by_close() -> None:
    reactor = Reactor()
    callers = storm(reactor, 2, 1000)
    callers[0].barrier.wait(PATIENCE)
    for caller in callers:
        caller.join(PATIENCE)
    reactor.close()
    for caller in callers:
        caller.check()
        assert caller.accepted == 1000


# ---- line by line ----


class Traced(threading.Thread):
    """Does `work`, and at its line number `at` in the package something else in between.

    Attributes:
        lines: How many it had up to now; `at` is one of them, or was beyond the last.
    """

    def __init__(
        self, work: Callable[[], object], at: int, between: Callable[[], object]
    ) -> None:
        super().__init__()
        self.work, self.at, self.between = work, at, between
        self.lines = 0
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        sys.settrace(self.trace)
        try:
            self.work()
        except BaseException as error:
            self.failed = error
        finally:
            sys.settrace(None)

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                self.between()
        return self.trace

    def end(self) -> bool:
        """Wait for the end; return whether there was a line of that number."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it has blocked"
        if self.failed is not None:
            raise self.failed
        return self.lines >= self.at


class Once:
    """One call from another thread; whether it was accepted, and how often made."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.accepted = self.made = 0

    def __call__(self) -> None:
        try:
            self.reactor.call_soon_threadsafe(self.make)
        except InvalidState:
            return
        self.accepted += 1

    def make(self) -> None:
        self.made += 1


def every_line(reach: Callable[[int], bool]) -> int:
    """Try each line, until there is no such line; return how many there are."""
    for at in itertools.count(1):
        if not reach(at):
            return at - 1
    raise AssertionError


def test_close_at_any_line_of_a_call_leaves_it_made_or_refused() -> None:
    outcomes = set()

    def reach(at: int) -> bool:
        reactor = Reactor()
        once = Once(reactor)
        reached = Traced(once, at, reactor.close).end()
        reactor.close()
        assert once.made == once.accepted
        outcomes.add(once.made)
        return reached

    assert every_line(reach) > 3
    assert outcomes == {0, 1}


def test_a_call_at_any_line_of_close_is_made_or_refused() -> None:
    outcomes = set()

    def reach(at: int) -> bool:
        reactor = Reactor()
        once = Once(reactor)
        reached = Traced(reactor.close, at, once).end()
        assert once.made == once.accepted
        outcomes.add(once.made)
        return reached

    assert every_line(reach) > 10
    assert outcomes == {0, 1}


def lines_of(work: Callable[[], object]) -> int:
    traced = Traced(work, 0, lambda: None)
    traced.end()
    return traced.lines


@pytest.mark.slow
def test_a_call_and_close_that_stop_at_any_two_lines_agree() -> None:
    reactor = Reactor()
    lines, ends = lines_of(Once(reactor)), lines_of(reactor.close)
    for stop, at in itertools.product(range(1, lines + 1), range(1, ends + 1)):
        reactor = Reactor()
        once = Once(reactor)
        stopped, go_on = threading.Event(), threading.Event()

        def pause(stopped: Any = stopped, go_on: Any = go_on) -> None:
            stopped.set()
            go_on.wait(PATIENCE)

        call = Traced(once, stop, pause)
        assert stopped.wait(PATIENCE)

        def finish(go_on: Any = go_on, call: Traced = call) -> None:
            go_on.set()
            call.join(PATIENCE)

        Traced(reactor.close, at, finish).end()
        go_on.set()
        call.end()
        assert once.made == once.accepted, f"the call at line {stop}, close at line {at}"


def readable(reactor: Reactor) -> bool:
    return bool(select.select([reactor.fileno()], [], [], 0)[0])


def test_a_call_at_any_line_of_a_step_is_made_in_it_or_ends_the_next_wait() -> None:
    outcomes = set()

    def reach(at: int) -> bool:
        with Reactor() as reactor:
            made: list[str] = []
            reports: list[StepReport] = []
            reactor.call_soon_threadsafe(made.append, "before")

            def call() -> None:
                reactor.call_soon_threadsafe(made.append, "between")

            reached = Traced(lambda: reports.append(reactor.step(0)), at, call).end()
            if reached and len(made) == 1:
                # One of the two is what another loop goes by, which waits by itself.
                shown = "report" if reports[0].next_timeout == 0 else "descriptor"
                assert shown == "report" or readable(reactor)
                outcomes.add(shown)
                reactor.step(PATIENCE)
            else:
                outcomes.add("made")
            assert made == ["before", "between"][: 1 + reached]
            assert reactor.next_timeout() is None
            return reached

    assert every_line(reach) > 20
    assert outcomes == {"made", "report", "descriptor"}


def test_a_call_at_any_line_of_another_leaves_both() -> None:
    def reach(at: int) -> bool:
        with Reactor() as reactor:
            outer, inner = Once(reactor), Once(reactor)
            reached = Traced(outer, at, inner).end()
            assert readable(reactor)
            reactor.step(0)
            assert (outer.made, inner.made) == (1, reached)
            assert reactor.next_timeout() is None
            return reached

    assert every_line(reach) > 3


# ---- signals ----

ALARM = getattr(signal, "SIGUSR1", signal.SIGINT)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handler back that a test sets."""
    before = signal.getsignal(ALARM)
    yield
    signal.signal(ALARM, before)


@pytest.mark.usefixtures("handlers")
def test_the_handler_of_a_signal_may_call_in_the_middle_of_a_call(reactor: Reactor) -> None:
    came: list[int] = []
    signals: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        # This can be interrupted, by itself too.
        reactor.call_soon_threadsafe(signals.append, number)

    signal.signal(ALARM, handle)
    end = threading.Event()

    def send() -> None:
        while not end.is_set():
            os.kill(os.getpid(), ALARM)

    sender = threading.Thread(target=send)
    sender.start()
    made: list[int] = []
    count = 0
    while count < 5000 or len(came) < 20:
        reactor.call_soon_threadsafe(made.append, count)
        count += 1
        if count % 100 == 0:
            reactor.step(0)
    end.set()
    sender.join(PATIENCE)
    while reactor.next_timeout() == 0:
        reactor.step(0)
    assert made == list(range(count))
    assert len(came) >= 20
    assert signals == came


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.usefixtures("handlers")
def test_a_call_of_a_signals_handler_ends_the_wait(reactor: Reactor) -> None:
    made: list[str] = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: reactor.call_soon_threadsafe(made.append, "from the handler")
    )
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        reactor.call_later(PATIENCE, made.append, "too late")
        # Without `run` no byte comes of the signal itself.
        while not made:
            reactor.step(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert made == ["from the handler"]
