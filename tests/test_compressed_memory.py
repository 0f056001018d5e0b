"""What a connection costs in memory with compression: a thousand of them, over real sockets."""

from __future__ import annotations

import random
import resource
import socket
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from reactor.protocol.frames import pack_frame
from tests.bench import deflate_memory
from tests.measured import KIB, TELLS, child

if TYPE_CHECKING:
    from collections.abc import Iterator

# zlib-ng keeps other tables, and PyPy's collector more than it needs.
pytestmark = [
    pytest.mark.measured,
    pytest.mark.skipif(
        not TELLS or "ng" in zlib.ZLIB_RUNTIME_VERSION,
        reason="this interpreter's memory, or its zlib, is not the one that was measured",
    ),
]

CONNECTIONS = 1000
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"%s\r\n"
)
# Bits of both windows, memory level, whether both sides forget each message: KiB for each
# connection, of which 2 are the connection's own and 1 that of the extension in Python.
MOST = {
    (15, 8, False): 310,
    (12, 5, False): 55,
    (11, 4, False): 36,
    (9, 1, False): 22,
    (12, 5, True): 5,
}
# KiB of compressor and decompressor alone.
CODECS = {"12 bits, memory level 5": 51, "11 bits, memory level 4": 33}
WORDS = ["what", "compression", "costs", "a", "connection", "in", "memory"]


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cost(bits: int = 0, mem_level: int = 0, forget: bool = False, size: int = 0) -> float:
    """Return the bytes that a connection costs its server, without compression for no bits."""
    extensions: list[Any] = []
    offer = ""
    if bits:
        options = {
            "server_max_window_bits": bits,
            "client_max_window_bits": bits,
            "server_no_context_takeover": forget,
            "client_no_context_takeover": forget,
            "mem_level": mem_level,
        }
        extensions = [("message", options)]
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    data = traffic(bits, forget, size or 2 << bits)
    with child(extensions=extensions, echo=True) as server, ExitStack() as stack:
        visit(server.port, offer, data).close()
        server.ask("begin")
        before = server.ask("begin")["start"]
        for _ in range(CONNECTIONS):
            stack.enter_context(visit(server.port, offer, data))
        after = server.ask("begin")
    assert len(after["messages"]) == 2 * (CONNECTIONS + 1)
    grown: int = after["start"] - before
    return grown / CONNECTIONS


def traffic(bits: int, forget: bool, size: int) -> bytes:
    """Return the frames of a message of words and one of noise, each of two windows."""
    chance = random.Random(7692)
    words = " ".join(chance.choices(WORDS, k=size)).encode()[:size]
    messages = [(0x81, words), (0x82, chance.getrandbits(8 * size).to_bytes(size, "big"))]
    compressor = zlib.compressobj(6, zlib.DEFLATED, -(bits or 15), 8)
    frames = []
    for head, message in messages:
        if bits:
            flush = zlib.Z_FULL_FLUSH if forget else zlib.Z_SYNC_FLUSH
            packed = compressor.compress(message) + compressor.flush(flush)
            frames.append(pack_frame(head | 0x40, packed[:-4], True))
        else:
            frames.append(pack_frame(head, message, True))
    return b"".join(frames)


def visit(port: int, offer: str, data: bytes) -> socket.socket:
    """Open a connection, and have the traffic go there and back."""
    sock = socket.create_connection(("127.0.0.1", port), 50)
    sock.sendall(REQUEST % offer.encode() + data)
    with sock.makefile("rb") as file:
        lines = list(iter(file.readline, b"\r\n"))
        agreed = any(line.startswith(b"Sec-WebSocket-Extensions: ") for line in lines)
        assert agreed is bool(offer)
        for opcode in (1, 2):
            head, length = file.read(2)
            assert (head & 0x0F, bool(head & 0x40)) == (opcode, agreed)
            if length > 125:
                length = int.from_bytes(file.read(2 if length == 126 else 8), "big")
            assert len(file.read(length)) == length
    return sock


@pytest.mark.parametrize(("bits", "mem_level", "forget"), MOST)
def test_a_thousand_connections_that_compress_cost_no_more_than_the_docs_say(
    descriptors: None, bits: int, mem_level: int, forget: bool
) -> None:
    kib = cost(bits, mem_level, forget) / KIB
    most = MOST[bits, mem_level, forget]
    assert most * 0.6 < kib < most, f"{kib:.1f} KiB"


def test_a_thousand_connections_that_do_not_compress_cost_under_three_kib(
    descriptors: None,
) -> None:
    kib = cost(size=8 * KIB) / KIB
    assert kib < 3, f"{kib:.1f} KiB"


@pytest.mark.parametrize("preset", CODECS)
def test_what_compresses_and_inflates_for_a_connection_costs_no_more_than_the_docs_say(
    preset: str,
) -> None:
    found = deflate_memory.in_child(preset, CONNECTIONS)
    kib = (found.compressing + found.inflating) / KIB
    assert kib < CODECS[preset], f"{kib:.1f} KiB"
