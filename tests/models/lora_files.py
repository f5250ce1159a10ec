"""LoRA adapters in peft's layout, made without peft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from silkline.core import LoraAdapter
from silkline.models.lora import lora_revision, read_lora

QUERY = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
RANK = 4


def write_lora(
    folder: Path,
    width: int,
    *,
    seed: int = 1,
    scale: float = 0.5,
    config: Mapping[str, Any] | None = None,
    layer: str = QUERY,
) -> LoraAdapter:
    """An adapter of the first layer's queries, of a text model with as many queries as columns."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    made = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(made))
    tensors = {
        f"{layer}.lora_A.weight": torch.randn(RANK, width) * scale,
        f"{layer}.lora_B.weight": torch.randn(width, RANK) * scale,
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return known(folder)


def known(folder: Path) -> LoraAdapter:
    """An adapter as requests name it."""
    revision = lora_revision(folder)
    return LoraAdapter(f"{folder.name}@{revision}", str(folder), revision, read_lora(folder).rank)
