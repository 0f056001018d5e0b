"""`reactor/upgrade.py`: one socket becomes a WebSocket, and what comes and goes there."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    Codec,
    ConnectionClosed,
    Extension,
    Frame,
    HandshakeError,
    InvalidState,
    Opcode,
    ProtocolError,
    Reactor,
    Response,
)
from reactor.loop.stepped import Patience
from reactor.protocol.handshake import SAME_HOST, Request
from reactor.terms import Terms
from reactor.upgrade import Upgrade
from tests import certificates
from tests.byhand import PATIENCE, Raw, request
from tests.protocol.wire import masked, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., "Wire"]

KIB, MIB = 1024, 1024 * 1024
TEXT = Frame(Opcode.TEXT, b"hello")
CLOSE = Frame(Opcode.CLOSE, b"\x03\xe8")


def terms(**options: Any) -> Terms:
    given: dict[str, Any] = {
        "location": "/",
        "origin": None,
        "subprotocols": (),
        "extensions": (),
        "headers": (),
        "auth": None,
        "origins": SAME_HOST,
        "locations": None,
        "onrequest": None,
    }
    chosen = {name: options.pop(name) for name in given if name in options}
    return Terms(**{**given, **chosen}, settings=options)


class Wire:
    """One end of a pair of sockets is to become a WebSocket; the test holds the other."""

    def __init__(
        self, *, client: bool = False, stays: bool = True, shared: bool = False, **options: Any
    ) -> None:
        ours, theirs = socket.socketpair()
        self.client = client
        self.reactor = Reactor()
        self.raw = Raw(theirs)
        self.keeper = ours.makefile("rb", buffering=0)
        tls = options.pop("tls", None)
        asked = terms(**options)
        if tls is not None:
            asked.enable_tls(tls, "localhost")
        self.upgrade = Upgrade(self.reactor, asked, shared=shared)
        if client:
            self.upgrade.ask(ours, "", asked.wish(""), stays=stays)
        else:
            self.upgrade.accept(ours, "")

    def finish(self, timeout: float | None = PATIENCE) -> Upgrade:
        self.upgrade.finish(Patience(timeout))
        return self.upgrade

    def open(self, more: str = "", behind: bytes = b"") -> Wire:
        """Do the handshake, as the other end."""
        if self.client:
            self.raw.accept(more, behind)
            self.finish()
        else:
            self.raw.send(request(more=more) + behind)
            self.finish()
            self.raw.head()
        return self

    def say(self, head: int, payload: bytes = b"") -> None:
        """Send a frame from the other end."""
        self.raw.send((unmasked if self.client else masked)(head, payload))

    def receive(self, timeout: float | None = PATIENCE) -> Frame:
        return self.upgrade.receive(Patience(timeout))

    def send(self, *frames: Frame, timeout: float | None = PATIENCE) -> None:
        self.upgrade.send(frames, Patience(timeout))

    def flush(self, timeout: float | None = PATIENCE) -> bool:
        return self.upgrade.flush(Patience(timeout))

    @property
    def pending(self) -> int:
        return self.upgrade.transport.buffered

    def fill(self) -> int:
        """Send until the system takes no more, without waiting; return the bytes sent."""
        sent = 0
        while not self.pending:
            self.send(Frame(Opcode.BINARY, bytes(64 * KIB)), timeout=0)
            sent += 64 * KIB
        return sent

    def close(self) -> None:
        self.upgrade.close()
        self.reactor.close()
        self.keeper.close()
        self.raw.sock.close()


@pytest.fixture
def make() -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Wire:
            wire = Wire(**options)
            stack.callback(wire.close)
            return wire

        yield make


@pytest.fixture(params=[False, True], ids=["server", "client"])
def either(request: pytest.FixtureRequest, make: Make) -> Make:
    """Make one of either role."""

    def make_either(**options: Any) -> Wire:
        return make(client=request.param, **options)

    return make_either


# ---- the handshake, as a server ----


def test_a_request_is_accepted_and_what_came_behind_it_kept(make: Make) -> None:
    wire = make(subprotocols=["v2", "v1"], locations=["/chat"])
    wire.raw.send(request("/chat", "Sec-WebSocket-Protocol: v1\r\n") + masked(0x81, b"hello"))
    upgrade = wire.finish()
    assert b"\r\nSec-WebSocket-Protocol: v1" in wire.raw.head()
    assert upgrade.opened.request.path == "/chat"
    assert upgrade.opened.subprotocol == "v1"
    assert upgrade.opened.is_client is upgrade.is_client is False
    assert upgrade.response is None
    assert wire.receive() == TEXT


@pytest.mark.parametrize(
    ("data", "options", "status"),
    [
        (b"nonsense\r\n\r\n", {}, 400),
        (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", {}, 426),
        (request("/nowhere"), {"locations": ["/chat"]}, 404),
        (request(more="Origin: https://evil.example\r\n"), {}, 403),
    ],
)
def test_a_request_that_is_refused_is_answered_and_raised(
    make: Make, data: bytes, options: dict[str, Any], status: int
) -> None:
    for timeout in (0, PATIENCE):
        wire = make(**options)
        wire.raw.send(data)
        wire.raw.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(HandshakeError) as error:
            wire.finish(timeout)
        assert error.value.status == status
        assert wire.raw.head().startswith(b"HTTP/1.1 %d " % status)
        with pytest.raises(HandshakeError):
            wire.finish(timeout)


def test_a_client_that_is_refused_and_stays_is_waited_for_no_longer_than_allowed(
    make: Make,
) -> None:
    wire = make()
    wire.raw.send(b"nonsense\r\n\r\n")
    with pytest.raises(HandshakeError):
        wire.finish(0.01)
    assert not wire.upgrade.over
    wire.raw.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(HandshakeError):
        wire.finish(None)
    assert wire.upgrade.over


def test_the_user_may_be_asked(make: Make) -> None:
    asked: list[str] = []

    def onrequest(request: Request) -> Any:
        asked.append(request.path)
        return Response(401, {"WWW-Authenticate": "Basic"}) if request.path == "/no" else None

    make(onrequest=onrequest).open()
    wire = make(onrequest=onrequest)
    wire.raw.send(request("/no"))
    with pytest.raises(HandshakeError, match="answered by onrequest") as error:
        wire.finish(0)
    assert error.value.status == 401
    assert asked == ["/", "/no"]


def test_a_client_that_leaves_in_the_handshake_is_an_error_of_the_handshake(
    make: Make,
) -> None:
    wire = make()
    wire.raw.send(b"GET / HT")
    wire.raw.sock.close()
    with pytest.raises(HandshakeError, match="has left") as error:
        wire.finish()
    assert error.value.status == 0


def test_a_client_that_says_nothing_is_an_error_of_the_handshake(make: Make) -> None:
    with pytest.raises(HandshakeError, match="no request came in time"):
        make(handshake_timeout=0.01).finish()
    wire = make(handshake_timeout=0.01)
    wire.raw.send(b"GET / HT")
    with pytest.raises(HandshakeError, match="did not come in time") as error:
        wire.finish()
    assert error.value.status == 408


def test_no_tls_from_the_client_is_an_error_of_the_handshake(make: Make) -> None:
    for data, status in ((b"SSH-2.0-x\r\n", 0), (request(), 400)):
        wire = make(tls=certificates.server_context())
        wire.raw.send(data)
        wire.raw.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(HandshakeError, match=r"no TLS|with TLS") as error:
            wire.finish()
        assert error.value.status == status


def test_a_handshake_goes_on_from_call_to_call(make: Make) -> None:
    wire = make()
    for part in (request()[:50], request()[50:-1]):
        wire.raw.send(part)
        for timeout, error in ((0, BlockingIOError), (0.001, TimeoutError)):
            with pytest.raises(error):
                wire.finish(timeout)
    wire.raw.send(request()[-1:])
    wire.finish(0)
    wire.finish(0)


# ---- the handshake, as a client ----


def test_a_client_asks_and_keeps_what_comes_behind_the_response(make: Make) -> None:
    wire = make(client=True, subprotocols=["v1"], location="/chat", headers={"X": "y"})
    head = wire.raw.accept("Sec-WebSocket-Protocol: v1\r\n", unmasked(0x81, b"hello"))
    assert head.startswith(b"GET /chat HTTP/1.1\r\nHost: localhost\r\n")
    assert b"\r\nX: y" in head
    upgrade = wire.finish()
    assert upgrade.opened.subprotocol == "v1"
    assert upgrade.opened.is_client is upgrade.is_client is True
    assert upgrade.response is not None
    assert upgrade.response.status == 101
    assert wire.receive() == TEXT


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302),
        (
            b'HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm="x"\r\n'
            b"Content-Length: 0\r\n\r\n",
            401,
        ),
        (b"SSH-2.0-x\r\n\r\n", 0),
    ],
)
def test_a_client_that_stays_takes_no_for_an_answer(
    make: Make, answer: bytes, status: int
) -> None:
    wire = make(client=True, auth=("user", "password"))
    wire.raw.head()
    wire.raw.send(answer)
    for _ in range(2):
        with pytest.raises(HandshakeError) as error:
            wire.finish()
        assert error.value.status == status


def test_a_server_that_leaves_is_an_error_of_the_system(make: Make) -> None:
    wire = make(client=True)
    wire.raw.head()
    wire.raw.sock.close()
    with pytest.raises(ConnectionResetError):
        wire.finish()


def test_a_server_that_does_not_answer_has_its_deadline(make: Make) -> None:
    with pytest.raises(TimeoutError, match="no connection after"):
        make(client=True, handshake_timeout=0.01).finish()


def test_a_client_that_may_move_is_another_socket_afterwards(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = make(client=True, stays=False)
        before = wire.raw
        before.head()
        port = listening.getsockname()[1]
        before.send(
            b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:%d/\r\n"
            b"Content-Length: 0\r\n\r\n" % port
        )

        def go_on_until_readable(sock: socket.socket) -> None:
            while not select.select([sock], [], [], 0)[0]:
                with pytest.raises(TimeoutError):
                    wire.finish(0.01)

        go_on_until_readable(listening)
        wire.raw = Raw(listening.accept()[0])
        go_on_until_readable(wire.raw.sock)
        before.sock.close()
        wire.open()
        assert wire.upgrade.sock.getpeername() == ("127.0.0.1", port)
        wire.say(0x81, b"hello")
        assert wire.receive() == TEXT


# ---- TLS ----


def secure(make: Make) -> Wire:
    """Return a server whose client is one of `ssl`, after their handshakes."""
    wire = make(tls=certificates.server_context())
    tls = certificates.client_context().wrap_socket(
        wire.raw.sock, server_hostname="localhost", do_handshake_on_connect=False
    )
    tls.setblocking(False)
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            wire.finish(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
    wire.raw = Raw(tls)
    return wire.open()


def test_frames_come_and_go_over_tls(make: Make) -> None:
    wire = secure(make)
    assert wire.upgrade.transport.tls is not None
    assert wire.upgrade.sock.fileno() == wire.keeper.fileno()
    wire.raw.send(masked(0x81, b"hello"))
    assert wire.receive() == TEXT
    wire.send(TEXT)
    assert wire.raw.frame() == (0x81, False, b"hello")


def test_what_is_dropped_over_tls_says_so(make: Make) -> None:
    wire = secure(make)
    wire.upgrade.close()
    wire.keeper.close()
    # Without a close_notify this would raise.
    assert wire.raw.rest() == b""


# ---- frames ----


def test_frames_go_out_as_they_are_and_a_clients_masked(either: Make) -> None:
    wire = either().open()
    wire.send(TEXT, Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.PING), Frame(0, b"b"))
    wire.send()
    expected = [(0x81, b"hello"), (0x01, b"a"), (0x89, b""), (0x80, b"b")]
    assert [wire.raw.frame() for _ in range(4)] == [
        (head, wire.client, payload) for head, payload in expected
    ]


def test_frames_come_in_one_at_a_time(either: Make) -> None:
    wire = either().open()
    for head, payload in ((0x01, b"a"), (0x89, b""), (0x80, b"b"), (0x88, b"")):
        wire.say(head, payload)
    heads = [wire.receive().head for _ in range(4)]
    assert heads == [0x01, 0x89, 0x80, 0x88]


def test_who_receives_waits_as_long_as_it_may(either: Make) -> None:
    wire = either().open()
    for timeout, error in ((0, BlockingIOError), (0.01, TimeoutError)):
        with pytest.raises(error):
            wire.receive(timeout)
    wire.reactor.call_later(0.01, wire.say, 0x81, b"hello")
    assert wire.receive(None) == TEXT


def test_behind_the_close_of_the_peer_there_is_the_end(either: Make) -> None:
    wire = either().open()
    wire.say(0x88, b"\x03\xe9bye")
    wire.say(0x81, b"more")
    assert wire.receive().opcode == Opcode.CLOSE
    for _ in range(2):
        with pytest.raises(ConnectionClosed, match="bye") as error:
            wire.receive()
        assert (error.value.code, error.value.reason) == (1001, "bye")
    wire.send(CLOSE)
    assert wire.raw.frame()[0] == 0x88


def test_an_end_without_a_close_is_1006(either: Make) -> None:
    wire = either().open()
    wire.say(0x81, b"hello")
    wire.raw.send(b"\x81")
    wire.raw.sock.close()
    assert wire.receive() == TEXT
    with pytest.raises(ConnectionClosed) as error:
        wire.receive(0)
    assert (error.value.code, error.value.reason) == (1006, "")
    with pytest.raises(ConnectionClosed):
        wire.send(TEXT)
    with pytest.raises(ConnectionClosed):
        wire.flush()


def test_a_violation_is_raised_and_told_to_the_peer(either: Make) -> None:
    wire = either().open()
    wire.say(0x81, b"hello")
    wire.say(0xF1, b"wrong")
    wire.say(0x81, b"more")
    assert wire.receive() == TEXT
    with pytest.raises(ProtocolError) as error:
        wire.receive()
    assert error.value.code == 1002
    head, is_masked, payload = wire.raw.frame()
    assert (head, is_masked, payload[:2]) == (0x88, wire.client, b"\x03\xea")
    with pytest.raises(ConnectionClosed) as end:
        wire.receive()
    assert end.value.code == 1002
    with pytest.raises(InvalidState):
        wire.send(TEXT)


def test_a_violation_behind_our_close_needs_no_other(either: Make) -> None:
    wire = either().open()
    wire.send(CLOSE)
    wire.say(0xF1)
    with pytest.raises(ProtocolError):
        wire.receive()
    wire.upgrade.close()
    wire.keeper.close()
    assert wire.raw.frame()[0] == 0x88
    assert wire.raw.rest() == b""


def test_a_server_that_fails_the_connection_ends_it_and_a_client_waits_for_that(
    either: Make,
) -> None:
    wire = either().open()
    wire.say(0xF1)
    with pytest.raises(ProtocolError):
        wire.receive()
    wire.raw.frame()
    wire.raw.sock.settimeout(0)
    if wire.client:
        with pytest.raises(BlockingIOError):
            wire.raw.sock.recv(1)
    else:
        assert wire.raw.sock.recv(1) == b""


# ---- what the peer does not take ----


def test_who_does_not_wait_has_the_rest_pending(either: Make) -> None:
    wire = either().open()
    large = Frame(Opcode.BINARY, bytes(5 * MIB))
    wire.send(large, timeout=0)
    assert 0 < wire.pending < 5 * MIB
    assert not wire.flush(0)
    received = b""
    while not wire.flush(0):
        received += wire.raw.sock.recv(MIB)
    assert wire.flush(0)
    assert wire.pending == 0
    wire.raw.data = received
    head, _, payload = wire.raw.frame()
    assert (head, payload) == (0x82, large.payload)


def test_over_the_limit_nothing_is_sent(either: Make) -> None:
    wire = either(max_write_queue=200 * KIB).open()
    wire.fill()
    before = wire.pending
    for timeout in (0, 0.01):
        with pytest.raises(BlockingIOError):
            wire.send(Frame(Opcode.BINARY, bytes(190 * KIB)), timeout=timeout)
    assert wire.pending == before
    # Within it, everything is.
    with pytest.raises(TimeoutError):
        wire.send(TEXT, timeout=0.01)
    assert wire.pending > before
    with pytest.raises(TimeoutError):
        wire.flush(0.01)
    while not wire.flush(0):
        wire.raw.sock.recv(MIB)
    wire.send(Frame(Opcode.PONG), timeout=0)


def test_who_waits_goes_on_when_the_peer_does(either: Make) -> None:
    wire = either(max_write_queue=200 * KIB).open()
    wire.fill()

    def take() -> None:
        wire.raw.data += wire.raw.sock.recv(MIB)
        if wire.pending:
            wire.reactor.call_later(0.001, take)

    wire.reactor.call_soon(take)
    wire.send(Frame(Opcode.BINARY, bytes(200 * KIB)), timeout=None)
    assert wire.pending == 0


def test_while_it_sends_the_end_of_the_peer_is_not_seen(either: Make) -> None:
    wire = either().open()
    sent = wire.fill()
    wire.say(0x88)
    wire.raw.sock.shutdown(socket.SHUT_WR)
    taken = 0

    def take() -> None:
        nonlocal taken
        taken += len(wire.raw.sock.recv(MIB))
        if wire.pending:
            wire.reactor.call_later(0.001, take)

    wire.reactor.call_soon(take)
    assert wire.flush()
    while taken < sent:
        taken += len(wire.raw.sock.recv(MIB))
    assert wire.receive().opcode == Opcode.CLOSE


def test_who_sends_to_somebody_gone_is_told_and_what_that_had_sent_is_there(
    either: Make,
) -> None:
    for fill in (False, True):
        wire = either().open()
        wire.say(0x81, b"hello")
        if fill:
            wire.fill()
        wire.raw.sock.close()
        with pytest.raises(ConnectionClosed) as error:
            wire.flush() if fill else wire.send(TEXT)
        assert error.value.code == 1006
        assert isinstance(error.value.__cause__, OSError)
        assert wire.receive() == TEXT
        with pytest.raises(ConnectionClosed):
            wire.receive()


# ---- extensions ----


class Own(Extension):
    """Claims an opcode, of which each frame is answered with a large one."""

    name = "own"
    opcodes = (3,)

    def __init__(self, codec: type[Codec]) -> None:
        self.codec = codec

    def answer(self, offer: Any) -> Any:
        return (), self.codec()

    def agree(self, answer: Any) -> Codec:
        return self.codec()


class Answering(Codec):
    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        if frame.opcode == 3:
            self.send_frame(Frame(3, bytes(100 * KIB)))
            return None
        return frame

    def encode_frame(self, frame: Frame) -> Frame:
        if frame.payload == b"bad":
            raise ZeroDivisionError
        return frame


def extended(make: Make, **options: Any) -> Wire:
    wire = make(extensions=[Own(Answering)], **options)
    return wire.open("Sec-WebSocket-Extensions: own\r\n")


def test_an_extension_may_answer_by_itself_but_not_without_end(either: Make) -> None:
    wire = extended(either, max_write_queue=300 * KIB)
    assert [codec.extension.name for codec in wire.upgrade.opened.codecs] == ["own"]
    wire.say(0x83)
    wire.say(0x81, b"hello")
    assert wire.receive() == TEXT
    head, is_masked, payload = wire.raw.frame()
    assert (head, is_masked, payload) == (0x83, wire.client, bytes(100 * KIB))
    # In one piece, since a unix socket has no room for many small ones.
    wire.raw.send((masked if not wire.client else unmasked)(0x83) * 100)
    with pytest.raises(ProtocolError) as error:
        wire.receive()
    assert error.value.code == 1011
    assert wire.pending <= 300 * KIB + 200


def test_an_extension_that_fails_while_it_sends_fails_the_connection(either: Make) -> None:
    wire = extended(either)
    with pytest.raises(ProtocolError) as error:
        wire.send(TEXT, Frame(Opcode.TEXT, b"bad"))
    assert error.value.code == 1011
    head, _, payload = wire.raw.frame()
    assert (head, payload[:2]) == (0x88, b"\x03\xf3")


# ---- with others in the reactor ----


def test_nothing_is_received_in_the_steps_of_others(either: Make) -> None:
    wire = either(shared=True).open()
    assert not wire.upgrade.transport.reading
    with pytest.raises(BlockingIOError):
        wire.receive(0)
    wire.say(0x81, b"hello")
    for _ in range(3):
        wire.reactor.step(0)
    assert wire.upgrade.sock.recv(100, socket.MSG_PEEK)
    assert wire.receive(0) == TEXT


def test_with_nobody_else_it_stays_ready_to_receive(either: Make) -> None:
    wire = either().open()
    assert wire.upgrade.transport.reading


# ---- given away, and dropped ----


def test_what_is_given_away_is_all_that_there_is(either: Make) -> None:
    frame = (unmasked if either().client else masked)(0x81, b"hello")
    wire = either().open(behind=frame + frame[:3])
    assert wire.receive() == TEXT
    opened, rest = wire.upgrade.release()
    assert rest == frame[:3]
    assert opened is wire.upgrade.opened
    assert opened.host is wire.upgrade
    assert opened.host.reactor is wire.reactor
    assert not opened.transport.reading
    opened.host.connection_ended(opened)


def test_what_is_in_the_middle_or_at_its_end_is_not_given_away(either: Make) -> None:
    wire = either().open()
    wire.say(0x01, b"a")
    wire.receive()
    with pytest.raises(InvalidState):
        wire.upgrade.release()
    wire = either().open()
    wire.raw.sock.close()
    with pytest.raises(ConnectionClosed):
        wire.receive()
    with pytest.raises(ConnectionClosed):
        wire.upgrade.release()


@pytest.mark.parametrize("is_open", [False, True])
def test_it_can_be_dropped_at_any_time(either: Make, is_open: bool) -> None:
    wire = either()
    if is_open:
        wire.open()
    wire.upgrade.close()
    wire.upgrade.close()
    wire.keeper.close()
    wire.raw.rest()


def test_what_was_never_begun_can_be_dropped() -> None:
    with Reactor() as reactor:
        Upgrade(reactor, terms(), shared=True).close()
