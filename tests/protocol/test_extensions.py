"""`reactor/protocol/extensions.py`: what an extension is, and how it is negotiated."""

from __future__ import annotations

import contextlib
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import HandshakeError, MessageTooBig, ProtocolError
from reactor.protocol.extensions import (
    Codec,
    Extension,
    accept_answer,
    accept_offers,
    check_extensions,
    claims,
    decode_frame,
    describe,
    encode_frame,
    encoded_room,
    guard,
    offer,
    pack_own,
    parse_extensions,
)
from reactor.protocol.frames import RSV1, RSV2, RSV3, Frame, Opcode
from reactor.protocol.http import MAX_LINE
from reactor.protocol.quoting import quoted

from .toys import Own, codecs, numbering, owning, raising, summing, telling
from .wire import KEY, read_frame, unmasked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reactor.protocol.extensions import Params

TCHARS = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
TOKENS = st.text(TCHARS, min_size=1, max_size=8)
PARAMS = st.lists(st.tuples(TOKENS, st.one_of(st.none(), TOKENS)), max_size=4)
NAMED = st.lists(st.tuples(TOKENS, PARAMS), max_size=4)
SPACES = st.text(" \t", max_size=2)


class Whole(Codec):
    """Works on messages."""


class Framewise(Codec):
    """Works on frames."""

    def encode_frame(self, frame: Frame) -> Frame:
        return frame


class Sketch(Extension):
    """Accepts what it is told to, and notes what it is asked."""

    def __init__(
        self,
        name: str,
        *,
        rsv: int = 0,
        opcodes: Sequence[int] = (),
        offers: Iterable[Params] = ((),),
        answers: Params | None = (),
        codec: type[Codec] | None = None,
        declines: Iterable[Params] = (),
    ) -> None:
        self.name = name
        self.rsv = rsv
        self.opcodes = opcodes
        self._offers = offers
        self._answers = answers
        # An extension that claims opcodes has to decode frames.
        self._codec = codec or (Framewise if opcodes else Whole)
        self._declines = [list(params) for params in declines]
        self.asked: list[Params] = []

    def offers(self) -> Iterable[Params]:
        return self._offers

    def agree(self, answer: Params) -> Codec:
        self.asked.append(answer)
        if list(answer) in self._declines:
            raise ValueError(f"{self.name} did not offer that")
        return self._codec()

    def answer(self, offer: Params) -> tuple[Params, Codec] | None:
        self.asked.append(offer)
        if self._answers is None or list(offer) in self._declines:
            return None
        return self._answers, self._codec()


def names(codecs: Iterable[Codec]) -> list[str]:
    return [codec.extension.name for codec in codecs]


