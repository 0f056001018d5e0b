"""`reactor/opening.py`: from the accept to the answer, over sockets in memory."""

from __future__ import annotations

import base64
import ipaddress
import logging
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    BasicAuth,
    Connection,
    DigestAuth,
    Handlers,
    HandshakeError,
    ProtocolError,
    Reactor,
    Request,
    Response,
    Server,
)
from reactor.loop.reactor import EVENT_READ
from reactor.loop.transport import LINGER
from reactor.protocol.auth import digest_response
from reactor.protocol.extensions import Codec
from reactor.protocol.frames import pack_frame, pack_message
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests import certificates
from tests.extended import Faulty, Flip, raiser

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from reactor.opening import Opening

FIELDS = (
    "Host: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


def opening(target: str = "/", more: str = "") -> bytes:
    """A request for a WebSocket, with further lines."""
    return f"GET {target} HTTP/1.1\r\n{FIELDS}{more}\r\n".encode("latin-1")


def plain(method: str = "GET", target: str = "/", version: str = "1.1") -> bytes:
    """A request for no WebSocket."""
    return f"{method} {target} HTTP/{version}\r\nHost: example.com\r\n\r\n".encode()


class Recorder(Server):
    """Echoes, and notes what it is told."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.events: list[Any] = []
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Any] = lambda request: None
        super().__init__(*args, **options)

    def onrequest(self, request: Request) -> Any:
        self.requests.append(request)
        return self.answer(request)

    def onopen(self, client: Any) -> None:
        self.events.append("open")

    def onmessage(self, client: Any, message: Any) -> None:
        self.events.append(message)
        client.send(message)

    def onerror(self, client: Any, error: Exception) -> None:
        self.events.append(type(error).__name__)

    def onclose(self, client: Any, code: int, reason: str) -> None:
        self.events.append(code)


class Wire:
    """A server in memory, and one client of it by hand."""

    def __init__(self, server: type[Recorder] = Recorder, **options: Any) -> None:
        self.clock = FakeClock()
        self.selector = MemorySelector()
        self.reactor = Reactor(selector=self.selector, clock=self.clock)
        self.server = server(None, reactor=self.reactor, **options)
        self.sock, self.theirs = memory_pair()
        self.accept(self.theirs)

    def accept(self, theirs: Any, address: Any = ("10.0.0.1", 4711)) -> None:
        self.server.accepted(theirs, address)

    def send(self, data: bytes) -> bytes:
        """Send `data`, let the server work, and return all that it has answered so far."""
        self.sock.send(data)
        return self.settle()

    def settle(self) -> bytes:
        while True:
            self.reactor.step(0)
            if not self.selector.select(0) and self.reactor.next_timeout() != 0:
                return bytes(self.sock.inbox)

    def advance(self, seconds: float) -> bytes:
        end = self.clock.now + seconds
        while True:
            self.settle()
            wait = self.reactor.next_timeout()
            if wait is None or self.clock.now + wait > end:
                break
            self.clock.advance(wait)
        self.clock.advance(end - self.clock.now)
        return self.settle()

    def ended(self) -> bool:
        """Whether the server has said that nothing more will come."""
        return self.sock.input_ended

    def dropped(self) -> bool:
        """Whether the server has closed its socket."""
        return self.theirs.closed

    def close(self) -> None:
        self.server.close()
        self.reactor.close()


@pytest.fixture
def wires() -> Iterator[Callable[..., Wire]]:
    made: list[Wire] = []

    def make(*args: Any, **options: Any) -> Wire:
        made.append(Wire(*args, **options))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wire(wires: Callable[..., Wire]) -> Wire:
    return wires()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "reactor")
    return caplog


def status(response: bytes) -> int:
    """The status of the one response that there is."""
    [found] = re.findall(rb"HTTP/1\.1 (\d\d\d) ", response)
    assert response.startswith(b"HTTP/1.1 ")
    return int(found)


def body(response: bytes) -> bytes:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    return body


# ---- the handshake succeeds ----


def test_a_request_for_a_websocket_opens_a_connection(wire: Wire) -> None:
    assert wire.send(opening("/chat?a=b")) == ACCEPTED + b"\r\n"
    assert wire.server.events == ["open"]
    [client] = wire.server.clients
    assert client.request is wire.server.requests[0]
    assert client.request.path == "/chat"
    assert client.address == ("10.0.0.1", 4711)
    assert client.subprotocol is None


FRAMES = [pack_message(text, masked=True) for text in ("one", "two", b"three")]


def test_frames_behind_the_request_are_delivered_in_order_after_onopen(wire: Wire) -> None:
    answer = wire.send(opening() + b"".join(FRAMES))
    assert wire.server.events == ["open", "one", "two", b"three"]
    replies = [pack_message(text, masked=False) for text in ("one", "two", b"three")]
    assert answer == ACCEPTED + b"\r\n" + b"".join(replies)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 199, 200])
def test_the_events_are_the_same_whatever_the_segments(wire: Wire, size: int) -> None:
    wire.theirs.chunk = size
    wire.send(opening() + b"".join(FRAMES))
    assert wire.server.events == ["open", "one", "two", b"three"]


def test_the_events_are_the_same_wherever_the_bytes_are_cut(
    wires: Callable[..., Wire],
) -> None:
    data = opening() + FRAMES[0]
    for cut in range(len(data) + 1):
        wire = wires()
        wire.send(data[:cut])
        wire.send(data[cut:])
        assert wire.server.events == ["open", "one"]


MALFORMED = pack_frame(0xA1, b"x", True)


def test_a_malformed_frame_behind_the_request_fails_the_connection_after_onopen(
    wire: Wire,
) -> None:
    answer = wire.send(opening() + FRAMES[0] + MALFORMED + FRAMES[1])
    wire.sock.close()
    wire.settle()
    assert wire.server.events == ["open", "one", "ProtocolError", 1002]
    assert answer.startswith(ACCEPTED)
    assert pack_message("one", masked=False) + b"\x88" in answer


def test_what_follows_is_dropped_if_onopen_raises(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    def onopen(client: Any) -> None:
        wire.server.events.append("open")
        raise ZeroDivisionError

    monkeypatch.setattr(wire.server, "onopen", onopen)
    answer = wire.send(opening() + FRAMES[0] + MALFORMED)
    wire.sock.close()
    wire.settle()
    assert wire.server.events == ["open", "ZeroDivisionError", 1011]
    assert answer.startswith(ACCEPTED)
    assert "\x03\xf3" in answer.decode("latin-1")  # 1011
    assert [record.levelname for record in log.records] == ["ERROR"]


def test_what_follows_is_not_delivered_if_onopen_closes(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.server, "onopen", lambda client: client.close(1000, "full"))
    wire.send(opening() + FRAMES[0] + pack_frame(0x88, b"\x03\xe8", True))
    wire.sock.close()
    wire.settle()
    assert wire.server.events == [1000]


def test_what_follows_is_not_delivered_if_onopen_aborts(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.server, "onopen", lambda client: client.abort())
    wire.send(opening() + FRAMES[0])
    assert wire.server.events == [1006]


def test_the_deadline_ends_with_the_handshake(wires: Callable[..., Wire]) -> None:
    wire = wires(handshake_timeout=5, ping_interval=None)
    wire.send(opening())
    wire.advance(3600)
    assert wire.server.events == ["open"]
    assert not wire.ended()


def test_the_subprotocol_is_agreed_on(wires: Callable[..., Wire]) -> None:
    wire = wires(subprotocols=["v2", "v1"])
    answer = wire.send(opening(more="Sec-WebSocket-Protocol: v1, v2\r\n"))
    assert b"\r\nSec-WebSocket-Protocol: v2\r\n" in answer
    [client] = wire.server.clients
    assert client.subprotocol == "v2"


def test_the_handlers_of_a_location_are_asked_and_told(wires: Callable[..., Wire]) -> None:
    seen: list[Any] = []
    room = Handlers(
        onrequest=lambda request: seen.append(dict(request.params)),
        onmessage=lambda client, message: seen.append(message),
    )
    wire = wires(locations={"/room/{name}": room})
    wire.send(opening("/room/a%2Fb") + FRAMES[0])
    assert seen == [{"name": "a/b"}, "one"]
    assert wire.server.requests == []
    assert wire.server.events == []


def test_the_handlers_of_a_location_are_told_even_if_they_are_false(
    wires: Callable[..., Wire],
) -> None:
    class Room(Handlers):
        clients = 0

        def __len__(self) -> int:
            return self.clients

        def onopen(self, client: Any) -> None:
            self.clients += 1

    room = Room()
    wire = wires(locations={"/room": room})
    wire.send(opening("/room"))
    assert len(room) == 1
    assert wire.server.requests == []
    assert wire.server.events == []


# ---- what onrequest answers ----


def test_fields_of_the_user_are_added_to_the_101(wire: Wire) -> None:
    wire.server.answer = lambda request: {"Set-Cookie": "a=1", "Server": "x"}
    assert wire.send(opening()) == ACCEPTED + b"Set-Cookie: a=1\r\nServer: x\r\n\r\n"
    assert wire.server.events == ["open"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_plain_request_is_answered_and_the_connection_ends(wire: Wire, version: str) -> None:
    wire.server.answer = lambda request: Response(200, {"X": "y"}, request.path)
    answer = wire.send(plain(target="/health", version=version))
    assert status(answer) == 200
    assert body(answer) == b"/health"
    assert b"\r\nX: y\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer
    assert b" GMT\r\n" in answer
    assert wire.ended()
    assert wire.server.events == []


def test_http_1_0_needs_no_host(wire: Wire) -> None:
    wire.server.answer = lambda request: Response(200, body="ok")
    assert body(wire.send(b"GET / HTTP/1.0\r\n\r\n")) == b"ok"


def test_the_answer_to_head_is_that_to_get_without_the_body(
    wires: Callable[..., Wire],
) -> None:
    answers = []
    for method in ("GET", "HEAD"):
        wire = wires()
        wire.server.answer = lambda request: Response(200, {"Date": "now"}, "x" * 5000)
        answers.append(wire.send(plain(method)))
    assert answers[0] == answers[1] + b"x" * 5000
    assert b"\r\nContent-Length: 5000\r\n" in answers[1]


def test_a_rejected_head_request_gets_no_body(wire: Wire) -> None:
    answer = wire.send(plain("HEAD"))
    assert status(answer) == 405
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_for_a_websocket_can_be_answered_otherwise(wire: Wire) -> None:
    wire.server.answer = lambda request: Response(401, {"WWW-Authenticate": "Basic"}, "who?")
    answer = wire.send(opening() + FRAMES[0])
    assert status(answer) == 401
    assert body(answer) == b"who?"
    assert wire.ended()
    assert wire.server.events == []


def test_a_mapping_does_not_answer_a_request_for_no_websocket(wire: Wire) -> None:
    wire.server.answer = lambda request: {"X": "y"}
    answer = wire.send(plain())
    assert status(answer) == 426
    assert b"X: y" not in answer


def boom(request: Request) -> Any:
    raise ZeroDivisionError("boom")


@pytest.mark.parametrize(
    "answer",
    [
        boom,
        lambda request: {"X": "a\r\nSet-Cookie: evil=1"},
        lambda request: {"X": "a\nSet-Cookie: evil=1"},
        lambda request: {"X": "a\x00"},
        lambda request: {"Set-Cookie: evil=1\r\nX": "a"},
        lambda request: {"not a token": "a"},
        lambda request: {"X": 1},
        lambda request: {"Sec-WebSocket-Accept": "x"},
        lambda request: Response(200, {"X": "a\r\nSet-Cookie: evil=1"}),
        lambda request: Response(99),
        lambda request: Response(200, body=request),
        lambda request: True,
        lambda request: 404,
        lambda request: "nothing here",
    ],
)
@pytest.mark.parametrize("data", [opening(), plain()])
def test_an_onrequest_that_fails_is_logged_and_answered_500(
    wire: Wire, log: pytest.LogCaptureFixture, data: bytes, answer: Any
) -> None:
    wire.server.answer = answer
    response = wire.send(data)
    assert status(response) == 500
    assert b"evil" not in response
    assert body(response) == b"the server failed to answer\n"
    assert wire.server.events == []
    error, refused = log.records
    assert error.levelname == "ERROR"
    assert error.exc_info is not None
    assert error.getMessage() == "onrequest raised for <Request GET '/'>"
    assert refused.levelname == "INFO"


def test_a_long_target_is_cut_in_the_log(wire: Wire, log: pytest.LogCaptureFixture) -> None:
    wire.server.answer = boom
    wire.send(opening("/" + "%1b" * 2000))
    assert all(len(record.getMessage()) < 300 for record in log.records)
    assert len(log.records) == 2


def test_an_onrequest_that_takes_long_is_named(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    wire.server.answer = lambda request: wire.clock.advance(1.5)
    wire.send(opening())
    assert f"{__name__}.Recorder.onrequest took 1.500 s" in log.text


def test_a_keyboard_interrupt_in_onrequest_is_not_swallowed(wire: Wire) -> None:
    def interrupt(request: Request) -> Any:
        raise KeyboardInterrupt

    wire.server.answer = interrupt
    wire.sock.send(opening())
    with pytest.raises(KeyboardInterrupt):
        wire.reactor.step(0)


@pytest.mark.parametrize("size", [1, 1000])
def test_no_second_request_is_asked_for_after_an_interrupt_of_the_first(
    wire: Wire, size: int
) -> None:
    def interrupt(request: Request) -> Any:
        raise KeyboardInterrupt

    wire.server.answer = interrupt
    for start in range(0, len(opening()), size):
        wire.sock.send(opening()[start : start + size])
    with pytest.raises(KeyboardInterrupt):
        wire.settle()
    wire.server.answer = lambda request: None
    assert status(wire.send(opening("/second"))) == 400
    assert [request.target for request in wire.server.requests] == ["/"]


def test_a_request_whose_onrequest_was_interrupted_is_overdue_as_any_that_began(
    wire: Wire,
) -> None:
    def interrupt(request: Request) -> Any:
        raise KeyboardInterrupt

    wire.server.answer = interrupt
    wire.sock.send(opening())
    with pytest.raises(KeyboardInterrupt):
        wire.settle()
    assert status(wire.advance(wire.server.settings.handshake_timeout + 1)) == 408


@pytest.mark.parametrize("end", ["stop", "close"])
@pytest.mark.parametrize("data", [opening() + FRAMES[0], plain()])
def test_a_server_that_is_stopped_by_onrequest_opens_nothing_more(
    wire: Wire, data: bytes, end: str
) -> None:
    def answer(request: Request) -> None:
        getattr(wire.server, end)()

    wire.server.answer = answer
    assert wire.send(data) == b""
    assert wire.dropped()
    assert wire.server.events == []
    assert not wire.server.clients


class Broken(Connection):
    def __init__(self, *args: Any) -> None:
        raise ZeroDivisionError


def test_a_connection_that_cannot_be_made_is_answered_500_and_ends(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture
) -> None:
    wire = wires(connection=Broken)
    assert status(wire.send(opening() + FRAMES[0])) == 500
    assert wire.ended()
    wire.advance(LINGER)
    assert wire.dropped()
    assert wire.server.events == []
    assert [record.levelname for record in log.records] == ["ERROR", "INFO"]


def test_a_server_that_is_stopped_by_an_onrequest_that_raises_says_nothing_more(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    def answer(request: Request) -> None:
        wire.server.stop()
        raise ZeroDivisionError

    wire.server.answer = answer
    assert wire.send(opening()) == b""
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    assert "onrequest raised" in log.text


# ---- extensions ----


def offering(*offers: str) -> bytes:
    """A request for a WebSocket with a field for each of the offers."""
    lines = [f"Sec-WebSocket-Extensions: {offer}\r\n" for offer in offers]
    return opening(more="".join(lines))


def answered(response: bytes) -> str | None:
    """Return what a 101 says about extensions."""
    assert status(response) == 101
    found = re.findall(rb"\r\nSec-WebSocket-Extensions: ([^\r]*)\r\n", response)
    assert len(found) <= 1
    return found[0].decode() if found else None


@pytest.mark.parametrize(
    ("options", "offers", "answer"),
    [
        ({}, ["permessage-deflate", "x-flip"], None),
        ({"compress": True}, [], None),
        ({"compress": True}, [""], None),
        ({"compress": True}, ["x-other, permessage-deflate; x-param"], None),
        (
            {"compress": True},
            ["permessage-deflate; client_max_window_bits"],
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            {"compress": True},
            ["permessage-deflate; server_max_window_bits=7", " , permessage-deflate"],
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            {"compress": True},
            ['permessage-deflate; server_max_window_bits="10"'],
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            {"extensions": [Flip()], "compress": True},
            ["x-flip, permessage-deflate"],
            "x-flip, permessage-deflate; server_max_window_bits=12",
        ),
        ({"extensions": [Flip()]}, ["x-flip, x-flip", "permessage-deflate"], "x-flip"),
    ],
)
def test_the_101_says_which_extensions_are_agreed_on_and_the_connection_too(
    wires: Callable[..., Wire], options: dict[str, Any], offers: list[str], answer: str | None
) -> None:
    wire = wires(**options)
    assert answered(wire.send(offering(*offers))) == answer
    [client] = wire.server.clients
    assert client.extensions == (answer or "")


@pytest.mark.parametrize(
    "offer",
    [
        "x flip",
        "permessage-deflate; a b",
        "permessage-deflate; server_max_window_bits=",
        'permessage-deflate; server_max_window_bits="10',
        "permessage-deflate, \xff",
        "=1",
        "; x",
    ],
)
def test_offers_that_are_malformed_are_answered_400(
    wires: Callable[..., Wire], offer: str
) -> None:
    wire = wires(compress=True)
    response = wire.send(offering(offer, "permessage-deflate"))
    assert status(response) == 400
    assert body(response).startswith(b"Sec-WebSocket-Extensions: ")
    assert wire.server.events == []
    assert not wire.server.clients


def test_a_server_without_extensions_does_not_look_at_offers(wire: Wire) -> None:
    assert answered(wire.send(offering("= , ;"))) is None


def test_offers_are_not_looked_at_if_onrequest_answers_otherwise(
    wires: Callable[..., Wire],
) -> None:
    flip = Flip()
    wire = wires(extensions=[flip])
    wire.server.answer = lambda request: Response(403)
    assert status(wire.send(offering("x-flip"))) == 403
    assert flip.made == []


def misanswering(answer: object) -> Flip:
    """Return an extension whose answer is none."""
    flip = Flip()
    flip.answer = lambda offer: answer  # type: ignore[method-assign]
    return flip


@pytest.mark.parametrize(
    "extension",
    [
        Faulty("answer", raiser(ZeroDivisionError("of the extension"))),
        Faulty("answer", raiser(ValueError("of the extension"))),
        Faulty("answer", raiser(ProtocolError(1002, "of the extension"))),
        misanswering(5),
        misanswering(((), None)),
        misanswering(([("a b", None)], Codec())),
        misanswering(([("a", 10)], Codec())),
        misanswering(([("a", "1\r\nX-Evil: 1")], Codec())),
        misanswering((["ab"], None)),
    ],
    ids=range(9),
)
def test_an_extension_that_fails_at_an_offer_is_logged_and_answered_500(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture, extension: Flip
) -> None:
    wire = wires(extensions=[extension])
    response = wire.send(offering("x-flip") + FRAMES[0])
    assert status(response) == 500
    assert body(response) == b"the server failed to answer\n"
    assert wire.server.events == []
    assert not wire.server.clients
    assert wire.ended()
    error, refused = log.records
    assert (error.levelname, refused.levelname) == ("ERROR", "INFO")
    assert error.exc_info is not None
    assert error.getMessage() == "an extension failed for <Request GET '/'>"
    # Nobody else is in trouble.
    other, theirs = memory_pair()
    wire.accept(theirs)
    other.send(opening())
    wire.settle()
    assert status(bytes(other.inbox)) == 101


def test_an_extension_can_refuse_a_request_by_a_status_of_its_own(
    wires: Callable[..., Wire],
) -> None:
    refusal = HandshakeError(403, "not without a key", [("X-Why", "key")])
    wire = wires(extensions=[Faulty("answer", raiser(refusal))])
    response = wire.send(offering("x-flip"))
    assert status(response) == 403
    assert b"\r\nX-Why: key\r\n" in response


def test_an_interrupt_in_an_extension_is_not_swallowed(wires: Callable[..., Wire]) -> None:
    wire = wires(extensions=[Faulty("answer", raiser(KeyboardInterrupt()))])
    wire.sock.send(offering("x-flip"))
    with pytest.raises(KeyboardInterrupt):
        wire.reactor.step(0)


@pytest.mark.parametrize("end", ["stop", "close", "abort"])
def test_a_server_that_is_stopped_by_an_extension_opens_nothing_more(
    wires: Callable[..., Wire], end: str
) -> None:
    ends: list[Wire] = []
    wire = wires(extensions=[Faulty("answer", lambda: getattr(ends[0].server, end)())])
    ends.append(wire)
    assert wire.send(offering("x-flip") + FRAMES[0]) == b""
    assert wire.dropped()
    assert wire.server.events == []
    assert not wire.server.clients
    assert wire.reactor.next_timeout() is None


# ---- the handshake fails: one answer, and nothing behind it ----

ADMIN = b"GET /admin HTTP/1.1\r\nHost: example.com\r\n\r\n"
VERSION = "Sec-WebSocket-Version: 13"
REJECTED = {
    "version 7": (opening().replace(b"Version: 13", b"Version: 7"), 426),
    "version 14": (opening().replace(b"Version: 13", b"Version: 14"), 426),
    "no version": (opening().replace(f"{VERSION}\r\n".encode(), b""), 426),
    "versions 13, 8": (opening().replace(b"Version: 13", b"Version: 13, 8"), 426),
    "two versions": (opening(more=f"{VERSION}\r\n"), 426),
    "no upgrade": (plain(), 426),
    "h2c": (opening().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
    "no key": (opening().replace(b"Sec-WebSocket-Key", b"X"), 400),
    "a body": (opening(more=f"Content-Length: {len(ADMIN)}\r\n"), 400),
    "a chunked body": (opening(more="Transfer-Encoding: chunked\r\n"), 400),
    "two hosts": (opening(more="Host: example.com\r\n"), 400),
    "no HTTP": (b"\x00", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "another origin": (opening(more="Origin: http://evil\r\n"), 403),
    "another location": (opening("/nowhere"), 404),
    "no GET": (plain("POST"), 405),
    "a long target": (b"GET /" + b"x" * 8192, 414),
    "a long field": (b"GET / HTTP/1.1\r\nX: " + b"x" * 8192, 431),
    "many fields": (opening(more="X: y\r\n" * 99), 431),
    "an onrequest that raises": (opening("/raise"), 500),
    "HTTP/2": (plain(version="2.0"), 505),
}


def raising(request: Request) -> None:
    if request.path == "/raise":
        raise ZeroDivisionError


@pytest.mark.parametrize(("head", "expected"), REJECTED.values(), ids=REJECTED.keys())
@pytest.mark.parametrize("size", [1 << 30, 1, 1000])
def test_a_rejection_is_one_response_and_what_follows_is_thrown_away(
    wires: Callable[..., Wire], head: bytes, expected: int, size: int
) -> None:
    wire = wires(locations=["/", "/raise"])
    wire.server.answer = raising
    wire.theirs.chunk = size
    wire.send(head + ADMIN)
    answer = wire.send(ADMIN * 3)
    assert status(answer) == expected
    body(answer)
    assert answer.count(b"\r\nConnection: ") == 1
    assert (b"\r\nConnection: Upgrade, close\r\n" in answer) is (expected == 426)
    assert (b"\r\nConnection: close\r\n" in answer) is (expected != 426)
    assert (b"\r\nSec-WebSocket-Version: 13\r\n" in answer) is (expected == 426)
    assert (b"\r\nUpgrade: websocket\r\n" in answer) is (expected == 426)
    assert (b"\r\nAllow: GET\r\n" in answer) is (expected == 405)
    assert all(request.path != "/admin" for request in wire.server.requests)
    assert wire.server.events == []
    assert wire.ended()
    assert not wire.dropped()
    wire.sock.close()
    wire.settle()
    assert wire.dropped()


def test_a_hundred_fields_are_allowed_wherever_the_upgrade_stands(wire: Wire) -> None:
    junk = "".join(f"X-{number}: y\r\n" for number in range(95))
    answer = wire.send(f"GET / HTTP/1.1\r\n{junk}{FIELDS}\r\n".encode())
    assert status(answer) == 101


def test_junk_before_the_upgrade_beyond_the_limit_is_answered(wire: Wire) -> None:
    junk = "".join(f"X-{number}: y\r\n" for number in range(99))
    assert status(wire.send(f"GET / HTTP/1.1\r\n{junk}{FIELDS}\r\n".encode())) == 431


def test_a_server_that_is_stopping_says_when_to_come_again(wire: Wire) -> None:
    wire.server.stop()
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    answer = wire.send(opening() + FRAMES[0])
    assert status(answer) == 503
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert wire.server.requests == []


def test_a_rejection_is_one_line_of_information(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    wire.send(b"GET / HTTP/1.1\r\n\x00\r\n\r\n" + ADMIN)
    [record] = log.records
    assert record.levelname == "INFO"
    assert record.exc_info is None
    assert record.getMessage() == (
        "10.0.0.1:4711: refused: control character in the head (RFC 9110 §5.5) (HTTP 400)"
    )


def test_tls_on_a_plain_port_is_one_line_of_information(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    answer = wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506))
    assert status(answer) == 400
    [record] = log.records
    assert record.levelname == "INFO"
    assert "TLS, on a port without it" in record.getMessage()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/\x1b[2J\r\n\r\n", b"GET / HTTP/\x85\xff\r\n\r\n", b""]
)
def test_no_control_character_of_a_peer_reaches_the_log(
    wire: Wire, log: pytest.LogCaptureFixture, data: bytes
) -> None:
    wire.sock, theirs = memory_pair()
    wire.accept(theirs, "/tmp/\x1b[2J\r\nforged")
    wire.send(data)
    wire.advance(10)
    messages = [record.getMessage() for record in log.records]
    assert any("/tmp/\\x1b[2J\\r\\nforged" in message for message in messages)
    assert all(message.isprintable() for message in messages)


# ---- the deadline ----


def test_a_request_that_does_not_come_in_time_is_answered_408(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    wire.send(opening()[:-1])
    assert wire.advance(9.9) == b""
    assert not wire.ended()
    assert status(wire.advance(0.1)) == 408
    assert wire.ended()
    assert wire.send(b"\n" + ADMIN).count(b"HTTP/1.1") == 1
    assert wire.server.requests == []
    assert [record.levelname for record in log.records] == ["INFO"]


def test_a_silent_client_is_dropped_without_an_answer(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    assert wire.advance(9.9) == b""
    assert not wire.dropped()
    assert wire.advance(0.1) == b""
    assert wire.dropped()
    [record] = log.records
    assert record.levelname == "INFO"
    assert record.getMessage() == "10.0.0.1:4711: no request came"


def test_no_byte_moves_the_deadline(wires: Callable[..., Wire]) -> None:
    wire = wires(handshake_timeout=60)
    data = opening()
    assert len(data) > 60
    for second in range(59):
        wire.send(data[second : second + 1])
        assert wire.advance(1) == b""
    assert status(wire.advance(1)) == 408


def test_the_deadline_does_not_answer_a_request_twice(wire: Wire) -> None:
    wire.send(plain())
    assert status(wire.advance(3600)) == 426


# ---- lingering ----


def test_after_an_answer_the_client_has_a_moment_to_close(wire: Wire) -> None:
    wire.send(plain())
    assert wire.ended()
    wire.advance(LINGER - 0.1)
    assert not wire.dropped()
    wire.advance(0.1)
    assert wire.dropped()


def test_a_client_that_closes_in_time_is_waited_for_no_longer(wire: Wire) -> None:
    wire.send(plain())
    wire.sock.shutdown(socket.SHUT_WR)
    wire.settle()
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None


def test_a_large_answer_waits_for_who_reads_slowly_and_not_for_who_does_not(
    wires: Callable[..., Wire],
) -> None:
    wire = wires(write_timeout=7)
    wire.sock.capacity = 100_000
    wire.server.answer = lambda request: Response(200, body=b"x" * 300_000)
    wire.send(plain())
    for _ in range(3):
        wire.advance(6.9)
        assert not wire.dropped()
        wire.sock.recv(50_000)
    wire.advance(6.9)
    assert not wire.ended()
    assert not wire.dropped()
    wire.advance(LINGER + 0.1)
    assert wire.dropped()
    assert len(wire.sock.inbox) == 100_000


def test_who_reads_slowly_is_not_cut_off_by_a_stall_in_the_middle_of_a_round(
    wires: Callable[..., Wire],
) -> None:
    wire = wires(write_timeout=7)
    wire.sock.capacity = 100_000
    wire.server.answer = lambda request: Response(200, body=b"x" * 300_000)
    wire.send(plain())
    wire.clock.advance(LINGER)
    busy: Any
    busy, other = memory_pair()
    other.send(b"x")
    wire.reactor.register(busy, EVENT_READ, lambda mask: wire.clock.advance(0.01))
    assert wire.reactor.step(budget=0.001).deferred == 1, "the look is left over"
    wire.sock.recv(50_000)
    wire.clock.advance(60)
    wire.reactor.step(budget=0.001)
    wire.reactor.unregister(busy)
    wire.settle()
    assert not wire.dropped()
    assert len(wire.sock.inbox) == 100_000


@pytest.mark.parametrize("half_closed", [False, True])
def test_a_large_answer_leaves_whole_to_whoever_reads_it(wire: Wire, half_closed: bool) -> None:
    wire.sock.capacity = 10_000
    wire.server.answer = lambda request: Response(200, body=b"x" * 300_000)
    wire.send(plain())
    if half_closed:
        wire.sock.shutdown(socket.SHUT_WR)
    received = b""
    while not wire.ended():
        received += wire.sock.recv(10_000)
        wire.settle()
    received += bytes(wire.sock.inbox)
    assert status(received) == 200
    assert body(received) == b"x" * 300_000


def test_a_client_that_uploads_without_end_is_cut_off(wire: Wire) -> None:
    wire.send(plain("POST"))
    sent = 0
    while not wire.dropped():
        sent += wire.sock.send(b"x" * 10_000)
        wire.settle()
    assert 256 * 1024 <= sent < 512 * 1024
    assert status(bytes(wire.sock.inbox)) == 405


def test_a_client_that_still_uploads_can_read_the_status() -> None:
    server = Server(("127.0.0.1", 0))
    upload = 10_000_000
    address: Any = server.addresses[0]
    with socket.create_connection(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % upload)
        client.setblocking(False)
        sent = 0
        try:
            while sent < upload:
                server.reactor.step(0)
                try:
                    sent += client.send(bytes(min(60_000, upload - sent)))
                except BlockingIOError:
                    continue
        except OSError:
            pass  # cut off after what the server was willing to read and drop
        answer = b""
        while b"\r\n\r\n" not in answer:
            server.reactor.step(0)
            try:
                answer += client.recv(65536) or b"the end\r\n\r\n"
            except BlockingIOError:
                continue
    server.close()
    assert sent > 256 * 1024
    assert status(answer) == 400


# ---- the client goes away ----


@pytest.mark.parametrize("data", [b"", opening()[:-1]])
def test_a_client_that_leaves_before_its_request_is_forgotten(
    wire: Wire, log: pytest.LogCaptureFixture, data: bytes
) -> None:
    wire.sock.send(data)
    wire.sock.close()
    wire.settle()
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    assert wire.server.events == []
    assert log.records == []


def test_a_client_that_is_reset_before_its_request_is_forgotten(wire: Wire) -> None:
    wire.send(b"GET")
    wire.sock.reset()
    wire.settle()
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None


def test_a_second_request_is_not_read_even_if_the_answer_to_the_first_cannot_be_sent(
    wire: Wire, log: pytest.LogCaptureFixture
) -> None:
    first = plain()
    wire.theirs.chunk = len(first)
    wire.sock.send(first + ADMIN + b"\x00")
    wire.sock.close()
    wire.settle()
    assert wire.dropped()
    assert [request.path for request in wire.server.requests] == ["/"]
    assert len(log.records) == 1


def test_an_opening_that_is_aborted_is_gone_in_the_next_step(wire: Wire) -> None:
    wire.send(b"GET")
    wire.server.stop()
    wire.settle()
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None


# ---- adopted: somebody else has read the beginning ----


@pytest.mark.parametrize("cut", [0, 1, 50, -3, None])
def test_what_an_adopted_socket_still_brings_comes_behind_what_was_read_of_it(
    wire: Wire, cut: int | None
) -> None:
    data = opening() + FRAMES[0]
    wire.sock, theirs = memory_pair()
    wire.sock.send(data[cut:] if cut is not None else b"")
    adopt(wire, theirs, data[:cut])
    assert wire.server.requests == []
    wire.settle()
    assert wire.server.events == ["open", "one"]


@pytest.mark.parametrize("end", ["stop", "abort", "close", "leave"])
def test_an_adopted_socket_that_is_dropped_before_the_next_step_is_never_asked_about(
    wire: Wire, log: pytest.LogCaptureFixture, end: str
) -> None:
    wire.sock, theirs = memory_pair()
    if end == "leave":
        adopt(wire, theirs, opening()[:-1])
        wire.sock.close()
    else:
        opened = adopt(wire, theirs, opening())
        opened.abort() if end == "abort" else getattr(wire.server, end)()
    if not wire.reactor.closed:
        wire.settle()
    assert theirs.closed
    assert wire.server.requests == []
    assert log.records == []


def test_an_adopted_socket_speaks_neither_tls_nor_the_proxy_protocol(
    wires: Callable[..., Wire],
) -> None:
    wire = wires(tls=certificates.server_context(), proxy_protocol=True)
    for head in (opening(), b""):
        wire.sock, theirs = memory_pair()
        adopt(wire, theirs, head)
        wire.send(opening()[len(head) :])
    assert wire.server.events == ["open"] * 2
    assert {client.tls for client in wire.server.clients} == {None}


def adopt(wire: Wire, theirs: Any, head: bytes) -> Opening:
    """Have the server adopt one end of a pair, which has no address to be asked for."""
    wire.server._open(theirs, ("10.0.0.1", 4712), head)
    return list(wire.server._openings)[-1]


# ---- TLS ----


class Secure:
    """TLS by hand, at the client's end of a wire."""

    def __init__(self, wire: Wire, context: ssl.SSLContext | None = None) -> None:
        self.wire = wire
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or certificates.client_context()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.plain = b""

    def hello(self) -> bytes:
        """Return what a client says first, unsent."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def exchange(self) -> bool:
        """Send what is to be sent, and take what comes; return whether something came."""
        if self.outgoing.pending:
            self.wire.sock.send(self.outgoing.read())
        self.wire.settle()
        data = self.wire.sock.recv(1 << 20) if self.wire.sock.inbox else b""
        self.incoming.write(data)
        return bool(data)

    def shake(self) -> Secure:
        while True:
            try:
                self.tls.do_handshake()
                return self
            except ssl.SSLWantReadError:
                assert self.exchange(), "the server has nothing to say"

    def send(self, data: bytes) -> bytes:
        """Send `data`, let the server work, and return all that it has answered so far."""
        self.tls.write(data)
        return self.read()

    def read(self) -> bytes:
        """Return all that the server has said so far; a close_notify reads as `<end>`."""
        moved = True
        while moved:
            moved = self.exchange()
            try:
                while True:
                    part = self.tls.read(1 << 16)
                    if not part:
                        return self.plain + b"<end>"
                    self.plain += part
            except ssl.SSLWantReadError:
                continue
        return self.plain


@pytest.fixture
def tls() -> ssl.SSLContext:
    return certificates.server_context()


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("size", [1 << 30, 1000, 7])
def test_a_request_inside_tls_opens_a_connection_that_knows_its_tls(
    wires: Callable[..., Wire], tls: ssl.SSLContext, version: str, size: int
) -> None:
    context = certificates.client_context()
    context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    wire = wires(tls=tls)
    wire.theirs.chunk = size
    peer = Secure(wire, context).shake()
    answer = peer.send(opening() + b"".join(FRAMES))
    assert answer.startswith(ACCEPTED)
    assert pack_message("two", masked=False) in answer
    assert wire.server.events == ["open", "one", "two", b"three"]
    [client] = wire.server.clients
    assert client.tls.version() == version
    assert client.tls.cipher() == peer.tls.cipher()
    assert client.address == ("10.0.0.1", 4711)


def test_without_tls_a_connection_says_so(wire: Wire) -> None:
    wire.send(opening())
    [client] = wire.server.clients
    assert client.tls is None


def test_an_answer_inside_tls_is_followed_by_close_notify_and_the_end(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls)
    wire.server.answer = lambda request: Response(200, body=b"x" * 300_000)
    answer = Secure(wire).shake().send(plain())
    assert status(answer) == 200
    assert answer.endswith(b"x" * 300_000 + b"<end>")
    assert wire.ended()
    wire.advance(LINGER)
    assert wire.dropped()


def test_the_request_may_come_in_one_piece_with_the_end_of_the_tls_handshake(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls)
    peer = Secure(wire)
    wire.sock.send(peer.hello())
    wire.settle()
    peer.incoming.write(wire.sock.recv(1 << 20))
    peer.tls.do_handshake()
    peer.send(opening() + FRAMES[0])
    assert wire.server.events == ["open", "one"]


def test_the_context_can_be_replaced_for_those_who_come_later(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls)
    early = Secure(wire)
    first, hello = wire.sock, early.hello()
    wire.server.tls = certificates.server_context("localhost", "renewed.example")
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    late = Secure(wire).shake()
    assert ("DNS", "renewed.example") in late.tls.getpeercert()["subjectAltName"]  # type: ignore[index]
    late.send(opening())
    wire.sock = first
    wire.sock.send(hello)
    early.shake()
    assert ("DNS", "renewed.example") not in early.tls.getpeercert()["subjectAltName"]  # type: ignore[index]
    wire.server.tls = None
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    assert status(wire.send(opening())) == 101
    assert wire.server.events == ["open"] * 2


def test_a_certificate_can_be_replaced_in_a_context_that_is_in_use(
    wires: Callable[..., Wire], tls: ssl.SSLContext, tmp_path: pathlib.Path
) -> None:
    wire = wires(tls=tls)
    before = Secure(wire).shake()
    before.send(opening())
    files = certificates.files(tmp_path, "localhost", "renewed.example")
    tls.load_cert_chain(files.certificate, files.key)
    before.send(FRAMES[0])
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    after = Secure(wire).shake()
    assert ("DNS", "renewed.example") in after.tls.getpeercert()["subjectAltName"]  # type: ignore[index]
    assert wire.server.events == ["open", "one"]


@pytest.mark.parametrize("part", ["nothing", "half of it", "a hello", "all but a request"])
def test_who_stalls_in_the_tls_handshake_is_dropped_in_time_with_one_line(
    wires: Callable[..., Wire], tls: ssl.SSLContext, log: pytest.LogCaptureFixture, part: str
) -> None:
    wire = wires(tls=tls, handshake_timeout=5)
    peer = Secure(wire)
    if part == "all but a request":
        peer.shake().exchange()
    else:
        hello = peer.hello()
        sent = {"nothing": 0, "half of it": len(hello) // 2, "a hello": len(hello)}[part]
        wire.send(hello[:sent])
    wire.advance(4.9)
    assert not wire.dropped()
    wire.advance(0.1)
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    assert [record.getMessage() for record in log.records] == ["10.0.0.1:4711: no request came"]


def test_no_byte_of_a_tls_handshake_moves_the_deadline(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls, handshake_timeout=5)
    hello = Secure(wire).hello()
    for byte in range(4):
        wire.send(hello[byte : byte + 1])
        wire.advance(1)
        assert not wire.dropped()
    wire.advance(1)
    assert wire.dropped()


def test_half_a_request_inside_tls_is_answered_408_inside_tls(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls)
    peer = Secure(wire).shake()
    assert peer.send(opening()[:-1]) == b""
    wire.advance(10)
    answer = peer.read()
    assert status(answer) == 408
    assert answer.endswith(b"<end>")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "CONNECT"])
@pytest.mark.parametrize("size", [1 << 30, 1])
def test_plain_http_on_a_tls_port_is_answered_in_plain_http_with_one_line(
    wires: Callable[..., Wire],
    tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
    method: str,
    size: int,
) -> None:
    wire = wires(tls=tls)
    wire.theirs.chunk = size
    wire.sock.send(plain(method) + ADMIN)
    wire.settle()
    answer = bytes(wire.sock.inbox)
    assert status(answer) == 400
    assert body(answer) == b"plain HTTP, on a port with TLS\n"
    assert wire.ended()
    wire.advance(LINGER)
    assert wire.dropped()
    assert wire.server.requests == []
    [record] = log.records
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        "10.0.0.1:4711: refused: plain HTTP, on a port with TLS (HTTP 400)"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x16\x03\x01\xff\xff" + bytes(100),
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        bytes(range(256)),
    ],
)
def test_what_is_no_tls_is_refused_with_one_line_and_the_end(
    wires: Callable[..., Wire],
    tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
    data: bytes,
) -> None:
    wire = wires(tls=tls)
    wire.send(data)
    wire.send(data)
    assert wire.ended()
    wire.advance(LINGER)
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    assert wire.server.requests == []
    [record] = log.records
    assert record.levelname == "INFO"
    assert record.exc_info is None
    assert record.getMessage().startswith("10.0.0.1:4711: no TLS: ")
    assert record.getMessage().isprintable()


def test_a_client_that_distrusts_the_certificate_is_one_line_and_hears_no_more(
    wires: Callable[..., Wire], tls: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    wire = wires(tls=tls)
    peer = Secure(wire, certificates.client_context(trust=False))
    with pytest.raises(ssl.SSLCertVerificationError):
        peer.shake()
    peer.exchange()
    assert wire.ended()
    wire.sock.close()
    wire.settle()
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    [record] = log.records
    assert "no TLS: " in record.getMessage()
    assert "UNKNOWN_CA" in record.getMessage().upper().replace(" ", "_")


def test_a_client_without_the_certificate_that_is_asked_for_is_told_by_an_alert(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture
) -> None:
    wire = wires(tls=certificates.server_context(ask=True))
    peer = Secure(wire).shake()
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        peer.send(opening())
    assert wire.server.requests == []
    assert wire.ended()
    [record] = log.records
    assert "no TLS: " in record.getMessage()


def test_a_client_with_the_certificate_that_is_asked_for_is_known_by_it(
    wires: Callable[..., Wire],
) -> None:
    wire = wires(tls=certificates.server_context(ask=True))
    Secure(wire, certificates.client_context("ada.example")).shake().send(opening())
    [client] = wire.server.clients
    assert client.tls.getpeercert()["subjectAltName"] == (("DNS", "ada.example"),)


@pytest.mark.parametrize("how", ["stop", "abort", "close", "leave", "reset"])
@pytest.mark.parametrize("turn", ["waiting for its turn", "waiting for the client"])
def test_a_tls_handshake_can_end_at_any_point_and_nothing_is_left(
    wires: Callable[..., Wire],
    tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
    how: str,
    turn: str,
) -> None:
    wire = wires(tls=tls)
    wire.sock.send(Secure(wire).hello())
    if turn == "waiting for its turn":
        wire.reactor.step(0)
        assert not wire.sock.inbox
    else:
        assert wire.settle()
    if how == "leave":
        wire.sock.close()
    elif how == "reset":
        wire.sock.reset()
    else:
        getattr(wire.server, how)()
    if not wire.reactor.closed:
        wire.settle()
    assert wire.dropped()
    assert not wire.server._openings
    assert wire.server.events == []
    assert log.records == []


def test_tls_handshakes_count_as_handshakes_and_the_slowest_makes_room(
    wires: Callable[..., Wire], tls: ssl.SSLContext
) -> None:
    wire = wires(tls=tls, max_pending_handshakes=2)
    pairs = [memory_pair() for _ in range(2)]
    wire.send(Secure(wire).hello())
    wire.accept(pairs[0][1])
    wire.advance(1)
    wire.accept(pairs[1][1])
    wire.settle()
    assert wire.dropped()
    assert [theirs.closed for _, theirs in pairs] == [False, False]
    wire.sock = pairs[0][0]
    Secure(wire).shake().send(opening())
    assert wire.server.events == ["open"]


# ---- the PROXY protocol ----

TCP6 = ipaddress.ip_address("2001:db8::7").packed
PROXIED = {
    "version 1": (b"PROXY TCP4 192.0.2.7 10.0.0.9 999 443\r\n", ("192.0.2.7", 999)),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::7 ::1 999 443\r\n", ("2001:db8::7", 999)),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", ("10.0.0.1", 4711)),
    "version 2": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x09\x03\xe7\x01\xbb",
        ("192.0.2.7", 999),
    ),
    "version 2, IPv6": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + TCP6 + TCP6 + b"\x03\xe7\x01\xbb",
        ("2001:db8::7", 999),
    ),
    "version 2, unix": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + b"/run/a".ljust(108, b"\0") + bytes(108),
        "/run/a",
    ),
    "version 2, local": (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", ("10.0.0.1", 4711)),
}


@pytest.mark.parametrize(("head", "address"), PROXIED.values(), ids=PROXIED.keys())
@pytest.mark.parametrize("size", [1 << 30, 1, 13])
def test_the_proxy_protocol_says_where_the_client_is(
    wires: Callable[..., Wire], head: bytes, address: Any, size: int
) -> None:
    wire = wires(proxy_protocol=True)
    wire.theirs.chunk = size
    wire.send(head + opening() + FRAMES[0])
    assert wire.server.events == ["open", "one"]
    [client] = wire.server.clients
    assert client.address == client.request.address == address


@pytest.mark.parametrize("name", ["version 1", "version 2"])
def test_the_head_of_a_proxy_can_be_cut_anywhere(wires: Callable[..., Wire], name: str) -> None:
    head, address = PROXIED[name]
    data = head + opening()
    for cut in range(1, len(head) + 2):
        wire = wires(proxy_protocol=True)
        wire.send(data[:cut])
        wire.send(data[cut:])
        assert [request.address for request in wire.server.requests] == [address]


@pytest.mark.parametrize(("head", "address"), PROXIED.values(), ids=PROXIED.keys())
@pytest.mark.parametrize("size", [1 << 30, 5])
@pytest.mark.parametrize("together", [True, False])
def test_behind_the_proxys_head_comes_the_tls_handshake(
    wires: Callable[..., Wire],
    tls: ssl.SSLContext,
    head: bytes,
    address: Any,
    size: int,
    together: bool,
) -> None:
    wire = wires(proxy_protocol=True, tls=tls)
    wire.theirs.chunk = size
    peer = Secure(wire)
    hello = peer.hello()
    if together:
        wire.sock.send(head + hello)
    else:
        wire.send(head)
        wire.sock.send(hello)
    assert peer.shake().send(opening()).startswith(ACCEPTED)
    [client] = wire.server.clients
    assert client.address == address
    assert client.tls is not None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (opening(), "a request, not a PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS, not a PROXY header"),
        (b"\xff\x1b[2J", "byte 0xff, not a PROXY header"),
        (b"PROXY TCP4 192.0.2.7\r\n", "PROXY header of neither"),
        (b"PROXY TCP4 " + b"1" * 200, "PROXY header of over 107 bytes"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab", "too short for its family"),
    ],
)
@pytest.mark.parametrize("size", [1 << 30, 1])
def test_who_does_not_speak_the_proxy_protocol_is_dropped_with_one_line_and_no_answer(
    wires: Callable[..., Wire],
    log: pytest.LogCaptureFixture,
    data: bytes,
    what: str,
    size: int,
) -> None:
    wire = wires(proxy_protocol=True)
    wire.theirs.chunk = size
    assert wire.send(data) == b""
    assert wire.dropped()
    assert wire.reactor.next_timeout() is None
    assert not wire.server._openings
    [record] = log.records
    assert record.levelname == "INFO"
    assert record.getMessage().startswith("10.0.0.1:4711: refused: ")
    assert what in record.getMessage()
    assert record.getMessage().isprintable()


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4 192.", PROXIED["version 2"][0]])
def test_a_proxy_that_stalls_is_dropped_in_time(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture, data: bytes
) -> None:
    wire = wires(proxy_protocol=True, handshake_timeout=5)
    wire.send(data)
    wire.advance(4.9)
    assert not wire.dropped()
    wire.advance(0.1)
    assert wire.dropped()
    [record] = log.records
    address = "192.0.2.7:999" if data and data == PROXIED["version 2"][0] else "10.0.0.1:4711"
    assert record.getMessage() == f"{address}: no request came"


@pytest.mark.parametrize("secure", [False, True])
def test_with_trusted_proxies_nobody_else_may_speak_the_proxy_protocol(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture, secure: bool
) -> None:
    context = certificates.server_context() if secure else None
    wire = wires(proxy_protocol=True, trusted_proxies=["192.0.2.0/24"], tls=context)
    assert wire.settle() == b""
    assert wire.dropped()
    assert not wire.server._openings
    assert wire.reactor.next_timeout() is None
    assert wire.server.requests == []
    assert [record.getMessage() for record in log.records] == [
        "10.0.0.1:4711: refused: not a trusted proxy"
    ]


def test_a_trusted_proxy_may_speak_the_proxy_protocol(wires: Callable[..., Wire]) -> None:
    wire = wires(proxy_protocol=True, trusted_proxies=["10.0.0.0/8", "unix"])
    head, address = PROXIED["version 1"]
    # The client is no proxy, and is not believed.
    wire.send(head + opening(more="X-Forwarded-For: 203.0.113.1\r\n"))
    wire.sock, theirs = memory_pair()
    wire.accept(theirs, "")
    wire.send(head + opening())
    # Nor is there a client: the proxy itself asks, for another one.
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    wire.send(PROXIED["version 2, local"][0] + opening(more="X-Forwarded-For: 203.0.113.1\r\n"))
    found = [request.address for request in wire.server.requests]
    assert found == [address, address, ("203.0.113.1", 0)]


# ---- what a trusted proxy says about its client ----


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        (("10.0.0.1", 5), "X-Forwarded-For: 192.0.2.7\r\n", ("192.0.2.7", 0)),
        (("10.0.0.1", 5), "X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n", ("192.0.2.7", 0)),
        (
            ("10.0.0.1", 5),
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7, 10.1.1.1\r\n",
            ("192.0.2.7", 0),
        ),
        (("10.0.0.1", 5), 'Forwarded: for="[2001:db8::7]:999"\r\n', ("2001:db8::7", 999)),
        (("::ffff:10.0.0.1", 5, 0, 0), "Forwarded: for=192.0.2.7\r\n", ("192.0.2.7", 0)),
        (("10.0.0.1", 5), "X-Forwarded-For: nonsense\r\n", ("10.0.0.1", 5)),
        (("10.0.0.1", 5), "", ("10.0.0.1", 5)),
        (("192.0.2.8", 5), "X-Forwarded-For: 192.0.2.7\r\n", ("192.0.2.8", 5)),
        (("192.0.2.8", 5), "Forwarded: for=a\r\nX-Forwarded-For: b\r\n", ("192.0.2.8", 5)),
        ("", "X-Forwarded-For: 192.0.2.7\r\n", ("192.0.2.7", 0)),
    ],
)
def test_a_trusted_proxy_and_nobody_else_says_where_the_client_is(
    wires: Callable[..., Wire], peer: Any, fields: str, address: Any
) -> None:
    wire = wires(trusted_proxies=["10.0.0.0/8", "unix"])
    wire.sock, theirs = memory_pair()
    wire.accept(theirs, peer)
    wire.send(opening(more=fields))
    [client] = wire.server.clients
    assert client.address == client.request.address == address


def test_a_peer_of_a_unix_socket_is_not_believed_unless_it_is_said(
    wires: Callable[..., Wire],
) -> None:
    wire = wires(trusted_proxies=["127.0.0.1"])
    wire.sock, theirs = memory_pair()
    wire.accept(theirs, "")
    wire.send(opening(more="X-Forwarded-For: 192.0.2.7\r\n"))
    [client] = wire.server.clients
    assert client.address == ""


def test_a_proxy_that_tells_of_two_clients_is_answered_400(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture
) -> None:
    wire = wires(trusted_proxies=["10.0.0.1"])
    fields = "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 192.0.2.8\r\n"
    assert status(wire.send(opening(more=fields))) == 400
    assert wire.server.requests == []
    [record] = log.records
    assert record.getMessage().startswith("10.0.0.1:4711: refused: ")


def test_the_log_says_where_the_client_behind_the_proxy_is(
    wires: Callable[..., Wire], log: pytest.LogCaptureFixture
) -> None:
    wire = wires(trusted_proxies=["10.0.0.1"])
    wire.send(plain().replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"))
    assert log.records[0].getMessage().startswith("192.0.2.7:0: refused: ")


# ---- who the client is ----


def basic(user: str, password: str) -> str:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Authorization: Basic {token}\r\n"


@pytest.mark.parametrize("make", [BasicAuth, DigestAuth])
def test_who_does_not_say_who_it_is_is_asked(wire: Wire, make: Any) -> None:
    wire.server.answer = make({"Ada": "lovelace"}).check
    answer = wire.send(opening())
    assert status(answer) == 401
    assert b"\r\nWWW-Authenticate: " + make.__name__[:-4].encode() in answer
    assert wire.server.events == []


def test_who_says_who_it_is_is_known_by_its_connection(wires: Callable[..., Wire]) -> None:
    wire = wires()
    wire.server.answer = BasicAuth({"Ada": "lovelace"}).check
    wire.send(opening(more=basic("Ada", "lovelace")))
    [client] = wire.server.clients
    assert client.request.user == "Ada"
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    assert status(wire.send(opening(more=basic("Ada", "byron")))) == 401
    assert wire.server.requests[-1].user is None


def test_who_knows_the_password_answers_the_challenge_of_digest(wire: Wire) -> None:
    wire.server.answer = DigestAuth({"Ada": "lovelace"}, algorithms=["SHA-256"]).check
    challenge = wire.send(opening("/x")).decode()
    [nonce] = re.findall(r'nonce="([^"]+)"', challenge)
    response = digest_response(
        algorithm="SHA-256",
        user="Ada",
        password="lovelace",
        realm="WebSocket",
        nonce=nonce,
        nc="00000001",
        cnonce="c",
        uri="/x",
        method="GET",
    )
    field = (
        f'Authorization: Digest username="Ada", realm="WebSocket", nonce="{nonce}", uri="/x",'
        f' algorithm=SHA-256, qop=auth, nc=00000001, cnonce="c", response="{response}"\r\n'
    )
    wire.sock, theirs = memory_pair()
    wire.accept(theirs)
    assert wire.send(opening("/x", field)).startswith(ACCEPTED)
    [client] = wire.server.clients
    assert client.request.user == "Ada"


def test_onrequest_and_the_connection_see_the_cookies(wire: Wire) -> None:
    seen: list[dict[str, str]] = []
    wire.server.answer = lambda request: seen.append(request.cookies)
    wire.send(opening(more="Cookie: id=7; theme=dark\r\nCookie: id=8; odd\r\n"))
    assert seen == [{"id": "7", "theme": "dark"}]
    [client] = wire.server.clients
    assert client.request.user is None


# ---- who asks as others have ----


def test_who_asks_as_others_have_is_asked_for_and_answered_as_they_were(wires: Any) -> None:
    wire = wires(locations={"/chat/{room}": Handlers()}, subprotocols=["v1"])
    request = opening("/chat/blue", "Sec-WebSocket-Protocol: v1\r\n")
    answers = set()
    for number in range(5):
        if number:
            wire.sock, theirs = memory_pair()
            wire.accept(theirs, ("10.0.0.1", number))
        answers.add(wire.send(request))
        client = list(wire.server.clients)[number]
        assert client.request.params == {"room": "blue"}
        assert client.request.headers["Sec-WebSocket-Protocol"] == "v1"
        assert (client.subprotocol, client.address[1] in (number, 4711)) == ("v1", True)
    assert answers == {ACCEPTED + b"Sec-WebSocket-Protocol: v1\r\n\r\n"}


def test_who_asks_as_others_have_is_refused_while_the_server_stops_and_by_onrequest(
    wires: Any,
) -> None:
    wire = wires()
    for number in range(4):
        if number:
            wire.sock, theirs = memory_pair()
            wire.accept(theirs)
        if number == 3:
            wire.server.answer = lambda request: Response(403)
        status = wire.send(opening())[9:12]
        assert status == (b"403" if number == 3 else b"101")
    assert len(wire.server.requests) == 4
    assert len(set(map(id, wire.server.requests))) == 4


def test_the_address_of_who_asks_as_others_have_is_still_the_proxys_word(wires: Any) -> None:
    wire = wires(trusted_proxies=["10.0.0.1"])
    for _ in range(4):
        wire.sock, theirs = memory_pair()
        wire.accept(theirs)
        wire.send(opening())
    assert [request.address for request in wire.server.requests] == [("10.0.0.1", 4711)] * 4


@pytest.mark.parametrize("secure", [False, True])
def test_what_has_come_with_a_connection_is_read_by_the_sockets_own_transport(
    wires: Any, tls: ssl.SSLContext, secure: bool
) -> None:
    wire = wires(tls=tls if secure else None)
    sock, theirs = memory_pair()
    begun = wire.server.accepted(theirs, ("10.0.0.1", 1))
    transport = begun._transport
    assert begun.look == (transport.below if secure else transport).look
    sock.send(opening())
    begun.look()
    # A TLS handshake waits for its turn, with what was read.
    assert wire.server.tally.bytes_received == len(opening())
    assert bool(sock.inbox) is not secure
