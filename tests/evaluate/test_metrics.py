"""Each metric by values computed by hand or by its authors' own code, and by what always holds."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate.item import Kind, Value
from silkline.evaluate.metrics import overlap, records, text, vqa
from silkline.evaluate.metrics.catalogue import METRICS, choose_metrics
from silkline.evaluate.metrics.cider import cider
from tests.evaluate.items import item

TEXTS = st.text(max_size=40)
VOCABULARY = ("a", "red", "Mug,", "don't", "two", "3", "...")
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("said", "right", "value"),
    [
        ("the red mug", "a mug", 2 / 3),  # 1 of 2 words said, 1 of 1 right: 2 * 1 / (2 + 1)
        ("red red mug", "red mug mug", 2 / 3),
        ("sofa", "mug", 0),
        ("", "the", 0),
        ("", "mug", 0),
        ("", " ", 1),
        ("a", "A", 1),
        ("-", "+", 0),
        ("1.5 m", "15 m", 1 / 2),
        ("-3", "3", 0),
        ("1,000 red mugs", "1000 mugs", 4 / 5),
        ("$25", "25", 1),
        ("cafe\u0301 noir", "caf\u00e9", 2 / 3),
    ],
)
def test_token_f1(said: str, right: str, value: float) -> None:
    assert text.token_f1(item(right), said) == pytest.approx(value)


def ten(*answers: tuple[str, int]) -> tuple[str, ...]:
    return tuple(answer for answer, count in answers for _ in range(count))


@pytest.mark.parametrize(
    ("given_by", "value"),
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_vqa_accuracy_with_ten_people(given_by: int, value: float) -> None:
    """The values of the leave-one-out average, as published with the challenge."""
    people = ten(("yes", given_by), ("no", 10 - given_by))
    assert vqa.vqa_accuracy(item(*people), "Yes.") == pytest.approx(value)


@pytest.mark.parametrize(
    ("said", "normalised"),
    [
        ("Two", "2"), ("none", "0"), ("The dog", "dog"), ("dont", "don't"), ("DON'T", "don't"),
        ("couldnt've", "couldn't've"), ("red, blue", "red blue"), ("t-shirt", "t shirt"),
        ("3.5", "3.5"), ("yes.", "yes"), ("1,000", "1000"), ("well", "well"), ("a\n b", "b"),
        ("A", "a"), ("?", "?"), (" ", ""), ("the a", "the a"), ("cafe\u0301", "caf\u00e9"),
    ],
)  # fmt: skip
def test_vqa_answers_are_normalised(said: str, normalised: str) -> None:
    assert vqa.normalised(said) == normalised


@given(WORDS)
def test_vqa_normalisation_is_done_once(said: str) -> None:
    once = vqa.normalised(said)
    assert vqa.normalised(once) == once


def test_anls_is_zero_below_one_half() -> None:
    pytest.importorskip("rapidfuzz")
    assert overlap.anls(item("kitten"), "Sitting ") == pytest.approx(1 - 3 / 7)
    assert overlap.anls(item("abcd"), "abxy") == 0.5
    assert overlap.anls(item("abcd"), "axyz") == 0.0


def test_rouge_l() -> None:
    """Lin's own example: police killed the gunman; the common subsequence has 3 and 2 words."""
    pytest.importorskip("rapidfuzz")
    reference = item("police killed the gunman")
    assert overlap.rouge_l(reference, "police kill the gunman") == pytest.approx(3 / 4)
    assert overlap.rouge_l(reference, "the gunman kill police") == pytest.approx(2 / 4)
    assert overlap.rouge_l(item("a b", "a b c d"), "a b c") == pytest.approx(6 / 7)


def test_cider_gives_the_values_of_its_authors_code() -> None:
    """The expected values are those of pycocoevalcap 1.2."""
    items = [
        item("a red mug on a wooden table", "a red ceramic mug on a table"),
        item("two blue socks on a shelf", "a pair of blue socks"),
        item("a green sofa in a bright room", "green sofa"),
    ]
    said = ["a red mug on a table", "two blue socks on a wooden shelf", "a red sofa"]
    expected = [6.270364160517104, 4.266382593511525, 0.9328986980780812]
    assert cider(items, said) == pytest.approx(expected, rel=1e-12)
    said = ["a red red red mug mug mug mug", "blue blue socks on a wooden shelf", "a red sofa"]
    expected = [0.9062557851674713, 2.8936524854083485, 0.9328986980780812]
    assert cider(items, said) == pytest.approx(expected, rel=1e-12)


