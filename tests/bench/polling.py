"""What it costs to ask which sockets are ready, in ns (the facts of `loop/epoll.py`).

python -m tests.bench.polling
"""

from __future__ import annotations

import selectors
import socket
import sys
import timeit
from contextlib import ExitStack
from typing import Any

COUNTS = (1, 50)


def cost(kind: type[selectors.BaseSelector], method: str, ready: int, calls: int) -> float:
    """One call with so many ready sockets, the best of many runs, in ns."""
    with ExitStack() as stack:
        selector = stack.enter_context(kind())
        for _ in range(ready):
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.send(b"x")
            selector.register(ours, selectors.EVENT_READ)
        ask: Any = getattr(selector, method)
        given = (0.5, ready) if method == "poll" else (0.5,)
        best = min(timeit.repeat(lambda: ask(*given), number=calls, repeat=20))
        return best / calls * 1e9


def main(calls: int = 2000) -> int:
    """Print a table; `calls` of `select` are a run."""
    if not sys.platform.startswith("linux"):
        print("epoll is Linux's")
        return 2
    from reactor.loop.epoll import EpollSelector

    print("ready sockets".rjust(14), *(str(count).rjust(8) for count in COUNTS))
    ways: list[tuple[str, type[selectors.BaseSelector], str]] = [
        ("selectors", selectors.EpollSelector, "select"),
        ("reactor", EpollSelector, "select"),
        ("reactor, poll", EpollSelector, "poll"),
    ]
    for name, kind, method in ways:
        spent = (cost(kind, method, count, max(1, calls // count)) for count in COUNTS)
        print(name.rjust(14), *(f"{each:8.0f}" for each in spent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
