"""Doubles for tests, the package's own and its users': time, a network in memory, a client.

```python
def test_a_silent_client_is_dropped():
    clock = FakeClock()
    with Peer.of(Chat, clock=clock, ping_interval=20, ping_timeout=10) as peer:
        peer.send("hello")
        assert peer.received == ["* someone came"]
        peer.answers_pings = False
        peer.advance(31)
        assert peer.closed == (1011, "ping timeout")
```

Nothing here waits, sleeps or opens a socket: the same test does the same each time. A `Reactor`
runs on a `MemorySelector` and a `FakeClock`; its server takes over one end of `memory_pair()`,
and the test holds the other, by hand or as a `Peer`.
"""

from __future__ import annotations

import selectors
import socket

from .loop.reactor import EVENT_READ, EVENT_WRITE, Reactor
from .protocol.frames import pack_frame
from .protocol.messages import Message
from .protocol.session import Session, State
from .server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from .errors import ProtocolError
    from .protocol.frames import BytesLike

__all__ = ["FakeClock", "MemorySelector", "MemorySocket", "Peer", "memory_pair"]


class FakeClock:
    """A clock that goes only when it is told to.

    Args:
        start: Its first time, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: The seconds are negative: a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError(f"{seconds} seconds: this clock never goes back")
        self.now += seconds


class MemorySocket:
    """One end of a connection in memory; as much of a non-blocking socket as is used here.

    Attributes:
        family: As a unix socket's, which has no options.
        capacity: Bytes that may wait to be read by the other end; more is refused, as by a
            kernel whose buffer is full.
        chunk: The most bytes that one call receives or sends, to cut a stream at every place.
        failure: An error for all further calls of `send` and `recv` to raise, or `None`.
        closed: Whether this end is closed.
        inbox: What has come and was not read.
        input_ended: Whether nothing more will come.
        other: The other end.
        watcher: The selector that it is registered with, or was.
    """

    _next_number = 1_000_000

    def __init__(self) -> None:
        self.family = getattr(socket, "AF_UNIX", None)
        self.capacity = 1 << 62
        self.chunk = 1 << 62
        self.failure: OSError | None = None
        self.closed = False
        self.inbox = bytearray()
        self.input_ended = False
        self._output_ended = False
        self.other: MemorySocket | None = None
        self.watcher: MemorySelector | None = None
        MemorySocket._next_number += 1
        self._number = MemorySocket._next_number

    def fileno(self) -> int:
        """Return a number that no other socket has, or -1 for a closed one."""
        return -1 if self.closed else self._number

    def setblocking(self, flag: bool) -> None:
        """Take `False`: there is nothing that could block.

        Raises:
            ValueError: It is to block.
        """
        if flag:
            raise ValueError("a socket in memory does not block")

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send as much as the other end has room for.

        Raises:
            BlockingIOError: It has none.
            BrokenPipeError: It is closed, or this end was shut down.
        """
        self._check()
        other = self.other
        if other is None or other.closed or self._output_ended:
            raise BrokenPipeError(32, "Broken pipe")
        count = min(len(data), other.capacity - len(other.inbox), self.chunk)
        if count <= 0 < len(data):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        other.inbox += data[:count]
        return count

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes; `b""` when the other end has ended.

        Raises:
            BlockingIOError: There is nothing yet.
        """
        self._check()
        if not self.inbox:
            if self.input_ended:
                return b""
            raise BlockingIOError(11, "Resource temporarily unavailable")
        count = min(size, self.chunk)
        data = bytes(self.inbox[:count])
        del self.inbox[:count]
        return data

    def recv_into(self, view: memoryview) -> int:
        """Receive into `view`; return how many bytes.

        Raises:
            BlockingIOError: There is nothing yet.
        """
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """End what this end sends; what was sent before can still be read."""
        self._check()
        self._output_ended = True
        if self.other is not None:
            self.other.input_ended = True

    def close(self) -> None:
        """Close this end."""
        self.closed = True
        if self.other is not None:
            self.other.input_ended = True

    def reset(self) -> None:
        """Close this end as by RST: the other loses what it has not read."""
        self.close()
        if self.other is not None:
            self.other.inbox.clear()
            self.other.failure = ConnectionResetError(104, "Connection reset by peer")

    @property
    def ready(self) -> int:
        """What a selector would say: `EVENT_READ`, `EVENT_WRITE`, both or 0."""
        readable = self.inbox or self.input_ended or self.failure
        other = self.other
        full = other is not None and not other.closed and len(other.inbox) >= other.capacity
        return (EVENT_READ if readable else 0) | (0 if full else EVENT_WRITE)

    def _check(self) -> None:
        if self.closed:
            raise OSError(9, "Bad file descriptor")
        if self.failure is not None:
            raise self.failure


def memory_pair() -> tuple[MemorySocket, MemorySocket]:
    """Return the two ends of a new connection in memory."""
    one, other = MemorySocket(), MemorySocket()
    one.other, other.other = other, one
    return one, other


class MemorySelector(selectors.BaseSelector):
    """A selector for sockets in memory; it never waits.

    Real sockets may be registered, and are never ready: the reactor's own wake socket is one.
    """

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch `fileobj`.

        Raises:
            KeyError: It is watched already.
            ValueError: The events are not such, or it is closed.
        """
        if not events or events & ~(EVENT_READ | EVENT_WRITE):
            raise ValueError(f"events {events!r}")
        if fileobj.fileno() < 0:
            raise ValueError("a closed socket is registered")
        if fileobj in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        key = selectors.SelectorKey(fileobj, fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        if isinstance(fileobj, MemorySocket):
            fileobj.watcher = self
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Watch `fileobj` no more.

        Raises:
            KeyError: It is not watched.
        """
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now."""
        found = []
        for key in list(self._keys.values()):
            if isinstance(key.fileobj, MemorySocket):
                mask = key.fileobj.ready & key.events
                if mask:
                    found.append((key, mask))
        return found

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is watched."""
        return self._keys

    def close(self) -> None:
        """Watch nothing any more."""
        self._keys.clear()


class Peer:
    """A client of a server, in memory; as a context manager, it closes the server's reactor.

    Args:
        server: On a reactor with a `MemorySelector`; see `of`.
        clock: The reactor's.
        target: The path that it asks for.
        headers: Further fields of its request.

    Attributes:
        sock: Its end of the connection.
        received: The messages that have come, the oldest first.
        pings: The payloads of the pings that have come.
        pongs: The payloads of the pongs that have come.
        closed: Code and reason of the server's Close, or `None` before it.
        answers_pings: Whether it sends pongs and answers a Close, as a living client does.
        response: The head of the server's response.
        body: What followed it, if it was no 101.
    """

    def __init__(
        self,
        server: Server,
        clock: FakeClock,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.server = server
        self.clock = clock
        self.received: list[str | bytes] = []
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.answers_pings = True
        self.response = b""
        self.body = b""
        self._session = Session(self, client=True, max_message=1 << 40, max_fragments=1 << 40)
        self._unsent = b""
        self._muted = False
        self.sock, theirs = memory_pair()
        accepted: Any = theirs
        server.accepted(accepted, ("memory", self.sock.fileno()))
        self.write(_request(target, headers or {}))
        self.settle()

    @classmethod
    def of(
        cls,
        server: Callable[..., Server] = Server,
        *,
        clock: FakeClock | None = None,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Peer:
        """Return a client of a new server.

        Args:
            server: The class of the server.
            clock: The clock of its reactor; by default a new one.
            target: The path that the client asks for.
            headers: Further fields of the client's request.
            **options: The server's.
        """
        clock = clock or FakeClock()
        reactor = Reactor(selector=MemorySelector(), clock=clock)
        return cls(server(None, reactor=reactor, **options), clock, target, headers)

    def __enter__(self) -> Peer:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the server and its reactor."""
        self.server.reactor.close()

    def send(self, message: str | BytesLike | Message) -> None:
        """Send a message, and let the server answer."""
        if isinstance(message, Message):
            self.write(message.pack(mask=True))
        else:
            self.write(self._session.pack(message))
        self.settle()

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping, and let the server answer."""
        self._session.ping(payload)
        self.settle()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake, unless that has been done, and let the server answer."""
        if self._session.state is State.OPEN:
            self._session.close(code, reason)
        self.settle()

    def frame(self, head: int, payload: bytes) -> None:
        """Send a frame by its first byte, however wrong, and let the server answer."""
        self.write(pack_frame(head, payload, True))
        self.settle()

    def disconnect(self) -> None:
        """Close without a Close, as when a cable is cut and the system notices."""
        self.sock.close()
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, from one of the reactor's timers to the next."""
        reactor, end = self.server.reactor, self.clock.now + seconds
        while True:
            self.settle()
            wait = reactor.next_timeout()
            if wait is None or self.clock.now + wait > end or reactor.closed:
                break
            self.clock.advance(wait)
        self.clock.advance(end - self.clock.now)
        self.settle()

    def settle(self) -> None:
        """Make steps and read what comes, until nothing moves any more."""
        reactor, other = self.server.reactor, self.sock.other
        while not reactor.closed:
            reactor.step(0)
            moved = self._read() | self._send_on()
            ready = other and other.watcher and other.watcher.select()
            if not moved and not ready and reactor.next_timeout() != 0:
                return

    def _send_on(self) -> bool:
        """Send what is still to be sent; return whether some of it went."""
        before = len(self._unsent)
        try:
            while self._unsent and not self.sock.closed:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            pass  # tried again when the server has read
        except OSError:
            self._unsent = b""  # lost with the connection, which reading shows
        return len(self._unsent) < before

    def _read(self) -> bool:
        """Read what has come; return whether there was something."""
        if self.sock.closed or not self.sock.ready & EVENT_READ:
            return False
        try:
            data = self.sock.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.sock.close()
            return True
        if not self.response.endswith(b"\r\n\r\n"):
            head, end, data = (self.response + data).partition(b"\r\n\r\n")
            self.response = head + end
        if self.response.startswith(b"HTTP/1.1 101 "):
            # What the session sends by itself are answers.
            self._muted = not self.answers_pings
            more = self._session.feed(data)
            while more:
                more = self._session.feed(b"")
            self._muted = False
        else:
            self.body += data
        return True

    # ---- from the session ----

    def write(self, data: bytes) -> object:
        """Send bytes, those for which there is no room as soon as there is some."""
        if self._muted:
            return False
        self._unsent += data
        return self._send_on()

    def message_received(self, message: str | bytes) -> None:
        """Note a message."""
        self.received.append(message)

    def fragment_received(self, data: str | bytes, final: bool) -> None:
        """Nothing: messages are put together here."""

    def ping_received(self, payload: bytes) -> None:
        """Note a ping, and answer it."""
        self.pings.append(payload)
        self._session.pong(payload)

    def pong_received(self, payload: bytes) -> None:
        """Note a pong."""
        self.pongs.append(payload)

    def close_received(self, code: int, reason: str) -> None:
        """Note the server's Close; the session has answered it."""
        self.closed = code, reason

    def violated(self, error: ProtocolError) -> None:
        """Raise: the server has broken the protocol."""
        raise AssertionError(f"the server broke the protocol: {error}") from error

    def large_frame(self, begun: bool) -> None:
        """Nothing: this end does not receive into place."""


def _request(target: str, headers: Mapping[str, str]) -> bytes:
    fields = {
        "Host": "memory",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
