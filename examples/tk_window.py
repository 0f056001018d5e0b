"""How do I run a server inside a Tk window?

python examples/tk_window.py [port]
"""

from __future__ import annotations

import sys
import tkinter

from reactor import Connection, Server
from reactor.guests import TkGuest


class Window(Server):
    """It shows what clients send; what is typed goes to all of them."""

    def __init__(self, root: tkinter.Tk, address: tuple[str, int]) -> None:
        super().__init__(address)
        root.title("port {1} of {0}".format(*self.addresses[0]))
        self.lines = tkinter.Listbox(root, width=60, height=12)
        self.entry = tkinter.Entry(root)
        self.button = tkinter.Button(root, text="Send to all", command=self.tell)
        self.lines.pack(fill="both", expand=True)
        self.entry.pack(side="left", fill="x", expand=True)
        self.button.pack(side="left")

    def onopen(self, client: Connection) -> None:
        self.show(f"{client.address[0]} is here, one of {len(self.clients)}")

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        self.show(f"{client.address[0]}: {message!r:.200}")

    def show(self, line: str) -> None:
        self.lines.insert("end", line)
        if self.lines.size() > 100:
            self.lines.delete(0)  # or whoever sends much fills the memory
        self.lines.see("end")

    def tell(self) -> None:
        self.broadcast(self.entry.get())
        self.entry.delete(0, "end")


def main(port: int) -> None:
    root = tkinter.Tk()
    window = Window(root, ("127.0.0.1", port))
    with TkGuest(root, window.reactor):
        root.mainloop()  # it ends when the window is closed
    window.stop()
    window.run()  # until all clients are told


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
