"""What is fuzzed of messages that are compressed: see `targets.py`."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from reactor.errors import ProtocolError
from reactor.protocol.deflate import DeflateFrame, PerMessageDeflate
from reactor.protocol.extended import ExtendedSession
from reactor.protocol.extensions import Codec, Extension
from reactor.protocol.frames import RSV2, Frame, Opcode

from ..protocol.recorder import Recorder, byte_by_byte, cut_at_random, held
from ..protocol.wire import masked
from .extension_targets import SERVER_BITS, SERVER_FORGETS
from .targets import LEFT, PARSER_TOKENS, SINGLY, Finding, Target, chance, check_events, sign

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from reactor.protocol.session import State

# ---- inflating ----

SEPARATOR = b"//"
TAIL = b"\x00\x00\xff\xff"
# "Hello" (RFC 7692 §7.2.3.1), which refers to nothing before it.
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
# Of more than so much the caller says that it is too big.
MOST = 200_000
# The streams, as BFINAL ends them, that a part may always have; of more it may be refused.
STREAMS = 16
# What a codec makes of messages: the first ones, and whether all of them.
Inflated = tuple[list[bytes], bool]


def new_decoder(bits: int, forgets: bool) -> Codec:
    deflate = PerMessageDeflate(server_max_window_bits=bits, server_no_context_takeover=forgets)
    answer: list[tuple[str, str | None]] = [(SERVER_BITS, str(bits))]
    if forgets:
        answer.append((SERVER_FORGETS, None))
    return deflate.agree(answer)


def decoded(codec: Codec, parts: Iterable[tuple[bytes, bool]]) -> bytes | None:
    """Return a message from its parts; `None` if it is refused."""
    pieces: list[bytes] = []
    size = 0
    try:
        for part, final in parts:
            for piece in codec.decode(part, final):
                size += len(piece)
                if len(piece) > 64 * 1024:
                    raise Finding(f"a piece of {len(piece)} bytes")
                if size > MOST:
                    return None
                pieces.append(piece)
    except Finding:
        raise
    except ProtocolError as error:
        if error.code not in (1007, 1008):
            raise Finding(f"a message was refused with {error!r}") from error
        return None
    except Exception as error:
        raise Finding(f"decoding raised {error!r}") from error
    return b"".join(pieces)


def in_parts(pieces: list[bytes], empty: bool) -> Iterator[tuple[bytes, bool]]:
    """Yield parts as frames bring them; `empty`: that it was the last is known afterwards."""
    for piece in pieces[:-1]:
        yield piece, False
    yield pieces[-1], not empty
    if empty:
        yield b"", True


def read_all(bits: int, forgets: bool, messages: list[list[bytes]], empty: bool) -> Inflated:
    codec = new_decoder(bits, forgets)
    done: list[bytes] = []
    for pieces in messages:
        message = decoded(codec, in_parts(pieces, empty))
        if message is None:
            return done, False
        done.append(message)
        # What a message was is not to be seen in the next one.
        hello = decoded(codec, [(HELLO, True)])
        if hello != b"Hello":
            raise Finding(f"behind message {len(done)}, Hello is {hello!r}")
    return done, True


class ByZlib:
    """What zlib makes of messages, asked in the plainest way, for `step` bytes at a time."""

    def __init__(self, bits: int, forgets: bool, step: int = MOST + 1) -> None:
        self.bits = bits
        self.forgets = forgets
        self.step = step
        self.streams = 0  # that have ended in this message
        self.inflater = zlib.decompressobj(-bits)

    def message(self, data: bytes) -> bytes | None:
        """Return a message; `None` if it is none, or ends inside of a block."""
        if self.forgets:
            self.inflater = zlib.decompressobj(-self.bits)
        message = bytearray()
        self.streams = 0
        # zlib copies what it has not taken, each time.
        size = 64 if self.step == 1 else len(data) or 1
        try:
            for at in range(0, len(data), size):
                self.inflate(data[at : at + size], message)
            size = len(message)
            self.inflate(TAIL, message)
        except zlib.error:
            return None
        # Whatever comes of the tail itself was not sent.
        whole = len(message) == size <= MOST and self.between_blocks()
        return bytes(message) if whole else None

    def inflate(self, data: bytes, message: bytearray) -> None:
        more = True
        while more and len(message) <= MOST:
            piece = self.inflater.decompress(data, self.step)
            message += piece
            data = self.inflater.unconsumed_tail
            more = len(piece) == self.step or bool(data)
            if self.inflater.eof:
                data = self.inflater.unused_data
                more = bool(data)
                self.streams += 1
                self.inflater = zlib.decompressobj(-self.bits)

    def between_blocks(self) -> bool:
        # The shortest of all last blocks ends the stream only where a block may begin.
        probe = self.inflater.copy()
        try:
            return probe.decompress(b"\x03\x00") == b"" and probe.eof and not probe.unused_data
        except zlib.error:
            return False


def by_zlib(bits: int, forgets: bool, messages: list[bytes], step: int = MOST + 1) -> Inflated:
    reader = ByZlib(bits, forgets, step)
    done: list[bytes] = []
    for data in messages:
        message = reader.message(data)
        if message is None:
            return done, False
        done.append(message)
        reader.message(HELLO)
    return done, True


def has_many_streams(bits: int, forgets: bool, messages: list[bytes]) -> bool:
    reader = ByZlib(bits, forgets)
    for data in messages:
        reader.message(data)
        if reader.streams > STREAMS:
            return True
        reader.message(HELLO)
    return False


def reaches_too_far(bits: int, forgets: bool, messages: list[bytes]) -> bool:
    """Whether data goes back by more than its window.

    zlib sees that only where what is meant is no longer in the buffer that it fills. So whether
    such data is refused depends on the pieces; byte by byte it always is.
    """
    return by_zlib(bits, forgets, messages, 1) != by_zlib(15, forgets, messages)


def run_inflate(data: bytes) -> Hashable:
    """The first byte chooses the window; the rest are messages, with `//` between them."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    bits, forgets, empty = 8 + (options & 7), bool(options & 8), bool(options & 16)
    messages = stream.split(SEPARATOR)[:6]
    one = read_all(bits, forgets, [[message] for message in messages], empty)
    cuts = chance(data)
    ways = [[cut_at_random(message, cuts) for message in messages] for _ in range(2)]
    if len(stream) <= SINGLY:
        ways.append([byte_by_byte(message) or [b""] for message in messages])
    expected = by_zlib(bits, forgets, messages)
    for way in ways:
        other = read_all(bits, forgets, way, empty)
        if not other == one == expected:
            if has_many_streams(bits, forgets, messages):
                return "streams"
            if reaches_too_far(bits, forgets, messages):
                return "too far"
            sizes = [[len(piece) for piece in pieces[:40]] for pieces in way]
            raise Finding(
                f"pieces of {sizes}: {short(other)}\nwhole: {short(one)}\n"
                f"by zlib itself: {short(expected)}"
            )
    done, whole = one
    longest = max((len(message).bit_length() for message in done), default=-1)
    return bits, forgets, empty, whole, len(done), longest


