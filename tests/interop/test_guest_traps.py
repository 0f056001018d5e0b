"""What is known to go wrong with a toolkit, tried with the real one: see guests/drivers/."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.interop.test_guests import HEADLESS, interpreter, screen

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(toolkit: str, **environment: str) -> None:
    command = [
        interpreter(toolkit),
        "-W",
        "error",
        "-m",
        f"tests.guests.drivers.{toolkit}_traps",
    ]
    inherited: Mapping[str, str] = {**os.environ, **HEADLESS, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_tk_redraws_updates_and_shows_dialogs_and_takes_its_guest_with_it() -> None:
    with screen() as display:
        run("tk", DISPLAY=display)


@pytest.mark.parametrize("without_glib", ["", "1"], ids=["glib", "unix"])
def test_qt_paints_and_shows_dialogs_and_may_end_before_its_guest(without_glib: str) -> None:
    run("qt", QT_NO_GLIB=without_glib)


@pytest.mark.skipif(sys.platform != "linux", reason="it counts what Linux tells")
def test_no_event_for_pygame_gets_lost_and_the_thread_sleeps_while_there_is_none() -> None:
    run("pygame")
