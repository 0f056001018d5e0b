"""TLS over a transport, for both roles; it looks like a transport to whoever uses it.

Facts: an `ssl.SSLSocket` wants to read when it is written to, wants to write when it is read,
must be given the same bytes again after it has refused them, holds decrypted bytes that no
selector sees, makes two `recv` calls for a record, and cannot stand on another one. An
`ssl.SSLObject` between two `ssl.MemoryBIO`s does none of that: what it wants to write it
writes, and what it wants to read is what comes next. A handshake costs one to three
milliseconds, which is hundreds of messages.

So this is a layer over any transport, another TLS layer included: ciphertext that comes is
decrypted to the last record before anything else happens, and all of it is delivered in one
piece; what is written is encrypted at once and waits, if it has to, in the transport's queue.
Handshakes take turns: at most some of them go on in one step of the reactor, and who waits for
its turn is not read. A peer can have us change keys as often as it likes, which costs us more
than it and is answered each time, whether it reads or not: who does so without end is dropped.
Truncation is no attack on a WebSocket, whose end is a Close frame, so an end without
close_notify is an end like any other.
"""

from __future__ import annotations

import ssl
from collections import deque

from .transport import HIGH_WATER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    from .reactor import Reactor
    from .tally import Tally
    from .transport import Transport, TransportEvents

    Below = Union[Transport, "Tls"]

# The most that one record holds (RFC 8446 §5.1), and that one `read` returns.
_RECORD = 16 * 1024
# What we answer at most by ourselves in a minute: 2,400 changes of keys, or one renegotiation
# with large certificates. Nobody changes keys more often than every few gigabytes.
_ANSWERS = 64 * 1024
_MINUTE = 60.0
# To load the system's certificates takes 10 to 50 ms, which no loop should spend twice.
_client_contexts: list[ssl.SSLContext] = []


