"""Fixtures of the sockets wing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def nothing_raised(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is asserted in a callback is logged by the reactor, and must not be lost there."""
    yield
    raised = [record.getMessage() for record in caplog.get_records("call") if record.exc_info]
    assert not raised
