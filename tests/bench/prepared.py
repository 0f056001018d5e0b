"""What ``load.py`` sends, made beforehand, and what has to come back for it."""

from __future__ import annotations

import json
import random
import zlib

from .client_peers.talk import messages
from .generator import FaultError

TEXT, BINARY, CLOSING, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
COMPRESSED = 0x40
BITS = 12  # of the window of what is sent: servers that save memory agree to no more
LEAST_JSON = 32  # bytes of a document
LARGEST = 1 << 20
_TAIL = b"\0\0\xff\xff"  # RFC 7692 section 7.2.1
_DISTINCT = 512  # messages, or as many as fit in:
_PREPARED = 1 << 22
_NAMES = ("bolt", "bracket", "hinge", "spring", "washer")
_END = "]}"


def documents(size: int, count: int) -> list[str]:
    """So many JSON texts of a size: lists of records, as an API sends them, no two alike."""
    chance = random.Random(7692)

    def record() -> dict[str, object]:
        return {
            "id": chance.randrange(1_000_000),
            "name": chance.choice(_NAMES) + str(chance.randrange(1000)),
            "price": round(chance.random() * 100, 2),
            "in_stock": chance.random() < 0.5,
        }

    made = []
    for number in range(count):
        text = f'{{"page":{number},"rows":['
        while len(longer := text + json.dumps(record()) + ",") <= size - len(_END):
            text = longer
        text = text.rstrip(",") + _END
        made.append(text[:-1] + " " * (size - len(text)) + text[-1])
    return made


def payloads(kind: str, size: int) -> list[bytes]:
    """What is sent, one after the other and then again."""
    count = max(16, min(_DISTINCT, _PREPARED // size))
    if kind == "json":
        return [document.encode() for document in documents(size, count)]
    made = messages(size, kind == "text", count)
    return [each.encode() if isinstance(each, str) else each for each in made]


def header(first: int, size: int, masked: bool) -> bytes:
    bit = 0x80 if masked else 0
    if size < 126:
        return bytes((first, bit | size))
    if size < 65536:
        return bytes((first, bit | 126)) + size.to_bytes(2, "big")
    return bytes((first, bit | 127)) + size.to_bytes(8, "big")


def frame(first: int, payload: bytes, key: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")
    return header(first, size, True) + key + masked


def compressed(payload: bytes) -> bytes:
    """By itself, as after ``client_no_context_takeover``."""
    made = zlib.compressobj(6, zlib.DEFLATED, -BITS)
    return (made.compress(payload) + made.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


class Prepared:
    """What leaves and what is to come back, by the number of a message."""

    def __init__(self, kind: str, size: int, deflate: bool) -> None:
        first = BINARY if kind == "binary" else TEXT
        self.deflate = deflate
        self.first = first | COMPRESSED if deflate else first
        chance = random.Random(6455)
        self.payloads = payloads(kind, size)
        self.frames = [
            frame(
                self.first,
                compressed(payload) if deflate else payload,
                chance.getrandbits(32).to_bytes(4, "big"),
            )
            for payload in self.payloads
        ]
        self.replies = [
            header(first, len(payload), False) + payload for payload in self.payloads
        ]
        self.count = len(self.frames)


class Replies:
    """What comes on one connection, compared with what is due."""

    def __init__(self, prepared: Prepared, first: int) -> None:
        self.prepared = prepared
        self.count = prepared.count
        self.first = first
        """Which of the messages is this connection's first."""
        self.number = 0
        """Of the next reply."""
        self.due = 0
        """How many are on the way."""
        self.rest = b""
        self.pings: list[bytes] = []
        self.closed = False

    def take(self, data: bytes) -> int:
        """How many replies these bytes complete; ``FaultError`` if anything is wrong."""
        if self.rest:
            data, self.rest = self.rest + data, b""
        at, size, before = 0, len(data), self.number
        while at < size:
            if self.closed:
                raise FaultError(f"{size - at} bytes came after the Close frame")
            used = self._control(data, at) if data[at] & 0x08 else self._reply(data, at)
            if used == 0:
                self.rest = data[at:]
                break
            at += used
        return self.number - before

    def _reply(self, data: bytes, at: int) -> int:
        """The bytes that a whole reply takes; 0 if its end has not come yet."""
        if self.due == 0:
            raise FaultError(f"an extra reply came, beginning with {data[at]:#04x}")
        due = self.prepared.replies[(self.first + self.number) % self.count]
        if data[at : at + len(due)] != due:
            if due.startswith(data[at:]):
                return 0
            raise FaultError("the reply is wrong")
        self._right()
        return len(due)

    def _right(self) -> None:
        self.number += 1
        self.due -= 1

    def _control(self, data: bytes, at: int) -> int:
        if len(data) < at + 2:
            return 0
        first, size = data[at], data[at + 1]
        if size > 125 or first not in (CLOSING, PING, PONG):
            raise FaultError(f"a control frame begins with {first:#04x} {size:#04x}")
        if len(data) < at + 2 + size:
            return 0
        if first == PING:
            self.pings.append(data[at + 2 : at + 2 + size])
        self.closed = first == CLOSING
        return 2 + size


class CompressedReplies(Replies):
    """The same where replies are compressed."""

    def __init__(self, prepared: Prepared, first: int, keep: bool) -> None:
        super().__init__(prepared, first)
        self.keep = keep
        self.inflater = zlib.decompressobj(-15)

    def _reply(self, data: bytes, at: int) -> int:
        if self.due == 0:
            raise FaultError(f"an extra reply came, beginning with {data[at]:#04x}")
        if data[at] != self.prepared.first:
            raise FaultError(f"the reply is wrong: it begins with {data[at]:#04x}")
        if len(data) < at + 2:
            return 0
        size, start = data[at + 1], at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            if len(data) < start:
                return 0
            size = int.from_bytes(data[at + 2 : start], "big")
        end = start + size
        if size > 2 * LARGEST:
            raise FaultError(f"the reply is wrong: it has {size} bytes")
        if len(data) < end:
            return 0
        if (
            self._inflated(data[start:end])
            != self.prepared.payloads[(self.first + self.number) % self.count]
        ):
            raise FaultError("the reply is wrong")
        self._right()
        return end - at

    def _inflated(self, data: bytes) -> bytes:
        if not self.keep:
            self.inflater = zlib.decompressobj(-15)
        try:
            return self.inflater.decompress(data + _TAIL, LARGEST + 1)
        except zlib.error as error:
            raise FaultError(f"the reply is wrong: {error}") from None
