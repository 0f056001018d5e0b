"""`reactor/tools/stdio.py`: lines from stdin without waiting, text to stdout."""

from __future__ import annotations

import errno
import io
import os
import select
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Reactor
from reactor.tools.stdio import Lines, Stream, descriptor, visible

from ..loop.helpers import turn_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# What is shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, grüße, 日本, 🙂", "plain, grüße, 日本, 🙂"),
        ("a\tb\\", "a\tb\\"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[2J\x07\0\x7f", r"\x1b[2J\x07\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_character_of_a_category_that_steers_is_left() -> None:
    everything = visible("".join(map(chr, range(0x110000))))
    left = {c for c in everything if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left == {"\t"}


# Lines


class Taker:
    """Reads lines from a descriptor, in a reactor, as long as `wants` says so."""

    def __init__(self, number: int | None) -> None:
        self.reactor = Reactor()
        self.taken: list[bytes] = []
        self.ends: list[OSError | None] = []
        self.wants = True
        self.lines = Lines(self.reactor, number, self.take, self.ends.append)

    def take(self, line: bytes) -> bool:
        self.taken.append(line)
        return self.wants

    def until_ended(self) -> None:
        turn_until(self.reactor, lambda: self.ends)

    @property
    def watched(self) -> bool:
        # The wake socket is the one that is always there.
        return len(self.reactor._selector.get_map()) > 1

    def __enter__(self) -> Taker:
        return self

    def __exit__(self, *error: object) -> None:
        self.reactor.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.FileIO]]:
    """A pipe's reading end, and its writing end as a file."""
    reader, writer = os.pipe()
    with io.FileIO(writer, "w") as file:
        yield reader, file
    os.close(reader)


def test_a_line_may_be_cut_anywhere_and_the_last_lack_its_end(
    pipe: tuple[int, io.FileIO],
) -> None:
    number, file = pipe
    with Taker(number) as taker:
        taker.lines.resume()
        for byte in b"one\n\n\xfftw\r\nlast":
            file.write(bytes([byte]))
            taker.reactor.step(0)
            taker.reactor.step(0)
        assert taker.taken == [b"one", b"", b"\xfftw\r"]
        assert not taker.ends
        file.close()
        taker.until_ended()
        assert taker.taken == [b"one", b"", b"\xfftw\r", b"last"]
        assert taker.ends == [None]


def test_the_last_line_with_an_end_is_followed_by_nothing(
    pipe: tuple[int, io.FileIO],
) -> None:
    number, file = pipe
    file.write(b"a\nb\n")
    file.close()
    with Taker(number) as taker:
        taker.lines.resume()
        taker.until_ended()
        assert taker.taken == [b"a", b"b"]


def test_nothing_is_read_before_it_is_wanted_nor_while_it_is_not(
    pipe: tuple[int, io.FileIO],
) -> None:
    number, file = pipe
    file.write(b"a\nb\nc\n")
    with Taker(number) as taker:
        taker.reactor.step(0)
        assert not taker.taken
        taker.wants = False
        for lines in ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]):
            taker.lines.resume()
            taker.lines.resume()  # twice is as good as once
            turn_until(taker.reactor, lambda lines=lines: taker.taken == lines)  # type: ignore[misc]
            assert not taker.watched
        file.write(b"d\n")
        taker.reactor.step(0)
        assert select.select([number], [], [], 0)[0], "it was read without being wanted"
        taker.wants = True
        taker.lines.resume()
        turn_until(taker.reactor, lambda: taker.taken[3:] == [b"d"])
        assert taker.watched
        taker.lines.resume()  # while it is watched already
        taker.reactor.step(0)
        taker.lines.pause()
        taker.lines.pause()
        assert len(taker.reactor._selector.get_map()) == 1


def test_a_pause_right_after_a_resume_holds(pipe: tuple[int, io.FileIO]) -> None:
    number, file = pipe
    file.write(b"a\n")
    with Taker(number) as taker:
        taker.lines.resume()
        taker.lines.pause()
        taker.reactor.step(0)
        assert not taker.taken
        assert not taker.watched


