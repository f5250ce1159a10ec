"""The bundled model, which was taught, answers as transformers alone."""

from pathlib import Path

import PIL.Image
import pytest

from silkline.core import Image, Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.torch import create_engine
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, user
from tests.engines.bundled_reference import Reference

PICTURES = sorted((Path(__file__).parents[3] / "examples" / "pictures").glob("*.jpg"))[:3]
QUESTIONS = ("What is this?", "Describe the picture.")


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
async def test_the_bundled_model_answers_as_transformers_alone(path: Path) -> None:
    reference = Reference()
    options = EngineOptions(
        model=bundled_folder(), threads=1, extra={"device": "cpu", "dtype": "float32"}
    )
    engine = create_engine(options)
    await engine.start()
    try:
        with PIL.Image.open(path) as opened:
            shown = opened.convert("RGB")
        image = Image(shown.width, shown.height, shown.tobytes(), "picture")
        for question in QUESTIONS:
            asked = Request("test", (user(0, question),), (image,), Sampling(max_tokens=32))
            said = await answer(engine, asked)
            assert said.text == reference.greedy(PIL.Image.open(path), question)
            assert said.text
    finally:
        await engine.aclose()
