"""`reactor/loop/dialer.py`: connect to whichever address answers first."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Reactor
from reactor.logs import place
from reactor.loop.dialer import Dialer, _alternate, _Racer
from reactor.loop.reactor import EVENT_WRITE
from reactor.testing import FakeClock, MemorySelector

from .helpers import CountingSelector, descriptors, status_of_child, turn_until

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("nothing_raised")

FOUR, SIX = socket.AF_INET, socket.AF_INET6
needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
needs_unix = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets"
)


class Calls:
    """What a dialer has led to."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.connected: list[tuple[Any, Any]] = []
        self.errors: list[Exception] = []
        self.inside = False
        self.dialer = Dialer(reactor, self._connected, self._failed)

    def _connected(self, sock: Any, address: Any) -> None:
        assert not self.inside, "told from inside dial"
        self.connected.append((sock, address))

    def _failed(self, error: Exception) -> None:
        assert not self.inside, "told from inside dial"
        self.errors.append(error)

    def dial(self, *addresses: Any, found: Any = None) -> Calls:
        """Dial a host whose addresses these are."""
        answer = list(addresses) if found is None else found
        self.inside = True
        self.dialer.dial(
            "host",
            80,
            lambda host, port, then: self.reactor.call_soon(then, answer),
        )
        self.inside = False
        return self

    @property
    def over(self) -> bool:
        return bool(self.connected or self.errors)


class Line:
    """A socket that connects as it is told to; the test says when it is writable."""

    made: list[Line]
    codes: dict[Any, Any]
    _next_number = 2_000_000

    def __init__(self, family: int, kind: int) -> None:
        refusal = self.codes.get(family)
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))
        Line._next_number += 1
        self.family, self.number = family, Line._next_number
        self.closed = self.blocking = False
        self.options: list[tuple[int, ...]] = []
        self.error = 0
        self.peer: Any = ("192.0.2.1", 80)
        self.name: Any = ("192.0.2.9", 40_000)
        self.made.append(self)

    def setblocking(self, flag: bool) -> None:
        self.blocking = flag

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def connect_ex(self, address: Any) -> int:
        self.address = address
        code = self.codes.get(address, errno.EINPROGRESS)
        if isinstance(code, Exception):
            raise code
        assert isinstance(code, int)
        return code

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self.error

    def getpeername(self) -> Any:
        if isinstance(self.peer, OSError):
            raise self.peer
        return self.peer

    def getsockname(self) -> Any:
        return self.name

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def close(self) -> None:
        self.closed = True


class Lines:
    """All sockets of a dialer, and the time between them."""

    def __init__(self, reactor: Reactor, clock: FakeClock, selector: MemorySelector) -> None:
        self.reactor, self.clock, self.selector = reactor, clock, selector
        self.made: list[Line] = []
        self.codes: dict[Any, Any] = {}

    def step(self, seconds: float = 0.0) -> list[Any]:
        """Let time pass; return whose turn it was since."""
        before = len(self.made)
        self.clock.advance(seconds)
        self.reactor.step(0)
        self.reactor.step(0)
        return [line.address for line in self.made[before:]]

    def ready(self, number: int, error: int = 0) -> None:
        """Have a connection made, or failed."""
        line = self.made[number]
        line.error = error
        self.selector.get_map()[line].data(EVENT_WRITE)

    def racing(self) -> list[int]:
        """The numbers of those that are open, which is those that are watched."""
        watched = self.selector.get_map()
        for line in self.made:
            assert line.closed == (line not in watched), "watched and closed, or neither"
        return [number for number, line in enumerate(self.made) if not line.closed]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    clock, selector = FakeClock(), MemorySelector()
    with Reactor(selector=selector, clock=clock) as reactor:
        lines = Lines(reactor, clock, selector)
        kind = type("Socket", (Line,), {"made": lines.made, "codes": lines.codes})
        monkeypatch.setattr(socket, "socket", kind)
        yield lines


@pytest.fixture
def calls(lines: Lines) -> Calls:
    return Calls(lines.reactor)


@pytest.fixture
def real() -> Iterator[Reactor]:
    with Reactor(selector=CountingSelector()) as reactor:
        yield reactor


A, B, C = ("192.0.2.1", 80), ("192.0.2.2", 80), ("192.0.2.3", 80)
X, Y = ("2001:db8::1", 80, 0, 0), ("2001:db8::2", 80, 0, 0)


# ---- the order ----


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([A], [A]),
        ([X, Y, A, B, C], [X, A, Y, B, C]),
        ([A, B, X], [A, X, B]),
        ([A, A, B, A], [A, B]),
        ([X, Y], [X, Y]),
    ],
)
def test_families_alternate_and_the_best_comes_first(found: Any, order: Any) -> None:
    assert [address for _, address in _alternate(found)] == order
    for family, address in _alternate(found):
        assert family == (SIX if ":" in address[0] else FOUR)


