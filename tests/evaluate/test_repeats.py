"""Rows of the same question: counted each in means, once in intervals and tests."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.evaluate.compare import compare, differing, worst
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import METRICS
from silkline.evaluate.repeats import sample
from silkline.evaluate.results import Difference, Evaluation, Result
from silkline.evaluate.significance import bootstrap, mcnemar, paired_shares, sign_flip, wilson
from silkline.evaluate.summary import score_replies, summarise
from silkline.evaluate.terminal import notes
from tests.evaluate.items import SUBJECT, item, reply

METRIC_LIST = [METRICS["exact_match"], METRICS["token_f1"]]


def side(answers: Sequence[str], times: Sequence[int]) -> tuple[list[Item], list[Reply]]:
    """Items whose reference is "a red mug", each so many times, and the answers to them."""
    pairs = [
        (item("a red mug", name=str(number)), reply(text, name=str(number)))
        for number, (text, count) in enumerate(zip(answers, times, strict=True))
        for _ in range(count)
    ]
    return [one for one, _ in pairs], [one for _, one in pairs]


def result(answers: Sequence[str], times: Sequence[int]) -> Result:
    items, replies = side(answers, times)
    return summarise(SUBJECT, replies, METRIC_LIST, score_replies(items, replies, METRIC_LIST), 0)


def differences(
    first: Sequence[str], second: Sequence[str], times: Sequence[int]
) -> list[Difference]:
    items, left = side(first, times)
    _, right = side(second, times)
    scores = tuple(score_replies(items, one, METRIC_LIST) for one in (left, right))
    return compare(items, (left, right), METRIC_LIST, (scores[0], scores[1]), 0).differences


GOOD, HALF, BAD = "a red mug", "a red cup", "green"
FIRST = [GOOD, GOOD, HALF, BAD, GOOD, GOOD, BAD, GOOD]
SECOND = [GOOD, BAD, HALF, GOOD, BAD, HALF, BAD, GOOD]


@given(st.integers(1, 5))
def test_a_set_written_several_times_says_no_more_than_once(times: int) -> None:
    once, often = result(FIRST, [1] * 8), result(FIRST, [times] * 8)
    assert often.items == 8 * times
    for score, same in zip(once.scores, often.scores, strict=True):
        assert (score.mean, score.low, score.high) == pytest.approx(
            (same.mean, same.low, same.high)
        )
    assert often.latency == once.latency
    assert often.prompt_tokens == once.prompt_tokens
    for one, other in zip(
        differences(FIRST, SECOND, [1] * 8), differences(FIRST, SECOND, [times] * 8), strict=True
    ):
        assert (one.difference, one.low, one.high, one.p) == pytest.approx(
            (other.difference, other.low, other.high, other.p)
        )
        assert (other.better, other.worse) == (one.better * times, one.worse * times)


def test_each_row_counts_in_the_mean_and_each_question_once_in_the_interval() -> None:
    found = result([GOOD, BAD, BAD], [4, 1, 1])
    assert found.scores[0].mean == pytest.approx(4 / 6)
    questions = 36 / 18  # squared sum of the weights by the sum of their squares
    expected = wilson(4 / 6 * questions, questions)
    assert (found.scores[0].low, found.scores[0].high) == (expected.low, expected.high)
    first, second = differences([GOOD, BAD, BAD], [BAD, GOOD, GOOD], [4, 1, 1])
    assert (first.better, first.worse, first.p) == (2, 4, mcnemar(2, 1))
    interval = paired_shares(2 / 6 * questions, 4 / 6 * questions, questions)
    assert (first.low, first.high) == (interval.low, interval.high)
    assert first.difference == second.difference == pytest.approx(-2 / 6)
    assert second.p == sign_flip([-4.0, 1.0, 1.0])


@pytest.mark.slow
def test_the_interval_of_weighted_values_holds_the_true_mean() -> None:
    """Coverage of 95%, give or take, where taking each row for itself holds it in far fewer."""
    rng = random.Random(1)
    held = naive = 0
    for run in range(200):
        values = [rng.random() for _ in range(40)]
        weights = [rng.choice((1, 1, 1, 9)) for _ in values]
        keys = [number for number, weight in enumerate(weights) for _ in range(weight)]
        rows = [values[key] for key in keys]
        interval = bootstrap(sample(keys, rows).linear, run)
        held += interval.low <= 0.5 <= interval.high
        spread = 1.96 * statistics.stdev(rows) / len(rows) ** 0.5
        naive += abs(statistics.fmean(rows) - 0.5) <= spread
    assert held > 180
    assert naive < 150


def test_values_without_repeats_stay_as_they_are() -> None:
    values = [0.1, 0.2, 0.7]
    found = sample("abc", values)
    assert found.linear == values
    assert (found.mean, found.effective) == (statistics.fmean(values), 3)


def test_a_question_is_shown_once_and_duplicates_are_told() -> None:
    items, left = side([GOOD, GOOD], [3, 1])
    _, right = side([BAD, BAD], [3, 1])
    scores = tuple(score_replies(items, one, METRIC_LIST) for one in (left, right))
    assert worst(items, METRIC_LIST, (scores[0], scores[1]), 24) == [0, 3]
    assert differing(items, (left, right), 24) == [0, 3]
    found = Evaluation("set", "0", 4, 0, [result([GOOD, GOOD], [3, 1])], duplicates=2)
    assert next(notes(found)).startswith("2 of 4 items are duplicates of earlier rows: asked once")
    assert found.questions == 2
