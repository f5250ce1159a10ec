"""Data sets: from a file or a folder to checked items."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import DatasetLocation
from silkline.evaluate.fields import TEXT_FIELDS, Reading, read_item
from silkline.evaluate.item import Item, Kind, kind_of
from silkline.evaluate.rows import Row, read_rows

MAX_ITEMS = 100_000
_MAX_INLINE_CHARS = 1024 * 1024 * 1024
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Attributes:
        name: What it is called in results.
        items: At least one; ids and keys are unique, and all are of one kind.
        digest: Of all items' keys and references: sets that are equal have the same.
    """

    name: str
    items: tuple[Item, ...]
    digest: str

    @property
    def kind(self) -> Kind:
        """What answers are compared with."""
        return kind_of(self.items[0])


def load_dataset(
    place: DatasetLocation,
    *,
    prompt: str = "",
    most: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Reads and checks a data set.

    Args:
        place: Where it lies.
        prompt: Asked instead of the set's own prompts; `{name}` stands for a field of the item.
        most: Takes only so many items, the first.
        columns: From Silkline's names of fields to the set's own; `answers.text` takes the field
            `text` of each of `answers`.

    Raises:
        ConfigError: It is malformed; the message names the file and the line.
        EnvironmentFault: Its format needs a library that is not installed.
    """
    reading = Reading(place.folder, place.bounds, prompt, _PLACE, columns or {})
    items: list[Item] = []
    places: dict[str, str] = {}
    inline = 0
    for row in _rows(place):
        if len(items) == most:
            break
        item = read_item(row, reading)
        if item.id in places:
            raise ConfigError(
                f"{row.where} is the same as {places[item.id]}: both have the id {item.id}. Leave "
                "one out, or give each its own id."
            )
        places[item.id] = row.where
        if items and kind_of(item) is not kind_of(items[0]):
            raise ConfigError(
                f"{row.where} has {kind_of(item).value}, but the rows before it have "
                f"{kind_of(items[0]).value}. All rows of a set have the same; split it."
            )
        inline += len(item.picture.text)
        items.append(item)
        if len(items) > MAX_ITEMS or inline > _MAX_INLINE_CHARS:
            raise ConfigError(
                f"{place.name} has more than {MAX_ITEMS} items or 1 GiB of pictures in itself. "
                "Split it, or give the pictures as files."
            )
    if not items:
        raise ConfigError(
            f"{place.name} is empty: expected rows with {', '.join(TEXT_FIELDS)} and a picture."
        )
    return Dataset(place.name, tuple(items), _digest(items))


def _rows(place: DatasetLocation) -> Iterator[Row]:
    for source in place.sources:
        yield from read_rows(source)


def _digest(items: Iterable[Item]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for item in items:
        right = (item.key, item.references, sorted((item.record or {}).items()), item.choices)
        found.update(repr(right).encode("utf-8", "backslashreplace"))
    return found.hexdigest()
