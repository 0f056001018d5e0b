"""Use from a thread that is not the reactor's raises, before anything has changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Codec, Extension, TextMessage
from tests.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scripted import Net

USES: dict[str, Callable[[Any], object]] = {
    "send": lambda it: it.send("text"),
    "send bytes": lambda it: it.send(bytes(100_000)),
    "send a message": lambda it: it.send(TextMessage("text")),
    "send a stream": lambda it: it.send(["te", "xt"]),
    "ping": lambda it: it.ping(),
    "close": lambda it: it.close(),
    "hang up": lambda it: it.hang_up(),
    "abort": lambda it: it.abort(),
    "pause": lambda it: it.pause(),
    "resume": lambda it: it.resume(),
}
OF_ALL: dict[str, Callable[[Any], object]] = {
    "broadcast": lambda server: server.broadcast("text"),
    "stop": lambda server: server.stop(),
    "abort all": lambda server: server.abort(),
    "close all": lambda server: server.close(),
}


class Remembering(Codec):
    """As a compressor: what it has encoded has to be sent."""

    def __init__(self) -> None:
        self.extension = Extension()
        self.encoded = 0

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        return 0

    def encode(self, data: bytes, final: bool) -> bytes:
        self.encoded += 1
        return data


def raised_elsewhere(reactor: Any, use: Callable[[Any], object], it: Any) -> str:
    """Return what `use(it)` raises in another thread, while the reactor makes a step."""
    errors: list[str] = []

    def work() -> None:
        try:
            use(it)
        except RuntimeError as error:
            errors.append(str(error))

    def in_step() -> None:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()

    reactor.call_soon(in_step)
    reactor.step()
    return "".join(errors)


@pytest.mark.parametrize("name", [*USES, *OF_ALL])
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
def test_use_of_a_server_s_connection_raises_and_leaves_it_as_it_was(
    name: str, encoded: bool
) -> None:
    codec = Remembering()
    with Line(codecs=(codec,) * encoded) as line:
        it, use = (line.client, USES[name]) if name in USES else (line.server, OF_ALL[name])
        line.client.send("before")
        line.settle()
        before = line.read_all()
        assert len(before) == 1
        packed = codec.encoded
        assert bool(packed) is encoded
        said = raised_elsewhere(line.reactor, use, it)
        assert said.startswith("the reactor is used from a thread other than its own")
        line.settle()
        assert line.read_all() == []
        assert line.client.ready_state.name == "OPEN"
        assert not line.server.stopping
        assert codec.encoded == packed
        assert line.server.names() == ["onopen"]
        line.client.send("before")
        line.settle()
        assert len(line.read_all()) == 1


@pytest.mark.parametrize("name", [name for name in USES if name != "hang up"])
def test_use_of_a_client_raises_and_leaves_it_as_it_was(name: str, net: Net) -> None:
    client, server = net.meet(False)
    said = raised_elsewhere(net.reactor, USES[name], client)
    assert said.startswith("the reactor is used from a thread other than its own")
    client.send("mine")
    net.until(lambda: server.messages())
    assert server.messages() == ["mine"]
    assert client.ready_state.name == "OPEN"


@pytest.mark.parametrize("name", ["send", "close", "abort"])
def test_use_of_a_client_without_a_connection_raises_too(name: str, net: Net) -> None:
    client = net.client("ws://a.test/", resolver=lambda *args: None, hold=1000)
    said = raised_elsewhere(net.reactor, USES[name], client)
    assert said.startswith("the reactor is used from a thread other than its own")
    assert client.ready_state.name == "CONNECTING"
    assert client.close_code is None
