"""What is asked of a server: how many connections, how many messages on the way, how large.

A mode is written ``rtt-32t``, ``echo-100x32t`` (100 connections, one message on the way each)
or ``pipe-10x64x1kb`` (10 connections, 64 on the way each): the size in bytes, k or m for KiB or
MiB, and at the end t for text or b for binary. ``rtt``, ``echo`` and ``pipe`` alone are the
modes of an ordinary run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

USUAL = {"rtt": "rtt-32t", "echo": "echo-100x32t", "pipe": "pipe-10x64x32t"}

_WRITTEN = re.compile(
    r"(?:(rtt)-|(echo)-([1-9]\d*)x|(pipe)-([1-9]\d*)x([1-9]\d*)x)([1-9]\d*)([km]?)([tb])"
)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


@dataclass(frozen=True)
class Mode:
    """One kind of load."""

    name: str
    connections: int
    inflight: int
    size: int
    text: bool

    @property
    def shares_core(self) -> bool:
        """A round trip is measured on one core: on two it would show how fast they wake up."""
        return self.connections == self.inflight == 1

    def __str__(self) -> str:
        plural = "" if self.connections == 1 else "s"
        kind = "text" if self.text else "binary"
        load = f"{self.connections} connection{plural}, {self.inflight} in flight each"
        return f"{load}, {self.size} B {kind}"


def parse(written: str) -> Mode:
    """The mode that ``written`` names; ``ValueError`` for what names none."""
    name = USUAL.get(written, written)
    match = _WRITTEN.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{written!r} is no mode: expected {', '.join(USUAL)} or, for example, "
            "rtt-32t, echo-1000x1kb, pipe-10x64x32t"
        )
    _, _, echoes, _, pipes, depth, count, unit, kind = match.groups()
    return Mode(
        name,
        connections=int(echoes or pipes or 1),
        inflight=int(depth or 1),
        size=int(count) * _UNITS[unit],
        text=kind == "t",
    )
