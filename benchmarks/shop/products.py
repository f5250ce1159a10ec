"""The shop's products: drawn with known truth, rows in the product table, images in the store."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image

from benchmarks.shop.plan import Plan
from examples.shop.generated import SKIP, Drawn, product_of
from examples.shop.images import Images
from examples.shop.tables import Tables
from recipes.mini.render import render
from recipes.mini.scene import TEST_SEEDS, Scene, sample_scene

PIXELS = 256
"""Width and height of an image, as the shop has them."""

_MARK = 8
"""Width and height of the mark in an image's corner, in pixels: a block of the JPEG."""

_QUALITY = 90
_AT_ONCE = 4


class _Shown(NamedTuple):
    """A scene and its drawing."""

    scene: Scene
    image: Image.Image


def stock(count: int, plan: Plan, tables: Tables, images: Images) -> list[Drawn]:
    """Draws products and puts them into the table and the store.

    Drawing costs more than encoding. So products share scenes, and a mark in the corner, in a
    colour of its own, makes each image another one: no cache takes it for one that it knows.

    Args:
        count: How many; a number gets the same product each time.
        plan: Says how many scenes there are, and how many rows have a wrong value.
        tables: The product table.
        images: The object store.
    """
    scenes = [_shown(number) for number in range(min(count, plan.scenes))]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        digests = list(threads.map(images.put, jpegs(count, scenes)))
    products = [
        product_of(number, scenes[number % len(scenes)].scene, digest, planted_share=plan.planted)
        for number, digest in enumerate(digests)
    ]
    tables.put_all(one.product for one in products)
    return products


def jpegs(count: int, scenes: list[_Shown]) -> Iterator[bytes]:
    """The image files of products, all different."""
    for number in range(count):
        image = scenes[number % len(scenes)].image.copy()
        # Neighbours of a scene differ in the strongest bits, so that JPEG keeps them apart.
        step = number // len(scenes)
        colour = tuple(255 - (step >> shift & 15) * 17 for shift in (0, 4, 8))
        image.paste(colour, (0, 0, _MARK, _MARK))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        yield encoded.getvalue()


def _shown(number: int) -> _Shown:
    scene = sample_scene(TEST_SEEDS[SKIP + number])
    return _Shown(scene, Image.fromarray(render(scene, PIXELS).picture))
