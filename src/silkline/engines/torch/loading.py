"""From a folder to a loaded model: local files, safetensors, and no code but transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from silkline.engines.torch.families.common import Adapter, ModelParts
from silkline.engines.torch.families.table import adapter_for
from silkline.engines.torch.prompt import Tokenizer
from silkline.engines.torch.support import ATTENTION_LAYERS, torch_refusal
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.chat_template import read_chat_template
from silkline.models.families import find_family
from silkline.models.token_rules import Documents, read_documents
from silkline.models.weights import read_weights

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_NAMES_BACKENDS = 5
"""Since this version of transformers an image processor's library is asked for by name."""


def load_family(folder: Path, *, dtype: torch.dtype | None, device: torch.device) -> Adapter:
    """Loads the model in a folder.

    Args:
        folder: With config.json, safetensors, tokenizer and preprocessing; of a bundle, the one
            that its manifest names for "torch".
        dtype: Of the weights in memory; None takes what the files say.
        device: Where they are placed.

    Raises:
        ConfigError: The engine does not serve this model, or files are missing or damaged.
        EnvironmentFault: The installed transformers does not know the family.
    """
    files = _checked(folder)
    model_type = files.config.text("model_type") or ""
    family = find_family(files.config)
    rule = None if family is None else family.image_tokens(files)
    if family is None or rule is None:  # told by `_checked` already
        raise ConfigError("The torch engine does not know this model's family.")
    kind = _class_of(files, family.architectures)
    tokenizer, image_processor = _load_tokenizer(folder), _load_image_processor(folder)
    template = read_chat_template(folder)
    model = _load_model(folder, kind, dtype)
    adapter = adapter_for(model_type)(
        ModelParts(
            model=model.to(device).eval().requires_grad_(requires_grad=False),
            tokenizer=tokenizer,
            image_processor=image_processor,
            template=template,
            files=files,
            rule=rule,
        )
    )
    if not getattr(adapter.text_model, "_supports_attention_backend", False):
        raise ConfigError(
            f"The language model of {folder} has an attention of its own, which the torch engine "
            "cannot drive. Use the engine remote with a server that has it, such as vLLM."
        )
    return adapter


def _checked(folder: Path) -> Documents:
    files = read_documents(folder)
    if not files.config:
        raise ConfigError(f"{folder} has no config.json, so it is no model of transformers.")
    refusal = torch_refusal(folder, files, read_weights(folder))
    if refusal is not None:
        raise ConfigError(f"The engine torch cannot serve {folder}: {refusal}.")
    return files


def _class_of(files: Documents, known: frozenset[str]) -> Any:
    """The class that config.json names, or the family's own."""
    named = [name for name in files.config.texts("architectures") if name in known]
    name = named[0] if named else _class_name(files, known)
    found = getattr(transformers, name, None)
    if found is None:
        raise EnvironmentFault(
            f"transformers {transformers.__version__} does not know {name}.",
            remedy="pip install -U 'transformers>=4.57,<6'",
        )
    return found


def _class_name(files: Documents, known: frozenset[str]) -> str:
    """Of several classes of a family, the one that begins as its `model_type` does."""
    model_type = (files.config.text("model_type") or "").replace("_", "").replace("-", "")
    return next((name for name in known if name.lower().startswith(model_type)), min(known))


def _load_config(folder: Path, kind: Any) -> Any:
    """The model's configuration, which must not choose code of its own for the attention.

    Raises:
        ConfigError: It cannot be read, or its language model has other layers than attention.
    """
    try:
        config = kind.config_class.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # transformers and its libraries raise plain ones, too
        raise _unusable(folder, "configuration", error) from error
    # It may name an attention by a repository of the hub, whose code would be fetched and run.
    config._attn_implementation = None  # noqa: SLF001 - transformers' own switch
    text = config.get_text_config()
    others = set(getattr(text, "layer_types", None) or ()) - ATTENTION_LAYERS
    if others:
        raise ConfigError(
            f"The language model of {folder} has layers of the type {min(others)}, which the torch "
            "engine cannot drive. Use the engine remote with a server that has it, such as vLLM."
        )
    return config


def _load_model(folder: Path, kind: Any, dtype: torch.dtype | None) -> Any:
    config = _load_config(folder, kind)
    transformers.utils.logging.disable_progress_bar()  # the worker's log would take it for words
    try:
        model, told = kind.from_pretrained(
            folder,
            config=config,
            dtype="auto" if dtype is None else dtype,
            use_safetensors=True,
            output_loading_info=True,
            **_LOCAL,
        )
    except Exception as error:  # transformers and its libraries raise plain ones, too
        raise _unusable(folder, "model", error) from error
    absent = sorted(told["missing_keys"]) + sorted(str(key) for key in told["mismatched_keys"])
    if absent:
        raise ConfigError(
            f"{folder} does not hold all weights of its model: {len(absent)} are missing or have "
            f"another shape, {absent[0]} for one. Get the files again."
        )
    return model


def _load_tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_LOCAL)
    except Exception as error:  # transformers and its libraries raise plain ones, too
        raise _unusable(folder, "tokenizer", error) from error
    return Tokenizer(tokenizer)


def _load_image_processor(folder: Path) -> Any:
    """The Pillow-based one, which filters as the model was taught; transformers 5 names it so."""
    major = int(transformers.__version__.split(".")[0])
    pillow = {"backend": "pil"} if major >= _NAMES_BACKENDS else {"use_fast": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(folder, **pillow, **_LOCAL)
    except Exception as error:  # transformers and its libraries raise plain ones, too
        raise _unusable(folder, "image processor", error) from error


def _unusable(folder: Path, part: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"transformers {transformers.__version__} cannot load the {part} in {folder} "
        f"({type(error).__name__}: {error}). Get the files again from where the model was "
        "published, or another version of transformers."
    )
