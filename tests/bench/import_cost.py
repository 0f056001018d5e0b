"""``python -m tests.bench.import_cost``: ``import reactor`` beside other imports.

Programs take turns: nothing at all, and one import each. What an import costs is the median of
its differences to the bare interpreter of the same turn. A package may put off its own imports
until a name is used, so what a program pays is rather ``from reactor import Server``, or
``Client``: both are measured too. ``--instructions`` counts, under valgrind, the instructions
of each: they stay the same on a machine that is busy.

The bytecode of all is kept in a folder of this run and written in a turn that does not count:
an installed package has its own, a checkout may not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
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

PROGRAMS = {
    "bare": "pass",
    "reactor": "import reactor",
    "Server": "from reactor import Server",
    "Client": "from reactor import Client",
    "asyncio": "import asyncio",
    "socket": "import socket",
    "websockets": "import websockets.asyncio.client, websockets.asyncio.server",
    "picows": "import picows",
}
OPTIONAL = ("websockets", "picows")
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
_USED = "from reactor import Client, Server"
_LIST_MODULES = "import sys; print(*sys.modules)"
_RESIDENT = "print(open('/proc/self/status').read())"
_COUNTED = re.compile(r"Collected : (\d+)")


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


def instructions_of(valgrind: str, python: str, program: str) -> int:
    """How many instructions the interpreter executes, from its start to its end."""
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*command, python, "-c", program],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = _COUNTED.search(done.stderr)
    if found is None:
        raise ValueError(f"valgrind counted nothing; it wrote:\n{done.stderr}")
    return int(found[1])


def added_modules(python: str, program: str) -> set[str]:
    """The modules that the program brings in beside those of every start."""
    before = _output(python, _LIST_MODULES).split()
    return set(_output(python, f"{program}\n{_LIST_MODULES}").split()) - set(before)


def forbidden(modules: set[str]) -> list[str]:
    """Those of the modules that a server or a client must not bring in."""
    return sorted(name for name in modules if name.partition(".")[0] in FORBIDDEN)


def installed(python: str, name: str) -> bool:
    """Whether the interpreter finds a module of this name."""
    program = f"import importlib.util as u; print(u.find_spec({name!r}) is not None)"
    return _output(python, program).strip() == "True"


def available(python: str) -> dict[str, str]:
    """The programs that this interpreter can run; what the others lack is named."""
    absent = [name for name in OPTIONAL if not installed(python, name)]
    for name in absent:
        print(f"{name} is not installed for {python}, left out", file=sys.stderr)
    return {name: program for name, program in PROGRAMS.items() if name not in absent}


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
        for name in seconds
        if name != "bare"
    }


def measure(python: str, turns: int, programs: dict[str, str]) -> dict[str, Cost]:
    """All turns, after one that only writes the bytecode."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    resident: dict[str, list[int]] = {name: [] for name in programs}
    with bytecode_kept(), pinned(cores()[0]):
        for program in programs.values():
            seconds_of(python, program)
        for turn in range(turns):
            for name in rotated(list(programs), turn):
                seconds[name].append(seconds_of(python, programs[name]))
                resident[name].append(resident_of(python, programs[name]))
    return costs(seconds, resident)


def count(valgrind: str, python: str, programs: dict[str, str]) -> dict[str, int]:
    """The instructions that each import adds to those of the bare interpreter."""
    with bytecode_kept():
        for program in programs.values():
            seconds_of(python, program)
        found = {
            name: instructions_of(valgrind, python, program)
            for name, program in programs.items()
        }
    return {name: number - found["bare"] for name, number in found.items() if name != "bare"}


def show(
    found: dict[str, Cost], counted: dict[str, int], programs: dict[str, str], turns: int
) -> None:
    print(f"over a bare interpreter, medians of {turns} turns")
    width = max(map(len, programs.values()))
    for name, cost in found.items():
        ratio = cost.seconds / found["asyncio"].seconds
        print(
            f"{programs[name]:{width}} +{cost.seconds * 1e3:5.1f} ms, "
            f"{ratio:.3f} of asyncio's, +{cost.resident / 2**20:.2f} MiB resident"
        )
    for name, number in counted.items():
        ratio = number / counted["asyncio"]
        print(
            f"{programs[name]:{width}} +{number / 1e6:5.1f} M instructions, "
            f"{ratio:.3f} of asyncio's"
        )


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.import_cost", description="The cost of `import reactor`."
    )
    parser.add_argument("--turns", type=int, default=21, help="default: %(default)s")
    parser.add_argument("--python", default=sys.executable, help="interpreter to weigh")
    parser.add_argument("--instructions", action="store_true", help="count them with valgrind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    options = parser.parse_args(given)
    valgrind = shutil.which("valgrind")
    if options.instructions and valgrind is None:
        print("valgrind, which counts the instructions, is not installed", file=sys.stderr)
        return 2
    programs = available(options.python)
    found = measure(options.python, options.turns, programs)
    counted: dict[str, int] = {}
    if options.instructions and valgrind is not None:
        counted = count(valgrind, options.python, programs)
    unwanted = forbidden(added_modules(options.python, _USED))
    show(found, counted, programs, options.turns)
    print(f"forbidden modules brought in: {', '.join(unwanted) or 'none'}")
    if options.json:
        data = {
            "costs": {name: vars(cost) for name, cost in found.items()},
            "ratios": {name: c.seconds / found["asyncio"].seconds for name, c in found.items()},
            "instructions": counted,
            "forbidden": unwanted,
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if unwanted else 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
