"""A session's other side in tests: notes what it says, and feeds it a stream in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.protocol.session import Session, State

from .wire import read_frame

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from reactor.errors import ProtocolError

    Event = tuple[Any, ...]


class Recorder:
    """Holds a session and notes its events, in order; plays a connection that echoes.

    A message "close" is answered by our own Close; "stop" and what `stop` names make the parser
    stop, as a connection does that pauses.
    """

    def __init__(
        self,
        *,
        client: bool = False,
        max_message: int = 1 << 20,
        max_fragments: int = 1 << 14,
        stop: Iterable[str] = (),
        echo: bool = True,
    ) -> None:
        self.events: list[Event] = []
        self.stop = frozenset(stop)
        self.echo = echo
        self.large = False
        self.session = Session(
            self, client=client, max_message=max_message, max_fragments=max_fragments
        )
        self._client = client

    # ---- from the session ----

    def write(self, data: bytes) -> None:
        head, masked, payload, rest = read_frame(data)
        assert masked == self._client
        assert not rest
        self.events.append(("sent", head, payload))

    def message_received(self, message: str | bytes) -> bool:
        assert self.session.state is State.OPEN
        self.events.append(("message", message))
        if message == "close":
            self.session.close(1000, "bye")
        elif self.echo:
            self.write(self.session.pack(message))
        return message == "stop" or "message" in self.stop

    def ping_received(self, payload: bytes) -> bool:
        self.events.append(("ping", payload))
        self.session.pong(payload)
        return "ping" in self.stop

    def pong_received(self, payload: bytes) -> bool:
        self.events.append(("pong", payload))
        return "pong" in self.stop

    def close_received(self, code: int, reason: str) -> None:
        self.events.append(("closed", code, reason))

    def violated(self, error: ProtocolError) -> None:
        self.events.append(("violated", error.code, error.reason, str(error)))

    def large_frame(self, begun: bool) -> None:
        self.large = begun

    # ---- the ways to feed it ----

    def feed(self, data: bytes) -> None:
        """Feed as a connection does: what is left after a stop is asked for by itself."""
        more = self.session.feed(data)
        while more:
            more = self.session.feed(b"")

    def receive(self, data: bytes) -> None:
        """Feed as a transport does that receives large frames into place."""
        while data:
            if not self.large:
                self.feed(data)
                return
            view = self.session.vacancy()
            room = len(view)
            count = min(room, len(data))
            view[:count] = data[:count]
            view.release()
            self.session.filled(count, room)
            data = data[count:]

    @property
    def outcome(self) -> tuple[list[Event], State]:
        """All that can be seen from outside."""
        return self.events, self.session.state


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `data` in pieces, cut at these places."""
    edges = [0, *sorted(cuts), len(data)]
    return [data[one:other] for one, other in zip(edges, edges[1:])]


def cut_at_random(data: bytes, chance: random.Random) -> list[bytes]:
    count = chance.choice((1, 2, 3, len(data) // 8 + 1))
    return cut(data, (chance.randint(0, len(data)) for _ in range(count)))


def whole(new: Callable[[], Recorder], data: bytes) -> Recorder:
    recorder = new()
    recorder.feed(data)
    return recorder


def in_pieces(new: Callable[[], Recorder], pieces: Iterable[bytes]) -> Recorder:
    recorder = new()
    for piece in pieces:
        recorder.feed(piece)
    return recorder


def received(new: Callable[[], Recorder], pieces: Iterable[bytes]) -> Recorder:
    """Feed pieces as a transport does: large frames go into place."""
    recorder = new()
    for piece in pieces:
        recorder.receive(piece)
    return recorder


def kept(new: Callable[[], Recorder], pieces: Iterable[bytes]) -> Recorder:
    """Feed as a paused connection does: all is kept, and parsed when it goes on."""
    recorder = new()
    for piece in pieces:
        recorder.session.keep(piece)
    recorder.feed(b"")
    return recorder


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def every_way(
    new: Callable[[], Recorder], data: bytes, places: Iterable[int] | None = None
) -> Iterator[tuple[str, Recorder]]:
    """Feed `data` in every way; yield the name of each way, and the recorder after it.

    Args:
        new: Makes a recorder.
        data: The stream.
        places: Where to cut it in two; by default everywhere.
    """
    single = byte_by_byte(data)
    yield "byte by byte", in_pieces(new, single)
    yield "byte by byte, into place", received(new, single)
    yield "byte by byte, kept", kept(new, single)
    for place in range(1, len(data)) if places is None else places:
        pieces = cut(data, [place])
        yield f"cut at {place}", in_pieces(new, pieces)
        yield f"cut at {place}, into place", received(new, pieces)
        yield f"cut at {place}, kept", kept(new, pieces)
