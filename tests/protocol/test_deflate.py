"""`reactor/protocol/deflate.py`: permessage-deflate and deflate-frame."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.errors import InvalidPayload, MessageTooBig, ProtocolError
from reactor.protocol import deflate
from reactor.protocol.deflate import DeflateFrame, PerMessageDeflate
from reactor.protocol.extensions import (
    accept_answer,
    accept_offers,
    check_extensions,
    describe,
    offer,
)
from reactor.protocol.frames import FIN, RSV1, RSV2, RSV3, Frame, Opcode
from reactor.protocol.heads import ILLEGAL, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reactor.protocol.extensions import Codec, Extension, Params

TAIL = b"\x00\x00\xff\xff"
PIECE = 64 * 1024
BITS = range(8, 16)
HELLO = bytes.fromhex("f248cdc9c90700")  # "Hello", as RFC 7692 §7.2.3.1 has it
BFINAL = bytes.fromhex("f348cdc9c9070000")  # the same with BFINAL, as §7.2.3.4 has it
NOISE = random.Random(7692).getrandbits(8 * 300_000).to_bytes(300_000, "big")
TEXT = b" ".join(b"%d bottles of beer on the wall" % number for number in range(9000))


def accepted(extension: Extension, offered: str = "") -> tuple[str, Codec]:
    """The answer of a server with that extension to parameters, and its codec."""
    value = f"{extension.name}; {offered}" if offered else extension.name
    answer, [codec] = accept_offers([extension], [value])
    return answer, codec


def server(offered: str = "client_max_window_bits", **arguments: Any) -> Codec:
    return accepted(PerMessageDeflate(**arguments), offered)[1]


def client(answered: str = "", **arguments: Any) -> Codec:
    value = f"permessage-deflate; {answered}" if answered else "permessage-deflate"
    [codec] = accept_answer([PerMessageDeflate(**arguments)], [value])
    return codec


def inflated(codec: Codec, *parts: bytes) -> bytes:
    """What a message in these parts stands for."""
    last = len(parts) - 1
    return b"".join(
        piece
        for number, part in enumerate(parts)
        for piece in codec.decode(part, number == last)
    )


def packed(data: bytes, bits: int = 12, level: int = 6) -> bytes:
    """A message as zlib itself compresses it."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def ended(data: bytes, bits: int = 12) -> bytes:
    """A stream of zlib's own, which ends with BFINAL."""
    compressor = zlib.compressobj(wbits=-bits)
    return compressor.compress(data) + compressor.flush()


def refused(codec: Codec, *parts: bytes) -> ProtocolError:
    """The error that a message in these parts is."""
    with pytest.raises(ProtocolError) as caught:
        inflated(codec, *parts)
    return caught.value


def whole(codec: Codec, data: bytes) -> bytes:
    return codec.encode(data, True)


# ---- what it is made with ----


@pytest.mark.parametrize(
    "argument", ["server_max_window_bits", "client_max_window_bits", "level", "mem_level"]
)
@pytest.mark.parametrize("value", ["12", 12.0, True, b"12", [12]])
def test_a_number_has_to_be_an_int(argument: str, value: object) -> None:
    arguments: Any = {argument: value}
    with pytest.raises(TypeError, match=f"{argument}=.*, not an int"):
        PerMessageDeflate(**arguments)


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("server_max_window_bits", [-1, 0, 7, 16, 1000]),
        ("client_max_window_bits", [-1, 0, 7, 16, 1000]),
        ("level", [-2, -1, 10]),
        ("mem_level", [-1, 0, 10]),
        ("threshold", [-1]),
    ],
)
def test_a_number_has_to_be_within_its_range(argument: str, values: list[int]) -> None:
    for value in values:
        arguments: Any = {argument: value}
        with pytest.raises(ValueError, match=f"{argument}={value}, not "):
            PerMessageDeflate(**arguments)


@pytest.mark.parametrize("argument", ["mem_level", "threshold"])
def test_not_every_number_may_be_left_out(argument: str) -> None:
    arguments: Any = {argument: None}
    with pytest.raises(TypeError, match=f"{argument}=None"):
        PerMessageDeflate(**arguments)


def test_the_draft_is_checked_alike() -> None:
    for value in (7, 16):
        with pytest.raises(ValueError, match=f"max_window_bits={value}, not 8 to 15"):
            DeflateFrame(max_window_bits=value)
    with pytest.raises(TypeError, match="max_window_bits=True"):
        DeflateFrame(max_window_bits=True)
    with pytest.raises(ValueError, match="threshold=-1, not 0 or more"):
        DeflateFrame(threshold=-1)
    with pytest.raises(ValueError, match="name 'permessage-deflate', not deflate-frame or"):
        DeflateFrame("permessage-deflate")


def test_they_can_be_configured_together() -> None:
    extensions = [PerMessageDeflate(), DeflateFrame(), DeflateFrame("x-webkit-deflate-frame")]
    assert check_extensions(extensions) == tuple(extensions)
    assert [extension.rsv for extension in extensions] == [RSV1] * 3
    # All of them claim RSV1: the first that a client names is the only one.
    value = "x-webkit-deflate-frame, deflate-frame, permessage-deflate"
    assert accept_offers(extensions, [value])[0] == "x-webkit-deflate-frame"


# ---- what a client offers ----


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        ({}, "client_max_window_bits"),
        (
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "client_max_window_bits",
        ),
        ({"client_max_window_bits": 8}, "client_max_window_bits=8"),
        (
            {"server_max_window_bits": 10},
            "server_max_window_bits=10; client_max_window_bits",
        ),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            "server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
    ],
)
def test_a_client_offers_what_limits_something(arguments: dict[str, Any], offered: str) -> None:
    assert offer([PerMessageDeflate(**arguments)]) == f"permessage-deflate; {offered}"


# ---- what a server answers ----


