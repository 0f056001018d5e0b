"""`reactor/connection.py`: what a connection does, what it tells, and how it ends."""

from __future__ import annotations

import functools
import gc
import logging
import platform
import random
import weakref
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reactor import (
    Codec,
    Connection,
    ConnectionClosed,
    Extension,
    Handlers,
    InvalidPayload,
    InvalidState,
    MessageTooBig,
    ProtocolError,
    QueueFull,
    Reactor,
    Server,
    State,
)
from reactor.loop.transport import LINGER, Transport
from reactor.opened import Opened
from reactor.protocol.frames import pack_message
from reactor.protocol.handshake import Request
from reactor.settings import Settings
from reactor.testing import FakeClock, MemorySelector, MemorySocket, Peer, memory_pair
from tests.line import Line
from tests.programs import module
from tests.recorder import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Recorder,
    Visitor,
    close_frame,
    masked,
    meet,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1024, 1024 * 1024
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: memory\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()
EVENTS = ("onopen", "onmessage", "onping", "onpong", "ondrain", "onerror", "onclose")


def raiser(error: BaseException) -> Callable[..., None]:
    def raise_it(*args: object) -> None:
        raise error

    return raise_it


def raw(server: Server, data: bytes = b"") -> MemorySocket:
    """Connect by hand: return the client's end, with the request and `data` in one piece."""
    ours, theirs = memory_pair()
    accepted: Any = theirs
    server.accepted(accepted, ("memory", 1))
    ours.send(UPGRADE + data)
    return ours


def wire(ours: MemorySocket) -> bytes:
    """Return what the server has sent behind its 101."""
    return bytes(ours.inbox).partition(b"\r\n\r\n")[2]


def recorder(**options: Any) -> Recorder:
    return Recorder(reactor=Reactor(selector=MemorySelector(), clock=FakeClock()), **options)


def leave(server: Recorder, ours: MemorySocket, data: bytes) -> None:
    """Send `data` and close; the server writes before it reads, and so sees the end first."""
    ours.send(data)
    ours.close()
    assert server.met[0].send("?") is False


def settle(server: Server, steps: int = 20) -> None:
    for _ in range(steps):
        server.reactor.step(0)


# ---- what a connection is ----


def test_it_shows_what_the_handshake_has_led_to() -> None:
    with meet(target="/chat?x=1", subprotocols=["v1"]) as peer:
        client = peer.client
        assert client.request.path == "/chat"
        assert client.request.query == {"x": "1"}
        assert client.subprotocol is None
        assert client.address[0] == "memory"
        assert client.server is peer.server
        assert client.handlers is peer.server
        assert client.reactor is peer.server.reactor
        assert client.ready_state is State.OPEN
        assert client.tls is None
        assert client.data is None
        assert client.buffered_amount == 0
        assert client.rtt is None
        assert repr(client).startswith("<Connection OPEN memory:")
        assert repr(client).endswith(" /chat?x=1>")


def test_text_goes_as_text_and_bytes_like_as_binary() -> None:
    with meet() as peer:
        for message in ("text", b"bytes", bytearray(b"array"), memoryview(b"view"), "", b""):
            assert peer.client.send(message)
        peer.settle()
        assert peer.received == ["text", b"bytes", b"array", b"view", "", b""]


def test_text_comes_as_str_and_binary_as_bytes() -> None:
    with meet() as peer:
        for message in ("text", b"binary", "", b"", "☃", bytes(20_000), "é" * 20_000):
            peer.send(message)
        assert peer.server.messages() == [
            "text", b"binary", "", b"", "☃", bytes(20_000), "é" * 20_000,
        ]  # fmt: skip
        assert {type(message) for message in peer.server.messages()} == {str, bytes}


WRONG_ARGUMENTS: list[Callable[[Connection], object]] = [
    lambda client: client.send(5),  # type: ignore[arg-type]
    lambda client: client.send(None),  # type: ignore[arg-type]
    lambda client: client.send(array("I", [1, 2])),  # type: ignore[arg-type]
    lambda client: client.send({"text": 1}),
    lambda client: client.send(memoryview(array("I", [1, 2]))),
    lambda client: client.send(memoryview(b"abcdef")[::2]),
    lambda client: client.send("\ud800"),
    lambda client: client.ping(5),  # type: ignore[arg-type]
    lambda client: client.ping("text"),  # type: ignore[arg-type]
    lambda client: client.ping(memoryview(array("I", [1, 2]))),
    lambda client: client.ping(bytes(126)),
    lambda client: client.close("1000"),  # type: ignore[arg-type]
    lambda client: client.close(1000, b"bytes"),  # type: ignore[arg-type]
    lambda client: client.close(1005),
    lambda client: client.close(999),
    lambda client: client.close(1000, "é" * 62),
]


@pytest.mark.parametrize("number", range(len(WRONG_ARGUMENTS)))
def test_a_wrong_argument_raises_at_the_call_and_sends_nothing(number: int) -> None:
    with meet() as peer:
        with pytest.raises((TypeError, ValueError)):
            WRONG_ARGUMENTS[number](peer.client)
        peer.settle()
        assert peer.client.ready_state is State.OPEN
        assert peer.received == peer.pings == []
        assert peer.closed is None
        peer.send("still there")
        assert peer.server.messages() == ["still there"]


# ---- pings and pongs ----


def test_a_ping_is_answered_and_both_sides_are_told() -> None:
    with meet() as peer:
        peer.ping(b"payload")
        assert peer.pongs == [b"payload"]
        peer.client.ping(b"ours")
        peer.settle()
        assert peer.pings == [b"ours"]
        assert peer.server.log == [("onopen",), ("onping", b"payload"), ("onpong", b"ours")]


def test_a_ping_between_two_fragments_leaves_the_message_whole() -> None:
    with meet() as peer:
        peer.frame(0x01, b"Hel")
        peer.ping(b"in between")
        peer.frame(0x80, b"lo")
        assert peer.pongs == [b"in between"]
        assert peer.server.messages() == ["Hello"]


def test_the_reply_to_a_message_leaves_before_the_pong_to_the_ping_behind_it() -> None:
    server = recorder(do={"onmessage": Connection.send})
    ours = raw(server, masked(TEXT, b"a") + masked(PING, b"?") + masked(TEXT, b"b"))
    settle(server)
    assert wire(ours) == b"\x81\x01a\x8a\x01?\x81\x01b"
    server.reactor.close()


def test_of_the_pings_of_one_that_does_not_read_the_last_is_answered() -> None:
    with meet() as peer:
        peer.stop_reading()
        peer.client.send("ahead")
        waiting = peer.client.buffered_amount
        for number in range(1000):
            peer.ping(b"%d" % number)
            assert peer.client.buffered_amount == waiting
        peer.go_on_reading()
        assert peer.received == ["ahead"]
        assert peer.pongs == [b"999"]
        peer.ping(b"next")
        assert peer.pongs == [b"999", b"next"]


def test_a_pong_leaves_though_ondrain_never_lets_the_queue_be_empty() -> None:
    def fill(client: Connection) -> None:
        while client.send(bytes(4 * KIB)):
            pass

    with meet({"ondrain": fill}) as peer:
        peer.stop_reading()
        fill(peer.client)
        ours = peer.sock
        ours.capacity = 8 * KIB
        ours.send(masked(PING, b"?"))
        came = bytearray()
        for _ in range(40):
            peer.server.reactor.step(0)
            came += ours.inbox
            ours.inbox.clear()
            assert peer.client.buffered_amount > 0
        assert b"\x8a\x01?" in came


def test_a_pong_that_waited_is_not_sent_behind_our_close() -> None:
    with meet() as peer:
        peer.stop_reading()
        peer.client.send("ahead")
        peer.ping(b"?")
        peer.client.close()
        peer.go_on_reading()
        assert peer.received == ["ahead"]
        assert peer.pongs == []
        assert peer.closed == (1000, "")


def test_a_ping_whose_handler_closes_is_not_answered() -> None:
    with meet({"onping": lambda client, payload: client.close()}) as peer:
        peer.ping()
        assert peer.pongs == []
        assert peer.ends == [(1000, "")]


def test_a_million_pongs_nobody_asked_for_are_not_answered_and_leave_nothing_behind() -> None:
    with meet(server=Recorder) as peer:
        peer.server.onpong = lambda client, payload: None  # type: ignore[method-assign]
        client = peer.client
        pongs = masked(PONG, b"x") * 1000
        for _ in range(100):
            peer.deliver(pongs)
        assert client.buffered_amount == 0
        assert client.rtt is None
        assert peer.received == peer.pings == []
        assert peer.server.names() == ["onopen"]


# ---- sending more than is taken ----


