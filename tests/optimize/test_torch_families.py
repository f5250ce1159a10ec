"""Every family's files can be quantised by their names, and are served then."""

from pathlib import Path

import pytest

from silkline.core import Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.torch import create_engine
from silkline.models.bundle import EngineWeights
from silkline.models.safetensors_header import read_header
from silkline.models.weights import Part, part_of, read_weights
from silkline.optimize.optimisation import Work
from silkline.optimize.torch import VISION_W8A16, W8A8
from tests.engines.asking import answer, picture, user
from tests.engines.torch.tiny import INSTALLED, Tiny, save

QUICK = {"qwen2_5_vl", "qwen3_vl_moe", "idefics3"}


@pytest.mark.parametrize(
    "tiny",
    [
        pytest.param(
            each, id=each.model_type, marks=() if each.model_type in QUICK else pytest.mark.slow
        )
        for each in INSTALLED
    ],
)
async def test_a_familys_files_are_quantised_and_served(tiny: Tiny, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "model")
    work = Work(folder, EngineWeights(".", "float32"), [])
    weights = VISION_W8A16.apply(Work(folder, W8A8.apply(work), []))
    assert (weights.precision, weights.vision_precision) == ("w8a8", "w8a16")
    tensors = [
        one for file in read_weights(folder).files for one in read_header(folder / file, file)
    ]
    scaled = {part_of(one.name) for one in tensors if one.name.endswith(".weight_scale")}
    assert scaled == {Part.LANGUAGE, Part.VISION}
    engine = create_engine(EngineOptions(model=folder, threads=1, extra={"device": "cpu"}))
    await engine.start()
    try:
        asked = Request("test", (user(0, "What?"),), (picture(1),), Sampling(max_tokens=2))
        said = await answer(engine, asked)
        assert said.usage.completion_tokens == 2
        assert engine.info.precision == "w8a16+w8a8"
    finally:
        await engine.aclose()
