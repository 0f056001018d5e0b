"""The half of a connection that sends.

```text
send -> pack_frame ------------------> send_packed -> Transport.write   nearly every message
     -> Outbox: extensions, fragments, streams, onsent -----^           the others
```
"""

from __future__ import annotations

from _thread import get_ident

from .errors import QueueFull
from .handlers import Told
from .loop.transport import FLAGS, Transport
from .protocol.frames import (
    BINARY_HEADERS,
    MASKED_BINARY_HEADERS,
    MASKED_TEXT_HEADERS,
    MAX_SHORT,
    TEXT_HEADERS,
    pack_apart,
    pack_frame,
    pack_short,
)
from .protocol.session import Session, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Union

    from .loop.reactor import Reactor
    from .loop.tally import Tally
    from .opened import Opened, Stream
    from .outbox import Outbox
    from .protocol.extensions import Codec
    from .protocol.frames import BytesLike
    from .protocol.messages import Message
    from .settings import Settings

    # What can be sent: whole, or as the parts of one message.
    Part = Union[str, BytesLike, Message]
    Sendable = Union[Part, Iterable[str], Iterable[BytesLike], Iterable[Message]]


# To look up a member of an enum costs 70 ns before Python 3.12, a global 15.
_OPEN: State = State.OPEN
# From so many bytes on a payload is not copied behind its header, which has ten, and a key.
_LARGE = 64 * 1024


