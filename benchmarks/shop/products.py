"""The shop's products: drawn with known truth, rows in the product table, images in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.pictures import Pictures
from examples.shop.generated import Drawn, product_of
from examples.shop.images import Images
from examples.shop.tables import Tables

PIXELS = 256
"""Width and height of an image, as the shop has them."""

_AT_ONCE = 4


def stock(
    count: int, pictures: Path, tables: Tables, images: Images, planted_share: float
) -> list[Drawn]:
    """Draws products and puts them into the table and the store.

    Args:
        count: How many; a number gets the same product each time.
        pictures: Keeps the scenes.
        tables: The product table.
        images: The object store.
        planted_share: The share of products with one wrong value in the table, 0 to 1.
    """
    drawn = Pictures(pictures, PIXELS)
    jpegs = (drawn.jpeg(number) for number in range(count))
    digests = _in_turn(images.put, jpegs)
    products = [
        product_of(number, drawn.truth(number), digest, planted_share=planted_share)
        for number, digest in enumerate(digests)
    ]
    tables.put_all(one.product for one in products)
    return products


def _in_turn(put: Callable[[bytes], str], jpegs: Iterable[bytes]) -> list[str]:
    """Puts images, a few at once; gives their digests in order."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(put, jpegs))
