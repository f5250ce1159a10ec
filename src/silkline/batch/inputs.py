"""Inputs of `silkline batch`: folders, tables, WebDataset archives and object stores.

An input is read item by item, in the same order each time, and no more of it is in memory than the
runner reads ahead. A wrong item fails alone.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from silkline.batch.item import Entry, Work
from silkline.errors import ConfigError, EnvironmentFault, InvalidRequest
from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.fields import Reading, read_row
from silkline.evaluate.item import ImageKind
from silkline.evaluate.row import Row
from silkline.evaluate.rows import ENDINGS, IMAGE_ENDINGS, METADATA, images_of, json_rows, read_rows
from silkline.ingress.source import Source, uploaded
from silkline.service.subject import source_of

ARCHIVES = (".tar", ".tar.gz", ".tgz")
"""File name endings of WebDataset archives."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_PARAM = "image"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about one item."""

    source: Source
    prompt: str


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An item of an input; implements `item.Entry`."""

    id: str
    load: Callable[[], Work[Asked]]

    def read(self) -> Work[Asked]:
        """Reads its image. Raises `SilklineError` if it cannot be read."""
        return self.load()


@dataclass(frozen=True, slots=True)
class Input:
    """An input.

    Attributes:
        name: What the user calls it.
        entries: Its items, from the start each time.
        total: The number of its items.
    """

    name: str
    entries: Callable[[], Iterator[Entry[Asked]]]
    total: int


@dataclass(frozen=True, slots=True)
class Asking:
    """How items are asked about.

    Attributes:
        prompt: The prompt; in tables, `{name}` is replaced by that column. Empty keeps the rows'.
        columns: Silkline's field names and the table's columns; as in `load_dataset`.
        max_bytes: Maximum bytes of an image.
    """

    prompt: str
    columns: Mapping[str, str]
    max_bytes: int


def open_input(text: str, asking: Asking) -> Input:
    """Finds an input by its path or URL, and counts its items.

    Raises:
        ConfigError: There is no such input, it has no items, or it cannot be read.
        EnvironmentFault: Its format needs a library that is not installed.
    """
    entries = _entries(text, asking)
    path = Path(text)
    total = _parquet_rows(path) if path.suffix.lower() == ".parquet" else sum(1 for _ in entries())
    if not total:
        raise ConfigError(f"{text} has no items.")
    return Input(text, entries, total)


def _entries(text: str, asking: Asking) -> Callable[[], Iterator[Entry[Asked]]]:
    if "://" in text:
        return partial(_objects, text, asking)
    path = Path(text)
    if path.name.lower().endswith(ARCHIVES) and path.is_file():
        return partial(_archive, path, asking)
    if path.is_dir() and not any((path / name).is_file() for name in METADATA):
        return partial(_folder, path, asking)
    if path.is_dir() or (path.suffix.lower() in ENDINGS and path.is_file()):
        return partial(_table, path, asking)
    raise ConfigError(
        f"There is no input {text}. Expected a folder of images, a file that ends in "
        f"{', '.join((*ENDINGS, *ARCHIVES))}, or s3://bucket/prefix."
    )


def _folder(path: Path, asking: Asking) -> Iterator[Entry[Asked]]:
    for image in images_of(path):
        yield ImageEntry(image.relative_to(path).as_posix(), partial(_file, image, asking))


def _file(path: Path, asking: Asking) -> Work[Asked]:
    try:
        with path.open("rb") as file:
            data = file.read(asking.max_bytes + 1)
    except OSError as error:
        raise InvalidRequest(f"The image cannot be read: {error.strerror}.") from error
    return _work(data, asking.prompt)


def _work(data: bytes, prompt: str) -> Work[Asked]:
    return Work(
        _question(hashlib.blake2b(data).hexdigest(), prompt),
        Asked(uploaded(data, param=_PARAM), prompt),
        len(data),
    )


def _question(image: str, prompt: str) -> bytes:
    """Identifies a question: the image's bytes, or its URL, and the prompt."""
    text = f"{len(prompt)} {prompt}{image}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _table(path: Path, asking: Asking) -> Iterator[Entry[Asked]]:
    location = local_set(path)
    reading = Reading(location.folder, location.bounds, asking.prompt, _PLACEHOLDER, asking.columns)
    for number, read in enumerate(_rows(path)):
        yield ImageEntry(_row_name(read, number), partial(_row, read, reading, asking))


