"""Write the example pictures of the docs: ``python -m recipes.mini.examples DIR``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from PIL import Image

from recipes.mini.render import render
from recipes.mini.scene import Scene, sample_scene

SIZE: Final = 384
MAX_BYTES: Final = 30_000

_FIRST_SEED: Final = 20_000_000
_WANTED: Final[dict[str, dict[str, Any]]] = {
    "red-mug": {"category": "mug", "colour": "red", "pattern": "plain"},
    "blue-striped-t-shirt": {"category": "t-shirt", "colour": "blue", "pattern": "striped"},
    "yellow-dotted-umbrella": {"category": "umbrella", "colour": "yellow", "pattern": "dotted"},
    "green-sofa": {"category": "sofa", "colour": "green", "pattern": "plain",
                   "background": "shelf"},
    "two-pink-checked-handbags": {"category": "handbag", "colour": "pink", "pattern": "checked",
                                  "count": 2},
    "black-headphones-sale": {"category": "headphones", "colour": "black", "label": "SALE"},
    "white-teapot-price": {"category": "teapot", "colour": "white", "pattern": "plain",
                           "label": "$25"},
    "orange-backpack": {"category": "backpack", "colour": "orange", "pattern": "plain",
                        "background": "gradient"},
}  # fmt: skip


def example_scenes() -> dict[str, Scene]:
    """Return the example scenes by file name without ending."""
    quiet = {"count": 1, "background": "plain", "label": None}
    return {
        name: sample_scene(_FIRST_SEED + number, **{**quiet, **fields})
        for number, (name, fields) in enumerate(_WANTED.items())
    }


def write_examples(folder: Path) -> None:
    """Write one JPEG of at most ``MAX_BYTES`` a scene, and ``truth.json`` with the records."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = example_scenes()
    for name, scene in scenes.items():
        picture = Image.fromarray(render(scene, SIZE).picture)
        path = folder / f"{name}.jpg"
        for quality in (88, 80, 70, 60, 50):
            picture.save(path, "JPEG", quality=quality, optimize=True)
            if path.stat().st_size <= MAX_BYTES:
                break
    truth = {f"{name}.jpg": scene.record() for name, scene in scenes.items()}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_examples(parser.parse_args().folder)


if __name__ == "__main__":
    main()
