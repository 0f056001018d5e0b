"""`reactor/loop/listener.py`: accept connections."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Reactor
from reactor.loop import listener as module
from reactor.loop.listener import (
    INHERITS,
    Listener,
    inherited_sockets,
    listen,
    listen_unix,
)
from reactor.testing import FakeClock

from .helpers import PATIENCE, CountingSelector, descriptors, run_python, turn_until

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

needs_ipv6 = pytest.mark.skipif(
    not socket.has_dualstack_ipv6(), reason="this system has no IPv6, or none with IPv4"
)
needs_unix = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets"
)


class Owner:
    """Owns a listener, what it has accepted, and the clients of the test."""

    def __init__(self, reactor: Reactor, sock: socket.socket, *, unlink: bool = False) -> None:
        self.reactor = reactor
        self.accepted: list[socket.socket] = []
        self.addresses: list[Any] = []
        self.clients: list[socket.socket] = []
        self.on_accepted: Callable[[], object] = lambda: None
        self.newcomer: Any = None
        self.listener = Listener(reactor, sock, self._accepted, unlink=unlink)

    def _accepted(self, sock: socket.socket, address: Any) -> Any:
        self.accepted.append(sock)
        self.addresses.append(address)
        self.on_accepted()
        return self.newcomer

    def connect(self, count: int = 1) -> None:
        sock = self.listener.sock
        for _ in range(count):
            client = socket.socket(sock.family, socket.SOCK_STREAM)
            client.settimeout(PATIENCE)
            client.connect(self.listener.address)
            self.clients.append(client)

    def close(self) -> None:
        self.listener.close()
        for sock in self.accepted + self.clients:
            sock.close()


class Faulty(socket.socket):
    """A listening socket whose next accepts fail as listed."""

    errors: list[int]
    accepts: int

    @classmethod
    def of(cls, sock: socket.socket) -> Faulty:
        faulty = cls(fileno=sock.detach())
        faulty.errors = []
        faulty.accepts = 0
        return faulty

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def selector() -> CountingSelector:
    return CountingSelector()


@pytest.fixture
def reactor(clock: FakeClock, selector: CountingSelector) -> Iterator[Reactor]:
    with Reactor(selector=selector, clock=clock) as reactor:
        yield reactor


@pytest.fixture
def faulty() -> Faulty:
    return Faulty.of(listen(("127.0.0.1", 0))[0])


@pytest.fixture
def owner(reactor: Reactor, faulty: Faulty) -> Iterator[Owner]:
    owner = Owner(reactor, faulty)
    yield owner
    owner.close()


def pause_of(owner: Owner) -> float | None:
    """Return for how long the listener rests, in seconds."""
    left = owner.reactor.next_timeout()
    return None if left is None else round(left, 6)


def turn(owner: Owner) -> None:
    """Make a step in which the listener is found ready, if it listens."""
    owner.reactor.step(0.05 if owner.listener._listening else 0)


# ---- accepting ----


def test_a_connection_is_handed_over_with_its_peers_address(owner: Owner) -> None:
    owner.connect()
    turn(owner)
    assert owner.addresses == [owner.clients[0].getsockname()]
    assert owner.accepted[0].getpeername() == owner.addresses[0]
    turn(owner)
    assert len(owner.accepted) == 1


def test_no_more_than_sixteen_are_accepted_in_a_step(owner: Owner) -> None:
    owner.connect(40)
    counts = []
    for _ in range(3):
        turn(owner)
        counts.append(len(owner.accepted))
    assert counts == [16, 32, 40]


def test_of_those_who_come_one_by_one_each_is_accepted_without_a_look_for_another(
    owner: Owner, faulty: Faulty
) -> None:
    looks = []
    for _ in range(12):
        before = faulty.accepts
        owner.connect()
        turn(owner)
        looks.append(faulty.accepts - before)
    assert len(owner.accepted) == 12
    assert looks == [2, 1, 1] * 4


def test_a_crowd_that_comes_after_single_ones_is_accepted_faster_and_faster(
    owner: Owner, faulty: Faulty
) -> None:
    for _ in range(2):
        owner.connect()
        turn(owner)
    owner.connect(160)
    most, before = [], 2
    while before < 162:
        turn(owner)
        most.append(len(owner.accepted) - before)
        before = len(owner.accepted)
    assert sorted(set(most[:-1])) == [1, 2, 4, 8, 16]
    assert most[:-1] == sorted(most[:-1])
    turn(owner)
    owner.connect(3)
    turn(owner)
    assert len(owner.accepted) == 165


@pytest.mark.parametrize(
    "family",
    [
        "AF_INET",
        pytest.param("AF_INET6", marks=needs_ipv6),
        pytest.param("AF_UNIX", marks=needs_unix),
    ],
)
def test_who_is_accepted_is_as_socket_accept_would_have_it(
    reactor: Reactor, tmp_path: pathlib.Path, family: str
) -> None:
    kind = getattr(socket, family)
    if family == "AF_UNIX":
        sock = listen_unix(f"{tmp_path}/socket")
    else:
        sock = listen(("127.0.0.1" if family == "AF_INET" else "::1", 0))[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    owner = Owner(reactor, sock)
    owner.connect()
    turn(owner)
    theirs, ours = owner.accepted[0], owner.clients[0]
    assert owner.addresses == [ours.getsockname()]
    assert (theirs.family, theirs.type, theirs.proto) == (kind, sock.type, sock.proto)
    assert theirs.getpeername() == ours.getsockname()
    assert not os.get_inheritable(theirs.fileno())
    if family != "AF_UNIX" and INHERITS:
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    ours.send(b"x")
    theirs.setblocking(True)
    assert theirs.recv(9) == b"x"
    theirs.close()
    assert ours.recv(9) == b""
    owner.close()


def test_within_a_budget_one_is_accepted_and_the_others_when_there_is_time(
    owner: Owner, clock: FakeClock
) -> None:
    owner.connect(4)
    owner.on_accepted = lambda: clock.advance(0.001)
    counts = []
    for _ in range(4):
        owner.reactor.step(5, budget=0)
        counts.append(len(owner.accepted))
    assert counts == [1, 2, 3, 4]


class Newcomer:
    """Notes how many had been accepted when it was asked to look."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.looks: list[int] = []

    def look(self) -> None:
        self.looks.append(len(self.owner.accepted))


