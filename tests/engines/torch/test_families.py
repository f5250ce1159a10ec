"""Every family, token for token as transformers alone: see `reference` for what is compared with.

Tiny models with random weights, greedy, float32. The engine gets requests of different lengths one
after another while others run, more of them than it has places, and cuts their prompts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from silkline.core import FinishReason, Request, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.torch import create_engine
from silkline.engines.torch.decode import Decoder
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.families.table import ADAPTERS
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.support import TORCH_MODEL_TYPES
from silkline.models.families import FAMILIES
from tests.engines.torch.reference import CASES, Case, Reference
from tests.engines.torch.tiny import HIDDEN, INSTALLED, TINY, Tiny, save

# Processors of transformers that mix tensors with numpy: InternVL's in 4, PaliGemma's in 5.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_wrap__ must accept:DeprecationWarning",
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
)

MOST = 24
PROVEN = ("4.57", "5.24")
"""Versions of transformers on which these tests were run, for the table in the docs."""

DOCS = Path(__file__).parents[3] / "docs" / "torch.md"
families = pytest.mark.parametrize("tiny", INSTALLED, ids=lambda tiny: tiny.id)


_IDS = {tiny.id for tiny in INSTALLED}
SAMPLE = {"llava", "qwen3_vl", "gemma3"}
"""Families for which the quick run, too, makes what the campaign makes for all."""


def in_full(family: str) -> Any:
    """The marks of a test with a family."""
    return () if family in SAMPLE else pytest.mark.full


@dataclass(frozen=True)
class Told:
    """What transformers alone answers to each case.

    Attributes:
        folder: The model.
        ids: The prompt's tokens.
        answers: The answer's tokens, the end token included.
        texts: From tokens to text.
    """

    folder: Path
    ids: dict[str, list[int]]
    answers: dict[str, list[int]]
    texts: Callable[[list[int]], str]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Tiny], Told]]:
    """Makes a family's model and asks transformers, once."""
    known: dict[str, Told] = {}

    def ask(tiny: Tiny) -> Told:
        if tiny.id not in known:
            folder = save(tiny, tmp_path_factory.mktemp("tiny") / tiny.id)
            known[tiny.id] = _asked(tiny, folder)
        return known[tiny.id]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ask
    torch.set_num_threads(before)


def _asked(tiny: Tiny, folder: Path) -> Told:
    alone = Reference(tiny, folder)
    ids, answers = {}, {}
    for name, case in cases_of(tiny).items():
        prompt, answer, lead = alone.answer(case, MOST)
        assert lead > 1e-4, f"{name}: two tokens are as good as equal; nothing is told by this"
        ids[name], answers[name] = prompt.tolist(), answer
    return Told(folder, ids, answers, lambda tokens: _text(alone.tokenizer, tokens))


def _text(tokenizer: Any, tokens: list[int]) -> str:
    text: str = tokenizer.decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def cases_of(tiny: Tiny) -> dict[str, Case]:
    """The conversations that a family takes."""
    return {name: case for name, case in CASES.items() if len(case.images) <= tiny.pictures}


@asynccontextmanager
async def serving(folder: Path, **extra: str) -> AsyncIterator[Engine]:
    """The engine with four places, and prompts cut into chunks."""
    own = {"device": "cpu", "dtype": "float32", "prefill_chunk": "24", **extra}
    engine = create_engine(EngineOptions(model=folder, max_batch=4, threads=1, extra=own))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


def request(case: Case, most: int) -> Request:
    sampling = Sampling(max_tokens=most, temperature=0.0)
    return Request("test", case.messages, case.images, sampling)


async def ask(engine: Engine, case: Case, most: int, begun: asyncio.Event) -> tuple[str, int, int]:
    """Text, tokens of the answer and of the prompt; says when the first token is there."""
    text, usage = [], None
    async with aclosing(engine.generate(request(case, most))) as stream:
        async for delta in stream:
            begun.set()
            text.append(delta.text)
            usage = delta.usage
    assert usage is not None
    return "".join(text), usage.completion_tokens, usage.prompt_tokens


def expected(told: Told, name: str, most: int) -> tuple[str, int, int]:
    answer = told.answers[name][:most]
    return told.texts(answer), len(answer), len(told.ids[name])


