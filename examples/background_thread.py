"""How do I serve from a program that is busy with something else, and has no loop?

python examples/background_thread.py [port] [seconds]
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from reactor import Connection, Server

if TYPE_CHECKING:
    from collections.abc import Callable


class Readings(Server):
    """Whoever connects hears the last reading, and each that follows."""

    last = "none yet"

    def onopen(self, client: Connection) -> None:
        client.send(self.last)

    def tell(self, reading: str) -> None:
        self.last = reading
        self.broadcast(reading)


def measure() -> str:
    """Stand for a device whose driver takes its time, and knows of no loop."""
    time.sleep(0.01)
    return f"{time.time():.2f}"


def work(server: Readings, more: Callable[[], bool]) -> int:
    """Measure in this thread, serve in another; return how many heard it at the end."""
    with server.reactor.run_in_thread() as background:
        while more():
            # It does not wait: a slow client holds up nobody here.
            background.call_soon(server.tell, measure())
        # This does: what belongs to the reactor's thread is looked at there.
        return background.call(lambda: len(server.clients))


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    end = time.monotonic() + (float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
    work(Readings(("127.0.0.1", port)), lambda: time.monotonic() < end)
