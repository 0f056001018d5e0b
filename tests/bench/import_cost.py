"""``python -m tests.bench.import_cost``: ``import reactor`` beside ``import asyncio``.

Three programs take turns: nothing at all, ``import reactor``, ``import asyncio``. What an
import costs is the median of its differences to the bare interpreter of the same turn.

The bytecode of all three is kept in a folder of this run and written in a turn that does not
count: an installed package has its own, a checkout may not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from .processes import CHECKOUT, cores, pinned
from .rounds import rotated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAMS = {"bare": "pass", "reactor": "import reactor", "asyncio": "import asyncio"}
FORBIDDEN = (
    "asyncio",
    "threading",
    "ctypes",
    "subprocess",
    "http",
    "urllib",
    "email",
    "ssl",
)
_LIST_MODULES = "import sys; print(*sys.modules)"
_RESIDENT = "print(open('/proc/self/status').read())"


@dataclass(frozen=True)
class Cost:
    """What an import adds to a bare interpreter: seconds, and bytes of resident memory."""

    seconds: float
    resident: float


@contextlib.contextmanager
def bytecode_kept() -> Iterator[None]:
    """Interpreters started within the context keep their bytecode in a temporary folder."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="wsreactor-bench-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def seconds_of(python: str, program: str) -> float:
    """How long the interpreter needs, from its start to its end."""
    begin = time.perf_counter()
    subprocess.run([python, "-c", program], cwd=CHECKOUT, check=True)
    return time.perf_counter() - begin


def resident_of(python: str, program: str) -> int:
    """The resident memory after the program, as the process itself sees it.

    Not ``ru_maxrss``: that begins with the memory of the process that started this one.
    """
    status = _output(python, f"{program}\n{_RESIDENT}")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def added_modules(python: str, program: str) -> set[str]:
    """The modules that the program brings in beside those of every start."""
    before = _output(python, _LIST_MODULES).split()
    return set(_output(python, f"{program}\n{_LIST_MODULES}").split()) - set(before)


def forbidden(modules: set[str]) -> list[str]:
    """Those of the modules that ``import reactor`` must not bring in."""
    return sorted(name for name in modules if name.partition(".")[0] in FORBIDDEN)


def _output(python: str, program: str) -> str:
    return subprocess.run(
        [python, "-c", program], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def costs(seconds: dict[str, list[float]], resident: dict[str, list[int]]) -> dict[str, Cost]:
    """Each import's cost over the bare interpreter, as medians of the turns."""

    def added(values: Sequence[float], bare: Sequence[float]) -> float:
        return median(value - base for value, base in zip(values, bare))

    return {
        name: Cost(
            added(seconds[name], seconds["bare"]), added(resident[name], resident["bare"])
        )
        for name in PROGRAMS
        if name != "bare"
    }


def measure(python: str, turns: int) -> dict[str, Cost]:
    """All turns, after one that only writes the bytecode."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    resident: dict[str, list[int]] = {name: [] for name in PROGRAMS}
    with bytecode_kept(), pinned(cores()[0]):
        for program in PROGRAMS.values():
            seconds_of(python, program)
        for turn in range(turns):
            for name in rotated(list(PROGRAMS), turn):
                seconds[name].append(seconds_of(python, PROGRAMS[name]))
                resident[name].append(resident_of(python, PROGRAMS[name]))
    return costs(seconds, resident)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.import_cost", description="The cost of `import reactor`."
    )
    parser.add_argument("--turns", type=int, default=21, help="default: %(default)s")
    parser.add_argument("--python", default=sys.executable, help="interpreter to weigh")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    options = parser.parse_args(given)
    found = measure(options.python, options.turns)
    ratio = found["reactor"].seconds / found["asyncio"].seconds
    unwanted = forbidden(added_modules(options.python, "import reactor"))
    for name, cost in found.items():
        print(
            f"import {name:8} +{cost.seconds * 1e3:.1f} ms, "
            f"+{cost.resident / 2**20:.2f} MiB resident"
        )
    print(f"reactor / asyncio: {ratio:.3f} of the time ({options.turns} turns)")
    print(f"forbidden modules brought in: {', '.join(unwanted) or 'none'}")
    if options.json:
        data = {
            "costs": {name: vars(cost) for name, cost in found.items()},
            "ratio": ratio,
            "forbidden": unwanted,
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if unwanted else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
