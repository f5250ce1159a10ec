"""The progress bar of long commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from silkline.cli.printing import progress_console


class ProgressBar:
    """One line on standard error: the activity, its progress and the remaining time."""

    def __init__(self, progress: Progress) -> None:
        """Draws on a started `Progress`."""
        self._progress = progress
        self._task = progress.add_task("", total=None, detail="")
        self._what = ""
        self._began = time.monotonic()

    def show(self, what: str, done: float, total: float, detail: str = "") -> None:
        """Updates the bar.

        Args:
            what: The current activity; a new one restarts the bar.
            done: How much of `total` is done.
            total: How much there is to do, in any unit.
            detail: Text after the bar, such as a rate.
        """
        if what != self._what:
            self._what, self._began = what, time.monotonic()
            self._progress.reset(self._task, description=what)
        self._progress.update(self._task, completed=done, total=total, detail=detail)

    def rate(self, count: float) -> float:
        """Returns `count` per second since the activity last changed."""
        elapsed = time.monotonic() - self._began
        return count / elapsed if elapsed > 0 else 0.0


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[ProgressBar]:
    """Shows a progress bar on a terminal while the block runs; shows nothing in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    console = progress_console(quiet=quiet)
    with Progress(*columns, console=console, transient=True) as progress:
        yield ProgressBar(progress)
