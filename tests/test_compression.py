"""`reactor/compression.py`: what `compress` and `extensions` stand for, together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reactor import Client, DeflateFrame, PerMessageDeflate, Server
from reactor.compression import chosen_extensions
from tests.extended import Flip

if TYPE_CHECKING:
    from tests.scripted import Net

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def no_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Python that was built without zlib."""
    monkeypatch.setitem(sys.modules, "zlib", None)
    monkeypatch.delitem(sys.modules, "reactor.protocol.deflate")


@pytest.mark.parametrize("compress", [None, True, 1])
def test_to_compress_is_permessage_deflate_with_its_defaults_before_all_else(
    compress: Any,
) -> None:
    flip, old = Flip(), DeflateFrame()
    deflate, *others = chosen_extensions(compress, (each for each in [flip, old]))
    assert isinstance(deflate, PerMessageDeflate)
    assert deflate is not chosen_extensions(compress, ())[0]
    assert vars(deflate) == vars(PerMessageDeflate())
    assert others == [flip, old]


@pytest.mark.parametrize("compress", [None, True, False])
def test_one_that_is_given_stands_for_that_with_the_defaults_in_its_own_place(
    compress: bool | None,
) -> None:
    flip, mine = Flip(), PerMessageDeflate(level=1)
    assert chosen_extensions(compress, [flip, mine]) == (flip, mine)


@pytest.mark.parametrize("compress", [False, 0])
def test_not_to_compress_is_what_is_given_and_nothing_else(compress: Any) -> None:
    flip = Flip()
    assert chosen_extensions(compress, []) == ()
    assert chosen_extensions(compress, [flip]) == (flip,)


@pytest.mark.parametrize("compress", [None, True, False])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([5], TypeError),
        (["permessage-deflate"], TypeError),
        ([PerMessageDeflate], TypeError),
        (PerMessageDeflate(), TypeError),
        ([Flip(), Flip()], ValueError),
        ([PerMessageDeflate(), PerMessageDeflate()], ValueError),
    ],
    ids=range(6),
)
def test_what_is_no_extension_or_comes_twice_is_refused(
    compress: bool | None, given: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        chosen_extensions(compress, given)


def test_without_zlib_what_has_to_be_compressed_is_an_import_error(no_zlib: None) -> None:
    flip = Flip()
    with pytest.raises(ImportError, match="zlib"):
        chosen_extensions(True, [flip])
    assert chosen_extensions(None, [flip]) == (flip,)
    assert chosen_extensions(None, []) == ()
    assert chosen_extensions(False, [flip]) == (flip,)
    with pytest.raises(ImportError):
        Client("ws://127.0.0.1/", compress=True)
    with pytest.raises(ImportError):
        Server(("127.0.0.1", 0), compress=True)


def test_without_zlib_a_client_offers_no_compression(net: Net, no_zlib: None) -> None:
    client, server = net.meet()
    assert "Sec-WebSocket-Extensions" not in server.met[0].request.headers
    client.send("plain " * 100)
    net.until(server.messages)


WITHOUT = """
import sys
sys.modules["zlib"] = None
from reactor import Client, Server
said = []
class Echo(Server):
    def onmessage(self, client, message):
        client.send(message, compress=True)
class Says(Client):
    def onopen(self):
        self.send("hello", compress=True)
    def onmessage(self, message):
        said.append((message, self.extensions))
        self.close()
    def onclose(self, code, reason):
        server.stop()
server = Echo(("127.0.0.1", 0))
Says("ws://127.0.0.1:%d/" % server.addresses[0][1], reactor=server.reactor, proxy=False)
server.run()
print(said)
"""


def test_a_python_without_zlib_does_all_but_compress() -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[('hello', '')]\n", "")


@pytest.mark.parametrize("options", ["", "compress=False"])
def test_a_server_that_does_not_compress_imports_nothing_for_it(options: str) -> None:
    script = f"import sys, reactor; reactor.Server({options}); print('zlib' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"
