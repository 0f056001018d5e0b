"""What each guest has to keep, measured with its real toolkit in a process of its own.

    python -m tests.guests.hosts asyncio [sockets]        or tk, qt, glib, pygame

prints what it found as a line of JSON: a `Findings`; with "sockets", of a reactor without a
descriptor, in less time. The toolkits are in drivers/, each with a class `Host` of this form;
importing it fails where the toolkit is missing:

    host = Host()
    host.call_at(when, fn)       the host's own timer: fn(), once, at `when` of time.monotonic
    host.run()                   its loop, until `leave`; any number of times
    host.leave()
    host.guest(reactor)          the guest, not started
    host.handlers()              how much waits in it to be called, ours included; or None
    host.close()                 the end of it

The echo server is a guest; who talks to it is echoes.py, in another process. The host's own
timer comes 60 times a second, at absolute times, and notes how late it was: with nothing else
in the process, and then while as many echoes are made as can be. What the machine does besides
does not count: the time in which Linux has let others run, though we were ready, is taken off;
and while there is too much of it even so, it is done again. Nothing of pytest is in here, since
the interpreter that has the toolkit may not have it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import select
import selectors
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from reactor import Reactor, Server
from tests.guests.echoes import CONNECTIONS, ENOUGH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from reactor import Connection
    from reactor.guests.guest import Guest

    class Host(Protocol):
        def call_at(self, when: float, fn: Callable[[], object]) -> None: ...

        def run(self) -> None: ...

        def leave(self) -> None: ...

        def guest(self, reactor: Reactor) -> Guest: ...

        def handlers(self) -> int | None: ...

        def close(self) -> None: ...


FREQUENCY = 60
ECHOES = 10_000
ROUNDS = 8
# Seconds.
ALLOWED = 0.005
QUIET = 0.01
LOAD, IDLE = 3.0, 5.0
BRIEF_LOAD, BRIEF_IDLE = 1.5, 1.0
PATIENCE = 30.0


class Lateness(NamedTuple):
    """How late the host's own timer was, in seconds."""

    ticks: int
    median: float
    p99: float
    worst: float


class Findings(NamedTuple):
    mode: str
    load: float  # seconds of each round, once alone and once with the echoes
    # For each round: how many echoes, and how late alone and with them. The last counts.
    rounds: list[tuple[int, Lateness, Lateness]]
    # With all connections open and nothing to do.
    idle_steps: int
    idle_wakeups: int
    # How late what the host's own code, or a thread, had asked for was called.
    soon: float
    later: float
    threadsafe: float
    # While it was stopped, with a message waiting; and how long its answer took after that.
    stopped_steps: int
    stopped_wakeups: int
    again: float
    # How much waited in the host to be called, as it says: stopped, started, stopped.
    handlers: tuple[int | None, int | None, int | None]
    # Whether the guest ended with its reactor, and whether the host went on.
    ended: bool
    went_on: bool


