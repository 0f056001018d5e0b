"""TLS with other people's: certificates, key updates, and whom to believe."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from reactor import HandshakeError
from reactor.protocol.frames import pack_frame
from tests import certificates, processes, programs
from tests.interop import proxies
from tests.interop.conftest import EchoServer, Server, echo_server
from tests.interop.peers import AsyncWebsockets
from tests.interop.talker import talking
from tests.interop.webdriver import Browser

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from tests.certificates import Files

pytestmark = pytest.mark.interop

BIG = "☃" * 300_000
TEXT, CLOSE = 0x81, 0x88


@pytest.fixture
def files(tmp_path: pathlib.Path) -> Files:
    return certificates.files(tmp_path)


@pytest.fixture
def secure(files: Files) -> Iterator[EchoServer]:
    with echo_server(tls=[files.certificate, files.key]) as server:
        yield server


@contextlib.contextmanager
def connected(server: EchoServer, context: ssl.SSLContext) -> Iterator[AsyncWebsockets]:
    peer = AsyncWebsockets(f"wss://localhost:{server.port}/", ssl=context)
    try:
        yield peer
    finally:
        peer.release()


def test_websockets_exchanges_messages_with_our_server(secure: EchoServer) -> None:
    with connected(secure, certificates.client_context()) as peer:
        for message in ("grüße ☃", b"\x00\xff", BIG):
            peer.send(message)
            assert peer.receive() == message
        assert peer.ping(b"there?") == b"there?"
        assert peer.close(3456, "enough") == 3456
    assert secure.closed() == (3456, "enough")


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_a_page_in_chromium_exchanges_messages_with_our_server(secure: EchoServer) -> None:
    trust = f"--ignore-certificate-errors-spki-list={certificates.fingerprint()}"
    with Browser(trust) as browser:
        browser.open(f"https://localhost:{secure.port}/page")
        browser.wait("log", lambda text: text == "grüße ☃")
        assert secure.closed() == (3456, "seen")


# ---- key updates ----


class SClient:
    """openssl's s_client, to which K and k at the beginning of what it reads are commands."""

    def __init__(self, port: int, authority: str) -> None:
        command = [programs.program("openssl"), "s_client", "-tls1_3", "-brief"]
        command += ["-connect", f"127.0.0.1:{port}", "-CAfile", authority]
        command += ["-verify_return_error"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def write(self, data: bytes) -> None:
        """Write what it reads at once, if it has nothing else to read."""
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), data)

    def command(self, letter: str) -> None:
        """Have the keys changed, and wait until they are."""
        self.write(f"{letter}\n".encode())
        assert self.process.stderr is not None
        for line in iter(self.process.stderr.readline, b""):
            if line.startswith(b"KEYUPDATE"):
                return
        raise AssertionError("openssl has ended")

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = b""
        while len(data) < size:
            more = self.process.stdout.read(size - len(data))
            assert more, (data, self.process.communicate())
            data += more
        return data

    def read_head(self) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.read(1)
        return data

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def s_client(secure: EchoServer, files: Files) -> Iterator[SClient]:
    client = SClient(secure.port, files.authority)
    yield client
    client.stop()


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_keys_change_while_messages_go_on(s_client: SClient, secure: EchoServer) -> None:
    s_client.write(REQUEST)
    assert s_client.read_head().startswith(b"HTTP/1.1 101 ")
    # K changes the keys of both directions, k those of the client's alone.
    for number, letter in enumerate("KkKKkkK" * 3):
        payload = f"{number} {letter} ".encode() * 400
        s_client.write(pack_frame(TEXT, payload, True))
        expected = pack_frame(TEXT, payload, False)
        assert s_client.read(len(expected)) == expected
        s_client.command(letter)
    s_client.write(pack_frame(CLOSE, b"\x0d\x80enough", True))
    assert s_client.read(10) == pack_frame(CLOSE, b"\x0d\x80enough", False)
    assert secure.closed() == (3456, "enough")


# ---- whom our client believes ----


