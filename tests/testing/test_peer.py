"""`reactor/testing/peer.py`: clients in memory."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from reactor import (
    BinaryMessage,
    Connection,
    Extension,
    PerMessageDeflate,
    Reactor,
    Response,
    Server,
    TextMessage,
)
from reactor.testing import FakeClock, MemorySelector, MemorySocket, Peer, memory_pair
from reactor.testing.peer import Speaker


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


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


def test_what_is_no_message_cannot_be_sent() -> None:
    with Peer.of() as peer, pytest.raises(TypeError, match="int, not str"):
        peer.send(1)  # type: ignore[arg-type]


def test_what_speaks_needs_somewhere_to_write_to() -> None:
    with pytest.raises(NotImplementedError):
        Speaker().send("to nobody")


class Lines(Speaker):
    """One whose bytes go to a server by hand."""

    def __init__(self, server: Server, *extensions: Extension) -> None:
        super().__init__(extensions, lambda: b"\1\2\3\4")
        self.sock, theirs = memory_pair()
        accepted: Any = theirs
        server.accepted(accepted, ("memory", 1))
        self.write(self.request("/", {"Host": "there"}))
        self.reactor = server.reactor

    def write(self, data: bytes) -> object:
        return self.sock.send(data)

    def listen(self) -> None:
        for _ in range(5):
            self.reactor.step(0)
        self.hear(bytes(self.sock.inbox))
        self.sock.inbox.clear()


def test_a_client_that_offers_extensions_speaks_them() -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        hosts: list[str] = []
        server = Echo(reactor=reactor, compress=True)
        server.onrequest = lambda request: hosts.append(request.headers["Host"])  # type: ignore[method-assign]
        speaker = Lines(server, PerMessageDeflate())
        assert (speaker.opened, speaker.extensions) == (False, "")
        speaker.listen()
        assert hosts == ["there"]
        assert speaker.opened
        assert speaker.extensions.startswith("permessage-deflate")
        for size in (0, 1, 300, 70_000):
            speaker.send("x" * size)
            speaker.send(bytes(size))
            sent = speaker.sock.other
            assert sent is not None
            assert size < 300 or len(sent.inbox) < size
            speaker.listen()
        assert speaker.received[:4] == ["", b"", "x", b"\0"]
        assert [len(message) for message in speaker.received[4:]] == [300, 300, 70_000, 70_000]
        speaker.ping(b"payload")
        speaker.listen()
        assert speaker.pongs == [b"payload"]


def test_a_client_that_offers_extensions_takes_a_server_that_has_none() -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        speaker = Lines(Echo(reactor=reactor), PerMessageDeflate())
        speaker.listen()
        assert speaker.opened
        assert speaker.extensions == ""
        speaker.send("x")
        sent = speaker.sock.other
        assert sent is not None
        assert bytes(sent.inbox) == b"\x81\x81\1\2\3\4y"
        speaker.listen()
        assert speaker.received == ["x"]
