"""`reactor/protocol/packing.py`: messages -> frames, through codecs and in parts."""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import MessageTooBig, ProtocolError
from reactor.protocol.deflate import DeflateFrame, PerMessageDeflate
from reactor.protocol.extensions import Codec
from reactor.protocol.frames import RSV1, RSV2, RSV3, Frame, Opcode
from reactor.protocol.messages import BinaryMessage, Message, TextMessage
from reactor.protocol.packing import Packer

from .recorder import cut
from .streams import BINARY, TEXT
from .toys import (
    Toy,
    adding,
    blocks,
    codecs,
    numbering,
    owning,
    raising,
    summing,
    telling,
    xoring,
)
from .wire import KEY, read_frame, unmasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reactor.protocol.extensions import Extension

ROLES = pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])


def packer(*extensions: Extension, masked: bool = False) -> Packer:
    return Packer(codecs(*extensions), masked)


def frames_of(data: bytes, masked: bool = False) -> list[tuple[int, bytes]]:
    """Return first byte and payload of each frame."""
    found = []
    while data:
        head, is_masked, payload, data = read_frame(data)
        assert is_masked is masked
        found.append((head, payload))
    return found


def streamed(
    one: Packer, opcode: int, parts: Iterable[bytes], compress: bool | None = None
) -> list[bytes]:
    """Return what becomes of each part of a message, of which no size is known."""
    one.begin(opcode, None, compress)
    *before, last = parts
    return [*(one.part(part, False) for part in before), one.part(last, True)]


# ---- whole messages ----


@ROLES
@pytest.mark.parametrize("compress", [None, True, False])
def test_without_codecs_a_message_is_one_plain_frame(
    masked: bool, compress: bool | None
) -> None:
    one = packer(masked=masked)
    for message, head in ((TextMessage("κόσμε"), TEXT), (BinaryMessage(bytes(70_000)), BINARY)):
        assert frames_of(one.pack(message, compress), masked) == [(head, message.payload)]


@ROLES
def test_messages_are_encoded_in_the_order_of_their_codecs(masked: bool) -> None:
    # "foo, bar" stands for bar(foo(data)) (RFC 6455 §9.1).
    both = bytes((octet + 7 & 0xFF) ^ 0x33 for octet in b"Hello")
    assert both != bytes((octet ^ 0x33) + 7 & 0xFF for octet in b"Hello")
    one = packer(adding(7, RSV1), xoring(0x33, RSV3), masked=masked)
    packed = one.pack(TextMessage("Hello"), None)
    assert frames_of(packed, masked) == [(TEXT | RSV1 | RSV3, both)]


@ROLES
def test_frames_are_encoded_in_the_order_of_their_codecs_behind_messages(masked: bool) -> None:
    added = bytes(octet + 7 for octet in b"Hello")
    summed = added + bytes((sum(added) & 0xFF,))
    one = packer(numbering(), summing(), adding(7), masked=masked)
    numbered = b"\x00" + added
    expected = numbered + bytes((sum(numbered) & 0xFF,))
    assert frames_of(one.pack(BinaryMessage(b"Hello"), None), masked) == [
        (BINARY | RSV3, expected)
    ]
    one = packer(summing(), numbering(), adding(7), masked=masked)
    packed = one.pack(BinaryMessage(b"Hello"), None)
    assert frames_of(packed, masked) == [(BINARY | RSV3, b"\x00" + summed)]


@ROLES
def test_each_message_begins_anew(masked: bool) -> None:
    one = packer(xoring(1, RSV1), masked=masked)
    for message, compress, head in (
        (TextMessage("a"), None, TEXT | RSV1),
        (TextMessage("a"), False, TEXT),
        (BinaryMessage(b"a"), True, BINARY | RSV1),
        (BinaryMessage(b"a"), False, BINARY),
    ):
        payload = b"`" if head & RSV1 else b"a"
        assert frames_of(one.pack(message, compress), masked) == [(head, payload)]


