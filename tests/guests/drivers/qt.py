"""Qt, on the platform that QT_QPA_PLATFORM names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QLabel

from reactor.guests import QtGuest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Host:
    def __init__(self) -> None:
        self.app = QApplication([])
        self.label = QLabel("nothing yet")
        self.label.show()

    def call_at(self, when: float, fn: Callable[[], object]) -> None:
        timer = QTimer(self.app)
        timer.setSingleShot(True)
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(fn)
        timer.timeout.connect(timer.deleteLater)
        timer.start(max(0, round((when - time.monotonic()) * 1000)))

    def run(self) -> None:
        self.app.exec()

    def leave(self) -> None:
        self.app.quit()

    def guest(self, reactor: Reactor) -> QtGuest:
        return QtGuest(reactor)

    def handlers(self) -> None:
        return None  # Qt does not tell

    def close(self) -> None:
        self.label.close()
        self.app.processEvents()
