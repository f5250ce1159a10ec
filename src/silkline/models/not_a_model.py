"""Builds the errors for paths that are not a model's folder; they say what was found instead."""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.adapter import adapter_refusal
from silkline.models.bundle import MANIFEST
from silkline.models.completeness import faults
from silkline.models.documents import CONFIG
from silkline.models.printable import printable
from silkline.models.weights import PICKLED

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_WEIGHTS = PICKLED | {".safetensors", ".onnx", ".h5", ".msgpack", ".npz"}
_FILES = _ARCHIVES | _WEIGHTS | {".gguf", ".json", ".xml", ".jinja"}
"""Extensions of files; a name with one of them is not a hub repository."""

_URL = re.compile(r"(?i)(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ORG_AND_NAME = 2
_MAX = 4096
"""Maximum characters of a path in messages, enough to show it in full."""


def is_path(text: str) -> bool:
    """Whether a text can only be a path: hub ids are `org/name` or `org/name@revision`."""
    name, at, _ = text.partition("@")
    return (
        text.startswith(("/", "./", "../", "~", ".\\", "..\\"))
        or text in {".", ".."}
        or "\\" in text
        or _DRIVE.match(text) is not None
        or text.endswith("/")
        or name.count("/") >= _ORG_AND_NAME
        or (not at and Path(text).suffix.lower() in _FILES)
    )


def file_refusal(text: str, path: Path) -> ConfigError:
    """The error for the path of a file where a folder is expected."""
    shown, folder = printable(text, _MAX), path.parent
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return ConfigError(
            f"{shown} is a file. The engine llamacpp serves GGUF from its folder, which also holds "
            "the image projector, mmproj*.gguf. Run: silkline up --engine "
            f"llamacpp --model {_quoted(folder)} --engine-options "
            f"{shlex.quote(f'file={printable(path.name)}')}"
        )
    if suffix in _ARCHIVES:
        return ConfigError(
            f"{shown} is an archive. A model is a folder: unpack it, and name the folder with its "
            f"{CONFIG}."
        )
    if (folder / MANIFEST).is_file() or (folder / CONFIG).is_file():
        return ConfigError(
            f"{shown} is a file. A model is named by its folder. Run: silkline up --model "
            f"{_quoted(folder)}"
        )
    return ConfigError(
        f"{shown} is a file, and its folder has no {CONFIG} beside it. A model is a folder with "
        f"{CONFIG}, safetensors, tokenizer and preprocessing, as transformers saves it."
    )


def folder_refusal(text: str, folder: Path) -> ConfigError:
    """The error for a folder without a complete model.

    Raises:
        ConfigError: One of its files is damaged.
    """
    shown = f"The folder {printable(text, _MAX)}"
    if (adapter := adapter_refusal(folder)) is not None:
        return ConfigError(f"{shown} is not a model: {adapter}.")
    names = sorted(path.name for path in folder.iterdir())
    expected = f"expected a {CONFIG}, as transformers saves it, GGUF files, or a {MANIFEST}"
    if not names:
        return ConfigError(f"{shown} is empty: {expected}.")
    inner = [path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))]
    inner += [path.parent for path in sorted(folder.glob(f"snapshots/*/{CONFIG}"))]
    if inner:
        return ConfigError(
            f"{shown} holds no model itself, but {_quoted(inner[0])} does. Use that folder."
        )
    if "model_index.json" in names:
        return ConfigError(
            f"{shown} holds a pipeline of diffusers (model_index.json), which generates images. "
            "Silkline serves models that read images."
        )
    weights = [name for name in names if Path(name).suffix in _WEIGHTS]
    if weights:
        return ConfigError(
            f"{shown} holds weights ({printable(weights[0])}) without the {CONFIG} that describes "
            f"them. Get the {CONFIG} and the other files of the model with `hf download`, or from "
            f"where it was published.{_also(folder)}"
        )
    few = ", ".join(printable(name, 60) for name in names[:3])
    return ConfigError(f"{shown} holds no model, but {few}: {expected}.")


def _also(folder: Path) -> str:
    """What else such a folder lacks."""
    others = "; ".join(faults(folder))
    return f" Beside that: {others}." if others else ""


def absence(text: str, path: Path, expected: str) -> ConfigError:
    """The error for a model name that matches nothing on this machine.

    Args:
        text: The user's input.
        path: The input as a path.
        expected: The accepted forms, for the message.
    """
    shown = printable(text, _MAX)
    if found := _URL.match(text):
        return ConfigError(
            f"{shown} is a URL. Name the model {found[1]}; it must be in the local cache: "
            f"hf download {found[1]}"
        )
    if _SCHEME.match(text):
        return ConfigError(
            f"{shown} is a URL, and Silkline downloads no models. Name a folder of this machine, "
            "or the id of a model in the Hugging Face cache."
        )
    if path.is_symlink():
        return ConfigError(
            f"{shown} is a link to {printable(str(path.readlink()))}, which does not exist. Name "
            "the model's folder."
        )
    if "/" in text or is_path(text):
        return ConfigError(
            f"There is no file or folder {shown}.{_suggestion(path)} Name the folder of a model; "
            "a model of the hub must be in the local cache."
        )
    return ConfigError(f"There is no model {shown}: expected {expected}.{_suggestion(path)}")


def _suggestion(path: Path) -> str:
    """A suggestion of a file or folder with a similar name, or nothing."""
    parent = path.parent
    if parent.is_dir():
        names = [sibling.name for sibling in parent.iterdir()]
        if found := difflib.get_close_matches(path.name, names, n=1):
            return f" Did you mean {_quoted(parent / found[0])}?"
    return ""


def _quoted(path: Path) -> str:
    """A path, quoted for a shell."""
    return shlex.quote(printable(str(path), _MAX))
