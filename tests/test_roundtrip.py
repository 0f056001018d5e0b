"""`reactor/roundtrip.py`: how long a peer takes to answer, and what its clock says."""

from __future__ import annotations

import random

import pytest

from reactor import Reactor, Server
from reactor.client import Client
from reactor.roundtrip import RoundTrips
from reactor.testing import FakeClock
from tests.recorder import meet


def answer(trips: RoundTrips, sent: float, after: float) -> None:
    trips.answered(trips.stamp(sent), sent + after)


def test_nothing_is_known_before_the_first_answer() -> None:
    trips = RoundTrips()
    trips.stamp(1.0)
    trips.heard(RoundTrips().stamp(5.0), 1.0)
    assert (trips.rtt, trips.jitter, trips.offset) == (None, None, None)


def test_the_last_answer_says_how_long_it_took() -> None:
    trips = RoundTrips()
    for sent, after in ((1.0, 0.25), (2.0, 0.5)):
        answer(trips, sent, after)
        assert trips.rtt == pytest.approx(after)


def test_of_several_on_their_way_any_may_be_answered_and_each_once() -> None:
    trips = RoundTrips()
    stamps = [trips.stamp(float(second)) for second in range(5)]
    trips.answered(stamps[1], 5.0)
    assert trips.rtt == pytest.approx(4.0)
    for old in stamps[:2]:
        trips.answered(old, 9.0)
    assert trips.rtt == pytest.approx(4.0)
    trips.answered(stamps[4], 5.5)
    assert trips.rtt == pytest.approx(1.5)


def test_two_in_one_tick_of_a_coarse_clock_are_two() -> None:
    trips = RoundTrips()
    stamps = [trips.stamp(3.0) for _ in range(3)]
    assert len(set(stamps)) == 3
    trips.answered(stamps[2], 3.0)
    assert trips.rtt == 0.0


@pytest.mark.parametrize(
    "stamp", [-(1 << 63), -(1 << 63) + 1, -1, 0, 1, 99_999_999, (1 << 63) - 1]
)
def test_an_answer_from_before_the_first_ping_changes_nothing(stamp: int) -> None:
    trips = RoundTrips()
    made_up = b"wsrt" + stamp.to_bytes(8, "big", signed=True)
    trips.answered(made_up, 100.0)
    sent = trips.stamp(100.0)
    trips.answered(made_up, 100.5)
    assert (trips.rtt, trips.jitter) == (None, None)
    trips.answered(sent, 100.5)
    assert trips.rtt == pytest.approx(0.5)


def test_times_before_zero_are_times() -> None:
    trips = RoundTrips()
    answer(trips, -5.0, 0.25)
    assert trips.rtt == pytest.approx(0.25)


@pytest.mark.parametrize(
    "payload",
    [b"", b"wsrt", b"12345678", b"wsrt" + bytes(7), b"wsrt" + bytes(9), b"xxxx" + bytes(8)],
)
def test_what_we_have_not_sent_changes_nothing(payload: bytes) -> None:
    trips = RoundTrips()
    trips.answered(RoundTrips().stamp(1.0), 2.0)
    trips.stamp(1.0)
    for foreign in (payload, RoundTrips().stamp(1.5), RoundTrips().stamp(-9e9)):
        trips.answered(foreign, 2.0)
        trips.heard(payload, 2.0)
    assert trips.rtt is None or trips.rtt >= 0
    assert trips.offset is None


def test_a_time_that_was_never_ours_is_no_round_trip() -> None:
    trips = RoundTrips()
    answer(trips, 10.0, 0.5)
    later, earlier = RoundTrips(), RoundTrips()
    trips.answered(later.stamp(10.2), 11.0)
    trips.answered(earlier.stamp(9.9), 11.0)
    assert trips.rtt == pytest.approx(0.5)


def test_jitter_is_a_running_mean_of_what_changes() -> None:
    trips = RoundTrips()
    expected = 0.0
    before = None
    for number, after in enumerate((0.1, 0.2, 0.2, 0.05, 0.3)):
        answer(trips, float(number), after)
        if before is not None:
            expected += (abs(after - before) - expected) / 16
        before = after
        assert trips.jitter == pytest.approx(expected, abs=2e-6)
    steady = RoundTrips()
    for number in range(50):
        answer(steady, float(number), 0.125)
    assert steady.jitter == pytest.approx(0.0, abs=2e-6)


def test_the_peers_clock_is_found_within_its_jitter() -> None:
    random_ = random.Random(5)
    ahead = 1234.5
    ours, theirs = RoundTrips(), RoundTrips()
    now = 10.0
    for _ in range(200):
        there, back = (random_.uniform(0.02, 0.04) for _ in range(2))
        answer(ours, now, there + back)
        ours.heard(theirs.stamp(now + 1 + ahead), now + 1 + there)
        now += 2
    assert ours.offset == pytest.approx(ahead, abs=0.005)


def test_a_connection_knows_its_round_trips_and_so_does_a_ping_without_payload() -> None:
    with meet(ping_interval=None) as peer:
        assert (peer.client.rtt, peer.client.jitter) == (None, None)
        peer.client.ping()
        peer.settle()
        (payload,) = peer.pings
        assert len(payload) == 12
        assert (peer.client.rtt, peer.client.jitter) == (0.0, 0.0)
        peer.ping(RoundTrips().stamp(5000.0))
        assert peer.client.clock_offset == pytest.approx(5000.0 - peer.clock.now)


def test_a_client_and_a_server_know_each_other_s_clock() -> None:
    clock = FakeClock(100.0)
    with Reactor(clock=clock) as reactor:
        server = Server(("127.0.0.1", 0), reactor=reactor)
        client = Client(f"ws://127.0.0.1:{server.addresses[0][1]}/", reactor=reactor)
        assert (client.rtt, client.jitter, client.clock_offset) == (None, None, None)
        while client.ready_state.name != "OPEN":
            reactor.step(1)
        (connection,) = server.clients
        for one in (client, connection) * 2:
            one.ping()
            for _ in range(20):
                reactor.step(0.01)
        assert client.rtt == client.jitter == connection.rtt == 0.0
        assert client.clock_offset == pytest.approx(0.0, abs=1e-5)
        assert connection.clock_offset == pytest.approx(0.0, abs=1e-5)
