"""Pictures that came before are known again without being fetched or decoded."""

import asyncio
import base64
import hashlib
import io
import os
import threading
import time

import pytest
from PIL import Image

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.errors import ImageTooLarge, RequestTooLarge, UrlBlocked
from silkline.ingress.intake import Intake
from silkline.ingress.source import parse_base64, parse_url, uploaded
from tests.ingress.intakes import BUDGET, PIXELS, TENANT, at, coloured, data_url, serving
from tests.ingress.network import Hit, gives, redirects
from tests.ingress.pictures import drawing, encode

OTHER = b"another"
PNG = encode(drawing(), "PNG")


async def test_what_was_taken_is_known() -> None:
    async with serving() as (intake, origin):
        sources = [at(origin, "/1"), uploaded(coloured(2), param=""), data_url(coloured(3))]
        assert intake.recognise(sources, BUDGET, TENANT) is None
        pictures = await intake.take(sources, BUDGET, TENANT)
        known = intake.recognise(sources, BUDGET, TENANT)
        assert known == pictures.recognised
        assert [found.images[0].digest for found in known] == [
            image.digest for image in pictures.images
        ]
        assert [found.images[0].original_pixels for found in known] == [PIXELS] * 3
        assert intake.recognise(sources[::-1], BUDGET, TENANT) == known[::-1]
        assert len(origin.hits) == 1
        assert intake.snapshot().recognised == 2


async def test_all_must_be_known() -> None:
    async with serving() as (intake, origin):
        known, new = at(origin, "/1"), uploaded(PNG, param="")
        await intake.take([known], BUDGET, TENANT)
        assert intake.recognise([known], BUDGET, TENANT)
        assert intake.recognise([known, new], BUDGET, TENANT) is None
        assert intake.recognise([], BUDGET, TENANT) == ()


async def test_a_tenant_does_not_know_what_another_sent() -> None:
    async with serving() as (intake, origin):
        for source in (at(origin, "/1"), uploaded(coloured(2), param=""), data_url(coloured(3))):
            await intake.take([source], BUDGET, TENANT)
            assert intake.recognise([source], BUDGET, TENANT)
            assert intake.recognise([source], BUDGET, OTHER) is None


async def test_a_url_is_not_known_to_a_tenant_that_knows_its_picture() -> None:
    async with serving() as (intake, origin):
        await intake.take([at(origin, "/1")], BUDGET, TENANT)
        await intake.take([uploaded(coloured(1), param="")], BUDGET, OTHER)
        assert intake.recognise([at(origin, "/1")], BUDGET, OTHER) is None


async def test_another_budget_is_another_picture() -> None:
    small = PixelBudget(shortest_edge=20)
    async with serving() as (intake, origin):
        for source in (at(origin, "/1"), uploaded(PNG, param=""), data_url(coloured(3))):
            first = await intake.take([source], BUDGET, TENANT)
            assert intake.recognise([source], small, TENANT) is None
            second = await intake.take([source], small, TENANT)
            assert intake.recognise([source], BUDGET, TENANT) == first.recognised
            assert intake.recognise([source], small, TENANT) == second.recognised


async def test_the_same_bytes_are_known_under_any_media_type() -> None:
    text = base64.b64encode(PNG).decode()
    async with serving() as (intake, _):
        await intake.take([parse_base64(text, param="")], BUDGET, TENANT)
        source = parse_url(f"data:text/html;base64,{text}", param="")
        assert intake.recognise([source], BUDGET, TENANT)


@pytest.mark.parametrize("text", ["", "QQ==", "é" * 8, "\ud800" * 8, "????"])
async def test_text_that_is_no_picture_is_not_known(text: str) -> None:
    async with serving() as (intake, _):
        await intake.take([data_url(PNG)], BUDGET, TENANT)
        assert intake.recognise([parse_base64(text, param="")], BUDGET, TENANT) is None


