"""What the service knows about one request while it is open."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from silkline.admission.tenant import ANYONE, Tenant
from silkline.core import Timeline


@dataclass(slots=True)
class RequestRecord:
    """The life of one request.

    Attributes:
        id: The client's `x-request-id` when it is well-formed, else a new one.
        started: Monotonic seconds when the request's head had come.
        model: The model's name, once known.
        served: The name and the digest of its bundle, once known.
        cache: `hit`, `miss`, `coalesced`, `near` or `bypass`.
        error: The code of the error that ended the request, if one did.
        tenant: Who asks, once the gate has let the request in.
        pixel_budget: Most pixels that its pictures may have for the model, once known.
        timeline: The stages that it went through so far.
        idempotency_key: What its tenant's idempotency key is called in stores and further on;
            empty where it has none.
        ignored: The paths of fields in its body that are unknown here.
        max_tokens: Tokens that its answer may have, where that is fewer than it asked for.
    """

    id: str
    started: float = field(default_factory=time.monotonic)
    model: str = ""
    served: str = ""
    cache: str = "bypass"
    error: str | None = None
    tenant: Tenant = ANYONE
    pixel_budget: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    idempotency_key: str = ""
    ignored: tuple[str, ...] = ()
    max_tokens: int | None = None

    def elapsed(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self.started
