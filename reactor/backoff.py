"""When a client that has lost its server tries again.

Facts: a server that restarts loses all its clients at once, and if they come back at once they
bring it down again. What spreads them best is a delay that is random in its whole length ("full
jitter"). A server can say itself how long to stay away: by `Retry-After`, and by the close
codes 1012 and 1013. And there are failures that no waiting mends: a wrong password, a path that
is not there, a certificate that does not fit.
"""

from __future__ import annotations

import os
import time

from .protocol.answer import parse_http_date
from .protocol.http import Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What a server may ask for at most, in seconds: a day.
_LONGEST = 86_400.0
# "it should reconnect using a randomized delay of 5-30s" (the registry of close codes, 1012).
_RESTART = (5.0, 30.0)
# Of the answers that say that the request was wrong, those that say that only its time was.
_PASSING = frozenset((408, 425, 429))


class Backoff:
    """How long to wait before a client connects again; for any number of clients.

    The delay before the n-th attempt is random between 0 and
    `min(last, first * factor ** (n - 1))` seconds.

    Args:
        first: The longest first delay, in seconds. 1.
        factor: How much longer each further one may be. 2.
        last: The longest of all, in seconds. 60.
        jitter: How much of the delay is random: from 0, nothing, to 1, all of it. 1: whoever
            was disconnected together does not come back together.
        stable: After a connection that lasted so many seconds, counting begins anew. 10: one
            that is accepted and dropped at once, again and again, is a failure too.
        random: Returns numbers from 0 to 1.

    Raises:
        ValueError: A number is out of its range.
    """

    __slots__ = ("factor", "first", "jitter", "last", "random", "stable")

    def __init__(
        self,
        first: float = 1.0,
        factor: float = 2.0,
        last: float = 60.0,
        jitter: float = 1.0,
        *,
        stable: float = 10.0,
        random: Callable[[], float] | None = None,
    ) -> None:
        if not 0 < first <= last <= _LONGEST:
            raise ValueError(f"first={first!r}, last={last!r}: not 0 < first <= last <= a day")
        if not factor >= 1:
            raise ValueError(f"factor={factor!r}, not 1 or more")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter={jitter!r}, not from 0 to 1")
        if not stable >= 0:
            raise ValueError(f"stable={stable!r}, not 0 or more")
        self.first = first
        self.factor = factor
        self.last = last
        self.jitter = jitter
        self.stable = stable
        self.random = _random if random is None else random

    def delay(self, attempt: int, *, code: int = 1006, retry_after: float = 0.0) -> float:
        """Return how long to wait, in seconds.

        Args:
            attempt: Which one it is since the last stable connection, from 1 on.
            code: The close code that ended the last connection.
            retry_after: For how many seconds the server has asked.
        """
        if code == 1013:  # "Try Again Later": overloaded
            longest = self.last
        else:
            try:
                longest = min(self.last, self.first * self.factor ** (attempt - 1))
            except OverflowError:
                longest = self.last
        delay = longest * (1 - self.jitter * self.random())
        if code == 1012:  # "Service Restart"
            shortest, longest = _RESTART
            delay = max(delay, shortest + (longest - shortest) * self.random())
        elif code == 1013:
            delay = max(delay, longest / 2)
        # Added, so that those who were told the same time do not come at the same time.
        return min(retry_after, _LONGEST) + delay

    def is_fatal(self, error: Exception) -> bool:
        """Return whether no further attempt would fare better; override it to judge otherwise.

        Args:
            error: What the attempt has failed with.
        """
        # What was configured is none, as a proxy of the environment; or a certificate does not
        # fit: `ssl.SSLCertVerificationError` is a `ValueError` too.
        if isinstance(error, ValueError):
            return True
        # An error of the system's, or of a server that was not reached, has none; 0 is a server
        # that did not speak HTTP, and may yet.
        status = getattr(error, "status", 0)
        return 0 < status < 500 and status not in _PASSING


def _random() -> float:
    """Return a random number from 0 to 1; `random` itself would cost more to import."""
    return int.from_bytes(os.urandom(6), "big") / (1 << 48)


def retry_after(error: Exception | None) -> float:
    """Return for how many seconds a server has asked not to come back (RFC 9110 §10.2.3)."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "") if isinstance(headers, Headers) else ""
    if value and value.isascii() and value.isdigit():
        return float(value[:9])
    when = parse_http_date(value or "")
    return 0.0 if when is None else max(0.0, when - time.time())