def test_send_says_when_it_is_too_much_and_ondrain_when_it_is_not_any_more() -> None:
    with meet() as peer:
        peer.stop_reading()
        answers = [peer.client.send(bytes(KIB)) for _ in range(100)]
        assert answers[:63] == [True] * 63
        assert answers[64:] == [False] * 36
        assert peer.client.buffered_amount == 100 * (KIB + 4)
        peer.sock.capacity = 80 * KIB
        peer.server.reactor.step(0)
        assert "ondrain" not in peer.server.names()
        peer.go_on_reading()
        assert peer.server.names().count("ondrain") == 1
        assert peer.received == [bytes(KIB)] * 100
        peer.client.send(b"")
        peer.settle()
        assert peer.server.names().count("ondrain") == 1


def test_each_choke_is_followed_by_one_ondrain() -> None:
    with meet() as peer:
        for times in range(1, 4):
            peer.stop_reading()
            while peer.client.send(bytes(KIB)):
                pass
            peer.go_on_reading()
            assert peer.server.names().count("ondrain") == times


def test_what_ondrain_sends_may_choke_again() -> None:
    sent: list[int] = []

    def fill(client: Connection) -> None:
        while len(sent) < 1000:
            sent.append(len(sent))
            if not client.send(bytes(KIB)):
                break

    with meet({"onopen": fill, "ondrain": fill}) as peer:
        peer.settle()
        assert len(peer.received) == 1000
        assert not peer.client.buffered_amount


def too_much(client: Connection) -> list[bool]:
    return [client.send(bytes(100 * KIB)) for _ in range(12)]


def test_by_default_who_reads_too_slowly_is_dropped_and_told_so() -> None:
    with meet() as peer:
        peer.stop_reading()
        assert too_much(peer.client)[-1] is False
        assert peer.server.names() == ["onopen"], "nothing from inside send()"
        peer.settle()
        [error] = peer.server.errors()
        assert isinstance(error, QueueFull)
        assert error.limit == MIB < error.size
        assert peer.ends == [(1006, str(error))]
        assert peer.sock.input_ended


def test_by_skip_the_message_is_dropped_and_the_connection_lives() -> None:
    with meet(overflow="skip") as peer:
        peer.stop_reading()
        assert too_much(peer.client)[-2:] == [False, False]
        assert peer.client.buffered_amount <= MIB
        peer.go_on_reading()
        assert peer.received == [bytes(100 * KIB)] * 10
        assert peer.client.send("again")
        assert peer.server.errors() == []
        assert peer.ends == []


def test_by_error_send_raises_and_the_connection_lives() -> None:
    with meet(overflow="error") as peer:
        peer.stop_reading()
        with pytest.raises(QueueFull):
            too_much(peer.client)
        peer.go_on_reading()
        assert peer.received == [bytes(100 * KIB)] * 10
        assert peer.server.errors() == []
        assert peer.ends == []


@pytest.mark.parametrize("overflow", ["close", "skip", "error"])
def test_one_message_larger_than_the_queue_goes_into_an_empty_queue(overflow: str) -> None:
    with meet(overflow=overflow, max_write_queue=1000) as peer:
        peer.stop_reading()
        assert peer.client.send(bytes(2 * MIB)) is False
        peer.go_on_reading()
        assert peer.received == [bytes(2 * MIB)]


def test_one_larger_message_goes_behind_a_small_one_of_the_same_handler() -> None:
    def answer(client: Connection, message: str) -> None:
        client.send("small")
        client.send(bytes(2 * MIB))

    with meet({"onmessage": answer}) as peer:
        peer.send("?")
        assert peer.received == ["small", bytes(2 * MIB)]
        assert peer.ends == []


@pytest.mark.parametrize("overflow", ["close", "skip", "error"])
def test_pings_count_for_the_queue(overflow: str) -> None:
    with meet(overflow=overflow) as peer:
        peer.stop_reading()
        try:
            for _ in range(10_000):
                peer.client.ping(bytes(125))
        except QueueFull:
            assert overflow == "error"
        assert peer.client.buffered_amount <= MIB
        peer.settle()
        assert bool(peer.ends) == (overflow == "close")


def test_an_echo_to_one_that_reads_nothing_stops_reading_at_high_water() -> None:
    with meet({"onmessage": Connection.send}, max_write_queue=200 * KIB) as peer:
        client, largest = peer.client, 0
        peer.stop_reading()
        theirs = peer.sock.other
        assert theirs is not None
        theirs.capacity = 64 * KIB
        for _ in range(300):
            peer.send(bytes(4 * KIB))
            largest = max(largest, client.buffered_amount)
        assert 64 * KIB < largest <= 72 * KIB
        assert len(peer.server.messages()) < 40
        peer.go_on_reading()
        assert peer.received == [bytes(4 * KIB)] * 300
        assert peer.ends == []


@pytest.mark.parametrize("head", [TEXT, BINARY])
def test_a_large_frame_is_read_in_larger_pieces_and_what_follows_is_not(head: int) -> None:
    with meet() as peer:
        transport = peer.client._transport
        frame = masked(head, bytes(500 * KIB))
        sizes = []
        for data in (frame[: 10 * KIB], frame[10 * KIB : -1], frame[-1:], frame):
            peer.deliver(data)
            sizes.append(transport.read_size // KIB)
        assert sizes == [256, 256, 65, 65]
        assert len(peer.server.messages()) == 2


def test_a_large_message_holds_the_reading_of_one_that_does_not_read() -> None:
    with meet({"onmessage": Connection.send}) as peer:
        peer.stop_reading()
        peer.send(bytes(500 * KIB))
        peer.send("behind it")
        assert peer.server.messages() == [bytes(500 * KIB)]
        peer.go_on_reading()
        assert peer.received == [bytes(500 * KIB), "behind it"]


# ---- pause and resume ----


def test_a_paused_connection_delivers_nothing_and_later_everything_in_order() -> None:
    with meet() as peer:
        peer.send("before")
        peer.client.pause()
        peer.client.pause()
        for number in range(200):
            peer.send(str(number))
        assert peer.server.messages() == ["before"]
        peer.client.resume()
        peer.client.resume()
        assert peer.server.messages() == ["before"], "not from inside resume()"
        peer.settle()
        assert peer.server.messages() == ["before", *map(str, range(200))]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1 << 62])
def test_pausing_in_onmessage_holds_the_next_message_however_the_stream_is_cut(
    chunk: int,
) -> None:
    with meet({"onmessage": lambda client, message: client.pause()}) as peer:
        theirs = peer.sock.other
        assert theirs is not None
        theirs.chunk = chunk
        peer.deliver(b"".join(masked(TEXT, b"%d" % number) for number in range(5)))
        for number in range(5):
            assert peer.server.messages() == [str(n) for n in range(number + 1)]
            peer.client.resume()
            peer.settle()
        assert len(peer.server.messages()) == 5


def test_pausing_in_onopen_holds_what_came_with_the_request() -> None:
    server = recorder(do={"onopen": Connection.pause})
    ours = raw(server, masked(TEXT, b"early"))
    settle(server)
    ours.send(masked(TEXT, b"late"))
    settle(server)
    assert server.names() == ["onopen"]
    server.met[0].resume()
    settle(server)
    assert server.messages() == ["early", "late"]
    server.reactor.close()


def test_pausing_inside_a_large_frame_goes_on_where_it_was() -> None:
    with meet() as peer:
        message = random.Random(1).randbytes(300 * KIB)
        frame = masked(BINARY, message)
        peer.deliver(frame[: 100 * KIB])
        peer.client.pause()
        peer.deliver(frame[100 * KIB :])
        assert peer.server.messages() == []
        peer.client.resume()
        peer.settle()
        assert peer.server.messages() == [message]


def test_pausing_and_resuming_in_one_handler_changes_nothing() -> None:
    def both(client: Connection, message: str) -> None:
        client.pause()
        client.resume()

    with meet({"onmessage": both}) as peer:
        peer.deliver(masked(TEXT, b"a") * 200)
        assert len(peer.server.messages()) == 200


def test_resuming_and_pausing_again_before_the_next_step_stays_paused() -> None:
    with meet() as peer:
        peer.client.pause()
        peer.deliver(masked(TEXT, b"a"))
        peer.client.resume()
        peer.client.pause()
        peer.settle()
        assert peer.server.messages() == []


def test_resuming_while_the_peer_does_not_read_waits_for_it() -> None:
    with meet() as peer:
        peer.stop_reading()
        while peer.client.send(bytes(KIB)):
            pass
        peer.client.pause()
        peer.send("?")
        peer.client.resume()
        peer.settle()
        assert peer.server.messages() == []
        peer.go_on_reading()
        assert peer.server.messages() == ["?"]


def test_draining_does_not_end_a_pause() -> None:
    with meet() as peer:
        peer.stop_reading()
        while peer.client.send(bytes(KIB)):
            pass
        peer.client.pause()
        peer.send("?")
        peer.go_on_reading()
        assert peer.server.names() == ["onopen", "ondrain"]
        peer.client.resume()
        peer.settle()
        assert peer.server.messages() == ["?"]


def test_closing_a_paused_connection_ends_it() -> None:
    with meet() as peer:
        peer.client.pause()
        peer.send("unread")
        peer.client.close(1000, "enough")
        peer.settle()
        assert peer.closed == (1000, "enough")
        assert peer.ends == [(1000, "enough")]
        assert peer.server.messages() == []
        peer.client.pause()
        peer.client.resume()


def test_closing_a_paused_connection_of_a_silent_peer_ends_in_time() -> None:
    with meet(close_timeout=5) as peer:
        peer.answers_pings = False
        peer.client.pause()
        peer.client.close()
        peer.advance(4.9)
        assert peer.ends == []
        peer.advance(0.2)
        assert [code for code, _ in peer.ends] == [1006]


def test_a_peer_that_leaves_a_paused_connection_is_noticed_on_resume() -> None:
    with meet() as peer:
        peer.client.pause()
        peer.deliver(masked(TEXT, b"last"))
        peer.disconnect()
        assert peer.ends == []
        peer.client.resume()
        peer.settle()
        assert peer.server.messages() == ["last"]
        assert peer.ends == [(1006, "")]


def test_resuming_a_connection_that_has_been_dropped_does_nothing() -> None:
    with meet() as peer:
        peer.client.pause()
        peer.send("unread")
        peer.client.abort()
        peer.client.resume()
        peer.settle()
        assert peer.server.messages() == []
        assert peer.ends == [(1006, "")]


# ---- fairness ----


def test_of_a_burst_sixty_four_frames_are_handled_in_a_step_and_the_rest_later() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)
    ours.send(masked(TEXT, b"a") * 1000)
    counts = []
    while len(server.messages()) < 1000:
        before = len(server.messages())
        server.reactor.step(0)
        counts.append(len(server.messages()) - before)
    assert counts == [64] * 15 + [40]
    server.reactor.close()


def test_a_burst_of_one_does_not_hold_up_another() -> None:
    server = recorder()
    flood, quiet = raw(server), raw(server)
    settle(server)
    flood.send(masked(TEXT, b"flood") * 5000)
    server.reactor.step(0)
    for number in range(10):
        quiet.send(masked(TEXT, b"quiet %d" % number))
        server.reactor.step(0)
        server.reactor.step(0)
        assert f"quiet {number}" in server.messages()
    assert len(server.messages()) < 2000
    server.reactor.close()


def test_what_came_before_the_end_is_delivered_in_the_steps_that_follow() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)
    leave(server, ours, masked(TEXT, b"a") * 1000)
    counts = []
    while not server.ends():
        before = len(server.messages())
        server.reactor.step(0)
        counts.append(len(server.messages()) - before)
    assert sum(counts) == 1000
    assert max(counts) <= 128
    assert server.ends() == [(1006, "")]
    server.reactor.close()


def test_frames_that_came_with_the_request_are_delivered_after_onopen_in_order() -> None:
    server = recorder()
    raw(server, b"".join(masked(TEXT, b"%d" % number) for number in range(200)))
    settle(server)
    assert server.log == [("onopen",), *(("onmessage", str(n)) for n in range(200))]
    server.reactor.close()


# ---- how it ends ----


def test_the_peers_close_is_answered_and_told_to_onclose() -> None:
    with meet() as peer:
        peer.close(3001, "bye")
        assert peer.closed == (3001, "bye")
        assert peer.ends == [(3001, "bye")]
        client = peer.client
        assert client.was_clean
        assert (client.close_code, client.close_reason) == (3001, "bye")
        assert client.ready_state is State.CLOSED
        assert peer.server.clients == set()


def test_a_close_without_a_code_is_told_as_1005() -> None:
    with meet() as peer:
        peer.frame(CLOSE, b"")
        assert peer.ends == [(1005, "")]
        assert peer.client.was_clean


def test_our_close_is_told_with_the_code_that_the_peer_answers() -> None:
    with meet() as peer:
        peer.client.close(4000, "ours")
        assert peer.client.ready_state is State.CLOSING
        peer.settle()
        assert peer.closed == (4000, "ours")
        assert peer.ends == [(4000, "ours")]
        assert peer.client.was_clean


def test_a_lost_connection_is_told_as_1006() -> None:
    with meet() as peer:
        peer.disconnect()
        assert peer.ends == [(1006, "")]
        assert peer.server.errors() == []
        assert not peer.client.was_clean


def test_a_reset_is_told_to_onerror_and_as_1006() -> None:
    with meet() as peer:
        peer.sock.reset()
        peer.settle()
        assert [type(error) for error in peer.server.errors()] == [ConnectionResetError]
        assert peer.ends == [(1006, "")]
        assert peer.server.names() == ["onopen", "onerror", "onclose"]


def test_a_reset_behind_a_violation_is_no_second_error() -> None:
    with meet() as peer:
        peer.stop_reading()
        peer.client.send(bytes(100 * KIB))  # so that the end has to wait
        peer.deliver(masked(0xC1))
        peer.sock.reset()
        peer.settle()
        assert [type(error) for error in peer.server.errors()] == [ProtocolError]
        assert [code for code, _ in peer.ends] == [1002]


def test_an_interrupt_out_of_the_last_onerror_does_not_spare_onclose() -> None:
    with meet({"onerror": raiser(KeyboardInterrupt())}) as peer:
        peer.sock.reset()
        with pytest.raises(KeyboardInterrupt):
            peer.settle()
        assert peer.server.names() == ["onopen", "onerror", "onclose"]
        assert not peer.server.clients


def test_a_reset_behind_a_clean_end_is_no_error() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)
    ours.send(close_frame(1000))
    server.reactor.step(0)
    theirs = ours.other
    assert theirs is not None
    theirs.failure = ConnectionResetError(104, "reset")
    settle(server)
    assert server.log == [("onopen",), ("onclose", 1000, "")]
    server.reactor.close()


@pytest.mark.parametrize(
    ("frame", "code", "kind"),
    [
        (masked(0xC1, b"reserved bit"), 1002, ProtocolError),
        (masked(0x83), 1002, ProtocolError),
        (b"\x81\x01a", 1002, ProtocolError),
        (masked(TEXT, b"\xff"), 1007, InvalidPayload),
        (b"\x82\xff" + (2**62).to_bytes(8, "big"), 1009, MessageTooBig),
        (masked(CLOSE, b"\x03"), 1002, ProtocolError),
        (masked(0x01) + masked(0x00) * 10, 1008, ProtocolError),
    ],
)
def test_a_violation_is_told_with_our_code_and_as_an_error(
    frame: bytes, code: int, kind: type[ProtocolError]
) -> None:
    with meet({"onmessage": Connection.send}, max_fragments=10) as peer:
        peer.deliver(masked(TEXT, b"before") + frame + masked(TEXT, b"behind"))
        assert peer.received == ["before"]
        assert peer.closed is not None
        assert peer.closed[0] == code
        assert [told for told, _ in peer.ends] == [code]
        assert [type(error) for error in peer.server.errors()] == [kind]
        assert peer.server.names() == ["onopen", "onmessage", "onerror", "onclose"]
        assert peer.server.messages() == ["before"]


def test_a_violation_is_one_line_of_information(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reactor")
    with Peer.of() as peer:
        peer.frame(0xF1, b"\x1b[2J")
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


def test_after_the_peers_close_nothing_is_parsed() -> None:
    with meet() as peer:
        peer.deliver(close_frame(1000) + masked(TEXT, b"late") + b"\xff" * 100)
        assert peer.server.log == [("onopen",), ("onclose", 1000, "")]


def test_after_our_close_messages_are_dropped_and_pings_not_answered() -> None:
    with meet() as peer:
        peer.answers_pings = False
        peer.client.close()
        peer.deliver(masked(TEXT, b"late") + masked(0x01, b"la") + masked(0x80, b"te"))
        peer.deliver(masked(PING) + masked(BINARY, bytes(70 * KIB)))
        assert peer.server.log == [("onopen",)]
        assert peer.pongs == []
        peer.deliver(close_frame(1000))
        assert peer.server.log == [("onopen",), ("onclose", 1000, "")]


def test_what_was_sent_before_close_leaves_before_it_and_nothing_after() -> None:
    with meet() as peer:
        peer.stop_reading()
        peer.client.send("before")
        peer.client.close()
        assert peer.client.send("after") is False
        peer.client.ping()
        peer.go_on_reading()
        assert peer.received == ["before"]
        assert peer.pings == []
        assert peer.closed == (1000, "")


def test_of_two_closes_the_first_counts_and_one_is_sent() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)
    client = server.met[0]
    client.close(4001, "first")
    client.close(4002, "second")
    client.close(5, "not even looked at")
    settle(server)
    assert wire(ours) == b"\x88\x07" + (4001).to_bytes(2, "big") + b"first"
    ours.send(close_frame(4001))
    settle(server)
    ours.close()
    settle(server)
    client.close()
    client.abort()
    settle(server)
    assert server.ends() == [(4001, "")]
    server.reactor.close()


def test_abort_loses_what_is_queued_and_is_told_in_the_next_step() -> None:
    with meet() as peer:
        peer.stop_reading()
        peer.client.send("lost")
        peer.client.abort()
        peer.client.abort()
        assert peer.ends == []
        assert peer.client.ready_state is State.CLOSED
        assert peer.client.send("more") is False
        assert peer.client.buffered_amount == 0
        peer.settle()
        assert peer.ends == [(1006, "")]


