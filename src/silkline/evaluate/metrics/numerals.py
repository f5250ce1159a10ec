"""Normalises numbers in answers: one spelling per value, in linear time."""

from __future__ import annotations

import re
from fractions import Fraction

_GROUPED = r"\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}"
_POINT = re.compile(rf"(?P<whole>{_GROUPED}|\d*+)(?:\.(?P<part>\d++))?")
_COMMA = re.compile(r"(?P<whole>\d{1,3}(?:\.\d{3})++|\d++),(?P<part>\d++)")
_FRACTION = re.compile(r"(?:(\d{1,9})\+)?(\d{1,9})/(\d{1,9})")


def spelled(sign: str, digits: str, exponent: str) -> str | None:
    """The normal spelling of a number's value; None if the digits are not a number.

    Commas group digits in threes, or in twos above the last three as in India; a single comma that
    does not group is a decimal comma. Two whole numbers with a slash are a fraction; "2+1/2" is two
    and a half. Digits with a leading zero ("007") or with other marks between them (times, dates,
    ranges, versions) are not numbers.

    Args:
        sign: "-" or "".
        digits: ASCII digits, with marks between them or a leading point.
        exponent: The power of ten, with its sign; "" means 0.
    """
    if fraction := _FRACTION.fullmatch(digits):
        return None if exponent else _fraction(sign, *fraction.groups(default="0"))
    found = _POINT.fullmatch(digits)
    if found is None or _has_leading_zero(found["whole"]):
        found = _COMMA.fullmatch(digits)
    if found is None or _has_leading_zero(found["whole"]):
        return None
    whole = found["whole"].replace(",", "").replace(".", "")
    part = found["part"] or ""
    return _spelled(sign, whole + part, int(exponent or "0") - len(part))


def _has_leading_zero(whole: str) -> bool:
    return len(whole) > 1 and whole.startswith("0")


def _spelled(sign: str, digits: str, exponent: int) -> str:
    """Removes leading and trailing zeros; zero has no sign."""
    significant = digits.lstrip("0").rstrip("0")
    if not significant:
        return "0"
    exponent += len(digits) - len(digits.rstrip("0"))
    return f"{sign}{significant}e{exponent}"


def _fraction(sign: str, whole: str, above: str, below: str) -> str | None:
    """A terminating fraction as a decimal number, any other in lowest terms."""
    if not int(below):
        return None
    value = int(whole) + Fraction(int(above), int(below))
    rest, decimals = value.denominator, 0
    while rest % 10 == 0 or rest % 2 == 0 or rest % 5 == 0:
        rest //= next(factor for factor in (10, 2, 5) if rest % factor == 0)
        decimals += 1
    if rest > 1:
        return f"{sign}{value.numerator}/{value.denominator}"
    return _spelled(sign, str(int(value * 10**decimals)), -decimals)
