"""`reactor/tools/serve.py`: the echo server, its page, its log and its command line."""

from __future__ import annotations

import argparse
import base64
import errno
import hashlib
import logging
import os
import pkgutil
import re
import signal
import socket
import ssl
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

import reactor
from reactor.tools import main, serve
from reactor.tools.serve import EchoServer

from .. import certificates
from ..processes import next_line
from .peers import FROM_A_TERMINAL, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, BINARY, CLOSE, RSV1 = 1, 2, 8, 0x40
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Caller:
    """A plain socket to `server`; while it waits, it is the server's loop that runs."""

    def __init__(self, server: EchoServer) -> None:
        address = server.addresses[0]
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.server = server
        self.input = b""
        self.ended = False
        self.sock = socket.socket(family)
        self.sock.connect(address)
        self.sock.setblocking(False)

    def step(self) -> None:
        self.server.reactor.step(0.01)
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.ended = not data
        self.input += data

    def until(self, done: Callable[[], object]) -> None:
        while not done():
            assert not self.ended, self.input
            self.step()

    def ask(self, target: str, method: str = "GET", **headers: str) -> tuple[str, bytes]:
        """Send a request; return the head and body of the response, read to its end."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        while not self.ended:
            self.step()
        head, _, body = self.input.partition(b"\r\n\r\n")
        return head.decode("latin-1"), body

    def upgrade(self, target: str = "/", extensions: str = "") -> str:
        """Open a WebSocket; return the head of the response."""
        offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        self.sock.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n{offer}"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.until(lambda: b"\r\n\r\n" in self.input)
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return head.decode("latin-1")

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a frame of up to 125 bytes, masked with zeros."""
        self.sock.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload)

    def receive(self) -> tuple[int, bytes]:
        """Return the opcode and payload of the next frame."""
        self.until(lambda: len(self.input) >= 2 and len(self.input) >= 2 + self.input[1])
        size = 2 + self.input[1]
        frame, self.input = self.input[:size], self.input[size:]
        return frame[0] & 15, frame[2:]

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and see the connection end on both sides."""
        self.send(CLOSE, code.to_bytes(2, "big") + reason.encode())
        assert self.receive()[0] == CLOSE
        self.leave()

    def leave(self) -> None:
        """Send FIN, and let the server find that its last connection has ended."""
        self.sock.shutdown(socket.SHUT_WR)
        while self.server.clients:
            self.server.reactor.step(0.01)


@pytest.fixture
def callers() -> Iterator[Callable[..., Caller]]:
    """Return a function that starts a server with its arguments, and a caller to it."""
    everything: list[Any] = []

    def call(
        address: Any = ("127.0.0.1", 0), server: EchoServer | None = None, **options: Any
    ) -> Caller:
        if server is None:
            server = EchoServer(address, **options)
            everything.append(server)
        caller = Caller(server)
        everything.append(caller.sock)
        return caller

    yield call
    for thing in reversed(everything):
        thing.close()


def fields(head: str) -> dict[str, str]:
    """Return the header fields of a response, names in lower case."""
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:])
    return {name.lower(): value for name, value in pairs}


# The server


@pytest.mark.parametrize(("opcode", "payload"), [(TEXT, "grüße".encode()), (BINARY, b"\0\xff")])
def test_a_message_comes_back_as_it_was_sent(
    callers: Callable[..., Caller], opcode: int, payload: bytes
) -> None:
    caller = callers()
    caller.upgrade()
    caller.send(opcode, payload)
    assert caller.receive() == (opcode, payload)


def test_a_websocket_is_accepted_at_any_path(callers: Callable[..., Caller]) -> None:
    caller = callers()
    for target in ("/", "/health", "/any/where?x=1"):
        other = callers(server=caller.server)
        other.upgrade(target)
        other.send(TEXT, b"here")
        assert other.receive() == (TEXT, b"here")


def test_with_a_path_a_websocket_is_accepted_there_only(
    callers: Callable[..., Caller],
) -> None:
    caller = callers(path="/ws")
    caller.upgrade("/ws?token=1")
    refused = callers(server=caller.server)
    head, _ = refused.ask(
        "/",
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key=KEY,
        Sec_WebSocket_Version="13",
    )
    assert head.startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize(("path", "status"), [(None, 426), ("/ws", 404)])
def test_another_request_is_told_what_is_there(
    callers: Callable[..., Caller], path: str | None, status: int
) -> None:
    head, _ = callers(path=path).ask("/elsewhere")
    assert head.startswith(f"HTTP/1.1 {status} ")


def test_a_plain_request_to_the_path_is_told_to_upgrade(
    callers: Callable[..., Caller],
) -> None:
    head, _ = callers(path="/ws").ask("/ws")
    assert head.startswith("HTTP/1.1 426 ")


def test_another_method_is_told_which_is_allowed(callers: Callable[..., Caller]) -> None:
    head, _ = callers().ask("/", "DELETE")
    assert head.startswith("HTTP/1.1 405 ")
    assert fields(head)["allow"] == "GET"


def test_an_upgrade_to_something_else_gets_the_page(callers: Callable[..., Caller]) -> None:
    head, _ = callers().ask("/", Upgrade="h2c", Connection="Upgrade")
    assert head.startswith("HTTP/1.1 200 ")


def test_health_says_ok(callers: Callable[..., Caller]) -> None:
    head, body = callers().ask("/health")
    assert head.startswith("HTTP/1.1 200 ")
    assert fields(head)["content-type"].startswith("text/plain")
    assert body == b"ok"


@pytest.mark.parametrize("target", ["/", "/health"])
def test_head_gives_the_head_of_get_without_the_body(
    callers: Callable[..., Caller], target: str
) -> None:
    caller = callers()
    head, body = caller.ask(target, "HEAD")
    assert body == b""
    with_body = callers(server=caller.server).ask(target)
    assert int(fields(head)["content-length"]) == len(with_body[1])
    names = ("content-type", "content-length")
    assert [fields(head)[n] for n in names] == [fields(with_body[0])[n] for n in names]


def test_the_page_is_html_that_may_do_nothing_but_its_own(
    callers: Callable[..., Caller],
) -> None:
    head, body = callers().ask("/")
    headers = fields(head)
    assert head.startswith("HTTP/1.1 200 ")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "ws: wss:"
    for name in ("script", "style"):
        (inline,) = re.findall(rf"<{name}>(.*?)</{name}>".encode(), body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        assert policy[f"{name}-src"] == f"'sha256-{digest}'"
    # Nothing from elsewhere, and nothing that the policy would forbid.
    assert not re.search(rb"""\s(src|style|on\w+)=|href="(?!data:)|@import|url\(""", body)


