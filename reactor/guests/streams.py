"""A client for those who have asyncio anyway: `await` instead of handlers.

Facts: a task that awaits is not told, it asks; it can be cancelled at each `await`. What comes
while nobody asks has to wait somewhere, and who sends faster than the peer reads must be held
up, or memory has no end.

So it is thin: a `Client` underneath, which the guest runs; a queue of messages, and when it is
full the client is paused, so that TCP holds up the peer; `send` waits for room *before* it
sends: one that is cancelled has sent nothing.
"""

from __future__ import annotations

import asyncio

from ..client import Client
from ..errors import ConnectionClosed, InvalidState
from ..protocol.session import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from ..loop.reactor import Reactor
    from ..sending import Sendable

# Taken from `Client`; the others of its handlers, and another connection, are not for here.
_HANDLERS = ("onping", "onpong", "onsent")
_OTHERS = ("hold", "reconnect", "reactor")
# More than ever waits: `send` lets no message in before there is room.
_NO_LIMIT = 2**63
# Normal closure, going away, and a Close without a code: what ends an `async for` silently.
_NORMAL = (1000, 1001, 1005)


class AsyncConnection:
    """A WebSocket to a server, in asyncio; made by `AsyncioGuest.connect`.

    It is to be iterated over for its messages, and a context manager, which closes it; after
    an exception it is dropped. It is the guest that runs it: after that has been stopped,
    nothing comes any more, not even the end.

    Attributes:
        client: The `Client` underneath, for all that is not here; `close_code` is its too.
    """

    def __init__(self, reactor: Reactor, uri: str, limit: int, options: Any) -> None:
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        # `None` in the end: there will be no more.
        self._messages: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._limit = limit
        self._room = asyncio.Event()
        self._room.set()
        self._closed = asyncio.Event()
        self._paused = self._left = False
        self._error: Exception | None = None
        self.client = _StreamClient(self, uri, reactor, options)

    # ---- what the user calls ----

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on, or `None`."""
        return self.client.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code of the end, or `None` as long as there was none."""
        return self.client.close_code

    @property
    def close_reason(self) -> str:
        """The reason of the end."""
        return self.client.close_reason

    async def send(self, message: Sendable, compress: bool | None = None) -> None:
        """Wait until there is room, and send a message; if it is cancelled, nothing was sent.

        Args:
            message: As for `Connection.send`.
            compress: As for `Connection.send`.

        Raises:
            ConnectionClosed: The connection has ended, or is about to.
            TypeError: The message is nothing that can be sent.
        """
        while not self._room.is_set():
            await self._room.wait()
        if self.client.ready_state is not State.OPEN:
            await self._closed.wait()  # as it does soon, and then it is known why
            raise self._end()
        if not self.client.send(message, compress):
            self._room.clear()  # until `drained`, or `ended`

    async def recv(self) -> Any:
        """Wait for the next message.

        Returns:
            `str` for text, `bytes` for binary.

        Raises:
            ConnectionClosed: There will be none, since the connection has ended.
        """
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)  # for whoever asks next
            raise self._end()
        if self._paused and self._messages.qsize() <= self._limit // 2:
            self._paused = False
            self.client.resume()
        return message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, and wait until that is done; the first call counts.

        It takes no longer than `close_timeout`. Messages that have come before can still be
        received.

        Args:
            code: As for `Connection.close`.
            reason: As for `Connection.close`.

        Raises:
            TypeError: The code is not an `int` or the reason not a `str`.
            ValueError: The code must not be sent, or the reason is too long.
        """
        self.client.close(code, reason)
        self._left = True
        await self._closed.wait()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection, whoever ends it.

        For that somebody has to receive what comes before it.
        """
        await self._closed.wait()

    def __aiter__(self) -> AsyncConnection:
        """Iterate over the messages that come."""
        return self

    async def __anext__(self) -> Any:
        """Wait for the next message.

        Raises:
            StopAsyncIteration: The connection has ended as it should: by 1000, 1001 or without
                a code, or since `close` was called.
            ConnectionClosed: It has ended otherwise.
        """
        try:
            return await self.recv()
        except ConnectionClosed as end:
            if self._left or end.code in _NORMAL:
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> AsyncConnection:
        """Return it."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close it, and wait for its end; after an exception drop it."""
        if kind is None:
            await self.close()
        else:
            self.client.abort()
            await self._closed.wait()

    # ---- from the client ----

    async def open(self) -> AsyncConnection:
        """Wait until it is open; awaited once.

        Returns:
            It.
        """
        try:
            await self._opened
        except BaseException:
            self.client.abort()  # nothing, but if this was cancelled
            raise
        return self

    def opened(self) -> None:
        """The handshake is over."""
        if not self._opened.done():  # or cancelled just now
            self._opened.set_result(None)

    def received(self, message: str | bytes) -> None:
        """A message has come."""
        self._messages.put_nowait(message)
        if not self._paused and self._messages.qsize() >= self._limit:
            self._paused = True
            self.client.pause()

    def drained(self) -> None:
        """There is room again."""
        self._room.set()

    def failed(self, error: Exception) -> None:
        """Something went wrong; `ended` follows."""
        self._error = error

    def ended(self) -> None:
        """The connection, or the attempt, has ended."""
        self._closed.set()
        self._room.set()
        self._messages.put_nowait(None)
        if not self._opened.done():
            self._opened.set_exception(self._error or self._end())

    def _end(self) -> ConnectionClosed:
        closed = ConnectionClosed(self.client.close_code or 1006, self.client.close_reason)
        closed.__cause__ = self._error
        return closed

    def __repr__(self) -> str:
        """Return what the client says of itself."""
        return f"<{type(self).__name__} of {self.client!r}>"


