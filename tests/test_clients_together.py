"""Many clients in one thread, and one that does not give up: what makes a reactor worth it."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Backoff, State
from tests.scripted import Net, Noting, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def echo(client: Any, message: Any) -> None:
    client.send(message)


def hundred(net: Net) -> list[Noting]:
    """Return a hundred open clients, each of a server of its own."""
    servers = [net.serve(do={"onmessage": echo}) for _ in range(100)]
    clients = [net.client(server) for server in servers]
    net.opened(*clients)
    assert [len(server.met) for server in servers] == [1] * 100
    return clients


def exchange(net: Net, clients: list[Noting], rounds: int) -> None:
    """Send each client's messages and wait for their echoes, in their order."""
    expected = {
        client: [f"{id(client)} {turn}" for turn in range(rounds)] for client in clients
    }
    before = {client: len(client.messages()) for client in clients}
    for turn in range(rounds):
        for client in clients:
            client.send(expected[client][turn])
    net.until(lambda: all(len(c.messages()) == before[c] + rounds for c in clients))
    assert all(client.messages()[before[client] :] == expected[client] for client in clients)


def test_a_hundred_clients_of_a_hundred_servers_live_in_one_thread(net: Net) -> None:
    threads = threading.active_count()
    clients = hundred(net)
    exchange(net, clients, 10)
    for client in clients:
        client.close()
    net.ended(*clients)
    assert all(client.ends() == [(1000, "")] for client in clients)
    assert all(client.names().count("onclose") == 1 for client in clients)
    assert threading.active_count() == threads


def test_a_black_hole_times_out_at_its_deadline_while_the_others_go_on(timed: Net) -> None:
    clients = hundred(timed)
    host, number = timed.black_hole()
    lost = timed.client(f"ws://{host}:{number}/", handshake_timeout=7)
    timed.settle()
    for _ in range(6):
        timed.advance(1.1)
        exchange(timed, clients, 2)
        assert lost.names() == []
    timed.advance(0.5)
    timed.ended(lost)
    assert str(lost.errors()[0]) == f"no connection after 7 s: connecting to {host}:{number}"
    assert isinstance(lost.errors()[0], TimeoutError)
    assert lost.names() == ["onerror", "onclose"]
    exchange(timed, clients, 2)
    assert all(client.ready_state is State.OPEN for client in clients)


def test_a_look_up_that_hangs_stalls_nobody(
    timed: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, free, over = threading.Event(), threading.Event(), threading.Event()

    def getaddrinfo(*args: Any, **options: Any) -> Any:
        asked.set()
        free.wait()
        over.set()
        return []

    clients = hundred(timed)
    server = timed.serve(do={"onmessage": echo})
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    lost = timed.client("ws://hangs.test/")
    try:
        timed.settle()
        assert asked.wait(10)
        clients.append(timed.client(server))
        timed.opened(*clients)
        exchange(timed, clients, 5)
        timed.advance(10.1)
        exchange(timed, clients, 5)
        assert lost.names() == ["onerror", "onclose"]
        assert isinstance(lost.errors()[0], TimeoutError)
        assert not over.is_set()
    finally:
        free.set()
        assert over.wait(10)
    # The answer that is too late is nobody's.
    timed.settle()
    assert lost.names() == ["onerror", "onclose"]


SERVER = """
import sys
from reactor import Server

class Echo(Server):
    def onmessage(self, client, message):
        client.send(message)

server = Echo(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
server.run()
"""


class Mortal:
    """A server in a process of its own, on the same port in each of its lives."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n"

    def kill(self) -> None:
        """End it with SIGKILL, if it lives."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    mortal = Mortal()
    yield mortal
    mortal.kill()


def test_a_client_is_back_each_of_20_times_that_its_server_is_killed(
    net: Net, mortal: Mortal
) -> None:
    chance = random.Random(20).random
    backoff = Backoff(first=0.01, factor=2, last=0.05, random=chance)
    client = net.client(
        f"ws://127.0.0.1:{mortal.port}/",
        reconnect=backoff,
        hold=1000,
        do={"onopen": lambda client: client.send("hello again")},
    )
    for life in range(1, 22):
        failed = client.names().count("onreconnecting")
        # Before it is there, the client has been refused at least once.
        net.until(lambda failed=failed: client.names().count("onreconnecting") > failed)  # type: ignore[misc]
        mortal.start()
        net.until(lambda life=life: len(client.messages()) == life)  # type: ignore[misc]
        assert client.names().count("onopen") == life
        mortal.kill()
        net.until(lambda life=life: client.ready_state is not State.OPEN)  # type: ignore[misc]
    assert client.messages() == ["hello again"] * 21
    assert all(0 <= delay <= 0.05 for delay in client.delays())
    names = client.names()
    # However it went, each attempt had one end, and each end one more attempt.
    client.close()
    net.until(lambda: client.ready_state is State.CLOSED)
    assert abs(names.count("onclose") - names.count("onreconnecting")) <= 1


def test_clients_that_lost_their_server_together_do_not_come_back_together(
    timed: Net,
) -> None:
    server = timed.serve()
    chance = random.Random(1000).random
    backoff = Backoff(first=10, last=10, random=chance)
    clients = [timed.client(server, reconnect=backoff) for _ in range(200)]
    timed.opened(*clients)
    timed.until(lambda: len(server.met) == 200)
    for client in server.met:
        client.abort()
    timed.until(lambda: all(client.delays() for client in clients))
    tenths = [sum(1 for c in clients if int(c.delays()[0]) == tenth) for tenth in range(10)]
    assert sum(tenths) == 200
    assert all(5 <= count <= 40 for count in tenths)
    # They come when they said they would.
    came = len(server.met)
    for second in range(10):
        timed.advance(1.0)
        came += tenths[second]
        timed.until(lambda came=came: len(server.met) >= came)  # type: ignore[misc]
        timed.settle()
        assert len(server.met) == came


def test_the_delays_follow_the_policy_while_the_server_stays_away(timed: Net) -> None:
    factors: list[float] = []

    def draw() -> float:
        factors.append(random.Random(len(factors)).random())
        return factors[-1]

    backoff = Backoff(first=1, factor=2, last=30, random=draw)
    client = timed.client(f"ws://127.0.0.1:{free_port()}/", reconnect=backoff)
    for attempt in range(1, 31):
        timed.until(lambda attempt=attempt: len(client.delays()) == attempt)  # type: ignore[misc]
        longest = min(30, 2 ** (attempt - 1))
        assert client.delays()[-1] == pytest.approx(longest * (1 - factors[-1]))
        timed.advance(client.delays()[-1] + 0.001)
