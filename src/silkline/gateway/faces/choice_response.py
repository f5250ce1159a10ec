"""Sends completions, which have several choices, whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

from silkline.core import Usage
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.chat_envelope import Envelope
from silkline.gateway.faces.chat_schema import StreamOptions
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream, event
from silkline.service.answering import Answering
from silkline.service.choices import answers, deltas
from silkline.service.question import Question
from silkline.service.record import RequestRecord

CHOICE_RESPONSES: dict[str, Any] = {
    "description": "The completion; with `stream`, its chunks as server-sent events.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {},  # OpenAPI 3.1 has no schema for events
    },
}
"""The OpenAPI description of the response."""


async def choice_response(
    request: Request,
    answering: Answering,
    question: Question,
    kind: type[Envelope],
    options: StreamOptions | None,
) -> Response:
    """Answers a question.

    Args:
        request: The client's request, whose body was read.
        answering: Answers it.
        question: The question of its body.
        kind: Builds the objects of the response.
        options: The options of a stream, which may end with a chunk that holds the usage.

    Raises:
        SilklineError: As `answers`, unless the response is a stream.
    """
    record = record_of(request)
    if question.stream:
        with_usage = options is not None and bool(options.include_usage)
        stream = _ChoiceStream(answering, question, record, kind, with_usage=with_usage)
        return EventStream(
            stream.events(), record, stream.headers, seconds=answering.seconds_left(record)
        )
    found = await unless_client_leaves(request, answers(answering, question, record))
    return Response(
        msgspec.json.encode(kind(record).completion(found)),
        headers=evidence_headers(record),
        media_type="application/json",
    )


class _ChoiceStream:
    """Builds the chunks of one streamed completion: text, finish reason, usage."""

    def __init__(
        self,
        answering: Answering,
        question: Question,
        record: RequestRecord,
        kind: type[Envelope],
        *,
        with_usage: bool,
    ) -> None:
        self._answering = answering
        self._question = question
        self._record = record
        self._kind = kind
        self._with_usage = with_usage

    def headers(self) -> dict[str, str]:
        """The response headers, with the stages known at the first chunk."""
        return evidence_headers(self._record)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields chunks with text, one with only the finish reason, one with the usage if asked."""
        envelope: Envelope | None = None
        started: set[int] = set()
        usages: list[Usage] = []
        stream = deltas(self._answering, self._question, self._record)
        async with aclosing(stream) as answer:
            async for index, part in answer:
                envelope = envelope or self._kind(self._record, with_usage=self._with_usage)
                chunks = []
                content = envelope.content(part, first=index not in started)
                if content:
                    chunks.append(envelope.chunk(index, content, part.logprobs))
                    started.add(index)
                if part.finish_reason and part.usage and part.timeline:
                    usages.append(part.usage)
                    chunks.append(envelope.finish_chunk(index, part))
                    if self._with_usage and len(usages) == self._question.choices:
                        chunks.append(envelope.usage_chunk(usages, part.timeline))
                yield b"".join(map(event, chunks))