def test_a_codec_is_told_what_is_known_of_a_message() -> None:
    asked: list[tuple[Any, ...]] = []

    def begin(*arguments: Any) -> None:
        asked.append(arguments)

    one = packer(telling(RSV1, begin_encode=begin))
    one.pack(TextMessage("κόσμε"), None)
    one.pack(BinaryMessage(b""), True)
    one.begin(Opcode.TEXT, None, False)
    one.begin(Opcode.BINARY, 5, None)
    assert asked == [(1, 10, None), (2, 0, True), (1, None, False), (2, 5, None)]


def test_a_codec_is_given_a_whole_message_whole() -> None:
    given: list[tuple[bytes, bool]] = []

    def encode(data: bytes, final: bool) -> bytes:
        given.append((data, final))
        return data.upper()

    one = packer(telling(RSV1, begin_encode=lambda *asked: 0, encode=encode))
    assert one.pack(BinaryMessage(b"abc"), None) == unmasked(BINARY, b"ABC")
    assert one.pack(BinaryMessage(b""), None) == unmasked(BINARY)
    assert given == [(b"abc", True), (b"", True)]


def test_what_no_codec_wants_leaves_as_it_is() -> None:
    declining = telling(
        RSV1, begin_encode=lambda *asked: None, encode=raising(AssertionError("asked"))
    )
    message = TextMessage("a")
    assert packer(declining).pack(message, None) == unmasked(TEXT, b"a")
    assert packer(declining).pack(message, None) is message.pack()
    assert streamed(packer(declining), 1, [b"a", b"b"])[1] == unmasked(0x80, b"b")


SIZES = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 70_000]


@ROLES
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "extensions",
    [(), (xoring(1, RSV1),), (numbering(),), (adding(1, RSV1), xoring(2, RSV2))],
    ids=["none", "one", "of frames", "two"],
)
def test_a_payload_is_packed_as_the_message_is(
    extensions: tuple[Extension, ...], size: int, masked: bool
) -> None:
    payload = bytes(size)
    for opcode, message in ((1, TextMessage(payload)), (2, BinaryMessage(payload))):
        for compress in (None, True, False):
            one, other = packer(*extensions, masked=masked), packer(*extensions, masked=masked)
            packed = one.pack_payload(opcode, payload, compress)
            whole = other.pack(message, compress)
            assert frames_of(packed, masked) == frames_of(whole, masked)


def test_what_a_codec_has_made_of_a_whole_message_may_be_any_bytes() -> None:
    for made in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        one = packer(telling(RSV1, **BEGIN, encode=lambda data, final, made=made: made))
        packed = one.pack(BinaryMessage(b""), None)
        assert packed == unmasked(BINARY | RSV1, b"abc")
        assert type(packed) is bytes


def test_a_client_masks_each_frame_with_a_key_of_its_own() -> None:
    for extensions in ((), (adding(1),), (numbering(),)):
        one = packer(*extensions, masked=True)
        message = BinaryMessage(b"the same")
        keys = {one.pack(message, None)[2:6] for _ in range(20)}
        keys |= {packed[2:6] for packed in streamed(one, 2, 20 * [b"the same"])}
        assert len(keys) > 36  # of 40 random ones, two may be the same


# ---- one form for many ----


class Counting(Codec):
    """Counts the messages that it encodes."""

    count = 0

    def __init__(self, key: object) -> None:
        self.key = key

    def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int | None:
        return None if compress is False else RSV1

    def encode(self, data: bytes, final: bool) -> bytes:
        Counting.count += 1
        return data[::-1]


def counting(key: object, name: str = "counting") -> Toy:
    return Toy(name, lambda: Counting(key), RSV1)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "count", 0)


@pytest.mark.parametrize("key", ["a", (), 0, False, ("deflate", 12)], ids=repr)
def test_a_message_is_encoded_once_for_all_whose_codecs_have_one_key(key: object) -> None:
    message = TextMessage("abc")
    packed = [packer(counting(key)).pack(message, None) for _ in range(5)]
    assert packed[0] == unmasked(TEXT | RSV1, b"cba")
    assert all(other is packed[0] for other in packed)
    assert Counting.count == 1
    # Not so another message.
    assert packer(counting(key)).pack(TextMessage("abc"), None) == packed[0]
    assert Counting.count == 2


def test_a_message_is_encoded_for_each_wish() -> None:
    message = TextMessage("abc")
    one = packer(counting("a"))
    forms = {one.pack(message, compress) for compress in (None, True, False, None, False)}
    assert forms == {unmasked(TEXT | RSV1, b"cba"), unmasked(TEXT, b"abc")}
    assert Counting.count == 2


