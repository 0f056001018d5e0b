"""Browsers as servers: the ports that they open for their developers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from reactor import PerMessageDeflate
from tests import programs
from tests.interop.deflating import SETS, WAYS, content, cut, is_in
from tests.interop.talker import Talker, talking
from tests.interop.webdriver import FLAGS

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

# The first start of a browser on a machine is slow.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


class Headless:
    """A browser without a window, in a folder of its own."""

    def __init__(self, command: Sequence[str], folder: pathlib.Path | str) -> None:
        self.process = subprocess.Popen(
            command,
            # Browsers leave things in the temporary folder and in the user's too.
            env={**os.environ, "TMPDIR": str(folder), "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def port(self) -> str:
        """Wait for the line that says where it listens; return the URL in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = re.search(r"listening on (ws://\S+)", line)
            if found:
                return found[1]
        raise AssertionError("the browser did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


def ask(client: Talker, method: str, **parameters: object) -> dict[str, Any]:
    question = {"id": 1, "method": method, "params": parameters}
    answer: dict[str, Any] = json.loads(client.echo(json.dumps(question)))
    assert answer["id"] == 1, answer
    result: dict[str, Any] = answer["result"]
    return result


def page(client: Talker) -> str:
    """Return the URL of a page of Chromium's."""
    targets = ask(client, "Target.getTargets")["targetInfos"]
    found = next(target["targetId"] for target in targets if target["type"] == "page")
    return re.sub("browser/.*", f"page/{found}", str(client.uri))


@pytest.fixture
def chromium() -> Iterator[Headless]:
    program = programs.program("chromium", "chromium-browser", "google-chrome")
    # It makes a unix socket in there, whose path has 107 bytes at most: pytest's own folders
    # have longer names after a thousand runs on a machine.
    folder = tempfile.mkdtemp()
    flags = [*FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0"]
    browser = Headless([program, *flags, "about:blank"], folder)
    yield browser
    browser.stop()
    shutil.rmtree(folder, ignore_errors=True)  # its processes may still write for a moment


@pytest.fixture
def firefox(tmp_path: pathlib.Path) -> Iterator[Headless]:
    program = programs.program("firefox-esr", "firefox", required=False)
    flags = ["--headless", "--no-remote", "--profile", str(tmp_path)]
    browser = Headless([program, *flags, "--remote-debugging-port", "0"], tmp_path)
    yield browser
    browser.stop()


@pytest.mark.browser
def test_chromium_answers_on_its_debugging_port(chromium: Headless) -> None:
    with talking(chromium.port()) as client:
        assert "Chrome" in ask(client.open(), "Browser.getVersion")["product"]
        assert client.beat(b"there?") == b"there?"
        # An answer of a megabyte, by way of a page.
        with talking(page(client)) as other:
            long = ask(
                other.open(),
                "Runtime.evaluate",
                expression='"☃".repeat(1 << 18)',
                returnByValue=True,
            )
            assert long["result"]["value"] == "☃" * (1 << 18)
            other.leave()
        assert client.leave(1000)[0] == 1000


@pytest.mark.browser
def test_chromium_compresses_on_its_debugging_port_as_it_is_asked_to(
    chromium: Headless,
) -> None:
    with talking(chromium.port()) as client:
        address = page(client.open())
        client.leave()
    for parameters in SETS.values():
        deflate = PerMessageDeflate(threshold=0, **parameters)
        with talking(address, extensions=[deflate]) as client:
            assert is_in(parameters, client.open().extensions)
            for number, (compress, fragments) in enumerate(WAYS):
                text = content("words", 100 * 1024, number)
                asked = {"expression": json.dumps(text), "returnByValue": True}
                question = {"id": 1, "method": "Runtime.evaluate", "params": asked}
                message = json.dumps(question, ensure_ascii=False)
                client.send(iter(cut(message, fragments)) if fragments else message, compress)
                answer = json.loads(client.receive())["result"]["result"]["value"]
                assert (len(answer), answer == text) == (len(text), True)
            assert client.leave() == (1000, "")


@pytest.mark.firefox
def test_firefox_answers_on_its_debugging_port(firefox: Headless) -> None:
    with talking(firefox.port() + "/session") as client:
        assert "ready" in ask(client.open(), "session.status")
        assert client.leave(1000)[0] == 1000
