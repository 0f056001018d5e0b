"""Every server that is compared does what it is asked, the same as the others."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import zlib
from typing import IO, TYPE_CHECKING

import pytest

from tests import programs
from tests.interop.peers import NODE_WS

from . import certificate, peers
from .driving import load
from .faulty_server import PATIENCE
from .peers import PEERS, NodePeer, Peer
from .processes import CHECKOUT, cores, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .certificate import Files

pytestmark = pytest.mark.interop

OFFER = b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
# Long enough for every setting to make a difference.
TEXTS = [
    " ".join(str(number * number % 65521) for number in range(at, at + 4000)).encode()
    for at in (0, 1000)
]


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Each that is installed; node's package is installed for it."""
    found = PEERS[request.param]
    if isinstance(found, NodePeer):
        programs.program("node", "nodejs")
        monkeypatch.setenv("NODE_PATH", programs.node_modules("ws", NODE_WS))
    elif found.name in ("reactor-numpy", "picows-uvloop") and found.missing():
        pytest.skip(found.missing())  # which no test needs
    elif found.missing():
        programs.missing(found.missing())
    return found


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    programs.module("trustme")
    with certificate.made() as found:
        yield found


def test_it_sends_back_and_closes(program: Path, peer: Peer) -> None:
    with serving(peer, sys.executable, cores()[0]) as server:
        for mode in ("rtt-1t", "pipe-3x4x200b", "big-64ku", "rtt-1mb", "conn-2"):
            assert load(program, server.port, mode, raw=peer.raw).messages > 0, mode
        server.check()
        assert server.complaint() == ""


def test_it_sends_to_all(program: Path, peer: Peer) -> None:
    with serving(peer, sys.executable, cores()[0], ["fanout"]) as server:
        for mode in ("fan-4x32t", "fan-3x1kb"):
            run = load(program, server.port, mode, raw=peer.raw)
            assert run.messages > 0
        server.check()
        assert server.complaint() == ""


def test_it_speaks_tls(program: Path, peer: Peer, files: Files) -> None:
    if "tls" in dict(peer.without):
        pytest.skip(dict(peer.without)["tls"])
    words = ["echo", f"tls={files.certificate},{files.key}"]
    with serving(peer, sys.executable, cores()[0], words) as server:
        assert load(program, server.port, "tls-3x1k", files=files).messages > 0
        server.check()
        assert server.complaint() == ""


def test_it_compresses_with_the_settings_of_all(program: Path, peer: Peer) -> None:
    if "deflate" in dict(peer.without):
        pytest.skip(dict(peer.without)["deflate"])
    with serving(peer, sys.executable, cores()[0], ["echo", "deflate"]) as server:
        assert load(program, server.port, "deflate-3x1k").messages > 0
        answer, replies = _conversation(server.port)
        server.check()
        assert server.complaint() == ""
    assert "permessage-deflate" in answer
    assert "no_context_takeover" not in answer
    inflate = zlib.decompressobj(-12)  # which fails at what refers further back
    for (first, reply), text in zip(replies, TEXTS):
        assert first == 0xC1
        assert inflate.decompress(reply + b"\0\0\xff\xff") == text
    if not isinstance(peer, NodePeer):  # which has a zlib of its own
        assert [reply for _, reply in replies] == _compressed(6, 12, 5)


def test_other_settings_of_compression_would_be_seen() -> None:
    used = _compressed(6, 12, 5)
    assert used != _compressed(6, 15, 5)
    assert used != _compressed(6, 12, 8)
    assert used != _compressed(1, 12, 5)


def test_without_being_asked_it_does_not_compress(peer: Peer) -> None:
    if peer.raw:
        pytest.skip("it sends back the mask, too")
    with serving(peer, sys.executable, cores()[0]) as server:
        assert _conversation(server.port) == ("", [(0x81, text) for text in TEXTS])


def _compressed(level: int, bits: int, memory: int) -> list[bytes]:
    """The texts by permessage-deflate, the context kept."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -bits, memory)
    parts = (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH) for text in TEXTS)
    return [part[:-4] for part in parts]


def _conversation(port: int) -> tuple[str, list[tuple[int, bytes]]]:
    """What the server says to an offer to compress, and how it sends back texts sent plain."""
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    request = (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
        b"Sec-WebSocket-Extensions: %b\r\n\r\n" % (port, key, OFFER)
    )
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as sock,
        sock.makefile("rb") as stream,
    ):
        sock.sendall(request)
        head: list[bytes] = []
        while (line := stream.readline()) != b"\r\n":
            assert line, head
            head.append(line)
        agreed = [
            line for line in head if line.lower().startswith(b"sec-websocket-extensions:")
        ]
        replies = [_echo_of(text, sock, stream) for text in TEXTS]
    return b"".join(agreed).decode(), replies


def _echo_of(text: bytes, sock: socket.socket, stream: IO[bytes]) -> tuple[int, bytes]:
    """The first byte of the reply's frame, and its payload."""
    sock.sendall(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text)
    first, size = stream.read(2)
    if size == 126:
        size = int.from_bytes(stream.read(2), "big")
    return first, stream.read(size)


def test_it_ends_with_the_runner_however_that_ends(peer: Peer) -> None:
    server = subprocess.Popen(
        peer.command(sys.executable),
        cwd=CHECKOUT,
        env={**os.environ, **peer.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as watch:
            server.stdin.close()
            # A process that ends before it has accepted the connection resets it.
            with contextlib.suppress(ConnectionResetError):
                assert watch.recv(1) == b""
        server.wait(PATIENCE)


def test_a_word_that_it_does_not_know_is_refused(peer: Peer) -> None:
    done = subprocess.run(
        [*peer.command(sys.executable), "ecko"],
        cwd=CHECKOUT,
        env={**os.environ, **peer.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ecko is not understood" in done.stderr


def test_without_its_c_part_websockets_masks_in_python() -> None:
    programs.module("websockets")
    script = (
        "import sys\n"
        "sys.argv[1:] = ['pure']\n"
        "from tests.bench.peers import websockets_server as server\n"
        "server.asyncio.run = lambda main: main.close()\n"
        "server.main()\n"
        "from websockets.frames import apply_mask\n"
        "print(apply_mask.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "websockets.utils"
    assert PEERS["websockets-pure"].version().endswith("without its C part")


def test_the_compiled_masks_are_plugged_in() -> None:
    programs.module("websockets.speedups")
    script = (
        "from reactor.protocol import masking\n"
        "from tests.bench.peers import reactor_server as server\n"
        "given = []\n"
        "masking.use = lambda function, least=0: given.append(function)\n"
        "server.use_compiled('')\n"
        "server.use_compiled('speedups')\n"
        "from websockets.speedups import apply_mask\n"
        "print(given == [apply_mask])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_without_node_or_its_package_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ws = PEERS["node-ws"]
    monkeypatch.setattr(peers, "_node", lambda: None)
    assert ws.missing() == "node not installed"
    monkeypatch.undo()
    programs.program("node", "nodejs")
    monkeypatch.setattr(peers, "_npm_folders", list)
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "npm install" in ws.missing()
    assert "NODE_PATH" in ws.missing()


def test_a_module_in_a_package_that_is_not_there_is_missing_too() -> None:
    absent = Peer("absent", "absent", needs=("os", "no_such_package", "no_such_package.part"))
    assert absent.missing() == "no_such_package and no_such_package.part not installed"
    assert Peer("present", "present", needs=("os", "os.path")).missing() == ""
