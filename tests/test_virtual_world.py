"""The server, whole, in a virtual world: clients that do all that clients do, seed after seed.

Each seed is a network, the options of a server and a dozen clients; `tests/virtual/` has the
roles, what must come of each, and what must hold after every step.

    REACTOR_SEEDS=10000 python -m pytest tests/test_virtual_world.py        the first 10,000
    REACTOR_SEEDS=417-418 python -m pytest tests/test_virtual_world.py      one again
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wsproto.frame_protocol import ParseFailed

from reactor import Connection, Server
from reactor.protocol.frames import pack_frame
from reactor.testing import World
from tests.virtual.laws import Oracle, check_server
from tests.virtual.role import Boom, Role
from tests.virtual.roles import CATALOGUE
from tests.virtual.stage import Stage, watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.virtual.role import Script

ROOT = Path(__file__).parents[1]
# On CPython 1,000 take some 40 seconds; PyPy is slow until it is warm.
DEFAULT = "1000" if sys.implementation.name == "cpython" else "100"
BLOCK = 25
HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def chosen(text: str) -> range:
    first, _, last = text.rpartition("-")
    return range(int(first or 0), int(last))


SEEDS = chosen(os.environ.get("REACTOR_SEEDS", DEFAULT))
# So many everywhere, the others on one interpreter.
FEW = 100
BLOCKS = [
    pytest.param(
        SEEDS[start : start + BLOCK], marks=[pytest.mark.measured] if start >= FEW else []
    )
    for start in range(0, len(SEEDS), BLOCK)
]


def play(seed: int, kinds: list[type[Role]] = CATALOGUE, network: int | None = None) -> Stage:
    stage = Stage(seed, kinds, network)
    try:
        stage.play()
    except Exception as error:
        path = Path(__file__).relative_to(ROOT)
        again = f"REACTOR_SEEDS={seed}-{seed + 1} python -m pytest {path}"
        raise AssertionError(f"seed {seed}, network {network}: {error!r}\n{again}") from error
    return stage


@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_clients_and_the_network_do_each_gets_its_due_and_the_laws_hold(
    seeds: range,
) -> None:
    for seed in seeds:
        play(seed)


@pytest.mark.parametrize("seed", SEEDS[:: max(1, len(SEEDS) // 50)])
def test_what_is_told_does_not_depend_on_how_the_network_cuts_and_delays(seed: int) -> None:
    kinds = [kind for kind in CATALOGUE if kind.determined]
    one, other = play(seed, kinds), play(seed, kinds, network=seed + 1_000_000)
    assert one.world.digest != other.world.digest
    compared = 0
    for mine, theirs in zip(one.roles, other.roles):
        assert type(mine) is type(theirs)
        if mine.determined and not mine.disturbed and not theirs.disturbed:
            compared += 1
            assert mine.outcome() == theirs.outcome(), (seed, mine)
    assert compared or one.stops_at is not None


def staged(seed: int) -> Stage:
    stage = Stage(seed, CATALOGUE)
    stage.world.close()
    return stage


def digest_of(seed: int) -> str:
    return play(seed).world.digest


def test_a_seed_is_the_same_to_the_last_byte_in_every_process() -> None:
    # In TLS the bytes are other ones each time.
    seeds = [seed for seed in SEEDS[:12] if not staged(seed).secure]
    program = (
        "from tests.test_virtual_world import digest_of\n"
        f"for seed in {seeds}: print(digest_of(seed))"
    )
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split() == [digest_of(seed) for seed in seeds]


def test_every_role_is_played_and_every_option_is_tried() -> None:
    stages = [staged(seed) for seed in range(100)]
    assert {type(role) for stage in stages for role in stage.roles} == set(CATALOGUE)
    for name in ("compresses", "in_parts", "proxied", "secure", "stalls", "tells"):
        assert {getattr(stage, name) for stage in stages} == {False, True}
    assert len({stage.world.budget for stage in stages}) == 2


# ---- that the suite can fail ----


class Wrong(Role):
    """One that expects what does not come."""

    def script(self) -> Script:
        self.connect()
        yield self.opened
        self.visitor.close()
        yield self.ended

    def check(self) -> None:
        assert self.visitor.received == ["a present"]


class Patient(Wrong):
    """One that waits for what does not come."""

    def script(self) -> Script:
        self.connect()
        yield lambda: self.visitor.received


@pytest.mark.parametrize(("kind", "words"), [(Wrong, "a present"), (Patient, "in vain")])
def test_a_failure_names_the_seed_and_how_to_see_it_again(kind: type[Role], words: str) -> None:
    with pytest.raises(AssertionError, match=r"REACTOR_SEEDS=0-1 (?s:.)*") as failure:
        play(0, [kind])
    assert words in str(failure.value)


def test_what_the_package_logs_as_an_error_is_noticed() -> None:
    class Unmeant(Wrong):
        def onopen(self, client: Connection) -> None:
            raise LookupError

    with pytest.raises(AssertionError, match="something else was logged"):
        play(0, [Unmeant])


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\x88\x00\x88\x00",
        HEAD + b"\x88\x00\x81\x01x",
        HEAD + b"\x81\x01\xff",
        HEAD + b"\x81\x81\0\0\0\0x",
        HEAD + b"\x01\x01x\x81\x01x",
        HEAD + b"\xc1\x01x",
    ],
)
def test_the_oracle_finds_what_no_server_may_send(data: bytes) -> None:
    def hear(pieces: list[bytes]) -> None:
        oracle = Oracle()
        for piece in pieces:
            oracle.hear(piece)

    with pytest.raises((AssertionError, ParseFailed)):
        hear([data])
    with pytest.raises((AssertionError, ParseFailed)):
        hear([bytes([byte]) for byte in data])


def test_the_oracle_hears_messages_and_the_end() -> None:
    oracle = Oracle()
    parts = pack_frame(0x01, b"a", False) + b"\x89\x00" + pack_frame(0x80, b"b", False)
    oracle.hear(HEAD + parts + b"\x82\x01x\x88\x02\x03\xe8")
    assert oracle.messages == ["ab", b"x"]
    assert oracle.closes == [(1000, "")]


def break_timer(client: Any) -> None:
    client._deadlines._timer.cancel()


def break_count(client: Any) -> None:
    client._transport.buffered += 1


def break_interest(client: Any) -> None:
    client._transport._watch(3)


def break_map(client: Any) -> None:
    client.reactor.unregister(client._transport.sock)


def break_owner(client: Any) -> None:
    client.reactor._pollables.discard(client._transport)


def break_end(client: Any) -> None:
    client.reactor.release(client._transport)
    client._transport.buffered = 1


def add_timer(client: Any) -> None:
    client.reactor.call_later(1, print)


def cork(client: Any) -> None:
    client._transport.cork()


@pytest.mark.parametrize(
    "harm",
    [
        *[break_timer, break_count, break_interest, break_map, break_owner, break_end],
        *[add_timer, cork],
    ],
)
def test_the_laws_find_what_breaks_them(harm: Callable[[Any], None]) -> None:
    with World(seed=1) as world:
        server = world.server(Server)
        world.connect(server)
        world.run(1)
        check_server(server, 0, 0)
        [client] = server.clients
        harm(client)
        with pytest.raises(AssertionError):
            check_server(server, 0, 0)


def test_what_is_logged_is_collected() -> None:
    with World(seed=1) as world, watched() as errors:
        server = world.server(Server)

        def onopen(client: Connection) -> None:
            raise Boom

        server.onopen = onopen  # type: ignore[method-assign]
        world.connect(server)
        world.run(1)
    assert [type(error) for error in errors] == [Boom]
