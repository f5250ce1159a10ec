"""What an editor decides, and what the model learns of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.concurrency import run_in_threadpool

from examples.shop.describing import Describer
from examples.shop.tables import Kept, State
from silkline.catalog.checks import Finding, Kind
from silkline.catalog.description import Description
from silkline.catalog.prices import amounts
from silkline.catalog.product import Price, Product
from silkline.catalog.vocabulary import Value

_COMPARED = frozenset({Kind.CONTRADICTED, Kind.UNSEEN})


class Editing:
    """Carries out decisions about descriptions in review.

    Each also answers whether the model was right: its reading, or its text. That goes to the server
    as feedback, with which an experiment decides between two models.
    """

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._tables = describer.tables

    async def decide(self, kept: Kept, fields: Mapping[str, str]) -> str:
        """Carries out a decision.

        Args:
            kept: The description that it is about.
            fields: `decision` is accept, table, image or correct; correct has the texts too.

        Returns:
            What was done: accepted, table, image, corrected or refused.
        """
        decision = fields.get("decision", "")
        return await run_in_threadpool(self._decide, kept, decision, fields)

    def _decide(self, kept: Kept, decision: str, fields: Mapping[str, str]) -> str:
        if decision == "accept":
            if kept.state is State.REFUSED:
                return "refused"
            self._tables.keep(msgspec.structs.replace(kept, state=State.PUBLISHED))
            self._describer.send_feedback(kept, accepted=True)
            return "accepted"
        if decision == "correct":
            edited = self._describer.save_edited(kept, _corrected(kept, fields))
            self._describer.send_feedback(kept, accepted=False)
            return "refused" if edited.state is State.REFUSED else "corrected"
        if decision in {"table", "image"}:
            self._settle(kept, is_image_right=decision == "image")
            self._describer.send_feedback(kept, accepted=decision == "image")
            return decision
        return ""

    def _settle(self, kept: Kept, *, is_image_right: bool) -> None:
        """Makes the table or the reading agree with the other, and describes the product again."""
        product = self._tables.product(kept.product)
        if product is None:
            return
        confirmed = self._tables.confirmed(product.id)
        for finding in kept.findings:
            if finding.kind not in _COMPARED:
                continue
            if is_image_right:
                product = _as_seen(product, finding)
            else:
                confirmed |= _as_in_the_table(finding)
        self._tables.put(product, confirmed)
        for other in self._tables.descriptions(product.id):
            # The reading is in the server's cache: only the text and the checks are new.
            self._tables.keep(
                msgspec.structs.replace(
                    other, stamp=msgspec.structs.replace(other.stamp, record="")
                )
            )
        self._describer.describe_all([product.id], lambda _done: None)


def _as_seen(product: Product, finding: Finding) -> Product:
    """The product as the image shows it."""
    if finding.part == "price":
        (amount, *_) = amounts(str(finding.seen))
        if amount.value is None or product.price is None:
            return product
        price = Price(amount.value, product.price.currency)
        return msgspec.structs.replace(product, price=price)
    attributes = {**product.attributes, finding.part: finding.seen}
    return msgspec.structs.replace(product, attributes=attributes)


def _as_in_the_table(finding: Finding) -> dict[str, Value]:
    """What a person confirmed against the model; a price tag counts as none."""
    if finding.part == "price":
        return {"label": None}
    return {finding.part: finding.table}


def _corrected(kept: Kept, fields: Mapping[str, str]) -> Description:
    """The description with the texts of a form."""
    old = kept.description

    def lines(name: str, separator: str) -> tuple[str, ...]:
        if name not in fields:
            return tuple(getattr(old, name))
        return tuple(text.strip() for text in fields[name].split(separator) if text.strip())

    return msgspec.structs.replace(
        old,
        title=fields.get("title", old.title).strip(),
        bullets=lines("bullets", "\n"),
        alt_text=fields.get("alt_text", old.alt_text).strip(),
        tags=lines("tags", ","),
    )
