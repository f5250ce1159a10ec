"""What the gateway knows of a request while it is open, kept in the ASGI scope.

The outermost layer makes one `RequestRecord` a request; the routes fill in what they learn, and the
same layer writes the log line and the metrics when the request ends.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.types import Scope

from silkline.admission.tenant import ANYONE, Tenant
from silkline.core import Timeline

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = "silkline"


@dataclass(slots=True)
class RequestRecord:
    """The life of one request.

    Attributes:
        id: The client's `x-request-id` when it is well-formed, else a new one.
        started: Monotonic seconds when the request's head had come.
        model: The model's name, once known.
        cache: `hit`, `miss`, `coalesced`, `near` or `bypass`.
        error: The code of the error that ended the request, if one did.
        tenant: Who asks, once the gate has let the request in.
        pixel_budget: Most pixels that its pictures may have for the model, once known.
        timeline: The stages that it went through so far.
        idempotency_key: What its tenant's idempotency key is called in stores and further on;
            empty where it has none.
        ignored: The paths of fields in its body that are unknown here.
        max_tokens: Most tokens of its answer, where that is fewer than it asked for.
    """

    id: str
    started: float = field(default_factory=time.monotonic)
    model: str = ""
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


def new_record(scope: Scope) -> RequestRecord:
    """Makes the record of a request and keeps it in its scope."""
    record = RequestRecord(id=_request_id(scope))
    scope.setdefault("state", {})[_KEY] = record
    return record


def record_of(connection: HTTPConnection) -> RequestRecord:
    """The record of a request that has passed the outermost layer."""
    record = connection.scope["state"][_KEY]
    if not isinstance(record, RequestRecord):
        raise TypeError("the request did not pass RequestLayer")
    return record


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _WELL_FORMED_ID.fullmatch(text):
                return str(text)
            break
    return uuid.uuid4().hex