@pytest.mark.parametrize(
    "other",
    [
        [counting("b")],
        [counting("a", "another")],
        [counting("a"), summing()],
        [summing(), counting("a")],
        [adding(1), counting("a")],
    ],
    ids=repr,
)
def test_what_depends_on_something_else_is_encoded_by_itself(other: list[Toy]) -> None:
    message = BinaryMessage(b"abc")
    first = packer(counting("a")).pack(message, None)
    again = packer(*other).pack(message, None)
    assert again is not first
    assert Counting.count == 2
    assert packer(counting("a")).pack(message, None) is first
    assert packer(*other).pack(message, None) is again
    assert Counting.count == 2


def test_the_order_of_codecs_is_a_part_of_what_a_form_depends_on() -> None:
    message = BinaryMessage(b"abc")
    one = packer(adding(7), xoring(0x33)).pack(message, None)
    assert packer(xoring(0x33), adding(7)).pack(message, None) != one


@pytest.mark.parametrize(
    "extensions",
    [[counting(None)], [counting("a"), numbering()], [numbering(), counting("a")]],
    ids=repr,
)
def test_what_depends_on_the_connection_is_encoded_for_each(extensions: list[Toy]) -> None:
    message = TextMessage("abc")
    one = packer(*extensions)
    for count in (1, 2, 3):
        one.pack(message, None)
        assert Counting.count == count
    assert message.forms == {}


def test_a_client_encodes_for_itself() -> None:
    message = TextMessage("abc")
    for count in (1, 2):
        packer(counting("a"), masked=True).pack(message, None)
        assert Counting.count == count
    assert message.forms == {}


def test_a_form_of_a_stream_is_not_kept() -> None:
    message = TextMessage("abc")
    one = packer(counting("a"))
    streamed(one, message.opcode, [message.payload])
    assert message.forms == {}


def test_compression_without_context_is_done_once_for_many_connections() -> None:
    extension = PerMessageDeflate(server_no_context_takeover=True, threshold=0)
    message = TextMessage("abc" * 100)
    assert packer(extension).pack(message, None) is packer(extension).pack(message, None)
    remembering = PerMessageDeflate(threshold=0)
    one = packer(remembering)
    assert one.pack(message, None) != one.pack(message, None)
    assert packer(remembering).pack(message, None) == packer(remembering).pack(message, None)
    assert set(message.forms) == {((("permessage-deflate", codecs(extension)[0].key),), None)}


# ---- in parts ----


@ROLES
def test_parts_are_the_fragments_of_one_message(masked: bool) -> None:
    one = packer(masked=masked)
    packed = b"".join(streamed(one, 1, [b"Hel", b"", b"lo", b""]))
    assert frames_of(packed, masked) == [(1, b"Hel"), (0, b""), (0, b"lo"), (0x80, b"")]
    assert frames_of(b"".join(streamed(one, 2, [b"x"])), masked) == [(BINARY, b"x")]
    assert frames_of(b"".join(streamed(one, 2, [b""])), masked) == [(BINARY, b"")]


@ROLES
def test_the_bits_stand_on_the_first_fragment(masked: bool) -> None:
    one = packer(xoring(1, RSV1), adding(1, RSV2), masked=masked)
    packed = b"".join(streamed(one, 1, [b"a", b"b", b"c"]))
    assert [head for head, _ in frames_of(packed, masked)] == [1 | RSV1 | RSV2, 0, 0x80]
    packed = b"".join(streamed(one, 1, [b"a", b"b"], compress=False))
    assert [head for head, _ in frames_of(packed, masked)] == [1, 0x80]


@ROLES
def test_each_fragment_is_a_frame_to_the_codecs_of_frames(masked: bool) -> None:
    one = packer(numbering(), masked=masked)
    packed = b"".join([*streamed(one, 1, [b"a", b"", b"b"]), *streamed(one, 2, [b"c"])])
    assert frames_of(packed, masked) == [
        *[(1, b"\x00a"), (0, b"\x01"), (0x80, b"\x02b"), (BINARY, b"\x03c")]
    ]


