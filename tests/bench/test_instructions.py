"""The gate of instructions: its arithmetic is right, and what was not counted does not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import programs

from . import hot_paths, instructions
from .hot_paths import WORKS, Work
from .instructions import UncountableError, Verdict, main
from .processes import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUILD = "CPython 9.9.9, GCC 1, abacus, 0123456789ab"
OTHER = "CPython 9.9.8, GCC 1, abacus, ba9876543210"
CPYTHON = pytest.mark.skipif(
    sys.implementation.name != "cpython" or not hasattr(os, "fork"),
    reason="the work is done by CPython, in forked children",
)

# Answers as valgrind does, and runs nothing: each stretch of a work costs 100,000, and 1,000 a
# turn.
FAKE = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from tests.bench.hot_paths import WORKS
options = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
names = sys.argv[sys.argv.index("tests.bench.hot_paths") + 1:]
for pid, name in enumerate(names, 100):
    for part, turns in (2, WORKS[name].turns), (3, 2 * WORKS[name].turns):
        path = options["--callgrind-out-file"].replace("%p", f"{{pid}}.{{part}}")
        with open(path, "w") as file:
            total = 100_000 + 1_000 * turns
            file.write(f"fn=f\\n0 {{total - 7}}\\nfn=g\\n0 7\\n\\ntotals: {{total}}\\n")
    print(name, pid, "done")
"""


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a valgrind of our own, first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake(folder, FAKE)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    return folder


