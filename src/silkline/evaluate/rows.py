"""Reads the rows of a data set in any supported format, with file and line of each row."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.evaluate.metrics.overlap import INSTALL
from silkline.evaluate.row import Row
from silkline.evaluate.tables import read_table

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Maximum length of a line; fits an image of 20 MiB as Base64."""

IMAGE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
)
METADATA = ("metadata.jsonl", "metadata.csv")
"""Files that describe the images of a folder, as in Hugging Face's imagefolder.

https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

_MAX_REFERENCE_BYTES = 64 * 1024


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file or a folder.

    Raises:
        ConfigError: The format is unknown, the file cannot be read, or a row is malformed.
        EnvironmentFault: The format needs a library that is not installed.
    """
    try:
        yield from _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _file(path: Path) -> Iterator[Row]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"{path} is not a data set. Expected a file that ends in {', '.join(ENDINGS)}, or a "
            "folder of images."
        )
    return reader(path)


def _jsonl(path: Path) -> Iterator[Row]:
    for read in json_rows(path):
        yield read()


def json_rows(path: Path) -> Iterator[Callable[[], Row]]:
    """Yields what reads each row of a JSONL file, so that a wrong row need not end the reading.

    Raises:
        ConfigError: A line is too long, or the file is UTF-16. Reading a row raises it if the line
            is no JSON object.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path.name} line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise ConfigError(
                    f"{where} is longer than {MAX_LINE_BYTES} bytes. Give the image as a file."
                )
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # some editors write one
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise ConfigError(f"{path.name} is UTF-16. Save it as UTF-8.")
            if line.strip():
                yield partial(_json_row, line, where)


def _json_row(line: bytes, where: str) -> Row:
    return Row(where, _present(_json_object(line, where)))


def _present(values: dict[str, Any]) -> dict[str, Any]:
    """The values without nulls: null means absent."""
    return {name: value for name, value in values.items() if value is not None}


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(line)
    except UNDECODABLE as error:
        raise ConfigError(
            f"{where} is not valid JSON. Expected one JSON object per line."
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{where} is not a JSON object. Expected one JSON object per line.")
    return found


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as arrow  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise EnvironmentFault(f"Parquet needs pyarrow. Run: {INSTALL}.") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name} row {number}", _present(values))
    except (arrow.ArrowException, UnicodeDecodeError, NotImplementedError) as error:
        raise ConfigError(
            f"{path.name} is not valid Parquet after row {number}. Write the file again."
        ) from error
    except (ValueError, OverflowError) as error:  # raised by `to_pylist`
        raise ConfigError(
            f"{path.name} after row {number} has a value that cannot be read, such as a date out "
            "of range or a time with nanoseconds. Remove that column, or write it as text."
        ) from error


_READERS = {".jsonl": _jsonl, ".csv": read_table, ".tsv": read_table, ".parquet": _parquet}

ENDINGS = tuple(_READERS)
"""File name endings of data files."""


def _folder(path: Path) -> Iterator[Row]:
    """Reads a folder with a metadata file, or with a .txt reference file for each image."""
    for name in METADATA:
        if (path / name).is_file():
            yield from read_rows(path / name)
            return
    images = images_of(path)
    if not images:
        raise ConfigError(
            f"The folder {path} has no images and none of {', '.join(METADATA)}. Expected images, "
            "each with its reference in a .txt file of the same name."
        )
    for image in images:
        relative = image.relative_to(path)
        values = {
            "id": str(relative),
            "picture": str(relative),
            "reference": _reference_text(image, relative),
        }
        if len(relative.parts) > 1:
            values["folder"] = relative.parts[0]
        yield Row(str(relative), values)


def images_of(path: Path) -> list[Path]:
    """The image files of a folder and of those below it, in the order of their names."""
    return sorted(
        found
        for found in path.rglob("*")
        if found.suffix.lower() in IMAGE_ENDINGS and found.is_file()
    )


def _reference_text(image: Path, relative: Path) -> str:
    """The reference in an image's .txt file."""
    expected = f"Expected its reference as UTF-8 text in {relative.with_suffix('.txt').name}."
    try:
        with image.with_suffix(".txt").open("rb") as file:
            content = file.read(_MAX_REFERENCE_BYTES + 1)
        text = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{relative} has no readable reference. {expected}") from error
    if not text or len(content) > _MAX_REFERENCE_BYTES:
        raise ConfigError(f"{relative} has a reference that is empty or too long. {expected}")
    return text