# ---- the grammar ----


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], []),
        ([""], []),
        ([" , ,\t"], []),
        (["foo"], [("foo", [])]),
        # The examples of RFC 6455 §9.1, which "are equivalent".
        (["foo", "bar; baz=2"], [("foo", []), ("bar", [("baz", "2")])]),
        (["foo, bar; baz=2"], [("foo", []), ("bar", [("baz", "2")])]),
        (["deflate-stream"], [("deflate-stream", [])]),
        (
            ["mux; max-channels=4; flow-control, deflate-stream"],
            [("mux", [("max-channels", "4"), ("flow-control", None)]), ("deflate-stream", [])],
        ),
        (["private-extension"], [("private-extension", [])]),
        # Spaces around each separator, as the implied *LWS of RFC 6455's grammar allows.
        ([" a\t;b = c ;\td\t= \te , f "], [("a", [("b", "c"), ("d", "e")]), ("f", [])]),
        (['a;b="c"'], [("a", [("b", "c")])]),
        ([r'a;b="\c\d"'], [("a", [("b", "cd")])]),
        # Single quotes are parts of tokens.
        (["a;b='c, d'"], [("a", [("b", "'c")]), ("d'", [])]),
        # What comes twice, of elements and of parameters, is for the extension to judge.
        (["a;b;b=1, a"], [("a", [("b", None), ("b", "1")]), ("a", [])]),
        # Names are not the same in another case: RFC 6455 does not say that they are.
        (["A;b, a;B"], [("A", [("b", None)]), ("a", [("B", None)])]),
    ],
)
def test_a_header_names_extensions_with_their_parameters(
    values: list[str], found: list[Any]
) -> None:
    assert parse_extensions(values) == found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a b", "is not an extension's name"),
        (";a", "is not an extension's name"),
        ("=", "is not an extension's name"),
        ("a=b", "is not an extension's name"),
        ('"a"', "is not an extension's name"),
        ("\xe9", "is not an extension's name"),
        ("a/b", "is not an extension's name"),
        ("a, ;b", "is not an extension's name"),
        # A comma outside of quotes to some, inside to others: so it is neither.
        ('a"b, c"d', "is not an extension's name"),
        ("a;", "is not a parameter"),
        ("a;;b", "is not a parameter"),
        ("a; =b", "is not a parameter"),
        ("a; b c", "is not a parameter"),
        ("a; b c=d", "is not a parameter"),
        ('a; "b"=c', "is not a parameter"),
        ('a; "b=c"', "is not a parameter"),
        ("a; b=", "value of b is not a token"),
        ("a; b==", "value of b is not a token"),
        ("a; b=c d", "value of b is not a token"),
        ("a; b=c=d", "value of b is not a token"),
        ("a; b=c\xe9", "value of b is not a token"),
        ('a; b=c"d"', "value of b is not a token"),
        # "the value after quoted-string unescaping MUST conform to the 'token' ABNF".
        ('a; b=""', "value of b is not a token"),
        ('a; b="c d"', "value of b is not a token"),
        ('a; b="c,d"', "value of b is not a token"),
        ('a; b="c;d"', "value of b is not a token"),
        (r'a; b="\""', "value of b is not a token"),
        ('a; b="\xe9"', "value of b is not a token"),
        ('a; b="c"d', "goes on behind its quoted string"),
        ('a; b="c" "d"', "goes on behind its quoted string"),
        ('a; b="c', "quoted string without its end"),
        (r'a; b="c\"', "quoted string without its end"),
        ("a; b=c\x00", "control character"),
        ("a; b=c\r\n", "control character"),
        ("a; b=\u20ac", "ISO-8859-1"),
    ],
)
def test_what_is_not_well_formed_is_refused_whole(value: str, why: str) -> None:
    for values in ([value], ["ok", value], [f"ok, {value}"], [f"{value},"]):
        with pytest.raises(ValueError, match=why):
            parse_extensions(values)


def test_a_quoted_string_does_not_go_on_in_the_next_field() -> None:
    with pytest.raises(ValueError, match="without its end"):
        parse_extensions(['a; b="c', 'd"'])


@pytest.mark.parametrize("code", range(256))
def test_each_character_is_part_of_a_token_or_changes_nothing_else(code: int) -> None:
    char = chr(code)
    value = f"a; b=c{char}, d"
    if char in TCHARS:
        assert parse_extensions([value]) == [("a", [("b", f"c{char}")]), ("d", [])]
    elif char in " \t,":
        assert parse_extensions([value]) == [("a", [("b", "c")]), ("d", [])]
    else:
        with pytest.raises(ValueError, match="RFC"):
            parse_extensions([value])


@given(NAMED, st.data())
def test_what_is_written_in_any_way_is_read_as_the_same(
    extensions: list[tuple[str, Any]], data: st.DataObject
) -> None:
    def spaced(text: str) -> str:
        return data.draw(SPACES) + text + data.draw(SPACES)

    def written(value: str) -> str:
        way = data.draw(st.integers(0, 2))
        escaped = '"' + "".join(f"\\{char}" for char in value) + '"'
        return spaced((value, quoted(value), escaped)[way])

    elements = []
    for name, params in extensions:
        parts = [spaced(name)]
        for param, value in params:
            parts.append(spaced(param) + ("" if value is None else f"={written(value)}"))
        elements.append(";".join(parts))
    at = data.draw(st.integers(0, len(elements)))
    values = [",".join(elements[:at]), ",".join(elements[at:])]
    assert parse_extensions(values) == extensions


@given(st.lists(st.one_of(st.text('ab,;="\\ \t\xe9', max_size=16), st.text(max_size=16))))
def test_any_text_is_read_or_refused_and_what_is_read_can_be_written(
    values: list[str],
) -> None:
    try:
        found = parse_extensions(values)
    except ValueError:
        return
    assert parse_extensions([offer(Sketch(n, offers=[p]) for n, p in found)]) == found


