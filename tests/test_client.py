"""`reactor/client.py`: the client from its making to its end, and again."""

from __future__ import annotations

import functools
import gc
import logging
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    Backoff,
    BinaryMessage,
    Client,
    HandshakeError,
    InvalidState,
    PerMessageDeflate,
    ProtocolError,
    QueueFull,
    Reactor,
    State,
    TextMessage,
)
from reactor.loop.resolver import Resolver
from reactor.protocol.answer import http_date
from reactor.protocol.extensions import describe
from reactor.protocol.frames import pack_frame
from tests import certificates
from tests.extended import Counting, Flip, raiser
from tests.recorder import PING, TEXT
from tests.scripted import (
    Net,
    Noting,
    Raw,
    answering,
    descriptors,
    free_port,
    port,
    response,
    silent,
    switching,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KIB = 1024
TAKEOVER = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"

both = pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])


def sudden(**options: Any) -> Backoff:
    """Return a policy without chance: 1, 2, 4, 8 ... seconds."""
    return Backoff(first=1, factor=2, last=64, jitter=0, **options)


# ---- making one ----


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"on_message": print}, TypeError, "Client() has no option 'on_message'"),
        ({"max_mesage": 5}, TypeError, "Client() has no option 'max_mesage'"),
        ({"onrequest": print}, TypeError, "Client() has no option 'onrequest'"),
        ({"onopen": 5}, TypeError, "onopen=5 cannot be called"),
        ({"reconnect": True}, TypeError, "reconnect=True, not a Backoff"),
        ({"onreconnecting": 5}, TypeError, "onreconnecting=5 cannot be called"),
        ({"max_message": 0}, ValueError, "max_message"),
        ({"hold": -1}, ValueError, "hold=-1"),
        ({"hold": "1M"}, TypeError, "hold='1M'"),
        ({"hold": True}, TypeError, "hold=True"),
        ({"extensions": [5]}, TypeError, "extension 5 is not an Extension"),
        ({"extensions": [Flip(), Flip()]}, ValueError, "one comes twice"),
        ({"fragment_size": 0}, ValueError, "fragment_size=0"),
    ],
)
def test_an_option_that_is_none_raises_and_leaves_nothing_open(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        Client("ws://127.0.0.1/", **options)
    assert words in str(caught.value)
    gc.collect()


def test_a_closed_reactor_takes_no_client() -> None:
    reactor = Reactor()
    reactor.close()
    with pytest.raises(InvalidState):
        Client("ws://127.0.0.1/", reactor=reactor)


def test_a_client_that_another_thread_makes_in_a_step_is_refused_whole(net: Net) -> None:
    caught: list[BaseException] = []

    def make() -> None:
        try:
            Client("ws://127.0.0.1/", reactor=net.reactor)
        except RuntimeError as error:
            caught.append(error)

    def work() -> None:
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()

    net.reactor.call_soon(work)
    net.settle()
    assert len(caught) == 1
    assert not net.reactor._services


def test_nothing_is_called_while_it_is_made(net: Net) -> None:
    asked: list[str] = []

    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        asked.append(host)
        answer(OSError("none"))

    client = net.client("ws://a.test/", resolver=resolver)
    assert (asked, client.names(), client.ready_state) == ([], [], State.CONNECTING)
    net.ended(client)
    assert asked == ["a.test"]


def test_before_there_is_a_connection_there_is_nothing_to_tell_of_it(net: Net) -> None:
    client = net.client("ws://a.test/", resolver=lambda *args: None)
    told = (client.address, client.request, client.subprotocol, client.tls, client.rtt)
    assert told == (None,) * 5
    assert (client.extensions, client.codecs) == ("", ())
    assert (client.response, client.close_code, client.close_reason) == (None, None, "")
    assert client.was_clean is False
    assert client.buffered_amount == 0
    client.ping()
    client.pause()
    client.resume()
    assert client.names() == []


def test_its_text_shows_state_and_uri_and_no_password(net: Net) -> None:
    client = net.client("ws://me:secret@a.test:81/x", resolver=lambda *args: None)
    assert repr(client) == "<Noting CONNECTING ws://a.test:81/x>"
    assert str(client.uri) == "ws://a.test:81/x"


# ---- open ----


@both
def test_messages_go_both_ways(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    assert client.is_in(State.OPEN)
    assert client.send("text") is True
    assert client.send(b"binary") is True
    net.until(lambda: len(server.messages()) == 2)
    server.met[0].send("back")
    server.met[0].send(b"x" * 300_000)
    net.until(lambda: len(client.messages()) == 2)
    assert server.messages() == ["text", b"binary"]
    assert client.messages() == ["back", b"x" * 300_000]
    assert (client.tls is not None) is secure
    assert client.response is not None
    assert client.response.status == 101
    assert client.address == ("127.0.0.1", port(server))
    assert repr(client._link) == repr(client)


@both
def test_pings_are_answered_and_told(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    client.ping(b"ours")
    server.met[0].ping(b"theirs")
    net.until(lambda: len(client.noted) == 3 and "onpong" in server.names())
    assert set(client.noted[1:]) == {("onpong", b"ours"), ("onping", b"theirs")}


def test_a_silent_server_is_dropped_and_the_time_of_a_ping_is_known(timed: Net) -> None:
    client, server = timed.meet(ping_interval=20, ping_timeout=20)
    assert client.rtt is None
    timed.advance(20.1)
    timed.until(lambda: client.rtt is not None)
    server.met[0].pause()
    timed.advance(20.1)
    timed.advance(20.1)
    timed.until(client.errors)
    assert isinstance(client.errors()[0], TimeoutError)
    timed.advance(2.1)  # it waits for the FIN; later, it would be we who were held up
    timed.ended(client)
    assert client.ends() == [(1011, "ping timeout")]


def test_functions_are_given_the_client(net: Net) -> None:
    seen: list[tuple[Any, ...]] = []
    functions: dict[str, Any] = {
        name: functools.partial(lambda *args: seen.append(args), name)
        for name in ("onopen", "onmessage", "onclose", "onerror", "onreconnecting")
    }
    server = net.script(switching(pack_frame(TEXT, b"hi", False)))
    options: dict[str, Any] = {"reactor": net.reactor, "proxy": False, "reconnect": sudden()}
    client = Client(server.uri(), **options, **functions)
    net.until(lambda: len(seen) == 2)
    server.raws[0].reset()
    net.until(lambda: len(seen) == 5)
    names = ["onopen", "onmessage", "onerror", "onclose", "onreconnecting"]
    assert [entry[0] for entry in seen] == names
    assert all(entry[1] is client for entry in seen)
    assert seen[1][2:] == ("hi",)
    assert seen[4][2:] == (1, 1)


def test_a_client_that_overrides_nothing_and_is_given_nothing(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reactor")
    uri = f"ws://127.0.0.1:{free_port()}/"
    client = Client(uri, reactor=net.reactor, proxy=False, reconnect=sudden())
    net.until(lambda: client.close_code)
    assert "Connection refused" in caplog.text
    assert repr(client).startswith("<Client CONNECTING ")
    client.close()
    net.settle()
    assert client.ready_state is State.CLOSED


@both
def test_reading_can_be_paused(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    client.pause()
    server.met[0].send("later")
    server.met[0].ping(b"x")
    for _ in range(20):
        net.reactor.step(0.001)
    assert client.names() == ["onopen"]
    client.resume()
    net.until(client.messages)


@both
def test_a_server_that_does_not_read_is_waited_for(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    server.met[0].pause()
    sent = 0
    while client.send(b"x" * 50_000):
        sent += 1
        net.reactor.step(0)
    assert client.buffered_amount > 64 * KIB
    assert "ondrain" not in client.names()
    server.met[0].resume()
    net.until(lambda: "ondrain" in client.names())
    net.until(lambda: len(server.messages()) == sent + 1)


# ---- extensions ----


@pytest.mark.parametrize(
    ("options", "there", "agreed"),
    [
        ({}, {}, ""),
        ({}, {"compress": True}, TAKEOVER),
        ({"compress": True}, {"compress": True}, TAKEOVER),
        ({"compress": False}, {"compress": True}, ""),
        ({"compress": True}, {}, ""),
        (
            {"extensions": [PerMessageDeflate(server_max_window_bits=9)]},
            {"compress": True},
            TAKEOVER.replace("server_max_window_bits=12", "server_max_window_bits=9"),
        ),
        (
            {"extensions": [Flip()]},
            {"extensions": [Flip()], "compress": True},
            f"{TAKEOVER}, x-flip",
        ),
        ({"extensions": [Flip()], "compress": False}, {"extensions": [Flip()]}, "x-flip"),
    ],
    ids=range(8),
)
@both
def test_messages_go_both_ways_through_what_was_agreed_on(
    net: Net, options: dict[str, Any], there: dict[str, Any], agreed: str, secure: bool
) -> None:
    client, server = net.meet(secure, {**there, "do": {"onmessage": echo}}, **options)
    assert client.extensions == server.met[0].extensions == agreed
    assert describe(client.codecs) == agreed
    sent: list[Any] = ["long " * 1000, b"\0" * 100_000, "", b"x", os.urandom(1000)]
    for message in sent:
        for compress in (None, True, False):
            assert client.send(message, compress) is True
    net.until(lambda: len(client.messages()) == 3 * len(sent))
    assert client.messages() == [message for message in sent for _ in range(3)]


def echo(client: Any, message: Any) -> None:
    client.send(message)


def test_who_sends_says_whether_to_compress(net: Net) -> None:
    deflate = Counting(threshold=100)
    client, server = net.meet(server={"compress": True}, extensions=[deflate])
    for size, compress in ((99, None), (100, None), (99, True), (100, False)):
        client.send(b"x" * size, compress)
    net.until(lambda: len(server.messages()) == 4)
    assert deflate.compressed == [b"x" * 100, b"x" * 99]
    assert deflate.made == 1


def test_a_new_connection_begins_with_nothing_of_what_the_last_one_remembered(
    timed: Net,
) -> None:
    server = timed.serve(compress=True)
    client = timed.client(server, reconnect=sudden())
    timed.opened(client)
    text = os.urandom(200).hex()
    client.send(text)
    timed.until(lambda: len(server.messages()) == 1)
    server.met[0].abort()
    timed.until(client.delays)
    assert client.extensions == TAKEOVER
    timed.advance(1.1)
    timed.until(lambda: client.names().count("onopen") == 2)
    client.send(text)
    timed.until(lambda: len(server.messages()) == 2)
    assert server.messages() == [text, text]


def test_the_next_server_may_agree_on_something_else(timed: Net) -> None:
    compressing = timed.serve(compress=True)
    client = timed.client(compressing, reconnect=sudden())
    timed.opened(client)
    assert client.extensions == TAKEOVER
    compressing.extensions = ()
    compressing.met[0].abort()
    timed.until(client.delays)
    timed.advance(1.1)
    timed.until(lambda: client.names().count("onopen") == 2)
    assert client.extensions == ""
    client.send("plain " * 100)
    timed.until(compressing.messages)


def test_an_answer_to_no_offer_is_final(timed: Net) -> None:
    server = timed.script(switching(fields="Sec-WebSocket-Extensions: x-other\r\n"))
    client = timed.client(server, reconnect=sudden())
    timed.ended(client)
    [error] = client.errors()
    assert isinstance(error, HandshakeError)
    assert client.is_in(State.CLOSED)
    assert client.delays() == []


@both
def test_an_extension_that_fails_in_a_message_fails_the_connection_and_is_told(
    net: Net, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    flip = Flip()
    fault = LookupError("of the decoder")
    client, server = net.meet(secure, {"extensions": [Flip()]}, extensions=[flip])
    flip.made[0].decode = raiser(fault)  # type: ignore[method-assign]
    server.broadcast("bits")
    net.ended(client)
    net.until(server.ends)
    assert server.ends() == client.ends() == [(1011, "an extension failed")]
    [error] = client.errors()
    assert isinstance(error, ProtocolError)
    assert error.__cause__ is fault
    assert "LookupError: of the decoder" in caplog.text


# ---- the end ----


ENDS: dict[str, Callable[[Client], object]] = {
    "close": lambda client: client.close(4000, "done"),
    "stop": lambda client: client.stop(4000, "done"),
    "abort": lambda client: client.abort(),
}
how = pytest.mark.parametrize("how", ENDS)


@both
@how
def test_an_open_client_ends_once_and_tells_nothing_from_inside_the_call(
    net: Net, secure: bool, how: str
) -> None:
    client, server = net.meet(secure)
    ENDS[how](client)
    ENDS[how](client)
    assert client.names() == ["onopen"]
    assert client.send("late") is False
    net.ended(client)
    net.until(server.ends)
    net.settle()
    assert client.names() == ["onopen", "onclose"]
    expected = (1006, "") if how == "abort" else (4000, "done")
    assert client.ends() == server.ends() == [expected]
    assert (client.close_code, client.close_reason) == expected
    assert client.was_clean is (how != "abort")
    assert client.is_in(State.CLOSED)
    assert not net.reactor._services.keys() - {server}
    assert (client.send("late"), client.ping(), client.abort()) == (False, None, None)  # type: ignore[func-returns-value]
    client.close()
    net.settle()
    assert client.names() == ["onopen", "onclose"]


def test_by_default_close_says_1000_and_stop_1001(net: Net) -> None:
    for end, code in ((Client.close, 1000), (Client.stop, 1001)):
        client, server = net.meet()
        end(client)
        net.ended(client)
        net.until(server.ends)
        assert client.ends() == server.ends() == [(code, "")]


def test_the_first_close_counts(net: Net) -> None:
    client, _ = net.meet()
    client.close(4000, "first")
    assert client.is_in(State.CLOSING)
    client.close(4001, "second")
    client.stop()
    net.ended(client)
    assert client.ends() == [(4000, "first")]


def test_an_abort_cuts_a_close_short(net: Net) -> None:
    server = net.script(switching())
    client = net.client(server)
    net.opened(client)
    client.close()
    client.abort()
    net.ended(client)
    assert client.ends() == [(1006, "")]


def test_a_server_that_does_not_answer_the_close_is_left_in_time(timed: Net) -> None:
    client = timed.client(timed.script(switching()), close_timeout=5)
    timed.opened(client)
    client.close()
    timed.advance(4.9)
    assert client.ends() == []
    timed.advance(0.2)
    timed.ended(client)
    assert [type(error) for error in client.errors()] == [TimeoutError]
    assert client.ends()[0][0] == 1006


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [(1005, "", ValueError), (999, "", ValueError), ("x", "", TypeError)],
)
def test_a_close_that_cannot_be_sent_raises_and_changes_nothing(
    net: Net, code: Any, reason: Any, error: type[Exception]
) -> None:
    client = net.client(net.serve())
    for end in (client.close, client.stop):
        with pytest.raises(error):
            end(code, reason)
    net.opened(client)
    with pytest.raises(ValueError, match="123"):
        client.close(1000, "x" * 124)
    assert client.is_in(State.OPEN)


@both
def test_the_servers_close_is_told(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    server.met[0].close(4321, "bye")
    net.ended(client)
    assert client.noted[1:] == [("onclose", 4321, "bye")]
    assert client.was_clean


@both
def test_a_server_that_is_gone_is_told_as_1006(net: Net, secure: bool) -> None:
    client, server = net.meet(secure)
    server.met[0].abort()
    net.ended(client)
    assert client.ends()[0][0] == 1006
    assert not client.was_clean


@how
def test_before_its_first_step_a_client_can_be_ended(net: Net, how: str) -> None:
    client = net.client(net.script(silent))
    ENDS[how](client)
    ENDS[how](client)
    assert client.is_in(State.CLOSING)
    assert client.send("x") is False
    assert client.names() == []
    net.ended(client)
    net.settle()
    assert client.noted == [("onclose", 1006, "closed before it was open")]
    assert client.is_in(State.CLOSED)
    assert not net.reactor._services
    assert not net.scripted[0].raws


@how
def test_a_client_that_waits_for_its_next_attempt_can_be_ended(timed: Net, how: str) -> None:
    client = timed.client(f"ws://127.0.0.1:{free_port()}/", reconnect=sudden())
    timed.until(client.delays)
    before = list(client.noted)
    assert client.is_in(State.CONNECTING)
    ENDS[how](client)
    assert client.is_in(State.CLOSING)
    timed.advance(100)
    assert client.noted == before
    assert client.is_in(State.CLOSED)
    assert not timed.reactor._services


# ---- from inside the callbacks ----


def provoke(net: Net, name: str, end: Callable[[Noting], object], secure: bool) -> Noting:
    """Return a client to which `name` was told at least once, and in it `end` was done."""
    done: list[str] = []

    def once(client: Noting, *args: Any) -> None:
        if not done:
            done.append(name)
            assert end(client) is None

    def onopen(server: Any) -> None:
        if name == "onclose":
            server.close(4999)
        elif name == "onmessage":
            server.send("hi")
        elif name == "onping":
            server.ping()
        elif name == "onerror":
            server.send_packed(b"\xff\x00")
        elif name == "onreconnecting":
            net.reactor.call_later(0.05, server.abort)
        elif name == "ondrain":
            server.pause()
            net.reactor.call_later(0.05, server.resume)

    do: dict[str, Any] = {name: once}
    if name == "ondrain":
        do["onopen"] = lambda client: [client.send(b"x" * 200_000) for _ in range(30)]
    elif name == "onpong":
        do["onopen"] = lambda client: client.ping()
    client, _ = net.meet(
        secure,
        {"do": {"onopen": onopen}, "max_message": 1 << 20},
        do=do,
        reconnect=sudden(),
        max_write_queue=1 << 24,
    )
    net.until(lambda: done)
    return client


CALLBACKS = [
    "onopen",
    "onmessage",
    "onping",
    "onpong",
    "ondrain",
    "onerror",
    "onclose",
    "onreconnecting",
]


@both
@how
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_client_can_be_ended_from_inside_each_callback(
    net: Net, name: str, how: str, secure: bool
) -> None:
    inside: list[int] = []

    def end(client: Noting) -> None:
        before = len(client.noted)
        ENDS[how](client)
        ENDS[how](client)
        inside.append(len(client.noted) - before)

    client = provoke(net, name, end, secure)
    net.ended(client)
    net.until(lambda: client.ready_state is State.CLOSED)
    net.settle()
    assert inside == [0]
    assert client.names().count("onclose") == 1
    after = client.names()[client.names().index("onclose") + 1 :]
    assert after == (["onreconnecting"] if name == "onreconnecting" else [])
    assert client not in net.reactor._services


@both
@pytest.mark.parametrize("name", CALLBACKS)
def test_what_a_handler_raises_is_logged_and_told_and_ends_the_connection(
    net: Net, name: str, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fault = LookupError("of the handler")

    def fail(client: Noting) -> None:
        raise fault

    client = provoke(net, name, fail, secure)
    if name in ("onerror", "onclose", "onreconnecting"):
        net.until(client.delays)
        assert fault not in client.errors()
    else:
        net.until(lambda: fault in client.errors())
        net.ended(client)
        assert client.ends()[0] == (1011, "internal error")
    assert client.names().count("onclose") == 1
    assert f"{name} of <Noting" in caplog.text
    assert client.ready_state is State.CONNECTING or client.names()[-1] == "onclose"


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_out_of_a_handler_leaves_everything_closable(
    net: Net, name: str, error: type[BaseException]
) -> None:
    def interrupt(client: Noting) -> None:
        raise error

    with pytest.raises(error):
        provoke(net, name, interrupt, False)
    [client] = [each for each in net.reactor._services if isinstance(each, Noting)]
    client.abort()
    net.until(lambda: client.ready_state is State.CLOSED)
    net.settle()
    assert client not in net.reactor._services
    assert client.names().count("onclose") == 1


@pytest.mark.parametrize("name", ["onerror", "onclose"])
@pytest.mark.parametrize("again", [False, True])
def test_an_interrupt_when_an_attempt_has_failed_leaves_it_closable(
    net: Net, name: str, again: bool
) -> None:
    def interrupt(client: Noting, *args: Any) -> None:
        raise KeyboardInterrupt

    uri = f"ws://127.0.0.1:{free_port()}/"
    client = net.client(uri, do={name: interrupt}, reconnect=sudden() if again else None)
    with pytest.raises(KeyboardInterrupt):
        net.until(lambda: False)
    assert client.names() == ["onerror", "onclose"]
    client.close()
    net.settle()
    assert client.is_in(State.CLOSED)
    assert not net.reactor._services


def test_an_interrupt_out_of_onerror_at_the_end_leaves_it_closable(net: Net) -> None:
    def interrupt(client: Noting, *args: Any) -> None:
        raise KeyboardInterrupt

    server = net.script(switching(then=Raw.reset))
    client = net.client(server, do={"onopen": lambda c: c.send("x"), "onerror": interrupt})
    with pytest.raises(KeyboardInterrupt):
        net.until(lambda: False)
    assert client.names() == ["onopen", "onerror", "onclose"]
    net.settle()
    assert not net.reactor._services


def test_an_interrupt_in_the_last_onclose_does_not_keep_the_reactor_running(net: Net) -> None:
    def interrupt(client: Noting, *args: Any) -> None:
        raise KeyboardInterrupt

    client, server = net.meet(do={"onclose": interrupt})
    client.close()
    with pytest.raises(KeyboardInterrupt):
        net.until(lambda: False)
    server.close()
    assert not net.reactor._services


# ---- messages while there is no connection ----


def test_without_hold_a_message_is_refused_while_there_is_no_connection(net: Net) -> None:
    client = net.client(net.serve())
    with pytest.raises(InvalidState, match="hold"):
        client.send("early")
    net.opened(client)
    assert client.send("in time")


@pytest.mark.parametrize("message", [5, None, {"x": "y"}])
def test_what_is_no_message_is_a_type_error_in_every_state(net: Net, message: Any) -> None:
    client = net.client(net.serve(), hold=1000)
    with pytest.raises(TypeError):
        client.send(message)
    net.opened(client)
    with pytest.raises(TypeError):
        client.send(message)
    client.close()
    net.ended(client)
    with pytest.raises(TypeError):
        client.send(message)


@both
def test_what_is_held_leaves_behind_what_onopen_sends_and_before_all_else(
    net: Net, secure: bool
) -> None:
    server_tls, scheme, options = None, "ws", {}
    if secure:
        server_tls, scheme = certificates.server_context(), "wss"
        options = {"tls": certificates.client_context()}
    server = net.serve(tls=server_tls)
    client = net.client(
        net.uri(server, "/", scheme),
        hold=1000,
        do={"onopen": lambda client: client.send("login")},
        **options,
    )
    assert client.send("one") is True
    assert client.send(b"two") is True
    assert client.buffered_amount == 2 * 3
    net.opened(client)
    client.send("three")
    net.until(lambda: len(server.messages()) == 4)
    assert server.messages() == ["login", "one", b"two", "three"]
    assert client.buffered_amount == 0


def test_no_more_is_held_than_was_asked_for(net: Net) -> None:
    client = net.client(net.serve(), hold=3 * 10)
    for _ in range(3):
        client.send(b"x" * 10)
    with pytest.raises(QueueFull) as caught:
        client.send(b"y")
    assert (caught.value.size, caught.value.limit) == (31, 30)
    net.opened(client)
    assert client.send(b"x" * 10)


def test_onopen_can_send_although_as_much_is_held_as_can_be(net: Net) -> None:
    server = net.serve()
    client = net.client(server, hold=10, do={"onopen": lambda client: client.send("x" * 100)})
    client.send(b"x" * 10)
    net.until(lambda: len(server.messages()) == 2)
    assert client.errors() == []


def test_what_is_held_goes_as_fast_as_the_server_reads(net: Net) -> None:
    server = net.serve(do={"onopen": lambda client: client.pause()})
    client = net.client(server, hold=1 << 24, max_write_queue=100_000)
    parts = [bytes([number]) * 50_000 for number in range(200)]
    for part in parts:
        client.send(part)
    net.opened(client)
    net.until(lambda: server.met)
    assert 64 * KIB < client._link.buffered_amount < 64 * KIB + 60_000  # type: ignore[union-attr]
    assert client.buffered_amount > 1 << 20
    assert client.send("last") is False
    assert "ondrain" not in client.names()
    server.met[0].resume()
    net.until(lambda: len(server.messages()) == 201)
    assert server.messages() == [*parts, "last"]
    net.until(lambda: "ondrain" in client.names())
    assert client.send("more") is True


@pytest.mark.parametrize("overflow", ["close", "skip", "error"])
def test_what_is_held_does_not_count_as_overflow(net: Net, overflow: str) -> None:
    server = net.serve()
    client = net.client(server, hold=1 << 24, overflow=overflow, max_write_queue=10_000)
    for number in range(10):
        client.send(bytes([number]) * 500_000)
    net.until(lambda: len(server.messages()) == 10)
    assert [message[0] for message in server.messages()] == list(range(10))
    assert client.errors() == []


def test_many_small_messages_can_be_held(net: Net) -> None:
    server = net.serve()
    client = net.client(server, hold=1 << 24)
    for _ in range(20_000):
        client.send(b"")
    net.until(lambda: client.buffered_amount == 0)
    net.until(lambda: len(server.messages()) == 20_000)


def test_what_is_held_when_onopen_fails_is_kept_for_the_next_connection(timed: Net) -> None:
    def onopen(client: Noting) -> None:
        if client.names().count("onopen") == 1:
            raise LookupError("not yet")

    server = timed.serve()
    client = timed.client(server, hold=100, do={"onopen": onopen}, reconnect=sudden())
    client.send("kept")
    timed.until(client.delays)
    assert server.messages() == []
    timed.advance(1.1)
    timed.until(server.messages)
    assert server.messages() == ["kept"]


def test_what_is_sent_when_the_server_is_closing_is_held_for_the_next(timed: Net) -> None:
    server = timed.serve()
    client = timed.client(server, hold=100, reconnect=sudden())
    timed.opened(client)
    server.met[0].close(1001)
    timed.until(lambda: client.ready_state is not State.OPEN)
    assert client.send("for the next") is True
    timed.until(client.delays)
    client.send("and this")
    timed.advance(1.1)
    timed.until(lambda: len(server.messages()) == 2)
    assert server.messages() == ["for the next", "and this"]


@pytest.mark.parametrize("reconnect", [sudden(), None], ids=["again", "once"])
def test_a_client_is_not_closed_before_it_has_told_so_for_good(
    timed: Net, reconnect: Backoff | None
) -> None:
    def act(raw: Raw) -> None:
        if raw.data.endswith(b"\r\n\r\n"):
            raw.send(raw.switch(b"\x88\x00"))

    server = timed.script(act)
    told: list[State] = []
    seen: set[State] = set()
    client = timed.client(
        server,
        reconnect=reconnect,
        do={"onclose": lambda client, code, reason: told.append(client.ready_state)},
    )
    timed.until(lambda: client._link and client._link.ready_state is State.CLOSED)
    seen.add(client.ready_state)
    server.raws[0].close()
    timed.until(client.ends)
    assert seen == {State.CLOSING}
    assert told == [State.CLOSED if reconnect is None else State.CONNECTING]


def test_nothing_is_held_if_no_connection_will_follow(net: Net) -> None:
    client, server = net.meet(hold=100)
    server.met[0].close(1001)
    net.until(lambda: client.ready_state is not State.OPEN)
    assert client.send("too late") is False
    net.ended(client)
    assert client.send("too late") is False
    assert client.buffered_amount == 0


def test_what_was_held_is_dropped_at_the_end(net: Net) -> None:
    client = net.client(net.script(silent), hold=100)
    client.send("x")
    client.close()
    net.ended(client)
    net.settle()
    assert client.buffered_amount == 0


def test_what_is_held_for_want_of_room_leaves_before_the_close(net: Net) -> None:
    server = net.serve()
    client = net.client(server, hold=1 << 25)
    sent = [f"{number}" * 100_000 for number in range(100)]
    for message in sent[:90]:
        client.send(message)
    net.until(lambda: client.ready_state is State.OPEN)
    assert client._held, "the kernel has taken all of it"
    for message in sent[90:]:
        assert client.send(message) is False
    client.close()
    assert client._held_size == 0
    net.ended(client)
    net.until(server.ends)
    assert server.messages() == sent
    assert server.ends() == [(1000, "")]
    assert client.was_clean


@both
def test_what_is_held_is_compressed_as_its_sender_wished_on_whichever_connection(
    net: Net, secure: bool
) -> None:
    deflate = Counting(threshold=100)
    agreeing = {"compress": True, "tls": certificates.server_context() if secure else None}
    server = net.serve(**agreeing)
    client = net.client(
        net.uri(server, "/", "wss" if secure else "ws"),
        tls=certificates.client_context() if secure else None,
        extensions=[deflate],
        hold=10_000,
        do={"onopen": lambda client: client.send("login")},
    )
    sent: list[Any] = [
        ("a" * 99, None),
        (b"b" * 100, None),
        ("c" * 99, True),
        (b"d" * 100, False),
        (TextMessage(b"e" * 100), None),
        (BinaryMessage(b"f"), True),
        (bytearray(b"g" * 100), None),
    ]
    for message, compress in sent:
        client.send(message, compress)
    sent[-1][0][:] = b"changed"
    assert client.buffered_amount == 99 + 100 + 99 + 100 + 100 + 1 + 100
    net.until(lambda: len(server.messages()) == 8)
    assert server.messages()[0] == "login"
    assert server.messages()[1:6] == ["a" * 99, b"b" * 100, "c" * 99, b"d" * 100, "e" * 100]
    assert server.messages()[6:] == [b"f", b"g" * 100]
    assert [data[:1] for data in deflate.compressed] == [b"b", b"c", b"e", b"f", b"g"]
    assert client.buffered_amount == 0


def numbered(count: int, size: int = 50_000, of: Any = bytes) -> Iterator[Any]:
    """Yield so many parts, each of its own."""
    for number in range(count):
        yield (b"%03d" % number * (size // 3) if of is bytes else f"{number:03}" * (size // 3))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_held_stream_is_asked_for_when_it_leaves_and_keeps_its_place(
    net: Net, count: int, compress: bool
) -> None:
    asked: list[int] = []

    def parts() -> Iterator[str]:
        for part in numbered(count, of=str):
            asked.append(client.ready_state)
            yield part

    server = net.serve(compress=compress, max_message=1 << 24)
    client = net.client(server, hold=100)
    assert client.send("before") is True
    assert client.send(parts()) is True
    assert client.send(b"behind") is True
    assert client.send(["a", "list"]) is True
    assert client.buffered_amount == 6 + 6 + 2  # one for each iterable
    assert asked == []
    net.until(lambda: len(server.messages()) == 4)
    assert server.messages() == ["before", "".join(numbered(count, of=str)), b"behind", "alist"]
    assert asked == [State.OPEN] * count
    assert client.send("more") is True
    net.until(lambda: len(server.messages()) == 5)


def test_what_is_held_behind_a_stream_goes_to_the_next_connection_if_that_breaks(
    timed: Net,
) -> None:
    closed: list[str] = []

    def parts() -> Iterator[bytes]:
        try:
            yield from numbered(1000)
        finally:
            closed.append("closed")

    server = timed.serve(compress=True, max_message=1 << 27)
    server.do["onopen"] = lambda client: client.pause()
    client = timed.client(server, hold=1000, reconnect=sudden())
    client.send(parts())
    client.send("kept", True)
    timed.opened(client)
    timed.settle()
    assert closed == []
    server.do.clear()
    server.met[0].abort()
    timed.until(client.delays)
    assert closed == ["closed"]
    timed.advance(1.1)
    timed.until(server.messages)
    assert server.messages() == ["kept"]


def test_a_held_stream_that_was_not_begun_waits_for_the_next_connection(timed: Net) -> None:
    def onopen(client: Noting) -> None:
        if client.names().count("onopen") == 1:
            raise LookupError("not yet")

    server = timed.serve(compress=True)
    client = timed.client(server, hold=100, do={"onopen": onopen}, reconnect=sudden())
    client.send(part for part in ("a", "stream"))
    timed.until(client.delays)
    assert server.messages() == []
    timed.advance(1.1)
    timed.until(server.messages)
    assert server.messages() == ["astream"]


def test_a_message_that_fails_its_connection_does_not_fail_the_next_one(timed: Net) -> None:
    def onopen(client: Noting) -> None:
        if client.names().count("onopen") == 1:
            assert client.send([b"a", 3]) is False  # type: ignore[arg-type]
        else:
            client.send("sound")

    server = timed.serve()
    client = timed.client(server, hold=1000, do={"onopen": onopen}, reconnect=sudden())
    timed.until(client.delays)
    assert client.ends() == [(1011, "internal error")]
    assert client.buffered_amount == 0
    timed.advance(1.1)
    timed.until(server.messages)
    assert server.messages() == ["sound"]
    assert len(client.ends()) == 1


def test_what_is_held_and_cannot_be_sent_any_more_is_closed(net: Net) -> None:
    closed = []

    def parts() -> Iterator[str]:
        try:
            yield "a part"
        finally:
            closed.append("parts")

    generator = parts()
    assert next(generator) == "a part"
    client = net.client(net.script(lambda raw: None), hold=1000)
    for message in (generator, ["a list"], "text"):
        client.send(message)
    client.abort()
    net.ended(client)
    assert closed == ["parts"]
    assert client.buffered_amount == 0


@both
@pytest.mark.parametrize("compress", [False, True])
def test_close_leaves_behind_all_that_was_sent_in_parts(
    net: Net, compress: bool, secure: bool
) -> None:
    there = {"compress": compress, "max_message": 1 << 24}
    client, server = net.meet(secure, there, fragment_size=100_000)
    sent: list[Any] = [b"".join(numbered(50)), "x" * 300_000, b"y" * 99_999, "z" * 150_000]
    client.send(numbered(50))
    for message in sent[1:]:
        client.send(message)
    client.close(4000, "that was all")
    assert client.send("too late") is False
    net.ended(client)
    net.until(server.ends)
    assert server.messages() == sent
    assert client.ends() == server.ends() == [(4000, "that was all")]
    assert client.was_clean


@both
def test_close_leaves_behind_a_large_message_that_was_sent_behind_parts(
    net: Net, secure: bool
) -> None:
    there = {"do": {"onopen": lambda client: client.pause()}, "max_message": 1 << 24}
    client, server = net.meet(secure, there, max_write_queue=1 << 24)
    assert client.send(numbered(200)) is False
    assert client.send("x" * 8_000_000) is False
    client.close(4000, "that was all")
    net.settle()
    server.met[0].resume()
    net.ended(client)
    net.until(server.ends)
    assert [len(message) for message in server.messages()] == [200 * 49_998, 8_000_000]
    assert client.ends() == server.ends() == [(4000, "that was all")]


def test_to_send_while_parts_leave_neither_hurries_them_nor_tells_from_inside_the_call(
    net: Net,
) -> None:
    asked: list[int] = []

    def parts() -> Iterator[str]:
        for number in range(1000):
            asked.append(number)
            yield "x"

    client, server = net.meet()
    client.send(parts())
    begun = len(asked)
    assert 0 < begun < 100
    before = client.names()
    for number in range(100):
        assert client.send(str(number)) is False
    assert len(asked) == begun, "more were asked for in the same step"
    assert client.names() == before
    net.until(lambda: len(server.messages()) == 101)
    assert server.messages() == ["x" * 1000, *map(str, range(100))]
    net.until(lambda: "ondrain" in client.names())
    assert client.names().count("ondrain") == 1


@both
@pytest.mark.parametrize("end", ["stop", "abort"])
def test_what_is_sent_in_parts_is_cut_short_by_stop_and_abort(
    net: Net, end: str, secure: bool
) -> None:
    closed: list[str] = []

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(50_000)
        finally:
            closed.append("closed")

    got: list[int] = []
    there = {"onfragment": lambda client, data, final: got.append(len(data))}
    client, server = net.meet(secure, there)
    client.send(endless())
    assert client.send("behind it") is False
    client.close(4000)
    net.until(lambda: sum(got) > 1_000_000)
    getattr(client, end)()
    assert closed == ["closed"]
    net.ended(client)
    net.until(server.ends)
    assert client.ends()[0][0] == (4000 if end == "stop" else 1006)
    assert server.messages() == []


@pytest.mark.parametrize("end", ["close", "stop", "abort"])
@pytest.mark.parametrize("held", [False, True])
def test_a_stream_can_end_its_client(net: Net, end: str, held: bool) -> None:
    closed: list[str] = []

    def parts() -> Iterator[str]:
        try:
            yield "first "
            getattr(client, end)()
            assert client.ready_state is not State.OPEN
            yield "last"
        finally:
            closed.append("closed")

    server = net.serve()
    client = net.client(server, hold=100)
    if held:
        client.send(parts())
        client.send("behind")
    else:
        net.opened(client)
        client.send(parts())
        client.send("behind")
    net.ended(client)
    net.until(lambda: server.ends() if server.met else True)
    assert closed == ["closed"]
    assert client.names().count("onclose") == 1
    assert client.errors() == []
    code = {"close": 1000, "stop": 1001, "abort": 1006}[end]
    assert [code for code, _ in client.ends()] == [code]
    if end != "close":
        assert server.messages() == []
    elif held:
        assert server.messages() == ["first last", "behind"]
    else:
        assert server.messages() == ["first last"]


@both
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_stream_that_raises_fails_the_connection_and_is_told_in_a_later_step(
    net: Net, when: str, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fault = LookupError("in the middle")

    def parts() -> Iterator[bytes]:
        for _ in range(0 if when == "at once" else 200):
            yield bytes(50_000)
        raise fault

    there = {"max_message": 1 << 24}
    client, server = net.meet(secure, there, reconnect=Backoff(first=0.001, jitter=0))
    before = list(client.noted)
    assert client.send(parts()) is False
    assert client.noted == before
    net.until(client.ends)
    assert client.errors() == [fault]
    assert client.ends() == [(1011, "internal error")]
    assert "LookupError: in the middle" in caplog.text
    net.until(lambda: client.names().count("onopen") == 2)
    assert client.send("alive") is True
    net.until(server.messages)
    assert server.messages() == ["alive"]
    assert server.ends()[0] == (1011, "internal error")


@pytest.mark.parametrize("part", [5, None, ["nested"], b"binary"])
def test_a_part_that_is_none_fails_the_connection(net: Net, part: Any) -> None:
    client, server = net.meet()
    client.send(iter(["text", part]))
    net.ended(client)
    assert isinstance(client.errors()[0], TypeError)
    net.until(server.ends)
    assert client.ends() == server.ends() == [(1011, "internal error")]
    assert server.messages() == []


def test_an_interrupt_out_of_a_stream_leaves_everything_closable(net: Net) -> None:
    closed: list[str] = []

    def parts() -> Iterator[bytes]:
        try:
            for _ in range(200):
                yield bytes(50_000)
            raise KeyboardInterrupt
        finally:
            closed.append("closed")

    client, server = net.meet(server={"max_message": 1 << 24})
    client.send(parts())
    with pytest.raises(KeyboardInterrupt):
        net.until(lambda: False)
    assert closed == ["closed"]
    client.stop()
    net.ended(client)
    net.until(server.ends)
    # A message that was broken off has come to no good end.
    assert client.ends() == server.ends() == [(1011, "")]
    assert server.messages() == []


def test_what_is_held_behind_what_cannot_be_encoded_goes_to_the_next_connection(
    timed: Net,
) -> None:
    flip = Flip()
    server = timed.serve(extensions=[Flip()])
    client = timed.client(server, extensions=[flip], hold=100, reconnect=sudden())
    fault = LookupError("not this one")

    def onopen(client: Noting) -> None:
        if len(flip.made) == 1:
            flip.made[0].encode = raiser(fault)  # type: ignore[method-assign]

    client.do["onopen"] = onopen
    for message in ("lost", "kept", "kept, too"):
        client.send(message)
    timed.until(client.delays)
    assert client.ends() == [(1011, "an extension failed")]
    assert client.errors()[0].__cause__ is fault
    timed.advance(1.1)
    timed.until(lambda: len(server.messages()) == 2)
    assert server.messages() == ["kept", "kept, too"]


def test_what_is_held_when_the_client_stops_leaves_but_for_what_comes_in_parts(
    net: Net,
) -> None:
    asked: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            asked.append(1)
            yield bytes(50_000)

    server = net.serve(do={"onopen": lambda client: client.pause()}, max_message=1 << 24)
    client = net.client(server, hold=1 << 24)
    client.send("x" * 8_000_000)
    client.send("y" * 4_000_000)
    client.send(endless())
    client.send("behind it")
    net.opened(client)
    assert client._held
    client.stop()
    assert len(asked) < 100
    net.until(lambda: server.met)
    server.met[0].resume()
    net.ended(client)
    net.until(server.ends)
    assert [len(message) for message in server.messages()] == [8_000_000, 4_000_000]
    assert client.ends() == server.ends() == [(1001, "")]


def test_a_client_that_is_closed_in_onopen_sends_nothing_of_what_was_held(net: Net) -> None:
    server = net.serve()
    client = net.client(server, hold=100, do={"onopen": lambda client: client.close()})
    client.send("x")
    net.ended(client)
    net.until(server.ends)
    assert server.messages() == []
    assert server.ends() == [(1000, "")]


def test_what_is_held_is_kept_if_the_connection_breaks_at_once(timed: Net) -> None:
    server = timed.serve()
    client = timed.client(server, hold=1000, reconnect=sudden())

    def cut(client: Noting) -> None:
        client._link._transport.sock.shutdown(1)  # type: ignore[union-attr]
        client.send("lost")
        client._link._transport.flush()  # type: ignore[union-attr]
        client.do.clear()

    client.do["onopen"] = cut
    client.send("one")
    client.send("two")
    timed.until(client.delays)
    timed.advance(1.1)
    timed.until(lambda: len(server.messages()) >= 1)
    assert server.messages()[-1] == "two"


# ---- again ----


def test_without_a_policy_there_is_one_attempt(timed: Net) -> None:
    client = timed.client(f"ws://127.0.0.1:{free_port()}/")
    timed.ended(client)
    timed.advance(1000)
    assert client.names() == ["onerror", "onclose"]
    assert not timed.reactor._services


def test_each_attempt_ends_once_and_the_delays_follow_the_policy(timed: Net) -> None:
    client = timed.client(f"ws://127.0.0.1:{free_port()}/", reconnect=sudden())
    for number in range(1, 9):
        timed.until(lambda number=number: len(client.delays()) == number)  # type: ignore[misc]
        assert client.names() == ["onerror", "onclose", "onreconnecting"] * number
        assert client.noted[-1] == ("onreconnecting", min(64, 2 ** (number - 1)), number)
        timed.advance(client.delays()[-1] - 0.01)
        assert len(client.noted) == 3 * number
        timed.advance(0.02)


def test_the_delays_have_full_jitter(timed: Net) -> None:
    backoff = Backoff(first=8, factor=1, last=8, random=random.Random(13).random)

    def resolver(host: str, number: int, answer: Callable[..., object]) -> None:
        answer(OSError("none"))

    client = timed.client("ws://a.test/", resolver=resolver, reconnect=backoff)
    for _ in range(2000):
        timed.reactor.step(0)
        assert timed.clock is not None
        timed.clock.advance(8)
    delays = client.delays()
    assert len(delays) > 1900
    assert 0 <= min(delays) < max(delays) <= 8
    eighths = [sum(1 for delay in delays if int(delay) == eighth) for eighth in range(8)]
    assert all(len(delays) / 8 * 0.7 < count < len(delays) / 8 * 1.3 for count in eighths)


def test_a_connection_that_lasted_begins_the_count_anew(timed: Net) -> None:
    server = timed.serve()
    client = timed.client(server, reconnect=sudden(stable=10))
    for lasted, attempt in ((0, 1), (9.9, 2), (9.9, 3), (10.1, 1), (0, 2)):
        timed.until(lambda: client.ready_state is State.OPEN and server.clients)
        timed.clock.advance(lasted)  # type: ignore[union-attr]
        count = len(client.delays())
        server.met[-1].abort()
        timed.until(lambda count=count: len(client.delays()) > count)  # type: ignore[misc]
        assert client.noted[-1] == ("onreconnecting", 2 ** (attempt - 1), attempt)
        timed.advance(client.delays()[-1] + 0.1)


@pytest.mark.parametrize(
    ("status", "again"), [(503, 1), (429, 1), (500, 1), (403, 0), (404, 0)]
)
def test_there_is_no_other_attempt_after_an_answer_that_will_stay_the_same(
    timed: Net, status: int, again: int
) -> None:
    client = timed.client(timed.script(answering(response(status))), reconnect=sudden())
    timed.ended(client)
    timed.settle()
    assert len(client.delays()) == again
    assert client.errors()[0].status == status
    assert client.ready_state is (State.CONNECTING if again else State.CLOSED)
    assert len(timed.reactor._services) == again


def test_a_certificate_that_does_not_fit_ends_all_attempts(timed: Net) -> None:
    from tests import certificates

    server = timed.serve(tls=certificates.server_context("elsewhere.test"))
    client = timed.client(
        timed.uri(server, "/", "wss"), tls=certificates.client_context(), reconnect=sudden()
    )
    timed.ended(client)
    assert client.delays() == []
    assert client.is_in(State.CLOSED)


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("120", 121),
        ("0", 1),
        ("", 1),
        ("-5", 1),
        ("1.5", 1),
        ("soon", 1),
        ("9" * 400, 86_401),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_401),
        ("Fri, 99 Dec 9999 99:99:99 XXX", 1),
    ],
)
def test_what_the_server_asks_for_is_waited_for(timed: Net, value: str, delay: float) -> None:
    server = timed.script(answering(response(503, f"Retry-After: {value}\r\n")))
    client = timed.client(server, reconnect=sudden())
    timed.until(client.delays)
    assert client.delays() == [delay]


def test_the_server_can_ask_for_a_date(timed: Net) -> None:
    date = http_date(time.gmtime(time.time() + 500))
    server = timed.script(answering(response(503, f"Retry-After: {date}\r\n")))
    client = timed.client(server, reconnect=sudden())
    timed.until(client.delays)
    assert 490 < client.delays()[0] <= 501


@pytest.mark.parametrize(
    ("code", "lowest", "highest"), [(1012, 5, 30), (1013, 32, 64), (1001, 0, 1), (4000, 0, 1)]
)
def test_the_close_code_tells_how_long_to_stay_away(
    timed: Net, code: int, lowest: float, highest: float
) -> None:
    chance = random.Random(code).random
    backoff = Backoff(first=1, factor=2, last=64, random=chance)
    client, server = timed.meet(reconnect=backoff)
    server.met[0].close(code)
    timed.until(client.delays)
    assert lowest <= client.delays()[0] <= highest


def test_a_veto_ends_it(timed: Net) -> None:
    client, server = timed.meet(reconnect=sudden(), do={"onreconnecting": lambda *args: False})
    server.met[0].abort()
    timed.until(client.delays)
    timed.advance(100)
    assert client.names()[-2:] == ["onclose", "onreconnecting"]
    assert client.is_in(State.CLOSED)
    assert client not in timed.reactor._services
    assert client.send("x") is False


@pytest.mark.parametrize("answer", [None, 0, True, ""])
def test_only_false_is_a_veto(timed: Net, answer: object) -> None:
    client, server = timed.meet(reconnect=sudden(), do={"onreconnecting": lambda *a: answer})
    server.met[0].abort()
    timed.until(client.delays)
    timed.advance(1.1)
    timed.until(lambda: client.names().count("onopen") == 2)


def test_who_vetoes_may_have_closed_already(timed: Net) -> None:
    def veto(client: Noting, *args: Any) -> bool:
        client.close()
        return False

    client, server = timed.meet(reconnect=sudden(), do={"onreconnecting": veto})
    server.met[0].abort()
    timed.until(lambda: client.ready_state is State.CLOSED)
    timed.settle()
    assert client.names().count("onclose") == 1


def test_a_new_connection_is_like_the_first(timed: Net) -> None:
    client, server = timed.meet(reconnect=sudden())
    for number in range(2, 5):
        server.met[-1].close(1001, "again")
        timed.until(lambda number=number: len(client.delays()) == number - 1)  # type: ignore[misc]
        assert client.was_clean
        timed.advance(client.delays()[-1] + 0.1)
        timed.until(lambda number=number: client.names().count("onopen") == number)  # type: ignore[misc]
        timed.until(lambda number=number: len(server.met) == number)  # type: ignore[misc]
        client.send(f"message {number}")
        server.met[-1].send(f"answer {number}")
        timed.until(lambda number=number: len(client.messages()) == number - 1)  # type: ignore[misc]
        assert len(server.messages()) == number - 1
    assert client.names()[:4] == ["onopen", "onclose", "onreconnecting", "onopen"]


def test_an_attempt_that_failed_after_a_clean_end_was_not_clean(timed: Net) -> None:
    client, server = timed.meet(reconnect=sudden())
    server.met[0].close(1001)
    timed.until(client.delays)
    assert client.was_clean
    server.close()
    timed.advance(1.1)
    timed.until(lambda: len(client.delays()) == 2)
    assert (client.close_code, client.was_clean) == (1006, False)


def test_an_attempt_that_is_given_up_after_a_clean_end_was_not_clean(timed: Net) -> None:
    server = timed.script(switching(then=lambda raw: raw.close()))
    client = timed.client(server, reconnect=sudden())
    timed.opened(client)
    server.raws[0].send(pack_frame(0x88, b"\x03\xe9", False))
    timed.until(client.delays)
    assert client.was_clean
    server.act = silent
    timed.advance(1.1)
    timed.until(lambda: len(server.raws) == 2)
    client.close()
    timed.ended(client, count=2)
    assert client.ends()[1] == (1006, "closed before it was open")
    assert not client.was_clean


class Faulty(Backoff):
    """A policy with a fault."""

    def delay(self, attempt: int, *, code: int = 1006, retry_after: float = 0.0) -> float:
        raise LookupError("no delay")


class Senseless(Backoff):
    """One whose delays are none."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def delay(self, attempt: int, *, code: int = 1006, retry_after: float = 0.0) -> Any:
        return self.answer


class Unjust(Backoff):
    """Another one."""

    def is_fatal(self, error: Exception) -> bool:
        raise LookupError("no judgement")


@pytest.mark.parametrize("backoff", [Faulty(), Unjust()])
@pytest.mark.parametrize("was_open", [False, True])
def test_a_policy_that_raises_ends_the_client(
    timed: Net, backoff: Any, was_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if was_open:
        client, server = timed.meet(reconnect=backoff)
        if isinstance(backoff, Unjust):
            server.close()
        else:
            server.met[0].abort()
    else:
        client = timed.client(f"ws://127.0.0.1:{free_port()}/", reconnect=backoff)
    timed.ended(client)
    timed.advance(100)
    timed.until(lambda: client.ready_state is State.CLOSED)
    assert client not in timed.reactor._services
    assert "the policy of <Noting" in caplog.text


@pytest.mark.parametrize("answer", [None, "1", float("nan"), float("inf"), -1])
def test_a_policy_whose_delay_is_none_ends_the_client(
    timed: Net, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = timed.client(f"ws://127.0.0.1:{free_port()}/", reconnect=Senseless(answer))
    timed.until(client.ends)
    timed.settle()
    assert client.ready_state is State.CLOSED
    assert client not in timed.reactor._services
    assert client.delays() == []
    assert "the policy of <Noting" in caplog.text


def test_a_policy_can_judge_otherwise(timed: Net) -> None:
    class Stubborn(Backoff):
        def is_fatal(self, error: Exception) -> bool:
            return not isinstance(error, HandshakeError)

    server = timed.script(answering(response(404)))
    client = timed.client(server, reconnect=Stubborn(jitter=0))
    timed.until(client.delays)
    timed.advance(1.1)
    timed.until(lambda: len(server.raws) == 2)


def test_a_name_that_hangs_is_asked_for_once_for_all_attempts(
    timed: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    calls: list[str] = []
    asked, free, over = threading.Event(), threading.Event(), threading.Event()

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        calls.append(host)
        asked.set()
        free.wait()
        over.set()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = timed.client("ws://a.test/", reconnect=sudden(), handshake_timeout=1)
    assert isinstance(client._wish.resolver, Resolver)
    try:
        for number in range(1, 5):
            timed.settle()
            timed.advance(1.1)
            timed.until(lambda number=number: len(client.delays()) == number)  # type: ignore[misc]
            timed.advance(client.delays()[-1] + 0.1)
        assert asked.wait(10)
        assert calls == ["a.test"]
    finally:
        free.set()
        assert over.wait(10)


class Careless(Noting):
    """Has attributes as users name them."""

    def onopen(self) -> None:
        self.connected = self.opened = True
        self.closed = self.drained = False
        super().onopen()


def test_attributes_of_the_users_own_are_in_nobodys_way(timed: Net) -> None:
    server = timed.serve()
    client = Careless(timed.uri(server), reactor=timed.reactor, reconnect=sudden())
    timed.opened(client)
    server.met[0].close()
    timed.until(client.delays)
    timed.advance(1.1)
    timed.until(lambda: client.names().count("onopen") == 2)


# ---- in reactors ----


def test_a_client_of_its_own_runs_to_its_end_and_closes_its_reactor(net: Net) -> None:
    server = net.script(switching(pack_frame(TEXT, b"hi", False)))
    served = threading.Event()
    thread = threading.Thread(target=serve_until, args=(net, served))
    thread.start()
    try:
        client = Noting(server.uri(), do={"onmessage": lambda client, _: client.close()})
        server.act = switching(pack_frame(TEXT, b"hi", False), then=lambda raw: raw.close())
        client.run()
    finally:
        served.set()
        thread.join()
    assert client.names()[:2] == ["onopen", "onmessage"]
    assert client.names()[-1] == "onclose"
    assert client.reactor.closed
    client.run()
    assert client.names().count("onclose") == 1


def serve_until(net: Net, served: threading.Event) -> None:
    """Step the reactor of a server in a thread of its own."""
    while not served.is_set():
        net.reactor.step(0.01)


def test_a_client_that_has_ended_has_nothing_to_run(net: Net) -> None:
    client, _ = net.meet()
    client.close()
    net.ended(client)
    client.run()
    assert not net.reactor.closed


def test_run_returns_when_the_last_in_the_reactor_has_ended(net: Net) -> None:
    server = net.serve()
    clients = [net.client(server) for _ in range(3)]

    def finish() -> None:
        clients[0].close()
        net.reactor.call_later(0.01, clients[1].close)
        net.reactor.call_later(0.02, clients[2].abort)
        net.reactor.call_later(0.03, server.stop)

    clients[2].do["onopen"] = lambda client: net.reactor.call_later(0.01, finish)
    clients[0].run()
    assert [client.names() for client in clients] == [["onopen", "onclose"]] * 3
    assert not net.reactor._services
    assert not net.reactor.closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_gracefully(net: Net, number: int) -> None:
    server = net.serve()
    waiting = net.client("ws://a.test/", resolver=lambda *args: None)
    client = net.client(server, do={"onopen": lambda client: os.kill(os.getpid(), number)})
    client.run()
    assert client.ends() == [(1001, "")]
    assert waiting.ends() == [(1006, "closed before it was open")]
    assert server.ends() == [(1001, "")]


def test_shutdown_ends_clients_in_every_state(net: Net) -> None:
    server = net.serve()
    options: dict[str, Any] = {"reconnect": Backoff(first=3600, last=3600, jitter=0)}
    fresh = net.client(server, **options)
    opened = net.client(server, **options)
    waiting = net.client(f"ws://127.0.0.1:{free_port()}/", **options)
    net.opened(opened)
    net.until(waiting.delays)
    fresh = net.client(server, **options)
    net.reactor.shutdown()
    net.reactor.run()
    assert not net.reactor._services
    assert fresh.names() == ["onclose"]
    assert opened.ends() == [(1001, "")]
    assert waiting.names() == ["onerror", "onclose", "onreconnecting"]


def test_what_the_reactor_is_stopped_with_is_told_before_run_returns(net: Net) -> None:
    server = net.serve()
    client = net.client(server, do={"onopen": lambda client: net.reactor.stop()})
    client.run()
    assert client.names() == ["onopen", "onclose"]
    assert client.ends() == [(1006, "")]


def test_an_interrupt_out_of_run_leaves_nothing_open() -> None:
    def interrupt(client: Noting, *args: Any) -> None:
        raise KeyboardInterrupt

    gc.collect()
    before = descriptors()
    client = Noting(f"ws://127.0.0.1:{free_port()}/", do={"onclose": interrupt})
    with pytest.raises(KeyboardInterrupt):
        client.run()
    assert client.reactor.closed
    assert client.names() == ["onerror", "onclose"]
    assert descriptors() == before


def test_closing_the_reactor_tells_every_client(net: Net) -> None:
    client, server = net.meet(reconnect=sudden())
    other = net.client(server)
    net.reactor.close()
    assert client.ends() == [(1006, "")]
    assert other.ends() == [(1006, "closed before it was open")]
    assert client.ready_state is other.ready_state is State.CLOSED
    for each in (client, other):
        each.close()
        each.abort()
        each.stop()
        assert each.send("x") is False
    assert client.names() == ["onopen", "onclose"]


def test_clients_and_servers_share_a_reactor(net: Net) -> None:
    servers = [net.serve(do={"onmessage": lambda client, m: client.send(m)}) for _ in range(5)]
    clients = [net.client(server) for server in servers for _ in range(4)]
    net.opened(*clients)
    for number, client in enumerate(clients):
        client.send(f"{number}")
    net.until(lambda: all(client.messages() for client in clients))
    assert [client.messages() for client in clients] == [[f"{n}"] for n in range(20)]
    clients[0].abort()
    net.ended(clients[0])
    assert all(client.ready_state is State.OPEN for client in clients[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_client_that_is_dead_and_disturbs_nobody(net: Net) -> None:
    client, server = net.meet()
    waiting = net.client("ws://a.test/", resolver=lambda *args: None)
    net.settle()
    child = os.fork()
    if not child:
        try:
            for each in (client, waiting):
                each.close()
                each.abort()
                each.stop()
            try:
                client.run()
            except RuntimeError:
                os._exit(0 if client.send("child") is False else 3)
            os._exit(2)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    client.send("parent")
    net.until(server.messages)
    assert server.messages() == ["parent"]
    assert client.names() == ["onopen"]


def test_garbage_at_any_time_ends_it_cleanly(net: Net) -> None:
    chance = random.Random(6455)

    def act(raw: Raw) -> None:
        if raw.asked:
            raw.send(raw.switch(pack_frame(PING, b"", False)) + chance.randbytes(50))
            raw.close()

    server = net.script(act)
    clients = [net.client(server) for _ in range(50)]
    net.ended(*clients)
    net.settle()
    for client in clients:
        assert client.names()[:2] == ["onopen", "onping"]
        assert client.names().count("onclose") == 1
        assert client.names()[-1] == "onclose"


# ---- threads, and the clock of the server ----


def test_any_thread_can_have_a_client_send(net: Net) -> None:
    client, server = net.meet(False)
    worker = threading.Thread(target=client.send_threadsafe, args=("from afar",))
    worker.start()
    worker.join()
    net.until(lambda: server.messages())
    assert server.messages() == ["from afar"]
    with pytest.raises(TypeError):
        client.send_threadsafe(5)  # type: ignore[arg-type]


def test_a_client_knows_its_round_trips_and_the_server_s_clock(net: Net) -> None:
    client = net.client("ws://a.test/", resolver=lambda *args: None)
    assert (client.rtt, client.jitter, client.clock_offset) == (None, None, None)
    assert client.stats().connections == 0
    client, server = net.meet(False)
    client.ping()
    net.until(lambda: client.rtt is not None)
    assert client.jitter == 0.0
    (connection,) = server.clients
    connection.ping()
    net.until(lambda: client.clock_offset is not None)
    assert client.clock_offset == pytest.approx(0.0, abs=5)
    assert client.stats().connections == 1
