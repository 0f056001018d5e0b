"""`reactor/protocol/proxies.py`: which proxy, and what is said to it."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.errors import HandshakeError, ProxyError
from reactor.protocol.http import MAX_FIELDS, MAX_HEAD, MAX_LINE
from reactor.protocol.proxies import (
    HttpConnect,
    Proxy,
    Socks5,
    parse_proxy,
    tunnel,
)

if TYPE_CHECKING:
    from reactor.protocol.proxies import Tunnel

HTTP = Proxy("http", "proxy.example", 3128)
HTTP_USER = Proxy("http", "proxy.example", 3128, "Aladdin", "open sesame")
SOCKS = Proxy("socks5", "proxy.example", 1080)
SOCKS_USER = Proxy("socks5", "proxy.example", 1080, "joe", "secret")

# What tinyproxy 1.11.1 answers: all goes well, and a password is missing.
TINYPROXY_OPEN = b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n"
TINYPROXY_407 = (
    b"HTTP/1.0 407 Proxy Authentication Required\r\n"
    b"Server: tinyproxy/1.11.1\r\n"
    b"Content-Type: text/html\r\n"
    b'Proxy-Authenticate: Basic realm="Tinyproxy"\r\n'
    b"Connection: close\r\n"
    b"\r\n"
)

SOCKS_OPEN = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def say(talk: Tunnel, data: bytes, size: int = 1 << 30) -> bytes:
    """What a talk sends while `data` comes, in pieces of `size`."""
    return b"".join(talk.feed(data[at : at + size]) for at in range(0, len(data), size))


def is_done(talk: Tunnel) -> bool:
    return talk.done


def refusal(talk: Tunnel, data: bytes, size: int = 1 << 30) -> ProxyError:
    """The error that `data` ends a talk with."""
    with pytest.raises(ProxyError) as caught:
        say(talk, data, size)
    assert not talk.done
    return caught.value


def needed(talk: Tunnel, data: bytes) -> int:
    """How many bytes of `data` it takes until a talk is over with an error."""
    for count, byte in enumerate(data, 1):
        try:
            talk.feed(bytes([byte]))
        except ProxyError:
            return count
    raise AssertionError("it was not refused")


# ---- what names a proxy ----


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("http://proxy", ("http", "proxy", 80, None, None)),
        ("https://proxy", ("https", "proxy", 443, None, None)),
        ("socks5://proxy", ("socks5", "proxy", 1080, None, None)),
        ("socks5h://proxy", ("socks5", "proxy", 1080, None, None)),
        ("HTTP://Proxy.Example:3128/", ("http", "proxy.example", 3128, None, None)),
        ("http://proxy:65535", ("http", "proxy", 65535, None, None)),
        ("http://[2001:DB8::1]:8080", ("http", "2001:db8::1", 8080, None, None)),
        ("socks5://[::1]", ("socks5", "::1", 1080, None, None)),
        ("http://joe:secret@proxy", ("http", "proxy", 80, "joe", "secret")),
        ("http://joe@proxy", ("http", "proxy", 80, "joe", None)),
        ("http://joe:@proxy", ("http", "proxy", 80, "joe", "")),
        ("http://@proxy", ("http", "proxy", 80, None, None)),
        ("http://a:b:c@proxy", ("http", "proxy", 80, "a", "b:c")),
        ("http://a:b@c@proxy", ("http", "proxy", 80, "a", "b@c")),
        ("http://j%6Fe:%40%2F%3a%C3%BC@proxy", ("http", "proxy", 80, "joe", "@/:ü")),
        ("http://joe:ü@proxy", ("http", "proxy", 80, "joe", "ü")),
        ("socks5://a:b@proxy", ("socks5", "proxy", 1080, "a", "b")),
        ("socks5://a%3Ab:c@proxy", ("socks5", "proxy", 1080, "a:b", "c")),
    ],
)
def test_a_uri_names_a_proxy(uri: str, parts: tuple[Any, ...]) -> None:
    proxy = parse_proxy(uri)
    assert (proxy.scheme, proxy.host, proxy.port, proxy.user, proxy.password) == parts


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "not http://"),
        ("proxy:3128", "not http://"),
        ("joe:hidden@proxy:3128", "not http://"),
        ("joe:hidden://x@proxy:3128", "not http://"),
        ("socks4://joe:hidden@proxy", "not http://"),
        ("socks://proxy", "not http://"),
        ("ws://proxy", "not http://"),
        ("http:/proxy", "not http://"),
        ("http://proxy/hidden", "more behind its host"),
        ("http://joe:hid/den@proxy", "more behind its host"),
        ("http://joe:hidden@proxy?x", "more behind its host"),
        ("http://joe:hidden@proxy#x", "more behind its host"),
        ("http://", "without a valid host"),
        ("http://:80", "without a valid host"),
        ("http://joe:hidden@", "without a valid host"),
        ("http://joe:hidden@proxy:65536", "without a valid host"),
        ("http://joe:hidden@proxy:-1", "without a valid host"),
        ("http://joe:hidden@proxy:http", "without a valid host"),
        ("http://joe:hidden@pro xy", "without a valid host"),
        ("http://joe:hidden@pröxy", "without a valid host"),
        ("http://joe:hidden@proxy\r\nx", "without a valid host"),
        ("http://joe:hidden@::1", "without a valid host"),
        ("http://joe:hidden@[::1", "without a valid host"),
        ("http://joe:hidden@[1:2]", "without a valid host"),
        ("http://joe:hidden@proxy:0", "port 0"),
        ("http://joe:hidden%ff@proxy", "not UTF-8"),
        ("http://jo%3Ae:hidden@proxy", "with a colon"),
        ("https://joe:hidden%0D%0A@proxy", "control character"),
        ("http://joe:hidden%7f@proxy", "control character"),
        ("socks5://joe@proxy", "of 1 to 255 bytes"),
        ("socks5://:hidden@proxy", "of 1 to 255 bytes"),
        ("socks5://joe:hidden" + "x" * 250 + "@proxy", "of 1 to 255 bytes"),
        ("socks5://" + "x" * 256 + ":hidden@proxy", "of 1 to 255 bytes"),
    ],
)
def test_what_names_no_proxy_is_refused_without_showing_a_password(
    uri: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_proxy(uri)
    assert "hid" not in str(caught.value)
    # Nor is it in an error from further down, which a traceback would show.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://joe:secret@proxy", "<Proxy http://joe:***@proxy:80>"),
        ("socks5://[::1]:99", "<Proxy socks5://[::1]:99>"),
    ],
)
def test_a_proxy_shows_no_password(uri: str, shown: str) -> None:
    assert repr(parse_proxy(uri)) == shown


@given(st.text())
def test_any_text_names_a_proxy_or_is_refused(text: str) -> None:
    for uri in (text, f"http://{text}", f"socks5://{text}@proxy"):
        try:
            proxy = parse_proxy(uri)
        except ValueError:
            continue
        assert proxy.scheme in ("http", "socks5")
        assert 1 <= proxy.port <= 65535


# ---- HTTP CONNECT ----


def test_the_proxys_scheme_decides_how_it_is_spoken_to() -> None:
    for scheme, kind in [("http", HttpConnect), ("https", HttpConnect), ("socks5", Socks5)]:
        assert type(tunnel(Proxy(scheme, "p", 1), "example.com", 80)) is kind


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("example.com", 443, b"example.com:443"),
        ("EXAMPLE.com", 80, b"example.com:80"),
        ("192.0.2.1", 1, b"192.0.2.1:1"),
        ("2001:db8::1", 65535, b"[2001:db8::1]:65535"),
    ],
)
def test_a_connect_names_host_and_port_twice(host: str, port: int, target: bytes) -> None:
    expected = b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"
    assert HttpConnect(HTTP, host, port).begin() == expected


def test_user_and_password_go_with_the_first_request() -> None:
    # The example of RFC 7617 §2.
    assert b"\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" in (
        HttpConnect(HTTP_USER, "example.com", 80).begin()
    )


@pytest.mark.parametrize(("user", "password"), [("a", None), ("ü", "€:"), ("", "x"), ("a", "")])
def test_a_user_without_a_password_has_an_empty_one(user: str, password: str | None) -> None:
    sent = HttpConnect(Proxy("http", "p", 1, user, password), "example.com", 80).begin()
    basic = sent.partition(b"Basic ")[2].partition(b"\r\n")[0]
    assert base64.b64decode(basic).decode() == f"{user}:{password or ''}"


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
@pytest.mark.parametrize(
    ("host", "port"),
    [
        *[("", 80), ("a b", 80), ("a\r\nb", 80), ("a/b", 80), ("a@b", 80), ("bücher", 80)],
        *[("[::1]", 80), ("::1%eth0", 80), ("a\x00", 80), ("example.com:1", 80)],
        *[("a", 0), ("a", -1), ("a", 65536)],
    ],
)
def test_nothing_is_injected_by_host_and_port(proxy: Proxy, host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"is not a host|has no valid port"):
        tunnel(proxy, host, port)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 30])
@pytest.mark.parametrize(
    "answer",
    [
        TINYPROXY_OPEN,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 299 x\r\n\r\n",
        # "A client MUST ignore any Content-Length or Transfer-Encoding header fields received
        # in a successful response to CONNECT" (RFC 9110 §9.3.6).
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 102 x\r\n\r\n" * 8 + b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_any_2xx_opens_the_tunnel_and_what_follows_is_the_servers(
    answer: bytes, size: int
) -> None:
    talk = HttpConnect(HTTP, "example.com", 80)
    assert say(talk, answer[:-1], size) == b""
    assert not is_done(talk)
    assert say(talk, answer[-1:] + b"HTTP/1.1 101 Switching\r\n", size) == b""
    assert talk.done
    assert talk.rest == b"HTTP/1.1 101 Switching\r\n"


@pytest.mark.parametrize("size", [1, 5, 1 << 30])
def test_a_refusal_says_what_the_proxy_said(size: int) -> None:
    error = refusal(HttpConnect(HTTP, "example.com", 80), TINYPROXY_407, size)
    assert isinstance(error, HandshakeError)
    assert error.status == 407
    assert error.headers["proxy-authenticate"] == 'Basic realm="Tinyproxy"'
    assert str(error) == (
        "the proxy does not connect to example.com:80: 407 Proxy Authentication Required"
    )


def test_a_refusal_keeps_what_has_come_of_its_body() -> None:
    answer = b"HTTP/1.1 503 x\r\nContent-Length: 9\r\n\r\n"
    assert refusal(HttpConnect(HTTP, "a", 80), answer + b"because").body == b"because"
    assert len(refusal(HttpConnect(HTTP, "a", 80), answer + bytes(99999)).body) == 64 * 1024


@pytest.mark.parametrize(
    ("line", "status"),
    [
        *[(b"HTTP/1.1 300 Choices", 300), (b"HTTP/1.1 199 x\r\n\r\nHTTP/1.1 404", 404)],
        *[(b"HTTP/1.1 301 Moved", 301), (b"HTTP/1.1 400 Bad", 400), (b"HTTP/1.0 403", 403)],
        *[(b"HTTP/1.1 500 x", 500), (b"HTTP/1.1 101 Switching Protocols", 101)],
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + b"HTTP/1.1 102 Still there", 102),
        *[(b"HTTP/1.1 20 x", 0), (b"HTTP/1.1 2000 x", 0), (b"HTTP/1.1 2x0 x", 0)],
        *[(b"HTTP/1.1  200 x", 0), (b"HTTP/1.1", 0), (b"HTTP/1.1\t200 OK", 0)],
        *[(b"HTTP/1.2 200 x", 0), (b"HTTP/1.10 200 x", 0), (b"HTTP/1.1 \xb2\xb2\xb2 x", 0)],
        *[(b"HTTP/1.1 000 x", 0), (b"HTTP/2 200", 0), (b"HTTP/1.1 +20 x", 0)],
        *[(b"HTTP/1.1 200 OK\r\nbad line", 0), (b"HTTP/1.1 200 OK\r\n folded", 0)],
        *[(b"HTTP/1.1 200 O\x00K", 0), (b"HTTP/1.1 200 O\nK", 0)],
        *[(b"ICY 200 OK", 0), (b"\x15\x03\x01\x00\x02\x02\x28", 0), (b"\x05\x00", 0)],
        (b"SSH-2.0-x", 0),
    ],
)
def test_no_other_answer_opens_the_tunnel(line: bytes, status: int) -> None:
    for size in (1, 1 << 30):
        talk = HttpConnect(HTTP, "a", 80)
        assert refusal(talk, line + b"\r\n\r\nrest", size).status == status
        assert talk.rest == b""


@pytest.mark.parametrize(
    ("answer", "count"),
    [(b"SSH-2.0", 1), (b"\x15\x03\x01", 1), (b"HTTPS", 5), (b"HTTP/2 200", 6)],
)
def test_what_is_not_http_is_refused_at_its_first_wrong_byte(answer: bytes, count: int) -> None:
    assert needed(HttpConnect(HTTP, "a", 80), answer) == count


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 " + b"x" * MAX_LINE, "status line of over"),
        (b"HTTP/1.1 200 OK\r\na: " + b"x" * MAX_LINE, "header field of over"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: bbb\r\n" * (MAX_FIELDS + 1) + b"\r\n", "header fields"),
        (b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"x" * 999 + b"\r\n") * 17, f"over {MAX_HEAD}"),
    ],
)
def test_an_answer_has_the_limits_of_any_head(answer: bytes, words: str) -> None:
    for size in (100, 1 << 30):
        error = refusal(HttpConnect(HTTP, "a", 80), answer, size)
        assert words in str(error)
        assert error.status == 0


def test_the_words_of_a_refusal_are_short_and_plain() -> None:
    answer = b"HTTP/1.1 403 \x9b31m" + b"\xe9" * 5000 + b"\r\n\r\n"
    text = str(refusal(HttpConnect(HTTP, "a", 80), answer))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200


def test_what_comes_when_the_tunnel_is_open_is_kept_in_order() -> None:
    http = HttpConnect(HTTP, "a", 80)
    socks = Socks5(SOCKS, "a", 80)
    say(http, TINYPROXY_OPEN)
    say(socks, b"\x05\x00" + SOCKS_OPEN)
    for talk in (http, socks):
        assert talk.feed(b"one ") == b""
        assert talk.feed(b"two") == b""
        assert talk.rest == b"one two"


# ---- SOCKS5 ----


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("example.com", b"\x03\x0bexample.com"),
        ("node1", b"\x03\x05node1"),
        ("1.2.3", b"\x03\x051.2.3"),
        ("x" * 255, b"\x03\xff" + b"x" * 255),
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("::ffff:192.0.2.1", b"\x04" + bytes(10) + b"\xff\xff\xc0\x00\x02\x01"),
    ],
)
def test_names_are_left_to_the_proxy_and_addresses_sent_as_such(
    host: str, packed: bytes
) -> None:
    talk = Socks5(SOCKS, host, 0x1F90)
    assert talk.begin() == b"\x05\x01\x00"
    assert talk.feed(b"\x05\x00") == b"\x05\x01\x00" + packed + b"\x1f\x90"


@pytest.mark.parametrize("host", ["x" * 256, "::x", "1::2::3", ":::"])
def test_a_host_that_cannot_be_sent_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"no name of at most 255 bytes|is not a host"):
        Socks5(SOCKS, host, 80)


def test_user_and_password_are_offered_and_sent_if_the_proxy_wants_them() -> None:
    talk = Socks5(SOCKS_USER, "a", 80)
    assert talk.begin() == b"\x05\x02\x00\x02"
    assert talk.feed(b"\x05\x02") == b"\x01\x03joe\x06secret"
    assert talk.feed(b"\x01\x00") == b"\x05\x01\x00\x03\x01a\x00\x50"
    assert talk.feed(SOCKS_OPEN) == b""
    assert talk.done


def test_user_and_password_are_not_sent_to_who_does_not_want_them() -> None:
    talk = Socks5(SOCKS_USER, "a", 80)
    assert talk.feed(b"\x05\x00") == b"\x05\x01\x00\x03\x01a\x00\x50"


def test_the_longest_user_and_password_are_sent_whole() -> None:
    proxy = Proxy("socks5", "p", 1, "ü" * 127 + "x", "y" * 255)
    assert Socks5(proxy, "a", 80).feed(b"\x05\x02") == (
        b"\x01\xff" + "ü".encode() * 127 + b"x" + b"\xff" + b"y" * 255
    )


BOUND = {
    "IPv4": b"\x01\x7f\x00\x00\x01\x1f\x90",
    "IPv6": b"\x04" + bytes(15) + b"\x01\x1f\x90",
    "name": b"\x03\x09localhost\x1f\x90",
    "empty name": b"\x03\x00\x1f\x90",
    "longest name": b"\x03\xff" + b"x" * 255 + b"\x1f\x90",
}


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 30])
@pytest.mark.parametrize("bound", BOUND.values(), ids=BOUND)
def test_the_bound_address_is_passed_over_and_what_follows_is_the_servers(
    bound: bytes, size: int
) -> None:
    talk = Socks5(SOCKS, "a", 80)
    talk.feed(b"\x05\x00")
    reply = b"\x05\x00\x00" + bound
    assert say(talk, reply[:-1], size) == b""
    assert not is_done(talk)
    assert say(talk, reply[-1:] + b"\x05\x00 server", size) == b""
    assert talk.done
    assert talk.rest == b"\x05\x00 server"


@given(st.lists(st.integers(0, 40)), st.sampled_from(sorted(BOUND.values())), st.booleans())
@example([], BOUND["IPv4"], True)
def test_it_does_not_matter_where_a_socks_proxys_bytes_are_cut(
    cuts: list[int], bound: bytes, wants_user: bool
) -> None:
    answer = b"\x05\x02\x01\x00" if wants_user else b"\x05\x00"
    data = answer + b"\x05\x00\x00" + bound + b"server"
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    talk = Socks5(SOCKS_USER, "a", 80)
    sent = b"".join(talk.feed(data[start:end]) for start, end in zip([0, *ends[:-1]], ends))
    request = b"\x05\x01\x00\x03\x01a\x00\x50"
    assert sent == (b"\x01\x03joe\x06secret" if wants_user else b"") + request
    assert talk.done
    assert talk.rest == b"server"


@given(st.lists(st.integers(0, 200)), st.integers(0, 3))
def test_it_does_not_matter_where_an_http_proxys_bytes_are_cut(
    cuts: list[int], interim: int
) -> None:
    data = b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" * interim + TINYPROXY_OPEN + b"server"
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    talk = HttpConnect(HTTP, "a", 80)
    for start, end in zip([0, *ends[:-1]], ends):
        assert talk.feed(data[start:end]) == b""
    assert talk.done
    assert talk.rest == b"server"


@pytest.mark.parametrize(
    ("proxy", "answer", "count", "status", "words"),
    [
        (SOCKS, b"\x04\x5a", 1, 0, "byte 4"),
        (SOCKS, b"\x00\x5a", 1, 0, "byte 0"),
        (SOCKS, b"HTTP/1.1 400", 1, 0, "HTTP, perhaps"),
        (SOCKS, b"\x05\xff", 2, 407, "does not accept to come without a user"),
        (SOCKS, b"\x05\x02", 2, 407, "does not accept to come without a user"),
        (SOCKS_USER, b"\x05\xff", 2, 407, "does not accept user and password"),
        (SOCKS, b"\x05\x01", 2, 0, "chose method 1"),
        (SOCKS_USER, b"\x05\x80", 2, 0, "chose method 128"),
        (SOCKS_USER, b"\x05\x02\x05\x00", 3, 0, "byte 5"),
        (SOCKS_USER, b"\x05\x02\x01\x01", 4, 407, "refuses user and password"),
        (SOCKS_USER, b"\x05\x02\x01\xff", 4, 407, "refuses user and password"),
        (SOCKS, b"\x05\x00\x04\x00", 3, 0, "byte 4"),
        (SOCKS, b"\x05\x00\x05\x01", 4, 502, "a:80: general failure"),
        (SOCKS, b"\x05\x00\x05\x02", 4, 403, "a:80: not allowed by its rules"),
        (SOCKS, b"\x05\x00\x05\x03", 4, 502, "a:80: network unreachable"),
        (SOCKS, b"\x05\x00\x05\x04", 4, 502, "a:80: host unreachable"),
        (SOCKS, b"\x05\x00\x05\x05", 4, 502, "a:80: connection refused"),
        (SOCKS, b"\x05\x00\x05\x06", 4, 504, "a:80: TTL expired"),
        (SOCKS, b"\x05\x00\x05\x07", 4, 501, "a:80: command not supported"),
        (SOCKS, b"\x05\x00\x05\x08", 4, 501, "a:80: address type not supported"),
        (SOCKS, b"\x05\x00\x05\x09", 4, 502, "a:80: code 9"),
        (SOCKS, b"\x05\x00\x05\xff", 4, 502, "a:80: code 255"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x00", 6, 0, "address of type 0"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x02", 6, 0, "address of type 2"),
    ],
)
def test_a_socks_proxy_that_refuses_or_babbles_is_refused_at_once(
    proxy: Proxy, answer: bytes, count: int, status: int, words: str
) -> None:
    assert needed(Socks5(proxy, "a", 80), answer) == count
    error = refusal(Socks5(proxy, "a", 80), answer + bytes(20))
    assert error.status == status
    assert words in str(error)
    assert "secret" not in str(error)
    assert "(HTTP" not in str(error)


@given(st.binary(max_size=60), st.booleans(), st.integers(1, 9))
@example(b"\x05\x02\x01\x00" + SOCKS_OPEN, True, 1)
def test_any_bytes_open_a_tunnel_or_fail_or_wait(data: bytes, user: bool, size: int) -> None:
    for talk in (Socks5(SOCKS_USER if user else SOCKS, "a", 80), HttpConnect(HTTP, "a", 80)):
        failed = False
        try:
            say(talk, data, size)
        except ProxyError:
            failed = True
        assert not (failed and talk.done)


def test_a_proxy_that_goes_on_and_on_costs_no_more_than_its_bytes() -> None:
    started = time.process_time()
    for line in (b"HTTP/1.1 100 x\r\n\r\n", b"HTTP/1.1 100 x\r\n" + b"a: b\r\n" * 99 + b"\r\n"):
        refusal(HttpConnect(HTTP, "a", 80), line * (300_000 // len(line)))
    refusal(HttpConnect(HTTP, "a", 80), b"HTTP/1.1 " + b"\x20" * 100_000, 1)
    assert time.process_time() - started < 2
