"""What the branches of `FrameParser.feed` for whole frames spare, in us a message.

python -m tests.bench.frames
"""

from __future__ import annotations

import timeit

from reactor.protocol.frames import pack_message
from reactor.protocol.parser import FrameParser

COUNT = 64  # what one call of `feed` handles
SIZES = (32, 1024)


class Parser(FrameParser):
    """Drops what comes."""

    def __init__(self) -> None:
        super().__init__(masked=True, room=1 << 20)
        self._deliver = self.message

    def message(self, *message: object) -> bool | None:
        return None


def main(rounds: int = 500) -> None:
    """Print both for each size, the best of five runs of so many rounds."""
    for size in SIZES:
        compare(size, rounds)


def compare(size: int, rounds: int) -> None:
    """Print both for one size."""
    data = b"".join(pack_message("x" * size, True) for _ in range(COUNT))
    parser = Parser()

    def in_the_loop() -> None:
        parser.feed(data)

    def general() -> None:
        at, end = 0, len(data)
        while at < end:
            at, _ = parser._frame(data, at, end)

    for way in (in_the_loop, general):
        seconds = min(timeit.repeat(way, number=rounds, repeat=5))
        print(f"{size:6} {way.__name__:12} {seconds / rounds / COUNT * 1e6:6.2f}")


if __name__ == "__main__":
    main()
