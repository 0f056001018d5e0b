"""What a client asks for: its arguments, checked once, for all its attempts."""

from __future__ import annotations

import os

from .protocol import requesting
from .protocol.uri import parse_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ssl import SSLContext
    from typing import Any

    from .loop.resolver import Resolve
    from .protocol.extensions import Extension
    from .protocol.http import Fields
    from .protocol.proxies import Proxy
    from .protocol.uri import URI


class Wish:
    """What a client asks for, checked; the same for all its attempts.

    Args:
        uri: Where to connect to.
        subprotocols: Those that are offered, the dearest first.
        extensions: Those that are offered, the dearest first.
        origin: The value of the `Origin` field, or `None` for no such field.
        headers: Further fields of the request.
        auth: User and password for a server that asks for them; by default those of the URI.
        tls: How to speak TLS with the server; by default as `ssl.create_default_context` has
            it.
        proxy: The proxy's URI; `True` for that of the environment; `False` for none.
        proxy_tls: How to speak TLS with a proxy whose URI begins with `https:`.
        resolver: Looks up names.

    Raises:
        TypeError: Something is of another type.
        ValueError: The URI, a subprotocol, a field or the proxy is not one.
    """

    __slots__ = (
        "auth",
        "extensions",
        "headers",
        "proxy",
        "proxy_tls",
        "resolver",
        "subprotocols",
        "tls",
        "uri",
    )

    def __init__(
        self,
        uri: str,
        *,
        subprotocols: Sequence[str],
        extensions: tuple[Extension, ...] = (),
        origin: str | None,
        headers: Fields,
        auth: tuple[str, str] | None,
        tls: SSLContext | None,
        proxy: str | bool,
        proxy_tls: SSLContext | None,
        resolver: Resolve | None,
    ) -> None:
        self.uri = parse_uri(uri)
        if tls is not None and not self.uri.secure:
            raise ValueError(f"tls is given, but the URI is {self.uri.scheme}, not wss")
        self.extensions = extensions
        self.subprotocols = requesting.check_subprotocols(subprotocols)
        self.headers = requesting.check_fields(headers)
        if origin is not None:
            self.headers.add("Origin", origin)
        self.auth = self.uri.credentials if auth is None else auth
        if self.auth is not None:
            _check_auth(self.auth)
        self.tls = tls
        self.proxy: Proxy | bool = proxy if isinstance(proxy, bool) else _parse(proxy)
        self.proxy_tls = proxy_tls
        if self.uri.secure or proxy_tls is not None:
            _check_tls(tls, proxy_tls)
        if resolver is not None and not callable(resolver):
            raise TypeError(f"resolver={resolver!r} cannot be called")
        self.resolver = resolver

    def proxy_for(self, uri: URI) -> Proxy | None:
        """Return the proxy on the way to `uri`, or `None`.

        Raises:
            ValueError: The environment names one that is none.
        """
        if not isinstance(self.proxy, bool):
            return None if uri.unix else self.proxy
        if uri.unix or not self.proxy:
            return None
        from .protocol.environment import environment_proxy

        found = environment_proxy(uri.secure, uri.hostname, uri.port, os.environ)
        return None if found is None else _parse(found)


def _check_auth(auth: Any) -> None:
    from .protocol.auth import check_credentials

    # A `str` of two characters would pass for a pair.
    if isinstance(auth, str) or not all(isinstance(text, str) for text in auth):
        raise TypeError("auth is not a pair of user and password, both str")
    user, password = auth
    check_credentials(user, password)


def _check_tls(*contexts: object) -> None:
    """Check that they are contexts; and say at once if this Python has no `ssl`."""
    from ssl import SSLContext

    for context in contexts:
        if context is not None and not isinstance(context, SSLContext):
            kind = type(context).__name__
            raise TypeError(f"tls or proxy_tls of type {kind}, not ssl.SSLContext")


def _parse(proxy: str) -> Proxy:
    from .protocol.proxies import parse_proxy

    if not isinstance(proxy, str):
        raise TypeError(
            f"proxy of type {type(proxy).__name__}, neither str nor bool: False is none"
        )
    return parse_proxy(proxy)
