"""The record of one request, for its log line and metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from silkline.admission.tenant import ANYONE, Tenant
from silkline.core import Timeline
from silkline.errors import SERVER_FAULTS
from silkline.observe.trace_context import TraceContext
from silkline.service.details import Details
from silkline.service.other_fields import OtherField
from silkline.service.question import Question


@dataclass(slots=True)
class RequestRecord:
    """What is known about one request while it is open.

    Attributes:
        id: The client's `x-request-id` if it is well-formed, else a new one.
        started: Monotonic seconds when the request's headers had arrived.
        model: The model's name, once known.
        served: The model's `name@revision`, once known.
        cache: `hit`, `miss`, `coalesced`, `near` or `bypass`.
        error: The code of the error that ended the request, if one did.
        tenant: The tenant, once authenticated.
        pixel_budget: The smallest pixel budget of its images, once known; without images, the
            model's.
        pixel_budgets: The pixel budget of each of its images, in the order in which they were sent.
        timeline: The stages so far.
        idempotency_key: The idempotency key, scoped to the tenant, as stores and remote servers
            see it; empty means none.
        others: The fields of its body that no route here supports.
        ignored: The paths of those that were ignored.
        max_tokens: Maximum tokens of its answer, if that is fewer than requested; else None.
        trace: Its trace; None if it has none.
        user: Whom the client's application answers, by the header `x-silkline-user`; empty if it
            does not say.
        experiment: The experiment that the request takes part in; empty if none.
        arm: Its arm there.
        size: Characters, and what images add: it explains a part of the duration.
        shadow: The experiment whose other model answers the question too, once this answer is
            sent; empty if none.
        shadowed: That question.
        is_question: Whether it asks a model, so that the service level objectives count it.
        reason: The message of the error that ended the request; empty if none did.
        is_probe: Whether the server asks by itself, so that it takes part in no experiment.
        details: What the request history shows besides.
    """

    id: str
    started: float = field(default_factory=time.monotonic)
    model: str = ""
    served: str = ""
    cache: str = "bypass"
    error: str | None = None
    tenant: Tenant = ANYONE
    pixel_budget: int = 0
    pixel_budgets: tuple[int, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)
    idempotency_key: str = ""
    others: tuple[OtherField, ...] = ()
    ignored: tuple[str, ...] = ()
    max_tokens: int | None = None
    trace: TraceContext | None = None
    user: str = ""
    experiment: str = ""
    arm: str = ""
    size: float = 0.0
    shadow: str = ""
    shadowed: Question | None = None
    is_question: bool = False
    reason: str = ""
    is_probe: bool = False
    details: Details = field(default_factory=Details)

    @property
    def failed(self) -> bool:
        """Whether it ended in an error that the server is to blame for."""
        return self.error in SERVER_FAULTS

    def elapsed(self) -> float:
        """Returns the seconds since the request arrived."""
        return time.monotonic() - self.started
