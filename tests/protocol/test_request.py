"""`reactor/protocol/request.py`: a request, and what both sides know of the handshake."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import types
from typing import Any

import pytest

from reactor import HandshakeError, Request
from reactor.protocol import request
from reactor.protocol.request import accept_key, extra_fields, is_key

from .asking import ACCEPT, KEY, head

OTHER = b"AAECAwQFBgcICQoLDA0ODw=="

# ---- the key ----


def test_the_accept_key_is_that_of_the_rfcs_example() -> None:
    assert accept_key(KEY) == ACCEPT


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(sha1=hashlib.sha1)])
def test_the_digest_is_the_same_from_either_module(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, "_sha1", module)
    spec = importlib.util.spec_from_file_location(
        "reactor.protocol.request_again", request.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.accept_key(KEY) == ACCEPT


# ---- what was asked for ----


def test_a_request_shows_what_was_asked_for() -> None:
    asked = Request(head("/a%20b/%2F?x=1&y=%41", "X: y"), ("127.0.0.1", 1))
    assert asked.method == "GET"
    assert asked.target == "/a%20b/%2F?x=1&y=%41"
    assert asked.path == "/a b//"
    assert asked.query == {"x": "1", "y": "A"}
    assert asked.version == 1
    assert asked.params == {}
    assert asked.address == ("127.0.0.1", 1)
    assert asked.headers["x"] == "y"
    assert repr(asked) == "<Request GET '/a%20b/%2F?x=1&y=%41'>"


def test_the_parameters_of_the_location_are_set_by_who_has_found_it() -> None:
    asked = Request(head("/a/x"))
    asked.params["b"] = "y"
    assert asked.params == {"b": "y"}
    asked.params = {"b": "x"}
    assert asked.params == {"b": "x"}


def test_a_request_without_a_query_has_no_parameters_and_by_default_no_address() -> None:
    asked = Request(head("/a", version="HTTP/1.0"))
    assert asked.query == {}
    assert asked.address == ""
    assert asked.version == 0


def test_a_request_is_nobodys_until_an_authentication_has_said_whose() -> None:
    asked = Request(head("/", "Authorization: Basic Zm86YmFy"))
    assert asked.user is None
    asked.user = "foo"
    asked.forget()
    assert asked.user == "foo"


def test_the_cookies_of_a_request_are_those_of_all_its_fields() -> None:
    asked = Request(head("/", "Cookie: a=1; b=2", "cookie: a=3; c=4", "Cookies: d=5"))
    assert asked.cookies == {"a": "1", "b": "2", "c": "4"}
    asked.forget()
    assert asked.cookies == {"a": "1", "b": "2", "c": "4"}
    assert Request(head()).cookies == {}


def test_the_fields_that_a_request_forgets_are_parsed_again() -> None:
    asked = Request(head("/", "X: y"))
    before = asked.headers
    assert asked.headers is before
    asked.forget()
    assert asked.headers is not before
    assert list(asked.headers.items()) == list(before.items())


@pytest.mark.parametrize(
    "line",
    [
        *["GET", "GET /", "GET  / HTTP/1.1", "GET /a b HTTP/1.1", "GET / HTTP", " / HTTP/1.1"],
        *["GET / FTP/1.1", "GET / http/1.1", "(GET) / HTTP/1.1", "G\xc9T / HTTP/1.1", "GET\t/"],
        *[
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET http:/a HTTP/1.1",
            "CONNECT a:80 HTTP/1.1",
        ],
        *[
            "GET /\xe9 HTTP/1.1",
            "GET /a\tb HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /a?b#c HTTP/1.1",
        ],
        *["GET /\x1b[2J HTTP/1.1", "GET /\x00 HTTP/1.1", "GET /\x7f HTTP/1.1", "GET  HTTP/1.1"],
    ],
)
def test_what_is_no_request_line_is_refused(line: str) -> None:
    with pytest.raises(HandshakeError) as raised:
        Request(line.encode("latin-1") + b"\r\nHost: a")
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("http://a/b%20c?d=e", "/b%20c?d=e"),
        ("HTTPS://A/", "/"),
        ("http://a", "/"),
    ],
)
def test_a_target_in_absolute_form_is_the_path_in_it(target: str, form: str) -> None:
    asked = Request(f"GET {target} HTTP/1.1\r\nHost: a".encode())
    assert asked.target == form
    assert (asked.authority or "").lower() == "a"


@pytest.mark.parametrize(
    "version", ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "HTTP/\xb9", "HTTP/2" + "0" * 999]
)
def test_another_version_of_http_is_not_supported(version: str) -> None:
    with pytest.raises(HandshakeError) as raised:
        Request(head(version=version))
    assert raised.value.status == 505
    assert "\xb9" not in raised.value.reason
    assert len(raised.value.reason) < 80


# ---- the user's fields ----


@pytest.mark.parametrize(
    "name",
    [
        *[
            "Upgrade",
            "connection",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Accept",
        ],
        *["sec-websocket-protocol", "Sec-WebSocket-Extensions", "SEC-WEBSOCKET-VERSION"],
    ],
)
def test_the_fields_that_open_the_connection_are_not_the_users(name: str) -> None:
    with pytest.raises(ValueError, match="is not the user's"):
        extra_fields({name: "x"})


@pytest.mark.parametrize(
    "fields", [{"X": "a\r\nY: b"}, {"X": "\x00"}, {"X\r\nY": "b"}, {"a b": "c"}, {"": "x"}]
)
def test_nothing_is_injected_by_the_users_fields(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        extra_fields(fields)


def test_all_other_fields_are_the_users_and_may_repeat() -> None:
    fields = extra_fields([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Server", "x")])
    assert fields.get_all("Set-Cookie") == ["a=1", "b=2"]


# ---- the same again ----


def test_a_request_can_be_had_again_with_another_key_and_address() -> None:
    first = Request(head("/a?b=c", "X: y"), "there")
    first.user = "me"
    data = head("/a?b=c", "X: y").replace(KEY.encode(), OTHER)
    again = first.again(data, OTHER, "here")
    assert (again.method, again.target, again.authority) == ("GET", "/a?b=c", None)
    assert (again.version, again.address, again.user, again.params) == (1, "here", None, {})
    assert again._fields == {**first._fields, "sec-websocket-key": (OTHER.decode(),)}
    assert list(again.headers.items()) == list(Request(data).headers.items())
    assert again.headers is again.headers, "while the handshake lasts"
    assert again._fields is again.headers.by_name()
    again.forget()
    assert again.headers["sec-websocket-key"] == OTHER.decode()
    assert again.headers is not again.headers
    assert first.headers["sec-websocket-key"] == KEY


def test_the_parameters_of_a_request_that_is_had_again_are_its_own() -> None:
    first = Request(head("/a"))
    first.params = {"a": "b"}
    again = first.again(head("/a"), KEY.encode(), "")
    again.params["a"] = "c"
    assert first.params == {"a": "b"}


@pytest.mark.parametrize(
    ("key", "is_one"),
    [(OTHER, True), (KEY.encode(), True), (b"A", False), (b"A" * 24, False), (b"", False)],
)
def test_a_key_is_sixteen_bytes_in_base64(key: bytes, is_one: bool) -> None:
    assert is_key(key) is is_one
