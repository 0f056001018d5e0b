"""Small extensions of every kind, to see what becomes of messages and frames between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor.errors import ProtocolError
from reactor.protocol.extensions import (
    Codec,
    Extension,
    accept_answer,
    accept_offers,
    offer,
)
from reactor.protocol.frames import RSV1, RSV2, RSV3, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reactor.protocol.extensions import Params


class Toy(Extension):
    """Makes a codec of a kind, and is agreed on as it is offered."""

    def __init__(
        self,
        name: str,
        codec: Callable[[], Codec],
        rsv: int = 0,
        opcodes: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.rsv = rsv
        self.opcodes = opcodes
        self._codec = codec

    def agree(self, answer: Params) -> Codec:
        return self._codec()

    def answer(self, offer: Params) -> tuple[Params, Codec]:
        return (), self._codec()


def pair(*extensions: Extension) -> tuple[tuple[Codec, ...], tuple[Codec, ...]]:
    """Return the codecs of a server and of its client that have agreed on all of these."""
    value, server = accept_offers(extensions, [offer(extensions)])
    assert len(server) == len(extensions)
    return server, accept_answer(extensions, [value])


def codecs(*extensions: Extension) -> tuple[Codec, ...]:
    """Return the codecs of one side."""
    return pair(*extensions)[0]


# ---- of messages ----


class Shift(Codec):
    """Adds a number to each byte, or XORs each byte with it: the two do not commute."""

    def __init__(self, number: int, add: bool, piece: int = 1 << 16) -> None:
        self.number = number
        self.add = add
        self.piece = piece
        self.key = (number, add)

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        return None if compress is False and self.extension.rsv else self.extension.rsv

    def encode(self, data: bytes, final: bool) -> bytes:
        return self._shifted(data, self.number)

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        return rsv & self.extension.rsv == self.extension.rsv

    def decode(self, data: bytes, final: bool) -> Iterator[bytes]:
        for at in range(0, len(data), self.piece):
            yield self._shifted(data[at : at + self.piece], -self.number)

    def _shifted(self, data: bytes, number: int) -> bytes:
        if self.add:
            return bytes((octet + number) & 0xFF for octet in data)
        return bytes(octet ^ abs(number) for octet in data)


def adding(number: int = 1, rsv: int = 0, piece: int = 1 << 16) -> Toy:
    return Toy(f"add-{number}", lambda: Shift(number, True, piece), rsv)


def xoring(number: int = 0x55, rsv: int = 0, piece: int = 1 << 16) -> Toy:
    return Toy(f"xor-{number}", lambda: Shift(number, False, piece), rsv)


class Blocks(Codec):
    """Codes four bytes at a time, backwards, and keeps back what is not four yet."""

    def __init__(self) -> None:
        self.kept = {True: b"", False: b""}

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int:
        return self.extension.rsv

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        return True

    def encode(self, data: bytes, final: bool) -> bytes:
        return b"".join(self._blocks(data, final, True))

    def decode(self, data: bytes, final: bool) -> Iterator[bytes]:
        return self._blocks(data, final, False)

    def _blocks(self, data: bytes, final: bool, out: bool) -> Iterator[bytes]:
        data = self.kept[out] + data
        whole = len(data) if final else len(data) // 4 * 4
        self.kept[out] = data[whole:]
        for at in range(0, whole, 4):
            yield data[at : min(at + 4, whole)][::-1]


def blocks() -> Toy:
    return Toy("blocks", Blocks, RSV2)


class Expand(Codec):
    """Each byte that comes stands for `times` pieces of `size` bytes, and is counted."""

    def __init__(self, times: int, size: int, final: Sequence[bytes]) -> None:
        self.times = times
        self.size = size
        self.final = final
        self.yielded = 0
        self.closed = 0

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        return rsv & RSV1 != 0

    def decode(self, data: bytes, final: bool) -> Iterator[bytes]:
        try:
            for octet in data:
                for _ in range(self.times):
                    self.yielded += 1
                    yield bytes((octet,)) * self.size
            if final:
                yield from self.final
        finally:
            self.closed += 1


def expanding(times: int, size: int = 1, final: Sequence[bytes] = ()) -> Toy:
    return Toy("expand", lambda: Expand(times, size, final), RSV1)


# ---- of frames ----


class Numbered(Codec):
    """Puts a number in front of each frame, and checks it."""

    key = None

    def __init__(self) -> None:
        self.sent = self.received = 0

    def encode_frame(self, frame: Frame) -> Frame:
        frame.payload = bytes((self.sent & 0xFF,)) + frame.payload
        self.sent += 1
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame:
        if frame.payload[:1] != bytes((self.received & 0xFF,)):
            raise ProtocolError(3001, f"a frame that is not number {self.received}")
        self.received += 1
        frame.payload = frame.payload[1:]
        return frame


def numbering() -> Toy:
    return Toy("numbered", Numbered)


class Summed(Codec):
    """Puts a checksum behind each frame, and RSV3 on it."""

    key = "sum"

    def encode_frame(self, frame: Frame) -> Frame:
        frame.payload += bytes((sum(frame.payload) & 0xFF,))
        frame.rsv3 = True
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame:
        payload, check = frame.payload[:-1], frame.payload[-1:]
        if not frame.rsv3 or check != bytes((sum(payload) & 0xFF,)):
            raise ProtocolError(3002, "a frame without its checksum")
        return Frame(frame.opcode, payload, fin=frame.fin, rsv1=frame.rsv1, rsv2=frame.rsv2)


def summing() -> Toy:
    return Toy("summed", Summed, RSV3)


class Own(Codec):
    """Sends binary messages without bits as 0x3, and has frames 0x3 and 0xB of its own."""

    key = "own"

    def __init__(self) -> None:
        self.noted: list[tuple[int, bytes]] = []

    def encode_frame(self, frame: Frame) -> Frame:
        # The bits of other extensions do not stand on frames of its own.
        if frame.head == 0x82:
            frame.opcode = 3
            frame.payload = b"m" + frame.payload
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        if frame.opcode not in (0x3, 0xB):
            return frame
        if frame.opcode == 0x3 and frame.payload[:1] == b"m":
            return Frame(2, frame.payload[1:])
        self.noted.append((frame.opcode, frame.payload))
        return None


def owning() -> Toy:
    return Toy("own", Own, 0, (0x3, 0xB))


# ---- that do as they are told ----


def telling(rsv: int = RSV1, opcodes: Sequence[int] = (), **hooks: Any) -> Toy:
    """Return an extension whose codec has these hooks, which are not given the codec."""
    kind: Any = type("Telling", (Codec,), {name: staticmethod(hooks[name]) for name in hooks})
    return Toy("telling", kind, rsv, opcodes)


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a hook that raises."""

    def fail(*arguments: Any) -> Any:
        raise error

    return fail


def yielding(*pieces: Any, error: BaseException | None = None) -> Callable[..., Iterable[Any]]:
    """Return a hook that yields this, and then raises."""

    def run(*arguments: Any) -> Iterator[Any]:
        yield from pieces
        if error is not None:
            raise error

    return run
