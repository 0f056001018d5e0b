"""Lines from stdin without waiting, and text to stdout and stderr.

Facts: a terminal is shared with the shell, and O_NONBLOCK set on it would outlive this process;
but a descriptor that is ready can be read once without waiting. `epoll` refuses regular files
and `/dev/null`, which are always ready. `sys.stdout` keeps what a closed pipe has refused, and
complains of it when Python ends. What a peer sends can hold the commands of a terminal, and
characters that make a line look like another one.

So `Lines` makes one `os.read` for each time that the descriptor is ready, and what cannot be
watched is read a piece in each step; `Stream` writes to the descriptor itself and keeps
nothing; and `visible` escapes all that is not printable.
"""

from __future__ import annotations

import os
import select
from collections import deque
from typing import TYPE_CHECKING

from reactor import EVENT_READ

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from reactor import Reactor

_READ_SIZE = 64 * 1024


def visible(text: str) -> str:
    """Return `text` in one line, with all that is not printable escaped, but for the tab.

    Not printable are control characters, C1 included, line separators, and what is not seen
    but changes the order of what is: the marks of right-to-left writing.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def descriptor(file: TextIO | None) -> int | None:
    """Return the descriptor of one of Python's standard files; `None` if it began closed.

    The number of one that is closed can be that of a socket by now.
    """
    return None if file is None else file.fileno()


class Lines:
    """The lines of a descriptor, read in a reactor as long as they are wanted.

    Nothing is read before `resume`.

    Args:
        reactor: The reactor to read in.
        number: The descriptor, or `None` for none, which is at its end.
        line: Called with each line, without its line feed; the last one may have had none.
            Returns whether it wants another; if not, `resume` is waited for.
        ended: Called after the last line, with the error that ended the input, or `None`; and
            again after each further `resume`, with `None`.
    """

    def __init__(
        self,
        reactor: Reactor,
        number: int | None,
        line: Callable[[bytes], bool],
        ended: Callable[[OSError | None], object],
    ) -> None:
        self._reactor = reactor
        self._number = -1 if number is None else number
        self._line = line
        self._ended = ended
        self._ahead: deque[bytes] = deque()
        self._begun: list[bytes] = []
        self._wanted = self._watched = self._due = False
        self._over = number is None
        self._error: OSError | None = None

    def resume(self) -> None:
        """Go on with the lines, from the next step."""
        self._wanted = True
        self._go_on_soon()

    def pause(self) -> None:
        """Hand over no more lines, and read none."""
        self._wanted = False
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._reactor.unregister(self._number)

    def _go_on_soon(self) -> None:
        if not self._due:
            self._due = True
            self._reactor.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._due = False
        self._hand_over()
        if not self._wanted or self._watched:
            return
        if self._over:
            self._wanted = False
            error, self._error = self._error, None
            self._ended(error)
            return
        try:
            self._reactor.register(self._number, EVENT_READ, self._ready)
            self._watched = True
        except PermissionError:
            # A file, or what is like one. Read in pieces: there are others to be served.
            self._ready(EVENT_READ)
            self._go_on_soon()

    def _ready(self, mask: int) -> None:
        try:
            data = os.read(self._number, _READ_SIZE)
        except BlockingIOError:
            return  # somebody else who shares it was faster
        except OSError as error:
            self._error, data = error, b""
        if data:
            self._split(data)
            self._hand_over()
        else:
            self._end()

    def _split(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        # Pieces are joined once: a line may be as long as the input.
        self._begun.append(first)
        for other in others:
            self._ahead.append(b"".join(self._begun))
            self._begun = [other]

    def _end(self) -> None:
        self._over = True
        rest = b"".join(self._begun)
        if rest:
            self._ahead.append(rest)
        self._unwatch()
        self._go_on_soon()

    def _hand_over(self) -> None:
        while self._wanted and self._ahead:
            if not self._line(self._ahead.popleft()):
                self.pause()


class Stream:
    """Writes text to a descriptor, all of it, however long that takes.

    A character that the encoding lacks is escaped. When writing has failed, nothing more is
    written.

    Args:
        file: One of Python's standard files, or `None` where it began closed.

    Attributes:
        failed: Called once, with the error, when writing fails.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._number = descriptor(file)
        self._encoding = getattr(file, "encoding", None) or "utf-8"
        self.failed: Callable[[OSError], object] = lambda error: None

    def line(self, text: str) -> None:
        """Write `text` and the end of a line."""
        data = memoryview(f"{text}\n".encode(self._encoding, "backslashreplace"))
        while data and self._number is not None:
            try:
                data = data[os.write(self._number, data) :]
            except BlockingIOError:
                # Whoever shares it has made it non-blocking.
                select.select([], [self._number], [])
            except OSError as error:
                self._number = None
                self.failed(error)
