"""Items of a data set: a question and its expected answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Value = str | int | float | bool | None
"""The values that a field of a record may have."""


class ImageKind(Enum):
    """How a data set provides an image."""

    FILE = "a file"
    URL = "an http, https or data URL"
    BASE64 = "Base64 text"


@dataclass(frozen=True, slots=True)
class ItemImage:
    """The source of an image.

    Attributes:
        kind: How to read `text`.
        text: Absolute path, URL or Base64.
        digest: Digest of the encoded image; of its URL if it is behind one.
    """

    kind: ImageKind
    text: str = field(repr=False)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a data set.

    Attributes:
        id: Its id, unique in the data set except for duplicates of the question.
        key: Digest of the id, the prompt and the image; answers are stored by it.
        group: Items of the same group are not independent of each other, such as several questions
            about an image; by default the image's digest.
        image: The image.
        prompt: The prompt, including choices.
        references: Correct texts; several if several people answered.
        record: The correct record if the answer must be JSON; `references` is then empty.
        choices: The choices; the single reference is one of them.
        fields: Other named values, to slice results by.
    """

    id: str
    key: str
    group: str
    image: ItemImage
    prompt: str
    references: tuple[str, ...] = ()
    record: Mapping[str, Value] | None = None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)


class Kind(Enum):
    """What a data set's answers are compared with; the same for all its items."""

    TEXT = "reference texts"
    CHOICE = "choices"
    RECORD = "reference records"
    NONE = "no references"


def kind_of(item: Item) -> Kind:
    """The kind of an item: what its answer is compared with."""
    if item.record is not None:
        return Kind.RECORD
    if item.choices:
        return Kind.CHOICE
    return Kind.TEXT if item.references else Kind.NONE
