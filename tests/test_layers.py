"""The import rule of the house: downwards only, no cycles, and the two wings apart.

Imports inside functions and those for types alone count too. Whoever needs a type from above
declares a `typing.Protocol`.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From the ground up: a module may import from the rows below its own. The names are those in
# the package; "" is the package itself.
ROWS = [
    ("errors", "logs"),
    ("protocol", "loop"),  # what makes two folders packages; empty
    (
        "protocol.masking",
        "protocol.codes",
        "protocol.http",
        "protocol.quoting",
        "protocol.assembly",
        "protocol.environment",
        "loop.epoll",
        "loop.timers",
        "loop.signals",
        "loop.wakeup",
        "loop.pollable",
        "loop.tally",
        "loop.background",
    ),
    (
        "protocol.frames",
        "protocol.request",
        "protocol.answer",
        "protocol.locations",
        "protocol.uri",
        "loop.mailbox",
        "loop.meter",
    ),
    ("protocol.familiar",),
    (
        "protocol.handshake",
        "protocol.response",
        "protocol.auth",
        "protocol.forwarded",
        "protocol.messages",
        "protocol.heads",
        "protocol.extensions",
        "loop.rounds",
    ),
    ("loop.reactor",),
    (
        "protocol.proxies",
        "protocol.parser",
        "protocol.requesting",
        "protocol.packing",
        "loop.transport",
        "loop.listener",
        "loop.stepped",
    ),
    ("loop.tls", "loop.resolver"),
    ("loop.dialer",),
    ("protocol.session", "protocol.deflate"),
    ("protocol.extended", "protocol.framing"),
    ("handlers", "settings", "wish", "backoff", "auth", "compression", "outbox"),
    ("roundtrip", "stats"),
    ("deadlines", "opened", "terms"),
    ("sending", "alone"),
    ("connection",),
    ("opening", "attempt", "link"),
    ("server", "client", "upgrade"),
    ("guests.guest", "guests.streams"),
    ("guests.asyncio", "guests.tk", "guests.qt", "guests.glib", "guests.pygame"),
    ("guests",),
    ("websocket",),
    ("testing.clock", "testing.memory"),
    ("testing.peer", "testing.network"),
    ("testing.visitor",),
    ("testing.world",),
    ("testing",),
    ("",),
    ("tools.options", "tools.stdio"),
    ("tools.serve", "tools.report"),
    ("tools.connect",),
    ("tools",),
    ("__main__",),
]
# What a host brings along: whose loop a guest lives in.
TOOLKITS = {
    "guests.glib": {"gi"},
    "guests.pygame": {"pygame"},
    "guests.qt": {"PySide6", "PyQt6"},
}
ROW = {name: number for number, row in enumerate(ROWS) for name in row}
# The wings, and what is below both.
BYTES = {"errors"}
TIME_AND_SOCKETS = {"errors", "logs"}
# The bytes wing knows of no socket, clock, thread or log.
IMPURE = {
    *["socket", "select", "selectors", "ssl", "time", "datetime", "signal", "threading"],
    *["_thread", "asyncio", "logging", "subprocess", "multiprocessing", "queue", "concurrent"],
}


def modules() -> dict[str, pathlib.Path]:
    """All modules of the package, by their names in it."""
    found = {}
    for path in sorted((ROOT / "reactor").rglob("*.py")):
        parts = path.relative_to(ROOT / "reactor").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def resolve(module: str, node: ast.ImportFrom) -> str:
    """The absolute name of what `node`, in `module`, imports from."""
    if not node.level:
        return node.module or ""
    is_package = MODULES[module].stem == "__init__"
    parts = ["reactor", *filter(None, module.split("."))]
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, node.module] if node.module else base)


@functools.lru_cache(None)
def imports(module: str) -> frozenset[str]:
    """The absolute names of all modules that `module` imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolve(module, node)
            inner = source.partition(".")[2]
            for alias in node.names:
                below = f"{inner}.{alias.name}".lstrip(".")
                is_module = source.split(".")[0] == "reactor" and below in MODULES
                found.add(f"reactor.{below}" if is_module else source)
    return frozenset(found)


def own(module: str) -> set[str]:
    """The modules of the package that `module` imports, by their names in it."""
    return {
        name.partition(".")[2] for name in imports(module) if name.split(".")[0] == "reactor"
    }


def foreign(module: str) -> set[str]:
    """The top-level modules of others that `module` imports."""
    return {name.split(".")[0] for name in imports(module)} - {"reactor"}


def test_every_module_has_its_row() -> None:
    assert set(ROW) == set(MODULES)


