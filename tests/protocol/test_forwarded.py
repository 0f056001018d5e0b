"""`reactor/protocol/forwarded.py`: who a client is that comes by way of a proxy."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.errors import HandshakeError
from reactor.protocol.forwarded import ProxyReader, TrustedProxies
from reactor.protocol.http import MAX_LINE, Headers

PROXY = ("10.0.0.1", 55555)
OURS = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "unix"]


def client(*fields: tuple[str, str], header: str | None = None, peer: Any = PROXY) -> Any:
    return TrustedProxies(OURS, header).client(peer, Headers(fields))


def by_xff(*values: str) -> Any:
    return client(*[("X-Forwarded-For", value) for value in values])


def by_forwarded(*values: str) -> Any:
    return client(*[("Forwarded", value) for value in values])


# ---- whom to trust ----


@pytest.mark.parametrize(
    ("entry", "address", "trusted"),
    [
        ("127.0.0.1", ("127.0.0.1", 1), True),
        ("127.0.0.1", ("127.0.0.2", 1), False),
        ("10.0.0.0/8", ("10.255.0.1", 1), True),
        ("10.0.0.0/8", ("11.0.0.1", 1), False),
        ("10.0.0.0/255.0.0.0", ("10.1.1.1", 1), True),
        ("0.0.0.0/0", ("203.0.113.9", 1), True),
        ("0.0.0.0/0", ("::1", 1, 0, 0), False),
        ("::1", ("::1", 1, 0, 0), True),
        ("::1", ("127.0.0.1", 1), False),
        ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), True),
        ("fe80::1", ("fe80::1%2", 1, 0, 2), True),
        # A socket for both families has IPv4 peers so.
        ("10.0.0.0/8", ("::ffff:10.1.2.3", 1, 0, 0), True),
        ("10.0.0.0/8", ("::ffff:11.1.2.3", 1, 0, 0), False),
        ("::ffff:10.0.0.0/104", ("10.1.2.3", 1), True),
        ("::ffff:10.0.0.0/104", ("11.1.2.3", 1), False),
        ("::ffff:10.0.0.1", ("::ffff:10.0.0.1", 1, 0, 0), True),
        ("::/0", ("2001:db8::1", 1, 0, 0), True),
        ("unix", "", True),
        ("unix", "/run/proxy.sock", True),
        ("unix", b"\x00abstract", True),
        ("unix", ("127.0.0.1", 1), False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", ("unix", 1), False),
        ("127.0.0.1", (3, 1024), False),  # a virtual machine's
    ],
)
def test_an_entry_trusts_the_peers_that_it_names(
    entry: str, address: Any, trusted: bool
) -> None:
    assert TrustedProxies([entry]).trusts(address) is trusted


def test_nobody_is_trusted_unless_named() -> None:
    none = TrustedProxies([])
    assert not none.trusts(PROXY)
    assert not none.trusts("")


@pytest.mark.parametrize(
    "entry",
    [
        *["", "localhost", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "*", "Unix"],
        *["::1/64", "[::1]", "fe80::1%eth0", "10.0.0.1:80", "/run/proxy.sock", " 10.0.0.1"],
        "::ffff:10.0.0.1/104",
    ],
)
def test_what_is_neither_address_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="trusted proxy"):
        TrustedProxies([entry])


def test_a_network_with_bits_of_a_host_says_so() -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/8'.*host bits set"):
        TrustedProxies(["10.0.0.1/8"])


@pytest.mark.parametrize("entries", ["127.0.0.1", [1], [None], [b"unix"]])
def test_entries_are_several_strings(entries: Any) -> None:
    with pytest.raises(TypeError, match="str"):
        TrustedProxies(entries)


@pytest.mark.parametrize("header", ["", "X-Real-IP", "Forwarded-For"])
def test_no_other_field_tells_of_clients(header: str) -> None:
    with pytest.raises(ValueError, match="not Forwarded or X-Forwarded-For"):
        TrustedProxies(OURS, header)


# ---- X-Forwarded-For ----


@pytest.mark.parametrize("peer", [("203.0.113.9", 1), ("2001:db9::1", 1, 0, 0)])
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_who_is_not_trusted_is_not_believed(peer: Any, name: str) -> None:
    fields = ("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "for=198.51.100.1")
    assert client(*fields, peer=peer, header=name) == peer
    assert client(*fields, peer=peer) == peer


@pytest.mark.parametrize("peer", [PROXY, ("::ffff:10.0.0.1", 9, 0, 0), "", "/run/x"])
def test_a_trusted_peer_that_tells_nothing_is_the_client_itself(peer: Any) -> None:
    assert client(peer=peer) == peer
    assert client(("X-Forwarded-For", ""), ("X-Forwarded-For", ", ,"), peer=peer) == peer
    assert client(("Forwarded", ""), ("Forwarded", ",\t,"), peer=peer) == peer


@pytest.mark.parametrize("peer", [PROXY, ("2001:db8::5", 9, 0, 0), "", "/run/x"])
def test_a_trusted_peer_is_believed(peer: Any) -> None:
    assert client(("X-Forwarded-For", "203.0.113.9"), peer=peer) == ("203.0.113.9", 0)
    assert client(("Forwarded", "for=203.0.113.9"), peer=peer) == ("203.0.113.9", 0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["203.0.113.9"], ("203.0.113.9", 0)),
        (["203.0.113.9:4711"], ("203.0.113.9", 4711)),
        (["2001:DB9:0::1"], ("2001:db9::1", 0)),
        (["[2001:db9::1]"], ("2001:db9::1", 0)),
        (["[2001:db9::1]:4711"], ("2001:db9::1", 4711)),
        (["::ffff:203.0.113.9"], ("203.0.113.9", 0)),
        # Over our own, to the first that is not; what stands before it may be forged.
        (["1.1.1.1, 203.0.113.9, 10.0.0.2, 10.0.0.3"], ("203.0.113.9", 0)),
        (["1.1.1.1", "203.0.113.9,10.0.0.2", "2001:db8::3"], ("203.0.113.9", 0)),
        (["10.9.9.9, 203.0.113.9"], ("203.0.113.9", 0)),
        (["garbage, 203.0.113.9"], ("203.0.113.9", 0)),
        (['", 203.0.113.9'], ("203.0.113.9", 0)),
        (["203.0.113.9,, ,\t,"], ("203.0.113.9", 0)),
        # All of them ours: the furthest.
        (["10.0.0.4, 10.0.0.3,::ffff:10.0.0.2"], ("10.0.0.4", 0)),
        # Stop where nothing can be understood.
        (["unknown"], PROXY),
        (["_hidden"], PROXY),
        (["203.0.113.9, unknown"], PROXY),
        (["203.0.113.9, _hidden, 10.0.0.2"], ("10.0.0.2", 0)),
        (["203.0.113.9, 10.0.0.2 10.0.0.3"], PROXY),
        (["203.0.113.9.", "203.0.113.9:"], ("203.0.113.9", 0)),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_ours(
    values: list[str], found: Any
) -> None:
    assert by_xff(*values) == found


@pytest.mark.parametrize(
    "node",
    [
        *["203.0.113.256", "203.0.113", "1", "203.0.113.9:65536", "203.0.113.9:-1", "x:80"],
        *["203.0.113.9:8 0", "203.0.113.9:²", "203.0.113.9/32", "203.0.113.9:000080", ":80"],
        *["[2001:db9::1", "[]", "[203.0.113.9]", "[2001:db9::1]80", "[2001:db9::1]]", "::g"],
        *["[2001:db9::1]:x", "fe80::1%eth0", "fe80::1%<script>", "[fe80::1%0]:1", "localhost"],
        *["1:2:3", "x" * 7000, ":" * 7000, "0x7f.1"],
    ],
)
def test_what_is_no_address_is_nobodys(node: str) -> None:
    assert by_xff(f"203.0.113.9, {node}") == PROXY
    assert by_forwarded(f'for=203.0.113.9, for="{node}"') == PROXY


# ---- Forwarded ----


@pytest.mark.parametrize(
    ("value", "found"),
    [
        # The examples of RFC 7239 §4, §6.3, §7.1 and §7.4.
        ('for="_gazonk"', PROXY),
        ('For="[2001:db9:cafe::17]:4711"', ("2001:db9:cafe::17", 4711)),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ("192.0.2.60", 0)),
        ("for=192.0.2.43, for=198.51.100.17", ("198.51.100.17", 0)),
        ('for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown', PROXY),
        ('for=192.0.2.43, for="[2001:db8:cafe::17]"', ("192.0.2.43", 0)),
        ("for=_hidden, for=_SEVKISEK", PROXY),
        ('for=192.0.2.43;by="_x";host=example.com;proto=https', ("192.0.2.43", 0)),
    ],
)
def test_the_standards_examples(value: str, found: Any) -> None:
    assert by_forwarded(value) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (['for="203.0.113.9:4711"'], ("203.0.113.9", 4711)),
        (['for="203.0.113.9:_port"'], ("203.0.113.9", 0)),
        (["FOR=203.0.113.9"], ("203.0.113.9", 0)),
        (["for=203.0.113.9:80"], ("203.0.113.9", 80)),
        (["for=[2001:db9::1]:80"], ("2001:db9::1", 80)),
        (["for=203.0.113.9 ; proto=https ;"], ("203.0.113.9", 0)),
        ([";;for=203.0.113.9;;"], ("203.0.113.9", 0)),
        ([r'for="203.0.\113.9"'], ("203.0.113.9", 0)),
        (['host="a,b;c\\",for=1.1.1.1";for=203.0.113.9'], ("203.0.113.9", 0)),
        (['host="\\\\";for=203.0.113.9'], ("203.0.113.9", 0)),
        ([r'host="a\\\",b";for=203.0.113.9'], ("203.0.113.9", 0)),
        (['host="";for=203.0.113.9'], ("203.0.113.9", 0)),
        (["for=1.1.1.1", "for=203.0.113.9", "for=10.0.0.2"], ("203.0.113.9", 0)),
        (["for=203.0.113.9,,", ","], ("203.0.113.9", 0)),
        (['for=203.0.113.9,for="10.0.0.2:9"'], ("203.0.113.9", 0)),
        (["for=10.0.0.3, for=10.0.0.2"], ("10.0.0.3", 0)),
    ],
)
def test_a_forwarded_field_is_walked_from_the_right(values: list[str], found: Any) -> None:
    assert by_forwarded(*values) == found


@pytest.mark.parametrize(
    "element",
    [
        *["203.0.113.9", "for", "for=", "for =203.0.113.9", "for= =x", "=203.0.113.9"],
        *["proto=https", "for=203.0.113.9;for=203.0.113.9", "for=203.0.113.9;FOR=1.1.1.1"],
        *['for="203.0.113.9', 'for=203.0.113.9"', 'for="203.0.113.9"x', 'for="203.0.113.9\\"'],
        *[
            'for="203.0.113.9\\',
            'for=203.0.113.9;"',
            '"for=203.0.113.9"',
            'x"";for=203.0.113.9',
        ],
        *["for=203.0.113.9;x", "for=203.0.113.9;x y=z", "for=unknown", "for=_x", '"', '\\"'],
    ],
)
def test_an_element_that_is_malformed_or_tells_of_nobody_ends_the_walk(element: str) -> None:
    assert by_forwarded("for=198.51.100.1", element) == PROXY
    assert by_forwarded(f"for=198.51.100.1, {element}, for=10.0.0.2") == ("10.0.0.2", 0)


@pytest.mark.parametrize(
    "forged",
    [
        *['for="', 'for=1.1.1.1;x="', 'for=1.1.1.1;x="\\', '"', 'for="1.1.1.1', "for=1.1.1.1;"],
        *['x="a", for=1.1.1.1;y="', "for=1.1.1.1", "\\", '"""', 'for="1.1.1.1\\"'],
    ],
)
@pytest.mark.parametrize(
    "added", ["for=203.0.113.9", 'for="203.0.113.9:5"', 'host="a\\"b";for=203.0.113.9']
)
def test_nothing_that_a_client_begins_swallows_what_the_proxy_adds(
    forged: str, added: str
) -> None:
    assert by_forwarded(f"{forged}, {added}")[0] == "203.0.113.9"
    assert by_forwarded(forged, added)[0] == "203.0.113.9"


QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
ELEMENTS = st.tuples(
    st.sampled_from(["10.0.0.2", "203.0.113.9", "198.51.100.1", '"[2001:db8::2]:80"']),
    st.lists(QUOTED, max_size=2),
)


def packed(node: str, texts: list[str]) -> str:
    escaped = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return ";".join([f"for={node}", *[f'x="{text}"' for text in escaped]])


@given(st.lists(ELEMENTS, min_size=1, max_size=5), st.text('ab\\",;=', max_size=9))
@example([("10.0.0.2", ['"'])], "")
def test_quoted_text_of_any_kind_is_passed_over(
    elements: list[tuple[str, list[str]]], forged: str
) -> None:
    value = ",".join(packed(*element) for element in elements)
    hosts = [node.strip('"[').partition("]")[0] for node, _ in elements]
    others = [host for host in hosts if host in ("203.0.113.9", "198.51.100.1")]
    if others:
        assert by_forwarded(f"{forged},{value}")[0] == others[-1]
    assert by_forwarded(value)[0] == (others[-1] if others else hosts[0])


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
@example('for="a",b="')
def test_any_text_tells_of_an_address_or_of_nobody(text: str) -> None:
    for found in (by_xff(text), by_forwarded(text)):
        if found != PROXY:
            family = socket.AF_INET6 if ":" in found[0] else socket.AF_INET
            socket.inet_pton(family, found[0])


