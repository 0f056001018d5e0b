"""A client under test that ends its connection without a Close frame."""

from __future__ import annotations

import base64
import socket

from .client_peers.talk import Talk


def main() -> None:
    talk = Talk()
    port = int(talk.uri.rpartition(":")[2].rstrip("/"))
    key = base64.b64encode(bytes(16)).decode()
    with socket.create_connection(("127.0.0.1", port), 10) as sock, sock.makefile("rb") as data:
        sock.sendall(f"GET / HTTP/1.1\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        for _ in iter(data.readline, b"\r\n"):
            pass
        while True:
            size = data.read(2)[1]
            if talk.step(data.read(size).decode()) is None:
                break
    talk.end()


if __name__ == "__main__":
    main()
