"""`reactor/auth.py`: what a server asks for, and what it lets in."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import Request, Response
from reactor.auth import BasicAuth, DigestAuth
from reactor.protocol.auth import (
    Authenticator,
    basic,
    digest_response,
    parse_challenges,
    parse_params,
)
from reactor.protocol.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALGORITHMS = ("SHA-512-256", "SHA-512-256-sess", "SHA-256", "SHA-256-sess", "MD5", "MD5-sess")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
# Credentials: any Unicode less the control characters.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\x7f"])
)


class Asked(Request):
    """A request on which somebody may be noted as its user."""

    user: str | None = None


def ask(*authorizations: str, target: str = "/", method: str = "GET") -> Asked:
    lines = "".join(f"\r\nAuthorization: {value}" for value in authorizations)
    return Asked(f"{method} {target} HTTP/1.1\r\nHost: example.com{lines}".encode("latin-1"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Knows a nonce, and answers it however the test wants."""

    def __init__(self, auth: DigestAuth, user: str = "u", password: str = "p") -> None:
        self.auth = auth
        self.user = user
        self.password = password
        self.nonce = challenges_of(auth.check(ask()))[0]["nonce"]

    def params(self, nc: int = 1, /, **changed: str) -> dict[str, str]:
        params = {
            "realm": "WebSocket",
            "nonce": self.nonce,
            "uri": "/",
            "algorithm": "SHA-256",
            "nc": f"{nc:08x}",
            "cnonce": "c",
            "qop": "auth",
            "username": self.user,
            **changed,
        }
        hashed = {n: params[n] for n in ("algorithm", "realm", "nonce", "uri", "nc", "cnonce")}
        right = digest_response(user=self.user, password=self.password, **hashed)
        return {"response": right, **params}

    def header(self, nc: int = 1, /, *, without: str = "", **changed: str) -> str:
        params = self.params(nc, **changed)
        parts = (f"{name}={quoted(params[name])}" for name in params if name != without)
        return "Digest " + ", ".join(parts)

    def try_it(self, nc: int = 1, /, **changed: Any) -> Response | None:
        return self.auth.check(ask(self.header(nc, **changed)))


def challenges_of(response: Response | None) -> list[dict[str, str]]:
    """The parameters of the challenges of a 401."""
    assert response is not None
    assert response.status == 401, response.body
    return [c.params for c in parse_challenges(response.headers.get_all("WWW-Authenticate"))]


def is_stale(response: Response | None) -> bool:
    """Whether a 401 says that no more than the nonce was wrong."""
    return {params.get("stale") for params in challenges_of(response)} == {"true"}


def reason(response: Response | None) -> str:
    """What a 400 says; it never has a challenge."""
    assert response is not None
    assert response.status == 400
    assert "WWW-Authenticate" not in response.headers
    return response.body.decode()


# ---- Basic ----


def test_basic_asks_in_utf_8_and_lets_in_who_has_the_password() -> None:
    auth = BasicAuth({"u": "p"}, realm='the "realm"')
    response = auth.check(ask())
    assert response is not None
    expected = 'Basic realm="the \\"realm\\"", charset="UTF-8"'
    assert response.headers.get_all("WWW-Authenticate") == [expected]
    assert response.status == 401
    request = ask(basic("u", "p"))
    assert auth.check(request) is None
    assert request.user == "u"


@pytest.mark.parametrize(
    "value",
    [
        *[basic(user, password) for user, password in (("u", "q"), ("v", "p"), ("u", ""))],
        *[basic("u", "p" * 9), basic("", ""), "Digest a=1", "Bearer abc", "", "BasicdTpw"],
    ],
)
def test_basic_asks_again_whoever_has_not_the_password(value: str) -> None:
    request = ask(value)
    [challenge] = challenges_of(BasicAuth({"u": "p"}).check(request))
    assert challenge == {"realm": "WebSocket", "charset": "UTF-8"}
    assert request.user is None


