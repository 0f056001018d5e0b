"""websockets: its client for asyncio, compression off."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from .talk import Talk


async def converse(talk: Talk) -> None:
    step = talk.step
    async with connect(talk.uri, compression=None) as connection:
        if talk.echo:
            answer: str | bytes | None = talk.first
            while answer is not None:
                await connection.send(answer)
                answer = step(await connection.recv())
        else:
            async for message in connection:
                if step(message) is None:
                    break


def main() -> None:
    talk = Talk()
    asyncio.run(converse(talk))
    talk.end()


if __name__ == "__main__":
    main()