def test_each_address_is_tried_a_quarter_second_after_the_one_before(
    lines: Lines, calls: Calls
) -> None:
    calls.dial(X, Y, A)
    assert lines.step() == [X]
    assert lines.step(0.24) == []
    assert lines.step(0.01) == [A]
    assert lines.step(0.24) == []
    assert lines.step(0.02) == [Y]
    assert lines.racing() == [0, 1, 2]
    assert lines.step(100) == []
    assert lines.reactor.next_timeout() is None
    assert not calls.over
    assert [line.family for line in lines.made] == [SIX, FOUR, SIX]
    for line in lines.made:
        assert line.options == [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        assert not line.blocking


def test_the_first_to_connect_wins_and_the_others_are_closed(
    lines: Lines, calls: Calls
) -> None:
    calls.dial(A, X, B, Y)
    lines.step()
    lines.step(0.25)
    lines.step(0.25)
    lines.ready(1)
    assert calls.connected == [(lines.made[1], X)]
    assert [line.closed for line in lines.made] == [True, False, True]
    assert lines.made[1] not in lines.selector.get_map()
    assert lines.step(100) == []
    assert lines.reactor.next_timeout() is None
    assert len(calls.connected) == 1
    assert not calls.errors
    assert not lines.reactor._pollables


def test_two_that_are_ready_in_the_same_step_make_one_winner(
    lines: Lines, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.dial(A, B)
    lines.step()
    lines.step(0.25)
    keys = [lines.selector.get_map()[line] for line in lines.made]
    with monkeypatch.context() as patch:
        patch.setattr(
            lines.selector, "select", lambda timeout: [(key, EVENT_WRITE) for key in keys]
        )
        lines.reactor.step(0)
    assert calls.connected == [(lines.made[0], A)]
    assert lines.made[1].closed


# ---- failure ----


def test_a_failure_starts_the_next_at_once(lines: Lines, calls: Calls) -> None:
    calls.dial(A, X, B)
    lines.step()
    lines.clock.advance(0.1)
    lines.ready(0, errno.ECONNREFUSED)
    assert [line.address for line in lines.made] == [A, X]
    assert lines.racing() == [1]
    assert lines.step(0.24) == [], "its quarter begins with it"
    assert lines.step(0.02) == [B]
    lines.ready(1, errno.ETIMEDOUT)
    assert not calls.over
    lines.ready(2)
    assert calls.connected == [(lines.made[2], B)]


def test_a_failure_with_nothing_left_waits_for_those_that_still_try(
    lines: Lines, calls: Calls
) -> None:
    calls.dial(A, B)
    lines.step()
    lines.step(0.25)
    lines.ready(1, errno.ECONNREFUSED)
    assert lines.step(100) == []
    assert not calls.over
    lines.ready(0, errno.EHOSTUNREACH)
    assert [error.errno for error in calls.errors if isinstance(error, OSError)] == [
        errno.ECONNREFUSED
    ]


def test_the_last_that_fails_at_once_waits_for_those_that_still_try(
    lines: Lines, calls: Calls
) -> None:
    lines.codes[B] = errno.ECONNREFUSED
    calls.dial(A, B)
    lines.step()
    assert lines.step(0.25) == [B]
    assert lines.racing() == [0]
    assert not calls.over
    lines.ready(0)
    assert calls.connected == [(lines.made[0], A)]


def test_what_fails_at_once_takes_no_time(lines: Lines, calls: Calls) -> None:
    lines.codes.update({SIX: errno.EAFNOSUPPORT, A: errno.ENETUNREACH})
    calls.dial(X, A, B)
    assert lines.step() == [A, B]
    assert lines.racing() == [1]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([errno.ENETUNREACH, errno.ECONNREFUSED], errno.ECONNREFUSED),
        ([errno.ECONNREFUSED, errno.ETIMEDOUT], errno.ECONNREFUSED),
        ([errno.EADDRNOTAVAIL, errno.ETIMEDOUT], errno.ETIMEDOUT),
        ([errno.ENETUNREACH, errno.EADDRNOTAVAIL], errno.ENETUNREACH),
    ],
)
def test_the_error_is_the_first_that_tells_something(
    lines: Lines, calls: Calls, codes: list[int], expected: int
) -> None:
    lines.codes.update(zip((A, B), codes))
    calls.dial(A, B)
    lines.step()
    [error] = calls.errors
    assert isinstance(error, OSError)
    assert error.errno == expected
    assert error.strerror == os.strerror(expected)
    assert error.filename in map(place, (A, B))  # which of them it was
    assert lines.racing() == []
    assert lines.reactor.next_timeout() is None


