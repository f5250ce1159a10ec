"""Checkpoints of a training: one file with all tensors, written whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from silkline.distil.curve import Point
from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.stores.whole_file import replace_file

_PROGRESS = "progress"


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training is.

    Attributes:
        identity: Digest of what is trained and how; a checkpoint continues only the same training.
        step: Steps done.
        seconds: Seconds that they took.
        best: Smallest held-out loss so far; None before the first evaluation.
        best_step: After how many steps it was measured.
        stopped: Whether the training stopped early.
        points: The learning curve.
    """

    identity: str
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    stopped: bool = False
    points: tuple[Point, ...] = ()


def write_checkpoint(
    path: Path, groups: Mapping[str, Mapping[str, Tensor]], progress: Progress
) -> None:
    """Replaces a checkpoint: after a crash it is the old or the new one.

    Args:
        path: The file.
        groups: Tensors by group and name.
        progress: How far the training is.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    tensors = {
        f"{group}/{name}": value.detach().cpu().contiguous().clone()
        for group, named in groups.items()
        for name, value in named.items()
    }
    encoded = msgspec.json.encode(progress).decode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, save(tensors, metadata={_PROGRESS: encoded}))
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from error


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], Progress] | None:
    """Reads a checkpoint: its tensors by group and name, and how far it is; None if there is none.

    Raises:
        ConfigError: The file is not a checkpoint.
    """
    if not path.exists():
        return None
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            progress = msgspec.json.decode(
                (file.metadata() or {}).get(_PROGRESS, ""), type=Progress
            )
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, *UNDECODABLE) as error:
        raise ConfigError(
            f"{path} is not a checkpoint of silkline. Remove it, or choose another folder."
        ) from error
    return groups, progress
