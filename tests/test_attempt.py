"""`reactor/attempt.py`: one attempt of a client, from its URI to the 101."""

from __future__ import annotations

import errno
import gc
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    BasicAuth,
    Client,
    DigestAuth,
    HandshakeError,
    PerMessageDeflate,
    ProtocolError,
    ProxyError,
    Reactor,
)
from reactor.attempt import Attempt
from reactor.loop.tally import Tally
from reactor.loop.transport import Transport
from reactor.protocol.answer import Response
from reactor.protocol.auth import Authenticator
from reactor.protocol.extensions import describe
from reactor.protocol.frames import pack_frame
from reactor.settings import Settings
from reactor.wish import Wish
from tests import certificates
from tests.extended import Faulty, Flip, raiser
from tests.recorder import TEXT
from tests.scripted import (
    Net,
    Noting,
    Raw,
    Scripted,
    answering,
    descriptors,
    free_port,
    port,
    response,
    silent,
    switching,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reactor.protocol.request import Request

FAILED = ["onerror", "onclose"]


def failure(net: Net, client: Noting) -> Any:
    """Wait for the end of a client that was never open; return what it has failed with."""
    net.ended(client)
    net.settle()
    assert client.names() == FAILED
    [error], [end] = client.errors(), client.ends()
    assert end == (1006, str(error))
    return error


def asks_once(auth: Any) -> tuple[list[str | None], Callable[..., Any]]:
    """Return an `onrequest` that asks for authentication, and what it notes of each request."""
    seen: list[str | None] = []

    def onrequest(request: Request) -> Response | None:
        seen.append(request.headers.get("Authorization"))
        answer: Response | None = auth.check(request)
        return answer

    return seen, onrequest


# ---- what is asked for ----


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"uri": "http://127.0.0.1/"}, ValueError),
        ({"uri": b"ws://127.0.0.1/"}, TypeError),
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["two words"]}, ValueError),
        ({"headers": {"Upgrade": "x"}}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
        ({"origin": "http://a\r\nb: c"}, ValueError),
        ({"proxy": "ftp://127.0.0.1"}, ValueError),
        ({"proxy": None}, TypeError),
        ({"tls": object()}, ValueError),
        ({"uri": "wss://127.0.0.1/", "tls": True}, TypeError),
        ({"proxy": "https://127.0.0.1", "proxy_tls": True}, TypeError),
        ({"auth": ("us\ner", "password")}, ValueError),
        ({"auth": ("user", "pass\0word")}, ValueError),
        ({"auth": ("user",)}, ValueError),
        ({"auth": "us"}, TypeError),
        ({"auth": ("user", None)}, TypeError),
        ({"uri": "ws://us%0Aer:password@127.0.0.1/"}, ValueError),
    ],
)
def test_a_wish_that_cannot_come_true_raises_at_the_call_and_leaves_nothing_open(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Client(options.pop("uri", "ws://127.0.0.1/"), **options)
    gc.collect()


def test_a_wss_uri_needs_a_python_that_has_ssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ssl", None)
    with pytest.raises(ImportError):
        Client("wss://127.0.0.1/")


# ---- request and response ----


def test_the_request_is_what_the_rfc_asks_for_and_what_the_user_adds(net: Net) -> None:
    server = net.script(switching())
    client = net.client(
        server.uri("/chat?room=1"),
        subprotocols=["v2", "v1"],
        origin="https://example.com",
        headers={"Cookie": "a=b", "X-Extra": "yes"},
    )
    net.opened(client)
    [raw] = server.raws
    assert raw.data.startswith(b"GET /chat?room=1 HTTP/1.1\r\n")
    expected = {
        "Host": f"127.0.0.1:{server.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "v2, v1",
        "Origin": "https://example.com",
        "Cookie": "a=b",
        "X-Extra": "yes",
    }
    assert {name: raw.field(name) for name in expected} == expected
    assert raw.field("Authorization") is None
    assert len(raw.field("Sec-WebSocket-Key") or "") == 24


def test_each_request_has_a_key_of_its_own(net: Net) -> None:
    server = net.script(answering(response(302, "Location: /again\r\n"), response(404)))
    failure(net, net.client(server))
    one, other = (raw.field("Sec-WebSocket-Key") for raw in server.raws)
    assert one != other


def test_the_subprotocol_that_the_server_chooses_is_agreed_on(net: Net) -> None:
    server = net.serve(subprotocols=["v1"])
    client = net.client(server, subprotocols=["v2", "v1"])
    net.opened(client)
    assert client.subprotocol == server.met[0].subprotocol == "v1"


def test_without_a_subprotocol_of_both_there_is_none(net: Net) -> None:
    client = net.client(net.serve(subprotocols=["v3"]), subprotocols=["v2", "v1"])
    net.opened(client)
    assert client.subprotocol is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("Sec-WebSocket-Protocol: v9\r\n", "a subprotocol that was not offered"),
        ("Sec-WebSocket-Extensions: x-other\r\n", "extension x-other was not offered"),
        ("Upgrade: h2c\r\n", "no Upgrade to websocket"),
    ],
)
def test_a_101_to_what_was_not_asked_for_fails(net: Net, fields: str, words: str) -> None:
    server = net.script(switching(fields=fields))
    error = failure(net, net.client(server))
    assert isinstance(error, HandshakeError)
    assert words in str(error)
    assert error.status == 101


def test_what_the_extensions_offer_is_asked_for_in_their_order(net: Net) -> None:
    server = net.script(switching())
    client = net.client(server, extensions=[PerMessageDeflate(level=1), Flip()])
    net.opened(client)
    [raw] = server.raws
    offered = "permessage-deflate; client_max_window_bits, x-flip"
    assert raw.field("Sec-WebSocket-Extensions") == offered
    assert client.extensions == ""


