"""The blocks of docs/embedding.md: run as they stand, each in its host's loop.

Only the port is another, and the toolkits are stand-ins: as much of each as its block uses. The
real ones have tests/interop/test_guests.py. Who talks to a block's server is in a thread.
"""

from __future__ import annotations

import contextlib
import inspect
import queue
import re
import selectors
import socket
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import reactor
import reactor.guests
from reactor import Frame, Opcode, Server, WebSocket
from reactor.guests import Guest
from tests import programs
from tests.test_docs import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = ROOT / "docs" / "embedding.md"
# In the order of the page; each is used below.
(
    SELECT,
    SOCKETS,
    GAME,
    ASYNCIO,
    TK,
    QT,
    GLIB,
    PYGAME,
    EVENTS,
    PYGLET,
    BLENDER,
    STALL,
    THREADS,
    THREAD,
    CLOCKS,
    NUMBERS,
) = (str(parameter.values[1]) for parameter in blocks("python", PAGE))
PATIENCE = 20.0  # seconds, after which what is waited for will not come any more


def run(code: str) -> dict[str, Any]:
    """Run a block; return its names."""
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(code, "block", "exec"), names)
    return names


class Visitor:
    """Who talks to the server of a block, from a thread of its own, and has its host end then.

    Args:
        monkeypatch: Of the test.
        says: What it sends.
        leave: Called in the end, with the server, in the thread.

    Attributes:
        heard: The first text that has come after that.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        says: str = "hello",
        leave: Callable[[Server], object] | None = None,
    ) -> None:
        self.says = says
        self.heard = ""
        self.server: Server | None = None
        self._leave = leave or (lambda server: server.reactor.call_soon_threadsafe(server.stop))
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        make = Server.__init__

        def made(server: Server, *args: Any, **options: Any) -> None:
            make(server, *args, **options)
            self.server = server
            self._thread.start()

        monkeypatch.setattr(Server, "__init__", made)

    def _run(self) -> None:
        assert self.server is not None
        port: Any = self.server.addresses[0][1]
        try:
            self.heard = self.talk(port)
        except Exception as error:
            self._failure = error
        self._leave(self.server)

    def talk(self, port: int) -> str:
        with WebSocket() as sock:
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", port))
            if self.says:
                sock.send(Frame(Opcode.TEXT, self.says.encode()))
            while True:
                frame = sock.recv()
                if frame.opcode == Opcode.TEXT:
                    return bytes(frame.payload).decode()

    def sees(self, code: str) -> dict[str, Any]:
        """Run a block to its end, while this talks to its server; return its names."""
        names = self.starts(code)
        self.join()
        return names

    def starts(self, code: str) -> dict[str, Any]:
        here, count = re.subn(r'\("(127\.0\.0\.1)?", 8000\)', '("127.0.0.1", 0)', code)
        assert count == 1
        return run(here)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure


# ---- hosts ----


class Host:
    """A loop such as toolkits have: it watches descriptors, and has a timer."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ours, self._theirs = socket.socketpair()
        self._selector.register(self._ours, selectors.EVENT_READ, lambda: None)
        self._timed: tuple[float, Callable[[], None]] | None = None
        self.over = False

    def watch(self, fd: int, events: int, ready: Callable[[], None]) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)
        if events:
            self._selector.register(fd, events, ready)

    def arm(self, delay: float | None, timed: Callable[[], None]) -> None:
        self._timed = None if delay is None else (time.monotonic() + delay, timed)

    def run(self) -> None:
        while not self.over:
            timeout = None
            if self._timed is not None:
                timeout = max(0.0, self._timed[0] - time.monotonic())
            for key, _ in self._selector.select(timeout):
                key.data()
            if self._timed is not None and self._timed[0] <= time.monotonic():
                timed, self._timed = self._timed[1], None
                timed()

    def leave(self, server: Server) -> None:
        """End `run`; from any thread."""
        self.over = True
        self._theirs.send(b"\0")

    def close(self) -> None:
        self._selector.close()
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def toolkit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what puts a module with these names in the place of a toolkit's."""

    def toolkit(path: str, **names: Any) -> None:
        parents = path.split(".")
        for count in range(1, len(parents) + 1):
            name = ".".join(parents[:count])
            module = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, module)
        vars(module).update(names)

    return toolkit


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, host: Host) -> None:
    """Have the guest of this name live in `host`, made as the real one is."""
    signature = inspect.signature(getattr(reactor.guests, name))

    class StandIn(Guest):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(signature.bind(*args, **options).arguments["reactor"])

        def _watch(self, fd: int, events: int) -> None:
            host.watch(fd, events, self._ready)

        def _arm(self, delay: float | None) -> None:
            host.arm(delay, self._timed)

    monkeypatch.setattr(reactor.guests, name, StandIn, raising=False)


