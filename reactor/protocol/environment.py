"""Which proxy the environment names for a server: `http_proxy` and its kin.

Facts: every program reads these variables a little differently, and there is no standard. What
most agree on: lower case counts before upper case, `no_proxy` takes names with their
subdomains, and a CGI's upper-case `HTTP_PROXY` is a header of a stranger's request.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address
    from typing import Union

    IP = Union[IPv4Address, IPv6Address]


def environment_proxy(
    secure: bool, host: str, port: int, environ: Mapping[str, str]
) -> str | None:
    """Return the URI of the proxy that the environment names for a server, or `None`.

    `http_proxy` is for `ws`, `https_proxy` for `wss`, `all_proxy` for what has none of its own,
    `no_proxy` for servers without. The first that is set decides, in lower case before upper
    case; an empty one says none.

    `no_proxy` lists, between commas or spaces, names, which stand for their subdomains too,
    addresses, networks such as `10.0.0.0/8`, or `*` for all; a name or an address may have a
    port. Nothing is on it that is not listed, not even `localhost`.

    Args:
        secure: Whether the server is spoken to in TLS.
        host: The server's, as a name or an address.
        port: The server's.
        environ: `os.environ`, or what stands for it.
    """
    own = "https_proxy" if secure else "http_proxy"
    value = _variable(own, environ)
    if value is None:
        value = _variable("all_proxy", environ)
    if not value or _is_excepted(host, port, _variable("no_proxy", environ) or ""):
        return None
    return value if "://" in value else f"http://{value}"


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    value = environ.get(name)
    # A CGI has its request's `Proxy` field in HTTP_PROXY: whoever sends it must not choose.
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in environ):
        value = environ.get(name.upper())
    return None if value is None else value.strip()


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    host = host.strip("[]").lower().rstrip(".")
    address = parse_ip(host)
    for entry in exceptions.replace(",", " ").lower().split():
        if entry == "*":
            return True
        name, wanted = _split_port(entry)
        if wanted not in ("", str(port)):
            continue
        if address is not None:
            if _is_in(address, name):
                return True
            continue
        name = (name[1:] if name.startswith("*.") else name).strip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, str]:
    """Return the host of an entry without brackets, and its port, or nothing."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port[1:]
    # More than one colon, and no brackets: all of it is an address.
    if entry.count(":") != 1:
        return entry, ""
    name, _, port = entry.partition(":")
    return name, port


def _is_in(address: IP, network: str) -> bool:
    from ipaddress import ip_network

    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False  # it is a name


def parse_ip(host: str) -> IP | None:
    """Return the address that a host is, or `None` for a name."""
    if ":" not in host and not host[-1:].isdigit():
        return None  # as nearly always, and without an import
    from ipaddress import ip_address

    try:
        return ip_address(host)
    except ValueError:
        return None
