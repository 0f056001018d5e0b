"""tornado: a ``WebSocketHandler`` on its asyncio loop."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from .leash import Task, announce, task

connections: set[FanOut] = set()


class Echo(WebSocketHandler):
    def initialize(self, deflate: bool) -> None:
        self.deflate = deflate

    def get_compression_options(self) -> dict[str, Any] | None:
        return {"compression_level": 6, "mem_level": 5} if self.deflate else None

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, isinstance(message, bytes))


class FanOut(Echo):
    def open(self) -> None:
        connections.add(self)

    def on_close(self) -> None:
        connections.remove(self)

    def on_message(self, message: str | bytes) -> None:
        binary = isinstance(message, bytes)
        for each in connections:
            each.write_message(message, binary)


async def run(asked: Task) -> None:
    kind = FanOut if asked.fanout else Echo
    application = Application(
        [("/", kind, {"deflate": asked.deflate})], log_function=lambda handler: None
    )
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(application, ssl_options=asked.context())
    server.add_sockets(sockets)
    announce(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(task()))