# ---- both fields ----

XFF = ("X-Forwarded-For", "203.0.113.9")
FORWARDED = ("Forwarded", "for=198.51.100.1")


def test_the_field_that_is_named_is_the_only_one() -> None:
    assert client(XFF, FORWARDED, header="x-forwarded-for") == ("203.0.113.9", 0)
    assert client(XFF, FORWARDED, header="FORWARDED") == ("198.51.100.1", 0)
    assert client(FORWARDED, header="X-Forwarded-For") == PROXY
    assert client(XFF, header="Forwarded") == PROXY


@pytest.mark.parametrize(
    "other",
    [
        *["for=198.51.100.1", "for=10.0.0.1", "for=unknown", "", "x", 'for="'],
        "for=203.0.113.9, for=198.51.100.1",
    ],
)
def test_two_fields_that_tell_of_two_clients_are_refused(other: str) -> None:
    # Which of them the proxy has written, and which the client, cannot be told.
    for peer in (PROXY, ""):
        with pytest.raises(HandshakeError, match="two clients") as caught:
            client(XFF, ("Forwarded", other), peer=peer)
        assert caught.value.status == 400


def test_two_fields_that_tell_of_one_client_are_believed() -> None:
    same = ("Forwarded", 'for=1.1.1.1, for="203.0.113.9:80", for=10.0.0.2')
    assert client(XFF, same) == client(same, XFF) == ("203.0.113.9", 80)
    assert client(("X-Forwarded-For", "unknown"), ("Forwarded", "for=_x")) == PROXY


