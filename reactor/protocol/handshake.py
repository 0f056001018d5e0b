"""The opening handshake, the server's side (RFC 6455 §4.2).

A request goes through these questions, in this order; the first that it fails answers it:

```text
is it a request, by the letter?                   400, 414, 431, 505
does it ask for a WebSocket, and rightly so?      400, 405, 426, 505
does the location exist?                          404
may a page of that origin ask?                    403
what says the user's onrequest?                   any response
which subprotocol?                                400, or at last 101
```

One that does not ask for a WebSocket goes to the server's own `onrequest` at once, and is
answered 404, 405 or 426 if that has no answer. Whatever is answered but 101 ends the
connection, and what follows the head is never parsed: a proxy in front may take the upgrade for
done and send on what a third party has put there as a second request.
"""

from __future__ import annotations

from ..errors import HandshakeError
from .answer import Response, status_line
from .familiar import Familiar
from .http import Headers, is_token, parse_authority, split_list
from .request import (
    DEFAULT_PORTS,
    Request,
    accept_bytes,
    accept_key,
    extra_fields,
    is_key,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Union

    from .locations import Locations

    Origins = Union[str, None, Iterable[str]]

__all__ = [
    "SAME_HOST",
    "Request",
    "ServerPolicy",
    "accept",
    "accept_key",
    "check_framing",
    "extra_fields",
    "rejection",
    "wants_upgrade",
]

SAME_HOST = "same"


class ServerPolicy:
    """What a server accepts: its subprotocols, origins and locations.

    Args:
        subprotocols: Those that it speaks, the dearest first.
        origins: Which pages may connect, by the `Origin` that browsers send: `"same"`, the
            default, for those from the request's own host; the origins themselves, as in
            `["https://example.com"]`; or `None` for any. A page on another host would connect
            with the user's cookies. Programs that send no `Origin` are always let in.
        locations: See `locations.Locations`; `None` for any path.

    Raises:
        TypeError: The subprotocols are one `str`.
        ValueError: One of them is not well-formed.
    """

    __slots__ = ("_familiar", "_locations", "_origins", "_subprotocols", "recall")

    def __init__(
        self,
        subprotocols: Sequence[str] = (),
        origins: Origins = SAME_HOST,
        locations: Mapping[str, Any] | Iterable[str] | None = None,
    ) -> None:
        if isinstance(subprotocols, str):
            raise TypeError(f"subprotocols are a list, not {subprotocols!r}")
        for name in subprotocols:
            if not is_token(name):
                raise ValueError(f"subprotocol {name!r} is not a token (RFC 6455 §4.1)")
        self._subprotocols = tuple(subprotocols)
        if isinstance(origins, str) and origins != SAME_HOST:
            raise ValueError(f'origins are "same", None or a list, not {origins!r}')
        self._origins = origins if origins in (None, SAME_HOST) else _origin_set(origins)
        self._locations: Locations | None = None
        if locations is not None:
            from .locations import Locations

            self._locations = Locations(locations)
        self._familiar = Familiar()
        # What `check` and `check_framing` need not be asked of, since they were.
        self.recall = self._familiar.recall

    def check(self, request: Request) -> Any:
        """Check all that is checked before the user is asked; set `request.params`.

        Returns:
            The value of the location.

        Raises:
            HandshakeError: It cannot become a WebSocket: its status says why.
        """
        _check_upgrade(request)
        value = self._locate(request)
        self._check_origin(request)
        return value

    def remember(self, request: Request) -> None:
        """Have `recall` know who asks the same, if that comes more often.

        Args:
            request: Which has passed `check_framing` and `check`.
        """
        head = request._head  # noqa: SLF001 - no part of what it shows
        if not self._familiar.comes_again(head):
            return
        # A new one: the other is the user's, who may have changed it.
        request = Request(head)
        value = self.check(request)
        # Some send there what should be a secret, since in a browser they can set no more.
        if set(split_list(request._fields.get("sec-websocket-protocol", ()))) <= set(
            self._subprotocols
        ):
            self._familiar.remember(head, request, value)

    def refuse(self, request: Request) -> HandshakeError:
        """Return the answer to a request for no WebSocket that nobody else answers."""
        try:
            self._locate(request)
        except HandshakeError as error:
            return error
        if request.method != "GET":
            return _not_get(request)
        return _upgrade_required("this is a WebSocket server (RFC 6455 §4.2.1)")

    def subprotocol(self, request: Request) -> str | None:
        """Return the first of our subprotocols that the client offers, or `None`.

        Raises:
            HandshakeError: The offer is not a list of tokens: 400.
        """
        offers = request._fields.get("sec-websocket-protocol")
        if offers is None:
            return None
        offered = split_list(offers)
        return next((name for name in self._subprotocols if name in offered), None)

    def _locate(self, request: Request) -> Any:
        if self._locations is None:
            return None
        found = self._locations.find(request.target.partition("?")[0])
        if found is None:
            raise HandshakeError(404, "no such location")
        request.params = found[0]
        return found[1]

    def _check_origin(self, request: Request) -> None:
        origins = request._fields.get("origin")
        if origins is None or self._origins is None:
            return
        # "If the server does not validate the origin, it will accept connections from anywhere"
        # (RFC 6455 §4.2.2): from any page, with the cookies of whoever looks at it.
        if len(origins) > 1 or not self._trusts(origins[0], request):
            raise HandshakeError(403, "origin not allowed (RFC 6455 §4.2.2)")

    def _trusts(self, origin: str, request: Request) -> bool:
        try:
            scheme, host, port = _parse_origin(origin)
        except ValueError:
            return False
        if self._origins != SAME_HOST:
            return (scheme, host, port) in (self._origins or ())
        own_host, own_port = parse_authority(request.headers["Host"])
        return (host, port) == (own_host, _port(own_port, scheme))


def _parse_origin(origin: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an origin (RFC 6454 §6.2); `ValueError` if it is none."""
    scheme, separator, authority = origin.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        raise ValueError(f"origin {origin!r} is not of http or https")
    host, port = parse_authority(authority)
    return scheme, host, _port(port, scheme)


def _port(port: int | None, scheme: str) -> int:
    return DEFAULT_PORTS[scheme] if port is None else port


def _origin_set(origins: Any) -> frozenset[tuple[str, str, int]]:
    return frozenset(map(_parse_origin, origins))


def wants_upgrade(request: Request) -> bool:
    """Return whether a request asks for a WebSocket, rightly or not."""
    return "websocket" in _upgrades(request)


def _upgrades(request: Request) -> list[str]:
    upgrade = request._fields.get("upgrade", ())
    if upgrade == ("websocket",):
        return ["websocket"]  # nearly always: 0.6 instead of 5.6 thousand instructions
    values = ",".join(upgrade).split(",")
    # "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110
    # §5.6.1.2).
    return [value.strip(" \t").lower() for value in values if value.strip(" \t")]


def check_framing(request: Request) -> None:
    """Check what every request needs, whatever it asks for (RFC 9112 §3.2, §6).

    Raises:
        HandshakeError: A body is announced, or the `Host` is not one: 400.
    """
    fields = request._fields
    lengths = fields.get("content-length", ())
    # A body would be taken for frames, or for a second request, by whoever counts otherwise.
    if "transfer-encoding" in fields or (lengths and set(lengths) != {"0"}):
        raise HandshakeError(400, "request with a body (RFC 9112 §6)")
    hosts = fields.get("host", ())
    # "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
    # message that lacks a Host header field and to any request message that contains more
    # than one Host header field line or a Host header field with an invalid field value"
    # (RFC 9112 §3.2).
    if len(hosts) > 1 or (request.version == 1 and not hosts):
        raise HandshakeError(400, f"{len(hosts)} Host fields, not one (RFC 9112 §3.2)")
    named = hosts if request.authority is None else [*hosts, request.authority]
    for host in named:
        try:
            parse_authority(host)
        except ValueError:
            raise HandshakeError(400, "Host that is not a host (RFC 9112 §3.2)") from None
    # Which of two is meant is what smuggling lives on.
    if len(named) > 1 and len({host.lower() for host in named}) > 1:
        raise HandshakeError(400, "Host that is not the target's (RFC 9112 §3.2.2)")


def _check_upgrade(request: Request) -> None:
    """Check the client's opening handshake, item by item (RFC 6455 §4.2.1)."""
    fields = request._fields
    if request.method != "GET":
        raise _not_get(request)
    if request.version != 1:
        raise HandshakeError(505, "HTTP/1.0, a WebSocket needs 1.1 (RFC 6455 §4.2.1)")
    connection = fields.get("connection", ())
    # In nearly all requests it says no more: 0.3 instead of 8 thousand instructions.
    if connection != ("Upgrade",) and "upgrade" not in map(str.lower, split_list(connection)):
        raise HandshakeError(400, "no Upgrade in the Connection field (RFC 6455 §4.2.1)")
    if _upgrades(request) != ["websocket"]:
        # Whoever stands between could understand the other.
        raise _upgrade_required("an Upgrade to more than websocket (RFC 6455 §4.2.1)")
    if fields.get("sec-websocket-version") != ("13",):
        raise _upgrade_required("not version 13 of the protocol (RFC 6455 §4.2.1)")
    keys = fields.get("sec-websocket-key", ())
    if len(keys) != 1 or not is_key(keys[0].encode("latin-1")):
        raise HandshakeError(400, "no Sec-WebSocket-Key of 16 bytes (RFC 6455 §4.2.1)")


def _not_get(request: Request) -> HandshakeError:
    return HandshakeError(405, f"method {request.method[:16]}, not GET", [("Allow", "GET")])


def _upgrade_required(reason: str) -> HandshakeError:
    # "an appropriate HTTP error code (such as 426 Upgrade Required) and a
    # |Sec-WebSocket-Version| header field indicating the version(s) the server is capable of
    # understanding" (RFC 6455 §4.2.2).
    fields = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade, close"),
        ("Sec-WebSocket-Version", "13"),
    )
    return HandshakeError(426, reason, fields)


def accept(
    request: Request, subprotocol: str | None, extra: Headers | None, extensions: str = ""
) -> bytes:
    """Return the 101 that opens the connection (RFC 6455 §4.2.2).

    Args:
        request: Checked.
        subprotocol: What was chosen.
        extra: Further fields, the user's, if there are any; see `extra_fields`.
        extensions: The value of `Sec-WebSocket-Extensions`; `""` for no such field.
    """
    key = request._fields["sec-websocket-key"][0]
    opening = _OPENING + accept_bytes(key.encode("latin-1"))
    if subprotocol is None and not extensions and not extra:
        return opening + b"\r\n\r\n"
    fields = Headers()
    if subprotocol is not None:
        fields.add("Sec-WebSocket-Protocol", subprotocol)
    if extensions:
        fields.add("Sec-WebSocket-Extensions", extensions)
    further = b"" if extra is None else extra.pack()
    return opening + b"\r\n" + fields.pack() + further + b"\r\n"


# Made once: with its fields put together for each, a 101 cost 5 times as much.
_OPENING = (
    status_line(101) + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


def rejection(error: HandshakeError) -> Response:
    """Return the response that tells the client why its handshake failed."""
    return Response(error.status, error.headers, f"{error.reason}\n")
