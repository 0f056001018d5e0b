"""A client in TLS, in the virtual world: its bytes are others each time, its fate is not."""

from __future__ import annotations

import functools
import ssl
from typing import Any

from tests import certificates
from tests.virtual.role import Player

server_context = functools.lru_cache(None)(certificates.server_context)
client_context = functools.lru_cache(None)(certificates.client_context)


class SecurePlayer(Player):
    """A client that plays a role in TLS."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self._in, self._out, server_hostname=certificates.HERE[0]
        )
        self._plain = b""
        self._secured = False

    @property
    def sent_all(self) -> bool:
        return not self._plain and super().sent_all

    def write(self, data: bytes) -> object:
        self._plain += data
        if data:
            self.go_on_talking()
        return None

    def go_on_talking(self) -> None:
        """Have the handshake go on, then say what waits for it."""
        try:
            if not self._secured:
                self.tls.do_handshake()
                self._secured = True
            while self._plain:
                self._plain = self._plain[self.tls.write(self._plain[:16384]) :]
        except ssl.SSLWantReadError:
            pass  # it goes on with what the server answers
        if self._out.pending:
            self.put(self._out.read())

    def hear(self, data: bytes) -> None:
        self._in.write(data)
        self.go_on_talking()
        while self._secured:
            try:
                plain = self.tls.read(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                break
            if not plain:
                break
            self.oracle.hear(plain)
            super().hear(plain)
