"""What the names of modes mean."""

from __future__ import annotations

import pytest

from . import modes


@pytest.mark.parametrize(
    ("written", "connections", "inflight", "size", "kind"),
    [
        ("rtt", 1, 1, 32, "text"),
        ("echo", 100, 1, 32, "text"),
        ("pipe", 10, 64, 32, "text"),
        ("rtt-1mb", 1, 1, 1 << 20, "binary"),
        ("echo-1000x1kt", 1000, 1, 1024, "text"),
        ("pipe-10x64x125b", 10, 64, 125, "binary"),
        ("big-1mu", 4, 1, 1 << 20, "mixed"),
        ("fan-1000x32t", 1000, 1, 32, "text"),
        ("conn-64", 64, 1, 1, "text"),
        ("deflate-100x1k", 100, 1, 1024, "json"),
        ("deflate-100x1kb", 100, 1, 1024, "binary"),
        ("tls-100x1k", 100, 1, 1024, "text"),
        ("tls-100x1kj", 100, 1, 1024, "json"),
    ],
)
def test_a_mode_is_what_its_name_says(
    written: str, connections: int, inflight: int, size: int, kind: str
) -> None:
    [mode] = modes.parse(written)
    assert (mode.connections, mode.inflight, mode.size, mode.kind) == (
        connections,
        inflight,
        size,
        kind,
    )
    assert mode.shares_core == (connections == 1)
    assert mode.in_python == (mode.family in ("deflate", "tls"))


@pytest.mark.parametrize(
    ("written", "load", "counted", "said"),
    [
        ("rtt-32t", "echo", "messages", "1 connection, 1 in flight each, 32 B text"),
        ("big-64ku", "echo", "messages", "65536 B text of characters of 1 to 4 bytes"),
        ("fan-5000x32t", "fan", "deliveries", "one sends, 5000 receive, 32 B text"),
        ("conn-1", "conn", "connections", "1 connection at a time, opened and closed"),
        ("conn-64", "conn", "connections", "64 connections at a time, opened and closed"),
        ("deflate-100x1k", "echo", "messages", "each, 1024 B JSON, permessage-deflate"),
        ("tls-100x1k", "echo", "messages", "each, 1024 B text, TLS"),
    ],
)
def test_a_mode_says_what_is_done_and_what_is_counted(
    written: str, load: str, counted: str, said: str
) -> None:
    [mode] = modes.parse(written)
    assert (mode.load, mode.counted) == (load, counted)
    assert str(mode).endswith(said)


@pytest.mark.parametrize(
    "written",
    [
        *("", "rtt-", "rtt-0t", "rtt-32", "rtt-32j", "echo-32t", "pipe-1x32t", "big-4x1mb"),
        *("fan-32t", "conn-0", "conn-1x32t", "deflate-1k", "tls-100x1ku", "smokes"),
    ],
)
def test_what_names_no_mode_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no mode"):
        modes.parse(written)


def test_every_group_is_of_modes_that_exist() -> None:
    for group, names in modes.GROUPS.items():
        assert [mode.name for mode in modes.parse(group)] == list(names)


def test_all_modes_are_those_of_every_group_but_the_smallest_each_once() -> None:
    everything = modes.GROUPS["all"]
    assert len(set(everything)) == len(everything)
    for group, names in modes.GROUPS.items():
        assert group == "smoke" or set(names) <= set(everything)


def test_a_list_of_modes_has_each_once_in_the_order_written() -> None:
    names = [mode.name for mode in modes.parse_all("conn-64,growth,conn,echo")]
    assert names == ["conn-64", *modes.GROWTH, "conn-1"]
