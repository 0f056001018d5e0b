"""What is known to go wrong with pygame, and must not."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pygame

from reactor import EVENT_READ, Reactor
from reactor.guests import PygameGuest
from tests.guests.traps import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


class Game:
    """One that waits for events, and a socket that is read."""

    def __init__(self, reactor: Reactor) -> None:
        pygame.display.init()
        pygame.display.set_mode((64, 64))
        self.ours, self.theirs = socket.socketpair()
        self.got: list[bytes] = []
        reactor.register(self.ours, EVENT_READ, lambda mask: self.got.append(self.ours.recv(1)))
        self.guest = PygameGuest(reactor, events=True)
        self.guest.start()
        # Whether the thread has tried to post an event, with whatever result.
        self.tried = threading.Event()
        post = pygame.event.post

        def posting(event: pygame.event.Event) -> bool:
            try:
                return post(event)
            finally:
                self.tried.set()

        pygame.event.post = posting

    def watcher(self) -> threading.Thread:
        [thread] = [known for known in threading.enumerate() if known.name == "pygame guest"]
        return thread

    def comes_through(self, hinder: Callable[[], object], clear: Callable[[], object]) -> None:
        """Whatever became of the event, it is handled in the end."""
        count = len(self.got)
        hinder()
        self.tried.clear()
        self.theirs.send(b"x")
        assert self.tried.wait(PATIENCE), "it has not been tried"
        assert len(self.got) == count
        clear()
        end = time.monotonic() + PATIENCE
        while len(self.got) == count:
            assert time.monotonic() < end, "it was lost"
            self.guest.handle(pygame.event.wait(50))

    def wait_until_it_waits(self) -> None:
        """Wait until the system says of the thread that it sleeps, twice in a row."""
        end = time.monotonic() + PATIENCE
        stat = pathlib.Path(f"/proc/self/task/{self.watcher().native_id}/stat")
        asleep = 0
        self.tried.clear()
        while asleep < 2:
            assert time.monotonic() < end, "it does not rest"
            state = stat.read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 1 if state == "S" else 0
            self.tried.wait(0.02)  # the time between two looks

    def switches(self) -> list[str]:
        """How often the thread was woken."""
        status = pathlib.Path(f"/proc/self/task/{self.watcher().native_id}/status")
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]


def fill() -> None:
    kind = pygame.event.custom_type()
    try:
        while pygame.event.post(pygame.event.Event(kind)):
            pass
    except pygame.error:
        pass  # it is full now


def show_again() -> None:
    pygame.display.init()
    pygame.display.set_mode((64, 64))


def main() -> None:
    with Reactor() as reactor:
        game = Game(reactor)
        game.comes_through(lambda: None, lambda: None)
        game.comes_through(fill, pygame.event.clear)
        game.comes_through(
            lambda: pygame.event.set_blocked(None), lambda: pygame.event.set_allowed(None)
        )
        game.comes_through(lambda: None, pygame.event.clear)
        game.comes_through(pygame.display.quit, show_again)
        pygame.event.clear()
        game.wait_until_it_waits()
        before = game.switches()
        time.sleep(1)  # so long it must not be woken: that is what is looked at
        assert before
        assert game.switches() == before
        pygame.quit()
        game.guest.stop()
        assert threading.active_count() == 1
        reactor.unregister(game.ours)
        game.ours.close()
        game.theirs.close()


main()