async def test_a_picture_that_was_refused_is_not_known() -> None:
    async with serving() as (intake, _):
        source = uploaded(PNG[:-30], param="")
        for _ in range(2):
            with pytest.raises(Exception, match="damaged"):
                await intake.take([source], BUDGET, TENANT)
            assert intake.recognise([source], BUDGET, TENANT) is None


async def test_the_limits_of_a_request_hold_for_known_pictures() -> None:
    size = len(coloured(1))
    async with serving(
        max_images=4, max_request_pixels=3 * PIXELS, max_body_bytes=max(1024, 3 * size)
    ) as (intake, origin):
        sent = [uploaded(coloured(1), param="here"), data_url(coloured(2), "here")]
        for source in (at(origin, "/1", "here"), *sent):
            await intake.take([source], BUDGET, TENANT)
            assert intake.recognise([source] * 3, BUDGET, TENANT)
            with pytest.raises(RequestTooLarge):
                intake.recognise([source] * 5, BUDGET, TENANT)
            with pytest.raises((ImageTooLarge, RequestTooLarge)) as caught:
                intake.recognise([source] * 4, BUDGET, TENANT)
            assert caught.value.param == "here"


async def test_bytes_together_hold_for_known_pictures() -> None:
    padded = [coloured(value) + bytes(600 - len(coloured(value))) for value in (1, 2)]

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await gives(padded[0])(hit, writer)

    async with serving(respond=respond, max_body_bytes=1024) as (intake, origin):
        url, sent = at(origin, "/", "url"), uploaded(padded[1], param="sent")
        for source in (url, sent):
            await intake.take([source], BUDGET, TENANT)
        for sources in ([url, sent], [sent, url], [url, url], [sent, sent]):
            with pytest.raises(RequestTooLarge) as caught:
                intake.recognise(sources, BUDGET, TENANT)
            assert caught.value.param == sources[1].param


async def test_a_picture_that_is_too_large_is_refused_unseen() -> None:
    async with serving(max_image_bytes=1024) as (intake, _):
        for source in (uploaded(bytes(1025), param=""), data_url(bytes(1025))):
            with pytest.raises(ImageTooLarge):
                intake.recognise([source], BUDGET, TENANT)


async def test_the_rules_for_hosts_hold_before_anything_is_looked_up() -> None:
    fetch = FetchSettings(allowed_hosts=("good.example",))
    async with Intake(LimitSettings(), fetch, DecodeSettings(decode_processes=1)) as intake:
        with pytest.raises(UrlBlocked) as caught:
            intake.recognise([parse_url("http://bad.example/", param="here")], BUDGET, TENANT)
        assert caught.value.param == "here"
        good = parse_url("http://good.example/", param="")
        assert intake.recognise([good], BUDGET, TENANT) is None


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ((), True),
        (("Cache-Control: max-age=60",), True),
        (("Cache-Control: private, max-age=60",), True),
        (("Cache-Control: no-store",), False),
        (("Cache-Control: no-cache",), False),
        (("Cache-Control: max-age=0",), False),
        (("Cache-Control: max-age=60", "Age: 60"), False),
        (("Expires: Thu, 01 Jan 2015 00:00:00 GMT",), False),
    ],
)
async def test_an_origin_says_whether_its_url_is_known(
    headers: tuple[str, ...], known: bool
) -> None:
    async with serving(respond=gives(PNG, *headers)) as (intake, origin):
        source = at(origin, "/")
        await intake.take([source], BUDGET, TENANT)
        assert (intake.recognise([source], BUDGET, TENANT) is not None) == known
        assert intake.recognise([uploaded(PNG, param="")], BUDGET, TENANT) is not None


@pytest.mark.parametrize(("status", "known"), [(301, True), (308, True), (302, False)])
async def test_a_redirect_that_may_change_is_not_known(status: int, known: bool) -> None:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        answer = gives(PNG) if hit.line.startswith("GET /end") else redirects("/end", status)
        await answer(hit, writer)

    async with serving(respond=respond) as (intake, origin):
        source = at(origin, "/begin")
        await intake.take([source], BUDGET, TENANT)
        assert (intake.recognise([source], BUDGET, TENANT) is not None) == known