class Widget:
    """A window or a label: it has a text, and its toolkit's loop."""

    def __init__(self, host: Host) -> None:
        self.text: Any = None
        self.mainloop = host.run

    def show(self) -> None:
        pass

    def title(self, text: str) -> None:
        self.text = text

    setText = title  # noqa: N815


# ---- three calls, and a game ----


@pytest.mark.parametrize("code", [SELECT, SOCKETS], ids=["descriptor", "sockets"])
def test_a_loop_of_select_serves(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(monkeypatch)
    found = visitor.sees(code)
    assert visitor.heard == "hello"
    assert found["server"].reactor.closed
    if "selector" in found:
        found["selector"].close()


def test_a_loop_of_select_is_woken_for_what_there_is_to_do_and_else_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visitor = Visitor(monkeypatch)
    found = visitor.sees(SELECT)
    # A handshake, a message, an end, and the call that has stopped it: nobody polls.
    assert found["server"].reactor.stats().steps < 20
    found["selector"].close()


def test_a_game_serves_once_in_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(monkeypatch)
    found = visitor.sees(GAME)
    world = found["world"]
    assert visitor.heard.startswith("hello, in frame ")
    assert 0 <= int(visitor.heard.split()[-1]) < world.frames
    assert world.reactor.stats().steps <= world.frames + 10  # those that close it
    assert found["report"].deferred == 0


# ---- guests ----


def test_asyncio_is_both_sides_of_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    run(ASYNCIO)
    assert capsys.readouterr().out == "hello\n"


def test_tk_shows_what_has_come(
    monkeypatch: pytest.MonkeyPatch, host: Host, toolkit: Callable[..., None]
) -> None:
    toolkit("tkinter", Tk=lambda: Widget(host))
    stand_in(monkeypatch, "TkGuest", host)
    visitor = Visitor(monkeypatch, leave=host.leave)
    found = visitor.sees(TK)
    assert (visitor.heard, found["root"].text) == ("shown", "hello")


def test_qt_shows_what_has_come(
    monkeypatch: pytest.MonkeyPatch, host: Host, toolkit: Callable[..., None]
) -> None:
    def application(arguments: list[str]) -> Any:
        return SimpleNamespace(exec=host.run)

    def label(text: str) -> Widget:
        return Widget(host)

    toolkit("PySide6.QtWidgets", QApplication=application, QLabel=label)
    stand_in(monkeypatch, "QtGuest", host)
    visitor = Visitor(monkeypatch, leave=host.leave)
    found = visitor.sees(QT)
    assert (visitor.heard, found["label"].text) == ("shown", "hello")


def test_glib_hears_what_has_come(
    monkeypatch: pytest.MonkeyPatch, host: Host, toolkit: Callable[..., None]
) -> None:
    glib = SimpleNamespace(MainLoop=lambda: SimpleNamespace(run=host.run))
    toolkit("gi.repository", GLib=glib)
    stand_in(monkeypatch, "GLibGuest", host)
    visitor = Visitor(monkeypatch, leave=host.leave)
    visitor.sees(GLIB)
    assert visitor.heard == "heard"


class Pygame:
    """As much of pygame as the blocks use: a queue of events, and a clock."""

    QUIT, OURS = 256, 32_768

    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.frames = 0

    def names(self) -> dict[str, Any]:
        display = SimpleNamespace(set_mode=lambda size: size, flip=self.flip)
        event = SimpleNamespace(
            get=self.get,
            wait=self.wait,
            post=self.post,
            peek=lambda kind, pump: not self.events.empty(),
            custom_type=lambda: self.OURS,
            Event=lambda kind: SimpleNamespace(type=kind),
        )
        # It sleeps, as pygame's does: that is the frame's own time.
        clock = SimpleNamespace(tick=lambda fps: time.sleep(1 / fps))
        return {
            "QUIT": self.QUIT,
            "clock": clock,
            "display": display,
            "error": RuntimeError,
            "event": event,
            "init": lambda: None,
            "quit": lambda: None,
            "time": SimpleNamespace(Clock=lambda: clock),
        }

    def get(self, kind: int) -> list[Any]:
        return [] if self.events.empty() else [self.events.get()]

    def wait(self) -> Any:
        return self.events.get(timeout=PATIENCE)

    def flip(self) -> None:
        self.frames += 1

    def post(self, event: Any) -> bool:
        self.events.put(event)
        return True

    def leave(self, server: Server) -> None:
        self.events.put(SimpleNamespace(type=self.QUIT))


def test_a_game_of_pygame_makes_a_step_in_each_frame(
    monkeypatch: pytest.MonkeyPatch, toolkit: Callable[..., None]
) -> None:
    pygame = Pygame()
    toolkit("pygame", **pygame.names())
    visitor = Visitor(monkeypatch, leave=pygame.leave)
    found = visitor.sees(PYGAME)
    assert visitor.heard == "heard"
    assert found["guest"].wakeups == pygame.frames > 0


def test_a_game_of_pygame_that_waits_for_events_is_woken_by_ours(
    monkeypatch: pytest.MonkeyPatch,
    toolkit: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pygame = Pygame()
    toolkit("pygame", **pygame.names())
    pygame.events.put(SimpleNamespace(type=1))
    visitor = Visitor(monkeypatch, leave=pygame.leave)
    visitor.sees(EVENTS)
    assert visitor.heard == "heard"
    assert capsys.readouterr().out == "one of the game's own: namespace(type=1)\n"


# ---- only timers ----


class Clock:
    """As much of `pyglet.clock` and `pyglet.app` as the block uses."""

    def __init__(self) -> None:
        self.scheduled: dict[Callable[[float], None], float] = {}
        self.over = threading.Event()
        self.ticks = 0

    def schedule_interval(self, fn: Callable[[float], None], interval: float) -> None:
        self.scheduled[fn] = interval

    def unschedule(self, fn: Callable[[float], None]) -> None:
        del self.scheduled[fn]

    def run(self) -> None:
        [(fn, interval)] = self.scheduled.items()
        while not self.over.wait(interval):
            self.ticks += 1
            fn(interval)

    def leave(self, server: Server) -> None:
        self.over.set()


def test_pyglet_makes_a_step_in_each_tick(
    monkeypatch: pytest.MonkeyPatch, toolkit: Callable[..., None]
) -> None:
    clock = Clock()
    toolkit("pyglet", clock=clock, app=SimpleNamespace(run=clock.run))
    visitor = Visitor(monkeypatch, leave=clock.leave)
    found = visitor.sees(PYGLET)
    assert visitor.heard == "heard"
    assert clock.scheduled == {}
    assert 0 < clock.ticks <= found["server"].reactor.stats().steps < clock.ticks + 10


@pytest.mark.interop
def test_the_clock_of_pyglet_sleeps_between_the_steps(
    monkeypatch: pytest.MonkeyPatch, toolkit: Callable[..., None]
) -> None:
    real: Any = programs.module("pyglet.clock")
    clock, over = real.Clock(), threading.Event()

    def run() -> None:
        while not over.is_set():
            clock.tick()
            left = clock.get_sleep_time(True)
            assert 0 <= left <= 1 / 60
            slept.append(left)
            over.wait(left)

    slept: list[float] = []
    toolkit("pyglet", clock=clock, app=SimpleNamespace(run=run))
    visitor = Visitor(monkeypatch, leave=lambda server: over.set())
    visitor.sees(PYGLET)
    assert visitor.heard == "heard"
    assert max(slept) > 0.005
    threading.Event().wait(clock.get_sleep_time(True))
    clock.tick()  # which would raise: the reactor is closed
    assert clock.get_sleep_time(True) is None
    clock.schedule(print)  # what the page warns of
    assert clock.get_sleep_time(True) == 0


class Timers:
    """`bpy.app.timers`: what a function returns is when it is called again."""

    def __init__(self) -> None:
        self.function: Callable[[], float | None] | None = None
        self.waits: list[float] = []
        self.over = threading.Event()

    def register(
        self, function: Any, first_interval: float = 0, persistent: bool = False
    ) -> None:
        assert persistent
        self.function = function

    def unregister(self, function: Any) -> None:
        assert function == self.function
        self.function = None

    def run(self) -> None:
        """Be Blender's loop, until there is no timer any more, or it is `over`."""
        while self.function is not None and not self.over.is_set():
            wait = self.function()
            if wait is None:
                self.function = None
            else:
                self.waits.append(wait)
                self.over.wait(wait)


@pytest.fixture
def blender(monkeypatch: pytest.MonkeyPatch, toolkit: Callable[..., None]) -> Timers:
    timers = Timers()
    data = SimpleNamespace(objects={"Camera": 1, "Cube": 2})
    toolkit("bpy", app=SimpleNamespace(timers=timers), data=data)
    return timers


def test_an_add_on_of_blender_serves_until_its_server_stops(
    monkeypatch: pytest.MonkeyPatch, blender: Timers
) -> None:
    visitor = Visitor(monkeypatch, says="")
    found = visitor.starts(BLENDER)
    blender.run()
    visitor.join()
    assert visitor.heard == "Camera\nCube"
    assert blender.function is None
    assert found["server"].reactor.closed


def test_an_add_on_of_blender_comes_when_there_is_something_to_do_and_ends_its_timer(
    monkeypatch: pytest.MonkeyPatch, blender: Timers
) -> None:
    visitor = Visitor(monkeypatch, says="", leave=lambda server: blender.over.set())
    found = visitor.starts(BLENDER)
    blender.run()
    visitor.join()
    loop, step = found["server"].reactor, found["step"]
    step()
    assert step() == 0.05
    loop.call_soon(loop.call_soon, print)
    assert step() == 0

    def soon() -> float:
        loop.call_later(0.02, print)
        wait: float = step()
        return wait

    # None, if the machine has held it up for so long.
    assert next(filter(None, (soon() for _ in range(100)))) <= 0.02
    found["unregister"]()
    assert blender.function is None
    assert loop.closed


# ---- the rest of the page ----


def test_who_is_held_up_is_told_for_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stall(Visitor):
        def talk(self, port: int) -> str:
            assert self.server is not None
            told, call = threading.Event(), self.server.reactor.call_soon_threadsafe
            call(time.sleep, 0.3)
            call(call, call, told.set)  # two steps later
            assert told.wait(PATIENCE)
            return ""

    Stall(monkeypatch).sees(STALL)
    told = capsys.readouterr().out.splitlines()
    # The machine may have held it up for longer, and once more.
    [longest, *_] = sorted((float(line.split()[-2]) for line in told), reverse=True)
    assert f"nobody was served for {longest} s" in told
    assert 0.3 <= longest < PATIENCE


def test_a_thread_sends_what_it_has_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(monkeypatch, says="1000")
    visitor.sees(THREADS)
    assert visitor.heard == str(sum(n * n for n in range(1000)))


def test_a_reactor_in_a_thread_of_its_own_answers_and_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = run(THREAD)
    assert capsys.readouterr().out == "0 clients\n"
    assert not names["thread"].alive
    assert names["server"].reactor.closed


def test_a_world_has_its_ticks_and_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    class Player(Visitor):
        def talk(self, port: int) -> str:
            with WebSocket() as sock:
                sock.settimeout(PATIENCE)
                sock.connect(("127.0.0.1", port))
                ticks: list[str] = []
                while True:
                    frame = sock.recv()
                    if frame.opcode == Opcode.PING:
                        if len(ticks) > 21:  # otherwise the next
                            sock.send(Frame(Opcode.PONG, frame.payload))
                    elif not answered.is_set():
                        ticks.append(bytes(frame.payload).decode())
                    else:
                        return " ".join(ticks)

    answered = threading.Event()
    visitor = Player(monkeypatch)
    data: list[Any] = []
    take = reactor.Connection.pong_received

    def noted(client: Any, payload: bytes) -> None:
        take(client, payload)
        data.append(client.data)
        answered.set()

    monkeypatch.setattr(reactor.Connection, "pong_received", noted)
    visitor.sees(CLOCKS)
    times = [float(word) for word in visitor.heard.split() if word[0].isdigit()]
    steps = [later - before for before, later in zip(times, times[1:])]
    assert len(steps) > 20
    assert all(step == pytest.approx(1 / 60, abs=0.001) for step in steps)
    rtt, jitter, offset = data[0]
    assert 0 < rtt < PATIENCE
    assert (jitter, offset) == (0, None)


def test_the_counters_can_be_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Asking(Visitor):
        def talk(self, port: int) -> str:
            assert self.server is not None
            told = threading.Event()
            for call in (self.server.report, told.set):  # type: ignore[attr-defined]
                self.server.reactor.call_soon_threadsafe(call)
            assert told.wait(PATIENCE)
            return ""

    Asking(monkeypatch).sees(NUMBERS)
    loop, traffic = capsys.readouterr().out.splitlines()
    assert loop.split(",")[0].split()[1] == "steps"
    assert traffic == "0 messages sent; a queue waits for 0.0 s"
