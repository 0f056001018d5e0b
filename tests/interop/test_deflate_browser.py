"""permessage-deflate with a page in Chromium, whatever our server insists on."""

from __future__ import annotations

import base64
import pathlib
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import echo_server
from tests.interop.deflating import SETS, WAYS, check, is_in, sequence
from tests.interop.peers import NodeWs
from tests.interop.webdriver import Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first start of a browser on a machine is slow.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SCRIPT = pathlib.Path(__file__).with_name("deflate_page.js")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.mark.parametrize("name", SETS)
def test_messages_come_back_to_a_page(name: str, browser: Browser) -> None:
    items = list(sequence(f"Chromium {name}", 24))
    messages = [NodeWs.encode(item.message) for item in items]
    with echo_server(deflate=SETS[name], ways=WAYS, max_write_queue=8 << 20) as server:
        # Any page of the server's: Chromium lets no other connect to this machine.
        browser.open(f"http://127.0.0.1:{server.port}/user")
        told = browser.run(SCRIPT.read_text("utf-8"), server.url, messages)
        assert is_in(SETS[name], told["extensions"])
        assert len(told["heard"]) == len(items)
        for heard, item in zip(told["heard"], items):
            text = heard.get("text")
            check(base64.b64decode(heard["base64"]) if text is None else text, item)
        assert told["code"] == 3456
        assert server.closed() == (3456, "seen")
