"""What the tests of clients share: a reactor with all that a test has in it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from reactor.testing import FakeClock
from tests.scripted import Net

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()
    gc.collect()


@pytest.fixture
def timed() -> Iterator[Net]:
    """One whose time goes only when it is told to."""
    net = Net(FakeClock())
    yield net
    net.close()
    gc.collect()
