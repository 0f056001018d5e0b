"""One attempt of a client: from its URI to the 101.

Each state is the function that takes what comes next:

```text
look up and connect             loop/dialer.py
   the proxy's TLS              loop/tls.py, if the proxy is https
   the tunnel                   _tunnelled, protocol/proxies.py, if there is a proxy
   TLS                          loop/tls.py, if it is wss
   request and response         _replied, protocol/requesting.py
      redirect, challenge       again from the top, with another URI or an Authorization
```

One deadline covers it all, and no byte that comes moves it. Every failure comes to `_fail`,
once, and says in which state it happened if the error itself does not.
"""

from __future__ import annotations

from .errors import HandshakeError
from .logs import logger, place, printable
from .loop.dialer import Dialer
from .loop.timers import Deadline
from .loop.transport import Transport
from .protocol import requesting
from .protocol.request import Request
from .protocol.response import ReplyReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any, Protocol

    from .loop.reactor import Reactor
    from .loop.resolver import Answer, Found
    from .loop.tally import Tally
    from .opened import Stream
    from .protocol.auth import Authenticator
    from .protocol.extensions import Codec
    from .protocol.http import Headers
    from .protocol.proxies import Proxy, Tunnel
    from .protocol.response import Reply
    from .settings import Settings
    from .wish import Wish

    class Host(Protocol):
        """What an `Attempt` needs: the client."""

        reactor: Reactor
        settings: Settings
        tally: Tally

        def attempt_succeeded(
            self,
            transport: Stream,
            request: Request,
            reply: Reply,
            subprotocol: str | None,
            codecs: tuple[Codec, ...],
            rest: bytes,
        ) -> None:
            """The handshake is over; `rest` is what came behind it."""

        def attempt_failed(self, error: Exception) -> None:
            """The attempt is over, and there is no connection."""


