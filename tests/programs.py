"""The programs that some tests need and nobody is obliged to have.

A test whose program is missing is skipped, and says which it was. Where everything has to be
there, with REACTOR_REQUIRE_PROGRAMS=1 or CI=true in the environment, it fails instead.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn


def missing(what: str) -> NoReturn:
    environment = os.environ
    if environment.get("REACTOR_REQUIRE_PROGRAMS") == "1" or environment.get("CI") == "true":
        pytest.fail(f"{what} is missing", pytrace=False)
    pytest.skip(f"{what} is missing")


def program(*names: str, required: bool = True) -> str:
    """Return the path of the first of these programs that is there.

    One that is not required may be missing anywhere.
    """
    path = os.environ.get("PATH", os.defpath)
    if "/usr/bin" in path.split(os.pathsep):
        path += f"{os.pathsep}/usr/sbin"  # where Debian has its servers, for root alone
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    if not required:
        pytest.skip(f"{' or '.join(names)} is missing")
    missing(" or ".join(names))


def module(name: str) -> ModuleType:
    """Import a package that is none of ours."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the Python package {name}")


def cache() -> pathlib.Path:
    """Return the folder for what tests install: outside the tree, and kept."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("REACTOR_TEST_CACHE") or root, "wsreactor")


def node_modules(name: str, version: str) -> str:
    """Return a folder of node modules that has this package; npm fetches it the first time."""
    npm = program("npm")
    folder = cache() / "node" / f"{name}-{version}"
    modules = folder / "node_modules"
    if not (modules / name / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--prefix", str(folder), f"{name}@{version}"]
        # npm takes the folder it is in for a project of its own, if it is one.
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=50, check=False)
        if done.returncode:
            missing(f"node's {name} {version} (npm: {done.stderr.decode()[-300:]})")
    return str(modules)