@pytest.mark.parametrize(
    ("arguments", "offered", "answered"),
    [
        # Chromium, Firefox.
        ({}, "client_max_window_bits", "server_max_window_bits=12; client_max_window_bits=12"),
        ({}, "", "server_max_window_bits=12"),
        # The least of both.
        ({}, "server_max_window_bits=9", "server_max_window_bits=9"),
        ({}, "server_max_window_bits=15", "server_max_window_bits=12"),
        (
            {},
            "client_max_window_bits=10",
            "server_max_window_bits=12; client_max_window_bits=10",
        ),
        (
            {"server_max_window_bits": 8, "client_max_window_bits": 9},
            "client_max_window_bits=15; server_max_window_bits=10",
            "server_max_window_bits=8; client_max_window_bits=9",
        ),
        # What limits nothing is left out, but for what accepts the client's condition.
        ({"server_max_window_bits": 15}, "", ""),
        (
            {"server_max_window_bits": 15},
            "server_max_window_bits=15",
            "server_max_window_bits=15",
        ),
        (
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "client_max_window_bits=15",
            "",
        ),
        # Whoever forgets, by either's wish.
        (
            {},
            "server_no_context_takeover",
            "server_no_context_takeover; server_max_window_bits=12",
        ),
        (
            {},
            "client_no_context_takeover",
            "client_no_context_takeover; server_max_window_bits=12",
        ),
        (
            {
                "server_no_context_takeover": True,
                "client_no_context_takeover": True,
                "server_max_window_bits": 15,
            },
            "",
            "server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_a_server_answers_what_both_can_keep_to(
    arguments: dict[str, Any], offered: str, answered: str
) -> None:
    answer, codec = accepted(PerMessageDeflate(**arguments), offered)
    assert answer == ("permessage-deflate; " + answered if answered else "permessage-deflate")
    assert describe([codec]) == answer


# The last is a nine, but not an ASCII digit.
BAD_BITS = ["", "0", "7", "16", "1000", "08", "+9", "-9", "9.0", "0x9", "1_0", " 9", "\u0669"]
NUMBERS = ("server_max_window_bits", "client_max_window_bits")
FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
ILLEGAL_PARAMS: list[Params] = [
    *([(name, bits)] for name in NUMBERS for bits in BAD_BITS),
    *([(name, value)] for name in FLAGS for value in ("", "true", "1", "15")),
    [("server_max_window_bits", None)],
    [("max_window_bits", "12")],
    [("Server_Max_Window_Bits", "12")],
    [("no_context_takeover", None)],
    [("x", None)],
    [("server_max_window_bits", "10"), ("server_max_window_bits", "10")],
    [("client_max_window_bits", "10"), ("client_max_window_bits", "10")],
    [("server_no_context_takeover", None), ("server_no_context_takeover", None)],
    [("client_no_context_takeover", None), ("x", "y")],
]


@pytest.mark.parametrize("params", ILLEGAL_PARAMS, ids=str)
def test_a_server_declines_what_is_illegal(params: Params) -> None:
    assert PerMessageDeflate().answer(params) is None


def test_a_server_declines_a_hint_that_comes_twice() -> None:
    twice = [("client_max_window_bits", None), ("client_max_window_bits", "9")]
    assert PerMessageDeflate().answer(twice) is None


def test_the_next_offer_is_taken_where_the_first_is_declined() -> None:
    offered = ["permessage-deflate; server_max_window_bits=7, permessage-deflate; x"]
    assert accept_offers([PerMessageDeflate()], offered) == ("", ())
    offered.append("permessage-deflate; server_no_context_takeover")
    assert accept_offers([PerMessageDeflate()], offered)[0] == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12"
    )


# ---- what a client accepts ----


@pytest.mark.parametrize("params", ILLEGAL_PARAMS, ids=str)
def test_a_client_refuses_what_is_illegal_and_names_it(params: Params) -> None:
    with pytest.raises(ValueError, match="permessage-deflate: ") as caught:
        PerMessageDeflate(server_max_window_bits=8).agree(params)
    assert params[-1][0] in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "answer", "reason"),
    [
        (
            {"server_max_window_bits": 10},
            [],
            "server_max_window_bits=10 was offered, nothing answered",
        ),
        (
            {"server_max_window_bits": 10},
            [("server_max_window_bits", "11")],
            "server_max_window_bits=10 was offered, 11 answered",
        ),
        (
            {"server_no_context_takeover": True},
            [("client_no_context_takeover", None)],
            "server_no_context_takeover was offered, but not accepted",
        ),
        # A hint may be by itself; an answer may not.
        ({}, [("client_max_window_bits", None)], "client_max_window_bits is not a parameter"),
    ],
)
def test_a_client_refuses_an_answer_that_does_not_keep_to_its_offer(
    arguments: dict[str, Any], answer: Params, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        PerMessageDeflate(**arguments).agree(answer)


@pytest.mark.parametrize(
    ("arguments", "answered"),
    [
        ({}, ""),
        ({}, "server_max_window_bits=15; client_max_window_bits=15"),
        ({}, "server_no_context_takeover; client_no_context_takeover"),
        ({"server_max_window_bits": 15}, ""),
        ({"server_max_window_bits": 10}, "server_max_window_bits=8"),
        ({"client_max_window_bits": 9}, "client_max_window_bits=15"),
        ({"client_no_context_takeover": True}, ""),
    ],
)
def test_a_client_accepts_what_keeps_to_its_offer(
    arguments: dict[str, Any], answered: str
) -> None:
    assert inflated(client(answered, **arguments), HELLO) == b"Hello"


def test_whatever_both_are_configured_with_they_agree() -> None:
    choices: list[int | None] = [None, 8, 9, 12, 14, 15]
    for theirs, ours in product(product(choices, choices), product(choices, choices)):
        for forgets in (False, True):
            asking = PerMessageDeflate(
                server_max_window_bits=theirs[0],
                client_max_window_bits=theirs[1],
                server_no_context_takeover=forgets,
            )
            [offered] = asking.offers()
            answering = PerMessageDeflate(
                server_max_window_bits=ours[0],
                client_max_window_bits=ours[1],
                client_no_context_takeover=not forgets,
            )
            accepted = answering.answer(offered)
            assert accepted is not None
            agreed = asking.agree(accepted[0])
            assert inflated(agreed, whole(accepted[1], TEXT[:500])) == TEXT[:500]
            assert inflated(accepted[1], whole(agreed, TEXT[:500])) == TEXT[:500]


# ---- the windows ----


def reach(messages: Iterable[bytes]) -> int:
    """The bits of the smallest window that inflates messages with a context.

    It is shown a byte at a time, so that it has nothing but its window to refer to.
    """
    data = [bytes([byte]) for message in messages for byte in message + TAIL]
    for bits in BITS:
        inflater = zlib.decompressobj(-bits)
        try:
            for byte in data:
                inflater.decompress(byte)
        except zlib.error:
            continue
        return bits
    raise AssertionError("no window is large enough")


def far_apart() -> list[bytes]:
    """Messages whose repetitions are at distances of just below each power of two."""
    found = []
    for bits in range(7, 16):
        pattern = NOISE[bits * 40 : bits * 40 + 32]
        # zlib leaves the last 262 bytes of a window out.
        apart = (1 << bits) - (268 if bits > 8 else 8)
        found.append(pattern + NOISE[1000 : 1000 + apart - len(pattern)] + pattern)
    return found


@pytest.mark.parametrize("bits", BITS)
def test_neither_side_refers_back_beyond_the_window_that_was_agreed_on(bits: int) -> None:
    messages = far_apart()
    ours = server(f"server_max_window_bits={bits}", server_max_window_bits=15)
    assert reach([whole(ours, message) for message in messages]) <= bits
    theirs = client(f"client_max_window_bits={bits}", client_max_window_bits=15)
    used = reach([whole(theirs, message) for message in messages])
    assert used == (8 if bits == 9 else bits)  # for the 262 bytes


@pytest.mark.parametrize("level", [None, *range(10)])
def test_a_window_of_8_bits_is_kept_to_at_every_level(level: int | None) -> None:
    codec = server("server_max_window_bits=8", level=level)
    messages = [*far_apart(), b"a" * 5000, TEXT[:20000]]
    sent = [whole(codec, message) for message in messages]
    assert reach(sent) == 8
    receiver = client("server_max_window_bits=8")
    assert [inflated(receiver, message) for message in sent] == messages
    if level != 0:
        # Runs are all that it refers to.
        assert len(sent[-2]) < 50 < 500 < len(whole(codec, b"abc" * 1000))


@pytest.mark.parametrize(
    ("codec", "bits"),
    [
        (server(), 12),
        (server(server_max_window_bits=14), 14),
        (server("server_max_window_bits=11", server_max_window_bits=14), 11),
        (client(), 12),
        (client("client_max_window_bits=15"), 12),
        (client("client_max_window_bits=10"), 10),
        (client("client_max_window_bits=15", client_max_window_bits=15), 15),
        (client("client_max_window_bits=15", client_max_window_bits=13), 13),
        (client("", client_max_window_bits=13), 13),
    ],
)
def test_windows_of_12_bits_are_used_unless_more_or_less_is_asked_for(
    codec: Codec, bits: int
) -> None:
    assert reach([whole(codec, message) for message in far_apart()]) == bits


def test_a_client_that_was_not_told_otherwise_may_use_all_of_its_window() -> None:
    far = NOISE[:30000] * 2
    assert len(packed(far, 15)) < 40000
    # Firefox does not offer client_max_window_bits.
    assert inflated(server(""), packed(far, 15)) == far
    assert inflated(client(), packed(far, 15)) == far


def test_what_refers_back_further_than_it_may_is_refused() -> None:
    far = b"".join((NOISE[:64], NOISE[1000:20000], NOISE[:64]))
    data = packed(far, 15)
    assert inflated(server(""), *(data[at : at + 1] for at in range(len(data)))) == far
    error = refused(server(), *(data[at : at + 1] for at in range(len(data))))
    assert error.code == 1007
    assert "compressed data: invalid distance too far back" in str(error)


# ---- whether to compress ----


@pytest.mark.parametrize(
    ("arguments", "size", "compress", "rsv"),
    [
        ({}, 255, None, None),
        ({}, 256, None, RSV1),
        ({}, None, None, RSV1),
        ({}, 10, True, RSV1),
        ({}, 0, True, RSV1),
        ({}, None, True, RSV1),
        ({}, 1 << 20, False, None),
        ({}, None, False, None),
        ({"threshold": 0}, 0, None, RSV1),
        ({"threshold": 1000}, 999, None, None),
    ],
)
def test_the_sender_decides_and_otherwise_the_threshold(
    arguments: dict[str, Any], size: int | None, compress: bool | None, rsv: int | None
) -> None:
    for codec in (server(**arguments), client(**arguments)):
        for opcode in (Opcode.TEXT, Opcode.BINARY):
            assert codec.begin_encode(opcode, size, compress) == rsv


def test_what_is_not_compressed_leaves_no_trace() -> None:
    codec = server()
    first = whole(codec, TEXT[:1000])
    for compress in (False, None):
        assert codec.begin_encode(Opcode.TEXT, 100, compress) is None
    second = whole(codec, TEXT[500:1500])
    receiver = client("server_max_window_bits=12")
    assert (
        inflated(receiver, first) + inflated(receiver, second) == TEXT[:1000] + TEXT[500:1500]
    )


@pytest.mark.parametrize("rsv", [0, RSV1, RSV2, RSV3, RSV1 | RSV2, RSV2 | RSV3])
def test_rsv1_alone_says_that_a_message_is_compressed(rsv: int) -> None:
    assert server().begin_decode(Opcode.TEXT, rsv) is bool(rsv & RSV1)


def legal(extension: Extension, codec: Codec) -> tuple[set[int], set[int]]:
    """The first bytes that a frame may have, between messages and inside one."""
    every = extension.rsv if codec.codes_frames else 0
    between, inside = tables(extension.rsv, every)
    return (
        {head for head in range(256) if between[head] != ILLEGAL},
        {head for head in range(256) if inside[head] != ILLEGAL},
    )


def test_rsv1_is_legal_on_the_first_frame_of_a_message_alone() -> None:
    between, inside = legal(PerMessageDeflate(), server())
    text, binary = {Opcode.TEXT, FIN | Opcode.TEXT}, {Opcode.BINARY, FIN | Opcode.BINARY}
    assert {head for head in between if head & RSV1} == {RSV1 | head for head in text | binary}
    assert not {head for head in inside if head & RSV1}


# ---- encoding ----


def test_a_message_in_parts_is_one_stream_of_which_each_part_is_flushed() -> None:
    for codec in (server(), server(server_no_context_takeover=True)):
        parts = [codec.encode(part, False) for part in (b"one", b"", b"two" * 100)]
        assert [part[-4:] for part in parts] == [TAIL, b"", TAIL]
        parts.append(codec.encode(b"three", True))
        assert parts[-1][-4:] != TAIL
        inflater = zlib.decompressobj(-12)
        # Each can be read when it comes.
        assert [inflater.decompress(part) for part in parts[:3]] == [b"one", b"", b"two" * 100]
        assert inflater.decompress(parts[3] + TAIL) == b"three"
        assert inflated(client(), *parts) == b"one" + b"two" * 100 + b"three"


@pytest.mark.parametrize("forgets", [False, True])
def test_an_empty_end_is_an_empty_block(forgets: bool) -> None:
    codec = server(server_no_context_takeover=forgets)
    receiver = client()
    for parts in (
        [b""],
        [b"", b""],
        [b"abc", b""],
        [b"", b"abc", b"", b""],
        [b"abc" * 999, b""],
    ):
        sent = [codec.encode(part, False) for part in parts[:-1]]
        sent.append(codec.encode(parts[-1], True))
        assert sent[-1] == b"\x00"
        assert inflated(receiver, *sent) == b"".join(parts)
    assert inflated(receiver, whole(codec, b"abc")) == b"abc"


def test_what_does_not_shrink_comes_out_the_same() -> None:
    codec, receiver = server(), client("server_max_window_bits=12")
    for size in (1, 255, 5000, len(NOISE)):
        sent = whole(codec, NOISE[:size])
        assert inflated(receiver, sent) == NOISE[:size]
        assert len(sent) < size * 1.01 + 16


def test_the_context_of_the_messages_before_is_used() -> None:
    codec = server()
    sizes = [len(whole(codec, TEXT[:300])) for _ in range(3)]
    assert sizes[1] < sizes[0] / 3
    assert sizes[2] < sizes[0] / 3


# ---- without a context ----


def test_nothing_of_one_message_is_referred_to_in_the_next() -> None:
    extension = PerMessageDeflate(server_no_context_takeover=True)
    one, two = (accepted(extension)[1] for _ in range(2))
    sent = [whole(codec, TEXT[:300]) for codec in (one, two, one, two)]
    assert len(set(sent)) == 1
    for message in sent:
        # A decompressor of its own is enough for each.
        assert zlib.decompressobj(-12).decompress(message + TAIL) == TEXT[:300]


class Noted(PerMessageDeflate):
    """Notes for which windows it has made compressors."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.made: list[int] = []

    def compressor(self, bits: int) -> Any:
        self.made.append(bits)
        return super().compressor(bits)


def test_a_connection_has_a_compressor_from_its_first_compressed_message_on() -> None:
    extension = Noted()
    codec = accepted(extension)[1]
    assert codec.begin_encode(Opcode.TEXT, 10, None) is None
    assert whole(codec, b"") == b"\x00"
    assert extension.made == []
    for _ in range(3):
        whole(codec, TEXT[:1000])
    assert extension.made == [12]


def test_no_compressor_is_kept_for_a_connection_that_forgets() -> None:
    extension = Noted(server_no_context_takeover=True)
    codecs = [accepted(extension)[1] for _ in range(50)]
    for codec in codecs:
        whole(codec, TEXT[:1000])
        codec.encode(TEXT[:100], False)
        codec.encode(TEXT[100:200], True)
        codec.encode(TEXT[:100], False)
        codec.encode(b"", True)
    assert extension.made == [12]


def test_messages_in_parts_and_whole_ones_do_not_mix() -> None:
    extension = PerMessageDeflate(server_no_context_takeover=True)
    one, two, three = (accepted(extension)[1] for _ in range(3))
    for _ in range(2):  # the second time there is a compressor that waits for work
        first = [one.encode(TEXT[:500], False)]
        second = [two.encode(TEXT[500:1000], False)]
        third = whole(three, TEXT[:1000])
        first += [one.encode(TEXT[:500], True)]
        second += [two.encode(TEXT[500:1000], True)]
        assert inflated(client(), *first) == TEXT[:500] * 2
        assert inflated(client(), *second) == TEXT[500:1000] * 2
        assert inflated(client(), third) == TEXT[:1000]


def test_the_decompressor_of_a_peer_that_forgets_is_dropped_after_each_message() -> None:
    codec = client("server_no_context_takeover")
    assert inflated(codec, packed(TEXT[:100])) == TEXT[:100]
    # "Hello" again, by reference to a message before it.
    assert inflated(codec, HELLO) == b"Hello"
    assert refused(codec, bytes.fromhex("f200110000")).code == 1007
    keeps = client()
    assert inflated(keeps, HELLO) + inflated(keeps, bytes.fromhex("f200110000")) == b"Hello" * 2


def test_the_key_is_what_a_message_depends_on_and_there_is_none_with_a_context() -> None:
    forget: dict[str, Any] = {"server_no_context_takeover": True}
    assert server().key is None
    assert client("server_no_context_takeover").key is None
    assert client("client_no_context_takeover").key is not None
    assert client(client_no_context_takeover=True).key is not None
    keys = [
        server(**forget).key,
        server("server_max_window_bits=11", **forget).key,
        server(server_max_window_bits=11, level=1, **forget).key,
        server(server_max_window_bits=11, mem_level=6, **forget).key,
        server(server_max_window_bits=11, threshold=6, **forget).key,
        accepted(DeflateFrame(no_context_takeover=True))[1].key,
    ]
    assert len(set(keys)) == len(keys)
    assert server("server_no_context_takeover").key == server("", **forget).key == keys[0]
    # Nor does it depend on what the other side does.
    assert server("client_no_context_takeover", **forget).key == keys[0]


# ---- decoding, in pieces ----


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
def test_what_comes_out_comes_in_pieces_of_64_kib(size: int) -> None:
    for data in (bytes(size), (TEXT * 2)[:size], NOISE[:size]):
        codec = client()
        message = packed(data) if size else b"\x00"
        pieces = list(codec.decode(message, True))
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= PIECE for piece in pieces)
        # And whatever was held back does not come with the next.
        assert inflated(codec, HELLO) == b"Hello"


def test_a_part_may_be_a_bytearray() -> None:
    for data in (bytes(10), bytes(10 * PIECE), NOISE):
        message = bytearray(packed(data))
        assert b"".join(client().decode(message, True)) == data  # type: ignore[arg-type]


class Counting:
    """A decompressor that counts what all of its kind have made and been given."""

    made = given = 0

    def __init__(self, wbits: int) -> None:
        self._inflater = INFLATER(wbits)

    def decompress(self, data: bytes, most: int) -> bytes:
        Counting.given += len(data)
        piece = self._inflater.decompress(data, most)
        Counting.made += len(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inflater, name)


INFLATER = zlib.decompressobj


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    Counting.made = Counting.given = 0
    return Counting


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """64 MiB of zeros."""
    return packed(bytes(64 << 20), 15)


def until(pieces: Iterable[bytes], limit: int) -> int:
    """How much a consumer has seen when it stops."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            break
    return size


@pytest.mark.parametrize("size", [None, 1000, 1])
def test_no_more_is_inflated_than_is_asked_for(
    bomb: bytes, counted: type[Counting], size: int | None
) -> None:
    size = size or len(bomb)
    codec = server("")
    seen = 0
    for at in range(0, len(bomb), size):
        seen += until(
            codec.decode(bomb[at : at + size], at + size >= len(bomb)), (1 << 20) - seen
        )
        if seen > 1 << 20:
            break
    assert 1 << 20 < seen == counted.made <= (1 << 20) + PIECE


def test_a_bomb_takes_no_more_memory_than_its_pieces(bomb: bytes) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    codec = server("")
    tracemalloc.start()
    try:
        assert until(codec.decode(bomb, True), 1 << 20) > 1 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024


def test_what_is_not_yet_inflated_is_not_copied_over_and_over(
    bomb: bytes, counted: type[Counting]
) -> None:
    assert until(server("").decode(bomb, True), 64 << 20) == 64 << 20
    # zlib is given the rest of its input again for each piece: a thousand of them here.
    assert counted.given < 1024 * 16 * 1024


# ---- decoding, at the end ----


DYNAMIC = packed(TEXT[:3000], level=9)
STORED = packed(NOISE[:100], level=0)
STATIC = packed(b"Hello, hello, hello!")
ENDS = {
    "nothing at all": [b""],
    "no last block": [HELLO[:-1]],
    "a whole last block, as it was flushed": [HELLO + TAIL],
    "a byte of padding, or of the tail": [HELLO + TAIL[:1]],
    "two bytes of the tail": [HELLO + TAIL[:2]],
    "three bytes of the tail": [HELLO + TAIL[:3]],
    "a block that takes the tail for its data": [
        bytes.fromhex("00 09 00 f6 ff 48 65 6c 6c 6f")
    ],
    "a block that takes more than the tail": [bytes.fromhex("00 ff ff 00 00 48 65 6c 6c 6f")],
    "the first byte of a length": [bytes.fromhex("00 09")],
    "a length without its complement": [bytes.fromhex("00 09 00")],
    "a header of a dynamic block": [DYNAMIC[:1]],
    "a stream that has ended": [BFINAL[:-1]],
    "a stream that has not": [BFINAL[:-2]],
    "a whole block behind a stream that has ended": [BFINAL[:-1] + b"\x00" + TAIL],
    "garbage behind a stream that has ended": [BFINAL[:-1] + b"\xff"],
    "an ended part": [BFINAL[:-1], b""],
    "an empty part": [HELLO + TAIL, b""],
}


@pytest.mark.parametrize("parts", ENDS.values(), ids=ENDS)
def test_a_message_has_to_end_where_its_last_block_does(parts: list[bytes]) -> None:
    for codec in (server(), client("server_no_context_takeover")):
        error = refused(codec, *parts)
        assert isinstance(error, InvalidPayload)
        assert error.code == 1007


FORGETTING = pytest.mark.parametrize(
    "flags", [(), ("server_no_context_takeover",)], ids=["remembered", "forgotten"]
)


@FORGETTING
@pytest.mark.parametrize(
    "message", [DYNAMIC, STORED, STATIC], ids=["dynamic", "stored", "static"]
)
def test_a_message_that_is_cut_anywhere_is_refused(
    message: bytes, flags: tuple[str, ...]
) -> None:
    for end in range(len(message)):
        if message[:end] != b"\x00":  # an empty message
            assert refused(client(*flags), message[:end]).code == 1007


def test_the_error_says_what_is_wrong() -> None:
    cases = {
        b"\x07": "compressed data: invalid block type (RFC 1951 §3.2.3) (1007)",
        HELLO[:-1]: "compressed data that ends inside a block (RFC 7692 §7.2.1) (1007)",
    }
    for data, text in cases.items():
        assert str(refused(server(), data)) == text


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("00", id="stored"),
        pytest.param("01", id="stored, with BFINAL"),
        pytest.param("02 00", id="stored, after an empty static one"),
        pytest.param("00 00 00 ff ff 00", id="stored, twice"),
    ],
)
@FORGETTING
def test_the_last_block_has_no_compression_but_may_have_bfinal(
    last: str, flags: tuple[str, ...]
) -> None:
    message = HELLO + TAIL + bytes.fromhex(last)
    codec = client(*flags)
    for _ in range(3):
        assert inflated(codec, message) == b"Hello"