def test_what_a_codec_keeps_back_is_no_frame() -> None:
    one = packer(blocks())
    packed = streamed(one, 2, [b"a", b"bc", b"defg", b"", b"h", b""])
    assert packed == [
        *[b"", b"", unmasked(2 | RSV2, b"dcba")],
        *[unmasked(0x00), unmasked(0x00, b"hgfe"), unmasked(0x80)],
    ]
    # The first frame is the first that leaves, wherever the parts were kept back.
    assert streamed(one, 2, [b"a", b"b"]) == [b"", unmasked(BINARY | RSV2, b"ba")]
    assert one.pack(BinaryMessage(b"a"), None) == unmasked(BINARY | RSV2, b"a")


def test_what_one_codec_keeps_back_does_not_come_to_those_behind() -> None:
    one = packer(blocks(), numbering())
    packed = streamed(one, 1, [b"a", b"b", b"cde", b"f"])
    assert packed == [
        *[b"", b"", unmasked(1 | RSV2, b"\x00dcba"), unmasked(0x80, b"\x01fe")],
    ]


def test_the_end_is_told_to_every_codec() -> None:
    told: list[tuple[str, bytes, bool]] = []

    def toy(name: str) -> Toy:
        def encode(data: bytes, final: bool) -> bytes:
            told.append((name, data, final))
            return b"end of " + name.encode() if final else b""

        toy = telling(0, begin_encode=lambda *asked: 0, encode=encode)
        toy.name = name
        return toy

    packed = streamed(packer(toy("one"), toy("two")), 1, [b"a", b""])
    assert packed == [b"", unmasked(TEXT, b"end of two")]
    assert told == [
        *[("one", b"a", False), ("two", b"", False)],
        *[("one", b"", True), ("two", b"end of one", True)],
    ]


def test_a_message_of_which_nothing_is_left_is_an_empty_one() -> None:
    one = packer(telling(RSV1, begin_encode=lambda *asked: 0, encode=lambda data, final: b""))
    assert one.pack(BinaryMessage(b"abc"), None) == unmasked(BINARY)
    assert streamed(one, 1, [b"a", b"b", b"c"]) == [b"", b"", unmasked(TEXT)]


def test_a_message_that_was_not_ended_is_forgotten_by_the_next() -> None:
    one = packer(xoring(1, RSV1))
    one.begin(Opcode.TEXT, None, None)
    one.part(b"a", False)
    assert one.pack(BinaryMessage(b"b"), False) == unmasked(BINARY, b"b")


# ---- codecs that change frames ----


def test_a_hook_may_send_another_opcode() -> None:
    one = packer(owning())
    assert one.pack(BinaryMessage(b"a"), None) == unmasked(0x83, b"ma")
    assert one.pack(TextMessage("a"), None) == unmasked(TEXT, b"a")
    assert streamed(one, 2, [b"a", b"b"]) == [unmasked(0x02, b"a"), unmasked(0x80, b"b")]


def test_a_frame_of_one_s_own_opcode_is_not_shown_to_others() -> None:
    # Its counterpart is not shown it either.
    one = packer(owning(), numbering())
    assert one.pack(BinaryMessage(b"a"), None) == unmasked(0x83, b"ma")
    assert one.pack(TextMessage("a"), None) == unmasked(TEXT, b"\x00a")
    one = packer(numbering(), owning())
    assert one.pack(BinaryMessage(b"a"), None) == unmasked(0x83, b"m\x00a")


@ROLES
def test_the_mask_is_not_a_hook_s_affair(masked: bool) -> None:
    def mask(frame: Frame) -> Frame:
        assert frame.masking_key == b""
        return Frame(frame.opcode, frame.payload, masking_key=b"" if masked else KEY)

    one = packer(telling(0, encode_frame=mask), masked=masked)
    assert frames_of(one.pack(BinaryMessage(b"a"), None), masked) == [(BINARY, b"a")]


def test_a_hook_may_use_the_bits_of_each_frame() -> None:
    def mark(frame: Frame) -> Frame:
        frame.rsv1 = frame.opcode == 0
        frame.rsv3 = not frame.fin
        return frame

    one = packer(telling(RSV1 | RSV3, encode_frame=mark))
    heads = [head for head, _ in frames_of(b"".join(streamed(one, 1, [b"a", b"b", b"c"])))]
    assert heads == [0x01 | RSV3, RSV1 | RSV3, 0x80 | RSV1]


