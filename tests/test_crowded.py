"""Hundreds of clients and a loop that has little time, or had none for a while."""

from __future__ import annotations

import gc
import math
import resource
import time
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Connection, Reactor, Server
from reactor.testing import FakeClock, MemorySelector
from tests.crowd import crowd
from tests.recorder import Recorder, Visitor

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

MS = 0.001
PATIENCE = 30.0  # seconds


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def said(process: subprocess.Popen[Any], server: Server) -> str:
    """Make steps until the crowd has said a line."""
    lines: list[str] = []
    assert process.stdout is not None
    reactor = server.reactor
    reactor.register(process.stdout, 1, lambda mask: lines.append(process.stdout.readline()))  # type: ignore[union-attr]
    end = time.monotonic() + PATIENCE
    while not lines:
        assert time.monotonic() < end, "the crowd says nothing"
        reactor.step(1)
    reactor.unregister(process.stdout)
    return lines[0].strip()


# ---- a budget ----

CHATTY = 500
BUDGET = 2 * MS


class Busy(Server):
    """Each message takes a while, and is noted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.longest = 0.0
        self.served: set[Connection] = set()

    def onmessage(self, client: Connection, message: str) -> None:
        began = time.perf_counter()
        self.served.add(client)
        while time.perf_counter() < began + 0.05 * MS:
            pass
        self.longest = max(self.longest, time.perf_counter() - began)


def frames(server: Busy, count: int) -> tuple[list[float], int, int]:
    """Make steps with a budget, as a game would.

    Returns:
        How long they took; the most steps that a client had to wait; and the most steps that
        there were in a round.
    """
    server.longest = 0.0
    durations = []
    last = dict.fromkeys(server.clients, 0)
    waited = steps = in_round = 0
    for number in range(1, count + 1):
        server.served.clear()
        began = time.perf_counter()
        report = server.reactor.step(0, budget=BUDGET)
        durations.append(time.perf_counter() - began)
        steps += 1
        if not report.deferred:
            in_round, steps = max(in_round, steps), 0
        for client in server.served:
            waited = max(waited, number - last[client])
            last[client] = number
    return sorted(durations), waited, max(in_round, steps)


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.usefixtures("descriptors")
def test_with_500_chatty_clients_a_step_keeps_its_budget_and_nobody_waits_for_long() -> None:
    seen = []
    with Reactor() as reactor:
        server = Busy(("127.0.0.1", 0), reactor=reactor, max_pending_handshakes=CHATTY)
        with crowd(int(server.addresses[0][1]), CHATTY, "chatty") as process:
            assert said(process, server) == "ready"
            assert len(server.clients) == CHATTY
            gc.collect()
            # A machine that does something else for a while must not fail it.
            for _ in range(5):
                durations, waited, in_round = frames(server, 600)
                assert in_round >= CHATTY * 0.05 * MS / BUDGET, "they are not chatty"
                # Two rounds at most: one that has begun when a message comes, and its own. And
                # each step of a round but the last uses up its budget: what a client takes of
                # a round is a message, its handling, and the way there.
                assert waited <= 2 * in_round
                worst = durations[int(len(durations) * 0.99)]
                seen.append((worst, server.longest, waited, in_round))
                if worst <= BUDGET + server.longest + 0.5 * MS:
                    break
            else:
                raise AssertionError(f"the 99th percentiles, longest calls and waits: {seen}")
            # And in numbers: had every call been as long as the longest.
            calls = CHATTY * (server.longest + 0.5 * MS)
            assert waited <= 2 * (math.ceil(calls / BUDGET) + 1)


# ---- a stall ----

HEALTHY, DEAD = 1000, 10
INTERVAL, TIMEOUT = 20.0, 20.0


class Crowded(Visitor):
    """One of a thousand in memory, that does not make the server's steps by itself."""

    quiet = False

    def settle(self) -> None:
        if not self.quiet:
            super().settle()

    def answer(self) -> None:
        """Answer what has come, without the server's knowing it yet."""
        self._read()
        self._send_on()


def test_a_loop_that_did_not_run_for_a_minute_drops_nobody_who_lives() -> None:
    clock = FakeClock()
    stalls: list[float] = []
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        reactor.onstall = stalls.append
        server = Recorder(
            reactor=reactor,
            ping_interval=INTERVAL,
            ping_timeout=TIMEOUT,
            max_pending_handshakes=HEALTHY + DEAD,
        )
        peers = []
        for _ in range(HEALTHY + DEAD):
            Crowded.quiet = True
            peers.append(Crowded(server, clock))
            server.reactor.step()
            peers[-1].answer()
        healthy, dead = peers[:HEALTHY], peers[HEALTHY:]
        assert len(server.clients) == HEALTHY + DEAD
        for peer in dead:
            peer.answers_pings = False
        # Some have been pinged when the loop stands still, and some not.
        for _ in range(2):
            clock.advance(INTERVAL / 2)  # when their handshakes' timers look for the first time
            reactor.step()
        for peer in healthy:
            peer.answer()
        clock.advance(60)
        resumed = clock.now
        while clock.now < resumed + INTERVAL + TIMEOUT:
            reactor.step()
            for peer in healthy:
                peer.answer()
            reactor.step()
            assert len(server.clients) >= HEALTHY
            wait = reactor.next_timeout()
            assert wait is not None
            clock.advance(min(max(wait, 0.5), resumed + INTERVAL + TIMEOUT - clock.now))
        reactor.step()
        assert server.ends() == [(1011, "ping timeout")] * DEAD
        assert all(peer.pings for peer in healthy)
        # As far as it can know: nothing was due in the first 20 seconds.
        assert stalls == [pytest.approx(60 - INTERVAL)]


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.usefixtures("descriptors")
def test_over_real_sockets_a_stall_drops_nobody_who_lives_either() -> None:
    interval = timeout = 1.0
    stalls: list[float] = []
    with Reactor() as reactor:
        reactor.onstall = stalls.append
        server = Recorder(
            ("127.0.0.1", 0),
            reactor=reactor,
            ping_interval=interval,
            ping_timeout=timeout,
            max_pending_handshakes=HEALTHY,
        )
        with crowd(int(server.addresses[0][1]), HEALTHY, "healthy") as process:
            assert said(process, server) == "ready"
            assert len(server.clients) == HEALTHY
            assert process.stdin is not None
            end = time.monotonic() + 1.5 * interval
            while time.monotonic() < end:
                reactor.step(0.1)
            process.stdin.write(f"die {DEAD}\n")
            assert process.stdout is not None
            assert process.stdout.readline() == "dead\n"
            # The host does something else: no step is made.
            resumed = time.monotonic() + 4 * interval
            while time.monotonic() < resumed:
                gc.collect()
            while time.monotonic() < resumed + PATIENCE and len(server.ends()) < DEAD:
                reactor.step(0.1)
            noticed = time.monotonic() - resumed
            end = time.monotonic() + 2 * (interval + timeout)
            while time.monotonic() < end:
                reactor.step(0.1)
            assert server.ends() == [(1011, "ping timeout")] * DEAD
            assert len(server.clients) == HEALTHY - DEAD
            assert max(stalls) > interval
            # Beyond that, what the machine takes for a thousand pings and answers, but not what
            # it takes for itself.
            more = sum(stalls) - max(stalls)
            assert noticed - more < interval + timeout + 2.0