@FORGETTING
def test_more_empty_blocks_change_nothing(flags: tuple[str, ...]) -> None:
    codec = client(*flags)
    for _ in range(3):
        empty = (b"\x00" + TAIL) * 1000
        assert inflated(codec, empty + HELLO) == b"Hello"
        assert inflated(codec, empty + b"\x00") == b""


def oracle(inflater: Any) -> bool:
    """Whether a decompressor is between two blocks, asked in another way."""
    probe = inflater.copy()
    return probe.decompress(b"\x03\x00") == b"" and probe.eof and not probe.unused_data


@settings(max_examples=400)
@given(data=st.data())
def test_whatever_has_come_the_next_message_is_what_its_own_bytes_say(
    data: st.DataObject,
) -> None:
    message = bytearray(data.draw(st.sampled_from(STREAMS)))
    kind = data.draw(st.sampled_from(["cut", "changed", "random"]))
    if kind == "random":
        message = bytearray(data.draw(st.binary(max_size=64)))
    if kind == "changed":
        at = data.draw(st.integers(0, 8 * len(message) - 1))
        message[at >> 3] ^= 1 << (at & 7)
    if kind != "random":
        del message[data.draw(st.integers(1, len(message))) :]
    codec = client()
    with contextlib.suppress(InvalidPayload):
        inflated(codec, bytes(message))
        inflater: Any = vars(codec).get("_inflater")
        assert inflater is None or oracle(inflater)
        assert inflated(codec, HELLO) == b"Hello"


