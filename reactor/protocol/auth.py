"""HTTP authentication: its grammar, Basic and Digest, and the client's answers.

Facts: a server sends challenges, several in one field or in several, and within them commas
separate both challenges and parameters (RFC 9110 §11.6.1). Regular expressions for this have
been quadratic again and again. What a challenge says goes back into the client's own head, and
a quote that is not escaped there ends the quoted string early. MD5 is what most devices speak,
and what some hosts refuse to compute.

So: one pass over the characters, then each element by itself. What is malformed is refused
whole: whoever guesses where a challenge ends may be led to answer another. Parameters twice are
malformed. A challenge of a scheme that nobody here speaks is well-formed, and passed over.

What is hashed are bytes: user and password as UTF-8, all that the server has named as it came.
"""

from __future__ import annotations

import os
from binascii import b2a_base64

from .http import is_token
from .quoting import SPACE, quoted, split_unquoted, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_ALNUM = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# "tchar" of RFC 9110 §5.6.2, "token68" of §11.2 and "attr-char" of RFC 8187 §3.2.1.
_TCHAR = "!#$%&'*+-.^_`|~" + _ALNUM
_TOKEN68 = "-._~+/" + _ALNUM
_ATTR_CHAR = frozenset(("!#$&+-.^_`|~" + _ALNUM).encode())
_CONTROLS = frozenset(map(chr, [*range(32), 127]))

# What hashlib calls them, the strongest first.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_STRENGTH = {name: len(_HASHES) - place for place, name in enumerate(_HASHES)}


# ---- grammar ----


