"""Finds a data set: a bundled one, a file, a folder, or a hub data set in the local cache."""

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
"""Prefix of hub data sets, as in fsspec: `hf://datasets/org/name@revision/FILES`.

https://huggingface.co/docs/huggingface_hub/guides/hf_file_system
"""

HELD_OUT = "held-out"
SHIPPED = (HELD_OUT, "combinations")
"""The data sets of the bundled model. The first has images that were not in the training data; the
second only combinations of colour, pattern and category that were not in it."""


@dataclass(frozen=True, slots=True)
class DatasetLocation:
    """Where a data set is.

    Attributes:
        name: Its name in results.
        sources: Files in reading order, or one folder.
        folder: Base of relative image paths; absolute, without symbolic links.
        bounds: Images must be inside this folder; absolute, without symbolic links.
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
    """The file of a data set in `SHIPPED`."""
    return bundled_folder() / "evaluation" / f"{name}.jsonl"


def find_set(text: str, environment: Mapping[str, str]) -> DatasetLocation:
    """Finds a data set by the name, path or URL that a user gives.

    Args:
        text: One of `SHIPPED`, a path, or `hf://datasets/org/name@revision/FILES`, where FILES is a
            path in the repository or a pattern such as `data/test-*.parquet`.
        environment: The process's environment variables, which locate the Hugging Face cache.

    Raises:
        ConfigError: No data set has that name, or FILES matches no file or leaves several splits.
        EnvironmentFault: The data set is not in the local cache (the message names the command
            that downloads it), or the path cannot be accessed.
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
            f"There is no data set {text}. Expected {', '.join(SHIPPED)}, a file, a folder, or "
            f"{HUB}org/name/FILES."
        )
    return local_set(path)


def _hub_set(text: str, environment: Mapping[str, str]) -> DatasetLocation:
    organisation, _, rest = text.partition("/")
    name, _, pattern = rest.partition("/")
    repository = parse_hub_id(f"{organisation}/{name}", RepositoryKind.DATASET)
    if repository is None or not _is_pattern(pattern):
        raise ConfigError(
            f"{HUB}{text} is no data set. Expected {HUB}org/name or {HUB}org/name@revision/FILES."
        )
    snapshot = find_snapshot(repository, cache_folder(environment))
    files = sorted(
        path
        for path in snapshot.folder.glob(pattern or "**/*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    if not files:
        raise ConfigError(
            f"The local cache has no file {pattern or '*'} of {repository.repository} that ends in "
            f"{', '.join(ENDINGS)}. The cache has: {_listed(snapshot.folder)}."
        )
    if not pattern and len(files) > 1:
        raise ConfigError(
            f"{repository.repository} has {len(files)} data files: {_listed(snapshot.folder)}. "
            "Choose some by a path or a pattern, such as "
            f"{HUB}{repository.repository}/data/test-*.parquet."
        )
    folder = files[0].parent if len(files) == 1 else snapshot.folder
    return DatasetLocation(
        f"{repository.repository}@{snapshot.commit[:12]}",
        tuple(files),
        # Resolve the folder, not the file: in the cache, the file is a link into the blobs.
        folder.resolve(),
        snapshot.repository.resolve(),
    )


def _is_pattern(text: str) -> bool:
    """Whether a pattern stays in its folder and is valid for `Path.glob`."""
    inside = ".." not in text and not text.startswith("/")
    return inside and all(part == "**" or "**" not in part for part in text.split("/"))


_SHOWN = 8


def _listed(folder: Path) -> str:
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more
