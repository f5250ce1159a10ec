"""Fewer image tokens as optimisations: what they apply to, and what the new bundle says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from silkline.admission.cost import image_tokens
from silkline.cache.key import answer_key
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.served import read_served
from silkline.engines.torch.positions import interpolated
from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.pruning import Method, Pruning
from silkline.models.resolve import bundled_folder, resolve_model
from silkline.optimize.build import build
from silkline.optimize.openvino import VISION_STATIC
from silkline.optimize.optimisation import Optimisation, optimisations
from silkline.optimize.pruning import (
    ALL,
    PERCENTAGES,
    downsampling_optimisation,
    pruning_optimisation,
)
from tests.cache.asking import asked_of
from tests.engines.asking import question

BASE = load_bundle(bundled_folder())
ENGINES = ("openvino", "torch")


def optimised(target: Path, *chosen: Optimisation, base: Bundle = BASE) -> Bundle:
    built = build(base, chosen, target, [], None, lambda _: None)
    return resolve_model(str(built.folder))  # which checks its files


def test_all_are_registered() -> None:
    names = [each.name for each in ALL]
    assert len(set(names)) == len(names) == 2 * len(PERCENTAGES) * (len(Method) + 1)
    assert {"tokens-50-divprune", "torch-tokens-25-downsample"} < set(names)
    assert set(names) <= {each.name for each in optimisations()}
    assert [each.why_not(BASE) for each in ALL] == [""] * len(names)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bundle_says_how_many_tokens_are_left(engine: str, tmp_path: Path) -> None:
    labels = {BASE.label}
    for method in (Method.DIVPRUNE, Method.RANDOM):
        change = pruning_optimisation(engine, Pruning(method, 0.5))
        bundle = optimised(tmp_path / method, change)
        assert bundle.manifest.image_tokens == 32
        assert bundle.manifest.engines[engine].pruning == Pruning(method, 0.5)
        written = json.loads((bundle.folder / "bundle.json").read_text())
        assert written["engines"][engine]["pruning"] == {"method": method, "keep": 0.5}
        labels.add(bundle.label)
    assert len(labels) == 3, "each has a revision of its own, and so its own answers in the cache"


def test_caches_and_prices_follow(tmp_path: Path) -> None:
    change = pruning_optimisation("openvino", Pruning(Method.DIVPRUNE, 0.25))
    bundles = (BASE, optimised(tmp_path / "new", change))
    infos = [read_served(EngineOptions(model=each.folder)).info for each in bundles]
    prices = [image_tokens(None, info, info.pixel_budget) for info in infos]
    assert prices == [64, 16]
    first, second = (answer_key(asked_of(question()), info, b"") for info in infos)
    assert first != second
    assert replace(infos[0], revision=infos[1].revision).image_tokens != infos[1].image_tokens


@pytest.mark.parametrize("engine", ENGINES)
def test_pruning_comes_once(engine: str, tmp_path: Path) -> None:
    half = pruning_optimisation(engine, Pruning(Method.MERGE, 0.5))
    bundle = optimised(tmp_path / "new", half)
    other = pruning_optimisation(engine, Pruning(Method.DIVPRUNE, 0.5))
    assert "pruned already, by merge" in other.why_not(bundle)
    assert "pruned already" in downsampling_optimisation(engine, 0.5).why_not(bundle)
    with pytest.raises(ConfigError, match=r"does not apply .* pruned already"):
        optimised(tmp_path / "twice", half, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_scaling_down_and_pruning_go_together(engine: str, tmp_path: Path) -> None:
    down = downsampling_optimisation(engine, 36 / 64)
    prune = pruning_optimisation(engine, Pruning(Method.DIVPRUNE, 0.5))
    bundle = optimised(tmp_path / "new", down, prune)
    assert (bundle.manifest.image_tokens, bundle.manifest.image_size) == (18, 72)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "make", [lambda name: pruning_optimisation(name, Pruning(Method.DIVPRUNE, 0.999)),
             lambda name: downsampling_optimisation(name, 0.99)],
    ids=["prune", "downsample"],
)  # fmt: skip
def test_one_that_changes_nothing_is_refused(engine: str, make: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Keep less"):
        optimised(tmp_path / "new", make(engine))  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_square_of_patches_is_taken(tmp_path: Path) -> None:
    for keep, tokens in ((0.75, 49), (0.5, 36), (0.25, 16), (0.01, 1)):
        bundle = optimised(tmp_path / str(keep), downsampling_optimisation("openvino", keep))
        assert bundle.manifest.image_tokens == tokens
        assert bundle.manifest.image_size == 12 * int(tokens**0.5)


def test_a_static_tower_comes_before_pruning(tmp_path: Path) -> None:
    bundle = optimised(tmp_path / "n", pruning_optimisation("openvino", Pruning(Method.MERGE, 0.5)))
    folder = tmp_path / "exact"
    shutil.copytree(bundle.folder, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["engines"]["openvino"] |= {"precision": "fp16", "vision_precision": None}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert "pruned already; apply this before" in VISION_STATIC.applies(load_bundle(folder))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]},
         "LLaVA layouts only"),
        ({"model_type": "unheard", "architectures": ["Unheard"]}, "not known for its family"),
    ],
)  # fmt: skip
def test_other_families_are_refused(changes: dict[str, object], why: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(BASE.folder, folder)
    path = folder / "openvino" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    bundle = load_bundle(folder)
    assert why in pruning_optimisation("openvino", Pruning(Method.MERGE, 0.5)).why_not(bundle)
    assert downsampling_optimisation("openvino", 0.5).why_not(bundle)


def test_positions_keep_what_stands_before_the_grid() -> None:
    rows = torch.arange(17.0).unsqueeze(1).repeat(1, 3)
    found = interpolated(rows, 4, 2)
    assert found.shape == (5, 3)
    assert found[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(found[1:].mean(), rows[1:].mean(), rtol=0.02, atol=0.05)
    assert interpolated(torch.ones(16, 3), 4, 3).allclose(torch.ones(9, 3))
