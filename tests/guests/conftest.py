"""What tests of the guests share: a reactor whose time stands still, and what it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reactor import Reactor
from reactor.testing import FakeClock

from .pairs import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    with Reactor(clock=clock) as reactor:
        yield reactor


@pytest.fixture
def pair(reactor: Reactor) -> Iterator[Watched]:
    pair = Watched(reactor)
    yield pair
    pair.close()
