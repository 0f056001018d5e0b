"""Other people's clients behind one interface. Each blocks, and none waits for ever."""

from __future__ import annotations

import abc
import asyncio
import base64
import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any, ClassVar, Union

from tests import programs

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

Message = Union[str, bytes]

# Seconds, for anything a server on the same machine has to do.
PATIENCE = 15
NODE_WS = "8.23.0"


class Peer(abc.ABC):
    """A client that is connected to `url` once it is made."""

    can_fragment: ClassVar[bool] = True

    @abc.abstractmethod
    def __init__(self, url: str) -> None: ...

    @abc.abstractmethod
    def send(self, message: Message) -> None: ...

    @abc.abstractmethod
    def receive(self) -> Message: ...

    def send_fragments(self, parts: Sequence[Message]) -> None:
        raise NotImplementedError

    @abc.abstractmethod
    def ping(self, payload: bytes) -> bytes:
        """Send a ping; return what came back in the pong."""

    @abc.abstractmethod
    def close(self, code: int, reason: str) -> int:
        """Close; return the code that the server answered with.

        It is the server that ends the TCP connection, and first (RFC 6455 section 7.1.1): those
        whose library leaves that to its user wait for it.
        """

    @abc.abstractmethod
    def release(self) -> None:
        """Give back whatever is left; it may have been closed or not."""


class Websockets(Peer):
    """What `connect` of websockets makes, with its options."""

    def __init__(self, url: str, **options: Any) -> None:
        client = programs.module("websockets.sync.client")
        self.stack = contextlib.ExitStack()
        connecting = client.connect(url, proxy=None, close_timeout=PATIENCE, **options)
        self.connection = self.stack.enter_context(connecting)

    def send(self, message: Message) -> None:
        self.connection.send(message)

    def receive(self) -> Message:
        message: Message = self.connection.recv(PATIENCE)
        return message

    def send_fragments(self, parts: Sequence[Message]) -> None:
        self.connection.send(iter(parts))

    def ping(self, payload: bytes) -> bytes:
        # The event is set by a pong with this very payload.
        assert self.connection.ping(payload).wait(PATIENCE)
        return payload

    def close(self, code: int, reason: str) -> int:
        self.connection.close(code, reason)
        received: int = self.connection.protocol.close_rcvd.code
        return received

    def release(self) -> None:
        self.stack.close()


class WebsocketClient(Peer):
    def __init__(self, url: str) -> None:
        self.library = programs.module("websocket")
        self.connection = self.library.create_connection(url, PATIENCE, http_no_proxy=["*"])

    def send(self, message: Message) -> None:
        self.send_fragments([message])

    def receive(self) -> Message:
        message: Message = self.connection.recv()
        return message

    def send_fragments(self, parts: Sequence[Message]) -> None:
        frame = self.library.ABNF
        opcode = frame.OPCODE_TEXT if isinstance(parts[0], str) else frame.OPCODE_BINARY
        for index, part in enumerate(parts):
            final = int(index == len(parts) - 1)
            data = part.encode() if isinstance(part, str) else part
            self.connection.send_frame(frame.create_frame(data, opcode, final))
            opcode = frame.OPCODE_CONT

    def ping(self, payload: bytes) -> bytes:
        self.connection.ping(payload)
        opcode, frame = self.connection.recv_data_frame(control_frame=True)
        assert opcode == self.library.ABNF.OPCODE_PONG
        data: bytes = frame.data
        return data

    def close(self, code: int, reason: str) -> int:
        self.connection.send_close(code, reason.encode())
        frame = self.connection.recv_frame()
        assert frame.opcode == self.library.ABNF.OPCODE_CLOSE
        (received,) = struct.unpack_from("!H", frame.data)
        assert self.connection.sock.recv(1) == b""
        self.connection.shutdown()
        return int(received)

    def release(self) -> None:
        self.connection.shutdown()


class AsyncPeer(Peer):
    """A client for asyncio, with a loop that runs while something is asked of it."""

    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))


class Aiohttp(AsyncPeer):
    """What `ws_connect` of aiohttp makes, with its options."""

    can_fragment = False

    def __init__(self, url: str, **options: Any) -> None:
        self.library = programs.module("aiohttp")
        self.loop = asyncio.new_event_loop()
        self.run(self.connect(url, options))

    async def connect(self, url: str, options: dict[str, Any]) -> None:
        self.session = self.library.ClientSession()
        self.connection = await self.session.ws_connect(url, autoping=False, **options)

    def send(self, message: Message) -> None:
        text = isinstance(message, str)
        send = self.connection.send_str if text else self.connection.send_bytes
        self.run(send(message))

    def receive(self) -> Message:
        answer = self.run(self.connection.receive())
        assert answer.type in {self.library.WSMsgType.TEXT, self.library.WSMsgType.BINARY}
        message: Message = answer.data
        return message

    def ping(self, payload: bytes) -> bytes:
        self.run(self.connection.ping(payload))
        answer = self.run(self.connection.receive())
        assert answer.type == self.library.WSMsgType.PONG
        return bytes(answer.data)

    def close(self, code: int, reason: str) -> int:
        self.run(self.connection.close(code=code, message=reason.encode()))
        received: int = self.connection.close_code
        return received

    def release(self) -> None:
        self.run(self.session.close())
        self.loop.close()


