from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.interop.webdriver import Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first start of a browser on a machine is slow.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Serve:
    """The command that the README names, in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "reactor", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.page = self.logged(r"listening on (http://\S+)")[1]

    def logged(self, pattern: str) -> re.Match[str]:
        """Wait for a line of its log that has `pattern` in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"the server ended without logging {pattern}")


@pytest.fixture
def serve() -> Iterator[Serve]:
    serve = Serve()
    try:
        yield serve
        serve.process.terminate()
        assert serve.process.wait(20) == 0
    finally:
        serve.process.kill()
        serve.process.communicate()


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def connect(browser: Browser) -> None:
    browser.click("connect")
    browser.wait("status", lambda text: text.startswith("connected"))


def close(browser: Browser, code: str, reason: str) -> str:
    browser.fill("close-code", code)
    browser.fill("reason", reason)
    browser.click("disconnect")
    return browser.wait("status", lambda text: text.startswith("closed"))


def test_text_and_binary_are_seen_going_out_and_coming_back(
    serve: Serve, browser: Browser
) -> None:
    browser.open(serve.page)
    connect(browser)
    assert not re.search(r"\d", browser.read("rtt"))
    browser.fill("text", "grüße ☃")
    browser.click("send-text")
    log = browser.wait("log", lambda text: "text received" in text)
    text = "11 bytes grüße ☃"
    assert re.search(f"text sent {text} \\S+ ← text received {text}$", " ".join(log.split()))
    browser.wait("rtt", lambda text: re.fullmatch(r"\d+\.\d ms", text))
    browser.click("send-binary")
    log = browser.wait("log", lambda text: "binary received" in text)
    # The message's UTF-8, in hexadecimal and in what of it is ASCII.
    data = r"11 bytes 67 72 c3 bc c3 9f 65 20 e2 98 83 gr\.\.\.\.e \.\.\."
    assert re.search(
        f"binary sent {data} \\S+ ← binary received {data}$", " ".join(log.split())
    )


def test_the_page_closes_with_its_code_and_connects_again(
    serve: Serve, browser: Browser
) -> None:
    browser.open(serve.page)
    connect(browser)
    seen = close(browser, "3456", "enough")
    assert re.search("code 3456,.*wasClean true", seen)
    serve.logged("close .* 3456 'enough' ")
    connect(browser)
    browser.fill("text", "again")
    browser.click("send-text")
    browser.wait("log", lambda text: text.count("again") == 2)
    assert "1000" in close(browser, "1000", "")


def test_the_page_has_what_a_small_window_needs(serve: Serve, browser: Browser) -> None:
    browser.call("POST", f"{browser.session}/window/rect", width=500, height=700, x=0, y=0)
    browser.open(serve.page)
    for name in ("url", "connect", "disconnect", "text", "send-text", "send-binary"):
        box = browser.call("GET", f"{browser.find(name)}/rect")
        assert box["width"] > 0
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 500, name
