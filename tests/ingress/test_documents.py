"""Pages of PDF documents: what they become, and what no document can do to the decoder."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from PIL import Image

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.errors import (
    ImageFormat,
    ImageTooLarge,
    ImageUndecodable,
    InputError,
    InvalidRequest,
    RequestTooLarge,
)
from silkline.ingress import decoder_link, loading
from silkline.ingress.decode import DecoderPool
from silkline.ingress.source import uploaded
from tests.ingress import documents
from tests.ingress.documents import COLOURS, drawn, pdf, text_page
from tests.ingress.intakes import BUDGET, TENANT, at, coloured, data_url, serving
from tests.ingress.network import gives
from tests.ingress.test_mutations import mutated
from tests.processes import DECODER, children

LIMIT = 5_000_000
SECONDS = 10.0


@asynccontextmanager
async def renderers(
    processes: int = 1, seconds: float = SECONDS, **settings: Any
) -> AsyncIterator[DecoderPool]:
    decoding = DecodeSettings(decode_processes=processes, decode_timeout=seconds, **settings)
    async with DecoderPool(decoding, documents=True) as pool:
        yield pool


async def rendered(data: bytes, budget: PixelBudget = BUDGET, **settings: Any) -> Image.Image:
    async with renderers(**settings) as pool:
        image = (await pool.decode(data, LIMIT, budget, page=0)).image
    return Image.frombytes("RGB", (image.width, image.height), image.pixels)


def dark(image: Image.Image) -> int:
    """The number of dark pixels."""
    return image.convert("L").point(lambda value: value < 100).histogram()[1]


async def test_a_page_becomes_an_image_at_the_resolution() -> None:
    data = pdf("red", width=300, height=200)
    assert (await rendered(data)).size == (600, 400)
    small = await rendered(data, document_dpi=72, decode_memory_bytes=256 * 1024 * 1024)
    assert small.size == (300, 200)
    red = await rendered(data, PixelBudget(max_pixels=15_000))
    assert red.size == (150, 100)
    assert all(abs(a - b) < 5 for a, b in zip(red.getpixel((70, 50)), (255, 0, 0), strict=True))  # type: ignore[arg-type]


async def test_a_page_may_grow_to_a_minimum() -> None:
    grown = PixelBudget(max_pixels=10**6, min_pixels=960_000)
    assert (await rendered(pdf("red"), grown)).size == (1200, 800)
    assert (await rendered(pdf("red"), PixelBudget(shortest_edge=100))).size == (150, 100)


async def test_what_is_drawn_stands_upright_on_white() -> None:
    image = await rendered(drawn(b"1 0 0 rg 0 0 150 100 re f"))
    corners = [image.getpixel(place) for place in ((5, 5), (595, 5), (5, 395), (595, 395))]
    assert corners == [(255, 255, 255), (255, 255, 255), (255, 0, 0), (255, 255, 255)]
    turned = await rendered(drawn(b"1 0 0 rg 0 0 150 100 re f", page=b"/Rotate 90"))
    assert turned.size == (400, 600)
    assert turned.getpixel((5, 5)) == (255, 0, 0)


async def test_text_needs_no_embedded_font() -> None:
    image = await rendered(text_page(fonts=(b"Helvetica", b"Times-Roman", b"NoSuchFont")))
    for row in range(3):
        assert dark(image.crop((0, 400 - 120 * row - 120, 600, 400 - 120 * row))) > 200, row


BLACK = b"0 0 0 rg 0 0 50 50 re f"
APPEARANCE = b"<</Type/XObject/Subtype/Form/BBox[0 0 50 50]/Length %d>>\nstream\n%s\nendstream" % (
    len(BLACK),
    BLACK,
)


@pytest.mark.parametrize(
    "kind", [b"/Subtype/Square", b"/Subtype/Stamp", b"/Subtype/Widget/FT/Tx/T(a)/V(b)"]
)
async def test_annotations_and_filled_fields_are_drawn(kind: bytes) -> None:
    annotation = b"<</Type/Annot%s/Rect[10 10 60 60]/F 4/AP<</N 5 0 R>>>>" % kind
    catalog = b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Annots[4 0 R]>>"
    data = documents.built(catalog, documents.ONE_KID, page, annotation, APPEARANCE)
    image = await rendered(data)
    assert dark(image) > 9900
    assert image.getpixel((22, 378)) == (0, 0, 0)


async def test_the_pages_are_counted() -> None:
    async with renderers() as pool:
        for count in (1, 3, 300):
            assert await pool.pages(documents.many_pages(count), LIMIT) == count
        assert await pool.pages(b"\xef\xbb\xbf \n" + pdf(*COLOURS), LIMIT) == 3


async def test_a_document_has_an_identity_for_each_page() -> None:
    async with serving() as (intake, _):
        data = pdf("red", "green", "red")
        sources = [data_url(coloured(1)), data_url(data), uploaded(coloured(2), param="")]
        assert intake.recognise(sources, BUDGET, TENANT) is None
        taken = await intake.take(sources, BUDGET, TENANT)
        assert [len(found.images) for found in taken.recognised] == [1, 3, 1]
        assert [image.width for image in taken.images] == [60, 600, 600, 600, 60]
        pages = taken.recognised[1].images
        assert pages[0] == pages[2] != pages[1]
        digests = [one.digest for found in taken.recognised for one in found.images]
        assert digests == [image.digest for image in taken.images]
        assert intake.recognise(sources, BUDGET, TENANT) == taken.recognised
        assert intake.snapshot().loading.decodes == 5


async def test_a_document_is_fetched_as_an_image_is() -> None:
    async with serving(respond=gives(pdf(*COLOURS))) as (intake, origin):
        taken = await intake.take([at(origin, "/report.pdf")], BUDGET, TENANT)
        assert len(taken.images) == 3
        assert intake.recognise([at(origin, "/report.pdf")], BUDGET, TENANT)


async def test_no_child_holds_pdfium_before_a_document_comes() -> None:
    async with serving(decode={"decode_processes": 1}) as (intake, _):
        await intake.take([uploaded(coloured(1), param="")], BUDGET, TENANT)
        assert len(children(DECODER)) == 1
        await intake.take([uploaded(pdf("red"), param="")], BUDGET, TENANT)
        both = children(DECODER)
        assert len(both) == 2
        for child in both:
            assert child.rlimit(psutil.RLIMIT_NOFILE) == (0, 0)
            assert child.memory_info().rss < 80 * 1024 * 1024
    assert children(DECODER) == []


@pytest.mark.parametrize("others", [0, 1, 2])
async def test_each_page_counts_as_an_image(others: int) -> None:
    async with serving(max_images=4) as (intake, _):
        known = [uploaded(coloured(value), param="") for value in range(others)]
        source = uploaded(pdf(*COLOURS), param="there")
        if others < 2:
            await intake.take([*known, source], BUDGET, TENANT)
            return
        for seen in (False, True):
            with pytest.raises(RequestTooLarge, match=r"3 pages|5 images"):
                await intake.take([*known, source], BUDGET, TENANT)
            if not seen:
                await intake.take([source], BUDGET, TENANT)
                await intake.take(known, BUDGET, TENANT)
        with pytest.raises(RequestTooLarge):
            intake.recognise([*known, source], BUDGET, TENANT)


async def test_the_pixels_of_pages_count_for_the_request() -> None:
    async with serving(max_request_pixels=500_000, max_image_pixels=400_000) as (intake, _):
        assert (await intake.take([uploaded(pdf("red", "red"), param="")], BUDGET, TENANT)).images
        with pytest.raises(ImageTooLarge, match="500000 pixels"):
            await intake.take([uploaded(pdf(*COLOURS), param="")], BUDGET, TENANT)
        small = PixelBudget(max_pixels=100_000)
        assert (await intake.take([uploaded(pdf(*COLOURS), param="")], small, TENANT)).images


REFUSED: dict[str, tuple[bytes, type[InputError], str]] = {
    "only a header": (b"%PDF-1.7\n", ImageUndecodable, "damaged or incomplete"),
    "nonsense": (b"%PDF-1.7\n" + bytes(range(256)) * 8, ImageUndecodable, "damaged"),
    "cut": (pdf(*COLOURS)[:300], ImageUndecodable, "damaged"),
    "encrypted": (documents.encrypted(), ImageUndecodable, "is encrypted"),
    "no pages": (
        documents.built(documents.CATALOG, b"<</Type/Pages/Kids[]/Count 0>>"),
        ImageUndecodable,
        "damaged",
    ),
    "thousands of pages": (documents.many_pages(5000), RequestTooLarge, "has 5000 pages"),
    "a hundred thousand pages": (documents.claiming(10**5), RequestTooLarge, "has 100000 pages"),
    "fewer pages than it says": (documents.claiming(3), ImageUndecodable, "damaged"),
    "elongated": (drawn(b"", b"0 0 9 9000"), InvalidRequest, "200 times as long"),
    "slow": (documents.fanned_out_forms(), ImageUndecodable, "takes|crashed"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
async def test_a_bad_document_is_refused_by_what_is_wrong(kind: str) -> None:
    data, error, message = REFUSED[kind]
    async with serving(decode={"decode_timeout": 2.0}) as (intake, _):
        with pytest.raises(error, match=message) as caught:
            await intake.take([uploaded(data, param="there")], BUDGET, TENANT)
        assert caught.value.param == "there"
        assert (await intake.take([uploaded(pdf("red"), param="")], BUDGET, TENANT)).images


HOSTILE = {
    "a billion pages": documents.claiming(10**9),
    "a deep tree of pages": documents.deep_tree(20_000),
    "a form that draws itself": documents.endless_form(),
    "a huge media box": drawn(b"", b"0 0 1e9 1e9"),
    "an inverted media box": drawn(b"", b"300 200 0 0"),
    "no media box": drawn(b"", b""),
    "a media box that is not finite": drawn(b"", b"0 0 1e999 nan"),
    "a huge image": documents.huge_image(),
    "a parent that is its own child": documents.built(
        documents.CATALOG, b"<</Type/Pages/Kids[2 0 R]/Count 1/Parent 2 0 R>>"
    ),
    "a stream that unpacks to gigabytes": documents.bomb(300_000_000),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_document_costs_its_request_only(kind: str) -> None:
    async with serving(decode={"decode_timeout": 2.0, "decode_processes": 1}) as (intake, _):
        async with asyncio.timeout(40):
            try:
                taken = await intake.take([uploaded(HOSTILE[kind], param="")], BUDGET, TENANT)
                assert all(
                    image.width * image.height <= BUDGET.max_pixels for image in taken.images
                )
            except InputError:
                pass
            good = await intake.take([uploaded(pdf("red"), param="")], BUDGET, TENANT)
        assert good.images[0].width == 600


async def test_hundreds_of_mutations_lose_nothing() -> None:
    chance = random.Random(20261130)
    valid = [pdf(*COLOURS), text_page(fonts=(b"Helvetica", b"Other")), documents.endless_form(),
             documents.many_pages(3), pdf("red")]  # fmt: skip
    outcomes: dict[str, int] = {}
    async with renderers(processes=2) as pool:

        async def one(data: bytes) -> str:
            try:
                for page in range(min(3, await pool.pages(data, LIMIT))):
                    await pool.decode(data, LIMIT, BUDGET, page=page)
            except InputError as error:
                return error.message
            return "rendered"

        for _ in range(200):
            pair = [mutated(chance.choice(valid), chance) for _ in range(2)]
            for outcome in await asyncio.gather(*map(one, pair)):
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert await one(pdf("red")) == "rendered"
    assert outcomes.pop("rendered") > 50
    assert set(outcomes) <= {
        "The document is damaged or incomplete. Send a complete file or a different document.",
        "The document is encrypted. Send it without a password, or images of its pages.",
        "The document crashed its decoder. Save the document again, or send a different one.",
        "One side of the document is more than 200 times as long as the other. Crop it.",
    }


async def test_without_pdfium_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    async with serving() as (intake, _):
        with pytest.raises(ImageFormat, match=r"pip install 'silkline\[pdf\]'"):
            await intake.take([uploaded(pdf("red"), param="there")], BUDGET, TENANT)


def test_a_child_for_documents_loads_little_more() -> None:
    link = decoder_link._BOOTSTRAP.replace(
        'main(int(memory_bytes), documents=documents == "True")',
        "from silkline.ingress import documents\n"
        "import json; print(json.dumps(sorted(sys.modules)))",
    )
    folders = [decoder_link._folder(name, "") for name in ("PIL", "pypdfium2")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", link, str(decoder_link._PACKAGE), "0", "True",
         *folders],
        capture_output=True, check=True, env={},
    )  # fmt: skip
    heavy = {"asyncio", "numpy", "socket", "ssl", "pickle", "multiprocessing", "http", "site"}
    assert set(json.loads(done.stdout)) & heavy == set()
