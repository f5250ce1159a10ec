"""Whether the torch engine can serve a model, told from its JSON files and its weights' headers."""

from __future__ import annotations

from silkline.models.documents import Document
from silkline.models.families import find_family
from silkline.models.token_rules import Documents
from silkline.models.weights import Weights, why_pickled

TORCH_MODEL_TYPES = frozenset(
    {
        "blip-2",
        "gemma3",
        "idefics3",
        "internvl",
        "llava",
        "llava_next",
        "llava_onevision",
        "paligemma",
        "qwen2_5_vl",
        "qwen2_vl",
        "smolvlm",
    }
)
"""The families that the torch engine has an adapter for; its tests hold both in step."""

_ENCODER_DECODERS = frozenset({"t5", "mt5", "umt5", "bart", "mbart", "florence2_language"})
_ELSEWHERE = "use the engine remote with a server that has it, such as vLLM"


def torch_refusal(files: Documents, weights: Weights) -> str | None:
    """Why the torch engine does not serve a model, with the way out; None where it does.

    Raises:
        ConfigError: A file is damaged.
    """
    return _family_refusal(files) or _weights_refusal(files.config, weights)


def _family_refusal(files: Documents) -> str | None:
    config = files.config
    model_type = config.text("model_type")
    family = find_family(config)
    if family is None or model_type not in TORCH_MODEL_TYPES:
        own = "its layout needs the code of its authors, which is not run; " * bool(
            config.values.get("auto_map")
        )
        named = model_type or "none in config.json"
        return f"{own}it has no adapter for the family {named}; {_ELSEWHERE}"
    text = config.section("text_config")
    if text.flag("is_encoder_decoder") or text.text("model_type") in _ENCODER_DECODERS:
        return (
            f"its language model, {text.text('model_type')}, is an encoder with a decoder, and the "
            f"engine runs decoders only; {_ELSEWHERE}"
        )
    if not files.image:
        return (
            "its folder has no preprocessor_config.json, nor processor_config.json with an image "
            "processor; get it from where the model was published"
        )
    if family.image_tokens(files) is None:
        return (
            "its configuration asks for tokens of a picture in a way that the adapter does not "
            f"know; {_ELSEWHERE}"
        )
    return None


def _weights_refusal(config: Document, weights: Weights) -> str | None:
    method = config.section("quantization_config").text("quant_method")
    if method is not None:
        return (
            f"its weights are quantised ({method}), and the engine takes plain ones; {_ELSEWHERE}"
        )
    if weights.missing:
        return (
            f"{len(weights.missing)} of its shards are not here ({weights.missing[0]} for one); "
            "download it again"
        )
    if weights.files:
        return None
    return why_pickled(weights) or "there are no safetensors in its folder; download them"
