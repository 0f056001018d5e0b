"""`reactor/protocol/codes.py`: numbers that have names."""

from __future__ import annotations

import subprocess
import sys

from reactor.protocol.codes import CloseCode, Opcode


def test_opcodes_and_close_codes_are_those_of_the_specification() -> None:
    assert {code.name: code.value for code in Opcode} == {
        "CONTINUATION": 0,
        "TEXT": 1,
        "BINARY": 2,
        "CLOSE": 8,
        "PING": 9,
        "PONG": 10,
    }
    codes = {code.value for code in CloseCode}
    assert codes == {*range(1000, 1004), *range(1005, 1016)}


def test_a_server_and_a_client_do_without_them() -> None:
    program = "import sys, reactor; reactor.Server, reactor.Client; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.split()
    assert "reactor.protocol.session" in loaded
    assert "reactor.protocol.codes" not in loaded
