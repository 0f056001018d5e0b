"""Accept connections.

Facts: a listener stays readable while `accept` fails for want of descriptors, so a loop that
only logs it spins. A connection can be gone before it is accepted, or be refused by a
firewall: that is the connection's fault, not the listener's. Windows' SO_REUSEADDR lets another
program take the port; elsewhere it only lets a restarted server bind at once. To connect to a
file that is no socket is refused just as by a socket that a dead server left behind. An
`accept` that finds nobody costs 1.7 us, and `socket.accept` 1.5 for members of enums.

So: at most 16 accepts a step, and where connections come one by one, one, with a look for more
at every second; errors of one connection are passed over; without descriptors, a spare one is
given up to accept and drop the newcomers, who see it at once, and the listener pauses for
0.1 s, doubling to 1 s; so it does when nothing but errors comes. Who comes alone is read at
once, since what a client says is nearly always there with it: a round less.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

from ..logs import logger
from .reactor import EVENT_READ, Pollable, Reactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, Union

    Address = Union[tuple[Any, ...], str]

    class Newcomer(Protocol):
        """What a connection has become."""

        @property
        def look(self) -> Callable[[], object]:
            """What reads what has come already."""


BACKLOG = 1024
_BATCH = 16
# After so many steps in which as many were accepted as there should be, there may be more.
_MANY_STEPS = 2
# Who is accepted has the options of the listening socket: elsewhere too, but here it is known.
INHERITS = sys.platform == "linux"
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 1.0
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_LISTENER_GONE = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))
# What `bind` says of an address that this machine has not, as `::1` where IPv6 is off.
_NO_SUCH_ADDRESS = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
# How often a free port is tried that another program has at another of a name's addresses.
_PORTS = 8


class Listener(Pollable):
    """A listening socket in a reactor.

    Args:
        reactor: Calls it when a connection waits.
        sock: The socket, listening, which becomes the listener's own; made non-blocking here.
        accepted: Called with each accepted socket and its peer's address. What it returns is
            asked to `look`, if nobody else has come in this step.
        unlink: Whether to remove a unix socket's file at the end.

    Attributes:
        address: Where it listens: host and port, and for IPv6 two numbers more; or a path.
    """

    __slots__ = (
        "_accept",
        "_accepted",
        "_batch",
        "_closed",
        "_full",
        "_inode",
        "_listening",
        "_pause",
        "_reactor",
        "_spare",
        "_starved",
        "_wanted",
        "address",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        accepted: Callable[[socket.socket, Address], Newcomer | None],
        *,
        unlink: bool = False,
    ) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self._reactor = reactor
        self._accept = _acceptor(sock)
        self._accepted = accepted
        # How many are accepted in a step at most, and in how many steps it has been so many.
        self._batch, self._full = _BATCH, 0
        self.address: Address = sock.getsockname()
        self._spare: int | None = None
        self._take_spare()
        self._pause = _FIRST_PAUSE
        self._wanted = True
        self._closed = self._listening = self._starved = False
        self._inode = _inode(self.address) if unlink else None
        reactor.adopt(self)
        self._watch()

    def pause(self) -> None:
        """Stop accepting; who connects waits in the kernel's queue."""
        self._wanted = False
        self._watch()

    def resume(self) -> None:
        """Go on accepting."""
        self._wanted = True
        self._watch()

    def close(self) -> None:
        """Stop listening; allowed any number of times.

        A file that cannot be removed, as when the program has dropped its privileges, is
        logged: whoever stops has more to end than this.
        """
        if self._closed:
            return
        try:
            # Another server may have bound the path in the meantime: the file is then its.
            if self._inode is not None and _inode(self.address) == self._inode:
                os.unlink(self.address)  # type: ignore[arg-type]
        except OSError as error:
            logger().warning("the socket's file is left behind: %s", error)
        finally:
            self._reactor.release(self)

    def dispose(self) -> None:
        """Close the socket and the spare descriptor; called by the reactor."""
        self._closed = True
        self._free_spare()
        super().dispose()

    def _watch(self) -> None:
        wanted = self._wanted and not self._starved
        if self._closed or self._listening == wanted:
            return
        self._listening = wanted
        if wanted:
            self._reactor.register(self.sock, EVENT_READ, self._ready)
        else:
            self._reactor.unregister(self.sock)

    def _ready(self, mask: int) -> None:
        failed = taken = 0
        newcomer: Newcomer | None = None
        for _ in range(_BATCH):
            # What is called for one connection may pause or close the listener.
            if not self._listening or self._closed:
                return
            try:
                sock, address = self._accept()
            except (BlockingIOError, InterruptedError):
                self._batch, self._full = taken or 1, 0
                if taken == 1:
                    self._look(newcomer)
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._shed(error)
                    return
                if error.errno in _LISTENER_GONE:
                    logger().error("the listening socket is gone: %s", error)
                    self._reactor.release(self)
                    return
                # This connection's own: reset or refused before it was accepted.
                failed += 1
                if failed == _BATCH:
                    self._rest(error)
                continue
            self._pause = _FIRST_PAUSE
            newcomer = self._accepted(sock, address)
            taken += 1
            reactor = self._reactor
            if reactor.ends is not None and reactor.out_of_time:
                return
            if taken == self._batch:
                break
        self._full += 1
        if self._full == _MANY_STEPS:
            self._batch, self._full = min(self._batch * 2, _BATCH), 0
        if taken == 1:
            self._look(newcomer)

    def _look(self, newcomer: Newcomer | None) -> None:
        """Have one who came alone read, in this step: nearly always there is something."""
        if newcomer is not None:
            self._reactor.call_now(newcomer.look)

    def _shed(self, error: OSError) -> None:
        """Drop those who wait, with the spare descriptor, and pause."""
        self._free_spare()
        try:
            for _ in range(_BATCH):
                self.sock.accept()[0].close()
        except OSError:
            pass  # nobody waits any more, or still no room: the pause is for that
        try:
            # Without the spare one: the first record imports `logging`, which opens files.
            self._rest(error)
        finally:
            self._take_spare()

    def _rest(self, error: OSError) -> None:
        """Accept nobody for a while."""
        pause = self._pause
        self._pause = min(pause * 2, _LAST_PAUSE)
        self._starved = True
        self._watch()
        self._reactor.call_later(pause, self._retry)
        logger().warning("cannot accept connections (%s), pausing %g s", error, pause)

    def _retry(self) -> None:
        if not self._closed:
            self._take_spare()
            self._starved = False
            self._watch()

    def _free_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    def _take_spare(self) -> None:
        if self._spare is None:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                pass  # as short of descriptors as before; taken at the next try


