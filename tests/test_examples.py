"""Every example does what its first line says, and its last lines run."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import math
import os
import runpy
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Backoff, BasicAuth, Client, HandshakeError, Reactor, Server
from reactor.testing import FakeClock, MemorySelector, Peer
from tests import certificates, processes
from tests.interop import test_guests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(make: Any, clock: FakeClock, **options: Any) -> Any:
    reactor = Reactor(selector=MemorySelector(), clock=clock)
    return make(None, reactor=reactor, **options)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_begins_with_its_question_and_has_at_most_60_lines(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith('"""')
    assert lines[0].endswith("?")
    assert len(lines) <= 60


# What listens nowhere and calls somebody has a test of its own, as has what needs a toolkit.
WINDOWS = {"tk_window": "tk", "qt_window": "qt"}
SERVING = [path for path in EXAMPLES if path.stem not in {"frames_by_hand", *WINDOWS}]


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.stem)
def test_the_last_lines_of_an_example_listen_on_the_port_that_is_given(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[Server] = []

    def run(server: Server) -> None:
        ran.append(server)
        # One that adopts its connections listens nowhere.
        assert {address[0] for address in server.addresses} <= {"127.0.0.1"}
        assert server.addresses or path.stem == "adopt_from_http_server"
        server.close()

    arguments = ["0", "0"]
    if path.stem == "tls_server":
        arguments = [*certificates.files(tmp_path)[:2], "0"]
    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(Client, "run", lambda client: ran.append(client))
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    if path.stem == "client":
        sys.argv[1] = "ws://127.0.0.1:1/feed"
    runpy.run_path(str(path), run_name="__main__")
    for service in ran:
        service.abort()
        service.reactor.close()
    assert ran or path.stem in {"game_loop", "background_thread"}


def test_the_echo_answers() -> None:
    peer = Peer.of(load("echo_server").Echo)
    peer.send("text")
    peer.send(b"binary")
    assert peer.received == ["text", b"binary"]
    peer.server.close()
    peer.server.reactor.close()


def test_the_chat_tells_those_in_the_room() -> None:
    clock = FakeClock()
    server = serve(load("chat").Chat, clock)
    ada = Peer(server, clock, "/room/kitchen?name=Ada")
    bob = Peer(server, clock, "/room/kitchen?name=Bob")
    eve = Peer(server, clock, "/room/cellar")
    bob.send("hello")
    bob.send(b"\0")
    ada.settle()
    assert ada.received == ["* Bob came", "<Bob> hello", "* Bob left"]
    assert eve.received == []
    assert bob.closed == (1003, "text only")
    server.close()
    server.reactor.close()


def test_the_chat_forgets_a_room_that_nobody_is_in() -> None:
    clock = FakeClock()
    server = serve(load("chat").Chat, clock)
    ada = Peer(server, clock, "/room/kitchen?name=Ada")
    bob = Peer(server, clock, "/room/kitchen?name=Bob")
    ada.close()
    assert list(server.rooms) == ["kitchen"]
    bob.close()
    assert list(server.rooms) == []
    server.close()
    server.reactor.close()


def test_the_game_keeps_its_ticks_and_tells_its_world() -> None:
    module = load("game_loop")
    clock = FakeClock()
    server = serve(module.World, clock)
    peer = Peer(server, clock)
    peer.send("right")
    peer.send("right")
    peer.send("left")
    assert module.play(server, 0.05) == 3
    peer.settle()
    assert peer.received == ["1"] * 3
    server.close()
    server.reactor.close()


def test_the_numbers_come_in_order_and_wait_for_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = load("backpressure")
    monkeypatch.setattr(module, "LAST", 50_000)
    clock = FakeClock()
    server = serve(Server, clock, connection=module.Numbers)
    peer = Peer(server, clock)
    assert peer.received == [str(number) for number in range(1, 50_001)]
    assert peer.closed == (1000, "")
    server.close()
    server.reactor.close()


def test_the_page_the_health_check_and_the_clock_share_a_port() -> None:
    module = load("http_and_websocket")
    clock = FakeClock(100.0)
    server = serve(module.Clock, clock)
    for path, expected in (
        ("/", b"<!doctype html>"),
        ("/health", b"1 clients"),
        ("/no", b"404"),
    ):
        peer = Peer(server, clock, "/clock")
        asked = Peer(server, clock, path, {"Upgrade": "none"})
        assert expected in asked.response + bytes(asked.body)
        peer.advance(1.0)
        assert peer.received[0] == "connected"
        assert str(peer.received[-1]).endswith(" seconds")
        peer.close()
    server.close()
    server.reactor.close()


def test_a_datagram_goes_to_all_clients() -> None:
    server = load("own_socket").Relay(("127.0.0.1", 0))
    got: list[bytes] = []
    server.broadcast = got.append
    with (
        server.listen_udp(0) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.sendto(b"news", udp.getsockname())
        while not got:
            server.reactor.step(5)
        server.close()
    assert got == [b"news"]


# ---- over real sockets, client and server in one reactor ----


@contextlib.contextmanager
def closing(server: Any) -> Iterator[Any]:
    try:
        yield server
    finally:
        server.close()
        server.reactor.close()


def until(reactor: Reactor, done: Callable[[], object]) -> None:
    for _ in range(2000):
        if done():
            return
        reactor.step(0.01)
    raise AssertionError("it did not come to that")


class Caller(Client):
    """Notes what it is told."""

    def __init__(self, server: Server, uri: str, **options: Any) -> None:
        self.received: list[Any] = []
        self.errors: list[Exception] = []
        super().__init__(uri, reactor=server.reactor, proxy=False, **options)

    def onmessage(self, message: str | bytes) -> None:
        self.received.append(message)

    def onerror(self, error: Exception) -> None:
        self.errors.append(error)


def at(server: Server, path: str = "/", scheme: str = "ws", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{server.addresses[0][1]}{path}"


def test_readings_are_told_while_the_main_thread_goes_on_measuring() -> None:
    module = load("background_thread")
    server = module.Readings(("127.0.0.1", 0))
    caller = Caller(server, at(server))
    assert module.work(server, lambda: len(caller.received) < 3) == 1
    assert caller.received[0] == "none yet"
    assert float(caller.received[1]) <= float(caller.received[2])
    assert server.reactor.closed


def test_the_client_comes_back_to_a_server_that_has_dropped_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = load("client")
    lines: list[str] = []

    def said(line: str) -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return any(known.startswith(line) for known in lines)

    with closing(load("echo_server").Echo(("127.0.0.1", 0))) as server:
        client = module.Ticker(
            at(server),
            reactor=server.reactor,
            proxy=False,
            reconnect=Backoff(first=0.01, jitter=0),
            hold=module.HOLD,
        )
        until(server.reactor, lambda: said("received 'hello'"))
        assert lines == [f"connected to {at(server)}", "received 'hello'"]
        for connection in server.clients:
            connection.abort()
        until(server.reactor, lambda: said("attempt 1 in 0.0 s"))
        assert client.send("said in between")
        until(server.reactor, lambda: said("received 'said in between'"))
        ends = [line for line in lines if line.startswith(("closed: ", "attempt "))]
        assert ends[0].startswith("closed: 1006")
        assert ends[1] == "attempt 1 in 0.0 s"
        assert lines.count("received 'hello'") == 2
        client.close()
        until(server.reactor, lambda: said("closed: 1000"))


def test_the_client_says_why_it_is_not_connected(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Server(("127.0.0.1", 0), locations=["/feed"])) as server:
        told: list[str] = []
        client = load("client").Ticker(at(server), reactor=server.reactor, proxy=False)

        def ended() -> bool:
            told.extend(capsys.readouterr().out.splitlines())
            return len(told) == 2

        until(server.reactor, ended)
        assert "404" in told[0]
        assert told[0].startswith("failed: ")
        assert told[1].startswith("closed: 1006")
        client.abort()


def names(client: Client) -> list[str]:
    return [
        value for kind, value in client.tls.getpeercert()["subjectAltName"] if kind == "DNS"
    ]


def test_the_certificate_is_renewed_when_its_files_are(tmp_path: Path) -> None:
    files = certificates.files(tmp_path)
    module = load("tls_server")
    with closing(module.Secure(("127.0.0.1", 0), files.certificate, files.key)) as server:
        context = certificates.client_context()

        def call() -> Caller:
            caller = Caller(server, at(server, scheme="wss", host="localhost"), tls=context)
            until(server.reactor, lambda: caller.tls or caller.errors)
            assert not caller.errors
            caller.send("hello")
            until(server.reactor, lambda: caller.received)
            return caller

        early = call()
        server.renew()
        assert names(call()) == ["localhost"]
        before = server.tls
        certificates.files(tmp_path, "localhost", "renewed.example")
        os.utime(files.certificate, (1, 1))
        key = Path(files.key).read_bytes()
        Path(files.key).write_bytes(b"half of a key")
        with pytest.raises(ssl.SSLError):
            server.renew()
        assert server.tls is before
        assert names(call()) == ["localhost"]
        Path(files.key).write_bytes(key)
        server.renew()
        assert names(call()) == ["localhost", "renewed.example"]
        early.send("still here")
        until(server.reactor, lambda: len(early.received) == 2)
        assert early.received == ["hello", "still here"]


@pytest.fixture
def pages() -> Iterator[Any]:
    """The HTTP server of the example, in its thread, with the WebSocket server beside it."""
    module = load("adopt_from_http_server")
    module.Pages.log_message = lambda *args: None
    with closing(module.Echo()) as echo:
        module.Pages.echo = echo
        with module.ThreadingHTTPServer(("127.0.0.1", 0), module.Pages) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield server.server_address[1], echo
            finally:
                server.shutdown()
                thread.join()


def test_an_http_server_hands_over_the_sockets_of_websockets_and_no_others(pages: Any) -> None:
    port, echo = pages
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
    caught.value.close()
    assert not echo.clients
    cookie = {"Cookie": "long=" + "x" * 500}
    caller = Caller(echo, f"ws://127.0.0.1:{port}/chat", headers=cookie, hold=1000)
    caller.send("hello")
    until(echo.reactor, lambda: caller.received)
    assert caller.received == ["hello"]
    [client] = echo.clients
    assert client.request.path == "/chat"
    assert client.address[0] == "127.0.0.1"
    caller.close()
    until(echo.reactor, lambda: not echo.clients)


def test_a_server_that_is_stopping_closes_what_is_handed_over() -> None:
    with closing(load("adopt_from_http_server").Echo()) as echo:
        echo.stop()
        ours, theirs = socket.socketpair()
        echo.take(theirs, b"")
        with ours:
            assert ours.recv(1) == b""


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Any]:
    """The server that stores files, in a folder of its own."""
    module = load("upload")
    module.Uploads.folder = str(tmp_path)
    locations = ["/{name}"]
    with closing(
        module.Uploads(("127.0.0.1", 0), connection=module.Upload, locations=locations)
    ) as server:
        server.module = module
        yield server


def test_an_upload_above_the_limit_of_messages_is_stored(uploads: Any, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    assert len(data) > uploads.settings.max_message
    (tmp_path / "photos.zip").write_bytes(b"an older one")
    caller = Caller(uploads, at(uploads, "/photos.zip"), hold=1)
    caller.send(cut(data, 50_000))
    until(uploads.reactor, lambda: caller.close_code)
    assert (caller.close_code, caller.close_reason) == (1000, "stored")
    assert [file.name for file in tmp_path.iterdir()] == ["photos.zip"]
    assert (tmp_path / "photos.zip").read_bytes() == data


@pytest.mark.parametrize(
    ("message", "most", "code"), [("text", 1 << 20, 1003), (bytes(100_001), 100_000, 1009)]
)
def test_an_upload_that_is_refused_leaves_no_file(
    uploads: Any, tmp_path: Path, message: str | bytes, most: int, code: int
) -> None:
    uploads.module.MOST = most
    caller = Caller(uploads, at(uploads, "/photos.zip"), hold=1 << 20)
    caller.send(message)
    until(uploads.reactor, lambda: caller.close_code)
    assert caller.close_code == code
    until(uploads.reactor, lambda: not uploads.clients)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_cut_off_leaves_no_file(uploads: Any, tmp_path: Path) -> None:
    caller = Caller(uploads, at(uploads, "/photos.zip"), hold=1)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    caller.send(endless())
    until(
        uploads.reactor,
        lambda: any(client.file.tell() > 100_000 for client in list(uploads.clients)),
    )
    assert len(list(tmp_path.iterdir())) == 1
    caller.abort()
    until(uploads.reactor, lambda: not uploads.clients)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..%2Fstolen", "%2e%2e", ".hidden", "a%00b", "x" * 101])
def test_an_upload_goes_to_no_name_outside_of_its_folder(uploads: Any, name: str) -> None:
    caller = Caller(uploads, at(uploads, f"/{name}"))
    until(uploads.reactor, lambda: caller.errors)
    assert isinstance(caller.errors[0], HandshakeError)
    assert caller.errors[0].status == 400


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Any]:
    """The server that sends files, from a folder of its own."""
    module = load("download")
    module.Downloads.folder = str(tmp_path)
    with closing(module.Downloads(("127.0.0.1", 0), locations=["/{name}"])) as server:
        yield server


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 5 << 20])
def test_a_download_is_the_file_as_one_message(
    downloads: Any, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "photos.zip").write_bytes(data)
    caller = Caller(downloads, at(downloads, "/photos.zip"), max_message=10 << 20)
    until(downloads.reactor, lambda: caller.close_code)
    assert (caller.close_code, caller.received == [data]) == (1000, True)


