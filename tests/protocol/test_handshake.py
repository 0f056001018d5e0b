"""`reactor/protocol/handshake.py`: the opening handshake, the server's side, no socket."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import HandshakeError, Headers, Request
from reactor.protocol.handshake import (
    ServerPolicy,
    accept,
    check_framing,
    extra_fields,
    rejection,
    wants_upgrade,
)

from .asking import ACCEPT, FIELDS, KEY, head

ANY = ServerPolicy()


def answer(head: bytes, policy: ServerPolicy = ANY) -> HandshakeError | None:
    """What answers a head: an error, or `None` for a 101."""
    try:
        request = Request(head)
        check_framing(request)
        if not wants_upgrade(request):
            return policy.refuse(request)
        policy.check(request)
        policy.subprotocol(request)
    except HandshakeError as error:
        return error
    return None


def status(head: bytes, policy: ServerPolicy = ANY) -> int:
    error = answer(head, policy)
    return 101 if error is None else error.status


# ---- the key ----


def key_of(size: int) -> str:
    return b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    "key",
    [
        *["", "x", "=" * 24, " ", KEY[:-1], KEY + "=", KEY[:-2], KEY[:-2] + "=a", "=" + KEY],
        *[KEY[:-2] + "!=", KEY[:10] + "!" + KEY[11:], KEY[:10] + "-" + KEY[11:], KEY + "!"],
        *[KEY[:10] + " " + KEY[10:], KEY[:10] + "é" + KEY[11:], "A" * 22, "A" * 24],
        *[key_of(0), key_of(13), key_of(15), key_of(17), key_of(18), key_of(1000)],
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(key: str) -> None:
    error = answer(head(Sec_WebSocket_Key=key))
    assert error is not None
    assert error.status == 400
    assert "Sec-WebSocket-Key" in error.reason


@given(st.binary(min_size=16, max_size=16))
def test_every_key_of_16_bytes_is_accepted(nonce: bytes) -> None:
    assert status(head(Sec_WebSocket_Key=b64encode(nonce).decode())) == 101


def test_a_key_that_is_missing_or_there_twice_is_refused() -> None:
    assert status(head(without="Sec-WebSocket-Key")) == 400
    assert status(head("/", f"Sec-WebSocket-Key: {KEY}")) == 400


# ---- the request line ----


@pytest.mark.parametrize("target", ["http://", "http://a?b", "http://a@b/", "http://b/"])
def test_a_target_whose_host_is_none_or_another_is_refused(target: str) -> None:
    assert status(f"GET {target} HTTP/1.1\r\nHost: a".encode()) == 400


def test_the_preface_of_http_2_is_not_supported() -> None:
    assert status(b"PRI * HTTP/2.0") == 505


def test_a_websocket_needs_http_1_1() -> None:
    assert status(head(version="HTTP/1.0")) == 505


# ---- what smuggles requests ----


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5"],
        ["Content-Length: 00"],
        ["Content-Length: +0"],
        ["Content-Length: -1"],
        ["Content-Length: 0, 0"],
        ["Content-Length: "],
        ["Content-Length: x"],
        ["Content-Length: 0", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 0"],
        ["Content-Length: 5", "content-length: 5"],
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: "],
        ["TRANSFER-ENCODING: chunked", "Content-Length: 5"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
    ],
)
@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_a_request_with_a_body_is_refused_whatever_it_asks_for(
    lines: list[str], upgrade: str
) -> None:
    assert status(head("/", *lines, Upgrade=upgrade)) == 400


def test_a_body_of_no_bytes_is_none() -> None:
    assert status(head("/", "Content-Length: 0")) == 101


@pytest.mark.parametrize(
    "host",
    ["", "[", "a b", "a@b", "a/b", "a:b", "a:99999", "a, b", "http://a", "é", "[::1", "a#"],
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    assert status(head(Host=host)) == 400


@pytest.mark.parametrize(
    "host", ["a", "a:", "a:80", "[::1]:80", "127.0.0.1", "A.EXAMPLE", "a_b"]
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host: str) -> None:
    assert status(head(Host=host)) == 101


def test_a_host_that_is_missing_or_there_twice_is_refused() -> None:
    assert status(head(without="Host")) == 400
    assert status(head("/", "Host: example.com")) == 400
    assert status(head("/", "host: other.example")) == 400


def test_http_1_0_needs_no_host_but_may_not_have_two() -> None:
    plain = b"GET / HTTP/1.0"
    assert status(plain) == 426
    assert status(plain + b"\r\nHost: a\r\nHost: a") == 400


@pytest.mark.parametrize("code", range(256))
@pytest.mark.parametrize("name", [*FIELDS, "Origin", "Cookie", "Sec-WebSocket-Protocol"])
def test_each_byte_in_each_field_is_answered_and_raises_nothing_else(
    name: str, code: int
) -> None:
    value = FIELDS.get(name, "http://example.com") + chr(code)
    found = status(head(**{name: value}))
    if (code < 32 and code not in (9, 10, 13)) or code in (10, 13, 127):
        assert found == 400
    else:
        assert found in (101, 400, 403, 426)
    if name == "Cookie" and code in (9, *range(32, 127), *range(128, 256)):
        assert found == 101


@pytest.mark.parametrize("cookie", ["=;=;", "a", ";", "a=é", '"', "a=b; a=c"])
def test_a_cookie_is_nobodys_business(cookie: str) -> None:
    assert status(head(Cookie=cookie)) == 101


LINES = st.lists(
    st.one_of(
        st.sampled_from([f"{name}: {value}" for name, value in FIELDS.items()]),
        st.sampled_from(
            ["Origin: null", "Origin: http://example.com", "Connection: close", "Host: [", "X"]
        ),
        st.text(st.characters(max_codepoint=255), max_size=20),
    ),
    max_size=10,
)


@given(st.sampled_from(["GET / HTTP/1.1", "HEAD / HTTP/1.0", "GET /%zz? HTTP/1.1", ""]), LINES)
def test_every_head_has_one_of_the_known_answers(first: str, lines: list[str]) -> None:
    policy = ServerPolicy(["a"], locations=["/"])
    found = status("\r\n".join([first, *lines]).encode("latin-1"), policy)
    assert found in (101, 400, 403, 404, 405, 426, 505)


# ---- asking for a WebSocket ----


@pytest.mark.parametrize(
    ("upgrade", "wanted"),
    [
        *[
            ("websocket", True),
            ("WebSocket", True),
            ("WEBSOCKET", True),
            ("h2c, websocket", True),
        ],
        *[("h2c", False), ("", False), ("notwebsocket", False), ("websocket/13", False)],
        *[("web socket", False), ('"websocket"', False), ("websocket;q=1", False)],
    ],
)
def test_a_request_wants_what_its_upgrade_field_names_by_the_exact_token(
    upgrade: str, wanted: bool
) -> None:
    request = Request(head(Upgrade=upgrade))
    assert wants_upgrade(request) is wanted
    if not wanted:
        assert status(head(Upgrade=upgrade)) == 426


def test_a_request_without_an_upgrade_field_wants_none() -> None:
    assert not wants_upgrade(Request(head(without="Upgrade")))
    assert status(head(without="Upgrade")) == 426


@pytest.mark.parametrize(
    "upgrade",
    ["websocket, h2c", "h2c, websocket", "websocket, websocket", '", websocket'],
)
def test_an_upgrade_to_more_than_a_websocket_is_refused(upgrade: str) -> None:
    assert status(head(Upgrade=upgrade)) == 426


@pytest.mark.parametrize("upgrade", ["websocket,", ", websocket", ",, WebSocket ,\t,"])
def test_empty_elements_of_an_upgrade_field_are_passed_over(upgrade: str) -> None:
    assert status(head(Upgrade=upgrade)) == 101
    assert status(head("/", "Upgrade:")) == 101


def test_two_upgrade_fields_are_refused() -> None:
    assert status(head("/", "Upgrade: h2c")) == 426
    assert status(head("/", "Upgrade: websocket")) == 426


@pytest.mark.parametrize(
    "value", ["Upgrade", "upgrade", "UPGRADE", "keep-alive, Upgrade", "a,upgrade"]
)
def test_the_connection_field_lists_upgrade_in_any_case(value: str) -> None:
    assert status(head(Connection=value)) == 101


@pytest.mark.parametrize(
    "value", ["", "keep-alive", "close", "Upgraded", "Up grade", '"Upgrade"']
)
def test_a_connection_field_without_upgrade_is_refused(value: str) -> None:
    assert status(head(Connection=value)) == 400


def test_the_connection_field_may_be_several_but_not_missing() -> None:
    assert status(head("/", "Connection: keep-alive")) == 101
    assert status(head("/", "Connection: Upgrade", Connection="keep-alive")) == 101
    assert status(head(without="Connection")) == 400


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get", "X" * 99])
@pytest.mark.parametrize("upgrade", ["websocket", "none"])
def test_another_method_than_get_is_told_which_is_allowed(method: str, upgrade: str) -> None:
    error = answer(head(method=method, Upgrade=upgrade))
    assert error is not None
    assert error.status == 405
    assert error.headers == (("Allow", "GET"),)
    assert len(error.reason) < 40


VERSIONS = [
    "7",
    "14",
    "0",
    "",
    "13, 8",
    "8, 13",
    "013",
    "+13",
    "13.0",
    "x",
    "13,",
    "\xb9\xb3",
]


@pytest.mark.parametrize("version", VERSIONS)
def test_another_version_of_the_protocol_is_told_which_is_spoken(version: str) -> None:
    check_426(answer(head(Sec_WebSocket_Version=version)))


def test_a_version_that_is_missing_or_there_twice_is_told_which_is_spoken() -> None:
    check_426(answer(head(without="Sec-WebSocket-Version")))
    check_426(answer(head("/", "Sec-WebSocket-Version: 13")))
    check_426(answer(head("/", "Sec-WebSocket-Version: 8")))


def test_a_request_for_no_websocket_is_told_what_this_is() -> None:
    check_426(answer(head(without="Upgrade")))


def check_426(error: HandshakeError | None) -> None:
    assert error is not None
    packed = rejection(error).pack("now")
    assert packed.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    lines = packed.partition(b"\r\n\r\n")[0].split(b"\r\n")
    for line in (
        b"Upgrade: websocket",
        b"Connection: Upgrade, close",
        b"Sec-WebSocket-Version: 13",
    ):
        assert lines.count(line) == 1
    assert sum(line.startswith(b"Connection") for line in lines) == 1


# ---- locations ----


def test_a_location_that_does_not_exist_is_not_found_whatever_is_asked_for() -> None:
    policy = ServerPolicy(locations=["/a/{b}"])
    assert status(head("/b"), policy) == 404
    assert status(head("/b", without="Upgrade"), policy) == 404
    assert status(head("/b", method="POST", without="Upgrade"), policy) == 404
    assert status(head("/a/x", without="Upgrade"), policy) == 426
    assert status(head("/a/x?q"), policy) == 101


def test_a_policy_gives_the_locations_value_and_sets_the_parameters() -> None:
    request = Request(head("/a/x"))
    assert ServerPolicy(locations={"/a/{b}": "value"}).check(request) == "value"
    assert request.params == {"b": "x"}
    assert ServerPolicy().check(request) is None


# ---- origins ----


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("good.example", "http://good.example"),
        ("good.example", "https://good.example"),
        ("GOOD.example", "HTTP://Good.EXAMPLE"),
        ("good.example:80", "http://good.example"),
        ("good.example", "http://good.example:80"),
        ("good.example:443", "https://good.example"),
        ("good.example", "https://good.example:443"),
        ("good.example:", "http://good.example"),
        ("good.example:8000", "http://good.example:8000"),
        ("good.example:8000", "https://good.example:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("[2001:DB8::A]", "https://[2001:db8::a]"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_a_page_of_the_same_host_and_port_may_connect(host: str, origin: str) -> None:
    assert status(head(Host=host, Origin=origin)) == 101


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        *[
            ("good", ""),
            ("good", "null"),
            ("good", "good"),
            ("good", "http://"),
            ("good", "//good"),
        ],
        *[("good", "http://evil"), ("good", "http://good.evil"), ("good", "http://evil.good")],
        *[
            ("good", "http://evil#good"),
            ("good", "http://evil?good"),
            ("good", "http://evil/good"),
        ],
        *[
            ("good", "http://good@evil"),
            ("good", "http://evil@good"),
            ("good", "http://good:x@evil"),
        ],
        *[
            ("good", "http://good/"),
            ("good", "http://good."),
            ("good", "http:/good"),
        ],
        *[
            ("good", "http://good:8000"),
            ("good:8000", "http://good"),
            ("good", "http://good:a"),
        ],
        *[("good", "ftp://good"), ("good", "file://"), ("good", "chrome-extension://good")],
        *[("good", "http://good, http://evil"), ("good", "http://good http://evil")],
        *[("good:443", "http://good"), ("good:80", "https://good"), ("good", "http://good:0")],
        *[("good:0", "http://good"), ("[::1]", "http://[::2]"), ("[::1]", "http://::1")],
        *[
            ("good", "http://[good"),
            ("good", "http://g\xf6\xf6d"),
            ("good", "http://good:080808"),
        ],
    ],
)
def test_a_page_of_another_host_or_port_may_not_connect(host: str, origin: str) -> None:
    assert status(head(Host=host, Origin=origin)) == 403


def test_two_origins_are_none_even_if_they_are_the_same() -> None:
    origin = "Origin: http://example.com"
    assert status(head("/", origin)) == 101
    assert status(head("/", origin, origin)) == 403


def test_a_program_that_sends_no_origin_is_let_in() -> None:
    assert status(head()) == 101
    assert status(head(), ServerPolicy(origins=["https://example.com"])) == 101


def test_a_list_of_origins_holds_whatever_the_host_is() -> None:
    policy = ServerPolicy(origins=["https://Good.example", "http://localhost:8000"])
    assert status(head(Origin="https://good.example"), policy) == 101
    assert status(head(Origin="https://good.example:443"), policy) == 101
    assert status(head(Origin="http://localhost:8000"), policy) == 101
    assert status(head(Origin="http://good.example"), policy) == 403
    assert status(head(Origin="http://localhost"), policy) == 403
    assert status(head(Origin="http://example.com"), policy) == 403
    assert status(head(Origin="null"), policy) == 403


def test_an_empty_list_of_origins_lets_no_page_in() -> None:
    assert status(head(Origin="http://example.com"), ServerPolicy(origins=[])) == 403


def test_without_a_policy_for_origins_every_page_is_let_in() -> None:
    policy = ServerPolicy(origins=None)
    assert status(head(Origin="http://evil"), policy) == 101
    assert status(head("/", "Origin: null", "Origin: x"), policy) == 101


@pytest.mark.parametrize("origins", ["https://example.com", "any", "*", ""])
def test_origins_in_one_string_are_a_value_error(origins: str) -> None:
    with pytest.raises(ValueError, match='origins are "same", None or a list'):
        ServerPolicy(origins=origins)


@pytest.mark.parametrize(
    "origin", ["example.com", "null", "https://example.com/", "ws://a", "*"]
)
def test_an_origin_of_the_list_that_is_none_is_a_value_error(origin: str) -> None:
    with pytest.raises(ValueError, match=r"origin|not a host|no valid port"):
        ServerPolicy(origins=[origin])


def test_what_is_wrong_is_said_in_the_order_in_which_it_is_checked() -> None:
    policy = ServerPolicy(["a"], locations=["/a"])
    bad = {"Sec_WebSocket_Protocol": "(", "Origin": "null"}
    assert status(head("/b", **bad, Sec_WebSocket_Version="8"), policy) == 426
    assert status(head("/b", **bad), policy) == 404
    assert status(head("/a", **bad), policy) == 403
    assert status(head("/a", Sec_WebSocket_Protocol="("), policy) == 400


# ---- subprotocols ----


@pytest.mark.parametrize(
    ("ours", "offered", "chosen"),
    [
        (["v2", "v1"], ["v1, v2"], "v2"),
        (["v2", "v1"], ["v1", "v0"], "v1"),
        (["v2", "v1"], ["v0", "v2"], "v2"),
        (["v1"], ["V1"], None),
        (["v1"], ["v1,"], "v1"),
        (["v1"], [""], None),
        (["v1"], [" , "], None),
        (["v1"], [], None),
        ([], ["v1"], None),
    ],
)
def test_the_subprotocol_is_the_first_of_ours_that_is_offered(
    ours: list[str], offered: list[str], chosen: str | None
) -> None:
    lines = [f"Sec-WebSocket-Protocol: {value}" for value in offered]
    assert ServerPolicy(ours).subprotocol(Request(head("/", *lines))) == chosen


@pytest.mark.parametrize("value", ["a b", "a;b", "(", "é", '"' + "\\c" * 3000])
def test_an_offer_that_is_no_list_of_tokens_is_refused(value: str) -> None:
    assert status(head(Sec_WebSocket_Protocol=value), ServerPolicy(["a"])) == 400


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX: y", "é", "a,b", "a\x00"])
def test_a_subprotocol_of_ours_that_is_no_token_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        ServerPolicy([name])


def test_subprotocols_in_one_string_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="subprotocols are a list, not 'chat'"):
        ServerPolicy("chat")


# ---- the answers ----


def test_a_101_is_exactly_what_the_rfc_asks_for() -> None:
    assert accept(Request(head()), None, Headers()) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n"
        b"\r\n"
    )


def test_a_101_names_the_subprotocol_and_carries_the_users_fields() -> None:
    extra = extra_fields([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    packed = accept(Request(head()), "v1", extra)
    assert packed.endswith(
        b"\r\nSec-WebSocket-Protocol: v1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    )


def test_a_101_names_the_extensions_between_the_subprotocol_and_the_users_fields() -> None:
    extra = extra_fields([("Set-Cookie", "a=1")])
    accepted = "permessage-deflate; server_max_window_bits=12, x-other"
    packed = accept(Request(head()), "v1", extra, accepted)
    assert packed == accept(Request(head()), "v1", extra).replace(
        b"Set-Cookie", f"Sec-WebSocket-Extensions: {accepted}\r\nSet-Cookie".encode()
    )
    assert accept(Request(head()), None, Headers(), "").count(b"\r\n") == 5


@pytest.mark.parametrize("accepted", ["a\r\nX: y", "a\0", "a\n"])
def test_nothing_is_injected_into_a_101_by_an_extension(accepted: str) -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        accept(Request(head()), None, Headers(), accepted)


def test_a_rejection_says_its_reason_and_ends_the_connection() -> None:
    error = HandshakeError(503, "stopping", [("Retry-After", "1")])
    assert rejection(error).pack("now") == (
        b"HTTP/1.1 503 Service Unavailable\r\n"
        b"Retry-After: 1\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Date: now\r\n"
        b"Content-Length: 9\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"stopping\n"
    )


def test_what_proxies_and_browsers_send_is_accepted() -> None:
    lines = [
        "GET /chat?token=x HTTP/1.1",
        "host: example.com",
        "user-agent: Mozilla/5.0 (X11; Linux x86_64)",
        "accept: */*",
        "accept-encoding: gzip, deflate, br",
        "sec-websocket-version: 13",
        "origin: https://example.com",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        f"sec-websocket-key: {KEY}",
        "connection: keep-alive, upgrade",
        "cookie: a=b; c=\xe9",
        "sec-fetch-mode: websocket",
        "x-forwarded-for: 10.0.0.1",
        "upgrade: websocket",
    ]
    assert status("\r\n".join(lines).encode("latin-1")) == 101


# ---- who asks the same again ----


@pytest.mark.parametrize(
    ("offer", "is_known"),
    [(None, True), ("chat", True), ("v2, chat", True), ("chat, other", False)],
)
def test_who_asks_the_same_a_third_time_is_known_unless_it_offers_more(
    offer: str | None, is_known: bool
) -> None:
    policy = ServerPolicy(["chat", "v2"], locations={"/{a}": "value"})
    data = head("/b") if offer is None else head("/b", f"Sec-WebSocket-Protocol: {offer}")
    for _ in range(2):
        assert policy.recall(data, "") is None
        request = Request(data)
        policy.check(request)
        policy.remember(request)
    found = policy.recall(data, "here")
    assert (found is not None) is is_known
    if found is not None:
        assert found[1] == "value"
        assert found[0].params == {"a": "b"}
        assert policy.subprotocol(found[0]) == (offer and "chat")
