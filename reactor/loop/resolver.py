"""Look up names without holding up the loop.

Facts: `getaddrinfo` is the only look-up that knows all of a system's ways (hosts file, mDNS,
search domains), and it blocks, for half a minute if a name server is silent. `threading` costs
more to import than this package; `_thread` is built in.

So each look-up has a thread of its own, started when it is needed and gone with the answer,
which comes back by `call_soon_threadsafe`; who asks again for what is being looked up waits for
the same answer. An address that is one already needs no thread.
"""

from __future__ import annotations

import socket
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    from .reactor import Reactor

    # Each address is a host, as an IP address, and a port; for IPv6 two numbers may follow.
    Found = Union[Sequence[tuple[Any, ...]], Exception]
    Answer = Callable[[Found], object]
    Resolve = Callable[[str, int, Answer], object]


class Resolver:
    """Looks up names for the clients of a reactor.

    Args:
        reactor: In whose thread the answers come.
    """

    __slots__ = ("_asking", "_reactor")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._asking: dict[tuple[str, int], list[Answer]] = {}

    def __call__(self, host: str, port: int, answer: Answer) -> None:
        """Look up `host`; call `answer` in a later step, once.

        Args:
            host: A name, or an IP address without brackets.
            port: Goes into the addresses.
            answer: Called with the addresses, the best first, as `connect` takes them; or with
                the exception that says why there are none.
        """
        if is_address(host):
            self._reactor.call_soon(answer, [(host, port)])
            return
        waiting = self._asking.setdefault((host, port), [])
        waiting.append(answer)
        if len(waiting) == 1:
            try:
                start_new_thread(self._look_up, (host, port))
            except RuntimeError as error:
                self._reactor.call_soon(self._answer, host, port, error)  # no more threads

    def _look_up(self, host: str, port: int) -> None:
        """Ask the system; runs in a thread of its own."""
        found: Found
        try:
            found = [item[4] for item in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
        except Exception as error:
            found = error  # whatever it is, it is who asks that must hear it
            if isinstance(error, OSError):
                error.filename = host  # which of all names it was
        try:
            self._reactor.call_soon_threadsafe(self._answer, host, port, found)
        except RuntimeError:
            pass  # the reactor is closed: nobody waits any more

    def _answer(self, host: str, port: int, found: Found) -> None:
        # Each by itself: what one of them raises is not the others' affair.
        for answer in self._asking.pop((host, port)):
            self._reactor.call_soon(answer, found)


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, not a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