class Counted(str):
    """Counts the characters that are looked at one by one, or copied."""

    __slots__ = ()
    work = 0

    def __iter__(self) -> Any:
        for char in super().__iter__():
            Counted.work += 1
            yield char

    def __getitem__(self, index: Any) -> Counted:
        found = super().__getitem__(index)
        Counted.work += len(found)
        return Counted(found)

    def strip(self, chars: str | None = None) -> Counted:
        return Counted(super().strip(chars))


@pytest.mark.parametrize("part", ["\\c", '""', ",", ";", "a,", ";a", " ", '"a",', ";a=b", "="])
@pytest.mark.parametrize("opened", ["", "a;", 'a;b="'])
def test_work_is_in_proportion_to_the_value(
    monkeypatch: pytest.MonkeyPatch, opened: str, part: str
) -> None:
    monkeypatch.setattr(Counted, "work", 0)
    value = Counted((opened + part * MAX_LINE)[:MAX_LINE])
    with contextlib.suppress(ValueError):
        parse_extensions([value])
    assert MAX_LINE <= Counted.work < 8 * MAX_LINE


# ---- what may be configured ----


def test_extensions_in_order_are_returned_in_that_order() -> None:
    every = [Sketch("a", rsv=RSV1), Sketch("b", rsv=RSV1), Sketch("c", opcodes=range(3, 8))]
    every.append(Sketch("d", rsv=RSV1 | RSV2 | RSV3, opcodes=range(11, 16)))
    assert check_extensions(iter(every)) == tuple(every)
    assert check_extensions(()) == ()


@pytest.mark.parametrize("wrong", ["permessage-deflate", Sketch, None, Codec()])
def test_what_is_no_extension_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is not an Extension"):
        check_extensions([Sketch("a"), wrong])


@pytest.mark.parametrize(
    "name", ["", "a b", "a;b", "a,b", "\xe9", "a\r\n", '"a"', None, 5, b"a"]
)
def test_an_extension_is_named_by_a_token(name: Any) -> None:
    with pytest.raises(ValueError, match="of an extension is not a token"):
        check_extensions([Sketch(name)])


@pytest.mark.parametrize("rsv", [0x80, 0x08, RSV1 | 1, -1, RSV3 >> 1])
def test_an_extension_claims_no_other_bits_than_those_three(rsv: int) -> None:
    with pytest.raises(ValueError, match="not RSV bits"):
        check_extensions([Sketch("a", rsv=rsv)])


@pytest.mark.parametrize("opcode", [*Opcode, -1, 16, 0x83])
def test_an_extension_claims_no_other_opcodes_than_the_reserved(opcode: int) -> None:
    with pytest.raises(ValueError, match="claims an opcode that is not reserved"):
        check_extensions([Sketch("a", opcodes=[3, opcode])])


def test_an_extension_is_configured_once() -> None:
    with pytest.raises(ValueError, match="one comes twice"):
        check_extensions([Sketch("a"), Sketch("b"), Sketch("a", rsv=RSV1)])


# ---- offers ----


def test_an_extension_by_default_offers_itself_and_is_nobody_s_answer() -> None:
    plain = Extension()
    plain.name = "plain"
    assert offer([plain]) == "plain"
    assert plain.answer([]) is None
    with pytest.raises(NotImplementedError):
        plain.agree([])
    assert repr(plain) == "<Extension 'plain'>"


def test_offers_stand_in_their_order_with_their_parameters() -> None:
    one = Sketch("one", offers=[[("bits", "12"), ("lazy", None)], [("lazy", None)], []])
    none = Sketch("none", offers=[])
    other = Sketch("other")
    value = "one; bits=12; lazy, one; lazy, one, other"
    assert offer([one, none, other]) == value
    assert offer([none]) == ""
    assert offer([]) == ""
    assert [name for name, _ in parse_extensions([value])] == ["one", "one", "one", "other"]


WRONG = [
    *(("b c", None), ("b;c", None), ("", None), ("b", ""), ("b", "c d"), ("b", '"c"')),
    *(("b", "c\r\nX: y"), ("b", "c, d"), ("b", 12), (5, None), ("b", b"c"), ("b", True)),
]


