"""How do I let in only those who know a password, and know who they are?

    python examples/login.py [port]

Browsers ask their users for it when the page is loaded, and have it for the WebSocket then.
"""

from __future__ import annotations

import sys

from reactor import Connection, DigestAuth, Request, Response, Server

PASSWORDS = {"ada": "difference engine", "grace": "nanosecond"}
PAGE = """<!doctype html><meta charset="utf-8"><title>login</title><p id="hello">...</p>
<script>
  new WebSocket(location.href.replace(/^http/, "ws") + "chat").onmessage =
    (event) => { document.getElementById("hello").textContent = event.data; };
</script>
"""


class Members(Server):
    # The password itself never travels; what is said does, so the rest is for TLS.
    auth = DigestAuth(PASSWORDS, realm="members")

    def onrequest(self, request: Request) -> Response | None:
        refused = self.auth.check(request)
        if refused is None and request.path == "/":
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
        return refused

    def onopen(self, client: Connection) -> None:
        client.send(f"welcome, {client.request.user}")

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        if isinstance(message, str):
            self.broadcast(f"<{client.request.user}> {message}")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Members(("127.0.0.1", port), locations=["/chat"]).run()
