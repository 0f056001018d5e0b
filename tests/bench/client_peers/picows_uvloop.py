"""picows: its core API on uvloop."""

from __future__ import annotations

import importlib

from .picows_asyncio import converse
from .talk import Talk


def main() -> None:
    talk = Talk()
    importlib.import_module("uvloop").run(converse(talk))
    talk.end()


if __name__ == "__main__":
    main()