def test_the_scheme_is_known_in_any_case() -> None:
    assert BasicAuth({"u": "p"}).check(ask("bASIC  dTpw")) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Basic"], "not base64"),
        (["Basic dTpw=="], "not base64"),
        (["Basic dTp w"], "not base64"),
        (["Basic dTpx, realm=x"], "not base64"),
        (["Basic \xe4\xe4\xe4\xe4"], "not base64"),
        (["Basic dTpwX"], "not base64"),
        (["Basic dXA="], "without a colon"),
        (["Basic dTr/"], "not UTF-8"),
        (["Basic dToA"], "control character in the password"),
        (["Basic CTpw"], "control character in the user"),
        (["Basic dTpw", "Basic dTpw"], "more than once"),
    ],
)
def test_malformed_basic_is_a_bad_request(values: list[str], expected: str) -> None:
    request = ask(*values)
    assert expected in reason(BasicAuth({"u": "p"}).check(request))
    assert request.user is None


def test_passwords_come_from_a_function_or_from_a_mapping_that_may_change() -> None:
    users: dict[str, str] = {}
    for auth in (
        BasicAuth(users),
        BasicAuth(users.get),
        BasicAuth(lambda user: users.get(user)),
    ):
        users.clear()
        assert auth.check(ask(basic("u", "p"))) is not None
        users["u"] = "p"
        assert auth.check(ask(basic("u", "p"))) is None


def test_an_empty_password_is_one() -> None:
    assert BasicAuth({"u": ""}).check(ask(basic("u", ""))) is None


def test_passwords_of_another_type_are_a_mistake_of_the_caller() -> None:
    wrong: Any = ["u"]
    for kind in (BasicAuth, DigestAuth):
        with pytest.raises(TypeError, match="passwords of type list"):
            kind(wrong)
    nothing: Any = {"u": b"p"}
    with pytest.raises(TypeError, match="password of type bytes, not str"):
        BasicAuth(nothing).check(ask(basic("u", "p")))


def test_an_error_of_the_function_is_not_the_clients() -> None:
    def broken(user: str) -> str:
        raise ValueError("the database is gone")

    with pytest.raises(ValueError, match="database"):
        BasicAuth(broken).check(ask(basic("u", "p")))
    auth = DigestAuth(broken)
    with pytest.raises(ValueError, match="database"):
        Client(auth).try_it()


@pytest.mark.parametrize("realm", ["", "\u00e9", "a\nb", "\x00"])
def test_a_realm_is_printable_ascii(realm: str) -> None:
    for kind in (BasicAuth, DigestAuth):
        with pytest.raises(ValueError, match="realm"):
            kind({}, realm=realm)


# ---- Digest: who gets in ----


def test_digest_asks_once_for_each_algorithm() -> None:
    auth = DigestAuth({"u": "p"}, realm="a b")
    response = auth.check(ask())
    first, second = challenges_of(response)
    assert response is not None
    [text, _] = response.headers.get_all("WWW-Authenticate")
    nonce = first["nonce"]
    assert text == (
        f'Digest realm="a b", qop="auth", algorithm=SHA-256, nonce="{nonce}", charset=UTF-8'
    )
    assert second == {**first, "algorithm": "MD5"}
    assert challenges_of(auth.check(ask()))[0]["nonce"] != nonce


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digest_lets_in_who_has_the_password(algorithm: str) -> None:
    auth = DigestAuth({"u": "p"}, algorithms=[algorithm.lower()])
    request = ask(Client(auth).header(algorithm=algorithm))
    assert auth.check(request) is None
    assert request.user == "u"
    wrong = ask(Client(auth, password="q").header(algorithm=algorithm))
    assert not is_stale(auth.check(wrong))
    assert wrong.user is None


def test_without_an_algorithm_md5_is_meant() -> None:
    def header(auth: DigestAuth) -> str:
        return Client(auth).header(algorithm="MD5", without="algorithm")

    both, strong = DigestAuth({"u": "p"}), DigestAuth({"u": "p"}, algorithms=["SHA-256"])
    assert both.check(ask(header(both))) is None
    assert not is_stale(strong.check(ask(header(strong))))


