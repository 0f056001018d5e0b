"""``python -m tests.bench.clients``: measure clients beside one another.

Each runs in a process of its own against a server in C that costs next to nothing, and checks
every message it is given. A mode is written ``rtt-64`` (a round trip of 64 B, one message on
the way, client and server on one core) or ``recv-1k`` (the server sends messages of 1 KiB as
fast as the client takes them, each on a core of its own); a b at the end is for binary
messages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Callable

from . import generator
from .__main__ import _count, _duration, _stop
from .client_peers import CLIENTS, ClientPeer
from .client_peers.talk import LEAST, messages
from .generator import FaultError, UnavailableError
from .prepared import BINARY, TEXT, header
from .processes import CHECKOUT, STOP, child, cores
from .report import _columns, spread
from .rounds import rotated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).with_name("answerer.c")
REFERENCES = ("websockets-sync", "picows")
USUAL = "rtt-64,recv-64,recv-1k"
_WRITTEN = re.compile(r"(rtt|recv)-([1-9]\d*)(k?)([tb]?)")
_LARGEST = 1 << 20  # of the answering server
_BUSY = 0.95  # from this share of its core on, the answering server may be what limits the rate
_SPREAD = 0.3
_PATIENCE = 20.0  # seconds that a client may take beside those it is given


@dataclass(frozen=True)
class Mode:
    """What a client is to do."""

    name: str
    echo: bool
    size: int
    text: bool

    def __str__(self) -> str:
        what = "round trip, one core for both" if self.echo else "receive"
        return f"{what}, {self.size} B {'text' if self.text else 'binary'}"


def parse(written: str) -> Mode:
    """The mode that ``written`` names; ``ValueError`` for what names none."""
    match = _WRITTEN.fullmatch(written)
    size = int(match[2]) << (10 if match[3] else 0) if match else 0
    if match is None or not LEAST <= size <= _LARGEST:
        raise ValueError(
            f"{written!r} is no mode: expected, for example, rtt-64, recv-64 or recv-1kb, "
            f"of {LEAST} to {_LARGEST} bytes"
        )
    return Mode(written, match[1] == "rtt", size, match[4] != "b")


@dataclass(frozen=True)
class Run:
    """What one client counted. Times are in seconds, CPU times of the window counted."""

    messages: int
    seconds: float
    rate: float
    client_cpu: float
    server_cpu: float


@dataclass(frozen=True)
class Settings:
    """What is the same for every measurement."""

    seconds: float
    warmup: float
    python: str = sys.executable


@dataclass
class Cell:
    """One client in one mode: a run for each round, ``None`` for a round that failed."""

    runs: list[Run | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Cells = dict[Mode, dict[ClientPeer, Cell]]


# The answering server


def compiled() -> contextlib.AbstractContextManager[Path]:
    """The answering server's program, in a temporary folder that goes with the context."""
    return generator.compiled(SOURCE)


def packed(message: str | bytes) -> bytes:
    """The frame of a server that carries the message whole."""
    if isinstance(message, str):
        payload = message.encode()
        return header(TEXT, len(payload), False) + payload
    return header(BINARY, len(message), False) + message


@dataclass
class Answering:
    """An answering server that listens."""

    process: subprocess.Popen[str]
    port: int
    errors: IO[str]

    def complaint(self) -> str:
        """What it has against the client, to stand at the end of a sentence."""
        self.errors.seek(0)
        written = self.errors.read().strip()
        return f"; {written}" if written else ""

    def finish(self) -> None:
        """:class:`FaultError` if the client did not do as it should."""
        try:
            status = self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise FaultError("the client did not end its connection") from None
        if status != 0:
            raise FaultError(f"the answering server had status {status}{self.complaint()}")


@contextlib.contextmanager
def answering(program: Path, mode: Mode, core: int | None) -> Iterator[Answering]:
    """An answering server for one client."""
    command = [str(program)]
    if not mode.echo:
        flood = program.with_name(mode.name)
        flood.write_bytes(b"".join(map(packed, messages(mode.size, mode.text))))
        command.append(f"flood={flood}")
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        child(command, core, errors) as process,
    ):
        assert process.stdout is not None
        # It names its port or it ends: either is something to read.
        server = Answering(process, 0, errors)
        line = process.stdout.readline()
        if not line:
            server.finish()
        server.port = int(line)
        yield server


# Rounds


