"""A batch and a stored file: their records, and the objects that the OpenAI API shows.

https://platform.openai.com/docs/api-reference/batch/object and `files/object`.
"""

from __future__ import annotations

from typing import Any

import msgspec

VALIDATING, IN_PROGRESS, FINALIZING, CANCELLING = (
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
)
FAILED, COMPLETED, EXPIRED, CANCELLED = "failed", "completed", "expired", "cancelled"
UNFINISHED = frozenset({VALIDATING, IN_PROGRESS, FINALIZING, CANCELLING})
"""The statuses of a batch that still has work."""

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""The routes that the requests of a batch may be for."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why the input file was refused.

    Attributes:
        code: What is wrong, as a word.
        message: The same in a sentence.
        line: The line, from 1; None if it is about the whole file.
        param: The field of the line.
    """

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file; times are Unix seconds."""

    id: str
    tenant: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int

    def shown(self) -> dict[str, Any]:
        """The object of the API."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["tenant"]
        return {**found, "object": "file", "status": "processed", "status_details": None}


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch.

    Attributes:
        tenant: The tenant's name.
        salt: The tenant's salt, as hex: it separates cached answers.
        status: One of the API's statuses.
        total: Requests in the input file, once validated.
        completed: Those with an answer so far.
        failed: Those with an error so far.
        output_ttl: Seconds that the files with the results are kept.
        ends_as: How it ends once its files are written; empty until that is known.
    """

    id: str
    tenant: str
    salt: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    status: str
    created_at: int
    expires_at: int
    output_ttl: int
    total: int = 0
    completed: int = 0
    failed: int = 0
    problems: tuple[Problem, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    ends_as: str = ""

    def now(self, status: str, when: float, **changes: Any) -> Batch:
        """The batch with another status, from `when` on."""
        times = {} if status == VALIDATING else {f"{status}_at": int(when)}
        return msgspec.structs.replace(self, status=status, **times, **changes)

    def shown(self) -> dict[str, Any]:
        """The object of the API."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        for own in ("tenant", "salt", "output_ttl", "ends_as"):
            del found[own]
        counts = {name: found.pop(name) for name in ("total", "completed", "failed")}
        problems = found.pop("problems")
        return {
            **found,
            "object": "batch",
            "errors": {"object": "list", "data": problems} if problems else None,
            "request_counts": counts,
        }
