"""With a stand-in for GLib; for the real one see tests/interop/test_guests.py."""

from __future__ import annotations

import enum
import os
import select
import selectors
import socket
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Client, Reactor, Server
from reactor.guests import GLibGuest
from reactor.testing import FakeClock
from tests.loop.helpers import PATIENCE, status_of_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactor import Connection


class IOCondition(enum.IntFlag):
    IN = 1
    OUT = 4


class Source:
    """What GLib's sources have of descriptors."""

    def __init__(self) -> None:
        self.fds: dict[object, tuple[int, int]] = {}
        self.context: Context | None = None
        self.priority = 0

    def add_unix_fd(self, fd: int, condition: IOCondition) -> object:
        tag = object()
        self.fds[tag] = fd, int(condition)
        return tag

    def remove_unix_fd(self, tag: object) -> None:
        del self.fds[tag]


class Timeout(Source):
    """One of GLib's own kind: called after some milliseconds, and for its descriptors."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay
        self.due = time.monotonic() + delay / 1000

    def set_priority(self, priority: int) -> None:
        self.priority = priority

    def set_callback(self, function: Callable[[object], bool]) -> None:
        self.function = function

    def attach(self, context: Context | None) -> None:
        self.context = context or default
        self.context.sources.append(self)

    def destroy(self) -> None:
        if self.context is not None:
            self.context.sources.remove(self)
            self.context = None

    def is_ready(self) -> bool:
        poll = select.poll()
        for fd, condition in self.fds.values():
            poll.register(fd, condition)
        return bool(poll.poll(0)) or self.due <= time.monotonic()


class Context:
    """A main context, whose loop is the test."""

    def __init__(self) -> None:
        self.sources: list[Timeout] = []
        self.raised: list[BaseException] = []

    def turn(self) -> bool:
        """Call what is ready, of one priority; return whether anything was."""
        ready = [source for source in self.sources if source.is_ready()]
        first = min((source.priority for source in ready), default=0)
        for source in ready:
            if source.priority == first and source.context is self:
                self.call(source)
        return bool(ready)

    def call(self, source: Timeout) -> None:
        again = False
        try:
            again = source.function(None)
        except BaseException as error:  # which PyGObject prints
            self.raised.append(error)
        if not again:
            source.destroy()

    def run(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            self.turn()


default = Context()


def settle() -> None:
    """Have the loop do all that there is to do."""
    while default.turn():
        pass


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """GLib, as `from gi.repository import GLib` finds it."""
    package, repository, library = ModuleType("gi"), ModuleType("gi.repository"), ModuleType("")
    library.__dict__.update(IOCondition=IOCondition, Source=Source, Timeout=Timeout)
    repository.__dict__.update(GLib=library)
    monkeypatch.setitem(sys.modules, "gi", package)
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    yield library
    assert default.sources == []
    default.raised.clear()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


def echo(client: Connection, message: str | bytes) -> None:
    client.send(message)


def is_answered(reactor: Reactor, message: str | bytes, context: Context = default) -> bool:
    """Start an echo server and a client, both in this reactor; return whether it echoes."""
    answers: list[str | bytes] = []
    server = Server(("127.0.0.1", 0), reactor=reactor, onmessage=echo, max_message=1 << 22)
    client = Client(
        f"ws://127.0.0.1:{server.addresses[0][1]}/",
        reactor=reactor,
        onopen=lambda client: client.send(message),
        onmessage=lambda client, message: answers.append(message),
        max_message=1 << 22,
    )
    context.run(lambda: answers)
    client.close()
    server.close()
    return answers == [message]


def test_a_server_answers_in_glib_by_its_descriptor(reactor: Reactor) -> None:
    with GLibGuest(reactor) as guest:
        assert guest.mode == "descriptor"
        assert is_answered(reactor, "hello")
        assert {source.priority for source in default.sources} == {200}


def test_without_a_descriptor_it_answers_by_its_sockets() -> None:
    with Reactor(selector=selectors.SelectSelector()) as reactor, GLibGuest(reactor) as guest:
        assert guest.mode == "sockets"
        # So large that it waits until there is room in the socket.
        assert is_answered(reactor, bytes(1 << 21))


def test_what_a_socket_waits_for_is_what_glib_waits_for() -> None:
    mine, theirs = socket.socketpair()
    tired = Reactor(selector=selectors.SelectSelector())

    def conditions() -> list[int]:
        fds = [pair for source in default.sources for pair in source.fds.values()]
        return [condition for fd, condition in fds if fd == mine.fileno()]

    with mine, theirs, tired, GLibGuest(tired):
        tired.register(mine, selectors.EVENT_READ, print)
        assert conditions() == [IOCondition.IN]
        tired.modify(mine, selectors.EVENT_WRITE, print)
        assert conditions() == [IOCondition.OUT]
        tired.modify(mine, selectors.EVENT_READ | selectors.EVENT_WRITE, print)
        assert conditions() == [IOCondition.IN | IOCondition.OUT]
        tired.unregister(mine)
        assert conditions() == []


def test_where_glib_watches_nothing_it_answers_by_ticks(reactor: Reactor, library: Any) -> None:
    library.Source = object  # as on Windows
    with GLibGuest(reactor, interval=0.001) as guest:
        assert guest.mode == "ticks"
        assert is_answered(reactor, "hello")


def test_it_lives_in_the_context_and_at_the_priority_that_are_given(reactor: Reactor) -> None:
    context: Any = Context()
    with GLibGuest(reactor, context=context, priority=-100, budget=0.001):
        assert is_answered(reactor, "hello", context)
        assert {source.priority for source in context.sources} == {-100}
        assert default.sources == []
    assert context.sources == []


def test_a_timer_is_never_early(reactor: Reactor) -> None:
    called: list[float] = []
    with GLibGuest(reactor) as guest:
        began = time.monotonic()
        reactor.call_later(0.0305, lambda: called.append(time.monotonic()))
        default.run(lambda: called)
        assert called[0] - began >= 0.0305
        assert guest.wakeups == 1


def test_a_timer_is_due_at_the_millisecond_after_its_time() -> None:
    with Reactor(clock=FakeClock()) as reactor, GLibGuest(reactor):

        def delays() -> list[int]:
            return [source.delay for source in default.sources if not source.fds]

        reactor.call_later(60, print)
        assert delays() == [60_000]
        reactor.call_later(0.0305, print)  # instead of the other
        assert delays() == [31]


def test_it_is_not_called_while_there_is_nothing_to_do(reactor: Reactor) -> None:
    with GLibGuest(reactor) as guest:
        assert is_answered(reactor, "hello")
        settle()
        wakeups = guest.wakeups
        assert wakeups > 0
        assert not any(default.turn() for _ in range(100))
        assert guest.wakeups == wakeups


def test_what_is_stopped_leaves_nothing_in_glib(reactor: Reactor) -> None:
    guest = GLibGuest(reactor)
    for _ in range(2):
        guest.start()
        reactor.call_later(60, print)
        assert len(default.sources) == 2
        guest.stop()
        assert default.sources == []


def fail() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_goes_to_glib_and_the_guest_lives(reactor: Reactor) -> None:
    called: list[int] = []
    with GLibGuest(reactor):
        reactor.call_soon(fail)  # by the timer
        settle()
        reactor.call_soon_threadsafe(fail)  # by the descriptor
        settle()
        assert [type(error) for error in default.raised] == [KeyboardInterrupt] * 2
        reactor.call_soon_threadsafe(called.append, 1)
        default.run(lambda: called)
        settle()
        reactor.call_soon(called.append, 2)
        default.run(lambda: called == [1, 2])


def test_a_guest_that_is_stopped_when_it_is_interrupted_stays_so(reactor: Reactor) -> None:
    def stop_and_fail() -> None:
        guest.stop()
        raise KeyboardInterrupt

    guest = GLibGuest(reactor)
    guest.start()
    reactor.call_soon_threadsafe(stop_and_fail)
    default.run(lambda: default.raised)
    assert default.sources == []


def test_it_ends_with_its_reactor(reactor: Reactor) -> None:
    guest = GLibGuest(reactor)
    guest.start()
    reactor.close()
    assert not guest.running
    assert default.sources == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_has_its_source_taken_away(reactor: Reactor) -> None:
    with GLibGuest(reactor):

        def child() -> None:
            # A descriptor that is closed is ready, for ever.
            (source,) = default.sources
            default.call(source)
            assert default.sources == []
            assert default.raised == []

        assert status_of_child(child) == 0
        assert is_answered(reactor, "hello")


def test_without_pygobject_there_is_none(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    monkeypatch.delitem(sys.modules, "gi.repository")
    with pytest.raises(ImportError):
        GLibGuest(reactor)
