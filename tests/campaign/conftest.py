"""What all campaigns share: a seed that is printed, and can be given as SEED=."""

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """`SEED=` replays; without it each run is another one."""
    given = os.environ.get("SEED")
    chosen = int(given) if given else random.SystemRandom().randrange(2**31)
    print(f"SEED={chosen}")  # noqa: T201 - pytest shows it when the test fails
    return chosen


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.full)])
def processes(request: pytest.FixtureRequest) -> int:
    """How many gateway processes; tests/gateway/processes has what is special about several."""
    count: int = request.param
    return count
