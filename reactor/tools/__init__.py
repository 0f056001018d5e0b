"""The command line's commands, each in a module of its own.

A command's module has `HELP`, a line for the list of commands; `add_arguments(parser)`; and
`run(arguments)`, which returns the exit status.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import reactor
from reactor.tools import connect, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = {"serve": serve, "connect": connect}


def main(argv: Sequence[str]) -> int:
    """Run the command that `argv` names, without the program's name; return the exit status."""
    parser = argparse.ArgumentParser(
        # The form that works from a checkout too, where no script is installed.
        prog="python3 -m reactor",
        description="WebSockets (RFC 6455) on a single-threaded reactor.",
    )
    parser.add_argument(
        "--version", action="version", version=f"wsreactor {reactor.__version__}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        sub_parser = commands.add_parser(name, help=command.HELP)
        command.add_arguments(sub_parser)
        sub_parser.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status
