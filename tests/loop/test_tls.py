"""`reactor/loop/tls.py`: TLS over a transport, for both roles."""

from __future__ import annotations

import errno
import gc
import hashlib
import hmac
import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import Reactor
from reactor.loop import tls as module
from reactor.loop.tls import Tls, client_context, server_context
from reactor.loop.transport import HIGH_WATER, Transport
from reactor.testing import FakeClock, MemorySelector, MemorySocket, memory_pair
from tests import certificates, programs

from .helpers import PATIENCE, CountingSelector, turn_until

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("nothing_raised")

ALERT, HANDSHAKE, DATA = 21, 22, 23
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


class End:
    """Owns a TLS layer, and notes what it is told."""

    def __init__(
        self,
        reactor: Reactor,
        below: Any,
        context: ssl.SSLContext,
        *,
        server_side: bool = True,
        hostname: str | None = None,
        do: dict[str, Callable[[], object]] | None = None,
    ) -> None:
        self.log: list[str] = []
        self.input = b""
        self.pieces: list[bytes] = []
        self.errors: list[Exception | None] = []
        self.refusals: list[ssl.SSLError] = []
        self.do = do or {}
        if not isinstance(below, Tls):
            below = Transport(reactor, below, self, self.early)
        self.transport = Tls(
            reactor,
            below,
            context,
            events=self,
            received=self.received,
            secured=lambda: self.note("secured"),
            refused=self.refused,
            server_side=server_side,
            hostname=hostname,
        )

    def early(self, data: bytes) -> None:
        raise AssertionError("ciphertext got past the TLS layer")

    def note(self, name: str) -> None:
        assert not self.errors, f"{name} after the end"
        assert self.transport.buffered >= 0
        self.log.append(name)
        self.do.get(name, lambda: None)()

    def received(self, data: bytes) -> None:
        assert data
        assert "secured" in self.log, "data before the handshake was over"
        self.input += data
        self.pieces.append(data)
        self.note("received")

    def drained(self) -> None:
        self.note("drained")

    def emptied(self) -> None:
        self.note("emptied")

    def refused(self, error: ssl.SSLError) -> None:
        self.refusals.append(error)
        self.note("refused")

    def gone(self, error: Exception | None) -> None:
        assert self.transport.closed
        assert self.transport.buffered == 0
        self.note("gone")
        self.errors.append(error)


class TlsPeer:
    """The other side: an `ssl.SSLObject`, driven by hand."""

    def __init__(
        self,
        sock: MemorySocket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        hostname: str | None = "localhost",
    ) -> None:
        self.sock = sock
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.inward,
            self.outward,
            server_side=server_side,
            server_hostname=None if server_side else hostname,
        )
        self.raw = b""
        self.plain = b""
        self.secured = False
        self.ends = 0
        self.failure: ssl.SSLError | None = None
        self.chunk = 1 << 62

    def turn(self) -> bool:
        """Do what there is to do; return whether there was something."""
        moved = self.read() | self.advance()
        return self.push() or moved

    def read(self) -> bool:
        try:
            data = self.sock.recv(1 << 24)
        except (BlockingIOError, ConnectionResetError):
            return False
        self.raw += data
        self.inward.write(data)
        return bool(data)

    def advance(self) -> bool:
        before = self.secured, len(self.plain), self.ends, self.failure
        try:
            if not self.secured:
                self.tls.do_handshake()
                self.secured = True
            while not self.ends:
                part = self.tls.read(1 << 14)
                self.plain += part
                self.ends += not part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.failure = self.failure or error
        return before != (self.secured, len(self.plain), self.ends, self.failure)

    def push(self) -> bool:
        """Send what OpenSSL has for us, `chunk` bytes of it."""
        data = self.outward.read(min(self.chunk, 1 << 30))
        if data and not self.sock.closed:
            try:
                assert self.sock.send(data) == len(data)
            except BrokenPipeError:
                return False
        return bool(data)

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.push()

    def end(self) -> None:
        """Say close_notify."""
        with pytest.raises(ssl.SSLError):
            self.tls.unwrap()
        self.push()

    def records(self) -> list[int]:
        """Return the types of the records that have come; in TLS 1.3 most hide behind DATA."""
        found, at = [], 0
        while at < len(self.raw):
            found.append(self.raw[at])
            at += 5 + int.from_bytes(self.raw[at + 3 : at + 5], "big")
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    with Reactor(selector=MemorySelector(), clock=clock) as reactor:
        yield reactor


@pytest.fixture
def real() -> Iterator[Reactor]:
    with Reactor(selector=CountingSelector()) as reactor:
        yield reactor


def settle(reactor: Reactor, *peers: TlsPeer) -> None:
    """Go on until nothing moves any more: then nothing is to be done, and nothing is done."""
    for _ in range(100_000):
        reactor.step(0)
        moved = [peer.turn() for peer in peers]
        if (
            not any(moved)
            and not reactor._selector.select(0)
            and reactor.next_timeout() is None
        ):
            return
    raise AssertionError("it never comes to rest")


def meet(
    reactor: Reactor,
    *,
    server_side: bool = True,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    do: dict[str, Callable[[], object]] | None = None,
    shake: bool = True,
) -> tuple[End, TlsPeer]:
    """Return both sides of a connection, whose handshake is over if it is to `shake` hands."""
    mine, theirs = memory_pair()
    server = certificates.server_context()
    client = limited(certificates.client_context(), version)
    if server_side:
        end = End(reactor, mine, server, do=do)
        peer = TlsPeer(theirs, client)
    else:
        end = End(reactor, mine, client, server_side=False, hostname="localhost", do=do)
        peer = TlsPeer(theirs, server, server_side=True)
    if shake:
        settle(reactor, peer)
        assert peer.secured
        assert end.log == ["secured"]
    return end, peer


# ---- contexts ----


