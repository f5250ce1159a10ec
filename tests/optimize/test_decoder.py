"""Decoders in INT4 that are calibrated with questions, on the bundled model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from silkline.config import settings_from
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import load_dataset
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.weights import LANGUAGE_MODEL
from silkline.optimize.build import build
from silkline.optimize.calibration import draw
from silkline.optimize.openvino import (
    DECODER_INT4_AWQ,
    DECODER_INT4_KEEP25,
    DECODER_INT8,
)
from silkline.optimize.optimisation import Optimisation
from silkline.optimize.optimize import load_samples
from silkline.optimize.sensitivity import Layer, to_keep
from tests.optimize.bundles import make_exact_mini


def layer(name: str, divergence: float, weights: int = 10) -> Layer:
    return Layer(name, (name,), weights, divergence)


def test_layers_that_lose_most_for_each_weight_are_kept() -> None:
    layers = [layer("a", 0.1), layer("large", 0.3, 60), layer("b", 0.2), layer("c", 0.01, 20)]
    assert [each.layer for each in to_keep(layers, 0.2)] == ["b", "a"]
    assert [each.layer for each in to_keep(layers, 0.05)] == ["b"]  # one at least
    assert [each.layer for each in to_keep(layers, 1.0)] == ["b", "a", "large", "c"]


def types(bundle: Bundle) -> Counter[str]:
    """The types of the decoder's large constants."""
    model = ov.Core().read_model(bundle.weights("openvino") / LANGUAGE_MODEL)
    return Counter(
        node.get_output_element_type(0).get_type_name()
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) > 4000
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_decoders_are_calibrated_with_questions_about_images(tmp_path: Path) -> None:
    base = load_bundle(make_exact_mini(tmp_path / "exact"))
    calibration, items = draw(load_dataset(find_set("combinations", {})), 4, 0)
    samples = await load_samples(settings_from(None, {}), base, items)
    assert json.loads(samples[0].answer) == dict(items[0].record or {})

    async def built(chosen: Optimisation) -> Bundle:
        assert chosen.why_not(base) == ""
        images = [sample.image for sample in samples]
        target = tmp_path / chosen.name
        return await asyncio.to_thread(  # as the search does
            build, base, [chosen], target, images, calibration, lambda _: None, samples
        )

    assert types(await built(DECODER_INT8)) == {"u8": 22}
    awq = await built(DECODER_INT4_AWQ)
    assert types(awq) == {"i4": 21, "u8": 1}
    assert awq.manifest.calibration == calibration
    mixed = await built(DECODER_INT4_KEEP25)
    findings = json.loads((mixed.folder / "bundle.json").read_text())["findings"]
    layers = findings["decoder-int4-keep25"]["sensitivity"]
    kept = [each for each in layers if each["kept"]]
    assert len(layers) == 21
    assert types(mixed) == {"i4": 21 - len(kept), "u8": 1 + len(kept)}
    assert 0 < len(kept) < 21
    assert min(each["divergence"] for each in layers) > 0
    worst = max(layers, key=lambda each: each["divergence"])
    assert worst["kept"]
