"""How do I run a server inside a loop of my own, 60 times a second?

python examples/game_loop.py [port] [seconds]
"""

from __future__ import annotations

import sys
import time

from reactor import Connection, Server

TICK = 1 / 60


class World(Server):
    """Whoever connects is a dot, and moves it with "left" and "right"."""

    def onopen(self, client: Connection) -> None:
        client.data = 0

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.data += {"left": -1, "right": 1}.get(str(message), 0)

    def snapshot(self) -> str:
        return " ".join(str(client.data) for client in self.clients)


def play(world: World, seconds: float) -> int:
    """Run the game; return how many ticks it had."""
    ticks, start = 0, time.monotonic()
    while ticks * TICK < seconds:
        ticks += 1
        # The time that is left of this tick is spent waiting for sockets.
        while (left := start + ticks * TICK - time.monotonic()) > 0:
            world.reactor.step(timeout=left)
        world.broadcast(world.snapshot())
    return ticks


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    world = World(("127.0.0.1", port))
    try:
        play(world, float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
    finally:
        world.close()
