"""`reactor/terms.py`: the options of a `WebSocket`, and what a client makes of them."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from reactor import Extension
from reactor.protocol.handshake import SAME_HOST, Request
from reactor.terms import Terms


def terms(**options: Any) -> Terms:
    given: dict[str, Any] = {
        "location": "/",
        "origin": None,
        "subprotocols": (),
        "extensions": (),
        "headers": (),
        "auth": None,
        "origins": SAME_HOST,
        "locations": None,
        "onrequest": None,
        "settings": {},
    }
    return Terms(**{**given, **options})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"location": "chat"}, ValueError, "begin with a slash"),
        ({"location": ""}, ValueError, "begin with a slash"),
        ({"location": "/#part"}, ValueError, "fragment"),
        ({"location": "/\n"}, ValueError, "control character"),
        ({"subprotocols": "chat"}, TypeError, "a list"),
        ({"subprotocols": ["not a token"]}, ValueError, "not a token"),
        ({"subprotocols": [None]}, ValueError, "not a token"),
        ({"extensions": ["deflate"]}, TypeError, "not an Extension"),
        ({"extensions": [Extension()]}, ValueError, "not a token"),
        ({"headers": {"Upgrade": "h2c"}}, ValueError, "not the user's"),
        ({"headers": [("X", "a\r\nb")]}, ValueError, "X"),
        ({"auth": "user"}, TypeError, "pair"),
        ({"origins": ["file:///"]}, ValueError, "origin"),
        ({"locations": ["chat"]}, ValueError, "slash"),
        ({"onrequest": "/chat"}, TypeError, "cannot be called"),
        ({"settings": {"max_message": 0}}, ValueError, "not above zero"),
        ({"settings": {"maximum": 1}}, TypeError, "maximum"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        terms(**options)


def test_what_is_asked_is_what_was_given() -> None:
    wish = terms(
        location="/chat?room=ä",
        origin="https://example.com",
        subprotocols=["v2", "v1"],
        headers={"Cookie": "a=b"},
        auth=("user", "password"),
    ).wish(("example.com", 8000))
    assert str(wish.uri) == "ws://example.com:8000/chat?room=%C3%A4"
    assert wish.subprotocols == ("v2", "v1")
    assert list(wish.headers.items()) == [("Cookie", "a=b"), ("Origin", "https://example.com")]
    assert wish.auth == ("user", "password")
    assert wish.proxy is False


@pytest.mark.parametrize(
    ("address", "hostname", "plain", "secure"),
    [
        (("example.com", 80), None, "ws://example.com/", "wss://example.com:80/"),
        (("127.0.0.1", 8000), None, "ws://127.0.0.1:8000/", "wss://127.0.0.1:8000/"),
        (("", 8000), None, "ws://localhost:8000/", "wss://localhost:8000/"),
        (("::1", 80, 0, 0), None, "ws://[::1]/", "wss://[::1]:80/"),
        (("fe80::1%eth0", 1, 0, 2), None, "ws://[fe80::1]:1/", "wss://[fe80::1]:1/"),
        (("192.0.2.1", 443), "example.com", "ws://example.com:443/", "wss://example.com/"),
        (("192.0.2.1", 80), "::1", "ws://[::1]/", "wss://[::1]:80/"),
        ("/run/a b:c", None, "ws+unix:///run/a%20b%3Ac:/", "wss://localhost/"),
        (b"/run/socket", None, "ws+unix:///run/socket:/", "wss://localhost/"),
        ("/run/socket", "example.com", "ws://example.com/", "wss://example.com/"),
        ("", None, "ws://localhost/", "wss://localhost/"),
        ("", "example.com", "ws://example.com/", "wss://example.com/"),
    ],
)
def test_the_uri_is_where_it_connects_to(
    address: Any, hostname: str | None, plain: str, secure: str
) -> None:
    mine = terms()
    mine.hostname = hostname
    assert str(mine.wish(address).uri) == plain
    mine.enable_tls(ssl.create_default_context(), hostname)
    wish = mine.wish(address)
    assert str(wish.uri) == secure
    assert wish.tls is mine.tls


@pytest.mark.parametrize("address", [("a b", 80), ("example.com", 0), ("example.com", 65536)])
def test_an_address_that_no_uri_has_is_refused(address: Any) -> None:
    with pytest.raises(ValueError, match=r"port|host"):
        terms().wish(address)


def test_tls_takes_a_context_and_a_server_one_of_a_server() -> None:
    mine = terms()
    mine.check_server_side()
    with pytest.raises(TypeError, match="not an ssl"):
        mine.enable_tls(True, None)  # type: ignore[arg-type]
    mine.enable_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None)
    mine.check_server_side()
    mine.enable_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None)
    with pytest.raises(ValueError, match="for clients"):
        mine.check_server_side()


def test_the_options_of_a_server_are_kept() -> None:
    def onrequest(request: Request) -> None:
        """Let anyone in."""

    mine = terms(onrequest=onrequest, settings={"max_message": 5})
    assert mine.onrequest is onrequest
    assert mine.settings.max_message == 5
