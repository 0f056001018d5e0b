"""A reactor in the main loop of GLib: GTK, and all that stands on it.

Facts: a source of GLib has any number of descriptors beside its own business, and may be in any
context. Those of one priority are called in turn, and none while one of a higher is ready: GTK
redraws at 120, and input comes at 0. A source that is written in Python is asked in every round
whether it is ready, and ends the process if it is let go while it is being called. What a
callback raises is printed by PyGObject, and its source is taken away.

So there are two of GLib's own timeout sources: one for the next step, made anew each time, and
one that has the descriptors and comes for its own sake in 25 days; it is replaced when it was
taken away. They have the priority of what is done when there is nothing else, 200: a step never
comes before the window. On Windows GLib watches no descriptors, and there are only ticks.
"""

from __future__ import annotations

from math import ceil
from selectors import EVENT_READ, EVENT_WRITE

from .guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..loop.reactor import Reactor

_LONG = 2**31  # milliseconds


class GLibGuest(Guest):
    """Runs a reactor in a main loop of GLib, as that of GTK; it takes PyGObject.

    ```python
    from gi.repository import GLib

    server = Server(("127.0.0.1", 8000), onmessage=lambda client, message: print(message))
    with GLibGuest(server.reactor):
        GLib.MainLoop().run()
    ```

    What is raised out of a step is printed, and the loop goes on, as PyGObject has it.

    Args:
        reactor: The one that is to run.
        budget: See `Guest`.
        interval: See `Guest`.
        context: The `GLib.MainContext` of the loop; by default the default one.
        priority: That of the steps among the other sources of the context; by default that of
            `GLib.PRIORITY_DEFAULT_IDLE`, behind GTK's redrawing. A source of a lower number
            that is always ready leaves no room for them.

    Raises:
        ImportError: PyGObject is missing.
        ValueError: See `Guest`.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        budget: float | None = 0.004,
        interval: float = 0.01,
        context: Any = None,
        priority: int = 200,
    ) -> None:
        from gi.repository import GLib

        super().__init__(reactor, budget=budget, interval=interval)
        self._glib: Any = GLib
        self._context = context
        self._priority = priority
        self._source: Any = None  # what has the descriptors
        # Of each descriptor GLib's name for it, and the condition.
        self._tags: dict[int, tuple[Any, Any]] = {}
        self._timer: Any = None

    # ---- what the base asks for ----

    def _watch(self, fd: int, events: int) -> None:
        if self._source is None:
            if not hasattr(self._glib.Source, "add_unix_fd"):
                raise NotImplementedError("GLib watches no descriptors here")
            self._source = self._attach(_LONG, self._fired)
        if fd in self._tags:
            self._source.remove_unix_fd(self._tags.pop(fd)[0])
        if events:
            wanted = self._glib.IOCondition(0)
            if events & EVENT_READ:
                wanted |= self._glib.IOCondition.IN
            if events & EVENT_WRITE:
                wanted |= self._glib.IOCondition.OUT
            self._tags[fd] = self._source.add_unix_fd(fd, wanted), wanted
        elif not self._tags:
            self._source.destroy()
            self._source = None

    def _arm(self, delay: float | None) -> None:
        if self._timer is not None:
            self._timer.destroy()
            self._timer = None
        if delay is not None:
            self._timer = self._attach(ceil(delay * 1000), self._rung)

    # ---- inside ----

    def _attach(self, delay: int, call: Any) -> Any:
        source = self._glib.Timeout(delay)
        source.set_priority(self._priority)
        source.set_callback(call)
        source.attach(self._context)
        return source

    def _fired(self, *args: object) -> bool:
        try:
            self._ready()
        except BaseException:
            self._replace()
            raise
        # Only the child of a fork is called in vain: its source must not stay.
        return self.running

    def _rung(self, *args: object) -> bool:
        self._timer = None
        self._timed()
        return False

    def _replace(self) -> None:
        """Put another source in the place of one that is taken away for what it has raised."""
        old, self._source = self._source, None
        if old is not None:  # it may have been stopped before
            old.destroy()
            self._source = self._attach(_LONG, self._fired)
            for fd, (_, wanted) in self._tags.items():
                self._tags[fd] = self._source.add_unix_fd(fd, wanted), wanted