def test_a_download_that_is_cut_off_closes_its_file(
    downloads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.zip").write_bytes(bytes(50 << 20))
    opened: list[Any] = []

    def noted(path: str, mode: str) -> Any:
        opened.append(open(path, mode))  # noqa: SIM115
        return opened[-1]

    monkeypatch.setitem(type(downloads).onopen.__globals__, "open", noted)
    got: list[int] = []
    caller = Caller(
        downloads,
        at(downloads, "/photos.zip"),
        onfragment=lambda client, data, final: got.append(len(data)),
    )
    until(downloads.reactor, lambda: sum(got) > 1 << 20)
    assert not opened[0].closed
    caller.abort()
    until(downloads.reactor, lambda: not downloads.clients)
    assert opened[0].closed
    assert opened[0].name.endswith("photos.zip")


@pytest.mark.parametrize(
    "name", ["nothing.zip", "..", "..%2Fdownload.py", "%2Fetc%2Fpasswd", ""]
)
def test_a_download_is_of_nothing_outside_of_its_folder(downloads: Any, name: str) -> None:
    caller = Caller(downloads, at(downloads, f"/{name}"))
    until(downloads.reactor, lambda: caller.errors)
    assert isinstance(caller.errors[0], HandshakeError)
    assert caller.errors[0].status == 404


def test_the_frames_that_are_sent_by_hand_are_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = load("echo_server").Echo(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        monkeypatch.setattr(sys, "argv", ["frames_by_hand", str(server.addresses[0][1])])
        runpy.run_path(str(FOLDER / "frames_by_hand.py"), run_name="__main__")
    finally:
        server.reactor.call_soon_threadsafe(server.stop)
        thread.join()
    assert capsys.readouterr().out.splitlines() == [
        "<Frame PONG fin 12 bytes b'still there?'>",
        "<Frame TEXT fin 13 bytes b'one two three'>",
        "<Frame CLOSE fin 2 bytes b'\\x03\\xe8'>",
        "the end: 1000 ",
    ]


def test_behind_a_proxy_the_client_is_who_the_proxy_says_and_nobody_it_says_itself() -> None:
    module = load("behind_a_proxy")
    with closing(module.WhoAmI(("127.0.0.1", 0), trusted_proxies=module.PROXIES)) as server:
        headers = {
            "X-Forwarded-For": "203.0.113.1, 192.0.2.7",
            "Forwarded": "for=203.0.113.2",
        }
        caller = Caller(server, at(server), headers=headers)
        direct = Caller(server, at(server))
        until(server.reactor, lambda: caller.received and direct.received)
        assert caller.received == ["you come from 192.0.2.7"]
        assert direct.received == ["you come from 127.0.0.1"]


def test_who_knows_the_password_is_known_and_others_are_not_let_in() -> None:
    module = load("login")
    with closing(module.Members(("127.0.0.1", 0), locations=["/chat"])) as server:
        ada = Caller(server, at(server, "/chat"), auth=("ada", "difference engine"))
        until(server.reactor, lambda: ada.received)
        grace = Caller(server, at(server, "/chat"), auth=("grace", "difference engine"))
        until(server.reactor, lambda: grace.errors)
        assert isinstance(grace.errors[0], HandshakeError)
        assert grace.errors[0].status == 401
        ada.send("hello")
        until(server.reactor, lambda: len(ada.received) == 2)
        ada.send(b"not said")
        ada.send("bye")
        until(server.reactor, lambda: len(ada.received) == 3)
        assert ada.received == ["welcome, ada", "<ada> hello", "<ada> bye"]


def test_the_page_of_the_login_is_for_those_who_know_the_password() -> None:
    module = load("login")
    clock = FakeClock()
    server = serve(module.Members, clock, locations=["/chat"])
    server.auth = BasicAuth(module.PASSWORDS)
    for path in ("/", "/chat"):
        asked = Peer(server, clock, path, {"Upgrade": "none"})
        assert asked.response.startswith(b"HTTP/1.1 401 ")
    token = base64.b64encode(b"grace:nanosecond").decode()
    known = {"Upgrade": "none", "Authorization": f"Basic {token}"}
    page = Peer(server, clock, "/", known)
    assert page.body.startswith(b"<!doctype html>")
    assert Peer(server, clock, "/chat", known).response.startswith(b"HTTP/1.1 426 ")
    server.close()
    server.reactor.close()


# ---- the game, in a folder of its own ----

GAME = FOLDER / "game"


@pytest.fixture
def game(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of the game that need no pygame, by their names."""
    names = ["world", "pace", "network", "game"]
    assert not set(names) & set(sys.modules)
    monkeypatch.syspath_prepend(GAME)
    modules = SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    # Nobody leads to a star by accident.
    monkeypatch.setattr(modules.world.World, "somewhere", lambda world: (100.0, 100.0))
    yield modules
    for name in names:
        del sys.modules[name]


@pytest.fixture
def field(game: Any) -> Any:
    """A world whose stars are all in one place, far from its one player."""
    world = game.world.World()
    world.ada = world.join("Ada")
    world.ada.x, world.ada.y = 500.0, 300.0
    return world


def test_a_player_is_as_fast_across_as_along_and_ends_at_the_edge(
    game: Any, field: Any
) -> None:
    ada, rules = field.ada, game.world
    for keys in (rules.RIGHT, rules.UP | rules.LEFT, rules.DOWN | rules.RIGHT):
        ada.keys = keys
        for _ in range(100):
            ada.x, ada.y = 500.0, 300.0
            field.tick()
        assert math.hypot(ada.dx, ada.dy) == pytest.approx(4.4, abs=0.01)
    ada.keys = rules.LEFT | rules.RIGHT | rules.DOWN
    for _ in range(200):
        field.tick()
    assert ada.y == rules.HEIGHT - rules.PLAYER
    assert ada.dx == pytest.approx(0, abs=0.01)


def test_a_star_is_collected_where_its_edge_is_touched_and_is_elsewhere_then(
    game: Any, field: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = game.world.PLAYER + game.world.STAR
    field.stars = [(500.0 + reach, 300.0), (500.0, 299.0 + reach)]
    monkeypatch.setattr(field, "somewhere", lambda: (7.0, 8.0))
    assert field.tick()
    assert field.stars == [(500.0 + reach, 300.0), (7.0, 8.0)]
    assert field.ada.score == 1
    assert not field.tick()


def test_a_player_has_a_number_that_nobody_has(game: Any, field: Any) -> None:
    bob = field.join("Bob")
    field.leave(bob)
    assert field.join("Eve").number not in (field.ada.number, bob.number)
    for _ in range(254):
        field.leave(field.join("somebody"))
    assert len({player.number for player in field.players.values()}) == len(field.players) == 2
    assert field.join("Bob").number != field.ada.number
    assert len(field.players) == 3


def test_late_ticks_are_made_up_for_and_a_long_stop_is_not(game: Any) -> None:
    clock = FakeClock(0.0)
    pace = game.pace.Pace(0.1, clock)
    assert pace.due() == 1
    assert pace.due() == 0
    clock.now = 0.35
    assert pace.due() == 3
    assert pace.left() == pytest.approx(0.05)
    clock.now = 60.0
    assert pace.due() == 1
    assert pace.left() == pytest.approx(0.1)
    report = pace.report()
    assert (report["seconds"], report["frames"], report["ticks"]) == (60.0, 3, 5)
    assert report["late"]["median"] == pytest.approx(250.0)
    assert report["late"]["most"] == pytest.approx(59600.0)
    clock.now = 60.2
    assert pace.left() == 0


def players(data: Any) -> dict[int, tuple[int, int]]:
    """Read the players of a snapshot, as the page does; no byte may be too many."""
    _, count = struct.unpack_from("<IB", data)
    found = [struct.unpack_from("<BHH", data, 5 + 5 * each) for each in range(count)]
    [stars] = struct.unpack_from("<B", data, 5 + 5 * count)
    assert len(data) == 6 + 5 * count + 4 * stars
    return {number: (x, y) for number, x, y in found}


def network(game: Any, clock: FakeClock) -> Any:
    reactor = Reactor(selector=MemorySelector(), clock=clock)
    return game.network.Network(
        game.world.World(), lambda: {"players": 0}, None, reactor=reactor
    )


def board(peer: Peer) -> list[Any]:
    """Return the names and the scores that a browser has been told of last."""
    texts = [json.loads(text) for text in peer.received if isinstance(text, str)]
    last = [text["board"] for text in texts if "board" in text][-1]
    return sorted((row["name"], row["score"]) for row in last)


def test_players_of_the_game_are_told_of_all_and_each_moves_its_own(game: Any) -> None:
    clock = FakeClock()
    server = network(game, clock)
    ada = Peer(server, clock, "/play?name=Ada%00")
    bob = Peer(server, clock, "/play?name=%20" + "Bob" * 9)
    ada.settle()
    assert board(ada) == board(bob) == [("Ada", 0), ("BobBobBobBob", 0)]
    rules = json.loads(ada.received[0])
    assert (rules["you"], rules["width"], rules["height"]) == (0, 960, 540)
    for player in server.world.players.values():
        player.x = player.y = 300.0
    bob.send(bytes([game.world.RIGHT]))
    server.tick()
    bob.send(bytes([0]))
    for peer in (ada, bob):
        peer.settle()
        assert players(peer.received[-1]) == {0: (9600, 9600), 1: (9616, 9600)}
    server.world.stars[0] = (300.0, 310.0)
    server.world.players[0].y = 305.0
    server.tick()
    ada.settle()
    assert board(ada) == [("Ada", 1), ("BobBobBobBob", 0)]
    bob.close()
    ada.settle()
    assert board(ada) == [("Ada", 1)]
    server.tick()
    ada.settle()
    assert list(players(ada.received[-1])) == [0]
    server.close()
    server.reactor.close()


def test_the_board_is_told_each_second_with_the_times_of_the_round_trips(game: Any) -> None:
    clock = FakeClock()
    server = network(game, clock)
    ada = Peer(server, clock, "/play")
    before = len(ada.received)
    ada.advance(3.0)
    assert len(ada.received) == before + 3
    [row] = json.loads(ada.received[-1])["board"]
    assert (row["name"], row["rtt"]) == ("someone", 0.0)
    server.close()
    server.reactor.close()


@pytest.mark.parametrize("message", ["up", b"", b"\1\2"])
def test_the_game_takes_nothing_but_a_byte_of_keys(game: Any, message: Any) -> None:
    clock = FakeClock()
    server = network(game, clock)
    peer = Peer(server, clock, "/play")
    peer.send(message)
    assert peer.closed is not None
    assert peer.closed[0] in (1008, 1009)
    assert server.world.players == {}
    server.close()
    server.reactor.close()


def test_a_game_that_is_full_says_so(game: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game.network, "MOST_PLAYERS", 1)
    clock = FakeClock()
    server = network(game, clock)
    Peer(server, clock, "/play")
    late = Peer(server, clock, "/play")
    assert late.response.startswith(b"HTTP/1.1 503 ")
    assert late.body == b"the game is full"
    server.close()
    server.reactor.close()


def run_game(*arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start the game in a process of its own, where the modules of this folder are found."""
    path = [str(folder or FOLDER.parent), str(FOLDER.parent)]
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(GAME / "game.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def without_pygame(tmp_path: Path) -> Path:
    """A folder in which pygame is not found, whether it is installed or not."""
    code = "raise ModuleNotFoundError('there is none', name='pygame')"
    (tmp_path / "pygame.py").write_text(code, "utf-8")
    return tmp_path


def test_the_game_without_pygame_says_what_to_do(without_pygame: Path) -> None:
    with run_game("--port=0", folder=without_pygame) as process:
        said, complaint = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, "")
    assert complaint == "pygame is missing: `pip install pygame`, or play with --headless\n"


def test_the_game_without_a_window_needs_no_pygame_and_ends_by_a_signal(
    without_pygame: Path,
) -> None:
    with run_game("--headless", "--port=0", folder=without_pygame) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with urllib.request.urlopen(address, timeout=20) as response:
                assert b"<canvas" in response.read()
            with Reactor() as reactor:
                received: list[Any] = []
                client = Client(
                    address.replace("http", "ws") + "play",
                    reactor=reactor,
                    proxy=False,
                    onmessage=lambda client, message: received.append(message),
                )
                until(reactor, lambda: len(received) > 9)
                process.send_signal(signal.SIGINT)
                until(reactor, lambda: client.close_code)
                assert (client.close_code, client.close_reason) == (1001, "the game is over")
            said, complaint = process.communicate(timeout=20)
            assert (process.returncode, said, complaint) == (0, "", "")
        finally:
            process.kill()


# ---- in windows, each in a process of its own ----


@contextlib.contextmanager
def display(toolkit: str) -> Iterator[dict[str, str]]:
    """The environment of a process whose windows nobody sees."""
    environment = {**os.environ, **test_guests.HEADLESS, "PYTHONPATH": str(FOLDER.parent)}
    with contextlib.ExitStack() as stack:
        if toolkit == "tk":
            environment["DISPLAY"] = stack.enter_context(test_guests.screen())
        yield environment


@pytest.mark.interop
@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_shows_what_clients_send_and_tells_all_of_them_what_is_typed(
    name: str,
) -> None:
    command = [
        test_guests.interpreter(WINDOWS[name]),
        *["-W", "error", "-m", f"tests.guests.drivers.{name}"],
    ]
    with display(WINDOWS[name]) as environment:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["lines"] == ["127.0.0.1 is here, one of 1", "127.0.0.1: 'hello'"]
    assert (found["told"], found["typed"]) == ("to all", "")
    # The latest lines are kept, and a window that is closed says goodbye.
    assert found["last"] == [str(number) for number in range(50, 150)]
    assert found["closed"] == 1001


@pytest.mark.interop
@pytest.mark.parametrize("name", WINDOWS)
def test_the_last_lines_of_a_window_listen_on_the_port_that_is_given(
    name: str, tmp_path: Path
) -> None:
    python, port = test_guests.interpreter(WINDOWS[name]), processes.free_port()
    command = [python, str(FOLDER / f"{name}.py"), str(port)]
    with (
        display(WINDOWS[name]) as environment,
        processes.listening(command, port, tmp_path / "log", environment) as process,
    ):
        assert process.poll() is None
