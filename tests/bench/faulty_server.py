"""WebSocket servers that get one thing wrong, for one connection or many, to test loads."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

PATIENCE = 10
PING = b"\x89\x03abc"
CLOSE = b"\x88\x02\x03\xe8"


def accept(key: bytes) -> bytes:
    """What RFC 6455 section 4.2.2 makes of a key."""
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(key + guid).digest())


def unmasked(payload: bytes, key: bytes) -> bytes:
    repeated = key * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")


def packed(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


@dataclass
class Server:
    """An echo with a way to get each part of it wrong, and a record of what came."""

    reply: Callable[[int, bytes], bytes] = lambda number, frame: frame
    """What leaves as the reply of this number, given the right one."""
    head: Callable[[bytes], bytes] = lambda head: head
    """What leaves as the answer to the handshake; nothing: no answer."""
    farewell: bytes = CLOSE
    """What answers the Close frame; nothing: the end alone."""
    one_by_one: bool = False
    """Send each byte by itself."""
    keys: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    closes: list[bytes] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """The port, while a thread serves one connection; what it raises comes at the end."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            listener.settimeout(PATIENCE)
            served = pool.submit(self._serve, listener)
            yield listener.getsockname()[1]
            served.result(PATIENCE)

    def _serve(self, listener: socket.socket) -> None:
        self._serve_one(listener.accept()[0])

    def _serve_one(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The generator leaves at the first fault, which may be in the middle of a reply.
        with sock, sock.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            if self._shake(sock, stream):
                self._echo(sock, stream)

    def _shake(self, sock: socket.socket, stream: IO[bytes]) -> bool:
        lines = []
        while (line := stream.readline()) != b"\r\n":
            if not line:  # the generator has left
                return False
            lines.append(line)
        key = next(line.split()[1] for line in lines if line.startswith(b"Sec-WebSocket-Key:"))
        answer = self.head(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept(key) + b"\r\n\r\n"
        )
        if not answer:
            stream.read()
            return False
        sock.sendall(answer)
        return True

    def _echo(self, sock: socket.socket, stream: IO[bytes]) -> None:
        while True:
            start = stream.read(2)
            if len(start) < 2:
                return
            first, size = start[0], start[1] & 127
            if size > 125:
                size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
            key = stream.read(4)
            payload = unmasked(stream.read(size), key)
            if first == 0x88:
                self.closes.append(payload)
                self._leave(sock, stream)
                return
            if first == 0x8A:
                self.pongs.append(payload)
                continue
            self._answer(sock, first, key, payload)

    def _leave(self, sock: socket.socket, stream: IO[bytes]) -> None:
        sock.sendall(self.farewell)

    def _answer(self, sock: socket.socket, first: int, key: bytes, payload: bytes) -> None:
        number = len(self.payloads)
        self.keys.append(key)
        self.payloads.append(payload)
        data = self.reply(number, packed(first, payload))
        if not self.one_by_one:
            sock.sendall(data)
            return
        for byte in data:
            sock.sendall(bytes((byte,)))


@dataclass
class Crowd(Server):
    """The same for many connections, where every message goes to all."""

    delivery: Callable[[int, int, bytes], bytes] = lambda number, receiver, frame: frame
    """What leaves as the delivery of this number to this receiver, given the right one."""
    before_last: Callable[[int, socket.socket], None] = lambda number, sender: None
    """Called before the last one gets the message of this number, with the sender's socket."""
    leave: Callable[[int], bytes] = lambda connection: CLOSE
    """What answers the Close frame of the connection of this number."""
    stays: bool = False
    """Answer the Close frame and leave the connection open until the other side ends it."""
    receivers: list[socket.socket] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """The port, while threads serve; what they raise comes at the end."""
        with (
            socket.create_server(("127.0.0.1", 0), backlog=64) as listener,
            ThreadPoolExecutor(32) as pool,
        ):
            served = pool.submit(self._accept, listener, pool)
            try:
                yield listener.getsockname()[1]
            finally:
                listener.shutdown(socket.SHUT_RDWR)
            for one in served.result(PATIENCE):
                one.result(PATIENCE)

    def _accept(self, listener: socket.socket, pool: ThreadPoolExecutor) -> list[Future[None]]:
        served: list[Future[None]] = []
        while True:
            try:
                sock, address = listener.accept()
            except OSError:  # it is shut down
                return served
            self.sources.append(address[0])
            with self.lock:
                self.receivers.append(sock)
            served.append(pool.submit(self._serve_one, sock))

    def _leave(self, sock: socket.socket, stream: IO[bytes]) -> None:
        sock.sendall(self.leave(len(self.closes) - 1))
        if self.stays:
            stream.read()

    def _answer(self, sock: socket.socket, first: int, key: bytes, payload: bytes) -> None:
        number = len(self.payloads)
        self.payloads.append(payload)
        frame = packed(first, payload)
        *others, last = enumerate(self.receivers)
        # Once the generator has left at a fault, each thread closes the socket of its own.
        with contextlib.suppress(OSError):
            for receiver, other in others:
                other.sendall(self.delivery(number, receiver, frame))
            self.before_last(number, sock)
            last[1].sendall(self.delivery(number, last[0], frame))
