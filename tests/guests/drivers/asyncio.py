from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from reactor.guests import AsyncioGuest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Host:
    def __init__(self) -> None:
        self.loop: Any = asyncio.new_event_loop()

    def call_at(self, when: float, fn: Callable[[], object]) -> None:
        self.loop.call_later(max(0, when - time.monotonic()), fn)

    def run(self) -> None:
        self.loop.run_forever()

    def leave(self) -> None:
        self.loop.stop()

    def guest(self, reactor: Reactor) -> AsyncioGuest:
        return AsyncioGuest(reactor, loop=self.loop)

    def handlers(self) -> int:
        timers = [timer for timer in self.loop._scheduled if not timer.cancelled()]
        # The loop's own socket is among what it watches.
        return len(self.loop._selector.get_map()) + len(timers)

    def close(self) -> None:
        self.loop.close()
