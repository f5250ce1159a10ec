"""Puts a job's report together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from silkline.report.numbers import span
from silkline.report.page import render

if TYPE_CHECKING:
    from silkline.batch.folder_job import Figures


def batch_page(figures: Figures) -> str:
    """The report: HTML without a script and without a reference to anything outside."""
    share = figures.answered / figures.items if figures.items else 0.0
    return render(
        "silkline.batch.report",
        title=f"Batch of {figures.input}",
        command="silkline batch",
        figures_of=figures,
        tiles=[
            ("answered", f"{figures.answered:,}", f"{share:.1%} of {figures.items:,} items"),
            ("failed", f"{figures.failed:,}", "with a reason each"),
            ("duplicates", f"{figures.duplicates:,}", f"{figures.asked:,} questions asked"),
            ("rate", f"{figures.per_second:,.1f}/s", f"this run took {span(figures.seconds)}"),
        ],
        errors=[(code, f"{count:,}") for code, count in figures.errors.items()],
        answers="answers.jsonl or answers.parquet",
    )
