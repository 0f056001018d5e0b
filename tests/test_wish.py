"""`reactor/wish.py`: what a client asks for, checked at the call."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from reactor import PerMessageDeflate
from reactor.protocol.uri import parse_uri
from reactor.wish import Wish


def wish(uri: str = "ws://example.com/", **options: Any) -> Wish:
    given: dict[str, Any] = {
        "subprotocols": (),
        "origin": None,
        "headers": (),
        "auth": None,
        "tls": None,
        "proxy": False,
        "proxy_tls": None,
        "resolver": None,
        **options,
    }
    return Wish(uri, **given)


def test_what_is_asked_for_is_kept() -> None:
    context, deflate = ssl.create_default_context(), PerMessageDeflate()
    found = wish(
        "wss://example.com/",
        subprotocols=["a", "b"],
        extensions=(deflate,),
        origin="https://example.com",
        headers={"Cookie": "a=1"},
        tls=context,
        proxy="http://proxy.example",
        proxy_tls=context,
        resolver=print,
    )
    assert str(found.uri) == "wss://example.com/"
    assert found.subprotocols == ("a", "b")
    assert found.extensions == (deflate,)
    assert wish().extensions == ()
    assert list(found.headers.items()) == [("Cookie", "a=1"), ("Origin", "https://example.com")]
    assert found.tls is found.proxy_tls is context
    assert found.resolver is print


def test_user_and_password_are_those_given_or_those_of_the_uri() -> None:
    assert wish("ws://a:b@example.com/").auth == ("a", "b")
    assert wish("ws://a:b@example.com/", auth=("c", "d")).auth == ("c", "d")
    assert wish().auth is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tls": ssl.create_default_context()}, ValueError),
        ({"uri": "wss://example.com/", "tls": True}, TypeError),
        ({"proxy_tls": "context"}, TypeError),
        ({"auth": "ab"}, TypeError),
        ({"auth": ("a", 1)}, TypeError),
        ({"auth": ("a", "b", "c")}, ValueError),
        ({"auth": ("a\n", "b")}, ValueError),
        ({"proxy": None}, TypeError),
        ({"proxy": "socks4://localhost"}, ValueError),
        ({"origin": "a\r\nb"}, ValueError),
        ({"headers": {"Upgrade": "x"}}, ValueError),
        ({"headers": {"Sec-WebSocket-Extensions": "permessage-deflate"}}, ValueError),
        ({"headers": ["X-Key: 1"]}, TypeError),
        ({"subprotocols": "chat"}, TypeError),
        ({"resolver": "192.0.2.1"}, TypeError),
    ],
)
def test_what_cannot_be_asked_for_is_refused(options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        wish(**options)


SECURE, PLAIN = parse_uri("wss://example.com/"), parse_uri("ws://example.com/")
UNIX = parse_uri("ws+unix:///run/x.sock")


def test_the_proxy_is_the_one_given_but_for_a_unix_socket() -> None:
    found = wish(proxy="http://user:secret@proxy.example:3128")
    proxy = found.proxy_for(PLAIN)
    assert proxy is not None
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert found.proxy_for(UNIX) is None


def test_the_proxy_is_the_environments_if_it_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("https_proxy", "socks5://proxy.example")
    found = wish(proxy=True)
    proxy = found.proxy_for(SECURE)
    assert proxy is not None
    assert proxy.scheme == "socks5"
    assert found.proxy_for(PLAIN) is None
    assert found.proxy_for(UNIX) is None
    assert wish(proxy=False).proxy_for(SECURE) is None
    monkeypatch.setenv("https_proxy", "gopher://proxy.example")
    with pytest.raises(ValueError, match="proxy"):
        found.proxy_for(SECURE)
