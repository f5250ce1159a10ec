"""Loads a model from a folder: local safetensors only, and no code but transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from silkline.engines.torch.compressed import with_compressed
from silkline.engines.torch.families.common import Adapter, ModelParts
from silkline.engines.torch.families.table import adapter_for
from silkline.engines.torch.prompt import Tokenizer
from silkline.engines.torch.support import DELTA_NETS, other_layers, torch_refusal
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.chat_template import read_chat_template
from silkline.models.compressed import SECTION, read_compressed
from silkline.models.documents import CONFIG, read_document
from silkline.models.families import Family, find_family
from silkline.models.pruning import Pruning
from silkline.models.token_rules import Documents, read_documents
from silkline.models.weights import read_weights

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Arguments of `from_pretrained`: nothing is downloaded, and no code of the model is run."""

_NAMES_BACKENDS = 5
"""Major version of transformers from which an image processor's backend is selected by name."""


def load_family(
    folder: Path,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    pruning: Pruning | None = None,
) -> Adapter:
    """Loads the model in a folder.

    Args:
        folder: The folder of config.json, safetensors, tokenizer and preprocessing; in a bundle,
            the folder that the manifest names for "torch".
        dtype: Type of the weights in memory; None takes the type in the files.
        device: Device of the weights.
        pruning: How features of images become fewer tokens; None if all stay.

    Raises:
        ConfigError: The engine does not support this model, or files are missing or damaged.
        EnvironmentFault: The installed transformers does not support the family.
    """
    files = checked(folder)
    model_type = files.config.text("model_type") or ""
    family = find_family(files.config)
    rule = None if family is None else family.image_tokens(files)
    if family is None or rule is None:  # `checked` has already refused it
        raise ConfigError("The torch engine does not support this model's family.")
    kind = _class_of(files, family)
    tokenizer, image_processor = _load_tokenizer(folder), _load_image_processor(folder)
    template = read_chat_template(folder)
    config = load_config(folder, kind)
    _check_layers(folder, config)
    model = load_model(folder, kind, config, dtype)
    adapter = adapter_for(model_type)(
        ModelParts(
            model=model.to(device).eval().requires_grad_(requires_grad=False),
            tokenizer=tokenizer,
            image_processor=image_processor,
            template=template,
            files=files,
            rule=rule,
            pruning=pruning,
        )
    )
    replaceable = getattr(adapter.text_model, "_supports_attention_backend", False)
    if not replaceable and model.config.get_text_config().model_type not in DELTA_NETS:
        raise ConfigError(
            f"The language model of {folder} has an attention of its own, which the torch engine "
            "cannot run. Use the engine remote with a server that supports it, such as vLLM."
        )
    return adapter


def checked(folder: Path) -> Documents:
    """Reads the folder's JSON files and refuses models that the engine does not support."""
    files = read_documents(folder)
    if not files.config:
        raise ConfigError(f"{folder} has no config.json, so it is not a transformers model.")
    refusal = torch_refusal(folder, files, read_weights(folder))
    if refusal is not None:
        raise ConfigError(f"The engine torch cannot serve {folder}: {refusal}.")
    return files


def _class_of(files: Documents, family: Family) -> Any:
    """Returns the class that config.json names, or the family's default class."""
    known = family.architectures
    named = [name for name in files.config.texts("architectures") if name in known]
    name = named[0] if named else _class_name(files, known)
    found = getattr(transformers, name, None)
    if found is None:
        raise EnvironmentFault(
            f"transformers {transformers.__version__} does not support {name}.",
            remedy=f"pip install -U 'transformers>={family.since},<6'",
        )
    return found


def _class_name(files: Documents, known: frozenset[str]) -> str:
    """Returns the family's class whose name starts with `model_type`, else its first class."""
    model_type = (files.config.text("model_type") or "").replace("_", "").replace("-", "")
    return next((name for name in known if name.lower().startswith(model_type)), min(known))


def load_config(folder: Path, kind: Any) -> Any:
    """Loads the model's configuration, without the attention implementation that it may name.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        config = kind.config_class.from_pretrained(folder, **LOCAL)
    except Exception as error:  # transformers and its libraries raise any class of error
        raise unusable(folder, "configuration", error) from error
    # It may name a hub repository, whose attention code would be downloaded and run.
    config._attn_implementation = None  # noqa: SLF001 - transformers' own switch
    if hasattr(config, SECTION):
        del config.quantization_config  # `load_model` reads it from the file
    return config


def _check_layers(folder: Path, config: Any) -> None:
    """Raises `ConfigError` if the language model has layers other than attention."""
    text = config.get_text_config()
    unsupported = other_layers(text.model_type, getattr(text, "layer_types", None) or ())
    if unsupported:
        raise ConfigError(
            f"The language model of {folder} has layers of the type {min(unsupported)}, which the "
            "torch engine cannot run. Use the engine remote with a server that supports them, such "
            "as vLLM."
        )


def load_model(folder: Path, kind: Any, config: Any, dtype: torch.dtype | None) -> Any:
    """Loads the weights into a class of transformers.

    Raises:
        ConfigError: transformers cannot load them, or some are missing.
    """
    transformers.utils.logging.disable_progress_bar()  # it would end up in the worker's log
    compressed = read_compressed(read_document(folder / CONFIG, CONFIG))
    if compressed is not None:
        kind = with_compressed(kind, compressed)
    try:
        model, report = kind.from_pretrained(
            folder,
            config=config,
            dtype="auto" if dtype is None else dtype,
            use_safetensors=True,
            output_loading_info=True,
            **LOCAL,
        )
    except Exception as error:  # transformers and its libraries raise any class of error
        raise unusable(folder, "model", error) from error
    mismatched = sorted(str(key) for key in report["mismatched_keys"])
    absent = sorted(report["missing_keys"]) + mismatched
    if absent:
        raise ConfigError(
            f"{folder} does not hold all weights of its model: {len(absent)} are missing or have "
            f"another shape, such as {absent[0]}. Get the files again from where the model was "
            "published."
        )
    return model


def _load_tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:  # transformers and its libraries raise any class of error
        raise unusable(folder, "tokenizer", error) from error
    return Tokenizer(tokenizer)


def _load_image_processor(folder: Path) -> Any:
    """Loads the Pillow-based image processor, which resamples as in the model's training."""
    major = int(transformers.__version__.split(".")[0])
    pillow = {"backend": "pil"} if major >= _NAMES_BACKENDS else {"use_fast": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(folder, **pillow, **LOCAL)
    except Exception as error:  # transformers and its libraries raise any class of error
        raise unusable(folder, "image processor", error) from error


def unusable(folder: Path, part: str, error: Exception) -> ConfigError:
    """The error for a part of a model that transformers cannot load."""
    return ConfigError(
        f"transformers {transformers.__version__} cannot load the {part} in {folder} "
        f"({type(error).__name__}: {error}). Get the files again from where the model was "
        "published, or install another version of transformers."
    )
