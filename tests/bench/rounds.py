"""Interleaved rounds: every server meets the same weather, and none is always first."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from . import certificate, generator
from .generator import FaultError, Run
from .modes import Mode
from .peers import Peer
from .processes import child, cores, interpreter, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What is the same for every measurement."""

    seconds: float
    warmup: float
    python: str = sys.executable
    patience: float = 5.0
    files: certificate.Files | None = None
    """What a server shows by TLS; none where no mode needs it."""


@dataclass
class Cell:
    """One server in one mode: a run for each round, ``None`` for a round that failed."""

    runs: list[Run | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Cells = dict[Mode, dict[Peer, Cell]]


def rotated(items: Sequence[T], by: int) -> list[T]:
    """``A B C`` for 0, ``B C A`` for 1, ``C A B`` for 2, and so on round."""
    by %= len(items)
    return [*items[by:], *items[:by]]


def pairs(modes: Sequence[Mode], peers: Sequence[Peer]) -> dict[Mode, list[Peer]]:
    """Who takes part in which mode; who does not is named. Modes of nobody are left out."""
    for mode in modes:
        for peer in peers:
            if peer.unfit(mode):
                note = f"{mode.name}, {peer.name}: {peer.unfit(mode)}, left out"
                print(note, file=sys.stderr, flush=True)
    fit = {mode: [peer for peer in peers if not peer.unfit(mode)] for mode in modes}
    return {mode: taking_part for mode, taking_part in fit.items() if taking_part}


def play(program: Path, fit: dict[Mode, list[Peer]], rounds: int, settings: Settings) -> Cells:
    """All rounds of all modes, each for those who take part in it."""
    cells: Cells = {mode: {peer: Cell() for peer in peers} for mode, peers in fit.items()}
    for number in range(rounds):
        for mode, peers in fit.items():
            for peer in rotated(peers, number):
                cell = cells[mode][peer]
                where = f"round {number + 1} of {rounds}, {mode.name}, {peer.name}"
                try:
                    cell.runs.append(measure(program, mode, peer, settings, where))
                except FaultError as failure:
                    cell.runs.append(None)
                    cell.failures.append(str(failure))
                    print(f"{where}: {failure}", file=sys.stderr, flush=True)
    return cells


def words(mode: Mode, files: certificate.Files | None) -> Iterator[str]:
    """What the server of a mode is told."""
    yield "fanout" if mode.load == "fan" else "echo"
    if mode.deflate:
        yield "deflate"
    if mode.tls:
        assert files is not None
        yield f"tls={files.certificate},{files.key}"


def measure(program: Path, mode: Mode, peer: Peer, settings: Settings, where: str) -> Run:
    """One measurement, of a server started for it."""
    server_core, generator_core = cores()
    if mode.shares_core:
        generator_core = server_core
    python, asked = interpreter(peer, settings.python), list(words(mode, settings.files))
    with serving(peer, python, server_core, asked) as server:
        pid = server.process.pid
        print(f"{where}: process {pid} on port {server.port}", file=sys.stderr, flush=True)
        command = generator.command(
            program,
            mode,
            server.port,
            raw=peer.raw,
            server=pid,
            warmup=settings.warmup,
            seconds=settings.seconds,
            patience=settings.patience,
            files=settings.files if mode.tls else None,
        )
        # Longest: handshakes, replies and closes that each come just in time, ten times over.
        limit = settings.warmup + settings.seconds + 30 * settings.patience
        try:
            run = _load(command, generator_core, limit)
        except FaultError as failure:
            raise FaultError(f"{failure}{server.complaint()}") from None
        server.check()
        return run


def _load(command: list[str], core: int | None, limit: float) -> Run:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with child(command, core, errors) as load:
            try:
                output, _ = load.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                raise FaultError(f"the generator did not end within {limit:g} s") from None
        errors.seek(0)
        return generator.result(load.returncode, output, errors.read())
