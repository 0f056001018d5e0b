"""`reactor/settings.py`: the limits and deadlines of a connection."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from reactor.settings import Settings

DEFAULTS: dict[str, object] = {
    "max_message": 1024 * 1024,
    "max_fragments": 16_384,
    "max_write_queue": 1024 * 1024,
    "overflow": "close",
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "handshake_timeout": 10.0,
    "close_timeout": 10.0,
    "fragment_size": None,
    "write_timeout": 30.0,
}
NUMBERS = sorted(set(DEFAULTS) - {"overflow"})


def values(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in Settings.__slots__}


def make(**options: Any) -> Settings:
    return Settings(**options)


def test_the_defaults_are_those_that_are_documented() -> None:
    assert values(Settings()) == DEFAULTS
    text = inspect.getdoc(Settings) or ""
    for name in DEFAULTS:
        assert f"\n    {name}: " in text


@pytest.mark.parametrize("name", NUMBERS)
def test_a_limit_that_is_given_counts_and_the_others_stay(name: str) -> None:
    assert values(make(**{name: 7})) == {**DEFAULTS, name: 7}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, -math.inf])
def test_a_limit_is_above_zero(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*, not above zero"):
        make(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["20", b"20", [20]])
def test_a_limit_is_a_number(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name}=.*, not a number"):
        make(**{name: value})


OPTIONAL = {"ping_interval", "fragment_size"}


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_pings_and_fragments_can_be_turned_off(name: str) -> None:
    assert getattr(make(**{name: None}), name) is None


@pytest.mark.parametrize("value", [1.5, math.inf, 4096.0])
def test_a_fragment_has_a_whole_number_of_bytes(value: float) -> None:
    with pytest.raises(TypeError, match=f"fragment_size={value}, not a number of bytes"):
        make(fragment_size=value)


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - OPTIONAL))
def test_no_other_limit_can_be_turned_off(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}=None, not a number"):
        make(**{name: None})


@pytest.mark.parametrize("policy", ["close", "skip", "error"])
def test_the_policy_is_one_of_three(policy: str) -> None:
    assert Settings(overflow=policy).overflow == policy


@pytest.mark.parametrize("policy", ["", "drop", "Close", None, 1])
def test_any_other_policy_is_a_value_error(policy: Any) -> None:
    with pytest.raises(ValueError, match='not "close", "skip" or "error"'):
        Settings(overflow=policy)


def test_an_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_mesage"):
        make(max_mesage=5)


def test_settings_hold_nothing_else() -> None:
    with pytest.raises(AttributeError):
        Settings().max_mesage = 5  # type: ignore[attr-defined]
