"""`reactor/protocol/response.py`: what a server answers, and of its body 64 KiB."""

from __future__ import annotations

import http.client
import io
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.errors import HandshakeError
from reactor.protocol import response
from reactor.protocol.http import MAX_FIELDS, MAX_HEAD, MAX_LINE
from reactor.protocol.response import MAX_BODY, Reply, ReplyReader

from ..rfc.rfc6455 import RESPONSE

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED = b"HTTP/1.1 403 Forbidden\r\n"
CHUNKED = REFUSED + b"Transfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(parts: Iterable[bytes]) -> tuple[Any, ...]:
    """What becomes of a response: how far it was wanted, and what it says; or that it is none.

    What comes behind a 101 counts as read, like all of it.
    """
    reader = ReplyReader()
    over = False
    kept = iter(parts)
    for part in kept:
        try:
            over = reader.feed(part)
        except HandshakeError as error:
            return "none", error.status, error.reason.partition(":")[0]
        if over:
            break
    reply = reader.reply
    if reply is None:
        return ("part",)
    assert len(reply.body) <= MAX_BODY
    rest = reader.rest + b"".join(kept) if reply.status == 101 else b""
    return over, reply.status, reply.reason, list(reply.headers.items()), reply.body, rest


def feed(reader: ReplyReader, parts: Iterable[bytes]) -> None:
    """Feed what is not the end of a response."""
    for part in parts:
        assert reader.feed(part) is False


def body_of(data: bytes) -> tuple[bytes, bool]:
    """The body that is read of a response, and whether no more is wanted."""
    reader = ReplyReader()
    over = reader.feed(data)
    assert reader.reply is not None
    return reader.reply.body, over


# ---- the head ----


def test_a_response_shows_its_status_its_words_and_its_fields() -> None:
    reply = Reply(b"HTTP/1.1 401 Un\xe4uthorized here\r\nA: b\r\na: c")
    assert (reply.status, reply.reason, reply.version) == (401, "Un\xe4uthorized here", 1)
    assert reply.headers.get_all("A") == ["b", "c"]
    assert reply.body == b""
    assert repr(reply) == "<Reply 401 'Un\xe4uthorized here'>"


@pytest.mark.parametrize(
    ("line", "status", "reason", "version"),
    [
        (b"HTTP/1.1 200", 200, "", 1),
        (b"HTTP/1.1 200 ", 200, "", 1),
        (b"HTTP/1.0 404 Not Found", 404, "Not Found", 0),
        (b"HTTP/1.1 599  two\tspaces ", 599, " two\tspaces ", 1),
        (b"HTTP/1.1 100 Continue", 100, "Continue", 1),
    ],
)
def test_a_status_line_may_lack_its_words(
    line: bytes, status: int, reason: str, version: int
) -> None:
    reply = Reply(line)
    assert (reply.status, reply.reason, reply.version) == (status, reason, version)


