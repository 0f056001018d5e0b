"""Who plays in the virtual world: a client with a script, and the handlers it meets."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from reactor import Connection, PerMessageDeflate, State
from reactor.testing import Visitor
from tests.virtual.laws import Oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.virtual.stage import Stage

    Script = Generator[Any, None, None]

KIB = 1024
# Of one connection, how many are handled in a step.
FRAMES = 64
NEWS = "news:"


class Boom(Exception):
    """Raised by handlers that are meant to fail."""


class Player(Visitor):
    """A client that plays a role; an oracle hears what it hears."""

    role: Role

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.oracle = Oracle()

    def put(self, data: bytes) -> None:
        """Send bytes as they are."""
        Visitor.write(self, data)

    def go_on_talking(self) -> None:
        """Begin with what comes before the request."""

    def happened(self) -> None:
        self.role.poke()

    def message_received(self, message: str | bytes) -> None:
        if isinstance(message, str) and message.startswith(NEWS):
            self.role.news.append(message)
        else:
            super().message_received(message)

    @property
    def sent_all(self) -> bool:
        return not self._unsent


class Role:
    """Somebody who plays: the client's script, the server's handlers, and how it must end.

    A script yields seconds to wait, or what must become true before it goes on. It is given up
    when its connection has ended before that.
    """

    # Whether what it comes to depends on nothing but the scenario.
    determined = True
    extensions: tuple[PerMessageDeflate, ...] = ()

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.world = stage.world
        self.number = number
        self.random = Random(f"{stage.seed}/{number}")
        self.noted: list[tuple[Any, ...]] = []
        self.news: list[str] = []
        self.news_from = 0
        self.client: Connection | None = None
        self.over = self.cut = self.disturbed = self.paused = False
        self._step = self._given = 0
        self._parts: list[Any] = []
        self._running = False
        self._waits_for: Callable[[], object] | None = None
        if stage.compresses and self.random.random() < 0.6:
            self.extensions = (PerMessageDeflate(),)
        self.begins = self.random.uniform(0, 8)
        self.draw()
        self._script = self.script()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}>"

    # ---- for the roles ----

    def draw(self) -> None:
        """Decide what will happen: all that is random, before anything has."""

    def connect(self, **options: Any) -> Player:
        self.visitor = self.stage.connect(self, **options)
        return self.visitor

    def script(self) -> Script:
        raise NotImplementedError

    def check(self) -> None:
        """Say how it must have ended, if nothing has come in between."""

    def check_disturbed(self) -> None:
        """Say how it must have ended if the server was stopped in the middle."""

    def outcome(self) -> object:
        """Return what must be the same whatever the network does."""
        return self.visitor.received, self.messages, self.ends

    @property
    def messages(self) -> list[Any]:
        return [entry[1] for entry in self.noted if entry[0] == "onmessage"]

    @property
    def ends(self) -> list[tuple[int, str]]:
        return [entry[1:] for entry in self.noted if entry[0] == "onclose"]

    @property
    def errors(self) -> list[Exception]:
        return [entry[1] for entry in self.noted if entry[0] == "onerror"]

    def told_of(self, name: str) -> bool:
        return any(entry[0] == name for entry in self.noted)

    def opened(self) -> bool:
        return self.visitor.opened

    def ended(self) -> bool:
        return self.visitor.ended is not None

    def closed_by_server(self) -> bool:
        return bool(self.ends)

    # ---- from the server ----

    def tell(self, name: str, client: Connection, *args: Any) -> None:
        """Note what the server's side is told, check the order, and act."""
        if name == "onfragment":
            self._fragment(client, *args)
            return
        assert not self.ends, f"{name} after onclose"
        if name == "onopen":
            assert self.client is None, "a second onopen"
            self.client = client
            self.news_from = len(self.stage.news)
        assert self.client is client, f"{name} before onopen"
        if name == "onmessage":
            self._is_due(client)
        self.noted.append((name, *args))
        if self._waits_for is not None:
            self.world.call_at(self.world.clock.now, self.poke)
        getattr(self, name)(client, *args)

    def _is_due(self, client: Connection) -> None:
        """Check that this connection may be given a message now."""
        assert not (self.paused and client.ready_state is State.OPEN), "paused"
        if self._step != self.stage.steps:
            self._step, self._given = self.stage.steps, 0
        self._given += 1
        # A last one may be put together of what was in hand.
        assert self._given <= FRAMES + 1, "more than its share of a step"

    def pause(self, client: Connection) -> None:
        self.paused = client.ready_state is State.OPEN
        client.pause()

    def resume(self, client: Connection) -> None:
        self.paused = False
        client.resume()

    def _fragment(self, client: Connection, data: str | bytes, final: bool) -> None:
        assert len(data) <= 80 * KIB
        self._parts.append(data)
        if final:
            empty: Any = "" if isinstance(data, str) else b""
            message = empty.join(self._parts)
            self._parts.clear()
            self.tell("onmessage", client, message)

    def onrequest(self, request: Any) -> Any:
        return None

    def onopen(self, client: Connection) -> None: ...
    def onmessage(self, client: Connection, message: Any) -> None: ...
    def onclose(self, client: Connection, code: int, reason: str) -> None: ...
    def onerror(self, client: Connection, error: Exception) -> None: ...
    def ondrain(self, client: Connection) -> None: ...
    def onsent(self, client: Connection, message: Any) -> None: ...
    def onping(self, client: Connection, payload: bytes) -> None: ...
    def onpong(self, client: Connection, payload: bytes) -> None: ...

    # ---- the script ----

    def begin(self) -> None:
        self._go_on()

    def poke(self) -> None:
        """Go on if what is waited for has come about."""
        if self._waits_for is not None and not self._running:
            self._go_on()

    def _go_on(self) -> None:
        self._running = True
        try:
            while not self.over:
                waits_for = self._waits_for
                if waits_for is not None and not waits_for():
                    # A round trip's grace: its end may be what comes next.
                    if self.visitor.ended is not None and waits_for != self.closed_by_server:
                        self._end(cut=True)
                    return
                self._waits_for = None
                what = next(self._script, None)
                if what is None:
                    self._end()
                elif callable(what):
                    self._waits_for = what
                else:
                    self.world.call_later(what, self._go_on)
                    return
        finally:
            self._running = False

    def _end(self, cut: bool = False) -> None:
        self.over, self.cut = True, cut
        self._waits_for = None
        self._script.close()
