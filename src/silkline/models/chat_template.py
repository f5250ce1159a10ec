"""The template by which a model wants its conversations written."""

from __future__ import annotations

from pathlib import Path

from silkline.models.added_tokens import TOKENIZER_CONFIG
from silkline.models.documents import read_document

CHAT_TEMPLATE = "chat_template.jinja"


def read_chat_template(*folders: Path) -> str | None:
    """The chat template of a model, from the first file that has one, as transformers looks.

    Raises:
        ConfigError: A file is damaged.
    """
    for folder in folders:
        plain = folder / CHAT_TEMPLATE
        if plain.is_file():
            return plain.read_text(encoding="utf-8")
        for name in ("chat_template.json", "processor_config.json", TOKENIZER_CONFIG):
            template = read_document(folder / name, name).values.get("chat_template")
            if isinstance(template, list):  # several, by name
                tables = (each for each in template if isinstance(each, dict))
                named = {each.get("name"): each.get("template") for each in tables}
                template = named.get("default")
            if isinstance(template, str):
                return template
    return None
