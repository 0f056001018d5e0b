"""XOR with a 4-byte key, and a supply of fresh keys (RFC 6455 §5.3).

Facts (ns a call, CPython 3.11, `tests/bench/masking.py` measures them): pure Python has no XOR
over bytes. Two ways are within a factor of two of memory speed where a byte loop is a hundred
times slower:

- one XOR of two big integers: 380 ns at 16 bytes, 3,200 at 1 KiB; both conversions between
  bytes and integers cost 0.8 ns a byte, so it never gets past 0.5 GB/s;
- four strided slices, each through `bytearray.translate` with the table of its key byte:
  900 ns at 16 bytes, 1,950 at 1 KiB, 0.95 GB/s from 16 KiB on.

They meet near 400 bytes. Strided `memoryview`s cost 5 ns a byte, and `bytes.translate` is half
as fast as `bytearray.translate`. PyPy compiles a byte loop to 0.5 GB/s and is slow at both.

So: integers below 400 bytes, lanes above, and on PyPy integers to 32 bytes and a loop above.
Masking and unmasking are the same (RFC 6455 §5.3), so one function serves both.
"""

from __future__ import annotations

import os
import sys

# REPEAT[k] times a 32-bit key is the key written k times: 102 words are 408 bytes.
REPEAT = tuple(int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(103))

# The size in bytes from which the lanes are faster than one integer.
LANES_FROM = 400

# TABLES[key byte][data byte] is their XOR; one integer XOR makes each of the 256 tables.
_EVERY_BYTE = int.from_bytes(bytes(range(256)), "little")
_ONES = int.from_bytes(b"\1" * 256, "little")
TABLES = tuple((_EVERY_BYTE ^ byte * _ONES).to_bytes(256, "little") for byte in range(256))


def _mask_by_integer(data: bytes | bytearray, key: bytes) -> bytes:
    size = len(data)
    words = (size + 3) >> 2
    mask = int.from_bytes(key, "little") * REPEAT[words]
    return (int.from_bytes(data, "little") ^ mask).to_bytes(words << 2, "little")[:size]


def _mask_region_by_lanes(buffer: bytearray, start: int, end: int, key: bytes) -> None:
    for lane in range(min(4, end - start)):
        every_fourth = slice(start + lane, end, 4)
        buffer[every_fourth] = buffer[every_fourth].translate(TABLES[key[lane]])


def _mask_by_lanes(data: bytes | bytearray, key: bytes) -> bytearray:
    if len(data) < LANES_FROM:
        return bytearray(_mask_by_integer(data, key))
    masked = bytearray(data)
    _mask_region_by_lanes(masked, 0, len(masked), key)
    return masked


def _mask_region_by_loop(buffer: bytearray, start: int, end: int, key: bytes) -> None:
    a, b, c, d = key
    whole = start + (end - start & ~3)
    for at in range(start, whole, 4):
        buffer[at] ^= a
        buffer[at + 1] ^= b
        buffer[at + 2] ^= c
        buffer[at + 3] ^= d
    for at in range(whole, end):
        buffer[at] ^= key[at - whole]


def _mask_by_loop(data: bytes | bytearray, key: bytes) -> bytearray:
    if len(data) <= 32:
        return bytearray(_mask_by_integer(data, key))
    masked = bytearray(data)
    _mask_region_by_loop(masked, 0, len(masked), key)
    return masked


_COMPILED_LOOPS = sys.implementation.name == "pypy"
_masked = _mask_by_loop if _COMPILED_LOOPS else _mask_by_lanes
_mask_region = _mask_region_by_loop if _COMPILED_LOOPS else _mask_region_by_lanes


def apply_mask(data: bytes | bytearray, key: bytes) -> bytearray:
    """Return `data` XORed with `key`, repeated (RFC 6455 §5.3).

    Args:
        data: The payload, masked or not.
        key: The four bytes of the masking key.
    """
    return _masked(data, key)


def mask_in_place(buffer: bytearray, start: int, end: int, key: bytes) -> None:
    """XOR `buffer[start:end]` with `key`, the key beginning at `start`.

    Args:
        buffer: Holds a payload that was received into place; changed.
        start: The index of the first byte.
        end: The index behind the last byte.
        key: The four bytes of the masking key.
    """
    _mask_region(buffer, start, end, key)


class KeyPool:
    """A supply of masking keys, each used once.

    "The masking key needs to be unpredictable; thus, the masking key MUST be derived from a
    strong source of entropy" (RFC 6455 §5.3). One call of the system's generator costs 560 ns
    for four bytes and for a thousand, so it is asked for a thousand keys' worth at a time.
    """

    __slots__ = ("_at", "_pool")

    SIZE = 4096

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Throw the rest of the supply away, as a forked child must: its parent has it too."""
        self._pool = b""
        self._at = 0

    def __call__(self) -> bytes:
        """Return four random bytes that were not returned before."""
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(self.SIZE)
            at = 0
        self._at = at + 4
        return self._pool[at : at + 4]


new_key = KeyPool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=new_key.clear)