def fake(folder: Path, program: str) -> None:
    path = folder / "valgrind"
    path.write_text(program, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Numbers of one build, all 100, and a run that counts what the test says."""
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({BUILD: dict.fromkeys(WORKS, 100.0)}), encoding="utf-8")
    monkeypatch.setattr(instructions, "NUMBERS", path)
    monkeypatch.setattr(instructions, "identity", lambda python: BUILD)
    return path


def counting(monkeypatch: pytest.MonkeyPatch, **found: float) -> None:
    """What is counted, by name with `_` for `-`; 100 for all others."""
    numbers = {name: found.get(name.replace("-", "_"), 100.0) for name in WORKS}

    def count(python: str, names: Sequence[str], tree: Path = CHECKOUT) -> dict[str, float]:
        return {name: numbers[name] for name in names}

    monkeypatch.setattr(instructions, "count", count)


# ---- counting ----


@CPYTHON
def test_what_is_counted_is_the_difference_of_two_stretches_by_unit(faked: Path) -> None:
    found = instructions.count(sys.executable, ["timer", "pipeline-32"])
    assert found == {"timer": 1000.0, "pipeline-32": round(1000 / 64, 1)}


@CPYTHON
def test_a_run_without_marks_is_no_number(faked: Path) -> None:
    fake(faked, FAKE.replace("totals", "nothing"))
    with pytest.raises(UncountableError, match="where a stretch begins"):
        instructions.count(sys.executable, ["timer"])


@CPYTHON
def test_a_work_that_fails_is_no_number(faked: Path) -> None:
    fake(faked, f"#!{sys.executable}\nraise SystemExit('out of registers')\n")
    with pytest.raises(UncountableError, match=r"status 1:\s+out of registers"):
        instructions.count(sys.executable, ["timer"])


@CPYTHON
def test_a_run_that_hangs_is_no_number(faked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "LIMIT", 0.01)
    with pytest.raises(UncountableError, match="did not end within"):
        instructions.count(sys.executable, ["timer"])


def test_without_valgrind_nothing_passes(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main([]) == 2
    assert "valgrind is not installed" in capsys.readouterr().err


def test_an_interpreter_that_is_not_there_passes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--python", str(tmp_path / "python")]) == 2
    assert "does not run" in capsys.readouterr().err


def test_a_build_has_one_name_and_it_tells_the_version() -> None:
    name = instructions.identity(sys.executable)
    assert name == instructions.identity(sys.executable)
    assert "{}.{}.{},".format(*sys.version_info) in name
    assert "/" not in name


@CPYTHON
def test_every_work_is_done_right() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.hot_paths", *WORKS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == ""
    assert [line.split()[::2] for line in done.stdout.splitlines()] == [
        [name, "done"] for name in WORKS
    ]
    assert done.returncode == 0


@CPYTHON
def test_a_work_that_raises_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> hot_paths.Turn:
        raise AssertionError("another answer")

    monkeypatch.setitem(WORKS, "broken", Work(broken, 1))
    monkeypatch.setattr("os.urandom", os.urandom)  # which the work replaces
    assert hot_paths.main(["broken"]) == 1
    output, errors = capfd.readouterr()
    assert output.split()[::2] == ["broken", "failed"]
    assert "AssertionError: another answer" in errors


@CPYTHON
@pytest.mark.measured
@pytest.mark.timeout(300)
def test_two_runs_count_the_same() -> None:
    programs.program("valgrind")
    first, second = (
        instructions.count(sys.executable, ["timer", "idle-step", "pipeline-32"])
        for _ in range(2)
    )
    assert first == pytest.approx(second, rel=0.005)
    assert 1_000 < first["timer"] < 100_000
    # The library's own part of a step, with and without a message.
    assert first["pipeline-32"] > 1_000


# ---- comparing ----


@pytest.mark.parametrize(
    ("before", "now", "failed", "said"),
    [
        (1000.0, 1000.0, False, "+0.00%"),
        (1000.0, 1029.0, False, "+2.90%"),
        (1000.0, 1031.0, True, "ROSE by 3.1%, from 1,000"),
        (1000.0, 2000.0, True, "ROSE by 100.0%, from 1,000"),
        (1000.0, 971.0, False, "-2.90%"),
        (1000.0, 969.0, False, "fell by 3.1%, from 1,000: update the number"),
        (None, 1.0, True, "no number to compare with"),
    ],
)
def test_more_than_three_per_cent_above_fails_and_below_is_told(
    before: float | None, now: float, failed: bool, said: str
) -> None:
    verdict = Verdict("timer", before, now)
    assert (verdict.failed, str(verdict)) == (failed, said)


def test_a_rise_is_named_with_the_way_to_mean_it(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counting(monkeypatch, echo_1k=104.0, timer=90.0)
    assert main([]) == 1
    output, errors = capsys.readouterr()
    assert f"echo-1k: ROSE by 4.0%, from 100 ({BUILD})" in errors
    assert "python -m tests.bench.instructions --update --python PY" in errors
    assert "timer" not in errors
    assert "fell by 10.0%, from 100: update the number" in output
    assert main(["--work", "timer"]) == 0


def test_every_interpreter_has_to_pass(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counting(monkeypatch)
    slow = {"good": 100.0, "bad": 104.0}
    monkeypatch.setattr(
        instructions,
        "count",
        lambda python, names: dict.fromkeys(names, slow[os.path.basename(python)]),
    )
    assert main(["--python", "good"]) == 0
    assert main(["--python", "bad", "--python", "good"]) == 1
    assert capsys.readouterr().err.count("ROSE") == len(WORKS)


def test_a_work_without_a_number_fails(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.write_text(json.dumps({BUILD: {"timer": 100.0}}), encoding="utf-8")
    counting(monkeypatch)
    assert main(["--work", "timer,idle-step"]) == 1
    assert "idle-step: no number to compare with" in capsys.readouterr().err


def test_an_interpreter_is_found_from_any_folder(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    def count(python: str, names: Sequence[str]) -> dict[str, float]:
        met.append(python)
        return dict.fromkeys(names, 100.0)

    monkeypatch.setattr(instructions, "count", count)
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert main(["--python", "./python", "--work", "timer"]) == 0
    assert met == [str(link)]


def test_update_writes_the_numbers_of_this_build_and_no_other(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"timer": 7.0}
    kept.write_text(
        json.dumps({OTHER: others, BUILD: {"timer": 1.0, "idle-step": 2.0, "gone": 3.0}}),
        encoding="utf-8",
    )
    counting(monkeypatch, timer=50.0)
    assert main(["--update", "--work", "timer"]) == 0
    assert json.loads(kept.read_text()) == {
        OTHER: others,
        BUILD: {"timer": 50.0, "idle-step": 2.0},
    }
    assert main(["--work", "timer"]) == 0


def test_the_numbers_are_written_as_json_too(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting(monkeypatch)
    assert main(["--json", str(tmp_path / "out"), "--work", "timer"]) == 0
    assert json.loads((tmp_path / "out").read_text()) == {BUILD: {"timer": 100.0}}


@pytest.mark.parametrize("option", ["--work", "--profile"])
def test_an_unknown_work_is_named(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([option, "timer,lunch"])
    assert "lunch: expected some of " in capsys.readouterr().err


def test_the_file_has_a_number_for_each_work_of_each_build() -> None:
    assert len(instructions.numbers()) >= 2
    for build, known in instructions.numbers().items():
        assert list(known) == list(WORKS), build


# ---- builds without numbers ----


def git(folder: Path, *arguments: str) -> None:
    program = programs.program("git")
    identity = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@localhost",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run(
        [program, "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        timeout=30,
    )


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout: the numbers were set with the first library, and the second came after."""
    folder = tmp_path / "checkout"
    for name in instructions.WORK_FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    library, numbers = folder / "reactor" / "library.py", folder / "tests" / "numbers.json"
    library.parent.mkdir()
    git(tmp_path, "init", "-q", str(folder))
    for text in "first", "second":
        library.write_text(text, encoding="utf-8")
        numbers.write_text(json.dumps({OTHER: {}}), encoding="utf-8")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", text)
    monkeypatch.setattr(instructions, "CHECKOUT", folder)
    monkeypatch.setattr(instructions, "NUMBERS", numbers)
    monkeypatch.setattr(instructions, "identity", lambda python: BUILD)
    return folder


def by_library(monkeypatch: pytest.MonkeyPatch, folder: Path, **costs: float) -> list[str]:
    """What is counted depends on the text of the library; return the texts that were met."""
    met: list[str] = []

    def count(python: str, names: Sequence[str], tree: Path = folder) -> dict[str, float]:
        assert all((tree / name).read_text() == name for name in instructions.WORK_FILES)
        met.append((tree / "reactor" / "library.py").read_text())
        return dict.fromkeys(names, costs[met[-1]])

    monkeypatch.setattr(instructions, "count", count)
    return met


@pytest.mark.parametrize(("second", "status"), [(102.0, 0), (104.0, 1), (90.0, 0)])
def test_a_build_without_numbers_is_compared_with_the_library_that_has_set_them(
    history: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: float,
    status: int,
) -> None:
    met = by_library(monkeypatch, history, first=100.0, second=second)
    assert main(["--work", "timer"]) == status
    assert met == ["second", "first"]
    output, errors = capsys.readouterr()
    assert f"{BUILD}: a build without numbers" in output
    assert OTHER in output
    assert ("ROSE by 4.0%" in errors) == bool(status)


def test_without_a_history_a_build_without_numbers_does_not_pass(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    by_library(monkeypatch, history, first=100.0, second=100.0)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", history.as_uri(), str(clone))
    monkeypatch.setattr(instructions, "CHECKOUT", clone)
    monkeypatch.setattr(instructions, "NUMBERS", clone / "tests" / "numbers.json")
    assert main(["--work", "timer"]) == 2
    assert "git fetch --unshallow" in capsys.readouterr().err


def test_numbers_in_no_commit_are_none_to_compare_with(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_library(monkeypatch, history, first=100.0, second=100.0)
    (history / "tests" / "new.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(instructions, "NUMBERS", history / "tests" / "new.json")
    assert main(["--work", "timer"]) == 2
    assert "tests/new.json is in no commit" in capsys.readouterr().err


def test_outside_of_git_a_build_without_numbers_does_not_pass(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    by_library(monkeypatch, history, first=100.0, second=100.0)
    (history / ".git").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert main(["--work", "timer"]) == 2
    assert "nothing is counted: git rev-parse" in capsys.readouterr().err


# ---- looking closer ----


def test_a_function_s_instructions_are_its_own_at_every_depth(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text(
        "summary: 1116\nob=python\nfl=a.c\nfn=f\n0 1000\ncfn=g\ncalls=3 0\n0 100\n0 1\n\n"
        "fn=g\n0 100\n+3 4\n\nfn=f'2\n* 11\n\ntotals: 1116\n",
        encoding="utf-8",
    )
    assert dict(instructions.functions(path)) == {"f": 1012, "g": 104}


@CPYTHON
def test_a_profile_has_functions_in_c_and_in_python(
    faked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", "timer", "--python", sys.executable]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "timer: 1,050 instructions a unit, by function in C:"
    assert [line.split()[-1] for line in lines[:2]] == ["f", "g"]
    assert any("1.00" in line.split() and "call_later" in line for line in lines)
