"""The files of a student: a model folder like the teacher's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from silkline.errors import EnvironmentFault
from silkline.models.source import SUFFIXES

_WEIGHTS = frozenset({".safetensors", ".bin", ".gguf", ".xml"})
_OWN = frozenset({"config.json", "generation_config.json", "bundle.json", "gate.json"})
_PROCESSOR = "processor_config.json"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which is at `target` after the block; after an error nothing is.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        draft.rename(target)
    except OSError as error:
        raise EnvironmentFault(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_student(student: Any, teacher: Path, folder: Path) -> None:
    """Writes a student's weights and configuration, with the teacher's tokenizer and template.

    Args:
        student: The model.
        teacher: The folder of the teacher's files.
        folder: The folder to write into.
    """
    student.save_pretrained(folder)
    for path in sorted(teacher.iterdir()):
        is_text = path.suffix in SUFFIXES - _WEIGHTS and not path.name.endswith(".index.json")
        if path.is_file() and is_text and path.name not in _OWN:
            shutil.copyfile(path, folder / path.name)
    processor = folder / _PROCESSOR
    if processor.exists():
        settings = json.loads(processor.read_bytes())
        if "patch_size" in settings:
            settings["patch_size"] = student.config.vision_config.patch_size
            processor.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
