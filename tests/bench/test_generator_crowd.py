"""The load generator overlooks nothing: one message to many, connections without messages."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Callable

import pytest

from .driving import complaint, load
from .faulty_server import CLOSE, Crowd

if TYPE_CHECKING:
    import socket
    from pathlib import Path

FAN = "fan-4x32t"


def test_every_delivery_of_a_message_to_all_is_counted(program: Path) -> None:
    server = Crowd()
    with server.listening() as port:
        run = load(program, port, FAN, seconds=0.2)
    assert len(server.receivers) == 4
    assert len(set(server.payloads)) == len(server.payloads) > 2
    # Those of the first are the warm-up, and those of the last may come when the time is over.
    assert 4 * len(server.payloads) - 8 <= run.messages < 4 * len(server.payloads)
    assert 0 < run.p50 <= run.p99
    assert server.closes == [b"\x03\xe8"] * 4


def test_the_next_message_leaves_when_all_have_the_one_before(program: Path) -> None:
    ready: list[list[socket.socket]] = []

    def wait(number: int, sender: socket.socket) -> None:
        if number < 3:
            ready.append(select.select([sender], [], [], 0.05)[0])

    server = Crowd(before_last=wait)
    with server.listening() as port:
        load(program, port, FAN, seconds=0.3)
    assert ready == [[]] * 3


@pytest.mark.parametrize("receiver", range(4))
def test_a_wrong_bit_in_one_delivery_is_an_error(program: Path, receiver: int) -> None:
    server = Crowd(
        delivery=lambda number, to, frame: (
            frame[:-1] + bytes((frame[-1] ^ 1,)) if (number, to) == (3, receiver) else frame
        )
    )
    assert "reply 3: the reply is wrong" in complaint(program, server, FAN)


@pytest.mark.parametrize("receiver", range(4))
def test_a_missing_delivery_is_an_error(program: Path, receiver: int) -> None:
    server = Crowd(
        delivery=lambda number, to, frame: b"" if (number, to) == (3, receiver) else frame
    )
    assert "1 deliveries are missing" in complaint(program, server, FAN, seconds=0.2)


def test_the_message_before_delivered_again_is_an_error(program: Path) -> None:
    sent: list[bytes] = []

    def again(number: int, to: int, frame: bytes) -> bytes:
        sent.append(frame)
        return sent[0] if (number, to) == (3, 2) else frame

    assert "reply 3: the reply is wrong" in complaint(program, Crowd(delivery=again), FAN)


def test_a_delivery_that_comes_twice_is_an_error(program: Path) -> None:
    server = Crowd(
        delivery=lambda number, to, frame: frame * 2 if (number, to) == (3, 1) else frame
    )
    said = complaint(program, server, FAN)
    assert "an extra reply came" in said or "reply 4: the reply is wrong" in said


def test_a_connection_that_shakes_hands_closes_and_ends_is_counted(program: Path) -> None:
    server = Crowd()
    with server.listening() as port:
        run = load(program, port, "conn-3", seconds=0.3)
    assert 0 < run.messages <= len(server.closes) == len(server.receivers)
    assert len(server.closes) - run.messages <= 3
    assert set(server.closes) == {b"\x03\xe8"}
    assert server.payloads == []
    assert 0 < run.p50 <= run.p99


def test_one_connection_at_a_time_is_one_at_a_time(program: Path) -> None:
    open_now: list[int] = []
    server = Crowd()

    def count(connection: int) -> bytes:
        open_now.append(len(server.receivers) - connection)
        return CLOSE

    server.leave = count
    with server.listening() as port:
        load(program, port, "conn-1", seconds=0.2)
    assert open_now == [1] * len(server.closes)


def test_connections_come_from_many_addresses_so_that_no_port_is_used_again_soon(
    program: Path,
) -> None:
    server = Crowd()
    with server.listening() as port:
        load(program, port, "conn-2", seconds=0.5)
    assert len(server.sources) > 20
    assert len(set(server.sources[:20])) == 20


FAULTS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "no Close frame": (lambda number: b"", "without a Close frame"),
    "another code": (lambda number: b"\x88\x02\x03\xe9", "with another code"),
    "no code": (lambda number: b"\x88\x00", "with another code"),
    "more behind it": (lambda number: CLOSE + b"x", "1 bytes came after the Close frame"),
    "a message before it": (lambda number: b"\x81\x02hi" + CLOSE, "an extra reply came"),
    "half of it": (lambda number: CLOSE[:3], "without a Close frame"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_is_an_error_if_the_close_is_answered_by(
    program: Path, fault: str
) -> None:
    wrong, expected = FAULTS[fault]
    server = Crowd(leave=lambda number: wrong(number) if number == 5 else CLOSE)
    assert expected in complaint(program, server, "conn-2")


def test_a_connection_that_the_server_leaves_open_is_an_error(program: Path) -> None:
    said = complaint(program, Crowd(stays=True), "conn-2", seconds=0.1)
    assert "2 ends of connections are missing" in said


def test_a_connection_whose_handshake_fails_is_an_error(program: Path) -> None:
    heads: list[bytes] = []

    def refuse(head: bytes) -> bytes:
        heads.append(head)
        return b"HTTP/1.1 503 Busy\r\n\r\n" if len(heads) == 5 else head

    assert '"HTTP/1.1 503 Busy"' in complaint(program, Crowd(head=refuse), "conn-2")


def test_a_connection_that_ends_with_the_handshake_is_an_error(program: Path) -> None:
    server = Crowd()
    server.head = lambda head: head + CLOSE
    said = complaint(program, server, "conn-1")
    assert "the server closed the connection" in said or "came after the Close frame" in said
