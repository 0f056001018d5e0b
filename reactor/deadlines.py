"""The deadlines of an open connection, all on one lazy timer.

Facts: most messages come long before any deadline, and moving a timer costs more than a
message should. A loop that was held up for a minute, by the user's code or a suspended machine,
finds every timer due at once, and the peers' answers waiting unread.

So a message touches a time stamp, never the timer; the timer, when it fires, looks how much is
left, and is set again. Any byte is life. The reactor reads its sockets before it calls its
timers, and when it was the loop itself that did not run, the peer is given its time again,
once for each ping. What is being sent is watched by the write timeout alone: a ping would wait
behind it, and a slow reader is not a silent one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .loop.reactor import Reactor
    from .loop.timers import Timer
    from .loop.tls import Tls
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
        "_ending",
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
        self,
        reactor: Reactor,
        transport: Transport | Tls,
        settings: Settings,
        overdue: Overdue,
    ) -> None:
        self._reactor = reactor
        self._transport = transport
        self._settings = settings
        self._overdue = overdue
        self._ending = False
        self._ping = b""
        self._ping_sent = _NEVER
        self._timer: Timer
        self.rtt: float | None = None

    def start(self) -> None:
        """Begin to watch; called once, before all else."""
        self.last_seen = self._reactor.now
        self._timer = self._reactor.call_at(self._next(), self._look)

    def end_within(self, delay: float, overdue: Callable[[], object]) -> None:
        """From now on, watch the end alone: call `overdue` after `delay` seconds.

        An end that was to come sooner stays where it was.
        """
        before, reactor = self._timer, self._reactor
        before.cancel()
        self._timer = reactor.call_later(delay, overdue)
        if self._ending and before.when < self._timer.when:
            self._timer.cancel()
            self._timer = reactor.call_at(before.when, overdue)
        self._ending = True

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
        # Not so if both are the same tick of a coarse clock.
        return self._ping_sent > self.last_seen

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
            if not transport.reading or transport.buffered:
                # It is we who do not listen, or do not come to speak.
                self.last_seen = now
            elif self._awaits_life:
                if now >= self._ping_sent + settings.ping_timeout:
                    if late <= _LATE or not self._ping:
                        self._overdue.silent()
                        return
                    self._ping, self._ping_sent = b"", now
            elif now >= self.last_seen + settings.ping_interval:
                self._ping_sent = now
                self._ping = int(now * 1e6).to_bytes(8, "big", signed=True)
                self._overdue.ping(self._ping)
        # Looked at after the calls, which may have ended what is watched.
        if not self._timer.active:
            self._timer = self._reactor.call_at(self._next(), self._look)
