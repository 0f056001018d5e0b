"""THE HALL: one open WebSocket, where bytes and sockets meet.

A `Session` says what the bytes mean, a `Transport` moves them, `Deadlines` watch the clock; the
connection joins them and tells the user. Input goes to one of these, which one is its phase:

```text
_input     OPEN     deadlines: ping_interval, ping_timeout, write_timeout
           CLOSING  our Close is out; deadline: close_timeout
_keep      OPEN     the user has paused
_discard   CLOSED   (the transport's) what is queued, FIN, the peer's FIN; deadline: LINGER
```

A server that has heard the peer's Close, and said its own, closes at once, without `_discard`.

Every end, whatever its cause, comes to `gone`, once, when the socket is closed; from there
`onclose` is called, once for each `onopen`, never from inside the user's own call, and nothing
after it.
"""

from __future__ import annotations

from operator import length_hint

from .deadlines import Deadlines
from .errors import InvalidState, ProtocolError
from .logs import place, printable
from .loop.transport import ENDED, HIGH_WATER, LARGE_READ, LINGER, READ_SIZE, Transport
from .opened import Opened
from .protocol.session import State, check_close
from .sending import Sending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .alone import Alone, Source
    from .loop.timers import Timer

# To look up a member of an enum costs 70 ns before Python 3.12, a global 15.
_OPEN: State = State.OPEN
_CLOSED: State = State.CLOSED


