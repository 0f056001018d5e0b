"""Tk, on the display that DISPLAY names."""

from __future__ import annotations

import time
import tkinter
from typing import TYPE_CHECKING

from reactor.guests import TkGuest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor import Reactor


class Host:
    def __init__(self) -> None:
        self.root = tkinter.Tk()
        self.label = tkinter.Label(self.root, text="nothing yet")
        self.label.pack()
        self.root.update()

    def call_at(self, when: float, fn: Callable[[], object]) -> None:
        self.root.after(max(0, round((when - time.monotonic()) * 1000)), fn)

    def run(self) -> None:
        self.root.mainloop()

    def leave(self) -> None:
        self.root.quit()

    def guest(self, reactor: Reactor) -> TkGuest:
        return TkGuest(self.root, reactor)

    def handlers(self) -> int:
        commands = self.asked("info", "commands", "reactor_guest_*")
        scripts = [self.asked("after", "info", name) for name in self.asked("after", "info")]
        ours = [script for script in scripts if "reactor_guest_" in script[0]]
        return len(commands) + len(ours) + len(self.asked("trace", "info", "command", "."))

    def asked(self, *words: str) -> tuple[str, ...]:
        tk = self.root.tk
        return tuple(map(str, tk.splitlist(tk.call(*words))))

    def close(self) -> None:
        self.root.destroy()
