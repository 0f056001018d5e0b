"""Heads of requests, as clients send them."""

from __future__ import annotations

# RFC 6455 §1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def head(
    target: str = "/",
    *more: str,
    method: str = "GET",
    version: str = "HTTP/1.1",
    without: str = "",
    **changes: str,
) -> bytes:
    """A request's head; `changes` by names with underscores for hyphens, `more` as lines."""
    fields = {name: value for name, value in FIELDS.items() if name != without}
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{method} {target} {version}", *(f"{n}: {v}" for n, v in fields.items()), *more]
    return "\r\n".join(lines).encode("latin-1")
