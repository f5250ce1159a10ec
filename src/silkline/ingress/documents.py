"""Renders pages of PDF documents. Runs only in the decoding child.

A page is drawn on white with its annotations and form fields, at `dpi` or smaller, directly at the
size that the pixel budget gives it. Text, scripts, attachments and links are not read. A font that
the document does not embed is replaced by one that PDFium contains; the child cannot open others.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pypdfium2.raw as pdfium
from PIL import Image

from silkline.ingress.decoder_wire import Refusal
from silkline.ingress.normalise import Normalised, Refused, look_of_image
from silkline.ingress.resize import MAX_ELONGATION, target_size

_POINTS_PER_INCH: Final = 72
_WHITE: Final = 0xFFFFFFFF
_NEEDS_PASSWORD: Final = {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}


def page_count(data: bytes) -> int:
    """Counts the pages of a document, at least 1.

    Raises:
        Refused: The document is broken, encrypted or has no pages.
    """
    with _opened(data) as document:
        pages = int(pdfium.FPDF_GetPageCount(document))
    if pages < 1:
        raise Refused(Refusal.UNDECODABLE)
    return pages


def render(
    data: bytes, page: int, dpi: int, max_pixels: int, budget: tuple[int | None, int, int]
) -> Normalised:
    """Renders a page of a document.

    Args:
        data: The document.
        page: The page's index, from 0.
        dpi: Maximum pixels per inch.
        max_pixels: Maximum number of pixels before the budget.
        budget: As for `normalise.normalise`.

    Raises:
        Refused: The document or the page is broken, or its aspect ratio is too extreme.
    """
    with _opened(data) as document, _loaded(document, page) as loaded:
        width, height = _size(loaded, dpi, max_pixels)
        shortest_edge, maximum, minimum = budget
        target = target_size(width, height, shortest_edge, min(maximum, max_pixels), minimum)
        with _form(document) as form:
            image = _drawn(loaded, form, *target)
    return Normalised(*target, image.tobytes(), math.prod(target), look_of_image(image), 0.0)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    document = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
    if not document:
        encrypted = pdfium.FPDF_GetLastError() in _NEEDS_PASSWORD
        raise Refused(Refusal.ENCRYPTED if encrypted else Refusal.UNDECODABLE)
    try:
        yield document
    finally:
        pdfium.FPDF_CloseDocument(document)


@contextmanager
def _loaded(document: Any, page: int) -> Iterator[Any]:
    loaded = pdfium.FPDF_LoadPage(document, page)
    if not loaded:
        raise Refused(Refusal.UNDECODABLE)
    try:
        yield loaded
    finally:
        pdfium.FPDF_ClosePage(loaded)


@contextmanager
def _form(document: Any) -> Iterator[Any]:
    """The document's form, whose fields are drawn apart from the page; None if it has none."""
    if pdfium.FPDF_GetFormType(document) == pdfium.FORMTYPE_NONE:
        yield None
        return
    callbacks = pdfium.FPDF_FORMFILLINFO(version=2)
    form = pdfium.FPDFDOC_InitFormFillEnvironment(document, callbacks)
    try:
        yield form
    finally:
        pdfium.FPDFDOC_ExitFormFillEnvironment(form)


def _size(page: Any, dpi: int, max_pixels: int) -> tuple[int, int]:
    """The page's size in pixels at the resolution, or smaller if that has too many pixels."""
    scale = dpi / _POINTS_PER_INCH
    width = pdfium.FPDF_GetPageWidthF(page) * scale
    height = pdfium.FPDF_GetPageHeightF(page) * scale
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise Refused(Refusal.UNDECODABLE)
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise Refused(Refusal.TOO_ELONGATED)
    if width * height > max_pixels:
        smaller = math.sqrt(max_pixels / (width * height))
        return max(1, int(width * smaller)), max(1, int(height * smaller))
    return max(1, round(width)), max(1, round(height))


def _drawn(page: Any, form: Any, width: int, height: int) -> Image.Image:
    """Draws a page with its form fields and other annotations on white."""
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGRx, None, 0)
    if not bitmap:
        raise Refused(Refusal.OUT_OF_MEMORY)
    try:
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, _WHITE)
        area = (0, 0, width, height, 0, pdfium.FPDF_ANNOT)
        pdfium.FPDF_RenderPageBitmap(bitmap, page, *area)
        if form:
            pdfium.FPDF_FFLDraw(form, bitmap, page, *area)
        stride = pdfium.FPDFBitmap_GetStride(bitmap)
        pixels = pdfium.FPDFBitmap_GetBuffer(bitmap)
        data = (ctypes.c_ubyte * (stride * height)).from_address(pixels)
        return Image.frombytes("RGB", (width, height), data, "raw", "BGRX", stride, 1)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
