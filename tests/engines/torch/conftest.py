"""A tiny LLaVA-1.5 with random weights, one for all tests of the engine's core."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engines.torch.tiny import TINY, save


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing by more, and the tests share their cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    tiny = next(each for each in TINY if each.model_type == "llava")
    return save(tiny, tmp_path_factory.mktemp("torch") / "tiny-llava")
