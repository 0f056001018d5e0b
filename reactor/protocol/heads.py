"""What a frame may begin with: a table of 256 entries, by its first byte (RFC 6455 §5.2).

There is one for frames between messages, `START`, and one for those inside a message,
`CONTINUED`. Extensions claim entries of them: see `tables`.
"""

from __future__ import annotations

from functools import cache

from .frames import FIN, RSV1, RSV2, RSV3

# The kinds of first byte in a table of heads. From `WHOLE` on it is that of a data frame which
# is not fragmented; `TEXT` and `BINARY` are messages as they are, in which no extension has a
# word.
ILLEGAL, FRAGMENT, CONTROL, WHOLE, TEXT, BINARY = range(6)


@cache  # as many as there are configurations
def tables(
    first: int = 0, every: int = 0, opcodes: tuple[tuple[int, int], ...] = ()
) -> tuple[bytes, bytes]:
    """Return what a frame may begin with between messages, and inside one.

    Args:
        first: The RSV bits that extensions claim for the first frame of a message, as a mask.
        every: Those that they claim for every data frame.
        opcodes: The reserved opcodes that they claim, for frames that are not fragmented, each
            with the RSV bits that such a frame may have.
    """
    control = {FIN | opcode: CONTROL for opcode in (0x8, 0x9, 0xA)}
    start = {0x81: WHOLE, 0x82: WHOLE, 0x01: FRAGMENT, 0x02: FRAGMENT}
    between, inside = dict(control), dict(control)
    # "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values"
    # (RFC 6455 §5.2, RSV); "All control frames [...] MUST NOT be fragmented" (§5.5): whatever
    # is not named here is illegal.
    for bits in range(0, 0x80, RSV3):
        if not bits & ~(first | every):
            between.update({bits | head: kind for head, kind in start.items()})
        if not bits & ~every:
            inside.update({bits | FIN: FRAGMENT, bits: FRAGMENT})
        for opcode, rsv in opcodes:
            if not bits & ~rsv:
                between[bits | FIN | opcode] = CONTROL if opcode & 8 else WHOLE
                if opcode & 8:  # it may come between the fragments of a message
                    inside[bits | FIN | opcode] = CONTROL
    return _table(between), _table(inside)


def _table(legal: dict[int, int]) -> bytes:
    table = bytearray(256)  # of `ILLEGAL`
    for head, kind in legal.items():
        table[head] = kind
    return bytes(table)


def plain() -> tuple[bytes, bytes]:
    """Return what `tables` does, for messages that are delivered as they are."""
    between, inside = tables()
    return between[:0x81] + bytes((TEXT, BINARY)) + between[0x83:], inside


START, CONTINUED = plain()


def why_illegal(head: int, heads: bytes) -> str:
    """Return what is wrong with a first byte.

    Args:
        head: The byte.
        heads: The table in which it is `ILLEGAL`.
    """
    opcode = head & 0x0F
    bits = head & (RSV1 | RSV2 | RSV3)
    if bits and heads[head & ~bits]:
        return f"reserved bits in first byte {head:#04x}, not negotiated (RFC 6455 §5.2)"
    if opcode in (0x8, 0x9, 0xA):
        return "fragmented control frame (RFC 6455 §5.5)"
    if opcode > 2:
        return f"reserved opcode {opcode:#x} (RFC 6455 §5.2)"
    if heads[0x81]:
        return "continuation frame without a message to continue (RFC 6455 §5.4)"
    return f"opcode {opcode:#x} inside a fragmented message (RFC 6455 §5.4)"
