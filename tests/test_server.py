"""`reactor/server.py`: listen, hold the connections, broadcast, stop."""

from __future__ import annotations

import contextlib
import gc
import http.server
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    BinaryMessage,
    Connection,
    DeflateFrame,
    Handlers,
    InvalidState,
    PerMessageDeflate,
    Reactor,
    Server,
    State,
    TextMessage,
    TrustedProxies,
)
from reactor.protocol.frames import pack_frame
from reactor.testing import FakeClock, MemorySelector, Peer
from tests import certificates
from tests.extended import Counting, ExtendedVisitor, Flip, raiser
from tests.processes import complaints
from tests.recorder import TEXT, Recorder, Visitor, close_frame, masked, meet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
KIB = 1024
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

TAKEOVER = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def in_memory(**options: Any) -> Recorder:
    return Recorder(reactor=Reactor(selector=MemorySelector(), clock=FakeClock()), **options)


def visit(server: Recorder, target: str = "/", headers: Any = None) -> Visitor:
    clock: Any = server.reactor.clock
    return Visitor(server, clock, target, headers)


class Net:
    """Servers on real sockets, and plain sockets to them; all are closed at the end."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.sockets: list[socket.socket] = []

    def listen(self, address: Any = ("127.0.0.1", 0), **options: Any) -> Recorder:
        server = Recorder(address, **options)
        self.servers.append(server)
        return server

    def connect(self, server: Server, number: int = 0) -> socket.socket:
        address = server.addresses[number]
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.sockets.append(sock)
        sock.settimeout(10)
        sock.connect(address)
        sock.setblocking(False)
        return sock

    def open(self, server: Server, number: int = 0) -> socket.socket:
        sock = self.connect(server, number)
        sock.send(UPGRADE)
        self.until(server, lambda: b"\r\n\r\n" in self.peek(sock))
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        return sock

    def peek(self, sock: socket.socket) -> bytes:
        try:
            return sock.recv(65536, socket.MSG_PEEK)
        except BlockingIOError:
            return b""

    def ended(self, sock: socket.socket) -> bool:
        try:
            return sock.recv(65536) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def until(self, server: Server, done: Callable[[], object]) -> None:
        for _ in range(2000):
            if done():
                return
            server.reactor.step(0.01)
        raise AssertionError("it did not come to that")

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        for server in self.servers:
            server.close()
            server.reactor.close()


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


# ---- making one ----


def test_an_unknown_option_is_a_type_error_and_leaves_nothing_open() -> None:
    with pytest.raises(TypeError, match="no option 'on_message'"):
        Server(("127.0.0.1", 0), on_message=print)
    with pytest.raises(TypeError, match="no option 'max_mesage'"):
        Server(("127.0.0.1", 0), max_mesage=5)
    gc.collect()


@pytest.mark.parametrize(
    "options",
    [
        {"max_message": 0},
        {"overflow": "drop"},
        {"origins": "https://example.com"},
        {"locations": ["no-slash"]},
        {"subprotocols": ["two words"]},
        {"max_connections": 0},
        {"max_connections": -1},
        {"max_pending_handshakes": 0},
        {"trusted_proxies": ["10.0.0.1/8"]},
        {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
    ],
)
def test_an_option_out_of_range_is_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Server(("127.0.0.1", 0), **options)
    gc.collect()


def test_a_port_that_is_taken_is_an_os_error_and_leaves_nothing_open(net: Net) -> None:
    server = net.listen()
    with pytest.raises(OSError, match=r"in use"):
        Server(server.addresses[0])
    gc.collect()


def test_it_says_where_it_listens(net: Net, tmp_path: Path) -> None:
    [address] = net.listen().addresses
    assert address[0] == "127.0.0.1"
    assert isinstance(address[1], int)
    assert address[1] > 0
    path = str(tmp_path / "socket")
    server = net.listen(path)
    assert server.addresses == [path]
    server.close()
    assert not os.path.exists(path)
    [name] = net.listen(("", 0)).addresses
    assert name[0] in ("::", "0.0.0.0")
    with Reactor() as loop:
        assert Server(reactor=loop).addresses == []


def test_it_takes_a_listening_socket_or_several(net: Net) -> None:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    names = [sock.getsockname() for sock in socks]
    one = net.listen(socks[0])
    two = net.listen(socks[1:])
    assert one.addresses == names[:1]
    assert two.addresses == names[1:]
    for server, number in ((one, 0), (two, 0), (two, 1)):
        net.open(server, number)
    assert one.names() == ["onopen"]
    assert two.names() == ["onopen"] * 2


def test_it_is_reached_over_a_unix_socket(net: Net, tmp_path: Path) -> None:
    server = net.listen(str(tmp_path / "socket"), do={"onmessage": Connection.send})
    sock = net.open(server)
    assert server.met[0].address == ""
    sock.send(masked(TEXT, b"hello"))
    net.until(server, lambda: net.peek(sock))
    assert sock.recv(100) == b"\x81\x05hello"


def test_a_tcp_connection_sends_without_delay(net: Net) -> None:
    server = net.listen()
    net.open(server)
    [client] = server.clients
    transport: Any = client._transport
    accepted = transport.sock
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("way", ["inherited", "set", "adopted"])
def test_no_message_waits_for_the_acknowledgement_of_another(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "set":
        monkeypatch.setattr("reactor.server.INHERITS", False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(None if way == "adopted" else ("127.0.0.1", 0))
        address: Any = listener.getsockname() if way == "adopted" else server.addresses[0]
        with socket.create_connection(address):
            if way == "adopted":
                server.adopt(listener.accept()[0])
            while not server._openings:
                server.reactor.step(1)
            (opening,) = server._openings
            sock = opening._transport.sock  # type: ignore[union-attr]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            server.close()


@pytest.mark.parametrize("way", ["accepted", "adopted"])
def test_a_connection_that_is_gone_before_it_is_taken_over_is_dropped(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    class Gone:
        family = socket.AF_INET
        closed = False

        def getpeername(self) -> Any:
            return ("127.0.0.1", 1)

        def setsockopt(self, *args: object) -> None:
            raise OSError(22, "Invalid argument")

        def close(self) -> None:
            self.closed = True

    server, sock = in_memory(), Gone()
    taken: Any = sock
    monkeypatch.setattr("reactor.server.INHERITS", False)
    if way == "accepted":
        server.accepted(taken, taken.getpeername())
    else:
        server.adopt(taken)
    assert sock.closed
    assert not server._openings
    server.reactor.close()


# ---- extensions ----


@pytest.mark.parametrize(
    ("options", "agreed"),
    [
        ({}, ""),
        ({"compress": False}, ""),
        ({"compress": None}, ""),
        ({"compress": True}, TAKEOVER),
        (
            {"extensions": [PerMessageDeflate(server_max_window_bits=9)]},
            TAKEOVER.replace("server_max_window_bits=12", "server_max_window_bits=9"),
        ),
        (
            {"extensions": [PerMessageDeflate(client_max_window_bits=9)], "compress": True},
            TAKEOVER.replace("client_max_window_bits=12", "client_max_window_bits=9"),
        ),
        ({"extensions": [Flip()]}, "x-flip"),
        ({"extensions": [Flip()], "compress": True}, f"{TAKEOVER}, x-flip"),
        ({"extensions": [DeflateFrame()], "compress": True}, TAKEOVER),
        ({"extensions": (each for each in [DeflateFrame()])}, "deflate-frame"),
    ],
    ids=range(10),
)
def test_a_server_compresses_if_it_is_told_to_and_has_the_extensions_it_is_given(
    options: dict[str, Any], agreed: str
) -> None:
    server = in_memory(**options, do={"onmessage": lambda client, m: client.send(m * 2)})
    offered = [PerMessageDeflate(), Flip(), DeflateFrame()]
    peer = ExtendedVisitor(server, server.reactor.clock, offered)
    assert peer.agreed == server.met[0].extensions == agreed
    peer.speak("squeezed " * 100)
    assert peer.received == ["squeezed " * 200]
    server.reactor.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"extensions": [PerMessageDeflate]}, TypeError),
        ({"extensions": PerMessageDeflate()}, TypeError),
        ({"extensions": ["permessage-deflate"]}, TypeError),
        ({"extensions": [Flip(), Flip()]}, ValueError),
        ({"extensions": [PerMessageDeflate(), PerMessageDeflate(level=1)]}, ValueError),
        ({"fragment_size": 0}, ValueError),
        ({"fragment_size": 1.5}, TypeError),
    ],
    ids=range(7),
)
def test_extensions_that_are_none_raise_and_leave_nothing_open(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Server(("127.0.0.1", 0), **options)
    gc.collect()


def test_an_extension_that_fails_in_a_message_fails_that_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flip = Flip()
    server = in_memory(extensions=[flip])
    clock = server.reactor.clock
    peers = [ExtendedVisitor(server, clock, [Flip()]) for _ in range(3)]
    flip.made[0].encode = raiser(LookupError("of the encoder"))  # type: ignore[method-assign]
    flip.made[1].decode = raiser(LookupError("of the decoder"))  # type: ignore[method-assign]
    server.broadcast("to all")
    peers[1].speak("to nobody")
    for peer in peers:
        peer.settle()
    assert [peer.closed for peer in peers] == [(1011, "an extension failed")] * 2 + [None]
    assert [peer.received for peer in peers] == [[], ["to all"], ["to all"]]
    assert server.ends() == [(1011, "an extension failed")] * 2
    assert sorted(str(error.__cause__) for error in server.errors()) == [
        "of the decoder",
        "of the encoder",
    ]
    assert caplog.text.count("LookupError: of the ") == 2
    assert server.clients == {server.met[2]}
    server.reactor.close()


# ---- three styles of handlers ----


def test_handlers_are_methods_of_a_subclass() -> None:
    class Chat(Server):
        def onopen(self, client: Connection) -> None:
            client.send("welcome")

        def onmessage(self, client: Connection, message: str | bytes) -> None:
            client.send(message)

    with Peer.of(Chat) as peer:
        peer.send("hello")
        assert peer.received == ["welcome", "hello"]


def test_handlers_are_functions() -> None:
    told: list[Any] = []
    with Peer.of(
        onopen=lambda client: told.append("open"),
        onmessage=lambda client, message: client.send(message),
        onclose=lambda client, code, reason: told.append(code),
    ) as peer:
        peer.send("hello")
        peer.close()
        assert peer.received == ["hello"]
        assert told == ["open", 1000]


def test_handlers_are_methods_of_a_connection_class() -> None:
    class Player(Connection):
        __slots__ = ()

        def onmessage(self, message: Any) -> None:
            self.send(message)

    with Peer.of(connection=Player) as peer:
        peer.send("hello")
        assert peer.received == ["hello"]
        [client] = peer.server.clients
        assert isinstance(client, Player)


def test_each_location_has_its_handlers() -> None:
    class Shout(Handlers):
        def onmessage(self, client: Any, message: Any) -> None:
            client.send(f"{client.request.params['room']}: {message.upper()}")

    answer = Handlers(onmessage=lambda client, message: client.send("function"))
    server = in_memory(locations={"/shout/{room}": Shout(), "/f": answer})
    shout, function = visit(server, "/shout/a"), visit(server, "/f")
    shout.send("hello")
    function.send("hello")
    assert shout.received == ["a: HELLO"]
    assert function.received == ["function"]
    assert visit(server, "/").response.startswith(b"HTTP/1.1 404 ")
    assert server.log == []
    server.reactor.close()


def test_locations_without_handlers_are_the_servers() -> None:
    server = in_memory(locations=["/a", "/b/{x}"])
    visit(server, "/a").send("one")
    visit(server, "/b/1").send("two")
    assert visit(server, "/b/").response.startswith(b"HTTP/1.1 404 ")
    assert server.messages() == ["one", "two"]
    server.reactor.close()


def test_a_connection_class_that_raises_is_answered_500_and_the_server_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if self.request.path == "/broken":
                raise ValueError("in __init__")

    server = in_memory(connection=Broken)
    peer = visit(server, "/broken")
    assert peer.response.startswith(b"HTTP/1.1 500 ")
    assert "Broken() raised" in caplog.text
    peer.advance(100)
    assert peer.sock.closed
    assert server.log == []
    visit(server).send("alive")
    assert server.messages() == ["alive"]
    server.reactor.close()


def test_a_connection_class_that_stops_the_server_is_no_connection() -> None:
    class Last(Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.server.stop()

    server = in_memory(connection=Last)
    peer = visit(server)
    peer.settle()
    assert server.log == []
    assert server.clients == set()
    server.close()
    server.reactor.close()


def test_a_request_handler_that_stops_the_server_opens_no_connection() -> None:
    server = in_memory()
    server.onrequest = lambda request: server.stop()  # type: ignore[method-assign]
    peer = visit(server)
    peer.settle()
    assert server.log == []
    server.close()
    server.reactor.close()


# ---- broadcast ----


def count_frames(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the payloads of all messages that are framed from now on, not compressed."""
    framed: list[bytes] = []

    def counted(head: int, payload: bytes, masked: bool) -> bytes:
        framed.append(payload)
        return pack_frame(head, payload, masked)

    monkeypatch.setattr("reactor.protocol.messages.pack_frame", counted)
    return framed