@pytest.mark.parametrize("param", WRONG, ids=repr)
def test_a_parameter_that_is_not_of_tokens_is_an_error_of_the_extension(param: Any) -> None:
    params = [("ok", "1"), param]
    with pytest.raises(ValueError, match=r"parameter .* of a: no tokens"):
        offer([Sketch("a", offers=[params])])
    with pytest.raises(ValueError, match=r"parameter .* of a: no tokens"):
        accept_offers([Sketch("a", answers=params)], ["a"])


# ---- a server ----


def test_no_field_is_answered_where_nothing_is_offered_or_known() -> None:
    for values in ([], [""], ["other; bits=12", "A"]):
        assert accept_offers([Sketch("a")], values) == ("", ())
    assert accept_offers([], ["a, b; c"]) == ("", ())


def test_an_offer_is_answered_by_its_extension() -> None:
    extension = Sketch("a", answers=[("bits", "12"), ("lazy", None)])
    value, (codec,) = accept_offers([Sketch("b"), extension], ["c, a; bits", "d"])
    assert value == "a; bits=12; lazy"
    assert codec.extension is extension
    assert codec.params == (("bits", "12"), ("lazy", None))
    assert extension.asked == [[("bits", None)]]


def test_the_first_offer_that_the_extension_accepts_is_the_one() -> None:
    extension = Sketch("a", declines=[[("x", "1")], [("x", "2")]])
    value, codecs = accept_offers([extension], ["a; x=1, a; x=2", "a; x=3, a; x=4"])
    assert (value, names(codecs)) == ("a", ["a"])
    assert extension.asked == [[("x", "1")], [("x", "2")], [("x", "3")]]


def test_what_its_extension_declines_is_not_in_the_answer() -> None:
    extension = Sketch("a", answers=None)
    assert accept_offers([extension, Sketch("b")], ["a, b, a; x"])[0] == "b"
    assert len(extension.asked) == 2


def test_the_client_s_order_is_kept() -> None:
    extensions = [Sketch("a"), Sketch("b"), Sketch("c")]
    assert accept_offers(extensions, ["c, b", "a"])[0] == "c, b, a"


CLAIMS = [
    ({"rsv": RSV1}, {"rsv": RSV1}),
    ({"rsv": RSV1 | RSV2}, {"rsv": RSV2 | RSV3}),
    ({"opcodes": [3]}, {"opcodes": (4, 3)}),
    ({"opcodes": range(11, 14)}, {"opcodes": {13}}),
]


@pytest.mark.parametrize(("one", "other"), CLAIMS)
def test_of_two_that_claim_the_same_the_client_s_first_is_accepted(
    one: Any, other: Any
) -> None:
    extensions = [Sketch("a", **one), Sketch("b", **other)]
    assert accept_offers(extensions, ["a, b, a; x"])[0] == "a"
    assert accept_offers(extensions, ["b, a"])[0] == "b"
    # What was declined claims nothing.
    extensions[0] = Sketch("a", **one, answers=None)
    assert accept_offers(extensions, ["a, b"])[0] == "b"


def test_those_that_claim_different_things_go_together() -> None:
    extensions = [
        Sketch("a", rsv=RSV1, opcodes=[3]),
        Sketch("b", rsv=RSV2, opcodes=[4]),
        Sketch("c"),
        Sketch("d"),
    ]
    assert accept_offers(extensions, ["a, b, c, d"])[0] == "c, d, a, b"


def test_what_works_on_frames_is_answered_behind_what_works_on_messages() -> None:
    extensions = [Sketch("a", codec=Framewise), Sketch("b"), Sketch("c", codec=Framewise)]
    extensions.append(Sketch("d"))
    value, codecs = accept_offers(extensions, ["a, b, c, d"])
    assert value == "b, d, a, c"
    assert names(codecs) == ["b", "d", "a", "c"]
    assert names(accept_answer(extensions, [value])) == names(codecs)


def test_a_malformed_field_is_a_bad_request() -> None:
    # "the recipient of such malformed data MUST immediately _Fail the WebSocket Connection_"
    # (RFC 6455 §9.1), whether the offers before it could be accepted or not.
    extension = Sketch("a")
    for extensions in ([extension], []):
        with pytest.raises(
            HandshakeError, match=r"Sec-WebSocket-Extensions: .*name"
        ) as refused:
            accept_offers(extensions, ["a, b c"])
        assert refused.value.status == 400
    assert extension.asked == []


