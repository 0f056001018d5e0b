"""permessage-deflate with other people's clients and servers, whatever was agreed on."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import PerMessageDeflate
from reactor.loop.transport import Transport
from tests import programs
from tests.interop.conftest import EchoServer, Server, echo_server
from tests.interop.deflating import (
    SETS,
    SIZES,
    WAYS,
    Item,
    batches,
    check,
    content,
    cut,
    in_ws,
    is_in,
    plans,
    sequence,
)
from tests.interop.peers import NODE_WS, Aiohttp, NodeWs, Peer, Tornado, Websockets, Wsproto
from tests.interop.talker import Talker, talking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.interop.deflating import Plan

pytestmark = pytest.mark.interop

HERE = pathlib.Path(__file__)
# Messages on a connection.
COUNT = 24
# All that a batch of messages can be, and more.
QUEUE = 8 << 20
WIDEST = SETS["15 bits"]
# Tornado overlooks parameters without a value: it forgets nothing, whatever was agreed on.
REMEMBERING = [name for name, parameters in SETS.items() if True not in parameters.values()]

# What is started once serves all examples.
few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# ---- our server ----


def websockets_client(url: str, parameters: Mapping[str, Any]) -> Peer:
    module = programs.module("websockets.extensions.permessage_deflate")
    asked = {"client_max_window_bits": True, **parameters}
    factory = module.ClientPerMessageDeflateFactory(**asked)
    return Websockets(url, compression=None, extensions=[factory])


def node_client(url: str, parameters: Mapping[str, Any]) -> Peer:
    return NodeWs(url, perMessageDeflate={"threshold": 0, **in_ws(parameters)})


def wsproto_client(url: str, parameters: Mapping[str, Any]) -> Peer:
    module = programs.module("wsproto.extensions")
    return Wsproto(url, [module.PerMessageDeflate(**parameters)])


def aiohttp_client(url: str, parameters: Mapping[str, Any]) -> Peer:
    return Aiohttp(url, compress=parameters.get("server_max_window_bits", 15))


def tornado_client(url: str, parameters: Mapping[str, Any]) -> Peer:
    return Tornado(url, compression_options={})


CLIENTS: dict[str, Callable[[str, Mapping[str, Any]], Peer]] = {
    "websockets": websockets_client,
    "node ws": node_client,
    "wsproto": wsproto_client,
    "aiohttp": aiohttp_client,
    "tornado": tornado_client,
}
ALL = frozenset(name for parameters in SETS.values() for name in parameters)
# What of the parameters they can ask for.
ASKING = {
    "websockets": ALL,
    "node ws": ALL,
    "wsproto": ALL,
    "aiohttp": frozenset({"server_max_window_bits"}),
}


@pytest.fixture(scope="module")
def insisting(request: pytest.FixtureRequest) -> Iterator[tuple[EchoServer, dict[str, Any]]]:
    """A server with parameters of its own, and those."""
    parameters = SETS[request.param]
    with echo_server(deflate=parameters, ways=WAYS, max_write_queue=QUEUE) as server:
        yield server, parameters


@pytest.fixture(scope="module")
def lenient() -> Iterator[EchoServer]:
    """A server that leaves all parameters to its clients."""
    with echo_server(deflate=WIDEST, ways=WAYS, max_write_queue=QUEUE) as server:
        yield server


@contextlib.contextmanager
def connected(kind: str, server: EchoServer, parameters: Mapping[str, Any]) -> Iterator[Peer]:
    """Connect, and close when the messages have come back."""
    peer = CLIENTS[kind](server.url, parameters)
    try:
        yield peer
        assert peer.close(1000, "") == 1000
        assert server.closed() == (1000, "")
    finally:
        peer.release()


def agreed(peer: Peer) -> str:
    peer.send("what was agreed on?")
    return str(peer.receive())


def exchange(peer: Peer, messages: Iterable[Item]) -> None:
    for batch in batches(messages):
        for message, compress, fragments in batch:
            parts = cut(message, fragments) if fragments else [message]
            if isinstance(peer, NodeWs):
                peer.send_fragments(parts, compress is not False)
            elif fragments and peer.can_fragment:
                peer.send_fragments(parts)
            else:
                peer.send(message)
        for item in batch:
            check(peer.receive(), item)


def try_out(kind: str, insisting: tuple[EchoServer, dict[str, Any]], name: str) -> None:
    server, parameters = insisting
    with connected(kind, server, {}) as peer:
        assert is_in(parameters, agreed(peer))
        exchange(peer, sequence(name, COUNT))


@pytest.mark.parametrize("insisting", SETS, indirect=True)
@pytest.mark.parametrize("kind", sorted(CLIENTS.keys() - {"tornado"}))
def test_messages_come_back_whatever_our_server_insists_on(
    kind: str, insisting: tuple[EchoServer, dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    try_out(kind, insisting, request.node.name)


@pytest.mark.parametrize("insisting", REMEMBERING, indirect=True)
def test_messages_come_back_to_tornado_whatever_window_our_server_insists_on(
    insisting: tuple[EchoServer, dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    try_out("tornado", insisting, request.node.name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, can_ask in ASKING.items()
        for name, parameters in SETS.items()
        if parameters.keys() & can_ask
    ],
)
def test_messages_come_back_whatever_their_client_asks_for(
    kind: str, name: str, lenient: EchoServer
) -> None:
    parameters = {key: value for key, value in SETS[name].items() if key in ASKING[kind]}
    with connected(kind, lenient, parameters) as peer:
        assert is_in(parameters, agreed(peer))
        exchange(peer, sequence(f"{kind} {name}", COUNT))


def test_any_sequence_of_messages_comes_back_to_node(lenient: EchoServer) -> None:
    peer = NodeWs(lenient.url, perMessageDeflate={"threshold": 0})

    @few
    @given(plans(), st.sampled_from(sorted(SETS)))
    def goes_well(plan: list[Plan], name: str) -> None:
        assert peer.close(1000, "") == 1000
        assert lenient.closed() == (1000, "")
        peer.connect(lenient.url, {"perMessageDeflate": {"threshold": 0, **in_ws(SETS[name])}})
        exchange(peer, map(Item.of, plan))

    try:
        goes_well()
        assert peer.close(1000, "") == 1000
        assert lenient.closed() == (1000, "")
    finally:
        peer.release()


@pytest.mark.parametrize("fragments", [0, 3])
@pytest.mark.parametrize("compress", [None, True, False])
def test_our_server_compresses_unless_it_is_told_not_to(
    compress: bool | None, fragments: int
) -> None:
    message = content("words", SIZES[-1], 0)
    with (
        echo_server(deflate={}, ways=[(compress, fragments)]) as server,
        connected("wsproto", server, {}) as peer,
    ):
        assert isinstance(peer, Wsproto)
        peer.arrived = 0
        peer.send(message)
        assert peer.receive() == message
        shrunk = peer.arrived < SIZES[-1] // 3
        assert shrunk is (compress is not False)


# ---- our client ----


# All but tornado.
OTHERS = ("websockets", "node ws", "aiohttp")


def start(kind: str, parameters: Mapping[str, Any]) -> Server:
    options: dict[str, Any] = {"deflate": dict(parameters), "ways": WAYS}
    if kind == "node ws":
        node = programs.program("node", "nodejs")
        modules = programs.node_modules("ws", NODE_WS)
        script = str(HERE.with_name("node_server.js"))
        options["deflate"] = {"threshold": 0, **in_ws(parameters)}
        command = [node, script, json.dumps(options)]
        return Server(command, {**os.environ, "NODE_PATH": modules})
    programs.module(kind)
    command = [sys.executable, "-m", "tests.interop.foreign_servers"]
    return Server([*command, kind, json.dumps(options)])


@pytest.fixture(scope="module")
def foreign(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that leaves all parameters to its clients."""
    server = start(request.param, {})
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def client_of(server: Server, **parameters: Any) -> Iterator[Talker]:
    """Connect, and close when the messages have come back."""
    options: dict[str, Any] = {"extensions": [PerMessageDeflate(**parameters)]}
    with talking(server.url, **options, max_write_queue=QUEUE) as client:
        yield client.open()
        assert client.leave() == (1000, "")
    assert server.closed() == (1000, "")


