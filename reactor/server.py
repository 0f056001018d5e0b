"""Listen, hold the connections, broadcast, stop gracefully."""

from __future__ import annotations

import os
import socket
import sys

from .connection import Connection
from .errors import HandshakeError, InvalidState
from .handlers import Handlers
from .logs import logger, place
from .loop.listener import BACKLOG, INHERITS, Listener, listen, listen_unix
from .loop.reactor import Reactor
from .loop.tally import Tally
from .protocol.session import check_close
from .sending import post
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView, Mapping, Sequence
    from ssl import SSLContext
    from typing import Any, Union

    from .loop.listener import Address
    from .loop.timers import Timer
    from .opened import Opened
    from .opening import Opening
    from .protocol.extensions import Extension
    from .protocol.forwarded import TrustedProxies
    from .protocol.frames import BytesLike
    from .protocol.handshake import Origins
    from .protocol.messages import Message
    from .stats import TrafficStats

    Where = Union[tuple[str, int], str, socket.socket, None]
    Locations = Union[Mapping[str, Handlers], Iterable[str]]

# Descriptors that are left to the rest of the program.
_OTHER_DESCRIPTORS = 64
# An opening handshake that has taken so long gives its place to a new one, in seconds.
_SLOW_OPENING = 1.0


class Server(Handlers):
    """A WebSocket server in a reactor.

    ```python
    class Echo(Server):
        def onmessage(self, client, message):
            client.send(message)

    Echo(("", 8000)).run()
    ```

    Handlers are methods of a subclass; or functions, as in `Server(address, onmessage=f)`; or
    methods of a `Connection` class of your own, as in `Server(address, connection=Player)`.

    Args:
        address: Host and port, as `listen` takes them; the path of a unix socket; a listening
            socket, or several in a list; or `None` to listen nowhere.
        reactor: The reactor to live in; by default one of its own.
        connection: The class of the connections.
        locations: The paths that exist, as in `["/chat/{room}"]`, or a mapping from them to
            the `Handlers` of each; `None` for any path.
        subprotocols: Those that it speaks, the dearest first.
        origins: Which web pages may connect: `"same"`, the default, for those from the same
            host; a list of origins; or `None` for any. Behind a proxy that changes `Host`, give
            the list.
        compress: Whether messages are compressed, where the client offers that: with
            permessage-deflate (RFC 7692), windows of 12 bits and `mem_level` 5, which costs
            50 KiB a connection, 78 if the client keeps its own window, as Firefox does. Off by
            default, for that reason.
        extensions: Further ones, the dearest first, as `PerMessageDeflate(level=1)`, which
            stands for `compress`.
        tls: The `ssl.SSLContext` with the server's certificate; by default no TLS.
        proxy_protocol: Whether every connection begins with the PROXY protocol, version 1 or
            2, from which its address is taken; one that does not is dropped.
        trusted_proxies: Whose `X-Forwarded-For` or `Forwarded` is believed: addresses, networks
            such as `"10.0.0.0/8"`, `"unix"` for who comes by a unix socket; or a
            `TrustedProxies`, to say which of the two. With `proxy_protocol`, nobody else may
            connect.
        max_connections: The most connections, those in their handshake included; who comes
            then waits in the kernel's queue. By default what the process's limit for
            descriptors leaves, less 64.
        max_pending_handshakes: The most connections in their handshake. At the limit, those
            that have taken over a second make room, the oldest first. 256.
        backlog: How many connections may wait to be accepted. 1,024.
        reuse_port: Share the port with other processes (SO_REUSEPORT).
        **options: The limits and deadlines of `Settings`, and functions for handlers.

    Attributes:
        reactor: The reactor that it lives in.
        clients: The open connections, in the order of their coming: a view, as of the keys of a
            dictionary. It changes while handlers run, so iterate over a copy.
        stopping: Whether `stop` was called.

    Raises:
        OSError: An address cannot be bound.
        TypeError: An option is unknown, or `tls` is no `ssl.SSLContext`.
        ValueError: An option is out of its range, or `tls` is a context for clients.
    """

    def __init__(
        self,
        address: Where | Sequence[socket.socket] = None,
        *,
        reactor: Reactor | None = None,
        connection: type[Connection] = Connection,
        locations: Locations | None = None,
        subprotocols: Sequence[str] = (),
        origins: Origins = "same",
        compress: bool = False,
        extensions: Iterable[Extension] = (),
        tls: SSLContext | None = None,
        proxy_protocol: bool = False,
        trusted_proxies: Iterable[str] | TrustedProxies | None = None,
        max_connections: int | None = None,
        max_pending_handshakes: int = 256,
        backlog: int = BACKLOG,
        reuse_port: bool = False,
        **options: Any,
    ) -> None:
        names = set(Settings.__slots__)
        self.settings = Settings(**{n: v for n, v in options.items() if n in names})
        super().__init__(**{n: v for n, v in options.items() if n not in names})
        # What answers is here before it listens: when descriptors are used up, nothing can be
        # imported.
        from .opening import Opening
        from .protocol.handshake import ServerPolicy

        self._opening = Opening
        self.policy = ServerPolicy(subprotocols, origins, locations)
        self.extensions: tuple[Extension, ...] = ()
        if compress or extensions != ():
            from .compression import chosen_extensions

            self.extensions = chosen_extensions(bool(compress), extensions)
        self._tls = _checked(tls)
        self.proxy_protocol = proxy_protocol
        self.trusted_proxies = _trusted(trusted_proxies)
        for name, number in (
            ("max_connections", max_connections),
            ("max_pending_handshakes", max_pending_handshakes),
        ):
            if number is not None and number < 1:
                raise ValueError(f"{name}={number!r}, not above zero")
        self.stopping = False
        # Gone through in their order, their memory, and the system's for them, is met in the
        # order in which it was taken: a broadcast to 5,000 is a tenth faster than with a set.
        self._clients: dict[Connection, None] = {}
        self.clients: KeysView[Connection] = self._clients.keys()
        self.tally = Tally()
        self._connection = connection
        self._openings: dict[Opening, None] = {}
        self._max_connections = max_connections or _descriptors()
        self._max_openings = max_pending_handshakes
        self._room_timer: Timer | None = None
        self._full = False  # whether the listeners are paused
        self._listeners: list[Listener] = []
        self._own_reactor = reactor is None
        self.reactor = Reactor() if reactor is None else reactor
        try:
            sockets = _sockets(address, backlog, reuse_port)
        except BaseException:
            if self._own_reactor:
                self.reactor.close()
            raise
        unlink = isinstance(address, str)
        for sock in sockets:
            if INHERITS:
                _send_without_delay(sock)
            listener = Listener(self.reactor, sock, self.accepted, unlink=unlink)
            self._listeners.append(listener)
        self.reactor.attach(self)

    @property
    def tls(self) -> SSLContext | None:
        """The `ssl.SSLContext` of the connections to come.

        Set it to another, as when the certificate is renewed, while the server runs. A file
        that is broken then breaks nothing: the context that has it is never made.
        """
        return self._tls

    @tls.setter
    def tls(self, context: SSLContext | None) -> None:
        self._tls = _checked(context)

    @property
    def addresses(self) -> list[Address]:
        """Where it listens: host and port (for IPv6 two numbers more), or a path."""
        return [listener.address for listener in self._listeners]

    def run(self) -> None:
        """Run the reactor until the server has stopped, then drop whatever is left.

        SIGINT and SIGTERM stop it gracefully: see `stop`.
        """
        try:
            if not self._ended:
                self.reactor.run()
        finally:
            self.close()

    def stop(self, code: int = 1001, reason: str = "") -> None:
        """Stop gracefully: accept nobody, close all connections, end when the last is closed.

        It takes no longer than `close_timeout`. The reactor's `run` returns with the end of the
        last that it serves.

        Args:
            code: The close code for all.
            reason: At most 123 bytes in UTF-8.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        check_close(code, reason)
        if self.reactor.closed:
            return  # with all that there was, or left behind by a fork: it is the parent's
        self.reactor.check_thread()
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for opening in list(self._openings):
            opening.abort()
        for client in list(self.clients):
            client.hang_up(code, reason)
        self._end_if_stopped()

    def abort(self) -> None:
        """Drop everything at once; `onclose` is told 1006 in the next step."""
        self.stop()
        for client in list(self.clients):
            client.abort()

    def close(self) -> None:
        """Drop everything at once: listeners, handshakes, connections; `onclose` is told 1006.

        Allowed any number of times. From inside a handler, `onclose` follows in the next step.
        """
        self.abort()
        if self.reactor.stepping or self.reactor.closed:
            return
        self.reactor.drain(self)
        # What an interrupt has left.
        self._clients.clear()
        self._openings.clear()
        self._end_if_stopped()
        if self._own_reactor:
            self.reactor.close()

    def broadcast(
        self,
        message: str | BytesLike | Message,
        *,
        exclude: Connection | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message to all clients, framed once.

        It is compressed once, too, for all clients for whom nothing depends on what was sent
        before: `PerMessageDeflate(server_no_context_takeover=True)`. For one that reads too
        slowly the overflow policy decides; "error" means "skip" here.

        Args:
            message: `str` or a `TextMessage` goes as text, bytes-like or a `BinaryMessage` as
                binary.
            exclude: Who is left out, as whoever has caused it.
            compress: As for `Connection.send`.

        Raises:
            TypeError: The message is none of that.
        """
        from .protocol.messages import as_message

        whole = as_message(message)
        if whole is None:
            kind = type(message).__name__
            raise TypeError(f"{kind}, not str, bytes-like or a Message")
        self.reactor.check_thread()
        frame = whole.pack()
        to = list(self._clients)
        if exclude is not None:
            to = [client for client in to if client is not exclude]
        post(to, self.tally, frame, whole, compress)

    def stats(self) -> TrafficStats:
        """Return what its connections have carried so far, and what waits; it costs 2 us."""
        from .stats import TrafficStats

        now, openings = self.reactor.clock(), len(self._openings)
        return TrafficStats(self.tally, now, len(self.clients), openings)

    # ---- from the listeners and the handshakes ----

    def accepted(self, sock: socket.socket, address: Address) -> Opening | None:
        """Take over a connected socket; called by the listeners.

        Args:
            sock: The socket.
            address: The peer's.

        Returns:
            Its handshake, unless there will be none.
        """
        if INHERITS or _send_without_delay(sock):
            return self._open(sock, address, None)
        sock.close()  # gone before it was taken over
        return None

    def adopt(self, sock: socket.socket, head: bytes = b"") -> None:
        """Take over a connected socket, from another HTTP server.

        Nothing is called before the next step. A socket of `ssl` cannot be taken over: what it
        has decrypted already is its own. The limits count it, but hold up only the listeners.

        Args:
            sock: The socket, which becomes the server's; who gives it away must neither use
                it nor shut it down any more.
            head: What has been read of the client's request, to the last byte. If it is empty,
                the request is still to come; in any case without TLS or PROXY protocol, which
                would have come before.

        Raises:
            InvalidState: The server is stopping, or its reactor is closed.
            OSError: The socket is not connected.
            TypeError: The socket is one of `ssl`, or the head is not bytes.
        """
        if self.stopping or self.reactor.closed:
            raise InvalidState("adopt() by a server that has stopped")
        if hasattr(sock, "selected_alpn_protocol"):
            raise TypeError("a socket of ssl cannot be taken over, but one without TLS")
        address = sock.getpeername()
        if _send_without_delay(sock):
            # A copy: until the next step its owner may have used it for something else.
            self._open(sock, address, bytes(memoryview(head)))
        else:
            sock.close()  # gone before it was taken over

    def _open(
        self, sock: socket.socket, address: Address, head: bytes | None
    ) -> Opening | None:
        if len(self._openings) >= self._max_openings:
            self._make_room()
        try:
            opening = self._opening(self, sock, address, head)
        except OSError as error:
            logger().warning("%s: cannot be watched: %s", place(address), error)
            return None
        self._openings[opening] = None
        self._mind_the_limit()
        return opening

    def connect(self, opened: Opened) -> Connection:
        """Return the connection that a handshake has led to; called by `Opening`.

        Raises:
            HandshakeError: Making it raised: 500; or stopped the server: 503.
        """
        try:
            connection = self._connection(opened)
        except Exception:
            logger().exception("%s() raised", self._connection.__name__)
            raise HandshakeError(500, "the server failed to answer") from None
        if opened.transport.closed:
            raise HandshakeError(503, "the server is stopping")
        self._clients[connection] = None
        return connection

    def opening_ended(self, opening: Opening) -> None:
        """Forget a handshake; called by it."""
        self._openings.pop(opening, None)
        if self._full:
            self._mind_the_limit()
        if self.stopping:
            self._end_if_stopped()

    def connection_ended(self, connection: Connection) -> None:
        """Forget a connection; called by it."""
        self._clients.pop(connection, None)
        if self._full:
            self._mind_the_limit()
        if self.stopping:
            self._end_if_stopped()

    def _make_room(self) -> None:
        """At the limit of handshakes, drop the oldest of those that have taken too long.

        There may be none for one that is adopted: its peer was not held up by the listeners.
        """
        while len(self._openings) >= self._max_openings:
            oldest = next(iter(self._openings))
            if self.reactor.awake < oldest.began + _SLOW_OPENING:
                return
            del self._openings[oldest]
            oldest.abort()

    def _mind_the_limit(self) -> None:
        """Stop or go on accepting, as the number of connections and handshakes says."""
        openings = len(self._openings)
        full = len(self._clients) + openings >= self._max_connections or (
            openings >= self._max_openings and self._openings_full()
        )
        if full == self._full:
            return
        self._full = full
        for listener in self._listeners:
            if full:
                listener.pause()
            elif not self.stopping:
                listener.resume()

    def _openings_full(self) -> bool:
        """Whether none of too many handshakes has taken so long as to make room."""
        oldest = next(iter(self._openings))
        left = oldest.began + _SLOW_OPENING - self.reactor.awake
        if left <= 0:
            return False
        if self._room_timer is None or not self._room_timer.active:
            self._room_timer = self.reactor.call_later(left, self._mind_the_limit)
        return True

    @property
    def _ended(self) -> bool:
        return self.stopping and not self.clients and not self._openings

    def _end_if_stopped(self) -> None:
        if self._ended:
            self.reactor.detach(self)


