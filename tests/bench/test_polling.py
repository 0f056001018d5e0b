"""`tests/bench/polling.py`: what a look at the selector costs."""

from __future__ import annotations

import sys

import pytest

from . import polling


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll is Linux's")
def test_all_ways_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert polling.main(calls=2) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() for line in lines] == ["selectors", "reactor", "reactor, poll"]
    for line in lines:
        one, fifty = map(float, line[14:].split())
        assert 0 < one < fifty


def test_elsewhere_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert polling.main() == 2
    assert "Linux" in capsys.readouterr().out