def test_a_silent_peer_is_dropped_in_the_time_that_began_with_our_close() -> None:
    with meet(close_timeout=10) as peer:
        peer.answers_pings = False
        peer.stop_reading()
        while peer.client.send(bytes(KIB)):
            pass
        peer.client.close()
        peer.advance(9.9)
        assert peer.ends == []
        peer.advance(0.2)
        assert [code for code, _ in peer.ends] == [1006]
        assert [type(error) for error in peer.server.errors()] == [TimeoutError]


def test_a_peer_that_answers_late_and_stays_gets_no_time_on_top() -> None:
    with meet(close_timeout=10) as peer:
        peer.answers_pings = False
        peer.client.close()
        peer.advance(9)
        peer.deliver(close_frame(1000))
        peer.answers_pings = True
        assert peer.ends == [] or peer.sock.closed
    server = recorder(close_timeout=10)
    clock: Any = server.reactor.clock
    ours = raw(server)
    settle(server)
    server.met[0].ping()  # whose pong may come behind the peer's Close
    server.met[0].close()
    clock.advance(9)
    ours.send(close_frame(1000))
    settle(server)
    assert server.ends() == [], "the peer has not closed its side"
    clock.advance(1.01)
    settle(server)
    assert server.ends() == [(1000, "")]
    server.reactor.close()


@pytest.mark.parametrize("why", ["violation", "pinged", "behind its Close"])
def test_a_peer_that_does_not_close_tcp_is_waited_for_two_seconds(why: str) -> None:
    server = recorder()
    clock: Any = server.reactor.clock
    ours = raw(server)
    settle(server)
    if why == "pinged":
        server.met[0].ping()  # whose pong may come behind the peer's Close
    if why == "behind its Close":
        theirs: Any = server.met[0]._transport
        theirs.read_size = len(close_frame(1000))
    ours.send(masked(PONG + 1, b"") if why == "violation" else close_frame(1000))
    if why == "behind its Close":
        ours.send(b"more")
    settle(server)
    assert ours.input_ended
    clock.advance(1.9)
    settle(server)
    assert server.ends() == []
    clock.advance(0.2)
    settle(server)
    assert [code for code, _ in server.ends()] == [1002 if why == "violation" else 1000]
    server.reactor.close()


def test_what_comes_while_a_message_before_a_close_is_handled_is_read_before_the_end() -> None:
    def ping(*_: object) -> None:
        ours.send(masked(PING, b""))

    server = recorder(do={"onmessage": ping})
    ours = raw(server)
    settle(server)
    ours.send(masked(TEXT, b"x") + close_frame(1000))  # in one read
    settle(server)
    assert ours.input_ended
    # With the ping unread it would send RST.
    assert server.ends() == [], "it reads on until the peer has closed"
    ours.close()
    settle(server)
    assert server.ends() == [(1000, "")]
    server.reactor.close()


@pytest.mark.parametrize("first", ["server", "client"])
def test_who_has_said_its_close_and_heard_ours_is_not_waited_for(first: str) -> None:
    server = recorder(do={"onmessage": Connection.send})
    ours = raw(server)
    settle(server)
    if first == "server":
        server.met[0].close()
        settle(server)
        assert server.ends() == []
    ours.send(masked(TEXT, b"x") * (first == "client") + close_frame(1000, b"bye"))
    server.reactor.step(0)
    assert server.ends() == [(1000, "bye")]
    assert server.met[0].was_clean
    assert ours.input_ended
    assert server.clients == set()
    assert server.reactor.next_timeout() is None, "there is nothing to wait for"
    settle(server)
    assert len(server.ends()) == 1
    server.reactor.close()


def test_a_close_in_one_piece_with_the_request_ends_it_after_onopen() -> None:
    server = recorder(do={"onmessage": Connection.send})
    ours = raw(server, masked(TEXT, b"x") + close_frame(1000))
    settle(server)
    assert server.log == [("onopen",), ("onmessage", "x"), ("onclose", 1000, "")]
    assert wire(ours) == b"\x81\x01x\x88\x02\x03\xe8"
    assert ours.input_ended
    server.reactor.close()


def test_a_violator_that_does_not_read_is_given_the_close_timeout() -> None:
    with meet({"onmessage": Connection.send}, close_timeout=10) as peer:
        peer.stop_reading()
        peer.send(bytes(10 * KIB))
        peer.frame(0xF1, b"")
        peer.advance(9.9)
        assert peer.ends == []
        peer.advance(0.2)
        assert [code for code, _ in peer.ends] == [1002]


def test_a_failed_write_ends_it_after_what_had_come_was_read() -> None:
    with meet() as peer:
        theirs = peer.sock.other
        assert theirs is not None
        peer.sock.send(masked(TEXT, b"last words"))
        transport: Any = peer.client._transport
        transport.sock.send = raiser(BrokenPipeError(32, "Broken pipe"))
        assert peer.client.send("?") is False
        assert peer.ends == []
        peer.settle()
        assert peer.server.messages() == ["last words"]
        assert [type(error) for error in peer.server.errors()] == [BrokenPipeError]
        assert peer.ends == [(1006, "")]


def test_one_that_leaves_inside_a_large_frame_is_told_as_1006() -> None:
    with meet() as peer:
        peer.deliver(masked(BINARY, bytes(100 * KIB))[: 50 * KIB])
        peer.disconnect()
        assert peer.server.log == [("onopen",), ("onclose", 1006, "")]


def test_a_queue_that_falls_while_we_close_is_not_told() -> None:
    with meet() as peer:
        peer.stop_reading()
        while peer.client.send(bytes(KIB)):
            pass
        peer.client.close()
        peer.go_on_reading()
        assert peer.server.log == [("onopen",), ("onclose", 1000, "")]


def test_one_that_takes_nothing_is_dropped_after_the_write_timeout() -> None:
    with meet(write_timeout=30) as peer:
        peer.stop_reading()
        peer.client.send("?")
        peer.advance(29)
        assert peer.ends == []
        peer.advance(2)
        assert [code for code, _ in peer.ends] == [1006]


def test_one_that_answers_no_ping_is_failed_with_1011() -> None:
    with meet(ping_interval=20, ping_timeout=10) as peer:
        peer.answers_pings = False
        peer.advance(31)
        assert peer.ends == [(1011, "ping timeout")]


# ---- calls from inside handlers ----

CALLS: dict[str, Callable[[Connection], object]] = {
    "close": Connection.close,
    "abort": Connection.abort,
    "pause": Connection.pause,
    "resume": Connection.resume,
    "send": lambda client: client.send("from a handler"),
    "ping": Connection.ping,
    "stop": lambda client: client.server.stop(),
    "drop all": lambda client: client.server.close(),
}


def provoke(peer: Visitor) -> None:
    """Bring about every event, as far as the connection lets it come to that."""
    peer.deliver(masked(TEXT, b"message") + masked(PING) + masked(PONG))
    peer.stop_reading()
    while peer.client.send(bytes(KIB)):
        pass
    peer.go_on_reading()
    peer.frame(0xF1, b"")
    peer.settle()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_allowed_in_every_handler(event: str, call: str) -> None:
    inside = []

    def act(client: Connection, *args: object) -> None:
        inside.append(event)
        before = len(client.server.log)
        if client.server.names().count(event) < 5:  # a ping from onpong has no end
            CALLS[call](client)
        assert len(client.server.log) == before, "an event came from inside a call"
        inside.pop()

    with meet({event: act}) as peer:
        provoke(peer)
        peer.client.resume()
        peer.advance(60)
        assert not inside
        assert len(peer.ends) == 1
        assert peer.server.names().count("onopen") == 1
        assert peer.server.names()[-1] == "onclose"
        assert peer.server.clients == set()
        assert not any(
            isinstance(key, MemorySocket) for key in peer.server.reactor._selector.get_map()
        )


def test_an_event_of_one_may_drop_another_that_is_ready_in_the_same_step() -> None:
    server = recorder()
    one, other = raw(server), raw(server)
    settle(server)
    first, second = server.met
    server.do["onmessage"] = lambda client, message: (first, second)[client is first].abort()
    one.send(masked(TEXT, b"a"))
    other.send(masked(TEXT, b"b"))
    settle(server)
    assert server.names() == ["onopen", "onopen", "onmessage", "onclose"]
    assert len(server.clients) == 1
    server.reactor.close()


# ---- handlers that raise ----


