"""A mutational fuzzer of the standard library alone: seeded, so that a run can be repeated.

It sees no branches. What stands in for them is the sign that a target returns of what an input
did: an input with a new sign is kept, and mutated further.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .targets import Target

# Where one more or one less is another case: lengths, limits, signs, ends of UTF-8's ranges.
EDGES = (0, 1, 2, 0x7D, 0x7E, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xC0, 0xFD, 0xFE, 0xFF)
LONGEST = 40_000
# For as long a finding is shrunk: what is slow on each input is to be told all the same.
PATIENCE = 20.0


class Result(NamedTuple):
    executions: int
    kept: int
    failing: bytes | None
    why: str


class Mutator:
    """Changes inputs, at random from a seed."""

    def __init__(self, seed: int, tokens: list[bytes]) -> None:
        self.random = random.Random(seed)
        self.tokens = tokens

    def place(self, data: bytearray) -> int:
        return self.random.randrange(len(data) + 1)

    def span(self, data: bytearray) -> slice:
        """Return a part of the input, most often a short one."""
        at = self.place(data)
        most = self.random.choice((1, 2, 4, 8, 64, len(data) + 1))
        return slice(at, at + self.random.randint(1, most))

    def flip(self, data: bytearray) -> None:
        if data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)

    def overwrite(self, data: bytearray) -> None:
        if data:
            octet = self.random.choice((*EDGES, self.random.randrange(256)))
            data[self.random.randrange(len(data))] = octet

    def add(self, data: bytearray) -> None:
        if data:
            at = self.random.randrange(len(data))
            data[at] = (data[at] + self.random.choice((-2, -1, 1, 2))) & 0xFF

    def delete(self, data: bytearray) -> None:
        del data[self.span(data)]

    def repeat(self, data: bytearray) -> None:
        part = data[self.span(data)]
        at = self.place(data)
        data[at:at] = part * self.random.choice((1, 1, 2, 6, 70))

    def insert(self, data: bytearray) -> None:
        at = self.place(data)
        size = self.random.choice((1, 2, 5, 130))
        data[at:at] = bytes(self.random.randrange(256) for _ in range(size))

    def insert_token(self, data: bytearray) -> None:
        at = self.place(data)
        data[at:at] = self.random.choice(self.tokens)

    def replace_by_token(self, data: bytearray) -> None:
        data[self.span(data)] = self.random.choice(self.tokens)

    def cut_off(self, data: bytearray) -> None:
        del data[self.place(data) :]

    def __call__(self, data: bytes, other: bytes) -> bytes:
        """Return `data`, changed a little, and sometimes crossed with `other`."""
        changes: tuple[Callable[[bytearray], None], ...] = (
            *(self.flip, self.overwrite, self.add, self.delete, self.repeat, self.insert),
            *(self.insert_token, self.insert_token, self.replace_by_token, self.cut_off),
        )
        changed = bytearray(data)
        if self.random.random() < 0.2:
            changed[self.place(changed) :] = other[self.random.randrange(len(other) + 1) :]
        for _ in range(self.random.choice((1, 1, 2, 4, 8))):
            self.random.choice(changes)(changed)
        return bytes(changed[:LONGEST])


def why_failing(target: Target, data: bytes) -> str:
    """Return what an input shows, or nothing if it shows nothing."""
    try:
        target.run(data)
    except Exception as error:
        return spelled(error)
    return ""


def spelled(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def shrink(
    target: Target, data: bytes, attempts: int = 500, patience: float = PATIENCE
) -> bytes:
    """Return a failing input with as much left out as leaves it failing."""
    end = time.monotonic() + patience
    size = max(1, len(data) // 2)
    while True:
        at, before = 0, len(data)
        while at < len(data) and attempts:
            if time.monotonic() >= end:
                return data
            attempts -= 1
            shorter = data[:at] + data[at + size :]
            if why_failing(target, shorter):
                data = shorter
            else:
                at += size
        if not attempts or (size == 1 and len(data) == before):
            return data
        size = max(1, size // 2)


def least_failing(target: Target, data: bytes, error: Exception) -> tuple[bytes, str]:
    """Return the least of what still fails, and why; all of it, if it does not fail again."""
    least = shrink(target, data)
    why = why_failing(target, least)
    return (least, why) if why else (data, f"{spelled(error)}\n(once; run again it passed)")


def fuzz(
    target: Target, seed: int, *, seconds: float = float("inf"), runs: float = float("inf")
) -> Result:
    """Run a target on its seeds, then on what becomes of them, until it is time or it fails."""
    mutate = Mutator(seed, target.tokens)
    end = time.monotonic() + seconds
    seen: set[Hashable] = set()
    kept: list[bytes] = []
    executions = 0
    while executions < runs and time.monotonic() < end:
        if executions < len(target.seeds):
            data = target.seeds[executions]
        else:
            data = mutate(mutate.random.choice(kept), mutate.random.choice(kept))
        executions += 1
        try:
            sign = target.run(data)
        except Exception as error:
            return Result(executions, len(kept), *least_failing(target, data, error))
        if sign not in seen or executions <= len(target.seeds):
            seen.add(sign)
            kept.append(data)
    return Result(executions, len(kept), None, "")
