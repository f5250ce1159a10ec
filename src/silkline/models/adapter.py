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
    base = config.text("base_model_name_or_path")
    if not base:
        return (
            f"it holds an adapter ({kind}) without its base model, and its {ADAPTER} does not name "
            f"one (base_model_name_or_path). Merge it into the model that it was trained on: "
            f"{_merging('BASE', folder)}"
        )
    return (
        f"it holds an adapter ({kind}) for {printable(base)}, which is not a model by itself. "
        f"Merge it first: {_merging(base, folder)}"
    )


def _merging(base: str, folder: Path) -> str:
    """The commands that write the merged model and serve it."""
    model, adapter = repr(printable(base)), repr(printable(str(folder.absolute()), 1000))
    program = (
        "from peft import PeftModel; "
        "from transformers import AutoModelForImageTextToText, AutoProcessor; "
        f"model = AutoModelForImageTextToText.from_pretrained({model}, dtype='auto'); "
        f"PeftModel.from_pretrained(model, {adapter}).merge_and_unload()"
        f".save_pretrained('{_MERGED}'); "
        f"AutoProcessor.from_pretrained({model}).save_pretrained('{_MERGED}')"
    )
    merge = shlex.join(("python", "-c", program))
    return f"pip install peft && {merge} && silkline up {_MERGED}"
