"""How do I stay connected to a server that may go away?

    python examples/client.py [uri]

What is said while there is no connection waits for the next one.
"""

from __future__ import annotations

import sys

from reactor import Backoff, Client

HOLD = 64 * 1024


class Ticker(Client):
    def onopen(self) -> None:
        print(f"connected to {self.uri}")
        self.send("hello")

    def onmessage(self, message: str | bytes) -> None:
        print(f"received {message!r}")

    def onerror(self, error: Exception) -> None:
        print(f"failed: {error}")

    def onclose(self, code: int, reason: str) -> None:
        print(f"closed: {code} {reason}")

    def onreconnecting(self, delay: float, attempt: int) -> None:
        print(f"attempt {attempt} in {delay:.1f} s")


if __name__ == "__main__":
    uri = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/"
    Ticker(uri, reconnect=Backoff(first=0.5, last=30), hold=HOLD).run()
