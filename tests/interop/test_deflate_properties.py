"""Any sequence of messages, between us and the half of websockets that has no sockets.

All is in memory, so that hypothesis can try many: parameters of both sides, messages in both
directions, whole and in fragments, and a network that cuts what it carries.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import Client, PerMessageDeflate, Reactor, Server
from reactor.loop.dialer import Dialer
from reactor.testing import FakeClock, MemorySelector, memory_pair
from tests import programs
from tests.interop.deflating import SETS, Item, check, cut, plans

if TYPE_CHECKING:
    from reactor import Connection
    from tests.interop.deflating import Message, Plan

pytestmark = pytest.mark.interop

names = st.sampled_from(sorted(SETS))
chunks = st.sampled_from([509, 4099, 1 << 20])
fragment_sizes = st.sampled_from([None, 125, 1000, 65536])
untimed = settings(deadline=None, max_examples=40)


class Theirs:
    """A protocol of websockets at the other end of a connection in memory.

    Args:
        protocol: A `ClientProtocol`, or a `ServerProtocol`.
        reactor: Ours.
        chunk: The most bytes that the network carries at once.

    Attributes:
        sock: Our end.
        heard: The messages that have come.
    """

    def __init__(self, protocol: Any, reactor: Reactor, chunk: int) -> None:
        self.protocol = protocol
        self.reactor = reactor
        self.end, self.sock = memory_pair()
        self.end.chunk = self.sock.chunk = chunk
        self.heard: list[Message] = []
        self._parts: list[bytes] = []
        self._unsent = b""
        self._is_text = False

    def settle(self) -> None:
        """Carry bytes to and fro until nothing moves."""
        moves = True
        while moves:
            self.reactor.step(0)
            self._unsent += b"".join(self.protocol.data_to_send())
            there, here = self._unsent or self.end.inbox, self.sock.inbox
            moves = bool(there or here) or self.reactor.next_timeout() == 0
            if self._unsent:
                self._unsent = self._unsent[self.end.send(self._unsent) :]
            if self.end.inbox:
                self.protocol.receive_data(self.end.recv(1 << 20))
                for event in self.protocol.events_received():
                    self.take(event)
            assert self.protocol.parser_exc is None, self.protocol.parser_exc

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Request":
            self.protocol.send_response(self.protocol.accept(event))
        elif kind == "Frame":
            assert event.opcode in {0, 1, 2}, event
            if event.opcode:
                self._is_text = event.opcode == 1
            self._parts.append(bytes(event.data))
            if event.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self.heard.append(whole.decode() if self._is_text else whole)

    def send(self, item: Item) -> None:
        parts = cut(item.message, item.fragments or 1)
        is_text = isinstance(item.message, str)
        send = self.protocol.send_text if is_text else self.protocol.send_binary
        for number, part in enumerate(parts, 1):
            send(part.encode() if is_text else part, fin=number == len(parts))
            send = self.protocol.send_continuation


def go_through(
    theirs: Theirs, ours: Client | Connection, heard: list[Message], plans: list[list[Plan]]
) -> None:
    """Send the one list from here to there and the other from there to here, by turns."""
    to_them, to_us = ([Item.of(plan) for plan in plan_list] for plan_list in plans)
    assert ours.extensions.startswith("permessage-deflate")
    for going, coming in itertools.zip_longest(to_them, to_us):
        if going is not None:
            message, compress, fragments = going
            ours.send(iter(cut(message, fragments)) if fragments else message, compress)
        if coming is not None:
            theirs.send(coming)
        theirs.settle()
    for there, here in (theirs.heard, to_them), (heard, to_us):
        assert len(there) == len(here)
        for message, item in zip(there, here):
            check(message, item)


@untimed
@given(st.tuples(plans(), plans()), names, names, chunks, fragment_sizes)
def test_any_sequence_comes_through_between_our_server_and_their_client(
    plans: tuple[list[Plan], list[Plan]],
    our_name: str,
    their_name: str,
    chunk: int,
    fragment_size: int | None,
) -> None:
    protocols = programs.module("websockets.client")
    deflate = programs.module("websockets.extensions.permessage_deflate")
    asked = {"client_max_window_bits": True, **SETS[their_name]}
    extensions = [deflate.ClientPerMessageDeflateFactory(**asked)]
    uri = programs.module("websockets.uri").parse_uri("ws://memory/")
    protocol = protocols.ClientProtocol(uri, extensions=extensions)
    heard: list[Message] = []
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        server = Server(
            None,
            reactor=reactor,
            extensions=[PerMessageDeflate(**SETS[our_name])],
            fragment_size=fragment_size,
            onmessage=lambda client, message: heard.append(message),
        )
        theirs = Theirs(protocol, reactor, chunk)
        server.accepted(cast("Any", theirs.sock), ("memory", 1))
        protocol.send_request(protocol.connect())
        theirs.settle()
        [ours] = server.clients
        go_through(theirs, ours, heard, list(plans))


@untimed
@given(st.tuples(plans(), plans()), names, names, chunks, fragment_sizes)
def test_any_sequence_comes_through_between_our_client_and_their_server(
    plans: tuple[list[Plan], list[Plan]],
    our_name: str,
    their_name: str,
    chunk: int,
    fragment_size: int | None,
) -> None:
    protocols = programs.module("websockets.server")
    deflate = programs.module("websockets.extensions.permessage_deflate")
    extensions = [deflate.ServerPerMessageDeflateFactory(**SETS[their_name])]
    protocol = protocols.ServerProtocol(extensions=extensions)
    heard: list[Message] = []
    with Reactor(selector=MemorySelector(), clock=FakeClock()) as reactor:
        theirs = Theirs(protocol, reactor, chunk)

        def dial(dialer: Any, *where: object) -> None:
            reactor.call_soon(dialer._connected, theirs.sock, ("memory", 1))

        with mock.patch.object(Dialer, "dial", dial):
            ours = Client(
                "ws://memory/",
                reactor=reactor,
                proxy=False,
                extensions=[PerMessageDeflate(**SETS[our_name])],
                fragment_size=fragment_size,
                onmessage=lambda client, message: heard.append(message),
            )
            theirs.settle()
        go_through(theirs, ours, heard, list(plans))