def test_an_error_of_an_extension_is_not_the_client_s() -> None:
    class Faulty(Sketch):
        def answer(self, offer: Params) -> Any:
            raise ValueError("a fault of its own")

    with pytest.raises(ValueError, match="a fault of its own"):
        accept_offers([Faulty("a")], ["a"])


def test_an_answer_may_be_of_any_iterable() -> None:
    extension = Sketch("a", answers=iter([("b", None)]))  # type: ignore[arg-type]
    value, (codec,) = accept_offers([extension], ["a"])
    assert (value, codec.params) == ("a; b", (("b", None),))


# ---- a client ----


def test_no_answer_is_no_extension() -> None:
    for values in ([], [""], [" ,"]):
        assert accept_answer([Sketch("a")], values) == ()


def test_an_answer_is_told_to_its_extension() -> None:
    extension = Sketch("a")
    (codec,) = accept_answer([Sketch("b"), extension], ['a; bits="12"; lazy'])
    assert codec.extension is extension
    assert codec.params == (("bits", "12"), ("lazy", None))
    assert extension.asked == [[("bits", "12"), ("lazy", None)]]


def test_the_server_s_order_is_kept() -> None:
    extensions = [Sketch("a"), Sketch("b"), Sketch("c", codec=Framewise)]
    assert names(accept_answer(extensions, ["b, a, c"])) == ["b", "a", "c"]
    assert names(accept_answer(extensions, ["a, c"])) == ["a", "c"]


@pytest.mark.parametrize("value", ["b", "A", "a, b", "permessage-deflate"])
def test_what_was_not_offered_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"was not offered \(RFC 6455 §4\.1\)"):
        accept_answer([Sketch("a")], [value])


def test_the_same_extension_twice_is_refused() -> None:
    for value in ("a, a", "a, a; b", "a, b, a"):
        with pytest.raises(ValueError, match="extension a twice"):
            accept_answer([Sketch("a"), Sketch("b")], [value])


def test_an_answer_in_two_fields_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 such fields, not one \(RFC 6455 §11.3.2\)"):
        accept_answer([Sketch("a"), Sketch("b")], ["a", "b"])


def test_who_claims_opcodes_must_decode_frames() -> None:
    extension = Sketch("a", opcodes=[3], codec=Whole)
    for negotiate in (accept_offers, accept_answer):
        with pytest.raises(TypeError, match="claims opcodes, and its codec decodes no frames"):
            negotiate([extension], ["a"])


def test_what_an_extension_makes_must_be_a_codec() -> None:
    class Odd:
        __slots__ = ()

    kind: Any = Odd
    for negotiate in (accept_offers, accept_answer):
        with pytest.raises(TypeError, match="a made Odd, not a Codec"):
            negotiate([Sketch("a", codec=kind)], ["a"])


def test_what_is_claimed_is_told_to_the_parser() -> None:
    extensions = [
        Sketch("a", rsv=RSV1),
        Sketch("b", rsv=RSV2, codec=Framewise),
        Sketch("c", rsv=RSV3, opcodes=[3, 11]),
    ]
    codecs = accept_offers(extensions, ["a, b, c"])[1]
    every = RSV2 | RSV3
    assert claims(codecs) == (RSV1 | every, every, ((3, RSV3), (11, RSV3)))
    assert claims([]) == (0, 0, ())


def test_a_limit_leaves_room_for_what_encoding_adds() -> None:
    assert encoded_room(1 << 20) > (1 << 20) * 1.04
    # A byte in each fragment, and ten more.
    assert encoded_room(100) > 100 * 11


@pytest.mark.parametrize(("one", "other"), CLAIMS)
def test_two_that_claim_the_same_are_refused(one: Any, other: Any) -> None:
    extensions = [Sketch("a", **one), Sketch("b", **other)]
    for value in ("a, b", "b, a"):
        with pytest.raises(ValueError, match="beside one that it excludes"):
            accept_answer(extensions, [value])


def test_messages_cannot_be_coded_behind_their_frames() -> None:
    extensions = [Sketch("a", codec=Framewise), Sketch("b"), Sketch("c", codec=Framewise)]
    for value in ("a, b", "a, c, b", "a, b, c"):
        with pytest.raises(ValueError, match="extension b behind one that works on its frames"):
            accept_answer(extensions, [value])


