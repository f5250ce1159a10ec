"""Finds prices and discounts in texts, in English and Chinese.

A description may state the price of the product table and no other. A discount is never in the
table, so none may be stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

import msgspec

from silkline.catalog.plain_text import plain_text
from silkline.catalog.product import Price

_NUMBER = r"\d(?:[\d., ]*\d)?"
_CURRENCIES = {
    "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "TWD"),
    "us$": ("USD",),
    "€": ("EUR",),
    "£": ("GBP",),
    "¥": ("CNY", "JPY"),
    "₹": ("INR",),
    "₩": ("KRW",),
    "₽": ("RUB",),
    "dollar": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD"),
    "buck": ("USD",),
    "euro": ("EUR",),
    "pound": ("GBP",),
    "quid": ("GBP",),
    "yuan": ("CNY",),
    "rmb": ("CNY",),
    "yen": ("JPY",),
    "rupee": ("INR",),
    "franc": ("CHF",),
    "kr": ("SEK", "NOK", "DKK"),
    "元": ("CNY",),
    "块": ("CNY",),
    "圆": ("CNY",),
    "人民币": ("CNY",),
    "美元": ("USD",),
    "美金": ("USD",),
    "欧元": ("EUR",),
    "英镑": ("GBP",),
    "日元": ("JPY",),
    "港币": ("HKD",),
    "港元": ("HKD",),
}
"""Signs and words of currencies, each with the ISO codes that it may stand for."""

_CODES = ("USD", "EUR", "GBP", "CNY", "JPY", "INR", "CHF", "CAD", "AUD", "NZD", "SGD", "HKD", "KRW")
_CURRENCIES.update({code.casefold(): (code,) for code in _CODES})
_UNIT = "|".join(sorted(map(re.escape, _CURRENCIES), key=len, reverse=True))
_NUMBER_WORD = (
    r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|and)"
)
_SPOKEN = rf"{_NUMBER_WORD}(?:[\s-]+{_NUMBER_WORD})*"
_CHINESE_NUMBER = "[零〇一二两三四五六七八九十百千万]+"

_AMOUNTS = (
    re.compile(rf"(?<![a-z])(?P<unit>{_UNIT})\s*(?P<number>{_NUMBER})"),
    re.compile(rf"(?P<number>{_NUMBER})\s*-?(?P<unit>{_UNIT})s?(?![a-z]| of\b)"),
)
_SPOKEN_AMOUNTS = re.compile(
    rf"\b{_SPOKEN}\s+(?:dollars?|bucks?|euros?|pounds?|quid|yuan|cents?|yen|rupees?)\b"
    rf"|{_CHINESE_NUMBER}(?:元|块钱|块(?!\w)|圆|美元|欧元|英镑|美金)"
)
_BARE = re.compile(
    r"\b(?:only|just|priced? (?:at|of|:)|price|costs? (?:less than|under|about)|costs?|"
    r"selling (?:at|for)|yours for|from just|now)"
    rf"\s*:?\s*(?P<number>{_NUMBER})(?![\d.,]*\s*[a-z%])"
    rf"|(?:售价|价格|定价|只要|仅需|仅售|特价|现价|原价|到手价|只需)\s*(?:为|是)?\s*:?\s*"
    rf"(?P<price>{_NUMBER}|{_CHINESE_NUMBER})"
    r"|\b\d+\s*(?:cents?|¢)(?![a-z])|\b\d+[.,]-(?!\d)"
)
_DISCOUNTS = re.compile(
    r"\d+\s*(?:%|percent)\s*(?:off|discount|cheaper|less\b)|\bhalf[\s-]price|\bprice cut|"
    r"\bsave (?:up to )?\d|\bdiscount(?:ed)?\b|\bbuy one,? get|\bbogo\b|\breduced to\b|"
    r"\bfree (?:shipping|delivery|gift)|[\d一二三四五六七八九]\s*折|半价|打折|优惠|满\s*\d+\s*减|"
    r"立减|买一送一|包邮|赠品"
)


class Amount(msgspec.Struct, frozen=True):
    """A price or a discount in a text.

    Attributes:
        text: As found, in lower case.
        value: None if it is not in digits, or a discount.
        currencies: ISO codes that it may be in; empty if the text names none.
    """

    text: str
    value: Decimal | None = None
    currencies: tuple[str, ...] = ()

    def equals(self, price: Price | None) -> bool:
        """Whether this is the price. An amount in words never is."""
        return (
            price is not None
            and self.value == price.amount
            and (not self.currencies or price.currency in self.currencies)
        )


def amounts(text: str) -> tuple[Amount, ...]:
    """The prices and discounts in a text."""
    return tuple(dict.fromkeys(_found(plain_text(text))))


def _found(text: str) -> Iterator[Amount]:
    covered: list[tuple[int, int]] = []
    for pattern in _AMOUNTS:
        for match in pattern.finditer(text):
            covered.append(match.span())
            value = _value(match["number"])
            yield Amount(match[0], value, _CURRENCIES[match["unit"]])
    for match in _BARE.finditer(text):
        if not any(begin < match.end() and match.start() < end for begin, end in covered):
            number = match["number"] or match["price"]
            yield Amount(match[0], _value(number) if number else None)
    for pattern in (_SPOKEN_AMOUNTS, _DISCOUNTS):
        for match in pattern.finditer(text):
            yield Amount(match[0].strip())


def _value(number: str) -> Decimal | None:
    """The value of digits with separators: 1,299.00 and 1.299,00 and 39,5 and 1 299."""
    digits = number.replace(" ", "")
    last = max(digits.rfind("."), digits.rfind(","))
    is_decimal = last >= 0 and (
        len(digits) - last - 1 != 3 or {".", ","} <= set(digits)  # noqa: PLR2004 - a thousand
    )
    whole, cents = (digits[:last], digits[last + 1 :]) if is_decimal else (digits, "")
    try:
        return Decimal(whole.replace(",", "").replace(".", "") + "." + (cents or "0"))
    except InvalidOperation:
        return None
