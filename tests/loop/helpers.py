"""What the tests of the sockets wing share."""

from __future__ import annotations

import os
import pathlib
import selectors
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING

from tests.processes import complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 20.0  # seconds, after which what is waited for will not come any more


def turn_until(reactor: Reactor, condition: Callable[[], object]) -> None:
    """Make steps until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it has not come to that"
        reactor.step(0.05)


class CountingSelector(selectors.DefaultSelector):
    """Counts the turns; refuses to wait for ever, and runs a hook before each wait."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.timeouts: list[float | None] = []
        self.before: Callable[[], object] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        self.timeouts.append(timeout)
        self.before()
        if timeout is not None:
            return super().select(timeout)
        ready = super().select(PATIENCE)
        assert ready, "nobody ends this wait"
        return ready


def descriptors() -> set[str]:
    """Return the numbers of the open descriptors."""
    return set(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))


def status_of_child(work: Callable[[], object]) -> int:
    """Return the exit status of a forked child that does `work`: 0 unless that raises."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def run_python(source: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `source` in a process of its own, warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", source]
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False, **options
    )
    done.stderr = complaints(done.stderr)
    return done
