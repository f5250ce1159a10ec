"""Writes the results of a run: the report page, the figures as JSON, every request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from silkline.bench.record import Run, write_run
from silkline.bench.report.page import write_page
from silkline.bench.summary import Comparison, Summary
from silkline.errors import EnvironmentFault

PAGE, FIGURES, REQUESTS = "report.html", "summary.json", "requests.jsonl"


def write_results(
    run: Run, summaries: Sequence[Summary], comparison: Comparison | None, folder: Path
) -> None:
    """Writes `PAGE`, `FIGURES` and `REQUESTS` into a folder; creates the folder if needed.

    Raises:
        EnvironmentFault: The files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_run(run, folder / REQUESTS)
        write_page(run, summaries, comparison, folder / PAGE)
        (folder / FIGURES).write_bytes(figures_json(run, summaries, comparison) + b"\n")
    except OSError as error:
        raise EnvironmentFault(
            f"The results cannot be written into {folder}: {os.strerror(error.errno or 0)}. "
            "Choose another folder by --out."
        ) from error


def figures_json(run: Run, summaries: Sequence[Summary], comparison: Comparison | None) -> bytes:
    """The figures as JSON, with the spec."""
    figures = {
        "began": run.began,
        "model": run.model,
        "spec": run.spec,
        "targets": [
            {
                **msgspec.to_builtins(summary),
                "goodput": summary.goodput,
                "offered_per_second": summary.per_second(summary.requests),
                "served_per_second": summary.per_second(summary.served),
                "good_per_second": summary.per_second(summary.good),
            }
            for summary in summaries
        ],
        "comparison": comparison,
    }
    return msgspec.json.format(msgspec.json.encode(figures), indent=1)