def test_a_request_is_answered_for_its_own_method() -> None:
    auth = DigestAuth({"u": "p"})
    assert not is_stale(auth.check(ask(Client(auth).header(), method="PUT")))


def test_a_name_in_raw_utf_8_is_as_good_as_an_encoded_one() -> None:
    auth = DigestAuth({"J\u00e4": "p"})
    client = Client(auth, "J\u00e4")
    raw = "J\u00e4".encode().decode("latin-1")
    assert client.try_it(username=raw) is None
    star = {"username*": "UTF-8'en'J%c3%A4"}
    request = ask(client.header(2, without="username", **star))
    assert auth.check(request) is None
    assert request.user == "J\u00e4"


def through(
    auth: BasicAuth | DigestAuth, client: Authenticator, target: str = "/"
) -> Asked | None:
    """The request that is let in, of all that a client makes of the server's challenges."""
    request = ask(target=target)
    for _ in range(4):
        response = auth.check(request)
        if response is None:
            return request
        assert response.status == 401, response.body
        challenges = response.headers.get_all("WWW-Authenticate")
        try:
            value = client.answer(challenges, target)
        except ValueError:
            return None
        request = ask(value, target=target)
    raise AssertionError("a client that never gives up")


@settings(deadline=None)
@given(NAMES, NAMES, PRINTABLE, st.permutations(ALGORITHMS), st.integers(1, 6))
def test_whoever_has_the_password_gets_in_with_our_client(
    user: str, password: str, realm: str, algorithms: list[str], count: int
) -> None:
    auth = DigestAuth({user: password}, realm=realm, algorithms=algorithms[:count])
    request = through(auth, Authenticator(user, password), '/chat?a="b"\\')
    assert request is not None
    assert request.user == user
    assert through(auth, Authenticator(user, password + "x")) is None
    assert through(auth, Authenticator(user + "x", password)) is None


@settings(deadline=None)
@given(NAMES.map(lambda name: name.replace(":", ";")), NAMES, PRINTABLE)
def test_whoever_has_the_password_gets_in_with_our_client_by_basic(
    user: str, password: str, realm: str
) -> None:
    auth = BasicAuth({user: password}, realm=realm)
    request = through(auth, Authenticator(user, password))
    assert request is not None
    assert request.user == user
    assert through(auth, Authenticator(user, password + "x")) is None
    assert through(auth, Authenticator(user + "x", password)) is None


# ---- Digest: what is refused ----


@pytest.mark.parametrize("name", ["realm", "nonce", "uri", "response", "qop", "cnonce", "nc"])
def test_what_must_be_there_must_be_there(name: str) -> None:
    auth = DigestAuth({"u": "p"})
    client = Client(auth)
    assert f"Digest without {name}" in reason(client.try_it(without=name))
    empty = client.header().replace(f'{name}="{client.params()[name]}"', f'{name}=""')
    assert f"Digest without {name}" in reason(auth.check(ask(empty)))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"qop": "auth-int"}, "qop that was not offered"),
        ({"qop": "auth,auth-int"}, "qop that was not offered"),
        ({"uri": "/other"}, "not the request's target"),
        ({"uri": "/?"}, "not the request's target"),
        ({"userhash": "true"}, "hashed names of users are not supported"),
        ({"userhash": "TRUE"}, "hashed names of users are not supported"),
        ({"username*": "UTF-8''u"}, "or both"),
        ({"username": "\xe4"}, "not UTF-8"),
        ({"username": "a\t"}, "control character"),
        *[
            ({"nc": nc}, "eight hexadecimal")
            for nc in ("1", "0000000g", "0x000001", "+0000001")
        ],
        ({"nc": "000000001"}, "eight hexadecimal"),
        ({"nc": " 0000001"}, "eight hexadecimal"),
    ],
)
def test_what_is_improper_is_a_bad_request(changed: dict[str, str], expected: str) -> None:
    auth = DigestAuth({"u": "p"})
    request = ask(Client(auth).header(**changed))
    assert expected in reason(auth.check(request))
    assert request.user is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("u", "not UTF-8''..."),
        ("UTF-8'u", "not UTF-8''..."),
        ("ISO-8859-1''u", "not UTF-8''..."),
        ("UTF-8''%", "encodes nothing"),
        ("UTF-8''%4", "encodes nothing"),
        ("UTF-8''%4g", "encodes nothing"),
        ("UTF-8''%+1", "encodes nothing"),
        ("UTF-8''%ff", "not UTF-8"),
        ("UTF-8''%00", "control character"),
    ],
)
def test_an_encoded_name_is_decoded_by_the_letter(name: str, expected: str) -> None:
    auth = DigestAuth({"u": "p"})
    header = Client(auth).header(without="username", **{"username*": name})
    assert expected in reason(auth.check(ask(header)))


