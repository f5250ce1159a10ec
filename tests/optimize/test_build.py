"""Optimisations on small graphs, and what the new bundle says about itself."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from silkline.core import Image
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import Bundle, Calibration, EngineWeights, load_bundle
from silkline.models.gate import GATE
from silkline.models.resolve import resolve_model
from silkline.optimize.build import build
from silkline.optimize.openvino import (
    DECODER_INT4,
    KV_F16,
    KV_U8,
    VISION_STATIC,
    WEIGHTS_INT8,
)
from silkline.optimize.optimisation import Optimisation, Work
from tests.models.gates import gated
from tests.optimize.bundles import make_exact

CALIBRATION = Calibration("mine", "0", 1, ("a", "b"))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_exact(tmp_path_factory.mktemp("bundles") / "exact")


def types(bundle: Bundle, part: str) -> set[str]:
    """The types of a part's large constants."""
    model = ov.Core().read_model(bundle.weights("openvino") / f"openvino_{part}.xml")
    return {
        node.get_output_element_type(0).get_type_name()
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) > 1000
    }


def optimised(
    exact: Path, target: Path, *chosen: Optimisation, images: list[Image] | None = None
) -> Bundle:
    calibration = CALIBRATION if images else None
    built = build(load_bundle(exact), chosen, target, images or [], calibration, lambda _: None)
    return resolve_model(str(built.folder))


def test_int4_for_the_decoder_and_8_bits_for_its_cache(exact: Path, tmp_path: Path) -> None:
    bundle = optimised(exact, tmp_path / "new", DECODER_INT4, KV_U8)
    manifest = bundle.manifest
    assert manifest.engines == {"openvino": EngineWeights("openvino", "int4", "fp16", "u8")}
    assert types(bundle, "language_model") == {"i4", "u8"}  # the last layer is more sensitive
    assert types(bundle, "vision_embeddings_model") == {"f16"}
    assert (manifest.optimized_from, manifest.name) == ("tiny@abc", "tiny")
    assert manifest.revision != "abc"
    written = json.loads((bundle.folder / "bundle.json").read_text())
    assert written["optimizations"] == ["decoder-int4", "kv-u8"]
    assert written["parent"] == {"model": "org/tiny"}
    assert "bytes" not in written
    assert not any("torch" in name or name == GATE for name in manifest.files)
    assert "already; start from a bundle of fp16" in WEIGHTS_INT8.applies(bundle)
    assert KV_U8.applies(bundle) == "its KV cache is u8 already"
    assert KV_F16.applies(bundle) == ""


def test_int8_for_all_weights(exact: Path, tmp_path: Path) -> None:
    bundle = optimised(exact, tmp_path / "new", WEIGHTS_INT8)
    assert types(bundle, "language_model") == types(bundle, "vision_embeddings_model") == {"u8"}
    assert bundle.manifest.engines["openvino"].precision == "int8"


def test_the_tower_is_calibrated_on_images(exact: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    pixels = [generator.integers(0, 256, (20, 24, 3), np.uint8).tobytes() for _ in range(8)]
    images = [Image(24, 20, each, str(index)) for index, each in enumerate(pixels)]
    bundle = optimised(exact, tmp_path / "new", VISION_STATIC, images=images)
    assert types(bundle, "vision_embeddings_model") == {"i8"}
    assert types(bundle, "language_model") == {"f16"}
    assert bundle.manifest.engines["openvino"].vision_precision == "int8 static"
    assert bundle.manifest.calibration == CALIBRATION
    model = ov.Core().read_model(
        bundle.weights("openvino") / "openvino_vision_embeddings_model.xml"
    )
    assert any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def test_a_verdict_is_not_inherited(exact: Path, tmp_path: Path) -> None:
    gated(exact)
    bundle = optimised(exact, tmp_path / "new", KV_U8)
    assert not {"gate.json", "gate.html"} & set(bundle.manifest.files)


def test_a_failure_leaves_nothing(exact: Path, tmp_path: Path) -> None:
    def failing(_: Work) -> EngineWeights:
        raise RuntimeError("not this graph")

    broken = dataclasses.replace(KV_U8, apply=failing)
    with pytest.raises(EnvironmentFault, match="cannot apply this to tiny: not this graph"):
        optimised(exact, tmp_path / "new", broken)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        optimised(exact, tmp_path / "new", KV_U8)