def test_without_extensions_there_is_no_field_for_them(net: Net) -> None:
    server = net.script(switching())
    net.opened(net.client(server, compress=False))
    assert server.raws[0].field("Sec-WebSocket-Extensions") is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("permessage-deflate", "extension permessage-deflate was not offered"),
        ("X-Flip", "extension X-Flip was not offered"),
        ("x-flip, x-flip", "extension x-flip twice"),
        ("x-flip\r\nSec-WebSocket-Extensions: x-flip", "2 such fields, not one"),
        ("x-flip; a b", "'a b' is not a parameter"),
        ("x-flip; =1", "'=1' is not a parameter"),
        ('x-flip; a="1', "quote"),
        ("x flip", "'x flip' is not an extension's name"),
        ("\xff", "is not an extension's name"),
    ],
)
def test_an_answer_to_no_offer_fails_and_says_why(net: Net, answer: str, words: str) -> None:
    head = f"Sec-WebSocket-Extensions: {answer}\r\n"

    def act(raw: Raw) -> None:
        if raw.asked:
            raw.send(raw.switch(fields=head).decode().encode("latin-1"))

    error = failure(net, net.client(net.script(act), compress=False, extensions=[Flip()]))
    assert isinstance(error, HandshakeError)
    assert error.status == 101
    assert words in str(error)
    assert error.headers.get_all("Sec-WebSocket-Extensions")


@pytest.mark.parametrize("answer", ["", ",", " , ,"])
def test_an_answer_that_names_no_extension_agrees_on_none(net: Net, answer: str) -> None:
    server = net.script(switching(fields=f"Sec-WebSocket-Extensions: {answer}\r\n"))
    client = net.client(server)
    net.opened(client)
    assert client.extensions == ""


