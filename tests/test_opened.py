"""`reactor/opened.py`: what a handshake has led to."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Connection, Handlers, Reactor, Server, State
from reactor.loop.transport import Transport
from reactor.opened import Opened
from reactor.protocol.handshake import Request
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests.extended import Flip


@pytest.mark.parametrize("is_client", [False, True])
def test_a_connection_is_made_of_it(is_client: bool) -> None:
    reactor = Reactor(selector=MemorySelector(), clock=FakeClock())
    with reactor:
        server, handlers = Server(reactor=reactor), Handlers()
        sock: Any = memory_pair()[0]
        nobody: Any = None
        transport = Transport(reactor, sock, nobody, len)
        request = Request(b"GET /chat HTTP/1.1\r\nHost: a", ("memory", 1))
        flip = Flip()
        codec = flip.agree(())
        codec.extension = flip
        opened = Opened(
            server, transport, request, handlers, "v1", (codec,), is_client=is_client
        )
        connection = Connection(opened)
        assert connection.server is server
        assert connection.reactor is reactor
        assert connection.request is request
        assert connection.handlers is handlers
        assert connection.subprotocol == "v1"
        assert connection.extensions == "x-flip"
        assert connection.is_client is is_client
        assert connection.ready_state is State.CONNECTING
        assert transport.events is nobody, "it has begun before it was said to"


def test_it_has_no_extensions_and_is_a_servers_unless_it_says_so() -> None:
    nobody: Any = None
    opened = Opened(nobody, nobody, nobody, Handlers(), None)
    assert opened.codecs == ()
    assert opened.subprotocol is None
    assert not opened.is_client
    with pytest.raises(AttributeError):
        opened.server = nobody  # type: ignore[attr-defined]


def test_a_connection_of_a_server_or_client_has_no_options() -> None:
    nobody: Any = None
    with pytest.raises(TypeError, match=r"Mine\(\) of a server or client has no options"):
        type("Mine", (Connection,), {})(
            Opened(nobody, nobody, nobody, Handlers(), None), max_message=5
        )
