"""How do I send much to a client without holding all of it in memory?

    python examples/backpressure.py [port]

Each client gets the numbers to a million, as fast as it reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from reactor import Connection, Server

LAST = 1_000_000


class Numbers(Connection):
    def onopen(self) -> None:
        self.numbers: Iterator[int] = iter(range(1, LAST + 1))
        self.pump()

    def ondrain(self) -> None:
        self.pump()

    def pump(self) -> None:
        for number in self.numbers:
            if not self.send(str(number)):
                return  # over the high-water mark, with this one taken: ondrain follows
        self.close()


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Server(("127.0.0.1", port), connection=Numbers).run()
