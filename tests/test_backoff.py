"""`reactor/backoff.py`: how long a client waits, and after what it does not."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from reactor import Backoff, HandshakeError, Headers, ProxyError, QueueFull
from reactor.backoff import retry_after

DAY = 86_400.0


@pytest.mark.parametrize(
    "options",
    [
        {"first": 0},
        {"first": -1},
        {"first": float("nan")},
        {"first": 2, "last": 1},
        {"last": DAY + 1},
        {"last": float("inf")},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"stable": -1},
        {"stable": float("nan")},
    ],
)
def test_a_number_out_of_its_range_is_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        Backoff(**options)


def test_the_longest_delay_grows_by_the_factor_up_to_the_last() -> None:
    backoff = Backoff(first=1, factor=2, last=10, jitter=0)
    assert [backoff.delay(attempt) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("factor", [2, 2.0, 1e300, float("inf")])
def test_no_attempt_is_too_late_to_be_counted(factor: float) -> None:
    backoff = Backoff(factor=factor, jitter=0)
    assert backoff.delay(5000) == 60


def test_without_growth_all_delays_have_one_length() -> None:
    backoff = Backoff(first=3, factor=1, jitter=0)
    assert [backoff.delay(attempt) for attempt in (1, 2, 100)] == [3, 3, 3]


def test_full_jitter_is_uniform_from_nothing_to_the_longest() -> None:
    backoff = Backoff(first=2, factor=3, last=60, random=random.Random(6455).random)
    for attempt, longest in ((1, 2), (2, 6), (3, 18), (4, 54), (5, 60)):
        delays = [backoff.delay(attempt) for _ in range(10_000)]
        assert 0 <= min(delays) <= max(delays) <= longest
        tenths = [0] * 10
        for delay in delays:
            tenths[min(9, int(10 * delay / longest))] += 1
        # By chance, each is within 5 of its standard deviations of 30.
        assert all(850 < count < 1150 for count in tenths)


def test_by_default_chance_is_the_systems_and_uniform() -> None:
    delays = [Backoff().delay(1) for _ in range(2000)]
    assert all(0 <= delay <= 1 for delay in delays)
    assert len(set(delays)) == len(delays)
    assert 0.4 < sum(delays) / len(delays) < 0.6


def test_jitter_is_the_part_of_the_delay_that_is_random() -> None:
    low, high = (Backoff(first=8, jitter=0.25, random=lambda c=c: c) for c in (0.0, 1.0))  # type: ignore[misc]
    assert low.delay(1) == 8
    assert high.delay(1) == 6


def test_a_service_that_restarts_is_left_5_to_30_seconds() -> None:
    backoff = Backoff(first=0.1, last=0.1, random=random.Random(1).random)
    delays = [backoff.delay(1, code=1012) for _ in range(2000)]
    assert 5 <= min(delays) < 6
    assert 29 < max(delays) <= 30


def test_a_policy_that_is_slower_than_a_restart_stays_so() -> None:
    assert Backoff(first=60, jitter=0).delay(1, code=1012) == 60


def test_an_overloaded_server_is_left_at_least_half_of_the_longest_delay() -> None:
    backoff = Backoff(first=1, last=40, random=random.Random(1).random)
    delays = [backoff.delay(1, code=1013) for _ in range(2000)]
    assert min(delays) == 20
    assert 39 < max(delays) <= 40


def test_what_a_server_asks_for_is_added_so_that_not_all_come_at_that_time() -> None:
    backoff = Backoff(first=1, random=random.Random(1).random)
    delays = [backoff.delay(1, retry_after=120) for _ in range(100)]
    assert all(120 <= delay <= 121 for delay in delays)
    assert len(set(delays)) > 90


def test_a_server_can_ask_for_a_day_at_most() -> None:
    assert Backoff(jitter=0).delay(1, retry_after=1e12) == DAY + 1


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (HandshakeError(400, ""), True),
        (HandshakeError(401, ""), True),
        (HandshakeError(403, ""), True),
        (HandshakeError(404, ""), True),
        (HandshakeError(408, ""), False),
        (HandshakeError(425, ""), False),
        (HandshakeError(429, ""), False),
        (HandshakeError(426, ""), True),
        (HandshakeError(499, ""), True),
        (HandshakeError(500, ""), False),
        (HandshakeError(502, ""), False),
        (HandshakeError(503, ""), False),
        (HandshakeError(101, "not the accept of our key"), True),
        (HandshakeError(200, ""), True),
        (HandshakeError(302, ""), True),
        (HandshakeError(0, "not HTTP"), False),
        (ProxyError(407, ""), True),
        (ProxyError(403, ""), True),
        (ProxyError(502, ""), False),
        (ConnectionRefusedError(), False),
        (TimeoutError(), False),
        (OSError(-2, "Name or service not known"), False),
        (QueueFull(2, 1), False),
    ],
)
def test_no_attempt_follows_an_answer_that_will_stay_the_same(
    error: Exception, fatal: bool
) -> None:
    assert Backoff().is_fatal(error) is fatal


def test_no_attempt_follows_a_certificate_that_does_not_fit() -> None:
    ssl = pytest.importorskip("ssl")
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code = 62
    assert Backoff().is_fatal(error)
    assert not Backoff().is_fatal(ssl.SSLError("wrong version number"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("9" * 300, 999_999_999.0),
        ("-1", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_how_long_a_server_has_asked_not_to_come_back(value: str, seconds: float) -> None:
    error = HandshakeError(503, "busy", Headers({"Retry-After": value}))
    assert retry_after(error) == seconds


def test_a_server_can_ask_by_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 784_111_717.0)
    date = Headers({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"})
    assert retry_after(HandshakeError(503, "busy", date)) == 60.0


def test_what_is_no_answer_asks_for_nothing() -> None:
    assert retry_after(None) == retry_after(OSError()) == 0.0
    assert retry_after(HandshakeError(503, "busy", [("Retry-After", "1")])) == 0.0
    assert retry_after(HandshakeError(503, "busy", Headers())) == 0.0
