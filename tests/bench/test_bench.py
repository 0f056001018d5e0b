"""The runner of the benchmark, from the outside."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from . import __main__ as runner
from . import certificate, frames, generator, masking, modes
from .__main__ import arguments, available, possible
from .faulty_server import PATIENCE
from .generator import FaultError
from .peers import PEERS, Peer
from .processes import CHECKOUT, cores, serving
from .rounds import pairs, words

if TYPE_CHECKING:
    from pathlib import Path

BENCH = [sys.executable, "-m", "tests.bench"]


# The runner


def test_a_run_without_words_has_the_usual_servers_and_modes() -> None:
    options = arguments([])
    assert [peer.name for peer in options.peers] == [
        "reactor",
        "websockets",
        "picows",
        "selectors",
    ]
    assert options.modes == modes.parse("usual")
    assert arguments(["--smoke"]).modes == modes.parse("smoke")
    assert arguments(["--smoke", "--modes", "rtt"]).modes == modes.parse("rtt")
    assert arguments(["--peers", "all"]).peers == list(PEERS.values())
    assert arguments(["--modes", "all"]).modes == modes.parse("all")
    assert arguments(["--against", "selectors,picows"]).against == ["selectors", "picows"]


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
    data = json.loads(file.read_text())
    assert data["growth"] == {}
    row = data["modes"]["rtt-32t"]
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
        # A temporary file without a name has one for a moment where there is no O_TMPFILE, on
        # PyPy: a signal in that moment leaves it.
        assert list(tmp_path.glob("wsreactor-bench-*")) == []


def test_the_growth_of_a_run_is_shown_and_written_down(program: Path, tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    options = ["--modes", "echo-10x32t,echo-100x32t", "--peers", "reactor", "--rounds", "1"]
    options += ["--seconds", "0.1", "--json", str(file)]
    done = subprocess.run(
        [*BENCH, *options], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, title, head, line = done.stdout.splitlines()
    assert title.startswith("growth: ")
    assert head.split() == ["server", "10", "connections", "100", "connections"]
    growth = json.loads(file.read_text())["growth"]["reactor"]
    assert line.split() == ["reactor", "1.00", f"{growth['100']:.2f}"]


def test_a_server_that_answers_wrongly_is_no_number_and_the_status_says_so(
    program: Path, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.json"
    # The ceiling sends back what came, mask and all: as a WebSocket server it is a faulty one.
    wrong = Peer("reactor", PEERS["selectors"].module)
    script = (
        "import sys; from tests.bench import __main__ as runner, peers\n"
        "from tests.bench.peers import Peer\n"
        f"peers.PEERS['reactor'] = {wrong!r}\n"
        "sys.exit(runner.main(sys.argv[1:]))"
    )
    options = ["--smoke", "--modes", "rtt", "--peers", "reactor", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-c", script, *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the reply is wrong" in done.stderr
    assert done.stdout == ""
    cell = json.loads(file.read_text())["modes"]["rtt-32t"]["reactor"]
    assert cell["runs"] == [None]
    assert "rate" not in cell


def test_a_mode_for_which_the_limit_of_open_files_is_too_low_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "allow_descriptors", lambda wanted: min(wanted, 1024))
    assert [mode.connections for mode in possible(modes.parse("growth"))] == [10, 100]
    said = capsys.readouterr().err
    assert "echo-1000x32t: 1128 open files are needed and the limit is 1024" in said


def test_the_limit_of_open_files_is_raised_for_the_servers_as_far_as_it_goes() -> None:
    script = (
        "import resource; from tests.bench.processes import allow_descriptors as allow\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))\n"
        "print(allow(32), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(allow(100), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(allow(300), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["32", "64", "100", "100", "200", "200"]


def test_tls_without_trustme_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    wanted = modes.parse_all("tls,rtt")
    assert possible(wanted) == modes.parse("rtt")
    assert "tls-100x1k: trustme, which makes the certificate, not installed, left out" in (
        capsys.readouterr().err
    )


def test_a_server_has_no_part_in_a_mode_that_it_cannot_do_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = modes.parse_all("rtt,deflate,tls")
    rtt, deflate, tls = asked
    reactor, picows, ceiling = (PEERS[name] for name in ("reactor", "picows", "selectors"))
    assert pairs(asked, [reactor, picows, ceiling]) == {
        rtt: [reactor, picows, ceiling],
        deflate: [reactor],
        tls: [reactor, picows],
    }
    assert capsys.readouterr().err.splitlines() == [
        "deflate-100x1k, picows: it has no permessage-deflate, left out",
        "deflate-100x1k, selectors: it looks at no byte after the handshake, left out",
        "tls-100x1k, selectors: it looks at no byte after the handshake, left out",
    ]
    assert pairs([deflate], [picows]) == {}
    assert runner.main(["--modes", "deflate", "--peers", "picows,selectors"]) == 2
    assert "nothing is left to measure" in capsys.readouterr().err


def test_a_server_is_told_what_its_mode_needs() -> None:
    files = certificate.Files("c.pem", "k.pem", "a.pem")
    told = {name: list(words(modes.parse(name)[0], files)) for name in modes.GROUPS["all"]}
    assert told["rtt-32t"] == told["conn-64"] == ["echo"]
    assert told["fan-1000x32t"] == ["fanout"]
    assert told["deflate-100x1k"] == ["echo", "deflate"]
    assert told["tls-100x1k"] == ["echo", "tls=c.pem,k.pem"]


def test_a_generator_that_counts_nothing_is_a_fault() -> None:
    with pytest.raises(FaultError, match="counted ''"):
        generator.result(0, "", "")
    with pytest.raises(FaultError, match="counted"):
        generator.result(0, '{"messages": 1}', "")
    with pytest.raises(FaultError, match="no room"):
        generator.result(1, "", "no room\n")
    with pytest.raises(FaultError, match="ended with status 3"):
        generator.result(3, "", "")


def test_a_library_that_is_not_installed_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = Peer("absent", "tests.bench.peers.absent", needs=("there_is_no_such_package",))
    assert available([absent, PEERS["selectors"]]) == [PEERS["selectors"]]
    assert "absent: there_is_no_such_package not installed, left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        "--peers=nobody",
        "--against=nobody",
        "--by=size",
        "--modes=echo-0x1t",
        "--rounds=0",
        "--seconds=0",
        "--seconds=x",
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments([given])


def test_the_facts_of_the_hot_paths_can_be_measured_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    masking.main(budget=1)
    frames.main(rounds=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["bytes", "integer", "lanes", "loop", "chosen"]
    assert [int(line.split()[0]) for line in lines[1:-4]] == list(masking.SIZES)
    ways = [[str(size), way] for size in frames.SIZES for way in ("in_the_loop", "general")]
    assert [line.split()[:2] for line in lines[-4:]] == ways
