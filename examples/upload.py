"""How do I receive files that are larger than memory?

    python examples/upload.py [port] [folder]

Who connects to /photos.zip and sends a binary message has stored it as that file.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile

from reactor import Connection, Request, Response, Server

MOST = 10 * 1024**3


class Upload(Connection):
    def onopen(self) -> None:
        # A name that nobody may ask for, and in the same folder, so that it can be renamed.
        folder = self.server.folder
        self.file = tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False)  # noqa: SIM115

    def onfragment(self, data: str | bytes, final: bool) -> None:
        if isinstance(data, str):
            self.close(1003, "binary only")
        elif self.file.tell() + len(data) > MOST:
            self.close(1009, "that is too much")
        else:
            self.file.write(data)
            if final:
                self.file.close()
                path = os.path.join(self.server.folder, self.request.params["name"])
                os.replace(self.file.name, path)
                self.close(1000, "stored")

    def onclose(self, code: int, reason: str) -> None:
        if not self.file.closed:  # it was cut off, or there was no room
            self.file.close()
            os.unlink(self.file.name)


class Uploads(Server):
    folder = "."

    def onrequest(self, request: Request) -> Response | None:
        name = request.params.get("name", "x")
        plain = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name)
        return None if plain else Response(400, body="not a name for a file")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Uploads.folder = sys.argv[2] if len(sys.argv) > 2 else "."
    Uploads(("127.0.0.1", port), connection=Upload, locations=["/{name}"]).run()
