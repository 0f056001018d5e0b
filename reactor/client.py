"""Connect by URI, and again when the connection is lost.

```text
            _set_out          succeeded                  lost
CONNECTING ----------> attempt ----------> OPEN ... CLOSED --> waiting, if `reconnect` says so
     ^                    | failed                                |
     |                    v                                       |
     +------------------- waiting <-------------------------------+
```

Every attempt ends with one `onclose`, whether it came to `onopen` or not, and then with one
`onreconnecting`, if there is to be another. All of it happens in the reactor's steps: nothing
is called while the client is being made.
"""

from __future__ import annotations

from collections import deque

from .errors import InvalidState, QueueFull
from .handlers import Handlers, Told
from .link import Link
from .logs import printable
from .loop.reactor import Reactor
from .loop.tally import Tally
from .loop.transport import HIGH_WATER
from .opened import Opened
from .protocol.session import State, check_close
from .sending import own_copy
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ssl import SSLContext
    from typing import Any

    from .attempt import Attempt
    from .backoff import Backoff
    from .connection import Connection
    from .loop.resolver import Resolve
    from .loop.timers import Timer
    from .opened import Stream
    from .protocol.extensions import Codec, Extension
    from .protocol.frames import BytesLike
    from .protocol.handshake import Request
    from .protocol.http import Fields
    from .protocol.messages import Message
    from .protocol.response import Reply
    from .protocol.uri import URI
    from .sending import Sendable
    from .stats import TrafficStats


class _ClientHandlers(Handlers):
    """The handlers of a client that are given as functions."""

    def __init__(self, owner: str, functions: dict[str, Any]) -> None:
        super().__init__()
        for name, function in functions.items():
            # It is the server who is asked.
            if not name.startswith("on") or name == "onrequest" or not hasattr(self, name):
                raise TypeError(f"{owner}() has no option {name!r}")
            if not callable(function):
                raise TypeError(f"{name}={function!r} cannot be called")
            setattr(self, name, function)

    def onreconnecting(self, client: Client, delay: float, attempt: int) -> object:
        """Another attempt is to be made."""


