"""Calls from other threads, and from signal handlers.

Facts: `append` and `popleft` of a deque, and `pop` of a list, are atomic. A lock would not do:
the handler of a signal may run while the very thread that it interrupts holds it. But without
one, a reactor can be closed between the moment when another thread has seen it open and the
moment when its call is there.

So each call lies in a cell of its own, and whoever empties the cell has it. Who puts a call in
looks afterwards whether the box has been closed: if so, and if the cell is still full, the call
is taken back and refused; if it is empty, the call was made. A call that was accepted is made,
one that was not has raised.
"""

from __future__ import annotations

from collections import deque

from ..errors import InvalidState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .wakeup import Wakeup

    Call = tuple[Callable[..., object], tuple[Any, ...]]


class Mailbox:
    """A queue of calls: any thread puts in, the reactor's takes out.

    Args:
        wakeup: Ends the wait of the reactor.

    Attributes:
        cells: One for each call that waits, the oldest first.
    """

    __slots__ = ("_closed", "_wakeup", "cells")

    def __init__(self, wakeup: Wakeup) -> None:
        self.cells: deque[list[Call]] = deque()
        self._wakeup = wakeup
        self._closed = False

    def put(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Put a call in; from any thread or signal handler, never blocks.

        Raises:
            InvalidState: It is closed; the call will not be made.
        """
        cell: list[Call] = [(fn, args)]
        if not self._closed:
            self.cells.append(cell)
        if self._closed and empty(cell):
            raise InvalidState("the reactor is closed")
        self._wakeup.wake()

    def take(self) -> Call | None:
        """Take out the oldest call; `None` if there is none, or it was taken back."""
        try:
            return empty(self.cells.popleft())
        except IndexError:
            return None

    def close(self) -> None:
        """Accept no more calls; those that were accepted are still to be taken out."""
        self._closed = True


def empty(cell: list[Call]) -> Call | None:
    """Return what was in the cell, to the one that is first to ask."""
    try:
        return cell.pop()
    except IndexError:
        return None
