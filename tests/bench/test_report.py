"""From runs to numbers: the arithmetic is right, and the tables say what was not measured."""

from __future__ import annotations

import pytest

from . import modes, report
from .generator import Run
from .peers import PEERS
from .rounds import Cell, rotated


def run(rate: float, generator_cpu: float = 0.5, server_cpu: float = 0.9) -> Run:
    return Run(
        messages=int(rate),
        seconds=1.0,
        rate=rate,
        generator_cpu=generator_cpu,
        server_cpu=server_cpu,
        p50=1e-5,
        p99=2e-5,
    )


def test_each_round_begins_with_the_next_server() -> None:
    orders = ["".join(rotated("ABC", number)) for number in range(4)]
    assert orders == ["ABC", "BCA", "CAB", "ABC"]


def test_the_spread_is_the_distance_of_the_extremes_in_medians() -> None:
    assert report.spread([80, 100, 130]) == 0.5
    assert report.spread([7]) == 0


def test_a_ratio_is_taken_round_by_round_and_not_between_medians() -> None:
    ours = Cell([run(300), run(100), run(200)])
    theirs = Cell([run(100), run(50), run(200)])
    assert report.ratio(ours, theirs) == 2  # of 3, 2, 1; the medians' ratio is 200 / 100 too
    theirs = Cell([run(100), run(100), run(50)])
    assert report.ratio(ours, theirs) == 3  # of 3, 1, 4; the medians' ratio is 2


def test_a_failed_round_is_left_out_of_every_number() -> None:
    ours = Cell([run(300), None, run(200)])
    theirs = Cell([run(100), run(1), None])
    row = {PEERS["reactor"]: ours, PEERS["websockets"]: theirs}
    assert report.ratio(ours, theirs) == 3
    assert report.ratio(Cell([None]), theirs) is None
    numbers = report.summary(ours, row)
    assert numbers["rate"] == 250
    assert numbers["spread"] == 0.4
    assert numbers["ratio_to_websockets"] == 3
    assert numbers["ratio_to_picows"] is None
    assert numbers["server_busy"] == 0.9
    assert numbers["server_cpu_per_message"] == pytest.approx((0.9 / 300 + 0.9 / 200) / 2)
    assert report.summary(Cell([None]), row) == {}


def test_the_table_shows_ratios_failures_and_a_generator_at_its_limit() -> None:
    row = {
        PEERS["reactor"]: Cell([run(3000, 0.99), run(3000, 0.99)]),
        PEERS["websockets"]: Cell([run(800), run(1200)]),
        PEERS["picows"]: Cell([run(2000), None]),
        PEERS["selectors"]: Cell([None, None]),
    }
    [mode] = modes.parse("echo")
    title, head, *lines, busy, rough = report.table(mode, row).splitlines()
    assert title == "echo-100x32t: 100 connections, 1 in flight each, 32 B text"
    assert head.split()[:6] == ["server", "messages/s", "spread", "x", "websockets", "x"]
    assert lines[0].split()[:5] == ["reactor", "3,000", "0%", "3.12", "1.50"]
    assert lines[1].split()[:5] == ["websockets", "1,000", "40%", "1.00", "0.40"]
    assert lines[2].split()[:5] == ["picows", "(1", "of", "2", "failed)"]
    assert lines[3].split()[-9:] == ["-"] * 9
    assert "reactor may do more" in busy
    assert "rough" in rough
    assert {len(line) for line in [head, *lines]} == {len(head)}