class Connecting:
    """A connection to be: `await` it, or enter it with `async with`.

    Args:
        reactor: The one that the guest runs.
        uri: See `AsyncioGuest.connect`.
        limit: Its `max_waiting`.
        options: The others.
    """

    def __init__(self, reactor: Reactor, uri: str, limit: int, options: dict[str, Any]) -> None:
        if limit < 1:
            raise ValueError(f"max_waiting={limit!r}, not above zero")
        for name in options:
            if name in _OTHERS or (name.startswith("on") and name not in _HANDLERS):
                raise TypeError(f"connect() has no option {name!r}")
        options.setdefault("max_write_queue", _NO_LIMIT)
        self._what = reactor, uri, limit, options
        self._connection: AsyncConnection | None = None

    async def _open(self) -> AsyncConnection:
        if self._connection is not None:
            raise InvalidState("connect() is awaited once; call it again for another")
        self._connection = AsyncConnection(*self._what)
        return await self._connection.open()

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        """Wait until it is open, and return it."""
        return self._open().__await__()

    async def __aenter__(self) -> AsyncConnection:
        """Wait until it is open, and return it."""
        return await self._open()

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close it, and wait for its end; after an exception drop it."""
        assert self._connection is not None
        await self._connection.__aexit__(kind, *error)


class _StreamClient(Client):
    """The client underneath, which tells the connection."""

    def __init__(
        self, connection: AsyncConnection, uri: str, reactor: Reactor, options: Any
    ) -> None:
        super().__init__(uri, reactor=reactor, **options)
        self._connection = connection

    def onopen(self) -> None:
        """The handshake is over."""
        self._connection.opened()

    def onmessage(self, message: str | bytes) -> None:
        """A message has come."""
        self._connection.received(message)

    def ondrain(self) -> None:
        """There is room again."""
        self._connection.drained()

    def onerror(self, error: Exception) -> None:
        """Something went wrong."""
        self._connection.failed(error)

    def onclose(self, code: int, reason: str) -> None:
        """The connection, or the attempt, has ended."""
        self._connection.ended()
