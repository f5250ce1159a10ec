"""What is known about one attempt at a request, for the request history."""

from __future__ import annotations

from dataclasses import dataclass

from silkline.routing.choice import Reason


@dataclass(slots=True)
class Attempt:
    """One call to a replica.

    Attributes:
        replica: The replica's name.
        reason: Why this replica.
        waited_seconds: Seconds from the request's arrival at the pool until it had a slot there.
        seconds: Seconds from then until the call ended; None while it runs.
        error: The code of the error that ended it; empty if none did.
    """

    replica: str
    reason: Reason
    waited_seconds: float
    seconds: float | None = None
    error: str = ""
