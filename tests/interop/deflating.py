"""What is sent over permessage-deflate to try it: parameter sets, and sequences of messages.

A message is described by a few small numbers, so that whoever draws them, a seeded generator or
hypothesis, finds the sizes, the contents and the cuts that matter.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hypothesis import strategies as st

Message = Union[str, bytes]
# Whether to compress, `None` for no wish; and in how many fragments, 0 for whole.
Way = tuple[Optional[bool], int]

# Parameters of RFC 7692 section 7.1, under names for the tests.
SETS: dict[str, dict[str, Any]] = {
    "default": {},
    "server forgets": {"server_no_context_takeover": True},
    "client forgets": {"client_no_context_takeover": True},
    "both forget": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    **{
        f"{bits} bits": {"server_max_window_bits": bits, "client_max_window_bits": bits}
        for bits in range(9, 16)
    },
    "all of it": {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 9,
        "client_max_window_bits": 10,
    },
}
SIZES = (0, 1, 5, 125, 126, 127, 255, 256, 1000, 4097, 65535, 65536, 100 * 1024)
KINDS = ("words", "snow", "zeros", "noise", "loop of 300", "loop of 5000", "loop of 40000")
# What a sender is told, in turn: every wish, whole and in fragments.
WAYS: tuple[Way, ...] = (
    (None, 0),
    (True, 0),
    (False, 0),
    (True, 3),
    (None, 2),
    (True, 0),
    (False, 4),
    (None, 1),
)
# Kind, size and seed of what an item says; whether to compress it; in how many fragments.
Plan = tuple[str, int, int, Optional[bool], int]


class Item(NamedTuple):
    """A message, and how to send it."""

    message: Message
    compress: bool | None
    fragments: int

    @classmethod
    def of(cls, plan: Plan) -> Item:
        kind, size, seed, compress, fragments = plan
        return cls(content(kind, size, seed), compress, fragments)


def content(kind: str, size: int, seed: int) -> Message:
    """Return a message of `size` bytes, or a little less if it is text that is not ASCII."""
    chance = random.Random(seed)
    if kind == "words":
        words = ["grüße", "zażółć", "snow☃", "😀", "null", "true", '{"key": ', "}, "]
        text = "".join(chance.choices(words, k=size // 4 + 1))
        return text.encode()[:size].decode(errors="ignore")
    if kind == "snow":
        return "☃" * (size // 3)
    if kind == "zeros":
        return bytes(size)
    if kind == "noise":
        return chance.randbytes(size)
    # Shrinks only with a window that is as large as the loop.
    loop = chance.randbytes(int(kind.split()[-1]))
    return (loop * (size // len(loop) + 1))[:size]


def cut(message: Message, count: int) -> list[Any]:
    """Return a message in `count` parts, of which some are empty if it is short."""
    step = len(message) // count + 1
    return [message[number * step : (number + 1) * step] for number in range(count)]


def sequence(name: str, count: int) -> Iterator[Item]:
    """Yield messages that follow from `name`; one in five repeats the last one."""
    chance = random.Random(name)
    message: Message = ""
    for number in range(count):
        if chance.random() > 0.2:
            message = content(chance.choice(KINDS), chance.choice(SIZES), number)
        fragments = chance.choice((0, 0, 0, 1, 2, 5))
        yield Item(message, chance.choice((None, True, False)), fragments)


def plans() -> st.SearchStrategy[list[Plan]]:
    """Return what draws sequences, of plans: it is not to wait for 100 KiB to be made."""
    from hypothesis import strategies as st  # which the servers can do without

    plan = st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from(SIZES),
        st.integers(0, 2),
        st.sampled_from([None, True, False]),
        st.sampled_from([0, 1, 2, 5]),
    )
    return st.lists(plan, max_size=8)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield what is sent in one go, before an answer is waited for."""
    waiting = iter(items)
    while True:
        batch = list(itertools.islice(waiting, 6))
        if not batch:
            return
        yield batch


def check(heard: Message, item: Item) -> None:
    """Compare; here and not in a test, where pytest would compare 100 KiB line by line."""
    if heard != item.message:
        kinds = type(heard).__name__, type(item.message).__name__
        raise AssertionError(f"{kinds}, {len(heard)} and {len(item.message)}: {item!r:.200}")


def in_ws(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters under the names that node's ws has for them."""
    return {
        re.sub("_(.)", lambda found: found[1].upper(), name): value
        for name, value in parameters.items()
    }


def is_in(parameters: Mapping[str, Any], agreed: str) -> bool:
    """Return whether these were agreed on, of which those without effect may be missing."""
    found = [part.strip() for part in agreed.split(";")]
    wanted = [
        name if value is True else f"{name}={value}"
        for name, value in parameters.items()
        if value != 15
    ]
    return found[0] == "permessage-deflate" and set(wanted) <= set(found)
