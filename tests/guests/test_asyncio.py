from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Client, InvalidState, Reactor, Server
from reactor.guests import AsyncioGuest
from tests.loop.helpers import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from reactor import Connection

KIB = 1024


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def in_time() -> Any:
        return await asyncio.wait_for(main(), PATIENCE)

    return asyncio.run(in_time())


def echo(client: Connection, message: str | bytes) -> None:
    client.send(message)


def url(server: Server) -> str:
    return f"ws://127.0.0.1:{server.addresses[0][1]}/"


async def answered(server: Server, message: str | bytes) -> str | bytes:
    """Send a message as a client of the same reactor; return the answer."""
    answer: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()
    client = Client(
        url(server),
        reactor=server.reactor,
        onopen=lambda client: client.send(message),
        onmessage=lambda client, message: answer.set_result(message),
    )
    try:
        return await answer
    finally:
        client.close()


class Blind(asyncio.SelectorEventLoop):
    """Watches nothing, as asyncio's loop on Windows."""

    def add_reader(self, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


# ---- which way ----


def test_a_server_answers_in_asyncio_by_its_descriptor(reactor: Reactor) -> None:
    async def main() -> None:
        server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=echo)
        with AsyncioGuest(reactor) as guest:
            assert guest.mode == "descriptor"
            assert await answered(server, "hello") == "hello"

    run(main)


def test_without_a_descriptor_it_answers_by_its_sockets() -> None:
    async def main() -> None:
        with Reactor(selector=selectors.SelectSelector()) as reactor:
            server = Server(
                ("127.0.0.1", 0), reactor=reactor, onmessage=echo, max_message=4096 * KIB
            )
            with AsyncioGuest(reactor) as guest:
                assert guest.mode == "sockets"
                # So large that it waits until there is room in the socket.
                message = bytes(1000 * KIB)
                assert await answered(server, message) == message

    run(main)


def test_in_a_loop_that_watches_nothing_it_answers_by_ticks(reactor: Reactor) -> None:
    async def main() -> None:
        server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=echo)
        with AsyncioGuest(reactor, interval=0.001) as guest:
            assert guest.mode == "ticks"
            assert await answered(server, "hello") == "hello"

    with contextlib.closing(Blind()) as loop:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))


# ---- the loop ----


def test_it_takes_the_running_loop_or_the_one_that_is_given(reactor: Reactor) -> None:
    async def main() -> None:
        assert AsyncioGuest(reactor).loop is asyncio.get_running_loop()

    run(main)
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncioGuest(reactor)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        assert AsyncioGuest(reactor, loop=loop).loop is loop
        with pytest.raises(ValueError, match="budget"):
            AsyncioGuest(reactor, loop=loop, budget=0)
        with pytest.raises(ValueError, match="interval"):
            AsyncioGuest(reactor, loop=loop, interval=0)


def test_a_handler_may_start_a_task(reactor: Reactor) -> None:
    async def slowly(client: Connection, message: str) -> None:
        await asyncio.sleep(0)
        client.send(message.upper())

    tasks = []

    def onmessage(client: Connection, message: str) -> None:
        tasks.append(asyncio.create_task(slowly(client, message)))

    async def main() -> None:
        server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=onmessage)
        with AsyncioGuest(reactor):
            assert await answered(server, "hello") == "HELLO"

    run(main)
    assert tasks[0].done()


def test_what_a_task_schedules_is_called_in_time(reactor: Reactor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        called: asyncio.Queue[str] = asyncio.Queue()
        with AsyncioGuest(reactor):
            reactor.call_later(3600, called.put_nowait, "in an hour")
            reactor.call_soon(called.put_nowait, "soon")
            assert await called.get() == "soon"
            began = loop.time()
            reactor.call_later(0.05, called.put_nowait, "later")
            assert await called.get() == "later"
            assert loop.time() - began >= 0.045
            thread = threading.Thread(
                target=reactor.call_soon_threadsafe, args=(called.put_nowait, "by a thread")
            )
            thread.start()
            assert await called.get() == "by a thread"
            thread.join()

    run(main)


def test_it_is_not_called_while_there_is_nothing_to_do(reactor: Reactor) -> None:
    async def main() -> None:
        server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=echo)
        with AsyncioGuest(reactor) as guest:
            async with guest.connect(url(server)) as connection:
                for _ in range(3):
                    await connection.send("hello")
                    await connection.recv()
                # The loop goes on, and has no reason to call.
                wakeups, steps = guest.wakeups, reactor.stats().steps
                assert wakeups > 0
                for _ in range(100):
                    await asyncio.sleep(0)
                assert (guest.wakeups, reactor.stats().steps) == (wakeups, steps)

    run(main)


