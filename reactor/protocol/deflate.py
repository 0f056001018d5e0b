"""Compression: permessage-deflate (RFC 7692), and the draft before it, deflate-frame.

Facts: A message leaves as what a sync flush gives, without the `00 00 ff ff` that every flush
ends with, and whoever receives it puts those back. What has gone through a compressor that
remembers it has to be sent, so whether to compress is decided before. Such a compressor and
its counterpart are most of what a connection costs (tests/bench/deflate_memory.py). A kilobyte
can stand for a megabyte, and inflating can be stopped at any size; but zlib does not tell where
in its stream it stands, and what one message lacks it would take from the next.

The choice: Windows of 12 bits, wherever the other side leaves it to us. Pieces of at most
64 KiB, made as they are asked for. Behind each message goes what means nothing between two
blocks, and cannot stand inside of one (`_END`). Where this side is to forget, one compressor
serves all connections, and a message to many of them is compressed once.
"""

from __future__ import annotations

import gc
import sys
import zlib
from zlib import Z_FULL_FLUSH, Z_SYNC_FLUSH

from ..errors import InvalidPayload, MessageTooBig, ProtocolError
from .extensions import Codec, Extension
from .frames import RSV1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any
    from zlib import _Compress, _Decompress

    from .extensions import Params
    from .frames import Frame

_PIECE = 64 * 1024  # the most bytes that are inflated at once
# The most bytes that zlib is given at once: it copies what it has not taken yet, each time.
_STEP = 16 * 1024

# An empty block without compression: its header, and what is taken off and put back.
_EMPTY, _TAIL = b"\x00", b"\x00\x00\xff\xff"
# Between two blocks, more empty ones change nothing. Inside of one they are an error, or data,
# or the end of a stream, as soon as they are more than the header of a block can swallow: that
# has at most 286 bytes (RFC 1951 §3.2.7: 14 + 19 * 3 + 316 * 7 bits), and these are 324. So
# whoever has read them without a sign is between two blocks. To ask a copy of the decompressor
# costs as much at 12 bits, 0.5 us more at 15, 5 to 15 us on PyPy, and memory there that its
# collector does not see.
_END = _TAIL + (_EMPTY + _TAIL) * 64
# A decompressor that is not used again may be told of the end: behind the tail it has to be
# between two blocks there and then, or the stream does not end with this one. 0.3 us less.
_LAST = _TAIL + b"\x01" + _TAIL
# How much of them is not taken, when the stream has ended.
_BEHIND_END, _BEHIND_LAST = len(_END) - len(_TAIL), (0, len(_LAST) - len(_TAIL))
_CUT = "compressed data that ends inside a block (RFC 7692 §7.2.1)"

# The streams that a part may end, by BFINAL, besides one for each 256 bytes: each takes a new
# decompressor, and may have two bytes.
_STREAMS = 16

# PyPy's collector sees nothing of zlib's memory, and lets gigabytes of it lie; so it is called
# whenever so much of that has been taken.
_COLLECT = 128 * 1024 * 1024 if sys.implementation.name == "pypy" else 0
_taken = 0

_DEFAULT_BITS = 12
_MAX_BITS = 15
# "a decimal integer value without leading zeroes between 8 to 15" (RFC 7692 §7.1.2.1)
_BITS = {str(bits): bits for bits in range(8, _MAX_BITS + 1)}
_RLE = 3  # zlib.Z_RLE, which PyPy does not name

# The parameters of RFC 7692 §7.1, and those of the draft.
_SERVER_FORGETS, _CLIENT_FORGETS = "server_no_context_takeover", "client_no_context_takeover"
_SERVER_BITS, _CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"
_FORGETS, _WINDOW = "no_context_takeover", "max_window_bits"
# The parameters of answers, which connections keep: all have the same.
_ANSWERS = {
    (name, bits): (name, text)
    for name in (_SERVER_BITS, _CLIENT_BITS)
    for text, bits in _BITS.items()
}


