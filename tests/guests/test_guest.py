from __future__ import annotations

import os
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import InvalidState, Reactor, Server
from reactor.guests import guest as module
from reactor.guests.guest import NEXT, Guest
from reactor.loop.reactor import EVENT_READ, EVENT_WRITE
from tests.loop.helpers import status_of_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Option = Any


class Desk(Guest):
    """A guest whose host is the test: it notes what is to be watched, and for when.

    Args:
        cannot: Raised by the host where it is to watch something.
    """

    def __init__(self, reactor: Reactor, cannot: Option = None, **options: Option) -> None:
        super().__init__(reactor, **options)
        self.cannot: Callable[[int], Exception | None] = cannot or (lambda fd: None)
        self.watching: dict[int, int] = {}
        self.delays: list[float | None] = []
        self.log: list[tuple[int, int]] = []

    def __enter__(self) -> Desk:
        super().__enter__()
        return self

    def _watch(self, fd: int, events: int) -> None:
        error = self.cannot(fd)
        if error is not None:
            raise error
        self.log.append((fd, events))
        if events:
            self.watching[fd] = events
        else:
            del self.watching[fd]

    def _arm(self, delay: float | None) -> None:
        self.delays.append(delay)

    @property
    def delay(self) -> float | None:
        """What the host's timer was armed with last."""
        return self.delays[-1] if self.delays else None

    def ready(self) -> None:
        self._ready()

    def timed(self) -> None:
        self._timed()


