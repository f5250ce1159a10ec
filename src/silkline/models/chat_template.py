"""The template by which a model wants its conversations written."""

from __future__ import annotations

from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.added_tokens import TOKENIZER_CONFIG
from silkline.models.documents import read_document
from silkline.models.stand_in import stand_in

CHAT_TEMPLATE = "chat_template.jinja"


def read_chat_template(*folders: Path) -> str | None:
    """The chat template of a model, from the first file that has one, as transformers looks.

    Raises:
        ConfigError: A file is damaged, or something else stands in its place, such as a Git LFS
            pointer.
    """
    for folder in folders:
        plain = folder / CHAT_TEMPLATE
        if plain.is_file():
            return _text(plain)
        for name in ("chat_template.json", "processor_config.json", TOKENIZER_CONFIG):
            template = read_document(folder / name, name).values.get("chat_template")
            if isinstance(template, list):  # several, by name
                tables = (each for each in template if isinstance(each, dict))
                named = {each.get("name"): each.get("template") for each in tables}
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
