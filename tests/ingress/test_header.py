"""Headers that say whether a file may be passed on undecoded, and images that are."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import EncodedImage, PixelBudget
from silkline.errors import ImageTooLarge, ImageUndecodable, InvalidRequest, SilklineError
from silkline.ingress.formats import FileFormat
from silkline.ingress.header import plain_size
from silkline.ingress.intake import Intake
from silkline.ingress.normalise import Refused, normalise
from silkline.ingress.source import uploaded
from silkline.ingress.wanted import Wanted
from tests.ingress.pictures import chunk, drawing, encode, jpeg_claiming, photograph, png_claiming

JPEG = encode(photograph(96, 72), "JPEG")
PNG = encode(drawing(), "PNG")
BUDGET = PixelBudget()
LIMITS = LimitSettings(max_image_pixels=1_000_000, max_request_pixels=1_500_000)


@pytest.fixture(autouse=True, scope="module")
def limit_of_pillow() -> Iterator[None]:
    """`normalise`, which has a process of its own, sets Pillow's limit for the whole process."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def app1(*contents: bytes) -> bytes:
    """A JPEG with these segments."""
    return JPEG[:2] + b"".join(segment(0xE1, content) for content in contents) + JPEG[2:]


def exif(*orientations: int, order: str = "<") -> bytes:
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = [struct.pack(f"{order}HHIHH", 0x0112, 3, 1, each, 0) for each in orientations]
    head = struct.pack(f"{order}IH", 8, len(entries))
    return b"Exif\0\0" + start + head + b"".join(entries) + bytes(4)


