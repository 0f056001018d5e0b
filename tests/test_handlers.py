"""`reactor/handlers.py`: what the user is told, by methods or by functions."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from reactor import Handlers, Server
from reactor.handlers import Told, give
from reactor.testing import FakeClock

CALLS: dict[str, tuple[Any, ...]] = {
    "onrequest": ("request",),
    "onopen": ("client",),
    "onmessage": ("client", "message"),
    "onfragment": ("client", "mess", False),
    "onsent": ("client", "message"),
    "onclose": ("client", 1000, ""),
    "onerror": ("client", Exception()),
    "ondrain": ("client",),
    "onping": ("client", b""),
    "onpong": ("client", b""),
}


def test_there_is_one_method_for_each_event() -> None:
    methods = inspect.getmembers(Handlers, inspect.isfunction)
    assert {name for name, _ in methods if not name.startswith("_")} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_handler_that_is_not_overridden_does_nothing(name: str) -> None:
    assert getattr(Handlers(), name)(*CALLS[name]) is None


@pytest.mark.parametrize("name", CALLS)
def test_a_function_takes_the_place_of_the_method(name: str) -> None:
    seen: list[Any] = []

    def function(*args: Any) -> str:
        seen.append(args)
        return "answer"

    handlers = Handlers(**{name: function})
    assert getattr(handlers, name)(*CALLS[name]) == "answer"
    assert seen == [CALLS[name]]


@pytest.mark.parametrize("name", CALLS)
def test_a_function_goes_before_the_method_of_a_subclass(name: str) -> None:
    mine = type("Mine", (Handlers,), {name: lambda self, *args: "method"})
    assert getattr(mine(), name)(*CALLS[name]) == "method"
    function = {name: lambda *args: "function"}
    assert getattr(mine(**function), name)(*CALLS[name]) == "function"


def test_functions_are_one_objects_own() -> None:
    Handlers(onopen=lambda client: "mine")
    assert Handlers().onopen(None) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("name", ["onfoo", "on", "message", "onMessage", "__init__", "run"])
def test_an_unknown_name_is_a_type_error_that_names_it(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Handlers\(\) has no option '{name}'"):
        Handlers(**{name: print})


def test_the_error_names_the_class_that_was_called() -> None:
    with pytest.raises(TypeError, match=r"Server\(\) has no option 'adress'"):
        Server(adress=("", 8000))


@pytest.mark.parametrize("value", [None, 5, "f"])
def test_what_cannot_be_called_is_a_type_error_at_once(value: Any) -> None:
    with pytest.raises(TypeError, match=r"onmessage=.* cannot be called"):
        Handlers(onmessage=value)


@pytest.mark.parametrize("name", ["onfoo", "on", "onMessage", "run"])
def test_functions_can_be_the_options_of_another(name: str) -> None:
    handlers = Handlers()
    with pytest.raises(TypeError, match=rf"Connection\(\) has no option '{name}'"):
        give(handlers, {name: print}, "Connection")
    give(handlers, {"onrequest": len}, "Connection")
    assert handlers.onrequest(b"four") == 4  # type: ignore[arg-type, comparison-overlap]


class Recorded(Told):
    def __init__(self, handlers: Handlers) -> None:
        super().__init__(handlers)
        self.clock = FakeClock()
        self.failures: list[Exception] = []
        self.named: list[tuple[str, float]] = []
        reactor: Any = self  # as much of one as is used
        self._reactor = reactor
        self.slow = 0.125

    def took(self, name: str, began: float, ended: float) -> None:
        self.named.append((name, ended - began))

    def _handler_failed(self, error: Exception) -> None:
        super()._handler_failed(error)
        self.failures.append(error)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "onrequest"])
def test_a_connection_hands_over_to_its_handlers(name: str) -> None:
    seen: list[Any] = []
    told = Told(Handlers(**{name: lambda *args: seen.append(args)}))
    getattr(told, name)(*CALLS[name][1:])
    assert seen == [(told, *CALLS[name][1:])]


class Overriding(Told):
    def onsent(self, message: Any) -> None:
        """Nothing, and yet it is one."""


class Slotted(Told):
    __slots__ = ()

    def onsent(self, message: Any) -> None:
        """Nothing, and yet it is one."""


class Bare(Told):
    __slots__ = ()


class Elsewhere(Handlers):
    @staticmethod
    def onsent(client: Any, message: Any) -> None:
        """Nothing, and yet it is one."""


class Nobody:
    """Has no handlers at all."""


@pytest.mark.parametrize(
    ("told", "listens"),
    [
        (Told(Handlers()), False),
        (Told(Handlers(onmessage=print)), False),
        (Told(Handlers(onsent=print)), True),
        (Told(Elsewhere()), True),
        (Overriding(Handlers()), True),
        (Slotted(Handlers()), True),
        (Bare(Handlers()), False),
        (Bare(Elsewhere()), True),
        (Told(Nobody()), False),  # type: ignore[arg-type]
    ],
    ids=[
        "nobody",
        "another",
        "function",
        "handlers",
        "method",
        "slots",
        "bare",
        "both",
        "none",
    ],
)
def test_who_has_overridden_a_handler_or_given_a_function_listens(
    told: Told, listens: bool
) -> None:
    assert told.listens_to("onsent") is listens
    assert told.listens_to("onfragment") is False


def test_a_handler_that_raises_is_logged_and_fails_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, error = Recorded(Handlers()), ValueError("no")

    def onpong(payload: bytes) -> None:
        raise error

    told._guard(onpong, b"")
    assert told.failures == [error]
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error]
    assert caplog.messages[0].startswith("onpong of ")


def test_a_handler_of_the_end_that_raises_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Recorded(Handlers())
    told._tell([].remove, 1)
    told._tell(Handlers().onopen, told)
    assert told.failures == []
    assert caplog.messages[0].startswith("remove of ")


def test_guarding_a_handler_that_does_not_raise_is_calling_it() -> None:
    told = Recorded(Handlers())
    seen: list[int] = []
    told._guard(seen.append, 1)
    assert (told.failures, seen) == ([], [1])


# ---- slow ones ----


class Chat(Handlers):
    def onping(self, client: Any, payload: bytes) -> None:
        client.clock.advance(float(payload))


class Own(Recorded):
    def onpong(self, payload: bytes) -> None:
        self.clock.advance(float(payload))


@pytest.mark.parametrize("call", ["_guard", "_tell"])
def test_a_handler_that_takes_long_is_named_wherever_it_was_given(call: str) -> None:
    def slow(client: Any, payload: bytes) -> None:
        client.clock.advance(float(payload))
        raise ValueError("and fails")

    where = f"{__name__}.test_a_handler_that_takes_long_is_named_wherever_it_was_given.<locals>"
    for told, name, expected in (
        (Recorded(Chat()), "onping", f"{__name__}.Chat.onping"),
        (Recorded(Handlers(onping=slow)), "onping", f"{where}.slow"),
        (Own(Handlers()), "onpong", f"{__name__}.Own.onpong"),
    ):
        getattr(told, call)(getattr(told, name), b"0.0625")
        assert told.named == []
        getattr(told, call)(getattr(told, name), b"0.25")
        ((named, seconds),) = told.named
        assert named == expected
        assert seconds == pytest.approx(0.25)


def test_what_has_no_name_of_its_own_is_named_after_its_class_or_what_it_calls() -> None:
    told = Recorded(Handlers())
    assert told.name_of(type("Nameless", (), {"__module__": "m"})()) == "m.Nameless"
    assert told.name_of([].remove) == "list.remove"
    assert told.name_of(functools.partial(print, 1)) == "builtins.print"