def test_what_the_extension_did_not_offer_is_refused() -> None:
    with pytest.raises(ValueError, match="a did not offer that"):
        accept_answer([Sketch("a", declines=[[("x", "1")]])], ["a; x=1"])


def test_a_malformed_answer_is_refused_before_any_extension_is_told() -> None:
    extension = Sketch("a")
    with pytest.raises(ValueError, match="is not a parameter"):
        accept_answer([extension], ["a, a;"])
    assert extension.asked == []


def test_no_reason_is_as_long_as_what_a_stranger_has_sent() -> None:
    long = MAX_LINE * "n"
    extensions = [Sketch("a")]
    for value in (long, f"a; {long}=", f"a; {long} b", f"{long} b", f'a; b="c"{long}'):
        with pytest.raises(ValueError, match=r"offered|RFC 6455|goes on") as refused:
            accept_answer(extensions, [value])
        assert len(str(refused.value)) < 150


# ---- both sides ----


SKETCHES = st.builds(
    Sketch,
    st.sampled_from("abcd"),
    rsv=st.sampled_from([0, 0, RSV1, RSV2, RSV3, RSV1 | RSV2]),
    opcodes=st.lists(st.sampled_from([3, 4, 11]), max_size=1),
    offers=st.lists(PARAMS, max_size=3),
    answers=st.one_of(PARAMS, PARAMS, st.none()),
    codec=st.sampled_from([None, Framewise]),
)
SEVERAL = st.lists(SKETCHES, max_size=4, unique_by=lambda extension: extension.name)


@given(SEVERAL, st.randoms(use_true_random=False))
def test_both_sides_agree_on_the_same(extensions: list[Sketch], chance: Any) -> None:
    check_extensions(extensions)
    offered = list(extensions)
    chance.shuffle(offered)
    value, codecs = accept_offers(extensions, [offer(offered)])
    agreed = accept_answer(offered, [value])
    assert describe(agreed) == describe(codecs) == value
    assert [(codec.extension, codec.params, type(codec)) for codec in agreed] == [
        (codec.extension, codec.params, type(codec)) for codec in codecs
    ]
    # No bit and no opcode has two owners.
    assert sum(codec.extension.rsv for codec in codecs) < 0x80
    claimed = [opcode for codec in codecs for opcode in codec.extension.opcodes]
    assert len(set(claimed)) == len(claimed)


# ---- a codec ----


def test_a_codec_by_default_leaves_all_as_it_is() -> None:
    codec, frame = Codec(), Frame(Opcode.TEXT, b"Hello")
    assert codec.begin_encode(Opcode.TEXT, 5, None) is None
    assert codec.begin_encode(Opcode.TEXT, None, True) is None
    assert codec.begin_decode(Opcode.TEXT, 0) is False
    assert codec.encode_frame(frame) is frame
    assert codec.decode_frame(frame, 5) is frame
    assert (codec.key, codec.params) == (None, ())


def test_what_a_codec_does_with_a_whole_message_is_what_its_hooks_do() -> None:
    asked: list[Any] = []

    class Upper(Codec):
        def begin_encode(self, *arguments: Any) -> int | None:
            asked.append(arguments)
            return None if arguments[2] is False else RSV1

        def encode(self, data: bytes, final: bool) -> bytes:
            asked.append(final)
            return data.upper()

        def begin_decode(self, *arguments: Any) -> bool:
            asked.append(arguments)
            return bool(arguments[1] == RSV1)

        def decode(self, data: bytes, final: bool) -> list[bytes]:
            asked.append(final)
            return [data[:1].lower(), data[1:].lower()]

    codec = Upper()
    assert codec.encode_whole(1, b"abc", None) == (RSV1, b"ABC")
    assert codec.encode_whole(2, b"abc", False) is None
    decoded = codec.decode_whole(1, RSV1, b"ABC")
    assert decoded is not None
    assert not isinstance(decoded, bytes)
    assert list(decoded) == [b"a", b"bc"]
    assert codec.decode_whole(2, 0, b"ABC") is None
    assert asked == [(1, 3, None), True, (2, 3, False), (1, RSV1), True, (2, 0)]


