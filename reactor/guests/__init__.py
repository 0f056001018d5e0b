"""Guests: a reactor that runs in the loop of somebody else, on its thread.

```python
from reactor.guests import AsyncioGuest

async def main():
    server = Server(("127.0.0.1", 8000), onmessage=echo)
    with AsyncioGuest(server.reactor):
        await asyncio.Event().wait()
```

Each of them is imported when it is first asked for, with nothing of the toolkits before it is
made: `import reactor.guests` costs nothing and needs none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .asyncio import AsyncioGuest
    from .glib import GLibGuest
    from .guest import Guest
    from .pygame import PygameGuest
    from .qt import QtGuest
    from .streams import AsyncConnection
    from .tk import TkGuest

__all__ = [
    "AsyncConnection",
    "AsyncioGuest",
    "GLibGuest",
    "Guest",
    "PygameGuest",
    "QtGuest",
    "TkGuest",
]


def __getattr__(name: str) -> type[AsyncConnection | Guest]:
    """Import the class of this name (PEP 562)."""
    if name == "AsyncConnection":
        from .streams import AsyncConnection

        return AsyncConnection
    if name == "AsyncioGuest":
        from .asyncio import AsyncioGuest

        return AsyncioGuest
    if name == "GLibGuest":
        from .glib import GLibGuest

        return GLibGuest
    if name == "Guest":
        from .guest import Guest

        return Guest
    if name == "PygameGuest":
        from .pygame import PygameGuest

        return PygameGuest
    if name == "QtGuest":
        from .qt import QtGuest

        return QtGuest
    if name == "TkGuest":
        from .tk import TkGuest

        return TkGuest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
