"""pygame, on what SDL_VIDEODRIVER names: a game that waits for events."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

import pygame

from reactor.guests import PygameGuest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Host:
    """The loop of a game, with timers in it."""

    def __init__(self) -> None:
        pygame.display.init()
        pygame.display.set_mode((64, 64))
        self.playing = False
        self.guests: list[PygameGuest] = []
        self.timers: list[tuple[float, int, Callable[[], object]]] = []
        self.numbers = itertools.count()

    def call_at(self, when: float, fn: Callable[[], object]) -> None:
        heapq.heappush(self.timers, (when, next(self.numbers), fn))

    def run(self) -> None:
        self.playing = True
        while self.playing:
            self.turn()

    def turn(self) -> None:
        left = self.timers[0][0] - time.monotonic()
        # 0 would be for ever.
        event = pygame.event.wait(max(1, round(left * 1000)))
        self.guests[0].handle(event)
        self.call_due()

    def call_due(self) -> None:
        now = time.monotonic()
        while self.playing and self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()

    def leave(self) -> None:
        self.playing = False

    def guest(self, reactor: Reactor) -> PygameGuest:
        self.guests.append(PygameGuest(reactor, events=True))
        return self.guests[0]

    def handlers(self) -> int:
        events = [event for event in pygame.event.get() if event.type > pygame.USEREVENT]
        return threading.active_count() + len(events)

    def close(self) -> None:
        pygame.quit()
