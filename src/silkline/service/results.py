"""Writes the results of a long run beside its journal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from silkline.errors import EnvironmentFault


def write_results(folder: Path, figures: Mapping[str, object], pages: Mapping[str, str]) -> None:
    """Writes figures as JSON and pages as HTML.

    Args:
        folder: An existing folder.
        figures: What to write as JSON, by file name.
        pages: HTML by file name.

    Raises:
        EnvironmentFault: A file cannot be written.
    """
    try:
        for name, value in figures.items():
            encoded = msgspec.json.format(msgspec.json.encode(value), indent=1)
            (folder / name).write_bytes(encoded + b"\n")
        for name, page in pages.items():
            (folder / name).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise EnvironmentFault(
            f"The results cannot be written into {folder}: {error.strerror}. The answers are saved "
            "in the journal: fix this, then run the same command again."
        ) from error
