"""What the server puts on the wire, judged by wsproto or compared byte by byte."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import PATIENCE, Wsproto

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import EchoServer

pytestmark = pytest.mark.interop

# A mask of zeros leaves the payload as it is, readable here.
NO_MASK = bytes(4)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def peer(server: EchoServer) -> Iterator[Wsproto]:
    peer = Wsproto(server.url)
    yield peer
    peer.release()


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, "00"),
        (125, "7d"),
        (126, "7e007e"),
        (65535, "7effff"),
        (65536, "7f0000000000010000"),
    ],
)
def test_a_message_leaves_unmasked_in_one_frame_with_the_shortest_length(
    size: int, length: str, server: EchoServer
) -> None:
    payload = b"x" * size
    form = bytes.fromhex(length)
    masked_form = bytes([form[0] | 0x80]) + form[1:]
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        stream = connection.makefile("rb")
        connection.sendall(REQUEST)
        head = list(iter(stream.readline, b"\r\n"))
        # The key and its answer are the example of RFC 6455 section 1.3.
        assert head[0].startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        connection.sendall(b"\x82" + masked_form + NO_MASK + payload)
        expected = b"\x82" + form + payload
        assert stream.read(len(expected)) == expected
        connection.sendall(b"\x88\x82" + NO_MASK + b"\x03\xe8")
        assert stream.read() == b"\x88\x02\x03\xe8"
        stream.close()
    assert server.closed() == (1000, "")


def test_a_ping_between_fragments_is_answered_before_the_message(
    peer: Wsproto, server: EchoServer
) -> None:
    peer.transmit(peer.events.TextMessage(data="in ", message_finished=False))
    assert peer.ping(b"between") == b"between"
    peer.transmit(peer.events.TextMessage(data="between", message_finished=True))
    assert peer.receive() == "in between"
    assert peer.close(1000, "") == 1000
    assert server.closed() == (1000, "")


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        (1002, b"\x81\x01x"),
        (1002, b"\xc1\x81" + NO_MASK + b"x"),
        (1002, b"\x83\x81" + NO_MASK + b"x"),
        (1002, b"\x80\x81" + NO_MASK + b"x"),
        (1002, b"\x09\x80" + NO_MASK),
        (1002, b"\x89\xfe\x00\x7e" + NO_MASK),
        (1002, b"\x81\xfe\x00\x7d" + NO_MASK),
        (1002, b"\x88\x81" + NO_MASK + b"\x03"),
        (1002, b"\x88\x82" + NO_MASK + b"\x03\xed"),
        (1007, b"\x81\x82" + NO_MASK + b"\xc3\x28"),
        (1007, b"\x88\x83" + NO_MASK + b"\x03\xe8\xff"),
        (1009, b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x01" + NO_MASK),
        (1009, b"\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00" + NO_MASK),
    ],
    ids=[
        "unmasked",
        "reserved bit",
        "reserved opcode",
        "continuation of nothing",
        "fragmented ping",
        "long ping",
        "length not in its shortest form",
        "close with half a code",
        "close with a code for no wire",
        "text that is not UTF-8",
        "reason that is not UTF-8",
        "one byte over the limit",
        "2^62 bytes",
    ],
)
def test_a_violation_is_answered_after_the_messages_before_it(
    code: int, frame: bytes, peer: Wsproto, server: EchoServer
) -> None:
    peer.transmit_bytes(b"\x81\x85" + NO_MASK + b"first" + frame)
    assert peer.receive() == "first"
    assert peer.closed() == code
    assert server.closed()[0] == code
