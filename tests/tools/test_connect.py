"""`reactor/tools/connect.py`: the client of a terminal or a pipe."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from subprocess import DEVNULL, PIPE
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable, TextIO

import pytest

from reactor import Backoff, Request, Response, Server
from reactor.tools import connect, main

from .. import certificates
from ..processes import complaints
from .peers import (
    BINARY,
    CLOSE,
    FROM_A_TERMINAL,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Wire,
    echo,
    scripted,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reactor import Connection


# For a process of its own, whatever the environment says of proxies.
COMMAND = [sys.executable, "-W", "error", "-c", FROM_A_TERMINAL, "connect", "--no-proxy"]


class Outcome(SimpleNamespace):
    """What came of it: status, out, err."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs the command on what it gets as stdin."""
    files: list[TextIO | None] = []

    def run(*argv: str, stdin: bytes | int | None = b"", stdout: int | None = None) -> Outcome:
        if isinstance(stdin, bytes):
            reader, writer = os.pipe()
            assert len(stdin) < 4096
            os.write(writer, stdin)
            os.close(writer)
            stdin = reader
        file = None if stdin is None else open(stdin, encoding="utf-8")  # noqa: SIM115
        files.append(file)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", file)
            if stdout is not None:
                other = open(stdout, "w", encoding="utf-8")  # noqa: SIM115
                files.append(other)
                patched.setattr(sys, "stdout", other)
            status = main(["connect", *([] if "--proxy" in argv else ["--no-proxy"]), *argv])
        out, err = capfd.readouterr()
        return Outcome(status=status, out=out, err=err)

    yield run
    for file in files:
        if file is not None:
            file.close()


def process(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    return subprocess.Popen([*COMMAND, *argv], **options)


# From stdin and back


def test_lines_come_back_from_an_echo_server_and_the_status_is_0(run: Run) -> None:
    with echo() as uri:
        done = run(uri, stdin="hello\n\ngrüße\nlast".encode())
    assert (done.status, done.out) == (0, "hello\n\ngrüße\nlast\n")
    assert done.err == f"connected {uri}\nclosed 1000\n"


@pytest.mark.parametrize("stdin", [b"", None])
def test_nothing_to_send_is_in_order(run: Run, stdin: bytes | None) -> None:
    with echo() as uri:
        done = run(uri, stdin=stdin)
    assert (done.status, done.out) == (0, "")


def test_stdin_may_be_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("one\ntwo")
    with echo() as uri:
        done = run(uri, stdin=os.open(tmp_path / "input", os.O_RDONLY))
        nothing = run(uri, stdin=os.open(os.devnull, os.O_RDONLY))
    assert (done.status, done.out) == (0, "one\ntwo\n")
    assert (nothing.status, nothing.out) == (0, "")


def test_stdin_may_be_a_socket(run: Run) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b"one\ntwo\n")
    ours.close()
    with echo() as uri:
        done = run(uri, stdin=theirs.detach())
    assert (done.status, done.out) == (0, "one\ntwo\n")


def test_as_binary_a_line_may_hold_anything(run: Run) -> None:
    with echo() as uri:
        done = run("--binary", uri, stdin=b"\xff\x00\n\nend")
    assert (done.status, done.out) == (0, "0xff00\n0x\n0x656e64\n")


def test_a_line_that_is_not_utf_8_is_not_sent_and_the_status_is_1(run: Run) -> None:
    with echo() as uri:
        done = run(uri, stdin=b"one\n\xff\nthree\n")
    assert (done.status, done.out) == (1, "one\nthree\n")
    assert "line 2 is not UTF-8, and is not sent\n" in done.err


def test_a_stdin_that_cannot_be_read_is_told_of_and_the_status_is_1(
    run: Run, tmp_path: Path
) -> None:
    with echo() as uri:
        done = run(uri, stdin=os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT))
    assert (done.status, done.out) == (1, "")
    assert f"cannot read stdin: {os.strerror(9)}\n" in done.err
    assert "closed 1000\n" in done.err


