"""`reactor/protocol/familiar.py`: what differs from an earlier request in its key."""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import HandshakeError, Request
from reactor.protocol.familiar import LONGEST, MARK, MOST, Familiar
from reactor.protocol.handshake import ServerPolicy, accept, check_framing, wants_upgrade

from .asking import FIELDS, KEY, head

OTHER = b64encode(bytes(range(16))).decode()
VALUES = {"/": "root", "/chat/{room}": "chat", "/a/{b}/{c}": "two"}


def policy() -> ServerPolicy:
    return ServerPolicy(["chat", "v2"], "same", VALUES)


def asked(rules: ServerPolicy, data: bytes) -> tuple[Request, Any]:
    """What a server does with a head of a WebSocket, but for asking the user."""
    found = rules.recall(data, "here")
    if found is None:
        request = Request(data, "here")
        check_framing(request)
        assert wants_upgrade(request)
        found = request, rules.check(request)
        rules.remember(request)
    return found


def known(rules: ServerPolicy, data: bytes) -> bool:
    return rules.recall(data, "") is not None


def learned(data: bytes, rules: ServerPolicy | None = None) -> ServerPolicy:
    rules = rules or policy()
    asked(rules, data)
    assert not known(rules, data)
    asked(rules, data)
    return rules


def with_key(data: bytes, key: str | bytes) -> bytes:
    return data.replace(KEY.encode(), key if isinstance(key, bytes) else key.encode("latin-1"))


def outcome(rules: ServerPolicy, data: bytes) -> object:
    """All that can be seen of a request and its answer, or why it is refused."""
    try:
        found = rules.recall(data, "here")
        if found is None:
            request = Request(data, "here")
            check_framing(request)
            if not wants_upgrade(request):
                return str(rules.refuse(request))
            found = request, rules.check(request)
            rules.remember(request)
        request, value = found
        subprotocol = rules.subprotocol(request)
        response = accept(request, subprotocol, None)
    except HandshakeError as error:
        return error.status, error.reason
    seen = [
        *[request.method, request.target, request.authority, request.version, request.address],
        *[request.user, request.path, request.query, request.params, request.cookies],
        *[request._fields, list(request.headers.items()), request.headers.by_name()],
    ]
    request.forget()
    return [*seen, list(request.headers.items()), value, subprotocol, response]


# ---- what is known ----


def test_a_head_is_known_by_whatever_key_once_it_has_come_twice() -> None:
    rules = learned(head("/chat/blue"))
    request, value = rules.recall(with_key(head("/chat/blue"), OTHER), "there") or (None, None)
    assert request is not None
    assert (value, request.params, request.address) == ("chat", {"room": "blue"}, "there")
    assert request.headers["sec-websocket-key"] == OTHER
    assert request.headers is request.headers
    assert not known(rules, head("/chat/red"))


def test_each_has_a_request_of_its_own() -> None:
    rules, data = learned(head("/chat/blue")), head("/chat/blue")
    first, _ = asked(rules, data)
    first.headers.add("X-More", "y")
    first.params["room"], first.target, first.user = "red", "/else", "me"
    second, _ = asked(rules, data)
    assert (second.params, second.target, second.user) == ({"room": "blue"}, "/chat/blue", None)
    assert "x-more" not in second.headers


def test_what_the_user_has_made_of_a_request_is_not_remembered() -> None:
    rules, data = policy(), head("/chat/blue")
    for _ in range(2):
        request = Request(data)
        rules.check(request)
        request.params["room"], request.target = "red", "/else"
        request.headers.add("X-More", "y")
        rules.remember(request)
    request, _ = asked(rules, data)
    assert (request.params, request.target) == ({"room": "blue"}, "/chat/blue")
    assert "x-more" not in request._fields


def test_no_parameters_are_shared_where_there_are_none() -> None:
    rules = learned(head("/"))
    asked(rules, head("/"))[0].params["a"] = "b"
    assert asked(rules, head("/"))[0].params == {}


@pytest.mark.parametrize(
    "key",
    [
        *["", "x", KEY[:-1], KEY + "=", "A" * 24, "A" * 22 + "\r\n", KEY[:10] + "!" + KEY[11:]],
        *[" " + KEY[:-1], KEY[:-2] + " =", KEY[:10] + "é" + KEY[11:], KEY[:-2] + "\0\0"],
        *["a\r\nOrigin: http://evil.xy", KEY + " ", KEY + "\r\nCookie: a=b", "=" * 24],
    ],
)
def test_a_key_that_is_none_is_no_key_of_a_head_that_is_known(key: str) -> None:
    rules, data = learned(head("/")), with_key(head("/"), key)
    assert not known(rules, data)
    assert outcome(rules, data) == outcome(policy(), data)


def test_what_gives_the_same_shape_by_a_cut_elsewhere_is_not_known() -> None:
    """Without a `MARK` of its own, what is cut out would be in the middle of another's."""
    data = f"GET / HTTP/1.1{MARK.decode()}{KEY}\r\nHost: a\r\nUpgrade: websocket".encode()
    data += b"\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    rules = learned(data)
    shape = with_key(data, b"")
    for at in range(len(shape)):
        forged = shape[:at] + OTHER.encode() + shape[at:]
        assert known(rules, forged) is (forged == with_key(data, OTHER))


# ---- what is not ----


