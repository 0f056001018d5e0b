"""`reactor/tools/__init__.py`: the command line, as far as it is not one command's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import reactor
from reactor.tools import connect, main, serve

if TYPE_CHECKING:
    import argparse


def test_version_prints_the_name_of_the_distribution_and_its_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert out == f"wsreactor {reactor.__version__}\n"
    assert re.fullmatch(r"wsreactor \d+\.\d+\.\d+\S*\n", out)


def test_help_lists_the_commands_and_names_the_form_that_works_without_installation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python3 -m reactor ")
    assert re.search(rf"^ +serve +{re.escape(serve.HELP)}", out, re.MULTILINE)
    assert re.search(rf"^ +connect +{re.escape(connect.HELP)}", out, re.MULTILINE)


@pytest.mark.parametrize(
    "argv", [[], ["dance"], ["--wrong"], ["serve", "--wrong"], ["connect"]]
)
def test_a_wrong_command_line_is_explained_with_status_2(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 2
    assert "usage: python3 -m reactor" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_gets_its_options_and_gives_the_status(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    seen: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return status

    monkeypatch.setattr(serve, "run", run)
    assert main(["serve", "--port", "1234"]) == status
    assert [arguments.port for arguments in seen] == [1234]
