"""`reactor/__init__.py`: the public names."""

from __future__ import annotations

import pathlib
import re
import selectors
import subprocess
import sys
import types

import pytest

import reactor

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = {"EVENT_READ", "EVENT_WRITE", "RSV1", "RSV2", "RSV3"}
# Where they are: each is imported when it is asked for.
HOMES = {
    "reactor.auth": ["BasicAuth", "DigestAuth"],
    "reactor.backoff": ["Backoff"],
    "reactor.client": ["Client"],
    "reactor.connection": ["Connection"],
    "reactor.errors": [
        *["ConnectionClosed", "HandshakeError", "InvalidPayload", "InvalidState"],
        *["MessageTooBig", "ProtocolError", "ProxyError", "QueueFull", "WebSocketError"],
    ],
    "reactor.handlers": ["Handlers"],
    "reactor.loop.background": ["ReactorThread"],
    "reactor.loop.listener": ["inherited_sockets"],
    "reactor.loop.meter": ["ReactorStats", "StepReport"],
    "reactor.loop.reactor": ["EVENT_READ", "EVENT_WRITE", "Reactor"],
    "reactor.protocol.answer": ["Response"],
    "reactor.protocol.codes": ["CloseCode", "Opcode"],
    "reactor.protocol.deflate": ["DeflateFrame", "PerMessageDeflate"],
    "reactor.protocol.extensions": ["Codec", "Extension"],
    "reactor.protocol.forwarded": ["TrustedProxies"],
    "reactor.protocol.frames": ["Frame", "RSV1", "RSV2", "RSV3"],
    "reactor.protocol.http": ["Headers"],
    "reactor.protocol.messages": ["BinaryMessage", "Message", "TextMessage"],
    "reactor.protocol.request": ["Request"],
    "reactor.protocol.session": ["State"],
    "reactor.server": ["Server"],
    "reactor.stats": ["TrafficStats"],
    "reactor.websocket": ["WebSocket"],
}
HOME = {name: module for module, names in HOMES.items() for name in names}


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_public_names_are_exactly_those_of_all() -> None:
    assert set(HOME) == set(reactor.__all__)
    assert len(reactor.__all__) == len(HOME)
    others = {
        name
        for name, value in vars(reactor).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and name not in ("annotations", "TYPE_CHECKING")
    }
    assert others <= set(HOME)


def test_a_star_import_brings_in_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from reactor import *", names)
    del names["__builtins__"]
    assert names == {name: getattr(reactor, name) for name in reactor.__all__}


@pytest.mark.parametrize("name", HOME)
def test_a_name_is_the_same_whenever_it_is_asked_for(name: str) -> None:
    found = getattr(reactor, name)
    assert found is getattr(sys.modules[HOME[name]], name)
    assert found is vars(reactor)[name], "it is looked for once"
    if name not in NUMBERS:
        assert found.__name__ == name


@pytest.mark.parametrize("name", HOME)
def test_a_name_that_nobody_has_asked_for_is_imported(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = getattr(reactor, name)
    monkeypatch.delitem(vars(reactor), name)
    assert getattr(reactor, name) is before


def test_to_import_the_package_imports_nothing_of_what_is_asked_for_later() -> None:
    done = run(
        "import sys, reactor\n"
        f"print(*sorted(set({sorted(HOMES)!r}) & set(sys.modules)))\n"
        f"from reactor import {', '.join(HOME)}\n"
        "print(Client.__name__, hasattr(reactor, 'Client'))\n"
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["", "Client True"]


def test_what_is_imported_later_can_be_seen_before() -> None:
    assert {*reactor.__all__, "__version__"} <= set(dir(reactor))
    done = run("import reactor; print(*dir(reactor))")
    assert {*reactor.__all__, "__version__"} <= set(done.stdout.split())


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(reactor, "client_")
    with pytest.raises(AttributeError, match=r"module 'reactor' has no attribute 'Clients'"):
        reactor.Clients  # noqa: B018
    with pytest.raises(ImportError, match="Clients"):
        exec("from reactor import Clients")


def test_the_events_are_those_of_selectors() -> None:
    assert reactor.EVENT_READ == selectors.EVENT_READ
    assert reactor.EVENT_WRITE == selectors.EVENT_WRITE


@pytest.mark.parametrize("name", sorted(set(reactor.__all__) - NUMBERS))
def test_each_public_name_has_a_docstring_of_its_own(name: str) -> None:
    text = vars(getattr(reactor, name)).get("__doc__") or getattr(reactor, name).__doc__
    inherited = [base.__doc__ for base in getattr(getattr(reactor, name), "__mro__", ())[1:]]
    assert text
    assert text not in inherited
    assert re.match(r"[A-Z].*[.:]\n?", text), text


@pytest.mark.parametrize("name", sorted(set(reactor.__all__) - NUMBERS))
def test_each_public_method_has_a_docstring(name: str) -> None:
    value = getattr(reactor, name)
    if isinstance(value, type):
        for method, function in vars(value).items():
            if not method.startswith("_") and isinstance(function, types.FunctionType):
                assert function.__doc__, f"{name}.{method}"


def test_the_package_says_what_it_is() -> None:
    assert reactor.__doc__


def test_the_version_has_its_section_in_the_changelog() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", reactor.__version__)
    text = (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[?([^\s\]]+)", text, re.MULTILINE)
    assert reactor.__version__ in sections
