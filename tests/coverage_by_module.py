"""Checks that each module is covered, every line and branch, by the test file of its own.

    coverage_by_module.py [MODULE ...]       MODULE as in reactor/protocol/frames.py

reactor/protocol/frames.py answers to tests/protocol/test_frames.py, reactor/__init__.py to
tests/test_init.py, reactor/tools/__init__.py to tests/tools/test_tools_init.py.
"""

from __future__ import annotations

import ast
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_file(module: pathlib.Path) -> pathlib.Path:
    folder = module.parent.relative_to("reactor")
    name = module.stem.strip("_")
    if name == "init" and folder.name:
        name = f"{folder.name}_init"
    return ROOT / "tests" / folder / f"test_{name}.py"


def has_code(module: pathlib.Path) -> bool:
    """An `__init__.py` of nothing but a docstring needs no test."""
    body = ast.parse((ROOT / module).read_text()).body
    return any(not isinstance(node, ast.Expr) for node in body)


def modules() -> list[pathlib.Path]:
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "reactor").rglob("*.py"))
    return [module for module in found if has_code(module)]


def check(module: pathlib.Path) -> str:
    """Return what is wrong with the coverage of `module`; nothing if nothing is."""
    tests = test_file(module)
    if not tests.exists():
        return f"{module}: there is no {tests.relative_to(ROOT)}"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": f"{folder}/coverage"}
        coverage = [sys.executable, "-m", "coverage"]
        run = [*coverage, "run", "--branch", "-m", "pytest", "-q"]
        run += ["-p", "no:cacheprovider", str(tests)]
        tested = subprocess.run(
            run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if tested.returncode:
            return f"{module}: its tests fail\n{tested.stdout[-3000:]}{tested.stderr[-1000:]}"
        # Named here, not above: beside the `source` of setup.cfg, `run` would ignore it.
        report = [*coverage, "report", "--show-missing", f"--include={module}"]
        covered = subprocess.run(
            report, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        return f"{module}:\n{covered.stdout}{covered.stderr}" if covered.returncode else ""


def main() -> int:
    chosen = [pathlib.Path(name) for name in sys.argv[1:]] or modules()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [complaint for complaint in pool.map(check, chosen) if complaint]
    print("\n".join(complaints))
    print(
        f"{len(chosen) - len(complaints)} of {len(chosen)} modules covered by their own tests"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
