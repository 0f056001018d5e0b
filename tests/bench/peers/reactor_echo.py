"""reactor: an ordinary ``Server`` with every default on."""

from __future__ import annotations

from reactor import Connection, Server

from .leash import announce


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


def main() -> None:
    server = Echo(("127.0.0.1", 0))
    address = server.addresses[0]
    assert isinstance(address, tuple)
    announce(address[1])
    server.run()


if __name__ == "__main__":
    main()
