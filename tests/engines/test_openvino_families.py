"""The table of docs/openvino.md: which families are exported, by what, and how they answer."""

from pathlib import Path

from silkline.engines.openvino.export.environment import export_environment
from silkline.engines.openvino.support import EXPORTED_MODEL_TYPES, OPENVINO_MODEL_TYPES

DOCS = Path(__file__).parents[2] / "docs" / "openvino.md"

EXACT = "all, token for token"
ANSWERS = {
    "llava": f"{EXACT}; prompts and pixels too",
    "qwen2_vl": EXACT,
    "qwen2_5_vl": EXACT,
    "qwen3_vl": EXACT,
    "qwen3_5": EXACT,
    "gemma4": EXACT,
    "gemma3": "text token for token; with images 5 of 12 to the end (where they part, the two "
    "likeliest tokens lie within 0.1)",
    "llava_next": "first tokens 6 of 6; whole answers 2 of 6: GenAI scales its tiles with a filter "
    "of its own",
}
"""What `test_openvino_user_models.py` holds each family to."""


def families_table() -> str:
    """The table of docs/openvino.md."""
    rows = ["| `model_type` | environment | transformers | optimum-intel | answers |"]
    rows.append("|---|---|---|---|---|")
    for model_type, answers in ANSWERS.items():
        group = EXPORTED_MODEL_TYPES[model_type]
        pins = export_environment(group, {}).pins
        versions = f"{pins['transformers']} | {pins['optimum-intel']}"
        rows.append(f"| `{model_type}` | `{group}` | {versions} | {answers} |")
    return "\n".join(rows)


def test_every_exported_family_is_in_the_table() -> None:
    assert EXPORTED_MODEL_TYPES.keys() == ANSWERS.keys()
    assert EXPORTED_MODEL_TYPES.keys() <= OPENVINO_MODEL_TYPES


def test_the_page_has_this_table() -> None:
    assert families_table() in DOCS.read_text(encoding="utf-8"), families_table()
