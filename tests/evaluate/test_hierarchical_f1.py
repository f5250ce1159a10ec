import pytest

from silkline.evaluate.metrics.catalogue import METRICS
from silkline.evaluate.metrics.paths import catalogue_f1
from tests.evaluate.items import item

SHOES = "Apparel > Shoes > Sneakers"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (SHOES, 1),
        ("apparel > shoes > sneakers.", 1),
        ("Apparel\u203aShoes\u203aSneakers", 1),
        ("Apparel > Shoes", 2 * 2 / (2 + 3)),
        ("Apparel > Shoes > Boots", 2 * 2 / (3 + 3)),
        ("Apparel > Shoes > Sneakers > High", 2 * 3 / (4 + 3)),
        ("Apparel", 2 * 1 / (1 + 3)),
        ("Toys > Shoes > Sneakers", 0),  # right names in a wrong branch
        ("Sneakers", 0),
        ("", 0),
    ],
)
def test_a_path_scores_by_the_categories_that_it_shares(said: str, value: float) -> None:
    assert METRICS["hierarchical_f1"].score([item(SHOES)], [said]) == [pytest.approx(value)]


def test_the_best_reference_counts() -> None:
    two = item(SHOES, "Sports > Running")
    assert METRICS["hierarchical_f1"].score([two], ["Sports > Running"]) == [1]


def test_a_parent_with_the_name_of_its_child_counts_twice() -> None:
    said = METRICS["hierarchical_f1"].score([item("Music > Music")], ["Music"])
    assert said == [pytest.approx(2 * 1 / (1 + 2))]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("A > B > C", "A > X"), 1.0),
        (("A > B > D", "A > X"), 4 / 5),
        (("A", "A > X"), 2 * 3 / (3 + 5)),
        (("a > B > C", "A > X"), 2 / 5),
        (('{"category": "A > B > C", "brand": "b"}', "A > X"), 1.0),
        ((None, "A > X"), 2 / 5),
        (("", " A > X "), 2 / 5),
        (("A > B > C > D", "A > X"), 10 / 11),
    ],
)
def test_the_score_of_a_catalogue_sums_before_it_divides(
    answers: tuple[str | None, str], expected: float
) -> None:
    items = [item("A > B > C"), item("A > X")]
    assert catalogue_f1(items, answers) == pytest.approx(expected)


def test_the_values_of_a_record_are_a_path() -> None:
    mug = item(record={"category": "mug", "colour": "red"})
    assert catalogue_f1([mug], ['{"colour": "blue", "category": "mug"}']) == 0.5
    assert catalogue_f1([mug], ["a red mug"]) == 0.0
