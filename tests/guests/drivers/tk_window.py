"""Uses the window of examples/tk_window.py, and prints what happened, as JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.guests.windows import Found, call, example

module = example("tk_window")
found = Found()


class Window(module.Window):  # type: ignore[misc, name-defined]
    def __init__(self, root: Any, address: tuple[str, int]) -> None:
        super().__init__(root, address)
        self.root = root
        call(self, found, self.told)

    def onmessage(self, client: Any, message: str) -> None:
        super().onmessage(client, message)
        self.entry.insert("end", "to all")
        self.button.invoke()

    def told(self) -> None:
        found.lines = list(self.lines.get(0, "end"))
        for number in range(150):
            self.show(str(number))
        found.last = list(self.lines.get(0, "end"))
        found.typed = self.entry.get()
        self.root.destroy()


module.Window = Window
module.main(0)
print(json.dumps(vars(found)))
