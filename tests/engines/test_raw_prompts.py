"""Raw prompts of the bundled model are tokenized as transformers does it."""

from dataclasses import replace

import pytest

from silkline.core import PromptOptions, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, question

transformers = pytest.importorskip("transformers")

EXTRA = {"torch": {"device": "cpu"}, "openvino": {}}


@pytest.mark.parametrize("name", EXTRA)
async def test_the_tokens_of_a_raw_prompt_are_those_of_its_text(name: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundled_folder())
    special = set(tokenizer.all_special_ids)
    engine = create_engine(
        name, EngineOptions(model=bundled_folder(), threads=1, extra=EXTRA[name])
    )
    await engine.start()
    try:
        for text in ("I see a red mug.", "  two lines\n\nof text", "größer 陶瓷 🦉"):
            asked = question(text, seed=None, sampling=Sampling(max_tokens=0))
            raw = await answer(engine, replace(asked, options=PromptOptions(raw=True)))
            assert list(raw.prompt_ids) == tokenizer(text).input_ids
        text = f"a{tokenizer.eos_token}b"
        asked = question(text, seed=None, sampling=Sampling(max_tokens=0))
        raw = await answer(engine, replace(asked, options=PromptOptions(raw=True)))
        added = set(tokenizer("").input_ids)
        assert not special & (set(raw.prompt_ids) - added)
    finally:
        await engine.aclose()
