"""The rules: players push themselves through a field and collect stars.

Nothing here knows of sockets, windows or clocks: `tick()` is one sixtieth of a second, whenever
it is called. So the same seed and the same keys make the same game.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

WIDTH, HEIGHT = 960, 540
TICK = 1 / 60  # seconds
PLAYER, STAR = 18, 10  # radii
STARS = 12
MOST_PLAYERS = 32

# What a tick does to a speed, in pixels a tick: it ends at 5.
PUSH, DRAG = 0.6, 0.88

# The keys that a player holds, as bits.
UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8

COLOURS = ("#ff6b6b", "#4dabf7", "#51cf66", "#cc5de8", "#ff922b", "#22d3c5")


@dataclass
class Player:
    number: int
    name: str
    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    keys: int = 0
    score: int = 0

    @property
    def colour(self) -> str:
        return COLOURS[self.number % len(COLOURS)]

    def move(self) -> None:
        right = bool(self.keys & RIGHT) - bool(self.keys & LEFT)
        down = bool(self.keys & DOWN) - bool(self.keys & UP)
        push = PUSH / (math.hypot(right, down) or 1)  # no faster across
        self.dx = (self.dx + right * push) * DRAG
        self.dy = (self.dy + down * push) * DRAG
        self.x = min(max(self.x + self.dx, PLAYER), WIDTH - PLAYER)
        self.y = min(max(self.y + self.dy, PLAYER), HEIGHT - PLAYER)


class World:
    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)
        self.players: dict[int, Player] = {}
        self.stars = [self.somewhere() for _ in range(STARS)]
        self.newest = 0

    def join(self, name: str) -> Player:
        """Add a player, with a number that nobody has and nobody had just now."""
        while self.newest in self.players:
            self.newest = (self.newest + 1) % 256
        player = Player(self.newest, name, *self.somewhere())
        self.newest = (self.newest + 1) % 256
        self.players[player.number] = player
        return player

    def leave(self, player: Player) -> None:
        del self.players[player.number]

    def tick(self) -> bool:
        """Move everything by one tick; return whether somebody scored."""
        scored = False
        for player in self.players.values():
            player.move()
            for number, (x, y) in enumerate(self.stars):
                if math.hypot(player.x - x, player.y - y) < PLAYER + STAR:
                    self.stars[number] = self.somewhere()
                    player.score += 1
                    scored = True
        return scored

    def somewhere(self) -> tuple[float, float]:
        edge = 2 * PLAYER
        return (
            self.random.uniform(edge, WIDTH - edge),
            self.random.uniform(edge, HEIGHT - edge),
        )
