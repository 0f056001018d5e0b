"""`reactor/logs.py`: the logger, and what of a peer's bytes may reach it."""

from __future__ import annotations

import logging
import pathlib
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.logs import logger, place, printable

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_logger_is_the_packages_and_has_no_handler_of_its_own() -> None:
    assert logger() is logging.getLogger("reactor")
    assert logger().handlers == []
    assert logger().propagate
    assert logger().level == logging.NOTSET


def python(program: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    return subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )


def test_logging_is_imported_with_the_first_record() -> None:
    ran = python(
        "import socket, selectors; before = 'logging' in sys.modules\n"
        "from reactor.logs import logger; print(before, 'logging' in sys.modules)\n"
        "logger(); print('logging' in sys.modules)"
    )
    assert ran.stdout == "False False\nTrue\n"


def test_a_program_that_never_configured_logging_sees_errors_and_no_information() -> None:
    ran = python(
        "from reactor.logs import logger\n"
        "logger().info('a scanner came by')\n"
        "logger().error('a handler raised')"
    )
    assert ran.stdout == ""
    assert ran.stderr == "a handler raised\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain ünï €", "plain ünï €"),
        ("a'b\"c\\d", "a'b\"c\\d"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nforged line", "a\\r\\nforged line"),
        ("it's\x00", "it's\\x00"),
        ("é\x85", "\\xe9\\x85"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "..."),
        ("x" * 200 + "\x1b", "x" * 200 + "..."),
    ],
)
def test_control_characters_are_escaped_and_long_text_is_cut(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(), max_size=300))
@example("\x7f" * 300)
@example("'" + '"' + "\x1b")
def test_what_is_shown_is_printable_and_bounded(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200 * len("\\U0010ffff") + len("...")
    if text.isprintable() and len(text) <= 200:
        assert shown == text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/echo.sock", "unix:/run/echo.sock"),
        ("/tmp/\x1b[2J\r\nforged", "unix:/tmp/\\x1b[2J\\r\\nforged"),
        ("", "unix"),
        (None, "unix"),
    ],
)
def test_an_address_is_written_as_in_a_url(address: object, text: str) -> None:
    assert place(address) == text
