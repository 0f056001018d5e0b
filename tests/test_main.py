"""`reactor/__main__.py`: what `python3 -m reactor` and the script `wsreactor` start."""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING

import pytest

import reactor
from reactor import tools
from reactor.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize("status", [0, 1])
def test_the_script_leaves_with_the_status_of_the_command(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    seen: list[Sequence[str]] = []

    def command_line(argv: Sequence[str]) -> int:
        seen.append(argv)
        return status

    monkeypatch.setattr(tools, "main", command_line)
    monkeypatch.setattr(sys, "argv", ["wsreactor", "serve", "--port", "0"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == status
    assert seen == [["serve", "--port", "0"]]


def test_the_package_runs_as_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # runpy warns when the module that it is to run has been imported before.
    monkeypatch.delitem(sys.modules, "reactor.__main__")
    monkeypatch.setattr(sys, "argv", ["reactor", "--version"])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_module("reactor", run_name="__main__")
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"wsreactor {reactor.__version__}\n"
