"""Frames by hand: a socket that sends and receives frames, the opening handshake included.

```python
server = WebSocket()                             client = WebSocket(location="/chat")
server.bind(("127.0.0.1", 8000))                 client.connect(("127.0.0.1", 8000))
server.listen()                                  client.send(Frame(Opcode.TEXT, b"hello"))
peer, address = server.accept()                  frame = client.recv()
frame = peer.recv()
```

Facts: a handshake, a TLS record and a frame take any number of reads and writes, in both
directions, so that what is to block needs a loop, and what is not to block needs the same loop,
one turn at a time. There is one already.

So a `WebSocket` lives in a reactor, by default one of its own: a `SteppedSocket`. TLS, the
deadlines of the handshake and the write queue are those of all other connections, and what has
come before a call that could not wait any longer is there for the next.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque

from .errors import InvalidState
from .loop.reactor import EVENT_WRITE
from .loop.stepped import Patience, SteppedSocket, make_socket
from .protocol.extensions import describe
from .protocol.handshake import SAME_HOST
from .terms import Terms
from .upgrade import Upgrade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ssl import SSLContext
    from typing import Any

    from .handlers import Answer
    from .loop.reactor import Reactor
    from .opened import Opened
    from .protocol.extensions import Codec, Extension
    from .protocol.frames import Frame
    from .protocol.handshake import Origins, Request
    from .protocol.http import Fields
    from .protocol.response import Reply
    from .wish import Wish


class WebSocket(SteppedSocket):
    """A socket that sends and receives `Frame`s.

    It has a socket's methods, and a socket's errors. By its timeout, as `settimeout` sets it, a
    call blocks; or waits for so long and then raises `TimeoutError`; or does not wait, and
    raises `BlockingIOError`. Nothing is lost by that: the next call goes on.

    Nothing is answered by itself, not even a ping: a `Connection`, which can be made of this,
    does that. One thread may use it at a time.

    For a selector it is its own descriptor, from `fileno`, until it is closed. When that is
    readable, call `recv` until it raises `BlockingIOError`: several frames can come at once.
    When it is writable, call `flush`; watch for that only while something is `pending`. Until
    the handshake is over watch `reactor` instead, for at most its `next_timeout()`, and call
    `do_handshake`: there are deadlines, and a client that is redirected, or asked for a
    password, dials again, by another descriptor.

    Args:
        sock: A TCP or unix stream socket, neither connected nor listening, which becomes this
            one's own; by default one is made.
        location: Path and query that a client asks for.
        origin: The value of a client's `Origin` field, or `None` for no such field.
        subprotocols: Those that are offered or spoken, the dearest first.
        extensions: Those that are offered or spoken, the dearest first. Their hooks for frames
            are called; those for messages are not, but the bits that they claim are allowed.
        headers: Further fields of a client's request.
        auth: User and password of a client, for a server that asks for them.
        origins: Which pages may connect to a server; see `Server`.
        locations: The paths that a server has, as in `["/chat/{room}"]`; `None` for any.
        onrequest: Called by a server before it accepts; see `Handlers.onrequest`.
        tls: Speak TLS; see `enable_ssl`.
        reactor: The reactor to live in, with others, which go on while a call here waits; such
            a call cannot come from inside of its steps.
        family: That of the socket that is made.
        **settings: Limits and deadlines; see `Settings`. Used are `max_message`, for a frame,
            `max_write_queue`, `handshake_timeout` and `write_timeout`.

    Raises:
        TypeError: An option is unknown or of another type, or the socket is one of `ssl`.
        ValueError: An option is not well-formed or out of its range.
    """

    def __init__(
        self,
        sock: socket.socket | None = None,
        *,
        location: str = "/",
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        extensions: Iterable[Extension] = (),
        headers: Fields = (),
        auth: tuple[str, str] | None = None,
        origins: Origins = SAME_HOST,
        locations: Iterable[str] | None = None,
        onrequest: Callable[[Request], Answer] | None = None,
        tls: SSLContext | None = None,
        reactor: Reactor | None = None,
        family: int = socket.AF_INET,
        **settings: Any,
    ) -> None:
        if hasattr(sock, "selected_alpn_protocol"):
            raise TypeError("a socket of ssl cannot be used, but one without TLS; see `tls`")
        terms = Terms(
            location=location,
            origin=origin,
            subprotocols=subprotocols,
            extensions=extensions,
            headers=headers,
            auth=auth,
            origins=origins,
            locations=locations,
            onrequest=onrequest,
            settings=settings,
        )
        if tls is not None:
            terms.enable_tls(tls, None)
        self._set_up(make_socket(family) if sock is None else sock, terms, reactor)

    def _set_up(self, sock: socket.socket, terms: Terms, reactor: Reactor | None) -> None:
        super().__init__(sock, reactor)
        self._terms = terms
        # Of a client, until it is connected: to where, and what it will ask for.
        self._connecting: tuple[Any, Wish] | None = None
        # The handshake, and the same once it is over.
        self._upgrade: Upgrade | None = None
        self._open: Upgrade | None = None
        # Who is accepted, and still in the handshake.
        self._newcomer: _Accepted | None = None
        # What is received for a `recvn` that wants more.
        self._taken: deque[Frame] = deque()

    # ---- the handshake ----

    def enable_ssl(self, context: SSLContext, *, server_hostname: str | None = None) -> None:
        """Speak TLS, from the start of the connections to come.

        Args:
            context: For a server, with its certificate, if it is to accept; for a client, as
                `ssl.create_default_context()` makes it, if it is to connect.
            server_hostname: The server's name, for which its certificate must be, and which
                goes into the `Host` field; by default what `connect` is given.

        Raises:
            InvalidState: There is a connection already.
            TypeError: The context is none.
        """
        if self._connecting is not None or self._upgrade is not None:
            raise InvalidState("TLS is for the start of a connection")
        self._terms.enable_tls(context, server_hostname)

    def accept(self) -> tuple[WebSocket, Any]:
        """Accept a connection, and do its handshake, one after the other.

        Returns:
            Its other end, with a socket's default timeout, and the peer's address. If this one
            does not wait, neither does that one, and its handshake is still to be done.

        Raises:
            BlockingIOError: Nobody is there.
            HandshakeError: The handshake has failed; the client was told why, if it can be.
            TimeoutError: Nobody came, or is through with the handshake, which the next call
                goes on with.
            ValueError: The TLS context is one for clients.
        """
        self._check_not_closed()
        self._terms.check_server_side()
        patience = Patience(self._timeout)
        if self._newcomer is None:
            reactor = None if self._own_reactor else self._reactor
            self._newcomer = _Accepted(*self._accept(patience), self._terms, reactor)
        newcomer = self._newcomer
        try:
            newcomer.shake(patience)
        except TimeoutError:
            raise
        except Exception:
            self._newcomer = None
            newcomer.close()
            raise
        self._newcomer = None
        return newcomer, newcomer.address

    def connect(self, address: Any) -> None:
        """Connect to a server, and do the handshake.

        A server may redirect, or ask for the password: then another connection takes the place
        of this one, to where it has said, without the options that were set here.

        Args:
            address: Host and port, or the path of a unix socket.

        Raises:
            BlockingIOError: It has begun; go on with `do_handshake`.
            HandshakeError: The server has refused, or is none.
            InvalidState: There is a connection, or one has begun.
            OSError: The socket cannot be connected, or TLS has failed (`ssl.SSLError`).
            TimeoutError: It has begun; go on with `do_handshake`.
            ValueError: It is not an address for a WebSocket.
        """
        self._check_not_closed()
        if self._connecting is not None or self._upgrade is not None:
            raise InvalidState("connect() on a socket that has a connection")
        wish = self._terms.wish(address)
        self._begin_to_connect(address)
        self._connecting = address, wish
        self.do_handshake()

    @classmethod
    def upgrade(
        cls,
        sock: socket.socket,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        **options: Any,
    ) -> WebSocket:
        """Return a WebSocket over a socket that is connected already, after its handshake.

        Args:
            sock: TCP or unix, with nothing read or written yet. It becomes the WebSocket's own,
                and is closed if the handshake fails. Its timeout stays: if it does not wait,
                the handshake is still to be done.
            server_side: Whether to accept. A client stays with this socket: it follows no
                redirect, and answers no question for a password.
            server_hostname: See `enable_ssl`; by default the peer's address.
            **options: As for the class.

        Raises:
            HandshakeError: The handshake has failed.
            OSError: The socket is not connected, or TLS has failed (`ssl.SSLError`).
            TimeoutError: It took too long.
            TypeError: As the class.
            ValueError: As the class.
        """
        one = cls(sock, **options)
        try:
            one._terms.hostname = server_hostname
            address = sock.getpeername()
            if server_side:
                one._terms.check_server_side()
                one._begin(address)
            else:
                one._begin(address, one._terms.wish(address), stays=True)
            if one.getblocking():
                one.do_handshake()
        except BaseException:
            one.close()
            raise
        return one

    def _begin(self, address: Any, wish: Wish | None = None, *, stays: bool = False) -> None:
        """Begin the handshake, unless that was done; as a client, if there is a wish."""
        if self._upgrade is not None:
            return
        upgrade = Upgrade(self.reactor, self._terms, shared=not self._own_reactor)
        sock = self._lend(self._sock)
        if wish is None:
            upgrade.accept(sock, address)
        else:
            upgrade.ask(sock, address, wish, stays=stays)
        self._upgrade = upgrade

    def do_handshake(self) -> None:
        """Go on with the handshake until it is over; all that comes after it does that, too.

        Raises:
            BlockingIOError: It is not over.
            HandshakeError: It has failed; as a server it fails with nothing else.
            OSError: There is no connection, or TLS has failed (`ssl.SSLError`).
            TimeoutError: It is not over; or, as a client, over `handshake_timeout`.
        """
        self._shaken(Patience(self._timeout))

    def _shaken(self, patience: Patience) -> Upgrade:
        """Return the connection when its handshake is over."""
        self._check_not_closed()
        if self._open is not None:
            return self._open
        if self._connecting is not None:
            self._await(EVENT_WRITE, patience)
            (address, wish), self._connecting = self._connecting, None
            self._check_connected()
            # A unix socket cannot be dialled again for TLS: there is no URI for that.
            stays = wish.uri.secure and not isinstance(address, tuple)
            self._begin(address, wish, stays=stays)
        upgrade = self._upgrade
        if upgrade is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        upgrade.finish(patience)
        if upgrade.sock is not self._sock:
            self._lend(upgrade.sock)
        self._open = upgrade
        return upgrade

    # ---- what has been agreed on ----

    @property
    def is_client(self) -> bool:
        """Whether it has asked, and not accepted."""
        return self._upgrade is not None and self._upgrade.is_client

    @property
    def request(self) -> Request | None:
        """The request, once the handshake is over."""
        return None if self._open is None else self._open.opened.request

    @property
    def response(self) -> Reply | None:
        """The server's response to a client, once the handshake is over."""
        return None if self._open is None else self._open.response

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on, or `None`."""
        return None if self._open is None else self._open.opened.subprotocol

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """What the extensions that were agreed on do here, in their order."""
        return () if self._open is None else self._open.opened.codecs

    @property
    def extensions(self) -> str:
        """The same, as `Sec-WebSocket-Extensions` has it; `""` for none."""
        return describe(self.codecs)

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject`, once the handshake is over; `None` without TLS."""
        return None if self._open is None else self._open.transport.tls

    # ---- frames ----

    @property
    def pending(self) -> int:
        """Bytes that are sent, and that the system has not taken yet."""
        return 0 if self._open is None else self._open.transport.buffered

    def send(self, *frames: Frame) -> None:
        """Send frames, which are masked if this is the client.

        Neither their order nor what they carry is checked. They leave in one piece. If the call
        may wait, it does, until the system has taken them; otherwise what it does not take at
        once is `pending`.

        Raises:
            BlockingIOError: Nothing is sent: with this, more would be pending than
                `max_write_queue`, and the peer takes nothing; or the handshake is not over.
            ConnectionClosed: The connection is lost.
            InvalidState: It would come behind our Close.
            ProtocolError: An extension has failed, and the connection with it.
            TimeoutError: It is sent, but still pending: go on with `flush`. Or the handshake is
                not over, and nothing is sent.
            TypeError: A frame is none, or its payload not bytes-like.
            ValueError: A frame is masked, and this is the server; or it was changed into one
                that `Frame` refuses.
        """
        patience = Patience(self._timeout)
        self._shaken(patience).send(frames, patience)

    def flush(self) -> bool:
        """Go on sending what is pending; wait until the system has taken it, if it may.

        Returns:
            Whether nothing is pending any more.

        Raises:
            BlockingIOError: The handshake is not over.
            ConnectionClosed: The connection is lost.
            TimeoutError: Something is still pending; or the handshake is not over.
        """
        patience = Patience(self._timeout)
        return self._shaken(patience).flush(patience)

    def recv(self) -> Frame:
        """Return the next frame, of any kind, unmasked.

        It is what the peer has sent: nothing is put together, answered, or checked for what it
        carries. Behind the peer's Close there is none.

        Raises:
            BlockingIOError: There is none as a whole.
            ConnectionClosed: There will be none: the last was a Close, or the connection is
                lost (1006).
            ProtocolError: The peer broke a rule of framing, or an extension has failed; our
                Close, which says so, is sent.
            TimeoutError: None came as a whole; what came of it is kept.
        """
        return self.recvn(1)[0]

    def recvn(self, count: int) -> list[Frame]:
        """Return so many frames; see `recv`.

        If it raises, the frames that came before are there for the next call.
        """
        patience = Patience(self._timeout)
        upgrade = self._shaken(patience)
        taken = self._taken
        while len(taken) < count:
            taken.append(upgrade.receive(patience))
        return [taken.popleft() for _ in range(count)]

    # ---- the end ----

    def shutdown(self, how: int) -> None:
        """Say that no more will be sent (`SHUT_WR`), or received (`SHUT_RD`), or both.

        What is pending is lost: `flush` before. TLS does not end in one direction alone: what
        still comes is dropped.

        Raises:
            OSError: There is no connection.
        """
        self._check_not_closed()
        if self._open is not None and self.tls is not None and how != socket.SHUT_RD:
            self._open.transport.finish()
        else:
            self._sock.shutdown(how)

    def close(self) -> None:
        """Close it, and send nothing more; allowed any number of times.

        What is pending is lost. Whatever uses it after that raises `OSError`, as with a socket.
        """
        if self._newcomer is not None:
            self._newcomer.close()
        if self._upgrade is not None:
            self._upgrade.close()
        super().close()

    def __enter__(self) -> WebSocket:
        """Return it."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def release(self) -> tuple[Opened, bytes]:
        """Give the connection away, for a `Connection` to be made of it; called by that.

        Afterwards this one is closed, and the connection is not; it is not read until its new
        owner resumes it.

        Returns:
            What the handshake has led to; and what has come since, and not been received here.

        Raises:
            BlockingIOError: The handshake is not over.
            ConnectionClosed: The connection is lost.
            InvalidState: It would begin in the middle of a message, or behind a Close.
            TimeoutError: The handshake is not over.
        """
        upgrade = self._shaken(Patience(self._timeout))
        if self._taken:
            raise InvalidState("recvn() has received frames that nobody has taken")
        closed = self._make_closed()
        released = upgrade.release()
        self._upgrade = self._open = None
        self._give_away(closed)
        return released

    def __repr__(self) -> str:
        """Return what it is, and its descriptor."""
        role = "client" if self.is_client else "server"
        state = "not open" if self._open is None else role
        return f"<WebSocket {'closed' if self._closed else state} {self.fileno()}>"


class _Accepted(WebSocket):
    """The end of a connection that a listening one has accepted.

    Args:
        sock: The socket.
        address: See the attribute.
        terms: Those of the listening one.
        reactor: Its reactor, if others live there.

    Attributes:
        address: The peer's.
    """

    def __init__(
        self, sock: socket.socket, address: Any, terms: Terms, reactor: Reactor | None
    ) -> None:
        self._set_up(sock, terms, reactor)
        self.address = address

    def shake(self, patience: Patience) -> None:
        """Begin the handshake, unless that was done; and see it to its end, if that may be."""
        self._begin(self.address)
        if patience.waits:
            self._shaken(patience)
        else:
            self.setblocking(False)
