from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gi.repository import GLib

from reactor.guests import GLibGuest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Host:
    def __init__(self) -> None:
        self.loop = GLib.MainLoop()

    def call_at(self, when: float, fn: Callable[[], object]) -> None:
        def call() -> bool:
            fn()
            return False

        GLib.timeout_add(max(0, round((when - time.monotonic()) * 1000)), call)

    def run(self) -> None:
        self.loop.run()

    def leave(self) -> None:
        self.loop.quit()

    def guest(self, reactor: Reactor) -> GLibGuest:
        return GLibGuest(reactor)

    def handlers(self) -> None:
        return None  # GLib does not tell

    def close(self) -> None:
        pass
