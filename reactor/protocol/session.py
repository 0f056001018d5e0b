"""After the opening handshake: frames <-> messages, control frames, the closing handshake.

RFC 6455 §5 to §7, as a machine that is given bytes and one object to call: it is the same for
both roles, owns no socket and no clock, and never raises for what a peer sends. Bytes go in by
`feed`; what they mean comes out as calls of `SessionEvents`, in order; what is to be sent goes
out by `events.write`. A message that came before a violation is delivered before it, and the
replies to it are written before the close frame.

The states are those of RFC 6455 §7 and of the WHATWG `WebSocket`. `TRANSITIONS` is the whole
truth about them:

```text
                close()             the peer's Close, a violation, EOF
        OPEN --------------> CLOSING -------------------------------> CLOSED
          |                                                             ^
          +------------ the peer's Close, a violation, EOF -------------+
```

CLOSED means here: nothing more is parsed, nothing more is written. TCP may live on for a
moment, until what was written has left.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import InvalidPayload, MessageTooBig, ProtocolError
from .assembly import BinaryParts, TextParts, WholeBinary, WholeText, keep_ready, not_utf8
from .frames import (
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TEXT,
    as_bytes,
    pack_frame,
    pack_message,
)
from .heads import CONTINUED, START
from .parser import FrameParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from .assembly import Assembly, Deliver
    from .frames import BytesLike

    class SessionEvents(Protocol):
        """What a `Session` calls; the connection, or a recorder in a test."""

        def write(self, data: bytes) -> object:
            """Send these bytes, after those of earlier calls."""

        def message_received(self, message: str | bytes) -> bool | None:
            """A whole message; return true to stop the parser."""

        def messages_received(self, messages: Iterator[str | bytes]) -> bool | None:
            """Several whole messages; return true to stop, with what is left not delivered."""

        def fragment_received(self, data: str | bytes, final: bool) -> bool | None:
            """A part of a message, if they are handed on so; return true to stop the parser."""

        def ping_received(self, payload: bytes) -> bool | None:
            """A ping, to be answered by `Session.pong`; return true to stop the parser."""

        def pong_received(self, payload: bytes) -> bool | None:
            """A pong, asked for or not; return true to stop the parser."""

        def close_received(self, code: int, reason: str) -> None:
            """The peer's Close; ours has been written if it was not before."""

        def violated(self, error: ProtocolError) -> None:
            """The peer broke a rule; our Close that says so has been written."""

        def large_frame(self, begun: bool) -> None:
            """A frame that is worth reading in larger pieces has begun, or ended."""