def test_a_digest_of_nobody_is_a_bad_request() -> None:
    assert "neither username" in reason(Client(DigestAuth({})).try_it(without="username"))


@pytest.mark.parametrize(
    "value",
    ["Digest", "Digest @", 'Digest a="', "Digest a=1, a=2", "Digest abc=", "Digest ,,,"],
)
def test_what_is_no_list_of_parameters_is_a_bad_request(value: str) -> None:
    assert reason(DigestAuth({"u": "p"}).check(ask(value)))


def test_parameters_twice_are_a_bad_request() -> None:
    auth = DigestAuth({"u": "p"})
    client = Client(auth)
    for name, value in client.params().items():
        twice = f"{client.header()}, {name}={quoted(value)}"
        assert f"parameter {name} twice" in reason(auth.check(ask(twice)))
    header = client.header()
    assert "more than once" in reason(auth.check(ask(header, header)))
    assert auth.check(ask(header)) is None  # nothing of that has used it up


@pytest.mark.parametrize(
    "changed",
    [
        {"realm": "other"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "SHA-1"},
        {"algorithm": "SHA-256-sess"},
        {"response": "0" * 64},
        {"response": "x"},
        {"response": "\xe4"},
    ],
)
def test_what_is_wrong_is_asked_again_and_not_called_stale(changed: dict[str, str]) -> None:
    auth = DigestAuth({"u": "p"})
    client = Client(auth)
    header = client.header(**{n: v for n, v in changed.items() if v != "SHA-1"})
    if changed.get("algorithm") == "SHA-1":
        header = header.replace("SHA-256", "SHA-1")
    request = ask(header)
    assert not is_stale(auth.check(request))
    assert request.user is None
    assert client.try_it() is None  # and it was not used up


def test_no_letter_beyond_ascii_stands_for_two_of_an_algorithm() -> None:
    auth = DigestAuth({"u": "p"}, algorithms=["MD5-sess"])
    header = Client(auth).header(algorithm="MD5-sess")
    assert auth.check(ask(header)) is None
    header = Client(auth).header(algorithm="MD5-sess").replace("MD5-sess", "MD5-se\xdf")
    assert challenges_of(auth.check(ask(header)))


def test_an_answer_for_our_realm_that_names_another_is_refused() -> None:
    client = Client(DigestAuth({"u": "p"}))
    right = client.params()["response"]
    assert not is_stale(client.try_it(realm="other", response=right))
    assert client.try_it(response=right) is None


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=255, min_codepoint=32, exclude_characters="\x7f")))
def test_whatever_a_stranger_sends_is_answered(text: str) -> None:
    for auth in (BasicAuth({"u": "p"}), DigestAuth({"u": "p"})):
        for value in (text, f"Basic {text}", f"Digest {text}"):
            response = auth.check(ask(value))
            assert response is not None
            assert response.status in (400, 401)


# ---- Digest: nonces ----


