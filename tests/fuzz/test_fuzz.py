"""`tests/fuzz/`: a short run of each target, and proof that a run finds what is wrong."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from reactor.errors import ProxyError
from reactor.protocol import (
    auth,
    deflate,
    extensions,
    forwarded,
    http,
    locations,
    proxies,
    quoting,
    response,
    uri,
)
from reactor.protocol.extended import ExtendedSession
from reactor.protocol.parser import FrameParser
from reactor.protocol.session import Session

from . import fuzz as program
from . import mutation
from .mutation import Mutator, shrink, why_failing
from .targets import Target, targets

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Hashable

SEED = 6455


@pytest.mark.parametrize("name", program.NAMES)
def test_a_second_of_fuzzing_finds_nothing(name: str) -> None:
    result = mutation.fuzz(targets()[name], SEED, seconds=1)
    assert result.failing is None, f"{result.why}\n{result.failing.hex()}"
    assert result.executions > 0


# Inputs that were findings, some of a rule that was wrong itself.
FOUND = [
    # Two fields, of which the first is empty: as a client's answer they are refused.
    ("extensions", b"\xaa\npermessage-deflate"),
    # What upper() makes "MD5-SESS" of, and is no token.
    ("challenge", b'\0Digest realm="",nonce="",qop=auth,algorithm="MD5-se\xdf"'),
    # A tab may stand in a reason, and was shown as it came.
    ("proxy", b"\0HTTP/1.1 300 \td"),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_is_not_found_again(name: str, data: bytes) -> None:
    assert why_failing(targets()[name], data) == ""


# ---- planted bugs ----


def raises_for_a_rare_ping(plant: pytest.MonkeyPatch) -> None:
    control = Session.control

    def rare(self: Session, head: int, payload: bytes) -> bool | None:
        if head == 0x89 and payload[:1] == b"\x80":
            raise IndexError("planted")
        return control(self, head, payload)

    plant.setattr(Session, "control", rare)


def forgets_to_turn_the_key(plant: pytest.MonkeyPatch) -> None:
    advance = FrameParser._advance

    def unturned(self: FrameParser, count: int) -> bool | None:
        key = self._key
        stop = advance(self, count)
        if self.remaining and count % 4 == 3:
            self._key = key
        return stop

    plant.setattr(FrameParser, "_advance", unturned)


def counts_each_fragment_by_itself(plant: pytest.MonkeyPatch) -> None:
    frame_began = Session.frame_began

    def alone(self: Session, head: int, length: int) -> None:
        frame_began(self, head, length)
        self.room = self._max_message

    plant.setattr(Session, "frame_began", alone)


def goes_on_after_a_violation(plant: pytest.MonkeyPatch) -> None:
    fail = Session.fail

    def twice(self: Session, error: Any) -> None:
        fail(self, error)
        self._events.write(b"\x88\x00")

    plant.setattr(Session, "fail", twice)


def decodes_strictly(plant: pytest.MonkeyPatch) -> None:
    def strict(text: str) -> str:
        parts = re.split("%([0-9a-fA-F]{2})", text)
        raw = [
            bytes.fromhex(part) if at % 2 else part.encode() for at, part in enumerate(parts)
        ]
        return b"".join(raw).decode()

    plant.setattr(locations, "unquote", strict)


def finds_the_end_of_a_head_in_one_piece_alone(plant: pytest.MonkeyPatch) -> None:
    class Careless(http.HeadReader):
        __slots__ = ()

        def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
            found = super().feed(data)
            return found if found is None or len(data) != 3 else (found[0], b"")

    plant.setattr(http, "HeadReader", Careless)


def lets_anything_into_a_field(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(http, "_is_value", lambda text: True)


def takes_any_number_for_the_size_of_a_chunk(plant: pytest.MonkeyPatch) -> None:
    def careless(self: response.ReplyReader) -> bool:
        self._left = int(bytes(self._line).strip() or b"0", 16)
        self._line.clear()
        return not self._left

    plant.setattr(response.ReplyReader, "_line_ended", careless)


def forgets_a_line_that_is_cut(plant: pytest.MonkeyPatch) -> None:
    chunks = response.ReplyReader._chunks

    def forgetful(self: response.ReplyReader, data: bytes) -> bool:
        self._line.clear()
        return chunks(self, data)

    plant.setattr(response.ReplyReader, "_chunks", forgetful)


def shows_the_path_of_a_socket_as_it_is(plant: pytest.MonkeyPatch) -> None:
    shown = uri.URI.__str__

    def raw(self: uri.URI) -> str:
        return f"ws+unix://{self.unix}:{self.target}" if self.unix else shown(self)

    plant.setattr(uri.URI, "__str__", raw)


def follows_a_server_to_a_socket(plant: pytest.MonkeyPatch) -> None:
    plant.setitem(uri._SCHEMES, "ws+unix", "ws+unix")
    plant.setattr(uri, "_elsewhere", uri.parse_uri)


def knows_three_types_of_address(plant: pytest.MonkeyPatch) -> None:
    def known(kind: int, first: int) -> int:
        return {1: 4, 3: 1 + first, 4: 16}[kind]

    plant.setattr(proxies, "_address_size", known)


def shows_the_password_that_was_refused(plant: pytest.MonkeyPatch) -> None:
    status = proxies.Socks5._status

    def chatty(self: proxies.Socks5) -> bytes | None:
        try:
            return status(self)
        except ProxyError:
            raise ProxyError(407, f"{self._proxy.password}?") from None

    plant.setattr(proxies.Socks5, "_status", chatty)


def believes_a_path_with_a_nul(plant: pytest.MonkeyPatch) -> None:
    parse = forwarded._parse_v2

    def whole(head: bytes) -> object:
        found = parse(head)
        return head[16:124].decode("latin-1") if isinstance(found, str) else found

    plant.setattr(forwarded, "_parse_v2", whole)


def lets_controls_into_a_challenge(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(quoting, "check_value", lambda text: None)


def forgets_to_escape_a_quote(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(auth, "quoted", lambda text: f'"{text}"')


def takes_a_quoted_value_as_it_stands(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(extensions, "unquoted", lambda text: text[1:-1])


def looks_at_the_first_character_of_nothing(plant: pytest.MonkeyPatch) -> None:
    param = extensions._param

    def hasty(text: str) -> tuple[str, str | None]:
        return param(text[1:] if text[0] == "\t" else text)

    plant.setattr(extensions, "_param", hasty)


def accepts_two_for_one_bit(plant: pytest.MonkeyPatch) -> None:
    def conflicts(extension: object, codecs: list[extensions.Codec]) -> bool:
        return any(extension is codec.extension for codec in codecs)

    plant.setattr(extensions, "_conflicts", conflicts)


def limits_a_client_that_has_not_asked(plant: pytest.MonkeyPatch) -> None:
    answer = deflate.PerMessageDeflate.answer

    def limiting(self: deflate.PerMessageDeflate, offer: Any) -> Any:
        accepted = answer(self, offer)
        if accepted is None or any(name == "client_max_window_bits" for name, _ in offer):
            return accepted
        return [*accepted[0], ("client_max_window_bits", "12")], accepted[1]

    plant.setattr(deflate.PerMessageDeflate, "answer", limiting)


def compresses_with_a_larger_window_than_agreed(plant: pytest.MonkeyPatch) -> None:
    compressor = deflate.PerMessageDeflate.compressor
    plant.setattr(
        deflate.PerMessageDeflate, "compressor", lambda self, bits: compressor(self, 15)
    )


def leaves_a_message_open(plant: pytest.MonkeyPatch) -> None:
    def careless(self: Any) -> None:
        if self._inflater is not None and not self._they_forget:
            with contextlib.suppress(zlib.error):
                self._inflater.decompress(b"\x00\x00\xff\xff")
        else:
            self._inflater = None

    plant.setattr(deflate._DeflateCodec, "_end", careless)


def inflates_all_at_once(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(deflate, "_PIECE", 1 << 20)


def lets_zlib_speak_for_itself(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(deflate, "InvalidPayload", zlib.error)


def stops_after_the_first_piece(plant: pytest.MonkeyPatch) -> None:
    inflate = deflate._DeflateCodec._inflate
    plant.setattr(
        deflate._DeflateCodec, "_inflate", lambda self, data: (inflate(self, data)[0], None)
    )


def says_nothing_of_what_is_left(plant: pytest.MonkeyPatch) -> None:
    feed = ExtendedSession.feed

    def silent(self: ExtendedSession, data: bytes) -> bool:
        return feed(self, data) and self._rest is None

    plant.setattr(ExtendedSession, "feed", silent)


def counts_what_comes_and_not_what_it_stands_for(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(ExtendedSession, "_count", lambda self, piece: None)


def forgets_the_bits_of_a_fragment(plant: pytest.MonkeyPatch) -> None:
    begin = ExtendedSession._begin
    plant.setattr(
        ExtendedSession, "_begin", lambda self, head, length: begin(self, head & 0x8F, length)
    )


BUGS: list[tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = [
    ("parser", raises_for_a_rare_ping, "feeding raised IndexError"),
    ("parser", forgets_to_turn_the_key, "pieces of"),
    ("parser", counts_each_fragment_by_itself, "limit 300"),
    ("parser", goes_on_after_a_violation, "Close frames"),
    ("head", decodes_strictly, "a head raised UnicodeDecodeError"),
    ("head", finds_the_end_of_a_head_in_one_piece_alone, "pieces of"),
    ("grammar", lets_anything_into_a_field, "came out as"),
    ("reply", takes_any_number_for_the_size_of_a_chunk, "a response raised ValueError"),
    ("reply", forgets_a_line_that_is_cut, "pieces of"),
    ("reply", shows_the_path_of_a_socket_as_it_is, "is shown as"),
    ("reply", follows_a_server_to_a_socket, "a server may not lead to"),
    ("proxy", knows_three_types_of_address, "a proxy's answer raised KeyError"),
    ("proxy", shows_the_password_that_was_refused, "a proxy's answer became ProxyError"),
    ("proxy", believes_a_path_with_a_nul, "client '/run/a"),
    ("challenge", lets_controls_into_a_challenge, "is no field"),
    ("challenge", forgets_to_escape_a_quote, "a challenge raised ValueError"),
    ("extensions", takes_a_quoted_value_as_it_stands, "extensions raised ValueError"),
    ("extensions", looks_at_the_first_character_of_nothing, "extensions raised IndexError"),
    ("extensions", accepts_two_for_one_bit, "claim the same"),
    ("extensions", limits_a_client_that_has_not_asked, "is no answer to"),
    ("extensions", compresses_with_a_larger_window_than_agreed, "extensions raised"),
    ("inflate", leaves_a_message_open, "Hello is"),
    ("inflate", inflates_all_at_once, "a piece of"),
    ("inflate", lets_zlib_speak_for_itself, "decoding raised error"),
    ("inflate", stops_after_the_first_piece, "by zlib itself"),
    ("extended", says_nothing_of_what_is_left, "nothing is said of what is left"),
    ("extended", counts_what_comes_and_not_what_it_stands_for, "limit 3000"),
    ("extended", forgets_the_bits_of_a_fragment, "pieces of"),
]


@pytest.mark.parametrize(("name", "bug", "why"), BUGS, ids=[bug.__name__ for _, bug, _ in BUGS])
def test_a_planted_bug_is_found(
    name: str,
    bug: Callable[[pytest.MonkeyPatch], None],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = targets()[name]
    bug(monkeypatch)
    result = mutation.fuzz(target, SEED, runs=50_000)
    assert result.failing is not None
    assert why in result.why
    monkeypatch.undo()
    assert why_failing(target, result.failing) == ""


# ---- the fuzzer itself ----


def noting(inputs: list[bytes]) -> Target:
    def run(data: bytes) -> Hashable:
        inputs.append(data)
        return len(data) % 50

    return Target(run, [b"seed", b"another"], [b"token"])


def test_the_same_seed_gives_the_same_inputs() -> None:
    runs: list[list[bytes]] = [[], [], []]
    for inputs, seed in zip(runs, (1, 1, 2)):
        mutation.fuzz(noting(inputs), seed, runs=300)
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) == 300
    assert runs[0][:2] == [b"seed", b"another"]


def test_every_mutation_copes_with_an_empty_input() -> None:
    mutate = Mutator(SEED, [b"token"])
    assert {len(mutate(b"", b"")) > 0 for _ in range(300)} == {True, False}


def test_a_failing_input_is_shrunk_to_what_fails() -> None:
    def run(data: bytes) -> Hashable:
        if b"b" in data and data.count(b"x") >= 3:
            raise ValueError("found")
        return None

    target = Target(run, [], [])
    least = shrink(target, b"aaxaa" * 100 + b"b" + b"xc" * 100)
    assert sorted(least) == sorted(b"xxxb")
    assert why_failing(target, least) == "ValueError: found"
    whole = b"aaxaa" * 100 + b"b"
    assert shrink(target, whole, attempts=0) == whole
    assert shrink(target, whole, patience=0) == whole


def test_what_fails_once_alone_is_told_as_it_was() -> None:
    left = [ValueError("once")]

    def run(data: bytes) -> Hashable:
        if left and len(data) > 3:
            raise left.pop()
        return None

    result = mutation.fuzz(Target(run, [b"seed"], [b"token"]), SEED, runs=10)
    assert (result.executions, result.failing) == (1, b"seed")
    assert result.why == "ValueError: once\n(once; run again it passed)"


# ---- the program ----


def test_the_program_says_its_seed_and_counts_the_executions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--target", "grammar", "--seconds", "0.1", "--engine", "mutation"]
    assert program.main([*arguments, "--seed", "7"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("grammar: seed 7\n")
    assert re.search(r"^grammar: [1-9]\d* executions, nothing found", said, re.MULTILINE)


def test_the_program_prints_a_finding_that_can_be_run_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lets_anything_into_a_field(monkeypatch)
    arguments = ["--target", "grammar", "--seconds", "50", "--engine", "mutation"]
    assert program.main(arguments) == 1
    said = capsys.readouterr().out
    again = re.search(r"^input: ([0-9a-f]+)$", said, re.MULTILINE)
    assert again is not None
    assert f"--input {again[1]}" in said
    assert program.main(["--target", "grammar", "--input", again[1]]) == 1
    assert again[1] in capsys.readouterr().out
    monkeypatch.undo()
    assert program.main(["--target", "grammar", "--input", again[1]]) == 0


def test_the_program_runs_all_targets_each_in_a_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--target", "all", "--seconds", "0.1", "--seed", "7", "--engine", "mutation"]
    assert program.main(arguments) == 0
    said = capfd.readouterr().out
    for name in program.NAMES:
        assert f"{name}: seed 7\n{name}: " in said


def stand_in(plant: pytest.MonkeyPatch, folder: pathlib.Path, *lines: str) -> None:
    """Let another program run in place of the fuzzer: `name` is its target."""
    path = folder / "program.py"
    path.write_text("\n".join(["import sys", "name = sys.argv[2]", *lines]))
    plant.setattr(program, "__file__", str(path))


def test_the_last_lines_name_what_has_failed_and_how_to_run_it_again(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    stand_in(
        *(monkeypatch, tmp_path),
        "print('INFO: Instrumenting', name, file=sys.stderr)",
        "if name == 'proxy':",
        "    raise RuntimeError('broken')",
        "if name == 'head':",
        "    print('again: fuzz.py --target head --input 00')",
        "print(name, 'ends')",
        "sys.exit(name == 'head')",
    )
    assert program.main(["--seed", "7"]) == 1
    said = capfd.readouterr().out
    assert "INFO" not in said
    assert "RuntimeError: broken\n" in said
    assert said.splitlines()[-3:] == [
        "extended ends",
        "failed: head, status 1; again: fuzz.py --target head --input 00",
        "failed: proxy, status 1; no input; seed 7",
    ]


def test_the_program_needs_the_target_of_an_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        program.main(["--input", "00"])
    assert leaving.value.code == 2
    assert "--target" in capsys.readouterr().err


def test_a_second_of_fuzzing_guided_by_coverage_finds_nothing() -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, program.__file__, "--engine", "atheris", "--target", "parser"]
    command += ["--seconds", "1", "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "executions, nothing found (atheris)" in done.stdout
