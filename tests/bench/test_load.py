"""The load in Python: frames that are right, replies of which no fault is overlooked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Callable

import pytest

from tests import certificates, programs

from . import prepared
from .faulty_server import CLOSE, PING, Server, packed
from .generator import FaultError, Run
from .load import Load, checked, parse
from .peers import PEERS
from .prepared import LARGEST, Prepared, compressed, documents
from .processes import CHECKOUT, serving

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the load waits with epoll"
)

COMMAND = [sys.executable, "-m", "tests.bench.load"]
TAIL = b"\0\0\xff\xff"
PLAIN = "kind=text size=32"
COMPRESSED = "kind=json size=200 deflate=1"


def agreeing(terms: str = "") -> Callable[[bytes], bytes]:
    """An answer to the handshake that agrees to compress."""
    return lambda head: (
        head[:-2] + f"sec-websocket-extensions: permessage-deflate{terms}\r\n\r\n".encode()
    )


def served(words: str, **faults: object) -> Server:
    """A server for the load that these words ask for."""
    if "deflate=1" in words:
        faults.setdefault("head", agreeing())
    return Server(**faults)  # type: ignore[arg-type]


def loaded(server: Server, words: str, seconds: float = 0.05, inflight: int = 1) -> Run:
    """What the load counts at the server."""
    with server.listening() as port:
        options = f"port={port} warmup=0 seconds={seconds} patience=1 inflight={inflight}"
        return Run(**Load(parse(f"{options} {words}".split())).run())  # type: ignore[arg-type]


def complaint(server: Server, words: str = PLAIN, seconds: float = 5, inflight: int = 1) -> str:
    """What the load says of a server with a fault, which it meets within the seconds."""
    with pytest.raises(FaultError) as caught:
        loaded(server, words, seconds, inflight)
    return str(caught.value)


# What leaves


@pytest.mark.parametrize("size", [32, 33, 100, 1024, 5000])
def test_documents_are_json_of_their_size_and_no_two_are_alike(size: int) -> None:
    made = documents(size, 100)
    assert len(set(made)) == 100
    assert {len(document.encode()) for document in made} == {size}
    assert all(isinstance(json.loads(document), dict) for document in made)


@pytest.mark.parametrize("kind", ["json", "text", "binary"])
@pytest.mark.parametrize("size", [32, 125, 126, 65535, 65536])
def test_what_leaves_is_what_is_due(size: int, kind: str) -> None:
    server = Server()
    run = loaded(server, f"kind={kind} size={size}", inflight=3)
    made = prepared.payloads(kind, size)
    assert 0 < run.messages <= len(server.payloads)
    assert run.rate == pytest.approx(run.messages / run.seconds)
    assert 0 < run.p50 <= run.p99
    assert server.payloads == [made[n % len(made)] for n in range(len(server.payloads))]
    assert len(set(server.keys)) >= min(len(server.keys), len(made)) - 1


def test_compressed_messages_stand_alone_and_need_no_more_than_the_smallest_window() -> None:
    ready = Prepared("json", 1024, deflate=True)
    sizes = []
    for payload in ready.payloads:
        data = compressed(payload)
        assert zlib.decompressobj(-12).decompress(data + TAIL) == payload
        sizes.append(len(data))
    assert max(sizes) < 1024 * 0.6
    assert len(ready.payloads) == 512


def test_a_compressed_echo_is_counted() -> None:
    server = served(COMPRESSED)
    run = loaded(server, COMPRESSED, inflight=3)
    assert 0 < run.messages <= len(server.payloads)
    due = prepared.payloads("json", 200)[0]
    assert zlib.decompressobj(-12).decompress(server.payloads[0] + TAIL) == due


# What comes back


@pytest.mark.parametrize("words", [PLAIN, COMPRESSED])
def test_replies_may_come_in_pieces(words: str) -> None:
    server = served(words, one_by_one=True)
    assert loaded(server, words, inflight=4).messages > 0


@pytest.mark.parametrize("words", [PLAIN, COMPRESSED])
def test_a_ping_between_replies_is_answered_and_not_counted(words: str) -> None:
    server = served(words, reply=lambda number, frame: PING + frame)
    loaded(server, words)
    assert server.pongs == [b"abc"] * len(server.payloads)


def _twisted(frame: bytes) -> bytes:
    return frame[:-1] + bytes((frame[-1] ^ 1,))


WRONG_REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "its last bit is wrong": _twisted,
    "its first byte is wrong": lambda frame: frame[:2] + b"\0" + frame[3:],
    "it is binary instead of text": lambda frame: bytes((frame[0] ^ 3,)) + frame[1:],
    "it is not final": lambda frame: bytes((frame[0] & 0x7F,)) + frame[1:],
    "it is masked": lambda frame: frame[:1] + b"\xa0\0\0\0\0" + frame[2:],
    "it is a byte short": lambda frame: packed(frame[0], frame[2:7] + frame[8:]),
    "it is a byte long": lambda frame: packed(frame[0], frame[2:] + b"x"),
    "its flag of compression is wrong": lambda frame: bytes((frame[0] ^ 0x40,)) + frame[1:],
    "it is empty": lambda frame: packed(frame[0], b""),
}


@pytest.mark.parametrize("words", [PLAIN, "kind=json size=64 deflate=1"])
@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("fault", WRONG_REPLIES)
def test_a_reply_is_an_error_if(fault: str, one_by_one: bool, words: str) -> None:
    twist = WRONG_REPLIES[fault]
    server = served(
        words,
        reply=lambda number, frame: twist(frame) if number == 5 else frame,
        one_by_one=one_by_one,
    )
    assert "connection 0, reply 5: the reply is wrong" in complaint(server, words, inflight=2)


def test_a_reply_left_out_among_others_is_an_error() -> None:
    server = Server(reply=lambda number, frame: b"" if number == 5 else frame)
    assert "reply 5: the reply is wrong" in complaint(server, inflight=4)


@pytest.mark.parametrize("words", [PLAIN, COMPRESSED])
def test_a_missing_reply_is_an_error(words: str) -> None:
    server = served(words, reply=lambda number, frame: b"" if number == 1 else frame)
    assert "1 replies are missing after 1 s" in complaint(server, words, seconds=0.1)


@pytest.mark.parametrize("words", [PLAIN, COMPRESSED])
def test_a_reply_that_comes_twice_is_an_error(words: str) -> None:
    server = served(words, reply=lambda number, frame: frame * (1 + (number == 5)))
    said = complaint(server, words)
    assert "an extra reply came" in said or "the reply is wrong" in said


def test_a_reply_too_many_at_the_end_is_an_error() -> None:
    said = complaint(Server(farewell=b"\x81\x02hi" + CLOSE), seconds=0.05)
    assert "an extra reply came, beginning with 0x81" in said


def test_a_message_before_the_first_is_an_error() -> None:
    said = complaint(Server(head=lambda head: head + b"\x81\x02hi"))
    assert "an extra reply came" in said


def test_a_server_that_closes_by_itself_is_an_error() -> None:
    server = Server(reply=lambda number, frame: CLOSE if number == 5 else frame)
    assert "the server closed the connection" in complaint(server)


def test_an_end_without_a_close_frame_is_an_error() -> None:
    assert "without a Close frame" in complaint(Server(farewell=b""), seconds=0.05)


def test_bytes_after_the_close_frame_are_an_error() -> None:
    said = complaint(Server(farewell=CLOSE + b"x"), seconds=0.05)
    assert "1 bytes came after the Close frame" in said


def test_a_control_frame_that_none_may_send_is_an_error() -> None:
    server = Server(reply=lambda number, frame: b"\x8b\x00" + frame)
    assert "a control frame begins with 0x8b 0x0" in complaint(server)


def test_a_reply_that_inflates_to_more_than_any_message_is_an_error() -> None:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = made.compress(bytes(8 * LARGEST)) + made.flush(zlib.Z_SYNC_FLUSH)
    server = served(COMPRESSED, reply=lambda number, frame: packed(0xC1, bomb[:-4]))
    assert "reply 0: the reply is wrong" in complaint(server, COMPRESSED)


# Windows


def keeping() -> Callable[[int, bytes], bytes]:
    """Replies by one compressor, whose window lasts from message to message."""
    made = zlib.compressobj(6, zlib.DEFLATED, -15)

    def reply(number: int, frame: bytes) -> bytes:
        size = 2 if frame[1] < 126 else 4
        payload = zlib.decompressobj(-15).decompress(frame[size:] + TAIL)
        data = made.compress(payload) + made.flush(zlib.Z_SYNC_FLUSH)
        return packed(frame[0], data[: -len(TAIL)])

    return reply


def test_a_window_is_kept_unless_the_server_has_agreed_to_forget_it() -> None:
    assert loaded(served(COMPRESSED, reply=keeping()), COMPRESSED).messages > 1
    forgetting = agreeing("; server_no_context_takeover")
    server = served(COMPRESSED, reply=keeping(), head=forgetting)
    assert "the reply is wrong" in complaint(server, COMPRESSED)
    assert loaded(served(COMPRESSED, head=forgetting), COMPRESSED).messages > 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda head: b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (lambda head: head.replace(b"accept: ", b"accept: x"), "was answered with"),
        (lambda head: b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 1000, "was answered with"),
        (lambda head: b"", "timed out"),
        (lambda head: head, "does not compress"),
        (agreeing("; client_max_window_bits=11"), "less than the 12"),
    ],
)
def test_a_wrong_handshake_is_an_error(answer: Callable[[bytes], bytes], expected: str) -> None:
    assert expected in complaint(Server(head=answer), COMPRESSED)


def test_an_extension_that_nobody_offered_is_an_error() -> None:
    assert "which nobody offered" in complaint(Server(head=agreeing()))


def test_the_handshake_says_whether_the_window_is_kept() -> None:
    head = b"HTTP/1.1 101 x\r\nSEC-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    field = b'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="12"'
    assert checked(head + field, deflate=True)
    assert not checked(head + field + b" ;server_no_context_takeover", deflate=True)


# TLS, and servers that are right


@pytest.mark.parametrize("words", ["transport=tls", "transport=tls deflate=1 kind=json"])
def test_an_echo_by_tls_is_counted(tmp_path: pathlib.Path, words: str) -> None:
    files = certificates.files(tmp_path)
    asked = ["echo", f"tls={files.certificate},{files.key}"]
    asked += ["deflate"] * ("deflate" in words)
    with serving(PEERS["reactor"], sys.executable, None, asked) as server:
        given = f"port={server.port} connections=3 inflight=2 size=20000 warmup=0 seconds=0.1"
        command = [*COMMAND, *given.split(), *words.split(), f"server={server.process.pid}"]
        done = subprocess.run(
            [*command, f"cafile={files.authority}"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        server.check()
    assert done.returncode == 0, done.stderr
    run = Run(**json.loads(done.stdout))
    assert run.messages > 0
    assert run.generator_cpu > 0
    assert run.server_cpu > 0


def test_a_certificate_that_nobody_trusts_is_an_error(tmp_path: pathlib.Path) -> None:
    files = certificates.files(tmp_path)
    other = tmp_path / "other.pem"
    other.write_bytes(programs.module("trustme").CA().cert_pem.bytes())
    asked = ["echo", f"tls={files.certificate},{files.key}"]
    with serving(PEERS["reactor"], sys.executable, None, asked) as server:
        words = f"port={server.port} transport=tls cafile={other}"
        with pytest.raises(FaultError, match="certificate verify failed"):
            Load(parse(words.split())).run()


# The command line


@pytest.mark.parametrize(
    "words",
    [
        "connections=1",
        "port=0",
        "port=x",
        "port=1 size",
        "port=1 kind=mixed",
        "port=1 colour=red",
        "port=1 deflate=2",
        "port=1 transport=tls",
        "port=1 connections=0",
        "port=1 size=7",
        "port=1 size=31 kind=json",
        "port=1 size=1048577",
        "port=1 seconds=-1",
        "port=1 seconds=nan",
        "port",
    ],
)
def test_words_that_are_not_understood_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(words.split())


def test_a_fault_and_a_wrong_word_have_a_status_of_their_own() -> None:
    with Server(reply=lambda number, frame: _twisted(frame)).listening() as port:
        wrong = subprocess.run(
            [*COMMAND, f"port={port}", f"server={os.getpid()}"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "load: connection 0, reply 0: the reply is wrong\n"
    unknown = subprocess.run(
        [*COMMAND, "port"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2
    assert "usage: load port=N" in unknown.stderr