def play(
    program: Path,
    modes: Sequence[Mode],
    peers: Sequence[ClientPeer],
    rounds: int,
    settings: Settings,
) -> Cells:
    """All rounds of all modes: A B C, B C A, C A B."""
    cells: Cells = {mode: {peer: Cell() for peer in peers} for mode in modes}
    for number in range(rounds):
        for mode in modes:
            for peer in rotated(peers, number):
                cell = cells[mode][peer]
                where = f"round {number + 1} of {rounds}, {mode.name}, {peer.name}"
                try:
                    cell.runs.append(measure(program, mode, peer, settings))
                    print(where, file=sys.stderr, flush=True)
                except FaultError as failure:
                    cell.runs.append(None)
                    cell.failures.append(str(failure))
                    print(f"{where}: {failure}", file=sys.stderr, flush=True)
    return cells


def measure(program: Path, mode: Mode, peer: ClientPeer, settings: Settings) -> Run:
    """One measurement, of a client and a server started for it."""
    client_core, server_core = cores()
    if mode.echo:
        server_core = client_core
    with answering(program, mode, server_core) as server:
        try:
            process = server.process.pid
            run = run_client(peer, mode, server.port, process, client_core, settings)
        except FaultError as failure:
            raise FaultError(f"{failure}{server.complaint()}") from None
        server.finish()
        return run


def run_client(
    peer: ClientPeer, mode: Mode, port: int, server: int, core: int | None, settings: Settings
) -> Run:
    """What a client says of its conversation; :class:`FaultError` if that was not in order."""
    python = settings.python if peer.ours else sys.executable
    command = [python, "-m", peer.module, f"--port={port}", f"--server={server}"]
    command += [f"--size={mode.size}"]
    command += [f"--warmup={settings.warmup}", f"--seconds={settings.seconds}"]
    command += ["--echo"] * mode.echo + ["--binary"] * (not mode.text)
    limit = settings.warmup + settings.seconds + _PATIENCE
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with child(command, core, errors) as process:
            try:
                output, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                raise FaultError(f"the client did not end within {limit:g} s") from None
        errors.seek(0)
        written = errors.read().strip()
    if process.returncode != 0:
        raise FaultError(written or f"the client ended with status {process.returncode}")
    return Run(**json.loads(output))


# Numbers


def _rate(mode: Mode, run: Run) -> float:
    return run.rate


def _by_cpu(mode: Mode, run: Run) -> float:
    """What the rate would be if nobody else wanted the core."""
    return run.messages / (run.client_cpu + run.server_cpu * mode.echo)


def ratio(
    mode: Mode, cell: Cell, reference: Cell | None, value: Callable[[Mode, Run], float] = _rate
) -> float | None:
    """The median of the values' ratios, each taken within one round."""
    ratios = [
        value(mode, mine) / value(mode, theirs)
        for mine, theirs in zip(cell.runs, reference.runs if reference else ())
        if mine is not None and theirs is not None
    ]
    return median(ratios) if ratios else None


def summary(mode: Mode, cell: Cell, row: dict[ClientPeer, Cell]) -> dict[str, float | None]:
    """The numbers of one line of a table; empty for a client with no good run."""
    runs = [run for run in cell.runs if run is not None]
    if not runs:
        return {}

    def middle(value: Callable[[Run], float]) -> float:
        return median(value(run) for run in runs)

    others = {name: row.get(CLIENTS[name]) for name in REFERENCES}
    return {
        "rate": middle(lambda run: run.rate),
        "spread": spread([run.rate for run in runs]),
        **{f"ratio_to_{name}": ratio(mode, cell, other) for name, other in others.items()},
        **{
            f"cpu_ratio_to_{name}": ratio(mode, cell, other, _by_cpu)
            for name, other in others.items()
        },
        "client_cpu_per_message": middle(lambda run: run.client_cpu / run.messages),
        "server_cpu_per_message": middle(lambda run: run.server_cpu / run.messages),
        "client_busy": middle(lambda run: run.client_cpu / run.seconds),
        "server_busy": middle(lambda run: run.server_cpu / run.seconds),
    }


def as_data(cells: Cells) -> dict[str, object]:
    """Everything measured, run by run, with the summaries, for JSON."""
    return {
        mode.name: {
            peer.name: {
                **summary(mode, cell, row),
                "runs": [asdict(run) if run else None for run in cell.runs],
                "failures": cell.failures,
            }
            for peer, cell in row.items()
        }
        for mode, row in cells.items()
    }


_COLUMNS: tuple[tuple[str, str, str, float], ...] = (
    ("messages/s", "rate", ",.0f", 1),
    ("spread", "spread", ".0%", 1),
    *((f"x {name}", f"ratio_to_{name}", ".2f", 1) for name in REFERENCES),
    *((f"CPU: x {name}", f"cpu_ratio_to_{name}", ".2f", 1) for name in REFERENCES),
    ("CPU us/msg", "client_cpu_per_message", ".2f", 1e6),
    ("server's", "server_cpu_per_message", ".2f", 1e6),
    ("client", "client_busy", ".0%", 1),
    ("server", "server_busy", ".0%", 1),
)