def test_what_is_imported_is_seen_in_every_form() -> None:
    assert {"protocol.http", "errors"} <= own("protocol.handshake")
    assert {"protocol.handshake", "opened"} <= own("opening")
    assert "protocol.locations" in own("protocol.handshake")  # inside a function
    assert "alone" in own("connection")  # for a type, and inside a function
    assert "loop.signals" in own("loop.reactor")  # inside a function
    assert "tools.serve" in own("tools")
    assert "" in own("tools")
    assert own("__main__") == {"tools"}
    assert "logging" in foreign("logs")


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_only_those_for_types_included(module: str) -> None:
    assert {name for name in own(module) if ROW[name] >= ROW[module]} == set()


def wing(name: str) -> list[str]:
    return [module for module in MODULES if module.split(".")[0] == name]


@pytest.mark.parametrize("module", wing("protocol"))
def test_the_bytes_wing_knows_only_itself_and_the_errors(module: str) -> None:
    assert own(module) <= {*wing("protocol"), *BYTES}


@pytest.mark.parametrize("module", wing("loop"))
def test_the_sockets_wing_knows_nothing_of_websockets(module: str) -> None:
    assert own(module) <= {*wing("loop"), *TIME_AND_SOCKETS}


@pytest.mark.parametrize("module", wing("protocol"))
def test_the_bytes_wing_is_pure(module: str) -> None:
    assert foreign(module) & IMPURE == set()


def test_both_wings_have_modules() -> None:
    assert len(wing("protocol")) > 5
    assert len(wing("loop")) > 4


@pytest.mark.skipif(sys.version_info < (3, 10), reason="3.9 has no list of its own modules")
@pytest.mark.parametrize("module", MODULES)
def test_only_the_standard_library_is_imported(module: str) -> None:
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    # `_typeshed` exists for type checkers alone; a guest lives with a toolkit.
    others = {"_typeshed", *TOOLKITS.get(module, ())}
    assert foreign(module) - standard - others == set()


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_by_a_name_that_this_test_cannot_see(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names & {"__import__", "import_module", "exec", "eval"} == set()
    assert foreign(module) & {"importlib", "runpy"} == set()


# ---- what `import reactor` brings in ----

# Start-up and memory are features.
EXPENSIVE = {
    *["asyncio", "threading", "ctypes", "subprocess", "multiprocessing", "concurrent"],
    *["http", "urllib", "email", "ssl", "_ssl", "logging", "re", "typing", "dataclasses"],
    *["inspect", "argparse", "json", "hashlib", "traceback", "random", "tempfile", "zlib"],
}


def all_loaded_by(statements: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statements`."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statements}; print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def loaded_by(statements: str) -> set[str]:
    """The top-level modules of those."""
    return {name.split(".")[0] for name in all_loaded_by(statements)}


@pytest.mark.parametrize(
    "statements",
    [
        "import reactor",
        "from reactor import Server",
        "from reactor import Client",
    ],
)
def test_importing_the_package_brings_in_nothing_expensive(statements: str) -> None:
    # What these two bring in on some version is not the package's to decide; neither is the
    # digest of an interpreter that has it nowhere else.
    before = loaded_by("import socket, selectors, heapq, weakref, enum, binascii")
    after = loaded_by(statements)
    assert "reactor" in after - before
    if "_sha1" not in after:
        before |= loaded_by("import hashlib")
    assert (after - before) & EXPENSIVE == set()


def test_the_command_line_is_not_brought_in_by_the_package() -> None:
    modules = all_loaded_by("import reactor; reactor.Server; reactor.Client")
    assert {"reactor.server", "reactor.client"} <= modules
    assert not {"reactor.tools", "reactor.testing", "reactor.loop.signals"} & modules


def test_the_package_alone_is_a_list_of_names() -> None:
    before = all_loaded_by("import __future__")
    assert all_loaded_by("import reactor") - before == {"reactor"}


@pytest.mark.parametrize(
    ("start", "needed"),
    [
        (
            "from reactor import Server; Server(('127.0.0.1', 0)).close()",
            {"opening", "protocol.handshake", "protocol.answer", "protocol.request"},
        ),
        (
            "from reactor import Client; "
            "Client('ws://127.0.0.1/', compress=False).reactor.close()",
            {"attempt", "link", "loop.dialer", "protocol.requesting", "protocol.response"},
        ),
    ],
)
def test_what_a_connection_needs_is_there_before_it_begins(
    start: str, needed: set[str]
) -> None:
    # When descriptors are used up, nothing can be imported.
    assert {f"reactor.{name}" for name in needed} <= all_loaded_by(start)


def test_neither_side_brings_in_the_other() -> None:
    server = all_loaded_by("from reactor import Server; Server(('127.0.0.1', 0)).close()")
    client = all_loaded_by(
        "from reactor import Client; Client('ws://127.0.0.1/').reactor.close()"
    )
    assert "reactor.server" in server - client
    assert "reactor.client" in client - server
    # Later: what belongs to some connections alone, and what tells of them.
    late = {"auth", "websocket", "stats", "loop.tls", "loop.background", "protocol.auth"}
    late.add("protocol.locations")
    assert {f"reactor.{name}" for name in late} & (server | client) == set()
