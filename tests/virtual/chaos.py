"""A role in which anything goes: only what always holds can be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor import QueueFull
from tests.virtual.role import Boom, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reactor import Connection
    from tests.virtual.role import Script

# What a client does, and what a handler does, when anything goes.
DEEDS = (
    *[*["say"] * 4, "ping", "stall", "go_on", "wrong", "leave", "finish", "fragment"],
    *["close"],
)
CALLS = (
    *[*["send"] * 3, "stream", "fail", "pause", "resume", "close", "abort", "ping"],
    *["later", "broadcast", "raises", "drop", "soon", "hang_up", *["nothing"] * 2],
)


class Chaotic(Role):
    """One whose handlers do anything, and whose client does too: only the laws hold."""

    determined = False

    def script(self) -> Script:
        visitor = self.connect()
        for _ in range(self.random.randint(1, 25)):
            if visitor.ended is not None:
                return
            getattr(self, self.random.choice(DEEDS))()
            if self.random.random() < 0.5:
                yield self.random.choice([0.001, 0.02, 0.3, 2.0])
        visitor.go_on_reading()
        yield 1.0
        self.leave()

    # ---- what the client does ----

    def say(self) -> None:
        size = self.random.choice([0, 1, 100, 3000, 40_000])
        message: Any = self.random.choice(["x" * size, bytes(size)])
        self.visitor.send(message)

    def ping(self) -> None:
        self.visitor.ping(b"?")

    def fragment(self) -> None:
        head = self.random.choice([0x01, 0x00, 0x00, 0x80, 0x80])
        self.visitor.frame(head, b"part")

    def stall(self) -> None:
        self.visitor.stop_reading()

    def go_on(self) -> None:
        self.visitor.go_on_reading()

    def wrong(self) -> None:
        if self.random.random() < 0.1:
            self.visitor.write(bytes(self.random.getrandbits(8) for _ in range(20)))

    def leave(self) -> None:
        if self.random.random() < 0.3:
            getattr(self.visitor, self.random.choice(["reset", "disconnect", "vanish"]))()

    def finish(self) -> None:
        if self.random.random() < 0.1:
            self.visitor.finish()

    def close(self) -> None:
        if self.random.random() < 0.3:
            self.visitor.close(self.random.choice([1000, 4000]))

    # ---- what the handlers do ----

    def act(self, client: Connection) -> None:
        while self.random.random() < 0.6:
            call = self.random.choice(CALLS)
            try:
                getattr(self, f"_{call}")(client)
            except QueueFull:
                assert self.stage.options["overflow"] == "error"

    def _send(self, client: Connection) -> None:
        size = self.random.choice([0, 1, 100, 3000, 40_000])
        message: Any = self.random.choice(["x" * size, bytes(size)])
        client.send(message)

    def _stream(self, client: Connection) -> None:
        client.send(self._parts_of(client, fails=False))

    def _fail(self, client: Connection) -> None:
        if self.random.random() < 0.2:
            client.send(self._parts_of(client, fails=True))

    def _parts_of(self, client: Connection, fails: bool) -> Iterator[str]:
        try:
            for number in range(self.random.choice([0, 1, 5, 80])):
                yield str(number) * self.random.choice([0, 1, 1000])
                if self.random.random() < 0.03:
                    self.act(client)
            if fails:
                raise Boom("a generator")
        finally:
            if self.random.random() < 0.2:
                self.act(client)

    def _pause(self, client: Connection) -> None:
        self.pause(client)
        self.stage.later(self.random.choice([0, 0.1, 3.0]), self.resume, client)

    def _resume(self, client: Connection) -> None:
        self.resume(client)

    def _close(self, client: Connection) -> None:
        if self.random.random() < 0.3:
            client.close(self.random.choice([1000, 3333]), "chaos")

    def _hang_up(self, client: Connection) -> None:
        if self.random.random() < 0.1:
            client.hang_up(1012)

    def _abort(self, client: Connection) -> None:
        if self.random.random() < 0.1:
            client.abort()

    def _ping(self, client: Connection) -> None:
        client.ping(b"chaos")

    def _later(self, client: Connection) -> None:
        self.stage.later(self.random.choice([0, 0.01, 1.0]), self.act, client)

    def _soon(self, client: Connection) -> None:
        client.reactor.call_soon(self.act, client)

    def _broadcast(self, client: Connection) -> None:
        self.stage.tell_all(f"{self.number} chaos")

    def _raises(self, client: Connection) -> None:
        if self.random.random() < 0.1:
            raise Boom("chaos")

    def _drop(self, client: Connection) -> None:
        others = [role for role in self.stage.roles if isinstance(role, Chaotic)]
        other = self.random.choice(others).client
        if other is not None and self.random.random() < 0.2:
            other.abort()

    def _nothing(self, client: Connection) -> None: ...

    def onopen(self, client: Connection) -> None:
        self.act(client)

    def onmessage(self, client: Connection, message: Any) -> None:
        self.act(client)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        self.act(client)

    def onerror(self, client: Connection, error: Exception) -> None:
        self.act(client)

    def ondrain(self, client: Connection) -> None:
        self.act(client)

    def onsent(self, client: Connection, message: Any) -> None:
        if self.random.random() < 0.2:
            self.act(client)

    def onping(self, client: Connection, payload: bytes) -> None:
        self.act(client)

    def onpong(self, client: Connection, payload: bytes) -> None:
        self.act(client)
