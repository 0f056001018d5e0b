"""`reactor/testing/clock.py`: time that goes only when it is told to."""

from __future__ import annotations

import pytest

from reactor.testing import FakeClock


def test_the_clock_goes_only_when_it_is_told_to() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(0)
    clock.advance(2.5)
    assert clock() == clock.now == 7.5


def test_the_clock_never_goes_back() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-0.1)
    assert clock() == 1000.0
