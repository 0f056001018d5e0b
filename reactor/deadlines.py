"""The deadlines of an open connection, all on one lazy timer.

Facts: most messages come long before any deadline, and moving a timer costs more than a
message should. A loop that was held up for a minute, by the user's code or a suspended machine,
finds every timer due at once, and the peers' answers waiting unread.

So a message touches a time stamp, never the timer; the timer, when it fires, looks how much is
left, and is set again. Any byte is life. The reactor reads its sockets before it calls its
timers, and time in which the loop itself did not run is not counted as the peer's silence.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .loop.reactor import Reactor
    from .loop.timers import Timer
    from .loop.transport import Transport
    from .settings import Settings

    class Overdue(Protocol):
        """What `Deadlines` calls: the connection."""

        def ping(self, payload: bytes) -> None:
            """Send a ping, which any byte answers."""

        def silent(self) -> None:
            """Nothing has come since the last ping, for too long."""

        def stuck(self) -> None:
            """The peer has taken nothing of the write queue for too long."""


# A timer that fires so much later than it was due was held up by our own loop, in seconds.
_LATE = 0.25
_NEVER = float("-inf")


class Deadlines:
    """Watches one connection: its silence and its write queue, then its end.

    Args:
        reactor: Has the clock and the timer.
        transport: Whose queue is watched.
        settings: Say how long is too long.
        overdue: Is told.

    Attributes:
        last_seen: When a byte last came, in seconds of the reactor's clock; set by the
            connection.
        rtt: How long the peer took to answer the last ping, in seconds, or `None`.
    """

    __slots__ = (
        "_overdue",
        "_ping",
        "_ping_sent",
        "_reactor",
        "_settings",
        "_timer",
        "_transport",
        "last_seen",
        "rtt",
    )

    def __init__(
        self, reactor: Reactor, transport: Transport, settings: Settings, overdue: Overdue
    ) -> None:
        self._reactor = reactor
        self._transport = transport
        self._settings = settings
        self._overdue = overdue
        self._ping = b""
        self._ping_sent = _NEVER
        self.last_seen = reactor.now
        self.rtt: float | None = None
        self._timer: Timer = reactor.call_at(self._next(), self._look)

    def end_within(self, delay: float, overdue: Callable[[], object]) -> None:
        """From now on, watch the end alone: call `overdue` after `delay` seconds."""
        self._timer.cancel()
        self._timer = self._reactor.call_later(delay, overdue)

    def cancel(self) -> None:
        """Watch nothing any more."""
        self._timer.cancel()

    def pong_received(self, payload: bytes) -> None:
        """Note the answer to a ping, if it is one."""
        if self._ping and payload == self._ping:
            self.rtt = self._reactor.now - self._ping_sent
            self._ping = b""

    @property
    def _awaits_life(self) -> bool:
        """Whether nothing has come since the last ping."""
        return self._ping_sent >= self.last_seen

    def _next(self) -> float:
        """Return when to look next: when a deadline can have come at the earliest."""
        settings, transport = self._settings, self._transport
        queued_since = transport.progress if transport.buffered else self._reactor.now
        when = queued_since + settings.write_timeout
        if settings.ping_interval is not None:
            silent = (
                self._ping_sent + settings.ping_timeout
                if self._awaits_life
                else self.last_seen + settings.ping_interval
            )
            when = min(when, silent)
        return when

    def _look(self) -> None:
        now, transport, settings = self._reactor.now, self._transport, self._settings
        late = now - self._timer.when
        if transport.buffered and now >= transport.progress + settings.write_timeout:
            self._overdue.stuck()
            return
        if settings.ping_interval is not None:
            if not transport.reading:
                # It is we who do not listen.
                self.last_seen = now
            elif self._awaits_life:
                if late > _LATE:
                    self._ping_sent += late
                if now >= self._ping_sent + settings.ping_timeout:
                    self._overdue.silent()
                    return
            elif now >= self.last_seen + settings.ping_interval:
                self._ping_sent = now
                self._ping = int(now * 1e6).to_bytes(8, "big", signed=True)
                self._overdue.ping(self._ping)
        # Looked at after the calls, which may have ended what is watched.
        if not self._timer.active:
            self._timer = self._reactor.call_at(self._next(), self._look)
