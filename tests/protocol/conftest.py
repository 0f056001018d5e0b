"""How the tests of the bytes wing run."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no failure: what has to be bounded is counted, not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
