import math

import msgspec
import pytest

from silkline.core import TokenLogprob
from silkline.evaluate.confidence import answer_probability, calibration_error
from silkline.evaluate.metrics.catalogue import choose_metrics
from silkline.evaluate.summary import score_replies, summarise
from tests.evaluate.items import SUBJECT, item, reply


def test_an_answers_probability_is_the_product_of_its_tokens() -> None:
    tokens = [TokenLogprob("a", b"a", math.log(0.5)), TokenLogprob("b", b"b", math.log(0.25))]
    found = answer_probability(tokens)
    assert found == pytest.approx(0.125)
    assert answer_probability([]) is None


@pytest.mark.parametrize(
    ("probabilities", "right", "error"),
    [
        ([0.9] * 10, [1.0] * 9 + [0.0], 0.0),
        ([1.0, 1.0], [1.0, 1.0], 0.0),
        ([1.0, 1.0], [0.0, 0.0], 1.0),
        ([0.8] * 100, [1.0] * 50 + [0.0] * 50, 0.3),
        ([0.25] * 10 + [0.75] * 30, [0.0] * 10 + [1.0] * 30, 0.25),
        ([0.61, 0.69], [1.0, 0.0], 0.15),
    ],
)
def test_the_gap_between_confidence_and_accuracy(
    probabilities: list[float], right: list[float], error: float
) -> None:
    assert calibration_error(probabilities, right) == pytest.approx(error)


def test_a_result_has_it_where_every_answer_has_a_probability() -> None:
    items = [item("red", name="a"), item("red", name="b")]
    metrics = choose_metrics(["exact_match"], items)
    sure = [
        msgspec.structs.replace(reply("red", "a"), probability=0.75),
        msgspec.structs.replace(reply("blue", "b"), probability=0.25),
    ]
    scores = score_replies(items, sure, metrics)
    assert summarise(SUBJECT, sure, metrics, scores, 0).calibration_error == pytest.approx(0.25)
    partly = [sure[0], reply("blue", "b")]
    assert summarise(SUBJECT, partly, metrics, scores, 0).calibration_error is None
    f1 = choose_metrics(["token_f1"], items)
    shares = score_replies(items, sure, f1)
    assert summarise(SUBJECT, sure, f1, shares, 0).calibration_error is None