STREAMS = [
    *(packed(TEXT[:size], level=level) for size in (40, 700) for level in (0, 1, 9)),
    *(ended(TEXT[:size]) + b"\x00" for size in (40, 700)),
    packed(bytes(random.Random(1).choices(range(200), range(200), k=800)), level=9),
]


# ---- whole messages, with one call ----


def told(codec: Codec, *parts: bytes, at_once: bool) -> tuple[object, ...]:
    """What becomes of a message: what it stands for, or the error."""
    try:
        if not at_once:
            return (inflated(codec, *parts),)
        decoded = codec.decode_whole(Opcode.TEXT, RSV1, b"".join(parts))
        if isinstance(decoded, bytes):
            assert len(decoded) < PIECE
            return (decoded,)
        assert decoded is not None
        pieces = list(decoded)
        assert all(0 < len(piece) <= PIECE for piece in pieces)
        return (b"".join(pieces),)
    except ProtocolError as error:
        return type(error), error.code, str(error)


def assert_same_at_once(messages: list[bytes]) -> None:
    """Whatever has come, the next message is the same in either way."""
    for answered in ("", "server_no_context_takeover"):
        one, other = client(answered), client(answered)
        for message in [*messages, HELLO, bytes.fromhex("f200110000"), HELLO]:
            outcome = told(one, message, at_once=False)
            assert told(other, message, at_once=True) == outcome
            if len(outcome) > 1:
                break  # the connection fails
            mine, its = vars(one).get("_inflater"), vars(other).get("_inflater")
            assert (mine is None) is (its is None)


