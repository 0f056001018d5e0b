"""The client's talk with a proxy that stands between it and the server.

Facts: a proxy is asked for a tunnel in one of two languages: `CONNECT` of HTTP (RFC 9110
§9.3.6) or SOCKS5 (RFC 1928, with user and password as RFC 1929 has them). Behind its answer may
come the server's first bytes, in one piece with it. A proxy comes as a URI, often from the
environment, and with a password that neither a log nor a traceback should show.

So: `HttpConnect` and `Socks5` are used alike, and know no socket: send what `begin` returns,
give `feed` what comes and send what it returns, until `done`; then `rest` is the server's.
Names are resolved by the proxy, as a client behind one may have no name server that knows them.
No error and no `repr` shows a password.
"""

from __future__ import annotations

from ..errors import HandshakeError, ProxyError
from .environment import parse_ip
from .http import MAX_LINE, Headers, HeadReader, parse_authority, unquote
from .response import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Tunnel = Union["HttpConnect", "Socks5"]

_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_MAX_INTERIM = 8


class Proxy:
    """A proxy: how it is spoken to, where it is, and as whom.

    Args:
        scheme: `"http"`, `"https"` (HTTP inside TLS) or `"socks5"`.
        host: A name, or an address without brackets.
        port: From 1 to 65535.
        user: `None` to come without a name.
        password: `None` is none, which HTTP takes as an empty one.

    Raises:
        ValueError: User and password cannot be told to such a proxy.
    """

    __slots__ = ("host", "password", "port", "scheme", "user")

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        if user is not None:
            check = _check_socks_user if scheme == "socks5" else _check_basic_user
            check(user, password or "")
        self.scheme = scheme
        self.host = host
        self.port = port
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        """Return the proxy's URI, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}:***@"
        return f"<Proxy {self.scheme}://{user}{host}:{self.port}>"


def _check_basic_user(user: str, password: str) -> None:
    # "a user-id containing a colon character is invalid" and "The user-id and password MUST NOT
    # contain any control characters" (RFC 7617 §2).
    if ":" in user:
        raise ValueError("user with a colon for an HTTP proxy (RFC 7617 §2)")
    if any(char < " " or char == "\x7f" for char in user + password):
        raise ValueError("control character in user or password (RFC 7617 §2)")


def _check_socks_user(user: str, password: str) -> None:
    if not (1 <= len(user.encode()) <= 255 and 1 <= len(password.encode()) <= 255):
        raise ValueError("user and password of 1 to 255 bytes for SOCKS5 (RFC 1929 §2)")


def parse_proxy(uri: str) -> Proxy:
    """Return the proxy that a URI names.

    Args:
        uri: As in `"http://user:password@proxy.example:8080"`; `https`, `socks5` and `socks5h`
            too. User and password are percent-decoded.

    Raises:
        ValueError: It names none; the text does not show the password.
    """
    scheme, colon, rest = uri.partition("://")
    scheme = scheme.lower()
    if scheme == "socks5h":  # the host's name is left to the proxy; we never do otherwise
        scheme = "socks5"
    if not colon or scheme not in _PORTS:
        raise ValueError("proxy that is not http://, https:// or socks5://")
    authority, _, path = rest.partition("/")
    if path or "?" in authority or "#" in authority:
        raise ValueError(f"{scheme} proxy with more behind its host than a port")
    userinfo, _, place = authority.rpartition("@")
    try:
        host, port = parse_authority(place)
        if host.startswith("["):
            from ipaddress import IPv6Address

            host = str(IPv6Address(host[1:-1]))
    except ValueError:
        raise ValueError(f"{scheme} proxy without a valid host and port") from None
    if port == 0:
        raise ValueError(f"{scheme} proxy at port 0")
    user = password = None
    if userinfo:
        name, colon, secret = userinfo.partition(":")
        user, password = _decode(name), _decode(secret) if colon else None
    return Proxy(scheme, host, _PORTS[scheme] if port is None else port, user, password)


def _decode(text: str) -> str:
    decoded = unquote(text)
    # A password that was changed on its way here would only ever be refused.
    if "\ufffd" in decoded:
        raise ValueError("user or password of a proxy is not UTF-8, percent-encoded")
    return decoded


# ---- tunnels ----


def tunnel(proxy: Proxy, host: str, port: int) -> Tunnel:
    """Return the talk that makes a proxy open a tunnel to a server.

    Args:
        proxy: How it is spoken to decides.
        host: The server's: a name in ASCII, or an address without brackets.
        port: The server's.

    Raises:
        ValueError: Host or port is not one, or not one for such a proxy.
    """
    talk = Socks5 if proxy.scheme == "socks5" else HttpConnect
    return talk(proxy, host, port)


def _authority(host: str, port: int) -> str:
    """Return host and port as a URI has them; nothing else gets into a request by them.

    Raises:
        ValueError: They are not such.
    """
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name, number = parse_authority(text)
    if not number:
        raise ValueError(f"{text!r} has no valid port")
    return f"{name}:{number}"


class HttpConnect:
    """The talk with an HTTP proxy (RFC 9110 §9.3.6).

    Args:
        proxy: Its user and password are sent with the request, as it will ask for them.
        host: See `tunnel`.
        port: See `tunnel`.

    Attributes:
        done: Whether the tunnel is open.
        rest: What came behind the proxy's answer.

    Raises:
        ValueError: Host or port is not one.
    """

    __slots__ = ("_begun", "_interim", "_reader", "_request", "_target", "done", "rest")

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self.rest = b""
        self._target = _authority(host, port)
        # RFC 9112 §3.2: "A client MUST send a Host header field [...] in all HTTP/1.1 request
        # messages"; that of a CONNECT says the same as its target.
        fields = Headers({"Host": self._target})
        if proxy.user is not None:
            fields.add("Proxy-Authorization", _basic(proxy.user, proxy.password or ""))
        line = f"CONNECT {self._target} HTTP/1.1\r\n"
        self._request = line.encode() + fields.pack() + b"\r\n"
        self._reader = HeadReader()
        self._begun = b""
        self._interim = 0

    def begin(self) -> bytes:
        """Return what is sent first."""
        return self._request

    def feed(self, data: bytes) -> bytes:
        """Take what the proxy has sent.

        Returns:
            What is sent next: nothing.

        Raises:
            ProxyError: There will be no tunnel.
        """
        if self.done:
            self.rest += data
            return b""
        whole = self._read(data)
        while whole is not None:
            head, rest = whole
            if self._opens(head, rest):
                self.done, self.rest = True, rest
                break
            whole = self._read(rest)
        return b""

    def _read(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the head of an answer and what follows it, if it is whole."""
        self._begun += data[: len(_HTTP) - len(self._begun)]
        if not _HTTP.startswith(self._begun):
            raise ProxyError(0, "the proxy's answer is not HTTP/1 (RFC 9112 §4)")
        try:
            return self._reader.feed(data)
        except HandshakeError as error:
            over = f"status line of over {MAX_LINE} bytes"
            reason = over if error.status == 414 else error.reason
            raise ProxyError(0, f"the proxy's answer: {reason}") from None

    def _opens(self, head: bytes, rest: bytes) -> bool:
        """Return whether an answer opens the tunnel; if not, another follows."""
        try:
            reply = Reply(head)
        except HandshakeError as error:
            raise ProxyError(0, f"the proxy: {error.reason}") from None
        status = reply.status
        # "Any 2xx (Successful) response indicates that the sender (and all inbound proxies)
        # will switch to tunnel mode immediately after the response header section", and "A
        # client MUST ignore any Content-Length or Transfer-Encoding header fields received in
        # a successful response to CONNECT" (RFC 9110 §9.3.6).
        if 200 <= status < 300:
            return True
        # "A client MUST be able to parse one or more 1xx responses received prior to a final
        # response" (RFC 9110 §15.2); after 101 comes another protocol, which nobody asked for.
        if status < 200 and status != 101 and self._interim < _MAX_INTERIM:
            self._interim += 1
            self._reader = HeadReader()
            self._begun = b""
            return False
        reason = (
            f"the proxy does not connect to {self._target}: {status} {reply.words}".rstrip()
        )
        raise ProxyError(status, reason, reply.headers, rest)


