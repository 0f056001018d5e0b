"""`reactor/guests/qt.py`, with a Qt of our own; the real one is in tests/interop/."""

from __future__ import annotations

import select
import selectors
import sys
import types
from typing import TYPE_CHECKING

import pytest

from reactor import EVENT_READ, EVENT_WRITE, InvalidState, Reactor
from reactor.guests import QtGuest
from tests.guests.pairs import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactor.testing import FakeClock


class Signal:
    def __init__(self) -> None:
        self.slots: list[Callable[..., object]] = []

    def connect(self, slot: Callable[..., object]) -> None:
        self.slots.append(slot)

    def emit(self, *args: object) -> None:
        for slot in self.slots:
            slot(*args)


class QtCore:
    """As much of Qt's loop as a guest uses; its clock is told the time."""

    def __init__(self) -> None:
        loop = self
        self.now = 0  # in milliseconds
        self.app: object = object()
        self.notifiers: list[QSocketNotifier] = []
        self.timers: list[QTimer] = []

        class QSocketNotifier:
            class Type:
                Read = "read"
                Write = "write"

            def __init__(self, fd: int, kind: str) -> None:
                assert kind in {"read", "write"}
                self.fd, self.kind, self.enabled = fd, kind, True
                self.activated = Signal()
                loop.notifiers.append(self)

            def setEnabled(self, enabled: bool) -> None:  # noqa: N802
                self.enabled = enabled

        class QTimer:
            def __init__(self) -> None:
                self.due: int | None = None
                self.options: list[object] = []
                self.timeout = Signal()
                self.setSingleShot = self.setTimerType = self.options.append
                loop.timers.append(self)

            def start(self, delay: int) -> None:
                assert isinstance(delay, int)
                self.due = loop.now + delay

            def stop(self) -> None:
                self.due = None

        self.QSocketNotifier = QSocketNotifier
        self.QTimer = QTimer
        self.Qt = types.SimpleNamespace(TimerType=types.SimpleNamespace(PreciseTimer="precise"))
        self.QCoreApplication = types.SimpleNamespace(instance=lambda: self.app)

    def enabled(self) -> list[tuple[int, str]]:
        return [(known.fd, known.kind) for known in self.notifiers if known.enabled]

    def delays(self) -> list[int]:
        return [timer.due - self.now for timer in self.timers if timer.due is not None]

    def turn(self) -> bool:
        """Do one round, as Qt's `processEvents` does; return whether there was anything."""
        done = False
        for notifier in list(self.notifiers):
            fds = [notifier.fd]
            ways = (fds, []) if notifier.kind == "read" else ([], fds)
            if notifier.enabled and any(select.select(*ways, [], 0)):
                notifier.activated.emit("a descriptor", notifier.kind)
                done = True
        for timer in self.timers:
            if timer.due is not None and timer.due <= self.now:
                timer.due = None
                timer.timeout.emit()
                done = True
        return done

    def settle(self) -> None:
        while self.turn():
            pass


@pytest.fixture
def qt() -> QtCore:
    return QtCore()


@pytest.fixture
def guest(qt: QtCore, reactor: Reactor) -> Iterator[QtGuest]:
    guest = QtGuest(reactor, qt)
    with guest:
        yield guest


# ---- the descriptor, and the timer ----


def test_what_comes_wakes_the_reactor_and_nothing_else_does(
    guest: QtGuest, qt: QtCore, pair: Watched
) -> None:
    assert guest.mode == "descriptor"
    assert qt.enabled() == [(guest.reactor.fileno(), "read")]
    assert not qt.turn()
    assert guest.wakeups == 0
    pair.theirs.send(b"ab")
    qt.settle()
    assert pair.got == [b"a", b"b"]
    assert guest.wakeups == 2


def test_a_timer_is_a_precise_one_and_due_at_the_millisecond_after_its_time(
    guest: QtGuest, qt: QtCore, clock: FakeClock
) -> None:
    called: list[int] = []
    timer = guest.reactor.call_later(0.0105, called.append, 1)
    assert [timer.options for timer in qt.timers] == [[True, "precise"]]
    assert qt.delays() == [11]
    timer.cancel()
    guest.reactor.call_later(0.0025, called.append, 2)
    assert qt.delays() == [3]
    qt.now = 3
    clock.advance(0.003)
    qt.settle()
    assert called == [2]
    assert (guest.wakeups, qt.delays()) == (1, [])


def test_a_round_of_the_loop_makes_one_step_of_what_is_left_over(
    guest: QtGuest, qt: QtCore, pair: Watched
) -> None:
    made: list[int] = []

    def again() -> None:
        made.append(1)
        if len(made) < 3:
            guest.reactor.call_soon(again)

    def begin() -> None:
        pair.before = lambda: None
        guest.reactor.call_soon(again)

    pair.before = begin
    pair.theirs.send(b"abc")
    qt.turn()
    # What was ready has asked for a step, which was due in the same round.
    assert (len(made), len(pair.got)) == (1, 2)
    # And what is ready meanwhile does not make another.
    qt.turn()
    assert (len(made), len(pair.got)) == (2, 3)
    qt.turn()
    assert len(made) == 3
    assert not qt.turn()