@pytest.mark.parametrize("kind", [selectors.DefaultSelector, selectors.SelectSelector])
def test_the_loop_has_its_turn_between_any_two_steps(
    kind: type[selectors.BaseSelector],
) -> None:
    order: list[str] = []
    rounds = 50

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def other() -> None:
            order.append("other")
            if order.count("step") < rounds:
                loop.call_soon(other)
            else:
                done.set()

        def step(mask: int) -> None:
            order.append("step")
            tired.call_soon(str)  # with this budget, more than a step can do

        mine, theirs = socket.socketpair()
        with mine, theirs, Reactor(selector=kind()) as tired:
            tired.register(mine, selectors.EVENT_WRITE, step)  # which it always is
            with AsyncioGuest(tired, budget=1e-6):
                other()
                await done.wait()
            tired.unregister(mine)

    run(main)
    assert "step step" not in " ".join(order)
    assert order.count("step") >= rounds


def test_what_is_stopped_is_not_watched_any_more(reactor: Reactor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with AsyncioGuest(reactor) as guest:
            reactor.call_later(0, print)
        called: list[int] = []
        reactor.call_soon_threadsafe(called.append, 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (called, guest.wakeups) == ([], 0)
        assert not loop.remove_reader(reactor.fileno())
        with guest:  # and again
            while not called:
                await asyncio.sleep(0)

    run(main)


def test_an_interrupt_ends_the_loop_and_the_guest_can_go_on(reactor: Reactor) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), AsyncioGuest(reactor, loop=loop):
        reactor.call_soon(fail)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        reactor.call_soon_threadsafe(loop.stop)
        loop.run_forever()


def test_it_ends_with_its_reactor(reactor: Reactor) -> None:
    async def main() -> None:
        guest = AsyncioGuest(reactor)
        guest.start()
        number = reactor.fileno()
        reactor.close()
        assert not guest.running
        assert not asyncio.get_running_loop().remove_reader(number)

    run(main)


def test_a_reactor_that_outlives_its_loop_has_no_guest_any_more(reactor: Reactor) -> None:
    guests: list[AsyncioGuest] = []

    async def main() -> None:
        guests.append(AsyncioGuest(reactor))
        guests[0].start()
        reactor.call_later(3600, print)

    run(main)
    called: list[int] = []
    reactor.call_soon(called.append, 1)
    assert not guests[0].running
    assert reactor.host is None
    reactor.step()
    assert called == [1]


def test_who_does_not_run_connects_nobody(reactor: Reactor) -> None:
    async def main() -> None:
        with pytest.raises(InvalidState, match="does not run"):
            AsyncioGuest(reactor).connect("ws://127.0.0.1:1/")

    run(main)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another thread"])
def test_a_loop_that_has_ended_without_a_word_makes_room_for_another(
    reactor: Reactor, elsewhere: bool
) -> None:
    server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=echo)
    guests: list[AsyncioGuest] = []

    async def begin() -> None:
        guests.append(AsyncioGuest(reactor))
        guests[-1].start()
        with pytest.raises(InvalidState, match="has a guest"):
            AsyncioGuest(reactor).start()
        assert await answered(server, "hello") == "hello"

    async def again() -> None:
        with AsyncioGuest(reactor):
            assert await answered(server, "again") == "again"

    if elsewhere:
        worker = threading.Thread(target=run, args=(begin,))
        worker.start()
        worker.join(PATIENCE)
    else:
        run(begin)
    running = [guests[0].running]
    run(again)
    assert [*running, guests[0].running] == [True, False]
    server.close()
