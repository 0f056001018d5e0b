"""`reactor/guests/pygame.py`, with a queue of our own; the real one is in tests/interop/."""

from __future__ import annotations

import os
import queue
import selectors
import sys
import threading
import time
import types
from typing import TYPE_CHECKING

import pytest

from reactor import InvalidState, Reactor
from reactor.guests import PygameGuest
from reactor.guests import pygame as module
from reactor.testing import FakeClock
from tests.guests.pairs import Watched
from tests.loop.helpers import CountingSelector, status_of_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0  # seconds, after which what is waited for will not come any more


class Error(Exception):
    """What pygame raises."""


class Pygame:
    """As much of pygame as a guest uses: a queue of events."""

    error = Error

    def __init__(self) -> None:
        self.queue: queue.Queue[types.SimpleNamespace] = queue.Queue()
        self.refusals: list[Callable[[], bool]] = []
        self.posts = self.peeks = 0
        self.types = 100
        self.event = types.SimpleNamespace(
            Event=lambda kind: types.SimpleNamespace(type=kind),
            custom_type=self.custom_type,
            post=self.post,
            peek=self.peek,
        )
        self.quit = False

    def custom_type(self) -> int:
        self.types += 1
        return self.types

    def post(self, event: types.SimpleNamespace) -> bool:
        self.posts += 1
        if self.refusals:
            return self.refusals.pop()()
        self.queue.put(event)
        return True

    def peek(self, kind: int, *, pump: bool) -> bool:
        assert not pump, "only the game's own thread may do that"
        self.peeks += 1
        if self.quit:
            raise Error("video system not initialized")
        return not self.queue.empty()

    def wait(self) -> types.SimpleNamespace:
        return self.queue.get(timeout=PATIENCE)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


@pytest.fixture
def pygame(monkeypatch: pytest.MonkeyPatch) -> Pygame:
    pygame = Pygame()
    monkeypatch.setitem(sys.modules, "pygame", pygame)
    return pygame


@pytest.fixture
def guest(pygame: Pygame, reactor: Reactor) -> Iterator[PygameGuest]:
    # What a stall of the machine uses up is not to be seen as a step's budget.
    with PygameGuest(reactor, events=True, budget=PATIENCE) as guest:
        yield guest


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it has not come to that"
        threading.Event().wait(0.001)


# ---- frames ----


