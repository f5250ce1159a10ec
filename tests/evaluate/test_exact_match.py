"""exact_match: which texts and numbers are the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.evaluate.metrics import text
from tests.evaluate.items import item

SAME = [
    # numbers by value
    ("5", "5.0"), ("5.", "5"), (".5", "0.5"), ("1,000", "1000"), ("1,234,567.50", "1234567.5"),
    ("1e3", "1000"), ("1.5E+3", "1,500"), ("2e-3", "0.002"), ("+5", "5"), ("-0", "0"),
    ("0.00", "0"), ("0e7", "0"), ("-5.0", "-5"), ("1.234,56", "1234.56"), ("3,14", "3.14"),
    ("0,125", "0.125"), ("1'000'000", "1000000"), ("1\u2019000", "1000"), ("1\u202f000", "1000"),
    ("1\u00a0000,5", "1000.5"), ("1_000", "1000"), ("12,34,567", "1234567"),
    ("**-5**", "-5"), ("(5)", "5"), ("5!", "5"), ("5.0.", "5"), ("\"1.50\"", "1.5"),
    ("- 5", "-5"), ("x = -3.0", "x=-3"), ("It is 1,000 km.", "it is 1000 km"),
    # signs and digits of other scripts
    ("\u22123", "-3"), ("\u20133", "-3"), ("\uff0d\uff13", "-3"),
    ("\uff11\uff12\uff0e\uff15", "12.5"), ("٣\u066b\u0665", "3.5"),
    ("\u0661٬\u0660\u0660\u0660", "1000"), ("४२", "42"), ("\uff21\uff14", "a4"),
    ("￥\uff15\uff10\uff10", "¥500"),
    # fractions
    ("1/2", "0.5"), ("½", "1/2"), ("-½", "-0.5"), ("2½", "2.5"), ("2 1/2", "2.5"),
    ("1\u20443", "2/6"), ("1/3", "1/3"),
    # units, percent and currency
    ("5 cm", "5cm"), ("5.0 CM", "5cm"), ("21 °C", "21°C"), ("5%", "5 %"), ("5 percent", "5%"),
    ("5 per cent", "5.0%"), ("5%", "5"), ("$25", "25"), ("$25", "25 dollars"), ("25 USD", "$25.00"),
    ("25 dollars", "25"), ("€ 9,99", "9.99"), ("9.99 €", "€9.99"), ("-$5", "$-5"),
    ("25 euros", "€25"),
    # what is no number is compared as it is written, with one kind of dash
    ("3\u20135", "3-5"), ("3 - 5", "3-5"), ("10:30", "10:30."),
    ("2024-01-02", "2024\u201101\u201102"),
    ("1, 2, 3", "1,2,3"), ("[10, 20, 30, 40]", "10,20,30,40"),
    ("[100,200,300,400]", "100, 200, 300, 400"), ("(10,20),(30,40)", "(10, 20), (30, 40)"),
    ("[1,5]", "1, 5"), ("(-0.5,-3)", "(-.5, -3.0)"), ("10:30,11:00", "10:30; 11:00"),
    # texts
    ("The red mug.", "red mug"), ("a  Red-mug", "redmug"), ("C++", "c++."), ("A-", "**A-**"),
    ("x < 2", "x<2"), ("AT&T", "att"), ("U.S.", "us"), ("红色。", "红色"), ("“yes”", "yes"),
    ("¿Sí?", "sí"), ("cafe\u0301", "caf\u00e9"),
    ("\u200f5\ufeff", "5"), ("stra\u00dfe", "STRASSE"), ("\u2764\ufe0f", "\u2764"),
    ("한", "\u1112\u1161\u11ab"),
    ("\uff2f\uff2b", "ok"),
    # nothing but articles or punctuation
    ("A.", "a"), ("(a)", "A"), ("The", "the"), (" ! ", "!"), ("", " \n"), ("\uff05", "%"),
]  # fmt: skip

DIFFERENT = [
    ("1.5", "15"), ("-3", "3"), ("5.0", "50"), ("1,5", "15"), ("1,000", "1"), ("0.1", "1"),
    ("1e3", "13"), ("1e3", "1e4"), ("5", "5.000001"), ("-5%", "5%"), ("\u22123", "3"),
    ("-1/2", "1/2"),
    ("from 3.5 to 4", "from 35 to 4"), ("x=-3", "x=3"), ("1.234", "1234"), ("1.234", "1,234"),
    ("3-5", "35"), ("3-5", "-35"), ("3-5", "3 5"), ("2024-01-02", "20240102"), ("10:30", "1030"),
    ("1.2.3", "123"), ("1.2.3", "12.3"), ("v1.5", "v15"), ("GPT-3.5", "GPT-35"),
    ("192.168.0.1", "19216801"), ("555-1234", "5551234"), ("2^3", "23"), ("4*5", "45"),
    ("1;2", "12"),
    ("1/2", "12"), ("1/2/2024", "122024"), ("1/0", "10"), ("3x5", "35"), ("007", "7"), ("00", "0"),
    ("50%", "0.5"), ("[1,5]", "1.5"), ("[10,20]", "[10,200]"), ("(1,-2)", "(1,2)"),
    ("5 cm", "5 mm"), ("5 cm", "50 mm"), ("5 cm", "5"), ("$25", "€25"), ("5%", "$5"),
    ("5%", "5‰"), ("5a", "5"), ("25", "twenty-five"), ("inf", "nan"), ("½", "12"), ("②", "2"),
    ("x²", "x2"), ("Ⅳ", "IV"), ("三", "3"), ("(1)", "-1"), ("±5", "5"),
    ("A", ""), ("", "the"), ("a", "the"), ("-", "+"), ("-", ""), ("%", ""), ("%", "$"), ("!", "?"),
    ("!", ""), ("...", "."), ("😀", ""), ("😀", "😡"), ("👍", "👎"), ("<s>", ""), ("<s>", "</s>"),
    ("<s>", "s"), ("$", ""), ("。", ""), ("_", ""),
    ("A+", "A-"), ("B+", "B"), ("AB-", "AB+"), ("C", "C#"), ("C", "C++"), ("x<2", "x>2"),
    ("a+b", "a-b"), ("x=y", "xy"), ("cafe", "café"), ("mug", "mugs"), ("", "mug"),
]  # fmt: skip


def exact(said: str, right: str) -> float:
    return text.exact_match(item("something else", right), said)


@pytest.mark.parametrize(("said", "right"), SAME)
def test_the_same_answer_written_otherwise_is_right(said: str, right: str) -> None:
    assert exact(said, right) == exact(right, said) == 1


@pytest.mark.parametrize(("said", "right"), DIFFERENT)
def test_another_answer_is_wrong(said: str, right: str) -> None:
    assert exact(said, right) == exact(right, said) == 0


@pytest.mark.parametrize(("said", "right"), SAME)
def test_what_matches_exactly_has_all_its_words(said: str, right: str) -> None:
    assert text.token_f1(item(right), said) == 1


HUGE = [
    "1" * 200_000, "1e999999999", "9" * 100_000 + "." + "9" * 100_000, "1/" + "3" * 200_000,
    "1," * 20_000, "1." * 50_000, "-" * 100_000, "1" + "." * 100_000 + "1", "\u00bd" * 10_000,
    "1" + "(" * 100_000 + "1", "1" + ",(" * 50_000 + "1", "1" + "^-" * 50_000 + "x",
    "1,000" * 10_000,
    "<" * 20_000, "a " * 20_000, "1 " * 20_000, "1e" * 50_000, "[" * 100_000, "a-" * 50_000,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("huge", HUGE, ids=range(len(HUGE)))
def test_texts_of_any_length_are_compared(huge: str) -> None:
    assert exact(huge, huge) == 1
    assert exact(huge, huge + " 7") == 0
    assert text.token_f1(item(huge), huge) == 1


PIECES = st.sampled_from(
    ["1", "23", "000", ".", ",", "-", "+", "/", "%", "$", "€", "e", " ", "a", "the", "x", "½", "é",
     "e\u0301", "٣", "\u2212", "=", "<", "cm", "'", "\n", "。", "👍", "#", "°", "dollars"]
)  # fmt: skip
ANSWERS = st.text(max_size=30) | st.lists(PIECES, max_size=10).map("".join)


@settings(deadline=None)
@given(ANSWERS, ANSWERS)
def test_comparing_takes_any_texts_in_any_order(one: str, other: str) -> None:
    assert exact(one, one) == 1
    assert exact(one, other) == exact(other, one)
    assert exact(one, f"  {one}\n") == 1
    f1 = text.token_f1(item(one), other)
    assert f1 == text.token_f1(item(other), one)
    assert exact(one, other) <= f1 <= 1
    if not one.strip() and other.strip():
        assert exact(one, other) == f1 == 0


@given(
    st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.integers(0, 6), st.integers(0, 3)
)
def test_numbers_match_where_their_values_are_equal(
    one: int, other: int, places: int, zeros: int
) -> None:
    def spelled(number: int) -> str:
        digits = f"{abs(number):0{places + 1}d}"
        whole, rest = digits[: len(digits) - places], digits[len(digits) - places :]
        sign = "-" if number < 0 else ""
        return f"{sign}{int(whole):,}.{rest}{'0' * zeros}"

    assert exact(spelled(one), f"{one}e-{places}") == 1
    assert exact(spelled(one), f"{other}e-{places}") == float(one == other)
