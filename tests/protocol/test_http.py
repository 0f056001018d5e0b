"""`reactor/protocol/http.py`: heads, their limits, and the grammar of their fields."""

from __future__ import annotations

import string
import urllib.parse
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor import HandshakeError, Headers
from reactor.protocol import http
from reactor.protocol.http import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_LINE,
    HeadReader,
    is_token,
    parse_authority,
    parse_cookies,
    parse_head,
    parse_query,
    split_list,
    unquote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TCHARS = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
TOKENS = st.text(TCHARS, min_size=1, max_size=12)


def read(data: bytes, size: int = 1 << 30) -> tuple[bytes, bytes] | int | None:
    """What a reader says of `data` in pieces of `size`: head and rest, a status, or nothing."""
    reader = HeadReader()
    for start in range(0, len(data), size):
        try:
            whole = reader.feed(data[start : start + size])
        except HandshakeError as error:
            return error.status
        if whole is not None:
            head, rest = whole
            return head, rest + data[start + size :]
    return None


def padded_head(size: int) -> bytes:
    """A head of `size` bytes, no line of which is long."""
    head = b"GET / HTTP/1.1"
    while len(head) < size:
        line = min(size - len(head), 1000)
        line = line if size - len(head) - line >= 10 or line < 990 else line - 10
        head += b"\r\nx:" + b"y" * (line - 4)
    assert len(head) == size
    return head


# ---- tokens and fields ----


@pytest.mark.parametrize("code", range(256))
def test_a_character_is_part_of_a_token_only_if_the_grammar_lists_it(code: int) -> None:
    assert is_token(chr(code)) is (chr(code) in TCHARS)
    assert is_token(f"a{chr(code)}b") is (chr(code) in TCHARS)


def test_the_empty_string_is_no_token() -> None:
    assert not is_token("")


def test_names_are_found_without_regard_to_case_and_values_keep_their_order() -> None:
    headers = Headers([("Via", "a"), ("Host", "b"), ("VIA", "c")])
    assert headers.get_all("via") == ["a", "c"]
    assert headers.get("viA") == headers["vIa"] == "a"
    assert list(headers.items()) == [("Via", "a"), ("Host", "b"), ("VIA", "c")]
    assert len(headers) == 3
    assert "HOST" in headers
    assert repr(headers) == "Headers([('Via', 'a'), ('Host', 'b'), ('VIA', 'c')])"


def test_a_field_that_is_not_there_is_none_or_the_default_or_a_key_error() -> None:
    headers = Headers()
    assert "Host" not in headers
    assert headers.get("Host") is None
    assert headers.get("Host", "x") == "x"
    assert headers.get_all("Host") == []
    with pytest.raises(KeyError, match="Host"):
        headers["Host"]


@pytest.mark.parametrize("fields", [{"A": "1"}, [("A", "1")], Headers({"A": "1"})])
def test_fields_come_as_pairs_as_a_mapping_or_as_headers(fields: Any) -> None:
    assert list(Headers(fields).items()) == [("A", "1")]


