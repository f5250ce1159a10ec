"""Reads the records of a month: request history, experiments, drift and logs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from silkline.config import Settings
from silkline.drift.journal import Past, read_past
from silkline.errors import ConfigError
from silkline.experiments import journal as experiments
from silkline.experiments.journal import Decision
from silkline.gateway.history import file as history
from silkline.gateway.history.entry import Entry

T = TypeVar("T")

MAX_IMAGE_BYTES = 256 * 1024
"""Maximum bytes of an image that the page shows."""

_LEVELS = frozenset({"warn", "warning", "error", "critical"})
_decoder = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class Month:
    """A month in UTC.

    Attributes:
        year: The year.
        month: The month, 1 to 12.
    """

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Reads a month such as `2026-11`. Raises `ValueError` if it is none."""
        found = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        return cls(found.year, found.month)

    @property
    def before(self) -> Month:
        """The month before."""
        return Month(self.year - 1, 12) if self.month == 1 else Month(self.year, self.month - 1)

    @property
    def after(self) -> Month:
        """The month after."""
        return Month(self.year + 1, 1) if self.month == 12 else Month(self.year, self.month + 1)  # noqa: PLR2004

    @property
    def begin(self) -> float:
        """Unix time at which it begins."""
        return datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()

    @property
    def end(self) -> float:
        """Unix time at which it ends."""
        return self.after.begin

    def __str__(self) -> str:
        return f"{self.year}-{self.month:02}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the records lie; None means that there are none.

    Attributes:
        history: The file of the request history.
        experiments: The journal of experiments.
        drift: The journal of drift and the canary set.
        logs: Files of log lines in JSON.
        prometheus: The URL of a Prometheus; empty asks none.
    """

    history: Path | None
    experiments: Path | None
    drift: Path | None
    logs: tuple[Path, ...] = ()
    prometheus: str = ""

    @classmethod
    def of(cls, settings: Settings, logs: Sequence[Path], prometheus: str) -> Sources:
        """The files that the settings name."""
        return cls(
            _file(settings.history.history_file),
            _file(settings.experimenting.experiment_file),
            _file(settings.drift.drift_journal),
            tuple(logs),
            prometheus,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log that warns.

    Attributes:
        at: Unix time.
        level: Its level.
        message: Its message.
    """

    at: float
    level: str
    message: str


@dataclass(slots=True)
class Records:
    """The records of a month.

    Attributes:
        month: The month.
        entries: The requests in the order of their arrival.
        numbers: The number of each of them in the file.
        decisions: The decisions of experiments, each with its experiment.
        rewards: The feedback, 0 to 1.
        past: Windows of traffic, and runs of the canary set.
        events: Warnings and errors in the logs.
    """

    month: Month
    entries: list[Entry] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    decisions: list[tuple[str, Decision]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    past: Past = field(default_factory=lambda: Past((), ()))
    events: list[Event] = field(default_factory=list)


def read_records(sources: Sources, month: Month) -> Records:
    """Reads the records of a month; what has no source stays empty.

    Raises:
        ConfigError: A file cannot be read.
    """
    records, span = Records(month), (month.begin, month.end)
    if sources.history is not None:
        rows = _read(sources.history, lambda file: list(history.read_span(file, *span)))
        records.numbers = [number for number, _ in rows]
        records.entries = [_decoder.decode(entry) for _, entry in rows]
    if sources.experiments is not None:
        found = _read(sources.experiments, lambda file: experiments.read_span(file, *span))
        records.decisions, records.rewards = found
    if sources.drift is not None:
        records.past = _read(sources.drift, lambda file: read_past(file, *span))
    records.events = [event for path in sources.logs for event in _events(path, *span)]
    records.events.sort(key=lambda event: event.at)
    return records


def _file(name: str) -> Path | None:
    return Path(name).expanduser() if name else None


def images_of(sources: Sources, number: int) -> list[tuple[str, bytes]]:
    """The media types and files of a request's kept images that are small enough to show."""
    if sources.history is None:
        return []
    found = _read(sources.history, lambda file: history.kept_images(file, number))
    return [(kind, data) for kind, data in found if len(data) <= MAX_IMAGE_BYTES]


def _read(path: Path, use: Callable[[sqlite3.Connection], T]) -> T:
    """Uses a SQLite file that a server may be writing to."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as file:
            return use(file)
    except sqlite3.Error as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Expected a file that a Silkline server has written."
        ) from error


def _events(path: Path, since: float, until: float) -> Iterator[Event]:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                event = _event(line)
                if event is not None and since <= event.at < until:
                    yield event
    except OSError as error:
        raise ConfigError(f"The log {path} cannot be read: {error.strerror}.") from error


def _event(line: str) -> Event | None:
    """The event of a line; None if it is no warning, or no line of Silkline's."""
    try:
        found: Any = json.loads(line)
        level = str(found["log.level"])
        at = datetime.fromisoformat(found["@timestamp"]).timestamp()
        return Event(at, level, str(found["message"])) if level in _LEVELS else None
    except (ValueError, KeyError, TypeError):
        return None
