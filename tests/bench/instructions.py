"""``python -m tests.bench.instructions``: how many instructions a message takes, as a gate.

Wall time on a shared machine is weather; instructions of fixed work are the same to a tenth of
a per cent. Valgrind's callgrind counts those of `hot_paths.py`, for a stretch of turns and for
another twice as long: their difference, by turn, has no start-up in it and no loop's set-up.

What was counted before is in `instructions.json`, for each build of an interpreter. More than
3 % above it fails; whoever means it says so with `--update`, and the number is in the commit.
On a build that is not in there, the same work is counted with the library as it was in the
commit that has changed the numbers last, which takes git and its history.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .hot_paths import WORKS
from .processes import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NUMBERS = Path(__file__).with_suffix(".json")
MARGIN = 0.03
# Valgrind counts an instruction that copies many bytes once for each, and whether the C library
# takes it or a loop depends on where the bytes lie.
TUNABLES = (
    "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000"
)
LIMIT = 280  # seconds for all works of an interpreter, many times what they take
# What the counted process has of `hot_paths.py`, beside the library.
WORK_FILES = ("tests/__init__.py", "tests/bench/__init__.py", "tests/bench/hot_paths.py")
_POSITION = frozenset("0123456789+-*")
_MARKED = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
# The version alone does not say what a build costs: how it was compiled does, and its zlib.
_IDENTITY = """
import hashlib, os, platform, sys, sysconfig, zlib
digest = hashlib.sha256(zlib.ZLIB_RUNTIME_VERSION.encode())
digest.update(repr(platform.libc_ver()).encode())
shared = os.path.join(*map(str, sysconfig.get_config_vars("LIBDIR", "INSTSONAME")))
for path in sys.executable, shared:
    if os.path.isfile(path):
        with open(path, "rb") as file:
            digest.update(file.read())
print(platform.python_implementation(), platform.python_version() + ",",
      platform.python_compiler() + ",", platform.machine() + ",", digest.hexdigest()[:12])
"""


class UncountableError(Exception):
    """There is no number to be had, and this is why."""


@dataclass(frozen=True)
class Verdict:
    """What has become of one number."""

    name: str
    before: float | None
    now: float

    @property
    def change(self) -> float:
        return self.now / self.before - 1 if self.before else 0.0

    @property
    def failed(self) -> bool:
        return self.before is None or self.change > MARGIN

    def __str__(self) -> str:
        if self.before is None:
            return "no number to compare with"
        if self.failed:
            return f"ROSE by {self.change:.1%}, from {self.before:,.0f}"
        if self.change < -MARGIN:
            return f"fell by {-self.change:.1%}, from {self.before:,.0f}: update the number"
        return f"{self.change:+.2%}"


def identity(python: str) -> str:
    """The build of an interpreter: all that its numbers depend on, in a line."""
    try:
        command = [python, "-c", _IDENTITY]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UncountableError(f"{python} does not run: {error}") from None
    return done.stdout.strip()


# ---- counting ----


def _environment(folder: str, tree: Path) -> dict[str, str]:
    """As little as possible: what is there moves what comes behind it in memory."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GLIBC_TUNABLES": TUNABLES,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(tree),
        "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode")),
    }


def _output(command: Sequence[str], folder: str, tree: Path) -> str:
    """What a run of `hot_paths.py` prints; :class:`UncountableError` if it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=_environment(folder, tree),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UncountableError(f"{command[0]} did not end within {LIMIT} s") from None
    if done.returncode:
        raise UncountableError(f"status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _work(python: str, names: Sequence[str], *options: str) -> list[str]:
    # Without `site`: what it imports is no part of the work, and each import takes its time.
    return [python, "-S", "-m", "tests.bench.hot_paths", *options, *names]


@contextlib.contextmanager
def counted(python: str, names: Sequence[str], tree: Path) -> Iterator[dict[str, list[Path]]]:
    """Callgrind's files of each work: for the stretch of turns, and that of twice as many."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise UncountableError("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        _output(_work(python, names), folder, tree)  # is it right at all; leaves the bytecode
        out = Path(folder, "callgrind")
        command = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}.%p"]
        # A work marks its stretches by a call of this function, for which nobody else has use.
        command += ["--dump-before=getppid", "--dump-line=no", "--compress-strings=no"]
        command += ["--compress-pos=no", *_work(python, names)]
        children = dict(
            line.split()[:2] for line in _output(command, folder, tree).splitlines()
        )
        yield {
            name: [Path(f"{out}.{children[name]}.{part}") for part in (2, 3)] for name in names
        }


def count(python: str, names: Sequence[str], tree: Path = CHECKOUT) -> dict[str, float]:
    """Instructions for a unit of each work."""
    with counted(python, names, tree) as files:
        found = {}
        for name, parts in files.items():
            once, twice = map(_total, parts)
            found[name] = round((twice - once) / WORKS[name].turns / WORKS[name].units, 1)
    return found


def _total(path: Path) -> int:
    try:
        return int(_MARKED.findall(path.read_text(encoding="utf-8", errors="replace"))[-1])
    except (OSError, IndexError):
        raise UncountableError(
            "callgrind did not see where a stretch begins: has the C library no getppid?"
        ) from None


# ---- what to compare with ----


def numbers() -> dict[str, dict[str, float]]:
    """What is known, for each build."""
    known: dict[str, dict[str, float]] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    return known


def write(build: str, found: Mapping[str, float]) -> None:
    """Replace the numbers of a build; those of works that are no more go."""
    known = numbers()
    known[build] = {
        name: value
        for name, value in {**known.get(build, {}), **found}.items()
        if name in WORKS
    }
    text = json.dumps({name: known[name] for name in sorted(known)}, indent=1)
    NUMBERS.write_text(f"{text}\n", encoding="utf-8")


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        raise UncountableError(f"git {arguments[0]}: {error} {said.decode().strip()}") from None


@contextlib.contextmanager
def base() -> Iterator[tuple[str, Path]]:
    """The commit that the numbers are of, and its library in a folder, beside today's work."""
    if _git("rev-parse", "--is-shallow-repository").strip() != b"false":
        raise UncountableError("this clone has no history: git fetch --unshallow")
    path = NUMBERS.relative_to(CHECKOUT).as_posix()
    commit = _git("log", "-1", "--format=%H", "--", path).decode().strip()
    if not commit:
        raise UncountableError(f"{path} is in no commit")
    with tempfile.TemporaryDirectory(prefix="wsreactor-base-") as folder:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "reactor"))) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    target = Path(folder, member.name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file = archive.extractfile(member)
                    assert file is not None
                    target.write_bytes(file.read())
        for name in WORK_FILES:
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, target)
        yield commit, Path(folder)


def check(python: str, names: Sequence[str], update: bool) -> tuple[str, list[Verdict]]:
    """Count, and compare with what is known of this build, or else with the base."""
    build = identity(python)
    known = numbers().get(build)
    found = count(python, names)
    if update:
        write(build, found)
        print(f"{build}: {len(found)} numbers written to {NUMBERS.name}")
    elif known is None:
        with base() as (commit, tree):
            print(f"{build}: a build without numbers, {NUMBERS.name} has:")
            print(*sorted(numbers()), sep="\n")
            print(f"so it is compared with the library of {commit[:12]}, which has set them")
            known = count(python, names, tree)
    before = known or {}
    if update:
        before = {name: before.get(name, found[name]) for name in names}
    return build, [Verdict(name, before.get(name), found[name]) for name in names]


# ---- looking closer ----


def functions(path: Path) -> Counter[str]:
    """The instructions of each function in a file of callgrind's, without those it calls."""
    found, name, inclusive = Counter[str](), "", False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("fn="):
            name = line[3:].partition("'")[0]  # one that calls itself has a name for each depth
        elif line.startswith("calls="):
            inclusive = True
        elif name and line[:1] in _POSITION:
            if not inclusive:
                found[name] += int(line.split()[1])
            inclusive = False
    return found


def profile(python: str, name: str, lines: int = 40) -> None:
    """Print where the instructions of a work go, and which functions of Python it calls."""
    work = WORKS[name]
    units = work.turns * work.units
    with counted(python, [name], CHECKOUT) as files:
        spent = functions(files[name][1])
    total = sum(spent.values())
    print(f"{name}: {total / units / 2:,.0f} instructions a unit, by function in C:")
    for function, number in spent.most_common(lines):
        print(f"{number / units / 2:12,.0f}  {number / total:6.1%}  {function}")
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        printed = _output(_work(python, [name], "--calls"), folder, CHECKOUT)
    calls = Counter[str]()
    for line in printed.splitlines():
        times, _, function = line.partition(" ")
        calls[function] += int(times)
    print(f"\n{sum(calls.values()) / units:.2f} calls of functions in Python, the peer's too:")
    for function, number in calls.most_common(lines):
        print(f"{number / units:12.2f}  {function}")


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in WORKS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: expected some of {', '.join(WORKS)}"
        )
    return names


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.instructions",
        description="Count instructions of the hot paths; fail if there are more than before.",
    )
    add = parser.add_argument
    add("--python", action="append", metavar="PY", help="interpreter; may be given repeatedly")
    add("--work", type=_names, default=list(WORKS), metavar="NAME,...", help=", ".join(WORKS))
    add("--update", action="store_true", help=f"write what is found to {NUMBERS.name}")
    add("--json", type=Path, metavar="FILE", help="write every number there")
    add("--profile", type=_names, metavar="NAME", help="show where the instructions go")
    return parser.parse_args(given)


def _show(build: str, verdicts: Sequence[Verdict], update: bool) -> None:
    print(f"{build}: instructions a unit")
    for verdict in verdicts:
        said = f"{verdict.change:+.2%}" if update else str(verdict)
        print(f"  {verdict.name:22}{verdict.now:14,.0f}  {said}")


def _found(python: str) -> str:
    """Its path, good in any folder; a link is kept, since a virtual environment is one."""
    return os.path.abspath(shutil.which(python) or python)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    failed, data = [], {}
    try:
        for python in map(_found, options.python or [sys.executable]):
            if options.profile:
                for name in options.profile:
                    profile(python, name)
                continue
            build, verdicts = check(python, options.work, options.update)
            _show(build, verdicts, options.update)
            data[build] = {verdict.name: verdict.now for verdict in verdicts}
            if not options.update:
                failed += [f"{v.name}: {v} ({build})" for v in verdicts if v.failed]
    except UncountableError as reason:
        print(f"nothing is counted: {reason}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for line in failed:
        print(line, file=sys.stderr)
    if failed:
        print(
            "On purpose? Then say so in the commit, by the numbers that this writes, for each"
            " build:\n  python -m tests.bench.instructions --update --python PY",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
