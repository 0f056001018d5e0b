"""`reactor/protocol/auth.py`: challenges, what is computed, and what a client answers."""

from __future__ import annotations

import base64
import hashlib
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.protocol.auth import (
    Authenticator,
    basic,
    check_algorithm,
    check_credentials,
    digest_response,
    parse_challenges,
    parse_params,
)
from reactor.protocol.http import Headers
from reactor.protocol.quoting import quoted

DIGEST = 'Digest realm="r", nonce="n", qop="auth"'
# What may stand in a field's value: ISO-8859-1 less the control characters.
VALUES = st.text(
    st.characters(max_codepoint=255, exclude_characters=[*map(chr, [*range(32), 127])])
)


def parsed(*values: str) -> list[tuple[str, dict[str, str], str | None]]:
    return [(c.scheme, c.params, c.token68) for c in parse_challenges(values)]


def params_of(answer: str) -> dict[str, str]:
    scheme, _, rest = answer.partition(" ")
    assert scheme == "Digest"
    return parse_params(rest)


# ---- grammar ----


def test_several_challenges_stand_in_one_field_or_in_several() -> None:
    first, second = (
        ("basic", {"realm": "a"}, None),
        ("digest", {"realm": "b", "qop": "c"}, None),
    )
    assert parsed('Basic realm="a", Digest realm="b", qop=c') == [first, second]
    assert parsed('Basic realm="a"', "DIGEST realm=b, QOP=c") == [first, second]
    assert parsed() == []
    assert parsed("") == []


def test_a_challenge_may_be_its_scheme_alone_or_have_a_token68() -> None:
    assert parsed("Negotiate, Basic realm=x") == [
        ("negotiate", {}, None),
        ("basic", {"realm": "x"}, None),
    ]
    assert parsed("Negotiate oRQwEg+/-._~==") == [("negotiate", {}, "oRQwEg+/-._~==")]
    assert parsed("NTLM a=,Basic realm=x")[0] == ("ntlm", {}, "a=")


def test_empty_elements_and_white_space_around_them_are_passed_over() -> None:
    expected = [("digest", {"a": "1", "b": "2", "c": "3"}, None)]
    assert parsed(',, \t,Digest \t a=1 ,,b = 2,\tc\t=\t"3" , ,') == expected


def test_a_quoted_string_may_hold_commas_equal_signs_and_escapes() -> None:
    [(_, params, _)] = parsed(r'X a="1, Basic realm=\"x\"", b="\\", c="", d="\a"')
    assert params == {"a": '1, Basic realm="x"', "b": "\\", "c": "", "d": "a"}


def test_a_challenge_shows_what_it_is() -> None:
    [one, two] = parse_challenges(["Basic realm=x, NTLM abc"])
    assert repr(one) == "<Challenge basic {'realm': 'x'}>"
    assert repr(two) == "<Challenge ntlm abc>"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("realm=x", "of no scheme"),
        (", =x", "of no scheme"),
        ("NTLM abc=, realm=x", "of no scheme"),
        ("Basic realm=x, =y", "is not a parameter"),
        ("Basic =x", "of no scheme"),
        ('"Basic" realm=x', "neither scheme nor parameter"),
        ("Ba(sic realm=x", "neither scheme nor parameter"),
        ('Basic"x"', "neither scheme nor parameter"),
        ("Basic realm x", "is not a parameter"),
        ("Basic abc, @", "neither scheme nor parameter"),
        ("Basic a@b", "is not a parameter"),
        ("Basic realm=", None),  # a token68
        ("Basic realm=x, y=", "neither token nor quoted"),
        ("Basic realm=x y", "neither token nor quoted"),
        ("Basic realm=x, nonce=a/b", "neither token nor quoted"),
        ("Basic realm=x, REALM=x", "parameter realm twice"),
        ('Basic realm="x', "without its end"),
        (r'Basic realm="x\"', "without its end"),
        ('Basic realm="x"y', "goes on behind"),
        ('Basic realm="x" "y"', "goes on behind"),
        ('Basic realm="x"y"z"', "goes on behind"),
        ("Basic realm=\u20ac", "ISO-8859-1"),
        ('Basic realm="a\r\nX: y"', "control character"),
        ('Basic realm="a\x00"', "control character"),
        ('Basic realm="a\x7f"', "control character"),
    ],
)
def test_what_is_malformed_is_refused_with_its_reason(value: str, reason: str | None) -> None:
    if reason is None:
        assert parse_challenges([value])
        return
    with pytest.raises(ValueError, match=reason):
        parse_challenges([value])