class AsyncWebsockets(AsyncPeer):
    """The other half of websockets, with what `connect` of it takes."""

    can_fragment = False

    def __init__(self, url: str, **options: Any) -> None:
        self.library = programs.module("websockets.asyncio.client")
        self.loop = asyncio.new_event_loop()
        try:
            self.connection = self.run(self.connect(url, options))
        except BaseException:
            self.loop.close()
            raise

    async def connect(self, url: str, options: dict[str, Any]) -> Any:
        return await self.library.connect(url, proxy=None, **options)

    def send(self, message: Message) -> None:
        self.run(self.connection.send(message))

    def receive(self) -> Message:
        message: Message = self.run(self.connection.recv())
        return message

    def ping(self, payload: bytes) -> bytes:
        self.run(self.wait_for_pong(payload))
        return payload

    async def wait_for_pong(self, payload: bytes) -> None:
        await (await self.connection.ping(payload))

    def close(self, code: int, reason: str) -> int:
        self.run(self.connection.close(code, reason))
        received: int = self.connection.protocol.close_rcvd.code
        return received

    def release(self) -> None:
        self.run(self.connection.close())
        self.loop.close()


class Picows(AsyncPeer):
    def __init__(self, url: str) -> None:
        self.library = programs.module("picows")
        self.loop = asyncio.new_event_loop()
        self.run(self.connect(url))

    async def connect(self, url: str) -> None:
        # On Python 3.9 a queue belongs to the loop that runs while it is made.
        frames: asyncio.Queue[tuple[Any, bytes, int]] = asyncio.Queue()
        library = self.library

        class Listener(library.WSListener):  # type: ignore[misc, name-defined]
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                closing = frame.msg_type == library.WSMsgType.CLOSE
                code = int(frame.get_close_code()) if closing else 0
                # The frame's memory is the library's again after this call.
                frames.put_nowait((frame.msg_type, frame.get_payload_as_bytes(), code))

        self.frames = frames
        self.transport, self.listener = await library.ws_connect(Listener, url)

    def send(self, message: Message) -> None:
        self.send_fragments([message])

    def send_fragments(self, parts: Sequence[Message]) -> None:
        self.run(self.send_all(parts))

    async def send_all(self, parts: Sequence[Message]) -> None:
        types = self.library.WSMsgType
        kind = types.TEXT if isinstance(parts[0], str) else types.BINARY
        for index, part in enumerate(parts):
            data = part.encode() if isinstance(part, str) else part
            self.transport.send(kind, data, fin=index == len(parts) - 1)
            kind = types.CONTINUATION

    def receive(self) -> Message:
        kind, payload, _ = self.run(self.frames.get())
        types = self.library.WSMsgType
        assert kind in {types.TEXT, types.BINARY}
        return payload.decode() if kind == types.TEXT else bytes(payload)

    def ping(self, payload: bytes) -> bytes:
        self.run(self.send_ping(payload))
        kind, answer, _ = self.run(self.frames.get())
        assert kind == self.library.WSMsgType.PONG
        return bytes(answer)

    async def send_ping(self, payload: bytes) -> None:
        self.transport.send_ping(payload)

    def close(self, code: int, reason: str) -> int:
        self.run(self.send_close(code, reason))
        kind, _, received = self.run(self.frames.get())
        assert kind == self.library.WSMsgType.CLOSE
        self.run(self.transport.wait_disconnected())
        return int(received)

    async def send_close(self, code: int, reason: str) -> None:
        self.transport.send_close(code, reason.encode())

    def release(self) -> None:
        self.run(self.disconnect())
        self.loop.close()

    async def disconnect(self) -> None:
        self.transport.disconnect()
        await self.transport.wait_disconnected()


class Tornado(AsyncPeer):
    """What `websocket_connect` of tornado makes, with its options."""

    can_fragment = False

    def __init__(self, url: str, **options: Any) -> None:
        self.library = programs.module("tornado.websocket")
        self.loop = asyncio.new_event_loop()
        self.run(self.connect(url, options))

    async def connect(self, url: str, options: dict[str, Any]) -> None:
        self.connection = await self.library.websocket_connect(url, **options)

    def send(self, message: Message) -> None:
        binary = isinstance(message, bytes)
        self.run(self.write(message, binary))

    async def write(self, message: Message, binary: bool) -> None:
        await self.connection.write_message(message, binary)

    def receive(self) -> Message:
        message: Message = self.run(self.read())
        assert message is not None, "the server closed without a word"
        return message

    async def read(self) -> Any:
        return await self.connection.read_message()

    def ping(self, payload: bytes) -> bytes:
        raise NotImplementedError("its pongs are for itself alone")

    def close(self, code: int, reason: str) -> int:
        self.run(self.say_goodbye(code, reason))
        received: int = self.connection.close_code
        return received

    async def say_goodbye(self, code: int, reason: str) -> None:
        self.connection.close(code, reason)
        assert await self.connection.read_message() is None

    def release(self) -> None:
        self.loop.close()


