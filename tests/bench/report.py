"""From runs to numbers that may be compared, and the tables that show them."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Callable

from .peers import PEERS, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .generator import Run
    from .modes import Mode
    from .rounds import Cell, Cells

REFERENCES = ("websockets", "picows")
_SPREAD = 0.3  # of a quiet machine's cells one in ten is above
_BUSY = 0.95  # from this share of its core on, the generator may be what limits the rate


def spread(values: Sequence[float]) -> float:
    """How far the values lie apart, in medians: (max - min) / median."""
    return (max(values) - min(values)) / median(values)


def ratio(cell: Cell, reference: Cell) -> float | None:
    """The median of the rates' ratios, each taken within one round.

    What disturbs the machine in a round disturbs both, so their ratio holds still where the
    rates do not. Rounds in which either failed are left out.
    """
    ratios = [
        mine.rate / theirs.rate
        for mine, theirs in zip(cell.runs, reference.runs)
        if mine is not None and theirs is not None
    ]
    return median(ratios) if ratios else None


def summary(cell: Cell, row: dict[Peer, Cell]) -> dict[str, float | None]:
    """The numbers of one line of a table; empty for a server with no good run."""
    runs = [run for run in cell.runs if run is not None]
    if not runs:
        return {}

    def middle(value: Callable[[Run], float]) -> float:
        return median(value(run) for run in runs)

    numbers: dict[str, float | None] = {
        "rate": middle(lambda run: run.rate),
        "spread": spread([run.rate for run in runs]),
        "server_cpu_per_message": middle(lambda run: run.cpu_per_message),
        "server_busy": middle(lambda run: run.server_busy),
        "generator_busy": middle(lambda run: run.generator_busy),
        "p50": middle(lambda run: run.p50),
        "p99": middle(lambda run: run.p99),
    }
    for name in REFERENCES:
        reference = row.get(PEERS[name])
        numbers[f"ratio_to_{name}"] = ratio(cell, reference) if reference else None
    return numbers


def as_data(cells: Cells) -> dict[str, object]:
    """Everything measured, run by run, with the summaries, for JSON."""
    return {
        mode.name: {
            peer.name: {
                **summary(cell, row),
                "runs": [asdict(run) if run else None for run in cell.runs],
                "failures": cell.failures,
            }
            for peer, cell in row.items()
        }
        for mode, row in cells.items()
    }


_HEAD = (
    "server",
    "messages/s",
    "spread",
    *(f"x {name}" for name in REFERENCES),
    "CPU us/msg",
    "p50 us",
    "p99 us",
    "server",
    "generator",
)


def _line(peer: Peer, cell: Cell, row: dict[Peer, Cell]) -> tuple[str, ...]:
    numbers = summary(cell, row)

    def shown(name: str, form: str, scale: float = 1) -> str:
        value = numbers.get(name)
        return "-" if value is None else format(value * scale, form)

    failed = sum(run is None for run in cell.runs)
    note = f" ({failed} of {len(cell.runs)} failed)" if failed else ""
    return (
        peer.name + note,
        shown("rate", ",.0f"),
        shown("spread", ".0%"),
        *(shown(f"ratio_to_{name}", ".2f") for name in REFERENCES),
        shown("server_cpu_per_message", ".2f", 1e6),
        shown("p50", ".0f", 1e6),
        shown("p99", ".0f", 1e6),
        shown("server_busy", ".0%"),
        shown("generator_busy", ".0%"),
    )


def _columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines)]
    for first, *rest in lines:
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:]))
        yield "  ".join([first.ljust(widths[0]), *numbers])


def table(mode: Mode, row: dict[Peer, Cell]) -> str:
    """One mode's results, a line for each server."""
    lines = [_HEAD, *(_line(peer, cell, row) for peer, cell in row.items())]
    text = [f"{mode.name}: {mode}", *_columns(lines)]
    busy = [
        peer.name
        for peer, cell in row.items()
        if not mode.shares_core and (summary(cell, row).get("generator_busy") or 0) >= _BUSY
    ]
    if busy:
        text.append(f"The generator was busy all the time: {', '.join(busy)} may do more.")
    if any((summary(cell, row).get("spread") or 0) > _SPREAD for cell in row.values()):
        text.append("The rounds differ much: other work took the cores, the ratios are rough.")
    return "\n".join(text)
