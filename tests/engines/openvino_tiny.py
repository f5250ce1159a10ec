"""Makes the tiny model of a family and writes what transformers answers.

`python -m tests.engines.openvino_tiny MODEL_TYPE FOLDER` runs in the environment that exports the
family, whose transformers has its classes. The weights are rounded to float16, which an export in
fp16 keeps as they are, so that every token must be the same.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MOST = 12
"""Tokens of each answer."""

ANSWERS = "answers.json"
_PATCH = 14
"""The exporter traces Qwen's towers with images of 420 px: smaller patches would be too many."""

Answers = Mapping[str, Mapping[str, Any]]
"""By the case's name: the prompt's number of tokens, the answer's tokens and its text."""


def read_answers(folder: Path) -> Answers:
    """The answers beside a model that this script made."""
    answers: Answers = json.loads((folder.parent / ANSWERS).read_text())
    return answers


def _tiny(model_type: str) -> Any:
    from tests.engines.torch.tiny import TINY  # noqa: PLC0415 - imports torch

    known = {each.id: each for each in TINY} | _new()
    found = known[model_type]
    if model_type == "llava":  # as published ones say it; else the pipeline makes the pixels
        return replace(found, image={**found.image, "resample": 3, "rescale_factor": 1 / 255})
    if not model_type.startswith("qwen2"):
        return found
    config = copy.deepcopy(found.config)
    config["vision_config"]["patch_size"] = _PATCH
    if "window_size" in config["vision_config"]:
        config["vision_config"]["window_size"] = 8 * _PATCH
    area = (2 * _PATCH) ** 2
    pixels = {"patch_size": _PATCH, "min_pixels": 4 * area, "max_pixels": 64 * area}
    return replace(found, config=config, image={**found.image, **pixels})


def _new() -> dict[str, Any]:
    """Families that came after the torch engine's."""
    from tests.engines.torch import tiny, tiny_parts  # noqa: PLC0415 - imports torch

    qwen = next(each for each in tiny.TINY if each.model_type == "qwen2_vl")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2],
            "mrope_interleaved": True, "partial_rotary_factor": 1.0}  # fmt: skip
    text = {**qwen.config["text_config"], "head_dim": tiny_parts.HEAD_DIM, "rope_parameters": rope}
    vision = {"depth": 3, "num_heads": 4, "patch_size": 16, "in_channels": 3, "hidden_size": 32,
              "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": tiny.HIDDEN,
              "intermediate_size": 48, "num_position_embeddings": 16}  # fmt: skip
    image = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 16, "merge_size": 2,
             "temporal_patch_size": 2, "size": {"shortest_edge": 4096, "longest_edge": 65536},
             "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    qwen3 = replace(
        qwen,
        model_type="qwen3_vl",
        model="Qwen3VLForConditionalGeneration",
        processor="Qwen3VLProcessor",
        image=image,
        config={
            **qwen.config,
            "text_config": {**text, "model_type": "qwen3_vl_text", "rope_scaling": rope},
            "vision_config": {**vision, "deepstack_visual_indexes": [0, 1]},
        },
    )
    linear = {"layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2,
              "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12,
              "linear_value_head_dim": 12, "linear_conv_kernel_dim": 4}  # fmt: skip
    text.pop("rope_scaling")
    qwen3_5 = replace(
        qwen3,
        model_type="qwen3_5",
        model="Qwen3_5ForConditionalGeneration",
        config={
            **qwen.config,
            "text_config": {**text, **linear, "model_type": "qwen3_5_text"},
            "vision_config": vision,
        },
    )
    return {each.id: each for each in (qwen3, qwen3_5)}


def main(model_type: str, folder: Path) -> None:
    """Writes the model's folder, and the answers beside it."""
    import safetensors.torch  # noqa: PLC0415 - run in another environment
    import transformers  # noqa: PLC0415

    from tests.engines.torch.reference import CASES, Reference  # noqa: PLC0415
    from tests.engines.torch.tiny import save  # noqa: PLC0415

    tiny = _tiny(model_type)
    weights = save(tiny, folder) / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    rounded = {name: tensor.half().float() for name, tensor in tensors.items()}
    safetensors.torch.save_file(rounded, weights, {"format": "pt"})
    pillow = getattr(transformers, f"{tiny.image['image_processor_type']}Pil", None)
    if pillow is not None:  # for some of these, AutoImageProcessor asks for torchvision
        taken = SimpleNamespace(from_pretrained=lambda path, **_: pillow.from_pretrained(path))
        transformers.AutoImageProcessor = taken
    alone = Reference(tiny, folder)
    if size := tiny.image.get("size", {}).get("shortest_edge"):
        images = alone.processor.image_processor
        if hasattr(images, "min_pixels"):  # that of 4.57 takes its defaults instead
            images.min_pixels, images.max_pixels = size, tiny.image["size"]["longest_edge"]
    answers = {}
    for name, case in CASES.items():
        ids, answer, _ = alone.answer(case, MOST)
        text = alone.tokenizer.decode(answer, skip_special_tokens=True)
        answers[name] = {"prompt": len(ids), "ids": answer, "text": text}
    (folder.parent / ANSWERS).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
