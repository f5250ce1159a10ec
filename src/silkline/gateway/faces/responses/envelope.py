"""Builds response objects: https://platform.openai.com/docs/api-reference/responses/object."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec

from silkline.core import Timeline, Usage
from silkline.gateway.evidence import evidence
from silkline.gateway.faces.responses.history import ID_PREFIX
from silkline.gateway.faces.responses.output import COMPLETED, INCOMPLETE
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.service.question import Question
from silkline.service.record import RequestRecord


class Envelope:
    """Builds the response objects of one request, which share id, time and settings."""

    def __init__(self, record: RequestRecord, body: ResponsesRequest, *, stores: bool) -> None:
        """Takes the request's record and body, and whether the response will be stored."""
        self.suffix = uuid.uuid4().hex
        record.details.answer = self.id
        self.stores = stores
        self._record = record
        self._body = body
        self._created = int(time.time())

    @property
    def id(self) -> str:
        """The response's id."""
        return f"{ID_PREFIX}{self.suffix}"

    def response(
        self, question: Question, status: str, output: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """A response without usage: what was asked, and the items so far."""
        body = self._body
        text = body.text and body.text.format
        settings = {
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {"effort": body.reasoning and body.reasoning.effort, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": self.stores,
            "temperature": question.sampling.temperature,
            "text": {
                "format": msgspec.to_builtins(text) if text else {"type": "text"},
                "verbosity": (body.text and body.text.verbosity) or "medium",
            },
            "tool_choice": msgspec.to_builtins(body.tool_choice) or "auto",
            "tools": msgspec.to_builtins(body.tools or []),
            "top_logprobs": body.top_logprobs or 0,
            "top_p": question.sampling.top_p,
            "truncation": "disabled",
            "user": body.user,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == COMPLETED else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self._record.model,
            "output": output,
            **settings,
            "usage": None,
        }

    def ended(
        self,
        question: Question,
        status: str,
        output: list[dict[str, Any]],
        usage: Usage,
        timeline: Timeline,
    ) -> dict[str, Any]:
        """The response of a complete or incomplete answer."""
        reason = {"reason": "max_output_tokens"} if status == INCOMPLETE else None
        return {
            **self.response(question, status, output),
            "incomplete_details": reason,
            "usage": _usage(usage),
            "silkline": evidence(self._record, timeline),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": 0,
            "image_tokens": usage.image_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