def test_cider_of_a_single_item_is_zero() -> None:
    assert cider([item("a mug")], ["a mug"]) == [0.0]


MUG: dict[str, Value] = {"category": "mug", "count": 2, "label": None, "sale": True}


@pytest.mark.parametrize(
    ("said", "whole", "share"),
    [
        (json.dumps(MUG), 1, 1),
        (f"```json\n{json.dumps(MUG)}\n```", 1, 1),
        (json.dumps(MUG | {"category": " MUG"}), 1, 1),
        (json.dumps(MUG | {"count": 2.0}), 1, 1),
        (json.dumps(MUG | {"category": ""}), 0, 3 / 4),
        (json.dumps(MUG | {"label": ""}), 0, 3 / 4),
        ("", 0, 0),
        (json.dumps(MUG | {"count": "2"}), 0, 3 / 4),
        (json.dumps(MUG | {"sale": 1}), 0, 3 / 4),
        (json.dumps(MUG | {"more": 1}), 0, 1),
        (json.dumps({"category": "mug"}), 0, 1 / 4),
        (f"Here: {json.dumps(MUG)}", 0, 0),
        ("[]", 0, 0),
        ("[" * 100_000, 0, 0),
        ("\ud800", 0, 0),
    ],
)
def test_records(said: str, whole: float, share: float) -> None:
    right = item(record=MUG)
    assert records.record(right, said) == whole
    assert records.fields(right, said) == pytest.approx(share)
    assert (records.parse_record(said) is None) == (share == 0)


def test_an_accent_apart_from_its_letter_is_the_same_text() -> None:
    right = item(record={"name": "caf\u00e9"})
    assert records.record(right, '{"name": "Cafe\u0301 "}') == 1
    assert records.record(right, '{"name": "cafe"}') == 0


def test_a_field_that_the_reference_lacks_should_be_absent() -> None:
    assert records.field("more", item(record=MUG), "{}") == 1
    assert records.field("more", item(record=MUG), '{"more":1}') == 0


@given(said=TEXTS | WORDS, right=TEXTS | WORDS, other=WORDS)
def test_text_metrics_stay_in_range_and_take_the_reference_for_right(
    said: str, right: str, other: str
) -> None:
    pytest.importorskip("rapidfuzz")
    items = [item(*[right] * 4, name="1"), item(*[other] * 4, name="2")]
    for metric in METRICS.values():
        if metric.kind is not Kind.TEXT:
            continue
        for answers in ([said, other], [right, other]):
            values = metric.score(items, answers)
            assert all(-1e-9 <= value <= metric.highest + 1e-9 for value in values)
        if metric.name != "cider":
            assert metric.score(items, [right, other]) == pytest.approx([1, 1])


@given(one=st.text(max_size=40) | WORDS, other=st.text(max_size=40) | WORDS)
def test_likeness_goes_both_ways_and_nothing_is_like_no_text(one: str, other: str) -> None:
    pytest.importorskip("rapidfuzz")
    for name in ("exact_match", "token_f1", "anls", "rouge_l", "vqa_accuracy"):
        score = METRICS[name].score
        there, back = (
            score([item(*[right] * 4)], [said])[0] for said, right in ((one, other), (other, one))
        )
        assert there == pytest.approx(back)
        assert 0 <= there <= 1
        assert score([item(*[one] * 4)], [one]) == [1]
        if one.strip():
            assert score([item(*[one] * 4)], [""]) == score([item(*[""] * 4)], [one]) == [0]


def test_the_usual_metrics_follow_from_the_set() -> None:
    names = [one.name for one in choose_metrics((), [item(record=MUG)])]
    assert names[:3] == ["record", "fields", "record_valid"]
    assert "field:category" in names
    chosen = choose_metrics(("token_f1", "exact_match"), [item("a")])
    assert [one.name for one in chosen] == ["token_f1", "exact_match"]
    assert choose_metrics(("field:count",), [item(record=MUG)])[0].name == "field:count"
    assert choose_metrics((), [item()]) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bleu", "bleu is unknown: the data set has reference texts. Choose from exact_match"),
        ("record", "record does not fit"),
        ("field:count", "is unknown"),
        ("vqa_accuracy", "at least 4 people; item one has 1"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_metrics((name,), [item("mug")])


@pytest.mark.parametrize("name", ["anls", "rouge_l"])
def test_a_missing_library_is_told_with_its_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'silkline\[evaluate\]'"):
        choose_metrics((name,), [item("mug")])
