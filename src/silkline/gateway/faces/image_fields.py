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

    def check(self, path: str) -> None:
        """Raises `InvalidRequest` if the minimum exceeds the maximum.

        Args:
            path: The path of these fields in the body, empty or with a dot at the end.
        """
        if self.max_pixels is not None and (self.min_pixels or 0) > self.max_pixels:
            raise InvalidRequest(
                f"min_pixels is {self.min_pixels}, above max_pixels, which is {self.max_pixels}. "
                "Send a smaller min_pixels.",
                param=f"{path}min_pixels",
            )


NO_PIXELS = PixelFields()


class ImageFields(PixelFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The detail and pixels of one image."""

    detail: Detail | None = None

    def pixels(self, path: str, others: PixelFields = NO_PIXELS) -> PixelRange:
        """The range of pixels that the fields ask for.

        Args:
            path: Their path in the body, empty or with a dot at the end.
            others: What counts where these fields have nothing.

        Raises:
            InvalidRequest: The minimum exceeds the maximum.
        """
        self.check(path)
        minimum = others.min_pixels if self.min_pixels is None else self.min_pixels
        maximum = others.max_pixels if self.max_pixels is None else self.max_pixels
        if self.detail == "low":
            maximum = min(maximum or LOW_DETAIL_PIXELS, LOW_DETAIL_PIXELS)
        return PixelRange(minimum or 0, maximum)


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
        self._pixels = pixels or NO_PIXELS
        self._pixels.check("mm_processor_kwargs.")

    def add(self, image: str | ImageUrl, fields: ImageFields, param: str) -> ImagePart:
        """Adds an image; returns the part that refers to it.

        Args:
            image: Its URL, alone or with its detail and pixels.
            fields: The detail and pixels beside it, which count where `image` has none.
            param: The path of `image` in the body.

        Raises:
            InvalidRequest: The URL is invalid, or the minimum of its pixels exceeds the maximum.
            UrlBlocked: The URL is not allowed.
        """
        if isinstance(image, str):
            return self._add(
                parse_url(image, param=param, pixels=fields.pixels(f"{param}.", self._pixels))
            )
        own = ImageFields(
            min_pixels=fields.min_pixels if image.min_pixels is None else image.min_pixels,
            max_pixels=fields.max_pixels if image.max_pixels is None else image.max_pixels,
            detail=image.detail or fields.detail,
        )
        return self._add(
            parse_url(image.url, param=param, pixels=own.pixels(f"{param}.", self._pixels))
        )

    def add_file(self, data: str, fields: ImageFields, param: str) -> ImagePart:
        """Adds a document or an image; a document becomes an image for each page.

        Args:
            data: A URL, a data URL or Base64 text.
            fields: The detail and pixels of each page.
            param: The path of `data` in the body.

        Raises:
            InvalidRequest, UrlBlocked: As `add` does.
        """
        return self._add(
            parse_file(data, param=param, pixels=fields.pixels(f"{param}.", self._pixels))
        )

    def _add(self, source: Source) -> ImagePart:
        self.sources.append(source)
        return ImagePart(len(self.sources) - 1)
