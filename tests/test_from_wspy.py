"""The examples of wspy's README, as docs/from-wspy.md has them: run as they stand.

Each runs in a thread of its own, with real sockets; only the port is another.
"""

from __future__ import annotations

import builtins
import contextlib
import queue
import re
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

import reactor
from reactor import (
    Client,
    CloseCode,
    Codec,
    Connection,
    ConnectionClosed,
    DeflateFrame,
    Extension,
    Frame,
    Opcode,
    PerMessageDeflate,
    Server,
    WebSocket,
)
from reactor.protocol import frames
from tests.programs import program
from tests.test_docs import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Running = Callable[[str], contextlib.AbstractContextManager[int]]

PAGE = ROOT / "docs" / "from-wspy.md"
PATIENCE = 30.0  # seconds, after which what is waited for will not come any more
EXAMPLES = [str(parameter.values[1]) for parameter in blocks("python", PAGE)]
ECHO, FRAMES_SERVER, FRAMES_CLIENT, CONNECTION, NO_THREADS, THREADS = EXAMPLES


class Enough(Exception):
    """Out of an example that would go on for ever."""


class Example:
    """One that runs, and listens.

    Attributes:
        port: Where.
        over: Has it end.
    """

    def __init__(self, code: str) -> None:
        self._here: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()
        self._code = code.replace('("", 8000)', '("127.0.0.1", 0)')
        assert self._code != code
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def listens(self, port: int, over: Callable[[], object]) -> None:
        """Note where it listens; called in its thread."""
        self._here.put((port, over))

    def start(self) -> None:
        self._thread.start()
        self.port, self.over = self._here.get(timeout=PATIENCE)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            exec(compile(self._code, "example", "exec"), {"__name__": "example"})
        except Enough:
            pass
        except BaseException as error:
            self._failure = error


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    """Return what runs an example that listens, and yields its port."""
    examples: list[Example] = []
    run, listen = Server.run, WebSocket.listen

    def serve(server: Server) -> None:
        address: Any = server.addresses[0]
        stop = server.stop
        examples[-1].listens(address[1], lambda: server.reactor.call_soon_threadsafe(stop))
        run(server)

    def listening(sock: WebSocket, *args: int) -> None:
        listen(sock, *args)
        examples[-1].listens(sock.getsockname()[1], lambda: None)

    @contextlib.contextmanager
    def running(code: str) -> Iterator[int]:
        example = Example(code)
        examples.append(example)
        example.start()
        try:
            yield example.port
        finally:
            example.over()
            example.join()

    monkeypatch.setattr(Server, "run", serve)
    monkeypatch.setattr(WebSocket, "listen", listening)
    return running


class Talk(Client):
    """Sends what it is given when it is open, and closes when it has as many answers."""

    def __init__(self, port: int, *messages: str | bytes, **options: Any) -> None:
        self.messages = messages
        self.answers: list[str | bytes] = []
        super().__init__(f"ws://127.0.0.1:{port}/", proxy=False, **options)

    def onopen(self) -> None:
        for message in self.messages:
            self.send(message)

    def onmessage(self, message: str | bytes) -> None:
        self.answers.append(message)
        if len(self.answers) == len(self.messages):
            self.close()


def test_each_example_of_the_page_is_one_of_these() -> None:
    assert [code for code in EXAMPLES if "WebSocket" in code] == [
        FRAMES_SERVER,
        FRAMES_CLIENT,
        CONNECTION,
    ]
    assert "extensions=" in ECHO
    assert "extensions=" not in NO_THREADS
    assert "call_soon_threadsafe" in THREADS


@pytest.mark.parametrize("example", [ECHO, NO_THREADS], ids=["deflate", "plain"])
@pytest.mark.parametrize(
    "extension", [PerMessageDeflate(), DeflateFrame(), None], ids=["message", "frame", "none"]
)
def test_the_echo_server_answers_with_and_without_compression(
    running: Running,
    capsys: pytest.CaptureFixture[str],
    example: str,
    extension: Any,
) -> None:
    # Above 64 KiB, which did not reach wspy's AsyncServer; and again, with what was remembered.
    messages: list[Any] = [
        "Hello, World!",
        "x" * 100_000,
        b"\0binary" * 20_000,
        "",
        "x" * 100_000,
    ]
    options = {"compress": False, "extensions": [extension] if extension else []}
    with running(example) as port:
        client = Talk(port, *messages, **options)
        client.run()
    assert client.answers == messages
    assert client.was_clean
    agreed = extension is not None and example is ECHO
    assert client.extensions.partition(";")[0] == (extension.name if agreed else "")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Client <Connection OPEN 127.0.0.1:")
    assert said[1] == 'Received message "Hello, World!"'
    assert said[-1].endswith(" disconnected")


