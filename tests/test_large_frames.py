"""Frames of more than 64 KiB, by every way on which they can come or go."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from reactor import DeflateFrame, PerMessageDeflate, WebSocket
from reactor.protocol.messages import as_message
from tests import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.scripted import Net

KIB, MIB = 1024, 1024 * 1024
# None of these is much smaller once it is compressed, but for the zeros.
MESSAGES: list[Any] = [
    "é" + os.urandom(250_000).hex() + "ß",
    os.urandom(300_000),
    bytes(1_000_000),
]
FORGETTING = PerMessageDeflate(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=15
)
CODECS: dict[str, list[Any]] = {
    "plain": [],
    "compressed": [PerMessageDeflate()],
    "forgetting": [FORGETTING],
    "by the frame": [DeflateFrame()],
}
SIZES = {"whole": None, "fragments": 150_000, "small fragments": 3_000}

codecs = pytest.mark.parametrize("codec", CODECS)
both = pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])


class Gathering:
    """Puts together what comes in parts, each of a size that may come."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.whole: list[Any] = []
        self._parts: list[Any] = []

    def __call__(self, who: Any, data: Any, final: bool) -> None:
        assert len(data) <= self.largest
        self._parts.append(data)
        if final:
            self.whole.append(type(data)().join(self._parts))
            self._parts.clear()


class Way:
    """An open client and its server, and how what is sent comes out."""

    def __init__(
        self, net: Net, secure: bool, codec: str, in_parts: bool = False, **sending: Any
    ) -> None:
        self.net = net
        largest = (81 if secure else 65) * KIB if codec != "by the frame" else MIB
        self.gathered = Gathering(largest)
        receiving = {"onfragment": self.gathered} if in_parts else {}
        sending.setdefault("max_write_queue", 1 << 24)
        options = {"extensions": CODECS[codec], **receiving, **sending}
        self.client, self.server = net.meet(secure, options, compress=False, **options)
        assert bool(self.client.extensions) is (codec != "plain")
        self.in_parts = in_parts

    def end(self, direction: str) -> Any:
        return self.client if direction == "up" else self.server.met[0]

    def received(self, direction: str, count: int) -> list[Any]:
        """Wait for so many messages, and return them."""

        def found() -> list[Any]:
            there = self.server if direction == "up" else self.client
            return self.gathered.whole if self.in_parts else there.messages()

        self.net.until(lambda: len(found()) >= count or self.client.ends())
        return found()


directions = pytest.mark.parametrize("direction", ["up", "down"])


@both
@codecs
@directions
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("in_parts", [False, True])
def test_large_messages_arrive_whole(
    net: Net, direction: str, secure: bool, codec: str, sizes: str, in_parts: bool
) -> None:
    way = Way(net, secure, codec, in_parts, fragment_size=SIZES[sizes])
    for message in MESSAGES:
        way.end(direction).send(message)
    assert way.received(direction, 3) == MESSAGES


@both
@codecs
@directions
@pytest.mark.parametrize("in_parts", [False, True])
def test_large_parts_of_a_stream_arrive_in_order(
    net: Net, direction: str, secure: bool, codec: str, in_parts: bool
) -> None:
    def parts(message: Any) -> Iterator[Any]:
        for at in range(0, len(message), 100_001):
            yield message[at : at + 100_001]

    way = Way(net, secure, codec, in_parts)
    for message in MESSAGES:
        way.end(direction).send(parts(message))
    way.end(direction).send("last")
    assert way.received(direction, 4) == [*MESSAGES, "last"]


@both
@codecs
@pytest.mark.parametrize("compress", [None, True, False])
def test_large_messages_are_broadcast(
    net: Net, secure: bool, codec: str, compress: bool | None
) -> None:
    way = Way(net, secure, codec)
    scheme = "wss" if secure else "ws"
    tls = certificates.client_context() if secure else None
    other = net.client(
        net.uri(way.server, "/", scheme), tls=tls, compress=False, extensions=CODECS[codec]
    )
    net.opened(other)
    for message in MESSAGES:
        way.server.broadcast(message, compress=compress)
    net.until(lambda: len(other.messages()) == 3)
    assert way.received("down", 3) == other.messages() == MESSAGES


@codecs
@directions
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("size", [1000, 65_536, MIB])
def test_a_message_that_does_not_shrink_may_be_as_large_as_the_limit_and_no_larger(
    net: Net, direction: str, codec: str, sizes: str, kind: type, size: int
) -> None:
    way = Way(net, False, codec, max_message=size, fragment_size=SIZES[sizes])
    noise: Any = os.urandom(size)
    if kind is str:
        noise = "".join(chr(0x20 + byte % 0x5F) for byte in noise)
    end = way.end(direction)
    end.send(noise, compress=True)
    end.send(noise[1:], compress=True)
    assert way.received(direction, 2) == [noise, noise[1:]]
    end.send(noise + noise[:1], compress=True)
    net.ended(way.client)
    net.until(way.server.ends)
    assert way.client.ends()[0][0] == way.server.ends()[0][0] == 1009
    assert len(way.received(direction, 2)) == 2


@both
@codecs
@directions
def test_small_messages_between_large_ones_keep_their_order(
    net: Net, direction: str, secure: bool, codec: str
) -> None:
    way = Way(net, secure, codec, fragment_size=100_000, max_write_queue=1 << 26)
    sent: list[Any] = []
    for number in range(10):
        sent += [MESSAGES[number % 3], *(f"{number} {count}" for count in range(100))]
    for message in sent:
        way.end(direction).send(message)
    assert way.received(direction, len(sent)) == sent


@both
@pytest.mark.parametrize("codec", ["plain", "by the frame", "compressed"])
@pytest.mark.parametrize("size", [None, 100_000])
def test_large_frames_by_hand_go_and_come(
    net: Net, secure: bool, codec: str, size: int | None
) -> None:
    tls = {"tls": certificates.server_context()} if secure else {}
    server = net.serve(
        extensions=CODECS[codec],
        do={"onmessage": lambda client, message: client.send(message)},
        fragment_size=size,
        **tls,
    )
    hand = WebSocket(reactor=net.reactor, extensions=CODECS[codec], max_message=1 << 21)
    if secure:
        hand.enable_ssl(certificates.client_context(), server_hostname="127.0.0.1")
    inflater = zlib.decompressobj(-15)
    with hand:
        hand.connect(server.addresses[0])
        for payload in MESSAGES:
            message = as_message(payload)
            assert message is not None
            # Compression by the message is for whoever has the messages.
            hand.send(*message.fragment(size or len(message), mask=True))
            frames = [hand.recv()]
            while not frames[-1].fin:
                frames.append(hand.recv())
            assert frames[0].opcode == message.opcode
            data = b"".join(frame.payload for frame in frames)
            if frames[0].rsv1:
                data = inflater.decompress(data + b"\0\0\xff\xff")
            assert data == message.payload
            assert len(frames) == (1 if size is None else -(-len(message) // size))
    net.until(server.ends)
    assert server.messages() == MESSAGES