class State(IntEnum):
    """Where a connection is in its life (WHATWG `readyState`)."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Event:
    """What moves a session from state to state; numbers: cheaper to import than an enum."""

    CLOSE_SENT, CLOSE_RECEIVED, VIOLATION, EOF = range(4)


TRANSITIONS: dict[tuple[State, int], State] = {
    (State.OPEN, Event.CLOSE_SENT): State.CLOSING,  # §7.1.2
    (State.OPEN, Event.CLOSE_RECEIVED): State.CLOSED,  # and echoed, §5.5.1
    (State.OPEN, Event.VIOLATION): State.CLOSED,  # our Close, then nothing, §7.1.7
    (State.OPEN, Event.EOF): State.CLOSED,  # 1006, §7.1.5
    (State.CLOSING, Event.CLOSE_RECEIVED): State.CLOSED,  # §7.1.4
    (State.CLOSING, Event.VIOLATION): State.CLOSED,
    (State.CLOSING, Event.EOF): State.CLOSED,
}
# The same by one number: as a key an enum's member is hashed by a function in Python.
_NEXT = {state << 2 | event: after for (state, event), after in TRANSITIONS.items()}

# To look up a member of an enum costs 70 ns before Python 3.12, a global 15.
_CONNECTING: State = State.CONNECTING
_OPEN: State = State.OPEN
_CLOSED: State = State.CLOSED

# A frame of so much is read in larger pieces: it takes two reads in any case.
LARGE = 128 * 1024
# What has no limit: more than a frame can have (RFC 6455 §5.2).
_UNLIMITED = 1 << 64

_MAX_REASON = 123  # bytes: a control frame's 125 less the code


def check_close(code: int, reason: str) -> bytes:
    """Return the payload of a Close frame (RFC 6455 §5.5.1).

    Args:
        code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 §7.4).
        reason: At most 123 bytes in UTF-8.

    Raises:
        TypeError: The code is not an `int` or the reason not a `str`.
        ValueError: The code must not be sent, or the reason is too long.
    """
    if not isinstance(code, int):
        raise TypeError(f"close code of type {type(code).__name__}, not int")
    if not isinstance(reason, str):
        raise TypeError(f"close reason of type {type(reason).__name__}, not str")
    if not _may_be_sent(code):
        raise ValueError(f"close code {code} is not one to send (RFC 6455 §7.4)")
    encoded = reason.encode()
    if len(encoded) > _MAX_REASON:
        raise ValueError(
            f"close reason of {len(encoded)} bytes, at most {_MAX_REASON} (RFC 6455 §5.5)"
        )
    return code.to_bytes(2, "big") + encoded


def _may_be_sent(code: int) -> bool:
    # "1004 [...] Reserved", "1005 [...] 1006 [...] 1015 is a reserved value and MUST NOT be set
    # as a status code in a Close control frame by an endpoint" (RFC 6455 §7.4.1); 1012 to 1014
    # are from its registry; below 3000 the rest is reserved, from 5000 undefined (§7.4.2).
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def cut_reason(reason: str) -> str:
    """Return as much of `reason` as fits into a Close frame, whole characters only."""
    return reason.encode()[:_MAX_REASON].decode("utf-8", "ignore")


def sendable(error: ProtocolError) -> ProtocolError:
    """Return an error whose code and reason can be sent: an extension's own may have others."""
    try:
        check_close(error.code, cut_reason(error.reason))
    except (AttributeError, TypeError, ValueError):
        fault = ProtocolError(1011, "an extension failed")
        fault.__cause__ = error
        return fault
    return error


