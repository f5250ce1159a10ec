"""Decodes encoded bytes to a normalised image. Runs only in the decoding child.

A normalised image is upright, opaque, 8-bit RGB. The steps, in this order:

1. The first frame is decoded. A truncated file is refused, not filled with grey. JPEG (`jpeg_end`),
   PNG and GIF files that lack only their end marker do not count as truncated.
2. The EXIF orientation is applied, and AVIF's rotation and mirroring. Unreadable EXIF is ignored.
3. Colours become 8-bit RGB. 16-bit samples keep their high byte (value >> 8), 12-bit samples their
   upper 8 bits; 1-bit samples become 0 and 255. 32-bit integers count as 16-bit if none is above
   65535, else as 31-bit; negative ones are black. Floating-point samples have the range 0..1,
   0..255 or 0..65535: the first that contains the largest sample, else they are scaled to the
   largest. Palettes are looked up. CMYK (Adobe's inverted CMYK too), YCCK, YCbCr and Lab are
   converted as Pillow does. ICC profiles, gamma and chromaticities are ignored.
4. Alpha channels, transparent palette entries and transparent colours (tRNS) are composited on
   white. An all-zero alpha channel is ignored in a BMP, and in a TIFF that does not declare one as
   alpha. The transparent colour of a PNG with 2 or 4 bits of grey, or 16 bits of RGB, is not
   applied, because Pillow returns it in other units than the pixels.
5. The pixel budget resizes it (`resize.target_size`) with Pillow's antialiased bicubic filter.

A JPEG of at least four times its target's width and height is decoded at 1/2, 1/4 or 1/8 of its
size, the smallest that is still twice the target. This is three times faster on 2 megapixels and
nearly identical: on photographs the pixels differ from those of a full decode by less than 1 of 255
on average and by 5 at the 99th percentile, a quarter of what saving the result as JPEG of quality
90 would change.
"""

from __future__ import annotations

import copy
import io
import math
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

# Every plugin and module that a decode can need is imported here: Pillow imports some of them only
# on first use, when the child can no longer open files.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageColor,
    ImageFile,
    ImageOps,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from silkline.ingress.decoder_wire import Refusal
from silkline.ingress.header import ends_with_image
from silkline.ingress.jpeg_end import with_end
from silkline.ingress.perceptual import EDGE, Look, look_of
from silkline.ingress.resize import MAX_ELONGATION, target_size

