"""HTTP authentication for `onrequest`: Basic (RFC 7617) and Digest (RFC 7616).

Facts: Digest servers have been broken by nonces that anyone could make, by `nc`, `uri`, `realm`
and `qop` that nobody checked, so that one request on the wire served for ever, and by
comparisons that tell by their time how much was right. A store of all nonces that were handed
out is one that any stranger fills.

So: a nonce is its time, chance, and a signature, and costs no memory until somebody logs in
with it. What is then kept is bounded, and what leaves the store takes all older nonces with it:
those are stale, and a client that is right comes back with a fresh one. Comparisons are
constant in time, and a user whom nobody knows is hashed like one who is known.
"""

from __future__ import annotations

import os
import time
from binascii import a2b_base64, a2b_hex, b2a_base64

from .protocol.answer import Response
from .protocol.auth import (
    check_algorithm,
    check_credentials,
    digest_response,
    parse_params,
)
from .protocol.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol, Union

    from .protocol.http import Headers

    Passwords = Union[Mapping[str, str], Callable[[str], "str | None"]]

    class Asked(Protocol):
        """What is needed of a request."""

        user: str | None

        @property
        def method(self) -> str:
            """As in `"GET"`."""

        @property
        def target(self) -> str:
            """Path and query, as they came."""

        @property
        def headers(self) -> Headers:
            """The header fields."""


_NANOSECONDS = 1_000_000_000


class BasicAuth:
    """Asks for user and password, which come in the clear: for TLS.

    ```python
    auth = BasicAuth({"Aladdin": "open sesame"})

    class Guarded(Server):
        def onrequest(self, request):
            return auth.check(request)
    ```

    Args:
        passwords: A mapping from users to passwords, or a function that returns the password
            of a user, or `None`. It runs in the reactor: it must not wait.
        realm: What the password is for, in printable ASCII; browsers may show it.

    Raises:
        TypeError: The passwords are neither.
        ValueError: The realm is empty, or not printable ASCII.
    """

    __slots__ = ("_challenge", "_passwords", "_secret")

    def __init__(self, passwords: Passwords, realm: str = "WebSocket") -> None:
        self._passwords = _Passwords(passwords)
        self._challenge = f'Basic realm={_realm(realm)}, charset="UTF-8"'
        self._secret = os.urandom(32)

    def check(self, request: Asked) -> Response | None:
        """Return `None` and set `request.user` if the request is authenticated.

        Returns:
            Otherwise the response: 401 with a challenge, or 400 if its credentials are
            malformed.

        Raises:
            TypeError: The password is not a `str`.
        """
        try:
            token = _credentials(request, "basic")
            user, password = (None, "") if token is None else _parse_basic(token)
        except ValueError as error:
            return _malformed(error)
        if user is not None and self._is_right(user, password):
            request.user = user
            return None
        return _unauthorized([self._challenge])

    def _is_right(self, user: str, password: str) -> bool:
        from hmac import compare_digest, digest

        expected, known = self._passwords.find(user)
        # Of what differs in length, a comparison would tell the length.
        ours = digest(self._secret, expected.encode(), "sha256")
        theirs = digest(self._secret, password.encode(), "sha256")
        return compare_digest(ours, theirs) and known


