"""Messages larger than memory: up through `onfragment`, down from a generator.

Server and client are ours, each a process of its own, and the memory of both is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reactor import State
from tests.measured import KIB, MIB, TELLS, child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.measured import Child
    from tests.scripted import Net

GIB = 1024 * MIB
# Where memory cannot be looked at, less is enough to see that it arrives.
SIZE = 2 * GIB if TELLS else 64 * MIB
# What is compressed takes ten times as long.
SIZES = {False: SIZE, True: SIZE // 8}


def through(sender: Child, receiver: Child) -> tuple[dict[str, Any], dict[str, Any]]:
    """Have one send its message to the other; return what both say when it is through."""
    for who in (sender, receiver):
        who.ask("opened")
        who.ask("begin")
    sender.ask("send")
    received = receiver.ask("finals")
    return sender.ask(), received


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("compress", [False, True])
def test_a_message_of_two_gibibytes_needs_no_memory(direction: str, compress: bool) -> None:
    size = SIZES[compress]
    wanted = {"parts": True, "size": size, "check": True, "options": {"compress": compress}}
    with child(**wanted) as server:
        uri = f"ws://127.0.0.1:{server.port}/"
        with child(**wanted, uri=uri) as client:
            ends = (client, server) if direction == "up" else (server, client)
            sent, received = through(*ends)
    assert (received["bytes"], received["finals"]) == (size, 1)
    assert received["crc"] == sent["crc"]
    assert received["largest"] <= 65 * KIB
    assert sent["ends"] == received["ends"] == []
    if TELLS:
        for who in (sent, received):
            grown = who["most"] - who["start"]
            assert grown < 64 * MIB, f"{grown / MIB:.1f} MiB"


class Slow:
    """Takes one part, and then pauses until it is told to go on."""

    def __init__(self) -> None:
        self.size = self.parts = self.finals = 0
        self.paused: list[Any] = []

    def __call__(self, who: Any, data: bytes, final: bool) -> None:
        self.size += len(data)
        self.parts += 1
        self.finals += final
        who.pause()
        self.paused.append(who)

    def go_on(self) -> None:
        for who in self.paused:
            who.resume()
        self.paused.clear()


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("compress", [False, True])
def test_whoever_pauses_holds_up_the_sender_and_gets_all(
    net: Net, direction: str, compress: bool, secure: bool
) -> None:
    asked: list[int] = []
    # Of zeros, compressed, the system alone would take hundreds of megabytes.
    count, part = (40, bytes(16 * MIB)) if compress else (200, bytes(100_000))

    def parts() -> Iterator[bytes]:
        for number in range(count):
            asked.append(number)
            yield part

    slow = Slow()
    options = {"onfragment": slow, "compress": compress}
    client, server = net.meet(secure, options, **options)
    sender: Any = client if direction == "up" else server.met[0]
    sender.send(parts())
    for _ in range(100):
        net.reactor.step(0)
    assert slow.parts == 1
    if not compress:
        assert len(asked) < count, "the system has taken all of it"

    def through() -> bool:
        slow.go_on()
        return slow.finals == 1

    # With a part for each step, only as much as makes sure that they follow each other.
    for number in range(200):
        net.until(lambda: slow.paused)
        assert slow.parts == number + 1
        slow.go_on()
    assert client.is_in(State.OPEN)
    if not compress:
        net.until(through)
        assert slow.size == count * len(part)
        assert len(asked) == count
