"""``python -m tests.bench``: measure echo servers beside one another."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import generator, modes, report
from .peers import PEERS, Peer
from .processes import CHECKOUT, cores
from .rounds import Cells, Settings, play

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from .modes import Mode


def _modes(text: str) -> list[Mode]:
    try:
        return [modes.parse(name) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _peers(text: str) -> list[Peer]:
    names = text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: expected some of {', '.join(PEERS)}"
        )
    return [PEERS[name] for name in names]


def _duration(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text}: expected between 0 and 600 seconds")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return count


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=_count, default=5, help="default: %(default)s")
    add("--seconds", type=_duration, default=1.5, help="of each run, default: %(default)s")
    add("--warmup", type=_duration, default=0.3, help="before them, default: %(default)s")
    add("--modes", type=_modes, default=",".join(modes.USUAL), help=str(modes.__doc__))
    add("--peers", type=_peers, default=",".join(PEERS), help="default: %(default)s")
    add("--python", default=sys.executable, help="interpreter for the reactor server")
    add("--json", type=Path, metavar="FILE", help="write every number there")
    add("--smoke", action="store_true", help="one short round: does it work, are replies right")
    options = parser.parse_args(given)
    if options.smoke:
        options.rounds, options.seconds, options.warmup = 1, 0.2, 0.05
    return options


def available(wanted: Sequence[Peer]) -> list[Peer]:
    """Those of the servers that can run here; the others are named."""
    for peer in wanted:
        if peer.missing():
            print(f"{peer.name}: {peer.needs} is not installed, left out", file=sys.stderr)
    return [peer for peer in wanted if not peer.missing()]


def environment(peers: Sequence[Peer], python: str) -> dict[str, object]:
    """Where the numbers come from, without which they mean nothing."""
    server, load = cores()
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "interpreter of reactor": "the same" if python == sys.executable else python,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
        "server on core": "any" if server is None else server,
        "generator on core": "any" if load is None else load,
        "load before": round(os.getloadavg()[0], 2),
        "versions": {peer.name: peer.version() for peer in peers if peer.needs},
    }


def show(cells: Cells, where: dict[str, object], options: argparse.Namespace) -> None:
    for name, value in where.items():
        print(f"{name}: {value}")
    print(
        f"{options.rounds} interleaved rounds of {options.seconds:g} s, medians, ratio by round"
    )
    print("server, generator: how much of a core each took; a round trip has one core for both")
    for mode, row in cells.items():
        print(f"\n{report.table(mode, row)}")


def show_smoke(cells: Cells) -> None:
    for mode, row in cells.items():
        for peer, cell in row.items():
            for run in filter(None, cell.runs):
                print(f"{mode.name}, {peer.name}: {run.messages} replies, all as sent")


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    signal.signal(signal.SIGTERM, _stop)
    peers = available(options.peers)
    if not peers:
        print("no server is left to measure", file=sys.stderr)
        return 2
    settings = Settings(options.seconds, options.warmup, options.python)
    try:
        with generator.compiled() as program:
            where = environment(peers, options.python)
            cells = play(program, options.modes, peers, options.rounds, settings)
    except generator.UnavailableError as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if options.smoke:
        show_smoke(cells)
    else:
        show(cells, where, options)
    if options.json:
        data = {"environment": where, "modes": report.as_data(cells)}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if any(cell.failures for row in cells.values() for cell in row.values()) else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
