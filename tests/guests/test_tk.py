"""`reactor/guests/tk.py`, in a Tcl of our own; the real one is in tests/interop/."""

from __future__ import annotations

import os
import select
import selectors
from typing import TYPE_CHECKING, Any

import pytest

from reactor import EVENT_READ, EVENT_WRITE, Reactor
from reactor.guests import TkGuest
from reactor.guests import tk as module
from tests.guests.pairs import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactor.testing import FakeClock


class Tcl:
    """As much of Tcl's loop as a guest uses, in the same order; its clock is told the time."""

    def __init__(self) -> None:
        self.now = 0  # in milliseconds
        self.calls: list[tuple[Any, ...]] = []
        self.commands: dict[str, Callable[..., object]] = {}
        self.files: dict[int, tuple[int, Callable[[int, int], object]]] = {}
        self.timers: dict[str, tuple[int, str]] = {}
        self.idles: dict[str, str] = {}
        self.traces: list[str] = []
        self.alive = True
        self._count = 0

    createcommand = property(lambda self: self.commands.__setitem__)
    deletecommand = property(lambda self: self.commands.__delitem__)
    deletefilehandler = property(lambda self: self.files.__delitem__)

    def createfilehandler(self, fd: int, mask: int, function: Any) -> None:
        assert fd not in self.files
        self.files[fd] = mask, function

    def call(self, command: str, *args: Any) -> str:
        self.calls.append((command, *args))
        return getattr(self, f"do_{command}")(*args) or ""

    def do_after(self, when: int | str, what: str) -> str:
        self._count += 1
        name = f"after#{self._count}"
        if when == "cancel":
            self.timers.pop(what, None)
            self.idles.pop(what, None)
        elif when == "idle":
            self.idles[name] = what
        else:
            assert isinstance(when, int)
            self.timers[name] = self.now + when, what
        return name

    def do_trace(self, action: str, kind: str, window: str, event: str, name: str) -> None:
        assert (kind, window, event) == ("command", ".", "delete")
        if not self.alive:
            raise RuntimeError('unknown command "."')
        (self.traces.append if action == "add" else self.traces.remove)(name)

    def destroy(self) -> None:
        self.alive = False
        for name in self.traces:
            self.commands[name](".", "", "delete")

    def turn(self) -> bool:
        """Do one thing, or all that waits for Tcl to be idle; return whether there was one."""
        readable = [fd for fd, (mask, _) in self.files.items() if mask & 2]
        writable = [fd for fd, (mask, _) in self.files.items() if mask & 4]
        ready = select.select(readable, writable, [], 0)
        for fd in {*ready[0], *ready[1]}:
            self.files[fd][1](fd, 2 * (fd in ready[0]) | 4 * (fd in ready[1]))
            return True
        for name, (when, command) in list(self.timers.items()):
            if when <= self.now:
                del self.timers[name]
                self.commands[command]()
                return True
        idles, self.idles = self.idles, {}
        for command in idles.values():
            self.commands[command]()
        return bool(idles)

    def update(self) -> None:
        """Do all there is, as Tk's `update` does."""
        for _ in range(1000):
            if not self.turn():
                return
        raise AssertionError("update does not return")


