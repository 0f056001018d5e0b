"""`reactor/loop/pollable.py`: sockets of this package, and their end after a fork."""

from __future__ import annotations

import gc
import importlib.util
import os
import pathlib
import socket
from typing import TYPE_CHECKING

from reactor.loop import pollable
from reactor.loop.pollable import Pollable, abandon_in_child

from .helpers import status_of_child

if TYPE_CHECKING:
    import pytest


class Dead:
    def __init__(self) -> None:
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


def test_a_socket_is_closed_once_or_more_often() -> None:
    mine, theirs = socket.socketpair()
    with theirs:
        owned = Pollable(mine)
        owned.dispose()
        owned.dispose()
        assert mine.fileno() == -1


def test_in_the_child_of_a_fork_all_that_are_alive_are_told() -> None:
    one, other = Dead(), Dead()
    for dead in (one, other):
        abandon_in_child(dead)

    def look() -> None:
        assert (one.abandoned, other.abandoned) == (1, 1)

    assert status_of_child(look) == 0
    assert (one.abandoned, other.abandoned) == (0, 0)


def test_who_is_no_more_is_forgotten() -> None:
    before = len(pollable._alive)
    dead = Dead()
    abandon_in_child(dead)
    assert len(pollable._alive) == before + 1
    del dead
    gc.collect()
    assert len(pollable._alive) <= before


def test_one_that_goes_while_others_are_told_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = Dead()
    monkeypatch.setattr(pollable, "_alive", {lambda: None, lambda: dead})
    pollable._abandon_all()
    assert dead.abandoned == 1


def test_one_that_fails_keeps_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Dead):
        def abandon(self) -> None:
            raise OSError("no")

    failing, dead = Failing(), Dead()
    monkeypatch.setattr(pollable, "_alive", {lambda: failing, lambda: dead})
    pollable._abandon_all()
    assert dead.abandoned == 1
    assert len(caplog.records) == 1


def test_a_system_without_fork_needs_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    path = pathlib.Path(pollable.__file__)
    spec = importlib.util.spec_from_file_location("reactor.loop.without_fork", path)
    assert spec is not None
    assert spec.loader is not None
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    dead = Dead()
    without.abandon_in_child(dead)
    assert status_of_child(lambda: None) == 0
    without._abandon_all()
    assert dead.abandoned == 1
