"""A server that notes what it is told, and a client in memory that looks at the notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from reactor import Connection, Server
from reactor.protocol.frames import pack_frame
from reactor.testing import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


def masked(head: int, payload: bytes = b"") -> bytes:
    """Return a frame as a client sends it."""
    return pack_frame(head, payload, True)


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return masked(CLOSE, code.to_bytes(2, "big") + reason)


class Recorder(Server):
    """Notes each event, then does what `do` says for it."""

    def __init__(
        self,
        address: Any = None,
        *,
        do: Mapping[str, Callable[..., object]] | None = None,
        **options: Any,
    ) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.met: list[Connection] = []
        self.do: dict[str, Callable[..., object]] = dict(do or {})
        super().__init__(address, **options)

    def _note(self, name: str, client: Connection, *args: Any) -> None:
        self.log.append((name, *args))
        action = self.do.get(name)
        if action is not None:
            action(client, *args)

    def onopen(self, client: Connection) -> None:
        self.met.append(client)
        self._note("onopen", client)

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        self._note("onmessage", client, message)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        self._note("onclose", client, code, reason)

    def onerror(self, client: Connection, error: Exception) -> None:
        self._note("onerror", client, error)

    def ondrain(self, client: Connection) -> None:
        self._note("ondrain", client)

    def onping(self, client: Connection, payload: bytes) -> None:
        self._note("onping", client, payload)

    def onpong(self, client: Connection, payload: bytes) -> None:
        self._note("onpong", client, payload)

    def names(self) -> list[str]:
        return [entry[0] for entry in self.log]

    def messages(self) -> list[str | bytes]:
        return [entry[1] for entry in self.log if entry[0] == "onmessage"]

    def ends(self) -> list[tuple[int, str]]:
        return [(entry[1], entry[2]) for entry in self.log if entry[0] == "onclose"]

    def errors(self) -> list[Exception]:
        return [entry[1] for entry in self.log if entry[0] == "onerror"]


class Visitor(Peer):
    """A client of a `Recorder`."""

    server: Recorder

    def __enter__(self) -> Visitor:
        return self

    @property
    def client(self) -> Connection:
        """The server's side of this connection, if it is the server's last."""
        return self.server.met[-1]

    @property
    def ends(self) -> list[tuple[int, str]]:
        return self.server.ends()

    def deliver(self, data: bytes) -> None:
        """Send bytes, in one piece, and let the server answer."""
        self.write(data)
        self.settle()

    def stop_reading(self) -> None:
        """Have no room for what the server sends."""
        self.sock.capacity = 0

    def go_on_reading(self) -> None:
        self.sock.capacity = 1 << 62
        self.settle()


def meet(
    do: Mapping[str, Callable[..., object]] | None = None,
    server: type[Recorder] = Recorder,
    **options: Any,
) -> Visitor:
    return cast("Visitor", Visitor.of(server, do=do, **options))
