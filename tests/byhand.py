"""The peer of a `WebSocket`, by hand: a plain socket, and what it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reactor.protocol.handshake import accept_key
from tests.protocol.wire import read_frame

if TYPE_CHECKING:
    import socket

# Seconds after which what is waited for will not come any more.
PATIENCE = 20
FIELDS = (
    "Host: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def request(target: str = "/", more: str = "") -> bytes:
    """Return a client's request, with further lines."""
    return f"GET {target} HTTP/1.1\r\n{FIELDS}{more}\r\n".encode()


def response(head: bytes, more: str = "") -> bytes:
    """Return what accepts the request, with further lines."""
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert found is not None
    key = accept_key(found[1].decode())
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {key}\r\n{more}\r\n"
    ).encode()


class Raw:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.data = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Return all up to the next empty line."""
        while b"\r\n\r\n" not in self.data:
            self._receive()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        return head

    def frame(self) -> tuple[int, bool, bytes]:
        """Return first byte, whether masked, and payload of the next frame."""
        while len(self.data) < 2 or len(self.data) < self._header():
            self._receive()
        while True:
            try:
                head, masked, payload, self.data = read_frame(self.data)
            except ValueError:
                self._receive()
            else:
                return head, masked, payload

    def _header(self) -> int:
        second = self.data[1]
        return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + (4 if second & 0x80 else 0)

    def accept(self, more: str = "", behind: bytes = b"") -> bytes:
        """Do the server's side of the handshake; return the request."""
        head = self.head()
        self.send(response(head, more) + behind)
        return head

    def rest(self) -> bytes:
        """Return all that comes up to the end."""
        while True:
            data = self.sock.recv(65536)
            if not data:
                return self.data
            self.data += data

    def _receive(self) -> None:
        data = self.sock.recv(1 << 20)
        assert data, "the end came early"
        self.data += data

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()
