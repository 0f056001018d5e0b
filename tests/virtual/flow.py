"""Roles of those who read slowly, or not at all, and of those who are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor import QueueFull
from reactor.loop.transport import HIGH_WATER
from tests.virtual.callers import Calls
from tests.virtual.role import Boom, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reactor import Connection
    from tests.virtual.role import Script


class Paused(Calls):
    """One whose messages are taken one at a time, with pauses."""

    def onmessage(self, client: Connection, message: Any) -> None:
        self.pause(client)
        client.send(message)
        self.stage.later(self.random.uniform(0, 0.5), self.resume, client)


class Pinging(Role):
    """Pings in both directions."""

    determined = False

    def draw(self) -> None:
        self.count = self.random.randint(1, 70)
        self.payloads = [b"%d" % number for number in range(self.count)]

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        for payload in self.payloads:
            visitor.ping(payload)
        yield lambda: self.payloads[-1] in visitor.pongs
        visitor.send("and you")
        yield lambda: "pinged" in visitor.received
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        for payload in self.payloads:
            client.ping(payload)
        client.send("pinged")

    def check(self) -> None:
        rest = iter(self.payloads)
        assert all(payload in rest for payload in self.visitor.pongs)
        assert [e[1] for e in self.noted if e[0] == "onping"] == self.payloads
        ours = [p for p in self.visitor.pings if p in self.payloads]
        assert ours == self.payloads
        pongs = [e[1] for e in self.noted if e[0] == "onpong" and e[1] in self.payloads]
        assert pongs == self.payloads
        assert self.ends == [(1000, "")]


class PingFlood(Role):
    """One that pings and does not read: of its pings the last is answered, at the latest."""

    determined = False

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.stop_reading()
        for number in range(1200):
            visitor.ping(b"%0125d" % number)
        yield lambda: visitor.sent_all
        yield 2.0
        visitor.go_on_reading()
        yield lambda: b"%0125d" % 1199 in visitor.pongs
        visitor.close()
        yield self.ended

    def onping(self, client: Connection, payload: bytes) -> None:
        assert client.buffered_amount < 64 * 1024, "pongs fill the queue"

    def check(self) -> None:
        assert self.visitor.pongs == sorted(set(self.visitor.pongs))
        if not self.stage.stalls:  # or it takes nothing for as long as we do not run
            assert self.ends == [(1000, "")]


class Unread(Role):
    """One that asks and does not read the answers: it is not read until it does."""

    def draw(self) -> None:
        self.calls = [f"{number}" * 4000 for number in range(10, 60)]

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.stop_reading()
        for call in self.calls:
            visitor.send(call)
        yield 4.0
        visitor.go_on_reading()
        yield lambda: len(visitor.received) == len(self.calls)
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)
        # What is queued, what is held behind it, the message that was too much; and the news.
        # In TLS as much again can wait to be encrypted.
        most = (2 + self.stage.secure) * HIGH_WATER + 3 * 8300 + sum(map(len, self.stage.news))
        assert client.buffered_amount < most, "it is read on"

    def check(self) -> None:
        assert self.visitor.received == self.messages == self.calls
        assert self.ends == [(1000, "")]


class SlowReader(Role):
    """One that reads nothing while too much is sent to it: the policy decides."""

    determined = False

    def draw(self) -> None:
        self.size = self.stage.options["max_write_queue"] // 20
        self.filled = False
        self.accepted: list[bytes] = []
        self.refused = 0

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.send("fill")
        yield lambda: self.filled
        yield 2.0
        visitor.go_on_reading()
        if self.stage.options["overflow"] != "close":
            yield lambda: len(visitor.received) == len(self.accepted) > 0
            visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        self.visitor.stop_reading()  # nobody knows how much the systems take
        self.stage.later(1.0, self.fill, client)

    def fill(self, client: Connection) -> None:
        number = 0
        while not self.refused and client in self.stage.server.clients and number < 100:
            number += 1
            # Of what no compression makes less.
            message = self.random.getrandbits(8 * self.size).to_bytes(self.size, "big")
            before = client.buffered_amount
            try:
                client.send(message)
            except QueueFull:
                assert self.stage.options["overflow"] == "error"
                self.refused += 1
                continue
            after = client.buffered_amount
            if before and after <= before:
                assert self.stage.options["overflow"] != "error"
                self.refused += 1
            else:
                self.accepted.append(message)
        self.filled = True
        self.world.call_at(self.world.clock.now, self.poke)

    def check(self) -> None:
        received = self.visitor.received
        assert received == self.accepted[: len(received)]
        if self.stage.options["overflow"] != "close":
            assert self.refused
            assert received == self.accepted
            assert self.ends == [(1000, "")]
        else:
            assert self.ends[0][0] == 1006
            assert isinstance(self.errors[0], QueueFull)

    def check_disturbed(self) -> None:
        received = self.visitor.received
        assert received == self.accepted[: len(received)]


class Stuck(Role):
    """One that takes nothing of what waits for it."""

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.stop_reading()
        visitor.send("more than you can take")
        yield self.closed_by_server
        visitor.go_on_reading()

    def onmessage(self, client: Connection, message: Any) -> None:
        # Of what no compression makes less.
        size = self.visitor.route.buffer + 10_000
        client.send(self.random.getrandbits(8 * size).to_bytes(size, "big"))

    def outcome(self) -> object:
        return self.ends

    def check(self) -> None:
        assert self.ends == [(1006, "the peer takes nothing of what is sent")]
        assert isinstance(self.errors[-1], TimeoutError)

    def check_disturbed(self) -> None:
        assert not self.ends or self.ends[0][0] == 1006


class Producer(Role):
    """One that gets all that is produced for it, at its pace."""

    def draw(self) -> None:
        self.total = self.random.randint(20, 60)
        self.items: Iterator[str] = iter(())

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.send("begin")
        for _ in range(4):
            visitor.stop_reading()
            yield self.random.uniform(0, 1)
            visitor.go_on_reading()
            yield self.random.uniform(0, 1)
        yield lambda: len(visitor.received) == self.total
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        self.items = iter([f"{number}" * 2000 for number in range(self.total)])
        self.ondrain(client)

    def ondrain(self, client: Connection) -> None:
        for item in self.items:
            if not client.send(item):
                return

    def check(self) -> None:
        assert self.visitor.received == [f"{number}" * 2000 for number in range(self.total)]
        assert self.ends == [(1000, "")]


class Streamed(Role):
    """One that is sent a message in parts; another waits behind it."""

    def draw(self) -> None:
        self.parts = [f"{number};" * self.random.choice([1, 300]) for number in range(70)]
        self.text = self.random.random() < 0.5
        self.then = self.random.choice(["wait", "close", "raise", "reset", "bad part"])
        self.generators = 0
        self.determined = self.then in ("wait", "close")

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.send("stream")
        if self.then == "wait":
            yield lambda: len(visitor.received) == 2
            visitor.close()
        elif self.then == "reset":
            yield self.random.uniform(0, 0.5)
            visitor.reset()
            yield self.closed_by_server
        yield self.ended

    def pieces(self) -> Iterator[Any]:
        self.generators += 1
        try:
            for number, part in enumerate(self.parts):
                if number == 40 and self.then == "raise":
                    raise Boom("a generator")
                yield part if self.text else part.encode()
            if self.then == "bad part":
                yield b"" if self.text else ""
        finally:
            self.generators -= 1

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(self.pieces())
        client.send("behind")
        client.ping(b"through")
        if self.then == "close":
            client.close(4000, "after all that")

    def check(self) -> None:
        assert self.generators == 0
        whole: Any = "".join(self.parts)
        whole = whole if self.text else whole.encode()
        received = self.visitor.received
        assert received == [whole, "behind"][: len(received)]
        if self.then in ("wait", "close"):
            assert len(received) == 2
            leaving = (1000, "") if self.then == "wait" else (4000, "after all that")
            assert self.ends == [leaving]
            assert self.visitor.closed == leaving
        elif self.then == "reset":
            assert self.ends[0][0] in (1006, 1011)
        else:
            assert self.ends == [(1011, "internal error")]
            assert not received

    def check_disturbed(self) -> None:
        assert self.generators == 0


FLOW: list[type[Role]] = [
    Paused,
    Pinging,
    PingFlood,
    Unread,
    SlowReader,
    Stuck,
    Producer,
    Streamed,
]