def test_who_comes_alone_is_asked_to_look_in_the_same_step(owner: Owner) -> None:
    owner.newcomer = newcomer = Newcomer(owner)
    for number in range(1, 6):
        owner.connect()
        assert owner.reactor.step(5).handled == 2, "the listener, and the look"
        assert newcomer.looks == list(range(1, number + 1))


def test_who_comes_with_others_is_not_asked_to_look(owner: Owner) -> None:
    owner.newcomer = newcomer = Newcomer(owner)
    owner.connect(3)
    owner.reactor.step(5)
    assert len(owner.accepted) == 3
    assert newcomer.looks == []


def test_where_the_time_is_used_up_nobody_is_asked_to_look(
    owner: Owner, clock: FakeClock
) -> None:
    owner.newcomer = newcomer = Newcomer(owner)
    owner.on_accepted = lambda: clock.advance(0.001)
    owner.connect()
    owner.reactor.step(5, budget=0)
    assert len(owner.accepted) == 1
    assert newcomer.looks == []


def test_a_look_that_raises_is_reported_by_its_own_name(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Newcomer):
        def look(self) -> None:
            raise ValueError("no")

    owner.newcomer = Broken(owner)
    owner.connect()
    owner.reactor.step(5)
    assert "Broken.look" in caplog.text
    assert owner.listener._listening


