"""Finds the GGUF files that llama.cpp loads: a language model and its image projector."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.gguf import read_gguf
from silkline.models.printable import printable

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf\Z")
_PROJECTOR = "mmproj"
_MAX_PARTS = 1000


def gguf_lacks(folder: Path) -> str | None:
    """What a folder lacks of a model for llama.cpp; None if it is complete.

    If there are several models, only the first is checked.

    Raises:
        ConfigError: A file is damaged.
    """
    models, projectors = _sorted(folder)
    if (lacks := _files_lack(folder, models, projectors)) is not None:
        return lacks
    first = _whole(models)[0]
    for path in (*folder.glob(all_parts(first.name)), _precise(projectors)):
        read_gguf(path)
    return None


def choose_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Returns the files of the model and of its projector.

    Args:
        folder: The folder with both files.
        name: The name of the model's file; empty chooses the only one.

    Raises:
        ConfigError: Files are missing, or there are several models and none is chosen.
    """
    models, projectors = _sorted(folder)
    if name:
        models = [path for path in models if path.name == name]
        if not models:
            raise ConfigError(f"The folder {folder} holds no {name}.")
    if (lacks := _files_lack(folder, models, projectors)) is not None:
        raise ConfigError(f"The engine llamacpp cannot serve {folder}: {lacks}.")
    models = _whole(models)
    if len(models) > 1:
        raise ConfigError(
            f"The folder holds several models: {', '.join(path.name for path in models)}. Choose "
            f"one: --engine-options {shlex.quote(f'file={models[0].name}')}."
        )
    return models[0], _precise(projectors)


def first_of_several(folder: Path) -> str | None:
    """The first model's file name if a folder has several and one must be chosen, else None."""
    models = _whole(_sorted(folder)[0])
    return models[0].name if len(models) > 1 else None


def all_parts(name: str) -> str:
    """A glob pattern for a model's file, or for all its parts if it is split."""
    return glob.escape(name).replace("-00001-of-", "-*-of-")


def _sorted(folder: Path) -> tuple[list[Path], list[Path]]:
    """Language models, with all their parts, and projectors."""
    files = sorted(path for path in folder.glob("*.gguf") if path.is_file())
    projectors = [path for path in files if _PROJECTOR in path.name.lower()]
    return [path for path in files if path not in projectors], projectors


def _whole(models: list[Path]) -> list[Path]:
    """The models, each split one represented by its first part."""
    return [
        path for path in models if (part := _PART.search(path.name)) is None or part[1] == "00001"
    ]


def _precise(projectors: list[Path]) -> Path:
    """The projector to use: one in float16 if there are several."""
    precise = [path for path in projectors if "f16" in path.name.lower().replace("bf16", "")]
    return (precise or projectors)[0]


def _files_lack(folder: Path, models: list[Path], projectors: list[Path]) -> str | None:
    """What is missing, judging by file names."""
    if not models and not projectors:
        return _no_gguf(folder)
    if not models:
        return (
            f"the folder holds {printable(projectors[0].name)}, the image projector of a model, "
            "but no *.gguf of the model itself; put that beside it"
        )
    if not projectors:
        return (
            f"the folder holds {printable(models[0].name)}, but no mmproj*.gguf beside it, which "
            "the model needs to read images; get that file, or convert it with llama.cpp's script: "
            f"{_conversion(folder, _PROJECTOR, str(folder))}"
        )
    if absent := _absent_parts(folder, models):
        return f"parts of the model are not here: {', '.join(absent)}; download them"
    return None


def _absent_parts(folder: Path, models: list[Path]) -> list[str]:
    absent = set()
    for name in (path.name for path in models):
        if part := _PART.search(name):
            stem, count = name[: part.start()], min(int(part[2]), _MAX_PARTS)
            parts = (f"{stem}-{number:05}-of-{part[2]}.gguf" for number in range(1, count + 1))
            absent |= {file for file in parts if not (folder / file).is_file()}
    return sorted(absent)


def _no_gguf(folder: Path) -> str:
    if any(folder.glob("*.safetensors")):
        return (
            "it loads GGUF, and the folder holds safetensors. Convert them with llama.cpp's "
            f"script: {_conversion(folder, '', 'FOLDER')} && "
            f"{_conversion(folder, _PROJECTOR, 'FOLDER')}. FOLDER is a new folder of your choice; "
            "serve it with --model FOLDER"
        )
    return "it loads GGUF, and the folder holds no *.gguf"


def _conversion(folder: Path, kind: str, into: str) -> str:
    """The command that runs the conversion script of llama.cpp's source tree."""
    name = "mmproj-model.gguf" if kind else "model.gguf"
    flags = [f"--{kind}"] if kind else []
    words = ["python", "convert_hf_to_gguf.py", str(folder), *flags, "--outfile", f"{into}/{name}"]
    return shlex.join(words)
