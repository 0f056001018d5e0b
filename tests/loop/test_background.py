"""`reactor/loop/background.py`: a reactor in a thread of its own."""

from __future__ import annotations

import gc
import itertools
import os
import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Client, InvalidState, Reactor, Server
from reactor.loop import background
from reactor.loop.background import ReactorThread

from .helpers import PATIENCE, CountingSelector, descriptors, run_python, status_of_child

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def handle() -> Iterator[ReactorThread]:
    with ReactorThread(Reactor()) as handle:
        yield handle


def raising(error: BaseException) -> None:
    raise error


class Busy:
    """Keeps the reactor's thread in a call until `end()`."""

    def __init__(self, handle: ReactorThread) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        handle.call_soon(self.work)
        assert self.began.wait(PATIENCE)

    def work(self) -> None:
        self.began.set()
        assert self.ended.wait(PATIENCE)

    def end(self) -> None:
        self.ended.set()


class Asker(threading.Thread):
    """Makes a call and notes what comes of it."""

    def __init__(self, handle: ReactorThread, *call: Any, timeout: float | None = None) -> None:
        super().__init__()
        self.handle, self.arguments, self.timeout = handle, call, timeout
        self.came: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.came = self.handle.call(*self.arguments, timeout=self.timeout)
        except BaseException as error:
            self.came = error

    def answer(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "it waits for ever"
        return self.came


def waiting(handle: ReactorThread, count: int) -> bool:
    """Wait until so many calls are waited for."""
    end = threading.Event()
    for _ in range(int(PATIENCE * 1000)):
        if len(handle._calls) == count:
            return True
        end.wait(0.001)
    return False


# ---- from the beginning to the end ----


def test_the_reactor_runs_in_a_thread_with_the_name_that_is_given() -> None:
    with Reactor().run_in_thread("sockets", daemon=False) as handle:
        thread = handle.call(threading.current_thread)
        assert thread is not threading.current_thread()
        assert (thread.name, thread.daemon) == ("sockets", False)
        assert handle.alive
    assert not handle.alive


def test_without_more_the_thread_is_a_daemon(handle: ReactorThread) -> None:
    thread = handle.call(threading.current_thread)
    assert (thread.name, thread.daemon) == ("reactor", True)


def test_when_it_is_there_another_thread_may_not_use_the_reactor(
    handle: ReactorThread,
) -> None:
    busy = Busy(handle)
    with pytest.raises(RuntimeError, match="from a thread other than its own"):
        handle.reactor.call_soon(int)
    busy.end()


def test_at_its_end_all_is_closed() -> None:
    before = descriptors()
    reactor = Reactor()
    with ReactorThread(reactor) as handle:
        handle.call(lambda: Server(("127.0.0.1", 0), reactor=reactor))
        assert descriptors() > before
    assert descriptors() == before
    assert reactor.closed


@pytest.mark.parametrize("make", [ReactorThread, Reactor.run_in_thread])
def test_a_reactor_runs_in_one_thread_alone(handle: ReactorThread, make: Any) -> None:
    busy = Busy(handle)
    with pytest.raises(RuntimeError, match="from a thread other than its own"):
        make(handle.reactor)
    busy.end()
    with pytest.raises(RuntimeError, match=r"from inside a step|other than its own"):
        handle.call(make, handle.reactor)
    assert handle.alive


def test_a_reactor_that_is_closed_is_refused_and_no_thread_is_left() -> None:
    reactor = Reactor()
    reactor.close()
    before = threading.enumerate()
    with pytest.raises(InvalidState, match="closed"):
        ReactorThread(reactor)
    assert threading.enumerate() == before


def test_a_reactor_that_does_not_begin_is_left_as_it_was() -> None:
    reactor = Reactor()
    error = KeyboardInterrupt()
    reactor.call_soon(raising, error)
    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt) as told:
        ReactorThread(reactor)
    assert told.value is error
    assert threading.enumerate() == before
    assert not reactor.closed
    with ReactorThread(reactor) as handle:
        assert handle.call(int) == 0


def test_a_reactor_that_ends_in_its_first_step_has_begun() -> None:
    reactor = Reactor()
    reactor.call_soon(reactor.stop)
    handle = ReactorThread(reactor)
    handle.join(PATIENCE)
    assert reactor.closed


