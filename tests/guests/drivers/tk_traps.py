"""What is known to go wrong with Tk, and must not."""

from __future__ import annotations

import os
import resource
import selectors
import tkinter
from typing import TYPE_CHECKING

from reactor import Reactor
from reactor.guests import TkGuest
from reactor.guests import tk as module
from tests.guests.traps import Both, Endless, Flood, seconds

if TYPE_CHECKING:
    from collections.abc import Callable


def run(root: tkinter.Tk, ms: int) -> None:
    root.after(ms, root.quit)
    root.mainloop()


def the_window_is_redrawn_and_update_returns(
    root: tkinter.Tk, load: Callable[[Reactor], Flood | Endless | Both]
) -> None:
    drawn: list[int] = []

    def redraw() -> None:
        drawn.append(1)
        root.after(5, root.after_idle, redraw)

    with Reactor() as reactor, TkGuest(root, reactor):
        busy = load(reactor)
        assert seconds(root.update) < 1
        root.after_idle(redraw)
        run(root, 500)
        assert len(drawn) > 10, drawn
        assert busy.count > 100, busy.count
        busy.end()
        run(root, 20)


def a_dialog_in_a_handler_costs_nothing_to_speak_of(root: tkinter.Tk) -> None:
    wakeups: list[int] = []
    with Reactor() as reactor, TkGuest(root, reactor) as guest:
        flood = Flood(reactor)

        def dialog() -> None:
            before = guest.wakeups
            window = tkinter.Toplevel(root)
            root.after(300, window.destroy)
            root.wait_window(window)
            root.update()
            wakeups.append(guest.wakeups - before)
            root.quit()

        flood.then = dialog
        root.mainloop()
        assert wakeups[0] < 60, wakeups
        flood.end()


def an_interrupt_comes_out_of_the_loop_and_the_guest_lives(root: tkinter.Tk) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Reactor() as reactor, TkGuest(root, reactor) as guest:
        for call in reactor.call_soon, reactor.call_soon_threadsafe:
            call(interrupt)
            try:
                root.mainloop()
            except KeyboardInterrupt:
                assert guest.running
            else:
                raise AssertionError("it did not come out")
        reactor.call_soon(root.quit)
        root.mainloop()


def a_descriptor_that_tcl_cannot_watch_is_not_watched(root: tkinter.Tk) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 4096))
    selector = selectors.DefaultSelector()
    high = os.dup2(selector.fileno(), 1500)

    class High(type(selector)):  # type: ignore[misc]
        def fileno(self) -> int:
            return high

    selector.close()
    with Reactor(selector=High()) as reactor, TkGuest(root, reactor) as guest:
        assert guest.mode == "ticks"
        reactor.call_soon_threadsafe(root.quit)
        root.mainloop()
    os.close(high)


def what_destroys_the_window_ends_the_guest(root: tkinter.Tk) -> None:
    with Reactor() as reactor:
        window = tkinter.Toplevel(root)
        guest = TkGuest(window, reactor)
        guest.start()
        reactor.call_soon(window.destroy)
        run(root, 50)
        assert (guest.running, reactor.host) == (False, None)
        assert not root.tk.call("info", "commands", "reactor_guest_*")
        guest = TkGuest(root, reactor)
        guest.start()
        flood = Flood(reactor)
        flood.then = root.destroy
        root.mainloop()
        assert (guest.running, reactor.host) == (False, None)
        try:
            guest.start()
        except tkinter.TclError:
            assert not guest.running
        else:
            raise AssertionError("it started in a window that is destroyed")
        flood.end()


def main() -> None:
    root = tkinter.Tk()
    root.update()
    assert (tkinter.READABLE, tkinter.WRITABLE) == (module._READABLE, module._WRITABLE)
    for load in Flood, Endless, Both:
        the_window_is_redrawn_and_update_returns(root, load)
    a_dialog_in_a_handler_costs_nothing_to_speak_of(root)
    an_interrupt_comes_out_of_the_loop_and_the_guest_lives(root)
    a_descriptor_that_tcl_cannot_watch_is_not_watched(root)
    what_destroys_the_window_ends_the_guest(root)


main()
