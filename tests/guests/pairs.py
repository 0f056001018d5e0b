"""What the tests of the guests have the reactor watch."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from reactor import EVENT_READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Watched:
    """A pair of sockets, one of which the reactor watches: it reads a byte at a time."""

    def __init__(self, reactor: Reactor) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.got: list[bytes] = []
        self.before: Callable[[], object] = lambda: None
        reactor.register(self.ours, EVENT_READ, self.ready)

    def ready(self, mask: int) -> None:
        self.before()
        if mask & EVENT_READ:
            self.got.append(self.ours.recv(1))

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
