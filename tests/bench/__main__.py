"""``python -m tests.bench``: measure servers beside one another."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import certificate, generator, modes, peers, report
from .peers import PEERS, Peer
from .processes import CHECKOUT, allow_descriptors, cores
from .rounds import Cells, Settings, pairs, play

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from .modes import Mode

_OTHER_DESCRIPTORS = 128  # of a server besides those of its connections

_BY = (
    "what the ratios are taken of: the rates, or how many messages a second of the server's "
    "CPU time pays for, which other work on the machine disturbs less; default: %(default)s"
)


def _modes(text: str) -> list[Mode]:
    try:
        return modes.parse_all(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(text: str) -> list[str]:
    names = list(PEERS) if text == "all" else text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: expected some of {', '.join(PEERS)}, or all"
        )
    return names


def _peers(text: str) -> list[Peer]:
    return [PEERS[name] for name in _names(text)]


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
    groups = "; ".join(f"{name}: {', '.join(group)}" for name, group in modes.GROUPS.items())
    add("--rounds", type=_count, default=5, help="default: %(default)s")
    add("--seconds", type=_duration, default=1.5, help="of each run, default: %(default)s")
    add("--warmup", type=_duration, default=0.3, help="before them, default: %(default)s")
    add(
        "--modes",
        type=_modes,
        help=f"{modes.__doc__} Together, the default being usual: {groups}",
    )
    add(
        "--peers",
        type=_peers,
        default=",".join(peers.USUAL),
        help=f"of {', '.join(PEERS)}, or all",
    )
    add("--against", type=_names, default=",".join(report.REFERENCES), help="who stands for 1")
    add("--by", choices=["rate", "cpu"], default="rate", help=_BY)
    add("--python", default=sys.executable, help="interpreter for the reactor server")
    add("--json", type=Path, metavar="FILE", help="write every number there")
    add("--smoke", action="store_true", help="one short round: does it work, are replies right")
    options = parser.parse_args(given)
    if options.modes is None:
        options.modes = modes.parse("smoke" if options.smoke else "usual")
    if options.smoke:
        options.rounds, options.seconds, options.warmup = 1, 0.1, 0.02
    return options


def _said(what: str, reason: str) -> bool:
    """Whether there is a reason to leave something out, which is then named."""
    if reason:
        print(f"{what}: {reason}, left out", file=sys.stderr, flush=True)
    return bool(reason)


def available(wanted: Sequence[Peer]) -> list[Peer]:
    """Those of the servers that can run here; the others are named."""
    return [peer for peer in wanted if not _said(peer.name, peer.missing())]


def possible(wanted: Sequence[Mode]) -> list[Mode]:
    """Those of the modes that can run here; the others are named."""
    return [mode for mode in wanted if not _said(mode.name, obstacle(mode))]


def obstacle(mode: Mode) -> str:
    """What keeps a mode from running here, as a sentence; empty: nothing."""
    needed = mode.connections + _OTHER_DESCRIPTORS
    limit = allow_descriptors(needed)
    if limit < needed:
        return f"{needed} open files are needed and the limit is {limit} (ulimit -n)"
    return certificate.missing() if mode.tls else ""


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
    print(
        "server, generator: how much of a core each took; one at a time has one core for both"
    )
    for mode, row in cells.items():
        print(f"\n{report.table(mode, row, options.against, options.by)}")
    growth = report.growth_table(cells)
    if growth:
        print(f"\n{growth}")


def show_smoke(cells: Cells) -> None:
    for mode, row in cells.items():
        for peer, cell in row.items():
            for run in filter(None, cell.runs):
                print(f"{mode.name}, {peer.name}: {run.messages} {mode.counted}, all right")


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def measured(fit: dict[Mode, list[Peer]], options: argparse.Namespace) -> Cells:
    """All that was asked for; :class:`generator.UnavailableError` if there is no generator."""
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(generator.compiled())
        tls = any(mode.tls for mode in fit)
        files = stack.enter_context(certificate.made()) if tls else None
        settings = Settings(options.seconds, options.warmup, options.python, files=files)
        return play(program, fit, options.rounds, settings)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    signal.signal(signal.SIGTERM, _stop)
    peers = available(options.peers)
    fit = pairs(possible(options.modes), peers)
    if not fit:
        print("nothing is left to measure", file=sys.stderr)
        return 2
    where = environment(peers, options.python)
    try:
        cells = measured(fit, options)
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
        growth = report.growth_data(cells)
        data = {"environment": where, "modes": report.as_data(cells), "growth": growth}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if any(cell.failures for row in cells.values() for cell in row.values()) else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
