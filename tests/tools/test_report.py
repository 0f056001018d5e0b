"""`reactor/tools/report.py`: what `connect` prints."""

from __future__ import annotations

import json
import socket
import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from reactor import HandshakeError, Headers
from reactor.tools.report import JsonReport, LineReport, Report, text_of

if TYPE_CHECKING:
    from reactor.tools.stdio import Stream


class Screen:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        assert "\n" not in text
        self.lines.append(text)


def made(kind: type[Report]) -> tuple[Report, list[str], list[str]]:
    """Return a report, and the lines of its stdout and stderr."""
    out, err = Screen(), Screen()
    return kind(cast("Stream", out), cast("Stream", err)), out.lines, err.lines


class Tls:
    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int] | None:
        return ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)


class NewTls(Tls):
    def cipher(self) -> None:
        return None


def client(tls: object = None, subprotocol: str | None = None, extensions: str = "") -> Any:
    return SimpleNamespace(
        uri="ws://localhost/\x1b",
        address=("127.0.0.1", 80),
        tls=tls,
        subprotocol=subprotocol,
        extensions=extensions,
        response=SimpleNamespace(headers=Headers([("A", "1"), ("A", "2")])),
    )


def refusal(body: bytes) -> HandshakeError:
    return HandshakeError(403, "not today\x07", Headers({"X-Why": "no"}), body)


class NoTls(OSError):
    """What OpenSSL says of an answer that is no TLS."""

    reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ConnectionRefusedError(111, "Refused", "127.0.0.1:1"), "Refused: 127.0.0.1:1"),
        (NoTls(1, "wrong version number"), "no TLS is spoken there: wrong version number"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("too late"), "too late"),
        (ConnectionResetError(), "ConnectionResetError"),
        (HandshakeError(403, "not today"), "not today (HTTP 403)"),
        (ssl.SSLError(1, "certificate verify failed"), "certificate verify failed"),
    ],
)
def test_an_error_is_told_without_its_number(error: Exception, text: str) -> None:
    assert text_of(error) == text


def test_a_report_that_tells_nothing_but_warnings() -> None:
    report, out, err = made(Report)
    report.opened(client())
    report.message("text")
    report.ping(b"")
    report.pong(b"")
    report.error(OSError("lost"))
    report.reconnecting(1.0, 1)
    report.closed(1000, "", True)
    assert (out, err) == ([], [])
    report.warning("two\nlines")
    assert (out, err) == ([], [r"two\nlines"])


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("plain", "plain"),
        ("", ""),
        ("two\nlines\t\x1b[2J\u202e", "two\\nlines\t\\x1b[2J\\u202e"),
        (b"\x00\xff", "0x00ff"),
        (b"", "0x"),
    ],
)
def test_a_message_is_a_line(message: str | bytes, line: str) -> None:
    report, out, err = made(LineReport)
    report.message(message)
    assert (out, err) == ([line], [])


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (client(), r"connected ws://localhost/\x1b"),
        (client(Tls(), "chat"), r"connected ws://localhost/\x1b TLSv1.3 subprotocol chat"),
        (client(None, None, "x-y; z"), r"connected ws://localhost/\x1b extensions x-y; z"),
    ],
)
def test_what_is_about_the_connection_goes_to_stderr(peer: Any, line: str) -> None:
    report, out, err = made(LineReport)
    report.opened(peer)
    report.ping(b"x")
    report.pong(b"x")
    report.error(OSError("lost\r"))
    report.error(refusal(b""))
    report.error(refusal(b" go\naway\xff\n"))
    report.reconnecting(1.26, 2)
    report.closed(1000, "", True)
    report.closed(4000, "bye\x9b", True)
    assert out == []
    assert err == [
        line,
        r"error: lost\r",
        r"error: not today\x07 (HTTP 403)",
        r"error: not today\x07 (HTTP 403)",
        "the server says: go\\naway\ufffd",
        "reconnecting in 1.3 s, attempt 2",
        "closed 1000",
        r"closed 4000 bye\x9b",
    ]


def test_an_error_that_is_the_reason_too_is_said_once() -> None:
    report, _, err = made(LineReport)
    error = ConnectionRefusedError(111, "Connection refused")
    report.error(error)
    report.closed(1006, str(error), False)
    report.closed(1006, str(error), False)
    assert err == [
        "error: Connection refused",
        "closed 1006",
        "closed 1006 [Errno 111] Connection refused",
    ]


def test_of_a_long_body_the_beginning_is_shown() -> None:
    report, _, err = made(LineReport)
    report.error(refusal(b"x" * 10_000))
    assert len(err[1]) < 500


def test_as_json_all_that_happens_is_on_stdout() -> None:
    report, out, err = made(JsonReport)
    report.opened(client())
    report.opened(client(Tls(), "chat", "x-y; z"))
    report.opened(client(NewTls()))
    report.message("ü\x7f\x9b\u2028\n")
    report.message(b"\x00\xff")
    report.ping(b"1")
    report.pong(b"2")
    report.error(OSError(5, "lost"))
    report.error(refusal(b"\xff"))
    report.error(HandshakeError(0, "no answer"))
    report.reconnecting(1.25, 2)
    report.closed(1000, "bye", True)
    assert err == []
    assert all(line.isascii() and line.isprintable() for line in out)
    begun = {"event": "open", "uri": "ws://localhost/\x1b", "address": "127.0.0.1:80"}
    headers = [["A", "1"], ["A", "2"]]
    cipher = "TLS_AES_256_GCM_SHA384"
    assert [json.loads(line) for line in out] == [
        {**begun, "subprotocol": None, "extensions": "", "tls": None, "headers": headers},
        {
            **begun,
            "subprotocol": "chat",
            "extensions": "x-y; z",
            "tls": {"version": "TLSv1.3", "cipher": cipher},
            "headers": headers,
        },
        {
            **begun,
            "subprotocol": None,
            "extensions": "",
            "tls": {"version": "TLSv1.3", "cipher": None},
            "headers": headers,
        },
        {"event": "message", "text": "ü\x7f\x9b\u2028\n"},
        {"event": "message", "binary": "AP8="},
        {"event": "ping", "payload": "MQ=="},
        {"event": "pong", "payload": "Mg=="},
        {"event": "error", "type": "OSError", "text": "lost"},
        {
            "event": "error",
            "type": "HandshakeError",
            "text": "not today\x07 (HTTP 403)",
            "status": 403,
            "headers": [["X-Why", "no"]],
            "body": "/w==",
        },
        {
            "event": "error",
            "type": "HandshakeError",
            "text": "no answer",
            "status": 0,
            "headers": [],
            "body": "",
        },
        {"event": "reconnecting", "delay": 1.25, "attempt": 2},
        {"event": "close", "code": 1000, "reason": "bye", "clean": True},
    ]