class Connection(Sending):
    """One WebSocket connection of a `Server`, which makes it; a `Client` has one inside.

    Its methods belong to the reactor's thread. Override `onopen`, `onmessage` and their kin
    (see `Told`) in a subclass, or leave them to the server's.

    One by itself is made of a `WebSocket` after its handshake, as in
    `Connection(websocket).receive_forever()`; as a context manager it is closed at the end.

    Args:
        opened: What its server or client gives it, or a `WebSocket`, which is used up.
        **options: Of one by itself: the limits and deadlines of `Settings`, by default the
            `WebSocket`'s, and functions for handlers.

    Attributes:
        server: The server that accepted it.
        request: The opening request.
        subprotocol: What was agreed on, or `None`.
        close_code: The code of the end, once there is one: what `onclose` is told.
        close_reason: The reason of the end.
        was_clean: Whether both sides have sent their Close (WHATWG `wasClean`).
        data: For the user.
        last_seen: When a byte last came from the peer, in seconds of the reactor's clock.
    """

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_going_on",
        "_paused",
        "_stop",
        "close_code",
        "close_reason",
        "data",
        "last_seen",
        "request",
        "subprotocol",
        "was_clean",
    )

    def __init__(self, opened: Opened | Source, **options: Any) -> None:
        alone: Alone | None = None
        if not isinstance(opened, Opened):
            from .alone import Alone

            alone = Alone(self, opened, options)
            opened = alone.opened
        elif options:
            raise TypeError(f"{type(self).__name__}() of a server or client has no options")
        Sending.__init__(self, opened)
        self.request = opened.request
        self.subprotocol = opened.subprotocol
        self.close_code: int | None = None
        self.close_reason = ""
        self.was_clean = False
        self.data: Any = None
        self._deadlines = Deadlines(self._reactor, self._transport, self._settings, self)
        self._stop = self._paused = self._going_on = False
        if alone is not None:
            self._pinged = True  # for all that is known: frames were exchanged by hand
            alone.start()

    # ---- what the user calls ----

    @property
    def address(self) -> Any:
        """The peer's: host and port (for IPv6 two numbers more), or `""` for a unix socket."""
        return self.request.address

    @property
    def extensions(self) -> str:
        """What was agreed on, as `Sec-WebSocket-Extensions` has it; `""` for nothing."""
        if not self._codecs:
            return ""
        from .protocol.extensions import describe

        return describe(self._codecs)

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject`, or `None` without TLS.

        Its `version()`, `cipher()`, `getpeercert()` and `selected_alpn_protocol()` tell about
        the connection.
        """
        return self._transport.tls

    @property
    def rtt(self) -> float | None:
        """How long the last ping with a time in it took to be answered, in seconds, or `None`.

        Those of keepalive have one, and those of `ping()`.
        """
        return self._deadlines.trips.rtt

    @property
    def jitter(self) -> float | None:
        """By how much `rtt` varies, in seconds: a running mean, as in RFC 3550; or `None`."""
        return self._deadlines.trips.jitter

    @property
    def clock_offset(self) -> float | None:
        """What the clock of the peer's reactor is ahead of ours, in seconds, or `None`.

        A running mean. It is known once the peer, this package too, has sent a ping with its
        time, and `rtt` is known: a ping each from both sides.
        """
        return self._deadlines.trips.offset

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; `onclose` follows, at the latest after `close_timeout`.

        What was sent before leaves first, and the time runs when it has been written; messages
        that come from now on are dropped. The first call counts.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: At most 123 bytes in UTF-8.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        self._reactor.check_thread()
        outbox = self._outbox
        if self.ready_state is State.OPEN:
            if outbox is not None and outbox.busy:
                check_close(code, reason)
                outbox.farewell = code, reason
                self._session.mute()
                self.resume()  # the peer's Close may stand behind what was not read
            else:
                self._close(code, reason)

    def hang_up(self, code: int = 1001, reason: str = "") -> None:
        """Close, and cut short what is being sent in parts; called when the server stops.

        Args:
            code: As for `close`.
            reason: As for `close`.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        check_close(code, reason)
        self._reactor.check_thread()
        if self._session.state is State.OPEN:
            outbox = self._outbox
            if outbox is not None:
                code, reason = outbox.farewell or (code, reason)
            self._close(code, reason)

    def _close(self, code: int, reason: str) -> None:
        self._session.close(code, reason)
        self._deadlines.end_within(self._settings.close_timeout, self._unanswered)
        self.resume()
        self._drop_outbox()

    def abort(self) -> None:
        """Drop the connection at once; what is queued is lost, and `onclose` is told 1006."""
        self._reactor.check_thread()
        self._abort(None)

    def pause(self) -> None:
        """Stop reading and delivering; the peer is held up when the buffers are full.

        While it is paused, a silent peer cannot be told from a held-up one: keepalive rests.
        """
        self._reactor.check_thread()
        if self.ready_state is State.OPEN and not self._paused:
            self._paused = self._stop = True
            self._transport.received = self._keep
            self._transport.pause()

    def resume(self) -> None:
        """Go on reading and delivering, from the next step."""
        self._reactor.check_thread()
        if self._paused:
            self._paused = False
            if self._session.state is not State.CLOSED:
                self.last_seen = self._reactor.now
                self._transport.received = self._input
                self._unstop()

    # ---- from the opening ----

    def begin(self, response: bytes, rest: bytes, timer: Timer | None = None) -> None:
        """Open the connection; called once.

        Args:
            response: The 101, to be sent first; a client has none.
            rest: What has come behind the peer's part of the handshake.
            timer: One of the handshake's, to be used for the deadlines.
        """
        self.start(timer)
        transport = self._transport
        # Corked, so that what onopen sends leaves with the response.
        transport.cork()
        try:
            if response:
                transport.write(response)
            self._guard(self.onopen)
        finally:
            transport.uncork()
        if rest and not transport.closed:
            if self._session.state is _CLOSED:
                transport.received(rest)
                return
            # Kept first: of which read it is a part, and of how long a one, nobody says.
            self._session.keep(rest)
            if self._reactor.out_of_time:
                self._hold(True)
            else:
                transport.received(b"")

    def start(self, timer: Timer | None = None) -> None:
        """Be open, without a word; called once, before all else."""
        transport = self._transport
        transport.events = self
        transport.received = self._input
        self._deadlines.start(timer)
        self._session.open(min(HIGH_WATER, self._settings.max_write_queue))

    # ---- by itself ----

    def receive_forever(self) -> None:
        """Handle what comes until the connection has ended; only of one by itself.

        SIGINT and SIGTERM close it with 1001.

        Raises:
            InvalidState: It is a server's or a client's, or this is called by a handler.
        """
        self._alone().receive_forever()

    def recv(self, timeout: float | None = None) -> Any:
        """Wait for the next message; only of one by itself. `onmessage` is not told of it.

        Between calls nothing is read, and no ping is answered; but if others make steps of its
        reactor, then up to the next message.

        Args:
            timeout: How long to wait, in seconds; by default for ever.

        Returns:
            `str` for text, `bytes` for binary.

        Raises:
            ConnectionClosed: There will be none, since the connection has ended.
            InvalidState: It is a server's or a client's, or this is called by a handler, or
                messages go to `onfragment`.
            TimeoutError: There was none in time.
            ValueError: The timeout is negative.
        """
        if self.listens_to("onfragment"):
            raise InvalidState("recv() of a connection with onfragment")
        return self._alone().recv(timeout)

    def __enter__(self) -> Connection:
        """Return the connection."""
        self._alone()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close the connection, and wait for its end; after an exception drop it."""
        self._alone().leave(at_once=kind is not None)

    def _alone(self) -> Alone:
        from .alone import Alone

        host = self.server
        if not isinstance(host, Alone):
            raise InvalidState("the connection is not by itself: its reactor is another's")
        return host

    def go(self, rest: bytes) -> None:
        """Call `onopen`, and read on behind `rest`; called in the first step of a lone one."""
        self._session.keep(rest)
        self._guard(self.onopen)
        if not self._going_on:
            self._go_on()

    def deliver_to(self, deliver: Callable[[Any], bool] | None) -> None:
        """Have messages delivered elsewhere, or with `None` to `onmessage` again."""
        self._session.deliver_to(deliver)

    # ---- from the transport ----

    def _input(self, data: bytes) -> None:
        """Take input. Hot."""
        self.last_seen = self._reactor.now
        transport = self._transport
        if not transport.broken:  # as when the peer is gone, and what it has said is read
            transport.corked = []
        try:
            more = self._session.feed(data)
        finally:
            if transport.corked:
                transport.uncork()
            else:
                transport.corked = None
        outbox = self._outbox
        if more or transport.choked or (outbox is not None and outbox.crowded):
            self._hold(more)

    def _keep(self, data: bytes) -> None:
        self._session.keep(data)

    def drained(self) -> None:
        """The queue is short again; called by the transport."""
        # Before ondrain, which may fill the queue again, so that it is never empty.
        self.emptied()
        self._unstop()
        outbox = self._outbox
        if outbox is not None and outbox.busy:
            outbox.pump()
        elif self.ready_state is State.OPEN:
            if outbox is not None:
                outbox.owed = False
            self._guard(self.ondrain)

    def gone(self, error: Exception | None) -> None:
        """The socket is closed: the one way to `onclose`; called by the transport, once."""
        # What had come whole before the end is delivered, as in steps before, unless the user
        # has paused.
        more = False
        try:
            if not self._paused and self._session.state is not _CLOSED:
                self._stop = False
                more = self._session.feed(b"")
        finally:
            if more and not self._paused:
                self._reactor.call_soon(self.gone, error)
            else:
                self._end(error)

    def _end(self, error: Exception | None) -> None:
        # What has held this does so no more: who drops it does not leave it to the garbage
        # collector, which cost a fortieth of what it takes to open and close a connection.
        self._deadlines.let_go()
        self._session.let_go()
        told = self.close_code is not None  # why it ended: a RST that follows is no news
        # An interrupt out of one must not spare the user the others.
        try:
            if self._outbox is not None:
                self._outbox.end()
        finally:
            if type(self._transport) is Transport:
                self._transport = ENDED
            if self.close_code is None:
                self.close_code = 1006
            self.server.connection_ended(self)
            try:
                if error is not None and not told:
                    self._tell(self.onerror, error)
            finally:
                self._tell(self.onclose, self.close_code, self.close_reason)

    # ---- from the session ----

    def message_received(self, message: str | bytes) -> bool:
        """Deliver a message; called by the session. Hot: holds the path's only `try`."""
        self._tally.messages_received += 1
        try:
            if self._forwards:
                self.handlers.onmessage(self, message)
            else:
                self.onmessage(message)
        except Exception as error:
            self._log(self.onmessage, error)
            self._handler_failed(error)
        # What `_is_enough` says, without its call.
        return (
            self._stop
            or (self._transport.choked and self._waits_for_peer())
            or (self._reactor.ends is not None and self._reactor.out_of_time)
        )

    def messages_received(self, messages: Iterator[str | bytes]) -> bool:
        """Deliver messages that have come together; called by the session. Hot.

        It does what `message_received` does with each, without its calls.

        Args:
            messages: They; what is left of it was not delivered.

        Returns:
            Whether it has stopped.
        """
        transport, ends = self._transport, self._reactor.ends
        forwards = self._forwards
        self._tally.messages_received += length_hint(messages)
        try:
            for message in messages:
                try:
                    if forwards:
                        self.handlers.onmessage(self, message)
                    else:
                        self.onmessage(message)
                except Exception as error:
                    self._log(self.onmessage, error)
                    self._handler_failed(error)
                if (
                    self._stop
                    or (transport.choked and self._waits_for_peer())
                    or (ends is not None and self._reactor.out_of_time)
                ):
                    return True
            return False
        finally:
            # What was not delivered comes again.
            self._tally.messages_received -= length_hint(messages) + self._session.recalled

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        """Deliver a part of a message; called by the session."""
        self._tally.messages_received += final
        self._guard(self.onfragment, data, final)
        return self._is_enough()

    def ping_received(self, payload: bytes) -> bool:
        """Answer a ping; called by the session."""
        self._deadlines.trips.heard(payload, self._reactor.now)
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
        return self._is_enough()

    def pong_received(self, payload: bytes) -> bool:
        """Note an answer; called by the session."""
        self._deadlines.trips.answered(payload, self._reactor.now)
        self._guard(self.onpong, payload)
        return self._is_enough()

    def close_received(self, code: int, reason: str) -> None:
        """End cleanly; called by the session."""
        self.close_code, self.close_reason = code, reason
        self.was_clean = True
        # The pong to a ping of ours may come behind the peer's Close.
        self._finish(at_once=not (self.is_client or self._pinged))

    def violated(self, error: ProtocolError) -> None:
        """End, since the peer broke a rule; called by the session."""
        self.close_code, self.close_reason = error.code, error.reason
        if error.__cause__ is not None:
            self._log("an extension", error)
        self._tell(self.onerror, error)
        self._finish()

    def large_frame(self, begun: bool) -> None:
        """Read in larger pieces while a large frame comes; called by the session."""
        self._transport.read_size = LARGE_READ if begun else READ_SIZE

    # ---- from the outbox ----

    def iterable_raised(self, error: Exception) -> None:
        """Log what the iterable of a message has raised; called by the outbox."""
        self._log("the iterable of a message", error)

    def iterable_failed(self, error: Exception) -> None:
        """End, since a message cannot be sent to its end; called by the outbox."""
        if self._session.state is State.OPEN:  # or it has ended in the meantime
            self._fail("internal error", error)

    def packing_failed(self, error: ProtocolError) -> None:
        """End, since an extension has failed; called by the outbox."""
        if self._session.state is State.OPEN:
            self._session.fail(error)
        else:
            self._log("an extension", error)  # it has ended in the meantime

    def outbox_emptied(self, owed: bool) -> None:
        """Go on when no message is sent in parts any more; called by the outbox."""
        outbox = self._outbox
        assert outbox is not None
        if not (self._codecs or outbox.tells or self._settings.fragment_size is not None):
            self._outbox = None
        if outbox.farewell is not None:
            self._close(*outbox.farewell)
            return
        self._unstop()  # it may have been too much, with nothing in the queue to drain
        if owed and not self._transport.choked:
            self._guard(self.ondrain)

    # ---- flow ----

    def _is_enough(self) -> bool:
        """Return whether the session is to stop: for the user, the peer, or the others."""
        return self._stop or self._waits_for_peer() or self._reactor.out_of_time

    def _hold(self, more: bool) -> bool:
        """Do not read while there is more in hand, or the peer does not read the answers.

        What is in hand is parsed in the next step, behind the other connections; when the peer
        takes the answers, `drained` follows.

        Returns:
            Whether reading has stopped.
        """
        if self._paused or self._session.state is _CLOSED:
            return True
        choked = self._waits_for_peer()
        if choked or more:
            self._transport.pause()
            if not choked:
                self._go_on_soon()
        return choked or more

    def _waits_for_peer(self) -> bool:
        """Return whether not to read, since the peer does not read the answers.

        A client reads on: if each side waited for the other to read, both would wait for ever.
        And while a message is sent in parts the queue is full because there is more to send:
        then it is not to cause too much that waits behind that.
        """
        if self.is_client:
            return False
        outbox = self._outbox
        if outbox is not None and outbox.busy:
            # Choked or not: a step writes 64 parts, which may be less than it reads.
            return outbox.crowded
        return self._transport.choked

    def _go_on_soon(self) -> None:
        if not self._going_on:
            self._going_on = True
            self._reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        transport = self._transport
        if self._paused or transport.closed or self._waits_for_peer():
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
            if not self._transport.reading:  # otherwise there is nothing in hand
                self._go_on_soon()

    # ---- ends ----

    def silent(self) -> None:
        """No byte has answered a ping; called by the deadlines."""
        self._fail("ping timeout", TimeoutError("no answer to a ping"))

    def stuck(self) -> None:
        """The peer takes nothing; called by the deadlines."""
        self._drop(TimeoutError("the peer takes nothing of what is sent"))

    def _unanswered(self) -> None:
        self._drop(TimeoutError("the peer did not answer our Close"))

    def _finish(self, *, at_once: bool = False) -> None:
        """All is said: send what is queued, then FIN, and wait for the peer's.

        Args:
            at_once: Whether not to wait, if that is possible: the peer has nothing more to say.
        """
        self._stop = True
        transport = self._transport
        # "the underlying TCP connection, in most normal cases, SHOULD be closed first by the
        # server" (RFC 6455 §7.1.1): the side that closes first is the one that must wait.
        all_read = False
        if at_once:
            # A short read of the Close alone has left nothing; behind a message, whose handler
            # may have taken long, more may have come meanwhile, as a ping of keepalive.
            size = 6 if self.close_code == 1005 else 8 + len(self.close_reason.encode())
            all_read = self._session.fed == size < transport.read_size
        transport.finish(half_close=not self.is_client, at_once=at_once, all_read=all_read)
        if not transport.closed:
            delay = self._settings.close_timeout if transport.buffered else LINGER
            self._deadlines.end_within(delay, transport.abort)
        self._drop_outbox()

    def _drop_outbox(self) -> None:
        """Close what is being sent in parts; last, since a generator may do anything then."""
        if self._outbox is not None:
            self._outbox.drop()

    def answers_for(self) -> object:
        """Return who may be to blame when input took long; called by the reactor's meter."""
        in_parts = self.listens_to("onfragment")
        return self.name_of(self.onfragment if in_parts else self.onmessage)

    def stamp(self) -> bytes:
        """Return the payload of a ping, with the time in it; called by `ping`."""
        return self._deadlines.trips.stamp(self._reactor.clock())

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
            self._drop_outbox()

    def _handler_failed(self, error: Exception) -> None:
        """One connection's handler raised: that connection fails, the others live."""
        self._fail("internal error", error)

    def __repr__(self) -> str:
        """Return state, address and target."""
        state, target = self.ready_state.name, printable(self.request.target)
        return f"<{type(self).__name__} {state} {place(self.address)} {target}>"
