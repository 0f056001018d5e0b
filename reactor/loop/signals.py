"""SIGINT and SIGTERM while a reactor runs.

Facts: only the main thread may handle signals. A Python handler runs between two instructions
of whatever runs, so it must not touch anything. `select` goes on waiting after a handler
returned (PEP 475), but the number of a signal can be had as a byte on a socket
(`signal.set_wakeup_fd`).

So the byte on the reactor's own wake socket ends the wait, and the signal is acted upon between
callbacks. The handlers do nothing, but for one case: a second SIGINT while the first has not
been acted upon, since a callback does not return, raises `KeyboardInterrupt` in it. What was
there before is put back.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any


class SignalTrap:
    """Catches SIGINT and SIGTERM in a `with` block; in other threads than the main, nothing.

    Args:
        wake: The writing end of the socket pair that wakes the reactor; non-blocking.
        interrupted: Called by `received` for each signal, with whether it is not the first.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, wake: socket.socket, interrupted: Callable[[bool], object]) -> None:
        self._wake = wake
        self._interrupted = interrupted
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before: int | None = None
        self._pending = False
        self._again = False

    def __enter__(self) -> SignalTrap:
        """Put the handlers in place, where that is allowed."""
        try:
            self._wakeup_before = signal.set_wakeup_fd(
                self._wake.fileno(), warn_on_full_buffer=False
            )
        except ValueError:
            return self  # not the main thread
        for number in self._NUMBERS:
            # A process that ignores SIGINT, as `nohup` and a shell's `&` have it, goes on to;
            # `None` is a handler in C, of the program around us, that could not be put back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back what was there before."""
        self.restore()

    def restore(self) -> None:
        """Put back what was there before; allowed any number of times."""
        if self._wakeup_before is None:
            return
        try:
            signal.set_wakeup_fd(self._wakeup_before)
        except ValueError:
            return  # not the main thread; PyPy's child of a fork by another thread has none
        self._wakeup_before = None
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._pending = True

    def received(self, numbers: bytes) -> None:
        """Act upon what was read from the wake socket: a byte is a signal's number, or 0."""
        for number in numbers:
            if number in self._before:
                self._pending = False
                again, self._again = self._again, True
                self._interrupted(again)