class Sending(Told):
    """What a `Connection` can do to send; its base, and nothing by itself."""

    __slots__ = (
        "_codecs",
        "_outbox",
        "_pinged",
        "_pong",
        "_session",
        "_settings",
        "_tally",
        "_transport",
        "server",
    )

    if TYPE_CHECKING:

        def _drop(self, error: Exception) -> None:
            """Drop the connection."""

        def stamp(self) -> bytes:
            """Return the payload of a ping."""

    def __init__(self, opened: Opened) -> None:
        Told.__init__(self, opened.handlers)
        self._reactor = opened.host.reactor
        self.server: Any = opened.host  # the user's class, with what it has of its own
        self._codecs: tuple[Codec, ...] = opened.codecs
        self._settings: Settings = opened.host.settings
        self._transport: Stream = opened.transport
        self._tally = opened.transport.tally
        self._session = self._make_session(opened.is_client)
        self._session.wait()
        self._pong: bytes | None = None
        self._pinged = False  # ever, by us
        tells = self.listens_to("onsent")
        lasting = tells or self._codecs or self._settings.fragment_size is not None
        self._outbox: Outbox | None = self._make_outbox(tells) if lasting else None

    def _make_session(self, is_client: bool) -> Session:
        settings = self._settings
        in_parts = self.listens_to("onfragment")
        events: Any = self  # the connection takes what comes
        if not self._codecs:
            return Session(
                events,
                client=is_client,
                max_message=settings.max_message,
                max_fragments=settings.max_fragments,
                in_parts=in_parts,
            )
        from .protocol.extended import ExtendedSession

        return ExtendedSession(
            events,
            self._codecs,
            client=is_client,
            max_message=settings.max_message,
            max_fragments=settings.max_fragments,
            in_parts=in_parts,
        )

    # ---- what the user calls ----

    @property
    def reactor(self) -> Reactor:
        """The reactor that it lives in."""
        return self._reactor

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """What the extensions that were agreed on do on this connection, in their order."""
        return self._codecs

    @property
    def is_client(self) -> bool:
        """Whether this side is the client."""
        return self._session.client

    @property
    def ready_state(self) -> State:
        """Where it is in its life (WHATWG `readyState`); `CONNECTING` only until `onopen`."""
        state, outbox = self._session.state, self._outbox
        if state is _OPEN and outbox is not None and outbox.farewell is not None:
            return State.CLOSING
        return state

    @property
    def buffered_amount(self) -> int:
        """Bytes, headers included, that the kernel has not taken yet.

        Of an iterable, those that were asked for. A message that waits behind one counts 256
        more, for what it takes to keep it.
        """
        waiting = 0 if self._outbox is None else self._outbox.size
        return self._transport.buffered + waiting

    def send(self, message: Sendable, compress: bool | None = None) -> bool:
        """Send a message. Hot.

        An iterable, such as a generator, goes out as the fragments of one message, one for
        each of its parts, all `str` or all bytes-like: they are asked for as the peer takes
        them, the first ones at once. What is sent meanwhile waits behind it, but for pings. If
        it raises, the connection fails; when the connection ends before, a generator is closed.

        Args:
            message: `str` or a `TextMessage` goes as text, bytes-like or a `BinaryMessage` as
                binary.
            compress: Whether to compress it, where that was agreed on; `None` leaves it to the
                extension, which has a threshold.

        Returns:
            Whether the write queue is below its high-water mark, 64 KiB, and nothing waits: if
            not, `ondrain` follows, and it is better to wait. False also if the message was not
            sent: because the connection is ending, or by the overflow policy "skip".

        Raises:
            TypeError: The message is none of that.
            QueueFull: By the overflow policy "error".
        """
        # Two threads that send would mix their bytes.
        if get_ident() != self._reactor.thread:
            self._reactor.check_thread()
        if self._outbox is not None:
            return self._outbox.send(message, compress)
        kind = type(message)
        if kind is str:
            payload, headers = message.encode(), TEXT_HEADERS  # type: ignore[union-attr]
        elif kind is bytes:
            payload, headers = message, BINARY_HEADERS
        else:
            return self._send_otherwise(message, compress)
        session, size = self._session, len(payload)
        if size > MAX_SHORT:
            head = 0x81 if kind is str else 0x82
            if size >= _LARGE:
                return self._send_large(head, payload)
            frame = pack_frame(head, payload, session.client)
        elif session.client:
            headers = MASKED_TEXT_HEADERS if kind is str else MASKED_BINARY_HEADERS
            frame = pack_short(headers[size], payload)
        else:
            frame = headers[size] + payload
        transport = self._transport
        waiting = transport.buffered + len(frame)
        if waiting > session.unasked:  # or it is not open
            return self.send_packed(frame)
        # What follows is `send_packed` where there is room, without its call, and without that
        # of `write` in a handler, where what is written is collected.
        self._tally.messages_sent += 1
        corked = transport.corked
        if corked is None:
            return transport.write(frame)
        corked.append(frame)
        transport.buffered = waiting
        return not transport.choked

    def send_threadsafe(self, message: Sendable, compress: bool | None = None) -> None:
        """Send a message from any thread: it is sent by the reactor's, soon; never blocks.

        The messages of one thread leave in their order. One that comes too late, since the
        connection has ended, is dropped, as by `send`; `QueueFull` is logged. An iterable is
        asked for its parts in the reactor's thread.

        Args:
            message: As for `send`.
            compress: As for `send`.

        Raises:
            InvalidState: The reactor is closed.
            TypeError: The message is none that can be sent.
        """
        self._reactor.call_soon_threadsafe(self.send, own_copy(message), compress)

    def ping(self, payload: BytesLike | None = None) -> None:
        """Send a ping; `onpong` follows. Does nothing unless the connection is open.

        Args:
            payload: At most 125 bytes, which the pong carries too; by default the time, from
                which come `rtt`, `jitter` and, at the peer, `clock_offset`.

        For the write queue it counts as a message; but it does not wait behind one that is sent
        in parts.

        Raises:
            TypeError: The payload is not bytes-like.
            ValueError: It is too long.
            QueueFull: By the overflow policy "error".
        """
        self._reactor.check_thread()
        if payload is None:
            payload = self.stamp()
        if self.ready_state is State.OPEN and self.has_room(len(payload)):
            self._session.ping(payload)
            self._pinged = True

    # ---- the ways out ----

    def _send_otherwise(self, message: Sendable, compress: bool | None) -> bool:
        """Send what takes more than a header."""
        from .protocol.messages import as_sendable

        whole = as_sendable(message)
        if whole is not None:
            return self.send_packed(whole.pack(self.is_client))
        if self._session.state is not _OPEN:
            return False  # and there will be no use for an outbox
        self._outbox = self._make_outbox()
        return self._outbox.send(message, compress)

    def send_held(self, message: Any, whole: Message | None, compress: bool | None) -> bool:
        """Send a message that was held, without regard to the queue's limit.

        Args:
            message: As it was given.
            whole: What `as_sendable` has made of it.
            compress: As for `send`.
        """
        if self._outbox is None:
            if whole is not None:
                self._tally.messages_sent += 1
                return self._transport.write(whole.pack(self.is_client))
            self._outbox = self._make_outbox()
        return self._outbox.send_anyway(message, whole, compress)

    def send_packed(self, frame: bytes) -> bool:
        """Send what is framed already, where there are no extensions; called by `send`.

        Returns:
            As `send`.

        Raises:
            QueueFull: By the overflow policy "error".
        """
        if self._session.state is not _OPEN:
            return False
        transport = self._transport
        waiting = transport.buffered
        if (
            waiting
            and waiting + len(frame) > self._settings.max_write_queue
            and not self.has_room(len(frame))
        ):
            return False
        self._tally.messages_sent += 1
        return transport.write(frame)

    def send_posted(self, frame: bytes, message: Message, compress: bool | None) -> None:
        """Send what is sent to many, by the way of this one; called by `post`.

        Args:
            frame: The message, framed as it is for most.
            message: The message, for those who frame it otherwise.
            compress: As for `send`.
        """
        try:
            if self._outbox is not None:
                self._outbox.send(message, compress)
            else:
                self.send_packed(frame)
        except QueueFull:
            pass  # as by the policy "skip"

    def _send_large(self, head: int, payload: bytes) -> bool:
        """Send a message without a copy of it behind its header.

        A megabyte that is asked of the system and given back for each message costs a fifth of
        what it takes to echo one.
        """
        session, transport = self._session, self._transport
        size = len(payload) + (14 if session.client else 10)
        if session.state is not _OPEN or not self.has_room(size):
            return False
        header, body = pack_apart(head, payload, session.client)
        self._tally.messages_sent += 1
        alone = transport.corked is None
        try:
            transport.cork()
            transport.write(header)
            below = transport.write(body)
            if alone:
                transport.uncork()
        except BaseException:
            # Of a message that was interrupted nobody knows what is missing.
            self._drop(InterruptedError("interrupted"))
            raise
        return below and not transport.choked

    def _make_outbox(self, tells: bool = False) -> Outbox:
        from .outbox import Outbox

        sender: Any = self  # the connection, whole
        size = self._settings.fragment_size
        return Outbox(sender, self._transport, self._session, self._codecs, size, tells)

    def has_room(self, size: int, before: int = 0) -> bool:
        """Return whether the queue may take `size` bytes more; if not, apply the policy.

        Args:
            size: Bytes.
            before: Those that wait to be queued before them.

        Raises:
            QueueFull: By the overflow policy "error".
        """
        settings, transport = self._settings, self._transport
        if transport.buffered + before + size > settings.max_write_queue:
            transport.flush()  # what is corked does not wait for the peer
        waiting = transport.buffered + before
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

    # ---- from below ----

    def write(self, data: bytes) -> object:
        """Send bytes; called by the session."""
        return self._transport.write(data)

    def emptied(self) -> None:
        """The queue is empty, or short: the pong that waits leaves; called by the transport."""
        pong, self._pong = self._pong, None
        if pong is not None and self._session.state is State.OPEN:
            self._session.pong(pong)

    def message_sent(self, message: Any) -> None:
        """Tell that the system has taken a message; called by the outbox."""
        self._guard(self.onsent, message)


