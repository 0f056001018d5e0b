"""Load for one WebSocket echo server on 127.0.0.1, by TLS or with permessage-deflate.

    python -m tests.bench.load port=43210 connections=100 size=1024 kind=json deflate=1

It takes the words of ``generator.c``, says what that says, and is as strict: a reply that is
not to the last bit what was sent, one too many, one too few and an end without a Close frame
end it with a sentence on stderr and status 1; wrong use of the command line has status 2.

Every connection keeps ``inflight`` messages on the way. Frames are made, compressed and masked
before the first leaves, hundreds of different ones, so that a message costs little more here
than its ``recv``, its ``send`` and a comparison. ``client_no_context_takeover`` allows that for
compressed ones. A reply is inflated as was agreed, its window kept from reply to reply or not;
one that is not compressed is an error.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import sys
import time
from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Callable

from .client_peers.talk import LEAST, cpu_of
from .generator import FaultError
from .prepared import (
    BITS,
    CLOSING,
    LARGEST,
    LEAST_JSON,
    PONG,
    CompressedReplies,
    Prepared,
    Replies,
    frame,
)
from .processes import allow_descriptors

if TYPE_CHECKING:
    from collections.abc import Sequence

# The key of RFC 6455 section 1.3 and the answer that the RFC computes from it.
_KEY, _ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
# The server's window, too, or one that has no setting for it takes 15 bits, and more time.
_OFFER = (
    "permessage-deflate; client_no_context_takeover; "
    f"server_max_window_bits={BITS}; client_max_window_bits={BITS}"
)
_HEAD_LIMIT = 4096
_READ = 1 << 16
_CLOSE = b"\x03\xe8"
_USAGE = """\
usage: load port=N [connections=N] [inflight=N] [size=BYTES] [kind=json|text|binary]
            [transport=tcp|tls cafile=PATH] [deflate=0|1] [warmup=S] [seconds=S] [patience=S]
            [server=PID]"""


@dataclass
class Options:
    """The words of the command line."""

    port: int = 0
    connections: int = 1
    inflight: int = 1
    size: int = 1024
    kind: str = "text"
    transport: str = "tcp"
    deflate: int = 0
    cafile: str = ""
    warmup: float = 0.3
    seconds: float = 1.0
    patience: float = 5.0
    server: int = 0


_CHOICES = {
    "kind": ("json", "text", "binary"),
    "transport": ("tcp", "tls"),
    "deflate": (0, 1),
}


def parse(words: Sequence[str]) -> Options:
    """``ValueError`` with the word that is not understood."""
    options = Options()
    for word in words:
        name, equals, value = word.partition("=")
        known = {field.name: type(getattr(options, field.name)) for field in fields(options)}
        try:
            if not equals:
                raise ValueError(word)
            setattr(options, name, known[name](value))
        except (KeyError, ValueError):
            raise ValueError(word) from None
    _check(options)
    return options


def _check(options: Options) -> None:
    for name, allowed in _CHOICES.items():
        if getattr(options, name) not in allowed:
            raise ValueError(f"{name}={getattr(options, name)}")
    for name in ("warmup", "seconds", "patience"):
        if not 0 <= getattr(options, name) <= 3600:
            raise ValueError(f"{name}={getattr(options, name)}")
    least = LEAST_JSON if options.kind == "json" else LEAST
    if not least <= options.size <= LARGEST:
        raise ValueError(f"size={options.size}")
    if not 0 < options.port < 65536 or options.connections < 1 or options.inflight < 1:
        raise ValueError("port=, connections= or inflight=")
    if options.transport == "tls" and not options.cafile:
        raise ValueError("cafile=")


class Connection:
    """A connection that is open."""

    def __init__(self, sock: socket.socket, replies: Replies, number: int) -> None:
        self.sock = sock
        self.replies = replies
        self.number = number
        self.receive = sock.read if isinstance(sock, ssl.SSLSocket) else sock.recv
        self.sent_at: deque[float] = deque()
        """When the messages left that are on the way."""
        self.waiting = b""
        self.closing = False


def checked(head: bytes, deflate: bool) -> bool:
    """Whether the server keeps its window; ``FaultError`` if it has not agreed."""
    status, *lines = head.decode("latin-1").split("\r\n")
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    agreed = found.get("sec-websocket-extensions", "").replace(" ", "").split(";")
    if not status.startswith("HTTP/1.1 101 ") or found.get("sec-websocket-accept") != _ACCEPT:
        raise FaultError(f"the handshake was answered with {head[:200]!r}")
    if agreed != [""] and not deflate:
        raise FaultError(f"the server agreed to {';'.join(agreed)}, which nobody offered")
    if deflate:
        _agreed(agreed)
    return "server_no_context_takeover" not in agreed


def _agreed(terms: list[str]) -> None:
    if terms[0] != "permessage-deflate":
        raise FaultError("the server does not compress")
    for term in terms[1:]:
        name, _, value = term.partition("=")
        if name == "client_max_window_bits" and int(value.strip('"') or 0) < BITS:
            raise FaultError(f"the server wants {term}, less than the {BITS} of the load")


class Load:
    """All connections, and what they have counted."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.prepared = Prepared(options.kind, options.size, bool(options.deflate))
        self.poll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.latencies: list[float] = []
        self.sending = self.measuring = False
        self.context: ssl.SSLContext | None = None
        if options.transport == "tls":
            self.context = ssl.create_default_context(cafile=options.cafile)

    def run(self) -> dict[str, float | None]:
        """The whole measurement; ``FaultError`` if anything was not in order."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.poll.close)
            for number in range(self.options.connections):
                self._open(number, stack)
            counted = self._measure()
            self._drain()
            self._close_all()
        if not self.latencies:
            raise FaultError(f"not one reply came within {self.options.seconds:g} s")
        return counted

    # Opening

    def _open(self, number: int, stack: contextlib.ExitStack) -> None:
        patience, port = self.options.patience, self.options.port
        try:
            sock = socket.create_connection(("127.0.0.1", port), patience)
            stack.callback(sock.close)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_hostname="localhost")
                stack.callback(sock.close)
            head, rest = self._shake(sock)
        except OSError as error:
            raise FaultError(f"connection {number}: {error}") from None
        keep = checked(head, self.prepared.deflate)
        first = number * 61 % self.prepared.count
        replies = (
            CompressedReplies(self.prepared, first, keep)
            if self.prepared.deflate
            else Replies(self.prepared, first)
        )
        replies.take(rest)
        sock.setblocking(False)
        self.connections[sock.fileno()] = Connection(sock, replies, number)
        self.poll.register(sock, select.EPOLLIN)

    def _shake(self, sock: socket.socket) -> tuple[bytes, bytes]:
        """The head of the server's answer, and what came after it."""
        offer = f"Sec-WebSocket-Extensions: {_OFFER}\r\n" if self.prepared.deflate else ""
        sock.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.options.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY}\r\n{offer}"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(_HEAD_LIMIT)
            head += part
            if not part or len(head) > _HEAD_LIMIT:
                raise FaultError(f"the handshake was answered with {head[:200]!r}")
        head, _, rest = head.partition(b"\r\n\r\n")
        return head, rest

    # Messages

    def _fill(self, connection: Connection, count: int, now: float) -> None:
        """Send so many messages more."""
        replies, frames = connection.replies, self.prepared.frames
        begin = replies.first + replies.number + replies.due
        replies.due += count
        if count == 1:
            connection.sent_at.append(now)
            self._send(connection, frames[begin % len(frames)])
            return
        connection.sent_at.extend([now] * count)
        chosen = (frames[n % len(frames)] for n in range(begin, begin + count))
        self._send(connection, b"".join(chosen))

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.waiting:
            connection.waiting += data
            return
        try:
            sent = connection.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        if sent < len(data):
            connection.waiting = data[sent:]
            self.poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: Connection) -> None:
        waiting, connection.waiting = connection.waiting, b""
        self.poll.modify(connection.sock, select.EPOLLIN)
        self._send(connection, waiting)

    def _ready(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT and connection.waiting:
            self._flush(connection)
        if not events & ~select.EPOLLOUT:
            return
        try:
            data = connection.receive(_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ConnectionResetError:
            if not connection.replies.closed:
                raise
            data = b""  # nothing is lost by it after the closing handshake
        if not data:
            self._ended(connection)
            return
        replies = connection.replies
        count = replies.take(data)
        if replies.pings or replies.closed:
            self._control(connection)
        if count:
            self._count(connection, count)

    def _count(self, connection: Connection, count: int) -> None:
        now, left = time.perf_counter(), connection.sent_at.popleft
        latencies = [now - left() for _ in range(count)]
        if self.measuring:
            self.latencies += latencies
        if self.sending:
            self._fill(connection, count, now)

    def _control(self, connection: Connection) -> None:
        replies = connection.replies
        for payload in replies.pings:
            self._send(connection, frame(PONG, payload, b"pong"))
        replies.pings.clear()
        if replies.closed and not connection.closing:
            raise FaultError("the server closed the connection")

    def _ended(self, connection: Connection) -> None:
        if not connection.closing:
            raise FaultError("the server ended the connection")
        if not connection.replies.closed:
            raise FaultError("the connection ended without a Close frame from the server")
        self.poll.unregister(connection.sock)
        del self.connections[connection.sock.fileno()]

    # The run

    def _step(self, until: float) -> None:
        for descriptor, events in self.poll.poll(max(0.0, until - time.perf_counter()), 1024):
            connection = self.connections[descriptor]
            try:
                self._ready(connection, events)
            except (OSError, FaultError) as error:
                number = connection.replies.number
                raise FaultError(
                    f"connection {connection.number}, reply {number}: {error}"
                ) from None

    def _run_until(self, moment: float) -> None:
        while time.perf_counter() < moment:
            self._step(moment)

    def _clocks(self) -> tuple[float, float, float | None]:
        server = self.options.server
        theirs = cpu_of(server) if server else None
        return time.perf_counter(), time.process_time(), theirs

    def _measure(self) -> dict[str, float | None]:
        self.sending = True
        for connection in self.connections.values():
            self._fill(connection, self.options.inflight, time.perf_counter())
        self._run_until(time.perf_counter() + self.options.warmup)
        self.measuring = True
        begin, my_begin, their_begin = self._clocks()
        self._run_until(begin + self.options.seconds)
        end, my_end, their_end = self._clocks()
        self.measuring = self.sending = False
        count, order = len(self.latencies), sorted(self.latencies) or [0.0]
        theirs = None if their_begin is None or their_end is None else their_end - their_begin
        return {
            "messages": count,
            "seconds": end - begin,
            "rate": count / (end - begin),
            "generator_cpu": my_end - my_begin,
            "server_cpu": theirs,
            "p50": order[len(order) // 2],
            "p99": order[len(order) * 99 // 100],
        }

    def _missing(self) -> int:
        return sum(connection.replies.due for connection in self.connections.values())

    def _wait_while(self, number: Callable[[], int], what: str) -> None:
        """Until there are none; ``FaultError`` if they do not become fewer for too long."""
        left, patience = number(), self.options.patience
        until = time.perf_counter() + patience
        while left:
            self._step(until)
            now, before, left = time.perf_counter(), left, number()
            if left < before:
                until = now + patience
            elif now >= until:
                raise FaultError(f"{left} {what} after {patience:g} s")

    def _drain(self) -> None:
        self._wait_while(self._missing, "replies are missing")

    def _close_all(self) -> None:
        """What still comes before the server's Close frame is an extra reply."""
        for connection in self.connections.values():
            connection.closing = True
            self._send(connection, frame(CLOSING, _CLOSE, b"shut"))
        self._wait_while(lambda: len(self.connections), "connections are still open")


def main(given: Sequence[str] | None = None) -> int:
    try:
        options = parse(sys.argv[1:] if given is None else given)
    except ValueError as error:
        print(f"load: {str(error)!r} is not understood\n{_USAGE}", file=sys.stderr)
        return 2
    wanted = options.connections + 16
    if allow_descriptors(wanted) < wanted:
        print(f"load: {wanted} open files are more than the limit", file=sys.stderr)
        return 1
    try:
        print(json.dumps(Load(options).run()))
    except FaultError as fault:
        print(f"load: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