def test_a_broadcast_reaches_all_but_the_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    server = in_memory()
    peers = [visit(server) for _ in range(5)]
    framed = count_frames(monkeypatch)
    server.broadcast("to all")
    server.broadcast(b"to some", exclude=server.met[2])
    for number, peer in enumerate(peers):
        peer.settle()
        assert peer.received == ["to all"] + [b"to some"] * (number != 2)
    assert framed == [b"to all", b"to some"], "framed once each"
    server.reactor.close()


def test_clients_are_gone_through_in_the_order_of_their_coming() -> None:
    server = in_memory()
    for _ in range(50):
        visit(server)
    assert list(server.clients) == server.met
    leaver = server.met.pop(20)
    leaver.abort()
    server.reactor.step(0)
    visit(server)
    assert list(server.clients) == server.met
    assert leaver not in server.clients
    assert server.clients - {server.met[0]} == set(server.met[1:])
    server.reactor.close()


@pytest.mark.parametrize("message", [5, None, ["parts", "of one"], {"json": 1}])
def test_what_can_be_broadcast_is_what_is_whole(message: Any) -> None:
    server = in_memory(compress=True)
    peer = visit(server)
    with pytest.raises(TypeError, match="not str, bytes-like or a Message"):
        server.broadcast(message)
    peer.settle()
    assert peer.received == []
    server.reactor.close()


