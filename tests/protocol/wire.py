"""Frames made and read by hand, right or wrong, without the package: what tests put on the
wire, and a reader of what comes back."""

from __future__ import annotations

KEY = b"\x37\xfa\x21\x3d"


def xor(data: bytes, key: bytes) -> bytes:
    """The definition of masking in RFC 6455 §5.3, octet by octet."""
    return bytes(octet ^ key[at % 4] for at, octet in enumerate(data))


def header(head: int, length: int, form: int | None = None, mask_bit: int = 0x80) -> bytes:
    """Return a header; `form` 7, 16 or 64 is how many bits give the length, minimal or not."""
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    if form == 7:
        return bytes((head, mask_bit | length))
    if form == 16:
        return bytes((head, mask_bit | 126)) + length.to_bytes(2, "big")
    return bytes((head, mask_bit | 127)) + length.to_bytes(8, "big")


def masked(head: int, payload: bytes = b"", key: bytes = KEY, form: int | None = None) -> bytes:
    """Return a frame from a client."""
    return header(head, len(payload), form) + key + xor(payload, key)


def unmasked(head: int, payload: bytes = b"", form: int | None = None) -> bytes:
    """Return a frame from a server."""
    return header(head, len(payload), form, 0) + payload


def read_frame(data: bytes) -> tuple[int, bool, bytes, bytes]:
    """Return first byte, whether masked, payload, and what follows the frame."""
    head, second, length, at = data[0], data[1], data[1] & 0x7F, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    key = data[at : at + 4] if second & 0x80 else b""
    at += len(key)
    payload, rest = data[at : at + length], data[at + length :]
    if len(payload) < length:
        raise ValueError("a frame that is cut")
    return head, bool(key), xor(payload, key) if key else payload, rest