_HTTP = b"HTTP/1."


def _basic(user: str, password: str) -> str:
    from binascii import b2a_base64

    return "Basic " + b2a_base64(f"{user}:{password}".encode(), newline=False).decode()


_REPLIES = {
    1: (502, "general failure"),
    2: (403, "not allowed by its rules"),
    3: (502, "network unreachable"),
    4: (502, "host unreachable"),
    5: (502, "connection refused"),
    6: (504, "TTL expired"),
    7: (501, "command not supported"),
    8: (501, "address type not supported"),
}


class Socks5:
    """The talk with a SOCKS5 proxy (RFC 1928, RFC 1929).

    Args:
        proxy: Its user and password are offered if it has them.
        host: See `tunnel`; a name of at most 255 bytes is left to the proxy to resolve.
        port: See `tunnel`.

    Attributes:
        done: Whether the tunnel is open.
        rest: What came behind the proxy's answer.

    Raises:
        ValueError: Host or port is not one.
    """

    __slots__ = ("_buffer", "_next", "_proxy", "_request", "_target", "done", "rest")

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self.rest = b""
        self._proxy = proxy
        self._target = _authority(host, port)
        # VER, CMD (CONNECT), RSV, then ATYP, DST.ADDR, DST.PORT (RFC 1928 §4).
        self._request = b"\x05\x01\x00" + _pack_host(host) + port.to_bytes(2, "big")
        self._buffer = bytearray()
        self._next = self._method

    def begin(self) -> bytes:
        """Return what is sent first: which methods of authentication we know."""
        return b"\x05\x01\x00" if self._proxy.user is None else b"\x05\x02\x00\x02"

    def feed(self, data: bytes) -> bytes:
        """Take what the proxy has sent.

        Returns:
            What is sent next; possibly nothing.

        Raises:
            ProxyError: There will be no tunnel.
        """
        if self.done:
            self.rest += data
            return b""
        self._buffer += data
        send = b""
        while not self.done:
            answer = self._next()
            if answer is None:
                break
            send += answer
        return send

    def _method(self) -> bytes | None:
        """Take the method that the proxy has chosen (RFC 1928 §3)."""
        buffer = self._buffer
        self._check_version(5, "RFC 1928 §3")
        if len(buffer) < 2:
            return None
        chosen = buffer[1]
        del buffer[:2]
        if chosen == 0:
            self._next = self._reply
            return self._request
        user, password = self._proxy.user, self._proxy.password
        if chosen == 2 and user is not None:
            name, secret = user.encode(), (password or "").encode()
            self._next = self._status
            return bytes([1, len(name)]) + name + bytes([len(secret)]) + secret
        if chosen in (2, 255):
            # "If the selected METHOD is X'FF', none of the methods listed by the client are
            # acceptable, and the client MUST close the connection" (RFC 1928 §3).
            offered = "user and password" if user is not None else "to come without a user"
            raise ProxyError(407, f"the SOCKS5 proxy does not accept {offered}")
        raise ProxyError(0, f"the SOCKS5 proxy chose method {chosen}, which was not offered")

    def _status(self) -> bytes | None:
        """Take what the proxy says to user and password (RFC 1929 §2)."""
        self._check_version(1, "RFC 1929 §2")
        if len(self._buffer) < 2:
            return None
        if self._buffer[1]:
            raise ProxyError(407, "the SOCKS5 proxy refuses user and password")
        del self._buffer[:2]
        self._next = self._reply
        return self._request

    def _reply(self) -> bytes | None:
        """Take the answer to the request (RFC 1928 §6); the bound address is of no use."""
        buffer = self._buffer
        self._check_version(5, "RFC 1928 §6")
        if len(buffer) >= 2 and buffer[1]:
            status, words = _REPLIES.get(buffer[1], (502, f"code {buffer[1]}"))
            raise ProxyError(
                status, f"the SOCKS5 proxy does not connect to {self._target}: {words}"
            )
        if len(buffer) < 5:
            if len(buffer) == 4:
                _address_size(buffer[3], 0)
            return None
        end = 4 + _address_size(buffer[3], buffer[4]) + 2
        if len(buffer) < end:
            return None
        self.rest = bytes(buffer[end:])
        buffer.clear()
        self.done = True
        return b""

    def _check_version(self, expected: int, where: str) -> None:
        if self._buffer and self._buffer[0] != expected:
            hint = ": HTTP, perhaps" if self._buffer[0] == 0x48 else ""
            raise ProxyError(
                0, f"the proxy's answer is not SOCKS5: byte {self._buffer[0]} ({where}){hint}"
            )


def _address_size(kind: int, first: int) -> int:
    sizes = {1: 4, 3: 1 + first, 4: 16}
    if kind not in sizes:
        raise ProxyError(0, f"the SOCKS5 proxy is bound to an address of type {kind}")
    return sizes[kind]


def _pack_host(host: str) -> bytes:
    """Return ATYP and DST.ADDR (RFC 1928 §5)."""
    address = parse_ip(host)
    if address is not None:
        return (b"\x01" if address.version == 4 else b"\x04") + address.packed
    name = host.encode("ascii")
    if ":" in host or len(name) > 255:
        raise ValueError(f"host {host!r} is no address, and no name of at most 255 bytes")
    return bytes([3, len(name)]) + name
