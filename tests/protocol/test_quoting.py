"""`reactor/protocol/quoting.py`: quoted strings, and lists that hold some."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.protocol.quoting import SPACE, check_value, quoted, split_unquoted, unquoted

if TYPE_CHECKING:
    from collections.abc import Iterator

# What may stand in a field's value: ISO-8859-1 less the control characters, but the tab.
CONTROLS = [chr(code) for code in (*range(9), *range(10, 32), 127)]
VALUES = st.text(st.characters(max_codepoint=255, blacklist_characters=CONTROLS), max_size=30)
SPACELESS = dict.fromkeys(map(ord, SPACE))
# Of these few characters, quotes and escapes meet more often than in any text.
TANGLES = st.text('"\\,; \tax\xe9', max_size=16)


# ---- what a field's value may be ----


@pytest.mark.parametrize("code", range(256))
def test_a_value_holds_no_control_character_but_the_tab(code: int) -> None:
    text = f"a{chr(code)}b"
    if chr(code) in CONTROLS:
        for refuses in (check_value, quoted, lambda text: split_unquoted(text, ",")):
            with pytest.raises(ValueError, match=r"control character .* \(RFC 9110 §5\.5\)"):
                refuses(text)
    else:
        check_value(text)
        assert split_unquoted(quoted(text), ",") == [quoted(text)]
        assert unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", ["\u20ac", "a\u0100", "\ud800", "\U0001f600"])
def test_a_value_is_iso_8859_1(text: str) -> None:
    for refuses in (check_value, quoted, lambda text: split_unquoted(text, ",")):
        with pytest.raises(ValueError, match=r"is ISO-8859-1 \(RFC 9110 §5\.5\)"):
            refuses(text)


def test_a_control_character_is_refused_inside_of_quotes_and_behind_a_backslash_too() -> None:
    for text in ('"a\nb"', '"\\\0"', '"\\\x7f"'):
        with pytest.raises(ValueError, match="control character"):
            split_unquoted(text, ",")


# ---- lists ----


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        (" \t ", [""]),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a\t, \tb ", ["a", "b"]),
        (",", ["", ""]),
        (",a,,b,", ["", "a", "", "b", ""]),
        ("a b", ["a b"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ('x="a,b" , y', ['x="a,b"', "y"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        (r'"a\\",b', [r'"a\\"', "b"]),
        (r'"\,",b', [r'"\,"', "b"]),
        ('"",","', ['""', '","']),
        ('" a ", b', ['" a "', "b"]),
        # Outside of quotes a backslash is a character like any other.
        (r"a\,b", ["a\\", "b"]),
        (r'\"a,b"', [r'\"a,b"']),
    ],
)
def test_a_list_is_cut_at_separators_outside_of_quotes(text: str, parts: list[str]) -> None:
    assert split_unquoted(text, ",") == parts
    assert split_unquoted(text.replace(",", ";"), ";") == [p.replace(",", ";") for p in parts]


@pytest.mark.parametrize("text", ['"', '"a', 'a"', '"a\\"', '"\\', '"a","b', 'a="b,c', '"""'])
def test_a_quoted_string_without_its_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"without its end \(RFC 9110 §5\.6\.4\)"):
        split_unquoted(text, ",")


@given(st.lists(st.one_of(VALUES.map(quoted), st.text("ab=\\", max_size=5)), min_size=1))
def test_what_was_joined_is_cut_into_the_same(parts: list[str]) -> None:
    assert split_unquoted(",".join(parts), ",") == parts
    assert split_unquoted(" ;\t".join(parts), ";") == parts


@given(st.one_of(TANGLES, VALUES, st.text(max_size=20)), st.sampled_from(",;"))
@example('"\\\\\\"', ",")
def test_any_text_is_cut_into_whole_parts_or_refused(text: str, separator: str) -> None:
    try:
        parts = split_unquoted(text, separator)
    except ValueError:
        return
    if '"' not in text:
        assert parts == [part.strip(SPACE) for part in text.split(separator)]
    # No part is anything else by itself, and nothing but space is lost.
    assert [split_unquoted(part, separator) for part in parts] == [[part] for part in parts]
    assert separator.join(parts).translate(SPACELESS) == text.translate(SPACELESS)


# ---- quoted strings ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('""', ""),
        ('"a"', "a"),
        ('"a b"', "a b"),
        ('" "', " "),
        (r'"a\"b"', 'a"b'),
        (r'"\\"', "\\"),
        (r'"\\\""', '\\"'),
        # "Recipients that process the value of a quoted-string MUST handle a quoted-pair as if
        # it were replaced by the octet following the backslash" (RFC 9110 §5.6.4).
        (r'"\a\,\ "', "a, "),
        ('"\xe9\t"', "\xe9\t"),
    ],
)
def test_a_quoted_string_says_what_is_in_it_less_its_escapes(text: str, said: str) -> None:
    assert unquoted(text) == said


@pytest.mark.parametrize("text", ['""a', '"" ', '"a"b"', '"a""b"', r'"\\"a"', '"a"\\', '"""'])
def test_what_goes_on_behind_a_quoted_string_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="goes on behind its quoted string"):
        unquoted(text)


@pytest.mark.parametrize("text", ['"', '"a', '"a b', r'"\"', '"\\', r'"a\\\"'])
def test_a_quoted_string_that_has_no_end_says_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="without its end"):
        unquoted(text)


def test_the_reason_holds_the_beginning_alone_and_is_ascii() -> None:
    with pytest.raises(ValueError, match="goes on") as refused:
        unquoted('"\xe9"' + 9000 * "x")
    assert str(refused.value).isascii()
    assert len(str(refused.value)) < 100


@given(VALUES)
def test_whatever_is_quoted_is_one_part_and_comes_out_again(text: str) -> None:
    one = quoted(text)
    assert unquoted(one) == text
    assert split_unquoted(f"{one},{one}", ",") == [one, one]


@given(st.one_of(TANGLES, VALUES))
def test_what_is_one_quoted_string_is_quoted_to_what_says_the_same(text: str) -> None:
    try:
        said = unquoted(f'"{text}')
    except ValueError:
        return
    assert unquoted(quoted(said)) == said


def test_quotes_and_backslashes_are_escaped_and_nothing_else() -> None:
    assert quoted('a "b"') == r'"a \"b\""'
    assert quoted("\\") == r'"\\"'
    assert quoted("") == '""'
    assert quoted("a,;=\t\xff") == '"a,;=\t\xff"'


# ---- work ----


class Counted(str):
    """Counts the characters that are looked at one by one, or copied."""

    __slots__ = ()
    work = 0

    def __iter__(self) -> Iterator[str]:
        for char in super().__iter__():
            Counted.work += 1
            yield char

    def __getitem__(self, index: Any) -> Counted:
        found = super().__getitem__(index)
        Counted.work += len(found)
        return Counted(found)


@pytest.mark.parametrize("part", ["\\c", '""', ",", "a,", " ", '"a",', '\\"'])
@pytest.mark.parametrize("opened", ["", '"'])
def test_work_grows_as_the_text_does(
    monkeypatch: pytest.MonkeyPatch, opened: str, part: str
) -> None:
    text = opened + part * 4000
    for step in (lambda: split_unquoted(Counted(text), ","), lambda: unquoted(Counted(text))):
        monkeypatch.setattr(Counted, "work", 0)
        with contextlib.suppress(ValueError):
            step()
        assert 0 < Counted.work < 4 * len(text)