def test_a_nonce_is_good_for_its_lifetime_and_then_stale() -> None:
    clock = Clock()
    auth = DigestAuth({"u": "p"}, lifetime=10, clock=clock)
    client = Client(auth)
    clock.now += 10
    assert client.try_it(1) is None
    clock.now += 0.001
    request = ask(client.header(2))
    response = auth.check(request)
    assert is_stale(response)
    assert request.user is None
    client.nonce = challenges_of(response)[0]["nonce"]
    assert client.try_it(1) is None


def test_who_has_not_the_password_is_not_told_that_a_nonce_is_stale() -> None:
    clock = Clock()
    auth = DigestAuth({"u": "p"}, clock=clock)
    client = Client(auth, password="q")
    clock.now += 301
    assert not is_stale(client.try_it())


def test_a_replay_is_refused_and_so_is_an_nc_that_does_not_grow() -> None:
    auth = DigestAuth({"u": "p"})
    client = Client(auth)
    assert is_stale(client.try_it(0))
    assert client.try_it(1) is None
    assert is_stale(client.try_it(1))
    assert client.try_it(7) is None
    for nc in (7, 6, 1, 0):
        assert is_stale(client.try_it(nc))
    assert client.try_it(0xFFFFFFFF) is None
    assert is_stale(client.try_it(0xFFFFFFFF))


def test_a_nonce_that_is_not_ours_is_refused() -> None:
    auth, other = DigestAuth({"u": "p"}), DigestAuth({"u": "p"})
    client, stranger = Client(auth), Client(other)
    nonce = client.nonce
    changed = [
        stranger.nonce,
        "n",
        "0" * 96,
        nonce[:-1],
        nonce + "0",
        nonce.upper(),
        nonce[32:] + nonce[:32],
        "f" + nonce[1:],
        nonce[:31] + ("0" if nonce[31] != "0" else "1") + nonce[32:],
        "\xe4" * 96,
    ]
    for wrong in changed:
        assert wrong != nonce
        assert is_stale(client.try_it(nonce=wrong)), wrong
    assert client.try_it() is None


def test_nonces_differ_and_grow_even_while_the_clock_stands() -> None:
    auth = DigestAuth({"u": "p"}, algorithms=["MD5"], clock=Clock())
    nonces = [Client(auth).nonce for _ in range(50)]
    stamps = [nonce[:16] for nonce in nonces]
    assert stamps == sorted(set(stamps))
    assert len({nonce[16:32] for nonce in nonces}) == 50


def test_what_is_evicted_takes_all_older_nonces_with_it() -> None:
    auth = DigestAuth({"u": "p"}, max_nonces=2, clock=Clock())
    unused_old, first, second, unused, third, fresh = (Client(auth) for _ in range(6))
    assert second.try_it() is None
    assert third.try_it() is None
    # Both places are taken: the oldest goes, and be it the one that comes.
    assert first.try_it() is None
    assert is_stale(first.try_it(1))
    assert is_stale(first.try_it(2))
    assert is_stale(unused_old.try_it())
    assert unused.try_it() is None  # younger than the first; it takes the second's place
    assert is_stale(second.try_it(2))
    assert is_stale(third.try_it(1))
    assert third.try_it(2) is None
    assert fresh.try_it() is None


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), max_size=40),
)
def test_no_request_ever_gets_in_twice(limit: int, tries: list[tuple[int, int]]) -> None:
    auth = DigestAuth({"u": "p"}, max_nonces=limit, clock=Clock())
    clients = [Client(auth) for _ in range(8)]
    let_in = set()
    for number, nc in tries:
        if clients[number].try_it(nc) is None:
            assert (number, nc) not in let_in
            let_in.add((number, nc))
        assert len(auth._nonces._used) <= limit


def test_strangers_fill_no_store() -> None:
    auth = DigestAuth({"u": "p"}, clock=Clock())
    for _ in range(20):
        assert not is_stale(Client(auth, password="q").try_it())
    assert auth._nonces._used == {}