def test_what_the_resolver_says_is_passed_on(lines: Lines, calls: Calls) -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    calls.dial(found=error)
    lines.step()
    assert calls.errors == [error]


def test_a_name_without_addresses_is_an_error(lines: Lines, calls: Calls) -> None:
    calls.dial()
    lines.step()
    assert [str(error) for error in calls.errors] == ["[Errno 2] the name has no address"]


@pytest.mark.parametrize(
    "found", [[80], [()], [["192.0.2.1", 80]], 5, [(None, 80)], [("localhost", 80)]]
)
def test_an_answer_that_is_none_is_an_error(lines: Lines, calls: Calls, found: Any) -> None:
    calls.dial(found=found)
    lines.step()
    assert [type(error) for error in calls.errors] in ([TypeError], [IndexError], [ValueError])


def test_an_address_that_is_none_is_an_error_and_the_next_is_tried(
    lines: Lines, calls: Calls
) -> None:
    error = OverflowError("connect_ex(): port must be 0-65535.")
    lines.codes.update({A: error, B: error})
    calls.dial(A, X, B)
    assert lines.step() == [A, X]
    lines.ready(1, errno.ENETUNREACH)
    assert calls.errors == [error]
    assert lines.racing() == []


def test_a_resolver_may_answer_at_once(lines: Lines) -> None:
    for found in ([A], OSError("no")):
        calls = Calls(lines.reactor)
        answer: Any = found
        calls.dialer.dial("host", 80, lambda host, port, then, answer=answer: then(answer))  # type: ignore[misc]
        assert calls.errors == ([] if answer == [A] else [answer])
    assert lines.racing() == [0]


def test_one_that_has_connected_to_itself_counts_as_refused(lines: Lines, calls: Calls) -> None:
    calls.dial(A)
    lines.step()
    lines.made[0].name = lines.made[0].peer
    lines.ready(0)
    assert [type(error) for error in calls.errors] == [ConnectionRefusedError]
    assert lines.racing() == []


def test_one_that_is_connected_no_longer_has_failed(lines: Lines, calls: Calls) -> None:
    calls.dial(A, B)
    lines.step()
    gone = lines.made[0].peer = OSError(errno.ENOTCONN, "Transport endpoint is not connected")
    lines.ready(0)
    lines.made[1].peer = gone
    lines.ready(1)
    assert calls.errors == [gone]
    assert lines.racing() == []


