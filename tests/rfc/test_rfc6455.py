"""The examples of RFC 6455, against the whole bytes wing."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from reactor.errors import HandshakeError
from reactor.protocol.frames import Frame, pack_header
from reactor.protocol.handshake import Request, ServerPolicy, accept, accept_key
from reactor.protocol.http import Headers, HeadReader

from ..protocol.recorder import Recorder, byte_by_byte
from .rfc6455 import FRAMES, HANDSHAKES, NONCE, REQUEST, RESPONSE

if TYPE_CHECKING:
    from ..protocol.recorder import Event

EXAMPLES = pytest.mark.parametrize(
    ("data", "frames"),
    [(bytes.fromhex(digits), frames) for _, digits, frames in FRAMES],
    ids=[name for name, _, _ in FRAMES],
)


def meaning(frames: list[tuple[int, str, bytes]]) -> list[Event]:
    """Return what a session says of these frames, if they are a message or a control frame."""
    head, payload = frames[0][0], b"".join(payload for _, _, payload in frames)
    if head & 0x0F == 0xA:
        return [("pong", payload)]
    if head & 0x0F == 0x9:
        return [("ping", payload), ("sent", 0x8A, payload)]
    return [("message", payload.decode() if head & 0x0F == 1 else payload)]


@EXAMPLES
def test_the_examples_are_understood(data: bytes, frames: list[tuple[int, str, bytes]]) -> None:
    # An example without masking comes from a server: we are the client.
    is_client = not frames[0][1]
    pieces = byte_by_byte(data) if len(data) < 1000 else [data[:7], data[7:]]
    for cut in ([data], pieces):
        recorder = Recorder(client=is_client, echo=False)
        for piece in cut:
            recorder.feed(piece)
        assert recorder.events == meaning(frames)


@EXAMPLES
def test_the_examples_are_packed(data: bytes, frames: list[tuple[int, str, bytes]]) -> None:
    packed = b""
    for head, key, payload in frames:
        frame = Frame(head & 0x0F, payload, fin=head >= 0x80, masking_key=bytes.fromhex(key))
        assert frame.head == head
        assert frame.pack().startswith(pack_header(head, len(payload), 0x80 if key else 0))
        packed += frame.pack()
    assert packed == data


@pytest.mark.parametrize(
    ("key", "digest", "accepted"),
    [row[1:] for row in HANDSHAKES],
    ids=[row[0] for row in HANDSHAKES],
)
def test_the_example_of_the_key_is_answered(key: str, digest: str, accepted: str) -> None:
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert hashlib.sha1(key.encode() + guid).digest() == bytes.fromhex(digest)
    assert accept_key(key) == base64.b64encode(bytes.fromhex(digest)).decode() == accepted


def test_the_example_of_the_handshake_is_answered_as_there() -> None:
    head, rest = HeadReader().feed(REQUEST) or (b"", b"incomplete")
    assert rest == b""
    request = Request(head)
    policy = ServerPolicy(["chat"], origins=["http://example.com"])
    policy.check(request)
    subprotocol = policy.subprotocol(request)
    assert accept(request, subprotocol, Headers()) == RESPONSE


def test_the_nonce_of_section_4_1_is_accepted_as_the_erratum_spells_it() -> None:
    nonce, key = NONCE
    assert base64.b64encode(bytes.fromhex(nonce)).decode() == key
    theirs = b"dGhlIHNhbXBsZSBub25jZQ=="
    good = REQUEST.replace(theirs, key.encode()).replace(b"\r\n\r\n", b"")
    policy = ServerPolicy(origins=None)
    policy.check(Request(good))
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Key"):
        policy.check(Request(good.replace(b"4PEA==", b"4PEC==")))
