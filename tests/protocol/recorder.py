"""A session's other side in tests: notes what it says, and feeds it a stream in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.protocol.assembly import WholeBinary, WholeText
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
    stop, as a connection does that pauses. Of messages that are handed on in parts, each part
    is noted, and what a message brings comes with its last.
    """

    def __init__(
        self,
        *,
        client: bool = False,
        max_message: int = 1 << 20,
        max_fragments: int = 1 << 14,
        stop: Iterable[str] = (),
        echo: bool = True,
        in_parts: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.stop = frozenset(stop)
        self.echo = echo
        self.large = False
        self.session = self.make(
            client=client,
            max_message=max_message,
            max_fragments=max_fragments,
            in_parts=in_parts,
        )
        self._client = client
        self._parts: list[Any] = []

    def make(self, **options: Any) -> Session:
        """Return the session; a subclass may take another."""
        return Session(self, **options)

    # ---- from the session ----

    def write(self, data: bytes) -> None:
        head, masked, payload, rest = read_frame(data)
        assert masked == self._client
        assert not rest
        self.events.append(("sent", head, payload))

    def message_received(self, message: str | bytes) -> bool:
        assert self.session.state is State.OPEN
        self.events.append(("message", message))
        return self._taken(message)

    def messages_received(self, messages: Iterable[str | bytes]) -> bool:
        return any(self.message_received(message) for message in messages)

    def fragment_received(self, data: str | bytes, final: bool) -> bool:
        assert self.session.state is State.OPEN
        assert data or final
        self.events.append(("part", data, final))
        self._parts.append(data)
        if not final:
            return "part" in self.stop
        message = type(data)().join(self._parts)
        self._parts.clear()
        return self._taken(message) or "part" in self.stop

    def _taken(self, message: str | bytes) -> bool:
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

    @property
    def joined(self) -> tuple[list[Event], str | bytes]:
        """The events, with a message for its parts; and what has come of an unfinished one."""
        events: list[Event] = []
        parts: list[Any] = []
        for event in self.events:
            if event[0] != "part":
                events.append(event)
                continue
            parts.append(event[1])
            if event[2]:
                events.append(("message", type(event[1])().join(parts)))
                parts.clear()
        return events, type(parts[0])().join(parts) if parts else b""

    @property
    def outcome(self) -> tuple[list[Event], State]:
        """All that can be seen from outside."""
        return self.events, self.session.state


def held(session: Session) -> int:
    """Return how many bytes of input a session holds."""
    assembly = session._assembly
    size = len(session._unparsed) - session._pos
    if isinstance(assembly, WholeBinary):
        size += len(assembly._stored.getbuffer())
    elif isinstance(assembly, WholeText):
        size += sum(map(len, assembly._pieces))
    return size + len(getattr(assembly, "_undecoded", b""))


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
    yield "byte by byte, kept", kept(new, single)
    for place in range(1, len(data)) if places is None else places:
        pieces = cut(data, [place])
        yield f"cut at {place}", in_pieces(new, pieces)
        yield f"cut at {place}, kept", kept(new, pieces)
