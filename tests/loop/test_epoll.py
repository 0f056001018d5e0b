"""The selector over epoll: it does what the standard library's does."""

from __future__ import annotations

import os
import select
import selectors
import socket
import sys
import time
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

if not sys.platform.startswith("linux"):
    pytest.skip("epoll is Linux's", allow_module_level=True)

from reactor import Reactor
from reactor.loop.epoll import EpollSelector

BOTH = EVENT_READ | EVENT_WRITE
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[EpollSelector, selectors.EpollSelector], ids=["ours", "standard"])
def selector(request: pytest.FixtureRequest) -> Iterator[BaseSelector]:
    with request.param() as made:
        yield made


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def ready(selector: BaseSelector, timeout: float | None = 0) -> list[tuple[object, int]]:
    return [(key.data, events) for key, events in selector.select(timeout)]


def test_a_reactor_has_it_where_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with Reactor() as reactor:
        assert type(reactor._selector) is EpollSelector
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.PollSelector)
    with Reactor() as reactor:
        assert type(reactor._selector.selector) is selectors.PollSelector


@pytest.mark.parametrize("events", [EVENT_READ, EVENT_WRITE, BOTH])
def test_only_what_is_waited_for_is_told(
    selector: BaseSelector, pair: Pair, events: int
) -> None:
    ours, theirs = pair
    key = selector.register(ours, events, "ours")
    assert (key.fileobj, key.fd, key.events, key.data) == (ours, ours.fileno(), events, "ours")
    wanted = events & EVENT_WRITE
    assert ready(selector) == ([("ours", wanted)] if wanted else [])
    theirs.send(b"x")
    assert ready(selector) == [("ours", events)]
    theirs.close()  # a hang-up, of which the system tells unasked
    assert ready(selector) == [("ours", events)]


