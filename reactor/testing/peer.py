"""Clients in memory, for tests: what one says and hears, and one that waits for nothing."""

from __future__ import annotations

from ..loop.reactor import EVENT_READ, Reactor
from ..protocol.extended import ExtendedSession
from ..protocol.extensions import accept_answer, offer
from ..protocol.frames import FIN, MASK, pack_header
from ..protocol.masking import apply_mask, new_key
from ..protocol.messages import as_message
from ..protocol.packing import Packer
from ..protocol.session import Session, State
from ..server import Server
from .clock import FakeClock
from .memory import MemorySelector, memory_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any

    from ..errors import ProtocolError
    from ..protocol.extensions import Extension
    from ..protocol.frames import BytesLike
    from ..protocol.messages import Message

_UNLIMITED = 1 << 40
_SWITCHED = b"HTTP/1.1 101 "
_HEAD_END = b"\r\n\r\n"


class _Answering:
    """What a session says by itself, as an answer to a ping, is framed by its `Speaker`."""

    __slots__ = ()
    _events: Any

    def _write(self, opcode: int, payload: bytes) -> None:
        self._events.say(FIN | opcode, payload)


class _Plain(_Answering, Session):
    __slots__ = ()


class _Extended(_Answering, ExtendedSession):
    __slots__ = ()


class Speaker:
    """What a client says and hears, whatever carries it: the half that all clients share.

    A subclass has a `write`, which takes what is said, and calls `hear` with what has come.

    Args:
        extensions: Those that it offers.
        new_key: Returns the four bytes with which the next frame is masked.

    Attributes:
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
        extensions: Iterable[Extension] = (),
        new_key: Callable[[], bytes] = new_key,
    ) -> None:
        self.received: list[str | bytes] = []
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.answers_pings = True
        self.response = b""
        self.body = b""
        self._extensions = tuple(extensions)
        self._new_key = new_key
        self._muted = False
        self._session: Session = _Plain(
            self, client=True, max_message=_UNLIMITED, max_fragments=_UNLIMITED
        )
        self._packer: Packer | None = None

    @property
    def opened(self) -> bool:
        """Whether the server has answered with 101."""
        return self.response.startswith(_SWITCHED) and self.response.endswith(_HEAD_END)

    @property
    def extensions(self) -> str:
        """What was agreed on, as the server's `Sec-WebSocket-Extensions` has it."""
        return ", ".join(self._fields("Sec-WebSocket-Extensions"))

    # ---- out ----

    def write(self, data: bytes) -> object:
        """Send bytes."""
        raise NotImplementedError

    def request(self, target: str, headers: Mapping[str, str]) -> bytes:
        """Return the head of a request.

        Args:
            target: The path that it asks for.
            headers: Further fields, or others in the place of the usual ones.
        """
        fields = {
            "Host": "memory",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        if self._extensions:
            fields["Sec-WebSocket-Extensions"] = offer(self._extensions)
        fields.update(headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def send(self, message: str | BytesLike | Message) -> None:
        """Send a message.

        Raises:
            TypeError: It is none.
        """
        whole = as_message(message)
        if whole is None:
            raise TypeError(f"{type(message).__name__}, not str, bytes-like or a Message")
        if self._packer is None:
            self.say(FIN | whole.opcode, whole.payload)
        else:
            packed = self._packer.pack(whole, None)
            header = {126: 4, 127: 10}.get(packed[1], 2)
            self.say(packed[0], packed[header:])

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self._session.ping(payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake, unless that has been done."""
        if self._session.state is State.OPEN:
            self._session.close(code, reason)

    def frame(self, head: int, payload: bytes) -> None:
        """Send a frame by its first byte, however wrong."""
        self.say(head, payload)

    def say(self, head: int, payload: bytes) -> None:
        """Send a masked frame by its first byte, unless it is an answer that is not given."""
        if not self._muted:
            key = self._new_key()
            header = pack_header(head, len(payload), MASK)
            self.write(b"".join((header, key, apply_mask(payload, key))))

    # ---- in ----

    def hear(self, data: bytes) -> None:
        """Take what has come."""
        if not self.response.endswith(_HEAD_END):
            head, end, data = (self.response + data).partition(_HEAD_END)
            self.response = head + end
            if self.opened and self._extensions:
                self._agree()
        if self.opened:
            # What the session sends by itself are answers.
            self._muted = not self.answers_pings
            more = self._session.feed(data)
            while more:
                more = self._session.feed(b"")
            self._muted = False
        else:
            self.body += data

    def _fields(self, name: str) -> list[str]:
        lines = self.response.decode("latin-1").split("\r\n")[1:]
        fields = [line.partition(": ") for line in lines]
        return [value for found, _, value in fields if found.lower() == name.lower()]

    def _agree(self) -> None:
        codecs = accept_answer(self._extensions, self._fields("Sec-WebSocket-Extensions"))
        if codecs:
            self._session = _Extended(
                self, codecs, client=True, max_message=_UNLIMITED, max_fragments=_UNLIMITED
            )
            self._packer = Packer(codecs, False)

    # ---- from the session ----

    def message_received(self, message: str | bytes) -> None:
        """Note a message."""
        self.received.append(message)

    def messages_received(self, messages: Iterable[str | bytes]) -> None:
        """Note several messages."""
        for message in messages:
            self.message_received(message)

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
        """Nothing: this end has no socket to read from."""


class Peer(Speaker):
    """A client of a server, in memory; as a context manager, it closes the server's reactor.

    What it does is answered when the call returns: no time passes. See `Speaker` for what it
    has noted.

    Args:
        server: On a reactor with a `MemorySelector`; see `of`.
        clock: The reactor's.
        target: The path that it asks for.
        headers: Further fields of its request.

    Attributes:
        sock: Its end of the connection.
    """

    def __init__(
        self,
        server: Server,
        clock: FakeClock,
        target: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.server = server
        self.clock = clock
        self._unsent = b""
        self.sock, theirs = memory_pair()
        accepted: Any = theirs
        server.accepted(accepted, ("memory", self.sock.fileno()))
        self.write(self.request(target, headers or {}))
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
        super().send(message)
        self.settle()

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping, and let the server answer."""
        super().ping(payload)
        self.settle()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake, unless that has been done, and let the server answer."""
        super().close(code, reason)
        self.settle()

    def frame(self, head: int, payload: bytes) -> None:
        """Send a frame by its first byte, however wrong, and let the server answer."""
        super().frame(head, payload)
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

    def write(self, data: bytes) -> object:
        """Send bytes, those for which there is no room as soon as there is some."""
        self._unsent += data
        return self._send_on()

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
        if data:
            self.hear(data)
        else:
            self.sock.close()
        return True