@pytest.mark.parametrize("parts", ENDS.values(), ids=ENDS)
def test_a_message_ends_at_once_where_it_does_in_parts(parts: list[bytes]) -> None:
    assert_same_at_once([b"".join(parts)])
    assert_same_at_once([HELLO, b"".join(parts)])


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_message_at_once_is_a_piece_or_pieces(size: int) -> None:
    for data in (bytes(size), (TEXT * 2)[:size], NOISE[:size]):
        assert_same_at_once([packed(data) if size else b"\x00", ended(data) + b"\x00"])


def test_streams_and_errors_are_the_same_at_once() -> None:
    streams = b"".join((ended(b"one, "), ended(b"two, "), packed(b"three, "), TAIL))
    assert_same_at_once([streams + ended(TEXT) + packed(b"!"), BFINAL])
    assert_same_at_once([ended(b"") * 20 + b"\x00"])
    assert_same_at_once([b"\x07"])
    for message in (DYNAMIC, STORED, STATIC):
        for end in range(1, len(message) + 1):
            assert_same_at_once([message[:end]])


@settings(max_examples=400)
@given(data=st.data())
def test_whatever_comes_it_is_the_same_at_once(data: st.DataObject) -> None:
    messages = []
    for _ in range(data.draw(st.integers(1, 3))):
        message = bytearray(data.draw(st.sampled_from(STREAMS)))
        for at in data.draw(st.lists(st.integers(0, 8 * len(message) - 1), max_size=2)):
            message[at >> 3] ^= 1 << (at & 7)
        messages.append(bytes(message[: data.draw(st.integers(1, len(message)))]))
    assert_same_at_once(messages)


