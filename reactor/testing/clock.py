"""Time that goes only when it is told to."""

from __future__ import annotations


class FakeClock:
    """A clock that goes only when it is told to.

    Args:
        start: Its first time, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: The seconds are negative: a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError(f"{seconds} seconds: this clock never goes back")
        self.now += seconds