@pytest.mark.parametrize("event", ["onopen", "onmessage", "onping", "onpong", "ondrain"])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError, OSError, MemoryError, Exception])
def test_a_handler_that_raises_ends_its_connection_with_1011_and_no_other(
    event: str, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    error = kind("a fault of the user's")
    clock = FakeClock()
    with Visitor.of(Recorder, clock=clock) as bystander:
        server = bystander.server
        assert isinstance(server, Recorder)
        server.log.clear()
        server.do[event] = raiser(error)
        peer = Visitor(server, clock)
        provoke(peer)
        assert peer.closed == (1011, "internal error")
        assert server.errors()[0] is error
        assert server.ends() == [(1011, "internal error")]
        [record] = [r for r in caplog.records if r.levelname == "ERROR"]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert event in record.getMessage()
        server.do.clear()
        bystander.send("alive")
        assert server.messages()[-1] == "alive"


def test_an_error_handler_that_raises_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError("in onerror")
    with meet({"onerror": raiser(error)}) as peer:
        peer.frame(0xF1, b"")
        assert [code for code, _ in peer.ends] == [1002]
        assert len(peer.server.errors()) == 1
    assert [r.exc_info[1] for r in caplog.records if r.exc_info] == [error]


def test_an_onclose_that_raises_is_logged_and_nothing_comes_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError("in onclose")
    with meet({"onclose": raiser(error)}) as peer:
        peer.close()
        peer.advance(100)
        assert peer.server.names() == ["onopen", "onclose"]
        assert peer.server.clients == set()
    assert [r.exc_info[1] for r in caplog.records if r.exc_info] == [error]


def test_a_handler_that_closes_and_then_raises_has_its_close_and_its_replies_sent() -> None:
    error = ValueError("after close()")

    def answer(client: Connection, message: str) -> None:
        client.send("reply")
        client.close(4000, "done")
        raise error

    with meet({"onmessage": answer}) as peer:
        peer.send("?")
        assert peer.received == ["reply"]
        assert peer.closed == (4000, "done")
        assert peer.server.errors() == [error]
        assert [code for code, _ in peer.ends] == [4000]


def test_a_handler_that_is_no_plain_function_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(Connection):
        onopen = staticmethod(functools.partial(raiser(ValueError("odd"))))

    with meet(connection=Odd) as peer:
        assert peer.closed == (1011, "internal error")
    assert "functools.partial" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("event", EVENTS)
def test_an_interrupt_goes_through_and_leaves_everything_closable(
    event: str, kind: type[BaseException]
) -> None:
    server = recorder()
    clock: Any = server.reactor.clock
    bystander = Visitor(server, clock)
    server.do[event] = raiser(kind())
    with pytest.raises(kind):
        provoke(Visitor(server, clock))
    server.do.clear()
    bystander.send("alive")
    assert server.messages()[-1] == "alive"
    server.close()
    server.reactor.close()
    assert server.clients == set()
    assert server.names().count("onclose") == server.names().count("onopen") == 2


def test_an_interrupt_while_the_last_messages_are_delivered_still_ends_the_connection() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)

    def interrupt(client: Connection, message: str) -> None:
        if message == "last":
            raise KeyboardInterrupt

    server.do["onmessage"] = interrupt
    leave(server, ours, masked(TEXT, b"a") * 100 + masked(TEXT, b"last"))
    with pytest.raises(KeyboardInterrupt):
        settle(server)
    server.do.clear()
    server.close()
    assert server.ends() == [(1006, "")]
    server.reactor.close()


def test_an_interrupt_in_onopen_does_not_leave_the_output_corked() -> None:
    server = recorder(do={"onopen": raiser(KeyboardInterrupt())})
    ours = raw(server)
    with pytest.raises(KeyboardInterrupt):
        settle(server)
    server.met[0].send("hello")
    assert wire(ours) == b"\x81\x05hello"
    server.reactor.close()


# ---- nothing after the end ----


@pytest.mark.parametrize("call", CALLS)
def test_a_call_on_the_last_message_of_one_who_left_brings_nothing_after_onclose(
    call: str,
) -> None:
    server = recorder()
    clock: Any = server.reactor.clock
    ours = raw(server)
    settle(server)

    def act(client: Connection, message: str) -> None:
        if message == "last":
            CALLS[call](client)

    server.do["onmessage"] = act
    leave(server, ours, masked(TEXT, b"a") * 100 + masked(TEXT, b"last"))
    settle(server)
    assert len(server.ends()) == 1
    for _ in range(10):
        clock.advance(30)
        settle(server)
    assert server.names()[-1] == "onclose"
    assert len(server.ends()) == 1
    server.reactor.close()


def test_pausing_on_one_of_the_last_messages_loses_the_rest() -> None:
    server = recorder()
    ours = raw(server)
    settle(server)
    server.do["onmessage"] = lambda client, message: (
        client.pause() if len(server.messages()) == 66 else None
    )
    leave(server, ours, masked(TEXT, b"a") * 70)
    settle(server)
    assert server.ends() == [(1006, "")]
    server.met[0].resume()
    settle(server)
    assert len(server.messages()) == 66
    server.reactor.close()


