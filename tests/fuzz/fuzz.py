"""Fuzzes what reads the bytes of strangers.

    fuzz.py --target TARGET --seconds N [--seed S] [--engine E]

TARGET is parser, head, grammar, reply, proxy, challenge, extensions, inflate, extended, or all.

Each target runs for N seconds: guided by coverage where atheris can be imported, else with a
mutational fuzzer of the standard library (`--engine` chooses one of the two). It prints the
seed and counts the executions. The exit status is 1 on a finding, whose input is printed in
hex;

    fuzz.py --target T --input HEX

runs one input again. With all targets, the last lines say which have failed, and on what.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAMES = (
    *("parser", "head", "grammar", "reply", "proxy", "challenge"),
    *("extensions", "inflate", "extended"),
)


# What libFuzzer and atheris say of themselves, thirty lines a target.
NOISE = ("INFO: ", "WARNING: Failed to find function ")
AGAIN = "again: "


def load(module: str) -> Any:
    """Import a module of this folder; the package only then, so that it can be instrumented."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"tests.fuzz.{module}")


def say_finding(name: str, data: bytes, why: str) -> None:
    print(f"{name}: {why}")
    print(f"input: {data.hex()}")
    print(f"{AGAIN}fuzz.py --target {name} --input {data.hex()}", flush=True)


def say_clean(name: str, executions: int, engine: str) -> None:
    print(f"{name}: {executions} executions, nothing found ({engine})", flush=True)


def with_mutation(name: str, seconds: float, seed: int) -> int:
    result = load("mutation").fuzz(load("targets").targets()[name], seed, seconds=seconds)
    if result.failing is not None:
        say_finding(name, result.failing, result.why)
        return 1
    say_clean(name, result.executions, f"mutation, {result.kept} inputs kept")
    return 0


def with_atheris(name: str, seconds: float, seed: int) -> int:
    """Fuzz with libFuzzer, which does not return: this ends the process."""
    import atheris

    with atheris.instrument_imports(include=["reactor"]):
        target = load("targets").targets()[name]
    mutation = load("mutation")
    folder = tempfile.mkdtemp(prefix="fuzz-")
    corpus = pathlib.Path(folder, "corpus")
    corpus.mkdir()
    for at, data in enumerate(target.seeds):
        corpus.joinpath(f"seed-{at}").write_bytes(data)
    words = pathlib.Path(folder, "words")
    spelled = ("".join(f"\\x{octet:02x}" for octet in token) for token in target.tokens)
    words.write_text("".join(f'"{word}"\n' for word in spelled))
    end = time.monotonic() + seconds
    executions = 0

    def leave(status: int) -> None:
        shutil.rmtree(folder)
        sys.stdout.flush()
        os._exit(status)

    def run(data: bytes) -> None:
        nonlocal executions
        if time.monotonic() >= end:
            say_clean(name, executions, "atheris")
            leave(0)
        executions += 1
        try:
            target.run(data)
        except Exception as error:
            say_finding(name, *mutation.least_failing(target, data, error))
            leave(1)

    flags = [f"-seed={seed}", "-max_len=8192", "-verbosity=0", "-rss_limit_mb=1024"]
    flags += [f"-artifact_prefix={folder}/", f"-dict={words}"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], run)
    atheris.Fuzz()
    return 0


def run_again(name: str, data: bytes) -> int:
    why = load("mutation").why_failing(load("targets").targets()[name], data)
    if why:
        say_finding(name, data, why)
        return 1
    print(f"{name}: nothing found")
    return 0


def alone(name: str, arguments: argparse.Namespace) -> tuple[int, str]:
    """Run a target in a process of its own; return its status, and how to run it again."""
    command = [sys.executable, __file__, "--target", name, "--engine", arguments.engine]
    command += ["--seconds", str(arguments.seconds), "--seed", str(arguments.seed)]
    again = ""
    # In one stream, so that a traceback stands where it came.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(AGAIN):
                again = line.strip()
            if not line.startswith(NOISE):
                print(line, end="", flush=True)
    return process.returncode, again or f"no input; seed {arguments.seed}"


def each(arguments: argparse.Namespace) -> int:
    """Run each target in a process of its own; return 1 if one has failed."""
    failed = []
    for name in NAMES:
        status, again = alone(name, arguments)
        if status:
            failed.append(f"failed: {name}, status {status}; {again}")
    for line in failed:
        print(line, flush=True)
    return 1 if failed else 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--engine", choices=["auto", "atheris", "mutation"], default="auto")
    parser.add_argument("--input", type=bytes.fromhex, help="one input, in hex")
    arguments = parser.parse_args(argv)
    if arguments.input is not None and arguments.target == "all":
        parser.error("--input needs the --target that it is for")
    return arguments


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    name = arguments.target
    if arguments.input is not None:
        return run_again(name, arguments.input)
    if name == "all":
        return each(arguments)
    engine = arguments.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "mutation"
    print(f"{name}: seed {arguments.seed}", flush=True)
    fuzz = with_atheris if engine == "atheris" else with_mutation
    return fuzz(name, arguments.seconds, arguments.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
