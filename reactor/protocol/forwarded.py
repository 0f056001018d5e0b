"""The server's side of a proxy: who the client behind it is.

Facts: to a server behind a proxy, every client has the proxy's address. Proxies tell the real
one in three ways: `X-Forwarded-For`, to which each adds the address that it was spoken to from;
`Forwarded` (RFC 7239), the same as a standard; and the PROXY protocol, a line or a binary head
before all else. Any client can send any of them itself: whoever believes the leftmost
address, or a proxy that is not known, lets a client choose who it is.

So: only what a trusted peer says is believed, from the right, where our own proxies have
added theirs, to the first address that is not trusted. A proxy adds to one of the two fields
and passes on the other as the client wrote it. Name the one in `header`, and the other is
not looked at; without, whichever there is counts, and a request whose two fields tell of two
clients is refused. A `Forwarded` field is read backwards too: a quote that a client leaves open
cannot swallow what the proxy adds behind it.
"""

from __future__ import annotations

from ..errors import HandshakeError
from .http import is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Any, Union

    from .http import Headers

    IP = Union[IPv4Address, IPv6Address]
    Network = Union[IPv4Network, IPv6Network]

_FIELDS = ("Forwarded", "X-Forwarded-For")


def _parse_ip(text: str) -> IP:
    """Return an address; an IPv4 one that is written as IPv6 is one of IPv4.

    Raises:
        ValueError: It is none.
    """
    from ipaddress import ip_address

    if "%" in text:  # a scope, in which anything may stand
        raise ValueError("address with a scope")
    found = ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


def _parse_network(text: str) -> Network:
    from ipaddress import IPv4Network, ip_network

    if not isinstance(text, str):
        raise TypeError(f"trusted proxy {text!r} is not a str")
    try:
        if "%" in text:
            raise ValueError("a scope cannot be told apart")
        network = ip_network(text)
        mapped = getattr(network.network_address, "ipv4_mapped", None)
        if mapped is not None and network.prefixlen >= 96:
            return IPv4Network((mapped, network.prefixlen - 96))
    except ValueError as error:
        raise ValueError(f"trusted proxy {text!r}: {error}") from None
    return network


class TrustedProxies:
    """The proxies whose word about their clients is taken.

    Args:
        entries: Addresses, networks such as `"10.0.0.0/8"`, and `"unix"` for whoever comes by
            a unix socket.
        header: The field that your proxy adds to: `"X-Forwarded-For"` or `"Forwarded"`. `None`
            takes whichever there is, and refuses requests in which the two disagree.

    Raises:
        ValueError: An entry is none of these, or is a network with bits of a host set; or there
            is no such field.
        TypeError: An entry is not a `str`, or all of them are one.
    """

    __slots__ = ("_fields", "_networks", "_unix")

    def __init__(self, entries: Iterable[str], header: str | None = None) -> None:
        if isinstance(entries, str):
            raise TypeError(f"trusted proxies {entries!r}: one str, not several")
        listed = list(entries)
        self._unix = "unix" in listed
        self._networks = [_parse_network(entry) for entry in listed if entry != "unix"]
        self._fields = [
            name for name in _FIELDS if header is None or name.lower() == header.lower()
        ]
        if not self._fields:
            raise ValueError(f"header {header!r}, not Forwarded or X-Forwarded-For")

    def trusts(self, address: Any) -> bool:
        """Return whether a peer is one of them.

        Args:
            address: Where it is, as its socket says: host and port (for IPv6 two numbers more),
                or what a unix socket has. Scopes of IPv6 addresses do not count.
        """
        if not isinstance(address, tuple):
            return self._unix
        try:
            found = _parse_ip(str(address[0]).partition("%")[0])
        except ValueError:
            return False
        return any(found in network for network in self._networks)

    def client(self, address: Any, headers: Headers) -> Any:
        """Return where the client of a request is.

        Where a trusted proxy tells of its client nothing, or nothing that can be understood,
        the client is taken to be the last that was.

        Args:
            address: The peer's, as its socket says.
            headers: The request's.

        Returns:
            Host, and the port or 0; the peer's address if it is no trusted proxy, or if there
            is nothing else to go by.

        Raises:
            HandshakeError: Both fields came, and they tell of two clients: 400.
        """
        if not self.trusts(address):
            return address
        present = [name for name in self._fields if name in headers]
        found = [self._walk(address, name, headers.get_all(name)) for name in present]
        if not found:
            return address
        # Ports do not make two clients: most proxies tell none.
        if found[0] != found[-1] and found[0][:1] != found[-1][:1]:
            raise HandshakeError(400, "Forwarded and X-Forwarded-For tell of two clients")
        return found[0]

    def _walk(self, address: Any, name: str, values: list[str]) -> Any:
        nodes = _forwarded(values) if name == "Forwarded" else _x_forwarded_for(values)
        try:
            for node in nodes:
                address = _parse_node(node)
                if not self.trusts(address):
                    break
        except ValueError:
            pass  # what is left of it was written by whoever came to the last
        return address


