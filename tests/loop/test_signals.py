"""`reactor/loop/signals.py`: SIGINT and SIGTERM while a reactor runs."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from reactor import Reactor
from reactor.loop.signals import SignalTrap

from .helpers import PATIENCE, ROOT, run_python, status_of_child, turn_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def wake() -> Iterator[tuple[socket.socket, socket.socket]]:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    with reader, writer:
        yield reader, writer


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the handlers back that a test changes."""
    before = [(number, signal.getsignal(number)) for number in (*BOTH, signal.SIGUSR1)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def arrived(reader: socket.socket) -> bytes:
    assert select.select([reader], [], [], PATIENCE)[0]
    return reader.recv(99)


def wakeup_fd() -> int:
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_a_byte_and_is_acted_upon_when_it_is_read(
    wake: tuple[socket.socket, socket.socket], number: int
) -> None:
    reader, writer = wake
    calls: list[bool] = []
    with SignalTrap(writer, calls.append) as trap:
        send(number)
        data = arrived(reader)
        assert data == bytes([number])
        assert calls == []
        trap.received(data)
        assert calls == [False]


def test_the_second_signal_is_told_to_be_so_whichever_it_is(
    wake: tuple[socket.socket, socket.socket],
) -> None:
    calls: list[bool] = []
    with SignalTrap(wake[1], calls.append) as trap:
        trap.received(bytes([signal.SIGTERM]))
        trap.received(bytes([signal.SIGINT, 0, signal.SIGTERM]))
    assert calls == [False, True, True]


def test_zeros_and_other_signals_are_passed_over(
    wake: tuple[socket.socket, socket.socket], restored: None
) -> None:
    calls: list[bool] = []
    handled: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))
    with SignalTrap(wake[1], calls.append) as trap:
        send(signal.SIGUSR1)
        data = arrived(wake[0])
        trap.received(b"\0" + data)
    assert calls == []
    assert handled == [signal.SIGUSR1]


def test_what_was_there_before_is_put_back(
    wake: tuple[socket.socket, socket.socket], restored: None
) -> None:
    def mine(number: int, frame: FrameType | None) -> None:
        """Never called."""

    other = socket.socketpair()
    other[1].setblocking(False)
    signal.signal(signal.SIGTERM, mine)
    before = signal.getsignal(signal.SIGINT)
    first = signal.set_wakeup_fd(other[1].fileno())
    try:
        with SignalTrap(wake[1], bool) as trap:
            assert signal.getsignal(signal.SIGTERM) is not mine
            assert wakeup_fd() == wake[1].fileno()
        for _ in range(2):
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGINT) is before
            assert wakeup_fd() == other[1].fileno()
            trap.restore()
    finally:
        signal.set_wakeup_fd(first)
        for sock in other:
            sock.close()


def test_bytes_that_are_read_after_the_end_do_nothing(
    wake: tuple[socket.socket, socket.socket],
) -> None:
    calls: list[bool] = []
    with SignalTrap(wake[1], calls.append) as trap:
        send(signal.SIGINT)
    trap.received(arrived(wake[0]))
    assert calls == []


def test_what_is_ignored_goes_on_to_be(
    wake: tuple[socket.socket, socket.socket], restored: None
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: list[bool] = []
    with SignalTrap(wake[1], calls.append) as trap:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        trap.received(arrived(wake[0]))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert calls == [False]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_that_is_not_pythons_is_left_alone(
    wake: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signal.getsignal
    before = real(signal.SIGINT)
    monkeypatch.setattr(
        signal, "getsignal", lambda number: None if number == signal.SIGINT else real(number)
    )
    with SignalTrap(wake[1], bool):
        assert real(signal.SIGINT) is before
        assert real(signal.SIGTERM) is not signal.SIG_DFL
    assert real(signal.SIGTERM) is signal.SIG_DFL


def test_in_another_thread_nothing_is_changed(
    wake: tuple[socket.socket, socket.socket],
) -> None:
    before = [signal.getsignal(number) for number in BOTH]
    seen: list[object] = []

    def work() -> None:
        with SignalTrap(wake[1], bool) as trap:
            seen.extend(signal.getsignal(number) for number in BOTH)
            trap.received(bytes(BOTH))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert seen == before


def test_a_second_sigint_ends_a_callback_that_does_not_return(
    wake: tuple[socket.socket, socket.socket],
) -> None:
    calls: list[bool] = []

    def hang() -> None:
        send(signal.SIGINT)
        arrived(wake[0])

    with SignalTrap(wake[1], calls.append) as trap:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            hang()
        trap.received(bytes([signal.SIGTERM]))
        # Acted upon: the next one is the first of its kind again.
        send(signal.SIGINT)
        arrived(wake[0])
    assert calls == [False]


# ---- in a reactor ----


def test_a_signal_ends_a_run_that_waits_for_ever_without_touching_what_it_does() -> None:
    with Reactor() as reactor:
        timer = threading.Timer(0.05, send, [signal.SIGINT])
        timer.start()
        reactor.run()
        timer.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_step_leaves_the_signals_to_the_program() -> None:
    with Reactor() as reactor:
        reactor.call_soon(send, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            turn_until(reactor, lambda: False)


def test_run_in_another_thread_needs_no_signals() -> None:
    with Reactor() as reactor:
        worker = threading.Thread(target=reactor.run)
        worker.start()
        reactor.call_soon_threadsafe(reactor.stop)
        worker.join(PATIENCE)
        assert not worker.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_obeys_the_signals_that_its_parent_catches() -> None:
    statuses: list[int] = []

    def child() -> None:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert wakeup_fd() == -1
        send(signal.SIGTERM)

    with Reactor() as reactor:
        reactor.call_soon(lambda: statuses.append(status_of_child(child)))
        reactor.call_soon(reactor.stop)
        reactor.run()
    assert statuses == [-signal.SIGTERM]


PROGRAM = """
import os, signal
from reactor import Reactor
reactor = Reactor()
def ready():
    print("ready", flush=True)
{setup}
with reactor:
    reactor.call_soon(ready)
    reactor.run()
print("ended", flush=True)
"""


def test_only_the_main_thread_puts_back_what_was_there_before(
    wake: tuple[socket.socket, socket.socket],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with SignalTrap(wake[1], bool) as trap:
        caught = signal.getsignal(signal.SIGINT)
        worker = threading.Thread(target=trap.restore)
        worker.start()
        worker.join()
        assert signal.getsignal(signal.SIGINT) is caught
        assert wakeup_fd() == wake[1].fileno()
    assert signal.getsignal(signal.SIGINT) is before
    assert wakeup_fd() == -1


@pytest.mark.parametrize("number", BOTH)
def test_a_program_that_is_told_to_end_ends_without_a_traceback(number: int) -> None:
    source = PROGRAM.format(setup="")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(number)
        output, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, output, errors) == (0, "ended\n", "")


def test_a_callback_that_never_returns_is_ended_by_a_second_sigint() -> None:
    source = PROGRAM.format(
        setup="""
def hang():
    ready()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass
reactor.call_soon(hang)
"""
    )
    done = run_python(source)
    assert done.stdout == "ready\n"
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert done.returncode != 0
