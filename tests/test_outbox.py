"""`reactor/outbox.py`: streams, extensions, fragments, and what has been sent."""

from __future__ import annotations

import functools
import gc
import io
import itertools
import logging
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from reactor import (
    BinaryMessage,
    Codec,
    Connection,
    Extension,
    PerMessageDeflate,
    ProtocolError,
    QueueFull,
    State,
    TextMessage,
)
from reactor.loop.transport import HIGH_WATER, LOW_WATER
from tests.extended import Counting, ExtendedVisitor, Flip
from tests.line import KIB, Line, Noting
from tests.recorder import CLOSE, PING, PONG, TEXT, Recorder, meet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.scripted import Net

MIB = KIB * KIB
BEGIN_TEXT, BEGIN_BINARY, GO_ON, END = 0x01, 0x02, 0x00, 0x80
COST = 256  # what a message that waits counts besides its bytes

roles = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


class Parts:
    """A generator that counts how often it is asked, and how often it is closed."""

    def __init__(self, parts: Iterable[Any], at_the_end: Callable[[], object] = int) -> None:
        self.asked = self.closed = 0
        self.running = self._generate(parts)
        self._at_the_end = at_the_end

    def _generate(self, parts: Iterable[Any]) -> Iterator[Any]:
        try:
            for part in parts:
                self.asked += 1
                yield part() if callable(part) else part
        finally:
            self.closed += 1
            self._at_the_end()


def after(call: Callable[[], object], part: str) -> Callable[[], str]:
    """Return what a generator is to do before it yields a part."""

    def act() -> str:
        call()
        return part

    return act


def endless(size: int = 4 * KIB, **options: Any) -> Parts:
    return Parts(itertools.repeat(bytes(size)), **options)


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


# ---- what leaves ----


@roles
@pytest.mark.parametrize(
    ("make", "frames"),
    [
        (lambda: (part for part in ("a", "☃", "c")), [(1, b"a"), (0, "☃".encode()), (0, b"c")]),
        (
            lambda: [b"a", bytearray(b"b"), memoryview(b"cd")],
            [(2, b"a"), (0, b"b"), (0, b"cd")],
        ),
        (lambda: ("", "a", ""), [(1, b""), (0, b"a"), (0, b"")]),
        (lambda: iter([b""]), [(2, b"")]),
        (lambda: io.StringIO("one\ntwo"), [(1, b"one\n"), (0, b"two")]),
        (lambda: io.BytesIO(b"one\ntwo"), [(2, b"one\n"), (0, b"two")]),
        (lambda: {"a"}, [(1, b"a")]),
    ],
    ids=["generator", "list", "empty parts", "one empty part", "text file", "file", "set"],
)
def test_each_part_is_a_fragment_and_an_empty_one_is_the_last(
    is_client: bool, make: Callable[[], Any], frames: list[tuple[int, bytes]]
) -> None:
    with Line(is_client=is_client) as line:
        assert line.client.send(make()) is True
        assert line.read_all() == [*frames, (END, b"")]
        assert line.client.buffered_amount == 0
        assert line.client.send("next")
        assert line.read_all() == [(TEXT, b"next")]


@pytest.mark.parametrize("empty", [[], (), set(), iter(()), (part for part in "")])
def test_an_iterable_without_parts_sends_nothing(empty: Any) -> None:
    with Line() as line:
        assert line.client.send(empty) is True
        assert line.transport.tally.messages_sent == 0
        assert line.client.send("next") is True
        assert line.transport.tally.messages_sent == 1
        assert line.read_all() == [(TEXT, b"next")]
        assert line.server.names() == ["onopen"]


@roles
def test_parts_are_asked_for_as_the_peer_takes_them(is_client: bool) -> None:
    part = 4 * KIB
    parts = endless(part)
    with Line(is_client=is_client) as line:
        line.stop_reading()
        assert line.client.send(parts.running) is False
        line.settle()
        assert parts.asked * part <= HIGH_WATER + part
        most = 0
        for _ in range(300):
            line.peer.capacity = 5_000
            asked = parts.asked
            before = line.client.buffered_amount
            line.settle(2)
            if parts.asked > asked:
                assert before - 10_000 <= LOW_WATER, "asked before it was time"
            most = max(most, line.client.buffered_amount)
            line.take()
        assert most <= HIGH_WATER + part + 8
        assert 200 < parts.asked < 400
        line.client.abort()
        line.settle()
        assert parts.closed == 1


