"""WebSockets (RFC 6455) on a single-threaded reactor, from the standard library alone."""

from __future__ import annotations

from .connection import Connection
from .errors import (
    HandshakeError,
    InvalidPayload,
    InvalidState,
    MessageTooBig,
    ProtocolError,
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

__version__ = "0.1.0"

__all__ = [
    "EVENT_READ",
    "EVENT_WRITE",
    "CloseCode",
    "Connection",
    "Frame",
    "Handlers",
    "HandshakeError",
    "Headers",
    "InvalidPayload",
    "InvalidState",
    "MessageTooBig",
    "Opcode",
    "ProtocolError",
    "QueueFull",
    "Reactor",
    "Request",
    "Response",
    "Server",
    "State",
    "WebSocketError",
    "inherited_sockets",
]
