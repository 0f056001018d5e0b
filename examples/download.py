"""How do I send files that are larger than memory?

    python examples/download.py [port] [folder]

Who connects to /photos.zip gets that file of the folder, as one message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from reactor import Connection, Request, Response, Server

PART = 64 * 1024


def parts(path: str) -> Iterator[bytes]:
    """Yield a file; it is closed when the connection is, however far that has come."""
    with open(path, "rb") as file:
        yield b""  # so that an empty file is a message, too
        while part := file.read(PART):
            yield part


class Downloads(Server):
    folder = "."

    def onrequest(self, request: Request) -> Response | None:
        name = request.params.get("name")
        # No ".." is in that list, nor anything with a slash.
        if name is None or name in os.listdir(self.folder):
            return None
        return Response(404, body="no such file")

    def onopen(self, client: Connection) -> None:
        client.send(parts(os.path.join(self.folder, client.request.params["name"])))
        client.close()  # when all of it has left


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Downloads.folder = sys.argv[2] if len(sys.argv) > 2 else "."
    Downloads(("127.0.0.1", port), locations=["/{name}"]).run()