def test_a_message_that_says_what_it_is_is_broadcast_as_that() -> None:
    server = in_memory()
    peers = [visit(server) for _ in range(2)]
    text, binary = TextMessage(b'{"a": 1}'), BinaryMessage(bytearray(b"x"))
    server.broadcast(text)
    server.broadcast(binary)
    server.broadcast(memoryview(b"y"))
    for peer in peers:
        peer.settle()
        assert peer.received == ['{"a": 1}', b"x", b"y"]
    server.reactor.close()


class Mixed:
    """A server that compresses, and clients of all kinds, two of each."""

    def __init__(self) -> None:
        self.deflate, self.flip = Counting(threshold=100), Flip()
        self.server = in_memory(extensions=[self.deflate, self.flip])
        forgets = PerMessageDeflate(server_no_context_takeover=True)
        narrow = PerMessageDeflate(server_no_context_takeover=True, server_max_window_bits=9)
        kinds = [None, [PerMessageDeflate()], [forgets], [narrow], [Flip()]]
        clock = self.server.reactor.clock
        self.peers: list[Visitor] = []
        for kind in kinds * 2:
            if kind is None:
                self.peers.append(visit(self.server))
            else:
                self.peers.append(ExtendedVisitor(self.server, clock, kind))

    def received(self) -> list[Any]:
        """Return what all have received, which must be the same."""
        for peer in self.peers:
            peer.settle()
        assert all(peer.received == self.peers[0].received for peer in self.peers)
        return self.peers[0].received


def test_a_broadcast_is_framed_and_compressed_once_for_all_who_get_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixed = Mixed()
    agreed = [client.extensions for client in mixed.server.met[:5]]
    forgetting = "permessage-deflate; server_no_context_takeover; server_max_window_bits="
    assert agreed[:2] == ["", TAKEOVER]
    assert agreed[2].startswith(f"{forgetting}12")
    assert agreed[3].startswith(f"{forgetting}9")
    assert agreed[4] == "x-flip"
    framed = count_frames(monkeypatch)
    long, other = b"long " * 50, b"other " * 50
    mixed.server.broadcast(long)
    assert framed == [long], "for those without extensions"
    # Once for each of the two that remember, once for each kind of those that forget.
    assert mixed.deflate.compressed == [long] * 4
    mixed.server.broadcast(other.decode(), compress=True)
    assert framed == [long, other]
    assert mixed.deflate.compressed == [long] * 4 + [other] * 4
    # With the two compressors of each kind of those that forget shared.
    assert mixed.deflate.made == 4
    assert mixed.received() == [long, other.decode()]
    mixed.server.reactor.close()


@pytest.mark.parametrize(
    ("size", "compress", "compressed"),
    [(99, None, 0), (100, None, 4), (99, True, 4), (100, False, 0), (0, True, 0)],
)
def test_the_broadcaster_says_whether_to_compress(
    monkeypatch: pytest.MonkeyPatch, size: int, compress: bool | None, compressed: int
) -> None:
    mixed = Mixed()
    framed = count_frames(monkeypatch)
    mixed.server.broadcast(b"x" * size, compress=compress)
    assert len(mixed.deflate.compressed) == compressed
    assert framed == [b"x" * size]
    assert [codec.wishes for codec in mixed.flip.made] == [[(size, compress)]] * 2
    assert mixed.received() == [b"x" * size]
    mixed.server.reactor.close()


def test_one_message_is_compressed_once_in_all_its_broadcasts() -> None:
    mixed = Mixed()
    message = TextMessage("again and " * 20)
    for _ in range(3):
        mixed.server.broadcast(message)
    # Those that remember have to see it each time.
    assert len(mixed.deflate.compressed) == 2 * 3 + 2
    assert mixed.received() == ["again and " * 20] * 3
    mixed.server.reactor.close()


def test_a_broadcast_waits_behind_what_is_being_sent_in_parts() -> None:
    mixed = Mixed()
    first, second = mixed.server.met[0], mixed.server.met[1]
    for peer in mixed.peers[:2]:
        peer.stop_reading()
    for client in (first, second):
        client.send(b"%d" % number * 9_000 for number in range(100))
    mixed.server.broadcast("behind it " * 20)
    for peer in mixed.peers[2:]:
        peer.settle()
        assert peer.received == ["behind it " * 20]
    whole = b"".join(b"%d" % number * 9_000 for number in range(100))
    for peer in mixed.peers[:2]:
        peer.go_on_reading()
        assert peer.received == [whole, "behind it " * 20]
    mixed.server.reactor.close()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("overflow", ["close", "skip", "error"])
def test_a_slow_reader_of_compressed_broadcasts_is_treated_by_the_policy(
    overflow: str, compress: bool
) -> None:
    server = in_memory(compress=True, overflow=overflow, max_write_queue=50 * KIB)
    clock = server.reactor.clock
    peers = [ExtendedVisitor(server, clock, [PerMessageDeflate()]) for _ in range(3)]
    peers[1].stop_reading()
    noise = [random.Random(number).randbytes(10_000) for number in range(20)]
    for message in noise:
        server.broadcast(message, compress=compress)
    peers[0].settle()
    for peer in (peers[0], peers[2]):
        peer.settle()
        assert peer.received == noise
    assert len(server.ends()) == (overflow == "close")
    if overflow != "close":
        assert 4 * 10_000 < server.met[1].buffered_amount <= 50 * KIB
        # What was left out was left out of the compressor's memory, too.
        peers[1].go_on_reading()
        server.broadcast("after it all", compress=compress)
        peers[1].settle()
        assert peers[1].received == [*noise[:5], "after it all"]
    server.reactor.close()