def test_without_rsv1_a_message_is_not_decoded_at_once_either() -> None:
    for codec in (client(), server()):
        assert codec.decode_whole(Opcode.TEXT, 0, HELLO) is None
        assert codec.decode_whole(Opcode.BINARY, RSV2 | RSV3, HELLO) is None


@pytest.mark.parametrize("forgets", [False, True])
def test_a_message_is_compressed_at_once_as_in_one_part(forgets: bool) -> None:
    new: dict[str, Any] = {"server_no_context_takeover": forgets, "threshold": 100}
    one, other = server(**new), server(**new)
    chance = random.Random(3)
    for _ in range(200):
        data = TEXT[chance.randrange(100) :][: chance.choice([0, 1, 99, 100, 101, 5000])]
        compress = chance.choice([None, True, False])
        rsv = one.begin_encode(Opcode.TEXT, len(data), compress)
        expected = None if rsv is None else (rsv, one.encode(data, True))
        assert other.encode_whole(Opcode.TEXT, data, compress) == expected
        # Messages in parts come between them.
        if chance.random() < 0.2:
            assert other.encode(data, False) == one.encode(data, False)
            assert other.encode(b"", True) == one.encode(b"", True)


# ---- decoding, with BFINAL ----


def test_after_bfinal_a_stream_begins_anew() -> None:
    codec = client()
    assert inflated(codec, HELLO) == b"Hello"
    for _ in range(3):
        assert inflated(codec, BFINAL) == b"Hello"
    assert inflated(codec, HELLO) == b"Hello"
    assert inflated(codec, bytes.fromhex("f200110000")) == b"Hello"
    assert inflated(codec, BFINAL) == b"Hello"
    # What came before the end of the stream is gone, as it is for every user of zlib.
    assert refused(codec, bytes.fromhex("f200110000")).code == 1007


def test_streams_and_blocks_may_follow_each_other_in_one_message() -> None:
    message = b"".join((ended(b"one, "), ended(b"two, "), packed(b"three, "), TAIL))
    message += ended(b"") + ended(TEXT) + packed(b"!")
    assert inflated(client(), message) == b"one, two, three, " + TEXT + b"!"
    for size in (1, 2, 5, 100):
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        assert inflated(client(), *parts) == b"one, two, three, " + TEXT + b"!"


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_a_stream_may_end_with_a_full_piece(size: int) -> None:
    codec = client()
    data = bytes(size)
    assert inflated(codec, ended(data) + ended(data) + packed(data)) == data * 3