def table(mode: Mode, row: dict[ClientPeer, Cell]) -> str:
    """One mode's results, a line for each client."""
    numbers = {peer: summary(mode, cell, row) for peer, cell in row.items()}
    lines = [["client", *(head for head, *_ in _COLUMNS)]]
    for peer, cell in row.items():
        failed = sum(run is None for run in cell.runs)
        note = f" ({failed} of {len(cell.runs)} failed)" if failed else ""
        values = ((numbers[peer].get(name), form, scale) for _, name, form, scale in _COLUMNS)
        shown = ["-" if v is None else format(v * scale, form) for v, form, scale in values]
        lines.append([peer.name + note, *shown])
    text = [f"{mode.name}: {mode}", *_columns(lines)]
    busy = [p.name for p in row if (numbers[p].get("server_busy") or 0) >= _BUSY]
    if busy and not mode.echo:
        text.append(f"The server was busy all the time: {', '.join(busy)} may do more.")
    if any((each.get("spread") or 0) > _SPREAD for each in numbers.values()):
        text.append("The rounds differ much: other work took the cores, the ratios are rough.")
    return "\n".join(text)


# The command line


def _modes(text: str) -> list[Mode]:
    try:
        return [parse(name) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _peers(text: str) -> list[ClientPeer]:
    names = text.split(",")
    unknown = [name for name in names if name not in CLIENTS]
    if unknown:
        expected = f"expected some of {', '.join(CLIENTS)}"
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: {expected}")
    return [CLIENTS[name] for name in names]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.clients", description="Clients beside one another."
    )
    add = parser.add_argument
    add("--rounds", type=_count, default=5, help="default: %(default)s")
    add("--seconds", type=_duration, default=1.5, help="of each run, default: %(default)s")
    add("--warmup", type=_duration, default=0.3, help="before them, default: %(default)s")
    add("--modes", type=_modes, default=USUAL, help="default: %(default)s")
    add("--peers", type=_peers, default=",".join(CLIENTS), help="default: %(default)s")
    add("--python", default=sys.executable, help="interpreter for the reactor client")
    add("--json", type=Path, metavar="FILE", help="write every number there")
    add("--smoke", action="store_true", help="one short round: does it work, is all right")
    options = parser.parse_args(given)
    if options.smoke:
        options.rounds, options.seconds, options.warmup = 1, 0.1, 0.05
    return options


def available(wanted: Sequence[ClientPeer]) -> list[ClientPeer]:
    """Those of the clients that can run here; the others are named."""
    for peer in wanted:
        if peer.missing():
            lacking = " and ".join(peer.missing())
            print(f"{peer.name}: {lacking} is not installed, left out", file=sys.stderr)
    return [peer for peer in wanted if not peer.missing()]


def environment(peers: Sequence[ClientPeer], python: str) -> dict[str, object]:
    """Where the numbers come from, without which they mean nothing."""
    client, server = cores()
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "interpreter of reactor": "the same" if python == sys.executable else python,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
        "client on core": "any" if client is None else client,
        "server on core, but for a round trip": "any" if server is None else server,
        "load before": round(os.getloadavg()[0], 2),
        "versions": {peer.name: peer.version() for peer in peers if peer.needs},
    }


def show(cells: Cells, where: dict[str, object], options: argparse.Namespace) -> None:
    for name, value in where.items():
        print(f"{name}: {value}")
    print(
        f"{options.rounds} interleaved rounds of {options.seconds:g} s, medians, ratio by round"
    )
    print("client, server: how much of a core each took; a round trip has one core for both")
    print("CPU: the ratio of messages for a second of CPU, in a round trip with the server's")
    for mode, row in cells.items():
        print(f"\n{table(mode, row)}")


def show_smoke(cells: Cells) -> None:
    for mode, row in cells.items():
        for peer, cell in row.items():
            for run in filter(None, cell.runs):
                print(f"{mode.name}, {peer.name}: {run.messages} messages, all as due")


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    signal.signal(signal.SIGTERM, _stop)
    peers = available(options.peers)
    if not peers:
        print("no client is left to measure", file=sys.stderr)
        return 2
    settings = Settings(options.seconds, options.warmup, options.python)
    where = environment(peers, options.python)
    try:
        with compiled() as program:
            cells = play(program, options.modes, peers, options.rounds, settings)
    except UnavailableError as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if options.smoke:
        show_smoke(cells)
    else:
        show(cells, where, options)
    if options.json:
        data = {"environment": where, "modes": as_data(cells)}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if any(cell.failures for row in cells.values() for cell in row.values()) else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
