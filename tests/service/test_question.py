"""What a question is expected to cost, by the pixels that its client wants."""

from __future__ import annotations

import pytest

from silkline.core import ImagePart, Message, Role, Sampling
from silkline.ingress.identity import Identity, Recognised
from silkline.ingress.pixels import PixelRange
from silkline.ingress.source import uploaded
from silkline.service.question import Question, size_of


@pytest.mark.parametrize(
    ("pixels", "unknown", "known"),
    [
        (PixelRange(), None, 5000),
        (PixelRange(max_pixels=4000), 4000, 4000),
        (PixelRange(max_pixels=9000), 9000, 5000),
        (PixelRange(min_pixels=7000), None, 7000),
        (PixelRange(7000, 8000), 8000, 7000),
    ],
)
def test_an_images_own_range_is_part_of_the_expected_cost(
    pixels: PixelRange, unknown: int | None, known: int
) -> None:
    question = Question(
        None,
        (Message(Role.USER, (ImagePart(0),)),),
        (uploaded(b"", param="image", pixels=pixels),),
        Sampling(),
        stream=False,
    )
    assert size_of(question, None).images == (unknown,)
    assert size_of(question, [Recognised((Identity("a" * 64, 5000, 0),))]).images == (known,)
