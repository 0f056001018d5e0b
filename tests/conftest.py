"""What tests share: how signals find them, and a reactor with all that a test has in it."""

from __future__ import annotations

import gc
import signal
from typing import TYPE_CHECKING

import pytest

from reactor import Reactor
from reactor.testing import FakeClock
from tests.scripted import Net

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that runs this in the background has it ignore SIGINT, and all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A machine that does something else for a while is not to be told of in a test's log.
assert Reactor.__init__.__kwdefaults__
Reactor.__init__.__kwdefaults__["slow_callback"] = 0.75


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