def test_an_error_is_told_to_whoever_waits_for_anything(selector: BaseSelector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with socket.socket() as refused:
        refused.setblocking(False)
        refused.connect_ex(address)
        selector.register(refused, EVENT_WRITE, "refused")
        assert ready(selector, 5) == [("refused", EVENT_WRITE)]
        selector.modify(refused, EVENT_READ, "refused")
        assert ready(selector, 5) == [("refused", EVENT_READ)]


def test_several_are_told_at_once(selector: BaseSelector) -> None:
    pairs = [socket.socketpair() for _ in range(20)]
    for number, (ours, theirs) in enumerate(pairs):
        selector.register(ours, EVENT_READ, number)
        if number % 2:
            theirs.send(b"x")
    assert sorted(ready(selector)) == [(number, EVENT_READ) for number in range(1, 20, 2)]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_what_was_modified_counts(selector: BaseSelector, pair: Pair) -> None:
    ours, _ = pair
    selector.register(ours, EVENT_READ, "one")
    assert ready(selector) == []
    assert selector.modify(ours, EVENT_WRITE, "two").events == EVENT_WRITE
    assert ready(selector) == [("two", EVENT_WRITE)]
    assert selector.modify(ours, EVENT_WRITE, "three").data == "three"
    assert ready(selector) == [("three", EVENT_WRITE)]


def test_who_was_unregistered_is_not_told(selector: BaseSelector, pair: Pair) -> None:
    ours, _ = pair
    key = selector.register(ours, EVENT_WRITE, "ours")
    assert selector.unregister(ours) == key
    assert ready(selector) == []
    with pytest.raises(KeyError):
        selector.unregister(ours)
    with pytest.raises(KeyError):
        selector.modify(ours, EVENT_READ)


def test_a_descriptor_will_do(selector: BaseSelector, pair: Pair) -> None:
    ours, _ = pair
    number = ours.fileno()
    selector.register(number, EVENT_WRITE, "ours")
    assert ready(selector) == [("ours", EVENT_WRITE)]
    assert selector.get_key(ours).data == selector.get_key(number).data == "ours"
    with pytest.raises(KeyError, match=r"already registered|registered already"):
        selector.register(ours, EVENT_READ)
    assert selector.unregister(ours).fd == number


@pytest.mark.parametrize("events", [0, 4, BOTH | 8])
def test_there_are_two_events(selector: BaseSelector, pair: Pair, events: int) -> None:
    with pytest.raises(ValueError, match=r"[Ee]vents"):
        selector.register(pair[0], events)
    assert not selector.get_map()


@pytest.mark.parametrize("no_socket", ["text", object(), -1])
def test_what_is_no_socket_is_refused(selector: BaseSelector, no_socket: object) -> None:
    with pytest.raises(ValueError, match=r"-1|Invalid file object|no socket"):
        selector.register(no_socket, EVENT_READ)  # type: ignore[arg-type]


def test_a_closed_socket_is_refused(selector: BaseSelector) -> None:
    closed = socket.socket()
    closed.close()
    with pytest.raises(ValueError, match="-1"):
        selector.register(closed, EVENT_READ)


def test_what_cannot_be_waited_for_is_not_registered(selector: BaseSelector) -> None:
    with open(os.devnull, "rb") as file:
        with pytest.raises(PermissionError):
            selector.register(file, EVENT_READ)
        assert not selector.get_map()
        with pytest.raises(KeyError):
            selector.unregister(file)


def test_a_socket_that_was_closed_before_can_be_unregistered(
    selector: BaseSelector, pair: Pair
) -> None:
    ours, theirs = pair
    selector.register(theirs, EVENT_READ, "theirs")
    key = selector.register(ours, EVENT_READ, "ours")
    ours.close()
    assert selector.get_key(theirs).data == "theirs"
    assert selector.unregister(ours) == key
    assert ready(selector) == [("theirs", EVENT_READ)]  # the end of input


def test_a_descriptor_that_was_closed_before_cannot_be_modified(selector: BaseSelector) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    selector.register(number, EVENT_READ, "ours")
    ours.close()
    with pytest.raises(FileNotFoundError if _free(number) else OSError):
        selector.modify(number, EVENT_WRITE)
    assert not selector.get_map()
    theirs.close()


def _free(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_one_that_is_open_elsewhere_is_not_told_once_it_was_unregistered(
    selector: BaseSelector, pair: Pair
) -> None:
    # As in a child of `fork`: the system reports it as long as anybody has it open.
    ours, theirs = pair
    theirs.send(b"x")
    selector.register(ours, EVENT_READ, "ours")
    copy = os.dup(ours.fileno())
    try:
        ours.close()
        selector.unregister(ours)
        assert ready(selector) == []
    finally:
        os.close(copy)


def test_who_is_not_registered_under_his_number_is_not_looked_for(
    selector: BaseSelector, pair: Pair
) -> None:
    class Moving:
        number = pair[0].fileno()

        def fileno(self) -> int:
            return self.number

    moving = Moving()
    selector.register(moving, EVENT_READ)
    moving.number = pair[1].fileno()
    with pytest.raises(KeyError):
        selector.get_key(moving)
    with pytest.raises(KeyError):
        selector.unregister(moving)


def test_who_is_modified_by_his_number_is_who_was_registered(
    selector: BaseSelector, pair: Pair
) -> None:
    selector.register(pair[0], EVENT_READ)
    assert selector.modify(pair[0].fileno(), EVENT_WRITE).fileobj is pair[0]
    assert next(iter(selector.get_map().values())).fileobj is pair[0]


def test_the_map_has_what_is_registered(selector: BaseSelector, pair: Pair) -> None:
    known = selector.get_map()
    assert list(known) == []
    key = selector.register(pair[0], EVENT_READ)
    assert (len(known), list(known), known[pair[0]]) == (1, [key.fd], key)
    assert pair[0] in known
    assert pair[1] not in known
    assert list(known.values()) == [key]


def test_a_wait_ends_in_time_and_not_before(selector: BaseSelector, pair: Pair) -> None:
    for timeout in (0.0004, 0.0131):
        began = time.monotonic()
        assert selector.select(timeout) == []
        assert time.monotonic() - began >= timeout
    selector.register(pair[0], EVENT_WRITE, "ours")
    assert ready(selector, None) == ready(selector, -1) == [("ours", EVENT_WRITE)]
    selector.modify(pair[0], EVENT_READ)
    assert ready(selector, -1) == []


def test_the_descriptor_is_readable_when_something_is(
    selector: BaseSelector, pair: Pair
) -> None:
    selector.register(pair[0], EVENT_READ)
    with selectors.PollSelector() as outer:
        outer.register(selector.fileno(), EVENT_READ)  # type: ignore[attr-defined]
        assert not outer.select(0)
        pair[1].send(b"x")
        assert outer.select(5)


def test_it_can_be_closed_twice(selector: BaseSelector, pair: Pair) -> None:
    selector.register(pair[0], EVENT_READ)
    selector.close()
    selector.close()
    with pytest.raises(ValueError, match="closed"):
        selector.select(0)


def test_the_events_of_each_bit(pair: Pair) -> None:
    told = {
        select.EPOLLIN: EVENT_READ,
        select.EPOLLOUT: EVENT_WRITE,
        select.EPOLLIN | select.EPOLLOUT: BOTH,
        select.EPOLLHUP: BOTH,
        select.EPOLLERR: BOTH,
        select.EPOLLIN | select.EPOLLHUP: BOTH,
    }
    selector = EpollSelector()
    for bits, events in told.items():
        for wanted in (EVENT_READ, EVENT_WRITE, BOTH):
            key = selector.register(pair[0], wanted)
            assert selector.events(key.fd, bits) == events & wanted
            selector.unregister(pair[0])
            assert selector.events(key.fd, bits) == 0, "nobody waits for it"
    selector.close()