def test_a_frame_makes_a_step_and_needs_no_pygame(
    reactor: Reactor, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pygame", raising=False)
    pair.theirs.send(b"abc")
    guest = PygameGuest(reactor)
    guest.frame()
    assert (guest.running, guest.wakeups, pair.got) == (False, 0, [])
    threads = threading.active_count()
    with guest:
        assert guest.mode == "ticks"
        guest.frame()
        guest.frame()
        assert (guest.wakeups, pair.got) == (2, [b"a", b"b"])
        assert threading.active_count() == threads
        assert guest.handle(types.SimpleNamespace(type=guest.event_type)) is False
    guest.frame()
    assert (guest.wakeups, pair.got) == (2, [b"a", b"b"])


def test_a_frame_has_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    with Reactor(clock=clock) as reactor, PygameGuest(reactor, budget=0.002) as guest:
        made: list[int] = []

        def work(number: int) -> None:
            clock.advance(0.0015)
            made.append(number)

        for number in range(5):
            reactor.call_soon(work, number)
        guest.frame()
        assert made == [0, 1]
        guest.frame()
        assert made == [0, 1, 2, 3]
        guest.frame()
        assert made == [0, 1, 2, 3, 4]


def test_the_end_of_the_reactor_ends_the_guest_and_the_game_goes_on() -> None:
    with Reactor() as reactor:
        guest = PygameGuest(reactor)
        guest.start()
    assert not guest.running
    guest.frame()


# ---- events ----


def test_what_comes_is_one_event_and_handling_it_makes_a_step(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    assert guest.mode == "descriptor"
    pair.theirs.send(b"ab")
    event = pygame.wait()
    assert event.type == guest.event_type
    assert pair.got == []
    assert guest.handle(event) is True
    assert pair.got == [b"a"]
    # There is one more to read, which is another event, and then nothing.
    assert guest.handle(pygame.wait())
    assert pair.got == [b"a", b"b"]
    assert (guest.wakeups, pygame.posts) == (2, 2)


def test_the_events_of_others_are_not_its_own(guest: PygameGuest, pygame: Pygame) -> None:
    assert guest.handle(types.SimpleNamespace(type=guest.event_type + 1)) is False
    assert guest.wakeups == 0


def test_while_its_event_waits_the_thread_looks_at_nothing(
    pygame: Pygame, reactor: Reactor, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CountingSelector] = []

    class Noted(CountingSelector):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(selectors, "DefaultSelector", Noted)
    with PygameGuest(reactor, events=True) as guest:
        [selector] = made
        until(lambda: len(selector.get_map()) == 2 and selector.timeouts[-1:] == [None])
        pair.theirs.send(b"a")
        event = pygame.wait()
        turns = selector.turns
        pair.theirs.send(b"b")
        reactor.call_soon(lambda: None)
        reactor.call_later(0.001, lambda: None)
        assert (selector.turns, pygame.posts) == (turns, 1)
        guest.handle(event)
        while pair.got != [b"a", b"b"] or reactor.next_timeout() is not None:
            guest.handle(pygame.wait())
        # It waits for ever: nothing wakes it without need.
        until(lambda: selector.timeouts[-1] is None)
        assert pygame.queue.empty()


def test_a_timer_is_an_event_when_its_time_has_come(guest: PygameGuest, pygame: Pygame) -> None:
    called: list[float] = []
    began = time.monotonic()
    guest.reactor.call_later(0.02, lambda: called.append(time.monotonic() - began))
    while not called:
        assert guest.handle(pygame.wait())
    assert called[0] >= 0.02
    assert guest.reactor.next_timeout() is None


def test_what_is_left_over_is_an_event_of_its_own(guest: PygameGuest, pygame: Pygame) -> None:
    made: list[int] = []

    def again() -> None:
        made.append(len(made))
        if len(made) < 3:
            guest.reactor.call_soon(again)

    guest.reactor.call_soon(again)
    for count in 1, 2, 3:
        guest.handle(pygame.wait())
        assert len(made) == count


def test_a_call_from_another_thread_wakes_the_game(guest: PygameGuest, pygame: Pygame) -> None:
    threads: list[int] = []
    call = guest.reactor.call_soon_threadsafe
    thread = threading.Thread(
        target=call, args=(lambda: threads.append(threading.get_ident()),)
    )
    thread.start()
    thread.join()
    guest.handle(pygame.wait())
    assert threads == [threading.get_ident()]


def refused() -> bool:
    return False


def broken() -> bool:
    raise Error("Event queue is full (65535 events)")


@pytest.mark.parametrize("refusal", [refused, broken])
def test_an_event_that_the_queue_does_not_take_is_posted_again(
    refusal: Callable[[], bool],
    guest: PygameGuest,
    pygame: Pygame,
    pair: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_REFUSED", 0.001)
    pygame.refusals = [refusal] * 3
    pair.theirs.send(b"a")
    guest.handle(pygame.wait())
    assert pair.got == [b"a"]
    assert pygame.posts == 4


def test_an_event_that_gets_lost_is_posted_again(
    guest: PygameGuest, pygame: Pygame, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOST", 0.001)
    pair.theirs.send(b"a")
    for lost in range(1, 4):
        pygame.wait()
        pygame.quit = lost == 3
    guest.handle(pygame.wait())
    assert pair.got == [b"a"]
    assert pygame.posts >= 4


def test_an_event_that_is_still_there_is_not_posted_again(
    guest: PygameGuest, pygame: Pygame, pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOST", 0.001)
    pair.theirs.send(b"a")
    until(lambda: pygame.peeks > 3)
    assert pygame.posts == 1
    guest.handle(pygame.wait())
    assert pair.got == [b"a"]


def test_an_interrupt_goes_to_the_game_and_the_guest_lives(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    def interrupt() -> None:
        pair.before = lambda: None
        raise KeyboardInterrupt

    pair.before = interrupt
    pair.theirs.send(b"a")
    with pytest.raises(KeyboardInterrupt):
        guest.handle(pygame.wait())
    while not pair.got:
        guest.handle(pygame.wait())


def test_a_loop_inside_a_handler_makes_no_step(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    def menu() -> None:
        pair.before = lambda: None
        assert guest.handle(types.SimpleNamespace(type=guest.event_type))
        assert pair.got == []

    pair.before = menu
    pair.theirs.send(b"ab")
    while len(pair.got) < 2:
        guest.handle(pygame.wait())
    assert pair.got == [b"a", b"b"]


def test_while_a_loop_is_inside_a_handler_the_thread_looks_at_nothing(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    watcher = guest._watcher
    assert watcher is not None

    def menu() -> None:
        pair.before = lambda: None
        assert guest.handle(pygame.wait())
        assert pair.got == []
        # All that is left is what wakes the thread itself.
        until(lambda: len(watcher._selector.get_map()) == 1)

    pair.before = menu
    pair.theirs.send(b"ab")
    guest.frame()
    assert pair.got == [b"a"]
    while len(pair.got) < 2:
        guest.handle(pygame.wait())


def test_without_a_descriptor_the_thread_ticks(pygame: Pygame) -> None:
    with (
        Reactor(selector=selectors.SelectSelector()) as reactor,
        PygameGuest(reactor, events=True, interval=0.002) as guest,
    ):
        assert guest.mode == "ticks"
        pair = Watched(reactor)
        pair.theirs.send(b"ab")
        while len(pair.got) < 2:
            assert guest.handle(pygame.wait())
        reactor.unregister(pair.ours)
        pair.close()


# ---- the beginning and the end ----


def test_without_pygame_there_are_no_events_to_use(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pygame", raising=False)
    with pytest.raises(RuntimeError, match="pygame is not imported"):
        PygameGuest(reactor, events=True)


def test_a_guest_that_has_stopped_has_no_thread_and_can_start_again(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    before, kind = threading.active_count(), guest.event_type
    pair.theirs.send(b"ab")
    event = pygame.wait()
    guest.stop()
    guest.stop()
    assert threading.active_count() == before - 1
    assert guest.handle(event) is False
    assert pair.got == []
    guest.start()
    # pygame has made a new type of event, as it forgets them when it quits.
    assert guest.event_type == kind + 1
    guest.handle(pygame.wait())
    assert pair.got == [b"a"]


def test_a_handler_may_stop_it(guest: PygameGuest, pygame: Pygame, pair: Watched) -> None:
    pair.before = guest.stop
    pair.theirs.send(b"ab")
    assert guest.handle(pygame.wait())
    assert pair.got == [b"a"]
    assert not guest.running


def test_the_thread_ends_with_the_reactor(pygame: Pygame) -> None:
    before = threading.active_count()
    with Reactor() as reactor:
        guest = PygameGuest(reactor, events=True)
        guest.start()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with pytest.raises(InvalidState):
        guest.start()


def test_a_thread_that_is_told_to_end_while_it_speaks_ends() -> None:
    said: list[int] = []

    def say() -> bool:
        said.append(1)
        return True

    watcher = module._Watcher(say, lambda: True)
    watcher._heard = Ending(watcher)
    watcher.arm(time.monotonic())
    watcher._thread.join(PATIENCE)
    assert not watcher._thread.is_alive()
    assert said == []
    watcher.end(forked=False)


class Ending(threading.Event):
    """What is cleared just after `end` has set it."""

    def __init__(self, watcher: module._Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    def clear(self) -> None:
        self.watcher._ended = True
        self.set()
        super().clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_guest_and_leaves_that_of_its_parent_alone(
    guest: PygameGuest, pygame: Pygame, pair: Watched
) -> None:
    def child() -> None:
        assert not guest.running
        assert guest.handle(types.SimpleNamespace(type=guest.event_type)) is False

    assert status_of_child(child) == 0
    pair.theirs.send(b"a")
    guest.handle(pygame.wait())
    assert pair.got == [b"a"]


def test_in_a_forked_child_there_is_no_thread_to_wake(
    guest: PygameGuest, pygame: Pygame, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = guest._watcher
    assert watcher is not None
    watcher._ended = True  # as if it were the child, which has no thread
    watcher._wakeup.wake()
    watcher._thread.join(PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(type(watcher._wakeup), "wake", None)
        patch.setattr(os, "getpid", lambda: -1)
        guest.stop()
    assert not guest.running