class Window:
    """A window, as `tkinter` has them."""

    def __init__(self, tcl: Any) -> None:
        self.tk = tcl

    def __str__(self) -> str:
        return "."


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine does, the steps take the time that a test says."""
    monkeypatch.setattr(module, "monotonic", lambda: 0.0)


@pytest.fixture
def tcl() -> Tcl:
    return Tcl()


@pytest.fixture
def guest(tcl: Tcl, reactor: Reactor) -> Iterator[TkGuest]:
    with TkGuest(Window(tcl), reactor=reactor) as guest:  # type: ignore[arg-type]
        assert isinstance(guest, TkGuest)
        yield guest


def nothing_is_left(tcl: Tcl) -> bool:
    return not (tcl.commands or tcl.files or tcl.timers or tcl.idles or tcl.traces)


# ---- the descriptor, and the timer ----


def test_what_comes_wakes_the_reactor_and_nothing_else_does(
    guest: TkGuest, tcl: Tcl, pair: Watched
) -> None:
    tcl.update()
    assert (guest.mode, list(tcl.files)) == ("descriptor", [guest.reactor.fileno()])
    assert guest.wakeups == 0
    assert not tcl.timers
    pair.theirs.send(b"ab")
    tcl.update()
    assert pair.got == [b"a", b"b"]
    assert guest.wakeups == 2
    assert not tcl.turn()


def test_a_timer_is_due_at_the_millisecond_after_its_time(
    guest: TkGuest, tcl: Tcl, clock: FakeClock
) -> None:
    called: list[int] = []
    guest.reactor.call_later(0.0105, called.append, 1)
    assert [when for when, _ in tcl.timers.values()] == [11]
    tcl.now = 11
    clock.advance(0.011)
    tcl.update()
    assert called == [1]
    assert (guest.wakeups, tcl.timers) == (1, {})


def test_a_timer_that_comes_first_takes_the_place_of_the_other(
    guest: TkGuest, tcl: Tcl
) -> None:
    guest.reactor.call_later(3600, print)
    guest.reactor.call_later(2, print)
    assert [when for when, _ in tcl.timers.values()] == [2000]
    assert tcl.calls[-2] == ("after", "cancel", "after#1")


def test_a_call_from_another_thread_wakes_it(guest: TkGuest, tcl: Tcl) -> None:
    called: list[int] = []
    guest.reactor.call_soon_threadsafe(called.append, 1)
    tcl.update()
    assert called == [1]


# ---- the host comes first ----


def test_what_is_left_over_comes_behind_the_redrawing_and_nothing_is_watched_until_then(
    guest: TkGuest, tcl: Tcl, pair: Watched
) -> None:
    order: list[str] = []
    tcl.commands["redraw"] = lambda: order.append("redraw")
    tcl.call("after", "idle", "redraw")
    tcl.timers["host"] = 0, "tick"
    tcl.commands["tick"] = lambda: order.append("tick")
    pair.before = lambda: order.append("socket")
    pair.theirs.send(b"abc")
    guest.reactor.call_soon(order.append, "call")
    assert not tcl.files
    tcl.turn()
    assert order == ["tick"]
    tcl.turn()
    assert order == ["tick", "redraw", "socket", "call"]
    assert list(tcl.files) == [guest.reactor.fileno()]
    del tcl.commands["redraw"], tcl.commands["tick"]


class Worked:
    """The clock of the guest: it goes while the reactor works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pair: Watched, seconds: float) -> None:
        self.now = 0.0
        self._seconds = seconds
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        pair.before = self.work

    def work(self) -> None:
        self.now += self._seconds


