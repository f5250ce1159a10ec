"""What a model's processor does to an image, as its files tell."""

from __future__ import annotations

import msgspec

from silkline.models.documents import Document

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""`resample`: the numbers of Pillow's `Image.Resampling`."""


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """The steps from an image to the numbers that the vision tower takes.

    Attributes:
        processor: The class in transformers.
        size: What the image is resized to, in the processor's own terms; empty where it is not.
        resample: The filter.
        crop: What is cut from the middle; empty where nothing is.
        rescale: What pixel values from 0 to 255 are multiplied with.
        mean: Subtracted from each channel after that.
        std: Divided by after that.
        rgb: Whether other modes are converted to RGB.
    """

    processor: str | None
    size: dict[str, int]
    resample: str | None
    crop: dict[str, int]
    rescale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    rgb: bool


def read_preprocessing(image: Document) -> Preprocessing | None:
    """Reads preprocessor_config.json; None where there is none.

    Raises:
        ConfigError: A key is not of its documented type.
    """
    if not image:
        return None
    resizes = image.flag("do_resize") is not False
    scales = image.flag("do_rescale") is not False
    normalizes = image.flag("do_normalize") is not False
    resample = image.number("resample", minimum=0)
    return Preprocessing(
        processor=image.text("image_processor_type") or image.text("feature_extractor_type"),
        size=_lengths(image, "size") if resizes else {},
        resample=None if resample is None or not resizes else _FILTERS.get(resample),
        crop=_lengths(image, "crop_size") if image.flag("do_center_crop") else {},
        rescale=image.decimal("rescale_factor") if scales else None,
        mean=image.decimals("image_mean") if normalizes else None,
        std=image.decimals("image_std") if normalizes else None,
        rgb=image.flag("do_convert_rgb") is not False,
    )


def _lengths(image: Document, key: str) -> dict[str, int]:
    """The lengths under a key; a bare number, as older files have it, is the shortest edge."""
    if isinstance(image.values.get(key), int):
        return {"shortest_edge": image.number(key) or 0}
    section = image.section(key)
    return {name: length for name in section.values if (length := section.number(name)) is not None}
