"""`reactor/testing.py`: a clock, a network in memory and a client."""

from __future__ import annotations

import gc
import selectors
import socket
from typing import Any

import pytest

from reactor import BinaryMessage, Connection, Reactor, Response, Server, TextMessage
from reactor.testing import FakeClock, MemorySelector, MemorySocket, Peer, memory_pair

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


# ---- the clock ----


def test_the_clock_goes_only_when_it_is_told_to() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(0)
    clock.advance(2.5)
    assert clock() == clock.now == 7.5


def test_the_clock_never_goes_back() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-0.1)
    assert clock() == 1000.0


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


# ---- the peer ----


def test_a_peer_says_and_hears() -> None:
    with Peer.of(Echo) as peer:
        assert peer.response.startswith(b"HTTP/1.1 101 ")
        assert peer.response.endswith(b"\r\n\r\n")
        assert peer.body == b""
        peer.send("text")
        peer.send(b"binary")
        peer.ping(b"payload")
        assert peer.received == ["text", b"binary"]
        assert peer.pongs == [b"payload"]
        [client] = peer.server.clients
        client.ping(b"ours")
        peer.settle()
        assert peer.pings == [b"ours"]


def test_a_peer_speaks_with_a_server_that_compresses_and_sends_in_parts() -> None:
    class Telling(Echo):
        def onopen(self, client: Connection) -> None:
            client.send(part for part in ("in ", "parts"))

    with Peer.of(Telling, compress=True, fragment_size=10) as peer:
        assert b"Sec-WebSocket-Extensions" not in peer.response
        peer.send("x" * 1000)
        assert peer.received == ["in parts", "x" * 1000]


def test_a_peer_asks_for_what_it_is_told_to() -> None:
    asked: list[Any] = []

    def onrequest(request: Any) -> None:
        asked.append((request.target, request.headers["X-Token"]))

    with Peer.of(target="/chat?x", headers={"X-Token": "t"}, onrequest=onrequest):
        assert asked == [("/chat?x", "t")]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 62])
def test_a_peer_that_is_refused_shows_head_and_body_of_the_answer(chunk: int) -> None:
    with Peer.of(onrequest=lambda request: None) as first:
        server = first.server
        server.onrequest = lambda request: Response(  # type: ignore[method-assign]
            403, body="go \x81\x05away"
        )
        ours: list[MemorySocket] = []
        accepted = server.accepted

        def accept(sock: Any, address: Any) -> None:
            sock.chunk = chunk
            ours.append(sock)
            accepted(sock, address)

        server.accepted = accept  # type: ignore[method-assign]
        peer = Peer(server, first.clock)
        assert peer.response.startswith(b"HTTP/1.1 403 ")
        assert peer.body == "go \x81\x05away".encode()
        assert peer.received == []
        assert peer.sock.closed


def test_a_peer_closes_and_is_answered() -> None:
    with Peer.of() as peer:
        peer.close(4000, "bye")
        assert peer.closed == (4000, "bye")
        assert peer.sock.closed
        peer.close()
        peer.send("to nobody")
        peer.settle()
        assert peer.server.clients == set()


def test_a_peer_answers_a_close_and_a_ping_unless_it_is_told_not_to() -> None:
    ends: list[int] = []
    with Peer.of(onclose=lambda client, code, reason: ends.append(code)) as peer:
        [client] = peer.server.clients
        peer.answers_pings = False
        client.ping(b"1")
        client.close(4000, "why")
        peer.settle()
        assert peer.pings == [b"1"]
        assert peer.closed == (4000, "why")
        assert ends == []
        peer.advance(11)
        assert ends == [1006]
        other = Peer(peer.server, peer.clock)
        [client] = peer.server.clients
        client.close(4001)
        other.settle()
        assert ends == [1006, 4001]


def test_a_peer_disconnects_without_a_close() -> None:
    ends: list[int] = []
    with Peer.of(onclose=lambda client, code, reason: ends.append(code)) as peer:
        peer.disconnect()
        assert ends == [1006]


def test_a_peer_sends_a_frame_however_wrong() -> None:
    with Peer.of() as peer:
        peer.frame(0xF1, b"reserved bits")
        assert peer.closed is not None
        assert peer.closed[0] == 1002


