"""Scores replies and summarises the results of one subject."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from silkline.core import FinishReason
from silkline.evaluate.confidence import calibration_error
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import Metric
from silkline.evaluate.repeats import sample
from silkline.evaluate.results import Latency, Result, Score, Scores
from silkline.evaluate.significance import bootstrap, wilson
from silkline.evaluate.subject import Subject


def score_replies(
    items: Sequence[Item], replies: Sequence[Reply], metrics: Sequence[Metric]
) -> Scores:
    """The value of each metric for each item; 0 for items without an answer."""
    texts = [reply.answer or "" for reply in replies]
    return {
        metric.name: [
            0.0 if reply.answer is None else value
            for reply, value in zip(replies, metric.score(items, texts), strict=True)
        ]
        for metric in metrics
    }


def summarise(
    subject: Subject,
    replies: Sequence[Reply],
    metrics: Sequence[Metric],
    scores: Scores,
    seed: int,
) -> Result:
    """Summarises a subject: means with intervals, latency, tokens and failures.

    Rows of the same question share a reply. Means and failures count each row; latency and tokens
    count each reply once.
    """
    answered = [reply for reply in replies if reply.answer is not None]
    once = list({reply.item: reply for reply in answered}.values())
    keys = [reply.item for reply in replies]
    return Result(
        subject=subject,
        items=len(replies),
        answered=len(answered),
        cut=sum(reply.finish_reason == FinishReason.LENGTH for reply in answered),
        failures=dict(Counter(reply.error for reply in replies if reply.error).most_common()),
        scores=[_score(metric, keys, scores[metric.name], seed) for metric in metrics],
        latency=_latency([reply.seconds for reply in once]),
        prompt_tokens=sum(reply.prompt_tokens for reply in once),
        completion_tokens=sum(reply.completion_tokens for reply in once),
        calibration_error=_calibration_error(replies, metrics, scores),
    )


def _calibration_error(
    replies: Sequence[Reply], metrics: Sequence[Metric], scores: Scores
) -> float | None:
    main = next(iter(metrics), None)
    if main is None or not main.right_or_wrong:
        return None
    found = [
        (reply.probability, value)
        for reply, value in zip(replies, scores[main.name], strict=True)
        if reply.answer is not None
    ]
    known = [(probability, value) for probability, value in found if probability is not None]
    if not known or len(known) < len(found):
        return None
    return calibration_error([each[0] for each in known], [each[1] for each in known])


def _score(metric: Metric, keys: Sequence[str], values: Sequence[float], seed: int) -> Score:
    found = sample(keys, values)
    if metric.right_or_wrong:
        interval = wilson(found.mean * found.effective, found.effective)
    else:
        interval = bootstrap(found.linear, seed)
    return Score(metric.name, metric.about, found.mean, interval.low, interval.high, metric.highest)


def _latency(seconds: Sequence[float]) -> Latency | None:
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        """The nearest-rank percentile: always a measured value."""
        return ordered[math.ceil(share * len(ordered)) - 1]

    return Latency(statistics.fmean(ordered), at(0.5), at(0.9), at(0.99))