def _acceptor(sock: socket.socket) -> Callable[[], tuple[socket.socket, Address]]:
    """Return what accepts a connection.

    It is `socket.accept` without its look-ups, and what it makes is of the class in C, with the
    same methods but `makefile` and `dup`. A socket of another class has reasons of its own.
    """
    if type(sock) is not socket.socket:
        return sock.accept
    accept: Any = sock._accept  # type: ignore[attr-defined]  # noqa: SLF001 - as `accept` does
    make: Any = socket.SocketType
    family, kind, protocol = int(sock.family), int(sock.type), sock.proto

    def accept_one() -> tuple[socket.socket, Address]:
        descriptor, address = accept()
        return make(family, kind, protocol, descriptor), address

    return accept_one


def _inode(path: Any) -> tuple[int, int] | None:
    """Return what identifies the file at `path`, or `None` for what is not a file's path."""
    if not isinstance(path, str) or not path:
        return None
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def listen(
    address: tuple[str, int], *, backlog: int = BACKLOG, reuse_port: bool = False
) -> list[socket.socket]:
    """Return listening sockets for a host and a port.

    Args:
        address: The host, and the port or 0 for any that is free. The host `""` means all
            interfaces, IPv6 and IPv4 by one socket where the system can; a name means each of
            its addresses that this machine has.
        backlog: How many connections may wait to be accepted.
        reuse_port: Share the port with other processes that say so too (SO_REUSEPORT).

    Raises:
        OSError: The name is unknown, or an address cannot be bound.
    """
    host, port = address
    if not host and socket.has_dualstack_ipv6():
        return [_bound(socket.AF_INET6, ("::", port), backlog, reuse_port, dual=True)]
    found = socket.getaddrinfo(
        host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    names = list(dict.fromkeys((family, name) for family, _, _, _, name in found))
    for _ in range(_PORTS - 1):
        try:
            return _bound_all(names, port, backlog, reuse_port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _bound_all(names, port, backlog, reuse_port)


def _bound_all(
    names: Sequence[tuple[int, tuple[Any, ...]]], port: int, backlog: int, reuse_port: bool
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, name in names:
            # The first decides which free port it is; the others follow.
            where = (name[0], port, *name[2:])
            try:
                sock = _bound(family, where, backlog, reuse_port)
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
                continue
            sockets.append(sock)
            port = port or sock.getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(
    family: int, address: Any, backlog: int, reuse_port: bool, dual: bool = False
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str, *, backlog: int = BACKLOG) -> socket.socket:
    """Return a listening unix socket.

    Args:
        path: Its file. One that a server left behind that is no more is replaced.
        backlog: How many connections may wait to be accepted.

    Raises:
        OSError: It cannot be bound, as when a server listens there.
    """
    try:
        return _bound(socket.AF_UNIX, path, backlog, reuse_port=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _left_behind(path):
            raise
    os.unlink(path)
    return _bound(socket.AF_UNIX, path, backlog, reuse_port=False)


def _left_behind(path: str) -> bool:
    """Return whether `path` is a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            # A file that is no socket is somebody's; a name without a file is in use.
            return path[:1] != "\0" and stat.S_ISSOCK(os.lstat(path).st_mode)
        except OSError:
            return False
        return False


def inherited_sockets() -> list[socket.socket]:
    """Return the listening sockets that a service manager has passed (`LISTEN_FDS`).

    They are passed as descriptors 3 and up; the variables are removed, so that they are taken
    once, and not by a child.

    Raises:
        OSError: A descriptor is not a socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    del os.environ["LISTEN_PID"]
    os.environ.pop("LISTEN_FDNAMES", None)
    sockets: list[socket.socket] = []
    try:
        for number in range(3, 3 + count):
            sockets.append(socket.socket(fileno=number))
            sockets[-1].set_inheritable(False)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets
