"""What an opening handshake has led to: all that a connection is made of."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, Union

    from .handlers import Handlers
    from .loop.reactor import Reactor
    from .loop.tls import Tls
    from .loop.transport import Transport
    from .protocol.extensions import Codec
    from .protocol.handshake import Request
    from .settings import Settings

    Stream = Union[Transport, Tls]

    class Host(Protocol):
        """Whose the connection will be: a server's, a client's, or nobody else's."""

        reactor: Reactor
        settings: Settings

        def connection_ended(self, connection: Any) -> None:
            """Forget this connection: it is closed."""


class Opened:
    """A WebSocket, after its handshake and before there is a `Connection`.

    Args:
        host: Whose it is.
        transport: The way to the peer.
        request: The opening request.
        handlers: Who is told what happens.
        subprotocol: What was agreed on, or `None`.
        codecs: The extensions that were agreed on, in their order.
        is_client: Whether this side is the client.
    """

    __slots__ = (
        "codecs",
        "handlers",
        "host",
        "is_client",
        "request",
        "subprotocol",
        "transport",
    )

    def __init__(
        self,
        host: Host,
        transport: Stream,
        request: Request,
        handlers: Handlers,
        subprotocol: str | None,
        codecs: tuple[Codec, ...] = (),
        *,
        is_client: bool = False,
    ) -> None:
        self.host = host
        self.transport = transport
        self.request = request
        self.handlers = handlers
        self.subprotocol = subprotocol
        self.codecs = codecs
        self.is_client = is_client
