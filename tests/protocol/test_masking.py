"""`reactor/protocol/masking.py`: XOR with a key, and a supply of keys."""

from __future__ import annotations

import os
import runpy
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.protocol import masking
from reactor.protocol.masking import KeyPool, apply_mask, mask_in_place, new_key

from .wire import xor

if TYPE_CHECKING:
    from collections.abc import Callable

    Mask = Callable[["bytes | bytearray", bytes], "bytes | bytearray"]
    MaskRegion = Callable[[bytearray, int, int, bytes], None]

KEYS = st.binary(min_size=4, max_size=4)
# Around each size at which another way takes over, and each remainder of four.
SIZES = [*range(10), *range(30, 38), *range(124, 128), *range(396, 406), 1021, 4096, 65537]

# Each interpreter uses two of these; all have to be right on all.
WAYS = pytest.mark.parametrize(
    "mask", [apply_mask, masking._mask_by_lanes, masking._mask_by_loop]
)
REGIONS = pytest.mark.parametrize(
    "mask_region",
    [mask_in_place, masking._mask_region_by_lanes, masking._mask_region_by_loop],
)


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


@REGIONS
@given(data=st.binary(max_size=600), edges=st.tuples(st.integers(0, 600), st.integers(0, 600)))
def test_masking_in_place_changes_its_region_alone(
    mask_region: MaskRegion, data: bytes, edges: tuple[int, int]
) -> None:
    start, end = sorted(min(edge, len(data)) for edge in edges)
    buffer = bytearray(data)
    mask_region(buffer, start, end, b"\x01\x20\x03\x40")
    middle = xor(data[start:end], b"\x01\x20\x03\x40")
    assert buffer == data[:start] + middle + data[end:]


@REGIONS
@pytest.mark.parametrize("start", range(5))
@pytest.mark.parametrize("size", [*range(9), 401])
def test_the_key_begins_where_the_region_does(
    mask_region: MaskRegion, start: int, size: int
) -> None:
    buffer = bytearray(start + size + 3)
    mask_region(buffer, start, start + size, b"abcd")
    assert buffer == bytes(start) + (b"abcd" * 101)[:size] + bytes(3)


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