@pytest.mark.parametrize(
    ("overflow", "ends", "left"), [("close", 1, 4), ("skip", 0, 5), ("error", 0, 5)]
)
def test_a_slow_reader_of_a_broadcast_is_treated_by_the_policy_and_the_others_get_all(
    overflow: str, ends: int, left: int
) -> None:
    server = in_memory(overflow=overflow, max_write_queue=100 * KIB)
    peers = [visit(server) for _ in range(5)]
    slow = peers.pop(1)
    slow.stop_reading()
    for number in range(100):
        server.broadcast(f"{number} {'x' * 10_000}")
        assert server.met[1].buffered_amount <= 100 * KIB
    for peer in peers:
        peer.settle()
        assert [str(message).split()[0] for message in peer.received] == [
            str(number) for number in range(100)
        ]
    assert len(server.ends()) == ends
    assert len(server.clients) == left
    server.reactor.close()


def test_who_leaves_or_comes_during_a_broadcast_is_no_matter() -> None:
    server = in_memory(max_write_queue=10)
    peers = [visit(server) for _ in range(5)]
    for peer in peers:
        peer.stop_reading()
    server.do["onerror"] = lambda client, error: server.broadcast("someone left")
    server.broadcast("one")
    server.broadcast("two, which is too much for all of them")
    peers[0].settle()
    assert server.clients == set()
    assert len(server.ends()) == 5
    server.reactor.close()


# ---- limits ----


def test_at_max_connections_who_comes_waits_until_one_has_left(net: Net) -> None:
    server = net.listen(max_connections=2)
    first, _ = net.open(server), net.open(server)
    waiting = net.connect(server)
    waiting.send(UPGRADE)
    for _ in range(20):
        server.reactor.step(0.001)
    assert len(server.clients) == 2
    assert not server._openings
    assert net.peek(waiting) == b""
    first.close()
    net.until(server, lambda: net.peek(waiting).startswith(b"HTTP/1.1 101 "))
    assert len(server.clients) == 2


def test_handshakes_count_as_connections(net: Net) -> None:
    server = net.listen(max_connections=3)
    socks = [net.connect(server) for _ in range(6)]
    for _ in range(20):
        server.reactor.step(0.001)
    assert len(server._openings) == 3
    for sock in socks:
        sock.close()
    net.until(server, lambda: not server._openings)
    net.open(server)


def test_at_the_limit_of_handshakes_those_that_take_over_a_second_make_room(net: Net) -> None:
    clock = FakeClock()
    server = net.listen(max_pending_handshakes=4, reactor=Reactor(clock=clock))
    socks = [net.connect(server) for _ in range(6)]
    for _ in range(20):
        server.reactor.step(0)
    assert len(server._openings) == 4
    clock.advance(0.9)
    server.reactor.step(0)
    assert len(server._openings) == 4
    clock.advance(0.2)
    for _ in range(20):
        server.reactor.step(0)
    assert len(server._openings) == 4
    assert [net.ended(sock) for sock in socks] == [True, True, False, False, False, False]
    socks[2].send(UPGRADE)
    net.until(server, lambda: net.peek(socks[2]).startswith(b"HTTP/1.1 101 "))
    assert len(server._openings) == 3


def test_a_handshake_does_not_age_while_the_loop_is_held_up(net: Net) -> None:
    clock = FakeClock()
    server = net.listen(max_pending_handshakes=2, reactor=Reactor(clock=clock))
    socks = [net.connect(server) for _ in range(2)]
    net.until(server, lambda: len(server._openings) == 2)
    server.reactor.call_soon(clock.advance, 5.0)
    server.reactor.step(0)
    waiting = net.connect(server)
    for _ in range(20):
        server.reactor.step(0)
    for sock in [*socks, waiting]:
        sock.send(UPGRADE)
        net.until(server, lambda sock=sock: net.peek(sock).startswith(b"HTTP/1.1 101 "))  # type: ignore[misc]


def test_at_the_limit_of_handshakes_one_that_ends_makes_room_at_once(net: Net) -> None:
    server = net.listen(max_pending_handshakes=2, reactor=Reactor(clock=FakeClock()))
    socks = [net.connect(server) for _ in range(2)]
    net.until(server, lambda: len(server._openings) == 2)
    waiting = net.connect(server)
    waiting.send(UPGRADE)
    for _ in range(20):
        server.reactor.step(0)
    assert net.peek(waiting) == b""
    socks[0].close()
    net.until(server, lambda: net.peek(waiting))


def test_open_connections_do_not_take_the_place_of_handshakes(net: Net) -> None:
    server = net.listen(max_pending_handshakes=1)
    for _ in range(5):
        net.open(server)
    assert len(server.clients) == 5


def test_max_connections_follows_the_limit_for_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Reactor(selector=MemorySelector()) as loop:
        assert Server(reactor=loop)._max_connections == max(1, soft - 64)
        for answer, expected in ((10, 1), (1000, 936), (-1, sys.maxsize)):
            monkeypatch.setattr(os, "sysconf", lambda name, answer=answer: answer)
            assert Server(reactor=loop)._max_connections == expected
        monkeypatch.delattr(os, "sysconf")
        assert Server(reactor=loop)._max_connections == 512 - 64


# ---- stop ----


def test_stop_accepts_nobody_closes_all_with_1001_and_ends_run(net: Net) -> None:
    server = net.listen()
    socks = [net.open(server) for _ in range(3)]
    pending = net.connect(server)
    net.until(server, lambda: server._openings)
    address = server.addresses[0]

    def answer(client: Connection, message: str) -> None:
        server.stop()
        server.stop()
        for sock in socks:
            sock.send(close_frame(1001))
            sock.shutdown(socket.SHUT_WR)

    server.do["onmessage"] = answer
    socks[0].send(masked(TEXT, b"stop"))
    server.run()
    assert server.stopping
    assert server.ends() == [(1001, "")] * 3
    assert server.clients == set()
    assert server.reactor.closed
    for sock in socks:
        assert sock.recv(100) == b"\x88\x02\x03\xe9"
        assert net.ended(sock)
    assert net.ended(pending)
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(address)
    server.stop()
    server.close()


def test_stop_takes_no_longer_than_the_close_timeout() -> None:
    with meet(close_timeout=5) as peer:
        peer.answers_pings = False
        peer.server.stop(1012, "back soon")
        peer.settle()
        assert peer.closed == (1012, "back soon")
        assert peer.client.ready_state is State.CLOSING
        peer.advance(4.9)
        assert peer.ends == []
        peer.advance(0.2)
        assert [code for code, _ in peer.ends] == [1006]


