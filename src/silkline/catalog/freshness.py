"""Whether a kept description still fits its product.

A shop keeps descriptions by product id and style, each with its stamp. Comparing two stamps takes
no image, no model and no request. This is the first level of cache; the server's own cache, by the
image's pixels, is the second one.
"""

from __future__ import annotations

import msgspec

from silkline.catalog.description import Style
from silkline.catalog.product import Product


class Stamp(msgspec.Struct, frozen=True):
    """What a description was made from.

    Attributes:
        image: Digest of the image.
        record: Digest of what the table says.
        style: Language, tone and length.
        maker: What made it: the writer and the version of its prompts. It changes when the shop
            wants all descriptions anew.
    """

    image: str
    record: str
    style: Style
    maker: str

    def changed_since(self, other: Stamp) -> tuple[str, ...]:
        """The names of the fields in which they differ; empty if the description is fresh."""
        return tuple(
            name for name in self.__struct_fields__ if getattr(self, name) != getattr(other, name)
        )


def stamp(product: Product, style: Style, maker: str) -> Stamp:
    """The stamp of a description that is made now."""
    return Stamp(product.image, product.record_digest(), style, maker)
