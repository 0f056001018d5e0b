from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest

from reactor import (
    Client,
    ConnectionClosed,
    HandshakeError,
    InvalidState,
    ProtocolError,
    Reactor,
    Server,
    State,
)
from reactor.guests import AsyncioGuest
from reactor.guests.streams import AsyncConnection
from tests.loop.helpers import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reactor import Connection

KIB = 1024


class Stage:
    """A server and its clients, in one reactor that is asyncio's guest."""

    def __init__(self, guest: AsyncioGuest) -> None:
        self.guest = guest
        self.server: Server | None = None
        self.closed: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    def serve(self, **options: Any) -> str:
        """Start a server, an echo unless the options say otherwise; return its URI."""
        handlers: dict[str, Any] = {
            "onmessage": lambda client, message: client.send(message),
            "onclose": lambda client, code, reason: self.closed.put_nowait((code, reason)),
            "onerror": lambda client, error: None,
        }
        self.server = Server(
            ("127.0.0.1", 0), reactor=self.guest.reactor, **{**handlers, **options}
        )
        return f"ws://127.0.0.1:{self.server.addresses[0][1]}/"

    def connection(self) -> Connection:
        """The server's side of the only connection."""
        assert self.server is not None
        (connection,) = self.server.clients
        return connection


def play(scene: Callable[[Stage], Awaitable[Any]]) -> None:
    async def main() -> None:
        with Reactor() as reactor, AsyncioGuest(reactor) as guest:
            await asyncio.wait_for(scene(Stage(guest)), PATIENCE)

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; the test is given up if it never does."""
    while not condition():
        await asyncio.sleep(0.001)  # of what other tasks and the network do there is no event


async def settled(reactor: Reactor) -> None:
    """Wait until the reactor has nothing to do, three rounds of the loop in a row."""
    quiet = 0
    while quiet < 3:
        await asyncio.sleep(0)
        ready = select.select([reactor.fileno()], [], [], 0)[0]
        quiet = 0 if ready or reactor.next_timeout() == 0 else quiet + 1


# ---- messages ----


def test_text_and_binary_go_there_and_back() -> None:
    async def scene(stage: Stage) -> None:
        uri = stage.serve(subprotocols=["v2"])
        connection = await stage.guest.connect(uri, subprotocols=["v1", "v2"])
        assert isinstance(connection, AsyncConnection)
        assert connection.subprotocol == "v2"
        assert not connection.close_code
        assert repr(connection) == f"<AsyncConnection of {connection.client!r}>"
        for message in ("text", b"binary", "", b"", bytes(300 * KIB)):
            await connection.send(message)
            assert await connection.recv() == message
        await connection.send(iter(["in ", "parts"]))
        assert await connection.recv() == "in parts"
        await connection.close(4000, "enough")
        assert (connection.close_code, connection.close_reason) == (4000, "enough")
        assert await stage.closed.get() == (4000, "enough")

    play(scene)


def test_the_options_of_a_client_and_three_of_its_handlers_are_taken() -> None:
    async def scene(stage: Stage) -> None:
        ponged: asyncio.Queue[bytes] = asyncio.Queue()
        uri = stage.serve(onrequest=lambda request: {"X-Token": request.headers["X-Token"]})
        async with stage.guest.connect(
            uri,
            headers={"X-Token": "secret"},
            onpong=lambda client, payload: ponged.put_nowait(payload),
        ) as connection:
            assert connection.client.response is not None
            assert connection.client.response.headers["X-Token"] == "secret"
            connection.client.ping(b"hello")
            assert await ponged.get() == b"hello"

    play(scene)


@pytest.mark.parametrize("code", [1000, 1001])
def test_an_end_as_it_should_be_ends_the_iteration(code: int) -> None:
    async def scene(stage: Stage) -> None:
        def onopen(client: Connection) -> None:
            for number in range(100):
                client.send(str(number))
            client.close(code)

        uri = stage.serve(onopen=onopen)
        async with stage.guest.connect(uri) as connection:
            assert [message async for message in connection] == [str(n) for n in range(100)]
            assert [message async for message in connection] == []
            for _ in range(2):
                with pytest.raises(ConnectionClosed) as caught:
                    await connection.recv()
                assert caught.value.code == code

    play(scene)


def test_a_close_without_a_code_ends_the_iteration_too() -> None:
    async def scene(stage: Stage) -> None:
        uri = stage.serve()
        connection = await stage.guest.connect(uri)
        stage.connection()._transport.write(b"\x88\x00")
        assert [message async for message in connection] == []
        assert connection.close_code == 1005

    play(scene)


@pytest.mark.parametrize("code", [1011, 4001])
def test_another_end_raises_when_all_messages_have_been_received(code: int) -> None:
    async def scene(stage: Stage) -> None:
        def onopen(client: Connection) -> None:
            client.send("last words")
            client.close(code, "kicked out")

        connection = await stage.guest.connect(stage.serve(onopen=onopen))
        assert await connection.__anext__() == "last words"
        with pytest.raises(ConnectionClosed, match="kicked out") as caught:
            await connection.__anext__()
        assert caught.value.code == code

    play(scene)


def test_an_iteration_ends_when_somebody_else_here_closes() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        received: list[str] = []

        async def receive() -> None:
            async for message in connection:
                received.append(message)  # noqa: PERF401 - each is to be seen as it comes

        receiving = asyncio.create_task(receive())
        await connection.send("hello")
        await until(lambda: received)
        await connection.close(4001, "of our own")
        await receiving
        assert received == ["hello"]

    play(scene)


def test_of_several_who_receive_each_message_goes_to_one_and_the_end_to_all() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        receiving = [asyncio.create_task(connection.recv()) for _ in range(4)]
        await asyncio.sleep(0)
        await connection.send("one")
        await connection.send("two")
        await until(lambda: sum(task.done() for task in receiving) == 2)
        assert [task.result() for task in receiving[:2]] == ["one", "two"]
        await connection.close()
        for task in receiving[2:]:
            with pytest.raises(ConnectionClosed):
                await task

    play(scene)


def test_who_stops_waiting_for_a_message_takes_none_with_him() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        receiving = asyncio.create_task(connection.recv())
        await asyncio.sleep(0)
        receiving.cancel()
        await connection.send("hello")
        assert await connection.recv() == "hello"
        assert receiving.cancelled()

    play(scene)


# ---- backpressure ----


@pytest.mark.parametrize("limit", [1, 2, 16])
def test_no_more_messages_wait_than_were_asked_for_and_none_is_lost(limit: int) -> None:
    async def scene(stage: Stage) -> None:
        def onopen(client: Connection) -> None:
            for number in range(200):
                client.send(str(number))

        connection = await stage.guest.connect(stage.serve(onopen=onopen), max_waiting=limit)
        for number in range(200):
            await until(connection._messages.qsize)
            assert connection._messages.qsize() <= limit
            assert await connection.recv() == str(number)
        await connection.close()

    play(scene)


def test_a_peer_is_held_up_while_nobody_receives() -> None:
    async def scene(stage: Stage) -> None:
        message = bytes(64 * KIB)
        sent = 0

        def more(client: Connection) -> None:
            nonlocal sent
            while sent < 1000 and client.send(message):
                sent += 1

        uri = stage.serve(onopen=more, ondrain=more, max_write_queue=KIB * KIB)
        connection = await stage.guest.connect(uri, max_waiting=4)
        await settled(stage.guest.reactor)  # no more can be sent
        assert 0 < sent < 900
        await connection.close()

    play(scene)


def test_send_waits_while_the_peer_does_not_read() -> None:
    async def scene(stage: Stage) -> None:
        received = []
        uri = stage.serve(
            onopen=lambda client: client.pause(),
            onmessage=lambda client, message: received.append(message[0]),
        )
        async with stage.guest.connect(uri) as connection:
            sent = 0

            async def send_all() -> None:
                nonlocal sent
                for number in range(200):
                    await connection.send(bytes([number]) * 64 * KIB)
                    sent += 1

            # More than one, who are held up together.
            senders = [asyncio.create_task(send_all()) for _ in range(3)]
            await settled(stage.guest.reactor)
            assert 0 < sent < 300
            assert connection.client.buffered_amount < 256 * KIB
            stage.connection().resume()
            await asyncio.gather(*senders)
            await until(lambda: len(received) == 600)
        for number in range(200):
            assert received.count(number) == 3

    play(scene)


def test_a_send_that_is_cancelled_has_sent_nothing() -> None:
    async def scene(stage: Stage) -> None:
        received = []
        uri = stage.serve(
            onopen=lambda client: client.pause(),
            onmessage=lambda client, message: received.append(message[:1]),
        )
        async with stage.guest.connect(uri) as connection:
            count = 0
            while connection._room.is_set():
                await connection.send(b"a" * 64 * KIB)
                count += 1
            sending = asyncio.create_task(connection.send(b"b"))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.sleep(0)
            stage.connection().resume()
            await connection.send(b"c")
            await until(lambda: len(received) == count + 1)
        assert received == [b"a"] * count + [b"c"]

    play(scene)


def test_messages_larger_than_a_queue_can_be_sent_one_after_the_other() -> None:
    async def scene(stage: Stage) -> None:
        message = bytes(3 * KIB * KIB)
        lengths = []
        uri = stage.serve(
            max_message=len(message),
            onmessage=lambda client, message: lengths.append(len(message)),
        )
        async with stage.guest.connect(uri) as connection:
            for _ in range(5):
                await connection.send(message)
            await until(lambda: len(lengths) == 5)
        assert lengths == [len(message)] * 5

    play(scene)


# ---- connecting ----


def test_a_connection_that_is_refused_raises_what_the_system_says() -> None:
    async def scene(stage: Stage) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and listens not
            port = taken.getsockname()[1]
            with pytest.raises(ConnectionRefusedError):
                await stage.guest.connect(f"ws://127.0.0.1:{port}/")

    play(scene)


def test_a_handshake_that_is_refused_raises_the_answer() -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(HandshakeError) as caught:
            async with stage.guest.connect(stage.serve(locations={}) + "nowhere"):
                raise AssertionError("it is open")
        assert caught.value.status == 404

    play(scene)


def test_a_server_that_does_not_answer_raises_timeout_error() -> None:
    async def scene(stage: Stage) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            uri = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
            with pytest.raises(TimeoutError):
                await stage.guest.connect(uri, handshake_timeout=0.05)

    play(scene)


def test_to_cancel_it_gives_up_connecting() -> None:
    async def scene(stage: Stage) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.setblocking(False)
            uri = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
            connecting = asyncio.ensure_future(stage.guest.connect(uri)._open())
            loop = asyncio.get_running_loop()
            peer, _ = await loop.sock_accept(silent)
            with contextlib.closing(peer):
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting
                while await loop.sock_recv(peer, 4096):  # the request, and then the end
                    pass

    play(scene)


def test_a_connection_that_opens_when_it_was_just_given_up_is_dropped() -> None:
    async def scene(stage: Stage) -> None:
        uri = stage.serve()
        connection = AsyncConnection(stage.guest.reactor, uri, 16, {})
        opening = asyncio.create_task(connection.open())
        await asyncio.sleep(0)
        opening.cancel()
        connection.opened()  # before the task has heard of it
        with pytest.raises(asyncio.CancelledError):
            await opening
        await connection.wait_closed()
        assert connection.client.ready_state is State.CLOSED

    play(scene)


def test_an_attempt_ends_with_its_reactor() -> None:
    async def scene(stage: Stage) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            uri = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
            connecting = asyncio.ensure_future(stage.guest.connect(uri)._open())
            await until(lambda: select.select([silent], [], [], 0)[0])
            stage.guest.reactor.close()
            with pytest.raises(ConnectionClosed) as caught:
                await connecting
            assert caught.value.code == 1006

    play(scene)


def test_it_is_awaited_once() -> None:
    async def scene(stage: Stage) -> None:
        connecting = stage.guest.connect(stage.serve())
        async with connecting as connection:
            with pytest.raises(InvalidState, match="awaited once"):
                await connecting
            await connection.send("still there")
            assert await connection.recv() == "still there"

    play(scene)


def test_a_fault_of_the_caller_raises_what_client_raises() -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(ValueError, match="a URI begins with"):
            await stage.guest.connect("http://127.0.0.1/")
        with pytest.raises(TypeError, match="no option 'patience'"):
            await stage.guest.connect("ws://127.0.0.1/", patience=1)

    play(scene)


@pytest.mark.parametrize(
    "name", ["onmessage", "onopen", "onclose", "onfragment", "hold", "reconnect", "reactor"]
)
def test_what_is_not_for_here_is_refused(name: str) -> None:
    async def scene(stage: Stage) -> None:
        options: dict[str, Any] = {name: print}
        with pytest.raises(TypeError, match=rf"connect\(\) has no option '{name}'"):
            stage.guest.connect("ws://127.0.0.1/", **options)
        with pytest.raises(ValueError, match="max_waiting=0"):
            stage.guest.connect("ws://127.0.0.1/", max_waiting=0)

    play(scene)


# ---- the end ----


def test_leaving_closes_and_an_exception_drops() -> None:
    async def scene(stage: Stage) -> None:
        uri = stage.serve()
        async with stage.guest.connect(uri) as connection:
            pass
        assert connection.client.was_clean
        assert await stage.closed.get() == (1000, "")
        with pytest.raises(ZeroDivisionError):
            async with stage.guest.connect(uri) as connection:
                await connection.send(str(1 // 0))
        assert connection.close_code == 1006
        assert (await stage.closed.get())[0] == 1006
        async with await stage.guest.connect(uri) as connection:
            await connection.send("an open one can be entered, too")
        assert await stage.closed.get() == (1000, "")

    play(scene)


def test_after_the_end_nothing_can_be_sent() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        closing = asyncio.create_task(connection.close(4000))
        await asyncio.sleep(0)
        for _ in range(2):  # as it ends, and when it has
            with pytest.raises(ConnectionClosed) as caught:
                await connection.send("too late")
            assert caught.value.code == 4000
        await closing
        await connection.close(4001)
        assert connection.close_code == 4000

    play(scene)


def test_who_waits_for_room_is_told_of_the_end() -> None:
    async def scene(stage: Stage) -> None:
        uri = stage.serve(onopen=lambda client: client.pause())
        connection = await stage.guest.connect(uri)
        while connection._room.is_set():
            await connection.send(bytes(64 * KIB))
        sending = asyncio.create_task(connection.send("and more"))
        await asyncio.sleep(0)
        stage.connection().abort()
        with pytest.raises(ConnectionClosed):
            await sending

    play(scene)


def test_a_message_that_fails_as_it_is_sent_holds_up_nobody() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())

        def part() -> Any:
            yield "a part"
            stage.guest.reactor.call_soon(connection.client.abort)
            raise OSError("no more of it")

        with contextlib.suppress(ConnectionClosed):
            await connection.send(part())
        await connection.wait_closed()
        with pytest.raises(ConnectionClosed):
            await connection.send("more")

    play(scene)


def test_what_cannot_be_sent_is_refused() -> None:
    async def scene(stage: Stage) -> None:
        async with stage.guest.connect(stage.serve()) as connection:
            bad: Any = 5
            with pytest.raises(TypeError):
                await connection.send(bad)
            with pytest.raises(ValueError, match="1005"):
                await connection.close(1005)
            assert connection.client.ready_state is State.OPEN

    play(scene)


def test_a_fault_of_the_peer_is_the_cause_of_the_end() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        stage.connection()._transport.write(b"\xff\x00")
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
        assert caught.value.code == 1002
        assert isinstance(caught.value.__cause__, ProtocolError)

    play(scene)


def test_a_connection_ends_with_its_reactor() -> None:
    async def scene(stage: Stage) -> None:
        connection = await stage.guest.connect(stage.serve())
        receiving = asyncio.create_task(connection.recv())
        await asyncio.sleep(0)
        stage.guest.reactor.close()
        with pytest.raises(ConnectionClosed) as caught:
            await receiving
        assert caught.value.code == 1006
        await connection.wait_closed()

    play(scene)


def test_a_paused_connection_closes_all_the_same() -> None:
    async def scene(stage: Stage) -> None:
        def onopen(client: Connection) -> None:
            for _ in range(100):
                client.send("unread")

        connection = await stage.guest.connect(stage.serve(onopen=onopen), max_waiting=2)
        await until(lambda: connection._paused)
        await connection.close()
        assert connection.client.was_clean
        assert [message async for message in connection] == ["unread"] * 2

    play(scene)


def test_a_client_with_handlers_lives_beside_it() -> None:
    async def scene(stage: Stage) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()
        uri = stage.serve()
        client = Client(
            uri,
            reactor=stage.guest.reactor,
            onopen=lambda client: client.send("from the other"),
            onmessage=lambda client, message: heard.put_nowait(message),
        )
        async with stage.guest.connect(uri) as connection:
            await connection.send("from here")
            assert await connection.recv() == "from here"
            assert await heard.get() == "from the other"
        client.close()

    play(scene)
