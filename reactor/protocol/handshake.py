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

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from ..errors import HandshakeError
from .http import (
    Headers,
    Response,
    is_token,
    parse_authority,
    parse_cookies,
    parse_head,
    parse_query,
    split_list,
    status_line,
    unquote,
)

try:  # 24 KiB of code instead of the 3.6 MiB that `hashlib` brings in with OpenSSL
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Union

    from .http import Fields

    Origins = Union[str, None, Iterable[str]]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

SAME_HOST = "same"


def accept_key(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2)."""
    digest = sha1(key.encode("latin-1") + _GUID).digest()
    return b2a_base64(digest, newline=False).decode()


class Request:
    """A client's request, as `onrequest` and `connection.request` show it.

    Its header fields are kept as the bytes that came, and parsed when they are asked for: an
    idle connection holds one string, not twenty.

    Args:
        head: All before the empty line.
        address: See the attribute.

    Attributes:
        method: As in `"GET"`.
        target: The request target: path and query, as they came.
        authority: The host that the target named, if it came in absolute form, or `None`.
        version: The minor version of HTTP: 0 or 1.
        address: Where the client is: host and port (for IPv6 two numbers more), or `""`; behind
            a proxy that is trusted, where it says that the client is.
        user: Who the client is, once an authentication has said so, or `None`.

    Raises:
        HandshakeError: It is not a request, by the letter: 400 or 505.
    """

    __slots__ = (
        "_fields",
        "_head",
        "_headers",
        "_params",
        "address",
        "authority",
        "method",
        "target",
        "user",
        "version",
    )

    def __init__(self, head: bytes, address: Any = "") -> None:
        self._head = head
        line, headers = parse_head(head)
        self._headers: Headers | None = headers
        # What the questions of the handshake are asked of: by name, in lower case.
        self._fields = headers.by_name()
        self.method, target, self.version = _parse_request_line(line)
        self.target, self.authority = _origin_form(target)
        self._params: dict[str, str] | None = None
        self.address = address
        self.user: str | None = None

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, the first of each name (RFC 6265 §5.4)."""
        return parse_cookies(self.headers.get_all("Cookie"))

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return parse_head(self._head)[1] if self._headers is None else self._headers

    @property
    def params(self) -> dict[str, str]:
        """What the location's `{names}` stand for."""
        if self._params is None:
            self._params = {}
        return self._params

    @params.setter
    def params(self, params: dict[str, str]) -> None:
        self._params = params

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the target's query, percent-decoded, the last of each name."""
        return parse_query(self.target.partition("?")[2])

    def forget(self) -> None:
        """Drop what can be parsed again; called when the handshake is over."""
        self._headers = None
        self._fields = _FORGOTTEN

    def __repr__(self) -> str:
        """Return method and target."""
        return f"<Request {self.method} {self.target!r}>"


_FORGOTTEN: dict[str, tuple[str, ...]] = {}


def _parse_request_line(line: str) -> tuple[str, str, int]:
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if method == "GET":
        method = "GET"  # not one string more for each connection
    elif not is_token(method):
        raise HandshakeError(400, _NO_REQUEST_LINE)
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        if not version.startswith("HTTP/"):
            raise HandshakeError(400, _NO_REQUEST_LINE)
        raise HandshakeError(505, f"version {version[:16]!a}, not HTTP/1.1 (RFC 9110 §15.6.6)")
    if not target.isascii() or not target.isprintable() or "#" in target:
        raise HandshakeError(400, "request target that is not one (RFC 9112 §3.2)")
    return method, target, int(version == "HTTP/1.1")


_NO_REQUEST_LINE = "no HTTP request line (RFC 9112 §3)"


def _origin_form(target: str) -> tuple[str, str | None]:
    """Return path and query of a request target, and the host that it names, if it does."""
    if target[:1] == "/":
        return target, None
    # "a server MUST accept the absolute-form in requests" (RFC 9112 §3.2.2).
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        raise HandshakeError(400, "request target that is not a path (RFC 9112 §3.2)")
    authority, _, path = rest.partition("/")
    return f"/{path}", authority