def post(
    to: Iterable[Sending], tally: Tally, frame: bytes, message: Message, compress: bool | None
) -> None:
    """Send a message to many; called by `Server.broadcast`. Hot.

    Args:
        to: The connections. One that reads too slowly is left out, if its overflow policy does
            not end it.
        tally: Of all of them.
        frame: The message, framed as it is for most.
        message: The message, for those who frame it otherwise.
        compress: As for `Sending.send`.
    """
    size, whole = len(frame), 0
    try:
        # By what the classes have of their own: a method of each would be a call for each.
        for client in to:
            outbox, transport = client._outbox, client._transport  # noqa: SLF001
            if (
                outbox is not None
                or transport.buffered
                or transport.corked is not None
                or client._session.state is not _OPEN  # noqa: SLF001
                or type(transport) is not Transport
                or transport.finishing
            ):
                client.send_posted(frame, message, compress)
                continue
            # Nearly always the system takes all of it: then this is what `write` does.
            try:
                sent = transport.sock.send(frame, FLAGS)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                tally.messages_sent += 1
                transport.fail(error)
                continue
            if sent == size:
                whole += 1
            else:
                tally.messages_sent += 1
                tally.bytes_sent += sent
                # Of the one frame: each slow peer would hold a copy of its own rest.
                transport.write(memoryview(frame)[sent:])
    finally:
        tally.messages_sent += whole
        tally.bytes_sent += whole * size


def own_copy(message: Sendable) -> Sendable:
    """Return a message that nobody else can change until it is sent.

    Raises:
        TypeError: It is none that can be sent.
    """
    if type(message) is str or type(message) is bytes:
        return message
    from .protocol.messages import as_sendable

    whole = as_sendable(message)
    return message if whole is None else whole
