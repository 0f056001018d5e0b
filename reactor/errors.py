"""What can go wrong, and whose fault it is.

A fault of the peer never raises at the user: it is handed to `onerror`, and `onclose`
follows. A fault of the caller raises at the call: `TypeError`, `ValueError` or `InvalidState`.
Errors of the operating system are not wrapped: they stay `OSError`.

```text
WebSocketError
├── HandshakeError      the opening handshake failed             .status .headers .body
│   └── ProxyError      the proxy before the server would not    .status .headers .body
├── ProtocolError       the peer broke RFC 6455                  .code
│   ├── InvalidPayload  text or compressed data that is none     .code 1007
│   └── MessageTooBig   a message over its limit                 .code 1009 .size .limit
├── ConnectionClosed    there will be no more messages           .code .reason
├── QueueFull           the peer does not read what you send     .size .limit
└── InvalidState        called at the wrong time: the caller's fault
```
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_MAX_BODY = 64 * 1024


class WebSocketError(Exception):
    """The base of all errors that this package defines."""


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    Args:
        status: The HTTP status that answers it, or that answered it (RFC 9110 §15), as in 400;
            0 if there was no answer to take one from.
        reason: What was expected and what came; a server sends it as the response's body.
        headers: The fields of the response. On the client's side the `Headers` that came; on
            the server's further ones for it, as pairs of name and value.
        body: What the server said, on the client's side; at most 64 KiB of it are kept.
    """

    def __init__(self, status: int, reason: str, headers: Any = (), body: bytes = b"") -> None:
        told = not status or str(status) in reason
        super().__init__(reason if told else f"{reason} (HTTP {status})")
        self.status = status
        self.reason = reason
        self.headers: Any = tuple(headers) if isinstance(headers, list) else headers
        self.body = body[:_MAX_BODY]


class ProxyError(HandshakeError):
    """The proxy does not open a way to the server, or does not speak as a proxy.

    Its `status` is that of the proxy's answer. One of SOCKS5 has none: then it is the nearest,
    such as 407 for a password that is refused, 403 for what the proxy's rules forbid and 502
    for a server that it cannot reach. It is 0 for an answer that is not one.
    """

    def __str__(self) -> str:
        """Return the reason, which says of itself what the proxy answered."""
        return self.reason


class ProtocolError(WebSocketError):
    """The peer broke RFC 6455; the connection fails with `code` (§7.1.7).

    Args:
        code: The close code that tells the peer (RFC 6455 §7.4.1), as in 1002.
        reason: What was expected and what came; at most 123 bytes of it go to the peer.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class InvalidPayload(ProtocolError):
    """Text is not UTF-8 (RFC 6455 §8.1), or compressed data not DEFLATE (RFC 7692)."""

    def __init__(self, reason: str) -> None:
        super().__init__(1007, reason)


class MessageTooBig(ProtocolError):
    """A message is larger than the limit (RFC 6455 §10.4).

    Args:
        size: Bytes of the message, as far as its frames have declared them.
        limit: The most that `max_message` allows, in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(1009, f"message of {size} bytes or more, at most {limit} allowed")
        self.size = size
        self.limit = limit


class ConnectionClosed(WebSocketError):
    """The connection has ended, and whoever waits for a message waits in vain.

    Args:
        code: Why, as `onclose` is told it (RFC 6455 §7.1.5).
        reason: The reason that goes with it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason or 'connection closed'} ({code})")
        self.code = code
        self.reason = reason


class QueueFull(WebSocketError):
    """The write queue is at its limit: the peer reads more slowly than you send.

    Args:
        size: Bytes that the queue would hold with this message.
        limit: The most that `max_write_queue` allows, in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"write queue of {size} bytes, at most {limit} allowed")
        self.size = size
        self.limit = limit


class InvalidState(WebSocketError, RuntimeError):
    """The call does not fit the state of the object: a fault of the caller."""
