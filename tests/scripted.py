"""A client that notes what it is told, and servers on 127.0.0.1 that follow a script.

All of it lives in one reactor, which a `Net` steps until something has come about.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from reactor import Client, Reactor
from reactor.loop.reactor import EVENT_READ, EVENT_WRITE
from reactor.protocol.handshake import accept_key
from tests import certificates
from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactor import State
    from reactor.testing import FakeClock

    Act = Callable[["Raw"], object]

# Seconds of real time after which what a test waits for will not come any more.
PATIENCE = 20


class Noting(Client):
    """Notes each event, then does what `do` says for it."""

    def __init__(
        self,
        uri: str,
        *,
        do: Mapping[str, Callable[..., object]] | None = None,
        proxy: str | bool = False,
        **options: Any,
    ) -> None:
        self.noted: list[tuple[Any, ...]] = []
        self.do: dict[str, Callable[..., object]] = dict(do or {})
        super().__init__(uri, proxy=proxy, **options)

    def _note(self, name: str, *args: Any) -> object:
        self.noted.append((name, *args))
        action = self.do.get(name)
        return None if action is None else action(self, *args)

    def onopen(self) -> None:
        self._note("onopen")

    def onmessage(self, message: Any) -> None:
        self._note("onmessage", message)

    def onclose(self, code: int, reason: str) -> None:
        self._note("onclose", code, reason)

    def onerror(self, error: Exception) -> None:
        self._note("onerror", error)

    def ondrain(self) -> None:
        self._note("ondrain")

    def onping(self, payload: bytes) -> None:
        self._note("onping", payload)

    def onpong(self, payload: bytes) -> None:
        self._note("onpong", payload)

    def onreconnecting(self, delay: float, attempt: int) -> object:
        return self._note("onreconnecting", delay, attempt)

    def names(self) -> list[str]:
        return [entry[0] for entry in self.noted]

    def messages(self) -> list[str | bytes]:
        return [entry[1] for entry in self.noted if entry[0] == "onmessage"]

    def ends(self) -> list[tuple[int, str]]:
        return [(entry[1], entry[2]) for entry in self.noted if entry[0] == "onclose"]

    def errors(self) -> list[Any]:
        return [entry[1] for entry in self.noted if entry[0] == "onerror"]

    def is_in(self, state: State) -> bool:
        return self.ready_state is state

    def delays(self) -> list[float]:
        return [entry[1] for entry in self.noted if entry[0] == "onreconnecting"]


class Raw:
    """One connection of a `Scripted` server; `act` is called after all that comes."""

    def __init__(self, server: Scripted, sock: socket.socket) -> None:
        self.server = server
        self.number = len(server.raws)
        self.data = b""
        self.ended = False
        self.sock = sock
        self._flood = b""
        sock.setblocking(False)
        server.reactor.register(sock, EVENT_READ, self._ready)

    def _ready(self, mask: int) -> None:
        if mask & EVENT_WRITE:
            with contextlib.suppress(OSError):
                self.sock.send(self._flood)
        if mask & EVENT_READ:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if data:
                self.data += data
                self.server.act(self)
            else:
                self.close()

    @property
    def asked(self) -> bool:
        """Whether a whole head has come."""
        return b"\r\n\r\n" in self.data

    @property
    def target(self) -> str:
        return self.data.split(b" ", 2)[1].decode()

    def field(self, name: str) -> str | None:
        found = re.search(rb"\r\n" + name.encode() + rb": ([^\r]*)", self.data, re.IGNORECASE)
        return None if found is None else found[1].decode()

    def send(self, data: bytes | str) -> None:
        """Send what the kernel takes for certain: some 100 KiB."""
        raw = data.encode() if isinstance(data, str) else data
        assert self.sock.send(raw) == len(raw)

    def flood(self, data: bytes) -> None:
        """Send `data` again and again."""
        self._flood = data
        self.server.reactor.modify(self.sock, EVENT_READ | EVENT_WRITE, self._ready)

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self.server.reactor.unregister(self.sock)
            self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def switch(self, tail: bytes = b"", fields: str = "") -> bytes:
        """Return the 101 that the request asks for, and `tail` behind it."""
        accept = accept_key(self.field("Sec-WebSocket-Key") or "")
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
        )
        return head.encode() + tail


class Scripted:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self, reactor: Reactor, act: Act, address: Any = ("127.0.0.1", 0)) -> None:
        self.reactor = reactor
        self.act = act
        self.raws: list[Raw] = []
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(address)
            self.sock.listen()
        else:
            self.sock = socket.create_server(address)
        self.sock.setblocking(False)
        reactor.register(self.sock, EVENT_READ, self._accept)

    def _accept(self, mask: int) -> None:
        raw = Raw(self, self.sock.accept()[0])
        self.raws.append(raw)

    @property
    def port(self) -> int:
        number: int = self.sock.getsockname()[1]
        return number

    def uri(self, target: str = "/", scheme: str = "ws", user: str = "") -> str:
        return f"{scheme}://{user}127.0.0.1:{self.port}{target}"

    def close(self) -> None:
        for raw in self.raws:
            raw.close()
        if self.sock.fileno() >= 0:
            self.reactor.unregister(self.sock)
            self.sock.close()


class Net:
    """A reactor with all that a test has in it; all is closed at the end."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock
        self.reactor = Reactor() if clock is None else Reactor(clock=clock)
        self.scripted: list[Scripted] = []
        self.sockets: list[socket.socket] = []

    def client(self, uri: Any, **options: Any) -> Noting:
        """Return a client of a URI, or of a server of either kind."""
        if isinstance(uri, (Scripted, Recorder)):
            uri = self.uri(uri)
        return Noting(uri, reactor=self.reactor, **options)

    def script(self, act: Act, address: Any = ("127.0.0.1", 0)) -> Scripted:
        server = Scripted(self.reactor, act, address)
        self.scripted.append(server)
        return server

    def serve(self, address: Any = ("127.0.0.1", 0), **options: Any) -> Recorder:
        return Recorder(address, reactor=self.reactor, **options)

    def uri(self, server: Scripted | Recorder, target: str = "/", scheme: str = "ws") -> str:
        if isinstance(server, Scripted):
            return server.uri(target, scheme)
        return f"{scheme}://127.0.0.1:{port(server)}{target}"

    def meet(
        self, secure: bool = False, server: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[Noting, Recorder]:
        """Return an open client and its server, which has the options `server`."""
        there, scheme = dict(server or {}), "ws"
        if secure:
            there["tls"], scheme = certificates.server_context(), "wss"
            options["tls"] = certificates.client_context()
        recorder = self.serve(**there)
        client = self.client(self.uri(recorder, "/", scheme), **options)
        self.opened(client)
        return client, recorder

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, "it did not come to that"
            self.reactor.step(0.01)

    def opened(self, *clients: Noting) -> None:
        self.until(lambda: all("onopen" in client.names() for client in clients))

    def ended(self, *clients: Noting, count: int = 1) -> None:
        self.until(lambda: all(len(client.ends()) >= count for client in clients))

    def settle(self) -> None:
        """Make some steps in which nothing need happen."""
        for _ in range(5):
            self.reactor.step(0)

    def advance(self, seconds: float) -> None:
        assert self.clock is not None
        self.clock.advance(seconds)
        self.settle()

    def black_hole(self) -> tuple[str, int]:
        """Return an address that does not answer: a queue that is full."""
        full = socket.socket()
        self.sockets.append(full)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            sock = socket.socket()
            self.sockets.append(sock)
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        address: tuple[str, int] = full.getsockname()
        return address

    def close(self) -> None:
        for server in self.scripted:
            server.close()
        for sock in self.sockets:
            sock.close()
        self.reactor.close()


def port(server: Recorder) -> int:
    address: Any = server.addresses[0]
    return int(address[1])


def switching(tail: bytes = b"", fields: str = "", then: Act | None = None) -> Act:
    """Return what accepts every request, and sends `tail` behind the 101.

    All that comes later from the client is for `then`.
    """
    switched: set[Raw] = set()

    def act(raw: Raw) -> None:
        if raw in switched:
            if then is not None:
                then(raw)
        elif raw.asked:
            switched.add(raw)
            raw.send(raw.switch(tail, fields))

    return act


def answering(*answers: str) -> Act:
    """Return what answers the n-th connection with the n-th of `answers`, then the last."""

    def act(raw: Raw) -> None:
        if raw.asked:
            answer = answers[min(raw.number, len(answers) - 1)]
            raw.send(answer)

    return act


def response(status: int, fields: str = "", body: str = "") -> str:
    return f"HTTP/1.1 {status} Whatever\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}"


def silent(raw: Raw) -> None:
    """Say nothing."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))
