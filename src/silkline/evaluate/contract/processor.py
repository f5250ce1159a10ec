"""Loads a model's transformers processor, which converts images and prompt to tensors."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Downloads nothing, and runs no code but that of transformers."""

UNREADABLE = (
    ArithmeticError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What transformers raises for files that it cannot load; it has no exception type of its own."""

_REPLACEMENTS = {"smolvlm": "Idefics3Processor"}
"""Replacements, by model type, for processors that need video libraries."""

_PART_KEYS = frozenset({"processor_class", "image_processor", "tokenizer", "video_processor"})
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def load_processor(folder: Path) -> Any:
    """Loads a model's processor with the Pillow backend.

    If its video part or its slow tokenizer needs a missing library, assembles the processor without
    it, because only images and text are needed.

    Raises:
        ImportError, OSError, ValueError: The folder has no processor; or another of `UNREADABLE`.
    """
    try:
        return AutoProcessor.from_pretrained(folder, **pillow(), **LOCAL)
    except UNREADABLE:
        return _from_parts(folder)


def pillow() -> dict[str, Any]:
    """The arguments that select the Pillow backend in this version of transformers."""
    if int(transformers.__version__.partition(".")[0]) >= 5:  # noqa: PLR2004
        return {"backend": "pil"}
    return {"use_fast": False}


def _from_parts(folder: Path) -> Any:
    model_type = AutoConfig.from_pretrained(folder, **LOCAL).model_type
    name = _REPLACEMENTS.get(model_type) or PROCESSOR_MAPPING_NAMES[model_type]
    kind = getattr(transformers, name)
    parts: dict[str, Any] = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, **pillow(), **LOCAL),
        "tokenizer": AutoTokenizer.from_pretrained(folder, **LOCAL),
    }
    if "video_processor" in inspect.signature(kind.__init__).parameters:
        parts["video_processor"] = None
    config = _read(folder / "processor_config.json")
    own = {key: value for key, value in config.items() if key not in _PART_KEYS}
    # The constructor checks the classes of parts by name, which would reject None.
    loose = type(name, (kind,), {"check_argument_for_proper_class": _any_class})
    return loose(**parts, **own, chat_template=_template(folder))


def _any_class(_processor: Any, _name: str, part: Any) -> type:
    return type(part)


def _template(folder: Path) -> str | None:
    plain, wrapped = (folder / name for name in _TEMPLATES)
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    return _read(wrapped).get("chat_template")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read
