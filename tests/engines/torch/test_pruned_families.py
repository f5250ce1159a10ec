"""Every family with fewer image tokens: prompts, positions, features, and what is counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import torch

from silkline.core import Usage
from silkline.engines.base import EngineOptions
from silkline.engines.torch.engine import TorchEngine
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.loading import load_family
from silkline.errors import ConfigError
from silkline.models.bundle import EngineWeights
from silkline.models.pruning import Method, Pruning, pruned
from tests.engines.asking import answer, picture, request, user
from tests.engines.torch.reference import CASES, Case
from tests.engines.torch.tiny import INSTALLED, TINY, Tiny, save

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_wrap__ must accept:DeprecationWarning",
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
)

families = pytest.mark.parametrize("tiny", INSTALLED, ids=lambda tiny: tiny.id)
ALL = Pruning(Method.DIVPRUNE, 0.999)
"""So few features stay that none is dropped."""

HALF = Pruning(Method.DIVPRUNE, 0.5)

Load = Callable[[Tiny, Pruning | None], Adapter]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tiny], Path]:
    known: dict[str, Path] = {}

    def folder(tiny: Tiny) -> Path:
        if tiny.id not in known:
            known[tiny.id] = save(tiny, tmp_path_factory.mktemp("pruned") / tiny.id)
        return known[tiny.id]

    return folder


@pytest.fixture(scope="module")
def load(folder_of: Callable[[Tiny], Path]) -> Load:
    def load(tiny: Tiny, pruning: Pruning | None) -> Adapter:
        cpu = torch.device("cpu")
        entry = EngineWeights(".", "float32", pruning=pruning)
        return load_family(folder_of(tiny), dtype=torch.float32, device=cpu, entry=entry)

    return load


def case_of(tiny: Tiny) -> Case:
    """Several images where the family takes them."""
    return CASES["two pictures" if tiny.pictures > 1 else "one picture"]


def laid_out(family: Adapter, case: Case) -> tuple[Prompt, torch.Tensor, list[torch.Tensor]]:
    """The prompt with its last positions, its input, and the tower's features."""
    prompt = family.prepare(case.messages, case.images)
    features = family.encode(prompt.images)
    last, kept = family.prune(prompt, features)
    return last, family.embed(last, kept), features


def rule_tokens(family: Adapter, case: Case, pruning: Pruning) -> int:
    return sum(pruned(count, pruning).features for count in family._counts(case.images))


@families
def test_a_share_that_drops_nothing_changes_nothing(tiny: Tiny, load: Load) -> None:
    case = case_of(tiny)
    before, expected, _ = laid_out(load(tiny, None), case)
    after, found, _ = laid_out(load(tiny, ALL), case)
    torch.testing.assert_close(found, expected)
    assert after.ids.tolist() == before.ids.tolist()
    assert after.positions.tolist() == before.positions.tolist()
    assert (after.next_position, after.blocks) == (before.next_position, before.blocks)


@families
def test_half_of_each_images_features_stay_where_they_were(tiny: Tiny, load: Load) -> None:
    case = case_of(tiny)
    whole, _, _ = laid_out(load(tiny, None), case)
    family = load(tiny, HALF)
    prompt, inputs, features = laid_out(family, case)
    was_image, is_image = (each.ids == family.image_token_id for each in (whole, prompt))
    assert int(is_image.sum()) == rule_tokens(family, case, HALF) < int(was_image.sum())
    assert [image.tokens for image in prompt.images] == [
        HALF.kept(image.features) for image in prompt.images
    ]
    assert prompt.ids[~is_image].tolist() == whole.ids[~was_image].tolist()
    _, kept = family.prune(prompt, features)
    indices = []
    for image, every, few in zip(prompt.images, features, kept, strict=True):
        # The tower may make the same feature of two patches, so the first match need not be it.
        equal = (every[None] == few[:, None]).all(2)
        assert equal.any(1).all()
        indices.append(equal.int().argmax(1) if equal.sum() == len(few) else None)
        assert len(few) == image.tokens
    rows = prompt.positions.shape[0]
    if rows == 1:
        first = int(whole.positions[0, 0])
        assert prompt.positions[0].tolist() == list(range(first, first + len(prompt.ids)))
        assert prompt.next_position == first + len(prompt.ids)
    else:
        assert prompt.next_position == whole.next_position
        texts = (whole.positions[:, ~was_image], prompt.positions[:, ~is_image])
        assert texts[0].tolist() == texts[1].tolist()
        sizes = [image.features for image in prompt.images]
        places = torch.split(whole.positions[:, was_image], sizes, 1)
        tokens = [image.tokens for image in prompt.images]
        found = torch.split(prompt.positions[:, is_image], tokens, 1)
        for own, had, has in zip(indices, places, found, strict=True):
            assert own is not None
            assert has.tolist() == had[:, own].tolist()
    again, _ = family.prune(prompt, features)
    assert again.positions.tolist() == prompt.positions.tolist()
    joined = torch.cat(list(kept))
    torch.testing.assert_close(inputs[is_image][:, : joined.shape[1]], joined)


@families
def test_the_most_tokens_of_an_image_are_those_of_the_rule(tiny: Tiny, load: Load) -> None:
    for pruning in (None, HALF):
        family = load(tiny, pruning)
        assert family.image_tokens == pruned(family.rule.maximum(), pruning).total
    assert load(tiny, HALF).image_tokens < load(tiny, None).image_tokens


def bundle_of(folder: Path, target: Path, pruning: Pruning | None) -> Path:
    """A bundle of a model's folder."""
    target.mkdir()
    (target / "weights").symlink_to(folder)
    entry = {"path": "weights", "precision": "float32", "pruning": msgspec.to_builtins(pruning)}
    manifest = {
        "schema": 1, "name": "tiny", "family": "x", "revision": "abc", "license": "MIT",
        "context_length": 512, "image_tokens": 4, "image_size": None, "files": {},
        "engines": {"torch": entry},
    }  # fmt: skip
    (target / "bundle.json").write_text(json.dumps(manifest))
    return target


@asynccontextmanager
async def serving(bundle: Path) -> AsyncIterator[TorchEngine]:
    extra = {"device": "cpu", "dtype": "float32"}
    engine = TorchEngine(EngineOptions(model=bundle, extra=extra, kv_cache_bytes=1 << 24))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


def tiny_of(name: str) -> Tiny:
    return next(each for each in TINY if each.id == name)


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "smolvlm"])
async def test_a_bundle_that_says_so_is_served_with_fewer_tokens(
    name: str, folder_of: Callable[[Tiny], Path], tmp_path: Path
) -> None:
    tiny = tiny_of(name)
    case = case_of(tiny)
    usages: dict[Pruning | None, Usage] = {}
    infos = {}
    for pruning in (None, HALF):
        bundle = bundle_of(folder_of(tiny), tmp_path / str(pruning is None), pruning)
        async with serving(bundle) as engine:
            usage = (await answer(engine, request(*case.messages, images=case.images))).usage
            assert isinstance(engine.family, Adapter)
            counts = engine.family._counts(case.images)
            usages[pruning], infos[pruning] = usage, engine.info
            assert usage.image_tokens == sum(pruned(count, pruning).features for count in counts)
    fewer = usages[None].image_tokens - usages[HALF].image_tokens
    assert fewer > 0
    assert usages[None].prompt_tokens - usages[HALF].prompt_tokens == fewer
    assert infos[HALF].image_tokens < infos[None].image_tokens
    before, after = infos[None].pixels_per_token, infos[HALF].pixels_per_token
    assert (before, after) == (None, None) or (before and after == 2 * before)


def test_the_digest_tells_whatever_the_choice_depends_on(load: Load) -> None:
    """Caches of features and of prefixes compare nothing else."""
    for method in Method:
        family = load(tiny_of("llava"), Pruning(method, 0.5))
        first, second = (
            family.prepare([user(0, text)], [picture(1)]).images[0].digest
            for text in ("What is it?", "Where is it?")
        )
        assert (first != second) is method.needs_prompt


async def test_a_family_without_an_adapter_refuses(
    folder_of: Callable[[Tiny], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "silkline.engines.torch.load_model"
    monkeypatch.setattr(f"{module}.torch_path", lambda _: "generic")
    with pytest.raises(ConfigError, match="only for families that have an adapter"):
        async with serving(bundle_of(folder_of(tiny_of("llava")), tmp_path / "bundle", HALF)):
            pass


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("method", [Method.DIVPRUNE, Method.CDPRUNER])
async def test_kept_prefixes_and_features_change_no_answer(
    name: str, method: Method, folder_of: Callable[[Tiny], Path], tmp_path: Path
) -> None:
    """A second question about an image, whose kept tokens may be others."""
    bundle = bundle_of(folder_of(tiny_of(name)), tmp_path / "bundle", Pruning(method, 0.5))
    shared = "Tell me about the item in some detail. "
    asked = [request(user(0, shared + ends), images=(picture(1),)) for ends in ("Size?", "Use it!")]
    async with serving(bundle) as engine:
        expected = await answer(engine, asked[1])
    async with serving(bundle) as engine:
        await answer(engine, asked[0])
        found = await answer(engine, asked[1])
    assert found.text == expected.text
    assert (found.usage.cached_tokens > 0) is not method.needs_prompt