def test_the_page_has_what_a_test_in_a_browser_drives(callers: Callable[..., Caller]) -> None:
    _, body = callers().ask("/")
    ids = re.findall(r' id="([^"]+)"', body.decode())
    assert len(ids) == len(set(ids))
    wanted = "url connect disconnect reconnect text send-text send-binary log status rtt"
    assert {*wanted.split(), "close-code", "reason"} <= set(ids)


def test_the_page_knows_the_path_of_the_websocket(callers: Callable[..., Caller]) -> None:
    _, body = callers(path='/a&"b"').ask("/")
    assert body.count(b' data-path="/a&amp;&quot;b&quot;"') == 1
    _, body = callers().ask("/")
    assert body.count(b' data-path="/"') == 1


def test_the_line_ends_of_a_checkout_do_not_change_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = pkgutil.get_data("reactor.tools", "page.html")
    assert data is not None
    assert b"\r" not in data
    there = serve.page("/")
    monkeypatch.setattr(pkgutil, "get_data", lambda *names: data.replace(b"\n", b"\r\n"))
    here = serve.page("/")
    assert (here.body, list(here.headers.items())) == (there.body, list(there.headers.items()))


def test_the_page_is_found_in_a_zipped_package(tmp_path: Path) -> None:
    package = Path(reactor.__file__).parent
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in package.rglob("*"):
            if file.suffix in {".py", ".html"}:
                zipped.write(file, Path("reactor", file.relative_to(package)))
    code = (
        "import sys, reactor.tools.serve as serve\n"
        "assert 'package.zip' in serve.__file__\n"
        "sys.stdout.buffer.write(serve.page('/').body)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == serve.page("/").body


DEFLATE = "permessage-deflate; client_max_window_bits"


def test_messages_are_compressed_where_that_is_asked_for_and_offered(
    callers: Callable[..., Caller],
    lines: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "reactor.tools.serve")
    caller = callers(compress=True)
    caller.upgrade()
    caller.send(TEXT, b"x" * 125)
    assert caller.receive() == (TEXT, b"x" * 125)
    other = callers(server=caller.server)
    bits = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert fields(other.upgrade(extensions=DEFLATE))["sec-websocket-extensions"] == bits
    port = other.sock.getsockname()[1]
    assert lines()[-1] == f"agreed 127.0.0.1:{port} {bits}"
    deflate = zlib.compressobj(wbits=-12)
    data = deflate.compress(b"x" * 1000) + deflate.flush(zlib.Z_SYNC_FLUSH)[:-4]
    other.send(TEXT | RSV1, data)
    other.until(lambda: len(other.input) >= 2)
    assert other.input[0] == 0x80 | TEXT | RSV1
    _, payload = other.receive()
    assert len(payload) < 125
    inflated = zlib.decompressobj(-12).decompress(payload + b"\0\0\xff\xff")
    assert inflated == b"x" * 1000


def test_messages_are_not_compressed_unless_that_is_asked_for(
    callers: Callable[..., Caller],
) -> None:
    head = callers().upgrade(extensions=DEFLATE)
    assert "sec-websocket-extensions" not in fields(head)


# The log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return a function that returns what the command has logged, at INFO and above."""
    caplog.set_level(logging.INFO, "reactor.tools.serve")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "reactor.tools.serve"]


