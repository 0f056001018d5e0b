"""A WebSocket server for one connection that gets one thing wrong, to test the generator."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """The port, while a thread serves one connection; what it raises comes at the end."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            listener.settimeout(PATIENCE)
            served = pool.submit(self._serve, listener)
            yield listener.getsockname()[1]
            served.result(PATIENCE)

    def _serve(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The generator leaves at the first fault, which may be in the middle of a reply.
        with sock, sock.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            if self._shake(sock, stream):
                self._echo(sock, stream)

    def _shake(self, sock: socket.socket, stream: IO[bytes]) -> bool:
        lines = list(iter(stream.readline, b"\r\n"))
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
                sock.sendall(self.farewell)
                return
            if first == 0x8A:
                self.pongs.append(payload)
                continue
            self._answer(sock, first, key, payload)

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
