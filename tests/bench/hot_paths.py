"""Fixed work on the hot paths, for `instructions.py` to count: the same at every run.

python -m tests.bench.hot_paths NAME... | --calls NAME

Each work is done in a forked child: one start of the interpreter serves them all, and none
depends on which others were chosen. The peer is a raw socket in the same thread, its part the
same bytes at each turn. The clock stands still, keys are not random, and garbage is collected
at the end of a stretch, where its cost is in proportion to what there is.
"""

from __future__ import annotations

import gc
import os
import select
import selectors
import signal
import socket
import sys
import zlib
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from reactor import Client, Reactor, Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from reactor import Connection

Turn = Callable[[], object]

KEY = b"\x37\xfa\x21\x3d"
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n%b\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LARGE = 1 << 20
TEXT_32 = b"a message of thirty-two letters."
TEXT_1K = b"Sixteen letters. " * 60 + b"four"
JSON_1K = b"[%b]" % b", ".join(
    b'{"id": %d, "name": "line %d", "price": %d}' % (at, at, at * 7 % 31) for at in range(24)
)
# A function in C that takes no arguments, as `time.monotonic` is.
CLOCK = (1000.0).conjugate
LONGEST = 60  # seconds, after which a work that hangs is ended


class Work(NamedTuple):
    """What is done, and how often.

    `turns` turns are a stretch that takes about ten million instructions; `units` are what is
    counted in each, as the messages of a burst.
    """

    make: Callable[[], Turn]
    turns: int
    units: int = 1


def frame(head: int, payload: bytes, key: bytes = KEY) -> bytes:
    """A frame as a client sends it; with the key `b""` as a server does."""
    size, bit = len(payload), 0x80 if key else 0
    short = size if size < 126 else 126 if size < 65536 else 127
    extended = b"" if size < 126 else size.to_bytes(2 if size < 65536 else 8, "big")
    if key:
        mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        payload = (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")
    return bytes((head, bit | short)) + extended + key + payload


class Echo(Server):
    """What the works of a server talk to."""

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        client.send(message)


def server(**options: Any) -> Echo:
    return Echo(("127.0.0.1", 0), reactor=Reactor(clock=CLOCK), **options)


def joined(echo: Echo, fields: bytes = b"") -> socket.socket:
    """The peer of one more connection of the server: a unix socket, which is never late."""
    ours, theirs = socket.socketpair()
    for end in ours, theirs:
        for option in socket.SO_SNDBUF, socket.SO_RCVBUF:
            end.setsockopt(socket.SOL_SOCKET, option, 4 * LARGE)
    echo.adopt(theirs)
    ours.send(REQUEST % fields)
    clients = len(echo.clients)
    while len(echo.clients) == clients:
        echo.reactor.step(0)
    answer = ours.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return ours


def exchange(reactor: Reactor, ours: socket.socket, data: bytes, reply: bytes) -> Turn:
    """Send the data, have the reactor make steps until as much as the reply has come."""
    send, recv, step, size = ours.send, ours.recv, reactor.step, len(reply)
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    ready = poll.poll

    def short() -> bytes:
        send(data)
        step(0)
        return recv(LARGE)

    def long() -> bytes:
        sent, got = send(data, socket.MSG_DONTWAIT), b""
        while len(got) < size:
            step(0)
            if sent < len(data):
                sent += send(data[sent:], socket.MSG_DONTWAIT)
            elif ready(0):
                got += recv(LARGE)
        return got

    turn = short if size < 16384 else long
    answer = turn()
    assert answer == reply, answer[:100]
    return turn


def echoed(head: int, payload: bytes, count: int = 1) -> Turn:
    echo = server()
    data, reply = frame(head, payload) * count, frame(head, payload, b"") * count
    return exchange(echo.reactor, joined(echo), data, reply)


def run(count: int) -> Turn:
    """As `echoed`, one message at a time, but in `run`, whose rounds are not those of `step`.

    The peer is in the same loop, and its part a few calls for each message.
    """
    echo = server()
    ours, reactor = joined(echo), echo.reactor
    data, reply = frame(0x81, TEXT_32), frame(0x81, TEXT_32, b"")
    send, recv, left = ours.send, ours.recv, 0

    def answered(mask: int) -> None:
        nonlocal left
        if recv(LARGE) == reply:
            left -= 1
            if left:
                send(data)
                return
        reactor.stop()

    reactor.register(ours, selectors.EVENT_READ, answered)

    def turn() -> int:
        nonlocal left
        left = count
        send(data)
        reactor.run()
        return left

    assert turn() == 0
    return turn


def deflated() -> Turn:
    """Each message is compressed by itself, so that it is the same at every turn."""
    echo = server(compress=True)
    ours = joined(echo, DEFLATE)
    encoder, decoder = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
    payload = encoder.compress(JSON_1K) + encoder.flush(zlib.Z_SYNC_FLUSH)
    data = frame(0xC1, payload[:-4])

    def turn() -> bytes:
        ours.send(data)
        echo.reactor.step(0)
        return ours.recv(LARGE)

    answer = turn()
    at = 4 if answer[1] == 126 else 2
    assert answer[0] == 0xC1, answer
    assert decoder.decompress(answer[at:] + b"\0\0\xff\xff") == JSON_1K
    return turn


def broadcast(clients: int) -> Turn:
    echo = server()
    receive = [joined(echo).recv for _ in range(clients)]
    text, reply = TEXT_32.decode(), frame(0x81, TEXT_32, b"")

    def turn() -> bool:
        echo.broadcast(text)
        return all([recv(LARGE) == reply for recv in receive])  # noqa: C419 - no generator

    assert turn()
    return turn


def connected_and_closed() -> Turn:
    """Over TCP, accepted by a listener: one after the other."""
    echo = server()
    address: Any = echo.addresses[0]
    step, clients = echo.reactor.step, echo.clients
    request, close, reply = (
        REQUEST % b"",
        frame(0x88, b"\x03\xe8"),
        frame(0x88, b"\x03\xe8", b""),
    )

    def turn() -> bytes:
        ours = socket.create_connection(address)
        ours.send(request)
        while not clients:
            step(None)
        ours.recv(LARGE)
        ours.send(close)
        step(None)
        answer = ours.recv(LARGE)
        ours.close()
        while clients:
            step(None)
        return answer

    assert turn() == reply
    return turn


class Listening(Client):
    """A client that counts what comes."""

    count = 0

    def onmessage(self, message: str | bytes) -> None:
        self.count += 1


def client() -> tuple[Listening, socket.socket]:
    """An open client, and its peer."""
    import base64
    import hashlib

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = Listening(
            f"ws://127.0.0.1:{port}/", reactor=Reactor(clock=CLOCK), proxy=False, compress=False
        )
        while not select.select([listener], [], [], 0)[0]:
            ours.reactor.step(0)
        peer = listener.accept()[0]
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while not select.select([peer], [], [], 0)[0]:
        ours.reactor.step(None)
    key = peer.recv(4096).partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )
    while ours.ready_state != ours.ready_state.OPEN:
        ours.reactor.step(None)
    return ours, peer


