"""A client that has a network between itself and its server."""

from __future__ import annotations

from ..loop.reactor import EVENT_WRITE
from .peer import Speaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..protocol.extensions import Extension
    from .network import Route


class Visitor(Speaker):
    """A client in a `World`, made by `World.connect`: what it does is answered in time.

    A subclass can have a script: `happened` is called whenever something has come about.

    Attributes:
        world: The world.
        route: Its connection, and what that is like: see `Route`.
        sock: Its end of it.
        ended: Why it has no connection any more: `"end"` by the server's FIN, `"reset"`,
            `"refused"`, `"left"` by itself; or `None` while it has one.
        reads: Whether it reads what comes: see `stop_reading`.
        leaves: Whether it closes its end when the server has ended, as a living client does.
    """

    def __init__(self, world: Any, route: Route, extensions: Iterable[Extension]) -> None:
        super().__init__(extensions, lambda: route.random.getrandbits(32).to_bytes(4, "big"))
        self.world = world
        self.route = route
        self.sock = route.client
        self.ended: str | None = None
        self.reads = self.leaves = True
        self._connected = False
        self._unsent = b""

    def happened(self) -> None:
        """Something has come, or there is room again, or it has ended: for a script."""

    # ---- what it does ----

    def write(self, data: bytes) -> object:
        """Send bytes, those for which there is no room as soon as there is some."""
        self._unsent += data
        self._send_on()
        return None

    def stop_reading(self) -> None:
        """Read nothing more: what comes fills the buffers."""
        self.reads = False

    def go_on_reading(self) -> None:
        """Read again, and first what has come meanwhile."""
        self.reads = True
        self.changed()

    def vanish(self) -> None:
        """Have nothing arrive any more, in either direction, and nobody told."""
        self.route.lost = True

    def reset(self) -> None:
        """End it by RST: the server loses what it has not read."""
        self._leave(self.sock.reset)

    def disconnect(self) -> None:
        """Close it without a Close, as a program does that is ended."""
        self._leave(self.sock.close)

    def finish(self) -> None:
        """Send FIN, and go on reading."""
        if self.ended is None and self.sock.failure is None:
            self.sock.shutdown(1)

    def _leave(self, end: Callable[[], object]) -> None:
        if self.ended is None:
            self.ended = "left"
            end()

    # ---- from the network ----

    def connected(self) -> None:
        """The server's system has answered; called by the world."""
        if not self.route.lost:
            self._connected = True
            self.changed()

    def changed(self) -> None:
        """Something has come, or there is room again; called by the socket."""
        if self.reads:
            self._read()
        self._send_on()
        self.happened()

    def _send_on(self) -> None:
        try:
            while self._connected and self._unsent and self.sock.ready & EVENT_WRITE:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except OSError:
            self._unsent = b""  # lost with the connection, which reading shows

    def _read(self) -> None:
        while self.ended is None:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self.ended = "refused"
            except OSError:
                self.ended = "reset"
            else:
                if data:
                    self.hear(data)
                    continue
                if not self.leaves:
                    return
                self.ended = "end"
            self.sock.close()
