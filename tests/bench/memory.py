"""``python -m tests.bench.memory``: what an open connection that is idle costs a server.

Each server is started for itself. Some connections are opened, used and closed before the count
begins, for what a server imports or makes once. Then all the others are opened, one after the
other, and nothing is said on them: what the server's resident memory has grown by, once it
grows no more, is what they cost. At last a message is echoed on every one of them. They were
all open, or it is an error; and what a connection keeps of its first message shows, too.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import socket
import ssl
import sys
import time
import zlib
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from . import certificate
from .__main__ import _count as count
from .__main__ import _peers as peers_named
from .__main__ import available, environment
from .generator import FaultError
from .peers import PEERS, Peer
from .prepared import COMPRESSED, TEXT, compressed, frame, header
from .processes import CHECKOUT, allow_descriptors, cores, interpreter, pinned, serving
from .report import _columns as columns
from .rounds import rotated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .certificate import Files

# The key of RFC 6455 section 1.3 and the answer that the RFC computes from it.
_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)
_OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
_ACCEPT_FIELD = b"sec-websocket-accept"
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_HEAD_LIMIT = 4096
_PAYLOAD = b"hello " * 20
_CLOSED = b"\x88\x02\x03\xe8"
_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
USUAL = "reactor,websockets,picows,aiohttp,tornado,selectors"
_HEAD = (
    "server",
    "before",
    "resident",
    "proportional",
    "after a message each",
    "x websockets",
)
_FIRST = 64  # connections that do not count
_OTHER_DESCRIPTORS = 128  # of a process besides those of its connections
_PAUSE = 0.2  # seconds between two looks at the memory
_LOOKS = 5  # alike, one after the other, and it has settled
_PATIENCE = 10.0


@dataclass(frozen=True)
class Memory:
    """What a process has resident: all of it, and its share of what others have as well."""

    rss: int
    pss: int


@dataclass(frozen=True)
class Cost:
    """Bytes: of the server before; for each connection, idle and after its first message."""

    before: int
    rss: float
    pss: float
    after_message: float


def memory_of(process: int) -> Memory:
    """The resident memory now. ``FaultError`` if there is no such process."""

    def kibibytes(file: str, name: str) -> int:
        text = Path(f"/proc/{process}/{file}").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))

    try:
        rss, pss = kibibytes("status", "VmRSS:"), kibibytes("smaps_rollup", "Pss:")
    except (OSError, StopIteration):
        raise FaultError("the server has ended") from None
    return Memory(rss * 1024, pss * 1024)


def settled(process: int) -> Memory:
    """The memory once it stays as it is, or the last that was seen of one that does not."""
    seen = [memory_of(process)]
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and (len(seen) < _LOOKS or len(set(seen[-_LOOKS:])) > 1):
        time.sleep(_PAUSE)  # of what another process gives back there is no event
        seen.append(memory_of(process))
    return seen[-1]


# Connections


@dataclass(frozen=True)
class Way:
    """How connections are made."""

    deflate: bool = False
    files: Files | None = None
    """For TLS."""
    raw: bool = False
    """The server looks at no byte after the handshake."""

    def words(self) -> list[str]:
        """What the server is asked to do."""
        tls = [f"tls={self.files.certificate},{self.files.key}"] if self.files else []
        return ["echo", *["deflate"] * self.deflate, *tls]


def checked(head: bytes, deflate: bool) -> None:
    """``FaultError`` if this does not accept the request."""
    status, *lines = head.split(b"\r\n")
    fields = [line.partition(b":") for line in lines]
    accepts = [value.strip() for name, _, value in fields if name.lower() == _ACCEPT_FIELD]
    agreed = any(name.lower() == b"sec-websocket-extensions" for name, _, _ in fields)
    if not status.startswith(b"HTTP/1.1 101 ") or accepts != [_ACCEPT]:
        raise FaultError(f"the handshake was answered with {head[:200]!r}")
    if agreed != deflate:
        raise FaultError(f"the server compresses: {agreed}, as was asked for: {deflate}")


def opened(port: int, way: Way) -> socket.socket:
    """A connection whose handshake is over and was in order."""
    sock = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    try:
        if way.files is not None:
            context = _context(way.files.authority)
            sock = context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(_REQUEST % (port, _OFFER if way.deflate else b""))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = sock.recv(_HEAD_LIMIT)
            head += part
            if not part or len(head) > _HEAD_LIMIT:
                break
        checked(head, way.deflate)
    except BaseException:
        sock.close()
        raise
    return sock


@functools.cache
def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


def receive(sock: socket.socket, count: int) -> bytes:
    """So many bytes, or as many as come before the end."""
    came = b""
    while len(came) < count and (part := sock.recv(count - len(came))):
        came += part
    return came


def expect(sock: socket.socket, due: bytes) -> None:
    """``FaultError`` if something else comes."""
    came = receive(sock, len(due))
    if came != due:
        raise FaultError(f"{came!r} came back instead of {due!r}")


def echo(socks: Sequence[socket.socket], way: Way) -> None:
    """A message on every connection, and back."""
    for sock in socks:
        if way.deflate:
            sock.sendall(frame(TEXT | COMPRESSED, compressed(_PAYLOAD), bytes(4)))
            _expect_compressed(sock)
            continue
        message = frame(TEXT, _PAYLOAD, bytes(4))
        sock.sendall(message)
        expect(sock, message if way.raw else header(TEXT, len(_PAYLOAD), False) + _PAYLOAD)


def _expect_compressed(sock: socket.socket) -> None:
    """The reply may be compressed or not: a server may find it too short to be worth it."""
    first, size = receive(sock, 2).ljust(2, b"\0")
    came = receive(sock, size)
    if first == TEXT | COMPRESSED:
        try:
            came = zlib.decompressobj(-15).decompress(came + b"\0\0\xff\xff")
        except zlib.error as error:
            raise FaultError(f"{came!r} came back: {error}") from None
    if first not in (TEXT, TEXT | COMPRESSED) or came != _PAYLOAD:
        raise FaultError(f"{first:#04x} with {came!r} came back instead of {_PAYLOAD!r}")


def leave(socks: Sequence[socket.socket], way: Way) -> None:
    """Close every connection, and see the server's end of it."""
    for sock in socks:
        if way.raw:
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.sendall(_CLOSE)
            expect(sock, _CLOSED)
        if sock.recv(1):
            raise FaultError("something came after the Close frame")


