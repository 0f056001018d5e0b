"""`reactor/protocol/answer.py`: a response as a server writes it, and the dates in it."""

from __future__ import annotations

import calendar
import email.utils
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Response
from reactor.protocol.answer import http_date, parse_http_date, status_line

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"

# ---- dates ----


@pytest.mark.parametrize(
    ("moment", "date"),
    [
        ((1994, 11, 6, 8, 49, 37, 6, 310, 0), DATE),
        ((2024, 2, 29, 0, 0, 0, 3, 60, 0), "Thu, 29 Feb 2024 00:00:00 GMT"),
        ((2000, 1, 1, 23, 59, 59, 5), "Sat, 01 Jan 2000 23:59:59 GMT"),
    ],
)
def test_a_date_is_written_as_http_writes_it(moment: tuple[int, ...], date: str) -> None:
    assert http_date(moment) == date
    assert parse_http_date(date) == calendar.timegm(moment[:6])


@given(st.integers(-30_610_224_000, 253_402_300_799))
def test_a_date_is_read_as_it_is_written(seconds: int) -> None:
    written = http_date(time.gmtime(seconds))
    assert parse_http_date(written) == seconds
    assert calendar.timegm(email.utils.parsedate_tz(written)[:6]) == seconds  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        *["", "5", "now", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
        *[DATE + " ", " " + DATE, DATE[:-1], DATE[:-3] + "UTC", DATE[:-4], DATE.lower()],
        *[DATE.replace("Nov", "nov"), DATE.replace("Nov", "Now"), DATE.replace("Sun", "Son")],
        *[DATE.replace(",", " "), DATE.replace(":", "."), DATE.replace("06", " 6")],
        *[DATE.replace("06", "+6"), DATE.replace("06", "00"), DATE.replace("06", "31")],
        *[DATE.replace("06", "-6"), DATE.replace("08", "-8"), DATE.replace("08", "24")],
        *[DATE.replace("49", "60"), DATE.replace("37", "61"), DATE.replace("08", "0_")],
        *[
            DATE.replace("1994", "-994"),
            DATE.replace("1994", "1_94"),
            DATE.replace("08:49", "08049"),
        ],
        *[DATE.replace("08:49:37", "1:2:3:45"), DATE.replace("08:49:37", "08:49-37")],
        *[DATE.replace("06", "\u0660\u0666"), DATE.replace("37", "\uff13\uff17"), "x" * 29],
        *["Thu, 29 Feb 2023 00:00:00 GMT", "Mon, 29 Feb 1900 00:00:00 GMT"],
        *["Wed, 31 Apr 2024 00:00:00 GMT", "Mon, 32 Dec 2024 00:00:00 GMT"],
    ],
)
def test_a_date_that_is_none_is_none(text: str) -> None:
    assert parse_http_date(text) is None


def test_a_day_of_the_week_that_is_wrong_is_passed_over_and_a_leap_second_is_one() -> None:
    assert parse_http_date(DATE.replace("Sun", "Mon")) == parse_http_date(DATE) == 784_111_777
    leap = parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT")
    assert leap == parse_http_date("Sun, 01 Jan 2017 00:00:00 GMT")
    assert parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT") == 1_709_164_800
    assert parse_http_date("Thu, 31 Dec 2024 00:00:00 GMT") == 1_735_603_200


@given(st.text(max_size=30))
def test_no_text_is_more_than_no_date(text: str) -> None:
    for date in (text, DATE[: 29 - len(text)] + text, text + DATE[len(text) :]):
        found = parse_http_date(date)
        assert found is None or http_date(time.gmtime(found))[5:] == date[5:]


# ---- responses ----


def test_a_response_says_its_length_its_date_and_that_it_is_the_last() -> None:
    packed = Response(200, {"X": "y"}, "h\xe9").pack(DATE)
    assert packed == (
        b"HTTP/1.1 200 OK\r\n"
        b"X: y\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Date: " + DATE.encode() + b"\r\n"
        b"Content-Length: 3\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"h\xc3\xa9"
    )


def test_the_answer_to_head_is_that_to_get_without_the_body() -> None:
    response = Response(404, body=b"12345")
    packed = response.pack(DATE)
    assert packed.endswith(b"\r\n\r\n12345")
    assert response.pack(DATE, head_only=True) == packed[:-5]


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_allows_no_body_has_none_and_no_length(status: int) -> None:
    head, _, body = Response(status, body="x").pack(DATE).partition(b"\r\n\r\n")
    assert body == b""
    assert b"Content-Length" not in head


def test_an_empty_body_has_a_length_and_no_type() -> None:
    assert Response().pack(DATE) == (
        b"HTTP/1.1 200 OK\r\nDate: " + DATE.encode() + b"\r\n"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )


def test_type_date_and_connection_are_the_users_if_given() -> None:
    given = {"Content-Type": "image/png", "Date": "then", "Connection": "Upgrade, close"}
    head = Response(200, given, b"x").pack(DATE).decode()
    assert [line for line in head.split("\r\n")[1:-2] if "Length" not in line] == [
        "Content-Type: image/png",
        "Date: then",
        "Connection: Upgrade, close",
    ]


@pytest.mark.parametrize("name", ["content-length", "Transfer-Encoding"])
def test_the_length_of_a_response_cannot_be_contradicted(name: str) -> None:
    with pytest.raises(ValueError, match="that of its body"):
        Response(200, {name: "5"}, "body")


@pytest.mark.parametrize("status", [-1, 0, 100, 101, 199, 600])
def test_a_response_is_final_and_of_a_known_class(status: int) -> None:
    with pytest.raises(ValueError, match="not between 200 and 599"):
        Response(status)


@pytest.mark.parametrize("status", [200, 599])
def test_the_first_and_the_last_status_are_allowed(status: int) -> None:
    assert Response(status).status == status


@pytest.mark.parametrize("body", [None, 5, ["x"]])
def test_a_body_is_text_or_bytes(body: Any) -> None:
    with pytest.raises(TypeError, match="not str or bytes"):
        Response(200, body=body)


@pytest.mark.parametrize("fields", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"X": "a\x00"}])
def test_nothing_is_injected_into_a_response(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        Response(200, fields)


def test_a_status_without_a_name_is_unknown() -> None:
    assert status_line(599) == b"HTTP/1.1 599 Unknown\r\n"
    assert status_line(426) == b"HTTP/1.1 426 Upgrade Required\r\n"