def test_the_log_tells_of_open_and_close(
    callers: Callable[..., Caller], lines: Callable[[], list[str]]
) -> None:
    caller = callers()
    port = caller.sock.getsockname()[1]
    caller.upgrade("/chat?x=1")
    for payload in (b"one", b"two"):
        caller.send(TEXT, payload)
        caller.receive()
    caller.close(1001, "tab closed")
    opened, closed = lines()
    assert opened == f"open 127.0.0.1:{port} '/chat?x=1'"
    assert re.fullmatch(
        rf"close 127\.0\.0\.1:{port} 1001 'tab closed' after \d+\.\d s, messages: 2", closed
    )


def test_the_log_tells_of_an_error(
    callers: Callable[..., Caller], lines: Callable[[], list[str]]
) -> None:
    caller = callers()
    caller.upgrade()
    caller.sock.sendall(b"\x81\x00")  # a client's frame without a mask
    assert caller.receive()[1][:2] == (1002).to_bytes(2, "big")
    caller.leave()
    _, error, closed = lines()
    assert re.match(r"error 127\.0\.0\.1:\d+ ProtocolError: ", error)
    assert re.match(r"close 127\.0\.0\.1:\d+ 1002 ", closed)


def test_debug_shows_the_type_and_size_of_each_message(
    callers: Callable[..., Caller],
    lines: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = callers()
    caller.upgrade()
    caller.send(TEXT, b"not at INFO")
    caller.receive()
    caplog.set_level(logging.DEBUG, "reactor.tools.serve")
    caller.send(TEXT, "ü".encode())
    caller.receive()
    caller.send(BINARY, b"abc")
    caller.receive()
    port = caller.sock.getsockname()[1]
    assert lines()[1:] == [
        f"message 127.0.0.1:{port} text, 2 bytes",
        f"message 127.0.0.1:{port} binary, 3 bytes",
    ]


def test_what_a_peer_says_reaches_the_log_escaped_and_cut(
    callers: Callable[..., Caller], lines: Callable[[], list[str]]
) -> None:
    caller = callers()
    caller.upgrade("/" + "x" * 1000)
    caller.close(1000, "\x1b[2J\r\nforged \u202e\x9b")
    opened, closed = lines()
    assert opened.endswith(" '/" + "x" * 119 + "'...")
    assert r" 1000 '\x1b[2J\r\nforged \u202e\x9b' after " in closed


# The command line


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(argv)


def test_without_options_it_listens_on_port_8000_of_this_machine_alone() -> None:
    assert vars(parsed()) == {
        "host": "127.0.0.1",
        "port": 8000,
        "unix": None,
        "path": None,
        "tls_cert": None,
        "tls_key": None,
        "compress": False,
        "max_message": 1 << 20,
        "ping_interval": 20.0,
        "log_level": "INFO",
    }


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("--host", "::", "::"),
        ("--port", "0", 0),
        ("--port", "65535", 65535),
        ("--unix", "echo.sock", "echo.sock"),
        ("--path", "/", "/"),
        ("--tls-cert", "cert.pem", "cert.pem"),
        ("--tls-key", "key.pem", "key.pem"),
        ("--path", "/ws/v1", "/ws/v1"),
        ("--max-message", "1", 1),
        ("--max-message", "64K", 64 << 10),
        ("--max-message", "32m", 32 << 20),
        ("--max-message", "1G", 1 << 30),
        ("--ping-interval", "0", 0.0),
        ("--ping-interval", "0.5", 0.5),
        ("--log-level", "debug", "DEBUG"),
    ],
)
def test_an_option_takes(option: str, text: str, value: object) -> None:
    assert getattr(parsed(option, text), option[2:].replace("-", "_")) == value


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--port", "65536"),
        ("--port", "http"),
        ("--port", "-1"),
        ("--path", "ws"),
        ("--path", "/a b"),
        ("--path", "/a?b"),
        ("--path", "/a#b"),
        ("--path", "/a%20b"),
        ("--path", "/{room}"),
        ("--path", ""),
        ("--max-message", "0"),
        ("--max-message", "0K"),
        ("--max-message", "1T"),
        ("--max-message", "-1"),
        ("--max-message", "1.5M"),
        ("--ping-interval", "-1"),
        ("--ping-interval", "nan"),
        ("--ping-interval", "inf"),
        ("--ping-interval", "often"),
        ("--log-level", "loud"),
    ],
)
def test_an_option_refuses(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        parsed(f"{option}={text}")
    assert leaving.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[EchoServer]:
    """Let each server that is run stop in its first step; return those that were."""
    servers: list[EchoServer] = []

    class Brief(EchoServer):
        def run(self) -> None:
            servers.append(self)
            self.reactor.call_soon(self.stop)
            super().run()

    monkeypatch.setattr(serve, "EchoServer", Brief)
    return servers


def test_it_says_where_it_listens_and_ends_with_status_0(
    started: list[EchoServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--log-level", "ERROR"]) == 0
    assert len(started) == 1
    out, err = capsys.readouterr()
    assert out == ""
    line = r"listening on http://(127\.0\.0\.1:[1-9]\d*)/ \(WebSocket: ws://\1/\)\n"
    assert re.fullmatch(line, err)


def test_it_says_at_which_path_a_websocket_is_accepted(
    started: list[EchoServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--path", "/ws"]) == 0
    err = capsys.readouterr().err
    assert re.match(r"listening on http://\S+/ \(WebSocket: ws://127\S+\d/ws\)\n", err)


def test_it_listens_on_a_unix_socket(
    callers: Callable[..., Caller],
    lines: Callable[[], list[str]],
    started: list[EchoServer],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    name = str(tmp_path / "echo.sock")
    assert main(["serve", "--unix", name]) == 0
    assert f"listening on unix:{name}\n" in capsys.readouterr().err
    caller = callers(name)
    caller.upgrade()
    caller.send(TEXT, b"here")
    assert caller.receive() == (TEXT, b"here")
    assert lines()[-1].startswith("open unix")


def test_compress_is_handed_on(
    started: list[EchoServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0"]) == 0
    assert main(["serve", "--port", "0", "--compress"]) == 0
    plain, compressing = started
    assert plain.extensions == ()
    assert [extension.name for extension in compressing.extensions] == ["permessage-deflate"]


def test_a_python_that_cannot_compress_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "reactor.protocol.deflate", None)
    assert main(["serve", "--port", "0", "--compress"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"cannot compress: .*deflate.*\n", err)


def test_a_ping_interval_of_0_turns_pings_off(
    monkeypatch: pytest.MonkeyPatch, started: list[EchoServer]
) -> None:
    seen: list[float | None] = []
    recording = serve.EchoServer

    def make(address: Any, ping_interval: float | None, **options: Any) -> EchoServer:
        seen.append(ping_interval)
        return recording(address, ping_interval=ping_interval, **options)

    monkeypatch.setattr(serve, "EchoServer", make)
    assert main(["serve", "--port", "0", "--ping-interval", "0"]) == 0
    assert main(["serve", "--port", "0", "--ping-interval", "2.5"]) == 0
    assert seen == [None, 2.5]


def test_a_message_above_the_limit_ends_the_connection(
    callers: Callable[..., Caller],
) -> None:
    caller = callers(max_message=4)
    caller.upgrade()
    caller.send(BINARY, b"1234")
    assert caller.receive() == (BINARY, b"1234")
    caller.send(BINARY, b"12345")
    opcode, payload = caller.receive()
    assert (opcode, payload[:2]) == (CLOSE, (1009).to_bytes(2, "big"))


def test_the_log_goes_to_stderr_while_it_runs_and_not_after(
    started: list[EchoServer], capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("reactor")
    before = (logger.level, list(logger.handlers))
    with serve.logging_to_stderr("WARNING"):
        logging.getLogger("reactor.tools.serve").info("hidden")
        logging.getLogger("reactor").warning("shown")
    logging.getLogger("reactor").info("hidden")
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING shown\n", capsys.readouterr().err)
    assert (logger.level, list(logger.handlers)) == before
    assert main(["serve", "--port", "0"]) == 0
    assert (logger.level, list(logger.handlers)) == before


def test_an_interrupt_that_is_not_caught_ends_it_with_status_0_too(
    monkeypatch: pytest.MonkeyPatch,
    started: list[EchoServer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(server: EchoServer) -> None:
        started.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(serve.EchoServer, "run", interrupted)
    assert main(["serve", "--port", "0"]) == 0
    assert "interrupted" in capsys.readouterr().err
    (server,) = started
    assert server.reactor.closed


def test_a_port_in_use_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert os.strerror(errno.EADDRINUSE) in err


def test_a_directory_that_is_missing_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = str(tmp_path / "missing" / "echo.sock")
    assert main(["serve", "--unix", name]) == 1
    assert capsys.readouterr().err.startswith(f"cannot listen on unix:{name}: ")


def test_a_host_that_can_be_none_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # No name server is asked: a label has at most 63 characters, which is a ValueError.
    assert main(["serve", "--host", "x" * 64, "--port", "0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cannot listen on xxx")
    assert err.count("\n") == 1


# TLS


def secured(files: certificates.Files, *argv: str) -> list[str]:
    """Return the command line that serves with these files."""
    return ["serve", "--port=0", "--tls-cert", files.certificate, "--tls-key", files.key, *argv]


def test_with_a_certificate_it_says_https_and_wss(
    started: list[EchoServer], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = certificates.files(tmp_path)
    assert main(secured(files)) == 0
    line = r"listening on https://(127\.0\.0\.1:[1-9]\d*)/ \(WebSocket: wss://\1/\)\n"
    assert re.match(line, capsys.readouterr().err)
    name = str(tmp_path / "echo.sock")
    assert main(secured(files, "--unix", name)) == 0
    assert f"listening on unix:{name} (TLS)\n" in capsys.readouterr().err


def test_its_tls_is_not_older_than_1_2_and_knows_http(tmp_path: Path) -> None:
    files = certificates.files(tmp_path)
    context = serve.context(files.certificate, files.key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE  # browsers have no certificate to show
    tls, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = certificates.client_context()
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    client = trusting.wrap_bio(tls, other, server_hostname="localhost")
    server = context.wrap_bio(other, tls, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("option", ["--tls-cert", "--tls-key"])
def test_a_certificate_without_its_key_is_a_wrong_command_line(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", option, "file.pem"]) == 2
    assert capsys.readouterr().err == "--tls-cert and --tls-key need each other\n"


@pytest.mark.parametrize("kind", ["certificate", "key"])
def test_a_file_that_is_missing_is_told_in_one_line(
    kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = certificates.files(tmp_path)
    name = getattr(files, kind)
    os.unlink(name)
    assert main(secured(files)) == 1
    reason = os.strerror(errno.ENOENT)
    assert capsys.readouterr().err == f"cannot use the certificate: {name}: {reason}\n"


def test_a_key_of_another_certificate_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = certificates.files(tmp_path)
    Path(files.key).write_bytes(certificates.issue("other").private_key_pem.bytes())
    assert main(secured(files)) == 1
    err = capsys.readouterr().err
    assert err.startswith("cannot use the certificate: ")
    assert "mismatch" in err
    assert err.count("\n") == 1


def test_a_key_that_is_encrypted_is_told_in_one_line_and_asks_for_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = certificates.files(tmp_path)
    certificates.encrypt(files.key)
    assert main(secured(files)) == 1
    assert capsys.readouterr().err == "cannot use the certificate: the key is encrypted\n"


@pytest.fixture
def hung_up(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let a server that is run be told of SIGHUP, and stop; return its contexts."""
    contexts: list[object] = []

    class Brief(EchoServer):
        def run(self) -> None:
            contexts.append(self.tls)
            signal.raise_signal(signal.SIGHUP)
            self.reactor.step(0)
            contexts.append(self.tls)
            self.close()
            signal.raise_signal(signal.SIGHUP)  # too late to be of use, and no harm

    monkeypatch.setattr(serve, "EchoServer", Brief)
    return contexts


def test_sighup_has_the_certificate_read_again(
    hung_up: list[object], lines: Callable[[], list[str]], tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGHUP)
    assert main(secured(certificates.files(tmp_path))) == 0
    first, second = hung_up
    assert isinstance(second, ssl.SSLContext)
    assert second is not first
    assert lines() == ["the certificate is read again"]
    assert signal.getsignal(signal.SIGHUP) == before


def test_sighup_with_files_that_are_broken_changes_nothing(
    hung_up: list[object],
    lines: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    files = certificates.files(tmp_path)
    make = serve.context

    def once(cert: str, key: str) -> ssl.SSLContext:
        made = make(cert, key)
        Path(cert).write_text("junk")
        return made

    monkeypatch.setattr(serve, "context", once)
    assert main(secured(files)) == 0
    first, second = hung_up
    assert second is first
    (line,) = lines()
    assert line.startswith("the certificate stays as it was: ")


def test_where_there_is_no_sighup_it_serves_all_the_same(
    started: list[EchoServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert main(secured(certificates.files(tmp_path))) == 0
    assert len(started) == 1


# As a process


def serving(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FROM_A_TERMINAL, "serve", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_gracefully_with_status_0(number: signal.Signals) -> None:
    with serving("--port", "0") as process:
        try:
            assert process.stderr is not None
            line = next_line(process.stderr)
            match = re.match(r"listening on http://127\.0\.0\.1:(\d+)/ ", line)
            assert match is not None, line
            with socket.create_connection(("127.0.0.1", int(match[1])), timeout=30) as sock:
                sock.sendall(
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"
                )
                assert " open " in next_line(process.stderr)
                process.send_signal(number)
                stream = sock.makefile("rb")
                while stream.readline() != b"\r\n":
                    pass
                frame = stream.read(4)
                assert (frame[0], frame[2:]) == (0x88, (1001).to_bytes(2, "big"))
                sock.sendall(b"\x88\x82\0\0\0\0" + frame[2:])
                sock.shutdown(socket.SHUT_WR)
                stream.close()
                rest = process.stderr.read()
            assert process.wait(30) == 0
            assert " close 127.0.0.1:" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()


def test_a_port_in_use_gives_status_1_and_no_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-m", "reactor", "serve", "--port", port],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{port}: .*\n", result.stderr)


def shown_name(port: int) -> str:
    """Return the name in the certificate that a client is shown."""
    context = certificates.client_context()
    context.check_hostname = False
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    with sock, context.wrap_socket(sock) as tls:
        found: Any = tls.getpeercert()
    ((_, name),) = found["subjectAltName"]
    return str(name)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_new_certificate_is_shown_after_sighup_and_a_broken_one_never(
    tmp_path: Path,
) -> None:
    files = certificates.files(tmp_path, "first.example")
    with serving(*secured(files)[1:]) as process:
        try:
            assert process.stderr is not None
            match = re.match(r"listening on https://127\S+:(\d+)/ ", next_line(process.stderr))
            assert match is not None
            port = int(match[1])
            assert shown_name(port) == "first.example"
            certificates.files(tmp_path, "second.example")
            process.send_signal(signal.SIGHUP)
            assert "the certificate is read again" in next_line(process.stderr)
            assert shown_name(port) == "second.example"
            Path(files.key).write_text("junk")
            process.send_signal(signal.SIGHUP)
            assert "the certificate stays as it was" in next_line(process.stderr)
            assert shown_name(port) == "second.example"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
