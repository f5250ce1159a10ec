"""The bundled model, which was taught, answers as transformers alone."""

import json
from pathlib import Path

import PIL.Image
import pytest
import torch
import transformers

from silkline.core import Image, Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.torch import create_engine
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, user

PICTURES = sorted((Path(__file__).parents[3] / "examples" / "pictures").glob("*.jpg"))[:3]
QUESTIONS = ("What is this?", "Describe the picture.")


def told(folder: Path, path: Path, question: str) -> str:
    """What transformers answers, greedily, in float32."""
    major = int(transformers.__version__.split(".")[0])
    pillow = {"backend": "pil"} if major > 4 else {"use_fast": False}
    made_with = json.loads((folder / "processor_config.json").read_text())
    made_with.pop("processor_class")
    processor = transformers.LlavaProcessor(
        image_processor=transformers.AutoImageProcessor.from_pretrained(folder, **pillow),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        **made_with,
        chat_template=(folder / "chat_template.jinja").read_text(),
    )
    model = transformers.LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    turn = {"role": "user", "content": [{"type": "image", "image": PIL.Image.open(path)},
                                        {"type": "text", "text": question}]}  # fmt: skip
    inputs = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    inputs.pop("token_type_ids", None)
    made = model.generate(**inputs, do_sample=False, max_new_tokens=32)
    text: str = processor.tokenizer.decode(
        made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return text


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
async def test_the_bundled_model_answers_as_transformers_alone(path: Path) -> None:
    folder = bundled_folder()
    options = EngineOptions(model=folder, threads=1, extra={"device": "cpu", "dtype": "float32"})
    engine = create_engine(options)
    await engine.start()
    try:
        with PIL.Image.open(path) as opened:
            shown = opened.convert("RGB")
        image = Image(shown.width, shown.height, shown.tobytes(), "picture")
        for question in QUESTIONS:
            asked = Request("test", (user(0, question),), (image,), Sampling(max_tokens=32))
            said = await answer(engine, asked)
            assert said.text == told(folder, path, question)
            assert said.text
    finally:
        await engine.aclose()
