"""What the tests of the benchmark share: the generator, compiled once; and nothing is left."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests import programs

from . import generator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def signals_restored() -> Iterator[None]:
    """A `main` that is called in this process leaves its handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def program() -> Iterator[Path]:
    """The compiled generator."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the load generator waits with epoll, which only Linux has")
    if generator.compiler() is None:
        programs.program("cc", "gcc", "clang")
    with generator.compiled() as path:
        yield path
