"""Which files of a folder llama.cpp loads: a language model, and the projector of its images."""

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
    """What a folder lacks of a model for llama.cpp; None where it is whole.

    Of several models the first is looked at.

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


def choose_files(folder: Path, wanted: str) -> tuple[Path, Path]:
    """The model's file and its projector's.

    Args:
        folder: Where they lie.
        wanted: The name of the model's file; empty takes the only one.

    Raises:
        ConfigError: Files are missing, or there are several models and none is chosen.
    """
    models, projectors = _sorted(folder)
    if wanted:
        models = [path for path in models if path.name == wanted]
        if not models:
            raise ConfigError(f"The folder {folder} holds no {wanted}.")
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
    """The first model's file name, where a folder has several of which one must be chosen."""
    models = _whole(_sorted(folder)[0])
    return models[0].name if len(models) > 1 else None


def all_parts(name: str) -> str:
    """A pattern for a model's file, or for all of them where it is in parts."""
    return glob.escape(name).replace("-00001-of-", "-*-of-")


def _sorted(folder: Path) -> tuple[list[Path], list[Path]]:
    """Language models, with all their parts, and projectors."""
    files = sorted(path for path in folder.glob("*.gguf") if path.is_file())
    projectors = [path for path in files if _PROJECTOR in path.name.lower()]
    return [path for path in files if path not in projectors], projectors


def _whole(models: list[Path]) -> list[Path]:
    """Of models in parts the first part, which names the others."""
    return [
        path for path in models if (part := _PART.search(path.name)) is None or part[1] == "00001"
    ]


def _precise(projectors: list[Path]) -> Path:
    """Of several projectors one in float16."""
    precise = [path for path in projectors if "f16" in path.name.lower().replace("bf16", "")]
    return (precise or projectors)[0]


def _files_lack(folder: Path, models: list[Path], projectors: list[Path]) -> str | None:
    """What is missing by the names of the files."""
    if not models and not projectors:
        return _no_gguf(folder)
    if not models:
        return (
            f"the folder holds {printable(projectors[0].name)}, the projector of a model's images, "
            "and no *.gguf of the model itself; put it beside it"
        )
    if not projectors:
        return (
            f"the folder holds {printable(models[0].name)}, but no mmproj*.gguf beside it, without "
            "which the model sees no image; get that file, or convert it with llama.cpp's script: "
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
            wanted = (f"{stem}-{number:05}-of-{part[2]}.gguf" for number in range(1, count + 1))
            absent |= {each for each in wanted if not (folder / each).is_file()}
    return sorted(absent)


def _no_gguf(folder: Path) -> str:
    if any(folder.glob("*.safetensors")):
        return (
            "it loads GGUF, and the folder holds safetensors. Convert them with llama.cpp's "
            f"script: {_conversion(folder, '', 'FOLDER')} && "
            f"{_conversion(folder, _PROJECTOR, 'FOLDER')}. FOLDER is a new one of yours; serve it "
            "with --model FOLDER"
        )
    return "it loads GGUF, and the folder holds no *.gguf"


def _conversion(folder: Path, kind: str, into: str) -> str:
    """The command, of a script that comes with llama.cpp's sources."""
    name = "mmproj-model.gguf" if kind else "model.gguf"
    flags = [f"--{kind}"] if kind else []
    words = ["python", "convert_hf_to_gguf.py", str(folder), *flags, "--outfile", f"{into}/{name}"]
    return shlex.join(words)