def test_a_dialog_inside_a_handler_is_not_kept_busy(
    guest: QtGuest, qt: QtCore, pair: Watched
) -> None:
    shown: list[int] = []

    def dialog() -> None:
        before = guest.wakeups
        pair.before = lambda: None
        qt.settle()
        shown.append(guest.wakeups - before)

    pair.before = dialog
    pair.theirs.send(b"ab")
    qt.settle()
    # Once, for what is still ready.
    assert shown == [1]
    assert pair.got == [b"a", b"b"]
    assert qt.delays() == []


# ---- other ways ----


def test_without_a_descriptor_each_socket_has_a_notifier_for_each_way(
    qt: QtCore, clock: FakeClock
) -> None:
    with Reactor(selector=selectors.SelectSelector(), clock=clock) as reactor:
        guest = QtGuest(reactor, qt)
        guest.start()
        assert guest.mode == "sockets"
        pair = Watched(reactor)
        fd = pair.ours.fileno()
        wakeup, *rest = qt.enabled()
        assert rest == [(fd, "read")]
        pair.theirs.send(b"a")
        qt.settle()
        assert pair.got == [b"a"]

        def writable(mask: int) -> None:
            assert mask == EVENT_WRITE
            reactor.unregister(pair.ours)

        reactor.modify(pair.ours, EVENT_WRITE, writable)
        assert qt.enabled() == [wakeup, (fd, "write")]
        reactor.modify(pair.ours, EVENT_READ | EVENT_WRITE, writable)
        assert qt.enabled() == [wakeup, (fd, "read"), (fd, "write")]
        qt.settle()
        assert qt.enabled() == [wakeup]
        # The next one of this number has the same notifiers.
        reactor.register(pair.ours, EVENT_READ, pair.ready)
        assert qt.enabled() == [wakeup, (fd, "read")]
        assert len(qt.notifiers) == 3
        reactor.unregister(pair.ours)
        pair.close()
    assert qt.enabled() == []


# ---- the beginning and the end ----


@pytest.fixture
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "PySide6.QtCore", "PyQt6.QtCore":
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("nothing_imported")
@pytest.mark.parametrize("name", ["PySide6.QtCore", "PyQt6.QtCore"])
def test_it_uses_the_qt_that_the_program_has_imported(
    name: str, qt: QtCore, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, qt)
    with QtGuest(reactor):
        assert qt.enabled() == [(reactor.fileno(), "read")]


@pytest.mark.usefixtures("nothing_imported")
def test_without_any_it_says_so(reactor: Reactor) -> None:
    with pytest.raises(RuntimeError, match=r"PySide6\.QtCore and PyQt6\.QtCore is imported"):
        QtGuest(reactor)


def test_without_an_application_there_is_no_loop(qt: QtCore, reactor: Reactor) -> None:
    qt.app = None
    guest = QtGuest(reactor, qt)
    with pytest.raises(RuntimeError, match="no QCoreApplication"):
        guest.start()
    assert reactor.host is None


def test_a_guest_that_has_stopped_leaves_nothing_and_can_start_again(
    guest: QtGuest, qt: QtCore, pair: Watched
) -> None:
    guest.reactor.call_later(1, print)
    pair.theirs.send(b"a")
    guest.stop()
    guest.stop()
    assert (qt.enabled(), qt.delays()) == ([], [])
    assert not qt.turn()
    guest.start()
    qt.settle()
    assert pair.got == [b"a"]
    assert (len(qt.notifiers), len(qt.timers)) == (1, 1)


def test_a_handler_may_stop_it(guest: QtGuest, qt: QtCore, pair: Watched) -> None:
    pair.before = guest.stop
    pair.theirs.send(b"ab")
    qt.settle()
    assert pair.got == [b"a"]
    assert (qt.enabled(), qt.delays()) == ([], [])


def test_it_ends_when_the_reactor_is_closed(qt: QtCore) -> None:
    with Reactor() as reactor:
        guest = QtGuest(reactor, qt)
        guest.start()
    assert not guest.running
    assert (qt.enabled(), qt.delays()) == ([], [])
    with pytest.raises(InvalidState):
        guest.start()


def test_when_the_application_is_gone_qt_is_let_alone(
    qt: QtCore, reactor: Reactor, pair: Watched
) -> None:
    guest = QtGuest(reactor, qt)
    guest.start()
    qt.app = None
    enabled, timers = qt.enabled(), qt.timers

    def deleted(*args: object) -> None:
        raise RuntimeError("wrapped C/C++ object has been deleted")

    for made in [*qt.notifiers, *timers]:
        for name in "setEnabled", "start", "stop":
            setattr(made, name, deleted)
    reactor.call_soon(print)
    guest.stop()
    assert qt.enabled() == enabled
    qt.app = object()
    qt.notifiers.clear()
    with guest:
        pair.theirs.send(b"a")
        reactor.call_later(1, print)
        qt.settle()
        assert pair.got == [b"a"]
        assert qt.enabled() == [(reactor.fileno(), "read")]
