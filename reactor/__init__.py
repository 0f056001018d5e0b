"""WebSockets (RFC 6455) on a single-threaded reactor, from the standard library alone."""

from __future__ import annotations

from .connection import Connection
from .errors import (
    HandshakeError,
    InvalidPayload,
    InvalidState,
    MessageTooBig,
    ProtocolError,
    ProxyError,
    QueueFull,
    WebSocketError,
)
from .handlers import Handlers
from .loop.listener import inherited_sockets
from .loop.reactor import EVENT_READ, EVENT_WRITE, Reactor
from .protocol.frames import CloseCode, Frame, Opcode
from .protocol.handshake import Request
from .protocol.http import Headers, Response
from .protocol.session import State
from .server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .auth import BasicAuth, DigestAuth
    from .backoff import Backoff
    from .client import Client
    from .protocol.forwarded import TrustedProxies

__version__ = "0.1.0"

__all__ = [
    "EVENT_READ",
    "EVENT_WRITE",
    "Backoff",
    "BasicAuth",
    "Client",
    "CloseCode",
    "Connection",
    "DigestAuth",
    "Frame",
    "Handlers",
    "HandshakeError",
    "Headers",
    "InvalidPayload",
    "InvalidState",
    "MessageTooBig",
    "Opcode",
    "ProtocolError",
    "ProxyError",
    "QueueFull",
    "Reactor",
    "Request",
    "Response",
    "Server",
    "State",
    "TrustedProxies",
    "WebSocketError",
    "inherited_sockets",
]


def __getattr__(name: str) -> Any:
    """Import what many programs do without, when it is first asked for (PEP 562).

    A server needs no client, nor the other way around: together they take a third more time
    and memory to import than either.
    """
    if name == "Client":
        from .client import Client

        return Client
    if name == "Backoff":
        from .backoff import Backoff

        return Backoff
    if name in ("BasicAuth", "DigestAuth"):
        from . import auth

        return getattr(auth, name)
    if name == "TrustedProxies":
        from .protocol.forwarded import TrustedProxies

        return TrustedProxies
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
