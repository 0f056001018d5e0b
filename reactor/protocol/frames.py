"""One frame <-> bytes, incrementally (RFC 6455 §5.2).

```text
 0               1               2               3
 7 6 5 4 3 2 1 0 7 6 5 4 3 2 1 0 7 6 5 4 3 2 1 0 7 6 5 4 3 2 1 0
+-+-+-+-+-------+-+-------------+-------------------------------+
|F|R|R|R| opcode|M| length      | length, 16 or 64 bits,        |
|I|S|S|S|       |A| 0-125, or   | if those 7 bits say           |
|N|V|V|V|       |S| 126 or 127  | 126 or 127                    |
| |1|2|3|       |K|             |                               |
+-+-+-+-+-------+-+-------------+-------------------------------+
| masking key, 4 bytes, if MASK | payload, XORed with the key   |
+-------------------------------+-------------------------------+
```
"""

from __future__ import annotations

from .masking import REPEAT, apply_mask, new_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Union

    from .codes import CloseCode as CloseCode
    from .codes import Opcode as Opcode

    BytesLike = Union[bytes, bytearray, memoryview]

# `codes.Opcode`, as plain numbers.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
MASK = 0x80
MAX_CONTROL = 125  # bytes of payload (RFC 6455 §5.5)

# The most bytes of a payload whose size stands in the second byte of its header, and those
# headers, unmasked: a table costs a third of `bytes((head, n))`, and is cut from one string in
# a fifth of the time.
MAX_SHORT = 125


def _headers(head: int) -> tuple[bytes, ...]:
    whole = bytearray(2 * (MAX_SHORT + 1))
    whole[::2], whole[1::2] = bytes((head,)) * (MAX_SHORT + 1), bytes(range(MAX_SHORT + 1))
    together = bytes(whole)
    return tuple([together[at : at + 2] for at in range(0, len(together), 2)])


TEXT_HEADERS, BINARY_HEADERS = _headers(0x81), _headers(0x82)
# The same for masked frames, with four zeros in the place of the key.
MASKED_TEXT_HEADERS, MASKED_BINARY_HEADERS = (
    tuple(bytes((head, MASK | length, 0, 0, 0, 0)) for length in range(MAX_SHORT + 1))
    for head in (0x81, 0x82)
)
# For each size of payload: what a key is multiplied by, so that it stands in its place and over
# the payload; the bytes of the frame, rounded up to whole keys; and which of them it has.
_MASKED = tuple(
    (REPEAT[(length + 7) >> 2] << 16, 2 + (length + 7 & ~3), slice(6 + length))
    for length in range(MAX_SHORT + 1)
)
_from_bytes = int.from_bytes


def pack_header(head: int, length: int, mask_bit: int = 0) -> bytes:
    """Return the header of a frame, without its masking key.

    Args:
        head: The first byte: FIN, RSV bits, opcode.
        length: Bytes of the payload.
        mask_bit: `MASK` for a frame to a server, else 0.
    """
    if length < 126:
        return bytes((head, mask_bit | length))
    if length < 0x10000:
        return bytes((head, mask_bit | 126, length >> 8, length & 0xFF))
    return bytes((head, mask_bit | 127)) + length.to_bytes(8, "big")


def pack_frame(head: int, payload: bytes, masked: bool) -> bytes:
    """Return a frame, ready to be sent.

    Args:
        head: The first byte: FIN, RSV bits, opcode.
        payload: The payload, not masked.
        masked: Whether to mask it, as "a client MUST" and "a server MUST NOT" (RFC 6455 §5.1).
    """
    length = len(payload)
    if masked:
        if length <= MAX_SHORT:
            return pack_short(bytes((head, MASK | length, 0, 0, 0, 0)), payload)
        return b"".join(pack_apart(head, payload, True))
    if MAX_SHORT < length < 0x10000:  # as in `pack_header`, without its call
        return bytes((head, 126, length >> 8, length & 0xFF)) + payload
    return pack_header(head, length) + payload


def pack_apart(head: int, payload: bytes, masked: bool) -> tuple[bytes, bytes | bytearray]:
    """Return a frame in two pieces, of which the second is all of its payload.

    Args:
        head: The first byte: FIN, RSV bits, opcode.
        payload: The payload, not masked.
        masked: As for `pack_frame`.
    """
    if not masked:
        return pack_header(head, len(payload)), payload
    key = new_key()
    return pack_header(head, len(payload), MASK) + key, apply_mask(payload, key)


def pack_short(header: bytes, payload: bytes) -> bytes:
    """Return a masked frame. Hot.

    Args:
        header: Its header, with four zeros in the place of the key.
        payload: The payload, not masked; at most 125 bytes.
    """
    repeat, width, whole = _MASKED[len(payload)]
    # One integer for all of it, as in the parser: the zeros become the key.
    frame = _from_bytes(header + payload, "little") ^ next(new_key.numbers) * repeat
    return frame.to_bytes(width, "little")[whole]


