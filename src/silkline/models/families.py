"""The table of supported vision-language model families."""

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
    gemma_4,
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
        title: Its usual name.
        model_types: Values of `model_type` in config.json.
        architectures: Class names in `architectures`. A config that names other classes does not
            belong to the family, even if its layout matches.
        text_type: The decoder's `model_type` if config.json does not say; a key of the table of
            defaults in `decoder`.
        image_tokens: Builds the token rule from the model's files; returns None if the files need
            something that the rule does not cover.
        since: The first release of transformers that has the classes; "" for those with code of
            their own.
    """

    title: str
    model_types: frozenset[str]
    architectures: frozenset[str]
    text_type: str | None
    image_tokens: Callable[[Documents], TokenRule | None] = field(repr=False)
    since: str


def _family(
    title: str,
    model_types: str,
    architectures: str,
    text_type: str | None,
    image_tokens: Callable[[Documents], TokenRule | None],
    since: str = "4.57",
) -> Family:
    return Family(
        title,
        frozenset(model_types.split()),
        frozenset(architectures.split()),
        text_type,
        image_tokens,
        since,
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
    _family("Qwen3-VL", "qwen3_vl", "Qwen3VLForConditionalGeneration", "qwen3_vl_text", qwen_vl),
    _family(
        "Qwen3-VL, mixture of experts",
        "qwen3_vl_moe",
        "Qwen3VLMoeForConditionalGeneration",
        "qwen3_vl_moe_text",
        qwen_vl,
    ),
    _family(
        "Qwen3.5 to 3.8",
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        "qwen3_5_text",
        qwen_vl,
        "5.2",
    ),
    _family(
        "Qwen3.5 to 3.8, mixture of experts",
        "qwen3_5_moe",
        "Qwen3_5MoeForConditionalGeneration",
        "qwen3_5_moe_text",
        qwen_vl,
        "5.2",
    ),
    _family("PaliGemma", "paligemma", "PaliGemmaForConditionalGeneration", "gemma", paligemma),
    _family("Gemma 3", "gemma3", "Gemma3ForConditionalGeneration", "gemma3_text", gemma_3),
    _family("Gemma 4", "gemma4", "Gemma4ForConditionalGeneration", "gemma4_text", gemma_4, "5.5"),
    _family("InternVL", "internvl", "InternVLForConditionalGeneration", "qwen2", internvl),
    _family("InternVL (own code)", "internvl_chat", "InternVLChatModel", None, internvl_chat, ""),
)


TEXT_ONLY = "it is a language model without a vision tower"
"""Why no engine serves such a model."""

_OF_IMAGES = re.compile("vision|visual|image|picture|auto_map")
"""Matches keys of config.json that suggest vision; `auto_map` means code that may add it."""


def is_text_only(files: Documents) -> bool:
    """Whether a model's files describe a language model without a vision part."""
    config = files.config
    return (
        find_family(config) is None
        and not files.image
        and any(name.endswith("ForCausalLM") for name in config.texts("architectures"))
        and not any(map(_OF_IMAGES.search, config.values))
    )


def find_family(config: Document) -> Family | None:
    """The family of a config.json; None if it is not in the table."""
    model_type, classes = config.text("model_type"), set(config.texts("architectures"))
    for family in FAMILIES:
        if model_type in family.model_types and (not classes or classes & family.architectures):
            return family
    return None


def token_rule(files: Documents) -> TokenRule | None:
    """How many tokens an image takes; None if the files do not state the family or the number."""
    family = find_family(files.config)
    return None if family is None else family.image_tokens(files)