def test_who_is_interrupted_while_it_begins_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    reactor = Reactor()
    before = threading.enumerate()
    monkeypatch.setattr(background, "Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        ReactorThread(reactor)
    for thread in set(threading.enumerate()) - set(before):
        thread.join(PATIENCE)
    assert threading.enumerate() == before
    assert reactor.closed


# ---- calls ----


def test_a_call_returns_what_the_function_returns(handle: ReactorThread) -> None:
    assert handle.call(divmod, 17, 5) == (3, 2)


def test_a_call_raises_what_the_function_raises_and_the_reactor_goes_on(
    handle: ReactorThread, caplog: pytest.LogCaptureFixture
) -> None:
    error = LookupError("here")
    with pytest.raises(LookupError) as told:
        handle.call(raising, error)
    assert told.value is error
    assert caplog.records == []
    assert handle.call(int) == 0


def test_a_call_that_takes_long_is_named_after_its_function(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Each look at this clock is a second later.
    reactor = Reactor(clock=itertools.count().__next__, slow_callback=0.5)
    with reactor.run_in_thread() as handle:
        handle.call(waiting, handle, 1)
    named = [record.getMessage() for record in caplog.records]
    assert any(message.startswith(f"{__name__}.waiting took") for message in named)
    assert not any("_Call" in message for message in named)


def test_what_a_call_has_raised_keeps_nothing_alive(handle: ReactorThread) -> None:
    class Large:
        pass

    def fail(large: Large) -> None:
        raise LookupError

    large = Large()
    known = weakref.ref(large)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(LookupError):
            handle.call(fail, large)
        # The reactor has taken its hands off it when it makes the next call.
        handle.call(int)
        del large
        if sys.implementation.name == "pypy":
            gc.collect()
        assert known() is None
    finally:
        gc.enable()


def test_calls_of_one_thread_run_in_their_order(handle: ReactorThread) -> None:
    made: list[int] = []
    for number in range(100):
        handle.call_soon(made.append, number)
    assert handle.call(made.copy) == list(range(100))


def test_calls_of_many_threads_get_their_own_answers(handle: ReactorThread) -> None:
    askers = [Asker(handle, pow, number, 2) for number in range(20)]
    assert [asker.answer() for asker in askers] == [number**2 for number in range(20)]
    assert handle._calls == set()


def test_a_call_that_has_not_begun_in_time_is_not_made_any_more(handle: ReactorThread) -> None:
    made: list[int] = []
    busy = Busy(handle)
    with pytest.raises(TimeoutError, match=r"has not begun in 0\.01 seconds"):
        handle.call(made.append, 1, timeout=0.01)
    busy.end()
    handle.call(made.append, 2, timeout=PATIENCE)
    assert made == [2]


def test_a_call_that_has_begun_is_not_given_up_when_its_time_is_over(
    handle: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, end = threading.Event(), threading.Event()
    made: list[str] = []

    def work() -> None:
        began.set()
        assert end.wait(PATIENCE)
        made.append("all")

    class Over(threading.Event):
        """Its time is over as soon as the call has begun."""

        def wait(self, timeout: float | None = None) -> bool:
            assert began.wait(PATIENCE)
            return False

    call = background._Call(work, ())
    monkeypatch.setattr(call, "_done", Over())
    handle.call_soon(call.make)
    with pytest.raises(TimeoutError, match=r"has begun, and not ended in 0\.1 seconds"):
        call.wait(0.1)
    end.set()
    assert handle.call(made.copy) == ["all"]


def test_an_answer_that_comes_when_the_time_is_over_counts(
    handle: ReactorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(threading.Event):
        """Says that the time is over, and looks at that only after what is waited for."""

        def wait(self, timeout: float | None = None) -> bool:
            assert super().wait(PATIENCE)
            return False

    call = background._Call(int, ("7",))
    monkeypatch.setattr(call, "_done", Late())
    handle.call_soon(call.make)
    assert call.wait(0.1) == 7


@pytest.mark.parametrize("name", ["call", "stop", "join"])
def test_the_reactors_thread_does_not_wait_for_itself(handle: ReactorThread, name: str) -> None:
    arguments = (int,) if name == "call" else ()
    with pytest.raises(RuntimeError, match=rf"{name}\(\) is called in .* own thread"):
        handle.call(getattr(handle, name), *arguments, timeout=PATIENCE)
    assert handle.call(int, timeout=PATIENCE) == 0


def test_a_call_after_the_end_says_so() -> None:
    handle = ReactorThread(Reactor(), "sockets")
    handle.stop()
    for call in (handle.call, handle.call_soon):
        with pytest.raises(InvalidState, match="reactor's thread 'sockets' has ended") as told:
            call(int)
        assert told.value.__cause__ is None


def test_a_call_after_an_end_by_an_error_names_it_as_the_cause() -> None:
    handle = ReactorThread(Reactor())
    handle.call_soon(sys.exit, 3)
    with pytest.raises(SystemExit) as ended:
        handle.join(PATIENCE)
    with pytest.raises(InvalidState) as told:
        handle.call_soon(int)
    assert told.value.__cause__ is ended.value


def test_a_call_that_the_end_overtakes_is_made_or_refused() -> None:
    for _ in range(20):
        made: list[int] = []
        handle = ReactorThread(Reactor())
        busy = Busy(handle)
        handle.call_soon(handle.reactor.stop)
        askers = [Asker(handle, made.append, number) for number in range(4)]
        busy.end()
        came = [asker.answer() for asker in askers]
        handle.join(PATIENCE)
        refused = [error for error in came if error is not None]
        assert {type(error) for error in refused} <= {InvalidState}
        assert len(made) == 4 - len(refused)


class Deaf(Reactor):
    """Accepts calls, and forgets them."""

    deaf = False

    def call_soon_threadsafe(self, fn: Any, *args: object) -> None:
        if not self.deaf:
            super().call_soon_threadsafe(fn, *args)


def test_a_call_that_is_lost_is_not_waited_for_after_the_end() -> None:
    reactor = Deaf()
    handle = ReactorThread(reactor)
    reactor.deaf = True
    asker = Asker(handle, int)
    assert waiting(handle, 1)
    reactor.stop()
    assert isinstance(asker.answer(), InvalidState)
    # It has ended now, and this one is not even looked for.
    with pytest.raises(InvalidState):
        handle.call(int)
    handle.join(PATIENCE)


# ---- stopping ----


def test_it_goes_on_when_the_last_service_has_ended(handle: ReactorThread) -> None:
    for _ in range(2):
        server = handle.call(lambda: Server(("127.0.0.1", 0), reactor=handle.reactor))
        handle.call(server.stop)
        assert handle.call(int) == 0


def test_stop_tells_services_to_go_and_waits_for_them() -> None:
    told: list[tuple[int, str]] = []
    opened = threading.Event()

    class Caller(Client):
        def onopen(self) -> None:
            opened.set()

        def onclose(self, code: int, reason: str) -> None:
            told.append((code, reason))

    reactor, other = Reactor(), Reactor()
    with ReactorThread(other) as callers, ReactorThread(reactor) as handle:
        server = handle.call(lambda: Server(("127.0.0.1", 0), reactor=reactor))
        port = server.addresses[0][1]
        uri = f"ws://127.0.0.1:{port}/"
        callers.call(lambda: Caller(uri, reactor=other, proxy=False))
        assert opened.wait(PATIENCE)
        handle.stop(PATIENCE)
        assert not handle.alive
        assert callers.alive
    assert [code for code, _ in told] == [1001]


def test_stop_and_join_may_be_called_any_number_of_times() -> None:
    handle = ReactorThread(Reactor())
    handle.stop()
    handle.stop()
    handle.join()
    with handle:
        assert not handle.alive


def test_stop_of_a_reactor_that_is_closed_and_whose_thread_has_not_ended_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed, end = threading.Event(), threading.Event()

    class Slow(Reactor):
        def close(self) -> None:
            super().close()
            closed.set()
            assert end.wait(PATIENCE)

    handle = ReactorThread(Slow())
    handle.reactor.stop()
    assert closed.wait(PATIENCE)
    with pytest.raises(TimeoutError):
        handle.stop(0.01)
    end.set()
    handle.stop()
    assert not handle.alive


def test_what_does_not_end_in_time_goes_on_and_can_be_stopped_again(
    handle: ReactorThread,
) -> None:
    class Stubborn:
        def stop(self) -> None:
            """Never ends by itself."""

        def abort(self) -> None:
            handle.reactor.detach(self)

    handle.call(handle.reactor.attach, Stubborn())
    for wait in (handle.stop, handle.join):
        with pytest.raises(TimeoutError, match=r"has not ended in 0\.01 seconds"):
            wait(0.01)
    assert handle.call(int) == 0
    handle.reactor.stop()
    handle.join(PATIENCE)
    assert not handle.alive


@pytest.mark.parametrize("error", [KeyboardInterrupt("one"), SystemExit(3)], ids=repr)
def test_what_ends_the_reactor_is_raised_where_its_end_is_waited_for(
    error: BaseException,
) -> None:
    handle = ReactorThread(Reactor())
    handle.call_soon(raising, error)
    for wait in (handle.join, handle.stop):
        with pytest.raises(type(error)) as told:
            wait(PATIENCE)
        assert told.value is error
    assert handle.reactor.closed


def test_what_a_call_raises_that_ends_the_reactor_is_raised_in_both_places() -> None:
    handle = ReactorThread(Reactor())
    error = SystemExit(3)
    with pytest.raises(SystemExit) as told:
        handle.call(raising, error)
    assert told.value is error
    with pytest.raises(SystemExit) as told:
        handle.join()
    assert told.value is error


def test_an_interrupt_in_the_end_does_not_keep_it_from_ending() -> None:
    before = descriptors()
    first, second = KeyboardInterrupt("first"), KeyboardInterrupt("second")
    reactor = Reactor()

    class Telling:
        """A service that raises when it is aborted."""

        def __init__(self) -> None:
            self.aborted = 0

        def stop(self) -> None:
            raise AssertionError

        def abort(self) -> None:
            self.aborted += 1
            if self.aborted == 1:
                raise second
            reactor.detach(self)

    handle = ReactorThread(reactor)
    services = [Telling(), Telling()]
    for service in services:
        handle.call(reactor.attach, service)
    handle.call_soon(raising, first)
    with pytest.raises(KeyboardInterrupt) as told:
        handle.join(PATIENCE)
    assert told.value is first
    assert [service.aborted for service in services] == [2, 2]
    assert reactor.closed
    assert descriptors() == before


def test_an_error_in_close_is_told_and_no_call_waits_for_it() -> None:
    class Failing(CountingSelector):
        failed = False

        def close(self) -> None:
            super().close()
            if not self.failed:
                self.failed = True
                raise OSError("no more")

    reactor = Reactor(selector=Failing())
    handle = ReactorThread(reactor)
    with pytest.raises(OSError, match="no more"):
        handle.stop()
    with pytest.raises(InvalidState) as told:
        handle.call(int)
    assert isinstance(told.value.__cause__, OSError)
    reactor.close()  # the rest of it


def test_an_error_of_the_selector_ends_the_thread_and_is_told() -> None:
    class Failing(CountingSelector):
        def __init__(self) -> None:
            super().__init__()
            self.fail = False

            def look() -> None:
                if self.fail:
                    raise OSError("selector")

            self.before = look

    selector = Failing()
    handle = ReactorThread(Reactor(selector=selector))
    handle.call_soon(setattr, selector, "fail", True)
    with pytest.raises(OSError, match="selector"):
        handle.join(PATIENCE)


def test_the_end_of_the_block_stops_it_whatever_has_ended_the_block() -> None:
    reactor = Reactor()
    with pytest.raises(LookupError), ReactorThread(reactor) as handle:
        raise LookupError
    assert not handle.alive
    assert reactor.closed


# ---- processes ----


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_child_nothing_waits_for_the_thread_that_is_not_there(
    handle: ReactorThread,
) -> None:
    def child() -> None:
        assert not handle.alive
        for call in (handle.call, handle.call_soon):
            with pytest.raises(RuntimeError, match="after a fork"):
                call(int)
        handle.join()
        handle.stop()

    assert status_of_child(child) == 0
    assert handle.call(int) == 0


PROGRAM = """
import threading
from reactor import Reactor, Server

reactor = Reactor()
handle = reactor.run_in_thread(daemon={daemon})
server = handle.call(lambda: Server(("127.0.0.1", 0), reactor=reactor))
{more}
print("the end", flush=True)
"""


@pytest.mark.parametrize(
    "more", ["", "del handle, server, reactor", "handle.stop()", "handle.reactor.stop()"]
)
def test_the_interpreter_ends_without_waiting_for_a_daemon_and_says_nothing(more: str) -> None:
    done = run_python(PROGRAM.format(daemon=True, more=more))
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")


def test_the_interpreter_waits_for_a_thread_that_is_no_daemon() -> None:
    more = "threading.Timer(0.2, lambda: (print('later', flush=True), handle.stop())).start()"
    done = run_python(PROGRAM.format(daemon=False, more=more))
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\nlater\n", "")


def test_a_connection_is_served_while_the_main_thread_does_something_else() -> None:
    class Echo(Server):
        def onmessage(self, connection: Any, message: str | bytes) -> None:
            connection.send(message)

    reactor = Reactor()
    with ReactorThread(reactor) as handle:
        server = handle.call(lambda: Echo(("127.0.0.1", 0), reactor=reactor))
        port = int(server.addresses[0][1])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Version: 13\r\n\r\n\x81\x82\0\0\0\0hi"
            )
            came = b""
            while not came.endswith(b"\x81\x02hi"):
                piece = sock.recv(4096)
                assert piece, came
                came += piece
        assert came.startswith(b"HTTP/1.1 101 ")
