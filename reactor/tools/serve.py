"""`serve`: an echo server, with a page to try it from a browser.

`GET /` is the page and `GET /health` says "ok"; a WebSocket is accepted at any path, or at the
one that `--path` names.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Union

from reactor import Connection, Response, Server
from reactor.logs import place

from .options import path, port, seconds, size

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Iterator

    from reactor import Request

    Address = Union[str, tuple[str, int]]

_HOST, _PORT = "127.0.0.1", 8000
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
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
        "--tls-cert",
        metavar="FILE",
        help="serve https and wss: the certificate, and those that lead to a root, in PEM;"
        " SIGHUP has both files read again",
    )
    add("--tls-key", metavar="FILE", help="its private key, in PEM, without a passphrase")
    add(
        "--compress",
        action="store_true",
        help="compress messages for clients that offer permessage-deflate",
    )
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


def shown(text: str) -> str:
    """Return a peer's text for the log: quoted, unprintable characters escaped, cut."""
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}..."


def context(cert: str, key: str) -> ssl.SSLContext:
    """Return the TLS context that shows what these files hold; see `server_context`."""
    from reactor.loop.tls import server_context

    for name in (cert, key):
        with open(name, "rb"):
            pass  # OpenSSL would not say which of them is missing
    return server_context(cert, key)


def why(error: Exception) -> str:
    """Return what is wrong with an address or a file, in few words."""
    reason = getattr(error, "strerror", None) or error
    name = getattr(error, "filename", None)
    return f"{name}: {reason}" if name else str(reason)


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
        tls: The context to serve https and wss with; None serves http and ws.
        compress: Whether messages are compressed, for clients that offer that.
    """

    def __init__(
        self,
        address: Address,
        path: str | None = None,
        max_message: int = 1 << 20,
        ping_interval: float | None = 20,
        tls: ssl.SSLContext | None = None,
        compress: bool = False,
    ) -> None:
        super().__init__(
            address,
            tls=tls,
            compress=compress,
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
        if client.extensions:
            log.debug("agreed %s %s", place(client.address), client.extensions)

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
            s = "" if server.tls is None else "s"
            line = f"http{s}://{where}/ (WebSocket: ws{s}://{where}{server.path})"
        else:
            line = where if server.tls is None else f"{where} (TLS)"
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


@contextlib.contextmanager
def reloading(server: EchoServer, cert: str, key: str) -> Iterator[None]:
    """Have SIGHUP read the files of the certificate again while the context lasts.

    Each time they make a TLS context of their own. To load them into the one in use would leave
    it without its key when they are broken, and with both certificates when the new key is of
    another kind.
    """

    def reload() -> None:
        try:
            server.tls = context(cert, key)
        except (OSError, ValueError) as error:
            log.error("the certificate stays as it was: %s", why(error))
        else:
            log.info("the certificate is read again")

    def hung_up(number: int, frame: object) -> None:
        # Called between two instructions of whatever runs: it must not do more.
        if not server.reactor.closed:
            server.reactor.call_soon_threadsafe(reload)

    before = signal.signal(signal.SIGHUP, hung_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it; return the exit status."""
    cert, key = arguments.tls_cert, arguments.tls_key
    if (cert is None) != (key is None):
        print("--tls-cert and --tls-key need each other", file=sys.stderr)
        return 2
    address: Address = arguments.unix or (arguments.host, arguments.port)
    what = "use the certificate"
    try:
        tls = None if cert is None else context(cert, key)
        what = f"listen on {place(address)}"
        server = EchoServer(
            address,
            path=arguments.path,
            max_message=arguments.max_message,
            ping_interval=arguments.ping_interval or None,
            tls=tls,
            compress=arguments.compress,
        )
    except ImportError as error:  # there is no zlib
        print(f"cannot compress: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"cannot {what}: {why(error)}", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(logging_to_stderr(arguments.log_level))
        if tls is not None and hasattr(signal, "SIGHUP"):
            stack.enter_context(reloading(server, cert, key))
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
