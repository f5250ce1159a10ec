"""A pool of rendered pictures on disk, memory-mapped for training.

Layout of a pool folder: ``pictures.u8`` (n, 96, 96, 3), ``coverage.u8`` (n, 8, 8), and
``pool.json`` with the first seed and the number of pictures. The truth is not stored: it
follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.mini.render import render
from recipes.mini.scene import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    Scene,
    sample_scene,
)
from recipes.mini.vocabulary import GRID, PICTURE_SIZE

_CHUNK = 500


@dataclass(frozen=True)
class Pool:
    """Pictures with consecutive seeds: memory-mapped arrays and the truth of each."""

    pictures: NDArray[np.uint8]
    coverage: NDArray[np.uint8]
    scenes: list[Scene]


def _open(folder: Path, count: int, mode: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    shape = (count, PICTURE_SIZE, PICTURE_SIZE, 3)
    pictures = np.memmap(folder / "pictures.u8", np.uint8, mode, shape=shape)  # type: ignore[call-overload]
    coverage = np.memmap(folder / "coverage.u8", np.uint8, mode, shape=(count, GRID, GRID))  # type: ignore[call-overload]
    return pictures, coverage


def _fill(job: tuple[Path, int, int, int]) -> None:
    folder, first_seed, total, start = job
    pictures, coverage = _open(folder, total, "r+")
    for index in range(start, min(start + _CHUNK, total)):
        result = render(sample_scene(first_seed + index))
        pictures[index] = result.picture
        coverage[index] = result.coverage()


def build_pool(folder: Path, seeds: range, processes: int = 2) -> None:
    """Render the pictures of ``seeds`` into ``folder`` unless they are there already."""
    marker = folder / "pool.json"
    content = {"first_seed": seeds.start, "count": len(seeds)}
    if marker.exists() and json.loads(marker.read_text()) == content:
        return
    folder.mkdir(parents=True, exist_ok=True)
    _open(folder, len(seeds), "w+")
    jobs = [(folder, seeds.start, len(seeds), start) for start in range(0, len(seeds), _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        for done, _ in enumerate(workers.imap_unordered(_fill, jobs), 1):
            if done % 40 == 0:
                print(f"rendered {done * _CHUNK} of {len(seeds)}", flush=True)
    marker.write_text(json.dumps(content))


def load_pool(folder: Path) -> Pool:
    """Map a finished pool."""
    content = json.loads((folder / "pool.json").read_text())
    pictures, coverage = _open(folder, content["count"], "r")
    first = content["first_seed"]
    return Pool(pictures, coverage, [sample_scene(first + i) for i in range(content["count"])])


def main() -> None:
    """Command line: render one split into a folder."""
    splits = {"train": TRAIN_SEEDS, "validation": VALIDATION_SEEDS, "test": TEST_SEEDS}
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=splits, default="train")
    parser.add_argument("--count", type=int, default=100_000)
    arguments = parser.parse_args()
    build_pool(arguments.folder, splits[arguments.split][: arguments.count])


if __name__ == "__main__":
    main()
