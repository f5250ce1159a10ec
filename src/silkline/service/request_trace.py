"""What the trace of an open request will show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from silkline.core import FinishReason, Usage
from silkline.ingress.identity import Identity
from silkline.observe.trace_context import TraceContext
from silkline.service.question import Question


@dataclass(slots=True)
class RequestTrace:
    """What the trace of an open request will show besides its record.

    Attributes:
        context: Its trace context.
        question: The question, once it is understood.
        asked_after: Seconds from the request's arrival until then.
        images: The identities of its images, once known.
        usage: What its answer cost.
        finish: Why its answer ended.
    """

    context: TraceContext
    question: Question | None = None
    asked_after: float = 0.0
    images: Sequence[Identity] = ()
    usage: Usage | None = None
    finish: FinishReason | None = None

    def asks(self, question: Question, seconds: float) -> None:
        """Notes the question, so many seconds after the request's arrival; the first one counts."""
        if self.question is None:
            self.question, self.asked_after = question, seconds

    def answered(self, usage: Usage, finish: FinishReason) -> None:
        """Notes what the answer cost, and why it ended."""
        self.usage, self.finish = usage, finish
