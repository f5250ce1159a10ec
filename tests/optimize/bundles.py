"""A small bundle of fp16 graphs, for tests of optimisations."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as opset
from openvino.passes import ConstantFolding, Manager

from silkline.models.resolve import bundled_folder

EDGE, WIDTH = 16, 128
PREPROCESSING = {
    "do_resize": True, "size": {"height": EDGE, "width": EDGE}, "resample": 3,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip


def graph(shape: list[int], widths: list[int]) -> ov.Model:
    """Layers of weights, one after the other."""
    generator = np.random.default_rng(1)
    parameter = opset.parameter(shape, np.float32, name="x")
    found = opset.reshape(parameter, np.array([shape[0], -1]), special_zero=False)
    for inputs, outputs in itertools.pairwise(widths):
        weights = generator.standard_normal((inputs, outputs)).astype(np.float32)
        found = opset.matmul(opset.relu(found), weights, False, False)
    return ov.Model([found], [parameter], "part")


def make_exact(folder: Path) -> Path:
    """A bundle with a decoder of two layers, a vision tower of one, and weights for torch."""
    (folder / "openvino").mkdir(parents=True)
    parts = {
        "language_model": graph([1, WIDTH], [WIDTH, WIDTH, WIDTH]),
        "vision_embeddings_model": graph([1, 3, EDGE, EDGE], [3 * EDGE * EDGE, WIDTH]),
    }
    for name, part in parts.items():
        ov.save_model(part, folder / "openvino" / f"openvino_{name}.xml")
    (folder / "openvino" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    (folder / "torch").mkdir()
    (folder / "torch" / "model.safetensors").write_bytes(b"weights")
    files = [path for path in folder.rglob("*") if path.is_file()]
    manifest = {
        "schema": 1, "name": "tiny", "family": "llava", "revision": "abc", "license": "MIT",
        "context_length": 128, "image_tokens": 4, "image_size": EDGE, "bytes": 1,
        "parent": {"model": "org/tiny"},
        "engines": {
            "openvino": {"path": "openvino", "precision": "fp16", "kv_precision": "f16"},
            "torch": {"path": "torch", "precision": "fp16"},
        },
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def make_exact_mini(folder: Path) -> Path:
    """The bundled model for OpenVINO with its 8-bit weights written as 16-bit ones."""
    source = bundled_folder()
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "evaluation"))
    for name in ("language_model", "text_embeddings_model", "vision_embeddings_model"):
        path = folder / "openvino" / f"openvino_{name}.xml"
        model = ov.Core().read_model(source / "openvino" / path.name)
        folding = Manager()
        folding.register_pass(ConstantFolding())
        folding.run_passes(model)
        ov.save_model(model, path)
    manifest = json.loads((source / "bundle.json").read_text())
    entry = {"path": "openvino", "precision": "fp16", "kv_precision": "f16"}
    manifest |= {
        "engines": {"openvino": entry},
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "bundle.json"
        },
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder
