"""How do I run a server inside a Qt window?

python examples/qt_window.py [port]
"""

from __future__ import annotations

import sys

from PySide6.QtWidgets import QApplication, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from reactor import Connection, Server
from reactor.guests import QtGuest


class Window(Server):
    """It shows what clients send; what is typed goes to all of them."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self.widget = QWidget()
        self.widget.setWindowTitle("port {1} of {0}".format(*self.addresses[0]))
        self.lines = QPlainTextEdit(readOnly=True, maximumBlockCount=100)
        self.entry = QLineEdit(placeholderText="Send to all")
        self.entry.returnPressed.connect(self.tell)
        layout = QVBoxLayout(self.widget)
        layout.addWidget(self.lines)
        layout.addWidget(self.entry)
        self.widget.show()

    def onopen(self, client: Connection) -> None:
        self.lines.appendPlainText(f"{client.address[0]} is here, one of {len(self.clients)}")

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        self.lines.appendPlainText(f"{client.address[0]}: {message!r:.200}")

    def tell(self) -> None:
        self.broadcast(self.entry.text())
        self.entry.clear()


def main(port: int) -> None:
    app = QApplication(sys.argv[:1])
    window = Window(("127.0.0.1", port))
    with QtGuest(window.reactor):
        app.exec()  # it ends when the window is closed
    window.stop()
    window.run()  # until all clients are told


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
