"""Whether a model's weights are packed, and by what, as its config.json tells."""

from __future__ import annotations

from silkline.models.documents import Document

_MLX = "quantization"
"""The key of mlx, which names no method (mlx-vlm, `save_config`)."""


def packing(config: Document) -> str | None:
    """What packed the weights, such as "awq"; "unnamed" where the file does not say, None if none.

    Raises:
        ConfigError: `quantization_config` is not of its documented form.
    """
    for part in (config, config.section("text_config")):
        if isinstance(part.values.get(_MLX), dict):
            return "mlx"
        if found := part.section("quantization_config"):
            return found.text("quant_method") or "unnamed"
    return None