# ---- codecs that fail ----

BEGIN: Any = {"begin_encode": lambda *asked: RSV1}
FAILING: dict[str, Callable[[BaseException], Toy]] = {
    "begin_encode": lambda error: telling(RSV1, begin_encode=raising(error)),
    "encode": lambda error: telling(RSV1, **BEGIN, encode=raising(error)),
    "encode_frame": lambda error: telling(RSV1, encode_frame=raising(error)),
}


def run(one: Packer, way: str) -> None:
    if way == "whole":
        one.pack(TextMessage("abc"), None)
    else:
        streamed(one, 1, [b"a", b"b"])


WAYS = pytest.mark.parametrize("way", ["whole", "in parts"])


@WAYS
@pytest.mark.parametrize("where", FAILING)
def test_a_codec_fails_with_its_own_error(where: str, way: str) -> None:
    for error in (ProtocolError(4001, "no"), MessageTooBig(7, 6)):
        with pytest.raises(ProtocolError) as raised:
            run(packer(FAILING[where](error)), way)
        assert raised.value is error


@WAYS
@pytest.mark.parametrize("where", FAILING)
@pytest.mark.parametrize(
    "error", [ValueError("fault"), StopIteration(), zlib.error()], ids=repr
)
def test_a_fault_of_a_codec_is_an_internal_error(
    error: Exception, where: str, way: str
) -> None:
    with pytest.raises(ProtocolError, match="an extension failed") as raised:
        run(packer(FAILING[where](error)), way)
    assert raised.value.code == 1011
    assert raised.value.__cause__ is error


