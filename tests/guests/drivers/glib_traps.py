"""What a stand-in for GLib cannot show of the real one; prints what happened, as JSON."""

from __future__ import annotations

import json
from typing import Any

from gi.repository import GLib

from reactor import Reactor
from reactor.guests import GLibGuest


def run(context: Any, condition: Any) -> bool:
    """Run the loop until it holds; return whether it did before the loop had to be woken up."""
    late: list[int] = []
    timer = GLib.Timeout(10_000)
    timer.set_callback(late.append)
    timer.attach(context)
    while not condition() and not late:
        context.iteration(True)
    timer.destroy()
    return not late


def interrupted(context: Any) -> bool:
    """Whether the guest lives after interrupts, by the descriptor and by the timer."""

    def fail() -> None:
        raise KeyboardInterrupt

    called: list[int] = []
    with Reactor() as reactor, GLibGuest(reactor, context=context):
        for ask in (reactor.call_soon_threadsafe, reactor.call_soon):
            for _ in range(3):
                ask(fail)
                ask(called.append, 1)
                count = len(called) + 1
                if not run(context, lambda count=count: len(called) == count):
                    return False
    return not context.pending()


def nested(context: Any) -> bool:
    """Whether a handler may run the loop inside itself, and what is ready waits meanwhile."""
    order: list[str] = []

    def dialog() -> None:
        reactor.call_soon_threadsafe(order.append, "ready")
        other = GLib.Timeout(50)
        other.set_callback(lambda data: order.append("closed"))
        other.attach(context)
        run(context, lambda: "closed" in order)
        order.append("back")

    with Reactor() as reactor, GLibGuest(reactor, context=context):
        reactor.call_soon_threadsafe(dialog)
        done = run(context, lambda: len(order) == 3)
    return done and order == ["closed", "back", "ready"]


def stopped(context: Any) -> bool:
    """Whether a handler may stop the guest, start it, and interrupt the loop."""
    order: list[str] = []

    def stop(then: Any) -> None:
        guest.stop()
        order.append("stopped")
        then()

    def again() -> None:
        guest.start()
        reactor.call_soon_threadsafe(order.append, "started")

    with Reactor() as reactor:
        guest = GLibGuest(reactor, context=context)
        guest.start()
        reactor.call_soon_threadsafe(stop, again)
        if not run(context, lambda: order == ["stopped", "started"]):
            return False
        reactor.call_soon(stop, reactor.clock)
        return run(context, lambda: len(order) == 3) and not context.pending()


def main() -> None:
    contexts = {"default": GLib.MainContext.default(), "another": GLib.MainContext()}
    found = {
        f"{test.__name__}, {name}": test(context)
        for test in (interrupted, nested, stopped)
        for name, context in contexts.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
