"""How do I answer every message with itself?

python examples/echo_server.py [port]
"""

from __future__ import annotations

import sys

from reactor import Connection, Server


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Echo(("127.0.0.1", port)).run()