def test_who_connects_to_a_paused_listener_waits(owner: Owner) -> None:
    for _ in range(2):
        owner.listener.pause()
    owner.connect()
    turn(owner)
    assert owner.accepted == []
    for _ in range(2):
        owner.listener.resume()
    turn(owner)
    assert len(owner.accepted) == 1


@pytest.mark.parametrize("end", ["pause", "close"])
def test_a_listener_that_is_ended_by_who_was_accepted_accepts_no_other(
    owner: Owner, end: str
) -> None:
    owner.connect(3)
    owner.on_accepted = getattr(owner.listener, end)
    turn(owner)
    turn(owner)
    assert len(owner.accepted) == 1
    owner.on_accepted = lambda: None
    owner.listener.resume()
    turn(owner)
    assert len(owner.accepted) == (3 if end == "pause" else 1)


def test_an_owner_that_raises_costs_one_connection(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("a bug of the user's")

    owner.connect(2)
    owner.on_accepted = fail
    turn(owner)
    turn(owner)
    assert len(owner.accepted) == 2
    assert caplog.text.count("LookupError: a bug of the user's") == 2


# ---- errors ----


def test_the_errors_of_one_connection_are_passed_over(owner: Owner, faulty: Faulty) -> None:
    owner.connect(2)
    faulty.errors = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM]
    turn(owner)
    assert len(owner.accepted) == 2


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
def test_who_is_gone_before_the_accept_is_not_missed(
    owner: Owner, faulty: Faulty, number: int
) -> None:
    owner.connect()
    faulty.errors = [number]
    turn(owner)
    assert (owner.accepted, faulty.accepts) == ([], 1)
    turn(owner)
    assert len(owner.accepted) == 1


