"""Validates a row of a data set and converts it to an `Item`; rejects hostile rows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import ConfigError
from silkline.evaluate.choices import MAX_CHOICES, Pick
from silkline.evaluate.columns import ALIASES, Named, name_fields, written
from silkline.evaluate.item import ImageKind, Item, ItemImage, Value
from silkline.evaluate.row import Row, listed

_MAX_TEXT = 100_000
_MAX_REFERENCES = 100
_MAX_RECORD_FIELDS = 64
_MAX_NAME = 100
_MAX_SLICE_VALUE = 100
_MAX_PATH = 4096
_MAX_FILE_BYTES = 64 * 1024 * 1024
_HAS_SCHEME = re.compile(r"(https?|data):", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")
_MIN_BASE64 = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """Options for reading the rows of a data set.

    Attributes:
        folder: Base of relative image paths; absolute, without symbolic links.
        bounds: Images must be inside this folder; absolute, without symbolic links.
        prompt: Replaces the rows' own prompts; empty keeps them.
        placeholder: Pattern of a field's placeholder in `prompt`.
        columns: Maps Silkline's field names to the set's column names; see `load_dataset`.
    """

    folder: Path
    bounds: Path
    prompt: str
    placeholder: re.Pattern[str]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated row; its correct choice is resolved once all rows of the set are read.

    Attributes:
        where: File and line, for messages.
        item: The item without a key; also without an id if the row has none, and without
            references if it has choices.
        content: Identifies the image: a digest, URL or Base64 text.
        pick: The reference to one of the choices; None if there are no choices.
    """

    where: str
    item: Item
    content: str
    pick: Pick | None

    def finish(self, choice: str | None) -> Item:
        """Completes the item; `choice` is its correct choice, None if it has no choices."""
        references = self.item.references if choice is None else (choice,)
        record = [] if self.item.record is None else [_canonical(self.item.record)]
        prompt = self.item.prompt
        identity = self.item.id or _digest(prompt, self.content, *references, *record)[:12]
        key = _digest(identity, prompt, self.content)
        return replace(self.item, id=identity, key=key, references=references)


def read_row(row: Row, reading: Reading) -> Draft:
    """Validates a row.

    Raises:
        ConfigError: A field is missing, of the wrong type or too long; the message names the line.
    """
    named, where = name_fields(row, reading.columns), row.where
    image, content = _image(named, reading)
    choices = _choices(named)
    value = _reference_value(named)
    pick = _pick(named, value, choices) if choices else None
    references, record = ((), None) if choices else _reference(value, where)
    prompt = _prompt(named, reading)
    if choices:
        prompt = "\n".join([prompt, *map(_choice, string.ascii_uppercase, choices)])
        prompt += "\nAnswer with the letter of the right choice."
    item = Item(
        id=_name(named, "id"),
        key="",
        group=_name(named, "group") or image.digest,
        image=image,
        prompt=prompt,
        references=references,
        record=record,
        choices=choices,
        fields=_slice_fields(named.others),
    )
    return Draft(where, item, content, pick)


