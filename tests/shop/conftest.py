from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.conftest import browser
from tests.shop.stand_in import Shop, running_shop

__all__ = ["browser"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with running_shop(tmp_path) as running:
        yield running
