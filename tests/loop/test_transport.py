"""`reactor/loop/transport.py`: a non-blocking byte stream with a write queue."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import InvalidState, Reactor
from reactor.loop.transport import (
    ENDED,
    HIGH_WATER,
    LARGE_READ,
    LOW_WATER,
    READ_SIZE,
    Transport,
)
from reactor.testing import FakeClock, MemorySelector, MemorySocket, memory_pair

from .helpers import PATIENCE, run_python, turn_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("nothing_raised")

RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
PIPE = BrokenPipeError(errno.EPIPE, "Broken pipe")


class End:
    """Owns a transport, and notes what it is told."""

    def __init__(self, reactor: Reactor, sock: Any) -> None:
        self.log: list[str] = []
        self.input = b""
        self.errors: list[Exception | None] = []
        self.inside = False
        self.on_input: Callable[[], object] = lambda: None
        self.on_emptied: Callable[[], object] = lambda: None
        self.transport = Transport(reactor, sock, self, self.received)

    def received(self, data: bytes) -> None:
        assert not self.errors, "input after the end"
        assert data
        self.log.append("received")
        self.input += data
        self.on_input()

    def drained(self) -> None:
        assert not self.errors, "drained after the end"
        assert self.transport.buffered <= LOW_WATER
        self.log.append("drained")

    def emptied(self) -> None:
        assert not self.errors, "emptied after the end"
        corked = self.transport.corked or ()
        assert self.transport.buffered == sum(map(len, corked))
        self.log.append("emptied")
        self.on_emptied()

    def gone(self, error: Exception | None) -> None:
        assert not self.inside, "told from inside a call of the user's"
        assert self.transport.closed
        assert self.transport.sock.fileno() == -1
        self.errors.append(error)
        self.log.append("gone")

    def write(self, data: bytes) -> bool:
        self.inside = True
        try:
            return self.transport.write(data)
        finally:
            self.inside = False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        yield reactor


@pytest.fixture
def real() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


@pytest.fixture
def peer() -> MemorySocket:
    return MemorySocket()


@pytest.fixture
def end(reactor: Reactor, peer: MemorySocket) -> End:
    mine = MemorySocket()
    mine.other, peer.other = peer, mine
    return End(reactor, mine)


def interest(end: End) -> int:
    """What the selector watches for the transport, which it must agree with."""
    keys = end.transport._reactor._selector.get_map()
    found = [key.events for key in keys.values() if key.fileobj is end.transport.sock]
    assert found == ([end.transport._interest] if end.transport._interest else [])
    return sum(found)


def send_of(end: End, errors: list[BaseException | int]) -> list[bytes]:
    """Have the next calls of `send` raise, or take so many bytes, as listed; note the sends."""
    sends: list[bytes] = []
    sock: Any = end.transport.sock
    real = sock.send

    def send(data: Any, flags: int = 0) -> int:
        if errors:
            what = errors.pop(0)
            if isinstance(what, BaseException):
                raise what
            data = data[:what]
        sends.append(bytes(data))
        taken: int = real(data, flags)
        return taken

    sock.send = send
    return sends


# ---- input ----


def test_input_is_handed_over_in_one_read_a_step(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.send(b"x" * (READ_SIZE + 1))
    reactor.step(0)
    assert len(end.input) == READ_SIZE
    reactor.step(0)
    assert end.input == b"x" * (READ_SIZE + 1)
    reactor.step(0)
    assert end.log == ["received", "received"]


def test_another_function_can_take_over(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    taken: list[bytes] = []
    end.on_input = lambda: setattr(end.transport, "received", taken.append)
    for data in (b"one", b"two"):
        peer.send(data)
        reactor.step(0)
    assert (end.input, taken) == (b"one", [b"two"])


def test_a_paused_transport_reads_nothing_until_it_is_resumed(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    reading = [end.transport.reading]
    for _ in range(2):
        end.transport.pause()
        reading.append(end.transport.reading)
        assert interest(end) == 0
    assert reading == [True, False, False]
    peer.send(b"x")
    reactor.step(0)
    assert end.input == b""
    for _ in range(2):
        end.transport.resume()
        assert interest(end) == 1
    reactor.step(0)
    assert end.input == b"x"


def test_who_is_paused_by_an_earlier_callback_of_the_step_is_not_read(
    reactor: Reactor,
) -> None:
    ends, peers = [], []
    for _ in range(2):
        mine, theirs = memory_pair()
        ends.append(End(reactor, mine))
        peers.append(theirs)
        theirs.send(b"x")
    ends[0].on_input = ends[1].transport.pause
    reactor.step(0)
    assert [end.input for end in ends] == [b"x", b""]
    ends[1].transport.resume()
    reactor.step(0)
    assert ends[1].input == b"x"


def test_who_is_paused_by_what_has_left_is_not_read(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 1
    assert end.write(b"abc")
    end.on_emptied = end.transport.pause
    peer.capacity = 10
    peer.send(b"x")
    reactor.step(0)
    assert (end.log, end.input) == (["emptied"], b"")
    end.transport.resume()
    reactor.step(0)
    assert end.input == b"x"


def test_what_is_ready_for_nothing_that_is_waited_for_is_left_alone(
    end: End, peer: MemorySocket
) -> None:
    peer.send(b"x")
    end.transport._ready(0)
    assert end.log == []


def test_reading_and_writing_can_be_waited_for_at_once(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 1
    assert end.write(b"abc")
    assert interest(end) == 3
    end.transport.pause()
    assert interest(end) == 2
    end.transport.resume()
    assert interest(end) == 3
    end.transport.pause()
    while peer.inbox:
        peer.recv(1)
        reactor.step(0)
    assert interest(end) == 0
    assert end.log == ["emptied"]


def test_what_is_queued_leaves_before_input_is_read(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 1
    end.write(b"ab")
    peer.recv(1)
    peer.send(b"x")
    reactor.step(0)
    assert end.log == ["emptied", "received"]


def test_who_is_closed_while_its_queue_leaves_is_not_read(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 1
    end.write(b"ab")
    end.on_emptied = end.transport.abort
    peer.recv(1)
    peer.send(b"x")
    reactor.step(0)
    assert end.log == ["emptied"]
    reactor.step(0)
    assert end.log == ["emptied", "gone"]


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
def test_a_read_that_finds_nothing_changes_nothing(
    reactor: Reactor, end: End, error: OSError
) -> None:
    sock: Any = end.transport.sock
    sock.failure = error
    reactor.step(0)
    sock.failure = None
    assert end.log == []
    assert not end.transport.closed


def test_no_more_is_read_at_once_than_is_asked_for(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    assert end.transport.read_size == READ_SIZE
    end.transport.read_size = 4
    peer.send(b"abcdef")
    reactor.step(0)
    assert end.input == b"abcd"
    end.transport.read_size = LARGE_READ
    peer.send(b"x" * LARGE_READ)
    reactor.step(0)
    assert end.input == b"abcdef" + b"x" * (LARGE_READ - 2)


# ---- output ----


def test_what_the_kernel_takes_is_sent_at_once_and_never_queued(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    assert end.write(b"abc")
    assert end.write(b"")
    assert (peer.recv(9), end.transport.buffered, interest(end)) == (b"abc", 0, 1)
    reactor.step(0)
    assert end.log == []


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
def test_a_first_send_that_is_refused_is_made_later(
    reactor: Reactor, end: End, peer: MemorySocket, error: OSError, clock: FakeClock
) -> None:
    sends = send_of(end, [error, error])
    clock.advance(5.0)
    reactor.step(0)
    assert end.write(b"abc")
    assert end.transport.buffered == 3
    assert end.transport.progress == reactor.now
    reactor.step(0)
    assert sends == []
    reactor.step(0)
    assert sends == [b"abc"]
    assert peer.recv(9) == b"abc"
    assert end.log == ["emptied"]


def test_progress_is_when_the_kernel_last_took_something(
    reactor: Reactor, end: End, peer: MemorySocket, clock: FakeClock
) -> None:
    began = clock.now
    peer.capacity = 1
    end.write(b"abc")
    assert end.transport.progress == began
    clock.advance(3.0)
    reactor.step(0)
    end.write(b"def")
    assert end.transport.progress == began
    peer.recv(1)
    clock.advance(3.0)
    reactor.step(0)
    assert end.transport.progress == began + 6.0


def test_what_has_departed_is_what_the_kernel_has_taken_of_the_queue(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    transport = end.transport
    assert end.write(b"at once")
    assert transport.departed == 0
    peer.capacity = 10
    end.write(b"abcdef")
    assert (transport.departed, transport.buffered) == (0, 3)
    end.write(b"ghi")
    for room, departed in ((1, 1), (2, 3), (3, 6), (9, 6)):
        peer.recv(room)
        reactor.step(0)
        assert (transport.departed, transport.buffered) == (departed, 6 - departed)
    end.transport.cork()
    end.write(b"corked")
    assert (transport.departed, transport.buffered) == (6, 6)
    peer.capacity = len(peer.inbox) + 4
    end.transport.uncork()
    assert (transport.departed, transport.buffered) == (10, 2)
    transport.cork()
    end.write(b"behind")
    end.transport.uncork()
    assert (transport.departed, transport.buffered) == (10, 8)
    peer.capacity = 1 << 62
    reactor.step(0)
    assert (transport.departed, transport.buffered) == (18, 0)
    assert transport.settled
    assert not transport.broken


def test_it_is_told_when_the_kernel_takes_some_of_the_queue_after_all_else(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    transport = end.transport
    transport.moved = lambda: end.log.append(f"moved {transport.departed}")
    end.write(b"at once")
    reactor.step(0)
    assert end.log == []
    peer.capacity = 7
    end.write(b"x" * (HIGH_WATER + 1))
    peer.capacity += 5
    reactor.step(0)
    assert end.log == ["moved 5"]
    peer.capacity = 1 << 62
    reactor.step(0)
    assert end.log == ["moved 5", "emptied", "drained", f"moved {HIGH_WATER + 1}"]
    transport.moved = None
    transport.finish()
    assert len(end.log) == 4


@pytest.mark.parametrize("room", [0, 1, 3, 100])
def test_who_is_told_so_may_write_and_all_of_it_arrives(
    reactor: Reactor, end: End, peer: MemorySocket, room: int
) -> None:
    transport = end.transport
    pieces = [b"%d " % number * 5 for number in range(20)]
    left = list(pieces)
    transport.moved = lambda: left and not transport.buffered and end.write(left.pop(0))
    peer.capacity = 0
    end.write(left.pop(0))
    came = b""
    for _ in range(1000):
        peer.capacity = room or 4
        reactor.step(0)
        came += bytes(peer.inbox)
        peer.inbox.clear()
        if not transport.buffered and left:
            # What left at once was not of the queue.
            peer.capacity = 0
            end.write(left.pop(0))
    assert came == b"".join(pieces)


@pytest.mark.parametrize("how", ["abort", "finish"])
def test_who_is_told_so_may_end_it(
    reactor: Reactor, end: End, peer: MemorySocket, how: str
) -> None:
    transport = end.transport
    transport.moved = getattr(transport, how)
    peer.capacity = 5
    transport.write(b"x" * 10)
    for room in (7, 1 << 62):
        peer.capacity = room
        reactor.step(0)
    assert len(peer.inbox) == (7 if how == "abort" else 10)
    assert peer.input_ended
    peer.close()
    reactor.step(0)
    reactor.step(0)
    assert end.errors == [None]
    assert transport.broken is (how == "abort")


@pytest.mark.parametrize("room", [HIGH_WATER, HIGH_WATER + 1], ids=["not all", "all"])
def test_who_has_finished_is_not_told_that_there_is_room(
    reactor: Reactor, end: End, peer: MemorySocket, room: int
) -> None:
    peer.capacity = 0
    end.write(b"x" * (HIGH_WATER + 1))
    end.transport.finish()
    peer.capacity = room
    reactor.step(0)
    assert not end.transport.choked
    assert end.log == []


def test_who_is_closed_when_told_that_it_is_empty_is_not_told_that_it_is_short(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    transport = end.transport
    peer.capacity = 0
    assert not transport.write(b"x" * (HIGH_WATER + 1))
    end.on_emptied = transport.abort
    peer.capacity = 2 * HIGH_WATER
    reactor.step()
    assert (end.log, transport.closed, transport.choked) == (["emptied"], True, False)


def test_what_was_queued_when_it_finished_is_told_before_the_end(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    transport = end.transport
    transport.moved = lambda: end.log.append(f"moved {transport.departed}")
    peer.capacity = 0
    end.write(b"queued")
    transport.finish()
    peer.capacity = 3
    reactor.step(0)
    assert end.log == ["moved 3"]
    peer.capacity = 6
    reactor.step(0)
    assert end.log == ["moved 3", "moved 6"]
    assert peer.input_ended
    assert not transport.broken


@pytest.mark.parametrize("way", ["abort", "reset", "peer's end", "reactor"])
@pytest.mark.parametrize("state", ["", "corked", "queued", "corked queued"])
def test_it_is_broken_if_something_that_was_written_is_lost(
    reactor: Reactor, end: End, peer: MemorySocket, way: str, state: str
) -> None:
    transport = end.transport
    transport.write(b"taken")
    if "queued" in state:
        peer.capacity = 0
        end.write(b"lost")
    if "corked" in state:
        transport.cork()
        end.write(b"lost")
    assert not transport.broken
    if way == "abort":
        transport.abort()
    elif way == "reactor":
        reactor.close()
    else:
        (peer.reset if way == "reset" else peer.close)()
        reactor.step(0)
    assert transport.closed
    assert transport.broken is bool(state)
    assert transport.write(b"too late") is False
    assert transport.broken


def test_what_is_refused_is_lost_too(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    peer.capacity = 0
    end.write(b"queued")
    end.transport.finish()
    assert not end.transport.broken
    assert end.write(b"too late") is False
    assert end.transport.broken


def test_a_write_that_fails_breaks_it(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    peer.reset()
    assert end.write(b"nobody") is False
    assert end.transport.broken
    reactor.step(0)
    assert end.log == ["gone"]


def test_small_chunks_leave_in_one_send_and_large_ones_are_not_copied(
    reactor: Reactor, end: End
) -> None:
    sends = send_of(end, [BlockingIOError()])
    small = [bytes([number]) * 10_000 for number in range(9)]
    large = b"x" * 70_000
    for data in (*small, large, b"last"):
        end.write(data)
    reactor.step(0)
    assert b"".join(sends) == b"".join(small) + large + b"last"
    assert [len(data) for data in sends] == [60_000, 30_000, 70_000, 4]


def test_corked_writes_leave_in_one_send(end: End, peer: MemorySocket) -> None:
    sends = send_of(end, [])
    end.transport.cork()
    assert end.write(b"one")
    assert end.write(b"two")
    assert end.transport.buffered == 6
    assert sends == []
    end.transport.uncork()
    assert sends == [b"onetwo"]
    assert end.transport.buffered == 0
    end.transport.uncork()
    end.transport.cork()
    end.transport.uncork()
    assert sends == [b"onetwo"]


def test_what_is_large_is_not_joined_to_what_was_corked_before(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    large = bytes(HIGH_WATER)
    sends = send_of(end, [])
    for before in ([], [b"one", b"two"]):
        sends.clear()
        end.transport.cork()
        end.transport.corked = [*before, large]
        end.transport.buffered = sum(map(len, end.transport.corked))
        end.transport.uncork()
        assert sends == [*([b"onetwo"] if before else []), large]
        assert sends[-1] is large
        assert end.transport.buffered == 0


def test_of_what_is_large_the_rest_is_queued(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    for capacity in (0, 2, 6, 1000):
        peer.capacity = capacity
        departed = end.transport.departed
        end.transport.cork()
        end.write(b"header")
        end.write(bytes(HIGH_WATER))
        end.transport.uncork()
        size = 6 + HIGH_WATER
        assert end.transport.buffered == size - capacity
        assert end.transport.departed == departed + capacity
        peer.capacity = size
        while end.transport.buffered:
            reactor.step(0)
        assert end.transport.departed == departed + size
        assert peer.recv(2 * size) == b"header" + bytes(HIGH_WATER)


@pytest.mark.parametrize("refusal", [BlockingIOError(), InterruptedError()])
def test_what_was_corked_and_is_refused_is_queued(
    reactor: Reactor, end: End, peer: MemorySocket, refusal: BaseException
) -> None:
    send_of(end, [refusal])
    end.transport.cork()
    end.write(b"one")
    end.transport.uncork()
    while end.transport.buffered:
        reactor.step(0)
    assert peer.recv(9) == b"one"


def test_flush_sends_what_is_corked_and_goes_on_corking(end: End) -> None:
    sends = send_of(end, [])
    end.transport.cork()
    end.write(b"one")
    end.transport.flush()
    end.transport.flush()
    end.write(b"two")
    end.write(b"three")
    assert sends == [b"one"]
    end.transport.uncork()
    assert sends == [b"one", b"twothree"]
    end.transport.flush()
    end.write(b"four")
    assert sends[2:] == [b"four"]


def test_a_cork_in_a_cork_loses_nothing(end: End, peer: MemorySocket) -> None:
    end.transport.cork()
    end.write(b"one")
    end.transport.cork()
    end.write(b"two")
    end.transport.uncork()
    end.transport.uncork()
    assert peer.recv(9) == b"onetwo"
    assert end.transport.buffered == 0


def test_a_cork_does_not_hold_back_much(end: End, peer: MemorySocket) -> None:
    end.transport.cork()
    assert end.write(b"x" * HIGH_WATER)
    assert not peer.inbox
    assert end.write(b"y")
    assert len(peer.inbox) == HIGH_WATER + 1
    assert end.write(b"z")
    peer.capacity = 0
    assert not end.write(b"x" * HIGH_WATER)
    assert end.transport.choked
    assert end.transport.buffered == HIGH_WATER + 1
    end.transport.uncork()
    assert end.transport.buffered == HIGH_WATER + 1


def test_drained_follows_once_for_each_choke(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    for _ in range(2):
        end.log.clear()
        peer.capacity = 0
        assert end.write(b"x" * HIGH_WATER)
        assert not end.write(b"x")
        assert not end.write(b"x")
        assert end.transport.choked
        peer.capacity = HIGH_WATER + 2 - LOW_WATER - 1
        reactor.step(0)
        assert end.transport.buffered == LOW_WATER + 1
        assert (end.log, end.transport.choked) == ([], True)
        assert not end.write(b"")
        peer.capacity += 1
        reactor.step(0)
        assert (end.log, end.transport.choked) == (["drained"], False)
        peer.capacity = 1 << 30
        reactor.step(0)
        reactor.step(0)
        assert end.log == ["drained", "emptied"]
        peer.recv(1 << 30)


def test_who_writes_again_when_the_queue_is_empty_is_drained_when_that_has_left(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    assert not end.write(b"x" * (HIGH_WATER + 1))
    again = [b"y" * (LOW_WATER + 1)]

    def write() -> None:
        if again:
            peer.capacity = 0
            assert not end.write(again.pop())

    end.on_emptied = write
    peer.capacity = 1 << 30
    reactor.step(0)
    assert end.log == ["emptied"]
    peer.capacity = 1 << 30
    reactor.step(0)
    assert end.log == ["emptied", "emptied", "drained"]


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 40_000)),
    st.tuples(st.just("write"), st.integers(0, 5)),
    st.tuples(st.just("cork"), st.just(0)),
    st.tuples(st.just("uncork"), st.just(0)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 90_000)),
    st.tuples(st.just("chunk"), st.sampled_from([1, 2, 1000, 1 << 30])),
    st.tuples(st.just("step"), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(capacity=st.sampled_from([1, 3, 5000, 70_000, 1 << 30]), actions=st.lists(ACTIONS))
def test_whatever_is_written_arrives_in_order_and_the_rest_is_counted(
    capacity: int, actions: list[tuple[str, int]]
) -> None:
    written, read, number, chokes = bytearray(), bytearray(), 0, 0
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        mine, peer = memory_pair()
        end = End(reactor, mine)
        peer.capacity = capacity
        transport = end.transport
        for action, size in [*actions, ("uncork", 0), ("chunk", 1 << 30)]:
            choked = transport.choked
            if action == "write":
                number += 1
                data = number.to_bytes(2, "big") * (size // 2 + 1)
                written += data
                below = end.write(data)
                assert below or transport.choked
                assert not (below and transport.buffered > HIGH_WATER)
            elif action == "read":
                if peer.inbox:
                    read += peer.recv(size)
            elif action == "chunk":
                mine.chunk = size
            elif action == "step":
                reactor.step(0)
            else:
                getattr(transport, action)()
            chokes += transport.choked and not choked
            assert transport.buffered == len(written) - len(read) - len(peer.inbox)
            assert bool(interest(end) & 2) == (transport._backlog is not None)
        peer.capacity = 1 << 40
        while transport.buffered:
            reactor.step(0)
        read += peer.inbox
        assert read == written
        assert end.log.count("drained") == chokes
        assert not transport.choked


def test_a_slow_peer_gets_everything_from_real_sockets(real: Reactor) -> None:
    mine, theirs = socket.socketpair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    end = End(real, mine)
    data = bytes(range(256)) * 4096
    end.write(data)
    theirs.setblocking(False)
    read = bytearray()

    def arrived() -> bool:
        try:
            while True:
                read.extend(theirs.recv(1000))
        except BlockingIOError:
            return len(read) == len(data)

    assert end.transport.buffered
    turn_until(real, arrived)
    assert read == data
    assert end.log == ["drained", "emptied"]
    theirs.close()


def test_a_refused_write_of_another_thread_does_not_confuse_the_transport(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    raised: list[str] = []

    def work() -> None:
        with pytest.raises(RuntimeError, match="thread other than its own") as info:
            end.transport.write(b"stray")
        raised.append(str(info.value))

    def in_thread() -> None:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()

    reactor.call_soon(in_thread)
    reactor.step(0)
    assert len(raised) == 1
    assert interest(end) == 1
    end.write(b"mine")
    assert interest(end) == 3
    peer.capacity = 99
    reactor.step(0)
    assert peer.recv(99) == b"straymine"


# ---- the end ----


def test_the_end_of_input_is_the_end(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    peer.send(b"last")
    peer.shutdown(socket.SHUT_WR)
    reactor.step(0)
    assert end.log == ["received"]
    reactor.step(0)
    assert end.log == ["received", "gone"]
    assert end.errors == [None]


def test_abort_closes_now_and_gone_follows_in_the_next_step(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    end.write(b"lost")
    peer.send(b"never read")
    end.inside = True
    for _ in range(2):
        end.transport.abort()
        assert end.transport.closed
        assert end.transport.buffered == 0
    end.inside = False
    reactor.step(0)
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [None])


def use_everything(end: End) -> None:
    transport = end.transport
    transport.pause()
    transport.resume()
    transport.cork()
    assert transport.write(b"x" * (HIGH_WATER + 1)) is False
    transport.flush()
    assert transport.write(b"x") is False
    transport.uncork()
    assert transport.write(b"x") is False
    transport.finish()
    transport.abort()
    assert transport.buffered == 0
    assert not transport.choked


@pytest.mark.parametrize("way", ["abort", "eof", "reactor"])
@pytest.mark.parametrize("state", ["", "corked", "queued", "corked queued"])
def test_a_closed_transport_ignores_what_is_asked_of_it(
    reactor: Reactor, end: End, peer: MemorySocket, way: str, state: str
) -> None:
    if "queued" in state:
        peer.capacity = 0
        end.write(b"x" * (HIGH_WATER + 1))
    if "corked" in state:
        end.transport.cork()
        end.write(b"y")
    if way == "abort":
        end.transport.abort()
    elif way == "eof":
        peer.close()
        reactor.step(0)
    else:
        reactor.close()
    assert end.transport.closed
    for _ in range(2):
        use_everything(end)
    if way == "reactor":
        with pytest.raises(InvalidState):
            reactor.step(0)
        assert end.errors == []
    else:
        reactor.step(0)
        assert end.errors == [None]


def test_a_write_that_finds_the_peer_lost_delivers_what_had_come_first(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.send(b"x" * (READ_SIZE + 5))
    send_of(end, [PIPE])
    assert not end.write(b"nobody hears it")
    assert end.log == []
    assert not end.write(b"nor this")
    end.transport.finish()
    reactor.step(0)
    assert end.input == b"x" * (READ_SIZE + 5)
    assert end.log == ["received", "received", "gone"]
    assert end.errors == [PIPE]
    reactor.step(0)


def test_a_queue_that_finds_the_peer_lost_is_dropped_and_input_comes_first(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    assert not end.write(b"x" * (HIGH_WATER + 1))
    peer.capacity = 1
    send_of(end, [RESET])
    end.transport.pause()
    peer.send(b"before")
    reactor.step(0)
    assert (end.transport.buffered, end.transport.choked) == (0, False)
    assert interest(end) == 0
    # It was not read since the queue was full, or since the user does not read: now or never.
    reactor.step(0)
    assert end.input == b"before"
    assert end.log == ["received", "gone"]
    assert end.errors == [RESET]


def test_the_end_comes_first_when_the_peers_fin_is_read_before(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.send(b"bye")
    peer.close()
    end.write(b"nobody hears it")
    reactor.step(0)
    assert end.log == ["received", "gone"]
    reactor.step(0)
    assert len(end.errors) == 1


def test_no_more_than_a_megabyte_is_read_of_a_peer_that_is_lost(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    end.transport.pause()
    peer.send(b"x" * (20 * READ_SIZE))
    send_of(end, [PIPE])
    end.write(b"x")
    reactor.step(0)
    assert len(end.input) == 16 * READ_SIZE
    assert end.errors == [PIPE]


def test_within_a_budget_no_more_is_read_of_it_than_there_is_time_for(
    reactor: Reactor, clock: FakeClock, end: End, peer: MemorySocket
) -> None:
    end.transport.pause()
    peer.send(b"x" * (20 * READ_SIZE))
    send_of(end, [PIPE])
    end.write(b"x")
    end.on_input = lambda: clock.advance(1.0)
    sizes = []
    while not end.errors:
        reactor.step(budget=2.5)
        sizes.append(len(end.input) // READ_SIZE)
    assert sizes == [3, 6, 9, 12, 15, 16]
    assert end.log == [*["received"] * 16, "gone"]
    assert end.errors == [PIPE]


def test_what_had_come_may_end_it_all(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    end.transport.pause()
    peer.send(b"x" * (2 * READ_SIZE))
    send_of(end, [PIPE])
    end.write(b"x")
    end.on_input = end.transport.abort
    reactor.step(0)
    reactor.step(0)
    assert end.log == ["received", "gone"]
    assert end.errors == [None]


def test_the_end_comes_even_if_the_last_input_is_not_borne(
    reactor: Reactor, end: End, peer: MemorySocket, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("a bug of the user's")

    end.transport.pause()
    peer.send(b"x")
    send_of(end, [PIPE])
    end.write(b"x")
    end.on_input = fail
    reactor.step(0)
    assert end.errors == [PIPE]
    assert "LookupError" in caplog.text
    caplog.clear()


def test_a_cork_over_a_lost_peer_is_dropped(end: End, reactor: Reactor) -> None:
    send_of(end, [PIPE])
    end.transport.cork()
    assert end.write(b"x")
    assert not end.write(b"x" * HIGH_WATER)
    assert not end.write(b"y")
    end.transport.uncork()
    assert end.transport.buffered == 0
    reactor.step(0)
    assert end.errors == [PIPE]


def test_finish_sends_what_is_queued_then_fin_and_drops_input_until_the_peers(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 2
    end.transport.cork()
    end.write(b"abc")
    end.transport.pause()
    for _ in range(2):
        end.transport.finish()
    assert end.transport.reading
    assert not end.write(b"too late")
    end.transport.uncork()
    assert not peer.input_ended
    peer.send(b"not wanted any more")
    assert peer.recv(9) == b"ab"
    reactor.step(0)
    assert (peer.recv(9), peer.input_ended) == (b"c", True)
    peer.send(b"nor this")
    reactor.step(0)
    assert end.log == []
    peer.close()
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [None])
    end.transport.finish()


def test_finish_with_nothing_queued_sends_fin_at_once(end: End, peer: MemorySocket) -> None:
    end.inside = True
    end.transport.finish()
    end.inside = False
    assert peer.input_ended
    assert not end.transport.closed


def test_a_peer_that_ended_first_still_gets_what_is_queued(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 1
    end.write(b"abc")
    end.transport.finish()
    peer.shutdown(socket.SHUT_WR)
    got = b""
    while not end.errors:
        assert interest(end) & 2
        got += peer.recv(9) if peer.inbox else b""
        reactor.step(0)
    got += peer.recv(9)
    assert (got, peer.input_ended, end.errors) == (b"abc", True, [None])


def test_finish_drops_no_more_than_it_has_to(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    end.transport.finish()
    peer.send(b"x" * (10 * READ_SIZE))
    steps = 0
    while not end.errors:
        steps += 1
        reactor.step(0)
    assert steps == 5
    assert (end.log, end.errors) == (["gone"], [None])


@pytest.mark.parametrize("state", ["", "corked", "paused", "its end unread"])
def test_a_finish_at_once_closes_behind_the_last_words(
    reactor: Reactor, end: End, peer: MemorySocket, state: str
) -> None:
    if state == "corked":
        end.transport.cork()
    if state == "paused":
        end.transport.pause()
    if state == "its end unread":
        peer.shutdown(socket.SHUT_WR)
    end.write(b"last words")
    end.transport.finish(at_once=True)
    assert (end.log, end.errors) == (["gone"], [None])
    assert (peer.recv(99), peer.input_ended) == (b"last words", True)
    assert not end.transport.broken
    end.transport.finish(at_once=True)
    reactor.step(0)
    assert end.log == ["gone"]


def test_a_finish_at_once_does_not_look_for_what_is_known_to_be_read(end: End) -> None:
    def recv(size: int) -> bytes:
        raise AssertionError("there is nothing")

    sock: Any = end.transport.sock
    sock.recv = recv
    end.transport.finish(at_once=True, all_read=True)
    assert end.errors == [None]
    assert end.transport.closed


def test_what_has_come_can_be_read_before_the_selector_is_asked(
    end: End, peer: MemorySocket
) -> None:
    peer.send(b"one")
    end.transport.pause()
    end.transport.look()
    assert end.input == b""
    end.transport.resume()
    end.transport.look()
    end.transport.look()
    assert end.input == b"one"
    end.transport.abort()
    end.transport.look()
    assert end.transport.closed


def test_what_stands_for_a_transport_that_is_closed_does_nothing_and_says_so() -> None:
    assert (ENDED.closed, ENDED.finishing, ENDED.choked) == (True, True, False)
    assert (ENDED.buffered, ENDED.tls) == (0, None)
    ENDED.cork()
    assert ENDED.write(b"lost") is False
    ENDED.uncork()
    ENDED.flush()
    ENDED.pause()
    ENDED.resume()
    ENDED.finish()
    ENDED.abort()
    ENDED.look()
    assert ENDED.reading
    assert ENDED.buffered == ENDED.departed == 0


def test_a_finish_at_once_with_unread_input_waits_for_the_peers_end(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.send(b"x" * (5 * READ_SIZE))
    end.transport.finish(at_once=True)
    assert peer.input_ended
    for number in (2, 3, 4):
        reactor.step(0)
        assert end.transport.tally.bytes_received == number * READ_SIZE
        assert end.log == []
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [None]), "more than what is dropped at most"


def test_a_finish_at_once_with_a_queue_waits_for_the_peer(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 2
    end.write(b"abc")
    end.transport.finish(at_once=True)
    reactor.step(0)
    assert (end.log, peer.input_ended) == ([], False)
    peer.capacity = 3
    reactor.step(0)
    assert (end.log, peer.input_ended) == ([], True)
    peer.close()
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [None])


@pytest.mark.parametrize("state", ["", "corked"])
def test_a_finish_at_once_of_one_that_is_reset_ends_it_once(
    reactor: Reactor, end: End, peer: MemorySocket, state: str
) -> None:
    if state:
        end.transport.cork()
        end.write(b"last words")
    peer.reset()
    end.transport.finish(at_once=True)
    for _ in range(3):
        reactor.step(0)
    errors = [getattr(error, "errno", None) for error in end.errors]
    assert errors == [errno.ECONNRESET]


@pytest.mark.parametrize("behind", [0, 1, 200_000])
def test_last_words_are_not_taken_back_from_a_peer_that_has_said_too_much(
    behind: int,
) -> None:
    with Reactor() as reactor, socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as peer:
            peer.settimeout(PATIENCE)
            end = End(reactor, listener.accept()[0])
            peer.sendall(b"x" * behind)
            end.write(b"last words")
            end.transport.finish(at_once=True)
            assert end.errors == ([] if behind else [None])
            assert peer.recv(99) == b"last words"
            assert peer.recv(99) == b""
        turn_until(reactor, lambda: end.errors == [None])


def test_abort_cuts_a_finish_short(reactor: Reactor, end: End, peer: MemorySocket) -> None:
    peer.capacity = 0
    end.write(b"abc")
    end.transport.finish()
    end.transport.abort()
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [None])
    assert not peer.inbox


def test_a_peer_that_is_lost_before_fin_ends_it(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    sock: Any = end.transport.sock

    def shutdown(how: int) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    sock.shutdown = shutdown
    end.inside = True
    end.transport.finish()
    end.inside = False
    reactor.step(0)
    assert [getattr(error, "errno", None) for error in end.errors] == [errno.ENOTCONN]
    assert end.log == ["gone"]


def test_a_finish_whose_corked_words_find_nobody_ends_once(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    sock: Any = end.transport.sock
    send_of(end, [PIPE])

    def shutdown(how: int) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    sock.shutdown = shutdown
    end.transport.cork()
    end.write(b"x")
    end.inside = True
    end.transport.finish()
    end.inside = False
    for _ in range(3):
        reactor.step(0)
    assert end.errors == [PIPE]


@pytest.mark.parametrize("ended", [False, True])
def test_a_peer_that_is_lost_while_the_queue_leaves_ends_it_soon(
    reactor: Reactor, end: End, peer: MemorySocket, ended: bool
) -> None:
    peer.capacity = 0
    end.write(b"abc")
    end.transport.finish()
    if ended:
        peer.shutdown(socket.SHUT_WR)
        reactor.step(0)
        assert not end.transport.reading
    peer.capacity = 9
    send_of(end, [PIPE])
    for _ in range(2):
        reactor.step(0)
    assert end.errors == [PIPE]


def test_finish_without_fin_sends_what_is_queued_and_waits_for_the_peers(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 2
    end.write(b"abc")
    for _ in range(2):
        end.transport.finish(half_close=False)
    assert not end.write(b"too late")
    assert peer.recv(9) == b"ab"
    reactor.step(0)
    assert (peer.recv(9), peer.input_ended) == (b"c", False)
    peer.send(b"dropped")
    reactor.step(0)
    assert (interest(end), end.log) == (1, [])
    assert reactor.next_timeout() is None
    peer.shutdown(socket.SHUT_WR)
    reactor.step(0)
    assert (end.log, end.errors, peer.input_ended) == (["gone"], [None], True)


def test_finish_without_fin_does_not_wait_for_a_peer_that_has_ended(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    end.write(b"abc")
    end.transport.finish(half_close=False)
    peer.shutdown(socket.SHUT_WR)
    reactor.step(0)
    assert (interest(end), end.log) == (2, [])
    peer.capacity = 9
    reactor.step(0)
    assert (peer.recv(9), end.errors) == (b"abc", [None])


@pytest.mark.parametrize("error", [None, RESET])
def test_abort_says_why_once_to_who_listened_then(
    reactor: Reactor, end: End, error: OSError | None
) -> None:
    end.inside = True
    end.transport.abort(error)
    end.inside = False
    end.transport.abort(PIPE)
    stranger: Any = None
    end.transport.events = stranger
    reactor.step(0)
    reactor.step(0)
    assert (end.log, end.errors) == (["gone"], [error])


def test_a_layer_above_can_say_that_the_input_has_ended(
    reactor: Reactor, end: End, peer: MemorySocket
) -> None:
    peer.capacity = 0
    end.write(b"lost")
    peer.send(b"never read")
    for _ in range(2):
        end.transport.end_of_input()
        assert (end.log, end.errors) == (["gone"], [None])
    reactor.step(0)
    assert end.log == ["gone"]


@pytest.mark.parametrize("half_close", [True, False])
def test_who_finishes_sends_what_is_queued_though_a_layer_above_has_no_more_input(
    reactor: Reactor, end: End, peer: MemorySocket, half_close: bool
) -> None:
    peer.capacity = 0
    end.write(b"abc")
    end.transport.finish(half_close=half_close)
    end.transport.end_of_input()
    assert (interest(end), end.log) == (2, [])
    peer.capacity = 9
    reactor.step(0)
    assert (peer.recv(9), peer.input_ended) == (b"abc", True)
    assert (end.log, end.errors) == (["gone"], [None])


def test_a_transport_by_itself_has_no_tls(end: End) -> None:
    assert end.transport.tls is None


# ---- the end, on real sockets ----


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), PATIENCE)
        return one, listener.accept()[0]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("state", ["idle", "unread", "queued", "finishing", "ended"])
def test_a_reset_at_any_point_ends_it_exactly_once(real: Reactor, state: str) -> None:
    theirs, mine = tcp_pair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    end = End(real, mine)
    if state == "unread":
        theirs.send(b"hello")
    if state in ("queued", "finishing", "ended"):
        while not end.transport.buffered:
            end.write(b"x" * 100_000)
    if state in ("finishing", "ended"):
        end.transport.finish()
    if state == "ended":
        theirs.shutdown(socket.SHUT_WR)
        turn_until(real, lambda: not end.transport.reading)
    reset(theirs)
    turn_until(real, lambda: end.errors)
    for _ in range(3):
        real.step(0)
    assert len(end.errors) == 1
    assert end.transport.closed
    if state == "unread":
        assert end.input in (b"hello", b"")  # some kernels throw it away


def test_input_before_a_reset_is_delivered_though_writing_fails_first(real: Reactor) -> None:
    mine, theirs = socket.socketpair()
    end = End(real, mine)
    theirs.send(b"hello")
    theirs.close()
    assert not end.write(b"nobody hears it")
    turn_until(real, lambda: end.errors)
    assert end.input == b"hello"
    assert len(end.errors) == 1


def test_an_answer_before_the_end_is_read_by_a_peer_that_still_sends(real: Reactor) -> None:
    theirs, mine = tcp_pair()
    end = End(real, mine)
    theirs.setblocking(False)
    sent = 0
    while sent < 200_000:
        try:
            sent += theirs.send(b"x" * 10_000)
        except BlockingIOError:
            break
    end.write(b"too much")
    end.transport.finish()
    turn_until(real, lambda: end.transport.closed or _readable(theirs))
    assert theirs.recv(99) == b"too much"
    assert theirs.recv(99) == b""
    theirs.close()
    turn_until(real, lambda: end.errors)
    assert len(end.errors) == 1


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_the_first_of_a_batch_may_close_the_others(real: Reactor) -> None:
    ends: list[End] = []
    peers: list[socket.socket] = []
    new: list[End] = []

    def close_the_others(mine: End) -> None:
        for end in ends:
            if end is not mine:
                end.transport.abort()
        # These take the descriptors of those that were just closed.
        for _ in range(2):
            sock, theirs = socket.socketpair()
            peers.append(theirs)
            new.append(End(real, sock))

    for _ in range(4):
        sock, theirs = socket.socketpair()
        end = End(real, sock)
        end.on_input = lambda end=end: close_the_others(end)  # type: ignore[misc]
        ends.append(end)
        peers.append(theirs)
        theirs.send(b"x")
    before = {end.transport.sock.fileno() for end in ends}
    real.step(0)
    assert sorted(end.input for end in ends) == [b"", b"", b"", b"x"]
    assert before & {end.transport.sock.fileno() for end in new}
    real.step(0)
    assert [end.log for end in new] == [[], []]
    assert sorted(len(end.errors) for end in ends) == [0, 1, 1, 1]
    for end in (*ends, *new):
        end.transport.abort()
    for sock in peers:
        sock.close()


def test_a_lost_peer_does_not_end_a_program_that_lets_sigpipe_end_it() -> None:
    source = """
import signal, socket
from reactor import Reactor
from reactor.loop.transport import Transport
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
class Events:
    def gone(self, error):
        print(type(error).__name__)
with Reactor() as reactor:
    mine, theirs = socket.socketpair()
    transport = Transport(reactor, mine, Events(), print)
    transport.pause()
    theirs.close()
    transport.write(b"x")
    reactor.step(0)
"""
    done = run_python(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "BrokenPipeError\n", "")


def test_a_socket_that_the_selector_refuses_is_closed() -> None:
    class Full(MemorySelector):
        def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
            if isinstance(fileobj, MemorySocket):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().register(fileobj, events, data)

    with Reactor(selector=Full()) as reactor:
        ours, theirs = memory_pair()
        with pytest.raises(OSError, match="No space left"):
            End(reactor, theirs)
        assert theirs.closed
        assert ours.recv(1) == b""


def test_it_blames_whom_it_serves(end: End) -> None:
    assert end.transport.answers_for() is end
