"""Each case has a sampled size in `make test-slow` and its whole size in `make test-full`."""

from __future__ import annotations

from typing import Any

import pytest

Param = Any
"""What `pytest.param` gives."""


def sizes(sample: float, whole: float, *, minutes: float = 10) -> list[Param]:
    """Parameters for a test that takes its size; the whole one gets so many minutes."""
    marks = (pytest.mark.full, pytest.mark.timeout(minutes * 60))
    return [pytest.param(sample, id="sample"), pytest.param(whole, id="whole", marks=marks)]
