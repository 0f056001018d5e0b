from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import PEERS, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import EchoServer

pytestmark = pytest.mark.interop

# Both sides of where the form of a frame's length changes; the last is the server's limit.
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 1 << 20)

every_peer = pytest.mark.parametrize("kind", PEERS)
every_peer_that_can_fragment = pytest.mark.parametrize(
    "kind", [kind for kind in PEERS if kind.can_fragment]
)


@contextlib.contextmanager
def connected(kind: type[Peer], server: EchoServer) -> Iterator[Peer]:
    peer = kind(server.url)
    try:
        yield peer
    finally:
        peer.release()


def close_well(peer: Peer, server: EchoServer) -> None:
    assert peer.close(1000, "") == 1000
    assert server.closed() == (1000, "")


def text_of(size: int) -> str:
    """Return a text of `size` bytes, with characters of one to four bytes."""
    text = ("aé☃😀" * (size // 10 + 1)).encode()[:size].decode(errors="ignore")
    return text + "." * (size - len(text.encode()))


@every_peer
def test_text_of_every_length_form_comes_back(kind: type[Peer], server: EchoServer) -> None:
    with connected(kind, server) as peer:
        for size in SIZES:
            message = text_of(size)
            peer.send(message)
            assert peer.receive() == message
        close_well(peer, server)


@every_peer
def test_binary_of_every_length_form_comes_back(kind: type[Peer], server: EchoServer) -> None:
    with connected(kind, server) as peer:
        for size in SIZES:
            message = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
            peer.send(message)
            assert peer.receive() == message
        close_well(peer, server)


@every_peer
def test_a_burst_comes_back_in_order(kind: type[Peer], server: EchoServer) -> None:
    with connected(kind, server) as peer:
        messages = [text_of(number) for number in range(200)]
        for message in messages:
            peer.send(message)
        assert [peer.receive() for _ in messages] == messages
        close_well(peer, server)


@every_peer_that_can_fragment
def test_fragments_come_back_as_one_message(kind: type[Peer], server: EchoServer) -> None:
    with connected(kind, server) as peer:
        for texts in (["one ", "", "snów☃", "ball"], ["", ""], [text_of(65536), "and more"]):
            peer.send_fragments(texts)
            assert peer.receive() == "".join(texts)
        data = [b"\x00\xff", b"", b"\x80" * 200]
        peer.send_fragments(data)
        assert peer.receive() == b"".join(data)
        close_well(peer, server)


@every_peer
def test_a_ping_is_answered_with_its_payload(kind: type[Peer], server: EchoServer) -> None:
    with connected(kind, server) as peer:
        for payload in (b"once", b"\x00\xff" * 62, b"p" * 125):
            assert peer.ping(payload) == payload
        peer.send("and the messages go on")
        assert peer.receive() == "and the messages go on"
        close_well(peer, server)


@every_peer
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_close_arrives_with_code_and_reason_and_is_answered(
    kind: type[Peer], code: int, server: EchoServer
) -> None:
    with connected(kind, server) as peer:
        assert peer.close(code, "słowo") == code
        assert server.closed() == (code, "słowo")
