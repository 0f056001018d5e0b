from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]


class EchoServer:
    """The server of echo_server.py, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.echo_server"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.read_line())
        self.url = f"ws://127.0.0.1:{self.port}/"

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def closed(self) -> tuple[int, str]:
        """Wait for the end of a connection; return what its onclose was told."""
        code, reason = json.loads(self.read_line())
        return code, reason

    def stop(self) -> None:
        """Stop it as a user would; it must end well and have had nothing to complain about."""
        self.process.terminate()
        rest, complaints = self.process.communicate(timeout=20)
        assert (self.process.returncode, rest, complaints) == (0, "", "")


@pytest.fixture
def server() -> Iterator[EchoServer]:
    server = EchoServer()
    try:
        yield server
        server.stop()
    finally:
        server.process.kill()
        server.process.communicate()
