"""Which paths a server has: patterns, in which a name in braces stands for a segment.

A server that has none but itself never imports this.
"""

from __future__ import annotations

from .http import unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


class Locations:
    """Which paths exist, as patterns with a value each.

    Args:
        patterns: As in `"/chat/{room}"`, where a name in braces stands for one segment that is
            not empty. A mapping gives each pattern a value, for `find` to return.

    Raises:
        ValueError: A pattern does not begin with a slash, or a name occurs in it twice.
    """

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Mapping[str, Any] | Iterable[str]) -> None:
        pairs = (
            patterns.items() if hasattr(patterns, "items") else ((p, None) for p in patterns)
        )
        self._patterns = [(_segments(pattern), value) for pattern, value in pairs]

    def find(self, path: str) -> tuple[dict[str, str], Any] | None:
        """Return the parameters and the value of the first pattern that fits, or `None`.

        Args:
            path: As it came: a slash that is percent-encoded is part of its segment (RFC 3986
                §2.2).
        """
        segments = [unquote(segment) for segment in path.split("/")]
        for pattern, value in self._patterns:
            if len(pattern) == len(segments):
                params: dict[str, str] = {}
                if all(map(_fits, pattern, segments, [params] * len(pattern))):
                    return params, value
        return None


def _segments(pattern: str) -> list[str]:
    segments = pattern.split("/")
    names = [segment for segment in segments if _is_name(segment)]
    if segments[0] or len(segments) < 2 or len(set(names)) < len(names):
        raise ValueError(f"location {pattern!r} must begin with a slash and name a part once")
    return segments


def _is_name(segment: str) -> bool:
    return segment[:1] == "{" and segment[-1:] == "}"


def _fits(pattern: str, segment: str, params: dict[str, str]) -> bool:
    if not _is_name(pattern):
        return pattern == segment
    params[pattern[1:-1]] = segment
    return bool(segment)
