"""The examples of RFC 7617 and of RFC 9110 §11, against grammar and client."""

from __future__ import annotations

import pytest

from reactor.protocol.auth import Authenticator, basic, parse_challenges

from .rfc7617 import CHALLENGES, CREDENTIALS


@pytest.mark.parametrize(("user", "password", "value"), CREDENTIALS)
def test_the_credentials_come_out_as_there(user: str, password: str, value: str) -> None:
    assert basic(user, password) == value
    assert Authenticator(user, password).answer([CHALLENGES[0][0]], "/") == value


@pytest.mark.parametrize(("value", "meaning"), CHALLENGES)
def test_the_challenges_are_understood(
    value: str, meaning: list[tuple[str, dict[str, str]]]
) -> None:
    assert [(c.scheme, c.params) for c in parse_challenges([value])] == meaning
