"""`reactor/testing/world.py`: servers, clients and a network, on a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Connection, PerMessageDeflate, Reactor, Server
from reactor.testing import World

if TYPE_CHECKING:
    from reactor.testing import Visitor

ROOT = Path(__file__).parents[2]


class Chat(Server):
    def onopen(self, client: Connection) -> None:
        self.broadcast(f"{client.address[0]} came")

    def onmessage(self, client: Connection, message: Any) -> None:
        self.broadcast(message, exclude=client)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        self.broadcast(f"{client.address[0]} left")


def converse(seed: int, **options: Any) -> World:
    """Have 20 chat, some in compressed form, until some vanish and the server stops."""
    with World(seed, **options) as world:
        server = world.server(Chat, compress=True, ping_interval=10, fragment_size=100)
        offers = [(), (PerMessageDeflate(),)]
        visitors = [world.connect(server, extensions=offers[n % 2]) for n in range(20)]
        plain = world.connect(server, request=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for number, visitor in enumerate(visitors):
            delay = world.random.uniform(0, 5)
            world.call_later(delay, visitor.send, f"message {number} " * (number * 10))
        world.run(10)
        for visitor in visitors[:5]:
            visitor.vanish()
        visitors[5].reset()
        world.run(100)
        assert len(server.clients) == 14
        server.stop()
        world.run(10)
        assert plain.response.startswith(b"HTTP/1.1 426 ")
        assert [visitor.closed for visitor in visitors[6:]] == [(1001, "")] * 14
    return world


@pytest.mark.parametrize(
    "options",
    [
        *[{"latency": -1}, {"latency": (3, 1)}, {"latency": (-1, 1)}],
        {"latency": float("nan")},
        *[{"jitter": -0.1}, {"bandwidth": 0}, {"bandwidth": (0, 5)}, {"buffers": 0}],
        *[{"cuts": 7}, {"cuts": -1}, {"work": -1}],
    ],
)
def test_a_network_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(ValueError, match=f"^{name}="):
        World(**options)


def test_two_runs_with_one_seed_are_equal_to_the_last_byte() -> None:
    one, same, other = converse(1), converse(1), converse(2)
    assert one.digest == same.digest != other.digest
    assert list(one.recent) == list(same.recent) != list(other.recent)


def test_so_they_are_in_two_processes_whatever_the_order_of_hashes() -> None:
    program = "from tests.testing.test_world import converse; print(converse(3).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "77")
    }
    assert digests == {converse(3).digest + "\n"}


def test_a_simulated_hour_is_no_matter_of_an_hour() -> None:
    with World(seed=1, latency=0.1, jitter=0) as world:
        server = world.server(ping_interval=60, ping_timeout=20)
        visitors = [world.connect(server) for _ in range(10)]
        world.run(3600)
        assert world.now == world.began + 3600
        assert len(server.clients) == 10
        # One each minute and 0.2 seconds, the first a minute after the handshake.
        assert {len(visitor.pings) for visitor in visitors} == {59}


def test_what_something_is_like_is_given_or_drawn() -> None:
    with World(seed=1, latency=0.1, jitter=0.0, bandwidth=1000, buffers=50) as world:
        route = world.connect(world.server()).route
        assert (route.latency, route.jitter) == (0.1, 0)
        assert (route.bandwidth, route.buffer) == (1000, 50)
    with World(seed=1, latency=(0.1, 0.2), bandwidth=(10, 20), buffers=(0.1, 0.2)) as world:
        server = world.server()
        routes = [world.connect(server).route for _ in range(20)]
        assert all(0.1 <= route.latency <= 0.2 for route in routes)
        assert all(10 <= (route.bandwidth or 0) <= 20 for route in routes)
        assert len({route.latency for route in routes}) == 20
        assert {route.buffer for route in routes} == {1}
        assert len({route.address for route in routes}) == 20


def test_it_says_its_seed_and_its_age() -> None:
    with World(seed=7, start=5.0) as world:
        world.run(1.5)
        assert repr(world) == "<World seed=7 1.500000 s old>"
        assert world.now == world.clock.now == 6.5
        assert world.began == 5.0


def test_what_is_called_later_is_called_in_order_and_at_its_time() -> None:
    called: list[tuple[str, float]] = []
    with World(start=0) as world:

        def note(name: str) -> None:
            called.append((name, world.now))
            if name == "b":
                world.call_later(0, note, "c")

        world.call_later(2, note, "d")
        world.call_later(1, note, "a")
        world.call_at(1, note, "b")
        world.run(1.5)
        assert called == [("a", 1), ("b", 1), ("c", 1)]
        assert world.now == 1.5
        world.run(0.5)
        assert called[3:] == [("d", 2)]
        world.run(0)
        assert world.now == 2


def test_until_waits_for_what_comes_and_not_for_ever() -> None:
    with World(seed=1, latency=0.1, jitter=0) as world:
        server = world.server()
        visitor = world.connect(server)
        world.until(lambda: visitor.opened)
        assert 0.3 < world.now - world.began < 0.5
        world.until(lambda: world.now >= world.began + 5, 5)
        with pytest.raises(TimeoutError, match="in 3 s of <World seed=1 "):
            world.until(lambda: False, 3)
        world.until(lambda: True)


def test_what_is_scheduled_while_nothing_moves_is_done() -> None:
    called: list[str] = []
    with World() as world:
        world.reactor.call_soon(called.append, "soon")
        world.reactor.call_soon_threadsafe(called.append, "from outside")
        world.reactor.call_later(1, called.append, "later")
        world.run(0)
        assert sorted(called) == ["from outside", "soon"]
        world.run(1)
        assert called[2:] == ["later"]


def test_each_step_is_looked_at() -> None:
    looked: list[Reactor] = []
    with World(seed=1) as world:
        world.onstep = looked.append
        world.connect(world.server())
        world.run(1)
        assert set(looked) == {world.reactor}
        assert len(looked) == world.reactor.stats().steps


def test_servers_in_several_reactors_go_on_together() -> None:
    with World(seed=1) as world:
        other = world.new_reactor()
        servers = [world.server(Chat), world.server(Chat, reactor=other)]
        assert [server.reactor for server in servers] == [world.reactor, other]
        visitors = [world.connect(server) for server in servers * 2]
        world.run(2)
        for number, visitor in enumerate(visitors):
            visitor.send(str(number))
        world.run(2)
        heard = [[m for m in v.received if "came" not in str(m)] for v in visitors]
        assert heard == [["2"], ["3"], ["0"], ["1"]]
        other.close()
        world.run(2)
        assert [visitor.ended for visitor in visitors] == [None, "end", None, "end"]


def test_a_server_can_run_until_it_is_stopped() -> None:
    with World(seed=1) as world:
        server = world.server(Chat)
        visitor = world.connect(server)
        other = world.server(Chat, reactor=world.new_reactor())
        busy: list[Visitor] = [world.connect(other) for _ in range(3)]
        world.call_later(30, server.stop)
        server.run()
        assert world.now >= world.began + 30
        assert visitor.closed == (1001, "")
        assert all(one.received for one in busy)
        server.run()


def test_a_step_that_may_wait_waits_for_the_world() -> None:
    with World(seed=1, start=0) as world:
        world.reactor.step(2)
        assert world.now == 2
        world.reactor.call_later(1, lambda: None)
        world.reactor.step(None)
        assert world.now == 3
        with pytest.raises(RuntimeError, match="nothing will ever happen"):
            world.reactor.step(None)


def test_a_stall_holds_up_the_loop_and_nobody_else() -> None:
    class Slow(Server):
        def onmessage(self, client: Connection, message: Any) -> None:
            world.stall(60)

    with World(seed=1, latency=0.1, jitter=0) as world:
        server = world.server(Slow, ping_interval=20, ping_timeout=10)
        visitor, other = world.connect(server), world.connect(server)
        world.until(lambda: other.opened)
        visitor.send("hold it up")
        times: list[float] = []
        world.call_later(30, lambda: times.append(world.now))
        world.run(100)
        assert times == [pytest.approx(world.began + 30, abs=1)]
        assert len(server.clients) == 2


def test_with_work_and_a_budget_a_step_leaves_something_over() -> None:
    deferred: list[int] = []

    class Counting(Reactor):
        def step(self, *args: Any) -> Any:
            report = super().step(*args)
            deferred.append(report.deferred)
            return report

    with World(seed=1, latency=0.1, jitter=0, cuts=0, work=0.001, budget=0.002) as world:
        world.reactor.__class__ = Counting
        server = world.server(Chat)
        visitors = [world.connect(server) for _ in range(10)]
        world.run(3)
        assert max(deferred) > 1
        assert max(len(visitor.received) for visitor in visitors) == 10


def test_what_is_ready_comes_in_any_order() -> None:
    orders = set()
    for seed in range(5):
        order: list[str] = []
        with World(seed, latency=0.1, jitter=0, cuts=0) as world:
            server = world.server(
                onmessage=lambda client, message, order=order: order.append(message)
            )
            visitors = [world.connect(server) for _ in range(5)]
            world.run(1)
            for number, visitor in enumerate(visitors):
                visitor.send(str(number))
            world.run(1)
        assert sorted(order) == ["0", "1", "2", "3", "4"]
        orders.add(tuple(order))
    assert len(orders) > 1


def test_a_server_of_elsewhere_cannot_be_reached() -> None:
    with World() as world:
        with pytest.raises(ValueError, match="listens nowhere in this world"):
            world.connect(Server(reactor=world.reactor))
        mine = Server([world.listen()], reactor=world.reactor)
        visitor = world.connect(mine)
        world.until(lambda: visitor.opened)


def test_who_vanishes_or_leaves_at_once_never_comes_and_who_is_late_is_refused() -> None:
    with World(seed=1, latency=0.1) as world:
        server = world.server()
        lost, left = world.connect(server), world.connect(server)
        lost.vanish()
        left.disconnect()
        world.run(1)
        assert world.reactor.stats().steps == 0
        server.stop()
        late = world.connect(server)
        world.run(1)
        assert (lost.ended, left.ended, late.ended) == (None, "left", "refused")


def test_who_asks_while_the_server_is_full_waits() -> None:
    with World(seed=1) as world:
        server = world.server(max_connections=2)
        visitors = [world.connect(server) for _ in range(3)]
        world.run(5)
        assert [visitor.opened for visitor in visitors].count(True) == 2
        next(visitor for visitor in visitors if visitor.opened).close()
        world.run(5)
        assert all(visitor.opened for visitor in visitors)
        server.close()
        assert server.clients == set()


def test_at_its_end_all_is_closed_and_nothing_happens_any_more() -> None:
    called: list[int] = []
    with World(seed=1) as world:
        server = world.server(Chat)
        world.connect(server)
        world.run(1)
        world.call_later(1, called.append, 1)
    assert world.reactor.closed
    assert server.clients == set()
    world.run(10)
    assert called == []


def test_a_failure_in_a_call_leaves_the_time_as_it_is() -> None:
    with World(start=0) as world:

        def fail() -> None:
            raise LookupError(world.now)

        world.call_later(1, fail)
        with pytest.raises(LookupError, match="1"):
            world.run(5)
        assert world.now == 1
