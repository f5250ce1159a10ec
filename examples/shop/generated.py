"""Products with known truth, drawn by the bundled model's generator."""

from __future__ import annotations

import io
import random
from decimal import Decimal
from typing import NamedTuple

from PIL import Image

from examples.shop.images import Images
from examples.shop.words import VOCABULARY
from recipes.mini.render import render
from recipes.mini.scene import TEST_SEEDS, Scene, sample_scene
from silkline.catalog.product import Price, Product
from silkline.catalog.vocabulary import Value

SKIP = 2000
"""Scenes of the test split that the model's own evaluation uses."""

_MATERIALS = {
    "mug": "ceramic", "t-shirt": "cotton", "chair": "wood", "bottle": "glass", "table": "wood",
    "sofa": "wool", "hat": "wool", "book": "paper", "teapot": "ceramic", "vase": "glass",
    "handbag": "leather", "dress": "cotton", "trousers": "cotton", "sock": "wool",
}  # fmt: skip
_QUALITY = 85


class Drawn(NamedTuple):
    """A generated product.

    Attributes:
        product: What the table says.
        planted: The attribute that the table has wrong on purpose; empty if it has none.
        truth: What the image shows.
    """

    product: Product
    planted: str
    truth: dict[str, Value]


def draw(number: int, images: Images, *, planted_share: float, size: int = 256) -> Drawn:
    """The product of a number, always the same one.

    Args:
        number: From 0.
        images: Where its image is put.
        planted_share: The share of products with one wrong value in the table, from 0 to 1.
        size: Side of the image in pixels.
    """
    scene = sample_scene(TEST_SEEDS[SKIP + number])
    image = images.put(_jpeg(scene, size))
    return product_of(number, scene, image, planted_share=planted_share)


def product_of(number: int, scene: Scene, image: str, *, planted_share: float) -> Drawn:
    """The product that a scene shows.

    Args:
        number: From 0; the same one gets the same price and the same planted value.
        scene: What the image shows.
        image: The image's digest.
        planted_share: The share of products with one wrong value in the table, from 0 to 1.
    """
    chance = random.Random(number)  # noqa: S311 - the same products each time
    has_price = scene.label is not None and scene.label.startswith("$")
    amount = (
        Decimal(scene.label[1:]) if scene.label and has_price else Decimal(chance.randint(1, 99))
    )
    truth: dict[str, Value] = scene.record()
    record = truth | {"label": None if has_price else scene.label}
    if scene.category in _MATERIALS:
        record["material"] = _MATERIALS[scene.category]
    planted = ""
    if chance.random() < planted_share:
        names = [*truth, *(["price"] if has_price else [])]
        planted = chance.choice(names)
        if planted == "price":
            amount = Decimal(chance.choice([one for one in range(1, 100) if one != amount]))
        else:
            record[planted] = _another(planted, record[planted], chance)
    product = Product(
        id=f"p-{number:05}",
        attributes=record,
        price=Price(amount, "USD"),
        image=image,
    )
    return Drawn(product, planted, truth)


def _another(name: str, value: Value, chance: random.Random) -> Value:
    """A wrong value of an attribute."""
    options: list[Value] = list(VOCABULARY[name].values)
    if name == "count":
        options = [1, 2, 3]
    if name == "label":
        options = ["SALE", "NEW", "ECO", "TOP", None]
    return chance.choice([one for one in options if one != value])


def _jpeg(scene: Scene, size: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(render(scene, size).picture).save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()