def test_what_a_hook_yields_is_not_taken_for_the_whole() -> None:
    class Slip(Codec):
        def begin_decode(self, opcode: int, rsv: int) -> bool:
            return True

        def decode(self, data: bytes, final: bool) -> bytes:  # type: ignore[override]
            return data  # and not `[data]`

    assert not isinstance(Slip().decode_whole(1, 0, b"abc"), bytes)


def test_a_codec_that_says_it_codes_messages_has_to_do_so() -> None:
    with pytest.raises(NotImplementedError):
        Codec().encode(b"", True)
    with pytest.raises(NotImplementedError):
        Codec().decode(b"", True)


def test_a_codec_works_on_frames_if_it_has_either_hook_for_them() -> None:
    class Reads(Codec):
        def decode_frame(self, frame: Frame, limit: int) -> None:
            return None

    class Inherits(Framewise):
        pass

    assert [kind().codes_frames for kind in (Codec, Whole)] == [False, False]
    assert [kind().codes_frames for kind in (Framewise, Reads, Inherits)] == [True] * 3


def test_a_codec_works_on_messages_if_it_decides_on_them_either_way() -> None:
    class Encodes(Codec):
        def begin_encode(self, opcode: int, size: int | None, compress: bool | None) -> int:
            return 0

    class Decodes(Codec):
        def begin_decode(self, opcode: int, rsv: int) -> bool:
            return True

    class Inherits(Encodes):
        pass

    assert [kind().codes_messages for kind in (Codec, Framewise)] == [False, False]
    assert [kind().codes_messages for kind in (Encodes, Decodes, Inherits)] == [True] * 3
    assert not Encodes().codes_frames


# ---- what goes wrong in one ----


def test_a_hook_returns_what_it_returns() -> None:
    assert guard(max, 1, 2) == 2


def test_a_hook_may_fail_the_connection_with_a_code() -> None:
    fault = ProtocolError(3456, "what the extension says")

    def hook(data: bytes) -> None:
        raise fault

    with pytest.raises(ProtocolError, match="what the extension says") as failed:
        guard(hook, b"")
    assert failed.value is fault


@pytest.mark.parametrize(
    "fault", [ValueError("secret"), RecursionError(), StopIteration(), OSError()]
)
def test_whatever_else_a_hook_raises_is_1011_and_does_not_tell_the_peer_why(
    fault: Exception,
) -> None:
    def hook() -> None:
        raise fault

    with pytest.raises(ProtocolError) as failed:
        guard(hook)
    assert (failed.value.code, failed.value.reason) == (1011, "an extension failed")
    assert failed.value.__cause__ is fault


def test_what_ends_the_program_is_not_held_up_by_a_hook() -> None:
    def hook() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard(hook)


# ---- frames through the hooks of all ----


def test_frames_go_through_the_hooks_in_their_order_and_come_back_in_the_reverse() -> None:
    ours = codecs(numbering(), summing())
    encoded = encode_frame(ours, Frame(Opcode.TEXT, b"a", fin=False))
    summed = b"\x00a" + bytes((ord("a"),))
    assert encoded == Frame(Opcode.TEXT, summed, fin=False, rsv3=True)
    decoded = decode_frame(reversed(ours), encoded, 100)
    assert decoded == Frame(Opcode.TEXT, b"a", fin=False)


def test_without_hooks_a_frame_stays_the_same() -> None:
    frame = Frame(Opcode.BINARY, b"a", rsv1=True)
    assert encode_frame((), frame) is frame
    assert decode_frame((), frame, 1) is frame


def test_a_hook_is_shown_data_frames_and_those_of_its_own_opcodes() -> None:
    own, number = codecs(owning(), numbering())
    assert isinstance(own, Own)
    assert encode_frame((own, number), Frame(2, b"a")) == Frame(3, b"ma")
    assert encode_frame((number, own), Frame(2, b"a")) == Frame(3, b"m\x00a")
    assert decode_frame((number, own), Frame(3, b"ma"), 9) == Frame(2, b"a")
    assert decode_frame((own, number), Frame(3, b"m\x00a"), 9) == Frame(2, b"a")
    assert decode_frame((number, own), Frame(0xB, b"x"), 9) is None
    assert own.noted == [(0xB, b"x")]
    # Nobody's, as of a ping.
    for opcode in (Opcode.PING, 0xC):
        assert encode_frame((own, number), Frame(opcode, b"a")) == Frame(opcode, b"a")
        assert decode_frame((own, number), Frame(opcode, b"a"), 9) == Frame(opcode, b"a")


