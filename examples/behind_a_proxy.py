"""How do I know who the clients are behind nginx, HAProxy or another proxy?

    python examples/behind_a_proxy.py [port]

The proxy adds their addresses to `X-Forwarded-For`, as nginx does with
`proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;`. Nobody else is believed.
"""

from __future__ import annotations

import sys

from reactor import Connection, Server, TrustedProxies

# Where the proxy connects from; "unix" would be one that comes by a unix socket. Naming the
# field keeps clients from choosing their address in the other, which such a proxy passes on.
PROXIES = TrustedProxies(["127.0.0.1", "::1"], header="X-Forwarded-For")


class WhoAmI(Server):
    def onopen(self, client: Connection) -> None:
        client.send(f"you come from {client.address[0]}")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    WhoAmI(("127.0.0.1", port), trusted_proxies=PROXIES).run()