def test_the_context_of_clients_verifies_certificate_and_name_and_is_made_once() -> None:
    context = client_context()
    assert context is client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_context_of_a_server_has_its_certificate_and_no_renegotiation(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    files = certificates.files(tmp_path)
    both = server_context(files.certificate, files.key)
    assert both.minimum_version is ssl.TLSVersion.TLSv1_2
    assert both.options & getattr(ssl, "OP_NO_RENEGOTIATION", both.options)
    for context in (both, server_context(files.key)):
        mine, theirs = memory_pair()
        end = End(reactor, mine, context)
        peer = TlsPeer(theirs, certificates.client_context())
        settle(reactor, peer)
        assert end.log == ["secured"]
        end.transport.abort()
    with pytest.raises(OSError, match="Errno 2"):
        server_context(str(tmp_path / "none.pem"))
    with pytest.raises(ssl.SSLError):
        server_context(files.authority)


def test_a_key_that_is_encrypted_is_refused_and_nobody_is_asked_for_its_password(
    tmp_path: pathlib.Path,
) -> None:
    files = certificates.files(tmp_path)
    certificates.encrypt(files.key)
    with pytest.raises(ValueError, match="the key is encrypted"):
        server_context(files.certificate, files.key)


def test_both_sides_offer_http(reactor: Reactor, tmp_path: pathlib.Path) -> None:
    files = certificates.files(tmp_path)
    client = client_context()
    before = client.get_ca_certs()
    client.load_verify_locations(files.authority)
    try:
        one, other = memory_pair()
        server = End(reactor, one, server_context(files.key))
        end = End(reactor, other, client, server_side=False, hostname="127.0.0.1")
        settle(reactor)
    finally:
        module._client_contexts.clear()  # that of the system, from now on again
    assert len(client.get_ca_certs()) == len(before) + 1
    assert server.log == end.log == ["secured"]
    for tls in (server.transport.tls, end.transport.tls):
        assert tls.selected_alpn_protocol() == "http/1.1"


# ---- the handshake ----


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_handshake_in_pieces_of_any_size_comes_to_its_end(
    reactor: Reactor, version: ssl.TLSVersion, server_side: bool, chunk: int
) -> None:
    end, peer = meet(reactor, server_side=server_side, version=version, shake=False)
    peer.chunk = chunk
    settle(reactor, peer)
    assert end.log == ["secured"]
    assert end.transport.tls.version() == peer.tls.version()
    assert end.transport.write(b"from here")
    peer.tls.write(b"from there")
    settle(reactor, peer)
    assert (end.input, peer.plain) == (b"from there", b"from here")
    assert end.transport.tls.cipher() == peer.tls.cipher()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 3000), min_size=1), st.binary(max_size=40_000))
def test_whatever_the_pieces_what_is_said_arrives(sizes: list[int], data: bytes) -> None:
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        end, peer = meet(reactor, shake=False)
        said = False
        for step in range(1000):
            peer.chunk = sizes[step % len(sizes)]
            reactor.step(0)
            peer.turn()
            if peer.secured and not said:
                said = True
                peer.tls.write(data + b"end")
        peer.chunk = 1 << 62
        settle(reactor, peer)
        assert end.input == data + b"end"


@pytest.mark.parametrize("hostname", certificates.HERE)
def test_a_name_and_an_address_are_both_verified(reactor: Reactor, hostname: str) -> None:
    one, other = memory_pair()
    server = End(reactor, one, certificates.server_context(hostname))
    client = certificates.client_context()
    end = End(reactor, other, client, server_side=False, hostname=hostname)
    settle(reactor)
    assert server.log == end.log == ["secured"]
    assert end.transport.tls.getpeercert()


def test_the_server_sees_the_name_that_the_client_wants(reactor: Reactor) -> None:
    context = certificates.server_context()
    names: list[str] = []
    context.sni_callback = lambda tls, name, context: names.append(name)
    one, other = memory_pair()
    End(reactor, one, context)
    client = certificates.client_context()
    end = End(reactor, other, client, server_side=False, hostname="localhost")
    settle(reactor)
    assert end.log == ["secured"]
    assert names == ["localhost"]


def test_what_is_said_behind_the_handshake_in_the_same_piece_is_delivered_once(
    reactor: Reactor,
) -> None:
    end, peer = meet(reactor, shake=False)
    while not peer.secured:
        reactor.step(0)
        peer.read()
        peer.advance()
        if not peer.secured:
            peer.push()
    peer.tls.write(b"at once")
    peer.push()
    settle(reactor, peer)
    assert end.log == ["secured", "received"]
    assert end.input == b"at once"


def test_nothing_can_be_written_before_the_handshake_is_over(reactor: Reactor) -> None:
    end, peer = meet(reactor, shake=False)
    transport = end.transport
    transport.cork()
    assert not transport.write(b"too early")
    transport.flush()
    transport.uncork()
    assert transport.buffered == 0
    settle(reactor, peer)
    assert not end.do
    assert transport.write(b"now")
    settle(reactor, peer)
    assert peer.plain == b"now"


def test_what_is_said_when_the_handshake_is_over_leaves_at_once(reactor: Reactor) -> None:
    end, peer = meet(reactor, server_side=False, shake=False)
    end.do["secured"] = lambda: end.transport.write(b"request")
    settle(reactor, peer)
    assert peer.plain == b"request"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0" * 100,
        b"\x16\x03\x01\xff\xff" + b"x" * 17_000,
        b"\x16\x03\x01\0\x05hello",
        bytes(range(128, 256)),
    ],
)
def test_what_is_no_handshake_is_refused_and_never_read_as_data(
    reactor: Reactor, head: bytes
) -> None:
    mine, theirs = memory_pair()
    end = End(reactor, mine, certificates.server_context())
    theirs.send(head + b"GET / HTTP/1.1\r\n\r\n")
    settle(reactor)
    assert end.log == ["refused"]
    theirs.send(b"more of it")
    settle(reactor)
    assert end.log == ["refused"]
    assert not end.transport.closed
    assert not end.transport.write(b"x")
    end.transport.finish()
    theirs.close()
    settle(reactor)
    assert end.log == ["refused", "gone"]
    assert end.errors == [None]


