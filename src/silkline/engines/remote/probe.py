"""What a server tells of how it reads a request: token counts, and the likeliest first tokens.

Pixels and token ids stay behind the API. Log-probabilities are asked for as OpenAI has them
(`logprobs`, `top_logprobs`); a server that refuses these fields is asked without.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from silkline.core import Request, Usage
from silkline.engines.probe import Showing
from silkline.engines.remote.answer import Content, Text
from silkline.engines.remote.body import check, encode_body
from silkline.engines.remote.failures import lost
from silkline.errors import UNDECODABLE, InvalidRequest

if TYPE_CHECKING:
    from silkline.engines.remote.engine import RemoteEngine

_LISTED = 20
"""Most tokens that OpenAI's API lists at a place."""

_BEHIND = "a server does not show it"


class _Likely(msgspec.Struct):
    token: str
    logprob: float


class _Place(msgspec.Struct):
    top_logprobs: list[_Likely] = []


class _Places(msgspec.Struct):
    content: list[_Place] | None = None


class _Message(msgspec.Struct):
    content: Content = None


class _Choice(msgspec.Struct):
    message: _Message
    logprobs: _Places | None = None


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
        self._lists = True

    async def show(self, request: Request) -> Showing:
        """See `Prober`."""
        check(request)
        first = replace(request, sampling=replace(request.sampling, max_tokens=1))
        engine = self._engine
        encoded = await asyncio.to_thread(encode_body, first, engine.info.model, engine.dialect)
        told = await self._ask(msgspec.json.decode(encoded), first.timeout_seconds)
        if not told.choices:
            raise lost("sent what is no answer")
        choice = told.choices[0]
        likeliest = _likeliest(choice)
        hidden = {"pixels": _BEHIND, "prompt_ids": _BEHIND}
        if told.usage is None or not _image_tokens(told.usage):
            hidden["usage"] = "the server does not tell the tokens of pictures"
        return Showing(
            usage=_usage(told.usage),
            likeliest=likeliest or None,
            served=Text.of(choice.message.content).text,
            hidden=hidden,
        )

    async def aclose(self) -> None:
        """See `Prober`."""

    async def _ask(self, body: dict[str, Any], seconds: float) -> _Completion:
        """One answer, with log-probabilities where the server takes the fields."""
        plain = {key: value for key, value in body.items() if key != "stream_options"}
        plain["stream"] = False
        if self._lists:
            try:
                return await self._whole(
                    {**plain, "logprobs": True, "top_logprobs": _LISTED}, seconds
                )
            except InvalidRequest:  # of these fields; else the next one is refused as well
                answer = await self._whole(plain, seconds)
                self._lists = False
                return answer
        return await self._whole(plain, seconds)

    async def _whole(self, body: dict[str, Any], seconds: float) -> _Completion:
        data = await self._engine.whole(msgspec.json.encode(body), seconds)
        try:
            return msgspec.json.decode(data, type=_Completion)
        except UNDECODABLE as error:
            raise lost("sent what is no answer") from error


def _likeliest(choice: _Choice) -> dict[str, float]:
    places = choice.logprobs.content if choice.logprobs is not None else None
    return {likely.token: likely.logprob for likely in places[0].top_logprobs} if places else {}


def _image_tokens(usage: _Usage) -> int:
    return usage.prompt_tokens_details.image_tokens or 0 if usage.prompt_tokens_details else 0


def _usage(told: _Usage | None) -> Usage | None:
    if told is None:
        return None
    return Usage(told.prompt_tokens, told.completion_tokens, _image_tokens(told))