class Attempt:
    """A connection that is not one yet.

    Args:
        client: Is told how it ends.
        wish: What it asks for.
    """

    __slots__ = (
        "_address",
        "_authenticator",
        "_authorization",
        "_client",
        "_dialer",
        "_doing",
        "_headers",
        "_key",
        "_over",
        "_proxy",
        "_reader",
        "_redirects",
        "_request",
        "_stays",
        "_timer",
        "_transport",
        "_tunnel",
        "_uri",
        "_wish",
    )

    def __init__(self, client: Host, wish: Wish) -> None:
        self._client = client
        self._wish = wish
        self._uri = wish.uri
        self._headers: Headers = wish.headers
        self._authenticator: Authenticator | None = None
        self._authorization: str | None = None
        self._prepare_to_authenticate()
        self._redirects = 0
        self._over = self._stays = False
        self._doing = ""
        self._key = ""
        self._transport: Stream | None = None
        self._tunnel: Tunnel | None = None
        self._proxy: Proxy | None = None
        self._timer: Deadline
        self._dialer: Dialer
        self._reader: ReplyReader

    def begin(
        self, sock: socket.socket | None = None, address: Any = None, *, stays: bool = False
    ) -> None:
        """Set out; called once.

        Args:
            sock: A socket that is connected already, to the server or to its proxy, and is
                used for the first request; by default one is made.
            address: The peer's.
            stays: Whether no other socket will do: a redirect and a challenge are the end.
        """
        self._stays = stays
        client = self._client
        delay = client.settings.handshake_timeout
        self._timer = Deadline(client.reactor, delay, self._overdue)
        if sock is None:
            self._set_out()
            return
        self._prepare()
        self._doing = f"connected to {place(address)}"
        self._connected(sock, address)

    def cancel(self) -> None:
        """Give up; nothing is called any more. Allowed any number of times."""
        self._over = True
        self._timer.cancel()
        self._let_go()

    def _let_go(self) -> None:
        """Drop the way to a server, to try another or none."""
        self._dialer.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.events = _NOBODY
            transport.abort()

    # ---- the way to the server ----

    def _prepare(self) -> None:
        self._reader = ReplyReader()
        self._dialer = Dialer(self._client.reactor, self._connected, self._fail)

    def _set_out(self) -> None:
        uri, wish, reactor = self._uri, self._wish, self._client.reactor
        self._prepare()
        try:
            proxy = self._proxy = wish.proxy_for(uri)
            if uri.unix:
                self._doing = f"connecting to {place(uri.unix)}"
                self._dialer.dial_unix(uri.unix)
            else:
                end = (uri.hostname, uri.port) if proxy is None else (proxy.host, proxy.port)
                self._doing = f"looking up {place(end)}"
                self._dialer.dial(*end, self._look_up)
        except Exception as error:
            # A proxy of the environment that is none; or what a resolver of the user raised.
            reactor.call_soon(self._fail, error)

    def _look_up(self, host: str, port: int, answer: Answer) -> None:
        def resolved(found: Found) -> None:
            self._doing = f"connecting to {place((host, port))}"
            answer(found)

        resolve = self._wish.resolver
        assert resolve is not None, "the client sets it if its user does not"
        resolve(host, port, resolved)

    def _connected(self, sock: socket.socket, address: Any) -> None:
        try:
            transport = Transport(
                self._client.reactor, sock, self, self._ignore, self._client.tally
            )
        except OSError as error:
            sock.close()
            self._fail(error)
            return
        self._transport = transport
        self._address = address
        proxy = self._proxy
        if proxy is None:
            self._reached(b"")
        elif proxy.scheme == "https":
            self._doing = "in the TLS handshake with the proxy"
            self._secure(self._wish.proxy_tls, proxy.host, self._ask_proxy)
        else:
            self._ask_proxy()

    def _ask_proxy(self) -> None:
        from .protocol.proxies import tunnel

        self._doing = "asking the proxy"
        proxy, transport = self._proxy, self._transport
        assert proxy is not None
        assert transport is not None
        try:
            self._tunnel = tunnel(proxy, self._uri.hostname, self._uri.port)
        except ValueError as error:
            self._fail(error)
            return
        transport.received = self._tunnelled
        transport.write(self._tunnel.begin())

    def _tunnelled(self, data: bytes) -> None:
        tunnel, transport = self._tunnel, self._transport
        assert tunnel is not None
        assert transport is not None
        try:
            answer = tunnel.feed(data)
        except HandshakeError as error:
            self._fail(error)
            return
        if answer:
            transport.write(answer)
        if tunnel.done:
            self._reached(tunnel.rest)

    def _reached(self, rest: bytes) -> None:
        """Speak with the server itself, who may have said something already."""
        below = self._transport
        assert below is not None
        if self._uri.secure:
            self._doing = "in the TLS handshake"
            self._secure(self._wish.tls, self._uri.hostname, self._ask)
        else:
            self._ask()
        if rest and not below.closed:
            below.received(rest)  # of the server's TLS, if there is some

    def _secure(
        self, context: SSLContext | None, hostname: str, secured: Callable[[], object]
    ) -> None:
        from .loop.tls import Tls, client_context

        assert self._transport is not None
        try:
            self._transport = Tls(
                self._client.reactor,
                self._transport,
                client_context() if context is None else context,
                events=self,
                received=self._ignore,
                secured=secured,
                refused=self._fail,
                server_side=False,
                hostname=hostname,
            )
        except (ValueError, OSError) as error:
            # As of a name that no certificate can have, or a context that is for servers.
            self._fail(error)

    # ---- request and response ----

    def _ask(self) -> None:
        self._doing = "waiting for the response to the request"
        transport = self._transport
        assert transport is not None
        self._key = requesting.new_key()
        try:
            extensions = requesting.offers(self._wish.extensions)
        except Exception as error:
            self._extension_failed(error)
            return
        head = requesting.request_head(
            self._uri,
            self._key,
            subprotocols=self._wish.subprotocols,
            fields=self._headers,
            authorization=self._authorization,
            extensions=extensions,
        )
        self._request = Request(head, self._address)
        transport.received = self._replied
        transport.write(head + b"\r\n\r\n")

    def _replied(self, data: bytes) -> None:
        head_was_there = self._reader.reply is not None
        try:
            whole = self._reader.feed(data)
            reply = self._reader.reply
            if reply is not None and (whole or not head_was_there):
                self._judge(reply, whole)
        except HandshakeError as error:
            self._fail(error)

    def _judge(self, reply: Reply, whole: bool) -> None:
        """Go on where a response leads, as its head says; fail with all that it says."""
        try:
            if self._stays:
                self._succeed(reply)
            elif reply.status in requesting.REDIRECTS and "Location" in reply.headers:
                self._redirect(reply)
            elif reply.status == 401 and self._authenticator is not None:
                self._authenticate(reply, self._authenticator)
            else:
                self._succeed(reply)
        except HandshakeError:
            if whole:  # or as much of it as there will be
                raise

    def _succeed(self, reply: Reply) -> None:
        transport = self._transport
        assert transport is not None
        subprotocol = requesting.check_reply(reply, self._key, self._wish.subprotocols)
        try:
            codecs = requesting.check_extensions(reply, self._wish.extensions)
        except HandshakeError:
            raise
        except Exception as error:
            self._extension_failed(error)
            return
        if self._over:
            return  # an extension of the user's has ended the client
        reply.uri = self._uri
        self._over = True
        self._timer.cancel()
        self._transport = None
        self._client.attempt_succeeded(
            transport, self._request, reply, subprotocol, codecs, self._reader.rest
        )

    def _redirect(self, reply: Reply) -> None:
        before, locations = self._uri, reply.headers.get_all("Location")
        if len(locations) > 1:
            raise requesting.failed(reply, f"a redirect to {len(locations)} places, not one")
        if self._redirects == requesting.MAX_REDIRECTS:
            raise requesting.failed(reply, f"over {requesting.MAX_REDIRECTS} redirects")
        try:
            uri = before.redirected(locations[0])
        except ValueError as error:
            raise requesting.failed(reply, str(error)) from None
        # What the user wanted encrypted stays so.
        if before.secure and not uri.secure:
            raise requesting.failed(reply, "a redirect from wss to ws is not followed")
        if uri.origin != before.origin:
            # For good: the way back through another server does not return them.
            self._headers = requesting.public(self._headers)
            self._authenticator = None
        elif self._authenticator is not None:
            self._prepare_to_authenticate()
        self._authorization = None
        self._redirects += 1
        self._uri = uri
        self._again()

    def _prepare_to_authenticate(self) -> None:
        auth = self._wish.auth
        if auth is not None:
            from .protocol.auth import Authenticator

            self._authenticator = Authenticator(*auth)

    def _authenticate(self, reply: Reply, authenticator: Authenticator) -> None:
        challenges = reply.headers.get_all("WWW-Authenticate")
        try:
            self._authorization = authenticator.answer(challenges, self._uri.target)
        except ValueError as error:
            raise requesting.failed(reply, f"not authenticated: {error}") from None
        self._again()

    def _again(self) -> None:
        self._let_go()
        self._set_out()

    def _ignore(self, data: bytes) -> None:
        """Drop what is sent unasked, before the request."""

    # ---- from the transport ----

    def drained(self) -> None:
        """The queue is short again; called by the transport."""

    def emptied(self) -> None:
        """The queue is empty; called by the transport."""

    def gone(self, error: Exception | None) -> None:
        """The socket is closed; called by the transport, once."""
        reply = self._reader.reply
        if reply is not None:
            # Its body goes up to the end of the connection.
            try:
                self._judge(reply, True)
            except HandshakeError as failure:
                self._fail(failure)
            return
        self._fail(error or ConnectionResetError(f"connection lost: {self._doing}"))

    # ---- the end ----

    def _overdue(self) -> None:
        timeout = self._client.settings.handshake_timeout
        reply = self._reader.reply
        if reply is not None:
            reason = f"the server answered {reply.status}, and did not end in {timeout:g} s"
            self._fail(requesting.failed(reply, reason))
        else:
            self._fail(TimeoutError(f"no connection after {timeout:g} s: {self._doing}"))

    def _extension_failed(self, error: Exception) -> None:
        """Fail for what an extension of the user's has raised."""
        logger().error("an extension failed for %s", printable(str(self._uri)), exc_info=error)
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self.cancel()
            self._client.attempt_failed(error)


class _Nobody:
    """Is told what becomes of a connection that was given up."""

    def drained(self) -> None:
        """Nothing."""

    def emptied(self) -> None:
        """Nothing."""

    def gone(self, error: Exception | None) -> None:
        """Nothing."""


_NOBODY = _Nobody()
