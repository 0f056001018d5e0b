"""The measurement of clients: a server that is right, clients that overlook nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable

import pytest

from tests import programs

from . import clients, generator, prepared
from .client_peers import CLIENTS, ClientPeer
from .client_peers.talk import DISTINCT, Talk, cpu_of, messages
from .clients import Cell, Run, Settings, parse
from .faulty_server import CLOSE, PATIENCE, Server, accept
from .generator import FaultError
from .processes import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .client_peers.talk import Message

COMMAND = [sys.executable, "-m", "tests.bench.clients"]
REACTOR = CLIENTS["reactor"]
SHORT = Settings(seconds=0.02, warmup=0.0)


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The compiled answering server."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the answering server and the CPU times need Linux")
    if generator.compiler() is None:
        programs.program("cc", "gcc", "clang")
    with clients.compiled() as path:
        yield path


@pytest.fixture
def port(program: Path) -> Iterator[int]:
    """An answering server that echoes."""
    with clients.answering(program, parse("rtt-64"), None) as server:
        yield server.port


# The answering server


def shake(port: int, key: bytes = b"dGhlIHNhbXBsZSBub25jZQ==") -> tuple[socket.socket, bytes]:
    """A connection, and the head of the answer."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nSEC-WebSocket-key: " + key + b" \r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = sock.recv(1)
        assert part, head
        head += part
    return sock, head


def receive(sock: socket.socket, size: int) -> bytes:
    came = b""
    while len(came) < size:
        part = sock.recv(size - len(came))
        assert part, came
        came += part
    return came


def masked(first: int, payload: bytes, key: bytes = b"\x01\x80\xff\x37") -> bytes:
    return prepared.frame(first, payload, key)


def test_the_answering_server_computes_the_accept_of_any_key(program: Path) -> None:
    for number in range(3):
        key = (b"%022d" % (number * 7919**5)) + b"=="
        with clients.answering(program, parse("rtt-64"), None) as server:
            sock, head = shake(server.port, key)
            with sock:
                sock.sendall(masked(0x88, b""))
                assert b"\r\nSec-WebSocket-Accept: " + accept(key) + b"\r\n" in head
                assert receive(sock, 2) == b"\x88\0"
            server.finish()


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 65535, 65536, 1 << 20])
def test_the_answering_server_sends_back_what_comes(port: int, size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    sent = masked(0x82, payload) * 2 + masked(0x89, b"hi") + masked(0x8A, b"none")
    due = clients.packed(payload) * 2 + b"\x8a\x02hi" + CLOSE
    with shake(port)[0] as sock, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sock.sendall, sent + masked(0x88, CLOSE[2:]))
        assert receive(sock, len(due)) == due
        sending.result(PATIENCE)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"\x81\x02hi", "a frame is not masked"),
        (masked(0x01, b"hi"), "a frame begins with 0x01"),
        (masked(0xC1, b"hi"), "a frame begins with 0xc1"),
        (b"\x82\xff" + b"\0\0\0\0\0\x10\0\x01" + bytes(4), "more than 1048576"),
        (b"", "without a Close frame"),
    ],
)
def test_the_answering_server_complains_of(program: Path, sent: bytes, complaint: str) -> None:
    with clients.answering(program, parse("rtt-64"), None) as server:
        with shake(server.port)[0] as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
        with pytest.raises(FaultError, match=complaint):
            server.finish()


def test_a_flood_ends_with_a_whole_message_and_the_answer_to_close(program: Path) -> None:
    mode = parse("recv-64b")
    lot = b"".join(map(clients.packed, messages(64, text=False)))
    with clients.answering(program, mode, None) as server:
        with shake(server.port)[0] as sock:
            came = receive(sock, 3 * len(lot) + 1)
            sock.sendall(masked(0x89, b"hi") + masked(0x88, CLOSE[2:]))
            sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(1 << 16):
                came += part
        server.finish()
    flood, end = came[: -len(CLOSE) - 4], came[-len(CLOSE) - 4 :]
    assert end == b"\x8a\x02hi" + CLOSE
    assert flood == lot * (len(flood) // len(lot))


def test_a_message_into_the_flood_is_an_error(program: Path) -> None:
    server = clients.answering(program, parse("recv-64"), None)
    with server as flooding, shake(flooding.port)[0] as sock:
        sock.sendall(masked(0x81, b"hi"))
        with pytest.raises(FaultError, match="a message came into the flood"):
            flooding.finish()


def test_the_answering_server_ends_with_the_runner(program: Path) -> None:
    process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        process.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGIO


@pytest.mark.parametrize(
    "argument", [["flood=/there/is/none"], ["flood=/dev/null"], ["x"], ["flood=x", "y"]]
)
def test_a_wrong_argument_of_the_answering_server_is_refused(
    program: Path, argument: list[str]
) -> None:
    done = subprocess.run([str(program), *argument], capture_output=True, check=False)
    assert done.returncode == (1 if argument[0][-1] != "x" else 2)
    assert done.stdout == b""
    assert done.stderr


# What clients check


def round_trips(peer: ClientPeer, server: Server, mode: str = "rtt-64") -> Run:
    """A client's conversation with a server in this process."""
    with server.listening() as port:
        return clients.run_client(peer, parse(mode), port, os.getpid(), None, SHORT)


def received(program: Path, peer: ClientPeer, mode: str = "recv-64") -> Run:
    return clients.measure(program, parse(mode), peer, SHORT)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.interop) for name in CLIENTS])
