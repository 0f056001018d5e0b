"""A socket that this package owns; and what becomes of all of them after a `fork`.

Facts: parent and child of a `fork` share one epoll instance: what the child unregisters, the
parent no longer sees. And they share the sockets: until both have closed one, it is open.

So the reactor knows all sockets of this package, and every reactor is known here: in the child
their copies are closed, nothing is unregistered, and the reactor is dead.
"""

from __future__ import annotations

import os
from _weakref import ref  # `weakref` itself is a twentieth of what this package costs to import

from ..logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Protocol

    class Abandoned(Protocol):
        """What is told in a forked child: a reactor."""

        def abandon(self) -> None:
            """Close this process's copies, and be dead."""


class Pollable:
    """A socket that this package owns, registered with a reactor."""

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def dispose(self) -> None:
        """Close the socket; called by the reactor, after it is unregistered; repeatable."""
        self.sock.close()


_alive: set[ref[Abandoned]] = set()


def abandon_in_child(reactor: Abandoned) -> None:
    """Have `reactor` told in the child of a `fork`, for as long as it is alive."""
    _alive.add(ref(reactor, _alive.discard))


def _abandon_all() -> None:
    for known in list(_alive):
        reactor = known()
        if reactor is None:
            continue
        try:
            reactor.abandon()
        except Exception:
            # One that fails must not leave the others usable.
            logger().exception("%r could not be left behind in the child", reactor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
