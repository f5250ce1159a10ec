"""Optimisations on small graphs, and what the new bundle says about itself."""

import dataclasses
import json
import shutil
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


def test_each_optimisation_has_a_revision_of_its_own(exact: Path, tmp_path: Path) -> None:
    """These two have the same files, and differ in the manifest only."""
    first = optimised(exact, tmp_path / "u8", KV_U8)
    base = tmp_path / "base"
    shutil.copytree(exact, base)
    manifest = json.loads((base / "bundle.json").read_text())
    manifest["engines"]["openvino"].pop("kv_precision")
    (base / "bundle.json").write_text(json.dumps(manifest))
    second = optimised(base, tmp_path / "f16", KV_F16)
    assert first.manifest.files == second.manifest.files
    assert first.label != second.label


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ((WEIGHTS_INT8, DECODER_INT4), "decoder-int4 does not apply .* are int8 already"),
        ((DECODER_INT4, WEIGHTS_INT8), "weights-int8 does not apply .* are int4 already"),
        ((KV_U8, KV_F16, KV_F16), "kv-f16 does not apply .* is f16 already"),
        ((WEIGHTS_INT8, VISION_STATIC), "vision-int8-static does not apply .* int8 already"),
    ],
)
def test_an_optimisation_must_apply_to_what_those_before_it_made(
    exact: Path, tmp_path: Path, chosen: tuple[Optimisation, ...], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        optimised(exact, tmp_path / "new", *chosen)
    assert list(tmp_path.iterdir()) == []


def test_a_static_tower_is_not_made_static_again(exact: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(exact, base)
    manifest = json.loads((base / "bundle.json").read_text())
    manifest["engines"]["openvino"]["vision_precision"] = "int8 static"
    (base / "bundle.json").write_text(json.dumps(manifest))
    assert "tower is int8 static already" in VISION_STATIC.applies(load_bundle(base))
    manifest["engines"]["openvino"] |= {"precision": "int4", "vision_precision": "fp16"}
    (base / "bundle.json").write_text(json.dumps(manifest))
    assert VISION_STATIC.applies(load_bundle(base)) == ""