def peer(request: pytest.FixtureRequest) -> ClientPeer:
    found = CLIENTS[request.param]
    lacking = " and ".join(found.missing())
    if lacking == "uvloop":
        pytest.skip("uvloop is not installed")  # no test needs it
    if lacking:
        programs.missing(lacking)
    return found


def _twisted(frame: bytes) -> bytes:
    return frame[:-1] + bytes((frame[-1] ^ 1,))


def test_a_right_echo_is_counted(peer: ClientPeer) -> None:
    server = Server()
    run = round_trips(peer, server)
    assert run.messages % DISTINCT == 0
    assert 0 < run.messages < len(server.payloads)
    assert run.rate == pytest.approx(run.messages / run.seconds)
    due = [str(message).encode() for message in messages(64, text=True)]
    assert server.payloads[: len(due)] == due


def test_what_a_server_sends_is_counted(program: Path, peer: ClientPeer) -> None:
    run = received(program, peer, "recv-64b")
    assert run.messages > 0
    assert run.messages % DISTINCT == 0
    assert run.client_cpu > 0
    assert run.server_cpu >= 0


def test_a_wrong_bit_of_an_echo_is_an_error(peer: ClientPeer) -> None:
    server = Server(reply=lambda number, frame: _twisted(frame) if number == 300 else frame)
    with pytest.raises(FaultError, match=r"message 300 is .000002c .*, not .000002c "):
        round_trips(peer, server)


@pytest.mark.parametrize("mode", ["rtt-8b", "rtt-1k", "recv-64", "recv-70kb"])
def test_messages_of_any_size_and_kind_are_right(program: Path, mode: str) -> None:
    assert clients.measure(program, parse(mode), REACTOR, SHORT).messages > 0


WRONG_FLOODS: dict[str, Callable[[list[Message]], list[Message]]] = {
    "a bit of one is wrong": lambda due: [*due[:7], str(due[7])[:-1] + "^", *due[8:]],
    "one is missing": lambda due: due[:7] + due[8:],
    "one comes twice": lambda due: due[:8] + due[7:],
    "two are in another order": lambda due: [*due[:7], due[8], due[7], *due[9:]],
    "one is binary instead of text": lambda due: [*due[:7], str(due[7]).encode(), *due[8:]],
    "one is empty": lambda due: [*due[:7], "", *due[8:]],
    "the last is missing": lambda due: due[:-1],
}


@pytest.mark.parametrize("fault", WRONG_FLOODS)
def test_a_flood_is_an_error_if(
    program: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    altered = WRONG_FLOODS[fault](messages(64, text=True))
    monkeypatch.setattr(clients, "messages", lambda size, text: altered)
    with pytest.raises(FaultError, match=r"message [78] is|message 255 is|message 256 is"):
        received(program, REACTOR)


WRONG_REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "it is that of before": lambda frame: frame[:-64] + b"0000002 " + frame[-56:],
    "it is binary instead of text": lambda frame: b"\x82" + frame[1:],
    "it is a byte short": lambda frame: b"\x81\x3f" + frame[2:-1],
    "the server closes": lambda frame: CLOSE,
    "it is masked": lambda frame: b"\x81\xc0" + bytes(4) + frame[2:],
}


@pytest.mark.parametrize("fault", WRONG_REPLIES)
def test_an_echo_is_an_error_if(fault: str) -> None:
    twist = WRONG_REPLIES[fault]
    server = Server(reply=lambda number, frame: twist(frame) if number == 3 else frame)
    with pytest.raises(FaultError, match=r"message 3 is|before the time was over"):
        round_trips(REACTOR, server)


def test_a_client_that_cannot_start_is_a_fault_that_says_why(program: Path) -> None:
    absent = ClientPeer("none", "tests.bench.client_peers.there_is_none")
    with pytest.raises(FaultError, match="there_is_none"):
        received(program, absent)


def test_a_client_that_leaves_without_close_is_a_fault(program: Path) -> None:
    rude = ClientPeer("rude", "tests.bench.faulty_client")
    with pytest.raises(FaultError, match="without a Close frame"):
        received(program, rude)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("size", [8, 9, 64, 1000])
def test_messages_have_their_size_and_no_two_are_alike(size: int, text: bool) -> None:
    made = messages(size, text)
    assert len(set(made)) == DISTINCT
    assert {len(each) for each in made} == {size}
    assert {type(each) for each in made} == {str if text else bytes}


def test_a_conversation_ends_after_its_messages() -> None:
    talk = Talk(["--port=1", "--size=8", "--warmup=0", "--messages=300"])
    due = messages(8, text=True)
    count = 0
    while talk.step(due[count % DISTINCT]) is not None:
        count += 1
    assert count + 1 == DISTINCT * 3  # a lot of warm-up, and two
    assert talk.step("anything") is None


def test_the_cpu_time_of_a_process_is_that_of_its_clock() -> None:
    before = time.process_time()
    found = cpu_of(os.getpid())
    assert before <= found <= time.process_time()


# The runner


def test_a_smoke_run_checks_the_client_and_claims_nothing(
    program: Path, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.json"
    done = subprocess.run(
        [*COMMAND, "--smoke", "--peers=reactor", "--modes=rtt-64,recv-1k", f"--json={file}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert lines == ["rtt-64, reactor", "recv-1k, reactor"]
    modes = json.loads(file.read_text())["modes"]
    assert modes["recv-1k"]["reactor"]["rate"] > 0
    assert modes["rtt-64"]["reactor"]["ratio_to_picows"] is None


def test_without_a_compiler_the_runner_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--smoke", "--peers=reactor"],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": str(tmp_path), "CC": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no C compiler was found" in done.stderr


def test_a_library_that_is_not_installed_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = ClientPeer("absent", "tests.bench.absent", (("no-such", "there_is_no_such"),))
    assert clients.available([absent, REACTOR]) == [REACTOR]
    assert "absent: no-such is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    ["--peers=nobody", "--modes=rtt-7", "--modes=recv-2000k", "--modes=rtt-64x", "--rounds=0"],
)
def test_an_argument_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        clients.arguments([given])


@pytest.mark.parametrize(
    ("written", "echo", "size", "text"),
    [("rtt-64", True, 64, True), ("recv-1k", False, 1024, True), ("recv-8b", False, 8, False)],
)
def test_a_mode_is_what_its_name_says(written: str, echo: bool, size: int, text: bool) -> None:
    mode = parse(written)
    assert (mode.echo, mode.size, mode.text) == (echo, size, text)


# Arithmetic


def run(rate: float, client_cpu: float = 0.5, server_cpu: float = 0.25) -> Run:
    return Run(int(rate), 1.0, rate, client_cpu, server_cpu)


def test_ratios_are_taken_round_by_round_of_rates_and_of_cpu_times() -> None:
    ours = Cell([run(300), None, run(200), run(400)])
    theirs = Cell([run(100, 1.0, 0.5), run(1), run(100, 1.0, 0.5), None])
    row = {REACTOR: ours, CLIENTS["picows"]: theirs}
    numbers = clients.summary(parse("rtt-64"), ours, row)
    assert numbers["rate"] == 300
    assert numbers["spread"] == pytest.approx(2 / 3)
    assert numbers["ratio_to_picows"] == 2.5
    assert numbers["cpu_ratio_to_picows"] == 5
    assert numbers["ratio_to_websockets-sync"] is None
    assert numbers["client_busy"] == 0.5
    assert numbers["server_busy"] == 0.25
    assert numbers["client_cpu_per_message"] == pytest.approx(0.5 / 300)
    assert clients.summary(parse("rtt-64"), Cell([None]), row) == {}


def test_the_servers_time_counts_in_a_round_trip_alone() -> None:
    ours, theirs = Cell([run(100, 0.1, 0.8)]), Cell([run(100, 0.5, 0.4)])
    row = {REACTOR: ours, CLIENTS["picows"]: theirs}
    name = "cpu_ratio_to_picows"
    assert clients.summary(parse("rtt-64"), ours, row)[name] == pytest.approx(1)
    assert clients.summary(parse("recv-64"), ours, row)[name] == pytest.approx(5)


def test_the_table_shows_failures_and_a_server_at_its_limit() -> None:
    row = {
        REACTOR: Cell([run(3000, 0.9, 0.99), run(3000, 0.9, 0.99)]),
        CLIENTS["websockets-sync"]: Cell([run(800), run(1200)]),
        CLIENTS["picows"]: Cell([None, None]),
    }
    text = clients.table(parse("recv-64"), row)
    title, head, *lines, busy, rough = text.splitlines()
    assert title == "recv-64: receive, 64 B text"
    assert lines[0].split()[:4] == ["reactor", "3,000", "0%", "3.12"]
    assert lines[2].split()[:5] == ["picows", "(2", "of", "2", "failed)"]
    assert "reactor may do more" in busy
    assert "rough" in rough
    assert {len(line) for line in [head, *lines]} == {len(head)}
