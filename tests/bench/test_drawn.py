from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image

from silkline.bench.drawn import DISTINCT, SCENES, DrawnImages

SIZE = 128


@pytest.fixture(scope="module")
def drawn() -> DrawnImages:
    return DrawnImages(SIZE)


def pixels(jpeg: bytes, size: int = SIZE) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (size, size)
        return picture.convert("RGB").tobytes()


def test_joined_pictures_are_whole_and_distinct(drawn: DrawnImages) -> None:
    seen = {hashlib.md5(pixels(drawn.jpeg(number))).digest() for number in range(2000)}
    assert len(seen) == 2000


def test_near_duplicates_differ_in_a_corner_only(drawn: DrawnImages) -> None:
    plain = pixels(drawn.jpeg(7))
    marked = [pixels(drawn.jpeg(7, variant)) for variant in range(1, 300)]
    assert len({*marked, plain}) == 300
    rows_of_the_mark = 32  # 16, and what chroma upsampling and filters spread
    for one in marked[:20]:
        assert one[SIZE * 3 * rows_of_the_mark :] == plain[SIZE * 3 * rows_of_the_mark :]


def test_the_same_number_is_the_same_picture_in_every_process(drawn: DrawnImages) -> None:
    again = DrawnImages(SIZE)
    assert [again.jpeg(n, n % 3) for n in range(50)] == [drawn.jpeg(n, n % 3) for n in range(50)]
    assert drawn.jpeg(3) == drawn.jpeg(3 + DISTINCT)


def test_there_are_enough_for_a_long_run() -> None:
    assert DISTINCT >= 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("size", [160, 224, 384])
def test_joining_moves_no_pixel(size: int) -> None:
    """A picture shows its two products just as pictures do that share one of them with it."""
    drawn = DrawnImages(size)
    first = [halves(drawn.jpeg(number), size) for number in range(400)]
    lefts, rights = ({half[side] for half in first} for side in (0, 1))
    assert len(lefts) <= SCENES
    assert len(rights) <= SCENES


def halves(jpeg: bytes, size: int) -> tuple[bytes, bytes]:
    """The inner parts of a picture's two cards."""
    reach = size // 32
    with Image.open(io.BytesIO(jpeg)) as picture:
        left, right = (
            picture.crop((x - reach, size // 2, x + reach, size * 3 // 4)).tobytes()
            for x in (size * 9 // 32, size * 3 // 4)
        )
    return left, right
