"""The servers under test: started on a core, watched, and always ended, by process id."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .generator import FaultError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .peers import Peer

CHECKOUT = Path(__file__).resolve().parents[2]
START = 20.0  # seconds for an interpreter to start, import its library and listen
STOP = 5.0


def cores() -> tuple[int | None, int | None]:
    """A core for the server and one for the generator: the same where there is only one.

    ``None`` where this interpreter cannot choose (PyPy has no ``sched_setaffinity``).
    """
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def allow_descriptors(wanted: int) -> int:
    """Raise the limit of open files for what is started here, and return what it then is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started within the context stays on one core, with all the threads it makes."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def child(
    command: list[str],
    core: int | None,
    errors: IO[str],
    environment: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A process on ``core`` that does not outlive the context.

    It leads a session of its own, so that Ctrl-C reaches the runner alone and the runner ends
    its children itself. Its input is a pipe that closes with the runner, however that ends.
    """
    with pinned(core):
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Running:
    """A server that listens."""

    peer: Peer
    process: subprocess.Popen[str]
    port: int
    errors: IO[str]

    def check(self) -> None:
        """:class:`FaultError` if the server has ended by itself."""
        status = self.process.poll()
        if status is not None:
            raise FaultError(f"the server ended with status {status}{self.complaint()}")

    def complaint(self) -> str:
        """What the server wrote on stderr, to stand at the end of a sentence."""
        self.errors.seek(0)
        written = self.errors.read().strip()
        return f"; it wrote:\n{written}" if written else ""


@contextlib.contextmanager
def serving(
    peer: Peer, python: str, core: int | None, words: Sequence[str] = ("echo",)
) -> Iterator[Running]:
    """``peer`` in a process of its own, on ``core``, asked to do what the words say."""
    command = [*peer.command(python), *words]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        child(command, core, errors, peer.environment()) as process,
    ):
        server = Running(peer, process, 0, errors)
        server.port = _port(server)
        yield server


def _port(server: Running) -> int:
    output = server.process.stdout
    assert output is not None
    if not select.select([output], [], [], START)[0]:
        raise FaultError(f"the server named no port within {START:g} s{server.complaint()}")
    line = output.readline()
    if not line.strip().isdigit():
        server.process.wait(STOP)
        server.check()
        raise FaultError(f"the server named {line!r} as its port")
    return int(line)


def interpreter(peer: Peer, python: str) -> str:
    """The interpreter for ``peer``: ``python`` for our own library, else this one."""
    return python if peer.ours else sys.executable