def test_a_copy_of_headers_does_not_share_its_fields() -> None:
    first = Headers({"A": "1"})
    second = Headers(first)
    second.add("B", "2")
    assert len(first) == 1


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "\x00", "é", "a\n", " a", "(x)"])
def test_a_field_cannot_be_named_by_what_is_no_token(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        Headers({name: "x"})


@pytest.mark.parametrize("code", range(256))
def test_no_control_character_but_the_tab_gets_into_a_value(code: int) -> None:
    value = f"a{chr(code)}b"
    if (code < 32 and code != 9) or code == 127:
        with pytest.raises(ValueError, match=r"value .* of field X"):
            Headers({"X": value})
    else:
        assert Headers({"X": value}).pack() == b"X: a" + bytes([code]) + b"b\r\n"


@pytest.mark.parametrize("value", [" a", "a ", "\ta", "a\t", " ", "€", "\ud800"])
def test_a_value_neither_begins_nor_ends_with_space_and_is_iso_8859_1(value: str) -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        Headers().add("X", value)


@pytest.mark.parametrize("field", [(1, "x"), ("X", 1), ("X", None), (b"X", "x"), ("X", b"x")])
def test_a_field_that_is_not_of_strings_is_a_type_error(field: Any) -> None:
    with pytest.raises(TypeError, match="is not a str"):
        Headers([field])


@pytest.mark.parametrize("field", ["X-Key: 1", "ab", ("X", "1", "2"), ("X",)])
def test_a_field_that_is_not_a_pair_is_a_type_error(field: Any) -> None:
    with pytest.raises(TypeError, match="pair of name and value"):
        Headers([field])


def test_a_refused_field_is_not_added() -> None:
    headers = Headers({"A": "1"})
    with pytest.raises(ValueError, match="value"):
        headers.add("B", "2\r\nSet-Cookie: x")
    assert headers.pack() == b"A: 1\r\n"


@given(st.lists(st.tuples(TOKENS, st.text(st.characters(min_codepoint=33, max_codepoint=126)))))
def test_what_is_packed_is_parsed_to_the_same(fields: list[tuple[str, str]]) -> None:
    packed = Headers(fields).pack()
    first, headers = parse_head(b"first" + b"\r\n" * bool(fields) + packed[:-2])
    assert first == "first"
    assert list(headers.items()) == fields


# ---- reading a head ----


REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\nX: y"


def test_a_head_ends_with_the_empty_line_and_what_follows_is_kept_apart() -> None:
    assert read(REQUEST + b"\r\n\r\n") == (REQUEST, b"")
    assert read(REQUEST + b"\r\n\r\nrest\r\n\r\n\n\x00") == (REQUEST, b"rest\r\n\r\n\n\x00")


@pytest.mark.parametrize("cut", range(len(REQUEST) + 8))
def test_a_head_is_the_same_wherever_it_is_cut(cut: int) -> None:
    data = REQUEST + b"\r\n\r\nrest"
    reader = HeadReader()
    whole = reader.feed(data[:cut])
    if whole is None:
        whole = reader.feed(data[cut:])
        assert whole == (REQUEST, b"rest")
    else:
        assert whole == (REQUEST, b"rest"[: cut - len(REQUEST) - 4])


HEADS = st.lists(
    st.sampled_from(
        [b"GET / HTTP/1.1", b"\r\n", b"\r", b"\n", b"x: y", b"\x16", b" ", b"\xff"]
    ),
    max_size=12,
).map(b"".join)


@given(HEADS, st.integers(1, 9))
@example(b"GET / HTTP/1.1\r\n\nx: y\r\n\r\n", 1)
def test_all_that_is_said_of_a_head_is_said_whatever_the_pieces(data: bytes, size: int) -> None:
    def outcome(size: int) -> object:
        found = read(data, size)
        if not isinstance(found, tuple):
            return found
        try:
            parse_head(found[0])
        except HandshakeError as error:
            return error.status
        return found

    assert outcome(size) == outcome(1 << 30)


def test_a_reader_has_started_with_the_first_byte() -> None:
    reader = HeadReader()
    assert not reader.started
    assert reader.feed(b"") is None
    assert not reader.started
    assert reader.feed(b"G") is None
    assert reader.started


@pytest.mark.parametrize("code", range(256))
def test_what_cannot_begin_a_request_is_refused_at_its_first_byte(code: int) -> None:
    assert read(bytes([code])) == (None if chr(code) in TCHARS else 400)


def test_a_tls_client_hello_is_named() -> None:
    with pytest.raises(HandshakeError, match="TLS, on a port without it") as refused:
        HeadReader().feed(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    assert refused.value.status == 400


def test_a_tls_alert_is_named() -> None:
    with pytest.raises(HandshakeError, match="TLS, which was not spoken before") as refused:
        HeadReader().feed(b"\x15\x03\x01\x00\x02\x02\x28")
    assert refused.value.status == 400


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 30])
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\r\nA: b\n\r\n"])
def test_a_line_feed_alone_is_refused_before_an_end_that_may_never_come(
    data: bytes, size: int
) -> None:
    assert read(data, size) == 400


