"""Extensions for tests, and a client in memory that speaks some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactor.protocol.deflate import PerMessageDeflate
from reactor.protocol.extended import ExtendedSession
from reactor.protocol.extensions import Codec, Extension, accept_answer, describe, offer
from reactor.protocol.frames import RSV2
from reactor.protocol.messages import BinaryMessage, TextMessage
from reactor.protocol.packing import Packer
from tests.recorder import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_FLIPPED = bytes(byte ^ 0xFF for byte in range(256))


class _Flipping(Codec):
    """Flips all bits of a message, and notes what it was asked."""

    def __init__(self) -> None:
        self.wishes: list[tuple[int | None, bool | None]] = []

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        self.wishes.append((size, compress))
        return RSV2

    def encode(self, data: bytes, final: bool) -> bytes:
        return data.translate(_FLIPPED)

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        return bool(rsv & RSV2)

    def decode(self, data: bytes, final: bool) -> Iterable[bytes]:
        return (data.translate(_FLIPPED),)


class Flip(Extension):
    """Messages leave with all their bits flipped; `made` are its codecs."""

    name = "x-flip"
    rsv = RSV2

    def __init__(self) -> None:
        self.made: list[_Flipping] = []

    def _codec(self) -> Codec:
        self.made.append(_Flipping())
        return self.made[-1]

    def agree(self, answer: Any) -> Codec:
        return self._codec()

    def answer(self, offer: Any) -> Any:
        return (), self._codec()


class Faulty(Flip):
    """Calls `act` in one of its methods, and goes on if that does not raise."""

    def __init__(self, where: str, act: Callable[[], object]) -> None:
        super().__init__()
        plain = getattr(self, where)

        def acting(*args: Any) -> Any:
            act()
            return plain(*args)

        setattr(self, where, acting)


def raiser(error: BaseException) -> Callable[..., Any]:
    """Return what raises, whatever it is given."""

    def act(*args: object) -> Any:
        raise error

    return act


class Counting(PerMessageDeflate):
    """permessage-deflate that counts the parts it compresses, and its compressors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.compressed: list[bytes] = []
        self.made = 0

    def compressor(self, bits: int) -> Any:
        self.made += 1
        return _Counted(super().compressor(bits), self.compressed)


class _Counted:
    def __init__(self, compressor: Any, compressed: list[bytes]) -> None:
        self.flush = compressor.flush
        self._compress = compressor.compress
        self._compressed = compressed

    def compress(self, data: bytes) -> bytes:
        self._compressed.append(data)
        packed: bytes = self._compress(data)
        return packed


class ExtendedVisitor(Visitor):
    """A client in memory that offers extensions, and speaks those that are agreed on.

    The server must not send anything before it is said to.
    """

    def __init__(
        self,
        server: Any,
        clock: Any,
        extensions: Sequence[Extension],
        target: str = "/",
    ) -> None:
        fields = {"Sec-WebSocket-Extensions": offer(extensions)}
        super().__init__(server, clock, target, fields)
        name = b"\r\nSec-WebSocket-Extensions: "
        answers = [line.split(b"\r\n")[0] for line in self.response.split(name)[1:]]
        codecs = accept_answer(extensions, [answer.decode() for answer in answers])
        self.agreed = describe(codecs)
        self._session = ExtendedSession(
            self, codecs, client=True, max_message=1 << 40, max_fragments=1 << 40
        )
        self._own = Packer(codecs, True)

    def speak(self, message: str | bytes, compress: bool | None = True) -> None:
        """Send a message through the extensions, and let the server answer."""
        whole = TextMessage(message) if isinstance(message, str) else BinaryMessage(message)
        self.deliver(self._own.pack(whole, compress))
