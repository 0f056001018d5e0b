"""A reactor in the loop of Tk.

Facts: Tcl's loop watches descriptors with `select` (8.6): one of 1024 or above is written past
the end of its set, and ends the process. On Windows it watches none. It is idle, and redraws,
only when nothing else is to be done: a descriptor that is always readable and a timer of 0 keep
it from that for good, and `update` never returns. A callback "after idle" comes behind the
redrawing that was asked for before it; one that asks for another does keep `update` from
returning. Tcl counts in milliseconds. A command of its own costs a microsecond to call, one by
`tkinter.Misc.after` ten; and what it raises comes out of `mainloop`, which is right for
`KeyboardInterrupt`.

So the descriptor of the reactor is watched, unless its number is too high: then there are
ticks, as on Windows. What is to come next comes after idle, with nothing watched until then.
Steps that together took longer than the budget while Tk was never idle are followed by a
millisecond without any.

The trace of the window's command tells when it is destroyed, by whomever; an event would have
to be bound, and could be unbound.
"""

from __future__ import annotations

import os
from math import ceil
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic

from .guest import NEXT, Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tkinter
    from collections.abc import Callable
    from typing import Any

    from ..loop.reactor import Reactor

__all__ = ["TkGuest"]

# Those of Tcl; `tkinter` has them too, where it is.
_READABLE, _WRITABLE = 2, 4
# The descriptors that `select` can watch on all systems are below it.
_SELECTABLE = 1024


class TkGuest(Guest):
    """A reactor in the loop of Tk: `with TkGuest(root, reactor): root.mainloop()`.

    It ends when the window is destroyed. A handler may use all of Tk, and may run its loop
    inside itself, as `messagebox` does.

    Args:
        root: The window, or any other widget that lives as long as the guest is to.
        reactor: The one that is to run.
        budget: As `Guest` has it.
        interval: As `Guest` has it; for Windows, and where the number of the reactor's
            descriptor is 1024 or above.
    """

    def __init__(
        self,
        root: tkinter.Misc,
        reactor: Reactor,
        *,
        budget: float | None = 0.004,
        interval: float = 0.01,
    ) -> None:
        super().__init__(reactor, budget=budget, interval=interval)
        self._share = budget or 0.0
        self._work = 0.0  # seconds that our steps took since Tk was idle
        self._path = str(root)
        self._tk: Any = root.tk
        self._prefix = f"reactor_guest_{id(self):x}_"
        self._commands: dict[str, Callable[..., None]] = {}
        self._masks: dict[int, int] = {}
        self._traced = self._blind = self._suspended = False
        self._timer = self._marker = ""  # what Tcl calls them; "" for none

    def stop(self) -> None:
        """Have Tk forget the reactor, which lives on; nothing if it does not run."""
        super().stop()
        if self._commands and os.getpid() == self._process:
            self._withdraw()

    def _settle(self) -> None:
        self._trace("add")
        self._traced = True
        self._commands = {
            self._prefix + "timed": self._timer_due,
            self._prefix + "idle": self._is_idle,
            self._prefix + "destroyed": self._destroyed,
        }
        for name, function in self._commands.items():
            self._tk.createcommand(name, function)
        self._blind = not hasattr(self._tk, "createfilehandler") or self._too_high()
        self._work = 0.0
        super()._settle()

    def _too_high(self) -> bool:
        try:
            return self.reactor.fileno() >= _SELECTABLE
        except AttributeError:
            return False  # then it is a `select` itself, and each socket's is low

    def _withdraw(self) -> None:
        self._cancel_marker()
        if self._traced:
            self._traced = False
            self._trace("remove")
        for name in self._commands:
            self._tk.deletecommand(name)
        self._commands = {}

    def _trace(self, action: str) -> None:
        name = self._prefix + "destroyed"
        self._tk.call("trace", action, "command", self._path, "delete", name)

    # ---- what the base asks for ----

    def _watch(self, fd: int, events: int) -> None:
        if self._blind:
            raise NotImplementedError("this Tk watches no descriptor, or not this one")
        if self._masks.pop(fd, 0) and not self._suspended:
            self._tk.deletefilehandler(fd)
        if events:
            readable = _READABLE if events & EVENT_READ else 0
            self._masks[fd] = readable | (_WRITABLE if events & EVENT_WRITE else 0)
            if not self._suspended:
                self._tk.createfilehandler(fd, self._masks[fd], self._fd_ready)

    def _arm(self, delay: float | None) -> None:
        if self._timer:
            self._tk.call("after", "cancel", self._timer)
            self._timer = ""
        self._resume()
        if delay is None:
            return
        when: int | str = ceil(delay * 1000)
        if delay == 0:
            self._suspend()
            when = "idle"
            if self._work > self._share:
                self._work, when = 0.0, 1
        self._timer = self._tk.call("after", when, self._prefix + "timed")

    # ---- what Tk calls ----

    def _fd_ready(self, file: object, mask: int) -> None:
        if self._work > self._share:
            # And that without Tk having been idle.
            self._due = NEXT
            self._arm(0)
        else:
            self._count(self._ready)

    def _timer_due(self) -> None:
        self._timer = ""
        self._resume()
        self._count(self._timed)

    def _is_idle(self) -> None:
        self._marker, self._work = "", 0.0

    def _destroyed(self, *args: str) -> None:
        self._traced = False  # Tcl ends it
        self.stop()

    # ---- inside ----

    def _count(self, call: Callable[[], None]) -> None:
        began = monotonic()
        try:
            call()
        finally:
            self._work += monotonic() - began
            if self._masks and not (self._suspended or self._marker):
                self._marker = self._tk.call("after", "idle", self._prefix + "idle")

    def _suspend(self) -> None:
        self._suspended = True
        for fd in self._masks:
            self._tk.deletefilehandler(fd)
        self._cancel_marker()  # Tk may be idle now, whatever is ready

    def _resume(self) -> None:
        if self._suspended:
            self._suspended = False
            for fd, mask in self._masks.items():
                self._tk.createfilehandler(fd, mask, self._fd_ready)

    def _cancel_marker(self) -> None:
        if self._marker:
            self._tk.call("after", "cancel", self._marker)
            self._marker = ""