@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (padded_head(MAX_HEAD), "whole"),
        (padded_head(MAX_HEAD + 1), 431),
        (b"G" * MAX_LINE, "whole"),
        (b"G" * (MAX_LINE + 1), 414),
        (b"GET\r\nx:" + b"y" * (MAX_LINE - 2), "whole"),
        (b"GET\r\nx:" + b"y" * (MAX_LINE - 1), 431),
        (b"GET\r\nx:" + b"y" * (MAX_LINE - 1) + b"\r\nz: 1", 431),
        (b"GET" + b"\r\nx: y" * MAX_FIELDS, "whole"),
        (b"GET" + b"\r\nx: y" * (MAX_FIELDS + 1), 431),
        (b"GET" + b"\r\nx: y" * 10_000, 431),
    ],
)
def test_a_limit_is_the_same_to_the_byte_whatever_the_pieces(
    data: bytes, outcome: str | int, size: int
) -> None:
    found = read(data + b"\r\n\r\nrest", size)
    assert found == ((data, b"rest") if outcome == "whole" else outcome)


def refused_after(pieces: Iterable[bytes]) -> tuple[HandshakeError, int]:
    """How a reader refuses what never ends, and how many bytes it took until then."""
    reader, sent = HeadReader(), 0
    for piece in pieces:
        sent += len(piece)
        try:
            assert reader.feed(piece) is None
        except HandshakeError as error:
            return error, sent
    raise AssertionError("the pieces are over")


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(("begin", "status"), [(b"", 414), (b"GET\r\n", 431)])
def test_a_line_without_end_is_refused_at_the_limit_and_not_at_its_end(
    begin: bytes, status: int, size: int
) -> None:
    error, sent = refused_after(chain([begin], repeat(b"y" * size)))
    assert error.status == status
    limit = len(begin) + MAX_LINE + 2
    assert limit <= sent < limit + size


def test_fields_without_end_are_refused_when_the_head_is_too_long() -> None:
    error, sent = refused_after(chain([b"GET / HTTP/1.1\r\n"], repeat(b"X: y\r\n")))
    assert error.status == 431
    assert error.reason == "over 100 header fields"
    assert MAX_HEAD < sent <= MAX_HEAD + 9


class Counted(bytearray):
    """Counts the bytes that are searched, copied or added."""

    work = 0

    def _count(self, start: int) -> None:
        Counted.work += max(0, len(self) - start)

    def find(self, sub: Any, start: Any = 0, *rest: Any) -> int:
        self._count(start)
        return super().find(sub, start, *rest)

    def rfind(self, sub: Any, start: Any = 0, *rest: Any) -> int:
        self._count(start)
        return super().rfind(sub, start, *rest)

    def count(self, sub: Any, start: Any = 0, *rest: Any) -> int:
        self._count(start)
        return super().count(sub, start, *rest)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counted.work += 1 if isinstance(found, int) else len(found)
        return found

    def __iadd__(self, data: Any) -> Any:  # type: ignore[misc, unused-ignore]
        Counted.work += len(data)
        return super().__iadd__(data)