@pytest.mark.parametrize(
    "head",
    [
        *[b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK"],
        *[b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK"],
        *[b"HTTP/1.1 +20 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 OK", b"HTTP/1.1 200\tOK"],
        *[b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 -10 OK", b"HTTP/1.1 1_1 OK"],
        *[b"http/1.1 200 OK", b"HTTP/2.0 200 OK", b"HTTP/2 200", b"HTTP/1.2 200 OK"],
        *[b"HTTP/1.10 200 OK", b"HTTP/0.9 200 OK", b"ICY 200 OK", b"PRI * HTTP/2.0"],
        *[b"HTTP/1.1 200 OK\r\nA b", b"HTTP/1.1 200 OK\r\n A: b", b"HTTP/1.1 200 OK\r\nA : b"],
        *[b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 OK\r\nA: b\x1b", b"HTTP/1.1 200 OK\nA: b"],
        *[b"HTTP/1.1 200 OK\rA: b", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"GET / HTTP/1.1"],
    ],
)
def test_what_is_no_head_of_a_response_is_refused_without_a_status(head: bytes) -> None:
    with pytest.raises(HandshakeError, match="the answer is not an HTTP response") as refused:
        Reply(head)
    assert refused.value.status == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x16", "TLS, which was not spoken before"),
        (b"\x16\x03\x03\x00\x7a\x02", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no status line"),
        (b"220 mail.example ESMTP\r\n", "no status line"),
        (b"GET / HTTP/1.1\r\n", "no status line"),
        (b"HTTP/2", "no status line"),
        (b"http/1.1 200 OK\r\n", "no status line"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no status line"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "no HTTP response"),
        (b"\x05\xff", "no HTTP response"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "no HTTP response"),
        (b"<html>", "no HTTP response"),
        (b"HTTP/1.1 200 OK\nA: b\n\n", "line feed by itself"),
        (b"HTTP/1.1 200 " + b"x" * MAX_LINE, "response line of over 8192 bytes"),
        (EARLY + b"nonsense", "no status line"),
    ],
)
def test_what_other_servers_say_is_named_as_soon_as_it_is_seen(data: bytes, why: str) -> None:
    for size in (1, 3, len(data)):
        reader = ReplyReader()
        with pytest.raises(HandshakeError, match=why) as refused:
            feed(reader, pieces(data, size))
        assert refused.value.status == 0
        assert reader.reply is None


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        (b"A: b\r\n" * MAX_FIELDS, True),
        (b"A: b\r\n" * (MAX_FIELDS + 1), "none"),
        (b"A: " + b"b" * (MAX_LINE - 3) + b"\r\n", True),
        (b"A: " + b"b" * (MAX_LINE - 2) + b"\r\n", "none"),
        ((b"A: " + b"b" * 4000 + b"\r\n") * (MAX_HEAD // 4000 + 1), "none"),
    ],
)
def test_a_head_has_the_limits_of_a_request(fields: bytes, outcome: Any, size: int) -> None:
    data = b"HTTP/1.1 204 No Content\r\n" + fields + b"\r\n"
    assert read(pieces(data, size))[0] == outcome


def test_a_head_without_end_is_refused_at_the_limit() -> None:
    field = b"A: " + b"b" * 500 + b"\r\n"
    fields = iter([field] * (MAX_HEAD // len(field) + 1))
    with pytest.raises(HandshakeError, match="head of over"):
        feed(ReplyReader(), chain([REFUSED], fields))
    assert list(fields) == []


# ---- 101, and what comes before it ----


def test_what_comes_behind_a_101_is_kept_apart() -> None:
    for length in (b"", b"Content-Length: 0\r\n", b"Content-Length: 3\r\n"):
        reader = ReplyReader()
        head = RESPONSE[:-2] + length + b"\r\n"
        assert reader.feed(head[:-1]) is False
        assert reader.feed(head[-1:] + b"\x81\x05Hel") is True
        assert reader.feed(b"lo") is True
        assert reader.rest == b"\x81\x05Hello"
        assert reader.reply is not None
        assert (reader.reply.status, reader.reply.body) == (101, b"")


def test_interim_responses_are_passed_over() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY * 7 + RESPONSE + b"rest"
    for size in (1, 7, 1 << 20):
        found = read(pieces(data, size))
        assert found[:3] == (True, 101, "Switching Protocols")
        assert found[-1] == b"rest"


def test_an_interim_response_is_not_the_end() -> None:
    for part in (EARLY, EARLY[:-1], b""):
        assert read([part]) == ("part",)
    found = read([EARLY, b"", REFUSED + b"Content-Length: 0\r\n\r\n"])
    assert found == (True, 403, "Forbidden", [("Content-Length", "0")], b"", b"")


def test_interim_responses_without_end_are_refused() -> None:
    with pytest.raises(HandshakeError, match="over 8 interim responses") as refused:
        ReplyReader().feed(EARLY * 9)
    assert refused.value.status == 0
    assert ReplyReader().feed(EARLY * 8) is False


# ---- the body ----


@pytest.mark.parametrize(
    ("fields", "sent", "body", "over"),
    [
        (b"Content-Length: 5\r\n", b"Hel", b"Hel", False),
        (b"Content-Length: 5\r\n", b"Hello", b"Hello", True),
        (b"Content-Length: 5\r\n", b"Hello, world", b"Hello", True),
        (b"content-length: 005\r\n", b"Hello, world", b"Hello", True),
        (b"Content-Length: 0\r\n", b"more", b"", True),
        (b"", b"", b"", False),
        (b"", b"up to the end", b"up to the end", False),
        (b"Content-Length: -1\r\n", b"up to the end", b"up to the end", False),
        (b"Content-Length: 1, 1\r\n", b"up to the end", b"up to the end", False),
        (b"Content-Length: \xb2\r\n", b"up to the end", b"up to the end", False),
        (b"Content-Length: " + b"9" * 19 + b"\r\n", b"up to the end", b"up to the end", False),
        (b"Content-Length: " + b"9" * 18 + b"\r\n", b"up to the end", b"up to the end", False),
        (b"Transfer-Encoding: gzip\r\n", b"3\r\nabc", b"3\r\nabc", False),
        (b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n", b"abc", b"abc", False),
        (b"Transfer-Encoding: chunked, gzip\r\n", b"3\r\nabc", b"3\r\nabc", False),
        (b"Transfer-Encoding: ,\r\nContent-Length: 1\r\n", b"abc", b"a", True),
        (
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: Chunked ,\r\n",
            b"1\r\nab",
            b"a",
            False,
        ),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"2\r\nab", b"ab", False),
    ],
)
def test_a_body_is_as_long_as_its_fields_say_or_goes_up_to_the_end(
    fields: bytes, sent: bytes, body: bytes, over: bool
) -> None:
    data = REFUSED + fields + b"\r\n" + sent
    assert body_of(data) == (body, over)
    assert read(pieces(data, 1))[4] == body


@pytest.mark.parametrize("status", [b"204", b"304"])
@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_a_status_that_allows_no_body_has_none(status: bytes, fields: bytes) -> None:
    assert body_of(b"HTTP/1.1 " + status + b" x\r\n" + fields + b"\r\n5\r\nHello") == (
        b"",
        True,
    )


@pytest.mark.parametrize(
    ("sent", "body", "over"),
    [
        (b"5\r\nHello\r\n0\r\n\r\n", b"Hello", True),
        (b"5\r\nHello\r\n7\r\n, world\r\n0\r\nTrailer: x\r\n\r\n", b"Hello, world", True),
        (b"5;name=value;x\r\nHello\r\n00\r\n\r\n", b"Hello", True),
        (b"00005 \r\nHello\r\n0;last\r\n\r\n", b"Hello", True),
        (b"A\r\n0123456789\r\na\r\nabcdefghij\r\n", b"0123456789abcdefghij", False),
        (b"2\r\n\r\n\r\n2\r\n0\n\r\n0\r\n\r\n", b"\r\n0\n", True),
        (b"", b"", False),
        (b"5", b"", False),
        (b"5\r\n", b"", False),
        (b"5\r\nHel", b"Hel", False),
        (b"5\r\nHello", b"Hello", False),
        (b"5\r\nHello\r\n", b"Hello", False),
        (b"0\r\n", b"", True),
        (b"ffffffffffffffff\r\nHello", b"Hello", False),
    ],
)
def test_a_body_in_chunks_is_what_they_hold(sent: bytes, body: bytes, over: bool) -> None:
    assert body_of(CHUNKED + sent) == (body, over)
    for size in (1, 2, 3):
        assert read(pieces(CHUNKED + sent, size))[4] == body


@pytest.mark.parametrize(
    "bad",
    [
        *[b"\r\n", b"x\r\n", b"-5\r\nHello", b"+5\r\nHello", b"0x5\r\nHello", b"5 5\r\nHello"],
        *[b"5_0\r\nHello", b";5\r\nHello", b"\xb2\r\nHello", b"\x00\r\nHello", b"\n"],
        *[b"f" * 17 + b"\r\nHello", b"5" * 4097, b"5;" + b"x" * 4096, b"5g\r\nHello"],
    ],
)
@pytest.mark.parametrize("before", [b"", b"5\r\nHello\r\n"])
def test_a_chunk_that_is_none_ends_the_body(before: bytes, bad: bytes) -> None:
    body = b"Hello" if before else b""
    assert body_of(CHUNKED + before + bad + b"\r\n" + b"1\r\na\r\n" * 9) == (body, True)
    assert read(pieces(CHUNKED + before + bad, 1))[::4] == (True, body)


@pytest.mark.parametrize("bad", [b"x\r\n", b", world\r\n", b"1\r\na\r\n"])
def test_a_chunk_that_is_longer_than_it_says_ends_the_body(bad: bytes) -> None:
    assert body_of(CHUNKED + b"5\r\nHello" + bad) == (b"Hello", True)


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (REFUSED + b"\r\n", b"x"),
        (REFUSED + b"Content-Length: 999999999999\r\n\r\n", b"x"),
        (CHUNKED + b"ffffffffff\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
    ],
)
def test_of_an_endless_body_64_kib_are_kept(head: bytes, unit: bytes) -> None:
    for count in (1, 1000, 2 * MAX_BODY):
        reader = ReplyReader()
        assert reader.feed(head) is False
        fed = 0
        while not reader.feed(unit * count):
            fed += count
            assert fed < MAX_BODY
            assert reader.reply is not None
            assert reader.reply.body == b"x" * fed
        assert fed + count >= MAX_BODY
        assert reader.reply is not None
        assert reader.reply.body == b"x" * MAX_BODY


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
EXTENSIONS = st.sampled_from([b"", b";a", b' ; a="b"', b";\xff"])


@given(BODIES, EXTENSIONS, st.integers(1, 50), st.booleans())
def test_a_body_in_chunks_agrees_with_the_standard_library(
    chunks: list[bytes], extension: bytes, size: int, upper: bool
) -> None:
    data = CHUNKED
    for chunk in [*chunks, b""]:
        digits = b"%X" % len(chunk) if upper else b"%x" % len(chunk)
        data += digits + extension + b"\r\n" + chunk + b"\r\n"
    found = read(pieces(data, size))
    second = http.client.HTTPResponse(Connection(data))  # type: ignore[arg-type]
    second.begin()
    with second:
        assert found[0] is True
        assert found[1:3] == (second.status, second.reason)
        assert found[4] == second.read() == b"".join(chunks)


class Connection:
    """What the standard library reads a response from."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


# ---- however it is cut ----

WORDS = st.sampled_from(
    [
        *[b"HTTP/1.1 ", b"HTTP/1.0 ", b"101 ", b"403 ", b"204 ", b"103 x\r\n\r\n", b"\r\n"],
        *[b"\r\n\r\n", b"\n", b"\r", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"],
        *[b"5", b"0", b"a", b";", b"x", b"\x15", b"\xff", b"Hello", b": ", CHUNKED, EARLY],
        *[REFUSED, RESPONSE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
    ]
)


@given(st.lists(WORDS, max_size=10).map(b"".join), st.integers(1, 9))
@example(CHUNKED + b"5;" + b"x" * 4095 + b"\r\nHello\r\n0\r\n\r\n", 1)
@example(CHUNKED + b"5;" + b"x" * 4092 + b"\r\nHello\r\n0\r\n\r\n", 1)
def test_a_response_is_the_same_in_whatever_pieces(data: bytes, size: int) -> None:
    assert read(pieces(data, size)) == read([data])


@pytest.mark.parametrize(
    "data",
    [
        EARLY + RESPONSE + b"\x81\x05Hello",
        REFUSED + b"Content-Length: 5\r\n\r\nHello, world",
        CHUNKED + b"5;x\r\nHello\r\n1\r\n!\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nHello!\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_a_response_is_the_same_wherever_it_is_cut(data: bytes) -> None:
    whole = read([data])
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == whole


class Counted(bytearray):
    """Counts the bytes that are added, searched or copied."""

    work = 0

    def __iadd__(self, data: Any) -> Any:  # type: ignore[misc, unused-ignore]
        Counted.work += len(data)
        return super().__iadd__(data)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counted.work += 1 if isinstance(found, int) else len(found)
        return found


class CountedBytes(bytes):
    """Counts the bytes of a piece that are copied."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counted.work += len(found)
        return found

    def partition(self, sep: Any) -> Any:
        parts = super().partition(sep)
        Counted.work += len(self)
        return parts[0], parts[1], CountedBytes(parts[2])


@pytest.mark.parametrize(
    ("reason", "words"),
    [(b"", ""), (b"\tNot  here", "Not here"), (b"\xe4" * 200, "?" * 100), (b"a\tb ", "a b")],
)
def test_a_reason_is_quoted_in_one_short_line(reason: bytes, words: str) -> None:
    assert Reply(b"HTTP/1.1 404 " + reason).words == words


@pytest.mark.parametrize("size", [1, 1 << 16])
@pytest.mark.parametrize(
    ("head", "unit"),
    [(REFUSED + b"\r\n", b"x"), (CHUNKED, b"1\r\nx\r\n"), (CHUNKED + b"1\r\nx\r\n", b"\r\n")],
)
def test_a_body_costs_work_in_proportion_to_its_length(
    monkeypatch: pytest.MonkeyPatch, head: bytes, unit: bytes, size: int
) -> None:
    monkeypatch.setattr(response, "bytearray", Counted, raising=False)
    monkeypatch.setattr(Counted, "work", 0)
    data = unit * (MAX_BODY - 1)
    reader = ReplyReader()
    reader.feed(head)
    for part in pieces(data, size):
        if reader.feed(CountedBytes(part)):
            break
    assert Counted.work < 10 * len(data) + 1000
