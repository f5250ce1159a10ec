"""The golden pack: kinds of images and prompts on which engines are known to differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from PIL import Image

from silkline.evaluate.contract.case import Case
from silkline.evaluate.contract.drawing import deep, opacity, scene, tiny_text
from silkline.evaluate.contract.encoding import (
    animated_gif,
    encode,
    jpeg,
    oriented,
    png_16,
    swapped_profile,
)

_ASK = "What is the main colour?"
"""The first word of the answer depends on the pixels, including the order of channels."""

_SIZE = (320, 240)
_LARGE = (4000, 3000)
_KEY = (90, 90, 90)
"""The transparent colour of the image with a colour key."""


def golden_pack(maximum: int | None = None) -> tuple[Case, ...]:
    """All cases, or the first `maximum`; draws and encodes them, which takes a second or two."""
    cases = chain(
        _orientations(),
        _transparent(),
        _palettes(),
        _modes(),
        _shapes(),
        _files(),
        _prompts(),
    )
    return tuple(islice(cases, maximum))


def _case(name: str, title: str, image: bytes) -> Case:
    return Case(name, title, (image, _ASK))


def _orientations() -> Iterator[Case]:
    upright = scene(200, 150)
    for orientation in range(1, 9):
        name, title = f"exif-{orientation}", f"JPEG, EXIF orientation {orientation}"
        yield _case(name, title, oriented(upright, orientation))


def _transparent() -> Iterator[Case]:
    colours, alpha = scene(*_SIZE), opacity(*_SIZE)
    rgba, la = colours.copy(), colours.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    keyed = Image.new("RGB", _SIZE, _KEY)
    keyed.paste(colours, (60, 40))
    yield _case("alpha", "RGBA PNG, a slope of alpha", encode(rgba, "PNG"))
    yield _case("alpha-hole", "RGBA PNG, colours under nothing", encode(_holed(colours), "PNG"))
    yield _case("alpha-webp", "RGBA WebP, lossless", encode(rgba, "WEBP", lossless=True))
    yield _case("grey-alpha", "LA PNG", encode(la, "PNG"))
    yield _case("colour-key", "RGB PNG, tRNS", encode(keyed, "PNG", transparency=_KEY))


def _holed(colours: Image.Image) -> Image.Image:
    """Alpha of 0 or 255 only; dropping alpha would reveal the colours under the hole."""
    holed = colours.copy()
    holed.putalpha(opacity(*colours.size).point([0] + [255] * 255))
    return holed


def _palettes() -> Iterator[Case]:
    palette = scene(*_SIZE).quantize(32)
    yield _case("palette", "PNG, 32 colours", encode(palette, "PNG"))
    several = encode(palette, "PNG", transparency=bytes(range(0, 256, 8)))
    yield _case("palette-alpha", "PNG, 32 colours, each of its own alpha", several)
    yield _case(
        "gif-frames",
        "animated GIF, two frames",
        animated_gif([scene(*_SIZE), scene(*_SIZE, warm=False)]),
    )


def _modes() -> Iterator[Case]:
    colours = scene(*_SIZE)
    samples = deep(*_SIZE)
    yield _case("grey", "grey PNG", encode(colours.convert("L"), "PNG"))
    yield _case("grey-jpeg", "grey JPEG", jpeg(colours.convert("L")))
    yield _case("bits-1", "PNG, black and white", encode(colours.convert("1"), "PNG"))
    yield _case("grey-16", "PNG, 16 bits of grey", png_16(samples[..., 1]))
    yield _case("rgb-16", "PNG, 16 bits a channel", png_16(samples))
    yield _case(
        "cmyk",
        "CMYK JPEG, inverted as Adobe does",
        encode(colours.convert("CMYK"), "JPEG", quality=92),
    )
    yield _case(
        "profile",
        "JPEG, ICC profile that swaps red and blue",
        jpeg(colours, icc_profile=swapped_profile()),
    )


def _shapes() -> Iterator[Case]:
    yield _case("wide", "60 times as wide as high", encode(scene(1920, 32), "PNG"))
    yield _case("tall", "60 times as high as wide", encode(scene(32, 1920), "PNG"))
    yield _case("pixel", "1 x 1 pixel", encode(scene(1, 1), "PNG"))
    yield _case("pixels-9", "3 x 3 pixels", encode(scene(3, 3), "PNG"))
    yield _case("row", "1 pixel high", encode(scene(40, 1), "PNG"))
    yield _case("small", "smaller than the tower's edge", encode(scene(57, 33), "PNG"))
    yield _case("odd", "sides that divide by nothing", encode(scene(397, 251), "PNG"))


def _files() -> Iterator[Case]:
    yield _case("tiny-text", "lines of small text", encode(tiny_text(400, 300), "PNG"))
    yield _case("webp", "WebP with loss", encode(scene(*_SIZE), "WEBP", quality=90))
    yield _case("progressive", "progressive JPEG", jpeg(scene(*_SIZE), progressive=True))
    yield _case("large-png", "PNG, 2000 x 1500", encode(scene(2000, 1500), "PNG", compress_level=1))
    yield _case("large-jpeg", "JPEG, 4000 x 3000", jpeg(scene(*_LARGE)))


def _prompts() -> Iterator[Case]:
    first, second = encode(scene(*_SIZE), "PNG"), encode(scene(240, 320, warm=False), "PNG")
    yield Case("two-pictures", "two pictures, then text", (first, second, "What differs?"))
    yield Case("text-first", "text, then the picture", ("Look at this: ", first))
    yield Case("text-around", "text before and after", ("Look at this: ", first, " " + _ASK))
    yield Case(
        "interleaved",
        "text, picture, text, picture, text",
        ("A: ", first, " B: ", second, " Which is it?"),
    )
