"""WebSockets (RFC 6455) on a single-threaded reactor, from the standard library alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .auth import BasicAuth, DigestAuth
    from .backoff import Backoff
    from .client import Client
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
    from .loop.background import ReactorThread
    from .loop.listener import inherited_sockets
    from .loop.meter import ReactorStats, StepReport
    from .loop.reactor import EVENT_READ, EVENT_WRITE, Reactor
    from .protocol.answer import Response
    from .protocol.codes import CloseCode, Opcode
    from .protocol.deflate import DeflateFrame, PerMessageDeflate
    from .protocol.extensions import Codec, Extension
    from .protocol.forwarded import TrustedProxies
    from .protocol.frames import RSV1, RSV2, RSV3, Frame
    from .protocol.http import Headers
    from .protocol.messages import BinaryMessage, Message, TextMessage
    from .protocol.request import Request
    from .protocol.session import State
    from .server import Server
    from .stats import TrafficStats
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
    """Import a name when it is first asked for (PEP 562), and keep it.

    A server needs no client, nor the other way around, and neither needs most of the rest:
    each program pays for what it uses.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_home_of(name), name)
    globals()[name] = found
    return found


def _home_of(name: str) -> Any:
    """Import the module of a public name; in words that tools which look for imports see."""
    module: Any
    if name == "Server":
        from . import server as module
    elif name == "Client":
        from . import client as module
    elif name == "Connection":
        from . import connection as module
    elif name == "WebSocket":
        from . import websocket as module
    elif name == "Handlers":
        from . import handlers as module
    elif name == "Backoff":
        from . import backoff as module
    elif name in ("BasicAuth", "DigestAuth"):
        from . import auth as module
    elif name == "TrafficStats":
        from . import stats as module
    elif name in ("EVENT_READ", "EVENT_WRITE", "Reactor"):
        from .loop import reactor as module
    elif name in ("ReactorStats", "StepReport"):
        from .loop import meter as module
    elif name == "ReactorThread":
        from .loop import background as module
    elif name == "inherited_sockets":
        from .loop import listener as module
    else:
        return _home_in_protocol(name)
    return module


def _home_in_protocol(name: str) -> Any:
    module: Any
    if name in ("CloseCode", "Opcode"):
        from .protocol import codes as module
    elif name in ("Frame", "RSV1", "RSV2", "RSV3"):
        from .protocol import frames as module
    elif name == "State":
        from .protocol import session as module
    elif name == "Request":
        from .protocol import request as module
    elif name == "Response":
        from .protocol import answer as module
    elif name == "Headers":
        from .protocol import http as module
    elif name in ("BinaryMessage", "Message", "TextMessage"):
        from .protocol import messages as module
    elif name in ("Codec", "Extension"):
        from .protocol import extensions as module
    elif name in ("DeflateFrame", "PerMessageDeflate"):
        from .protocol import deflate as module
    elif name == "TrustedProxies":
        from .protocol import forwarded as module
    else:
        from . import errors as module
    return module


def __dir__() -> list[str]:
    """Return the names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
