"""Runs the Autobahn suite and compares each case with what is expected of it.

    run.py server [--cases 1.* 9.3.4] [--exclude 9.*]     the suite plays the client
    run.py client [--cases 1.* 9.3.4] [--exclude 9.*]     the suite plays the server

By default all cases are run, which takes a quarter of an hour: see docs/conformance.md. With
--fast it is a minute, as in CI: of sections 12 and 13, where a case is a thousand messages, it
leaves out those with messages above 32 KiB or in fragments.

The exit status is 0 if every selected case ended exactly as expected.json says: better is a
difference too, and is to be written down there. install.sh beside this file installs the suite.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fnmatch
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# run.py is started as a program: its own folder is where Python looks, not the root.
sys.path.insert(0, str(ROOT))

from tests import processes  # noqa: E402

AGENT = "reactor"
# 12.1.1 is one of these, and 12.1.10 none.
FAST = ("[1-9].*", "10.*", "12.*.[1-8]", "13.*.[1-8]")
# Seconds, for the suite to start.
PATIENCE = 30
# A case has a behaviour and a closing behaviour: the worse of the two is its status.
WORST_FIRST = (
    "FAILED",
    "UNCLEAN",
    "WRONG CODE",
    "UNIMPLEMENTED",
    "NON-STRICT",
    "INFORMATIONAL",
)


def default_destination() -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("WSTEST_DEST") or os.path.join(cache, "wsreactor", "autobahn")


def select(names: Sequence[str], patterns: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the cases that a pattern matches and none in `exclude` does."""
    for pattern in (*patterns, *exclude):
        if not fnmatch.filter(names, pattern):
            sys.exit(f"run.py: no case matches {pattern}")
    chosen = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    chosen -= {name for pattern in exclude for name in fnmatch.filter(names, pattern)}
    return [name for name in names if name in chosen]


