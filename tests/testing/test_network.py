"""`reactor/testing/network.py`: what lies between the sockets of a world."""

from __future__ import annotations

import selectors
import socket
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from reactor.testing import Route
from reactor.testing.network import WorldListener

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Course:
    """A world with nothing in it but time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []
        self.seen: list[tuple[float, str, bytes | None]] = []
        self.worked = 0

    def call_at(self, when: float, fn: Callable[..., object], *args: object) -> None:
        self.calls.append((when, fn, args))
        self.calls.sort(key=lambda call: call[0])

    def arrived(self, way: str, data: bytes | None) -> None:
        self.seen.append((self.now, way, data))

    def work(self) -> None:
        self.worked += 1

    def run(self, until: float = 1e9) -> None:
        while self.calls and self.calls[0][0] <= until:
            self.now, fn, args = self.calls.pop(0)
            fn(*args)


def route(course: Course, seed: int = 1, **changes: Any) -> Route:
    options: dict[str, Any] = {
        "latency": 0.5,
        "jitter": 0.0,
        "bandwidth": None,
        "buffer": 1000,
        "cuts": 0.0,
        **changes,
    }
    return Route(course, "1", Random(seed), ("10.0.0.1", 40001), **options)


def test_what_is_sent_arrives_later_in_both_directions() -> None:
    course = Course()
    line = route(course)
    assert line.client.send(b"there") == 5
    assert line.server.send(memoryview(b"back"), 0x4000) == 4
    assert line.server.ready == line.client.ready == WRITE
    course.run(0.4)
    for end in (line.server, line.client):
        with pytest.raises(BlockingIOError):
            end.recv(10)
    course.run()
    assert course.seen == [(0.5, "1>", b"there"), (0.5, "1<", b"back")]
    assert line.server.ready == READ | WRITE
    assert line.server.recv(3) == b"the"
    assert line.server.recv(10) == b"re"
    assert line.client.recv(10) == b"back"
    assert line.server.getpeername() == ("10.0.0.1", 40001)


def test_a_stream_stays_in_order_whatever_the_delays() -> None:
    course = Course()
    line = route(course, jitter=2.0)
    for number in range(50):
        assert line.client.send(b"%02d" % number) == 2
    course.run()
    times = [when for when, _, _ in course.seen]
    assert times == sorted(times)
    assert 0.5 < times[0] < times[-1] <= 2.5
    assert line.server.recv(1000) == b"".join(b"%02d" % number for number in range(50))


def test_bandwidth_holds_up_what_is_behind() -> None:
    course = Course()
    line = route(course, bandwidth=100)
    line.client.send(bytes(50))
    line.client.send(bytes(50))
    course.run()
    assert [when for when, _, _ in course.seen] == [1.0, 1.5]


def test_a_full_buffer_is_refused_until_its_reader_has_read() -> None:
    course = Course()
    line = route(course, buffer=90)
    changes: list[float] = []
    line.client.onchange = lambda: changes.append(course.now)
    assert line.client.send(bytes(100)) == 90
    assert line.client.ready == 0
    with pytest.raises(BlockingIOError):
        line.client.send(b"x")
    assert line.client.send(b"") == 0
    course.run()
    assert changes == []
    assert len(line.server.recv(20)) == 20
    assert len(line.server.recv(20)) == 20
    assert line.client.ready == 0  # it has not heard of that yet
    course.run()
    assert changes == [1.0]
    assert line.client.ready == WRITE
    assert line.client.send(bytes(100)) == 40


def test_systems_speak_of_no_room_below_a_third_of_the_buffer() -> None:
    course = Course()
    line = route(course, buffer=90)
    line.client.send(bytes(90))
    course.run()
    line.server.recv(10)
    course.run()
    assert line.client.ready == 0
    assert line.client.send(bytes(90)) == 10


def test_without_any_buffer_there_is_never_room() -> None:
    line = route(Course())
    line.buffer = 0
    assert line.client.ready == 0


def test_pieces_are_cut_on_all_their_way() -> None:
    course = Course()
    line = route(course, cuts=1.0, buffer=100_000)
    data = bytes(range(200)) * 10
    sent: list[int] = []
    while sum(sent) < len(data):
        sent.append(line.client.send(data[sum(sent) :]))
    assert len(sent) > 3
    course.run()
    assert len(course.seen) > len(sent)
    received: list[bytes] = []
    while line.server.ready & READ:
        received.append(line.server.recv(100_000))
    assert len(received) > 3
    assert b"".join(received) == data


def test_what_is_short_may_come_byte_by_byte() -> None:
    counts = set()
    for seed in range(30):
        course = Course()
        line = route(course, seed, cuts=0.7)
        if line.client.send(b"short") == 5:
            course.run()
            counts.add(len(course.seen))
    assert {1, 5} <= counts <= {1, 2, 3, 4, 5}


def test_after_fin_the_rest_is_read_and_then_the_end_and_the_other_way_is_open() -> None:
    course = Course()
    line = route(course)
    line.client.send(b"last")
    line.client.shutdown(socket.SHUT_WR)
    line.client.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        line.client.send(b"more")
    assert line.client.ready == WRITE
    course.run()
    assert course.seen == [(0.5, "1>", b"last"), (0.5, "1>", b"")]
    assert line.server.recv(10) == b"last"
    assert line.server.recv(10) == b""
    line.server.send(b"still")
    course.run()
    assert line.client.recv(10) == b"still"


def test_who_closes_sends_fin_once() -> None:
    course = Course()
    line = route(course)
    line.client.close()
    line.client.close()
    line.server.shutdown(socket.SHUT_WR)
    line.server.close()
    course.run()
    assert [data for _, _, data in course.seen] == [b"", b""]
    assert line.client.fileno() == line.server.fileno() == -1


def test_who_closes_with_something_unread_sends_rst_and_the_other_loses_what_it_has() -> None:
    course = Course()
    line = route(course)
    line.client.send(b"unread")
    line.server.send(b"lost")
    course.run()
    line.server.close()
    course.run()
    assert course.seen[-1] == (1.0, "1<", None)
    for call in (lambda: line.client.recv(10), lambda: line.client.send(b"x")):
        with pytest.raises(ConnectionResetError):
            call()
    assert line.client.ready == READ | WRITE


def test_a_reset_is_told_to_the_other_end_once() -> None:
    course = Course()
    line = route(course)
    line.client.reset()
    line.client.reset()
    course.run()
    assert course.seen == [(0.5, "1>", None)]
    line.server.close()
    course.run()
    assert len(course.seen) == 1


def test_what_comes_for_a_closed_socket_is_answered_by_rst() -> None:
    course = Course()
    line = route(course)
    line.server.close()
    line.client.send(b"too late")
    course.run()
    assert [(way, data) for _, way, data in course.seen] == [
        ("1<", b""),
        ("1>", b"too late"),
        ("1<", None),
    ]
    with pytest.raises(ConnectionResetError):
        line.client.recv(10)
    line.client.fail(OSError(5, "again"))
    with pytest.raises(ConnectionResetError):
        line.client.recv(10)


def test_a_fin_for_a_closed_socket_is_not_answered() -> None:
    course = Course()
    line = route(course)
    line.client.close()
    line.server.close()
    course.run()
    assert [data for _, _, data in course.seen] == [b"", b""]


def test_when_the_cable_is_cut_nothing_arrives_and_nobody_is_told() -> None:
    course = Course()
    line = route(course, buffer=100)
    line.client.send(b"arrives")
    line.client.send(bytes(70))
    course.run()
    line.server.recv(7)
    line.client.send(b"on its way")
    line.lost = True
    line.server.send(b"nowhere")
    course.run()
    assert len(course.seen) == 2
    assert line.client.ready == 0
    assert line.server.ready == READ | WRITE
    line.client.reset()
    line.client.close()
    course.run()
    assert len(course.seen) == 2


def test_a_selector_is_told_of_changes() -> None:
    touched: list[object] = []

    class Selector:
        def touch(self, sock: object) -> None:
            touched.append(sock)

    course = Course()
    line = route(course)
    watcher: Any = Selector()
    line.server.watcher = watcher
    line.client.send(b"x")
    course.run()
    assert touched == [line.server]


def test_only_the_servers_end_takes_time_to_work() -> None:
    course = Course()
    line = route(course)
    line.client.send(b"x")
    course.run()
    assert course.worked == 0
    line.server.recv(10)
    line.server.send(b"y")
    assert course.worked == 2


@pytest.mark.parametrize("buffer", [60, 1000])
def test_a_response_has_the_date_of_the_world(buffer: int) -> None:
    course = Course()
    line = route(course, buffer=buffer, latency=0.0)
    date = b"Date: Mon, 23 Nov 2026 08:00:00 GMT\r\n"
    head = b"HTTP/1.1 404 Not Found\r\nX-Pad: 0123456789\r\n%sContent-Length: 2\r\n\r\n"
    data = head % date + b"Date: x"
    sent, received = 0, b""
    while sent < len(data):
        sent += line.server.send(data[sent:])
        course.run()
        received += line.client.recv(1000)
        course.run()
    assert received == head % b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" + b"Date: x"


def test_what_is_no_response_or_has_no_date_is_sent_as_it_is() -> None:
    for data in (b"\r\nDate: today\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b""):
        course = Course()
        line = route(course)
        line.server.send(data)
        line.server.send(b"HTTP/1.1 \r\nDate: today\r\n")
        course.run()
        assert line.client.recv(1000) == data + b"HTTP/1.1 \r\nDate: today\r\n"


def test_a_listener_hands_on_who_waits_in_order_and_resets_them_at_its_end() -> None:
    course = Course()
    lines = [route(course) for _ in range(3)]
    listener = WorldListener(("world", 1))
    assert listener.getsockname() == ("world", 1)
    assert listener.ready == 0
    with pytest.raises(BlockingIOError):
        listener.accept()
    for line in lines:
        listener.arrive(line.server)
    assert listener.ready == READ
    assert listener.accept() == (lines[0].server, ("10.0.0.1", 40001))
    touched: list[object] = []

    class Selector:
        def touch(self, sock: object) -> None:
            touched.append(sock)

    watcher: Any = Selector()
    listener.watcher = watcher
    listener.arrive(lines[0].server)
    assert touched == [listener]
    listener.accept()
    listener.close()
    assert listener.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.accept()
    course.run()
    assert [data for _, _, data in course.seen] == [None, None]