# ---- costs ----


@pytest.mark.parametrize(
    "value",
    [
        *["10.0.0.2," * 900, ";" * MAX_LINE, '"' * MAX_LINE, "\\" * MAX_LINE, '\\"' * 4000],
        *["," * MAX_LINE, 'x="",' * 1600, "for=10.0.0.2," * 600, "a=b;" * 2000, "=" * MAX_LINE],
        *[
            '"' + "," * 8000,
            '"\\' * 4000 + '"',
            'for="' + "\\x" * 4000 + '"',
            '"' + "\\" * 8000,
        ],
    ],
)
def test_the_longest_fields_cost_little(value: str) -> None:
    fields = [("Forwarded", value[:MAX_LINE])] * 2
    started = time.process_time()
    client(*fields)
    client(*[("X-Forwarded-For", text) for _, text in fields])
    assert time.process_time() - started < 0.5


# ---- the PROXY protocol ----


def read(data: bytes, size: int = 1 << 30) -> Any:
    """What a reader says of `data` in pieces of `size`: client and rest, or `None`."""
    reader = ProxyReader()
    for at in range(0, len(data), size):
        whole = reader.feed(data[at : at + size])
        if whole is not None:
            return whole[0], whole[1] + data[at + size :]
    return None


def refused_at(data: bytes) -> tuple[int, str]:
    """How many bytes of `data` are read until it is refused, and why."""
    reader = ProxyReader()
    for count, byte in enumerate(data, 1):
        try:
            whole = reader.feed(bytes([byte]))
        except ValueError as error:
            return count, str(error)
        assert whole is None
    raise AssertionError("it was not refused")


SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, block: bytes, size: int | None = None) -> bytes:
    length = len(block) if size is None else size
    return SIGNATURE + bytes([0x20 | command, family]) + length.to_bytes(2, "big") + block


INET = bytes([203, 0, 113, 9, 10, 0, 0, 1]) + b"\xdb\xa0\x01\xbb"
INET6 = (
    b"\x20\x01\x0d\xb9"
    + bytes(11)
    + b"\x09"
    + b"\x20\x01\x0d\xb8"
    + bytes(12)
    + b"\xdb\xa0\x01\xbb"
)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")

# As HAProxy 2.6.12 sends them, from 127.0.0.1 and ::1, to a server in mode tcp.
HAPROXY = {
    "send-proxy, IPv4": (
        b"PROXY TCP4 127.0.0.1 127.0.0.1 54840 43439\r\n",
        ("127.0.0.1", 54840),
    ),
    "send-proxy, IPv6": (b"PROXY TCP6 ::1 ::1 51140 34483\r\n", ("::1", 51140)),
    "send-proxy, by a unix socket": (b"PROXY UNKNOWN\r\n", None),
    "send-proxy-v2, IPv4": (  # PROXY, INET and STREAM, 12 bytes: 127.0.0.1 twice, two ports
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\xcd\x86\x83\xc5",
        ("127.0.0.1", 52614),
    ),
    "send-proxy-v2, IPv6": (  # PROXY, INET6 and STREAM, 36 bytes: ::1 twice, two ports
        b"\r\n\r\n\x00\r\nQUIT\n!!\x00$" + (bytes(15) + b"\x01") * 2 + b"\xc9d\x8d]",
        ("::1", 51556),
    ),
    "proxy-v2-options crc32c": (  # the addresses, then type 3 of 4 bytes
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x13\x7f\x00\x00\x01\x7f\x00\x00\x01\xb7&\xad\xd3"
        b"\x03\x00\x04Z\xd1Hn",
        ("127.0.0.1", 46886),
    ),
    "proxy-v2-options crc32c,unique-id, IPv6": (  # and type 5 of 10 bytes behind it
        b"\r\n\r\n\x00\r\nQUIT\n!!\x008" + (bytes(15) + b"\x01") * 2 + b"\xd4~\xa6\x89"
        b"\x03\x00\x04\x1b):\xf6\x05\x00\nX::1:54398",
        ("::1", 54398),
    ),
    "send-proxy-v2, by a unix socket, or a check": (  # LOCAL, unspecified, nothing
        b"\r\n\r\n\x00\r\nQUIT\n \x00\x00\x00",
        None,
    ),
}

HEADS = {
    **HAPROXY,
    # The longest lines of the specification's §2.1.
    "longest TCP4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ("255.255.255.255", 65535),
    ),
    "longest TCP6": (
        b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"f...f", b":".join([b"ffff"] * 6)
        ),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    "longest UNKNOWN": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    "UNKNOWN with addresses": (b"PROXY UNKNOWN ::1 \x00\xff 1\r\n", None),
    "port 0": (b"PROXY TCP4 1.2.3.4 1.2.3.5 0 80\r\n", ("1.2.3.4", 0)),
    "IPv4 as IPv6, v1": (b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", ("1.2.3.4", 1)),
    "INET": (v2(1, 0x11, INET), ("203.0.113.9", 56224)),
    "INET6": (v2(1, 0x21, INET6), ("2001:db9::9", 56224)),
    "UNIX": (v2(1, 0x31, UNIX), "/run/client"),
    "UNIX, longest": (v2(1, 0x31, b"x" * 216), "x" * 108),
    "UNIX, unnamed": (v2(1, 0x31, bytes(216)), ""),
    "UNIX, not UTF-8": (v2(1, 0x31, b"/\xff".ljust(216, b"\0")), "/\udcff"),
    "IPv4 as IPv6, v2": (
        v2(1, 0x21, bytes(10) + b"\xff\xff\x01\x02\x03\x04" + bytes(16) + b"\x00\x01\x00\x02"),
        ("1.2.3.4", 1),
    ),
    "with extensions": (
        v2(1, 0x11, INET + b"\x01\x00\x02h2\x04\x00\x00\xe0\x00\x01x"),
        ("203.0.113.9", 56224),
    ),
    "longest": (
        v2(1, 0x11, INET + b"\x04" + (4081).to_bytes(2, "big") + bytes(4081)),
        ("203.0.113.9", 56224),
    ),
    "with a long extension": (
        v2(1, 0x11, INET + b"\x04\x01\x2c" + b"\x03" * 300),
        ("203.0.113.9", 56224),
    ),
    "LOCAL": (v2(0, 0, b""), None),
    "LOCAL, whatever else it says": (v2(0, 0xFF, b"anything"), None),
    "unspecified": (v2(1, 0, b"anything"), None),
    "unspecified protocol": (v2(1, 0x10, INET), None),
    "unspecified family": (v2(1, 0x01, b""), None),
}


@pytest.mark.parametrize("size", [1, 2, 5, 16, 1 << 30])
@pytest.mark.parametrize(("head", "address"), HEADS.values(), ids=HEADS)
def test_a_head_tells_the_clients_address(head: bytes, address: Any, size: int) -> None:
    assert read(head + b"GET / HTTP/1.1\r\n", size) == (address, b"GET / HTTP/1.1\r\n")
    assert read(head, size) == (address, b"")
    assert read(head[:-1], size) is None


@given(
    st.sampled_from(sorted(HEADS)),
    st.lists(st.integers(0, 250)),
    st.binary(max_size=5) | st.just(SIGNATURE),
)
def test_it_does_not_matter_where_a_head_is_cut(
    name: str, cuts: list[int], rest: bytes
) -> None:
    head, address = HEADS[name]
    data = head + rest
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = ProxyReader()
    for start, end in zip([0, *ends[:-1]], ends):
        whole = reader.feed(data[start:end])
        assert (whole is None) == (end < len(head))
        if whole is not None:
            assert whole == (address, data[len(head) : end])
            break


def test_nothing_is_not_yet_anything() -> None:
    reader = ProxyReader()
    assert reader.feed(b"") is None
    assert reader.feed(b"P") is None


@pytest.mark.parametrize(
    ("data", "count", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 1, "TLS, not a PROXY header"),
        (b"GET / HTTP/1.1\r\n\r\n", 1, "a request, not a PROXY header"),
        (b"POST / HTTP/1.1\r\n\r\n", 2, "a request, not a PROXY header"),
        (b"PROPFIND / HTTP/1.1\r\n\r\n", 4, "a request, not a PROXY header"),
        (b"PROXY\tTCP4", 6, "a request, not a PROXY header"),
        (b"proxy TCP4", 1, "byte 0x70, not a PROXY header"),
        (b"\x00", 1, "byte 0x00, not a PROXY header"),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", 3, "byte 0x0d, not a PROXY header"),
        (b"\r\n\r\n\x00\r\nQUIX", 11, "byte 0x0d, not a PROXY header"),
        # Line ends, and the limit.
        (b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n", 31, "a line feed by itself"),
        (b"PROXY UNKNOWN x\ny\r\n", 16, "a line feed by itself"),
        (b"PROXY UNKNOWN " + b"x" * 200, 107, "over 107 bytes"),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", 107, "over 107 bytes"),
        # What version 2 is made of.
        (SIGNATURE + b"\x11\x11\x00\x0c", 13, "version and command 0x11"),
        (SIGNATURE + b"\x31\x11\x00\x0c", 13, "version and command 0x31"),
        (SIGNATURE + b"\x22\x11\x00\x0c", 13, "version and command 0x22"),
        (SIGNATURE + b"\x2f\x11\x00\x0c", 13, "version and command 0x2f"),
        (v2(1, 0x11, b"", 4097), 16, "of 4097 bytes, at most 4096"),
        (v2(0, 0x00, b"", 0xFFFF), 16, "of 65535 bytes, at most 4096"),
    ],
)
def test_what_is_no_head_is_refused_at_the_byte_that_shows_it(
    data: bytes, count: int, reason: str
) -> None:
    read_bytes, said = refused_at(data)
    assert read_bytes == count
    assert reason in said
    with pytest.raises(ValueError, match=reason):
        read(data)


