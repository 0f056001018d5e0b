"""A reactor in asyncio's loop.

Facts: a loop of asyncio watches descriptors by `add_reader`, level-triggered; in each of its
rounds it calls those that are ready, and behind them the timers that are due. On Windows the
default, `ProactorEventLoop`, watches none and says so by `NotImplementedError`; a
`SelectorEventLoop` there watches sockets.

So a step that comes behind the others is a timer of no delay. What is handled there runs as any
callback of the loop: it may start tasks.
"""

from __future__ import annotations

import asyncio
from selectors import EVENT_READ, EVENT_WRITE

from ..errors import InvalidState
from .guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..loop.reactor import Reactor
    from .streams import Connecting


class AsyncioGuest(Guest):
    """Runs a reactor in a loop of asyncio.

    ```python
    async def answer(client, message):
        await asyncio.sleep(1)
        client.send(message)

    tasks = set()

    def onmessage(client, message):
        task = asyncio.create_task(answer(client, message))
        tasks.add(task)  # asyncio itself keeps none alive
        task.add_done_callback(tasks.discard)

    async def main():
        server = Server(("127.0.0.1", 8000), onmessage=onmessage)
        with AsyncioGuest(server.reactor) as guest:
            async with guest.connect("ws://127.0.0.1:8000/") as connection:
                await connection.send("hello")
                print(await connection.recv())
            server.close()

    asyncio.run(main())
    ```

    Args:
        reactor: The one that is to run.
        budget: See `Guest`.
        interval: See `Guest`.
        loop: The loop; by default the one that is running.

    Attributes:
        loop: See the argument.

    Raises:
        RuntimeError: No loop is running, and none is given.
        ValueError: See `Guest`.
    """

    def __init__(
        self,
        reactor: Reactor,
        *,
        budget: float | None = 0.004,
        interval: float = 0.01,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(reactor, budget=budget, interval=interval)
        self.loop = asyncio.get_running_loop() if loop is None else loop
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> AsyncioGuest:
        """Start it, and return it."""
        self.start()
        return self

    def connect(self, uri: str, *, max_waiting: int = 16, **options: Any) -> Connecting:
        """Connect as a client whose messages are awaited.

        `await` it for the connection, or have it closed in the end with `async with`. To cancel
        that gives up connecting.

        Args:
            uri: As for `Client`.
            max_waiting: How many messages may wait to be received: then nothing is read any
                more until half of them have been.
            **options: Those of `Client` but `hold` and `reconnect`; of handlers `onping`,
                `onpong` and `onsent`.

        Returns:
            What is to be awaited, once, for an `AsyncConnection`: it raises what `Client` would
            tell `onerror`, such as `HandshakeError`, `OSError` or `TimeoutError`; and what
            `Client` itself raises.

        Raises:
            InvalidState: The guest does not run.
            TypeError: An option is none of these.
            ValueError: `max_waiting` is not above zero.
        """
        # Imported late: a server needs none of it.
        from .streams import Connecting

        if not self.running:
            raise InvalidState("connect() by a guest that does not run")
        return Connecting(self.reactor, uri, max_waiting, options)

    def is_orphan(self) -> bool:
        """Return whether the loop is closed, as by `asyncio.run` at its end."""
        return self.loop.is_closed()

    # ---- inside ----

    def _watch(self, fd: int, events: int) -> None:
        loop = self.loop
        if loop.is_closed() and not events:
            return  # there are loops that forget nothing then
        if events & EVENT_READ:
            loop.add_reader(fd, self._ready)
        else:
            loop.remove_reader(fd)
        if events & EVENT_WRITE:
            loop.add_writer(fd, self._ready)
        else:
            loop.remove_writer(fd)

    def _arm(self, delay: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            if self.loop.is_closed():
                self.stop()  # the reactor has outlived its host
            else:
                self._timer = self.loop.call_later(delay, self._timed)
