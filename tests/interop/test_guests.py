"""Each guest in the loop of its real toolkit, in a process of its own: see guests/hosts.py."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import processes, programs
from tests.guests import hosts
from tests.guests.hosts import Findings, Lateness

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(150)]

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLKITS = ("asyncio", "glib", "pygame", "qt", "tk")
# What the toolkit is, where that is no module of the same name.
NAMES = {"glib": "PyGObject", "qt": "PySide6", "tk": "tkinter"}
# No window of theirs is to be seen.
HEADLESS = {
    "QT_QPA_PLATFORM": "offscreen",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
}
# Seconds, for what is called at once: by far more than it takes, by far less than for ever.
PROMPT = 0.5


def has(python: str, toolkit: str) -> bool:
    code = f"import tests.guests.drivers.{toolkit}"
    try:
        ran = subprocess.run(
            [python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return False
    # Whatever else is wrong with it is no excuse.
    assert ran.returncode == 0 or "ModuleNotFoundError" in ran.stderr, ran.stderr
    return ran.returncode == 0


def interpreter(toolkit: str) -> str:
    """Return a Python that has the toolkit: this one, or the system's."""
    pythons = [name for name in (sys.executable, "/usr/bin/python3") if has(name, toolkit)]
    if not pythons:
        programs.missing(NAMES.get(toolkit, toolkit))
    return pythons[0]


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """Run an X server that shows nothing; yield the name of its display."""
    command = [programs.program("Xvfb"), "-displayfd", "1", "-nolisten", "tcp"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        yield f":{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.communicate(timeout=processes.PATIENCE)


def played(toolkit: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module with the toolkit, in a process that has it; it must end well."""
    environment = {**os.environ, **HEADLESS, "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        if toolkit == "tk":
            environment["DISPLAY"] = stack.enter_context(screen())
        ran = subprocess.run(
            [interpreter(toolkit), "-m", f"tests.guests.{module}", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=140,
        )
    print(ran.stdout, ran.stderr)
    assert ran.returncode == 0, ran.stderr
    return ran


def measured(toolkit: str, *arguments: str) -> Findings:
    """Run hosts.py with the toolkit; return what it has found."""
    ran = played(toolkit, "hosts", toolkit, *arguments)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    found["rounds"] = [
        (count, Lateness(*alone), Lateness(*late)) for count, alone, late in found["rounds"]
    ]
    return Findings(**found)


def is_a_good_guest(found: Findings) -> None:
    # The host's own timer is hardly later while we are there.
    for count, alone, late in found.rounds:
        print(f"alone {alone}; with {count} echoes {late}")
    print(f"p99 {1000 * hosts.extra(found.rounds):.2f} ms later")
    count, alone, late = found.rounds[-1]
    assert count >= hosts.ECHOES
    # As many as there should be: it is not that most of them were left out.
    ticks = found.load * hosts.FREQUENCY
    assert min(alone.ticks, late.ticks) > 0.9 * ticks
    assert hosts.extra(found.rounds) <= hosts.ALLOWED
    # Nothing is done while there is nothing to do.
    assert (found.idle_steps, found.idle_wakeups) == (0, 0)
    # What the host's code asks for is done at once, and not before its time.
    assert 0 <= found.soon < PROMPT
    assert 0 <= found.later < PROMPT
    assert 0 <= found.threadsafe < PROMPT
    # Once it is stopped the host knows nothing of it, and it can be started again.
    assert (found.stopped_steps, found.stopped_wakeups) == (0, 0)
    before, started, after = found.handlers
    if before is not None:
        assert started is not None
        assert started > before
    assert after == before
    assert found.again < PROMPT
    # It ends with its reactor, and the host goes on.
    assert found.ended
    assert found.went_on


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_a_guest_hardly_delays_its_host_and_is_not_called_while_there_is_nothing_to_do(
    toolkit: str,
) -> None:
    found = measured(toolkit)
    is_a_good_guest(found)
    assert found.mode == "descriptor"


@pytest.mark.parametrize("toolkit", [name for name in TOOLKITS if name != "pygame"])
def test_the_same_holds_where_the_host_watches_each_socket(toolkit: str) -> None:
    found = measured(toolkit, "sockets")
    is_a_good_guest(found)
    assert found.mode == "sockets"


def test_glib_takes_away_what_raises_and_the_guest_lives_all_the_same() -> None:
    ran = played("glib", "drivers.glib_traps")
    found = json.loads(ran.stdout)
    assert len(found) == 6
    assert [name for name, holds in found.items() if not holds] == []
    # All that was raised was told, as PyGObject tells it.
    assert ran.stderr.count("\nKeyboardInterrupt\n") == 12
