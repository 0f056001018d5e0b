"""`reactor/loop/mailbox.py`: calls from other threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor.errors import InvalidState
from reactor.loop.mailbox import Mailbox, empty
from reactor.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def test_calls_come_out_in_their_order_and_wake_once(wakeup: Wakeup) -> None:
    box = Mailbox(wakeup)
    for number in range(3):
        box.put(print, (number,))
    assert wakeup.read() == b"\0"
    assert [box.take() for _ in range(4)] == [
        *((print, (number,)) for number in range(3)),
        None,
    ]


def test_a_closed_one_refuses_and_gives_what_it_had(wakeup: Wakeup) -> None:
    box = Mailbox(wakeup)
    box.put(print, (1,))
    box.close()
    with pytest.raises(InvalidState, match="the reactor is closed"):
        box.put(print, (2,))
    assert len(box.cells) == 1
    assert box.take() == (print, (1,))
    assert box.take() is None


class Closing(Mailbox):
    """One that another thread closes between the look and the call's being there."""

    __slots__ = ("meanwhile",)

    def __init__(self, wakeup: Wakeup, meanwhile: Any) -> None:
        super().__init__(wakeup)
        self.meanwhile = meanwhile
        box = self

        class Cells(type(self.cells)):  # type: ignore[misc]
            def append(self, cell: Any) -> None:
                super().append(cell)
                meanwhile(box)

        self.cells = Cells()


def test_a_call_that_was_not_made_before_the_end_is_taken_back(wakeup: Wakeup) -> None:
    box = Closing(wakeup, Mailbox.close)
    with pytest.raises(InvalidState):
        box.put(print, ())
    assert box.take() is None, "its cell is empty"
    assert wakeup.read() == b""


def test_a_call_that_was_made_before_the_end_was_accepted(wakeup: Wakeup) -> None:
    taken: list[Any] = []

    def end(box: Mailbox) -> None:
        box.close()
        taken.append(box.take())

    box = Closing(wakeup, end)
    box.put(print, (1,))
    assert taken == [(print, (1,))]


def test_a_cell_is_emptied_by_one_alone() -> None:
    for _ in range(200):
        cell: list[Any] = [(print, ())]
        got: list[Any] = []
        start = threading.Barrier(2)

        def work(cell: list[Any] = cell, got: list[Any] = got, start: Any = start) -> None:
            start.wait()
            got.append(empty(cell))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got, key=bool) == [None, (print, ())]