def test_what_a_server_says_reaches_the_terminal_escaped(run: Run) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        wire.send(TEXT, "\x1b]0;x\x07 \u202e\n\x9b".encode())
        wire.send(BINARY, b"\x1b")
        wire.send(CLOSE, (1000).to_bytes(2, "big") + "\x1b\u2028bye".encode())
        wire.until_close()

    with scripted(script) as uri:
        done = run("--wait", "inf", uri)
    assert (done.status, done.out) == (0, "\\x1b]0;x\\x07 \\u202e\\n\\x9b\n0x1b\n")
    assert done.err.endswith("\nclosed 1000 \\x1b\\u2028bye\n")


def test_as_json_all_that_happens_is_an_object_in_a_line(run: Run) -> None:
    class Talker(Server):
        def onopen(self, client: Connection) -> None:
            client.ping(b"there?")

        def onmessage(self, client: Connection, message: str | bytes) -> None:
            client.send(message)
            client.send(b"\x00\xff")

    with serving(Talker(("127.0.0.1", 0), subprotocols=["chat"])) as uri:
        done = run("--json", "--subprotocol", "chat", uri, stdin=b"one\n")
    assert (done.status, done.err) == (0, "")
    opened, *others = done.events
    assert opened["event"] == "open"
    assert opened["uri"] == uri
    assert opened["subprotocol"] == "chat"
    assert opened["extensions"] == ""
    assert opened["tls"] is None
    assert ["Sec-WebSocket-Protocol", "chat"] in opened["headers"]
    (pong,) = (event for event in others if event["event"] == "pong")
    others.remove(pong)
    assert others == [
        {"event": "ping", "payload": "dGhlcmU/"},
        {"event": "message", "text": "one"},
        {"event": "message", "binary": "AP8="},
        {"event": "close", "code": 1000, "reason": "", "clean": True},
    ]


# The end of stdin


def test_at_the_end_what_a_slow_server_still_sends_before_its_pong_is_printed(run: Run) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        assert wire.receive() == (TEXT, b"one")
        opcode, mark = wire.receive()
        assert opcode == PING
        wire.send(TEXT, b"late")
        wire.send(PONG, mark)
        assert wire.receive() == (CLOSE, (1000).to_bytes(2, "big"))
        wire.send(CLOSE, (1000).to_bytes(2, "big"))

    with scripted(script) as uri:
        done = run(uri, stdin=b"one\n")
    assert (done.status, done.out) == (0, "late\n")


def test_a_pong_that_is_not_for_the_last_ping_has_it_asked_again(run: Run) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        opcode, mark = wire.receive()
        assert (opcode, len(mark)) == (PING, 8)
        wire.send(PONG, b"keepalive's")
        assert wire.receive() == (PING, mark)
        wire.send(PONG, mark)
        wire.send(PONG, mark)  # the first ping's answer, if both are answered
        assert wire.receive()[0] == CLOSE
        wire.send(CLOSE, b"")

    with scripted(script) as uri:
        assert run(uri).status == 0


def test_a_pong_that_nobody_asked_for_ends_nothing(run: Run) -> None:
    ours, theirs = os.pipe()

    def script(wire: Wire) -> None:
        wire.accept()
        wire.send(PONG, b"")
        os.write(theirs, b"still here\n")
        assert wire.receive() == (TEXT, b"still here")
        os.close(theirs)
        opcode, mark = wire.receive()
        assert opcode == PING
        wire.send(PONG, mark)
        assert wire.receive()[0] == CLOSE
        wire.send(CLOSE, b"")

    with scripted(script) as uri:
        assert run(uri, stdin=ours).status == 0


def test_with_wait_it_stays_for_what_comes_later(run: Run) -> None:
    class Late(Server):
        def onping(self, client: Connection, payload: bytes) -> None:
            self.reactor.call_later(0.05, self.late, client)

        def late(self, client: Connection) -> None:
            client.send("late")
            client.close()

    with serving(Late(("127.0.0.1", 0))) as uri:
        assert run(uri).out == ""
        done = run("--wait", f"{PATIENCE:g}", uri)
    assert (done.status, done.out) == (0, "late\n")
    with echo() as uri:
        assert run("--wait", "0.05", uri).status == 0


