"""The picture: pygame draws what the world is; it changes nothing in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pygame
from world import HEIGHT, PLAYER, STAR, WIDTH

if TYPE_CHECKING:
    from world import World

NIGHT, GOLD, WHITE = "#0d1220", "#ffd43b", "#e9ecf5"
# The ten corners of a star, around its middle.
CORNERS = [
    (math.sin(n * math.pi / 5) * size, -math.cos(n * math.pi / 5) * size)
    for n, size in enumerate([STAR, STAR / 2.4] * 5)
]


class Window:
    def __init__(self, title: str) -> None:
        pygame.display.init()
        pygame.font.init()
        pygame.display.set_caption(title)
        self.screen = pygame.display.set_mode((WIDTH, HEIGHT))
        self.font = pygame.font.Font(None, 22)

    def closed(self) -> bool:
        """Answer the system; return whether the user has closed the window."""
        return any(event.type == pygame.QUIT for event in pygame.event.get())

    def draw(self, world: World) -> None:
        self.screen.fill(NIGHT)
        for x, y in world.stars:
            corners = [(x + right, y + down) for right, down in CORNERS]
            pygame.draw.polygon(self.screen, GOLD, corners)
        for player in world.players.values():
            pygame.draw.circle(self.screen, player.colour, (player.x, player.y), PLAYER)
            label = self.font.render(f"{player.name}  {player.score}", True, WHITE)
            place = label.get_rect(midbottom=(player.x, player.y - PLAYER - 4))
            self.screen.blit(label, place.clamp(self.screen.get_rect()))
        pygame.display.flip()

    def close(self) -> None:
        pygame.quit()
