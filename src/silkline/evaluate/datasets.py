"""Data sets: from a file or a folder to checked items."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from silkline.errors import ConfigError
from silkline.evaluate.choices import resolve
from silkline.evaluate.columns import FIELDS
from silkline.evaluate.dataset_location import DatasetLocation
from silkline.evaluate.fields import Draft, Reading, read_row
from silkline.evaluate.item import Item, Kind, kind_of
from silkline.evaluate.row import Row
from silkline.evaluate.rows import read_rows

MAX_ITEMS = 100_000
_MAX_INLINE_CHARS = 1024 * 1024 * 1024
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Attributes:
        name: What it is called in results.
        items: At least one, one for each row, and all of one kind. Rows that are the same have the
            same key: they are one question, which counts as often as it stands there.
        digest: Of all items' keys and references: sets that are equal have the same.
    """

    name: str
    items: tuple[Item, ...]
    digest: str

    @property
    def kind(self) -> Kind:
        """What answers are compared with."""
        return kind_of(self.items[0])

    @property
    def duplicates(self) -> int:
        """How many items repeat the question of an earlier row."""
        return len(self.items) - len({item.key for item in self.items})


def load_dataset(
    place: DatasetLocation,
    *,
    prompt: str = "",
    maximum: int | None = None,
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
    reading = Reading(place.folder, place.bounds, prompt, _PLACEHOLDER, columns or {})
    drafts = list(_drafts(place, reading, maximum))
    if not drafts:
        raise ConfigError(f"{place.name} is empty: expected rows with {', '.join(FIELDS)}.")
    items = _finished(drafts)
    return Dataset(place.name, items, _digest(items))


def _drafts(place: DatasetLocation, reading: Reading, maximum: int | None) -> Iterator[Draft]:
    """The checked rows, the first `most` of them; all hold the same to compare answers with."""
    inline = 0
    kind: Kind | None = None
    for count, row in enumerate(_rows(place)):
        if count == maximum:
            break
        draft = read_row(row, reading)
        kind = kind or kind_of(draft.item)
        if kind_of(draft.item) is not kind:
            raise ConfigError(
                f"{row.where} has {kind_of(draft.item).value}, but the rows before it have "
                f"{kind.value}. All rows of a set have the same; split it."
            )
        inline += len(draft.item.image.text)
        if count >= MAX_ITEMS or inline > _MAX_INLINE_CHARS:
            raise ConfigError(
                f"{place.name} has more than {MAX_ITEMS} items or 1 GiB of images in itself. "
                "Split it, or give the images as files."
            )
        yield draft


def _finished(drafts: Sequence[Draft]) -> tuple[Item, ...]:
    """The items; two of the same id are the same question, or an error."""
    picks = [draft.pick for draft in drafts if draft.pick is not None]
    chosen = iter(resolve(picks))
    items: list[Item] = []
    first: dict[str, tuple[Item, str]] = {}
    for draft in drafts:
        item = draft.finish(None if draft.pick is None else next(chosen))
        known, where = first.setdefault(item.id, (item, draft.where))
        if not _is_same(known, item):
            raise ConfigError(
                f"{draft.where} has the same id as {where}, {item.id}, but another image, prompt "
                "or reference. Give each its own id."
            )
        items.append(item)
    return tuple(items)


def _is_same(one: Item, other: Item) -> bool:
    return (one.key, one.references, one.record) == (other.key, other.references, other.record)


def _rows(place: DatasetLocation) -> Iterator[Row]:
    for source in place.sources:
        yield from read_rows(source)


def _digest(items: Iterable[Item]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for item in items:
        right = (item.key, item.references, sorted((item.record or {}).items()), item.choices)
        found.update(repr(right).encode("utf-8", "backslashreplace"))
    return found.hexdigest()
