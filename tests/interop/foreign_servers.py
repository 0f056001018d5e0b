"""Other people's servers, each an echo: foreign_servers.py KIND [OPTIONS].

The options are those of `Options`, in JSON. Each says on its standard output, in JSON, where it
listens, and how each connection ended. The message `ping` makes it ping, and answer `pong` once
the pong is there; `close` makes it close.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

from tests.interop.deflating import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.deflating import Way

SUBPROTOCOL = "chat"
PAYLOAD = b"are you there?"
CODE, REASON = 4321, "słowo"
# Above the largest message of the tests.
LIMIT = 2 << 20


class Options:
    """What a server is told.

    Args:
        tls: The paths of certificate and key.
        deflate: The parameters of permessage-deflate, for those who can be told; without them,
            whatever is the default.
        ways: How the messages of a connection are sent, in turn, as far as it can be told; see
            deflating.py.
    """

    def __init__(
        self,
        tls: Sequence[str] = (),
        deflate: dict[str, Any] | None = None,
        ways: Sequence[Way] = ((None, 0),),
    ) -> None:
        self.tls: ssl.SSLContext | None = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.deflate = deflate
        self.ways = ways


def tell(value: object) -> None:
    print(json.dumps(value), flush=True)


def serve_websockets(options: Options) -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    compression: dict[str, Any] = {}
    if options.deflate is not None:
        factory = ServerPerMessageDeflateFactory(**options.deflate)
        compression = {"compression": None, "extensions": [factory]}

    async def handle(connection: ServerConnection) -> None:
        ways = itertools.cycle(options.ways)
        try:
            async for message in connection:
                if message == "ping":
                    await (await connection.ping(PAYLOAD))
                    await connection.send("pong")
                elif message == "close":
                    await connection.close(CODE, REASON)
                else:
                    _, count = next(ways)
                    await connection.send(cut(message, count) if count else message)
        except ConnectionClosed:
            pass  # with another code than 1000: no error here
        close = connection.protocol.close_rcvd
        tell([close.code, close.reason] if close else None)

    # With a list instead of a function, it refuses clients that offer none of it.
    def select(connection: ServerConnection, offered: Sequence[str]) -> Any:
        return SUBPROTOCOL if SUBPROTOCOL in offered else None

    async def main() -> None:
        async with serve(
            handle,
            "127.0.0.1",
            0,
            ssl=options.tls,
            max_size=LIMIT,
            select_subprotocol=select,
            **compression,
        ) as server:
            tell(next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    asyncio.run(main())


def serve_aiohttp(options: Options) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.WebSocketResponse:
        # By itself it keeps pongs to itself, and answers each Close with 1000.
        connection = web.WebSocketResponse(
            protocols=[SUBPROTOCOL], max_msg_size=LIMIT, autoping=False, autoclose=False
        )
        await connection.prepare(request)
        while True:
            message = await connection.receive()
            if message.type == WSMsgType.PING:
                await connection.pong(message.data)
            elif message.type == WSMsgType.PONG:
                assert message.data == PAYLOAD
                await connection.send_str("pong")
            elif message.type == WSMsgType.BINARY:
                await connection.send_bytes(message.data)
            elif message.type != WSMsgType.TEXT:
                break
            elif message.data == "ping":
                await connection.ping(PAYLOAD)
            elif message.data == "close":
                await connection.close(code=CODE, message=REASON.encode())
            else:
                await connection.send_str(message.data)
        tell([message.data, message.extra])
        if message.type == WSMsgType.CLOSE:
            await connection.close(code=message.data)
        return connection

    async def main() -> None:
        application = web.Application()
        application.router.add_get("/", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=options.tls).start()
        tell(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_tornado(options: Options) -> None:
    from tornado import httpserver, netutil, web, websocket

    class Handler(websocket.WebSocketHandler):
        def get_compression_options(self) -> dict[str, Any] | None:
            return options.deflate

        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

        async def on_message(self, message: str | bytes) -> None:
            if message == "ping":
                self.ping(PAYLOAD)
            elif message == "close":
                self.close(CODE, REASON)
            else:
                await self.write_message(message, binary=isinstance(message, bytes))

        def on_pong(self, data: bytes) -> None:
            assert data == PAYLOAD
            self.write_message("pong")

        def on_close(self) -> None:
            tell([self.close_code, self.close_reason or ""])

    async def main() -> None:
        application = web.Application([("/", Handler)], websocket_max_message_size=LIMIT)
        server = httpserver.HTTPServer(application, ssl_options=options.tls)
        sockets = netutil.bind_sockets(0, "127.0.0.1", socket.AF_INET)
        server.add_sockets(sockets)
        tell(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_picows(options: Options) -> None:
    import picows

    types = picows.WSMsgType

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            payload = frame.get_payload_as_bytes()
            if frame.msg_type == types.PING:
                transport.send_pong(payload)
            elif frame.msg_type == types.PONG:
                assert payload == PAYLOAD
                transport.send(types.TEXT, b"pong")
            elif frame.msg_type == types.CLOSE:
                code, reason = int(frame.get_close_code()), frame.get_close_message() or b""
                tell([code, reason.decode()])
                transport.send_close(code, reason)
                transport.disconnect()
            elif payload == b"ping":
                transport.send_ping(PAYLOAD)
            elif payload == b"close":
                transport.send_close(CODE, REASON.encode())
            else:
                transport.send(frame.msg_type, payload)

    def accept(request: Any) -> Any:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        fields = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if SUBPROTOCOL in offered else {}
        response = picows.WSUpgradeResponse.create_101_response(fields)
        return picows.WSUpgradeResponseWithListener(response, Listener())

    async def main() -> None:
        server = await picows.ws_create_server(
            accept, "127.0.0.1", 0, ssl=options.tls, enable_auto_pong=False
        )
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


KINDS = {
    "websockets": serve_websockets,
    "aiohttp": serve_aiohttp,
    "tornado": serve_tornado,
    "picows": serve_picows,
}


def main() -> None:
    kind, *options = sys.argv[1:]
    KINDS[kind](Options(**json.loads(options[0]) if options else {}))


if __name__ == "__main__":
    main()
