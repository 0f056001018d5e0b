"""What tests share: how signals find them, and a reactor with all that a test has in it."""

from __future__ import annotations

import functools
import gc
import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from reactor import Reactor
from reactor.testing import FakeClock
from tests.scripted import Net

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that runs this in the background has it ignore SIGINT, and all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A slow machine is no failure: what has to be bounded is counted, not timed.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


# A machine that does something else for a while is not to be told of in a test's log: on the
# system's clock no call is slow, unless the test says what is.
_init = Reactor.__init__


@functools.wraps(_init)
def _unhurried(self: Reactor, *args: Any, **options: Any) -> None:
    if "clock" not in options:
        options.setdefault("slow_callback", None)
    _init(self, *args, **options)


setattr(Reactor, "__init__", _unhurried)  # noqa: B010 - mypy would have it be a mistake


def pytest_collection_finish() -> None:
    """Take all tests, thousands, out of what each `gc.collect` of theirs goes through.

    What a test makes is looked at as before; on PyPy there is no such thing.
    """
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()


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
