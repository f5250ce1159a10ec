"""The pictures of a request, from what was sent to normalised images."""

import asyncio
import base64
import random
import textwrap
import threading
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import Stage
from silkline.errors import (
    DeadlineExceeded,
    ImageFetchFailed,
    ImageFormat,
    ImageTooLarge,
    ImageUndecodable,
    InvalidRequest,
    RequestTooLarge,
    SilklineError,
    UrlBlocked,
)
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, parse_base64, parse_url, uploaded
from silkline.ingress.taking import TakenImages
from tests.ingress.intakes import BUDGET, PIXELS, TENANT, at, coloured, data_url, serving
from tests.ingress.network import Hit, gives, raw_origin
from tests.ingress.pictures import drawing, encode, png_claiming

PNG = encode(drawing(), "PNG")


def sizes(pictures: TakenImages) -> list[int]:
    return [one.original_pixels for found in pictures.recognised for one in found.images]


def first_pixels(pictures: TakenImages) -> list[int]:
    return [image.pixels[0] for image in pictures.images]


async def refused(
    intake: Intake, sources: list[Source], error: type[SilklineError]
) -> SilklineError:
    with pytest.raises(error) as caught:
        await intake.take(sources, BUDGET, TENANT)
    return caught.value


async def test_all_kinds_come_in_order() -> None:
    async with serving() as (intake, origin):
        sources = [
            at(origin, "/1"),
            uploaded(coloured(2), param="image"),
            data_url(coloured(3)),
            at(origin, "/4"),
            parse_base64(base64.b64encode(coloured(5)).decode(), param="image_base64"),
            at(origin, "/1"),
        ]
        pictures = await intake.take(sources, BUDGET, TENANT)
        assert first_pixels(pictures) == [1, 2, 3, 4, 5, 1]
        assert sizes(pictures) == [PIXELS] * 6
        assert pictures.images[0] == pictures.images[5]
        assert set(pictures.timeline.seconds) == {Stage.FETCH, Stage.DECODE, Stage.RESIZE}


async def test_no_pictures_are_no_work() -> None:
    async with serving() as (intake, _):
        pictures = await intake.take([], BUDGET, TENANT)
        assert (pictures.images, pictures.timeline.seconds) == ((), {})


async def test_a_stage_that_did_not_happen_is_absent() -> None:
    async with serving() as (intake, _):
        pictures = await intake.take([uploaded(PNG, param="image")], BUDGET, TENANT)
        assert Stage.FETCH not in pictures.timeline.seconds


@pytest.mark.parametrize("count", [5, 10_000])
async def test_too_many_pictures_are_refused_before_any_fetch(count: int) -> None:
    async with serving(max_images=4) as (intake, origin):
        await refused(intake, [at(origin, "/1")] * count, RequestTooLarge)
        await refused(intake, [uploaded(b"", param="image")] * count, RequestTooLarge)
        assert origin.connections == 0
        assert len((await intake.take([at(origin, "/1")] * 4, BUDGET, TENANT)).images) == 4


async def test_a_picture_with_too_many_bytes_is_refused_however_it_comes() -> None:
    big = encode(drawing(400, 400), "BMP")
    async with serving(max_image_bytes=len(big)) as (intake, _):
        for source in (uploaded(big, param="image"), data_url(big)):
            assert sizes(await intake.take([source], BUDGET, TENANT)) == [160_000]
        for source in (uploaded(big + b"x", param="image"), data_url(big + b"x")):
            await refused(intake, [source], ImageTooLarge)


async def test_bytes_are_counted_over_the_request() -> None:
    sizes = [len(coloured(value)) for value in range(4)]
    async with serving(max_body_bytes=max(1024, sum(sizes))) as (intake, origin):
        padding = bytes(max(0, 1024 - sum(sizes)))
        first = uploaded(coloured(0) + padding, param="image")
        fetched = [at(origin, f"/{value}") for value in range(1, 4)]
        assert len((await intake.take([first, *fetched], BUDGET, TENANT)).images) == 4
        over = uploaded(coloured(0) + padding + b"x", param="image")
        await refused(intake, [over, *fetched], RequestTooLarge)


async def test_pixels_are_counted_over_the_request_before_anything_is_decoded() -> None:
    async with serving(max_request_pixels=3 * PIXELS) as (intake, _):
        good = [uploaded(PNG, param="image")] * 3
        assert len((await intake.take(good, BUDGET, TENANT)).images) == 3
        broken = PNG[:60]  # whole as far as its header goes: to decode it would be another error
        sources = [*good, uploaded(broken, param="image")]
        await refused(intake, sources, ImageTooLarge)
        one = [uploaded(png_claiming(3 * PIXELS + 1, 1), param="image")]
        await refused(intake, one, ImageTooLarge)


