"""A client's request, and what both sides of the opening handshake know of it.

The server takes it apart as it has come; a client keeps its own to show it. How a key is
answered and which fields open the connection is the same for both (RFC 6455 §4.1, §4.2).
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from ..errors import HandshakeError
from .http import Headers, is_token, parse_cookies, parse_head, parse_query, unquote

try:  # 24 KiB of code instead of the 3.6 MiB that `hashlib` brings in with OpenSSL
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .http import Fields

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Those of origins and targets in absolute form, with their ports.
DEFAULT_PORTS = {"http": 80, "https": 443}
_OURS = frozenset(("connection", "upgrade", "content-length", "transfer-encoding"))


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
        headers = self._headers
        if headers is None:
            headers = parse_head(self._head)[1]
            if self._fields is not _FORGOTTEN:  # the handshake is not over
                self._headers, self._fields = headers, headers.by_name()
        return headers

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

    def again(self, head: bytes, key: bytes, address: Any) -> Request:
        """Return the same request with another key, and for another client.

        Args:
            head: All before the empty line, which is the same but for the key.
            key: The value of its `Sec-WebSocket-Key`.
            address: The client's.
        """
        request: Request = _new(Request)
        request._head = head
        request._headers = None  # few ask for them
        request._fields = fields = self._fields.copy()
        fields["sec-websocket-key"] = (key.decode("latin-1"),)
        request.method, request.version = self.method, self.version
        request.target, request.authority = self.target, self.authority
        request._params = dict(self._params) if self._params else None
        request.address = address
        request.user = None
        return request

    def forget(self) -> None:
        """Drop what can be parsed again; called when the handshake is over."""
        self._headers = None
        self._fields = _FORGOTTEN

    def __repr__(self) -> str:
        """Return method and target."""
        return f"<Request {self.method} {self.target!r}>"


_FORGOTTEN: dict[str, tuple[str, ...]] = {}
_new: Any = object.__new__


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
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise HandshakeError(400, "request target that is not a path (RFC 9112 §3.2)")
    authority, _, path = rest.partition("/")
    return f"/{path}", authority


def is_key(key: bytes) -> bool:
    """Return whether a `Sec-WebSocket-Key` is one: 16 bytes in base64 (RFC 6455 §4.2.1)."""
    try:
        decoded = a2b_base64(key)
    except Base64Error:
        return False
    # Decoding passes over what is not base64; encoding again shows that there was none.
    return len(decoded) == 16 and b2a_base64(decoded, newline=False) == key


def accept_key(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2)."""
    return accept_bytes(key.encode("latin-1")).decode()


def accept_bytes(key: bytes) -> bytes:
    """Return what `accept_key` does, as the bytes that they are."""
    return b2a_base64(sha1(key + _GUID).digest(), newline=False)


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