class _Deflate(Extension):
    """What both extensions have in common: how to compress, and how to read parameters."""

    rsv = RSV1

    def __init__(self, level: int | None, mem_level: int, threshold: int) -> None:
        _check("level", level, 0, 9, optional=True)
        _check("mem_level", mem_level, 1, 9)
        _check("threshold", threshold, 0)
        self.level, self.mem_level, self.threshold = level, mem_level, threshold
        # By bits: compressors that have forgotten, for any connection's next message.
        self.idle: dict[int, _Compress] = {}

    def compressor(self, bits: int) -> _Compress:
        """Return a new compressor with a window of `bits`."""
        if _COLLECT:
            _take((1 << (bits + 2)) + (1 << (self.mem_level + 9)))
        # zlib cannot compress with 8. With this strategy it refers to nothing but the byte
        # before, so that a window of any size will do.
        strategy = _RLE if bits == 8 else zlib.Z_DEFAULT_STRATEGY
        wbits = -max(bits, 9)
        level = -1 if self.level is None else self.level
        return zlib.compressobj(level, zlib.DEFLATED, wbits, self.mem_level, strategy)

    def _read(self, params: Params, bare: set[str], valued: set[str]) -> dict[str, int]:
        """Return the parameters by name, as bits: 15, which limits nothing, for one by itself.

        Raises:
            ValueError: One may not be there, by itself (`bare`) or with its value (`valued`).
        """
        found: dict[str, int] = {}
        for name, value in params:
            shown = name if value is None else f"{name}={value}"
            if name in found:
                raise ValueError(f"{self.name}: parameter {name} comes twice")
            if name not in (bare if value is None else valued):
                raise ValueError(f"{self.name}: {shown[:48]} is not a parameter of it")
            if value is not None and value not in _BITS:
                raise ValueError(f"{self.name}: {shown[:48]}, not 8 to 15")
            found[name] = _MAX_BITS if value is None else _BITS[value]
        return found


