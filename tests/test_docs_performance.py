"""The recipes of docs/performance.md mask, each where its package is installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from reactor.protocol import masking
from tests.test_docs import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    masking.use(None)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("page", "code"), blocks("python", PAGE))
def test_a_recipe_is_used_for_masking(page: Any, code: str) -> None:
    for package in re.findall(r"^(?:import|from) ((?!reactor)[\w.]+)", code, re.MULTILINE):
        pytest.importorskip(package)
    assert "masking.use(" in code
    exec(compile(code, str(page), "exec"), {})
    assert masking._function is not masking._FUNCTION
    assert masking.apply_mask(b"abcd" * 1000, b"abcd") == bytes(4000)
