"""`reactor/protocol/heads.py`: what a frame may begin with."""

from __future__ import annotations

import pytest

from reactor.protocol.frames import RSV1, RSV2, RSV3
from reactor.protocol.heads import (
    BINARY,
    CONTINUED,
    CONTROL,
    FRAGMENT,
    ILLEGAL,
    START,
    TEXT,
    WHOLE,
    tables,
    why_illegal,
)

BITS = range(0, 0x80, RSV3)
# Opcodes, each with the bits of the extension that claims it.
Opcodes = tuple[tuple[int, int], ...]
OPCODES: tuple[Opcodes, ...] = (
    (),
    ((0x3, RSV1),),
    ((0x7, 0), (0xB, RSV1 | RSV3)),
    ((0xF, RSV2),),
    (*((opcode, RSV3) for opcode in range(3, 8)), (0xC, 0)),
)


def kind(head: int, inside: bool, first: int, every: int, opcodes: Opcodes) -> int:
    """What a first byte is, rule by rule."""
    fin, rsv, opcode = head & 0x80, head & 0x70, head & 0x0F
    if opcode in (0x8, 0x9, 0xA):
        return CONTROL if fin and not rsv else ILLEGAL
    if opcode == 0:
        return FRAGMENT if inside and not rsv & ~every else ILLEGAL
    if opcode in (0x1, 0x2) and not inside and not rsv & ~(first | every):
        return WHOLE if fin else FRAGMENT
    if fin and opcode in dict(opcodes) and not rsv & ~dict(opcodes)[opcode]:
        return CONTROL if opcode & 8 else ILLEGAL if inside else WHOLE
    return ILLEGAL


@pytest.mark.parametrize("opcodes", OPCODES)
@pytest.mark.parametrize("every", BITS)
@pytest.mark.parametrize("first", BITS)
def test_a_first_byte_is_what_the_claims_make_of_it(
    first: int, every: int, opcodes: Opcodes
) -> None:
    between, inside = tables(first, every, opcodes)
    for head in range(256):
        assert between[head] == kind(head, False, first, every, opcodes), hex(head)
        assert inside[head] == kind(head, True, first, every, opcodes), hex(head)


def test_nothing_is_claimed_by_default() -> None:
    between, inside = tables(0, 0, ())
    assert inside == CONTINUED
    # But for the messages that are delivered as they are.
    assert (between[0x81], between[0x82], START[0x81], START[0x82]) == (
        WHOLE,
        WHOLE,
        TEXT,
        BINARY,
    )
    assert between == START.replace(bytes((TEXT, BINARY)), bytes((WHOLE, WHOLE)))
    legal = [0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A]
    assert [head for head in range(256) if START[head]] == legal


@pytest.mark.parametrize(
    ("head", "inside", "why"),
    [
        (0xC1, False, "reserved bits in first byte 0xc1, not negotiated"),
        (0xC9, True, "reserved bits"),
        (0xD3, False, "reserved opcode 0x3"),
        (0x08, False, "fragmented control frame"),
        (0x0A, True, "fragmented control frame"),
        (0x8B, True, "reserved opcode 0xb"),
        (0x80, False, "continuation frame without a message to continue"),
        (0x81, True, "opcode 0x1 inside a fragmented message"),
    ],
)
def test_what_is_wrong_is_said(head: int, inside: bool, why: str) -> None:
    table = CONTINUED if inside else START
    assert table[head] == ILLEGAL
    assert why_illegal(head, table).startswith(why)
