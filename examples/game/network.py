"""The wire: who is connected plays, and is told of the world.

Two kinds of messages go to the browsers:

- text, JSON, the board: who plays, in which colour, with how many stars, how far away. When it
  changes, and once a second;
- binary, a snapshot, each tick: where everybody is. It is the whole truth, so one that is lost
  need not be made up for, and who reads too slowly is sent fewer of them, not older ones.

One kind comes back: a byte, the keys that are held.
"""

from __future__ import annotations

import json
import pathlib
import struct
from typing import TYPE_CHECKING, Any

from world import HEIGHT, MOST_PLAYERS, PLAYER, STAR, TICK, WIDTH, Player, World

from reactor import Connection, Request, Response, Server

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = pathlib.Path(__file__).with_name("page.html")
SCALE = 32  # a coordinate is sent as a whole number of 32nds of a pixel


class Network(Server):
    def __init__(
        self, world: World, status: Callable[[], dict[str, Any]], *args: Any, **options: Any
    ) -> None:
        super().__init__(
            *args,
            locations=["/play"],
            max_message=1,
            max_write_queue=16 * 1024,  # of a hundred snapshots, only the latest are of use
            overflow="skip",
            **options,
        )
        self.world = world
        self.status = status
        self.page = PAGE.read_bytes()
        self.ticks = 0
        self.reactor.call_every(1.0, self.each_second)

    # ---- from the browsers ----

    def onrequest(self, request: Request) -> Response | None:
        if request.path == "/":
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, self.page)
        if request.path == "/status":
            fields = {"Content-Type": "application/json", "Cache-Control": "no-store"}
            return Response(200, fields, json.dumps(self.status()))
        if len(self.world.players) >= MOST_PLAYERS:
            return Response(503, body="the game is full")
        return None

    def onopen(self, client: Connection) -> None:
        client.data = player = self.world.join(name_of(client))
        rules = {"width": WIDTH, "height": HEIGHT, "player": PLAYER, "star": STAR}
        rules |= {"tick": TICK * 1000, "scale": SCALE, "you": player.number}
        client.send(json.dumps(rules))
        client.ping()
        self.tell_board()

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        if isinstance(message, bytes) and len(message) == 1:
            client.data.keys = message[0]
        else:
            client.close(1008, "one byte was expected: the keys")

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        self.world.leave(client.data)
        self.tell_board()

    # ---- to the browsers ----

    def tick(self) -> None:
        """Move the world by a tick, and tell everybody."""
        self.ticks += 1
        if self.world.tick():
            self.tell_board()
        self.broadcast(snapshot(self.world, self.ticks))

    def tell_board(self) -> None:
        self.broadcast(json.dumps({"board": [row(client) for client in self.clients]}))

    def each_second(self) -> None:
        for client in self.clients:
            client.ping()  # its pong tells the round trip time
        self.tell_board()  # again: one who has skipped messages may have skipped it


def name_of(client: Connection) -> str:
    name = "".join(filter(str.isprintable, client.request.query.get("name", "")))
    return name.strip()[:12] or "someone"


def row(client: Connection) -> dict[str, Any]:
    player: Player = client.data
    return {
        "number": player.number,
        "name": player.name,
        "colour": player.colour,
        "score": player.score,
        "rtt": client.rtt and round(client.rtt * 1000, 1),  # milliseconds
    }


def snapshot(world: World, tick: int) -> bytes:
    """Return where all are: five bytes a player and four a star, after six.

    Little-endian: the tick (4), how many players (1); each: number (1), x (2), y (2); how many
    stars (1); each: x (2), y (2).
    """
    parts = [struct.pack("<IB", tick % 2**32, len(world.players))]
    for player in world.players.values():
        x, y = int(player.x * SCALE), int(player.y * SCALE)
        parts.append(struct.pack("<BHH", player.number, x, y))
    parts.append(struct.pack("<B", len(world.stars)))
    parts += [struct.pack("<HH", int(x * SCALE), int(y * SCALE)) for x, y in world.stars]
    return b"".join(parts)
