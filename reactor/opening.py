"""A connection before it is one: the opening handshake on the server's side.

It reads the request, asks the server's policy and the user's `onrequest`, and answers: with a
101, and then there is a `Connection`, or with any other response, and then the end. Each state
is the function that takes what comes next:

```text
_proxied     the head of the PROXY protocol, if the server asks for it
(Tls)        the TLS handshake, if it speaks TLS
_received    the request
_ignore      it is answered, but not with 101
```

One deadline covers it all, from the accept to the 101, and no byte that comes moves it.
"""

from __future__ import annotations

import time

from .errors import HandshakeError
from .logs import logger, place, printable
from .loop.timers import Deadline
from .loop.transport import LINGER, Transport
from .opened import Opened
from .protocol import handshake
from .protocol.answer import Response, http_date
from .protocol.http import HeadReader, take_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext, SSLError
    from typing import Any, Protocol

    from .loop.reactor import Reactor
    from .loop.tally import Tally
    from .loop.timers import Timer
    from .opened import Stream
    from .protocol.extensions import Codec, Extension
    from .protocol.familiar import Recalled
    from .protocol.forwarded import TrustedProxies
    from .protocol.handshake import Request, ServerPolicy
    from .protocol.http import Headers
    from .settings import Settings

    class Connected(Protocol):
        """What a handshake leads to: a connection."""

        def begin(self, response: bytes, rest: bytes, timer: Timer) -> None:
            """Send the response, go on with what came behind the request, use the timer."""

    class Host(Protocol):
        """What an `Opening` needs: the server, whose `onrequest` is asked besides."""

        reactor: Reactor
        settings: Settings
        policy: ServerPolicy
        extensions: tuple[Extension, ...]
        tally: Tally
        proxy_protocol: bool
        stopping: bool
        tls: SSLContext | None
        trusted_proxies: TrustedProxies | None

        def connect(self, opened: Opened) -> Connected:
            """Return the connection that the handshake has led to."""

        def opening_ended(self, opening: Opening) -> None:
            """Forget this handshake: it is over."""

        def connection_ended(self, connection: Any) -> None:
            """Forget this connection: it is closed."""