class Challenge:
    """A challenge of a server (RFC 9110 §11.3).

    Args:
        scheme: Its name, in lower case.

    Attributes:
        scheme: As above.
        params: Its parameters: names in lower case, values without their quotes.
        token68: What it says instead of parameters, or `None`.
    """

    __slots__ = ("params", "scheme", "token68")

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.params: dict[str, str] = {}
        self.token68: str | None = None

    def __repr__(self) -> str:
        """Return scheme and parameters."""
        return f"<Challenge {self.scheme} {self.token68 or self.params}>"


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of `WWW-Authenticate` or `Proxy-Authenticate` (RFC 9110 §11.6.1).

    Args:
        values: The values of all the fields of that name; no challenge goes on in a second.

    Raises:
        ValueError: One of them is malformed.
    """
    found: list[Challenge] = []
    for value in values:
        first = len(found)
        for element in _elements(value):
            word, rest = _cut(element)
            behind = rest.lstrip(SPACE)
            if behind[:1] == "=":  # no scheme may be followed by that
                if len(found) == first or found[-1].token68 is not None:
                    raise ValueError(f"parameter {element[:32]!a} of no scheme")
                _add(found[-1].params, element)
            elif not word or behind == rest != "":
                raise ValueError(f"{element[:32]!a} is neither scheme nor parameter")
            else:
                found.append(Challenge(word.lower()))
                if _is_token68(behind):
                    found[-1].token68 = behind
                elif behind:
                    _add(found[-1].params, behind)
    return found


def parse_params(text: str) -> dict[str, str]:
    """Return a list of parameters (RFC 9110 §11.2), as follows the scheme in `Authorization`.

    Returns:
        The values without their quotes, by their names in lower case.

    Raises:
        ValueError: It is malformed, or names one twice.
    """
    params: dict[str, str] = {}
    for element in _elements(text):
        _add(params, element)
    return params


def _elements(text: str) -> list[str]:
    # "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110
    # §5.6.1.2); a head has room for no more than that.
    return [part for part in split_unquoted(text, ",") if part]


def _cut(text: str) -> tuple[str, str]:
    """Return the token that `text` begins with, and the rest."""
    rest = text.lstrip(_TCHAR)
    return text[: len(text) - len(rest)], rest


def _is_token68(text: str) -> bool:
    bare = text.rstrip("=")
    return bool(bare) and not bare.strip(_TOKEN68)


def _add(params: dict[str, str], text: str) -> None:
    word, rest = _cut(text)
    name, behind = word.lower(), rest.lstrip(SPACE)
    if not name or behind[:1] != "=":
        raise ValueError(f"{text[:32]!a} is not a parameter (RFC 9110 §11.2)")
    # Which of two is meant is what whoever stands between would decide otherwise.
    if name in params:
        raise ValueError(f"parameter {name[:32]} twice")
    value = behind[1:].lstrip(SPACE)
    if value[:1] == '"':
        value = unquoted(value)
    elif not is_token(value):
        raise ValueError(f"value of {name[:32]} that is neither token nor quoted string")
    params[name] = value


# ---- names and passwords ----


def check_credentials(user: str, password: str) -> None:
    """Check what may be a user and a password.

    Raises:
        ValueError: One holds a control character, or is not Unicode.
    """
    for what, text in (("user", user), ("password", password)):
        # "The user-id and password MUST NOT contain any control characters" (RFC 7617 §2).
        if not _CONTROLS.isdisjoint(text):
            raise ValueError(f"control character in the {what} (RFC 7617 §2)")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the {what} has no UTF-8: a lone surrogate") from None


def basic(user: str, password: str) -> str:
    """Return the `Authorization` of Basic, in UTF-8 (RFC 7617 §2).

    Raises:
        ValueError: The user holds a colon, or one of them a control character.
    """
    check_credentials(user, password)
    # "a user-id containing a colon character is invalid" (RFC 7617 §2).
    if ":" in user:
        raise ValueError("a colon in the user's name, where Basic ends it (RFC 7617 §2)")
    return "Basic " + b2a_base64(f"{user}:{password}".encode(), newline=False).decode()


def _as_extended(text: str) -> str:
    encoded = (chr(b) if b in _ATTR_CHAR else f"%{b:02X}" for b in text.encode())
    return "UTF-8''" + "".join(encoded)


# ---- Digest ----


def check_algorithm(algorithm: str) -> str:
    """Return the name of an algorithm of Digest as RFC 7616 §6.1 spells it.

    Raises:
        ValueError: It is none, or this host's `hashlib` refuses it.
    """
    base, sess = _split(algorithm)
    _hasher(base)
    return base + ("-sess" if sess else "")


def _split(algorithm: str) -> tuple[str, bool]:
    # upper() makes "SS" of "ß", and the answer repeats the name as a token, which has no "ß".
    upper = algorithm.upper() if algorithm.isascii() else algorithm
    sess = upper.endswith("-SESS")
    return upper[:-5] if sess else upper, sess


def _hasher(base: str) -> Callable[[bytes], str]:
    from hashlib import new

    name = _HASHES.get(base)
    if name is None:
        raise ValueError(f"algorithm {base[:32]!a} is unknown")
    # The letter, not the spirit: that MD5 is used for security here is RFC 7616's decision, and
    # without this a host in FIPS mode refuses what its owner has asked for.
    options: Any = {"usedforsecurity": False} if name == "md5" else {}
    try:
        new(name, b"", **options)
    except ValueError:
        raise ValueError(f"algorithm {base} is one that this host's hashlib refuses") from None
    return lambda data: new(name, data, **options).hexdigest()


def digest_response(
    *,
    algorithm: str,
    user: str,
    password: str,
    realm: str,
    nonce: str,
    nc: str,
    cnonce: str,
    uri: str,
    method: str = "GET",
) -> str:
    """Return the `response` of Digest for `qop=auth` (RFC 7616 §3.4.1).

    Args:
        algorithm: MD5, SHA-256 or SHA-512-256, or one of them with `-sess`.
        user: Hashed as UTF-8, like the password.
        password: As above.
        realm: Hashed as ISO-8859-1, the bytes that came; like all that follow.
        nonce: The server's.
        nc: How often it was used, in eight hexadecimal digits.
        cnonce: The client's.
        uri: The request's target.
        method: The request's.

    Raises:
        ValueError: The algorithm is unknown, or this host's `hashlib` refuses it.
    """
    base, sess = _split(algorithm)
    digest = _hasher(base)
    a1 = b"%b:%b:%b" % (user.encode(), realm.encode("latin-1"), password.encode())
    secret = digest(a1)
    if sess:
        secret = digest(f"{secret}:{nonce}:{cnonce}".encode("latin-1"))
    a2 = digest(f"{method}:{uri}".encode("latin-1"))
    return digest(f"{secret}:{nonce}:{nc}:{cnonce}:auth:{a2}".encode("latin-1"))


# ---- the client ----


class Authenticator:
    """What a client answers to a 401.

    It answers the strongest challenge: Digest with SHA-512-256, SHA-256, MD5, then Basic. Each
    scheme is tried once, and Digest once more if the server says that no more than its nonce
    was stale: credentials that were refused are not sent again. A request that a redirect has
    led elsewhere needs another of these.

    Args:
        user: The user's name.
        password: The user's password.

    Raises:
        ValueError: One of them holds a control character, or is not Unicode.
    """

    __slots__ = (
        "_cnonce",
        "_fresh",
        "_nonce",
        "_password",
        "_tries",
        "_used",
        "_user",
    )

    def __init__(
        self, user: str, password: str, *, _cnonce: Callable[[], str] | None = None
    ) -> None:
        check_credentials(user, password)
        self._user = user
        self._password = password
        self._fresh = _cnonce or _random
        self._tries: dict[str, int] = {}
        # The last of the server's nonces, ours for it, and how often both were used.
        self._nonce: str | None = None
        self._cnonce = ""
        self._used = 0

    def answer(self, values: Iterable[str], target: str) -> str:
        """Return the value of `Authorization` for the next request.

        Args:
            values: The values of all the fields `WWW-Authenticate` of the 401.
            target: The target of the next request, a GET.

        Raises:
            ValueError: The challenges are malformed, or none is left that can be answered.
        """
        reasons: dict[str, None] = {}
        for challenge in sorted(parse_challenges(values), key=_strength, reverse=True):
            try:
                return self._answer(challenge, target)
            except ValueError as error:
                reasons[str(error)] = None
        if not reasons:
            raise ValueError("no challenge to answer (RFC 9110 §11.6.1)")
        raise ValueError("; ".join(list(reasons)[:4]))

    def _answer(self, challenge: Challenge, target: str) -> str:
        scheme, params = challenge.scheme, challenge.params
        if scheme not in ("basic", "digest"):
            raise ValueError(f"scheme {scheme[:32]!a} is not Basic or Digest")
        tries = self._tries.get(scheme, 0)
        if tries and not (scheme == "digest" and _says_true(params, "stale")):
            raise ValueError("the credentials were refused")
        if tries > 1:
            raise ValueError("the server calls every nonce stale")
        if "realm" not in params:
            raise ValueError(f"a challenge of {scheme.title()} without a realm")
        if scheme == "basic":
            value = basic(self._user, self._password)
        else:
            value = self._digest(params, target)
        self._tries[scheme] = tries + 1
        return value

    def _digest(self, params: dict[str, str], target: str) -> str:
        _check_digest(params)
        username = self._username(params)
        nonce = params["nonce"]
        if nonce != self._nonce:
            self._nonce, self._cnonce, self._used = nonce, self._fresh(), 0
        self._used += 1
        nc = f"{self._used:08x}"
        response = digest_response(
            algorithm=params.get("algorithm", "MD5"),
            user=self._user,
            password=self._password,
            realm=params["realm"],
            nonce=nonce,
            nc=nc,
            cnonce=self._cnonce,
            uri=target,
        )
        # Which are quoted and which must not be: RFC 7616 §3.4.
        parts = [username, f"realm={quoted(params['realm'])}", f"uri={quoted(target)}"]
        if "algorithm" in params:
            parts.append(f"algorithm={params['algorithm']}")
        parts += [f"nonce={quoted(nonce)}", f"nc={nc}", f"cnonce={quoted(self._cnonce)}"]
        parts += ["qop=auth", f'response="{response}"']
        if "opaque" in params:
            parts.append(f"opaque={quoted(params['opaque'])}")
        return "Digest " + ", ".join(parts)

    def _username(self, params: dict[str, str]) -> str:
        if self._user.isascii():
            return f"username={quoted(self._user)}"
        if params.get("charset", "").lower() != "utf-8":
            raise ValueError("a user's name beyond ASCII, and no charset=UTF-8 (RFC 7616 §4)")
        return f"username*={_as_extended(self._user)}"


def _random() -> str:
    return os.urandom(16).hex()


def _strength(challenge: Challenge) -> int:
    if challenge.scheme == "digest":
        return _STRENGTH.get(_split(challenge.params.get("algorithm", "MD5"))[0], 1)
    return 0 if challenge.scheme == "basic" else -1


def _says_true(params: dict[str, str], name: str) -> bool:
    return params.get(name, "").lower() == "true"


def _check_digest(params: dict[str, str]) -> None:
    """Check that a challenge of Digest is one that can be answered."""
    if "nonce" not in params:
        raise ValueError("a challenge of Digest without a nonce (RFC 7616 §3.3)")
    check_algorithm(params.get("algorithm", "MD5"))
    if "qop" not in params:
        # What RFC 2069 had: no cnonce, so that who makes the nonce can precompute passwords.
        raise ValueError("a challenge of Digest without qop (RFC 7616 §3.3)")
    offered = [name.strip(SPACE).lower() for name in params["qop"].split(",")]
    if "auth" not in offered:
        raise ValueError(f"qop {params['qop'][:32]!a} without auth")
    if _says_true(params, "userhash"):
        raise ValueError("userhash=true: hashed names of users are not supported")
