"""Programs that tests start: each on a port of its own, and none is left behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping, Sequence

# Seconds, for a program to start, or to stop once it is told to.
PATIENCE = 20


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(process: subprocess.Popen[bytes], port: int, patience: float = PATIENCE) -> bool:
    """Wait until `port` is listened on; return whether it was before `process` ended."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            # The pause between two tries, and it ends at once if the program does.
            process.wait(0.01)
            return False
    return False


@contextlib.contextmanager
def listening(
    command: Sequence[str],
    port: int,
    log: pathlib.Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens on `port`; what it says goes into `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        if not answers(process, port):
            words = log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{command[0]} does not listen on {port}; it says:\n{words}")
        yield process
    finally:
        stop(process)


def complaints(said: str) -> str:
    """Leave out of a program's log what a machine that does something else makes it say."""
    lines = said.splitlines(keepends=True)
    return "".join(line for line in lines if "held up everybody else" not in line)


def next_line(log: IO[str]) -> str:
    """Return the next line of a program's log, but for those; nothing at its end."""
    lines = iter(log.readline, "")
    return next((line for line in lines if complaints(line)), "")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program, and wait for that; one that does not listen is killed."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
