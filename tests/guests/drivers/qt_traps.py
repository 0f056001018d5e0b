"""What is known to go wrong with Qt, and must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QTimer
from PySide6.QtWidgets import QApplication, QDialog, QWidget

from reactor import Reactor
from reactor.guests import QtGuest
from tests.guests.traps import Both, Endless, Flood, seconds

if TYPE_CHECKING:
    from collections.abc import Callable


class Window(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.painted = 0
        self.timer = QTimer(self)
        self.timer.timeout.connect(self.update)
        self.timer.start(10)

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        self.painted += 1


def run(ms: int) -> None:
    QTimer.singleShot(ms, QCoreApplication.quit)
    QCoreApplication.exec()


def the_window_is_painted_and_process_events_returns(
    load: Callable[[Reactor], Flood | Endless | Both],
) -> None:
    with Reactor() as reactor, QtGuest(reactor):
        busy = load(reactor)
        assert seconds(QCoreApplication.processEvents) < 1
        window = Window()
        window.show()
        run(500)
        assert window.painted > 10, window.painted
        assert busy.count > 100, busy.count
        busy.end()
        run(20)
        window.timer.stop()


def a_dialog_in_a_handler_costs_nothing_to_speak_of() -> None:
    wakeups: list[int] = []
    with Reactor() as reactor, QtGuest(reactor) as guest:
        flood = Flood(reactor)

        def dialog() -> None:
            before = guest.wakeups
            window = QDialog()
            QTimer.singleShot(300, window.accept)
            window.exec()
            wakeups.append(guest.wakeups - before)
            QCoreApplication.quit()

        flood.then = dialog
        QCoreApplication.exec()
        assert wakeups[0] < 60, wakeups
        flood.end()


def a_guest_can_be_stopped_and_started_in_its_own_call() -> None:
    with Reactor() as reactor:
        guest = QtGuest(reactor)
        guest.start()
        flood = Flood(reactor)

        def again() -> None:
            guest.stop()
            guest.start()
            reactor.call_later(0.01, guest.stop)

        flood.then = again
        run(100)
        assert not guest.running
        count = flood.count
        run(50)
        assert flood.count == count > 1
        flood.end()


def the_reactor_may_outlive_the_application(app: QApplication) -> None:
    with Reactor() as reactor:
        guest = QtGuest(reactor)
        guest.start()
        app.shutdown()
        assert QCoreApplication.instance() is None
        reactor.call_soon(print)
        guest.stop()


def main() -> None:
    app = QApplication([])
    for load in Flood, Endless, Both:
        the_window_is_painted_and_process_events_returns(load)
    a_dialog_in_a_handler_costs_nothing_to_speak_of()
    a_guest_can_be_stopped_and_started_in_its_own_call()
    the_reactor_may_outlive_the_application(app)


main()
