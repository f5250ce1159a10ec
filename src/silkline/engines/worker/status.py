"""The status of a supervised worker, as its supervisor publishes it to gateway processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from silkline.core import Health


class WorkerState(StrEnum):
    """The state of a supervised worker."""

    STARTING = "starting"
    SERVING = "serving"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The status of a supervised worker.

    Attributes:
        state: The state of its life cycle.
        socket: Its address as text, another one for each start; empty while none serves.
        ready: Whether it serves and its engine makes progress.
        pid: Its process id; None while there is no process.
        rss_bytes: Its resident memory; None while there is no process.
        restarts: How often it was replaced.
        start_seconds: How long its last start took, in seconds.
        health: Its engine's last known health; None while none serves.
    """

    state: WorkerState = WorkerState.STARTING
    socket: str = ""
    ready: bool = False
    pid: int | None = None
    rss_bytes: int | None = None
    restarts: int = 0
    start_seconds: float = 0.0
    health: Health | None = None
