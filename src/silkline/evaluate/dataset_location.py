"""Where a data set lies: a shipped one, a file, a folder, or one of the hub in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from silkline.errors import ConfigError
from silkline.evaluate.rows import ENDINGS
from silkline.models.hub import RepositoryKind, cache_folder, find_snapshot, parse_hub_id
from silkline.models.resolve import bundled_folder
from silkline.models.user_paths import looking_for

HUB = "hf://datasets/"
"""How hub data sets are spelled, as fsspec has it: `hf://datasets/org/name@revision/FILES`.

https://huggingface.co/docs/huggingface_hub/guides/hf_file_system
"""

HELD_OUT = "held-out"
SHIPPED = (HELD_OUT, "combinations")
"""The sets that come with the bundled model: pictures that training never showed, and such that
show only colours and patterns which it never showed together with their category."""


@dataclass(frozen=True, slots=True)
class DatasetLocation:
    """Where a data set lies.

    Attributes:
        name: What it is called in results.
        sources: Files, or one folder, in the order in which they are read.
        folder: What the paths of its pictures are relative to; absolute, without links.
        bounds: The folder below which its pictures must lie; absolute, without links.
    """

    name: str
    sources: tuple[Path, ...]
    folder: Path
    bounds: Path


def local_set(path: Path) -> DatasetLocation:
    """The data set of a file or a folder."""
    folder = (path if path.is_dir() else path.parent).resolve()
    return DatasetLocation(path.stem or path.name, (path,), folder, folder)


def shipped_file(name: str) -> Path:
    """The file of one of `SHIPPED`."""
    return bundled_folder() / "evaluation" / f"{name}.jsonl"


def find_set(text: str, environment: Mapping[str, str]) -> DatasetLocation:
    """Finds a data set by what a user calls it.

    Args:
        text: One of `SHIPPED`, a path, or `hf://datasets/org/name@revision/FILES`, where FILES is a
            path in the repository or a pattern such as `data/test-*.parquet`.
        environment: The process's variables, for the place of the Hugging Face cache.

    Raises:
        ConfigError: There is nothing of that name, or FILES fits no file or leaves several splits.
        EnvironmentFault: The data set is not in the local cache; the message names the command
            that gets it. Or the system does not let it be looked for.
    """
    with looking_for("data set", text):
        return _found(text, environment)


def _found(text: str, environment: Mapping[str, str]) -> DatasetLocation:
    if text in SHIPPED:
        return local_set(shipped_file(text))
    if text.startswith(HUB):
        return _hub_set(text.removeprefix(HUB), environment)
    path = Path(text)
    if not path.exists():
        raise ConfigError(
            f"There is no data set {text}: expected {', '.join(SHIPPED)}, a file, a folder, or "
            f"{HUB}org/name/FILES."
        )
    return local_set(path)


def _hub_set(text: str, environment: Mapping[str, str]) -> DatasetLocation:
    organisation, _, rest = text.partition("/")
    name, _, pattern = rest.partition("/")
    wanted = parse_hub_id(f"{organisation}/{name}", RepositoryKind.DATASET)
    if wanted is None or not _is_pattern(pattern):
        raise ConfigError(
            f"{HUB}{text} is no data set: expected {HUB}org/name, or {HUB}org/name@revision/FILES."
        )
    snapshot = find_snapshot(wanted, cache_folder(environment))
    files = sorted(
        path
        for path in snapshot.folder.glob(pattern or "**/*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    if not files:
        raise ConfigError(
            f"The local cache has no file {pattern or '*'} of {wanted.repository} that ends in "
            f"{', '.join(ENDINGS)}. What is there: {_listed(snapshot.folder)}."
        )
    if not pattern and len(files) > 1:
        raise ConfigError(
            f"{wanted.repository} has {len(files)} files of rows: {_listed(snapshot.folder)}. Say "
            f"which by a path or a pattern, such as {HUB}{wanted.repository}/data/test-*.parquet."
        )
    folder = files[0].parent if len(files) == 1 else snapshot.folder
    return DatasetLocation(
        f"{wanted.repository}@{snapshot.commit[:12]}",
        tuple(files),
        # Without links, but for the file's own: it is one into the blobs.
        folder.resolve(),
        snapshot.repository.resolve(),
    )


def _is_pattern(text: str) -> bool:
    """Whether a pattern stays in its folder, and `Path.glob` takes it."""
    inside = ".." not in text and not text.startswith("/")
    return inside and all(part == "**" or "**" not in part for part in text.split("/"))


_SHOWN = 8


def _listed(folder: Path) -> str:
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more
