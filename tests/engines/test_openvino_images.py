"""Pixels as the vision tower takes them: those of transformers' own processor."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.openvino.images import ClipPreprocessor, scaled
from silkline.engines.openvino.served import read_served
from silkline.errors import ConfigError, InvalidRequest
from silkline.models.documents import Document
from silkline.models.image_tokens import Fixed, SmartResize
from silkline.models.preprocessing import Preprocessing, read_preprocessing
from silkline.models.resolve import bundled_folder
from tests.engines.asking import picture

CLIP: dict[str, Any] = {
    "size": {"shortest_edge": 56},
    "crop_size": {"height": 56, "width": 56},
    "do_center_crop": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SIZES = [(56, 56), (96, 72), (72, 96), (57, 300), (1, 1), (3, 3), (1, 40), (640, 480), (55, 56)]


def steps(**changed: Any) -> Preprocessing:
    read = read_preprocessing(Document("preprocessor_config.json", {**CLIP, **changed}))
    assert read is not None
    return read


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"resample": 2},
        {"crop_size": {"height": 40, "width": 70}},
        {"size": {"height": 48, "width": 64}, "do_center_crop": False},
    ],
    ids=json.dumps,
)
def test_pixels_are_those_of_transformers(size: tuple[int, int], changed: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    from PIL import Image  # noqa: PLC0415

    image = picture(3, *size)
    own = ClipPreprocessor(steps(**changed)).pixels([image])
    processor = transformers.CLIPImageProcessor(**{**CLIP, **changed})
    theirs = processor(
        Image.frombytes("RGB", size, image.pixels),
        return_tensors="np",
        input_data_format="channels_last",  # or it guesses, and a picture 3 pixels wide is turned
    )
    assert own.dtype == np.float32
    assert own.shape == theirs["pixel_values"].shape
    np.testing.assert_allclose(own, theirs["pixel_values"], rtol=0, atol=1e-6)


def test_pictures_of_all_sizes_become_one_batch() -> None:
    images = [picture(seed, *size) for seed, size in enumerate(SIZES)]
    preprocessor = ClipPreprocessor(steps())
    whole = preprocessor.pixels(images)
    assert whole.shape == (len(SIZES), 3, 56, 56)
    for image, pixels in zip(images, whole, strict=True):
        assert np.array_equal(preprocessor.pixels([image])[0], pixels)


@pytest.mark.parametrize(
    ("changed", "sees"),
    [
        ({}, True),
        ({"do_center_crop": False}, False),  # then pictures keep their shape
        ({"size": {"longest_edge": 56}}, False),
        ({"size": {"height": 56, "width": 56}, "do_center_crop": False}, True),
        ({"resample": 9}, False),
        ({"image_mean": [0.5]}, False),
        # What is left out, transformers fills in: it is not guessed here.
        ({"resample": None}, False),
        ({"rescale_factor": None}, False),
        ({"image_std": None}, False),
        ({"do_rescale": False}, False),
    ],
)
def test_it_knows_what_it_can_see(changed: dict[str, Any], *, sees: bool) -> None:
    assert ClipPreprocessor.supported(steps(**changed)) is sees
    assert not ClipPreprocessor.supported(None)


def test_an_endless_strip_is_refused() -> None:
    preprocessor = ClipPreprocessor(steps())
    preprocessor.check(picture(0, 1, 1000))
    with pytest.raises(InvalidRequest, match="image is 1x90000"):
        preprocessor.check(picture(0, 1, 90_000))


def test_pictures_for_the_pipeline_come_in_the_size_that_it_would_make(tmp_path: Path) -> None:
    rule = SmartResize(28, 4 * 784, 64 * 784)
    image = picture(1, 480, 360)
    made = scaled(image, rule, None)
    assert (made.width, made.height) == rule.size(480, 360) == (252, 168)
    assert len(made.pixels) == 252 * 168 * 3
    assert made.digest == image.digest
    assert scaled(made, rule, None) is made
    square = steps(size={"height": 48, "width": 64}, do_center_crop=False, resample=2)
    assert (scaled(image, Fixed(4), square).width, scaled(image, Fixed(4), square).height) == (
        64,
        48,
    )
    assert scaled(image, Fixed(4), steps()) is image
    assert scaled(image, None, None) is image


def test_pictures_that_are_made_square_first_are_left_to_torch(tmp_path: Path) -> None:
    """`LlavaImageProcessor` does so where `do_pad` is set; neither this engine nor GenAI does."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundled_folder(), copy)
    path = copy / "openvino" / "preprocessor_config.json"
    said = json.loads(path.read_text()) | {"do_pad": True}
    for kind, refused in (("LlavaImageProcessor", True), ("CLIPImageProcessor", False)):
        path.write_text(json.dumps(said | {"image_processor_type": kind}))
        with pytest.raises(ConfigError, match="--engine torch") if refused else nullcontext():
            read_served(EngineOptions(model=copy))
