"""Quantised safetensors: what is written, and what the torch engine and others compute with it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from silkline.config import EngineSettings, Settings
from silkline.core import Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.torch import create_engine
from silkline.errors import ConfigError
from silkline.models.bundle import Bundle
from silkline.models.resolve import resolve_model
from silkline.models.weights import read_weights
from silkline.optimize.build import build
from silkline.optimize.optimisation import Optimisation, Work
from silkline.optimize.optimize import OptimizePlan, optimize
from silkline.optimize.torch import (
    FP8,
    VISION_FP8,
    VISION_W8A8,
    VISION_W8A16,
    W4A16,
    W8A8,
    W8A16,
)
from tests.engines.asking import answer, picture, user

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / ".cache" / "transformers-5"
ASKED = Request("test", (user(0, "What is this?"),), (picture(1),), Sampling(max_tokens=12))
UP = "language_model.model.layers.0.mlp.up_proj"
FC1 = "vision_tower.vision_model.encoder.layers.0.mlp.fc1"

CHOSEN = {
    "w8a16": (W8A16,),
    "w8a8": (W8A8,),
    "w4a16": (W4A16,),
    "fp8": (FP8,),
    "w4a16 and vision-w8a8": (W4A16, VISION_W8A8),
    "vision-fp8 and w8a16": (VISION_FP8, W8A16),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("quantised")
    return {
        name: optimised(folder / name.replace(" ", "_"), *chosen) for name, chosen in CHOSEN.items()
    }


def optimised(target: Path, *chosen: Optimisation) -> Bundle:
    build(resolve_model("silkline-mini"), chosen, target, [], None, lambda _: None)
    return resolve_model(str(target))


async def first_logits(folder: Path) -> tuple[torch.Tensor, str, str]:
    options = EngineOptions(
        model=folder, threads=1, max_batch=2, extra={"device": "cpu", "attention": "sdpa"}
    )
    engine = create_engine(options)
    await engine.start()
    try:
        said = await answer(engine, ASKED)
        return await engine.first_logits(ASKED), said.text, engine.info.precision  # type: ignore[attr-defined]
    finally:
        await engine.aclose()


def numbers(layer: str, tensors: dict[str, torch.Tensor], bits: int) -> torch.Tensor:
    """A layer's weight, from the words of the format's description and nothing of ours."""
    scale = tensors[f"{layer}.weight_scale"].double()
    if f"{layer}.weight" in tensors:
        return tensors[f"{layer}.weight"].double() * scale
    rows, columns = tensors[f"{layer}.weight_shape"].tolist()
    words = tensors[f"{layer}.weight_packed"].to(torch.int64) & 0xFFFFFFFF
    every = [(words >> shift) & (2**bits - 1) for shift in range(0, 32, bits)]
    unsigned: torch.Tensor = torch.stack(every, 2).reshape(rows, -1)[:, :columns]
    levels = unsigned - 2 ** (bits - 1)
    found: torch.Tensor = levels.double() * scale.repeat_interleave(columns // scale.shape[1], 1)
    return found


@pytest.mark.parametrize(
    ("name", "layer", "bits", "worst"),
    [
        ("w8a16", UP, 8, 0.004),
        ("w8a8", UP, 8, 0.004),
        ("w4a16", UP, 4, 0.08),
        ("fp8", UP, 8, 0.04),
        ("w4a16 and vision-w8a8", FC1, 8, 0.004),
        ("vision-fp8 and w8a16", FC1, 8, 0.04),
    ],
)
def test_weights_are_rounded_to_what_their_bits_can_say(
    made: dict[str, Bundle], name: str, layer: str, bits: int, worst: float
) -> None:
    tensors = load_file(made[name].folder / "model.safetensors")
    plain = load_file(resolve_model("silkline-mini").folder / "model.safetensors")
    found, expected = numbers(layer, tensors, bits), plain[f"{layer}.weight"].double()
    largest = expected.abs().amax(1, keepdim=True)
    assert 0 < ((found - expected).abs() / largest).mean() < worst
    kept = {each.rpartition(".")[0] for each in plain} - {
        each.removesuffix("_scale").rpartition(".")[0] for each in tensors if "scale" in each
    }
    assert {"language_model.model.embed_tokens", "multi_modal_projector.linear_1"} <= kept
    assert all(torch.equal(tensors[f"{each}.weight"], plain[f"{each}.weight"]) for each in kept
               if f"{each}.weight" in plain)  # fmt: skip


QUICK = {"w8a16", "w4a16 and vision-w8a8"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CHOSEN],
)
async def test_the_engine_computes_with_the_rounded_weights(
    made: dict[str, Bundle], name: str, tmp_path: Path
) -> None:
    """The same model with these weights in plain numbers is what it must come close to."""
    bundle = made[name]
    tensors = load_file(bundle.folder / "model.safetensors")
    plain = load_file(resolve_model("silkline-mini").folder / "model.safetensors")
    for layer in {each.removesuffix(".weight_scale") for each in tensors if "scale" in each}:
        bits = 4 if name.startswith("w4") and "language" in layer else 8
        plain[f"{layer}.weight"] = numbers(layer, tensors, bits).float()
    for path in resolve_model("silkline-mini").folder.glob("*.json"):
        if path.name != "bundle.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    template = resolve_model("silkline-mini").folder / "chat_template.jinja"
    (tmp_path / template.name).write_bytes(template.read_bytes())
    save_file(plain, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected, _, _ = await first_logits(tmp_path)
    found, text, precision = await first_logits(bundle.folder)
    inputs_are_rounded = "8a8" in name or "fp8" in name
    worst = (found - expected).abs().max() / expected.abs().max()
    assert worst < (0.05 if inputs_are_rounded else 1e-3)
    assert bool(worst > 1e-4) is inputs_are_rounded
    assert text.startswith("A ")
    assert set(precision.split("+")) == {
        each.removeprefix("vision-") for each in name.split(" and ")
    }


def test_the_tower_keeps_its_precision_unless_asked(made: dict[str, Bundle]) -> None:
    assert made["w8a8"].manifest.engines["torch"].precision == "w8a8"
    assert made["w8a8"].manifest.engines["torch"].vision_precision == "float16"
    both = made["w4a16 and vision-w8a8"].manifest.engines["torch"]
    assert (both.precision, both.vision_precision) == ("w4a16", "w8a8")
    sizes = {name: read_weights(bundle.folder).bytes for name, bundle in made.items()}
    plain = read_weights(resolve_model("silkline-mini").folder).bytes
    assert sizes["w4a16 and vision-w8a8"] < sizes["w4a16"] < sizes["w8a16"] < plain


def test_a_part_is_quantised_once(made: dict[str, Bundle]) -> None:
    assert "language model is w8a8 already" in W4A16.why_not(made["w8a8"])
    assert VISION_W8A16.why_not(made["w8a8"]) == ""
    assert "vision tower is w8a8 already" in VISION_FP8.why_not(made["w4a16 and vision-w8a8"])


def test_shards_stay_shards(tmp_path: Path) -> None:
    base = resolve_model("silkline-mini")
    folder = optimised(tmp_path / "copy", W8A8).folder
    whole = load_file(base.folder / "model.safetensors")
    names = sorted(whole)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_bytes((base.folder / "config.json").read_bytes())
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: whole[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: f for f, held in halves.items() for n in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    entry = base.manifest.engines["torch"]
    W4A16.apply(Work(folder, entry, []))
    weights = read_weights(folder)
    assert (set(weights.files), weights.absent) == (set(halves), ())
    assert weights.declared_bytes == weights.tensor_bytes
    assert weights.dtypes["I32"] > 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"symmetric": False}, "symmetric weights"),
        ({"strategy": "block"}, "not block"),
        ({"num_bits": 2}, "does not support 2 bits"),
        ({"actorder": "group"}, "in the order of the model"),
    ],
)
async def test_what_the_engine_cannot_compute_is_refused(
    made: dict[str, Bundle], tmp_path: Path, changed: dict[str, object], why: str
) -> None:
    folder = shutil.copytree(made["w4a16"].folder, tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"] |= changed
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=why):
        await first_logits(folder)


PROGRAM = """
import sys, torch, transformers
from pathlib import Path
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration
transformers.utils.logging.set_verbosity_error()
for place, folder in enumerate(sys.argv[2:]):
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [1, *[model.config.image_token_id] * model.config.image_seq_length, 50, 60, 70]
    with torch.inference_mode():  # the weights are decompressed by the first call
        model(input_ids=torch.tensor([ids]), pixel_values=torch.zeros(1, 3, 96, 96))
    layers = {
        "up": model.model.language_model.layers[0].mlp.up_proj,
        "fc1": model.model.vision_tower.encoder.layers[0].mlp.fc1,
    }
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    save_file(weights, Path(sys.argv[1]) / f"{place}.safetensors")
"""


@pytest.mark.slow
def test_transformers_and_compressed_tensors_load_what_was_written(
    made: dict[str, Bundle], tmp_path: Path
) -> None:
    """The library that defines the format finds the same numbers; vLLM reads files with it."""
    folders = [str(bundle.folder) for bundle in made.values()]
    path = os.pathsep.join((str(OVERLAY), str(ROOT / "src")))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *folders], check=False, text=True,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for place, name in enumerate(CHOSEN):
        found = load_file(tmp_path / f"{place}.safetensors")
        tensors = load_file(made[name].folder / "model.safetensors")
        for layer, short in ((UP, "up"), (FC1, "fc1")):
            if f"{layer}.weight_scale" in tensors:
                bits = 4 if name.startswith("w4") and layer == UP else 8
                expected = numbers(layer, tensors, bits)
            else:
                expected = tensors[f"{layer}.weight"].double()
            assert torch.allclose(found[short].double(), expected, rtol=2e-3, atol=1e-5), name


async def test_a_models_own_folder_is_optimised_without_an_export(tmp_path: Path) -> None:
    base = resolve_model("silkline-mini")
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in base.folder.iterdir():
        if path.suffix in {".json", ".jinja", ".safetensors"} and path.name != "bundle.json":
            shutil.copyfile(path, folder / path.name)
    (folder / "extra.bin").write_bytes(b"pickled")
    engine = EngineSettings(model=str(folder))
    plan = OptimizePlan(Settings(engine=engine), ["w8a8"], tmp_path / "new", None, 8, 1)
    bundle = await optimize(plan, lambda _: None)
    assert bundle.manifest.name == "mine"
    assert bundle.manifest.engines["torch"].precision == "w8a8"
    assert (bundle.manifest.context_length, bundle.manifest.image_tokens) == (1024, 64)
    assert bundle.manifest.optimized_from is not None
    assert bundle.manifest.optimized_from.startswith("mine@")
    assert not any(name.endswith(".bin") for name in bundle.manifest.files)
    assert not any(path.is_symlink() for path in bundle.folder.iterdir())
    with pytest.raises(ConfigError, match="Export it first"):
        await optimize(
            dataclasses.replace(plan, names=["weights-int8"], target=tmp_path / "b"), print
        )