def test_a_challenge_does_not_go_on_in_the_next_field() -> None:
    with pytest.raises(ValueError, match="of no scheme"):
        parse_challenges(["Basic", "realm=x"])


def test_parameters_alone_are_parsed_alike() -> None:
    assert parse_params("a=1, B=\"2\", username*=UTF-8''x%20y") == {
        "a": "1",
        "b": "2",
        "username*": "UTF-8''x%20y",
    }
    assert parse_params("") == {}
    for text in ("a", "a=1, a=2", "=1", "a=1 b=2", '"', "Digest a=1"):
        with pytest.raises(ValueError, match=r"parameter|twice|without its end|neither"):
            parse_params(text)


def steps(value: str) -> int:
    """How many lines of Python it takes to parse `value`."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parse_challenges([value])
    except ValueError:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "unit",
    [
        ",",
        " ",
        '"',
        "\\",
        '"\\',
        '",',
        ', "',
        "a,",
        "a ,",
        "a=,",
        "a b=",
        'a="\\\\",',
        "=",
        '"" ',
    ],
)
def test_eight_times_the_length_costs_eight_times_the_steps_and_not_sixty_four_times(
    unit: str,
) -> None:
    for start in ("", "Digest ", 'Digest a="'):
        small, large = (start + unit * (size // len(unit)) for size in (2048, 16384))
        assert steps(large) < 16 * steps(small) + 100


@given(st.text(st.sampled_from(' \t,="\\aB1')), st.text(max_size=9))
def test_any_value_is_parsed_or_refused_with_a_value_error(text: str, more: str) -> None:
    try:
        challenges = parse_challenges([text + more])
    except ValueError:
        return
    for challenge in challenges:
        assert challenge.scheme == challenge.scheme.lower()
        for name, value in challenge.params.items():
            assert parse_params(f"{name}={quoted(value)}") == {name: value}


@given(VALUES)
def test_whatever_is_quoted_is_one_value_and_comes_out_again(text: str) -> None:
    assert parse_params(f"a={quoted(text)}, b=2") == {"a": text, "b": "2"}


# ---- names and passwords ----


@given(st.text().filter(lambda t: ":" not in t), st.text())
def test_basic_is_base64_of_both_in_utf_8_or_a_value_error(user: str, password: str) -> None:
    try:
        check_credentials(user, password)
    except ValueError:
        with pytest.raises(ValueError, match="control character"):
            basic(user, password)
        return
    scheme, _, token = basic(user, password).partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token, validate=True).decode() == f"{user}:{password}"


def test_a_colon_in_the_user_is_refused_in_basic_and_one_in_the_password_is_not() -> None:
    with pytest.raises(ValueError, match="colon in the user's name"):
        basic("a:b", "c")
    assert base64.b64decode(basic("a", "b:c")[6:]) == b"a:b:c"


@pytest.mark.parametrize("code", [*range(32), 127])
def test_control_characters_are_refused_in_both(code: int) -> None:
    for user, password, what in ((f"a{chr(code)}", "b", "user"), ("a", chr(code), "password")):
        with pytest.raises(ValueError, match=f"control character in the {what}"):
            Authenticator(user, password)


def test_a_lone_surrogate_is_refused_in_both() -> None:
    for user, password, what in (("\ud800", "b", "user"), ("a", "\udfff", "password")):
        with pytest.raises(ValueError, match=f"the {what} has no UTF-8"):
            Authenticator(user, password)


# ---- Digest ----


def response(algorithm: str, **changed: str) -> str:
    options = {
        "user": "u",
        "password": "p",
        "realm": "r",
        "nonce": "n",
        "nc": "00000001",
        "cnonce": "c",
        "uri": "/",
    }
    return digest_response(algorithm=algorithm, **{**options, **changed})


@pytest.mark.parametrize(
    ("name", "function"),
    [("MD5", hashlib.md5), ("SHA-256", hashlib.sha256)],
)
def test_a_session_hashes_nonce_and_cnonce_into_the_secret(name: str, function: Any) -> None:
    def digest(text: str) -> str:
        return str(function(text.encode()).hexdigest())

    secret, a2 = digest("u:r:p"), digest("GET:/")
    assert response(name) == digest(f"{secret}:n:00000001:c:auth:{a2}")
    session = digest(f"{secret}:n:c")
    assert response(f"{name}-sess") == digest(f"{session}:n:00000001:c:auth:{a2}")
    assert response(f"{name}-SESS".lower()) == response(f"{name}-sess")


@pytest.mark.parametrize("name", ["user", "password", "realm", "nonce", "nc", "cnonce", "uri"])
def test_whatever_is_part_of_a_request_changes_its_response(name: str) -> None:
    assert response("SHA-256", **{name: "other"}) != response("SHA-256")
    assert response("SHA-256", method="PUT") != response("SHA-256")


def test_user_and_password_are_hashed_as_utf_8_and_the_realm_as_it_came() -> None:
    changed = {"user": "\u00e4", "password": "\u20ac", "realm": "\u00e9"}
    secret = hashlib.sha256(b"\xc3\xa4:\xe9:\xe2\x82\xac").hexdigest()
    a2 = hashlib.sha256(b"GET:/").hexdigest()
    expected = hashlib.sha256(f"{secret}:n:00000001:c:auth:{a2}".encode()).hexdigest()
    assert response("SHA-256", **changed) == expected


def test_an_algorithm_is_known_in_any_case_and_named_in_one() -> None:
    assert check_algorithm("sha-256") == "SHA-256"
    assert check_algorithm("md5-SESS") == "MD5-sess"
    for name in ("SHA-1", "SHA-512", "MD5-", "-sess", "", "sha256", "MD5-seß"):
        with pytest.raises(ValueError, match="is unknown"):
            check_algorithm(name)


def refusing(*names: str) -> Any:
    """A `hashlib.new` as on a host that refuses some, unless they are not for security."""
    new = hashlib.new

    def limited(name: str, data: bytes = b"", **options: Any) -> Any:
        if name in names:
            raise ValueError(f"unsupported hash type {name}")
        if name == "md5" and options.get("usedforsecurity", True):
            raise ValueError("disabled for FIPS")
        return new(name, data, **options)

    return limited


def test_md5_is_asked_for_as_not_for_security(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = response("MD5")
    monkeypatch.setattr(hashlib, "new", refusing())
    assert response("MD5") == expected


def test_a_host_without_an_algorithm_answers_the_next_or_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashlib, "new", refusing("md5", "sha512_256"))
    with pytest.raises(ValueError, match=r"algorithm MD5 .* this host's hashlib refuses"):
        check_algorithm("MD5-sess")
    client = Authenticator("u", "p")
    strong, middle, weak = (
        f"{DIGEST}, algorithm={a}" for a in ("SHA-512-256", "SHA-256", "MD5")
    )
    assert params_of(client.answer([weak, strong, middle], "/"))["algorithm"] == "SHA-256"
    with pytest.raises(ValueError, match=r"SHA-512-256 .* refuses; algorithm MD5 .* refuses"):
        Authenticator("u", "p").answer([weak, strong], "/")
    with pytest.raises(ValueError, match=r"algorithm MD5 .* refuses"):
        Authenticator("u", "p").answer([DIGEST], "/")
    assert Authenticator("u", "p").answer([DIGEST, "Basic realm=x"], "/").startswith("Basic ")


# ---- the client ----

OFFERED = ["SHA-512-256", "SHA-512-256-sess", "SHA-256", "SHA-256-sess", "MD5", "MD5-sess"]


@pytest.mark.parametrize("algorithm", OFFERED)
def test_the_answer_proves_the_password_and_repeats_what_was_asked(algorithm: str) -> None:
    challenge = f'{DIGEST}, algorithm={algorithm}, opaque="o", charset=UTF-8, stale=false'
    params = params_of(Authenticator("u", "p").answer([challenge], "/chat?a=1"))
    cnonce = params["cnonce"]
    assert params == {
        "username": "u",
        "realm": "r",
        "uri": "/chat?a=1",
        "algorithm": algorithm,
        "nonce": "n",
        "nc": "00000001",
        "cnonce": cnonce,
        "qop": "auth",
        "response": response(algorithm, uri="/chat?a=1", cnonce=cnonce),
        "opaque": "o",
    }


def test_what_may_not_be_quoted_is_not() -> None:
    answer = Authenticator("u", "p").answer([f"{DIGEST}, algorithm=MD5"], "/")
    for part in ("algorithm=MD5,", "nc=00000001,", "qop=auth,", 'uri="/"', 'nonce="n"'):
        assert part in answer


def test_no_cnonce_comes_twice() -> None:
    answers = [Authenticator("u", "p").answer([DIGEST], "/") for _ in range(20)]
    assert len({params_of(answer)["cnonce"] for answer in answers}) == 20
    assert all(len(params_of(answer)["cnonce"]) == 32 for answer in answers)


def test_the_strongest_is_answered_and_basic_only_where_nothing_else_is_left() -> None:
    fields = [
        "Negotiate",
        "Basic realm=x",
        *(f"{DIGEST}, algorithm={a}" for a in OFFERED[::-1]),
    ]
    for left in range(len(fields), 2, -1):
        answer = Authenticator("u", "p").answer(fields[:left], "/")
        strongest = {"SHA-512-256", "SHA-256", "MD5"}.intersection(
            field.rpartition("=")[2].replace("-sess", "") for field in fields[:left]
        )
        expected = max(strongest, key=["MD5", "SHA-256", "SHA-512-256"].index)
        assert params_of(answer)["algorithm"].replace("-sess", "") == expected
    assert Authenticator("u", "p").answer(fields[:2], "/") == basic("u", "p")


def test_each_scheme_is_tried_once() -> None:
    client = Authenticator("u", "p")
    challenges = [f"{DIGEST}, algorithm=MD5", f"{DIGEST}, algorithm=SHA-256", "Basic realm=x"]
    assert client.answer(challenges, "/").startswith("Digest ")
    assert client.answer(challenges, "/").startswith("Basic ")
    for _ in range(3):
        with pytest.raises(ValueError, match=r"^the credentials were refused$"):
            client.answer(challenges, "/")


def test_stale_basic_is_refused_basic() -> None:
    client = Authenticator("u", "p")
    client.answer(["Basic realm=x"], "/")
    with pytest.raises(ValueError, match="the credentials were refused"):
        client.answer(["Basic realm=x, stale=true"], "/")


def test_digest_is_tried_once_more_if_its_nonce_was_stale_and_only_then() -> None:
    client = Authenticator("u", "p")
    client.answer([DIGEST], "/")
    with pytest.raises(ValueError, match="the credentials were refused"):
        client.answer([f"{DIGEST}, stale=false"], "/")
    fresh = 'Digest realm="r", nonce="{}", qop="auth", stale=TRUE'
    params = params_of(client.answer([fresh.format("n2")], "/"))
    assert (params["nonce"], params["nc"]) == ("n2", "00000001")
    with pytest.raises(ValueError, match="calls every nonce stale"):
        client.answer([fresh.format("n3")], "/")


def test_a_nonce_that_comes_again_is_counted_and_keeps_its_cnonce() -> None:
    cnonces = iter("abc")
    session = f"{DIGEST}, algorithm=SHA-256-sess, stale=true"
    client = Authenticator("u", "p", _cnonce=lambda: next(cnonces))
    seen = [params_of(client.answer([session], "/")) for _ in range(2)]
    assert [params["nc"] for params in seen] == ["00000001", "00000002"]
    assert [params["cnonce"] for params in seen] == ["a", "a"]
    client = Authenticator("u", "p", _cnonce=lambda: next(cnonces))
    seen = [params_of(client.answer([session.replace('"n"', n)], "/")) for n in ("1", "2")]
    assert [params["nc"] for params in seen] == ["00000001", "00000001"]
    assert [params["cnonce"] for params in seen] == ["b", "c"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "no challenge"),
        ("Negotiate", "scheme 'negotiate' is not Basic or Digest"),
        ("Bearer realm=x", "scheme 'bearer' is not"),
        ('Digest nonce="n", qop="auth"', "Digest without a realm"),
        ("Basic", "Basic without a realm"),
        ('Digest realm="r", qop="auth"', "without a nonce"),
        ('Digest realm="r", nonce="n"', "without qop"),
        ('Digest realm="r", nonce="n", qop="auth-int"', "qop 'auth-int' without auth"),
        ('Digest realm="r", nonce="n", qop=""', "qop '' without auth"),
        ('Digest realm="r", nonce="n", qop="auth-int,authentic"', "without auth"),
        (f"{DIGEST}, algorithm=SHA-1", "algorithm 'SHA-1' is unknown"),
        (f"{DIGEST}, userhash=true", "userhash=true"),
        (f'{DIGEST}, userhash="TRUE"', "userhash=true"),
        (f"{DIGEST}, nonce=m", "parameter nonce twice"),
        ('Digest realm="', "without its end"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(value: str, reason: str) -> None:
    client = Authenticator("u", "p")
    with pytest.raises(ValueError, match=reason):
        client.answer([value], "/")
    # That was no try.
    assert client.answer([DIGEST], "/").startswith("Digest ")


def test_no_field_at_all_is_no_challenge() -> None:
    with pytest.raises(ValueError, match=r"no challenge to answer"):
        Authenticator("u", "p").answer([], "/")


def test_a_flood_of_challenges_gives_a_short_reason() -> None:
    value = ",".join(f"s{number}{'x' * 50}" for number in range(200))
    with pytest.raises(ValueError, match="is not Basic or Digest") as caught:
        Authenticator("u", "p").answer([value], "/")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("qop", ["auth", "auth,auth-int", "auth-int , AUTH", "x,\tauth"])
def test_auth_is_found_wherever_it_stands_in_qop(qop: str) -> None:
    params = params_of(
        Authenticator("u", "p").answer([f'Digest realm="r", nonce="n", qop="{qop}"'], "/")
    )
    assert params["qop"] == "auth"


def test_a_userhash_that_is_not_true_is_none() -> None:
    assert Authenticator("u", "p").answer([f"{DIGEST}, userhash=false"], "/")


def test_a_name_beyond_ascii_is_encoded_if_the_server_said_how() -> None:
    client = Authenticator("J\u00e4s\u00f8n \u20ac'\"\\*", "p")
    params = params_of(client.answer([f'{DIGEST}, charset="utf-8"'], "/"))
    assert params["username*"] == "UTF-8''J%C3%A4s%C3%B8n%20%E2%82%AC%27%22%5C%2A"
    assert "username" not in params
    for charset in ("", ", charset=ISO-8859-1"):
        with pytest.raises(ValueError, match="no charset=UTF-8"):
            Authenticator("\u00e4", "p").answer([DIGEST + charset], "/")


@given(user=VALUES.filter(str.isascii), realm=VALUES, nonce=VALUES, opaque=VALUES)
def test_nothing_that_a_challenge_says_breaks_out_of_its_quotes(
    user: str, realm: str, nonce: str, opaque: str
) -> None:
    challenge = f"Digest realm={quoted(realm)}, nonce={quoted(nonce)}, qop=auth"
    challenge += f", opaque={quoted(opaque)}"
    answer = Authenticator(user, "p").answer([challenge], '/"\\')
    params = params_of(answer)
    assert len(params) == 9
    assert (params["username"], params["realm"]) == (user, realm)
    assert (params["nonce"], params["opaque"], params["uri"]) == (nonce, opaque, '/"\\')
    Headers({"Authorization": answer})  # it may stand in a head


def test_a_target_with_a_line_break_gets_into_no_head() -> None:
    with pytest.raises(ValueError, match="control character"):
        Authenticator("u", "p").answer([DIGEST], "/\r\nX: y")
