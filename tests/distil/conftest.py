"""A tiny teacher with random weights, and questions about noise."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.engines.torch.tiny import TINY, save


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing by more, and the tests share their cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of the LLaVA layout."""
    tiny = next(each for each in TINY if each.model_type == "llava")
    return save(tiny, tmp_path_factory.mktemp("distil") / "teacher")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set without answers: 12 images, two questions about each."""
    folder = tmp_path_factory.mktemp("distil-data")
    rows = []
    for number in range(12):
        noise = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(noise.byte().numpy()).save(folder / f"{number}.png")
        rows += [
            {"picture": f"{number}.png", "prompt": prompt} for prompt in ("What?", "Which is it?")
        ]
    path = folder / "set.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path
