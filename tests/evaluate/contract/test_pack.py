import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from silkline.core import ImagePart, TextPart
from silkline.evaluate.contract.drawing import scene
from silkline.evaluate.contract.encoding import png_16, swapped_profile
from silkline.evaluate.contract.pack import golden_pack
from silkline.evaluate.contract.upright import upright
from tests.evaluate.contract.sides import pack


def digest(pictures: list[bytes]) -> str:
    return hashlib.sha256(b"".join(pictures)).hexdigest()


@pytest.mark.slow
def test_the_pack_is_the_same_every_time() -> None:
    first, second = (
        [data for case in cases for data in case.images]
        for cases in (pack().values(), golden_pack())
    )
    assert digest(first) == digest(second)


def test_the_pack_holds_every_kind_once() -> None:
    names = list(pack())
    assert len(names) == len(set(names)) == 39
    assert [name for name in names if name.startswith("exif-")] == [
        f"exif-{n}" for n in range(1, 9)
    ]
    modes = {Image.open(io.BytesIO(data)).mode for case in pack().values() for data in case.images}
    assert modes == {"RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16"}


def test_every_orientation_shows_the_same_picture() -> None:
    expected = np.asarray(scene(200, 150), np.int16)
    for orientation in range(1, 9):
        (data,) = pack()[f"exif-{orientation}"].images
        turned = np.asarray(upright(data), np.int16)
        assert turned.shape == expected.shape
        assert np.abs(turned - expected).mean() < 6  # what JPEG loses
        if orientation > 1:
            with Image.open(io.BytesIO(data)) as stored:
                pixels = np.asarray(stored, np.int16)
            assert pixels.shape != expected.shape or np.abs(pixels - expected).mean() > 10


def test_a_case_becomes_a_message_in_its_order() -> None:
    parts = pack()["interleaved"].message.parts
    assert [type(part) for part in parts] == [TextPart, ImagePart, TextPart, ImagePart, TextPart]
    assert [part.index for part in parts if isinstance(part, ImagePart)] == [0, 1]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_sixteen_bits_are_written_as_pillow_reads_them(shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    with Image.open(io.BytesIO(png_16(samples))) as picture:
        picture.load()
        read = np.asarray(picture)
    assert np.array_equal(read, samples if len(shape) == 2 else samples >> 8)
    assert np.array_equal(np.asarray(upright(png_16(samples)))[..., 0], _high(samples))


def _high(samples: np.ndarray) -> np.ndarray:
    return (samples >> 8).astype(np.uint8) if samples.ndim == 2 else samples[..., 0] >> 8


def test_the_profile_swaps_colours_for_who_applies_it() -> None:
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(swapped_profile()))
    turned = ImageCms.profileToProfile(red, profile, ImageCms.createProfile("sRGB"))
    assert turned is not None
    assert turned.getpixel((0, 0)) == (0, 0, 255)
    (data,) = pack()["profile"].images
    assert np.abs(np.asarray(upright(data), np.int16) - np.asarray(scene(320, 240))).mean() < 6
