"""websockets: its asyncio server; ``pure`` as it is where its C part could not be built.

Its own settings of compression are those of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from .leash import Task, announce, task

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

connections: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    from websockets.exceptions import ConnectionClosed

    # Whoever measures leaves without a Close, and nobody is to be told of it.
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def fan_out(connection: ServerConnection) -> None:
    from websockets.asyncio.server import broadcast
    from websockets.exceptions import ConnectionClosed

    connections.add(connection)
    try:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                broadcast(connections, message)
    finally:
        connections.remove(connection)


async def run(asked: Task) -> None:
    from websockets.asyncio.server import serve

    async with serve(
        fan_out if asked.fanout else echo,
        "127.0.0.1",
        0,
        compression="deflate" if asked.deflate else None,
        ssl=asked.context(),
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


def main() -> None:
    asked = task("pure")
    if asked.own == "pure":
        # An import makes an ImportError of it.
        sys.modules["websockets.speedups"] = None  # type: ignore[assignment]
    asyncio.run(run(asked))


if __name__ == "__main__":
    main()
