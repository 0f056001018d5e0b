"""How do I send a message to all the others, in rooms?

    python examples/chat.py [port]

Connect to ws://127.0.0.1:8000/room/kitchen?name=Ada
"""

from __future__ import annotations

import sys
from collections import defaultdict

from reactor import Connection, Server


class Chat(Server):
    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, locations=["/room/{room}"], **options)  # type: ignore[arg-type]
        self.rooms: dict[str, set[Connection]] = defaultdict(set)

    def onopen(self, client: Connection) -> None:
        self.rooms[client.request.params["room"]].add(client)
        self.tell(client, f"* {self.name(client)} came")

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        if isinstance(message, str):
            self.tell(client, f"<{self.name(client)}> {message}")
        else:
            client.close(1003, "text only")

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        name = client.request.params["room"]
        self.rooms[name].discard(client)
        self.tell(client, f"* {self.name(client)} left")
        if not self.rooms[name]:
            del self.rooms[name]  # or whoever makes up names fills the memory with them

    def tell(self, author: Connection, text: str) -> None:
        for client in list(self.rooms[author.request.params["room"]]):
            if client is not author:
                client.send(text)

    def name(self, client: Connection) -> str:
        return client.request.query.get("name", "someone")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Chat(("127.0.0.1", port)).run()
