"""Writes easy-VQA as data sets for ``silkline``: ``python -m recipes.easyvqa.evaluation_set DIR``.

``train.jsonl`` has pictures and prompts only, as unlabelled data has. ``validation.jsonl`` and
``test.jsonl`` have the answers. Pictures are copied into ``DIR/pictures``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from recipes.easyvqa.data import Scene, Split, kind_of, scenes


def write_sets(folder: Path) -> None:
    """Write all three sets, unless they are there."""
    for split in Split:
        target = folder / f"{split}.jsonl"
        if not target.exists():
            _write(target, scenes(split), split)


def _write(target: Path, found: list[Scene], split: Split) -> None:
    pictures = target.parent / "pictures" / split
    pictures.mkdir(parents=True, exist_ok=True)
    rows = []
    for scene in found:
        name = f"{scene.number:04}.png"
        shutil.copyfile(scene.path, pictures / name)
        for index, (question, answer) in enumerate(scene.pairs):
            row = {
                "id": f"{split}-{scene.number}-{index}",
                "picture": f"pictures/{split}/{name}",
                "prompt": question,
            }
            if split is not Split.TRAIN:
                row |= {"reference": answer, "kind": kind_of(answer)}
            rows.append(json.dumps(row))
    target.write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    write_sets(parser.parse_args().folder)


if __name__ == "__main__":
    main()
