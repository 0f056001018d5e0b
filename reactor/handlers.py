"""What the user is told: one method for each event.

`Handlers` are those of a whole server, and none of them does anything; `Told` is what has them:
a connection, whose own methods, unless they are overridden, hand over to the server's.
"""

from __future__ import annotations

from .logs import logger, printable
from .loop.meter import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Union

    from .loop.reactor import Reactor
    from .protocol.answer import Response
    from .protocol.request import Request

    Answer = Union[Response, Mapping[str, str], None]


class Handlers:
    """The handlers of the connections of a server, or of one of its locations.

    Override what is needed, or give functions for it. What a handler raises is logged, goes to
    `onerror`, and ends that connection with 1011; the others live.

    Args:
        **functions: By the names of the methods, instead of overriding them.

    Raises:
        TypeError: A name is none of them, or what is given for it cannot be called.
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        give(self, functions, type(self).__name__)

    def onrequest(self, request: Request) -> Answer:
        """A client's request has come, and can be answered; called before `onopen`.

        A request for a WebSocket has been found in order by then: location, origin, key. One
        for anything else goes to the server's method, whatever its location.

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

    def onfragment(self, client: Any, data: Any, final: bool) -> None:
        """A part of a message has come; if this is overridden, `onmessage` is not called.

        Every message comes so, in the parts in which it arrives: of 65 KiB at most, in TLS 81,
        but for frames that an extension has worked on whole. Nothing is kept, and so
        `max_message` and `max_fragments` do not apply. `client.pause` holds up the rest.

        Args:
            client: The connection.
            data: `str` for text, cut between characters; `bytes` for binary.
            final: Whether it is the last of its message; it may be empty.
        """

    def onsent(self, client: Any, message: Any) -> None:
        """The system has taken all of a message; called in a later step than its `send`.

        Args:
            client: The connection.
            message: What `send` was given.
        """

    def onclose(self, client: Any, code: int, reason: str) -> None:
        """The connection has ended; called once after `onopen`, and nothing after it.

        Args:
            client: The connection.
            code: The peer's close code, or ours if we failed the connection; 1005 for a Close
                without one; 1006 if the connection was lost (RFC 6455 §7.1.5).
            reason: The reason that goes with it.
        """

    def onerror(self, client: Any, error: Exception) -> None:
        """Something went wrong with `client`; `onclose` follows.

        Unless it is overridden, it is logged, as one line of information.

        Args:
            client: The connection.
            error: A `ProtocolError`, the `OSError` that ended the connection, `TimeoutError`
                for a deadline, `QueueFull`, or what a handler has raised.
        """
        logger().info("%r: %s", client, printable(str(error)))

    def ondrain(self, client: Any) -> None:
        """After `send` returned `False`, the queue has fallen to its low-water mark, 16 KiB."""

    def onping(self, client: Any, payload: bytes) -> None:
        """A ping has come; the pong is sent without being asked for."""

    def onpong(self, client: Any, payload: bytes) -> None:
        """A pong has come, asked for or not."""


def give(handlers: Handlers, functions: Mapping[str, Callable[..., Any]], owner: str) -> None:
    """Put functions in the place of methods.

    Args:
        handlers: Whose methods.
        functions: By the names of the methods.
        owner: Whose options they are, for the error.

    Raises:
        TypeError: A name is none of them, or what is given for it cannot be called.
    """
    for name, function in functions.items():
        if not name.startswith("on") or not hasattr(Handlers, name):
            raise TypeError(f"{owner}() has no option {name!r}")
        if not callable(function):
            raise TypeError(f"{name}={function!r} cannot be called")
        setattr(handlers, name, function)


class Told:
    """What is told: a connection, whose handlers can be its own or those of a `Handlers`.

    Args:
        handlers: See the attribute.

    Attributes:
        handlers: Who is told what is not overridden here: the server, or its location's.
    """

    __slots__ = ("_forwards", "_reactor", "handlers")

    # The one that it lives in; a subclass sets it.
    _reactor: Reactor

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        # Whether `onmessage` is sure to be the one below, whose call can be spared: no subclass
        # has another, and this has no place for one of its own.
        self._forwards = type(self).onmessage is Told.onmessage and not hasattr(
            self, "__dict__"
        )

    def onopen(self) -> None:
        """The handshake is over; messages may be sent."""
        self.handlers.onopen(self)

    def onmessage(self, message: Any) -> None:
        """A message has come: `str` for text, `bytes` for binary."""
        self.handlers.onmessage(self, message)

    def onfragment(self, data: Any, final: bool) -> None:
        """A part of a message has come; if this is overridden, `onmessage` is not called."""
        self.handlers.onfragment(self, data, final)

    def onsent(self, message: Any) -> None:
        """The system has taken all of a message."""
        self.handlers.onsent(self, message)

    def onclose(self, code: int, reason: str) -> None:
        """The connection has ended; called once, and nothing after it."""
        self.handlers.onclose(self, code, reason)

    def onerror(self, error: Exception) -> None:
        """Something went wrong; `onclose` follows."""
        self.handlers.onerror(self, error)

    def ondrain(self) -> None:
        """After `send` returned `False`, the queue has fallen to 16 KiB."""
        self.handlers.ondrain(self)

    def onping(self, payload: bytes) -> None:
        """A ping has come; the pong is sent without being asked for."""
        self.handlers.onping(self, payload)

    def onpong(self, payload: bytes) -> None:
        """A pong has come, asked for or not."""
        self.handlers.onpong(self, payload)

    # ---- calling them ----

    def listens_to(self, name: str) -> bool:
        """Return whether a handler was given: here, or to `handlers`."""
        if self._forwards:
            if getattr(type(self), name) is not getattr(Told, name):
                return True
        elif getattr(getattr(self, name), "__func__", None) is not getattr(Told, name):
            return True
        theirs = getattr(self.handlers, name, None)
        return theirs is not None and (
            getattr(theirs, "__func__", None) is not getattr(Handlers, name)
        )

    def _handler_failed(self, error: Exception) -> None:
        """A handler raised, which was logged: what follows is for the subclass to say."""

    def _guard(self, handler: Any, *args: Any) -> None:
        """Call a handler; what it raises is logged, and fails the connection."""
        reactor = self._reactor
        began = reactor.clock()
        try:
            handler(*args)
        except Exception as error:
            self._log(handler, error)
            self._handler_failed(error)
        if reactor.clock() - began > reactor.slow:
            self._time(handler, began)

    def _tell(self, handler: Any, *args: Any) -> None:
        """Call a handler of the end; what it raises is logged, and changes nothing."""
        reactor = self._reactor
        began = reactor.clock()
        try:
            handler(*args)
        except Exception as error:
            self._log(handler, error)
        if reactor.clock() - began > reactor.slow:
            self._time(handler, began)

    def _time(self, handler: Any, began: float) -> None:
        """Have the reactor name a handler in the log, which took long."""
        reactor = self._reactor
        reactor.took(self.name_of(handler), began, reactor.clock())

    def name_of(self, handler: Any) -> str:
        """Return what a handler is called, wherever it was given; for the log."""
        name = getattr(handler, "__name__", "")
        if getattr(handler, "__func__", Told) is getattr(Told, name, None):
            handler = getattr(self.handlers, name)
        return name_of(handler)

    def _log(self, handler: Any, error: Exception) -> None:
        """Log what a handler has raised."""
        name = getattr(handler, "__name__", handler)
        logger().error("%s of %r raised", name, self, exc_info=error)
