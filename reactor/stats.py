"""What has gone over the connections of a server or a client: numbers, taken at one moment."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop.tally import Tally


class TrafficStats:
    """What the connections of a server, or of a client, have carried so far.

    Attributes:
        connections: How many are open.
        openings: How many are in their opening handshake.
        bytes_received: What the sockets have received, handshakes included; with TLS,
            encrypted.
        bytes_sent: What the system has taken to be sent; the same.
        messages_received: Those that came whole, or to their end; to a handler that asks, also
            those of the same read that it will be told of next.
        messages_sent: Those that were framed to be sent, whether the peer has them or not.
        queued: Bytes that wait in write queues, since their peers read slowly.
        queues: How many queues are not empty.
        queue_age: For how long one of them has waited without its system's taking a byte, the
            longest of all, in seconds; 0 if there is none. At `write_timeout` it is dropped.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connections",
        "messages_received",
        "messages_sent",
        "openings",
        "queue_age",
        "queued",
        "queues",
    )

    def __init__(self, tally: Tally, now: float, connections: int, openings: int) -> None:
        self.connections = connections
        self.openings = openings
        self.bytes_received = tally.bytes_received
        self.bytes_sent = tally.bytes_sent
        self.messages_received = tally.messages_received
        self.messages_sent = tally.messages_sent
        self.queued = tally.queued
        self.queues = len(tally.queues)
        self.queue_age = tally.age(now)

    def __repr__(self) -> str:
        """Return all of it."""
        values = (f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({', '.join(values)})"
