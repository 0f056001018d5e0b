"""Real proxies: in front of our server, and between our client and a server."""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from reactor import HandshakeError, ProxyError
from tests import certificates, programs
from tests.interop import proxies
from tests.interop.conftest import Server, echo_server
from tests.interop.peers import AsyncWebsockets
from tests.interop.talker import Talker, talking

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.certificates import Files

pytestmark = pytest.mark.interop

BIG = "☃" * 300_000
# Linux has all of 127.0.0.0/8: who comes from here is not the proxy.
ELSEWHERE = "127.0.0.2"


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Files:
    return certificates.files(tmp_path)


class Visit:
    """A connection by `websockets`, over TLS, from an address that is not the proxy's."""

    def __init__(self, port: int, fields: Mapping[str, str] | None) -> None:
        self.peer = AsyncWebsockets(
            f"wss://127.0.0.1:{port}/",
            ssl=certificates.client_context(),
            local_addr=(ELSEWHERE, 0),
            additional_headers=fields,
        )
        connection = self.peer.connection
        self.address = json.loads(connection.response.headers["X-Address"])
        self.local: tuple[str, int] = connection.local_address

    def go_through(self) -> None:
        for message in ("grüße ☃", b"\x00\xff", BIG):
            self.peer.send(message)
            assert self.peer.receive() == message
        assert self.peer.ping(b"there?") == b"there?"
        assert self.peer.close(3456, "enough") == 3456


@contextlib.contextmanager
def visiting(port: int, fields: Mapping[str, str] | None = None) -> Iterator[Visit]:
    visit = Visit(port, fields)
    try:
        yield visit
    finally:
        visit.peer.release()


# ---- in front of our server ----


def test_nginx_ends_tls_and_says_who_came(tmp_path: pathlib.Path, files: Files) -> None:
    with (
        echo_server(trusted_proxies=["127.0.0.1"]) as server,
        proxies.nginx(tmp_path, files, server.port) as port,
        visiting(port) as visit,
    ):
        assert visit.address[0] == ELSEWHERE
        visit.go_through()
        assert server.closed() == (3456, "enough")


def test_what_a_client_says_of_itself_to_nginx_is_not_believed(
    tmp_path: pathlib.Path, files: Files
) -> None:
    with (
        echo_server(trusted_proxies=["127.0.0.1"]) as server,
        proxies.nginx(tmp_path, files, server.port) as port,
        visiting(port, {"X-Forwarded-For": "192.0.2.7"}) as visit,
    ):
        assert visit.address[0] == ELSEWHERE
        visit.go_through()
        server.closed()


def test_without_trust_it_is_the_proxy_who_came(tmp_path: pathlib.Path, files: Files) -> None:
    with (
        echo_server() as server,
        proxies.nginx(tmp_path, files, server.port) as port,
        visiting(port) as visit,
    ):
        assert visit.address[0] == "127.0.0.1"
        visit.go_through()
        server.closed()


def test_haproxy_ends_tls_and_says_who_came(tmp_path: pathlib.Path, files: Files) -> None:
    with (
        echo_server(trusted_proxies=["127.0.0.1"]) as server,
        proxies.haproxy(
            tmp_path, files, server.port, mode="http", more="    option forwardfor"
        ) as port,
        visiting(port) as visit,
    ):
        assert visit.address[0] == ELSEWHERE
        visit.go_through()
        assert server.closed() == (3456, "enough")


@pytest.mark.parametrize(
    "version",
    [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl-cn",
        # Between the others, connections that it makes for itself: to see whether we are there.
        "send-proxy check inter 20ms",
        "send-proxy-v2 check inter 20ms",
    ],
)
@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_haproxys_proxy_protocol_brings_the_real_address(
    version: str, mode: str, tmp_path: pathlib.Path, files: Files
) -> None:
    with (
        echo_server(proxy_protocol=True) as server,
        proxies.haproxy(tmp_path, files, server.port, version, mode=mode) as port,
        visiting(port) as visit,
    ):
        assert visit.address == list(visit.local)
        visit.go_through()
        assert server.closed() == (3456, "enough")


# ---- in front of a server that our client talks to ----


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_of_nginx_are_followed(
    status: int, tmp_path: pathlib.Path, files: Files
) -> None:
    more = f"location /old {{ return {status} /new; }}"
    with (
        echo_server(locations=["/new"]) as server,
        proxies.nginx(tmp_path, files, server.port, more) as port,
        talking(f"wss://localhost:{port}/old", tls=certificates.client_context()) as client,
    ):
        assert client.open().echo("there") == "there"
        client.leave()
        server.closed()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("location /at { return 302 http://localhost/; }", 302),
        ("location /at { return 302 /at; }", 302),
        ("location /at { return 404 there; }", 404),
        ("location /at { proxy_pass http://127.0.0.1:9; }", 502),
    ],
    ids=["to ws", "for ever", "not found", "nobody behind it"],
)
def test_what_nginx_answers_instead_is_the_error(
    more: str, status: int, tmp_path: pathlib.Path, files: Files
) -> None:
    with (
        proxies.nginx(tmp_path, files, 9, more) as port,
        talking(f"wss://localhost:{port}/at", tls=certificates.client_context()) as client,
    ):
        error = client.refused()
    assert isinstance(error, HandshakeError)
    assert error.status == status
    assert error.headers["Server"].startswith("nginx/")
    assert error.body


# ---- between our client and a server ----


