"""What the product table says about a product."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from silkline.catalog.vocabulary import Value


class Price(msgspec.Struct, frozen=True):
    """A price.

    Attributes:
        amount: In the currency's unit, as dollars.
        currency: ISO 4217, as USD.
    """

    amount: Decimal
    currency: str


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the product table.

    Attributes:
        id: The shop's own id.
        attributes: By name. An attribute that is absent is unknown; None says that there is none.
        price: None if it is unknown.
        proven_claims: Claims that the shop can prove, as "waterproof". See `claims`.
        image: Digest of the image file's bytes.
    """

    id: str
    attributes: Mapping[str, Value]
    price: Price | None = None
    proven_claims: tuple[str, ...] = ()
    image: str

    def record_digest(self) -> str:
        """Digest of all that the table says, except the image."""
        record = (self.attributes, self.price, sorted(self.proven_claims))
        return hashlib.blake2b(
            msgspec.json.encode(record, order="deterministic"), digest_size=16
        ).hexdigest()


def image_digest(content: bytes) -> str:
    """The digest of an image file, as `Product.image` has it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
