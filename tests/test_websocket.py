"""`reactor/websocket.py`: a socket that sends and receives frames."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import queue
import selectors
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    BasicAuth,
    Codec,
    ConnectionClosed,
    Extension,
    Frame,
    HandshakeError,
    InvalidState,
    MessageTooBig,
    Opcode,
    ProtocolError,
    Request,
    Response,
    WebSocket,
)
from tests import certificates
from tests.byhand import PATIENCE, Raw, request
from tests.programs import module
from tests.protocol.wire import header, masked, unmasked
from tests.scripted import answering, descriptors, free_port, port, response, switching

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from tests.scripted import Net

KIB, MIB = 1024, 1024 * 1024
HELLO = Frame(Opcode.TEXT, b"hello")
CLOSED = os.strerror(errno.EBADF)
APART = os.strerror(errno.ENOTCONN)


class InThread(threading.Thread):
    """Calls a function in a thread, and returns or raises what it does."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.returned: Any = None
        self.raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.returned = self.call()
        except BaseException as error:
            self.raised = error

    def result(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "it does not end"
        if self.raised is not None:
            raise self.raised
        return self.returned


def listen(**options: Any) -> WebSocket:
    """Return one that listens on a free port."""
    listening = WebSocket(**options)
    listening.settimeout(PATIENCE)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


def call(listening: WebSocket, data: bytes = b"") -> Raw:
    """Return a client by hand, which has sent `data`."""
    raw = Raw(socket.create_connection(listening.getsockname()))
    raw.send(data)
    return raw


@contextlib.contextmanager
def accepted(**options: Any) -> Iterator[tuple[WebSocket, Raw]]:
    """Return a server's end, and the client by hand."""
    with listen(**options) as listening, call(listening, request()) as raw:
        one, _ = listening.accept()
        with one:
            raw.head()
            one.settimeout(PATIENCE)
            yield one, raw


def shake(*ends: WebSocket) -> None:
    """Do the handshakes of ends that do not wait."""
    left = list(ends)
    for _ in range(20):
        for end in list(left):
            with contextlib.suppress(BlockingIOError):
                end.do_handshake()
                left.remove(end)
        if not left:
            return
    raise AssertionError("no handshake")


@contextlib.contextmanager
def pair(
    server: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[WebSocket, WebSocket]]:
    """Return a server's and a client's end of the same connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with (
        WebSocket.upgrade(ours, server_side=True, **(server or {})) as here,
        WebSocket.upgrade(theirs, **options) as there,
    ):
        shake(here, there)
        for end in (here, there):
            assert not end.getblocking()
            end.settimeout(PATIENCE)
        yield here, there


# ---- as the documentation has it ----


def test_a_server_and_a_client_by_hand() -> None:
    with WebSocket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(5)

        def visit() -> Any:
            with WebSocket(location="/my/path") as client:
                client.connect(server.getsockname())
                client.send(Frame(Opcode.TEXT, b"Hello, Server!"))
                return client.recv(), client.getsockname()

        visitor = InThread(visit)
        client, address = server.accept()
        with client:
            client.send(Frame(Opcode.TEXT, b"Hello, Client!"))
            assert client.recv() == Frame(Opcode.TEXT, b"Hello, Server!")
            assert client.request is not None
            assert client.request.path == "/my/path"
        assert visitor.result() == (Frame(Opcode.TEXT, b"Hello, Client!"), address)


# ---- to accept ----


def test_who_is_accepted_is_agreed_with_by_the_options_of_the_listening_one() -> None:
    asked: list[Request] = []
    options: dict[str, Any] = {
        "subprotocols": ["v2", "v1"],
        "locations": ["/chat/{room}"],
        "onrequest": asked.append,
        "max_message": 10,
    }
    with listen(**options) as listening:
        data = request("/chat/kitchen", "Sec-WebSocket-Protocol: v1, v2\r\n")
        with call(listening, data + masked(0x82, bytes(11))) as raw:
            one, address = listening.accept()
            with one:
                assert address == raw.sock.getsockname() == one.getpeername()
                assert one.getsockname() == raw.sock.getpeername()
                assert one.subprotocol == "v2"
                assert (one.is_client, one.response, one.tls) == (False, None, None)
                assert (one.codecs, one.extensions, one.pending) == ((), "", 0)
                assert [one.request] == asked
                assert asked[0].params == {"room": "kitchen"}
                with pytest.raises(MessageTooBig):
                    one.recv()


def test_who_is_accepted_has_the_timeout_of_any_new_socket() -> None:
    with accepted() as (one, _):
        pass
    assert one.fileno() == -1
    with listen() as listening, call(listening, request()):
        assert listening.gettimeout() == PATIENCE
        with listening.accept()[0] as one:
            assert one.gettimeout() is None
    socket.setdefaulttimeout(PATIENCE + 1)
    try:
        with listen() as listening, call(listening, request()), listening.accept()[0] as one:
            assert one.gettimeout() == PATIENCE + 1
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (request("/nowhere"), 404),
        (request("/chat", "Origin: https://evil.example\r\n"), 403),
        (request("/secret"), 401),
        (b"", 0),
    ],
)
def test_who_is_refused_is_told_so_and_the_next_is_accepted(data: bytes, status: int) -> None:
    def onrequest(asked: Request) -> Any:
        return Response(401) if asked.path == "/secret" else None

    with listen(locations=["/chat", "/secret"], onrequest=onrequest) as listening:
        before = descriptors()
        with call(listening, data) as raw:
            raw.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(HandshakeError) as error:
                listening.accept()
            assert error.value.status == status
            answer = raw.rest()
            assert answer[9:12] == (b"%d" % status if status else b"")
        assert descriptors() == before
        with call(listening, request("/chat")), listening.accept()[0]:
            pass


def test_pages_of_other_origins_can_be_let_in() -> None:
    data = request(more="Origin: https://friend.example\r\n")
    for origins in (None, ["https://friend.example"]):
        with listen(origins=origins) as listening, call(listening, data):
            listening.accept()[0].close()


def test_nobody_comes_in_time() -> None:
    with listen() as listening:
        listening.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listening.accept()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_handshake_that_takes_too_long_goes_on_in_the_next_call() -> None:
    with listen() as listening, call(listening, request()[:20]) as raw:
        for _ in range(2):
            listening.settimeout(0.01)
            with pytest.raises(TimeoutError):
                listening.accept()
        raw.send(request()[20:] + masked(0x81, b"hello"))
        listening.settimeout(PATIENCE)
        one, address = listening.accept()
        with one:
            assert address == raw.sock.getsockname()
            assert one.recv() == HELLO
    with listen() as listening, call(listening, b"GET") as raw:
        listening.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listening.accept()
        listening.close()
        assert raw.rest() == b""


def test_who_does_not_wait_gets_the_connection_before_its_handshake() -> None:
    with listen() as listening:
        listening.setblocking(False)
        with call(listening) as raw:
            with selectors.DefaultSelector() as selector:
                selector.register(listening, selectors.EVENT_READ)
                assert selector.select(PATIENCE)
            one, _ = listening.accept()
            with one:
                calls: list[Callable[[], Any]] = [
                    one.do_handshake,
                    one.recv,
                    lambda: one.send(HELLO),
                    one.flush,
                    one.release,
                ]
                for each in calls:
                    with pytest.raises(BlockingIOError):
                        each()
                assert repr(one) == f"<WebSocket not open {one.fileno()}>"
                assert one.request is None
                assert one.subprotocol is None
                raw.send(request()[:-1])
                with pytest.raises(BlockingIOError):
                    one.recv()
                raw.send(request()[-1:])
                while True:
                    try:
                        one.send(HELLO)
                        break
                    except BlockingIOError:
                        one.reactor.step(PATIENCE)
                raw.head()
                assert raw.frame() == (0x81, False, b"hello")
                assert repr(one) == f"<WebSocket server {one.fileno()}>"


def test_a_context_for_clients_accepts_nobody() -> None:
    context = certificates.client_context()
    with listen(tls=context) as listening, pytest.raises(ValueError, match="for clients"):
        listening.accept()
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(ValueError, match="for clients"):
        WebSocket.upgrade(ours, server_side=True, tls=context)
    assert ours.fileno() == -1


# ---- to connect ----


def test_a_client_asks_for_its_location_and_knows_the_answer(net: Net) -> None:
    server = net.script(
        switching(unmasked(0x81, b"hello"), "Sec-WebSocket-Protocol: v1\r\nX-Y: z\r\n")
    )
    options: dict[str, Any] = {
        "location": "/chat?room=1",
        "origin": "https://example.com",
        "subprotocols": ["v2", "v1"],
        "headers": {"Cookie": "a=b"},
    }
    with WebSocket(reactor=net.reactor, **options) as client:
        client.settimeout(PATIENCE)
        client.bind(("127.0.0.1", 0))
        where = client.getsockname()
        number = client.fileno()
        client.connect(("127.0.0.1", server.port))
        raw = server.raws[0]
        assert raw.sock.getpeername() == where == client.getsockname()
        assert client.fileno() == number
        assert raw.data.startswith(b"GET /chat?room=1 HTTP/1.1\r\n")
        assert raw.field("Host") == f"127.0.0.1:{server.port}"
        assert raw.field("Origin") == "https://example.com"
        assert raw.field("Cookie") == "a=b"
        assert client.subprotocol == "v1"
        assert client.is_client
        assert client.response is not None
        assert client.response.headers["X-Y"] == "z"
        assert client.request is not None
        assert client.request.target == "/chat?room=1"
        assert client.recv() == HELLO
        assert repr(client) == f"<WebSocket client {number}>"
        for call_again in (client.connect, lambda where: client.enable_ssl(where)):
            with pytest.raises(InvalidState):
                call_again(("127.0.0.1", server.port))


def test_a_client_connects_to_a_unix_socket(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with WebSocket(family=socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        assert listening.family == socket.AF_UNIX

        def visit() -> Any:
            with WebSocket(family=socket.AF_UNIX) as client:
                client.connect(path)
                assert client.request is not None
                return client.recv(), client.request.headers["Host"]

        visitor = InThread(visit)
        one, address = listening.accept()
        with one:
            one.send(HELLO)
            assert address == ""
        assert visitor.result() == (HELLO, "localhost")


def test_nobody_listens_there() -> None:
    with WebSocket() as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", free_port()))
        with pytest.raises(OSError, match=APART):
            client.recv()


def test_nobody_answers_there(net: Net) -> None:
    with WebSocket() as client:
        client.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.connect(net.black_hole())
        for again in (client.do_handshake, client.recv):
            with pytest.raises(TimeoutError):
                again()
        with pytest.raises(InvalidState):
            client.connect(("127.0.0.1", 1))
        with pytest.raises(InvalidState):
            client.enable_ssl(certificates.client_context())


@pytest.mark.parametrize("address", [("not a host", 80), ("127.0.0.1", 0)])
def test_what_is_no_address_is_refused_before_anything_is_done(address: Any) -> None:
    with WebSocket() as client, pytest.raises(ValueError, match=r"host|port"):
        client.connect(address)


def test_a_server_that_refuses_is_an_error_with_all_that_it_says(net: Net) -> None:
    server = net.script(answering(response(404, "X: y\r\n", "no such thing")))
    with WebSocket(reactor=net.reactor) as client:
        client.settimeout(PATIENCE)
        for each in (lambda: client.connect(("127.0.0.1", server.port)), client.recv):
            with pytest.raises(HandshakeError) as error:
                each()
            assert (error.value.status, error.value.body) == (404, b"no such thing")
            assert error.value.headers["X"] == "y"


def test_a_password_is_asked_for_and_given(net: Net) -> None:
    auth = BasicAuth({"ada": "difference engine"})
    server = net.serve(onrequest=auth.check, do={"onmessage": lambda one, text: one.send(text)})
    with WebSocket(reactor=net.reactor, auth=("ada", "difference engine")) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port(server)))
        assert server.met[0].request.user == "ada"
        client.send(HELLO)
        assert client.recv() == HELLO
    with WebSocket(reactor=net.reactor, auth=("ada", "wrong")) as client:
        client.settimeout(PATIENCE)
        with pytest.raises(HandshakeError) as error:
            client.connect(("127.0.0.1", port(server)))
        assert error.value.status == 401


def test_a_redirect_is_followed_by_another_socket(net: Net) -> None:
    target = net.serve(do={"onopen": lambda one: one.send("hello")})
    where = f"Location: {net.uri(target, '/there')}\r\n"
    server = net.script(answering(response(307, where)))
    with WebSocket(reactor=net.reactor, location="/here") as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", server.port))
        assert client.getpeername() == ("127.0.0.1", port(target))
        assert server.raws[0].target == "/here"
        assert target.met[0].request.path == "/there"
        assert client.recv() == HELLO
        os.fstat(client.fileno())
        net.until(lambda: server.raws[0].ended)


def test_a_client_that_does_not_wait_is_told_by_its_reactor_when_to_go_on() -> None:
    with listen() as listening, WebSocket() as client:
        client.setblocking(False)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect(listening.getsockname())
        with selectors.DefaultSelector() as selector:
            selector.register(client.reactor, selectors.EVENT_READ)
            selector.register(listening, selectors.EVENT_READ)
            one: WebSocket | None = None
            done = 0
            while done < 2:
                assert selector.select(PATIENCE)
                if one is None:
                    with contextlib.suppress(BlockingIOError):
                        one, _ = listening.accept()
                        selector.register(one.reactor, selectors.EVENT_READ)
                done = 0
                for end in (client, one):
                    if end is not None:
                        with contextlib.suppress(BlockingIOError):
                            end.do_handshake()
                            done += 1
        assert one is not None
        with one:
            client.send(HELLO)
            one.settimeout(PATIENCE)
            assert one.recv() == HELLO


# ---- TLS ----


def test_tls_is_spoken_and_the_server_is_the_one_that_was_named(net: Net) -> None:
    server = net.serve(
        tls=certificates.server_context("example.test"),
        do={"onmessage": lambda one, text: one.send(text)},
    )
    with WebSocket(reactor=net.reactor) as client:
        client.settimeout(PATIENCE)
        client.enable_ssl(certificates.client_context(), server_hostname="example.test")
        client.connect(("127.0.0.1", port(server)))
        assert client.tls.version().startswith("TLS")
        assert client.request is not None
        assert client.request.headers["Host"] == f"example.test:{port(server)}"
        client.send(HELLO, Frame(Opcode.TEXT, b"x" * 100_000))
        assert [len(frame.payload) for frame in client.recvn(2)] == [5, 100_000]
    with WebSocket(reactor=net.reactor, tls=certificates.client_context()) as client:
        client.settimeout(PATIENCE)
        with pytest.raises(ssl.SSLCertVerificationError):
            client.connect(("127.0.0.1", port(server)))


def test_a_listening_one_speaks_tls_to_all_that_it_accepts() -> None:
    with listen(max_message=4 * MIB) as listening:
        with pytest.raises(TypeError, match="SSLContext"):
            listening.enable_ssl("certificate.pem")  # type: ignore[arg-type]
        listening.enable_ssl(certificates.server_context())

        def visit() -> Any:
            with WebSocket(tls=certificates.client_context()) as client:
                client.connect(listening.getsockname())
                client.send(Frame(Opcode.BINARY, bytes(3 * MIB)))
                client.shutdown(socket.SHUT_WR)
                return client.recv()

        for _ in range(2):
            visitor = InThread(visit)
            one, _ = listening.accept()
            with one:
                assert len(one.recv().payload) == 3 * MIB
                with pytest.raises(ConnectionClosed):
                    one.recv()
                assert one.tls is not None
            with pytest.raises(ConnectionClosed):
                visitor.result()


def test_tls_over_a_unix_socket_stays_there(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with WebSocket(family=socket.AF_UNIX, onrequest=lambda request: moved(request)) as server:
        server.bind(path)
        server.listen()
        server.enable_ssl(certificates.server_context())

        def visit(location: str) -> WebSocket:
            client = WebSocket(family=socket.AF_UNIX, location=location)
            client.enable_ssl(certificates.client_context(), server_hostname="localhost")
            try:
                client.connect(path)
            except HandshakeError:
                client.close()
                raise
            return client

        def moved(request: Request) -> Response | None:
            fields = {"Location": "/there"}
            return Response(302, fields) if request.path == "/moved" else None

        visitor = InThread(lambda: visit("/"))
        with server.accept()[0], visitor.result() as client:
            assert client.tls is not None
        visitor = InThread(lambda: visit("/moved"))
        with pytest.raises(HandshakeError):
            server.accept()
        with pytest.raises(HandshakeError) as error:
            visitor.result()
        assert error.value.status == 302


# ---- other people's ends ----


def test_a_client_of_websockets_speaks_with_us() -> None:
    client = module("websockets.asyncio.client")
    with listen(subprotocols=["chat"]) as listening:
        uri = "ws://{}:{}/".format(*listening.getsockname())
        options = {"subprotocols": ["chat"], "proxy": None, "compression": None}

        async def visit() -> Any:
            async with client.connect(uri, **options) as other:
                await other.send("hello")
                await other.send(bytes(200_000))
                return await other.recv(), await other.recv(), other.subprotocol

        visitor = InThread(lambda: asyncio.run(visit()))
        with listening.accept()[0] as one:
            one.settimeout(PATIENCE)
            assert one.recv() == HELLO
            assert one.recv() == Frame(Opcode.BINARY, bytes(200_000))
            one.send(*Frame(Opcode.TEXT, b"in parts").fragment(3), Frame(Opcode.PING, b"?"))
            one.send(Frame(Opcode.BINARY, bytes(300_000)))
            assert one.recv() == Frame(Opcode.PONG, b"?")
            assert one.recv() == Frame(Opcode.CLOSE, b"\x03\xe8")
            one.send(Frame(Opcode.CLOSE, b"\x03\xe8"))
        assert visitor.result() == ("in parts", bytes(300_000), "chat")


def test_we_speak_with_a_server_of_websockets() -> None:
    server = module("websockets.asyncio.server")
    addresses: queue.Queue[Any] = queue.Queue()

    async def serve() -> None:
        served = asyncio.Event()

        async def echo(other: Any) -> None:
            async for message in other:
                await other.send(message)
            served.set()

        async with server.serve(echo, "127.0.0.1", 0, compression=None) as serving:
            addresses.put(serving.sockets[0].getsockname())
            await asyncio.wait_for(served.wait(), PATIENCE)

    serving = InThread(lambda: asyncio.run(serve()))
    with WebSocket() as client:
        client.settimeout(PATIENCE)
        client.connect(addresses.get(timeout=PATIENCE))
        client.send(*Frame(Opcode.TEXT, b"in parts").fragment(3))
        client.send(Frame(Opcode.BINARY, bytes(200_000)), Frame(Opcode.PING, b"?"))
        frames = client.recvn(3)
        client.send(Frame(Opcode.CLOSE, b"\x03\xe8"))
        frames.append(client.recv())
        assert {frame.opcode: len(frame.payload) for frame in frames} == {
            Opcode.TEXT: 8,
            Opcode.BINARY: 200_000,
            Opcode.PONG: 1,
            Opcode.CLOSE: 2,
        }
    serving.result()


# ---- to upgrade ----


def test_both_ends_of_a_connected_pair_can_be_upgraded() -> None:
    server = {"subprotocols": ["v1"], "locations": ["/chat"]}
    with pair(server, subprotocols=["v1"], location="/chat") as (here, there):
        assert here.subprotocol == there.subprotocol == "v1"
        assert (here.is_client, there.is_client) == (False, True)
        here.send(HELLO)
        there.send(HELLO, HELLO)
        assert there.recv() == HELLO
        assert here.recvn(2) == [HELLO, HELLO]


def test_an_upgrade_waits_as_long_as_the_socket_does(net: Net) -> None:
    server = net.serve(do={"onopen": lambda one: one.send("hello")})
    address = "127.0.0.1", port(server)
    sock = socket.create_connection(address, PATIENCE)
    with WebSocket.upgrade(sock, reactor=net.reactor) as client:
        assert client.gettimeout() == PATIENCE
        assert client.recv() == HELLO
        assert client.request is not None
        assert client.request.headers["Host"] == f"127.0.0.1:{address[1]}"
    ours, theirs = socket.socketpair()
    with theirs:
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            WebSocket.upgrade(ours, server_side=True)
        assert ours.fileno() == -1
        assert theirs.recv(1) == b""


def test_a_server_can_be_upgraded_as_by_inetd() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        Raw(socket.create_connection(listening.getsockname())) as raw,
    ):
        raw.send(request() + masked(0x81, b"hello"))
        sock, address = listening.accept()
        with WebSocket.upgrade(sock, server_side=True) as one:
            assert one.request is not None
            assert one.request.address == address
            assert one.recv() == HELLO


def test_an_upgrade_follows_nobody_and_answers_no_question(net: Net) -> None:
    target = net.serve()
    where = f"Location: {net.uri(target)}\r\n"
    challenge = 'WWW-Authenticate: Basic realm="x"\r\n'
    for answer, status in ((response(307, where), 307), (response(401, challenge), 401)):
        server = net.script(answering(answer))
        sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        with pytest.raises(HandshakeError) as error:
            WebSocket.upgrade(sock, reactor=net.reactor, auth=("user", "password"))
        assert error.value.status == status
        assert sock.fileno() == -1
    net.settle()
    assert not target.met


def test_only_what_is_connected_can_be_upgraded() -> None:
    with socket.socket() as sock, pytest.raises(OSError, match=APART):
        WebSocket.upgrade(sock)
    for sock in socket.socketpair():
        sock.close()
        with pytest.raises(OSError, match=CLOSED):
            WebSocket.upgrade(sock, server_side=True)


def test_an_upgrade_speaks_tls_with_whom_it_is_told(net: Net) -> None:
    server = {"tls": certificates.server_context("example.test")}
    options = {"tls": certificates.client_context(), "server_hostname": "example.test"}
    with pair(server, **options) as (here, there):
        assert here.tls.version() == there.tls.version()
        assert here.request is not None
        assert here.request.headers["Host"] == "example.test"
        there.send(HELLO)
        assert here.recv() == HELLO


def test_a_socket_of_ssl_is_refused() -> None:
    ours, theirs = socket.socketpair()
    context = certificates.client_context()
    context.check_hostname = False
    sock = context.wrap_socket(ours, do_handshake_on_connect=False)
    with theirs, sock, pytest.raises(TypeError, match="see `tls`"):
        WebSocket(sock)


def test_an_option_that_is_none_is_refused_and_nothing_left_open() -> None:
    before = descriptors()
    for options in ({"maximum": 1}, {"tls": True}, {"subprotocols": "chat"}):
        with pytest.raises(TypeError):
            WebSocket(**options)
    assert descriptors() == before


# ---- frames ----


def test_what_recvn_could_not_complete_is_for_the_next_call() -> None:
    with pair() as (here, there):
        there.send(HELLO, Frame(Opcode.PING))
        here.settimeout(0.01)
        with pytest.raises(TimeoutError):
            here.recvn(3)
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recvn(3)
        with pytest.raises(InvalidState, match="recvn"):
            here.release()
        there.send(Frame(Opcode.PONG))
        assert here.recv() == HELLO
        assert here.recvn(2) == [Frame(Opcode.PING), Frame(Opcode.PONG)]
        assert here.recvn(0) == []


@pytest.mark.parametrize("secure", [False, True])
def test_large_frames_cross_each_other(secure: bool) -> None:
    large = Frame(Opcode.BINARY, os.urandom(MIB))
    server, client = {}, {}
    if secure:
        server = {"tls": certificates.server_context()}
        client = {"tls": certificates.client_context()}
    with pair(server, **client) as (here, there):
        there.setblocking(False)
        here.setblocking(False)
        got: dict[WebSocket, Frame] = {}
        with selectors.DefaultSelector() as selector:
            for end in (here, there):
                end.send(large)
                assert end.pending
                selector.register(end, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while len(got) < 2 or here.pending or there.pending:
                ready = selector.select(PATIENCE)
                assert ready
                for key, mask in ready:
                    end = key.fileobj  # type: ignore[assignment]
                    if mask & selectors.EVENT_WRITE and end.flush():
                        selector.modify(end, selectors.EVENT_READ)
                    if mask & selectors.EVENT_READ:
                        with contextlib.suppress(BlockingIOError):
                            got[end] = end.recv()
        assert got == {here: large, there: large}


def test_a_frame_is_sent_when_the_system_has_taken_it() -> None:
    large = Frame(Opcode.BINARY, bytes(MIB))
    with pair() as (here, there):
        reader = InThread(lambda: here.recvn(3))
        there.settimeout(None)
        there.send(large, large)
        assert there.pending == 0
        there.send(HELLO)
        assert reader.result() == [large, large, HELLO]


def test_what_was_not_taken_in_time_is_pending_and_flushed() -> None:
    large = Frame(Opcode.BINARY, bytes(MIB))
    with pair() as (here, there):
        there.settimeout(0.01)
        with pytest.raises(TimeoutError):
            there.send(large)
        assert there.pending
        with pytest.raises(BlockingIOError):
            there.send(large)
        there.settimeout(PATIENCE)
        reader = InThread(here.recv)
        assert there.flush()
        assert reader.result() == large


def test_masks_are_the_business_of_the_role() -> None:
    with pair() as (here, there):
        keyed = Frame(Opcode.TEXT, b"hello", masking_key=b"abcd")
        there.send(keyed)
        assert here.recv() == HELLO
        with pytest.raises(ValueError, match="masked"):
            here.send(keyed)
        with pytest.raises(TypeError):
            here.send("hello")  # type: ignore[arg-type]
        here.send(Frame(Opcode.CLOSE))
        with pytest.raises(InvalidState):
            here.send(HELLO)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0xC1, b"x"), 1002),
        (unmasked(0x81, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (header(0x82, MIB + 1), 1009),
    ],
)
def test_a_peer_that_breaks_a_rule_is_told_which(data: bytes, code: int) -> None:
    with accepted() as (one, raw):
        raw.send(masked(0x81, b"hello") + data)
        assert one.recv() == HELLO
        with pytest.raises(ProtocolError) as error:
            one.recv()
        assert error.value.code == code
        assert raw.frame()[2][:2] == code.to_bytes(2, "big")
        with pytest.raises(ConnectionClosed) as end:
            one.recv()
        assert end.value.code == code


def test_the_end_in_the_middle_of_a_frame_is_the_end() -> None:
    with accepted() as (one, raw):
        raw.send(masked(0x82, bytes(100))[:50])
        raw.sock.shutdown(socket.SHUT_WR)
        number = one.fileno()
        with pytest.raises(ConnectionClosed) as error:
            one.recv()
        assert error.value.code == 1006
        # It can be another's only when this is closed.
        assert one.fileno() == number
        os.fstat(number)


class Claim(Extension):
    """Claims RSV1 for the first frame of messages."""

    name = "claim"
    rsv = 0x40

    def answer(self, offer: Any) -> Any:
        return (), Codec()

    def agree(self, answer: Any) -> Codec:
        return Codec()


def test_bits_that_were_agreed_on_are_for_the_user() -> None:
    with pair({"extensions": [Claim()]}, extensions=[Claim()]) as (here, there):
        assert here.extensions == there.extensions == "claim"
        assert [codec.extension.name for codec in here.codecs] == ["claim"]
        marked = Frame(Opcode.TEXT, b"x", rsv1=True)
        there.send(marked, HELLO)
        assert here.recvn(2) == [marked, HELLO]


# ---- with others in a reactor ----


def test_others_in_the_reactor_go_on_while_it_waits(net: Net) -> None:
    server = net.serve(do={"onmessage": lambda one, text: one.send(text)})
    with (
        WebSocket(reactor=net.reactor) as one,
        WebSocket(reactor=net.reactor) as other,
        listen(reactor=net.reactor) as listening,
    ):
        for client in (one, other):
            client.connect(("127.0.0.1", port(server)))
            client.send(HELLO)
        assert [one.recv(), other.recv()] == [HELLO, HELLO]
        visitor = net.client(f"ws://127.0.0.1:{listening.getsockname()[1]}/")
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.reactor is net.reactor
            net.opened(visitor)
            accepted.send(HELLO)
            net.until(visitor.messages)
            assert visitor.messages() == ["hello"]
    assert not net.reactor.closed


def test_it_does_not_wait_inside_of_a_step(net: Net) -> None:
    raised: list[str] = []
    with pair({"reactor": net.reactor}) as (here, _):

        def inside() -> None:
            try:
                here.recv()
            except RuntimeError as error:
                raised.append(str(error))

        net.reactor.call_soon(inside)
        net.until(lambda: raised)
    assert raised == ["step() is called from inside a step"]


# ---- the end ----


def test_shutdown_says_that_nothing_more_will_come_and_goes_on_receiving() -> None:
    with pair() as (here, there):
        here.send(HELLO)
        here.shutdown(socket.SHUT_WR)
        there.send(HELLO, HELLO)
        assert there.recv() == HELLO
        with pytest.raises(ConnectionClosed):
            there.recv()
        assert here.recvn(2) == [HELLO, HELLO]
        with pytest.raises(ConnectionClosed):
            here.send(HELLO)


def test_shutdown_over_tls_is_the_end_of_both_directions() -> None:
    server, client = certificates.server_context(), certificates.client_context()
    with pair({"tls": server}, tls=client) as (here, there):
        here.shutdown(socket.SHUT_RD)
        here.send(HELLO)
        here.shutdown(socket.SHUT_WR)
        assert there.recv() == HELLO
        with pytest.raises(ConnectionClosed):
            there.recv()
        with pytest.raises(ConnectionClosed):
            here.recv()


def test_after_close_it_is_a_closed_socket() -> None:
    with pair() as (here, there):
        here.send(HELLO)
        reactor = here.reactor
        here.close()
        here.close()
        assert reactor.closed
        assert there.recv() == HELLO
        with pytest.raises(ConnectionClosed):
            there.recv()
    with listen() as listening:
        pass
    sample = "127.0.0.1", 1
    calls: list[Callable[[], Any]] = [
        here.recv,
        lambda: here.recvn(0),
        lambda: here.send(HELLO),
        here.flush,
        here.do_handshake,
        here.release,
        here.getpeername,
        lambda: here.shutdown(socket.SHUT_WR),
        listening.accept,
        lambda: listening.connect(sample),
    ]
    for each in calls:
        with pytest.raises(OSError, match=CLOSED):
            each()
    assert here.pending == 0
    assert repr(here) == "<WebSocket closed -1>"


def test_before_a_connection_there_is_none() -> None:
    with WebSocket() as one:
        for each in (one.recv, one.do_handshake, one.getpeername):
            with pytest.raises(OSError, match=APART):
                each()
        with pytest.raises(OSError, match=APART):
            one.shutdown(socket.SHUT_WR)
        assert not one.is_client
        assert repr(one) == f"<WebSocket not open {one.fileno()}>"


def test_nothing_is_left_open() -> None:
    gc.collect()
    before = descriptors()
    with accepted() as (one, raw):
        raw.send(masked(0x81, b"hello"))
        one.recv()
    with pair({"tls": certificates.server_context()}, tls=certificates.client_context()):
        pass
    WebSocket().close()
    assert descriptors() == before


# ---- given away ----


def test_a_connection_can_be_made_of_it() -> None:
    with pair({"max_message": 77}, subprotocols=["x"]) as (here, there):
        there.send(HELLO, HELLO)
        assert here.recv() == HELLO
        reactor, sock = here.reactor, here._sock
        opened, rest = here.release()
        there.send(HELLO)
        assert opened.host.settings.max_message == 77
        assert opened.host.reactor is reactor
        assert not opened.is_client
        assert len(rest) == 11
        assert here.fileno() == -1
        for each in (here.recv, here.release):
            with pytest.raises(OSError, match=CLOSED):
                each()
        opened.transport.write(unmasked(0x81, b"hello"))
        assert there.recv() == HELLO
        assert sock.recv(100)[1] == 0x85
        reactor.step(0)
        here.close()
        with pytest.raises(InvalidState):
            reactor.step(0)
        with pytest.raises(ConnectionClosed):
            there.recv()
