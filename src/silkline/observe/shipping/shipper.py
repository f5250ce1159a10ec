"""Ships the events of spools to the log server."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from silkline.observe.shipping.dead_letters import DeadLetters
from silkline.observe.shipping.server import (
    Fate,
    Item,
    LogServer,
    TooLarge,
    Unavailable,
    Verdict,
)
from silkline.observe.shipping.spool import Batch, Spool

logger = logging.getLogger("silkline.logs")

MIN_BACKOFF_SECONDS = 0.2
"""Pause after the first failure; doubles with each further one."""

MAX_BACKOFF_SECONDS = 15.0
"""Maximum pause between attempts."""

MAX_FAILURES = 8
"""An event with which the server fails this often, although it answers, is a dead letter."""

_FIRST_ERROR = 400
"""The first HTTP status that is an error."""


@dataclass(slots=True)
class Counts:
    """What was shipped.

    Attributes:
        shipped: Events that the server has.
        dead: Events that it refused for good.
        retries: Events that were sent again.
        failing: Whether the last bulk request failed.
    """

    shipped: int = 0
    dead: int = 0
    retries: int = 0
    failing: bool = False


@dataclass(slots=True)
class _Work:
    """A batch in progress.

    Attributes:
        waiting: The events that are not done yet, in their order.
        size: Maximum events in a request.
        letters: The events that the server refused, with its verdicts.
        failures: How often the server failed with an event, by its id.
    """

    waiting: list[Item]
    size: int
    letters: list[tuple[Item, Verdict]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


class Shipper:
    """Sends the events of a spool in bulk requests, one after the other.

    A batch is done when each of its events is with the server or a dead letter; only then is the
    next one sent. So events of a later batch never come before those of an earlier one.
    """

    def __init__(
        self, server: LogServer, letters: DeadLetters, bulk_bytes: int, suffix: bytes
    ) -> None:
        """Takes the parts; nothing is sent before `ship`.

        Args:
            server: The log server.
            letters: Keeps the events that it refuses.
            bulk_bytes: Maximum bytes of the events in a request.
            suffix: What to add at the end of each event, as JSON: `,"name":"value"`.
        """
        self.counts = Counts()
        self._server = server
        self._letters = letters
        self._bulk_bytes = bulk_bytes
        self._suffix = suffix
        self._stopped = threading.Event()
        self._pause = MIN_BACKOFF_SECONDS

    def stop(self) -> None:
        """Makes `ship` and `setup` return after the request in flight."""
        self._stopped.set()

    def ship(self, spool: Spool) -> int:
        """Ships what is in a spool; returns how many events, or earlier when stopped."""
        count = 0
        while not self._stopped.is_set():
            batch = spool.read(self._bulk_bytes)
            if batch is None or not self._ship(batch):
                break
            spool.commit(batch)
            count += len(batch.events)
        return count

    def setup(self, documents: Mapping[str, bytes]) -> None:
        """Puts documents at paths of the server; logs which ones it refuses."""
        for path, document in documents.items():
            status = None
            while status is None and not self._stopped.is_set():
                try:
                    status = self._server.put(path, document)
                except Unavailable as error:
                    self._note_failure(str(error))
                    self._wait()
            if status is not None and status >= _FIRST_ERROR:
                fields = {"url.path": path, "http.response.status_code": status}
                logger.warning("the log server refuses a part of its setup", extra={"ecs": fields})

    def _ship(self, batch: Batch) -> bool:
        """Ships a batch; False if stopped before it was done."""
        work = _Work(self._items(batch), size=len(batch.events))
        while work.waiting:
            part = work.waiting[: work.size]
            try:
                verdicts = self._server.send(part)
            except TooLarge as error:
                if len(part) > 1:
                    work.size = len(part) // 2
                    continue
                verdicts = [Verdict(Fate.REFUSED, error.status)]
            except Unavailable as error:
                self._note_failure(str(error))
                verdicts = [Verdict(Fate.BUSY, 0)] * len(part)
            else:
                self._note_success()
            if self._settle(work, part, verdicts) and self._wait():
                return False
        self._bury(work.letters)
        return True

    def _settle(self, work: _Work, part: Sequence[Item], verdicts: Sequence[Verdict]) -> bool:
        """Takes the events that are done out of the work; returns whether others are left."""
        again = []
        for item, verdict in zip(part, verdicts, strict=True):
            work.failures[item.id] += verdict.fate is Fate.FAILED
            if verdict.fate is Fate.SHIPPED:
                self.counts.shipped += 1
            elif verdict.fate is Fate.REFUSED or work.failures[item.id] >= MAX_FAILURES:
                work.letters.append((item, verdict))
            else:
                again.append(item)
        work.waiting[: len(part)] = again
        self.counts.retries += len(again)
        if len(again) < len(part):
            self._pause = MIN_BACKOFF_SECONDS
        return bool(again)

    def _items(self, batch: Batch) -> list[Item]:
        """The documents of a batch: each event with its sequence number and the suffix."""
        return [
            Item(
                f"{batch.life}-{sequence}",
                b'%s,"event.sequence":%d%s}' % (event[:-1], sequence, self._suffix),
            )
            for sequence, event in enumerate(batch.events, batch.first)
        ]

    def _bury(self, letters: Sequence[tuple[Item, Verdict]]) -> None:
        if not letters:
            return
        if not self.counts.dead:
            fields = {"http.response.status_code": letters[0][1].status}
            logger.warning(
                "the log server refuses an event; see the dead letters in log_spool",
                extra={"ecs": fields},
            )
        self.counts.dead += len(letters)
        self._letters.add(letters)

    def _wait(self) -> bool:
        """Waits before the next attempt, at random within the backoff; True if stopped."""
        seconds = self._pause * random.uniform(0.5, 1)  # noqa: S311 - spreads the attempts
        self._pause = min(self._pause * 2, MAX_BACKOFF_SECONDS)
        return self._stopped.wait(seconds)

    def _note_failure(self, reason: str) -> None:
        if not self.counts.failing:
            logger.warning("the log server fails: %s", reason)
        self.counts.failing = True

    def _note_success(self) -> None:
        if self.counts.failing:
            logger.info("the log server works again")
        self.counts.failing = False
