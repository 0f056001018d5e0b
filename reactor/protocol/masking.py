"""XOR with a 4-byte key, and a supply of fresh keys (RFC 6455 §5.3).

Facts (ns a call, CPython 3.11, `tests/bench/masking.py` measures them): the standard library
has no XOR over bytes. Two ways are within a few times of memory speed where a byte loop is a
hundred times slower:

- one XOR of two big integers: 400 ns at 16 bytes, 1,000 at 400. The XOR takes 0.03 ns a byte,
  but the conversions from bytes and to bytes take 0.6 each: 0.7 GB/s is the end of it;
- four strided slices, each through `bytearray.translate` with the table of its key byte: 600
  ns at 16 bytes, 1,500 at 1 KiB, 1.2 GB/s from 16 KiB on. To read every fourth byte, to
  translate, and to write back is 0.25 ns a byte each, a byte a cycle, and none can be spared.

They meet at 220 bytes where the interpreter was built with PGO and LTO, at 400 where it was
not. Strided `memoryview`s cost ten times what slices do, `bytes.translate` half as much again
as `bytearray.translate`; lists of words, hexadecimal digits and the codec of tables are slower
than either way. PyPy compiles a byte loop to 0.5 GB/s and is slow at both.

So: integers below 320 bytes, lanes above, and on PyPy integers to 32 bytes and a loop above;
and who has compiled code can have it used, by `use`. Masking and unmasking are the same (RFC
6455 §5.3), so one function serves both.
"""

from __future__ import annotations

import os
import sys
from itertools import chain, repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Union

    Masked = Union[bytes, bytearray]
    Compiled = Callable[[Union[bytes, bytearray, memoryview], bytes], Masked]

# REPEAT[k] times a 32-bit key is the key written k times: 81 words are 324 bytes.
_ones = [0]
for _words in range(81):
    _ones.append(_ones[-1] << 32 | 1)  # a fifth of the work of making each from bytes
REPEAT = tuple(_ones)

# The size in bytes from which the lanes are faster than one integer.
LANES_FROM = 320

# TABLES[key byte][data byte] is their XOR. They are 74 KB, take 0.1 ms, and are made by
# `tables` for the first large payload: who has short ones alone has no need of them.
TABLES: tuple[bytes, ...] = ()

# Every fourth byte of a whole buffer: to make a slice at each use costs as much as 100 bytes.
_LANES = tuple(slice(lane, None, 4) for lane in range(4))


def tables() -> tuple[bytes, ...]:
    """Make `TABLES`, if they are not made, and return them."""
    global TABLES
    if not TABLES:
        # One integer XOR makes each of the 256.
        every = int.from_bytes(bytes(range(256)), "little")
        ones = int.from_bytes(b"\1" * 256, "little")
        TABLES = tuple([(every ^ byte * ones).to_bytes(256, "little") for byte in range(256)])
    return TABLES


def _mask_by_integer(data: Masked | memoryview, key: bytes) -> bytes:
    size = len(data)
    words = (size + 3) >> 2
    mask = int.from_bytes(key, "little") * REPEAT[words]
    return (int.from_bytes(data, "little") ^ mask).to_bytes(words << 2, "little")[:size]


def _mask_by_loop(data: Masked | memoryview, key: bytes) -> Masked:
    if len(data) <= 32:
        return _mask_by_integer(data, key)
    masked = bytearray(data)
    a, b, c, d = key
    size = len(masked)
    for at in range(0, size - 3, 4):
        masked[at] ^= a
        masked[at + 1] ^= b
        masked[at + 2] ^= c
        masked[at + 3] ^= d
    for at in range(size & ~3, size):
        masked[at] ^= key[at & 3]
    return masked


# What is used where nobody has asked for anything else: `None` are integers and lanes.
_COMPILED_LOOPS = sys.implementation.name == "pypy"
_FUNCTION: Compiled | None = _mask_by_loop if _COMPILED_LOOPS else None
_function, _least = _FUNCTION, 0

# What masks even a payload of a few bytes, for who would else do so by himself, as the parser
# does: what is in use, unless it is only worth it for larger ones.
short: Compiled | None = None


