"""A crowd of clients in a process of their own, by hand: a server in the test is not alone.

    python -m tests.crowd PORT COUNT {chatty,healthy}

Chatty ones send as much as the server takes; healthy ones answer pings. It says `ready` when
all handshakes are over, and ends with its standard input. On the line `die N`, N of the healthy
ones become dumb, and it says `dead`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# "hello", masked with zeros, many times.
CHATTER = (b"\x81\x85" + bytes(4) + b"hello") * 50


class Client:
    """One of the crowd."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.sock.sendall(REQUEST)
        self.input = b""
        self.unsent = b""
        self.dumb = False

    def shake(self) -> None:
        while b"\r\n\r\n" not in self.input:
            self.input += self.sock.recv(4096)
        self.input = self.input.partition(b"\r\n\r\n")[2]
        self.sock.setblocking(False)

    def chat(self) -> None:
        """Send what is taken, whole messages in the end."""
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent or CHATTER
            self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def listen(self) -> bool:
        """Answer the pings that have come; return whether there may be more."""
        data = self.sock.recv(65536)
        self.input += data
        while len(self.input) >= 2 and len(self.input) >= 2 + self.input[1]:
            head, end = self.input[0], 2 + self.input[1]
            payload, self.input = self.input[2:end], self.input[end:]
            if head == 0x89 and not self.dumb:
                self.sock.sendall(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        return bool(data)


def main(port: int, count: int, kind: str) -> None:
    clients = [Client(port) for _ in range(count)]
    for client in clients:
        client.shake()
    print("ready", flush=True)
    selector = selectors.DefaultSelector()
    events = selectors.EVENT_WRITE if kind == "chatty" else selectors.EVENT_READ
    for client in clients:
        selector.register(client.sock, events, client)
    selector.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            client = key.data
            if client is None:
                words = os.read(0, 100).split()
                if not words:
                    return
                for dead in clients[: int(words[1])]:
                    dead.dumb = True
                print("dead", flush=True)
                continue
            try:
                alive = client.chat() is None if kind == "chatty" else client.listen()
            except OSError:
                alive = False
            if not alive:
                selector.unregister(client.sock)
                client.sock.close()


@contextlib.contextmanager
def crowd(port: int, count: int, kind: str) -> Iterator[subprocess.Popen[Any]]:
    """Start one; it ends with the block."""
    command = [sys.executable, "-m", "tests.crowd", str(port), str(count), kind]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
