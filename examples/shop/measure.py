"""The figures of the shop: generated products, whose truth is known, through the whole path."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
import msgspec

from examples.shop.describing import STYLES, Describer
from examples.shop.generated import Drawn, draw
from examples.shop.images import Images
from examples.shop.settings import read_settings
from examples.shop.tables import Kept, State, Tables
from examples.shop.words import VOCABULARY
from silkline.catalog.checks import Kind
from silkline.catalog.description import description_schema

PLANTED_SHARE = 0.25
"""Share of products whose table has one wrong value."""

_MONEY = re.compile(r"[$€£¥￥]|\d+[.,]\d\d\b|\b(usd|eur|gbp|cny|dollars?|euros?|price)\b|元|价")
"""A cruder search for prices than the shop's own, which it is compared with."""


class Figures(msgspec.Struct, kw_only=True):
    """What was counted.

    Attributes:
        products: Generated products.
        descriptions: In English and Chinese.
        failed: Products without a description.
        schema_violations: Descriptions that a validator of JSON schemas rejects.
        invented_prices: Descriptions that state a price other than the table's.
        planted: Products whose table has a wrong value on purpose.
        flagged: Those of them with a finding about that value.
        published_wrong: Those of them with a published description.
        flagged_without_cause: Other products in review: the model misread the image.
        seconds: Wall-clock time of describing.
    """

    products: int
    descriptions: int = 0
    failed: int = 0
    schema_violations: int = 0
    invented_prices: int = 0
    planted: int = 0
    flagged: int = 0
    published_wrong: int = 0
    flagged_without_cause: int = 0
    seconds: float = 0.0


def measure(products: int, server: str, on_progress: Callable[[int], object]) -> Figures:
    """Describes generated products and counts what is wrong.

    Args:
        products: How many.
        server: Base URL of Silkline.
        on_progress: Called with the number of products that are done.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(
            server=server,
            database=f"sqlite:///{folder}/shop.sqlite",
            images=f"file://{Path(folder).absolute()}/images",
        )
        describer = Describer(settings, Tables(settings.database), Images(settings.images))
        drawn = [
            draw(number, describer.images, planted_share=PLANTED_SHARE)
            for number in range(products)
        ]
        for one in drawn:
            describer.tables.put(one.product)
        begun = time.monotonic()
        failed = describer.describe_all([one.product.id for one in drawn], on_progress)
        seconds = time.monotonic() - begun
        figures = Figures(products=products, failed=len(failed), seconds=round(seconds, 1))
        for one in drawn:
            _count(figures, one, describer.tables.descriptions(one.product.id))
        describer.tables.close()
    return figures


def _count(figures: Figures, drawn: Drawn, kept: list[Kept]) -> None:
    figures.descriptions += len(kept)
    schemas = {style: description_schema(VOCABULARY, style) for style in STYLES}
    for one in kept:
        value = msgspec.json.decode(msgspec.json.encode(one.description))
        is_valid = jsonschema_rs.is_valid(schemas[one.stamp.style], value)
        figures.schema_violations += not is_valid
        texts = " ".join(text for _, text in one.description.texts())
        figures.invented_prices += bool(_MONEY.search(texts.casefold()))
    about = {finding.part for one in kept for finding in one.findings if _compares(finding.kind)}
    if drawn.planted:
        figures.planted += 1
        figures.flagged += drawn.planted in about
        figures.published_wrong += any(one.state is State.PUBLISHED for one in kept)
    else:
        figures.flagged_without_cause += bool(about)


def _compares(kind: Kind) -> bool:
    return kind in {Kind.CONTRADICTED, Kind.UNSEEN}
