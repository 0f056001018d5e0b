"""How do I serve wss://, and renew the certificate while the server runs?

    python examples/tls_server.py certificate.pem key.pem [port]

Once a minute it looks whether the files are new. Who comes then sees the new certificate, who
is connected stays.
"""

from __future__ import annotations

import os
import ssl
import sys

from reactor import Connection, Server


class Secure(Server):
    def __init__(self, address: tuple[str, int], certificate: str, key: str) -> None:
        self.files = certificate, key
        self.stamp = self.look()
        super().__init__(address, tls=self.context())
        self.reactor.call_every(60.0, self.renew)

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)

    def renew(self) -> None:
        stamp = self.look()
        if stamp != self.stamp:
            # If one file is written and the other is not yet, this raises, which is logged: the
            # old context stays as it was, and the next look tries again.
            self.tls = self.context()
            self.stamp = stamp

    def look(self) -> list[int]:
        return [os.stat(file).st_mtime_ns for file in self.files]

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self.files)
        return context


if __name__ == "__main__":
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 8443
    Secure(("127.0.0.1", port), sys.argv[1], sys.argv[2]).run()
