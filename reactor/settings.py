"""The limits and deadlines of a connection, with their defaults and the reasons for them."""

from __future__ import annotations

_OPTIONAL = ("ping_interval", "fragment_size")


class Settings:
    """What all connections of a server share; keyword arguments of `Server`.

    Sizes are bytes, times are seconds.

    Args:
        max_message: The most bytes of a message, over all its frames; more fails the
            connection with 1009. 1 MiB: what a device can hold of many; raise it where larger
            ones are expected.
        max_fragments: The most frames of a message; empty ones count; more fails it with 1008.
            16,384: it bounds time, since nothing is kept for each.
        max_write_queue: The most bytes that wait for a peer which reads slowly; one larger
            message is allowed into an empty queue. 1 MiB.
        overflow: What happens to a message beyond that: `"close"`, the default, drops the
            connection; `"skip"` drops the message, and `send` returns `False`; `"error"` has
            `send` raise `QueueFull`.
        ping_interval: After so much silence a ping is sent; `None` for never. 20: below the 30
            to 60 at which proxies cut an idle connection.
        ping_timeout: How long after a ping any byte may take to come, before the connection
            fails with 1011. 20.
        handshake_timeout: How long the opening handshake may take in all. 10.
        close_timeout: How long the closing handshake may take in all. 10.
        fragment_size: Messages of more bytes are sent in fragments of so many, as the peer
            takes them, so that a ping need not wait for all of a large one; `None`, the
            default, for never.
        write_timeout: How long the peer may take nothing of what waits for it, messages or a
            plain HTTP response. 30: one that answers pings and does not read is as dead.

    Raises:
        TypeError: A size or a time is not a number, or `fragment_size` not a whole one.
        ValueError: A size or a time is not above zero, or the policy is none of the three.
    """

    __slots__ = (
        "close_timeout",
        "fragment_size",
        "handshake_timeout",
        "max_fragments",
        "max_message",
        "max_write_queue",
        "overflow",
        "ping_interval",
        "ping_timeout",
        "write_timeout",
    )

    def __init__(
        self,
        *,
        max_message: int = 1024 * 1024,
        max_fragments: int = 16_384,
        max_write_queue: int = 1024 * 1024,
        overflow: str = "close",
        ping_interval: float | None = 20.0,
        ping_timeout: float = 20.0,
        handshake_timeout: float = 10.0,
        close_timeout: float = 10.0,
        fragment_size: int | None = None,
        write_timeout: float = 30.0,
    ) -> None:
        self.max_message = max_message
        self.max_fragments = max_fragments
        self.max_write_queue = max_write_queue
        self.overflow = overflow
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.handshake_timeout = handshake_timeout
        self.close_timeout = close_timeout
        self.fragment_size = fragment_size
        self.write_timeout = write_timeout
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "overflow" or (name in _OPTIONAL and value is None):
                continue
            if not isinstance(value, (int, float)):
                raise TypeError(f"{name}={value!r}, not a number")
            if not value > 0:
                raise ValueError(f"{name}={value!r}, not above zero")
        if fragment_size is not None and not isinstance(fragment_size, int):
            raise TypeError(f"fragment_size={fragment_size!r}, not a number of bytes")
        if overflow not in ("close", "skip", "error"):
            raise ValueError(f'overflow={overflow!r}, not "close", "skip" or "error"')
