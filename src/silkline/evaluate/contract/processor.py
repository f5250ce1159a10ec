"""The processor of a model of transformers: what makes tensors of its pictures and its prompt."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is fetched, and no code but that of transformers is run."""

UNREADABLE = (
    ArithmeticError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What transformers raises for what it cannot read: it has no type of its own."""

_SPEAKS_AS = {"smolvlm": "Idefics3Processor"}
"""Processors that cannot be imported without libraries for video, and their twins that can."""

_NOT_ITS_OWN = frozenset({"processor_class", "image_processor", "tokenizer", "video_processor"})
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def load_processor(folder: Path) -> Any:
    """Loads a processor that works by Pillow.

    One whose part for videos, or whose tokenizer's older form, needs a library that is not here is
    put together without it: only its pictures and its text are wanted.

    Raises:
        ImportError, OSError, ValueError: The folder holds none; or another one of `UNREADABLE`.
    """
    try:
        return AutoProcessor.from_pretrained(folder, **pillow(), **LOCAL)
    except UNREADABLE:
        return _from_parts(folder)


def pillow() -> dict[str, Any]:
    """Asks for the processors that work by Pillow, under this version's name for them."""
    if int(transformers.__version__.partition(".")[0]) >= 5:  # noqa: PLR2004
        return {"backend": "pil"}
    return {"use_fast": False}


def _from_parts(folder: Path) -> Any:
    model_type = AutoConfig.from_pretrained(folder, **LOCAL).model_type
    name = _SPEAKS_AS.get(model_type) or PROCESSOR_MAPPING_NAMES[model_type]
    kind = getattr(transformers, name)
    parts: dict[str, Any] = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, **pillow(), **LOCAL),
        "tokenizer": AutoTokenizer.from_pretrained(folder, **LOCAL),
    }
    if "video_processor" in inspect.signature(kind.__init__).parameters:
        parts["video_processor"] = None
    told = _read(folder / "processor_config.json")
    own = {key: value for key, value in told.items() if key not in _NOT_ITS_OWN}
    # It asks for parts of classes by name, and None is of no class.
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
