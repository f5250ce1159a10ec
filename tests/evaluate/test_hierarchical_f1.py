import pytest

from silkline.evaluate.metrics.catalogue import METRICS
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
