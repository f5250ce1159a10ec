"""`silkline batch`: asks a model about each image of an input, and writes a folder of results."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from silkline.batch.answer import failed
from silkline.batch.asking import open_asker
from silkline.batch.inputs import Input
from silkline.batch.item import Counts, Result
from silkline.batch.journal import Journal
from silkline.batch.on_ray import open_askers_on_ray
from silkline.batch.output import check_format, write_rows
from silkline.batch.report.page import batch_page
from silkline.batch.runner import Job, run
from silkline.errors import ConfigError, SilklineError
from silkline.service.pool import OnNotice
from silkline.service.results import write_results
from silkline.service.subject import SubjectSpec

JOURNAL, FIGURES, PAGE = "journal.sqlite", "batch.json", "report.html"

OnProgress = Callable[[Counts, int], None]
"""Called with the counts and the number of items."""


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """A job of the command line.

    Attributes:
        input: The items.
        subject: Who is asked.
        folder: Where the journal and the results go.
        format: Of the answers: jsonl or parquet.
        about: What the job is, by name; a folder holds one job.
    """

    input: Input
    subject: SubjectSpec
    folder: Path
    format: str
    about: dict[str, str]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a job.

    Attributes:
        input: The input's name.
        subject: Who was asked.
        items: Items of the input.
        answered: Items with an answer.
        failed: Items with an error.
        errors: Failed items by the code of their error.
        duplicates: Items that share the result of an earlier one.
        asked: Different questions.
        known: Items that had a result before this run.
        seconds: Duration of this run.
        per_second: Items of this run per second.
        memory_mib: Peak memory of this process, without the engine's and the decoders'.
    """

    input: str
    subject: str
    items: int
    answered: int
    failed: int
    errors: dict[str, int]
    duplicates: int
    asked: int
    known: int
    seconds: float
    per_second: float
    memory_mib: float


async def run_folder_job(
    plan: FolderPlan, on_progress: OnProgress, on_notice: OnNotice
) -> tuple[Figures, Path]:
    """Runs or continues a job; returns its figures and the file with its answers.

    Raises:
        ConfigError: The folder has another job, the model is unknown, or the input is malformed.
        EnvironmentFault: A library is missing, the engine does not start, or the disk fails.
    """
    check_format(plan.format)
    began = time.monotonic()
    with closing(Journal(plan.folder / JOURNAL)) as journal:
        _check_same(plan, journal)
        on_ray = plan.subject.settings.engine.on == "ray"
        opened = open_askers_on_ray(plan.subject) if on_ray else open_asker(plan.subject, on_notice)
        async with opened as asker:
            job = Job(
                entries=plan.input.entries(),
                ask=asker.ask,
                fail=_unread,
                at_once=asker.at_once,
                on_progress=lambda counts: on_progress(counts, plan.input.total),
            )
            counts = await run(job, journal)
        figures = _figures(plan, counts, journal.errors(), time.monotonic() - began)
        answers = write_rows(journal, plan.folder, plan.format)
    write_results(plan.folder, {FIGURES: figures}, {PAGE: batch_page(figures)})
    return figures, answers


def _unread(error: Exception) -> Result:
    if not isinstance(error, SilklineError):
        raise error
    return failed(error)


def _check_same(plan: FolderPlan, journal: Journal) -> None:
    """Raises `ConfigError` if the folder has the journal of another job."""
    recorded = journal.about(plan.about)
    for name, value in plan.about.items():
        if recorded.get(name) != value:
            raise ConfigError(
                f"{plan.folder} holds another job: its {name} is {recorded.get(name)!r}, not "
                f"{value!r}. Name another folder for the results, or delete this one."
            )


def _figures(plan: FolderPlan, counts: Counts, errors: dict[str, int], seconds: float) -> Figures:
    done = counts.items - counts.known
    return Figures(
        input=plan.input.name,
        subject=plan.subject.name,
        items=plan.input.total,
        answered=counts.answered,
        failed=counts.failed,
        errors=errors,
        duplicates=counts.duplicates,
        asked=counts.asked,
        known=counts.known,
        seconds=round(seconds, 3),
        per_second=round(done / seconds, 2) if seconds > 0 else 0.0,
        memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )
