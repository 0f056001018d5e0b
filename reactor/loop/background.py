"""A reactor in a thread of its own, for a program that has no loop for it.

Facts: other threads may do two things to a reactor, `call_soon_threadsafe` and `stop`. Who
waits for an answer of a thread that has ended, or of the one that it is in itself, waits for
ever. The interpreter ends without waiting for a daemon thread, in the middle of anything.

So the thread runs the reactor and closes it, whatever has ended it, and nobody else has to. A
call that is waited for is taken once: by the reactor, which makes it, by who waits, whose time
is over, or by the end of the thread; so it ends, and who waits knows how.
"""

from __future__ import annotations

from _thread import get_ident
from threading import Event, Lock, Thread

from ..errors import InvalidState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Result = TypeVar("Result")


class ReactorThread:
    """A thread that runs a reactor, as others see it; `Reactor.run_in_thread` returns one.

    It is there when the reactor runs in it, which goes on until it is stopped, whatever becomes
    of its services; then the reactor is closed. A `with` block stops it at its end.

    Args:
        reactor: A `Reactor` that does not run.
        name: The thread's name.
        daemon: Whether the interpreter may end without waiting for the thread.

    Attributes:
        reactor: As above. From now on all of it but `call_soon_threadsafe` and `stop` is for
            its thread, which `call` and `call_soon` reach.

    Raises:
        RuntimeError: The reactor runs already, or was left behind by a `fork`.
        InvalidState: It is closed.
    """

    def __init__(self, reactor: Any, name: str = "reactor", daemon: bool = True) -> None:
        self.reactor = reactor
        self._runs = self._ended = False
        self._known = Event()  # whether it runs
        self._error: BaseException | None = None
        self._calls: set[_Call] = set()
        self._thread = Thread(target=self._main, name=name, daemon=daemon)
        self._thread.start()
        try:
            self._known.wait()
        except BaseException:
            # Who is interrupted here gets nothing to stop it by.
            reactor.call_soon_threadsafe(reactor.stop)
            raise
        if not self._runs:
            self.join()

    # ---- in its own thread ----

    def _main(self) -> None:
        try:
            self.reactor.call_soon(self._has_begun)
            self.reactor.run()
        except BaseException as error:
            self._error = error
        if self._runs:
            self._close()
        self._ended = True
        for call in list(self._calls):
            call.refuse(self._gone())
        self._known.set()

    def _has_begun(self) -> None:
        self.reactor.attach(_Stay(self.reactor))
        self._runs = True
        self._known.set()

    def _close(self) -> None:
        """Close the reactor; what interrupts that is kept, and it goes on."""
        while True:
            try:
                self.reactor.close()
                return
            except BaseException as error:
                self._error = self._error or error
                if isinstance(error, Exception):
                    return

    # ---- in others ----

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def call_soon(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the reactor's thread, soon; from any thread, never blocks.

        Raises:
            RuntimeError: After a `fork`.
            InvalidState: The thread has ended, or is about to.
        """
        try:
            self.reactor.call_soon_threadsafe(fn, *args)
        except InvalidState:
            raise self._gone() from self._error

    def call(
        self, fn: Callable[..., Result], *args: object, timeout: float | None = None
    ) -> Result:
        """Call `fn(*args)` in the reactor's thread; return or raise what it does.

        Args:
            fn: Called between two events, so no event is served while it runs. If it raises
                `KeyboardInterrupt` or `SystemExit`, that ends the reactor as well.
            args: What it is called with.
            timeout: For how many seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: It has not ended in time. It says whether it has begun; if not, it is
                not made any more.
            RuntimeError: It is called in the reactor's thread, or after a `fork`.
            InvalidState: The thread has ended before it could be made.
        """
        self._check_elsewhere("call")
        call = _Call(fn, args)
        self._calls.add(call)
        try:
            self.call_soon(call.make)
            if self._ended:  # whoever ended it may have looked before this was there
                call.refuse(self._gone())
            result: Result = call.wait(timeout)
            return result
        finally:
            self._calls.discard(call)

    def stop(self, timeout: float | None = None) -> None:
        """Stop gracefully, and wait for the end: `shutdown`, `close`, and that of the thread.

        Nothing is done to a thread that has ended.

        Args:
            timeout: For how many seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: It has not ended in time; `reactor.stop()` then ends it without
                waiting for the services.
            RuntimeError: It is called in the reactor's thread, where `reactor.shutdown()` does.
            BaseException: What has ended the reactor, as for `join`.
        """
        self._check_elsewhere("stop")
        if self.alive:
            try:
                self.call_soon(self.reactor.shutdown)
            except InvalidState:
                pass  # it is about to end already
        self.join(timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread.

        Args:
            timeout: For how many seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: It has not ended in time.
            RuntimeError: It is called in the reactor's thread.
            BaseException: What has ended the reactor, other than a stop: a `KeyboardInterrupt`
                or `SystemExit` of a function that it has called, an `OSError` of its selector.
        """
        self._check_elsewhere("join")
        self._thread.join(timeout)
        if self.alive:
            raise TimeoutError(f"the reactor's thread has not ended in {timeout} seconds")
        if self._error is not None:
            raise self._error

    def __enter__(self) -> ReactorThread:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.stop()

    def _check_elsewhere(self, name: str) -> None:
        if self._thread.ident == get_ident() and self.alive:
            raise RuntimeError(
                f"{name}() is called in the reactor's own thread, and would wait for ever"
            )

    def _gone(self) -> InvalidState:
        return InvalidState(f"the reactor's thread {self._thread.name!r} has ended")


class _Stay:
    """A service that ends when it is told to: the last one to end would end `run`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def stop(self) -> None:
        """End."""
        self._reactor.detach(self)

    abort = stop


class _Call:
    """A call that a thread waits for."""

    __slots__ = ("_args", "_done", "_error", "_fn", "_result", "_taken")

    def __init__(self, fn: Callable[..., Any], args: tuple[object, ...]) -> None:
        self._fn = fn
        self._args = args
        self._taken = Lock()
        self._done = Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def _take(self) -> bool:
        """Return whether nobody else has decided what becomes of it, nor will."""
        return self._taken.acquire(blocking=False)

    def make(self) -> None:
        """Make the call, unless it was withdrawn."""
        if not self._take():
            return
        try:
            self._result = self._fn(*self._args)
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._done.set()

    def answers_for(self) -> object:
        """Return who may be to blame when it took long; called by the reactor's meter."""
        return self._fn

    def refuse(self, error: BaseException) -> None:
        """Have `error` raised where the call is waited for, unless it is made."""
        if self._take():
            self._error = error
            self._done.set()

    def wait(self, timeout: float | None) -> Any:
        """Return the result, or raise what there is to raise."""
        if not self._done.wait(timeout):
            if self._take():
                raise TimeoutError(f"the call has not begun in {timeout} seconds")
            if not self._done.is_set():
                raise TimeoutError(f"the call has begun, and not ended in {timeout} seconds")
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # which would hold this frame, and this one it