def lateness(late: Sequence[float]) -> Lateness:
    """Sum up what a tick has noted."""
    ordered = sorted(late)
    count = len(ordered)
    p99 = ordered[math.ceil(count * 0.99) - 1]
    return Lateness(count, ordered[count // 2], p99, ordered[-1])


def extra(rounds: Sequence[tuple[int, Lateness, Lateness]]) -> float:
    """Return how much later it was with the echoes of the last round than alone, in seconds.

    Alone it is as late as in the best of the rounds, however busy the machine is in the others.
    """
    return rounds[-1][2].p99 - min(alone.p99 for _, alone, _ in rounds)


def waited() -> float:
    """Return for how many seconds our threads were ready and others ran, as far as is known.

    All of them count: the loop's may wait for one that holds the interpreter's lock.
    """
    total = 0
    with contextlib.suppress(FileNotFoundError):  # no Linux; or a thread that has just ended
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[1])
    return total / 1e9


class Tick:
    """The host's own timer: FREQUENCY times a second, at times that do not move."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.late: list[float] = []
        self.running = True
        self.waited = waited()
        self.due = time.monotonic() + 1 / FREQUENCY
        host.call_at(self.due, self.tick)

    def tick(self) -> None:
        if self.running:
            late = time.monotonic() - self.due
            before, self.waited = self.waited, waited()
            self.late.append(max(0.0, late - max(0.0, self.waited - before)))
            self.due += 1 / FREQUENCY
            self.host.call_at(self.due, self.tick)

    def stop(self) -> Lateness:
        self.running = False
        return lateness(self.late)


class Trial:
    """The host, the echo server that is its guest, and who talks to that."""

    def __init__(self, host: Host, *, sockets: bool) -> None:
        self.host = host
        self.load, self.quiet = (BRIEF_LOAD, BRIEF_IDLE) if sockets else (LOAD, IDLE)
        self.reactor = Reactor(selector=selectors.SelectSelector() if sockets else None)
        # No keepalive: a ping would be no idle wake-up, but one all the same.
        self.server = Server(
            ("127.0.0.1", 0),
            reactor=self.reactor,
            onmessage=self.echo,
            onclose=self.left,
            ping_interval=None,
        )
        self.echoed = 0
        self.answer = ""
        self.guest = host.guest(self.reactor)
        self.talker: subprocess.Popen[str] | None = None

    def echo(self, client: Connection, message: str) -> None:
        client.send(self.answer or message)
        self.echoed += 1
        if message == "one more":
            self.host.leave()

    def left(self, client: Connection, code: int, reason: str) -> None:
        if not self.server.clients:
            self.host.leave()

    def run(self, seconds: float) -> float:
        """Run the host until somebody has it leave, or for so long; return how long it was."""
        began = time.monotonic()
        over = False

        def leave() -> None:
            if not over:
                self.host.leave()

        self.host.call_at(began + seconds, leave)
        self.host.run()
        over = True
        return time.monotonic() - began

    # ---- what is tried ----

    def alone(self) -> Lateness:
        """The host without us."""
        tick = Tick(self.host)
        self.run(self.load)
        return tick.stop()

    def echoes(self) -> tuple[int, Lateness]:
        """The host while echoes are made; the guest runs after it, and so does the talker."""
        self.echoed, self.answer = 0, ""
        port = self.server.addresses[0][1]
        self.talker = subprocess.Popen(
            [sys.executable, "-m", "tests.guests.echoes", str(port)],
            stdin=subprocess.PIPE,
            text=True,
        )
        self.guest.start()
        tick = Tick(self.host)
        began = time.monotonic()
        self.run(self.load)
        while self.echoed < ECHOES and time.monotonic() < began + PATIENCE:
            self.run(0.1)
        self.answer = ENOUGH
        return self.echoed, tick.stop()

    def idle(self) -> tuple[int, int]:
        """Return the steps and the wake-ups in a while without anything to do."""
        assert len(self.server.clients) == CONNECTIONS
        self.run(0.5)  # what is still to be done
        steps, wakeups = self.reactor.stats().steps, self.guest.wakeups
        self.run(self.quiet)
        assert len(self.server.clients) == CONNECTIONS
        return self.reactor.stats().steps - steps, self.guest.wakeups - wakeups

    def latency(self, ask: Callable[[Callable[[], None]], object], delay: float) -> float:
        """Have the host's own code ask for a call; return how late that came."""
        called: list[float] = []

        def call() -> None:
            called.append(time.monotonic())
            self.host.leave()

        def in_host() -> None:
            asked.append(time.monotonic())
            ask(call)

        asked: list[float] = []
        self.host.call_at(time.monotonic() + 0.05, in_host)
        self.run(PATIENCE)
        return called[0] - asked[0] - delay

    def threadsafe(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=self.reactor.call_soon_threadsafe, args=(call,))
        thread.start()
        thread.join()

    def say(self) -> None:
        """Have a message come, and wait until it is there; the host does not run meanwhile."""
        assert self.talker is not None
        assert self.talker.stdin is not None
        self.talker.stdin.write("say\n")
        self.talker.stdin.flush()
        watched = [sock for sock, _ in self.reactor.interests()]
        assert select.select(watched, [], [], PATIENCE)[0]

    def stopped(self) -> tuple[int, int]:
        """Return the steps and the wake-ups while it is stopped, with a message waiting."""
        self.guest.stop()
        self.say()
        steps, wakeups = self.reactor.stats().steps, self.guest.wakeups
        self.run(0.5)
        return self.reactor.stats().steps - steps, self.guest.wakeups - wakeups

    def handlers(self) -> tuple[int | None, int | None, int | None]:
        """Ask the host how much it has to call: stopped, started, stopped."""
        stopped = self.host.handlers()
        self.guest.start()
        started = self.host.handlers()
        self.guest.stop()
        return stopped, started, self.host.handlers()

    def again(self) -> float:
        """Return how long it takes to answer that message when the guest is started again."""
        self.guest.start()
        return self.run(PATIENCE)

    def finish(self) -> None:
        """End who talks to it, and stop the guest."""
        assert self.talker is not None
        assert self.talker.stdin is not None
        self.talker.stdin.close()
        self.run(PATIENCE)
        assert self.talker.wait(PATIENCE) == 0
        self.guest.stop()

    def closed(self) -> tuple[bool, bool]:
        """Close the reactor by the host's own code: return what became of guest and host."""
        self.guest.start()

        def close() -> None:
            self.server.close()
            self.reactor.close()

        self.host.call_at(time.monotonic(), close)
        self.run(0.2)
        tick = Tick(self.host)
        self.run(0.2)
        return not self.guest.running, tick.stop().ticks > 1

    def give_up(self) -> None:
        """Leave nothing behind, whatever has happened."""
        self.guest.stop()
        self.server.close()
        self.reactor.close()
        if self.talker is not None:
            self.talker.kill()
            self.talker.communicate()


def measure(trial: Trial) -> Findings:
    """Find out all of it."""
    rounds: list[tuple[int, Lateness, Lateness]] = []
    while True:
        alone = trial.alone()
        count, late = trial.echoes()
        rounds.append((count, alone, late))
        quiet = min(alone.p99 for _, alone, _ in rounds) <= QUIET
        if (quiet and extra(rounds) <= ALLOWED) or len(rounds) == ROUNDS:
            break
        trial.finish()
    idle = trial.idle()
    soon = trial.latency(trial.reactor.call_soon, 0)
    later = trial.latency(lambda call: trial.reactor.call_later(0.1, call), 0.1)
    threadsafe = trial.latency(trial.threadsafe, 0)
    stopped = trial.stopped()
    handlers = trial.handlers()
    again = trial.again()
    trial.finish()
    return Findings(
        trial.guest.mode,
        trial.load,
        rounds,
        *idle,
        soon,
        later,
        threadsafe,
        *stopped,
        again,
        handlers,
        *trial.closed(),
    )


def main() -> None:
    # Whatever else the machine does is not what is measured.
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    driver: Any = importlib.import_module(f"tests.guests.drivers.{sys.argv[1]}")
    host: Host = driver.Host()
    trial = Trial(host, sockets="sockets" in sys.argv)
    try:
        print(json.dumps(measure(trial)._asdict()))
    finally:
        trial.give_up()
        host.close()


if __name__ == "__main__":
    main()
