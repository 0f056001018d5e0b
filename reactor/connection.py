"""THE HALL: one open WebSocket, where bytes and sockets meet.

A `Session` says what the bytes mean, a `Transport` moves them, `Deadlines` watch the clock; the
connection joins them and tells the user. Input goes to one of these, which one is its phase:

```text
_input     OPEN     deadlines: ping_interval, ping_timeout, write_timeout
           CLOSING  our Close is out; deadline: close_timeout
_keep      OPEN     the user has paused
_discard   CLOSED   (the transport's) what is queued, FIN, the peer's FIN; deadline: LINGER
```

Every end, whatever its cause, comes to `gone`, once, when the socket is closed; from there
`onclose` is called, once for each `onopen`, never from inside the user's own call, and nothing
after it.
"""

from __future__ import annotations

from .deadlines import Deadlines
from .errors import ProtocolError, QueueFull
from .handlers import Told
from .logs import place, printable
from .loop.transport import LINGER
from .protocol.session import Session, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, Union

    from .handlers import Handlers
    from .loop.reactor import Reactor
    from .loop.tls import Tls
    from .loop.transport import Transport
    from .protocol.frames import BytesLike
    from .protocol.handshake import Request
    from .settings import Settings

    Stream = Union[Transport, Tls]

    class Host(Protocol):
        """What a `Connection` needs: the server, or the client."""

        reactor: Reactor
        settings: Settings

        def connection_ended(self, connection: Connection) -> None:
            """Forget this connection: it is closed."""


# To look up a member of an enum costs 70 ns before Python 3.12, a global 15.
_OPEN: State = State.OPEN


