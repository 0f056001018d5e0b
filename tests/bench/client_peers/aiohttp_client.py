"""aiohttp: its client, which does not compress unless it is asked to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Callable

from aiohttp import ClientSession

from .talk import Talk

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def converse(talk: Talk) -> None:
    step = talk.step
    async with ClientSession() as session, session.ws_connect(talk.uri) as connection:
        if not talk.echo:
            async for message in connection:
                if step(message.data) is None:
                    break
            return
        first = talk.first
        send: Callable[[Any], Awaitable[None]] = (
            connection.send_str if isinstance(first, str) else connection.send_bytes
        )
        answer: str | bytes | None = first
        while answer is not None:
            await send(answer)
            answer = step((await connection.receive()).data)


def main() -> None:
    talk = Talk()
    asyncio.run(converse(talk))
    talk.end()


if __name__ == "__main__":
    main()
