"""The scorer `http`: the user's own service compares the answers."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from silkline.core import TextPart
from silkline.errors import UNDECODABLE, Overloaded
from silkline.experiments.scorers.scorer import Pair, Score, Scorer, Tools

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_MAX_REPLY_BYTES = 64 * 1024


def _http(tools: Tools) -> Score:
    url = tools.settings.score_url

    async def score(pair: Pair) -> float | None:
        body = msgspec.json.encode(
            {
                "request_id": pair.request,
                "messages": [
                    {"role": message.role.value, "content": _text(message.parts)}
                    for message in pair.question.messages
                ],
                "model_answer": pair.model,
                "candidate_answer": pair.candidate,
            }
        )
        headers = {"content-type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                reply = await response.content.read(_MAX_REPLY_BYTES)
                found: Any = msgspec.json.decode(reply)["score"] if response.ok else None
        except (aiohttp.ClientError, OSError, KeyError, TypeError, *UNDECODABLE) as error:
            raise _unavailable() from error
        if found is None:
            raise _unavailable()
        return _bounded(found)

    return score


def _text(parts: Any) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _bounded(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not -1 <= found <= 1:
        raise _unavailable()
    return float(found)


def _unavailable() -> Overloaded:
    return Overloaded(
        "The service of the scorer http does not respond with a score from -1 to 1. Check "
        "score_url."
    )


HTTP = Scorer("what the service at `score_url` says", _http)
