"""`connect`: a client for a terminal or a pipe.

Each line of stdin is sent as a message, each message that comes is printed as a line, and all
of it happens in one reactor: stdin is one more descriptor in it. What is read is sent before
more is read, so a slow server holds up whoever writes into the pipe.

At the end of stdin everything sent is to be answered before the connection closes, and no
clock tells when that is. A server takes frames in order (RFC 6455 §5.4), so a ping goes out
behind the last line: its pong says that all before it has been taken in.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING

from reactor import Backoff, Client

from .options import (
    close_code,
    credentials,
    deadline,
    header,
    patience,
    seconds,
    size,
)
from .report import JsonReport, LineReport, text_of
from .stdio import Lines, Stream, descriptor

if TYPE_CHECKING:
    import ssl

    from .report import Report

# Going away and no code at all are how browsers and many servers end what is in order.
_CLEAN = (1000, 1001, 1005)

HELP = "send lines of stdin to a server and print what it sends"

DESCRIPTION = """\
Connect to a WebSocket server: each line of stdin is sent as a message, each
message that comes is printed as a line. What is about the connection goes to
stderr. Ctrl-D closes it when all is answered, and so does Ctrl-C at once; a
second Ctrl-C does not wait for the server.
"""

EPILOG = """\
In messages and wherever else the server has its say, what is not printable is
escaped, as in \\n or \\x1b; tabs stay. A binary message is printed as 0x and
hexadecimal digits. A line that is not UTF-8 is not sent, unless --binary is
given, and the exit status is 1.

At the end of stdin a ping is sent, and when its pong has come, the connection
closes: a server that answers in order has then answered all. For one that does
not, or that is only listened to, there is --wait.

--json prints a JSON object in a line of stdout for each thing that happens;
"event" is one of these, and binary data is in Base64:

  open          uri, address, subprotocol or null, extensions as the server
                has answered, headers of the response as [name, value] pairs,
                tls: null or version and cipher
  message       text, or binary
  ping, pong    payload
  error         type, text; and of a response that refuses status, headers,
                body
  close         code, reason, clean: whether both sides have sent their Close
  reconnecting  delay in seconds, attempt

exit status:
  0  closed cleanly, by us, or by the server with 1000, 1001 or no code
  1  refused, failed or lost; closed by the server with another code; or
     stdin or stdout failed
  2  the command line is wrong

examples:
  python3 -m reactor connect ws://localhost:8000/
  echo hello | python3 -m reactor connect wss://example.com/echo
  python3 -m reactor connect --json --wait inf wss://example.com/feed </dev/null
  python3 -m reactor connect --header "X-Key: 1" --auth me:pw ws://localhost/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "uri",
        metavar="URI",
        help="ws://, wss:// or ws+unix:///path/to.sock:/target; may hold user:password@",
    )
    _add_what_goes_through(parser)
    _add_how_to_get_there(parser.add_argument_group("the opening handshake"))
    _add_when_to_end(parser.add_argument_group("the connection and its end"))


