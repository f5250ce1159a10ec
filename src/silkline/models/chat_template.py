"""Reads a model's chat template: the Jinja template that turns a conversation into a prompt."""

from __future__ import annotations

from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.added_tokens import TOKENIZER_CONFIG
from silkline.models.documents import read_document
from silkline.models.stand_in import stand_in

CHAT_TEMPLATE = "chat_template.jinja"


def read_chat_template(*folders: Path) -> str | None:
    """Reads a model's chat template from the first file that has one, in transformers' order.

    Raises:
        ConfigError: A file is damaged, or is only a stand-in such as a Git LFS pointer.
    """
    for folder in folders:
        plain = folder / CHAT_TEMPLATE
        if plain.is_file():
            return _text(plain)
        for name in ("chat_template.json", "processor_config.json", TOKENIZER_CONFIG):
            template = read_document(folder / name, name).values.get("chat_template")
            if isinstance(template, list):  # several named templates
                tables = (entry for entry in template if isinstance(entry, dict))
                named = {entry.get("name"): entry.get("template") for entry in tables}
                template = named.get("default")
            if isinstance(template, str):
                return template
    return None


def _text(path: Path) -> str:
    try:
        if instead := stand_in(path):
            raise ConfigError(f"{path.name} {instead}.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} is not text in UTF-8. Download it again.") from error