PRELOADED: Final = (
    copy,
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageCms,
    ImageColor,
    ImageOps,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

MAX_TEXT_CHUNK_BYTES: Final = 1024 * 1024
MAX_TEXT_BYTES: Final = 8 * 1024 * 1024

_PLAIN_FORMATS: Final = frozenset({"JPEG", "PNG"})
"""The formats that all servers read; llama.cpp reads no WebP."""

_DRAFT_MARGIN: Final = 2
_WHITE: Final = (255, 255, 255)
_FLOAT_RANGES: Final = (1.0, 255.0, 65535.0)
_TIFF_BITS_PER_SAMPLE: Final = 258
_TIFF_EXTRA_SAMPLES: Final = 338
_TIFF_ALPHA: Final = frozenset({1, 2})  # associated (premultiplied) and unassociated

_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_Box = tuple[float, float, float, float]

# Everything that Pillow's parsers raise on broken input; MemoryError is handled separately.
_BROKEN: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Refused(Exception):
    """The image is refused; `why` is the reason."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.value)
        self.why = why


class Normalised(NamedTuple):
    """A normalised image.

    `original_pixels` is its number of pixels before the budget, `look` what it looks like,
    `resize_seconds` the time that resizing took. `unchanged` says that any decoder gets the same
    pixels from the file: steps 2 to 5 changed nothing, and the file ends with its image.
    """

    width: int
    height: int
    pixels: bytes
    original_pixels: int
    look: Look
    resize_seconds: float
    unchanged: bool = False


def prepare() -> None:
    """Sets Pillow's own limits. Call it once, when the child starts."""
    Image.preinit()
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_CHUNK_BYTES
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def image_size(data: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """Reads width and height from the header.

    Raises:
        Refused: The header is broken, or the image exceeds a limit.
    """
    with _refusing(), _open(data, name, max_pixels) as image:
        return image.size


def normalise(
    data: bytes, name: str, max_pixels: int, budget: tuple[int | None, int, int]
) -> Normalised:
    """Decodes and normalises an image.

    Args:
        data: The encoded image.
        name: Pillow's name of its format; no other format is tried.
        max_pixels: Maximum number of pixels before the budget.
        budget: Shortest edge or None, maximum and minimum number of pixels of the result.

    Raises:
        Refused: The image is broken or exceeds a limit.
    """
    shortest_edge, max_budget, min_budget = budget
    with _refusing():
        ended = _ended(data, name, max_pixels)
    with _refusing(), _open(ended, name, max_pixels) as image:
        size = image.size
        part = _draft(image, target_size(*size, shortest_edge, max_budget, min_budget))
        image.load()
        transpose = _TRANSPOSES.get(_orientation(image))
        upright = _to_rgb(image)
        plain = part is None and transpose is None and _is_plain(image)
        if part is None:  # else it is transposed after the resize, when it is small
            upright, transpose = _transposed(upright, transpose), None
            size = upright.size
        begun = time.perf_counter()
        target = target_size(*size, shortest_edge, max_budget, min_budget)
        if upright.size != target:
            upright = upright.resize(target, Image.Resampling.BICUBIC, part)
        resize_seconds = time.perf_counter() - begun
        upright = _transposed(upright, transpose)
        pixels, look = upright.tobytes(), look_of_image(upright)
    return Normalised(
        *upright.size,
        pixels,
        math.prod(size),
        look,
        resize_seconds,
        unchanged=plain and upright.size == size and ends_with_image(data, name),
    )


def _is_plain(image: ImageFile.ImageFile) -> bool:
    """Whether a file holds one opaque 8-bit image in RGB or grey, without a colour profile."""
    return (
        image.format in _PLAIN_FORMATS
        and image.mode in {"RGB", "L"}
        and not image.has_transparency_data
        and "icc_profile" not in image.info
        and getattr(image, "n_frames", 1) == 1
    )


@contextmanager
def _refusing() -> Iterator[None]:
    """Converts Pillow's exceptions to `Refused`, without their text."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(Refusal.TOO_MANY_PIXELS) from error
    except MemoryError as error:
        raise Refused(Refusal.OUT_OF_MEMORY) from error
    except _BROKEN as error:
        # Pillow has no exception type for this; its message names the limit.
        metadata = isinstance(error, ValueError) and "MAX_TEXT" in str(error)
        why = Refusal.TOO_MUCH_METADATA if metadata else Refusal.UNDECODABLE
        raise Refused(why) from error


def _open(data: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = max_pixels
    image = Image.open(io.BytesIO(data), formats=(name,))
    width, height = image.size
    if width * height > max_pixels:  # Pillow checks this too, but only warns
        raise Refused(Refusal.TOO_MANY_PIXELS)
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise Refused(Refusal.TOO_ELONGATED)
    return image


def _ended(data: bytes, name: str, max_pixels: int) -> bytes:
    """Adds the end marker to a JPEG that lacks only that; other formats are unchanged."""
    if name != "JPEG":
        return data

    def pixels(trial: bytes) -> bytes:
        with _open(trial, name, max_pixels) as image:
            return image.tobytes()

    ended = with_end(data, pixels)
    if ended is None:
        raise Refused(Refusal.UNDECODABLE)
    return ended


def _draft(image: ImageFile.ImageFile, target: tuple[int, int]) -> _Box | None:
    """Makes Pillow decode a JPEG at a fraction of its size; None if that is not possible.

    The returned box is the part of the decoded pixels that the image covers: if its size is not a
    multiple of the fraction, the image ends between two pixels.
    """
    size = image.size
    drafted = image.draft(None, (_DRAFT_MARGIN * target[0], _DRAFT_MARGIN * target[1]))
    return None if drafted is None or image.size == size else drafted[1]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        return 1


def _transposed(image: Image.Image, transpose: Image.Transpose | None) -> Image.Image:
    return image if transpose is None else image.transpose(transpose)


def look_of_image(image: Image.Image) -> Look:
    """What an image looks like; `reducing_gap` speeds up the resize of large images."""
    small = image.resize((EDGE, EDGE), Image.Resampling.BOX, reducing_gap=2.0)
    return look_of(small.convert("YCbCr").tobytes())


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode == "I":
        return _from_32_bit(image)
    if image.mode == "F":
        return _from_float(image)
    if image.has_transparency_data and not _is_unused_alpha(image):
        return _over_white(image.convert("LA") if image.mode == "La" else image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_unused_alpha(image: Image.Image) -> bool:
    """Whether the alpha channel is all zero and probably not meant as alpha.

    Programs without alpha support write such a channel to BMP files, and to TIFF files that do not
    declare what the channel is. In all other files a fully transparent image is meant to be one.
    """
    declared = _TIFF_ALPHA.intersection(getattr(image, "tag_v2", {}).get(_TIFF_EXTRA_SAMPLES, ()))
    if image.format not in {"BMP", "TIFF"} or declared:
        return False
    return "A" in image.getbands() and image.getchannel("A").getextrema() == (0, 0)


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, _WHITE)
    canvas.paste(image, (0, 0), image)
    return canvas


def _from_16_bit(image: Image.Image) -> Image.Image:
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    if bits == 12:  # noqa: PLR2004
        image = image.point(lambda value: value * 16 + 0)
    high_first = image.mode == "I;16B"
    samples = image.tobytes()
    high = Image.frombytes("L", image.size, samples[0 if high_first else 1 :: 2])
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return high.convert("RGB")
    low = Image.frombytes("L", image.size, samples[1 if high_first else 0 :: 2])
    opaque = ImageChops.lighter(
        high.point(_all_but(transparent >> 8)), low.point(_all_but(transparent & 255))
    )
    return _over_white(Image.merge("LA", (high, opaque)))


def _all_but(value: int) -> list[int]:
    """A lookup table that is 0 at one value and 255 elsewhere."""
    return [0 if index == value else 255 for index in range(256)]


def _from_32_bit(image: Image.Image) -> Image.Image:
    _, largest = image.getextrema()
    scale = 1 / 2**8 if _number(largest) <= 0xFFFF else 1 / 2**23  # noqa: PLR2004
    return image.point(lambda value: value * scale + 0).convert("L").convert("RGB")


def _from_float(image: Image.Image) -> Image.Image:
    mean = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    if not math.isfinite(_number(mean)):  # any NaN or infinity makes the mean non-finite
        raise Refused(Refusal.UNDECODABLE)
    largest = _number(image.getextrema()[1])
    top = next((limit for limit in _FLOAT_RANGES if largest <= limit), largest)
    scale = 255 / top
    return image.point(lambda value: value * scale + 0.5).convert("L").convert("RGB")


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError("not a single sample")
    return value