def test_before_onopen_the_calls_of_a_subclass_do_nothing() -> None:
    class Eager(Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            assert self.ready_state is State.CONNECTING
            assert self.send("too early") is False
            self.ping()
            self.pause()
            self.close()
            self.abort()

    with meet(connection=Eager) as peer:
        assert peer.client.ready_state is State.OPEN
        assert peer.received == []
        peer.send("in time")
        assert peer.server.messages() == ["in time"]


def test_the_handlers_may_be_methods_of_the_connection() -> None:
    class Own(Connection):
        def onopen(self) -> None:
            self.data = ["open"]

        def onmessage(self, message: Any) -> None:
            self.data.append(message)

        def onclose(self, code: int, reason: str) -> None:
            self.data.append(code)

    with meet(connection=Own) as peer:
        [client] = peer.server.clients
        peer.send("hello")
        peer.close()
        assert client.data == ["open", "hello", 1000]
        assert peer.server.log == []


def test_a_violation_behind_the_request_comes_after_onopen() -> None:
    server = recorder()
    raw(server, masked(0xF1))
    settle(server)
    assert server.names()[:2] == ["onopen", "onerror"]
    server.reactor.close()


@pytest.mark.parametrize("call", ["close", "abort"])
def test_frames_behind_the_request_of_one_that_onopen_ends_are_dropped(call: str) -> None:
    server = recorder(do={"onopen": CALLS[call]})
    ours = raw(server, masked(TEXT, b"early") + masked(0xF1))
    settle(server)
    ours.close()
    settle(server)
    assert server.messages() == []
    assert len(server.ends()) == 1
    assert wire(ours).count(b"\x88") == (call == "close")
    server.reactor.close()


def test_what_onopen_sends_leaves_with_the_response_in_one_piece() -> None:
    server = recorder(do={"onopen": lambda client: client.send("hello")})
    ours, theirs = memory_pair()
    sends: list[bytes] = []
    send = theirs.send

    def noted(data: bytes, flags: int = 0) -> int:
        sends.append(data)
        return send(data)

    accepted: Any = theirs
    accepted.send = noted
    server.accepted(accepted, "")
    ours.send(UPGRADE)
    settle(server)
    assert len(sends) == 1
    assert sends[0].endswith(b"\r\n\r\n\x81\x05hello")
    server.reactor.close()


# ---- memory ----


def test_connections_that_have_ended_leave_nothing_behind() -> None:
    server = recorder(do={"onmessage": Connection.send})
    clock: Any = server.reactor.clock
    alive: list[weakref.ref[Connection]] = []
    for number in range(300):
        peer = Peer(server, clock)
        alive.append(weakref.ref(server.met.pop()))
        peer.send("x")
        (peer.close, peer.disconnect)[number % 2]()
        server.log.clear()
        del peer
    gc.collect()
    gc.collect()
    assert [ref for ref in alive if ref() is not None] == []
    server.reactor.close()


def test_ten_thousand_connections_that_have_ended_leave_no_object_of_ours() -> None:
    server = Server(reactor=Reactor(selector=MemorySelector(), clock=FakeClock()))
    clock: Any = server.reactor.clock

    def ours() -> int:
        gc.collect()
        gc.collect()
        modules = (str(type(thing).__module__) for thing in gc.get_objects())
        return sum(module.startswith("reactor.") for module in modules)

    Peer(server, clock).close()
    before = ours()
    for number in range(10_000):
        peer = Peer(server, clock)
        (peer.close, peer.disconnect)[number % 2]()
        del peer
    clock.advance(100)
    settle(server)
    # Cancelled timers stay in the heap, as long as they are few.
    assert ours() <= before + 130
    assert server.clients == set()
    server.reactor.close()


def test_after_a_large_message_a_connection_keeps_little() -> None:
    with meet(server=Recorder) as peer:
        peer.server.onmessage = lambda client, message: None  # type: ignore[method-assign]
        peer.send(bytes(MIB - 100))
        peer.send("é" * 400_000)
        session = peer.client._session
        assert session._assembly is None
        assert len(session._unparsed) < 64 * KIB


# ---- any order of calls and events ----


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


class AnyOrder(RuleBasedStateMachine):
    """One connection, a peer by hand, and whatever both may do."""

    def __init__(self) -> None:
        super().__init__()
        self.server = recorder(
            max_message=2000, max_write_queue=10_000, overflow="skip", max_fragments=5
        )
        self.clock: Any = self.server.reactor.clock
        self.peer = raw(self.server)
        self.peer.capacity = 4000
        self.output = b""
        self.sent: list[str] = []
        self.inside = False
        self.acts: list[str] = []
        self.server.do = dict.fromkeys(EVENTS, self.act)
        settle(self.server, 2)
        self.client = self.server.met[0]

    def act(self, client: Connection, *args: object) -> None:
        assert not self.inside, "an event came from inside a call"
        if self.acts:
            self.call(self.acts.pop())

    def call(self, name: str) -> None:
        client, self.inside = self.server.met[0], True
        try:
            if name == "raise":
                raise ValueError(name)
            if name == "send":
                text = f"{len(self.sent)} {'x' * (len(self.sent) % 7 * 300)}"
                if client.ready_state is State.OPEN:
                    waiting = client.buffered_amount
                    client.send(text)
                    if client.buffered_amount != waiting or not waiting:
                        self.sent.append(text)
            else:
                getattr(client, name)()
        finally:
            self.inside = False

    def read(self, size: int) -> None:
        try:
            self.output += self.peer.recv(size)
        except OSError:
            pass

    calls = st.sampled_from(["send", "send", "ping", "close", "abort", "pause", "resume"])

    @rule(name=calls)
    def the_user_calls(self, name: str) -> None:
        if name != "abort" or len(self.sent) > 3:
            self.call(name)

    @rule(name=st.one_of(calls, st.just("raise")))
    def the_next_handler_calls(self, name: str) -> None:
        if name not in ("abort", "raise") or len(self.sent) > 3:
            self.acts.append(name)

    def peer_is_there(self) -> bool:
        return not self.peer.closed

    @precondition(peer_is_there)
    @rule(
        frames=st.lists(
            st.one_of(
                st.builds(masked, st.just(TEXT), st.text(max_size=300).map(encoded)),
                st.builds(masked, st.sampled_from([PING, PONG]), st.binary(max_size=125)),
                st.builds(masked, st.sampled_from([0x01, 0x80, 0x00]), st.just(b"part")),
                st.just(masked(TEXT, b"m") * 200),
            ),
            min_size=1,
            max_size=4,
        ),
        cut=st.integers(0, 400),
    )  # fmt: skip
    def the_peer_sends(self, frames: list[bytes], cut: int) -> None:
        data = b"".join(frames)
        for piece in (data[:cut], data[cut:]):
            try:
                self.peer.send(piece)
            except OSError:
                return
            self.server.reactor.step(0)

    @precondition(peer_is_there)
    @rule(data=st.sampled_from([close_frame(1000), close_frame(4000, b"x"), b"\xff", b"\x81"]))
    def the_peer_ends(self, data: bytes) -> None:
        try:
            self.peer.send(data)
        except OSError:
            return

    @precondition(peer_is_there)
    @rule(size=st.integers(1, 5000))
    def the_peer_reads(self, size: int) -> None:
        self.read(size)

    @precondition(peer_is_there)
    @rule(reset=st.booleans(), sure=st.integers(0, 4))
    def the_peer_leaves(self, reset: bool, sure: int) -> None:
        if sure == 0:
            self.output += bytes(self.peer.inbox)
            self.peer.inbox.clear()
            (self.peer.reset if reset else self.peer.close)()

    @rule(seconds=st.sampled_from([0.0, 0.1, 5.0, 21.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.server.reactor.step(0)

    @rule()
    def a_step_is_made(self) -> None:
        self.server.reactor.step(0)

    @invariant()
    def what_is_watched_is_open_and_the_events_are_in_order(self) -> None:
        for key in self.server.reactor._selector.get_map():
            assert not (isinstance(key, MemorySocket) and key.closed)
        names = self.server.names()
        assert names.count("onopen") == 1
        assert names.count("onclose") <= 1
        assert "onclose" not in names[:-1]
        assert (self.client in self.server.clients) == ("onclose" not in names)
        assert self.client.buffered_amount <= 10_000 + 2500

    def teardown(self) -> None:
        self.acts.clear()
        self.call("resume")
        for _ in range(60):
            if not self.peer.closed:
                self.read(10_000)
                if self.client.ready_state is State.CLOSED:
                    self.output += bytes(self.peer.inbox)
                    self.peer.inbox.clear()
                    self.peer.close()
            self.clock.advance(1.0)
            settle(self.server, 3)
        assert len(self.server.ends()) == 1
        self.server.reactor.close()
        self.the_wire_is_right()

    def the_wire_is_right(self) -> None:
        wsproto, events = module("wsproto.connection"), module("wsproto.events")
        parser = wsproto.Connection(wsproto.ConnectionType.CLIENT)
        parser.receive_data(self.output.partition(b"\r\n\r\n")[2])
        texts: list[str] = []
        closes = 0
        part = ""
        for event in parser.events():
            assert not closes, "something came behind the Close"
            closes += isinstance(event, events.CloseConnection)
            if isinstance(event, events.TextMessage):
                part += event.data
                if event.message_finished:
                    texts.append(part)
                    part = ""
        assert texts == self.sent[: len(texts)]


AnyOrder.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


TestAnyOrderOfCallsAndEventsKeepsThePromises = AnyOrder.TestCase


def test_what_a_paused_connection_has_not_read_is_not_delivered_at_its_end() -> None:
    with meet() as peer:
        peer.client.pause()
        peer.send("unread")
        peer.client.abort()
        peer.settle()
        assert peer.server.messages() == []
        assert peer.ends == [(1006, "")]


# ---- on the client's side ----


def call(server: Recorder, rest: bytes = b"") -> tuple[Connection, MemorySocket]:
    """Return a client's connection, told of as `server` is, and the other end by hand."""
    theirs, ours = memory_pair()
    sock: Any = ours
    events: Any = None
    transport = Transport(server.reactor, sock, events, len)
    request = Request(UPGRADE[:-4], ("memory", 1))
    client = Connection(Opened(server, transport, request, server, None, is_client=True))
    server._clients[client] = None
    client.begin(b"", rest)
    return client, theirs


def plain_frame(text: str) -> bytes:
    return pack_message(text, masked=False)


def test_a_client_sends_no_response_masks_and_takes_what_came_behind_the_handshake() -> None:
    server = recorder(do={"onopen": lambda client: client.send("hi")})
    _, theirs = call(server, plain_frame("one"))
    settle(server)
    assert server.names() == ["onopen", "onmessage"]
    assert theirs.inbox[:2] == b"\x81\x82"
    assert len(theirs.inbox) == 8
    server.reactor.close()


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_client_reads_on_while_its_server_does_not(pieces: int) -> None:
    server = recorder(do={"onmessage": lambda client, message: client.send(bytes(20 * KIB))})
    client, theirs = call(server)
    theirs.capacity = 0
    data = b"".join(plain_frame(str(number)) for number in range(50))
    size = len(data) // pieces + 1
    for start in range(0, len(data), size):
        theirs.send(data[start : start + size])
        settle(server)
    assert server.messages() == [str(number) for number in range(50)]
    assert client.buffered_amount > 1000 * KIB - 64 * KIB
    assert client.ready_state is State.OPEN
    server.reactor.close()


def test_a_client_receives_a_large_message_while_its_server_does_not_read() -> None:
    server = recorder()
    client, theirs = call(server)
    theirs.capacity = 0
    while client.send(bytes(20 * KIB)):
        pass
    big = bytes(500 * KIB)
    theirs.send(pack_message(big, masked=False))
    settle(server, 100)
    assert server.messages() == [big]
    server.reactor.close()


def test_a_client_that_does_not_read_holds_what_it_has_in_hand() -> None:
    server = recorder(do={"onmessage": lambda client, message: client.pause()})
    client, theirs = call(server)
    theirs.capacity = 0
    while client.send(bytes(20 * KIB)):
        pass
    theirs.send(plain_frame("one") + plain_frame("two") + plain_frame("three"))
    settle(server)
    assert server.messages() == ["one"]
    client.resume()
    settle(server)
    assert server.messages() == ["one", "two"]
    client.resume()
    settle(server)
    assert server.messages() == ["one", "two", "three"]
    server.reactor.close()


def test_a_client_leaves_the_end_of_tcp_to_its_server_and_waits_for_it_not_for_ever() -> None:
    server = recorder()
    clock: Any = server.reactor.clock
    client, theirs = call(server)
    client.close()
    theirs.send(b"\x88\x02\x03\xe8")
    settle(server)
    assert not theirs.input_ended
    assert server.ends() == []
    theirs.close()
    settle(server)
    assert server.ends() == [(1000, "")]
    client, theirs = call(server)
    theirs.send(b"\x88\x02\x03\xe8")
    settle(server)
    assert not theirs.input_ended
    clock.advance(LINGER)
    settle(server)
    assert server.ends() == [(1000, "")] * 2
    assert bool(theirs.input_ended)
    assert client.was_clean
    server.reactor.close()


def test_a_server_is_held_up_by_a_client_that_does_not_read() -> None:
    with meet(do={"onmessage": lambda client, message: client.send(bytes(20 * KIB))}) as peer:
        peer.stop_reading()
        for number in range(50):
            peer.send(str(number))
        assert len(peer.server.messages()) < 10
        peer.go_on_reading()
        assert len(peer.server.messages()) == 50


# ---- what is sent in parts ----


def test_a_stream_leaves_as_the_peer_takes_it_and_ondrain_follows() -> None:
    with Line() as line:
        line.stop_reading()
        assert line.client.send("x" * 20 * KIB for _ in range(20)) is False
        assert line.client.buffered_amount < 100 * KIB
        line.read_all()
        assert line.whole() == ["x" * 400 * KIB]
        assert line.server.names() == ["onopen", "ondrain"]


def test_close_leaves_behind_a_stream_and_hang_up_cuts_it_short() -> None:
    for cut in (False, True):
        with Line() as line:
            line.stop_reading()
            line.client.send("x" * 20 * KIB for _ in range(20))
            line.client.close(4000, "mine")
            assert line.client.ready_state is State.CLOSING
            if cut:
                line.client.hang_up(1001)
            assert line.read_all()[-1] == (CLOSE, b"\x0f\xa0mine")
            assert line.whole() == ([] if cut else ["x" * 400 * KIB])


def test_hang_up_closes_once_and_nothing_that_is_closed() -> None:
    with Line() as line:
        line.client.hang_up(1001, "away")
        line.client.hang_up()
        with pytest.raises(ValueError, match="999"):
            line.client.hang_up(999)
        assert line.read_all() == [(CLOSE, b"\x03\xe9away")]


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
def test_an_iterable_that_raises_fails_the_connection(
    ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Line() as line:
        line.client.send(str(1 / zero) for zero in [0])
        if ended:
            line.client.abort()
        line.settle()
        line.peer.close()
        line.settle()
        errors = [] if ended else [ZeroDivisionError]
        assert [type(error) for error in line.server.errors()] == errors
        assert line.server.ends() == [(1006, "") if ended else (1011, "internal error")]
    assert caplog.messages[0].startswith("the iterable of a message of <Connection ")


class Failing(Codec):
    """Fails when a message is to leave or has come."""

    def __init__(self) -> None:
        self.extension = Extension()
        self.extension.name = "x-fails"

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        raise LookupError("nobody knows")

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        raise LookupError("nobody knows")


@pytest.mark.parametrize("way", ["out", "in"])
def test_an_extension_that_fails_is_logged_and_fails_the_connection(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Line(codecs=(Failing(),)) as line:
        assert line.client.extensions == "x-fails"
        if way == "out":
            assert line.client.send("x") is False
        else:
            line.say(TEXT, b"x")
        line.settle()
        line.peer.close()
        line.settle()
        assert line.server.ends() == [(1011, "an extension failed")]
        [error] = line.server.errors()
        assert isinstance(error.__cause__, LookupError)
    [message] = caplog.messages
    assert message.startswith("an extension of <Connection ")


def test_an_extension_that_fails_when_all_is_over_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Line(codecs=(Failing(),)) as line:
        line.client.send("x")
        line.client.abort()
        line.settle()
        assert line.server.ends() == [(1006, "")]
        assert line.server.errors() == []
    [message] = caplog.messages
    assert message.startswith("an extension of <Connection ")


def test_without_extensions_there_are_none() -> None:
    with Line() as line:
        assert line.client.extensions == ""


def test_with_an_outbox_that_stays_ondrain_is_told_if_it_is_owed() -> None:
    with Line(fragment_size=MIB) as line:
        assert line.client.send(["a", "b"]) is True
        line.settle()
        assert line.server.names() == ["onopen"]
        assert line.client.send(["c"] * 100) is False
        line.settle()
        assert line.server.names() == ["onopen", "ondrain"]
        line.read_all()
        assert line.whole() == ["ab", "c" * 100]


def test_ondrain_follows_with_an_outbox_as_without() -> None:
    with Line(fragment_size=MIB) as line:
        for times in range(1, 4):
            line.stop_reading()
            while line.client.send(bytes(KIB)):
                pass
            line.read_all()
            assert line.server.names().count("ondrain") == times


# ---- what comes in parts ----


class Parted(Recorder):
    def onfragment(self, client: Connection, data: Any, final: bool) -> None:
        self._note("onfragment", client, data, final)


def test_with_onfragment_messages_come_in_parts_and_pause_holds_them_up() -> None:
    def pause(client: Connection, data: Any, final: bool) -> None:
        client.pause()

    with Line(server=Parted, do={"onfragment": pause}) as line:
        line.say(0x01, "a☃"[:1].encode() + "☃".encode()[:2])
        line.say(0x80, "☃".encode()[2:] + b"b")
        line.say(BINARY, b"c")
        parts: list[tuple[Any, bool]] = []
        for _ in range(3):
            line.settle()
            parts.append(line.server.log[-1][1:])
            line.client.resume()
        assert parts == [("a", False), ("☃b", True), (b"c", True)]
        assert len(line.server.log) == 4


def test_an_onfragment_that_raises_fails_the_connection() -> None:
    with Line(server=Parted, do={"onfragment": raiser(ValueError("no"))}) as line:
        line.say(TEXT, b"x")
        line.settle()
        line.peer.close()
        line.settle()
        assert line.server.ends() == [(1011, "internal error")]


# ---- by itself ----


class Given:
    """What a `WebSocket` is after its handshake, in memory."""

    def __init__(self, rest: bytes = b"") -> None:
        self.reactor = Reactor(selector=MemorySelector(), clock=FakeClock())
        self.settings = Settings()
        self.rest = rest
        ours, self.peer = memory_pair()
        sock: Any = ours
        nobody: Any = None
        transport = Transport(self.reactor, sock, nobody, len)
        transport.pause()
        request = Request(UPGRADE[:-4], ("memory", 1))
        self.opened = Opened(self, transport, request, Handlers(), None)

    def release(self) -> tuple[Opened, bytes]:
        return self.opened, self.rest

    def close(self) -> None:
        self.reactor.close()

    def connection_ended(self, connection: object) -> None:
        """It is another's."""


def test_a_connection_by_itself_handles_what_comes_until_its_end() -> None:
    given = Given(masked(TEXT, b"rest"))
    told: list[Any] = []
    connection = Connection(
        given,
        onopen=lambda client: told.append("open"),
        onmessage=lambda client, message: told.append(message),
        onclose=lambda client, code, reason: told.append(code),
    )
    assert told == []
    given.peer.send(masked(TEXT, b"next") + close_frame(4000))
    given.peer.close()
    connection.receive_forever()
    assert told == ["open", "rest", "next", 4000]
    assert given.reactor.closed


def test_a_connection_by_itself_can_be_asked_for_messages() -> None:
    given = Given()
    with Connection(given) as connection:
        given.peer.send(masked(TEXT, b"one") + masked(TEXT, b"two") + close_frame(1000))
        given.peer.close()
        assert [connection.recv(), connection.recv(1)] == ["one", "two"]
        with pytest.raises(ConnectionClosed):
            connection.recv()
    with pytest.raises(LookupError), Connection(Given()) as connection:
        raise LookupError
    assert connection.close_code == 1006


def test_who_resumes_it_in_its_constructor_loses_nothing() -> None:
    class Own(Connection):
        def __init__(self, given: Any) -> None:
            super().__init__(given)
            self.pause()
            self.resume()

    given = Given(masked(TEXT, b"one") + masked(TEXT, b"two"))
    given.peer.close()
    connection = Own(given)
    assert [connection.recv(), connection.recv()] == ["one", "two"]
    connection.abort()
    with pytest.raises(ConnectionClosed):
        connection.recv()


def test_a_servers_connection_is_not_by_itself() -> None:
    with meet() as peer:
        for use in (Connection.receive_forever, Connection.recv, Connection.__enter__):
            with pytest.raises(InvalidState):
                use(peer.client)
    given = Given()
    with pytest.raises(TypeError, match="no options"):
        Connection(given.opened, max_message=5)
    given.close()


def test_recv_is_for_messages_that_are_put_together() -> None:
    given = Given()
    connection = Connection(given, onfragment=print)
    with pytest.raises(InvalidState, match="onfragment"):
        connection.recv()
    given.close()


# ---- within a budget ----


def test_within_a_budget_one_connection_takes_no_more_messages_than_there_is_time_for() -> None:
    clock_of: list[Any] = []

    def take(client: Connection, *args: Any) -> None:
        clock_of[0].advance(0.001)

    with meet(do={"onmessage": take, "onping": take, "onpong": take}) as peer:
        clock_of.append(peer.clock)
        reactor = peer.server.reactor
        frames = [masked(TEXT, b"x"), masked(PING, b"y"), masked(PONG, b"z")] * 10
        peer.write(b"".join(frames))
        told = []
        steps = 0
        while len(peer.server.log) < 31:
            before = len(peer.server.log)
            report = reactor.step(budget=0.0035)
            assert report.overrun <= 0.001
            told.append(len(peer.server.log) - before)
            steps += 1
        assert max(told) == 4
        assert [name for name in peer.server.names() if name != "onopen"] == [
            "onmessage",
            "onping",
            "onpong",
        ] * 10
        peer.settle()
        assert peer.server.ends() == []


@pytest.mark.parametrize("then", ["goes on", "pauses", "closes", "aborts"])
def test_within_a_budget_what_came_behind_the_handshake_waits_for_the_next_step(
    then: str,
) -> None:
    def opened(client: Connection) -> None:
        server.reactor.clock.advance(1.0)  # type: ignore[attr-defined]
        if then != "goes on":
            {"pauses": client.pause, "closes": client.close, "aborts": client.abort}[then]()

    server = recorder(do={"onopen": opened})
    reactor = server.reactor
    reactor.call_soon(call, server, plain_frame("one") + plain_frame("two"))
    reactor.step(budget=0.5)
    assert server.names() == ["onopen"]
    for _ in range(3):
        reactor.step()
    heard = ["one", "two"] if then == "goes on" else []
    assert [entry[1] for entry in server.log if entry[0] == "onmessage"] == heard
    assert server.names().count("onclose") == (then == "aborts")
    if then == "pauses":
        next(iter(server.clients)).resume()
        for _ in range(3):
            reactor.step()
        assert server.names() == ["onopen", "onmessage", "onmessage"]
    reactor.close()


def test_within_a_budget_parts_of_messages_are_taken_one_by_one_too() -> None:
    parts: list[Any] = []

    def take(client: Connection, data: Any, final: bool) -> None:
        parts.append(data)
        peer.clock.advance(0.001)

    with meet(onfragment=take) as peer:
        peer.write(masked(0x01, b"a") + masked(0x00, b"b") * 10 + masked(0x80, b"c"))
        while len(parts) < 12:
            before = len(parts)
            peer.server.reactor.step(budget=0.0025)
            assert len(parts) - before <= 3
        assert "".join(parts) == "a" + "b" * 10 + "c"


# ---- who is slow ----


@pytest.mark.parametrize("name", ["onmessage", "onfragment"])
def test_a_slow_handler_of_messages_is_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(client: Connection, *args: Any) -> None:
        peer.clock.advance(1.0)

    options: dict[str, Any] = {name: slow}
    with meet(**options) as peer:
        peer.send("hello")
    (message,) = [text for text in caplog.messages if "took" in text]
    assert message.startswith(
        f"{__name__}.test_a_slow_handler_of_messages_is_named.<locals>.slow "
    )


@pytest.mark.parametrize("name", ["onopen", "onping", "onclose"])
def test_a_slow_handler_of_anything_else_is_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()

    def slow(client: Connection, *args: Any) -> None:
        clock.advance(1.0)

    options: dict[str, Any] = {name: slow}
    with meet(clock=clock, **options) as peer:
        peer.ping()
        peer.close()
    (message,) = [text for text in caplog.messages if "took" in text]
    assert message.startswith(
        f"{__name__}.test_a_slow_handler_of_anything_else_is_named.<locals>.slow "
    )


def test_a_connection_knows_its_round_trips() -> None:
    with meet(ping_interval=20) as peer:
        assert (peer.client.rtt, peer.client.jitter, peer.client.clock_offset) == (None,) * 3
        peer.advance(45)
        assert (peer.client.rtt, peer.client.jitter) == (0.0, 0.0)


# ---- more than a step can write ----


@pytest.mark.parametrize("size", [8_000, 100_000])
@pytest.mark.parametrize("closes", [False, True])
def test_who_causes_more_fragments_than_a_step_writes_is_held_up_and_not_dropped(
    size: int, closes: bool
) -> None:
    most = 0

    def echo(client: Connection, message: Any) -> None:
        nonlocal most
        client.send(message)
        most = max(most, client.buffered_amount)

    count = 2_400_000 // size
    with meet(do={"onmessage": echo}, fragment_size=100) as peer:
        peer.write(masked(BINARY, bytes(size)) * count)
        if closes:
            peer.write(close_frame(1000))
        peer.settle()
        assert len(peer.received) == count or closes
        assert peer.ends == [(1000, "")] * closes
        assert most < 64 * KIB + 2 * size + 64 * KIB
        assert peer.server.messages() == [bytes(size)] * count


def test_what_came_behind_the_request_is_dropped_if_onopen_fails() -> None:
    server = recorder(do={"onopen": raiser(LookupError())})
    ours = raw(server, masked(TEXT, b"never heard"))
    settle(server)
    assert wire(ours)[:4] == b"\x88\x10\x03\xf3"  # 1011, "internal error"
    assert server.messages() == []
    ours.close()
    settle(server)
    assert server.ends() == [(1011, "internal error")]
    server.reactor.close()


def test_a_transport_that_is_not_of_the_usual_class_is_kept() -> None:
    class Unusual(Transport):
        __slots__ = ()

    with Line() as line:
        line.transport.__class__ = Unusual
        line.client.abort()
        line.settle()
        assert line.client.close_code == 1006
        assert line.client._transport is line.transport


# ---- messages that come together ----


class Own(Connection):
    """Has its own `onmessage`; what each message has it do."""

    def onmessage(self: Any, message: Any) -> None:
        self.data = [*(self.data or ()), message]
        if message == "raise":
            raise LookupError(message)
        if message in ("pause", "abort", "close"):
            getattr(self, message)()
        if message == "count":
            self.data.append(self.server.stats().messages_received)


@pytest.mark.parametrize("kind", [Connection, Own])
@pytest.mark.parametrize("word", ["a", "raise", "pause", "abort", "close"])
def test_each_message_of_a_read_is_told_and_counted_until_it_stops(
    kind: type[Connection], word: str
) -> None:
    with Line(kind=kind, do={"onmessage": Own.onmessage}) as line:
        for message in ("first", word, "second", "third"):
            line.say(TEXT, message.encode())
        line.step()
        told = ["first", word] + ["second", "third"] * (word == "a")
        assert line.client.data == told
        assert line.transport.tally.messages_received == len(told)
        line.client.resume()
        line.settle()
        if word == "pause":
            told += ["second", "third"]
        assert line.client.data == told
        assert line.transport.tally.messages_received == len(told)


def test_the_peers_close_behind_what_our_close_drops_is_heard() -> None:
    with Line(do={"onmessage": Own.onmessage}) as line:
        for message in (b"a", b"close", b"b", b"c"):
            line.say(TEXT, message)
        line.say(CLOSE, b"\x03\xe8")
        line.step()
        assert line.client.data == ["a", "close"]
        assert line.server.names()[-1] == "onclose"


def test_who_handles_messages_can_be_another_with_each() -> None:
    def hand_over(client: Connection, message: str) -> None:
        heard.append(("first", message))
        client.handlers = second

    heard: list[tuple[str, str]] = []
    second = Handlers(onmessage=lambda client, message: heard.append(("second", message)))
    with Line() as line:
        line.client.handlers = Handlers(onmessage=hand_over)
        for message in (b"a", b"b", b"c"):
            line.say(TEXT, message)
        line.step()
        assert heard == [("first", "a"), ("second", "b"), ("second", "c")]


def test_a_read_is_counted_as_received_while_its_messages_are_handled() -> None:
    with Line(kind=Own) as line:
        for message in (b"a", b"count", b"b"):
            line.say(TEXT, message)
        line.step()
        assert line.client.data == ["a", "count", 3, "b"]


def test_what_came_together_stops_where_the_peer_does_not_read_the_answers() -> None:
    def answer(client: Connection, message: str) -> None:
        Own.onmessage(client, message)
        client.send(50_000 * message)

    with Line(do={"onmessage": answer}) as line:
        line.stop_reading()
        for message in (b"a", b"b", b"c", b"d"):
            line.say(TEXT, message)
        line.settle()
        assert line.client.data == ["a", "b"]
        line.read_all()
        assert line.client.data == ["a", "b", "c", "d"]
        assert line.whole() == [50_000 * message for message in "abcd"]


@pytest.mark.parametrize("how", ["close", "abort", "loss"])
def test_one_that_has_ended_is_freed_without_the_garbage_collector(how: str) -> None:
    server = Server(reactor=Reactor(selector=MemorySelector(), clock=FakeClock()))
    clock: Any = server.reactor.clock
    peer = Peer(server, clock)
    [client] = server.clients
    {"close": peer.close, "abort": client.abort, "loss": peer.disconnect}[how]()
    settle(server)
    assert client.ready_state is State.CLOSED
    assert (client.buffered_amount, client.tls, client.send("late")) == (0, None, False)
    for late in client.close, client.pause, client.resume, client.abort:
        late()
    alive, collecting = weakref.ref(client), gc.isenabled()
    gc.disable()
    try:
        del client, late
        # There every object waits for the collector.
        assert platform.python_implementation() == "PyPy" or alive() is None
    finally:
        if collecting:
            gc.enable()
    server.reactor.close()