@pytest.mark.parametrize(
    "head", [padded_head(MAX_HEAD), b"G" * MAX_LINE, b"GET" + b"\r\nx: y" * MAX_FIELDS]
)
def test_a_head_in_single_bytes_costs_work_in_proportion_to_its_length(
    monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(http, "bytearray", Counted, raising=False)
    monkeypatch.setattr(Counted, "work", 0)
    assert read(head + b"\r\n\r\n", 1) == (head, b"")
    assert len(head) < Counted.work < 20 * len(head)


# ---- the letter of a head ----


def test_a_head_is_its_first_line_and_its_fields_as_iso_8859_1() -> None:
    first, headers = parse_head(b"GET / HTTP/1.1\r\nX: \xe9\xff\r\nY:\t z \t\r\nE:\r\nV: a:b")
    assert first == "GET / HTTP/1.1"
    assert list(headers.items()) == [("X", "éÿ"), ("Y", "z"), ("E", ""), ("V", "a:b")]


@pytest.mark.parametrize(
    "line",
    [
        "Connection: Upgrade",
        "Connection:Upgrade",
        "connection: \tUpgrade ",
        "CONNECTION: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Host: a:1",
        "X-Unheard-Of: a",
    ],
)
def test_a_line_means_the_same_however_usual_it_is(line: str) -> None:
    name, _, value = line.partition(":")
    value = value.strip(" \t")
    _, headers = parse_head(f"GET / HTTP/1.1\r\n{line}\r\nA: 1\r\n{line}".encode())
    assert headers.by_name() == {name.lower(): (value, value), "a": ("1",)}
    assert headers.get_all(name.upper()) == [value, value]
    assert list(headers.items()) == [(name, value), ("A", "1"), (name, value)]
    headers.add(name, "b")
    assert headers.by_name()[name.lower()] == (value, value, "b")
    assert list(headers.items())[2:] == [(name, value), (name, "b")]


@pytest.mark.parametrize("name", ["Host", "connection", "Upgrade"])
def test_a_usual_name_without_its_colon_is_refused(name: str) -> None:
    with pytest.raises(HandshakeError, match="line that is not a header field"):
        parse_head(f"GET / HTTP/1.1\r\n{name}".encode())


def test_a_head_may_have_no_fields() -> None:
    first, headers = parse_head(b"GET / HTTP/1.0")
    assert (first, len(headers)) == ("GET / HTTP/1.0", 0)


@pytest.mark.parametrize(
    "line",
    [
        b" X: leading space in the first field",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X : space before the colon",
        b"X\t: tab before the colon",
        b"X without a colon",
        b": no name",
        b"X\x80: not ASCII in a name",
        b"(X): no token",
        b"X: y\n",
        b"X: y\nZ: bare line feed",
        b"X: y\rZ: bare carriage return",
        b"X: y\r\r\nZ: two",
        b"X: a\x00b",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(line: bytes) -> None:
    with pytest.raises(HandshakeError) as refused:
        parse_head(b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a")
    assert refused.value.status == 400


@pytest.mark.parametrize("code", range(256))
def test_a_byte_in_a_value_is_kept_as_it_is_or_refused(code: int) -> None:
    head = b"GET / HTTP/1.1\r\nX: a" + bytes([code]) + b"b"
    if (code < 32 and code != 9) or code == 127:
        with pytest.raises(HandshakeError) as refused:
            parse_head(head)
        assert refused.value.status == 400
    else:
        assert parse_head(head)[1]["X"] == f"a{chr(code)}b"


# ---- lists ----


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ([], []),
        ([""], []),
        ([" ,\t, ,"], []),
        (["a"], ["a"]),
        (["a,b , c", "", "d"], ["a", "b", "c", "d"]),
        (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
    ],
)
def test_the_elements_of_a_list_stand_in_one_field_or_in_several(
    values: list[str], elements: list[str]
) -> None:
    assert split_list(values) == elements


@pytest.mark.parametrize("value", ["a b", 'a, "b"', "a;b", "é", "a,b\x00", '"' + "\\c" * 4000])
def test_a_list_of_what_are_no_tokens_is_refused(value: str) -> None:
    with pytest.raises(HandshakeError) as refused:
        split_list(["x", value])
    assert refused.value.status == 400


SPACES = st.text(" \t", max_size=3)


@given(st.lists(st.tuples(SPACES, st.one_of(TOKENS, st.just("")), SPACES)), st.integers(0, 99))
def test_a_list_is_its_elements_without_the_empty_ones_however_it_is_spread(
    parts: list[tuple[str, str, str]], cut: int
) -> None:
    texts = ["".join(part) for part in parts]
    values = [",".join(texts[:cut]), ",".join(texts[cut:])]
    assert split_list(values) == [token for _, token, _ in parts if token]


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_a_list_is_of_tokens_or_refused(value: str) -> None:
    parts = [part.strip(" \t") for part in value.split(",")]
    if any(part and not is_token(part) for part in parts):
        with pytest.raises(HandshakeError, match="HTTP 400"):
            split_list([value])
    else:
        assert split_list([value]) == [part for part in parts if part]


# ---- hosts ----


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("example.com", ("example.com", None)),
        ("EXAMPLE.com:8080", ("example.com", 8080)),
        ("a:", ("a", None)),
        ("a:0", ("a", 0)),
        ("a:65535", ("a", 65535)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("[::1]", None)),
        ("[2001:DB8::1]:443", ("[2001:db8::1]", 443)),
        ("[::ffff:1.2.3.4]:1", ("[::ffff:1.2.3.4]", 1)),
        ("a_b-c.d~%41!$&'()*+,;=", ("a_b-c.d~%41!$&'()*+,;=", None)),
    ],
)
def test_an_authority_is_host_and_port(text: str, parsed: tuple[str, int | None]) -> None:
    assert parse_authority(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *["", ":80", "a b", "a/b", "a?b", "a#b", "a@b", "user:x@b", "a\\b", "é", "a\x00"],
        *["[", "[]", "[]:80", "[::1", "[::1]x", "[::1]80", "[g::1]", "[::1%25eth0]", "::1"],
        *["a:b", "a:-1", "a:+1", "a: 1", "a:65536", "a:000080", "a:80:80", "a:٣", "a:²"],
    ],
)
def test_what_is_no_authority_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host|no valid port"):
        parse_authority(text)


