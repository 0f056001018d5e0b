"""`reactor/alone.py`: one connection by itself, with `receive_forever` and `recv`."""

from __future__ import annotations

import functools
import gc
import math
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    Connection,
    ConnectionClosed,
    Handlers,
    InvalidState,
    ProtocolError,
    Reactor,
    Server,
    State,
    WebSocket,
)
from reactor.loop.transport import Transport
from reactor.opened import Opened
from reactor.protocol.frames import pack_frame
from reactor.protocol.handshake import Request, accept_key
from reactor.settings import Settings
from tests.extended import Flip
from tests.protocol.wire import read_frame
from tests.recorder import BINARY, CLOSE, PING, PONG, TEXT, meet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PATIENCE = 20.0  # seconds, after which what is waited for will not come any more
CLOSING = b"\x03\xe8"  # 1000

roles = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


class Given:
    """What a `WebSocket` is after its handshake; it can be given away once."""

    def __init__(self, line: Line, codecs: Any = (), **settings: Any) -> None:
        self.reactor = line.shared or Reactor()
        self.settings = Settings(**settings)
        self.line = line
        self.released = self.closed = 0
        nobody: Any = None
        transport = Transport(self.reactor, line.ours, nobody, len)
        self.opened = Opened(
            self,
            transport,
            Request(b"GET /chat HTTP/1.1\r\nHost: a", "path"),
            Handlers(),
            "v1",
            codecs,
            is_client=line.is_client,
        )

    def release(self) -> tuple[Opened, bytes]:
        self.released += 1
        return self.opened, self.line.rest

    def close(self) -> None:
        self.closed += 1
        if self.line.shared is None:
            self.reactor.close()

    def connection_ended(self, connection: object) -> None:
        raise AssertionError("it has another host")


