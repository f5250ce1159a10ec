"""A product and a description of it, which tests change one thing of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from examples.shop.words import COMPOSER, VOCABULARY
from silkline.catalog.checks import Checker, Finding
from silkline.catalog.description import Description, Style
from silkline.catalog.product import Price, Product
from silkline.catalog.vocabulary import Value

MUG: dict[str, Value] = {
    "category": "mug",
    "colour": "red",
    "pattern": "striped",
    "count": 1,
    "label": None,
}
CHECKER = Checker(VOCABULARY)


def product(price: str = "39", **changes: Any) -> Product:
    """A red striped mug of ceramic; `changes` are attributes."""
    attributes = MUG | {"material": "ceramic"} | changes
    return Product(
        id="mug", attributes=attributes, price=Price(Decimal(price), "USD"), image="0" * 32
    )


def findings(
    of: Product | None = None,
    seen: dict[str, Value] | None = None,
    style: Style | None = None,
    **changes: Any,
) -> list[tuple[str, str]]:
    """Kind and part of the findings about the composed description, with some parts changed."""
    return [(one.kind.value, one.part) for one in found(of, seen, style, **changes)]


def found(
    of: Product | None = None,
    seen: dict[str, Value] | None = None,
    style: Style | None = None,
    **changes: Any,
) -> tuple[Finding, ...]:
    """The findings about the composed description, with some parts changed."""
    of, seen, style = of or product(), MUG if seen is None else seen, style or Style()
    written = msgspec.structs.replace(composed(of, seen, style), **changes)
    return CHECKER.check(written, of, seen, style)


def composed(of: Product, seen: dict[str, Value], style: Style) -> Description:
    """What the template writes."""
    return COMPOSER.compose(of, seen, style)
