"""What the servers have in common: to say where they listen, and to end with the runner."""

from __future__ import annotations

import fcntl
import os
import select
import sys


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
