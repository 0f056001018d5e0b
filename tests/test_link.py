"""`reactor/link.py`: the connection inside a client."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.client import Client
from reactor.handlers import Handlers
from reactor.link import Link
from reactor.loop.reactor import Reactor
from reactor.loop.transport import Transport
from reactor.opened import Opened
from reactor.protocol.handshake import Request
from reactor.settings import Settings
from reactor.testing import FakeClock, MemorySelector, memory_pair


class Owner:
    """Notes what a client is told."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.settings = Settings()
        self.seen: list[Any] = []
        self.handlers_given: set[str] = set()

    def listens_to(self, name: str) -> bool:
        return name in self.handlers_given

    def __repr__(self) -> str:
        return "<the owner>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.seen.append((name, *args))


def link_of(owner: Owner) -> Link:
    sock: Any = memory_pair()[0]
    transport = Transport(owner.reactor, sock, owner, print)
    request = Request(b"GET / HTTP/1.1\r\nHost: a", ("memory", 1))
    return Link(Opened(owner, transport, request, Handlers(), None, is_client=True))


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("onopen", (), "link_opened"),
        ("onmessage", ("hello",), "onmessage"),
        ("onfragment", ("hel", False), "onfragment"),
        ("onsent", ("hello",), "onsent"),
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
        link = link_of(owner)
        getattr(link, name)(*args)
        assert owner.seen == [(told, *args)]
        assert repr(link) == "<the owner>"
        assert link.is_client


@pytest.mark.parametrize("name", ["onfragment", "onsent"])
def test_it_listens_to_what_the_client_listens_to(name: str) -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Owner(reactor)
        assert not link_of(owner).listens_to(name)
        owner.handlers_given.add(name)
        assert link_of(owner).listens_to(name)


class Named(Client):
    def onping(self, payload: bytes) -> None:
        """Somebody's own."""


def test_a_slow_handler_is_named_after_the_clients() -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        client = Named("ws://192.0.2.1/", reactor=reactor, onmessage=print)
        link = link_of(client)  # type: ignore[arg-type]
        assert link.name_of(link.onping) == f"{__name__}.Named.onping"
        assert link.answers_for() == "builtins.print"


def test_a_message_goes_to_the_client_at_once_and_is_counted() -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Owner(reactor)
        link = link_of(owner)
        assert not link.message_received("hello")
        assert owner.seen == [("onmessage", "hello")]
        assert link._transport.tally.messages_received == 1
        reactor.ends = reactor.clock() - 1
        assert link.message_received("the step has no more time")
        reactor.ends = reactor.clock() + 1
        assert not link.message_received("it has")
        reactor.ends = None


def test_what_the_client_raises_fails_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Owner):
        def onmessage(self, message: Any) -> None:
            raise LookupError(message)

    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Clumsy(reactor)
        link = link_of(owner)
        link.start()
        assert link.message_received("hello")
        [(name, error)] = owner.seen
        assert (name, type(error), str(error)) == ("onerror", LookupError, "hello")
        assert (link.close_code, link.close_reason) == (1011, "internal error")
        assert "onmessage of <the owner> raised" in caplog.text


def sent_together(link: Link, *messages: bytes) -> None:
    """Have messages come in one read."""
    link._input(b"".join(bytes((0x81, len(message))) + message for message in messages))


def test_messages_that_come_together_are_told_and_counted() -> None:
    class Asking(Owner):
        def onmessage(self, message: Any) -> None:
            self.seen.append(message)
            if message == "stop":
                link.pause()
            if message == "late":
                reactor.ends = reactor.clock() - 1

    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Asking(reactor)
        link = link_of(owner)
        link.start()
        tally = link._transport.tally
        sent_together(link, b"a", b"b")
        assert owner.seen == ["a", "b"]
        assert tally.messages_received == 2
        sent_together(link, b"c", b"stop", b"d", b"e")
        assert owner.seen == ["a", "b", "c", "stop"]
        assert tally.messages_received == 4
        link.resume()
        reactor.step(0)
        assert owner.seen[4:] == ["d", "e"]
        reactor.ends = reactor.clock() + 1
        sent_together(link, b"in time", b"late", b"f", b"g")
        assert owner.seen[6:] == ["in time", "late"]
        assert tally.messages_received == 8
        reactor.ends = None
        reactor.step(0)
        assert owner.seen[8:] == ["f", "g"]
        assert tally.messages_received == 10


def test_what_the_client_raises_ends_what_came_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clumsy(Owner):
        def onmessage(self, message: Any) -> None:
            raise LookupError(message)

    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        owner = Clumsy(reactor)
        link = link_of(owner)
        link.start()
        sent_together(link, b"a", b"b")
        assert [str(error) for _, error in owner.seen] == ["a"]
        assert link._transport.tally.messages_received == 1
        assert "onmessage of <the owner> raised" in caplog.text
