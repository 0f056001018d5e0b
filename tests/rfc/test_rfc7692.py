"""The examples of RFC 7692, against its negotiation and its codec."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from reactor.protocol.deflate import PerMessageDeflate
from reactor.protocol.extensions import (
    accept_answer,
    accept_offers,
    offer,
    parse_extensions,
)
from reactor.protocol.frames import FIN, RSV1, Frame, Opcode, pack_frame

from .rfc7692 import (
    AGAIN,
    EMPTY,
    FALLBACK,
    FLUSHED,
    FRAGMENTS,
    FRAME,
    HELLO,
    OFFERS,
    PAYLOAD,
    SIMPLEST,
    SMALL_WINDOW,
    VARIANTS,
)

if TYPE_CHECKING:
    from reactor.protocol.extensions import Codec, Params

# As the examples are: nothing is asked for, and no message is too short.
PLAIN = PerMessageDeflate(server_max_window_bits=15, client_max_window_bits=15, threshold=0)


def server(offered: str = "permessage-deflate") -> Codec:
    [codec] = accept_offers([PLAIN], [offered])[1]
    return codec


def client() -> Codec:
    [codec] = accept_answer([PLAIN], ["permessage-deflate"])
    return codec


def inflated(codec: Codec, *parts: str) -> bytes:
    last = len(parts) - 1
    return b"".join(
        piece
        for number, part in enumerate(parts)
        for piece in codec.decode(bytes.fromhex(part), number == last)
    )


def payload(frame: str) -> str:
    """The payload of an unmasked frame of less than 126 bytes."""
    data = bytes.fromhex(frame)
    assert data[1] == len(data) - 2
    return data[2:].hex()


# ---- negotiation ----


@pytest.mark.parametrize(("value", "offers"), OFFERS)
def test_the_offers_of_section_5_2_are_understood(
    value: str, offers: list[tuple[str, Params]]
) -> None:
    assert parse_extensions([value]) == offers


@pytest.mark.parametrize("example", [SIMPLEST, SMALL_WINDOW, FALLBACK])
def test_a_server_without_wishes_accepts_the_first_offer_as_there(
    example: tuple[str, list[str]],
) -> None:
    offered, answers = example
    assert accept_offers([PLAIN], [offered])[0] == answers[0]


def test_a_client_can_offer_a_small_window_as_there() -> None:
    offered, [answer] = SMALL_WINDOW
    small = PerMessageDeflate(server_max_window_bits=10)
    [(name, params)], [(there, theirs)] = (
        parse_extensions([value]) for value in (offer([small]), offered)
    )
    assert (name, sorted(params, key=str)) == (there, sorted(theirs, key=str))
    assert len(accept_answer([small], [answer])) == 1


@pytest.mark.parametrize("answer", FALLBACK[1])
def test_a_client_without_wishes_accepts_all_answers_that_are_there(answer: str) -> None:
    [codec] = accept_answer([PerMessageDeflate()], [answer])
    assert inflated(codec, PAYLOAD) == HELLO


# ---- messages ----


def test_the_message_of_section_7_2_3_1_comes_out_as_there() -> None:
    compressor = zlib.compressobj(wbits=-15)
    assert compressor.compress(HELLO) + compressor.flush(zlib.Z_SYNC_FLUSH) == bytes.fromhex(
        FLUSHED
    )
    for codec in (server(), client()):
        rsv = codec.begin_encode(Opcode.TEXT, len(HELLO), None)
        assert rsv == RSV1
        packed = codec.encode(HELLO, True)
        assert packed == bytes.fromhex(PAYLOAD)
        assert pack_frame(FIN | rsv | Opcode.TEXT, packed, False) == bytes.fromhex(FRAME)
        assert Frame(Opcode.TEXT, packed, rsv1=True).pack() == bytes.fromhex(FRAME)


def test_the_message_of_section_7_2_3_1_is_understood_whole_and_in_two_fragments() -> None:
    for codec in (server(), client()):
        assert codec.begin_decode(Opcode.TEXT, bytes.fromhex(FRAME)[0] & RSV1)
        assert inflated(codec, payload(FRAME)) == HELLO
        assert inflated(codec, *map(payload, FRAGMENTS)) == HELLO


def test_the_window_of_section_7_2_3_2_is_taken_over_or_not() -> None:
    remembers, forgets = server(), server("permessage-deflate; server_no_context_takeover")
    for codec, second in ((remembers, AGAIN), (forgets, PAYLOAD)):
        assert codec.encode(HELLO, True) == bytes.fromhex(PAYLOAD)
        assert codec.encode(HELLO, True) == bytes.fromhex(second)
    receiver = client()
    assert inflated(receiver, PAYLOAD) == HELLO
    assert inflated(receiver, AGAIN) == HELLO


@pytest.mark.parametrize(
    "variant", [row[1] for row in VARIANTS], ids=[row[0] for row in VARIANTS]
)
def test_what_else_the_message_may_come_as_is_understood(variant: str) -> None:
    for codec in (server(), client()):
        assert inflated(codec, variant) == HELLO
        # Whole or byte by byte, and as often as it comes.
        assert inflated(codec, *variant.split()) == HELLO
        assert inflated(codec, PAYLOAD) == HELLO


def test_the_fragment_of_section_7_2_3_6_ends_a_message() -> None:
    codec = server()
    assert codec.encode(HELLO, False) == bytes.fromhex(FLUSHED)
    assert codec.encode(b"", True) == bytes.fromhex(EMPTY)
    assert inflated(client(), FLUSHED, EMPTY) == HELLO
