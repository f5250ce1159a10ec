"""Write held-out pictures as a data set: ``python -m recipes.mini.evaluation_set DIR``.

The folder gets one JPEG a scene and ``held-out.jsonl``, as ``silkline evaluate --data`` reads it;
with ``--combinations``, ``combinations.jsonl``: only what training never showed together.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from PIL import Image

from recipes.mini.render import render
from recipes.mini.scene import COMBINATION_SEEDS, TEST_SEEDS, Scene, combination, sample_scene
from recipes.mini.wordings import RECORD_QUESTION

SIZES: Final = (96, 128, 192)
"""Sides of the pictures in turn, in pixels."""

_QUALITY: Final = 85


def write_set(folder: Path, count: int, skip: int = 0, *, combinations: bool = False) -> None:
    """Write ``count`` scenes of the test split, leaving out the first ``skip``.

    ``combinations`` takes them from the split that shows held-out combinations only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seeds = (COMBINATION_SEEDS if combinations else TEST_SEEDS)[skip : skip + count]
    prefix, name = ("c", "combinations") if combinations else ("", "held-out")
    rows = []
    for number, seed in enumerate(seeds):
        scene = sample_scene(seed)
        file = f"{prefix}{number:03}.jpg"
        picture = Image.fromarray(render(scene, SIZES[number % len(SIZES)]).picture)
        picture.save(folder / file, "JPEG", quality=_QUALITY, optimize=True)
        rows.append(json.dumps(_row(scene, file), ensure_ascii=False))
    (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _row(scene: Scene, picture: str) -> dict[str, Any]:
    label = "none" if scene.label is None else "price" if scene.label[0] == "$" else "word"
    return {
        "id": f"scene-{scene.seed}",
        "picture": picture,
        "prompt": RECORD_QUESTION,
        "reference": scene.record(),
        "category": scene.category,
        "colour": scene.colour,
        "pattern": scene.pattern,
        "count": scene.count,
        "background": scene.background,
        "label": label,
        "combination": combination(scene),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=64, help="pictures")
    parser.add_argument("--skip", type=int, default=0, help="scenes to leave out")
    parser.add_argument("--combinations", action="store_true", help="held-out combinations")
    arguments = parser.parse_args()
    write_set(arguments.folder, arguments.n, arguments.skip, combinations=arguments.combinations)


if __name__ == "__main__":
    main()