def test_a_peer_takes_the_end_by_a_reset() -> None:
    with Peer.of() as peer:
        other = peer.sock.other
        assert other is not None
        other.reset()
        peer.settle()
        assert peer.sock.closed


def test_what_cannot_be_sent_at_once_is_sent_when_there_is_room() -> None:
    with Peer.of(Echo) as peer:
        other = peer.sock.other
        assert other is not None
        other.capacity = 100
        peer.send(bytes(10_000))
        peer.send("behind")
        assert peer.received == [bytes(10_000), "behind"]


def test_what_cannot_be_sent_any_more_is_lost() -> None:
    with Peer.of(Echo) as peer:
        other = peer.sock.other
        assert other is not None
        other.capacity = 0
        peer.send("waits")
        [client] = peer.server.clients
        client.abort()
        peer.settle()
        assert peer.sock.closed
        assert peer.received == []


def test_what_waits_is_lost_when_the_server_has_gone() -> None:
    with Peer.of(Echo) as peer:
        other = peer.sock.other
        assert other is not None
        other.capacity = 0
        peer.send("waits")
        other.close()
        peer.write(b"more")
        assert peer._unsent == b""
        peer.settle()
        assert peer.sock.closed


def test_more_messages_than_a_session_parses_at_once_are_all_read() -> None:
    with Peer.of() as peer:
        [client] = peer.server.clients
        client.send_packed(b"\x81\x01x" * 1000)
        peer.settle()
        assert peer.received == ["x"] * 1000


def test_time_passes_from_one_timer_to_the_next() -> None:
    with Peer.of() as peer:
        start, times = peer.clock.now, []
        timer = peer.server.reactor.call_every(
            0.1, lambda: times.append(round(peer.clock.now - start, 6))
        )
        peer.advance(0.55)
        assert times == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert peer.clock.now == start + 0.55
        timer.cancel()


def test_time_passes_on_a_reactor_that_is_closed_too() -> None:
    with Peer.of() as peer:
        peer.server.reactor.call_every(1, lambda: None)
        peer.server.reactor.close()
        peer.advance(10)
        assert peer.clock.now == 1010
        peer.settle()


def test_settling_goes_on_until_nothing_moves_any_more() -> None:
    with Peer.of(Echo) as peer:
        [client] = peer.server.clients
        other = peer.sock.other
        assert other is not None
        client.pause()
        other.chunk = 1
        for number in range(200):
            peer.send(str(number))
        client.resume()
        peer.settle()
        assert peer.received == [str(number) for number in range(200)]


def test_a_server_that_breaks_the_protocol_fails_the_test() -> None:
    with Peer.of() as peer:
        [client] = peer.server.clients
        client.send_packed(b"\xf1\x00")
        with pytest.raises(AssertionError, match="broke the protocol"):
            peer.settle()


def test_large_frames_and_many_peers_are_no_matter() -> None:
    clock = FakeClock()
    with Peer.of(Echo, clock=clock) as first:
        peers = [first, *(Peer(first.server, clock) for _ in range(10))]
        for number, peer in enumerate(peers):
            peer.send(bytes(100_000 + number))
        assert [peer.received for peer in peers] == [[bytes(100_000 + n)] for n in range(11)]


def test_a_with_block_leaves_nothing_open(recwarn: pytest.WarningsRecorder) -> None:
    with Peer.of(Echo) as peer:
        peer.send("x")
        reactor = peer.server.reactor
    assert reactor.closed
    assert peer.server.clients == set()
    del peer, reactor
    gc.collect()
    assert not recwarn.list


def test_a_peer_needs_a_reactor_in_memory_alone() -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        server = Echo(None, reactor=reactor)
        peer = Peer(server, FakeClock())
        peer.send("x")
        assert peer.received == ["x"]


def test_a_message_as_a_value_can_be_sent() -> None:
    with Peer.of(onmessage=lambda client, message: client.send(message)) as peer:
        peer.send(TextMessage(b"as it is"))
        peer.send(BinaryMessage(b"too"))
        assert peer.received == ["as it is", b"too"]