@contextlib.contextmanager
def echo_server() -> Iterator[str]:
    """Start the server under test; yield its URL."""
    command = [sys.executable, "-m", "tests.conformance.echo_server", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                sys.exit("run.py: the server did not start")
            yield f"ws://127.0.0.1:{int(line.split()[-1])}"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                raise


@contextlib.contextmanager
def suite(
    destination: str, mode: str, reports: pathlib.Path, **specification: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the suite as `mode`; its reports and its log go into `reports`."""
    reports.mkdir(parents=True, exist_ok=True)
    path = reports / f"{mode}.json"
    common = {"outdir": str(reports), "exclude-cases": [], "exclude-agent-cases": {}}
    path.write_text(json.dumps({**common, **specification}))
    # install.sh made the destination a user base: see there.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PYTHONUSERBASE"] = destination
    command = [f"{destination}/bin/wstest", "-m", mode, "-s", str(path), "--webport", "0"]
    with (
        (reports / "log.txt").open("wb") as log,
        subprocess.Popen(
            command, env=environment, cwd=reports, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def fuzzing_server(
    destination: str, cases: Sequence[str], reports: pathlib.Path
) -> Iterator[str]:
    """Start the suite's server with `cases`; yield its URL."""
    port = processes.free_port()
    url = f"ws://127.0.0.1:{port}"
    with suite(destination, "fuzzingserver", reports, url=url, cases=cases) as process:
        if not processes.answers(process, port, PATIENCE):
            sys.exit(f"run.py: the suite did not start; its last words:\n{last_words(reports)}")
        yield url


@contextlib.contextmanager
def echo_client(url: str, reports: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the client under test; what it has to complain about goes into `reports`."""
    command = [sys.executable, "-m", "tests.conformance.echo_client", url, AGENT]
    with (
        (reports / "client.txt").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT) as client,
    ):
        try:
            yield client
        finally:
            client.kill()


def status(case: Mapping[str, str]) -> str:
    both = {case["behavior"], case["behaviorClose"]}
    for name in WORST_FIRST:
        if name in both:
            return name
    return "OK" if both == {"OK"} else "FAILED"


def read_results(reports: pathlib.Path) -> dict[str, str]:
    index = reports / "index.json"
    if not index.exists():
        print(f"the suite wrote no report; its last words:\n{last_words(reports)}")
        return {}
    cases = json.loads(index.read_text())[AGENT]
    return {name: status(case) for name, case in cases.items()}


def last_words(reports: pathlib.Path) -> str:
    lines = (reports / "log.txt").read_text(errors="replace").splitlines()
    return "\n".join(lines[-15:])


def reason(reports: pathlib.Path, name: str) -> str:
    """Return what the suite says of a case."""
    for path in reports.glob(f"*/{AGENT}_case_{name.replace('.', '_')}.json"):
        case = json.loads(path.read_text(errors="replace"))
        return f"{case['result']} {case['resultClose']} (close code {case['remoteCloseCode']})"
    return "the case did not run to its end"


def run_server(
    options: argparse.Namespace, cases: Sequence[str], reports: pathlib.Path
) -> dict[str, str]:
    """Let the suite's clients loose on echo servers, one for each shard of the cases."""
    with contextlib.ExitStack() as stack:
        clients = []
        for folder, shard in deal(cases, options.shards, reports):
            url = options.url or stack.enter_context(echo_server())
            target = {"servers": [{"agent": AGENT, "url": url}], "cases": shard}
            client = suite(options.dest, "fuzzingclient", folder, **target)
            clients.append((stack.enter_context(client), folder))
        return collect(clients, options.timeout)


def run_client(
    options: argparse.Namespace, cases: Sequence[str], reports: pathlib.Path
) -> dict[str, str]:
    """Let our client go through the suite's servers, one for each shard of the cases."""
    with contextlib.ExitStack() as stack:
        clients = []
        for folder, shard in deal(cases, options.shards, reports):
            url = stack.enter_context(fuzzing_server(options.dest, shard, folder))
            clients.append((stack.enter_context(echo_client(url, folder)), folder))
        results = collect(clients, options.timeout)
        for client, folder in clients:
            if client.returncode:
                complaint = (folder / "client.txt").read_text(errors="replace")
                print(f"the client ended with {client.returncode}:\n{complaint[-2000:]}")
        return results


def deal(
    cases: Sequence[str], shards: int, reports: pathlib.Path
) -> Iterator[tuple[pathlib.Path, Sequence[str]]]:
    """Share the cases out: yield for each shard a folder for its reports, and its cases."""
    for number in range(min(shards, len(cases))):
        # Dealt out like cards, the long cases, which are neighbours, are shared evenly.
        yield reports / str(number), cases[number::shards]


def collect(
    clients: Sequence[tuple[subprocess.Popen[bytes], pathlib.Path]], timeout: float
) -> dict[str, str]:
    """Wait for those who ask, whichever side they are; return what the suite has found."""
    deadline = time.monotonic() + timeout
    results: dict[str, str] = {}
    for client, folder in clients:
        try:
            client.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{timeout:g} s were not enough")
        results.update(read_results(folder))
    return results


def compare(
    expected: Mapping[str, str], results: Mapping[str, str], reports: pathlib.Path
) -> int:
    """Print every difference; return how many there are."""
    different = 0
    for name, wanted in expected.items():
        got = results.get(name, "MISSING")
        if got != wanted:
            different += 1
            print(f"{name}: expected {wanted}, got {got}: {reason(reports, name)}")
    return different


def count(names: Iterable[str], results: Mapping[str, str]) -> str:
    counts = collections.Counter(results.get(name, "MISSING") for name in names)
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


def summaries(cases: Sequence[str], results: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each section of the suite."""
    for section, names in itertools.groupby(cases, key=lambda name: name.split(".")[0]):
        members = list(names)
        yield f"section {section}: {len(members)} cases: {count(members, results)}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the Autobahn suite.")
    parser.add_argument("role", choices=["server", "client"], help="what is under test")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN")
    which.add_argument("--fast", action="store_const", const=FAST, dest="cases")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN")
    parser.add_argument("--shards", type=int, default=2, help="suites at once (default: 2)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds (default: 3600)")
    parser.add_argument("--dest", default=default_destination(), help="where install.sh put it")
    parser.add_argument("--reports", help="keep the suite's reports in this folder")
    parser.add_argument("--url", help="test the server that listens here, not ours")
    options = parser.parse_args()
    if options.url and options.role == "client":
        parser.error("--url is of a server")
    if not os.path.exists(f"{options.dest}/bin/wstest"):
        parser.error(f"no suite in {options.dest}: run install.sh")
    return options


def main() -> int:
    options = parse_arguments()
    # Being terminated must not leave children behind: as an exception it runs all the finallys.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    everything: dict[str, str] = json.loads((HERE / "expected.json").read_text())[options.role]
    cases = select(list(everything), options.cases, options.exclude)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        reports = pathlib.Path(options.reports or scratch).resolve()
        run = run_server if options.role == "server" else run_client
        results = run(options, cases, reports)
        different = compare({name: everything[name] for name in cases}, results, reports)
    print(*summaries(cases, results), sep="\n")
    print(
        f"autobahn {options.role}: {len(cases)} cases: {count(cases, results)};"
        f" {different} not as expected ({time.monotonic() - began:.0f} s)"
    )
    return 1 if different or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
