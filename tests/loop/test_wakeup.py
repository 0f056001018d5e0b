"""`reactor/loop/wakeup.py`: what ends a wait from outside."""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING, Any

import pytest

from reactor.loop.wakeup import Wakeup

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup.reader], [], [], 0)[0])


def fill(wakeup: Wakeup) -> None:
    while True:
        wakeup.writer.send(b"\x0f")


class FailingSocket:
    """Raises what it is told to."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def send(self, data: bytes) -> int:
        raise self.error

    def recv(self, size: int) -> bytes:
        raise self.error

    def close(self) -> None:
        """Nothing is open."""


def replace(wakeup: Wakeup, name: str, error: BaseException) -> socket.socket:
    failing: Any = FailingSocket(error)
    real: socket.socket = getattr(wakeup, name)
    setattr(wakeup, name, failing)
    return real


def test_nothing_is_readable_before_anybody_wakes(wakeup: Wakeup) -> None:
    assert not readable(wakeup)
    assert wakeup.read() == b""


def test_any_number_of_wake_ups_is_one_byte(wakeup: Wakeup) -> None:
    for _ in range(10_000):
        wakeup.wake()
    assert readable(wakeup)
    assert wakeup.read() == b"\0"
    assert not readable(wakeup)


def test_each_wake_up_after_a_read_is_seen_again(wakeup: Wakeup) -> None:
    for _ in range(3):
        wakeup.wake()
        assert wakeup.read() == b"\0"
    assert not readable(wakeup)


def test_the_bytes_of_signals_are_kept(wakeup: Wakeup) -> None:
    wakeup.writer.send(b"\x0f")
    wakeup.wake()
    assert wakeup.read() == b"\x0f\0"


def test_a_pair_that_is_full_wakes_as_well_as_a_byte(wakeup: Wakeup) -> None:
    with pytest.raises(BlockingIOError):
        fill(wakeup)
    wakeup.wake()
    assert readable(wakeup)
    while wakeup.read():
        pass
    wakeup.wake()
    assert wakeup.read() == b"\0"


def test_a_wake_up_that_fails_says_so_and_the_next_is_tried_again(wakeup: Wakeup) -> None:
    real = replace(wakeup, "writer", OSError(errno.ENOBUFS, "No buffer space available"))
    for _ in range(2):
        with pytest.raises(OSError, match="No buffer space"):
            wakeup.wake()
    wakeup.writer = real
    wakeup.wake()
    assert wakeup.read() == b"\0"


def test_an_interrupt_while_it_reads_does_not_make_it_deaf(wakeup: Wakeup) -> None:
    wakeup.wake()
    wakeup.read()
    wakeup.wake()
    real = replace(wakeup, "reader", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        wakeup.read()
    wakeup.reader = real
    real.recv(1)  # as if it had been taken by the read that was interrupted
    wakeup.wake()
    assert readable(wakeup)


def test_to_wake_what_is_closed_does_nothing(wakeup: Wakeup) -> None:
    wakeup.close()
    wakeup.wake()
    wakeup.close()
    assert wakeup.reader.fileno() == wakeup.writer.fileno() == -1