class NodeWs(Peer):
    """node's ws, told by lines what to do, with its options: see node_client.js."""

    def __init__(self, url: str, **options: Any) -> None:
        node = programs.program("node", "nodejs")
        modules = programs.node_modules("ws", NODE_WS)
        self.process = subprocess.Popen(
            [node, str(pathlib.Path(__file__).with_name("node_client.js"))],
            env={**os.environ, "NODE_PATH": modules},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.connect(url, options)

    def connect(self, url: str, options: dict[str, Any]) -> None:
        """Connect, and again after a close."""
        self.tell(do="connect", url=url, options=options)
        self.hear("open")

    def tell(self, **command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def hear(self, event: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert heard["event"] == event, heard
        return heard

    def send(self, message: Message) -> None:
        self.send_fragments([message])

    def send_fragments(self, parts: Sequence[Message], compress: bool = True) -> None:
        self.tell(do="send", parts=[self.encode(part) for part in parts], compress=compress)

    @staticmethod
    def encode(message: Message) -> dict[str, str]:
        if isinstance(message, str):
            return {"text": message}
        return {"base64": base64.b64encode(message).decode()}

    def receive(self) -> Message:
        heard = self.hear("message")
        text: str | None = heard.get("text")
        return base64.b64decode(heard["base64"]) if text is None else text

    def ping(self, payload: bytes) -> bytes:
        self.tell(do="ping", **self.encode(payload))
        return base64.b64decode(self.hear("pong")["base64"])

    def close(self, code: int, reason: str) -> int:
        self.tell(do="close", code=code, reason=reason)
        return int(self.hear("close")["code"])

    def release(self) -> None:
        # It would stay for as long as its connection does.
        self.process.kill()
        self.process.communicate()


class Wsproto(Peer):
    """wsproto has no sockets, and takes nothing amiss less than anyone: a second opinion."""

    def __init__(self, url: str, extensions: Sequence[Any] = ()) -> None:
        wsproto = programs.module("wsproto")
        self.events = programs.module("wsproto.events")
        host, _, port = url.split("/")[2].partition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.pending: list[Any] = []
        self.arrived = 0
        request = self.events.Request(
            host=f"{host}:{port}", target="/", extensions=list(extensions)
        )
        self.transmit(request)
        assert isinstance(self.next_event(), self.events.AcceptConnection)

    def transmit(self, event: Any) -> None:
        self.socket.sendall(self.protocol.send(event))

    def transmit_bytes(self, data: bytes) -> None:
        """Send what wsproto itself would refuse to."""
        self.socket.sendall(data)

    def next_event(self) -> Any:
        while not self.pending:
            data = self.socket.recv(65536)
            assert data, "the server closed without a word"
            self.arrived += len(data)
            # It raises at the first byte that is not in order.
            self.protocol.receive_data(data)
            self.pending.extend(self.protocol.events())
        return self.pending.pop(0)

    def send(self, message: Message) -> None:
        self.send_fragments([message])

    def send_fragments(self, parts: Sequence[Message]) -> None:
        text = isinstance(parts[0], str)
        make = self.events.TextMessage if text else self.events.BytesMessage
        for index, part in enumerate(parts):
            self.transmit(make(data=part, message_finished=index == len(parts) - 1))

    def receive(self) -> Message:
        first = event = self.next_event()
        data = [event.data]
        while not event.message_finished:
            event = self.next_event()
            data.append(event.data)
        if isinstance(first, self.events.TextMessage):
            return "".join(data)
        return b"".join(data)

    def ping(self, payload: bytes) -> bytes:
        self.transmit(self.events.Ping(payload=payload))
        event = self.next_event()
        assert isinstance(event, self.events.Pong)
        return bytes(event.payload)

    def close(self, code: int, reason: str) -> int:
        self.transmit(self.events.CloseConnection(code=code, reason=reason))
        return self.closed()

    def closed(self) -> int:
        """Wait for the server to close; return the code in its close frame."""
        event = self.next_event()
        assert isinstance(event, self.events.CloseConnection)
        assert self.socket.recv(1) == b""
        self.socket.close()
        return int(event.code)

    def release(self) -> None:
        self.socket.close()


PEERS: tuple[type[Peer], ...] = (
    Websockets,
    WebsocketClient,
    Aiohttp,
    AsyncWebsockets,
    Picows,
    NodeWs,
    Wsproto,
)