def test_our_client_comes_back_with_a_fresh_nonce_after_a_stale_one() -> None:
    clock = Clock()
    auth = DigestAuth({"u": "p"}, lifetime=1, clock=clock)
    client = Authenticator("u", "p")
    first = auth.check(ask())
    assert first is not None
    value = client.answer(first.headers.get_all("WWW-Authenticate"), "/")
    clock.now += 2
    response = auth.check(ask(value))
    assert is_stale(response)
    assert response is not None
    again = client.answer(response.headers.get_all("WWW-Authenticate"), "/")
    assert auth.check(ask(again)) is None


# ---- by the same work ----


def work(monkeypatch: pytest.MonkeyPatch, check: Callable[[], object]) -> list[tuple[str, Any]]:
    """Which functions are called for secrets, and how long what they get is."""
    done: list[tuple[str, Any]] = []
    new, digest, compare = hashlib.new, hmac.digest, hmac.compare_digest

    def counted_new(name: str, data: bytes = b"", **options: Any) -> Any:
        done.append(("hash", name))
        return new(name, data, **options)

    def counted_digest(key: bytes, message: bytes, name: str) -> bytes:
        done.append(("hmac", name))
        return digest(key, message, name)

    def counted_compare(a: bytes, b: bytes) -> bool:
        assert isinstance(a, bytes)
        assert isinstance(b, bytes)
        done.append(("compare", (len(a), len(b))))
        return compare(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "new", counted_new)
        patch.setattr(hmac, "digest", counted_digest)
        patch.setattr(hmac, "compare_digest", counted_compare)
        check()
    return done


def test_an_unknown_user_is_as_much_work_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = BasicAuth({"known": "p"})
    works = [
        work(monkeypatch, lambda pair=pair: plain.check(ask(basic(*pair))))  # type: ignore[misc]
        for pair in (("known", "wrong"), ("unknown", "wrong"), ("known", "much longer"))
    ]
    assert works[0] == works[1] == works[2]
    assert ("compare", (32, 32)) in works[0]
    auth = DigestAuth({"known": "p"})
    works = []
    for user in ("known", "unknown"):
        client = Client(auth, user, "wrong")
        works.append(work(monkeypatch, client.try_it))
    assert works[0] == works[1]
    assert ("compare", (64, 64)) in works[0]


def test_nobodys_password_opens_nothing() -> None:
    plain, auth = BasicAuth({}), DigestAuth({})
    stand_in = plain._passwords._nobodys
    assert plain.check(ask(basic("x", stand_in))) is not None
    assert not is_stale(Client(auth, "x", auth._passwords._nobodys).try_it())
    assert stand_in != auth._passwords._nobodys


# ---- how it is set up ----


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"algorithms": []}, "none or one twice"),
        ({"algorithms": ["MD5", "md5"]}, "none or one twice"),
        ({"algorithms": ["SHA-1"]}, "is unknown"),
        ({"lifetime": 0}, "lifetime=0"),
        ({"lifetime": float("nan")}, "lifetime=nan"),
        ({"max_nonces": 0}, "max_nonces=0"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        DigestAuth({}, **options)


def test_algorithms_are_no_string() -> None:
    with pytest.raises(TypeError, match="algorithms are a list"):
        DigestAuth({}, algorithms="MD5")


def test_a_host_that_refuses_md5_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    new = hashlib.new

    def refusing(name: str, data: bytes = b"", **options: Any) -> Any:
        if name == "md5":
            raise ValueError("disabled for FIPS")
        return new(name, data, **options)

    monkeypatch.setattr(hashlib, "new", refusing)
    with pytest.raises(
        ValueError, match="algorithm MD5 is one that this host's hashlib refuses"
    ):
        DigestAuth({"u": "p"})
    auth = DigestAuth({"u": "p"}, algorithms=["SHA-256"])
    assert Client(auth).try_it() is None


def test_the_clock_is_nobodys_business() -> None:
    clock = Clock()
    clock.now = 123456.0
    auth = DigestAuth({"u": "p"}, clock=clock)
    clock.now += 1
    assert int(Client(auth).nonce[:16], 16) == 1_000_000_000
    assert parse_params(f'nonce="{Client(auth).nonce}"')["nonce"][:16] == f"{10**9 + 1:016x}"
