"""The image-text-to-text classes of the installed transformers, read without importing it.

Importing transformers and torch takes seconds, and `inspect` must not need them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_MAPPING = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"
_FILE = Path("models/auto/modeling_auto.py")

NEEDS_MORE: Mapping[str, str] = {
    "evolla": "it answers questions about proteins, not images",
    "pix2struct": "its prompt is drawn into the image, and it takes no tokens",
    "shieldgemma2": "it rates images, and does not answer questions",
    "udop": "it needs the words of a page and their boxes beside the image",
    "vision-encoder-decoder": "it takes an image alone, without a question",
}
"""Why such a model cannot be asked about images, by `model_type`."""


@cache
def generic_classes() -> Mapping[str, str]:
    """Class names by `model_type`, from transformers' own table; empty if it is not installed."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
    return next(
        (
            dict(ast.literal_eval(node.value.args[0]))
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and any(
                isinstance(target, ast.Name) and target.id == _MAPPING for target in node.targets
            )
        ),
        {},
    )
