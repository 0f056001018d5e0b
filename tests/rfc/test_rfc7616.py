"""The examples of RFC 7616, against the client's answers."""

from __future__ import annotations

import pytest

from reactor.protocol.auth import Authenticator, parse_params

from .rfc7616 import (
    ANSWERS,
    CHALLENGES,
    OLD_ANSWER,
    OLD_CHALLENGE,
    OLD_PASSWORD,
    PASSWORD,
    UNICODE_ANSWER,
    UNICODE_CHALLENGE,
    UNICODE_PASSWORD,
    UNICODE_USER,
    USER,
)


def answer(user: str, password: str, challenges: list[str], expected: str) -> str:
    """What the client answers, with the target and the cnonce of the expected answer."""
    params = parse_params(expected.partition(" ")[2])
    client = Authenticator(user, password, _cnonce=lambda: params["cnonce"])
    return client.answer(challenges, params["uri"])


@pytest.mark.parametrize("number", [0, 1], ids=["SHA-256", "MD5"])
def test_the_example_is_answered_in_each_algorithm_as_there(number: int) -> None:
    expected = ANSWERS[number]
    assert answer(USER, PASSWORD, [CHALLENGES[number]], expected) == expected


def test_of_the_two_the_stronger_is_answered_in_whatever_order_they_come() -> None:
    for challenges in (CHALLENGES, CHALLENGES[::-1], [", ".join(CHALLENGES)]):
        assert answer(USER, PASSWORD, challenges, ANSWERS[0]) == ANSWERS[0]


def test_the_example_of_sha_512_256_is_answered_as_the_erratum_has_it() -> None:
    challenges = [UNICODE_CHALLENGE]
    answered = answer(UNICODE_USER, UNICODE_PASSWORD, challenges, UNICODE_ANSWER)
    assert answered == UNICODE_ANSWER


def test_the_example_of_rfc_2617_names_no_algorithm_and_is_answered_in_md5() -> None:
    assert answer(USER, OLD_PASSWORD, [OLD_CHALLENGE], OLD_ANSWER) == OLD_ANSWER
