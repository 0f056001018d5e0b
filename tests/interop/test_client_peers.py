from __future__ import annotations

import os
import pathlib
import sys
from typing import TYPE_CHECKING

import pytest

from tests import programs
from tests.interop.conftest import Server
from tests.interop.foreign_servers import CODE, REASON, SUBPROTOCOL
from tests.interop.peers import NODE_WS
from tests.interop.talker import Talker, talking

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

# Both sides of where the form of a frame's length changes, and what takes many reads.
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 1 << 20)
HERE = pathlib.Path(__file__)


def start(kind: str) -> Server:
    if kind == "node ws":
        node = programs.program("node", "nodejs")
        modules = programs.node_modules("ws", NODE_WS)
        script = str(HERE.with_name("node_server.js"))
        return Server([node, script], {**os.environ, "NODE_PATH": modules})
    programs.module(kind)
    return Server([sys.executable, "-m", "tests.interop.foreign_servers", kind])


@pytest.fixture(
    params=["websockets", "aiohttp", "tornado", "picows", "node ws"], scope="module"
)
def foreign(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = start(request.param)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def client(foreign: Server) -> Iterator[Talker]:
    with talking(foreign.url) as client:
        yield client.open()


def close_well(client: Talker, foreign: Server) -> None:
    assert client.leave() == (1000, "")
    assert foreign.closed() == (1000, "")


def test_text_of_every_length_form_comes_back(client: Talker, foreign: Server) -> None:
    for size in SIZES:
        message = ("aé☃😀" * (size // 10 + 1)).encode()[:size].decode(errors="ignore")
        assert client.echo(message) == message
    close_well(client, foreign)


def test_binary_of_every_length_form_comes_back(client: Talker, foreign: Server) -> None:
    for size in SIZES:
        message = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        assert client.echo(message) == message
    close_well(client, foreign)


def test_a_burst_comes_back_in_order(client: Talker, foreign: Server) -> None:
    messages = [f"{number} {'.' * number}" for number in range(200)]
    for message in messages:
        client.send(message)
    assert [client.receive() for _ in messages] == messages
    close_well(client, foreign)


def test_pings_are_answered_with_their_payload_in_both_directions(
    client: Talker, foreign: Server
) -> None:
    for payload in (b"", b"once", b"\x00\xff" * 62, b"p" * 125):
        assert client.beat(payload) == payload
    # The server says so only if its ping came back with its payload.
    assert client.echo("ping") == "pong"
    close_well(client, foreign)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_our_close_arrives_with_code_and_reason_and_is_answered(
    code: int, client: Talker, foreign: Server
) -> None:
    answered, _ = client.leave(code, "słowo")
    assert answered == code
    assert foreign.closed() == (code, "słowo")


def test_the_servers_close_arrives_with_code_and_reason(
    client: Talker, foreign: Server
) -> None:
    client.send("close")
    assert client.left() == (CODE, REASON)
    assert (client.close_code, client.close_reason) == (CODE, REASON)
    foreign.read_line()


def test_the_subprotocol_is_the_one_that_the_server_speaks(foreign: Server) -> None:
    with talking(foreign.url, subprotocols=["gossip", SUBPROTOCOL]) as client:
        assert client.open().subprotocol == SUBPROTOCOL
        close_well(client, foreign)
