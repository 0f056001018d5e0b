"""From runs to numbers that may be compared, and the tables that show them."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Callable

from .modes import GROWTH
from .peers import PEERS, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .generator import Run
    from .modes import Mode
    from .rounds import Cell, Cells

REFERENCES = ("websockets", "picows")
_RATIOS = {"rate": "ratio", "cpu": "cpu_ratio"}
_SPREAD = 0.3  # of a quiet machine's cells one in ten is above
_LARGE = 16 << 10  # bytes of a message, from which on it matters how many of them in a second
_BUSY = 0.95  # from this share of its core on, the generator may be what limits the rate


def spread(values: Sequence[float]) -> float:
    """How far the values lie apart, in medians: (max - min) / median."""
    return (max(values) - min(values)) / median(values)


def _rate(run: Run) -> float:
    return run.rate


def _thrift(run: Run) -> float:
    """How many messages one second of the server's CPU time pays for."""
    return run.messages / run.server_cpu


def ratio(cell: Cell, reference: Cell, by: Callable[[Run], float] = _rate) -> float | None:
    """The median of the rates' ratios, each taken within one round.

    What disturbs the machine in a round disturbs both, so their ratio holds still where the
    rates do not. Rounds in which either failed are left out.
    """
    ratios = [
        by(mine) / by(theirs)
        for mine, theirs in zip(cell.runs, reference.runs)
        if mine is not None and theirs is not None
    ]
    return median(ratios) if ratios else None


def summary(cell: Cell, row: dict[Peer, Cell]) -> dict[str, float | None]:
    """The numbers of one line of a table; empty for a server with no good run.

    Messages are what the mode counts, whatever that is.
    """
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
    for name in PEERS:
        reference = row.get(PEERS[name])
        if reference is not None or name in REFERENCES:
            numbers[f"ratio_to_{name}"] = ratio(cell, reference) if reference else None
            thrift = ratio(cell, reference, _thrift) if reference else None
            numbers[f"cpu_ratio_to_{name}"] = thrift
    return numbers


def growth(cells: Cells) -> dict[Peer, dict[int, float | None]]:
    """The server's CPU time for a message, with the fewest connections as 1, by connections.

    Taken round by round, for the servers that were measured with all numbers of connections.
    """
    modes = [mode for mode in cells if mode.name in GROWTH]
    if len(modes) < 2:
        return {}
    modes.sort(key=lambda mode: mode.connections)
    found: dict[Peer, dict[int, float | None]] = {}
    for peer in cells[modes[0]]:
        runs = {mode: cells[mode][peer].runs for mode in modes}
        for mode in modes:
            ratios = [
                mine.cpu_per_message / first.cpu_per_message
                for mine, first in zip(runs[mode], runs[modes[0]])
                if mine is not None and first is not None
            ]
            line = found.setdefault(peer, {})
            line[mode.connections] = median(ratios) if ratios else None
    return found


def growth_data(cells: Cells) -> dict[str, dict[str, float | None]]:
    """The same, for JSON."""
    return {
        peer.name: {str(count): value for count, value in line.items()}
        for peer, line in growth(cells).items()
    }


def as_data(cells: Cells) -> dict[str, object]:
    """Everything measured, run by run, with the summaries, for JSON."""
    return {
        mode.name: {
            peer.name: {
                **summary(cell, row),
                "megabytes_per_second": _megabytes(mode, summary(cell, row)),
                "runs": [asdict(run) if run else None for run in cell.runs],
                "failures": cell.failures,
            }
            for peer, cell in row.items()
        }
        for mode, row in cells.items()
    }


def _megabytes(mode: Mode, numbers: dict[str, float | None]) -> float | None:
    """Of payload in a second, one way."""
    rate = numbers.get("rate")
    return None if rate is None or mode.megabytes is None else rate * mode.megabytes


def _head(mode: Mode, references: Sequence[str], by: str) -> tuple[str, ...]:
    return (
        "server",
        f"{mode.counted}/s",
        *(("MB/s",) if mode.size >= _LARGE else ()),
        "spread",
        *(f"{'CPU ' * (by == 'cpu')}x {name}" for name in references),
        "CPU us each",
        "p50 us",
        "p99 us",
        "server",
        "generator",
    )


def _line(
    mode: Mode, peer: Peer, row: dict[Peer, Cell], references: Sequence[str], by: str
) -> tuple[str, ...]:
    cell = row[peer]
    numbers = summary(cell, row)
    numbers["megabytes"] = _megabytes(mode, numbers)

    def shown(name: str, form: str, scale: float = 1) -> str:
        value = numbers.get(name)
        return "-" if value is None else format(value * scale, form)

    failed = sum(run is None for run in cell.runs)
    note = f" ({failed} of {len(cell.runs)} failed)" if failed else ""
    return (
        peer.name + note,
        shown("rate", ",.0f"),
        *((shown("megabytes", ",.0f"),) if mode.size >= _LARGE else ()),
        shown("spread", ".0%"),
        *(shown(f"{_RATIOS[by]}_to_{name}", ".2f") for name in references),
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


def table(
    mode: Mode,
    row: dict[Peer, Cell],
    references: Sequence[str] = REFERENCES,
    by: str = "rate",
) -> str:
    """One mode's results, a line for each server, its ratios those of the rates or of CPU."""
    lines = [_head(mode, references, by)]
    lines += [_line(mode, peer, row, references, by) for peer in row]
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


def growth_table(cells: Cells) -> str:
    """What a message costs the server as connections become more; empty: not measured."""
    found = growth(cells)
    if not found:
        return ""
    counts = list(next(iter(found.values())))
    lines = [["server", *(f"{count:,} connections" for count in counts)]]
    for peer, line in found.items():
        cost = ("-" if value is None else f"{value:.2f}" for value in line.values())
        lines.append([peer.name, *cost])
    title = f"growth: the server's CPU time for a message, with {counts[0]:,} connections as 1"
    return "\n".join([title, *_columns(lines)])