class Time:
    """What `monotonic` says to the guest, and the reactor's clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def reactor(clock: Time) -> Iterator[Reactor]:
    with Reactor(clock=clock) as reactor:
        yield reactor


@pytest.fixture
def blind(clock: Time) -> Iterator[Reactor]:
    """One without a descriptor."""
    with Reactor(clock=clock, selector=selectors.SelectSelector()) as reactor:
        yield reactor


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


def cannot(error: Exception) -> Callable[[int], Exception]:
    return lambda fd: error


def closed(fd: int) -> Exception | None:
    """For a host that cannot watch what is closed, nor forget it then."""
    try:
        os.fstat(fd)
    except OSError as error:
        return error
    return None


def own(reactor: Reactor) -> int:
    """The descriptor of what wakes a reactor up."""
    return reactor._wakeup.reader.fileno()


def host(reactor: Reactor) -> object:
    return reactor.host


# ---- which way ----


def test_the_host_watches_the_one_descriptor_where_there_is_one(reactor: Reactor) -> None:
    desk = Desk(reactor)
    assert desk.mode == ""
    desk.start()
    assert desk.mode == "descriptor"
    assert desk.watching == {reactor.fileno(): EVENT_READ}
    desk.stop()
    assert desk.watching == {}


def test_the_host_watches_each_socket_where_there_is_no_descriptor(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    blind.register(mine, EVENT_READ | EVENT_WRITE, print)
    with Desk(blind) as desk:
        assert desk.mode == "sockets"
        both = EVENT_READ | EVENT_WRITE
        assert desk.watching == {own(blind): EVENT_READ, mine.fileno(): both}
        blind.modify(mine, EVENT_WRITE, print)
        assert desk.watching[mine.fileno()] == EVENT_WRITE
        blind.unregister(mine)
        assert desk.watching == {own(blind): EVENT_READ}
        blind.register(mine.fileno(), EVENT_READ, print)  # a number will do
        assert desk.watching[mine.fileno()] == EVENT_READ
    assert desk.watching == {}
    blind.unregister(mine.fileno())
    assert desk.watching == {}


@pytest.mark.parametrize("error", [OSError("not this one"), NotImplementedError()])
def test_the_host_watches_each_socket_where_it_cannot_watch_the_descriptor(
    reactor: Reactor, error: Exception
) -> None:
    desk = Desk(reactor, lambda fd: error if fd == reactor.fileno() else None)
    with desk:
        assert desk.mode == "sockets"
        assert desk.watching == {own(reactor): EVENT_READ}


def test_there_are_ticks_where_the_host_can_watch_nothing(
    reactor: Reactor, blind: Reactor, clock: Time
) -> None:
    for each in (reactor, blind):
        with Desk(each, cannot(NotImplementedError()), interval=0.25) as desk:
            assert desk.mode == "ticks"
            assert desk.delays == [0.25]
            clock.now += 0.25
            desk.timed()
            assert desk.delays == [0.25, 0.25]
            assert each.stats().steps == 1


def test_sockets_that_were_watched_before_one_that_cannot_be_are_not_any_more(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    blind.register(mine, EVENT_READ, print)
    desk = Desk(blind, lambda fd: NotImplementedError() if fd == mine.fileno() else None)
    with desk:
        assert desk.log == [(own(blind), EVENT_READ), (own(blind), 0)]
        assert desk.mode == "ticks"
        blind.unregister(mine)  # of which the host hears nothing


def test_one_whose_host_is_no_more_makes_room_for_another(reactor: Reactor) -> None:
    class Left(Desk):
        def is_orphan(self) -> bool:
            return True

    left = Left(reactor)
    left.start()
    with Desk(reactor) as desk:
        assert desk.running
        assert not left.running
        assert left.watching == {}


def test_a_server_is_no_reactor_and_is_told_where_it_has_one(reactor: Reactor) -> None:
    server: Any = Server(reactor=reactor)
    with pytest.raises(TypeError, match=r"^Server, .*: it is its `reactor` that runs$"):
        Guest(server)
    with pytest.raises(TypeError, match=r"^object, not a Reactor$"):
        Desk(object())  # type: ignore[arg-type]


def test_what_knows_no_host_can_watch_nothing_and_wait_for_nothing(reactor: Reactor) -> None:
    with pytest.raises(NotImplementedError):
        Guest(reactor).start()
    assert reactor.host is None


# ---- start and stop ----


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["budget", "interval"])
def test_a_time_that_is_not_above_zero_is_refused(
    reactor: Reactor, name: str, seconds: float
) -> None:
    with pytest.raises(ValueError, match=f"{name} of {seconds} seconds"):
        Desk(reactor, **{name: seconds})


def test_to_start_or_stop_twice_is_to_do_it_once(reactor: Reactor) -> None:
    desk = Desk(reactor)
    desk.stop()
    desk.start()
    desk.start()
    assert host(reactor) is desk
    assert desk.log == [(reactor.fileno(), EVENT_READ)]
    desk.stop()
    desk.stop()
    assert host(reactor) is None
    assert desk.log == [(reactor.fileno(), EVENT_READ), (reactor.fileno(), 0)]
    assert desk.delay is None


def test_a_reactor_has_one_guest_at_a_time(reactor: Reactor) -> None:
    first, second = Desk(reactor), Desk(reactor)
    with first:
        with pytest.raises(InvalidState, match=r"has a guest: <Desk descriptor of <reactor\."):
            second.start()
        second.stop()
        assert reactor.host is first
        assert repr(second).startswith("<Desk stopped of <reactor.")
    with second:
        assert reactor.host is second


def test_a_closed_reactor_has_no_guest(reactor: Reactor) -> None:
    reactor.close()
    with pytest.raises(InvalidState, match="the reactor is closed"):
        Desk(reactor).start()


def test_a_start_that_fails_leaves_nothing_behind(reactor: Reactor) -> None:
    desk = Desk(reactor, cannot(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        desk.start()
    assert not desk.running
    assert reactor.host is None
    reactor.call_soon(print)
    assert desk.delays == [None]  # it is told nothing


def test_a_reactor_may_have_been_made_in_another_thread(clock: Time) -> None:
    made: list[Reactor] = []
    thread = threading.Thread(target=lambda: made.append(Reactor(clock=clock)))
    thread.start()
    thread.join()
    with made[0] as reactor, Desk(reactor) as desk:
        reactor.call_soon(print)
        assert desk.delay == 0


def test_another_thread_cannot_stop_it(reactor: Reactor) -> None:
    raised: list[RuntimeError] = []

    def stop() -> None:
        with pytest.raises(RuntimeError, match="a thread other than its own") as caught:
            desk.stop()
        raised.append(caught.value)

    with Desk(reactor) as desk:
        thread = threading.Thread(target=stop)
        thread.start()
        thread.join()
        assert raised
        assert desk.running
        assert desk.watching


# ---- steps ----


def test_a_step_is_made_when_the_descriptor_is_ready(reactor: Reactor) -> None:
    called: list[int] = []
    with Desk(reactor) as desk:
        reactor.call_soon_threadsafe(called.append, 1)
        desk.ready()
        assert called == [1]
        assert desk.wakeups == 1
        assert desk.delays == []


def test_a_call_of_the_host_without_a_reason_changes_nothing(reactor: Reactor) -> None:
    called: list[int] = []
    with Desk(reactor) as desk:
        reactor.call_later(5, called.append, 1)
        desk.ready()
        desk.ready()
        assert (called, desk.delays) == ([], [5])
        assert desk.watching == {reactor.fileno(): EVENT_READ}
        desk.timed()  # too early, by a host whose clock is another
        assert (called, desk.delays) == ([], [5, 5])


def test_what_is_scheduled_outside_of_a_step_arms_the_timer_of_the_host(
    reactor: Reactor, clock: Time
) -> None:
    called: list[float] = []
    with Desk(reactor) as desk:
        reactor.call_later(5, called.append, 5)
        assert desk.delay == 5
        reactor.call_later(2, called.append, 2)
        assert desk.delay == 2
        reactor.call_later(7, called.append, 7)
        assert desk.delays == [5, 2]  # the third changes nothing
        clock.now += 2
        desk.timed()
        assert called == [2]
        assert desk.delay == pytest.approx(3)
        reactor.call_soon(called.append, 0)
        reactor.call_soon(called.append, 0)
        assert desk.delays == [5, 2, pytest.approx(3), 0]
        desk.timed()
        assert called == [2, 0, 0]
        assert desk.delay == pytest.approx(3)


def test_a_timer_that_was_armed_before_the_guest_came_counts_too(reactor: Reactor) -> None:
    reactor.call_later(5, print)
    with Desk(reactor) as desk:
        assert desk.delays == [5]


def test_the_timer_is_left_alone_as_long_as_its_time_does_not_change(
    reactor: Reactor, clock: Time
) -> None:
    with Desk(reactor) as desk:
        reactor.call_later(5, print)
        for _ in range(10):
            clock.now += 0.1
            reactor.call_soon_threadsafe(print)
            desk.ready()
        assert desk.delays == [5]


def test_a_timer_that_was_cancelled_calls_nobody(reactor: Reactor) -> None:
    with Desk(reactor) as desk:
        timer = reactor.call_later(5, print)
        timer.cancel()
        reactor.call_soon_threadsafe(print)
        desk.ready()
        assert desk.delays == [5, None]


def test_what_a_step_leaves_over_waits_for_the_hosts_other_events(
    reactor: Reactor, clock: Time
) -> None:
    calls: list[int] = []

    def call(number: int) -> None:
        calls.append(number)
        clock.now += 0.003

    with Desk(reactor, budget=0.004) as desk:
        for number in range(5):
            reactor.call_soon_threadsafe(call, number)
        desk.ready()
        assert calls == [0, 1]  # until the budget is used up, and one call
        assert desk.delay == 0
        # What is ready stays so, and must not take the host's turn.
        desk.ready()
        desk.ready()
        assert calls == [0, 1]
        desk.timed()
        assert calls == [0, 1, 2, 3]
        assert desk.delays == [0, 0]
        desk.timed()
        assert calls == [0, 1, 2, 3, 4]
        assert desk.delays == [0, 0]  # the last has come, and needs no other
        assert desk.wakeups == 5


def test_without_a_budget_a_step_does_all(reactor: Reactor, clock: Time) -> None:
    calls: list[int] = []

    def call(number: int) -> None:
        calls.append(number)
        clock.now += 100

    with Desk(reactor, budget=None) as desk:
        for number in range(5):
            reactor.call_soon(call, number)
        desk.timed()
    assert calls == [0, 1, 2, 3, 4]


def test_what_a_handler_schedules_is_done_behind_the_hosts_other_events(
    reactor: Reactor,
) -> None:
    called: list[int] = []
    with Desk(reactor) as desk:
        reactor.call_soon_threadsafe(reactor.call_soon, called.append, 1)
        desk.ready()
        assert (called, desk.delay) == ([], 0)
        desk.timed()
        assert called == [1]


def test_of_sockets_that_are_ready_together_there_is_one_step(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, theirs = pair
    read: list[bytes] = []
    with Desk(blind) as desk:
        blind.register(mine, EVENT_READ, lambda mask: read.append(mine.recv(9)))
        theirs.send(b"hello")
        for _ in range(3):
            desk.ready()
        assert (read, desk.delays) == ([], [0])
        desk.timed()
        assert read == [b"hello"]
        assert blind.stats().steps == 1


def test_a_socket_that_the_host_refuses_is_not_registered_with_it(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    desk = Desk(blind, lambda fd: OSError("full") if fd == mine.fileno() else None)
    with desk:
        with pytest.raises(OSError, match="full"):
            blind.register(mine, EVENT_READ, print)
        blind.unregister(mine)
        assert desk.log == [(own(blind), EVENT_READ)]


def test_a_socket_that_was_closed_behind_our_back_is_not_watched_any_more(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    number = mine.fileno()
    blind.register(mine, EVENT_READ, print)
    with Desk(blind) as desk:
        mine.close()
        blind.unregister(mine)
        assert number not in desk.watching
        assert desk.log[-1] == (number, 0)


def test_ticks_are_not_put_off_and_come_sooner_for_what_is_due_before(
    reactor: Reactor, clock: Time
) -> None:
    called: list[float] = []
    with Desk(reactor, cannot(NotImplementedError()), interval=0.25) as desk:
        clock.now += 0.125
        reactor.call_later(60, called.append, 60)
        assert desk.delays == [0.25]
        reactor.call_later(0.0625, called.append, 0.0625)
        assert desk.delays == [0.25, 0.0625]
        clock.now += 0.0625
        desk.timed()
        assert called == [0.0625]
        reactor.call_soon(called.append, 0)
        assert desk.delays == [0.25, 0.0625, 0.25, 0]
        reactor.call_later(0.01, called.append, 0.01)
        desk.timed()
        assert called == [0.0625, 0]
        assert desk.delay == pytest.approx(0.01)


# ---- the host's loop inside a handler ----


def test_nothing_is_watched_while_a_handler_runs_the_hosts_loop(reactor: Reactor) -> None:
    seen: list[dict[int, int]] = []

    def dialog() -> None:
        desk.ready()
        seen.append(dict(desk.watching))
        desk.ready()
        desk.timed()
        seen.append(dict(desk.watching))

    with Desk(reactor, interval=0.25) as desk:
        reactor.call_soon(dialog)
        desk.timed()
        assert seen == [{}, {}]
        assert desk.watching == {reactor.fileno(): EVENT_READ}
        assert reactor.stats().steps == 1
        # Nor is it called meanwhile: the reactor tells when that step is over.
        assert desk.delays == [0]


def test_a_timer_that_is_armed_is_off_while_a_handler_runs_the_hosts_loop(
    reactor: Reactor,
) -> None:
    with Desk(reactor) as desk:
        reactor.call_later(9, print)
        armed = desk.delay
        reactor.call_soon_threadsafe(desk.ready)
        desk.ready()
        assert desk.delays[-2:] == [None, pytest.approx(9)]
        assert armed == pytest.approx(9)


def test_a_step_of_the_hosts_own_that_is_interrupted_is_over_all_the_same(
    reactor: Reactor,
) -> None:
    def interrupt() -> None:
        desk.ready()
        assert desk.watching == {}
        raise KeyboardInterrupt

    with Desk(reactor) as desk:
        reactor.call_soon_threadsafe(interrupt)
        with pytest.raises(KeyboardInterrupt):
            reactor.step()
        assert desk.watching == {reactor.fileno(): EVENT_READ}


def test_there_are_no_steps_inside_a_step_where_there_are_only_ticks(reactor: Reactor) -> None:
    with Desk(reactor, cannot(NotImplementedError()), interval=0.25) as desk:
        reactor.call_soon(desk.timed)
        desk.timed()
        assert reactor.stats().steps == 1
        assert desk.delays == [0.25, 0, 0.25]


def test_sockets_come_and_go_meanwhile(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    mine, theirs = pair

    def dialog() -> None:
        desk.timed()
        blind.unregister(mine)
        blind.register(theirs, EVENT_WRITE, print)
        assert desk.watching == {}

    blind.register(mine, EVENT_READ, print)
    with Desk(blind) as desk:
        blind.call_soon(dialog)
        desk.timed()
        assert desk.watching == {own(blind): EVENT_READ, theirs.fileno(): EVENT_WRITE}


def test_after_a_step_that_was_another_s_all_is_watched_again(
    reactor: Reactor, clock: Time
) -> None:
    seen: list[object] = []
    with Desk(reactor, interval=0.25) as desk:

        def dialog() -> None:
            desk.ready()
            seen.append((dict(desk.watching), desk.delay))

        reactor.call_soon_threadsafe(dialog)
        reactor.step()
        assert seen == [({}, None)]
        assert (desk.watching, desk.delay) == ({reactor.fileno(): EVENT_READ}, None)
        reactor.call_soon_threadsafe(reactor.call_later, 9, print)
        reactor.step()
        assert (desk.watching, desk.delay) == ({reactor.fileno(): EVENT_READ}, 9)


# ---- from inside a step ----


def test_a_handler_may_stop_the_guest(reactor: Reactor) -> None:
    called: list[int] = []
    with Desk(reactor) as desk:
        reactor.call_soon(desk.stop)
        reactor.call_soon(called.append, 1)
        reactor.call_soon(reactor.call_soon, called.append, 2)
        desk.timed()
        assert called == [1]  # the step itself goes on
        assert (desk.watching, desk.delay, reactor.host) == ({}, None, None)
    reactor.step()
    assert called == [1, 2]


def test_a_handler_may_start_a_guest(reactor: Reactor) -> None:
    desk = Desk(reactor)
    reactor.call_soon(desk.start)
    reactor.call_soon(reactor.call_later, 5, print)
    reactor.step()
    assert desk.watching == {reactor.fileno(): EVENT_READ}
    desk.timed()
    assert desk.delays == [0, 5]
    desk.stop()


def test_a_handler_may_stop_one_guest_and_start_another(reactor: Reactor) -> None:
    first, second = Desk(reactor), Desk(reactor)

    def change() -> None:
        first.stop()
        second.start()

    first.start()
    reactor.call_soon(change)
    reactor.call_soon(reactor.call_later, 5, print)
    first.timed()
    assert (first.watching, first.delay) == ({}, None)
    assert second.watching == {reactor.fileno(): EVENT_READ}
    second.timed()
    assert second.delays == [0, pytest.approx(5)]
    second.stop()


def test_a_call_of_the_host_that_comes_too_late_does_nothing(reactor: Reactor) -> None:
    desk = Desk(reactor)
    desk.start()
    desk.stop()
    desk.ready()
    desk.timed()
    reactor.call_soon(print)
    assert reactor.stats().steps == 0
    assert desk.delay is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_to_the_host_and_the_guest_lives(
    reactor: Reactor, interrupt: type[BaseException]
) -> None:
    called: list[int] = []

    def fail() -> None:
        raise interrupt

    with Desk(reactor) as desk:
        reactor.call_soon(fail)
        reactor.call_soon(called.append, 1)
        with pytest.raises(interrupt):
            desk.timed()
        assert desk.watching == {reactor.fileno(): EVENT_READ}
        assert desk.delay == 0
        desk.timed()
        assert called == [1]


def test_a_guest_that_is_stopped_when_it_is_interrupted_stays_so(reactor: Reactor) -> None:
    def fail() -> None:
        desk.stop()
        raise KeyboardInterrupt

    with Desk(reactor) as desk:
        reactor.call_soon(fail)
        with pytest.raises(KeyboardInterrupt):
            desk.timed()
        assert (desk.watching, desk.delay) == ({}, None)


def test_what_else_a_handler_raises_is_logged_and_the_host_hears_nothing_of_it(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    with Desk(reactor) as desk:
        reactor.call_soon(lambda: 1 // 0)
        desk.timed()
        assert "ZeroDivisionError" in caplog.text


# ---- the end of the reactor ----


def test_the_guest_ends_with_its_reactor_before_the_descriptor_does(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    desk = Desk(reactor, closed)
    desk.start()
    number = reactor.fileno()
    reactor.close()
    assert not desk.running
    assert desk.log == [(number, EVENT_READ), (number, 0)]
    assert desk.delay is None
    desk.stop()
    with pytest.raises(InvalidState):
        desk.start()


def test_the_guest_ends_with_its_reactor_before_the_sockets_do(
    blind: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    desk = Desk(blind, closed)
    desk.start()
    blind.register(pair[0], EVENT_READ, print)
    blind.close()
    assert desk.watching == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_the_child_leaves_the_host_alone(reactor: Reactor) -> None:
    with Desk(reactor) as desk:
        log, delays = list(desk.log), list(desk.delays)

        def child() -> None:
            assert not desk.running
            desk.ready()
            desk.timed()
            desk.stop()
            assert (desk.log, desk.delays) == (log, delays)
            with pytest.raises(InvalidState, match="left behind by a fork"):
                desk.start()

        assert status_of_child(child) == 0
        assert desk.running
        reactor.call_soon_threadsafe(delays.append, 1)
        desk.ready()
        assert delays == [1]


def test_a_copy_in_another_process_does_not_touch_what_it_shares_with_the_host(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(reactor)
    desk.start()
    log, delays = list(desk.log), list(desk.delays)
    monkeypatch.setattr(os, "getpid", lambda: 0)  # as a child has it, which none can be
    desk.stop()
    assert not desk.running
    assert (desk.log, desk.delays) == (log, delays)


def test_next_is_a_time_that_is_always_past() -> None:
    assert NEXT == 0
