"""One socket that becomes a WebSocket, and what comes and goes there: under a `WebSocket`.

It is what a `Server` is to an `Opening`, a `Client` to an `Attempt` and a `Connection` to a
`Transport`, as far as one socket needs them. Nothing is called back: who makes the reactor's
steps looks between them what has become of it.

```text
Opening, Attempt --> over: opened, and then  framing   what has come, frame by frame
                       or: error             transport what is to go
                                             lost      nothing more will
```
"""

from __future__ import annotations

import errno

from .attempt import Attempt
from .errors import ConnectionClosed, ProtocolError, QueueFull
from .handlers import Handlers
from .loop.resolver import Resolver
from .loop.tally import Tally
from .opened import Opened
from .opening import Opening
from .protocol.framing import Framing

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from .handlers import Answer
    from .loop.reactor import Reactor
    from .loop.stepped import Patience
    from .loop.timers import Timer
    from .opened import Stream
    from .protocol.extensions import Codec
    from .protocol.forwarded import TrustedProxies
    from .protocol.frames import Frame
    from .protocol.handshake import Request
    from .protocol.response import Reply
    from .terms import Terms
    from .wish import Wish


class Upgrade:
    """One socket, from the beginning of its handshake.

    Args:
        reactor: The reactor that it lives in.
        terms: What is asked for and accepted.
        shared: Whether others live in the reactor.

    Attributes:
        over: Whether the handshake is.
        opened: What it has led to, if it has.
        response: The server's 101, on the client's side.
        framing: The frames, if it is open.
        lost: Whether the connection has ended, after it was open.
        is_client: Whether this side is the client.
    """

    # What an `Opening` asks a server for.
    proxy_protocol = False
    stopping = False
    trusted_proxies: TrustedProxies | None = None

    __slots__ = (
        "_attempt",
        "_error",
        "_loss",
        "_onrequest",
        "_opening",
        "_shared",
        "extensions",
        "framing",
        "is_client",
        "lost",
        "opened",
        "over",
        "policy",
        "reactor",
        "response",
        "settings",
        "tally",
        "tls",
    )

    def __init__(self, reactor: Reactor, terms: Terms, *, shared: bool) -> None:
        self.reactor = reactor
        self.settings = terms.settings
        self.tally = Tally()
        self.policy = terms.policy
        self.extensions = terms.extensions
        self.tls = terms.tls
        self._onrequest = terms.onrequest
        self._shared = shared
        self._opening: Opening | None = None
        self._attempt: Attempt | None = None
        self._error: Exception | None = None
        self._loss: Exception | None = None
        self.over = self.lost = self.is_client = False
        self.response: Reply | None = None
        self.opened: Opened
        self.framing: Framing

    # ---- the handshake ----

    def accept(self, sock: socket.socket, address: Any) -> None:
        """Begin as a server.

        Args:
            sock: Connected; it is the transport's from now on.
            address: The peer's.

        Raises:
            OSError: The socket cannot be watched.
        """
        self._opening = Opening(self, sock, address)

    def ask(self, sock: socket.socket, address: Any, wish: Wish, *, stays: bool) -> None:
        """Begin as a client.

        Args:
            sock: Connected; it is the transport's from now on.
            address: The peer's.
            wish: What is asked for.
            stays: Whether no other socket will do, whatever the server answers.
        """
        self.is_client = True
        wish.resolver = Resolver(self.reactor)
        self._attempt = Attempt(self, wish)
        self._attempt.begin(sock, address, stays=stays)

    def finish(self, patience: Patience) -> None:
        """Return when the handshake is over.

        Raises:
            BlockingIOError: It is not over.
            TimeoutError: It is not over.
            Exception: It has failed.
        """
        while not self.over:
            # A server knows it while it still tells the client: to close the socket too early
            # could take back what was said.
            if self._failure is not None and not patience.waits:
                break
            try:
                patience.step(self.reactor)
            except TimeoutError:
                if self._failure is None:
                    raise
                break
        if self._failure is not None:
            raise self._failure
        self._leave_to_others()

    @property
    def _failure(self) -> Exception | None:
        return self._error if self._opening is None else self._opening.error

    @property
    def transport(self) -> Stream:
        """The way to the peer, if it is open."""
        return self.opened.transport

    @property
    def sock(self) -> socket.socket:
        """The socket, which need not be that with which the handshake began."""
        transport: Any = self.opened.transport
        sock: socket.socket = getattr(transport, "below", transport).sock
        return sock

    def close(self) -> None:
        """Drop it, whatever it has come to."""
        if hasattr(self, "opened"):
            if self.tls is not None:
                self.transport.finish()  # which says close_notify
            self.transport.abort()
        elif self._opening is not None:
            self._opening.abort()
        elif self._attempt is not None:
            self._attempt.cancel()

    # ---- from the opening ----

    def onrequest(self, request: Request) -> Answer:
        """Ask the user, if he wants to be asked."""
        return None if self._onrequest is None else self._onrequest(request)

    def connect(self, opened: Opened) -> Upgrade:
        """Take what the handshake has led to."""
        self.opened = opened
        return self

    def opening_ended(self, opening: Opening) -> None:
        """Note that the handshake is over; if it was a success, `begin` follows."""
        self.over = True

    def begin(self, response: bytes, rest: bytes, timer: Timer) -> None:
        """Send the response, and take what has come behind the request."""
        timer.cancel()
        self._open(rest)
        self.transport.write(response)

    # ---- from the attempt ----

    def attempt_succeeded(
        self,
        transport: Stream,
        request: Request,
        reply: Reply,
        subprotocol: str | None,
        codecs: tuple[Codec, ...],
        rest: bytes,
    ) -> None:
        """Take what the handshake has led to."""
        self.over = True
        self.response = reply
        self.opened = Opened(
            self, transport, request, Handlers(), subprotocol, codecs, is_client=True
        )
        self._open(rest)

    def attempt_failed(self, error: Exception) -> None:
        """Note that the handshake has led to nothing."""
        self.over = True
        self._error = error

    def _open(self, rest: bytes) -> None:
        self.framing = Framing(
            self.opened.codecs,
            client=self.is_client,
            max_frame=self.settings.max_message,
            write=self._write,
        )
        self.framing.keep(rest)
        self.transport.events = self
        self.transport.received = self.framing.keep

    # ---- frames ----

    def send(self, frames: Sequence[Frame], patience: Patience) -> None:
        """Send frames; see `WebSocket.send`."""
        checked = self.framing.check(frames)
        self._make_room(sum(len(frame.payload) for frame in checked), patience)
        if self.transport.closed:
            raise self._lost_end()
        try:
            packed = self.framing.pack(checked)
        except ProtocolError as error:
            self._fail(error)
            raise
        self.transport.write(packed)
        self._drain(patience)

    def _make_room(self, size: int, patience: Patience) -> None:
        transport, limit = self.transport, self.settings.max_write_queue
        while transport.buffered and transport.buffered + size > limit:
            transport.pause()
            try:
                patience.step(self.reactor)
            except TimeoutError:
                raise BlockingIOError(errno.EAGAIN, "the peer takes nothing") from None

    def flush(self, patience: Patience) -> bool:
        """Go on sending; see `WebSocket.flush`."""
        if self.transport.buffered and not patience.waits:
            self.transport.pause()
            self.reactor.step(0)
        self._drain(patience)
        return not self.transport.buffered

    def _drain(self, patience: Patience) -> None:
        """Wait, if that may be, until nothing is pending; raise if it never will be."""
        transport = self.transport
        while transport.buffered and patience.waits:
            # The end of what comes must not be seen before all has left.
            transport.pause()
            patience.step(self.reactor)
        if transport.broken or transport.closed:
            raise self._lost_end()

    def receive(self, patience: Patience) -> Frame:
        """Return the next frame; see `WebSocket.recv`."""
        framing = self.framing
        try:
            while True:
                frame = framing.next()
                if frame is not None:
                    return frame
                if framing.ended or self.lost:
                    raise self._end()
                self.transport.resume()
                patience.step(self.reactor)
        except ProtocolError as error:
            self._fail(error)
            raise
        finally:
            self._leave_to_others()

    def release(self) -> tuple[Opened, bytes]:
        """Give the connection away; see `WebSocket.release`."""
        rest = self.framing.take_back()
        if self.transport.closed:
            raise self._lost_end()
        self.transport.pause()
        return self.opened, rest

    def _leave_to_others(self) -> None:
        # In a step of others nothing is received: a selector could not see it any more.
        if self._shared:
            self.transport.pause()

    def _fail(self, error: ProtocolError) -> None:
        """Tell the peer, and end."""
        self.transport.write(self.framing.fail(error))
        self.transport.finish(half_close=not self.is_client)

    def _write(self, data: bytes) -> None:
        """Send a frame of an extension's own: who asks for many of them has to read them."""
        waiting, limit = self.transport.buffered, self.settings.max_write_queue
        if waiting and waiting + len(data) > limit:
            raise QueueFull(waiting + len(data), limit)
        self.transport.write(data)

    def _end(self) -> ConnectionClosed:
        framing = self.framing
        code = 1006 if framing.close_code is None else framing.close_code
        error = ConnectionClosed(code, framing.close_reason)
        error.__cause__ = self._loss
        return error

    def _lost_end(self) -> ConnectionClosed:
        while not self.lost:
            self.reactor.step(0)  # in which is received what the peer had sent before
        return self._end()

    # ---- from the transport, and the connection that it is given to ----

    def drained(self) -> None:
        """The queue is short again; called by the transport."""

    def emptied(self) -> None:
        """The queue is empty; called by the transport."""

    def gone(self, error: Exception | None) -> None:
        """The socket is closed; called by the transport, once."""
        self.lost = True
        self._loss = error

    def connection_ended(self, connection: object) -> None:
        """The connection that it was given to has another host: this is not called."""