@WAYS
def test_a_codec_that_has_only_half_of_its_hooks_is_at_fault(way: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        run(packer(telling(RSV1, **BEGIN)), way)
    assert isinstance(raised.value.__cause__, NotImplementedError)


@WAYS
def test_an_interrupt_is_nobody_s_fault(way: str) -> None:
    for where in FAILING:
        with pytest.raises(KeyboardInterrupt):
            run(packer(FAILING[where](KeyboardInterrupt())), way)


NO_BITS: list[Any] = [True, False, 1, 0x80, -1, RSV2, RSV1 | RSV2, "x", 1.0, b"", ()]


@WAYS
@pytest.mark.parametrize("bits", NO_BITS, ids=repr)
def test_a_codec_sets_no_bits_but_those_that_it_claims(bits: Any, way: str) -> None:
    # Among them are what would make another frame of it, and the slip of a bool.
    strange = telling(RSV1, begin_encode=lambda *asked: bits, encode=lambda data, final: data)
    with pytest.raises(ProtocolError) as raised:
        run(packer(strange), way)
    assert raised.value.code == 1011


NO_BYTES: list[Any] = [None, "text", 5, [1], True, memoryview(b"abcd").cast("I")]


@WAYS
@pytest.mark.parametrize("made", NO_BYTES, ids=repr)
def test_what_is_encoded_is_bytes(made: Any, way: str) -> None:
    strange = telling(RSV1, **BEGIN, encode=lambda data, final: made)
    for beside in ((), (numbering(),)):
        with pytest.raises(ProtocolError) as raised:
            run(packer(strange, *beside), way)
        assert raised.value.code == 1011
        assert isinstance(raised.value.__cause__, TypeError)


@ROLES
def test_what_is_encoded_may_be_bytes_like(masked: bool) -> None:
    for made in (bytearray(b"made"), memoryview(b"xmade")[1:]):
        lenient = telling(RSV1, **BEGIN, encode=lambda data, final, made=made: made)
        packed = packer(lenient, masked=masked).pack(BinaryMessage(b"x"), None)
        assert type(packed) is bytes
        assert frames_of(packed, masked) == [(BINARY | RSV1, b"made")]


@WAYS
@pytest.mark.parametrize("made", [None, "frame", 5, object()], ids=repr)
def test_what_a_hook_makes_of_a_frame_is_a_frame(made: Any, way: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        run(packer(telling(0, encode_frame=lambda frame: made)), way)
    assert raised.value.code == 1011
    assert isinstance(raised.value.__cause__, TypeError)


SPOILT = [
    *[("opcode", 16), ("opcode", -1), ("opcode", None), ("opcode", "1")],
    *[("payload", None), ("payload", "text"), ("payload", 5)],
]


@WAYS
@pytest.mark.parametrize(("name", "value"), SPOILT)
def test_a_frame_that_a_hook_has_spoilt_is_its_fault(name: str, value: Any, way: str) -> None:
    def spoil(frame: Frame) -> Frame:
        setattr(frame, name, value)
        return frame

    with pytest.raises(ProtocolError) as raised:
        run(packer(telling(0, encode_frame=spoil)), way)
    assert raised.value.code == 1011
    assert raised.value.__cause__ is not None


def test_a_control_frame_that_a_hook_makes_is_one_that_could_be_sent() -> None:
    def close(frame: Frame) -> Frame:
        frame.opcode = 0xB
        return frame

    one = packer(telling(0, encode_frame=close))
    assert one.pack(BinaryMessage(bytes(125)), None) == unmasked(0x8B, bytes(125))
    for payload in (bytes(126), b"a"):
        one.begin(Opcode.BINARY, None, None)
        with pytest.raises(ProtocolError, match="an extension failed"):
            one.part(payload, len(payload) > 1)


# ---- the real ones ----


def inflated(payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Yield messages, inflated by zlib itself (RFC 7692 §7.2.2)."""
    inflater = zlib.decompressobj(-15)
    for payload in payloads:
        yield inflater.decompress(payload + b"\x00\x00\xff\xff")
        assert not inflater.unused_data


MESSAGES = st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=300))


@given(
    st.lists(st.tuples(MESSAGES, st.lists(st.integers(0, 300), max_size=4)), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_any_compressed_message_is_read_by_zlib(
    messages: list[tuple[bytes, list[int]]], forgets: bool, masked: bool
) -> None:
    extension = PerMessageDeflate(
        server_no_context_takeover=forgets, client_no_context_takeover=forgets, threshold=0
    )
    one = packer(extension, masked=masked)
    payloads, heads = [], []
    for message, places in messages:
        if places:
            parts = cut(message, [min(at, len(message)) for at in places])
            frames = frames_of(b"".join(streamed(one, 2, parts)), masked)
        else:
            frames = frames_of(one.pack(BinaryMessage(message), True), masked)
        heads += [[head for head, _ in frames]]
        payloads.append(b"".join(payload for _, payload in frames))
    assert list(inflated(payloads)) == [message for message, _ in messages]
    for first, *others in heads:
        assert first & 0x7F == 2 | RSV1
        assert not any(head & 0x7F for head in others)


@given(st.lists(MESSAGES, max_size=6), st.booleans())
def test_any_compressed_frame_is_read_by_zlib(messages: list[bytes], masked: bool) -> None:
    one = packer(DeflateFrame(threshold=0), masked=masked)
    packed = b"".join(one.pack(BinaryMessage(message), None) for message in messages)
    packed += b"".join(streamed(one, 1, [*messages, b"end"]))
    frames = frames_of(packed, masked)
    assert all(head & RSV1 for head, _ in frames)
    expected = [*messages, *messages, b"end"]
    assert list(inflated(payload for _, payload in frames)) == expected


def test_a_threshold_is_for_what_is_known_of_a_message() -> None:
    one = packer(PerMessageDeflate(threshold=10))
    heads = [
        frames_of(one.pack(BinaryMessage(bytes(size)), compress))[0][0]
        for size, compress in itertools.product((9, 10), (None, True, False))
    ]
    compressed = BINARY | RSV1
    assert heads == [BINARY, compressed, BINARY, compressed, compressed, BINARY]
    assert read_frame(streamed(one, 2, [b"a", b""])[0])[0] == 2 | RSV1


def test_a_message_of_any_class_is_sent_as_what_it_is() -> None:
    for opcode in (Opcode.TEXT, Opcode.BINARY):
        message = Message(opcode, b"a")
        assert packer(adding(1)).pack(message, None) == unmasked(0x80 | opcode, b"b")
        assert packer().pack(message, None) == unmasked(0x80 | opcode, b"a")
