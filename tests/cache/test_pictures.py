"""Many pictures, one prompt: no picture ever gets another one's answer, in any tier."""

import asyncio
import random
from collections.abc import Iterable, Iterator
from itertools import islice

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
            image(width * 3, height, bytes(pixels), mode="L"),
        ]
        pixels[dice.randrange(len(pixels))] ^= 1
        family.append(image(width, height, bytes(pixels)))
        yield from family[: count - made]
        made += len(family)


def batched(names: Iterable[str]) -> Iterator[list[str]]:
    """Some at a time."""
    rest = iter(names)
    while some := list(islice(rest, 50)):
        yield some


@pytest.mark.slow
@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_no_picture_gets_the_answer_of_another(tier: Tier, count: int) -> None:
    keys: dict[str, bytes] = {}
    for place, picture in enumerate(pictures(count)):
        asked = asked_of(request(user(0, "What is this?"), images=(picture,)))
        for tenant in TENANTS:
            keys[f"picture {place} of {tenant!r}"] = answer_key(asked, info(), tenant)
    assert len(set(keys.values())) == count * len(TENANTS)

    async def keep(name: str) -> None:
        stored = encode_entry(keys[name], Entry(answer(name), 0.0))
        assert stored is not None
        await tier.put(keys[name], stored, HOUR)

    async def text(name: str) -> str:
        value = await tier.get(keys[name])
        entry = None if value is None else decode_entry(keys[name], value)
        return "" if entry is None else entry.answer.text

    for some in batched(keys):
        await asyncio.gather(*map(keep, some))
    for some in batched(keys):
        assert await asyncio.gather(*map(text, some)) == some
    assert tier.health().errors == 0
