"""Connect to a host, by whichever of its addresses answers first (RFC 8305).

Facts: `connect` blocks for minutes if nobody answers. A host with a broken IPv6 route answers
by IPv4 at once. Connecting to a free port of one's own machine can, by chance, connect a socket
to itself.

So the addresses are tried in turn, the families alternating, each 250 ms after the one before,
or at once if that has failed; the first that connects wins, and the others are closed. A socket
that has found itself counts as refused. The caller sets the time after which all of it is
`cancel`led.
"""

from __future__ import annotations

import errno
import os
import socket

from ..logs import place
from .reactor import EVENT_WRITE, Pollable, Reactor
from .resolver import is_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .resolver import Found, Resolve
    from .timers import Timer

# "Connection Attempt Delay [...] 250 milliseconds" (RFC 8305 §8).
_DELAY = 0.25
# What says less than another address's error: this machine cannot speak that family.
_NO_ROUTE = frozenset((errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class Dialer:
    """One connection being made.

    Args:
        reactor: Waits for the sockets.
        connected: Called with the connected socket, non-blocking, and its address; once, in a
            later step.
        failed: Called instead, with the error, if no address answers.
    """

    __slots__ = ("_connected", "_errors", "_failed", "_next", "_racers", "_reactor", "_timer")

    def __init__(
        self,
        reactor: Reactor,
        connected: Callable[[socket.socket, Any], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self._reactor = reactor
        self._connected = connected
        self._failed = failed
        self._next: list[tuple[int, Any]] = []
        self._racers: set[_Racer] = set()
        self._errors: list[Exception] = []
        self._timer: Timer | None = None

    def dial(self, host: str, port: int, resolve: Resolve) -> None:
        """Connect to a host, after it was looked up; called once."""
        resolve(host, port, self._resolved)

    def dial_unix(self, path: str) -> None:
        """Connect to a unix socket; called once."""
        self._reactor.call_soon(self._try, [(socket.AF_UNIX, path)])

    def cancel(self) -> None:
        """Give up; nothing is called any more. Allowed any number of times."""
        self._connected = self._failed = _ignore
        self._next = []
        if self._timer is not None:
            self._timer.cancel()
        for racer in list(self._racers):
            self._reactor.release(racer)
        self._racers.clear()

    def _resolved(self, found: Found) -> None:
        if isinstance(found, Exception):
            self._fail(found)
        elif not found:
            self._fail(OSError(errno.ENOENT, "the name has no address"))
        else:
            try:
                addresses = _alternate(found)
            except Exception as error:
                self._fail(error)  # a resolver of the user's can answer with anything
                return
            self._try(addresses)

    def _try(self, addresses: Sequence[tuple[int, Any]]) -> None:
        if self._connected is not _ignore:
            self._next = list(addresses)
            self._start()

    def _start(self) -> None:
        """Start on the next address, or say that there is none."""
        if self._timer is not None:
            self._timer.cancel()
        while self._next:
            family, address = self._next.pop(0)
            try:
                self._racers.add(_Racer(self._reactor, family, address, self))
            except Exception as error:  # such as `OverflowError` for a port of 65536
                self._errors.append(error)
                continue
            if self._next:
                self._timer = self._reactor.call_later(_DELAY, self._start)
            return
        if not self._racers:
            telling = [e for e in self._errors if getattr(e, "errno", None) not in _NO_ROUTE]
            self._fail((telling or self._errors)[0])

    def won(self, racer: _Racer) -> None:
        """Hand over the socket of the one that has connected; called by it."""
        self._racers.discard(racer)
        connected = self._connected
        self.cancel()
        connected(racer.sock, racer.address)

    def lost(self, racer: _Racer, error: OSError) -> None:
        """Go on with the next address; called by the one that has failed."""
        self._racers.discard(racer)
        self._errors.append(error)
        if self._next or not self._racers:
            self._start()

    def _fail(self, error: Exception) -> None:
        failed = self._failed
        self.cancel()
        failed(error)


class _Racer(Pollable):
    """A socket that is being connected."""

    __slots__ = ("_dialer", "_handed_over", "_reactor", "address")

    def __init__(self, reactor: Reactor, family: int, address: Any, dialer: Dialer) -> None:
        super().__init__(socket.socket(family, socket.SOCK_STREAM))
        self._reactor = reactor
        self._dialer = dialer
        self._handed_over = False
        self.address = address
        reactor.adopt(self)
        try:
            self.sock.setblocking(False)
            if family != getattr(socket, "AF_UNIX", None):
                # A message must not wait for the acknowledgement of the one before.
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._check(self.sock.connect_ex(address))
            reactor.register(self.sock, EVENT_WRITE, self._ready)
        except BaseException:
            reactor.release(self)
            raise

    def _check(self, code: int) -> None:
        # A unix socket says "again" when the server's queue is full, and then is not on its
        # way; Windows says so of all that are.
        on_its_way = code == errno.EWOULDBLOCK and os.name == "nt"
        if code and code != errno.EINPROGRESS and not on_its_way:
            raise OSError(code, os.strerror(code), place(self.address))

    def _ready(self, mask: int) -> None:
        try:
            self._check(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            # Raises if it is connected no longer.
            if self.sock.getpeername() == self.sock.getsockname() != "":
                self._check(errno.ECONNREFUSED)
        except OSError as error:
            self._reactor.release(self)
            self._dialer.lost(self, error)
            return
        self._reactor.unregister(self.sock)
        self._handed_over = True
        self._reactor.release(self)
        self._dialer.won(self)

    def dispose(self) -> None:
        """Close the socket, unless it was handed over; called by the reactor."""
        if not self._handed_over:
            super().dispose()


def _ignore(*args: object) -> None:
    """Nothing: what was asked for is no longer wanted."""


def _alternate(addresses: Sequence[tuple[Any, ...]]) -> list[tuple[int, Any]]:
    """Return the addresses with their families, which alternate (RFC 8305 §4)."""
    families: dict[int, list[tuple[int, Any]]] = {}
    for address in dict.fromkeys(addresses):
        if not is_address(str(address[0]).partition("%")[0]):
            # To connect to a name would look it up, and wait for it.
            raise ValueError(f"the resolver answered {address[0]!r}, not an IP address")
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        families.setdefault(family, []).append((family, address))
    turns = list(families.values())
    longest = max(map(len, turns))
    return [turn[i] for i in range(longest) for turn in turns if i < len(turn)]
