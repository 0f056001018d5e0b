"""The load generator overlooks nothing that comes back: echo."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Callable

import pytest

from .driving import complaint, load
from .faulty_server import CLOSE, PING, Server
from .generator import FaultError
from .peers import PEERS
from .processes import cores, serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["t", "b", "u"])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 125, 126, 65535, 65536])
def test_a_right_echo_of_any_length_is_counted(program: Path, size: int, kind: str) -> None:
    server = Server()
    with server.listening() as port:
        run = load(program, port, f"pipe-1x3x{size}{kind}")
    assert 0 < run.messages <= len(server.payloads)
    assert run.rate == pytest.approx(run.messages / run.seconds, rel=0.01)
    assert 0 < run.p50 <= run.p99
    assert {len(payload) for payload in server.payloads} == {size}


@pytest.mark.parametrize("size", [*range(1, 30), 1000])
def test_mixed_text_is_text_of_any_length(program: Path, size: int) -> None:
    server = Server()
    with server.listening() as port:
        load(program, port, f"rtt-{size}u", seconds=0.01)
    for payload in server.payloads:
        assert {len(letter.encode()) for letter in payload.decode()} <= {1, 2, 3, 4}
        assert len(payload) == size


def test_mixed_text_is_of_characters_of_1_to_4_bytes_in_equal_shares(program: Path) -> None:
    server = Server()
    with server.listening() as port:
        load(program, port, "rtt-64ku")
    sizes = [len(letter.encode()) for letter in server.payloads[0].decode()]
    assert len(set(server.payloads[0].decode())) > 1000
    for size in (1, 2, 3, 4):
        assert sizes.count(size) == pytest.approx(len(sizes) / 4, rel=0.01)


def test_every_frame_has_a_key_of_its_own_and_every_message_is_another(program: Path) -> None:
    server = Server()
    with server.listening() as port:
        load(program, port, seconds=0.3)
    assert len(server.payloads) > 20
    assert len(set(server.payloads)) == len(server.payloads)
    # Keys are random: two of some thousand may be alike by chance, once in a thousand runs.
    assert len(set(server.keys)) >= len(server.keys) - 1
    assert all(payload.isascii() for payload in server.payloads)


def test_replies_may_come_in_pieces(program: Path) -> None:
    server = Server(one_by_one=True)
    with server.listening() as port:
        assert load(program, port, "pipe-1x4x32b").messages > 0


def test_nothing_is_counted_before_every_connection_has_had_a_reply(program: Path) -> None:
    def slow_at_first(number: int, frame: bytes) -> bytes:
        if number == 0:
            time.sleep(0.5)  # a slow server: what it makes the generator do is looked at
        return frame

    server = Server(reply=slow_at_first)
    with server.listening() as port:
        run = load(program, port, seconds=0.05)
    assert run.p99 < 0.5
    assert run.seconds < 0.5
    assert run.messages < len(server.payloads)


def test_a_ping_between_replies_is_answered_and_not_counted(program: Path) -> None:
    server = Server(reply=lambda number, frame: PING + frame)
    with server.listening() as port:
        load(program, port)
    assert server.pongs == [b"abc"] * len(server.payloads)


def _twisted(frame: bytes) -> bytes:
    return frame[:-1] + bytes((frame[-1] ^ 1,))


WRONG_REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "its last bit is wrong": _twisted,
    "its tag is wrong": lambda frame: frame[:4] + b"!" + frame[5:],
    "it is binary instead of text": lambda frame: b"\x82" + frame[1:],
    "it is not final": lambda frame: b"\x01" + frame[1:],
    "it is masked": lambda frame: frame[:1] + b"\xa0\0\0\0\0" + frame[2:],
    "its length takes more bytes than needed": lambda frame: b"\x81\x7e\0" + frame[1:],
    "it is a byte short": lambda frame: b"\x81\x1f" + frame[2:-1],
    "it is a byte long": lambda frame: b"\x81\x21" + frame[2:] + b"x",
}


@pytest.mark.parametrize("fault", WRONG_REPLIES)
@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "bytes"])
def test_a_reply_is_an_error_if(program: Path, fault: str, one_by_one: bool) -> None:
    twist = WRONG_REPLIES[fault]
    server = Server(
        reply=lambda number, frame: twist(frame) if number == 5 else frame,
        one_by_one=one_by_one,
    )
    said = complaint(program, server, "pipe-1x2x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_wrong_last_bit_of_a_large_reply_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: _twisted(frame) if number == 1 else frame)
    said = complaint(program, server, "rtt-1mb")
    assert "reply 1: the reply is wrong" in said


def test_a_reply_left_out_among_others_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: b"" if number == 5 else frame)
    said = complaint(program, server, "pipe-1x4x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_missing_reply_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: b"" if number == 1 else frame)
    said = complaint(program, server, seconds=0.2)
    assert "1 replies are missing" in said


def test_replies_in_another_order_are_an_error(program: Path) -> None:
    held: list[bytes] = []

    def swap(number: int, frame: bytes) -> bytes:
        if number == 5:
            held.append(frame)
            return b""
        return frame + held.pop() if number == 6 else frame

    said = complaint(program, Server(reply=swap), "pipe-1x4x32t")
    assert "reply 5: the reply is wrong" in said


def test_a_reply_that_comes_twice_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: frame * 2 if number == 5 else frame)
    said = complaint(program, server)
    assert "an extra reply came" in said or "the reply is wrong" in said


def test_a_reply_too_many_at_the_end_is_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=b"\x81\x02hi" + CLOSE), seconds=0.05)
    assert "an extra reply came" in said


def test_a_message_before_the_first_is_an_error(program: Path) -> None:
    said = complaint(program, Server(head=lambda head: head + b"\x81\x02hi"))
    assert "an extra reply came" in said


def test_a_server_that_closes_by_itself_is_an_error(program: Path) -> None:
    server = Server(reply=lambda number, frame: CLOSE if number == 5 else frame)
    said = complaint(program, server)
    assert "the server closed" in said


def test_an_end_without_a_close_frame_is_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=b""), seconds=0.05)
    assert "without a Close frame" in said


def test_a_close_that_is_answered_with_another_code_is_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=b"\x88\x02\x03\xe9"), seconds=0.05)
    assert "with another code" in said


def test_bytes_after_the_close_frame_are_an_error(program: Path) -> None:
    said = complaint(program, Server(farewell=CLOSE + b"x"), seconds=0.05)
    assert "1 bytes came after the Close frame" in said


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", '"HTTP/1.1 400 Bad Request"'),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "without Sec-WebSocket-Accept"),
        (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: no\r\n\r\n", "without Sec-WebSocket-Accept"),
        (b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 1000, "no end within 4096 bytes"),
        (b"", "1 of 1 handshakes are still unanswered"),
    ],
)
def test_a_wrong_handshake_is_an_error(program: Path, answer: bytes, expected: str) -> None:
    said = complaint(program, Server(head=lambda head: answer))
    assert expected in said


def test_the_ceiling_echoes_what_was_sent_mask_and_all(program: Path) -> None:
    with serving(PEERS["selectors"], sys.executable, cores()[0]) as server:
        assert load(program, server.port, "pipe-3x4x64kb", raw=True).messages > 0
        with pytest.raises(FaultError, match="wrong"):
            load(program, server.port)


def test_an_unknown_argument_of_the_generator_is_refused(program: Path) -> None:
    for words in (
        *(["port=0"], ["port=x"], ["size"], ["kind=json"], ["colour=red"], ["connections=-1"]),
        *(["port=1", "load=all"], ["port=1", "load=fan", "inflight=2"], ["port=1", "echo="]),
    ):
        done = subprocess.run([str(program), *words], capture_output=True, check=False)
        assert done.returncode == 2, words
