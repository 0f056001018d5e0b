"""The facts of `reactor/protocol/masking.py` are of functions that mask."""

from __future__ import annotations

import pytest

from . import masking
from .masking import COMPILED, KEY, SIZES, WAYS


def missing() -> masking.Way:
    raise ImportError("there is no such package")


@pytest.mark.parametrize("size", [*range(1, 9), *SIZES, 1021])
def test_every_way_that_is_measured_masks(size: int) -> None:
    data = bytes(at * 7 & 0xFF for at in range(size))
    masked = bytes(octet ^ KEY[at & 3] for at, octet in enumerate(data))
    for way in WAYS:
        assert way(data) == masked, way.__name__


@pytest.mark.interop
@pytest.mark.parametrize("made", COMPILED)
def test_the_compiled_ways_mask_too(made: masking.Made) -> None:
    pytest.importorskip({"speedups": "websockets.speedups"}.get(made.__name__, made.__name__))
    assert made()(b"abcdefg") == masking.integer(b"abcdefg")


def test_a_way_that_is_not_installed_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(masking.installed([missing])) == [way.__name__ for way in WAYS]
    assert capsys.readouterr().err == "missing: not installed, left out\n"


def test_each_part_of_a_way_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    masking.parts(repeat=1)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "ns a byte of the block"
    assert [line[10:] for line in lines] == list(masking.steps())
    assert all(float(line.split()[0]) >= 0 for line in lines)