@pytest.mark.parametrize(
    "data",
    [
        head("/?token=secret"),
        head("/", "Cookie: session=secret"),
        head("/", "Authorization: Basic c2VjcmV0"),
        head("/", "X-Api-Key: secret"),
        head("/", "Sec-WebSocket-Protocol: chat, bearer.secret"),
        head("/", "User-Agent: " + "x" * LONGEST),
        head("/").replace(b"Sec-WebSocket-Key", b"sec-websocket-key"),
        head("/").replace(b"Key: ", b"Key:  "),
        head("/").replace(b"Key: ", b"Key:"),
    ],
    ids=["query", "cookie", "auth", "field", "protocol", "long", "case", "blanks", "none"],
)
def test_what_may_be_a_secret_or_is_written_otherwise_is_not_remembered(data: bytes) -> None:
    rules = policy()
    for _ in range(5):
        asked(rules, data)
        assert not known(rules, data)


def test_one_that_cannot_be_remembered_is_looked_at_no_more() -> None:
    familiar, data = Familiar(), head("/")
    assert [familiar.comes_again(data) for _ in range(5)] == [False, True, *[False] * 3]


def test_heads_that_come_once_drive_out_nothing() -> None:
    rules, data = learned(head("/", "User-Agent: good")), head("/", "User-Agent: good")
    for number in range(1000):
        asked(rules, head("/", f"User-Agent: {number}"))
    assert known(rules, data)


def test_heads_that_come_twice_drive_out_those_that_nobody_uses() -> None:
    good = [head("/", f"User-Agent: good {number}") for number in range(MOST // 2)]
    rules = policy()
    for data in good:
        learned(data, rules)
    for number in range(200):
        learned(head("/", f"User-Agent: {number}"), rules)
        assert known(rules, good[number % len(good)]), number
    unused = sum(known(rules, head("/", f"User-Agent: {number}")) for number in range(200))
    assert unused == MOST - len(good)


def test_one_that_was_driven_out_can_come_back() -> None:
    rules, data = learned(head("/", "Accept: */*")), head("/", "Accept: */*")
    for number in range(MOST):
        learned(head("/", f"User-Agent: {number}"), rules)
    assert not known(rules, data)
    assert known(learned(data, rules), data)


# ---- it is the same ----

LINES = [
    *["Host: example.com", "host: EXAMPLE.com", "Host: a b", "Host:", "Host: example.com:80"],
    *["Upgrade: websocket", "upgrade: WebSocket", "Upgrade: h2c, websocket", "Upgrade: x"],
    *["Connection: Upgrade", "Connection: keep-alive, Upgrade", "Connection: close"],
    *["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "Origin: http://example.com"],
    *["Origin: http://other.com", "Sec-WebSocket-Protocol: v2, chat", "Cookie: a=b"],
    *["Sec-WebSocket-Protocol: chat,,", "Sec-WebSocket-Protocol: (", "Sec-WebSocket-Key: x"],
    *[f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY} ", f"sec-websocket-key: {KEY}"],
    *[
        "X: y",
        "Pragma: no-cache",
        "Content-Length: 0",
        "Content-Length: 5",
        "bad line",
        " folded",
    ],
    *["User-Agent: é\tx", "User-Agent: \x01", "Accept: */*\n", "Transfer-Encoding: chunked"],
]
TARGETS = [
    "/",
    "/chat/blue",
    "/chat/%41?x=1",
    "/a/b/c",
    "/none",
    "http://example.com/",
    "*",
    "",
]


def a_key(chance: random.Random) -> bytes:
    key = b64encode(chance.randbytes(16))
    if chance.random() < 0.25:
        at = chance.randrange(24)
        key = (
            key[:at]
            + chance.choice([b"!", b"\r\n", b"\n", b"", b" ", b"=", MARK])
            + key[at + 1 :]
        )
    return key


def a_head(chance: random.Random) -> bytes:
    lines = [f"{name}: {value}" for name, value in FIELDS.items()]
    chance.shuffle(lines)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
        lines[chance.randrange(len(lines))] = chance.choice(LINES)
    for _ in range(chance.choice((0, 0, 1, 2))):
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(LINES))
    target = chance.choice(TARGETS[:2] if chance.random() < 0.8 else TARGETS)
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines]).encode("latin-1")


def damaged(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    size = chance.choice((0, 1, 3, 24))
    return data[:at] + chance.choice((b"", b"\r\n", b" ", b"A" * 24, MARK)) + data[at + size :]


@pytest.mark.parametrize("seed", range(8))
def test_of_any_head_it_is_known_what_is_found_by_taking_it_apart(seed: int) -> None:
    chance, rules, hits = random.Random(seed), policy(), 0
    for _ in range(60):
        data = a_head(chance)
        for _ in range(10):
            changed = with_key(data, a_key(chance))
            if chance.random() < 0.2:
                changed = damaged(changed, chance)
            hits += known(rules, changed)
            assert outcome(rules, changed) == outcome(policy(), changed), changed
    assert hits > 20


@given(st.binary(max_size=60), st.integers(0, 200))
def test_whatever_stands_in_a_known_head_it_is_the_same(more: bytes, at: int) -> None:
    rules, data = learned(head("/chat/blue")), head("/chat/blue")
    for changed in data[:at] + more + data[at:], data[:at] + more + data[at + len(more) :]:
        assert outcome(rules, changed) == outcome(policy(), changed)
