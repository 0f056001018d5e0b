"""`reactor/loop/meter.py`: steps, their lag, and who was slow."""

from __future__ import annotations

import functools
import logging
import unittest.mock
from typing import Any

import pytest

from reactor.loop import meter as module
from reactor.loop.meter import LAG_BOUNDS, Meter, ReactorStats, StepReport, culprit
from reactor.loop.timers import STALL

WARNING = "{} took {:.3f} s, and held up everybody else"


def test_lags_are_counted_up_to_each_bound() -> None:
    meter = Meter(0.1)
    meter.steps = 30
    for lag in (0.001, 0.0015, 0.002, 0.0039, 0.004, 0.3, 1000.0):
        assert meter.note(lag, 0.0) == (lag if lag >= STALL else 0.0)
    stats = ReactorStats(meter, 1, 2, 3)
    assert len(stats.lag) == len(LAG_BOUNDS) + 1
    assert sum(stats.lag) == stats.steps == 30
    assert stats.lag[:4] == (23, 2, 2, 1)
    assert stats.lag[-1] == 1
    assert LAG_BOUNDS[stats.lag.index(1, 4)] == pytest.approx(0.512)
    assert (stats.worst_lag, stats.stalls) == (1000.0, 2)
    assert meter.stalled == pytest.approx(1000.3)
    assert meter.note(10.0, 60.0) == 70.0
    assert meter.note(0.1, 2.0) == meter.note(2.0, 0.1) == 2.0
    assert (meter.worst, meter.stalls) == (1000.0, 5)
    assert (stats.sockets, stats.timers, stats.calls) == (1, 2, 3)


def test_a_report_says_all_of_itself() -> None:
    report = StepReport(1, 2, None, 0.5)
    assert repr(report) == "StepReport(handled=1, deferred=2, next_timeout=None, overrun=0.5)"


def test_the_numbers_say_all_of_themselves() -> None:
    shown = repr(ReactorStats(Meter(0.1), 1, 2, 3))
    lag = repr((0,) * (len(LAG_BOUNDS) + 1))
    assert shown == (
        f"ReactorStats(calls=3, lag={lag}, sockets=1, stalls=0, steps=0, timers=2,"
        " worst_lag=0.0)"
    )


def slow(*args: Any) -> None:
    """Blamed, and never called."""


class Chat:
    def onmessage(self) -> None:
        """The same."""


class Unlike:
    """Has a `blame` of its own, and shows nothing of itself."""

    def __call__(self) -> None:
        """The same."""

    def blame(self, whom: str) -> None:
        """The same."""

    def __repr__(self) -> str:
        raise LookupError("a bug of the user's")


class Connection:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def answers_for(self) -> Any:
        return self.answer

    def ready(self, mask: int) -> None:
        """What a socket's event calls."""


NAMES = [
    (slow, f"{__name__}.slow"),
    (Chat().onmessage, f"{__name__}.Chat.onmessage"),
    (Connection(Chat().onmessage).ready, f"{__name__}.Chat.onmessage"),
    (Connection(Connection(slow)), f"{__name__}.slow"),
    ([].append, "list.append"),
    ("a name", "a name"),
    (Connection("a name").ready, "a name"),
    (functools.partial(functools.partial(slow, "x" * 10_000), 1), f"{__name__}.slow"),
    (functools.partial(Connection(slow).ready), f"{__name__}.slow"),
    (Unlike(), f"{__name__}.Unlike"),
    (Unlike().blame, f"{__name__}.Unlike.blame"),
    (unittest.mock.Mock(), "unittest.mock.Mock"),
]


@pytest.mark.parametrize(("callback", "name"), NAMES)
def test_the_name_of_a_callback_is_that_of_what_it_calls(callback: Any, name: str) -> None:
    assert culprit(callback) == name


def test_an_offender_is_named_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter(0.1)
    for began, seconds in ((0.0, 0.1), (1.0, 0.2), (2.0, 0.3), (60.0, 0.4), (61.5, 0.5)):
        meter.took(slow, began, began + seconds)
    meter.took(Chat().onmessage, 63.0, 64.0)
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, WARNING.format(f"{__name__}.slow", 0.2)),
        (logging.WARNING, WARNING.format(f"{__name__}.slow", 0.5)),
        (logging.WARNING, WARNING.format(f"{__name__}.Chat.onmessage", 1.0)),
    ]


def test_what_was_named_from_within_is_not_named_from_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = Meter(0.1)
    meter.took(slow, 1.0, 1.5)
    meter.took(Chat().onmessage, 0.9, 1.6)
    assert len(caplog.records) == 1
    meter.took(Chat().onmessage, 1.6, 2.0)
    assert len(caplog.records) == 2


def test_offenders_without_end_are_not_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OFFENDERS", 3)
    meter = Meter(0.1)
    made = [type(f"Name{number}", (), {"run": lambda self: None}) for number in range(5)]
    for number, kind in enumerate(made):
        kind.run.__qualname__ = f"{kind.__name__}.run"  # type: ignore[attr-defined]
        meter.took(kind().run, number, number + 0.5)
        assert len(meter._named) <= 3
    assert len(caplog.records) == 5