def _present(value: object) -> Any:
    """The value, or None for the NaN that data frames use for a missing value."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _canonical(record: Mapping[str, Value]) -> str:
    return msgspec.json.encode(record, order="sorted").decode()


def _choice(letter: str, text: str) -> str:
    return f"{letter}. {text}"


def _digest(*texts: str) -> str:
    """A digest of several texts, each prefixed by its length."""
    found = hashlib.blake2b(digest_size=12)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(8))
        found.update(encoded)
    return found.hexdigest()


def _text(value: object, name: str, where: str, maximum: int = _MAX_TEXT) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, list | dict):
        raise ConfigError(f"{where}: {name} is a list or an object. Expected text.")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} is not text. Put it in quotes.")
    if len(value) > maximum:
        raise ConfigError(
            f"{where}: {name} has {len(value)} characters; at most {maximum} are allowed."
        )
    if not value.isprintable() and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{where}: {name} contains half of a surrogate pair. Use valid Unicode."
            ) from error
    return value


def _name(named: Named, field: str) -> str:
    """A short name; empty if the row has none."""
    where, value = named.row.where, _present(named.known.get(field))
    found = "" if value is None else _text(value, field, where, _MAX_NAME)
    if not found.isprintable():
        raise ConfigError(
            f"{where}: the {field} is not printable. Use letters, digits and punctuation."
        )
    return found


def _prompt(named: Named, reading: Reading) -> str:
    where = named.row.where
    if not reading.prompt:
        value = _present(named.known.get("prompt"))
        if value is None or value == "":
            raise named.missing("prompt", "what to ask, or one prompt for all by --prompt,")
        text = _text(value, "prompt", where)
        hint = _present(named.find("hint")) if named.lettered else None
        return text if hint is None else f"{_text(hint, 'hint', where)}\n{text}"

    def put(match: re.Match[str]) -> str:
        name = match[1]
        value = _present(named.find(name))
        if value is None:
            raise ConfigError(
                f"{where} has no field {name}, which the prompt names. It has "
                f"{listed(named.row.values)}."
            )
        return _text(value, name, where)

    return reading.placeholder.sub(put, reading.prompt)


def _slice_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """The values of a row that are short and simple enough to slice by."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if not _is_name(name) or not isinstance(value, str | int | bool):
            continue
        text = str(value)
        if len(text) <= _MAX_SLICE_VALUE and text.isprintable():
            found[name] = text
    return found


def _image(named: Named, reading: Reading) -> tuple[ItemImage, str]:
    """The image, and a text that identifies it."""
    value, where = named.known.get("picture"), named.row.where
    if isinstance(value, dict):  # the format of the hub's Parquet files
        if isinstance(value.get("bytes"), bytes):
            value = base64.b64encode(value["bytes"]).decode("ascii")
        else:
            value = value.get("path")
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode("ascii")
    if not isinstance(value, str) or not value.strip():
        raise named.missing("picture", "a path, an http, https or data URL, or Base64 text")
    value = value.strip()
    if _HAS_SCHEME.match(value):
        return ItemImage(ImageKind.URL, value, _identity(value)), value
    path = _inside(value, reading)
    if path is None and len(value) >= _MIN_BASE64 and _BASE64.match(value):
        return ItemImage(ImageKind.BASE64, value, _identity(value)), value
    if path is None:
        shown = value if len(value) <= _MAX_NAME and value.isprintable() else "given"
        raise ConfigError(
            f"{where}: the image {shown} in column {named.columns['picture']} is not a file inside "
            "the data set's folder, a URL or Base64 text."
        )
    digest = _digest_of_file(path, where)
    return ItemImage(ImageKind.FILE, str(path), digest), digest


def _identity(value: str) -> str:
    """Digest of an inline image, the same as that of a file with these bytes; else of the URL."""
    inline = value if _HAS_SCHEME.match(value) is None else value.partition(";base64,")[2]
    try:
        content = base64.b64decode(inline, validate=True)
    except binascii.Error:
        content = b""
    return hashlib.blake2b(content or value.encode("utf-8", "surrogatepass")).hexdigest()


def _inside(value: str, reading: Reading) -> Path | None:
    """The file of a path; None if there is none inside the data set's folder.

    A downloaded data set must not be able to send local images to a remote server.
    """
    if len(value) > _MAX_PATH:  # resolving a long Base64 text takes quadratic time
        return None
    try:
        path = (reading.folder / value).resolve()
        return path if path.is_relative_to(reading.bounds) and path.is_file() else None
    except (OSError, ValueError):  # too long for a path, or contains a NUL
        return None


def _digest_of_file(path: Path, where: str) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(
                f"{where}: the image {path.name} is larger than {_MAX_FILE_BYTES} bytes."
            )
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{where}: the image {path.name} cannot be read: {error.strerror}."
        ) from error


