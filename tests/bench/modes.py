"""What is asked of a server: how many connections, how many messages on the way, how large.

rtt-32t: one connection, one message on the way. echo-100x32t: 100 connections, one message on
the way each. pipe-10x64x1kb: 10 connections, 64 on the way each. big-1mu: 4 connections, one
large message on the way each. fan-1000x32t: one of 1000 connections sends, the server sends it
to all, and the next leaves when all have it. conn-64: 64 connections at a time are opened and
closed, and nothing else. deflate-100x1k, tls-100x1k: echo of compressed JSON, echo over TLS.
Sizes are in bytes, k or m for KiB or MiB; t at the end is ASCII text, u text of characters of 1
to 4 bytes, b binary, j JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}
_KINDS = {"t": "text", "u": "mixed", "b": "binary", "j": "json"}
_KIND = r"(?P<kind>[tub])"
_ALSO_JSON = r"(?P<kind>[tbj]?)"
_SIZE = r"(?P<size>[1-9]\d*)(?P<unit>[km]?)"
_COUNT = r"(?P<connections>[1-9]\d*)"
_FORMS = {
    "rtt": _SIZE + _KIND,
    "echo": f"{_COUNT}x{_SIZE}{_KIND}",
    "pipe": rf"{_COUNT}x(?P<inflight>[1-9]\d*)x{_SIZE}{_KIND}",
    "big": _SIZE + _KIND,
    "fan": f"{_COUNT}x{_SIZE}{_KIND}",
    "conn": _COUNT,
    "deflate": f"{_COUNT}x{_SIZE}{_ALSO_JSON}",
    "tls": f"{_COUNT}x{_SIZE}{_ALSO_JSON}",
}
_BIG_CONNECTIONS = 4  # enough for the server never to wait for the generator

GROWTH = ("echo-10x32t", "echo-100x32t", "echo-1000x32t", "echo-10000x32t")
GROUPS = {
    "rtt": ("rtt-32t",),
    "echo": ("echo-100x32t",),
    "pipe": ("pipe-10x64x32t",),
    "big": ("big-64kb", "big-64ku", "big-1mb", "big-1mu"),
    "fan": ("fan-1000x32t", "fan-5000x32t"),
    "conn": ("conn-1", "conn-64"),
    "deflate": ("deflate-100x1k",),
    "tls": ("tls-100x1k",),
    "growth": GROWTH,
    "smoke": ("rtt-32t", "echo-100x32t", "pipe-10x64x32t", "fan-5x32t", "conn-2"),
    "usual": (
        "rtt-32t",
        "echo-100x32t",
        "pipe-10x64x32t",
        "big-64kb",
        "fan-1000x32t",
        "conn-64",
    ),
}
GROUPS["all"] = (
    *("rtt-32t", "rtt-32b"),
    *(f"echo-{count}x{size}" for count in (100, 1000) for size in ("32t", "32b", "1kt", "1kb")),
    *("pipe-10x64x32t", "pipe-10x64x32b", "pipe-10x64x1kt", "pipe-10x64x1kb"),
    *(name for group in ("big", "fan", "conn", "deflate", "tls") for name in GROUPS[group]),
    *(name for name in GROWTH if name not in ("echo-100x32t", "echo-1000x32t")),
)


@dataclass(frozen=True)
class Mode:
    """One kind of load."""

    name: str
    family: str
    connections: int
    inflight: int
    size: int
    kind: str

    @property
    def shares_core(self) -> bool:
        """One thing at a time is measured on one core: on two it would show how fast they wake.

        A round trip, that is, and connections one by one.
        """
        return self.connections == self.inflight == 1

    @property
    def load(self) -> str:
        """What the generator does."""
        return self.family if self.family in ("fan", "conn") else "echo"

    @property
    def deflate(self) -> bool:
        return self.family == "deflate"

    @property
    def tls(self) -> bool:
        return self.family == "tls"

    @property
    def in_python(self) -> bool:
        """Whether the load is written in Python, which has zlib and TLS, instead of C."""
        return self.deflate or self.tls

    @property
    def counted(self) -> str:
        """What the rate is a rate of."""
        return {"fan": "deliveries", "conn": "connections"}.get(self.family, "messages")

    @property
    def megabytes(self) -> float | None:
        """Of a message, one way; ``None`` where there is none."""
        return None if self.family == "conn" else self.size / 1e6

    def __str__(self) -> str:
        plural = "" if self.connections == 1 else "s"
        kind = {"mixed": "text of characters of 1 to 4 bytes", "json": "JSON"}.get(
            self.kind, self.kind
        )
        if self.family == "conn":
            return f"{self.connections} connection{plural} at a time, opened and closed"
        if self.family == "fan":
            return f"one sends, {self.connections} receive, {self.size} B {kind}"
        how = ", permessage-deflate" if self.deflate else ", TLS" if self.tls else ""
        load = f"{self.connections} connection{plural}, {self.inflight} in flight each"
        return f"{load}, {self.size} B {kind}{how}"


def parse(written: str) -> list[Mode]:
    """The modes that ``written`` names, one or a group; ``ValueError`` for what names none."""
    return [_mode(name, written) for name in GROUPS.get(written, (written,))]


def parse_all(written: str) -> list[Mode]:
    """The modes of a list with commas, each once."""
    return list(dict.fromkeys(mode for part in written.split(",") for mode in parse(part)))


def _mode(name: str, written: str) -> Mode:
    family, _, rest = name.partition("-")
    match = re.fullmatch(_FORMS[family], rest) if family in _FORMS else None
    if match is None:
        raise ValueError(
            f"{written!r} is no mode: expected {', '.join(GROUPS)} or, for example, "
            "rtt-32t, echo-1000x1kb, pipe-10x64x32t, fan-1000x32t, conn-64, tls-100x1k"
        )
    found = match.groupdict()
    connections = _BIG_CONNECTIONS if family == "big" else int(found.get("connections") or 1)
    kind = found.get("kind") or ("j" if family == "deflate" else "t")
    return Mode(
        name,
        family,
        connections=connections,
        inflight=int(found.get("inflight") or 1),
        size=int(found.get("size") or 1) * _UNITS[found.get("unit") or ""],
        kind=_KINDS[kind],
    )
