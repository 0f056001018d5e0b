"""``python -m tests.measured``: a server or a client in a process of its own, and its memory.

It does what the JSON of its one argument says, answers each line of its standard input with one
of JSON, and ends with that input. A test that measures it is the attacker, or the other side:
what that holds itself is nobody's business.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactor import Backoff, Client, DeflateFrame, PerMessageDeflate, Server
from reactor.loop.reactor import EVENT_READ, Reactor

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
KIB, MIB = 1024, 1024 * 1024
# What a test may say about memory is what CPython's allocator and Linux say: PyPy's collector
# and compiler take memory as they find best.
TELLS = sys.platform == "linux" and sys.implementation.name == "cpython"
_PARTS = [os.urandom(64) * 4096 for _ in range(4)]


def memory() -> tuple[int, int]:
    """Return the resident memory of this process, now and at most, in bytes."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
    except FileNotFoundError:
        return 0, 0
    now, most = (int(fields[name].split()[0]) * KIB for name in ("VmRSS", "VmHWM"))
    return now, most


class Trickle:
    """A socket from which the first bytes are received one by one.

    Args:
        sock: The socket.
        left: How many bytes.
    """

    def __init__(self, sock: socket.socket, left: int) -> None:
        self._sock = sock
        self._left = left

    def recv(self, size: int) -> bytes:
        self._left -= 1
        return self._sock.recv(1 if self._left > 0 else size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Measured:
    """What the process notes, and is asked for.

    Args:
        wanted: What its argument says.
        reactor: Where it lives.
    """

    def __init__(self, wanted: dict[str, Any], reactor: Reactor) -> None:
        self.wanted = wanted
        self.reactor = reactor
        self.start = 0
        self.seen: dict[str, Any] = {
            "messages": [],
            "bytes": 0,
            "crc": 0,
            "finals": 0,
            "opened": 0,
            "ends": [],
            "sent": 0,
            "largest": 0,
        }
        self.ends: Any = None
        self.over = False
        self.waited_for = ""
        self._line = b""
        reactor.register(sys.stdin, EVENT_READ, self._asked)

    def _asked(self, mask: int) -> None:
        data = os.read(0, 4096)
        if not data:
            self.over = True
            self.reactor.unregister(sys.stdin)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line == b"begin":
                gc.collect()
                self.start = memory()[0]
            elif line == b"send":
                for client in list(getattr(self.ends, "clients", [self.ends])):
                    client.send(self.parts())
            elif line in (b"opened", b"finals") and not self.seen[line.decode()]:
                self.waited_for = line.decode()
                continue
            self.answer()

    def happened(self, what: str) -> None:
        """Count what has happened, and answer whoever has waited for it."""
        self.seen[what] += 1
        if self.waited_for == what:
            self.waited_for = ""
            self.answer()

    def answer(self) -> None:
        """Say what was seen, and the memory."""
        now, most = memory()
        answer = {**self.seen, "start": self.start, "now": now, "most": most}
        print(json.dumps(answer), flush=True)

    def parts(self) -> Iterator[bytes]:
        """Yield as many bytes as are wanted, in parts of 256 KiB."""
        left, number, crc = self.wanted["size"], 0, 0
        while left:
            part = _PARTS[number % 4][:left]
            number += 1
            left -= len(part)
            crc = zlib.crc32(part, crc)
            self.seen["sent"], self.seen["crc"] = self.seen["sent"] + len(part), crc
            yield part

    def opened(self, client: Any) -> None:
        """Have the first bytes received one by one, if that is wanted."""
        left = self.wanted.get("trickle", 0)
        transport = client._transport
        if left:
            transport.sock = Trickle(transport.sock, left)
        self.happened("opened")

    def got(self, message: Any) -> None:
        """Note a message."""
        self.seen["messages"].append(len(message))

    def got_part(self, data: Any, final: bool) -> None:
        """Note a part of a message."""
        seen = self.seen
        seen["bytes"] += len(data)
        seen["largest"] = max(seen["largest"], len(data))
        if self.wanted.get("check"):
            seen["crc"] = zlib.crc32(data, seen["crc"])
        if final:
            self.happened("finals")

    def closed(self, code: int) -> None:
        """Note the end of a connection."""
        self.seen["ends"].append(code)


def extensions(wanted: dict[str, Any]) -> list[Any]:
    """Return the extensions that are wanted, as name and parameters."""
    kinds: dict[str, Any] = {"message": PerMessageDeflate, "frame": DeflateFrame}
    return [kinds[kind](**options) for kind, options in wanted.get("extensions", [])]


def handlers(measured: Measured) -> dict[str, Any]:
    """Return the handlers as functions: parts if they are wanted, otherwise messages."""

    def echo(client: Any, message: Any) -> None:
        measured.got(message)
        if measured.wanted.get("echo"):
            client.send(message, compress=True)

    found: dict[str, Any] = {
        "onopen": lambda client: measured.opened(getattr(client, "_link", client)),
        "onclose": lambda client, code, reason: measured.closed(code),
    }
    if measured.wanted.get("parts"):
        found["onfragment"] = lambda client, data, final: measured.got_part(data, final)
    else:
        found["onmessage"] = echo
    return found


def main(argument: str) -> None:
    wanted = json.loads(argument)
    reactor = Reactor()
    measured = Measured(wanted, reactor)
    options = {
        **wanted.get("options", {}),
        "reactor": reactor,
        "extensions": extensions(wanted),
        **handlers(measured),
    }
    port = 0
    if "uri" in wanted:
        again = Backoff(first=0.001, jitter=0) if wanted.get("again") else None
        measured.ends = Client(wanted["uri"], proxy=False, reconnect=again, **options)
    else:
        measured.ends = Server(("127.0.0.1", 0), **options)
        port = measured.ends.addresses[0][1]
    print(port, flush=True)
    while not measured.over:
        reactor.step(None)
    reactor.close()


class Child:
    """The process, from outside.

    Args:
        process: It.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.port = int(process.stdout.readline())

    def ask(self, word: str = "") -> dict[str, Any]:
        """Return what it has seen, its memory at the `begin`, now, and at most.

        Args:
            word: `begin` to look at its memory; `send` to have it send what is wanted to each
                connection; `opened` and `finals` wait for that, if there was none yet.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(word.encode() + b"\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def grown(self) -> int:
        """Return by how many bytes its memory has grown at most since the `begin`."""
        answer = self.ask()
        grown: int = answer["most"] - answer["start"]
        return grown


@contextmanager
def child(**wanted: Any) -> Iterator[Child]:
    """Start such a process, and end it."""
    command = [sys.executable, "-W", "error", "-m", "tests.measured", json.dumps(wanted)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Child(process)
            assert process.poll() is None, "it has died"
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0


if __name__ == "__main__":
    main(sys.argv[1])
