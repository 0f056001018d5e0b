"""`reactor/protocol/masking.py`: XOR with a key, and a supply of keys."""

from __future__ import annotations

import os
import runpy
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.protocol import masking
from reactor.protocol.frames import pack_frame
from reactor.protocol.masking import KeyPool, apply_mask, new_key
from tests import programs

from .wire import xor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Mask = Callable[["bytes | bytearray", bytes], "bytes | bytearray"]

PYPY = sys.implementation.name == "pypy"
KEYS = st.binary(min_size=4, max_size=4)
# Around each size at which another way takes over, and each remainder of four.
SIZES = [*range(10), *range(30, 38), *range(124, 128), *range(316, 326), 396, 1021, 4096, 65537]


def by_integers_and_lanes(data: bytes | bytearray, key: bytes) -> bytes | bytearray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_function", None)
        return apply_mask(data, key)


# Each interpreter uses one of these; all have to be right on all.
WAYS = pytest.mark.parametrize(
    "mask",
    [apply_mask, by_integers_and_lanes, masking._mask_by_loop],
)


class Compiled:
    """Stands for compiled code: notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, data: bytes | bytearray | memoryview, key: bytes) -> bytes:
        assert type(key) is bytes
        self.calls.append((type(data).__name__, len(data)))
        return xor(bytes(data), key)


@pytest.fixture
def compiled() -> Iterator[Compiled]:
    """It, not yet in use; what was used before is used again when the test has ended."""
    yield Compiled()
    masking.use(None)


@WAYS
@pytest.mark.parametrize("size", SIZES)
def test_masking_is_the_xor_of_the_specification(mask: Mask, size: int) -> None:
    data = bytes(at * 7 & 0xFF for at in range(size))
    for key in (b"\x37\xfa\x21\x3d", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01"):
        assert mask(data, key) == xor(data, key)


@WAYS
@given(data=st.binary(max_size=1000), key=KEYS)
def test_masking_twice_gives_the_data_back(mask: Mask, data: bytes, key: bytes) -> None:
    assert mask(data, key) == xor(data, key)
    assert mask(bytes(mask(data, key)), key) == data


@WAYS
def test_masking_leaves_its_argument_as_it_was(mask: Mask) -> None:
    for size in (20, 500):
        data = bytearray(size)
        assert mask(data, b"abcd") == xor(bytes(size), b"abcd")
        assert data == bytearray(size)


def test_an_integer_masks_as_many_bytes_as_its_table_reaches() -> None:
    size = 4 * (len(masking.REPEAT) - 1)
    assert size >= masking.LANES_FROM
    assert masking._mask_by_integer(bytes(size), b"abcd") == b"abcd" * (size // 4)
    with pytest.raises(IndexError):
        masking._mask_by_integer(bytes(size + 1), b"abcd")


def test_the_tables_are_made_once() -> None:
    assert masking.tables() is masking.tables()


def test_a_function_in_use_masks_everything(compiled: Compiled) -> None:
    masking.use(compiled)
    compiled.calls.clear()
    assert apply_mask(b"", b"abcd") == b""
    assert apply_mask(b"abcde", b"abcd") == b"\0\0\0\0\4"
    assert apply_mask(bytearray(500), b"abcd") == b"abcd" * 125
    assert compiled.calls == [("bytes", 0), ("bytes", 5), ("bytearray", 500)]


def test_who_has_imported_the_functions_before_has_it_used_too(compiled: Compiled) -> None:
    masking.use(compiled)
    compiled.calls.clear()
    packed = pack_frame(0x82, bytes(1000), True)
    assert packed[8:] == packed[4:8] * 250
    assert compiled.calls == [("bytes", 1000)]


def test_a_function_is_called_for_no_less_than_it_is_worth(compiled: Compiled) -> None:
    masking.use(compiled, least=512)
    compiled.calls.clear()
    for size in (0, 1, 400, 511):
        assert apply_mask(bytes(size), b"abcd") == (b"abcd" * 128)[:size]
    assert compiled.calls == []
    assert apply_mask(bytes(512), b"abcd") == b"abcd" * 128
    assert compiled.calls == [("bytes", 512)]


def test_only_what_is_worth_it_for_the_shortest_is_offered_for_them(
    compiled: Compiled,
) -> None:
    offered = [masking.short]
    for function, least in ((compiled, 1), (compiled, 0), (None, 0)):
        masking.use(function, least=least)
        offered.append(masking.short)
    assert offered == [None, None, compiled, None]


def test_none_brings_back_pure_python(compiled: Compiled) -> None:
    masking.use(compiled, least=7)
    compiled.calls.clear()
    masking.use(None)
    assert apply_mask(bytes(8), b"abcd") == b"abcdabcd"
    assert apply_mask(bytes(400), b"abcd") == b"abcd" * 100
    assert compiled.calls == []


def test_a_function_is_tried_with_every_type_and_size_around_a_word(compiled: Compiled) -> None:
    masking.use(compiled)
    for kind in ("bytes", "bytearray", "memoryview"):
        assert {(kind, size) for size in range(17)} <= set(compiled.calls)


def raising(data: Any, key: bytes) -> bytes:
    if isinstance(data, memoryview):
        raise TypeError("no views")
    return xor(data, key)


def keeping(data: Any, key: bytes, kept: list[memoryview] = []) -> bytes:  # noqa: B006
    kept.append(memoryview(data))
    return xor(bytes(data), key)


def changing(data: Any, key: bytes) -> bytes:
    masked = xor(bytes(data), key)
    if not isinstance(data, bytes):
        data[:] = masked
    return masked


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda data, key: bytes(data), "does not mask a bytes of"),
        (lambda data, key: xor(bytes(data), key[::-1]), "does not mask a bytes of 1 bytes"),
        (lambda data, key: xor(bytes(data), key)[: len(data) & ~3], "of 1 bytes"),
        (lambda data, key: xor(bytes(data), key) + b"x", "of 0 bytes"),
        (lambda data, key: None, "None"),
        (lambda data, key: list(xor(bytes(data), key)), "does not mask"),
        (lambda data, key: memoryview(xor(bytes(data), key)), "does not mask"),
        (raising, "raised for a memoryview of 0 bytes: TypeError.'no views'."),
        (changing, "has changed a bytearray of 2 bytes"),
        pytest.param(
            keeping,
            "has kept the memory",
            marks=pytest.mark.skipif(PYPY, reason="a bytearray of PyPy grows all the same"),
        ),
    ],
)
def test_a_function_that_is_wrong_anywhere_is_refused_and_not_used(
    compiled: Compiled, function: Any, said: str
) -> None:
    masking.use(compiled, least=3)
    with pytest.raises(ValueError, match=said):
        masking.use(function)
    compiled.calls.clear()
    apply_mask(b"abc", b"abcd")
    assert compiled.calls == [("bytes", 3)]
    apply_mask(b"ab", b"abcd")
    assert len(compiled.calls) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("function",), {}, TypeError),
        ((xor,), {"least": 1.0}, TypeError),
        ((xor,), {"least": True}, TypeError),
        ((None,), {"least": "1"}, TypeError),
        ((xor,), {"least": -1}, ValueError),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    arguments: Any, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"least=|cannot be called"):
        masking.use(*arguments, **options)
    assert masking._function is masking._FUNCTION


def test_an_interrupt_while_a_function_is_tried_is_not_its_fault() -> None:
    def interrupted(data: Any, key: bytes) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        masking.use(interrupted)
    assert masking._function is masking._FUNCTION


def test_nothing_is_used_that_nobody_has_asked_for() -> None:
    module = runpy.run_path(masking.__file__)
    assert module["_function"] is (module["_mask_by_loop"] if PYPY else None)


@pytest.mark.skipif(PYPY, reason="has no such part on PyPy")
def test_the_c_part_of_websockets_can_be_used() -> None:
    speedups = programs.module("websockets.speedups")
    try:
        masking.use(speedups.apply_mask)
        assert masking._function is speedups.apply_mask
        assert apply_mask(b"abcdefgh", b"abcd") == xor(b"abcdefgh", b"abcd")
    finally:
        masking.use(None)


def test_keys_are_four_bytes_and_do_not_repeat() -> None:
    pool = KeyPool()
    keys = [pool() for _ in range(3 * KeyPool.SIZE // 4)]
    assert {len(key) for key in keys} == {4}
    # Of 3,072 keys, two are the same in one of a thousand runs; a pool that is read twice, or
    # whose keys overlap, repeats far more of them.
    assert len(set(keys)) >= len(keys) - 2


def test_keys_are_the_system_s_random_bytes_in_order_asked_for_in_bulk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_out: list[bytes] = []

    def urandom(size: int) -> bytes:
        given_out.append(bytes((len(given_out) * 31 + at * 7) & 0xFF for at in range(size)))
        return given_out[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    pool = KeyPool()
    keys = b"".join(pool() for _ in range(2 * KeyPool.SIZE // 4))
    assert keys == b"".join(given_out)
    assert len(given_out) == 2


def test_a_cleared_pool_gives_none_of_its_old_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    pool = KeyPool()
    assert pool() == b"\0\0\0\0"
    monkeypatch.setattr(os, "urandom", lambda size: b"\1" * size)
    pool.clear()
    assert pool() == b"\1\1\1\1"


@pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(os, "register_at_fork"),
    reason="needs os.fork and os.register_at_fork",
)
def test_a_forked_child_does_not_use_the_keys_of_its_parent() -> None:
    new_key()  # so that there is a pool to be inherited
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"".join(new_key() for _ in range(16)))
        finally:
            os._exit(0)
    os.close(writer)
    theirs = os.read(reader, 64)
    os.close(reader)
    assert os.waitpid(child, 0) == (child, 0)
    ours = {new_key() for _ in range(16)}
    assert len(theirs) == 64
    assert not ours & {theirs[at : at + 4] for at in range(0, 64, 4)}


def test_a_system_that_cannot_fork_has_keys_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    module = runpy.run_path(masking.__file__)
    assert len(module["new_key"]()) == 4


def test_keys_are_there_again_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = KeyPool()

    def interrupt(size: int) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", interrupt)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                pool()
    assert len({pool() for _ in range(KeyPool.SIZE)}) > KeyPool.SIZE - 3
