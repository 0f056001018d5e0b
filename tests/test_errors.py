"""`reactor/errors.py`: what can go wrong, and whose fault it is."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from reactor import (
    ConnectionClosed,
    HandshakeError,
    Headers,
    InvalidPayload,
    InvalidState,
    MessageTooBig,
    ProtocolError,
    QueueFull,
    WebSocketError,
)
from reactor.errors import ProxyError


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (WebSocketError, Exception),
        (HandshakeError, WebSocketError),
        (ProxyError, HandshakeError),
        (ProtocolError, WebSocketError),
        (InvalidPayload, ProtocolError),
        (MessageTooBig, ProtocolError),
        (ConnectionClosed, WebSocketError),
        (QueueFull, WebSocketError),
        (InvalidState, WebSocketError),
        (InvalidState, RuntimeError),
    ],
)
def test_an_error_can_be_caught_as_what_it_is(
    error: type[Exception], parent: type[Exception]
) -> None:
    assert parent in error.__bases__


@pytest.mark.parametrize(
    ("error", "attributes", "text"),
    [
        (
            HandshakeError(426, "version 7, not 13", [("Sec-WebSocket-Version", "13")]),
            {"status": 426, "headers": (("Sec-WebSocket-Version", "13"),)},
            "version 7, not 13 (HTTP 426)",
        ),
        (
            HandshakeError(400, "no key"),
            {"status": 400, "headers": (), "body": b""},
            "no key (HTTP 400)",
        ),
        (HandshakeError(404, "the server answered 404"), {}, "the server answered 404"),
        (HandshakeError(0, "no answer"), {"status": 0, "reason": "no answer"}, "no answer"),
        (
            ProxyError(407, "the proxy says 407", (), b"why"),
            {"status": 407, "reason": "the proxy says 407", "body": b"why"},
            "the proxy says 407",
        ),
        (
            ProtocolError(1002, "frame without a mask"),
            {"code": 1002, "reason": "frame without a mask"},
            "frame without a mask (1002)",
        ),
        (InvalidPayload("no UTF-8"), {"code": 1007, "reason": "no UTF-8"}, "no UTF-8 (1007)"),
        (
            MessageTooBig(70, 64),
            {"code": 1009, "size": 70, "limit": 64},
            "message of 70 bytes or more, at most 64 allowed (1009)",
        ),
        (
            ConnectionClosed(1001, "going away"),
            {"code": 1001, "reason": "going away"},
            "going away (1001)",
        ),
        (ConnectionClosed(1006, ""), {"reason": ""}, "connection closed (1006)"),
        (
            QueueFull(70, 64),
            {"size": 70, "limit": 64},
            "write queue of 70 bytes, at most 64 allowed",
        ),
        (InvalidState("closed"), {}, "closed"),
    ],
)
def test_an_error_says_what_was_expected_and_what_came(
    error: Exception, attributes: dict[str, Any], text: str
) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in attributes} == attributes


def test_the_fields_that_came_are_kept_as_they_came() -> None:
    headers = Headers({"Retry-After": "1"})
    assert HandshakeError(503, "busy", headers).headers is headers


def test_no_more_of_a_body_is_kept_than_64_kib() -> None:
    assert len(HandshakeError(500, "failed", (), bytes(100_000)).body) == 64 * 1024


def test_the_longest_reasons_of_limits_fit_into_a_close_frame() -> None:
    assert len(MessageTooBig(2**63 - 1, 2**63 - 1).reason.encode()) <= 123


def test_an_invalid_state_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(InvalidState("closed")))
    assert isinstance(again, InvalidState)
    assert str(again) == "closed"
