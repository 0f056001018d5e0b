"""What is fuzzed on the client's side, and at what a proxy says: see `targets.py`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from reactor.errors import HandshakeError, ProxyError
from reactor.protocol import auth, forwarded, http, proxies, requesting, response, uri
from reactor.protocol.quoting import quoted

from ..protocol.recorder import byte_by_byte, cut_at_random
from ..rfc.rfc6455 import HANDSHAKES, RESPONSE
from .targets import END, SINGLY, Finding, Target, chance

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Pieces = list[bytes]


def check_cuts(
    read: Callable[[Pieces], tuple[Any, ...]], data: bytes, stream: bytes
) -> tuple[Any, ...]:
    """Read `stream` whole and in pieces; return what becomes of it."""
    one = read([stream])
    cuts = chance(data)
    ways = [cut_at_random(stream, cuts), cut_at_random(stream, cuts)]
    if len(stream) <= SINGLY:
        ways.append(byte_by_byte(stream))
    for pieces in ways:
        other = read(pieces)
        if other != one:
            raise Finding(
                f"pieces of {[len(piece) for piece in pieces[:40]]}: {other}\nwhole: {one}"
            )
    return one


# ---- the response to a client ----

KEY = HANDSHAKES[0][1]
OFFERS = ((), ("chat", "superchat"))
BASES = [
    uri.parse_uri(text) for text in ("ws://a/b/c?d", "wss://[::1]:81/", "ws+unix:///a%253A:/b")
]


def check_reader(reader: response.ReplyReader) -> None:
    kept = len(reader._head._buffer)
    body, line = len(reader._body), len(reader._line)
    if kept > http.MAX_HEAD + len(END) or body >= response.MAX_BODY or line > 4096:
        raise Finding(f"{kept} bytes of a head are kept, {body} of a body, {line} of a line")


def check_redirect(reply: response.Reply) -> Hashable:
    """Check that a redirect leads to where a client may go, or nowhere."""
    places = []
    for before in BASES:
        try:
            after = before.redirected(reply.headers["Location"])
        except ValueError:
            places.append("")
            continue
        again = uri.parse_uri(str(after))
        if (again.origin, again.target) != (after.origin, after.target):
            raise Finding(f"{after!r} is shown as {again!r}")
        if (after.unix and after.origin != before.origin) or after.credentials:
            raise Finding(f"a server may not lead to {after!r}")
        head = requesting.request_head(
            after, KEY, subprotocols=(), fields=http.Headers(), authorization=None
        )
        if http.parse_head(head)[0] != f"GET {after.target} HTTP/1.1":
            raise Finding(f"a redirect gets into the request: {head!r}")
        places.append(after.scheme)
    return tuple(places)


def judged(reply: response.Reply, offered: tuple[str, ...]) -> tuple[Any, ...]:
    """Do with a response what a client does."""
    if reply.status in requesting.REDIRECTS and "Location" in reply.headers:
        return "redirect", check_redirect(reply), reply.body
    try:
        return "open", requesting.check_reply(reply, KEY, offered), b""
    except HandshakeError as error:
        if error.status != reply.status or error.body != reply.body:
            raise Finding(f"{reply!r} became {error!r}") from error
        return "refused", error.reason, error.body


def read_reply(pieces: Pieces, offered: tuple[str, ...]) -> tuple[Any, ...]:
    """Return what becomes of a response, and what comes behind it."""
    reader = response.ReplyReader()
    try:
        for at, piece in enumerate((*pieces, END)):
            if reader.feed(piece):
                left = b"".join([*pieces, END][at + 1 :])
                break
            check_reader(reader)
        else:
            left = b""
    except HandshakeError as error:
        if error.status:
            raise Finding(f"what is no response has a status: {error!r}") from error
        return "none", "", b""
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"a response raised {error!r}") from error
    reply = reader.reply
    if reply is None:
        return "part", "", b""
    if len(reply.body) > response.MAX_BODY or (reply.status == 101 and reply.body):
        raise Finding(f"{len(reply.body)} bytes of a body")
    rest = reader.rest + left if reply.status == 101 else b""
    return (*judged(reply, offered), rest)


def run_reply(data: bytes) -> Hashable:
    """The first byte chooses what was offered; the rest is what the server sends."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    offered = OFFERS[options % len(OFFERS)]
    found = check_cuts(lambda pieces: read_reply(pieces, offered), data, stream)
    return found[0], found[1], min(len(found[2]), 5)


