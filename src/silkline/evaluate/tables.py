"""Reads CSV and TSV files, as written by spreadsheets and data frames."""

from __future__ import annotations

import codecs
import csv
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from silkline.errors import ConfigError
from silkline.evaluate.columns import ALIASES, fold
from silkline.evaluate.row import Header, Row, listed

MAX_CELL_CHARS = 32 * 1024 * 1024
"""Maximum length of a cell and of a line, in characters; fits an image of 20 MiB as Base64."""

MISSING = frozenset({"", "NaN", "nan", "<NA>", "NaT", "#N/A"})
"""Cells that mean a missing value, as spreadsheets and data frames write them."""

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_EXCEL_HINT = re.compile(r'"?sep=(?P<delimiter>[^\w"\r\n])"?\s*\Z', re.IGNORECASE)
_PANDAS_NAMELESS = re.compile(r"Unnamed: \d+(_level_\d+)?\Z")
_KNOWN = frozenset(name for names in ALIASES.values() for name in names)
_CSV_LIMIT = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The dialect of a table.

    Attributes:
        delimiter: Separator of cells.
        skipped: Number of lines before the header to skip.
        padded: Whether each delimiter is followed by a space.
    """

    delimiter: str
    skipped: int = 0
    padded: bool = False

    @property
    def words(self) -> str:
        return _DELIMITERS.get(self.delimiter, repr(self.delimiter))


def read_table(path: Path) -> Iterator[Row]:
    """Yields the rows of a CSV or TSV file.

    The delimiter is the comma, semicolon, tab or vertical bar that fits the header line best.
    The encoding is UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        ConfigError: The file is not text, or not a table with one name per column.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(2)
    encoding = "utf-16" if start in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig"
    try:
        with path.open(encoding=encoding, newline="") as text:
            yield from _rows(text, path.name)
    except UnicodeError as error:
        raise _not_text(path, encoding) from error


def _rows(file: TextIO, name: str) -> Iterator[Row]:
    dialect = _dialect(file, name)
    records = _records(file, name, dialect)
    number, cells = next(records, (dialect.skipped + 1, []))
    names = _column_names(cells, f"{name} line {number}", dialect)
    header = Header(
        f"{name} line {number}", dialect.words, tuple(column for column in names if column)
    )
    empty = True
    for number, cells in records:
        empty = False
        where = f"{name} line {number}"
        _check_width(cells, names, where, header)
        values = {
            column: cell
            for column, cell in zip(names, cells, strict=False)
            if column and cell.strip() not in MISSING
        }
        yield Row(where, values, header)
    if empty:
        raise ConfigError(
            f"{name} is empty: no row follows the header in {header.where}, separated by "
            f"{header.delimiter}: {listed(header.names)}."
        )


def _records(file: TextIO, name: str, dialect: _Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of each record that is not blank, from the file's start."""
    file.seek(0)
    lines = _lines(file, name)
    for _ in range(dialect.skipped):
        next(lines, "")
    reader = csv.reader(
        lines, delimiter=dialect.delimiter, strict=True, skipinitialspace=dialect.padded
    )
    while True:
        number = reader.line_num + dialect.skipped + 1
        try:
            with _CSV_LIMIT:  # the limit is global to the process
                before = csv.field_size_limit(MAX_CELL_CHARS)
                try:
                    cells = next(reader, None)
                finally:
                    csv.field_size_limit(before)
        except csv.Error as error:
            raise ConfigError(
                f"{name} line {number} is not CSV separated by {dialect.words}: a quoted cell "
                "is not closed, text follows its closing quote, or a cell is longer than "
                f"{MAX_CELL_CHARS} characters. Double each quote inside a quoted cell; give "
                "large images as files."
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells


def _lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_CELL_CHARS + 1):
        number += 1
        if len(line) > MAX_CELL_CHARS:
            raise ConfigError(
                f"{name} line {number} is longer than {MAX_CELL_CHARS} characters. Give large "
                "images as files."
            )
        yield line


def _dialect(file: TextIO, name: str) -> _Dialect:
    """Detects the dialect that fits the header and the first record best.

    Ranked by the number of known column names, then a first record of the same width as the header,
    then the width.
    """
    hint = _EXCEL_HINT.match(next(_lines(file, name), ""))
    if hint:
        candidates = [_Dialect(hint["delimiter"], skipped=1)]
    else:
        candidates = [_Dialect(delimiter) for delimiter in _DELIMITERS]
    best, best_rank = candidates[0], (-1, False, 0)
    for candidate in candidates:
        records = _records(file, name, candidate)
        names = _next_cells(records)
        known = sum(fold(column) in _KNOWN for column in names)
        rank = (known, len(names) == len(_next_cells(records)) > 1, len(names))
        if rank > best_rank:
            padded = len(names) > 1 and all(column[:1] == " " for column in names[1:])
            best = _Dialect(candidate.delimiter, candidate.skipped, padded)
            best_rank = rank
    return best


def _next_cells(records: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The cells of the next record; empty if it is malformed in this dialect."""
    try:
        return next(records, (0, []))[1]
    except ConfigError:
        return []


def _column_names(cells: Sequence[str], where: str, dialect: _Dialect) -> list[str | None]:
    """The names of the columns.

    A nameless column is "" and must have no values. The index column of pandas is None and ignored.

    Raises:
        ConfigError: Two columns have the same name.
    """
    if any("\0" in cell for cell in cells):
        raise ConfigError(
            f"{where} is not text: it may be UTF-16 without a byte order mark. Save it as UTF-8."
        )
    names: list[str | None] = [cell.strip() for cell in cells]
    seen: dict[str, str] = {}
    for index, name in enumerate(names):
        if not name or _PANDAS_NAMELESS.match(name):
            names[index] = None if name or index == 0 else ""
            continue
        if (folded := name.casefold()) in seen:
            raise ConfigError(
                f"{where} names the same column twice: {listed([seen[folded], name])}. It has, "
                f"separated by {dialect.words}: {listed(cells)}. Rename one; names are not "
                "case-sensitive."
            )
        seen[folded] = name
    return names


def _check_width(
    cells: Sequence[str], names: Sequence[str | None], where: str, header: Header
) -> None:
    """Raises `ConfigError` for a cell with a value in a nameless column."""
    for index, cell in enumerate(cells):
        if cell.strip() and (index >= len(names) or names[index] == ""):
            raise ConfigError(
                f"{where} has a value in column {index + 1}, which has no name. {header.where} "
                f"has, separated by {header.delimiter}: {listed(header.names)}. Quote cells that "
                "contain the delimiter, quotes or line breaks."
            )


def _not_text(path: Path, encoding: str) -> ConfigError:
    """Error for an undecodable file: names the line and the likely encoding."""
    if encoding != "utf-8-sig":
        return ConfigError(f"{path.name} is not valid UTF-16. Save it as UTF-8.")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return ConfigError(
                    f"{path.name} line {number} is not UTF-8 (byte 0x{line[error.start]:02X}); it "
                    "may be Windows-1252. In Excel save it as 'CSV UTF-8', or run: iconv -f "
                    f"WINDOWS-1252 -t UTF-8 {path.name}."
                )
    return ConfigError(f"{path.name} is not UTF-8. Save it as UTF-8.")
