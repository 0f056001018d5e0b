"""`reactor/loop/tally.py`: what has gone through the connections of one owner."""

from __future__ import annotations

import pytest

from reactor import Reactor
from reactor.loop.tally import Tally
from reactor.loop.transport import Transport
from reactor.testing import FakeClock, MemorySelector, memory_pair

KIB = 1024


class Queue:
    def __init__(self, progress: float) -> None:
        self.progress = progress


class Nobody:
    """Is told, and does nothing."""

    def drained(self) -> None: ...
    def emptied(self) -> None: ...
    def gone(self, error: Exception | None) -> None: ...


def test_without_queues_there_is_no_age() -> None:
    assert Tally().age(1000.0) == 0.0


def test_the_age_is_that_of_the_queue_that_has_waited_for_the_longest() -> None:
    tally = Tally()
    first, second = Queue(1.0), Queue(3.0)
    for queue in (first, second):
        tally.queues[queue] = None
        tally.queued += 100
    assert tally.age(10.0) == 9.0
    first.progress = 8.0
    tally.queue_moved(first, 40, empty=False)
    assert tally.age(10.0) == 7.0
    tally.queue_moved(second, 100, empty=True)
    assert tally.age(10.0) == 2.0
    assert (tally.queued, tally.bytes_sent) == (60, 140)
    tally.queue_dropped(first, 60)
    assert (tally.queued, tally.age(10.0)) == (0, 0.0)


def test_a_clock_that_was_read_earlier_gives_no_negative_age() -> None:
    tally = Tally()
    tally.queues[Queue(5.0)] = None
    assert tally.age(4.0) == 0.0


def test_a_queue_that_was_empty_may_be_dropped() -> None:
    tally = Tally()
    tally.queue_dropped(Queue(0.0), 0)
    assert tally.queued == 0


def test_transports_of_one_owner_add_to_it() -> None:
    clock, tally = FakeClock(), Tally()
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        ends = []
        for _ in range(2):
            ours, peer = memory_pair()
            ends.append((Transport(reactor, ours, Nobody(), len, tally), peer))  # type: ignore[arg-type]
        (one, first), (other, second) = ends
        first.capacity = second.capacity = 10 * KIB
        one.write(bytes(30 * KIB))
        clock.advance(2)
        reactor.step()
        other.write(bytes(12 * KIB))
        assert (tally.queued, tally.bytes_sent) == (22 * KIB, 20 * KIB)
        clock.advance(3)
        assert tally.age(clock.now) == pytest.approx(5)
        first.recv(10 * KIB)
        reactor.step()
        assert tally.age(clock.now) == pytest.approx(3), "the other has waited longer now"
        assert tally.queued == 12 * KIB
        second.send(b"hello")
        reactor.step()
        assert tally.bytes_received == 5
        one.abort()
        assert tally.queued == 2 * KIB
        other.abort()
        assert (tally.queued, tally.queues) == (0, {})
        reactor.step()
