"""`reactor/protocol/uri.py`: what a URI names, what it must not, and where a redirect leads."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.protocol.uri import URI, parse_uri


def parts(uri: URI) -> tuple[Any, ...]:
    return uri.scheme, uri.host, uri.port, uri.target, uri.unix, uri.credentials


# ---- what it names ----


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("ws://example.com", "example.com", 80, "/"),
        ("ws://example.com/", "example.com", 80, "/"),
        ("WS://EXAMPLE.com:8000/Chat?Room=1", "example.com", 8000, "/Chat?Room=1"),
        ("wss://example.com?a=/b", "example.com", 443, "/?a=/b"),
        ("wss://example.com:/a", "example.com", 443, "/a"),
        ("ws://example.com:1/", "example.com", 1, "/"),
        ("ws://example.com:65535/", "example.com", 65535, "/"),
        ("ws://example.com:00080/", "example.com", 80, "/"),
        ("ws://[::1]:8080/", "[::1]", 8080, "/"),
        ("ws://[2001:DB8::1]", "[2001:db8::1]", 80, "/"),
        ("ws://127.0.0.1/", "127.0.0.1", 80, "/"),
        ("ws://a/b//c/./../d", "a", 80, "/b//c/./../d"),
        ("ws://a/b@c:d", "a", 80, "/b@c:d"),
        ("ws://a?@evil/", "a", 80, "/?@evil/"),
        ("ws://a/%2F%", "a", 80, "/%2F%"),
        ("ws://a/b c?é=€", "a", 80, "/b%20c?%C3%A9=%E2%82%AC"),
        ("ws://a/\x85\u2028", "a", 80, "/%C2%85%E2%80%A8"),
        ("ws://b\xfccher.example/", "xn--bcher-kva.example", 80, "/"),
        ("ws://b\xfccher.example:81/", "xn--bcher-kva.example", 81, "/"),
        ("ws://\u4f8b\u3048\u3002jp/", "xn--r8jz45g.jp", 80, "/"),
    ],
)
def test_a_uri_names_host_port_and_target(text: str, host: str, port: int, target: str) -> None:
    uri = parse_uri(text)
    scheme = text.partition(":")[0].lower()
    assert parts(uri) == (scheme, host, port, target, "", None)
    assert uri.secure is (scheme == "wss")


@pytest.mark.parametrize(
    ("text", "unix", "target"),
    [
        ("ws+unix:///run/server.sock", "/run/server.sock", "/"),
        ("ws+unix:///run/server.sock:", "/run/server.sock", "/"),
        ("WS+Unix:///run/server.sock:/chat?x=1:2", "/run/server.sock", "/chat?x=1:2"),
        ("ws+unix:/run/server.sock:/a", "/run/server.sock", "/a"),
        ("ws+unix://server.sock:/a b", "server.sock", "/a%20b"),
        ("ws+unix:///a%3Ab%25%20%23:/", "/a:b% #", "/"),
        ("ws+unix:///r\xe9sum\xe9.sock:/\xe9", "/résumé.sock", "/%C3%A9"),
        ("ws+unix://%00abstract:/", "\0abstract", "/"),
        ("ws+unix:////double:/", "//double", "/"),
    ],
)
def test_a_uri_names_a_unix_socket_and_behind_a_colon_the_target(
    text: str, unix: str, target: str
) -> None:
    uri = parse_uri(text)
    assert parts(uri) == ("ws+unix", "localhost", 80, target, unix, None)
    assert not uri.secure
    assert uri.authority == "localhost"


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:password", ("user", "password")),
        ("user", ("user", "")),
        ("user:", ("user", "")),
        (":password", ("", "password")),
        ("a%3Ab:c%40d%2F:e", ("a:b", "c@d/:e")),
        ("%c3%a9:\xe9", ("é", "é")),
        ("a:b@c", ("a", "b@c")),
        ("good.example", ("good.example", "")),
        ("", None),
    ],
)
def test_user_and_password_stand_before_the_last_at_sign_of_the_authority(
    userinfo: str, credentials: tuple[str, str] | None
) -> None:
    uri = parse_uri(f"wss://{userinfo}@evil.example:8443/x@y")
    assert parts(uri) == ("wss", "evil.example", 8443, "/x@y", "", credentials)


def test_a_uri_is_shown_without_its_password() -> None:
    uri = parse_uri("wss://user:secret@example.com/chat")
    assert str(uri) == "wss://example.com/chat"
    assert repr(uri) == "<URI wss://example.com/chat>"


@pytest.mark.parametrize(
    ("text", "authority", "hostname"),
    [
        ("ws://example.com:80/", "example.com", "example.com"),
        ("wss://example.com:443/", "example.com", "example.com"),
        ("ws://example.com:443/", "example.com:443", "example.com"),
        ("wss://example.com:80/", "example.com:80", "example.com"),
        ("ws://[::1]/", "[::1]", "::1"),
        ("wss://[::1]:80/", "[::1]:80", "::1"),
    ],
)
def test_the_host_field_has_the_port_only_if_it_is_not_usual(
    text: str, authority: str, hostname: str
) -> None:
    uri = parse_uri(text)
    assert uri.authority == authority
    assert uri.hostname == hostname


def test_an_origin_is_scheme_host_port_and_socket() -> None:
    origins = [
        parse_uri(text).origin
        for text in ("ws://a", "wss://a", "ws://b", "ws://a:81", "ws+unix:///a", "ws+unix:///b")
    ]
    assert len(set(origins)) == 6
    assert parse_uri("ws://u:p@A:80/x").origin == origins[0]


# ---- what it must not be ----


@pytest.mark.parametrize(
    "text",
    [
        *["", "ws", "example.com", "//example.com/", "/chat", ":", "://a/", " ws://a/"],
        *["http://a/", "https://a/", "file:///etc/passwd", "wss+unix:///a", "ws ://a/"],
    ],
)
def test_a_uri_of_another_scheme_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="begins with ws:"):
        parse_uri(text)


@pytest.mark.parametrize("text", ["ws:", "ws:a", "wss:/a", "ws:a//b", r"ws:\\a/"])
def test_a_uri_without_an_authority_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="without // and a host"):
        parse_uri(text)


@pytest.mark.parametrize("text", ["ws://a/#", "ws://a#b", "ws+unix:///a#b:/", "ws://u#p@a/"])
def test_a_uri_with_a_fragment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="with a fragment"):
        parse_uri(text)


@pytest.mark.parametrize(
    "host",
    [
        *["", ":80", "u:p@", "@", "u@:80", "[", "[]", "[::1", "::1", "[::1]x", "a b", "a\\b"],
        *["[1.2.3.4]", "[example.com]", "[dead]", "[::1%25eth0]", "[::1::2]", "[:]"],
        *["%65xample.com", "a%2Fb", "a%00b", "a%", "\xe9%41.com", "a:b", "a:-1", "a:+80"],
        *["a:0", "a:00000", "a:65536", "a:99999", "a:000080", "a:80:80", "a:\u0663", "a: 80"],
        *["a..\xe9", "\xe9" * 64, "\u2100.com", "a\uff0fb", "a\uff20b", "a\uff1fb"],
        *["a\uff1a80", "\uff3b::1\uff3d", "\uff3b", "\xe9\\b", "a\\@b@"],
    ],
)
def test_a_host_or_port_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"host|port|address"):
        parse_uri(f"ws://{host}/")


@pytest.mark.parametrize("char", ["\r", "\n", "\0", "\t", "\x1b", "\x7f", "\udfff"])
@pytest.mark.parametrize(
    "text",
    [
        *["ws://a/{}", "ws://a/?{}", "ws://{}a/", "ws://a{}/", "ws://a:8{}/", "ws://u{}@a/"],
        *["ws://u:{}@a/", "ws://a/{}#", "ws{}://a/", "ws+unix:///{}", "ws+unix:///a:/{}"],
    ],
)
def test_a_control_character_or_a_lone_surrogate_is_refused_anywhere(
    text: str, char: str
) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_uri(text.format(char))


@pytest.mark.parametrize("userinfo", ["u%0d%0aX:p", "u:%00", "u:p%7f", "%09"])
def test_a_control_character_in_user_or_password_is_refused_encoded_too(userinfo: str) -> None:
    with pytest.raises(ValueError, match="RFC 7617"):
        parse_uri(f"ws://{userinfo}@a/")


@pytest.mark.parametrize(
    "text", ["ws://%ff@a/", "ws://u:%c3@a/", "ws://u:\ufffd@a/", "ws+unix:///%ff"]
)
def test_what_is_not_utf_8_is_refused_where_it_would_be_changed(text: str) -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        parse_uri(text)


def test_a_backslash_before_the_at_sign_is_refused_as_browsers_take_it_for_a_slash() -> None:
    with pytest.raises(ValueError, match="backslash"):
        parse_uri("wss://evil.example\\@good.example/")
    assert parse_uri("ws://u:%5C@a/").credentials == ("u", "\\")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("ws+unix:", "without the path"),
        ("ws+unix://", "without the path"),
        ("ws+unix://:/chat", "without the path"),
        ("ws+unix:///a:chat", "no / behind the colon"),
        ("ws+unix:///a:?x", "no / behind the colon"),
        ("ws+unix:///a:b:/", "no / behind the colon"),
        ("ws+unix:///good%00evil:/", "NUL"),
        ("ws+unix://%00%00:/", "NUL"),
    ],
)
def test_a_unix_socket_has_a_path_and_its_target_a_slash(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse_uri(text)


@pytest.mark.parametrize("value", [None, b"ws://a/", 5, parse_uri("ws://a/")])
def test_a_uri_is_a_str(value: Any) -> None:
    with pytest.raises(TypeError, match="not str"):
        parse_uri(value)


@pytest.mark.parametrize(
    "text",
    [
        *["wss://user:top/secret@host/", "wss://user:top?secret@host/"],
        *["wss://user:top#secret@host/", "wss://user:top%ffsecret@host/"],
        *["wss://user:top\\secret@host/", "wss://user:top%00secret@host/"],
        *["wss://user:topsecret@ho st/", "wss://user:topsecret@host:x/"],
        *["wss://user:topsecret@host:0/", "wss://user:topsecret@[x]/"],
    ],
)
def test_no_error_shows_a_password_or_a_part_of_it(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_uri(text)
    assert "top" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_very_long_target_is_kept_and_a_very_long_host_is_not_shown_in_full() -> None:
    target = "/" + "a" * 1_000_000 + "?é"
    assert parse_uri(f"ws://a{target}").target == target[:-1] + "%C3%A9"
    with pytest.raises(ValueError, match="percent-encoded") as refused:
        parse_uri("ws://" + "%41" * 10_000)
    assert len(str(refused.value)) < 200


def test_nothing_is_imported_for_a_uri_that_is_no_ipv6_address() -> None:
    program = (
        "import sys; from reactor.protocol.uri import parse_uri;"
        "parse_uri('wss://u:p@a.example:81/x?y').redirected('//b/../c');"
        "print({'urllib', 'urllib.parse', 're', 'ipaddress'} & set(sys.modules))"
    )
    command = [sys.executable, "-S", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    assert said.stdout == "set()\n"


# ---- as text ----

ANYTHING = st.text(
    st.one_of(st.sampled_from(r"a1.:/?#@[]%25\ " + "\0\n\xe9\uff1a\ufffd"), st.characters()),
    max_size=20,
)
URIS = st.one_of(
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["ws", "wss"]),
        st.sampled_from(["", "u:p@", "@"]),
        st.sampled_from(["a", "A.b", "[::1]", "[::ABCD]:443", "a:80", "a:8080", "b\xfc.c"]),
        st.one_of(st.just(""), ANYTHING.map("/".__add__), ANYTHING.map("?".__add__)),
    ),
    st.builds("ws+unix:{}{}".format, st.sampled_from(["", "/", "//", "///"]), ANYTHING),
    st.builds("ws://{}".format, ANYTHING),
)


@given(URIS)
@example("ws+unix:///a%3Ab%2541:/x")
@example("ws+unix://%23%20%0a\xe9")
def test_what_a_uri_is_shown_as_is_the_same_uri(text: str) -> None:
    try:
        uri = parse_uri(text)
    except ValueError:
        return
    again = parse_uri(str(uri))
    assert parts(again) == (*parts(uri)[:5], None)
    assert str(again) == str(uri)


@given(URIS)
def test_a_uri_that_is_accepted_gets_nothing_into_a_request_line_or_a_host_field(
    text: str,
) -> None:
    try:
        uri = parse_uri(text)
    except ValueError:
        return
    assert uri.target[0] == "/"
    for part in (uri.target, uri.authority):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    assert not set("/@?#\\%") & set(uri.authority)
    assert 0 < uri.port < 65536


@given(st.text("ab.:@/?", max_size=12))
def test_an_authority_is_where_the_standard_library_finds_it(text: str) -> None:
    try:
        uri = parse_uri(f"ws://{text}")
    except ValueError:
        return
    split = urllib.parse.urlsplit(f"ws://{text}")
    assert uri.hostname == split.hostname
    assert uri.port == (split.port or 80)
    userinfo = split.netloc.rpartition("@")[0]
    user = (split.username, split.password or "") if userinfo else None
    assert uri.credentials == user


# ---- redirects ----

BASE = "ws://a/b/c/d;p?q"


# RFC 3986 §5.4: the normal and the abnormal examples.
@pytest.mark.parametrize(
    ("location", "target"),
    [
        *[("g", "/b/c/g"), ("./g", "/b/c/g"), ("g/", "/b/c/g/"), ("/g", "/g")],
        *[("?y", "/b/c/d;p?y"), ("g?y", "/b/c/g?y"), ("#s", "/b/c/d;p?q"), ("g#s", "/b/c/g")],
        *[("g?y#s", "/b/c/g?y"), (";x", "/b/c/;x"), ("g;x", "/b/c/g;x"), ("", "/b/c/d;p?q")],
        *[(".", "/b/c/"), ("./", "/b/c/"), ("..", "/b/"), ("../", "/b/"), ("../g", "/b/g")],
        *[("../..", "/"), ("../../", "/"), ("../../g", "/g"), ("../../../g", "/g")],
        *[("../../../../g", "/g"), ("/./g", "/g"), ("/../g", "/g"), ("g.", "/b/c/g.")],
        *[(".g", "/b/c/.g"), ("g..", "/b/c/g.."), ("..g", "/b/c/..g"), ("./../g", "/b/g")],
        *[("./g/.", "/b/c/g/"), ("g/./h", "/b/c/g/h"), ("g/../h", "/b/c/h")],
        *[("g;x=1/./y", "/b/c/g;x=1/y"), ("g;x=1/../y", "/b/c/y"), ("g?y/./x", "/b/c/g?y/./x")],
        *[("g?y/../x", "/b/c/g?y/../x"), ("g#s/./x", "/b/c/g"), ("g#s/../x", "/b/c/g")],
    ],
)
def test_the_examples_of_rfc_3986_lead_where_it_says(location: str, target: str) -> None:
    assert parts(parse_uri(BASE).redirected(location)) == ("ws", "a", 80, target, "", None)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("http://b/x", "ws://b/x"),
        ("HTTPS://b/x", "wss://b/x"),
        ("ws://b", "ws://b/"),
        ("wss://b:444/x#y", "wss://b:444/x"),
        ("//b/x", "ws://b/x"),
        ("//b:81", "ws://b:81/"),
        ("http://b/x/../y/./z?/../", "ws://b/y/z?/../"),
        ("//b/..", "ws://b/"),
        ("/x y", "ws://a/x%20y"),
        ("x/http://b/", "ws://a/b/c/x/http://b/"),
        ("?http://b/", "ws://a/b/c/d;p?http://b/"),
        ("./x:y", "ws://a/b/c/x:y"),
        ("/.//b/x", "ws://a//b/x"),
        (r"/\b/x", r"ws://a/\b/x"),
        (r"\\b\x", "ws://a/b/c/" + r"\\b\x"),
    ],
)
def test_a_location_is_a_uri_or_relative_to_one(location: str, shown: str) -> None:
    assert str(parse_uri(BASE).redirected(location)) == shown


@pytest.mark.parametrize(
    "location",
    [
        *["ftp://b/", "file:///etc/passwd", "javascript:1", "data:,x", "ws+unix:///run/a:/"],
        *["http+unix://a/", "mailto:a@b", ":", "x:y", "localhost:80/", "ht%74p://b/"],
    ],
)
def test_a_redirect_to_another_scheme_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="not to http, https, ws or wss"):
        parse_uri(BASE).redirected(location)


@pytest.mark.parametrize(
    "location",
    [
        *["http:", "http:b", "http:/b", "http://", "http:///b", "//", "///b", "//:80", "//b:0"],
        *["http://b:65536/", "http://[x]/", "http://a%62/", "http://b c/", "//\xe9/"],
        *["//g\\@b/", "//u:%ff@b/"],
    ],
)
def test_a_redirect_to_a_host_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match=r"host|port|address|UTF-8|backslash"):
        parse_uri(BASE).redirected(location)


@pytest.mark.parametrize("location", ["/a\r\nX: y", "/\0", "//b\n/", "\thttp://b/", "/#\x1b"])
def test_a_redirect_with_a_control_character_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_uri(BASE).redirected(location)


def test_the_bytes_of_a_location_are_kept_as_the_server_has_sent_them() -> None:
    sent = "/caf\u00e9/\u20ac".encode().decode("latin-1")
    assert parse_uri(BASE).redirected(sent).target == "/caf%C3%A9/%E2%82%AC"
    assert parse_uri(BASE).redirected("/caf\xe9").target == "/caf%E9"


def test_a_redirect_takes_no_credentials_along_and_accepts_none() -> None:
    before = parse_uri("wss://user:password@a/b")
    for location in ("c", "/c", "?c", "", "//a/c", "https://a/c", "https://u:p@a/c", "//u:p@a"):
        after = before.redirected(location)
        assert after.credentials is None
        assert after.origin == before.origin


def test_a_redirect_without_a_scheme_stays_with_tls() -> None:
    assert str(parse_uri("wss://a/").redirected("//b/x")) == "wss://b/x"
    assert str(parse_uri("wss://a:444/").redirected("/x")) == "wss://a:444/x"


def test_a_unix_socket_redirects_to_itself_or_to_another_server() -> None:
    before = parse_uri("ws+unix:///run/a:/b/c")
    assert parts(before.redirected("d")) == ("ws+unix", "localhost", 80, "/b/d", "/run/a", None)
    assert str(before.redirected("//b/d")) == "ws://b/d"


SEGMENTS = st.sampled_from(["a", "b", ".", "..", "", ";x", "a:b", "...", ".a"])


@given(
    st.lists(SEGMENTS, max_size=4),
    st.lists(SEGMENTS, min_size=1, max_size=6),
    st.sampled_from(["", "?q/../r"]),
    st.booleans(),
)
def test_a_relative_reference_leads_where_the_standard_library_says(
    base: list[str], reference: list[str], query: str, rooted: bool
) -> None:
    before = "ws://h/" + "/".join(base)
    location = "/" * rooted + "/".join(reference) + query
    if location.startswith("//") or ":" in location.partition("/")[0]:
        return  # names a host or a scheme
    expected = urllib.parse.urljoin(before, location)
    path = urllib.parse.urlsplit(before).path
    if "//" in path + location or "/;" in path + location or ";" in location[:1]:
        return  # it merges empty segments, and takes parameters apart, as RFC 1808 did
    assert str(parse_uri(before).redirected(location)) == expected


@given(URIS, ANYTHING)
def test_a_redirect_leads_to_a_uri_or_is_refused(text: str, location: str) -> None:
    try:
        after = parse_uri(text).redirected(location)
    except ValueError:
        return
    assert parts(parse_uri(str(after))) == parts(after)
    assert after.scheme != "ws+unix" or text[:7] == "ws+unix"
