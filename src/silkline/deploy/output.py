"""Writes rendered files to a folder, or compares the folder with them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from silkline.deploy.target import Files
from silkline.errors import EnvironmentFault
from silkline.stores.whole_file import replace_file


class State(StrEnum):
    """How a file in the folder compares with the rendered one."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered file, and what the folder has in its place.

    Attributes:
        path: Its path in the folder.
        text: What was rendered.
        found: What the folder has; None if the file is missing. Bytes that are no UTF-8 are
            replaced.
    """

    path: Path
    text: str
    found: str | None

    @property
    def state(self) -> State:
        """How they compare."""
        if self.found is None:
            return State.MISSING
        return State.SAME if self.found == self.text else State.DIFFERENT

    def difference(self) -> str:
        """Returns a unified diff from what the folder has to what was rendered."""
        lines = difflib.unified_diff(
            (self.found or "").splitlines(keepends=True),
            self.text.splitlines(keepends=True),
            fromfile=str(self.path) if self.found is not None else "/dev/null",
            tofile=str(self.path),
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def compare(folder: Path, files: Files) -> list[Rendered]:
    """Compares rendered files with those of a folder, sorted by path.

    Raises:
        EnvironmentFault: A file cannot be read.
    """
    return [
        Rendered(folder / name, text, _found(folder / name)) for name, text in sorted(files.items())
    ]


def write(rendered: Rendered) -> None:
    """Writes a file whose content differs, whole, and makes its folder.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    if rendered.state is State.SAME:
        return
    try:
        rendered.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(rendered.path, rendered.text.encode(), mode=0o644)
    except OSError as error:
        raise EnvironmentFault(
            f"The file {rendered.path} cannot be written: {error.strerror}.",
            remedy="choose another folder with -o",
        ) from error


def _found(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EnvironmentFault(
            f"The file {path} cannot be read: {error.strerror}.",
            remedy="choose another folder with -o",
        ) from error
