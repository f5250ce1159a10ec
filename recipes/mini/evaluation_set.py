"""Write held-out pictures as a data set: ``python -m recipes.mini.evaluation_set DIR``.

The folder gets one JPEG a scene and ``held-out.jsonl``, as ``silkline evaluate --data`` reads it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from PIL import Image

from recipes.mini.render import render
from recipes.mini.scene import TEST_SEEDS, Scene, sample_scene
from recipes.mini.wordings import RECORD_QUESTION

SIZES: Final = (96, 128, 192)
"""Sides of the pictures in turn, in pixels."""

_QUALITY: Final = 85


def write_set(folder: Path, count: int, skip: int = 0) -> None:
    """Write ``count`` test scenes, leaving out the first ``skip``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, seed in enumerate(TEST_SEEDS[skip : skip + count]):
        scene = sample_scene(seed)
        name = f"{number:03}.jpg"
        picture = Image.fromarray(render(scene, SIZES[number % len(SIZES)]).picture)
        picture.save(folder / name, "JPEG", quality=_QUALITY, optimize=True)
        rows.append(json.dumps(_row(scene, name), ensure_ascii=False))
    (folder / "held-out.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


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
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=64, help="pictures")
    parser.add_argument("--skip", type=int, default=0, help="test scenes to leave out")
    arguments = parser.parse_args()
    write_set(arguments.folder, arguments.n, arguments.skip)


if __name__ == "__main__":
    main()
