"""How do I add WebSockets to an HTTP server that I have already?

    python examples/adopt_from_http_server.py [port]

It hands over its socket, with what it has read of the request.
"""

from __future__ import annotations

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reactor import Connection, InvalidState, Server


class Echo(Server):
    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)

    def take(self, sock: socket.socket, head: bytes) -> None:
        try:
            self.adopt(sock, head)
        except (InvalidState, OSError):
            sock.close()  # this server is stopping, or the client has gone


class Pages(BaseHTTPRequestHandler):
    echo: Echo
    rfile: Any

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self.send_error(404)
            return
        self.close_connection = True
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"{self.requestline}\r\n{fields}\r\n".encode("latin-1")
        self.connection.setblocking(False)
        head += self.rfile.peek()  # what has been read, but is not the request's
        sock = socket.socket(fileno=self.connection.detach())
        self.echo.reactor.call_soon_threadsafe(self.echo.take, sock, head)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Pages.echo = Echo()
    with ThreadingHTTPServer(("127.0.0.1", port), Pages) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        try:
            Pages.echo.run()
        finally:
            pages.shutdown()
            thread.join()