def short(inflated: Inflated) -> str:
    done, whole = inflated
    shown = ", ".join(f"{len(message)} bytes {message[:9]!r}" for message in done)
    return f"{shown or 'nothing'}{'' if whole else ', and then refused'}"


def packed(*messages: bytes, bits: int = 15) -> list[bytes]:
    """Return messages as one compressor packs them, one after the other."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return [
        (deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        for message in messages
    ]


def inflate_seeds() -> list[bytes]:
    examples = [
        # RFC 7692 §7.2.3: fixed, sharing a window, stored, last, in two blocks, and empty.
        HELLO + SEPARATOR + HELLO,
        HELLO + SEPARATOR + bytes.fromhex("f2 00 11 00 00"),
        bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00"),
        bytes.fromhex("f3 48 cd c9 c9 07 00 00"),
        bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"),
        b"\x00" + SEPARATOR + b"\x00",
        # Last blocks in a row, one that ends with the tail, and what is cut.
        b"\x03\x00" * 5 + b"\x00" + SEPARATOR + HELLO,
        b"\x03\x00" * 40 + b"\x00",
        b"\x01" + SEPARATOR + HELLO,
        HELLO[:-2],
        b"",
        bytes.fromhex("00 05 00 fa ff 48"),
    ]
    said = [bytes(range(256)) * 6, b"to be or not " * 90, bytes(70_000), b"a" * 300]
    for bits in (9, 12, 15):
        compressed = packed(*said, bits=bits)
        examples.append(SEPARATOR.join(compressed))
        examples.append(SEPARATOR.join(compressed[1:2] * 2))
    return [bytes((options,)) + each for each in examples for options in (4, 7, 12, 23, 25)]


INFLATE_TOKENS = [
    *(TAIL, b"\x00" + TAIL, b"\x01" + TAIL, b"\x03\x00", b"\x02\x00", b"\x00", SEPARATOR),
    *(HELLO, b"\xf2\x00\x11\x00\x00", b"\x00\x01\x00\xfe\xffa", b"\x04", b"\x05", b"\x06"),
]

# ---- a stream of frames, with extensions ----

LIMIT, FRAGMENTS = 3000, 50


class Own(Extension):
    """Claims a bit of each frame, and frames of its own."""

    name = "own"
    rsv = RSV2
    opcodes = (0x3, 0xB)


class Swallows(Codec):
    """Sees each frame, and keeps those of its own."""

    def decode_frame(self, frame: Frame, limit: int) -> Frame | None:
        return None if frame.opcode > Opcode.BINARY else frame


def agreed(*extensions: Extension) -> list[Codec]:
    codecs: list[Codec] = []
    for extension in extensions:
        accepted = extension.answer(())
        codec = accepted[1] if accepted else Swallows()
        codec.extension = extension
        codecs.append(codec)
    return codecs


class ExtendedRecorder(Recorder):
    """Holds a session with extensions."""

    def __init__(self, options: int) -> None:
        self._options = options
        super().__init__(
            max_message=LIMIT,
            max_fragments=FRAGMENTS,
            stop=("part", "message") if options & 8 else (),
            echo=False,
            in_parts=bool(options & 4),
        )

    def make(self, **options: Any) -> ExtendedSession:
        forgets = PerMessageDeflate(client_no_context_takeover=True)
        codecs = (
            agreed(PerMessageDeflate()),
            agreed(forgets, Own()),
            agreed(DeflateFrame()),
            agreed(Own(), DeflateFrame()),
        )[self._options & 3]
        return ExtendedSession(self, codecs, **options)

    @property
    def gist(self) -> tuple[list[Any], Any, State]:
        """What must not depend on the pieces.

        Of two faults in the same data, it depends on them which is seen first; and of a message
        with a fault, which parts were handed on before.
        """
        events, rest = self.joined
        failed = bool(events) and events[-1][0] == "violated"
        if failed and events[-1][1] in (1007, 1008, 1009):
            events[-1] = ("violated", "a message")
            events = [event for event in events if event[:2] != ("sent", 0x88)]
        return events, b"" if failed else rest, self.session.state


def fed(options: int, pieces: Iterable[bytes]) -> ExtendedRecorder:
    recorder = ExtendedRecorder(options)
    session = recorder.session
    assert isinstance(session, ExtendedSession)
    for piece in pieces:
        try:
            recorder.feed(piece)
        except Exception as error:
            raise Finding(f"feeding raised {error!r} after {recorder.events[-3:]}") from error
        if session._rest is not None:
            raise Finding(f"nothing is said of what is left, after {recorder.events[-3:]}")
        frame = len(session._gathered or b"")
        if frame > 2 * LIMIT or held(session) - frame > LIMIT + LEFT:
            raise Finding(f"{held(session)} bytes, {frame} of a frame, are kept, limit {LIMIT}")
    check_events(recorder, LIMIT)
    return recorder


def run_extended(data: bytes) -> Hashable:
    """The first byte chooses the extensions; the rest is what a client sends."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    one = fed(options, [stream])
    cuts = chance(data)
    ways = [cut_at_random(stream, cuts), cut_at_random(stream, cuts)]
    if len(stream) <= SINGLY:
        ways.append(byte_by_byte(stream))
    for pieces in ways:
        other = fed(options, pieces)
        if other.gist != one.gist:
            sizes = [len(piece) for piece in pieces[:40]]
            raise Finding(f"pieces of {sizes}:\n  {other.gist}\nwhole:\n  {one.gist}")
    return tuple(sign(event) for event in one.events[-6:])


