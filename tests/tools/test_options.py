"""`reactor/tools/options.py`: what the commands' options may say."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

import pytest

from reactor.tools import options

if TYPE_CHECKING:
    from typing import Callable


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (options.port, "0", 0),
        (options.port, "65535", 65535),
        (options.path, "/ws/v1", "/ws/v1"),
        (options.size, "1", 1),
        (options.size, "64K", 64 << 10),
        (options.size, "32m", 32 << 20),
        (options.size, "1G", 1 << 30),
        (options.seconds, "0", 0.0),
        (options.seconds, "0.5", 0.5),
        (options.deadline, "0.5", 0.5),
        (options.patience, "0", 0.0),
        (options.patience, "inf", math.inf),
        (options.header, "X-Key: a:b ", ("X-Key", "a:b")),
        (options.header, "X-Empty:", ("X-Empty", "")),
        (options.credentials, "user:pass:word", ("user", "pass:word")),
        (options.credentials, ":", ("", "")),
        (options.close_code, "1000", 1000),
        (options.close_code, "4999", 4999),
    ],
)
def test_a_text_stands_for_a_value(
    kind: Callable[[str], object], text: str, value: object
) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (options.port, "65536"),
        (options.port, "http"),
        (options.path, "ws"),
        (options.path, "/a?b"),
        (options.size, "0"),
        (options.size, "1T"),
        (options.seconds, "-1"),
        (options.seconds, "nan"),
        (options.seconds, "inf"),
        (options.seconds, "often"),
        (options.deadline, "0"),
        (options.deadline, "inf"),
        (options.patience, "-1"),
        (options.patience, "nan"),
        (options.header, "no colon"),
        (options.header, ": no name"),
        (options.credentials, "secret"),
        (options.close_code, "1005"),
        (options.close_code, "1006"),
        (options.close_code, "999"),
        (options.close_code, "5000"),
        (options.close_code, "-1"),
        (options.close_code, "normal"),
    ],
)
def test_a_text_is_refused(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


def test_what_may_be_a_password_is_not_repeated() -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        options.credentials("secret")
    assert "secret" not in str(raised.value)