def client_context() -> ssl.SSLContext:
    """Return the context of clients that were given none: it verifies certificate and name."""
    if not _client_contexts:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # the default from Python 3.10 on
        context.set_alpn_protocols(["http/1.1"])
        _client_contexts.append(context)
    return _client_contexts[0]


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """Return a context for a server.

    Args:
        certificate: The path of its certificate and those that lead to a known one, in PEM.
        key: The path of its private key; by default in the same file.

    Raises:
        OSError: A file cannot be read, does not hold that, or the two do not fit
            (`ssl.SSLError`).
        ValueError: The key is encrypted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Before OpenSSL 3 a client can ask for handshake after handshake, outside of all turns.
    # PyPy has no name for it.
    context.options |= getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    # Without this OpenSSL asks for it on the terminal, and the server stands still.
    raise ValueError("the key is encrypted")


class Tls:
    """A stream that is encrypted; as much of a `Transport` as is used above it.

    The handshake begins at once.

    Args:
        reactor: Deals out the turns of the handshakes.
        below: What carries the ciphertext; it belongs to this from now on.
        context: Certificates, versions, verification: the user's.
        events: Is told what `below` tells.
        secured: Called once, when the handshake is over.
        refused: Called once, if it fails; `below` is still to be ended then.
        server_side: Whether this is the server.
        hostname: The server's name or address, for SNI and its certificate; client only.

    Attributes:
        corked: As a transport's.
        received: As a transport's.
        read_size: Never used: what is decrypted comes out in records of 16 KiB at most.
        tls: The `ssl.SSLObject`, which knows version, cipher and certificates.
    """

    __slots__ = (
        "_answered",
        "_ended",
        "_held",
        "_in",
        "_lost",
        "_minute",
        "_out",
        "_reactor",
        "_refused",
        "_secured",
        "_usable",
        "_waiting",
        "below",
        "corked",
        "read_size",
        "received",
        "tls",
    )

    def __init__(
        self,
        reactor: Reactor,
        below: Below,
        context: ssl.SSLContext,
        *,
        events: TransportEvents,
        received: Callable[[bytes], object],
        secured: Callable[[], object],
        refused: Callable[[ssl.SSLError], object],
        server_side: bool,
        hostname: str | None = None,
    ) -> None:
        self._reactor = reactor
        self.below: Below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._in, self._out, server_side=server_side, server_hostname=hostname
        )
        self._secured = secured
        self._refused = refused
        # Whether messages can be written: the handshake is over, the end has not begun.
        self._usable = False
        self._ended = False
        self.corked: list[bytes | bytearray] | None = None
        # What OpenSSL has not taken: it may first have to read, as in a renegotiation.
        self._waiting: deque[bytes | bytearray | memoryview] = deque()
        self._held = 0
        self._lost = False
        # What was answered since when: see `_answer`.
        self._answered = 0
        self._minute = reactor.now
        self.received = received
        self.read_size = 0
        below.events = events
        below.received = self._shaken
        if not server_side:
            reactor.call_in_turn(self._shake)

    # ---- what is known of the transport below ----

    @property
    def events(self) -> TransportEvents:
        """Who is told of what happens besides input."""
        return self.below.events

    @events.setter
    def events(self, events: TransportEvents) -> None:
        self.below.events = events

    @property
    def buffered(self) -> int:
        """Bytes, encrypted and not, that the kernel has not taken yet."""
        return 0 if self.below.closed else self.below.buffered + self._held

    @buffered.setter
    def buffered(self, size: int) -> None:
        """Note what was put into `corked` by somebody else than `write`."""
        self._held = size - self.below.buffered

    @property
    def choked(self) -> bool:
        """Whether the queue was above its high-water mark, and is not yet below the low."""
        return self.below.choked

    @property
    def closed(self) -> bool:
        """Whether the socket is closed."""
        return self.below.closed

    @property
    def progress(self) -> float:
        """When the kernel last took bytes, in seconds of the reactor's clock."""
        return self.below.progress

    @progress.setter
    def progress(self, now: float) -> None:
        self.below.progress = now

    @property
    def broken(self) -> bool:
        """Whether something that was written is lost."""
        return self.below.broken or self._lost

    @property
    def tally(self) -> Tally:
        """What is received and sent, encrypted, and what is queued, is added to this."""
        return self.below.tally

    def answers_for(self) -> object:
        """Return whom it serves, who may be to blame when that took long."""
        return self.below.events

    @property
    def departed(self) -> int:
        """Bytes that were in the queue, encrypted, and that the kernel has taken."""
        return self.below.departed

    @property
    def settled(self) -> bool:
        """Whether all that is `buffered` is encrypted, so that it has its size."""
        return not self._held

    @property
    def moved(self) -> Callable[[], object] | None:
        """Called when the kernel has taken some of the queue."""
        return self.below.moved

    @moved.setter
    def moved(self, moved: Callable[[], object] | None) -> None:
        self.below.moved = moved

    @property
    def reading(self) -> bool:
        """Whether input is read: it is not paused."""
        return self.below.reading

    def pause(self) -> None:
        """Stop reading."""
        self.below.pause()

    def resume(self) -> None:
        """Go on reading."""
        self.below.resume()
        if self._ended:
            self._reactor.call_soon(self._end)

    # ---- the handshake ----

    def _shaken(self, data: bytes) -> None:
        """Take a piece of the handshake, and go on with it when it is our turn."""
        self._in.write(data)
        self.below.pause()
        self._reactor.call_in_turn(self._shake)

    def _shake(self) -> None:
        below = self.below
        if below.closed or below.received != self._shaken:
            return
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_encrypted()
            below.resume()
            return
        except ssl.SSLError as error:
            self._send_encrypted()  # an alert, which tells the peer what is wrong
            below.received = _ignore
            below.resume()
            self._refused(error)
            return
        self._usable = True
        below.received = self._decrypt
        self._send_encrypted()
        below.resume()
        self._secured()
        if self._in.pending and not below.closed:
            below.received(b"")  # what came behind the handshake

    # ---- in ----

    def _decrypt(self, data: bytes) -> None:
        """Deliver all that `data` completes, in one piece."""
        self._in.write(data)
        parts: list[bytes] = []
        failure: OSError | None = None
        try:
            while not self._ended:
                part = self.tls.read(_RECORD)
                parts.append(part)
                self._ended = not part  # close_notify
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        except ssl.SSLError as error:
            failure = error
        failure = self._answer() or failure
        self._write_waiting()  # what had to wait for what has come
        plain = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            if plain and not self.below.closed:
                self.received(plain)
        finally:
            if failure is not None:
                self.abort(failure)
            elif self._ended and not self.below.closed:
                self._close_notify()
                self._end()

    def _end(self) -> None:
        """Say that nothing more will come, unless what has come is not wanted yet."""
        if self.below.reading and not self.below.closed:
            self.below.end_of_input()

    def _answer(self) -> OSError | None:
        """Send what OpenSSL says by itself: an alert, or an answer to a KeyUpdate.

        Returns:
            An error, if the peer has it say too much.
        """
        size = self._out.pending
        if not size:
            return None
        now = self._reactor.now
        if now >= self._minute + _MINUTE and not self.below.choked:
            self._minute, self._answered = now, 0
        self._answered += size
        self._send_encrypted()
        if self._answered > _ANSWERS:
            return ConnectionAbortedError("the peer changes keys without end")
        return None

    # ---- out ----

    def write(self, data: bytes | bytearray) -> bool:
        """Encrypt and send `data`, or as soon as the peer takes it.

        Returns:
            Whether the queue is below its high-water mark.
        """
        if not self._usable or self.below.closed:
            self._lost = True
            return False
        self._held += len(data)
        if self.corked is None:
            self._waiting.append(data)
            return self._write_waiting()
        self.corked.append(data)
        return self.spill() if self._held > HIGH_WATER else not self.below.choked

    def cork(self) -> None:
        """Collect what is written, until `uncork`: it then makes few records."""
        if self.corked is None and self._usable:
            self.corked = []

    def uncork(self) -> None:
        """Encrypt and send what was collected."""
        corked, self.corked = self.corked, None
        if corked:
            self._waiting.append(b"".join(corked))
            self._write_waiting()

    def flush(self) -> None:
        """Send what has been collected so far, and go on collecting."""
        if self.corked:
            self.uncork()
            self.cork()

    def spill(self) -> bool:
        """Send what was collected, if that is much; return what `write` does."""
        if self._held > HIGH_WATER:  # whatever is queued below: that would make many records
            self.flush()
        return not self.below.choked

    def _write_waiting(self) -> bool:
        """Encrypt and send what waits, in its order; return what `write` does.

        What OpenSSL refuses it must be given again, as it was, before anything else.
        """
        waiting = self._waiting
        try:
            while waiting:
                taken = self.tls.write(waiting[0]) if waiting[0] else 0
                self._held -= taken
                if taken < len(waiting[0]):
                    waiting[0] = memoryview(waiting[0])[taken:]  # a record at a time
                else:
                    waiting.popleft()
        except ssl.SSLWantReadError:
            pass  # tried again when something has come
        except ssl.SSLError as error:
            self._send_encrypted()
            self.abort(error)
            return False
        return self._send_encrypted()

    def _send_encrypted(self) -> bool:
        if self._out.pending:
            return self.below.write(self._out.read())
        return not self.below.choked

    # ---- the end ----

    def finish(
        self, *, half_close: bool = True, at_once: bool = False, all_read: bool = False
    ) -> None:
        """Send what is queued, then close_notify; the peer's is not waited for.

        Args:
            half_close: As for `Transport.finish`.
            at_once: Nothing here: the peer has a close_notify to say.
            all_read: Nothing here.
        """
        self.uncork()
        self._close_notify()
        self._let_go()
        self.below.finish(half_close=half_close)

    def abort(self, error: Exception | None = None) -> None:
        """Close now; what is queued is lost. `gone` follows in the next step."""
        self._let_go()
        self.below.abort(error)

    def _close_notify(self) -> None:
        # "Each party MUST send a "close_notify" alert before closing its write side of the
        # connection, unless it has already sent some error alert" (RFC 8446 §6.1).
        if self._usable:
            self._usable = False
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # it has said its close_notify, and would like to read the peer's
            self._send_encrypted()

    def _let_go(self) -> None:
        """Take nothing more, of either side; a handshake ends unfinished."""
        self._usable = False
        self.corked = None
        self._waiting.clear()  # what OpenSSL has refused so far
        self._lost = self._lost or self._held > 0
        self._held = 0
        self.below.received = _ignore

    def end_of_input(self) -> None:
        """Nothing more will come; called by a layer above."""
        self.below.end_of_input()


def _ignore(data: bytes) -> None:
    """Drop what comes when nobody takes it any more."""
