"""The time: a tick is due every sixtieth of a second, whatever a frame has taken.

What is late is made up for, up to a quarter of a second; after a longer stop, as when a laptop
was asleep, the world goes on from where it was.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MADE_UP_FOR = 0.25  # seconds


class Pace:
    def __init__(self, tick: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.tick = tick
        self.clock = clock
        self.start = self.next = clock()
        self.frames = self.ticks = 0
        self.late: deque[float] = deque(maxlen=600)  # seconds; of the last ten seconds

    def due(self) -> int:
        """Begin a frame; return how many ticks it has to make."""
        now = self.clock()
        late = now - self.next
        if late > MADE_UP_FOR:
            self.next = now
        ticks = 0
        while self.next <= now:
            ticks += 1
            self.next += self.tick
        if ticks:
            self.frames += 1
            self.ticks += ticks
            self.late.append(late)
        return ticks

    def left(self) -> float:
        """Return how many seconds there are until the next tick."""
        return max(0.0, self.next - self.clock())

    def report(self) -> dict[str, Any]:
        """Return what it has come to, the lateness in milliseconds."""
        late = sorted(self.late) or [0.0]
        return {
            "seconds": self.clock() - self.start,
            "frames": self.frames,
            "ticks": self.ticks,
            "late": {
                "median": late[len(late) // 2] * 1000,
                "p99": late[len(late) * 99 // 100] * 1000,
                "most": late[-1] * 1000,
            },
        }
