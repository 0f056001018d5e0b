"""Servers that the command line is tried against, each in a thread of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from reactor import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactor import Connection

PATIENCE = 30.0  # seconds, after which what is waited for will not come any more
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

# A shell's background jobs ignore SIGINT, and so do their children, these tests' too: as from a
# terminal means with Python's own handler.
FROM_A_TERMINAL = (
    "import runpy, signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "runpy.run_module('reactor', run_name='__main__')"
)


class Echo(Server):
    """Sends each message back."""

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


@contextlib.contextmanager
def serving(server: Server, scheme: str = "ws") -> Iterator[str]:
    """Run `server`; yield its URI."""
    thread = threading.Thread(target=server.run, daemon=True)
    address = server.addresses[0]
    assert isinstance(address, tuple)
    host, port = address[:2]
    thread.start()
    try:
        yield f"{scheme}://{host}:{port}/"
    finally:
        server.reactor.call_soon_threadsafe(server.stop)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def echo(**options: Any) -> Any:
    """Return a context: an echo server's URI."""
    options.setdefault("max_message", 1 << 26)
    options.setdefault("max_write_queue", 1 << 30)
    return serving(Echo(("127.0.0.1", 0), **options))


class Wire:
    """A server's side of a connection, frame by frame."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stream = sock.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            line = self.stream.readline()
            assert line, self.head
            self.head += line

    def accept(self, *fields: str) -> None:
        (key,) = (
            line.partition(b": ")[2]
            for line in self.head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        answer = base64.b64encode(digest).decode()
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Accept: {answer}", *fields, "", ""]
        self.sock.sendall("\r\n".join(head).encode("latin-1"))

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a frame of up to 125 bytes."""
        self.sock.sendall(bytes([0x80 | opcode, len(payload)]) + payload)

    def receive(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame, of up to 125 bytes; 0 is the end."""
        head = self.stream.read(2)
        if not head:
            return 0, b""
        mask = self.stream.read(4)
        payload = self.stream.read(head[1] & 127)
        return head[0] & 15, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

    def until_close(self) -> None:
        """Receive frames up to the Close."""
        while True:
            opcode, _ = self.receive()
            assert opcode, "the connection has ended without a Close"
            if opcode == CLOSE:
                return

    def close(self) -> None:
        self.stream.close()
        self.sock.close()


@contextlib.contextmanager
def scripted(*scripts: Callable[[Wire], object]) -> Iterator[str]:
    """Yield the URI of a server that does a script for each connection, then closes it."""
    failures: list[BaseException] = []

    def run() -> None:
        for script in scripts:
            sock, _ = listener.accept()
            sock.settimeout(PATIENCE)
            wire = Wire(sock)
            try:
                script(wire)
            except BaseException as error:
                failures.append(error)
            finally:
                wire.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failures, failures