def test_with_an_endless_wait_it_is_the_server_who_closes(run: Run) -> None:
    class Leaving(Server):
        def onping(self, client: Connection, payload: bytes) -> None:
            self.reactor.call_later(0.05, client.close, 1001, "enough")

    with serving(Leaving(("127.0.0.1", 0))) as uri:
        done = run("--wait", "inf", uri)
    assert done.status == 0
    assert done.err.endswith("closed 1001 enough\n")


# The status


@pytest.mark.parametrize(
    ("code", "status"), [(1000, 0), (1001, 0), (None, 0), (1011, 1), (4000, 1)]
)
def test_the_status_follows_the_code_of_the_server(
    run: Run, code: int | None, status: int
) -> None:
    payload = b"" if code is None else code.to_bytes(2, "big")

    def script(wire: Wire) -> None:
        wire.accept()
        wire.send(CLOSE, payload)
        wire.until_close()

    with scripted(script) as uri:
        done = run("--wait", "inf", uri)
    assert done.status == status
    assert done.err.endswith(f"closed {code or 1005}\n")


def test_our_own_code_is_clean_whatever_it_is(run: Run) -> None:
    codes: list[int] = []
    server = Server(("127.0.0.1", 0), onclose=lambda client, code, reason: codes.append(code))
    with serving(server) as uri:
        assert run("--close-code", "4001", uri).status == 0
    assert codes == [4001]


def test_a_connection_that_is_lost_gives_status_1(run: Run) -> None:
    with scripted(Wire.accept) as uri:
        done = run("--wait", "inf", uri)
    assert done.status == 1
    assert re.search(r"^closed 1006", done.err, re.MULTILINE)