async def test_pixels_of_fetched_pictures_count() -> None:
    async with serving(max_request_pixels=3 * PIXELS) as (intake, origin):
        fetched = [at(origin, f"/{value}") for value in range(4)]
        assert len((await intake.take(fetched[:3], BUDGET, TENANT)).images) == 3
        await refused(intake, fetched, ImageTooLarge)
        await refused(intake, [*fetched[:2], *[uploaded(PNG, param="image")] * 2], ImageTooLarge)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (uploaded(b"<svg/>", param="here"), ImageFormat),
        (uploaded(b"", param="here"), ImageFormat),
        (uploaded(PNG[:-30], param="here"), ImageUndecodable),
        (uploaded(png_claiming(50_000, 50_000), param="here"), ImageTooLarge),
        (uploaded(encode(drawing(900, 2), "PNG"), param="here"), InvalidRequest),
        (parse_base64("%%%", param="here"), InvalidRequest),
        (parse_url("http://127.0.0.1/", param="here"), UrlBlocked),
        (parse_url("http://nowhere.test/", param="here"), ImageFetchFailed),
    ],
)
@pytest.mark.parametrize("company", [0, 3])
async def test_an_error_names_the_field_of_its_picture(
    source: Source, error: type[SilklineError], company: int
) -> None:
    async with serving() as (intake, _):
        others: list[Source] = [uploaded(PNG, param="other")] * company
        caught = await refused(intake, [*others, source, *others], error)
        assert caught.param == "here"
        assert (await intake.take([uploaded(PNG, param="image")], BUDGET, TENANT)).images


async def test_the_first_failure_ends_the_other_fetches() -> None:
    async with serving() as (intake, origin):
        async with asyncio.timeout(8):  # the fetches that hang would take ten seconds
            sources = [
                at(origin, "/hang"),
                at(origin, "/hang"),
                parse_url("http://no.test/", param=""),
            ]
            await refused(intake, sources, ImageFetchFailed)


async def test_a_slow_origin_meets_the_deadline() -> None:
    async with serving(fetch={"fetch_timeout": 0.2}) as (intake, origin):
        caught = await refused(
            intake, [at(origin, "/1"), at(origin, "/hang", "slow")], DeadlineExceeded
        )
        assert caught.param == "slow"


async def test_fetches_of_a_request_are_bounded() -> None:
    running = most = 0

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        await gives(PNG)(hit, writer)

    async with raw_origin(respond) as origin:
        fetch = FetchSettings(private_hosts=(f"127.0.0.1:{origin.port}",))
        async with Intake(LimitSettings(), fetch, DecodeSettings()) as intake:
            urls = [
                parse_url(f"http://127.0.0.1:{origin.port}/{place}", param="url")
                for place in range(16)
            ]
            assert len((await intake.take(urls, BUDGET, TENANT)).images) == 16
    assert 2 <= most <= 4


async def test_many_requests_at_once_get_their_own_pictures() -> None:
    async with serving() as (intake, origin):

        async def one(value: int) -> None:
            sources = [at(origin, f"/{value}"), uploaded(coloured(value + 100), param="image")]
            job = asyncio.create_task(intake.take(sources, BUDGET, TENANT))
            if value % 4 == 0:
                await asyncio.sleep(value / 2000)
                job.cancel()
            try:
                assert first_pixels(await job) == [value, value + 100]
            except asyncio.CancelledError:
                assert value % 4 == 0

        await asyncio.gather(*(one(value) for value in range(100)))


def escaped(data: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in data)


async def test_percent_encoding_is_decoded_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noted(data: bytes) -> bytes:
        threads.append(threading.get_ident())
        return unquote_to_bytes(data)

    monkeypatch.setattr("silkline.ingress.source.unquote_to_bytes", noted)
    large = encode(Image.frombytes("RGB", (500, 400), random.Random(1).randbytes(600_000)), "PNG")
    lines = "%0D%0A".join(textwrap.wrap(base64.b64encode(large).decode(), 76))
    async with serving(max_image_bytes=len(large)) as (intake, _):
        for data in (f",{escaped(large)}", f";base64,{lines}"):
            source = parse_url(f"data:image/png{data}", param="url")
            await intake.take([source], BUDGET, TENANT)
            assert intake.recognise([source], BUDGET, TENANT) is not None
            assert len(threads) > 0
        assert threading.get_ident() not in threads


@pytest.mark.parametrize("data", [f",{escaped(bytes(1_000_000))}", ",%" + "%" * 1_000_000,
                                  f";base64,{'%41' * 2_000_000}"])  # fmt: skip
async def test_too_long_percent_encoding_is_refused(data: str) -> None:
    async with serving(max_image_bytes=900_000) as (intake, _):
        with pytest.raises(ImageTooLarge):
            await intake.take([parse_url(f"data:image/png{data}", param="url")], BUDGET, TENANT)