@given(st.text("aA0.-[]:@/%# é", max_size=10))
def test_an_authority_is_parsed_to_what_it_says_or_refused(text: str) -> None:
    try:
        host, port = parse_authority(text)
    except ValueError:
        return
    number = text[len(host) + 1 :]
    assert text.lower().startswith(host)
    assert text == text[: len(host)] + (f":{number}" if len(text) > len(host) else "")
    assert port == (int(number) if number else None)
    assert not set(host) & set("@/# é")


# ---- percent-encoding ----


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("/plain", "/plain"),
        ("/a%20b%2Fc", "/a b/c"),
        ("%e2%82%AC", "€"),
        ("%ff", "\ufffd"),
        ("%", "%"),
        ("%4", "%4"),
        ("%zz%4g%%41", "%zz%4g%A"),
        ("%+1% 1", "%+1% 1"),
        ("é%41", "éA"),
        ("%00%0d%0a", "\x00\r\n"),
    ],
)
def test_percent_encoded_bytes_are_utf_8(text: str, decoded: str) -> None:
    assert unquote(text) == decoded


@given(st.lists(st.sampled_from(["%", "%4", "%41", "%c3", "%A9", "a", "é", "€", "+"])))
def test_percent_decoding_agrees_with_the_standard_library(parts: list[str]) -> None:
    text = "".join(parts)
    assert unquote(text) == urllib.parse.unquote(text)


@given(st.text())
def test_what_is_percent_encoded_is_decoded_to_the_same(text: str) -> None:
    assert unquote(urllib.parse.quote(text)) == text


@given(st.text("ab=&+%41é", max_size=20))
def test_a_query_agrees_with_the_standard_library(text: str) -> None:
    assert parse_query(text) == dict(urllib.parse.parse_qsl(text, keep_blank_values=True))


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {}),
        ("&&", {}),
        ("a=1&b=two+words&a=3", {"a": "3", "b": "two words"}),
        ("a&b=&=c", {"a": "", "b": "", "": "c"}),
        ("a%3D=b%26c=d", {"a=": "b&c=d"}),
        ("%2B=+", {"+": " "}),
    ],
)
def test_a_query_is_its_parameters_the_last_of_each_name(
    text: str, parameters: dict[str, str]
) -> None:
    assert parse_query(text) == parameters


@pytest.mark.parametrize(
    ("values", "cookies"),
    [
        ([], {}),
        ([""], {}),
        (["a=1"], {"a": "1"}),
        (["a=1; b=2;c=3 ;\td = 4\t"], {"a": "1", "b": "2", "c": "3", "d": "4"}),
        (["a=1; a=2", "a=3; b=4"], {"a": "1", "b": "4"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a; ; =; a=1;;b"], {"": "", "a": "1"}),
        (["a=b=c==; A="], {"a": "b=c==", "A": ""}),
        (['a="b c"; d=%20+\xe9'], {"a": '"b c"', "d": "%20+\xe9"}),
        (['a="b; c"'], {"a": '"b'}),
        (["$Version=1; a=b, c=d"], {"$Version": "1", "a": "b, c=d"}),
        (["__Host-a=1; __host-a=2"], {"__Host-a": "1", "__host-a": "2"}),
    ],
)
def test_cookies_are_pairs_the_first_of_each_name(
    values: list[str], cookies: dict[str, str]
) -> None:
    assert parse_cookies(values) == cookies


COOKIES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="=;"))


@given(st.lists(st.tuples(COOKIES, COOKIES)), st.sampled_from([";", "; "]))
def test_cookies_are_read_as_they_are_written(
    pairs: list[tuple[str, str]], separator: str
) -> None:
    value = separator.join(f"{name}={text}" for name, text in pairs)
    assert parse_cookies([value]) == dict(reversed(pairs))
    assert parse_cookies(f"{name}={text}" for name, text in pairs) == dict(reversed(pairs))