@pytest.mark.parametrize(
    "line",
    [
        *[b"", b"TCP4", b"TCP5 1.2.3.4 1.2.3.5 1 2", b"tcp4 1.2.3.4 1.2.3.5 1 2"],
        *[b"TCP4 1.2.3.4 1.2.3.5 1", b"TCP4 1.2.3.4 1.2.3.5 1 2 3", b"UNKNOWNX", b"unknown"],
        *[
            b"TCP4 1.2.3.4  1.2.3.5 1 2",
            b" TCP4 1.2.3.4 1.2.3.5 1 2",
            b"UDP4 1.2.3.4 1.2.3.5 1 2",
        ],
        *[b"TCP4 ::1 ::1 1 2", b"TCP6 1.2.3.4 1.2.3.5 1 2", b"TCP4 1.2.3.4 ::1 1 2"],
        *[
            b"TCP4 1.2.3 1.2.3.5 1 2",
            b"TCP4 1.2.3.256 1.2.3.5 1 2",
            b"TCP4 1.2.3.04 1.2.3.5 1 2",
        ],
        *[b"TCP4 localhost 1.2.3.5 1 2", b"TCP4 1.2.3.4 x 1 2", b"TCP6 ::1%x ::1 1 2"],
        *[b"TCP6 ::1 ::1%x 1 2", b"TCP6 [::1] ::1 1 2", b"TCP6 ::g ::1 1 2"],
        *[
            b"TCP4 1.2.3.4 1.2.3.5 01 2",
            b"TCP4 1.2.3.4 1.2.3.5 1 02",
            b"TCP4 1.2.3.4 1.2.3.5  2",
        ],
        *[b"TCP4 1.2.3.4 1.2.3.5 65536 2", b"TCP4 1.2.3.4 1.2.3.5 -1 2"],
        *[
            b"TCP4 1.2.3.4 1.2.3.5 1 2\r",
            b"TCP4 1.2.3.4 1.2.3.5 +1 2",
            b"TCP4 1.2.3.4 1.2.3.5 1 x",
        ],
        *[
            b"TCP4 1.2.3.4 1.2.3.5 \xb2 2",
            b"TCP4 1.2.3.4\x00 1.2.3.5 1 2",
            b"TCP4 1.2.3.4 1.2.3.5 1_0 2",
        ],
    ],
)
def test_a_line_that_is_not_by_the_letter_is_refused(line: bytes) -> None:
    for size in (1, 1 << 30):
        with pytest.raises(ValueError, match=r"PROXY header|port"):
            read(b"PROXY " + line + b"\r\n", size)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (v2(1, 0x12, INET), "family and protocol 0x12"),  # datagrams
        (v2(1, 0x22, INET6), "family and protocol 0x22"),
        (v2(1, 0x32, UNIX), "family and protocol 0x32"),
        (v2(1, 0x02, b""), "family and protocol 0x02"),
        (v2(1, 0x13, INET), "family and protocol 0x13"),
        (v2(1, 0x41, UNIX), "family and protocol 0x41"),
        (v2(1, 0xF1, UNIX), "family and protocol 0xf1"),
        (v2(1, 0x11, INET[:-1]), "of 11 bytes, too short"),
        (v2(1, 0x11, b""), "of 0 bytes, too short"),
        (v2(1, 0x21, INET6[:-1]), "of 35 bytes, too short"),
        (v2(1, 0x21, INET), "of 12 bytes, too short"),
        (v2(1, 0x31, UNIX[:-1]), "of 215 bytes, too short"),
        (v2(1, 0x11, INET + b"\x04"), "longer than it"),
        (v2(1, 0x11, INET + b"\x04\x00"), "longer than it"),
        (v2(1, 0x11, INET + b"\x04\x00\x02x"), "longer than it"),
        (v2(1, 0x11, INET + b"\x04\xff\xff"), "longer than it"),
        (v2(1, 0x11, INET + b"\x03\x00\x04" + bytes(4)), "wrong checksum"),
        (v2(1, 0x11, INET + b"\x03\x00\x00"), "wrong checksum"),
        (v2(1, 0x11, INET + b"\x03\x00\x05" + bytes(5)), "wrong checksum"),
    ],
)
def test_a_block_that_is_not_by_the_letter_is_refused(head: bytes, reason: str) -> None:
    for size in (1, 1 << 30):
        with pytest.raises(ValueError, match=reason):
            read(head + b"rest", size)


@pytest.mark.parametrize("name", [name for name in HAPROXY if "crc32c" in name])
def test_one_byte_that_was_changed_is_found_by_the_checksum(name: str) -> None:
    head = bytearray(HAPROXY[name][0])
    for at in range(16, 28):  # in both, addresses or ports
        head[at] ^= 0x20
        with pytest.raises(ValueError, match="wrong checksum"):
            read(bytes(head))
        head[at] ^= 0x20
    assert read(bytes(head)) == (HAPROXY[name][1], b"")


@given(
    st.binary(max_size=80), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"!\x11"])
)
def test_any_bytes_are_a_head_or_refused_or_not_whole(data: bytes, start: bytes) -> None:
    outcomes = []
    for size in (1, 1 << 30):
        try:
            outcomes.append(read(start + data, size))
        except ValueError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1] or isinstance(outcomes[0], str)


def test_the_longest_head_costs_little() -> None:
    checked = v2(1, 0x11, INET + b"\x04\x0f\xea" + bytes(4074) + b"\x03\x00\x04" + bytes(4))
    started = time.process_time()
    for size in (1, 1 << 30):
        with pytest.raises(ValueError, match="wrong checksum"):
            read(checked, size)
    assert time.process_time() - started < 1
