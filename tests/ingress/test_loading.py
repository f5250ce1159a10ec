"""Case 35: what many want at the same time is fetched once and decoded once."""

import asyncio
from contextlib import suppress

import pytest

from silkline.core import PixelBudget
from silkline.errors import (
    DeadlineExceeded,
    ImageFetchFailed,
    ImageUndecodable,
    RequestTooLarge,
    ShuttingDown,
)
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, uploaded
from silkline.ingress.taking import TakenImages
from tests.ingress.intakes import BUDGET, TENANT, at, coloured, data_url, serving, until
from tests.ingress.network import Hit, gives
from tests.ingress.pictures import drawing, encode

PNG = encode(drawing(), "PNG")


class Gate:
    """An origin that answers when it is told to."""

    def __init__(self, body: bytes = PNG) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.gone = 0
        self._body = body

    async def __call__(self, hit: Hit, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        half = len(self._body) // 2
        try:
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._body)}\r\n\r\n".encode()
                + self._body[:half]
            )
            await self.open.wait()
            writer.write(self._body[half:])
        except asyncio.CancelledError:
            self.gone += 1
            raise


def taking(intake: Intake, source: Source, scope: bytes = TENANT) -> asyncio.Task[TakenImages]:
    return asyncio.create_task(intake.take([source], BUDGET, scope))


async def test_five_hundred_fetch_once_and_decode_once() -> None:
    gate = Gate()
    async with serving(respond=gate) as (intake, origin):
        tasks = [taking(intake, at(origin, "/1")) for _ in range(500)]
        await gate.asked.wait()
        gate.open.set()
        pictures = await asyncio.gather(*tasks)
        assert len({each.images[0].digest for each in pictures}) == 1
        loading = intake.snapshot().loading
        assert (len(origin.hits), loading.fetches, loading.decodes) == (1, 1, 1)
        assert (loading.fetches_shared, loading.decodes_shared) == (499, 499)
        assert loading.inflight_bytes == 0


async def test_those_who_come_while_it_is_decoded_share_too() -> None:
    async with serving() as (intake, origin):
        tasks = []
        for _ in range(100):
            tasks.append(taking(intake, at(origin, "/1")))
            await asyncio.sleep(0)
            if intake.recognise([at(origin, "/1")], BUDGET, TENANT):
                break
        await asyncio.gather(*tasks)
        assert (len(origin.hits), intake.snapshot().loading.decodes) == (1, 1)


@pytest.mark.parametrize("kind", ["upload", "data URL", "both"])
async def test_what_is_sent_along_is_decoded_once(kind: str) -> None:
    sources = {
        "upload": [uploaded(PNG, param="")],
        "data URL": [data_url(PNG)],
        "both": [uploaded(PNG, param=""), data_url(PNG)],
    }[kind]
    async with serving() as (intake, _):
        tasks = [taking(intake, source) for source in sources * 100]
        assert len({each.images[0].digest for each in await asyncio.gather(*tasks)}) == 1
        assert intake.snapshot().loading.decodes == 1


async def test_tenants_and_budgets_share_nothing() -> None:
    gate = Gate()
    async with serving(respond=gate) as (intake, origin):
        source = at(origin, "/1")
        tasks = [taking(intake, source, scope) for scope in (b"one", b"two", b"one")]
        other = PixelBudget(shortest_edge=20)
        tasks.append(asyncio.create_task(intake.take([source], other, b"one")))
        await until(lambda: len(origin.hits) == 2)
        gate.open.set()
        *_, small = await asyncio.gather(*tasks)
        assert small.images[0].height == 20
        assert len(origin.hits) == 2
        assert intake.snapshot().loading.decodes == 3


async def test_a_leader_who_leaves_promotes_a_follower() -> None:
    gate = Gate()
    async with serving(respond=gate) as (intake, origin):
        leader, *followers = [taking(intake, at(origin, "/1")) for _ in range(3)]
        await gate.asked.wait()
        leader.cancel()
        await asyncio.sleep(0.05)
        followers[0].cancel()
        await asyncio.sleep(0.05)
        gate.open.set()
        assert (await followers[1]).images
        assert leader.cancelled()
        assert followers[0].cancelled()
        assert len(origin.hits) == 1


async def test_work_that_nobody_waits_for_is_cancelled() -> None:
    gate = Gate()
    async with serving(respond=gate) as (intake, origin):
        before = len(asyncio.all_tasks())
        tasks = [taking(intake, at(origin, "/1")) for _ in range(3)]
        await gate.asked.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The one more is the origin's, which waits.
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)
        assert intake.snapshot().loading.inflight_bytes == 0
        gate.open.set()
        again = await intake.take([at(origin, "/1")], BUDGET, TENANT)
        assert again.images
        assert len(origin.hits) == 2


