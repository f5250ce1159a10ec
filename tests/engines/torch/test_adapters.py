"""Many LoRA adapters over one model: each answers as if it were merged, none disturbs another."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file

from silkline.core import LoraAdapter, Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.torch.adapters import Adapters
from silkline.engines.torch.engine import TorchEngine
from silkline.errors import ConfigError, InvalidRequest
from silkline.optimize.lora import merge_adapter
from tests.engines.asking import answer
from tests.engines.torch.driving import loaded
from tests.engines.torch.reference import CASES, Case, Reference
from tests.engines.torch.tiny import HIDDEN, INSTALLED, Tiny, save
from tests.models.lora_files import QUERY, known, write_lora

# Processors of transformers that mix tensors with numpy.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_wrap__ must accept:DeprecationWarning",
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
)

MOST = 16
QUICK = {"llava", "qwen3_vl", "gemma3"}
FAMILIES = [
    pytest.param(each, id=each.id, marks=pytest.mark.slow if each.id in QUICK else pytest.mark.full)
    for each in INSTALLED
]


def started(folder: Path, **extra: str) -> TorchEngine:
    own = {"device": "cpu", "dtype": "float32", "prefill_chunk": "24", **extra}
    return TorchEngine(EngineOptions(model=folder, max_batch=4, threads=1, extra=own))


def asked(name: str, case: Case, adapter: LoraAdapter | None) -> Request:
    sampling = Sampling(max_tokens=MOST)
    return Request(name, case.messages, case.images, sampling, adapter=adapter)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(llava: Path) -> AsyncIterator[TorchEngine]:
    made = started(llava)
    await made.start()
    yield made
    await made.aclose()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "layer",
    [QUERY, "base_model.model.lm_head", "base_model.model.model.multi_modal_projector.linear_2"],
)
async def test_an_adapter_gives_the_logits_of_the_merged_model(
    engine: TorchEngine, llava: Path, tmp_path: Path, layer: str
) -> None:
    adapter = write_lora(tmp_path / "adapter", HIDDEN)
    if layer != QUERY:
        tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        rows = engine.family.vocabulary if layer.endswith("lm_head") else HIDDEN
        up = torch.randn(rows, 4)
        down = tensors[f"{QUERY}.lora_A.weight"]
        save_file(
            {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up},
            tmp_path / "adapter" / "adapter_model.safetensors",
        )
        adapter = known(tmp_path / "adapter")
    merge_adapter(tmp_path / "adapter", tmp_path / "merged", {}, base=str(llava))
    merged = started(tmp_path / "merged")
    await merged.start()
    try:
        case = CASES["one picture"]
        expected = await merged.first_logits(asked("merged", case, None))
    finally:
        await merged.aclose()
    before = await engine.first_logits(asked("base", case, None))
    found = await engine.first_logits(asked("adapter", case, adapter))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - before).abs().max() > 1e-2
    assert torch.equal(before, await engine.first_logits(asked("base again", case, None)))


@pytest.mark.asyncio(loop_scope="module")
async def test_requests_of_several_adapters_share_a_batch(
    engine: TorchEngine, tmp_path: Path
) -> None:
    adapters = [None, *(write_lora(tmp_path / f"{seed}", HIDDEN, seed=seed) for seed in (1, 2))]
    requests = [
        asked(f"{name} {index}", case, adapter)
        for name, case in CASES.items()
        for index, adapter in enumerate(adapters)
    ]
    alone = [(await answer(engine, request)).text for request in requests]
    together = await asyncio.gather(*(answer(engine, request) for request in requests))
    assert [each.text for each in together] == alone
    assert len(set(alone[:3])) == 3


@pytest.mark.asyncio(loop_scope="module")
async def test_no_adapter_reuses_the_keys_and_values_of_another(
    engine: TorchEngine, tmp_path: Path
) -> None:
    adapter = write_lora(tmp_path / "adapter", HIDDEN, seed=7)
    case = CASES["a long prompt"]
    plain, own = asked("plain", case, None), asked("own", case, adapter)
    await answer(engine, plain)
    assert (await answer(engine, own)).usage.cached_tokens == 0
    assert (await answer(engine, own)).usage.cached_tokens > 0
    assert (await answer(engine, plain)).usage.cached_tokens > 0


@pytest.mark.parametrize(
    ("config", "layer", "said"),
    [
        ({}, QUERY.replace("layers.0", "layers.99"), "no tensor"),
        ({"use_dora": True}, QUERY, "use_dora"),
        ({}, QUERY.replace("q_proj", "k_proj"), "shape"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_adapter_that_does_not_fit_ends_its_request_alone(
    engine: TorchEngine, tmp_path: Path, config: dict[str, object], layer: str, said: str
) -> None:
    width = HIDDEN if "k_proj" not in layer else HIDDEN + 1
    write_lora(tmp_path / "adapter", width, layer=layer)
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "lora_alpha": 4, **config})
    )
    adapter = LoraAdapter("wrong", str(tmp_path / "adapter"), "1")
    with pytest.raises(InvalidRequest, match=said):
        await answer(engine, asked("wrong", CASES["no picture"], adapter))
    assert (await answer(engine, asked("base", CASES["no picture"], None))).text


def test_an_adapter_takes_its_own_size_and_the_oldest_is_dropped(
    llava: Path, tmp_path: Path
) -> None:
    model = loaded(llava)
    made = [write_lora(tmp_path / f"{seed}", HIDDEN, seed=seed) for seed in range(3)]
    size = 2 * 4 * HIDDEN * 4
    like = torch.zeros(0)
    adapters = Adapters(model.family.model, model.family.text_model, like, 2 * size)
    first = adapters.get(made[0])
    assert first.bytes == size == adapters.held_bytes
    assert adapters.get(made[0]) is first
    adapters.get(made[1])
    adapters.get(made[0])
    adapters.get(made[2])
    assert adapters.held_bytes == 2 * size
    assert adapters.get(made[0]) is first  # the second was used least recently
    again = replace(made[0], revision="another")
    assert adapters.get(again) is not first


def test_whole_layers_are_refused_with_the_way_out(llava: Path, tmp_path: Path) -> None:
    model = loaded(llava)
    adapter = write_lora(tmp_path / "adapter", HIDDEN)
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({**load_file(weights), "base_model.model.lm_head.weight": torch.zeros(2, 2)}, weights)
    adapters = Adapters(model.family.model, model.family.text_model, torch.zeros(0), 1 << 20)
    with pytest.raises(ConfigError, match="silkline merge"):
        adapters.get(adapter)


def trained(tiny: Tiny, folder: Path, target: Path, seed: int) -> Reference:
    """The model of a family with an adapter of all its linear layers, as peft makes and runs it."""
    import peft  # noqa: PLC0415 - heavy

    alone = Reference(tiny, folder)
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=seed == 2)
    made = peft.get_peft_model(alone.model, config)
    with torch.no_grad():
        for name, weights in made.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.2)
    made.save_pretrained(str(target))
    alone.model = made.eval()
    return alone


@pytest.mark.parametrize("tiny", FAMILIES)
async def test_every_family_answers_as_peft_token_for_token(tiny: Tiny, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / tiny.id)
    cases = {name: case for name, case in CASES.items() if len(case.images) <= tiny.pictures}
    base = Reference(tiny, folder)
    told: dict[tuple[str, LoraAdapter | None], tuple[torch.Tensor, list[int], float]] = {
        (name, None): base.answer(case, MOST) for name, case in cases.items()
    }
    adapters: list[LoraAdapter | None] = [None]
    for seed in (1, 2):
        own = trained(tiny, folder, tmp_path / f"adapter-{seed}", seed)
        adapters.append(known(tmp_path / f"adapter-{seed}"))
        told |= {(name, adapters[-1]): own.answer(case, MOST) for name, case in cases.items()}
    engine = started(folder)
    await engine.start()
    try:
        keys = [(name, adapter) for name in cases for adapter in adapters]
        found = await asyncio.gather(
            *(answer(engine, asked(name, cases[name], adapter)) for name, adapter in keys)
        )
    finally:
        await engine.aclose()
    for key, got in zip(keys, found, strict=True):
        _, tokens, lead = told[key]
        assert lead > 1e-5, "two tokens are as good as equal; nothing is told by this"
        text = base.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert got.text == text, key[0]
