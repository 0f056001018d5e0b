"""picows: its core API, on asyncio or uvloop. It checks no UTF-8 and joins no fragments."""

from __future__ import annotations

import asyncio
import importlib

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from .leash import Task, announce, task


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


transports: set[WSTransport] = set()


class FanOut(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.remove(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            message = frame.get_payload_as_memoryview()
            for each in transports:
                each.send(kind, message)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


async def run(asked: Task) -> None:
    kind = FanOut if asked.fanout else Echo

    def listener(request: WSUpgradeRequest) -> WSListener:
        return kind()

    server = await ws_create_server(listener, "127.0.0.1", 0, ssl=asked.context())
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    asked = task("uvloop")
    if asked.own == "uvloop":
        importlib.import_module("uvloop").run(run(asked))
    else:
        asyncio.run(run(asked))


if __name__ == "__main__":
    main()
