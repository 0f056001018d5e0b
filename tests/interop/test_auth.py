"""Basic and Digest authentication against those of others, in both roles."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from reactor import HandshakeError
from tests import programs
from tests.interop import proxies
from tests.interop.conftest import echo_server
from tests.interop.echo_server import PASSWORD, USER
from tests.interop.talker import talking

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.interop

REALM = "lions"


def user_file(method: str) -> str:
    if method == "Basic":
        return f"{USER}:{PASSWORD}\n"
    make = hashlib.md5 if method == "MD5" else hashlib.sha256
    secret = make(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
    return f"{USER}:{REALM}:{secret}\n"


@pytest.mark.parametrize("method", ["Basic", "MD5", "SHA-256"])
def test_lighttpd_lets_us_in_with_the_right_password_alone(
    method: str, tmp_path: pathlib.Path
) -> None:
    with (
        echo_server() as server,
        proxies.lighttpd(tmp_path, server.port, user_file(method), method) as port,
    ):
        url = f"ws://127.0.0.1:{port}/chat?room=1,2&x=%20"
        with talking(url, auth=(USER, PASSWORD)) as client:
            client.open()
            for message in ("grüße ☃", b"\x00\xff", "☃" * 300_000):
                assert client.echo(message) == message
            assert client.leave(3456, "enough") == (3456, "enough")
        assert server.closed() == (3456, "enough")
        for auth in None, (USER, "wrong"):
            with talking(url, auth=auth) as client:
                error = client.refused()
            assert isinstance(error, HandshakeError)
            assert error.status == 401


def curl(port: int, *arguments: str) -> tuple[str, str]:
    """Ask for the name of the user; return the status of the answer, and what it says."""
    command = [programs.program("curl"), "--silent", "--noproxy", "*", "--max-time", "15"]
    command += ["--write-out", "\n%{http_code}", *arguments, f"http://127.0.0.1:{port}/user"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    body, _, status = done.stdout.rpartition("\n")
    return status, body


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_curl_comes_in_with_the_right_password_alone(method: str) -> None:
    right = f"{USER}:{PASSWORD}"
    with echo_server(auth=method) as server:
        assert curl(server.port, f"--{method}", "--user", right) == ("200", USER)
        # It asks first what is wanted, then chooses.
        assert curl(server.port, "--anyauth", "--user", right) == ("200", USER)
        for wrong in ("Mufasa:wrong", "Scar:Circle of Life"):
            assert curl(server.port, f"--{method}", "--user", wrong)[0] == "401"
        assert curl(server.port)[0] == "401"
        other = "--basic" if method == "digest" else "--digest"
        assert curl(server.port, other, "--user", right)[0] == "401"
