"""The tokens of a prompt, without an answer."""

from __future__ import annotations

from dataclasses import replace

from silkline.cache.policy import CacheUse
from silkline.core import Answer, Feature, Sampling
from silkline.service.answering import Answering
from silkline.service.question import Question
from silkline.service.record import RequestRecord


async def tokenize(answering: Answering, question: Question, record: RequestRecord) -> Answer:
    """Tokenizes a question's prompt; returns an answer without text.

    Raises:
        InvalidRequest: The engine cannot tell the tokens of a prompt.
        SilklineError: As `Answering.answer`.
    """
    return await answering.answer(_limited(question, 0), record)


async def count_tokens(answering: Answering, question: Question, record: RequestRecord) -> int:
    """Counts the tokens of a question's prompt, those of its images included.

    An engine that cannot tell the tokens reports their number with an answer of one token.

    Raises:
        SilklineError: As `Answering.answer`.
    """
    features = answering.models.choose(question.model).info.features
    max_tokens = 0 if Feature.TOKENIZE in features else 1
    answer = await answering.answer(_limited(question, max_tokens), record)
    return answer.usage.prompt_tokens


def _limited(question: Question, max_tokens: int) -> Question:
    # Not from the cache: the answer to a near duplicate of an image may have another count.
    sampling = Sampling(max_tokens=max_tokens)
    return replace(
        question,
        sampling=sampling,
        stream=False,
        cache_use=CacheUse.NONE,
        unset=frozenset(),
    )
