"""What is asked and what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Value = str | int | float | bool | None
"""What a field of a record may hold."""


class ImageKind(Enum):
    """How a data set gives a picture."""

    FILE = "a file"
    URL = "an http, https or data URL"
    BASE64 = "Base64 text"


@dataclass(frozen=True, slots=True)
class ItemImage:
    """Where a picture comes from.

    Attributes:
        kind: How to read `text`.
        text: Absolute path, URL or Base64.
    """

    kind: ImageKind
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a data set.

    Attributes:
        id: Its name, unique in the set.
        key: Digest of the id, the prompt and the picture: what an answer is kept under.
        picture: What it is about.
        prompt: What is asked, choices included.
        references: Texts that are right; several where several people answered.
        record: The right record, where the answer is to be JSON; `references` is empty then.
        choices: What may be chosen from; the only reference is one of them.
        fields: Further named values, to slice by.
    """

    id: str
    key: str
    image: ItemImage
    prompt: str
    references: tuple[str, ...] = ()
    record: Mapping[str, Value] | None = None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)


class Kind(Enum):
    """What a data set holds to compare answers with; the same for all its items."""

    TEXT = "reference texts"
    CHOICE = "choices"
    RECORD = "reference records"
    NONE = "no references"


def kind_of(item: Item) -> Kind:
    """What an item's answer is compared with."""
    if item.record is not None:
        return Kind.RECORD
    if item.choices:
        return Kind.CHOICE
    return Kind.TEXT if item.references else Kind.NONE