def test_plain_http_is_told_apart_and_can_be_answered_in_kind(reactor: Reactor) -> None:
    mine, theirs = memory_pair()
    end = End(reactor, mine, certificates.server_context())
    theirs.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    settle(reactor)
    assert [error.reason for error in end.refusals] == ["HTTP_REQUEST"]
    assert not theirs.inbox, "no alert before the answer"
    end.transport.below.write(b"HTTP/1.1 400 \r\n\r\n")
    assert theirs.recv(99) == b"HTTP/1.1 400 \r\n\r\n"


@pytest.mark.parametrize(
    ("options", "hostname"),
    [
        ({"names": ("example.org",)}, "localhost"),
        ({"names": ("localhost",)}, "127.0.0.1"),
        ({"names": ("127.0.0.2",)}, "127.0.0.1"),
        ({"expired": True}, "localhost"),
        ({"trust": False}, "localhost"),
    ],
)
def test_a_wrong_certificate_is_refused_before_a_byte_is_said(
    reactor: Reactor, options: dict[str, Any], hostname: str
) -> None:
    mine, theirs = memory_pair()
    trust = options.pop("trust", True)
    server = certificates.server_context(*options.pop("names", ()), **options)
    client = certificates.client_context(trust=trust)
    end = End(reactor, mine, client, server_side=False, hostname=hostname)
    end.do["secured"] = lambda: end.transport.write(b"GET /secret")
    peer = TlsPeer(theirs, server, server_side=True)
    settle(reactor, peer)
    assert end.log == ["refused"]
    assert [type(error) for error in end.refusals] == [ssl.SSLCertVerificationError]
    assert not end.transport.write(b"GET /secret")
    assert peer.plain == b""
    assert peer.failure is not None, "it was told why"
    end.transport.abort()
    settle(reactor, peer)
    assert end.errors == [None]


def test_sides_without_a_version_in_common_refuse_each_other(reactor: Reactor) -> None:
    one, other = memory_pair()
    old, new = VERSIONS
    server = End(reactor, one, limited(certificates.server_context(), new))
    client = limited(certificates.client_context(), old)
    end = End(reactor, other, client, server_side=False, hostname="localhost")
    settle(reactor)
    assert server.log == end.log == ["refused"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_shows_no_certificate_is_refused_if_one_is_asked_for(
    reactor: Reactor, version: ssl.TLSVersion
) -> None:
    for name, expected in ((None, "refused"), ("someone", "secured")):
        mine, theirs = memory_pair()
        end = End(reactor, mine, certificates.server_context(ask=True))
        peer = TlsPeer(theirs, limited(certificates.client_context(name), version))
        settle(reactor, peer)
        assert end.log == [expected]
        assert (peer.failure is None) == (expected == "secured")
        end.transport.abort()


def test_a_name_that_no_certificate_can_have_raises_and_leaves_the_transport(
    reactor: Reactor,
) -> None:
    mine, theirs = memory_pair()
    got: list[bytes] = []
    below = Transport(reactor, mine, End.__new__(End), got.append)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="server_hostname"):
        Tls(
            reactor,
            below,
            certificates.client_context(),
            events=End.__new__(End),
            received=got.append,
            secured=gc.collect,
            refused=repr,
            server_side=False,
            hostname="",
        )
    theirs.send(b"still its own")
    reactor.step(0)
    assert got == [b"still its own"]