class SServer:
    """openssl's s_server: it shows a certificate, and prints what it is sent."""

    def __init__(self, files: Files, *options: str) -> None:
        command = [programs.program("openssl"), "s_server", "-naccept", "1"]
        command += ["-accept", "127.0.0.1:0", "-cert", files.certificate, "-key", files.key]
        self.process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert self.process.stdout is not None
        self.printed = b""
        for line in iter(self.process.stdout.readline, b""):
            if line.startswith(b"ACCEPT "):
                self.port = int(line.rpartition(b":")[2])
                os.set_blocking(self.process.stdout.fileno(), False)
                return
        raise AssertionError("openssl does not listen")

    def so_far(self) -> bytes:
        """Return what it has printed of its one connection."""
        assert self.process.stdout is not None
        self.printed += self.process.stdout.read(65536) or b""
        return self.printed

    def to_the_end(self) -> bytes:
        """Wait for the end of its one connection; return what it has printed of it."""
        rest, _ = self.process.communicate(timeout=processes.PATIENCE)
        return self.printed + rest

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


both_versions = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])


@both_versions
@pytest.mark.parametrize(
    ("host", "names", "expired", "trust"),
    [
        ("localhost", ("localhost",), False, False),
        ("localhost", ("elsewhere.example",), False, True),
        ("127.0.0.1", ("localhost",), False, True),
        ("localhost", ("localhost",), True, True),
    ],
    ids=["unknown authority", "another name", "no such address", "expired"],
)
def test_a_server_whose_certificate_is_not_in_order_is_told_nothing(
    host: str,
    names: Sequence[str],
    expired: bool,
    trust: bool,
    version: str,
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
) -> None:
    server = SServer(certificates.files(tmp_path, *names, expired=expired), version)
    request.addfinalizer(server.stop)
    context = certificates.client_context(trust=trust)
    with talking(f"wss://{host}:{server.port}/", tls=context) as client:
        assert isinstance(client.refused(), ssl.SSLCertVerificationError)
    assert b"GET" not in server.to_the_end()


@both_versions
def test_a_server_whose_certificate_is_in_order_is_told_what_we_want(
    version: str, files: Files, request: pytest.FixtureRequest
) -> None:
    server = SServer(files, version)
    request.addfinalizer(server.stop)
    context = certificates.client_context()
    with talking(f"wss://localhost:{server.port}/", tls=context) as client:
        deadline = time.monotonic() + processes.PATIENCE
        while b"GET / HTTP/1.1" not in server.so_far():
            assert time.monotonic() < deadline, (server.printed, client.failures)
            client.reactor.step(0.01)
    # The end without a word of whoever wanted it is the end for the server too.
    assert b"Upgrade: websocket" in server.to_the_end()


# ---- client certificates ----


def test_our_server_sees_who_shows_a_certificate_and_turns_others_away(files: Files) -> None:
    with echo_server(tls=list(files)) as server:
        with connected(server, certificates.client_context("lion@example.org")) as peer:
            peer.send("who am I?")
            shown = json.loads(peer.receive())
            assert shown["subjectAltName"] == [["email", "lion@example.org"]]
            assert peer.close(1000, "") == 1000
        assert server.closed() == (1000, "")
        lost = programs.module("websockets.exceptions").WebSocketException
        # With TLS 1.3 the client has done its part by then, and learns of it as it reads.
        with (
            pytest.raises((ssl.SSLError, ConnectionError, EOFError, lost)),
            connected(server, certificates.client_context()),
        ):
            pass


def test_our_client_shows_nginx_its_certificate(tmp_path: pathlib.Path, files: Files) -> None:
    programs.module("websockets")
    command = [sys.executable, "-m", "tests.interop.foreign_servers", "websockets"]
    foreign = Server(command)
    more = f"ssl_client_certificate {files.authority}; ssl_verify_client on;"
    try:
        with proxies.nginx(tmp_path, files, foreign.port, more) as port:
            url = f"wss://localhost:{port}/"
            context = certificates.client_context("lion@example.org")
            with talking(url, tls=context) as client:
                client.open()
                assert client.tls.version() == "TLSv1.3"
                for message in ("grüße ☃", b"\x00\xff", BIG):
                    assert client.echo(message) == message
                assert client.beat(b"there?") == b"there?"
                assert client.leave(3456, "enough") == (3456, "enough")
            assert foreign.closed() == (3456, "enough")
            with talking(url, tls=certificates.client_context()) as client:
                error = client.refused()
            assert isinstance(error, HandshakeError)
            assert error.status == 400
            assert b"certificate" in error.body
    finally:
        foreign.kill()