def test_streams_without_end_are_refused_soon_and_without_recursion(
    counted: type[Counting],
) -> None:
    assert sys.getrecursionlimit() < 1 << 19
    for stream in (b"\x03\x00", b"\x01\x00\x00\xff\xff"):
        error = refused(client(), stream * (1 << 19) + b"\x00")
        assert error.code == 1008
        assert str(error) == "compressed data in too many streams (1008)"
    # Not a copy of all that is left for each of them.
    assert counted.given < 2 * 16 * 1024 * (16 + (5 << 19) // 256)


def test_as_many_streams_as_anyone_has_use_for_are_accepted() -> None:
    assert inflated(client(), ended(b"") * 16 + b"\x00") == b""
    assert refused(client(), ended(b"") * 20 + b"\x00").code == 1008
    stream = ended(NOISE[:250])
    assert inflated(client(), stream * 1000 + b"\x00") == NOISE[:250] * 1000


# ---- where memory is not counted ----


def test_a_collector_that_does_not_see_it_is_called_when_much_has_been_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: calls.append(1))
    monkeypatch.setattr(deflate, "_COLLECT", 1 << 20)
    monkeypatch.setattr(deflate, "_taken", 0)
    for _ in range(100):
        codec = server("server_max_window_bits=15", server_max_window_bits=15)
        whole(codec, b"Hello")
        inflated(codec, BFINAL)
    assert 100 * (128 + 16 + 8) // 1024 <= len(calls) <= 100 * 512 // 1024
    monkeypatch.setattr(deflate, "_COLLECT", 0)
    calls.clear()
    inflated(server(), *[BFINAL[:-1]] * 10, b"\x00")
    assert not calls


# ---- deflate-frame ----


def framed(arguments: dict[str, Any] | None = None, offered: str = "") -> Codec:
    return accepted(DeflateFrame(**(arguments or {})), offered)[1]


@pytest.mark.parametrize(
    ("arguments", "offered", "answered"),
    [
        ({}, "", ""),
        ({}, "max_window_bits=9; no_context_takeover", ""),
        ({"max_window_bits": 15}, "no_context_takeover", ""),
        ({"max_window_bits": 9}, "", "max_window_bits=9"),
        (
            {"max_window_bits": 8, "no_context_takeover": True},
            "max_window_bits=15",
            "max_window_bits=8; no_context_takeover",
        ),
    ],
)
@pytest.mark.parametrize("name", ["deflate-frame", "x-webkit-deflate-frame"])
def test_in_the_draft_each_side_says_what_the_other_keeps_to(
    name: str, arguments: dict[str, Any], offered: str, answered: str
) -> None:
    extension = DeflateFrame(name, **arguments)
    answer, codec = accepted(extension, offered)
    assert answer == (f"{name}; {answered}" if answered else name)
    assert offer([extension]) == answer
    assert codec.codes_frames
    assert [type(each) for each in accept_answer([extension], [answer])] == [type(codec)]


@pytest.mark.parametrize(
    "params",
    [
        *([("max_window_bits", bits)] for bits in BAD_BITS),
        [("max_window_bits", None)],
        [("no_context_takeover", "1")],
        [("no_context_takeover", None)] * 2,
        [("server_max_window_bits", "9")],
    ],
    ids=str,
)
def test_the_draft_is_as_strict(params: Params) -> None:
    assert DeflateFrame().answer(params) is None
    with pytest.raises(ValueError, match=f"deflate-frame: .*{params[0][0]}"):
        DeflateFrame().agree(params)


def encoded(codec: Codec, data: bytes) -> Frame:
    return codec.encode_frame(Frame(Opcode.BINARY, data))


def decoded(codec: Codec, frame: Frame, limit: int = 1 << 20) -> Frame:
    result = codec.decode_frame(frame, limit)
    assert result is not None
    return result


def test_the_limits_of_the_draft_bind_whoever_is_told_them() -> None:
    def used(codec: Codec) -> int:
        return reach([encoded(codec, message).payload for message in far_apart()])

    assert used(framed({"threshold": 0})) == 12
    assert used(framed({"threshold": 0}, "max_window_bits=10")) == 10
    assert used(framed({"threshold": 0, "max_window_bits": 14})) == 14
    assert used(framed({"threshold": 0, "max_window_bits": 14}, "max_window_bits=8")) == 8
    [told] = accept_answer([DeflateFrame(threshold=0)], ["deflate-frame; max_window_bits=10"])
    assert used(told) == 10
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no_context_takeover", {}),
        ("", {"no_context_takeover": True}),
    ]
    for offered, arguments in cases:
        codec = framed(arguments, offered)
        assert encoded(codec, TEXT[:300]) == encoded(codec, TEXT[:300])
        assert codec.key is not None
    codec = framed()
    assert encoded(codec, TEXT[:300]) != encoded(codec, TEXT[:300])
    assert codec.key is None


def test_each_frame_is_compressed_by_itself() -> None:
    sender, receiver = framed({"threshold": 10}), framed()
    frames = [
        Frame(Opcode.TEXT, TEXT[:400], fin=False),
        Frame(Opcode.CONTINUATION, b"short", fin=False),
        Frame(Opcode.CONTINUATION, TEXT[:400], fin=False, rsv2=True),
        Frame(Opcode.CONTINUATION, b"", fin=True),
        Frame(Opcode.BINARY, bytes(100_000)),
    ]
    sent = [sender.encode_frame(frame) for frame in frames]
    assert [frame.rsv1 for frame in sent] == [True, False, True, False, True]
    assert [frame.rsv2 for frame in sent] == [False, False, True, False, False]
    assert [frame.fin for frame in sent] == [False, False, False, True, True]
    assert len(sent[2].payload) < len(sent[0].payload)
    assert inflated(client(), sent[0].payload) == TEXT[:400]
    got = [decoded(receiver, frame) for frame in sent]
    assert [frame.payload for frame in got] == [
        TEXT[:400],
        b"short",
        TEXT[:400],
        b"",
        bytes(100_000),
    ]
    assert not any(frame.rsv1 for frame in got)


def test_an_empty_frame_may_be_compressed() -> None:
    frame = encoded(framed({"threshold": 0}), b"")
    assert (frame.payload, frame.rsv1) == (b"\x00", True)
    assert decoded(framed(), frame).payload == b""


def test_a_frame_that_has_rsv1_already_is_left_alone() -> None:
    frame = Frame(Opcode.BINARY, TEXT[:1000], rsv1=True)
    assert framed().encode_frame(frame) == Frame(Opcode.BINARY, TEXT[:1000], rsv1=True)


