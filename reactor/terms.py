"""What the handshakes of a `WebSocket` ask for and accept: its options, checked once."""

from __future__ import annotations

import os

from .protocol.extensions import check_extensions
from .protocol.handshake import ServerPolicy
from .protocol.uri import URI
from .settings import Settings
from .wish import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ssl import SSLContext
    from typing import Any

    from .handlers import Answer
    from .protocol.extensions import Extension
    from .protocol.handshake import Origins, Request
    from .protocol.http import Fields


class Terms:
    """The options of a `WebSocket`, for either side; those that it accepts share them.

    Args:
        location: Path and query that a client asks for.
        origin: The value of a client's `Origin` field, or `None` for no such field.
        subprotocols: Those that are offered or spoken, the dearest first.
        extensions: Those that are offered or spoken, the dearest first.
        headers: Further fields of a client's request.
        auth: User and password of a client, for a server that asks for them.
        origins: Which pages may connect to a server.
        locations: The paths that a server has, or `None` for any.
        onrequest: Asked by a server before it accepts, unless it is `None`.
        settings: Limits and deadlines.

    Attributes:
        tls: The context to speak TLS with, or `None`.
        hostname: The server's name, for a client, if it is not where that connects to.

    Raises:
        TypeError: Something is of another type.
        ValueError: Something is not well-formed.
    """

    __slots__ = (
        "_asked",
        "_location",
        "extensions",
        "hostname",
        "onrequest",
        "policy",
        "settings",
        "tls",
    )

    def __init__(
        self,
        *,
        location: str,
        origin: str | None,
        subprotocols: Sequence[str],
        extensions: Iterable[Extension],
        headers: Fields,
        auth: tuple[str, str] | None,
        origins: Origins,
        locations: Iterable[str] | None,
        onrequest: Callable[[Request], Answer] | None,
        settings: dict[str, Any],
    ) -> None:
        if not location.startswith("/"):
            raise ValueError(f"location {location!r} does not begin with a slash")
        if onrequest is not None and not callable(onrequest):
            raise TypeError(f"onrequest={onrequest!r} cannot be called")
        self.settings = Settings(**settings)
        self.policy = ServerPolicy(subprotocols, origins, locations)
        self.onrequest = onrequest
        self.extensions = check_extensions(extensions)
        self.tls: SSLContext | None = None
        self.hostname: str | None = None
        self._location = location
        self._asked: dict[str, Any] = {
            "subprotocols": tuple(subprotocols),
            "origin": origin,
            "headers": headers,
            "auth": auth,
        }
        self.wish("")  # raises now what is wrong with it

    def enable_tls(self, context: SSLContext, hostname: str | None) -> None:
        """Speak TLS.

        Raises:
            TypeError: The context is none.
        """
        from ssl import SSLContext

        if not isinstance(context, SSLContext):
            raise TypeError(f"tls={context!r}, not an ssl.SSLContext")
        self.tls, self.hostname = context, hostname

    def check_server_side(self) -> None:
        """Check that a server can speak TLS so, if it is to: any other fails all handshakes.

        Raises:
            ValueError: It cannot.
        """
        if self.tls is not None:
            from ssl import PROTOCOL_TLS_CLIENT

            if self.tls.protocol == PROTOCOL_TLS_CLIENT:
                raise ValueError("tls is a context for clients, not one of PROTOCOL_TLS_SERVER")

    def wish(self, address: Any) -> Wish:
        """Return what a client asks for.

        Args:
            address: Where it is connected to: host and port, the path of a unix socket, or `""`
                for one that has none.

        Raises:
            ValueError: It is nowhere that a WebSocket can be.
        """
        return Wish(
            self._uri(address),
            extensions=self.extensions,
            tls=self.tls,
            proxy=False,
            proxy_tls=None,
            resolver=None,
            **self._asked,
        )

    def _uri(self, address: Any) -> str:
        scheme = "ws" if self.tls is None else "wss"
        if not isinstance(address, (str, bytes)):
            # The second is what `connect` takes for this machine; a zone is this machine's own.
            host = self.hostname or address[0].partition("%")[0] or "localhost"
            brackets = f"[{host}]" if ":" in host else host
            return f"{scheme}://{brackets}:{address[1]}{self._location}"
        if address and self.tls is None and self.hostname is None:
            return str(URI("ws+unix", "localhost", 80, self._location, os.fsdecode(address)))
        return f"{scheme}://{self.hostname or 'localhost'}{self._location}"
