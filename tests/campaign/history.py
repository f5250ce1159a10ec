"""What the clients of a campaign saw, and what was done to the servers meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How an operation ended for its client."""

    ANSWERED = "answered"
    """A whole 200: a whole body, or a stream that ended with `[DONE]`."""
    REFUSED = "refused"
    """A whole response with another status."""
    BROKEN_OFF = "broken off"
    """A stream that ended whole, with an `error` event and without `[DONE]`."""
    MALFORMED = "malformed"
    """A whole response that is none of these."""
    CUT = "cut"
    """The connection ended before the response was whole."""
    HUNG = "hung"
    """Nothing ended it; the client gave up, long after the deadline."""
    LEFT = "left"
    """The client went away, as it had planned to."""
    UNREACHABLE = "unreachable"
    """There was no connection, so nothing was accepted."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of one client.

    Attributes:
        id: The client's own name for it, sent as `x-request-id`.
        began, ended: When, on the monotonic clock, in seconds.
        deadline_seconds: What it may take.
        port: The client's side of the connection; 0 when there was none.
        outcome: How it ended.
        expected: What the model must say.
        text: What it said, as far as it came.
        status: The HTTP status, when one came.
        code: The error's code, from an error body or an `error` event.
        echoed: The `x-request-id` that came back.
        retry_after: The header, when it came.
        state: `x-silkline-cache`, when it came.
        stream: Whether a stream was asked for.
        sound: Whether nothing is wrong with the request, so that it may not be blamed.
        first_byte: When the response's head came; None when none did.
        detail: What the client saw, in words, for people.
    """

    id: str
    began: float
    ended: float
    deadline_seconds: float
    port: int
    outcome: Outcome
    expected: str
    text: str = ""
    status: int | None = None
    code: str | None = None
    echoed: str | None = None
    retry_after: str | None = None
    state: str | None = None
    stream: bool = False
    sound: bool = True
    first_byte: float | None = None
    detail: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(slots=True)
class Fault:
    """Something that was done to the servers.

    Attributes:
        name: What.
        began, ended: While it lasted, on the monotonic clock.
        cut: Client-side ports of the connections that it broke itself.
        cuts_all: Whether it may have broken any connection that was open then.
    """

    name: str
    began: float
    ended: float
    cut: frozenset[int] = frozenset()
    cuts_all: bool = False


@dataclass(slots=True)
class History:
    """Operations and faults of one campaign."""

    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    @contextmanager
    def fault(self, name: str, *, cuts_all: bool = False) -> Iterator[Fault]:
        """Records a fault that lasts while the block does."""
        fault = Fault(name, time.monotonic(), float("inf"), cuts_all=cuts_all)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.ended = time.monotonic()

    def outcomes(self) -> dict[str, int]:
        """How many operations ended in which way; refusals by their code."""
        counts: dict[str, int] = {}
        for operation in self.operations:
            name = operation.outcome.value
            if operation.code is not None:
                name += f" {operation.code}"
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def answered(self) -> list[Operation]:
        """The operations that were answered whole."""
        return [each for each in self.operations if each.outcome is Outcome.ANSWERED]
