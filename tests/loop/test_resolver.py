"""`reactor/loop/resolver.py`: look up names without holding up the loop."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Reactor
from reactor.loop import resolver as module
from reactor.loop.resolver import Resolver, is_address

from .helpers import PATIENCE, CountingSelector, run_python, turn_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with Reactor(selector=CountingSelector()) as reactor:
        yield reactor


class System:
    """A `getaddrinfo` that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.threads: list[threading.Thread] = []
        self.may_answer = threading.Event()
        self.result: Any = ANSWER

    def __call__(self, *args: Any) -> Any:
        self.asked.append(args)
        assert self.may_answer.wait(PATIENCE)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def start(self, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        """Start a thread that can be waited for, and whose errors make the test fail."""
        thread = threading.Thread(target=fn, args=args)
        self.threads.append(thread)
        thread.start()

    def join(self) -> None:
        self.may_answer.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    system = System()
    monkeypatch.setattr(socket, "getaddrinfo", system)
    monkeypatch.setattr(module, "start_new_thread", system.start)
    yield system
    system.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_an_address_is_its_own_answer_in_a_later_step(
    reactor: Reactor, system: System, host: str
) -> None:
    got: list[Any] = []
    Resolver(reactor)(host, 80, got.append)
    assert got == []
    reactor.step(0)
    assert got == [[(host, 80)]]
    assert system.asked == []


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "1.2.3.4.5", "::1%", "[::1]", "", "x:1"]
)
def test_what_is_no_address_is_a_name(host: str) -> None:
    assert not is_address(host)


def test_a_name_is_looked_up_in_a_thread_and_answered_in_the_reactors(
    reactor: Reactor, system: System
) -> None:
    system.may_answer.set()
    got: list[Any] = []
    threads: list[int] = []

    def answer(found: Any) -> None:
        got.append(found)
        threads.append(threading.get_ident())

    Resolver(reactor)("example.org", 80, answer)
    turn_until(reactor, lambda: got)
    assert got == [[("192.0.2.1", 80)]]
    assert threads == [threading.get_ident()]
    assert system.asked == [("example.org", 80, 0, socket.SOCK_STREAM)]
    assert len(system.threads) == 1


def test_the_systems_own_names_are_found(reactor: Reactor) -> None:
    got: list[Any] = []
    Resolver(reactor)("localhost", 80, got.append)
    turn_until(reactor, lambda: got)
    [found] = got
    assert {address[0] for address in found} & {"127.0.0.1", "::1"}
    assert {address[1] for address in found} == {80}


def test_a_look_up_that_hangs_holds_nothing_up(reactor: Reactor, system: System) -> None:
    got: list[Any] = []
    resolve = Resolver(reactor)
    start = time.monotonic()
    resolve("silent.example", 80, got.append)
    resolve("127.0.0.1", 80, got.append)
    for _ in range(5):
        reactor.step(0)
    assert time.monotonic() - start < PATIENCE / 2
    assert got == [[("127.0.0.1", 80)]]
    assert reactor.next_timeout() is None, "nobody polls for the answer"


def test_who_asks_for_the_same_shares_the_answer_and_who_asks_later_has_a_new_one(
    reactor: Reactor, system: System
) -> None:
    got: list[str] = []
    resolve = Resolver(reactor)
    for name in ("one", "two"):
        resolve("example.org", 80, lambda found, name=name: got.append(name))  # type: ignore[misc]
    resolve("example.org", 81, lambda found: got.append("other port"))
    system.may_answer.set()
    turn_until(reactor, lambda: len(got) == 3)
    assert [name for name in got if name != "other port"] == ["one", "two"]
    assert len(system.asked) == 2
    resolve("example.org", 80, lambda found: got.append("later"))
    turn_until(reactor, lambda: len(got) == 4)
    assert len(system.asked) == 3


def test_what_one_answer_raises_does_not_keep_it_from_the_others(
    reactor: Reactor, system: System, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Any] = []

    def fail(found: Any) -> None:
        raise ZeroDivisionError("not my day")

    resolve = Resolver(reactor)
    answers: list[Callable[[Any], object]] = [fail, got.append]
    for answer in answers:
        resolve("example.org", 80, answer)
    system.may_answer.set()
    turn_until(reactor, lambda: got)
    assert "not my day" in caplog.text
    assert len(system.asked) == 1


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        UnicodeError("label empty or too long"),
        OSError(24, "Too many open files"),
    ],
)
def test_an_error_is_the_answer(reactor: Reactor, system: System, error: Exception) -> None:
    system.result = error
    system.may_answer.set()
    got: list[Any] = []
    Resolver(reactor)("nowhere.example", 80, got.append)
    turn_until(reactor, lambda: got)
    assert got == [error]
    assert not isinstance(error, OSError) or error.filename == "nowhere.example"


def test_a_name_that_cannot_be_one_is_an_error(reactor: Reactor) -> None:
    got: list[Any] = []
    Resolver(reactor)("a" * 64 + ".example", 80, got.append)
    turn_until(reactor, lambda: got)
    assert isinstance(got[0], (UnicodeError, OSError))


def test_a_thread_that_cannot_be_started_is_an_error_and_the_next_look_up_is_made(
    reactor: Reactor, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("can't start new thread")

    def refuse(fn: object, args: object) -> None:
        raise error

    got: list[Any] = []
    resolve = Resolver(reactor)
    with monkeypatch.context() as patch:
        patch.setattr(module, "start_new_thread", refuse)
        resolve("example.org", 80, got.append)
        assert got == []
        turn_until(reactor, lambda: got)
    assert got == [error]
    system.may_answer.set()
    resolve("example.org", 80, got.append)
    turn_until(reactor, lambda: len(got) == 2)
    assert got[1] == [("192.0.2.1", 80)]


def test_a_look_up_that_hangs_does_not_keep_a_program_from_its_end() -> None:
    done = run_python("""
import socket, threading
from reactor import Reactor
from reactor.loop.resolver import Resolver

asked = threading.Event()

def hang(*args):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = hang
with Reactor() as reactor:
    Resolver(reactor)("silent.example", 80, print)
    reactor.step(0)
    assert asked.wait(20)
print("end")
""")
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


def test_an_answer_after_the_reactor_is_closed_goes_nowhere(
    reactor: Reactor, system: System
) -> None:
    got: list[Any] = []
    Resolver(reactor)("example.org", 80, got.append)
    reactor.close()
    system.join()
    assert got == []
