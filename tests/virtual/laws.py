"""What must hold after every step, whatever has happened; a look at each connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from reactor.loop.reactor import EVENT_READ, EVENT_WRITE
from reactor.loop.timers import Deadline
from reactor.loop.transport import HIGH_WATER, LOW_WATER
from reactor.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reactor import Server

# A Close, an automatic pong and a ping may come on top of what is counted, with their headers.
CONTROL = 3 * 127


def check_server(server: Server, limit: int, own_timers: int) -> None:
    """Check a server that is alone in its reactor.

    Args:
        server: The server.
        limit: The most bytes that may wait for one peer.
        own_timers: How many timers belong to somebody else.
    """
    reactor: Any = server.reactor
    known: set[Any] = set()
    timers = own_timers
    for client in server.clients:
        held: Any = client
        timers += check_end(held._transport, held._deadlines._timer, known)
        assert client.buffered_amount <= limit + CONTROL, (client, client.buffered_amount)
    for opening in server._openings:
        timers += check_end(opening._transport, opening._timer, known)
    for listener in server._listeners:
        if not listener._closed:
            known.add(listener)
    assert reactor._pollables == known
    check_map(reactor, known)
    room: Any = server._room_timer
    timers += room is not None and room.active
    if len(reactor._timers) != timers:
        active = [entry for entry in reactor._timers.heap if entry[2].active]
        found = [(when, timer.fn) for when, _, timer in sorted(active)]
        # It is told so in a step that is still to come.
        if reactor.next_timeout() == 0 and len(found) - sum(map(made_room, found)) == timers:
            return
        raise AssertionError(f"{timers} timers expected, not these {len(found)}: {found}")
    assert len(server._openings) <= server._max_openings
    assert len(server.clients) + len(server._openings) <= server._max_connections


def made_room(entry: tuple[float, Any]) -> bool:
    """Whether a timer is that of an opening that was dropped for another: it hears so next."""
    opening = getattr(entry[1], "__self__", None)
    if isinstance(opening, Deadline):
        opening = getattr(opening._fn, "__self__", None)
    return isinstance(opening, Opening) and opening._transport.closed


def check_end(transport: Any, timer: Any, known: set[Any]) -> int:
    """Check one connection or opening; return how many timers it has."""
    timer = getattr(timer, "_timer", timer)  # of a `Deadline`
    transport = getattr(transport, "below", transport)  # of TLS
    if transport.closed:  # it is told in the next step
        assert not transport.buffered
        return int(timer.active)
    known.add(transport)
    assert timer.active, "an open connection without a deadline"
    check_queue(transport)
    return 1


def check_queue(transport: Any) -> None:
    assert transport.corked is None, "left corked"
    waiting = sum(map(len, transport._backlog or ()))
    assert transport.buffered == waiting
    assert transport.buffered <= HIGH_WATER or transport.choked
    assert transport.buffered > LOW_WATER or not transport.choked
    interest = transport._interest
    assert bool(interest & EVENT_WRITE) is bool(waiting), "to write is waited for in vain"
    assert bool(interest & EVENT_READ) is transport.reading


def check_map(reactor: Any, known: Iterable[Any]) -> None:
    """The selector watches what is open and wants something, and the wake socket."""
    watched = reactor._selector.get_map()
    count = 1
    assert reactor._wakeup.reader in watched
    for one in known:
        key = watched.get(one.sock)
        wanted = one._interest if hasattr(one, "_interest") else int(one._listening)
        assert (key.events if key else 0) == wanted
        count += key is not None
    assert len(watched) == count, "something is watched that is closed"


class Deflate(PerMessageDeflate):
    """wsproto's, but for one fault: it forgets a compressed message at a ping inside of it."""

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: Any, length: int) -> Any:
        before = self._inbound_compressed
        answer = super().frame_inbound_header(proto, opcode, rsv, length)
        if opcode.iscontrol():
            self._inbound_compressed = before
        return answer

    def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
        if not self._inbound_is_compressible:
            return None
        return super().frame_inbound_complete(proto, fin)


class Oracle:
    """What comes from the server, in the eyes of wsproto."""

    def __init__(self) -> None:
        self.head = b""
        self.body = b""
        self.messages: list[str | bytes] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self._frames: FrameProtocol | None = None
        self._parts: list[Any] = []
        self._raw = bytearray()

    def hear(self, data: bytes) -> None:
        if self._frames is None and not self.head.endswith(b"\r\n\r\n"):
            head, end, data = (self.head + data).partition(b"\r\n\r\n")
            self.head = head + end
            if end and self.head.startswith(b"HTTP/1.1 101 "):
                self._frames = FrameProtocol(client=True, extensions=self._extensions())
        if self._frames is None:
            self.body += data
        elif data:
            assert not self.closes, "bytes behind a Close"
            self._walk(data)
            self._frames.receive_bytes(data)
            self._take(self._frames)

    def _extensions(self) -> list[Any]:
        for line in self.head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Sec-WebSocket-Extensions":
                extension = Deflate()
                extension.finalize(value)
                return [extension]
        return []

    def _walk(self, data: bytes) -> None:
        """Go from header to header: wsproto reads no further than the first Close."""
        raw = self._raw
        raw += data
        while len(raw) > 1:
            short = raw[1] & 0x7F
            start = {126: 4, 127: 10}.get(short, 2)
            size = start + (int.from_bytes(raw[2:start], "big") if start > 2 else short)
            if len(raw) < max(start, size):
                return
            assert raw[0] != 0x88 or len(raw) == size, "more behind a Close"
            del raw[:size]

    def _take(self, frames: FrameProtocol) -> None:
        for frame in frames.received_frames():
            if frame.opcode is Opcode.CLOSE:
                payload: Any = frame.payload
                self.closes.append((int(payload[0]), payload[1] or ""))
            elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION):
                self._parts.append(frame.payload)
                if frame.message_finished:
                    empty: Any = "" if isinstance(self._parts[0], str) else b""
                    self.messages.append(empty.join(self._parts))
                    self._parts.clear()
            else:
                continue
