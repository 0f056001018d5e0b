"""An HTTP response as a server writes it, and the dates in it (RFC 9110 §5.6.7, §15).

What a client reads is `response.py`.
"""

from __future__ import annotations

from .http import REASONS, Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .http import Fields

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(moment: tuple[int, ...]) -> str:
    """Return a date as HTTP writes it (RFC 9110 §5.6.7).

    Args:
        moment: Year, month, day, hour, minute, second and day of the week in UTC, as
            `time.gmtime` has them.
    """
    year, month, day, hour, minute, second, weekday = moment[:7]
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    )


def parse_http_date(text: str) -> int | None:
    """Return a date in seconds since 1970, or `None` if it is not one (RFC 9110 §5.6.7).

    The two obsolete forms are none: no server writes them any more.
    """
    try:
        weekday = _DAYS.index(text[:3])
        day, name, year = text[5:16].split(" ")
        hour, minute, second = map(int, text[17:25].split(":"))
        date = int(year), _MONTHS.index(name) + 1, int(day)
    except ValueError:
        return None
    moment = *date, hour, minute, second, weekday
    # Numbers may have signs, or be of other scripts; and there are no 70 minutes.
    if http_date(moment) != text or min(moment) < 0 or not _is_day(*date):
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    return ((_days(*date) * 24 + hour) * 60 + minute) * 60 + second


def _is_day(year: int, month: int, day: int) -> bool:
    length = _days(year + month // 12, month % 12 + 1, 1) - _days(year, month, 1)
    return 1 <= day <= length


def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date, by counting years from a first of March."""
    year -= month < 3
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468


class Response:
    """An HTTP response, whole (RFC 9110 §15).

    Args:
        status: From 200 to 599.
        headers: Its fields; `Content-Length`, `Connection` and `Date` are added.
        body: What it says; `str` is sent as UTF-8.

    Raises:
        TypeError: The body is neither `str` nor `bytes`.
        ValueError: The status is out of range, or a field is not one, or says how long the
            body is.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int = 200, headers: Fields = (), body: str | bytes = b""
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status {status}, not between 200 and 599 (RFC 9110 §15)")
        self.status = status
        self.headers = Headers(headers)
        # Two lengths, or one that is wrong, make one response two for whoever counts otherwise.
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            raise ValueError("the length of a response is that of its body (RFC 9112 §6)")
        if not isinstance(body, (str, bytes)):
            raise TypeError(f"body of type {type(body).__name__}, not str or bytes")
        self.body = body.encode() if isinstance(body, str) else body
        if self.body and "Content-Type" not in self.headers:
            self.headers.add("Content-Type", "text/plain; charset=utf-8")

    def pack(self, date: str, *, head_only: bool = False) -> bytes:
        """Return the response's bytes.

        Args:
            date: When it is made, as `http_date` writes it.
            head_only: Whether to leave out the body, as an answer to HEAD must.
        """
        added = Headers()
        if "Date" not in self.headers:
            added.add("Date", date)
        # "A server MUST NOT send a Content-Length header field in any response with a status
        # code of [...] 204" (RFC 9110 §8.6).
        if self.status not in (204, 304):
            added.add("Content-Length", str(len(self.body)))
        if "Connection" not in self.headers:
            added.add("Connection", "close")
        bare = head_only or self.status in (204, 304)
        return (
            status_line(self.status)
            + self.headers.pack()
            + added.pack()
            + b"\r\n"
            + (b"" if bare else self.body)
        )


def status_line(status: int) -> bytes:
    """Return the first line of a response."""
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n".encode()
