"""Every block of code in the README and the docs runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import reactor
from reactor.loop import dialer
from reactor.protocol import uri
from reactor.protocol.extensions import accept_offers, offer
from reactor.protocol.proxies import parse_proxy
from reactor.testing import FakeClock, MemorySelector, Peer, memory_pair
from tests.programs import program

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What is no program: a picture. All other languages have a test here.
PICTURES = {"text"}

# A block that begins so is a module, which the other blocks of its page may import.
MODULE = re.compile(r"# (\w+)\.py\n")
# One with this runs as it is, with real sockets: it is its own other side.
REAL = '("127.0.0.1", 0)'
# What these pages show is run by tests of their own.
ELSEWHERE = {"from-wspy.md", "embedding.md", "performance.md"}


def blocks(language: str, *pages: Path) -> list[Any]:
    return [
        pytest.param(page, match[2], id=f"{page.name}-{number}")
        for page in pages or PAGES
        for number, match in enumerate(BLOCK.finditer(page.read_text("utf-8")))
        if match[1] == language
    ]


def modules(page: Path) -> dict[str, str]:
    """Return the modules of a page by their names."""
    codes = [str(parameter.values[1]) for parameter in blocks("python", page)]
    return {match[1]: code for code in codes for match in MODULE.finditer(code[:80])}


@pytest.fixture
def importable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path], None]]:
    """Return what makes the modules of a page importable, for one test."""
    made: set[str] = set()

    def importable(page: Path) -> None:
        for name, code in modules(page).items():
            assert name not in sys.modules
            (tmp_path / f"{name}.py").write_text(code, "utf-8")
            made.add(name)
        monkeypatch.syspath_prepend(tmp_path)

    yield importable
    for name in made:
        sys.modules.pop(name, None)


class InMemory:
    """Puts the servers and clients of a block into memory, and has each answer another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.servers: list[reactor.Server] = []
        self.clients: list[tuple[reactor.Client, reactor.Server]] = []
        self.options: list[dict[str, Any]] = []
        make, step = reactor.Server.__init__, reactor.Reactor.step

        # In memory there is neither TLS nor a proxy: both are tested against real ones.
        def in_memory(
            server: reactor.Server,
            address: object,
            tls: ssl.SSLContext | None = None,
            proxy_protocol: bool = False,
            **options: Any,
        ) -> None:
            loop = reactor.Reactor(selector=MemorySelector(), clock=self.clock)
            make(server, None, reactor=loop, **options)
            self.servers.append(server)
            self.options.append(options)

        connect = reactor.Client.__init__

        def to_memory(
            client: reactor.Client,
            uri: str,
            tls: ssl.SSLContext | None = None,
            proxy: str | None = None,
            **options: Any,
        ) -> None:
            loop = reactor.Reactor(selector=MemorySelector(), clock=self.clock)
            connect(client, uri, reactor=loop, proxy=False, **options)
            if proxy is not None:
                parse_proxy(proxy)
            # Its server speaks whatever it offers.
            spoken = {n: options[n] for n in ("subprotocols", "extensions") if n in options}
            server = reactor.Server.__new__(reactor.Server)
            make(server, None, reactor=loop, compress=True, **spoken)
            self.clients.append((client, server))

        def dial(dialer: Any, *where: object) -> None:
            mine, theirs = memory_pair()
            server = next(s for _, s in self.clients if s.reactor is dialer._reactor)
            server.accepted(theirs, ("memory", 1))  # type: ignore[arg-type]
            dialer._reactor.call_soon(dialer._connected, mine, ("memory", 2))

        def without_waiting(
            loop: reactor.Reactor, timeout: float | None = 0, budget: float | None = None
        ) -> Any:
            return step(loop, 0, budget)

        monkeypatch.setattr(reactor.Server, "__init__", in_memory)
        monkeypatch.setattr(reactor.Server, "run", lambda server: None)
        monkeypatch.setattr(reactor.Reactor, "step", without_waiting)
        monkeypatch.setattr(reactor.Client, "__init__", to_memory)
        monkeypatch.setattr(reactor.Client, "run", lambda client: None)
        monkeypatch.setattr(dialer.Dialer, "dial", dial)
        monkeypatch.setattr(dialer.Dialer, "dial_unix", dial)
        monkeypatch.setattr(uri.URI, "secure", False)

    def try_out(self) -> None:
        """Have each server answer two clients, and each client a server."""
        assert self.servers or self.clients
        for client, server in self.clients:
            self.talk_to(client, server)
        for server, options in zip(self.servers, self.options):
            if server.stopping:  # the block has closed it itself
                server.reactor.close()
                continue
            targets = [t.replace("{name}", "x") for t in options.get("locations") or ["/"]]
            for target in targets:
                peers = [Peer(server, self.clock, target) for _ in range(2)]
                for peer in peers:
                    assert peer.response.startswith(b"HTTP/1.1 101 "), target
                peers[0].send("hello")
                peers[0].close()
                peers[0].advance(1)  # one may have paused
                assert peers[0].closed == (1000, "")
                peers[1].disconnect()
            server.close()
            server.reactor.close()

    def talk_to(self, client: reactor.Client, server: reactor.Server) -> None:
        """Let a client connect; send to it, then end."""
        if client.ready_state is not reactor.State.CLOSED:
            while not server.clients:
                server.reactor.step(0)
            server.broadcast("hello")
            server.reactor.step(0)
            server.reactor.step(0)
            assert client.request is not None
            for extension in server.extensions:
                assert extension.name in client.extensions
        client.abort()
        server.close()
        server.reactor.close()


