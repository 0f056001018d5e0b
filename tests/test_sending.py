"""`reactor/sending.py`: the half of a connection that sends."""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    BinaryMessage,
    Connection,
    InvalidState,
    Message,
    PerMessageDeflate,
    QueueFull,
    State,
    TextMessage,
)
from reactor.loop.transport import HIGH_WATER, Transport
from reactor.protocol.extended import ExtendedSession
from reactor.sending import post
from tests.extended import ExtendedVisitor, Flip
from tests.line import KIB, Line, Noting
from tests.recorder import BINARY, CLOSE, PING, PONG, TEXT, Recorder, meet

if TYPE_CHECKING:
    from collections.abc import Callable

roles = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


class Text(str):
    __slots__ = ()


# ---- what can be sent ----


@roles
@pytest.mark.parametrize(
    ("message", "head", "payload"),
    [
        ("☃", TEXT, "☃".encode()),
        (b"b", BINARY, b"b"),
        ("", TEXT, b""),
        (b"", BINARY, b""),
        (bytearray(b"array"), BINARY, b"array"),
        (memoryview(b"view")[1:3], BINARY, b"ie"),
        (Text("text"), TEXT, b"text"),
        (TextMessage("text"), TEXT, b"text"),
        (TextMessage("☃".encode()), TEXT, "☃".encode()),
        (BinaryMessage(b"binary"), BINARY, b"binary"),
        (Message(1, b"text"), TEXT, b"text"),
        ("x" * 70_000, TEXT, b"x" * 70_000),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("compress", [None, True, False])
def test_a_message_leaves_as_one_frame(
    is_client: bool, message: Any, head: int, payload: bytes, compress: bool | None
) -> None:
    with Line(is_client=is_client) as line:
        assert line.client.send(message, compress) is True
        assert line.read_all() == [(head, payload)]
        if not is_client:
            line.server.broadcast(message, compress=compress)
            assert line.read_all() == [(head, payload)]


WRONG: list[Any] = [
    None, 5, 1.5, {"a": 1}, {}, object(), array("B", b"abc"), array("I", [1]),
    memoryview(array("I", [1])), memoryview(b"abcd")[::2], "\ud800", Text("\udfff"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_what_cannot_be_sent_raises_at_the_call_and_sends_nothing(
    wrong: Any, busy: bool
) -> None:
    with Line() as line:
        if busy:
            line.stop_reading()
            line.client.send(["a" * 100_000, "b"])
        waiting = line.client.buffered_amount
        with pytest.raises((TypeError, ValueError)):
            line.client.send(wrong)
        assert line.client.buffered_amount == waiting
        assert line.client.ready_state is State.OPEN
        line.read_all()
        assert line.whole() == ["a" * 100_000 + "b"] * busy


@pytest.mark.parametrize("wrong", [None, 5, ["a"], iter("a"), {"a": 1}, array("B", b"abc")])
def test_what_cannot_be_sent_to_all_raises_at_the_call(wrong: Any) -> None:
    with Line() as line:
        with pytest.raises(TypeError):
            line.server.broadcast(wrong)
        assert line.read_all() == []


# ---- the plain path ----


def outbox(line: Line) -> object:
    return line.client._outbox


@roles
def test_a_plain_connection_has_an_outbox_for_as_long_as_it_streams(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        for message in ("a", b"b", bytearray(b"c"), TextMessage("d")):
            line.client.send(message)
            line.client.ping()
            assert outbox(line) is None
        assert line.client.send(["a", "b"]) is True
        assert outbox(line) is None
        line.stop_reading()
        assert line.client.send(["a" * 100 * KIB, "b"]) is False
        line.client.send("behind")
        assert outbox(line) is not None
        line.read_all()
        assert outbox(line) is None
        assert line.client.send("plain again")
        assert line.read_all() == [(TEXT, b"plain again")]


def test_an_outbox_whose_last_message_fills_the_queue_goes_when_it_is_written() -> None:
    with Line() as line:
        line.stop_reading()
        line.client.send(["a" * 100 * KIB, "b"])
        line.client.send("x" * 100 * KIB)
        while outbox(line) is not None:
            line.peer.capacity += KIB
            line.step()
        assert line.transport.choked
        assert line.server.names() == ["onopen"]
        line.read_all()
        assert line.server.names() == ["onopen", "ondrain"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_stream_for_a_connection_that_ends_is_not_begun_and_leaves_nothing(how: str) -> None:
    numbers = iter(range(3))
    parts = (str(number) for number in numbers)
    with Line() as line:
        getattr(line.client, how)()
        assert line.client.send(parts) is False
        assert outbox(line) is None
        assert next(parts) == "0", "it is still the user's"


def test_before_it_is_open_nothing_is_sent() -> None:
    class Eager(Connection):
        def __init__(self, opened: Any) -> None:
            super().__init__(opened)
            assert self.ready_state is State.CONNECTING
            for message in ("a", b"b", bytearray(b"c"), ["d"], TextMessage("e")):
                assert self.send(message) is False
            self.ping()
            assert self._outbox is None

    with Line(kind=Eager) as line:
        assert line.read_all() == []
        assert line.client.send("in time")


@pytest.mark.parametrize(
    "options",
    [{"fragment_size": 4}, {"server": Noting}, {"codecs": True}],
    ids=["fragment_size", "onsent", "extensions"],
)
def test_a_connection_that_needs_an_outbox_for_every_message_keeps_it(
    options: dict[str, Any],
) -> None:
    if options.get("codecs"):
        flip = Flip()
        codec = flip.agree(())
        codec.extension = flip
        options = {"codecs": (codec,)}
    with Line(**options) as line:
        kept = outbox(line)
        assert kept is not None
        line.client.send("abc")
        line.client.send(["d", "e"])
        line.read_all()
        assert outbox(line) is kept


def test_it_shows_what_it_is_made_of() -> None:
    flip = Flip()
    codec = flip.agree(())
    codec.extension = flip
    with Line(codecs=(codec,)) as line:
        assert line.client.reactor is line.reactor
        assert line.client.codecs == (codec,)
        assert not line.client.is_client
        assert isinstance(line.client._session, ExtendedSession)
    with Line(is_client=True) as line:
        assert line.client.codecs == ()
        assert line.client.is_client
        assert not isinstance(line.client._session, ExtendedSession)


# ---- the queue ----


def test_the_queue_is_counted_and_send_says_when_it_is_long() -> None:
    with Line() as line:
        line.stop_reading()
        assert line.client.send(bytes(HIGH_WATER - 4)) is True
        assert line.client.buffered_amount == HIGH_WATER
        assert line.client.send(b"") is False
        assert line.client.buffered_amount == HIGH_WATER + 2
        line.read_all()
        assert line.client.buffered_amount == 0
        assert line.server.names() == ["onopen", "ondrain"]


def fill(line: Line, size: int) -> None:
    """Have `size` bytes in the queue."""
    line.stop_reading()
    line.client.send(bytes(size - (8 if line.client.is_client else 4)))
    assert line.client.buffered_amount == size


SENDERS: dict[str, Callable[[Connection], object]] = {
    "short": lambda client: client.send(bytes(100)),
    "bytes": lambda client: client.send(bytes(KIB)),
    "large": lambda client: client.send(bytes(64 * KIB)),
    "bytearray": lambda client: client.send(bytearray(KIB)),
    "message": lambda client: client.send(BinaryMessage(bytes(KIB))),
    "ping": lambda client: client.ping(bytes(100)),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("policy", ["close", "skip", "error"])
@pytest.mark.parametrize("fragment_size", [None, 40 * KIB], ids=["plain", "outbox"])
def test_what_is_too_much_for_the_queue_meets_the_policy(
    sender: str, policy: str, fragment_size: int | None
) -> None:
    send = SENDERS[sender]
    with Line(max_write_queue=20 * KIB, overflow=policy, fragment_size=fragment_size) as line:
        fill(line, 20 * KIB - 50)
        assert line.transport.tally.messages_sent == 1
        if policy == "error":
            with pytest.raises(QueueFull) as caught:
                send(line.client)
            assert caught.value.limit == 20 * KIB < caught.value.size
        else:
            assert not send(line.client)
        assert line.transport.tally.messages_sent == 1
        assert line.server.errors() == []
        line.settle()
        if policy == "close":
            [error] = line.server.errors()
            assert line.server.ends() == [(1006, str(error))]
        else:
            assert line.read_all() == [(BINARY, bytes(20 * KIB - 54))]
            assert line.client.send(bytes(30 * KIB)), (
                "one larger is allowed into an empty queue"
            )


def test_what_is_corked_does_not_count_while_the_peer_takes_it() -> None:
    def answer(client: Connection, message: Any) -> None:
        for _ in range(10):
            assert client.send(bytearray(KIB))
            assert client.send(bytes(KIB))
            assert client.send(bytes(KIB))
            assert 0 < client.buffered_amount <= 3 * KIB, "it is known what has left"

    with Line(max_write_queue=3 * KIB, do={"onmessage": answer}) as line:
        line.say(TEXT, b"?")
        assert [len(payload) for _, payload in line.read_all()] == [KIB] * 30
        assert line.client.buffered_amount == 0


@roles
@pytest.mark.parametrize("corked", [False, True])
@pytest.mark.parametrize("message", [bytes(range(256)) * 512, "☃" * 30_000], ids=["b", "t"])
def test_a_large_message_is_sent_without_a_copy(
    is_client: bool, corked: bool, message: Any
) -> None:
    with Line(is_client=is_client) as line:
        if corked:
            line.transport.cork()
        assert line.client.send("before")
        assert line.client.send(message)
        assert line.client.send("after")
        if corked:
            line.transport.uncork()
        data = message.encode() if isinstance(message, str) else message
        head = TEXT if isinstance(message, str) else BINARY
        assert line.read_all() == [(TEXT, b"before"), (head, data), (TEXT, b"after")]
        assert line.transport.tally.messages_sent == 3
        line.stop_reading()
        assert line.client.send(message) is False
        header = 14 if is_client else 10
        assert line.client.buffered_amount == header + len(data)
        line.client.close()
        assert line.client.send(message) is False
        assert [payload for _, payload in line.read_all()][:-1] == [data]


@roles
@pytest.mark.parametrize("corked", [False, True])
@pytest.mark.parametrize("at", [1, 2], ids=["header", "payload"])
def test_a_large_message_that_is_interrupted_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, is_client: bool, corked: bool, at: int
) -> None:
    write, calls = Transport.write, []

    def interrupted(transport: Transport, data: bytes | bytearray) -> bool:
        calls.append(len(data))
        if len(calls) == at:
            raise KeyboardInterrupt
        return write(transport, data)

    with Line(is_client=is_client) as line:
        if corked:
            line.transport.cork()
        monkeypatch.setattr(Transport, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            line.client.send(bytes(64 * KIB))
        monkeypatch.undo()
        assert line.client.send("after") is False
        line.settle()
        assert line.server.ends() == [(1006, "interrupted")]
        assert [type(error) for error in line.server.errors()] == [InterruptedError]
        assert not line.peer.inbox


def test_what_answers_the_last_words_of_a_peer_that_is_gone_is_not_sent() -> None:
    answers: list[tuple[bool, int]] = []

    def answer(client: Connection, message: str) -> None:
        answers.append((client.send(message), client.buffered_amount))

    with Line(do={"onmessage": answer}) as line:
        line.say(TEXT, b"last")
        line.say(TEXT, b"words")
        line.peer.close()
        assert line.client.send("to nobody") is False
        line.settle()
        assert answers == [(False, 0)] * 2


def test_a_broadcast_leaves_out_who_is_closing() -> None:
    with Line() as line:
        line.server.broadcast("in time")
        line.client.close()
        line.server.broadcast("late")
        assert [head for head, _ in line.read_all()] == [TEXT, CLOSE]
        assert line.transport.tally.messages_sent == 1


def test_a_broadcast_skips_who_has_no_room_by_the_policy_error() -> None:
    with Line(max_write_queue=20 * KIB, overflow="error") as line:
        fill(line, 20 * KIB - 50)
        line.server.broadcast(bytes(100))
        line.client.send(b"")
        assert [len(payload) for _, payload in line.read_all()] == [20 * KIB - 54, 0]


@roles
@pytest.mark.parametrize("outboxed", [False, True], ids=["plain", "outbox"])
def test_what_was_held_is_sent_without_regard_to_the_limit(
    is_client: bool, outboxed: bool
) -> None:
    size = 30 * KIB if outboxed else None
    with Line(
        is_client=is_client, max_write_queue=20 * KIB, overflow="error", fragment_size=size
    ) as line:
        fill(line, 20 * KIB)
        held = "held " * 7 * KIB
        assert line.client.send_held(held, TextMessage(held), None) is True
        stream = ["in ", "parts"]
        line.client.send_held(stream, None, None)
        line.client.send_held("last", TextMessage("last"), None)
        line.read_all()
        assert line.whole()[1:] == [held, "in parts", "last"]


@roles
def test_a_stream_that_was_held_makes_its_outbox(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        assert line.client.send_held(["a"], None, None) is True
        assert outbox(line) is None
        line.read_all()
        assert line.whole() == ["a"]


# ---- pings and pongs ----


@roles
def test_a_ping_leaves_while_it_is_open(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        line.client.ping(b"?")
        with pytest.raises(TypeError):
            line.client.ping("text")  # type: ignore[arg-type]
        line.client.close()
        line.client.ping(b"too late")
        assert [head for head, _ in line.read_all()] == [PING, CLOSE]


@roles
def test_the_pong_that_waits_leaves_when_the_queue_is_empty(is_client: bool) -> None:
    with Line(is_client=is_client) as line:
        fill(line, KIB)
        line.say(PING, b"1")
        line.say(PING, b"2")
        line.settle()
        assert [head for head, _ in line.read_all()] == [BINARY, PONG]
        assert line.frames[-1] == (PONG, b"2")


# ---- a message to many ----


def test_a_message_to_many_is_framed_once() -> None:
    message = BinaryMessage(bytes(1000))
    with meet() as peer:
        for _ in range(3):
            peer.server.broadcast(message)
        peer.settle()
        assert peer.received == [bytes(1000)] * 3
        assert list(message.forms) == [None]


def test_a_message_to_many_waits_behind_a_stream_and_not_behind_our_close() -> None:
    with Line() as line:
        line.stop_reading()
        line.client.send(["a" * 100 * KIB, "b"])
        line.server.broadcast("to all")
        line.client.close()
        assert line.client.ready_state is State.CLOSING
        line.server.broadcast("too late")
        assert line.client.send("too late") is False
        assert line.read_all()[-1][0] == CLOSE
        assert line.whole() == ["a" * 100 * KIB + "b", "to all"]


def test_onsent_is_guarded() -> None:
    with Line(server=Noting, do={"onsent": lambda client, message: 1 / 0}) as line:
        line.client.send("a")
        line.settle()
        assert isinstance(line.server.errors()[0], ZeroDivisionError)


def test_through_extensions_both_sides_understand_each_other() -> None:
    peer = meet(extensions=[PerMessageDeflate(threshold=0)])
    peer.sock.close()
    visitor = ExtendedVisitor(peer.server, peer.clock, [PerMessageDeflate()])
    with visitor:
        client = visitor.server.met[-1]
        for message in ("a" * 1000, b"b", TextMessage("c"), ["d", "e"], bytearray(b"f")):
            assert client.send(message)
            visitor.speak("echo " * 100)
        assert visitor.received == ["a" * 1000, b"b", "c", "de", b"f"]
        assert visitor.server.messages() == ["echo " * 100] * 5


def test_a_connection_with_onfragment_gets_parts() -> None:
    class Parted(Recorder):
        def onfragment(self, client: Connection, data: Any, final: bool) -> None:
            self._note("onfragment", client, data, final)

    with Line(server=Parted, max_message=2) as line:
        line.say(0x01, b"abc")
        line.say(0x80, b"def")
        line.say(BINARY, b"ghi")
        line.settle()
        assert line.server.log[1:] == [
            ("onfragment", "abc", False),
            ("onfragment", "def", True),
            ("onfragment", b"ghi", True),
        ]


# ---- from other threads ----


class Threads:
    """Runs something in a thread of its own, and waits for its end."""

    def __call__(self, work: Callable[[], object]) -> list[BaseException]:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except Exception as error:
                errors.append(error)

        worker = threading.Thread(target=run)
        worker.start()
        worker.join()
        return errors


@roles
def test_any_thread_can_have_messages_sent_in_their_order(is_client: bool) -> None:
    array = bytearray(b"before")
    messages: list[Any] = ["text", b"binary", array, TextMessage("whole"), iter(["par", "ts"])]
    with Line(is_client=is_client) as line:

        def work() -> None:
            for message in messages:
                line.client.send_threadsafe(message)
            array[:] = b"after!"

        assert Threads()(work) == []
        assert not line.peer.inbox, "it is sent by the reactor's thread"
        line.settle()
        assert line.read_all() == [
            (TEXT, b"text"),
            (BINARY, b"binary"),
            (BINARY, b"before"),
            (TEXT, b"whole"),
            (0x01, b"par"),
            (0x00, b"ts"),
            (0x80, b""),
        ]


def test_what_cannot_be_sent_raises_in_the_thread_that_asks() -> None:
    with Line() as line:
        (error,) = Threads()(lambda: line.client.send_threadsafe(5))  # type: ignore[arg-type]
        assert isinstance(error, TypeError)
        line.settle()
        assert line.read_all() == []


def test_a_message_for_one_that_has_ended_is_dropped_and_for_a_closed_reactor_refused() -> None:
    with Line() as line:
        line.client.abort()
        line.settle()
        assert Threads()(lambda: line.client.send_threadsafe("late")) == []
        line.settle()
    (error,) = Threads()(lambda: line.client.send_threadsafe("too late"))
    assert isinstance(error, InvalidState)


def test_send_from_another_thread_raises_in_a_step_and_sends_nothing() -> None:
    errors: list[BaseException] = []
    with Line() as line:
        line.reactor.call_soon(lambda: errors.extend(Threads()(lambda: line.client.send("x"))))
        line.settle()
        assert [type(error) for error in errors] == [RuntimeError]
        assert "from a thread other than its own" in str(errors[0])
        assert line.read_all() == []
        line.client.send("mine")
        assert line.read_all() == [(TEXT, b"mine")]


# ---- pings ----


def test_a_ping_without_a_payload_carries_the_time() -> None:
    with Line() as line:
        for _ in range(2):
            line.client.ping()
        frames = line.read_all()
        assert [head for head, _ in frames] == [PING, PING]
        assert len({payload for _, payload in frames}) == 2
        assert all(len(payload) == 12 for _, payload in frames)


def test_a_message_to_many_of_which_the_system_takes_a_part_is_sent_to_its_end() -> None:
    with Line() as line:
        line.transport.sock.chunk = 3  # type: ignore[attr-defined]
        line.server.broadcast("one, in two pieces at once")
        assert line.client.buffered_amount == 28 - 2 * 3
        line.server.broadcast("two")
        line.settle()
        assert line.read_all() == [(TEXT, b"one, in two pieces at once"), (TEXT, b"two")]
        tally = line.transport.tally
        assert (tally.messages_sent, tally.bytes_sent) == (2, 28 + 5)


def test_a_message_to_many_of_which_the_system_takes_nothing_waits() -> None:
    with Line() as line:
        line.stop_reading()
        for word in ("one", "two"):
            line.server.broadcast(word)
        assert line.client.buffered_amount == 10
        assert line.read_all() == [(TEXT, b"one"), (TEXT, b"two")]
        tally = line.transport.tally
        assert (tally.messages_sent, tally.bytes_sent) == (2, 10)


def test_a_message_to_many_ends_who_cannot_be_sent_to() -> None:
    error = ConnectionResetError(104, "Connection reset by peer")
    ends: list[object] = []
    with Line(do={"onerror": lambda client, error: ends.append(error)}) as line:
        line.transport.sock.failure = error  # type: ignore[attr-defined]
        for word in ("one", "two"):
            line.server.broadcast(word)
        line.settle()
        assert ends == [error]
        assert not line.server.clients
        tally = line.transport.tally
        assert (tally.messages_sent, tally.bytes_sent) == (2, 0)


def test_whoever_handles_a_message_gets_what_is_sent_to_many_in_its_order() -> None:
    def answer(client: Any, message: str) -> None:
        client.send("before")
        client.server.broadcast("to all")
        client.send("after")

    with Line(do={"onmessage": answer}) as line:
        line.say(TEXT, b"?")
        line.settle()
        assert [payload for _, payload in line.read_all()] == [b"before", b"to all", b"after"]


def test_those_who_read_slowly_share_the_frame_of_a_message_to_many() -> None:
    lines = [Line() for _ in range(8)]
    message = TextMessage("x" * 100_000)
    frame = message.pack()
    for line in lines:
        line.transport.sock.chunk = 1000  # type: ignore[attr-defined]
    post([line.client for line in lines], lines[0].transport.tally, frame, message, None)
    for line in lines:
        assert line.transport._backlog is not None
        [rest] = line.transport._backlog
        assert isinstance(rest, memoryview)
        assert rest.obj is frame
        assert line.client.buffered_amount == len(rest) == len(frame) - 2 * 1000
        line.reactor.close()
