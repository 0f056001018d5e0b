"""Uses the window of examples/qt_window.py, and prints what happened, as JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.guests.windows import Found, call, example

module = example("qt_window")
found = Found()


class Window(module.Window):  # type: ignore[misc, name-defined]
    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        call(self, found, self.told)

    def onmessage(self, client: Any, message: str) -> None:
        super().onmessage(client, message)
        self.entry.setText("to all")
        self.entry.returnPressed.emit()

    def told(self) -> None:
        found.lines = self.lines.toPlainText().splitlines()
        for number in range(150):
            self.lines.appendPlainText(str(number))
        found.last = self.lines.toPlainText().splitlines()
        found.typed = self.entry.text()
        self.widget.close()


module.Window = Window
module.main(0)
print(json.dumps(vars(found)))