def test_nobody_there_is_told_in_a_line_and_gives_status_1(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = run(f"ws://user:secret@127.0.0.1:{port}/")
    assert (done.status, done.out) == (1, "")
    assert os.strerror(111) in done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err


def test_a_refusal_is_told_with_what_the_server_says(run: Run) -> None:
    def refuse(request: Request) -> Response:
        return Response(403, body="members only\x1b[0m")

    with serving(Server(("127.0.0.1", 0), onrequest=refuse)) as uri:
        done = run(uri)
        events = run("--json", uri)
    assert done.status == 1
    assert "403" in done.err
    assert "the server says: members only\\x1b[0m\n" in done.err
    assert events.status == 1
    assert events.names == ["error", "close"]
    assert events.events[0]["status"] == 403


def test_a_server_that_does_not_answer_in_time_gives_status_1(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = run("--timeout", "0.05", f"ws://127.0.0.1:{listener.getsockname()[1]}/")
    assert done.status == 1
    assert "error: " in done.err


def test_an_interrupt_that_is_not_caught_gives_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(talk: connect.Talk) -> None:
        talk.reactor.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(connect.Talk, "run", interrupted)
    done = run("ws://127.0.0.1:1/")
    assert (done.status, done.err.splitlines()[-1]) == (1, "interrupted")


# The options


def test_what_was_agreed_on_is_told(run: Run) -> None:
    with echo(compress=True) as uri:
        done = run(uri, stdin=b"x" * 4000)
        events = run("--json", uri, stdin=b"").events
    agreed = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert (done.status, done.out) == (0, "x" * 4000 + "\n")
    assert done.err == f"connected {uri} extensions {agreed}\nclosed 1000\n"
    assert events[0]["extensions"] == agreed


def test_the_request_is_as_the_options_want_it(run: Run) -> None:
    requests: list[Request] = []
    server = Server(
        ("127.0.0.1", 0), onrequest=requests.append, origins=None, subprotocols=["b"]
    )
    with serving(server) as uri:
        argv = [
            "--header",
            "X-One: 1",
            "--header",
            "X-Two: 2",
            "--origin",
            "http://example.com",
        ]
        argv += ["--subprotocol", "a", "--subprotocol", "b"]
        done = run(*argv, f"{uri}where?x=1")
    assert done.status == 0
    assert "subprotocol b\n" in done.err
    (request,) = requests
    assert request.target == "/where?x=1"
    fields = [request.headers.get(name) for name in ("X-One", "X-Two", "Origin")]
    assert fields == ["1", "2", "http://example.com"]
    assert request.headers["Sec-WebSocket-Protocol"] == "a, b"


def test_user_and_password_are_for_a_server_that_asks(run: Run) -> None:
    def script(wire: Wire) -> None:
        if b"\r\nAuthorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n" in wire.head:
            wire.accept()
            wire.send(CLOSE, b"")
            wire.until_close()
        else:
            wire.sock.sendall(
                b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n'
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )

    with scripted(script, script) as uri:
        assert run("--auth", "user:pass:word", uri).status == 0


def test_a_message_above_the_limit_is_refused(run: Run) -> None:
    with echo() as uri:
        assert run("--max-message", "4", uri, stdin=b"four\n").status == 0
        done = run("--max-message", "4", uri, stdin=b"fives\n")
    assert done.status == 1
    assert "closed 1009" in done.err


def test_with_a_ping_interval_a_silent_server_is_asked(run: Run) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        pings = [wire.receive() for _ in range(2)]
        assert [opcode for opcode, _ in pings] == [PING, PING]
        wire.send(CLOSE, b"")

    with scripted(script) as uri:
        assert run("--ping-interval", "0.05", "--wait", "inf", uri).status == 0


def test_a_ping_interval_of_0_turns_pings_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []

    def brief(talk: connect.Talk) -> None:
        seen.append(talk.settings.ping_interval)
        talk.reactor.close()

    monkeypatch.setattr(connect.Talk, "run", brief)
    run("--ping-interval", "0", "ws://localhost/")
    run("--ping-interval", "2.5", "ws://localhost/")
    assert seen == [None, 2.5]


def test_the_proxy_is_that_of_the_environment_unless_one_is_named_or_none() -> None:
    parser = argparse.ArgumentParser()
    connect.add_arguments(parser)
    uri = "ws://localhost/"
    assert parser.parse_args([uri]).proxy is True
    assert parser.parse_args(["--no-proxy", uri]).proxy is False
    assert parser.parse_args(["--proxy", "socks5://p", uri]).proxy == "socks5://p"


@pytest.mark.parametrize(
    "argv",
    [
        ["http://localhost/"],
        ["ws://"],
        ["--header", "X-Key: a\r\nInjected: b", "ws://localhost/"],
        ["--subprotocol", "no token", "ws://localhost/"],
        ["--insecure", "ws://localhost/"],
        ["--proxy", "ftp://proxy", "ws://localhost/"],
    ],
)
def test_what_the_client_finds_wrong_is_told_in_a_line_with_status_2(
    run: Run, argv: list[str]
) -> None:
    done = run(*argv)
    assert (done.status, done.out) == (2, "")
    assert "cannot connect: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--insecure", "--cafile", "x", "wss://localhost/"],
        ["--proxy", "http://p", "--no-proxy", "ws://localhost/"],
        ["--close-code", "1006", "ws://localhost/"],
        ["--timeout", "0", "ws://localhost/"],
        ["--auth", "user", "ws://localhost/"],
    ],
)
def test_a_wrong_command_line_is_explained_with_status_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["connect", *argv])
    assert leaving.value.code == 2
    assert "usage: python3 -m reactor connect" in capsys.readouterr().err


