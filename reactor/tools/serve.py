"""`serve`: an echo server, with a page to try it from a browser.

`GET /` is the page and `GET /health` says "ok"; a WebSocket is accepted at any path, or at the
one that `--path` names.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import re
import sys
import time
from typing import TYPE_CHECKING, Union

from reactor import Connection, Response, Server
from reactor.logs import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reactor import Request

    Address = Union[str, tuple[str, int]]

_HOST, _PORT = "127.0.0.1", 8000
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONGEST = 120

HELP = "run an echo server, with a page to try it in a browser"

log = logging.getLogger("reactor.tools.serve")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.description = (
        "Run a WebSocket echo server; a page to try it in a browser is at /. Ctrl-C ends it."
    )
    add = parser.add_argument
    add("--host", default=_HOST, help="address to listen on; '' for all (default: %(default)s)")
    add("--port", default=_PORT, type=port, help="TCP port; 0 for any (default: %(default)s)")
    add("--unix", metavar="FILE", help="listen on a unix socket, not on a host and port")
    add("--path", type=path, help="accept WebSockets at this path only (default: at any)")
    add(
        "--max-message",
        metavar="SIZE",
        default="1M",
        type=size,
        help="largest message accepted, in bytes or as 64K, 32M, 1G (default: %(default)s)",
    )
    add(
        "--ping-interval",
        metavar="SECONDS",
        default="20",
        type=seconds,
        help="ping a client that was silent for so long; 0 for never (default: %(default)s)",
    )
    add(
        "--log-level",
        metavar="LEVEL",
        default="INFO",
        type=str.upper,
        choices=_LEVELS,
        help="DEBUG (each message), INFO, WARNING or ERROR (default: %(default)s)",
    )


def port(text: str) -> int:
    """Return the TCP port that `text` names; 0 to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def path(text: str) -> str:
    """Return `text` if it can be the path of a request."""
    if not re.fullmatch(r"/[^?#%{}\s]*", text):
        raise argparse.ArgumentTypeError(
            f"a path begins with / and has no space and none of ?#%{{}}, unlike {text!r}"
        )
    return text


def size(text: str) -> int:
    """Return the bytes that `text` stands for: `65536` and `64K` are the same."""
    match = re.fullmatch(r"([0-9]{1,18})([KMG]?)", text.upper())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"a size is bytes, or a number with K, M or G, and above 0, not {text!r}"
        )
    return int(match[1]) * _UNITS[match[2]]


def seconds(text: str) -> float:
    """Return the seconds that `text` stands for: 0 or more, and finite."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"seconds are a number from 0 up, not {text!r}")
    return number


def shown(text: str) -> str:
    """Return a peer's text for the log: quoted, unprintable characters escaped, cut."""
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}..."


class Visit:
    """What the log tells about a connection when it ends."""

    __slots__ = ("began", "messages")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.messages = 0


class EchoServer(Server):
    """Send each message back, answer with the page at `/`, and log what happens.

    Args:
        address: What `Server` takes.
        path: The only path at which a WebSocket is accepted; None accepts any.
        max_message: The largest message accepted, in bytes.
        ping_interval: Seconds of silence before a ping; None sends none.
    """

    def __init__(
        self,
        address: Address,
        path: str | None = None,
        max_message: int = 1 << 20,
        ping_interval: float | None = 20,
    ) -> None:
        super().__init__(
            address,
            locations=None if path is None else [path],
            max_message=max_message,
            ping_interval=ping_interval,
        )
        self.path = path or "/"
        self.pages = {"/": page(self.path), "/health": Response(200, body="ok")}

    def onrequest(self, request: Request) -> Response | None:
        """Answer what asks for no WebSocket: the page at `/`, "ok" at `/health`."""
        upgrade = ",".join(request.headers.get_all("Upgrade")).lower()
        if "websocket" in upgrade or request.method not in ("GET", "HEAD"):
            return None
        return self.pages.get(request.path)

    def onopen(self, client: Connection) -> None:
        """Log who has come, and where to."""
        client.data = Visit()
        assert client.request is not None
        log.info("open %s %s", place(client.address), shown(client.request.target))

    def onmessage(self, client: Connection, message: str | bytes) -> None:
        """Send `message` back."""
        client.data.messages += 1
        if log.isEnabledFor(logging.DEBUG):
            kind, data = (
                ("text", message.encode()) if isinstance(message, str) else ("binary", message)
            )
            log.debug("message %s %s, %d bytes", place(client.address), kind, len(data))
        client.send(message)

    def onclose(self, client: Connection, code: int, reason: str) -> None:
        """Log how the connection ended."""
        visit = client.data
        log.info(
            "close %s %d %s after %.1f s, messages: %d",
            place(client.address),
            code,
            shown(reason),
            time.monotonic() - visit.began,
            visit.messages,
        )

    def onerror(self, client: Connection, error: Exception) -> None:
        """Log what went wrong; `onclose` follows."""
        text = shown(str(error))
        log.warning("error %s %s: %s", place(client.address), type(error).__name__, text)


def page(path: str) -> Response:
    """Return the response that shows the page, whose default address is at `path`."""
    import base64
    import hashlib
    import html
    import pkgutil

    # Through the loader, which finds it in a zipped package as well.
    source = pkgutil.get_data("reactor.tools", "page.html")
    assert source is not None, "the loader of reactor.tools cannot read files"
    # A browser hashes the text with its line ends made \n, whatever a checkout made of them.
    source = source.replace(b"\r\n", b"\n")
    policy = ["default-src 'none'", "connect-src ws: wss:", "img-src data:"]
    for name in ("script", "style"):
        inline = source.split(f"<{name}>".encode(), 1)[1].split(f"</{name}>".encode(), 1)[0]
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        policy.append(f"{name}-src 'sha256-{digest}'")
    policy += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    body = source.replace(b'data-path="/"', f'data-path="{html.escape(path)}"'.encode())
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(200, headers, body)


def announce(server: EchoServer) -> None:
    """Print where the server listens, one line for each address."""
    for address in server.addresses:
        where = place(address)
        if isinstance(address, tuple):
            line = f"http://{where}/ (WebSocket: ws://{where}{server.path})"
        else:
            line = where
        print(f"listening on {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Print the package's log on stderr while the context lasts."""
    logger = logging.getLogger("reactor")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    )
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it; return the exit status."""
    address: Address = arguments.unix or (arguments.host, arguments.port)
    try:
        server = EchoServer(
            address,
            path=arguments.path,
            max_message=arguments.max_message,
            ping_interval=arguments.ping_interval or None,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"cannot listen on {place(address)}: {reason}", file=sys.stderr)
        return 1
    with logging_to_stderr(arguments.log_level):
        # In the first step, when the signals' handlers stand: who reads the line may send one.
        server.reactor.call_soon(announce, server)
        try:
            server.run()
        except KeyboardInterrupt:
            # Before the handlers stood, or a second one while a callback did not return.
            log.warning("interrupted: the connections are dropped")
        finally:
            server.close()
    return 0
