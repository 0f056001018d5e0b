"""Which way of masking is faster at which size, and why (the facts of `masking.py`).

python -m tests.bench.masking

The first table has ns a call; what is not installed has no column. The second has ns a byte of
what the ways consist of, and of what else the standard library can do with many bytes at once.
"""

from __future__ import annotations

import codecs
import importlib
import sys
import timeit
from typing import TYPE_CHECKING, Callable

from reactor.protocol import masking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Union

    Masked = Union[bytes, bytearray]
    Way = Callable[[bytes], Masked]
    Made = Callable[[], Way]

SIZES = (4, 16, 32, 64, 128, 256, 320, 400, 1024, 4096, 16 * 1024, 64 * 1024)
KEY = b"\x37\xfa\x21\x3d"
BLOCK = 64 * 1024  # what one `recv` brings


def integer(data: bytes) -> Masked:
    mask = int.from_bytes((KEY * (len(data) // 4 + 1))[: len(data)], "little")
    return (int.from_bytes(data, "little") ^ mask).to_bytes(len(data), "little")


def lanes(data: bytes) -> Masked:
    masked = bytearray(data)
    for lane, byte in zip(masking._LANES, KEY):
        masked[lane] = masked[lane].translate(masking.tables()[byte])
    return masked


def loop(data: bytes) -> Masked:
    return masking._mask_by_loop(data, KEY)


def chosen(data: bytes) -> Masked:
    return masking.apply_mask(data, KEY)


WAYS: tuple[Way, ...] = (integer, lanes, loop, chosen)


def speedups() -> Way:
    """What the C part of `websockets` takes, which `masking.use` can take over."""
    apply_mask = importlib.import_module("websockets.speedups").apply_mask
    return lambda data: apply_mask(data, KEY)


def numpy() -> Way:
    """What the recipe of docs/performance.md takes."""
    module = importlib.import_module("numpy")
    word = module.dtype("<u4")

    def apply_mask(data: bytes) -> Masked:
        padded = bytes(data) + bytes(-len(data) % 4)
        masked = module.frombuffer(padded, word) ^ module.frombuffer(KEY, word)
        whole: bytes = masked.tobytes()
        return whole[: len(data)]

    return apply_mask


COMPILED: tuple[Made, ...] = (speedups, numpy)


def installed(compiled: Sequence[Made]) -> dict[str, Way]:
    """Our own ways, and those of the others that are there, by name."""
    ways = {way.__name__: way for way in WAYS}
    for made in compiled:
        try:
            ways[made.__name__] = made()
        except ImportError:
            print(f"{made.__name__}: not installed, left out", file=sys.stderr)
    return ways


def main(budget: int = 1 << 20, compiled: Sequence[Made] = ()) -> None:
    """Print a table; each cell is the best of five runs over about `budget` bytes."""
    ways = installed(compiled)
    print("bytes".rjust(8), *(name.rjust(10) for name in ways))
    for size in SIZES:
        data, calls = bytes(size), max(1, min(10_000, budget // size))
        best = [
            min(timeit.repeat(lambda: way(data), number=calls, repeat=5))  # noqa: B023
            for way in ways.values()
        ]
        print(f"{size:8}", *(f"{seconds / calls * 1e9:10.0f}" for seconds in best))


def steps() -> dict[str, Callable[[], object]]:
    """What goes over a block of bytes in C, each with the name that the table has for it."""
    data = bytes(range(256)) * (BLOCK // 256)
    buffer, table, fourth = bytearray(data), masking.tables()[0x37], masking._LANES[1]
    lane, number = buffer[fourth], int.from_bytes(data, "little")
    mask, view, text = number >> 3, memoryview(data), data.decode("latin-1")

    def write() -> None:
        buffer[fourth] = lane

    return {
        "copy all": lambda: bytearray(data),
        "lanes: read one, a fourth of the bytes": lambda: buffer[fourth],
        "lanes: translate one": lambda: lane.translate(table),
        "lanes: write one back": write,
        "bytes.translate instead, one lane": lambda: bytes.translate(data[: BLOCK // 4], table),
        "memoryview instead, read one lane": lambda: view[::4].tobytes(),
        "integer: from bytes": lambda: int.from_bytes(data, "little"),
        "integer: XOR": lambda: number ^ mask,
        "integer: to bytes": lambda: number.to_bytes(BLOCK, "little"),
        "integer: from hexadecimal": lambda: int(data.hex(), 16),
        "codecs.charmap_decode": lambda: codecs.charmap_decode(data, "strict", text[:256]),
        "memoryview of words, to a list": lambda: view.cast("I").tolist(),
    }


def parts(repeat: int = 20) -> None:
    """Print what each step takes, the best of so many runs."""
    print("ns a byte of the block")
    for name, step in steps().items():
        seconds = min(timeit.repeat(step, number=5, repeat=repeat)) / 5
        print(f"{seconds / BLOCK * 1e9:8.3f}  {name}")


if __name__ == "__main__":
    main(compiled=COMPILED)
    print()
    parts()
