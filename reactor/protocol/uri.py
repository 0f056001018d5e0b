"""WebSocket URIs (RFC 6455 §3), and what a redirect makes of them (RFC 3986 §5).

Facts: `urllib.parse` costs more to import than this package's whole bytes wing, repairs what it
should refuse, and knows nothing of `ws`. A password in a URI ends in log files as soon as the
URI is printed.

So a URI is parsed here, by `partition`, and printed without its password.
"""

from __future__ import annotations

from .http import parse_authority, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    Credentials = Optional[tuple[str, str]]

_PORTS = {"ws": 80, "wss": 443}
# A server redirects in HTTP's own terms: it was asked in HTTP (RFC 6455 §4.1).
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_UNIX = "ws+unix"


class URI:
    """Where a client connects to, and what it asks for there.

    Args:
        scheme: See the attribute.
        host: See the attribute.
        port: See the attribute.
        target: See the attribute.
        unix: See the attribute.
        credentials: See the attribute.

    Attributes:
        scheme: `"ws"`, `"wss"` or `"ws+unix"`.
        host: In lower case, as a `Host` field has it: an IPv6 address in brackets.
        port: From 1 to 65535.
        target: Path and query, percent-encoded, as a request line has them.
        unix: The path of a unix socket, or `""`.
        credentials: User and password, percent-decoded, or `None`.
    """

    __slots__ = ("credentials", "host", "port", "scheme", "target", "unix")

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        target: str,
        unix: str = "",
        credentials: Credentials = None,
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
        self.unix = unix
        self.credentials = credentials

    @property
    def secure(self) -> bool:
        """Whether it asks for TLS."""
        return self.scheme == "wss"

    @property
    def hostname(self) -> str:
        """The host, as it is looked up: without brackets."""
        return self.host.strip("[]")

    @property
    def authority(self) -> str:
        """The value of the `Host` field (RFC 9110 §7.2): the port only if it is not usual."""
        usual = self.unix or self.port == _PORTS[self.scheme]
        return self.host if usual else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int, str]:
        """What decides whether credentials may go along (RFC 6454 §4)."""
        return self.scheme, self.host, self.port, self.unix

    def redirected(self, location: str) -> URI:
        """Return the URI that a `Location` field names (RFC 9110 §10.2.2).

        Its credentials are none: those of the user are not a server's to pass on.

        Raises:
            ValueError: It is not one that a WebSocket can be at.
        """
        _check_characters(location)
        # What came are bytes, which the server may have had as UTF-8 or as something else.
        reference = _encode(location.partition("#")[0], "latin-1")
        scheme, colon, rest = reference.partition(":")
        if colon and not set("/?") & set(scheme):
            known = _SCHEMES.get(scheme.lower())
            if known is None:
                raise ValueError(f"redirect to {scheme[:20]!a}, not to http, https, ws or wss")
            return _elsewhere(f"{known}:{rest}")
        if reference.startswith("//"):
            return _elsewhere(f"{'wss' if self.secure else 'ws'}:{reference}")
        path, _, _ = self.target.partition("?")
        if reference[:1] in ("?", ""):
            target = path + reference if reference else self.target
        elif reference[0] == "/":
            target = _without_dots(reference)
        else:
            target = _without_dots(path[: path.rfind("/") + 1] + reference)
        return URI(self.scheme, self.host, self.port, target, self.unix)

    def __str__(self) -> str:
        """Return it without credentials, to be shown."""
        if self.unix:
            path = self.unix.replace("%", "%25").replace(":", "%3A").replace("#", "%23")
            return f"{_UNIX}://{_encode(path)}:{self.target}"
        return f"{self.scheme}://{self.authority}{self.target}"

    def __repr__(self) -> str:
        """Return it without credentials."""
        return f"<URI {self}>"


