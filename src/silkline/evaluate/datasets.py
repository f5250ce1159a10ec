"""Loads a data set from a file or a folder and checks its items."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
        name: Its name in results.
        items: At least one, one per row, all of the same kind. Identical rows have the same key:
            they are one question, which counts once per row.
        digest: Digest of all items' keys and references; equal sets have equal digests.
    """

    name: str
    items: tuple[Item, ...]
    digest: str

    @property
    def kind(self) -> Kind:
        """What the set's answers are compared with."""
        return kind_of(self.items[0])

    def of(self, items: Sequence[Item]) -> Dataset:
        """The set with only some of its items, at least one."""
        return Dataset(self.name, tuple(items), _digest(items))

    @property
    def duplicates(self) -> int:
        """The number of items that repeat the question of an earlier row."""
        return len(self.items) - len({item.key for item in self.items})


def load_dataset(
    location: DatasetLocation,
    *,
    prompt: str = "",
    maximum: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Reads and checks a data set.

    Args:
        location: Where the data set is.
        prompt: Replaces the set's own prompts; `{name}` is replaced by that field of the row.
        maximum: Loads only this many items, from the start; None loads all.
        columns: Maps Silkline's field names to the set's column names; `answers.text` takes the
            field `text` of each object in `answers`.

    Raises:
        ConfigError: The set is malformed; the message names the file and the line.
        EnvironmentFault: Its format needs a library that is not installed.
    """
    reading = Reading(location.folder, location.bounds, prompt, _PLACEHOLDER, columns or {})
    drafts = list(_drafts(location, reading, maximum))
    if not drafts:
        raise ConfigError(f"{location.name} is empty: expected rows with {', '.join(FIELDS)}.")
    items = _finished(drafts)
    return Dataset(location.name, items, _digest(items))


def _drafts(location: DatasetLocation, reading: Reading, maximum: int | None) -> Iterator[Draft]:
    """Checks the first `maximum` rows, which must all be of one kind, and yields their drafts."""
    inline = 0
    kind: Kind | None = None
    for count, row in enumerate(_rows(location)):
        if count == maximum:
            break
        draft = read_row(row, reading)
        kind = kind or kind_of(draft.item)
        if kind_of(draft.item) is not kind:
            raise ConfigError(
                f"{row.where} has {kind_of(draft.item).value}, but earlier rows have "
                f"{kind.value}. All rows of a data set must have the same kind. Split the set."
            )
        inline += len(draft.item.image.text)
        if count >= MAX_ITEMS or inline > _MAX_INLINE_CHARS:
            raise ConfigError(
                f"{location.name} has more than {MAX_ITEMS} items or 1 GiB of inline images. "
                "Split it, or give the images as files."
            )
        yield draft


def _finished(drafts: Sequence[Draft]) -> tuple[Item, ...]:
    """Finishes the drafts. Raises `ConfigError` if two different questions have the same id."""
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
                "or reference. Give each question its own id."
            )
        items.append(replace(item, group=known.group))  # one answer, so one observation
    return tuple(items)


def _is_same(item: Item, other: Item) -> bool:
    return (item.key, item.references, item.record) == (other.key, other.references, other.record)


def _rows(location: DatasetLocation) -> Iterator[Row]:
    for source in location.sources:
        yield from read_rows(source)


def _digest(items: Iterable[Item]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for item in items:
        expected = (item.key, item.references, sorted((item.record or {}).items()), item.choices)
        found.update(repr(expected).encode("utf-8", "backslashreplace"))
    return found.hexdigest()
