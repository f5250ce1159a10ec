"""Detects stand-ins for a model's file that was not really downloaded.

A clone without git-lfs leaves a pointer (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md),
an interrupted download leaves an empty file, and a browser or `wget` may save a web page.
"""

from __future__ import annotations

import re
from pathlib import Path

from silkline.models.amounts import bytes_text

FETCH = (
    "run `git lfs pull` in its folder (git-lfs has to be installed), or get the model with "
    "`hf download`"
)
"""How to download the files behind Git LFS pointers."""

_MAX_POINTER_BYTES = 1024
_POINTER = re.compile(rb"\Aversion https://(?:git-lfs|hawser)\.github\.com/spec/v\d+\r?\n")
_SIZE = re.compile(rb"^size (\d{1,18})\r?$", re.MULTILINE)
_PAGE = re.compile(rb"\A\s*<(?:!doctype html|html)\b", re.IGNORECASE)


def pointer_size(path: Path) -> int | None:
    """The size in bytes of the file that a Git LFS pointer refers to; None if it is no pointer.

    Raises:
        OSError: The file cannot be read.
    """
    beginning = _beginning(path)
    if not _POINTER.match(beginning):
        return None
    size = _SIZE.search(beginning)
    return int(size[1]) if size else 0


def stand_in(path: Path) -> str | None:
    """What the stand-in is, and what to do; None if it may be the file itself.

    Raises:
        OSError: The file cannot be read.
    """
    if (size := pointer_size(path)) is not None:
        return f"is a Git LFS pointer: the file itself, of {bytes_text(size)}, is not here; {FETCH}"
    beginning = _beginning(path)
    if not beginning:
        return "is empty (0 bytes); download it again"
    if _PAGE.match(beginning):
        return "is a web page, not the file itself; get the model with `hf download`"
    return None


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_POINTER_BYTES)