def _rows(path: Path) -> Iterator[Callable[[], Row]]:
    if path.suffix.lower() == ".jsonl":
        try:
            yield from json_rows(path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        return
    for row in read_rows(path):
        yield partial(_itself, row)


def _itself(row: Row) -> Row:
    return row


def _row_name(read: Callable[[], Row], number: int) -> str:
    """The row's own id, else its number from 1."""
    try:
        values = read().values
    except ConfigError:
        return f"row {number + 1}"
    found = next((values[name] for name in values if name.strip().lower() == "id"), None)
    return str(number + 1) if found is None else str(found)


def _row(read: Callable[[], Row], reading: Reading, asking: Asking) -> Work[Asked]:
    try:
        item = read_row(read(), reading).item
    except ConfigError as error:
        raise InvalidRequest(error.message) from error
    source = source_of(item.image, asking.max_bytes)
    size = len(item.image.text)
    if item.image.kind is ImageKind.FILE:
        size = Path(item.image.text).stat().st_size
    return Work(_question(item.image.digest, item.prompt), Asked(source, item.prompt), size)


def _parquet_rows(path: Path) -> int:
    """The rows that a Parquet file says it has; reading checks the rest."""
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise no_parquet() from error
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path.name} is not valid Parquet. Write the file again.") from error


def no_parquet() -> EnvironmentFault:
    """The error where Parquet is asked for and its library is missing."""
    return EnvironmentFault("Parquet needs pyarrow.", remedy="pip install 'silkline[evaluate]'")


def _archive(path: Path, asking: Asking) -> Iterator[Entry[Asked]]:
    """The images of a tar archive; other members are skipped."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and _is_image(member.name):
                    yield ImageEntry(member.name, partial(_member, archive, member, asking))
                archive.members = []  # type: ignore[attr-defined] # tarfile would keep all of them
            _check_end(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ConfigError(f"{path} is not a readable tar archive. Write it again.") from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Checks that an archive that was read has its end; tarfile takes a cut one for whole."""
    file = archive.fileobj
    if file is not None:
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the end is missing")


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, asking: Asking) -> Work[Asked]:
    file = archive.extractfile(member)
    if file is None:
        raise InvalidRequest("The archive's member has no content.")
    try:
        return _work(file.read(asking.max_bytes + 1), asking.prompt)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InvalidRequest("The archive is damaged at this image.") from error


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_ENDINGS


def _objects(url: str, asking: Asking) -> Iterator[Entry[Asked]]:
    """The images below a prefix of an object store, in the order of their names."""
    from silkline.cache.object_link import link_opener  # noqa: PLC0415 - names an extra

    opener = link_opener(url, folder="")
    import obstore  # noqa: PLC0415 - an extra, which link_opener has found
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

    try:
        store = opener()
        names = sorted(
            item["path"] for page in obstore.list(store) for item in page if _is_image(item["path"])
        )
    except (BaseError, OSError) as error:
        raise EnvironmentFault(
            "The object store cannot be listed. Check its URL, and the keys in AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY."
        ) from error

    def load(name: str) -> Work[Asked]:
        try:
            data = bytes(obstore.get(store, name).bytes())
        except (BaseError, OSError) as error:
            raise InvalidRequest("The object cannot be read from the store.") from error
        return _work(data, asking.prompt)

    for name in names:
        yield ImageEntry(name, partial(load, name))
