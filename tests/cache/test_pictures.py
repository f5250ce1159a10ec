"""Many pictures, one prompt: no picture ever gets another one's answer, in any tier."""

import random
from collections.abc import Iterator

import pytest

from silkline.cache.base import Tier
from silkline.cache.entry import Entry, decode_entry, encode_entry
from silkline.cache.key import answer_key
from silkline.core import Image
from tests.cache.asking import HOUR, answer, asked_of, image, info
from tests.engines.asking import request, user

TENANTS = (b"one", b"other")


def pictures(count: int) -> Iterator[Image]:
    """Pictures that are easily taken for one another: same bytes, other shape, mode or one bit."""
    dice = random.Random(30)
    made = 0
    while made < count:
        width, height = dice.choice([(2, 6), (3, 4), (2, 9)])
        pixels = bytearray(dice.randbytes(width * height * 3))
        family = [
            image(width, height, bytes(pixels)),
            image(height, width, bytes(pixels)),
            image(width * height, 1, bytes(pixels)),
            image(width, height, bytes(pixels), mode="HSV"),
        ]
        pixels[dice.randrange(len(pixels))] ^= 1
        family.append(image(width, height, bytes(pixels)))
        yield from family[: count - made]
        made += len(family)


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_no_picture_gets_the_answer_of_another(tier: Tier, count: int) -> None:
    keys = {}
    for place, picture in enumerate(pictures(count)):
        asked = asked_of(request(user(0, "What is this?"), images=(picture,)))
        for tenant in TENANTS:
            name = f"picture {place} of {tenant!r}"
            keys[name] = key = answer_key(asked, info(), tenant)
            stored = encode_entry(key, Entry(answer(name), 0.0))
            assert stored is not None
            await tier.put(key, stored, HOUR)
    assert len(set(keys.values())) == count * len(TENANTS)
    missed = 0
    for name, key in keys.items():
        value = await tier.get(key)
        if value is None:
            missed += 1
            continue
        entry = decode_entry(key, value)
        assert entry is not None
        assert entry.answer.text == name
    assert missed == 0
