"""The load generators: in C, compiled when needed, outside the tree; in Python for some modes.

Both take the same words and say what they counted in the same words.
"""

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

    from .certificate import Files
    from .modes import Mode

SOURCE = Path(__file__).with_name("generator.c")
IN_PYTHON = [sys.executable, "-m", "tests.bench.load"]
FLAGS = ["-std=c99", "-O3", "-Wall", "-Wextra"]


class UnavailableError(Exception):
    """The generator cannot be had on this machine, and why."""


class FaultError(Exception):
    """A server did not do what was asked of it."""


@dataclass(frozen=True)
class Run:
    """What one measurement counted. Times are in seconds, CPU times of the window counted.

    Messages are deliveries where one message goes to many, and connections where they are
    opened and closed.
    """

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
def compiled(source: Path = SOURCE) -> Iterator[Path]:
    """The program of a file in C, in a temporary folder that goes with the context."""
    if not sys.platform.startswith("linux"):
        raise UnavailableError(f"{source.name} asks for what only Linux has, as epoll")
    found = compiler()
    if found is None:
        raise UnavailableError(
            f"{source.name} is a C program and no C compiler was found: "
            "install gcc or clang (Debian: apt install gcc libc6-dev) or set CC"
        )
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        program = Path(folder, source.stem)
        command = [found, *FLAGS, "-o", str(program), str(source)]
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
    files: Files | None = None,
) -> list[str]:
    """The command line for one measurement of the server on ``port``."""
    options: dict[str, object] = {
        "port": port,
        "connections": mode.connections,
        "inflight": mode.inflight,
        "size": mode.size,
        "kind": mode.kind,
        "warmup": warmup,
        "seconds": seconds,
        "patience": patience,
    }
    if mode.in_python:
        options.update(transport="tls" if mode.tls else "tcp", deflate=int(mode.deflate))
    else:
        options.update(load=mode.load, echo="raw" if raw else "websocket")
    if files is not None:
        options["cafile"] = files.authority
    if server is not None:
        options["server"] = server
    start = IN_PYTHON if mode.in_python else [str(program)]
    return [*start, *(f"{name}={value}" for name, value in options.items())]


def result(status: int, output: str, errors: str) -> Run:
    """What the generator measured; :class:`FaultError` if it found something wrong."""
    if status != 0:
        raise FaultError(errors.strip() or f"the generator ended with status {status}")
    try:
        return Run(**json.loads(output))
    except (ValueError, TypeError):
        raise FaultError(f"the generator ended well and counted {output!r}") from None
