"""Roles that say something, are answered, and end in all ways there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reactor.protocol.messages import Message
from tests.virtual.role import Boom, Role

if TYPE_CHECKING:
    from reactor import Connection
    from tests.virtual.role import Script

TEXT, BINARY, CLOSE, PING, PONG, FIN = 1, 2, 8, 9, 10, 0x80
LEAVINGS = [(1000, ""), (1000, "bye"), (1001, ""), (3000, "é" * 60), (4999, "x" * 123)]


class Calls(Role):
    """One that sends messages of all kinds, each of which is answered by itself."""

    def draw(self) -> None:
        self.calls = [self.call() for _ in range(self.random.randint(1, 8))]
        self.pauses = [self.random.choice([0, 0, 0.01, 1.0]) for _ in self.calls]
        self.fragments = [self.random.choice([0, 0, 1, 3]) for _ in self.calls]
        self.leaving = self.random.choice(LEAVINGS)

    def call(self) -> str | bytes:
        size = self.random.choice([0, 1, 125, 126, 1000, 5000, 17_000, 30_000])
        if self.random.random() < 0.5:
            return self.random.choice(["x", "aé", "\N{GRINNING FACE}"]) * (size // 4)
        return bytes(self.random.getrandbits(8) for _ in range(min(size, 300))) * (size // 300)

    def say(self, message: str | bytes, fragments: int) -> None:
        """Send a message, in fragments with a ping between them, or whole."""
        if not fragments or self.extensions:
            self.visitor.send(message)
            return
        data = message.encode() if isinstance(message, str) else message
        opcode, step = TEXT if isinstance(message, str) else BINARY, len(data) // fragments + 1
        for start in range(0, fragments * step, step):
            last = start + step >= fragments * step
            self.visitor.frame(opcode | FIN * last, data[start : start + step])
            opcode = 0
            if not last and self.random.random() < 0.3:
                self.visitor.ping(b"between")

    def talk(self) -> Script:
        self.connect()
        yield self.opened
        for call, pause, fragments in zip(self.calls, self.pauses, self.fragments):
            self.say(call, fragments)
            if pause:
                yield pause

    def script(self) -> Script:
        yield from self.talk()
        yield lambda: len(self.visitor.received) == len(self.calls)
        self.visitor.close(*self.leaving)
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)

    def check(self) -> None:
        assert not self.cut
        assert self.visitor.received == self.messages == self.calls
        assert self.visitor.closed == self.leaving
        assert self.ends == [self.leaving]
        assert self.visitor.ended == "end"
        if self.stage.tells:
            assert self.sent() == self.calls

    def check_disturbed(self) -> None:
        self.check_beginning()
        assert not self.ends or self.ends[0][0] in (
            1006,
            self.stage.stop_code,
            self.leaving[0],
        )

    def sent(self) -> list[Any]:
        sent = [entry[1] for entry in self.noted if entry[0] == "onsent"]
        return [message for message in sent if not isinstance(message, Message)]

    def check_beginning(self) -> None:
        """Nothing is lost in the middle, and nothing is there twice."""
        assert self.messages == self.calls[: len(self.messages)]
        received = self.visitor.received if self.told_of("onopen") else []
        assert received == self.calls[: len(received)]


class Adopted(Calls):
    """One that has come to another server, which has read a part of its request."""

    def draw(self) -> None:
        super().draw()
        self.part = self.random.randrange(100)

    def script(self) -> Script:
        if {"max_connections", "max_pending_handshakes"} & set(self.stage.options):
            return  # who is adopted is not held up by them
        front = self.world.listen()
        elsewhere = SimpleNamespace(addresses=[front.getsockname()])
        visitor = self.connect(elsewhere=elsewhere)
        while not front.waiting:
            yield 0.01
        sock, _ = front.accept()
        head = b""
        while len(head) < self.part:
            try:
                head += sock.recv(self.part)
            except BlockingIOError:
                yield 0.01
        if self.stage.stopped:
            sock.close()
            return
        self.stage.server.adopt(sock, head)
        yield self.opened
        for call in self.calls:
            self.say(call, 0)
        yield lambda: len(visitor.received) == len(self.calls)
        visitor.close(*self.leaving)
        yield self.ended

    def outcome(self) -> object:
        return hasattr(self, "visitor") and super().outcome()

    def check(self) -> None:
        if hasattr(self, "visitor"):
            super().check()

    def check_disturbed(self) -> None:
        if hasattr(self, "visitor"):
            super().check_disturbed()


class Answerer(Calls):
    """The same, one message after the answer to the one before."""

    def script(self) -> Script:
        self.connect()
        yield self.opened
        for number, (call, fragments) in enumerate(zip(self.calls, self.fragments)):
            self.say(call, fragments)
            yield lambda number=number: len(self.visitor.received) > number
        self.visitor.close(*self.leaving)
        yield self.ended


class Early(Calls):
    """One that sends its messages in one piece with the request, and a Close behind them."""

    def draw(self) -> None:
        super().draw()
        self.extensions = ()

    def script(self) -> Script:
        self.connect()
        for call in self.calls:
            self.say(call, 0)
        yield lambda: len(self.visitor.received) == len(self.calls)
        self.visitor.close(*self.leaving)
        yield self.ended


class CodelessLeaver(Calls):
    """One whose Close has no code."""

    def script(self) -> Script:
        yield from self.talk()
        yield lambda: len(self.visitor.received) == len(self.calls)
        self.visitor.frame(FIN | CLOSE, b"")
        yield self.ended

    def check(self) -> None:
        assert self.visitor.received == self.messages == self.calls
        assert self.visitor.closed == (1005, "")
        assert self.ends == [(1005, "")]

    def check_disturbed(self) -> None:
        self.check_beginning()


class Dismissed(Calls):
    """One that the server closes behind its last message; what comes then is dropped."""

    def script(self) -> Script:
        yield from self.talk()
        self.visitor.send("go")
        self.visitor.send("too late")
        yield self.ended

    def onmessage(self, client: Connection, message: Any) -> None:
        if message == "go":
            client.close(*self.leaving)
            client.close(1000, "a second one")
            assert not client.send("nothing")
        else:
            client.send(message)

    def check(self) -> None:
        assert self.visitor.received == self.calls
        assert self.messages == [*self.calls, "go"]
        assert self.visitor.closed == self.leaving
        assert self.ends == [self.leaving]

    def check_disturbed(self) -> None:
        assert self.messages == [*self.calls, "go"][: len(self.messages)]


class Aborted(Calls):
    """One that the server drops in a handler."""

    determined = False

    def draw(self) -> None:
        super().draw()
        self.where = self.random.choice(["onopen", "onmessage", "onping"])

    def script(self) -> Script:
        yield from self.talk()
        self.visitor.ping(b"x")
        yield self.ended

    def drop(self, where: str, client: Connection) -> None:
        if where == self.where:
            client.abort()
            client.abort()
            client.close()
            assert not client.send("nothing")

    def onopen(self, client: Connection) -> None:
        self.drop("onopen", client)

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)
        self.drop("onmessage", client)

    def onping(self, client: Connection, payload: bytes) -> None:
        self.drop("onping", client)

    def check(self) -> None:
        assert [code for code, _ in self.ends] == [1006]
        self.check_beginning()
        assert len(self.messages) <= {"onopen": 0, "onmessage": 1}.get(self.where, 99)
        assert self.visitor.ended in ("end", "reset")
        assert self.visitor.closed is None


class Raising(Calls):
    """One whose handler raises."""

    determined = False

    def draw(self) -> None:
        super().draw()
        self.where = self.random.choice(["onopen", "onmessage", "onping", "onpong", "onsent"])

    def raise_in(self, where: str) -> None:
        if where == self.where:
            raise Boom(f"{where} of {self}")

    def script(self) -> Script:
        yield from self.talk()
        self.visitor.frame(FIN | PONG, b"")
        self.visitor.ping(b"x")
        if self.where == "onsent" and not self.stage.tells:
            self.visitor.close()
        yield self.ended

    def onopen(self, client: Connection) -> None:
        self.raise_in("onopen")

    def onmessage(self, client: Connection, message: Any) -> None:
        client.send(message)
        self.raise_in("onmessage")

    def onsent(self, client: Connection, message: Any) -> None:
        self.raise_in("onsent")

    def onping(self, client: Connection, payload: bytes) -> None:
        self.raise_in("onping")

    def onpong(self, client: Connection, payload: bytes) -> None:
        self.raise_in("onpong")

    def onerror(self, client: Connection, error: Exception) -> None:
        if self.random.random() < 0.3:
            raise Boom("onerror")

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        if self.random.random() < 0.3:
            raise Boom("onclose")

    check_disturbed = Calls.check_beginning

    def check(self) -> None:
        self.check_beginning()
        if self.where == "onsent" and not self.stage.tells:
            return
        assert any(isinstance(error, Boom) for error in self.errors)
        assert self.ends == [(1011, "internal error")]
        assert self.visitor.closed == (1011, "internal error")


class Resetting(Calls):
    """One whose connection is reset at any time."""

    determined = False
    lost = 1006

    def draw(self) -> None:
        super().draw()
        self.when = self.random.choice([0.0, 0.001, 0.01, 0.05, 0.2, 1.0])
        self.leave = self.random.choice(["reset", "disconnect"])

    def script(self) -> Script:
        self.connect()
        self.world.call_later(self.random.uniform(0, self.when), self.go)
        yield self.opened
        for call in self.calls:
            self.say(call, 0)
            yield 0.01
        yield self.ended

    def go(self) -> None:
        getattr(self.visitor, self.leave)()
        self.poke()

    def check(self) -> None:
        self.check_beginning()
        assert [code for code, _ in self.ends] == ([1006] if self.client else [])

    check_disturbed = Calls.check_beginning


class Burst(Calls):
    """One that sends a great many in one piece, and leaves: all of them are delivered."""

    determined = False

    def draw(self) -> None:
        super().draw()
        self.calls = [str(number) for number in range(self.random.randint(100, 400))]
        self.leave = self.random.choice(["close", "finish"])

    def script(self) -> Script:
        self.connect()
        yield self.opened
        for call in self.calls:
            self.visitor.send(call)
        yield lambda: self.visitor.sent_all
        getattr(self.visitor, self.leave)()
        yield self.ended

    def check(self) -> None:
        self.check_beginning()
        assert self.messages == self.calls
        assert [code for code, _ in self.ends] == [1000 if self.leave == "close" else 1006]

    check_disturbed = Calls.check_beginning


class HalfClosing(Calls):
    """One that sends FIN without a Close: what it has sent is delivered."""

    determined = False

    def script(self) -> Script:
        yield from self.talk()
        yield lambda: self.visitor.sent_all
        self.visitor.finish()
        yield self.ended

    def check(self) -> None:
        self.check_beginning()
        assert self.messages == self.calls
        assert [code for code, _ in self.ends] == [1006]

    check_disturbed = Calls.check_beginning


class Vanishing(Calls):
    """One whose cable is cut: only the deadlines find out."""

    determined = False

    def draw(self) -> None:
        super().draw()
        self.when = self.random.choice([0.0, 0.05, 0.5, 2.0])

    def script(self) -> Script:
        self.connect()
        for call in self.calls:
            self.say(call, 0)
        yield self.random.uniform(0, self.when)
        self.visitor.vanish()
        yield 1.0
        if self.client is not None and self.stage.options["ping_interval"] is not None:
            yield self.closed_by_server

    def check(self) -> None:
        self.check_beginning()
        codes = {1006, 1011, 1002, self.stage.stop_code}
        assert {code for code, _ in self.ends} <= codes
        if self.ends and self.ends[0][0] == 1011:
            assert self.ends == [(1011, "ping timeout")]

    check_disturbed = Calls.check_beginning


CALLERS: list[type[Role]] = [
    Calls,
    Adopted,
    Answerer,
    Early,
    CodelessLeaver,
    Dismissed,
    Aborted,
    Raising,
    Resetting,
    Burst,
    HalfClosing,
    Vanishing,
]
