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

from .loop.timers import STALL, Deadline
from .roundtrip import RoundTrips

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
        """What `Deadlines` watches and calls: the connection.

        Attributes:
            last_seen: When a byte last came, in seconds of the reactor's clock.
        """

        last_seen: float

        def ping(self) -> None:
            """Send a ping, which any byte answers."""

        def silent(self) -> None:
            """Nothing has come since the last ping, for too long."""

        def stuck(self) -> None:
            """The peer has taken nothing of the write queue for too long."""


_NEVER = float("-inf")


class Deadlines:
    """Watches one connection: its silence and its write queue, then its end.

    Args:
        reactor: Has the clock and the timer.
        transport: Whose queue is watched.
        settings: Say how long is too long.
        overdue: Is told.
    """

    __slots__ = (
        "_ending",
        "_forgiven",
        "_overdue",
        "_ping_sent",
        "_reactor",
        "_settings",
        "_timer",
        "_transport",
        "_trips",
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
        # Whether the time to answer the last ping was given twice, since we had no time.
        self._forgiven = False
        self._ping_sent = _NEVER
        self._timer: Timer | Deadline
        self._trips: RoundTrips | None = None

    @property
    def trips(self) -> RoundTrips:
        """What the pings have told of the way to the peer; made when the first one is told."""
        if self._trips is None:
            self._trips = RoundTrips()
        return self._trips

    def start(self, timer: Timer | None = None) -> None:
        """Begin to watch; called once, before all else.

        Args:
            timer: One that is set already, and no longer needed. It is used if it is active and
                due before anything can be: to set another would cost more than to look in vain
                once.
        """
        self._overdue.last_seen = now = self._reactor.now
        if timer is not None:
            settings, delay = self._settings, timer.when - now
            interval = settings.ping_interval
            if (
                delay <= settings.write_timeout
                and (interval is None or delay <= interval)
                and timer.queue is not None
            ):
                timer.fn, timer.args = self._look, ()
                self._timer = timer
                return
            timer.cancel()
        self._timer = self._reactor.call_at(self._next(), self._look)

    def end_within(self, delay: float, overdue: Callable[[], object]) -> None:
        """From now on, watch the end alone: call `overdue` after `delay` seconds.

        An end that was to come sooner stays where it was.
        """
        before, reactor = self._timer, self._reactor
        before.cancel()
        if self._ending:
            delay = min(delay, before.when - reactor.clock())
        self._ending = True
        self._timer = Deadline(reactor, delay, overdue)

    def cancel(self) -> None:
        """Watch nothing any more."""
        self._timer.cancel()

    def let_go(self) -> None:
        """Watch nothing any more, and hold nobody; the last call, but for `cancel`."""
        self._timer.cancel()
        del self._overdue, self._transport

    @property
    def _awaits_life(self) -> bool:
        """Whether nothing has come since the last ping."""
        # Not so if both are the same tick of a coarse clock.
        return self._ping_sent > self._overdue.last_seen

    def _next(self) -> float:
        """Return when to look next: when a deadline can have come at the earliest."""
        settings, transport = self._settings, self._transport
        queued_since = transport.progress if transport.buffered else self._reactor.now
        when = queued_since + settings.write_timeout
        if settings.ping_interval is not None:
            silent = (
                self._ping_sent + settings.ping_timeout
                if self._awaits_life
                else self._overdue.last_seen + settings.ping_interval
            )
            when = min(when, silent)
        return when

    def _look(self) -> None:
        now, transport, settings = self._reactor.now, self._transport, self._settings
        # What counts is the time up to which the sockets are known: what has come since is
        # read in the next round.
        heard = self._reactor.heard
        late = heard - self._timer.when
        if transport.buffered and heard >= transport.progress + settings.write_timeout:
            self._overdue.stuck()
            return
        if settings.ping_interval is not None:
            if not transport.reading or transport.buffered:
                # It is we who do not listen, or do not come to speak.
                self._overdue.last_seen = now
            elif self._awaits_life:
                if heard >= self._ping_sent + settings.ping_timeout:
                    if late < STALL or self._forgiven:
                        self._overdue.silent()
                        return
                    self._forgiven, self._ping_sent = True, now
            elif heard >= self._overdue.last_seen + settings.ping_interval:
                self._forgiven, self._ping_sent = False, now
                self._overdue.ping()
        # Looked at after the calls, which may have ended what is watched.
        if not self._timer.active:
            self._timer = self._reactor.call_at(self._next(), self._look)
