"""The memory of idle connections: all of them open, all of them heard, and the server's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import certificates

from . import memory
from .certificate import Files
from .faulty_server import CLOSE, Server
from .generator import FaultError
from .memory import Cost, Memory, Way, echo, leave, opened
from .peers import PEERS, Peer

if TYPE_CHECKING:
    import pathlib

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc"
)
counted = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="a heap that is collected grows in steps"
)


# What is read


@linux
def test_the_memory_of_a_process_is_what_it_has_touched() -> None:
    before = memory.memory_of(os.getpid())
    held = b"x" * (64 << 20)
    after = memory.memory_of(os.getpid())
    assert after.rss - before.rss == pytest.approx(len(held), rel=0.1)
    assert after.pss - before.pss == pytest.approx(len(held), rel=0.1)


def test_a_process_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        with pytest.raises(FaultError, match="the server has ended"):
            memory.memory_of(process.pid)


def test_memory_has_settled_once_some_looks_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [Memory(n, 0) for n in (1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4)]
    monkeypatch.setattr(memory, "memory_of", lambda process: looks.pop(0))
    monkeypatch.setattr(memory, "_PAUSE", 0)
    assert memory.settled(1).rss == 3
    assert looks == [Memory(4, 0)]


def test_memory_that_does_not_settle_is_what_it_was_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Memory] = []

    def growing(process: int) -> Memory:
        seen.append(Memory(len(seen), 0))
        return seen[-1]

    monkeypatch.setattr(memory, "memory_of", growing)
    monkeypatch.setattr(memory, "_PAUSE", 0)
    monkeypatch.setattr(memory, "_PATIENCE", 0.05)
    assert memory.settled(1) is seen[-1]
    assert len(seen) > 5


# What a server must do


def use(server: Server) -> None:
    """A connection from its handshake to its end."""
    with server.listening() as port, opened(port, Way()) as sock:
        echo([sock], Way())
        leave([sock], Way())


def test_a_server_that_is_right_is_heard() -> None:
    server = Server()
    use(server)
    assert server.payloads == [b"hello " * 20]


def wrong(frame: bytes) -> bytes:
    return frame[:-1] + b"?"


WRONG: dict[str, tuple[Server, str]] = {
    "its reply is wrong": (Server(reply=lambda number, frame: wrong(frame)), "came back"),
    "its reply is short": (
        Server(reply=lambda number, frame: frame[:-1] + CLOSE[:1]),
        "came back",
    ),
    "its farewell is wrong": (Server(farewell=b"\x88\x00"), "came back"),
    "it leaves without farewell": (Server(farewell=b""), "came back"),
    "it goes on after its farewell": (
        Server(farewell=CLOSE + b"x"),
        "something came after the Close frame",
    ),
    "it refuses": (
        Server(head=lambda head: b"HTTP/1.1 403 Forbidden\r\n\r\n"),
        "403 Forbidden",
    ),
    "its accept is wrong": (
        Server(head=lambda head: head.replace(b"accept: ", b"accept: x")),
        "was answered with",
    ),
    "its head has no end": (
        Server(head=lambda head: b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 1000),
        "was answered with",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_server_is_at_fault_if(fault: str) -> None:
    server, complaint = WRONG[fault]
    with pytest.raises(FaultError, match=complaint):
        use(server)


# The measurement


@linux
@counted
@pytest.mark.parametrize("name", ["reactor", "selectors"])
def test_a_connection_costs_what_a_crowd_of_them_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_PAUSE", 0.02)
    cost = memory.measure(PEERS[name], sys.executable, 1000, Way())
    assert cost.before > 4 << 20
    assert 100 < cost.rss < 10_000
    assert cost.pss == pytest.approx(cost.rss, abs=1000)
    assert cost.after_message >= cost.rss


def test_a_server_that_cannot_start_is_left_out_of_the_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = Peer("none", "tests.bench.peers.there_is_none")
    costs = memory.play([absent], sys.executable, 1, 1, Way())
    assert costs == {absent: [None]}
    assert "there_is_none" in capsys.readouterr().err
    assert memory.table(costs).splitlines()[1].split()[:5] == [
        "none",
        "(1",
        "of",
        "1",
        "failed)",
    ]


def test_the_numbers_are_medians_of_the_rounds() -> None:
    costs: list[Cost | None] = [
        Cost(8 << 20, 2000, 2100, 2200),
        None,
        Cost(9 << 20, 3000, 3100, 3200),
    ]
    costs.append(Cost(10 << 20, 2500, 2600, 2700))
    assert memory.middle(costs) == Cost(9 << 20, 2500, 2600, 2700)
    assert memory.middle([None]) is None
    reference: list[Cost | None] = [Cost(20 << 20, 10_000, 10_000, 10_000)]
    text = memory.table({PEERS["reactor"]: costs, PEERS["websockets"]: reference})
    head, ours, theirs = text.splitlines()
    assert ours.split()[4:] == ["failed)", "9.0", "2,500", "2,600", "2,700", "0.25"]
    assert theirs.split()[-1] == "1.00"
    assert len(head) == len(ours) == len(theirs)


@linux
@counted
def test_compressed_and_encrypted_connections_cost_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(memory, "_PAUSE", 0.02)
    found = certificates.files(tmp_path)
    files = Files(found.certificate, found.key, found.authority)
    plain = memory.measure(PEERS["reactor"], sys.executable, 200, Way())
    deflate = memory.measure(PEERS["reactor"], sys.executable, 200, Way(deflate=True))
    tls = memory.measure(PEERS["reactor"], sys.executable, 200, Way(files=files))
    assert deflate.after_message > 2 * plain.after_message
    assert tls.rss > plain.rss + 10_000


@pytest.mark.parametrize("reply", [b"\x81\x02hi", b"\xc1\x02hi", b"\x82\x00", b""])
def test_a_wrong_compressed_reply_is_an_error(reply: bytes) -> None:
    way = Way(deflate=True)
    field = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    server = Server(
        head=lambda head: head[:-2] + field, reply=lambda number, frame: reply + CLOSE
    )
    wrong_echo = pytest.raises(FaultError, match="came back")
    with server.listening() as port, opened(port, way) as sock, wrong_echo:
        echo([sock], way)


def test_a_server_that_does_not_compress_as_asked_is_at_fault() -> None:
    with Server().listening() as port, pytest.raises(FaultError, match="compresses: False"):
        opened(port, Way(deflate=True))


def test_who_cannot_serve_this_way_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = [PEERS["reactor"], PEERS["picows"], PEERS["selectors"]]
    assert memory.fitting(wanted, deflate=False, tls=False) == wanted
    assert memory.fitting(wanted, deflate=True, tls=False) == wanted[:1]
    assert memory.fitting(wanted, deflate=False, tls=True) == wanted[:2]
    assert "picows: it has no permessage-deflate, left out" in capsys.readouterr().err


@linux
def test_a_run_tells_the_numbers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "_PAUSE", 0.01)
    file = tmp_path / "numbers.json"
    options = ["--connections=50", "--peers=selectors", f"--json={file}"]
    assert memory.main(options) == 0
    out = capsys.readouterr().out
    assert "50 idle connections, resident bytes for each" in out
    numbers = json.loads(file.read_text())
    (cost,) = numbers["servers"]["selectors"]
    assert numbers["connections"] == 50
    assert set(cost) == {"before", "rss", "pss", "after_message"}


def test_too_few_open_files_are_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "allow_descriptors", lambda wanted: 100)
    assert memory.main(["--connections=50"]) == 2
    assert "178 open files are needed, the limit is 100" in capsys.readouterr().err


def test_without_any_server_there_is_nothing_to_measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available", lambda peers: [])
    assert memory.main(["--connections=1"]) == 2
    assert "no server is left to measure" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["--peers=nobody", "--connections=0", "--rounds=x"])
def test_an_argument_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        memory.main([given])
