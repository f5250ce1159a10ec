"""Detects adapters, such as LoRA, which cannot be served alone, and says how to merge them.

The layout is that of the library peft, which saves `adapter_config.json` and
`adapter_model.safetensors` (https://huggingface.co/docs/peft/developer_guides/checkpoint).
"""

from __future__ import annotations

import shlex
from pathlib import Path

from silkline.models.documents import read_document
from silkline.models.printable import printable

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
BASE = "base_model_name_or_path"
"""Key of `ADAPTER`: the model that the adapter was trained on."""

_MERGED = "MERGED"


def adapter_refusal(folder: Path) -> str | None:
    """Why an adapter cannot be served, with the command that merges it; None if there is none.

    Raises:
        ConfigError: adapter_config.json is damaged.
    """
    if not (folder / ADAPTER).is_file():
        return None
    config = read_document(folder / ADAPTER, ADAPTER)
    kind = printable(config.text("peft_type") or "LoRA")
    base = config.text(BASE)
    if not base:
        return (
            f"it holds an adapter ({kind}) without its base model, and its {ADAPTER} does not name "
            f"one ({BASE}). Merge it into the model that it was trained on: "
            f"{_merging(folder, '--base', 'BASE')}"
        )
    return (
        f"it holds an adapter ({kind}) for {printable(base)}, which is not a model by itself. "
        f"Merge it first: {_merging(folder)}"
    )


def _merging(folder: Path, *options: str) -> str:
    """The commands that write the merged model and serve it."""
    adapter = printable(str(folder.absolute()), 1000)
    merge = shlex.join(("silkline", "merge", adapter, *options, "--out", _MERGED))
    return f"{merge} && silkline up {_MERGED}"
