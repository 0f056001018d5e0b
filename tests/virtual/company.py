"""Roles of those who are there for long, and of those who disturb the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.virtual.role import Role

if TYPE_CHECKING:
    from reactor import Connection
    from tests.virtual.role import Script


class Silent(Role):
    """One that answers no ping and no Close."""

    def script(self) -> Script:
        self.connect().answers_pings = False
        yield self.opened
        self.began = self.world.now
        if self.stage.options["ping_interval"] is None:
            yield 40.0
            self.visitor.close()
        yield self.ended
        self.took = self.world.now - self.began

    def outcome(self) -> object:
        return self.ends

    def check(self) -> None:
        options = self.stage.options
        if options["ping_interval"] is None:
            assert self.ends == [(1000, "")]
            return
        assert self.visitor.closed == (1011, "ping timeout")
        assert self.ends == [(1011, "ping timeout")]
        assert isinstance(self.errors[0], TimeoutError)
        patience = options["ping_interval"] + options["ping_timeout"]
        assert self.took > patience - 1
        if self.stage.healthy:
            assert self.took < patience + 2

    def check_disturbed(self) -> None:
        assert self.visitor.received == []


class Idle(Role):
    """A healthy one that says nothing for long: it lives, whatever holds up the loop."""

    def script(self) -> Script:
        self.connect()
        yield self.opened
        yield self.random.uniform(10, 100)
        self.visitor.send("still here")
        yield lambda: self.visitor.received
        self.visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)

    def check(self) -> None:
        assert self.visitor.received == ["still here"]
        assert self.ends == [(1000, "")]

    def check_disturbed(self) -> None:
        assert not self.ends or self.ends[0][0] in (self.stage.stop_code, 1006, 1000)


class Opener(Role):
    """One that is sent away, dropped or held up by onopen."""

    def draw(self) -> None:
        self.how = self.random.choice(["close", "abort", "pause", "send and close"])
        self.determined = self.how != "abort"

    def script(self) -> Script:
        visitor = self.connect()
        visitor.send("early")
        if self.how == "pause":
            yield lambda: visitor.received
            visitor.close()
        yield self.ended

    def onopen(self, client: Connection) -> None:
        if self.how == "pause":
            self.pause(client)
            self.stage.later(0.5, self.resume, client)
            return
        if self.how == "send and close":
            client.send("hello and goodbye")
        getattr(client, "abort" if self.how == "abort" else "close")()

    def onmessage(self, client: Connection, message: Any) -> None:
        assert self.how == "pause"
        client.send("resumed")

    def check(self) -> None:
        heard = {"pause": ["resumed"], "send and close": ["hello and goodbye"]}
        assert self.visitor.received == heard.get(self.how, [])
        assert self.ends == [(1006, "") if self.how == "abort" else (1000, "")]


class Broadcaster(Role):
    """One whose messages go to all."""

    determined = False

    def draw(self) -> None:
        self.count = self.random.randint(1, 10)

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        for number in range(self.count):
            visitor.send(str(number))
            yield self.random.choice([0.0, 0.5])
        yield lambda: len(self.own()) == self.count
        visitor.close()
        yield self.ended

    def own(self) -> list[str]:
        return [text for text in self.news if text.split()[0] == f"news:{self.number}"]

    def onmessage(self, client: Connection, message: Any) -> None:
        self.stage.tell_all(f"{self.number} {message} " + "x" * self.random.choice([0, 2000]))

    def check(self) -> None:
        assert [text.split()[1] for text in self.own()] == list(map(str, range(self.count)))
        assert self.ends == [(1000, "")]


class Victim(Role):
    """One that another connection's handler drops or closes, perhaps in the same step."""

    determined = False

    def script(self) -> Script:
        visitor = self.connect()
        self.stage.victims.append(self)
        while not visitor.opened:
            yield 0.1
            if visitor.ended:
                return
        for number in range(60):
            visitor.send(str(number))
            yield 0.5
            if visitor.ended:
                return
        visitor.close()
        yield self.ended

    def check(self) -> None:
        assert self.messages == list(map(str, range(len(self.messages))))
        assert self.ends[0][0] in (1000, 1006, 4321)


class Killer(Role):
    """One whose handler ends the connections of others."""

    determined = False

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        for _ in range(3):
            visitor.send("kill")
            yield self.random.uniform(0, 5)
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        for victim in self.stage.victims:
            if victim.client is not None and not victim.ends:
                if self.random.random() < 0.5:
                    victim.client.abort()
                else:
                    victim.client.close(4321)

    def check(self) -> None:
        assert self.messages == ["kill"] * 3
        assert self.ends == [(1000, "")]


class Staller(Role):
    """One whose handler holds up the loop."""

    determined = False

    def draw(self) -> None:
        self.stage.stalls = True
        self.seconds = self.random.choice([0.3, 5.0, 60.0])

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        yield self.random.uniform(0, 20)
        visitor.send("hold it up")
        yield lambda: visitor.received
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        self.world.stall(self.seconds)
        client.send("done")

    def check(self) -> None:
        assert self.visitor.received == ["done"]
        assert self.ends == [(1000, "")]


class Caller(Role):
    """One whose answers come by way of the reactor's other calls."""

    def script(self) -> Script:
        visitor = self.connect()
        yield self.opened
        visitor.send("call me")
        yield lambda: len(visitor.received) == 3
        visitor.close()
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        reactor = client.reactor
        self.stage.later(0.2, client.send, "later")
        reactor.call_soon_threadsafe(client.send, "from a thread")
        reactor.call_in_turn(client.send, "in turn")

    def outcome(self) -> object:
        return sorted(map(str, self.visitor.received)), self.ends

    def check(self) -> None:
        heard = ["from a thread", "in turn", "later"]
        assert sorted(map(str, self.visitor.received)) == heard
        assert self.visitor.received[-1] == "later"
        assert self.ends == [(1000, "")]


COMPANY: list[type[Role]] = [Silent, Idle, Opener, Broadcaster, Victim, Killer, Staller, Caller]