class Line:
    """A connection by itself, still to be made, and its peer: a socket that waits."""

    def __init__(
        self,
        shared: Reactor | None = None,
        *,
        is_client: bool = False,
        rest: bytes = b"",
        codecs: Any = (),
        **settings: Any,
    ) -> None:
        self.shared = shared
        self.is_client = is_client
        self.rest = rest
        self.ours, self.peer = socket.socketpair()
        self.peer.settimeout(PATIENCE)
        self.given = Given(self, codecs, **settings)
        self.reactor = self.given.reactor
        self.log: list[tuple[Any, ...]] = []
        self._output = b""

    def make(self, kind: type[Connection] = Connection, **options: Any) -> Connection:
        """Return the connection, which notes here what it is told."""
        for name in ("onopen", "onmessage", "onclose", "onerror", "onping", "onpong"):
            options.setdefault(name, functools.partial(self.note, name))
        return kind(self.given, **options)

    def note(self, name: str, client: Connection, *args: Any) -> None:
        self.log.append((name, *args))

    def names(self) -> list[str]:
        return [entry[0] for entry in self.log]

    def messages(self) -> list[Any]:
        return [entry[1] for entry in self.log if entry[0] == "onmessage"]

    def say(self, head: int, payload: bytes = b"") -> None:
        """Have a frame come."""
        self.peer.sendall(pack_frame(head, payload, not self.is_client))

    def say_all(self, *messages: str) -> None:
        """Have messages come, in one piece."""
        frames = [pack_frame(TEXT, text.encode(), not self.is_client) for text in messages]
        self.peer.sendall(b"".join(frames))

    def leave(self, payload: bytes = CLOSING) -> None:
        """Send a Close, and nothing after it."""
        self.say(CLOSE, payload)
        self.peer.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Be lost: what is written from now on finds nobody."""
        self.peer.close()

    def hear(self) -> tuple[int, bytes]:
        """Wait for the next frame."""
        while True:
            try:
                head, masked, payload, rest = read_frame(self._output)
            except (IndexError, ValueError):
                data = self.peer.recv(65536)
                assert data, "the connection has ended"
                self._output += data
            else:
                self._output = rest
                assert masked is self.is_client
                return head, payload

    def hear_all(self) -> list[tuple[int, bytes]]:
        """Wait for the end; return all frames that have come before it."""
        frames = []
        while data := self.peer.recv(65536):
            self._output += data
        while self._output:
            frames.append(self.hear())
        return frames

    def close(self) -> None:
        self.peer.close()
        self.given.close()
        self.ours.close()


@pytest.fixture
def lines() -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(*args: Any, **options: Any) -> Line:
        made.append(Line(*args, **options))
        return made[-1]

    yield make
    for line in made:
        line.close()
    gc.collect()


class Echo(Connection):
    def onmessage(self, message: Any) -> None:
        self.send(message)


def echo(client: Connection, message: Any) -> None:
    client.send(message)


# ---- receive_forever ----


@roles
@pytest.mark.parametrize("how", ["method", "function"])
def test_it_handles_what_comes_until_the_end(
    lines: Callable[..., Line], is_client: bool, how: str
) -> None:
    line = lines(is_client=is_client)
    connection = line.make(Echo) if how == "method" else line.make(onmessage=echo)
    line.say(TEXT, b"hello")
    line.say(PING, b"?")
    line.say(BINARY, b"\0\1")
    line.leave(b"\x0f\xa0bye")
    connection.receive_forever()
    assert line.hear_all() == [
        (TEXT, b"hello"), (PONG, b"?"), (BINARY, b"\0\1"), (CLOSE, b"\x0f\xa0bye"),
    ]  # fmt: skip
    assert line.names() == ["onopen", "onping", "onclose"]
    assert line.log[-1] == ("onclose", 4000, "bye")
    assert connection.ready_state is State.CLOSED
    assert line.reactor.closed


def test_it_shows_what_it_is_made_of(lines: Callable[..., Line]) -> None:
    flip = Flip()
    codec = flip.agree(())
    codec.extension = flip
    line = lines(codecs=(codec,))
    connection = line.make()
    assert connection.reactor is line.reactor
    assert connection.request.path == "/chat"
    assert connection.address == "path"
    assert connection.subprotocol == "v1"
    assert connection.extensions == "x-flip"
    assert connection.ready_state is State.OPEN
    assert not connection.is_client
    assert line.given.released == 1
    assert connection.send("abc")
    assert line.hear() == (0xA1, bytes(byte ^ 0xFF for byte in b"abc"))


def test_onopen_is_told_in_the_first_step_and_not_in_the_constructor(
    lines: Callable[..., Line],
) -> None:
    line = lines()
    line.say(TEXT, b"early")

    class Own(Connection):
        def __init__(self, given: Any) -> None:
            self.opened_with: list[str] = []
            super().__init__(given)
            assert self.opened_with == []
            self.greeting = "hello"

        def onopen(self) -> None:
            self.opened_with.append(self.greeting)

        def onmessage(self, message: Any) -> None:
            self.opened_with.append(message)

    connection = Own(line.given)
    assert connection.opened_with == []
    line.reactor.step(0)
    assert connection.opened_with == ["hello"]
    line.leave()
    connection.receive_forever()
    assert connection.opened_with == ["hello", "early"]


@pytest.mark.parametrize("call", ["send", "ping", "pause", "resume", "close", "abort"])
def test_the_constructor_of_a_subclass_may_use_it(
    lines: Callable[..., Line], call: str
) -> None:
    line = lines(rest=pack_frame(TEXT, b"rest", True))
    line.say(TEXT, b"next")
    line.say(CLOSE, CLOSING)

    class Own(Connection):
        def __init__(self, given: Any, **options: Any) -> None:
            super().__init__(given, **options)
            if call == "resume":
                self.pause()
            getattr(self, call)(*(["early"] if call == "send" else []))
            assert line.log == []

        def onopen(self) -> None:
            super().onopen()
            self.resume()

    connection = line.make(Own)
    if call in ("send", "ping", "close"):
        assert line.hear()[0] == {"send": TEXT, "ping": PING, "close": CLOSE}[call]
    line.peer.shutdown(socket.SHUT_WR)
    connection.receive_forever()
    assert line.names()[0] == "onopen"
    assert line.messages() == ([] if call in ("close", "abort") else ["rest", "next"])
    assert line.log[-1] == ("onclose", 1006 if call == "abort" else 1000, "")
    assert line.names().count("onclose") == 1


@pytest.mark.parametrize("cut", [0, 1, 7, 13, 26])
def test_what_came_behind_the_handshake_comes_first(
    lines: Callable[..., Line], cut: int
) -> None:
    frames = b"".join(pack_frame(TEXT, b"%d" % number, True) for number in range(10))
    line = lines(rest=frames[:cut])
    line.peer.sendall(frames[cut:])
    line.leave()
    line.make().receive_forever()
    assert line.messages() == [str(number) for number in range(10)]


def test_more_than_is_handled_in_a_step_may_have_come_behind_the_handshake(
    lines: Callable[..., Line],
) -> None:
    line = lines(rest=pack_frame(TEXT, b"x", True) * 200)
    line.say(TEXT, b"last")
    line.leave()
    line.make().receive_forever()
    assert line.messages() == ["x"] * 200 + ["last"]


def test_a_violation_behind_the_handshake_comes_after_onopen(
    lines: Callable[..., Line],
) -> None:
    line = lines(rest=b"\xf1\x80")
    line.peer.shutdown(socket.SHUT_WR)
    line.make().receive_forever()
    assert line.names() == ["onopen", "onerror", "onclose"]
    assert line.log[-1][1] == 1002


@pytest.mark.parametrize("in_pieces", [False, True])
def test_onfragment_gets_all_messages_in_parts(
    lines: Callable[..., Line], in_pieces: bool
) -> None:
    parts: list[tuple[Any, bool]] = []
    line = lines(max_message=3)
    connection = line.make(
        onfragment=lambda client, data, final: parts.append((data, final)),
    )
    if in_pieces:
        line.say(0x01, b"whole ")
        line.say(0x80, b"text")
    else:
        line.say(TEXT, b"whole text")
    line.leave()
    connection.receive_forever()
    assert "".join(part for part, _ in parts) == "whole text"
    assert parts[-1][1] is True
    assert line.messages() == []
    with pytest.raises(InvalidState, match="onfragment"):
        connection.recv()


def test_an_end_before_it_is_called_is_told_then(lines: Callable[..., Line]) -> None:
    line = lines()
    connection = line.make()
    line.reset()
    connection.receive_forever()
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    connection.receive_forever()  # there is nothing left to do
    assert len(line.log) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_it_with_1001(lines: Callable[..., Line], number: int) -> None:
    line = lines()

    def kill(client: Connection, message: Any) -> None:
        os.kill(os.getpid(), number)

    def closed(client: Connection, message: Any) -> None:
        raise AssertionError("it is not read on behind our Close")

    connection = line.make(onmessage=kill)
    line.say(TEXT, b"!")
    line.reactor.call_later(0.01, line.leave, b"\x03\xe9")
    connection.receive_forever()
    assert line.hear_all() == [(CLOSE, b"\x03\xe9")]
    assert line.log[-1] == ("onclose", 1001, "")
    assert connection.was_clean


def test_an_interrupt_out_of_it_leaves_nothing_open(lines: Callable[..., Line]) -> None:
    line = lines()
    closed: list[int] = []

    def interrupt(client: Connection, message: Any) -> None:
        raise KeyboardInterrupt

    def forever() -> Iterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            closed.append(1)

    connection = line.make(onmessage=interrupt)
    connection.send(forever())
    line.say(TEXT, b"!")
    with pytest.raises(KeyboardInterrupt):
        connection.receive_forever()
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    assert closed == [1]
    assert line.reactor.closed
    assert line.ours.fileno() == -1
    while line.peer.recv(65536):
        pass  # until the end, which has come


def test_who_stops_the_reactor_leaves_nothing_open(lines: Callable[..., Line]) -> None:
    line = lines()
    line.say(TEXT, b"!")
    line.make(onmessage=lambda client, message: client.reactor.stop()).receive_forever()
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    assert line.reactor.closed


# ---- recv ----


@roles
def test_messages_are_received_one_at_a_time(
    lines: Callable[..., Line], is_client: bool
) -> None:
    line = lines(is_client=is_client)
    connection = line.make()
    line.say_all("one", "two")
    line.say(PING, b"between")
    line.say(BINARY, b"\0")
    assert connection.recv() == "one"
    assert line.names() == ["onopen"], "what was not asked for was read"
    assert connection.recv(None) == "two"
    assert connection.recv(5) == b"\0"
    assert line.log[1:] == [("onping", b"between")]
    assert line.hear() == (PONG, b"between")
    assert line.messages() == []


def test_recv_waits_for_as_long_as_it_takes(lines: Callable[..., Line]) -> None:
    line = lines()
    connection = line.make()
    line.reactor.call_later(0.01, line.say, PING, b"no message")
    line.reactor.call_later(0.02, line.say, 0x01, b"in ")
    line.reactor.call_later(0.03, line.say, 0x80, b"parts")
    assert connection.recv() == "in parts"


@pytest.mark.parametrize("timeout", [0, 0.0, 1e-9, 0.01])
def test_recv_raises_when_the_time_is_up_and_goes_on_with_the_next_call(
    lines: Callable[..., Line], timeout: float
) -> None:
    line = lines()
    connection = line.make()
    with pytest.raises(TimeoutError, match=f"no message in {timeout:g} s"):
        connection.recv(timeout)
    line.say(0x01, b"in ")
    with pytest.raises(TimeoutError):
        connection.recv(timeout)
    line.say(0x80, b"parts")
    assert connection.recv(timeout) == "in parts"
    assert connection.ready_state is State.OPEN


@pytest.mark.parametrize("rest", [b"", pack_frame(TEXT, b"there", True)], ids=["sent", "rest"])
def test_what_is_there_is_received_whatever_the_timeout(
    lines: Callable[..., Line], rest: bytes
) -> None:
    line = lines(rest=rest)
    connection = line.make()
    if not rest:
        line.say(TEXT, b"there")
    line.say(TEXT, b"next")
    assert connection.recv(0) == "there"
    assert connection.recv(0) == "next"


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_a_timeout_that_is_none_raises(lines: Callable[..., Line], timeout: float) -> None:
    line = lines()
    with pytest.raises(ValueError, match="timeout of"):
        line.make().recv(timeout)


@roles
def test_when_there_will_be_none_recv_says_why(
    lines: Callable[..., Line], is_client: bool
) -> None:
    line = lines(is_client=is_client)
    connection = line.make()
    line.say_all("one", "two")
    line.leave(b"\x0f\xa0bye")
    assert [connection.recv(), connection.recv()] == ["one", "two"]
    for _ in range(2):
        with pytest.raises(ConnectionClosed, match="bye") as caught:
            connection.recv()
        assert (caught.value.code, caught.value.reason) == (4000, "bye")
        assert line.log == [("onopen",), ("onclose", 4000, "bye")]
    assert line.reactor.closed
    connection.receive_forever()
    assert len(line.log) == 2


@pytest.mark.parametrize(
    ("do", "code"),
    [
        (lambda line, connection: line.peer.close(), 1006),
        (lambda line, connection: line.say(0xF1), 1002),
        (lambda line, connection: connection.abort(), 1006),
        (lambda line, connection: [connection.close(4001), line.leave(b"\x0f\xa1")], 4001),
    ],
    ids=["lost", "violation", "abort", "close"],
)
def test_every_end_ends_recv(lines: Callable[..., Line], do: Any, code: int) -> None:
    line = lines()
    connection = line.make()
    with pytest.raises(TimeoutError):
        connection.recv(0)
    do(line, connection)
    if line.peer.fileno() != -1 and code == 1002:
        line.peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv()
    assert caught.value.code == code
    assert line.names().count("onclose") == 1


def test_what_had_come_before_the_peer_was_lost_is_received(
    lines: Callable[..., Line],
) -> None:
    line = lines()
    connection = line.make()
    texts = [f"{number} {'x' * 30_000}" for number in range(5)]
    line.say_all(*texts)
    line.peer.close()
    assert connection.recv() == texts[0]
    connection.send("nobody hears this")
    assert [connection.recv() for _ in texts[1:]] == texts[1:]
    with pytest.raises(ConnectionClosed, match="1006"):
        connection.recv()


@pytest.mark.parametrize("receive", [1, 2, 3])
@pytest.mark.parametrize("act", ["", "pause", "close"])
def test_what_is_left_of_a_lost_connection_comes_before_its_end_or_never(
    lines: Callable[..., Line], receive: int, act: str
) -> None:
    line = lines()

    def on(client: Connection, message: Any) -> None:
        line.note("onmessage", client, message[0])
        getattr(client, act or "ping")()

    connection = line.make(onmessage=on)
    texts = [f"{number} {'x' * 40_000}" for number in range(4)]
    line.say_all(*texts)
    line.peer.close()
    assert connection.recv() == texts[0]
    connection.send("nobody hears this")
    for number in range(1, receive):
        assert connection.recv() == texts[number]
    connection.receive_forever()
    assert line.names()[-1] == "onclose"
    assert line.names().count("onclose") == 1
    left = [text[0] for text in texts[receive:]]
    told = line.messages()
    assert told == left[: len(told)]
    assert len(told) <= (1 if act else 3)


@pytest.mark.parametrize("act", ["", "pause", "close"])
def test_of_a_lost_connection_onmessage_gets_what_recv_has_left_unless_it_stops(
    lines: Callable[..., Line], act: str
) -> None:
    line = lines()

    def on(client: Connection, message: Any) -> None:
        line.note("onmessage", client, int(message[:2]))
        getattr(client, act or "ping")()

    connection = line.make(onmessage=on)
    line.say_all(*(f"{number:02} {'x' * 4000}" for number in range(40)))
    line.peer.close()
    assert connection.recv()[:2] == "00"
    connection.send("nobody hears this")
    assert connection.recv()[:2] == "01"
    connection.receive_forever()
    assert line.messages() == ([2] if act else list(range(2, 40)))
    assert line.names()[-1] == "onclose"
    with pytest.raises(ConnectionClosed):
        connection.recv()


def test_what_recv_has_left_goes_to_onmessage(lines: Callable[..., Line]) -> None:
    line = lines()
    connection = line.make()
    line.say_all("one", "two", "three")
    line.leave()
    assert connection.recv() == "one"
    connection.receive_forever()
    assert line.messages() == ["two", "three"]


def test_after_an_interrupt_out_of_recv_the_next_call_goes_on(
    lines: Callable[..., Line],
) -> None:
    line = lines()

    def interrupt() -> None:
        raise KeyboardInterrupt

    connection = line.make()
    line.say(TEXT, b"one")
    line.reactor.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        connection.recv()
    assert connection.recv() == "one"
    line.reactor.call_later(0.01, interrupt)
    with pytest.raises(KeyboardInterrupt):
        connection.recv()
    line.say(TEXT, b"two")
    assert connection.recv() == "two"


def test_a_stream_leaves_while_recv_waits(lines: Callable[..., Line]) -> None:
    line = lines()
    connection = line.make()
    size = 40 * 16_384
    connection.send(bytes(16_384) for _ in range(40))

    def listen() -> None:
        nonlocal size
        size -= len(line.hear()[1])
        if size:
            line.reactor.call_soon(listen)
        else:
            line.say(TEXT, b"that was all")

    line.reactor.call_soon(listen)
    assert connection.recv(PATIENCE) == "that was all"


# ---- with ----


def test_with_closes_it_and_waits_for_its_end(lines: Callable[..., Line]) -> None:
    line = lines()
    line.say(TEXT, b"one")
    frames: list[tuple[int, bytes]] = []

    def listen() -> None:
        frames.append(line.hear())
        if frames[-1][0] == CLOSE:
            line.leave()
        else:
            line.reactor.call_soon(listen)

    with line.make() as connection:
        assert connection.recv() == "one"
        connection.send("parts" for _ in range(200))
        connection.send("last")
        line.reactor.call_soon(listen)
    assert connection.was_clean
    assert line.log[-1] == ("onclose", 1000, "")
    assert line.reactor.closed
    assert frames[-3:] == [(0x80, b""), (TEXT, b"last"), (CLOSE, CLOSING)]
    assert len(frames) == 203


def test_with_waits_for_an_end_that_has_come_already(lines: Callable[..., Line]) -> None:
    line = lines()
    line.leave()
    with line.make() as connection, pytest.raises(ConnectionClosed):
        connection.recv()
    assert line.log[1:] == [("onclose", 1000, "")]


def test_after_an_exception_with_drops_it(lines: Callable[..., Line]) -> None:
    line = lines()
    with pytest.raises(LookupError), line.make() as connection:
        raise LookupError
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    assert not connection.was_clean
    assert line.reactor.closed
    assert line.hear_all() == []


def test_with_does_not_wait_for_ever(lines: Callable[..., Line]) -> None:
    line = lines(close_timeout=0.01)
    with line.make():
        pass
    assert [entry[0] for entry in line.log] == ["onopen", "onerror", "onclose"]
    assert line.log[-1] == ("onclose", 1006, "the peer did not answer our Close")


# ---- options ----


def test_options_go_before_the_settings_of_what_it_is_made_of(
    lines: Callable[..., Line],
) -> None:
    line = lines(max_message=4, max_write_queue=7)
    connection = line.make(max_message=5)
    assert connection.server.settings.max_message == 5
    assert connection.server.settings.max_write_queue == 7
    line.say(TEXT, b"12345")
    line.say(TEXT, b"123456")
    line.peer.shutdown(socket.SHUT_WR)
    assert connection.recv() == "12345"
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv()
    assert caught.value.code == 1009


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_message": 0}, ValueError, "max_message=0"),
        ({"max_mesage": 5}, TypeError, "Mine() has no option 'max_mesage'"),
        ({"on_message": print}, TypeError, "Mine() has no option 'on_message'"),
        ({"onrequest": print}, TypeError, "Mine() has no option 'onrequest'"),
        ({"onmessage": 5}, TypeError, "onmessage=5 cannot be called"),
    ],
)
def test_an_option_that_is_none_raises_and_uses_nothing_up(
    lines: Callable[..., Line], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    line = lines()
    with pytest.raises(error) as caught:
        type("Mine", (Connection,), {})(line.given, **options)
    assert words in str(caught.value)
    assert line.given.released == 0


@pytest.mark.parametrize("wrong", [None, 5, "ws://example.com/"])
def test_it_is_made_of_nothing_else(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"Connection\(\) of .*, not of a WebSocket"):
        Connection(wrong)


# ---- at the wrong time ----


def use(connection: Connection, how: str) -> None:
    if how == "with":
        with connection:
            raise AssertionError("it is entered")
    getattr(connection, how)()


@pytest.mark.parametrize("how", ["receive_forever", "recv", "with"])
def test_a_servers_connection_is_not_by_itself(how: str) -> None:
    with meet() as peer:
        with pytest.raises(InvalidState, match="not by itself"):
            use(peer.client, how)
        peer.send("still there")
        assert peer.server.messages() == ["still there"]


@pytest.mark.parametrize("how", ["receive_forever", "recv"])
def test_a_handler_cannot_wait(lines: Callable[..., Line], how: str) -> None:
    line = lines()
    raised: list[Exception] = []

    def wait(client: Connection, message: Any) -> None:
        try:
            getattr(client, how)()
        except InvalidState as error:
            raised.append(error)

    connection = line.make(onmessage=wait)
    line.say(TEXT, b"!")
    line.leave()
    connection.receive_forever()
    [error] = raised
    assert str(error) == f"{how}() from inside a handler"
    assert line.log[-1] == ("onclose", 1000, "")


# ---- with others in one reactor ----


@pytest.fixture
def shared() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


def test_others_in_the_reactor_live_on(shared: Reactor, lines: Callable[..., Line]) -> None:
    server = Server(reactor=shared)
    line = lines(shared)
    line.say(TEXT, b"!")
    line.leave()
    line.make().receive_forever()
    assert line.names() == ["onopen", "onmessage", "onclose"]
    assert line.given.closed == 1
    assert not shared.closed
    assert not server.stopping


def test_an_interrupt_out_of_it_ends_it_alone(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line, other = lines(shared), lines(shared)
    kept = other.make()

    def interrupt(client: Connection, message: Any) -> None:
        raise KeyboardInterrupt

    line.say(TEXT, b"!")
    with pytest.raises(KeyboardInterrupt):
        line.make(onmessage=interrupt).receive_forever()
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    assert line.ours.fileno() == -1
    assert kept.ready_state is State.OPEN
    other.say(TEXT, b"hello")
    assert kept.recv() == "hello"


def test_two_can_wait_in_turn_and_each_gets_its_own(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    one, other = lines(shared), lines(shared)
    mine, yours = Connection(one.given), Connection(other.given)
    other.say_all(*(f"other {number}" for number in range(200)))
    for number in range(5):
        one.say_all(f"one {number}")
        assert mine.recv() == f"one {number}"
    assert yours.recv() == "other 0"
    one.say_all(*(f"one {number}" for number in range(5, 200)))
    assert [mine.recv() for _ in range(195)] == [f"one {number}" for number in range(5, 200)]
    assert len(yours.server._inbox) <= 1
    assert [yours.recv() for _ in range(199)] == [f"other {n}" for n in range(1, 200)]
    other.leave()
    with pytest.raises(ConnectionClosed):
        yours.recv()
    one.leave()
    mine.receive_forever()
    assert not shared.closed


@pytest.mark.parametrize("listens", [False, True])
def test_what_nobody_hears_yet_waits_for_the_first_call(
    shared: Reactor, lines: Callable[..., Line], listens: bool
) -> None:
    line = lines(shared, rest=pack_frame(TEXT, b"one", True))
    line.say_all("two", "three")
    options: dict[str, Any] = {"onmessage": functools.partial(line.note, "onmessage")}
    connection = Connection(line.given, **(options if listens else {}))
    for _ in range(10):
        shared.step(0)
    assert line.messages() == ["one", "two", "three"] * listens
    line.say_all("four")
    expected = ["four"] if listens else ["one", "two", "three", "four"]
    assert [connection.recv() for _ in expected] == expected


def test_what_comes_in_the_steps_of_others_is_held_up(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    connection = line.make()
    line.say_all("one")
    assert connection.recv() == "one"
    line.say_all("two", *["x" * 1000] * 60, "last")
    for _ in range(100):
        shared.step(0)
    assert list(connection.server._inbox) == ["two"]
    line.leave()
    connection.receive_forever()
    assert line.messages() == ["two", *["x" * 1000] * 60, "last"]
    assert line.log[-1] == ("onclose", 1000, "")


def test_a_pause_of_the_users_outlives_what_was_held_up(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)

    def pause(client: Connection, message: Any) -> None:
        line.note("onmessage", client, message)
        client.pause()

    connection = line.make(onmessage=pause)
    line.say_all("one")
    assert connection.recv() == "one"
    line.say_all("two", "three")
    shared.step(0)
    assert list(connection.server._inbox) == ["two"]
    seen: list[list[Any]] = []

    def look() -> None:
        if line.messages() not in seen:
            seen.append(line.messages())
            connection.resume()
        shared.call_later(0.02, line.leave if len(seen) == 2 else look)

    shared.call_later(0.02, look)
    connection.receive_forever()
    assert seen == [["two"], ["two", "three"]]


def test_recv_does_not_end_a_pause_of_the_users(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    connection = line.make()
    line.say_all("one")
    assert connection.recv() == "one"
    line.say_all("two", "three")
    shared.step(0)
    assert [connection.recv(), connection.recv()] == ["two", "three"]
    connection.pause()
    line.say_all("four")
    with pytest.raises(TimeoutError):
        connection.recv(0)
    connection.resume()
    assert connection.recv() == "four"


def test_what_was_read_for_it_is_dropped_when_it_is_closed_before(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    connection = line.make()
    line.say_all("one")
    assert connection.recv() == "one"
    line.say_all("two")
    shared.step(0)
    connection.close()
    line.leave()
    connection.receive_forever()
    assert line.messages() == []
    assert line.log[-1] == ("onclose", 1000, "")


def test_whoever_runs_the_reactor_serves_it_too(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    line.make(onmessage=echo)
    line.say(TEXT, b"hello")
    line.leave()
    shared.run()  # until the last has ended
    assert line.hear_all() == [(TEXT, b"hello"), (CLOSE, CLOSING)]
    assert line.log == [("onopen",), ("onclose", 1000, "")]


def test_whoever_stops_the_reactor_closes_it(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    line.make()
    shared.call_later(0, shared.shutdown)
    shared.call_later(0.01, line.leave, b"\x03\xe9")
    shared.run()
    assert line.hear_all() == [(CLOSE, b"\x03\xe9")]
    assert line.log == [("onopen",), ("onclose", 1001, "")]


def test_whoever_closes_the_reactor_drops_it_and_it_is_told(
    shared: Reactor, lines: Callable[..., Line]
) -> None:
    line = lines(shared)
    connection = line.make()
    shared.close()
    assert line.log == [("onopen",), ("onclose", 1006, "")]
    with pytest.raises(ConnectionClosed):
        connection.recv()
    connection.receive_forever()
    assert len(line.log) == 2


def test_its_end_stops_nobody_elses_run(shared: Reactor, lines: Callable[..., Line]) -> None:
    one, other = lines(shared), lines(shared)
    one.make()
    other.make()
    one.leave()
    shared.call_later(0.01, other.leave)
    shared.run()
    assert [line.names()[-1] for line in (one, other)] == ["onclose"] * 2


# ---- of a WebSocket ----


REQUEST = (
    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()


def test_it_can_be_made_of_a_websocket_that_has_accepted() -> None:
    ours, peer = socket.socketpair()
    with peer:
        peer.settimeout(PATIENCE)
        peer.sendall(REQUEST + pack_frame(TEXT, b"behind the request", True))
        websocket = WebSocket.upgrade(ours, server_side=True, max_message=1000)
        with Connection(websocket, onmessage=echo) as connection:
            assert connection.server.settings.max_message == 1000
            assert connection.recv() == "behind the request"
            peer.sendall(pack_frame(TEXT, b"next", True))
            assert connection.recv() == "next"
            peer.sendall(pack_frame(TEXT, b"echo", True) + pack_frame(CLOSE, CLOSING, True))
            peer.shutdown(socket.SHUT_WR)
            connection.receive_forever()
        said = b""
        while data := peer.recv(65536):
            said += data
    assert said.partition(b"\r\n\r\n")[2] == b"\x81\x04echo\x88\x02\x03\xe8"
    gc.collect()


def test_it_can_be_made_of_a_websocket_that_has_connected() -> None:
    ours, peer = socket.socketpair()
    with peer:
        peer.settimeout(PATIENCE)
        ours.setblocking(False)
        websocket = WebSocket.upgrade(ours)
        with pytest.raises(BlockingIOError):
            websocket.do_handshake()
        key = peer.recv(65536).partition(b"Sec-WebSocket-Key: ")[2][:24].decode()
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n\x81\x02hi"
        )
        websocket.settimeout(PATIENCE)
        connection = Connection(websocket)
        assert connection.is_client
        assert connection.recv() == "hi"
        connection.send("there")
        assert read_frame(peer.recv(65536))[1:3] == (True, b"there")
        peer.sendall(b"\x88\x02\x03\xe8")
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed, match="1000"):
            connection.recv()
    gc.collect()


def test_closing_the_websocket_it_was_made_of_drops_it() -> None:
    ours, peer = socket.socketpair()
    told: list[int] = []
    with peer:
        peer.settimeout(PATIENCE)
        peer.sendall(REQUEST)
        with WebSocket.upgrade(ours, server_side=True) as websocket:
            connection = Connection(
                websocket, onclose=lambda client, code, _: told.append(code)
            )
        assert told == [1006]
        with pytest.raises(ConnectionClosed):
            connection.recv()
    gc.collect()


def test_what_is_lost_before_cannot_be_made_into_one() -> None:
    ours, peer = socket.socketpair()
    peer.sendall(REQUEST)
    websocket = WebSocket.upgrade(ours, server_side=True)
    peer.sendall(b"\xf1\x80")
    peer.close()
    with websocket:
        with pytest.raises(ProtocolError):
            websocket.recv()
        with pytest.raises((ConnectionClosed, InvalidState)):
            Connection(websocket)
    gc.collect()
