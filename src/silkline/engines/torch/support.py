"""Whether the torch engine can serve a model, told from its JSON files and its weights' headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from silkline.engines.torch.generic.architectures import NEEDS_MORE, generic_classes
from silkline.models.completeness import model_lacks
from silkline.models.compressed import unsupported
from silkline.models.documents import Document
from silkline.models.families import TEXT_ONLY, find_family, is_text_only
from silkline.models.printable import printable
from silkline.models.support import ModelFacts, Support, Verdict, serving_command
from silkline.models.token_rules import Documents
from silkline.models.weights import Weights

NAME = "torch"

TORCH_MODEL_TYPES = frozenset(
    {
        "blip-2",
        "gemma3",
        "gemma4",
        "idefics3",
        "internvl",
        "llava",
        "llava_next",
        "llava_onevision",
        "paligemma",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_vl",
        "qwen3_vl_moe",
        "smolvlm",
    }
)
"""The families that the torch engine has an adapter for; its tests hold both in step."""

WITHOUT_TEMPLATE = frozenset({"blip-2", "paligemma"})
"""Of these, the families that are asked without a chat template; a test holds both in step."""

_ENCODER_DECODERS = frozenset({"t5", "mt5", "umt5", "bart", "mbart", "florence2_language"})
DELTA_NETS = frozenset({"qwen3_5_moe_text", "qwen3_5_text"})
"""Language models whose linear attention is a gated delta net, which the engine runs; the attention
of their other layers can be replaced, though their class does not say so."""

_ATTENTION_LAYERS = frozenset({"full_attention", "sliding_attention"})
"""The types of layers, as configurations name them, whose attention the torch engine does."""

_OTHER_LAYERS = {
    "granitemoehybrid": "linear_attention",
    "lfm2": "conv",
    "lfm2_moe": "conv",
    "llama4_text": "chunked_attention",
    "minimax": "linear_attention",
    "recurrent_gemma": "linear_attention",
}
"""Language models whose class makes such layers where config.json does not list them."""

_SINKS = frozenset({"gpt_oss"})
"""Language models that attend with sinks: the class passes `s_aux` to the attention."""

_OWN_ATTENTION = frozenset(
    {
        "bamba",
        "biogpt",
        "bloom",
        "blt",
        "codegen",
        "cpmant",
        "falcon",
        "falcon_h1",
        "falcon_mamba",
        "gpt_neo",
        "gpt_neox_japanese",
        "gptj",
        "jamba",
        "mamba",
        "mamba2",
        "mpt",
        "openai-gpt",
        "qwen3_next",
        "reformer",
        "rwkv",
        "stablelm",
        "xglm",
        "xlm",
        "xlnet",
        "xlstm",
        "zamba",
        "zamba2",
    }
)
"""Language models whose class does not let its attention be replaced, in any version from 4.57 to
5.23 that has it (`_supports_attention_backend`); what is so in some only is told at load."""

PACKED = "packed"
"""Continuous batching: an adapter runs the model over packed batches."""

GENERIC = "generic"
"""Static batches of equal shape: transformers' `generate` runs the model. This is slower."""

_ELSEWHERE = "use the engine remote with a server that has it, such as vLLM"


def torch_refusal(folder: Path, files: Documents, weights: Weights) -> str | None:
    """Why the torch engine does not serve a model, with the way out; None where it does.

    Args:
        folder: Where the model lies.
        files: Its JSON files that tell of images.
        weights: What its headers tell.

    Raises:
        ConfigError: A file is damaged.
    """
    path = torch_path(files)
    if path is None:
        return _family_refusal(files) or _rule_refusal(files)
    template = path == PACKED and files.config.text("model_type") not in WITHOUT_TEMPLATE
    return model_lacks(folder, files, weights, template=template, unsupported=unsupported)


def torch_path(files: Documents) -> str | None:
    """How the engine runs a model: `PACKED`, `GENERIC`, or None if it does not serve it.

    Raises:
        ConfigError: A file is damaged.
    """
    if (_family_refusal(files) or _rule_refusal(files)) is None:
        return PACKED
    model_type = files.config.text("model_type")
    served = model_type in generic_classes() and model_type not in NEEDS_MORE
    return GENERIC if served and not is_text_only(files) else None


def _family_refusal(files: Documents) -> str | None:
    config = files.config
    if is_text_only(files):
        return TEXT_ONLY
    model_type = config.text("model_type")
    family = find_family(config)
    if family is None or model_type not in TORCH_MODEL_TYPES:
        own = "its layout needs the code of its authors, which is not run; " * bool(
            config.values.get("auto_map")
        )
        if more := NEEDS_MORE.get(model_type or ""):
            return f"{more}; choose another model"
        named = (
            f"the family {printable(model_type)}" if model_type else "a model without model_type"
        )
        return f"{own}it has no adapter for {named}; {_ELSEWHERE}"
    if unlike := _text_refusal(config.section("text_config")):
        return f"its language model{unlike}; {_ELSEWHERE}"
    return None


def _rule_refusal(files: Documents) -> str | None:
    family = find_family(files.config)
    if family is None or family.image_tokens(files) is not None:
        return None
    return (
        "its configuration asks for the tokens of an image in a way that the adapter does not "
        f"know; {_ELSEWHERE}"
    )


def _text_refusal(text: Document) -> str | None:
    """What is wrong with a language model for the engine's attention, after its name."""
    model_type = text.text("model_type") or ""
    named = f", {printable(model_type)}," if model_type else ""
    if text.flag("is_encoder_decoder") or model_type in _ENCODER_DECODERS:
        return f"{named} is an encoder with a decoder, and the engine runs decoders only"
    others = other_layers(model_type, text.texts("layer_types"))
    if not others and model_type in _OTHER_LAYERS:
        others = {_OTHER_LAYERS[model_type]}
    if others:
        kind = printable(min(others))
        return f"{named} has layers of the type {kind}, which the engine cannot drive"
    if model_type in _SINKS:
        return f"{named} attends with sinks, which the engine does not know"
    if model_type in _OWN_ATTENTION:
        return f"{named} has an attention of its own, which the engine cannot drive"
    return None


def other_layers(model_type: str, layer_types: Iterable[str]) -> set[str]:
    """Returns the types of a language model's layers that the engine cannot run."""
    runs = _ATTENTION_LAYERS | ({"linear_attention"} if model_type in DELTA_NETS else set())
    return set(layer_types) - runs


def torch_support(facts: ModelFacts) -> Support:
    """Whether the torch engine serves a model."""
    location, files, weights = facts
    if location.bundle is not None:
        listed = NAME in location.bundle.manifest.engines
        refusal = None if listed else "the bundle has no weights for it"
    else:
        refusal = torch_refusal(location.folder, files, weights)
    if refusal is not None:
        return Support(NAME, Verdict.NO, refusal)
    path = PACKED if location.bundle is not None else torch_path(files) or ""
    return Support(NAME, Verdict.YES, serving_command(NAME, location), path=path)