@pytest.mark.parametrize("size", [0, 1, 1000, PIECE, PIECE + 1, 5 * PIECE])
def test_a_frame_may_have_as_many_bytes_as_its_limit_and_no_more(
    size: int, counted: type[Counting]
) -> None:
    data = bytes(size)
    frame = Frame(Opcode.BINARY, packed(data) if size else b"\x00", rsv1=True)
    assert decoded(framed(), frame, size) == Frame(Opcode.BINARY, data)
    bigger = Frame(Opcode.BINARY, packed(bytes(size + 1 + 10 * PIECE)), rsv1=True)
    counted.made = 0
    with pytest.raises(MessageTooBig) as caught:
        framed().decode_frame(bigger, size)
    assert caught.value.limit == size < caught.value.size <= size + PIECE
    assert counted.made == caught.value.size


def test_a_compressed_frame_has_to_end_where_its_last_block_does() -> None:
    for payload in (b"", HELLO[:-1], HELLO + TAIL, BFINAL[:-1]):
        with pytest.raises(InvalidPayload):
            framed().decode_frame(Frame(Opcode.TEXT, payload, rsv1=True), 100)
    codec = framed()
    for _ in range(2):
        assert decoded(codec, Frame(Opcode.TEXT, BFINAL, rsv1=True)).payload == b"Hello"


def test_in_the_draft_rsv1_is_legal_on_data_frames_alone() -> None:
    between, inside = legal(DeflateFrame(), framed())
    data = {0, FIN}
    assert {head for head in inside if head & RSV1} == {RSV1 | head for head in data}
    assert {head for head in between if head & RSV1} == {
        RSV1 | opcode | fin for opcode in (Opcode.TEXT, Opcode.BINARY) for fin in data
    }


# ---- whatever is sent ----


class Sides(NamedTuple):
    """A side that sends, one that receives, and what they have agreed on."""

    sender: Codec
    receiver: Codec
    bits: int
    forgets: bool


@st.composite
def sides(draw: st.DrawFn) -> Sides:
    """Both sides, of either role, with any parameters."""
    bits = draw(st.sampled_from([None, *BITS]))
    theirs = draw(st.sampled_from([None, *BITS]))
    forgets = draw(st.booleans())
    from_server = draw(st.booleans())
    role = "server" if from_server else "client"
    arguments: dict[str, Any] = {
        f"{role}_max_window_bits": bits,
        "level": draw(st.sampled_from([None, *range(10)])),
        "mem_level": draw(st.integers(1, 9)),
        f"{role}_no_context_takeover": forgets,
    }
    ours = PerMessageDeflate(**arguments)
    other = PerMessageDeflate(**{f"{role}_max_window_bits": theirs})
    answering, asking = (ours, other) if from_server else (other, ours)
    answer, [served] = accept_offers([answering], [offer([asking])])
    [asked] = accept_answer([asking], [answer])
    # A client that says nothing of the server's window takes any.
    unasked = 15 if from_server else 12
    least = min(bits or 12, theirs or unasked)
    sender, receiver = (served, asked) if from_server else (asked, served)
    return Sides(sender, receiver, least, forgets)


CHUNKS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda start, size: TEXT[start : start + size],
        st.integers(0, 20000),
        st.integers(0, 9000),
    ),
    st.builds(
        lambda start, size: NOISE[start : start + size],
        st.integers(0, 999),
        st.integers(0, 9000),
    ),
    st.builds(bytes, st.integers(0, 3 * PIECE)),
)
MESSAGES = st.lists(st.lists(CHUNKS, min_size=1, max_size=4), min_size=1, max_size=5)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The bytes in parts of these sizes, as often as it takes."""
    parts: list[bytes] = []
    at = turn = 0
    while at < len(data) or not parts:
        # At most a thousand of them.
        size = max(sizes[turn % len(sizes)], len(data) // 1000 + 1)
        parts.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return parts


SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=5)


@settings(max_examples=150)
@given(sides(), MESSAGES, SIZES)
def test_what_is_sent_is_received_by_zlib_and_by_the_other_side(
    agreed: Sides, messages: list[list[bytes]], sizes: list[int]
) -> None:
    inflater = zlib.decompressobj(-agreed.bits)
    for parts in messages:
        if agreed.forgets:
            inflater = zlib.decompressobj(-agreed.bits)
        last = len(parts) - 1
        sent = b"".join(
            agreed.sender.encode(part, number == last) for number, part in enumerate(parts)
        )
        assert inflater.decompress(sent + TAIL) == b"".join(parts)
        assert inflated(agreed.receiver, *cut(sent, sizes)) == b"".join(parts)


@settings(max_examples=150)
@given(st.data(), MESSAGES, SIZES, st.sampled_from(BITS))
def test_what_zlib_sends_is_received(
    data: st.DataObject, messages: list[list[bytes]], sizes: list[int], bits: int
) -> None:
    bits = max(bits, 9)
    codec = server(f"client_max_window_bits={bits}", client_max_window_bits=15)

    def compressor() -> Any:
        level, memory, strategy = data.draw(
            st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 4))
        )
        return zlib.compressobj(level, zlib.DEFLATED, -bits, memory, strategy)

    flushes = st.sampled_from(
        [zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH]
    )
    stream = compressor()
    for parts in messages:
        sent = b""
        for part in parts:
            sent += stream.compress(part)
            how = data.draw(flushes)
            sent += stream.flush(how)
            if how == zlib.Z_FINISH:
                stream = compressor()
        # As it is flushed, or in a block of its own.
        sent += stream.flush(zlib.Z_SYNC_FLUSH)
        sent = sent[:-4] if sent[-4:] == TAIL else sent + b"\x00"
        assert inflated(codec, *cut(sent, sizes)) == b"".join(parts)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_frame_is_compressed_as_its_message_s_sender_wishes(forgets: bool) -> None:
    extension = DeflateFrame(no_context_takeover=forgets)
    agreed = extension.answer(())
    assert agreed is not None
    codec = agreed[1]
    long, short = b"secret" * 100, b"hi"
    for wish, payload, compressed in (
        (None, long, True),
        (False, long, False),
        (None, short, False),
        (True, short, True),
        (None, long, True),
    ):
        assert codec.begin_encode(Opcode.TEXT, len(payload), wish) is None
        frame = codec.encode_frame(Frame(Opcode.TEXT, payload))
        assert frame.rsv1 is compressed
        assert (frame.payload == payload) is not compressed
