"""Which way of masking is faster at which size, in ns a call (the facts of `masking.py`).

python -m tests.bench.masking
"""

from __future__ import annotations

import timeit

from reactor.protocol import masking

SIZES = (4, 16, 32, 128, 400, 1024, 16 * 1024, 64 * 1024)
KEY = b"\x37\xfa\x21\x3d"


def integer(data: bytes) -> object:
    mask = int.from_bytes((KEY * (len(data) // 4 + 1))[: len(data)], "little")
    return (int.from_bytes(data, "little") ^ mask).to_bytes(len(data), "little")


def lanes(data: bytes) -> object:
    masked = bytearray(data)
    masking._mask_region_by_lanes(masked, 0, len(masked), KEY)
    return masked


def loop(data: bytes) -> object:
    masked = bytearray(data)
    masking._mask_region_by_loop(masked, 0, len(masked), KEY)
    return masked


def chosen(data: bytes) -> object:
    return masking.apply_mask(data, KEY)


WAYS = (integer, lanes, loop, chosen)


def main(budget: int = 1 << 20) -> None:
    """Print a table; each cell is the best of five runs over about `budget` bytes."""
    print("bytes".rjust(8), *(way.__name__.rjust(10) for way in WAYS))
    for size in SIZES:
        data, calls = bytes(size), max(1, min(10_000, budget // size))
        best = [min(timeit.repeat(lambda: way(data), number=calls, repeat=5)) for way in WAYS]  # noqa: B023
        print(f"{size:8}", *(f"{seconds / calls * 1e9:10.0f}" for seconds in best))


if __name__ == "__main__":
    main()