def apply_mask(data: Masked, key: bytes) -> Masked:
    """Return `data` XORed with `key`, repeated (RFC 6455 §5.3). Hot.

    Args:
        data: The payload, masked or not.
        key: The four bytes of the masking key.
    """
    size = len(data)
    compiled = _function
    if compiled is not None and size >= _least:
        return compiled(data, key)
    if size < LANES_FROM:
        words = (size + 3) >> 2
        mask = int.from_bytes(key, "little") * REPEAT[words]
        return (int.from_bytes(data, "little") ^ mask).to_bytes(words << 2, "little")[:size]
    a, b, c, d = key
    lane_a, lane_b, lane_c, lane_d = _LANES
    by_key = TABLES or tables()
    masked = bytearray(data)
    masked[lane_a] = masked[lane_a].translate(by_key[a])
    masked[lane_b] = masked[lane_b].translate(by_key[b])
    masked[lane_c] = masked[lane_c].translate(by_key[c])
    masked[lane_d] = masked[lane_d].translate(by_key[d])
    return masked


def use(function: Compiled | None, *, least: int = 0) -> None:
    """Have a compiled function do the masking, of all connections of this process.

    Nothing is looked for, and nothing imported, by itself: who has `websockets` installed, say,
    calls `masking.use(websockets.speedups.apply_mask)` once, before the first connection.

    Args:
        function: Called with data, which may be `bytes`, a `bytearray` or a `memoryview` of
            any size, and four bytes of key; returns as many bytes, XORed with the key, and
            leaves the data as they were. It is tried out before it is used. `None` for what
            was used before: pure Python.
        least: The least size in bytes for which it is called. 0; a function with a costly
            call, as of numpy, is only worth it from about 1,024 on.

    Raises:
        TypeError: The function cannot be called, or `least` is not a whole number.
        ValueError: The function gives a wrong answer, or none, or `least` is below zero.
    """
    global _function, _least, short
    if isinstance(least, bool) or not isinstance(least, int):
        raise TypeError(f"least={least!r}, not a number of bytes")
    if least < 0:
        raise ValueError(f"least={least}, below zero")
    if function is None:
        _function, _least, short = _FUNCTION, 0, None
        return
    if not callable(function):
        raise TypeError(f"{function!r} cannot be called")
    _try_out(function)
    _function, _least = function, least
    short = None if least else function


def _try_out(function: Compiled) -> None:
    """Raise `ValueError` unless it masks: all types, sizes around a machine's words, any place.

    It is compared with the definition: "Octet i of the transformed data [...] is the XOR of
    octet i of the original data with octet at index i modulo 4 of the masking key" (RFC 6455
    §5.3).
    """
    for size in (*range(36), 63, 64, 65, 127, 1021, 16_387):
        data = bytes(at * 167 + size & 0xFF for at in range(size))
        placed = bytearray(3) + data + bytearray(3)
        try:
            with memoryview(placed) as whole, whole[3 : size + 3] as region:
                for given in (data, bytearray(data), region):
                    _check_answer(function, given, data)
            placed.clear()  # as a buffer must be free to grow afterwards
        except BufferError:
            raise ValueError(f"{function!r} has kept the memory that it was given") from None


def _check_answer(function: Compiled, given: Masked | memoryview, data: bytes) -> None:
    key = b"\x00\x81\x7f\xfe"
    masked = bytes(octet ^ key[at & 3] for at, octet in enumerate(data))
    what = f"a {type(given).__name__} of {len(data)} bytes"
    answer: Any
    try:
        answer = function(given, key)
    except Exception as error:
        raise ValueError(f"{function!r} raised for {what}: {error!r}") from error
    if not isinstance(answer, (bytes, bytearray)) or answer != masked:
        raise ValueError(f"{function!r} does not mask {what}: {answer!r:.60}")
    if given != data:
        raise ValueError(f"{function!r} has changed {what} that it was given")


class KeyPool:
    """A supply of masking keys, each used once.

    "The masking key needs to be unpredictable; thus, the masking key MUST be derived from a
    strong source of entropy" (RFC 6455 §5.3). One call of the system's generator costs 560 ns
    for four bytes and for a thousand, so it is asked for a thousand keys' worth at a time.

    Attributes:
        numbers: Yields each key, as a number, without end and without a call in Python.
    """

    __slots__ = ("numbers",)

    SIZE = 4096

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Throw the rest of the supply away, as a forked child must: its parent has it too."""
        # A `chain` ends for good when what it draws from raises, as `_more` does for Ctrl-C,
        # but not when what it is in the middle of does: so there is one around it, without end.
        supplies = map(self._more, repeat(self.SIZE))
        self.numbers: Iterator[int] = chain.from_iterable(
            map(chain.from_iterable, repeat(supplies))
        )

    def _more(self, size: int) -> memoryview:
        return memoryview(os.urandom(size)).cast("I")

    def __call__(self) -> bytes:
        """Return four random bytes that were not returned before."""
        return next(self.numbers).to_bytes(4, "little")


new_key = KeyPool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=new_key.clear)