def test_at_most_eight_handshakes_go_on_in_a_step(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    shake = Tls._shake

    def counted(tls: Tls) -> None:
        steps[-1] += 1
        shake(tls)

    monkeypatch.setattr(Tls, "_shake", counted)
    both = [meet(reactor, shake=False) for _ in range(50)]
    peers = [peer for _, peer in both]
    while not all(end.log for end, _ in both):
        for peer in peers:
            peer.turn()
        steps.append(0)
        reactor.step(0)
        assert len(steps) < 1000
    assert max(steps) == 8
    assert sum(steps) >= 100
    settle(reactor, *peers)
    assert all(end.log == ["secured"] for end, _ in both)


def test_who_waits_for_its_turn_is_not_read(reactor: Reactor) -> None:
    end, peer = meet(reactor, shake=False)
    peer.advance()
    peer.push()
    reactor.step(0)
    reading = [end.transport.reading]
    peer.sock.send(b"x" * 100)
    reactor.step(0)
    reading.append(end.transport.reading)
    assert reading == [False, True]
    assert peer.sock.other is not None
    assert len(peer.sock.other.inbox) == 100


@pytest.mark.parametrize("how", ["abort", "finish"])
@pytest.mark.parametrize("server_side", [True, False])
def test_who_is_ended_before_its_turn_goes_no_further(
    reactor: Reactor, how: str, server_side: bool
) -> None:
    end, peer = meet(reactor, server_side=server_side, shake=False)
    peer.turn()
    if server_side:
        reactor.step(0)
    getattr(end.transport, how)()
    settle(reactor, peer)
    assert peer.raw == b""
    assert not peer.secured
    peer.sock.close()
    settle(reactor)
    assert end.log == ["gone"]


@pytest.mark.parametrize("after", range(4))
def test_a_peer_that_leaves_in_the_handshake_ends_it_once(reactor: Reactor, after: int) -> None:
    for leave in (MemorySocket.close, MemorySocket.reset):
        end, peer = meet(reactor, shake=False)
        for _ in range(after):
            peer.turn()
            reactor.step(0)
        leave(peer.sock)
        settle(reactor)
        assert end.log[-1] == "gone"
        assert end.log.count("gone") == 1
        assert "received" not in end.log
        assert not end.refusals


# ---- data ----


@pytest.mark.parametrize("version", VERSIONS)
def test_two_hundred_frames_in_one_record_arrive_without_another_packet(
    reactor: Reactor, version: ssl.TLSVersion
) -> None:
    end, peer = meet(reactor, version=version)
    frames = b"".join(b"\x81\x83mask" + bytes(3) for _ in range(200))
    peer.tls.write(frames)
    peer.push()
    reactor.step(0)
    assert end.pieces == [frames]


def test_many_records_that_came_at_once_are_delivered_in_one_piece(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    for number in range(500):
        peer.tls.write(b"%d," % number)
    peer.push()
    reactor.step(0)
    assert end.pieces == [b"".join(b"%d," % number for number in range(500))]


def test_the_rest_of_a_record_is_waited_for(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.tls.write(b"whole")
    data = peer.outward.read()
    for at in range(len(data)):
        assert end.log == ["secured"]
        peer.sock.send(data[at : at + 1])
        reactor.step(0)
    assert end.input == b"whole"


def test_a_pause_with_records_to_come_loses_none(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    end.do["received"] = end.transport.pause
    data = os.urandom(300_000)
    at = 0
    while at < len(data):
        at += peer.tls.write(data[at : at + 16_384])
    peer.push()
    turns = 0
    while len(end.input) < len(data):
        reactor.step(0)
        got = len(end.input)
        assert not end.transport.reading
        reactor.step(0)
        assert len(end.input) == got, "read while it was paused"
        end.transport.resume()
        turns += 1
        assert turns < 100
    assert end.input == data
    assert turns >= 4


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_arrives_in_its_order_whatever_its_size(
    reactor: Reactor, version: ssl.TLSVersion
) -> None:
    end, peer = meet(reactor, version=version)
    said = [os.urandom(size) for size in (0, 1, 16_384, 16_385, 0, 100_000, 3)]
    for data in said:
        assert end.transport.write(data)
        assert end.transport.buffered == 0
    settle(reactor, peer)
    assert peer.plain == b"".join(said)


def test_corked_writes_make_one_record(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    peer.raw = b""
    transport.cork()
    for number in range(100):
        assert transport.write(b"%d," % number)
        assert not peer.sock.inbox
    assert transport.buffered == 290
    transport.cork()
    transport.uncork()
    assert transport.buffered == 0
    transport.uncork()
    peer.turn()
    assert peer.records() == [DATA]
    assert peer.plain == b"".join(b"%d," % number for number in range(100))


def test_flush_sends_what_is_corked_and_goes_on_corking(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    transport.flush()
    transport.cork()
    transport.flush()
    transport.write(b"one")
    transport.flush()
    transport.write(b"two")
    peer.turn()
    assert peer.plain == b"one"
    assert transport.buffered == 3
    transport.uncork()
    peer.turn()
    assert peer.plain == b"onetwo"


def test_a_cork_does_not_hold_back_much(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    end.transport.cork()
    assert end.transport.write(b"x" * HIGH_WATER)
    assert not peer.sock.inbox
    assert end.transport.write(b"y")
    assert end.transport.buffered == 0
    peer.turn()
    assert len(peer.plain) == HIGH_WATER + 1
    peer.sock.capacity = 0
    assert not end.transport.write(b"x" * (HIGH_WATER + 1))
    assert end.transport.choked
    assert not end.transport.write(b"little")


def test_what_somebody_else_has_put_into_the_cork_counts(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    end.transport.cork()
    assert end.transport.write(b"before")
    assert end.transport.corked == [b"before"]
    end.transport.corked.append(b"behind")
    end.transport.buffered += 6
    assert end.transport.buffered == 12
    assert end.transport.spill()
    assert end.transport.corked == [b"before", b"behind"], "it is not much"
    end.transport.uncork()
    assert end.transport.buffered == 0
    peer.turn()
    assert peer.plain == b"beforebehind"


def test_a_peer_that_does_not_read_fills_the_queue_and_drains_it_later(
    reactor: Reactor, clock: FakeClock
) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    peer.sock.capacity = 1000
    clock.advance(5.0)
    reactor.step(0)
    before = transport.progress
    count = 0
    while transport.write(b"x" * 5000):
        count += 1
        assert count < 100
    choked = [transport.choked]
    assert HIGH_WATER < transport.buffered < HIGH_WATER + 6000
    assert transport.progress == before + 5.0
    transport.progress = 1.0
    assert transport.below.progress == 1.0
    peer.sock.capacity = 1 << 62
    settle(reactor, peer)
    assert end.log == ["secured", "emptied", "drained"]
    assert [*choked, transport.choked] == [True, False]
    assert transport.buffered == 0
    assert peer.plain == b"x" * 5000 * (count + 1)


def test_what_has_departed_is_told_in_bytes_of_what_is_encrypted(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    assert transport.departed == transport.below.departed
    before = transport.departed
    peer.sock.capacity = 0
    transport.cork()
    transport.write(b"x" * 1000)
    settled = [transport.settled]
    transport.uncork()
    assert [*settled, transport.settled] == [False, True]
    queued = transport.buffered
    assert queued > 1000
    transport.moved = lambda: end.log.append(f"moved {transport.departed - before}")
    assert transport.moved is transport.below.moved
    peer.sock.capacity = 10
    reactor.step(0)
    peer.sock.capacity = 1 << 62
    settle(reactor, peer)
    assert end.log == ["secured", "moved 10", "emptied", f"moved {queued}"]
    assert peer.plain == b"x" * 1000
    assert not transport.broken


@pytest.mark.parametrize("how", ["abort", "finish"])
@pytest.mark.parametrize("state", ["", "queued", "held", "corked"])
def test_it_is_broken_if_something_that_was_written_is_lost(
    reactor: Reactor, how: str, state: str
) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    transport.write(b"taken")
    if state == "queued":
        peer.sock.capacity = 0
    elif state == "held":
        double: Any = Reading(transport.tls, 1 << 30, want_read())
        transport.tls = double
    elif state == "corked":
        transport.cork()
    if state:
        transport.write(b"perhaps")
    assert not transport.broken
    getattr(transport, how)()
    # What is queued or collected leaves first, if it is not to be cut short.
    lost = state == "held" or (state != "" and how == "abort")
    assert transport.broken is lost
    assert transport.write(b"too late") is False
    assert transport.broken


def test_what_is_written_behind_the_peers_close_notify_is_lost(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    end.do["received"] = end.transport.pause
    peer.tls.write(b"last")
    peer.end()
    settle(reactor, peer)
    assert not end.transport.closed
    assert not end.transport.broken
    assert end.transport.write(b"nobody reads this") is False
    assert end.transport.broken


def test_who_writes_to_a_lost_peer_is_told_so(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.sock.close()
    count = 0
    while end.transport.write(b"x" * 100):
        count += 1
        assert count < 5, "a loop that writes while there is room would not end"
    end.transport.cork()
    end.transport.write(b"x")
    settle(reactor)
    assert end.log == ["secured", "gone"]
    assert not end.transport.write(b"x")
    assert end.transport.buffered == 0
    end.transport.uncork()


def test_what_had_come_before_the_peer_was_lost_is_delivered(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.say(b"last words")
    peer.sock.close()
    end.transport.write(b"x")
    settle(reactor)
    assert end.log == ["secured", "received", "gone"]


class Reading:
    """An SSL object that has to read before it can write, as in a renegotiation."""

    def __init__(self, tls: ssl.SSLObject, refusals: int, error: ssl.SSLError) -> None:
        self.tls = tls
        self.refusals = refusals
        self.error = error
        self.offered: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.offered.append(bytes(data))
        if self.refusals:
            self.refusals -= 1
            raise self.error
        return self.tls.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tls, name)


def want_read() -> ssl.SSLError:
    return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "want read")


def test_what_openssl_refuses_it_is_given_again_before_anything_else(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    transport = end.transport
    double: Any = Reading(transport.tls, 3, want_read())
    transport.tls = double
    assert transport.write(b"one")
    assert transport.write(b"two")
    transport.cork()
    transport.write(b"three")
    transport.uncork()
    assert double.offered == [b"one"] * 3
    assert transport.buffered == 11
    reactor.step(0)
    assert double.offered == [b"one"] * 3, "tried again though nothing has come"
    assert reactor.next_timeout() is None
    peer.say(b"what it wanted")
    settle(reactor, peer)
    assert double.offered[3:] == [b"one", b"two", b"three"]
    assert transport.buffered == 0
    assert (peer.plain, end.input) == (b"onetwothree", b"what it wanted")


def test_an_openssl_that_takes_a_part_is_given_the_rest(reactor: Reactor) -> None:
    end, peer = meet(reactor)

    class Taking(Reading):
        def write(self, data: bytes) -> int:
            return super().write(data[:16_384])

    double: Any = Taking(end.transport.tls, 0, want_read())
    end.transport.tls = double
    data = os.urandom(40_000)
    assert end.transport.write(data)
    assert [len(part) for part in double.offered] == [16_384, 16_384, 7232]
    assert end.transport.buffered == 0
    settle(reactor, peer)
    assert peer.plain == data


@pytest.mark.parametrize("how", ["abort", "finish"])
def test_what_openssl_has_never_taken_is_dropped_at_the_end(reactor: Reactor, how: str) -> None:
    end, peer = meet(reactor)
    double: Any = Reading(end.transport.tls, 1 << 30, want_read())
    end.transport.tls = double
    end.transport.write(b"never")
    getattr(end.transport, how)()
    assert end.transport.buffered == 0
    peer.sock.close()
    settle(reactor)
    assert end.errors == [None]


def test_a_write_that_openssl_cannot_bear_ends_it(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    error = ssl.SSLError(1, "bad length")
    double: Any = Reading(end.transport.tls, 2, error)
    end.transport.tls = double
    assert not end.transport.write(b"x")
    assert end.log == ["secured"], "told from inside write"
    settle(reactor, peer)
    assert end.errors == [error]
    assert end.transport.buffered == 0


def test_what_comes_with_a_write_that_fails_is_not_delivered_to_who_is_closed(
    reactor: Reactor,
) -> None:
    end, peer = meet(reactor)
    error = ssl.SSLError(1, "bad length")
    double: Any = Reading(end.transport.tls, 1, want_read())
    end.transport.tls = double
    end.transport.write(b"x")
    double.refusals, double.error = 1, error
    peer.say(b"too late")
    settle(reactor, peer)
    assert end.log == ["secured", "gone"]
    assert end.errors == [error]


# ---- keys ----


class Keys:
    """The keys by which a TLS 1.3 client sends, so that a test can change them."""

    def __init__(self, peer: TlsPeer, log: pathlib.Path) -> None:
        ciphers = "cryptography.hazmat.primitives.ciphers.aead"
        cipher = peer.tls.cipher()
        assert cipher is not None
        self.hash = hashlib.sha384 if cipher[0].endswith("384") else hashlib.sha256
        self.size = cipher[2] // 8
        kind = "ChaCha20Poly1305" if "CHACHA20" in cipher[0] else "AESGCM"
        self.cipher = getattr(programs.module(ciphers), kind)
        [line] = [
            line
            for line in log.read_text().splitlines()
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")
        ]
        self.use(bytes.fromhex(line.split()[2]))

    def expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (RFC 8446 §7.1), for sizes of one round."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0\1"
        return hmac.new(self.secret, info, self.hash).digest()[:size]

    def use(self, secret: bytes) -> None:
        self.secret = secret
        self.key = self.cipher(self.expand(b"key", self.size))
        self.iv = int.from_bytes(self.expand(b"iv", 12), "big")
        self.number = 0

    def record(self, kind: int, data: bytes) -> bytes:
        head = b"\x17\x03\x03" + (len(data) + 17).to_bytes(2, "big")
        nonce = (self.iv ^ self.number).to_bytes(12, "big")
        self.number += 1
        return head + bytes(self.key.encrypt(nonce, data + bytes([kind]), head))

    def update(self) -> bytes:
        """Return a KeyUpdate that asks for the like."""
        record = self.record(HANDSHAKE, b"\x18\0\0\1\1")
        self.use(self.expand(b"traffic upd", self.hash().digest_size))
        return record


def keyed(reactor: Reactor, folder: pathlib.Path) -> tuple[End, TlsPeer, Keys]:
    if sys.implementation.name == "pypy":
        pytest.skip("PyPy does not write the keys of a connection down")
    log = folder / "keys"
    mine, theirs = memory_pair()
    end = End(reactor, mine, certificates.server_context())
    context = limited(certificates.client_context(), ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(log)
    peer = TlsPeer(theirs, context)
    settle(reactor, peer)
    return end, peer, Keys(peer, log)


def test_a_change_of_keys_is_answered_and_both_directions_go_on(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    end, peer, keys = keyed(reactor, tmp_path)
    for number in range(3):
        peer.raw = b""
        peer.sock.send(keys.record(DATA, b"before") + keys.update() + keys.record(DATA, b"x"))
        settle(reactor, peer)
        assert end.pieces[-1] == b"beforex"
        end.transport.write(b"%d" % number)
        settle(reactor, peer)
        assert peer.records() == [DATA, DATA], "our new keys, and what is said with them"
    assert peer.plain == b"012"
    assert end.transport.buffered == 0


def test_changes_of_keys_without_end_end_it_before_the_answers_take_memory(
    reactor: Reactor, tmp_path: pathlib.Path
) -> None:
    end, peer, keys = keyed(reactor, tmp_path)
    peer.sock.capacity = 0
    for _ in range(100):
        assert end.transport.buffered < 128 * 1024
        if end.transport.closed:
            break
        peer.sock.send(b"".join(keys.update() for _ in range(300)))
        reactor.step(0)
    reactor.step(0)
    assert [type(error) for error in end.errors] == [ConnectionAbortedError]
    settle(reactor)


def test_who_changes_keys_now_and_then_may_do_so_for_ever(
    reactor: Reactor, tmp_path: pathlib.Path, clock: FakeClock
) -> None:
    end, peer, keys = keyed(reactor, tmp_path)
    for _ in range(10):
        for _ in range(5):
            peer.sock.send(b"".join(keys.update() for _ in range(400)))
            settle(reactor, peer)
        clock.advance(60)
    assert not end.transport.closed
    peer.sock.capacity = 0
    while end.transport.write(b"x" * 1000):
        pass
    for _ in range(2):
        # Who does not read them gets no more of them after another minute.
        clock.advance(60)
        for _ in range(4):
            if not end.transport.closed:
                peer.sock.send(b"".join(keys.update() for _ in range(400)))
                reactor.step(0)
    reactor.step(0)
    assert [type(error) for error in end.errors] == [ConnectionAbortedError]


# ---- the end ----


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("half_close", [True, False])
def test_finish_says_close_notify_once_and_waits_for_none(
    reactor: Reactor, version: ssl.TLSVersion, half_close: bool
) -> None:
    end, peer = meet(reactor, version=version)
    unwraps: list[int] = []

    class Counting(Reading):
        def unwrap(self) -> None:
            unwraps.append(1)
            self.tls.unwrap()

    double: Any = Counting(end.transport.tls, 0, want_read())
    end.transport.tls = double
    end.transport.cork()
    end.transport.write(b"good-bye")
    for _ in range(3):
        end.transport.finish(half_close=half_close)
        assert not end.transport.write(b"x")
    settle(reactor, peer)
    assert unwraps == [1]
    assert (peer.plain, peer.ends) == (b"good-bye", 1)
    assert peer.sock.input_ended == half_close
    assert not end.transport.closed
    peer.tls.write(b"never read")
    peer.push()
    settle(reactor, peer)
    assert end.log == ["secured"]
    peer.sock.close()
    settle(reactor)
    assert end.errors == [None]


def test_finish_sends_what_is_queued_to_a_slow_peer_first(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.sock.capacity = 100
    data = os.urandom(50_000)
    end.transport.write(data)
    end.transport.finish()
    assert not peer.sock.input_ended
    settle(reactor, peer)
    assert peer.plain == data
    assert peer.ends == 1
    assert peer.sock.input_ended


def test_a_peer_that_says_close_notify_first_is_answered_with_one(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.tls.write(b"last words")
    peer.end()
    settle(reactor, peer)
    assert end.log == ["secured", "received", "gone"]
    assert end.input == b"last words"
    assert end.errors == [None]
    peer.tls.unwrap()  # raises if ours has not come


@pytest.mark.parametrize("then", ["resume", "abort"])
def test_who_has_paused_is_told_of_the_end_when_it_reads_on(
    reactor: Reactor, then: str
) -> None:
    end, peer = meet(reactor)
    end.do["received"] = end.transport.pause
    peer.tls.write(b"more than is wanted")
    peer.end()
    settle(reactor, peer)
    assert end.log == ["secured", "received"]
    peer.tls.unwrap()  # ours was said at once all the same
    end.transport.resume()
    if then == "abort":
        end.transport.abort()
    settle(reactor)
    assert end.log == ["secured", "received", "gone"]


def test_a_close_notify_while_we_finish_leaves_the_peer_all_that_is_queued(
    reactor: Reactor,
) -> None:
    end, peer = meet(reactor)
    peer.sock.capacity = 0
    data = os.urandom(1000)
    end.do["received"] = end.transport.finish
    end.transport.write(data)
    peer.tls.write(b"bye")
    peer.end()
    settle(reactor)
    assert not end.transport.closed
    peer.sock.capacity = 1 << 62
    reactor.step(0)
    peer.read()
    got = peer.tls.read(2000)
    assert got == data
    assert end.errors == [None]


def test_an_end_without_close_notify_is_an_end_like_any_other(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.say(b"all of it")
    peer.sock.close()
    settle(reactor)
    assert end.log == ["secured", "received", "gone"]
    assert end.errors == [None]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "garbage",
    [b"x" * 100, b"\x17\x03\x03\0\x20" + bytes(32), b"\x17\x03\x03\x43\xff" + bytes(17_409)],
)
def test_a_bad_record_ends_it_with_an_alert_and_what_came_before_is_delivered(
    reactor: Reactor, version: ssl.TLSVersion, garbage: bytes
) -> None:
    end, peer = meet(reactor, version=version)
    peer.tls.write(b"good")
    peer.sock.send(peer.outward.read() + garbage)
    reactor.step(0)
    reactor.step(0)
    assert end.log == ["secured", "received", "gone"]
    assert [type(error) for error in end.errors] == [ssl.SSLError]
    peer.turn()
    assert peer.failure is not None
    assert "ALERT" in str(peer.failure.reason)
    assert reactor.next_timeout() is None


@settings(deadline=None, max_examples=150)
@given(st.booleans(), st.integers(0, 3000), st.integers(1, 255))
def test_a_changed_byte_anywhere_makes_no_data_and_no_second_end(
    server_side: bool, position: int, change: int
) -> None:
    said = b"what was said"
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        end, peer = meet(reactor, server_side=server_side, shake=False)
        sent = 0
        spoken = False
        for _ in range(20):
            peer.read()
            peer.advance()
            if peer.secured and not spoken and peer.failure is None:
                spoken = True
                peer.tls.write(said)
            data = bytearray(peer.outward.read())
            if sent <= position < sent + len(data):
                data[position - sent] ^= change
            sent += len(data)
            if data and not end.transport.closed:
                peer.sock.send(bytes(data))
            reactor.step(0)
        peer.sock.close()
        settle(reactor)
        assert end.input in (b"", said)
        assert len(end.refusals) <= 1
        assert end.log.count("gone") == 1 or end.refusals
        if position >= sent:
            assert end.log == ["secured", "received", "gone"]


def test_who_answers_what_came_with_a_bad_record_does_no_harm(reactor: Reactor) -> None:
    for action in ("write", "finish", "abort"):
        end, peer = meet(reactor)
        arguments = (b"answer",) if action == "write" else ()
        method = getattr(end.transport, action)
        end.do["received"] = lambda method=method, a=arguments: method(*a)  # type: ignore[misc]
        peer.tls.write(b"question")
        peer.sock.send(peer.outward.read() + b"x" * 100)
        settle(reactor, peer)
        assert end.log == ["secured", "received", "gone"]
        assert len(end.errors) == 1


def test_the_end_comes_even_if_the_last_input_is_not_borne(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    def unbearable() -> None:
        raise ZeroDivisionError("unbearable")

    end, peer = meet(reactor)
    end.do["received"] = unbearable
    peer.tls.write(b"x")
    peer.end()
    settle(reactor, peer)
    assert end.errors == [None]
    assert "unbearable" in caplog.text
    caplog.clear()


def test_end_of_input_is_passed_on_by_a_layer(reactor: Reactor) -> None:
    end, _ = meet(reactor)
    end.transport.end_of_input()
    assert end.errors == [None]


@pytest.mark.parametrize("how", ["abort", "finish"])
@pytest.mark.parametrize("when", ["secured", "received", "drained", "emptied"])
def test_it_can_be_ended_from_inside_each_callback(
    reactor: Reactor, when: str, how: str
) -> None:
    end, peer = meet(reactor, shake=False)
    end.do[when] = lambda: getattr(end.transport, how)()
    for _ in range(20):
        reactor.step(0)
        peer.read()
        before = peer.secured
        if not before:
            peer.advance()
        if peer.secured != before:
            peer.tls.write(b"x")  # behind the handshake, in the same piece
        peer.push()
    if when in ("drained", "emptied"):
        peer.sock.capacity = 0
        end.transport.write(b"x" * 200_000)
        peer.sock.capacity = 1 << 62
    settle(reactor, peer)
    assert not end.transport.write(b"x")
    assert "received" not in end.log[end.log.index(when) + 1 :]
    peer.sock.close()
    settle(reactor)
    assert end.log.count("gone") == 1
    assert end.errors == [None]
    for again in (end.transport.abort, end.transport.finish):
        again()
    settle(reactor)
    assert end.log.count("gone") == 1


@pytest.mark.parametrize("how", ["abort", "finish"])
def test_it_can_be_ended_when_it_is_refused(reactor: Reactor, how: str) -> None:
    mine, theirs = memory_pair()
    old, new = VERSIONS
    end = End(reactor, mine, limited(certificates.server_context(), new))
    end.do["refused"] = lambda: getattr(end.transport, how)()
    peer = TlsPeer(theirs, limited(certificates.client_context(), old))
    settle(reactor, peer)
    assert peer.records() == [ALERT]
    theirs.close()
    settle(reactor)
    assert end.log == ["refused", "gone"]


# ---- TLS in TLS ----


def nested(
    reactor: Reactor, do: dict[str, Callable[[], object]] | None = None
) -> tuple[list[End], list[End]]:
    """Return the outer and the inner ends of TLS in TLS, server and client; not yet secured."""
    pair = memory_pair()
    outer, inner = [], []
    for server_side in (True, False):
        context = (
            certificates.server_context() if server_side else certificates.client_context()
        )
        options: dict[str, Any] = {"server_side": server_side}
        if not server_side:
            options["hostname"] = "localhost"
        outside = End(reactor, pair[not server_side], context, **options)

        def begin(
            outside: End = outside, context: Any = context, options: Any = options
        ) -> None:
            inner.append(End(reactor, outside.transport, context, do=do, **options))

        outside.do["secured"] = begin
        outer.append(outside)
    return outer, inner


def test_tls_in_tls_carries_data_both_ways_and_ends(reactor: Reactor) -> None:
    _, inner = nested(reactor)
    settle(reactor)
    assert [end.log for end in inner] == [["secured"]] * 2
    one, other = inner
    data = os.urandom(100_000)
    one.transport.write(data)
    other.transport.write(data[::-1])
    settle(reactor)
    assert (one.input, other.input) == (data[::-1], data)
    one.transport.pause()
    other.transport.write(b"x")
    settle(reactor)
    one.transport.resume()
    settle(reactor)
    assert one.input.endswith(b"x")
    assert one.transport.buffered == other.transport.buffered == 0
    one.transport.finish()
    settle(reactor)
    assert one.errors == other.errors == [None]
    assert one.transport.events is one


@pytest.mark.parametrize("how", ["abort", "finish"])
@pytest.mark.parametrize("when", ["secured", "received"])
def test_tls_in_tls_can_be_ended_from_inside_its_callbacks(
    reactor: Reactor, how: str, when: str
) -> None:
    _, inner = nested(reactor)
    while len(inner) < 2:
        reactor.step(0)
    one, other = inner
    one.do[when] = lambda: getattr(one.transport, how)()
    other.do["secured"] = lambda: other.transport.write(b"at once")
    settle(reactor)
    expected = ["secured", "received", "gone"] if when == "received" else ["secured", "gone"]
    assert one.log == expected
    assert other.log[-1] == "gone"


def test_tls_in_tls_that_is_finished_before_its_turn_goes_no_further(reactor: Reactor) -> None:
    _, inner = nested(reactor)
    while len(inner) < 2 or inner[0].transport.reading:
        reactor.step(0)
    inner[0].transport.finish()
    settle(reactor)
    assert "secured" not in inner[0].log
    assert not inner[0].refusals
    assert [end.log[-1] for end in inner] == ["gone", "gone"]


# ---- real sockets ----


def test_an_idle_connection_makes_no_turns(real: Reactor) -> None:
    one, other = socket.socketpair()
    server = End(real, one, certificates.server_context())
    client = certificates.client_context()
    end = End(real, other, client, server_side=False, hostname="localhost")
    turn_until(real, lambda: server.log and end.log)
    server.transport.write(b"x" * 1_000_000)
    turn_until(real, lambda: len(end.input) == 1_000_000)
    selector = real._selector.selector
    assert isinstance(selector, CountingSelector)
    real.step(0)
    before = selector.turns
    real.step(0.1)
    assert selector.turns == before + 1
    assert real.next_timeout() is None
    server.transport.finish()
    turn_until(real, lambda: server.errors and end.errors)
    assert server.errors == end.errors == [None]
    before = selector.turns
    real.step(0.1)
    assert selector.turns == before + 1


def test_a_blocking_peer_shakes_hands_talks_and_ends(real: Reactor) -> None:
    import threading

    one, other = socket.socketpair()
    other.settimeout(PATIENCE)
    end = End(real, one, certificates.server_context())
    end.do["received"] = lambda: end.transport.write(end.pieces[-1])
    got: list[bytes] = []

    def talk() -> None:
        context = certificates.client_context()
        with context.wrap_socket(other, server_hostname="localhost") as sock:
            sock.sendall(b"hello")
            got.append(sock.recv(99))
            sock.unwrap().close()

    thread = threading.Thread(target=talk)
    thread.start()
    turn_until(real, lambda: end.errors)
    thread.join(PATIENCE)
    assert got == [b"hello"]
    assert end.errors == [None]


def test_a_reset_under_tls_is_the_error_of_the_end(reactor: Reactor) -> None:
    end, peer = meet(reactor)
    peer.sock.reset()
    settle(reactor)
    [error] = end.errors
    assert isinstance(error, ConnectionResetError)
    assert error.errno in (errno.ECONNRESET, 104)


@pytest.mark.slow
def test_nothing_is_kept_of_two_thousand_handshakes(reactor: Reactor) -> None:
    server, client = certificates.server_context(), certificates.client_context()

    def come_and_go(number: int) -> None:
        mine, theirs = memory_pair()
        end = End(reactor, mine, server)
        peer = TlsPeer(theirs, client)
        if number % 3:
            settle(reactor, peer)
            end.transport.write(b"x" * 1000)
        else:
            peer.turn()
            reactor.step(0)
        if number % 2:
            peer.sock.close()
        else:
            end.transport.abort()
        settle(reactor)
        assert end.log[-1] == "gone"

    def living() -> int:
        gc.collect()
        return sum(isinstance(thing, (Tls, Transport, End)) for thing in gc.get_objects())

    come_and_go(0)
    before = living()
    for number in range(2000):
        come_and_go(number)
    assert living() <= before  # on PyPy, what earlier tests have left may go meanwhile
    assert not reactor._pollables


def test_it_counts_with_the_transport_below_and_blames_whom_it_serves(reactor: Reactor) -> None:
    end, _ = meet(reactor)
    assert end.transport.tally is end.transport.below.tally
    assert end.transport.tally.bytes_received > 0
    assert end.transport.answers_for() is end.transport.below.answers_for() is end
