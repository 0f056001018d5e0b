"""Requests that differ from an earlier one in their key alone.

Facts: devices of one kind, and a program that connects again, ask with the same bytes each
time, but for the 24 of the `Sec-WebSocket-Key`; above all when a server was started anew and
everybody comes at once. To take such a head apart and to check it was a tenth of what it costs
to open a connection and to close it.

So a head that has passed all that is checked is remembered by its shape: itself without those
24 bytes, which stand behind the first `MARK`. What has the same shape, and a key by the letter,
is the same request:

1. The shape says where the key was cut out: behind the first `MARK` in it, since in no head it
   stands earlier. So both heads are equal before it and behind it.
2. A key has none but characters of base64, and the remembered head's was the whole value of
   its field. So both have the same lines but for this one, whose value is the key alone.
3. Nothing that is checked, but the key's own form, looks at that value; nor do size and
   number of lines depend on it.

Nobody can fill this with heads: one is remembered when it comes for the second time, of those
that come once there are only hashes, and it takes the place of one that was not used since the
last was looked at. Fields and queries that may be secret are not kept: only heads are of which
all fields are known to be none, and without a query. A path is kept, which servers log too.
"""

from __future__ import annotations

from .request import Request, is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # The request, and the value of its location.
    Recalled = tuple[Request, Any]

MARK = b"\r\nSec-WebSocket-Key: "
_MARKED = len(MARK)
KEY = 24  # bytes: 16, in base64
# The most heads, and the longest, in bytes: 25 KiB, if all of them are such.
MOST, LONGEST = 16, 1024
# Of how many heads that came once there is a hash.
_STRANGERS = 64
_HARMLESS = frozenset(
    [
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "date",
        "dnt",
        "host",
        "origin",
        "pragma",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-gpc",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
    ]
)


class Known:
    """A head that was checked: what is the same for each that has its shape.

    Attributes:
        request: The request; nobody else has it.
        value: The value of its location.
        used: Whether it has come again, since it was last looked at for its place.
    """

    __slots__ = ("request", "used", "value")

    def __init__(self, request: Request, value: Any) -> None:
        self.request = request
        self.value = value
        self.used = False


class Familiar:
    """The heads that a server knows."""

    __slots__ = ("_known", "_strangers")

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        # By the hash of the shape: whether it has come again.
        self._strangers: dict[int, bool] = {}

    def recall(self, head: bytes, address: Any) -> Recalled | None:
        """Return the request that a head is, and its location's value, if it is known.

        Args:
            head: All before the empty line.
            address: The client's.
        """
        key_at = head.find(MARK) + _MARKED
        known = self._known.get(head[:key_at] + head[key_at + KEY :])
        if known is None or key_at < _MARKED:
            return None
        key = head[key_at : key_at + KEY]
        if not is_key(key):
            return None
        known.used = True
        return known.request.again(head, key, address), known.value

    def comes_again(self, head: bytes) -> bool:
        """Note that a head has come that is not known; return whether it is the second time."""
        if len(head) > LONGEST:
            return False
        strangers, mark = self._strangers, hash(_shape(head))
        if mark in strangers:
            before, strangers[mark] = strangers[mark], True
            return not before
        if len(strangers) >= _STRANGERS:
            strangers.clear()
        strangers[mark] = False
        return False

    def remember(self, head: bytes, request: Request, value: Any) -> None:
        """Remember a head, unless it may hold a secret.

        Args:
            head: It, checked.
            request: The request that it is, which nobody else may have.
            value: The value of its location.
        """
        shape, fields = _shape(head), request._fields
        key_at = head.find(MARK) + _MARKED
        key = head[key_at : key_at + KEY].decode("latin-1")
        if (
            key_at < _MARKED
            or fields["sec-websocket-key"] != (key,)
            or not fields.keys() <= _HARMLESS
            or "?" in request.target
        ):
            return
        self._strangers.pop(hash(shape), None)  # it may be forgotten, and come anew
        known = self._known
        while len(known) >= MOST:
            first = next(iter(known))
            oldest = known.pop(first)
            if oldest.used:
                oldest.used = False
                known[first] = oldest  # behind the others, once more
        known[shape] = Known(request, value)


def _shape(head: bytes) -> bytes:
    key_at = head.find(MARK) + _MARKED
    return head[:key_at] + head[key_at + KEY :]
