"""`reactor/protocol/environment.py`: which proxy the environment names."""

from __future__ import annotations

import pytest

from reactor.protocol.environment import environment_proxy, parse_ip


@pytest.mark.parametrize(
    ("secure", "environ", "found"),
    [
        (False, {}, None),
        (False, {"http_proxy": "http://a:1"}, "http://a:1"),
        (True, {"http_proxy": "http://a:1"}, None),
        (True, {"https_proxy": "http://a:1"}, "http://a:1"),
        (False, {"https_proxy": "http://a:1"}, None),
        (False, {"all_proxy": "socks5://a"}, "socks5://a"),
        (True, {"all_proxy": "socks5://a"}, "socks5://a"),
        (True, {"all_proxy": "socks5://a", "https_proxy": "http://b"}, "http://b"),
        (False, {"HTTP_PROXY": "http://a"}, "http://a"),
        (True, {"HTTPS_PROXY": "http://a"}, "http://a"),
        (True, {"ALL_PROXY": "http://a"}, "http://a"),
        (False, {"http_proxy": "http://a", "HTTP_PROXY": "http://b"}, "http://a"),
        (False, {"http_proxy": "a:3128"}, "http://a:3128"),
        (True, {"https_proxy": "joe:x@a:3128"}, "http://joe:x@a:3128"),
        (False, {"http_proxy": " http://a\n"}, "http://a"),
        # Whoever empties a variable wants no proxy.
        (False, {"http_proxy": ""}, None),
        (False, {"http_proxy": " "}, None),
        (False, {"http_proxy": "", "HTTP_PROXY": "http://a", "all_proxy": "http://a"}, None),
        # A CGI's request has its Proxy field here.
        (False, {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None),
        (False, {"http_proxy": "http://a", "REQUEST_METHOD": "GET"}, "http://a"),
        (True, {"HTTPS_PROXY": "http://a", "REQUEST_METHOD": "GET"}, "http://a"),
        (
            False,
            {"HTTP_PROXY": "x", "ALL_PROXY": "http://a", "REQUEST_METHOD": "GET"},
            "http://a",
        ),
        (False, {"http_proxy": "http://a", "no_proxy": ""}, "http://a"),
        (False, {"http_proxy": "http://a", "NO_PROXY": "example.com"}, None),
        (False, {"http_proxy": "http://a", "no_proxy": "", "NO_PROXY": "*"}, "http://a"),
    ],
)
def test_the_environment_names_a_proxy(
    secure: bool, environ: dict[str, str], found: str | None
) -> None:
    assert environment_proxy(secure, "example.com", 80, environ) == found


@pytest.mark.parametrize(
    ("host", "exceptions", "excepted"),
    [
        ("example.com", "*", True),
        ("example.com", "a, *", True),
        ("example.com", "example.com", True),
        ("EXAMPLE.com.", "example.COM", True),
        ("example.com", "example.com.", True),
        ("example.com", ".example.com", True),
        ("www.example.com", "example.com", True),
        ("www.example.com", ".example.com", True),
        ("www.example.com", "*.example.com", True),
        ("notexample.com", "example.com", False),
        ("example.com.evil", "example.com", False),
        ("example.com", "www.example.com", False),
        ("example.com", "com", True),
        ("example.com", ".", False),
        ("example.com", ",, ,", False),
        ("example.com", "a,example.com,b", True),
        ("example.com", "a example.com\tb", True),
        ("example.com", "example.com:8080", True),
        ("example.com", "example.com:80", False),
        ("example.com", "example.com:http", False),
        ("www.example.com", ".example.com:8080", True),
        ("localhost", "127.0.0.1", False),
        ("localhost", "", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8080", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("10.1.2.3", "2.3", False),
        ("10.1.2.3", ".3", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("10.1.2.3", "10.0.0.0/99, x/y", False),
        ("10.1.2.3", "::/0", False),
        ("::1", "::1", True),
        ("::1", "[::1]", True),
        ("::1", "[::1]:8080", True),
        ("::1", "[::1]:80", False),
        ("[::1]", "0:0:0:0:0:0:0:1", True),
        ("fe80::1", "fe80::/10", True),
        ("FD00::1", "fd00::/8", True),
        ("::1", "0.0.0.0/0", False),
        ("node1", "node1", True),
        ("node1", "10.0.0.0/8", False),
        ("www.node1", "node1", True),
        ("www.10.1.2.3.4", "10.1.2.3.4", True),
    ],
)
def test_no_proxy_lists_who_is_spoken_to_without(
    host: str, exceptions: str, excepted: bool
) -> None:
    environ = {"http_proxy": "http://a", "no_proxy": exceptions}
    assert (environment_proxy(False, host, 8080, environ) is None) == excepted


@pytest.mark.parametrize(
    ("host", "is_ip"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("example.com", False),
        ("node7", False),
        ("::x", False),
    ],
)
def test_an_address_is_told_from_a_name(host: str, is_ip: bool) -> None:
    assert (parse_ip(host) is not None) == is_ip