@pytest.mark.parametrize(
    ("page", "code"), blocks("python", *(page for page in PAGES if page.name not in ELSEWHERE))
)
def test_a_python_block_runs_and_its_server_serves(
    page: Path,
    code: str,
    importable: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    importable(page)
    world = None if MODULE.match(code) or REAL in code else InMemory(monkeypatch)
    exec(compile(code, "block", "exec"), {"__name__": "block"})
    if world is not None:
        world.try_out()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_the_javascript_block_gets_its_echo() -> None:
    [code] = [parameter.values[1] for parameter in blocks("javascript", ROOT / "README.md")]
    node = program("node")
    command = [sys.executable, "-m", "reactor", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            port = re.search(r"127\.0\.0\.1:(\d+)/", server.stderr.readline())
            assert port is not None
            script = str(code).replace("localhost:8000", f"127.0.0.1:{port[1]}")
            script += "socket.addEventListener('message', () => process.exit(0));\n"
            shown = subprocess.run(
                [node, "--experimental-websocket", "-e", script],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert (shown.returncode, shown.stdout) == (0, "hello\n"), shown.stderr
        finally:
            server.terminate()


def test_the_commands_are_those_that_ci_and_these_tests_run() -> None:
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    here = 'sys.executable, "-m", "reactor", "serve"' in Path(__file__).read_text("utf-8")
    for parameter in blocks("bash"):
        for line in str(parameter.values[1]).splitlines():
            assert line in ci or (line == "python3 -m reactor serve" and here), line


def test_the_answers_of_the_table_are_those_that_are_given() -> None:
    page = (ROOT / "docs" / "compression.md").read_text("utf-8")
    table = page.partition("| the client offers | the answer |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)`[^|]* \| `?([^|`]+)`? \|$", table, re.MULTILINE)
    assert len(rows) == table.count("\n| ") > 5
    for offered, answer in rows:
        given, _ = accept_offers([reactor.PerMessageDeflate()], [offered])
        assert (given or "declined") == answer
    assert rows[0][0] == offer([reactor.PerMessageDeflate()])


def test_every_language_of_a_block_is_tested() -> None:
    found = {match[1] for page in PAGES for match in BLOCK.finditer(page.read_text("utf-8"))}
    assert found <= {"python", "javascript", "bash"} | PICTURES


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
