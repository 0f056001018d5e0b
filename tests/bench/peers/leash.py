"""What the servers have in common: what is asked of them, where they listen, when they end."""

from __future__ import annotations

import fcntl
import os
import select
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ssl import SSLContext


class Task(NamedTuple):
    """What the words of the command line ask for."""

    fanout: bool = False
    """Send what comes to all connections, instead of back."""
    deflate: bool = False
    """permessage-deflate: 12 bits of window, memLevel 5, level 6, the context kept."""
    certificate: str = ""
    key: str = ""
    """Paths of PEM files; with none, no TLS."""
    own: str = ""
    """What is a matter of this one server."""

    def context(self) -> SSLContext | None:
        """What ``ssl`` needs for them."""
        if not self.certificate:
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def task(*own: str) -> Task:
    """Read ``echo``, ``fanout``, ``deflate``, ``tls=CERTIFICATE,KEY``, or a word of its own."""
    found = Task()
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if word == "fanout":
            found = found._replace(fanout=True)
        elif word == "deflate":
            found = found._replace(deflate=True)
        elif name == "tls":
            certificate, _, key = value.rpartition(",")
            found = found._replace(certificate=certificate, key=key)
        elif word in own:
            found = found._replace(own=word)
        elif word != "echo":
            sys.exit(f"{word} is not understood")
    return found


def announce(port: int) -> None:
    """Print the port, and see to it that this process ends when the runner does.

    Standard input is a pipe from the runner. Once it hangs up, SIGIO comes, which ends a
    process that has no handler for it: even a killed runner leaves no server behind, and the
    loop that is measured has no descriptor more to watch. Started by hand, from a terminal,
    a server is tied to nothing.
    """
    if not sys.stdin.isatty():
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
        watch = select.poll()
        watch.register(0, 0)
        if watch.poll(0):
            sys.exit("the runner has ended")
    print(port, flush=True)