class Endless:
    """Parts without end; knows whether it was closed."""

    def __init__(self, part: str | bytes = b"x" * 10_000) -> None:
        self.part, self.asked, self.closed = part, 0, False

    def parts(self) -> Iterator[Any]:
        try:
            while True:
                self.asked += 1
                yield self.part
        finally:
            self.closed = True


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("end", ["stop", "close", "abort"])
def test_what_is_sent_in_parts_is_cut_short_by_stop_and_closed(
    end: str, compress: bool
) -> None:
    server = in_memory(compress=compress, close_timeout=5)
    clock = server.reactor.clock
    reading, not_reading = (
        ExtendedVisitor(server, clock, [PerMessageDeflate()]) for _ in range(2)
    )
    not_reading.stop_reading()
    noise = random.Random(1).randbytes(10_000)
    streams = [Endless(noise), Endless(noise)]
    for client, stream in zip(server.met, streams):
        client.send(stream.parts())
        assert client.send("behind it") is False
    while streams[0].asked < 300:
        server.reactor.step(0)
        reading._read()
    assert streams[1].asked < 20, "it is asked for more than the peer takes"
    getattr(server, end)()
    assert [stream.closed for stream in streams] == [True, True]
    asked = [stream.asked for stream in streams]
    reading.settle()
    assert reading.received == []
    if end == "stop":
        assert reading.closed == (1001, "")
        assert server.ends() == [(1001, "")]
        not_reading.advance(4.9)
        assert len(server.ends()) == 1
        not_reading.advance(0.2)
    assert [code for code, _ in server.ends()] == [1001 if end == "stop" else 1006, 1006]
    assert [stream.asked for stream in streams] == asked
    assert not server.clients
    server.reactor.close()


def test_who_closes_behind_a_stream_without_end_is_cut_short_by_stop() -> None:
    server = in_memory()
    peer = visit(server)
    peer.stop_reading()
    endless = Endless()
    [client] = server.met
    client.send(endless.parts())
    client.close(4000, "when it is through")
    assert client.ready_state is State.CLOSING
    server.stop(1012, "restart")
    assert endless.closed
    peer.go_on_reading()
    # The first word counts.
    assert peer.closed == (4000, "when it is through")
    assert server.ends() == [(4000, "when it is through")]
    server.reactor.close()


@pytest.mark.parametrize("name", ["onopen", "onmessage", "ondrain"])
def test_a_stream_that_a_handler_begins_when_the_server_stops_is_closed(name: str) -> None:
    endless = Endless()

    def begin(client: Connection, *args: Any) -> None:
        client.send(endless.parts())
        server.stop()
        assert client.send(Endless().parts()) is False

    server = in_memory(do={name: begin})
    peer = visit(server)
    if name == "ondrain":
        peer.stop_reading()
        server.met[0].send(b"x" * 100_000)
        peer.go_on_reading()
    elif name == "onmessage":
        peer.send("begin")
    peer.settle()
    assert endless.closed
    assert peer.closed == (1001, "")
    assert server.ends() == [(1001, "")]
    server.reactor.close()


def test_stop_with_a_code_that_must_not_be_sent_stops_nothing() -> None:
    with meet() as peer:
        for arguments in ((1005, ""), (1000, "x" * 124)):
            with pytest.raises(ValueError, match=r"close"):
                peer.server.stop(*arguments)
        with pytest.raises(TypeError):
            peer.server.stop("1000")  # type: ignore[arg-type]
        assert not peer.server.stopping
        peer.send("alive")
        assert peer.server.messages() == ["alive"]


def test_a_request_that_comes_while_the_server_stops_is_answered_503() -> None:
    server = in_memory()
    one = visit(server)
    one.answers_pings = False
    server.stop()
    late = visit(server)
    assert late.response.startswith(b"HTTP/1.1 503 ")
    server.close()
    server.reactor.close()


def test_run_returns_at_once_if_the_server_has_stopped(net: Net) -> None:
    server = net.listen()
    server.stop()
    server.run()
    assert server.reactor.closed


def test_run_ends_when_the_last_of_two_servers_has_stopped() -> None:
    with Reactor() as loop:
        one = Recorder(("127.0.0.1", 0), reactor=loop)
        two = Recorder(("127.0.0.1", 0), reactor=loop)
        order: list[str] = []
        loop.call_soon(one.stop)
        loop.call_later(0.01, lambda: order.append("still running"))
        loop.call_later(0.02, two.stop)
        one.run()
        assert order == ["still running"]
        assert not loop.closed, "it belongs to whoever made it"


def test_two_servers_in_one_reactor_do_not_touch_each_other(net: Net) -> None:
    with Reactor() as loop:
        one, two = net.listen(reactor=loop), net.listen(reactor=loop)
        first, second = net.open(one), net.open(two)
        one.close()
        net.until(two, lambda: net.ended(first))
        second.send(masked(TEXT, b"alive"))
        net.until(two, two.messages)
        assert one.ends() == [(1006, "")]
        assert two.ends() == []
        assert not loop.closed


# ---- close ----


def test_close_drops_everything_and_may_be_called_often(net: Net) -> None:
    server = net.listen()
    opened, pending = net.open(server), net.connect(server)
    net.until(server, lambda: server._openings)
    for _ in range(3):
        server.close()
    assert server.ends() == [(1006, "")]
    assert server.reactor.closed
    for sock in (opened, pending):
        sock.settimeout(10)
        while sock.recv(100):
            pass


def test_close_ends_though_an_interrupt_has_cut_off_the_end_of_a_connection() -> None:
    class Interrupted(Recorder):
        def connection_ended(self, connection: Connection) -> None:
            raise KeyboardInterrupt

    class Counting(MemorySelector):
        waits = 0

        def select(self, timeout: float | None = None) -> list[Any]:
            self.waits += 1
            assert self.waits < 100, "it turns for ever"
            return super().select(timeout)

    reactor = Reactor(selector=Counting(), clock=FakeClock())
    server = Interrupted(reactor=reactor)
    peer = visit(server)
    with pytest.raises(KeyboardInterrupt):
        peer.disconnect()
    reactor.call_soon(reactor.call_soon, list)
    server.close()
    assert not server.clients
    reactor.close()


def test_close_from_inside_a_handler_is_followed_by_onclose_in_the_next_step() -> None:
    server = in_memory()
    peers = [visit(server) for _ in range(3)]

    def drop(client: Connection, message: str) -> None:
        server.close()
        assert server.ends() == []

    server.do["onmessage"] = drop
    peers[0].sock.send(masked(TEXT, b"now"))
    server.reactor.step(0)
    assert server.ends() == []
    server.reactor.step(0)
    assert server.ends() == [(1006, "")] * 3
    server.close()
    server.reactor.close()