def _choices(named: Named) -> tuple[str, ...]:
    where = named.row.where
    value: object = _present(named.known.get("choices")) or list(named.lettered)
    if isinstance(value, str):  # choices are a list in every format
        value = written(value, where, named.columns["choices"])
    if not isinstance(value, list):
        raise ConfigError(
            f"{where}: choices, in column {named.columns['choices']}, is not a list. Expected a "
            'list of texts, such as ["red", "blue"].'
        )
    present = _without_missing(value)
    if present != value[: len(present)]:
        raise ConfigError(
            f"{where}: a choice is missing before the last one. Expected a text for each."
        )
    found = tuple(_text(choice, "a choice", where) for choice in present)
    if found and not 1 < len(set(found)) == len(found) <= MAX_CHOICES:
        raise ConfigError(
            f"{where} has {len(found)} choices. Expected 2 to {MAX_CHOICES} different ones."
        )
    return found


def _without_missing(values: Sequence[object]) -> list[object]:
    return [value for value in values if _present(value) is not None]


def _reference_value(named: Named) -> object:
    """The reference of a row; parses a list or object that is written in a CSV cell.

    A list of numbers in a cell stays text: it is most likely a bounding box.
    """
    value: object = _present(named.known.get("reference"))
    if named.row.header is None:
        return value
    if value is None and named.column_of("reference") is not None:
        raise named.missing("reference", "one in each row, or no such column")
    if not isinstance(value, str):
        return value
    found = written(value, named.row.where, named.columns["reference"])
    if isinstance(found, list) and found and not any(map(_has_text, found)):
        return value
    return found


def _has_text(value: object) -> bool:
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def _pick(named: Named, value: object, choices: tuple[str, ...]) -> Pick:
    """The reference to one of the choices."""
    where, column = named.row.where, named.columns.get("reference", ALIASES["reference"][0])
    if isinstance(value, dict):
        raise ConfigError(
            f"{where} has choices, but a record as its reference. Expected one of the choices."
        )
    several = _without_missing(value) if isinstance(value, list) else [value]
    if len(several) != 1 or several[0] is None:
        count = 0 if several == [None] else len(several)
        raise ConfigError(
            f"{where} has {count} references in column {column}. Expected exactly one of its "
            "choices as the reference."
        )
    said = several[0]
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if not isinstance(said, int) or isinstance(said, bool):
        said = _text(said, "reference", where)
    untyped = named.row.header is not None
    return Pick(where, column, choices, said, untyped=untyped, lettered=bool(named.lettered))


def _reference(value: object, where: str) -> tuple[tuple[str, ...], Mapping[str, Value] | None]:
    """The correct texts, or the correct record."""
    if value is None:
        return (), None
    if isinstance(value, dict):
        return (), _record(value, where)
    several = _without_missing(value) if isinstance(value, list) else [value]
    if not 1 <= len(several) <= _MAX_REFERENCES:
        raise ConfigError(
            f"{where} has {len(several)} references. Expected 1 to {_MAX_REFERENCES}."
        )
    return tuple(_text(text, "reference", where) for text in several), None


def _record(value: Mapping[str, Any], where: str) -> Mapping[str, Value]:
    if not 1 <= len(value) <= _MAX_RECORD_FIELDS:
        raise ConfigError(
            f"{where}: the record has {len(value)} fields. Expected 1 to {_MAX_RECORD_FIELDS}."
        )
    for name, expected in value.items():
        if not _is_name(name):
            raise ConfigError(
                f"{where}: a field name of the record is empty, not printable or longer "
                f"than {_MAX_NAME} characters."
            )
        if not isinstance(expected, str | int | float | bool | None):
            raise ConfigError(
                f"{where}: the field {name} of the record is a list or an object. Expected text, a "
                "number, true, false or null."
            )
    return value


def _is_name(text: str) -> bool:
    """Whether a text is usable as a name: short and printable."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable()
