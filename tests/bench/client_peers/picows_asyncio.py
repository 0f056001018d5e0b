"""picows: its core API on asyncio. It checks UTF-8 where it makes a ``str`` of a text."""

from __future__ import annotations

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .talk import Message, Talk


def _payload(frame: WSFrame) -> Message:
    if frame.msg_type == WSMsgType.TEXT:
        return frame.get_payload_as_utf8_text()
    return frame.get_payload_as_bytes()


def _close(transport: WSTransport) -> None:
    transport.send_close()
    transport.disconnect()


async def converse(talk: Talk) -> None:
    step = talk.step
    kind = WSMsgType.TEXT if isinstance(talk.first, str) else WSMsgType.BINARY
    messages = WSMsgType.TEXT, WSMsgType.BINARY

    def packed(message: Message) -> bytes:
        return message.encode() if isinstance(message, str) else message

    class Echo(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            transport.send(kind, packed(talk.first))

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type not in messages:
                _close(transport)
                return
            answer = step(_payload(frame))
            if answer is None:
                _close(transport)
            else:
                transport.send(kind, packed(answer))

    class Take(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type not in messages or step(_payload(frame)) is None:
                _close(transport)

    transport, _ = await ws_connect(Echo if talk.echo else Take, talk.uri)
    await transport.wait_disconnected()


def main() -> None:
    talk = Talk()
    asyncio.run(converse(talk))
    talk.end()


if __name__ == "__main__":
    main()
