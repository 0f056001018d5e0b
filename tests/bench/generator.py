"""The load generator: compiled when it is needed, outside the tree, run for one measurement."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .modes import Mode

SOURCE = Path(__file__).with_name("generator.c")
FLAGS = ["-std=c99", "-O3", "-Wall", "-Wextra"]


class UnavailableError(Exception):
    """The generator cannot be had on this machine, and why."""


class FaultError(Exception):
    """A server did not do what was asked of it."""


@dataclass(frozen=True)
class Run:
    """What one measurement counted. Times are in seconds, CPU times of the window counted."""

    messages: int
    seconds: float
    rate: float
    generator_cpu: float
    server_cpu: float
    p50: float
    p99: float

    @property
    def cpu_per_message(self) -> float:
        return self.server_cpu / self.messages

    @property
    def server_busy(self) -> float:
        return self.server_cpu / self.seconds

    @property
    def generator_busy(self) -> float:
        return self.generator_cpu / self.seconds


def compiler() -> str | None:
    """The C compiler to use: ``$CC`` or the first of the usual names that is on the path."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((name for name in names if name and shutil.which(name)), None)


@contextlib.contextmanager
def compiled() -> Iterator[Path]:
    """The generator's program, in a temporary folder that goes with the context."""
    if not sys.platform.startswith("linux"):
        raise UnavailableError("the load generator waits with epoll, which only Linux has")
    found = compiler()
    if found is None:
        raise UnavailableError(
            "the load generator is a C program and no C compiler was found: "
            "install gcc or clang (Debian: apt install gcc libc6-dev) or set CC"
        )
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        program = Path(folder, "generator")
        command = [found, *FLAGS, "-o", str(program), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"{' '.join(command)} failed:\n{done.stderr}")
        yield program


def command(
    program: Path,
    mode: Mode,
    port: int,
    *,
    raw: bool = False,
    server: int | None = None,
    warmup: float = 0.3,
    seconds: float = 1.0,
    patience: float = 5.0,
) -> list[str]:
    """The command line for one measurement of the server on ``port``."""
    options: dict[str, object] = {
        "port": port,
        "connections": mode.connections,
        "inflight": mode.inflight,
        "size": mode.size,
        "kind": "text" if mode.text else "binary",
        "echo": "raw" if raw else "websocket",
        "warmup": warmup,
        "seconds": seconds,
        "patience": patience,
    }
    if server is not None:
        options["server"] = server
    return [str(program), *(f"{name}={value}" for name, value in options.items())]


def result(status: int, output: str, errors: str) -> Run:
    """What the generator measured; :class:`FaultError` if it found something wrong."""
    if status != 0:
        raise FaultError(errors.strip() or f"the generator ended with status {status}")
    return Run(**json.loads(output))