def test_a_selector_that_takes_no_more_is_an_error_and_the_socket_is_closed(
    lines: Lines, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(sock: object, events: int, data: object = None) -> None:
        raise full

    calls.dial(A)
    with monkeypatch.context() as patch:
        patch.setattr(lines.selector, "register", refuse)
        lines.step()
    assert calls.errors == [full]
    assert [line.closed for line in lines.made] == [True]


def test_a_system_that_says_again_of_all_that_are_on_their_way_is_waited_for(
    lines: Lines, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.codes[A] = errno.EWOULDBLOCK
    monkeypatch.setattr(os, "name", "nt")
    calls.dial(A)
    lines.step()
    lines.ready(0)
    assert calls.connected == [(lines.made[0], A)]


# ---- cancel ----


@pytest.mark.parametrize("moment", range(5))
def test_after_cancel_nothing_is_called_and_nothing_is_open(
    lines: Lines, calls: Calls, moment: int
) -> None:
    if moment:
        calls.dial(A, B, C)
    if moment > 1:
        lines.step()
    if moment > 2:
        lines.step(0.25)
    if moment > 3:
        lines.ready(0, errno.ECONNREFUSED)
    calls.dialer.cancel()
    calls.dialer.cancel()
    before = len(lines.made)
    lines.step(100)
    assert len(lines.made) == before
    assert lines.racing() == []
    assert not calls.over
    assert lines.reactor.next_timeout() is None


def test_cancel_before_an_answer_that_is_an_error_or_empty(lines: Lines, calls: Calls) -> None:
    found: Any
    for found in (OSError("too late"), []):
        calls = Calls(lines.reactor).dial(found=found)
        calls.dialer.cancel()
        lines.step()
        assert not calls.over


def test_cancel_from_inside_what_is_called_does_no_harm(lines: Lines) -> None:
    got: list[Any] = []

    def connected(sock: Any, address: Any) -> None:
        dialer.cancel()
        got.append(sock)

    dialer = Dialer(lines.reactor, connected, got.append)
    dialer.dial("host", 80, lambda host, port, then: then([A, B]))
    lines.ready(0)
    assert got == [lines.made[0]]
    assert not lines.made[0].closed


def test_close_closes_those_that_still_try(lines: Lines, calls: Calls) -> None:
    calls.dial(A, B)
    lines.step()
    lines.step(0.25)
    lines.reactor.close()
    assert [line.closed for line in lines.made] == [True, True]
    assert not calls.over


# ---- real sockets ----


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_listening_port_is_connected_to(real: Reactor, listener: socket.socket) -> None:
    address = listener.getsockname()
    before = descriptors()
    calls = Calls(real).dial(address)
    turn_until(real, lambda: calls.over)
    [(sock, where)] = calls.connected
    with sock:
        assert where == address
        assert sock.getpeername() == address
        assert not sock.getblocking()
        peer, _ = listener.accept()
        with peer:
            assert peer.getpeername() == sock.getsockname()
    assert descriptors() == before


def test_a_port_without_a_listener_refuses_and_no_descriptor_is_left(real: Reactor) -> None:
    address = ("127.0.0.1", free_port())
    before = descriptors()
    for _ in range(20):
        calls = Calls(real).dial(address)
        turn_until(real, lambda calls=calls: calls.over)  # type: ignore[misc]
        assert [type(error) for error in calls.errors] == [ConnectionRefusedError]
    assert descriptors() == before


def test_the_next_address_answers_when_the_first_refuses(
    real: Reactor, listener: socket.socket
) -> None:
    address = listener.getsockname()
    calls = Calls(real).dial(("127.0.0.1", free_port()), address)
    turn_until(real, lambda: calls.over)
    [(sock, where)] = calls.connected
    assert where == address
    sock.close()


@needs_ipv6
def test_an_address_of_two_numbers_will_do_for_ipv6(real: Reactor) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=SIX)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener:
        calls = Calls(real).dial(("::1", listener.getsockname()[1]))
        turn_until(real, lambda: calls.over)
        [(sock, _)] = calls.connected
        sock.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux lets it happen")
def test_a_socket_that_finds_itself_is_refused_by_the_kernel_or_by_us(real: Reactor) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    address = sock.getsockname()
    assert sock.connect_ex(address) == 0, "it has found itself"
    calls = Calls(real)
    racer = _Racer.__new__(_Racer)
    racer.sock = sock
    racer._reactor, racer._dialer, racer._handed_over = real, calls.dialer, False
    racer.address = address
    real.adopt(racer)
    calls.dialer._racers.add(racer)
    real.register(sock, EVENT_WRITE, racer._ready)
    turn_until(real, lambda: calls.over)
    assert [type(error) for error in calls.errors] == [ConnectionRefusedError]
    assert sock.fileno() == -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_closes_its_copies_and_the_parent_goes_on(
    real: Reactor, listener: socket.socket
) -> None:
    calls = Calls(real).dial(listener.getsockname())
    turn_until(real, lambda: calls.dialer._racers)
    [racer] = calls.dialer._racers

    def child() -> None:
        assert racer.sock.fileno() == -1
        assert not calls.over

    assert status_of_child(child) == 0
    turn_until(real, lambda: calls.over)
    [(sock, _)] = calls.connected
    sock.close()


@needs_unix
def test_a_unix_socket_is_connected_to(real: Reactor, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        calls = Calls(real)
        calls.dialer.dial_unix(path)
        assert not calls.over
        turn_until(real, lambda: calls.over)
        [(sock, where)] = calls.connected
        assert where == path
        sock.close()


@needs_unix
@pytest.mark.parametrize(
    ("path", "expected"),
    [("none", FileNotFoundError), ("x" * 200, OSError), ("stale", ConnectionRefusedError)],
)
def test_a_unix_socket_that_is_none_is_an_error(
    real: Reactor, tmp_path: pathlib.Path, path: str, expected: type[Exception]
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    before = descriptors()
    calls = Calls(real)
    calls.dialer.dial_unix(str(tmp_path / path))
    turn_until(real, lambda: calls.over)
    assert [type(error) for error in calls.errors] == [expected]
    assert descriptors() == before


@needs_unix
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="elsewhere it refuses")
def test_a_unix_socket_whose_backlog_is_full_is_an_error_at_once(
    real: Reactor, tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / "s")
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        code = 0
        while not code:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            code = waiting[-1].connect_ex(path)
            assert len(waiting) < 10
        calls = Calls(real)
        calls.dialer.dial_unix(path)
        turn_until(real, lambda: calls.over)
        assert [type(error) for error in calls.errors] == [BlockingIOError]
        for sock in waiting:
            sock.close()


@needs_unix
def test_cancel_before_a_unix_socket_is_dialled(real: Reactor, tmp_path: pathlib.Path) -> None:
    before = descriptors()
    calls = Calls(real)
    calls.dialer.dial_unix(str(tmp_path / "none"))
    calls.dialer.cancel()
    real.step(0)
    real.step(0)
    assert not calls.over
    assert descriptors() == before