def test_a_file_is_read_in_pieces_while_others_are_served(tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % number for number in range(50_000))
    (tmp_path / "input").write_bytes(content)
    with open(tmp_path / "input", "rb") as file, Taker(file.fileno()) as taker:
        taker.lines.resume()
        taker.reactor.step(0)
        first = len(taker.taken)
        assert 0 < first < 50_000
        taker.lines.pause()
        for _ in range(3):
            taker.reactor.step(0)
        assert len(taker.taken) == first
        taker.lines.resume()
        taker.until_ended()
        assert b"\n".join(taker.taken) + b"\n" == content


def test_a_file_whose_reader_wants_one_line_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"a\nb")
    with open(tmp_path / "input", "rb") as file, Taker(file.fileno()) as taker:
        taker.wants = False
        for lines in ([b"a"], [b"a", b"b"]):
            taker.lines.resume()
            turn_until(taker.reactor, lambda lines=lines: taker.taken == lines)  # type: ignore[misc]
        assert not taker.ends
        taker.lines.resume()
        taker.until_ended()


def test_the_end_is_told_again_to_who_asks_again() -> None:
    with open(os.devnull, "rb") as file, Taker(file.fileno()) as taker:
        taker.lines.resume()
        taker.until_ended()
        assert (taker.taken, taker.ends) == ([], [None])
        taker.lines.resume()
        turn_until(taker.reactor, lambda: len(taker.ends) == 2)


def test_an_input_that_is_not_there_is_at_its_end() -> None:
    with Taker(None) as taker:
        taker.lines.resume()
        taker.until_ended()
        assert (taker.taken, taker.ends) == ([], [None])


def test_an_input_that_fails_says_so_once_behind_its_last_line(
    pipe: tuple[int, io.FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, file = pipe
    answers: list[Any] = [b"a\nb", BlockingIOError(), OSError(errno.EIO, "gone")]

    def read(descriptor: int, size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, bytes):
            return answer
        raise answer

    file.write(b"x")
    with Taker(number) as taker:
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", read)
            taker.lines.resume()
            taker.until_ended()
        assert taker.taken == [b"a", b"b"]
        assert [error and error.errno for error in taker.ends] == [errno.EIO]
        taker.lines.resume()
        turn_until(taker.reactor, lambda: taker.ends[1:] == [None])


# Streams


class File:
    """A standard file, as far as `Stream` needs it."""

    def __init__(self, number: int, encoding: str | None = "utf-8") -> None:
        self.number = number
        self.encoding = encoding

    def fileno(self) -> int:
        return self.number


def stream(number: int, encoding: str | None = "utf-8") -> Stream:
    return Stream(File(number, encoding))  # type: ignore[arg-type]


def test_a_file_that_began_closed_has_no_descriptor() -> None:
    assert descriptor(None) is None
    Stream(None).line("nowhere")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("utf-8", "grüße\n".encode()), ("ascii", b"gr\\xfc\\xdfe\n"), (None, "grüße\n".encode())],
)
def test_a_line_is_written_in_the_encoding_of_the_file(
    encoding: str | None, data: bytes
) -> None:
    reader, writer = os.pipe()
    try:
        stream(writer, encoding).line("grüße")
        assert os.read(reader, 100) == data
    finally:
        os.close(reader)
        os.close(writer)


def test_a_line_waits_for_its_reader_though_the_descriptor_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sizes: list[int] = []

    def wait(r: list[int], w: list[int], x: list[int]) -> None:
        assert (r, w, x) == ([], [writer], [])
        sizes.append(len(os.read(reader, 1 << 20)))

    monkeypatch.setattr(select, "select", wait)
    stream(writer).line("x" * 1_000_000)
    rest = os.read(reader, 1 << 20)
    os.close(reader)
    os.close(writer)
    assert sum(sizes) + len(rest) == 1_000_001
    assert rest.endswith(b"x\n")
    assert sizes


def test_a_reader_that_has_left_is_told_of_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    errors: list[OSError] = []
    out = stream(writer)
    out.failed = errors.append
    out.line("one")
    out.line("two")
    os.close(writer)
    assert [type(error) for error in errors] == [BrokenPipeError]


def test_without_anybody_to_tell_a_failure_is_the_end_of_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = stream(writer)
    out.line("one")
    os.close(writer)
    out.line("two")
