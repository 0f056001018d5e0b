"""A reactor in the loop of Qt.

Facts: Qt watches a descriptor, on Windows a socket, with one `QSocketNotifier` for reading and
one for writing, level-triggered, in the thread that made it. A `QTimer` counts in milliseconds,
and is up to 5 % late unless it is a precise one. One of 0 is due when the events that were
there are dealt with. A notifier that is deleted while it notifies can take the program with it.
PySide6 and PyQt6 have the same names for all of that; a program imports one of them, and two of
them in one process do not get along.

So it is the one that the program has imported already, and nothing of it is imported here. A
notifier that is not needed is disabled, and kept for the next descriptor of its number. What is
always ready does not keep back a timer of 0: each round of Qt's loop has both. When the
application is gone, which takes with it what is PyQt6's, nothing of Qt is touched any more.

What is raised out of a step, such as `KeyboardInterrupt`, is a slot's exception: PySide6 hands
it to `sys.excepthook`, PyQt6 ends the program if nobody has set that.
"""

from __future__ import annotations

import sys
from math import ceil
from selectors import EVENT_READ, EVENT_WRITE

from .guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..loop.reactor import Reactor

__all__ = ["QtGuest"]

_BINDINGS = ("PySide6.QtCore", "PyQt6.QtCore")


class QtGuest(Guest):
    """A reactor in the loop of Qt: `with QtGuest(reactor): app.exec()`.

    It belongs to the thread that starts it. A handler may use all of Qt, and may run its loop
    inside itself, as `QDialog.exec` does.

    Args:
        reactor: The one that is to run.
        qtcore: The module `QtCore` of PySide6 or PyQt6; by default the one that the program has
            imported.
        budget: As `Guest` has it.
        interval: As `Guest` has it; Qt can watch everything, so there are no ticks.

    Raises:
        RuntimeError: Neither of them is imported yet.
    """

    def __init__(
        self,
        reactor: Reactor,
        qtcore: Any = None,
        *,
        budget: float | None = 0.004,
        interval: float = 0.01,
    ) -> None:
        super().__init__(reactor, budget=budget, interval=interval)
        self._qt = _imported() if qtcore is None else qtcore
        self._notifiers: dict[tuple[int, int], Any] = {}
        self._enabled: set[tuple[int, int]] = set()
        self._timer: Any = None

    def start(self) -> None:
        """Have Qt run the reactor from now on; nothing if it does already.

        Raises:
            InvalidState: The reactor is closed, or has another guest.
            RuntimeError: There is no `QCoreApplication` yet.
        """
        if not self._has_application():
            raise RuntimeError("there is no QCoreApplication yet, whose loop would be used")
        super().start()

    def stop(self) -> None:
        """Have Qt forget the reactor, which lives on; nothing if it does not run."""
        super().stop()
        if not self._has_application():
            self._notifiers.clear()
            self._enabled.clear()
            self._timer = None

    def _settle(self) -> None:
        if self._timer is None:
            self._timer = self._qt.QTimer()
            self._timer.setSingleShot(True)
            self._timer.setTimerType(self._qt.Qt.TimerType.PreciseTimer)
            self._timer.timeout.connect(self._timed)
        super()._settle()

    # ---- what the base asks for ----

    def _watch(self, fd: int, events: int) -> None:
        if not self._has_application():
            return
        for event in (EVENT_READ, EVENT_WRITE):
            if events & event:
                self._enable(fd, event)
            elif (fd, event) in self._enabled:
                self._enabled.discard((fd, event))
                self._notifiers[fd, event].setEnabled(False)

    def _arm(self, delay: float | None) -> None:
        if not self._has_application():
            return
        if delay is None:
            self._timer.stop()
        else:
            self._timer.start(ceil(delay * 1000))

    # ---- what Qt calls ----

    def _fd_ready(self, *args: object) -> None:
        self._ready()

    # ---- inside ----

    def _has_application(self) -> bool:
        return self._qt.QCoreApplication.instance() is not None

    def _enable(self, fd: int, event: int) -> None:
        notifier = self._notifiers.get((fd, event))
        if notifier is None:
            kind = self._qt.QSocketNotifier.Type
            kind = kind.Read if event == EVENT_READ else kind.Write
            notifier = self._notifiers[fd, event] = self._qt.QSocketNotifier(fd, kind)
            notifier.activated.connect(self._fd_ready)
        self._enabled.add((fd, event))
        notifier.setEnabled(True)


def _imported() -> Any:
    for name in _BINDINGS:
        if name in sys.modules:
            return sys.modules[name]
    raise RuntimeError(f"none of {' and '.join(_BINDINGS)} is imported: import yours first")
