"""The original model, as the export asks it before it converts anything."""

import json
from pathlib import Path

import pytest
import torch

from silkline.core import Image
from silkline.engines.openvino.export.original import load_original
from silkline.models.token_rules import read_documents
from tests.engines.torch.tiny import TINY, save


@pytest.mark.parametrize("names", [None, ["input_ids", "token_type_ids", "attention_mask"]])
def test_inputs_that_the_model_does_not_take_are_left_out(
    names: list[str] | None, tmp_path: Path
) -> None:
    tiny = next(each for each in TINY if each.model_type == "llava")
    save(tiny, tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    tokenizer = json.loads(settings.read_text())
    tokenizer.pop("model_input_names")
    if names is not None:
        tokenizer["model_input_names"] = names
    settings.write_text(json.dumps(tokenizer))
    original = load_original(tmp_path, read_documents(tmp_path), torch.float32)

    tokens, first = original.ask("what", Image(32, 32, bytes(32 * 32 * 3), "black"), 4)

    assert len(tokens) == 4
    assert tokens[0] == first.index(max(first))
