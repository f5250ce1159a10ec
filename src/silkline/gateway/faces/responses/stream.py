"""Answers one request of the Responses API, as events or as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from silkline.cache.policy import CacheUse
from silkline.core import FinishReason
from silkline.errors import InputError, InternalFault, RateLimited, SilklineError
from silkline.gateway.error_bodies import OPENAI
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.responses.envelope import Envelope
from silkline.gateway.faces.responses.history import Conversation, History
from silkline.gateway.faces.responses.output import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    Event,
    Output,
)
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.gateway.sse import event
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.record import RequestRecord

FAILED = "failed"

_PARAMS: Mapping[str, str] = {
    "logprobs": "include",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
"""Fields of chat completions that errors name, and what they are called here."""


class Responding:
    """Answers one request."""

    def __init__(
        self,
        answering: Answering,
        history: History,
        body: ResponsesRequest,
        record: RequestRecord,
        cache_use: CacheUse,
    ) -> None:
        self._answering = answering
        self._history = history
        self._body = body
        self._record = record
        self._cache_use = cache_use
        self._envelope = Envelope(record, body, stores=history.stores(body))
        self._output = Output(self._envelope.suffix)
        self._question: Question | None = None
        self._sent = 0

    def headers(self) -> dict[str, str]:
        """The response headers, with the stages known so far."""
        return evidence_headers(self._record)

    async def whole(self) -> dict[str, Any]:
        """Returns the whole response.

        Raises:
            SilklineError: As `Answering.answer`, or an earlier response is not stored.
        """
        seen: list[Event] = []
        async with aclosing(self._steps()) as steps:
            async for seen in steps:  # noqa: B007 - the last one is used
                pass
        response: dict[str, Any] = seen[-1]["response"]
        return response

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields the encoded events, those of each delta together.

        Raises:
            SilklineError: As `whole`.
        """
        async with aclosing(self._steps()) as steps:
            async for events in steps:
                if events:
                    yield b"".join(map(self._encode, events))

    def failed(self, error: SilklineError) -> bytes:
        """Encodes the events of an error that ends a started stream.

        The event `error` has the error in itself, as its type in the official client, and under
        `error`, at which that client raises it.
        """
        found: dict[str, Any] = OPENAI.of(error, self._record.id)["error"]
        events: list[Event] = [{**found, "type": "error", "error": found}]
        if self._question is not None:
            response = self._response(self._question, FAILED)
            events.append(_of("failed", {**response, "error": {**found, "code": _code(error)}}))
        return b"".join(map(self._encode, events))

    async def _steps(self) -> AsyncGenerator[list[Event], None]:
        """Yields the events of each delta; the very last event has the whole response."""
        finished = False
        with _renamed_params(self._record):
            async with self._history.conversation(self._body, self._record) as conversation:
                question = self._body.question(conversation.located, self._cache_use)
                deltas = self._answering.deltas(question, self._record)
                async with aclosing(deltas) as answer:
                    async for delta in answer:
                        events = [*self._begun(question), *self._output.add(delta)]
                        if delta.usage and delta.timeline and delta.finish_reason:
                            finished = True
                            status = _status(delta.finish_reason)
                            events += self._output.end(status)
                            response = self._envelope.ended(
                                question, status, self._output.items(), delta.usage, delta.timeline
                            )
                            await self._keep(conversation, response)
                            events.append(_of(status, response))
                        yield events
        if not finished:
            raise InternalFault("The engine's stream ended without a finish reason.")

    def _begun(self, question: Question) -> list[Event]:
        """The events before the first item, once."""
        if self._question is not None:
            return []
        self._question = question
        response = self._response(question, IN_PROGRESS)
        return [_of("created", response), _of("in_progress", response)]

    async def _keep(self, conversation: Conversation, response: dict[str, Any]) -> None:
        """Stores the response if that was asked for; if it fails, the response says so."""
        if self._envelope.stores:
            response["store"] = await self._history.keep(self._record, conversation, response)

    def _response(self, question: Question, status: str) -> dict[str, Any]:
        return self._envelope.response(question, status, self._output.items())

    def _encode(self, step: Event) -> bytes:
        encoded = event({**step, "sequence_number": self._sent}, step["type"])
        self._sent += 1
        return encoded


def _of(what: str, response: dict[str, Any]) -> Event:
    """An event about the response."""
    return {"type": f"response.{what}", "response": response}


def _status(reason: FinishReason) -> str:
    return INCOMPLETE if reason is FinishReason.LENGTH else COMPLETED


def _code(error: SilklineError) -> str:
    """The code of an error in a response object, whose type allows only a few."""
    if isinstance(error, RateLimited):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, InputError) else "server_error"


@contextmanager
def _renamed_params(record: RequestRecord) -> Iterator[None]:
    """Gives fields that errors name their names here, unless the client named them so."""
    try:
        yield
    except SilklineError as error:
        if all(error.param != other.path for other in record.others):
            error.param = _PARAMS.get(error.param or "", error.param)
        raise
