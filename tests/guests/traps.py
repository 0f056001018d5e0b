"""What the drivers' traps share: sockets that are always ready, and patience."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from reactor import EVENT_READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor

PATIENCE = 20.0  # seconds, after which what is waited for will not come any more


class Flood:
    """A socket that is always ready, and each time costs a millisecond; nobody reads it."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.ours, self.theirs = socket.socketpair()
        self.theirs.send(b"x")
        self.count = 0
        self.then: Callable[[], object] = lambda: None
        reactor.register(self.ours, EVENT_READ, lambda mask: self.work())

    def work(self) -> None:
        self.count += 1
        end = time.monotonic() + 0.001
        while time.monotonic() < end:
            pass
        then, self.then = self.then, lambda: None
        then()

    def end(self) -> None:
        self.reactor.unregister(self.ours)
        self.ours.close()
        self.theirs.close()


class Endless:
    """Calls that schedule themselves again: each step leaves something over."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.going = True
        self.count = 0
        reactor.call_soon(self.work)

    def work(self) -> None:
        self.count += 1
        end = time.monotonic() + 0.001
        while time.monotonic() < end:
            pass
        if self.going:
            self.reactor.call_soon(self.work)

    def end(self) -> None:
        self.going = False


class Both:
    """A socket that is always ready, and calls that never end."""

    def __init__(self, reactor: Reactor) -> None:
        self.flood, self.endless = Flood(reactor), Endless(reactor)

    @property
    def count(self) -> int:
        return min(self.flood.count, self.endless.count)

    def end(self) -> None:
        self.flood.end()
        self.endless.end()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began
