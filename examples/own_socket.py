"""How do I watch a socket of my own beside the WebSockets?

    python examples/own_socket.py [port]

What is sent by UDP to the same port goes to all clients.
"""

from __future__ import annotations

import socket
import sys

from reactor import EVENT_READ, Server


class Relay(Server):
    def listen_udp(self, port: int) -> socket.socket:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.udp.setblocking(False)
        self.reactor.register(self.udp, EVENT_READ, self.datagram)
        return self.udp

    def datagram(self, mask: int) -> None:
        self.broadcast(self.udp.recv(65536))


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    relay = Relay(("127.0.0.1", port))
    with relay.listen_udp(port):
        relay.run()