def _parse_close(payload: bytes) -> tuple[int, str]:
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise ProtocolError(1002, "Close with a payload of one byte (RFC 6455 §5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if not _may_be_sent(code):
        raise ProtocolError(1002, f"Close with code {code} (RFC 6455 §7.4)")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise InvalidPayload("Close with a reason that is not UTF-8 (RFC 6455 §8.1)") from None


class Session(FrameParser):
    """One side of an open WebSocket connection (RFC 6455 §5 to §7).

    It is a parser that knows what its frames mean; bytes go in by `feed`.

    Args:
        events: Is called for what the peer sends, and for what is to be sent.
        client: Whether this side is the client: it masks, and accepts unmasked frames only.
        max_message: The most bytes that a message may have, over all its frames.
        max_fragments: The most frames that a message may have; empty ones count.
        in_parts: Whether messages are handed on in the parts in which they come, by
            `events.fragment_received`: then those two limits do not apply.

    Attributes:
        client: See the argument.
        state: `OPEN`, `CLOSING` or `CLOSED`; `TRANSITIONS` says how it moves.
        unasked: Bytes of messages that may wait without a look at anything else, for whoever
            sends them; below 0 unless it is open, so that one look tells both.
    """

    __slots__ = (
        "_assembly",
        "_events",
        "_final",
        "_fragments",
        "_in_parts",
        "_large",
        "_max_fragments",
        "_max_message",
        "_room",
        "_to_events",
        "client",
        "state",
        "unasked",
    )

    # What a frame may begin with, between messages and inside one.
    _heads = START, CONTINUED

    def __init__(
        self,
        events: SessionEvents,
        *,
        client: bool,
        max_message: int,
        max_fragments: int,
        in_parts: bool = False,
    ) -> None:
        self._max_message = self._room = _UNLIMITED if in_parts else max_message
        FrameParser.__init__(self, masked=not client, room=self._room)
        self._events = events
        self._deliver: Deliver = events.message_received
        # Whether that is where messages go.
        self._to_events = not in_parts
        if in_parts:
            self._deliver = self._whole_part
        self.client = client
        self._in_parts = in_parts
        self._max_fragments = _UNLIMITED if in_parts else max_fragments
        self._fragments = 0
        self._final = False
        self._large = False
        self._assembly: Assembly | None = None
        self.state = _OPEN
        self.unasked = 0

    def wait(self) -> None:
        """Be not open yet; called at most once, before all else."""
        self.state, self.unasked = _CONNECTING, -1

    def open(self, unasked: int) -> None:
        """Be open now; called once behind `wait`.

        Args:
            unasked: See the attribute.
        """
        self.state, self.unasked = _OPEN, unasked

    # ---- bytes from the peer ----

    def message(self, head: int, payload: bytes | bytearray) -> bool | None:
        """Deliver a message of one whole frame, as `feed` does with those below 64 KiB."""
        if head == 0x81:
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(error.reason, error.start) from None
            return self._deliver(text)
        return self._deliver(bytes(payload))

    def deliver_all(self, messages: Iterator[Any]) -> bool | None:
        """Deliver several messages; called by the parser."""
        if self._to_events:
            return self._events.messages_received(messages)
        return super().deliver_all(messages)

    def _whole_part(self, message: str | bytes) -> bool | None:
        return self._events.fragment_received(message, True)

    def frame_too_big(self, length: int) -> ProtocolError:
        """Return the error for a frame with which its message passes the limit."""
        used = self._room - self.room
        return MessageTooBig(used + length, self._max_message)

    def frame_began(self, head: int, length: int) -> None:
        """Begin a message, or go on with it; called by the parser."""
        opcode = head & 0x0F
        if opcode != CONTINUATION:
            self._assembly = self._assemble(opcode == TEXT)
            self._fragments = 0
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise ProtocolError(1008, f"message of over {self._max_fragments} fragments")
        self._final = head >= FIN
        self.heads = self._heads[not self._final]
        self.room = self._room if self._final else self.room - length
        if length >= LARGE and not self._in_parts:
            keep_ready(length)
            self._say_large(True)

    def _assemble(self, text: bool) -> Assembly:
        if self._in_parts:
            # After our own `close` they are dropped as whole messages are.
            deliver = self._events.fragment_received if self._deliver is not _drop else _drop
            return TextParts(deliver) if text else BinaryParts(deliver)
        return WholeText(self._deliver) if text else WholeBinary(self._deliver)

    def frame_part(self, data: bytes | bytearray) -> bool | None:
        """Take the next bytes of the message; called by the parser."""
        return self._take(data, self._final and not self.remaining)

    def frame_ended(self) -> bool | None:
        """Deliver the message if that was its last frame; called by the parser."""
        if self._large:
            self._say_large(False)
        if not self._final or self._assembly is None:
            return False  # it goes on, or was delivered with its last part
        return self._take(b"", True)

    def _take(self, data: bytes | bytearray, final: bool) -> bool | None:
        assembly = self._assembly
        assert assembly is not None
        if final:
            self._assembly = None
            if self._large:
                self._say_large(False)
        return assembly.take(data, final)

    def _say_large(self, begun: bool) -> None:
        self._large = begun
        self._events.large_frame(begun)

    def control(self, head: int, payload: bytes | bytearray) -> bool | None:
        """Handle a control frame; called by the parser."""
        opcode, payload = head & 0x0F, bytes(payload)
        if opcode == PING:
            # "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response,
            # unless it already received a Close frame" (RFC 6455 §5.5.2). After our own Close
            # nothing is sent either: the peer must not expect it.
            if self.state is _OPEN:
                return self._events.ping_received(payload) or self.ended
            return False
        if opcode == PONG:
            return self._events.pong_received(payload) or self.ended
        code, reason = _parse_close(payload)
        if self.state is _OPEN:
            # "If an endpoint receives a Close frame and did not previously send a Close frame,
            # the endpoint MUST send a Close frame in response [...] the endpoint typically
            # echos the status code it received" (RFC 6455 §5.5.1); and the reason, which
            # browsers show to their user as ours.
            self._write(CLOSE, payload)
        self._move(Event.CLOSE_RECEIVED)
        self._events.close_received(code, reason)
        return True

    def eof(self) -> None:
        """The peer will send nothing more (RFC 6455 §7.1.5)."""
        if self.state is not _CLOSED:
            self._move(Event.EOF)

    def let_go(self) -> None:
        """The peer will send nothing more, and nobody is to be told; the last call."""
        if self.state is not _CLOSED:
            self._move(Event.EOF)
        self._deliver, self._to_events = _drop, False
        del self._events

    # ---- to the peer ----

    def pack(self, message: str | BytesLike) -> bytes:
        """Return a message as one frame.

        Raises:
            TypeError: It is neither `str` nor bytes-like.
            ValueError: The `str` holds a surrogate, which has no UTF-8.
        """
        return pack_message(message, self.client)

    def ping(self, payload: BytesLike) -> None:
        """Write a ping (RFC 6455 §5.5.2).

        Raises:
            TypeError: The payload is not bytes-like.
            ValueError: It has over 125 bytes (RFC 6455 §5.5).
        """
        self._write(PING, _control_payload(payload))

    def pong(self, payload: BytesLike) -> None:
        """Write a pong: the answer to a ping, or unsolicited (RFC 6455 §5.5.3).

        Raises:
            TypeError: The payload is not bytes-like.
            ValueError: It has over 125 bytes (RFC 6455 §5.5).
        """
        self._write(PONG, _control_payload(payload))

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 §7.1.2); only in state `OPEN`.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        payload = check_close(code, reason)
        self._write(CLOSE, payload)
        self.mute()
        self._move(Event.CLOSE_SENT)

    def deliver_to(self, deliver: Deliver | None) -> None:
        """Have whole messages delivered elsewhere from now on; parts stay parts.

        Args:
            deliver: Where to, or `None` for `events` again.
        """
        if self._deliver is not _drop and not self._in_parts:
            self._to_events = deliver is None
            self._divert(deliver or self._events.message_received)

    def _divert(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self.recall()
        if self._assembly is not None:
            self._assembly.deliver = deliver

    def mute(self) -> None:
        """Drop messages from now on: our Close is sent, or waits behind what is being sent."""
        self._to_events = False
        self._divert(_drop)

    def fail(self, error: ProtocolError) -> None:
        """Fail the connection (RFC 6455 §7.1.7): our Close, unless it is sent already, and end.

        Args:
            error: Its code and reason go to the peer.
        """
        if self.state is State.OPEN:
            payload = check_close(error.code, cut_reason(error.reason))
            self._write(CLOSE, payload)
        self._move(Event.VIOLATION)
        self._events.violated(error)

    def _write(self, opcode: int, payload: bytes) -> None:
        self._events.write(pack_frame(FIN | opcode, payload, self.client))

    def _move(self, event: int) -> None:
        self.unasked = -1
        self.state = state = _NEXT[self.state << 2 | event]
        if state is _CLOSED:
            # Whoever holds on to a connection that has ended does not hold half a message, nor
            # what a pause has left.
            self._assembly = None
            self.drop()


def _drop(*message: Any) -> None:
    """After our own Close, messages are dropped, as the WHATWG `WebSocket` does."""


def _control_payload(payload: BytesLike) -> bytes:
    data = as_bytes(payload)
    if len(data) > 125:
        raise ValueError(f"control payload of {len(data)} bytes, at most 125 (RFC 6455 §5.5)")
    return data
