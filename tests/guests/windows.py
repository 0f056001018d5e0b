"""What the users of the examples' windows share: the client, and what comes of it."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import TYPE_CHECKING, Any

from reactor import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Server

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


class Found:
    """What happened."""

    told: str | None = None  # to the client
    closed: int | None = None
    lines: list[str]  # in the window, and after 150 more
    last: list[str]
    typed: str | None = None  # what is left of it


def example(name: str) -> Any:
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(server: Server, found: Found, told: Callable[[], object]) -> None:
    """Say hello to the server, in its own loop; `told` is called with the first answer."""

    def onmessage(client: Any, message: str) -> None:
        found.told = message
        told()

    def onclose(client: Any, code: int, reason: str) -> None:
        found.closed = code

    Client(
        f"ws://127.0.0.1:{server.addresses[0][1]}/",
        reactor=server.reactor,
        proxy=False,
        onopen=lambda client: client.send("hello"),
        onmessage=onmessage,
        onclose=onclose,
    )