def test_sockets_that_are_always_ready_leave_time_to_redraw_and_to_end_an_update(
    guest: TkGuest, tcl: Tcl, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worked(monkeypatch, pair, 0.0015)
    pair.theirs.send(bytes(100))
    drawn: list[int] = []
    tcl.commands["redraw"] = lambda: drawn.append(len(pair.got))
    tcl.call("after", "idle", "redraw")
    tcl.update()
    # Three steps are longer than the budget of four milliseconds; and the update has returned.
    assert drawn == [3]
    assert len(pair.got) == 3
    assert not tcl.files
    assert [when for when, _ in tcl.timers.values()] == [1]
    tcl.now += 1
    tcl.update()
    assert len(pair.got) == 6
    del tcl.commands["redraw"]


def test_calls_that_never_end_let_an_update_end(
    guest: TkGuest, tcl: Tcl, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = Worked(monkeypatch, pair, 1 / 1024)
    made: list[int] = []

    def again() -> None:
        worked.work()
        made.append(1)
        guest.reactor.call_soon(again)

    guest.reactor.call_soon(again)
    tcl.update()
    # Five are longer than the budget, and it is seen in the step after them.
    assert len(made) == 6
    tcl.now += 1
    tcl.update()
    assert len(made) == 11


def test_work_with_pauses_in_it_is_not_held_up(
    guest: TkGuest, tcl: Tcl, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worked(monkeypatch, pair, 0.0039)
    for _ in range(10):
        pair.theirs.send(b"x")
        tcl.update()
    assert len(pair.got) == guest.wakeups == 10
    assert not tcl.timers


def test_without_a_budget_the_host_has_its_turn_after_each_step(
    tcl: Tcl, reactor: Reactor, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worked(monkeypatch, pair, 0.0001)
    with TkGuest(Window(tcl), reactor, budget=None):  # type: ignore[arg-type]
        pair.theirs.send(b"ab")
        tcl.update()
        assert pair.got == [b"a"]
        tcl.now += 1
        tcl.update()
        assert pair.got == [b"a", b"b"]


def test_a_dialog_inside_a_handler_is_not_kept_busy(
    guest: TkGuest, tcl: Tcl, pair: Watched
) -> None:
    shown: list[int] = []

    def dialog() -> None:
        before = guest.wakeups
        pair.before = lambda: None
        tcl.update()
        tcl.now += 10
        tcl.update()
        shown.append(guest.wakeups - before)

    pair.before = dialog
    pair.theirs.send(b"ab")
    tcl.turn()
    # Once for the socket that is still ready.
    assert shown == [1]
    tcl.update()
    assert pair.got == [b"a", b"b"]
    assert not tcl.timers


# ---- other ways ----


def test_without_a_descriptor_each_socket_is_watched_for_what_it_is_registered_for(
    tcl: Tcl, clock: FakeClock
) -> None:
    with (
        Reactor(selector=selectors.SelectSelector(), clock=clock) as reactor,
        TkGuest(Window(tcl), reactor) as guest,  # type: ignore[arg-type]
    ):
        assert guest.mode == "sockets"
        pair = Watched(reactor)
        fd = pair.ours.fileno()
        assert tcl.files[fd][0] == 2
        pair.theirs.send(b"a")
        tcl.update()
        assert pair.got == [b"a"]
        for events, mask in (EVENT_WRITE, 4), (EVENT_READ | EVENT_WRITE, 6):
            reactor.modify(pair.ours, events, lambda mask: reactor.unregister(pair.ours))
            assert tcl.files[fd][0] == mask
        tcl.update()
        assert fd not in tcl.files
        pair.close()
    assert nothing_is_left(tcl)


def test_a_socket_that_comes_while_nothing_is_watched_is_watched_after_that(
    tcl: Tcl, clock: FakeClock
) -> None:
    with (
        Reactor(selector=selectors.SelectSelector(), clock=clock) as reactor,
        TkGuest(Window(tcl), reactor),  # type: ignore[arg-type]
    ):
        reactor.call_soon(print)
        pair = Watched(reactor)
        assert not tcl.files
        reactor.modify(pair.ours, EVENT_WRITE, pair.ready)
        tcl.turn()
        assert tcl.files[pair.ours.fileno()][0] == 4
        reactor.unregister(pair.ours)
        pair.close()


class High(selectors.DefaultSelector):
    """One whose descriptor is too high for Tcl."""

    def fileno(self) -> int:
        return 1024


def test_a_descriptor_that_would_end_the_process_is_not_watched(
    tcl: Tcl, clock: FakeClock
) -> None:
    with Reactor(selector=High(), clock=clock) as reactor:
        in_ticks(tcl, reactor)


def test_where_tcl_watches_nothing_there_are_ticks(tcl: Tcl, reactor: Reactor) -> None:
    class Windows(Tcl):
        createfilehandler = property()

    in_ticks(Windows(), reactor)


def in_ticks(tcl: Tcl, reactor: Reactor) -> None:
    with TkGuest(Window(tcl), reactor, interval=0.02) as guest:  # type: ignore[arg-type]
        assert guest.mode == "ticks"
        pair = Watched(reactor)
        pair.theirs.send(b"ab")
        tcl.update()
        assert pair.got == []
        tcl.now += 20
        tcl.update()
        assert pair.got == [b"a"]
        tcl.now += 20
        tcl.update()
        assert pair.got == [b"a", b"b"]
        assert not tcl.files
        reactor.unregister(pair.ours)
        pair.close()
    assert nothing_is_left(tcl)


# ---- the end ----


def test_a_guest_that_has_stopped_leaves_nothing_and_can_start_again(
    guest: TkGuest, tcl: Tcl, pair: Watched
) -> None:
    guest.reactor.call_later(1, print)
    pair.theirs.send(b"abc")
    tcl.turn()
    assert tcl.idles
    guest.stop()
    guest.stop()
    assert nothing_is_left(tcl)
    assert (guest.running, guest.reactor.host) == (False, None)
    guest.start()
    tcl.update()
    assert pair.got == [b"a", b"b", b"c"]


def test_a_handler_may_stop_it(guest: TkGuest, tcl: Tcl, pair: Watched) -> None:
    pair.before = guest.stop
    pair.theirs.send(b"a")
    tcl.update()
    assert pair.got == [b"a"]
    assert nothing_is_left(tcl)


def test_it_ends_when_the_window_is_destroyed(guest: TkGuest, tcl: Tcl, pair: Watched) -> None:
    guest.reactor.call_later(1, print)
    tcl.destroy()
    assert not guest.running
    tcl.traces.clear()
    assert nothing_is_left(tcl)
    with pytest.raises(RuntimeError, match="unknown command"):
        guest.start()
    assert nothing_is_left(tcl)
    assert (guest.running, guest.reactor.host) == (False, None)


def test_it_ends_when_the_reactor_is_closed(tcl: Tcl) -> None:
    with Reactor() as reactor:
        guest = TkGuest(Window(tcl), reactor)  # type: ignore[arg-type]
        guest.start()
    assert not guest.running
    assert nothing_is_left(tcl)


def test_an_interrupt_comes_out_of_the_loop_and_the_guest_lives(
    guest: TkGuest, tcl: Tcl, pair: Watched
) -> None:
    def interrupt() -> None:
        pair.before = lambda: None
        raise KeyboardInterrupt

    pair.before = interrupt
    pair.theirs.send(b"a")
    with pytest.raises(KeyboardInterrupt):
        tcl.update()
    tcl.update()
    assert pair.got == [b"a"]


def test_in_the_child_of_a_fork_tk_is_let_alone(
    guest: TkGuest, tcl: Tcl, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list(tcl.calls)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        guest.stop()
    assert not guest.running
    assert tcl.calls == calls
    assert list(tcl.files) == [guest.reactor.fileno()]
