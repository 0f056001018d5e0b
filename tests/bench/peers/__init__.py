"""The servers that are compared: each a program here that prints its port and serves.

Every one serves through the public API of its library, with the library's defaults but for
compression, which is off, or where it is measured at the same settings everywhere. Each takes
the same words: ``echo`` or ``fanout``, ``deflate``, ``tls=CERTIFICATE,KEY``.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..modes import Mode


@dataclass(frozen=True)
class Peer:
    """A server to measure."""

    name: str
    module: str
    needs: tuple[str, ...] = ()
    """The modules that have to be there, that of the library first."""
    ours: bool = False
    raw: bool = False
    """Echoes bytes, not messages: no WebSocket server, but the ceiling of any in Python."""
    own: tuple[str, ...] = ()
    """Words for this server alone."""
    without: tuple[tuple[str, str], ...] = ()
    """The families of modes that it has no part in, and why."""

    def missing(self) -> str:
        """What has to be installed for it, as a sentence; empty: nothing."""
        absent = [name for name in self.needs if not _installed(name)]
        return f"{' and '.join(absent)} not installed" if absent else ""

    def unfit(self, mode: Mode) -> str:
        """Why it has no part in the mode; empty: it has."""
        return dict(self.without).get(mode.family, "")

    def version(self) -> str:
        """What is installed of what it needs, and whether the C part of websockets is."""
        packages = [name for name in self.needs if "." not in name]
        found = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
        if "websockets" not in packages:
            return found
        used = self.own != ("pure",) and _installed("websockets.speedups")
        return f"{found} {'with' if used else 'without'} its C part"

    def command(self, python: str) -> list[str]:
        """What starts it, but for the words that all of them take."""
        return [python, "-m", self.module, *self.own]

    def environment(self) -> dict[str, str]:
        """What its process needs in the environment."""
        return {}


class NodePeer(Peer):
    """A server for node: ``module`` is its file here, ``needs`` are packages of node."""

    def missing(self) -> str:
        if _node() is None:
            return "node not installed"
        if not self.version():
            return (
                f"node's {' and '.join(self.needs)} not found: npm install it in some folder "
                "and name the node_modules there in NODE_PATH"
            )
        return ""

    def version(self) -> str:
        """Of its packages and of node; empty: something is missing."""
        script = (
            "for (const name of process.argv.slice(1))"
            " console.log(name, require(name + '/package.json').version);"
            "console.log('node', process.version)"
        )
        command = [_node() or "node", "-e", script, *self.needs]
        environment = {**os.environ, **self.environment()}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
        return ", ".join(done.stdout.splitlines()) if done.returncode == 0 else ""

    def command(self, python: str) -> list[str]:
        return [_node() or "node", str(Path(__file__).with_name(self.module)), *self.own]

    def environment(self) -> dict[str, str]:
        places = [os.environ.get("NODE_PATH", ""), *_npm_folders()]
        return {"NODE_PATH": os.pathsep.join(filter(None, places))}


def _node() -> str | None:
    return shutil.which("node") or shutil.which("nodejs")


@functools.cache
def _npm_folders() -> list[str]:
    """The folders in which npm installs: of this folder, and of all."""
    places: list[str] = []
    npm = shutil.which("npm")
    for scope in ([], ["--global"]) if npm is not None else ():
        command = [str(npm), "root", *scope]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        places.append(done.stdout.strip())
    return places


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package that the module would be in
        return False


_NO_DEFLATE = ("deflate", "it has no permessage-deflate")
_FIXED_DEFLATE = ("deflate", "its level and memLevel are not those of the others")
_RAW = "it looks at no byte after the handshake"

PEERS = {
    peer.name: peer
    for peer in (
        Peer("reactor", f"{__name__}.reactor_server", ours=True),
        Peer(
            "reactor-speedups",
            f"{__name__}.reactor_server",
            ("websockets", "websockets.speedups"),
            ours=True,
            own=("speedups",),
        ),
        Peer(
            "reactor-numpy", f"{__name__}.reactor_server", ("numpy",), ours=True, own=("numpy",)
        ),
        Peer("websockets", f"{__name__}.websockets_server", ("websockets",)),
        Peer(
            "websockets-pure", f"{__name__}.websockets_server", ("websockets",), own=("pure",)
        ),
        Peer("picows", f"{__name__}.picows_server", ("picows",), without=(_NO_DEFLATE,)),
        Peer(
            "picows-uvloop",
            f"{__name__}.picows_server",
            ("picows", "uvloop"),
            own=("uvloop",),
            without=(_NO_DEFLATE,),
        ),
        Peer("aiohttp", f"{__name__}.aiohttp_server", ("aiohttp",), without=(_FIXED_DEFLATE,)),
        Peer("tornado", f"{__name__}.tornado_server", ("tornado",)),
        NodePeer("node-ws", "node_server.js", ("ws",)),
        Peer(
            "selectors",
            f"{__name__}.selectors_server",
            raw=True,
            without=(("deflate", _RAW), ("tls", _RAW)),
        ),
    )
}
USUAL = ("reactor", "websockets", "picows", "selectors")
