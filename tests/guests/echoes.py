"""Who talks to the echo server of hosts.py, in a process of its own, at a lower priority.

    python -m tests.guests.echoes PORT

sends as fast as the echoes come, until one is ENOUGH, and holds on to its connections. For each
line on stdin it sends one message more; at the end of stdin it closes them, and ends.
"""

from __future__ import annotations

import os
import sys

from reactor import EVENT_READ, Client, Reactor

CONNECTIONS = 200
# How many messages each has on their way at a time.
AHEAD = 4
ENOUGH = "enough"


class Talker(Client):
    def onopen(self) -> None:
        for _ in range(AHEAD):
            self.send("x" * 100)

    def onmessage(self, message: str) -> None:
        if message != ENOUGH:
            self.send(message)

    def onerror(self, error: Exception) -> None:
        raise SystemExit(f"an echo failed: {error}")


def main() -> None:
    os.nice(20)
    reactor = Reactor(slow_callback=None)
    url = f"ws://127.0.0.1:{sys.argv[1]}/"
    talkers = [Talker(url, reactor=reactor, ping_interval=None) for _ in range(CONNECTIONS)]

    def told(mask: int) -> None:
        lines = os.read(0, 4096)
        for _ in range(lines.count(b"\n")):
            talkers[0].send("one more")
        if not lines:
            reactor.unregister(0)
            reactor.shutdown()

    reactor.register(0, EVENT_READ, told)
    reactor.run()
    reactor.close()


if __name__ == "__main__":
    main()
