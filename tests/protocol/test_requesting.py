"""`reactor/protocol/requesting.py`: the opening handshake, the client's side, no socket."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import HandshakeError, Headers, Request
from reactor.protocol.extensions import Codec, Extension
from reactor.protocol.frames import RSV1, RSV2
from reactor.protocol.handshake import ServerPolicy, accept, check_framing, wants_upgrade
from reactor.protocol.http import HeadReader
from reactor.protocol.requesting import (
    check_extensions,
    check_fields,
    check_reply,
    check_subprotocols,
    failed,
    new_key,
    offers,
    public,
    request_head,
)
from reactor.protocol.response import Reply, ReplyReader
from reactor.protocol.uri import parse_uri

from ..rfc.rfc6455 import HANDSHAKES, NONCE, REQUEST, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Sequence

_, KEY, _, ACCEPT = HANDSHAKES[0]


def head(uri: str = "ws://example.com/chat", fields: Any = (), **options: Any) -> bytes:
    """The head of a request, with nothing in it but what is given."""
    given: dict[str, Any] = {"subprotocols": (), "authorization": None, **options}
    return request_head(parse_uri(uri), KEY, fields=Headers(fields), **given)


def asked(*arguments: Any, **options: Any) -> Headers:
    """The fields of a request, as a server reads them."""
    return Request(head(*arguments, **options)).headers


def reply(*lines: str, status: str = "101 Switching Protocols", **changes: str | None) -> Reply:
    """A response, right but for `changes`, by names with underscores; `lines` are added."""
    fields: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": ACCEPT,
    }
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    written = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return Reply("\r\n".join([f"HTTP/1.1 {status}", *written, *lines]).encode("latin-1"))


def check(answer: Reply, offered: Sequence[str]) -> str | None:
    """Check all of an answer to a request that has offered no extension."""
    chosen = check_reply(answer, KEY, offered)
    assert check_extensions(answer, ()) == ()
    return chosen


def refusal(answer: Reply, *offered: str) -> HandshakeError:
    with pytest.raises(HandshakeError) as refused:
        check(answer, offered)
    assert refused.value.status == answer.status
    assert refused.value.headers is answer.headers
    return refused.value


# ---- the RFC's own ----


def test_the_handshake_of_the_rfc_is_ours() -> None:
    fields = check_fields({"Origin": "http://example.com"})
    uri = parse_uri("ws://server.example.com/chat")
    offered = check_subprotocols(["chat", "superchat"])
    ours = request_head(uri, KEY, subprotocols=offered, fields=fields, authorization=None)
    # "The order of the fields is not significant" (RFC 6455 §1.3).
    assert sorted(ours.split(b"\r\n")) == sorted(REQUEST[:-4].split(b"\r\n"))
    assert ours.startswith(b"GET /chat HTTP/1.1\r\n")
    reader = ReplyReader()
    assert reader.feed(RESPONSE) is True
    assert reader.reply is not None
    assert check_reply(reader.reply, KEY, offered) == "chat"


def test_the_nonce_of_the_rfc_becomes_the_key_that_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digits, key = NONCE
    sizes: list[int] = []

    def urandom(size: int) -> bytes:
        sizes.append(size)
        return bytes.fromhex(digits)

    monkeypatch.setattr("os.urandom", urandom)
    assert new_key() == key
    assert sizes == [16]


@pytest.mark.parametrize("chosen", [None, "a", "b"])
def test_our_server_accepts_our_request_and_our_client_its_answer(chosen: str | None) -> None:
    key, uri = new_key(), parse_uri("wss://[::1]:8443/x?y=z")
    ours = request_head(
        uri,
        key,
        subprotocols=["a", "b"],
        fields=Headers({"X": "y"}),
        authorization="Basic Zm86",
    )
    whole = HeadReader().feed(ours + b"\r\n\r\n")
    assert whole == (ours, b"")
    request = Request(ours)
    check_framing(request)
    assert wants_upgrade(request)
    policy = ServerPolicy([chosen] if chosen else [])
    policy.check(request)
    assert request.target == "/x?y=z"
    reader = ReplyReader()
    assert reader.feed(accept(request, policy.subprotocol(request), Headers({"Z": "a"})))
    assert reader.reply is not None
    assert check_reply(reader.reply, key, ["a", "b"]) == chosen


# ---- what is asked ----


def test_a_key_is_16_random_bytes_in_base64() -> None:
    keys = [new_key() for _ in range(100)]
    assert len(set(keys)) == 100
    for key in keys:
        assert len(base64.b64decode(key, validate=True)) == 16
        assert len(key) == 24


def test_a_request_has_these_fields_and_no_others() -> None:
    assert head() == (
        b"GET /chat HTTP/1.1\r\n"
        b"Host: example.com\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n"
        b"Sec-WebSocket-Version: 13"
    )


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("ws://example.com", "example.com"),
        ("ws://example.com:80", "example.com"),
        ("wss://example.com:443", "example.com"),
        ("wss://example.com:80", "example.com:80"),
        ("ws://user:password@EXAMPLE.com:8080", "example.com:8080"),
        ("ws://[::1]", "[::1]"),
        ("ws://[::1]:443", "[::1]:443"),
        ("ws+unix:///run/a:/", "localhost"),
    ],
)
def test_the_host_field_is_that_of_the_uri(uri: str, host: str) -> None:
    assert asked(uri).get_all("Host") == [host]


def test_the_users_host_stands_for_ours() -> None:
    assert asked(fields={"hOST": "virtual.example:1"}).get_all("Host") == ["virtual.example:1"]


def test_the_users_authorization_is_sent_until_there_is_an_answer_to_a_challenge() -> None:
    fields = [("authorization", "Bearer x"), ("X", "y")]
    assert asked(fields=fields).get_all("Authorization") == ["Bearer x"]
    later = asked(fields=fields, authorization="Basic Zm86")
    assert later.get_all("Authorization") == ["Basic Zm86"]
    assert later["X"] == "y"


def test_the_users_fields_keep_their_order_behind_ours() -> None:
    fields = [("Cookie", "a=1"), ("X", "\xe9"), ("cookie", "b=2")]
    assert list(asked(fields=fields).items())[-3:] == fields


def test_subprotocols_are_offered_in_their_order_in_one_field() -> None:
    offered = asked(subprotocols=("b", "a", "c.1"))
    assert offered.get_all("Sec-WebSocket-Protocol") == ["b, a, c.1"]
    assert "Sec-WebSocket-Protocol" not in asked()
    assert "Sec-WebSocket-Extensions" not in offered


def test_extensions_are_offered_as_they_are() -> None:
    value = "permessage-deflate; client_max_window_bits, x-other"
    offered = asked(extensions=value, subprotocols=["a"])
    assert offered.get_all("Sec-WebSocket-Extensions") == [value]


def test_extensions_are_offered_in_their_order_and_none_as_nothing() -> None:
    assert offers([Plain("b"), Plain("a")]) == "b, a"
    assert offers(()) == ""
    assert "Sec-WebSocket-Extensions" not in asked()
    assert "Sec-WebSocket-Extensions" not in asked(extensions="")


def test_nothing_is_injected_into_a_request_by_an_extension() -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        asked(extensions="a\r\nX: y")


def test_a_very_long_target_is_sent_whole() -> None:
    target = "/" + "a" * 100_000
    assert head(f"ws://a{target}").partition(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_is_injected_into_a_request_by_a_uri_or_a_redirect(
    target: str, location: str
) -> None:
    try:
        uri = parse_uri(f"ws://a/{target}").redirected(location)
    except ValueError:
        return
    ours = request_head(
        uri, KEY, subprotocols=(), fields=Headers({"A": "b"}), authorization=None
    )
    request = Request(ours)
    check_framing(request)
    names = [name for name, _ in request.headers.items()]
    assert names == [name for name, _ in Request(head(fields={"A": "b"})).headers.items()]
    assert request.target == uri.target


# ---- what is the user's ----


def test_the_users_fields_are_a_copy() -> None:
    fields = Headers({"A": "b"})
    assert check_fields(fields) is not fields
    assert list(check_fields(fields).items()) == [("A", "b")]
    assert len(check_fields(())) == 0


@pytest.mark.parametrize(
    "name",
    [
        *["Connection", "UPGRADE", "content-length", "Transfer-Encoding", "sec-websocket-key"],
        *["Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "SEC-WEBSOCKET-Extensions"],
        *["Sec-WebSocket-Anything"],
    ],
)
def test_a_field_that_opens_the_connection_is_not_the_users(name: str) -> None:
    with pytest.raises(ValueError, match="is not the user's"):
        check_fields([("A", "b"), (name, "x")])


def test_there_is_one_host_at_most() -> None:
    assert len(check_fields({"Host": "a"})) == 1
    with pytest.raises(ValueError, match="more than one Host"):
        check_fields([("Host", "a"), ("host", "a")])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"X": "a\r\nY: b"}, ValueError),
        ({"X": "a\0b"}, ValueError),
        ({"X\n": "a"}, ValueError),
        ({"X:": "a"}, ValueError),
        ({"": "a"}, ValueError),
        ({"X": "€"}, ValueError),
        ({"X": 1}, TypeError),
        ({"X": b"a"}, TypeError),
        (None, TypeError),
        (5, TypeError),
    ],
)
def test_fields_that_are_none_are_refused(fields: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_fields(fields)


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys])
def test_subprotocols_are_several_however_they_come(kind: Any) -> None:
    assert check_subprotocols(kind(["a", "b"])) == ("a", "b")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "é", "a\r\nX: y", "a\0", '"a"', "a;b"])
def test_a_subprotocol_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        check_subprotocols(["x", name])


@pytest.mark.parametrize("names", ["chat", [b"chat"], [None], [5], b"chat"])
def test_subprotocols_that_are_no_strings_are_a_type_error(names: Any) -> None:
    with pytest.raises(TypeError, match="subprotocol"):
        check_subprotocols(names)


def test_a_subprotocol_is_offered_once_and_case_counts() -> None:
    with pytest.raises(ValueError, match="comes twice"):
        check_subprotocols(["a", "b", "a"])
    assert check_subprotocols(["a", "A"]) == ("a", "A")
    assert check_subprotocols(()) == ()


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Cookie", "Proxy-Authorization", "Host", "cookie", "AUTHORIZATION"],
)
def test_what_was_meant_for_one_server_does_not_go_to_another(name: str) -> None:
    fields = Headers([("X", "1"), (name, "secret"), ("Cookies", "2"), (name.upper(), "secret")])
    assert list(public(fields).items()) == [("X", "1"), ("Cookies", "2")]
    assert len(fields) == 4


# ---- what is answered ----


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Connection": "upgrade"},
        {"Connection": "keep-alive, UPGRADE"},
        {"Connection": ",Upgrade,,"},
        {"Content_Length": "0"},
        {"Content_Length": "5"},
        {"Transfer_Encoding": "chunked"},
        {"Sec_WebSocket_Extensions": ""},
        {"Sec_WebSocket_Version": "13"},
        {"Set_Cookie": "a=b"},
        {"status": "101"},
        {"status": "101 Whatever you want"},
    ],
)
def test_an_answer_that_opens_the_connection_does_so(changes: dict[str, str]) -> None:
    assert check(reply(**changes), ()) is None
    assert check(reply(**changes), ("a", "b")) is None


def test_a_connection_field_may_be_several() -> None:
    assert check_reply(reply("Connection: Upgrade", Connection="keep-alive"), KEY, ()) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(Upgrade=None), "no Upgrade to websocket"),
        (reply(Upgrade=""), "no Upgrade to websocket"),
        (reply(Upgrade="h2c"), "no Upgrade to websocket"),
        (reply(Upgrade="websocket, h2c"), "no Upgrade to websocket"),
        (reply(Upgrade="websocket/13"), "no Upgrade to websocket"),
        (reply("Upgrade: websocket"), "no Upgrade to websocket"),
        (reply(Connection=None), "no Upgrade in the Connection field"),
        (reply(Connection="close"), "no Upgrade in the Connection field"),
        (reply(Connection="Upgraded"), "no Upgrade in the Connection field"),
        (reply(Connection="Upgrade x"), "Connection: element of a list is not a token"),
        (reply(Connection='"Upgrade"'), "Connection: element of a list is not a token"),
        (reply(Sec_WebSocket_Accept=None), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Accept=""), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Accept=KEY), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Accept=ACCEPT.lower()), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Accept=f'"{ACCEPT}"'), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Accept=ACCEPT[:-1]), "not the Sec-WebSocket-Accept of our key"),
        (reply(f"Sec-WebSocket-Accept: {ACCEPT}"), "not the Sec-WebSocket-Accept of our key"),
        (reply("sec-websocket-accept: x"), "not the Sec-WebSocket-Accept of our key"),
        (reply(Sec_WebSocket_Protocol="c"), "a subprotocol that was not offered"),
        (reply(Sec_WebSocket_Protocol=""), "a subprotocol that was not offered"),
        (reply(Sec_WebSocket_Protocol="A"), "a subprotocol that was not offered"),
        (reply(Sec_WebSocket_Protocol="a, b"), "a subprotocol that was not offered"),
        (reply("Sec-WebSocket-Protocol: a", Sec_WebSocket_Protocol="a"), "a subprotocol that"),
        (reply("Sec-WebSocket-Protocol: b", Sec_WebSocket_Protocol="a"), "a subprotocol that"),
    ],
)
def test_an_answer_that_is_wrong_in_one_thing_is_refused(answer: Reply, reason: str) -> None:
    assert refusal(answer, "a", "b").reason.startswith(reason)


def test_an_accept_of_another_key_is_refused() -> None:
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        check_reply(reply(), new_key(), ())


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_subprotocol_is_one_that_was_offered(name: str) -> None:
    assert check_reply(reply(Sec_WebSocket_Protocol=name), KEY, ("a", "b")) == name


def test_a_subprotocol_where_none_was_offered_is_refused() -> None:
    assert "subprotocol" in refusal(reply(Sec_WebSocket_Protocol="a")).reason


class Plain(Extension):
    """Agrees to be answered without parameters, and notes whether it was asked."""

    def __init__(self, name: str, **claims: Any) -> None:
        self.name = name
        self.rsv = claims.get("rsv", 0)
        self.asked = 0

    def agree(self, answer: Any) -> Codec:
        self.asked += 1
        if answer:
            raise ValueError(f"{self.name} was not offered with that")
        return Codec()


def extensions_of(*values: str) -> Reply:
    return reply(*(f"Sec-WebSocket-Extensions: {value}" for value in values))


@pytest.mark.parametrize("values", [(), ("",), (" , ,",)])
def test_no_extension_is_what_a_server_may_answer_to_any_offer(values: Any) -> None:
    assert check_extensions(extensions_of(*values), ()) == ()
    assert check_extensions(extensions_of(*values), [Plain("a"), Plain("b")]) == ()


@pytest.mark.parametrize("values", [("b, a",), (", b ,,a ",)])
def test_the_codecs_are_those_of_the_answer_in_its_order(values: Any) -> None:
    a, b, c = Plain("a"), Plain("b"), Plain("c")
    codecs = check_extensions(extensions_of(*values), [a, b, c])
    assert [codec.extension for codec in codecs] == [b, a]
    assert [codec.params for codec in codecs] == [(), ()]
    assert c.asked == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("x",), "extension x was not offered (RFC 6455 §4.1)"),
        (("A",), "extension A was not offered (RFC 6455 §4.1)"),
        (("a, x",), "extension x was not offered (RFC 6455 §4.1)"),
        # "The |Sec-WebSocket-Extensions| header field MUST NOT appear more than once in an HTTP
        # response" (RFC 6455 §11.3.2).
        (("a", "b"), "2 such fields, not one (RFC 6455 §11.3.2)"),
        (("", ""), "2 such fields, not one (RFC 6455 §11.3.2)"),
        (("a, a",), "extension a twice, or beside one that it excludes"),
        (("b, c",), "extension c twice, or beside one that it excludes"),
        (("a; bits=9",), "a was not offered with that"),
        (("a b",), "'a b' is not an extension's name (RFC 6455 §9.1)"),
        (("a;",), "'' is not a parameter (RFC 6455 §9.1)"),
        (('a; b="',), "quoted string without its end"),
    ],
)
def test_extensions_that_were_not_offered_or_not_so_open_nothing(
    values: Any, reason: str
) -> None:
    answer = extensions_of(*values)
    offered = [Plain("a"), Plain("b", rsv=RSV1), Plain("c", rsv=RSV1 | RSV2)]
    with pytest.raises(HandshakeError) as refused:
        check_extensions(answer, offered)
    assert refused.value.reason.startswith(f"Sec-WebSocket-Extensions: {reason}")
    assert (refused.value.status, refused.value.headers) == (101, answer.headers)


def test_an_extension_where_none_was_offered_opens_nothing() -> None:
    with pytest.raises(HandshakeError, match="permessage-deflate was not offered"):
        check_extensions(extensions_of("permessage-deflate"), ())


def test_an_answer_of_http_1_0_opens_nothing() -> None:
    lines = RESPONSE.replace(b"HTTP/1.1", b"HTTP/1.0")[:-4]
    assert "HTTP/1.0" in refusal(Reply(lines), "chat").reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("403 Forbidden", "the server answered 403 Forbidden"),
        ("403", "the server answered 403 Forbidden"),
        ("200 Switching Protocols", "the server answered 200 Switching Protocols"),
        ("599", "the server answered 599"),
        ("502 \x9b31m\xe9\tx", "the server answered 502 ?31m? x"),
        ("500 " + "x" * 8000, "the server answered 500 " + "x" * 100),
        ("302 Found", "the server answered 302 Found"),
    ],
)
def test_another_status_is_the_reason_in_words_that_can_be_printed(
    status: str, reason: str
) -> None:
    assert refusal(reply(status=status)).reason == reason


def test_a_refusal_carries_all_that_the_server_has_said() -> None:
    reader = ReplyReader()
    data = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nlate"
    assert reader.feed(data) is True
    assert reader.reply is not None
    error = refusal(reader.reply)
    assert (error.status, error.headers["retry-after"], error.body) == (429, "5", b"late")
    again = failed(reader.reply, "why")
    assert (again.status, again.reason, again.body) == (429, "why", b"late")
    assert again.headers is reader.reply.headers


HEADS = st.lists(
    st.sampled_from(
        [
            *["Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade", "Connection: a b"],
            *[f"Sec-WebSocket-Accept: {ACCEPT}", "Sec-WebSocket-Accept: x"],
            *["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: c", "Content-Length: 0"],
            *["Sec-WebSocket-Extensions: x", "Sec-WebSocket-Extensions:"],
        ]
    ),
    max_size=6,
)


@given(HEADS, st.sampled_from(["HTTP/1.1 101 x", "HTTP/1.1 200 x"]))
def test_only_what_is_right_in_all_things_opens_the_connection(
    lines: list[str], first: str
) -> None:
    answer = Reply("\r\n".join([first, *lines]).encode())
    names = [line.partition(":")[0] for line in lines]
    right = (
        first == "HTTP/1.1 101 x"
        and [line for line in lines if line.startswith("Upgrade")] == ["Upgrade: websocket"]
        and "Connection: Upgrade" in lines
        and "Connection: a b" not in lines
        and names.count("Sec-WebSocket-Accept") == 1
        and "Sec-WebSocket-Accept: x" not in lines
        and "Sec-WebSocket-Extensions: x" not in lines
        and names.count("Sec-WebSocket-Protocol") <= 1
        and "Sec-WebSocket-Protocol: c" not in lines
    )
    if right:
        chosen = "a" if "Sec-WebSocket-Protocol" in names else None
        assert check(answer, ["a", "b"]) == chosen
    else:
        refusal(answer, "a", "b")
