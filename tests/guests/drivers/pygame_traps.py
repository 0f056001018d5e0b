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

    def watcher(self) -> threading.Thread:
        [thread] = [known for known in threading.enumerate() if known.name == "pygame guest"]
        return thread

    def comes_through(self, hinder: Callable[[], object], clear: Callable[[], object]) -> None:
        """Whatever became of the event, it is handled in the end."""
        count = len(self.got)
        hinder()
        self.theirs.send(b"x")
        # The thread has to try for once; there is no event that would say so.
        time.sleep(0.1)
        assert len(self.got) == count
        clear()
        end = time.monotonic() + PATIENCE
        while len(self.got) == count:
            assert time.monotonic() < end, "it was lost"
            self.guest.handle(pygame.event.wait(50))

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
        time.sleep(0.1)  # until it waits again
        before = game.switches()
        time.sleep(1)
        assert before
        assert game.switches() == before
        pygame.quit()
        game.guest.stop()
        assert threading.active_count() == 1
        reactor.unregister(game.ours)
        game.ours.close()
        game.theirs.close()


main()
