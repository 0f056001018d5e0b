"""How do I serve a page, a health check and a WebSocket on one port?

python examples/http_and_websocket.py [port]
"""

from __future__ import annotations

import sys

from reactor import Connection, Request, Response, Server

PAGE = """<!doctype html><meta charset="utf-8"><title>clock</title>
<p id="time">...</p>
<script>
  new WebSocket(location.href.replace(/^http/, "ws") + "clock").onmessage =
    (event) => { document.getElementById("time").textContent = event.data; };
</script>
"""


class Clock(Server):
    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, locations=["/clock"], **options)  # type: ignore[arg-type]
        self.reactor.call_every(1.0, self.tick)

    def onrequest(self, request: Request) -> Response | None:
        if request.path == "/":
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
        if request.path == "/health":
            return Response(200, body=f"{len(self.clients)} clients\n")
        return None

    def onopen(self, client: Connection) -> None:
        client.send("connected")

    def tick(self) -> None:
        self.broadcast(f"{self.reactor.now:.0f} seconds")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Clock(("127.0.0.1", port)).run()