def test_the_example_for_a_browser_talks_to_the_echo_server(
    running: Running,
) -> None:
    node = program("node")
    [code] = [str(parameter.values[1]) for parameter in blocks("javascript", PAGE)]
    with running(ECHO) as port:
        script = code.replace("localhost:8000", f"127.0.0.1:{port}")
        assert script != code
        script += "ws.addEventListener('message', () => ws.close(3000, 'bye'));\n"
        done = subprocess.run(
            [node, "--experimental-websocket", "-e", script],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stdout == "open\nmessage Hello, World!\nclose 3000 bye\n", done.stderr
    assert done.returncode == 0


def test_the_frames_of_the_server_and_of_the_client_reach_each_other(
    running: Running,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(FRAMES_SERVER) as port:
        code = FRAMES_CLIENT.replace('("localhost", 8000)', f'("127.0.0.1", {port})')
        assert code != FRAMES_CLIENT
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    assert sorted(capsys.readouterr().out.splitlines()) == ["Hello, Client!", "Hello, Server!"]


def test_the_echo_of_one_connection_after_the_other(
    running: Running,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept, visitors = WebSocket.accept, iter(range(2))

    def accept_twice(sock: WebSocket) -> Any:
        if next(visitors, None) is None:
            raise Enough
        return accept(sock)

    monkeypatch.setattr(WebSocket, "accept", accept_twice)
    with running(CONNECTION) as port:
        for name in ("first", "second"):
            client = Talk(port, name, "x" * 100_000)
            client.run()
            assert client.answers == [name, "x" * 100_000]
            assert client.was_clean
    said = capsys.readouterr().out.splitlines()
    opened = r"Connection opened at 127\.0\.0\.1:\d+"
    assert re.fullmatch(opened, said[0])
    assert said[1] == 'Received message "first"'
    assert said[3] == "Connection closed"
    assert re.fullmatch(opened, said[4])
    assert said[-1] == "Connection closed"


def test_the_work_of_a_thread_comes_back(
    running: Running,
) -> None:
    with running(THREADS) as port:
        client = Talk(port, *map(str, range(20)), "hello")
        client.run()
    assert sorted(client.answers) == sorted([*map(str, range(20)), "HELLO"])


# ---- what the tables say ----


@pytest.fixture
def pair() -> Iterator[tuple[WebSocket, WebSocket]]:
    """A client and a server's end, with their handshake done."""
    with WebSocket() as listener, WebSocket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(listener.getsockname())
        accepted: list[WebSocket] = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
        thread.start()
        client.settimeout(PATIENCE)
        client.do_handshake()
        thread.join(PATIENCE)
        with accepted[0] as server:
            server.settimeout(PATIENCE)
            yield client, server


def test_what_was_unpacked_from_a_close_is_in_the_error(
    pair: tuple[WebSocket, WebSocket],
) -> None:
    client, server = pair
    server.send(Frame(Opcode.CLOSE, CloseCode.GOING_AWAY.to_bytes(2, "big") + b"bye"))
    assert client.recv().opcode == Opcode.CLOSE
    with pytest.raises(ConnectionClosed) as caught:
        client.recv()
    assert (caught.value.code, caught.value.reason) == (1001, "bye")


def test_a_clients_frames_are_masked_without_being_asked(
    pair: tuple[WebSocket, WebSocket],
) -> None:
    client, server = pair
    client.send(*Frame(Opcode.TEXT, b"x" * 70_000).fragment(50_000))
    received = server.recvn(2)  # it fails a frame that is not masked
    assert [(frame.opcode, frame.fin, len(frame.payload)) for frame in received] == [
        (Opcode.TEXT, False, 50_000),
        (Opcode.CONTINUATION, True, 20_000),
    ]


def test_a_socket_that_does_not_wait_says_what_is_pending(
    pair: tuple[WebSocket, WebSocket],
) -> None:
    client, server = pair
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv()
    sent = 0
    while not client.pending:
        client.send(Frame(Opcode.BINARY, bytes(60_000)))
        sent += 1
    received = 0
    while client.pending or received < sent:
        received += len(server.recvn(1))
        client.flush()
    assert received == sent


def test_each_name_that_is_told_is_there() -> None:
    table = PAGE.read_text("utf-8").partition("| wspy | reactor |")[2].partition("\n\n")[0]
    rows = [re.findall(r"(?:[^|`]|`[^`]*`)+", line) for line in table.splitlines()[2:]]
    assert len(rows) > 30
    owners = [reactor, Server, Client, Connection, WebSocket, Frame, Extension, Codec]
    owners += [reactor.Reactor, Opcode, CloseCode, builtins, frames, ssl, ConnectionClosed]
    for _, told in rows:
        for span in re.findall("`([^`]+)`", told):
            # What is called, and what has a name like a class; arguments are for the examples.
            for name in re.findall(r"\w+(?=\()|\b[A-Z]\w+", re.sub('"[^"]*"', "", span)):
                assert any(hasattr(owner, name) for owner in owners), span
