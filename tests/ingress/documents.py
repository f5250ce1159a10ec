"""PDF documents of every kind that the decoder takes or refuses, made in memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from PIL import Image

COLOURS = ("red", "green", "blue")


def pdf(*colours: str, width: int = 300, height: int = 200) -> bytes:
    """A document with a page of one colour for each name, of so many points, by Pillow."""
    pages = [Image.new("RGB", (width, height), colour) for colour in colours]
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=72)
    return buffer.getvalue()


def built(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A document from its objects, numbered from 1; the first is the catalog."""
    body, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Root 1 0 R/Size %d%s>>\n" % (
        len(offsets) + 1, table, len(offsets) + 1, trailer
    ) + b"startxref\n%d\n%%%%EOF\n" % len(body)  # fmt: skip


CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
ONE_KID = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"


def drawn(content: bytes, box: bytes = b"0 0 300 200", page: bytes = b"", *more: bytes) -> bytes:
    """A document of one page; `more` are objects from number 5."""
    stream = b"<</Length %d>>\nstream\n%s\nendstream" % (len(content), content)
    kid = b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents 4 0 R%s>>" % (box, page)
    return built(CATALOG, ONE_KID, kid, stream, *more)


def many_pages(count: int) -> bytes:
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 3 + count))
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 90]>>"
    return built(CATALOG, b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count), *[page] * count)


def claiming(count: int) -> bytes:
    """A document that says it has so many pages and has one."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 90]>>"
    return built(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count %d>>" % count, page)


def deep_tree(depth: int) -> bytes:
    """A page under so many levels of the tree of pages."""
    nodes = [
        b"<</Type/Pages/Kids[%d 0 R]/Count 1/Parent %d 0 R>>" % (number + 1, number - 1)
        for number in range(2, 2 + depth)
    ]
    return built(CATALOG, *nodes, b"<</Type/Page/MediaBox[0 0 90 90]>>")


def form(content: bytes, inner: bytes = b"") -> bytes:
    """A form, which pages and other forms may draw; `inner` is the number of one that it draws."""
    return (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 90 90]/Resources<</XObject<</F %s 0 R>>>>"
        b"/Length %d>>\nstream\n%s\nendstream" % (inner or b"99", len(content), content)
    )


def with_form(content: bytes, *forms: bytes) -> bytes:
    """A document whose page draws the first of some forms, which are objects from number 5."""
    return drawn(content, b"0 0 90 90", b"/Resources<</XObject<</F 5 0 R>>>>", *forms)


def endless_form() -> bytes:
    """A form that draws itself."""
    return with_form(b"/F Do", form(b"/F Do", b"5"))


def fanned_out_forms(levels: int = 12, fan: int = 12) -> bytes:
    """Forms that each draw the next one many times: more work than any time allows."""
    calls = b"/F Do " * fan
    inner = [form(calls, b"%d" % (number + 1)) for number in range(5, 5 + levels)]
    return with_form(calls, *inner, form(b"0 0 90 90 re f"))


def bomb(size: int = 2 * 10**9) -> bytes:
    """A page whose content is far larger than its compressed stream."""
    packer = zlib.compressobj(9)
    chunk = b"0 0 m 9 9 l S " * 75_000
    data = b"".join(packer.compress(chunk) for _ in range(size // len(chunk))) + packer.flush()
    stream = b"<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream" % (len(data), data)
    kid = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 90]/Contents 4 0 R>>"
    return built(CATALOG, ONE_KID, kid, stream)


def huge_image() -> bytes:
    """A page with an image that claims far more pixels than it has."""
    image = (
        b"<</Type/XObject/Subtype/Image/Width 60000/Height 60000/BitsPerComponent 8"
        b"/ColorSpace/DeviceRGB/Length 3>>\nstream\nabc\nendstream"
    )
    return drawn(
        b"90 0 0 90 0 0 cm /I Do", b"0 0 90 90", b"/Resources<</XObject<</I 5 0 R>>>>", image
    )


def encrypted() -> bytes:
    """A document that opens with a password only."""
    secret = b"<</Filter/Standard/V 1/R 2/P -44/O<" + b"ab" * 32 + b">/U<" + b"cd" * 32 + b">>>"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 90]>>"
    return built(CATALOG, ONE_KID, page, secret, trailer=b"/Encrypt 4 0 R/ID[<00><00>]")


def text_page(text: bytes = b"Hello", fonts: Sequence[bytes] = (b"Helvetica",)) -> bytes:
    """A page with text in fonts that it does not embed."""
    named = b"".join(
        b"/F%d<</Type/Font/Subtype/TrueType/BaseFont/%s>>" % pair for pair in enumerate(fonts)
    )
    shown = b" ".join(
        b"BT /F%d 40 Tf 20 %d Td (%s) Tj ET" % (at, 20 + 60 * at, text) for at in range(len(fonts))
    )
    return drawn(shown, page=b"/Resources<</Font<<%s>>>>" % named)