def converse(client: Talker, messages: Iterable[Item]) -> None:
    for batch in batches(messages):
        for message, compress, fragments in batch:
            client.send(iter(cut(message, fragments)) if fragments else message, compress)
        for item in batch:
            check(client.receive(), item)


def ask_for(name: str, foreign: Server, request: pytest.FixtureRequest) -> None:
    with client_of(foreign, **SETS[name]) as client:
        # What concerns its own messages, a client does without an answer.
        asked = {key: value for key, value in SETS[name].items() if key.startswith("server")}
        assert is_in(asked, client.extensions)
        converse(client, sequence(request.node.name, COUNT))


@pytest.mark.parametrize("foreign", OTHERS, indirect=True)
@pytest.mark.parametrize("name", SETS)
def test_messages_come_back_whatever_our_client_asks_for(
    name: str, foreign: Server, request: pytest.FixtureRequest
) -> None:
    ask_for(name, foreign, request)


@pytest.mark.parametrize("foreign", ["tornado"], indirect=True)
@pytest.mark.parametrize("name", REMEMBERING)
def test_messages_come_back_from_tornado_whatever_window_our_client_asks_for(
    name: str, foreign: Server, request: pytest.FixtureRequest
) -> None:
    ask_for(name, foreign, request)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", ["websockets", "node ws"])
def test_messages_come_back_whatever_their_server_insists_on(kind: str, name: str) -> None:
    server = start(kind, SETS[name])
    try:
        with client_of(server) as client:
            assert is_in(SETS[name], client.extensions)
            converse(client, sequence(f"{kind} {name}", COUNT))
    finally:
        server.kill()


@pytest.mark.parametrize("foreign", OTHERS, indirect=True)
@few
@given(plan=plans(), name=st.sampled_from(sorted(SETS)))
def test_any_sequence_of_messages_comes_back_to_our_client(
    plan: list[Plan], name: str, foreign: Server
) -> None:
    with client_of(foreign, **SETS[name]) as client:
        converse(client, map(Item.of, plan))


@pytest.mark.parametrize("foreign", ["node ws", "tornado"], indirect=True)
@pytest.mark.parametrize("fragments", [0, 3])
@pytest.mark.parametrize("compress", [None, True, False])
def test_our_client_compresses_unless_it_is_told_not_to(
    compress: bool | None, fragments: int, foreign: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = Transport.write

    def noting(transport: Transport, data: bytes) -> bool:
        written.append(len(data))
        return write(transport, data)

    monkeypatch.setattr(Transport, "write", noting)
    with client_of(foreign) as client:
        written.clear()
        converse(client, [Item(content("words", SIZES[-1], 0), compress, fragments)])
        shrunk = sum(written) < SIZES[-1] // 3
        assert shrunk is (compress is not False)