TEXT, MORE, ZEROS = packed(b"Hello" * 30, "κόσμε☃😀".encode() * 20, bytes(LIMIT - 4))


def extended_seeds() -> list[bytes]:
    (bomb,) = packed(bytes(200_000))
    (large,) = packed(bytes(70 * 64 * 1024))
    streams = [
        masked(0xC1, TEXT) + masked(0xC1, MORE) + masked(0xC2, ZEROS),
        masked(0x41, TEXT[:5])
        + masked(0x89, b"p")
        + masked(0x00, TEXT[5:7])
        + masked(0x80, TEXT[7:]),
        masked(0x81, b"plain") + masked(0xC1, TEXT) + masked(0x88, b"\x03\xe8"),
        masked(0x41, TEXT[:5]) + masked(0xC0, TEXT[5:]),
        masked(0x41, TEXT) + masked(0xC0, MORE) + masked(0x80),
        masked(0x83, b"own")
        + masked(0xA1, b"a")
        + masked(0x21, b"b")
        + masked(0x8B)
        + masked(0xA0),
        masked(0xC2, bomb) + masked(0x89, b"p"),
        masked(0xC2, large) + masked(0x89, b"p"),
        masked(0xC1, TEXT[:-2]) + masked(0xC1, TEXT),
        masked(0x42, b"") + 60 * masked(0x00, b""),
    ]
    return [bytes((options,)) + stream for stream in streams for options in range(16)]


EXTENDED_TOKENS = [
    *PARSER_TOKENS,
    *(masked(head, TEXT, bytes(4)) for head in (0xC1, 0x41, 0xC0)),
    *(masked(head, b"", bytes(4)) for head in (0xC1, 0x41, 0x8B, 0x83, 0xA1, 0x20)),
    masked(0xC2, ZEROS, bytes(4)),
]

TARGETS = {
    "inflate": Target(run_inflate, inflate_seeds(), INFLATE_TOKENS),
    "extended": Target(run_extended, extended_seeds(), EXTENDED_TOKENS),
}
