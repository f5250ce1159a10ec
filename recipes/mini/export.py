"""Ship a trained model: ``python -m recipes.mini.export --model DIR/model``.

Writes float16 safetensors and OpenVINO IR into the package, compares the answers of the engines,
keeps the better of two INT8 vision towers, and writes the manifest.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import LlavaForConditionalGeneration

from recipes.mini.bundle import DEFAULT_BUNDLE, record_evaluation, write_manifest
from recipes.mini.chat import OPENVINO_CHAT_TEMPLATE
from recipes.mini.compare import compare_engines, compare_towers
from recipes.mini.compress import compress_weights, quantize_tower
from recipes.mini.model import save_bundle
from recipes.mini.tokenizer import load_tokenizer

_PARTS = ("language_model", "vision_embeddings_model", "text_embeddings_model")
_TOWER = "openvino_vision_embeddings_model.xml"


def export_float32(model: Path, folder: Path) -> None:
    """Convert the transformers model at ``model`` to an IR without quantisation.

    The IR gets its own chat template, because GenAI puts a line break after every picture.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model"
        shutil.copytree(model, source)
        (source / "chat_template.jinja").write_text(OPENVINO_CHAT_TEMPLATE)
        command = [
            str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino",
            "--model", str(source), "--task", "image-text-to-text", "--weight-format", "fp32",
            str(folder),
        ]  # fmt: skip
        subprocess.run(command, check=True)


def place(ir: Path, target: Path) -> None:
    """Copy what GenAI needs from an IR folder to the bundle."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    wanted = [*ir.glob("openvino_*.xml"), *ir.glob("openvino_*.bin"), ir / "chat_template.jinja"]
    wanted += [ir / f"{n}.json" for n in ("config", "generation_config", "preprocessor_config")]
    for path in wanted:
        shutil.copyfile(path, target / path.name)


def ship(model_folder: Path, bundle: Path, vision: str, pictures: int) -> dict[str, Any]:
    """Export, compress, compare and place the model; returns the manifest."""
    with tempfile.TemporaryDirectory() as scratch:
        exact, weights, static = (Path(scratch) / n for n in ("exact", "weights", "static"))
        export_float32(model_folder, exact)
        compress_weights(exact, weights, _PARTS)
        shutil.copytree(weights, static)
        quantize_tower(exact / _TOWER, static / _TOWER)
        towers = compare_towers({"int8 weights": weights, "int8 static": static}, _TOWER)
        chosen = towers["chosen"] if vision == "auto" else f"int8 {vision}"
        final = static if chosen == "int8 static" else weights
        engines = compare_engines(model_folder, {"float32": exact, "shipped": final}, pictures)
        place(final, bundle / "openvino")
    _place_transformers(model_folder, bundle)
    parameters = _count(bundle)
    manifest = write_manifest(bundle, parameters, chosen)
    record_evaluation(bundle, towers, "vision_towers")
    record_evaluation(bundle, engines, "same_answers_as_transformers")
    return manifest


def _place_transformers(model_folder: Path, bundle: Path) -> None:
    """Write the float16 weights, configuration, tokenizer and processor."""
    model = LlavaForConditionalGeneration.from_pretrained(model_folder, dtype=torch.float16)
    save_bundle(model, load_tokenizer(model_folder), bundle)
    for path in bundle.glob("*.safetensors"):
        path.chmod(0o644)


def _count(bundle: Path) -> int:
    with safe_open(bundle / "model.safetensors", "pt") as weights:
        return sum(weights.get_tensor(key).numel() for key in weights.keys())  # noqa: SIM118


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="transformers folder")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--vision", choices=("auto", "weights", "static"), default="auto")
    parser.add_argument("--pictures", type=int, default=60, help="to compare the engines on")
    arguments = parser.parse_args()
    manifest = ship(arguments.model, arguments.bundle, arguments.vision, arguments.pictures)
    print({key: manifest[key] for key in ("revision", "parameters", "bytes")})


if __name__ == "__main__":
    main()
