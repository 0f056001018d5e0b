"""HTTP/1.1 heads and the grammar of their fields (RFC 9110 §5, RFC 9112 §2 to §5).

Facts: two parsers that read one head differently are how requests are smuggled past a proxy, so
a server that is strict is a server that is safe: line feeds alone, folded lines, white space
before a colon and control characters are refused, not repaired. Nested quantifiers in a regular
expression have brought down many parsers of these fields, and `re` alone costs more to import
than this module.

So: what a token may be is a table for `bytes.translate`, and everything else is `partition` and
`split`. Values are ISO-8859-1, as the bytes that they are.
"""

from __future__ import annotations

from functools import lru_cache

from ..errors import HandshakeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Union

    Fields = Union["Headers", Mapping[str, str], Iterable[tuple[str, str]]]

MAX_LINE = 8 * 1024
MAX_HEAD = 16 * 1024
MAX_FIELDS = 100

# "tchar" of RFC 9110 §5.6.2.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# A field's value may hold no control character but the tab (RFC 9110 §5.5).
_CONTROLS = bytes(set(range(32)) - {9}) + b"\x7f"
_CONTROLS_IN_LINES = bytes(set(_CONTROLS) - {13, 10})

# What browsers, libraries and proxies send, as they write it: a look-up stands for taking a
# line apart, 0.6 instead of 3.1 thousand instructions, or for looking at a name and putting it
# in lower case, 0.5 instead of 1.4.
_KNOWN_LINES = {
    f"{name}: {value}": (name.lower(), (value,))
    for name, value in (
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Cache-Control", "no-cache"),
        ("Connection", "Upgrade"),
        ("Connection", "keep-alive, Upgrade"),
        ("Pragma", "no-cache"),
        ("Sec-Fetch-Dest", "empty"),
        ("Sec-Fetch-Mode", "websocket"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-WebSocket-Version", "13"),
        ("Upgrade", "websocket"),
    )
}
_NAMES = (
    "Accept Accept-Encoding Accept-Language Authorization Connection Content-Length"
    " Content-Type Cookie Date Host Location Origin Sec-WebSocket-Accept"
    " Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Server Upgrade"
    " User-Agent X-Forwarded-For"
)
_KNOWN_NAMES = {form: name.lower() for name in _NAMES.split() for form in (name, name.lower())}

REASONS = {
    101: "Switching Protocols",
    200: "OK",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def is_token(text: str) -> bool:
    """Return whether `text` is a token (RFC 9110 §5.6.2), as a field's name must be."""
    # Letters, digits and hyphens are nearly all: 0.9 instead of 2.9 thousand instructions.
    return (
        bool(text)
        and text.isascii()
        and (text.replace("-", "").isalnum() or not text.encode().translate(None, _TOKEN))
    )


def _is_value(text: str) -> bool:
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return len(raw.translate(None, _CONTROLS)) == len(raw) and text.strip(" \t") == text


class Headers:
    """The fields of a head: names without regard to case, each possibly several times.

    Args:
        fields: Pairs of name and value, or a mapping.

    Raises:
        ValueError: A name is not a token, or a value holds a control character, begins or ends
            with white space, or is not ISO-8859-1: nothing can be injected into a head.
        TypeError: Something is not a pair, or a name or a value not a `str`.
    """

    # Of a head that was parsed, its lines are kept, and made pairs of when these are asked for.
    __slots__ = ("_by_name", "_lines", "_pairs")

    def __init__(self, fields: Fields = ()) -> None:
        self._by_name: dict[str, tuple[str, ...]] = {}
        self._pairs: list[tuple[str, str]] | None = []
        self._lines: list[str] = []
        if fields == ():
            return
        pairs = fields.items() if hasattr(fields, "items") else fields
        for pair in pairs:
            # A `str` of two characters would pass for a pair.
            if isinstance(pair, str) or len(pair) != 2:
                raise TypeError(f"{pair!r} is not a header field's pair of name and value")
            self.add(*pair)

    def add(self, name: str, value: str) -> None:
        """Add a field behind the others.

        Raises:
            TypeError: The name or the value is not a `str`.
            ValueError: The name or the value is not one (see the class).
        """
        for part in (name, value):
            if not isinstance(part, str):
                raise TypeError(f"{part!r} in a header field is not a str")
        if not is_token(name):
            raise ValueError(f"field name {name!r} is not a token (RFC 9110 §5.1)")
        if not _is_value(value):
            raise ValueError(f"value {value!r} of field {name} (RFC 9110 §5.5)")
        self._all().append((name, value))
        name = name.lower()
        self._by_name[name] = (*self._by_name.get(name, ()), value)

    def parse(self, lines: list[str]) -> None:
        """Take the fields of a head; called once, on what is empty.

        Args:
            lines: Those of the head, without the first one.

        Raises:
            HandshakeError: One is no field, by the letter: 400.
        """
        self._pairs, self._lines = None, lines
        by_name = self._by_name
        known_line, known_name = _KNOWN_LINES.get, _KNOWN_NAMES.get
        for line in lines:
            known = known_line(line)
            if known is not None:
                name, values = known
            else:
                name, colon, value = line.partition(":")
                lower = known_name(name)
                # "No whitespace is allowed between the field name and colon" (RFC 9112 §5.1),
                # and "A server that receives an obs-fold [...] MUST either reject the message"
                # (§5.2): neither is a token.
                if not colon or (lower is None and not is_token(name)):
                    raise HandshakeError(400, "line that is not a header field (RFC 9112 §5)")
                name = lower or name.lower()
                values = (value.strip(" \t"),)
            by_name[name] = by_name[name] + values if name in by_name else values

    def _all(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            pairs = (line.partition(":") for line in self._lines)
            self._pairs = [(name, value.strip(" \t")) for name, _, value in pairs]
            self._lines = []
        return self._pairs

    def by_name(self) -> dict[str, tuple[str, ...]]:
        """Return the values of each name, which is in lower case; not to be changed."""
        return self._by_name

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of the first field of that name, or `default`."""
        for value in self.get_all(name):
            return value
        return default

    def get_all(self, name: str) -> list[str]:
        """Return the values of all fields of that name, in their order."""
        return list(self._by_name.get(name.lower(), ()))

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield the fields as pairs of name and value, in their order."""
        return iter(self._all())

    def __contains__(self, name: str) -> bool:
        """Return whether there is a field of that name."""
        return name.lower() in self._by_name

    def __getitem__(self, name: str) -> str:
        """Return the value of the first field of that name.

        Raises:
            KeyError: There is none.
        """
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __len__(self) -> int:
        """Return how many fields there are."""
        return len(self._all())

    def __repr__(self) -> str:
        """Return the fields."""
        return f"Headers({self._all()!r})"

    def pack(self) -> bytes:
        """Return the fields as the lines of a head."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._all())
        return lines.encode("latin-1")


class HeadReader:
    """Collect a head, up to the empty line; knows the limits."""

    __slots__ = ("_buffer", "_line")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._line = 0

    @property
    def started(self) -> bool:
        """Whether a byte of the head has come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take the next bytes.

        Returns:
            The head without its empty line and what follows it; `None` while it is not whole.

        Raises:
            HandshakeError: It is not HTTP by its first byte or by a line feed alone (400), or
                is too long, in whole or in one line (414, 431): said as soon as it is known.
        """
        buffer = self._buffer
        if not buffer:
            # Nearly every head comes whole, and needs no buffer.
            whole = take_head(data)
            if whole is not None:
                return whole
        seen = len(buffer)
        buffer += data
        # What was searched is not searched again: a head in single bytes costs the same.
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
        if end >= 0:
            return take_head(bytes(buffer))
        if buffer.count(b"\n", seen) != buffer.count(b"\r\n", max(0, seen - 1)):
            raise HandshakeError(400, _BARE)  # with such lines, the empty one never comes
        line = buffer.rfind(b"\r\n", max(0, seen - 1))
        if line >= 0:
            self._line = line + 2
        # One byte of a line's end may be among these, or three of the head's.
        if len(buffer) > MAX_HEAD + 3 or len(buffer) - self._line > MAX_LINE + 1:
            _check_limits(bytes(buffer))
        return None


def take_head(data: bytes) -> tuple[bytes, bytes] | None:
    """Return a head without its empty line, and what follows it; `None` if it is not whole.

    Args:
        data: What begins with it.

    Raises:
        HandshakeError: As `HeadReader.feed` raises it; but what is not whole may be too long.
    """
    if data[:1] not in _TOKEN:
        raise HandshakeError(400, _NOT_HTTP.get(data[0], "no HTTP request (RFC 9112 §3)"))
    head, ended, rest = data.partition(b"\r\n\r\n")
    if not ended:
        return None
    # So few bytes cannot have too many fields, of 3 at least; to count them costs as much as
    # all the rest of this.
    if len(head) > 3 * MAX_FIELDS:
        _check_limits(head)
    return head, rest


_NOT_HTTP = {0x16: "TLS, on a port without it", 0x15: "TLS, which was not spoken before"}
_BARE = "carriage return or line feed by itself (RFC 9112 §2.2)"


def _check_limits(head: bytes) -> None:
    if len(head) <= MAX_LINE and head.count(b"\r\n") <= MAX_FIELDS:
        return  # so no line is too long
    first, _, rest = head.partition(b"\r\n")
    if len(first) > MAX_LINE:
        raise HandshakeError(414, f"request line of over {MAX_LINE} bytes")
    lines = rest.split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise HandshakeError(431, f"over {MAX_FIELDS} header fields")
    if len(head) > MAX_HEAD:
        raise HandshakeError(431, f"head of over {MAX_HEAD} bytes")
    if max(map(len, lines)) > MAX_LINE:
        raise HandshakeError(431, f"header field of over {MAX_LINE} bytes")


def parse_head(head: bytes) -> tuple[str, Headers]:
    """Return the first line of a head, and its fields (RFC 9112 §2.1).

    Args:
        head: All before the empty line.

    Raises:
        HandshakeError: It is not such, by the letter: 400.
    """
    lines = head.decode("latin-1").split("\r\n")
    first = lines.pop(0)
    # One look instead of four: are there no other controls than those at which it was split?
    if len(head.translate(None, _CONTROLS)) + 2 * len(lines) != len(head):
        breaks = len(lines)
        if not (breaks == head.count(b"\n") == head.count(b"\r")):
            raise HandshakeError(400, _BARE)
        raise HandshakeError(400, "control character in the head (RFC 9110 §5.5)")
    headers = Headers()
    headers.parse(lines)
    return first, headers


def split_list(values: Iterable[str]) -> list[str]:
    """Return the elements of a comma-separated list of tokens (RFC 9110 §5.6.1).

    Args:
        values: The values of all the fields of one name; empty elements are passed over.

    Raises:
        HandshakeError: An element is not a token: 400.
    """
    elements = [part.strip(" \t") for value in values for part in value.split(",")]
    found = [element for element in elements if element]
    for element in found:
        if not is_token(element):
            raise HandshakeError(400, "element of a list is not a token (RFC 9110 §5.6)")
    return found


@lru_cache(16)  # nearly all requests name the same host: 0.7 instead of 6 thousand instructions
def parse_authority(text: str) -> tuple[str, int | None]:
    """Return host, in lower case, and port of a `Host` or an origin (RFC 9110 §7.2).

    Raises:
        ValueError: It is not such.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not host or host.strip("0123456789abcdefABCDEF:."):
            raise ValueError(f"{text!r} is not a host")
        host = f"[{host}]"
    else:
        host, colon, port = text.partition(":")
        rest = colon + port
        # "reg-name" of RFC 3986 §3.2.2: a token's characters, less some, and sub-delims.
        if not host or not host.isascii() or host.encode().translate(None, _REG_NAME):
            raise ValueError(f"{text!r} is not a host")
    if rest and (rest[0] != ":" or (rest[1:] and not _is_port(rest[1:]))):
        raise ValueError(f"{text!r} has no valid port")
    return host.lower(), int(rest[1:]) if rest[1:] else None


_REG_NAME = b"-._~%!$&'()*+,;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def unquote(text: str) -> str:
    """Return `text` with its percent-encoded bytes decoded, as UTF-8 (RFC 3986 §2.1).

    What is not such an encoding stays as it is; bytes that are not UTF-8 become U+FFFD.
    """
    first, *rest = text.split("%")
    if not rest:
        return text
    raw = bytearray(first.encode())
    for part in rest:
        code = part[:2]
        if len(code) == 2 and not code.strip("0123456789abcdefABCDEF"):
            raw.append(int(code, 16))
            part = part[2:]
        else:
            raw += b"%"
        raw += part.encode()
    return raw.decode("utf-8", "replace")


def parse_cookies(values: Iterable[str]) -> dict[str, str]:
    """Return the cookies of a request, the first of each name (RFC 6265 §5.4).

    Args:
        values: The values of its `Cookie` fields; what is not a pair is passed over.
    """
    cookies: dict[str, str] = {}
    for value in values:
        for pair in value.split(";"):
            name, equals, text = pair.partition("=")
            if equals:
                # The one with the longest path comes first: it is meant for this page.
                cookies.setdefault(name.strip(" \t"), text.strip(" \t"))
    return cookies


def parse_query(text: str) -> dict[str, str]:
    """Return the parameters of a query, the last of each name (WHATWG URL §5.1).

    Args:
        text: What stands behind the question mark, as in `"a=1&b=two+words"`.
    """
    pairs = (part.partition("=") for part in text.split("&") if part)
    return {
        unquote(name.replace("+", " ")): unquote(value.replace("+", " "))
        for name, _, value in pairs
    }
