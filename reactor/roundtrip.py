"""How long a peer takes to answer a ping, and how far its clock is from ours.

Facts: a pong carries the payload of its ping (RFC 6455 §5.5.3), and "an endpoint MAY elect to
send a Pong frame for only the most recently processed Ping frame". A peer that is this package
too sends pings of its own, with its own time in them. Times go up by the reactor's clock, which
starts anywhere.

So a ping of ours carries our time: whichever of them is answered, it says itself when it was
sent, and nothing need be kept but the first and the last that can be. And the time in a ping of
the peer's, half a round trip old when it comes, tells its clock.
"""

from __future__ import annotations

# What a payload with a time in it begins with; behind it are 8 bytes of microseconds.
_MARK = b"wsrt"
_SIZE = len(_MARK) + 8
_MICROSECONDS = 1e6
# The weight of a new sample: RFC 3550 §6.4.1 has it for the jitter.
_GAIN = 1 / 16
_NEVER = -(1 << 63)


class RoundTrips:
    """What the pings of one connection have told; times are seconds.

    Attributes:
        rtt: How long the last answer took, or `None` before the first.
        jitter: By how much that varies from one answer to the next, as a running mean with the
            weights of RFC 3550; `None` before the first.
        offset: What the peer's clock is ahead of ours, as a running mean; `None` until both
            sides have had pings of this package, and ours were answered.
    """

    __slots__ = ("_first", "_last", "jitter", "offset", "rtt")

    def __init__(self) -> None:
        # Answers are between these; none is, before the first ping.
        self._first, self._last = 0, _NEVER
        self.rtt: float | None = None
        self.jitter: float | None = None
        self.offset: float | None = None

    def stamp(self, now: float) -> bytes:
        """Return the payload of a ping that is sent now."""
        # Two in the same microsecond are told apart.
        stamp = max(self._last + 1, int(now * _MICROSECONDS))
        if self._last == _NEVER:
            self._first = stamp - 1
        self._last = stamp
        return _MARK + stamp.to_bytes(8, "big", signed=True)

    def answered(self, payload: bytes, now: float) -> None:
        """Take the payload of a pong; one that we have had changes nothing.

        Nor does one from before our first ping, or after the last: a peer that makes up its
        answers can be as far away as it likes, but no longer than it has been pinged.
        """
        stamp = _time_in(payload)
        if stamp is None or not self._first < stamp <= self._last:
            return
        self._first = stamp
        rtt = max(0.0, now - stamp / _MICROSECONDS)
        if self.rtt is None or self.jitter is None:
            self.jitter = 0.0
        else:
            self.jitter += (abs(rtt - self.rtt) - self.jitter) * _GAIN
        self.rtt = rtt

    def heard(self, payload: bytes, now: float) -> None:
        """Take the payload of a ping of the peer's."""
        stamp = _time_in(payload)
        if stamp is None or self.rtt is None:
            return
        offset = stamp / _MICROSECONDS + self.rtt / 2 - now
        if self.offset is None:
            self.offset = offset
        else:
            self.offset += (offset - self.offset) * _GAIN


def _time_in(payload: bytes) -> int | None:
    """Return the microseconds in a payload, or `None` if it is another."""
    if len(payload) != _SIZE or not payload.startswith(_MARK):
        return None
    return int.from_bytes(payload[len(_MARK) :], "big", signed=True)