def asked() -> Turn:
    """A client sends and has its answer."""
    ours, peer = client()
    text, reply = TEXT_32.decode() * 2, frame(0x81, TEXT_32 * 2, b"")
    send, step = ours.send, ours.reactor.step

    def turn() -> int:
        send(text)
        peer.recv(LARGE)
        peer.send(reply)
        step(None)
        return ours.count

    assert turn() == 1
    return turn


def told(count: int) -> Turn:
    """A client receives."""
    ours, peer = client()
    data = frame(0x81, TEXT_32 * 2, b"") * count
    step = ours.reactor.step

    def turn() -> int:
        peer.send(data)
        step(None)
        return ours.count

    assert turn() == count
    return turn


def timed() -> Turn:
    """A timer is set and canceled."""
    later = Reactor(clock=CLOCK).call_later
    return lambda: later(10, gc.isenabled).cancel()


def idle() -> Turn:
    """A step with nothing to do."""
    echo = server()
    joined(echo)
    step = echo.reactor.step
    return lambda: step(0)


def bare() -> Turn:
    """The least that a program with `selectors` can do: what came goes back."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    selector = selectors.DefaultSelector()

    def ready(mask: int) -> None:
        theirs.send(theirs.recv(65536))

    selector.register(theirs, selectors.EVENT_READ, ready)
    send, recv, wait, data = ours.send, ours.recv, selector.select, frame(0x81, TEXT_32)

    def turn() -> bytes:
        send(data)
        for key, mask in wait(0):
            key.data(mask)
        return recv(LARGE)

    assert turn() == data
    return turn


WORKS = {
    "bare-selectors-32": Work(bare, 500),
    "round-trip-32": Work(lambda: echoed(0x81, TEXT_32), 300),
    "run-32": Work(lambda: run(60), 5, 60),
    "echo-1k": Work(lambda: echoed(0x81, TEXT_1K), 200),
    "pipeline-32": Work(lambda: echoed(0x81, TEXT_32, 64), 12, 64),
    "binary-64k": Work(lambda: echoed(0x82, TEXT_1K * 64), 8),
    "binary-1m": Work(lambda: echoed(0x82, TEXT_1K * 1000), 2),
    "deflate-1k": Work(deflated, 60),
    "broadcast-100": Work(lambda: broadcast(100), 10),
    "connect-close": Work(connected_and_closed, 30),
    "client-round-trip-64": Work(asked, 300),
    "client-receive-64": Work(lambda: told(64), 12, 64),
    "timer": Work(timed, 1000),
    "idle-step": Work(idle, 1000),
}


def stretches(work: Work, mark: Callable[[], object]) -> None:
    """So many turns to warm up, then so many and twice as many, each between two marks."""
    turn = work.make()
    for _ in repeat(None, work.turns):
        turn()
    gc.collect()
    gc.freeze()
    gc.disable()
    mark()
    for count in work.turns, 2 * work.turns:
        for _ in repeat(None, count):
            turn()
        gc.collect()
        mark()


def in_child(work: Work) -> int:
    """Do one work in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(LONGEST)
        stretches(work, os.getppid)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def calls(work: Work) -> Counter[str]:
    """The functions in Python that are called in a stretch of turns, and how often."""
    turn, seen = work.make(), Counter[str]()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            code = frame.f_code
            path = "/".join(code.co_filename.split(os.sep)[-2:])
            name = getattr(code, "co_qualname", code.co_name)
            seen[f"{path}:{code.co_firstlineno} {name}"] += 1

    turn()
    sys.setprofile(note)
    try:
        for _ in repeat(None, work.turns):
            turn()
    finally:
        sys.setprofile(None)
    return seen


def main(names: Sequence[str]) -> int:
    """Do the works; print each one's name and process id. They say by themselves what fails."""
    keys = bytes(at * 151 + 17 & 0xFF for at in range(4096))
    os.urandom = lambda size: keys[:size]
    if names[0] == "--calls":
        for function, number in calls(WORKS[names[1]]).items():
            print(number, function)
        return 0
    failed = 0
    for name in names:
        child = in_child(WORKS[name])
        status = os.waitpid(child, 0)[1]
        failed += status != 0
        print(name, child, "failed" if status else "done", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
