"""What the user is told: one method for each event, none of which does anything."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Union

    from .protocol.handshake import Request
    from .protocol.http import Response

    Answer = Union[Response, Mapping[str, str], None]


class Handlers:
    """The handlers of the connections of a server, or of one of its locations.

    Override what is needed, or give functions for it. What a handler raises is logged, goes to
    `onerror`, and ends that connection with 1011; the others live.

    Args:
        **functions: By the names of the methods, instead of overriding them.

    Raises:
        TypeError: A name is none of them.
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if not name.startswith("on") or not hasattr(Handlers, name):
                raise TypeError(f"{type(self).__name__}() has no option {name!r}")
            setattr(self, name, function)

    def onrequest(self, request: Request) -> Answer:
        """A client's request has come, and can be answered; called before `onopen`.

        A request for a WebSocket has been found in order by then: location, origin, key.

        Args:
            request: The request.

        Returns:
            `None` to go on: a request for a WebSocket is accepted, another is answered 404, 405
            or 426. A `Response` to answer with that, and close. A mapping to accept, with these
            fields added to the response.
        """
        return None

    def onopen(self, client: Any) -> None:
        """The handshake with `client` is over; messages may be sent."""

    def onmessage(self, client: Any, message: Any) -> None:
        """A message has come from `client`: `str` for text, `bytes` for binary."""

    def onclose(self, client: Any, code: int, reason: str) -> None:
        """The connection has ended; called once after `onopen`, and nothing after it.

        Args:
            client: The connection.
            code: The peer's close code, or ours if we failed the connection; 1005 for a Close
                without one; 1006 if the connection was lost (RFC 6455 §7.1.5).
            reason: The reason that goes with it.
        """

    def onerror(self, client: Any, error: Exception) -> None:
        """Something went wrong with `client`; `onclose` follows if it was open.

        Args:
            client: The connection.
            error: A `ProtocolError`, the `OSError` that ended the connection, `TimeoutError`
                for a deadline, `QueueFull`, or what a handler has raised.
        """

    def ondrain(self, client: Any) -> None:
        """After `send` returned `False`, the queue has fallen to its low-water mark, 16 KiB."""

    def onping(self, client: Any, payload: bytes) -> None:
        """A ping has come; the pong is sent without being asked for."""

    def onpong(self, client: Any, payload: bytes) -> None:
        """A pong has come, asked for or not."""
