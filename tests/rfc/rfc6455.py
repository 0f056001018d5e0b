"""The examples that RFC 6455 itself gives, as bytes: (name, hex, meaning)."""

from __future__ import annotations

# §5.7. The meaning is what each frame says: first byte, masking key, payload.
FRAMES: list[tuple[str, str, list[tuple[int, str, bytes]]]] = [
    (
        "a single-frame unmasked text message",
        "81 05 48 65 6c 6c 6f",
        [(0x81, "", b"Hello")],
    ),
    (
        "a single-frame masked text message",
        "81 85 37 fa 21 3d 7f 9f 4d 51 58",
        [(0x81, "37 fa 21 3d", b"Hello")],
    ),
    (
        "a fragmented unmasked text message",
        "01 03 48 65 6c 80 02 6c 6f",
        [(0x01, "", b"Hel"), (0x80, "", b"lo")],
    ),
    (
        "an unmasked ping",
        "89 05 48 65 6c 6c 6f",
        [(0x89, "", b"Hello")],
    ),
    (
        "the masked pong that answers it",
        "8a 85 37 fa 21 3d 7f 9f 4d 51 58",
        [(0x8A, "37 fa 21 3d", b"Hello")],
    ),
    (
        "256 bytes of binary in a single unmasked frame",
        "82 7e 01 00" + 256 * "ab",
        [(0x82, "", 256 * b"\xab")],
    ),
    (
        "64 KiB of binary in a single unmasked frame",
        "82 7f 00 00 00 00 00 01 00 00" + 65536 * "cd",
        [(0x82, "", 65536 * b"\xcd")],
    ),
]

# §1.3: name, Sec-WebSocket-Key, SHA-1 of the key and the GUID, Sec-WebSocket-Accept.
HANDSHAKES: list[tuple[str, str, str, str]] = [
    (
        "the key of the overview",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "b3 7a 4f 2c c0 62 4f 16 90 f6 46 06 cf 38 59 45 b2 be c4 ea",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ),
]

# §4.1: a nonce, and the Sec-WebSocket-Key that it becomes. The text of 2011 ends it in "EC==",
# which sets bits that base64 has to leave zero: erratum 3150.
NONCE = ("01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10", "AQIDBAUGBwgJCgsMDQ4PEA==")

# §1.2 and §1.3: a request, and the answer to it.
REQUEST = (
    b"GET /chat HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"\r\n"
)
