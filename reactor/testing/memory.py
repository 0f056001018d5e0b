"""Sockets in memory, and a selector for them; nothing here waits, and no time passes."""

from __future__ import annotations

import selectors
import socket

from ..loop.reactor import EVENT_READ, EVENT_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class MemorySocket:
    """One end of a connection in memory; as much of a non-blocking socket as is used here.

    Attributes:
        family: As a unix socket's, which has no options.
        capacity: Bytes that may wait to be read by the other end; more is refused, as by a
            kernel whose buffer is full.
        chunk: The most bytes that one call receives or sends, to cut a stream at every place.
        failure: An error for all further calls of `send` and `recv` to raise, or `None`.
        closed: Whether this end is closed.
        inbox: What has come and was not read.
        input_ended: Whether nothing more will come.
        other: The other end.
        watcher: The selector that it is registered with, or was.
    """

    _next_number = 1_000_000

    def __init__(self) -> None:
        self.family = getattr(socket, "AF_UNIX", None)
        self.capacity = 1 << 62
        self.chunk = 1 << 62
        self.failure: OSError | None = None
        self.closed = False
        self.inbox = bytearray()
        self.input_ended = False
        self._output_ended = False
        self.other: MemorySocket | None = None
        self.watcher: MemorySelector | None = None
        MemorySocket._next_number += 1
        self._number = MemorySocket._next_number

    def fileno(self) -> int:
        """Return a number that no other socket has, or -1 for a closed one."""
        return -1 if self.closed else self._number

    def setblocking(self, flag: bool) -> None:
        """Take `False`: there is nothing that could block.

        Raises:
            ValueError: It is to block.
        """
        if flag:
            raise ValueError("a socket in memory does not block")

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Send as much as the other end has room for.

        Raises:
            BlockingIOError: It has none.
            BrokenPipeError: It is closed, or this end was shut down.
        """
        self._check()
        other = self.other
        if other is None or other.closed or self._output_ended:
            raise BrokenPipeError(32, "Broken pipe")
        count = min(len(data), other.capacity - len(other.inbox), self.chunk)
        if count <= 0 < len(data):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        other.inbox += data[:count]
        return count

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes; `b""` when the other end has ended.

        Raises:
            BlockingIOError: There is nothing yet.
        """
        self._check()
        if not self.inbox:
            if self.input_ended:
                return b""
            raise BlockingIOError(11, "Resource temporarily unavailable")
        count = min(size, self.chunk)
        data = bytes(self.inbox[:count])
        del self.inbox[:count]
        return data

    def recv_into(self, view: memoryview) -> int:
        """Receive into `view`; return how many bytes.

        Raises:
            BlockingIOError: There is nothing yet.
        """
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """End what this end sends; what was sent before can still be read."""
        self._check()
        self._output_ended = True
        if self.other is not None:
            self.other.input_ended = True

    def close(self) -> None:
        """Close this end."""
        self.closed = True
        if self.other is not None:
            self.other.input_ended = True

    def reset(self) -> None:
        """Close this end as by RST: the other loses what it has not read."""
        self.close()
        if self.other is not None:
            self.other.inbox.clear()
            self.other.failure = ConnectionResetError(104, "Connection reset by peer")

    @property
    def ready(self) -> int:
        """What a selector would say: `EVENT_READ`, `EVENT_WRITE`, both or 0."""
        readable = self.inbox or self.input_ended or self.failure
        other = self.other
        full = other is not None and not other.closed and len(other.inbox) >= other.capacity
        return (EVENT_READ if readable else 0) | (0 if full else EVENT_WRITE)

    def _check(self) -> None:
        if self.closed:
            raise OSError(9, "Bad file descriptor")
        if self.failure is not None:
            raise self.failure


def memory_pair() -> tuple[MemorySocket, MemorySocket]:
    """Return the two ends of a new connection in memory."""
    one, other = MemorySocket(), MemorySocket()
    one.other, other.other = other, one
    return one, other


class MemorySelector(selectors.BaseSelector):
    """A selector for sockets in memory; it never waits.

    Real sockets may be registered, and are never ready: the reactor's own wake socket is one.
    """

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch `fileobj`.

        Raises:
            KeyError: It is watched already.
            ValueError: The events are not such, or it is closed.
        """
        if not events or events & ~(EVENT_READ | EVENT_WRITE):
            raise ValueError(f"events {events!r}")
        if fileobj.fileno() < 0:
            raise ValueError("a closed socket is registered")
        if fileobj in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        key = selectors.SelectorKey(fileobj, fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        if isinstance(fileobj, MemorySocket):
            fileobj.watcher = self
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Watch `fileobj` no more.

        Raises:
            KeyError: It is not watched.
        """
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now."""
        found = []
        for key in list(self._keys.values()):
            if isinstance(key.fileobj, MemorySocket):
                mask = key.fileobj.ready & key.events
                if mask:
                    found.append((key, mask))
        return found

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is watched."""
        return self._keys

    def close(self) -> None:
        """Watch nothing any more."""
        self._keys.clear()
