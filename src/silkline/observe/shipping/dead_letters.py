"""Keeps the events that the log server refuses for good, for a person to look at."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from silkline.observe.shipping.server import Item, Verdict

FILE = "dead.ndjson"
"""Name of the file: one line of JSON per event, with its document id, HTTP status and error."""

OLDER_FILE = "dead.1.ndjson"
"""Name of the file that it becomes when it is full; the one before is removed."""

logger = logging.getLogger("silkline.logs")


class DeadLetters:
    """The refused events in a folder: the newest ones, within a number of bytes."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Takes the folder, and the maximum bytes of both files together."""
        self._folder = folder
        self._max_bytes = max_bytes // 2

    def add(self, letters: Iterable[tuple[Item, Verdict]]) -> None:
        """Appends events with the verdicts about them; if the disk fails, they are dropped."""
        lines = b"".join(
            msgspec.json.encode(
                {
                    "id": item.id,
                    "status": verdict.status,
                    "error": verdict.error,
                    "event": msgspec.Raw(item.event),
                }
            )
            + b"\n"
            for item, verdict in letters
        )
        path = self._folder / FILE
        try:
            if path.exists() and path.stat().st_size + len(lines) > self._max_bytes:
                path.replace(self._folder / OLDER_FILE)
            path.touch(mode=0o600)
            with path.open("ab") as file:
                file.write(_cut(lines, self._max_bytes))
        except OSError as error:
            fields = {"error.message": os.strerror(error.errno or 0)}
            logger.error("dead letters cannot be kept", extra={"ecs": fields})  # noqa: TRY400


def _cut(lines: bytes, max_bytes: int) -> bytes:
    """The first whole lines within so many bytes."""
    return lines[: lines.rfind(b"\n", 0, max_bytes) + 1]