class Locations:
    """Which paths exist, as patterns with a value each.

    Args:
        patterns: As in `"/chat/{room}"`, where a name in braces stands for one segment that is
            not empty. A mapping gives each pattern a value, for `find` to return.

    Raises:
        ValueError: A pattern does not begin with a slash, or a name occurs in it twice.
    """

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Mapping[str, Any] | Iterable[str]) -> None:
        pairs = (
            patterns.items() if hasattr(patterns, "items") else ((p, None) for p in patterns)
        )
        self._patterns = [(_segments(pattern), value) for pattern, value in pairs]

    def find(self, path: str) -> tuple[dict[str, str], Any] | None:
        """Return the parameters and the value of the first pattern that fits, or `None`.

        Args:
            path: As it came: a slash that is percent-encoded is part of its segment (RFC 3986
                §2.2).
        """
        segments = [unquote(segment) for segment in path.split("/")]
        for pattern, value in self._patterns:
            if len(pattern) == len(segments):
                params: dict[str, str] = {}
                if all(map(_fits, pattern, segments, [params] * len(pattern))):
                    return params, value
        return None


def _segments(pattern: str) -> list[str]:
    segments = pattern.split("/")
    names = [segment for segment in segments if _is_name(segment)]
    if segments[0] or len(segments) < 2 or len(set(names)) < len(names):
        raise ValueError(f"location {pattern!r} must begin with a slash and name a part once")
    return segments


def _is_name(segment: str) -> bool:
    return segment[:1] == "{" and segment[-1:] == "}"


def _fits(pattern: str, segment: str, params: dict[str, str]) -> bool:
    if not _is_name(pattern):
        return pattern == segment
    params[pattern[1:-1]] = segment
    return bool(segment)


class ServerPolicy:
    """What a server accepts: its subprotocols, origins and locations.

    Args:
        subprotocols: Those that it speaks, the dearest first.
        origins: Which pages may connect, by the `Origin` that browsers send: `"same"`, the
            default, for those from the request's own host; the origins themselves, as in
            `["https://example.com"]`; or `None` for any. A page on another host would connect
            with the user's cookies. Programs that send no `Origin` are always let in.
        locations: See `Locations`; `None` for any path.

    Raises:
        TypeError: The subprotocols are one `str`.
        ValueError: One of them is not well-formed.
    """

    __slots__ = ("_locations", "_origins", "_subprotocols")

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
        self._locations = None if locations is None else Locations(locations)

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


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _parse_origin(origin: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an origin (RFC 6454 §6.2); `ValueError` if it is none."""
    scheme, separator, authority = origin.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError(f"origin {origin!r} is not of http or https")
    host, port = parse_authority(authority)
    return scheme, host, _port(port, scheme)


def _port(port: int | None, scheme: str) -> int:
    return _DEFAULT_PORTS[scheme] if port is None else port


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
    if len(keys) != 1 or not _is_key(keys[0]):
        raise HandshakeError(400, "no Sec-WebSocket-Key of 16 bytes (RFC 6455 §4.2.1)")


def _is_key(key: str) -> bool:
    try:
        raw = key.encode("latin-1")
        decoded = a2b_base64(raw)
    except Base64Error:
        return False
    # Decoding passes over what is not base64; encoding again shows that there was none.
    return len(decoded) == 16 and b2a_base64(decoded, newline=False) == raw


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


def extra_fields(fields: Fields, head: str = "a 101 (RFC 6455 §4.2.2)") -> Headers:
    """Return the user's further fields of a head of the opening handshake.

    Args:
        fields: They.
        head: Whose they are, for the error.

    Raises:
        TypeError: They are no fields.
        ValueError: They are not well-formed, or one is of those that open the connection.
    """
    extra = Headers(fields)
    for field in extra.items():
        name = field[0].lower()
        if name in _OURS or name.startswith("sec-websocket-"):
            raise ValueError(f"field {name} of {head} is not the user's")
    return extra


_OURS = frozenset(("connection", "upgrade", "content-length", "transfer-encoding"))


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
    opening = _OPENING + accept_key(key).encode()
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
