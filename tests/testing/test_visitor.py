"""`reactor/testing/visitor.py`: a client that has a network between itself and its server."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Connection, Response, Server
from reactor.testing import Visitor, World


class Echo(Server):
    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)


@pytest.fixture
def ends() -> list[int]:
    return []


def watching(ends: list[int]) -> Any:
    return lambda client, code, reason: ends.append(code)


def test_a_visitor_says_and_hears_in_time() -> None:
    with World(seed=1, latency=0.1, jitter=0, cuts=0) as world:
        visitor = world.connect(world.server(Echo))
        visitor.send("at once")
        visitor.ping(b"too")
        world.run(0.39)
        assert visitor.response == b""
        world.run(0.02)
        assert visitor.opened
        assert visitor.received == ["at once"]
        assert visitor.pongs == [b"too"]
        visitor.close(4000, "bye")
        world.run(1)
        assert visitor.closed == (4000, "bye")
        assert visitor.ended == "end"


def test_what_has_no_room_leaves_when_there_is_some() -> None:
    with World(seed=1, buffers=500) as world:
        visitor = world.connect(world.server(Echo))
        visitor.send(bytes(10_000))
        visitor.send("behind")
        world.until(lambda: len(visitor.received) == 2)
        assert visitor.received == [bytes(10_000), "behind"]


def test_who_does_not_read_fills_the_buffers() -> None:
    with World(seed=1, buffers=500) as world:
        server = world.server(Echo)
        visitor = world.connect(server)
        world.until(lambda: server.clients)
        [client] = server.clients
        visitor.stop_reading()
        client.send(bytes(10_000))
        world.run(5)
        assert client.buffered_amount > 9000
        assert visitor.received == []
        visitor.go_on_reading()
        world.run(60)
        assert client.buffered_amount == 0
        assert visitor.received == [bytes(10_000)]


def test_of_one_that_vanishes_nobody_hears_any_more(ends: list[int]) -> None:
    with World(seed=1) as world:
        server = world.server(Echo, ping_interval=5, ping_timeout=5, onclose=watching(ends))
        visitor, early = world.connect(server), world.connect(server)
        early.vanish()
        world.until(lambda: visitor.opened)
        visitor.vanish()
        visitor.send("to nobody")
        world.run(30)
        assert ends == [1011]
        assert visitor.ended is early.ended is None
        assert not early.opened
        assert visitor.received == visitor.pings == []


def test_one_that_vanishes_before_it_is_answered_is_not_connected() -> None:
    with World(seed=1, latency=0.1, jitter=0) as world:
        server = world.server(handshake_timeout=2)
        visitor = world.connect(server)
        world.run(0.15)
        visitor.vanish()
        world.run(10)
        assert visitor.ended is None
        assert not world.reactor.next_timeout()


def test_a_reset_is_told_to_the_server_and_not_to_itself(ends: list[int]) -> None:
    with World(seed=1) as world:
        server = world.server(Echo, onclose=watching(ends))
        visitor = world.connect(server)
        world.until(lambda: visitor.opened)
        visitor.reset()
        assert visitor.ended == "left"
        visitor.disconnect()
        visitor.finish()
        visitor.send("nothing")
        world.run(1)
        assert ends == [1006]


def test_one_that_disconnects_or_finishes_without_a_close_is_lost(ends: list[int]) -> None:
    with World(seed=1) as world:
        server = world.server(Echo, onclose=watching(ends))
        visitors = [world.connect(server) for _ in range(2)]
        world.until(lambda: all(visitor.opened for visitor in visitors))
        visitors[0].disconnect()
        visitors[1].finish()
        world.run(1)
        assert ends == [1006, 1006]
        assert [visitor.ended for visitor in visitors] == ["left", "end"]


def test_one_that_leaves_before_it_is_connected_never_was() -> None:
    with World(seed=1) as world:
        server = world.server()
        world.connect(server).disconnect()
        world.run(1)
        assert world.reactor.stats().steps == 0


def test_the_servers_abort_is_a_reset_if_something_was_left() -> None:
    def onopen(client: Connection) -> None:
        client.pause()
        client.reactor.call_later(1, client.abort)

    with World(seed=1) as world:
        visitor = world.connect(world.server(onopen=onopen))
        world.until(lambda: visitor.opened)
        visitor.send("unread")
        world.run(2)
        assert visitor.ended == "reset"
        visitor.finish()
        visitor.send("nobody")
        assert visitor.ended == "reset"


def test_what_it_cannot_say_any_more_is_dropped() -> None:
    with World(seed=1, latency=0.1) as world:
        server = world.server(onmessage=lambda client, message: client.abort())
        visitor = world.connect(server)
        world.until(lambda: visitor.opened)
        visitor.stop_reading()
        visitor.send("go")
        world.run(0.05)
        visitor.send("more")
        world.run(2)
        assert visitor.ended is None
        visitor.finish()
        visitor.send("nobody")
        visitor.go_on_reading()
        assert visitor.ended == "reset"


def test_a_stopped_server_refuses() -> None:
    with World(seed=1) as world:
        server = world.server()
        server.stop()
        visitor = world.connect(server)
        world.run(1)
        assert visitor.ended == "refused"


def test_one_that_does_not_leave_keeps_its_end_open(ends: list[int]) -> None:
    with World(seed=1) as world:
        server = world.server(Echo, onclose=watching(ends))
        visitor = world.connect(server)
        visitor.leaves = False
        world.run(1)
        (client,) = server.clients
        client.ping()  # whom a server has pinged it waits for: the pong may come last
        visitor.close()
        world.run(1)
        assert visitor.closed == (1000, "")
        assert ends == []
        world.run(2)
        assert ends == [1000]
        assert visitor.ended is None


def test_a_refusal_is_seen_with_its_body() -> None:
    with World(seed=1, cuts=0.9) as world:
        server = world.server(onrequest=lambda request: Response(403, body="go away"))
        visitor = world.connect(server)
        world.run(5)
        assert visitor.response.startswith(b"HTTP/1.1 403 ")
        assert b"\r\nDate: Thu, 01 Jan 1970 00:16:40 GMT\r\n" in visitor.response
        assert visitor.body == b"go away"
        assert visitor.ended == "end"


def test_a_subclass_can_follow_a_script() -> None:
    class Counting(Visitor):
        count = 0

        def happened(self) -> None:
            if self.opened and len(self.received) == self.count < 5:
                self.send(str(self.count))
                self.count += 1

    with World(seed=1) as world:
        visitor = world.connect(world.server(Echo), kind=Counting)
        world.run(5)
        assert visitor.received == ["0", "1", "2", "3", "4"]
