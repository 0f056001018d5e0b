"""The package's logger, `logging.getLogger("reactor")`.

Facts: `logging` brings in `threading`, `re` and `traceback`, more than the whole of this
package, and a device that logs nothing pays for it at every start. A logger without a handler
prints warnings and errors to stderr; one with a `NullHandler` hides them.

So it is imported with the first record, and no handler is installed: what a handler of the
user raises is seen even by those who never configured logging, and information is not printed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

_LONGEST = 200


def logger() -> logging.Logger:
    """Return the package's logger; imports `logging` when first called."""
    import logging

    return logging.getLogger("reactor")


def printable(text: str) -> str:
    """Return `text` with its control characters escaped, cut to 200 characters.

    What a peer sends must not reach a terminal or a log file raw.
    """
    cut = text[:_LONGEST]
    shown = cut if cut.isprintable() else ascii(cut)[1:-1]
    return shown if len(text) <= _LONGEST else shown + "..."


def place(address: object) -> str:
    """Return an address as URLs have it: `127.0.0.1:8000`, `[::1]:8000`, `unix:/path`."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return printable(f"unix:{address}") if address else "unix"
