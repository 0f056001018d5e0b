"""What can go wrong, and whose fault it is.

A fault of the peer never raises at the user: it is handed to `onerror`, and `onclose`
follows. A fault of the caller raises at the call: `TypeError`, `ValueError` or `InvalidState`.
Errors of the operating system are not wrapped: they stay `OSError`.

```text
WebSocketError
├── HandshakeError      the opening handshake failed             .status .headers
├── ProtocolError       the peer broke RFC 6455                  .code
│   ├── InvalidPayload  text that is not UTF-8                   .code 1007
│   └── MessageTooBig   a message over its limit                 .code 1009 .size .limit
├── QueueFull           the peer does not read what you send     .size .limit
└── InvalidState        called at the wrong time: the caller's fault
```
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class WebSocketError(Exception):
    """The base of all errors that this package defines."""


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    Args:
        status: The HTTP status that answers it (RFC 9110 §15), as in 400.
        reason: What was expected and what came; sent to the peer as the response's body.
        headers: Further header fields of the response, as pairs of name and value.
    """

    def __init__(
        self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(f"{reason} (HTTP {status})")
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)


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
    """A text message or a close reason is not UTF-8 (RFC 6455 §8.1)."""

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
