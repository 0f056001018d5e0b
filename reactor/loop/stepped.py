"""A socket that waits by making steps of a reactor, or not at all.

Facts: who blocks in one socket cannot serve another, nor a timer. The timeout of a Python
socket is for one read or one write, and something that takes several of them needs one for all.
A selector knows a socket by its number, and the number of one that is closed can be another's
at once.

So the socket itself never blocks. A call has its patience, from its timeout, for all that it
does: one that waits makes steps until what it was called for has come about, and one that does
not wait makes those that need not. And the descriptor stays open until `close`, even if what it
was lent to closes the socket before.
"""

from __future__ import annotations

import errno
import os
import socket
from time import monotonic

from .reactor import EVENT_READ, Reactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from typing import Any

# In one call that does not wait: others in the reactor may never have nothing to do.
_MOST_STEPS = 64
# What a `connect` that has begun returns; the second on Windows.
_ON_ITS_WAY = (errno.EINPROGRESS, *([errno.EWOULDBLOCK] if os.name == "nt" else []))


class Patience:
    """How long one call may wait.

    Args:
        timeout: In seconds; 0 for not at all, `None` for any time.

    Attributes:
        waits: Whether it waits at all.
    """

    __slots__ = ("_deadline", "_steps", "waits")

    def __init__(self, timeout: float | None) -> None:
        self.waits = timeout != 0
        self._deadline = None if timeout is None else monotonic() + timeout
        self._steps = 0

    def step(self, reactor: Reactor) -> None:
        """Make a step.

        Raises:
            BlockingIOError: There is nothing to do, and it must not wait for more.
            TimeoutError: It has waited for so long.
        """
        left = None if self._deadline is None else max(0.0, self._deadline - monotonic())
        # Whatever the timeout, what is ready already is done.
        if left == 0 and self._steps:
            if self.waits:
                raise TimeoutError("timed out")
            if reactor.next_timeout() != 0 or self._steps == _MOST_STEPS:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._steps += 1
        reactor.step(left)


class SteppedSocket:
    """A stream socket, as far as it knows nothing of what it carries.

    Args:
        sock: A socket, which becomes this one's own; its timeout stays.
        reactor: The reactor to live in; by default one of its own, made when it is needed.
    """

    def __init__(self, sock: socket.socket, reactor: Reactor | None) -> None:
        self._timeout = sock.gettimeout()
        sock.setblocking(False)
        self._sock = sock
        self._keeper: io.RawIOBase | None = None
        self._reactor = reactor
        self._own_reactor = reactor is None
        self._closed = False

    @property
    def reactor(self) -> Reactor:
        """The reactor that it lives in."""
        if self._reactor is None:
            self._check_not_closed()
            self._reactor = Reactor()
        return self._reactor

    # ---- as of any socket ----

    @property
    def family(self) -> int:
        """The address family."""
        return self._sock.family

    def bind(self, address: Any) -> None:
        """Bind it to an address."""
        self._sock.bind(address)

    def listen(self, backlog: int = 128) -> None:
        """Let others connect to it."""
        self._sock.listen(backlog)

    def getsockname(self) -> Any:
        """Return its own address."""
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self._sock.getpeername()

    def getsockopt(self, *args: int) -> int | bytes:
        """Return an option of the socket."""
        return self._sock.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the socket."""
        self._sock.setsockopt(*args)

    def fileno(self) -> int:
        """Return its descriptor; -1 once it is closed."""
        return self._sock.fileno()

    def gettimeout(self) -> float | None:
        """Return for how many seconds a call may wait; `None` for any time."""
        return self._timeout

    def settimeout(self, timeout: float | None) -> None:
        """Set for how many seconds a call may wait: 0 for not at all, `None` for any time.

        Raises:
            ValueError: It is negative.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout of {timeout!r} seconds")
        self._timeout = timeout

    def getblocking(self) -> bool:
        """Return whether calls may wait."""
        return self._timeout != 0

    def setblocking(self, flag: bool) -> None:
        """Have calls wait for any time, or not at all."""
        self._timeout = None if flag else 0.0

    def close(self) -> None:
        """Close it; allowed any number of times."""
        self._closed = True
        if self._own_reactor and self._reactor is not None:
            self._reactor.close()
        self._sock.close()
        if self._keeper is not None:
            self._keeper.close()

    # ---- for what is made of it ----

    def _check_not_closed(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _accept(self, patience: Patience) -> tuple[socket.socket, Any]:
        """Return the socket of a connection, and its peer's address."""
        while True:
            try:
                return self._sock.accept()
            except BlockingIOError:
                if not patience.waits:
                    raise
                self._await(EVENT_READ, patience)

    def _begin_to_connect(self, address: Any) -> None:
        """Have the socket connect; when it is writable, `_check_connected` is to follow."""
        code = self._sock.connect_ex(address)
        if code and code not in _ON_ITS_WAY:
            raise OSError(code, os.strerror(code))

    def _check_connected(self) -> None:
        """Raise what has kept the socket from being connected, if something has."""
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _await(self, events: int, patience: Patience) -> None:
        """Make steps until the socket is ready."""
        ready: list[int] = []
        reactor = self.reactor
        reactor.register(self._sock, events, ready.append)
        try:
            while not ready:
                patience.step(reactor)
        finally:
            reactor.unregister(self._sock)

    def _lend(self, sock: socket.socket) -> socket.socket:
        """Return `sock` for a transport, and keep its descriptor open when that closes it.

        If it is another than before, it takes the place of that, which is closed.
        """
        # "The underlying system resource (e.g. a file descriptor) is also closed when all file
        # objects from makefile() are closed" (the documentation of `socket.close`).
        before, self._keeper = self._keeper, sock.makefile("rb", buffering=0)
        self._sock = sock
        if before is not None:
            before.close()
        return sock

    def _make_closed(self) -> socket.socket:
        """Return a closed socket, for `_give_away`: made before, since it can fail."""
        closed = socket.socket(self._sock.family, socket.SOCK_STREAM)
        closed.close()
        return closed

    def _give_away(self, closed: socket.socket) -> None:
        """Leave the socket to whom it was lent, and be without; `close` is for the reactor."""
        self._closed = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        self._sock = closed


def make_socket(family: int) -> socket.socket:
    """Return a new stream socket."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family in (socket.AF_INET, socket.AF_INET6):
        # What is sent must not wait for the acknowledgement of what was sent before. Those that
        # are accepted inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