async def test_an_error_goes_to_all_with_their_own_fields() -> None:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await gives(PNG[:-30])(hit, writer)

    async with serving(respond=respond) as (intake, origin):
        sources = [at(origin, "/1", f"field {place}") for place in range(20)]
        outcomes = await asyncio.gather(
            *(taking(intake, source) for source in sources), return_exceptions=True
        )
        assert all(isinstance(outcome, ImageUndecodable) for outcome in outcomes)
        fields = [outcome.param for outcome in outcomes if isinstance(outcome, ImageUndecodable)]
        assert fields == [source.param for source in sources]
        assert len(origin.hits) == 1


async def test_a_failed_fetch_is_tried_again_by_the_next() -> None:
    answers = [b"", PNG]

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        body = answers.pop(0)
        writer.write(
            f"HTTP/1.1 {200 if body else 500} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        writer.write(body)

    async with serving(respond=respond) as (intake, origin):
        outcomes = await asyncio.gather(
            *(taking(intake, at(origin, "/1")) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, ImageFetchFailed) for outcome in outcomes)
        assert (await intake.take([at(origin, "/1")], BUDGET, TENANT)).images


async def test_each_request_keeps_its_own_byte_budget() -> None:
    """A fetch that is too much for one goes on for another, and stops early for the one."""
    gate = Gate(coloured(1) + bytes(2000))
    async with serving(respond=gate, max_body_bytes=2500) as (intake, origin):
        free = taking(intake, at(origin, "/1"))
        sources = [uploaded(coloured(2) + bytes(1500), param="sent"), at(origin, "/1", "fetched")]
        tight = asyncio.create_task(intake.take(sources, BUDGET, TENANT))
        await gate.asked.wait()
        with pytest.raises(RequestTooLarge) as caught:
            await tight
        assert caught.value.param == "fetched"
        late = asyncio.create_task(intake.take(sources, BUDGET, TENANT))
        with pytest.raises(RequestTooLarge):
            await late
        gate.open.set()
        assert (await free).images
        assert len(origin.hits) == 1


async def test_the_deadline_of_the_fetch_is_that_of_all() -> None:
    async with serving(fetch={"fetch_timeout": 0.3}) as (intake, origin):
        outcomes = await asyncio.gather(
            *(taking(intake, at(origin, "/hang")) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)


async def test_closing_ends_all_who_wait() -> None:
    tasks: list[asyncio.Task[TakenImages]] = []
    async with serving() as (intake, origin):
        tasks += [taking(intake, at(origin, "/hang")) for _ in range(5)]
        await until(lambda: bool(origin.hits))
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, ShuttingDown)


@pytest.mark.parametrize("headers", [("Cache-Control: no-store",), ("Cache-Control: max-age=0",)])
async def test_what_is_stale_at_once_is_shared_only_while_it_comes(headers: tuple[str]) -> None:
    async with serving(respond=gives(PNG, *headers)) as (intake, origin):
        for _ in range(3):
            await asyncio.gather(*(taking(intake, at(origin, "/1")) for _ in range(5)))
        assert len(origin.hits) == 3


@pytest.mark.parametrize(("headers", "fetches"), [((), 1), (("Cache-Control: no-store",), 2)])
async def test_a_picture_that_waits_to_be_decoded_is_shared_while_it_is_fresh(
    headers: tuple[str, ...], fetches: int
) -> None:
    large = encode(drawing(6000, 6000), "PNG", compress_level=1)
    async with serving(decode={"decode_processes": 1}, respond=gives(PNG, *headers)) as (
        intake,
        origin,
    ):
        busy = taking(intake, uploaded(large, param=""))
        await until(lambda: intake.snapshot().loading.decodes == 1)
        first = taking(intake, at(origin, "/1"))
        await until(lambda: intake.snapshot().loading.decodes == 2)
        assert not busy.done()
        second = taking(intake, at(origin, "/1"))
        assert (await first).images == (await second).images
        assert len(origin.hits) == fetches
        await busy


async def test_requests_that_leave_at_random_leave_nothing_behind() -> None:
    async with serving() as (intake, origin):

        async def one(place: int) -> None:
            source = at(origin, f"/{place % 5}") if place % 2 else data_url(coloured(place % 7))
            with suppress(TimeoutError):
                async with asyncio.timeout(place % 20 / 1000):
                    pictures = await intake.take([source], BUDGET, TENANT)
                    expected = place % 5 if place % 2 else place % 7
                    assert pictures.images[0].pixels[0] == expected

        for start in range(0, 400, 80):
            await asyncio.gather(*(one(place) for place in range(start, start + 80)))
        await until(lambda: not intake.snapshot().loading.inflight_bytes)
        pictures = await intake.take([at(origin, "/9")], BUDGET, TENANT)
        assert pictures.images[0].pixels[0] == 9
