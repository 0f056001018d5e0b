"""The benchmark's own tests: a generator that overlooks nothing, arithmetic that is right."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Callable

import pytest

from tests import programs

from . import frames, generator, import_cost, masking, modes, report
from .__main__ import arguments, available
from .faulty_server import CLOSE, PATIENCE, PING, Server
from .generator import FaultError, Run
from .peers import PEERS, Peer
from .processes import CHECKOUT, cores, serving
from .rounds import Cell, rotated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BENCH = [sys.executable, "-m", "tests.bench"]


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The compiled generator."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the load generator waits with epoll, which only Linux has")
    if generator.compiler() is None:
        programs.program("cc", "gcc", "clang")
    with generator.compiled() as path:
        yield path


def load(
    program: Path, port: int, mode: str = "rtt-32t", raw: bool = False, seconds: float = 0.05
) -> Run:
    """One run of the generator against the server on ``port``."""
    command = generator.command(
        program, modes.parse(mode), port, raw=raw, warmup=0, seconds=seconds, patience=1
    )
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=3 * PATIENCE
    )
    return generator.result(done.returncode, done.stdout, done.stderr)


def complaint(program: Path, server: Server, mode: str = "rtt-32t", seconds: float = 5) -> str:
    """What the generator says of a server with a fault, which it meets within the seconds."""
    with server.listening() as port, pytest.raises(FaultError) as caught:
        load(program, port, mode, seconds=seconds)
    return str(caught.value)


# What comes back


@pytest.mark.parametrize("kind", ["t", "b"])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 125, 126, 65535, 65536])
def test_a_right_echo_of_any_length_is_counted(program: Path, size: int, kind: str) -> None:
    server = Server()
    with server.listening() as port:
        run = load(program, port, f"pipe-1x3x{size}{kind}")
    assert 0 < run.messages <= len(server.payloads)
    assert run.rate == pytest.approx(run.messages / run.seconds, rel=0.01)
    assert 0 < run.p50 <= run.p99
    assert {len(payload) for payload in server.payloads} == {size}


def test_every_frame_has_a_key_of_its_own_and_every_message_is_another(program: Path) -> None:
    server = Server()
    with server.listening() as port:
        load(program, port, seconds=0.3)
    assert len(server.payloads) > 20
    assert len(set(server.payloads)) == len(server.payloads)
    # Keys are random: two of some thousand may be alike by chance, once in a thousand runs.
    assert len(set(server.keys)) >= len(server.keys) - 1
    assert all(payload.isascii() for payload in server.payloads)


def test_replies_may_come_in_pieces(program: Path) -> None:
    server = Server(one_by_one=True)
    with server.listening() as port:
        assert load(program, port, "pipe-1x4x32b").messages > 0


def test_a_ping_between_replies_is_answered_and_not_counted(program: Path) -> None:
    server = Server(reply=lambda number, frame: PING + frame)
    with server.listening() as port:
        load(program, port)
    assert server.pongs == [b"abc"] * len(server.payloads)


def _twisted(frame: bytes) -> bytes:
    return frame[:-1] + bytes((frame[-1] ^ 1,))


WRONG_REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "its last bit is wrong": _twisted,
    "its tag is wrong": lambda frame: frame[:4] + b"!" + frame[5:],
    "it is binary instead of text": lambda frame: b"\x82" + frame[1:],
    "it is not final": lambda frame: b"\x01" + frame[1:],
    "it is masked": lambda frame: frame[:1] + b"\xa0\0\0\0\0" + frame[2:],
    "its length takes more bytes than needed": lambda frame: b"\x81\x7e\0" + frame[1:],
    "it is a byte short": lambda frame: b"\x81\x1f" + frame[2:-1],
    "it is a byte long": lambda frame: b"\x81\x21" + frame[2:] + b"x",
}


@pytest.mark.parametrize("fault", WRONG_REPLIES)
@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "bytes"])
def test_a_reply_is_an_error_if(program: Path, fault: str, one_by_one: bool) -> None:
    twist = WRONG_REPLIES[fault]
    server = Server(
        reply=lambda number, frame: twist(frame) if number == 5 else frame,
        one_by_one=one_by_one,
    )
    said = complaint(program, server, "pipe-1x2x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_wrong_last_bit_of_a_large_reply_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: _twisted(frame) if number == 1 else frame)
    said = complaint(program, server, "rtt-1mb")
    assert "reply 1: the reply is wrong" in said


def test_a_reply_left_out_among_others_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: b"" if number == 5 else frame)
    said = complaint(program, server, "pipe-1x4x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_missing_reply_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: b"" if number == 1 else frame)
    said = complaint(program, server, seconds=0.2)
    assert "1 replies are missing" in said


def test_replies_in_another_order_are_an_error(program: Path) -> None:
    held: list[bytes] = []

    def swap(number: int, frame: bytes) -> bytes:
        if number == 5:
            held.append(frame)
            return b""
        return frame + held.pop() if number == 6 else frame

    said = complaint(program, Server(reply=swap), "pipe-1x4x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_reply_that_comes_twice_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: frame * 2 if number == 5 else frame)
    said = complaint(program, server)
    assert "an extra reply came" in said or "the reply is wrong" in said


def test_a_reply_too_many_at_the_end_is_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=b"\x81\x02hi" + CLOSE), seconds=0.05)
    assert "an extra reply came" in said


def test_a_message_before_the_first_is_an_error(program: Path) -> None:
    said = complaint(program, Server(head=lambda head: head + b"\x81\x02hi"))
    assert "an extra reply came" in said


def test_a_server_that_closes_by_itself_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: CLOSE if number == 5 else frame)
    said = complaint(program, server)
    assert "the server closed" in said


def test_an_end_without_a_close_frame_is_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=b""), seconds=0.05)
    assert "without a Close frame" in said


def test_bytes_after_the_close_frame_are_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=CLOSE + b"x"), seconds=0.05)
    assert "1 bytes came after the Close frame" in said


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", '"HTTP/1.1 400 Bad Request"'),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "without Sec-WebSocket-Accept"),
        (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: no\r\n\r\n", "without Sec-WebSocket-Accept"),
        (b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 1000, "no end within 4096 bytes"),
        (b"", "1 of 1 handshakes are still unanswered"),
    ],
)
def test_a_wrong_handshake_is_an_error(program: Path, answer: bytes, expected: str) -> None:
    said = complaint(program, Server(head=lambda head: answer))
    assert expected in said


def test_the_ceiling_echoes_what_was_sent_mask_and_all(program: Path) -> None:
    with serving(PEERS["selectors"], sys.executable, cores()[0]) as server:
        assert load(program, server.port, "pipe-3x4x64kb", raw=True).messages > 0
        with pytest.raises(FaultError, match="wrong"):
            load(program, server.port)


def test_an_unknown_argument_of_the_generator_is_refused(program: Path) -> None:
    for argument in ("port=0", "port=x", "size", "kind=json", "colour=red", "connections=-1"):
        done = subprocess.run([str(program), argument], capture_output=True, check=False)
        assert done.returncode == 2, argument


# The runner


def test_a_server_that_cannot_start_is_a_fault_that_says_why() -> None:
    peer = Peer("none", "tests.bench.peers.there_is_none")
    server = serving(peer, sys.executable, cores()[0])
    with pytest.raises(FaultError, match=r"(?s)ended with status 1.*there_is_none"), server:
        pytest.fail("it cannot have started")


def test_a_smoke_run_checks_the_servers_and_claims_nothing(
    program: Path, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.json"
    options = ["--smoke", "--peers", "reactor,selectors", "--modes", "rtt", "--json", str(file)]
    done = subprocess.run(
        [*BENCH, *options], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "rtt-32t, reactor",
        "rtt-32t, selectors",
    ]
    row = json.loads(file.read_text())["modes"]["rtt-32t"]
    assert row["reactor"]["rate"] > 0
    assert row["reactor"]["ratio_to_websockets"] is None


def test_without_a_compiler_the_runner_says_what_to_install(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "CC": ""}
    done = subprocess.run(
        [*BENCH, "--smoke", "--peers", "selectors"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no C compiler was found" in done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_no_server_outlives_the_runner(
    program: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    runner = subprocess.Popen(
        [*BENCH, "--peers", "selectors", "--modes", "rtt", "--seconds", "50"],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with runner:
        assert runner.stderr is not None
        port = re.search(r"process \d+ on port (\d+)", runner.stderr.readline())
        assert port is not None
        # The connection ends when the process does that holds the other side of it.
        with socket.create_connection(("127.0.0.1", int(port[1])), PATIENCE) as watch:
            runner.send_signal(number)
            # A process that ends before it has accepted the connection resets it.
            with contextlib.suppress(ConnectionResetError):
                assert watch.recv(1) == b""
        assert runner.wait(PATIENCE) == status
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_not_installed_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = Peer("absent", "tests.bench.peers.absent", needs="there_is_no_such_package")
    assert available([absent, PEERS["selectors"]]) == [PEERS["selectors"]]
    assert "there_is_no_such_package is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", ["--peers=nobody", "--modes=echo-0x1t", "--rounds=0", "--seconds=0", "--seconds=x"]
)
def test_an_argument_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments([given])


# Modes


@pytest.mark.parametrize(
    ("written", "connections", "inflight", "size", "text"),
    [
        ("rtt", 1, 1, 32, True),
        ("echo", 100, 1, 32, True),
        ("pipe", 10, 64, 32, True),
        ("rtt-1mb", 1, 1, 1 << 20, False),
        ("echo-1000x1kt", 1000, 1, 1024, True),
        ("pipe-10x64x125b", 10, 64, 125, False),
    ],
)
def test_a_mode_is_what_its_name_says(
    written: str, connections: int, inflight: int, size: int, text: bool
) -> None:
    mode = modes.parse(written)
    assert (mode.connections, mode.inflight, mode.size, mode.text) == (
        connections,
        inflight,
        size,
        text,
    )
    assert mode.shares_core == (connections == 1)


@pytest.mark.parametrize("written", ["", "rtt-", "rtt-0t", "rtt-32", "echo-32t", "pipe-1x32t"])
def test_what_names_no_mode_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no mode"):
        modes.parse(written)


# Arithmetic


def run(rate: float, generator_cpu: float = 0.5) -> Run:
    return Run(
        messages=int(rate),
        seconds=1.0,
        rate=rate,
        generator_cpu=generator_cpu,
        server_cpu=0.9,
        p50=1e-5,
        p99=2e-5,
    )


def test_each_round_begins_with_the_next_server() -> None:
    orders = ["".join(rotated("ABC", number)) for number in range(4)]
    assert orders == ["ABC", "BCA", "CAB", "ABC"]


def test_the_spread_is_the_distance_of_the_extremes_in_medians() -> None:
    assert report.spread([80, 100, 130]) == 0.5
    assert report.spread([7]) == 0


def test_a_ratio_is_taken_round_by_round_and_not_between_medians() -> None:
    ours = Cell([run(300), run(100), run(200)])
    theirs = Cell([run(100), run(50), run(200)])
    assert report.ratio(ours, theirs) == 2  # of 3, 2, 1; the medians' ratio is 200 / 100 too
    theirs = Cell([run(100), run(100), run(50)])
    assert report.ratio(ours, theirs) == 3  # of 3, 1, 4; the medians' ratio is 2


def test_a_failed_round_is_left_out_of_every_number() -> None:
    ours = Cell([run(300), None, run(200)])
    theirs = Cell([run(100), run(1), None])
    row = {PEERS["reactor"]: ours, PEERS["websockets"]: theirs}
    assert report.ratio(ours, theirs) == 3
    assert report.ratio(Cell([None]), theirs) is None
    numbers = report.summary(ours, row)
    assert numbers["rate"] == 250
    assert numbers["spread"] == 0.4
    assert numbers["ratio_to_websockets"] == 3
    assert numbers["ratio_to_picows"] is None
    assert numbers["server_busy"] == 0.9
    assert numbers["server_cpu_per_message"] == pytest.approx((0.9 / 300 + 0.9 / 200) / 2)
    assert report.summary(Cell([None]), row) == {}


def test_the_table_shows_ratios_failures_and_a_generator_at_its_limit() -> None:
    row = {
        PEERS["reactor"]: Cell([run(3000, 0.99), run(3000, 0.99)]),
        PEERS["websockets"]: Cell([run(800), run(1200)]),
        PEERS["picows"]: Cell([run(2000), None]),
        PEERS["selectors"]: Cell([None, None]),
    }
    title, head, *lines, busy, rough = report.table(modes.parse("echo"), row).splitlines()
    assert title == "echo-100x32t: 100 connections, 1 in flight each, 32 B text"
    assert head.split()[:6] == ["server", "messages/s", "spread", "x", "websockets", "x"]
    assert lines[0].split()[:5] == ["reactor", "3,000", "0%", "3.12", "1.50"]
    assert lines[1].split()[:5] == ["websockets", "1,000", "40%", "1.00", "0.40"]
    assert lines[2].split()[:5] == ["picows", "(1", "of", "2", "failed)"]
    assert lines[3].split()[-9:] == ["-"] * 9
    assert "reactor may do more" in busy
    assert "rough" in rough
    assert {len(line) for line in [head, *lines]} == {len(head)}


# The cost of an import


def test_an_import_costs_the_median_of_its_differences_to_the_bare_interpreter() -> None:
    seconds = {"bare": [1.0, 2.0, 3.0], "reactor": [2.0, 2.5, 9.0], "asyncio": [4.0, 5.0, 7.0]}
    resident = {"bare": [10, 10, 10], "reactor": [11, 13, 12], "asyncio": [20, 30, 20]}
    found = import_cost.costs(seconds, resident)
    assert found["reactor"] == import_cost.Cost(1.0, 2)
    assert found["asyncio"] == import_cost.Cost(3.0, 10)


def test_bytecode_is_kept_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = dict(os.environ)
    with import_cost.bytecode_kept():
        folder = os.environ["PYTHONPYCACHEPREFIX"]
        import_cost.seconds_of(sys.executable, "import reactor")
        kept = [name for _, _, names in os.walk(folder) for name in names]
        assert any(name.startswith("server.") for name in kept)
    assert not os.path.exists(folder)
    assert dict(os.environ) == before


def test_modules_that_must_not_come_along_are_found() -> None:
    modules = import_cost.added_modules(sys.executable, "import asyncio, http.client")
    assert {"asyncio", "asyncio.events", "http.client"} <= set(import_cost.forbidden(modules))
    assert import_cost.forbidden({"reactor", "httpx", "emails", "socket"}) == []


def test_resident_memory_is_that_of_the_program(program: Path) -> None:
    mine = b"x" * (256 << 20)  # which a child must not seem to have
    bare = import_cost.resident_of(sys.executable, "pass")
    large = import_cost.resident_of(sys.executable, "hold = b'x' * (64 << 20)")
    assert (60 << 20) < large - bare < large < len(mine)


def test_the_facts_of_the_hot_paths_can_be_measured_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    masking.main(budget=1)
    frames.main(rounds=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["bytes", "integer", "lanes", "loop", "chosen"]
    assert [int(line.split()[0]) for line in lines[1:-2]] == list(masking.SIZES)
    assert [line.split()[0] for line in lines[-2:]] == ["short_branch", "general"]