def test_the_end_of_the_reactor_is_the_end_of_the_server(net: Net) -> None:
    server = net.listen()
    net.open(server)
    server.reactor.close()
    assert server.ends() == [(1006, "")]
    server.close()
    server.stop()


def test_an_interrupt_ends_run_with_everything_closed(net: Net) -> None:
    def interrupt(client: Connection, message: str) -> None:
        raise KeyboardInterrupt

    server = net.listen(do={"onmessage": interrupt})
    sock = net.open(server)
    sock.send(masked(TEXT, b"^C"))
    with pytest.raises(KeyboardInterrupt):
        server.run()
    assert server.reactor.closed
    assert server.ends() == [(1006, "")]


# ---- processes ----


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_drops_its_copies_and_the_parent_serves_on(
    net: Net, tmp_path: Path, inside: bool, busy: bool
) -> None:
    server = net.listen(str(tmp_path / "socket"))
    sock = net.open(server)
    reports: list[int] = []

    def child() -> None:
        status = 1
        try:
            server.close()
            server.stop()
            server.close()
            status = 0
        finally:
            os._exit(status)

    def fork(*args: object) -> None:
        if busy:
            server.met[0].send(bytes(1024 * KIB))
        pid = os.fork()
        if not pid:
            child()
        reports.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    server.do["onmessage"] = fork
    if inside:
        sock.send(masked(TEXT, b"fork"))
        net.until(server, lambda: reports)
    else:
        fork()
    assert reports == [0]
    server.do["onmessage"] = Connection.send
    sock.send(masked(TEXT, b"alive"))
    received = bytearray()

    def echoed() -> bool:
        received.extend(net.peek(sock))
        if received:
            try:
                sock.recv(65536)
            except BlockingIOError:
                return False
        return received.endswith(b"\x81\x05alive")

    net.until(server, echoed)
    net.open(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_gracefully(number: int) -> None:
    script = (
        "from reactor import Server\n"
        "server = Server(('127.0.0.1', 0), onclose=lambda client, code, reason: print(code))\n"
        "print(server.addresses[0][1], flush=True)\n"
        "server.run()\n"
        "print('returned', flush=True)\n"
    )
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(UPGRADE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            process.send_signal(number)
            assert sock.recv(4) == b"\x88\x02\x03\xe9"
            sock.sendall(close_frame(1001))
            assert sock.recv(1) == b""
        output, errors = process.communicate(timeout=20)
    assert output.splitlines() == ["1001", "returned"]
    assert complaints(errors) == ""
    assert process.returncode == 0


def test_who_cannot_be_watched_is_refused_and_the_others_live(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = in_memory()
    peer = visit(server)
    selector: Any = server.reactor._selector
    with monkeypatch.context() as full:

        def refuse(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        full.setattr(selector, "register", refuse)
        refused = visit(server)
        assert (refused.response, refused.sock.closed) == (b"", True)
    assert "cannot be watched" in caplog.text
    peer.ping(b"still here")
    assert peer.pongs == [b"still here"]
    assert visit(server).response.startswith(b"HTTP/1.1 101 ")
    server.close()
    server.reactor.close()


def test_an_address_that_cannot_be_bound_leaves_a_shared_reactor_as_it_was(net: Net) -> None:
    taken = net.listen().addresses[0]
    with Reactor() as reactor:
        with pytest.raises(OSError, match="in use"):
            Server(taken, reactor=reactor)
        assert not reactor.closed
        reactor.step(0)


# ---- TLS ----


@pytest.mark.parametrize("context", ["server.pem", True, ssl.PROTOCOL_TLS_SERVER])
def test_what_is_no_context_is_a_type_error(context: Any) -> None:
    with pytest.raises(TypeError, match=r"tls=.+, not an ssl\.SSLContext"):
        Server(("127.0.0.1", 0), tls=context)
    gc.collect()


def test_a_context_that_would_fail_all_handshakes_does_not_replace_one() -> None:
    server = in_memory()
    assert server.tls is None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls = context
    with pytest.raises(ValueError, match=r"a context for clients"):
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(TypeError):
        server.tls = "server.pem"  # type: ignore[assignment]
    assert server.tls is context
    server.tls = None
    assert server.tls is None
    server.reactor.close()


class Dialed(threading.Thread):
    """A client in TLS, which blocks, and so needs a thread of its own beside the server's."""

    def __init__(self, address: Any, context: ssl.SSLContext) -> None:
        super().__init__()
        self.address = address
        self.context = context
        self.certificate: Any = None
        self.answer = b""
        self.start()

    def ended(self) -> bool:
        return not self.is_alive()

    def run(self) -> None:
        with (
            socket.create_connection(self.address, 20) as sock,
            self.context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            self.certificate = tls.getpeercert()
            tls.sendall(UPGRADE + masked(TEXT, b"hello"))
            while not self.answer.endswith(b"\x81\x05hello"):
                self.answer += tls.recv(4096) or b"\x81\x05hello"
            tls.sendall(close_frame(1000))
            while tls.recv(4096):
                pass


def test_the_certificate_is_replaced_while_the_server_runs(net: Net, tmp_path: Path) -> None:
    server = net.listen(tls=certificates.server_context(), do={"onmessage": Connection.send})
    trusting = certificates.client_context()
    for renewed in (None, "one.example", "two.example"):
        if renewed == "one.example":
            files = certificates.files(tmp_path, "localhost", renewed)
            assert server.tls is not None
            server.tls.load_cert_chain(files.certificate, files.key)
        elif renewed == "two.example":
            server.tls = certificates.server_context("localhost", renewed)
        dialed = Dialed(server.addresses[0], trusting)
        net.until(server, dialed.ended)
        dialed.join()
        assert dialed.answer.startswith(b"HTTP/1.1 101 ")
        newest = dialed.certificate["subjectAltName"][-1]
        assert renewed is None or newest == ("DNS", renewed)
    assert server.messages() == ["hello"] * 3
    net.until(server, lambda: len(server.ends()) == 3)
    assert server.ends() == [(1000, "")] * 3


def test_clients_that_stall_in_the_tls_handshake_do_not_hold_up_the_others(net: Net) -> None:
    server = net.listen(
        tls=certificates.server_context(),
        do={"onmessage": Connection.send},
        max_pending_handshakes=50,
    )
    for _ in range(40):
        net.connect(server).send(b"\x16\x03\x01")
    net.until(server, lambda: len(server._openings) == 40)
    dialed = Dialed(server.addresses[0], certificates.client_context())
    net.until(server, dialed.ended)
    assert dialed.answer.startswith(b"HTTP/1.1 101 ")
    server.stop()
    net.until(server, lambda: not server._openings)


# ---- behind a proxy ----


def test_trusted_proxies_are_given_as_a_list_or_with_the_field_that_they_write() -> None:
    proxies = TrustedProxies(["127.0.0.1"], "Forwarded")
    with Reactor(selector=MemorySelector()) as loop:
        assert Server(reactor=loop, trusted_proxies=proxies).trusted_proxies is proxies
        found = Server(reactor=loop, trusted_proxies=["127.0.0.1", "unix"]).trusted_proxies
        assert found is not None
        assert found.trusts("")
        assert found.trusts(("127.0.0.1", 1))
        assert not found.trusts(("127.0.0.2", 1))
        assert Server(reactor=loop).trusted_proxies is None
    with pytest.raises(TypeError, match="one str"):
        Server(trusted_proxies="127.0.0.1")
    gc.collect()


def test_behind_a_proxy_on_a_unix_socket_the_client_is_where_the_proxy_says(
    net: Net, tmp_path: Path
) -> None:
    server = net.listen(str(tmp_path / "socket"), trusted_proxies=["unix"])
    sock = net.connect(server)
    sock.send(UPGRADE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"))
    net.until(server, lambda: server.met)
    assert server.met[0].address == ("192.0.2.7", 0)


# ---- adopt ----


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), 20)
        return ours, listener.accept()[0]


@pytest.fixture(params=["unix", "TCP"])
def pair(net: Net, request: pytest.FixtureRequest) -> tuple[socket.socket, socket.socket]:
    ours, theirs = tcp_pair() if request.param == "TCP" else socket.socketpair()
    net.sockets += [ours, theirs]
    ours.setblocking(False)
    return ours, theirs


@pytest.mark.parametrize("cut", [0, 1, 30, -1, None])
def test_a_connected_socket_is_adopted_with_what_was_read_of_its_request(
    net: Net, pair: tuple[socket.socket, socket.socket], cut: int | None
) -> None:
    server = net.listen(None, do={"onmessage": Connection.send})
    ours, theirs = pair
    data = UPGRADE + masked(TEXT, b"hello")
    if cut is not None:
        ours.send(data[cut:])
    address = ours.getsockname()
    server.adopt(theirs, data[:cut])
    assert server.names() == []
    net.until(server, server.messages)
    assert server.met[0].address == address
    assert ours.recv(4096).endswith(b"\r\n\r\n\x81\x05hello")


def test_the_head_of_an_adopted_socket_is_the_givers_to_change(
    net: Net, pair: tuple[socket.socket, socket.socket]
) -> None:
    server = net.listen(None)
    ours, theirs = pair
    head: Any = bytearray(UPGRADE)
    server.adopt(theirs, head)
    head[:] = b"something else"
    net.until(server, lambda: server.met)
    assert ours.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_a_head_that_is_not_bytes_is_refused_and_the_caller_keeps_the_socket(
    net: Net, pair: tuple[socket.socket, socket.socket]
) -> None:
    server = net.listen(None)
    head: Any = UPGRADE.decode()
    with pytest.raises(TypeError):
        server.adopt(pair[1], head)
    assert pair[1].fileno() >= 0
    assert not server._openings


def test_an_adopted_tcp_connection_sends_without_delay(net: Net) -> None:
    server = net.listen(None)
    ours, theirs = tcp_pair()
    net.sockets.append(ours)
    server.adopt(theirs)
    assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert theirs.gettimeout() == 0


def test_what_an_adopted_socket_asks_for_wrongly_is_answered(
    net: Net, pair: tuple[socket.socket, socket.socket]
) -> None:
    server = net.listen(None)
    ours, theirs = pair
    server.adopt(theirs, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    net.until(server, lambda: net.peek(ours))
    assert ours.recv(4096).startswith(b"HTTP/1.1 426 ")


def test_an_adopted_socket_has_as_long_as_any_for_its_request(net: Net) -> None:
    clock = FakeClock()
    server = net.listen(None, reactor=Reactor(clock=clock), handshake_timeout=5)
    ours, theirs = socket.socketpair()
    net.sockets.append(ours)
    server.adopt(theirs)
    clock.advance(5)
    net.until(server, lambda: not server._openings)
    assert theirs.fileno() == -1


def test_a_proxy_that_is_trusted_is_believed_on_an_adopted_socket(net: Net) -> None:
    server = net.listen(None, trusted_proxies=["unix"], proxy_protocol=True)
    ours, theirs = socket.socketpair()
    net.sockets.append(ours)
    head = UPGRADE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
    server.adopt(theirs, head)
    net.until(server, lambda: server.met)
    assert server.met[0].address == ("192.0.2.7", 0)


def test_a_server_that_has_stopped_adopts_nothing_and_the_caller_keeps_the_socket(
    net: Net, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    stopped, closed = net.listen(None), net.listen(None)
    stopped.stop()
    closed.reactor.close()
    for server in (stopped, closed):
        with pytest.raises(InvalidState, match="has stopped"):
            server.adopt(theirs, UPGRADE)
    theirs.send(b"still ours")
    assert ours.recv(100) == b"still ours"


def test_a_socket_of_ssl_is_not_adopted_and_the_caller_keeps_it(net: Net) -> None:
    server = net.listen(None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours, theirs = tcp_pair()
    net.sockets.append(ours)
    with context.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False) as tls:
        with pytest.raises(TypeError, match="ssl"):
            server.adopt(tls)
        assert tls.fileno() >= 0
    assert not server._openings


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_socket_that_is_not_connected_is_not_adopted_and_the_caller_keeps_it(
    net: Net, family: int
) -> None:
    server = net.listen(None)
    with socket.socket(family) as sock:
        with pytest.raises(OSError, match=r"not connected"):
            server.adopt(sock, UPGRADE)
        assert sock.fileno() >= 0
        assert sock.gettimeout() is None
    assert not server._openings


def test_a_socket_whose_peer_has_left_is_adopted_and_forgotten(
    net: Net, pair: tuple[socket.socket, socket.socket]
) -> None:
    server = net.listen(None)
    ours, theirs = pair
    ours.close()
    server.adopt(theirs, UPGRADE[:10])
    net.until(server, lambda: not server._openings)
    assert theirs.fileno() == -1


def test_another_thread_cannot_adopt_and_keeps_the_socket(net: Net) -> None:
    server = net.listen(None)
    ours, theirs = socket.socketpair()
    net.sockets += [ours, theirs]
    raised: list[Exception] = []

    def adopt() -> None:
        try:
            server.adopt(theirs, UPGRADE)
        except RuntimeError as error:
            raised.append(error)

    def from_elsewhere() -> None:
        thread = threading.Thread(target=adopt)
        thread.start()
        thread.join()

    server.reactor.call_soon(from_elsewhere)
    server.reactor.step(0)
    assert "thread" in str(raised[0])
    assert not server._openings
    server.close()
    assert theirs.fileno() >= 0


def test_the_limits_count_who_is_adopted_and_hold_up_only_the_listeners(net: Net) -> None:
    clock = FakeClock()
    server = net.listen(
        max_pending_handshakes=3, max_connections=4, reactor=Reactor(clock=clock)
    )
    pairs = [socket.socketpair() for _ in range(6)]
    net.sockets += [ours for ours, _ in pairs]
    for _, theirs in pairs:
        server.adopt(theirs, UPGRADE)
    assert len(server._openings) == 6, "all of them are young"
    waiting = net.connect(server)
    waiting.send(UPGRADE)
    for _ in range(20):
        server.reactor.step(0)
    assert len(server.clients) == 6
    assert net.peek(waiting) == b""
    for ours, _ in pairs[:3]:
        ours.close()
    net.until(server, lambda: net.peek(waiting))
    assert len(server.clients) == 4


def test_at_the_limit_of_handshakes_who_is_adopted_takes_the_place_of_the_slow(
    net: Net,
) -> None:
    clock = FakeClock()
    server = net.listen(None, max_pending_handshakes=2, reactor=Reactor(clock=clock))
    pairs = [socket.socketpair() for _ in range(5)]
    net.sockets += [ours for ours, _ in pairs]
    for _, theirs in pairs[:4]:
        server.adopt(theirs)
    clock.advance(1)
    server.reactor.step(0)
    server.adopt(pairs[4][1])
    for _ in range(3):
        server.reactor.step(0)
    assert [theirs.fileno() >= 0 for _, theirs in pairs] == [False, False, False, True, True]


class Giving(http.server.BaseHTTPRequestHandler):
    """Answers pages itself, and gives requests for a WebSocket away."""

    protocol_version = "HTTP/1.1"
    server: Any
    rfile: Any

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"page")
            return
        self.close_connection = True
        self.connection.setblocking(False)
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"{self.requestline}\r\n{fields}\r\n".encode("latin-1") + self.rfile.peek()
        sock = socket.socket(fileno=self.connection.detach())
        taker: Server = self.server.taker
        taker.reactor.call_soon_threadsafe(taker.adopt, sock, head)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http_server(taker: Server) -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Giving) as giver:
        giver.taker = taker  # type: ignore[attr-defined]
        thread = threading.Thread(target=giver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield giver.server_address
        finally:
            giver.shutdown()
            thread.join()


def test_an_http_server_in_a_thread_gives_its_sockets_away(net: Net) -> None:
    taker = net.listen(None, do={"onmessage": Connection.send})
    with http_server(taker) as address:
        for _ in range(3):
            sock = socket.create_connection(address, 20)
            net.sockets.append(sock)
            # The second request of the connection, with frames right behind it.
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            page = b""
            while not page.endswith(b"page"):
                page += sock.recv(4096)
            sock.sendall(UPGRADE + masked(TEXT, b"hello") + masked(TEXT, b"again"))
            net.until(taker, lambda: taker.messages() == ["hello", "again"])
            sock.sendall(masked(TEXT, b"later"))
            net.until(taker, lambda: taker.messages() == ["hello", "again", "later"])
            taker.log.clear()
            answer = b""
            while not answer.endswith(b"later"):
                answer += sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert answer.endswith(b"\x81\x05hello\x81\x05again\x81\x05later")
    assert [client.address for client in taker.met] == [
        sock.getsockname() for sock in net.sockets
    ]


# ---- abort, and the end of the reactor ----


def test_abort_drops_everything_and_tells_in_the_next_step(net: Net) -> None:
    server = net.listen()
    opened, pending = net.open(server), net.connect(server)
    net.until(server, lambda: server._openings)
    server.abort()
    server.abort()
    assert server.stopping
    assert server.ends() == []
    server.reactor.step(0)
    assert server.ends() == [(1006, "")]
    assert server.clients == set()
    assert not server._openings
    assert not server.reactor.closed
    net.until(server, lambda: net.ended(opened))
    net.until(server, lambda: net.ended(pending))


def test_abort_ends_run(net: Net) -> None:
    server: Recorder = net.listen(do={"onmessage": lambda client, message: server.abort()})
    sock = net.open(server)
    sock.send(masked(TEXT, b"now"))
    server.run()
    assert server.ends() == [(1006, "")]
    assert server.reactor.closed


def test_abort_after_the_end_of_the_reactor_does_nothing(net: Net) -> None:
    server = net.listen()
    server.reactor.close()
    server.abort()
    assert not server.clients


def test_the_end_of_the_reactor_drains_what_had_come_to_all_its_servers() -> None:
    reactor = Reactor(selector=MemorySelector(), clock=FakeClock())
    one, two = Recorder(reactor=reactor), Recorder(reactor=reactor)
    for server in (one, two):
        visit(server).write(masked(TEXT, b"last words"))
    reactor.close()
    for server in (one, two):
        assert server.ends() == [(1006, "")]
        assert server.stopping
        assert server.clients == set()
    assert reactor.closed


def test_an_onclose_that_sends_closes_and_adopts_while_all_ends_does_no_harm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = in_memory()
    ours, theirs = socket.socketpair()

    def busy(client: Connection, code: int, reason: str) -> None:
        assert client.send("too late") is False
        server.broadcast("too late")
        client.close()
        client.abort()
        server.close()
        server.adopt(theirs)

    server.do["onclose"] = busy
    for _ in range(3):
        visit(server)
    server.reactor.close()
    assert server.ends() == [(1006, "")] * 3
    assert caplog.text.count("reactor.errors.InvalidState") == 3
    with ours, theirs:
        assert theirs.fileno() >= 0


def test_a_client_in_tls_is_dropped_by_the_end_of_the_reactor_and_told(net: Net) -> None:
    server = net.listen(tls=certificates.server_context())

    class Held(Dialed):
        def run(self) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                super().run()

    dialed = Held(server.addresses[0], certificates.client_context())
    net.until(server, server.messages)
    server.reactor.close()
    dialed.join()
    assert server.ends() == [(1006, "")]
    assert dialed.answer.startswith(b"HTTP/1.1 101 ")


# ---- stats ----


def test_a_server_knows_what_its_connections_have_carried() -> None:
    with meet() as peer:
        assert peer.server.stats().connections == 1
        peer.send("hello")
        stats = peer.server.stats()
        assert (stats.messages_received, stats.messages_sent) == (1, 0)
        assert stats.bytes_received > len("hello")
        opening = Peer(peer.server, peer.clock, headers={"Upgrade": "nothing"})
        assert peer.server.stats().openings in (0, 1)
        opening.disconnect()
