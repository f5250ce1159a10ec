"""Checks a row of a data set and makes an `Item` of it: the border that hostile rows stop at."""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import UNDECODABLE, ConfigError
from silkline.evaluate.item import Item, Picture, PictureKind, Value
from silkline.evaluate.rows import Row

TEXT_FIELDS = ("id", "prompt", "reference", "choices")
"""The fields that a row may have beside its picture and those to slice by."""

PICTURE_FIELDS = ("picture", "image", "file_name")
"""Where a row's picture may stand; imagefolder calls it file_name, most of the hub image."""

_MAX_TEXT = 100_000
_MAX_REFERENCES = 100
_MAX_CHOICES = len(string.ascii_uppercase)
_MAX_RECORD_FIELDS = 64
_MAX_NAME = 100
_MAX_SLICE_VALUE = 100
_MAX_FILE_BYTES = 64 * 1024 * 1024
_HAS_SCHEME = re.compile(r"(https?|data):", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")
_LEAST_BASE64 = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a set are read.

    Attributes:
        folder: What the paths of its pictures are relative to, absolute and without links.
        bounds: Where its pictures must lie, absolute and without links.
        prompt: Asked instead of the rows' own; empty asks these.
        place: What stands for a field in `prompt`.
        columns: From the names of fields here to those of the set; see `load_dataset`.
    """

    folder: Path
    bounds: Path
    prompt: str
    place: re.Pattern[str]
    columns: Mapping[str, str]


def read_item(row: Row, reading: Reading) -> Item:
    """Checks a row.

    Raises:
        ConfigError: A field is missing, of the wrong type or too long; the message names the line.
    """
    values, where = _renamed(row, reading.columns), row.where
    fields = _fields(values)
    picture, content = _picture(values, where, reading)
    choices = _choices(values, where)
    references, record = _reference(values, where)
    if choices and len(references) == 1:
        references = (_chosen(references[0], choices),)
    if record is not None and choices:
        raise ConfigError(f"{where} has choices and a record as its reference. Give one of them.")
    if choices and (len(references) != 1 or references[0] not in choices):
        raise ConfigError(f"{where} needs as its reference one of its choices, word for word.")
    prompt = _prompt(values, where, reading)
    if choices:
        prompt = "\n".join([prompt, *map(_choice, string.ascii_uppercase, choices)])
        prompt += "\nAnswer with the letter of the right choice."
    identity = _text(values.get("id", ""), "id", where, _MAX_NAME)
    if not identity:
        identity = _digest(prompt, content, *references)[:12]
    if not identity.isprintable():
        raise ConfigError(f"{where}: the id is not printable. Take letters, digits and marks.")
    return Item(
        id=identity,
        key=_digest(identity, prompt, content),
        picture=picture,
        prompt=prompt,
        references=references,
        record=record,
        choices=choices,
        fields=fields,
    )


def _renamed(row: Row, columns: Mapping[str, str]) -> Mapping[str, Any]:
    """The row's values by the names that they have here."""
    if not columns:
        return row.values
    values = {name: value for name, value in row.values.items() if name not in columns}
    for name, path in columns.items():
        first, *rest = path.split(".")
        if first not in row.values:
            raise ConfigError(
                f"{row.where} has no column {first}; it has {', '.join(row.values)}. Name one of "
                f"these: {name}=COLUMN."
            )
        value = row.values[first]
        for step in rest:
            value = _within(value, step)
        if value is None:
            raise ConfigError(f"{row.where}: the column {first} has no {'.'.join(rest)} in it.")
        values[name] = value
    return values


def _within(value: object, name: str) -> Any:
    """The field of an object, or of each object of a list; None where one has none."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and all(isinstance(one, dict) and name in one for one in value):
        return [one[name] for one in value]
    return None


def _chosen(reference: str, choices: Sequence[str]) -> str:
    """The choice that a reference means: itself, its place from 0, or its letter."""
    if reference in choices:
        return reference
    places = [str(place) for place in range(len(choices))]
    letters = list(string.ascii_uppercase[: len(choices)])
    for names in (places, letters):
        if reference in names:
            return choices[names.index(reference)]
    return reference


def _choice(letter: str, text: str) -> str:
    return f"{letter}. {text}"


def _digest(*texts: str) -> str:
    """A digest of several texts, each set off from the next by its length."""
    found = hashlib.blake2b(digest_size=12)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(8))
        found.update(encoded)
    return found.hexdigest()


def _text(value: object, name: str, where: str, most: int = _MAX_TEXT) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} is not text. Put it in quotes.")
    if len(value) > most:
        raise ConfigError(f"{where}: {name} has {len(value)} characters; at most {most} are read.")
    if not value.isprintable() and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(f"{where}: {name} holds half of a surrogate pair.") from error
    return value


def _prompt(values: Mapping[str, Any], where: str, reading: Reading) -> str:
    if not reading.prompt:
        if not values.get("prompt"):
            raise ConfigError(f"{where} has no prompt. Give it one, or one for all by --prompt.")
        return _text(values["prompt"], "prompt", where)

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise ConfigError(
                f"{where} has no field {name}, which the prompt names. It has {', '.join(values)}."
            )
        return _text(values[name], name, where)

    return reading.place.sub(put, reading.prompt)


def _fields(values: Mapping[str, Any]) -> dict[str, str]:
    """The further values of a row that are short enough to slice by."""
    found: dict[str, str] = {}
    for name, value in values.items():
        taken = name in TEXT_FIELDS or name in PICTURE_FIELDS
        if taken or not _is_name(name) or not isinstance(value, str | int | bool):
            continue
        text = str(value)
        if len(text) <= _MAX_SLICE_VALUE and text.isprintable():
            found[name] = text
    return found


def _picture(values: Mapping[str, Any], where: str, reading: Reading) -> tuple[Picture, str]:
    """The picture, and what tells it from others."""
    value = next((values[name] for name in PICTURE_FIELDS if name in values), None)
    if isinstance(value, dict):  # as the hub's Parquet files have it
        if isinstance(value.get("bytes"), bytes):
            value = base64.b64encode(value["bytes"]).decode("ascii")
        else:
            value = value.get("path")
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode("ascii")
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{where} has no picture. Expected in {PICTURE_FIELDS[0]} a path, an http, https or "
            "data URL, or Base64 text."
        )
    if _HAS_SCHEME.match(value):
        return Picture(PictureKind.URL, value), value
    path = _inside(value, reading)
    if path is None and len(value) >= _LEAST_BASE64 and _BASE64.match(value):
        return Picture(PictureKind.BASE64, value), value
    if path is None:
        shown = value if len(value) <= _MAX_NAME and value.isprintable() else "given"
        raise ConfigError(
            f"{where}: the picture {shown} is no file below the data set's folder, no URL and no "
            "Base64 text."
        )
    return Picture(PictureKind.FILE, str(path)), _digest_of_file(path, where)


def _inside(value: str, reading: Reading) -> Path | None:
    """The file that a path means, unless it lies outside the data set's folder.

    A set from elsewhere must not be able to show any picture of this machine to a remote server.
    """
    try:
        path = (reading.folder / value).resolve()
        return path if path.is_relative_to(reading.bounds) and path.is_file() else None
    except (OSError, ValueError):  # too long to be a path, or holds a NUL
        return None


def _digest_of_file(path: Path, where: str) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(
                f"{where}: the picture {path.name} is larger than {_MAX_FILE_BYTES} bytes."
            )
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{where}: the picture {path.name} cannot be read: {error.strerror}."
        ) from error


def _choices(values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = _structured(values.get("choices") or [])
    if not isinstance(value, list):
        raise ConfigError(f"{where}: choices is no list. Expected a JSON list of texts.")
    found = tuple(_text(choice, "a choice", where) for choice in value)
    if found and not 1 < len(set(found)) == len(found) <= _MAX_CHOICES:
        raise ConfigError(
            f"{where} has {len(found)} choices. Expected 2 to {_MAX_CHOICES} that differ."
        )
    return found


def _reference(
    values: Mapping[str, Any], where: str
) -> tuple[tuple[str, ...], Mapping[str, Value] | None]:
    """The right texts, or the right record."""
    value = _structured(values.get("reference"))
    if value is None:
        return (), None
    if isinstance(value, dict):
        return (), _record(value, where)
    several: Sequence[object] = value if isinstance(value, list) else [value]
    if not 1 <= len(several) <= _MAX_REFERENCES:
        raise ConfigError(
            f"{where} has {len(several)} references. Expected 1 to {_MAX_REFERENCES}."
        )
    return tuple(_text(one, "reference", where) for one in several), None


def _record(value: Mapping[str, Any], where: str) -> Mapping[str, Value]:
    if not 1 <= len(value) <= _MAX_RECORD_FIELDS:
        raise ConfigError(
            f"{where}: the record has {len(value)} fields. Expected 1 to {_MAX_RECORD_FIELDS}."
        )
    for name, right in value.items():
        if not _is_name(name):
            raise ConfigError(
                f"{where}: a field of the record has a name that is empty, not printable or longer "
                f"than {_MAX_NAME} characters."
            )
        if not isinstance(right, str | int | float | bool | None):
            raise ConfigError(
                f"{where}: the field {name} of the record is a list or an object. Expected text, a "
                "number, true, false or null."
            )
    return value


def _is_name(text: str) -> bool:
    """Whether a text can name something on a terminal."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable()


def _structured(value: object) -> object:
    """JSON in a text, as CSV and Parquet have it; any other value as it is."""
    if not isinstance(value, str) or value[:1] not in {"{", "["} or len(value) > _MAX_TEXT:
        return value
    try:
        found: object = msgspec.json.decode(value)
    except UNDECODABLE:
        return value
    return found
