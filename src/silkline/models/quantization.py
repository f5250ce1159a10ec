"""Reads from config.json whether a model's weights are quantised, and by which method."""

from __future__ import annotations

from silkline.models.documents import Document

_MLX = "quantization"
"""The key that mlx writes; it names no method (mlx-vlm, `save_config`)."""


def packing(config: Document) -> str | None:
    """The quantisation method, such as "awq"; "unnamed" if unspecified, None if not quantised.

    Raises:
        ConfigError: `quantization_config` is not of its documented form.
    """
    for part in (config, config.section("text_config")):
        if isinstance(part.values.get(_MLX), dict):
            return "mlx"
        if found := part.section("quantization_config"):
            return found.text("quant_method") or "unnamed"
    return None
