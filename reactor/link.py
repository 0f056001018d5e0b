"""The connection inside a client: what happens to it, the client is told."""

from __future__ import annotations

from operator import length_hint

from .connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Link(Connection):
    """The connection of a client, which is who is told."""

    __slots__ = ()

    def onopen(self) -> None:
        """The handshake is over."""
        self.server.link_opened()

    def onmessage(self, message: Any) -> None:
        """A message has come."""
        self.server.onmessage(message)

    def message_received(self, message: Any) -> bool:
        """Deliver a message; called by the session. Hot: what `Connection` does, at once.

        A client reads on while its own queue is full: nobody is waited for.
        """
        self._tally.messages_received += 1
        try:
            self.server.onmessage(message)
        except Exception as error:
            self._log(self.onmessage, error)
            self._handler_failed(error)
        return self._stop or (self._reactor.ends is not None and self._reactor.out_of_time)

    def messages_received(self, messages: Iterator[Any]) -> bool:
        """Deliver messages that have come together; called by the session. Hot."""
        ends = self._reactor.ends
        self._tally.messages_received += length_hint(messages)
        try:
            for message in messages:
                try:
                    self.server.onmessage(message)
                except Exception as error:
                    self._log(self.onmessage, error)
                    self._handler_failed(error)
                if self._stop or (ends is not None and self._reactor.out_of_time):
                    return True
            return False
        finally:
            # What was not delivered comes again.
            self._tally.messages_received -= length_hint(messages) + self._session.recalled

    def onfragment(self, data: Any, final: bool) -> None:
        """A part of a message has come."""
        self.server.onfragment(data, final)

    def onsent(self, message: Any) -> None:
        """The system has taken a message."""
        self.server.onsent(message)

    def onclose(self, code: int, reason: str) -> None:
        """The connection has ended."""
        self.server.link_closed(code, reason)

    def onerror(self, error: Exception) -> None:
        """Something went wrong."""
        self.server.onerror(error)

    def ondrain(self) -> None:
        """The queue is short again: for what is held first."""
        self.server.link_drained()

    def onping(self, payload: bytes) -> None:
        """A ping has come."""
        self.server.onping(payload)

    def onpong(self, payload: bytes) -> None:
        """A pong has come."""
        self.server.onpong(payload)

    def name_of(self, handler: Any) -> str:
        """Return what the client's handler is called; for the log."""
        name: str = self.server.name_of(getattr(self.server, handler.__name__))
        return name

    def listens_to(self, name: str) -> bool:
        """Return whether the client does."""
        listens: bool = self.server.listens_to(name)
        return listens

    def __repr__(self) -> str:
        """Return the client's."""
        return repr(self.server)
