"""The files of a student: a model folder like the teacher's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from silkline.distil.record import RECORD
from silkline.errors import EnvironmentFault
from silkline.models.bundle import MANIFEST
from silkline.models.documents import CONFIG
from silkline.models.gate import GATE
from silkline.models.source import SUFFIXES
from silkline.stores.whole_folder import whole_folder

_WEIGHTS = frozenset({".safetensors", ".bin", ".gguf", ".xml"})
_OWN = frozenset({CONFIG, "generation_config.json", MANIFEST, GATE, RECORD})
"""Files of the teacher that do not hold for the student, or that it has its own of."""

_PROCESSOR = "processor_config.json"


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """`whole_folder` for what a command writes.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    try:
        with whole_folder(target) as draft:
            yield draft
    except OSError as error:
        raise EnvironmentFault(f"{target} cannot be written: {error.strerror}.") from error


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
