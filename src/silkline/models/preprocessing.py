"""Reads how a model's processor preprocesses an image, from its files."""

from __future__ import annotations

import msgspec

from silkline.models.documents import Document

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Values of `resample`: the numbers of Pillow's `Image.Resampling`."""


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """The steps from an image to the vision tower's input.

    Attributes:
        processor: The processor's class in transformers.
        size: The size that the image is resized to, in the processor's terms; empty if it is not.
        resample: The resampling filter.
        crop: The size of the centre crop; empty if the image is not cropped.
        rescale: Factor for the pixel values from 0 to 255.
        mean: Subtracted from each channel after rescaling.
        std: Divisor of each channel after that.
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


def shorter_edge(steps: Preprocessing | None) -> int | None:
    """The length to which the shorter edge of every image is scaled, bicubically, and then cropped.

    To this length an image may be reduced beforehand. None if it is preprocessed otherwise.
    """
    if steps is None or steps.resample != "bicubic" or not steps.crop:
        return None
    return steps.size.get("shortest_edge")


def read_preprocessing(image: Document) -> Preprocessing | None:
    """Reads preprocessor_config.json; None if there is none.

    Raises:
        ConfigError: A value is not of its documented type.
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
    """The lengths under a key; a bare number, as in older files, is the shortest edge."""
    if isinstance(image.values.get(key), int):
        return {"shortest_edge": image.number(key) or 0}
    section = image.section(key)
    return {name: length for name in section.values if (length := section.number(name)) is not None}