@pytest.mark.parametrize(
    ("error", "told", "words"),
    [
        (LookupError("none of mine"), LookupError, "none of mine"),
        (ProtocolError(1002, "not so"), ProtocolError, "not so"),
        (ValueError("not mine"), HandshakeError, "Sec-WebSocket-Extensions: not mine"),
    ],
)
def test_an_extension_that_raises_at_the_answer_fails_the_attempt_and_no_other(
    net: Net,
    error: Exception,
    told: type[Exception],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = net.script(switching(fields="Sec-WebSocket-Extensions: x-flip\r\n"))
    other = net.client(server, extensions=[Flip()])
    client = net.client(server, extensions=[Faulty("agree", raiser(error))])
    assert isinstance(failure(net, client), told)
    assert words in str(client.errors()[0])
    net.opened(other)
    assert other.extensions == "x-flip"
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert logged == ([] if told is HandshakeError else [error])


@pytest.mark.parametrize("error", [LookupError("nothing to offer"), ValueError("no")])
def test_an_extension_that_raises_at_the_offer_fails_the_attempt(
    net: Net, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.script(switching())
    client = net.client(server, extensions=[Faulty("offers", raiser(error))])
    assert failure(net, client) is error
    assert "an extension failed for ws://127.0.0.1" in caplog.text
    assert not any(raw.data for raw in server.raws)


def test_an_offer_that_is_none_fails_the_attempt(net: Net) -> None:
    extension = Flip()
    extension.offers = lambda: [[("a b", None)]]  # type: ignore[method-assign]
    client = net.client(net.script(silent), extensions=[extension])
    assert "parameter 'a b'=None of x-flip" in str(failure(net, client))


@pytest.mark.parametrize("how", ["close", "stop", "abort"])
@pytest.mark.parametrize("where", ["offers", "agree"])
def test_an_extension_that_ends_the_client_ends_it_unopened(
    net: Net, where: str, how: str
) -> None:
    server = net.script(switching(fields="Sec-WebSocket-Extensions: x-flip\r\n"))
    ends: list[Noting] = []
    extension = Faulty(where, lambda: getattr(ends[0], how)())
    ends.append(net.client(server, extensions=[extension]))
    net.ended(ends[0])
    net.settle()
    assert ends[0].names() == ["onclose"]
    assert ends[0].ends() == [(1006, "closed before it was open")]


def test_a_101_that_proves_nothing_fails(net: Net) -> None:
    head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    server = net.script(answering(f"{head}Sec-WebSocket-Accept: x\r\n\r\n"))
    assert "Sec-WebSocket-Accept" in str(failure(net, net.client(server)))


def test_a_refusal_carries_status_headers_and_body(net: Net) -> None:
    server = net.script(answering(response(403, "X-Why: you\r\n", "go away")))
    error = failure(net, net.client(server))
    assert isinstance(error, HandshakeError)
    assert (error.status, error.headers["x-why"], error.body) == (403, "you", b"go away")
    assert str(error) == "the server answered 403 Whatever"


def test_at_most_64_kib_of_the_body_are_kept_and_waited_for(timed: Net) -> None:
    def act(raw: Raw) -> None:
        raw.send("HTTP/1.1 500 Oops\r\n\r\n")
        raw.flood(b"x" * 8192)

    error = failure(timed, timed.client(timed.script(act)))
    assert error.status == 500
    assert error.body == b"x" * 65536


def test_a_body_goes_up_to_the_end_of_the_connection(net: Net) -> None:
    def act(raw: Raw) -> None:
        raw.send("HTTP/1.1 404 Gone\r\n\r\nnobody")
        raw.close()

    error = failure(net, net.client(net.script(act)))
    assert (error.status, error.body) == (404, b"nobody")


def test_a_redirect_whose_body_ends_with_the_connection_is_followed(net: Net) -> None:
    def act(raw: Raw) -> None:
        raw.send("HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
        raw.close()
        raw.server.act = switching()

    server = net.script(act)
    net.opened(net.client(server))
    assert server.raws[1].target == "/there"


def test_an_interim_response_is_passed_over(net: Net) -> None:
    def act(raw: Raw) -> None:
        raw.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + raw.switch())

    net.opened(net.client(net.script(act)))


@pytest.mark.parametrize("garbage", ["\x16\x03\x01", "SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n"])
def test_what_does_not_speak_http_fails_with_status_0(net: Net, garbage: str) -> None:
    def act(raw: Raw) -> None:
        raw.send(garbage)
        raw.close()

    error = failure(net, net.client(net.script(act)))
    assert getattr(error, "status", 0) == 0


def test_what_comes_in_one_piece_with_the_101_is_delivered(net: Net) -> None:
    frames = pack_frame(TEXT, b"one", False) + pack_frame(TEXT, b"two", False)
    client = net.client(net.script(switching(frames)))
    net.until(lambda: len(client.messages()) == 2)
    assert client.names() == ["onopen", "onmessage", "onmessage"]
    assert client.messages() == ["one", "two"]


def test_a_violation_in_one_piece_with_the_101_ends_the_open_connection(net: Net) -> None:
    client = net.client(net.script(switching(b"\xff\x00", then=lambda raw: raw.close())))
    net.ended(client)
    assert client.names() == ["onopen", "onerror", "onclose"]
    assert client.ends()[0][0] == 1002


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_that_hangs_up_at_any_byte_is_told_once_and_leaks_nothing(
    net: Net, how: str
) -> None:
    length = 129

    def act(raw: Raw) -> None:
        whole = raw.switch()
        assert len(whole) == length
        if raw.number:
            raw.send(whole[: raw.number])
        getattr(raw, how)()

    server = net.script(act)
    gc.collect()
    before = descriptors()
    for count in range(length):
        client = net.client(server)
        error = failure(net, client)
        assert isinstance(error, ConnectionError), (count, error)
        if how == "close":
            assert str(error) == "connection lost: waiting for the response to the request"
    assert descriptors() == before
    whole = net.client(server)
    net.ended(whole)
    assert whole.names()[0] == "onopen"


def test_a_response_that_comes_byte_by_byte_is_one(net: Net) -> None:
    tail = pack_frame(TEXT, b"hello", False)

    def act(raw: Raw) -> None:
        if raw.asked:
            rest = raw.switch(tail)

            def next_byte(at: int) -> None:
                raw.send(rest[at : at + 1])
                if at + 1 < len(rest):
                    net.reactor.call_soon(next_byte, at + 1)

            next_byte(0)

    client = net.client(net.script(act))
    net.until(client.messages)
    assert client.names() == ["onopen", "onmessage"]


# ---- the way to the server ----


def test_nobody_listens(net: Net) -> None:
    error = failure(net, net.client(f"ws://127.0.0.1:{free_port()}/"))
    assert isinstance(error, ConnectionRefusedError)


def test_a_name_is_looked_up_and_all_its_addresses_are_tried(net: Net) -> None:
    asked: list[tuple[str, int]] = []
    server = net.serve()

    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        asked.append((host, number))
        found = [("127.0.0.1", free_port()), ("127.0.0.1", port(server))]
        net.reactor.call_soon(answer, found)

    client = net.client("ws://example.test:81/", resolver=resolver)
    net.opened(client)
    assert asked == [("example.test", 81)]
    assert client.address == ("127.0.0.1", port(server))
    assert server.met[0].request.headers["Host"] == "example.test:81"


@pytest.mark.parametrize("late", [False, True])
def test_a_name_that_is_not_found_fails_with_what_the_resolver_says(
    net: Net, late: bool
) -> None:
    gone = socket.gaierror(-2, "Name or service not known")

    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        if late:
            net.reactor.call_soon(answer, gone)
        else:
            answer(gone)

    assert failure(net, net.client("ws://example.test/", resolver=resolver)) is gone


def test_what_a_resolver_raises_fails_the_attempt(net: Net) -> None:
    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        raise LookupError("no idea")

    assert isinstance(failure(net, net.client("ws://a.test/", resolver=resolver)), LookupError)


def test_a_resolver_that_does_not_keep_to_its_part_is_told_of_once(net: Net) -> None:
    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        answer(OSError("first"))
        answer(OSError("second"))
        raise LookupError("third")

    client = net.client("ws://a.test/", resolver=resolver)
    assert str(failure(net, client)) == "first"


def test_a_unix_socket(net: Net, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = net.serve(path)
    client = net.client(f"ws+unix://{path}:/chat", proxy="http://127.0.0.1:1")
    net.opened(client)
    request = server.met[0].request
    assert (request.target, request.headers["Host"]) == ("/chat", "localhost")
    assert client.address in ("", path)


def test_a_unix_socket_that_is_not_there(net: Net, tmp_path: Path) -> None:
    client = net.client(f"ws+unix://{tmp_path}/none:/", proxy=True)
    assert isinstance(failure(net, client), FileNotFoundError)


def test_a_socket_that_cannot_be_watched_is_closed(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = net.serve()
    full = OSError(errno.ENOSPC, "No space left on device")

    register = Reactor.register

    def refuse(self: Reactor, sock: Any, events: int, callback: Any) -> None:
        if isinstance(getattr(callback, "__self__", None), Transport):
            raise full
        register(self, sock, events, callback)

    client = net.client(server)
    monkeypatch.setattr(Reactor, "register", refuse)
    assert failure(net, client) is full
    monkeypatch.undo()


@pytest.mark.parametrize("status", [302, 401])
def test_where_a_response_leads_is_followed_before_its_body_has_come(
    net: Net, status: int
) -> None:
    """An answer whose body never ends holds up nobody who has no use for it."""
    endless = (
        f"HTTP/1.1 {status} Elsewhere\r\nLocation: /there\r\n"
        'WWW-Authenticate: Basic realm="x"\r\nContent-Length: 1000\r\n\r\nmoved'
    )
    opened: list[Raw] = []

    def act(raw: Raw) -> None:
        if not raw.number:
            raw.send(endless)
        elif raw not in opened:
            opened.append(raw)
            raw.send(raw.switch())

    server = net.script(act)
    client = net.client(server, auth=("user", "password"))
    net.opened(client)
    assert client.names() == ["onopen"]
    assert client.response is not None
    assert str(client.response.uri) == server.uri("/there" if status == 302 else "/")


def test_a_redirect_to_two_places_is_followed_to_neither(net: Net) -> None:
    server = net.script(answering(response(302, "Location: /a\r\nLocation: /b\r\n", "moved")))
    error = failure(net, net.client(server))
    assert isinstance(error, HandshakeError)
    assert (error.status, error.reason) == (302, "a redirect to 2 places, not one")
    assert error.body == b"moved"


# ---- one deadline ----


def test_a_look_up_that_hangs_is_given_up_in_time(timed: Net) -> None:
    client = timed.client("ws://example.test/", resolver=lambda *args: None)
    timed.settle()
    timed.advance(9.9)
    assert client.names() == []
    timed.advance(0.2)
    error = failure(timed, client)
    assert isinstance(error, TimeoutError)
    assert str(error) == "no connection after 10 s: looking up example.test:80"


def test_a_look_up_in_a_thread_that_hangs_stalls_no_step(
    timed: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, free, over = threading.Event(), threading.Event(), threading.Event()

    def getaddrinfo(*args: Any, **options: Any) -> Any:
        asked.set()
        free.wait()
        over.set()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = timed.client("ws://example.test/", handshake_timeout=3)
    try:
        timed.settle()
        assert asked.wait(10)
        timed.advance(3.1)
        assert "3 s: looking up example.test:80" in str(failure(timed, client))
    finally:
        free.set()
        assert over.wait(10)


def test_a_connect_that_hangs_is_given_up_in_time(timed: Net) -> None:
    host, number = timed.black_hole()
    client = timed.client(f"ws://{host}:{number}/")
    timed.settle()
    timed.advance(10.1)
    error = failure(timed, client)
    assert isinstance(error, TimeoutError)
    assert str(error) == f"no connection after 10 s: connecting to {host}:{number}"


@pytest.mark.parametrize(
    ("scheme", "words"), [("http", "asking the proxy"), ("socks5", "asking the proxy")]
)
def test_a_silent_proxy_is_given_up_in_time(timed: Net, scheme: str, words: str) -> None:
    proxy = timed.script(silent)
    client = timed.client("ws://example.test/", proxy=proxy.uri("", scheme))
    timed.until(lambda: proxy.raws and proxy.raws[0].data)
    timed.advance(10.1)
    error = failure(timed, client)
    assert isinstance(error, TimeoutError)
    assert str(error) == f"no connection after 10 s: {words}"


def test_tls_that_is_silent_is_given_up_in_time(timed: Net) -> None:
    server = timed.script(silent)
    client = timed.client(
        server.uri("/", "wss"), tls=certificates.client_context(), handshake_timeout=2.5
    )
    timed.until(lambda: server.raws and server.raws[0].data)
    timed.advance(2.6)
    error = failure(timed, client)
    assert isinstance(error, TimeoutError)
    assert str(error) == "no connection after 2.5 s: in the TLS handshake"


def test_tls_with_a_proxy_that_is_silent_is_given_up_in_time(timed: Net) -> None:
    proxy = timed.script(silent)
    client = timed.client(
        "ws://example.test/",
        proxy=proxy.uri("", "https"),
        proxy_tls=certificates.client_context(),
    )
    timed.until(lambda: proxy.raws and proxy.raws[0].data)
    timed.advance(10.1)
    assert "in the TLS handshake with the proxy" in str(failure(timed, client))


def test_a_response_that_drips_does_not_move_the_deadline(timed: Net) -> None:
    server = timed.script(silent)
    client = timed.client(server)
    timed.until(lambda: server.raws and server.raws[0].asked)
    for byte in "HTTP/1.1 ":
        server.raws[0].send(byte)
        timed.advance(1)
        assert client.names() == []
    timed.advance(1.1)
    error = failure(timed, client)
    assert isinstance(error, TimeoutError)
    assert str(error) == "no connection after 10 s: waiting for the response to the request"


def test_a_body_that_does_not_end_is_given_up_in_time_and_told_as_far_as_it_came(
    timed: Net,
) -> None:
    server = timed.script(answering("HTTP/1.1 503 Busy\r\n\r\nsome"))
    client = timed.client(server)
    timed.until(lambda: server.raws and server.raws[0].asked)
    timed.settle()
    timed.advance(10.1)
    error = failure(timed, client)
    assert isinstance(error, HandshakeError)
    assert (error.status, error.body) == (503, b"some")


def test_redirects_do_not_move_the_deadline(timed: Net) -> None:
    server = timed.script(answering(response(302, "Location: /on\r\n"), ""))
    client = timed.client(server)
    timed.settle()
    timed.advance(9)
    timed.until(lambda: len(server.raws) == 2)
    assert client.names() == []
    timed.advance(1.1)
    assert isinstance(failure(timed, client), TimeoutError)


# ---- redirects ----


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/there?x=1", "there?x=1", "http://{}/there?x=1"])
def test_a_redirect_is_followed(net: Net, status: int, location: str) -> None:
    def act(raw: Raw) -> None:
        place = location.format(f"127.0.0.1:{raw.server.port}")
        raw.send(response(status, f"Location: {place}\r\n", "moved"))
        raw.server.act = switching()

    server = net.script(act)
    client = net.client(server.uri("/here"))
    net.opened(client)
    assert [raw.target for raw in server.raws] == ["/here", "/there?x=1"]
    assert str(client.uri) == server.uri("/here")
    assert client.request is not None
    assert client.request.target == "/there?x=1"


@pytest.mark.parametrize("status", [300, 304, 305, 306, 200, 204])
def test_no_other_status_is_a_redirect(net: Net, status: int) -> None:
    server = net.script(answering(response(status, "Location: /there\r\n")))
    assert failure(net, net.client(server)).status == status


def test_a_redirect_to_nowhere_fails(net: Net) -> None:
    server = net.script(answering(response(302)))
    assert failure(net, net.client(server)).status == 302


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://127.0.0.1/", "not to http, https, ws or wss"),
        ("http://127.0.0.1:99999/", "(HTTP 307)"),
        ("http://", "(HTTP 307)"),
    ],
)
def test_a_redirect_to_what_is_no_websocket_fails(net: Net, location: str, words: str) -> None:
    server = net.script(answering(response(307, f"Location: {location}\r\n")))
    error = failure(net, net.client(server))
    assert isinstance(error, HandshakeError)
    assert error.status == 307
    assert words in str(error)


def test_five_redirects_are_followed_and_no_sixth(net: Net) -> None:
    server = net.script(answering(response(302, "Location: /on\r\n")))
    error = failure(net, net.client(server))
    assert len(server.raws) == 6
    assert "over 5 redirects" in str(error)

    moved = [response(302, "Location: /on\r\n")] * 5
    other = net.script(answering(*moved, response(410)))
    assert failure(net, net.client(other)).status == 410


def test_what_was_to_be_encrypted_stays_so(net: Net) -> None:
    plain = net.serve()
    server = net.serve(tls=certificates.server_context())
    server.onrequest = lambda request: Response(  # type: ignore[method-assign]
        302, {"Location": net.uri(plain)}
    )
    client = net.client(net.uri(server, "/", "wss"), tls=certificates.client_context())
    error = failure(net, client)
    assert "a redirect from wss to ws is not followed" in str(error)
    assert plain.log == []


def test_a_redirect_from_ws_to_wss_is_followed(net: Net) -> None:
    server = net.serve(tls=certificates.server_context())
    place = net.uri(server, "/there", "https")
    plain = net.script(answering(response(301, f"Location: {place}\r\n")))
    # Made known to the client's own context, since the URI has no need of one.
    client = net.client(plain)
    client._wish.tls = certificates.client_context()
    net.opened(client)
    assert client.tls.version().startswith("TLS")


PRIVATE = {"Cookie": "a=b", "Authorization": "Bearer x", "X-Extra": "1"}


def test_credentials_stay_with_their_origin(net: Net) -> None:
    server = net.script(answering(response(302, "Location: /there\r\n"), response(404)))
    failure(net, net.client(server, headers=PRIVATE))
    for raw in server.raws:
        assert {name: raw.field(name) for name in PRIVATE} == PRIVATE


def test_credentials_do_not_go_to_another_origin_and_do_not_come_back(net: Net) -> None:
    first: Scripted
    second = net.script(lambda raw: raw.send(moved(first.uri("/back"))))
    first = net.script(
        lambda raw: raw.send(response(404) if raw.number else moved(second.uri("/away")))
    )
    client = net.client(first, headers=PRIVATE, auth=("user", "password"))
    failure(net, client)
    away, back = second.raws[0], first.raws[1]
    assert first.raws[0].field("Cookie") == "a=b"
    for raw in (away, back):
        assert raw.field("Cookie") is raw.field("Authorization") is None
        assert raw.field("X-Extra") == "1"


def test_the_host_that_the_user_names_stays_with_its_origin(net: Net) -> None:
    second = net.script(answering(response(404)))
    first = net.script(answering(moved("/on"), moved(second.uri())))
    failure(net, net.client(first, headers={"Host": "virtual.test"}))
    assert [raw.field("Host") for raw in first.raws] == ["virtual.test"] * 2
    assert second.raws[0].field("Host") == f"127.0.0.1:{second.port}"


def moved(place: str) -> str:
    return response(302, f"Location: {place}\r\n")


def test_another_origin_that_asks_for_a_password_gets_none(net: Net) -> None:
    ask = 'WWW-Authenticate: Basic realm="x"\r\n'
    second = net.script(answering(response(401, ask)))
    first = net.script(answering(moved(second.uri())))
    error = failure(net, net.client(first, auth=("user", "password")))
    assert error.status == 401
    assert len(second.raws) == 1


def test_the_password_in_a_redirect_is_not_taken(net: Net) -> None:
    ask = 'WWW-Authenticate: Basic realm="x"\r\n'
    server = net.script(silent)
    there = server.uri("/there", "http", "a:b@")
    server.act = answering(moved(there), response(401, ask))
    assert failure(net, net.client(server)).status == 401
    assert all(raw.field("Authorization") is None for raw in server.raws)


def test_the_same_origin_may_ask_again_behind_a_redirect(net: Net) -> None:
    ask = 'WWW-Authenticate: Basic realm="x"\r\n'
    server = net.script(
        answering(response(401, ask), moved("/on"), response(401, ask), response(404))
    )
    failure(net, net.client(server, auth=("user", "password")))
    given = [raw.field("Authorization") is not None for raw in server.raws]
    assert given == [False, True, False, True]


# ---- authentication ----


AUTHS = [
    BasicAuth({"Aladdin": "open sesame"}),
    DigestAuth({"Aladdin": "open sesame"}, algorithms=["MD5"]),
    DigestAuth({"Aladdin": "open sesame"}, algorithms=["SHA-256"]),
    DigestAuth({"Aladdin": "open sesame"}, algorithms=["MD5-sess", "SHA-256-sess"]),
    DigestAuth({"Aladdin": "open sesame"}),
]


@pytest.mark.parametrize("auth", AUTHS)
def test_user_and_password_are_given_once_they_are_asked_for(net: Net, auth: Any) -> None:
    seen, onrequest = asks_once(auth)
    server = net.serve(onrequest=onrequest)
    server.onrequest = onrequest  # type: ignore[method-assign]
    client = net.client(net.uri(server, "/a?b=c"), auth=("Aladdin", "open sesame"))
    net.opened(client)
    assert [value is None for value in seen] == [True, False]
    assert server.met[0].request.user == "Aladdin"


@pytest.mark.parametrize("auth", AUTHS)
def test_a_wrong_password_is_given_once(net: Net, auth: Any) -> None:
    seen, onrequest = asks_once(auth)
    server = net.serve()
    server.onrequest = onrequest  # type: ignore[method-assign]
    error = failure(net, net.client(server, auth=("Aladdin", "close sesame")))
    assert error.status == 401
    assert "the credentials were refused" in str(error)
    assert "WWW-Authenticate" in error.headers
    assert len(seen) == 2


def test_a_wrong_password_is_given_once_for_each_scheme(net: Net) -> None:
    digest = 'WWW-Authenticate: Digest realm="x", nonce="n", qop="auth"\r\n'
    server = net.script(
        answering(response(401, f'{digest}WWW-Authenticate: Basic realm="x"\r\n'))
    )
    failure(net, net.client(server, auth=("user", "password")))
    given = [(raw.field("Authorization") or "").partition(" ")[0] for raw in server.raws]
    assert given == ["", "Digest", "Basic"]


def test_a_stale_nonce_is_answered_once_more(net: Net) -> None:
    def ask(nonce: str, more: str = "") -> str:
        challenge = f'Digest realm="x", nonce="{nonce}", qop="auth"{more}'
        return response(401, f"WWW-Authenticate: {challenge}\r\n")

    server = net.script(
        answering(ask("one"), ask("two", ", stale=true"), ask("three", ", stale=true"))
    )
    error = failure(net, net.client(server, auth=("user", "password")))
    assert "the server calls every nonce stale" in str(error)
    given = [raw.field("Authorization") or "" for raw in server.raws]
    assert [name in value for name, value in zip(("one", "two"), given[1:])] == [True, True]
    assert len(given) == 3


def test_user_and_password_of_the_uri_count_unless_others_are_given(net: Net) -> None:
    seen, onrequest = asks_once(BasicAuth({"Al:addin"[:2]: "a b", "other": "x"}))
    server = net.serve()
    server.onrequest = onrequest  # type: ignore[method-assign]
    uri = net.uri(server).replace("://", "://Al:a%20b@")
    net.opened(net.client(uri))
    net.opened(net.client(uri, auth=("other", "x")))
    assert [client.request.user for client in server.met] == ["Al", "other"]
    assert seen[0] is None


def test_an_authorization_of_the_users_own_is_sent_unasked(net: Net) -> None:
    server = net.script(switching())
    net.opened(net.client(server, headers={"Authorization": "Bearer x"}))
    assert server.raws[0].field("Authorization") == "Bearer x"


def test_an_authorization_of_the_users_own_gives_way_to_the_answer_to_a_challenge(
    net: Net,
) -> None:
    ask = 'WWW-Authenticate: Basic realm="x"\r\n'
    server = net.script(answering(response(401, ask), response(404)))
    options: Any = {"headers": {"Authorization": "Bearer x"}, "auth": ("user", "password")}
    failure(net, net.client(server, **options))
    assert server.raws[1].data.lower().count(b"\r\nauthorization:") == 1
    assert (server.raws[1].field("Authorization") or "").startswith("Basic ")


@pytest.mark.parametrize(
    "fields", ["", "WWW-Authenticate: Negotiate\r\n", "WWW-Authenticate: ,=\r\n"]
)
def test_a_challenge_that_cannot_be_answered_fails(net: Net, fields: str) -> None:
    server = net.script(answering(response(401, fields)))
    error = failure(net, net.client(server, auth=("user", "password")))
    assert error.status == 401
    assert "not authenticated" in str(error)
    assert len(server.raws) == 1


def test_without_a_password_a_401_is_the_end(net: Net) -> None:
    server = net.script(answering(response(401, 'WWW-Authenticate: Basic realm="x"\r\n')))
    assert failure(net, net.client(server)).status == 401
    assert len(server.raws) == 1


def test_each_attempt_may_try_the_password_anew() -> None:
    authenticator = Authenticator("user", "password")
    authenticator.answer(['Basic realm="x"'], "/")
    with pytest.raises(ValueError, match="refused"):
        authenticator.answer(['Basic realm="x"'], "/")


# ---- TLS ----


def test_the_certificate_is_verified(net: Net) -> None:
    server = net.serve(tls=certificates.server_context())
    context = certificates.client_context(trust=False)
    error = failure(net, net.client(net.uri(server, "/", "wss"), tls=context))
    assert getattr(error, "verify_code", 0) > 0


def test_by_default_the_certificate_is_verified_too(net: Net) -> None:
    server = net.serve(tls=certificates.server_context())
    error = failure(net, net.client(net.uri(server, "/", "wss")))
    assert getattr(error, "verify_code", 0) > 0


def test_a_wss_client_at_a_plain_server_fails(net: Net) -> None:
    ssl = pytest.importorskip("ssl")
    server = net.serve()
    assert isinstance(failure(net, net.client(net.uri(server, "/", "wss"))), ssl.SSLError)


def test_a_server_that_hangs_up_in_the_tls_handshake(net: Net) -> None:
    server = net.script(lambda raw: raw.close())
    error = failure(net, net.client(server.uri("/", "wss")))
    assert isinstance(error, ConnectionError)


def test_a_context_that_is_none_for_clients_fails_the_attempt(net: Net) -> None:
    server = net.script(silent)
    context = certificates.server_context()
    error = failure(net, net.client(server.uri("/", "wss"), tls=context))
    assert isinstance(error, (OSError, ValueError))
    assert not isinstance(error, TimeoutError)


def test_a_name_that_no_certificate_can_have_fails_the_attempt(net: Net) -> None:
    server = net.script(silent)
    client = net.client(
        f"wss://.example.test:{server.port}/",
        resolver=lambda host, number, answer: answer([("127.0.0.1", number)]),
    )
    assert isinstance(failure(net, client), ValueError)


# ---- proxies ----


class Tunnels:
    """A proxy that leads to a server: `open` is its answer, which goes before the server's."""

    def __init__(self, net: Net, to: int, behind: bytes = b"") -> None:
        self.net = net
        self.to = to
        self.behind = behind
        self.asked = b""

    def http(self, raw: Raw) -> None:
        if raw.asked:
            self._lead(raw, b"HTTP/1.1 200 Connected\r\n\r\n")

    def socks5(self, raw: Raw) -> None:
        data = raw.data
        if data in (b"\x05\x01\x00", b"\x05\x02\x00\x02"):
            raw.send(b"\x05" + data[-1:])
        elif data.startswith(b"\x05\x02\x00\x02\x01") and b"\x05\x01\x00\x03" not in data:
            raw.send(b"\x01\x00")
        else:
            self._lead(raw, b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")

    def _lead(self, raw: Raw, answer: bytes) -> None:
        self.asked = raw.data
        onward = socket.create_connection(("127.0.0.1", self.to))
        onward.setblocking(False)
        self.net.sockets.append(onward)

        def forth(raw: Raw) -> None:
            onward.send(raw.data[len(self.asked) :])
            raw.data = self.asked

        raw.server.act = forth
        raw.send(answer + self.behind)

        def back(mask: int) -> None:
            data = onward.recv(65536)
            if data:
                raw.send(data)
            else:
                self.net.reactor.unregister(onward)
                raw.close()

        self.net.reactor.register(onward, 1, back)


@pytest.mark.parametrize(
    ("scheme", "user", "words"),
    [
        ("http", "", b"CONNECT example.test:81 HTTP/1.1\r\n"),
        ("http", "me:secret@", b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n"),
        ("socks5", "", b"\x05\x01\x00\x03\x0cexample.test\x00\x51"),
        ("socks5", "me:secret@", b"\x05\x01\x00\x03\x0cexample.test\x00\x51"),
    ],
)
def test_a_proxy_leads_to_the_server_and_looks_up_its_name(
    net: Net, scheme: str, user: str, words: bytes
) -> None:
    server = net.serve()
    tunnels = Tunnels(net, port(server))
    proxy = net.script(getattr(tunnels, scheme))
    client = net.client("ws://example.test:81/", proxy=proxy.uri("", scheme, user))
    net.opened(client)
    assert words in tunnels.asked
    client.send("hello")
    net.until(server.messages)
    assert client.address == ("127.0.0.1", proxy.port)
    assert server.met[0].request.headers.get("Proxy-Authorization") is None


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_tls_through_a_proxy(net: Net, scheme: str) -> None:
    server = net.serve(tls=certificates.server_context("example.test"))
    tunnels = Tunnels(net, port(server))
    proxy = net.script(getattr(tunnels, scheme))
    client = net.client(
        "wss://example.test/", proxy=proxy.uri("", scheme), tls=certificates.client_context()
    )
    net.opened(client)
    client.send("hello")
    net.until(server.messages)


def tls_to(net: Net, to: int, behind: bytes = b"") -> Scripted:
    """Return where TLS ends and what it carries goes to `to`, as a terminating proxy does."""
    ssl = pytest.importorskip("ssl")
    context = certificates.server_context()

    def begin(raw: Raw) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        inner = Tunnels(net, to, behind)
        plain = _Plain(raw, tls, outgoing)
        taken = 0

        def act(raw: Raw) -> None:
            nonlocal taken
            incoming.write(raw.data[taken:])
            taken = len(raw.data)
            try:
                while True:
                    data = tls.read(65536)
                    plain.data += data
                    if data:
                        plain.server.act(plain)
            except ssl.SSLWantReadError:
                plain.flush()

        plain.server.act = inner.http
        raw.server.act = act
        act(raw)

    return net.script(begin)


class _Plain:
    """What TLS carries, as much of a `Raw` as a proxy uses."""

    def __init__(self, raw: Raw, tls: Any, outgoing: Any) -> None:
        self.raw, self.tls, self.outgoing = raw, tls, outgoing
        self.data = b""
        self.server: Any = type("Acts", (), {})()

    @property
    def asked(self) -> bool:
        return b"\r\n\r\n" in self.data

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def flush(self) -> None:
        data = self.outgoing.read()
        if data and not self.raw.ended:
            self.raw.send(data)

    def close(self) -> None:
        self.raw.close()


@pytest.mark.parametrize("secure", [False, True])
def test_tls_to_a_proxy_and_tls_through_it(net: Net, secure: bool) -> None:
    tls = certificates.server_context("example.test") if secure else None
    server = net.serve(tls=tls)
    proxy = tls_to(net, port(server))
    options: dict[str, Any] = {"tls": certificates.client_context()} if secure else {}
    client = net.client(
        f"ws{'s' * secure}://example.test:81/",
        proxy=proxy.uri("", "https"),
        proxy_tls=certificates.client_context(),
        **options,
    )
    net.opened(client)
    client.send("hello")
    net.until(server.messages)
    assert server.messages() == ["hello"]
    assert (client.tls is not None) == secure  # never the proxy's


def test_what_comes_unasked_behind_the_answer_of_a_tls_proxy_is_the_servers(net: Net) -> None:
    server = net.serve()
    proxy = tls_to(net, port(server), b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n")
    client = net.client(
        "ws://example.test:81/",
        proxy=proxy.uri("", "https"),
        proxy_tls=certificates.client_context(),
    )
    assert failure(net, client).status == 418


def test_what_comes_unasked_behind_the_answer_of_a_proxy_is_the_servers(net: Net) -> None:
    server = net.serve()
    early = b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n"
    proxy = net.script(Tunnels(net, port(server), early).http)
    client = net.client("ws://example.test:81/", proxy=proxy.uri("", "http"))
    assert failure(net, client).status == 418


def test_what_comes_unasked_before_tls_is_for_tls(net: Net) -> None:
    ssl = pytest.importorskip("ssl")
    server = net.serve()
    proxy = net.script(Tunnels(net, port(server), b"SSH-2.0-x\r\n").http)
    client = net.client("wss://example.test:81/", proxy=proxy.uri("", "http"))
    assert isinstance(failure(net, client), ssl.SSLError)


def test_a_name_that_no_certificate_can_have_fails_behind_a_proxy_too(net: Net) -> None:
    server = net.serve()
    proxy = net.script(Tunnels(net, port(server), b"early").http)
    client = net.client("wss://.example.test:81/", proxy=proxy.uri("", "http"))
    assert isinstance(failure(net, client), ValueError)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (response(407, 'Proxy-Authenticate: Basic realm="x"\r\n'), 407),
        (response(502), 502),
        ("SSH-2.0-x\r\n", 0),
    ],
)
def test_a_proxy_that_refuses_is_a_proxy_error(net: Net, answer: str, status: int) -> None:
    proxy = net.script(answering(answer))
    client = net.client("ws://example.test/", proxy=proxy.uri("", "http"))
    error = failure(net, client)
    assert isinstance(error, ProxyError)
    assert error.status == status


def test_a_proxy_that_hangs_up(net: Net) -> None:
    proxy = net.script(lambda raw: raw.close())
    error = failure(net, net.client("ws://a.test/", proxy=proxy.uri("", "http")))
    assert str(error) == "connection lost: asking the proxy"


def test_a_host_that_cannot_be_told_to_a_proxy_fails_the_attempt(net: Net) -> None:
    proxy = net.script(silent)
    name = "a" * 300 + ".test"
    error = failure(net, net.client(f"ws://{name}/", proxy=proxy.uri("", "socks5")))
    assert isinstance(error, ValueError)


def test_the_environment_names_a_proxy(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    server = net.serve()
    proxy = net.script(Tunnels(net, port(server)).http)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", proxy.uri("", "http"))
    net.opened(net.client("ws://example.test/", proxy=True))
    assert len(proxy.raws) == 1

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    net.opened(net.client(server, proxy=True))
    assert len(proxy.raws) == 1

    monkeypatch.setenv("http_proxy", "ftp://127.0.0.1")
    error = failure(net, net.client("ws://example.test/", proxy=True))
    assert isinstance(error, ValueError)


# ---- given up ----


def stages(net: Net) -> dict[str, Callable[[], Noting]]:
    """Return how a client is made that stays in each stage of its attempt."""
    tls = certificates.client_context()
    quiet = net.script(silent)
    tunnels = net.script(Tunnels(net, quiet.port).http)
    return {
        "look up": lambda: net.client("ws://a.test/", resolver=lambda *args: None),
        "connect": lambda: net.client("ws://{}:{}/".format(*net.black_hole())),
        "proxy": lambda: net.client("ws://a.test/", proxy=quiet.uri("", "http")),
        "tls": lambda: net.client(quiet.uri("/", "wss"), tls=tls),
        "tls behind a proxy": lambda: net.client(
            "wss://a.test/", proxy=tunnels.uri("", "http"), tls=tls
        ),
        "response": lambda: net.client(quiet),
    }


@pytest.mark.parametrize(
    "stage", ["look up", "connect", "proxy", "tls", "tls behind a proxy", "response"]
)
@pytest.mark.parametrize("how", ["close", "abort", "stop"])
def test_an_attempt_can_be_given_up_at_every_stage(net: Net, stage: str, how: str) -> None:
    clients = [stages(net)[stage]() for _ in range(2)]
    for count, client in enumerate(clients):
        for _ in range(3 + 40 * count):
            net.reactor.step(0)
        getattr(client, how)()
        getattr(client, how)()
        assert client.names() == []
        net.ended(client)
        net.settle()
        assert client.noted == [("onclose", 1006, "closed before it was open")]


# ---- over a socket that is connected already ----


class Asking:
    """What an attempt needs of a client, and no more; notes how it has ended."""

    def __init__(self, net: Net, **settings: Any) -> None:
        self.reactor = net.reactor
        self.tally = Tally()
        self.settings = Settings(**settings)
        self.opened: tuple[Any, ...] = ()
        self.error: Any = None

    def attempt_succeeded(self, *opened: Any) -> None:
        self.opened = opened

    def attempt_failed(self, error: Exception) -> None:
        self.error = error


def asked(
    net: Net, to: Any, scheme: str = "ws", *, stays: bool = False, **options: Any
) -> Asking:
    """Return how an attempt over a socket of ours has ended."""
    wishes: dict[str, Any] = dict.fromkeys(("auth", "tls", "proxy_tls", "origin"))
    wishes.update({"proxy": False, "headers": (), "subprotocols": (), **options})
    host = Asking(net)
    wish = Wish(f"{scheme}://example.test/", resolver=answers_all(to), **wishes)
    address = ("127.0.0.1", to.port if isinstance(to, Scripted) else port(to))
    with socket.create_connection(address) as sock:
        Attempt(host, wish).begin(sock.dup(), ("192.0.2.9", 9), stays=stays)
    net.until(lambda: host.opened or host.error)
    if host.opened:
        host.opened[0].abort()
    return host


def answers_all(to: Any) -> Any:
    """Return a resolver by which all names are those of one server."""
    there = to.port if isinstance(to, Scripted) else port(to)
    return lambda host, port, answer: answer([("127.0.0.1", there)])


def test_a_socket_that_is_given_is_asked_over_whatever_the_uri_says(net: Net) -> None:
    server = net.script(switching(b"\x81\x02hi", "Sec-WebSocket-Extensions: x-flip\r\n"))
    host = asked(net, server, extensions=(Flip(),), subprotocols=("a",))
    transport, request, reply, subprotocol, codecs, rest = host.opened
    assert transport.closed
    assert server.raws[0].field("Host") == "example.test"
    assert server.raws[0].field("Sec-WebSocket-Protocol") == "a"
    assert request.address == ("192.0.2.9", 9)
    assert (reply.status, str(reply.uri), subprotocol) == (101, "ws://example.test/", None)
    assert describe(codecs) == "x-flip"
    assert rest == b"\x81\x02hi"
    assert len(server.raws) == 1


def test_tls_is_spoken_over_a_socket_that_is_given(net: Net) -> None:
    server = net.serve(tls=certificates.server_context("example.test"))
    host = asked(net, server, "wss", tls=certificates.client_context())
    assert host.opened[2].status == 101
    assert host.opened[0].tls is not None


@pytest.mark.parametrize(
    "answer",
    [
        response(302, "Location: /elsewhere\r\n"),
        response(401, 'WWW-Authenticate: Basic realm="x"\r\n'),
    ],
)
@pytest.mark.parametrize("stays", [False, True])
def test_where_no_other_socket_will_do_a_redirect_and_a_challenge_are_the_end(
    net: Net, answer: str, stays: bool
) -> None:
    server = net.script(answering(answer, response(404)))
    host = asked(net, server, auth=("user", "password"), stays=stays)
    assert isinstance(host.error, HandshakeError)
    assert host.error.status == (int(answer.split()[1]) if stays else 404)
    assert len(server.raws) == (1 if stays else 2)


def test_a_socket_that_is_not_connected_fails_and_is_closed(net: Net) -> None:
    host, sock = Asking(net), socket.socket()
    wish = Wish(
        "ws://example.test/",
        subprotocols=(),
        origin=None,
        headers=(),
        auth=None,
        tls=None,
        proxy=False,
        proxy_tls=None,
        resolver=None,
    )
    Attempt(host, wish).begin(sock, None)
    net.until(lambda: host.error)
    net.settle()
    assert isinstance(host.error, OSError)
    assert sock.fileno() < 0
