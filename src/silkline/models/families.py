"""The families of vision-language models that Silkline knows, in one table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from silkline.models.documents import Document
from silkline.models.image_tokens import TokenRule
from silkline.models.token_rules import (
    Documents,
    blip_2,
    gemma_3,
    idefics_3,
    internvl,
    internvl_chat,
    llava,
    llava_next,
    llava_onevision,
    paligemma,
    qwen_vl,
)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models.

    Attributes:
        title: What people call it.
        model_types: `model_type` in config.json.
        architectures: Classes that `architectures` names; a config that names another one has the
            family's layout at most by chance and is not taken for it.
        text_type: The language model where config.json does not say; a key of the table of
            defaults in `decoder`.
        image_tokens: From the model's files to its rule; None where the files ask for something
            that the rule does not cover.
    """

    title: str
    model_types: frozenset[str]
    architectures: frozenset[str]
    text_type: str | None
    image_tokens: Callable[[Documents], TokenRule | None] = field(repr=False)


def _family(
    title: str,
    model_types: str,
    architectures: str,
    text_type: str | None,
    image_tokens: Callable[[Documents], TokenRule | None],
) -> Family:
    return Family(
        title,
        frozenset(model_types.split()),
        frozenset(architectures.split()),
        text_type,
        image_tokens,
    )


FAMILIES = (
    _family("LLaVA-1.5", "llava", "LlavaForConditionalGeneration", "llama", llava),
    _family("LLaVA-NeXT", "llava_next", "LlavaNextForConditionalGeneration", "llama", llava_next),
    _family(
        "LLaVA-OneVision",
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        "qwen2",
        llava_onevision,
    ),
    _family("BLIP-2", "blip-2", "Blip2ForConditionalGeneration", "opt", blip_2),
    _family(
        "Idefics3 / SmolVLM",
        "idefics3 smolvlm",
        "Idefics3ForConditionalGeneration SmolVLMForConditionalGeneration",
        "llama",
        idefics_3,
    ),
    _family("Qwen2-VL", "qwen2_vl", "Qwen2VLForConditionalGeneration", "qwen2_vl_text", qwen_vl),
    _family(
        "Qwen2.5-VL",
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        "qwen2_5_vl_text",
        qwen_vl,
    ),
    _family("PaliGemma", "paligemma", "PaliGemmaForConditionalGeneration", "gemma", paligemma),
    _family("Gemma 3", "gemma3", "Gemma3ForConditionalGeneration", "gemma3_text", gemma_3),
    _family("InternVL", "internvl", "InternVLForConditionalGeneration", "qwen2", internvl),
    _family("InternVL (own code)", "internvl_chat", "InternVLChatModel", None, internvl_chat),
)


TEXT_ONLY = "it is a language model without a vision tower"
"""Why no engine serves one."""

_OF_IMAGES = re.compile("vision|visual|image|picture|auto_map")
"""In a key of config.json: it sees, or its authors' code says whether it does."""


def is_text_only(files: Documents) -> bool:
    """Whether a model's files tell of a language model and of nothing that sees."""
    config = files.config
    return (
        find_family(config) is None
        and not files.image
        and any(name.endswith("ForCausalLM") for name in config.texts("architectures"))
        and not any(map(_OF_IMAGES.search, config.values))
    )


def find_family(config: Document) -> Family | None:
    """The family of a config.json; None where the table has none for it."""
    model_type, classes = config.text("model_type"), set(config.texts("architectures"))
    for family in FAMILIES:
        if model_type in family.model_types and (not classes or classes & family.architectures):
            return family
    return None
