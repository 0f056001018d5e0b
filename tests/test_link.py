"""`reactor/link.py`: the connection inside a client."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.handlers import Handlers
from reactor.link import Link
from reactor.loop.reactor import Reactor
from reactor.loop.transport import Transport
from reactor.protocol.handshake import Request
from reactor.settings import Settings
from reactor.testing import FakeClock, MemorySelector, memory_pair


class Owner:
    """Notes what a client is told."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.settings = Settings()
        self.seen: list[Any] = []

    def __repr__(self) -> str:
        return "<the owner>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.seen.append((name, *args))


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("onopen", (), "link_opened"),
        ("onmessage", ("hello",), "onmessage"),
        ("onclose", (1000, "bye"), "link_closed"),
        ("onerror", (ValueError(),), "onerror"),
        ("ondrain", (), "link_drained"),
        ("onping", (b"a",), "onping"),
        ("onpong", (b"b",), "onpong"),
    ],
)
def test_the_client_is_told(name: str, args: tuple[Any, ...], told: str) -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Owner(reactor)
        sock: Any = memory_pair()[0]
        transport = Transport(reactor, sock, owner, print)
        request = Request(b"GET / HTTP/1.1\r\nHost: a", ("memory", 1))
        link = Link(owner, transport, request, Handlers(), None)
        getattr(link, name)(*args)
        assert owner.seen == [(told, *args)]
        assert repr(link) == "<the owner>"
        assert link.is_client
