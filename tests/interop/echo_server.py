"""An echo server that says on its standard output, in JSON, where it is and how each ended."""

from __future__ import annotations

import json

from reactor import Connection, Server


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)

    def announce(self) -> None:
        print(json.dumps(self.addresses[0][1]), flush=True)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        print(json.dumps([code, reason]), flush=True)


def main() -> None:
    server = Echo(("127.0.0.1", 0))
    # In the first step, when the signals' handlers stand: who reads the line may send one.
    server.reactor.call_soon(server.announce)
    server.run()


if __name__ == "__main__":
    main()
