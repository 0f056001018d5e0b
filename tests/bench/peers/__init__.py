"""The servers that are compared: each a module here that prints its port and echoes.

Every one echoes through the public API of its library, with the library's defaults but for
compression, which is off everywhere.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Peer:
    """A server to measure."""

    name: str
    module: str
    needs: str = ""
    """The distribution (and package) that has to be installed."""
    ours: bool = False
    raw: bool = False
    """Echoes bytes, not messages: no WebSocket server, but the ceiling of any in Python."""

    def missing(self) -> bool:
        return bool(self.needs) and importlib.util.find_spec(self.needs) is None

    def version(self) -> str:
        """What is installed of it, and whether the C part of websockets is."""
        if self.needs != "websockets":
            return metadata.version(self.needs)
        speedups = importlib.util.find_spec("websockets.speedups")
        return f"{metadata.version(self.needs)} {'with' if speedups else 'without'} its C part"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("reactor", "tests.bench.peers.reactor_echo", ours=True),
        Peer("websockets", "tests.bench.peers.websockets_echo", needs="websockets"),
        Peer("picows", "tests.bench.peers.picows_echo", needs="picows"),
        Peer("selectors", "tests.bench.peers.selectors_echo", raw=True),
    )
}
