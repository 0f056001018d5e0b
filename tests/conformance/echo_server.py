"""The server under test: echo_server.py PORT."""

from __future__ import annotations

import sys

from reactor import Connection, PerMessageDeflate, Server


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


def main() -> None:
    server = Echo(
        ("127.0.0.1", int(sys.argv[1])),
        # Sections 12 and 13 are about compression, so that short messages are compressed too.
        extensions=[PerMessageDeflate(threshold=0)],
        # Section 9 sends messages of 16 MiB, some of them in 64-byte fragments.
        max_message=32 << 20,
        max_fragments=131072,
    )
    print("listening", server.addresses[0][1], flush=True)
    server.run()


if __name__ == "__main__":
    main()
