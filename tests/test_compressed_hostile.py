"""Peers that mean harm with little that becomes much, over real sockets.

Who is attacked is a process of its own, whose memory is looked at.
"""

from __future__ import annotations

import socket
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from reactor.protocol.frames import pack_frame
from reactor.protocol.handshake import accept_key
from tests.measured import KIB, MIB, TELLS, Child, child

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = MIB
BOMB = 64 * MIB
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: %s\r\n\r\n"
)
RSV1 = 0x40
TEXT, BINARY = 0x01, 0x02
FINAL = 0x80
OFFERS = {"message": b"permessage-deflate", "frame": b"deflate-frame"}


def deflated(size: int) -> bytes:
    """Return the compressed form of a message of so many zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(compressor.compress(bytes(MIB)) for _ in range(size // MIB))
    return (packed + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frames(opcode: int, data: bytes, size: int, masked: bool) -> bytes:
    """Return a compressed message in fragments of at most `size` bytes."""
    packed = []
    for at in range(0, len(data), size):
        head = opcode | RSV1 if at == 0 else 0
        head |= FINAL if at + size >= len(data) else 0
        packed.append(pack_frame(head, data[at : at + size], masked))
    return b"".join(packed)


class Attacker:
    """One end of a connection by hand, after its handshake."""

    def __init__(self, sock: socket.socket, masks: bool) -> None:
        self.sock, self.masks = sock, masks
        sock.settimeout(50)

    def attack(self, data: bytes) -> int:
        """Send what may not be read to its end; return the code of the Close that comes."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        answer = b""
        while len(answer) < 4 + 4 * (not self.masks):
            more = self.sock.recv(4096)
            assert more, f"it ended with {answer!r}"
            answer += more
        assert answer[0] == 0x88
        if self.masks:
            return int.from_bytes(answer[2:4], "big")
        key, code = answer[2:6], answer[6:8]
        return int.from_bytes(bytes(a ^ b for a, b in zip(code, key)), "big")


def head(sock: socket.socket) -> bytes:
    """Read what comes up to the empty line."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        more = sock.recv(1)
        assert more, found
        found += more
    return found


@contextmanager
def at_a_server(kind: str, **wanted: Any) -> Iterator[tuple[Child, Attacker]]:
    """Attack our server."""
    with child(extensions=[(kind, {})], **wanted) as server:
        warm_up(server, kind)
        with opened(server, kind) as sock:
            yield server, Attacker(sock, True)


def opened(server: Child, kind: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), 50)
    sock.sendall(REQUEST % OFFERS[kind])
    assert b"\r\nSec-WebSocket-Extensions: " + OFFERS[kind] in head(sock)
    return sock


def warm_up(server: Child, kind: str) -> None:
    """Have it import what the first compressed message and the first violation bring in."""
    with opened(server, kind) as sock:
        data = frames(BINARY, deflated(MIB)[:100], 1000, True)
        assert Attacker(sock, True).attack(data + b"\xff\xff") in (1002, 1007)


@contextmanager
def at_a_client(kind: str, **wanted: Any) -> Iterator[tuple[Child, Attacker]]:
    """Attack our client, which comes again."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(50)
        uri = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
        options = {**wanted.pop("options", {}), "compress": False}
        with child(
            uri=uri, extensions=[(kind, {})], options=options, again=True, **wanted
        ) as client:
            data = frames(BINARY, deflated(MIB)[:100], 1000, False)
            with answered(listening, kind) as sock:
                assert Attacker(sock, False).attack(data + b"\xff\xff") in (1002, 1007)
            with answered(listening, kind) as sock:
                yield client, Attacker(sock, False)


def answered(listening: socket.socket, kind: str) -> socket.socket:
    """Return a connection that our client has opened."""
    sock, _ = listening.accept()
    fields = dict(line.split(b": ", 1) for line in head(sock).splitlines()[1:-1])
    accept = accept_key(fields[b"Sec-WebSocket-Key"].decode()).encode()
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: %s\r\n\r\n"
        % (accept, OFFERS[kind])
    )
    return sock


VICTIMS = {"server": at_a_server, "client": at_a_client}
victim = pytest.mark.parametrize("who", VICTIMS)


@victim
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("way", ["one frame", "fragments", "tiny fragments", "byte by byte"])
def test_64_mib_of_zeros_in_64_kib_end_it_with_1009_and_cost_less_than_4_mib(
    who: str, opcode: int, way: str
) -> None:
    packed = deflated(BOMB)
    assert len(packed) < 70 * KIB
    size = {"fragments": 1000, "tiny fragments": 7}.get(way, len(packed))
    trickle = 2000 if way == "byte by byte" else 0
    wanted = {"options": {"max_message": LIMIT}, "trickle": trickle}
    with VICTIMS[who]("message", **wanted) as (victim, attacker):
        victim.ask("begin")
        assert attacker.attack(frames(opcode, packed, size, attacker.masks)) == 1009
        grown = victim.grown()
        assert victim.ask()["messages"] == []
    if TELLS:
        assert grown < 4 * MIB, f"{grown / MIB:.1f} MiB"


@pytest.mark.skipif(not TELLS, reason="memory is not looked at here")
@victim
def test_what_is_kept_shows_in_the_memory_that_is_looked_at(who: str) -> None:
    packed = deflated(BOMB)
    with VICTIMS[who]("message", options={"max_message": BOMB}) as (victim, attacker):
        victim.ask("begin")
        close = pack_frame(0x88, b"\x03\xe8", attacker.masks)
        data = frames(BINARY, packed, len(packed), attacker.masks)
        assert attacker.attack(data + close) == 1000
        assert victim.ask()["messages"] == [BOMB]
        assert victim.grown() > BOMB


@victim
def test_a_bomb_for_each_frame_ends_it_with_1009_and_costs_less_than_4_mib(who: str) -> None:
    packed = deflated(BOMB)
    with VICTIMS[who]("frame", options={"max_message": LIMIT}) as (victim, attacker):
        victim.ask("begin")
        assert attacker.attack(frames(BINARY, packed, len(packed), attacker.masks)) == 1009
        grown = victim.grown()
    if TELLS:
        assert grown < 4 * MIB, f"{grown / MIB:.1f} MiB"


@victim
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("way", ["one frame", "tiny fragments", "byte by byte"])
def test_in_parts_the_same_bytes_are_delivered_whole_and_cost_less_than_4_mib(
    who: str, opcode: int, way: str
) -> None:
    packed = deflated(BOMB)
    size = 7 if way == "tiny fragments" else len(packed)
    trickle = 2000 if way == "byte by byte" else 0
    wanted = {"options": {"max_message": LIMIT}, "trickle": trickle, "parts": True}
    with VICTIMS[who]("message", **wanted) as (victim, attacker):
        before = victim.ask("begin")
        close = pack_frame(0x88, b"\x03\xe8", attacker.masks)
        assert attacker.attack(frames(opcode, packed, size, attacker.masks) + close) == 1000
        grown = victim.grown()
        seen = victim.ask()
    assert seen["bytes"] - before["bytes"] == BOMB
    assert seen["finals"] - before["finals"] == 1
    assert seen["largest"] <= 64 * KIB
    if TELLS:
        assert grown < 4 * MIB, f"{grown / MIB:.1f} MiB"
