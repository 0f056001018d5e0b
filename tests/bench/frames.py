"""What the short branch of `FrameParser.feed` spares, in us a message of 32 bytes.

python -m tests.bench.frames
"""

from __future__ import annotations

import timeit

from reactor.protocol.frames import pack_message
from reactor.protocol.parser import FrameParser

COUNT = 64  # what one call of `feed` handles


class Sink:
    """Drops what comes."""

    def message(self, head: int, payload: bytes | bytearray) -> bool | None:
        return None

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} is not for whole frames")


def main(rounds: int = 500) -> None:
    """Print both, each the best of five runs of so many rounds."""
    data = b"".join(pack_message("x" * 32, True) for _ in range(COUNT))
    parser = FrameParser(Sink(), masked=True, room=1 << 20)  # type: ignore[arg-type]

    def short_branch() -> None:
        parser.feed(data)

    def general() -> None:
        at, size = 0, len(data)
        while at < size:
            at, _ = parser._frame(data, at, size)

    for way in (short_branch, general):
        seconds = min(timeit.repeat(way, number=rounds, repeat=5))
        print(f"{way.__name__:12} {seconds / rounds / COUNT * 1e6:6.2f}")


if __name__ == "__main__":
    main()
