"""Quoted strings in the values of fields (RFC 9110 §5.6.4).

A list is cut at the separators outside of them. Whoever cuts elsewhere reads another list than
whoever stands between, so what is not whole is refused.
"""

from __future__ import annotations

# Controls other than the tab (RFC 9110 §5.5).
_CONTROLS = frozenset(map(chr, (*range(9), *range(10, 32), 127)))
SPACE = " \t"
_ENDLESS = "quoted string without its end (RFC 9110 §5.6.4)"


def check_value(text: str) -> None:
    """Check that `text` can be a field's value (RFC 9110 §5.5).

    Raises:
        ValueError: It holds a control character, or is not ISO-8859-1.
    """
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("a field's value is ISO-8859-1 (RFC 9110 §5.5)") from None
    if not _CONTROLS.isdisjoint(text):
        raise ValueError("control character in a field's value (RFC 9110 §5.5)")


def split_unquoted(text: str, separator: str) -> list[str]:
    """Return what the separators outside of quoted strings separate, without space around it.

    Args:
        text: The value of a field.
        separator: One character.

    Raises:
        ValueError: A quoted string has no end, or `text` is no field's value.
    """
    check_value(text)
    ends = []
    quoted = escaped = False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == '"':
            quoted = not quoted
        elif quoted:
            escaped = char == "\\"
        elif char == separator:
            ends.append(index)
    if quoted:
        raise ValueError(_ENDLESS)
    starts = [0, *(end + 1 for end in ends)]
    return [text[start:end].strip(SPACE) for start, end in zip(starts, [*ends, len(text)])]


def unquoted(text: str) -> str:
    """Return what a quoted string says (RFC 9110 §5.6.4).

    Args:
        text: Begins with the quote of one.

    Raises:
        ValueError: The quoted string has no end, or the text goes on behind it.
    """
    chars = []
    inside = iter(text[1:])
    for char in inside:
        if char == '"':
            break
        chars.append(next(inside, "") if char == "\\" else char)
    else:
        raise ValueError(_ENDLESS)
    if next(inside, ""):
        raise ValueError(f"{text[:32]!a} goes on behind its quoted string")
    return "".join(chars)


def quoted(text: str) -> str:
    r"""Return `text` as a quoted string (RFC 9110 §5.6.4): `a "b"` becomes `"a \"b\""`.

    Raises:
        ValueError: It holds a control character, or is not ISO-8859-1.
    """
    check_value(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