def test_help_has_examples_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as leaving:
        main(["connect", "--help"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert "echo hello | python3 -m reactor connect " in out
    assert [line for line in out.splitlines() if len(line) > 80] == []


# TLS


@pytest.fixture
def secure() -> Iterator[str]:
    """The URI of an echo server over TLS."""
    with echo(tls=certificates.server_context()) as uri:
        yield uri.replace("ws:", "wss:")


def test_with_the_file_of_its_authority_a_server_is_trusted(
    run: Run, secure: str, tmp_path: Path
) -> None:
    authority = certificates.files(tmp_path).authority
    done = run("--cafile", authority, secure, stdin=b"hello\n")
    assert (done.status, done.out) == (0, "hello\n")
    assert re.match(rf"connected {secure} TLSv1\.[23]\n", done.err)


def test_a_server_that_nobody_vouches_for_is_not_spoken_with(run: Run, secure: str) -> None:
    done = run(secure, stdin=b"secret\n")
    assert (done.status, done.out) == (1, "")
    assert "verify failed" in done.err


def test_insecure_says_so_and_speaks_with_anybody(run: Run, secure: str) -> None:
    done = run("--insecure", "--json", secure, stdin=b"hello\n")
    assert done.status == 0
    assert done.err == "insecure: the server's certificate is not verified\n"
    assert done.events[0]["tls"]["version"].startswith("TLSv1.")
    assert {"event": "message", "text": "hello"} in done.events


def test_an_authority_that_cannot_be_read_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for name in (str(empty), str(tmp_path / "missing.pem")):
        done = run("--cafile", name, "wss://localhost/")
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"cannot use --cafile {name}: ")
        assert done.err.count("\n") == 1


# Again and again


def test_with_reconnect_stdin_goes_on_where_it_was(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "Backoff", lambda: Backoff(first=0.01, last=0.01))
    ours, theirs = os.pipe()

    def first(wire: Wire) -> None:
        wire.accept()
        os.write(theirs, b"one\n")
        assert wire.receive() == (TEXT, b"one")

    def second(wire: Wire) -> None:
        wire.accept()
        os.write(theirs, b"two\n")
        os.close(theirs)
        assert wire.receive() == (TEXT, b"two")
        opcode, _ = wire.receive()
        assert opcode == PING

    def third(wire: Wire) -> None:
        wire.accept()
        opcode, mark = wire.receive()
        assert opcode == PING
        wire.send(PONG, mark)
        assert wire.receive()[0] == CLOSE
        wire.send(CLOSE, b"")

    with scripted(first, second, third) as uri:
        done = run("--reconnect", "--json", uri, stdin=ours)
    assert done.status == 0
    assert [name for name in done.names if name not in ("error", "pong")] == [
        *["open", "close", "reconnecting"],
        *["open", "close", "reconnecting"],
        *["open", "close"],
    ]


# Much, and slow


def test_long_lines_pass_an_echo_server_which_reads_no_more_than_it_can_answer(
    run: Run, tmp_path: Path
) -> None:
    # If each side stopped to read until the other has read, both would wait for ever.
    content = b"".join(bytes([letter]) * 8_000_000 + b"\n" for letter in b"abcd")
    (tmp_path / "input").write_bytes(content)
    with echo() as uri:
        done = run("--max-message", "8M", uri, stdin=os.open(tmp_path / "input", os.O_RDONLY))
    assert (done.status, done.out.encode() == content) == (0, True), done.err


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="there is no /proc")
def test_a_long_input_waits_in_its_pipe_not_in_memory() -> None:
    size, seen = 100_000_000, 0
    peaks: list[int] = []
    waiting: list[bool] = []

    class Slow(Server):
        def onopen(self, client: Connection) -> None:
            client.pause()
            self.reactor.call_later(0.5, self.go_on, client)

        def go_on(self, client: Connection) -> None:
            waiting.append(writer.poll() is None)
            client.resume()

        def onmessage(self, client: Connection, message: str | bytes) -> None:
            nonlocal seen
            seen += len(message) + 1
            if seen == size:
                with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
                    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", file.read())
                peaks.append(int(peak) * 1024)

    # Not with `sys.stdout`: that loses some when its process is stopped in between.
    source = (
        "import os\n"
        "for _ in range(1000):\n"
        "    data = (b'x' * 9_999 + b'\\n') * 10\n"
        "    while data: data = data[os.write(1, data):]\n"
    )
    writing = [sys.executable, "-c", source]
    slow = serving(Slow(("127.0.0.1", 0)))
    with slow as uri, subprocess.Popen(writing, stdout=PIPE) as writer:
        child = process(uri, stdin=writer.stdout, stderr=PIPE)
        assert writer.stdout is not None
        writer.stdout.close()
        _, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, seen) == (0, size), err
    assert waiting == [True]
    if sys.implementation.name == "cpython":  # PyPy collects when it likes to
        assert peaks[0] < size, peaks


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    class Feed(Server):
        def onopen(self, client: Connection) -> None:
            self.more(client)

        def more(self, client: Connection) -> None:
            if client.close_code is None:
                client.send("news")
                self.reactor.call_later(0.005, self.more, client)

    with serving(Feed(("127.0.0.1", 0))) as uri:
        child = process("--wait", "inf", uri, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"news\n"
        child.stdout.close()
        with child.stderr as stderr:
            err = stderr.read()
        assert child.wait(PATIENCE) == 0
    assert complaints(err.decode()) == f"connected {uri}\nclosed 1000\n"


def test_a_reader_that_is_gone_already_is_no_failure(run: Run) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with echo() as uri:
        done = run(uri, stdin=b"one\ntwo\n", stdout=writer)
    assert (done.status, done.err) == (0, f"connected {uri}\nclosed 1000\n")


def test_a_stdout_that_takes_nothing_is_told_of_and_gives_status_1(run: Run) -> None:
    with echo() as uri:
        deaf = os.open(os.devnull, os.O_RDONLY)
        done = run(uri, stdin=b"one\ntwo\n", stdout=deaf)
    assert done.status == 1
    assert done.err.count(f"cannot write to stdout: {os.strerror(9)}\n") == 1
    assert "Traceback" not in done.err


def test_closed_standard_files_do_no_harm() -> None:
    # The numbers of closed ones are those of the next sockets.
    with echo() as uri, process(uri, preexec_fn=lambda: os.closerange(0, 3)) as child:
        assert child.wait(PATIENCE) == 0


# At a terminal


class Terminal:
    """The command, at a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self.seen = b""
        self.status: int | None = None
        self.pid, self.number = pty.fork()
        if not self.pid:
            os.execv(sys.executable, [*COMMAND, *argv])

    def type(self, keys: bytes) -> None:
        os.write(self.number, keys)

    def until(self, text: bytes) -> None:
        while text not in self.seen:
            assert self.read(), self.seen

    def read(self) -> bytes:
        try:
            data = os.read(self.number, 4096)
        except OSError:
            data = b""  # what Linux says when the other side is closed
        self.seen += data
        return data

    def end(self) -> int:
        """Return the exit status."""
        while self.read():
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.number)
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def test_at_a_terminal_lines_are_sent_as_they_are_typed_and_ctrl_d_ends_it() -> None:
    with echo() as uri, Terminal(uri) as terminal:
        terminal.until(b"connected")
        for line in (b"one", b"two"):
            terminal.type(line + b"\n")
            terminal.until(line + b"\r\n" + line + b"\r\n")  # as typed, and as answered
        assert os.get_blocking(terminal.number)
        terminal.type(b"\x04")
        assert terminal.end() == 0
        assert terminal.seen.endswith(b"closed 1000\r\n")


def test_ctrl_c_closes_it_gracefully() -> None:
    with echo() as uri, Terminal(uri) as terminal:
        terminal.until(b"connected")
        terminal.type(b"\x03")
        assert terminal.end() == 0
        assert b"closed 1001\r\n" in terminal.seen
        assert b"Traceback" not in terminal.seen


def test_a_second_ctrl_c_does_not_wait_for_the_server() -> None:
    ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.accept()
        opcode, payload = wire.receive()
        assert (opcode, payload[:2]) == (CLOSE, (1001).to_bytes(2, "big"))
        terminal.type(b"\x03")
        assert ended.wait(PATIENCE)

    with scripted(script) as uri, Terminal(uri) as terminal:
        terminal.until(b"connected")
        terminal.type(b"\x03")
        assert terminal.end() == 1
        ended.set()
        assert b"closed 1006" in terminal.seen
        assert b"Traceback" not in terminal.seen


def test_ctrl_c_before_the_connection_is_open_gives_it_up() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    uri = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    listener.settimeout(PATIENCE)
    with listener, Terminal(uri) as terminal:
        sock, _ = listener.accept()
        with sock:
            assert sock.recv(100)
            terminal.type(b"\x03")
            assert terminal.end() == 1
    assert b"Traceback" not in terminal.seen