class DigestAuth:
    """Asks for a proof of the password, good for one request.

    ```python
    auth = DigestAuth({"Mufasa": "Circle of Life"})

    class Guarded(Server):
        def onrequest(self, request):
            return auth.check(request)
    ```

    Args:
        passwords: See `BasicAuth`.
        realm: See `BasicAuth`; it is part of what is hashed.
        algorithms: Those that are offered, the dearest first, of MD5, SHA-256, SHA-512-256 and
            each with `-sess`. SHA-256, and MD5 for the many clients that speak no other.
        lifetime: How long a nonce is good for, in seconds. 300: a client has to come back with
            it once, at once; browsers keep it, and get a fresh one without asking the user.
        max_nonces: How many nonces that were used are remembered. 1,024: about 100 KiB.
        clock: What tells the time, in seconds; it must not go backwards.

    Raises:
        TypeError: The passwords are neither mapping nor function, or the algorithms one `str`.
        ValueError: The realm is empty or not printable ASCII; no algorithm is given, or one
            twice, or one that is unknown or that this host's `hashlib` refuses; a number is not
            above zero.
    """

    __slots__ = ("_algorithms", "_nonces", "_passwords", "_quoted_realm", "_realm")

    def __init__(
        self,
        passwords: Passwords,
        realm: str = "WebSocket",
        algorithms: Iterable[str] = ("SHA-256", "MD5"),
        lifetime: float = 300.0,
        max_nonces: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._passwords = _Passwords(passwords)
        self._realm = realm
        self._quoted_realm = _realm(realm)
        if isinstance(algorithms, str):
            raise TypeError(f"algorithms are a list, not {algorithms!r}")
        self._algorithms = tuple(map(check_algorithm, algorithms))
        if not self._algorithms or len(set(self._algorithms)) < len(self._algorithms):
            raise ValueError(f"algorithms={self._algorithms!r}, none or one twice")
        for name, number in (("lifetime", lifetime), ("max_nonces", max_nonces)):
            if not number > 0:
                raise ValueError(f"{name}={number!r}, not above zero")
        self._nonces = _Nonces(lifetime, max_nonces, clock)

    def check(self, request: Asked) -> Response | None:
        """Return `None` and set `request.user` if the request is authenticated.

        Returns:
            Otherwise the response: 401 with a challenge for each algorithm, or 400 if its
            credentials are malformed, or for another target.

        Raises:
            TypeError: The password is not a `str`.
        """
        try:
            text = _credentials(request, "digest")
            params = {} if text is None else parse_params(text)
            user = None if text is None else _check_digest(params, request.target)
        except ValueError as error:
            return _malformed(error)
        stale = False
        if user is not None and self._is_right(user, params, request.method):
            if self._nonces.spend(params["nonce"], int(params["nc"], 16)):
                request.user = user
                return None
            # Only to one who knows the password: a stranger is told nothing by it.
            stale = True
        return _unauthorized(self._challenges(stale))

    def _is_right(self, user: str, params: dict[str, str], method: str) -> bool:
        from hmac import compare_digest

        algorithm = params.get("algorithm", "MD5").lower()
        offered = [name.lower() for name in self._algorithms]
        if params["realm"] != self._realm or algorithm not in offered:
            return False
        password, known = self._passwords.find(user)
        expected = digest_response(
            algorithm=algorithm,
            user=user,
            password=password,
            realm=self._realm,
            nonce=params["nonce"],
            nc=params["nc"],
            cnonce=params["cnonce"],
            uri=params["uri"],
            method=method,
        )
        response = params["response"].encode("latin-1")
        return compare_digest(expected.encode(), response) and known

    def _challenges(self, stale: bool) -> list[str]:
        # Which are quoted and which must not be: RFC 7616 §3.3.
        nonce = self._nonces.issue()
        rest = f'nonce="{nonce}", charset=UTF-8' + (", stale=true" if stale else "")
        return [
            f'Digest realm={self._quoted_realm}, qop="auth", algorithm={algorithm}, {rest}'
            for algorithm in self._algorithms
        ]


# ---- what a client says ----


def _credentials(request: Asked, scheme: str) -> str | None:
    """Return what follows the scheme in `Authorization`; `None` if it is another, or none."""
    values = request.headers.get_all("Authorization")
    if len(values) > 1:
        raise ValueError("Authorization more than once (RFC 9110 §11.6.2)")
    word, _, rest = values[0].partition(" ") if values else ("", "", "")
    return rest.strip(" ") if word.lower() == scheme else None


def _parse_basic(token: str) -> tuple[str, str]:
    """Return user and password of Basic's credentials.

    Args:
        token: What follows the scheme.

    Raises:
        ValueError: It is not base64 of the UTF-8 of both.
    """
    try:
        raw = a2b_base64(token)
    except ValueError:
        raw = b""
    # Decoding passes over what is not base64; encoding again shows that there was none.
    if not raw or b2a_base64(raw, newline=False).decode() != token:
        raise ValueError("credentials that are not base64 (RFC 7617 §2)")
    user, colon, password = _utf8(raw).partition(":")
    if not colon:
        raise ValueError("credentials without a colon (RFC 7617 §2)")
    check_credentials(user, password)
    return user, password


_NEEDED = ("realm", "nonce", "uri", "response", "qop", "cnonce", "nc")
_HEX = "0123456789abcdefABCDEF"


def _check_digest(params: dict[str, str], target: str) -> str:
    """Return the user whom a client's parameters name, if they are such (RFC 7616 §3.4)."""
    for name in _NEEDED:
        if not params.get(name):
            raise ValueError(f"Digest without {name} (RFC 7616 §3.4)")
    if params.get("userhash", "false").lower() != "false":
        raise ValueError("userhash=true: hashed names of users are not supported")
    if params["qop"].lower() != "auth":
        raise ValueError("a qop that was not offered: only auth was (RFC 7616 §3.4)")
    nc = params["nc"]
    if len(nc) != 8 or nc.strip(_HEX):
        raise ValueError("an nc that is not eight hexadecimal digits (RFC 7616 §3.4)")
    # Otherwise an answer to one request would serve for any other (RFC 7616 §3.4.6).
    if params["uri"] != target:
        raise ValueError("a uri that is not the request's target (RFC 7616 §3.4.6)")
    return _digest_user(params)


def _digest_user(params: dict[str, str]) -> str:
    """Return the user whom the parameters of Digest name (RFC 7616 §3.4).

    Raises:
        ValueError: They name none or two, or not in UTF-8.
    """
    if ("username" in params) == ("username*" in params):
        raise ValueError("neither username nor username*, or both (RFC 7616 §3.4)")
    if "username" in params:
        user = _utf8(params["username"].encode("latin-1"))
    else:
        user = _utf8(_extended(params["username*"]))
    check_credentials(user, "")
    return user


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("credentials that are not UTF-8") from None


def _extended(text: str) -> bytes:
    """Return the bytes of an "ext-value" (RFC 8187 §3.2.1), as in `UTF-8''J%C3%A4s`."""
    charset, _, rest = text.partition("'")
    _, apostrophe, encoded = rest.partition("'")
    if charset.lower() != "utf-8" or not apostrophe:
        raise ValueError("username* that is not UTF-8''... (RFC 7616 §3.4)")
    first, *parts = encoded.split("%")
    raw = bytearray(first.encode("latin-1"))
    for part in parts:
        code = part[:2]
        if len(code) < 2 or code.strip(_HEX):
            raise ValueError("username* with a percent that encodes nothing (RFC 8187 §3.2.1)")
        raw += a2b_hex(code) + part[2:].encode("latin-1")
    return bytes(raw)


# ---- what the server remembers ----


class _Passwords:
    """Whose password is which."""

    __slots__ = ("_find", "_nobodys")

    def __init__(self, passwords: Passwords) -> None:
        find: Any = passwords if callable(passwords) else getattr(passwords, "get", None)
        if find is None:
            raise TypeError(f"passwords of type {type(passwords).__name__}, not a mapping")
        self._find = find
        self._nobodys = os.urandom(16).hex()

    def find(self, user: str) -> tuple[str, bool]:
        """Return the user's password, or one that is nobody's, and whether there is the user.

        With nobody's password the same is computed as with any.
        """
        password = self._find(user)
        if password is None:
            return self._nobodys, False
        if not isinstance(password, str):
            raise TypeError(f"password of type {type(password).__name__}, not str")
        return password, True


class _Nonces:
    """Issues nonces, and lets each `nc` of each pass once.

    Args:
        lifetime: How long one is good for, in seconds.
        limit: How many that were used are remembered.
        clock: What tells the time, in seconds.
    """

    __slots__ = (
        "_clock",
        "_epoch",
        "_floor",
        "_last",
        "_lifetime",
        "_limit",
        "_secret",
        "_used",
    )

    def __init__(self, lifetime: float, limit: int, clock: Callable[[], float]) -> None:
        self._lifetime = int(lifetime * _NANOSECONDS)
        self._limit = limit
        self._clock = clock
        self._epoch = clock()  # nobody is told for how long the machine is up
        self._secret = os.urandom(32)
        self._last = 0
        # The highest nc by the stamp of its nonce; and what is no younger than the floor may
        # have been among them.
        self._used: dict[int, int] = {}
        self._floor = 0

    def issue(self) -> str:
        """Return a nonce: its stamp, which no other has, then chance, then a signature."""
        self._last = max(self._now(), self._last + 1)
        head = f"{self._last:016x}{os.urandom(8).hex()}"
        return head + self._sign(head)

    def spend(self, nonce: str, nc: int) -> bool:
        """Return whether `nonce` is one of ours, young, and not yet used with that `nc`."""
        from hmac import compare_digest

        head, signature = nonce[:32], nonce[32:]
        if not compare_digest(self._sign(head).encode(), signature.encode("latin-1")):
            return False
        stamp = int(head[:16], 16)
        if stamp <= self._floor or self._now() - stamp > self._lifetime:
            return False
        if nc <= self._used.get(stamp, 0):
            return False
        self._used[stamp] = nc
        if len(self._used) > self._limit:
            self._floor = min(self._used)
            del self._used[self._floor]
        return True

    def _now(self) -> int:
        return int((self._clock() - self._epoch) * _NANOSECONDS)

    def _sign(self, head: str) -> str:
        from hmac import digest

        return digest(self._secret, head.encode("latin-1"), "sha256").hex()


def _realm(realm: str) -> str:
    # Beyond ASCII, clients disagree about which bytes of it they hash.
    if not realm or not realm.isascii() or not realm.isprintable():
        raise ValueError(f"realm {realm!a} is empty or not printable ASCII")
    return quoted(realm)


def _malformed(error: ValueError) -> Response:
    return Response(400, body=f"{error}\n")


def _unauthorized(challenges: list[str]) -> Response:
    # "The server generating a 401 response MUST send a WWW-Authenticate header field [...]
    # containing at least one challenge" (RFC 9110 §15.5.2).
    fields = [("WWW-Authenticate", challenge) for challenge in challenges]
    return Response(401, fields, "authentication required\n")