@pytest.fixture
def foreign(files: Files) -> Iterator[Callable[[str], Server]]:
    """Start a server of `websockets`, for ws or for wss."""
    programs.module("websockets")
    with contextlib.ExitStack() as stack:

        def start(scheme: str) -> Server:
            tls = [files.certificate, files.key] if scheme == "wss" else []
            command = [sys.executable, "-m", "tests.interop.foreign_servers", "websockets"]
            server = Server([*command, json.dumps({"tls": tls})])
            stack.callback(server.kill)
            server.url = f"{scheme}://localhost:{server.port}/"
            return server

        yield start


both_schemes = pytest.mark.parametrize("scheme", ["ws", "wss"])


def options(scheme: str) -> dict[str, Any]:
    return {"tls": certificates.client_context()} if scheme == "wss" else {}


def go_through(client: Talker, server: Server) -> None:
    client.open()
    assert (client.tls is not None) == client.uri.secure  # never the proxy's
    for message in ("grüße ☃", b"\x00\xff", BIG):
        assert client.echo(message) == message
    assert client.beat(b"there?") == b"there?"
    assert client.leave(3456, "enough") == (3456, "enough")
    assert server.closed() == (3456, "enough")


def credentials(*user: str) -> str:
    """Return what stands in a URI before the host."""
    return ":".join(urllib.parse.quote(part) for part in user) + "@" if user else ""


@both_schemes
@pytest.mark.parametrize("user", [(), ("user", "word")], ids=["open", "with a password"])
def test_tinyproxy_connects_us(
    scheme: str, user: Sequence[str], tmp_path: pathlib.Path, foreign: Callable[[str], Server]
) -> None:
    server = foreign(scheme)
    with proxies.tinyproxy(tmp_path, *user) as port:
        proxy = f"http://{credentials(*user)}127.0.0.1:{port}"
        with talking(server.url, proxy=proxy, **options(scheme)) as client:
            go_through(client, server)
    assert f"CONNECT localhost:{server.port} " in (tmp_path / "tinyproxy.log").read_text()


@both_schemes
@pytest.mark.parametrize("user", [(), ("user", "w@r:d")], ids=["open", "with a password"])
def test_microsocks_connects_us(
    scheme: str, user: Sequence[str], tmp_path: pathlib.Path, foreign: Callable[[str], Server]
) -> None:
    server = foreign(scheme)
    with proxies.microsocks(tmp_path, *user) as port:
        proxy = f"socks5://{credentials(*user)}127.0.0.1:{port}"
        with talking(server.url, proxy=proxy, **options(scheme)) as client:
            go_through(client, server)
    # It is asked for the name, not for an address.
    assert f"connected to localhost:{server.port}" in (tmp_path / "microsocks.log").read_text()


@both_schemes
def test_tls_to_the_proxy_and_through_it(
    scheme: str,
    tmp_path: pathlib.Path,
    files: Files,
    foreign: Callable[[str], Server],
) -> None:
    server = foreign(scheme)
    with (
        proxies.tinyproxy(tmp_path) as behind,
        proxies.haproxy(tmp_path, files, behind) as port,
        talking(
            server.url,
            proxy=f"https://localhost:{port}",
            proxy_tls=certificates.client_context(),
            **options(scheme),
        ) as client,
    ):
        go_through(client, server)
    assert f"CONNECT localhost:{server.port} " in (tmp_path / "tinyproxy.log").read_text()


def test_a_proxy_whom_we_do_not_trust_is_told_nothing(
    tmp_path: pathlib.Path, files: Files
) -> None:
    with (
        proxies.tinyproxy(tmp_path) as behind,
        proxies.haproxy(tmp_path, files, behind) as port,
        talking(
            "ws://localhost:9/",
            proxy=f"https://localhost:{port}",
            proxy_tls=certificates.client_context(trust=False),
        ) as client,
    ):
        assert isinstance(client.refused(), ssl.SSLCertVerificationError)
    assert "Request" not in (tmp_path / "tinyproxy.log").read_text()


def test_a_wrong_password_is_the_error_of_the_proxy(tmp_path: pathlib.Path) -> None:
    with proxies.tinyproxy(tmp_path, "user", "word") as port:
        for user, status in ("", 407), ("user:wrong@", 401):
            with talking("ws://localhost:9/", proxy=f"http://{user}127.0.0.1:{port}") as client:
                error = client.refused()
            assert isinstance(error, ProxyError)
            assert error.status == status
    with proxies.microsocks(tmp_path, "user", "word") as port:
        for user in "", "user:wrong@":
            proxy = f"socks5://{user}127.0.0.1:{port}"
            with talking("ws://localhost:9/", proxy=proxy) as client:
                error = client.refused()
            assert isinstance(error, ProxyError)
            assert error.status == 407


def test_a_server_that_the_proxy_cannot_reach_is_an_error_that_says_so(
    tmp_path: pathlib.Path,
) -> None:
    # Nobody listens on the port of discarding.
    with (
        proxies.tinyproxy(tmp_path) as port,
        talking("ws://127.0.0.1:9/", proxy=f"http://127.0.0.1:{port}") as client,
    ):
        error = client.refused()
    assert isinstance(error, ProxyError)
    assert error.status >= 500
    with (
        proxies.microsocks(tmp_path) as port,
        talking("ws://127.0.0.1:9/", proxy=f"socks5://127.0.0.1:{port}") as client,
    ):
        error = client.refused()
    assert isinstance(error, ProxyError)
    assert error.status == 502
