"""The clients that are compared: each a module here that talks to the answering server.

Every one uses the public API of its library as its documentation shows it, with the library's
defaults but for compression, which is off everywhere.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class ClientPeer:
    """A client to measure."""

    name: str
    module: str
    needs: tuple[tuple[str, str], ...] = ()
    """The distributions that have to be installed, each with the module to look for."""
    ours: bool = False

    def missing(self) -> list[str]:
        """The distributions that are not installed."""
        return [name for name, module in self.needs if importlib.util.find_spec(module) is None]

    def version(self) -> str:
        """What is installed of it, and whether the C part of websockets is."""
        versions = ", ".join(f"{name} {metadata.version(name)}" for name, _ in self.needs)
        if not any(name == "websockets" for name, _ in self.needs):
            return versions
        speedups = importlib.util.find_spec("websockets.speedups")
        return f"{versions} {'with' if speedups else 'without'} its C part"


_WEBSOCKETS = ("websockets", "websockets")
_PICOWS = ("picows", "picows")

CLIENTS = {
    peer.name: peer
    for peer in (
        ClientPeer("reactor", f"{__name__}.reactor_client", ours=True),
        ClientPeer("websockets-sync", f"{__name__}.websockets_sync", (_WEBSOCKETS,)),
        ClientPeer("websockets", f"{__name__}.websockets_asyncio", (_WEBSOCKETS,)),
        ClientPeer("picows", f"{__name__}.picows_asyncio", (_PICOWS,)),
        ClientPeer(
            "picows-uvloop", f"{__name__}.picows_uvloop", (_PICOWS, ("uvloop", "uvloop"))
        ),
        ClientPeer("aiohttp", f"{__name__}.aiohttp_client", (("aiohttp", "aiohttp"),)),
        ClientPeer(
            "websocket-client",
            f"{__name__}.websocket_client",
            (("websocket-client", "websocket"),),
        ),
    )
}
