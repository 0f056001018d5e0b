"""How do I make a game for several browsers, with its server inside pygame's loop?

    pip install pygame
    python examples/game/game.py [--port 8000] [--host 127.0.0.1] [--headless]

Open the address that it prints in a browser or two. `--headless` has no window, and needs no
pygame. What is where: world.py has the rules, network.py the messages, window.py the picture
here, page.html that in the browsers, pace.py the time. This file is the loop.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from network import Network
from pace import Pace
from world import TICK, World

BUDGET = 0.002  # seconds of work for the network in a frame, which has 17 ms


class Game:
    def __init__(self, address: tuple[str, int], window: Any, seed: int | None = None) -> None:
        self.window = window
        self.over = False
        self.world = World(seed)
        self.pace = Pace(TICK)
        self.network = Network(self.world, self.status, address)

    def play(self) -> None:
        """Run until the window is closed, or `end` is called."""
        reactor = self.network.reactor
        while not self.over:
            # What the browsers have sent. More than fits into the budget waits for its turn.
            reactor.step(0, budget=BUDGET)
            for _ in range(self.pace.due()):
                self.network.tick()
            self.window.draw(self.world)
            if self.window.closed():
                self.end()
            # The rest of the frame is waited for, and what comes meanwhile is served at once.
            while (left := self.pace.left()) > 0:
                reactor.step(left, budget=BUDGET)

    def end(self, *signal: object) -> None:
        self.over = True

    def close(self) -> None:
        self.window.close()
        self.network.stop(reason="the game is over")
        self.network.run()  # until all have been told

    def status(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        return {"players": len(self.world.players), **self.pace.report()}


class NoWindow:
    """Stands in for a window, on a machine that has no screen."""

    def draw(self, world: World) -> None:
        pass

    def closed(self) -> bool:
        return False

    def close(self) -> None:
        pass


def open_window() -> Any:
    try:
        from window import Window
    except ModuleNotFoundError as error:
        if error.name != "pygame":
            raise
        sys.exit("pygame is missing: `pip install pygame`, or play with --headless")
    return Window("Stars")


def main() -> None:
    parser = argparse.ArgumentParser(description="Collect stars, with friends.")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all on your network")
    parser.add_argument("--headless", action="store_true", help="no window, and no pygame")
    parser.add_argument("--seed", type=int, help="for the same stars each time")
    options = parser.parse_args()
    window = NoWindow() if options.headless else open_window()
    game = Game((options.host, options.port), window, options.seed)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, game.end)
    host, port = game.network.addresses[0][:2]
    print(f"http://{host}:{port}/", flush=True)
    try:
        game.play()
    finally:
        game.close()


if __name__ == "__main__":
    main()