class _DeflateCodec(Codec):
    """Compresses one way and inflates the other.

    Args:
        deflate: The extension.
        ours: Bits of the window that this side may use, and whether it forgets each message.
        theirs: The same of the other side.
    """

    _compressor: _Compress | None = None
    _inflater: _Decompress | None = None

    def __init__(
        self, deflate: _Deflate, ours: tuple[int, bool], theirs: tuple[int, bool]
    ) -> None:
        self._deflate = deflate
        self._bits, self._forgets = ours
        self._their_bits, self._they_forget = theirs
        if self._forgets:
            how = deflate.level, deflate.mem_level, deflate.threshold
            self.key = (deflate.name, self._bits, *how)

    def encode(self, data: bytes, final: bool) -> bytes:
        """Return the compressed form of a part (RFC 7692 §7.2.1)."""
        compressor = self._compressor
        last = final and self._forgets
        if not data and not (last and compressor):
            # "an empty uncompressed DEFLATE block can be built and used" (RFC 7692 §7.2.3.6)
            return _EMPTY if final else b""
        if compressor is None:
            # Taken out while it is in use: connections in several threads may have one
            # extension, and nothing of one message may come out with another.
            idle = self._deflate.idle.pop(self._bits, None) if self._forgets else None
            compressor = self._compressor = idle or self._deflate.compressor(self._bits)
        packed = compressor.compress(data)
        packed += compressor.flush(Z_FULL_FLUSH if last else Z_SYNC_FLUSH)
        if last:  # nothing refers back across a full flush
            self._compressor = None
            self._deflate.idle[self._bits] = compressor
        return packed[:-4] if final else packed

    def decode(self, data: bytes, final: bool) -> Iterable[bytes]:
        """Return what a part stands for, in pieces of at most 64 KiB (RFC 7692 §7.2.2)."""
        if len(data) > _STEP:
            return self._pieces(b"", data, final)
        piece, rest = self._inflate(data)
        if rest is not None:
            return self._pieces(piece, rest, final)
        # Most messages end here, without a generator, which would cost 0.4 us.
        if final:
            self._end()
        return (piece,) if piece else ()

    def _pieces(self, piece: bytes, data: bytes, final: bool) -> Iterator[bytes]:
        """Yield a first piece, and then what `data` holds; zlib may hold more without any."""
        if piece:
            yield piece
        streams = _STREAMS + len(data) // 256
        for start in range(0, len(data) or 1, _STEP):
            rest: bytes | None = data[start : start + _STEP]
            while rest is not None:
                piece, rest = self._inflate(rest)
                if piece:
                    yield piece
                if self._inflater is None:
                    streams -= 1
                    if streams < 0:
                        raise ProtocolError(1008, "compressed data in too many streams")
        if final:
            self._end()

    def _inflate(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the next piece, and what to go on with; `None` if nothing more can come."""
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = _decompressor(self._their_bits)
        try:
            piece = inflater.decompress(data, _PIECE)
        except zlib.error as error:
            raise _invalid(error) from None
        return piece, self._rest(inflater, piece)

    def _rest(self, inflater: _Decompress, piece: bytes) -> bytes | None:
        """Return what to go on with behind a piece; `None` if nothing more can come."""
        if inflater.eof:
            # A block with BFINAL=1, as some flush with (RFC 7692 §7.2.3.4): the next one begins
            # a stream. One that refers back into this one is an error to zlib's own users, too.
            self._inflater = None
            return inflater.unused_data or None
        return inflater.unconsumed_tail if len(piece) == _PIECE else None

    def _end(self) -> None:
        """Put back what ends a message, and see that it has ended there."""
        inflater = self._inflater or _decompressor(self._their_bits)
        # The last block may have BFINAL=1 itself; then it ends with the tail.
        try:
            if self._they_forget:
                beyond = inflater.decompress(_LAST, 1)
                ended = inflater.eof and len(inflater.unused_data) in _BEHIND_LAST
            else:
                beyond = inflater.decompress(_END, 1)
                ended = not inflater.eof or len(inflater.unused_data) == _BEHIND_END
        except zlib.error:
            raise InvalidPayload(_CUT) from None
        if beyond or not ended:
            raise InvalidPayload(_CUT)
        self._inflater = None if inflater.eof else inflater


class _MessageCodec(_DeflateCodec):
    """permessage-deflate on one connection (RFC 7692 §7.2)."""

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        """Return RSV1 for a message that is to be compressed (RFC 7692 §6.1)."""
        if compress is None:
            compress = size is None or size >= self._deflate.threshold
        return RSV1 if compress else None

    def begin_decode(self, opcode: int, rsv: int) -> bool:
        """Return whether RSV1 says that the message is compressed (RFC 7692 §6.2)."""
        return rsv & RSV1 != 0

    def encode_whole(
        self, opcode: int, data: bytes, compress: bool | None
    ) -> tuple[int, bytes] | None:
        """Do what `begin_encode` and `encode` do, with one call for two. Hot."""
        if not (len(data) >= self._deflate.threshold if compress is None else compress):
            return None
        compressor = self._compressor
        if compressor is None or self._forgets or not data:
            return RSV1, self.encode(data, True)
        packed = compressor.compress(data) + compressor.flush(Z_SYNC_FLUSH)
        return RSV1, packed[:-4]

    def decode_whole(
        self, opcode: int, rsv: int, data: bytes
    ) -> bytes | Iterator[bytes] | None:
        """Do what `begin_decode` and `decode` do, with one call for four. Hot."""
        if not rsv & RSV1:
            return None
        if len(data) > _STEP:
            return self._pieces(b"", data, True)
        inflater = self._inflater
        if inflater is None:
            bits = self._their_bits
            inflater = _decompressor(bits) if _COLLECT else zlib.decompressobj(-bits)
            self._inflater = inflater
        try:
            piece = inflater.decompress(data, _PIECE)
        except zlib.error as error:
            raise _invalid(error) from None
        if inflater.eof or len(piece) == _PIECE:
            return self._pieces(piece, self._rest(inflater, piece) or b"", True)
        self._end()
        return piece


class PerMessageDeflate(_Deflate):
    """The extension permessage-deflate, which compresses messages (RFC 7692).

    Args:
        server_max_window_bits: Bits of the largest window that the server may compress with, 8
            to 15. `None`, the default, is 12 as a server; as a client it leaves that to the
            server, as browsers do: some servers cannot answer an offer that has it. As a client
            a number is a condition: a server that accepts without it fails the handshake.
        client_max_window_bits: The same for the client's messages. `None`, the default, is 12,
            as a server only if the client lets itself be told; if it does not, 15.
        server_no_context_takeover: Whether the server is to forget each message: larger on the
            wire, but without a compressor of its own for each connection; a message to many is
            compressed once. As a client it is a condition.
        client_no_context_takeover: Whether the client is to forget each message.
        level: 0, not at all, to 9, most; `None`, the default, is zlib's, 6. 1 takes two thirds
            of its time, and gives more bytes.
        mem_level: Memory of a compressor besides its window, 1 to 9; each doubles it. 5, the
            default: with windows of 12 bits a connection costs 38 KiB for compressing and 12
            for inflating; zlib's own 8, with 15 bits, 262 and 40.
        threshold: Bytes of a message below which it is not compressed, unless its sender says
            so. 256, the default: a shorter one hardly shrinks, and is one packet anyway.

    Raises:
        TypeError: A number is not an `int`.
        ValueError: A number is too small or too large.
    """

    name = "permessage-deflate"

    def __init__(
        self,
        *,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        level: int | None = None,
        mem_level: int = 5,
        threshold: int = 256,
    ) -> None:
        super().__init__(level, mem_level, threshold)
        _check(_SERVER_BITS, server_max_window_bits, 8, _MAX_BITS, optional=True)
        _check(_CLIENT_BITS, client_max_window_bits, 8, _MAX_BITS, optional=True)
        self._server_bits, self._client_bits = server_max_window_bits, client_max_window_bits
        self._server_forgets = server_no_context_takeover
        self._client_forgets = client_no_context_takeover

    def offers(self) -> Iterable[Params]:
        """Return the one offer of a client (RFC 7692 §7.1)."""
        offer = self._forgetting(self._server_forgets, self._client_forgets)
        server, client = self._server_bits or _MAX_BITS, self._client_bits or _MAX_BITS
        if server < _MAX_BITS:
            offer.append((_SERVER_BITS, str(server)))
        # "a client informs the peer server that the client supports the
        # "client_max_window_bits" extension parameter in an extension negotiation response"
        # (RFC 7692 §7.1.2.2): without it, no answer may have it.
        offer.append((_CLIENT_BITS, str(client) if client < _MAX_BITS else None))
        return [offer]

    def agree(self, answer: Params) -> Codec:
        """Return the codec for an answer, if it is one to the offer (RFC 7692 §5.1, §7.1)."""
        flags = {_SERVER_FORGETS, _CLIENT_FORGETS}
        agreed = self._read(answer, flags, {_SERVER_BITS, _CLIENT_BITS})
        # "A server accepts an extension negotiation offer that includes the
        # "server_no_context_takeover" extension parameter by including" it (RFC 7692 §7.1.1.1)
        if self._server_forgets and _SERVER_FORGETS not in agreed:
            raise ValueError(f"{self.name}: {_SERVER_FORGETS} was offered, but not accepted")
        # "with the same or smaller value as the offer" (RFC 7692 §7.1.2.1)
        theirs = agreed.get(_SERVER_BITS, _MAX_BITS)
        if theirs > (self._server_bits or _MAX_BITS):
            answered = agreed.get(_SERVER_BITS, "nothing")
            offered = f"{_SERVER_BITS}={self._server_bits}"
            raise ValueError(f"{self.name}: {offered} was offered, {answered} answered")
        # A larger one is no fault, nor is none: "the client is not going to use an LZ77 sliding
        # window size greater than the size specified by the value" offered (RFC 7692 §7.1.2.2).
        ours = min(self._client_bits or _DEFAULT_BITS, agreed.get(_CLIENT_BITS, _MAX_BITS))
        forgets = self._client_forgets or _CLIENT_FORGETS in agreed
        return _MessageCodec(self, (ours, forgets), (theirs, _SERVER_FORGETS in agreed))

    def answer(self, offer: Params) -> tuple[Params, Codec] | None:
        """Answer a client's offer (RFC 7692 §7.1)."""
        bare = {_SERVER_FORGETS, _CLIENT_FORGETS, _CLIENT_BITS}
        # "A server MUST decline an extension negotiation offer for this extension if" it has a
        # parameter "not defined for use in an offer", one "with an invalid value", or "multiple
        # extension parameters with the same name" (RFC 7692 §7).
        try:
            offered = self._read(offer, bare, {_SERVER_BITS, _CLIENT_BITS})
        except ValueError:
            return None
        forgets = self._server_forgets or _SERVER_FORGETS in offered
        # Of the client this is "a hint" that it will forget (RFC 7692 §7.1.1.2): to answer with
        # it holds it to that, and spares its counterpart here.
        they_forget = self._client_forgets or _CLIENT_FORGETS in offered
        answer = self._forgetting(forgets, they_forget)
        ours = min(self._server_bits or _DEFAULT_BITS, offered.get(_SERVER_BITS, _MAX_BITS))
        theirs = _MAX_BITS
        if ours < _MAX_BITS or _SERVER_BITS in offered:
            answer.append(_ANSWERS[_SERVER_BITS, ours])
        # "If a received extension negotiation offer doesn't have the "client_max_window_bits"
        # extension parameter, the corresponding extension negotiation response to the offer
        # MUST NOT include the "client_max_window_bits" extension parameter" (§7.1.2.2)
        if _CLIENT_BITS in offered:
            theirs = min(self._client_bits or _DEFAULT_BITS, offered[_CLIENT_BITS])
            if theirs < _MAX_BITS:
                answer.append(_ANSWERS[_CLIENT_BITS, theirs])
        return answer, _MessageCodec(self, (ours, forgets), (theirs, they_forget))

    def _forgetting(self, server: bool, client: bool) -> list[tuple[str, str | None]]:
        flags = (_SERVER_FORGETS, server), (_CLIENT_FORGETS, client)
        return [(name, None) for name, given in flags if given]


class _FrameCodec(_DeflateCodec):
    """deflate-frame on one connection: each frame is compressed by itself."""

    _wish: bool | None = None

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        """Note the wish of a message's sender, and leave the message to its frames."""
        self._wish = compress
        return super().begin_encode(opcode, size, compress)

    def encode_frame(self, frame: Frame) -> Frame:
        """Compress a frame, unless it is short, not to be compressed, or has RSV1 already."""
        compress = self._wish
        if compress is None:
            compress = len(frame.payload) >= self._deflate.threshold
        if compress and not frame.rsv1:
            frame.payload = self.encode(frame.payload, final=True)
            frame.rsv1 = True
        return frame

    def decode_frame(self, frame: Frame, limit: int) -> Frame:
        """Inflate a frame that RSV1 marks as compressed, if it has no more than `limit`."""
        if frame.rsv1:
            pieces, size = [], 0
            for piece in self.decode(frame.payload, final=True):
                size += len(piece)
                if size > limit:
                    raise MessageTooBig(size, limit)
                pieces.append(piece)
            frame.payload = b"".join(pieces)
            frame.rsv1 = False
        return frame


class DeflateFrame(_Deflate):
    """The extension deflate-frame, which compresses frames; permessage-deflate replaced it.

    It is draft-tyoshino-hybi-websocket-perframe-deflate-06, for old peers alone. In the draft
    each side says what the other has to keep to.

    Args:
        name: `deflate-frame`, or `x-webkit-deflate-frame`, as old versions of Safari call it.
        max_window_bits: Bits of the largest window that either side may compress with, 8 to 15.
            `None`, the default, asks nothing of the other side, and compresses with 12.
        no_context_takeover: Whether both sides are to forget each frame.
        level: As for `PerMessageDeflate`.
        mem_level: As for `PerMessageDeflate`.
        threshold: Bytes of a frame below which it is not compressed.

    Raises:
        TypeError: A number is not an `int`.
        ValueError: A number is too small or too large, or the name is another one.
    """

    def __init__(
        self,
        name: str = "deflate-frame",
        *,
        max_window_bits: int | None = None,
        no_context_takeover: bool = False,
        level: int | None = None,
        mem_level: int = 5,
        threshold: int = 256,
    ) -> None:
        super().__init__(level, mem_level, threshold)
        if name not in ("deflate-frame", "x-webkit-deflate-frame"):
            raise ValueError(f"name {name!r}, not deflate-frame or x-webkit-deflate-frame")
        self.name = name
        _check(_WINDOW, max_window_bits, 8, _MAX_BITS, optional=True)
        self._bits, self._forgets = max_window_bits, no_context_takeover

    def offers(self) -> Iterable[Params]:
        """Return the one offer of a client: what the server has to keep to."""
        return [self._asked()]

    def agree(self, answer: Params) -> Codec:
        """Return the codec for a server's answer, which is what this client has to keep to."""
        asked = self._read(answer, {_FORGETS}, {_WINDOW})
        ours = min(self._bits or _DEFAULT_BITS, asked.get(_WINDOW, _MAX_BITS))
        theirs = self._bits or _MAX_BITS
        forgets = self._forgets or _FORGETS in asked
        return _FrameCodec(self, (ours, forgets), (theirs, self._forgets))

    def answer(self, offer: Params) -> tuple[Params, Codec] | None:
        """Answer a client's offer: keep to it, and say what the client has to keep to."""
        try:
            return self._asked(), self.agree(offer)
        except ValueError:
            return None

    def _asked(self) -> Params:
        asked: list[tuple[str, str | None]] = []
        if (self._bits or _MAX_BITS) < _MAX_BITS:
            asked.append((_WINDOW, str(self._bits)))
        if self._forgets:
            asked.append((_FORGETS, None))
        return asked


def _invalid(error: zlib.error) -> InvalidPayload:
    detail = str(error).rpartition(": ")[2]
    return InvalidPayload(f"compressed data: {detail} (RFC 1951 §3.2.3)")


def _decompressor(bits: int) -> _Decompress:
    if _COLLECT:
        _take((1 << bits) + 8192)
    return zlib.decompressobj(-bits)


def _take(size: int) -> None:
    global _taken
    _taken += size
    if _taken > _COLLECT:
        _taken = 0
        gc.collect()


def _check(
    name: str, value: Any, least: int, most: int | None = None, optional: bool = False
) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}, not an int")
    if value < least or (most is not None and value > most):
        allowed = "or more" if most is None else f"to {most}"
        raise ValueError(f"{name}={value}, not {least} {allowed}")
