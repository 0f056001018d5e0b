"""`reactor/protocol/locations.py`: which paths a server has."""

from __future__ import annotations

import pytest

from reactor.protocol.locations import Locations


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ({}, "root")),
        ("/chat", ({}, "chat")),
        ("/%63hat", ({}, "chat")),
        ("/chat/42", ({"room": "42"}, "room")),
        ("/chat/a%20b%C3%A9", ({"room": "a bé"}, "room")),
        ("/chat/a%2Fb", ({"room": "a/b"}, "room")),
        ("/chat/%7Broom%7D", ({"room": "{room}"}, "room")),
        ("/chat/42/x", ({"room": "42", "who": "x"}, "both")),
        ("/caf%C3%A9", ({}, "café")),
        *[("/chat/", None), ("/Chat", None), ("/chat%2F42", None), ("//", None), ("", None)],
        *[("/chat//x", None), ("/chat/1/2/3", None), ("/chat/..", ({"room": ".."}, "room"))],
    ],
)
def test_a_location_is_the_first_pattern_that_fits(path: str, found: object) -> None:
    patterns = {
        "/": "root",
        "/chat": "chat",
        "/chat/{room}": "room",
        "/chat/{other}": "never",
        "/chat/{room}/{who}": "both",
        "/café": "café",
    }
    assert Locations(patterns).find(path) == found


def test_locations_without_values_have_none() -> None:
    assert Locations(["/a/{b}"]).find("/a/c") == ({"b": "c"}, None)


@pytest.mark.parametrize("pattern", ["", "chat", "{a}", "{a}/b", "/{a}/{a}"])
def test_a_pattern_begins_with_a_slash_and_names_a_part_once(pattern: str) -> None:
    with pytest.raises(ValueError, match="must begin with a slash and name a part once"):
        Locations([pattern])
