"""All roles of the virtual world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.virtual.callers import CALLERS
from tests.virtual.chaos import Chaotic
from tests.virtual.company import COMPANY
from tests.virtual.flow import FLOW
from tests.virtual.wrong import WRONG

if TYPE_CHECKING:
    from tests.virtual.role import Role

# Those that are there twice come twice as often.
CATALOGUE: list[type[Role]] = [*CALLERS, *FLOW, *COMPANY, *WRONG, *WRONG, *[Chaotic] * 2]