class Client(Told):
    """A WebSocket client in a reactor.

    ```python
    class Ticker(Client):
        def onopen(self):
            self.send("subscribe")

        def onmessage(self, message):
            print(message)

    Ticker("wss://example.com/feed", reconnect=Backoff()).run()
    ```

    Handlers are methods of a subclass; or functions, which are given the client first, as in
    `Client(uri, onmessage=lambda client, message: print(message))`. A failed attempt is told
    as `onerror(error)` and `onclose(1006, reason)`.

    Args:
        uri: As in `"wss://user:password@example.com/chat?room=1"`, with `ws`, `wss` or
            `ws+unix:///run/server.sock:/chat`.
        reactor: The reactor to live in, with others; by default one of its own.
        subprotocols: Those that are offered, the dearest first.
        origin: The value of the `Origin` field; browsers send one, others need not.
        headers: Further fields of the request, as `Authorization` or `Cookie`.
        compress: Whether to offer permessage-deflate (RFC 7692), as browsers do; by default if
            this Python has `zlib`.
        extensions: Further ones, the dearest first, as `PerMessageDeflate(level=1)`, which
            stands for `compress`.
        auth: User and password, for a server that asks for Basic or Digest authentication; by
            default those of the URI.
        tls: The `ssl.SSLContext`; by default one that verifies certificate and name by the
            system's authorities.
        proxy: The proxy's URI, `http`, `https` or `socks5`; by default what `http_proxy`,
            `https_proxy`, `all_proxy` and `no_proxy` of the environment say; `False` for none.
        proxy_tls: The `ssl.SSLContext` for a proxy whose URI begins with `https:`.
        resolver: Called with host, port and a function, which it is to call in the reactor's
            thread with a list of addresses, as in `[("192.0.2.1", 80)]`, or an exception; by
            default the system is asked, in a thread.
        reconnect: When to connect again; by default never.
        hold: For how many bytes messages are kept that are sent while there is no connection,
            an iterable for one; they leave after `onopen`. By default `send` refuses them.
        **options: The limits and deadlines of `Settings`, and functions for handlers.
            `handshake_timeout` covers an attempt from the look-up of the name on.

    Attributes:
        reactor: The reactor that it lives in.
        uri: Where it connects to.
        response: The server's 101 of the latest connection, with `status`, `headers`, and
            `uri`, where all redirects have led; or `None`.
        close_code: The code of the latest end, what `onclose` is told; `None` before it.
        close_reason: The reason of that end.
        was_clean: Whether, at that end, both sides had sent their Close (WHATWG `wasClean`).
        data: For the user.

    Raises:
        InvalidState: The reactor is closed.
        TypeError: An option is unknown, or is of another type.
        ValueError: The URI is not one, or an option is out of its range.
    """

    def __init__(
        self,
        uri: str,
        *,
        reactor: Reactor | None = None,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        headers: Fields = (),
        compress: bool | None = None,
        extensions: Iterable[Extension] = (),
        auth: tuple[str, str] | None = None,
        tls: SSLContext | None = None,
        proxy: str | bool = True,
        proxy_tls: SSLContext | None = None,
        resolver: Resolve | None = None,
        reconnect: Backoff | None = None,
        hold: int = 0,
        **options: Any,
    ) -> None:
        names = set(Settings.__slots__)
        self.settings = Settings(**{n: v for n, v in options.items() if n in names})
        functions = {n: v for n, v in options.items() if n not in names}
        super().__init__(_ClientHandlers(type(self).__name__, functions))
        _check_reconnect(reconnect)
        _check_hold(hold)
        # What an attempt needs is here before one begins: when descriptors are used up, nothing
        # can be imported.
        from .attempt import Attempt
        from .compression import chosen_extensions
        from .loop.resolver import Resolver
        from .wish import Wish

        wish = Wish(
            uri,
            subprotocols=subprotocols,
            extensions=chosen_extensions(compress, extensions),
            origin=origin,
            headers=headers,
            auth=auth,
            tls=tls,
            proxy=proxy,
            proxy_tls=proxy_tls,
            resolver=resolver,
        )
        self.response: Reply | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.was_clean = False
        self.data: Any = None
        self.tally = Tally()
        self._wish = wish
        self._backoff = reconnect
        self._tries = 0
        self._opened = 0.0
        self._hold = hold
        self._held: deque[tuple[Any, Message | None, bool | None]] = deque()
        self._held_size = 0
        # Whether there is no connection; whether there will be none any more; whether that has
        # been told; whether an `onclose` is owed for the attempt that was begun, or is to be.
        self._away, self._leaving, self._ended, self._owed = True, False, False, True
        self._attempting = Attempt
        self._attempt: Attempt | None = None
        self._link: Link | None = None
        # The link, as long as a message goes straight to it: none is ever held.
        self._direct: Link | None = None
        self._own_reactor = reactor is None
        self.reactor = self._reactor = Reactor() if reactor is None else reactor
        if self.reactor.closed:
            raise InvalidState("the reactor is closed, or was left behind by a fork")
        if wish.resolver is None:
            wish.resolver = Resolver(self.reactor)
        self._timer: Timer = self.reactor.call_later(0, self._set_out)
        self.reactor.attach(self)  # last: what is above may raise

    # ---- what the user calls ----

    def run(self) -> None:
        """Run the reactor until this and whatever else lives in it has ended.

        SIGINT and SIGTERM end it gracefully: see `stop`.
        """
        try:
            if not self._ended:
                self.reactor.run()
        finally:
            self.abort()
            if not (self.reactor.stepping or self.reactor.closed):
                self.reactor.drain(self)  # what there is to tell of its end
            if self._own_reactor:
                self.reactor.close()

    @property
    def uri(self) -> URI:
        """Where it connects to; its text shows no password."""
        return self._wish.uri

    @property
    def ready_state(self) -> State:
        """Where it is in its life; `CONNECTING` also while it waits for another attempt.

        `CLOSED` is for good.
        """
        if self._ended:
            return State.CLOSED
        if self._link is not None and not self._away:
            # One that is closed may not be the last, as long as that has not been told.
            return min(self._link.ready_state, State.CLOSING)
        return State.CLOSING if self._leaving else State.CONNECTING

    @property
    def address(self) -> Any:
        """The server's, or the proxy's, host and port; `None` before the first connection."""
        return None if self._link is None else self._link.address

    @property
    def request(self) -> Request | None:
        """The request of the latest connection, or `None`."""
        return None if self._link is None else self._link.request

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on, or `None`."""
        return None if self._link is None else self._link.subprotocol

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """What the extensions that were agreed on do on this connection, in their order."""
        return () if self._link is None else self._link.codecs

    @property
    def extensions(self) -> str:
        """What was agreed on, as `Sec-WebSocket-Extensions` has it; `""` for nothing."""
        return "" if self._link is None else self._link.extensions

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject`, or `None` without TLS; see `Connection.tls`."""
        reply = self.response
        if self._link is None or reply is None or reply.uri is None or not reply.uri.secure:
            return None  # or that of a proxy, which is not the server's
        return self._link.tls

    @property
    def buffered_amount(self) -> int:
        """Bytes that the kernel has not taken yet, those of messages on hold included."""
        return self._held_size + (0 if self._link is None else self._link.buffered_amount)

    @property
    def rtt(self) -> float | None:
        """How long the last ping took to be answered, in seconds; see `Connection.rtt`."""
        return None if self._link is None else self._link.rtt

    @property
    def jitter(self) -> float | None:
        """By how much that varies, in seconds; see `Connection.jitter`."""
        return None if self._link is None else self._link.jitter

    @property
    def clock_offset(self) -> float | None:
        """What the server's clock is ahead, in seconds; see `Connection.clock_offset`."""
        return None if self._link is None else self._link.clock_offset

    def stats(self) -> TrafficStats:
        """Return what all its connections have carried so far, and what waits."""
        from .stats import TrafficStats

        open_now = self._link is not None and self._link.ready_state is State.OPEN
        trying = self._attempt is not None
        return TrafficStats(self.tally, self.reactor.clock(), int(open_now), int(trying))

    def send(self, message: Sendable, compress: bool | None = None) -> bool:
        """Send a message, or keep it until there is a connection, if `hold` has room for it.

        An iterable is kept as it is, and asked for its parts when it is sent.

        Args:
            message: As for `Connection.send`.
            compress: As for `Connection.send`.

        Returns:
            As `Connection.send`: whether there is room for more. False also if the message was
            not sent, because the client is ending.

        Raises:
            TypeError: The message is nothing that can be sent.
            InvalidState: There is no connection, and nothing is held.
            QueueFull: It is more than is held; or by the overflow policy "error".
        """
        link = self._direct
        if link is not None:
            return link.send(message, compress)
        return self._send_or_hold(message, compress)

    def _send_or_hold(self, message: Sendable, compress: bool | None) -> bool:
        """Do what `send` says, where a message may have to be held, or there is no link."""
        link = self._link
        if link is not None and not self._away and not self._held:
            before = link.ready_state
            sent = link.send(message, compress)
            held = self._backoff is not None
            # What has failed in there is not to fail the next connection too.
            taken = before is State.OPEN and link.ready_state is not State.CLOSED
            if sent or taken or not held:
                return sent
        # What comes while one connection is closing waits for the next.
        self.reactor.check_thread()
        from .protocol.messages import as_sendable

        whole = as_sendable(message)
        if self._leaving:
            return False
        if not self._hold:
            raise InvalidState("send() while there is no connection; see `hold`")
        size = self._held_size + _size_held(whole)
        if size > self._hold:
            raise QueueFull(size, self._hold)
        self._held.append((message, whole, compress))
        self._held_size = size
        return self.ready_state is not State.OPEN  # if it is, `ondrain` follows

    def send_threadsafe(self, message: Sendable, compress: bool | None = None) -> None:
        """Send a message from any thread; see `Connection.send_threadsafe`.

        Without a connection it is held, or dropped and logged, as `send` would hold or raise.

        Raises:
            InvalidState: The reactor is closed.
            TypeError: The message is none that can be sent.
        """
        self.reactor.call_soon_threadsafe(self.send, own_copy(message), compress)

    def ping(self, payload: BytesLike | None = None) -> None:
        """Send a ping; see `Connection.ping`. Does nothing unless the connection is open."""
        if self._link is not None:
            self._link.ping(payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake, or give up connecting; there will be no other attempt.

        `onclose` follows, at the latest after `close_timeout`, but for what has been told
        already. What is still on hold leaves first, once `onopen` has returned.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: At most 123 bytes in UTF-8.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        self._say_goodbye(code, reason, cut=False)

    def _say_goodbye(self, code: int, reason: str, *, cut: bool) -> None:
        check_close(code, reason)
        self.reactor.check_thread()
        self._leaving = True
        if self._link is not None and not self._away:
            self._send_all_held(self._link)
            say = self._link.hang_up if cut else self._link.close
            say(code, reason)
        else:
            self._give_up()

    def stop(self, code: int = 1001, reason: str = "") -> None:
        """End gracefully: `close`, as when the program ends; called by the reactor, too.

        What is being sent in parts is cut short.
        """
        self._say_goodbye(code, reason, cut=True)

    def abort(self) -> None:
        """Drop the connection at once, or give up connecting; `onclose` is told 1006."""
        self.reactor.check_thread()
        self._leaving = True
        if self._link is not None and not self._away:
            self._link.abort()
        else:
            self._give_up()

    def pause(self) -> None:
        """Stop reading and delivering on this connection; see `Connection.pause`."""
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Go on reading and delivering."""
        if self._link is not None:
            self._link.resume()

    def onreconnecting(self, delay: float, attempt: int) -> object:
        """Another attempt is to be made, `delay` seconds from now.

        Args:
            delay: Seconds.
            attempt: Which one it is since the last stable connection, from 1 on.

        Returns:
            `False` to give up instead.
        """
        handlers: Any = self.handlers
        return handlers.onreconnecting(self, delay, attempt)

    # ---- from the attempt ----

    # Not `connected`, `opened`, `closed`: attributes with these names are often the user's.

    def attempt_succeeded(
        self,
        transport: Stream,
        request: Request,
        reply: Reply,
        subprotocol: str | None,
        codecs: tuple[Codec, ...],
        rest: bytes,
    ) -> None:
        """Take over the connection that an attempt has led to; called by it."""
        self._attempt = None
        self.response = reply
        self._opened = self.reactor.now
        self._link = Link(
            Opened(
                self,
                transport,
                request,
                self.handlers,
                subprotocol,
                codecs,
                is_client=True,
            )
        )
        self._away = False
        if not self._hold:
            self._direct = self._link
        self._link.begin(b"", rest)

    def attempt_failed(self, error: Exception) -> None:
        """Note that an attempt has led to nothing; called by it."""
        self._attempt = None
        self._lost(1006, str(error), error)

    # ---- from the connection ----

    def link_opened(self) -> None:
        """Tell the user, then send what was held; called by the link."""
        # What `onopen` sends goes first: the user may have to log in.
        held, self._held = self._held, deque()
        try:
            self.onopen()
        finally:
            held.extend(self._held)
            self._held = held
        self._send_held()

    def link_drained(self) -> None:
        """Send more of what was held, then tell the user; called by the link."""
        self._send_held()
        if not self._held:
            self.ondrain()

    def _send_held(self) -> None:
        """Send what was held, as far as there is room."""
        link = self._link
        assert link is not None
        while (
            self._held and link.ready_state is State.OPEN and link.buffered_amount <= HIGH_WATER
        ):
            if not self._send_next_held(link):
                break

    def _send_all_held(self, link: Link) -> None:
        """Send what was held, room or not: there will be no other time."""
        while self._held and link.ready_state is State.OPEN:
            self._send_next_held(link)

    def _send_next_held(self, link: Link) -> bool:
        message, whole, compress = self._held.popleft()
        self._held_size -= _size_held(whole)
        # No overflow, whatever its size: it has been counted for `hold`.
        return link.send_held(message, whole, compress)

    def link_closed(self, code: int, reason: str) -> None:
        """Note the end of the connection; called by the link."""
        assert self._link is not None
        self._lost(code, reason, None, clean=self._link.was_clean)

    def connection_ended(self, connection: Connection) -> None:
        """Nothing yet: `link_closed` follows; called by the link."""

    # ---- inside ----

    def _set_out(self) -> None:
        self._owed = True
        self._attempt = self._attempting(self, self._wish)
        self._attempt.begin()

    def _give_up(self) -> None:
        """Give up connecting; say so in the next step, if it is to be said."""
        if self._ended or self.reactor.closed:
            return
        self._timer.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        self._timer = self.reactor.call_later(0, self._given_up)

    def _given_up(self) -> None:
        if self._owed:
            self._lost(1006, "closed before it was open", None)
        else:
            self._end()

    def _lost(
        self, code: int, reason: str, error: Exception | None, *, clean: bool = False
    ) -> None:
        """Tell that there is no connection, and go on from there."""
        self._away, self._owed, self._direct = True, False, None
        self.close_code, self.close_reason, self.was_clean = code, reason, clean
        again = not self._leaving and self._may_reconnect(error)
        if not again:
            self._leaving = self._ended = True
        # An interrupt out of one must not spare the user the other, nor the reactor the end.
        try:
            if error is not None:
                self._tell(self.onerror, error)
        finally:
            try:
                self._tell(self.onclose, code, reason)
            finally:
                if not again:
                    self._end()
        if again and not self._leaving:
            self._wait(code, error)

    def _may_reconnect(self, error: Exception | None) -> bool:
        backoff = self._backoff
        if backoff is None or error is None:
            return backoff is not None
        try:
            return not backoff.is_fatal(error)
        except Exception as fault:
            self._log("the policy", fault)
            return False

    def _wait(self, code: int, error: Exception | None) -> None:
        """Set out again, after as long as the policy says, unless the user says no."""
        try:
            delay = self._delay(code, error)
        except Exception as fault:
            self._log("the policy", fault)
            self._end()
            return
        try:
            vetoed = self.onreconnecting(delay, self._tries) is False
        except Exception as fault:
            self._log(self.onreconnecting, fault)
            vetoed = False
        if vetoed:
            self._leaving = True
        if not self._leaving:
            self._timer = self.reactor.call_later(delay, self._set_out)
        elif vetoed:
            self._end()

    def _delay(self, code: int, error: Exception | None) -> float:
        backoff = self._backoff
        assert backoff is not None
        if error is None and self.reactor.now - self._opened >= backoff.stable:
            self._tries = 0
        self._tries += 1
        from .backoff import retry_after

        delay = backoff.delay(self._tries, code=code, retry_after=retry_after(error))
        # Not a number would be no delay at all, and for ever no end.
        if not 0 <= delay < float("inf"):
            raise ValueError(f"a delay of {delay!r} seconds")
        return delay

    def _end(self) -> None:
        self._leaving = self._ended = True
        held, self._held = self._held, deque()
        self._held_size = 0
        for message, whole, _ in held:
            if whole is None and hasattr(message, "throw"):
                self._tell(message.close)  # a generator, and what it holds
        self.reactor.detach(self)

    def __repr__(self) -> str:
        """Return state and URI, without credentials."""
        state = self.ready_state.name
        return f"<{type(self).__name__} {state} {printable(str(self.uri))}>"


def _size_held(whole: Message | None) -> int:
    """Return for how many bytes a message counts that is held: what is empty counts, too."""
    return max(1, len(whole or b""))


def _check_reconnect(reconnect: Backoff | None) -> None:
    if reconnect is not None:
        from .backoff import Backoff

        if not isinstance(reconnect, Backoff):
            raise TypeError(f"reconnect={reconnect!r}, not a Backoff")


def _check_hold(size: Any) -> None:
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"hold={size!r}, not a number of bytes")
    if size < 0:
        raise ValueError(f"hold={size!r}, below zero")