def _send_without_delay(sock: socket.socket) -> bool:
    """Have a message not wait for the acknowledgement of the one before.

    Returns:
        Whether the system says that the socket is alive.
    """
    if sock.family != getattr(socket, "AF_UNIX", None):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            return False
    return True


def _descriptors() -> int:
    """Return how many connections the process's limit for descriptors leaves room for."""
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError):
        limit = 512  # Windows: what its `select` takes
    if limit < 0:
        return sys.maxsize  # there is no limit
    return max(1, limit - _OTHER_DESCRIPTORS)


def _checked(context: SSLContext | None) -> SSLContext | None:
    """Return a context with which a server can speak TLS: any other fails all handshakes."""
    if context is not None:
        from ssl import PROTOCOL_TLS_CLIENT, SSLContext

        if not isinstance(context, SSLContext):
            raise TypeError(f"tls={context!r}, not an ssl.SSLContext")
        if context.protocol == PROTOCOL_TLS_CLIENT:
            raise ValueError("tls is a context for clients, not one of PROTOCOL_TLS_SERVER")
    return context


def _trusted(
    proxies: Iterable[str] | TrustedProxies | None,
) -> TrustedProxies | None:
    if proxies is None:
        return None
    from .protocol.forwarded import TrustedProxies

    return proxies if isinstance(proxies, TrustedProxies) else TrustedProxies(proxies)


def _sockets(
    address: Where | Sequence[socket.socket], backlog: int, reuse_port: bool
) -> list[socket.socket]:
    if address is None:
        return []
    if isinstance(address, str):
        return [listen_unix(address, backlog=backlog)]
    if isinstance(address, socket.socket):
        return [address]
    if isinstance(address, tuple):
        return listen(address, backlog=backlog, reuse_port=reuse_port)
    return list(address)