class Opening:
    """An accepted socket, until its request is answered.

    Args:
        server: Whose policy and handlers decide.
        sock: The socket.
        address: The peer's.
        head: What somebody else has read already, who has also done all that comes before a
            request; by default nobody has.

    Attributes:
        began: When it began, in seconds of the reactor's `awake`.
        error: Why it leads to no connection, once that is certain, or `None`.
    """

    __slots__ = (
        "_head",
        "_timer",
        "_transport",
        "address",
        "began",
        "error",
        "request",
        "server",
    )

    def __init__(
        self, server: Host, sock: socket.socket, address: Any, head: bytes | None = None
    ) -> None:
        reactor = server.reactor
        self.server = server
        self.address = address
        self.began = reactor.awake
        self.request: Request | None = None
        self.error: HandshakeError | None = None
        self._head: HeadReader | None = None  # nearly every head comes whole, and needs none
        self._transport: Stream = Transport(reactor, sock, self, self._received, server.tally)
        delay = server.settings.handshake_timeout
        # A `Timer` once it is answered, but not with 101.
        self._timer: Any = Deadline(reactor, delay, self._overdue)
        if head:
            # What the socket still has comes behind it.
            self._transport.pause()
            reactor.call_soon(self._go_on, head)
        elif head is None and server.proxy_protocol:
            self._expect_proxy()
        elif head is None and server.tls is not None:
            self._secure(server.tls)

    def abort(self) -> None:
        """Drop it at once."""
        self._transport.abort()

    @property
    def look(self) -> Callable[[], None]:
        """What reads what has come already; called by the listener, in the same step."""
        transport: Any = self._transport
        look: Callable[[], None] = getattr(transport, "below", transport).look
        return look

    # ---- from the transport ----

    def drained(self) -> None:
        """The queue is short again; called by the transport."""

    def emptied(self) -> None:
        """The queue is empty; called by the transport."""

    def gone(self, error: Exception | None) -> None:
        """The socket is closed; called by the transport, once."""
        self._timer.cancel()
        if self.error is None:
            self._failed("the client has left", error)
        self.server.opening_ended(self)

    # ---- before the request ----

    def _go_on(self, head: bytes) -> None:
        """Begin with what somebody else has read."""
        if not self._transport.closed:
            self._transport.resume()
            self._received(head)

    def _expect_proxy(self) -> None:
        from .protocol.forwarded import ProxyReader

        trusted = self.server.trusted_proxies
        if trusted is not None and not trusted.trusts(self.address):
            logger().info("%s: refused: not a trusted proxy", place(self.address))
            self.abort()
            return
        reader = ProxyReader()

        def proxied(data: bytes) -> None:
            try:
                whole = reader.feed(data)
            except ValueError as error:
                logger().info("%s: refused: %s", place(self.address), error)
                self.abort()
                return
            if whole is not None:
                self._proxied(*whole)

        self._transport.received = proxied

    def _proxied(self, address: Any, rest: bytes) -> None:
        """Take the client's address from its proxy."""
        if address is not None:
            self.address = address
        transport, tls = self._transport, self.server.tls
        transport.received = self._received
        if tls is not None:
            self._secure(tls)
        if rest:
            transport.received(rest)

    def _secure(self, context: SSLContext) -> None:
        from .loop.tls import Tls

        self._transport = Tls(
            self.server.reactor,
            self._transport,
            context,
            events=self,
            received=self._received,
            secured=_nothing,
            refused=self._insecure,
            server_side=True,
        )

    def _insecure(self, error: SSLError) -> None:
        """End, since the TLS handshake has failed; the alert is on its way."""
        # The second is what OpenSSL says of CONNECT.
        if error.reason in ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST"):
            # Whoever has mistyped a URI is told so in the language that was spoken.
            self._transport = getattr(self._transport, "below", self._transport)
            self._reject(HandshakeError(400, "plain HTTP, on a port with TLS"))
            return
        reason = printable(error.reason or str(error))
        logger().info("%s: no TLS: %s", place(self.address), reason)
        self._failed(f"no TLS: {reason}", error)
        self._timer.cancel()
        self._finish()

    # ---- the request ----

    def _received(self, data: bytes) -> None:
        try:
            if self.request is not None:  # whose onrequest was interrupted
                raise HandshakeError(400, "bytes behind a request that is not answered yet")
            reader = self._head
            whole = take_head(data) if reader is None else reader.feed(data)
            if whole is None:
                if reader is None:
                    self._head = HeadReader()
                    self._head.feed(data)
                return
            head, rest = whole
            server = self.server
            known = server.policy.recall(head, self.address)
            if known is None:
                request = self.request = handshake.Request(head, self.address)
                handshake.check_framing(request)
            else:
                request = self.request = known[0]
            trusted = server.trusted_proxies
            if trusted is not None:
                self.address = request.address = trusted.client(self.address, request.headers)
            self._answer(request, rest, known)
        except HandshakeError as error:
            self._reject(error)

    # ---- the answer ----

    def _answer(self, request: Request, rest: bytes, known: Recalled | None) -> None:
        server = self.server
        if server.stopping:
            raise HandshakeError(503, "the server is stopping", [("Retry-After", "1")])
        handlers: Any = server
        upgrade = known is not None or handshake.wants_upgrade(request)
        if upgrade:
            found = server.policy.check(request) if known is None else known[1]
            # One that counts its clients by `__len__` is false while it is empty.
            handlers = server if found is None else found
        reactor = server.reactor
        clock = reactor.clock
        began = clock()
        try:
            answer = handlers.onrequest(request)
            fields = () if isinstance(answer, Response) else answer
            extra = handshake.extra_fields(fields) if fields else None
        except Exception:
            logger().exception("onrequest raised for %s", printable(repr(request)))
            raise HandshakeError(500, "the server failed to answer") from None
        finally:
            ended = clock()
            if ended - began > reactor.slow:
                reactor.took(handlers.onrequest, began, ended)
        if self._transport.closed:
            return  # by onrequest, as when it stops the server
        if isinstance(answer, Response):
            self.error = HandshakeError(answer.status, "answered by onrequest")
            self._respond(answer)
        elif upgrade:
            if known is None:
                server.policy.remember(request)
            self._open(request, handlers, extra, rest)
        else:
            raise server.policy.refuse(request)

    def _open(
        self, request: Request, handlers: Any, extra: Headers | None, rest: bytes
    ) -> None:
        server = self.server
        subprotocol = server.policy.subprotocol(request)
        answer, codecs = self._negotiate(request) if server.extensions else ("", ())
        response = handshake.accept(request, subprotocol, extra, answer)
        request.forget()
        opened = Opened(server, self._transport, request, handlers, subprotocol, codecs)
        connection = server.connect(opened)
        server.opening_ended(self)
        connection.begin(response, rest, self._timer.give_away())

    def _negotiate(self, request: Request) -> tuple[str, tuple[Codec, ...]]:
        """Return the answer to the extensions that are offered, and their codecs."""
        offers = request.headers.get_all("Sec-WebSocket-Extensions")
        if not offers:
            return "", ()
        from .protocol.extensions import accept_offers

        try:
            return accept_offers(self.server.extensions, offers)
        except HandshakeError:
            raise
        except Exception:
            logger().exception("an extension failed for %s", printable(repr(request)))
            raise HandshakeError(500, "the server failed to answer") from None

    def _reject(self, error: HandshakeError) -> None:
        logger().info("%s: refused: %s", place(self.address), printable(str(error)))
        # Its traceback would hold this, and this it.
        self.error = error.with_traceback(None)
        self._respond(handshake.rejection(error))

    def _failed(self, reason: str, cause: Exception | None) -> None:
        """Note why it has failed, where there is nobody to answer."""
        self.error = HandshakeError(0, reason)
        self.error.__cause__ = None if cause is None else cause.with_traceback(None)

    def _respond(self, response: Response) -> None:
        """Answer and end: what follows the head is never parsed."""
        head_only = self.request is not None and self.request.method == "HEAD"
        transport = self._transport
        # Also if writing fails, when the transport reads once more what the peer had sent.
        transport.received = self._ignore
        transport.write(response.pack(http_date(time.gmtime()), head_only=head_only))
        self._timer.cancel()
        self._finish()

    def _finish(self) -> None:
        self._transport.progress = self.server.reactor.clock()
        self._transport.finish()
        self._linger()

    def _linger(self) -> None:
        """Look every two seconds whether the peer still reads, and then whether it ends."""
        transport, reactor = self._transport, self.server.reactor
        if transport.closed:
            return
        patience = self.server.settings.write_timeout if transport.buffered else LINGER
        # By `heard`: whether it has read in a stall is known when the sockets were asked again.
        if reactor.heard >= transport.progress + patience:
            transport.abort()
        else:
            self._timer = reactor.call_later(LINGER, self._linger)

    def _ignore(self, data: bytes) -> None:
        """Drop what follows the head."""

    def _overdue(self) -> None:
        begun = self._head is not None and self._head.started
        if begun or self.request is not None:
            self._reject(HandshakeError(408, "the request did not come in time"))
        else:
            logger().info("%s: no request came", place(self.address))
            self._failed("no request came in time", None)
            self.abort()


def _nothing() -> None:
    """The TLS handshake is over: the request follows."""
