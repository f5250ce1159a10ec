"""The tables that reports print on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text


def table(title: str, *heads: str, rows: Iterable[tuple[str, ...]] = ()) -> Table:
    """A table without lines: names on the left, figures on the right.

    Args:
        title: Head of the first column.
        heads: Heads of the other columns.
        rows: Its first rows.
    """
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    found.add_column(Text(title), no_wrap=True)
    for head in heads:
        found.add_column(head, justify="right", no_wrap=True)
    for first, *others in rows:
        found.add_row(Text(first), *others)
    return found