def test_ratios_of_cpu_time_are_of_the_messages_that_a_second_of_it_pays_for() -> None:
    row = {
        PEERS["reactor"]: Cell([run(300, server_cpu=0.5), run(100, server_cpu=0.25)]),
        PEERS["selectors"]: Cell([run(200, server_cpu=0.2), run(500, server_cpu=0.25)]),
    }
    numbers = report.summary(row[PEERS["reactor"]], row)
    assert numbers["cpu_ratio_to_selectors"] == pytest.approx((0.6 + 0.2) / 2)
    assert numbers["ratio_to_selectors"] == pytest.approx((1.5 + 0.2) / 2)
    assert numbers["cpu_ratio_to_picows"] is None
    [mode] = modes.parse("echo")
    text = report.table(mode, row, ["selectors"], "cpu").splitlines()
    assert "CPU x selectors" in text[1]
    assert text[2].split()[3] == "0.40"
    text = report.table(mode, row, ["selectors", "websockets"]).splitlines()
    assert text[2].split()[3:5] == ["0.85", "-"]


def test_large_messages_have_a_column_of_megabytes() -> None:
    [mode] = modes.parse("big-1mb")
    row = {PEERS["reactor"]: Cell([run(300)]), PEERS["picows"]: Cell([None])}
    _, head, line, failed = report.table(mode, row).splitlines()
    assert head.split()[1:3] == ["messages/s", "MB/s"]
    assert line.split()[1:3] == ["300", "315"]
    assert failed.split()[5:7] == ["-", "-"]
    assert "MB/s" not in report.table(modes.parse("echo")[0], row)


def test_the_numbers_for_machines_have_every_run_and_every_failure() -> None:
    [mode] = modes.parse("big-1mb")
    cell = Cell([run(300), None], ["it fell over"])
    data = report.as_data({mode: {PEERS["reactor"]: cell}})
    numbers = data["big-1mb"]
    assert isinstance(numbers, dict)
    assert numbers["reactor"]["megabytes_per_second"] == pytest.approx(314.5728)
    assert numbers["reactor"]["runs"][0]["rate"] == 300
    assert numbers["reactor"]["runs"][1] is None
    assert numbers["reactor"]["failures"] == ["it fell over"]
    [conn] = modes.parse("conn-1")
    numbers = report.as_data({conn: {PEERS["reactor"]: cell}})["conn-1"]
    assert isinstance(numbers, dict)
    assert numbers["reactor"]["megabytes_per_second"] is None


def test_what_is_counted_stands_over_the_rates() -> None:
    row = {PEERS["reactor"]: Cell([run(300)])}
    for name, counted in (("fan-9x32t", "deliveries/s"), ("conn-64", "connections/s")):
        head = report.table(modes.parse(name)[0], row).splitlines()[1]
        assert head.split()[1] == counted


def test_growth_is_cpu_time_for_a_message_beside_the_fewest_connections_by_round() -> None:
    few, many = (modes.parse(name)[0] for name in ("echo-10x32t", "echo-10000x32t"))
    cells = {
        many: {
            PEERS["reactor"]: Cell([run(100, server_cpu=0.3), run(100, server_cpu=0.4), None]),
            PEERS["picows"]: Cell([None, None, None]),
        },
        few: {
            PEERS["reactor"]: Cell(
                [run(200, server_cpu=0.2), run(100, server_cpu=0.1), run(9)]
            ),
            PEERS["picows"]: Cell([run(1), run(1), run(1)]),
        },
    }
    found = report.growth(cells)
    assert found[PEERS["reactor"]] == {10: 1, 10000: pytest.approx(3.5)}
    assert found[PEERS["picows"]] == {10: 1, 10000: None}
    assert report.growth_data(cells)["picows"] == {"10": 1, "10000": None}
    title, head, line, other = report.growth_table(cells).splitlines()
    assert "with 10 connections as 1" in title
    assert head.split() == ["server", "10", "connections", "10,000", "connections"]
    assert line.split() == ["reactor", "1.00", "3.50"]
    assert other.split() == ["picows", "1.00", "-"]


def test_without_two_numbers_of_connections_there_is_no_growth() -> None:
    row = {PEERS["reactor"]: Cell([run(300)])}
    cells = {modes.parse(name)[0]: row for name in ("echo-10x32t", "rtt-32t")}
    assert report.growth(cells) == {}
    assert report.growth_table(cells) == ""
