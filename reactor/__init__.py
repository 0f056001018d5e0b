"""WebSockets (RFC 6455) on a single-threaded reactor, from the standard library alone."""

from __future__ import annotations

from .connection import Connection
from .errors import (
    ConnectionClosed,
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
from .loop.meter import ReactorStats, StepReport
from .loop.reactor import EVENT_READ, EVENT_WRITE, Reactor
from .protocol.frames import RSV1, RSV2, RSV3, CloseCode, Frame, Opcode
from .protocol.handshake import Request
from .protocol.http import Headers, Response
from .protocol.session import State
from .server import Server
from .stats import TrafficStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .auth import BasicAuth, DigestAuth
    from .backoff import Backoff
    from .client import Client
    from .loop.background import ReactorThread
    from .protocol.deflate import DeflateFrame, PerMessageDeflate
    from .protocol.extensions import Codec, Extension
    from .protocol.forwarded import TrustedProxies
    from .protocol.messages import BinaryMessage, Message, TextMessage
    from .websocket import WebSocket

__version__ = "0.1.0"

__all__ = [
    "EVENT_READ",
    "EVENT_WRITE",
    "RSV1",
    "RSV2",
    "RSV3",
    "Backoff",
    "BasicAuth",
    "BinaryMessage",
    "Client",
    "CloseCode",
    "Codec",
    "Connection",
    "ConnectionClosed",
    "DeflateFrame",
    "DigestAuth",
    "Extension",
    "Frame",
    "Handlers",
    "HandshakeError",
    "Headers",
    "InvalidPayload",
    "InvalidState",
    "Message",
    "MessageTooBig",
    "Opcode",
    "PerMessageDeflate",
    "ProtocolError",
    "ProxyError",
    "QueueFull",
    "Reactor",
    "ReactorStats",
    "ReactorThread",
    "Request",
    "Response",
    "Server",
    "State",
    "StepReport",
    "TextMessage",
    "TrafficStats",
    "TrustedProxies",
    "WebSocket",
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
    if name == "ReactorThread":
        from .loop.background import ReactorThread

        return ReactorThread
    if name == "WebSocket":
        from .websocket import WebSocket

        return WebSocket
    if name in ("BasicAuth", "DigestAuth"):
        from . import auth

        return getattr(auth, name)
    if name == "TrustedProxies":
        from .protocol.forwarded import TrustedProxies

        return TrustedProxies
    if name in ("BinaryMessage", "Message", "TextMessage"):
        from .protocol import messages

        return getattr(messages, name)
    if name in ("Codec", "Extension"):
        from .protocol import extensions

        return getattr(extensions, name)
    if name in ("DeflateFrame", "PerMessageDeflate"):
        from .protocol import deflate

        return getattr(deflate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
