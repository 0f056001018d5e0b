"""`reactor/testing/memory.py`: sockets in memory, and a selector for them."""

from __future__ import annotations

import selectors
import socket

import pytest

from reactor.testing import MemorySelector, MemorySocket, memory_pair

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


# ---- the socket ----


def test_what_one_end_sends_the_other_receives_in_order() -> None:
    one, other = memory_pair()
    assert one.send(b"abc") == 3
    assert one.send(memoryview(b"de"), 0x4000) == 2
    assert other.recv(2) == b"ab"
    assert other.recv(100) == b"cde"
    with pytest.raises(BlockingIOError):
        other.recv(1)
    buffer = bytearray(4)
    other.send(b"xyz")
    assert one.recv_into(memoryview(buffer)) == 3
    assert buffer == b"xyz\0"


def test_a_socket_that_is_full_refuses_more() -> None:
    one, other = memory_pair()
    other.capacity = 5
    assert one.ready == WRITE
    assert one.send(b"abcdefgh") == 5
    assert one.ready == 0
    with pytest.raises(BlockingIOError):
        one.send(b"f")
    assert one.send(b"") == 0
    other.recv(2)
    assert one.send(b"fgh") == 2
    assert other.recv(100) == b"cdefg"


def test_a_chunk_limits_each_call() -> None:
    one, other = memory_pair()
    one.chunk, other.chunk = 3, 2
    assert one.send(b"abcdef") == 3
    assert other.recv(100) == b"ab"
    assert other.recv(100) == b"c"


def test_after_shutdown_the_rest_is_read_and_then_the_end() -> None:
    one, other = memory_pair()
    one.send(b"last")
    one.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        one.send(b"more")
    assert other.recv(100) == b"last"
    assert other.recv(100) == b""
    assert other.ready == READ | WRITE
    other.send(b"still")
    assert one.recv(100) == b"still"


def test_after_close_the_other_end_reads_the_rest_and_cannot_send() -> None:
    one, other = memory_pair()
    number = one.fileno()
    assert number > 0
    assert number != other.fileno()
    one.send(b"last")
    one.close()
    assert one.fileno() == -1
    assert other.recv(100) == b"last"
    assert other.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        other.send(b"?")
    for call in (lambda: one.send(b""), lambda: one.recv(1), lambda: one.shutdown(1)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_a_reset_loses_what_was_not_read() -> None:
    one, other = memory_pair()
    one.send(b"lost")
    one.reset()
    assert other.ready == READ | WRITE
    for call in (lambda: other.recv(1), lambda: other.send(b"x")):
        with pytest.raises(ConnectionResetError):
            call()


def test_a_failure_is_raised_by_both_calls_until_it_is_taken_away() -> None:
    one, other = memory_pair()
    one.failure = OSError(5, "Input/output error")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            one.send(b"x")
    one.failure = None
    one.send(b"x")
    assert other.recv(1) == b"x"


def test_a_socket_without_another_end_takes_nothing() -> None:
    lonely = MemorySocket()
    assert lonely.ready == WRITE
    with pytest.raises(BrokenPipeError):
        lonely.send(b"x")
    lonely.shutdown(socket.SHUT_WR)
    lonely.close()
    MemorySocket().reset()


def test_a_socket_does_not_block() -> None:
    one, _ = memory_pair()
    one.setblocking(False)
    with pytest.raises(ValueError, match="does not block"):
        one.setblocking(True)


# ---- the selector ----


def test_the_selector_finds_what_is_ready_and_never_waits() -> None:
    selector = MemorySelector()
    one, other = memory_pair()
    key = selector.register(one, READ, "data")
    selector.register(other, READ | WRITE)
    assert selector.get_map()[one] is key
    assert selector.get_key(one).data == "data"
    assert [(k.fileobj, mask) for k, mask in selector.select(100)] == [(other, WRITE)]
    other.send(b"x")
    assert selector.select() == [(key, READ), (selector.get_key(other), WRITE)]
    selector.unregister(one)
    selector.modify(other, READ)
    assert selector.select() == []
    assert one.watcher is other.watcher is selector
    selector.close()
    assert not selector.get_map()


def test_the_selector_refuses_what_a_real_one_refuses() -> None:
    selector = MemorySelector()
    one, other = memory_pair()
    selector.register(one, READ)
    with pytest.raises(KeyError, match="already registered"):
        selector.register(one, READ)
    for events in (0, 4, 8 | READ):
        with pytest.raises(ValueError, match="events"):
            selector.register(other, events)
    with pytest.raises(KeyError):
        selector.unregister(other)
    other.close()
    with pytest.raises(ValueError, match="closed socket"):
        selector.register(other, READ)


def test_a_real_socket_may_be_registered_and_is_never_ready() -> None:
    selector = MemorySelector()
    one, other = socket.socketpair()
    with one, other:
        selector.register(one, READ | WRITE)
        other.send(b"x")
        assert selector.select() == []
