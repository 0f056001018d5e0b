"""aiohttp: its web server, without an access log."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from .leash import Task, announce, task

connections: set[web.WebSocketResponse] = set()


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    async for message in connection:
        if message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await connection.send_bytes(message.data)
    return connection


async def fan_out(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    connections.add(connection)
    try:
        async for message in connection:
            for each in list(connections):
                if message.type is WSMsgType.TEXT:
                    await each.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await each.send_bytes(message.data)
    finally:
        connections.remove(connection)
    return connection


async def run(asked: Task) -> None:
    application = web.Application()
    application.router.add_get("/", fan_out if asked.fanout else echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=asked.context())
    await site.start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(task()))
