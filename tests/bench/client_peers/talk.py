"""What all clients have in common: what is due, whether it came, and how long it took.

A client makes a `Talk` of its command line and connects to `talk.uri`. Then, if `talk.echo`,
it sends `talk.first` and, for every message that comes, what `talk.step(message)` returns;
else it only takes what comes. `None` from `talk.step` says that it is over. Once the connection
is closed, `talk.end()` prints what was measured as a line of JSON, or ends the process with a
sentence that says what was wrong.

The step is the `send` of a generator: this costs each client the same and next to nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Message = Union[str, bytes]

DISTINCT = 256  # messages, before the first is due again; the clock is read after as many
LEAST = 8  # bytes of a message, by which it differs from all the others
_CHARACTERS = "".join(map(chr, range(ord("!"), ord("~") + 1)))


def messages(size: int, text: bool, count: int = DISTINCT) -> list[Message]:
    """The messages of a conversation, in their order: no two alike."""
    if size < LEAST:
        raise ValueError(f"{size} bytes: a message has at least {LEAST}")
    written = [
        f"{number:07x} " + "".join(islice(cycle(_CHARACTERS), number, number + size - LEAST))
        for number in range(count)
    ]
    return [*written] if text else [bytes(ord(c) ^ 0xAA for c in each) for each in written]


def cpu_of(process: int) -> float:
    """The CPU time of a process in seconds, by the number that Linux gives its clock."""
    return time.clock_gettime(~process << 3 | 2)


def _shown(message: object) -> str:
    written = repr(message)
    return written if len(written) <= 100 else f"{written[:97]}..."


class _Moment(NamedTuple):
    messages: int
    wall: float
    mine: float
    theirs: float


class Talk:
    """One conversation: checked from its first message to its last, timed after the warm-up."""

    def __init__(self, given: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(description="A client under test.")
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--size", type=int, default=64)
        parser.add_argument("--echo", action="store_true", help="with one message on the way")
        parser.add_argument("--binary", action="store_true")
        parser.add_argument("--warmup", type=float, default=0.3)
        parser.add_argument("--seconds", type=float, default=1.0)
        parser.add_argument("--messages", type=int, help="instead of seconds, at least so many")
        parser.add_argument("--server", type=int, help="its process, for its CPU time")
        self._options = options = parser.parse_args(given)
        self.uri = f"ws://127.0.0.1:{options.port}/"
        self.echo: bool = options.echo
        self._messages = messages(options.size, not options.binary)
        self._count = 0
        self._start: float | None = None
        self._begin: _Moment | None = None
        self._run: dict[str, float | None] | None = None
        self._fault = "the connection ended before the time was over"
        steps = self._steps()
        self.first = next(steps) or ""
        self.step = steps.send

    def _steps(self) -> Generator[Message | None, Message, None]:
        """What has come is sent in, what is due next comes out."""
        while not self._over():
            for due in self._messages:
                came = yield due
                if came != due:
                    number = self._count + self._messages.index(due)
                    self._fault = f"message {number} is {_shown(came)}, not {_shown(due)}"
                    while True:
                        yield None
            self._count += DISTINCT
        while True:
            yield None

    def _over(self) -> bool:
        """Whether it lasted long enough; called before each lot of messages."""
        now = time.perf_counter()
        if self._start is None:
            self._start = now
        elif self._begin is None:
            if now - self._start >= self._options.warmup:
                self._begin = self._moment()
        elif self._enough(self._begin, now):
            self._note(self._begin, self._moment())
            return True
        return False

    def _enough(self, begin: _Moment, now: float) -> bool:
        wanted = self._options.messages
        if wanted is not None:
            return bool(self._count - begin.messages >= wanted)
        return bool(now - begin.wall >= self._options.seconds)

    def _moment(self) -> _Moment:
        server = self._options.server
        theirs = 0.0 if server is None else cpu_of(server)
        return _Moment(self._count, time.perf_counter(), time.process_time(), theirs)

    def _note(self, begin: _Moment, end: _Moment) -> None:
        count, seconds = end.messages - begin.messages, end.wall - begin.wall
        self._run = {
            "messages": count,
            "seconds": seconds,
            "rate": count / seconds,
            "client_cpu": end.mine - begin.mine,
            "server_cpu": None if self._options.server is None else end.theirs - begin.theirs,
        }

    def end(self) -> None:
        """Say what came of it: this is the last thing a client does."""
        if self._run is None:
            sys.exit(self._fault)
        print(json.dumps(self._run))
