"""One run of a generator, for tests: what it counts, or what it says against the server."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from . import generator, modes
from .faulty_server import PATIENCE
from .generator import FaultError, Run
from .processes import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from .certificate import Files
    from .faulty_server import Server


def load(
    program: Path,
    port: int,
    mode: str = "rtt-32t",
    *,
    raw: bool = False,
    seconds: float = 0.05,
    files: Files | None = None,
) -> Run:
    """One run against the server on ``port``."""
    [asked] = modes.parse(mode)
    command = generator.command(
        program, asked, port, raw=raw, warmup=0, seconds=seconds, patience=1, files=files
    )
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE,
    )
    return generator.result(done.returncode, done.stdout, done.stderr)


def complaint(program: Path, server: Server, mode: str = "rtt-32t", seconds: float = 5) -> str:
    """What the generator says of a server with a fault, which it meets within the seconds."""
    with server.listening() as port, pytest.raises(FaultError) as caught:
        load(program, port, mode, seconds=seconds)
    return str(caught.value)