class Connection(Told):
    """One WebSocket connection of a `Server`, which makes it; a `Client` has one inside.

    Its methods belong to the reactor's thread. Override `onopen`, `onmessage` and their kin
    (see `Told`) in a subclass, or leave them to the server's.

    Attributes:
        server: The server that accepted it.
        request: The opening request.
        subprotocol: What was agreed on, or `None`.
        close_code: The code of the end, once there is one: what `onclose` is told.
        close_reason: The reason of the end.
        was_clean: Whether both sides have sent their Close (WHATWG `wasClean`).
        data: For the user.
        is_client: Whether this side is the client: of the class, not of each connection.
    """

    is_client = False

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_going_on",
        "_paused",
        "_pong",
        "_reactor",
        "_session",
        "_settings",
        "_stop",
        "_transport",
        "close_code",
        "close_reason",
        "data",
        "request",
        "server",
        "subprotocol",
        "was_clean",
    )

    def __init__(
        self,
        server: Host,
        transport: Stream,
        request: Request,
        handlers: Handlers,
        subprotocol: str | None,
    ) -> None:
        super().__init__(handlers)
        self.server: Any = server  # the user's class, with what it has of its own
        self.request = request
        self.subprotocol = subprotocol
        self.close_code: int | None = None
        self.close_reason = ""
        self.was_clean = False
        self.data: Any = None
        self._reactor = server.reactor
        self._settings = settings = server.settings
        self._transport = transport
        self._session = Session(
            self,
            client=self.is_client,
            max_message=settings.max_message,
            max_fragments=settings.max_fragments,
        )
        self._session.state = State.CONNECTING
        self._deadlines = Deadlines(server.reactor, transport, settings, self)
        self._stop = self._paused = self._going_on = False
        self._pong: bytes | None = None

    # ---- what the user calls ----

    @property
    def reactor(self) -> Reactor:
        """The reactor that it lives in."""
        return self._reactor

    @property
    def address(self) -> Any:
        """The peer's: host and port (for IPv6 two numbers more), or `""` for a unix socket."""
        return self.request.address

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject`, or `None` without TLS.

        Its `version()`, `cipher()`, `getpeercert()` and `selected_alpn_protocol()` tell about
        the connection.
        """
        return self._transport.tls

    @property
    def ready_state(self) -> State:
        """Where it is in its life (WHATWG `readyState`); `CONNECTING` only until `onopen`."""
        return self._session.state

    @property
    def buffered_amount(self) -> int:
        """Bytes, headers included, that the kernel has not taken yet."""
        return self._transport.buffered

    @property
    def rtt(self) -> float | None:
        """How long the last ping of keepalive took to be answered, in seconds, or `None`."""
        return self._deadlines.rtt

    def send(self, message: str | BytesLike) -> bool:
        """Send a message. Hot.

        Args:
            message: `str` goes as text, bytes-like as binary.

        Returns:
            Whether the write queue is below its high-water mark, 64 KiB: if not, `ondrain`
            follows, and it is better to wait. False also if the message was not sent: because
            the connection is ending, or by the overflow policy "skip".

        Raises:
            TypeError: The message is neither `str` nor bytes-like.
            QueueFull: By the overflow policy "error".
        """
        return self.send_packed(self._session.pack(message))

    def send_packed(self, frame: bytes) -> bool:
        """Send what is framed already; called by `send` and by `Server.broadcast`.

        Returns:
            As `send`.

        Raises:
            QueueFull: By the overflow policy "error".
        """
        if self._session.state is not _OPEN:
            return False
        transport = self._transport
        waiting = transport.buffered
        if waiting and waiting + len(frame) > self._settings.max_write_queue:
            return self._has_room(len(frame)) and transport.write(frame)
        return transport.write(frame)

    def ping(self, payload: BytesLike = b"") -> None:
        """Send a ping; `onpong` follows. Does nothing unless the connection is open.

        Args:
            payload: At most 125 bytes, which the pong carries too.

        For the write queue it counts as a message.

        Raises:
            TypeError: The payload is not bytes-like.
            ValueError: It is too long.
            QueueFull: By the overflow policy "error".
        """
        if self._session.state is State.OPEN and self._has_room(len(payload)):
            self._session.ping(payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; `onclose` follows, at the latest after `close_timeout`.

        What was sent before leaves first; messages that come from now on are dropped. The
        first call counts.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: At most 123 bytes in UTF-8.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        if self._session.state is State.OPEN:
            self._session.close(code, reason)
            self._deadlines.end_within(self._settings.close_timeout, self._unanswered)
            self.resume()  # the peer's Close may stand behind what was not read

    def abort(self) -> None:
        """Drop the connection at once; what is queued is lost, and `onclose` is told 1006."""
        self._abort(None)

    def pause(self) -> None:
        """Stop reading and delivering; the peer is held up when the buffers are full.

        While it is paused, a silent peer cannot be told from a held-up one: keepalive rests.
        """
        if self._session.state is State.OPEN and not self._paused:
            self._paused = self._stop = True
            self._transport.received = self._keep
            self._transport.pause()

    def resume(self) -> None:
        """Go on reading and delivering, from the next step."""
        if self._paused:
            self._paused = False
            if self._session.state is not State.CLOSED:
                self._deadlines.last_seen = self._reactor.now
                self._transport.received = self._input
                self._unstop()

    # ---- from the opening ----

    def begin(self, response: bytes, rest: bytes) -> None:
        """Open the connection; called once.

        Args:
            response: The 101, to be sent first; a client has none.
            rest: What has come behind the peer's part of the handshake.
        """
        transport = self._transport
        transport.events = self
        transport.received = self._input
        self._deadlines.start()
        self._session.state = State.OPEN
        # Corked, so that what onopen sends leaves with the response.
        transport.cork()
        try:
            if response:
                transport.write(response)
            self._guard(self.onopen)
        finally:
            transport.uncork()
        if rest and not transport.closed:
            transport.received(rest)

    # ---- from the transport ----

    def _input(self, data: bytes) -> None:
        """Take input. Hot."""
        self._deadlines.last_seen = self._reactor.now
        transport = self._transport
        transport.cork()
        try:
            more = self._session.feed(data)
        finally:
            transport.uncork()
        if more or transport.choked:
            self._hold(more)

    def _keep(self, data: bytes) -> None:
        self._session.keep(data)

    def vacancy(self) -> memoryview:
        """Return where the next bytes of a large frame belong; called by the transport."""
        return self._session.vacancy()

    def filled(self, count: int, room: int) -> None:
        """Take bytes received into place; called by the transport."""
        self._deadlines.last_seen = self._reactor.now
        transport = self._transport
        transport.cork()
        try:
            self._session.filled(count, room)
        finally:
            transport.uncork()
        if transport.choked:
            self._hold(False)

    def drained(self) -> None:
        """The queue is short again; called by the transport."""
        # Before ondrain, which may fill the queue again, so that it is never empty.
        self.emptied()
        self._unstop()
        if self._session.state is State.OPEN:
            self._guard(self.ondrain)

    def emptied(self) -> None:
        """The queue is empty, or short: the pong that waits leaves; called by the transport."""
        pong, self._pong = self._pong, None
        if pong is not None and self._session.state is State.OPEN:
            self._session.pong(pong)

    def gone(self, error: Exception | None) -> None:
        """The socket is closed: the one way to `onclose`; called by the transport, once."""
        # What had come whole before the end is delivered, as in steps before, unless the user
        # has paused.
        more = False
        try:
            if not self._paused:
                self._stop = False
                more = self._session.feed(b"")
        finally:
            if more and not self._paused:
                self._reactor.call_soon(self.gone, error)
            else:
                self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._deadlines.cancel()
        self._session.eof()
        self.server.connection_ended(self)
        told = self.close_code is not None  # why it ended: a RST that follows is no news
        if self.close_code is None:
            self.close_code = 1006
        # An interrupt out of one must not spare the user the other.
        try:
            if error is not None and not told:
                self._tell(self.onerror, error)
        finally:
            self._tell(self.onclose, self.close_code, self.close_reason)

    # ---- from the session ----

    def write(self, data: bytes) -> object:
        """Send bytes; called by the session."""
        return self._transport.write(data)

    def message_received(self, message: str | bytes) -> bool:
        """Deliver a message; called by the session. Hot: holds the path's only `try`."""
        try:
            self.onmessage(message)
        except Exception as error:
            self._log(self.onmessage, error)
            self._handler_failed(error)
        return self._stop or (self._transport.choked and not self.is_client)

    def ping_received(self, payload: bytes) -> bool:
        """Answer a ping; called by the session."""
        self._guard(self.onping, payload)
        if self._session.state is State.OPEN:
            # A peer that pings and does not read must not fill the queue: "If an endpoint
            # receives a Ping frame and has not yet sent Pong frame(s) in response to previous
            # Ping frame(s), the endpoint MAY elect to send a Pong frame for only the most
            # recently processed Ping frame" (RFC 6455 §5.5.3).
            self._transport.flush()
            if self._transport.buffered:
                self._pong = payload
            else:
                self._session.pong(payload)
                self._transport.flush()
        return self._stop

    def pong_received(self, payload: bytes) -> bool:
        """Note an answer; called by the session."""
        self._deadlines.pong_received(payload)
        self._guard(self.onpong, payload)
        return self._stop

    def close_received(self, code: int, reason: str) -> None:
        """End cleanly; called by the session."""
        self.close_code, self.close_reason = code, reason
        self.was_clean = True
        self._finish()

    def violated(self, error: ProtocolError) -> None:
        """End, since the peer broke a rule; called by the session."""
        self.close_code, self.close_reason = error.code, error.reason
        self._tell(self.onerror, error)
        self._finish()

    def large_frame(self, begun: bool) -> None:
        """Receive into place while a large frame comes; called by the session."""
        self._transport.place = self if begun else None

    # ---- flow ----

    def _hold(self, more: bool) -> bool:
        """Do not read while there is more in hand, or the peer does not read the answers.

        What is in hand is parsed in the next step, behind the other connections; when the peer
        takes the answers, `drained` follows. A client reads on: if each side waited for the
        other to read, both would wait for ever.

        Returns:
            Whether reading has stopped.
        """
        if self._paused or self._session.state is State.CLOSED:
            return True
        choked = self._transport.choked and not self.is_client
        if choked or more:
            self._transport.pause()
            if not choked:
                self._go_on_soon()
        return choked or more

    def _go_on_soon(self) -> None:
        if not self._going_on:
            self._going_on = True
            self._reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        transport = self._transport
        if self._paused or transport.closed or (transport.choked and not self.is_client):
            return
        transport.cork()
        try:
            more = self._session.feed(b"")
        finally:
            transport.uncork()
        if not self._hold(more):
            transport.resume()

    def _unstop(self) -> None:
        """Go on after a pause, the user's or for want of room."""
        if not self._paused:
            self._stop = False
            self._go_on_soon()

    def _has_room(self, size: int) -> bool:
        """Return whether the queue may take `size` bytes more; if not, apply the policy."""
        transport, settings = self._transport, self._settings
        if transport.buffered + size > settings.max_write_queue:
            transport.flush()  # what is corked does not wait for the peer
        waiting = transport.buffered
        size += waiting
        if not waiting or size <= settings.max_write_queue:
            return True
        if settings.overflow == "skip":
            return False
        error = QueueFull(size, settings.max_write_queue)
        if settings.overflow == "error":
            raise error
        self._drop(error)
        return False

    # ---- ends ----

    def silent(self) -> None:
        """No byte has answered a ping; called by the deadlines."""
        self._fail("ping timeout", TimeoutError("no answer to a ping"))

    def stuck(self) -> None:
        """The peer takes nothing; called by the deadlines."""
        self._drop(TimeoutError("the peer takes nothing of what is sent"))

    def _unanswered(self) -> None:
        self._drop(TimeoutError("the peer did not answer our Close"))

    def _finish(self) -> None:
        """All is said: send what is queued, then FIN, and wait for the peer's."""
        self._stop = True
        transport = self._transport
        # "the underlying TCP connection, in most normal cases, SHOULD be closed first by the
        # server" (RFC 6455 §7.1.1): the side that closes first is the one that must wait.
        transport.finish(half_close=not self.is_client)
        delay = self._settings.close_timeout if transport.buffered else LINGER
        self._deadlines.end_within(delay, transport.abort)

    def _fail(self, reason: str, error: Exception) -> None:
        """Fail the connection for a fault that is not one of the peer's grammar: 1011."""
        is_open = self._session.state is State.OPEN
        if is_open:
            self.close_code, self.close_reason = 1011, reason
            self._session.close(1011, reason)
            self._session.eof()
        self._tell(self.onerror, error)
        if is_open:
            self._finish()

    def _drop(self, error: Exception) -> None:
        """Drop the connection, since nothing more can be said to the peer."""
        self.close_reason = str(error)
        self._abort(error)  # told in the next step: we may be inside the user's `send`

    def _abort(self, error: Exception | None) -> None:
        if self._session.state is not State.CONNECTING:
            self._stop = True
            self._deadlines.cancel()
            self._session.eof()
            self._transport.abort(error)

    def _handler_failed(self, error: Exception) -> None:
        """One connection's handler raised: that connection fails, the others live."""
        self._fail("internal error", error)

    def __repr__(self) -> str:
        """Return state, address and target."""
        state, target = self.ready_state.name, printable(self.request.target)
        return f"<{type(self).__name__} {state} {place(self.address)} {target}>"
