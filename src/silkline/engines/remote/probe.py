"""Asks a server how it reads a request: its token counts and the most likely first tokens.

The API does not expose pixels and token ids. Log-probabilities are requested by OpenAI's fields
(`logprobs`, `top_logprobs`); if the server refuses them, the request is sent without.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from silkline.core import Request, Usage
from silkline.engines.probe import Showing
from silkline.engines.remote.body import check, encode_body
from silkline.engines.remote.chunks import Content, Text
from silkline.engines.remote.failures import lost
from silkline.engines.remote.fields import fields_of
from silkline.errors import UNDECODABLE, InvalidRequest

if TYPE_CHECKING:
    from silkline.engines.remote.engine import RemoteEngine

_MAX_LISTED = 20
"""Maximum tokens that OpenAI's API lists for a position."""

_HIDDEN = "a server does not expose it"


class _Likely(msgspec.Struct):
    token: str
    logprob: float


class _Position(msgspec.Struct):
    top_logprobs: list[_Likely] = []


class _Logprobs(msgspec.Struct):
    content: list[_Position] | None = None


class _Message(msgspec.Struct):
    content: Content = None


class _Choice(msgspec.Struct):
    message: _Message
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    image_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class RemoteProber:
    """See `silkline.engines.probe.Prober`."""

    def __init__(self, engine: RemoteEngine) -> None:
        """Takes a started engine."""
        self._engine = engine
        self._has_logprobs = True

    async def show(self, request: Request) -> Showing:
        """See `Prober`."""
        check(request)
        first = replace(request, sampling=replace(request.sampling, max_tokens=1))
        engine = self._engine
        fields = engine.dialect.translate(fields_of(first))
        encoded = await asyncio.to_thread(
            encode_body, first, engine.info.model, fields, engine.image_form
        )
        completion = await self._ask(msgspec.json.decode(encoded), first.timeout_seconds)
        if not completion.choices:
            raise lost("sent an invalid answer")
        choice = completion.choices[0]
        likeliest = _likeliest(choice)
        hidden = {"pixels": _HIDDEN, "prompt_ids": _HIDDEN}
        if completion.usage is None or not _image_tokens(completion.usage):
            hidden["usage"] = "the server does not report image tokens"
        return Showing(
            usage=_usage(completion.usage),
            likeliest=likeliest or None,
            served=Text.of(choice.message.content).text,
            hidden=hidden,
        )

    async def aclose(self) -> None:
        """See `Prober`."""

    async def _ask(self, body: dict[str, Any], seconds: float) -> _Completion:
        """Requests one answer, with log-probabilities if the server accepts the fields."""
        plain = {key: value for key, value in body.items() if key != "stream_options"}
        plain["stream"] = False
        if self._has_logprobs:
            try:
                return await self._complete(
                    {**plain, "logprobs": True, "top_logprobs": _MAX_LISTED}, seconds
                )
            except InvalidRequest:  # due to these fields; otherwise the retry fails as well
                answer = await self._complete(plain, seconds)
                self._has_logprobs = False
                return answer
        return await self._complete(plain, seconds)

    async def _complete(self, body: dict[str, Any], seconds: float) -> _Completion:
        data = await self._engine.complete(msgspec.json.encode(body), seconds)
        try:
            return msgspec.json.decode(data, type=_Completion)
        except UNDECODABLE as error:
            raise lost("sent an invalid answer") from error


def _likeliest(choice: _Choice) -> dict[str, float]:
    positions = choice.logprobs.content if choice.logprobs is not None else None
    return (
        {likely.token: likely.logprob for likely in positions[0].top_logprobs} if positions else {}
    )


def _image_tokens(usage: _Usage) -> int:
    return usage.prompt_tokens_details.image_tokens or 0 if usage.prompt_tokens_details else 0


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(usage.prompt_tokens, usage.completion_tokens, _image_tokens(usage))
