from decimal import Decimal

import pytest

from silkline.catalog.prices import amounts
from silkline.catalog.product import Price

STATED = [
    ("$39", "39", "USD"),
    ("now for US$ 39", "39", "USD"),
    ("USD 39", "39", "USD"),
    ("39 dollars", "39", "USD"),
    ("£1,299.00", "1299", "GBP"),
    ("1.299,00 €", "1299", "EUR"),
    ("39,99EUR", "39.99", "EUR"),
    ("199元", "199", "CNY"),
    ("人民币199", "199", "CNY"),
    ("￥１９９", "199", "CNY"),
    ("only 39", "39", "USD"),
    ("costs less than 40", "40", "USD"),
    ("kr 199", "199", "SEK"),
    ("售价：199", "199", "CNY"),
    ("3\u200b9 dol\u200blars", "39", "USD"),
]
NEVER_EQUAL = [
    "thirty-nine dollars",
    "a hundred and twenty euros",
    "三十九元",
    "二十块，包好",
    "half price",
    "20% off",
    "save 10 today",
    "free shipping",
    "五折",
    "满100减20",
    "at a discount",
]
NONE = [
    "a set of 2 mugs",
    "size 42",
    "件数：3",
    "just 100 g",
    "一块布",
    "二十块积木",
    "100% cotton",
    "5 pounds of wool",
    "Number of items: 3",
    "model X300",
]


@pytest.mark.parametrize(("text", "value", "currency"), STATED)
def test_an_amount_is_found_and_equals_only_its_own_price(
    text: str, value: str, currency: str
) -> None:
    (amount,) = amounts(f"A mug, {text}!")
    assert amount.equals(Price(Decimal(value), currency))
    assert not amount.equals(Price(Decimal(value) + 1, currency))
    assert not amount.equals(None)


@pytest.mark.parametrize("text", NEVER_EQUAL)
def test_an_amount_in_words_or_a_discount_is_never_the_price(text: str) -> None:
    assert amounts(text)
    assert not any(one.equals(Price(Decimal(39), "USD")) for one in amounts(text))


@pytest.mark.parametrize("text", NONE)
def test_other_numbers_are_no_price(text: str) -> None:
    assert amounts(text) == ()


def test_the_currency_counts() -> None:
    (amount,) = amounts("39 €")
    assert not amount.equals(Price(Decimal(39), "USD"))
