"""An echo server that says on its standard output, in JSON, where it is and how each ended.

echo_server.py [OPTIONS]: in JSON those of the server, and more: `tls`, the paths of certificate
and key, and of an authority if clients are to show a certificate; `auth`, "basic" or "digest";
`deflate`, the parameters of permessage-deflate; `ways`, how it sends the messages of a
connection, in turn: see deflating.py.

The answer to a handshake says in X-Address where the client is, that to the message `who am I?`
what its certificate says, and to `what was agreed on?` the extensions; `GET /page` is answered
with a page that is a client, and `GET /user` with the name of the user.
"""

from __future__ import annotations

import collections
import json
import ssl
import sys
from typing import TYPE_CHECKING, Any

from reactor import Connection, PerMessageDeflate, Request, Response, Server
from tests.interop.deflating import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.interop.deflating import Way

USER, PASSWORD = "Mufasa", "Circle of Life"
PAGE = """<!doctype html><meta charset="utf-8"><title>echo</title><p id="log"></p><script>
const socket = new WebSocket(location.href.replace("http", "ws"));
const log = document.getElementById("log");
socket.onopen = () => socket.send("grüße ☃");
socket.onmessage = event => { log.textContent = event.data; socket.close(3456, "seen"); };
socket.onerror = () => { log.textContent = "error"; };
</script>"""


class Echo(Server):
    # What `auth` asks for; who cannot answer it is told so.
    guard: Any = None
    # How messages are sent, and how many each client was sent.
    ways: Sequence[Way] = ((None, 0),)
    sent: collections.Counter[Connection]

    def onrequest(self, request: Request) -> Response | Mapping[str, str] | None:
        if self.guard is not None:
            refusal: Response | None = self.guard.check(request)
            if refusal is not None:
                return refusal
        if "Upgrade" in request.headers:
            return {"X-Address": json.dumps(request.address)}
        if request.path == "/page":
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
        if request.path == "/user":
            return Response(200, (), str(request.user))
        return None

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        if message == "who am I?":
            shown = client.tls.getpeercert() if client.tls is not None else None
            client.send(json.dumps(shown))
        elif message == "what was agreed on?":
            client.send(client.extensions)
        else:
            compress, fragments = self.ways[self.sent[client] % len(self.ways)]
            self.sent[client] += 1
            client.send(iter(cut(message, fragments)) if fragments else message, compress)

    def announce(self) -> None:
        print(json.dumps(self.addresses[0][1]), flush=True)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        del self.sent[client]
        print(json.dumps([code, reason]), flush=True)


def context(certificate: str, key: str, authority: str | None = None) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    if authority is not None:
        tls.load_verify_locations(authority)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def make(
    auth: str = "",
    tls: Sequence[str] = (),
    deflate: Mapping[str, Any] | None = None,
    ways: Sequence[Way] = Echo.ways,
    **options: Any,
) -> Echo:
    if tls:
        options["tls"] = context(*tls)
    if deflate is not None:
        options["extensions"] = [PerMessageDeflate(**deflate)]
    server = Echo(("127.0.0.1", 0), **options)
    server.ways, server.sent = ways, collections.Counter()
    if auth:
        from reactor import BasicAuth, DigestAuth

        kind = {"basic": BasicAuth, "digest": DigestAuth}[auth]
        server.guard = kind({USER: PASSWORD}, "lions")
    return server


def main() -> None:
    server = make(**json.loads(sys.argv[1]) if sys.argv[1:] else {})
    # In the first step, when the signals' handlers stand: who reads the line may send one.
    server.reactor.call_soon(server.announce)
    server.run()


if __name__ == "__main__":
    main()
