"""A connection before it is one: the opening handshake on the server's side.

It reads the request, asks the server's policy and the user's `onrequest`, and answers: with a
101, and then there is a `Connection`, or with any other response, and then the end. One
deadline covers it all, from the accept to the 101, and no byte that comes moves it.
"""

from __future__ import annotations

import time

from .errors import HandshakeError
from .logs import logger, place, printable
from .loop.transport import LINGER, Transport
from .protocol import handshake
from .protocol.http import HeadReader, Response, http_date

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Protocol

    from .connection import Connection
    from .loop.reactor import Reactor
    from .protocol.handshake import Request, ServerPolicy
    from .protocol.http import Headers
    from .settings import Settings

    class Host(Protocol):
        """What an `Opening` needs: the server, whose `onrequest` is asked besides."""

        reactor: Reactor
        settings: Settings
        policy: ServerPolicy
        stopping: bool

        def connect(
            self,
            transport: Transport,
            request: Request,
            handlers: Any,
            subprotocol: str | None,
        ) -> Connection:
            """Return the connection that the handshake has led to."""

        def opening_ended(self, opening: Opening) -> None:
            """Forget this handshake: it is over."""


class Opening:
    """An accepted socket, until its request is answered.

    Args:
        server: Whose policy and handlers decide.
        sock: The socket.
        address: The peer's.
    """

    __slots__ = ("_head", "_timer", "_transport", "address", "began", "request", "server")

    def __init__(self, server: Host, sock: socket.socket, address: Any) -> None:
        reactor = server.reactor
        self.server = server
        self.address = address
        self.began = reactor.now
        self.request: Request | None = None
        self._head = HeadReader()
        self._transport = Transport(reactor, sock, self, self._received)
        self._timer = reactor.call_later(server.settings.handshake_timeout, self._overdue)

    def abort(self) -> None:
        """Drop it at once."""
        self._transport.abort()

    # ---- from the transport ----

    def drained(self) -> None:
        """The queue is short again; called by the transport."""

    def emptied(self) -> None:
        """The queue is empty; called by the transport."""

    def gone(self, error: OSError | None) -> None:
        """The socket is closed; called by the transport, once."""
        self._timer.cancel()
        self.server.opening_ended(self)

    def _received(self, data: bytes) -> None:
        try:
            whole = self._head.feed(data)
            if whole is None:
                return
            head, rest = whole
            request = self.request = handshake.Request(head, self.address)
            handshake.check_framing(request)
            self._answer(request, rest)
        except HandshakeError as error:
            self._reject(error)

    # ---- the answer ----

    def _answer(self, request: Request, rest: bytes) -> None:
        server = self.server
        if server.stopping:
            raise HandshakeError(503, "the server is stopping", [("Retry-After", "1")])
        handlers: Any = server
        upgrade = handshake.wants_upgrade(request)
        if upgrade:
            found = server.policy.check(request)
            # One that counts its clients by `__len__` is false while it is empty.
            handlers = server if found is None else found
        try:
            answer = handlers.onrequest(request)
            fields = () if isinstance(answer, Response) else answer or ()
            extra = handshake.extra_fields(fields)
        except Exception:
            logger().exception("onrequest raised for %s", printable(repr(request)))
            raise HandshakeError(500, "the server failed to answer") from None
        if self._transport.closed:
            return  # by onrequest, as when it stops the server
        if isinstance(answer, Response):
            self._respond(answer)
        elif upgrade:
            self._open(request, handlers, extra, rest)
        else:
            raise server.policy.refuse(request)

    def _open(self, request: Request, handlers: Any, extra: Headers, rest: bytes) -> None:
        subprotocol = self.server.policy.subprotocol(request)
        response = handshake.accept(request, subprotocol, extra)
        request.forget()
        connection = self.server.connect(self._transport, request, handlers, subprotocol)
        self._timer.cancel()
        self.server.opening_ended(self)
        connection.begin(response, rest)

    def _reject(self, error: HandshakeError) -> None:
        logger().info("%s: refused: %s", place(self.address), printable(str(error)))
        self._respond(handshake.rejection(error))

    def _respond(self, response: Response) -> None:
        """Answer and end: what follows the head is never parsed."""
        head_only = self.request is not None and self.request.method == "HEAD"
        transport = self._transport
        # Also if writing fails, when the transport reads once more what the peer had sent.
        transport.received = self._ignore
        transport.write(response.pack(http_date(time.gmtime()), head_only=head_only))
        self._timer.cancel()
        transport.progress = self.server.reactor.now
        transport.finish()
        self._linger()

    def _linger(self) -> None:
        """Look every two seconds whether the peer still reads, and then whether it ends."""
        transport, reactor = self._transport, self.server.reactor
        if transport.closed:
            return
        patience = self.server.settings.write_timeout if transport.buffered else LINGER
        if reactor.now >= transport.progress + patience:
            transport.abort()
        else:
            self._timer = reactor.call_later(LINGER, self._linger)

    def _ignore(self, data: bytes) -> None:
        """Drop what follows the head."""

    def _overdue(self) -> None:
        if self._head.started:
            self._reject(HandshakeError(408, "the request did not come in time"))
        else:
            logger().info("%s: no request came", place(self.address))
            self.abort()
