"""The ceiling: a bare ``selectors`` loop that sends back every byte after the handshake.

One ``recv`` and one ``send`` for each readiness, no look at what came; fanned out, the same
bytes to all. A WebSocket server on the same loop has everything else to do besides.
"""

from __future__ import annotations

import base64
import hashlib
import selectors
import socket
from typing import ClassVar

from .leash import announce, task

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def answer(head: bytes) -> bytes:
    """The 101 to an upgrade request that is known to be right."""
    key = head.partition(b"\r\nSec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


class Stream:
    """One connection: its handshake, then its echo."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector = selector
        self.sock = sock
        self.head = b""
        self.waiting = b""
        self.ready = self.shake
        selector.register(sock, READ, self)

    def shake(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.close()
            return
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            self.ready = self.receive
            self.send(answer(self.head))

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if data:
            self.send(data)
        else:
            self.close()

    def send(self, data: bytes) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.waiting = data[sent:]
            self.ready = self.resume
            self.selector.modify(self.sock, WRITE, self)

    def resume(self) -> None:
        sent = self.sock.send(self.waiting)
        self.waiting = self.waiting[sent:]
        if not self.waiting:
            self.ready = self.receive
            self.selector.modify(self.sock, READ, self)

    def close(self) -> None:
        self.selector.unregister(self.sock)
        self.sock.close()


class Shared(Stream):
    """One of those that all get what one sends."""

    everyone: ClassVar[set[Stream]] = set()

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        super().__init__(selector, sock)
        self.everyone.add(self)

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.close()
            return
        for stream in self.everyone:
            stream.send(data)

    def close(self) -> None:
        super().close()
        self.everyone.remove(self)


def main() -> None:
    kind = Shared if task().fanout else Stream
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    selector.register(listener, READ)
    announce(listener.getsockname()[1])
    while True:
        for key, _ in selector.select():
            stream = key.data
            if stream is None:
                kind(selector, listener.accept()[0])
                continue
            try:
                stream.ready()
            except ConnectionError:
                stream.close()


if __name__ == "__main__":
    main()
