"""The generic path, token for token as `generate` of transformers alone.

The reference uses the model's own processor and `generate`, one request at a time, and nothing of
Silkline. The engine gets requests of several shapes and lengths, one after another while others
run, more of them than its batch holds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from silkline.core import Request, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.torch import create_engine
from tests.engines.asking import answer, picture, user
from tests.engines.torch.generic.architectures import GENERIC, Architecture, save_architecture
from tests.engines.torch.reference import Case, as_pil

DOCS = Path(__file__).parents[4] / "docs" / "torch.md"
MAX_TOKENS = 12
QUICK = {"idefics2", "kosmos-2"}
"""Architectures of the quick run: one with a chat template, one without."""

CASES = {
    "one image": Case((user(0, "What is this?"),), (picture(1, 48, 36),)),
    "another image": Case((user(0, "What is that?"),), (picture(2, 48, 36),)),
    "a tall image": Case((user(0, "Read it."),), (picture(3, 30, 90),)),
    "two images": Case((user(0, 1, "Compare."),), (picture(4, 48, 36), picture(5, 64, 64))),
    "no image": Case((user("Name three colours."),)),
}

architectures = pytest.mark.parametrize(
    "made",
    [
        pytest.param(made, marks=() if made.id in QUICK else pytest.mark.full, id=made.id)
        for made in GENERIC
    ],
)


@dataclass(frozen=True)
class Expected:
    """What transformers alone answers.

    Attributes:
        folder: The model.
        answers: The answer's tokens, by case.
        prompts: Number of tokens of the prompts.
        decode: From tokens to text.
    """

    folder: Path
    answers: dict[str, list[int]]
    prompts: dict[str, int]
    decode: Callable[[list[int]], str]


@pytest.fixture(scope="module")
def expect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Expected]]:
    """Makes an architecture's model and asks transformers, once."""
    known: dict[str, Expected] = {}

    def ask(made: Architecture) -> Expected:
        if made.id not in known:
            folder = save_architecture(made, tmp_path_factory.mktemp("generic") / made.id)
            known[made.id] = _asked(made, folder)
        return known[made.id]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ask
    torch.set_num_threads(before)


def cases_of(made: Architecture) -> dict[str, Case]:
    """The conversations that an architecture takes."""
    fewest = 0 if made.without_images else 1
    return {
        name: case
        for name, case in CASES.items()
        if fewest <= len(case.images) <= made.tiny.pictures
    }


def _asked(made: Architecture, folder: Path) -> Expected:
    processor = transformers.AutoProcessor.from_pretrained(folder)
    kind = getattr(transformers, made.tiny.model)
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    answers, prompts = {}, {}
    for name, case in cases_of(made).items():
        inputs = _inputs(made, processor, case)
        told = model.generate(
            **inputs, do_sample=False, max_new_tokens=MAX_TOKENS, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        best = torch.stack(told.scores).squeeze(1).topk(2).values
        assert float((best[:, 0] - best[:, 1]).min()) > 1e-4, "two tokens are as good as equal"
        answers[name] = told.sequences[0, -len(told.scores) :].tolist()
        prompts[name] = inputs["input_ids"].shape[1]
    assert len({tuple(each) for each in answers.values()}) == len(answers)
    return Expected(
        folder, answers, prompts,
        lambda ids: processor.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
    )  # fmt: skip


def _inputs(made: Architecture, processor: Any, case: Case) -> dict[str, Any]:
    """What a user of transformers gives to `generate`."""
    images = [as_pil(image) for image in case.images]
    (message,) = case.messages
    words = "".join(getattr(part, "text", "") for part in message.parts)
    if made.tiny.template is None:
        text = made.image * len(images) + words
    else:
        content = [{"type": "image"}] * len(images) + [{"type": "text", "text": words}]
        text = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=made.tiny.template,
            tokenize=False, add_generation_prompt=True,
        )  # fmt: skip
    begins = text.startswith("<s>")
    options = {"add_special_tokens": False} if begins else {}
    made_of = processor(text=[text], images=images or None, return_tensors="pt", **options)
    return {name: tensor for name, tensor in made_of.items() if name not in made.unused}


@asynccontextmanager
async def serving(folder: Path, **extra: str) -> AsyncIterator[Engine]:
    own = {"device": "cpu", "dtype": "float32", **extra}
    engine = create_engine(EngineOptions(model=folder, max_batch=3, threads=1, extra=own))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


@architectures
async def test_answers_are_those_of_generate(
    made: Architecture, expect: Callable[..., Expected]
) -> None:
    expected = expect(made)
    cases = cases_of(made)
    asked = [(name, length) for length in (MAX_TOKENS, 5) for name in cases]
    async with serving(expected.folder) as engine:
        assert engine.info.path == "generic"

        async def ask(index: int, name: str, length: int) -> tuple[str, int, int]:
            await asyncio.sleep(0.01 * index)
            sampling = Sampling(max_tokens=length)
            case = cases[name]
            said = await answer(engine, Request("test", case.messages, case.images, sampling))
            return said.text, said.usage.completion_tokens, said.usage.prompt_tokens

        said = await asyncio.gather(*(ask(index, *each) for index, each in enumerate(asked)))
    for (name, length), each in zip(asked, said, strict=True):
        tokens = expected.answers[name][:length]
        assert each == (expected.decode(tokens), len(tokens), expected.prompts[name]), name


def test_there_are_eight_architectures() -> None:
    assert len(GENERIC) >= 8


def generic_table() -> str:
    """The table of docs/torch.md."""
    rows = [
        ["model_type", "Class in transformers", "4.57", "Images", "Without an image", "Notes"],
        ["---"] * 6,
        *[
            [f"`{made.id}`", f"`{made.tiny.model}`", "yes",
             "one" if made.tiny.pictures == 1 else "several",
             "yes" if made.without_images else "refused", made.tiny.notes]
            for made in sorted(GENERIC, key=lambda made: made.id)
        ],
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def test_the_page_has_this_table() -> None:
    assert generic_table() in DOCS.read_text(encoding="utf-8"), generic_table()
