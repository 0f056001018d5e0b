"""Drives Chromium: as much of the WebDriver protocol as the tests need."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

from tests import programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE = 20
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The key under which WebDriver hands out elements.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """A headless Chromium with a fresh profile; a context manager."""

    def __init__(self, *flags: str) -> None:
        self.flags = flags
        chromium = programs.program("chromium", "chromium-browser", "google-chrome")
        driver = programs.program("chromedriver")
        self.profile = tempfile.mkdtemp()
        self.process = subprocess.Popen(
            [driver, "--port=0"],
            # Chromium leaves things in the temporary folder too.
            env={**os.environ, "TMPDIR": self.profile},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.session = ""
        try:
            self.port = self.listening_port()
            self.session = self.start(chromium)
        except BaseException:
            self.stop()
            raise

    def listening_port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise AssertionError("chromedriver did not start")

    def start(self, chromium: str) -> str:
        flags = [*FLAGS, *self.flags, f"--user-data-dir={self.profile}"]
        options = {"binary": chromium, "args": flags}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        session: str = self.call("POST", "/session", capabilities=wanted)["sessionId"]
        return f"/session/{session}"

    def call(self, method: str, path: str, **arguments: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            body = json.dumps(arguments) if method == "POST" else None
            connection.request(method, path, body, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def open(self, url: str) -> None:
        self.call("POST", f"{self.session}/url", url=url)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page; return what it calls its last argument with."""
        path = f"{self.session}/execute/async"
        return self.call("POST", path, script=script, args=list(arguments))

    def find(self, name: str) -> str:
        """Return the path of the element with this id."""
        found = self.call(
            "POST", f"{self.session}/element", using="css selector", value=f"#{name}"
        )
        return f"{self.session}/element/{found[ELEMENT]}"

    def click(self, name: str) -> None:
        self.call("POST", f"{self.find(name)}/click")

    def fill(self, name: str, text: str) -> None:
        """Replace what is in a field."""
        self.call("POST", f"{self.find(name)}/clear")
        self.call("POST", f"{self.find(name)}/value", text=text)

    def read(self, name: str) -> str:
        """Return the text of an element as it is seen."""
        text: str = self.call("GET", f"{self.find(name)}/text")
        return text

    def wait(self, name: str, holds: Callable[[str], object]) -> str:
        """Wait until what an element says `holds`; return it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = self.read(name)
            if holds(text):
                return text
            # Each look is a round trip to the browser: no need for a pause between two.
            assert time.monotonic() < deadline, f"#{name} still says {text!r}"

    def stop(self) -> None:
        try:
            if self.session:
                self.call("DELETE", self.session)
        finally:
            # A Chromium that did not answer lives on, and holds the pipe.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            # Chromium's last processes may still be writing there.
            shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
