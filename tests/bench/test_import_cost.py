"""What an import costs: counted over the bare interpreter, and of the program alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import programs

from . import import_cost

if TYPE_CHECKING:
    import pathlib

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc"
)


def test_an_import_costs_the_median_of_its_differences_to_the_bare_interpreter() -> None:
    seconds = {"bare": [1.0, 2.0, 3.0], "reactor": [2.0, 2.5, 9.0], "asyncio": [4.0, 5.0, 7.0]}
    resident = {"bare": [10, 10, 10], "reactor": [11, 13, 12], "asyncio": [20, 30, 20]}
    found = import_cost.costs(seconds, resident)
    assert found == {
        "reactor": import_cost.Cost(1.0, 2),
        "asyncio": import_cost.Cost(3.0, 10),
    }


def test_bytecode_is_kept_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = dict(os.environ)
    with import_cost.bytecode_kept():
        folder = os.environ["PYTHONPYCACHEPREFIX"]
        import_cost.seconds_of(sys.executable, "from reactor import Server")
        kept = [name for _, _, names in os.walk(folder) for name in names]
        assert any(name.startswith("server.") for name in kept)
    assert not os.path.exists(folder)
    assert dict(os.environ) == before


def test_modules_that_must_not_come_along_are_found() -> None:
    modules = import_cost.added_modules(sys.executable, "import asyncio, http.client")
    assert {"asyncio", "asyncio.events", "http.client"} <= set(import_cost.forbidden(modules))
    assert import_cost.forbidden({"reactor", "httpx", "emails", "socket"}) == []


@linux
def test_resident_memory_is_that_of_the_program() -> None:
    mine = b"x" * (256 << 20)  # which a child must not seem to have
    bare = import_cost.resident_of(sys.executable, "pass")
    large = import_cost.resident_of(sys.executable, "hold = b'x' * (64 << 20)")
    assert (60 << 20) < large - bare < large < len(mine)


def test_what_an_interpreter_cannot_import_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_cost, "OPTIONAL", ("picows", "json"))
    monkeypatch.setattr(import_cost, "installed", lambda python, name: name == "json")
    found = import_cost.available(sys.executable)
    assert set(import_cost.PROGRAMS) - set(found) == {"picows"}
    assert "picows is not installed for" in capsys.readouterr().err


def test_an_interpreter_is_asked_what_it_can_import() -> None:
    assert import_cost.installed(sys.executable, "json")
    assert not import_cost.installed(sys.executable, "there_is_no_such_module")


@pytest.mark.slow
def test_instructions_are_counted_over_those_of_the_bare_interpreter() -> None:
    valgrind = programs.program("valgrind", required=False)
    found = import_cost.count(
        valgrind,
        sys.executable,
        {"bare": "pass", "loop": "for number in range(200_000): pass"},
    )
    assert 1_000_000 < found["loop"] < 1_000_000_000


def _script(path: pathlib.Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_valgrind_that_counts_nothing_is_an_error(tmp_path: pathlib.Path) -> None:
    counting = _script(tmp_path / "counting", "echo '==1== Collected : 12345' >&2")
    assert import_cost.instructions_of(counting, sys.executable, "pass") == 12345
    silent = _script(tmp_path / "silent", "echo nothing >&2")
    with pytest.raises(ValueError, match="valgrind counted nothing; it wrote:\nnothing"):
        import_cost.instructions_of(silent, sys.executable, "pass")
    failing = _script(tmp_path / "failing", "exit 1")
    with pytest.raises(subprocess.CalledProcessError):
        import_cost.instructions_of(failing, sys.executable, "pass")


def test_without_valgrind_nothing_is_counted_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert import_cost.main(["--instructions"]) == 2
    assert "valgrind, which counts the instructions, is not" in capsys.readouterr().err


@linux
def test_a_run_tells_what_each_import_costs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_cost, "OPTIONAL", ("websockets", "picows"))
    monkeypatch.setattr(import_cost, "installed", lambda python, name: False)
    file = tmp_path / "numbers.json"
    assert import_cost.main(["--turns=1", f"--json={file}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.partition("  ")[0].partition(" +")[0] for line in lines[1:6]]
    assert shown == [
        "import reactor",
        "from reactor import Server",
        "from reactor import Client",
        "import asyncio",
        "import socket",
    ]
    assert lines[6] == "forbidden modules brought in: none"
    numbers = json.loads(file.read_text())
    costs = numbers["costs"]
    assert 0 < costs["socket"]["resident"] < costs["asyncio"]["resident"]
    ratio = costs["Server"]["seconds"] / costs["asyncio"]["seconds"]
    assert numbers["ratios"]["Server"] == ratio
    assert numbers["instructions"] == {}
