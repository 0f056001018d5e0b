"""What the commands' options may say: one function for each kind of value.

Each returns the value that a text stands for, or raises what `argparse` explains with status 2.
"""

from __future__ import annotations

import argparse
import math
import re

from reactor.protocol.session import check_close

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def port(text: str) -> int:
    """Return the TCP port that `text` names; 0 to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def path(text: str) -> str:
    """Return `text` if it can be the path of a request."""
    if not re.fullmatch(r"/[^?#%{}\s]*", text):
        raise argparse.ArgumentTypeError(
            f"a path begins with / and has no space and none of ?#%{{}}, unlike {text!r}"
        )
    return text


def size(text: str) -> int:
    """Return the bytes that `text` stands for: `65536` and `64K` are the same."""
    match = re.fullmatch(r"([0-9]{1,18})([KMG]?)", text.upper())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"a size is bytes, or a number with K, M or G, and above 0, not {text!r}"
        )
    return int(match[1]) * _UNITS[match[2]]


def seconds(text: str) -> float:
    """Return the seconds that `text` stands for: 0 or more, and finite."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"seconds are a number from 0 up, not {text!r}")
    return number


def deadline(text: str) -> float:
    """Return the seconds that `text` stands for: above 0, and finite."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"a deadline is seconds above 0, not {text!r}")
    return number


def patience(text: str) -> float:
    """Return the seconds that `text` stands for: 0 or more; `inf` is for ever."""
    number = _number(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"seconds are a number from 0 up or inf, not {text!r}")
    return number


def header(text: str) -> tuple[str, str]:
    """Return the name and the value of a header field, as in `Name: value`."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f'a header is "Name: value", not {text!r}')
    return name.strip(), value.strip()


def credentials(text: str) -> tuple[str, str]:
    """Return the user and the password of `user:password`; the second may have colons."""
    user, colon, password = text.partition(":")
    if not colon:
        # What was given is not repeated: it may be the password.
        raise argparse.ArgumentTypeError(
            "credentials are user:password, and the colon is missing"
        )
    return user, password


def close_code(text: str) -> int:
    """Return the close code that `text` names, if it is one to send."""
    try:
        code = int(text)
        check_close(code, "")
    except ValueError:
        raise argparse.ArgumentTypeError(
            "a close code is one of 1000 to 1003, 1007 to 1014 or 3000 to 4999,"
            f" not {text!r} (RFC 6455 §7.4)"
        ) from None
    return code


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