@pytest.mark.slow
@pytest.mark.parametrize("graphs", [False, pytest.param(True, marks=pytest.mark.full)])
@families
async def test_answers_are_those_of_transformers_alone(
    tiny: Tiny,
    graphs: bool,
    tell: Callable[[Tiny], Told],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if graphs:  # batches padded as CUDA graphs need it, which any device can compute
        plain = Decoder.__init__
        monkeypatch.setattr(
            Decoder, "__init__", lambda *told, **named: plain(*told, **{**named, "padded": True})
        )
    told = tell(tiny)
    caplog.clear()
    cases = cases_of(tiny)
    asked = [(name, most) for most in (MOST, 9, 17) for name in cases]
    async with serving(told.folder) as engine:
        running = []
        for index, (name, most) in enumerate(asked):
            begun = asyncio.Event()
            running.append(asyncio.create_task(ask(engine, cases[name], most, begun)))
            if index % 3 == 0:  # two more come with the next one, before this one's first token
                await asyncio.wait(
                    [running[-1], asyncio.create_task(begun.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        answers = await asyncio.gather(*running)
    for (name, most), answer in zip(asked, answers, strict=True):
        assert answer == expected(told, name, most), name
    # What fails for a batch is tried again one by one, and would be right all the same.
    assert [record for record in caplog.records if record.name.startswith("silkline")] == []


@families
async def test_prompts_are_those_of_the_familys_processor(
    tiny: Tiny, tell: Callable[[Tiny], Told]
) -> None:
    told = tell(tiny)
    async with serving(told.folder) as engine:
        for name, case in cases_of(tiny).items():
            prompt = engine.family.prepare(case.messages, case.images)  # type: ignore[attr-defined]
            assert prompt.ids.tolist() == told.ids[name], name


@families
async def test_an_end_token_ends_the_answer(tiny: Tiny, tell: Callable[[Tiny], Told]) -> None:
    told = tell(tiny)
    name = "one picture"
    answer = told.answers[name]
    end = next(token for token in answer if answer.index(token) >= 1)
    until = answer.index(end) + 1
    async with serving(told.folder) as engine:
        batch = engine._opened().loaded.batch  # type: ignore[attr-defined]
        batch._end_ids = frozenset({end})
        *_, last = [delta async for delta in engine.generate(request(CASES[name], MOST))]
    assert last.finish_reason is FinishReason.STOP
    assert last.usage is not None
    assert last.usage.completion_tokens == until


@pytest.mark.parametrize(
    "tiny", [pytest.param(tiny, id=tiny.id, marks=in_full(tiny.id)) for tiny in INSTALLED]
)
async def test_half_precision_answers(tiny: Tiny, tell: Callable[[Tiny], Told]) -> None:
    told = tell(tiny)
    async with serving(told.folder, dtype="bfloat16") as engine:
        assert engine.info.precision == "bfloat16"
        _, said, asked = await ask(engine, CASES["one picture"], 2, asyncio.Event())
    assert (said, asked) == (2, len(told.ids["one picture"]))


def without_positions(prompt: Prompt) -> Prompt:
    """Positions as plain text has them, but two apart."""
    rows, length = prompt.positions.shape
    return replace(prompt, positions=torch.arange(length).mul(2).expand(rows, -1).contiguous())


def plain_positions(prompt: Prompt) -> Prompt:
    """Positions as plain text has them."""
    rows, length = prompt.positions.shape
    plain = torch.arange(length).expand(rows, -1).contiguous()
    return replace(prompt, positions=plain, next_position=length)


def late_answer(prompt: Prompt) -> Prompt:
    """The answer begins at a wrong position."""
    return replace(prompt, next_position=prompt.next_position + 3)


def causal(prompt: Prompt) -> Prompt:
    """No token sees a later one."""
    return replace(prompt, blocks=())


def in_all_layers(prompt: Prompt) -> Prompt:
    """Pictures attend both ways in all layers, whatever their window."""
    return replace(prompt, windowed_blocks=False)


def swapped(prompt: Prompt) -> Prompt:
    """The pictures, or tiles, in another order."""
    return replace(prompt, images=prompt.images[::-1])


def negative(prompt: Prompt) -> Prompt:
    """The pictures' negatives in their places."""
    seen = (
        {name: tensor.neg() if tensor.is_floating_point() else tensor
         for name, tensor in each.tensors.items()}
        for each in prompt.images
    )  # fmt: skip
    pictures = tuple(
        replace(each, digest=each.digest[::-1], tensors=tensors)
        for each, tensors in zip(prompt.images, seen, strict=True)
    )
    return replace(prompt, images=pictures)


WRONGS = [
    *[
        (tiny.id, wrong)
        for tiny in INSTALLED
        for wrong in (without_positions, late_answer, negative)
    ],
    *[(name, plain_positions) for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")],
    *[(name, causal) for name in ("paligemma", "paligemma2", "gemma3", "gemma4_moe")],
    ("gemma4_moe", in_all_layers),
    *[(name, swapped) for name in ("llava", "llava_onevision", "internvl", "idefics3")],
]


@pytest.mark.parametrize(
    ("family", "wrong"),
    [pytest.param(*each, marks=in_full(each[0])) for each in WRONGS if each[0] in _IDS],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_these_tests_would_see_it(
    family: str,
    wrong: Callable[[Prompt], Prompt],
    tell: Callable[[Tiny], Told],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = next(each for each in TINY if each.id == family)
    told = tell(tiny)
    name = "two pictures" if tiny.pictures > 1 else "one picture"
    async with serving(told.folder) as engine:
        good = engine.family  # type: ignore[attr-defined]
        prepare = good.prepare
        monkeypatch.setattr(good, "prepare", lambda *told: wrong(prepare(*told)))
        answer = await ask(engine, CASES[name], MOST, asyncio.Event())
    assert answer != expected(told, name, MOST)


@pytest.mark.parametrize("family", sorted({"qwen3_vl", "gemma4"} & _IDS))
async def test_they_would_see_inputs_that_the_layers_do_not_get(
    family: str, tell: Callable[[Tiny], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(next(each for each in TINY if each.id == family))
    name = "two pictures"
    async with serving(told.folder) as engine:
        good = engine.family  # type: ignore[attr-defined]
        arguments = good.text_arguments

        def bare(inputs: torch.Tensor) -> dict[str, Any]:
            less = inputs.clone()
            less[:, HIDDEN:] = 0
            return dict(arguments(less))

        monkeypatch.setattr(good, "text_arguments", bare)
        answer = await ask(engine, CASES[name], MOST, asyncio.Event())
    assert answer != expected(told, name, MOST)


@pytest.mark.parametrize("family", ["gemma3", "paligemma2"])
async def test_they_would_see_a_window_that_is_left_out(
    family: str, tell: Callable[[Tiny], Told]
) -> None:
    told = tell(next(each for each in TINY if each.id == family))
    name = "a long prompt"
    async with serving(told.folder) as engine:
        for module in engine.family.text_model.modules():  # type: ignore[attr-defined]
            if getattr(module, "sliding_window", None) is not None:
                module.sliding_window = None
        answer = await ask(engine, CASES[name], MOST, asyncio.Event())
    assert answer != expected(told, name, MOST)


@pytest.mark.parametrize("family", sorted({"qwen3_5"} & _IDS))
async def test_they_would_see_the_state_of_another_request(
    family: str, tell: Callable[[Tiny], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(next(each for each in TINY if each.id == family))
    monkeypatch.setattr(KvSlots, "begin", KvSlots.clear)
    async with serving(told.folder) as engine:
        await ask(engine, CASES["one picture"], MOST, asyncio.Event())
        answer = await ask(engine, CASES["no picture"], MOST, asyncio.Event())
    assert answer != expected(told, "no picture", MOST)


@pytest.mark.skipif("gemma4" not in _IDS, reason="run with transformers 5")
async def test_layers_that_share_keys_and_values_store_none(tell: Callable[[Tiny], Told]) -> None:
    told = tell(next(each for each in TINY if each.id == "gemma4"))
    async with serving(told.folder) as engine:
        batch = engine._opened().loaded.batch  # type: ignore[attr-defined]
        assert sorted(batch._slots.keys) == [0, 1]


def test_every_family_is_tested() -> None:
    types = {name for adapter in ADAPTERS for name in adapter.model_types}
    assert types == TORCH_MODEL_TYPES == {tiny.model_type for tiny in TINY}


def families_table() -> str:
    """The table of docs/torch.md."""
    rows = [
        ["Family", "model_type", "Class in transformers", *PROVEN, "Attention", "Notes"],
        *[
            [_title(tiny), f"`{tiny.model_type}`", f"`{tiny.model}`",
             *["yes" if version >= tiny.since else "no" for version in PROVEN],
             tiny.attention, tiny.notes]
            for tiny in TINY
        ],
    ]  # fmt: skip
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def _title(tiny: Tiny) -> str:
    apart = {"idefics3": "Idefics3, SmolVLM", "smolvlm": "SmolVLM2", "paligemma2": "PaliGemma 2"}
    family = next(each for each in FAMILIES if tiny.model_type in each.model_types)
    return apart.get(tiny.id, family.title)


def test_the_page_has_this_table() -> None:
    assert families_table() in DOCS.read_text(encoding="utf-8"), families_table()
