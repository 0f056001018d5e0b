"""A connection by itself: of no server and no client, but with a reactor to itself.

Its `receive_forever` runs that reactor until the connection has ended, its `recv` until a
message has come; in between nothing is read, and the peer is held up.

Others may live in the same reactor, if the `WebSocket` was made for that one, and make steps of
it in between. Then the handlers are called; but where nobody has an `onmessage`, or `recv` has
been called, at most one message is read, which waits for the next call.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from .errors import ConnectionClosed, InvalidState
from .handlers import Handlers, give
from .opened import Opened
from .protocol.session import State
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Source(Protocol):
        """What it is made of: a `WebSocket` after its handshake."""

        def release(self) -> tuple[Opened, bytes]:
            """Give away the connection, and what has come on it and was not asked for."""

        def close(self) -> None:
            """Close the reactor, if it is its own."""

    class Lone(Protocol):
        """The connection, as far as it is driven here."""

        close_code: int | None
        close_reason: str

        @property
        def ready_state(self) -> State:
            """Where it is in its life."""

        def listens_to(self, name: str) -> bool:
            """Whether a handler was given."""

        def start(self) -> None:
            """Be open, without a word."""

        def go(self, rest: bytes) -> None:
            """Call `onopen`, and read on behind `rest`."""

        def deliver_to(self, deliver: Callable[[Any], bool] | None) -> None:
            """Have messages delivered elsewhere, or again to `onmessage`."""

        def message_received(self, message: Any) -> bool:
            """Deliver a message."""

        def pause(self) -> None:
            """Stop reading and delivering."""

        def resume(self) -> None:
            """Go on reading and delivering."""

        def close(self) -> None:
            """Begin the closing handshake."""

        def hang_up(self, code: int, reason: str) -> None:
            """Close, and cut short what is being sent."""

        def abort(self) -> None:
            """Drop the connection."""


# When the time is up, so many steps more that do not wait: one in which it begins to read, and
# one in which it reads what is there already.
_LAST_STEPS = 2


class Alone(Handlers):
    """Whose a connection is that is nobody else's: its host, and its handlers.

    Args:
        connection: The connection.
        source: What it is made of, and is used up.
        options: Limits and deadlines, and functions for handlers.

    Attributes:
        opened: What the connection is made of.
        reactor: The reactor.
        settings: Limits and deadlines.
    """

    def __init__(self, connection: Lone, source: Source, options: dict[str, Any]) -> None:
        super().__init__()
        name = type(connection).__name__
        if not hasattr(source, "release"):
            raise TypeError(f"{name}() of {type(source).__name__}, not of a WebSocket")
        names = set(Settings.__slots__)
        given = {n: v for n, v in options.items() if n in names}
        Settings(**given)  # raises now what is wrong with it: then nothing is used up
        if "onrequest" in options:
            raise TypeError(f"{name}() has no option 'onrequest': its handshake is over")
        give(self, {n: v for n, v in options.items() if n not in names}, name)
        opened, self._rest = source.release()
        before = opened.host.settings
        self.settings = Settings(**{**{n: getattr(before, n) for n in names}, **given})
        self.reactor = opened.host.reactor
        self.opened = Opened(
            self,
            opened.transport,
            opened.request,
            self,
            opened.subprotocol,
            opened.codecs,
            is_client=opened.is_client,
        )
        self._connection = connection
        self._source = source
        self._inbox: deque[Any] = deque()
        # Whether messages go there; whether a call waits for one; whether the connection is
        # paused, since none does and one has come; whether the reactor is run by this.
        self._diverted = self._waiting = self._held = self._running = False
        self._ended = False

    def start(self) -> None:
        """Begin: the connection is open, and the first step tells so."""
        self._connection.start()
        # Nothing is called while the user's constructor may still be running.
        self.opened.transport.pause()
        if not any(map(self._connection.listens_to, ("onmessage", "onfragment"))):
            self._divert()
        self.reactor.call_soon(self._connection.go, self._rest)
        self.reactor.attach(self)

    def receive_forever(self) -> None:
        """Run the reactor until the connection has ended."""
        self._check_outside("receive_forever")
        try:
            if not self._ended:
                self.reactor.call_soon(self._deliver)
                self._running = self._waiting = True
                self.reactor.run()
        finally:
            self._running = self._waiting = False
            self._leave()

    def recv(self, timeout: float | None) -> Any:
        """Return the next message.

        Raises:
            ConnectionClosed: There will be none.
            TimeoutError: There was none in time.
            ValueError: The timeout is negative.
        """
        self._check_outside("recv")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout of {timeout!r} seconds")
        if not self._inbox:
            self._await_message(timeout)
        if self._inbox:
            return self._inbox.popleft()
        self._leave()
        code = self._connection.close_code
        assert code is not None, "the connection has ended"
        raise ConnectionClosed(code, self._connection.close_reason)

    def _await_message(self, timeout: float | None) -> None:
        """Make steps until there is a message, or there will be none."""
        self._divert()
        self._go_on()
        deadline = None if timeout is None else monotonic() + timeout
        steps = 0
        self._waiting = True
        try:
            while not self._inbox and not self._ended:
                left = None if deadline is None else max(0.0, deadline - monotonic())
                if left == 0:
                    if steps == _LAST_STEPS:
                        raise TimeoutError(f"no message in {timeout:g} s")
                    steps += 1
                self.reactor.step(left)
        finally:
            self._waiting = False

    def leave(self, *, at_once: bool) -> None:
        """End the connection, and wait for it."""
        if at_once:
            self._connection.abort()
        else:
            self._connection.close()
        self.receive_forever()

    def _check_outside(self, name: str) -> None:
        if self.reactor.stepping:
            raise InvalidState(f"{name}() from inside a handler")

    def _divert(self) -> None:
        self._diverted = True
        self._connection.deliver_to(self._received)

    def _received(self, message: Any) -> bool:
        self._inbox.append(message)
        if not self._waiting:  # in somebody else's step
            self._held = True
            self._connection.pause()
        return True  # one at a time: what is not asked for is not read

    def _go_on(self) -> None:
        if self._held:
            self._held = False
            self._connection.resume()

    def _deliver(self) -> None:
        """Tell `onmessage` what `recv` has left, and then all that comes."""
        if self._diverted:
            self._diverted = False
            self._connection.deliver_to(None)
            self._go_on()
        stop = False
        while self._inbox and not stop and self._connection.ready_state is State.OPEN:
            stop = self._connection.message_received(self._inbox.popleft())
        # There can be more than one if the connection is lost, and that is told in this step:
        # what comes so late is dropped when the user has paused or closed.
        self._inbox.clear()

    def _leave(self) -> None:
        """Close what is left, as after an interrupt."""
        if not self._ended:
            self._connection.abort()
        if not (self.reactor.stepping or self.reactor.closed):
            self.reactor.drain(self)
            self._source.close()

    # ---- from the connection, and the reactor ----

    def connection_ended(self, connection: object) -> None:
        """Note the end; called by the connection."""
        self._ended = True
        self.reactor.detach(self)
        if self._running:
            self.reactor.stop()  # though others may live there

    def stop(self) -> None:
        """Close, since the program is to end; called by the reactor."""
        self._connection.hang_up(1001, "")

    def abort(self) -> None:
        """Drop the connection; called by the reactor."""
        self._connection.abort()
