"""Finds a family's adapter by `model_type`."""

from __future__ import annotations

from silkline.engines.torch.families.blip import Blip2
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.families.gemma import Gemma3, PaliGemma
from silkline.engines.torch.families.gemma4 import Gemma4
from silkline.engines.torch.families.idefics import Idefics3
from silkline.engines.torch.families.internvl import InternVL
from silkline.engines.torch.families.llava import Llava, LlavaNext, LlavaOnevision
from silkline.engines.torch.families.qwen import Qwen3VL, QwenVL

ADAPTERS: tuple[type[Adapter], ...] = (
    Llava,
    LlavaNext,
    LlavaOnevision,
    Blip2,
    Idefics3,
    QwenVL,
    Qwen3VL,
    PaliGemma,
    Gemma3,
    Gemma4,
    InternVL,
)


def adapter_for(model_type: str) -> type[Adapter]:
    """Returns the adapter of a family; callers check with `support` that it exists."""
    return next(adapter for adapter in ADAPTERS if model_type in adapter.model_types)