def _x_forwarded_for(values: list[str]) -> Iterator[str]:
    """Yield the clients of all fields, from the right."""
    for value in reversed(values):
        for element in reversed(value.split(",")):
            node = element.strip(" \t")
            if node:
                yield node


def _forwarded(values: list[str]) -> Iterator[str]:
    """Yield the clients of all fields, from the right (RFC 7239 §4).

    Raises:
        ValueError: An element is not one, or tells of no client.
    """
    for value in reversed(values):
        for element in _elements(value):
            if element.strip(" \t"):
                yield _for(element)


def _elements(value: str) -> Iterator[str]:
    """Yield the elements of a field, from the right; what is quoted may hold commas."""
    end = at = len(value)
    comma, quote = value.rfind(","), value.rfind('"')
    while max(comma, quote) >= 0:
        if comma > quote:
            yield value[comma + 1 : end]
            end = at = comma
        else:
            at = _opening(value, quote)
        # What was found further left is not searched again.
        comma = comma if comma < at else value.rfind(",", 0, at)
        quote = quote if quote < at else value.rfind('"', 0, at)
    yield value[:end]


def _opening(value: str, closing: int) -> int:
    """Return where the quoted string begins that ends at `closing`."""
    start = value.rfind('"', 0, closing)
    while start >= 0:
        first = start
        while first and value[first - 1] == "\\":
            first -= 1
        if (start - first) % 2 == 0:
            return start
        start = value.rfind('"', 0, first)
    raise ValueError("quote without another")


def _for(element: str) -> str:
    """Return the node that an element's `for` names."""
    found: list[str] = []
    at = 0
    while at < len(element):
        if element[at] in "; \t":
            at += 1
            continue
        equals = element.find("=", at)
        name = element[at : max(equals, at)]
        if not is_token(name):
            raise ValueError("parameter that is not one (RFC 7239 §4)")
        value, at = _value(element, equals + 1)
        if name.lower() == "for":
            found.append(value)
    # "Each parameter MUST NOT occur more than once per field-value" (RFC 7239 §4).
    if len(found) != 1:
        raise ValueError(f"{len(found)} times `for` in an element")
    return found[0]


def _value(element: str, start: int) -> tuple[str, int]:
    """Return the value of a parameter that begins at `start`, and where it ends.

    Unquoted, it may be more than a token: addresses with a colon are often sent so.
    """
    if element[start : start + 1] != '"':
        semicolon = element.find(";", start)
        end = len(element) if semicolon < 0 else semicolon
        return element[start:end].strip(" \t"), end
    at = start + 1
    parts = []
    while element[at : at + 1] != '"':
        if element[at : at + 1] == "\\":
            at += 1
        if at >= len(element):
            raise ValueError("quoted string without an end")
        parts.append(element[at])
        at += 1
    if element[at + 1 :].strip(" \t")[:1] not in ("", ";"):
        raise ValueError("text behind a quoted string")
    return "".join(parts), at + 1


def _parse_node(text: str) -> tuple[str, int]:
    """Return host and port, or 0, of a node (RFC 7239 §6).

    Raises:
        ValueError: It is not one, is unknown or is hidden.
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or port[:1] not in ("", ":") or ":" not in host:
            raise ValueError("brackets without an address")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    number = 0 if port.startswith("_") or not port else _parse_port(port)
    return str(_parse_ip(host)), number


def _parse_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise ValueError("port that is not one")
    return int(text)


# ---- the PROXY protocol ----

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_V1 = 107
_MAX_V2 = 4096
_SIZES = {1: 12, 2: 36, 3: 216}


class ProxyReader:
    """Reads the head that a proxy sends before all else, to tell who its client is.

    It is the PROXY protocol, version 1 or 2. "The receiver MUST NOT try to guess whether the
    header is present or not" (§2): it must be there. Only proxies may be able to reach a
    server that reads it, or be trusted to, as any client can send one.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[Any, bytes] | None:
        """Take the next bytes.

        Returns:
            Where the client is and what follows the head; `None` while it is not whole. The
            client is host and port, or the path of a unix socket, or `None`: then the proxy
            tells of none, and it is where the socket says.

        Raises:
            ValueError: It is not such a head: said as soon as it is known.
        """
        buffer = self._buffer
        buffer += data
        if not buffer:
            return None
        signature = _V2 if buffer[0] == _V2[0] else _V1
        if not signature.startswith(buffer[: len(signature)]):
            raise ValueError(f"{_what_came(buffer)}, not a PROXY header")
        end = self._end_v1() if signature is _V1 else self._end_v2()
        if not end:
            return None
        head = bytes(buffer[:end])
        parse = _parse_v1 if signature is _V1 else _parse_v2
        return parse(head), bytes(buffer[end:])

    def _end_v1(self) -> int:
        """Return how long the head is, or 0 if its end has not come."""
        start = self._buffer[:_MAX_V1]
        end = start.find(b"\n") + 1
        if not end and len(start) == _MAX_V1:
            raise ValueError(f"PROXY header of over {_MAX_V1} bytes")
        if end and not start.endswith(b"\r\n", 0, end):
            raise ValueError("PROXY header that ends with a line feed by itself")
        return end

    def _end_v2(self) -> int:
        """Return how long the head is, or 0 if its end has not come."""
        buffer = self._buffer
        if len(buffer) > 12 and buffer[12] not in (0x20, 0x21):
            raise ValueError(f"PROXY header of version and command {buffer[12]:#04x}")
        if len(buffer) < 16:
            return 0
        size = int.from_bytes(buffer[14:16], "big")
        if size > _MAX_V2:
            raise ValueError(f"PROXY header of {size} bytes, at most {_MAX_V2} allowed")
        return 16 + size if len(buffer) >= 16 + size else 0


def _what_came(buffer: bytearray) -> str:
    if buffer[0] == 0x16:
        return "TLS"
    if 0x41 <= buffer[0] <= 0x5A:  # a capital letter, as methods of HTTP begin with
        return "a request"
    return f"byte {buffer[0]:#04x}"


def _parse_v1(head: bytes) -> tuple[str, int] | None:
    """Return the source that a head of version 1 tells (§2.1)."""
    words = head[:-2].decode("latin-1").split(" ")
    # "the receiver must ignore anything presented before the CRLF is found".
    if words[1] == "UNKNOWN":
        return None
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ValueError("PROXY header of neither TCP4, TCP6 nor UNKNOWN, or of other parts")
    source = _check_family(words[2], words[1])
    _check_family(words[3], words[1])
    for port in words[4:]:
        if str(_parse_port(port)) != port:
            raise ValueError("port of a PROXY header with leading zeros")
    return source, int(words[4])


def _check_family(text: str, family: str) -> str:
    from ipaddress import IPv4Address, IPv6Address

    try:
        if family == "TCP4":
            return str(IPv4Address(text))
        IPv6Address(text)
        return str(_parse_ip(text))
    except ValueError:
        raise ValueError(f"PROXY header of {family} with another address") from None


def _parse_v2(head: bytes) -> tuple[str, int] | str | None:
    """Return the source that a head of version 2 tells (§2.2)."""
    # LOCAL: "The receiver must accept this connection as valid and must use the real connection
    # endpoints and discard the protocol block including the family which is ignored."
    if head[12] == 0x20:
        return None
    family, protocol = head[13] >> 4, head[13] & 15
    if family > 3 or protocol > 1:
        raise ValueError(f"PROXY header of family and protocol {head[13]:#04x}")
    block = head[16:]
    size = _SIZES[family] if family and protocol else 0
    if len(block) < size:
        raise ValueError(f"PROXY header of {len(block)} bytes, too short for its family")
    if not size:
        return None  # "The receiver is free to accept the connection anyway"
    _check_extensions(head, 16 + size)
    if family == 3:
        # The path of a unix socket may be any bytes but NUL; a name without one is no path.
        return block[:108].split(b"\0")[0].decode("utf-8", "surrogateescape")
    return _unpack(block, 4 if family == 1 else 16)


def _unpack(block: bytes, size: int) -> tuple[str, int]:
    """Return the source of a block: two addresses of `size` bytes, then two ports."""
    from ipaddress import ip_address

    host = str(_parse_ip(str(ip_address(block[:size]))))
    return host, int.from_bytes(block[2 * size : 2 * size + 2], "big")


# ---- what may follow the addresses in version 2 ----

_CRC32C = 3


def _check_extensions(head: bytes, at: int) -> None:
    """Check that what follows the addresses is whole, and the checksum if there is one (§2.2).

    Raises:
        ValueError: It is not.
    """
    while at < len(head):
        size = int.from_bytes(head[at + 1 : at + 3], "big")
        end = at + 3 + size
        if end > len(head):
            raise ValueError("extension of a PROXY header longer than it")
        if head[at] == _CRC32C:
            blank = head[: at + 3] + bytes(size) + head[end:]
            if head[at + 3 : end] != _crc32c(blank).to_bytes(4, "big"):
                raise ValueError("PROXY header with a wrong checksum")
            return
        at = end


def _crc32c(data: bytes) -> int:
    """Return the checksum that is Castagnoli's (RFC 4960, appendix B)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF
