"""The opening handshake, the client's side (RFC 6455 §4.1).

What is asked is fixed by the URI, the subprotocols and the user's fields; what is answered
passes through these questions, and the first that it fails fails the handshake:

```text
is it a response, by the letter?                 (response.py)
is it a 101?                                     if not: a redirect, a challenge, or the end
does it upgrade to websocket?
does it prove that this very request was read?   Sec-WebSocket-Accept
does it answer what was offered, and no more?    extensions, subprotocol
```
"""

from __future__ import annotations

import os
from binascii import b2a_base64

from ..errors import HandshakeError
from .http import REASONS, Headers, is_token, split_list
from .request import accept_key, extra_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .extensions import Codec, Extension
    from .http import Fields
    from .response import Reply
    from .uri import URI

MAX_REDIRECTS = 5
REDIRECTS = frozenset((301, 302, 303, 307, 308))
# What goes to the server that it was meant for, and to no other.
_PRIVATE = frozenset(("authorization", "cookie", "host", "proxy-authorization"))


def new_key() -> str:
    """Return a new `Sec-WebSocket-Key`.

    "The value of this header field MUST be a nonce consisting of a randomly selected 16-byte
    value that has been base64-encoded" (RFC 6455 §4.1).
    """
    return b2a_base64(os.urandom(16), newline=False).decode()


def check_fields(fields: Fields) -> Headers:
    """Return the user's further fields of a request.

    Raises:
        TypeError: They are no fields.
        ValueError: They are not well-formed, or one is of those that open the connection.
    """
    headers = extra_fields(fields, "a request (RFC 6455 §4.1)")
    if len(headers.get_all("Host")) > 1:
        raise ValueError("more than one Host field (RFC 9112 §3.2)")
    return headers


def check_subprotocols(names: Sequence[str]) -> tuple[str, ...]:
    """Return the subprotocols to offer, the dearest first.

    Raises:
        TypeError: They are one `str`, or one is none.
        ValueError: One is not a token, or comes twice.
    """
    if isinstance(names, str):
        raise TypeError(f"subprotocols are a list, not {names!r}")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"subprotocol {name!r} is not a str")
        if not is_token(name):
            raise ValueError(f"subprotocol {name!r} is not a token (RFC 6455 §4.1)")
    # "The elements that comprise this value MUST be non-empty strings [...] and MUST all be
    # unique strings" (RFC 6455 §4.1).
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocols {list(names)!r}: one comes twice (RFC 6455 §4.1)")
    return names


def public(fields: Headers) -> Headers:
    """Return the user's fields without those that are meant for one server alone."""
    return Headers([field for field in fields.items() if field[0].lower() not in _PRIVATE])


def request_head(
    uri: URI,
    key: str,
    *,
    subprotocols: Sequence[str],
    fields: Headers,
    authorization: str | None,
    extensions: str = "",
) -> bytes:
    """Return the head of the client's request, without its empty line.

    Args:
        uri: Where it goes.
        key: See `new_key`.
        subprotocols: Those that are offered, the dearest first.
        fields: The user's; a `Host` among them stands for ours.
        authorization: What answers the server's challenge, and stands for the user's field of
            that name; `None` if there was no challenge yet.
        extensions: The offers, as `offers` makes them.
    """
    headers = Headers()
    if "Host" not in fields:
        headers.add("Host", uri.authority)
    headers.add("Upgrade", "websocket")
    headers.add("Connection", "Upgrade")
    headers.add("Sec-WebSocket-Key", key)
    headers.add("Sec-WebSocket-Version", "13")
    if subprotocols:
        headers.add("Sec-WebSocket-Protocol", ", ".join(subprotocols))
    if extensions:
        headers.add("Sec-WebSocket-Extensions", extensions)
    if authorization is not None:
        headers.add("Authorization", authorization)
    kept = [
        field
        for field in fields.items()
        if authorization is None or field[0].lower() != "authorization"
    ]
    line = f"GET {uri.target} HTTP/1.1\r\n".encode()
    return (line + headers.pack() + Headers(kept).pack())[:-2]


def check_reply(reply: Reply, key: str, offered: Sequence[str]) -> str | None:
    """Check the server's answer (RFC 6455 §4.1, from "Once the client's opening handshake").

    Args:
        reply: The answer.
        key: What was sent as `Sec-WebSocket-Key`.
        offered: The subprotocols that were offered.

    Returns:
        The subprotocol that the server has chosen, or `None`.

    Raises:
        HandshakeError: It does not open the connection; it carries what has come.
    """
    if reply.status != 101:
        words = reply.words or REASONS.get(reply.status, "")
        raise failed(reply, f"the server answered {reply.status} {words}".rstrip())
    # A server "MUST ignore an Upgrade header field that is received in an HTTP/1.0 request"
    # (RFC 9110 §7.8): who speaks no more than that cannot have understood ours.
    if reply.version != 1:
        raise failed(reply, "HTTP/1.0, a WebSocket needs 1.1 (RFC 6455 §4.1)")
    headers = reply.headers
    # "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
    # value that is not an ASCII case-insensitive match for the value "websocket", the client
    # MUST _Fail the WebSocket Connection_."
    if [value.lower() for value in headers.get_all("Upgrade")] != ["websocket"]:
        raise failed(reply, "no Upgrade to websocket (RFC 6455 §4.1)")
    # "If the response lacks a |Connection| header field or the |Connection| header field
    # doesn't contain a token that is an ASCII case-insensitive match for the value "Upgrade",
    # the client MUST _Fail the WebSocket Connection_."
    if "upgrade" not in [name.lower() for name in _tokens(reply, "Connection")]:
        raise failed(reply, "no Upgrade in the Connection field (RFC 6455 §4.1)")
    # The |Sec-WebSocket-Accept| alone proves that it was this request that was read.
    if headers.get_all("Sec-WebSocket-Accept") != [accept_key(key)]:
        raise failed(reply, "not the Sec-WebSocket-Accept of our key (RFC 6455 §4.1)")
    return _check_subprotocol(reply, offered)


def offers(extensions: Sequence[Extension]) -> str:
    """Return the value of `Sec-WebSocket-Extensions` of a request; `""` for no such field."""
    if not extensions:
        return ""
    from .extensions import offer  # loaded already: they are instances of its class

    return offer(extensions)


def check_extensions(reply: Reply, offered: Sequence[Extension]) -> tuple[Codec, ...]:
    """Return the codecs of the extensions that the server has accepted, in their order.

    Args:
        reply: The answer.
        offered: The extensions that were offered.

    Raises:
        HandshakeError: It accepts what was not offered, or not so.
    """
    answer = reply.headers.get_all("Sec-WebSocket-Extensions")
    if not answer:
        return ()
    from .extensions import accept_answer

    try:
        return accept_answer(offered, answer)
    except ValueError as error:
        raise failed(reply, f"Sec-WebSocket-Extensions: {error}") from None


def _check_subprotocol(reply: Reply, offered: Sequence[str]) -> str | None:
    chosen = reply.headers.get_all("Sec-WebSocket-Protocol")
    if not chosen:
        return None
    # "If the response includes a |Sec-WebSocket-Protocol| header field and this header field
    # indicates the use of a subprotocol that was not present in the client's handshake [...],
    # the client MUST _Fail the WebSocket Connection_."
    if len(chosen) > 1 or chosen[0] not in offered:
        raise failed(reply, "a subprotocol that was not offered (RFC 6455 §4.1)")
    return chosen[0]


def _tokens(reply: Reply, name: str) -> list[str]:
    try:
        return split_list(reply.headers.get_all(name))
    except HandshakeError as error:
        raise failed(reply, f"{name}: {error.reason}") from None


def failed(reply: Reply, reason: str) -> HandshakeError:
    """Return the error that a response stands for, with all that it says."""
    return HandshakeError(reply.status, reason, reply.headers, reply.body)
