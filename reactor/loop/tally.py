"""What has gone through the connections of one owner, and what waits in their queues.

Facts: to add to an attribute costs 25 ns. To ask a thousand connections costs a millisecond,
and those that have ended could not be asked any more.

So all connections of a server add to one tally, and whoever wants to know reads it. Which queue
has waited for the longest is known without a search: they stand in the order in which the
system last took something of them, the oldest first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Queue(Protocol):
        """What waits to be taken by the system: a transport's."""

        progress: float


class Tally:
    """Counts for the connections of one owner.

    Attributes:
        bytes_received: What sockets have received; with TLS, encrypted.
        bytes_sent: What the system has taken.
        messages_received: Counted by those who know what a message is.
        messages_sent: The same.
        queued: Bytes that wait in write queues.
        queues: The queues that are not empty, the one that has waited for the longest first.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "messages_received",
        "messages_sent",
        "queued",
        "queues",
    )

    def __init__(self) -> None:
        self.bytes_received = self.bytes_sent = 0
        self.messages_received = self.messages_sent = 0
        self.queued = 0
        self.queues: dict[Queue, None] = {}

    def queue_moved(self, queue: Queue, taken: int, empty: bool) -> None:
        """Note that the system has taken something of a queue.

        Args:
            queue: Which.
            taken: Bytes.
            empty: Whether nothing is left.
        """
        self.bytes_sent += taken
        self.queued -= taken
        del self.queues[queue]
        if not empty:
            self.queues[queue] = None

    def queue_dropped(self, queue: Queue, size: int) -> None:
        """Note that what was left of a queue, `size` bytes, is lost."""
        self.queued -= size
        self.queues.pop(queue, None)

    def age(self, now: float) -> float:
        """Return how long a queue has waited without the system's taking anything, in seconds.

        Of several, it is the one that has waited for the longest; 0 if there is none.
        """
        for queue in self.queues:
            return max(0.0, now - queue.progress)
        return 0.0
