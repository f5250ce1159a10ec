"""Writes the results of a job as JSONL or Parquet, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from silkline.batch.answer import row
from silkline.batch.inputs import no_parquet
from silkline.batch.journal import Journal
from silkline.errors import EnvironmentFault
from silkline.stores.whole_file import replace_whole

FORMATS = ("jsonl", "parquet")
_GROUP = 10_000


def check_format(name: str) -> None:
    """Checks that a format can be written here. Raises `EnvironmentFault` if not."""
    if name == "parquet":
        try:
            import pyarrow  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            raise no_parquet() from error


def write_rows(journal: Journal, folder: Path, name: str) -> Path:
    """Writes a row for each item, in the order of the input; replaces an older file whole.

    Args:
        journal: The job's journal.
        folder: Where the file goes.
        name: One of `FORMATS`.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    path = folder / f"answers.{name}"
    rows = (row(settled) for settled in journal.settled())
    try:
        if name == "parquet":
            _write_parquet(path, rows)
        else:
            replace_whole(path, (msgspec.json.encode(one) + b"\n" for one in rows), mode=0o644)
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be written: {error.strerror}. The answers are in the journal: free "
            "space, then run the same command again."
        ) from error
    return path


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as arrow  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    text, count = arrow.string(), arrow.int64()
    schema = arrow.schema(
        [
            ("id", text),
            ("answer", text),
            ("error", text),
            ("message", text),
            ("finish_reason", text),
            ("duplicate_of", text),
            ("prompt_tokens", count),
            ("completion_tokens", count),
            ("seconds", arrow.float64()),
        ]
    )
    draft = path.with_suffix(".parquet.part")
    try:
        with parquet.ParquetWriter(draft, schema) as writer:
            while group := list(islice(rows, _GROUP)):
                writer.write_table(arrow.Table.from_pylist(group, schema=schema))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
