"""``python -m tests.bench.deflate_memory``: what compression costs a connection in memory.

For each preset a fresh process makes the codecs of a thousand server's connections. Each sends
and receives a message of words and one of noise, so that zlib has taken, and touched, all that
it ever takes; in between the process looks at its resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reactor.protocol.deflate import PerMessageDeflate

from .processes import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactor.protocol.extensions import Codec, Params

# Bits of both windows, memory level, whether both sides forget each message.
PRESETS = {
    "15 bits, memory level 8": (15, 8, False),
    "12 bits, memory level 5": (12, 5, False),
    "11 bits, memory level 4": (11, 4, False),
    "9 bits, memory level 1": (9, 1, False),
    "12 bits, memory level 5, no context takeover": (12, 5, True),
}
_SIZE = 64 * 1024  # bytes of a message: two of the largest windows
_WORDS = ["what", "compression", "costs", "a", "connection", "in", "memory"]


@dataclass(frozen=True)
class Cost:
    """Bytes for a connection: of its codec and its compressor, and of its decompressor."""

    compressing: float
    inflating: float


def traffic() -> list[bytes]:
    """A message of words and one of noise, the same each time."""
    chance = random.Random(7692)
    words = " ".join(chance.choices(_WORDS, k=_SIZE)).encode()[:_SIZE]
    return [words, chance.getrandbits(8 * _SIZE).to_bytes(_SIZE, "big")]


def resident() -> int:
    """The resident memory of this process now; ``ru_maxrss`` would be its most ever."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _send(codec: Codec, messages: Sequence[bytes]) -> list[bytes]:
    return [codec.encode(message, True) for message in messages]


def _receive(codec: Codec, packed: Sequence[bytes]) -> list[bytes]:
    return [b"".join(codec.decode(message, True)) for message in packed]


def measure(bits: int, mem_level: int, forget: bool, connections: int) -> Cost:
    """What so many connections cost this process, for each."""
    extension = PerMessageDeflate(
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        server_no_context_takeover=forget,
        client_no_context_takeover=forget,
        mem_level=mem_level,
    )

    def accepted() -> tuple[Params, Codec]:
        accepted = extension.answer([("client_max_window_bits", None)])
        assert accepted is not None
        return accepted

    messages = traffic()
    # One that does not count: what all of them share is there after it.
    answer, first = accepted()
    packed = _send(extension.agree(answer), messages)
    _send(first, messages)
    if _receive(first, packed) != messages:
        raise AssertionError("the messages came out different")
    start = resident()
    codecs = [accepted()[1] for _ in range(connections)]
    for codec in codecs:
        _send(codec, messages)
    between = resident()
    for codec in codecs:
        _receive(codec, packed)
    end = resident()
    return Cost((between - start) / connections, (end - between) / connections)


def in_child(name: str, connections: int) -> Cost:
    """What ``measure`` says in a process that has done nothing else."""
    command = [sys.executable, "-m", __spec__.name, "--only", name]
    done = subprocess.run(
        [*command, "--connections", str(connections)],
        cwd=CHECKOUT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Cost(**json.loads(done.stdout))


def table(costs: dict[str, Cost]) -> str:
    """A line for each preset, in KiB, as Markdown."""
    lines = ["| windows | compressing | inflating | both |", "|---|--:|--:|--:|"]
    for name, cost in costs.items():
        parts = cost.compressing, cost.inflating, cost.compressing + cost.inflating
        lines.append(f"| {name} | {' | '.join(f'{part / 1024:.1f} KiB' for part in parts)} |")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.deflate_memory",
        description="What compression costs a connection in memory.",
    )
    parser.add_argument("--connections", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--only", choices=PRESETS, help="this preset, in this process, as JSON")
    options = parser.parse_args(given)
    if options.only:
        print(json.dumps(asdict(measure(*PRESETS[options.only], options.connections))))
        return 0
    print(table({name: in_child(name, options.connections) for name in PRESETS}))
    return 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    sys.exit(main())
