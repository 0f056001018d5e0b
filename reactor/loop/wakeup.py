"""What ends the wait of a reactor from outside: other threads, and signals.

Facts: `select` is ended by a byte on a socket that it watches, not by another thread, and not
by a signal whose handler returns (PEP 475). A pair of sockets takes some hundred single bytes
until it is full.

So there is one pair, with one byte in it for any number of wake-ups, and those of the signals.
There is no lock, since a signal's handler may run in the middle of anything; the order keeps a
wake-up from being lost. Who wakes notes its wish first and looks at `_sent` then; who is woken
takes the byte, then takes back `_sent`, and looks for wishes last: one of them sees the other.
"""

from __future__ import annotations

import socket


class Wakeup:
    """A pair of sockets, one of which a selector watches.

    Attributes:
        reader: The one to watch for input.
        writer: The one that `signal.set_wakeup_fd` takes.
    """

    __slots__ = ("_closed", "_sent", "reader", "writer")

    def __init__(self) -> None:
        self._sent = self._closed = False
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)

    def wake(self) -> None:
        """Have the reader readable; from any thread or signal handler, never blocks.

        Once it is closed, nothing is done.
        """
        if self._sent:
            return
        self._sent = True
        try:
            self.writer.send(b"\0")
        except BlockingIOError:
            pass  # full of the bytes of signals, which wake as well
        except OSError:
            self._sent = False
            if not self._closed:
                raise

    def read(self) -> bytes:
        """Take what has come: the numbers of signals, and zeros; look for wishes after it."""
        try:
            return self.reader.recv(4096)
        except BlockingIOError:
            return b""
        finally:
            # Whatever is raised here: with this left behind, nobody would wake us any more.
            self._sent = False

    def close(self) -> None:
        """Close both; allowed any number of times."""
        self._closed = True
        self.writer.close()  # first: one without a reader could raise SIGPIPE
        self.reader.close()
