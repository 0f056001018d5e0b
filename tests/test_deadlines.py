"""`reactor/deadlines.py`: silence, pings, a queue that does not move, and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reactor import Reactor
from reactor.deadlines import Deadlines
from reactor.loop.reactor import EVENT_READ
from reactor.settings import Settings
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests import certificates
from tests.recorder import BINARY, PONG, TEXT, Visitor, close_frame, masked, meet
from tests.test_opening import Secure, Wire, opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reactor.loop.timers import Timer

KIB = 1024


class Watched:
    """A transport that is as it is told to be, and what is told of it."""

    def __init__(self) -> None:
        self.reading = True
        self.buffered = 0
        self.progress = self.last_seen = 0.0
        self.told: list[tuple[float, str]] = []
        self.clock = FakeClock(0.0)
        self.reactor = Reactor(selector=MemorySelector(), clock=self.clock)

    def watch(self, timer: Timer | None = None, **options: Any) -> Deadlines:
        transport: Any = self
        deadlines = Deadlines(self.reactor, transport, Settings(**options), self)
        self.reactor.step(0)
        deadlines.start(timer)
        return deadlines

    def run(self, until: float) -> None:
        """Let time pass, from one timer to the next."""
        while True:
            self.reactor.step(0)
            wait = self.reactor.next_timeout()
            if wait is None or self.clock.now + wait > until:
                break
            self.clock.advance(wait)
        self.clock.advance(until - self.clock.now)
        self.reactor.step(0)

    def jump(self, seconds: float) -> None:
        """Let time pass without the loop."""
        self.clock.advance(seconds)
        self.reactor.step(0)

    def ping(self) -> None:
        self.told.append((self.clock.now, "ping"))

    def silent(self) -> None:
        self.told.append((self.clock.now, "silent"))

    def stuck(self) -> None:
        self.told.append((self.clock.now, "stuck"))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.reactor.close()


def life(watched: Watched, deadlines: Deadlines) -> None:
    watched.last_seen = watched.reactor.now


# ---- silence ----


def test_after_so_much_silence_a_ping_is_sent_and_after_more_the_end_is_told(
    watched: Watched,
) -> None:
    watched.watch(ping_interval=20, ping_timeout=10)
    watched.run(100)
    assert watched.told == [(20, "ping"), (30, "silent")]


@pytest.mark.parametrize("delay", [1, 10, 20, 20.1, 30, 50])
@pytest.mark.parametrize("interval", [20, None])
@pytest.mark.parametrize("canceled", [False, True])
def test_a_timer_that_it_is_given_changes_no_deadline(
    watched: Watched, delay: float, interval: float | None, canceled: bool
) -> None:
    timer = watched.reactor.call_later(delay, watched.told.append, (delay, "not called"))
    if canceled:
        timer.cancel()
    deadlines = watched.watch(timer, ping_interval=interval, ping_timeout=10, write_timeout=30)
    assert watched.reactor.stats().timers == 1
    assert timer.active is (not canceled and delay <= (interval or 30))
    watched.run(100)
    assert watched.told == ([] if interval is None else [(20, "ping"), (30, "silent")])
    deadlines.cancel()
    assert watched.reactor.next_timeout() is None


def test_any_byte_answers_a_ping(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20, ping_timeout=10)
    watched.run(29)
    life(watched, deadlines)
    watched.run(48.9)
    assert watched.told == [(20, "ping")]
    watched.run(60)
    assert watched.told == [(20, "ping"), (49, "ping"), (59, "silent")]


def test_a_byte_in_the_same_tick_of_a_coarse_clock_answers_a_ping(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20, ping_timeout=10)
    watched.run(20)
    life(watched, deadlines)
    watched.run(39)
    assert watched.told == [(20, "ping")]


def test_one_that_is_never_silent_is_never_pinged(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20, ping_timeout=10)
    for second in range(0, 200, 10):
        watched.run(second)
        life(watched, deadlines)
    assert watched.told == []


def test_a_message_moves_no_timer(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20)
    before = deadlines._timer
    for second in range(1, 20):
        watched.run(second)
        life(watched, deadlines)
    assert deadlines._timer is before


def test_without_an_interval_there_are_no_pings(watched: Watched) -> None:
    watched.watch(ping_interval=None)
    watched.run(1000)
    assert watched.told == []


@pytest.mark.parametrize("rests", ["paused", "queued"])
def test_silence_does_not_count_while_we_do_not_listen_or_speak(
    watched: Watched, rests: str
) -> None:
    watched.watch(ping_interval=20, ping_timeout=10, write_timeout=1000)
    watched.reading, watched.buffered = rests != "paused", 5 * (rests == "queued")
    watched.run(500)
    assert watched.told == []
    watched.reading, watched.buffered = True, 0
    watched.run(600)
    assert [what for _, what in watched.told] == ["ping", "silent"]
    assert watched.told[0][0] >= 500


@pytest.mark.parametrize("rests", ["paused", "queued"])
def test_a_ping_that_is_under_way_when_we_stop_listening_is_not_held_against_the_peer(
    watched: Watched, rests: str
) -> None:
    watched.watch(ping_interval=20, ping_timeout=10, write_timeout=1000)
    watched.run(25)
    watched.reading, watched.buffered = rests != "paused", 5 * (rests == "queued")
    watched.run(100)
    assert watched.told == [(20, "ping")]


def test_a_loop_that_was_held_up_past_the_ping_gives_the_peer_its_time_again(
    watched: Watched,
) -> None:
    watched.watch(ping_interval=20, ping_timeout=10)
    watched.run(21)
    watched.jump(3600)
    assert watched.told == [(20, "ping")]
    watched.run(3621 + 9.9)
    assert watched.told == [(20, "ping")]
    watched.run(3621 + 10)
    assert watched.told == [(20, "ping"), (3631, "silent")]


def test_a_loop_that_is_always_late_gives_it_once(watched: Watched) -> None:
    watched.watch(ping_interval=20, ping_timeout=10)
    while len(watched.told) < 2 and watched.clock.now < 1000:
        wait = watched.reactor.next_timeout()
        assert wait is not None
        watched.jump(wait + 0.5)
    assert [what for _, what in watched.told] == ["ping", "silent"]
    assert watched.clock.now < 45


def test_a_look_that_is_late_for_something_else_takes_nothing_from_the_wait_for_a_ping(
    watched: Watched,
) -> None:
    watched.watch(ping_interval=20, ping_timeout=100, write_timeout=30)
    watched.run(21)
    watched.jump(40)
    watched.run(119.9)
    assert watched.told == [(20, "ping")]
    watched.run(120)
    assert watched.told == [(20, "ping"), (120, "silent")]


@pytest.mark.parametrize("fate", ["silent", "stuck"])
def test_a_round_that_goes_on_after_a_stall_judges_nobody_by_what_it_has_not_read(
    watched: Watched, fate: str
) -> None:
    deadlines = watched.watch(ping_interval=20, ping_timeout=10, write_timeout=5)
    watched.run(20)
    watched.jump(10.5)  # the time is given once more, to 40.5; it looks again at 35.5
    assert watched.told == [(20, "ping")]
    if fate == "stuck":
        watched.buffered, watched.progress = 1, 33.0
    watched.clock.advance(5.0)
    reactor, (ours, peer) = watched.reactor, memory_pair()
    sock: Any = ours
    reactor.register(sock, EVENT_READ, lambda mask: watched.clock.advance(0.01))
    peer.send(b"x")
    assert reactor.step(budget=0.002).deferred == 1, "the timer is left over"
    watched.clock.advance(60.0)
    reactor.step(budget=0.002)
    assert watched.told == [(20, "ping")]
    # The next round reads what has come in the meantime.
    reactor.unregister(sock)
    watched.buffered = 0
    life(watched, deadlines)
    watched.run(reactor.now + 1)
    assert watched.told == [(20, "ping")]


# ---- a queue that does not move ----


@pytest.mark.parametrize("interval", [None, 20])
def test_a_queue_that_does_not_move_is_told_in_time(
    watched: Watched, interval: float | None
) -> None:
    watched.watch(ping_interval=interval, write_timeout=30)
    watched.run(5)
    watched.buffered, watched.progress = 1, 5.0
    watched.run(34.9)
    assert watched.told == []
    watched.run(36)
    assert watched.told == [(35, "stuck")]


def test_progress_moves_the_end_of_a_slow_reader(watched: Watched) -> None:
    watched.watch(write_timeout=30)
    watched.buffered = 1
    for second in range(0, 300, 25):
        watched.run(second)
        watched.progress = float(second)
    assert watched.told == []
    watched.run(1000)
    assert watched.told == [(275 + 30, "stuck")]


# ---- the end ----


def test_the_end_is_watched_alone(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20, write_timeout=30)
    watched.buffered = 1
    deadlines.end_within(1000, lambda: watched.told.append((watched.clock.now, "end")))
    watched.run(2000)
    assert watched.told == [(1000, "end")]


def test_a_second_end_never_comes_later_than_the_first(watched: Watched) -> None:
    deadlines = watched.watch()
    deadlines.end_within(10, lambda: watched.told.append((watched.clock.now, "first")))
    watched.run(9)
    deadlines.end_within(2, lambda: watched.told.append((watched.clock.now, "second")))
    watched.run(100)
    assert watched.told == [(10, "second")]


def test_a_second_end_may_come_sooner(watched: Watched) -> None:
    deadlines = watched.watch()
    deadlines.end_within(10, lambda: watched.told.append((watched.clock.now, "first")))
    watched.run(5)
    deadlines.end_within(2, lambda: watched.told.append((watched.clock.now, "second")))
    watched.run(100)
    assert watched.told == [(7, "second")]


def test_the_time_of_an_end_runs_from_the_call_and_not_from_the_start_of_its_step(
    watched: Watched,
) -> None:
    deadlines = watched.watch()

    def take_long() -> None:
        watched.clock.advance(15)
        deadlines.end_within(10, lambda: watched.told.append((watched.clock.now, "end")))

    watched.reactor.call_soon(take_long)
    watched.reactor.step()
    watched.run(100)
    assert watched.told == [(25, "end")]


def test_a_loop_that_was_held_up_past_the_end_gives_its_time_again_once(
    watched: Watched,
) -> None:
    deadlines = watched.watch()
    deadlines.end_within(10, lambda: watched.told.append((watched.clock.now, "end")))
    watched.jump(60)
    assert watched.told == []
    watched.run(69)
    watched.jump(60)
    assert watched.told == [(129, "end")]


@pytest.mark.parametrize("before", [False, True])
def test_whoever_is_closed_by_a_handler_that_takes_long_has_its_time_to_answer(
    before: bool,
) -> None:
    def close(client: Any, message: Any) -> None:
        if before:
            client.close(4000, "bye")
        peer.clock.advance(15)
        client.close(4000, "bye")

    with meet(do={"onmessage": close}, close_timeout=10) as peer:
        peer.send("x")
        peer.settle()
        assert peer.closed == (4000, "bye")
        assert peer.ends == [(4000, "bye")]
        assert peer.server.errors() == []


def test_what_a_handler_that_took_long_has_sent_is_not_stuck_at_once() -> None:
    def send(client: Any, message: Any) -> None:
        peer.clock.advance(60)
        client.send(bytes(200 * KIB))

    with meet(do={"onmessage": send}, write_timeout=30) as peer:
        peer.sock.capacity = 1000
        peer.send("x")
        peer.advance(29)
        assert peer.ends == []
        peer.go_on_reading()
        assert peer.received == [bytes(200 * KIB)]


def test_an_end_that_is_begun_inside_a_ping_is_not_followed_by_a_look(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20, ping_timeout=10)

    def ping() -> None:
        deadlines.end_within(100, lambda: watched.told.append((watched.clock.now, "end")))

    watched.ping = ping  # type: ignore[method-assign]
    watched.run(1000)
    assert watched.told == [(120, "end")]


def test_nothing_is_told_after_cancel(watched: Watched) -> None:
    deadlines = watched.watch(ping_interval=20)
    deadlines.cancel()
    deadlines.cancel()
    watched.run(1000)
    assert watched.told == []
    assert watched.reactor.next_timeout() is None


# ---- the same, with a connection ----


def test_a_peer_that_answers_pings_lives_for_ever() -> None:
    with meet(ping_interval=20, ping_timeout=20) as peer:
        peer.advance(3600)
        assert len(peer.pings) == 180
        assert peer.ends == []
        assert peer.client.rtt == 0


def test_a_silent_peer_is_failed_with_1011() -> None:
    with meet(ping_interval=20, ping_timeout=10) as peer:
        peer.answers_pings = False
        peer.advance(29.9)
        assert len(peer.pings) == 1
        assert peer.ends == []
        peer.advance(0.2)
        assert peer.closed == (1011, "ping timeout")
        assert peer.ends == [(1011, "ping timeout")]
        assert [type(error) for error in peer.server.errors()] == [TimeoutError]


def test_one_byte_of_a_frame_is_life() -> None:
    with meet(ping_interval=20, ping_timeout=10) as peer:
        peer.answers_pings = False
        for byte in masked(TEXT, b"slow"):
            peer.advance(25)
            peer.deliver(bytes((byte,)))
        assert peer.ends == []
        assert peer.server.messages() == ["slow"]


def test_each_part_of_a_large_frame_is_life() -> None:
    with meet(ping_interval=20, ping_timeout=10) as peer:
        peer.answers_pings = False
        frame = masked(BINARY, bytes(100 * KIB))
        for at in range(0, len(frame), 10 * KIB):
            peer.advance(25)
            peer.deliver(frame[at : at + 10 * KIB])
        assert peer.ends == []
        assert peer.server.messages() == [bytes(100 * KIB)]


def test_a_step_of_its_own_after_an_hour_reads_the_answer_before_the_deadline_fires() -> None:
    with meet(ping_interval=20, ping_timeout=20) as peer:
        peer.answers_pings = False
        peer.advance(21)
        [ping] = peer.pings
        peer.sock.send(masked(PONG, ping))
        peer.clock.advance(3600)
        peer.server.reactor.step(0)
        peer.settle()
        assert peer.ends == []
        assert peer.server.names() == ["onopen", "onpong"]


def test_a_paused_peer_is_not_pinged_and_not_dropped() -> None:
    with meet(ping_interval=20, ping_timeout=20) as peer:
        peer.answers_pings = False
        peer.client.pause()
        peer.advance(1000)
        assert peer.pings == []
        assert peer.ends == []
        peer.client.resume()
        peer.advance(19)
        assert peer.pings == []
        peer.advance(30)
        assert peer.ends == [(1011, "ping timeout")]


def test_a_reader_that_is_slow_but_steady_is_not_dropped() -> None:
    with meet(ping_interval=20, ping_timeout=20, write_timeout=30) as peer:
        peer.stop_reading()
        for _ in range(100):
            peer.client.send(bytes(KIB))
        for _ in range(50):
            peer.sock.capacity += KIB
            peer.advance(10)
        assert peer.ends == []
        assert len(peer.received) >= 48


def test_a_peer_that_answers_pings_and_does_not_read_is_dropped() -> None:
    with meet(write_timeout=30) as peer:
        peer.stop_reading()
        peer.client.send(bytes(KIB))
        for _ in range(6):
            peer.advance(4.9)
            peer.sock.send(masked(PONG))
        peer.advance(0.5)
        assert peer.ends == []
        peer.advance(0.2)
        [(code, reason)] = peer.ends
        assert code == 1006
        assert "takes nothing" in reason
        assert [type(error) for error in peer.server.errors()] == [TimeoutError]


def test_a_connection_has_one_timer_whatever_is_said() -> None:
    with meet() as peer:
        for number in range(100):
            peer.send(str(number))
            peer.client.send(str(number))
        assert len(peer.server.reactor._timers) == 1
        peer.client.close()
        assert len(peer.server.reactor._timers) == 1
        peer.settle()
        assert len(peer.server.reactor._timers) == 0


def test_the_end_of_a_silent_peer_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with meet(clock=clock, ping_interval=20, ping_timeout=10) as quiet:
        quiet.answers_pings = False
        other = Visitor(quiet.server, clock)
        other.advance(100)
        assert quiet.ends == [(1011, "ping timeout")]
        assert len(quiet.server.clients) == 1
        other.deliver(close_frame(1000))
        assert quiet.server.clients == set()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# ---- the same inside TLS ----


@pytest.fixture
def secure() -> Iterator[Secure]:
    wire = Wire(tls=certificates.server_context(), write_timeout=5)
    peer = Secure(wire).shake()
    peer.send(opening())
    peer.plain = b""
    yield peer
    wire.close()


def test_a_client_in_tls_that_answers_pings_lives(secure: Secure) -> None:
    for _ in range(10):
        secure.wire.advance(20)
        [ping] = [secure.read()]
        assert ping[:2] == b"\x89\x0c"
        secure.plain = b""
        secure.send(masked(PONG, ping[2:]))
    assert secure.wire.server.events == ["open"]
    [client] = secure.wire.server.clients
    assert client.rtt == 0


def test_a_silent_client_in_tls_is_failed_with_1011_inside_tls(secure: Secure) -> None:
    secure.wire.advance(40)
    answer = secure.read()
    assert answer[14:] == b"\x88\x0e\x03\xf3ping timeout<end>"
    secure.wire.sock.close()
    secure.wire.settle()
    assert secure.wire.server.events == ["open", "TimeoutError", 1011]


def test_a_client_in_tls_that_does_not_read_is_dropped(secure: Secure) -> None:
    [client] = secure.wire.server.clients
    secure.wire.sock.capacity = len(secure.wire.sock.inbox)
    client.send(bytes(100 * KIB))
    assert client.buffered_amount > 100 * KIB
    secure.wire.advance(4.9)
    assert not secure.wire.dropped()
    secure.wire.advance(0.1)
    assert secure.wire.dropped()
    assert secure.wire.server.events == ["open", "TimeoutError", 1006]


def test_a_client_in_tls_that_does_not_answer_our_close_is_dropped(secure: Secure) -> None:
    [client] = secure.wire.server.clients
    client.close()
    secure.wire.advance(9.9)
    assert not secure.wire.dropped()
    secure.wire.advance(0.1)
    assert secure.wire.dropped()
    assert secure.wire.server.events == ["open", "TimeoutError", 1006]