def _add_what_goes_through(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--binary", action="store_true", help="send lines as binary messages, not as text")
    add("--json", action="store_true", help="print all that happens as JSON, see below")
    add(
        "--max-message",
        metavar="SIZE",
        default="1M",
        type=size,
        help="largest message accepted, in bytes or as 64K, 32M, 1G (default: %(default)s)",
    )


def _add_how_to_get_there(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--header",
        metavar='"NAME: VALUE"',
        dest="headers",
        action="append",
        default=[],
        type=header,
        help="a header field of the request; may be repeated",
    )
    add(
        "--subprotocol",
        metavar="NAME",
        dest="subprotocols",
        action="append",
        default=[],
        help="a subprotocol to offer, the dearest first; may be repeated",
    )
    add("--origin", help="the web page that the request claims to come from")
    add(
        "--auth",
        metavar="USER:PASSWORD",
        type=credentials,
        help="for Basic and Digest; other users of this machine can see it in the process list",
    )
    verifying = group.add_mutually_exclusive_group()
    verifying.add_argument(
        "--insecure", action="store_true", help="accept any certificate: anybody can listen in"
    )
    verifying.add_argument(
        "--cafile",
        metavar="FILE",
        help="trust the certificates of this PEM file, no others",
    )
    proxying = group.add_mutually_exclusive_group()
    proxying.add_argument(
        "--proxy",
        metavar="URI",
        default=True,
        help="http://, https:// or socks5://, with user:password@ or without"
        " (default: what the environment says, as in https_proxy)",
    )
    proxying.add_argument(
        "--no-proxy",
        dest="proxy",
        action="store_const",
        const=False,
        help="none, whatever the environment says",
    )
    add(
        "--timeout",
        metavar="SECONDS",
        default="10",
        type=deadline,
        help="how long it may take until the connection is open (default: %(default)s)",
    )


def _add_when_to_end(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--ping-interval",
        metavar="SECONDS",
        default="20",
        type=seconds,
        help="ping a server that was silent for so long; 0 for never (default: %(default)s)",
    )
    add("--reconnect", action="store_true", help="connect again, ever later, until we close")
    add(
        "--wait",
        metavar="SECONDS",
        default="0",
        type=patience,
        help="stay so much longer after the end of stdin; inf: until the server closes",
    )
    add(
        "--close-code",
        metavar="N",
        default="1000",
        type=close_code,
        help="the code of our Close (default: %(default)s)",
    )


class Talk(Client):
    """A connection whose messages go out from stdin and are reported when they come.

    Args:
        arguments: The command's.
        report: Is told of all that happens.
        tls: The context for `wss`, or `None` for the default.

    Raises:
        TypeError, ValueError: What `Client` finds wrong.
    """

    def __init__(
        self, arguments: argparse.Namespace, report: Report, tls: ssl.SSLContext | None
    ) -> None:
        stdin = descriptor(sys.stdin)
        super().__init__(
            arguments.uri,
            subprotocols=arguments.subprotocols,
            origin=arguments.origin,
            headers=arguments.headers,
            auth=arguments.auth,
            tls=tls,
            proxy=arguments.proxy,
            reconnect=Backoff() if arguments.reconnect else None,
            handshake_timeout=arguments.timeout,
            ping_interval=arguments.ping_interval or None,
            max_message=arguments.max_message,
            # It is filled by one line at most, which may be as long as it likes.
            max_write_queue=sys.maxsize,
        )
        self.report = report
        self.binary: bool = arguments.binary
        self.wait: float = arguments.wait
        self.code: int = arguments.close_code
        self.lines = Lines(self.reactor, stdin, self.line, self.ended)
        self.count = 0
        self.mark = b""
        self.leaving = self.faulty = self.clean = False
        report.out.failed = self.output_failed

    @property
    def status(self) -> int:
        """The exit status, when all has ended."""
        return 0 if self.clean and not self.faulty else 1

    # ---- from stdin ----

    def line(self, line: bytes) -> bool:
        """Send a line; return whether another may follow at once."""
        self.count += 1
        if self.binary:
            return self.send(line)
        try:
            return self.send(line.decode())
        except UnicodeDecodeError:
            self.report.warning(f"line {self.count} is not UTF-8, and is not sent")
            self.faulty = True
            return True

    def ended(self, error: OSError | None) -> None:
        """Stdin has ended: ask for an answer to all that was sent."""
        if error is not None:
            self.report.warning(f"cannot read stdin: {text_of(error)}")
            self.faulty = True
        self.mark = os.urandom(8)
        self.ping(self.mark)

    def leave(self) -> None:
        """Close, as it was wanted."""
        self.leaving = True
        self.close(self.code)

    def output_failed(self, error: OSError) -> None:
        """Stdout takes no more; a reader that has seen enough, as `head`, is no failure."""
        if not isinstance(error, BrokenPipeError):
            self.report.warning(f"cannot write to stdout: {text_of(error)}")
            self.faulty = True
        self.leave()

    # ---- from the connection ----

    def onopen(self) -> None:
        """Begin to read stdin."""
        self.report.opened(self)
        self.lines.resume()

    def onmessage(self, message: str | bytes) -> None:
        """Report it."""
        self.report.message(message)

    def ondrain(self) -> None:
        """Go on with stdin."""
        self.lines.resume()

    def onping(self, payload: bytes) -> None:
        """Report it."""
        self.report.ping(payload)

    def onpong(self, payload: bytes) -> None:
        """Report it; the one that answers our last ping ends the connection."""
        self.report.pong(payload)
        if not self.mark:
            return
        if payload != self.mark:
            # A server may answer none but the latest of several pings (RFC 6455 §5.5.3), and
            # keepalive's can be a later one.
            self.ping(self.mark)
            return
        self.mark = b""
        if self.wait < math.inf:
            self.reactor.call_later(self.wait, self.leave)

    def onerror(self, error: Exception) -> None:
        """Report it."""
        self.report.error(error)

    def onreconnecting(self, delay: float, attempt: int) -> None:
        """Report it."""
        self.report.reconnecting(delay, attempt)

    def onclose(self, code: int, reason: str) -> None:
        """Report it, and leave stdin alone."""
        self.lines.pause()
        expected = code in _CLEAN or (self.leaving and code == self.code)
        self.clean = self.was_clean and expected
        self.report.closed(code, reason, self.was_clean)


def context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS context that the options ask for; `None` for the default.

    Raises:
        OSError: The file of certificates cannot be read, or holds none.
    """
    if not arguments.insecure and arguments.cafile is None:
        return None
    import ssl

    made = ssl.create_default_context(cafile=arguments.cafile)
    made.set_alpn_protocols(["http/1.1"])
    if arguments.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def run(arguments: argparse.Namespace) -> int:
    """Connect, and talk until it has ended; return the exit status."""
    kind = JsonReport if arguments.json else LineReport
    report = kind(Stream(sys.stdout), Stream(sys.stderr))
    try:
        tls = context(arguments)
    except OSError as error:
        report.warning(f"cannot use --cafile {arguments.cafile}: {text_of(error)}")
        return 1
    if arguments.insecure:
        report.warning("insecure: the server's certificate is not verified")
    try:
        talk = Talk(arguments, report, tls)
    except (TypeError, ValueError) as error:
        report.warning(f"cannot connect: {error}")
        return 2
    try:
        talk.run()
    except KeyboardInterrupt:
        # Before the handlers stood, or a second one while a callback did not return.
        report.warning("interrupted")
        return 1
    return talk.status