def test_a_frame_that_one_hook_has_dealt_with_comes_to_no_other() -> None:
    gone = codecs(telling(0, decode_frame=lambda frame, limit: None))
    never = codecs(telling(0, decode_frame=raising(AssertionError("asked"))))
    assert decode_frame(gone + never, Frame(2, b"a"), 9) is None


def test_what_a_frame_stands_for_is_within_the_limit_that_its_hook_is_told() -> None:
    told: list[int] = []

    def grow(frame: Frame, limit: int) -> Frame:
        told.append(limit)
        frame.payload *= 10
        return frame

    growing = codecs(telling(0, decode_frame=grow))
    decoded = decode_frame(growing, Frame(2, b"a"), 10)
    assert decoded == Frame(2, 10 * b"a")
    with pytest.raises(MessageTooBig) as error:
        decode_frame(growing, Frame(2, b"a"), 9)
    assert (error.value.size, error.value.limit) == (10, 9)
    assert told == [10, 9]


NO_FRAMES: list[Any] = [5, "frame", b"", object()]
SPOILT = [("opcode", 16), ("opcode", None), ("payload", None), ("payload", "text")]


def spoiling(name: str, value: Any) -> Any:
    def spoil(frame: Frame, limit: int = 0) -> Frame:
        setattr(frame, name, value)
        return frame

    return spoil


@pytest.mark.parametrize(
    "hook",
    [
        *((lambda frame, limit=0, made=made: made) for made in NO_FRAMES),
        *(spoiling(name, value) for name, value in SPOILT),
    ],
)
def test_what_is_no_frame_is_a_fault_of_the_extension(hook: Any) -> None:
    with pytest.raises(ProtocolError) as encoding:
        encode_frame(codecs(telling(0, encode_frame=hook)), Frame(2, b"a"))
    with pytest.raises(ProtocolError) as decoding:
        decode_frame(codecs(telling(0, decode_frame=hook)), Frame(2, b"a"), 9)
    for error in (encoding.value, decoding.value):
        assert error.code == 1011
        assert isinstance(error.__cause__, (TypeError, ValueError))


def test_no_frame_is_swallowed_on_its_way_out() -> None:
    with pytest.raises(ProtocolError, match="an extension failed") as error:
        encode_frame(codecs(telling(0, encode_frame=lambda frame: None)), Frame(2))
    assert isinstance(error.value.__cause__, TypeError)


def test_a_hook_has_no_hold_on_the_frame_that_it_returned() -> None:
    kept = []

    def keep(frame: Frame, limit: int = 0) -> Frame:
        kept.append(frame)
        frame.masking_key = KEY
        return frame

    ours = codecs(telling(0, encode_frame=keep, decode_frame=keep))
    for made in (encode_frame(ours, Frame(2, b"a")), decode_frame(ours, Frame(2, b"a"), 9)):
        kept[-1].payload = b"spoilt"
        assert made == Frame(2, b"a")


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
def test_a_frame_of_an_extension_s_own_is_masked_by_a_client_alone(masked: bool) -> None:
    ours = codecs(numbering(), owning())
    frame = Frame(0xB, b"mine", masking_key=b"" if masked else KEY)
    packed = [pack_own(frame, ours, masked) for _ in range(10)]
    assert [read_frame(data)[:3] for data in packed] == 10 * [(0x8B, masked, b"mine")]
    assert len(set(packed)) == 1 if not masked else len(set(packed)) > 8
    assert pack_own(Frame(0x3, b"x"), ours, False) == unmasked(0x83, b"x")


@pytest.mark.parametrize("opcode", [*Opcode, 0x4, 0xC])
def test_a_frame_of_an_extension_s_own_is_of_an_opcode_that_one_has_claimed(
    opcode: int,
) -> None:
    with pytest.raises(ValueError, match=f"opcode {opcode:#x}, which no extension has claimed"):
        pack_own(Frame(opcode, b"x"), codecs(numbering(), owning()), False)
