"""The example game, in pygame's loop without a screen, and those who play it in Chromium."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests import programs
from tests.interop.conftest import ROOT
from tests.interop.webdriver import PATIENCE, Browser
from tests.processes import PATIENCE as TO_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The first start of a browser on a machine is slow.
pytestmark = [pytest.mark.interop, pytest.mark.browser, pytest.mark.timeout(120)]

FOLDER = ROOT / "examples" / "game"

# How WebDriver writes the keys.
LEFT, RIGHT, UP, DOWN = "\ue012", "\ue014", "\ue013", "\ue015"

# What a page knows and shows, once it has drawn its next picture.
LOOK = """
const done = arguments[0];
requestAnimationFrame(() => {
  const {players, stars} = snapshots.length ? worldNow() : {players: new Map(), stars: []};
  const seen = {};
  for (const [number, row] of rows) {
    const {x, y} = players.get(number) ?? {x: -1, y: -1};
    const pixel = [...picture.getImageData(Math.round(x), Math.round(y), 1, 1).data];
    const drawn = '#' + pixel.slice(0, 3).map(n => n.toString(16).padStart(2, '0')).join('');
    seen[row.name] = {...row, x, y, drawn};
  }
  done({seen, stars, discs: players.size});
});
"""


class Game:
    """The game in a process of its own."""

    def __init__(self) -> None:
        programs.module("pygame")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error::ResourceWarning",
                FOLDER / "game.py",
                "--port=0",
                "--seed=5",
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "SDL_VIDEODRIVER": "dummy"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:  # pygame greets before
            if found := re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", line):
                self.page, self.port = line.strip(), int(found[1])
                return
        raise AssertionError(f"the game did not start: {self.process.communicate()[1]}")

    def status(self) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/status")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def end(self) -> None:
        """End it as Ctrl-C does; it must end well, and have nothing to complain about."""
        self.process.send_signal(signal.SIGINT)
        told, complaints = self.process.communicate(timeout=TO_END)
        # But for those of a machine that had no time for it.
        lines = [line for line in complaints.splitlines() if "held up everybody" not in line]
        assert (told, lines) == ("", [])
        assert self.process.returncode == 0


class Seat:
    """A window of the browser in which somebody plays."""

    def __init__(self, browser: Browser, page: str, name: str) -> None:
        self.browser = browser
        self.name = name
        new = browser.call("POST", f"{browser.session}/window/new", type="window")
        self.handle = new["handle"]
        self.sit()
        browser.open(page)
        browser.fill("name", name)
        browser.click("play")
        self.until(lambda seat: seat.says("connected") or seat.says("round trip"))

    def sit(self) -> None:
        """Have what the browser is told mean this window."""
        self.browser.call("POST", f"{self.browser.session}/window", handle=self.handle)

    def says(self, text: str) -> bool:
        self.sit()
        return text in self.browser.read("status")

    def look(self) -> Any:
        self.sit()
        return self.browser.run(LOOK)

    def sees(self, *names: str) -> bool:
        """Return whether these play and nobody else, all drawn where they are."""
        look = self.look()
        everybody = look["seen"].values()
        return (
            set(look["seen"]) == set(names)
            and look["discs"] == len(names)
            and all(player["drawn"] == player["colour"] for player in everybody)
        )

    def where(self, name: str) -> tuple[float, float]:
        player = self.look()["seen"][name]
        return player["x"], player["y"]

    def rest(self) -> tuple[float, float]:
        """Wait until its player does not move any more; return where it is."""
        places: list[tuple[float, float]] = []

        def rests(seat: Seat) -> bool:
            places.append(seat.where(seat.name))
            return len(places) > 9 and len(set(places[-9:])) == 1

        self.until(rests)
        return places[-1]

    def scores(self) -> dict[str, int]:
        return {name: player["score"] for name, player in self.look()["seen"].items()}

    def number(self, name: str) -> int | None:
        number: int | None = self.look()["seen"].get(name, {}).get("number")
        return number

    def board(self) -> str:
        self.sit()
        return self.browser.read("board")

    def hold(self, *keys: str) -> None:
        """Hold these keys down and no others."""
        self.sit()
        self.browser.call("DELETE", f"{self.browser.session}/actions")
        down = [{"type": "keyDown", "value": key} for key in keys]
        actions = [{"type": "key", "id": "keyboard", "actions": down}]
        self.browser.call("POST", f"{self.browser.session}/actions", actions=actions)

    def run(self, script: str) -> Any:
        self.sit()
        return self.browser.run(script)

    def until(self, holds: Callable[[Seat], object]) -> None:
        """Wait until this `holds` of it."""
        deadline = time.monotonic() + PATIENCE
        # Each look is a round trip to the browser: no need for a pause between two.
        while not holds(self):
            assert time.monotonic() < deadline, (self.name, self.look())

    def close(self) -> None:
        """Close the window, as who has had enough."""
        self.sit()
        left = self.browser.call("DELETE", f"{self.browser.session}/window")
        self.browser.call("POST", f"{self.browser.session}/window", handle=left[0])


@pytest.fixture
def game() -> Iterator[Game]:
    game = Game()
    try:
        yield game
        if game.process.poll() is None:
            game.end()
    finally:
        game.process.kill()
        game.process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        # It draws without a graphics card, on the processors that the game runs on as well.
        # Those who play have computers of their own: here theirs get what the game leaves.
        os.setpriority(os.PRIO_PGRP, browser.process.pid, 10)
        yield browser


@pytest.fixture
def seats(game: Game, browser: Browser) -> Iterator[list[Seat]]:
    """Ada, Bob and Eve, who play."""
    seats = [Seat(browser, game.page, name) for name in ("Ada", "Bob", "Eve")]
    yield seats
    for seat in seats:
        if seat.handle in browser.call("GET", f"{browser.session}/window/handles"):
            seat.close()


def test_every_page_draws_all_players_and_lists_their_scores_and_round_trips(
    seats: list[Seat],
) -> None:
    rows = r"(?:(?:Ada|Bob|Eve)\n\d+\n\d+\.\d ms\n?){3}"
    for seat in seats:
        seat.until(lambda seat: seat.sees("Ada", "Bob", "Eve"))
        seat.until(lambda seat: seat.says("round trip"))
        seat.until(lambda seat: re.fullmatch(rows, seat.board()))


def test_the_others_see_a_player_move_for_as_long_as_its_key_is_held(
    seats: list[Seat],
) -> None:
    ada, *others = seats
    start, bob = ada.where("Ada"), ada.where("Bob")
    key, sign = (RIGHT, 1) if start[0] < 480 else (LEFT, -1)
    ada.hold(key)
    for other in others:
        other.until(lambda other: (other.where("Ada")[0] - start[0]) * sign > 200)
    ada.hold()
    end = ada.rest()
    for other in others:
        other.until(lambda other: other.where("Ada") == end)
        assert end[1] == start[1]
        assert other.where("Bob") == bob
        assert other.sees("Ada", "Bob", "Eve")


def steer(seat: Seat) -> None:
    """Hold the keys that lead to the star that is nearest."""
    look = seat.look()
    me = look["seen"][seat.name]
    ways = [(star["x"] - me["x"], star["y"] - me["y"]) for star in look["stars"]]
    right, down = min(ways, key=lambda way: abs(complex(*way)))
    keys = [key for key, way in ((RIGHT, right), (LEFT, -right)) if way > 8]
    keys += [key for key, way in ((DOWN, down), (UP, -down)) if way > 8]
    seat.hold(*keys)


def test_a_star_counts_for_who_collects_it_and_everybody_is_told(seats: list[Seat]) -> None:
    ada = seats[0]
    before = ada.scores()

    def collected(ada: Seat) -> bool:
        steer(ada)
        return ada.scores()["Ada"] > before["Ada"]

    ada.until(collected)
    ada.hold()
    ada.rest()
    after = ada.scores()
    assert after == {**before, "Ada": after["Ada"]}
    for seat in seats:
        assert seat.scores() == after
        assert len(seat.look()["stars"]) == 12


def test_who_leaves_disappears_for_the_others_and_can_come_back(
    seats: list[Seat], game: Game
) -> None:
    ada, bob, eve = seats
    bob.sit()
    bob.browser.click("leave")
    eve.close()
    ada.until(lambda ada: ada.sees("Ada"))
    assert game.status()["players"] == 1
    assert bob.says("not connected")
    bob.browser.click("play")
    for seat in (ada, bob):
        seat.until(lambda seat: seat.sees("Ada", "Bob"))


def test_a_page_that_loses_its_connection_comes_back_by_itself(seats: list[Seat]) -> None:
    ada, bob, _ = seats
    before = ada.number("Bob")
    bob.run("socket.close(); arguments[0]()")
    ada.until(lambda ada: ada.number("Bob") not in (None, before))
    for seat in seats:
        seat.until(lambda seat: seat.sees("Ada", "Bob", "Eve"))


def test_the_game_that_ends_tells_the_players(seats: list[Seat], game: Game) -> None:
    game.end()
    for seat in seats:
        seat.until(lambda seat: seat.says("the game is over"))


def keeps_its_ticks(game: Game, seats: list[Seat]) -> object:
    """Have them play for eleven seconds; return whether the game has kept its ticks."""
    start, end = game.status(), time.monotonic() + 11
    while time.monotonic() < end:
        for seat in seats:
            steer(seat)
    status = game.status()
    seconds, frames, ticks = (
        status[name] - start[name] for name in ("seconds", "frames", "ticks")
    )
    print(f"{frames} frames, {ticks} ticks in {seconds:.2f} s, late by ms: {status['late']}")
    assert seconds > 10  # `late` is of the last ten, all of them played
    # The first is what players feel: the world is as fast as it should. The others are what
    # those who look at the host's window do: nearly each of its frames is there, and in time.
    return (
        abs(ticks - 60 * seconds) < 20 and frames > 0.9 * ticks and status["late"]["median"] < 4
    )


def test_the_game_keeps_sixty_ticks_a_second_while_browsers_play(
    seats: list[Seat], game: Game
) -> None:
    # What else the machine does can spoil one of these measurements, or two. A game that is
    # too slow by itself spoils them all.
    assert any(keeps_its_ticks(game, seats) for _ in range(3))


@pytest.fixture
def pygame(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pygame without a screen, and the modules of the game in its namespace of modules."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame's own
        yield programs.module("pygame")
    for name in ("world", "pace", "network", "window", "game"):
        assert name not in before
        sys.modules.pop(name, None)


def test_the_window_draws_the_world_until_it_is_closed(pygame: Any) -> None:
    window = importlib.import_module("window").Window("Stars")
    game = importlib.import_module("game").Game(("127.0.0.1", 0), window, seed=5)
    try:
        ada = game.world.join("Ada")
        ada.x, ada.y = game.world.stars[0] = 300.0, 200.0  # there until it is collected
        window.draw(game.world)
        shown = [window.screen.get_at((300, 200)), window.screen.get_at((300, 230))]
        assert shown == [pygame.Color(ada.colour), pygame.Color("#0d1220")]
        x, y = game.world.stars[1]
        assert window.screen.get_at((round(x), round(y))) == pygame.Color("#ffd43b")
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        game.play()
        assert game.network.ticks > 0
        assert ada.score == 1
    finally:
        game.close()
    assert not pygame.display.get_init()
    assert game.network.reactor.closed
