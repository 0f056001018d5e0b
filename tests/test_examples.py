"""Every example does what its first line says, and its last lines run."""

from __future__ import annotations

import importlib.util
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from reactor import Reactor, Server
from reactor.testing import FakeClock, MemorySelector, Peer

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(make: Any, clock: FakeClock, **options: Any) -> Any:
    reactor = Reactor(selector=MemorySelector(), clock=clock)
    return make(None, reactor=reactor, **options)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_begins_with_its_question_and_has_at_most_60_lines(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith('"""')
    assert lines[0].endswith("?")
    assert len(lines) <= 60


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_last_lines_of_an_example_listen_on_the_port_that_is_given(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Server] = []

    def run(server: Server) -> None:
        ran.append(server)
        assert server.addresses[0][0] == "127.0.0.1"
        server.close()

    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(sys, "argv", [str(path), "0", "0"])
    runpy.run_path(str(path), run_name="__main__")
    assert ran or path.stem == "game_loop"


def test_the_echo_answers() -> None:
    peer = Peer.of(load("echo_server").Echo)
    peer.send("text")
    peer.send(b"binary")
    assert peer.received == ["text", b"binary"]
    peer.server.close()
    peer.server.reactor.close()


def test_the_chat_tells_those_in_the_room() -> None:
    clock = FakeClock()
    server = serve(load("chat").Chat, clock)
    ada = Peer(server, clock, "/room/kitchen?name=Ada")
    bob = Peer(server, clock, "/room/kitchen?name=Bob")
    eve = Peer(server, clock, "/room/cellar")
    bob.send("hello")
    bob.send(b"\0")
    ada.settle()
    assert ada.received == ["* Bob came", "<Bob> hello", "* Bob left"]
    assert eve.received == []
    assert bob.closed == (1003, "text only")
    server.close()
    server.reactor.close()


def test_the_chat_forgets_a_room_that_nobody_is_in() -> None:
    clock = FakeClock()
    server = serve(load("chat").Chat, clock)
    ada = Peer(server, clock, "/room/kitchen?name=Ada")
    bob = Peer(server, clock, "/room/kitchen?name=Bob")
    ada.close()
    assert list(server.rooms) == ["kitchen"]
    bob.close()
    assert list(server.rooms) == []
    server.close()
    server.reactor.close()


def test_the_game_keeps_its_ticks_and_tells_its_world() -> None:
    module = load("game_loop")
    clock = FakeClock()
    server = serve(module.World, clock)
    peer = Peer(server, clock)
    peer.send("right")
    peer.send("right")
    peer.send("left")
    assert module.play(server, 0.05) == 3
    peer.settle()
    assert peer.received == ["1"] * 3
    server.close()
    server.reactor.close()


def test_the_numbers_come_in_order_and_wait_for_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = load("backpressure")
    monkeypatch.setattr(module, "LAST", 50_000)
    clock = FakeClock()
    server = serve(Server, clock, connection=module.Numbers)
    peer = Peer(server, clock)
    assert peer.received == [str(number) for number in range(1, 50_001)]
    assert peer.closed == (1000, "")
    server.close()
    server.reactor.close()


def test_the_page_the_health_check_and_the_clock_share_a_port() -> None:
    module = load("http_and_websocket")
    clock = FakeClock(100.0)
    server = serve(module.Clock, clock)
    for path, expected in (
        ("/", b"<!doctype html>"),
        ("/health", b"1 clients"),
        ("/no", b"404"),
    ):
        peer = Peer(server, clock, "/clock")
        asked = Peer(server, clock, path, {"Upgrade": "none"})
        assert expected in asked.response + bytes(asked.body)
        peer.advance(1.0)
        assert peer.received[0] == "connected"
        assert str(peer.received[-1]).endswith(" seconds")
        peer.close()
    server.close()
    server.reactor.close()


def test_a_datagram_goes_to_all_clients() -> None:
    server = load("own_socket").Relay(("127.0.0.1", 0))
    got: list[bytes] = []
    server.broadcast = got.append
    with (
        server.listen_udp(0) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"news", udp.getsockname())
        while not got:
            server.reactor.step(5)
        server.close()
    assert got == [b"news"]
