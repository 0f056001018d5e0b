"""One connection in memory, in either role, and its peer, by hand.

What leaves comes out frame by frame, at the pace of the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor import Connection, Reactor
from reactor.loop.transport import Transport
from reactor.opened import Opened
from reactor.protocol.frames import pack_frame
from reactor.protocol.handshake import Request
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests.protocol.wire import read_frame
from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from reactor import Codec

KIB = 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: memory"


class Noting(Recorder):
    """A server that is told of what has been sent, too."""

    def onsent(self, client: Connection, message: Any) -> None:
        self._note("onsent", client, message)

    def sent(self) -> list[Any]:
        return [entry[1] for entry in self.log if entry[0] == "onsent"]


class Line:
    """A connection of a server's, or of a client's kind, and its peer.

    Args:
        is_client: Whether it masks.
        server: Who is told.
        do: What is done then.
        codecs: The extensions of the connection.
        kind: The class of the connection.
        **options: Those of the server.
    """

    def __init__(
        self,
        *,
        is_client: bool = False,
        server: type[Recorder] = Recorder,
        do: Mapping[str, Callable[..., object]] | None = None,
        codecs: tuple[Codec, ...] = (),
        kind: type[Connection] = Connection,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.reactor = Reactor(selector=MemorySelector(), clock=self.clock)
        self.server: Any = server(reactor=self.reactor, do=do, **options)
        ours, self.peer = memory_pair()
        sock: Any = ours
        nobody: Any = None
        transport = Transport(self.reactor, sock, nobody, len, self.server.tally)
        request = Request(REQUEST, ("memory", 1))
        self.client = kind(
            Opened(
                self.server, transport, request, self.server, None, codecs, is_client=is_client
            )
        )
        self.server._clients[self.client] = None
        self.transport = transport
        self.client.begin(b"", b"")
        self._output = b""
        # What has left and was read here, whole frames: first byte and payload.
        self.frames: list[tuple[int, bytes]] = []

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self.reactor.close()

    # ---- the other end ----

    def say(self, head: int, payload: bytes = b"") -> None:
        """Have a frame come."""
        self.peer.send(pack_frame(head, payload, not self.client.is_client))

    def stop_reading(self) -> None:
        """Have no room for more."""
        self.peer.capacity = 0

    def take(self, size: int = 1 << 62) -> None:
        """Read so many bytes of what has come; make room for no more than before."""
        data = bytes(self.peer.inbox[:size])
        del self.peer.inbox[: len(data)]
        self._output += data
        while _holds_header(self._output):
            try:
                head, masked, payload, self._output = read_frame(self._output)
            except ValueError:
                break  # the rest of it is still to come
            assert masked is self.client.is_client
            self.frames.append((head, payload))

    def read_all(self) -> list[tuple[int, bytes]]:
        """Read until nothing comes any more; return the frames that have come since."""
        before = len(self.frames)
        self.peer.capacity = 1 << 62
        while True:
            self.settle()
            if not self.peer.inbox:
                return self.frames[before:]
            self.take()

    # ---- time ----

    def step(self) -> None:
        self.reactor.step(0)

    def settle(self, steps: int = 8) -> None:
        for _ in range(steps):
            self.step()

    def whole(self) -> list[str | bytes]:
        """Return the messages in the frames so far, put together; control frames aside."""
        return list(_messages(self.frames))


def _holds_header(data: bytes) -> bool:
    if len(data) < 2:
        return False
    size = {126: 4, 127: 10}.get(data[1] & 0x7F, 2)
    return len(data) >= size + (4 if data[1] & 0x80 else 0)


def _messages(frames: list[tuple[int, bytes]]) -> Iterator[str | bytes]:
    parts: list[bytes] | None = None
    text = False
    for head, payload in frames:
        opcode = head & 0x0F
        if opcode & 8:
            continue
        # Whoever mixes messages has broken RFC 6455 §5.4.
        assert (opcode == 0) is (parts is not None), "fragments of two messages are mixed"
        if parts is None:
            parts, text = [], opcode == 1
        parts.append(payload)
        if head & 0x80:
            message = b"".join(parts)
            parts = None
            yield message.decode() if text else message
