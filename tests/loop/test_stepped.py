"""`reactor/loop/stepped.py`: a socket that waits in steps of a reactor, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from reactor import EVENT_WRITE, InvalidState, Reactor
from reactor.loop.stepped import Patience, SteppedSocket, make_socket

from .helpers import PATIENCE

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("nothing_raised")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor() as reactor:
        yield reactor


@pytest.fixture
def listening() -> Iterator[SteppedSocket]:
    with contextlib.closing(SteppedSocket(make_socket(socket.AF_INET), None)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def use_up(patience: Patience, reactor: Reactor) -> None:
    while True:
        patience.step(reactor)


def connect(sock: SteppedSocket, address: Any, patience: Patience) -> None:
    sock._begin_to_connect(address)
    sock._await(EVENT_WRITE, patience)
    sock._check_connected()


def stepped(reactor: Reactor | None = None, family: int = socket.AF_INET) -> SteppedSocket:
    return SteppedSocket(make_socket(family), reactor)


# ---- patience ----


def test_who_may_wait_for_ever_waits(reactor: Reactor) -> None:
    done: list[int] = []
    reactor.call_later(0.01, done.append, 1)
    patience = Patience(None)
    assert patience.waits
    while not done:
        patience.step(reactor)


def test_who_may_wait_for_a_while_waits_no_longer(reactor: Reactor) -> None:
    began = time.monotonic()
    patience = Patience(0.02)
    assert patience.waits
    with pytest.raises(TimeoutError, match="timed out"):
        use_up(patience, reactor)
    assert 0.02 <= time.monotonic() - began < PATIENCE


def test_what_is_ready_is_done_however_short_the_time_is(reactor: Reactor) -> None:
    done: list[int] = []
    reactor.call_soon(done.append, 1)
    patience = Patience(1e-9)
    patience.step(reactor)
    assert done == [1]
    with pytest.raises(TimeoutError):
        patience.step(reactor)


def test_who_must_not_wait_makes_the_steps_that_need_not(reactor: Reactor) -> None:
    done: list[int] = []

    def count(number: int) -> None:
        done.append(number)
        if number < 5:
            reactor.call_soon(count, number + 1)

    reactor.call_soon(count, 1)
    reactor.call_later(3600, done.append, 6)
    patience = Patience(0)
    assert not patience.waits
    with pytest.raises(BlockingIOError) as error:
        use_up(patience, reactor)
    assert error.value.errno == errno.EAGAIN
    assert done == [1, 2, 3, 4, 5]


def test_who_must_not_wait_does_not_make_steps_for_ever_for_the_sake_of_others(
    reactor: Reactor,
) -> None:
    steps = 0

    def again() -> None:
        nonlocal steps
        steps += 1
        reactor.call_soon(again)

    again()
    with pytest.raises(BlockingIOError):
        use_up(Patience(0), reactor)
    assert 5 < steps < 500


# ---- as of any socket ----


def test_it_has_the_methods_of_a_socket(listening: SteppedSocket) -> None:
    assert listening.family == socket.AF_INET
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) != 0
    assert isinstance(listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4), bytes)
    assert listening.getsockname()[0] == "127.0.0.1"
    assert listening.fileno() > 0
    assert not os.get_blocking(listening.fileno())
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        listening.getpeername()


def test_its_timeout_is_that_of_its_socket_until_it_is_set() -> None:
    for timeout in (None, 0.0, 2.5):
        sock = make_socket(socket.AF_INET)
        sock.settimeout(timeout)
        with contextlib.closing(SteppedSocket(sock, None)) as mine:
            assert mine.gettimeout() == timeout
            assert mine.getblocking() == (timeout != 0)
            assert sock.gettimeout() == 0
            mine.setblocking(False)
            assert (mine.gettimeout(), mine.getblocking()) == (0, False)
            mine.setblocking(True)
            assert (mine.gettimeout(), mine.getblocking()) == (None, True)
            mine.settimeout(1)
            assert (mine.gettimeout(), mine.getblocking()) == (1, True)
            for wrong in (-1, float("nan")):
                with pytest.raises(ValueError, match="timeout of"):
                    mine.settimeout(wrong)


def test_small_pieces_are_not_held_back(listening: SteppedSocket) -> None:
    option = socket.IPPROTO_TCP, socket.TCP_NODELAY
    with socket.create_connection(listening.getsockname()):
        sock, _ = listening._accept(Patience(PATIENCE))
        with sock:
            assert sock.getsockopt(*option)
    with contextlib.closing(stepped(family=socket.AF_INET6)) as other:
        assert other.getsockopt(*option)


# ---- the reactor ----


def test_it_makes_a_reactor_when_it_needs_one_and_closes_it() -> None:
    sock = stepped()
    reactor = sock.reactor
    assert sock.reactor is reactor
    sock.close()
    assert reactor.closed
    assert sock.fileno() == -1
    sock.close()
    stepped().close()  # without one


def test_a_reactor_that_is_given_is_left_open(reactor: Reactor) -> None:
    sock = stepped(reactor)
    assert sock.reactor is reactor
    sock.close()
    assert not reactor.closed


def test_when_it_is_closed_it_is_a_closed_socket() -> None:
    sock = stepped()
    sock.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        sock.reactor  # noqa: B018
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        sock.getsockname()


# ---- to accept and to connect ----


def test_to_accept_waits_for_somebody(listening: SteppedSocket) -> None:
    listening.settimeout(0.01)
    with pytest.raises(TimeoutError):
        listening._accept(Patience(0.01))
    with pytest.raises(BlockingIOError):
        listening._accept(Patience(0))
    with socket.socket() as other:
        address = listening.getsockname()
        listening.reactor.call_later(0.01, other.connect, address)
        sock, where = listening._accept(Patience(None))
        with sock:
            assert where == other.getsockname() == sock.getpeername()


def test_to_connect_takes_as_long_as_it_takes(listening: SteppedSocket) -> None:
    with contextlib.closing(stepped()) as sock:
        connect(sock, listening.getsockname(), Patience(None))
        assert sock.getpeername() == listening.getsockname()


def test_a_unix_socket_connects_too(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with contextlib.closing(stepped(family=socket.AF_UNIX)) as server:
        server.bind(path)
        server.listen()
        with contextlib.closing(stepped(family=socket.AF_UNIX)) as sock:
            connect(sock, path, Patience(0))
            assert sock.getpeername() == path
    late = stepped(family=socket.AF_UNIX)
    with contextlib.closing(late), pytest.raises(ConnectionRefusedError):
        late._begin_to_connect(path)


def test_who_is_refused_is_told_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        sock = stepped()
        with contextlib.closing(sock), pytest.raises(ConnectionRefusedError):
            connect(sock, taken.getsockname(), Patience(PATIENCE))


def test_nobody_answers_and_the_socket_can_still_be_waited_for() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        mine = stack.enter_context(contextlib.closing(stepped()))
        mine._begin_to_connect(full.getsockname())
        for patience, error in ((Patience(0), BlockingIOError), (Patience(0.01), TimeoutError)):
            with pytest.raises(error):
                mine._await(EVENT_WRITE, patience)


# ---- lent and given away ----


def test_the_descriptor_of_what_is_lent_is_kept_until_the_end() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        sock = SteppedSocket(ours, None)
        number = sock.fileno()
        assert sock._lend(ours) is ours
        ours.close()
        assert sock.fileno() == number
        os.fstat(number)
        theirs.settimeout(PATIENCE)
        sock.close()
        assert sock.fileno() == -1
        assert theirs.recv(1) == b""


def test_another_socket_can_take_its_place() -> None:
    first, second = socket.socketpair(), socket.socketpair()
    with first[1], second[1]:
        sock = SteppedSocket(first[0], None)
        sock._lend(first[0])
        first[0].close()
        sock._lend(second[0])
        first[1].settimeout(PATIENCE)
        assert first[1].recv(1) == b""
        assert sock.fileno() == second[0].fileno()
        sock.close()
        assert second[0].fileno() == -1


@pytest.mark.parametrize("lent", [False, True])
def test_what_is_given_away_lives_on_and_its_reactor_until_close(lent: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sock = SteppedSocket(ours, None)
        reactor = sock.reactor
        if lent:
            sock._lend(ours)
        sock._give_away(sock._make_closed())
        assert sock.fileno() == -1
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            sock.getsockname()
        ours.send(b"still here")
        theirs.settimeout(PATIENCE)
        assert theirs.recv(100) == b"still here"
        assert reactor.stepping is reactor.closed is False
        sock.close()
        with pytest.raises(InvalidState):
            reactor.step(0)
        ours.close()
        assert ours.fileno() == -1


def test_nothing_is_done_with_a_reactor_that_is_closed(reactor: Reactor) -> None:
    with contextlib.closing(stepped(reactor)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        reactor.close()
        with pytest.raises(InvalidState):
            sock._accept(Patience(1))