def before_scan(marker: int, content: bytes) -> bytes:
    """A JPEG with this segment before its scan."""
    at = JPEG.index(b"\xff\xda")
    return JPEG[:at] + segment(marker, content) + JPEG[at:]


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG with this chunk after its header."""
    return PNG[:33] + chunk(kind, content) + PNG[33:]


FRAME = struct.pack(">BHHB", 8, 30_000, 30_000, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
RAW_EXIF = b"Raw profile type exif\0"
TURNED = f"\nexif\n{len(exif(6)):8}\n{exif(6).hex()}\n".encode()
XMP = b"XML:com.adobe.xmp\0"


def xmp(orientation: int) -> bytes:
    packet = f'<x><rdf:Description tiff:Orientation="{orientation}"/></x>'
    return b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()


def saved(**options: object) -> bytes:
    return encode(photograph(97, 71), "JPEG", **options)


def kind_of(data: bytes) -> FileFormat:
    return FileFormat.JPEG if data.startswith(b"\xff\xd8") else FileFormat.PNG


PLAIN = [
    JPEG,
    PNG,
    saved(quality=97, subsampling=0),
    saved(progressive=True),
    saved(optimize=True, restart_marker_blocks=2),
    encode(drawing(mode="L"), "JPEG"),
    encode(drawing(mode="L"), "PNG"),
    app1(exif(1)),
    app1(exif(1, order=">")),
    app1(b"http://ns.adobe.com/xap/1.0/\0<x/>"),
    saved(comment=b"by nobody"),
    with_chunk(b"tEXt", b"Software\0nobody"),
    with_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)),
]

UNUSUAL = [
    app1(exif(6)),
    app1(exif(6, order=">")),
    app1(xmp(6)),
    app1(b"Exif\0\0what"),
    app1(exif(1)[:14]),
    JPEG + b"\0",
    JPEG[:-2],
    JPEG + JPEG,
    JPEG[:100],
    PNG + b"\0",
    PNG[:-12],
    PNG[:40],
    encode(drawing(mode="CMYK"), "JPEG"),
    jpeg_claiming(0, 10),
    app1(exif(1, 6)),
    app1(exif(1), exif(1)),
    before_scan(0xDE, FRAME),
    before_scan(0xF0, b"\xff\xc0\0\x11" + FRAME),
    before_scan(0xC8, b"\xff\xc0\0\x11" + FRAME),
    with_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)),
    with_chunk(b"tEXt", RAW_EXIF + TURNED),
    with_chunk(b"zTXt", RAW_EXIF + b"\0" + zlib.compress(TURNED)),
    with_chunk(b"iTXt", XMP + bytes(4) + xmp(6)),
    with_chunk(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(xmp(6))),
    with_chunk(b"tEXt", XMP + xmp(6)),
    with_chunk(b"tEXt", b"transparency\0x"),
    with_chunk(b"cICP", b"\x09\x10\0\1"),
    with_chunk(b"fcTL", bytes(26)),
]


@pytest.mark.parametrize("data", PLAIN, ids=range(len(PLAIN)))
def test_a_plain_file_has_its_size(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert plain_size(data, kind_of(data)) == image.size


@pytest.mark.parametrize("data", UNUSUAL, ids=range(len(UNUSUAL)))
def test_any_other_file_is_left_to_the_decoder(data: bytes) -> None:
    assert plain_size(data, kind_of(data)) is None


@given(st.sampled_from(PLAIN), st.data())
def test_what_is_plain_decodes_unchanged_or_is_damaged(data: bytes, drawn: st.DataObject) -> None:
    """Bytes of the header are overwritten; what still counts as plain is what it says."""
    at = drawn.draw(st.integers(0, min(len(data), 700) - 1))
    new = drawn.draw(st.binary(min_size=1, max_size=4))
    changed = data[:at] + new + data[at + len(new) :]
    if kind_of(changed) is not kind_of(data):
        return
    size = plain_size(changed, kind_of(changed))
    if size is None:
        return
    try:
        found = normalise(changed, kind_of(changed).value, 10_000_000, (None, 10_000_000, 0))
    except Refused:
        return
    assert (found.width, found.height) == size
    assert found.unchanged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def intake() -> AsyncIterator[Intake]:
    async with Intake(LIMITS, FetchSettings(), DecodeSettings(decode_processes=1)) as intake:
        yield intake


async def take(intake: Intake, data: bytes, wanted: Wanted = Wanted.UNDECODED_FILE) -> list[object]:
    taken = await intake.take([uploaded(data, param="i")], BUDGET, b"t", None, wanted)
    (image,), (recognised,) = taken.images, taken.recognised
    return [image.pixels, image.encoded, image.digest, recognised.images[0]]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_plain_file_is_not_decoded(intake: Intake) -> None:
    before = intake.snapshot().loading.decodes
    broken = JPEG[:-400] + b"\0" * 398 + JPEG[-2:]

    for data in (JPEG, broken):
        pixels, file, digest, identity = await take(intake, data)
        assert (pixels, file) == (b"", EncodedImage(data, "image/jpeg"))
        assert digest == f"file:{hashlib.sha256(data).hexdigest()}"
        assert identity == (digest, 96 * 72, None, 96, 72, "jpeg", None)
    assert intake.snapshot().loading.decodes == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_has_another_identity_than_its_pixels(intake: Intake) -> None:
    source = uploaded(PNG, param="i")
    assert intake.recognise([source], BUDGET, b"t", Wanted.UNDECODED_FILE) is None
    undecoded = await take(intake, PNG)
    assert intake.recognise([source], BUDGET, b"t", Wanted.PIXELS) is None
    decoded = await take(intake, PNG, Wanted.FILE)

    assert undecoded[2] != decoded[2]
    for wanted, (_, _, digest, identity) in (
        (Wanted.UNDECODED_FILE, undecoded),
        (Wanted.PIXELS, decoded),
    ):
        known = intake.recognise([source], BUDGET, b"t", wanted)
        assert known is not None
        assert known[0].images == (identity,)
        assert known[0].images[0].digest == digest


@pytest.mark.parametrize("data", [app1(exif(6)), encode(drawing(), "WEBP"), JPEG[:-2]])
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_plain_is_decoded(intake: Intake, data: bytes) -> None:
    undecoded = await take(intake, data)
    assert undecoded == await take(intake, data, Wanted.FILE)
    assert undecoded[0]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_image_above_the_pixel_budget_is_reduced(intake: Intake) -> None:
    taken = await intake.take(
        [uploaded(JPEG, param="i")], PixelBudget(1000), b"t", None, Wanted.UNDECODED_FILE
    )
    assert taken.images[0].encoded is None
    assert 0 < len(taken.images[0].pixels) <= 3000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (jpeg_claiming(1001, 1000), ImageTooLarge),
        (png_claiming(1001, 1000), ImageTooLarge),
        (encode(drawing(201, 1), "PNG"), InvalidRequest),
        (PNG[:60], ImageUndecodable),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_limits_are_those_of_decoded_images(
    intake: Intake, data: bytes, error: type[SilklineError]
) -> None:
    for wanted in (Wanted.UNDECODED_FILE, Wanted.FILE):
        with pytest.raises(error):
            await take(intake, data, wanted)


@pytest.mark.asyncio(loop_scope="module")
async def test_all_images_of_a_request_count(intake: Intake) -> None:
    sources = [uploaded(encode(photograph(900, 900, seed), "JPEG"), param="i") for seed in range(2)]
    with pytest.raises(ImageTooLarge):
        await intake.take(sources, BUDGET, b"t", None, Wanted.UNDECODED_FILE)


def test_a_png_of_many_chunks_is_left_to_the_decoder() -> None:
    many = PNG[:33] + chunk(b"tEXt", b"Title\0") * 5000 + PNG[33:]
    assert plain_size(many, FileFormat.PNG) is None


class Counted(bytes):
    """A file that counts the bytes which are copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found: Any = super().__getitem__(key)
        self.copied += len(found) if isinstance(found, bytes) else 1
        return found


@pytest.mark.parametrize(
    "data",
    [
        PNG[:33] + chunk(b"IDAT", bytes(100_000)) + chunk(b"iTXt", b"a\0\0\0\0\0") * 2000,
        app1(*[exif(*[1] * 5000)] * 20),
    ],
    ids=["many texts", "much EXIF"],
)
def test_a_header_is_read_once(data: bytes) -> None:
    """The gateway reads it in its event loop."""
    counted = Counted(data)
    plain_size(counted, kind_of(data))
    assert counted.copied < len(data)