@pytest.mark.parametrize(("ttl", "known"), [(0, False), (1, True), (300, True)])
async def test_the_setting_caps_what_the_origin_says(ttl: int, known: bool) -> None:
    respond = gives(PNG, "Cache-Control: max-age=3600")
    async with serving(fetch={"fetch_ttl": ttl}, respond=respond) as (intake, origin):
        source = at(origin, "/")
        await intake.take([source], BUDGET, TENANT)
        assert (intake.recognise([source], BUDGET, TENANT) is not None) == known


async def test_a_url_is_forgotten_when_its_time_is_over() -> None:
    async with serving(fetch={"fetch_ttl": 1}) as (intake, origin):
        source = at(origin, "/1")
        begun = time.monotonic()
        await intake.take([source], BUDGET, TENANT)
        while intake.recognise([source], BUDGET, TENANT):
            assert time.monotonic() - begun < 10
            await asyncio.sleep(0.05)
        assert time.monotonic() - begun >= 1
        assert (await intake.take([source], BUDGET, TENANT)).images
        assert len(origin.hits) == 2


async def test_a_url_stands_for_what_came_last() -> None:
    shown = [1]

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await gives(coloured(shown[-1]))(hit, writer)

    async with serving(respond=respond) as (intake, origin):
        source = at(origin, "/")
        first = await intake.take([source], BUDGET, TENANT)
        shown.append(2)
        assert intake.recognise([source], BUDGET, TENANT) == first.recognised
        second = await intake.take([source], BUDGET, TENANT)
        assert second.recognised != first.recognised
        assert intake.recognise([source], BUDGET, TENANT) == second.recognised


async def test_the_memory_is_bounded() -> None:
    async with serving(decode={"identity_memory_bytes": 10_000}) as (intake, _):
        sources = [data_url(coloured(value)) for value in range(30)]
        for source in sources:
            await intake.take([source], BUDGET, TENANT)
        assert intake.snapshot().known_bytes <= 10_000
        known = [bool(intake.recognise([source], BUDGET, TENANT)) for source in sources]
        assert known[-1]
        assert not known[0]


async def test_without_memory_nothing_is_known() -> None:
    async with serving(decode={"identity_memory_bytes": 0}) as (intake, _):
        await intake.take([data_url(PNG)], BUDGET, TENANT)
        assert intake.recognise([data_url(PNG)], BUDGET, TENANT) is None


def large_png() -> bytes:
    """An image that no format makes small: more than half a MiB."""
    encoded = io.BytesIO()
    Image.frombytes("RGB", (600, 600), os.urandom(600 * 600 * 3)).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize("form", ["data URL", "upload"])
@pytest.mark.parametrize("large", [False, True])
async def test_a_new_image_is_hashed_once_and_a_large_one_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, form: str, large: bool
) -> None:
    """Base64 text and the bytes that it stands for are two things: each is hashed once."""
    data = large_png() if large else PNG
    source = data_url(data) if form == "data URL" else uploaded(data, param="")
    hashed: list[tuple[int, bool]] = []
    sha256 = hashlib.sha256

    def counted(content: bytes) -> "hashlib._Hash":
        hashed.append((len(content), threading.current_thread() is threading.main_thread()))
        return sha256(content)

    monkeypatch.setattr(hashlib, "sha256", counted)
    async with serving() as (intake, _):
        await intake.hash_large([source])
        assert intake.recognise([source], BUDGET, TENANT) is None
        await intake.take([source], BUDGET, TENANT)
        assert intake.recognise([source], BUDGET, TENANT)
    text = [(len(base64.b64encode(data)), not large)] if form == "data URL" else []
    assert hashed == [*text, (len(data), not large)]


async def test_what_is_refused_for_its_size_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = uploaded(large_png(), param="")
    monkeypatch.setattr(hashlib, "sha256", lambda _: pytest.fail("hashed"))
    async with serving(max_image_bytes=100_000) as (intake, _):
        await intake.hash_large([source])
        with pytest.raises(ImageTooLarge):
            intake.recognise([source], BUDGET, TENANT)
