"""Our client, made to wait: it runs its reactor until what is asked for has come."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from reactor import Client, Reactor, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 15


class Talker(Client):
    """Notes what it is told."""

    def __init__(self, uri: str, **options: Any) -> None:
        self.is_open = False
        self.heard: list[str | bytes] = []
        self.pongs: list[bytes] = []
        self.failures: list[Exception] = []
        self.end: tuple[int, str] | None = None
        options.setdefault("max_message", 2 << 20)
        super().__init__(uri, **options)

    def onopen(self) -> None:
        self.is_open = True

    def onmessage(self, message: str | bytes) -> None:
        self.heard.append(message)

    def onpong(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def onerror(self, error: Exception) -> None:
        self.failures.append(error)

    def onclose(self, code: int, reason: str) -> None:
        self.end = code, reason

    def wait(self, has_come: Callable[[], object]) -> None:
        """Run the reactor until something has come."""
        deadline = time.monotonic() + PATIENCE
        while not has_come():
            assert time.monotonic() < deadline, (self, self.heard[-3:], self.failures, self.end)
            self.reactor.step(1)

    def open(self) -> Talker:
        """Wait for the connection to be open."""
        self.wait(lambda: self.is_open or self.end)
        assert self.is_open, self.failures
        return self

    def refused(self) -> Exception:
        """Wait for the connection to fail; return why."""
        self.wait(lambda: self.end)
        assert not self.is_open
        assert self.end is not None
        assert self.end[0] == 1006
        (failure,) = self.failures
        return failure

    def receive(self) -> str | bytes:
        self.wait(lambda: self.heard or self.end)
        assert self.heard, (self.failures, self.end)
        return self.heard.pop(0)

    def echo(self, message: str | bytes) -> str | bytes:
        """Send a message; return the answer."""
        self.send(message)
        return self.receive()

    def beat(self, payload: bytes) -> bytes:
        """Send a ping; return what came back in the pong."""
        self.pongs.clear()
        self.ping(payload)
        self.wait(lambda: self.pongs or self.end)
        return self.pongs[0]

    def leave(self, code: int = 1000, reason: str = "") -> tuple[int, str]:
        """Close; return the server's answer."""
        self.close(code, reason)
        return self.left()

    def left(self) -> tuple[int, str]:
        """Wait for the end of a connection without a fault; return what it was told of it."""
        self.wait(lambda: self.end)
        assert self.ready_state is State.CLOSED
        assert not self.failures
        assert self.was_clean
        assert self.end is not None
        return self.end


@contextlib.contextmanager
def talking(uri: str, **options: Any) -> Iterator[Talker]:
    """Make a client in a reactor of its own; the environment's proxies are none of its."""
    with Reactor() as reactor:
        yield Talker(uri, reactor=reactor, **{"proxy": False, **options})
