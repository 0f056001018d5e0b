"""One seed: a world, a server with the options that it draws, and those who play in it."""

from __future__ import annotations

import functools
import logging
from random import Random
from typing import TYPE_CHECKING, Any

from reactor import Connection, Handlers, Server
from reactor.testing import World
from tests.virtual.laws import Oracle, check_server
from tests.virtual.role import KIB, NEWS, Boom, Player, Role

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds of the world after which whoever still waits for something waits in vain.
PATIENCE = 600.0
EVENTS = "onopen", "onmessage", "onclose", "onerror", "ondrain", "onping", "onpong"
# What is logged of a generator that mixes its parts, as one of the roles has it do.
MEANT = {"a message of text and binary parts"}


class Tapped(World):
    """A world in which an oracle hears what the clients hear."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.oracles: dict[str, Oracle] = {}

    def arrived(self, way: str, data: bytes | None) -> None:
        super().arrived(way, data)
        if data and way in self.oracles:
            self.oracles[way].hear(data)


class Stage:
    """A world, a server and its roles, all of a seed.

    Args:
        seed: Of what happens.
        kinds: The roles to draw from.
        network: The seed of the network, by default the same.
    """

    def __init__(self, seed: int, kinds: list[type[Role]], network: int | None = None) -> None:
        self.seed = seed
        self.random = random = Random(f"stage {seed}")
        self.news: list[str] = []
        self.timers: list[Any] = []
        self.victims: list[Any] = []
        self.steps = 0
        self.compresses = random.random() < 0.4
        self.in_parts = random.random() < 0.2
        self.stops_at = random.uniform(1, 30) if random.random() < 0.15 else None
        self.stop_code = random.choice([1001, 1012, 4000])
        self.at_once = random.random() < 0.3
        self.stopped = False
        self.proxied = random.random() < 0.1
        self.secure = random.random() < 0.08
        self.player: Any = Player
        self.stalls = False
        self.options = self._options()
        if self.secure:
            from tests.virtual import secure

            self.player = secure.SecurePlayer
            self.options["tls"] = secure.server_context()
            # An echo alone comes to 192 KiB where there is one queue more.
            self.options["max_write_queue"] = 256 * KIB
            # Handshakes take longer than they may where there is room for few.
            self.options.pop("max_pending_handshakes", None)
        # One message more than the limit is allowed into an empty queue.
        self.limit = self.options["max_write_queue"] + 64 * KIB
        self.world = self._world(seed if network is None else network)
        self.server = self._server()
        chosen = [random.choice(kinds) for _ in range(random.randint(10, 18))]
        self.roles = [kind(self, number) for number, kind in enumerate(chosen)]

    def _options(self) -> dict[str, Any]:
        random = self.random
        limited = random.random() < 0.15
        options: dict[str, Any] = {
            "max_message": random.choice([70_000, 1024 * KIB]),
            "max_fragments": random.choice([64, 16_384]),
            # Where messages leave in fragments, an echo alone comes to 128 KiB.
            "max_write_queue": random.choice([192 * KIB, 256 * KIB]),
            "overflow": random.choice(["close", "skip", "error"]),
            "ping_interval": random.choice([4.0, 20.0] if limited else [None, 4.0, 20.0]),
            "ping_timeout": random.choice([4.0, 20.0]),
            "handshake_timeout": random.choice([4.0, 10.0]),
            "close_timeout": random.choice([6.0, 10.0]),
            "write_timeout": random.choice([8.0, 30.0]),
            "fragment_size": random.choice([None, None, 1000, 20_000]),
            "compress": self.compresses,
            "subprotocols": random.choice([(), ("chat", "other")]),
            "proxy_protocol": self.proxied,
        }
        if limited:
            options["max_connections"] = random.choice([3, 6])
        if random.random() < 0.15:
            options["max_pending_handshakes"] = random.choice([2, 4])
        return options

    def _world(self, seed: int) -> Tapped:
        random = Random(f"network {seed}")
        # A full queue passes within a few seconds by each of these.
        slowest, jitter, buffers = random.choice(
            [
                (0.0, 0.0, (300, 5000)),
                (0.01, 0.02, (4096, 65536)),
                (0.1, 0.2, (65536, 200_000)),
            ]
        )
        # Decided by what happens and not by the network: a step's budget.
        budget = 0.001 if self.random.random() < 0.2 else None
        world = Tapped(
            seed,
            latency=(slowest / 10, slowest),
            jitter=jitter,
            buffers=buffers,
            bandwidth=random.choice([None, None, (50_000, 500_000)]),
            cuts=random.choice([0.0, 0.1, 0.5]),
            work=0.0 if budget is None else 0.0003,
            budget=budget,
        )
        world.onstep = self._stepped
        return world

    def _server(self) -> Server:
        names = [*EVENTS, *(["onsent"] if self.random.random() < 0.4 else [])]
        self.tells = "onsent" in names
        if self.in_parts:
            names[names.index("onmessage")] = "onfragment"
        functions: dict[str, Any] = {
            name: functools.partial(self._tell, name) for name in names
        }
        options, how = self.options, self.random.choice(["functions", "hall", "guest", "place"])
        options["onrequest"] = self._asked
        self.has_places = how == "place"
        if how == "functions":
            return self.world.server(Server, **options, **functions)
        methods = {name: _method(function) for name, function in functions.items()}
        if how == "hall":
            hall: Any = type("Hall", (Server,), methods)
            served: Server = self.world.server(hall, **options)
            return served
        if how == "guest":
            guest = type("Guest", (Connection,), {n: _own(f) for n, f in functions.items()})
            return self.world.server(Server, connection=guest, **options)
        place = type("Place", (Handlers,), {**methods, "onrequest": _method(self._asked)})()
        return self.world.server(Server, locations={"/{number}": place}, **options)

    def role_of(self, request: Any) -> Role:
        return self.roles[int(request.target[1:].partition("?")[0])]

    def _tell(self, name: str, client: Connection, *args: Any) -> None:
        self.role_of(client.request).tell(name, client, *args)

    def _asked(self, request: Any) -> Any:
        number = request.target[1:].partition("?")[0]
        return self.roles[int(number)].onrequest(request) if number.isdecimal() else None

    # ---- for the roles ----

    def connect(self, role: Role, **options: Any) -> Player:
        target, headers = options.pop("target", f"/{role.number}"), options.pop("headers", {})
        request, elsewhere = options.pop("request", None), options.pop("elsewhere", None)
        visitor: Player = self.world.connect(
            elsewhere or self.server,
            kind=Player if elsewhere else self.player,
            extensions=role.extensions,
            request=b"",
        )
        visitor.role = role
        if not elsewhere:
            visitor.put(self.prefix(visitor))
        visitor.go_on_talking()
        if elsewhere or not self.secure:
            self.world.oracles[visitor.route.name + "<"] = visitor.oracle
        visitor.write(visitor.request(target, headers) if request is None else request)
        return visitor

    def prefix(self, visitor: Player) -> bytes:
        """Return what a proxy puts before it all."""
        if not self.proxied:
            return b""
        host, port = visitor.route.address
        return f"PROXY TCP4 {host} 10.9.9.9 {port} 80\r\n".encode()

    def later(self, delay: float, fn: Callable[..., object], *args: object) -> None:
        """Have the reactor call something, with a timer that is known."""
        self.timers.append(self.server.reactor.call_later(delay, fn, *args))

    def tell_all(self, text: str) -> None:
        self.news.append(NEWS + text)
        self.server.broadcast(NEWS + text)

    @property
    def healthy(self) -> bool:
        """Whether nothing holds up the loop."""
        return not self.stalls and self.world.budget is None

    # ---- the play ----

    def play(self) -> None:
        """Play it all, to the last end, and check it."""
        with self.world, watched() as errors:
            for role in self.roles:
                self.world.call_later(role.begins, role.begin)
            if self.stops_at is not None:
                self.world.call_later(self.stops_at, self.stop)
            self._until(lambda: all(role.over for role in self.roles))
            self.stop()
            self._until(lambda: self.server._ended)
            self.world.run(60)  # what is still on its way
            self._check_end()
        for error in errors:
            if not isinstance(error, Boom) and str(error) not in MEANT:
                raise AssertionError("something else was logged") from error
        for role in self.roles:
            self._check(role)

    def _until(self, done: Callable[[], object]) -> None:
        try:
            self.world.until(done, PATIENCE)
        except TimeoutError:
            late = [(role, role._waits_for) for role in self.roles if not role.over]
            raise AssertionError(f"waiting in vain: {late}, {self.server.clients}") from None

    def stop(self) -> None:
        """Stop the server; whoever still plays is disturbed."""
        if not self.stopped:
            self.stopped = True
            for role in self.roles:
                role.disturbed = not role.over
            if self.at_once:
                self.server.close()
            else:
                self.server.stop(self.stop_code, "stop")

    def _stepped(self, reactor: Any) -> None:
        self.steps += 1
        self.timers = [timer for timer in self.timers if timer.active]
        check_server(self.server, self.limit, len(self.timers))

    def _check_end(self) -> None:
        reactor: Any = self.server.reactor
        assert not self.server.clients
        assert not reactor._pollables
        self.timers = [timer for timer in self.timers if timer.active]
        assert len(reactor._timers) == len(self.timers)
        assert list(reactor._selector.get_map()) == [reactor._wakeup.reader]

    def _check(self, role: Role) -> None:
        assert len(role.ends) == (role.client is not None), role
        assert role.noted[:1] == ([("onopen",)] if role.client else [])
        news, start = role.news, role.news_from
        if self.options["overflow"] == "close":
            assert news == self.news[start : start + len(news)], role
        else:
            rest = iter(self.news[start:])
            assert all(text in rest for text in news), role
        visitor = getattr(role, "visitor", None)
        if visitor is not None:
            heard = [m for m in visitor.oracle.messages if not str(m).startswith(NEWS)]
            assert visitor.received == heard[: len(visitor.received)], role
        try:
            (role.check_disturbed if role.disturbed else role.check)()
        except AssertionError as error:
            raise AssertionError(f"{role}: {error}") from error


def _method(function: Callable[..., object]) -> Any:
    return lambda self, *args: function(*args)


def _own(function: Callable[..., object]) -> Any:
    return lambda self, *args: function(self, *args)


class watched:  # noqa: N801 - reads as a statement
    """Collects what the package logs as an error, or lets no exception be told of."""

    def __enter__(self) -> list[BaseException]:
        self.errors: list[BaseException] = []
        self.log = logging.getLogger("reactor")
        self.before = self.log.level, self.log.propagate
        self.log.setLevel(logging.ERROR)
        self.log.propagate = False
        self.handler = logging.Handler()
        self.handler.emit = self._emit  # type: ignore[method-assign]
        self.log.addHandler(self.handler)
        return self.errors

    def _emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self.errors.append(cause or AssertionError(record.getMessage()))

    def __exit__(self, *error: object) -> None:
        self.log.removeHandler(self.handler)
        level, self.log.propagate = self.before
        self.log.setLevel(level)