def as_bytes(data: object) -> bytes:
    """Return `data` as bytes.

    Raises:
        TypeError: It is not bytes-like, or a view of other items than bytes.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        # A view of wider items has as many items as its length says, and more bytes: whoever
        # confuses the two sends what the caller did not mean, or memory beyond it.
        if isinstance(data, memoryview) and (data.itemsize != 1 or not data.c_contiguous):
            raise TypeError("a memoryview must be contiguous and of bytes")
        return bytes(data)
    raise TypeError(f"{type(data).__name__}, not bytes, bytearray or memoryview")


def pack_message(message: str | BytesLike, masked: bool) -> bytes:
    """Return a message as one frame, ready to be sent.

    Args:
        message: `str` goes as text, bytes-like as binary.
        masked: As for `pack_frame`.

    Raises:
        TypeError: It is neither `str` nor bytes-like.
        ValueError: The `str` holds a surrogate, which has no UTF-8.
    """
    if isinstance(message, str):
        head, payload = 0x81, message.encode()
    else:
        head, payload = 0x82, as_bytes(message)
    return pack_frame(head, payload, masked)


class Frame:
    """One frame, as a value (RFC 6455 §5.2).

    Messages do not become frames of this class on their way: it is for those who handle frames
    themselves, and for tests.

    Args:
        opcode: What it is; any of `Opcode`, or a reserved one between 0 and 15.
        payload: The payload, not masked.
        fin: Whether it is the last frame of its message.
        rsv1: Reserved for extensions.
        rsv2: Reserved for extensions.
        rsv3: Reserved for extensions.
        masking_key: The four bytes to mask it with when packed, or `b""` for no masking.

    Raises:
        TypeError: The payload is not bytes-like.
        ValueError: The opcode is not in 0 to 15, the key has another size than 0 or 4, or a
            control frame is fragmented or has over 125 bytes (RFC 6455 §5.5).
    """

    __slots__ = ("fin", "masking_key", "opcode", "payload", "rsv1", "rsv2", "rsv3")

    def __init__(
        self,
        opcode: int,
        payload: BytesLike = b"",
        *,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
        masking_key: bytes = b"",
    ) -> None:
        if not 0 <= opcode <= 15:
            raise ValueError(f"opcode {opcode}, not between 0 and 15 (RFC 6455 §5.2)")
        if len(masking_key) not in (0, 4):
            raise ValueError(f"masking key of {len(masking_key)} bytes, not 4 (RFC 6455 §5.3)")
        if opcode & 8 and not fin:
            raise ValueError("fragmented control frame (RFC 6455 §5.5)")
        if opcode & 8 and len(payload) > MAX_CONTROL:
            raise ValueError(
                f"control frame of {len(payload)} bytes, at most {MAX_CONTROL} (RFC 6455 §5.5)"
            )
        self.opcode = opcode
        self.payload = as_bytes(payload)
        self.fin = fin
        self.rsv1 = rsv1
        self.rsv2 = rsv2
        self.rsv3 = rsv3
        self.masking_key = masking_key

    @classmethod
    def of(cls, head: int, payload: bytes) -> Frame:
        """Return the frame with this first byte and payload, without a masking key.

        Raises:
            ValueError: As the class does.
        """
        return cls(
            head & 0x0F,
            payload,
            fin=bool(head & FIN),
            rsv1=bool(head & RSV1),
            rsv2=bool(head & RSV2),
            rsv3=bool(head & RSV3),
        )

    @property
    def head(self) -> int:
        """The first byte: FIN, RSV bits, opcode."""
        flags = (self.fin, FIN), (self.rsv1, RSV1), (self.rsv2, RSV2), (self.rsv3, RSV3)
        return sum(bit for flag, bit in flags if flag) | self.opcode

    def pack(self) -> bytes:
        """Return the frame's bytes, masked if it has a key."""
        key = self.masking_key
        header = pack_header(self.head, len(self.payload), MASK if key else 0)
        return header + key + (apply_mask(self.payload, key) if key else self.payload)

    def fragment(self, size: int) -> Iterator[Frame]:
        """Yield this frame's message as frames of at most `size` bytes (RFC 6455 §5.4).

        If this frame has a masking key, the first has the same, and each other a fresh one.

        Args:
            size: Bytes of payload in a frame; at least 1.

        Raises:
            ValueError: The size is less than 1, or this is a control frame; with the first.
        """
        if size < 1:
            raise ValueError(f"fragments of {size} bytes, at least 1")
        if self.opcode & 8:
            raise ValueError("a control frame is never fragmented (RFC 6455 §5.5)")
        last = max(0, (len(self.payload) - 1) // size * size)
        for at in range(0, last + 1, size):
            yield Frame(
                self.opcode if at == 0 else CONTINUATION,
                self.payload[at : at + size],
                fin=self.fin and at == last,
                # "RSV1 [...] is set only on the first fragment" (RFC 7692 §6.1), and no
                # extension known here uses the others.
                rsv1=self.rsv1 and at == 0,
                rsv2=self.rsv2 and at == 0,
                rsv3=self.rsv3 and at == 0,
                # "When preparing a masked frame, the client MUST pick a fresh masking key"
                # (RFC 6455 §5.3).
                masking_key=new_key() if self.masking_key and at else self.masking_key,
            )

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same frame, byte for byte."""
        if not isinstance(other, Frame):
            return NotImplemented
        return (self.head, self.masking_key, self.payload) == (
            other.head,
            other.masking_key,
            other.payload,
        )

    def __hash__(self) -> int:
        """Return a hash of the frame's bytes."""
        return hash((self.head, self.masking_key, self.payload))

    def __repr__(self) -> str:
        """Return the frame's flags, its size and its first 32 bytes."""
        from .codes import Opcode

        try:
            name = Opcode(self.opcode).name
        except ValueError:
            name = f"opcode {self.opcode:#x}"
        names = ("fin", "rsv1", "rsv2", "rsv3")
        flags = "".join(f" {flag}" for flag in names if getattr(self, flag))
        masked = " masked" if self.masking_key else ""
        shown = f"{self.payload[:32]!r}{'...' if len(self.payload) > 32 else ''}"
        return f"<Frame {name}{flags}{masked} {len(self.payload)} bytes {shown}>"


def __getattr__(name: str) -> Any:
    """Import what is seldom named when it is (PEP 562)."""
    if name in ("CloseCode", "Opcode"):
        from . import codes

        return getattr(codes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
