"""The fields of a body that say which images a request has, and how many pixels each gets."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from silkline.core import ImagePart
from silkline.errors import InvalidRequest
from silkline.ingress.pixels import PixelRange
from silkline.ingress.source import Source, parse_file, parse_url

LOW_DETAIL_PIXELS = 512 * 512
"""Maximum pixels of an image with the detail `low`; all other levels are the model's budget."""

DETAILS = "auto, low, high or original"

Detail = Literal["auto", "low", "high", "original"]
MinPixels = Annotated[int, Meta(ge=0)]
MaxPixels = Annotated[int, Meta(ge=1)]


class PixelFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Minimum and maximum pixels of an image, as Qwen's processor has them."""

    min_pixels: MinPixels | None = None
    max_pixels: MaxPixels | None = None


class ImageFields(PixelFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The detail and pixels of one image."""

    detail: Detail | None = None

    def pixels(self) -> PixelRange:
        """The range of pixels that the fields ask for. Raises as `pixel_range` does."""
        return pixel_range(("", self))


def pixel_range(*levels: tuple[str, PixelFields]) -> PixelRange:
    """The range of pixels that fields at several places ask for.

    Args:
        levels: Each place's path in the body, empty or with a dot at the end, and its fields. The
            first place that has a field counts.

    Raises:
        InvalidRequest: The minimum exceeds the maximum, wherever each comes from.
    """
    path, minimum = next(
        ((path, own.min_pixels) for path, own in levels if own.min_pixels is not None), ("", 0)
    )
    maximum = next((own.max_pixels for _, own in levels if own.max_pixels is not None), None)
    if maximum is not None and minimum > maximum:
        raise InvalidRequest(
            f"min_pixels is {minimum}, above max_pixels, which is {maximum}. "
            "Send a smaller min_pixels.",
            param=f"{path}min_pixels",
        )
    details = (own.detail for _, own in levels if isinstance(own, ImageFields))
    if next((detail for detail in details if detail), None) == "low":
        maximum = min(maximum or LOW_DETAIL_PIXELS, LOW_DETAIL_PIXELS)
    return PixelRange(minimum, maximum)


class ImageUrl(ImageFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image's location, an http, https or data URL, with its detail and pixels."""

    url: str


class FileData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A document or an image: a data URL, Base64 text or a URL. Its name has no effect."""

    file_data: str
    filename: str | None = None


class Images:
    """Collects the images of one request.

    Attributes:
        sources: Where each image comes from, in order.
    """

    def __init__(self, pixels: PixelFields | None = None) -> None:
        """Begins without images.

        Args:
            pixels: The pixels of images that have no own ones: the request's `mm_processor_kwargs`.

        Raises:
            InvalidRequest: Their minimum exceeds their maximum.
        """
        self.sources: list[Source] = []
        self._pixels = ("mm_processor_kwargs.", pixels or PixelFields())
        pixel_range(self._pixels)

    def add(self, image: str | ImageUrl, fields: ImageFields, part: str, name: str) -> ImagePart:
        """Adds an image; returns the part that refers to it.

        Args:
            image: Its URL, alone or with its detail and pixels.
            fields: The part's own detail and pixels, which count where `image` has none.
            part: The path of the part in the body.
            name: The path of `image` in the part.

        Raises:
            InvalidRequest: The URL is invalid, or the minimum of its pixels exceeds the maximum.
            UrlBlocked: The URL is not allowed.
        """
        param = f"{part}.{name}"
        levels = [(f"{part}.", fields), self._pixels]
        if isinstance(image, ImageUrl):
            levels.insert(0, (f"{param}.", image))
            image = image.url
        return self._add(parse_url(image, param=param, pixels=pixel_range(*levels)))

    def add_file(self, data: str, fields: ImageFields, part: str, name: str) -> ImagePart:
        """Adds a document or an image; a document becomes an image for each page.

        Args:
            data: A URL, a data URL or Base64 text.
            fields: The detail and pixels of each page.
            part: The path of the part in the body.
            name: The path of `data` in the part.

        Raises:
            InvalidRequest, UrlBlocked: As `add` does.
        """
        pixels = pixel_range((f"{part}.", fields), self._pixels)
        return self._add(parse_file(data, param=f"{part}.{name}", pixels=pixels))

    def _add(self, source: Source) -> ImagePart:
        self.sources.append(source)
        return ImagePart(len(self.sources) - 1)
