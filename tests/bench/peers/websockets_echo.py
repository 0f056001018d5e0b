"""websockets: its asyncio server, compression off."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection, serve

from .leash import announce


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
