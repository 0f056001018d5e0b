"""The client under test: echo_client.py URL [AGENT].

It asks the suite how many cases there are, goes through them one after another, all of them in
one reactor, and has the reports written.
"""

from __future__ import annotations

import sys
from typing import TypeVar

from reactor import Client, PerMessageDeflate, Reactor, State

AnyClient = TypeVar("AnyClient", bound=Client)


class Echo(Client):
    def onmessage(self, message: str | bytes) -> None:
        self.send(message)


class Count(Client):
    """Asks how many cases there are."""

    cases = 0

    def onmessage(self, message: str | bytes) -> None:
        self.cases = int(message)


def visit(kind: type[AnyClient], uri: str, reactor: Reactor) -> AnyClient:
    """Connect, and return the client once its connection has ended."""
    client = kind(
        uri,
        reactor=reactor,
        proxy=False,
        # Sections 12 and 13 are about compression, so that short messages are compressed too.
        extensions=[PerMessageDeflate(threshold=0)],
        # Section 9 sends messages of 16 MiB, some of them in 64-byte fragments.
        max_message=32 << 20,
        max_fragments=131072,
    )
    while client.ready_state is not State.CLOSED:
        reactor.step()
    return client


def main() -> None:
    url, agent = (*sys.argv[1:], "reactor")[:2]
    with Reactor() as reactor:
        cases = visit(Count, f"{url}/getCaseCount", reactor).cases
        if not cases:
            sys.exit("echo_client.py: the suite did not say how many cases there are")
        for number in range(1, cases + 1):
            visit(Echo, f"{url}/runCase?case={number}&agent={agent}", reactor)
        visit(Client, f"{url}/updateReports?agent={agent}", reactor)


if __name__ == "__main__":
    main()