def test_a_download_of_any_size_needs_no_memory() -> None:
    size = 64 * MIB
    parts = (bytes(16 * KIB) for _ in range(size // (16 * KIB)))
    with Line() as line:
        line.client.send(parts)
        taken = 0
        line.peer.capacity = 64 * KIB
        tracemalloc = pytest.importorskip("tracemalloc")  # CPython's alone
        tracemalloc.start()
        try:
            while taken < size:
                line.step()
                taken += len(line.peer.inbox)
                line.peer.inbox.clear()
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a handler"])
def test_no_more_than_64_parts_leave_in_a_step(inside: bool) -> None:
    parts = Parts([b"x"] * 1000)
    with Line() as line:
        line.server.do["onmessage"] = lambda client, message: client.send(message)
        assert line.client.send(parts.running) is False
        assert parts.asked <= 64
        for number in range(30):
            before = parts.asked
            if inside:
                line.say(TEXT, b"%d" % number)
            line.step()
            assert 0 <= parts.asked - before <= 64
        frames = line.read_all()
        assert frames == [
            (BEGIN_BINARY, b"x"),
            *[(GO_ON, b"x")] * 999,
            (END, b""),
            *[(TEXT, b"%d" % number) for number in range(30 * inside)],
        ]
        assert line.server.names().count("ondrain") == 1


def test_within_a_budget_no_more_parts_are_asked_for_than_there_is_time_for() -> None:
    with Line() as line:

        def parts() -> Iterator[bytes]:
            for _ in range(20):
                line.clock.advance(0.001)
                yield b"x"

        line.reactor.call_soon(line.client.send, parts())
        steps = 0
        while line.reactor.next_timeout() == 0:
            report = line.reactor.step(budget=0.0035)
            assert report.overrun <= 0.001
            steps += 1
        assert steps > 4
        assert line.read_all() == [(BEGIN_BINARY, b"x"), *[(GO_ON, b"x")] * 19, (END, b"")]


@pytest.mark.parametrize("count", [61, 62, 63, 64, 65, 126, 127])
def test_a_stream_that_ends_with_the_budget_ends_once(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Line() as line:
        answers = [line.client.send(message) for message in (["x"] * count, ["y"], "z")]
        line.settle()
        assert line.client.send(["y"]) is True
        line.read_all()
        assert line.whole() == ["x" * count, "y", "z", "y"]
        assert line.server.names().count("ondrain") == (False in answers)
        assert caplog.records == []


@roles
def test_what_is_sent_meanwhile_waits_in_its_order(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        line.stop_reading()
        client = line.client
        sent: list[Any] = [["a" * 40 * KIB] * 3, "b", [b"c", b"d"], TextMessage(b"e"), b"f"]
        assert [client.send(message) for message in sent] == [False] * 5
        if not is_client:
            line.server.broadcast("to all")
        client.send(Parts([TextMessage(b"g"), "h"]).running)
        client.send(bytearray(b"i"))
        expected = ["a" * 120 * KIB, "b", b"cd", "e", b"f", "to all", "gh", b"i"]
        line.read_all()
        assert line.whole() == [message for message in expected if message != "to all"] or (
            not is_client and line.whole() == expected
        )
        assert client.buffered_amount == 0


@roles
def test_pings_and_pongs_go_between_the_parts(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        line.stop_reading()
        line.client.send(Parts(["a" * 40 * KIB] * 4).running)
        line.client.ping(b"ours")
        line.say(PING, b"theirs")
        line.settle()
        heads = [head for head, _ in line.read_all()]
        assert heads == [BEGIN_TEXT, GO_ON, PING, PONG, GO_ON, GO_ON, END]
        assert line.whole() == ["a" * 160 * KIB]


# ---- the end of a stream, and of the connection ----


@roles
@pytest.mark.parametrize(
    "last", ["", "x" * 100 * KIB], ids=["short", "one that fills the queue"]
)
def test_close_leaves_behind_all_that_was_sent(is_client: bool, last: str) -> None:
    parts = Parts(["a" * 40 * KIB] * 4)
    with Line(is_client=is_client) as line:
        line.stop_reading()
        client = line.client
        client.send(parts.running)
        client.send(last)
        with pytest.raises(ValueError, match="1005"):
            client.close(1005)
        client.close(4001, "first")
        assert client.ready_state is State.CLOSING
        assert client.send("late") is client.send(["late"]) is False
        client.close(4002, "second")
        client.ping()
        line.say(TEXT, b"too late")
        line.settle()
        assert line.server.messages() == []
        assert line.read_all()[-1] == (CLOSE, close_payload(4001, "first"))
        assert line.whole() == ["a" * 160 * KIB, last]
        assert PING not in [head for head, _ in line.frames]
        assert parts.closed == 1
        line.say(CLOSE, close_payload(4001, "first"))
        line.settle()
        line.peer.close()
        line.settle()
        assert line.server.ends() == [(4001, "first")]
        assert client.was_clean
        assert "ondrain" not in line.server.names()


def test_the_time_for_the_peers_close_begins_when_ours_has_left() -> None:
    with Line(close_timeout=10, write_timeout=1000, ping_interval=None) as line:
        line.stop_reading()
        line.client.send(["a" * 100 * KIB, "b"])
        line.client.close()
        line.clock.advance(500)
        line.settle()
        assert line.server.ends() == []
        line.read_all()
        line.clock.advance(9.9)
        line.settle()
        assert line.server.ends() == []
        line.clock.advance(0.2)
        line.settle()
        assert line.server.ends() == [(1006, "the peer did not answer our Close")]


def test_close_goes_on_reading_for_the_peers_close_and_pause_does_not_stop_that() -> None:
    with Line() as line:
        line.stop_reading()
        line.client.pause()
        line.client.send(endless().running)
        line.client.close()
        line.client.pause()
        line.say(CLOSE, close_payload(4000))
        line.settle()
        assert line.client.ready_state is State.CLOSED
        assert line.client.close_code == 4000


def test_a_fragmented_message_that_was_coming_is_dropped_by_close() -> None:
    with Line() as line:
        line.stop_reading()
        line.client.send(endless().running)
        line.say(BEGIN_TEXT, b"half of ")
        line.settle()
        line.client.close()
        line.say(END, b"a message")
        line.settle()
        assert line.server.messages() == []


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closing"])
def test_hang_up_cuts_a_stream_short(closed: bool) -> None:
    parts = endless()
    with Line() as line:
        line.stop_reading()
        line.client.send(parts.running)
        line.client.send("behind")
        if closed:
            line.client.close(4000, "mine")
        asked = parts.asked
        for _ in range(2):  # the second does nothing
            with pytest.raises(ValueError, match="999"):
                line.client.hang_up(999)
            line.client.hang_up(1001, "stopping")
        assert parts.closed == 1
        assert line.client.ready_state is State.CLOSING
        assert line.client.buffered_amount == line.transport.buffered
        code, reason = (4000, "mine") if closed else (1001, "stopping")
        assert line.read_all()[-1] == (CLOSE, close_payload(code, reason))
        assert (parts.asked, parts.closed) == (asked, 1)
        assert END not in [head for head, _ in line.frames]
        assert line.whole() == []


def test_hang_up_without_a_stream_closes_behind_what_was_sent() -> None:
    with Line(server=Noting) as line:
        line.client.send("before")
        line.client.hang_up()
        assert line.read_all() == [(TEXT, b"before"), (CLOSE, close_payload(1001))]


def test_a_server_that_stops_cuts_all_streams_short() -> None:
    parts = [endless(), endless()]
    with Line() as line:
        line.peer.capacity = 10_000
        for each in parts:
            line.client.send(each.running)
        line.settle()
        line.server.stop()
        assert [each.closed for each in parts] == [1, 0]
        assert line.read_all()[-1] == (CLOSE, close_payload(1001))


def peer_closes(line: Line) -> None:
    line.say(CLOSE, close_payload(1000))


def peer_breaks_a_rule(line: Line) -> None:
    line.say(0xF1, b"")


def peer_takes_nothing(line: Line) -> None:
    line.clock.advance(31)


def handler_raises(line: Line) -> None:
    line.server.do["onmessage"] = lambda client, message: 1 / 0
    line.say(TEXT, b"!")


ENDS: list[Callable[[Line], object]] = [
    peer_closes,
    peer_breaks_a_rule,
    peer_takes_nothing,
    handler_raises,
    lambda line: line.peer.close(),
    lambda line: line.peer.reset(),
    lambda line: line.client.abort(),
    lambda line: line.server.close(),
]


@roles
@pytest.mark.parametrize("number", range(len(ENDS)))
def test_whatever_ends_the_connection_closes_its_generators_once(
    is_client: bool, number: int
) -> None:
    parts, waiting, begun = endless(), endless(), endless()
    next(begun.running)
    with Line(is_client=is_client) as line:
        line.stop_reading()
        line.client.send(parts.running)
        line.client.send(waiting.running)
        line.client.send(begun.running)
        asked = parts.asked
        ENDS[number](line)
        line.settle()
        assert (parts.closed, begun.closed) == (1, 1)
        assert next(waiting.running, None) is None, "it was not closed"
        line.peer.close()
        line.settle(30)
        assert len(line.server.ends()) == 1
        assert line.server.names()[-1] == "onclose"
        assert parts.asked == asked
        assert (parts.closed, waiting.asked, begun.closed) == (1, 0, 1)


def test_a_stream_of_which_nothing_was_asked_is_closed_too() -> None:
    begun = endless()
    next(begun.running)
    with Line() as line:
        line.stop_reading()
        while line.client.send(bytes(KIB)):
            pass
        assert line.client.send(begun.running) is False
        line.client.abort()
        assert (begun.asked, begun.closed) == (1, 1)


def test_a_stream_that_has_just_begun_is_closed_too() -> None:
    begun = endless()
    next(begun.running)
    with Line() as line:
        client = line.client

        def send_more() -> None:
            client.send("y")
            client.send(begun.running)

        # 1 to begin, 61 parts with the last, 1 for the message between: the 64th begins.
        client.send(Parts([after(send_more, "x"), *["x"] * 60]).running)
        assert client.send("behind") is False
        client.abort()
        assert (begun.asked, begun.closed) == (1, 1)


def test_what_is_no_generator_is_not_closed() -> None:
    file = io.StringIO("line\n" * 100_000)
    with Line() as line:
        line.stop_reading()
        line.client.send(file)
        line.client.abort()
        assert not file.closed


def test_nothing_is_asked_for_once_the_peer_is_lost() -> None:
    parts = endless()
    with Line() as line:
        line.stop_reading()
        line.client.send(parts.running)
        asked = parts.asked
        line.peer.reset()
        line.client.ping()
        line.client.send("x")
        line.settle()
        assert parts.asked == asked
        assert parts.closed == 1


def test_a_write_that_finds_the_peer_lost_asks_for_no_more() -> None:
    parts = endless()
    with Line() as line:
        line.peer.reset()
        line.client.send(parts.running)
        assert parts.asked == 1
        line.settle()
        assert parts.closed == 1
        assert len(line.server.ends()) == 1


# ---- generators that go wrong ----


BAD_PARTS: list[tuple[list[Any], type[Exception], str]] = [
    (["a", b"b"], TypeError, "text and binary"),
    ([b"a", "b"], TypeError, "text and binary"),
    (["a", 5], TypeError, "text and binary|int, not"),
    ([5], TypeError, "int, not bytes"),
    ([None], TypeError, "NoneType, not bytes"),
    (["a", "\ud800"], UnicodeEncodeError, "surrogates"),
    ([TextMessage("a"), b"b"], TypeError, "text and binary"),
    (["a", lambda: 1 / 0], ZeroDivisionError, "division"),
    ([lambda: 1 / 0], ZeroDivisionError, "division"),
    (["a" * 100 * KIB, lambda: 1 / 0], ZeroDivisionError, "division"),
    (["a"] * 200 + [lambda: 1 / 0], ZeroDivisionError, "division"),
]


@roles
@pytest.mark.parametrize("number", range(len(BAD_PARTS)))
def test_a_generator_that_goes_wrong_fails_the_connection_and_is_logged(
    is_client: bool, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    bad, kind, _ = BAD_PARTS[number]
    parts, behind = Parts(bad), endless()
    next(behind.running)
    with Line(is_client=is_client) as line:
        assert line.client.send(parts.running) is False
        line.client.send("lost")
        line.client.send(behind.running)
        assert line.server.errors() == [], "told from inside send()"
        line.read_all()
        assert line.frames[-1] == (CLOSE, close_payload(1011, "internal error"))
        assert END not in [head for head, _ in line.frames]
        [error] = line.server.errors()
        assert isinstance(error, kind)
        assert re.search(BAD_PARTS[number][2], str(error))
        line.peer.close()
        line.settle()
        assert line.server.ends() == [(1011, "internal error")]
        assert parts.closed == 1
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("the iterable of a message of <Connection ")
    assert record.exc_info
    assert record.exc_info[1] is error
    gc.collect()


class Unwilling:
    """An iterable that raises when it is asked for its iterator."""

    def __iter__(self) -> Iterator[str]:
        raise LookupError("not today")


def test_an_iterable_without_an_iterator_fails_the_connection() -> None:
    with Line() as line:
        assert line.client.send(Unwilling()) is False
        line.settle()
        [error] = line.server.errors()
        assert isinstance(error, LookupError)


def test_a_generator_may_raise_what_fails_other_connections() -> None:
    def raise_it() -> None:
        raise ProtocolError(1002, "of another connection")

    with Line() as line:
        line.client.send(Parts(["a", raise_it]).running)
        assert line.read_all()[-1] == (CLOSE, close_payload(1011, "internal error"))


@pytest.mark.parametrize("how", ["abort", "hang_up"])
def test_what_fails_and_is_ended_at_once_ends_once(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Line() as line:
        line.client.send(Parts(["a", lambda: 1 / 0]).running)
        assert line.client.ready_state is State.CLOSING
        assert line.client.send("late") is False
        getattr(line.client, how)()
        line.settle()
        line.peer.close()
        line.settle()
        assert len(line.server.ends()) == 1
        assert line.server.names()[-1] == "onclose"
        assert len(caplog.records) == 1


def test_a_connection_that_is_lost_before_it_can_fail_is_told_of_its_end_last() -> None:
    with Line() as line:
        line.client.send(Parts(["a", lambda: 1 / 0]).running)
        line.peer.close()
        line.settle()
        assert line.server.names()[-1] == "onclose"
        assert len(line.server.ends()) == 1


def test_after_an_interrupt_no_other_message_follows_half_of_one() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Line() as line:
        with pytest.raises(KeyboardInterrupt):
            line.client.send(Parts(["half of ", interrupt, "a message"]).running)
        line.client.send("another")
        line.read_all()
        assert line.frames == [
            (BEGIN_TEXT, b"half of "),
            (CLOSE, close_payload(1011, "internal error")),
        ]
        [error] = line.server.errors()
        assert isinstance(error, InterruptedError)


def test_a_generator_that_takes_long_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with Line() as line:

        def slow_parts() -> Iterator[bytes]:
            yield b"x"
            line.clock.advance(1.0)
            yield b"y"

        line.client.send(slow_parts())
        assert len(line.read_all()) == 3
    (message,) = [text for text in caplog.messages if " took " in text]
    where = "test_a_generator_that_takes_long_is_named.<locals>.slow_parts"
    assert message.startswith(f"{where} took 1.000 s")


# ---- generators that call their connection ----


def test_what_a_generator_sends_waits_behind_it_and_ondrain_is_told_later() -> None:
    inside: list[bool] = []
    answers: list[bool] = []
    sending: list[bool] = [True]
    with Line() as line:
        client = line.client
        line.server.do["ondrain"] = lambda client: inside.append(bool(sending))
        parts = Parts(
            [
                "a",
                after(lambda: answers.append(client.send("behind")), "b"),
                after(lambda: answers.append(client.send(["far ", "behind"])), "c"),
                after(lambda: client.ping(b"between"), "d"),
            ]
        )
        assert client.send(parts.running) is True
        sending.clear()
        assert answers == [False, False]
        assert inside == []
        line.settle()
        assert inside == [False]
        line.read_all()
        assert line.whole() == ["abcd", "behind", "far behind"]
        assert [head for head, _ in line.frames][:5] == [1, 0, 0, PING, 0]


def test_ondrain_that_was_told_for_the_queue_is_not_told_again() -> None:
    with Line() as line:
        client = line.client
        client.send(Parts([after(lambda: client.send("behind"), "a")]).running)
        line.stop_reading()
        while client.send(bytes(4 * KIB)):
            pass
        line.read_all()
        assert line.server.names().count("ondrain") == 1


@roles
def test_a_generator_may_close_its_connection_and_go_on(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        client = line.client
        parts = Parts(["a", after(lambda: client.close(4000), "b"), "c"])
        client.send(parts.running)
        line.read_all()
        assert line.frames == [
            (BEGIN_TEXT, b"a"), (GO_ON, b"b"), (GO_ON, b"c"), (END, b""),
            (CLOSE, close_payload(4000)),
        ]  # fmt: skip
        assert parts.closed == 1


def test_a_generator_may_close_as_its_last_act() -> None:
    with Line() as line:
        client = line.client
        parts = Parts(["a"], at_the_end=lambda: client.close(4000))
        client.send(parts.running)
        line.read_all()
        assert line.frames == [
            (BEGIN_TEXT, b"a"), (END, b""), (CLOSE, close_payload(4000)),
        ]  # fmt: skip


@pytest.mark.parametrize("how", ["abort", "hang_up", "stop"])
@pytest.mark.parametrize("then", ["goes on", "ends", "raises"])
def test_a_generator_may_end_its_connection_at_once(how: str, then: str) -> None:
    with Line() as line:
        end = line.server.stop if how == "stop" else getattr(line.client, how)
        act = after(lambda: [end(), 1 / (then != "raises")], "b")
        parts = Parts(["a", act] if then == "ends" else ["a", act, "c"])
        assert line.client.send(parts.running) is False
        assert parts.closed == 1
        line.read_all()
        closes = [] if how == "abort" else [(CLOSE, close_payload(1001))]
        assert line.frames == [(BEGIN_TEXT, b"a"), *closes]
        line.peer.close()
        line.settle()
        assert len(line.server.ends()) == 1
        assert line.server.names()[-1] == "onclose"


def test_a_generator_may_pause_and_make_no_steps() -> None:
    with Line() as line:
        client = line.client
        parts = Parts([after(client.pause, "a"), after(client.resume, "b")])
        client.send(parts.running)
        line.read_all()
        assert line.whole() == ["ab"]


def test_a_generator_that_makes_steps_is_not_asked_meanwhile() -> None:
    with Line(max_write_queue=MIB) as line:
        client = line.client

        def choke_and_drain() -> None:
            line.stop_reading()
            while not line.transport.choked:
                client.ping(bytes(125))
            line.peer.capacity = 1 << 62
            line.settle()
            assert not line.transport.choked

        parts = Parts(["a", after(choke_and_drain, "b"), "c"])
        assert client.send(parts.running) is True
        line.read_all()
        assert line.whole() == ["abc"]
        assert line.server.errors() == []


CALLS: dict[str, Callable[[Connection], object]] = {
    "raises": lambda client: 1 / 0,
    "sends": lambda client: client.send("x"),
    "streams": lambda client: client.send(endless().running),
    "pings": lambda client: client.ping(),
    "closes": lambda client: client.close(4000),
    "hangs up": lambda client: client.hang_up(),
    "aborts": lambda client: client.abort(),
    "pauses": lambda client: client.pause(),
}


@roles
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [*range(len(ENDS)), -1])
def test_a_generator_may_do_what_it_likes_when_it_is_closed(
    is_client: bool, call: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Line(is_client=is_client) as line:
        client = line.client
        parts = endless(at_the_end=lambda: CALLS[call](client))
        behind = endless(at_the_end=lambda: CALLS[call](client))
        next(behind.running)
        line.stop_reading()
        client.send(parts.running)
        client.send(behind.running)
        if number < 0:
            client.hang_up(1001)
        else:
            ENDS[number](line)
        line.settle()
        assert (parts.closed, behind.closed) == (1, 1)
        if not line.peer.closed:
            line.read_all()
        heads = [head for head, _ in line.frames]
        assert heads.count(CLOSE) <= 1
        assert CLOSE not in heads[:-1], "something came behind the Close"
        line.peer.close()
        line.settle(30)
        assert len(line.server.ends()) == 1
        assert line.server.names()[-1] == "onclose"
    if call == "raises":
        ours = [record for record in caplog.records if "iterable" in record.getMessage()]
        assert len(ours) == 2
    assert "AssertionError" not in caplog.text
    assert "KeyError" not in caplog.text


def test_an_interrupt_out_of_a_generator_that_is_closed_spares_nobody_the_end() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Line() as line:
        line.stop_reading()
        line.client.send(endless(at_the_end=interrupt).running)
        line.peer.close()
        with pytest.raises(KeyboardInterrupt):
            line.settle()
        line.settle()
        assert line.server.ends() == [(1006, "")]
        assert line.server.clients == set()


# ---- reading meanwhile ----


def test_a_server_reads_on_while_it_streams_to_one_that_reads_slowly() -> None:
    parts = endless()

    def cancel(client: Connection, message: Any) -> None:
        client.hang_up(4000, message)

    with Line(do={"onmessage": cancel}) as line:
        line.stop_reading()
        line.client.send(parts.running)
        line.settle()
        line.say(PONG, b"?")
        line.say(TEXT, b"cancel")
        line.settle()
        assert line.server.names()[1:] == ["onpong", "onmessage"]
        assert parts.closed == 1
        assert line.read_all()[-1] == (CLOSE, close_payload(4000, "cancel"))


@roles
def test_who_asks_for_more_and_takes_nothing_is_not_read_for_ever(is_client: bool) -> None:
    def answer(client: Connection, message: Any) -> None:
        client.send(b"x" * KIB)

    with Line(do={"onmessage": answer}, is_client=is_client) as line:
        line.stop_reading()
        line.client.send(Parts([bytes(40 * KIB)] * 10).running)
        for _ in range(1000):
            line.say(TEXT, b"more")
        line.settle(40)
        # A client reads on, since else both could wait for ever: there the policy decides.
        read = len(line.server.messages())
        assert 700 < read < 800 if is_client else 40 < read < 70
        if is_client:
            [error] = line.server.errors()
            assert isinstance(error, QueueFull)
            assert line.server.ends() == [(1006, str(error))]
        else:
            assert HIGH_WATER < line.client.buffered_amount - line.transport.buffered < 70 * KIB
            line.read_all()
            line.settle(100)
            assert len(line.server.messages()) == 1000
            assert line.whole() == [bytes(400 * KIB), *[b"x" * KIB] * 1000]


# ---- how much may wait ----


@pytest.mark.parametrize(
    "message", [b"", "x", [b"x"]], ids=["empty messages", "short messages", "generators"]
)
def test_what_waits_is_counted_with_what_it_takes_to_keep_it(message: Any) -> None:
    with Line(max_write_queue=MIB, overflow="error") as line:
        line.stop_reading()
        line.client.send(endless().running)
        while line.client.buffered_amount <= MIB - COST - 1:
            line.client.send(message)
        with pytest.raises(QueueFull) as caught:
            line.client.send(message)
        assert caught.value.limit == MIB
        waiting = line.client.buffered_amount - line.transport.buffered
        assert MIB * 0.9 < line.client.buffered_amount <= MIB
        assert 3000 < waiting // COST < 4096
        assert line.client.ready_state is State.OPEN


@pytest.mark.parametrize("policy", ["close", "skip", "error"])
@pytest.mark.parametrize("kind", ["message", "stream"])
def test_the_overflow_policy_is_applied_to_what_would_wait(policy: str, kind: str) -> None:
    parts = Parts([bytes(40 * KIB)] * 4)
    late = endless()
    next(late.running)
    message = "late" * KIB if kind == "message" else late.running
    with Line(max_write_queue=90 * KIB, overflow=policy) as line:
        line.stop_reading()
        client = line.client
        client.send(parts.running)
        fill = 90 * KIB - client.buffered_amount - COST - 100
        assert client.send("f" * fill) is False
        if policy == "error":
            with pytest.raises(QueueFull):
                client.send(message)
        else:
            assert client.send(message) is False
        line.settle()
        assert late.closed == 0, "it is the user's, since it was not sent"
        if policy == "close":
            [error] = line.server.errors()
            assert isinstance(error, QueueFull)
            assert line.server.ends() == [(1006, str(error))]
            assert parts.closed == 1
        else:
            line.read_all()
            assert line.whole() == [bytes(160 * KIB), "f" * fill]
            assert client.send("again")


@pytest.mark.parametrize("policy", ["close", "skip", "error"])
@pytest.mark.parametrize("kind", [str, TextMessage])
def test_the_overflow_policy_is_applied_where_nothing_waits_too(policy: str, kind: Any) -> None:
    with Line(max_write_queue=90 * KIB, overflow=policy, server=Noting) as line:
        line.stop_reading()
        client = line.client
        client.send(kind("a" * 80 * KIB))
        left = 90 * KIB - client.buffered_amount
        if policy == "error":
            with pytest.raises(QueueFull):
                client.send(kind("b" * (left - 1)))
        else:
            assert client.send(kind("b" * (left - 1))) is False
        line.settle()
        if policy == "close":
            assert isinstance(line.server.errors()[0], QueueFull)
            return
        assert client.send(kind("c" * (left - 4))) is False
        line.read_all()
        assert line.whole() == ["a" * 80 * KIB, "c" * (left - 4)]
        # What is larger than the queue may have, where nothing is in it.
        large = kind("d" * 100 * KIB)
        assert client.send(large)
        line.read_all()
        assert line.whole()[2:] == ["d" * 100 * KIB]


def test_buffered_amount_counts_what_waits_and_what_is_left_of_a_message() -> None:
    with Line(fragment_size=KIB) as line:
        line.stop_reading()
        client = line.client
        client.send(bytes(200 * KIB))
        headers = 4
        asked = (200 * KIB - (client.buffered_amount - line.transport.buffered)) // KIB
        assert line.transport.buffered == asked * (KIB + headers)
        before = client.buffered_amount
        client.send("behind")
        assert client.buffered_amount == before + COST + 6
        client.send(endless().running)
        assert client.buffered_amount == before + 2 * COST + 6
        line.peer.capacity = 60 * KIB
        line.settle()
        assert client.buffered_amount < before
        client.abort()
        assert client.buffered_amount == 0


# ---- extensions ----


def deflating() -> tuple[ExtendedVisitor, Counting]:
    extension = Counting(threshold=16, level=9)
    peer = meet(extensions=[extension])
    peer.sock.close()
    visitor = ExtendedVisitor(peer.server, peer.clock, [PerMessageDeflate()])
    return visitor, extension


def test_a_stream_is_compressed_part_by_part() -> None:
    peer, extension = deflating()
    with peer:
        assert peer.agreed.startswith("permessage-deflate")
        text = "a compressible text, " * 1000
        peer.client.send(text for _ in range(40))
        peer.settle()
        assert peer.received == [text * 40]
        assert len(extension.compressed) == 40


@pytest.mark.parametrize("compress", [None, True, False])
def test_the_senders_wish_reaches_the_extension_for_messages_and_for_streams(
    compress: bool | None,
) -> None:
    flip = Flip()
    codec: Any = flip.answer(())[1]
    codec.extension = flip
    with Line(codecs=(codec,)) as line:
        line.client.send("abc", compress)
        line.client.send(["d", "e"], compress)
        assert codec.wishes == [(3, compress), (None, compress)]
        flipped = bytes(byte ^ 0xFF for byte in b"abcde")
        assert line.read_all() == [
            (0xA1, flipped[:3]), (0x21, flipped[3:4]), (0x00, flipped[4:]), (END, b""),
        ]  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    plan=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 40_000), st.sampled_from([None, False])),
            st.tuples(
                st.just("stream"), st.lists(st.integers(0, 9_000), max_size=8), st.none()
            ),
            st.tuples(st.just("read"), st.integers(1, 60_000), st.none()),
            st.tuples(st.just("step"), st.none(), st.none()),
        ),
        max_size=40,
    ),
    fragment_size=st.sampled_from([None, 5000]),
    forgets=st.booleans(),
)
def test_nothing_that_was_compressed_is_ever_dropped(
    plan: list[tuple[str, Any, Any]], fragment_size: int | None, forgets: bool
) -> None:
    chance = random.Random(len(plan))
    extension = PerMessageDeflate(threshold=0, server_no_context_takeover=forgets)
    peer = meet(
        extensions=[extension],
        overflow="skip",
        max_write_queue=30_000,
        fragment_size=fragment_size,
    )
    peer.sock.close()
    with ExtendedVisitor(peer.server, peer.clock, [PerMessageDeflate()]) as visitor:
        client = visitor.server.met[-1]
        expected: list[Any] = []
        visitor.stop_reading()
        for act, size, compress in plan:
            if act == "send":
                message = chance.getrandbits(8 * size).to_bytes(size, "big")
                before = client.buffered_amount
                client.send(message, compress)
                if client.buffered_amount > before:
                    expected.append(message)
            elif act == "stream":
                texts = [str(chance.getrandbits(64)) * (part // 16) for part in size]
                if texts and client.buffered_amount + COST <= 30_000:
                    client.send(iter(texts))
                    expected.append("".join(texts))
            elif act == "read":
                visitor.sock.capacity = len(visitor.sock.inbox) + size
                visitor.settle()
                visitor.stop_reading()
            else:
                visitor.server.reactor.step(0)
        client.send("the last", None)
        visitor.go_on_reading()
        came: list[Any] = [message for message in visitor.received if message != "the last"]
        assert came == expected
        assert visitor.server.errors() == []
        client.send("more")
        visitor.settle()
        assert visitor.received[-1] == "more"


class Breaking(Codec):
    """Fails where it is told to."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.extension = Extension()
        self.where = where
        self.error = error

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        if self.where == "begin_encode":
            raise self.error
        return 0

    def encode(self, data: bytes, final: bool) -> bytes:
        if self.where == "encode" and data == b"bad":
            raise self.error
        return data


@pytest.mark.parametrize("where", ["begin_encode", "encode"])
@pytest.mark.parametrize("message", ["bad", ["bad"], ["bad", "worse"]], ids=str)
@pytest.mark.parametrize("ends", [None, "abort", "hang_up"])
def test_an_extension_that_fails_fails_the_connection(
    where: str, message: Any, ends: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    fault = ValueError("of the extension's")
    with Line(codecs=(Breaking(where, fault),)) as line:
        assert line.client.send(message) is False
        assert line.client.ready_state is State.CLOSING
        assert line.client.send("more") is False
        assert line.server.errors() == []
        if ends:
            getattr(line.client, ends)()
        line.settle()
        line.read_all()
        line.peer.close()
        line.settle()
        assert [head for head, _ in line.frames] == ([] if ends == "abort" else [CLOSE])
        assert len(line.server.ends()) == 1
        if ends is None:
            assert line.server.ends() == [(1011, "an extension failed")]
            [error] = line.server.errors()
            assert error.__cause__ is fault
    [record] = caplog.records
    assert record.getMessage().startswith("an extension of <Connection")


@pytest.mark.parametrize("message", ["bad", ["bad", "x"]], ids=["whole", "stream"])
def test_an_extension_that_fails_behind_a_stream_fails_the_connection(message: Any) -> None:
    error = ProtocolError(4444, "no more")
    with Line(codecs=(Breaking("encode", error),)) as line:
        line.stop_reading()
        line.client.send(Parts([bytes(50 * KIB)] * 3).running)
        line.client.send(message)
        line.client.send("lost")
        line.read_all()
        assert line.frames[-1] == (CLOSE, close_payload(4444, "no more"))
        assert line.whole() == [bytes(150 * KIB)]
        assert line.server.errors() == [error]


@pytest.mark.parametrize("message", ["bad", ["bad", "x"]], ids=["whole", "stream"])
@pytest.mark.parametrize("where", ["begin_encode", "encode"])
def test_an_interrupt_out_of_an_extension_fails_the_connection(
    where: str, message: Any
) -> None:
    with Line(codecs=(Breaking(where, KeyboardInterrupt()),)) as line:
        with pytest.raises(KeyboardInterrupt):
            line.client.send(message)
        assert line.client.send("more") is False
        assert line.read_all() == [(CLOSE, close_payload(1011, "internal error"))]
        [error] = line.server.errors()
        assert isinstance(error, InterruptedError)


class Ending(Codec):
    """Ends the connection in the middle of a message."""

    def __init__(self, how: str) -> None:
        self.extension = Extension()
        self.how = how
        self.connection: Connection

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int:
        return 0

    def encode(self, data: bytes, final: bool) -> bytes:
        getattr(self.connection, self.how)()
        return data


@pytest.mark.parametrize("how", ["close", "hang_up", "abort"])
@pytest.mark.parametrize(
    "message",
    ["a", TextMessage("a"), ["a"], "a" * 100],
    ids=["whole", "message", "stream", "fragments"],
)
def test_an_extension_may_end_the_connection_in_the_middle_of_a_message(
    how: str, message: Any
) -> None:
    codec = Ending(how)
    with Line(codecs=(codec,), fragment_size=50, server=Noting) as line:
        codec.connection = line.client
        assert line.client.send(message) is False
        line.read_all()
        line.peer.close()
        line.settle()
        heads = [head for head, _ in line.frames]
        assert CLOSE not in heads[:-1], "something came behind the Close"
        assert (heads[-1:] == [CLOSE]) is (how != "abort")
        # What has begun to leave in parts goes on before a Close of ours.
        goes_on = how == "close" and isinstance(message, (list, str)) and message != "a"
        assert line.server.sent() == ([message] if goes_on else [])
        assert len(line.server.ends()) == 1


@pytest.mark.parametrize("message", ["xxxbad", ["xxx", "bad"]], ids=["fragments", "stream"])
def test_a_message_whose_last_part_fails_was_not_sent(message: Any) -> None:
    codec = Breaking("encode", ValueError())
    with Line(codecs=(codec,), fragment_size=3, server=Noting) as line:
        line.client.send(message)
        line.read_all()
        assert line.server.sent() == []
        assert line.frames[-1][0] == CLOSE


class Keeping(Codec):
    """Keeps all of a message until its end."""

    def __init__(self) -> None:
        self.extension = Extension()
        self.kept = b""

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int:
        return 0

    def encode(self, data: bytes, final: bool) -> bytes:
        self.kept += data
        data, self.kept = (self.kept, b"") if final else (b"", self.kept)
        return data


def test_parts_that_an_extension_keeps_leave_with_the_last() -> None:
    with Line(codecs=(Keeping(),)) as line:
        assert line.client.send(["a", "b", "c"])
        assert line.read_all() == [(TEXT, b"abc")]


# ---- fragment_size ----


@roles
@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("12345", [(TEXT, b"12345")]),
        ("123456", [(BEGIN_TEXT, b"12345"), (END, b"6")]),
        (b"1234567890", [(BEGIN_BINARY, b"12345"), (END, b"67890")]),
        (b"12345678901", [(BEGIN_BINARY, b"12345"), (GO_ON, b"67890"), (END, b"1")]),
        ("a☃☃", [(BEGIN_TEXT, b"a\xe2\x98\x83\xe2"), (END, b"\x98\x83")]),
        (TextMessage("123456"), [(BEGIN_TEXT, b"12345"), (END, b"6")]),
        (BinaryMessage(b"123456"), [(BEGIN_BINARY, b"12345"), (END, b"6")]),
        ("", [(TEXT, b"")]),
        (["1234567"], [(BEGIN_TEXT, b"1234567"), (END, b"")]),
    ],
    ids=str,
)
def test_larger_messages_leave_in_fragments(
    is_client: bool, message: Any, frames: list[tuple[int, bytes]]
) -> None:
    with Line(is_client=is_client, fragment_size=5) as line:
        assert line.client.send(message) is True
        assert line.read_all() == frames
        if not is_client and not isinstance(message, list):
            line.server.broadcast(message)
            assert line.read_all() == frames


def test_fragments_leave_as_the_peer_takes_them_and_a_ping_goes_between() -> None:
    with Line(fragment_size=8 * KIB) as line:
        line.stop_reading()
        assert line.client.send(bytes(MIB // 2)) is False
        assert line.transport.buffered < HIGH_WATER + 9 * KIB
        line.client.ping()
        line.client.send("behind")
        frames = line.read_all()
        assert [head for head, _ in frames].index(PING) < 12
        assert line.whole() == [bytes(MIB // 2), "behind"]
        assert line.server.names().count("ondrain") == 1


def test_fragments_that_fill_the_queue_to_the_last_say_so() -> None:
    with Line(fragment_size=40 * KIB) as line:
        line.stop_reading()
        assert line.client.send(bytes(80 * KIB)) is False
        assert line.client.buffered_amount == line.transport.buffered > 80 * KIB
        line.read_all()
        assert line.server.names() == ["onopen", "ondrain"]
        for message in (["a"], bytes(50 * KIB), "b"):
            assert line.client.send(message) is True
            line.read_all()
        assert line.server.names() == ["onopen", "ondrain"]


def test_ondrain_is_owed_once_for_each_time_that_something_waited() -> None:
    with Line(fragment_size=MIB) as line:
        for times in range(1, 4):
            assert line.client.send(["a"] * 100) is False
            line.read_all()
            assert line.server.names().count("ondrain") == times
            assert line.client.send(["a"]) is True
            line.read_all()
            assert line.server.names().count("ondrain") == times


def test_a_ping_does_not_wait_behind_a_message_in_fragments_and_so_is_not_too_much() -> None:
    with Line(fragment_size=8 * KIB, ping_interval=None) as line:
        line.stop_reading()
        line.client.send(bytes(2 * MIB))
        assert line.client.buffered_amount > 2 * MIB
        line.client.ping()
        line.client.ping()
        line.read_all()
        assert [head for head, _ in line.frames].count(PING) == 2
        assert line.whole() == [bytes(2 * MIB)]


def test_a_fragmented_message_is_compressed_as_one() -> None:
    flip = Flip()
    codec: Any = flip.answer(())[1]
    codec.extension = flip
    with Line(codecs=(codec,), fragment_size=4) as line:
        line.client.send("123456789")
        assert codec.wishes == [(9, None)], "it is asked with the size of the whole"
        assert [head for head, _ in line.read_all()] == [0x21, GO_ON, END]


# ---- what has been sent ----


@roles
def test_what_the_system_has_taken_is_told_once_in_order_and_never_inside_send(
    is_client: bool,
) -> None:
    stream = ["d", "e"]
    text = TextMessage("c")
    messages: list[Any] = ["a", b"b", text, stream, bytearray(b"f"), []]
    with Line(is_client=is_client, server=Noting) as line:
        for message in messages:
            line.client.send(message)
            assert line.server.sent() == []
        line.step()
        assert line.server.sent() == messages
        assert line.server.sent()[2] is text
        assert line.server.sent()[3] is stream
        line.settle()
        assert line.server.sent() == messages


@roles
def test_who_does_not_read_has_been_sent_nothing(is_client: bool) -> None:
    with Line(is_client=is_client, server=Noting) as line:
        line.stop_reading()
        parts = Parts(["x" * KIB] * 3)
        for message in ("a" * 100, parts.running, "b" * 100):
            line.client.send(message)
        line.settle()
        assert line.server.sent() == []
        line.peer.capacity = 50
        line.settle()
        assert line.server.sent() == []
        assert line.transport.departed == 50
        line.read_all()
        assert line.server.sent() == ["a" * 100, parts.running, "b" * 100]


@pytest.mark.parametrize("queued", [False, True], ids=["at once", "later"])
def test_within_a_budget_no_more_is_told_than_there_is_time_for(queued: bool) -> None:
    def take(client: Connection, message: Any) -> None:
        line.clock.advance(1.0)

    with Line(server=Noting, do={"onsent": take}) as line:
        if queued:
            line.stop_reading()
        for number in range(10):
            line.client.send(str(number))
        if queued:
            line.step()
            line.peer.capacity = 1 << 62
        told = []
        while len(line.server.sent()) < 10:
            line.reactor.step(budget=2.5)
            told.append(len(line.server.sent()))
            assert len(told) < 20
        assert [more - less for less, more in zip([0, *told], told) if more > less] == [
            3,
            3,
            3,
            1,
        ]
        assert line.server.sent() == [str(number) for number in range(10)]
        assert line.transport.moved is None


@pytest.mark.parametrize("how", ["abort", "lost"])
def test_what_there_was_no_time_to_tell_is_told_before_the_end(how: str) -> None:
    def take(client: Connection, message: Any) -> None:
        line.clock.advance(1.0)

    with Line(server=Noting, do={"onsent": take}) as line:
        for number in range(5):
            line.client.send(str(number))
        line.reactor.step(budget=0.5)
        assert line.server.sent() == ["0"]
        (line.client.abort if how == "abort" else line.peer.close)()
        line.settle()
        assert line.server.sent() == [str(number) for number in range(5)]
        assert line.server.names() == ["onopen", *["onsent"] * 5, "onclose"]


def test_each_message_is_told_when_its_last_byte_has_left() -> None:
    with Line(server=Noting) as line:
        line.stop_reading()
        for message in ("a" * 98, "b" * 98, "c" * 98):
            line.client.send(message)
            line.step()
        for room, sent in (
            (99, ""),
            (100, "a"),
            (150, "a"),
            (199, "a"),
            (200, "ab"),
            (300, "abc"),
        ):
            line.peer.capacity = room
            line.settle()
            assert [message[0] for message in line.server.sent()] == list(sent)


@pytest.mark.parametrize("first", [98, 70 * KIB])
def test_what_a_handler_sends_in_one_go_is_told_one_by_one(first: int) -> None:
    def send(client: Connection, message: Any) -> None:
        for letter, size in (("a", first), ("b", 98), ("c", 100 * KIB), ("d", 98)):
            client.send(letter * size)

    with Line(server=Noting, do={"onmessage": send}) as line:
        header = 2 if first < 126 else 10
        line.say(TEXT, b"!")
        line.peer.capacity = 0
        for room, sent in (
            (first + header - 1, ""),
            (first + header, "a"),
            (first + header + 99, "a"),
            (first + header + 100, "ab"),
            (first + 60 * KIB, "ab"),
            (first + header + 100 + 100 * KIB + 10, "abc"),
            (1 << 62, "abcd"),
        ):
            line.peer.capacity = room
            line.settle()
            assert [message[0] for message in line.server.sent()] == list(sent)


def test_what_is_sent_while_others_leave_has_its_own_time() -> None:
    with Line(server=Noting) as line:
        line.stop_reading()
        line.client.send("a" * 98)
        line.step()
        line.peer.capacity = 60
        line.step()
        line.client.send("b" * 98)
        line.step()
        line.peer.capacity = 199
        line.settle()
        assert [message[0] for message in line.server.sent()] == ["a"]
        line.peer.capacity = 200
        line.settle()
        assert [message[0] for message in line.server.sent()] == ["a", "b"]


@pytest.mark.parametrize("room", [0, 1, 7, 70, 10_000])
def test_onsent_may_send_the_next_however_little_the_system_takes(room: int) -> None:
    def another(client: Connection, message: Any) -> None:
        if len(line.server.sent()) < 50:
            client.send(f"message {len(line.server.sent())} " * 10)

    with Line(server=Noting, do={"onsent": another}) as line:
        line.peer.capacity = room
        line.client.send("message 0")
        for _ in range(10 * 50 * 150 // (room or 150) if room < 150 else 100):
            line.step()
            line.take()
            line.peer.capacity = room or 1 << 62
        assert len(line.server.sent()) == 50
        assert len(line.whole()) == 50
        assert line.server.errors() == []


def test_a_handler_of_onsent_that_raises_fails_the_connection() -> None:
    with Line(server=Noting, do={"onsent": lambda client, message: 1 / 0}) as line:
        line.stop_reading()
        line.client.send("a")
        line.client.send("b")
        line.settle()
        assert line.server.errors() == []
        line.read_all()
        assert line.frames[-1] == (CLOSE, close_payload(1011, "internal error"))
        assert isinstance(line.server.errors()[0], ZeroDivisionError)
        line.peer.close()
        line.settle()
        assert line.server.ends() == [(1011, "internal error")]


@pytest.mark.parametrize("how", ["close", "abort", "hang_up"])
def test_onsent_may_end_the_connection(how: str) -> None:
    end = lambda client, message: getattr(client, how)()  # noqa: E731
    with Line(server=Noting, do={"onsent": end}) as line:
        line.stop_reading()
        line.client.send("a")
        line.step()
        line.client.send("b")
        line.step()
        line.read_all()
        line.peer.close()
        line.settle()
        assert line.server.names().count("onsent") <= 2
        assert len(line.server.ends()) == 1
        assert line.server.names()[-1] == "onclose"


@pytest.mark.parametrize("number", range(len(ENDS)))
def test_what_is_lost_was_not_sent(number: int) -> None:
    with Line(server=Noting) as line:
        line.client.send("taken")
        line.step()
        line.stop_reading()
        line.client.send("lost " * 100)
        line.client.send(endless().running)
        line.settle()
        ENDS[number](line)
        line.settle()
        line.peer.close()
        line.settle(30)
        assert line.server.sent() == ["taken"]
        assert line.server.names()[-1] == "onclose"


def test_an_interrupt_out_of_onsent_leaves_nothing_to_be_told_behind_the_end() -> None:
    def interrupt(client: Connection, message: Any) -> None:
        raise KeyboardInterrupt

    with Line(server=Noting, do={"onsent": interrupt}) as line:
        line.client.send("a")
        line.client.send("b")
        line.peer.close()
        with pytest.raises(KeyboardInterrupt):
            line.step()
        assert line.server.names() == ["onopen", "onsent", "onclose"]
        line.settle()
        assert line.server.names()[-1] == "onclose"


def test_when_all_is_told_the_transport_tells_nobody() -> None:
    with Line(server=Noting) as line:
        line.stop_reading()
        line.client.send("a")
        line.step()
        assert line.transport.moved is not None
        line.read_all()
        assert line.server.sent() == ["a"]
        assert line.transport.moved is None


def test_what_left_before_the_end_is_told_before_it() -> None:
    with Line(server=Noting) as line:
        line.client.send("taken")
        line.peer.close()
        line.step()
        assert line.server.names() == ["onopen", "onsent", "onclose"]


def test_what_is_sent_to_one_that_is_lost_already_was_not_sent() -> None:
    with Line(server=Noting) as line:
        for _ in range(70):
            line.say(TEXT, b"more than is handled in a step")
        line.step()
        assert len(line.server.messages()) == 64
        line.server.do["onmessage"] = Connection.send
        line.transport.abort()  # as TLS does when a record is bad
        line.settle()
        assert len(line.server.messages()) == 70
        assert line.server.sent() == []
        assert line.server.names()[-1] == "onclose"


def test_what_is_queued_for_a_peer_that_closes_is_told_when_it_has_left() -> None:
    with Line(server=Noting) as line:
        line.stop_reading()
        line.client.send("queued")
        line.say(CLOSE, close_payload(1000))
        line.settle()
        assert line.server.sent() == []
        line.read_all()
        line.peer.close()
        line.settle()
        assert line.server.names() == ["onopen", "onsent", "onclose"]


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("ends", [False, True], ids=["read at last", "dropped"])
def test_over_tcp_and_tls_what_the_peer_does_not_take_is_not_told(
    net: Net, secure: bool, ends: bool
) -> None:
    told: list[Any] = []
    options = {
        "onsent": lambda client, message: told.append(message),
        "max_write_queue": 1 << 30,
    }
    client, server = net.meet(secure, server=options, max_message=10 * MIB)
    client.pause()
    connection = next(iter(server.clients))
    big = [bytes([number]) * (4 * MIB) for number in range(8)]
    for message in (b"small", *big[:7]):
        connection.send(message)
        assert told == []
    connection.send([big[7], b"last"])
    net.until(lambda: told)
    net.settle()
    assert told[0] == b"small"
    taken = len(told)
    assert taken < 5, "the system cannot have taken so much"
    if ends:
        client.abort()
        net.until(lambda: server.ends())
        assert len(told) < 9
        assert told[1:] == big[: len(told) - 1]
    else:
        client.resume()
        net.until(lambda: len(told) == 9)
        assert told == [b"small", *big[:7], [big[7], b"last"]]
        net.until(lambda: len(client.messages()) == 9)
        assert client.messages()[-1] == big[7] + b"last"


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_over_tcp_and_tls_what_a_handler_sends_is_told_in_order(net: Net, secure: bool) -> None:
    told: list[Any] = []
    messages = ["small", "x" * 100 * KIB, ["in ", "parts"], b"", "y" * MIB, "last"]
    options: dict[str, Any] = {
        "onsent": lambda client, message: told.append(message),
        "onmessage": lambda client, message: [client.send(each) for each in messages],
        "max_write_queue": 10 * MIB,
    }
    client, _ = net.meet(secure, server=options, max_message=10 * MIB)
    client.send("!")
    net.until(lambda: len(told) == len(messages))
    assert told == messages
    net.until(lambda: len(client.messages()) == len(messages))
    assert client.messages()[-1] == "last"


def test_without_onsent_what_waits_is_not_kept_twice() -> None:
    message = "x" * MIB
    with Line(max_write_queue=10 * MIB) as line:
        line.stop_reading()
        line.client.send(endless().running)
        tracemalloc = pytest.importorskip("tracemalloc")  # CPython's alone
        tracemalloc.start()
        try:
            line.client.send(message[1:])
            assert tracemalloc.get_traced_memory()[0] < 1.2 * MIB
        finally:
            tracemalloc.stop()


# ---- any order of calls and events ----


class Faults(logging.Handler):
    """Keeps what was raised and logged that is not the user's doing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not ZeroDivisionError:
            self.found.append(self.format(record))


class AnyOrder(RuleBasedStateMachine):
    """One connection that sends messages and streams, and whatever the peer and the user do."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        logging.getLogger("reactor").addHandler(self.faults)
        self.sent: list[Any] = []
        self.given: list[Any] = []
        self.streams: list[Parts] = []
        self.acts: list[str] = []
        self.inside = False
        self.line: Line

    @initialize(is_client=st.booleans(), size=st.sampled_from([None, 700]), tells=st.booleans())
    def set_out(self, is_client: bool, size: int | None, tells: bool) -> None:
        events = ("onmessage", "onping", "onpong", "ondrain", "onerror", "onclose", "onsent")
        self.line = Line(
            is_client=is_client,
            server=Noting if tells else Recorder,
            do=dict.fromkeys(events, self.act),
            fragment_size=size,
            overflow="error",
            max_write_queue=90_000,
        )
        self.line.peer.capacity = 3000

    def act(self, client: Connection, *args: object) -> None:
        assert not self.inside, "an event came from inside a call"
        if self.acts:
            self.call(self.acts.pop())

    def call(self, name: str) -> None:
        client, before = self.line.client, self.inside
        self.inside = True
        try:
            if name == "send":
                self.send(f"{len(self.given)} {'x' * (len(self.given) % 5 * 500)}")
            elif name == "stream":
                self.stream(["part", "of", str(len(self.given))])
            elif name == "raise":
                raise ZeroDivisionError
            else:
                getattr(client, name)()
        finally:
            self.inside = before

    def send(self, message: Any) -> None:
        client, before = self.line.client, self.inside
        self.inside = True
        try:
            if client.ready_state is State.OPEN:
                place = len(self.given)
                self.given.append(message)
                try:
                    client.send(message.running if isinstance(message, Parts) else message)
                except QueueFull:
                    del self.given[place]
        finally:
            self.inside = before

    def stream(self, parts: list[Any]) -> None:
        acting = [
            after(functools.partial(self.call, part[1:]), "!") if part[:1] == "=" else part
            for part in parts
        ]
        parts_ = Parts(acting)
        self.streams.append(parts_)
        self.send(parts_)

    calls = st.sampled_from(["send", "send", "stream", "ping", "close", "pause", "resume"])
    ends = st.sampled_from(["raise", "abort", "hang_up"])

    @rule(name=calls)
    def the_user_calls(self, name: str) -> None:
        self.call(name)

    @rule(name=ends, sure=st.integers(0, 9))
    def the_user_ends_it(self, name: str, sure: int) -> None:
        if sure == 0 and name != "raise":
            self.call(name)

    @rule(name=st.one_of(calls, ends))
    def the_next_handler_calls(self, name: str) -> None:
        self.acts.append(name)

    @rule(
        parts=st.lists(
            st.one_of(
                st.sampled_from(["", "a", "☃" * 400, "b" * 3000]),
                st.sampled_from(["=send", "=stream", "=ping", "=pause", "=resume"]),
                st.sampled_from(["=close", "=raise", "=abort", "=hang_up", *"cde"]),
            ),
            max_size=6,
        ),
        times=st.sampled_from([1, 1, 1, 30]),
    )  # fmt: skip
    def the_user_streams(self, parts: list[str], times: int) -> None:
        self.stream([part for _ in range(times) for part in parts])

    def peer_is_there(self) -> bool:
        return not self.line.peer.closed

    @precondition(peer_is_there)
    @rule(size=st.integers(1, 9000))
    def the_peer_reads(self, size: int) -> None:
        self.line.take(size)

    @precondition(peer_is_there)
    @rule(head=st.sampled_from([TEXT, PING, PONG, TEXT, PING, PONG, CLOSE, 0xF1]))
    def the_peer_sends(self, head: int) -> None:
        try:
            self.line.say(head, b"" if head == CLOSE else b"data")
        except OSError:
            return

    @precondition(peer_is_there)
    @rule(sure=st.integers(0, 5), reset=st.booleans())
    def the_peer_leaves(self, sure: int, reset: bool) -> None:
        if sure == 0:
            self.line.take()
            (self.line.peer.reset if reset else self.line.peer.close)()

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.0, 1.0, 12.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.line.clock.advance(seconds)
        self.line.step()

    @invariant()
    def the_events_are_in_order(self) -> None:
        if not hasattr(self, "line"):
            return
        names = self.line.server.names()
        assert names.count("onclose") <= 1
        assert "onclose" not in names[:-1]
        assert self.line.client.buffered_amount >= self.line.transport.buffered
        assert all(parts.closed <= 1 for parts in self.streams)

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        line = self.line
        self.acts.clear()
        line.client.resume()
        for _ in range(40):
            if not line.peer.closed:
                line.read_all()
                if line.client.ready_state is State.CLOSED:
                    line.peer.close()
            elif line.server.ends():
                break
            if line.client.ready_state is State.OPEN:
                line.client.close()
            line.clock.advance(1.0)
            line.settle()
        assert len(line.server.ends()) == 1
        logging.getLogger("reactor").removeHandler(self.faults)
        line.reactor.close()
        assert self.faults.found == []
        self.the_wire_is_right()

    def the_wire_is_right(self) -> None:
        line = self.line
        heads = [head for head, _ in line.frames]
        assert CLOSE not in heads[:-1], "something came behind the Close"
        came = line.whole()
        given = [message for message in self.given if not is_empty(message)]
        for message, whole in zip(given, came):
            if isinstance(message, Parts):
                assert message.closed
            else:
                assert whole == message
        assert len(came) <= len(given)
        # What had no part was not closed if it was not begun; nobody can begin with it now.
        for parts in self.streams:
            assert parts not in self.given or next(parts.running, None) is None
        told = [entry[1] for entry in line.server.log if entry[0] == "onsent"]
        running = [m.running if isinstance(m, Parts) else m for m in self.given]
        assert told == running[: len(told)]
        assert len([m for m in told if isinstance(m, str)]) <= len(came)


def is_empty(message: Any) -> bool:
    return isinstance(message, Parts) and message.closed == 1 and message.asked == 0


AnyOrder.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


TestAnyOrderOfStreamsAndEventsKeepsThePromises = AnyOrder.TestCase
