"""What `connect` tells of a connection: as lines for people, or as JSON for programs.

Both write what is asked for to stdout. `LineReport` writes there the messages alone, so that a
pipe gets nothing else, and all that is about them to stderr.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from reactor import HandshakeError, Headers
from reactor.logs import place

from .stdio import visible

if TYPE_CHECKING:
    from typing import Any

    from reactor import Client

    from .stdio import Stream

_MOST_OF_A_BODY = 400


def text_of(error: Exception) -> str:
    """Return what `error` says, without the number that an `OSError` puts before it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if getattr(error, "reason", None) == "WRONG_VERSION_NUMBER":
        text = f"no TLS is spoken there: {text}"  # what came was no record of TLS at all
    where = getattr(error, "filename", None)
    return f"{text}: {where}" if where else text


class Report:
    """What both kinds of report have in common: what is none of the connection's.

    Args:
        out: stdout.
        err: stderr.
    """

    def __init__(self, out: Stream, err: Stream) -> None:
        self.out = out
        self.err = err

    def warning(self, text: str) -> None:
        """Say something that is about this program."""
        self.err.line(visible(text))

    def opened(self, client: Client) -> None:
        """The connection is open."""

    def message(self, message: str | bytes) -> None:
        """A message has come."""

    def ping(self, payload: bytes) -> None:
        """A ping has come."""

    def pong(self, payload: bytes) -> None:
        """A pong has come."""

    def error(self, error: Exception) -> None:
        """Something went wrong; `closed` follows."""

    def reconnecting(self, delay: float, attempt: int) -> None:
        """There will be another attempt."""

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The connection has ended, or an attempt has failed."""


class LineReport(Report):
    """A line on stdout for each message, binary ones in hexadecimal; the rest on stderr."""

    _said: tuple[str, ...] = ()

    def opened(self, client: Client) -> None:
        """Say where to, and what was agreed on."""
        words = ["connected", str(client.uri)]
        if client.tls is not None:
            words.append(str(client.tls.version()))
        if client.subprotocol is not None:
            words.append(f"subprotocol {client.subprotocol}")
        if client.extensions:
            words.append(f"extensions {client.extensions}")
        self.err.line(visible(" ".join(words)))

    def message(self, message: str | bytes) -> None:
        """Print it in one line."""
        self.out.line(visible(message) if isinstance(message, str) else f"0x{message.hex()}")

    def error(self, error: Exception) -> None:
        """Say what it was, and what a server has said of it."""
        self._said = (text_of(error), str(error))
        self.err.line(visible(f"error: {text_of(error)}"))
        if isinstance(error, HandshakeError) and error.body:
            body = error.body[:_MOST_OF_A_BODY].decode("utf-8", "replace").strip()
            self.err.line(visible(f"the server says: {body}"))

    def reconnecting(self, delay: float, attempt: int) -> None:
        """Say when."""
        self.err.line(f"reconnecting in {delay:.1f} s, attempt {attempt}")

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """Say how, but not twice why."""
        if reason in self._said:
            reason = ""
        self._said = ()
        self.err.line(visible(f"closed {code} {reason}".rstrip()))


class JsonReport(Report):
    """A JSON object in a line on stdout for each thing that happens."""

    def _event(self, name: str, **values: Any) -> None:
        # DEL is the one control character that JSON in ASCII leaves as it is.
        line = json.dumps({"event": name, **values}).replace("\x7f", "\\u007f")
        self.out.line(line)

    def opened(self, client: Client) -> None:
        """`open`: uri, address, subprotocol, extensions, tls, headers."""
        tls, response = client.tls, client.response
        assert response is not None
        self._event(
            "open",
            uri=str(client.uri),
            address=place(client.address),
            subprotocol=client.subprotocol,
            extensions=client.extensions,
            tls=tls and {"version": tls.version(), "cipher": (tls.cipher() or [None])[0]},
            headers=list(response.headers.items()),
        )

    def message(self, message: str | bytes) -> None:
        """`message`: text or binary."""
        if isinstance(message, str):
            self._event("message", text=message)
        else:
            self._event("message", binary=_base64(message))

    def ping(self, payload: bytes) -> None:
        """`ping`: payload."""
        self._event("ping", payload=_base64(payload))

    def pong(self, payload: bytes) -> None:
        """`pong`: payload."""
        self._event("pong", payload=_base64(payload))

    def error(self, error: Exception) -> None:
        """`error`: type, text; and status, headers, body, if a response has refused."""
        values: dict[str, Any] = {"type": type(error).__name__, "text": text_of(error)}
        if isinstance(error, HandshakeError):
            values["status"] = error.status
            values["headers"] = list(Headers(error.headers).items())
            values["body"] = _base64(error.body)
        self._event("error", **values)

    def reconnecting(self, delay: float, attempt: int) -> None:
        """`reconnecting`: delay, attempt."""
        self._event("reconnecting", delay=delay, attempt=attempt)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """`close`: code, reason, clean."""
        self._event("close", code=code, reason=reason, clean=clean)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
