from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server:
    """A server in a process of its own, which says in JSON where it is and how each ended."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        line = self.read_line()
        assert line, f"{command} did not start: {self.process.communicate()[1]}"
        self.port = int(line)
        self.url = f"ws://127.0.0.1:{self.port}/"

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def closed(self) -> tuple[int, str]:
        """Wait for the end of a connection; return what its server was told."""
        code, reason = json.loads(self.read_line())
        return code, reason

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class EchoServer(Server):
    """The server of echo_server.py, with these options."""

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, "-m", "tests.interop.echo_server", json.dumps(options)]
        super().__init__(command)

    def stop(self) -> str:
        """Stop it as a user would; it must end well. Return what it complained about."""
        self.process.terminate()
        rest, complaints = self.process.communicate(timeout=processes.PATIENCE)
        assert (self.process.returncode, rest) == (0, ""), complaints
        return complaints


@contextlib.contextmanager
def echo_server(**options: Any) -> Iterator[EchoServer]:
    """Run a server that ends well, and has nothing to complain about until then."""
    server = EchoServer(**options)
    try:
        yield server
        assert server.stop() == ""
    finally:
        server.kill()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server