def parse_uri(text: str) -> URI:
    """Return a WebSocket URI (RFC 6455 §3).

    Args:
        text: As in `"ws://example.com:8000/chat?room=1"`, `"wss://user:password@[::1]/"` or
            `"ws+unix:///run/server.sock:/chat"`. What is not ASCII is encoded: a host as
            IDNA, the rest as percent-encoded UTF-8.

    Raises:
        TypeError: It is not a `str`.
        ValueError: It is not such a URI.
    """
    if not isinstance(text, str):
        raise TypeError(f"URI of type {type(text).__name__}, not str")
    _check_characters(text)
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or (scheme not in _PORTS and scheme != _UNIX):
        raise ValueError(
            f"a URI begins with ws://, wss:// or {_UNIX}://, not with {scheme[:20]!a}"
        )
    # "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be
    # used on these URIs" (RFC 6455 §3).
    if "#" in rest:
        raise ValueError("URI with a fragment; a # of the path is %23 (RFC 6455 §3)")
    if scheme == _UNIX:
        return _parse_unix(rest)
    if not rest.startswith("//"):
        raise ValueError(f"URI {scheme}: without // and a host (RFC 6455 §3)")
    end = min((i for i in map(rest.find, ("/", "?"), (2, 2)) if i >= 0), default=len(rest))
    userinfo, _, authority = rest[2:end].rpartition("@")
    try:
        host, port = _parse_place(authority)
    except ValueError:
        if "@" not in rest[end:]:
            raise
        # What was taken for host and port is a password with a slash: nothing to be shown.
        raise ValueError("no valid host and port; a / of a password is %2F") from None
    target = _encode(rest[end:])
    if not target.startswith("/"):
        target = f"/{target}"
    credentials = _credentials(userinfo) if userinfo else None
    return URI(scheme, host, port or _PORTS[scheme], target, "", credentials)


def _elsewhere(text: str) -> URI:
    """Return the URI that a redirect names in full."""
    uri = parse_uri(text)
    return URI(uri.scheme, uri.host, uri.port, _without_dots(uri.target))


def _parse_unix(rest: str) -> URI:
    path, _, target = (rest.removeprefix("//")).partition(":")
    if not path:
        raise ValueError(f"URI {_UNIX}: without the path of a socket")
    if target[:1] not in ("/", ""):
        raise ValueError(f"URI {_UNIX}: has no / behind the colon that ends the socket's path")
    unix = _decode(path)
    # One at the beginning makes a name of Linux's own; elsewhere it would cut the path short.
    if "\0" in unix[1:]:
        raise ValueError(f"URI {_UNIX}: with a NUL in the path of a socket")
    return URI(_UNIX, "localhost", 80, _encode(target or "/"), unix)


def _parse_place(authority: str) -> tuple[str, int | None]:
    """Return host and port of what stands behind the user; both are ones to connect to."""
    host, port = parse_authority(_ascii(authority))
    if host.startswith("["):
        from ipaddress import IPv6Address

        try:
            IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError(f"{host[:100]} is not an IPv6 address (RFC 3986 §3.2.2)") from None
    # Some would decode it, and some would look it up as it is: two hosts for one URI.
    if "%" in host:
        raise ValueError(f"host {host[:100]!a} is percent-encoded")
    if port == 0:
        raise ValueError("port 0 is not one to connect to")
    return host, port


def _credentials(userinfo: str) -> tuple[str, str]:
    # To browsers it is a slash, and what follows is no host: two hosts for one URI.
    if "\\" in userinfo:
        raise ValueError("URI with a backslash before its @; one of a password is %5C")
    user, _, password = userinfo.partition(":")
    found = _decode(user), _decode(password)
    # "The user-id and password MUST NOT contain any control characters" (RFC 7617 §2).
    if any(char < " " or char == "\x7f" for char in "".join(found)):
        raise ValueError("control character in user or password of a URI (RFC 7617 §2)")
    return found


def _decode(text: str) -> str:
    decoded = unquote(text)
    # What was changed on its way here would only ever be refused, or be another's.
    if "\ufffd" in decoded:
        raise ValueError("user, password or path of a socket is not UTF-8, percent-encoded")
    return decoded


def _check_characters(text: str) -> None:
    """Check that a URI holds only what can be meant.

    Raises:
        ValueError: It holds a control character, or half of one that is beyond 16 bits.
    """
    for char in text:
        if char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff":
            raise ValueError(f"control character {char!a} in a URI")


def _ascii(authority: str) -> str:
    """Return a host and port with the host in ASCII (RFC 3490)."""
    if authority.isascii():
        return authority
    host, colon, port = authority.partition(":")
    try:
        encoded = host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host[:100]!a} is not a host") from None
    # There are wide colons and brackets, which become the ones that have a meaning.
    if set(":[]") & set(encoded):
        raise ValueError(f"{host[:100]!a} is not a host")
    return encoded + colon + port


def _encode(target: str, encoding: str = "utf-8") -> str:
    """Return path and query with what must not stand in a request line percent-encoded."""
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    raw = target.encode(encoding)
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in raw)


def _without_dots(target: str) -> str:
    """Return the target without segments of one or two dots (RFC 3986 §5.2.4)."""
    path, question, query = target.partition("?")
    kept: list[str] = []
    *segments, last = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last in (".", ".."):
        if last == "..":
            del kept[-1:]
        last = ""
    return "/" + "/".join([*kept, last]) + question + query