def reply_seeds() -> list[bytes]:
    first = b"HTTP/1.1 403 Forbidden\r\n"
    chunked = first + b"Transfer-Encoding: chunked\r\n\r\n"
    seeds = [
        RESPONSE + b"\x81\x05Hello",
        RESPONSE.replace(b"Upgrade: websocket", b"Upgrade: WebSocket\r\nContent-Length: 0"),
        RESPONSE.replace(b"chat", b"c"),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 8 + RESPONSE,
        first + b"Content-Length: 5\r\n\r\nHello",
        first + b"\r\n" + bytes(70_000),
        chunked + b"5;a=b\r\nHello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n",
        chunked + b"10000\r\n" + bytes(65_536) + b"\r\n0\r\n\r\n",
        first.replace(b"403", b"204") + b"Transfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        *(
            b"HTTP/1.1 302 Found\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n"
            for place in (b"https://u:p@b:444/x#y", b"//[::2]/%41", b"../a?b", b"ws+unix:/a")
        ),
    ]
    return [bytes((options,)) + seed for seed in seeds for options in range(len(OFFERS))]


REPLY_TOKENS = [
    *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"101 ", b"100 ", b"302 ", b"401 ", b"\r\n", b"\r\n\r\n"),
    *(
        b"\n",
        b"\r",
        b": ",
        b",",
        b";",
        b"0\r\n",
        b"ffff\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Location: ",
        b"://",
        b"//",
        b"@",
        b"[::1]",
        b"\\",
        b"%",
        b"..",
    ),
    *(
        b"Sec-WebSocket-Accept: ",
        b"Sec-WebSocket-Extensions: x\r\n",
        b"\xff",
        b"\x00",
        b"#",
        b"?",
    ),
]

# ---- what a proxy says ----

USER = ("Aladdin", "open sesame")
TUNNELS: tuple[Callable[[], proxies.Tunnel], ...] = (
    lambda: proxies.HttpConnect(proxies.Proxy("http", "p", 3128), "example.com", 443),
    lambda: proxies.HttpConnect(proxies.Proxy("http", "p", 3128, *USER), "::1", 80),
    lambda: proxies.Socks5(proxies.Proxy("socks5", "p", 1080), "example.com", 443),
    lambda: proxies.Socks5(proxies.Proxy("socks5", "p", 1080, *USER), "::1", 80),
)
LONGEST = 2 * http.MAX_HEAD


def read_tunnel(new: Callable[[], proxies.Tunnel], pieces: Pieces) -> tuple[Any, ...]:
    """Return what a talk with a proxy leads to: what was said, and what is the server's."""
    talk = new()
    said = talk.begin()
    if isinstance(talk, proxies.HttpConnect):
        pieces = [*pieces, END]
    try:
        for piece in pieces:
            said += talk.feed(piece)
            kept = talk._reader._buffer if hasattr(talk, "_reader") else talk._buffer
            if len(kept) > LONGEST or (talk.rest and not talk.done):
                raise Finding(f"{len(kept)} bytes are kept of what a proxy says")
    except ProxyError as error:
        if talk.done or USER[1] in f"{error!r} {error}" or not str(error).isprintable():
            raise Finding(f"a proxy's answer became {error!r}") from error
        return "refused", error.status
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"a proxy's answer raised {error!r}") from error
    return talk.done, said, talk.rest


def read_header(pieces: Pieces) -> tuple[Any, ...]:
    """Return whom the PROXY protocol tells of, and what comes behind it."""
    reader = forwarded.ProxyReader()
    try:
        for at, piece in enumerate(pieces):
            found = reader.feed(piece)
            if found is not None:
                check_client(found[0])
                return found[0], found[1] + b"".join(pieces[at + 1 :])
            if len(reader._buffer) > 16 + 4096:
                raise Finding(f"{len(reader._buffer)} bytes of a PROXY header are kept")
    except Finding:
        raise
    except ValueError:
        return ("refused",)
    except Exception as error:
        raise Finding(f"a PROXY header raised {error!r}") from error
    return ("part",)


def check_client(client: Any) -> None:
    if isinstance(client, tuple):
        host, port = client
        if str(ip_address(host)) != host or not 0 <= port <= 65535:
            raise Finding(f"client {client!r}")
    elif client is not None and (not isinstance(client, str) or "\0" in client):
        raise Finding(f"client {client!r}")


def run_proxy(data: bytes) -> Hashable:
    """The first byte chooses the language; the rest is what the proxy says in it."""
    options, stream = (data[0], data[1:]) if data else (0, b"")
    kind = options % (len(TUNNELS) + 1)
    if kind == len(TUNNELS):
        found = check_cuts(read_header, data, stream)
        return kind, type(found[0]), found[0] if len(found) == 1 else ""
    found = check_cuts(lambda pieces: read_tunnel(TUNNELS[kind], pieces), data, stream)
    return kind, found[0], found[1] if found[0] == "refused" else len(found[1])


def proxy_seeds() -> list[bytes]:
    first = b"HTTP/1.1 200 Connection established\r\n"
    connect = [
        first + b"Content-Length: 5\r\n\r\nHello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + first + b"\r\n",
        b"HTTP/1.0 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 101 x\r\n\r\n",
        b"\x05\x00",
    ]
    bound = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
    socks = [
        b"\x05\x00" + bound + b"Hello",
        b"\x05\x02\x01\x00" + bound,
        b"\x05\x00\x05\x00\x00\x03\x04name\x00\x50x",
        b"\x05\x00\x05\x00\x00\x04" + bytes(18),
        b"\x05\x02\x01\x01",
        b"\x05\xff",
        b"\x05\x00\x05\x05\x00\x01" + bytes(6),
    ]
    v2 = b"\r\n\r\n\x00\r\nQUIT\n"
    headers = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\nGET /",
        b"PROXY TCP6 2001:db8::1 ::1 65535 80\r\n",
        b"PROXY UNKNOWN whatever\r\n",
        v2 + b"\x21\x11\x00\x0c" + bytes(range(1, 13)) + b"GET /",
        v2 + b"\x21\x21\x00\x2b" + bytes(36) + b"\x03\x00\x04" + bytes(4),
        v2 + b"\x21\x31\x00\xd8" + b"/run/a".ljust(216, b"\0"),
        v2 + b"\x20\x00\x00\x00rest",
        v2 + b"\x21\x00\x00\x03\x04\x00\x00",
    ]
    return [
        bytes((kind,)) + seed
        for kinds, seeds in (((0, 1), connect), ((2, 3), socks), ((4,), headers))
        for kind in kinds
        for seed in seeds
    ]


PROXY_TOKENS = [
    *(b"HTTP/1.1 200 ", b"HTTP/1.0 407 ", b"HTTP/1.1 100 ", b"\r\n", b"\r\n\r\n", b": ", b"\n"),
    *(b"\x05\x00", b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01", b"\x05\x00\x00\x03\xff"),
    *(b"PROXY TCP4 ", b"PROXY TCP6 ", b"UNKNOWN", b"127.0.0.1 ", b"::1 ", b" 65535", b" 0"),
    *(b"\r\n\r\n\x00\r\nQUIT\n", b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x03\x00\x04"),
]

# ---- the challenges of a server ----

Told = tuple[str, dict[str, str], "str | None"]


def told(values: list[str]) -> list[Told]:
    return [(each.scheme, each.params, each.token68) for each in auth.parse_challenges(values)]


def written(challenges: list[Told]) -> str:
    """Return challenges as a server that takes no liberties writes them."""
    parts = []
    for scheme, params, token68 in challenges:
        pairs = ", ".join(f"{name}={quoted(value)}" for name, value in params.items())
        parts.append(f"{scheme} {token68 or pairs}".rstrip())
    return ", ".join(parts)


def check_answer(values: list[str], user: str) -> Hashable:
    """Check that what answers a challenge is a field, and says what it should."""
    authenticator = auth.Authenticator(user, "open sesame", _cnonce=lambda: "0a4f113b")
    try:
        answer = authenticator.answer(values, "/chat?a=b")
    except ValueError as error:
        return str(error).split()[-1]
    try:
        http.Headers({"Authorization": answer})
    except ValueError as error:
        raise Finding(f"the answer {answer!r} is no field") from error
    scheme, _, rest = answer.partition(" ")
    if scheme == "Digest":
        params = auth.parse_params(rest)
        if params["uri"] != "/chat?a=b" or params["cnonce"] != "0a4f113b":
            raise Finding(f"the answer {answer!r} says something else")
    return scheme


def check_challenges(values: list[str]) -> Hashable:
    try:
        found = told(values)
    except ValueError as error:
        return str(error).split()[-1]
    for scheme, params, _ in found:
        names = [scheme, *params]
        if not all(map(http.is_token, names)) or any(name != name.lower() for name in names):
            raise Finding(f"names {names!r}")
    if found != [each for value in values for each in told([value])]:
        raise Finding(f"{values!r} by themselves tell something else")
    if told([written(found)]) != found:
        raise Finding(f"{found!r} is not {written(found)!r}")
    return tuple((bool(params), token68 is None) for _, params, token68 in found[:4])


def run_challenge(data: bytes) -> Hashable:
    """The first byte chooses the user; the rest are values, with line feeds between them."""
    options, text = (data[0], data[1:].decode("latin-1")) if data else (0, "")
    values = text.split("\n")
    try:
        user = ("Aladdin", 'J\xe4s\xf8n "\\" Doe')[options % 2]
        return check_challenges(values), check_answer(values, user)
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"a challenge raised {error!r}") from error


def challenge_seeds() -> list[bytes]:
    digest = b'Digest realm="a, \\"b\\"", nonce="n", qop="auth, auth-int", opaque="\xe9"'
    texts = [
        b'Basic realm="a", charset="UTF-8"',
        b"Negotiate, Basic realm = a ,, Bearer",
        b"Negotiate YWJj==, " + digest,
        digest + b", algorithm=SHA-256, charset=UTF-8\n" + digest + b", stale=TRUE",
        digest + b", algorithm=MD5-sess, userhash=false",
        digest.replace(b"auth,", b"") + b", algorithm=SHA-512-256",
        b'a b="c", d="',
        b"=",
    ]
    return [bytes((options,)) + text for text in texts for options in range(2)]


CHALLENGE_TOKENS = [
    *(b"Basic ", b"Digest ", b"realm=", b"nonce=", b"qop=auth", b"algorithm=", b"SHA-256"),
    *(
        b'"',
        b"\\",
        b'\\"',
        b",",
        b", ",
        b"=",
        b"==",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
    ),
    *(b"stale=true", b"charset=UTF-8", b"MD5-sess", b"YWJj", b"opaque=", b"userhash=true"),
]

TARGETS = {
    "reply": Target(run_reply, reply_seeds(), REPLY_TOKENS),
    "proxy": Target(run_proxy, proxy_seeds(), PROXY_TOKENS),
    "challenge": Target(run_challenge, challenge_seeds(), CHALLENGE_TOKENS),
}
