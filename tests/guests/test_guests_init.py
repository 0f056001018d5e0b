from __future__ import annotations

import sys
from typing import Any

import pytest

from reactor import guests
from reactor.guests import Guest
from tests.loop.helpers import run_python

TOOLKITS = ("asyncio", "tkinter", "PySide6", "PyQt6", "gi", "pygame")


def test_each_name_is_a_guest_or_what_one_connects() -> None:
    for name in guests.__all__:
        guest: Any = getattr(guests, name)
        assert issubclass(guest, Guest) or name == "AsyncConnection"
        assert guest.__name__ == name


def test_there_are_no_other_names() -> None:
    with pytest.raises(AttributeError, match=r"'reactor\.guests' has no attribute 'TrioGuest'"):
        guests.TrioGuest  # noqa: B018
    assert set(guests.__all__) <= set(dir(guests))
    assert "__name__" in dir(guests)


@pytest.mark.parametrize("imports", ["reactor.guests", "reactor.guests.guest"])
def test_to_import_it_needs_no_toolkit(imports: str) -> None:
    ran = run_python(f"import sys, {imports}; print(*sys.modules)")
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    assert imports in loaded
    # What an environment has its interpreter load at every start is not for us to decide.
    loaded -= set(run_python("import sys; print(*sys.modules)").stdout.split())
    assert loaded & {*TOOLKITS, "logging", "re", "typing"} == set()


@pytest.mark.parametrize("name", [name for name in guests.__all__ if "Async" not in name])
def test_to_import_a_guest_needs_no_toolkit_either(name: str) -> None:
    ran = run_python(f"import sys; from reactor.guests import {name}; print(*sys.modules)")
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) & set(TOOLKITS) == set()


def test_asyncio_alone_is_imported_with_its_guest() -> None:
    # By its absolute name: beside it there is one of the same name, which is ours.
    assert guests.AsyncioGuest.__module__ == "reactor.guests.asyncio"
    assert sys.modules["asyncio"] is not sys.modules["reactor.guests.asyncio"]
