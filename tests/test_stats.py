"""`reactor/stats.py`: what the connections of a server or a client have carried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reactor import Server, TextMessage
from reactor.loop.tally import Tally
from reactor.stats import TrafficStats
from tests.recorder import BINARY, TEXT, masked, meet

if TYPE_CHECKING:
    from tests.scripted import Net

KIB = 1024


def numbers(stats: TrafficStats) -> dict[str, Any]:
    return {name: getattr(stats, name) for name in TrafficStats.__slots__}


def test_it_is_what_the_tally_says_at_one_moment() -> None:
    tally = Tally()
    tally.bytes_received, tally.bytes_sent = 10, 20
    tally.messages_received, tally.messages_sent = 1, 2
    stats = TrafficStats(tally, 5.0, 3, 4)
    tally.bytes_sent = 99
    assert numbers(stats) == {
        "connections": 3,
        "openings": 4,
        "bytes_received": 10,
        "bytes_sent": 20,
        "messages_received": 1,
        "messages_sent": 2,
        "queued": 0,
        "queues": 0,
        "queue_age": 0.0,
    }


def test_the_numbers_say_all_of_themselves() -> None:
    assert repr(TrafficStats(Tally(), 5.0, 3, 4)) == (
        "TrafficStats(bytes_received=0, bytes_sent=0, connections=3, messages_received=0,"
        " messages_sent=0, openings=4, queue_age=0.0, queued=0, queues=0)"
    )


class Untouchable(set[Any]):
    """Connections that may be counted, and not gone through."""

    def __iter__(self) -> Any:
        raise AssertionError("it goes through the connections")


def test_it_costs_the_same_for_any_number_of_connections() -> None:
    server: Any = Server()
    clients = server.clients
    server.clients = Untouchable(range(10_000))
    assert server.stats().connections == 10_000
    server.clients = clients
    server.close()


def test_messages_count_once_however_they_come_and_go() -> None:
    with meet() as peer:
        opened = peer.server.stats()
        assert (opened.connections, opened.openings) == (1, 0)
        assert (opened.messages_received, opened.messages_sent) == (0, 0)
        peer.deliver(masked(TEXT, b"one") + masked(BINARY, b"two"))
        peer.deliver(masked(0x01, b"thr") + masked(0x89, b"ping") + masked(0x80, b"ee"))
        came = peer.server.stats()
        assert came.messages_received == 3
        client = peer.client
        for message in ("one", b"two", TextMessage("three"), ["fo", "ur"]):
            client.send(message)
        client.ping()
        peer.server.broadcast("five")
        peer.settle()
        sent = peer.server.stats()
        assert sent.messages_sent - came.messages_sent == 5
        client.close()
        client.send("nobody hears this")
        peer.settle()
        ended = peer.server.stats()
        assert ended.messages_sent == sent.messages_sent
        assert (ended.connections, ended.queued, ended.queues) == (0, 0, 0)
        assert ended.bytes_sent > sent.bytes_sent


def test_to_count_a_message_leaves_nothing_behind() -> None:
    # What counts a thousand more holds numbers as before, and nothing else.
    with meet(do={"onmessage": lambda client, message: client.send(message)}) as peer:

        def kept() -> list[Any]:
            held = (getattr(peer.server.tally, name) for name in Tally.__slots__)
            return [each for each in held if not isinstance(each, int)]

        assert not hasattr(peer.server.tally, "__dict__")
        for messages in (1000, 2000):
            peer.deliver(masked(TEXT, b"x") * 1000)
            assert peer.server.stats().messages_sent == messages
            assert kept() == [{}], "and no queue is left"


def test_parts_are_one_message() -> None:
    with meet(onfragment=lambda client, data, final: None) as peer:
        peer.deliver(masked(TEXT, b"one"))
        peer.deliver(masked(0x01, b"tw") + masked(0x80, b"o"))
        assert peer.server.stats().messages_received == 2


def test_what_waits_in_queues_is_counted_and_how_long() -> None:
    with meet(max_write_queue=1 << 30, write_timeout=1000) as peer:
        peer.stop_reading()
        before = peer.server.stats()
        peer.client.send(bytes(100 * KIB))
        stats = peer.server.stats()
        assert (stats.queues, stats.queue_age) == (1, 0.0)
        assert stats.queued == 100 * KIB + 10 - (stats.bytes_sent - before.bytes_sent)
        peer.advance(7)
        assert peer.server.stats().queue_age == pytest.approx(7)
        peer.client.abort()
        peer.settle()
        dropped = peer.server.stats()
        assert (dropped.queues, dropped.queued, dropped.queue_age) == (0, 0, 0.0)


def test_a_client_counts_over_all_its_connections(net: Net) -> None:
    client, server = net.meet(False)
    client.send("hello")
    net.until(lambda: server.stats().messages_received)
    both = client.stats(), server.stats()
    assert "connections=1, " in repr(both[0])
    assert "openings=0, " in repr(both[0])
    assert [each.connections for each in both] == [1, 1]
    assert both[0].messages_sent == both[1].messages_received == 1
    assert both[0].bytes_sent == both[1].bytes_received
    client.close()
    net.until(lambda: client.stats().connections == 0)
    assert client.stats().messages_sent == 1


def test_an_attempt_is_an_opening(net: Net) -> None:
    client = net.client("ws://a.test/", resolver=lambda *args: None)
    net.until(lambda: client.stats().openings == 1)
    assert client.stats().connections == 0
    client.abort()
    net.until(lambda: client.stats().openings == 0)
