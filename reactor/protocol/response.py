"""Read a server's HTTP response, as far as a WebSocket client needs it (RFC 9112 §4, §6, §7).

Facts: behind the head of a 101 come frames, and nothing of its length fields counts. Behind any
other head comes a body, which often says why: a client that shows it spares its user the
server's log. A body can be endless.

So: 64 KiB of the body are kept, and then it is enough; a body that is broken off or malformed
ends where it does, for the status has said what matters.
"""

from __future__ import annotations

from ..errors import HandshakeError
from .http import HeadReader, parse_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .http import Headers
    from .uri import URI

MAX_BODY = 64 * 1024
# Responses that only announce another, as in 103 Early Hints (RFC 9110 §15.2).
_MAX_INTERIM = 8


class Reply:
    """A server's response.

    Args:
        head: All before the empty line.
        body: Where what comes of its body is collected.

    Attributes:
        status: As in 101.
        reason: The words behind it, for people.
        version: The minor version of HTTP: 0 or 1.
        headers: Its fields.
        uri: What was asked, after all redirects; set by the client.

    Raises:
        HandshakeError: It is not a response, by the letter; its status is 0.
    """

    __slots__ = ("_body", "headers", "reason", "status", "uri", "version")

    def __init__(self, head: bytes, body: bytes | bytearray = b"") -> None:
        try:
            line, self.headers = parse_head(head)
        except HandshakeError as error:
            raise _not_http(error.reason) from None
        version, _, rest = line.partition(" ")
        status, _, self.reason = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not _is_status(status):
            raise _not_http(_NO_STATUS_LINE)
        self.status = int(status)
        self.version = int(version[-1])
        self.uri: URI | None = None
        self._body = body

    @property
    def body(self) -> bytes:
        """What has come of its body, at most 64 KiB; empty for a 101."""
        return bytes(self._body[:MAX_BODY])

    @property
    def words(self) -> str:
        """The reason, to be quoted: it can be long, and hold what a terminal obeys."""
        return " ".join(self.reason[:100].encode("ascii", "replace").decode().split())

    def __repr__(self) -> str:
        """Return status and reason."""
        return f"<Reply {self.status} {self.reason!r}>"


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "12345"


def _not_http(reason: str) -> HandshakeError:
    return HandshakeError(0, f"the answer is not an HTTP response: {reason}")


class ReplyReader:
    """Collect a response: its head, and of its body at most 64 KiB.

    Attributes:
        reply: The response, as soon as its head is whole.
        rest: What has come behind a 101.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_chunked",
        "_closing",
        "_head",
        "_interim",
        "_left",
        "_line",
        "reply",
        "rest",
    )

    def __init__(self) -> None:
        self._head = HeadReader()
        self._begun = b""
        self._interim = 0
        self._body = bytearray()
        self._chunked = False
        # Bytes of the body, or of a chunk, to come; whether the next line ends a chunk.
        self._left = 0
        self._closing = False
        self._line = bytearray()
        self.reply: Reply | None = None
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes.

        Returns:
            Whether that is all of the response, or as much of it as is wanted.

        Raises:
            HandshakeError: It is not a response, by the letter.
        """
        while self.reply is None:
            whole = self._read(data)
            if whole is None:
                return False
            head, data = whole
            self._head_ended(Reply(head, self._body))
        if self.reply.status == 101:
            self.rest += data
            return True
        ended = self._chunks(data) if self._chunked else self._plain(data)
        return ended or len(self._body) >= MAX_BODY

    def _read(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return a head and what follows it, if it is whole."""
        try:
            whole = self._head.feed(data)
        except HandshakeError as error:
            raise _not_http(error.reason.replace("request", "response")) from None
        if whole is None:
            # Others greet and then wait, as SSH and SMTP do: no empty line will ever come.
            self._begun += data[: len(_HTTP) - len(self._begun)]
            if not _HTTP.startswith(self._begun):
                raise _not_http(_NO_STATUS_LINE)
        return whole

    def _head_ended(self, reply: Reply) -> None:
        self._head = HeadReader()  # the old one holds all that came with the head
        if reply.status < 200 and reply.status != 101:
            # "A client MUST be able to parse one or more 1xx responses received prior to a
            # final response" (RFC 9110 §15.2).
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise _not_http(f"over {_MAX_INTERIM} interim responses")
            self._begun = b""
            return
        self.reply = reply
        length = _body_length(reply.status, reply.headers)
        self._chunked = length is None
        self._left = length or 0

    def _plain(self, data: bytes) -> bool:
        self._body += data[: self._left]
        self._left -= min(len(data), self._left)
        return not self._left

    def _chunks(self, data: bytes) -> bool:
        """Take what is chunked (RFC 9112 §7.1); return whether the last chunk has come."""
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._body += part
                self._left -= len(part)
                at += len(part)
                continue
            feed = data.find(b"\n", at)
            end = len(data) if feed < 0 else feed + 1
            self._line += data[at:end]
            at = end
            if len(self._line) > _MAX_SIZE_LINE:
                return True
            if feed >= 0 and self._line_ended():
                return True
        return False

    def _line_ended(self) -> bool:
        """Take the line before or behind a chunk; return whether no chunk follows it."""
        line = bytes(self._line).strip()
        self._line.clear()
        if self._closing:
            self._closing = False
            return bool(line)
        size = line.partition(b";")[0].rstrip()
        if not size or size.strip(b"0123456789abcdefABCDEF") or len(size) > 16:
            return True
        self._left = int(size, 16)
        self._closing = True
        return not self._left


_HTTP = b"HTTP/1."
_NO_STATUS_LINE = "no status line of HTTP/1.1 (RFC 9112 §4)"
_MAX_SIZE_LINE = 4096


def _body_length(status: int, headers: Headers) -> int | None:
    """Return how long the body is at most, or `None` if it is chunked (RFC 9112 §6.3)."""
    if status in (204, 304):
        return 0
    # "If a Transfer-Encoding header field is present in a response and the chunked transfer
    # coding is not the final encoding, the message body length is determined by reading the
    # connection until it is closed by the server."
    codings = ",".join(headers.get_all("Transfer-Encoding")).lower().split(",")
    names = [coding.strip(" \t") for coding in codings if coding.strip(" \t")]
    if names:
        return None if names[-1] == "chunked" else MAX_BODY
    length = headers.get("Content-Length", "")
    if length and length.isascii() and length.isdigit() and len(length) < 19:
        return int(length)
    return MAX_BODY  # up to the connection's end