@contextlib.contextmanager
def crowd(port: int, count: int, way: Way) -> Iterator[list[socket.socket]]:
    """So many connections, opened one after the other, and gone with the context."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(port, way)) for _ in range(count)]


# The measurement


def measure(peer: Peer, python: str, connections: int, way: Way) -> Cost:
    """What a server of its own says about it."""
    server_core, mine = cores()
    way = replace(way, raw=peer.raw)
    with serving(peer, python, server_core, way.words()) as server, pinned(mine):
        try:
            return _measured(server.process.pid, server.port, connections, way)
        except (OSError, FaultError) as failure:
            raise FaultError(f"{failure}{server.complaint()}") from None


def _measured(process: int, port: int, connections: int, way: Way) -> Cost:
    with crowd(port, _FIRST, way) as socks:
        echo(socks, way)
        leave(socks, way)
    before = settled(process)
    with crowd(port, connections, way) as socks:
        idle = settled(process)
        echo(socks, way)
        after = settled(process)
    return Cost(
        before.rss,
        (idle.rss - before.rss) / connections,
        (idle.pss - before.pss) / connections,
        (after.rss - before.rss) / connections,
    )


def play(
    peers: Sequence[Peer], python: str, connections: int, rounds: int, way: Way
) -> dict[Peer, list[Cost | None]]:
    """All rounds: A B C, B C A, C A B. ``None`` stands for one that failed."""
    costs: dict[Peer, list[Cost | None]] = {peer: [] for peer in peers}
    for number in range(rounds):
        for peer in rotated(peers, number):
            where = f"round {number + 1} of {rounds}, {peer.name}"
            cost = None
            try:
                cost = measure(peer, interpreter(peer, python), connections, way)
                print(where, file=sys.stderr, flush=True)
            except FaultError as failure:
                print(f"{where}: {failure}", file=sys.stderr, flush=True)
            costs[peer].append(cost)
    return costs


def middle(costs: Sequence[Cost | None]) -> Cost | None:
    """The medians; ``None`` if there is nothing to take them of."""
    rows = [astuple(cost) for cost in costs if cost is not None]
    return Cost(*map(median, zip(*rows))) if rows else None


def table(costs: dict[Peer, list[Cost | None]]) -> str:
    """A line for each server."""
    reference = middle(costs.get(PEERS["websockets"], []))
    lines: list[tuple[str, ...]] = [_HEAD]
    for peer, found in costs.items():
        cost, failed = middle(found), found.count(None)
        note = f" ({failed} of {len(found)} failed)" if failed else ""
        cells = ["-"] * (len(_HEAD) - 1)
        if cost is not None:
            values = cost.rss, cost.pss, cost.after_message
            cells = [f"{cost.before / 2**20:.1f}", *(f"{value:,.0f}" for value in values)]
            cells.append(f"{cost.rss / reference.rss:.2f}" if reference else "-")
        lines.append((peer.name + note, *cells))
    return "\n".join(columns(lines))


def fitting(peers: Sequence[Peer], deflate: bool, tls: bool) -> list[Peer]:
    """Those who can serve this way; the others are named."""
    found = []
    for peer in peers:
        reasons = dict(peer.without)
        unfit = (deflate and reasons.get("deflate")) or (tls and reasons.get("tls"))
        if unfit:
            print(f"{peer.name}: {unfit}, left out", file=sys.stderr)
        else:
            found.append(peer)
    return found


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.memory", description="What an idle connection costs."
    )
    add = parser.add_argument
    add("--connections", type=count, default=5000, help="default: %(default)s")
    add("--rounds", type=count, default=1, help="default: %(default)s")
    add("--peers", type=peers_named, default=USUAL, help="default: %(default)s")
    add("--python", default=sys.executable, help="interpreter for the reactor server")
    add("--deflate", action="store_true", help="with permessage-deflate")
    add("--tls", action="store_true", help="over TLS")
    add("--json", type=Path, metavar="FILE", help="write every number there")
    return parser.parse_args(given)


def obstacle(connections: int, tls: bool) -> str:
    """What keeps this from being measured, as a sentence; empty: nothing."""
    needed = connections + _OTHER_DESCRIPTORS
    limit = allow_descriptors(needed)
    if limit < needed:
        return f"{needed} open files are needed, the limit is {limit} (ulimit -n)"
    return certificate.missing() if tls else ""


def as_data(costs: dict[Peer, list[Cost | None]]) -> dict[str, object]:
    """Every number, for JSON."""
    return {
        peer.name: [asdict(cost) if cost else None for cost in found]
        for peer, found in costs.items()
    }


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    reason = obstacle(options.connections, options.tls)
    peers = available(fitting(options.peers, options.deflate, options.tls))
    if reason or not peers:
        print(reason or "no server is left to measure", file=sys.stderr)
        return 2
    where = environment(peers, options.python)
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(certificate.made()) if options.tls else None
        way = Way(options.deflate, files)
        costs = play(peers, options.python, options.connections, options.rounds, way)
    how = ", deflate" * options.deflate + ", TLS" * options.tls
    for name, value in where.items():
        print(f"{name}: {value}")
    print(
        f"\n{options.connections} idle connections{how}, resident bytes for each; "
        f"before: MiB of the server without them\n{table(costs)}"
    )
    if options.json:
        data = {
            "environment": where,
            "connections": options.connections,
            "deflate": options.deflate,
            "tls": options.tls,
            "servers": as_data(costs),
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if any(None in found for found in costs.values()) else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
