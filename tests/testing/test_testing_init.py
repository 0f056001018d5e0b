"""`reactor/testing/__init__.py`: the names, and the examples of the docstrings and the docs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from reactor import Connection, Server, testing
from reactor.testing import world

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Chat(Server):
    def onopen(self, client: Connection) -> None:
        self.broadcast("* someone came")


def test_the_names_are_all_there() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__module__.startswith("reactor.testing.")
    assert testing.__all__ == sorted(testing.__all__)


def functions(text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a text, one after the other, and return what they have defined."""
    # All of them are in one module here.
    for block in BLOCK.findall(text.replace("from test_chat import Chat\n", "")):
        exec(compile(block, "block", "exec"), names)
    return {name: value for name, value in names.items() if name.startswith("test_")}


TOLD = functions(testing.__doc__ or "", {"Chat": Chat, **vars(testing)})
SHOWN = functions((ROOT / "docs" / "testing.md").read_text("utf-8"), {"__name__": "block"})


@pytest.mark.parametrize("name", TOLD)
def test_the_examples_of_the_docstring_pass(name: str) -> None:
    TOLD[name]()


def test_the_page_shows_tests() -> None:
    assert len(TOLD) == 2
    assert len(SHOWN) > 4


@pytest.mark.parametrize("name", SHOWN)
def test_the_tests_on_the_page_pass(name: str) -> None:
    takes_seed = SHOWN[name].__code__.co_argcount
    for seed in range(20 if takes_seed else 1):  # as many as the page names
        SHOWN[name](*([seed] if takes_seed else []))


def test_the_example_of_the_world_is_what_it_shows() -> None:
    failed, attempted = doctest.testmod(world)
    assert (failed, attempted) == (0, 4)
