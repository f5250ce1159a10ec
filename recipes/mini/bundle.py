"""The manifest ``bundle.json`` of the shipped model and the checks on its files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from recipes.mini.card import model_card
from recipes.mini.chat import CONTEXT_LENGTH
from recipes.mini.vocabulary import GRID, PICTURE_SIZE

DEFAULT_BUNDLE: Final = Path(__file__).resolve().parents[2] / "src" / "silkline" / "models" / "mini"
"""Where the package keeps the model."""

SIZE_LIMIT: Final = 14_500_000
_EVALUATION: Final = "evaluation"
_UNLISTED: Final = frozenset({"bundle.json", "MODEL_CARD.md"})
_FORBIDDEN: Final = re.compile(rb"/(?:home|root|tmp|work|mnt|opt|Users)/|https?://(?!www\.w3\.org)")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shipped_files(bundle: Path) -> list[Path]:
    """Return all model files below ``bundle`` in a fixed order.

    Python, the manifest and the evaluation set are no part of what is served.
    """
    return sorted(
        path for path in bundle.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name not in _UNLISTED
        and _EVALUATION not in path.relative_to(bundle).parts
    )  # fmt: skip


def check_clean(bundle: Path) -> None:
    """Refuse local paths and addresses in shipped text files."""
    for path in shipped_files(bundle):
        if path.suffix in {".bin", ".safetensors"}:
            continue
        found = _FORBIDDEN.search(path.read_bytes())
        if found:
            raise ValueError(f"{path.name} contains {found.group().decode()!r}")


def write_manifest(bundle: Path, parameters: int, vision_precision: str) -> dict[str, Any]:
    """Write ``bundle.json`` and the model card for the files now in ``bundle``."""
    check_clean(bundle)
    files = shipped_files(bundle)
    size = sum(path.stat().st_size for path in files)
    if size > SIZE_LIMIT:
        raise ValueError(f"the bundle has {size} bytes, more than {SIZE_LIMIT}")
    digests = {path.relative_to(bundle).as_posix(): digest(path) for path in files}
    weights = [v for k, v in digests.items() if k.endswith((".safetensors", ".bin"))]
    whole = {"path": ".", "precision": "float16", "chat_template": "chat_template.jinja"}
    manifest: dict[str, Any] = {
        "schema": 1,
        "name": "silkline-mini",
        "family": "llava",
        "revision": hashlib.sha256("".join(weights).encode()).hexdigest()[:16],
        "license": "Apache-2.0",
        "context_length": CONTEXT_LENGTH,
        "image_tokens": GRID * GRID,
        "image_size": PICTURE_SIZE,
        "parameters": parameters,
        "bytes": size,
        "engines": {
            "openvino": {
                "path": "openvino", "precision": "int8", "vision_precision": vision_precision,
                "chat_template": "openvino/chat_template.jinja",
            },
            "torch": whole,
            "transformers": whole,
        },
        "preprocessing": {
            "mode": "RGB", "resize": {"shortest_edge": PICTURE_SIZE, "filter": "bicubic"},
            "crop": {"height": PICTURE_SIZE, "width": PICTURE_SIZE, "position": "centre"},
            "rescale": "1/255", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            "layout": "NCHW",
        },
        "files": digests,
        "evaluation": {},
    }  # fmt: skip
    _save(bundle, manifest)
    return manifest


def record_evaluation(bundle: Path, result: dict[str, Any], key: str) -> None:
    """Store measurements under ``evaluation`` and render the card again."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["evaluation"][key] = result
    _save(bundle, manifest)


def _save(bundle: Path, manifest: dict[str, Any]) -> None:
    (bundle / "bundle.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (bundle / "MODEL_CARD.md").write_text(model_card(manifest))