def test_nothing_but_errors_does_not_make_it_spin(
    owner: Owner, faulty: Faulty, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    owner.connect()
    faulty.errors = [errno.ENOSYS] * 40
    for seconds, accepts in ((0.1, 16), (0.2, 32), (None, 42)):
        for _ in range(5):
            turn(owner)
        assert faulty.accepts == accepts
        assert pause_of(owner) == seconds
        clock.advance(seconds or 0)
    assert len(owner.accepted) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_room_those_who_wait_are_dropped_and_it_pauses(
    owner: Owner,
    faulty: Faulty,
    clock: FakeClock,
    selector: CountingSelector,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    before = descriptors()
    pauses = []
    for _ in range(6):
        owner.connect(2)
        faulty.errors = [number]
        turn(owner)
        assert [client.recv(1) for client in owner.clients] == [b"", b""]
        for client in owner.clients:
            client.close()
        owner.clients.clear()
        owner.connect()
        accepts = faulty.accepts
        for _ in range(5):
            turn(owner)
        pauses.append(pause_of(owner))
        assert faulty.accepts == accepts
        clock.advance(1.0)
        owner.clients.pop().close()
        faulty.errors = [errno.ECONNABORTED]  # which says nothing of the room
        owner.reactor.step(0)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert owner.accepted == []
    assert len(caplog.records) == 6
    assert os.strerror(number) in caplog.text
    assert "pausing 0.1 s" in caplog.text
    turn(owner)
    owner.accepted.pop().close()
    assert descriptors() == before
    # There is room again: it goes on by itself, and the next pause is short.
    owner.connect()
    turn(owner)
    assert len(owner.accepted) == 1
    faulty.errors = [number]
    owner.connect()
    turn(owner)
    assert pause_of(owner) == 0.1


def test_dropping_stops_where_there_is_still_no_room(owner: Owner, faulty: Faulty) -> None:
    owner.connect(2)
    faulty.errors = [errno.EMFILE] * 2
    turn(owner)
    assert faulty.accepts == 2
    assert pause_of(owner) == 0.1


def test_no_more_than_sixteen_are_dropped_at_once(
    owner: Owner, faulty: Faulty, clock: FakeClock
) -> None:
    owner.connect(20)
    faulty.errors = [errno.EMFILE]
    turn(owner)
    assert faulty.accepts == 17
    clock.advance(0.1)
    owner.reactor.step(0)
    turn(owner)
    assert len(owner.accepted) == 4


def test_a_spare_descriptor_that_cannot_be_had_is_taken_later(
    owner: Owner, faulty: Faulty, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = descriptors()
    for _ in range(2):
        owner.connect()
        faulty.errors = [errno.EMFILE]
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", full)
            turn(owner)
            owner.clients.pop().close()
            assert len(descriptors()) == len(before) - 1
            clock.advance(1.0)
            owner.reactor.step(0)
        assert len(descriptors()) == len(before) - 1
    owner.connect()
    faulty.errors = [errno.EMFILE]
    turn(owner)
    clock.advance(1.0)
    owner.reactor.step(0)
    owner.clients.pop().close()
    assert descriptors() == before


def test_a_listener_is_made_even_without_a_spare_descriptor(
    reactor: Reactor, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        owner = Owner(reactor, faulty)
    owner.connect()
    turn(owner)
    assert len(owner.accepted) == 1
    owner.close()


def test_what_the_owner_says_counts_when_there_is_room_again(
    owner: Owner, faulty: Faulty, clock: FakeClock
) -> None:
    for wanted in (False, True):
        owner.listener.resume()
        owner.connect()
        faulty.errors = [errno.EMFILE]
        turn(owner)
        owner.listener.pause()
        owner.listener.resume()
        assert not owner.listener._listening
        if not wanted:
            owner.listener.pause()
        clock.advance(1.0)
        owner.reactor.step(0)
        assert owner.listener._listening is wanted
        owner.clients.pop().close()


def test_a_listener_that_is_closed_in_its_pause_stays_closed(
    owner: Owner, faulty: Faulty, clock: FakeClock
) -> None:
    owner.connect()
    faulty.errors = [errno.EMFILE]
    turn(owner)
    owner.listener.close()
    before = descriptors()
    clock.advance(1.0)
    owner.reactor.step(0)
    owner.listener.resume()
    owner.listener.pause()
    assert descriptors() == before


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
def test_a_listening_socket_that_is_gone_is_reported_once(
    owner: Owner, faulty: Faulty, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    owner.connect()
    faulty.errors = [number] * 9
    for _ in range(3):
        turn(owner)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert faulty.fileno() == -1
    assert faulty.accepts == 1


STARVED = """
import resource, socket
from reactor import Reactor
from reactor.loop.listener import Listener, listen
from reactor.testing import FakeClock
import sys
assert "logging" not in sys.modules
clock = FakeClock()
accepted = []
with Reactor(clock=clock) as reactor:
    sock, = listen(("127.0.0.1", 0))
    listener = Listener(reactor, sock, lambda sock, address: accepted.append(sock))
    clients = []
    for _ in range(40):
        clients.append(socket.create_connection(listener.address, 20))
    old, oldest = one, other = socket.socketpair()
    one.setblocking(False)
    reactor.register(one, 1, lambda mask: one.send(one.recv(9)))
    limit = max(sock.fileno() for sock in clients + [one, other]) + 4
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    calls = []
    accept = listener._ready
    reactor.modify(sock, 1, lambda mask: (calls.append(1), accept(mask)))
    def rest():
        turns = len(calls)
        for _ in range(20):
            other.send(b"x")
            reactor.step(5)
            assert other.recv(1) == b"x"
        assert len(calls) == turns, "it spins"
        clock.advance(reactor.next_timeout())
    reactor.step(5)
    assert len(accepted) == 3, accepted
    for _ in range(3):
        rest()
        reactor.step(0)
        reactor.step(0)
    gone = 0
    for client in clients:
        client.setblocking(False)
        try:
            gone += client.recv(1) == b""
        except BlockingIOError:
            pass
    assert gone == 37, gone
    accepted.pop().close()
    for _ in range(3):
        clients.pop().close()
    clock.advance(1)
    reactor.step(0)
    client = socket.create_connection(listener.address, 20)
    reactor.step(5)
    assert len(accepted) == 3
    reactor.unregister(one)
    for sock in accepted + clients + [client, one, other]:
        sock.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit to lower")
def test_a_process_without_descriptors_neither_spins_nor_dies_and_recovers() -> None:
    done = run_python(STARVED)
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 3
    for line, seconds in zip(lines, ("0.1", "0.2", "0.4")):
        assert line.startswith("cannot accept connections ([Errno 24]")
        assert line.endswith(f"pausing {seconds} s")


# ---- the end ----


def test_a_closed_listener_refuses_and_still_knows_its_address(owner: Owner) -> None:
    address = owner.listener.address
    port = int(address[1])
    for _ in range(2):
        owner.listener.close()
    assert owner.listener.address == address
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)
    # A server that starts again finds the address free.
    close_all(listen(("127.0.0.1", port)))


def test_close_frees_every_descriptor(reactor: Reactor) -> None:
    before = descriptors()
    owner = Owner(reactor, listen(("127.0.0.1", 0))[0])
    owner.connect(3)
    turn(owner)
    owner.close()
    assert descriptors() == before


@needs_unix
def test_the_path_is_removed_at_the_end_if_it_is_ours(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "socket"
    for unlink in (True, False):
        owner = Owner(reactor, listen_unix(str(path)), unlink=unlink)
        assert owner.listener.address == str(path)
        owner.connect()
        turn(owner)
        assert len(owner.accepted) == 1
        owner.close()
        assert path.exists() is not unlink


@needs_unix
def test_a_path_that_another_server_has_taken_is_left_to_it(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "socket"
    owner = Owner(reactor, listen_unix(str(path)), unlink=True)
    path.unlink()
    other = Owner(reactor, listen_unix(str(path)), unlink=True)
    owner.close()
    other.connect()
    turn(other)
    assert len(other.accepted) == 1
    other.close()
    assert not path.exists()


@needs_unix
def test_a_path_that_is_gone_or_cannot_be_removed_does_not_keep_it_open_nor_raise(
    reactor: Reactor,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path = tmp_path / "socket"
    gone = Owner(reactor, listen_unix(str(path)), unlink=True)
    path.unlink()
    gone.close()
    kept = Owner(reactor, listen_unix(str(path)), unlink=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        kept.close()
    (record,) = caplog.records
    assert "left behind" in record.getMessage()
    for owner in (gone, kept):
        assert owner.listener.sock.fileno() == -1
        owner.close()


@needs_unix
def test_the_child_of_a_fork_leaves_the_path_to_its_parent(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with Reactor() as reactor:
        owner = Owner(reactor, listen_unix(str(path)), unlink=True)
        reactor.abandon()
        owner.close()
    assert path.exists()


def test_a_socket_without_a_path_has_nothing_to_remove(reactor: Reactor) -> None:
    owner = Owner(reactor, listen(("127.0.0.1", 0))[0], unlink=True)
    owner.close()


@needs_unix
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names without files")
def test_a_name_without_a_file_is_served_and_not_replaced(reactor: Reactor) -> None:
    name = f"\0reactor-test-{os.getpid()}"
    owner = Owner(reactor, listen_unix(name), unlink=True)
    owner.connect()
    turn(owner)
    assert len(owner.accepted) == 1
    with pytest.raises(OSError, match="in use"):
        listen_unix(name)
    owner.close()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(name)
        with pytest.raises(OSError, match="in use"):
            listen_unix(name)


# ---- addresses ----


def close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def addresses(*found: tuple[int, Any]) -> Callable[..., list[Any]]:
    """Return a `getaddrinfo` that finds these."""

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", name) for family, name in found]

    return getaddrinfo


V4 = (socket.AF_INET, ("127.0.0.1", 0))
V6 = (socket.AF_INET6, ("::1", 0, 0, 0))
# An address for examples, which is nobody's.
NOT_OURS = (socket.AF_INET, ("192.0.2.1", 0))


@needs_ipv6
def test_no_host_means_all_interfaces_of_both_kinds_by_one_socket(reactor: Reactor) -> None:
    (sock,) = listen(("", 0))
    owner = Owner(reactor, sock)
    port = sock.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        owner.clients.append(socket.create_connection((host, port), PATIENCE))
        turn(owner)
    assert [address[0] for address in owner.addresses] == ["::ffff:127.0.0.1", "::1"]
    owner.close()


def test_no_host_means_all_of_ipv4_where_one_socket_cannot_do_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    (sock,) = listen(("", 0))
    assert sock.getsockname()[0] == "0.0.0.0"
    sock.close()


@needs_ipv6
def test_an_ipv6_address_means_ipv6_alone(reactor: Reactor) -> None:
    (sock,) = listen(("::1", 0))
    owner = Owner(reactor, sock)
    assert owner.listener.address[0] == "::1"
    owner.connect()
    turn(owner)
    assert owner.addresses[0][0] == "::1"
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    owner.close()


@needs_ipv6
def test_a_name_means_each_of_its_addresses_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses(V6, V4, V6))
    sockets = listen(("both", 0))
    names = [sock.getsockname() for sock in sockets]
    close_all(sockets)
    assert [name[0] for name in names] == ["::1", "127.0.0.1"]
    assert names[0][1] == names[1][1] > 0


def test_an_address_that_this_machine_has_not_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses(NOT_OURS, V4))
    sockets = listen(("partly", 0))
    assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    close_all(sockets)
    monkeypatch.setattr(socket, "getaddrinfo", addresses(NOT_OURS))
    with pytest.raises(OSError, match="assign requested address") as info:
        listen(("elsewhere", 0))
    assert info.value.errno == errno.EADDRNOTAVAIL


def test_a_name_that_is_unknown_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        listen(("nobody", 0))


@needs_ipv6
def test_a_port_in_use_raises_and_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses(V6, V4))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = descriptors()
        with pytest.raises(OSError, match="in use"):
            listen(("both", taken.getsockname()[1]))
        assert descriptors() == before


@needs_ipv6
@pytest.mark.parametrize("taken", [1, 7, 8])
def test_a_free_port_is_sought_that_is_free_at_each_address(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses(V6, V4))
    left = [taken]
    real = module._bound

    def bound(family: int, *args: Any) -> socket.socket:
        if family == socket.AF_INET and left[0]:
            left[0] -= 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(family, *args)

    monkeypatch.setattr(module, "_bound", bound)
    before = descriptors()
    if taken < 8:
        sockets = listen(("both", 0))
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        close_all(sockets)
    else:
        with pytest.raises(OSError, match="in use"):
            listen(("both", 0))
    assert left == [0]
    assert descriptors() == before


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no ports")
def test_processes_may_share_a_port_if_all_say_so() -> None:
    (first,) = listen(("127.0.0.1", 0), reuse_port=True)
    port = first.getsockname()[1]
    (second,) = listen(("127.0.0.1", port), reuse_port=True)
    with pytest.raises(OSError, match="in use"):
        listen(("127.0.0.1", port))
    first.close()
    second.close()


def test_elsewhere_a_port_is_not_taken_from_another_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (sock,) = listen(("127.0.0.1", 0))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not sock.get_inheritable()
    sock.close()
    monkeypatch.setattr(os, "name", "nt")
    (sock,) = listen(("127.0.0.1", 0))
    monkeypatch.undo()
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    sock.close()


# ---- unix sockets ----


@needs_unix
def test_the_file_of_a_server_that_is_no_more_is_replaced(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / "socket")
    listen_unix(path).close()
    assert os.path.exists(path)
    owner = Owner(reactor, listen_unix(path), unlink=True)
    owner.connect()
    turn(owner)
    assert len(owner.accepted) == 1
    owner.close()


@needs_unix
@pytest.mark.parametrize("full", [False, True])
def test_a_path_that_a_server_listens_on_is_refused(
    reactor: Reactor, tmp_path: pathlib.Path, full: bool
) -> None:
    path = str(tmp_path / "socket")
    owner = Owner(reactor, listen_unix(path, backlog=0))
    before = descriptors()
    waiting: list[socket.socket] = []
    while full:
        client = socket.socket(socket.AF_UNIX)
        waiting.append(client)
        client.setblocking(False)
        try:
            client.connect(path)
        except BlockingIOError:
            break
    with pytest.raises(OSError, match="in use"):
        listen_unix(path)
    close_all(waiting)
    assert descriptors() == before
    turn_until(reactor, lambda: owner.accepted)
    owner.close()


@needs_unix
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_no_socket_is_never_removed(tmp_path: pathlib.Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("years of work")
    elif kind == "folder":
        path.mkdir()
    else:
        listen_unix(str(tmp_path / "left behind")).close()
        path.symlink_to(tmp_path / "left behind")
    with pytest.raises(OSError, match="in use"):
        listen_unix(str(path))
    assert path.is_symlink() if kind == "link" else path.exists()


@needs_unix
def test_a_path_that_cannot_be_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        listen_unix(str(tmp_path / "nowhere" / "socket"))


# ---- inherited sockets ----


@pytest.fixture
def low_numbers() -> Iterator[None]:
    """Put back descriptors 3 and 4 as they were."""
    saved: list[tuple[int, int | None]] = []
    for number in (3, 4):
        try:
            saved.append((number, os.dup(number)))
        except OSError:
            saved.append((number, None))
    yield
    for number, copy in saved:
        if copy is not None:
            os.dup2(copy, number, inheritable=False)
            os.close(copy)


def test_nothing_is_inherited_that_is_meant_for_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert inherited_sockets() == []
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert inherited_sockets() == []
    assert os.environ["LISTEN_FDS"] == "1"


def test_inherited_sockets_are_taken_once_and_passed_to_nobody(
    monkeypatch: pytest.MonkeyPatch, low_numbers: None
) -> None:
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    for name, value in zip(names, (str(os.getpid()), "1", "web")):
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        os.dup2(sock.fileno(), 3)
        (taken,) = inherited_sockets()
        assert taken.fileno() == 3
        assert taken.getsockname() == sock.getsockname()
        assert not taken.get_inheritable()
        assert not any(name in os.environ for name in names)
        assert inherited_sockets() == []
        taken.close()


def test_an_inherited_descriptor_that_is_no_socket_raises(
    monkeypatch: pytest.MonkeyPatch, low_numbers: None
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    number = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        os.dup2(sock.fileno(), 3)
        os.dup2(number, 4)
        with pytest.raises(OSError, match=r"[Ss]ocket"):
            inherited_sockets()
    os.close(number)


INHERITING = """
import os, sys
os.dup2({number}, 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", '''
from reactor import Reactor
from reactor.loop.listener import Listener, inherited_sockets
def accepted(sock, address):
    sock.send(b"hello")
    sock.close()
    reactor.stop()
with Reactor() as reactor:
    sock, = inherited_sockets()
    listener = Listener(reactor, sock, accepted)
    reactor.run()
'''])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system passes no descriptors")
def test_a_service_manager_may_pass_the_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        client = socket.create_connection(sock.getsockname(), PATIENCE)
        source = INHERITING.format(number=sock.fileno())
        done = run_python(source, pass_fds=[sock.fileno()])
    assert (done.returncode, done.stderr) == (0, "")
    assert client.recv(99) == b"hello"
    client.close()


def test_a_pause_is_logged_by_the_packages_logger(
    owner: Owner, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.errors = [errno.EMFILE]
    owner.connect()
    turn(owner)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("reactor", logging.WARNING)
